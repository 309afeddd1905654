/* search.c - unbiased gradients of E[L]: the tree of runs that ENUM and MVD choices ask for, folded into one surrogate.
 *
 * Seen from a choice, the rest of the program has a value V and a surrogate S, whose gradient is the estimate of dV. At the end of a run
 * V = S = L. Going back over the choices of a run, from the last to the first,
 *     REINFORCE  S += (V - cost before - baseline) log p(v)
 *     ENUM       V = sum_v p(v) V_v,  S = sum_v p(v) (V_v held) + (p(v) held) S_v
 *     MVD        of a flip with p:            S += (V_1 - V_0) p
 *                of a normal, m and s:        S += (V(m + s W) - V(m - s W)) / (s sqrt(2 pi)) m + (V(m + s M) - V) / s s,
 *                                             W Rayleigh, M double-sided Maxwell (density x^2 e^(-x^2/2) / sqrt(2 pi))
 * where factors in brackets are held constant. The other values of a choice are visited by running the program again with the choices up to
 * there forced; random numbers are functions of their address, so that all else stays as it is. */
#include "adze/grad.h"
#include "estimate/vi/vi_internal.h"

#include <math.h>
#include <string.h>

typedef struct search {
    az_ctx *az;
    const az_vi_problem *problem;
    az_tensor *const *watched;
    uint64_t seed;
    az_tensor *forced[VI_MOST_DEPTH];
    int64_t visits;
    int pure;          /* above 0, values alone are asked for */
    vi_census *census; /* or NULL */
} search;

/* What the rest of the program is worth: both [copies]; the value is a constant. */
typedef struct outcome {
    az_tensor *value, *surrogate;
} outcome;

static int64_t copies_of(const az_vi_problem *problem)
{
    return problem->copies > 0 ? problem->copies : 1;
}

/* One run of the objective; vi keeps its choices. */
static az_tensor *perform(const search *s, bool plain, int forced, az_vi *vi)
{
    az_ctx *az = s->az;
    *vi = (az_vi){.az = az,
                  .problem = s->problem,
                  .watched = s->watched,
                  .copies = copies_of(s->problem),
                  .seed = s->seed,
                  .plain = plain,
                  .forced = s->forced,
                  .n_forced = forced,
                  .census = s->census};
    vi_frame *frame = az_alloc_array(az, 1, sizeof *frame);
    if (!frame) return NULL;
    *frame = (vi_frame){.all = az_vi_trace_new(az)};
    vi->frame = frame;
    az_tensor *result = frame->all ? s->problem->objective(vi, s->problem->user) : NULL;
    if (!result && az_ok(az)) az_fail(az, AZ_BAD_CALL, "the objective returned nothing");
    az_tensor *wide = result ? az_broadcast(az, result, 1, &vi->copies) : NULL;
    az_tensor *total = wide ? vi_plus(az, wide, vi->cost) : NULL;
    if (total && az_first_nonfinite(total) >= 0)
        return az_fail(az, AZ_NUMERIC, "the objective is %g in copy %lld", az_item(total, az_first_nonfinite(total)),
                       (long long)az_first_nonfinite(total));
    return total;
}

static bool visit(search *s, int depth, outcome *out);

/* The rest of the program with another value at the choice; what came before stays as in this run. */
static bool visit_value(search *s, const az_vi *run, const vi_choice *choice, az_tensor *value, outcome *out)
{
    for (int i = 0; i < run->choices; i++) {
        const vi_choice *c = &run->choice[i];
        const bool branches = c->strategy == AZ_VI_ENUM || c->strategy == AZ_VI_MVD;
        if (branches && c->order < choice->order) s->forced[c->order] = c->value;
    }
    s->forced[choice->order] = value;
    return value && visit(s, choice->order + 1, out);
}

