/* pv_tuning.c - one to two bits a weight: codes and codebooks, fitted layer by layer and then tuned together.
 *
 * Problem: minimise phi(x), the divergence of the model from its teacher, over matrices x of few distinct values. P(x), the partition:
 * which weights share a value (the codes); V(x): the values themselves (codebooks and scales). Rule: P step: P(x) fixed, the values move
 * along their gradient. V step: V(x) fixed, the codes go to the point nearest to u = x - grad phi(x) / L. With the smoothness L of the
 * whole model nothing reaches another code; so only the few tiles that would move farthest (a share tau, until the change exceeds trust
 * |x|) take part, for which L is small and the step long. Straight-through estimation (ste) instead lets u gather the steps and rounds all
 * of it each time; pv+ste does both.
 *
 * Malinovskii et al.: "PV-Tuning: beyond straight-through estimation for extreme LLM compression", NeurIPS 2024 (arXiv 2405.14852);
 * representation and start after AQLM (arXiv 2401.06118). */
#include "compress/pv_tune.h"

#include <string.h>

typedef struct pv_options {
    az_pv_fit fit;
    az_pv_tuning tune;
    bool error;
    int zeros;
    az_calibration calibration;
} pv_options;

static const char *const modes[] = {[AZ_PV_NONE] = "none",
                                    [AZ_PV_P] = "p",
                                    [AZ_PV_NAIVE] = "naive",
                                    [AZ_PV_STE] = "ste",
                                    [AZ_PV_PV] = "pv",
                                    [AZ_PV_PV_STE] = "pv+ste",
                                    NULL};

