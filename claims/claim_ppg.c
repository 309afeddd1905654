/* claim_ppg.c - the headline of PPG (Cardoso et al. 2023): sweeps of conditional PaRIS remove the bias of PaRIS at the same number of
 * moves, and scores estimated so learn better; besides, the costs. */
#include "claims/claims.h"
#include "claims/comparisons.h"
#include "claims/splitmix.h"
#include "claims/ssm_data.h"

#include "adze/ssm.h"

#include <math.h>

enum { LINEAR_RUNS = 2000, NETWORK_RUNS = 500, SWEEPS = 24, SEEDS = 10 };

/* ---- bias -------------------------------------------------------------------------------------------------------------------------- */

typedef struct subject {
    const char *name;
    az_ssm_problem problem;
    double truth;
    int64_t runs; /* biases of a fraction of a standard deviation are compared: many where they are cheap */
} subject;

/* sum over t and states of x(t) x(t + 1) */
static void add_products(const void *user, const az_ssm_point *point, double *sum)
{
    for (int i = 0; i < *(const int *)user; i++) *sum += point->weight * point->x[i] * point->next[i];
}

typedef struct error {
    double bias, se, sd;
} error;

/* Of the mean over the sweeps first + 1 .. last of each chain. */
static error error_of(const az_ssm_smoothing *s, int64_t first, int64_t last, double truth)
{
    double sum = 0, square = 0;
    for (int64_t c = 0; c < s->chains; c++) {
        double mean = 0;
        for (int64_t l = first; l < last; l++) mean += s->each[c * s->sweeps + l] / (double)(last - first);
        sum += mean - truth, square += (mean - truth) * (mean - truth);
    }
    const double n = (double)s->chains, bias = sum / n, sd = sqrt(fmax(0, square / n - bias * bias));
    return (error){bias, sd / sqrt(n), sd};
}

static void tell(az_report *report, const subject *on, const char *estimator, int64_t particles, int64_t moves, error e)
{
    az_report_row(report, "bias");
    az_report_text(report, "model", on->name);
    az_report_text(report, "estimator", estimator);
    az_report_count(report, "particles", particles);
    az_report_count(report, "particles_x_sweeps", moves);
    az_report_number(report, "bias", e.bias, "");
    az_report_number(report, "se", e.se, "");
    az_report_number(report, "sd", e.sd, "");
}

static bool run_paris(az_ctx *az, const subject *on, int64_t particles, error *e)
{
    const az_ssm_how how = {.method = AZ_SSM_PARIS, .particles = particles, .draws = 2, .chains = on->runs, .seed = 1};
    const az_ssm_smoothing *s = az_ssm_smooth(az, &on->problem, &how);
    if (s) *e = error_of(s, 0, 1, on->truth);
    return s != NULL;
}

static bool check(az_report *report, const char *what, double value, double asked, int *checks)
{
    const bool held = value <= asked;
    az_report_row(report, "checks");
    az_report_text(report, "check", what);
    az_report_number(report, "value", value, "");
    az_report_number(report, "at_most", asked, "");
    az_report_bool(report, "held", held);
    (*checks)++;
    return held;
}

/* Sweep 4 against PaRIS with as many particles. */
static bool compare_fourth(az_ctx *az, az_report *report, const subject *on, int64_t particles, const az_ssm_smoothing *s, int *checks,
                           int *held)
{
    error paris, own = {0};
    if (!s || !run_paris(az, on, particles, &paris)) return false;
    tell(report, on, "paris", particles, particles, paris);
    for (int64_t l = 0; l < 4; l++) {
        own = error_of(s, l, l + 1, on->truth);
        tell(report, on, az_format_text(az, "ppg, sweep %lld", (long long)l + 1), particles, particles * (l + 1), own);
    }
    *held += check(report, az_format_text(az, "%s, %lld particles: bias of sweep 4 / that of paris", on->name, (long long)particles),
                   fabs(own.bias / paris.bias), 1.0 / 3, checks);
    return true;
}

/* The mean of the last half of 12 and 24 sweeps against PaRIS with as many moves; where its bias cannot be told from none, there is none to
 * have less of, and the two are only told. */
