/* llmc_train.c - the training step of bench/train.c for a GPT-2 shape, done by llm.c, whose train_gpt2.c is included from its own folder.
 *   llmc_train WIDTH BLOCKS HEADS VOCABULARY LENGTH BATCH STEPS FILE
 * FILE is where the random model goes that llm.c then reads. Prints one JSON object. */
#define TESTING /* leaves out llm.c's own main */
#include "train_gpt2.c"

#include <sys/resource.h>

enum { HEADER = 256, MAGIC = 20240326, VERSION = 3 };

static float small_random(uint64_t *state)
{
    *state = *state * 6364136223846793005u + 1442695040888963407u;
    return (float)((double)(*state >> 40) / (1 << 24) - 0.5) * 0.04f;
}

/* A file of llm.c's: header, then the parameters as f32. */
static void write_model(const char *path, GPT2Config config)
{
    const int header[HEADER] = {MAGIC,
                                VERSION,
                                config.max_seq_len,
                                config.vocab_size,
                                config.num_layers,
                                config.num_heads,
                                config.channels,
                                config.padded_vocab_size};
    size_t sizes[NUM_PARAMETER_TENSORS], count = 0;
    fill_in_parameter_sizes(sizes, config);
    for (int i = 0; i < NUM_PARAMETER_TENSORS; i++) count += sizes[i];
    FILE *file = fopenCheck(path, "wb");
    fwrite(header, sizeof(int), HEADER, file);
    uint64_t state = 1;
    for (size_t i = 0; i < count; i++) {
        const float value = small_random(&state);
        fwrite(&value, sizeof value, 1, file);
    }
    fcloseCheck(file);
}

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

int main(int argc, char **argv)
{
    if (argc != 9) return 2;
    const int vocabulary = atoi(argv[4]), length = atoi(argv[5]), batch = atoi(argv[6]), steps = atoi(argv[7]);
    write_model(argv[8], (GPT2Config){.max_seq_len = length,
                                      .vocab_size = vocabulary,
                                      .padded_vocab_size = (vocabulary + 127) / 128 * 128,
                                      .num_layers = atoi(argv[2]),
                                      .num_heads = atoi(argv[3]),
                                      .channels = atoi(argv[1])});
    GPT2 model;
    fflush(stdout);
    const int kept = dup(STDOUT_FILENO); /* llm.c reports what it reads on the standard output */
    if (!freopen("/dev/null", "w", stdout)) return 2;
    gpt2_build_from_checkpoint(&model, argv[8]);

    int *input = mallocCheck(sizeof(int) * (size_t)(length * batch)), *target = mallocCheck(sizeof(int) * (size_t)(length * batch));
    uint64_t state = 2;
    for (int i = 0; i < length * batch; i++) {
        input[i] = (int)((small_random(&state) / 0.04f + 0.5f) * (float)(vocabulary - 1));
        target[i] = (int)((small_random(&state) / 0.04f + 0.5f) * (float)(vocabulary - 1));
    }
    double best = 1e30;
    for (int step = 0; step <= steps; step++) { /* the first one warms up */
        const double begin = now();
        gpt2_forward(&model, input, target, (size_t)batch, (size_t)length);
        gpt2_zero_grad(&model);
        gpt2_backward(&model);
        gpt2_update(&model, 1e-4f, 0.9f, 0.95f, 1e-8f, 0.1f, step + 1);
        if (step > 0 && now() - begin < best) best = now() - begin;
    }
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    dprintf(kept, "{\"parameters\": %zu, \"tokens_s\": %.2f, \"step_s\": %.4f, \"loss\": %.4f, \"peak_bytes\": %lld}\n",
            model.num_parameters, (double)(length * batch) / best, best, (double)model.mean_loss, (long long)usage.ru_maxrss * 1024);
    return 0;
}
