/* adapter_pass.c - what adapters do in a forward pass: rows of the batch are grouped by adapter, each group's rows get their low-rank term,
 * and the weights of the model are read as they are, once for the whole batch. */
#include "lm/adapter.h"

#include <stdio.h>
#include <string.h>

/* ---- which rows use which adapter ---- */

static int adapter_of(const az_lm_run *run, int sequence)
{
    return run->adapter_of ? run->adapter_of[sequence] : 0;
}

static bool check_choice(az_ctx *az, const az_lm_batch *batch, const az_lm_run *run)
{
    for (int s = 0; s < batch->sequences; s++) {
        const int which = adapter_of(run, s);
        if (which < -1 || which >= run->adapters)
            return az_fail(az, AZ_BAD_CALL, "sequence %d wants adapter %d of %d", s, which, run->adapters);
    }
    return true;
}

static bool fill_group(az_ctx *az, const az_lm_batch *batch, const az_lm_run *run, int which, az_adapted_rows *group)
{
    const int64_t rows = batch->start[batch->sequences];
    int32_t *row = az_alloc_array(az, (size_t)rows, sizeof *row), *virtual_row = az_alloc_array(az, (size_t)rows, sizeof *virtual_row);
    int32_t *virtual_token = az_alloc_array(az, (size_t)rows, sizeof *virtual_token);
    if (!row || !virtual_row || !virtual_token) return false;
    *group = (az_adapted_rows){.adapter = run->adapter[which], .virtual_row = virtual_row, .virtual_token = virtual_token};
    for (int s = 0; s < batch->sequences; s++) {
        if (adapter_of(run, s) != which) continue;
        for (int64_t i = batch->start[s]; i < batch->start[s + 1]; i++) {
            row[group->n++] = (int32_t)i;
            if (batch->token[i] >= 0) continue;
            virtual_row[group->virtual_rows] = (int32_t)i;
            virtual_token[group->virtual_rows++] = -1 - batch->token[i];
        }
    }
    group->row = group->n == rows ? NULL : row;
    return !group->adapter->generators || az_adapter_instructions(az, batch, run, which, group);
}

const az_pass_adapters *az_pass_adapters_begin(az_ctx *az, const az_lm_batch *batch, const az_lm_run *run)
{
    if (run->adapters < 1 || !check_choice(az, batch, run)) return NULL;
    az_pass_adapters *all = az_alloc(az, sizeof *all);
    if (!all) return NULL;
    *all = (az_pass_adapters){.rows = batch->start[batch->sequences], .dropout = run->dropout};
    all->group = az_alloc_array(az, (size_t)run->adapters, sizeof *all->group);
    for (int which = 0; all->group && which < run->adapters; which++) {
        if (!fill_group(az, batch, run, which, &all->group[all->groups])) return NULL;
        all->groups += all->group[all->groups].n > 0;
    }
    return az_ok(az) && all->groups > 0 ? all : NULL;
}

/* Rows of a group that are among the n wanted ones, by their new places. */
static bool take_rows(az_ctx *az, const az_adapted_rows *group, int64_t rows, const int32_t *wanted, int64_t n, az_adapted_rows *out)
{
    bool *member = az_alloc_array(az, (size_t)rows, sizeof *member);
    int32_t *row = az_alloc_array(az, (size_t)n, sizeof *row);
    if (!member || !row) return false;
    for (int64_t i = 0; i < group->n; i++) member[group->row ? group->row[i] : i] = true;
    *out = (az_adapted_rows){.adapter = group->adapter};
    for (int64_t i = 0; i < n; i++)
        if (member[wanted[i]]) row[out->n++] = (int32_t)i;
    out->row = out->n == n ? NULL : row;
    return true;
}

const az_pass_adapters *az_pass_adapters_take(az_ctx *az, const az_pass_adapters *all, const int32_t *row, int64_t n)
{
    if (!all) return NULL;
    az_pass_adapters *some = az_alloc(az, sizeof *some);
    az_adapted_rows *group = az_alloc_array(az, (size_t)all->groups, sizeof *group);
    if (!some || !group) return NULL;
    *some = (az_pass_adapters){.group = group, .rows = n, .dropout = all->dropout};
    for (int g = 0; g < all->groups; g++) {
        if (!take_rows(az, &all->group[g], all->rows, row, n, &group[some->groups])) return NULL;
        some->groups += group[some->groups].n > 0;
    }
    return some->groups > 0 ? some : NULL;
}

