/* run.c - one run of an objective: frames, choices, and where their values come from. */
#include "adze/grad.h"
#include "estimate/vi/vi_internal.h"

#include <math.h>
#include <string.h>

az_ctx *az_vi_context(const az_vi *vi)
{
    return vi->az;
}

int64_t az_vi_copies(const az_vi *vi)
{
    return vi->copies;
}

az_tensor *vi_constant(az_ctx *az, double value)
{
    return az_scalar(az, AZ_F64, value);
}

az_tensor *az_vi_number(az_vi *vi, double value)
{
    return vi_constant(vi->az, value);
}

az_tensor *az_vi_parameter(az_vi *vi, const char *name)
{
    for (int i = 0; i < vi->problem->variables; i++)
        if (strcmp(vi->problem->variable[i].name, name) == 0) return vi->watched[i];
    return az_fail(vi->az, AZ_BAD_CALL, "the problem has no variable '%s'", name);
}

az_tensor *vi_plus(az_ctx *az, az_tensor *a, az_tensor *b)
{
    if (!a || !b) return a ? a : b;
    return az_add(az, a, b);
}

void az_vi_freeze(az_vi *vi)
{
    if (vi->frozen++ == 0 && az_tape_is_open(vi->az)) az_tape_pause(vi->az);
}

void az_vi_thaw(az_vi *vi)
{
    if (--vi->frozen == 0 && az_tape_is_open(vi->az)) az_tape_resume(vi->az);
}

void az_vi_cost(az_vi *vi, const az_tensor *cost)
{
    az_tensor *wide = cost ? az_broadcast(vi->az, cost, 1, &vi->copies) : NULL;
    vi->cost = vi_plus(vi->az, vi->cost, wide);
}

az_tensor *az_vi_subset(az_vi *vi, const char *address, int64_t n)
{
    if (!az_ok(vi->az)) return NULL;
    if (n < 1 || n > INT32_MAX) return az_fail(vi->az, AZ_BAD_CALL, "'%s': a subset of %lld rows", address, (long long)n);
    az_rng rng = az_rng_at(vi->seed, az_stream(address, (uint64_t)vi->frame->number));
    az_tensor *index = az_tensor_new(vi->az, AZ_I32, 1, &vi->copies);
    int64_t *row = az_alloc_array(vi->az, (size_t)n, sizeof *row);
    if (!index || !row) return NULL;
    for (int64_t i = 0; i < n; i++) row[i] = i;
    for (int64_t c = 0; c < vi->copies; c++) { /* the first copies of a shuffle, begun again when it is used up */
        const int64_t at = c % n, other = at + (int64_t)az_below(&rng, (uint64_t)(n - at)), pick = row[other];
        row[other] = row[at];
        row[at] = pick;
        ((int32_t *)index->data)[c] = (int32_t)pick;
    }
    return index;
}

az_tensor *az_vi_given(az_vi *vi, const char *address)
{
    az_tensor *value = az_vi_trace_get(vi->condition, address);
    return value ? value : az_fail(vi->az, AZ_BAD_CALL, "nothing is given at '%s' here", address);
}

/* ---- frames ---- */

static bool is_selected(const vi_frame *frame, const char *address)
{
    if (!frame->keep && !frame->selected) return true;
    if (vi_trace_has(frame->selected, address)) return true;
    for (const char *const *name = frame->keep; name && *name; name++)
        if (strcmp(*name, address) == 0) return true;
    return false;
}

/* Every value that was fixed must have been used. */
static bool all_used(az_vi *vi, const vi_frame *frame)
{
    for (int i = 0; i < az_vi_trace_count(frame->fixed); i++) {
        const char *address = vi_trace_at(frame->fixed, i)->address;
        if (!vi_trace_has(frame->all, address))
            return az_fail(vi->az, AZ_BAD_CALL, "the program makes no choice '%s', which is given a value", address);
    }
    return true;
}

bool vi_enter(az_vi *vi, vi_frame *frame, az_vi_program *program, void *user)
{
    frame->outer = vi->frame;
    frame->number = ++vi->frames;
    frame->all = az_vi_trace_new(vi->az);
    if (!frame->all) return false;
    vi->frame = frame;
    program(vi, user);
    vi->frame = frame->outer;
    return az_ok(vi->az) && all_used(vi, frame);
}

