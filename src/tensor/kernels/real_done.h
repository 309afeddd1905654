/* real_done.h - takes back what real_f32.h or real_f64.h defined. */
#undef REAL
#undef NAME
#undef KERNELS
#undef GEMM