static const az_option pv_table[] = {
    {"codebooks", AZ_FIELD(AZ_INT, pv_options, fit.shape.codebooks), "1", 0, AZ_PV_MOST_BOOKS, NULL,
     "codebooks whose entries add up; 0 = a grid of scalars for each group"},
    {"bits", AZ_FIELD(AZ_INT, pv_options, fit.shape.code_bits), "8", 1, 16, NULL,
     "bits of a code: 2^bits entries in a codebook (grid: at most 8)"},
    {"group", AZ_FIELD(AZ_INT, pv_options, fit.shape.group), "8", 1, 65536, NULL,
     "inputs of a tile (of a grid: inputs that share a scale)"},
    {"out_group", AZ_FIELD(AZ_INT, pv_options, fit.shape.out_group), "1", 1, 64, NULL, "outputs of a tile"},
    {"kmeans", AZ_FIELD(AZ_INT, pv_options, fit.kmeans), "100", 1, 10000, NULL, "most iterations of k-means at the start"},
    {"epochs", AZ_FIELD(AZ_INT, pv_options, fit.epochs), "3", 0, 1000, NULL,
     "most rounds of value steps and beam search on the calibration inputs; 0 = k-means alone"},
    {"epoch_steps", AZ_FIELD(AZ_INT, pv_options, fit.steps), "100", 0, 100000, NULL, "value steps in a round"},
    {"beam", AZ_FIELD(AZ_INT, pv_options, fit.beam), "1", 1, 4096, NULL, "states that beam search keeps"},
    {"fit_lr", AZ_FIELD(AZ_REAL, pv_options, fit.lr), "1e-4", 0, 10, NULL, "size of the value steps in a round"},
    {"rel_tol", AZ_FIELD(AZ_REAL, pv_options, fit.tolerance), "0.01", 0, 1, NULL, "a round that gains less than this share is the last"},
    {"mode", AZ_FIELD(AZ_CHOICE, pv_options, tune.mode), "pv+ste", 0, 0, modes,
     "tuning: none, values only (p), every code by a short step (naive), straight-through (ste), the subspace (pv), both"},
    {"block_epochs", AZ_FIELD(AZ_INT, pv_options, tune.block_epochs), "0", 0, 10000, NULL,
     "before tuning: most epochs, on the calibration sequences, that fit a block whose layers have their codes to the block as it was, "
     "before the next block reads it; they end when a held-out eighth gains no more"},
    {"block_lr", AZ_FIELD(AZ_REAL, pv_options, tune.block_lr), "1e-4", 0, 10, NULL, "size of their steps"},
    {"steps", AZ_FIELD(AZ_INT, pv_options, tune.steps), "200", 1, 1e7, NULL, "tuning steps"},
    {"batch", AZ_FIELD(AZ_INT, pv_options, tune.batch), "16", 1, 1 << 16, NULL, "windows of text in a step"},
    {"length", AZ_FIELD(AZ_INT, pv_options, tune.length), "64", 2, 1 << 20, NULL, "tokens of a window, at most the model's context"},
    {"lr", AZ_FIELD(AZ_REAL, pv_options, tune.lr), "3e-3", 0, 10, NULL, "step of the values, as a share of their norm"},
    {"code_lr", AZ_FIELD(AZ_REAL, pv_options, tune.code_lr), "-1", -1, 100, NULL,
     "step of the codes' point, as a share of the matrix's norm; -1 = 0.02 (ste, pv+ste), 0.3 (pv), 0.003 (naive)"},
    {"code_beta1", AZ_FIELD(AZ_REAL, pv_options, tune.code_beta1), "0.9", 0, 0.9999, NULL,
     "memory of the codes' gradient; 0 for large batches"},
    {"tau", AZ_FIELD(AZ_REAL, pv_options, tune.tau), "-1", -1, 1, NULL,
     "largest share of the tiles that change in a step; -1 = 0.01, or 1 (ste, naive)"},
    {"trust", AZ_FIELD(AZ_REAL, pv_options, tune.trust), "-1", -1, 1e6, NULL,
     "largest change of a matrix in a step, as a share of its norm; 0 = any; -1 = 0.02, or any (ste, naive)"},
    {"decay", AZ_FIELD(AZ_REAL, pv_options, tune.decay), "-1", -1, 1, NULL,
     "share of the codes' point that is forgotten in each step; -1 = 0 (ste, pv+ste), 1 (pv, naive)"},
    {"force", AZ_FIELD(AZ_BOOL, pv_options, tune.second), "false", 0, 0, NULL,
     "chosen tiles whose best code is the present one take the second best"},
    {"temperature", AZ_FIELD(AZ_REAL, pv_options, tune.temperature), "0", 0, 100, NULL,
     "tiles that may change: 0 = those that moved farthest; else drawn in proportion to distance^(1/temperature)"},
    {"sr_temp", AZ_FIELD(AZ_REAL, pv_options, tune.sr_temperature), "0", 0, 100, NULL,
     "rounding: 0 = to the best code; else best or second best, in proportion to error^(-1/sr_temp)"},
    {"reseed", AZ_FIELD(AZ_BOOL, pv_options, tune.reseed), "true", 0, 0, NULL,
     "codebook entries that no tile uses start again at the tiles that the step would move farthest (pv, pv+ste)"},
    {"rest", AZ_FIELD(AZ_BOOL, pv_options, tune.rest), "true", 0, 0, NULL, "norms, embedding and other parameters learn too"},
    {"resume", AZ_FIELD(AZ_TEXT, pv_options, tune.resume), "", 0, 0, NULL,
     "folder of the tuning's state: written, and taken up when it is there"},
    {"save_every", AZ_FIELD(AZ_INT, pv_options, tune.save_every), "100", 1, 1e9, NULL, "steps between two writings of the state"},
    {"zeros", AZ_FIELD(AZ_CHOICE, pv_options, zeros), "keep", 0, 0, az_zero_choices,
     "of pruned matrices: keep refuses to encode them, lose fills them"},
    {"error", AZ_FIELD(AZ_BOOL, pv_options, error), "true", 0, 0, NULL, "measure each layer's output error before tuning"},
    {"nsamples", AZ_FIELD(AZ_INT, pv_options, calibration.samples), "128", 1, 1e6, NULL, "calibration sequences of the fit"},
    {"seqlen", AZ_FIELD(AZ_INT, pv_options, calibration.length), "0", 0, 1e6, NULL,
     "tokens of a calibration sequence; 0 = the model's context, at most 2048"},
    {"seed", AZ_FIELD(AZ_INT, pv_options, calibration.seed), "0", 0, 0, NULL,
     "of k-means, and of the choice of text; without it that of --seed"},
    {0},
};

