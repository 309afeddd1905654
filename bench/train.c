/* train.c - tokens per second and peak memory of training.
 *   bench_train ARCHITECTURE:width=N,blocks=N,heads=N,hidden=N,vocabulary=N,length=N,batch=N[,lora=RANK,steps=N,threads=N,checkpoint]
 * Trains a model with random weights, or LoRA beside it, on random tokens (forward, backward, clipping, AdamW) and prints one JSON object.
 */
#include "adze/adze.h"

#include <string.h>
#include <sys/resource.h>

typedef struct bench_settings {
    int64_t width, blocks, heads, hidden, vocabulary, length, batch, lora, steps, threads;
    bool checkpoint;
} bench_settings;

static const az_option options[] = {
    {"width", AZ_FIELD(AZ_INT, bench_settings, width), "128", 1, 1 << 16, NULL, "width of the residual stream"},
    {"blocks", AZ_FIELD(AZ_INT, bench_settings, blocks), "4", 1, 1024, NULL, "number of blocks"},
    {"heads", AZ_FIELD(AZ_INT, bench_settings, heads), "4", 1, 1024, NULL, "attention heads"},
    {"hidden", AZ_FIELD(AZ_INT, bench_settings, hidden), "344", 1, 1 << 18, NULL, "width inside the MLP"},
    {"vocabulary", AZ_FIELD(AZ_INT, bench_settings, vocabulary), "2048", 2, 1 << 20, NULL, "tokens"},
    {"length", AZ_FIELD(AZ_INT, bench_settings, length), "256", 1, 1 << 16, NULL, "tokens of a sequence"},
    {"batch", AZ_FIELD(AZ_INT, bench_settings, batch), "16", 1, 1 << 12, NULL, "sequences of a step"},
    {"lora", AZ_FIELD(AZ_INT, bench_settings, lora), "0", 0, 1 << 12, NULL,
     "rank of LoRA beside every layer of the blocks; 0 = all weights"},
    {"steps", AZ_FIELD(AZ_INT, bench_settings, steps), "3", 1, 1 << 20, NULL, "timed steps, after one that warms up"},
    {"threads", AZ_FIELD(AZ_INT, bench_settings, threads), "0", 0, 1024, NULL, "threads; 0 = all processors"},
    {"checkpoint", AZ_FIELD(AZ_BOOL, bench_settings, checkpoint), "false", 0, 0, NULL, "compute activations again in the backward pass"},
    {0},
};

static az_lm *new_model(az_ctx *az, const char *architecture, const bench_settings *s)
{
    const az_lm_config config = {.width = s->width,
                                 .blocks = s->blocks,
                                 .heads = s->heads,
                                 .hidden = s->hidden,
                                 .vocabulary = s->vocabulary,
                                 .context = s->length,
                                 .norm_eps = 1e-5,
                                 .rope_theta = 10000,
                                 .tied = true};
    az_lm *lm = az_lm_new(az, architecture, &config, NULL, 1);
    return az_lm_make_trainable(az, lm, AZ_F32) ? lm : NULL;
}

/* Random tokens, to be followed by others. */
static az_lm_lesson random_lesson(az_ctx *az, const bench_settings *s)
{
    const int64_t tokens = s->length * s->batch;
    int32_t *token = az_alloc_array(az, (size_t)tokens, sizeof *token), *target = az_alloc_array(az, (size_t)tokens, sizeof *target);
    int64_t *start = az_alloc_array(az, (size_t)s->batch + 1, sizeof *start);
    if (!token || !target || !start) return (az_lm_lesson){0};
    az_rng rng = az_rng_at(2, 0);
    for (int64_t i = 0; i < tokens; i++) {
        token[i] = (int32_t)az_below(&rng, (uint64_t)s->vocabulary);
        target[i] = (int32_t)az_below(&rng, (uint64_t)s->vocabulary);
    }
    for (int64_t i = 0; i <= s->batch; i++) start[i] = i * s->length;
    return (az_lm_lesson){.batch = {.sequences = (int)s->batch, .token = token, .start = start}, .target = target};
}

/* Seconds of the fastest step after the first; the loss of the last. */
static double best_step(az_ctx *az, az_lm *lm, const bench_settings *s, double *loss)
{
    const az_adapter_how how = {.rank = s->lora, .alpha = 2 * (double)s->lora, .targets = "all-linear", .seed = 1};
    az_adapter *adapter = s->lora > 0 ? az_adapter_new(az, lm, &how) : NULL;
    az_lm_parameter *parameter;
    const int n = adapter ? az_adapter_parameters(az, adapter, &parameter) : az_lm_parameters(az, lm, &parameter);
    az_tensor **tensor = az_alloc_array(az, (size_t)n, sizeof *tensor), **gradient = az_alloc_array(az, (size_t)n, sizeof *gradient);
    if (!tensor || !gradient) return 0;
    for (int i = 0; i < n; i++) tensor[i] = *parameter[i].slot;
    const az_optimizer_options adamw = {.kind = AZ_ADAMW, .beta1 = 0.9, .beta2 = 0.95, .eps = 1e-8, .weight_decay = 0.1};
    az_optimizer *optimizer = az_optimizer_new(az, &adamw, tensor, n, NULL);
    const az_lm_objective objective = {
        .lm = lm,
        .lesson = random_lesson(az, s),
        .scale = 1 / (double)(s->length * s->batch),
        .run = {.checkpoint = s->checkpoint, .adapter = (const az_adapter *const *)&adapter, .adapters = adapter != NULL}};
    double best = 1e30;
    for (int64_t step = 0; step <= s->steps && az_ok(az); step++) {
        az_scope_push(az);
        const double begin = az_seconds();
        az_lm_gradient(az, &objective, parameter, n, gradient, loss);
        az_clip_gradients(az, gradient, n, 1.0);
        az_optimizer_step(az, optimizer, gradient, 1e-4);
        const double seconds = az_seconds() - begin;
        if (step > 0 && seconds < best) best = seconds;
        az_scope_pop(az);
    }
    return best;
}

int main(int argc, char **argv)
{
    const char *colon = argc == 2 ? strchr(argv[1], ':') : NULL;
    if (!colon) {
        fprintf(stderr, "usage: bench_train ARCHITECTURE:width=N,...,batch=N[,steps=N,threads=N,checkpoint]\n");
        return 2;
    }
    bench_settings settings;
    az_ctx *reader = az_open(NULL);
    const bool read = az_options_parse(reader, options, "bench_train", colon + 1, &settings);
    if (!read) fprintf(stderr, "%s\n", az_error(reader));
    az_close(reader);
    if (!read) return 2;

    az_ctx *az = az_open(&(az_settings){.threads = (int)settings.threads});
    double loss = 0, best = 0;
    az_lm *lm = new_model(az, az_format_text(az, "%.*s", (int)(colon - argv[1]), argv[1]), &settings);
    if (lm) best = best_step(az, lm, &settings, &loss);
    const bool ok = az_ok(az);
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    if (ok)
        printf("{\"parameters\": %lld, \"tokens_s\": %.1f, \"step_s\": %.4f, \"loss\": %.4f, \"peak_bytes\": %lld}\n",
               (long long)az_lm_parameter_count(lm), (double)(settings.length * settings.batch) / best, best, loss,
               (long long)usage.ru_maxrss * 1024);
    else
        fprintf(stderr, "bench_train: %s\n", az_error(az));
    az_close(az);
    return ok ? 0 : 2;
}
