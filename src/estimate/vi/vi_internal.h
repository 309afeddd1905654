/* vi_internal.h - a run of a program: its frames, and the choices that the gradient's search has to know. */
#ifndef ADZE_VI_INTERNAL_H
#define ADZE_VI_INTERNAL_H

#include "adze/vi.h"

/* The most ENUM and MVD choices of a run, and the most runs that they may ask for where the problem does not say. */
enum { VI_MOST_DEPTH = 256, VI_MOST_BRANCHES = 4096 };

/* The innermost program being run. Choices that `fixed` names take their value from there, others are drawn. Log densities add up in two
 * sums: of the choices that `keep` or `selected` names, and of the rest. */
typedef struct vi_frame {
    const char *const *keep;     /* NULL-terminated, or NULL */
    const az_vi_trace *selected; /* or NULL; with neither, everything is selected */
    const az_vi_trace *fixed;    /* or NULL */
    bool closed;                 /* every choice must be fixed */
    az_vi_trace *all;            /* all values, in the order of the program */
    az_tensor *density[2];       /* of the selected choices, of the others: [copies], NULL = none yet */
    int64_t number;              /* of the frame within the run: part of the key of its random numbers */
    struct vi_frame *outer;
} vi_frame;

/* A choice that the gradient does not follow by plain differentiation. */
typedef struct vi_choice {
    const char *address;
    az_vi_strategy strategy; /* REINFORCE, REINFORCE_LOO, ENUM or MVD */
    az_vi_distribution distribution;
    int order; /* choices of ENUM and MVD before it */
    az_tensor *value, *log_density;
    az_tensor *cost;           /* counted before it, or NULL */
    const az_tensor *baseline; /* or NULL */
} vi_choice;

/* The choices of an objective that say AZ_VI_AUTO. */
typedef struct vi_census {
    int choices;
    double paths;                       /* of those with finitely many values: all combinations */
    const char *refuses[AZ_VI_MVD + 1]; /* by strategy: the first of them that it does not fit, and its distribution; NULL = none */
} vi_census;

struct az_vi {
    az_ctx *az;
    const az_vi_problem *problem;
    az_tensor *const *watched; /* the variables' tracked headers */
    int64_t copies;
    uint64_t seed; /* of this run */
    bool plain;    /* choices are only drawn */
    int frozen;
    int64_t frames; /* opened so far */
    vi_frame *frame;
    const az_vi_trace *condition; /* what az_vi_given reads */
    az_tensor *cost;              /* sum so far, [copies] or NULL */

    vi_choice *choice;
    int choices, room;
    az_tensor *const *forced; /* values of the first ENUM and MVD choices */
    int n_forced, branching;  /* how many; how many have been met */
    vi_census *census;        /* or NULL */
};

/* ---- distributions.c ---- */
const char *vi_family_name(az_vi_family family);
bool vi_is_discrete(az_vi_family family);
int64_t vi_support(const az_vi_distribution *d); /* number of values; 0 = not finite */
/* Parameters are there, fit the copies and lie in their range; otherwise an error that names the address. */
bool vi_check(az_ctx *az, const char *address, const az_vi_distribution *d);
/* A draw, differentiable in the parameters where it can be and `follow` says so. Its random numbers are those of (seed, stream). */
typedef struct vi_key {
    uint64_t seed, stream;
    int64_t copies;
} vi_key;
az_tensor *vi_draw(az_ctx *az, const az_vi_distribution *d, vi_key key, bool follow);
/* Probability of value v: [] or [copies], tracked. */
az_tensor *vi_probability(az_ctx *az, const az_vi_distribution *d, int64_t v);

/* gamma_shape.c: d value / d shape of a gamma variable of rate 1: -(dP/da)(a, x) / density, P the regularised lower incomplete gamma
 * function. */
double vi_gamma_slope(double a, double x);

/* ---- run.c ---- */
az_tensor *vi_constant(az_ctx *az, double value);
/* Runs the program inside a frame; the frame then holds its sums and values. */
bool vi_enter(az_vi *vi, vi_frame *frame, az_vi_program *program, void *user);
/* The sum of both parts, of the one, zeros [copies] where there is none. */
az_tensor *vi_density_of(az_vi *vi, const vi_frame *frame, bool others);
/* What AZ_VI_AUTO means for a distribution where the problem names no strategy. */
az_vi_strategy vi_default_strategy(const az_vi_distribution *d);
az_tensor *vi_plus(az_ctx *az, az_tensor *a, az_tensor *b); /* either may be NULL */

/* ---- search.c ---- */
bool vi_take_census(az_ctx *az, const az_vi_problem *problem, vi_census *census); /* of one run; texts live in the current scope */

/* ---- trace.c ---- */
typedef struct vi_entry {
    const char *address;
    az_tensor *value;
} vi_entry;
const vi_entry *vi_trace_at(const az_vi_trace *trace, int i);
bool vi_trace_has(const az_vi_trace *trace, const char *address);
/* The entries that the other trace does not have. */
az_vi_trace *vi_trace_without(az_ctx *az, const az_vi_trace *trace, const az_vi_trace *other);
az_vi_trace *vi_trace_keep(az_ctx *az, const az_vi_trace *trace, const char *const *keep, bool others);

#endif
