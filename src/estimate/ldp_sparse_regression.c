/* ldp_sparse_regression.c - a sparse linear model of users who make their own (x, y) private before they send it.
 *
 * Problem: y = <x, theta> + noise, theta k-sparse, |theta|_2 <= 1. The server is not trusted: what user i sends must be (eps,
 * delta)-private for that user alone. Protocols: nldp, one message each: x x' + N1 and x y + N2 of bounded x and y, with Gaussian noise;
 * the server soft-thresholds M^-1 v. nldp-public: x x' comes from public unlabelled rows, and only x y + N2 is sent, with the whole budget:
 * better by sqrt(d). iht: users in groups, a round each; a user of round t sends the gradient at theta_{t-1} through the randomiser of a
 * ball (pure eps), the server takes a step, keeps k' coordinates and projects on the unit ball.
 *
 * Zhu, Ding, Aggarwal, Xu, Wang: "Improved analysis of sparse linear regression in local differential privacy model", ICLR 2024 (arXiv
 * 2310.07367). */
#include "estimate/ldp.h"

#include <string.h>
#include <sys/random.h>

typedef enum action { ACTION_SIMULATE, ACTION_CLIENT, ACTION_SERVER } action;

typedef struct ldp_options {
    int action, protocol;
    const char *response, *user, *message;
    ldp_settings s;
    double norm_scale;
    int64_t round, test_seed;
} ldp_options;

static const char *const actions[] = {"simulate", "client", "server", NULL};
static const char *const protocols[] = {"nldp", "nldp-public", "iht", "nonprivate", "ols", "lasso", "all", NULL};

static const az_option ldp_table[] = {
    {"action", AZ_FIELD(AZ_CHOICE, ldp_options, action), "simulate", 0, 0, actions,
     "simulate plays both sides; client makes one user's message; server takes messages"},
    {"protocol", AZ_FIELD(AZ_CHOICE, ldp_options, protocol), "all", 0, 0, protocols,
     "what is sent; the last three are not private; all: simulate each"},
    {"response", AZ_FIELD(AZ_TEXT, ldp_options, response), "", 0, 0, NULL, "the column of y; none = the last"},
    {"eps", AZ_FIELD(AZ_REAL, ldp_options, s.eps), "1", 1e-6, 100, NULL, "privacy of each user"},
    {"delta", AZ_FIELD(AZ_REAL, ldp_options, s.delta), "1e-5", 1e-300, 0.5, NULL, "and its failure probability; iht needs none"},
    {"radius", AZ_FIELD(AZ_REAL, ldp_options, s.radius), "0", 0, 1e12, NULL, "bound on |x|; 0 = 1.5 sqrt(d) x_scale (simulate)"},
    {"tau1", AZ_FIELD(AZ_REAL, ldp_options, s.tau1), "0", 0, 1e12, NULL, "bound on |x_j|; 0 = x_scale sqrt(2 log n) (simulate)"},
    {"tau2", AZ_FIELD(AZ_REAL, ldp_options, s.tau2), "0", 0, 1e12, NULL, "bound on |y|; 0 = sqrt(2 log n) (simulate)"},
    {"x_scale", AZ_FIELD(AZ_REAL, ldp_options, norm_scale), "1", 1e-9, 1e9, NULL, "known scale of x, for those rules"},
    {"sparsity", AZ_FIELD(AZ_INT, ldp_options, s.sparsity), "5", 1, LDP_MOST_COLUMNS, NULL, "k: coefficients that are not zero"},
    {"kept", AZ_FIELD(AZ_INT, ldp_options, s.kept), "0", 0, LDP_MOST_COLUMNS, NULL, "iht: coefficients kept by a step; 0 = 2 k"},
    {"lambda", AZ_FIELD(AZ_REAL, ldp_options, s.lambda), "-1", -1, 1e12, NULL,
     "soft threshold; -1 = c d / (sqrt(n) eps), with sqrt(d) for nldp-public"},
    {"c", AZ_FIELD(AZ_REAL, ldp_options, s.c), "1", 0, 1e6, NULL, "factor of that rule"},
    {"eta", AZ_FIELD(AZ_REAL, ldp_options, s.eta), "0.6666666666666666", 1e-6, 10, NULL, "iht: step"},
    {"rounds", AZ_FIELD(AZ_INT, ldp_options, s.rounds), "0", 0, 1e6, NULL, "iht: groups of users; 0 = max(3, log(n) / 2)"},
    {"regularise", AZ_FIELD(AZ_REAL, ldp_options, s.ridge), "0", 0, 1e12, NULL, "added to the diagonal of the matrix of moments"},
    {"tight", AZ_FIELD(AZ_BOOL, ldp_options, s.tight), "false", 0, 0, NULL,
     "sensitivity sqrt(2) r^2 of x x', which holds, instead of the paper's 2 r^2"},
    {"user", AZ_FIELD(AZ_TEXT, ldp_options, user), "", 0, 0, NULL, "client: the user's name, at most 63 bytes; a user sends once"},
    {"message", AZ_FIELD(AZ_TEXT, ldp_options, message), "", 0, 0, NULL, "client: the file that is sent"},
    {"round", AZ_FIELD(AZ_INT, ldp_options, round), "0", 0, 1e6, NULL, "client, iht: the round of the user's group, from 0"},
    {"test_seed", AZ_FIELD(AZ_INT, ldp_options, test_seed), "-1", -1, 1e15, NULL,
     "client: noise that can be foretold, for tests; -1 = the system's"},
    {0},
};

