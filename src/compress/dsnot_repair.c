/* dsnot_repair.c - DSnoT's swaps in one layer: grow a dropped weight, prune a kept one, row by row.
 *
 * Symbols of a row: w_j the values of its weights when kept, a_j the mean of input j, v_j its variance, c_j = w_j a_j what weight j adds to
 *     the mean output; e the expected error, mean dense output minus mean sparse output.
 * A swap: e > 0 asks for output. Grow the untouched dropped weight with the largest c_j / v_j^rho > 0, and prune the untouched kept weight
 *     of least score among those with c_j < 0; for e < 0 the signs turn. Then e += c_pruned - c_grown.
 * With a pattern n:m the pruned weight is the one of least score in the group of the grown one; a pair that would not lower |e| is
 *     passed over, so that the error falls here too.
 * A row ends when |e| <= epsilon, after T swaps, when candidates run out, or (with same_sign) before a swap that would turn the sign of e.
 */
#include "compress/dsnot.h"

#include <math.h>
#include <string.h>

/* What becomes of a weight; DROPPED and KEPT are those of the start mask that no swap has touched. */
typedef enum state { DROPPED, KEPT, GROWN, PRUNED, PASSED } state;

typedef struct row {
    int64_t cols;
    const float *w, *score;
    const double *mean, *ease; /* [cols] a_j; 1 / v_j^rho */
    unsigned char *state;      /* [cols] */
    double error;
} row;

static double change(const row *r, int64_t j)
{
    return (double)r->w[j] * r->mean[j];
}

/* The dropped weight that grows next, -1 when none helps. Among equal keys the one that a stable ascending sort puts outermost. */
static int64_t best_to_grow(const row *r)
{
    int64_t best = -1;
    double most = 0;
    for (int64_t j = 0; j < r->cols; j++) {
        if (r->state[j] != DROPPED) continue;
        const double key = change(r, j) * r->ease[j];
        const bool better = r->error > 0 ? key > 0 && key >= most : key < most;
        if (!better) continue;
        best = j;
        most = key;
    }
    return best;
}

/* The untouched kept weight of least score in first .. end - 1, -1 when there is none; sign != 0: only those whose c_j has that sign. */
static int64_t cheapest(const row *r, int64_t first, int64_t end, int sign)
{
    int64_t best = -1;
    for (int64_t j = first; j < end; j++) {
        if (r->state[j] != KEPT || (sign != 0 && !(change(r, j) * sign > 0))) continue;
        if (best < 0 || r->score[j] < r->score[best]) best = j;
    }
    return best;
}

static int sign_of(double x)
{
    return (x > 0) - (x < 0);
}

/* The next pair to swap; false when the row has come to its end. */
static bool next_swap(row *r, const az_dsnot_settings *how, int64_t *grow, int64_t *prune)
{
    const int m = how->pattern.m;
    for (;;) {
        *grow = best_to_grow(r);
        if (*grow < 0) return false;
        const int64_t group = m ? *grow / m * m : 0;
        *prune = m ? cheapest(r, group, group + m, 0) : cheapest(r, 0, r->cols, r->error > 0 ? -1 : 1);
        if (*prune >= 0 && (!m || fabs(r->error + change(r, *prune) - change(r, *grow)) < fabs(r->error))) return true;
        if (!m) return false;
        r->state[*grow] = PASSED;
    }
}

/* Swaps in one row; returns their number. */
static int64_t repair_row(row *r, const az_dsnot_settings *how, int64_t cycles)
{
    const int sign = sign_of(r->error);
    const bool same_sign = how->same_sign || how->pattern.m;
    int64_t swaps = 0, grow, prune;
    while (swaps < cycles && fabs(r->error) > how->threshold && next_swap(r, how, &grow, &prune)) {
        const double after = r->error + change(r, prune) - change(r, grow);
        if (same_sign && sign_of(after) != sign) break;
        r->state[grow] = GROWN;
        r->state[prune] = PRUNED;
        r->error = after;
        swaps++;
    }
    return swaps;
}

/* 1 / v_j^power. A constant input is as good as any, but not infinitely so. */
static double *ease_of(az_ctx *az, const double *variance, int64_t cols, double power)
{
    double *ease = az_alloc_array(az, (size_t)cols, sizeof *ease), most = 0;
    for (int64_t j = 0; j < cols; j++) most = fmax(most, variance[j]);
    for (int64_t j = 0; ease && j < cols; j++) ease[j] = most > 0 ? pow(fmax(variance[j], 1e-12 * most), -power) : 1;
    return ease;
}

int64_t az_dsnot_cycles(const az_dsnot_settings *how, int64_t cols)
{
    if (how->cycles >= 0) return how->cycles;
    const int64_t share = llround(0.0122 * (double)cols); /* 50 of 4096 inputs, as published */
    return share < 1 ? 1 : share > 50 ? 50 : share;
}

az_tensor *az_dsnot_repair(az_ctx *az, const az_dsnot_layer *layer, const az_dsnot_settings *how, az_dsnot_change *change_out)
{
    if (!layer->values || !layer->keep || !layer->score) return NULL;
    const int64_t rows = layer->keep->shape[0], cols = layer->keep->shape[1], cycles = az_dsnot_cycles(how, cols);
    az_tensor *keep = az_copy(az, layer->keep);
    const double *ease = ease_of(az, layer->variance, cols, how->var_power);
    double *before = az_alloc_array(az, (size_t)rows, sizeof *before), *after = az_alloc_array(az, (size_t)rows, sizeof *after);
    int64_t *swaps = az_alloc_array(az, (size_t)rows, sizeof *swaps);
    if (!keep || !ease || !before || !after || !swaps) return NULL;
    unsigned char *states = keep->data;
#pragma omp parallel for schedule(static) num_threads(az_threads(az))
    for (int64_t i = 0; i < rows; i++) {
        row r = {.cols = cols,
                 .w = az_f32(layer->values) + i * cols,
                 .score = az_f32(layer->score) + i * cols,
                 .mean = layer->mean,
                 .ease = ease,
                 .state = states + i * cols,
                 .error = layer->shift ? layer->shift[i] : 0};
        for (int64_t j = 0; j < cols; j++) {
            r.state[j] = r.state[j] ? KEPT : DROPPED;
            if (r.state[j] == DROPPED) r.error += change(&r, j);
        }
        before[i] = r.error;
        swaps[i] = repair_row(&r, how, cycles);
        after[i] = r.error;
        for (int64_t j = 0; j < cols; j++) r.state[j] = r.state[j] == KEPT || r.state[j] == GROWN;
    }
    *change_out = (az_dsnot_change){0};
    for (int64_t i = 0; i < rows; i++) {
        change_out->swaps += (double)swaps[i] / (double)rows;
        change_out->before += fabs(before[i]) / (double)rows;
        change_out->after += fabs(after[i]) / (double)rows;
    }
    return keep;
}
