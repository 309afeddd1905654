/* kv.h - how attention finds the rows of a cache. */
#ifndef ADZE_TENSOR_KV_H
#define ADZE_TENSOR_KV_H

#include "adze/tensor.h"

typedef enum az_kv_side { AZ_KEYS, AZ_VALUES } az_kv_side;

/* The row of head `head` of token `token`; the rows of the tokens that follow in the same page lie behind it. */
char *az_kv_row(const az_kv *kv, az_kv_side side, int sequence, int64_t head, int64_t token);
/* `rows` rows as numbers, one after the other. */
void az_kv_read_f32(const az_kv *kv, const char *from, int64_t rows, float *to);
void az_kv_read_f64(const az_kv *kv, const char *from, int64_t rows, double *to);

#endif
