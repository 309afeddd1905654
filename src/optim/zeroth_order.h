/* zeroth_order.h - what the two files of zeroth-order optimization share: the optimizer's inside, and the draws of its directions. */
#ifndef ADZE_OPTIM_ZEROTH_ORDER_H
#define ADZE_OPTIM_ZEROTH_ORDER_H

#include "adze/optim.h"

/* A parameter. rank 0: its Z is drawn entry by entry (a vector, or any with AZ_ZO_DENSE); a vector is one row. */
typedef struct az_zo_slot {
    az_tensor *parameter;
    int64_t rows, cols, rank;
    double divisor; /* s of ghat = kappa Z / s */
    bool decay;
    az_tensor *first, *second; /* moments; NULL where the rule has none */
    az_tensor *left, *right;   /* U and V when they are kept */
    az_tensor *saved;          /* the parameter before the perturbation, when exact */
} az_zo_slot;

struct az_zo {
    az_zo_options options;
    int64_t steps;
    int64_t period; /* of the frames that are kept, and of moments that belong to a V */
    int n;
    az_zo_slot *slot; /* [n] */
};

/* What lasts of a matrix's direction: U [rows, rank] (NULL for AZ_ZO_LAZY) and V [cols, rank]. */
typedef struct az_zo_frame {
    const float *left, *right;
} az_zo_frame;

/* Which V belongs to a step: how often it has been renewed before. */
int64_t az_zo_period(const az_zo *zo, int64_t step);
/* The frame of slot i (rank > 0) in a period: the kept one if it is of that period, or drawn into the current scope. */
bool az_zo_frame_of(az_ctx *az, const az_zo *zo, int i, int64_t period, az_zo_frame *frame);
/* Draws it into the tensors that keep it. */
bool az_zo_keep_frame(az_ctx *az, const az_zo *zo, int i, int64_t period);
/* How many fresh numbers slot i takes, and numbers first .. first + n - 1 of them. */
int64_t az_zo_fresh_count(const az_zo *zo, int i);
void az_zo_fresh(az_ctx *az, const az_zo *zo, int i, int query, int64_t first, int64_t n, float *out);
/* sum over the queries of weight[q] times their fresh numbers, in the current scope. */
float *az_zo_fresh_sum(az_ctx *az, const az_zo *zo, int i, const double *weight);
/* left [rows, rank] with sum over the queries of weight[q] Z_q = left V^T, in the current scope. */
float *az_zo_left_factor(az_ctx *az, const az_zo *zo, int i, const az_zo_frame *frame, const double *weight);

/* ---- passes over the parameters ---- */

/* Every parameter becomes keep W + sum over the queries of weight[q] Z_q - rate D, in tiles. D is the direction that the rule takes after
 * the gradient sum of slope[q] Z_q / s; the moments take that in first. rate 0: no D, and moments stay. keep is for those that decay. */
typedef struct az_zo_pass {
    double weight[AZ_ZO_MOST_QUERIES], slope[AZ_ZO_MOST_QUERIES];
    double keep, rate;
} az_zo_pass;
bool az_zo_run_pass(az_ctx *az, const az_zo *zo, const az_zo_pass *pass);

#endif
