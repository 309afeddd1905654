/* op_attention.c - attention over a ragged batch, with grouped heads, a cache, a window and linear biases. No matrix of all scores is ever
 * stored: the forward pass keeps a running softmax, the derivative computes tiles of scores again. */
#include "tensor/kernels/kernels.h"
#include "tensor/kv.h"
#include "tensor/layer.h"

#include <math.h>
#include <omp.h>
#include <string.h>

enum {
    TILE_ROWS = 24,     /* queries whose scores are in work together: a multiple of the block kernel's rows */
    BLOCK_KEYS = 256,   /* keys that are packed together: a multiple of every panel width */
    UNIT_QUERIES = 192, /* queries of one head that a thread takes at a time: a multiple of TILE_ROWS */
    FEW_QUERIES = 4,    /* up to here packing does not pay */
    STREAM_HEADS = 16,  /* query heads that may read a stream of keys together */
    ENOUGH_UNITS = 8    /* for all the threads of a small machine: from here on heads are put together */
};

/* Row `token` of head `head` starts at data + token * (stride token) + head * (stride head). */
typedef struct attention_rows {
    const void *data;
    int64_t token, head;
} attention_rows;

typedef struct attention_job {
    az_attention_how how;
    attention_rows q, k, v;
    const az_kv *kv; /* where keys and values are instead of in k and v; NULL without a cache */
    const void *gy;  /* [tokens, heads, dim], for the derivative */
    void *y, *norm;  /* [tokens, heads, dim]; [tokens, heads, 2]: maximum and 1 / sum of exp(score - maximum) */
    void *gq, *gk, *gv;
    int64_t heads, kv_heads, dim;
    int64_t work; /* multiplications in all */
    int threads;
} attention_job;

/* Queries first .. first + count - 1 of a sequence, for `heads` heads from `head` on: one, or, with few queries, some that read the same
 * keys. */
typedef struct attention_unit {
    int sequence;
    int64_t head, heads, first, count;
} attention_unit;

typedef struct attention_range {
    int64_t low, high; /* high is excluded */
} attention_range;

/* Queries first .. first + rows - 1 and the keys from `block` on, of which some query sees those in low .. high - 1, counted from `block`.
 */
typedef struct attention_tile {
    int sequence;
    int64_t first, rows, block, keys, low, high;
} attention_tile;

static int64_t round_up(int64_t n, int64_t step)
{
    return (n + step - 1) / step * step;
}

/* The key that stands where query `query` of its sequence stands. */
static int64_t position_of(const attention_job *job, int sequence, int64_t query)
{
    int64_t queries = job->how.query_start[sequence + 1] - job->how.query_start[sequence];
    return job->how.key_count[sequence] - queries + query;
}

/* The keys that a query sees. */
static attention_range visible(const attention_job *job, int sequence, int64_t query)
{
    if (job->how.bidirectional) return (attention_range){0, job->how.key_count[sequence]};
    int64_t high = position_of(job, sequence, query) + 1;
    bool cut = job->how.window > 0 && high > job->how.window;
    return (attention_range){cut ? high - job->how.window : 0, high};
}

static attention_tile tile_at(const attention_job *job, int sequence, attention_range rows, attention_range keys)
{
    int64_t low = visible(job, sequence, rows.low).low, high = visible(job, sequence, rows.high - 1).high;
    return (attention_tile){.sequence = sequence,
                            .first = rows.low,
                            .rows = rows.high - rows.low,
                            .block = keys.low,
                            .keys = keys.high - keys.low,
                            .low = (low > keys.low ? low : keys.low) - keys.low,
                            .high = (high < keys.high ? high : keys.high) - keys.low};
}

#include "tensor/kernels/real_f32.h"
#include "tensor/kernels/attention.h"
#include "tensor/kernels/attention_gradient.h"
#include "tensor/kernels/real_f64.h"
#include "tensor/kernels/attention.h"
#include "tensor/kernels/attention_gradient.h"

/* ---- checks ---- */

static bool shapes_fit(az_ctx *az, const az_tensor *q, const az_tensor *k, const az_tensor *v)
{
    if (!az_same_real(az, "az_attention", q, k) || !az_same_real(az, "az_attention", q, v)) return false;
    if (q->rank == 3 && k->rank == 3 && az_same_shape(k, v) && q->shape[2] == k->shape[2] && q->shape[2] > 0 && k->shape[1] > 0 &&
        q->shape[1] % k->shape[1] == 0)
        return true;
    return az_fail(az, AZ_BAD_CALL, "az_attention: queries %s, keys %s and values %s do not fit", az_shape_text(az, q),
                   az_shape_text(az, k), az_shape_text(az, v));
}

