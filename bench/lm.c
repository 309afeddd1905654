/* lm.c - speed and memory of inference.
 *   bench_lm make width=N,blocks=N,... FORMAT OUT [FORMAT OUT ...]      writes a llama with random weights
 *   bench_lm run MODEL THREADS PREFILL DECODE [BATCH]      measures loading, a prompt of PREFILL tokens, DECODE single tokens, and BATCH
 * sequences (1 .. 64) decoding DECODE tokens each together. Prints one JSON object; rates are the best of three rounds. */
#include "adze/adze.h"

#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

enum { MOST_SEQUENCES = 64 };

static int fail(az_ctx *az)
{
    fprintf(stderr, "bench_lm: %s\n", az_error(az));
    az_close(az);
    return 2;
}

typedef struct shape {
    int64_t width, blocks, heads, kv_heads, hidden, vocabulary;
} shape;

static const az_option shape_options[] = {
    {"width", AZ_FIELD(AZ_INT, shape, width), "768", 1, 1 << 16, NULL, "width of the residual stream"},
    {"blocks", AZ_FIELD(AZ_INT, shape, blocks), "12", 1, 1024, NULL, "number of blocks"},
    {"heads", AZ_FIELD(AZ_INT, shape, heads), "12", 1, 1024, NULL, "attention heads"},
    {"kv_heads", AZ_FIELD(AZ_INT, shape, kv_heads), "0", 0, 1024, NULL, "heads of keys and values; 0 = as many as heads"},
    {"hidden", AZ_FIELD(AZ_INT, shape, hidden), "2048", 1, 1 << 18, NULL, "width inside the MLP"},
    {"vocabulary", AZ_FIELD(AZ_INT, shape, vocabulary), "32000", 2, 1 << 20, NULL, "tokens"},
    {0},
};

/* `pairs` holds n pairs of a format and the file to write. */
static int make(const char *text, char **pairs, int n)
{
    az_ctx *az = az_open(NULL);
    shape s;
    if (!az_options_parse(az, shape_options, "bench_lm", text, &s)) return fail(az);
    const az_lm_config config = {.width = s.width,
                                 .blocks = s.blocks,
                                 .heads = s.heads,
                                 .kv_heads = s.kv_heads,
                                 .hidden = s.hidden,
                                 .vocabulary = s.vocabulary,
                                 .context = 2048,
                                 .norm_eps = 1e-5,
                                 .rope_theta = 10000};
    az_lm *lm = az_lm_new(az, "llama", &config, NULL, 1);
    for (int i = 0; i < n; i++)
        if (!az_lm_save(az, lm, pairs[2 * i + 1], az_format_by_name(pairs[2 * i]))) return fail(az);
    az_close(az);
    return 0;
}

/* Seconds for one forward pass of n tokens at the end of the cache. */
static double forward_seconds(az_ctx *az, const az_lm *lm, az_lm_cache *cache, const int32_t *token, int64_t n)
{
    az_scope_push(az);
    double start = az_seconds();
    az_lm_batch batch = {.sequences = 1, .token = token, .start = (int64_t[]){0, n}};
    az_lm_forward(az, lm, &batch, &(az_lm_run){.cache = cache, .output = AZ_LOGITS_LAST});
    double seconds = az_seconds() - start;
    az_scope_pop(az);
    return seconds;
}

/* The faster of three rounds: a prompt of n tokens at once, or n tokens one by one; tokens per second. */
static double best_rate(az_ctx *az, const az_lm *lm, az_lm_cache *cache, int64_t n, bool one_by_one)
{
    int32_t *token = az_alloc_array(az, (size_t)n, sizeof *token);
    if (!token) return 0;
    az_rng rng = az_rng_at(1, 0);
    for (int64_t i = 0; i < n; i++) token[i] = (int32_t)az_below(&rng, (uint64_t)lm->config.vocabulary);
    double best = 0;
    for (int round = 0; round < 4 && az_ok(az); round++) { /* the first one warms up */
        az_lm_cache_trim(cache, 0, 0);
        double seconds = 0;
        for (int64_t i = 0; i < n; i += one_by_one ? 1 : n) seconds += forward_seconds(az, lm, cache, token + i, one_by_one ? 1 : n);
        if (round > 0 && (double)n / seconds > best) best = (double)n / seconds;
    }
    return best;
}

