/* lacie_pairs.c - preference pairs from the game's records, and what the game says about the speaker. */
#include "tune/lacie.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static int ascending(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

double lacie_threshold(az_ctx *az, const lacie_game *game, const lacie_options *options)
{
    if (options->threshold >= 0) return options->threshold;
    if (*options->accepts) return 0.5;
    double *p = az_alloc_array(az, (size_t)game->count + 1, sizeof *p);
    int64_t n = 0;
    for (int64_t i = 0; p && i < game->count; i++)
        if (!isnan(game->record[i].p)) p[n++] = game->record[i].p;
    if (n == 0) return 0.5;
    qsort(p, (size_t)n, sizeof *p, ascending);
    return n % 2 ? p[n / 2] : 0.5 * (p[n / 2 - 1] + p[n / 2]);
}

/* ---- one pair ---- */

/* 2 correct + accepted: 0 .. 3 */
static int state_of(const lacie_record *r, double threshold)
{
    return 2 * r->correct + (r->p > threshold);
}

static double value_of(int state, const lacie_options *o)
{
    const double value[4] = {o->wrong_reject, o->wrong_accept, o->correct_reject, o->correct_accept};
    return value[state];
}

static const char *state_name(int state)
{
    static const char *const names[4] = {"~c,~a", "~c,a", "c,~a", "c,a"};
    return names[state];
}

const char *lacie_type_name(az_ctx *az, int type)
{
    return az_format_text(az, "%s > %s", state_name(type / 4), state_name(type % 4));
}

/* Whether x and y make a pair; then it is filled. */
static bool make_pair(const lacie_record *x, const lacie_record *y, double threshold, const lacie_options *o, lacie_pair *pair)
{
    const int a = state_of(x, threshold), b = state_of(y, threshold);
    double va = value_of(a, o), vb = value_of(b, o);
    if (o->baseline == LACIE_CORRECTNESS)
        va = x->correct, vb = y->correct;
    else if (fabs(x->p - y->p) < o->min_margin)
        return false;
    if (va == vb) return false;
    *pair = va > vb ? (lacie_pair){x, y, 4 * a + b} : (lacie_pair){y, x, 4 * b + a};
    return true;
}

/* ---- all pairs ---- */

typedef struct pair_list {
    lacie_pair *item;
    int64_t n, room;
} pair_list;

static bool push(az_ctx *az, pair_list *list, lacie_pair pair)
{
    if (list->n == list->room) {
        lacie_pair *more = az_alloc_array(az, (size_t)(2 * list->room + 64), sizeof *more);
        if (!more) return false;
        if (list->n) memcpy(more, list->item, (size_t)list->n * sizeof *more);
        list->item = more;
        list->room = 2 * list->room + 64;
    }
    list->item[list->n++] = pair;
    return true;
}

/* Pairs of records first .. last - 1, which are of one question. The reference's limit ends a record's own pairs only. */
static bool pairs_of_question(az_ctx *az, const lacie_game *game, int64_t first, int64_t last, double threshold, const lacie_options *o,
                              pair_list *list)
{
    int64_t made = 0;
    for (int64_t i = first; i < last; i++) {
        for (int64_t j = i + 1; j < last; j++) {
            lacie_pair pair;
            const lacie_record *x = &game->record[i], *y = &game->record[j];
            if (isnan(x->p) || isnan(y->p) || !make_pair(x, y, threshold, o, &pair)) continue;
            if (!o->reference_limit && made >= o->limit_per_q) return true;
            if (!push(az, list, pair)) return false;
            if (++made >= o->limit_per_q && o->reference_limit) break;
        }
    }
    return true;
}

static void shuffle_pairs(az_ctx *az, pair_list *list, uint64_t seed)
{
    int64_t *order = az_alloc_array(az, (size_t)list->n + 1, sizeof *order);
    lacie_pair *copy = az_alloc_array(az, (size_t)list->n + 1, sizeof *copy);
    if (!order || !copy) return;
    for (int64_t i = 0; i < list->n; i++) order[i] = i;
    az_rng rng = az_rng_at(seed, az_stream("lacie pairs", 0));
    az_shuffle(&rng, order, list->n);
    for (int64_t i = 0; i < list->n; i++) copy[i] = list->item[order[i]];
    list->item = copy;
}

