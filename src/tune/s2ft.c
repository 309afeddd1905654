/* s2ft.c - S2FT: dense training of a few whole heads and channels (Yang et al., NeurIPS 2024, arXiv 2412.06289).
 *
 * Of a layer y = W x chosen columns I (o, down) or rows J (v, up) are trained:
 *     y += D x_I            D [out, |I|], gradient dy^T x_I: only the chosen inputs are kept for the backward pass, not x
 *     y_J += D x            D [|J|, in], gradient dy_J^T x
 * with D = 0 at the start. dx goes through the whole weight as ever. Gradients and moments exist for D alone.
 * In place: the chosen block itself is trained, W_I, and the rest of W stays; the same steps without weight decay.
 * Permuted: channels are reordered on both sides (rows of gate and up, columns of down) so that the chosen ones lie side by side; the
 * block's function stays, and indices go back to the original order at the end. Result: as a LoRA adapter, exactly: column type B = D, A =
 * one-hot rows of I; row type B = one-hot columns of J, A = D; alpha = rank. */
#include "tune/s2ft.h"

#include <string.h>

typedef struct s2ft_options {
    double v, o, up, down;
    int select, which, scope, mode, layout;
    int64_t examples;
    const char *selection, *keep;
} s2ft_options;

enum { MODE_DELTA, MODE_INPLACE };
enum { LAYOUT_GATHER, LAYOUT_PERMUTE };
static const char *const selects[] = {"random", "weight", "activation", "product", "gradient", NULL};
static const char *const ends[] = {"small", "large", NULL}, *const scopes[] = {"global", "layer", NULL};
static const char *const modes[] = {"delta", "inplace", NULL}, *const layouts[] = {"gather", "permute", NULL};

static const az_option options_table[] = {
    {"v_ratio", AZ_FIELD(AZ_REAL, s2ft_options, v), "0", 0, 1, NULL, "share of the heads of values whose rows of v are trained"},
    {"o_ratio", AZ_FIELD(AZ_REAL, s2ft_options, o), "0", 0, 1, NULL, "share of the heads whose columns of o are trained"},
    {"u_ratio", AZ_FIELD(AZ_REAL, s2ft_options, up), "0", 0, 1, NULL, "share of the channels whose rows of up are trained"},
    {"d_ratio", AZ_FIELD(AZ_REAL, s2ft_options, down), "0.03", 0, 1, NULL, "share of the channels whose columns of down are trained"},
    {"select", AZ_FIELD(AZ_CHOICE, s2ft_options, select), "random", 0, 0, selects,
     "by norms of weights, mean sizes of activations, their product, or norms of gradients"},
    {"which", AZ_FIELD(AZ_CHOICE, s2ft_options, which), "small", 0, 0, ends, "the smallest or the largest of these"},
    {"scope", AZ_FIELD(AZ_CHOICE, s2ft_options, scope), "global", 0, 0, scopes, "choose among all blocks together, or in each"},
    {"examples", AZ_FIELD(AZ_INT, s2ft_options, examples), "32", 1, 1e7, NULL, "examples for activations and gradients"},
    {"selection", AZ_FIELD(AZ_TEXT, s2ft_options, selection), "", 0, 0, NULL,
     "take the rows and columns from this file, {\"blocks.1.mlp.down\": [3, 17], ...}, instead of choosing them"},
    {"keep", AZ_FIELD(AZ_TEXT, s2ft_options, keep), "", 0, 0, NULL, "write those that are trained to such a file"},
    {"mode", AZ_FIELD(AZ_CHOICE, s2ft_options, mode), "delta", 0, 0, modes,
     "train a change, which makes an adapter; or the block itself, which makes a model"},
    {"layout", AZ_FIELD(AZ_CHOICE, s2ft_options, layout), "gather", 0, 0, layouts,
     "pick the chosen channels by index, or reorder channels so that they lie side by side while training"},
    {.name = NULL},
};

extern const az_method az_s2ft;

typedef struct s2ft {
    const s2ft_options *options;
    az_lm *lm; /* that is trained on: the job's, or a copy with other weights or orders */
    az_s2_choice *choice;
    int n;
    int32_t **order; /* [blocks] permuted: channel i of the copy is order[i] of the model; NULL = as they are */
    az_adapter *adapter;
} s2ft;