az_tensor *vi_density_of(az_vi *vi, const vi_frame *frame, bool others)
{
    az_tensor *sum = frame->density[others];
    return sum ? sum : az_zeros(vi->az, AZ_F64, 1, &vi->copies);
}

/* ---- choices ---- */

static const char *const strategy_names[] = {"auto", "reparam", "reinforce", "reinforce-loo", "enum", "mvd"};

const char *az_vi_strategy_name(az_vi_strategy strategy)
{
    return strategy_names[strategy];
}

static bool can_follow(const az_vi_distribution *d, az_vi_strategy strategy)
{
    switch (strategy) {
    case AZ_VI_REPARAM: return !vi_is_discrete(d->family);
    case AZ_VI_ENUM: return vi_support(d) > 0;
    case AZ_VI_MVD: return (d->family == AZ_VI_FLIP || d->family == AZ_VI_NORMAL) && d->size == 0;
    default: return true;
    }
}

static const char *described(az_ctx *az, const az_vi_distribution *d)
{
    return az_format_text(az, "%s%s", d->size > 0 && d->family != AZ_VI_MVNORMAL ? "vectors of " : "", vi_family_name(d->family));
}

/* "reparam, reinforce, reinforce-loo, mvd" */
static const char *fitting(az_ctx *az, const az_vi_distribution *d)
{
    const char *text = "";
    for (int s = AZ_VI_REPARAM; text && s <= AZ_VI_MVD; s++)
        if (can_follow(d, (az_vi_strategy)s)) text = az_format_text(az, "%s%s%s", text, *text ? ", " : "", strategy_names[s]);
    return text;
}

az_vi_strategy vi_default_strategy(const az_vi_distribution *d)
{
    enum { MOST_VALUES = 16 };
    if (!vi_is_discrete(d->family)) return AZ_VI_REPARAM;
    return vi_support(d) > 0 && vi_support(d) <= MOST_VALUES ? AZ_VI_ENUM : AZ_VI_REINFORCE;
}

static void count(az_vi *vi, const char *address, const az_vi_distribution *d)
{
    vi->census->choices++;
    if (vi_support(d) > 0) vi->census->paths *= (double)vi_support(d);
    for (int s = 0; s <= AZ_VI_MVD; s++)
        if (!vi->census->refuses[s] && !can_follow(d, (az_vi_strategy)s))
            vi->census->refuses[s] = az_format_text(vi->az, "%s, from %s", address, described(vi->az, d));
}

/* What the choice names, else what the problem names, else what suits the distribution. */
static bool settle_strategy(az_vi *vi, const char *address, const az_vi_distribution *d, az_vi_strategy *strategy)
{
    if (*strategy == AZ_VI_AUTO && vi->census) count(vi, address, d);
    if (*strategy == AZ_VI_AUTO) *strategy = vi->problem->strategy;
    if (*strategy == AZ_VI_AUTO) *strategy = vi_default_strategy(d);
    if (can_follow(d, *strategy)) return true;
    return az_fail(vi->az, AZ_BAD_CALL, "'%s': a choice from %s cannot be followed by %s; these strategies fit it: %s", address,
                   described(vi->az, d), az_vi_strategy_name(*strategy), fitting(vi->az, d));
}

static vi_choice *new_choice(az_vi *vi)
{
    if (vi->choices == vi->room) {
        const int room = vi->room > 0 ? 2 * vi->room : 8;
        vi_choice *choice = az_alloc_array(vi->az, (size_t)room, sizeof *choice);
        if (!choice) return NULL;
        if (vi->choices > 0) memcpy(choice, vi->choice, (size_t)vi->choices * sizeof *choice);
        vi->choice = choice;
        vi->room = room;
    }
    return &vi->choice[vi->choices++];
}

/* The first value of an enumeration; the search asks for the others. */
static az_tensor *first_value(az_vi *vi)
{
    return az_zeros(vi->az, AZ_F64, 1, &vi->copies);
}

