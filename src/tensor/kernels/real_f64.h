/* real_f64.h - makes the type-generic files included after it be about double. It alternates with real_f32.h; real_done.h ends both. */
#include "tensor/kernels/real_done.h"
#define REAL    double
#define NAME(x) x##_f64
#define KERNELS (&az_kernels_best()->f64)
#define GEMM    cblas_dgemm
