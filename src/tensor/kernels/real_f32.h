/* real_f32.h - makes the type-generic files included after it be about float. It alternates with real_f64.h; real_done.h ends both. */
#include "tensor/kernels/real_done.h"
#define REAL    float
#define NAME(x) x##_f32
#define KERNELS (&az_kernels_best()->f32)
#define GEMM    cblas_sgemm
