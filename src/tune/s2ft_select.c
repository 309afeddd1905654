/* s2ft_select.c - S2FT's choice of heads and channels: at random, or by weights, activations, their product, or gradients. */
#include "tune/s2ft.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* One head or channel that may be chosen. */
typedef struct az_s2_unit {
    int block;
    int64_t unit;
    double score; /* ascending = first */
} az_s2_unit;

bool az_s2_columns(az_s2_kind kind)
{
    return kind == AZ_S2_O || kind == AZ_S2_DOWN;
}

az_lm_linear *az_s2_linear(const az_lm *lm, int block, az_s2_kind kind)
{
    az_lm_block *b = &lm->block[block];
    switch (kind) {
    case AZ_S2_V: return &b->v;
    case AZ_S2_O: return &b->o;
    case AZ_S2_UP: return &b->up;
    default: return &b->down;
    }
}

/* Heads or channels of a block, and how many rows or columns each has. */
static int64_t units_of(const az_lm *lm, az_s2_kind kind, int64_t *width)
{
    const az_lm_config *c = &lm->config;
    *width = kind == AZ_S2_V || kind == AZ_S2_O ? c->head_dim : 1;
    return kind == AZ_S2_V ? c->kv_heads : kind == AZ_S2_O ? c->heads : c->hidden;
}

/* ---- scores ---- */

/* Mean |x| of what o and down read, [blocks] vectors of the width of their inputs. */
typedef struct az_s2_means {
    double **o, **down;
    int64_t heads_width, hidden, rows;
} az_s2_means;

static az_tensor *add_up(az_ctx *az, const char *site, az_tensor *x, void *user)
{
    az_s2_means *means = user;
    int block;
    (void)az;
    if (sscanf(site, "blocks.%d.", &block) != 1) return x;
    const bool down = strstr(site, "mlp.down") != NULL;
    double *sum = down ? means->down[block] : means->o[block];
    const int64_t width = down ? means->hidden : means->heads_width, rows = az_count(x) / width;
    for (int64_t i = 0; i < rows * width; i++) sum[i % width] += fabs(az_item(x, i));
    if (!down && block == 0) means->rows += rows;
    return x;
}

static bool activations(az_ctx *az, const az_tuning *t, const az_s2_how *how, az_s2_means *means)
{
    const az_lm *lm = t->job->lm;
    const int64_t blocks = lm->config.blocks;
    *means = (az_s2_means){.o = az_alloc_array(az, (size_t)blocks, sizeof(double *)),
                           .down = az_alloc_array(az, (size_t)blocks, sizeof(double *)),
                           .heads_width = lm->config.heads * lm->config.head_dim,
                           .hidden = lm->config.hidden};
    for (int64_t b = 0; means->o && means->down && b < blocks; b++) {
        means->o[b] = az_alloc_array(az, (size_t)means->heads_width, sizeof(double));
        means->down[b] = az_alloc_array(az, (size_t)means->hidden, sizeof(double));
    }
    const az_lm_hook hooks[] = {{.site = "blocks.*.attn.o.in", .see = add_up, .user = means},
                                {.site = "blocks.*.mlp.down.in", .see = add_up, .user = means}};
    const int64_t n = how->examples < t->train->count ? how->examples : t->train->count;
    for (int64_t i = 0; i < n && az_ok(az); i++) {
        az_scope_push(az);
        const az_lm_lesson lesson = az_lm_lesson_of_examples(az, t->train, &i, 1);
        if (lesson.target) az_lm_forward(az, lm, &lesson.batch, &(az_lm_run){.hooks = hooks, .n_hooks = 2, .output = AZ_HIDDEN});
        az_scope_pop(az);
    }
    return az_ok(az);
}

/* Mean |activation| of a unit: of the head's outputs (all heads that read it, for v), or of the channel. */
static double activation_of(const az_lm *lm, const az_s2_means *means, const az_s2_unit *u, az_s2_kind kind)
{
    if (kind == AZ_S2_UP || kind == AZ_S2_DOWN) return means->down[u->block][u->unit] / (double)means->rows;
    const int64_t dim = lm->config.head_dim, group = kind == AZ_S2_V ? lm->config.heads / lm->config.kv_heads : 1;
    double sum = 0;
    for (int64_t i = 0; i < group * dim; i++) sum += means->o[u->block][u->unit * group * dim + i];
    return sum / (double)(means->rows * group * dim);
}

/* Norm of a unit's rows or columns of a matrix. */
static double norm_of(const az_tensor *w, int64_t unit, int64_t width, bool columns)
{
    const int64_t rows = w->shape[0], cols = w->shape[1], first = unit * width;
    double sum = 0;
    for (int64_t r = columns ? 0 : first; r < (columns ? rows : first + width); r++)
        for (int64_t c = columns ? first : 0; c < (columns ? first + width : cols); c++) sum += pow(az_item(w, r * cols + c), 2);
    return sqrt(sum);
}

/* The gradient of the summed loss of the calibration examples with respect to one layer's weight. */
static az_tensor *gradient_of(az_ctx *az, const az_tuning *t, const az_s2_how *how, int block, az_s2_kind kind)
{
    az_lm *copy = az_lm_copy(az, t->job->lm);
    if (!copy) return NULL;
    const int n = (int)(how->examples < t->train->count ? how->examples : t->train->count);
    int64_t *which = az_alloc_array(az, (size_t)n, sizeof *which);
    for (int i = 0; which && i < n; i++) which[i] = i;
    az_lm_parameter *p;
    const char *name = az_format_text(az, "%s.weight", az_s2_linear(copy, block, kind)->name);
    const int found = az_lm_choose_parameters(az, copy, AZ_F32, name, &p);
    const az_lm_objective objective = {.lm = copy, .lesson = az_lm_lesson_of_examples(az, t->train, which, n), .scale = 1};
    az_tensor *g = NULL;
    if (found == 1) az_lm_gradient(az, &objective, p, 1, &g, NULL);
    az_lm_free(az, copy);
    return g;
}