static bool compare_rollouts(az_ctx *az, az_report *report, const subject *on, int64_t particles, const az_ssm_smoothing *s, int *checks,
                             int *held)
{
    for (int64_t k = SWEEPS / 2; k <= SWEEPS; k *= 2) {
        const error own = error_of(s, k / 2, k, on->truth);
        error paris;
        if (!run_paris(az, on, particles * k, &paris)) return false;
        tell(report, on, az_format_text(az, "ppg, sweeps %lld to %lld", (long long)k / 2 + 1, (long long)k), particles, particles * k, own);
        tell(report, on, "paris", particles * k, particles * k, paris);
        if (fabs(paris.bias) <= 2 * paris.se) continue;
        *held += check(report,
                       az_format_text(az, "%s, %lld x %lld: bias less that of paris, in standard errors", on->name, (long long)particles,
                                      (long long)k),
                       (fabs(own.bias) - fabs(paris.bias)) / hypot(own.se, paris.se), -2, checks);
    }
    return true;
}

static bool compare_bias(az_ctx *az, az_report *report, const subject *on, int64_t particles, bool rollouts, int *checks, int *held)
{
    const az_ssm_how how = {.method = AZ_SSM_PPG,
                            .particles = particles,
                            .draws = 2,
                            .sweeps = rollouts ? SWEEPS : 4,
                            .burn = 2,
                            .chains = on->runs,
                            .seed = 2};
    const az_ssm_smoothing *s = az_ssm_smooth(az, &on->problem, &how);
    return compare_fourth(az, report, on, particles, s, checks, held) &&
           (!rollouts || compare_rollouts(az, report, on, particles, s, checks, held));
}

static bool linear_subject(az_ctx *az, az_ssm_functional *functional, subject *on)
{
    *on = (subject){.name = "lgssm", .runs = LINEAR_RUNS};
    on->problem = (az_ssm_problem){.model = ssm_data_model(az, .95, .6, 1),
                                   .n = SSM_DATA_TIMES,
                                   .y = ssm_data_series(az, SSM_DATA_TIMES),
                                   .functional = functional,
                                   .functionals = 1};
    const az_ssm_smoothing *s = az_ssm_smooth(az, &on->problem, &(az_ssm_how){.method = AZ_SSM_KALMAN});
    if (s) on->truth = s->value[0];
    return s != NULL;
}

/* Its truth is the mean of long runs with many particles. */
static bool network_subject(az_ctx *az, az_ssm_functional *functional, subject *on)
{
    enum { D = 3, TIMES = 50 };
    double *w = splitmix_normal(az, 61, D * D), *x = az_alloc_array(az, TIMES * D, sizeof *x),
           *y = az_alloc_array(az, TIMES * D, sizeof *y);
    for (int i = 0; w && i < D * D; i++) w[i] *= 2 / sqrt(D);
    if (!az_ok(az)) return false;
    const az_ssm_network network = {.states = D, .observed = D, .w = w, .q = 0.2, .r = 1, .p0 = 1};
    const az_ssm *model = az_ssm_recurrent(az, &network);
    if (!model || !az_ssm_simulate(az, model, NULL, 5, TIMES, x, y)) return false;
    *on = (subject){.name = "recurrent", .runs = NETWORK_RUNS};
    on->problem = (az_ssm_problem){.model = model, .n = TIMES, .y = y, .functional = functional, .functionals = 1};
    const az_ssm_how how = {.method = AZ_SSM_PPG, .particles = 1000, .draws = 2, .sweeps = 20, .burn = 5, .chains = 20, .seed = 3};
    const az_ssm_smoothing *s = az_ssm_smooth(az, &on->problem, &how);
    if (!s) return false;
    on->truth = s->value[0];
    return true;
}

/* ---- learning ---------------------------------------------------------------------------------------------------------------------- */

static const double most_likely = -92.7035441191; /* over a, q and r */

typedef struct driver {
    const char *name;
    az_ssm_how how;
} driver;

/* Mean over the seeds of how far the learnt parameters' exact log-likelihood is below the maximum. */
static bool learn(az_ctx *az, az_report *report, const driver *with, double *gap)
{
    const az_ssm_problem problem = {.model = ssm_data_model(az, .95, .6, 1), .n = SSM_DATA_TIMES, .y = ssm_data_series(az, SSM_DATA_TIMES)};
    const bool free[] = {true, false, true, true, false, false}; /* a, c, q, r, m0, p0 */
    double worst = 0;
    *gap = 0;
    for (int seed = 0; seed < SEEDS; seed++) {
        az_ssm_learning learning = {.free = free, .steps = 300, .adam = true, .lr = 1e-2, .how = with->how};
        learning.how.seed = (uint64_t)seed;
        const az_ssm_fit *fit = az_ssm_learn(az, &problem, &learning);
        az_ssm_problem at = problem;
        if (!fit) return false;
        at.theta = fit->theta;
        const az_ssm_smoothing *s = az_ssm_smooth(az, &at, &(az_ssm_how){.method = AZ_SSM_KALMAN});
        if (!s) return false;
        *gap += (most_likely - s->log_likelihood) / SEEDS;
        worst = fmax(worst, most_likely - s->log_likelihood);
        if (!az_progress(az, with->name, seed + 1, SEEDS, NULL)) return false;
    }
    az_report_row(report, "learning");
    az_report_text(report, "driven_by", with->name);
    az_report_number(report, "below_maximum", *gap, "nat");
    az_report_number(report, "worst", worst, "nat");
    return true;
}