const az_pass_adapters *az_pass_adapters_slice(az_ctx *az, const az_pass_adapters *all, int64_t first, int64_t n)
{
    int32_t *row = all ? az_alloc_array(az, (size_t)n, sizeof *row) : NULL;
    for (int64_t i = 0; row && i < n; i++) row[i] = (int32_t)(first + i);
    return row ? az_pass_adapters_take(az, all, row, n) : NULL;
}

static const int32_t *save_rows(az_ctx *az, const int32_t *row, int64_t n)
{
    return row && n > 0 ? az_save_memory(az, row, (size_t)n * sizeof *row) : NULL;
}

const az_pass_adapters *az_pass_adapters_save(az_ctx *az, const az_pass_adapters *adapters)
{
    if (!adapters) return NULL;
    az_pass_adapters saved = *adapters;
    saved.group = az_save_memory(az, adapters->group, (size_t)adapters->groups * sizeof *adapters->group);
    for (int g = 0; saved.group && g < saved.groups; g++) {
        az_adapted_rows *group = &saved.group[g];
        group->row = save_rows(az, group->row, group->n);
        group->virtual_row = save_rows(az, group->virtual_row, group->virtual_rows);
        group->virtual_token = save_rows(az, group->virtual_token, group->virtual_rows);
        if (group->instructions == 0) continue;
        group->instruction = az_save_memory(az, group->instruction, (size_t)group->instructions * sizeof(int64_t));
        group->instructed = az_save_memory(az, group->instructed, (size_t)group->instructions * sizeof(int64_t));
    }
    return az_save_memory(az, &saved, sizeof saved);
}

/* ---- beside a linear layer ---- */

bool az_adapters_touch(const az_pass_adapters *adapters, const char *name)
{
    for (int g = 0; adapters && g < adapters->groups; g++)
        if (az_adapter_find(adapters->group[g].adapter, name)) return true;
    return false;
}

/* x with each value zero with probability p and otherwise divided by 1 - p: element i by (key, name, i). */
static az_tensor *drop(az_ctx *az, az_tensor *x, double p, uint64_t key, const char *name)
{
    if (!x || p <= 0 || key == 0) return x;
    const int64_t n = az_count(x);
    az_tensor *mask = az_tensor_new(az, AZ_F32, x->rank, x->shape);
    float *m = az_f32_mut(mask);
    if (!m) return NULL;
    az_fill_uniform(az, key, az_stream(name, 0), 0, n, m);
    const float kept = (float)(1 / (1 - p));
    for (int64_t i = 0; i < n; i++) m[i] = m[i] < (float)p ? 0 : kept;
    return az_mul(az, x, x->dtype == AZ_F32 ? mask : az_cast(az, mask, x->dtype));
}

/* e * (A x) */
static az_tensor *inner_term(az_ctx *az, const az_adapter_layer *layer, const az_tensor *x)
{
    az_tensor *h = layer->from ? az_gather_columns(az, x, layer->from) : az_matmul_nt(az, x, layer->a);
    return layer->e ? az_mul(az, h, layer->e) : h;
}

/* B h */
static az_tensor *outer_term(az_ctx *az, const az_adapter_layer *layer, const az_tensor *h)
{
    return layer->to ? az_scatter_columns(az, h, layer->to, layer->out) : az_matmul_nt(az, h, layer->b);
}

/* s (B (e * (A x)) + its bias) */
static az_tensor *low_rank_term(az_ctx *az, const az_adapter_layer *layer, az_tensor *x)
{
    az_tensor *h = inner_term(az, layer, x);
    if (layer->scale != 1) h = az_affine(az, h, layer->scale, 0);
    az_tensor *d = outer_term(az, layer, h);
    return layer->b_bias ? az_add(az, d, az_affine(az, layer->b_bias, layer->scale, 0)) : d;
}