enum { SLOT_DATA, SLOT_PUBLIC, SLOT_TRUTH, SLOT_THETA, SLOT_MESSAGES };
static const az_input_slot ldp_slots[] = {
    {"data", AZ_INPUT_TABLE, 0, 1, "simulate: a row for each user; client: one row"},
    {"public", AZ_INPUT_ARRAY, 0, 1, "unlabelled public rows of x, for nldp-public"},
    {"truth", AZ_INPUT_ARRAY, 0, 1, "simulate: theta itself, to report errors"},
    {"theta", AZ_INPUT_ARRAY, 0, 1, "iht: the server's estimate after the rounds before (none in the first)"},
    {"messages", AZ_INPUT_FILE, 0, AZ_ANY_NUMBER, "server: the users' messages"},
    {0},
};

/* ---- rows ---- */

typedef struct problem {
    ldp_rows rows;
    const char **name; /* [d] */
} problem;

static bool read_rows(az_ctx *az, const ldp_options *o, const az_table *table, problem *out)
{
    if (!table) return az_fail(az, AZ_BAD_INPUT, "a table is needed: -d FILE");
    if (table->columns < 3)
        return az_fail(az, AZ_BAD_INPUT, "the table needs two columns of x and one of y at least; with one x there is nothing sparse");
    if (table->columns > LDP_MOST_COLUMNS) return az_fail(az, AZ_BAD_INPUT, "at most %d columns", LDP_MOST_COLUMNS);
    const az_column *y = *o->response ? az_table_find(az, table, o->response) : &table->column[table->columns - 1];
    const az_column **x = az_alloc_array(az, (size_t)table->columns, sizeof *x);
    out->name = az_alloc_array(az, (size_t)table->columns, sizeof *out->name);
    if (!y || !x || !out->name) return false;
    int d = 0;
    for (int c = 0; c < table->columns; c++) {
        if (&table->column[c] == y) continue;
        out->name[d] = table->column[c].name;
        x[d++] = &table->column[c];
    }
    const az_tensor *matrix = az_table_matrix(az, table, x, d);
    out->rows = (ldp_rows){.x = az_f64(matrix), .y = az_column_numbers(az, table, y), .n = table->rows, .d = d};
    if (!az_ok(az)) return false;
    const int64_t bad = az_first_nonfinite(matrix);
    if (bad >= 0) return az_fail(az, AZ_BAD_INPUT, "row %lld: '%s' is missing or not finite", (long long)(bad / d) + 1, x[bad % d]->name);
    for (int64_t i = 0; i < table->rows; i++)
        if (!isfinite(out->rows.y[i]))
            return az_fail(az, AZ_BAD_INPUT, "row %lld: '%s' is missing or not finite", (long long)i + 1, y->name);
    return true;
}

