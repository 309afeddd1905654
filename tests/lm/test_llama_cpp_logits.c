/* Log-probabilities of one small model of each architecture, as adze writes it, against llama.cpp's. Skipped without ADZE_LLAMA_CPP.
 *
 * llama.cpp takes GELU (always the tanh form) out of a table of half-precision values; everything else is computed in single precision on
 * both sides. Models that have GELU are therefore compared twice: as they are, and with hooks that round like that table. */
#include "lm/rope_scaling.h"
#include "lm/lm_internal.h"
#include "support/families.h"
#include "support/folder.h"
#include "support/llama_cpp.h"
#include "support/models.h"

#include <criterion/criterion.h>
#include <math.h>
#include <string.h>

/* Architectures that need nothing of their own in the forward pass stand here, the others in support/families.h. llama.cpp has no OPT. */
static const family plain_families[] = {
    {"llama", {.kv_heads = 2}},
    {"qwen2", {.kv_heads = 2}},
    {"gpt2", {.tied = true}},
    {"gptneox", {.rope_dims = 4}},
    {"stablelm", {.rope_dims = 4}},
    {"granite", {.kv_heads = 2, .embedding_scale = 3, .residual_scale = 0.25, .logit_scale = 0.5, .attention_scale = 0.5}},
    {"olmo2", {.kv_heads = 2}},
    {"olmo2", {.kv_heads = 2, .blocks = 5, .window = 5}},
    {"smollm3", {.kv_heads = 2, .blocks = 5}},
};
enum { PLAIN_FAMILIES = sizeof plain_families / sizeof *plain_families };

/* ---- GELU out of a table ---- */

/* The entry of the table for x. */
static double tabled_gelu(double x)
{
    if (x <= -10 || x >= 10) return x < 0 ? 0 : x;
    const double rounded = (double)(_Float16)x;
    const double gelu = 0.5 * rounded * (1 + tanh(0.79788456080286535588 * rounded * (1 + 0.044715 * rounded * rounded)));
    return (double)(_Float16)gelu;
}

/* What the layer before the activation made of the tokens of a block. */
typedef struct tabled {
    bool gated;
    az_tensor *gate, *up;
} tabled;

static az_tensor *keep_gate(az_ctx *az, const char *site, az_tensor *x, void *user)
{
    (void)az, (void)site;
    return ((tabled *)user)->gate = x;
}

static az_tensor *keep_up(az_ctx *az, const char *site, az_tensor *x, void *user)
{
    (void)az, (void)site;
    return ((tabled *)user)->up = x;
}

static az_tensor *activate(az_ctx *az, const char *site, az_tensor *x, void *user)
{
    (void)site;
    const tabled *t = user;
    az_tensor *y = az_copy(az, x);
    for (int64_t i = 0; i < az_count(x); i++)
        az_f32_mut(y)[i] = (float)(tabled_gelu(az_item(t->gated ? t->gate : t->up, i)) * (t->gated ? az_item(t->up, i) : 1));
    return y;
}

static az_tensor *forward(az_ctx *az, const az_lm *lm, const int32_t *token, int64_t n, bool table)
{
    tabled kept = {.gated = az_lm_is_gated(lm->arch)};
    const az_lm_hook hooks[] = {
        {.site = "blocks.*.mlp.gate.out", .see = keep_gate, .user = &kept},
        {.site = "blocks.*.mlp.up.out", .see = keep_up, .user = &kept},
        {.site = "blocks.*.mlp.down.in", .see = activate, .user = &kept},
    };
    const az_lm_run run = {.hooks = hooks, .n_hooks = table ? 3 : 0};
    az_tensor *logits = az_lm_forward(az, lm, &(az_lm_batch){.sequences = 1, .token = token, .start = (int64_t[]){0, n}}, &run);
    cr_assert_not_null(logits, "%s", az_error(az));
    return logits;
}

/* ---- their numbers ---- */

/* What llama-perplexity --save-all-logits writes: "_logits_", context, vocabulary, chunks; the chunks' tokens; then, for each chunk and
 * each position from context/2 to context - 2, a scale and the lowest log-probability (f32) and for each token a u16: log-probability =
 * scale * number + lowest, where everything more than 16 below the top counts as the lowest. */
