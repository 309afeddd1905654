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

typedef struct az_kernels {
    az_kernels_f32 f32;
    az_kernels_f64 f64;
} az_kernels;

const az_kernels *az_kernels_best(void); /* the fastest that this processor runs */
const az_kernels *az_kernels_portable(void);
const az_kernels *az_kernels_avx2(void); /* only built for x86-64; call it only where the processor has AVX2 and FMA */
const az_kernels *az_kernels_neon(void); /* only built for aarch64 */

#endif
