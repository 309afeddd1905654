/* generators_report.c - the activations that generators of virtual tokens have learnt, beside the usual ones. */
#include "adze/lm.h"

#include <math.h>

enum { POINTS = 101 }; /* over [-5, 5] */
static const double INNER = 3;

/* g at the points: POINTS values in the current scope. */
static const float *values_of(az_ctx *az, const az_generator_block *block, const double *x)
{
    az_tensor *at = az_new1(az, AZ_F32, POINTS);
    float *value = az_f32_mut(at);
    for (int i = 0; value && i < POINTS; i++) value[i] = (float)x[i];
    const bool f64 = block->numerator && block->numerator->dtype == AZ_F64;
    az_tensor *y = az_generator_activate(az, block, f64 ? az_cast(az, at, AZ_F64) : at);
    y = y && f64 ? az_cast(az, y, AZ_F32) : y;
    return y ? az_f32(y) : NULL;
}

static double distance(const double *x, const float *a, const float *b)
{
    double sum = 0;
    int n = 0;
    for (int i = 0; i < POINTS; i++) {
        if (fabs(x[i]) > INNER + 1e-9) continue;
        sum += ((double)a[i] - b[i]) * ((double)a[i] - b[i]);
        n++;
    }
    return sqrt(sum / n);
}

void az_generators_report(az_ctx *az, const az_generators *generators, az_report *report)
{
    static const az_generator_activation usual[] = {AZ_GENERATE_GELU, AZ_GENERATE_RELU, AZ_GENERATE_SILU, AZ_GENERATE_IDENTITY};
    if (!report || !generators) return;
    double x[POINTS], y[POINTS];
    for (int i = 0; i < POINTS; i++) x[i] = -5 + 10 * (double)i / (POINTS - 1);
    const float *first = NULL;
    az_scope_push(az);
    for (int b = 0; b < generators->blocks; b++) {
        const az_generator_block *block = &generators->block[b];
        const float *g = block->network >= 0 ? values_of(az, block, x) : NULL;
        if (!g) continue;
        if (!first) first = g;
        az_report_row(report, "activations");
        az_report_count(report, "block", b);
        az_report_text(report, "activation", az_generator_activations[block->activation]);
        for (int k = 0; k < 4; k++) {
            const az_generator_block other = {.activation = usual[k]};
            az_report_number(report, az_generator_activations[usual[k]], distance(x, g, values_of(az, &other, x)), "");
        }
        az_report_number(report, "first_block", distance(x, g, first), "");
        for (int i = 0; i < POINTS; i++) y[i] = g[i];
        const char *name = az_format_text(az, "block %d", b);
        if (name) az_report_curve(report, name, "x", "g(x)", POINTS, x, y);
    }
    az_scope_pop(az);
}