static bool compare_learning(az_ctx *az, az_report *report, int *checks, int *held)
{
    const driver own = {"ppg, 20 x 4", {.method = AZ_SSM_PPG, .particles = 20, .draws = 2, .sweeps = 4, .burn = 2}};
    const driver paris = {"paris, 80", {.method = AZ_SSM_PARIS, .particles = 80, .draws = 2}};
    const driver path = {"particle gibbs, 20 x 4", {.method = AZ_SSM_PG, .particles = 20, .sweeps = 4, .burn = 2, .draws = 1}};
    double gap[3];
    if (!learn(az, report, &own, &gap[0]) || !learn(az, report, &paris, &gap[1]) || !learn(az, report, &path, &gap[2])) return false;
    *held += check(report, "learning with ppg: log-likelihood below its maximum", gap[0], 0.1, checks);
    *held += check(report, "the same, less that with paris", gap[0] - gap[1], 0, checks);
    *held += check(report, "the same, less that with particle gibbs", gap[0] - gap[2], 0, checks);
    return true;
}

/* ---- costs ------------------------------------------------------------------------------------------------------------------------- */

static bool measure(az_ctx *az, az_report *report, int64_t particles, int64_t n, double *tries)
{
    az_scope_push(az);
    const az_ssm *model = ssm_data_model(az, .95, .6, 1);
    const az_ssm_functional functional = az_ssm_sufficient(az, model);
    const az_ssm_problem problem = {.model = model, .n = n, .y = ssm_data_series(az, n), .functional = &functional, .functionals = 1};
    const az_ssm_how how = {.method = AZ_SSM_PARIS, .particles = particles, .draws = 2};
    const double began = az_seconds();
    const az_ssm_smoothing *s = az_ssm_smooth(az, &problem, &how);
    const double seconds = az_seconds() - began;
    if (s) *tries = s->tries;
    az_scope_pop(az);
    az_report_row(report, "costs");
    az_report_count(report, "particles", particles);
    az_report_count(report, "times", n);
    az_report_number(report, "tries", *tries, "");
    az_report_number(report, "seconds", seconds, "s");
    az_report_number(report, "per_move", 1e6 * seconds / (double)(particles * n), "us");
    return az_ok(az);
}

static bool run(az_ctx *az, az_report *report)
{
    const int states[] = {1, 3};
    az_ssm_functional functional[] = {{1, &states[0], NULL, add_products}, {1, &states[1], NULL, add_products}};
    subject linear, network;
    int checks = 0, held = 0;
    double tries[2];
    if (!linear_subject(az, &functional[0], &linear) || !network_subject(az, &functional[1], &network)) return false;
    if (!compare_bias(az, report, &linear, 20, true, &checks, &held) || !compare_bias(az, report, &linear, 60, false, &checks, &held) ||
        !compare_bias(az, report, &network, 20, true, &checks, &held))
        return false;
    if (!compare_learning(az, report, &checks, &held)) return false;
    for (int64_t n = 100; n <= 400; n *= 2)
        if (!measure(az, report, 1000, n, &tries[0])) return false;
    for (int64_t particles = 100; particles <= 10000; particles *= 10)
        if (!measure(az, report, particles, 200, &tries[particles == 10000])) return false;
    held += check(report, "tries for a backward draw, 10000 particles", tries[1], 6, &checks);
    return claim_decide(az, report, checks, held);
}

const az_claim az_claim_ppg = {
    .name = "ppg",
    .statement =
        "sweeps around PaRIS leave at most a third of its bias after four of them and less bias than PaRIS with as many moves after "
        "twelve where that can be told from none, learn parameters to within 0.1 of the largest log-likelihood and no worse than PaRIS or "
        "particle Gibbs, and a backward draw takes a few tries whatever the number of particles",
    .run = run,
};
