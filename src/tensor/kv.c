/* kv.c - keys and values of a cache: where a row lies, and how it is stored. */
#include "tensor/kv.h"
#include "tensor/kernels/kernels.h"
#include "tensor/layer.h"

#include <stdatomic.h>
#include <string.h>

size_t az_kv_row_bytes(az_kv_type type, int64_t dim)
{
    const size_t n = (size_t)dim, scales = (n + AZ_KV_BLOCK - 1) / AZ_KV_BLOCK;
    switch (type) {
    case AZ_KV_F16: return 2 * n;
    case AZ_KV_F32: return 4 * n;
    case AZ_KV_Q8_0: return 2 * scales + (n + 1) / 2 * 2;
    case AZ_KV_F64: return 8 * n;
    }
    return 0;
}

char *az_kv_row(const az_kv *kv, az_kv_side side, int sequence, int64_t head, int64_t token)
{
    char *page = kv->page[kv->first_page[sequence] + token / AZ_KV_PAGE] + (side == AZ_KEYS ? kv->keys : kv->values);
    return page + (size_t)(head * AZ_KV_PAGE + token % AZ_KV_PAGE) * az_kv_row_bytes(kv->type, kv->dim);
}

void az_kv_read_f32(const az_kv *kv, const char *from, int64_t rows, float *to)
{
    const az_kernels_kv *kernels = &az_kernels_best()->kv;
    const int64_t dim = kv->dim;
    if (kv->type == AZ_KV_F32) memcpy(to, from, (size_t)(rows * dim) * sizeof *to);
    if (kv->type == AZ_KV_F16) kernels->widen_f16(rows * dim, (const uint16_t *)(const void *)from, to);
    if (kv->type != AZ_KV_Q8_0) return;
    const size_t bytes = az_kv_row_bytes(kv->type, dim);
    for (int64_t row = 0; row < rows; row++) kernels->widen_q8_0(dim, (const unsigned char *)from + (size_t)row * bytes, to + row * dim);
}

void az_kv_read_f64(const az_kv *kv, const char *from, int64_t rows, double *to)
{
    memcpy(to, from, (size_t)(rows * kv->dim) * sizeof *to);
}

/* ---- storing ---- */

typedef struct store_job {
    const az_kv *kv;
    const az_tensor *k, *v;
    const az_attention_how *how;
    atomic_bool *beyond; /* something did not fit */
} store_job;

static bool store_row(const az_kv *kv, const void *from, char *to)
{
    const az_kernels_kv *kernels = &az_kernels_best()->kv;
    switch (kv->type) {
    case AZ_KV_F16: return kernels->round_f16(kv->dim, from, (uint16_t *)(void *)to);
    case AZ_KV_Q8_0: return kernels->round_q8_0(kv->dim, from, (unsigned char *)to);
    default: memcpy(to, from, az_kv_row_bytes(kv->type, kv->dim)); return true;
    }
}

/* Keys and values of token i of the batch. */
static void store_token(const void *tokens, int64_t i)
{
    const store_job *job = tokens;
    const az_kv *kv = job->kv;
    int s = 0;
    while (i >= job->how->query_start[s + 1]) s++;
    const int64_t at = job->how->key_count[s] - (job->how->query_start[s + 1] - i);
    const size_t row = (size_t)kv->dim * az_dtype_size(job->k->dtype);
    bool fits = true;
    for (int64_t head = 0; head < kv->kv_heads; head++) {
        const size_t from = (size_t)(i * kv->kv_heads + head) * row;
        fits &= store_row(kv, (const char *)job->k->data + from, az_kv_row(kv, AZ_KEYS, s, head, at));
        fits &= store_row(kv, (const char *)job->v->data + from, az_kv_row(kv, AZ_VALUES, s, head, at));
    }
    if (!fits) atomic_store_explicit(job->beyond, true, memory_order_relaxed);
}

bool az_kv_store(az_ctx *az, const az_kv *kv, const az_tensor *k, const az_tensor *v, const az_attention_how *how)
{
    if (!az_same_real(az, "az_kv_store", k, v)) return false;
    const int64_t tokens = how->query_start[how->sequences];
    const int64_t shape[3] = {tokens, kv->kv_heads, kv->dim};
    if (!az_has_shape(k, 3, shape) || !az_has_shape(v, 3, shape) || !az_is_contiguous(k) || !az_is_contiguous(v) ||
        (k->dtype == AZ_F64) != (kv->type == AZ_KV_F64))
        return az_fail(az, AZ_BAD_CALL, "az_kv_store: keys %s and values %s do not fit the cache", az_shape_text(az, k),
                       az_shape_text(az, v));
    atomic_bool beyond = false;
    const store_job job = {.kv = kv, .k = k, .v = v, .how = how, .beyond = &beyond};
    az_each(az_count(k) > AZ_PARALLEL_WORK ? az_threads(az) : 1, tokens, store_token, &job);
    if (!beyond) return true;
    return az_fail(az, AZ_NUMERIC, "a key or value is not finite or too large for a cache of %s; take one of f32",
                   kv->type == AZ_KV_F16 ? "f16" : "q8_0");
}
