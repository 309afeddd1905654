/* engine_oracle.c - simulated models behind the interface of all models: their parameters, their draws, and scores from their laws. */
#include "lm/backend/backend_internal.h"
#include "lm/backend/oracle/oracle.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static const oracle *const oracles[] = {&oracle_icl_vote, &oracle_arith,  &oracle_mcq, &oracle_rater,
                                        &oracle_caption,  &oracle_choose, &oracle_rule};
enum { ORACLES = sizeof oracles / sizeof *oracles };

typedef struct oracle_state {
    const oracle *oracle;
    double value[ORACLE_PARAMETERS];
    int64_t seed;
} oracle_state;

/* ---- laws ---- */

void oracle_may_answer(oracle_law *law, const char *text, double probability)
{
    if (!text || probability <= 0) return;
    for (int i = 0; i < law->n; i++) {
        if (strcmp(law->answer[i].text, text) != 0) continue;
        law->answer[i].probability += probability;
        return;
    }
    if (law->n == law->room) {
        const int room = 2 * law->room + 16;
        oracle_answer *more = az_alloc_array(law->az, (size_t)room, sizeof *more);
        if (!more) return;
        if (law->n) memcpy(more, law->answer, (size_t)law->n * sizeof *more);
        law->answer = more;
        law->room = room;
    }
    law->answer[law->n++] = (oracle_answer){.text = text, .probability = probability};
}

void oracle_mix(oracle_law *law, double share, const char *text)
{
    for (int i = 0; i < law->n; i++) law->answer[i].probability *= 1 - share;
    oracle_may_answer(law, text, share);
}

static const char *draw(const oracle_law *law, az_rng *rng)
{
    double left = az_uniform(rng);
    int last = 0;
    for (int i = 0; i < law->n; i++) {
        if (law->answer[i].probability <= 0) continue;
        last = i;
        left -= law->answer[i].probability;
        if (left < 0) break;
    }
    return law->n ? law->answer[last].text : NULL;
}

/* ---- answers ---- */

/* The text up to the first of the request's stops, and to what its tokens hold. */
static void write_text(az_ctx *az, const az_request *r, const char *text, az_answer *answer)
{
    size_t length = strlen(text);
    for (int i = 0; i < r->stops; i++) {
        const char *stop = *r->stop[i] ? strstr(text, r->stop[i]) : NULL;
        if (stop && (size_t)(stop - text) < length) length = (size_t)(stop - text);
    }
    const size_t room = r->max_tokens < AZ_REPLY_LIMIT / AZ_TOKEN_BYTES ? (size_t)r->max_tokens * AZ_TOKEN_BYTES : AZ_REPLY_LIMIT;
    answer->finish = length > room ? "length" : "stop";
    if (length > room)
        for (length = room; length > 0 && ((unsigned char)text[length] & 0xC0) == 0x80;) length--; /* whole characters */
    answer->text = az_format_text(az, "%.*s", (int)length, text);
    answer->completion_tokens = (int64_t)(length + AZ_TOKEN_BYTES - 1) / AZ_TOKEN_BYTES;
}

static bool write_score(az_ctx *az, const oracle_law *law, const char *continuation, az_answer *answer)
{
    const oracle_piece said = oracle_trimmed(continuation, continuation + strlen(continuation));
    answer->log_probability = az_alloc(az, sizeof *answer->log_probability);
    if (!answer->log_probability) return false;
    answer->n = 1;
    answer->total = AZ_ORACLE_NEVER;
    for (int i = 0; i < law->n; i++)
        if (oracle_is(said, law->answer[i].text) && law->answer[i].probability > 0)
            answer->total = fmax(AZ_ORACLE_NEVER, log(law->answer[i].probability));
    answer->log_probability[0] = answer->total;
    return true;
}

static int likelier_first(const void *a, const void *b)
{
    const az_next_token *x = a, *y = b;
    if (x->log_probability != y->log_probability) return x->log_probability > y->log_probability ? -1 : 1;
    return strcmp(x->text, y->text);
}

static bool write_next(az_ctx *az, const oracle_law *law, int top, az_answer *answer)
{
    answer->next = az_alloc_array(az, (size_t)law->n + 1, sizeof *answer->next);
    if (!answer->next) return false;
    for (int i = 0; i < law->n; i++)
        if (law->answer[i].probability > 0)
            answer->next[answer->n++] = (az_next_token){law->answer[i].text, fmax(AZ_ORACLE_NEVER, log(law->answer[i].probability))};
    qsort(answer->next, (size_t)answer->n, sizeof *answer->next, likelier_first);
    if (answer->n > top) answer->n = top;
    answer->completion_tokens = 1;
    return true;
}