static const az_tensor *public_rows(az_ctx *az, const az_estimate_job *job, int64_t d)
{
    const az_input *input = az_job_input(job, SLOT_PUBLIC, 0);
    if (!input) return NULL;
    if (input->array->value->rank != 2 || input->array->value->shape[1] != d)
        return az_fail(az, AZ_BAD_INPUT, "'%s' has the shape %s; rows of %lld columns are needed", input->path,
                       az_shape_text(az, input->array->value), (long long)d);
    return input->array->value;
}

/* A vector of d numbers from a slot; NULL without an error when none is given. */
static const az_tensor *vector_of(az_ctx *az, const az_estimate_job *job, int slot, int64_t d)
{
    const az_input *input = az_job_input(job, slot, 0);
    if (!input) return NULL;
    if (az_count(input->array->value) != d)
        return az_fail(az, AZ_BAD_INPUT, "'%s' holds %lld numbers, not %lld", input->path, (long long)az_count(input->array->value),
                       (long long)d);
    return input->array->value;
}

static void fill_in(ldp_settings *s, const ldp_options *o, int64_t n, int64_t d)
{
    const double tail = sqrt(2 * log(fmax((double)n, 2)));
    if (s->radius <= 0) s->radius = 1.5 * sqrt((double)d) * o->norm_scale;
    if (s->tau1 <= 0) s->tau1 = o->norm_scale * tail;
    if (s->tau2 <= 0) s->tau2 = tail;
    if (s->kept <= 0) s->kept = 2 * s->sparsity < d ? 2 * s->sparsity : d;
    if (s->rounds <= 0) s->rounds = (int64_t)fmax(3, ceil(log((double)n) / 2));
}

/* ---- simulate ---- */

static double distance(const az_tensor *a, const az_tensor *b)
{
    double sum = 0;
    for (int64_t j = 0; j < az_count(a); j++) sum += pow(az_item(a, j) - az_item(b, j), 2);
    return sqrt(sum);
}

static void report_estimate(az_report *report, const char *name, const ldp_settings *s, ldp_protocol p, int64_t n, int64_t d,
                            const az_tensor *theta, const az_tensor *truth)
{
    int64_t nonzero = 0;
    for (int64_t j = 0; j < d; j++) nonzero += az_item(theta, j) != 0;
    az_report_row(report, "protocols");
    az_report_text(report, "protocol", name);
    az_report_number(report, "eps", p < LDP_NONPRIVATE ? s->eps : NAN, "");
    az_report_number(report, "lambda", p == LDP_IHT || p == LDP_OLS ? NAN : ldp_lambda(s, p, n, d), "");
    az_report_count(report, "nonzero", nonzero);
    if (truth) az_report_number(report, "error", distance(theta, truth), "");
}

/* A protocol that fails is an error when it was asked for, and a remark among all. */
static az_tensor *try_protocol(az_ctx *az, const ldp_settings *s, int p, const problem *all, const az_tensor *public_x, bool alone)
{
    if (p == LDP_PUBLIC && !public_x && !alone) return NULL;
    az_tensor *theta = ldp_simulate(az, s, (ldp_protocol)p, &all->rows, public_x, az_seed(az));
    if (az_ok(az) || alone || az_status_of(az) != AZ_NUMERIC) return theta;
    az_note(az, "%s: %s", protocols[p], az_error(az));
    az_clear(az);
    return NULL;
}