az_tensor *az_adapter_row_norm(az_ctx *az, const az_weight *w, const az_adapter_layer *layer)
{
    enum { TILE = 64 };
    const bool f64 = w->part[0]->dtype == AZ_F64;
    az_scope_push(az);
    az_tape_pause(az);
    az_tensor *norm = az_new1(az, f64 ? AZ_F64 : AZ_F32, w->rows);
    az_tensor *a = layer->a && layer->e ? az_mul(az, az_reshape(az, layer->e, 2, (int64_t[]){layer->rank, 1}), layer->a) : layer->a;
    for (int64_t first = 0; norm && first < w->rows && az_ok(az); first += TILE) {
        const int64_t n = w->rows - first < TILE ? w->rows - first : TILE;
        az_scope_push(az);
        az_tensor *v = f64 ? az_slice(az, w->part[0], 0, first, n) : az_new2(az, AZ_F32, n, w->cols);
        if (v && !f64) w->format->decode(w, first, n, az_f32_mut(v));
        if (a) v = az_add(az, v, az_affine(az, az_matmul(az, az_slice(az, layer->b, 0, first, n), a), layer->scale, 0));
        az_tensor *sum = az_sqrt(az, az_sum(az, az_square(az, v), -1, false));
        if (sum) az_copy_into(az, az_slice(az, norm, 0, first, n), sum);
        az_scope_pop(az);
    }
    az_tape_resume(az);
    return az_keep(az, az_ok(az) ? norm : NULL);
}

/* In training the rows of V change from pass to pass; otherwise their norms are known. */
static const az_tensor *row_norm(az_ctx *az, const az_weight *w, const az_adapter_layer *layer)
{
    const az_tensor *moving[] = {layer->magnitude, layer->a ? layer->a : layer->magnitude, layer->b ? layer->b : layer->magnitude};
    if (layer->row_norm && !az_tracked(az, moving, 3)) return layer->row_norm;
    return az_adapter_row_norm(az, w, layer);
}

/* DoRA: m / |V| (W x + term). With dropout the low-rank term alone sees dropped inputs in plain LoRA; here the base does too, for what the
 * magnitude adds (PEFT's form): W x + (m / |V| - 1) W drop(x) + m / |V| term. */
static az_tensor *rescale(az_ctx *az, const az_weight *w, const az_adapter_layer *layer, az_tensor *y, az_tensor *dropped, az_tensor *term)
{
    az_tensor *factor = az_div(az, layer->magnitude, row_norm(az, w, layer));
    if (!dropped) return az_mul(az, term ? az_add(az, y, term) : y, factor);
    az_tensor *more = az_mul(az, az_weight_apply(az, w, dropped), az_affine(az, factor, 1, -1));
    y = az_add(az, y, more);
    return term ? az_add(az, y, az_mul(az, term, factor)) : y;
}

/* The whole layer for rows that use this adapter: y is W x. */
static az_tensor *adapted(az_ctx *az, const az_pass_adapters *all, const az_adapter *adapter, const az_lm_linear *linear, az_tensor *x,
                          az_tensor *y)
{
    const az_adapter_layer *layer = az_adapter_find(adapter, linear->name);
    const az_tensor *bias = layer && layer->bias ? layer->bias : linear->bias;
    if (layer && layer->weight) y = az_weight_apply(az, layer->weight, x);
    const az_weight *w = layer && layer->weight ? layer->weight : linear->weight;
    if (layer && (layer->rank > 0 || layer->magnitude)) {
        az_tensor *dropped = drop(az, x, adapter->dropout, all->dropout, linear->name);
        az_tensor *term = layer->rank > 0 ? low_rank_term(az, layer, dropped) : NULL;
        if (layer->magnitude)
            y = rescale(az, w, layer, y, dropped == x ? NULL : dropped, term);
        else
            y = az_add(az, y, term);
    }
    return bias ? az_add(az, y, bias) : y;
}

az_tensor *az_adapters_put(az_ctx *az, const az_pass_adapters *all, az_tensor *y, az_tensor *part, const int32_t *row, int64_t n)
{
    if (!y || !part) return NULL;
    int64_t shape[AZ_MAX_RANK] = {all->rows, 1, 1, 1, 1, 1};
    az_tensor *mask = az_zeros(az, AZ_U8, y->rank, shape);
    if (!mask) return NULL;
    for (int64_t i = 0; i < n; i++) ((uint8_t *)mask->data)[row[i]] = 1;
    az_tensor *index = az_from(az, AZ_I32, 1, &n, row);
    return az_where(az, mask, az_scatter_add(az, part, index, all->rows), y);
}

