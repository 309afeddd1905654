/* real_f32.h - makes the type-generic files included after it be about float. No guard: it alternates with real_f64.h. */
#undef REAL
#undef NAME
#undef MATRIX
#undef KERNELS
#undef GEMM
#define REAL    float
#define NAME(x) x##_f32
#define MATRIX  az_matrix_f32
#define KERNELS (&az_kernels_best()->f32)
#define GEMM    cblas_sgemm