static bool simulate(az_ctx *az, const ldp_options *o, const az_estimate_job *job)
{
    const az_input *data = az_job_input(job, SLOT_DATA, 0);
    problem p;
    if (!read_rows(az, o, data ? data->table : NULL, &p)) return false;
    const int64_t n = p.rows.n, d = p.rows.d;
    ldp_settings s = o->s;
    fill_in(&s, o, n, d);
    const az_tensor *truth = vector_of(az, job, SLOT_TRUTH, d), *public_x = public_rows(az, job, d);
    if (!az_ok(az)) return false;
    if (n < d) return az_fail(az, AZ_BAD_INPUT, "%lld users do not determine %lld coefficients", (long long)n, (long long)d);
    const bool all = o->protocol == LDP_PROTOCOLS;
    int estimates = 0;
    for (int k = all ? 0 : o->protocol; k <= (all ? LDP_PROTOCOLS - 1 : o->protocol); k++) {
        const az_tensor *theta = try_protocol(az, &s, k, &p, public_x, !all);
        if (!az_ok(az)) return false;
        if (!theta) continue;
        report_estimate(job->report, protocols[k], &s, (ldp_protocol)k, n, d, theta, truth);
        az_results_array(job->results, protocols[k], theta, p.name, NULL);
        estimates++;
    }
    return estimates > 0 || az_fail(az, AZ_NUMERIC, "no protocol gave an estimate; more users are needed, or regularise=...");
}

/* ---- client ---- */

/* iht carries the estimate from round to round. */
static bool check_round(az_ctx *az, ldp_protocol protocol, int64_t round, int64_t rounds, bool theta)
{
    if (protocol != LDP_IHT)
        return !theta || az_fail(az, AZ_BAD_INPUT, "-d theta=FILE: only iht has rounds, and this is %s", ldp_protocol_names[protocol]);
    if (round >= rounds)
        return az_fail(az, AZ_BAD_INPUT, "round=%lld: there are rounds=%lld, counted from 0", (long long)round, (long long)rounds);
    if (round > 0 && !theta)
        return az_fail(az, AZ_BAD_INPUT, "round=%lld needs the server's estimate after the rounds before: -d theta=FILE", (long long)round);
    if (round == 0 && theta) return az_fail(az, AZ_BAD_INPUT, "round=0 begins at zero: there is no estimate before it, leave -d theta out");
    return true;
}

static bool client_ready(az_ctx *az, const ldp_options *o, const problem *p)
{
    const ldp_settings *s = &o->s;
    if (o->protocol > LDP_IHT) return az_fail(az, AZ_BAD_INPUT, "protocol must be nldp, nldp-public or iht for a client");
    if (p->rows.n != 1) return az_fail(az, AZ_BAD_INPUT, "a client has one row, this table has %lld", (long long)p->rows.n);
    if (s->tau1 <= 0 || s->tau2 <= 0 || (o->protocol == LDP_NLDP && s->radius <= 0))
        return az_fail(az, AZ_BAD_INPUT, "tau1, tau2%s must be agreed on beforehand: bounds chosen from private data are not private",
                       o->protocol == LDP_NLDP ? " and radius" : "");
    if (!*o->message) return az_fail(az, AZ_BAD_INPUT, "message=FILE names what is sent");
    if (!*o->user || strlen(o->user) >= LDP_USER)
        return az_fail(az, AZ_BAD_INPUT, "user=... names the user, in at most %d bytes", LDP_USER - 1);
    return true;
}

static bool client_seed(az_ctx *az, const ldp_options *o, az_rng *rng)
{
    uint64_t key[2] = {(uint64_t)o->test_seed, 0};
    if (o->test_seed >= 0)
        az_note(az, "test_seed: this message's noise can be foretold, so it is not private");
    else if (getrandom(key, sizeof key, 0) != sizeof key)
        return az_fail(az, AZ_IO, "the system gives no random numbers");
    *rng = az_rng_at(key[0], key[1]);
    return true;
}