/* ---- layouts ---- */

static int block_of(const az_lm *lm, const char *layer)
{
    for (int b = 0; b < lm->config.blocks; b++)
        if (strcmp(lm->block[b].up.name, layer) == 0 || strcmp(lm->block[b].down.name, layer) == 0) return b;
    return -1;
}

/* [only up, both, only down, rest] of a block's channels. */
static int32_t *order_of(az_ctx *az, const s2ft *s, int block, int64_t hidden)
{
    int32_t *order = az_alloc_array(az, (size_t)hidden, sizeof *order);
    uint8_t *in = az_alloc_array(az, (size_t)hidden, sizeof *in); /* 1 = up, 2 = down */
    for (int i = 0; in && i < s->n; i++) {
        const az_s2_choice *c = &s->choice[i];
        if (block_of(s->lm, c->layer) != block) continue;
        for (int64_t k = 0; k < c->index->shape[0]; k++) in[((const int32_t *)c->index->data)[k]] |= c->kind == AZ_S2_UP ? 1 : 2;
    }
    static const uint8_t group[] = {1, 3, 2, 0};
    int64_t at = 0;
    for (int g = 0; order && in && g < 4; g++)
        for (int64_t i = 0; i < hidden; i++)
            if (in[i] == group[g]) order[at++] = (int32_t)i;
    return order;
}

/* Indices of the model -> those of the permuted copy, ascending. */
static bool move_indices(az_ctx *az, s2ft *s, int block, const int32_t *order, int64_t hidden)
{
    for (int i = 0; i < s->n; i++) {
        az_s2_choice *c = &s->choice[i];
        if (block_of(s->lm, c->layer) != block) continue;
        az_tensor *moved = az_copy(az, c->index);
        int64_t n = 0;
        for (int64_t p = 0; moved && p < hidden; p++)
            for (int64_t k = 0; k < c->index->shape[0]; k++)
                if (((const int32_t *)c->index->data)[k] == order[p]) ((int32_t *)moved->data)[n++] = (int32_t)p;
        c->index = moved;
    }
    return az_ok(az);
}

static bool permute(az_ctx *az, s2ft *s)
{
    const int64_t hidden = s->lm->config.hidden, blocks = s->lm->config.blocks;
    s->order = az_alloc_array(az, (size_t)blocks, sizeof *s->order);
    for (int b = 0; s->order && b < blocks && az_ok(az); b++) {
        s->order[b] = order_of(az, s, b, hidden);
        if (!s->order[b] || !move_indices(az, s, b, s->order[b], hidden) || !az_lm_permute_channels(az, s->lm, b, s->order[b]))
            return false;
    }
    return az_ok(az);
}

/* ---- what is trained ---- */

static az_lm_linear *linear_named(az_ctx *az, az_lm *lm, const char *name)
{
    az_lm_linear **linear;
    const int n = az_lm_linears(az, lm, &linear);
    for (int i = 0; i < n; i++)
        if (strcmp(linear[i]->name, name) == 0) return linear[i];
    return NULL;
}

/* In place: the block moves from the (dense) weight, where zeros stay, into the trained tensor. */
static bool take_block(az_ctx *az, s2ft *s, const az_s2_choice *c, az_tensor *block)
{
    az_lm_linear *linear = linear_named(az, s->lm, c->layer);
    if (!linear) return false;
    az_arena_enter(az, s->lm->arena);
    az_tensor *w = az_weight_decode(az, linear->weight);
    linear->weight = az_weight_dense(az, w);
    az_arena_leave(az);
    if (!w || !linear->weight) return false;
    const int64_t n = c->index->shape[0], rows = w->shape[0], cols = w->shape[1];
    const int32_t *index = c->index->data;
    float *from = az_f32_mut(w), *to = az_f32_mut(block);
    const bool columns = az_s2_columns(c->kind);
    for (int64_t k = 0; k < n; k++)
        for (int64_t j = 0; j < (columns ? rows : cols); j++) {
            float *value = columns ? &from[j * cols + index[k]] : &from[index[k] * cols + j];
            to[columns ? j * n + k : k * cols + j] = *value;
            *value = 0;
        }
    return true;
}

