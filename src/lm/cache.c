/* cache.c - keys and values of earlier tokens, in pages of AZ_KV_PAGE tokens that hold all layers. Sequences that begin alike share pages:
 * a fork only points to those of its origin. A page that several sequences hold is copied before one of them writes into it.
 *
 * A page is, for each layer, its keys and then its values: [kv_heads, AZ_KV_PAGE] rows. */
#include "lm/lm_internal.h"

#include <string.h>

static bool computes_in_f64(const az_lm *lm)
{
    return az_weight_is_dense(lm->embedding) && lm->embedding->part[0]->dtype == AZ_F64;
}

static int64_t pages_for(int64_t tokens)
{
    return (tokens + AZ_KV_PAGE - 1) / AZ_KV_PAGE;
}

/* ---- pages ---- */

static void drop_page(az_lm_cache *cache, az_buffer *page)
{
    if (page->references == 1) cache->pages--;
    az_buffer_drop(page);
}

static void drop_pages_from(az_lm_cache *cache, az_cached_sequence *sequence, int64_t first)
{
    for (; sequence->pages > first; sequence->pages--) drop_page(cache, sequence->page[sequence->pages - 1]);
}

static az_buffer *new_page(az_ctx *az, az_lm_cache *cache)
{
    az_buffer *page = az_buffer_new(az, 2 * (size_t)cache->blocks * cache->side);
    if (page) cache->pages++;
    return page;
}

static void drop_everything(void *object)
{
    az_lm_cache *cache = object;
    for (int s = 0; s < cache->sequences; s++) drop_pages_from(cache, &cache->sequence[s], 0);
}

/* The page that the next token goes into becomes the sequence's own. */
static bool own_next_page(az_ctx *az, az_lm_cache *cache, az_cached_sequence *sequence)
{
    if (sequence->length % AZ_KV_PAGE == 0) return true;
    az_buffer **next = &sequence->page[sequence->length / AZ_KV_PAGE];
    if ((*next)->references == 1) return true;
    az_buffer *copy = new_page(az, cache);
    if (!copy) return false;
    memcpy(copy->data, (*next)->data, copy->bytes);
    drop_page(cache, *next);
    *next = copy;
    return true;
}

bool az_lm_cache_make_room(az_ctx *az, az_lm_cache *cache, int s, int64_t tokens)
{
    az_cached_sequence *sequence = &cache->sequence[s];
    if (tokens == 0) return true;
    if (!own_next_page(az, cache, sequence)) return false;
    while (sequence->pages < pages_for(sequence->length + tokens)) {
        az_buffer *page = new_page(az, cache);
        if (!page) return false;
        sequence->page[sequence->pages++] = page;
    }
    return true;
}

az_kv *az_lm_cache_view(az_ctx *az, const az_lm_cache *cache, int sequences)
{
    int64_t pages = 0;
    for (int s = 0; s < sequences; s++) pages += cache->sequence[s].pages;
    az_kv *kv = az_alloc(az, sizeof *kv);
    char **page = az_alloc_array(az, (size_t)pages, sizeof *page);
    int64_t *first = az_alloc_array(az, (size_t)sequences, sizeof *first);
    if (!kv || !page || !first) return NULL;
    int64_t n = 0;
    for (int s = 0; s < sequences; s++) {
        first[s] = n;
        for (int64_t p = 0; p < cache->sequence[s].pages; p++) page[n++] = cache->sequence[s].page[p]->data;
    }
    *kv = (az_kv){.type = cache->type, .kv_heads = cache->kv_heads, .dim = cache->dim, .page = page, .first_page = first};
    return kv;
}

void az_lm_cache_layer(const az_lm_cache *cache, int block, az_kv *kv)
{
    kv->keys = 2 * (size_t)block * cache->side;
    kv->values = kv->keys + cache->side;
}

/* ---- the cache ---- */

az_lm_cache *az_lm_cache_new(az_ctx *az, const az_lm *lm, int sequences, int64_t capacity, az_kv_type type)
{
    if (!lm) return NULL;
    if (sequences < 1 || capacity < 1 || capacity > INT32_MAX / sequences)
        return az_fail(az, AZ_BAD_CALL, "a cache for %d sequences of %lld tokens", sequences, (long long)capacity);
    if (computes_in_f64(lm)) type = AZ_KV_F64;
    if (type == AZ_KV_F64 && !computes_in_f64(lm)) return az_fail(az, AZ_BAD_CALL, "a cache of f64 for a model that is not");
    az_lm_cache *cache = az_alloc(az, sizeof *cache);
    az_cached_sequence *sequence = az_alloc_array(az, (size_t)sequences, sizeof *sequence);
    if (!cache || !sequence) return NULL;
    const az_lm_config *c = &lm->config;
    const size_t rows = (size_t)(c->kv_heads * AZ_KV_PAGE) * az_kv_row_bytes(type, c->head_dim);
    *cache = (az_lm_cache){.sequences = sequences,
                           .type = type,
                           .capacity = capacity,
                           .blocks = c->blocks,
                           .kv_heads = c->kv_heads,
                           .dim = c->head_dim,
                           .side = (rows + 63) / 64 * 64,
                           .sequence = sequence};
    for (int s = 0; s < sequences; s++) {
        sequence[s].page = az_alloc_array(az, (size_t)pages_for(capacity), sizeof *sequence[s].page);
        if (!sequence[s].page) return NULL;
    }
    return az_on_leave(az, drop_everything, cache) ? cache : NULL;
}

static bool holds(const az_lm_cache *cache, int sequence)
{
    return cache && sequence >= 0 && sequence < cache->sequences;
}

int64_t az_lm_cache_length(const az_lm_cache *cache, int sequence)
{
    return holds(cache, sequence) ? cache->sequence[sequence].length : 0;
}

int64_t az_lm_cache_capacity(const az_lm_cache *cache)
{
    return cache ? cache->capacity : 0;
}

void az_lm_cache_trim(az_lm_cache *cache, int sequence, int64_t length)
{
    if (!holds(cache, sequence) || length < 0 || length >= cache->sequence[sequence].length) return;
    cache->sequence[sequence].length = length;
    drop_pages_from(cache, &cache->sequence[sequence], pages_for(length));
}

bool az_lm_cache_fork(az_ctx *az, az_lm_cache *cache, int from, int to)
{
    if (!cache) return false;
    if (!holds(cache, from) || !holds(cache, to))
        return az_fail(az, AZ_BAD_CALL, "a cache of %d sequences has no sequence %d or %d", cache->sequences, from, to);
    if (from == to) return true;
    const az_cached_sequence *origin = &cache->sequence[from];
    az_cached_sequence *fork = &cache->sequence[to];
    drop_pages_from(cache, fork, 0);
    fork->length = origin->length;
    fork->pages = pages_for(fork->length);
    for (int64_t p = 0; p < fork->pages; p++) fork->page[p] = az_buffer_hold(origin->page[p]);
    return true;
}

size_t az_lm_cache_bytes(const az_lm_cache *cache)
{
    return cache ? 2 * (size_t)(cache->pages * cache->blocks) * cache->side : 0;
}