/* The fastest of three rounds in which `batch` sequences each take n tokens, one token of every sequence per pass; tokens per second. */
static double best_batch_rate(az_ctx *az, const az_lm *lm, int batch, int64_t n)
{
    int32_t token[MOST_SEQUENCES];
    int64_t start[MOST_SEQUENCES + 1];
    for (int s = 0; s <= batch; s++) start[s] = s;
    az_lm_cache *cache = az_lm_cache_new(az, lm, batch, n, AZ_KV_F16);
    az_rng rng = az_rng_at(1, 1);
    double best = 0;
    for (int round = 0; round < 4 && az_ok(az); round++) { /* the first one warms up */
        for (int s = 0; s < batch; s++) az_lm_cache_trim(cache, s, 0);
        const double begin = az_seconds();
        for (int64_t i = 0; i < n && az_ok(az); i++) {
            for (int s = 0; s < batch; s++) token[s] = (int32_t)az_below(&rng, (uint64_t)lm->config.vocabulary);
            az_scope_push(az);
            const az_lm_batch step = {.sequences = batch, .token = token, .start = start};
            az_lm_forward(az, lm, &step, &(az_lm_run){.cache = cache, .output = AZ_LOGITS_LAST});
            az_scope_pop(az);
        }
        const double rate = (double)(n * batch) / (az_seconds() - begin);
        if (round > 0 && rate > best) best = rate;
    }
    return best;
}

/* Weights that one token's pass reads: all but an embedding of its own, of which it reads a row. */
static size_t bytes_read(const az_lm *lm)
{
    return az_lm_bytes(lm) - (lm->config.tied ? 0 : az_weight_bytes(lm->embedding));
}

/* Weights that meet every token: all but an embedding of its own. */
static int64_t weights(const az_lm *lm)
{
    return az_lm_parameter_count(lm) - (lm->config.tied ? 0 : lm->config.vocabulary * lm->config.width);
}

static int run(char **argv, int batch)
{
    az_ctx *az = az_open(&(az_settings){.threads = atoi(argv[1])});
    int64_t prefill = atoll(argv[2]), decode = atoll(argv[3]);
    double start = az_seconds();
    az_lm *lm = az_lm_load(az, argv[0]);
    double load = az_seconds() - start;
    /* as for the 256 tokens that the command makes unless told otherwise: the fewer here are a sample of them */
    if (decode > 0 && !az_lm_arrange(az, lm, 256)) return fail(az);
    az_lm_cache *cache = az_lm_cache_new(az, lm, 1, prefill > decode ? prefill : decode, AZ_KV_F16);
    double decode_rate = decode > 0 ? best_rate(az, lm, cache, decode, true) : 0;
    struct rusage decoding;
    getrusage(RUSAGE_SELF, &decoding);
    double prefill_rate = prefill > 0 ? best_rate(az, lm, cache, prefill, false) : 0;
    double batch_rate = batch > 0 && decode > 0 ? best_batch_rate(az, lm, batch, decode) : 0;
    if (!az_ok(az)) return fail(az);
    printf("{\"model\": \"%s\", \"threads\": %d, \"load_s\": %.6f, \"decode_tok_s\": %.2f, \"prefill_tok_s\": %.2f, "
           "\"weights\": %lld, \"read_bytes\": %zu, \"cache_bytes\": %zu, \"decode_peak_bytes\": %lld, \"batch%d_tok_s\": %.2f}\n",
           lm->name, az_threads(az), load, decode_rate, prefill_rate, (long long)weights(lm), bytes_read(lm), az_lm_cache_bytes(cache),
           (long long)decoding.ru_maxrss * 1024, batch, batch_rate);
    az_close(az);
    return 0;
}

int main(int argc, char **argv)
{
    if (argc >= 5 && argc % 2 == 1 && strcmp(argv[1], "make") == 0) return make(argv[2], argv + 3, (argc - 3) / 2);
    if ((argc == 6 || argc == 7) && strcmp(argv[1], "run") == 0) {
        const int batch = argc == 7 ? atoi(argv[6]) : 0;
        if (batch >= 0 && batch <= MOST_SEQUENCES) return run(argv + 2, batch);
    }
    fprintf(stderr, "usage: bench_lm make width=N,... FORMAT OUT [FORMAT OUT ...] | run MODEL THREADS PREFILL DECODE [BATCH]\n");
    return 2;
}
