/* formula_terms.c - sets of terms, each a product of variables: union, difference, products. */
#include "data/formula.h"

#include <string.h>

static bool same(const term *a, const term *b)
{
    return a->degree == b->degree && memcmp(a->factor, b->factor, (size_t)a->degree * sizeof *a->factor) == 0;
}

static int find(const terms *set, const term *t)
{
    for (int i = 0; i < set->count; i++)
        if (same(&set->item[i], t)) return i;
    return -1;
}

bool terms_have(const terms *set, const term *t)
{
    return find(set, t) >= 0;
}

bool terms_add(az_ctx *az, terms *set, const term *t)
{
    if (!az_ok(az)) return false;
    if (find(set, t) >= 0) return true;
    if (set->count == MAX_TERMS) return az_fail(az, AZ_BAD_INPUT, "the formula has more than %d terms", MAX_TERMS);
    if (set->count == set->room) {
        const int room = set->room ? 2 * set->room : 8;
        term *item = az_alloc_array(az, (size_t)room, sizeof *item);
        if (!item) return false;
        if (set->count > 0) memcpy(item, set->item, (size_t)set->count * sizeof *item);
        set->item = item;
        set->room = room;
    }
    set->item[set->count++] = *t;
    return true;
}

bool terms_unite(az_ctx *az, terms *set, const terms *more)
{
    for (int i = 0; i < more->count; i++)
        if (!terms_add(az, set, &more->item[i])) return false;
    return true;
}

void terms_remove(terms *set, const terms *less)
{
    int kept = 0;
    for (int i = 0; i < set->count; i++)
        if (find(less, &set->item[i]) < 0) set->item[kept++] = set->item[i];
    set->count = kept;
}

/* The variables of both, each once: a:a is a. */
static bool multiply(az_ctx *az, const term *a, const term *b, term *out)
{
    int i = 0, j = 0;
    *out = (term){0};
    while (i < a->degree || j < b->degree) {
        const int x = i < a->degree ? a->factor[i] : INT32_MAX, y = j < b->degree ? b->factor[j] : INT32_MAX;
        if (out->degree == MAX_DEGREE) return az_fail(az, AZ_BAD_INPUT, "a term multiplies more than %d variables", MAX_DEGREE);
        out->factor[out->degree++] = x < y ? x : y;
        i += x <= y;
        j += y <= x;
    }
    return true;
}

bool terms_cross(az_ctx *az, const terms *a, const terms *b, terms *out)
{
    if ((int64_t)a->count * b->count > MAX_PRODUCTS) return az_fail(az, AZ_BAD_INPUT, "the formula multiplies too many terms");
    for (int i = 0; i < a->count; i++) {
        for (int j = 0; j < b->count; j++) {
            term t;
            if (!multiply(az, &a->item[i], &b->item[j], &t) || !terms_add(az, out, &t)) return false;
        }
    }
    return true;
}

/* By degree; within one the order of appearance stays. */
void terms_sort(terms *set)
{
    for (int i = 1; i < set->count; i++) {
        const term t = set->item[i];
        int at = i;
        for (; at > 0 && set->item[at - 1].degree > t.degree; at--) set->item[at] = set->item[at - 1];
        set->item[at] = t;
    }
}