/* Every type that may arise is sampled down to the number of the rarest. */
static bool balance(az_ctx *az, pair_list *list, const lacie_options *o)
{
    int64_t of_type[LACIE_TYPES] = {0}, least = INT64_MAX, taken[LACIE_TYPES] = {0}, n = 0;
    for (int64_t i = 0; i < list->n; i++) of_type[list->item[i].type]++;
    for (int type = 0; type < LACIE_TYPES; type++) {
        const double better = value_of(type / 4, o), worse = value_of(type % 4, o);
        if (better <= worse) continue;
        if (of_type[type] == 0)
            return az_fail(az, AZ_BAD_INPUT,
                           "no pair is of the type '%s', so the types cannot be balanced; more questions or samples, or balance=false",
                           lacie_type_name(az, type));
        if (of_type[type] < least) least = of_type[type];
    }
    for (int64_t i = 0; i < list->n; i++)
        if (taken[list->item[i].type]++ < least) list->item[n++] = list->item[i];
    list->n = n;
    return true;
}

int64_t lacie_pairs(az_ctx *az, const lacie_game *game, const lacie_options *o, uint64_t seed, lacie_pair **pairs)
{
    const double threshold = lacie_threshold(az, game, o);
    pair_list list = {0};
    for (int64_t first = 0, last; first < game->count; first = last) {
        for (last = first; last < game->count && game->record[last].question == game->record[first].question; last++) continue;
        if (!pairs_of_question(az, game, first, last, threshold, o, &list)) return -1;
    }
    shuffle_pairs(az, &list, seed);
    if (o->balance && o->baseline == LACIE_LISTENER && !balance(az, &list, o)) return -1;
    *pairs = list.item;
    return az_ok(az) ? list.n : -1;
}

/* ---- measures ---- */

void lacie_measure(az_ctx *az, const lacie_game *game, const lacie_options *o, az_report *report)
{
    const double threshold = lacie_threshold(az, game, o);
    int64_t judged = 0, right = 0, abstained = 0, tp = 0, fp = 0, fn = 0;
    double *p = az_alloc_array(az, (size_t)game->count + 1, sizeof *p);
    bool *correct = az_alloc_array(az, (size_t)game->count + 1, sizeof *correct);
    if (!p || !correct) return;
    for (int64_t i = 0; i < game->count; i++) {
        const lacie_record *r = &game->record[i];
        abstained += r->answer == NULL;
        right += r->correct;
        if (isnan(r->p)) continue;
        const bool accepted = r->p > threshold;
        tp += accepted && r->correct, fp += accepted && !r->correct, fn += !accepted && r->correct;
        p[judged] = r->p;
        correct[judged++] = r->correct;
    }
    az_report_row(report, "calibration");
    az_report_count(report, "answers", game->count);
    az_report_count(report, "failed", game->failed);
    az_report_number(report, "accuracy", game->count ? (double)right / (double)game->count : NAN, "");
    az_report_number(report, "abstained", game->count ? (double)abstained / (double)game->count : NAN, "");
    az_report_number(report, "threshold", threshold, "");
    az_report_number(report, "accepted", judged ? (double)(tp + fp) / (double)judged : NAN, "");
    az_report_number(report, "precision", tp + fp ? (double)tp / (double)(tp + fp) : NAN, "");
    az_report_number(report, "recall", tp + fn ? (double)tp / (double)(tp + fn) : NAN, "");
    az_report_number(report, "f1", tp ? 2 * (double)tp / (double)(2 * tp + fp + fn) : 0, "");
    az_report_number(report, "auroc", az_auroc(p, correct, judged), "");
    az_report_number(report, "ece", az_calibration_error(p, correct, judged, (int)o->bins, o->spread_bins), "");
}