static bool score_units(az_ctx *az, const az_tuning *t, const az_s2_how *how, az_s2_kind kind, az_s2_unit *u, int64_t n)
{
    const az_lm *lm = t->job->lm;
    az_s2_means means;
    int64_t width;
    units_of(lm, kind, &width);
    const bool needs_x = how->select == AZ_S2_ACTIVATION || how->select == AZ_S2_PRODUCT;
    const bool needs_w = how->select == AZ_S2_WEIGHT || how->select == AZ_S2_PRODUCT || how->select == AZ_S2_GRADIENT;
    if (needs_x && !activations(az, t, how, &means)) return false;
    const az_tensor *w = NULL;
    for (int64_t i = 0; i < n && az_ok(az); i++) {
        if (needs_w && (i == 0 || u[i].block != u[i - 1].block))
            w = how->select == AZ_S2_GRADIENT ? gradient_of(az, t, how, u[i].block, kind)
                                              : az_weight_decode(az, az_s2_linear(lm, u[i].block, kind)->weight);
        if (needs_w && !w) return false;
        double score = 1;
        if (needs_w) score *= norm_of(w, u[i].unit, width, az_s2_columns(kind));
        if (needs_x) score *= activation_of(lm, &means, &u[i], kind);
        u[i].score = how->largest ? -score : score;
    }
    if (how->select != AZ_S2_RANDOM) return az_ok(az);
    az_rng rng = az_rng_at(how->seed, az_stream("s2ft", (uint64_t)kind));
    for (int64_t i = 0; i < n; i++) u[i].score = az_uniform(&rng);
    return az_ok(az);
}

/* ---- the choice ---- */

static int by_score(const void *a, const void *b)
{
    const az_s2_unit *x = a, *y = b;
    if (x->score != y->score) return x->score < y->score ? -1 : 1;
    if (x->block != y->block) return x->block - y->block;
    return (x->unit > y->unit) - (x->unit < y->unit);
}

/* Marks the share `ratio` of units with the first scores: of all of them, or of each block's. chosen [blocks * units]. */
static void mark(az_s2_unit *u, int64_t blocks, int64_t units, double ratio, bool per_layer, bool *chosen)
{
    const int64_t runs = per_layer ? blocks : 1, length = per_layer ? units : blocks * units;
    for (int64_t r = 0; r < runs; r++) {
        qsort(u + r * length, (size_t)length, sizeof *u, by_score);
        const int64_t n = (int64_t)(ratio * (double)length + 1e-9);
        for (int64_t i = 0; i < n; i++) chosen[u[r * length + i].block * units + u[r * length + i].unit] = true;
    }
}

static az_tensor *index_of(az_ctx *az, const bool *chosen, int64_t units, int64_t width)
{
    int64_t n = 0;
    for (int64_t i = 0; i < units; i++) n += chosen[i] ? width : 0;
    az_tensor *index = n > 0 ? az_new1(az, AZ_I32, n) : NULL;
    int64_t at = 0;
    for (int64_t i = 0; index && i < units; i++)
        for (int64_t k = 0; chosen[i] && k < width; k++) ((int32_t *)index->data)[at++] = (int32_t)(i * width + k);
    return index;
}

static int choose_kind(az_ctx *az, const az_tuning *t, const az_s2_how *how, az_s2_kind kind, az_s2_choice *out)
{
    const az_lm *lm = t->job->lm;
    const int64_t blocks = lm->config.blocks;
    int64_t width;
    const int64_t units = units_of(lm, kind, &width);
    az_s2_unit *u = az_alloc_array(az, (size_t)(blocks * units), sizeof *u);
    bool *chosen = az_alloc_array(az, (size_t)(blocks * units), sizeof *chosen);
    if (!u || !chosen) return 0;
    for (int64_t i = 0; i < blocks * units; i++) u[i] = (az_s2_unit){.block = (int)(i / units), .unit = i % units};
    if (!score_units(az, t, how, kind, u, blocks * units)) return 0;
    mark(u, blocks, units, how->ratio[kind], how->per_layer, chosen);
    int n = 0;
    for (int b = 0; b < blocks; b++) {
        az_tensor *index = index_of(az, chosen + b * units, units, width);
        if (index) out[n++] = (az_s2_choice){.layer = az_s2_linear(lm, b, kind)->name, .kind = kind, .index = index};
    }
    return n;
}

int az_s2_choose(az_ctx *az, const az_tuning *tuning, const az_s2_how *how, az_s2_choice **choice)
{
    const az_lm *lm = tuning->job->lm;
    *choice = az_alloc_array(az, (size_t)(AZ_S2_KINDS * lm->config.blocks), sizeof **choice);
    int n = 0;
    for (int kind = 0; *choice && kind < AZ_S2_KINDS && az_ok(az); kind++)
        if (how->ratio[kind] > 0) n += choose_kind(az, tuning, how, (az_s2_kind)kind, *choice + n);
    if (n == 0 && az_ok(az))
        az_fail(az, AZ_BAD_INPUT, "the ratios choose no head and no channel; the largest is %g",
                fmax(fmax(how->ratio[0], how->ratio[1]), fmax(how->ratio[2], how->ratio[3])));
    return az_ok(az) ? n : 0;
}