/* rows: of keys; -1 for a cache, where sequences lie anywhere. */
static bool sequences_fit(az_ctx *az, const az_attention_how *how, int64_t tokens, int64_t rows)
{
    bool ends = how->sequences >= 0 && how->query_start[0] == 0 && how->query_start[how->sequences] == tokens;
    if (!ends) return az_fail(az, AZ_BAD_CALL, "az_attention: the sequences do not cover the %lld queries", (long long)tokens);
    if (!(how->softcap >= 0 && how->softcap <= 1e30)) return az_fail(az, AZ_BAD_CALL, "az_attention: softcap %g", how->softcap);
    if (how->bidirectional && how->window > 0) return az_fail(az, AZ_BAD_CALL, "az_attention: a window needs causal attention");
    for (int s = 0; s < how->sequences; s++) {
        int64_t queries = how->query_start[s + 1] - how->query_start[s], keys = how->key_count[s];
        int64_t start = rows < 0 ? 0 : how->key_start[s];
        if (queries < 0 || start < 0 || keys < 0 || (rows >= 0 && (start > rows || keys > rows - start)))
            return az_fail(az, AZ_BAD_CALL, "az_attention: sequence %d has %lld queries and the keys %lld + %lld of %lld", s,
                           (long long)queries, (long long)start, (long long)keys, (long long)rows);
        if (queries > 0 && keys < (how->bidirectional ? 1 : queries))
            return az_fail(az, AZ_BAD_CALL, "az_attention: sequence %d has %lld queries but only %lld keys", s, (long long)queries,
                           (long long)keys);
    }
    return true;
}

/* ---- planning ---- */

/* x itself when the values of a head are contiguous, otherwise a copy. */
static attention_rows rows_in(az_ctx *az, const az_tensor *x)
{
    if (x->stride[2] != 1 && x->shape[2] > 1) x = az_operand(az, x);
    return x ? (attention_rows){.data = x->data, .token = x->stride[0], .head = x->stride[1]} : (attention_rows){0};
}

/* Multiplications in all. */
static int64_t work_of(const attention_job *job)
{
    int64_t work = 0;
    for (int s = 0; s < job->how.sequences; s++)
        work += (job->how.query_start[s + 1] - job->how.query_start[s]) * job->how.key_count[s] * job->heads * job->dim;
    return work;
}

static attention_job plan(az_ctx *az, const az_tensor *q, const az_tensor *k, const az_tensor *v, const az_attention_how *how)
{
    attention_job job = {.how = *how, .heads = q->shape[1], .kv_heads = k->shape[1], .dim = q->shape[2], .threads = az_threads(az)};
    job.q = rows_in(az, q);
    job.k = rows_in(az, k);
    job.v = rows_in(az, v);
    job.work = work_of(&job);
    return job;
}

/* How many heads a unit of few queries takes. */
static int64_t heads_together(const attention_job *job)
{
    const int64_t group = job->heads / job->kv_heads;
    int64_t together = group < STREAM_HEADS ? group : STREAM_HEADS;
    while (together > 1 && job->how.sequences * job->kv_heads * (group / together) < ENOUGH_UNITS) together = (together + 1) / 2;
    return together;
}

/* The units of one sequence behind units[n]; their number with those. Without `units` they are only counted. */
static int64_t add_units(const attention_job *job, int s, attention_unit *units, int64_t n)
{
    const int64_t queries = job->how.query_start[s + 1] - job->how.query_start[s], group = job->heads / job->kv_heads;
    const int64_t together = queries <= FEW_QUERIES ? heads_together(job) : 1;
    for (int64_t kv_head = 0; kv_head < job->kv_heads; kv_head++)
        for (int64_t head = 0; head < group; head += together)
            for (int64_t first = 0; first < queries; first += UNIT_QUERIES, n++) {
                if (!units) continue;
                units[n] = (attention_unit){.sequence = s,
                                            .head = kv_head * group + head,
                                            .heads = head + together < group ? together : group - head,
                                            .first = first,
                                            .count = queries - first < UNIT_QUERIES ? queries - first : UNIT_QUERIES};
            }
    return n;
}

/* Every sequence and head, long sequences in pieces; the count goes to *n. */
static attention_unit *list_units(az_ctx *az, const attention_job *job, int64_t *n)
{
    *n = 0;
    for (int s = 0; s < job->how.sequences; s++) *n = add_units(job, s, NULL, *n);
    attention_unit *units = az_alloc_array(az, (size_t)*n, sizeof *units);
    int64_t at = 0;
    for (int s = 0; s < job->how.sequences && units; s++) at = add_units(job, s, units, at);
    return units;
}

