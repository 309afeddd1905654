/* nm_blocks.c - probabilities, gradients and draws of N:M blocks. */
#include "compress/nm_blocks.h"

#include <math.h>
#include <string.h>

enum { ROWS = 8 }; /* a thread's share: the bits of 8 rows are whole bytes */

/* ---- one block ---- */

void az_nm_softmax(const float *logit, int m, double *p)
{
    float most = logit[0]; /* a double here is more than GCC 12 can compile for aarch64 */
    double sum = 0;
    for (int j = 1; j < m; j++) most = fmaxf(most, logit[j]);
    for (int j = 0; j < m; j++) sum += p[j] = exp((double)logit[j] - (double)most);
    for (int j = 0; j < m; j++) p[j] /= sum;
}

/* The elements of a set, ascending. */
static int members(unsigned set, int m, int *element)
{
    int n = 0;
    for (int j = 0; j < m; j++)
        if (set >> j & 1) element[n++] = j;
    return n;
}

/* What is left outside the elements that `subset` (bits over element[]) picks, summed rather than taken from 1: no cancellation. */
static double rest(const double *p, int m, const int *element, int n, unsigned subset)
{
    double sum = 0;
    unsigned inside = 0;
    for (int i = 0; i < n; i++)
        if (subset >> i & 1) inside |= 1U << element[i];
    for (int j = 0; j < m; j++) sum += inside >> j & 1 ? 0 : p[j];
    return sum;
}

/* F over the subsets of the n elements: F(empty) = 1, F(A) = sum over a in A of F(A \ a) p_a / left(A \ a). */
static void fill_recursion(const double *p, int m, const int *element, int n, double clamp, double *left, double *f)
{
    for (unsigned a = 0; a < 1U << n; a++) {
        left[a] = rest(p, m, element, n, a) + clamp;
        f[a] = a == 0;
        for (int i = 0; i < n; i++)
            if (a >> i & 1) f[a] += f[a ^ 1U << i] * fmax(p[element[i]], clamp) / left[a ^ 1U << i];
    }
}

double az_nm_probability(const double *p, az_pattern pattern, unsigned set)
{
    double left[1 << AZ_NM_MOST_KEPT], f[1 << AZ_NM_MOST_KEPT];
    int element[AZ_NM_MOST] = {0};
    const int n = members(set, pattern.m, element);
    fill_recursion(p, pattern.m, element, n, 0, left, f);
    return f[(1U << n) - 1];
}

/* Through the softmax: h = p (g - <g, p>), g being zero outside the set. */
static void through_softmax(const double *p, int m, const int *element, int n, double clamp, const double *g, double *h)
{
    double dot = 0;
    for (int i = 0; i < n; i++) dot += g[i] * fmax(p[element[i]], clamp);
    for (int j = 0, i = 0; j < m; j++) { /* elements ascend */
        const bool inside = i < n && element[i] == j;
        h[j] = fmax(p[j], clamp) * ((inside ? g[i] : 0) - dot);
        i += inside;
    }
}

void az_nm_gradient_any(const double *p, az_pattern pattern, double clamp, unsigned set, double *h)
{
    double left[1 << AZ_NM_MOST_KEPT] = {0}, f[1 << AZ_NM_MOST_KEPT] = {0}, back[1 << AZ_NM_MOST_KEPT] = {0}, g[AZ_NM_MOST_KEPT] = {0};
    int element[AZ_NM_MOST] = {0};
    const int n = members(set, pattern.m, element);
    const unsigned all = (1U << n) - 1;
    fill_recursion(p, pattern.m, element, n, clamp, left, f);
    back[all] = 1 / f[all]; /* of log F */
    for (unsigned a = all; a > 0; a--) {
        for (int i = 0; i < n; i++) {
            if (!(a >> i & 1)) continue;
            const unsigned b = a ^ 1U << i;
            const double pa = fmax(p[element[i]], clamp);
            back[b] += back[a] * pa / left[b];
            g[i] += back[a] * f[b] / left[b];
            const double shrink = back[a] * f[b] * pa / (left[b] * left[b] + clamp); /* left(B) falls as an element of B grows */
            for (int k = 0; k < n; k++)
                if (b >> k & 1) g[k] += shrink;
        }
    }
    through_softmax(p, pattern.m, element, n, clamp, g, h);
}

void az_nm_gradient(const double *p, az_pattern pattern, double clamp, unsigned set, double *h)
{
    if (pattern.n != 2) {
        az_nm_gradient_any(p, pattern, clamp, set, h);
        return;
    }
    int element[AZ_NM_MOST] = {0};
    members(set, pattern.m, element);
    double left[2], g[2], sum = 0;
    for (int i = 0; i < 2; i++) {
        left[i] = rest(p, pattern.m, element, 2, 1U << i);
        sum += 1 / (left[i] + clamp);
    }
    for (int i = 0; i < 2; i++) g[i] = 1 / fmax(p[element[i]], clamp) + 1 / (sum * (left[i] * left[i] + clamp));
    through_softmax(p, pattern.m, element, 2, clamp, g, h);
}

/* The n lowest of m keys; the first of equal ones. */
static unsigned lowest_of(const double *key, az_pattern pattern)
{
    unsigned set = 0;
    for (int kept = 0; kept < pattern.n; kept++) {
        int next = __builtin_ctz(~set);
        for (int j = next + 1; j < pattern.m; j++)
            if (!(set >> j & 1) && key[j] < key[next]) next = j;
        set |= 1U << next;
    }
    return set;
}

