/* grad_cases.h - one table row checks an operation: its derivatives in f64 against central differences, first and second; the fast gradient
 * against the recorded one; f32 (value and gradient) against f64; and that no memory is left behind.
 *
 *     static az_tensor *product(az_ctx *az, az_tensor *const *x, int n, void *user) { (void)n; (void)user; return az_mul(az, x[0], x[1]); }
 *     static const grad_case cases[] = {{.name = "mul", .f = product, .inputs = {{2, {3, 4}}, {1, {4}}}}, {0}};
 *     Test(products, derivatives) { check_grad_cases(cases); } */
#ifndef ADZE_TESTS_GRAD_CASES_H
#define ADZE_TESTS_GRAD_CASES_H

#include "adze/grad.h"

enum { GRAD_CASE_INPUTS = 6 };

typedef struct grad_shape {
    int rank;
    int64_t shape[AZ_MAX_RANK];
    bool scalar; /* rank 0 (a row of zeros ends the list) */
} grad_shape;

typedef struct grad_case {
    const char *name; /* NULL ends a table */
    az_segment f;     /* works in the type of its inputs */
    grad_shape inputs[GRAD_CASE_INPUTS];
    double low, high; /* inputs uniform on [low, high); both 0 = standard normal */
    void *user;
    double f32_tolerance; /* relative to the largest entry; 0 = 2e-5 */
    bool first_only;      /* no second derivative */
} grad_case;

void check_grad_case(const grad_case *c);
void check_grad_cases(const grad_case *table);
/* max |a - b| / max(1, max |b|), in f64; infinity when shapes differ or a value is NaN. */
double largest_difference(const az_tensor *a, const az_tensor *b);

#endif