/* The same, without derivatives: the value alone, for which only sums over values have to run anything again. */
static az_tensor *pure_value(search *s, const az_vi *run, const vi_choice *choice, az_tensor *value)
{
    outcome other = {0};
    az_scope_push(s->az);
    az_tape_pause(s->az);
    s->pure++;
    const bool good = visit_value(s, run, choice, value, &other);
    s->pure--;
    az_tape_resume(s->az);
    return az_keep(s->az, good ? other.value : NULL);
}

/* surrogate += held * x */
static void credit(az_ctx *az, outcome *out, const az_tensor *held, const az_tensor *x)
{
    out->surrogate = held && x ? az_add(az, out->surrogate, az_mul(az, az_detach(az, held), x)) : NULL;
}

/* ---- REINFORCE ---- */

/* The mean of the other copies. */
static az_tensor *leave_one_out(az_ctx *az, const az_tensor *x)
{
    const double n = (double)az_count(x);
    if (n < 2) return az_fail(az, AZ_BAD_CALL, "a leave-one-out baseline needs at least 2 copies");
    return az_affine(az, az_sub(az, az_sum(az, x, 0, true), x), 1 / (n - 1), 0);
}

static bool fold_score(search *s, const vi_choice *choice, outcome *out)
{
    az_ctx *az = s->az;
    az_tensor *after = choice->cost ? az_sub(az, out->value, choice->cost) : out->value;
    const az_tensor *baseline = choice->strategy == AZ_VI_REINFORCE_LOO ? leave_one_out(az, after) : choice->baseline;
    credit(az, out, baseline ? az_sub(az, after, baseline) : after, choice->log_density);
    return az_ok(az);
}

/* ---- ENUM ---- */

/* Adds p V to the value, and p (V held) + (p held) S to the surrogate. */
static void add_branch(az_ctx *az, outcome *sum, const az_tensor *p, const outcome *branch)
{
    const az_tensor *held = az_detach(az, p);
    sum->value = vi_plus(az, sum->value, az_mul(az, held, branch->value));
    sum->surrogate = vi_plus(az, sum->surrogate, az_add(az, az_mul(az, p, branch->value), az_mul(az, held, branch->surrogate)));
}

static bool fold_sum(search *s, const az_vi *run, const vi_choice *choice, outcome *out)
{
    az_ctx *az = s->az;
    const int64_t n = vi_support(&choice->distribution);
    outcome sum = {0};
    for (int64_t v = 0; v < n; v++) {
        outcome branch = *out;
        az_tensor *value = v == 0 ? choice->value : az_full(az, AZ_F64, 1, &run->copies, (double)v);
        if (v > 0 && !visit_value(s, run, choice, value, &branch)) return false;
        add_branch(az, &sum, vi_probability(az, &choice->distribution, v), &branch);
        if (!az_ok(az)) return false;
    }
    *out = sum;
    return true;
}

/* ---- MVD ---- */

static bool fold_flip(search *s, const az_vi *run, const vi_choice *choice, outcome *out)
{
    az_ctx *az = s->az;
    az_tensor *other = pure_value(s, run, choice, az_affine(az, choice->value, -1, 1));
    az_tensor *sign = az_affine(az, choice->value, 2, -1); /* V_1 - V_0 = (2b - 1) (V_b - V_other) */
    credit(az, out, other ? az_mul(az, sign, az_sub(az, out->value, other)) : NULL, choice->distribution.a);
    return az_ok(az);
}

/* Values of the displacements, [copies]. */
static az_tensor *displacement(const search *s, const vi_choice *choice, bool maxwell)
{
    const int64_t copies = copies_of(s->problem);
    az_tensor *x = az_new1(s->az, AZ_F64, copies);
    double *value = az_f64_mut(x);
    for (int64_t c = 0; value && c < copies; c++) {
        az_rng rng = az_rng_at(s->seed, az_stream(maxwell ? "maxwell" : "rayleigh", az_stream(choice->address, (uint64_t)c)));
        const double a = az_normal(&rng), b = az_normal(&rng), d = az_normal(&rng), sign = az_uniform(&rng) < 0.5 ? -1 : 1;
        value[c] = maxwell ? sign * sqrt(a * a + b * b + d * d) : sqrt(a * a + b * b);
    }
    return x;
}