enum { CONTEXT = 64, FIRST = CONTEXT / 2, ROWS = CONTEXT - 1 - FIRST };

typedef struct saved {
    int32_t *token;  /* [CONTEXT] of the first chunk */
    double *logprob; /* [ROWS, vocabulary], from position FIRST on */
} saved;

static void read_exactly(FILE *file, void *to, size_t bytes)
{
    cr_assert_eq(fread(to, 1, bytes, file), bytes);
}

static saved read_saved(az_ctx *az, const char *path, int64_t vocabulary)
{
    FILE *file = fopen(path, "rb");
    char mark[8];
    int32_t sizes[3];
    cr_assert_not_null(file);
    read_exactly(file, mark, sizeof mark);
    read_exactly(file, sizes, sizeof sizes);
    cr_assert_eq(memcmp(mark, "_logits_", 8), 0);
    cr_assert_eq(sizes[0], CONTEXT);
    cr_assert_eq(sizes[1], vocabulary);
    saved s = {.token = az_alloc_array(az, (size_t)(CONTEXT * sizes[2]), sizeof *s.token),
               .logprob = az_alloc_array(az, (size_t)(ROWS * vocabulary), sizeof *s.logprob)};
    read_exactly(file, s.token, (size_t)(CONTEXT * sizes[2]) * sizeof *s.token);
    for (int64_t row = 0; row < ROWS; row++) {
        float head[2];
        uint16_t number;
        read_exactly(file, head, sizeof head);
        for (int64_t i = 0; i < (vocabulary + 1) / 2 * 2; i++) {
            read_exactly(file, &number, sizeof number);
            if (i < vocabulary) s.logprob[row * vocabulary + i] = (double)head[0] * number + (double)head[1];
        }
    }
    fclose(file);
    return s;
}

/* How far the logits [CONTEXT, vocabulary] are from theirs. */
typedef struct distance {
    double most; /* the greatest difference of a log-probability */
    int rows;    /* positions with a difference above FINE */
} distance;
static const double FINE = 2e-4; /* a step of their 16-bit numbers, twice */

static distance distance_of(const saved *theirs, const az_tensor *logits)
{
    const int64_t vocabulary = logits->shape[1];
    distance d = {0};
    for (int64_t row = 0; row < ROWS; row++) {
        const int64_t at = (FIRST + row) * vocabulary;
        double top = -INFINITY, sum = 0, most = 0;
        for (int64_t i = 0; i < vocabulary; i++) top = fmax(top, az_item(logits, at + i));
        for (int64_t i = 0; i < vocabulary; i++) sum += exp(az_item(logits, at + i) - top);
        for (int64_t i = 0; i < vocabulary; i++) {
            const double ours = fmax(az_item(logits, at + i) - top, -16) - log(sum);
            most = fmax(most, fabs(ours - theirs->logprob[row * vocabulary + i]));
        }
        d.most = fmax(d.most, most);
        d.rows += most > FINE;
    }
    return d;
}

static bool has_gelu(const az_lm_arch *arch)
{
    return arch->mlp == AZ_MLP_GEGLU || arch->mlp == AZ_MLP_GELU || arch->mlp == AZ_MLP_GELU_TANH;
}

/* Writes the model, has llama.cpp run it, and compares. With the table, an input that lies on a boundary between two entries may fall to
 * either side, since sums are not added up in the same order: hence a position out of five may be further off. */
