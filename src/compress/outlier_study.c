/* outlier_study.c - outlier features: where they are, and what setting them to zero costs (Dettmers et al., NeurIPS 2022, section 4). */
#include "compress/outlier_study.h"

#include <math.h>
#include <string.h>

/* ---- finding them ---- */

/* What the inputs say about one feature. */
static az_outlier_feature describe(const az_column_scan *const *input, int inputs, int64_t feature)
{
    az_outlier_feature f = {.feature = feature};
    int reached = 0;
    double tokens = 0, large = 0, positive = 0;
    for (int i = 0; i < inputs; i++) {
        if (input[i]->large[feature] == 0) continue;
        reached++;
        tokens += (double)input[i]->tokens;
        large += (double)input[i]->large[feature];
        positive += (double)input[i]->positive[feature];
        for (int k = 0; k < 3; k++) f.quartile[k] += az_scan_quantile(input[i], feature, 0.25 * (k + 1));
    }
    if (reached == 0) return f;
    for (int k = 0; k < 3; k++) f.quartile[k] /= reached;
    f.layers = (double)reached / inputs;
    f.positions = large / tokens;
    f.one_sided = fmax(positive, large - positive) / large;
    return f;
}

az_outlier_feature *az_find_outliers(az_ctx *az, const az_column_scan *const *input, int inputs, const az_outlier_rule *rule, int *n)
{
    const int64_t width = input[0]->cols;
    az_outlier_feature *found = az_alloc_array(az, (size_t)width, sizeof *found);
    *n = 0;
    for (int64_t c = 0; found && c < width; c++) {
        const az_outlier_feature f = describe(input, inputs, c);
        if (f.layers > 0 && f.layers >= rule->layers && f.positions >= rule->positions) found[(*n)++] = f;
    }
    return found;
}

static bool is_block_input(const char *name)
{
    const char *end = strstr(name, ".attn.q");
    if (!end) end = strstr(name, ".mlp.up");
    return end && strchr(end + 1, '.') && !strchr(strchr(end + 1, '.') + 1, '.');
}

/* ---- what they do ---- */

typedef struct removal {
    const unsigned char *out; /* [width] features that become zero */
} removal;

static az_tensor *remove_features(az_ctx *az, const char *site, az_tensor *x, void *user)
{
    (void)site;
    const removal *r = user;
    az_tensor *y = az_copy(az, x);
    const int64_t width = x->shape[x->rank - 1], n = az_count(x);
    float *value = y ? az_f32_mut(y) : NULL;
    for (int64_t i = 0; value && i < n; i++)
        if (r->out[i % width]) value[i] = 0;
    return y;
}

typedef struct quality {
    double loss, top; /* nats per token; mean probability of the likeliest token */
} quality;

/* Adds the losses and largest probabilities of a sequence's tokens. */
static void add_quality(az_ctx *az, const az_tensor *logits, const int32_t *token, int64_t length, quality *sum)
{
    const az_tensor *p = az_log_softmax(az, logits);
    const az_tensor *top = p ? az_exp(az, az_max(az, p, -1, false)) : NULL;
    for (int64_t i = 0; top && i + 1 < length; i++) {
        sum->loss -= az_item(p, i * p->shape[1] + token[i + 1]);
        sum->top += az_item(top, i);
    }
}