/* Codebooks of an aq weight in f16. */
static az_weight *narrow_values(az_ctx *az, const az_weight *w)
{
    if (!w) return NULL;
    az_tensor *parts[AZ_WEIGHT_PARTS] = {NULL};
    const bool grid = w->format == az_format_by_name("grid");
    for (int i = 0; i < AZ_WEIGHT_PARTS && w->part[i]; i++)
        parts[i] = i == 1 || (grid && i == 2) ? az_cast(az, w->part[i], AZ_F16) : w->part[i];
    return az_weight_from_parts(az, w->format, w->rows, w->cols, parts);
}

/* The options of a job, and what its blocks are fitted to. */
typedef struct pv_job {
    const pv_options *options;
    const az_lm *teacher;
    az_pv_tuning how;
} pv_job;

/* A layer that is stored in codes already keeps them. */
static az_weight *fit_layer(az_ctx *az, const az_lm_linear *linear, const az_lm_statistics *statistics, const void *user)
{
    const pv_options *o = ((const pv_job *)user)->options;
    if (az_pv_is_coded(linear->weight)) return az_weight_share(az, linear->weight);
    az_pv_fit fit = o->fit;
    fit.seed = az_stream(linear->name, (uint64_t)o->calibration.seed);
    const az_tensor *h = statistics && statistics->gram ? az_affine(az, statistics->gram, 1.0 / (double)statistics->tokens, 0) : NULL;
    return narrow_values(az, az_pv_fit_weight(az, az_weight_decode(az, linear->weight), h, &fit));
}

static bool fit_block(az_ctx *az, const az_compress_job *job, const az_lm_block_inputs *inputs, const void *user)
{
    const pv_job *j = user;
    return az_pv_fit_block(az, &(az_pv_block){.lm = job->lm, .teacher = j->teacher, .how = &j->how, .report = job->report}, inputs);
}

/* Settings of -1 become what the mode says. */
static az_pv_tuning settled(const pv_options *o)
{
    az_pv_tuning t = o->tune;
    const bool everywhere = t.mode == AZ_PV_STE || t.mode == AZ_PV_NAIVE, gathers = t.mode == AZ_PV_STE || t.mode == AZ_PV_PV_STE;
    t.seed = o->calibration.seed;
    t.reseed = t.reseed && (t.mode == AZ_PV_PV || t.mode == AZ_PV_PV_STE);
    if (t.code_lr < 0) t.code_lr = gathers ? 0.02 : t.mode == AZ_PV_PV ? 0.3 : 0.003;
    if (t.tau < 0) t.tau = everywhere ? 1 : 0.01;
    if (t.trust < 0) t.trust = everywhere ? 0 : 0.02;
    if (t.decay < 0) t.decay = gathers ? 0 : 1;
    return t;
}

static bool check_shape(az_ctx *az, const az_pv_shape *s)
{
    if (s->codebooks == 0 && s->code_bits > 8)
        return az_fail(az, AZ_BAD_INPUT, "bits is %lld; a grid has at most 8", (long long)s->code_bits);
    if (s->codebooks == 0 && s->out_group > 1) return az_fail(az, AZ_BAD_INPUT, "out_group belongs to codebooks; a grid has none");
    if (s->codebooks > 0 && s->group * s->out_group > AZ_PV_MOST_TILE)
        return az_fail(az, AZ_BAD_INPUT, "a tile of %lld by %lld weights is too large; at most %d", (long long)s->out_group,
                       (long long)s->group, AZ_PV_MOST_TILE);
    return true;
}

