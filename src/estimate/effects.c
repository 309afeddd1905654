/* effects.c - additive effects of rows and columns, by alternating shrunken means. */
#include "estimate/effects.h"

#include <math.h>

/* effect_i = sum over the line of (value - mean - other effect) / (count + shrinkage); returns the largest change. */
static double refit(const az_lines *lines, double mean, double shrinkage, const double *others, double *effect)
{
    double largest = 0;
    for (int64_t i = 0; i < lines->lines; i++) {
        double sum = 0;
        const double before = effect[i], count = (double)(lines->start[i + 1] - lines->start[i]);
        for (int64_t e = lines->start[i]; e < lines->start[i + 1]; e++) sum += lines->value[e] - mean - others[lines->other[e]];
        effect[i] = count > 0 ? sum / (count + shrinkage) : 0;
        largest = fmax(largest, fabs(effect[i] - before));
    }
    return largest;
}

az_effects *az_effects_fit(az_ctx *az, const az_entries *entries, az_effects_kind kind, double shrinkage)
{
    enum { MOST_TURNS = 100 };
    az_effects *out = az_alloc(az, sizeof *out);
    const size_t m = (size_t)entries->rows.lines, n = (size_t)entries->columns.lines;
    if (!out || !(out->row = az_alloc_array(az, m, sizeof(double))) || !(out->column = az_alloc_array(az, n, sizeof(double)))) return NULL;
    double mean = 0;
    for (int64_t e = 0; e < entries->count; e++) mean += entries->rows.value[e] / (double)entries->count;
    if (kind == AZ_EFFECTS_NONE) mean = 0;
    for (int turn = 0; turn < MOST_TURNS && kind == AZ_EFFECTS_BOTH; turn++) {
        const double rows = refit(&entries->rows, mean, shrinkage, out->column, out->row);
        if (fmax(rows, refit(&entries->columns, mean, shrinkage, out->row, out->column)) < 1e-9 * fabs(mean)) break;
    }
    for (size_t i = 0; i < m; i++) out->row[i] += mean;
    return out;
}

static void subtract(const az_lines *lines, const double *own, const double *other, double *out)
{
    for (int64_t i = 0; i < lines->lines; i++)
        for (int64_t e = lines->start[i]; e < lines->start[i + 1]; e++) out[e] = lines->value[e] - own[i] - other[lines->other[e]];
}

az_entries *az_effects_remove(az_ctx *az, const az_entries *entries, const az_effects *effects)
{
    az_entries *out = az_alloc(az, sizeof *out);
    double *by_row = az_alloc_array(az, (size_t)entries->count, sizeof(double));
    double *by_column = az_alloc_array(az, (size_t)entries->count, sizeof(double));
    if (!effects || !out || !by_row || !by_column) return NULL;
    subtract(&entries->rows, effects->row, effects->column, by_row);
    subtract(&entries->columns, effects->column, effects->row, by_column);
    *out = *entries;
    out->rows.value = by_row, out->columns.value = by_column;
    return out;
}
