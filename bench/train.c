/* train.c - tokens per second of training.
 *   bench_train WIDTH BLOCKS HEADS HIDDEN VOCABULARY LENGTH BATCH STEPS THREADS
 * Trains a llama with random weights on random tokens (forward, backward, clipping, AdamW) and prints one JSON object. */
#include "adze/adze.h"

#include <stdlib.h>
#include <sys/resource.h>

/* One optimizer step as the trainer does it, on the batch given. Returns the loss. */
static double step(az_ctx *az, az_lm *lm, az_optimizer *optimizer, const az_lm_batch *batch, const az_tensor *target)
{
    az_lm_parameter *parameter;
    int n = az_lm_parameters(az, lm, &parameter);
    az_tensor **original = az_alloc_array(az, (size_t)n, sizeof *original), **gradient = az_alloc_array(az, (size_t)n, sizeof *gradient);
    const az_tensor **watched = az_alloc_array(az, (size_t)n, sizeof *watched);
    if (!watched) return 0;
    az_tape_open(az);
    for (int i = 0; i < n; i++) {
        original[i] = *parameter[i].slot;
        *parameter[i].slot = az_watch(az, original[i]);
        watched[i] = *parameter[i].slot;
    }
    az_tensor *loss = az_mean(az, az_cross_entropy(az, az_lm_forward(az, lm, batch, NULL), target), AZ_ALL_AXES, false);
    double value = az_to_double(loss);
    az_grad(az, loss, NULL, watched, n, gradient, 0);
    az_tape_close(az);
    for (int i = 0; i < n; i++) *parameter[i].slot = original[i];
    az_clip_gradients(az, gradient, n, 1.0);
    az_optimizer_step(az, optimizer, gradient, 1e-4);
    return value;
}

int main(int argc, char **argv)
{
    if (argc != 10) {
        fprintf(stderr, "usage: bench_train WIDTH BLOCKS HEADS HIDDEN VOCABULARY LENGTH BATCH STEPS THREADS\n");
        return 2;
    }
    az_ctx *az = az_open(&(az_settings){.threads = atoi(argv[9])});
    int64_t width = atoll(argv[1]), heads = atoll(argv[3]), length = atoll(argv[6]), batch_size = atoll(argv[7]), steps = atoll(argv[8]);
    az_lm_config config = {.width = width,
                           .blocks = atoll(argv[2]),
                           .heads = heads,
                           .kv_heads = heads,
                           .head_dim = width / heads,
                           .hidden = atoll(argv[4]),
                           .vocabulary = atoll(argv[5]),
                           .context = length,
                           .norm_eps = 1e-5,
                           .rope_theta = 10000,
                           .rope_dims = width / heads,
                           .tied = true};
    az_lm *lm = az_lm_new(az, "llama", &config, NULL, 1);
    if (!lm || !az_lm_make_trainable(az, lm, AZ_F32)) {
        fprintf(stderr, "bench_train: %s\n", az_error(az));
        return 2;
    }
    az_lm_parameter *parameter;
    int n = az_lm_parameters(az, lm, &parameter);
    az_tensor **tensor = az_alloc_array(az, (size_t)n, sizeof *tensor);
    for (int i = 0; i < n; i++) tensor[i] = *parameter[i].slot;
    az_optimizer *optimizer = az_optimizer_new(
        az, &(az_optimizer_options){.kind = AZ_ADAMW, .beta1 = 0.9, .beta2 = 0.95, .eps = 1e-8, .weight_decay = 0.1}, tensor, n, NULL);
    int64_t tokens = length * batch_size, *start = az_alloc_array(az, (size_t)batch_size + 1, sizeof *start);
    az_tensor *ids = az_new1(az, AZ_I32, tokens), *target = az_new1(az, AZ_I32, tokens);
    az_rng rng = az_rng_at(2, 0);
    for (int64_t i = 0; i < tokens; i++) {
        ((int32_t *)ids->data)[i] = (int32_t)az_below(&rng, (uint64_t)config.vocabulary);
        ((int32_t *)target->data)[i] = (int32_t)az_below(&rng, (uint64_t)config.vocabulary);
    }
    for (int64_t s = 0; s <= batch_size; s++) start[s] = s * length;
    az_lm_batch batch = {.sequences = (int)batch_size, .token = ids->data, .start = start};

    double best = 1e30, loss = 0;
    for (int64_t s = 0; s < steps + 1 && az_ok(az); s++) { /* the first one warms up */
        az_scope_push(az);
        double begin = az_seconds();
        loss = step(az, lm, optimizer, &batch, target);
        double seconds = az_seconds() - begin;
        if (s > 0 && seconds < best) best = seconds;
        az_scope_pop(az);
    }
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    if (!az_ok(az)) fprintf(stderr, "bench_train: %s\n", az_error(az));
    printf("{\"parameters\": %lld, \"tokens_s\": %.1f, \"step_s\": %.4f, \"loss\": %.4f, \"peak_bytes\": %lld}\n",
           (long long)az_lm_parameter_count(lm), (double)tokens / best, best, loss, (long long)usage.ru_maxrss * 1024);
    bool ok = az_ok(az);
    az_close(az);
    return ok ? 0 : 2;
}
