/* examples.c - examples as lessons: prompts and responses become tokens with targets where a response's tokens are to be predicted.
 *
 * A text is put together from pieces that are tokenized apart, so the border between a prompt and its response does not depend on what
 * meets there. Conversations are rendered by the chat template, once up to each answer and once with it; what the second has more than the
 * first is the answer as the model will have to write it, with the mark that ends its turn. */
#include "lm/lm_internal.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

/* ---- pieces ---- */

/* Text that counts or does not. */
typedef struct az_piece {
    const char *text;
    size_t length;
    bool counts;
} az_piece;

typedef struct az_pieces {
    int n;
    az_piece *item;
    bool rendered; /* by a template: its special tokens are meant, BOS among them */
} az_pieces;

/* The template's text for the first n messages. */
static const char *render(az_ctx *az, const az_lm *lm, const char *chat, const json_t *messages, size_t n, bool ask)
{
    json_t *some = json_array();
    for (size_t i = 0; i < n; i++) json_array_append(some, json_array_get(messages, i));
    char *text = json_dumps(some, JSON_COMPACT);
    json_decref(some);
    const char *out = text ? az_chat_render(az, lm->tokenizer, chat && *chat ? chat : NULL, text, ask) : NULL;
    free(text);
    return out;
}

/* Pieces of a conversation: for each answer what leads to it, and it. */
static bool conversation_pieces(az_ctx *az, const az_lm *lm, const az_example *example, const az_lm_example_options *o, az_pieces *out)
{
    json_t *messages = json_loads(example->messages, 0, NULL);
    const char *before = "";
    for (int i = 0; i < example->turns && az_ok(az); i++) {
        if (strcmp(example->turn[i].role, "assistant") != 0) continue;
        const char *ask = render(az, lm, o->chat, messages, (size_t)i, true), *answer = ask;
        if (ask) answer = render(az, lm, o->chat, messages, (size_t)i + 1, false);
        if (!ask || !answer) break;
        if (strncmp(ask, before, strlen(before)) != 0 || strncmp(answer, ask, strlen(ask)) != 0) {
            az_fail(az, AZ_BAD_INPUT, "the chat template changes earlier turns when later ones come; give another one (--template)");
            break;
        }
        out->item[out->n++] = (az_piece){ask + strlen(before), strlen(ask) - strlen(before), false};
        out->item[out->n++] = (az_piece){answer + strlen(ask), strlen(answer) - strlen(ask), true};
        before = answer;
    }
    json_decref(messages);
    for (int k = 0; o->last_only && k + 1 < out->n; k++) out->item[k].counts = false;
    out->rendered = true;
    return az_ok(az);
}

static bool pieces_of(az_ctx *az, const az_lm *lm, const az_example *example, const az_lm_example_options *o, az_pieces *out)
{
    *out = (az_pieces){.item = az_alloc_array(az, 2 * (size_t)example->turns + 1, sizeof *out->item)};
    if (!out->item) return false;
    if (example->messages) return conversation_pieces(az, lm, example, o, out);
    for (int i = 0; i < example->turns; i++) {
        const az_turn *turn = &example->turn[i];
        out->item[out->n++] = (az_piece){turn->text, turn->length, strcmp(turn->role, "prompt") != 0};
    }
    return true;
}

/* ---- tokens ---- */

/* Tokens so far, and which of them count. */
typedef struct az_line {
    int32_t *token;
    bool *counts;
    int64_t n, room;
} az_line;

static bool append(az_ctx *az, az_line *line, const int32_t *token, int64_t n, bool counts)
{
    if (line->n + n > line->room) {
        const int64_t room = 2 * (line->n + n) + 64;
        int32_t *more = az_alloc_array(az, (size_t)room, sizeof *more);
        bool *more_counts = az_alloc_array(az, (size_t)room, sizeof *more_counts);
        if (!more || !more_counts) return false;
        if (line->n) memcpy(more, line->token, (size_t)line->n * sizeof *more);
        if (line->n) memcpy(more_counts, line->counts, (size_t)line->n * sizeof *more_counts);
        *line = (az_line){.token = more, .counts = more_counts, .n = line->n, .room = room};
    }
    for (int64_t i = 0; i < n; i++) {
        line->token[line->n] = token[i];
        line->counts[line->n++] = counts;
    }
    return true;
}

static bool add_pieces(az_ctx *az, const az_lm *lm, const az_pieces *pieces, const az_lm_example_options *o, az_line *line)
{
    const int32_t bos = az_token_bos(lm->tokenizer), eos = az_token_eos(lm->tokenizer);
    for (int64_t j = 0; j < o->virtual_tokens; j++)
        if (!append(az, line, (int32_t[]){(int32_t)(-1 - j)}, 1, false)) return false;
    const char *begins = bos >= 0 ? az_token_text(lm->tokenizer, bos) : "";
    const bool has_bos = pieces->rendered && pieces->n > 0 && *begins && strncmp(pieces->item[0].text, begins, strlen(begins)) == 0;
    if (bos >= 0 && !has_bos && !o->no_bos && !append(az, line, &bos, 1, false)) return false;
    for (int k = 0; k < pieces->n; k++) {
        const az_piece *piece = &pieces->item[k];
        const az_tokens tokens = az_tokenize(az, lm->tokenizer, piece->text, piece->length, pieces->rendered ? AZ_PARSE_SPECIAL : 0);
        if (!az_ok(az) || !append(az, line, tokens.id, tokens.n, piece->counts || o->whole)) return false;
    }
    const bool ended = line->n > 0 && line->token[line->n - 1] >= 0 && az_token_ends(lm->tokenizer, line->token[line->n - 1]);
    const bool response = pieces->n > 0 && pieces->item[pieces->n - 1].counts;
    return eos < 0 || pieces->rendered || ended || append(az, line, &eos, 1, response || o->whole);
}

