/* splitmix.c - reproducible uniforms, normals and orders. */
#include "claims/splitmix.h"

#include <math.h>
#include <stdlib.h>

uint64_t splitmix(uint64_t seed, uint64_t i)
{
    uint64_t z = seed + (i + 1) * 0x9E3779B97F4A7C15;
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EB;
    return z ^ (z >> 31);
}

static double uniform(uint64_t seed, uint64_t i)
{
    return ldexp((double)(splitmix(seed, i) >> 11), -53);
}

double *splitmix_uniform(az_ctx *az, uint64_t seed, int64_t n)
{
    double *u = az_alloc_array(az, (size_t)n, sizeof *u);
    for (int64_t i = 0; u && i < n; i++) u[i] = uniform(seed, (uint64_t)i);
    return u;
}

double *splitmix_normal(az_ctx *az, uint64_t seed, int64_t n)
{
    const double pi = acos(-1);
    double *g = az_alloc_array(az, (size_t)n, sizeof *g);
    for (int64_t i = 0; g && i < n; i++) {
        const double a = uniform(seed, 2 * (uint64_t)i), b = uniform(seed, 2 * (uint64_t)i + 1);
        g[i] = sqrt(-2 * log(a + ldexp(1, -54))) * cos(2 * pi * b);
    }
    return g;
}

typedef struct keyed {
    double key;
    int at;
} keyed;

static int ascending(const void *a, const void *b)
{
    const keyed *x = a, *y = b;
    if (x->key != y->key) return x->key < y->key ? -1 : 1;
    return (x->at > y->at) - (x->at < y->at);
}

int *splitmix_order(az_ctx *az, uint64_t seed, int n)
{
    int *order = az_alloc_array(az, (size_t)n, sizeof *order);
    az_scope_push(az);
    keyed *list = az_alloc_array(az, (size_t)n, sizeof *list);
    for (int i = 0; list && i < n; i++) list[i] = (keyed){uniform(seed, (uint64_t)i), i};
    if (list) qsort(list, (size_t)n, sizeof *list, ascending);
    for (int i = 0; order && list && i < n; i++) order[i] = list[i].at;
    az_scope_pop(az);
    return order;
}