static bool client(az_ctx *az, const ldp_options *o, const az_estimate_job *job)
{
    const az_input *data = az_job_input(job, SLOT_DATA, 0);
    problem p;
    az_rng rng;
    if (!read_rows(az, o, data ? data->table : NULL, &p) || !client_ready(az, o, &p) || !client_seed(az, o, &rng)) return false;
    const int64_t d = p.rows.d;
    ldp_envelope e = {.protocol = (ldp_protocol)o->protocol, .settings = o->s, .d = d, .round = o->round, .test_seed = o->test_seed >= 0};
    fill_in(&e.settings, o, 2, d);
    snprintf(e.user, sizeof e.user, "%s", o->user);
    e.count = ldp_value_count(e.protocol, d);
    e.value = az_alloc_array(az, (size_t)e.count, sizeof *e.value);
    double *matrix = az_alloc_array(az, (size_t)(d * d), sizeof *matrix);
    const az_tensor *given = vector_of(az, job, SLOT_THETA, d), *theta = given ? given : az_zeros(az, AZ_F64, 1, &d);
    if (!az_ok(az) || !check_round(az, e.protocol, e.round, e.settings.rounds, given != NULL)) return false;
    double *vector = e.value + e.count - d;
    if (e.protocol == LDP_IHT)
        ldp_gradient_message(&e.settings, p.rows.x, p.rows.y[0], d, az_f64(theta), &rng, vector);
    else
        ldp_message(&e.settings, p.rows.x, p.rows.y[0], d, &rng, e.protocol == LDP_NLDP ? matrix : NULL, vector);
    for (int64_t i = 0, at = 0; e.protocol == LDP_NLDP && i < d; i++)
        for (int64_t j = i; j < d; j++) e.value[at++] = matrix[i * d + j];
    if (!ldp_write(az, &e, o->message)) return false;
    az_report_row(job->report, "message");
    az_report_text(job->report, "file", o->message);
    az_report_text(job->report, "protocol", ldp_protocol_names[e.protocol]);
    az_report_count(job->report, "values", e.count);
    az_report_number(job->report, "eps", e.settings.eps, "");
    return true;
}

/* ---- server ---- */

/* What a message was made with, by the names of the options; what a server decides alone (lambda, c, eta, regularise) is not among it. */
enum { TERMS = 12 };
typedef struct term {
    const char *name, *value;
} term;

static const char *number(az_ctx *az, double value)
{
    return az_format_text(az, "%.15g", value);
}

static void terms_of(az_ctx *az, const ldp_envelope *e, term out[TERMS])
{
    const ldp_settings *s = &e->settings;
    const term terms[TERMS] = {
        {"protocol", ldp_protocol_names[e->protocol]},
        {"columns", number(az, (double)e->d)},
        {"eps", number(az, s->eps)},
        {"delta", number(az, s->delta)},
        {"radius", number(az, s->radius)},
        {"tau1", number(az, s->tau1)},
        {"tau2", number(az, s->tau2)},
        {"sparsity", number(az, (double)s->sparsity)},
        {"kept", number(az, (double)s->kept)},
        {"rounds", number(az, (double)s->rounds)},
        {"round", number(az, (double)e->round)},
        {"tight", s->tight ? "true" : "false"},
    };
    memcpy(out, terms, sizeof terms);
}

/* Whether message i is on the terms of the first, and of a user who sent none before. */
static bool check_message(az_ctx *az, const az_inputs *files, int i, const ldp_envelope *first, const ldp_envelope *e,
                          char (*user)[LDP_USER])
{
    const char *path = files->item[i].path, *first_path = files->item[0].path;
    term ours[TERMS], theirs[TERMS];
    terms_of(az, first, ours);
    terms_of(az, e, theirs);
    for (int t = 0; az_ok(az) && t < TERMS; t++)
        if (strcmp(ours[t].value, theirs[t].value) != 0)
            return az_fail(az, AZ_BAD_INPUT, "'%s' was made with %s=%s, '%s' with %s=%s: all users must be on the same terms", path,
                           theirs[t].name, theirs[t].value, first_path, ours[t].name, ours[t].value);
    if (e->test_seed != first->test_seed)
        return az_fail(az, AZ_BAD_INPUT, "'%s' was made %s test_seed, '%s' %s: noise that can be foretold is not mixed with other", path,
                       e->test_seed ? "with" : "without", first_path, e->test_seed ? "without" : "with");
    for (int k = 0; k < i; k++)
        if (strcmp(user[k], e->user) == 0)
            return az_fail(az, AZ_BAD_INPUT, "'%s': user '%s' has sent '%s' already", path, e->user, files->item[k].path);
    memcpy(user[i], e->user, LDP_USER);
    return true;
}

