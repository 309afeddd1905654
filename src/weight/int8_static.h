/* int8_static.h - the formats of whole-number products whose activations are rounded by steps known beforehand, or token by token. */
#ifndef ADZE_WEIGHT_INT8_STATIC_H
#define ADZE_WEIGHT_INT8_STATIC_H

#include "weight/weight_internal.h"

extern const az_format az_format_int8_static, az_format_int8_token;

/* The numbers of the part "bits", in this order. */
typedef struct az_static_bits {
    int32_t weights, activations;
    int32_t outputs; /* of the product, rounded with one scale a token; 0 = they stay as they are */
} az_static_bits;
enum { AZ_STATIC_BITS = sizeof(az_static_bits) / sizeof(int32_t) };

/* x = step q + shift with q from -2^(bits - 1) to 2^(bits - 1) - 1; at 8 bits from -127, since products of bytes have no room for -128. */
void az_static_round(const float *x, int64_t count, const float *step, const float *shift, int bits, int8_t *q);
/* One step for all, the largest magnitude / (2^(bits - 1) - 1): returned. */
float az_token_round(const float *x, int64_t count, int bits, int8_t *q);

#endif