static void expect_logits(az_ctx *az, const az_lm *written, const char *what)
{
    const char *folder = test_folder(az), *path = test_path(az, folder, "model.gguf"), *text = test_path(az, folder, "text.txt");
    const char *logits = test_path(az, folder, "logits.bin");
    cr_assert(az_lm_save(az, written, path, NULL), "%s", az_error(az));
    FILE *out = fopen(text, "w");
    for (int i = 0; i < 40; i++) fprintf(out, "cats sit on mat number %d, ", i * i);
    fclose(out);
    const char *settings = "-t 1 -ctk f32 -ctv f32 -fa off --chunks 2 --save-all-logits";
    llama_cpp(az, az_format_text(az, "llama-perplexity -m %s -f %s -c %d -b %d %s %s", path, text, CONTEXT, CONTEXT, settings, logits));
    const az_lm *lm = az_lm_load(az, path);
    cr_assert_not_null(lm, "%s", az_error(az));
    const saved theirs = read_saved(az, logits, lm->config.vocabulary);
    const distance exact = distance_of(&theirs, forward(az, lm, theirs.token, CONTEXT, false));
    if (!has_gelu(lm->arch)) {
        cr_assert_lt(exact.most, 1e-3, "%s: log-probabilities differ by %g", what, exact.most);
        cr_assert_eq(exact.rows, 0, "%s: %d positions are not equal", what, exact.rows);
        return;
    }
    const distance table = distance_of(&theirs, forward(az, lm, theirs.token, CONTEXT, true));
    cr_assert_leq(table.rows, ROWS / 5, "%s: %d positions are not equal with their GELU", what, table.rows);
    cr_assert_lt(table.most, 3e-3, "%s: with their GELU log-probabilities differ by %g", what, table.most);
    cr_assert_lt(exact.most, 5e-3, "%s: with an exact GELU they differ by %g", what, exact.most);
}

static az_lm *family_with_tokens(az_ctx *az, const family *which)
{
    az_lm *lm = family_model_with(az, which, test_tokenizer(az));
    cr_assert_not_null(lm, "%s", az_error(az));
    return lm;
}

static void expect_family(const family *which)
{
    az_ctx *az = az_open(NULL);
    expect_logits(az, family_with_tokens(az, which), which->architecture);
    az_close(az);
}

Test(llama_cpp_logits, are_the_same_for_every_architecture)
{
    for (int i = 0; i < PLAIN_FAMILIES; i++) expect_family(&plain_families[i]);
    for (int i = 0; i < FAMILIES; i++) expect_family(&families[i]);
}

Test(llama_cpp_logits, are_the_same_with_the_halves_of_a_block_one_after_the_other)
{
    az_ctx *az = az_open(NULL);
    az_lm *lm = family_with_tokens(az, &(family){"gptneox", {.rope_dims = 4}});
    lm->config.sequential = true;
    expect_logits(az, lm, "gptneox, sequential");
    az_close(az);
}

Test(llama_cpp_logits, are_the_same_with_slower_rotations)
{
    static const struct {
        const char *architecture;
        double magnitude;
        az_rope_scaling how;
    } cases[] = {
        {"qwen2", 0, {.kind = AZ_ROPE_LINEAR, .factor = 4, .low = 1, .high = 4, .original = 16}},
        {"llama", 0, {.kind = AZ_ROPE_BY_WAVELENGTH, .factor = 4, .low = 1, .high = 4, .original = 16}},
        {"llama", 0, {.kind = AZ_ROPE_YARN, .factor = 4, .low = 1, .high = 32, .original = 16}},
        {"qwen2", 1.3, {.kind = AZ_ROPE_YARN, .factor = 4, .low = 1, .high = 32, .original = 16}},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        az_ctx *az = az_open(NULL);
        const family which = {cases[i].architecture, {.kv_heads = 2, .rope_magnitude = cases[i].magnitude}};
        az_lm *lm = family_with_tokens(az, &which);
        cr_assert(az_rope_scale(az, lm, &cases[i].how), "%s", az_error(az));
        expect_logits(az, lm, az_format_text(az, "rotary scaling %d", (int)i));
        az_close(az);
    }
}

Test(llama_cpp_logits, are_the_same_with_other_rotations_in_long_contexts)
{
    for (int i = 0; i < 2; i++) {
        az_ctx *az = az_open(NULL);
        az_lm *lm = family_with_tokens(az, &(family){"phi3", {.kv_heads = 2, .rope_magnitude = 1.2}});
        const double near[] = {1, 1.1, 1.3, 2}, far[] = {1, 1.5, 4, 9};
        cr_assert(az_rope_scale_long(az, lm, near, far, i == 0 ? 32 : 4096), "%s", az_error(az));
        expect_logits(az, lm, i == 0 ? "longrope, long" : "longrope, short");
        az_close(az);
    }
}