static bool fold_normal(search *s, const az_vi *run, const vi_choice *choice, outcome *out)
{
    az_ctx *az = s->az;
    const az_tensor *mean = choice->distribution.a, *sd = choice->distribution.b, *m = az_detach(az, mean), *d = az_detach(az, sd);
    az_tensor *shift = az_mul(az, d, displacement(s, choice, false)), *spread = az_mul(az, d, displacement(s, choice, true));
    az_tensor *up = pure_value(s, run, choice, az_add(az, m, shift)), *down = pure_value(s, run, choice, az_sub(az, m, shift));
    az_tensor *wide = pure_value(s, run, choice, az_add(az, m, spread));
    az_tensor *of_mean = az_affine(az, az_div(az, az_sub(az, up, down), d), 0.39894228040143267794, 0);
    az_tensor *of_sd = az_div(az, az_sub(az, wide, out->value), d);
    credit(az, out, of_mean, mean);
    if (out->surrogate) credit(az, out, of_sd, sd);
    return az_ok(az);
}

/* ---- the tree ---- */

static bool fold(search *s, const az_vi *run, const vi_choice *choice, outcome *out)
{
    if (choice->strategy == AZ_VI_ENUM) return fold_sum(s, run, choice, out);
    if (s->pure > 0) return true; /* the others leave the value as it is */
    if (choice->strategy != AZ_VI_MVD) return fold_score(s, choice, out);
    return choice->distribution.family == AZ_VI_FLIP ? fold_flip(s, run, choice, out) : fold_normal(s, run, choice, out);
}

/* Runs the program with its first `depth` branching choices forced, and folds what comes behind the last of them. */
static bool visit(search *s, int depth, outcome *out)
{
    az_ctx *az = s->az;
    const int64_t most = s->problem->most_branches > 0 ? s->problem->most_branches : VI_MOST_BRANCHES;
    if (++s->visits > most)
        return az_fail(az, AZ_BAD_INPUT,
                       "the choices by enumeration and measure-valued derivatives need more than %lld runs of the program",
                       (long long)most);
    az_vi run;
    az_tensor *total = perform(s, false, depth, &run);
    if (!total) return false;
    if (run.branching > VI_MOST_DEPTH)
        return az_fail(az, AZ_BAD_INPUT, "more than %d choices by enumeration or measure-valued derivatives", VI_MOST_DEPTH);
    if (run.branching < depth) return az_fail(az, AZ_BAD_CALL, "the program makes other choices when it is given the same values");
    *out = (outcome){.value = az_detach(az, total), .surrogate = total};
    for (int i = run.choices - 1; i >= 0 && run.choice[i].order >= depth; i--)
        if (!fold(s, &run, &run.choice[i], out) || !az_ok(az)) return false;
    return az_ok(az);
}

/* ---- gradients ---- */

/* The variables as the program sees them. */
static az_tensor **watch_all(az_ctx *az, const az_vi_problem *problem, bool track)
{
    az_tensor **watched = az_alloc_array(az, (size_t)problem->variables + 1, sizeof *watched);
    for (int i = 0; watched && i < problem->variables; i++) {
        const az_tensor *value = problem->variable[i].value;
        if (problem->each) {
            int64_t shape[AZ_MAX_RANK] = {copies_of(problem)};
            if (value->rank >= AZ_MAX_RANK) return az_fail(az, AZ_BAD_CALL, "'%s' has too many axes", problem->variable[i].name);
            for (int k = 0; k < value->rank; k++) shape[k + 1] = value->shape[k];
            value = az_contiguous(az, az_broadcast(az, value, value->rank + 1, shape));
        }
        if (!value) return NULL;
        watched[i] = track ? az_watch(az, value) : (az_tensor *)value;
    }
    return watched;
}