/* What the server's command says of the messages must be so. */
static bool check_terms(az_ctx *az, const ldp_options *o, const az_estimate_job *job, const ldp_envelope *e)
{
    const ldp_envelope said = {
        .protocol = o->protocol <= LDP_IHT ? (ldp_protocol)o->protocol : LDP_NLDP, .settings = o->s, .d = e->d, .round = o->round};
    const char *path = job->inputs[SLOT_MESSAGES].item[0].path;
    term ours[TERMS], theirs[TERMS];
    terms_of(az, &said, ours);
    terms_of(az, e, theirs);
    ours[0].value = protocols[o->protocol];
    for (int t = 0; az_ok(az) && t < TERMS; t++)
        if (strcmp(ours[t].value, theirs[t].value) != 0 && az_options_given(az, ldp_table, job->given, ours[t].name))
            return az_fail(az, AZ_BAD_INPUT, "%s=%s here, but '%s' was made with %s=%s: messages bring their terms, leave it out",
                           ours[t].name, ours[t].value, path, theirs[t].name, theirs[t].value);
    if (az_options_given(az, ldp_table, job->given, "test_seed") && (o->test_seed >= 0) != e->test_seed)
        return az_fail(az, AZ_BAD_INPUT, "test_seed=%lld here, but '%s' was made %s test_seed", (long long)o->test_seed, path,
                       e->test_seed ? "with" : "without");
    if (e->test_seed) az_note(az, "test_seed: the noise of these messages can be foretold, so they are not private");
    return az_ok(az);
}

/* The mean of the messages' values; the first message tells the terms. */
static ldp_envelope *gather(az_ctx *az, const az_estimate_job *job, double **mean)
{
    const az_inputs *files = &job->inputs[SLOT_MESSAGES];
    if (files->count == 0) return az_fail(az, AZ_BAD_INPUT, "a server needs messages: -d messages=FILE ...");
    ldp_envelope *first = ldp_read(az, files->item[0].path);
    char(*user)[LDP_USER] = az_alloc_array(az, (size_t)files->count, LDP_USER);
    *mean = first ? az_alloc_array(az, (size_t)first->count, sizeof **mean) : NULL;
    for (int i = 0; user && *mean && i < files->count; i++) {
        az_scope_push(az);
        const ldp_envelope *e = ldp_read(az, files->item[i].path);
        const bool ok = e && check_message(az, files, i, first, e, user);
        for (int64_t v = 0; ok && v < e->count; v++) (*mean)[v] += e->value[v] / files->count;
        az_scope_pop(az);
        if (!ok) return NULL;
    }
    return az_ok(az) ? first : NULL;
}

/* The symmetric matrix of an upper triangle. */
static az_tensor *unpack(az_ctx *az, const double *triangle, int64_t d)
{
    az_tensor *m = az_new2(az, AZ_F64, d, d);
    double *to = az_f64_mut(m);
    for (int64_t i = 0, at = 0; to && i < d; i++)
        for (int64_t j = i; j < d; j++, at++) to[i * d + j] = to[j * d + i] = triangle[at];
    return m;
}