/* Whether adapters only add a low-rank term to W x. */
static bool only_terms(const az_pass_adapters *all, const char *name)
{
    for (int g = 0; g < all->groups; g++) {
        const az_adapter *adapter = all->group[g].adapter;
        const az_adapter_layer *layer = az_adapter_find(adapter, name);
        if (!layer) continue;
        const bool more = layer->magnitude || layer->weight || layer->bias || layer->b_bias;
        if (layer->rank == 0 || more || (all->dropout != 0 && adapter->dropout > 0)) return false;
    }
    return true;
}

/* y += s B (e * (A x)) for n rows that follow each other, where they stand. */
static void add_term(az_ctx *az, const az_adapter_layer *layer, const az_tensor *x, az_tensor *y, int64_t first, int64_t n)
{
    az_scope_push(az);
    const az_tensor *term = outer_term(az, layer, inner_term(az, layer, az_slice(az, x, 0, first, n)));
    if (term) az_add_into(az, az_slice(az, y, 0, first, n), term, layer->scale);
    az_scope_pop(az);
}

/* Nothing is recorded, so nobody needs y = W x as it was: each group's term goes straight into the group's rows of it. */
static az_tensor *add_terms(az_ctx *az, const az_pass_adapters *all, const az_lm_linear *linear, const az_tensor *x, az_tensor *y)
{
    if (linear->bias) y = az_add(az, y, linear->bias);
    for (int g = 0; g < all->groups && az_ok(az); g++) {
        const az_adapted_rows *group = &all->group[g];
        const az_adapter_layer *layer = az_adapter_find(group->adapter, linear->name);
        for (int64_t i = 0, n; layer && i < group->n; i += n) {
            const int64_t first = group->row ? group->row[i] : 0;
            n = group->row ? 1 : group->n;
            while (i + n < group->n && group->row[i + n] == first + n) n++;
            add_term(az, layer, x, y, first, n);
        }
    }
    return az_ok(az) ? y : NULL;
}

az_tensor *az_adapters_linear(az_ctx *az, const az_pass_adapters *all, const az_lm_linear *linear, az_tensor *x, az_tensor *y)
{
    if (!x || !y) return NULL;
    if (!az_recording(az) && only_terms(all, linear->name)) return add_terms(az, all, linear, x, y);
    if (all->groups == 1 && !all->group[0].row) return adapted(az, all, all->group[0].adapter, linear, x, y);
    az_tensor *out = linear->bias ? az_add(az, y, linear->bias) : y;
    for (int g = 0; g < all->groups; g++) {
        const az_adapted_rows *group = &all->group[g];
        if (!az_adapter_find(group->adapter, linear->name)) continue;
        az_tensor *index = az_from(az, AZ_I32, 1, &group->n, group->row);
        az_tensor *part = adapted(az, all, group->adapter, linear, az_gather(az, x, index), az_gather(az, y, index));
        out = az_adapters_put(az, all, out, part, group->row, group->n);
    }
    return out;
}

/* ---- in front of the blocks ---- */

/* What the table's adapter adds for the tokens of its rows: s (rows of a) B^T. */
static az_tensor *embed_rows(az_ctx *az, const az_pass_adapters *all, const az_adapter_layer *layer, const az_tensor *index, az_tensor *x)
{
    if (layer->weight) x = az_weight_gather(az, layer->weight, index);
    if (!layer->a) return x;
    az_tensor *h = az_affine(az, az_gather(az, layer->a, index), layer->scale, 0);
    (void)all;
    return az_add(az, x, az_matmul_nt(az, h, layer->b));
}

az_tensor *az_adapters_embed(az_ctx *az, const az_pass_adapters *all, const int32_t *token, az_tensor *x)
{
    for (int g = 0; all && x && g < all->groups; g++) {
        const az_adapted_rows *group = &all->group[g];
        const az_adapter_layer *layer = az_adapter_find(group->adapter, AZ_EMBEDDING_NAME);
        if (!layer) continue;
        az_tensor *index = az_new1(az, AZ_I32, group->n);
        if (!index) return NULL;
        for (int64_t i = 0; i < group->n; i++) {
            const int32_t id = token[group->row ? group->row[i] : i];
            ((int32_t *)index->data)[i] = id < 0 ? 0 : id;
        }
        const az_tensor *rows = group->row ? az_from(az, AZ_I32, 1, &group->n, group->row) : NULL;
        az_tensor *part = embed_rows(az, all, layer, index, rows ? az_gather(az, x, rows) : x);
        x = rows ? az_adapters_put(az, all, x, part, group->row, group->n) : part;
    }
    return x;
}

