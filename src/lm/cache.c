/* cache.c - keys and values of earlier tokens. One block of rows [sequences * capacity, kv_heads, head_dim] for each layer, so that
 * attention reads it in place: sequence s owns the rows from s * capacity on. */
#include "lm/lm_internal.h"

#include <string.h>

static az_dtype compute_type(const az_lm *lm)
{
    return az_weight_is_dense(lm->embedding) && lm->embedding->part[0]->dtype == AZ_F64 ? AZ_F64 : AZ_F32;
}

az_lm_cache *az_lm_cache_new(az_ctx *az, const az_lm *lm, int sequences, int64_t capacity)
{
    if (!lm) return NULL;
    if (sequences < 1 || capacity < 1 || capacity > INT32_MAX / sequences)
        return az_fail(az, AZ_BAD_CALL, "a cache for %d sequences of %lld tokens", sequences, (long long)capacity);
    az_lm_cache *cache = az_alloc(az, sizeof *cache);
    if (!cache) return NULL;
    const size_t blocks = (size_t)lm->config.blocks;
    *cache = (az_lm_cache){
        .sequences = sequences,
        .capacity = capacity,
        .blocks = lm->config.blocks,
        .length = az_alloc_array(az, (size_t)sequences, sizeof *cache->length),
        .k = az_alloc_array(az, blocks, sizeof(az_tensor *)),
        .v = az_alloc_array(az, blocks, sizeof(az_tensor *)),
    };
    if (!cache->length || !cache->k || !cache->v) return NULL;
    for (size_t b = 0; b < blocks; b++) {
        cache->k[b] = az_new3(az, compute_type(lm), sequences * capacity, lm->config.kv_heads, lm->config.head_dim);
        cache->v[b] = az_new3(az, compute_type(lm), sequences * capacity, lm->config.kv_heads, lm->config.head_dim);
        if (!cache->k[b] || !cache->v[b]) return NULL;
    }
    return cache;
}

static size_t row_bytes(const az_tensor *rows)
{
    return (size_t)(rows->shape[1] * rows->shape[2]) * az_dtype_size(rows->dtype);
}

static bool holds(const az_lm_cache *cache, int sequence)
{
    return cache && sequence >= 0 && sequence < cache->sequences;
}

int64_t az_lm_cache_length(const az_lm_cache *cache, int sequence)
{
    return holds(cache, sequence) ? cache->length[sequence] : 0;
}

int64_t az_lm_cache_capacity(const az_lm_cache *cache)
{
    return cache ? cache->capacity : 0;
}

void az_lm_cache_trim(az_lm_cache *cache, int sequence, int64_t length)
{
    if (holds(cache, sequence) && length >= 0 && length < cache->length[sequence]) cache->length[sequence] = length;
}

bool az_lm_cache_fork(az_ctx *az, az_lm_cache *cache, int from, int to)
{
    if (!cache) return false;
    if (!holds(cache, from) || !holds(cache, to))
        return az_fail(az, AZ_BAD_CALL, "a cache of %d sequences has no sequence %d or %d", cache->sequences, from, to);
    if (from == to) return true;
    const size_t row = row_bytes(cache->k[0]), bytes = (size_t)cache->length[from] * row;
    for (int64_t b = 0; b < cache->blocks; b++) {
        az_tensor *const both[2] = {cache->k[b], cache->v[b]};
        for (int i = 0; i < 2; i++) {
            char *data = both[i]->data;
            memcpy(data + (size_t)(to * cache->capacity) * row, data + (size_t)(from * cache->capacity) * row, bytes);
        }
    }
    cache->length[to] = cache->length[from];
    return true;
}

size_t az_lm_cache_bytes(const az_lm_cache *cache)
{
    return cache ? 2 * (size_t)(cache->blocks * cache->sequences * cache->capacity) * row_bytes(cache->k[0]) : 0;
}

void az_lm_cache_store(az_tensor *rows, int64_t first, const az_tensor *fresh, int64_t from, int64_t count)
{
    const size_t row = row_bytes(rows);
    memcpy((char *)rows->data + (size_t)first * row, (const char *)fresh->data + (size_t)from * row, (size_t)count * row);
}