static bool server(az_ctx *az, const ldp_options *o, const az_estimate_job *job)
{
    double *mean = NULL;
    const ldp_envelope *e = gather(az, job, &mean);
    if (!e || !check_terms(az, o, job, e)) return false;
    const int64_t d = e->d, n = job->inputs[SLOT_MESSAGES].count;
    ldp_settings s = e->settings;
    s.lambda = o->s.lambda, s.c = o->s.c, s.ridge = o->s.ridge, s.eta = o->s.eta;
    const az_tensor *vector = az_from(az, AZ_F64, 1, &d, mean + e->count - d), *given = vector_of(az, job, SLOT_THETA, d);
    const az_tensor *public_x = public_rows(az, job, d);
    az_tensor *theta = NULL;
    double smallest = NAN;
    if (!az_ok(az) || !check_round(az, e->protocol, e->round, s.rounds, given != NULL)) return false;
    if (public_x && e->protocol != LDP_PUBLIC)
        return az_fail(az, AZ_BAD_INPUT, "-d public=FILE: these messages are of %s, which has no use for it",
                       ldp_protocol_names[e->protocol]);
    if (e->protocol == LDP_IHT) {
        theta = given ? az_copy(az, given) : az_zeros(az, AZ_F64, 1, &d);
        if (theta) ldp_threshold_step(&s, mean, d, az_f64_mut(theta));
    } else {
        if (e->protocol == LDP_PUBLIC && !public_x)
            return az_fail(az, AZ_BAD_INPUT, "nldp-public needs unlabelled public rows: -d public=FILE");
        const az_tensor *m = e->protocol == LDP_NLDP
                                 ? unpack(az, mean, d)
                                 : az_affine(az, az_matmul(az, az_transpose(az, public_x), public_x), 1 / (double)public_x->shape[0], 0);
        theta = ldp_solve(az, m, vector, ldp_lambda(&s, e->protocol, n, d), s.ridge, &smallest);
    }
    if (!theta) return false;
    report_estimate(job->report, ldp_protocol_names[e->protocol], &s, e->protocol, n, d, theta, vector_of(az, job, SLOT_TRUTH, d));
    az_report_count(job->report, "users", n);
    if (e->protocol == LDP_IHT) az_report_count(job->report, "round", e->round);
    if (e->protocol == LDP_IHT) az_report_count(job->report, "rounds", s.rounds);
    az_report_number(job->report, "smallest_eigenvalue", smallest, "");
    az_results_array(job->results, "theta", theta, NULL, NULL);
    return az_ok(az);
}

static bool ldp_run(az_ctx *az, const void *options, az_estimate_job *job)
{
    const ldp_options *o = options;
    switch ((action)o->action) {
    case ACTION_SIMULATE: return simulate(az, o, job);
    case ACTION_CLIENT: return client(az, o, job);
    case ACTION_SERVER: return server(az, o, job);
    }
    return false;
}

const az_method az_ldp_sparse_regression = {
    .name = "ldp-sparse-regression",
    .family = AZ_ESTIMATE,
    .summary = "a sparse linear model of users who make their own row private before sending it",
    .paper = "Improved analysis of sparse linear regression in local differential privacy model, ICLR 2024, arXiv 2310.07367",
    .details = "action=simulate plays users and server on a table whose rows are users and compares the protocols, with the plain closed "
               "form, least squares and the Lasso as floors; -d truth=FILE adds errors. action=client makes the message of one row "
               "(protocol, tau1, tau2 and, for nldp, radius are mandatory there, since bounds chosen from private data are not private), "
               "action=server takes -d messages=FILE ... on equal terms, each user once; they bring those terms, and what is said "
               "otherwise is refused. iht needs a server's step between its rounds: -d theta=FILE carries the estimate on.\n"
               "nldp needs many users, about d^4 / eps^2, before its matrix of moments is positive definite; it refuses otherwise, with "
               "the smallest eigenvalue, unless regularise is given. Public unlabelled rows (-d public=FILE) spare that matrix.",
    .example = "adze estimate ldp-sparse-regression:response=y,sparsity=1,protocol=iht,eps=2 -d numbers.csv",
    .options = ldp_table,
    .options_size = sizeof(ldp_options),
    .inputs = ldp_slots,
    .estimate = ldp_run,
};
