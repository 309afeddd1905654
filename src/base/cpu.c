/* cpu.c - what this processor can run. */
#include "base/base_internal.h"

#include <stdlib.h>
#include <string.h>

#if defined(__x86_64__)
#include <cpuid.h>
#include <sys/syscall.h>
#include <unistd.h>

/* F16C, a name that some compilers' __builtin_cpu_supports does not know. */
static bool has_f16c(void)
{
    unsigned a, b, c, d;
    return __get_cpuid(1, &a, &b, &c, &d) && (c & bit_F16C);
}

/* The unit of tiles, which multiplies bfloat16; the system lends its registers to processes that ask. */
static bool has_amx(void)
{
    enum { REQUEST_PERMISSION = 0x1023, TILE_DATA = 18 };   /* arch_prctl's ARCH_REQ_XCOMP_PERM */
    enum { LEAF = 7, TILES = 1 << 24, BFLOAT16 = 1 << 22 }; /* of edx */
    unsigned a, b, c, d;
    if (!__get_cpuid_count(LEAF, 0, &a, &b, &c, &d) || !(d & TILES) || !(d & BFLOAT16)) return false;
    return syscall(SYS_arch_prctl, REQUEST_PERMISSION, TILE_DATA) == 0;
}
#endif

static az_cpu detect(void)
{
    az_cpu cpu = {0};
    cpu.cores = az_cores();
    const char *isa = getenv("ADZE_ISA");
    if (isa && strcmp(isa, "portable") == 0) return cpu;
#if defined(__x86_64__)
    __builtin_cpu_init();
    cpu.avx2 = __builtin_cpu_supports("avx2");
    cpu.fma = __builtin_cpu_supports("fma");
    cpu.f16c = cpu.avx2 && has_f16c();
    if (isa && strcmp(isa, "avx2") == 0) return cpu;
    cpu.avx512 = cpu.f16c && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                 __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
    if (isa && strcmp(isa, "avx512") == 0) return cpu;
    cpu.vnni = cpu.avx512 && __builtin_cpu_supports("avx512vnni");
    cpu.vbmi2 = cpu.avx512 && __builtin_cpu_supports("avx512vbmi2");
    cpu.bitalg = cpu.avx512 && __builtin_cpu_supports("avx512bitalg");
    cpu.amx = cpu.avx512 && __builtin_cpu_supports("avx512bf16") && has_amx();
#elif defined(__aarch64__)
    cpu.neon = true;
#endif
    return cpu;
}

const az_cpu *az_cpu_features(void)
{
    static az_cpu cpu;
    static int state; /* 0 = not yet, 1 = done; detection is idempotent, so a race does no harm */
    if (!__atomic_load_n(&state, __ATOMIC_ACQUIRE)) {
        cpu = detect();
        __atomic_store_n(&state, 1, __ATOMIC_RELEASE);
    }
    return &cpu;
}