static bool answer_oracle(az_ctx *az, const az_call_text *call, az_answer *answer, void *user)
{
    const oracle_state *state = user;
    const oracle *o = state->oracle;
    const az_request *r = call->request;
    oracle_law law = {.az = az};
    az_rng rng = az_rng_at((uint64_t)az_call_seed(state->seed, o->name, call->text, call->sample), 0);
    if (o->law) o->law(call->text, state->value, &law);
    if (!az_ok(az)) return false;
    if (r->operation == AZ_SCORE) return write_score(az, &law, r->continuation, answer);
    if (r->operation == AZ_NEXT) return write_next(az, &law, r->top ? r->top : AZ_DEFAULT_TOP, answer);
    const char *text = o->law ? draw(&law, &rng) : o->draw(az, call->text, state->value, &rng);
    if (text) write_text(az, r, text, answer);
    return az_ok(az);
}

/* ---- their names ---- */

static const oracle *find_oracle(az_ctx *az, const char *name)
{
    const char *names = "";
    for (int i = 0; i < ORACLES; i++) {
        if (strcmp(oracles[i]->name, name) == 0) return oracles[i];
        names = az_format_text(az, "%s%s%s", names ? names : "", i ? ", " : "", oracles[i]->name);
    }
    return az_fail(az, AZ_BAD_INPUT, "there is no oracle '%s'; there are: %s", name, names ? names : "");
}

/* False with an error for text that is no number of its range. */
static bool read_value(az_ctx *az, const char *spec, const oracle_parameter *p, double *value)
{
    const char *text = az_spec_value(az, spec, p->name);
    char *end = NULL;
    *value = p->usual;
    if (!text) return az_ok(az);
    *value = strtod(text, &end);
    if (*text && !*end && *value >= p->least && *value <= p->most) return true;
    return az_fail(az, AZ_BAD_INPUT, "oracle:%s: %s=%s is not a number from %g to %g", spec, p->name, text, p->least, p->most);
}

static const oracle_parameter seed_parameter = {"seed", 0, 0, 0x1p53, "of its draws"};

static oracle_state *read_oracle(az_ctx *az, const char *spec)
{
    const char *name = spec ? az_spec_name(az, spec) : NULL, *keys[ORACLE_PARAMETERS + 2] = {"seed"};
    oracle_state *state = az_alloc(az, sizeof *state);
    if (!name || !state || !(state->oracle = find_oracle(az, name))) return NULL;
    double seed = 0;
    for (int i = 0; i < ORACLE_PARAMETERS && state->oracle->parameter[i].name; i++) {
        keys[i + 1] = state->oracle->parameter[i].name;
        if (!read_value(az, spec, &state->oracle->parameter[i], &state->value[i])) return NULL;
    }
    if (!az_spec_check(az, spec, keys) || !read_value(az, spec, &seed_parameter, &seed)) return NULL;
    state->seed = (int64_t)seed;
    return state;
}

bool az_engine_oracle(az_backend *backend, const char *spec)
{
    oracle_state *state = read_oracle(backend->az, spec);
    if (!state || !az_engine_function(backend, answer_oracle, state, az_format_text(backend->az, "oracle:%s", spec))) return false;
    backend->capabilities = AZ_CAN_CHAT | AZ_CAN_COMPLETE | AZ_CAN_SEED;
    if (state->oracle->law) backend->capabilities |= AZ_CAN_SCORE | AZ_CAN_NEXT;
    return true;
}

int az_oracle_expect(az_ctx *az, const char *spec, az_expectation expect[AZ_EXPECTATIONS])
{
    const oracle_state *state = read_oracle(az, spec);
    return state ? state->oracle->expect(state->value, expect) : 0;
}

void az_oracle_list(az_report *report)
{
    for (int i = 0; i < ORACLES; i++) {
        const oracle *o = oracles[i];
        for (int k = 0; k < ORACLE_PARAMETERS && o->parameter[k].name; k++) {
            const oracle_parameter *p = &o->parameter[k];
            az_report_row(report, "oracles");
            az_report_text(report, "oracle", o->name);
            az_report_text(report, "parameter", p->name);
            az_report_number(report, "default", p->usual, "");
            az_report_number(report, "least", p->least, "");
            az_report_number(report, "most", p->most, "");
            az_report_text(report, "meaning", p->help);
        }
    }
    for (int i = 0; i < ORACLES; i++) {
        az_report_row(report, "about");
        az_report_text(report, "oracle", oracles[i]->name);
        az_report_text(report, "reads", oracles[i]->summary);
    }
}