/* The rows of the group's virtual tokens, from a table [virtual_tokens, ...] whose row has the shape of one of x; zeros without it. */
static az_tensor *put_virtual(az_ctx *az, const az_pass_adapters *all, const az_adapted_rows *group, az_tensor *table, az_tensor *x)
{
    if (!x || group->virtual_rows == 0) return x;
    az_tensor *part;
    if (table) {
        part = az_gather(az, table, az_from(az, AZ_I32, 1, &group->virtual_rows, group->virtual_token));
    } else {
        int64_t shape[AZ_MAX_RANK];
        memcpy(shape, x->shape, sizeof shape);
        shape[0] = group->virtual_rows;
        part = az_zeros(az, x->dtype, x->rank, shape);
    }
    return az_adapters_put(az, all, x, part, group->virtual_row, group->virtual_rows);
}

az_tensor *az_adapters_prompt(az_ctx *az, const az_pass_adapters *all, az_tensor *x)
{
    for (int g = 0; all && g < all->groups; g++) x = put_virtual(az, all, &all->group[g], all->group[g].adapter->prompt, x);
    return x;
}

az_tensor *az_adapters_prefix(az_ctx *az, const az_pass_adapters *all, int block, int side, az_tensor *x)
{
    for (int g = 0; all && x && g < all->groups; g++) {
        const az_adapter *adapter = all->group[g].adapter;
        if (!adapter->prefix || all->group[g].virtual_rows == 0) continue;
        const int64_t width = x->shape[1] * x->shape[2];
        az_tensor *table = az_contiguous(az, az_slice(az, adapter->prefix, 1, (2 * block + side) * width, width));
        table = az_reshape(az, table, 3, (int64_t[]){adapter->virtual_tokens, x->shape[1], x->shape[2]});
        x = put_virtual(az, all, &all->group[g], table, x);
    }
    return x;
}

/* ---- for passes that are computed again ---- */

/* Whether the layer lies in the block, or for -1 is the head. */
static bool in_block(const char *name, int block)
{
    char prefix[32];
    if (block < 0) return strcmp(name, "head") == 0;
    const int length = snprintf(prefix, sizeof prefix, "blocks.%d.", block);
    return strncmp(name, prefix, (size_t)length) == 0;
}

static bool is_tracked(az_ctx *az, const az_tensor *x)
{
    return x && az_tracked(az, &x, 1);
}

int az_adapters_tracked(az_ctx *az, const az_pass_adapters *all, int block, az_tensor ****slots)
{
    int n = 0, most = 0;
    for (int g = 0; all && g < all->groups; g++) most += AZ_ADAPTER_TENSORS * (all->group[g].adapter->layers + 1);
    *slots = az_alloc_array(az, (size_t)most + 1, sizeof **slots);
    for (int g = 0; *slots && all && g < all->groups; g++) {
        az_adapter *adapter = (az_adapter *)all->group[g].adapter;
        if (block >= 0 && is_tracked(az, adapter->prefix)) (*slots)[n++] = &adapter->prefix;
        az_tensor **made[AZ_GENERATOR_TENSORS] = {NULL};
        if (block >= 0 && adapter->generators) az_generator_places(adapter->generators, block, made);
        for (int k = 0; k < AZ_GENERATOR_TENSORS; k++)
            if (made[k] && is_tracked(az, *made[k])) (*slots)[n++] = made[k];
        for (int i = 0; i < adapter->layers; i++) {
            az_adapter_layer *l = &adapter->layer[i];
            if (!in_block(l->name, block)) continue;
            az_tensor **place[AZ_ADAPTER_TENSORS];
            az_adapter_places(l, place);
            for (int k = 0; k < AZ_ADAPTER_TENSORS; k++)
                if (place[k] && is_tracked(az, *place[k])) (*slots)[n++] = place[k];
        }
    }
    return n;
}
