/* itertl_loss.c - scores of programs, the loss of a group of ranked texts, and pass@k. */
#include "tune/itertl.h"

#include <ctype.h>
#include <math.h>
#include <string.h>

/* ---- likeness ---- */

enum { MOST_WORDS = 4096 };

typedef struct word {
    const char *text;
    size_t length;
} word;

static bool is_word_byte(char c)
{
    return isalnum((unsigned char)c) || c == '_' || c == '$' || c == '\'';
}

static int words_of(const char *text, word *out)
{
    int n = 0;
    while (*(text += strspn(text, " \t\r\n")) && n < MOST_WORDS) {
        size_t length = 0;
        while (is_word_byte(text[length])) length++;
        if (length == 0) length = 1;
        out[n++] = (word){text, length};
        text += length;
    }
    return n;
}

static bool same(word a, word b)
{
    return a.length == b.length && memcmp(a.text, b.text, a.length) == 0;
}

/* Longest common subsequence; row [nb + 1] zeros. */
static int common(const word *a, int na, const word *b, int nb, int *row)
{
    for (int i = 0; i < na; i++) {
        int diagonal = 0;
        for (int j = 0; j < nb; j++) {
            const int up = row[j + 1];
            row[j + 1] = same(a[i], b[j]) ? diagonal + 1 : up > row[j] ? up : row[j];
            diagonal = up;
        }
    }
    return row[nb];
}

double itertl_rouge(az_ctx *az, const char *a, const char *b)
{
    az_scope_push(az);
    word *x = az_alloc_array(az, MOST_WORDS, sizeof *x), *y = az_alloc_array(az, MOST_WORDS, sizeof *y);
    int *row = az_alloc_array(az, MOST_WORDS + 1, sizeof *row);
    double f1 = 0;
    if (x && y && row) {
        const int n = words_of(a, x), m = words_of(b, y);
        f1 = n + m > 0 ? 2.0 * common(x, n, y, m, row) / (n + m) : 0;
    }
    az_scope_pop(az);
    return f1;
}

double itertl_score(az_ctx *az, const itertl_options *options, const itertl_verdict *verdict, const char *program, const char *reference)
{
    if (!verdict->compiles) return options->worst;
    if (verdict->total > 0 && verdict->passed == verdict->total) return 1;
    const double likeness = itertl_rouge(az, program, reference);
    return likeness < 1 ? likeness : 1 - 1e-6; /* what only looks right stays below what passes */
}

double itertl_pass_at(int n, int c, int k)
{
    if (k < 1 || k > n || c < 0 || c > n) return NAN;
    if (n - c < k) return 1;
    double none = 1;
    for (int i = n - c + 1; i <= n; i++) none *= 1 - (double)k / i;
    return 1 - none;
}

/* ---- the loss of a group ---- */

enum { MOST_TEXTS = 1024 };

static double divisor(const itertl_options *o, const itertl_group *g, int i)
{
    return pow(g->divisor ? g->divisor[i] : g->length[i], o->beta);
}

/* s = softmax of the log-likelihoods p_i = -nll_i / length_i^beta. */
static void shares(const itertl_options *o, const itertl_group *g, double *s)
{
    double top = -INFINITY, sum = 0;
    for (int i = 0; i < g->n; i++) top = fmax(top, s[i] = -g->nll[i] / divisor(o, g, i));
    for (int i = 0; i < g->n; i++) sum += s[i] = exp(s[i] - top);
    for (int i = 0; i < g->n; i++) s[i] /= sum;
}

/* sum of max(0, m - (s_j - s_i)) over R_j - R_i > g; slope[i] = its derivative by s_i. */
static double ranking(const itertl_options *o, const itertl_group *g, const double *s, double *slope, int64_t *pairs, int64_t *active)
{
    double loss = 0;
    memset(slope, 0, (size_t)g->n * sizeof *slope);
    for (int i = 0; i < g->n; i++)
        for (int j = 0; j < g->n; j++) {
            if (!(g->score[j] - g->score[i] > o->gap)) continue;
            const double lack = o->margin - (s[j] - s[i]);
            if (pairs) ++*pairs;
            if (lack <= 0) continue;
            if (active) ++*active;
            loss += lack;
            slope[i]++;
            slope[j]--;
        }
    return loss;
}

double itertl_group_loss(const itertl_options *o, const itertl_group *g, double *weight, int64_t *pairs, int64_t *active)
{
    double s[MOST_TEXTS], slope[MOST_TEXTS], mean = 0;
    const int reference = g->n - 1;
    if (g->n < 1 || g->n > MOST_TEXTS) return NAN;
    shares(o, g, s);
    const double rank = ranking(o, g, s, slope, pairs, active), mle = g->nll[reference] / g->length[reference];
    const double of_rank = o->lambda * (o->combine == ITERTL_MULTIPLY ? mle : 1);
    const double of_mle = o->combine == ITERTL_MULTIPLY ? 1 + o->lambda * rank : 1;
    for (int i = 0; i < g->n; i++) mean += s[i] * slope[i];
    /* d s_j / d p_i = s_j ([i = j] - s_i) */
    for (int i = 0; i < g->n; i++) weight[i] = -of_rank * s[i] * (slope[i] - mean) / divisor(o, g, i);
    weight[reference] += of_mle / g->length[reference];
    return o->combine == ITERTL_MULTIPLY ? of_mle * mle : mle + o->lambda * rank;
}
