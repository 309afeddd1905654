/* adapter_generate.c - virtual tokens that networks of an adapter make of the instruction, in front of each block. They stand in front of
 * the sequence, so every token sees them and they see none; what the block makes of them is dropped by the next block's. */
#include "lm/adapter.h"

const char *const az_generator_activations[] = {"rational", "relu", "gelu", "silu", "tanh", "identity", NULL};
const char *const az_generator_poolers[] = {"attention", "last", "mean", "max", NULL};

/* ---- the networks ---- */

static bool fill(az_ctx *az, az_generators *g, int64_t width, int64_t virtual_tokens, az_dtype dtype)
{
    const int64_t above = AZ_GENERATOR_NUMERATOR, below = AZ_GENERATOR_DENOMINATOR;
    for (int k = 0; k < g->networks; k++)
        g->network[k] = (az_generator_network){
            .down = az_zeros(az, dtype, 2, (int64_t[]){width, g->m}),
            .attend = g->pooler == AZ_POOL_ATTENTION ? az_zeros(az, dtype, 2, (int64_t[]){g->m, virtual_tokens}) : NULL,
            .up = az_zeros(az, dtype, 2, (int64_t[]){g->m, width})};
    for (int b = 0; b < g->blocks; b++) {
        if (g->block[b].network < 0 || g->block[b].activation != AZ_GENERATE_RATIONAL) continue;
        g->block[b].numerator = az_zeros(az, dtype, 1, &above);
        g->block[b].denominator = az_zeros(az, dtype, 1, &below);
    }
    return az_ok(az);
}

/* How many networks the blocks name, in the order of their first blocks; -1 when they do not. */
static int count_networks(const az_generators *how)
{
    int n = 0;
    for (int b = 0; b < how->blocks; b++) {
        if (how->block[b].network < -1 || how->block[b].network > n) return -1;
        n += how->block[b].network == n;
    }
    return n;
}

bool az_adapter_add_generators(az_ctx *az, const az_lm *lm, az_adapter *adapter, const az_generators *how, int64_t virtual_tokens)
{
    if (!lm || !adapter || !az_ok(az)) return false;
    const bool f64 = az_weight_is_dense(lm->embedding) && lm->embedding->part[0]->dtype == AZ_F64;
    const int networks = how->blocks == lm->config.blocks ? count_networks(how) : -1;
    if (networks < 1 || how->m < 1 || virtual_tokens < 1)
        return az_fail(az, AZ_BAD_INPUT, "no networks that make virtual tokens in front of the model's %lld blocks",
                       (long long)lm->config.blocks);
    if (how->unrotated && !lm->rope_frequency)
        return az_fail(az, AZ_BAD_INPUT, "virtual tokens that are not rotated, beside a model that has no rotary embedding");
    az_arena_enter(az, adapter->arena);
    az_generators *g = az_alloc(az, sizeof *g);
    az_generator_block *block = az_alloc_array(az, (size_t)how->blocks, sizeof *block);
    az_generator_network *network = az_alloc_array(az, (size_t)networks, sizeof *network);
    if (g && block && network) {
        memcpy(block, how->block, (size_t)how->blocks * sizeof *block);
        *g = *how;
        g->networks = networks;
        g->network = network;
        g->block = block;
        if (fill(az, g, lm->config.width, virtual_tokens, f64 ? AZ_F64 : AZ_F32)) adapter->generators = g;
        adapter->virtual_tokens = virtual_tokens;
    }
    az_arena_leave(az);
    return az_ok(az);
}

void az_generator_places(az_generators *g, int b, az_tensor **place[AZ_GENERATOR_TENSORS])
{
    az_generator_block *block = &g->block[b];
    az_generator_network *network = block->network >= 0 ? &g->network[block->network] : NULL;
    az_tensor **all[] = {network ? &network->down : NULL, network ? &network->attend : NULL, network ? &network->up : NULL,
                         &block->numerator, &block->denominator};
    for (int k = 0; k < AZ_GENERATOR_TENSORS; k++) place[k] = all[k] && *all[k] ? all[k] : NULL;
}

bool az_generator_is_first(const az_generators *g, int b)
{
    for (int before = 0; before < b; before++)
        if (g->block[before].network == g->block[b].network) return false;
    return g->block[b].network >= 0;
}

/* ---- the activation ---- */

/* c_0 + c_1 x + ... by Horner's rule. */
static az_tensor *polynomial(az_ctx *az, const az_tensor *coefficient, az_tensor *x)
{
    const int64_t n = coefficient->shape[0];
    az_tensor *sum = az_slice(az, coefficient, 0, n - 1, 1);
    for (int64_t j = n - 2; j >= 0; j--) sum = az_add(az, az_mul(az, x, sum), az_slice(az, coefficient, 0, j, 1));
    return sum;
}