/* A prompt with its response in templates, without an end. */
static bool add_form(az_ctx *az, const az_lm *lm, const az_examples *examples, int64_t i, const az_lm_example_options *o, az_line *line)
{
    const int32_t bos = az_token_bos(lm->tokenizer);
    az_lm_line query, answer;
    if (!az_lm_form_query(az, lm->tokenizer, o->form, az_example_prompt(az, examples, i), &query) ||
        !az_lm_form_answer(az, lm->tokenizer, o->form, az_example_response(az, examples, i), &answer))
        return false;
    for (int64_t j = 0; j < o->virtual_tokens; j++)
        if (!append(az, line, (int32_t[]){(int32_t)(-1 - j)}, 1, false)) return false;
    if (bos >= 0 && !o->no_bos && !append(az, line, &bos, 1, false)) return false;
    if (!append(az, line, query.id, query.n, o->whole)) return false;
    for (int64_t j = 0; j < answer.n; j++)
        if (!append(az, line, &answer.id[j], 1, answer.type[j] == AZ_FORM_LABEL || o->whole)) return false;
    return true;
}

/* Example i as one line of tokens. */
static bool line_of(az_ctx *az, const az_lm *lm, const az_examples *examples, int64_t i, const az_lm_example_options *o, az_line *line)
{
    az_pieces pieces;
    if (o->form) return add_form(az, lm, examples, i, o, line);
    return pieces_of(az, lm, &examples->item[i], o, &pieces) && add_pieces(az, lm, &pieces, o, line);
}

/* The line as inputs and targets, in memory that lasts; counted 0 when no target is left. */
static az_lm_example example_of(az_ctx *az, const az_line *line, int64_t most, int64_t source)
{
    const int64_t n = (line->n < most + 1 ? line->n : most + 1) - 1;
    az_lm_example out = {.n = n > 0 ? n : 0, .source = source};
    int32_t *token = az_alloc_array(az, (size_t)out.n + 1, sizeof *token), *target = az_alloc_array(az, (size_t)out.n + 1, sizeof *target);
    if (!token || !target) return out;
    for (int64_t i = 0; i < out.n; i++) {
        token[i] = line->token[i];
        target[i] = line->counts[i + 1] ? line->token[i + 1] : -1;
        out.counted += target[i] >= 0;
    }
    out.token = token;
    out.target = target;
    return out;
}

static bool add_example(az_ctx *az, const az_lm *lm, const az_examples *examples, int64_t i, const az_lm_example_options *o,
                        az_lm_examples *out)
{
    az_line line = {0};
    az_lm_example made = {0};
    az_arena *scratch = az_arena_new(az); /* of the line; only what is made of it stays */
    az_arena_enter(az, scratch);
    const bool read = line_of(az, lm, examples, i, o, &line);
    az_arena_leave(az);
    if (read) made = example_of(az, &line, o->length, i);
    az_arena_free(az, scratch);
    if (!az_ok(az)) return false;
    out->truncated += line.n - 1 > o->length && made.counted > 0;
    if (made.counted == 0) {
        out->skipped++;
        return true;
    }
    out->item[out->count++] = made;
    out->tokens += made.n;
    out->counted += made.counted;
    return true;
}

/* Whether a response, an answer or the text that is to be learnt has no text. */
static bool says_nothing(const az_example *example)
{
    for (int i = 0; i < example->turns; i++) {
        const az_turn *turn = &example->turn[i];
        const bool learnt = example->messages ? strcmp(turn->role, "assistant") == 0 : strcmp(turn->role, "prompt") != 0;
        if (learnt && turn->length == 0) return true;
    }
    return false;
}

static void note_empty(az_ctx *az, const az_examples *examples, bool ends)
{
    int64_t empty = 0;
    for (int64_t i = 0; i < examples->count; i++) empty += says_nothing(&examples->item[i]);
    if (empty > 0)
        az_note(az, "'%s': %lld examples have a response without text, of which %s", examples->path ? examples->path : "", (long long)empty,
                ends ? "only the end counts" : "nothing counts, as the model has no token that ends a text");
}

