/* law.c - sampling from laws and telling their densities: programs, marginals and posteriors.
 *
 * A particle is one joint draw with its log weight. For a marginal, the weight estimates the density of what is kept, with the draw of what
 * is integrated out in the denominator; for a posterior, the density of what is given. The same two functions make both. */
#include "adze/linalg.h"
#include "estimate/vi/vi_internal.h"

#include <math.h>

typedef struct particle {
    az_vi_trace *rest;  /* the values besides those that the weight is about */
    az_tensor *weight;  /* log, [copies] */
    az_tensor *density; /* log density of everything, [copies] */
} particle;

static int particles_of(const az_vi_law *law)
{
    return law->particles > 0 ? law->particles : 1;
}

/* Runs f on the proposal with `about` readable by az_vi_given. */
static az_tensor *propose(az_vi *vi, const az_vi_law *law, const az_vi_trace *about, az_vi_trace **rest)
{
    const az_vi_trace *outer = vi->condition;
    vi->condition = about;
    az_tensor *density = az_vi_simulate(vi, law->proposal, rest);
    vi->condition = outer;
    return density;
}

static az_tensor *proposal_density(az_vi *vi, const az_vi_law *law, const az_vi_trace *about, const az_vi_trace *rest)
{
    const az_vi_trace *outer = vi->condition;
    vi->condition = about;
    az_tensor *density = az_vi_density(vi, law->proposal, rest);
    vi->condition = outer;
    return density;
}

/* The weight of a particle whose values are known: joint density over that of the proposal, `proposed`. Without a proposal the program's
 * own choices cancel. */
static bool weigh(az_vi *vi, const az_vi_law *law, const az_vi_trace *about, az_tensor *proposed, particle *p)
{
    vi_frame frame = {.selected = about, .fixed = az_vi_trace_join(vi->az, about, p->rest), .closed = true};
    if (!frame.fixed || !vi_enter(vi, &frame, law->program, law->user)) return false;
    p->density = az_add(vi->az, vi_density_of(vi, &frame, false), vi_density_of(vi, &frame, true));
    p->weight = law->proposal ? az_sub(vi->az, p->density, proposed) : vi_density_of(vi, &frame, false);
    return az_ok(vi->az);
}

/* A fresh particle. */
static bool fresh(az_vi *vi, const az_vi_law *law, const az_vi_trace *about, particle *p)
{
    if (law->proposal) {
        az_tensor *proposed = propose(vi, law, about, &p->rest);
        return proposed && weigh(vi, law, about, proposed, p);
    }
    vi_frame frame = {.selected = about, .fixed = about};
    if (!vi_enter(vi, &frame, law->program, law->user)) return false;
    p->rest = vi_trace_without(vi->az, frame.all, about);
    p->weight = vi_density_of(vi, &frame, false);
    p->density = az_add(vi->az, p->weight, vi_density_of(vi, &frame, true));
    return az_ok(vi->az);
}

/* All log weights side by side: [copies, n]. */
static az_tensor *weights_of(az_vi *vi, const particle *p, int n)
{
    az_tensor **column = az_alloc_array(vi->az, (size_t)n, sizeof *column);
    for (int i = 0; column && i < n; i++) column[i] = az_reshape(vi->az, p[i].weight, 2, (int64_t[]){vi->copies, 1});
    return column ? az_concat(vi->az, column, n, 1) : NULL;
}

static az_tensor *log_mean(az_ctx *az, const az_tensor *weights)
{
    return weights ? az_affine(az, az_logsumexp(az, weights, 1, false), 1, -log((double)weights->shape[1])) : NULL;
}

/* Log of the mean weight of n particles, the first of which may be known already. */
static az_tensor *mean_weight(az_vi *vi, const az_vi_law *law, const az_vi_trace *about, const particle *known)
{
    const int n = particles_of(law);
    particle *p = az_alloc_array(vi->az, (size_t)n, sizeof *p);
    if (!p) return NULL;
    for (int i = 0; i < n; i++) {
        if (i == 0 && known)
            p[i] = *known;
        else if (!fresh(vi, law, about, &p[i]))
            return NULL;
    }
    return log_mean(vi->az, weights_of(vi, p, n));
}

/* ---- programs ---- */

static az_tensor *simulate_program(az_vi *vi, const az_vi_law *law, az_vi_trace **trace)
{
    vi_frame frame = {0};
    if (!vi_enter(vi, &frame, law->program, law->user)) return NULL;
    *trace = frame.all;
    return vi_density_of(vi, &frame, false);
}

static az_tensor *program_density(az_vi *vi, const az_vi_law *law, const az_vi_trace *trace)
{
    vi_frame frame = {.fixed = trace, .closed = true};
    return vi_enter(vi, &frame, law->program, law->user) ? vi_density_of(vi, &frame, false) : NULL;
}

az_tensor *az_vi_importance(az_vi *vi, const az_vi_law *law, const az_vi_trace *fixed, az_vi_trace **all)
{
    if (law->keep || law->given) return az_fail(vi->az, AZ_BAD_CALL, "az_vi_importance: the law is not a program alone");
    vi_frame frame = {.selected = fixed, .fixed = fixed};
    if (!vi_enter(vi, &frame, law->program, law->user)) return NULL;
    *all = frame.all;
    return vi_density_of(vi, &frame, false);
}

/* ---- marginals ---- */