/* Do two sequences have a row of keys in common? */
static bool keys_shared(const az_attention_how *how)
{
    for (int s = 1; s < how->sequences; s++)
        if (how->key_start[s] < how->key_start[s - 1] + how->key_count[s - 1]) return true; /* or out of order: then it may be */
    return false;
}

/* ---- the operation ---- */

typedef struct attention_saved {
    az_attention_how how; /* with arrays of its own */
    const az_tensor *norm;
} attention_saved;

static void attention_gradient(az_ctx *az, const az_node *node, const az_tensor *gy, az_tensor **gx)
{
    const attention_saved *saved = node->saved;
    for (int i = 0; i < 3; i++) gx[i] = az_zeros(az, gy->dtype, 3, node->input[i]->shape);
    az_scope_push(az);
    attention_job job = plan(az, node->input[0], node->input[1], node->input[2], &saved->how);
    const az_tensor *g = az_operand(az, gy), *y = az_operand(az, node->output);
    const int64_t space = gy->dtype == AZ_F32 ? backward_space_f32(&job) : backward_space_f64(&job);
    az_tensor *work = az_new2(az, gy->dtype, job.threads, space);
    if (az_ok(az)) {
        job.gy = g->data, job.y = y->data, job.norm = saved->norm->data;
        job.gq = gx[0]->data, job.gk = gx[1]->data, job.gv = gx[2]->data;
        if (gy->dtype == AZ_F32)
            attention_backward_f32(&job, keys_shared(&saved->how), work);
        else
            attention_backward_f64(&job, keys_shared(&saved->how), work);
    }
    az_scope_pop(az);
}

/* What is added to the scores of sequence s: [kv_heads, group, queries, keys], or [queries, keys] without slopes. */
static az_tensor *bias_of(az_ctx *az, const attention_job *job, az_dtype dtype, int s)
{
    const int64_t queries = job->how.query_start[s + 1] - job->how.query_start[s], keys = job->how.key_count[s];
    const int64_t heads = job->how.slope ? job->heads : 1, group = heads > 1 ? job->heads / job->kv_heads : 1;
    az_tensor *bias = az_new3(az, AZ_F64, heads, queries, keys);
    if (!bias) return NULL;
    double *at = bias->data;
    for (int64_t head = 0; head < heads; head++)
        for (int64_t i = 0; i < queries; i++) {
            attention_range seen = visible(job, s, i);
            for (int64_t j = 0; j < keys; j++) {
                double distance = fabs((double)(position_of(job, s, i) - j));
                *at++ = j < seen.low || j >= seen.high ? -1e30 : job->how.slope ? -(double)job->how.slope[head] * distance : 0;
            }
        }
    return az_reshape(az, az_cast(az, bias, dtype), 4, (int64_t[]){heads / group, group, queries, keys});
}

/* Attention of one sequence by softmax(cap(scale Q K^T) + bias) V, heads grouped by the head of keys they read. */
static az_tensor *compose_sequence(az_ctx *az, const attention_job *job, az_tensor *const *inputs, int s)
{
    const int64_t queries = job->how.query_start[s + 1] - job->how.query_start[s], keys = job->how.key_count[s];
    const int64_t group = job->heads / job->kv_heads;
    az_tensor *q = az_slice(az, inputs[0], 0, job->how.query_start[s], queries);
    q = az_permute(az, az_reshape(az, q, 4, (int64_t[]){queries, job->kv_heads, group, job->dim}), (int[]){1, 2, 0, 3});
    az_tensor *kv[2];
    for (int i = 0; i < 2; i++) {
        kv[i] = az_permute(az, az_slice(az, inputs[1 + i], 0, job->how.key_start[s], keys), (int[]){1, 0, 2});
        kv[i] = az_reshape(az, kv[i], 4, (int64_t[]){job->kv_heads, 1, keys, job->dim});
    }
    az_tensor *scores = az_affine(az, az_matmul(az, q, az_transpose(az, kv[0])), job->how.scale, 0);
    const double cap = job->how.softcap;
    if (cap > 0) scores = az_affine(az, az_tanh(az, az_affine(az, scores, 1 / cap, 0)), cap, 0);
    scores = az_add(az, scores, bias_of(az, job, inputs[0]->dtype, s));
    az_tensor *y = az_permute(az, az_matmul(az, az_softmax(az, scores), kv[1]), (int[]){2, 0, 1, 3});
    return az_reshape(az, y, 3, (int64_t[]){queries, job->heads, job->dim});
}