/* Whether the gradient follows choices here. */
static bool is_followed(const az_vi *vi)
{
    return !vi->plain && vi->frozen == 0;
}

/* Draws a value, and notes the choice when the gradient needs to know it: its log density is filled in by the caller. */
static az_tensor *draw(az_vi *vi, const char *address, const az_vi_distribution *d, const vi_choice *how, vi_choice **noted)
{
    const vi_key key = {vi->seed, az_stream(address, (uint64_t)vi->frame->number), vi->copies};
    if (!is_followed(vi)) return vi_draw(vi->az, d, key, false);
    if (how->strategy == AZ_VI_REPARAM) return vi_draw(vi->az, d, key, true);
    vi_choice *choice = new_choice(vi);
    if (!choice) return NULL;
    *choice = *how;
    choice->address = address;
    choice->distribution = *d;
    choice->order = vi->branching;
    choice->cost = vi->cost ? az_detach(vi->az, vi->cost) : NULL;
    *noted = choice;
    const bool branches = how->strategy == AZ_VI_ENUM || how->strategy == AZ_VI_MVD;
    const int number = branches ? vi->branching++ : vi->n_forced;
    if (number < vi->n_forced) return choice->value = vi->forced[number];
    return choice->value = how->strategy == AZ_VI_ENUM ? first_value(vi) : vi_draw(vi->az, d, key, false);
}

/* A value that was given, repeated for the copies. */
static az_tensor *repeated(az_vi *vi, const char *address, const az_vi_distribution *d, az_tensor *given)
{
    const int64_t shape[] = {vi->copies, d->size};
    const int rank = d->size > 0 ? 2 : 1;
    if (given->rank > rank)
        return az_fail(vi->az, AZ_BAD_CALL, "'%s': a value of shape %s is given to a choice of shape %s", address,
                       az_shape_text(vi->az, given), rank == 2 ? "[copies, size]" : "[copies]");
    az_tensor *value = az_broadcast(vi->az, given, rank, shape);
    if (!value) az_fail_context(vi->az, "the value of '%s'", address);
    return value;
}

static az_tensor *choose(az_vi *vi, const char *address, const az_vi_distribution *d, vi_choice how)
{
    az_ctx *az = vi->az;
    vi_frame *frame = vi->frame;
    if (!az_ok(az) || !vi_check(az, address, d)) return NULL;
    az_tensor *given = az_vi_trace_get(frame->fixed, address);
    vi_choice *noted = NULL;
    if (!given && frame->closed) return az_fail(az, AZ_BAD_CALL, "no value is given to the choice '%s'", address);
    if (!given && is_followed(vi) && !settle_strategy(vi, address, d, &how.strategy)) return NULL;
    az_tensor *value = given ? repeated(vi, address, d, given) : draw(vi, address, d, &how, &noted);
    az_tensor *density = az_vi_log_density(az, d, value);
    az_tensor *wide = density ? az_broadcast(az, density, 1, &vi->copies) : NULL;
    if (!wide || !az_vi_trace_set(frame->all, address, value)) {
        az_fail_context(az, "the choice '%s'", address);
        return NULL;
    }
    if (az_first_nonfinite(wide) >= 0)
        return az_fail(az, AZ_NUMERIC, "'%s': the log density of %g is %g", address, az_item(value, az_first_nonfinite(wide)),
                       az_item(wide, az_first_nonfinite(wide)));
    if (noted) noted->log_density = wide;
    az_tensor **sum = &frame->density[!is_selected(frame, address)];
    *sum = vi_plus(az, *sum, wide);
    return value;
}

az_tensor *az_vi_sample(az_vi *vi, const char *address, az_vi_distribution distribution, az_vi_strategy strategy)
{
    return choose(vi, address, &distribution, (vi_choice){.strategy = strategy});
}

az_tensor *az_vi_sample_baseline(az_vi *vi, const char *address, az_vi_distribution distribution, const az_tensor *baseline)
{
    if (!baseline) return NULL;
    return choose(vi, address, &distribution, (vi_choice){.strategy = AZ_VI_REINFORCE, .baseline = az_detach(vi->az, baseline)});
}