az_tensor *az_generator_activate(az_ctx *az, const az_generator_block *block, az_tensor *x)
{
    switch (block->activation) {
    case AZ_GENERATE_RELU: return az_relu(az, x);
    case AZ_GENERATE_GELU: return az_gelu(az, x);
    case AZ_GENERATE_SILU: return az_silu(az, x);
    case AZ_GENERATE_TANH: return az_tanh(az, x);
    case AZ_GENERATE_IDENTITY: return x;
    default: break;
    }
    x = az_clip(az, x, -10, 10);
    az_tensor *below = az_mul(az, x, polynomial(az, block->denominator, x));
    return az_div(az, polynomial(az, block->numerator, x), az_affine(az, az_abs(az, below), 1, 1));
}

/* ---- instructions ---- */

static const az_adapter *adapter_of(const az_lm_run *run, int s)
{
    const int which = run->adapter_of ? run->adapter_of[s] : 0;
    return which >= 0 && which < run->adapters ? run->adapter[which] : NULL;
}

bool az_adapter_unrotated(const az_lm_run *run, int s)
{
    const az_adapter *adapter = adapter_of(run, s);
    return adapter && adapter->generators && adapter->generators->unrotated;
}

static bool has_generators(const az_lm_run *run)
{
    for (int i = 0; i < run->adapters; i++)
        if (run->adapter[i]->generators) return true;
    return false;
}

const int64_t *az_lesson_instructions(az_ctx *az, const az_lm_lesson *lesson, const az_lm_run *run)
{
    if (!has_generators(run)) return NULL;
    const az_lm_batch *batch = &lesson->batch;
    int64_t *n = az_alloc_array(az, (size_t)batch->sequences, sizeof *n);
    for (int s = 0; n && s < batch->sequences; s++)
        for (int64_t i = batch->start[s]; i < batch->start[s + 1]; i++) {
            n[s] += batch->token[i] >= 0;
            if (lesson->target[i] >= 0) break;
        }
    return n;
}

/* One sequence's instruction: first row and length; false without virtual tokens (a sequence that goes on) and on errors. */
static bool find_instruction(az_ctx *az, const az_lm_batch *batch, const az_lm_run *run, int s, int64_t *first, int64_t *n)
{
    const az_adapter *adapter = adapter_of(run, s);
    int64_t at = batch->start[s], made = 0;
    while (at < batch->start[s + 1] && batch->token[at] == -1 - made) at++, made++;
    if (made == 0) return false;
    if (made != adapter->virtual_tokens)
        return az_fail(az, AZ_BAD_CALL, "%lld virtual tokens of '%s', which makes %lld", (long long)made, adapter->name,
                       (long long)adapter->virtual_tokens);
    *first = at;
    *n = run->instruction ? run->instruction[s] : batch->start[s + 1] - at;
    if (*n >= 1 && *n <= batch->start[s + 1] - at) return true;
    return az_fail(az, AZ_BAD_INPUT, "the adapter '%s' reads an instruction, and sequence %d has none", adapter->name, s);
}

bool az_adapter_instructions(az_ctx *az, const az_lm_batch *batch, const az_lm_run *run, int which, az_adapted_rows *group)
{
    int64_t *first = az_alloc_array(az, (size_t)batch->sequences, sizeof *first),
            *n = az_alloc_array(az, (size_t)batch->sequences, sizeof *n);
    if (!first || !n) return false;
    for (int s = 0; s < batch->sequences; s++) {
        if (adapter_of(run, s) != run->adapter[which]) continue;
        group->instructions += find_instruction(az, batch, run, s, &first[group->instructions], &n[group->instructions]);
    }
    group->instruction = first;
    group->instructed = n;
    return az_ok(az);
}

/* ---- in front of a block ---- */

/* One row for each of t virtual tokens from the rows of z, by their place alone. */
static az_tensor *pool_by_place(az_ctx *az, az_generator_pooler pooler, az_tensor *z, int64_t t)
{
    const int64_t n = z->shape[0];
    az_tensor **row = az_alloc_array(az, (size_t)t, sizeof *row);
    for (int64_t j = 0; row && j < t; j++) {
        const int64_t last = n - t + j > 0 ? n - t + j : 0, first = pooler == AZ_POOL_LAST ? last : j * n / t;
        const int64_t end = pooler == AZ_POOL_LAST ? last + 1 : (j + 1) * n / t;
        az_tensor *stretch = az_slice(az, z, 0, first, end > first ? end - first : 1);
        row[j] = pooler == AZ_POOL_MAX ? az_max(az, stretch, 0, true) : az_mean(az, stretch, 0, true);
    }
    return row && az_ok(az) ? az_concat(az, row, (int)t, 0) : NULL;
}

