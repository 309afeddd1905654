/* environment.c - what libraries read from their environment before main: where it does not suit, the command starts once more with it.
 *
 * GNU's OpenMP has idle threads look out for work for milliseconds: when another program has a processor too, threads that wait for one
 * that was put aside keep the processor from it, and two programs side by side take up to a hundred times as long instead of twice. Some
 * hundredths of a millisecond bridge the gaps within a forward pass just as well.
 *
 * OpenBLAS takes a processor that is newer than itself for a Prescott, with a tenth of its speed. */
#include "cli/cli.h"

#include <cblas.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Sets what is not set yet; true when that changed anything. */
static bool set(const char *name, const char *value)
{
    return !getenv(name) && setenv(name, value, 0) == 0;
}

static bool wait_shortly(void)
{
    const char *threads = getenv("OMP_NUM_THREADS");
    if (threads && atoi(threads) == 1) return false; /* nobody waits */
    return !getenv("OMP_WAIT_POLICY") && set("GOMP_SPINCOUNT", "2000");
}

static bool name_processor_for_blas(void)
{
    const az_cpu *cpu = az_cpu_features();
    if (!cpu->avx2 || strcmp(openblas_get_corename(), "Prescott") != 0) return false;
    return set("OPENBLAS_CORETYPE", cpu->avx512 ? "SkylakeX" : "Haswell");
}

void cli_prepare_environment(char **argv)
{
    const bool waits = wait_shortly(), named = name_processor_for_blas();
    if (waits || named) execv("/proc/self/exe", argv);
}