/* The n smallest of E_j / p_j with E_j exponential: the order in which draws without replacement take the elements (the logarithm of it is
 * the Gumbel top-n trick). */
unsigned az_nm_draw(const double *p, az_pattern pattern, double clamp, az_nm_key key)
{
    double arrival[AZ_NM_MOST] = {0};
    const uint64_t words = (uint64_t)(pattern.m + 3) / 4;
    for (uint64_t k = 0; k < words; k++) {
        uint32_t bits[4];
        az_philox(key.seed, key.stream, key.block * words + k, bits);
        for (int i = 0; i < 4 && 4 * (int)k + i < pattern.m; i++) {
            const int j = 4 * (int)k + i;
            arrival[j] = -log(((double)bits[i] + 0.5) * 0x1p-32) / fmax(p[j], clamp);
        }
    }
    return lowest_of(arrival, pattern);
}

unsigned az_nm_top(const float *logit, az_pattern pattern)
{
    double key[AZ_NM_MOST] = {0};
    for (int j = 0; j < pattern.m; j++) key[j] = -(double)logit[j];
    return lowest_of(key, pattern);
}

double az_nm_flip_rate(az_pattern pattern, double c)
{
    const double dropped = (double)(pattern.m - pattern.n) * exp(-c);
    double log_stay = 0;
    for (int left = pattern.n; left > 0; left--) log_stay -= log1p(dropped / left);
    return -expm1(log_stay);
}

double az_nm_logit_for(az_ctx *az, az_pattern pattern, double rate)
{
    double low = 0, high = 100;
    if (!(rate > 0) || rate >= az_nm_flip_rate(pattern, low)) {
        az_fail(az, AZ_BAD_INPUT, "at most a share of %.3g of the blocks can flip in a step, and more than 0 must",
                az_nm_flip_rate(pattern, 0));
        return NAN;
    }
    for (int i = 0; i < 100; i++) {
        const double middle = (low + high) / 2;
        if (az_nm_flip_rate(pattern, middle) > rate)
            low = middle;
        else
            high = middle;
    }
    return (low + high) / 2;
}

/* ---- a matrix of blocks ---- */

unsigned az_bits_get(const unsigned char *bits, int64_t first, int count)
{
    unsigned set = 0;
    for (int j = 0; j < count; j++) set |= (unsigned)(bits[(first + j) / 8] >> (first + j) % 8 & 1) << j;
    return set;
}

void az_bits_put(unsigned char *bits, int64_t first, int count, unsigned set)
{
    for (int j = 0; j < count; j++) {
        const unsigned char bit = (unsigned char)(1U << (first + j) % 8);
        unsigned char *byte = &bits[(first + j) / 8];
        *byte = (unsigned char)(set >> j & 1 ? *byte | bit : *byte & ~bit);
    }
}

/* The block that begins at element `at` takes the set. */
static void put_block(const az_nm_matrix *x, int64_t at, unsigned set)
{
    az_bits_put(x->kept, at, x->pattern.m, set);
    for (int j = 0; x->masked && j < x->pattern.m; j++) {
        const size_t byte = (size_t)(at + j) * x->size;
        if (set >> j & 1)
            memcpy(x->masked + byte, x->value + byte, x->size);
        else
            memset(x->masked + byte, 0, x->size);
    }
}

static bool move_block(const az_nm_matrix *x, int64_t at, double rate, uint64_t seed, uint64_t stream)
{
    const int m = x->pattern.m;
    const unsigned now = az_bits_get(x->kept, at, m);
    float *logit = x->logit + at;
    double p[AZ_NM_MOST], h[AZ_NM_MOST];
    az_nm_softmax(logit, m, p);
    if (rate != 0) {
        az_nm_gradient(p, x->pattern, x->clamp, now, h);
        for (int j = 0; j < m; j++) logit[j] = (float)(logit[j] - rate * h[j]);
        az_nm_softmax(logit, m, p);
    }
    const az_nm_key key = {seed, stream, (uint64_t)(x->first_block + at / m)};
    const unsigned next = az_nm_draw(p, x->pattern, x->clamp, key);
    if (next == now) return false;
    put_block(x, at, next);
    return true;
}

int64_t az_nm_move(az_ctx *az, const az_nm_matrix *x, double rate, uint64_t seed, uint64_t stream)
{
    int64_t flips = 0;
    const int64_t total = x->rows * x->cols, share = ROWS * x->cols;
#pragma omp parallel for schedule(static) num_threads(az_threads(az)) reduction(+ : flips)
    for (int64_t first = 0; first < total; first += share) {
        const int64_t end = first + share < total ? first + share : total;
        for (int64_t at = first; at < end; at += x->pattern.m) flips += move_block(x, at, rate, seed, stream);
    }
    return flips;
}

void az_nm_set(const az_nm_matrix *x, const unsigned char *bits)
{
    for (int64_t at = 0; at < x->rows * x->cols; at += x->pattern.m) put_block(x, at, az_bits_get(bits, at, x->pattern.m));
}

void az_nm_final(const az_nm_matrix *x, unsigned char *bits)
{
    for (int64_t at = 0; at < x->rows * x->cols; at += x->pattern.m)
        az_bits_put(bits, at, x->pattern.m, az_nm_top(x->logit + at, x->pattern));
}
