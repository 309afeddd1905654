/* int8.h - what the formats with bytes for weights and activations share: the rounded operands and their product. */
#ifndef ADZE_WEIGHT_INT8_H
#define ADZE_WEIGHT_INT8_H

#include "weight/weight_internal.h"

extern const az_format az_format_int8, az_format_int8_columns, az_format_int8_live;

/* The numbers of the part "how", in this order. */
typedef struct az_int8_how {
    double scheme;    /* az_int8_scheme */
    double threshold; /* of outliers; 0 = none are looked for */
    double paper;     /* 1: scales leave outlier columns out; 0: activations' scales leave out what reaches the threshold */
    double fixed;     /* 1: the outlier columns are the listed ones */
    double offset;    /* of the weights: w = scale / 127 (code + offset) */
} az_int8_how;
enum { AZ_INT8_HOW = sizeof(az_int8_how) / sizeof(double) };

/* A weight's rows as bytes: w = scale[r] / 127 (code + offset), but for the listed columns, which are there as f16. */
typedef struct az_int8_rows {
    int64_t rows, cols, listed;
    const int8_t *code; /* [rows, cols] */
    const float *scale; /* [rows] */
    double offset;
    const int32_t *column; /* [listed], ascending */
    const uint16_t *value; /* [listed, rows] f16 */
} az_int8_rows;
az_int8_rows az_int8_rows_of(const az_weight *w);

/* Activations as bytes: x = scale[j] / 127 (q + offset) but for the outlier columns, whose values stay as they are and whose q are 0. */
typedef struct az_int8_vectors {
    int64_t n, cols, outliers;
    int8_t *q;        /* [n, cols] */
    float *scale;     /* [n] */
    double offset;    /* the same for all vectors */
    int64_t *total;   /* [n] sum of q */
    int32_t *outlier; /* [outliers], ascending */
    float *value;     /* [n, outliers] */
} az_int8_vectors;
/* Rounds x [n, cols], which must be finite; listed: the outlier columns where how->fixed says so. In the current scope. */
bool az_int8_round(az_ctx *az, const az_int8_how *how, const az_int8_rows *listed, const float *x, int64_t n, int64_t cols,
                   az_int8_vectors *out);
/* The largest magnitude of n values; not finite when one of them is not. */
float az_int8_largest(const float *x, int64_t n);
/* False, with an error, when a value of x [n, cols] is not finite. */
bool az_int8_finite(az_ctx *az, const float *x, int64_t n, int64_t cols);
/* y [n, rows] = x W^T. */
void az_int8_multiply(az_ctx *az, const az_int8_rows *w, const az_int8_vectors *x, float *y);

/* q = rint(127 x / scale), 0 for a scale of 0, half to even, for count values. */
void az_int8_nearest(const float *x, int64_t count, float scale, int8_t *q);
/* Scale and offset for values from low to high by the zero-point rule: 254 steps from end to end. */
void az_int8_zero_point(float low, float high, float *scale, double *offset);
int8_t az_int8_shifted(float x, float scale, double offset);

#endif