az_lm_examples *az_lm_examples_of(az_ctx *az, const az_lm *lm, const az_examples *examples, const az_lm_example_options *options)
{
    if (!lm || !examples || !az_ok(az)) return NULL;
    if (!lm->tokenizer) return az_fail(az, AZ_BAD_INPUT, "the model brings no tokenizer, so it cannot read text");
    az_lm_example_options o = options ? *options : (az_lm_example_options){0};
    if (o.length == 0 || o.length > lm->config.context) o.length = lm->config.context;
    if (o.length <= o.virtual_tokens)
        return az_fail(az, AZ_BAD_INPUT, "%lld virtual tokens leave no room in %lld tokens", (long long)o.virtual_tokens,
                       (long long)o.length);
    az_lm_examples *out = az_alloc(az, sizeof *out);
    if (!out) return NULL;
    *out = (az_lm_examples){.item = az_alloc_array(az, (size_t)examples->count, sizeof *out->item)};
    for (int64_t i = 0; out->item && i < examples->count; i++) {
        if (add_example(az, lm, examples, i, &o, out)) continue;
        az_fail_context(az, "example %lld", (long long)i + 1);
        return NULL;
    }
    if (!az_ok(az)) return NULL;
    if (!o.form) note_empty(az, examples, az_token_eos(lm->tokenizer) >= 0);
    if (out->count == 0)
        return az_fail(az, AZ_BAD_INPUT, "no example has a token of a response within %lld tokens (%lld skipped); allow more by length",
                       (long long)o.length, (long long)out->skipped);
    return out;
}

/* ---- lessons ---- */

az_lm_lesson az_lm_lesson_of_examples(az_ctx *az, const az_lm_examples *examples, const int64_t *which, int n)
{
    int64_t tokens = 0;
    bool weighted = false;
    for (int i = 0; i < n; i++) tokens += examples->item[which[i]].n, weighted |= examples->item[which[i]].weight != NULL;
    int32_t *token = az_alloc_array(az, (size_t)tokens, sizeof *token), *target = az_alloc_array(az, (size_t)tokens, sizeof *target);
    int64_t *start = az_alloc_array(az, (size_t)n + 1, sizeof *start);
    float *weight = weighted ? az_alloc_array(az, (size_t)tokens, sizeof *weight) : NULL;
    if (!token || !target || !start || (weighted && !weight)) return (az_lm_lesson){0};
    for (int i = 0; i < n; i++) {
        const az_lm_example *e = &examples->item[which[i]];
        memcpy(token + start[i], e->token, (size_t)e->n * sizeof *token);
        memcpy(target + start[i], e->target, (size_t)e->n * sizeof *target);
        for (int64_t j = 0; weighted && j < e->n; j++) weight[start[i] + j] = e->weight ? e->weight[j] : 1;
        start[i + 1] = start[i] + e->n;
    }
    return (az_lm_lesson){.batch = {.sequences = n, .token = token, .start = start}, .target = target, .weight = weight};
}

az_lm_lesson az_lm_lesson_drawn(az_ctx *az, const az_lm_examples *examples, int64_t batch, int64_t pass, uint64_t seed)
{
    int64_t *which = az_alloc_array(az, (size_t)batch, sizeof *which), *order = az_alloc_array(az, (size_t)examples->count, sizeof *order);
    if (!which || !order) return (az_lm_lesson){0};
    int64_t present = -1; /* the round that `order` is of */
    for (int64_t b = 0; b < batch; b++) {
        const int64_t at = pass * batch + b, round = at / examples->count;
        if (round != present) {
            for (int64_t i = 0; i < examples->count; i++) order[i] = i;
            az_rng rng = az_rng_at(seed, az_stream("order of examples", (uint64_t)round));
            az_shuffle(&rng, order, examples->count);
            present = round;
        }
        which[b] = order[at % examples->count];
    }
    return az_lm_lesson_of_examples(az, examples, which, (int)batch);
}

/* ---- measuring ---- */

enum { TOKENS_AT_ONCE = 4096 };

/* How many examples from `first` on make a pass. */
static int pass_size(const az_lm_examples *examples, int64_t first, bool one)
{
    int n = 1;
    int64_t tokens = examples->item[first].n;
    while (!one && first + n < examples->count && tokens + examples->item[first + n].n <= TOKENS_AT_ONCE)
        tokens += examples->item[first + n++].n;
    return n;
}

double az_lm_examples_loss(az_ctx *az, const az_lm *lm, const az_lm_examples *examples, const az_lm_run *run, double *loss_each)
{
    if (!lm || !examples || !az_ok(az)) return 0;
    double sum = 0;
    for (int64_t first = 0; first < examples->count && az_ok(az);) {
        az_scope_push(az);
        const int n = pass_size(examples, first, loss_each != NULL);
        int64_t *which = az_alloc_array(az, (size_t)n, sizeof *which);
        for (int i = 0; which && i < n; i++) which[i] = first + i;
        const az_lm_lesson lesson = which ? az_lm_lesson_of_examples(az, examples, which, n) : (az_lm_lesson){0};
        const az_tensor *loss = lesson.target ? az_lm_loss(az, lm, &lesson, run) : NULL;
        const double part = loss ? az_to_double(loss) : 0;
        if (loss_each) loss_each[first] = part;
        sum += part;
        az_scope_pop(az);
        first += n;
    }
    return az_ok(az) ? sum / (double)examples->counted : 0;
}