static void give_back(const az_lm_linear *linear, const az_s2_choice *c, const az_tensor *block)
{
    az_tensor *w = linear->weight->part[0];
    const int64_t n = c->index->shape[0], rows = w->shape[0], cols = w->shape[1];
    const int32_t *index = c->index->data;
    const float *from = az_f32(block);
    float *to = az_f32_mut(w);
    const bool columns = az_s2_columns(c->kind);
    for (int64_t k = 0; k < n; k++)
        for (int64_t j = 0; j < (columns ? rows : cols); j++) {
            if (columns)
                to[j * cols + index[k]] = from[j * n + k];
            else
                to[index[k] * cols + j] = from[k * cols + j];
        }
}

static bool add_layers(az_ctx *az, s2ft *s)
{
    s->adapter = az_adapter_empty(az, "s2ft", "LORA");
    for (int i = 0; s->adapter && i < s->n; i++) {
        const az_s2_choice *c = &s->choice[i];
        const int64_t n = c->index->shape[0];
        az_adapter_layer *layer = az_adapter_add_layer(az, s->lm, s->adapter, c->layer, n, (double)n);
        if (!layer) return false;
        az_arena_enter(az, s->adapter->arena);
        *(az_s2_columns(c->kind) ? &layer->from : &layer->to) = az_copy(az, c->index);
        az_arena_leave(az);
        *(az_s2_columns(c->kind) ? &layer->a : &layer->b) = NULL;
        if (s->options->mode == MODE_INPLACE && !take_block(az, s, c, az_s2_columns(c->kind) ? layer->b : layer->a)) return false;
    }
    return az_ok(az);
}

/* ---- the result ---- */

/* The one-hot factor: [n, width] rows for columns' A, [width, n] for rows' B. In the model's own order of channels. */
static az_tensor *one_hot(az_ctx *az, const az_tensor *index, const int32_t *order, int64_t width, bool rows, az_dtype dtype)
{
    const int64_t n = index->shape[0], shape[2] = {rows ? n : width, rows ? width : n};
    az_tensor *x = az_zeros(az, AZ_F32, 2, shape);
    for (int64_t k = 0; x && k < n; k++) {
        const int32_t at = ((const int32_t *)index->data)[k], original = order ? order[at] : at;
        az_f32_mut(x)[rows ? k * width + original : original * n + k] = 1;
    }
    return x && dtype != AZ_F32 ? az_cast(az, x, dtype) : x;
}

static bool become_lora(az_ctx *az, const s2ft *s)
{
    az_arena_enter(az, s->adapter->arena);
    for (int i = 0; i < s->adapter->layers; i++) {
        az_adapter_layer *l = &s->adapter->layer[i];
        const int block = block_of(s->lm, l->name);
        const int32_t *order = s->order && block >= 0 ? s->order[block] : NULL;
        if (l->from) l->a = one_hot(az, l->from, order, l->in, true, l->b->dtype);
        if (l->to) l->b = one_hot(az, l->to, order, l->out, false, l->a->dtype);
        l->from = l->to = NULL;
    }
    az_arena_leave(az);
    return az_ok(az);
}

static bool become_model(az_ctx *az, s2ft *s)
{
    for (int i = 0; i < s->n; i++) {
        const az_adapter_layer *l = az_adapter_find(s->adapter, s->choice[i].layer);
        az_lm_linear *linear = linear_named(az, s->lm, s->choice[i].layer);
        if (!l || !linear) return false;
        give_back(linear, &s->choice[i], l->from ? l->b : l->a);
    }
    az_adapter_free(az, s->adapter);
    return true;
}

static void report_choice(az_report *report, const s2ft *s)
{
    for (int i = 0; i < s->n; i++) {
        az_report_row(report, "selection");
        az_report_text(report, "layer", s->choice[i].layer);
        az_report_text(report, "of", az_s2_columns(s->choice[i].kind) ? "columns" : "rows");
        az_report_count(report, "chosen", s->choice[i].index->shape[0]);
    }
}