static az_tensor *attention_compose(az_ctx *az, const az_node *node, az_tensor *const *inputs)
{
    const attention_saved *saved = node->saved;
    attention_job job = plan(az, node->input[0], node->input[1], node->input[2], &saved->how);
    az_tensor **parts = az_alloc_array(az, (size_t)saved->how.sequences, sizeof *parts);
    int n = 0;
    for (int s = 0; s < saved->how.sequences && parts; s++)
        if (saved->how.query_start[s + 1] > saved->how.query_start[s]) parts[n++] = compose_sequence(az, &job, inputs, s);
    if (!az_ok(az)) return NULL;
    return n > 0 ? az_concat(az, parts, n, 0) : az_affine(az, inputs[0], 0, 0);
}

static const az_op attention_op = {.name = "attention", .gradient = attention_gradient, .compose = attention_compose};

static az_tensor *record(az_ctx *az, az_tensor *y, const az_tensor *const inputs[3], const attention_job *job, const az_tensor *norm)
{
    const size_t count = (size_t)job->how.sequences * sizeof(int64_t);
    attention_saved saved = {.how = job->how, .norm = az_save(az, norm)};
    saved.how.query_start = az_save_memory(az, job->how.query_start, count + sizeof(int64_t));
    saved.how.key_start = az_save_memory(az, job->how.key_start, count);
    saved.how.key_count = az_save_memory(az, job->how.key_count, count);
    if (job->how.slope) saved.how.slope = az_save_memory(az, job->how.slope, (size_t)job->heads * sizeof(float));
    return az_ok(az) ? az_record(az, &attention_op, y, inputs, 3, &saved, sizeof saved) : NULL;
}

/* Runs the job for queries q; *norm receives what the derivative needs. */
static az_tensor *attend(az_ctx *az, attention_job *job, const az_tensor *q, az_tensor **norm)
{
    int64_t n = 0;
    const attention_unit *units = list_units(az, job, &n);
    az_tensor *y = az_new_like(az, q);
    *norm = az_new3(az, q->dtype, q->shape[0], q->shape[1], 2);
    az_tensor *work = az_new2(az, q->dtype, job->threads, q->dtype == AZ_F32 ? forward_space_f32(job) : forward_space_f64(job));
    if (!units || !az_ok(az)) return NULL;
    job->y = y->data;
    job->norm = (*norm)->data;
    if (q->dtype == AZ_F32)
        attention_forward_f32(job, units, n, work);
    else
        attention_forward_f64(job, units, n, work);
    return y;
}

az_tensor *az_attention(az_ctx *az, const az_tensor *q, const az_tensor *k, const az_tensor *v, const az_attention_how *how)
{
    if (!shapes_fit(az, q, k, v) || !sequences_fit(az, how, q->shape[0], k->shape[0])) return NULL;
    az_scope_push(az);
    attention_job job = plan(az, q, k, v, how);
    az_tensor *norm, *y = attend(az, &job, q, &norm);
    const az_tensor *inputs[] = {q, k, v};
    return az_keep(az, y && az_tracked(az, inputs, 3) ? record(az, y, inputs, &job, norm) : y);
}

az_tensor *az_attention_kv(az_ctx *az, const az_tensor *q, const az_kv *kv, const az_attention_how *how)
{
    if (!az_real(az, "az_attention_kv", q)) return NULL;
    if (q->rank != 3 || q->shape[2] != kv->dim || kv->dim < 1 || kv->kv_heads < 1 || q->shape[1] % kv->kv_heads ||
        (q->dtype == AZ_F64) != (kv->type == AZ_KV_F64))
        return az_fail(az, AZ_BAD_CALL, "az_attention_kv: queries %s do not fit a cache of %lld heads of %lld", az_shape_text(az, q),
                       (long long)kv->kv_heads, (long long)kv->dim);
    if (az_tracked(az, &q, 1)) return az_fail(az, AZ_BAD_CALL, "az_attention_kv: derivatives do not pass through a cache");
    if (!sequences_fit(az, how, q->shape[0], -1)) return NULL;
    az_scope_push(az);
    attention_job job = {.how = *how, .kv = kv, .heads = q->shape[1], .kv_heads = kv->kv_heads, .dim = kv->dim, .threads = az_threads(az)};
    job.q = rows_in(az, q);
    job.work = work_of(&job);
    az_tensor *norm;
    return az_keep(az, attend(az, &job, q, &norm));
}