static az_tensor *simulate_marginal(az_vi *vi, const az_vi_law *law, az_vi_trace **trace)
{
    az_ctx *az = vi->az;
    vi_frame frame = {.keep = law->keep};
    if (!vi_enter(vi, &frame, law->program, law->user)) return NULL;
    *trace = vi_trace_keep(az, frame.all, law->keep, false);
    particle first = {.rest = vi_trace_keep(az, frame.all, law->keep, true), .weight = vi_density_of(vi, &frame, false)};
    first.density = az_add(az, first.weight, vi_density_of(vi, &frame, true));
    if (!*trace || !first.rest) return NULL;
    if (law->proposal) first.weight = az_sub(az, first.density, proposal_density(vi, law, *trace, first.rest));
    return first.weight ? mean_weight(vi, law, *trace, &first) : NULL;
}

/* ---- posteriors ---- */

/* u8 [copies]: whether the copy chose particle i */
static az_tensor *chose(az_vi *vi, const az_tensor *ancestor, int i)
{
    az_tensor *mask = az_tensor_new(vi->az, AZ_U8, 1, &vi->copies);
    uint8_t *bit = mask ? mask->data : NULL;
    for (int64_t c = 0; bit && c < vi->copies; c++) bit[c] = az_item(ancestor, c) == (double)i;
    return mask;
}

/* a where the mask is set, b elsewhere; values are [copies] or [copies, size] */
static az_tensor *pick(az_vi *vi, az_tensor *mask, const az_tensor *a, const az_tensor *b)
{
    if (a && a->rank == 2) mask = az_reshape(vi->az, mask, 2, (int64_t[]){vi->copies, 1});
    return az_where(vi->az, mask, a, b);
}

/* The chosen particle of each copy, put together. */
static bool select_particle(az_vi *vi, const particle *p, int n, const az_tensor *ancestor, particle *chosen)
{
    *chosen = p[0];
    for (int i = 1; i < n && az_ok(vi->az); i++) {
        az_tensor *mask = chose(vi, ancestor, i);
        az_vi_trace *rest = az_vi_trace_new(vi->az);
        if (az_vi_trace_count(p[i].rest) != az_vi_trace_count(chosen->rest))
            return az_fail(vi->az, AZ_BAD_CALL, "particles of a posterior make different choices");
        for (int k = 0; mask && rest && k < az_vi_trace_count(chosen->rest); k++) {
            const vi_entry *entry = vi_trace_at(chosen->rest, k);
            az_vi_trace_set(rest, entry->address, pick(vi, mask, az_vi_trace_get(p[i].rest, entry->address), entry->value));
        }
        chosen->rest = rest;
        chosen->density = mask ? az_where(vi->az, mask, p[i].density, chosen->density) : NULL;
    }
    return az_ok(vi->az);
}

typedef struct ancestor_draw {
    const az_tensor *weights;
    az_tensor *value;
} ancestor_draw;

static az_tensor *draw_ancestor(az_vi *vi, void *user)
{
    ancestor_draw *draw = user;
    const az_vi_distribution among = az_vi_categorical(draw->weights);
    return draw->value = az_vi_sample(vi, "ancestor", among, vi_default_strategy(&among));
}

/* The choice among particles is a choice like others: the gradient follows it, by enumeration where the particles are few. */
static az_tensor *simulate_posterior(az_vi *vi, const az_vi_law *law, az_vi_trace **trace)
{
    const int n = particles_of(law);
    particle *p = az_alloc_array(vi->az, (size_t)n, sizeof *p), chosen;
    if (!p) return NULL;
    for (int i = 0; i < n; i++)
        if (!fresh(vi, law, law->given, &p[i])) return NULL;
    ancestor_draw draw = {.weights = weights_of(vi, p, n)};
    vi_frame frame = {0};
    if (!draw.weights || !vi_enter(vi, &frame, draw_ancestor, &draw) || !select_particle(vi, p, n, draw.value, &chosen)) return NULL;
    *trace = chosen.rest;
    return az_sub(vi->az, chosen.density, log_mean(vi->az, draw.weights));
}

static az_tensor *posterior_density(az_vi *vi, const az_vi_law *law, const az_vi_trace *trace)
{
    particle first = {.rest = (az_vi_trace *)trace}; /* only read */
    az_tensor *proposed = law->proposal ? proposal_density(vi, law, law->given, trace) : NULL;
    if (!weigh(vi, law, law->given, proposed, &first)) return NULL;
    return az_sub(vi->az, first.density, mean_weight(vi, law, law->given, &first));
}

/* ---- laws ---- */

static bool check_law(az_vi *vi, const az_vi_law *law)
{
    if (!az_ok(vi->az)) return false;
    if (law->keep && law->given) return az_fail(vi->az, AZ_BAD_CALL, "a law keeps some of its choices or is given some, not both");
    return true;
}

az_tensor *az_vi_simulate(az_vi *vi, const az_vi_law *law, az_vi_trace **trace)
{
    az_vi_trace *unused;
    if (!check_law(vi, law)) return NULL;
    if (!trace) trace = &unused;
    if (law->keep) return simulate_marginal(vi, law, trace);
    return law->given ? simulate_posterior(vi, law, trace) : simulate_program(vi, law, trace);
}

az_tensor *az_vi_density(az_vi *vi, const az_vi_law *law, const az_vi_trace *trace)
{
    if (!trace || !check_law(vi, law)) return NULL;
    if (law->keep) return mean_weight(vi, law, trace, NULL);
    return law->given ? posterior_density(vi, law, trace) : program_density(vi, law, trace);
}
