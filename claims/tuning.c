/* tuning.c - tasks on strings, and runs of tuning methods on them. */
#include "claims/tuning.h"

#include <string.h>

enum { ALPHABET = 10, MOVED = 3, LONGEST = 64 };

/* ---- tasks ---- */

static int answer_letter(claim_task task, const int *question, int n, int k)
{
    switch (task) {
    case CLAIM_COPY: return question[k];
    case CLAIM_REVERSE: return question[n - 1 - k];
    case CLAIM_NEXT: return (question[k] + 1) % ALPHABET;
    case CLAIM_REVERSE_NEXT: return (question[n - 1 - k] + 1) % ALPHABET;
    case CLAIM_PREVIOUS: return (question[k] + ALPHABET - 1) % ALPHABET;
    case CLAIM_ROTATE: return question[(k + 1) % n];
    default: return (question[n - 1 - k] + MOVED) % ALPHABET;
    }
}

/* Letters with a blank in front of each; `word`, if it is not 0, in front of all. */
static az_turn letters_turn(az_ctx *az, const char *role, char word, const int *letter, int n)
{
    char text[2 * LONGEST + 3];
    int at = 0;
    if (word) text[at++] = ' ', text[at++] = word;
    for (int i = 0; i < n; i++) text[at++] = ' ', text[at++] = (char)('a' + letter[i]);
    text[at] = 0;
    return (az_turn){.role = role, .text = az_strdup(az, text), .length = (size_t)at};
}

static bool make_example(az_ctx *az, claim_task task, int letters, az_rng *rng, az_example *out)
{
    static const char word[] = {[CLAIM_COPY] = 'x', [CLAIM_REVERSE] = 'y',  [CLAIM_NEXT] = 'z',  [CLAIM_REVERSE_NEXT] = 'v',
                                [CLAIM_NEW] = 'w',  [CLAIM_PREVIOUS] = 'u', [CLAIM_ROTATE] = 't'};
    int question[LONGEST], answer[LONGEST];
    for (int k = 0; k < letters; k++) question[k] = (int)az_below(rng, ALPHABET);
    for (int k = 0; k < letters; k++) answer[k] = answer_letter(task, question, letters, k);
    az_turn *turn = az_alloc_array(az, 2, sizeof *turn);
    if (!turn) return false;
    turn[0] = letters_turn(az, "prompt", word[task], question, letters);
    turn[1] = letters_turn(az, "response", 0, answer, letters);
    *out = (az_example){.turns = 2, .turn = turn};
    return az_ok(az);
}

az_examples *claim_strings(az_ctx *az, claim_task first, int tasks, int letters, int64_t count, uint64_t seed)
{
    az_examples *examples = az_alloc(az, sizeof *examples);
    az_example *item = az_alloc_array(az, (size_t)count, sizeof *item);
    if (!examples || !item || letters > LONGEST) return NULL;
    for (int64_t i = 0; i < count; i++) {
        az_rng rng = az_rng_at(seed, az_stream("strings", (uint64_t)i));
        const claim_task task = (claim_task)((int)first + (int)az_below(&rng, (uint64_t)tasks));
        if (!make_example(az, task, letters, &rng, &item[i])) return NULL;
    }
    *examples = (az_examples){.count = count, .item = item, .path = "strings"};
    return examples;
}

static az_tokenizer *letters_tokenizer(az_ctx *az)
{
    const char *text = "";
    for (int i = 0; i < 40; i++) text = az_format_text(az, "%s a b c d e f g h i j v w x y z", text);
    az_document item = {.text = text, .length = text ? strlen(text) : 0};
    return az_tokenizer_train(az, &(az_documents){.count = 1, .item = &item, .path = "letters"}, 272);
}

enum { LETTERS = 4, EXAMPLES = 8000 };

az_lm *claim_string_model(az_ctx *az)
{
    const az_lm_config config = {.vocabulary = 272, .width = 64, .blocks = 2, .heads = 4, .hidden = 172, .context = 64, .tied = true};
    az_tokenizer *tokenizer = letters_tokenizer(az);
    az_lm *lm = tokenizer ? az_lm_new(az, "llama", &config, tokenizer, 1) : NULL;
    az_tune_settings settings = {0};
    const az_method *full = az_method_by_name("full");
    void *options = az_alloc(az, full->options_size);
    az_examples *examples = claim_strings(az, CLAIM_COPY, CLAIM_NEW, LETTERS, 4 * EXAMPLES, 1);
    const char *text = "steps=1200,batch=48,lr=3e-3,schedule=cosine,beta2=0.95";
    if (!lm || !examples || !az_options_parse(az, full->options, "full", "", options)) return NULL;
    if (!az_options_parse(az, az_tune_options, "tune", text, &settings)) return NULL;
    az_tune_job job = {.lm = lm, .train = examples, .settings = &settings, .model = "strings"};
    return full->tune(az, options, &job) ? lm : NULL;
}

az_lm *claim_random_model(az_ctx *az, int64_t blocks, int64_t width, const char *format)
{
    const az_lm_config config = {
        .vocabulary = 272, .width = width, .blocks = blocks, .heads = width / 32, .hidden = 3 * width, .context = 64, .tied = true};
    az_lm *lm = az_lm_new(az, "llama", &config, letters_tokenizer(az), 1);
    az_lm_linear **linear;
    const int n = lm && *format ? az_lm_linears(az, lm, &linear) : 0;
    if (lm) az_arena_enter(az, lm->arena);
    for (int i = 0; i < n; i++) linear[i]->weight = az_weight_encode(az, linear[i]->weight, az_format_by_name(format), NULL);
    if (lm) az_arena_leave(az);
    return az_ok(az) ? lm : NULL;
}

