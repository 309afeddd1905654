/* layers.h - checks that every product and fused layer has to pass, given as a function of its inputs (az_segment of grad.h). */
#ifndef ADZE_TEST_LAYERS_H
#define ADZE_TEST_LAYERS_H

#include "adze/grad.h"

/* A function to be tested: f of n inputs with these shapes. */
typedef struct test_layer {
    az_segment f;
    void *user;
    int n;
    struct {
        int rank;
        int64_t shape[AZ_MAX_RANK];
    } input[3];
} test_layer;

/* Standard normal inputs. */
void test_inputs(az_ctx *az, const test_layer *layer, az_dtype dtype, uint64_t seed, az_tensor **inputs);
/* Largest absolute difference of two tensors of one shape, in units of max(1, |b|); infinite when shapes differ or one is NULL. */
double test_difference(const az_tensor *a, const az_tensor *b);

/* First and second derivative against central differences, in f64. */
void test_derivatives(const test_layer *layer);
/* The hand-made gradient against the one through plain operations, in f64; and f32 against f64, values and gradients. */
void test_both_gradients(const test_layer *layer);
/* Inputs whose axes were permuted in memory give the values and gradients of contiguous ones, bit for bit or nearly so. */
void test_strided_inputs(const test_layer *layer);
/* Values and gradients in f32 are the same bits with one and with two threads. */
void test_threads_agree(const test_layer *layer);
/* All of the above. */
void test_layer_fully(const test_layer *layer);

#endif
