/* kernels.h - inner loops that exist once for each instruction set, behind one table. They work on rows and cache-sized blocks, start no
 * threads and give the same result for the same operands. The table is chosen at the first use by az_cpu_features(). */
#ifndef ADZE_TENSOR_KERNELS_H
#define ADZE_TENSOR_KERNELS_H

#include "adze/base.h"

#include "tensor/kernels/real_f32.h"
#include "tensor/kernels/table.h"
#include "tensor/kernels/real_f64.h"
#include "tensor/kernels/table.h"
#include "tensor/kernels/real_done.h"

/* Values of a cache's row between f32 and what is stored. A row of q8_0 (2-byte aligned) has an f16 scale for each AZ_KV_BLOCK values, then
 * the values as bytes, -127 .. 127. Rounding tells whether everything stayed finite. */
enum { AZ_KV_BLOCK = 32 };
typedef struct az_kernels_kv {
    void (*widen_f16)(int64_t n, const uint16_t *from, float *to);
    bool (*round_f16)(int64_t n, const float *from, uint16_t *to);
    void (*widen_q8_0)(int64_t n, const unsigned char *row, float *to);
    bool (*round_q8_0)(int64_t n, const float *from, unsigned char *row);
} az_kernels_kv;

typedef struct az_kernels {
    az_kernels_f32 f32;
    az_kernels_f64 f64;
    az_kernels_kv kv;
} az_kernels;

const az_kernels *az_kernels_best(void); /* the fastest that this processor runs */
const az_kernels *az_kernels_portable(void);
const az_kernels *az_kernels_avx2(void);   /* only built for x86-64; call it only where the processor has AVX2, FMA and F16C */
const az_kernels *az_kernels_avx512(void); /* likewise; call it only where az_cpu_features says so */
const az_kernels *az_kernels_neon(void);   /* only built for aarch64 */

#endif