/* ---- runs ---- */

bool claim_tune(az_ctx *az, const claim_tuning *what, int seed, claim_tuned *out)
{
    const az_method *method = az_method_by_name(what->method);
    if (!method || !method->tune) return az_fail(az, AZ_BAD_CALL, "there is no tuning method '%s'", what->method);
    void *options = az_alloc(az, method->options_size);
    az_tune_settings settings = {0};
    *out = (claim_tuned){.report = az_report_new(az, what->method)};
    if (!options || !az_options_parse(az, method->options, what->method, what->options, options)) return false;
    if (!az_options_parse(az, az_tune_options, "tune", what->settings, &settings)) return false;
    settings.training.seed = seed;
    az_lm *lm = az_lm_copy(az, what->lm);
    az_tune_job job = {
        .lm = lm, .train = what->train, .valid = what->valid, .settings = &settings, .model = lm ? lm->name : "", .report = out->report};
    if (!lm || !method->tune(az, options, &job)) return false;
    out->adapter = job.adapter;
    out->loss = az_report_curve_of(out->report, "training loss", &out->steps);
    az_lm_free(az, lm);
    return out->loss != NULL;
}

static bool matches(az_ctx *az, const az_lm *lm, const az_lm_run *run, const az_lm_example *e)
{
    const az_lm_batch batch = {.sequences = 1, .token = e->token, .start = (int64_t[]){0, e->n}};
    bool all = true;
    az_scope_push(az);
    const az_tensor *best = az_argmax(az, az_lm_forward(az, lm, &batch, run));
    for (int64_t t = 0; best && t < e->n; t++) all = all && (e->target[t] < 0 || ((const int32_t *)best->data)[t] == e->target[t]);
    az_scope_pop(az);
    return all && az_ok(az);
}

double claim_exact_match(az_ctx *az, const az_lm *lm, const az_adapter *adapter, const az_examples *examples)
{
    const az_lm_example_options how = {.virtual_tokens = adapter ? adapter->virtual_tokens : 0};
    const az_lm_examples *tokens = az_lm_examples_of(az, lm, examples, &how);
    const az_lm_run run = {.adapter = &adapter, .adapters = adapter != NULL};
    int64_t n = 0;
    for (int64_t i = 0; tokens && i < tokens->count; i++) n += matches(az, lm, &run, &tokens->item[i]);
    return tokens ? (double)n / (double)tokens->count : 0;
}

static double mean(const double *x, int64_t first, int64_t end)
{
    double sum = 0;
    for (int64_t i = first; i < end; i++) sum += x[i];
    return sum / (double)(end - first);
}

double claim_loss_halfway(const claim_tuned *run)
{
    return mean(run->loss, run->steps / 2 - run->steps / 20, run->steps / 2 + run->steps / 20);
}

double claim_loss_end(const claim_tuned *run)
{
    return mean(run->loss, run->steps - run->steps / 10, run->steps);
}

/* ---- comparisons ---- */

bool claim_learn(az_ctx *az, az_report *report, az_lm *lm, const char *method, const char *options, double lr, claim_losses *out)
{
    claim_tuning what = {.lm = lm,
                         .method = method,
                         .options = options,
                         .settings = az_format_text(az, "steps=200,batch=32,lr=%g,schedule=cosine,warmup=0.03,clip=1", lr)};
    for (int seed = 0; seed < CLAIM_TUNED_SEEDS && az_ok(az); seed++) {
        claim_tuned run;
        az_scope_push(az);
        what.train = claim_strings(az, CLAIM_NEW, 1, LETTERS, EXAMPLES, 100 + (uint64_t)seed);
        if (claim_tune(az, &what, seed, &run)) {
            out->half[seed] = claim_loss_halfway(&run);
            out->end[seed] = claim_loss_end(&run);
            az_adapter_free(az, run.adapter);
        }
        az_scope_pop(az);
    }
    if (!az_ok(az)) return false;
    az_report_row(report, "strings");
    az_report_text(report, "way", az_format_text(az, "%s %s", method, options));
    az_report_number(report, "lr", lr, "");
    az_report_number(report, "loss_halfway", claim_mean(out->half), "nat");
    az_report_number(report, "loss_end", claim_mean(out->end), "nat");
    for (int i = 0; i < CLAIM_TUNED_SEEDS; i++) az_report_number(report, az_format_text(az, "halfway_%d", i), out->half[i], "nat");
    return true;
}

double claim_mean(const double x[CLAIM_TUNED_SEEDS])
{
    double sum = 0;
    for (int i = 0; i < CLAIM_TUNED_SEEDS; i++) sum += x[i] / CLAIM_TUNED_SEEDS;
    return sum;
}

int claim_wins(const double a[CLAIM_TUNED_SEEDS], const double b[CLAIM_TUNED_SEEDS])
{
    int n = 0;
    for (int i = 0; i < CLAIM_TUNED_SEEDS; i++) n += a[i] < b[i];
    return n;
}

void claim_check(claim_checks *checks, const char *what, bool holds)
{
    az_report_row(checks->report, "checks");
    az_report_text(checks->report, "what", what);
    az_report_bool(checks->report, "holds", holds);
    checks->asked++;
    checks->held += holds;
}