bool vi_take_census(az_ctx *az, const az_vi_problem *problem, vi_census *census)
{
    az_vi_problem undecided = *problem;
    undecided.strategy = AZ_VI_AUTO;
    *census = (vi_census){.paths = 1};
    search *s = az_alloc(az, sizeof *s);
    if (!s) return false;
    *s = (search){.az = az, .problem = &undecided, .seed = problem->seed, .census = census};
    s->watched = watch_all(az, &undecided, false);
    az_vi run;
    return s->watched && perform(s, false, 0, &run);
}

/* Sums of a run: the objective and its square over the copies, and the gradient times `scale` added to gradient[i]. */
static bool add_run(az_ctx *az, const az_vi_problem *problem, search *s, double sums[2], az_tensor **gradient)
{
    const int n = problem->variables;
    outcome out = {0};
    az_vi run;
    az_scope_push(az);
    if (gradient) az_tape_open(az);
    s->watched = watch_all(az, problem, gradient != NULL);
    bool good = s->watched != NULL;
    if (good && gradient)
        good = visit(s, 0, &out);
    else if (good)
        good = (out.value = perform(s, true, 0, &run)) != NULL;
    az_tensor **g = az_alloc_array(az, (size_t)n + 1, sizeof *g);
    if (good && gradient && g) good = az_grad(az, az_sum(az, out.surrogate, 0, false), NULL, (const az_tensor *const *)s->watched, n, g, 0);
    for (int i = 0; good && gradient && i < n; i++) az_add_into(az, gradient[i], g[i], 1);
    for (int64_t c = 0; good && c < az_count(out.value); c++) {
        const double value = az_item(out.value, c);
        sums[0] += value;
        sums[1] += value * value;
    }
    if (gradient) az_tape_close(az);
    az_scope_pop(az);
    return good && az_ok(az);
}

static bool start_gradient(az_ctx *az, const az_vi_problem *problem, az_tensor **gradient)
{
    for (int i = 0; i < problem->variables; i++) {
        const az_tensor *value = problem->variable[i].value;
        if (!value || value->dtype != AZ_F64)
            return az_ok(az) ? az_fail(az, AZ_BAD_CALL, "the variable '%s' is not of type f64", problem->variable[i].name) : NULL;
        int64_t shape[AZ_MAX_RANK] = {copies_of(problem)};
        const int lead = problem->each ? 1 : 0;
        for (int k = 0; k < value->rank && k + lead < AZ_MAX_RANK; k++) shape[k + lead] = value->shape[k];
        if (gradient) gradient[i] = az_zeros(az, AZ_F64, value->rank + lead, shape);
    }
    return az_ok(az);
}

bool az_vi_gradient(az_ctx *az, const az_vi_problem *problem, int64_t step, az_vi_value *value, az_tensor **gradient)
{
    const int64_t runs = problem->runs > 0 ? problem->runs : 1, draws = runs * copies_of(problem);
    double sums[2] = {0};
    if (!az_ok(az) || !start_gradient(az, problem, gradient)) return false;
    search *s = az_alloc(az, sizeof *s);
    for (int64_t r = 0; s && r < runs; r++) {
        *s = (search){.az = az, .problem = problem, .seed = problem->seed ^ az_stream("variational run", (uint64_t)(step * runs + r))};
        if (!add_run(az, problem, s, sums, gradient)) return false;
    }
    const double scale = problem->each ? 1.0 / (double)runs : 1.0 / (double)draws;
    for (int i = 0; gradient && i < problem->variables; i++) {
        double *g = az_f64_mut(gradient[i]);
        for (int64_t k = 0; g && k < az_count(gradient[i]); k++) g[k] *= scale;
    }
    const double mean = sums[0] / (double)draws, spread = fmax(sums[1] / (double)draws - mean * mean, 0);
    if (value) *value = (az_vi_value){mean, draws > 1 ? sqrt(spread / (double)(draws - 1)) : NAN};
    return az_ok(az);
}