static bool pv_check(az_ctx *az, const void *options, az_lm *lm)
{
    const pv_options *o = options;
    const az_pv_shape *s = &o->fit.shape;
    if (!check_shape(az, s)) return false;
    az_scope_push(az);
    az_lm_linear **linear;
    const int n = az_lm_linears(az, lm, &linear);
    for (int i = 0; i < n; i++) {
        const az_weight *w = linear[i]->weight;
        if (w->cols % s->group != 0)
            az_fail(az, AZ_BAD_INPUT, "%s has %lld inputs, which groups of %lld do not divide", linear[i]->name, (long long)w->cols,
                    (long long)s->group);
        if (w->rows % s->out_group != 0)
            az_fail(az, AZ_BAD_INPUT, "%s has %lld outputs, which out_group=%lld does not divide", linear[i]->name, (long long)w->rows,
                    (long long)s->out_group);
    }
    az_scope_pop(az);
    return az_ok(az);
}

static bool pv_compress(az_ctx *az, const void *options, az_compress_job *job)
{
    const pv_options *o = options;
    if (!job->lm || !pv_check(az, o, job->lm)) return false;
    const pv_job j = {.options = o, .teacher = job->original ? job->original : az_lm_copy(az, job->lm), .how = settled(o)};
    const bool tunes = j.how.mode != AZ_PV_NONE, goes_on = tunes && az_pv_has_state(az, j.how.resume),
               fits_blocks = j.how.block_epochs > 0 && !goes_on; /* the state has what became of them */
    if ((tunes || fits_blocks) && !job->calibration) return az_fail(az, AZ_BAD_INPUT, "text to tune on is needed (-d FILE)");
    const az_layer_walk walk = {.task = "fitting codes",
                                .step = fit_layer,
                                .block = fits_blocks ? fit_block : NULL,
                                .options = &j,
                                .calibrated = o->fit.epochs > 0 || o->error || fits_blocks,
                                .gram = o->fit.epochs > 0,
                                .error = o->error,
                                .zeros = (az_zero_rule)o->zeros,
                                .calibration = o->calibration};
    if (!j.teacher || !az_compress_layers(az, job, &walk)) return false;
    return !tunes || az_pv_tune(az, job->lm, j.teacher, job->calibration, &j.how, job->report);
}

const az_method az_pv = {
    .name = "pv-tuning",
    .family = AZ_COMPRESS,
    .summary = "one to two bits a weight: additive codebooks or grids, codes and values tuned together",
    .paper =
        "Malinovskii et al.: PV-Tuning: beyond straight-through estimation for extreme LLM compression, NeurIPS 2024, arXiv 2405.14852",
    .details = "Stores each linear layer as codes into codebooks (codebooks=1,bits=8,group=8: one byte for eight weights; codebooks=2: two "
               "bits a weight) or on grids (codebooks=0,bits=2,group=64), fits them layer by layer by k-means and beam search, and then "
               "tunes codes and values of all layers on the calibration text so that the model's distributions approach those of the model "
               "as it came. A step moves all values by their gradient, and the codes of the few tiles that the gradient would move "
               "farthest; mode=ste is the straight-through baseline, mode=p tunes values alone, mode=none nothing. block_epochs "
               "goes block by block before that: when its layers have their codes, their values, the norms and the biases learn to make "
               "what the block made of the same inputs, and the next block is quantized for what comes out. A model that is stored in "
               "codes already keeps them and is only tuned. Ctrl-C and kill lose nothing with resume. Codebooks cost 2^bits group 16 "
               "bits for each matrix: with small matrices use fewer bits.",
    .example = "adze compress tales pv-tuning:bits=4,group=4,epochs=1,steps=5 -d calibration.txt -o small.gguf",
    .options = pv_table,
    .options_size = sizeof(pv_options),
    .needs_data = true,
    .check = pv_check,
    .compress = pv_compress,
};
