/* guard.c - one question to a guard that is kept in a file. */
#include "adze/guard.h"

#include "estimate/guard.h"

#include <math.h>

bool guard_ask(az_ctx *az, guard_file *file, guard *g, const guard_query *query, guard_reply *reply)
{
    if (!file || !guard_answer(az, g, query, reply)) return false;
    if (reply->exhausted)
        return az_fail(az, AZ_BAD_INPUT,
                       "exhausted: %lld of %lld questions were asked and %lld answers paid for; this holdout answers no more",
                       (long long)g->asked, (long long)g->s.queries, (long long)g->paid);
    return guard_file_append(file, g, reply, query->domain);
}

static bool check_values(az_ctx *az, const char *rows, const double *value, int64_t n, int64_t wanted)
{
    if (n != wanted)
        return az_fail(az, AZ_BAD_INPUT, "there are %lld values, the guard's %s has %lld rows", (long long)n, rows, (long long)wanted);
    for (int64_t i = 0; i < n; i++)
        if (!(value[i] >= 0 && value[i] <= 1))
            return az_fail(az, AZ_BAD_INPUT, "value %lld of the %s is %g, outside of 0 to 1", (long long)i + 1, rows, value[i]);
    return true;
}

static bool ask(az_ctx *az, const char *state, const az_guard_question *q, az_guard_answer *answer)
{
    guard g;
    guard_reply reply;
    const guard_query query = {.holdout = q->holdout, .train = q->train, .guess = NAN};
    guard_file *file = guard_file_open(az, state, &g);
    if (!file || !check_values(az, "holdout", q->holdout, q->n, g.s.n)) return false;
    if (q->train && !check_values(az, "training set", q->train, q->n_train, g.s.n_train)) return false;
    if (!guard_ask(az, file, &g, &query, &reply)) return false;
    *answer = (az_guard_answer){.value = reply.answer,
                                .tolerance = guard_tolerance(&g.s, (guard_mechanism)g.s.mechanism, NULL),
                                .paid = reply.paid,
                                .asked = g.asked,
                                .left = g.s.queries - g.asked};
    return true;
}

bool az_guard_ask(az_ctx *az, const char *state, const az_guard_question *question, az_guard_answer *answer)
{
    if (!az_ok(az)) return false;
    az_scope_push(az); /* holds the file, and with it the lock */
    const bool done = ask(az, state, question, answer);
    az_scope_pop(az);
    return done;
}