static bool check(az_ctx *az, const s2ft_options *o, const az_lm *lm)
{
    if (lm->config.experts > 0) return az_fail(az, AZ_BAD_INPUT, "s2ft does not know mixtures of experts");
    if (o->mode != MODE_INPLACE) return true;
    if (o->layout == LAYOUT_PERMUTE) return az_fail(az, AZ_BAD_INPUT, "s2ft: mode=inplace goes with layout=gather");
    for (int b = 0; b < lm->config.blocks; b++) {
        const az_weight *w[] = {lm->block[b].v.weight, lm->block[b].o.weight, lm->block[b].up.weight, lm->block[b].down.weight};
        for (int i = 0; i < 4; i++)
            if (w[i] && (!az_weight_is_dense(w[i]) || w[i]->part[0]->dtype == AZ_F64))
                return az_fail(az, AZ_BAD_INPUT, "s2ft: mode=inplace needs dense weights, this model has %s; train a change (mode=delta)",
                               w[i]->format->name);
    }
    return true;
}

static bool tune(az_ctx *az, const void *settings, az_tune_job *job)
{
    const s2ft_options *o = settings;
    const az_s2_how how = {.ratio = {o->v, o->o, o->up, o->down},
                           .select = (az_s2_select)o->select,
                           .largest = o->which == 1,
                           .per_layer = o->scope == 1,
                           .examples = o->examples,
                           .seed = (uint64_t)job->settings->training.seed};
    az_tuning tuning;
    s2ft s = {.options = o, .lm = job->lm};
    if (!check(az, o, job->lm) || !az_tuning_begin(az, job, 0, &tuning)) return false;
    s.n = *o->selection ? az_s2_read(az, job->lm, o->selection, &s.choice) : az_s2_choose(az, &tuning, &how, &s.choice);
    if (s.n == 0 || (*o->keep && !az_s2_write(az, o->keep, s.choice, s.n))) return false;
    report_choice(job->report, &s);
    if (o->layout == LAYOUT_PERMUTE) {
        s.lm = az_lm_copy(az, job->lm);
        if (!s.lm || !permute(az, &s)) return false;
    }
    if (!add_layers(az, &s)) return false;
    az_tune_job beside = *job;
    beside.lm = s.lm;
    tuning.job = &beside;
    tuning.adapter = s.adapter;
    az_tune_adapter(az, &tuning, az_method_text(az, &az_s2ft, settings));
    const az_set_aside aside = az_interruption_aside(az);
    if (az_ok(az) && o->mode == MODE_INPLACE)
        become_model(az, &s);
    else if (az_ok(az) && become_lora(az, &s))
        job->adapter = s.adapter;
    if (s.lm != job->lm) az_lm_free(az, s.lm);
    az_interruption_back(az, &aside);
    return az_ok(az);
}

static bool makes_model(const void *options)
{
    return ((const s2ft_options *)options)->mode == MODE_INPLACE;
}

const az_method az_s2ft = {
    .name = "s2ft",
    .family = AZ_TUNE,
    .summary = "train a few whole heads and channels as dense blocks of the weights",
    .paper =
        "Yang et al.: S2FT: Efficient, Scalable and Generalizable LLM Fine-tuning by Structured Sparsity, NeurIPS 2024, arXiv 2412.06289",
    .details =
        "Chosen columns of o and down and chosen rows of v and up are trained, everything else stays. Only the chosen inputs of a column "
        "block are kept for the backward pass, and only the blocks have gradients and moments, so a step needs less memory than one of "
        "LoRA with as many trained numbers. Best use of a budget: d_ratio and o_ratio. Random choice is a strong default; small "
        "activations are the paper's other one. The result is a LoRA adapter with one-hot factors, exactly the change of the block, or "
        "(mode=inplace) a model. Adapters with different channels do not touch each other's numbers: add them up with `adze adapter add`.",
    .example = "adze tune tales s2ft:d_ratio=0.05,o_ratio=0.25 -d train.jsonl -o adapter/ --steps 20 --lr 2e-3",
    .options = options_table,
    .options_size = sizeof(s2ft_options),
    .needs_data = true,
    .tune = tune,
    .makes_model = makes_model,
};