static quality measure(az_ctx *az, const az_lm *lm, const az_lm_sequences *sequences, const unsigned char *out)
{
    static const char *const sites[] = {"blocks.*.attn.q.in", "blocks.*.attn.k.in", "blocks.*.attn.v.in", "blocks.*.mlp.gate.in",
                                        "blocks.*.mlp.up.in"};
    enum { SITES = sizeof sites / sizeof *sites };
    removal r = {.out = out};
    az_lm_hook hooks[SITES];
    quality sum = {0};
    for (int i = 0; i < SITES; i++) hooks[i] = (az_lm_hook){.site = sites[i], .see = remove_features, .user = &r};
    const az_lm_run run = {.hooks = hooks, .n_hooks = out ? SITES : 0};
    for (int64_t s = 0; s < sequences->count && az_ok(az); s++) {
        const int32_t *token = sequences->token + s * sequences->length;
        const az_lm_batch batch = {.sequences = 1, .token = token, .start = (const int64_t[]){0, sequences->length}};
        az_scope_push(az);
        add_quality(az, az_lm_forward(az, lm, &batch, &run), token, sequences->length, &sum);
        az_scope_pop(az);
    }
    const double tokens = (double)(sequences->count * (sequences->length - 1));
    return (quality){.loss = sum.loss / tokens, .top = sum.top / tokens};
}

static void ablation_row(az_report *report, const char *removed, int features, quality q)
{
    az_report_row(report, "ablation");
    az_report_text(report, "set_to_zero", removed);
    az_report_count(report, "features", features);
    az_report_number(report, "perplexity", exp(q.loss), "");
    az_report_number(report, "top_probability", q.top, "");
}

/* As it is, without the outliers, without as many others. */
static bool ablate(az_ctx *az, const az_lm *lm, const az_lm_sequences *sequences, const az_outlier_feature *found, int n, uint64_t seed,
                   az_report *report)
{
    const int64_t width = lm->config.width;
    ablation_row(report, "nothing", 0, measure(az, lm, sequences, NULL));
    if (n == 0 || 2 * n > width) return az_ok(az);
    unsigned char *outliers = az_alloc(az, (size_t)width), *others = az_alloc(az, (size_t)width);
    if (!outliers || !others) return false;
    for (int i = 0; i < n; i++) outliers[found[i].feature] = 1;
    az_rng rng = az_rng_at(seed, az_stream("outlier study", 0));
    for (int left = n; left > 0;) {
        const uint64_t c = az_below(&rng, (uint64_t)width);
        if (outliers[c] || others[c]) continue;
        others[c] = 1;
        left--;
    }
    ablation_row(report, "outliers", n, measure(az, lm, sequences, outliers));
    ablation_row(report, "others", n, measure(az, lm, sequences, others));
    return az_ok(az);
}

static void report_features(az_report *report, const az_outlier_feature *found, int n)
{
    for (int i = 0; i < n; i++) {
        az_report_row(report, "outliers");
        az_report_count(report, "feature", found[i].feature);
        az_report_number(report, "layers", found[i].layers, "");
        az_report_number(report, "positions", found[i].positions, "");
        az_report_number(report, "quartile_1", found[i].quartile[0], "");
        az_report_number(report, "median", found[i].quartile[1], "");
        az_report_number(report, "quartile_3", found[i].quartile[2], "");
        az_report_number(report, "one_sided", found[i].one_sided, "");
    }
}

bool az_outlier_study(az_ctx *az, az_lm *lm, const az_lm_sequences *sequences, const az_outlier_rule *rule, uint64_t seed,
                      az_report *report)
{
    az_column_scan *scan;
    az_lm_linear **linear;
    if (!sequences || !az_scan_columns(az, lm, sequences, rule->magnitude, &scan)) return false;
    const int n = az_lm_linears(az, lm, &linear);
    const az_column_scan **input = az_alloc_array(az, (size_t)n, sizeof *input);
    int inputs = 0, outliers = 0;
    for (int i = 0; input && i < n; i++)
        if (is_block_input(linear[i]->name)) input[inputs++] = &scan[i];
    if (inputs == 0) return az_ok(az) && az_fail(az, AZ_BAD_INPUT, "the study of outliers needs blocks with one network each");
    const az_outlier_feature *found = az_find_outliers(az, input, inputs, rule, &outliers);
    if (!found) return false;
    report_features(report, found, outliers);
    if (outliers == 0) az_note(az, "no feature reaches %g often enough to count as an outlier", rule->magnitude);
    return ablate(az, lm, sequences, found, outliers, seed, report);
}