/* The rows of x [rows, width] that lie in the group's instructions, one behind the other; begins[s] = the first of instruction s. */
static az_tensor *instruction_rows(az_ctx *az, const az_adapted_rows *group, az_tensor *x, int64_t *begins)
{
    int64_t n = 0;
    for (int64_t s = 0; s < group->instructions; s++) begins[s] = n, n += group->instructed[s];
    begins[group->instructions] = n;
    int32_t *row = az_alloc_array(az, (size_t)n, sizeof *row);
    for (int64_t s = 0; row && s < group->instructions; s++)
        for (int64_t i = 0; i < group->instructed[s]; i++) row[begins[s] + i] = (int32_t)(group->instruction[s] + i);
    return row ? az_gather(az, x, az_from(az, AZ_I32, 1, &n, row)) : NULL;
}

/* softmax(attend^T z^T) z for each instruction: attention with one head whose queries are the columns of `attend`, and whose keys and
 * values are the rows of z. */
static az_tensor *pool_by_attention(az_ctx *az, const az_tensor *attend, az_tensor *z, int64_t instructions, const int64_t *begins)
{
    const int64_t m = attend->shape[0], t = attend->shape[1], queries = instructions * t;
    int32_t *column = az_alloc_array(az, (size_t)queries, sizeof *column);
    int64_t *query = az_alloc_array(az, 2 * (size_t)instructions + 1, sizeof *query);
    if (!column || !query) return NULL;
    int64_t *count = query + instructions + 1;
    for (int64_t i = 0; i < queries; i++) column[i] = (int32_t)(i % t);
    for (int64_t s = 0; s <= instructions; s++) query[s] = s * t;
    for (int64_t s = 0; s < instructions; s++) count[s] = begins[s + 1] - begins[s];
    const az_attention_how how = {
        .sequences = (int)instructions, .query_start = query, .key_start = begins, .key_count = count, .scale = 1, .bidirectional = true};
    az_tensor *each = az_contiguous(az, az_transpose(az, attend)); /* [t, m] */
    az_tensor *q = az_reshape(az, az_gather(az, each, az_from(az, AZ_I32, 1, &queries, column)), 3, (int64_t[]){queries, 1, m});
    az_tensor *rows = az_reshape(az, z, 3, (int64_t[]){-1, 1, m});
    return az_reshape(az, az_attention(az, q, rows, rows, &how), 2, (int64_t[]){queries, m});
}

/* What the network takes from the instructions: [instructions * virtual_tokens, m]. */
static az_tensor *pool(az_ctx *az, const az_adapted_rows *group, const az_generator_network *network, az_tensor *x)
{
    const az_adapter *adapter = group->adapter;
    int64_t *begins = az_alloc_array(az, (size_t)group->instructions + 1, sizeof *begins);
    az_tensor **pooled = az_alloc_array(az, (size_t)group->instructions, sizeof *pooled);
    az_tensor *h = begins && pooled ? instruction_rows(az, group, x, begins) : NULL, *z = az_matmul(az, h, network->down);
    if (!z) return NULL;
    if (adapter->generators->pooler == AZ_POOL_ATTENTION) return pool_by_attention(az, network->attend, z, group->instructions, begins);
    for (int64_t s = 0; s < group->instructions; s++)
        pooled[s] =
            pool_by_place(az, adapter->generators->pooler, az_slice(az, z, 0, begins[s], group->instructed[s]), adapter->virtual_tokens);
    return az_ok(az) ? az_concat(az, pooled, (int)group->instructions, 0) : NULL;
}

/* Virtual tokens of all the group's instructions [virtual rows, width]. */
static az_tensor *generate(az_ctx *az, const az_adapted_rows *group, const az_generator_block *block, az_tensor *x)
{
    const az_generators *g = group->adapter->generators;
    const az_generator_network *network = &g->network[block->network];
    az_tensor *pooled = pool(az, group, network, x);
    if (g->normalize && pooled) pooled = az_rms_norm(az, pooled, az_full(az, x->dtype, 1, &g->m, 1), 1e-6);
    return az_matmul(az, az_generator_activate(az, block, pooled), network->up);
}

az_tensor *az_adapters_generate(az_ctx *az, const az_pass_adapters *all, int b, az_tensor *x)
{
    for (int i = 0; all && x && i < all->groups; i++) {
        const az_adapted_rows *group = &all->group[i];
        if (group->instructions == 0 || group->adapter->generators->block[b].network < 0) continue;
        az_tensor *made = generate(az, group, &group->adapter->generators->block[b], x);
        x = az_adapters_put(az, all, x, made, group->virtual_row, group->virtual_rows);
    }
    return x;
}
