/* dsl_read.c - from the user's table to the rows that take part: labels, chances, clusters, effects, predictors; and what can be wrong. */
#include "estimate/dsl.h"

#include <stdlib.h>
#include <string.h>

typedef struct reader {
    az_ctx *az;
    const dsl_options *o;
    const az_table *given;
    dsl_data *d;
    const az_column **gold, **surrogate, **feature, **effect;
    int golds, surrogates, features, effects;
    const az_column *prob, *labeled, *cluster, *fold;
    double constant_prob; /* 0 = the labelled share */
    az_table *numbers;    /* the given table, with numbers in the gold columns */
} reader;

/* ---- options ---- */

static const az_column *optional_column(reader *r, const char *name)
{
    return *name ? az_table_find(r->az, r->given, name) : NULL;
}

/* "prob" is a number or a column. */
static void read_prob(reader *r)
{
    char *end;
    const double value = strtod(r->o->prob, &end);
    if (*r->o->prob && !*end) {
        r->constant_prob = value;
        if (!(value > 0 && value <= 1)) az_fail(r->az, AZ_BAD_INPUT, "prob=%s: a chance lies above 0 and is at most 1", r->o->prob);
    } else {
        r->prob = optional_column(r, r->o->prob);
    }
}

static bool find_columns(reader *r)
{
    az_ctx *az = r->az;
    if (!az_table_columns(az, r->given, r->o->gold, &r->gold, &r->golds) ||
        !az_table_columns(az, r->given, r->o->surrogate, &r->surrogate, &r->surrogates) ||
        !az_table_columns(az, r->given, r->o->feature, &r->feature, &r->features) ||
        !az_table_columns(az, r->given, r->o->effects, &r->effect, &r->effects))
        return false;
    if (r->golds == 0) return az_fail(az, AZ_BAD_INPUT, "gold names no column");
    if (r->golds > DSL_MOST_GOLDS) return az_fail(az, AZ_BAD_INPUT, "at most %d gold columns", DSL_MOST_GOLDS);
    if (r->surrogates + r->features == 0) return az_fail(az, AZ_BAD_INPUT, "at least one of surrogate and feature must be given");
    if (r->effects > DSL_MOST_EFFECTS) return az_fail(az, AZ_BAD_INPUT, "at most %d fixed effects", DSL_MOST_EFFECTS);
    if ((r->o->model == DSL_FELM) != (r->effects > 0))
        return az_fail(az, AZ_BAD_INPUT, "model=felm and effects=... go together: the columns whose levels have effects of their own");
    read_prob(r);
    r->labeled = optional_column(r, r->o->labeled);
    r->cluster = optional_column(r, r->o->cluster);
    r->fold = optional_column(r, r->o->fold);
    return az_ok(az);
}

/* ---- labels ---- */

static int column_number(const reader *r, const az_column *column)
{
    return (int)(column - r->given->column);
}

/* Gold columns become numbers: texts of two levels 0 and 1. */
static bool make_numbers(reader *r)
{
    double *values[DSL_MOST_GOLDS];
    for (int g = 0; g < r->golds; g++) {
        values[g] = (double *)az_column_numbers(r->az, r->given, r->gold[g]);
        r->d->gold[g] = column_number(r, r->gold[g]);
        if (!values[g]) return false;
        if (r->gold[g]->missing == r->given->rows)
            return az_fail(r->az, AZ_BAD_INPUT, "no row is labelled: '%s' is missing everywhere", r->gold[g]->name);
    }
    r->d->golds = r->golds;
    r->numbers = dsl_replace(r->az, r->given, r->d->gold, values, r->golds);
    return r->numbers != NULL;
}

static const double *gold_values(const reader *r, int g)
{
    return r->numbers->column[r->d->gold[g]].value;
}

/* Whether a row is labelled; fails when its columns do not agree about that. */
static bool is_labelled(reader *r, int64_t row)
{
    const bool said = r->labeled && r->labeled->value[row] == 1;
    bool labelled = r->labeled ? said : !isnan(gold_values(r, 0)[row]);
    for (int g = 0; g < r->golds; g++) {
        const bool has = !isnan(gold_values(r, g)[row]);
        if (has == labelled) continue;
        if (r->labeled)
            az_fail(r->az, AZ_BAD_INPUT,
                    said ? "row %lld is labelled ('%s'), but '%s' has no value there"
                         : "row %lld is not labelled ('%s'), but '%s' has a value there",
                    (long long)row + 1, r->labeled->name, r->gold[g]->name);
        else
            az_fail(r->az, AZ_BAD_INPUT, "row %lld has a value in '%s' but none in '%s': a row is labelled in all gold columns or in none",
                    (long long)row + 1, r->gold[labelled ? 0 : g]->name, r->gold[labelled ? g : 0]->name);
        return false;
    }
    return labelled;
}

static bool check_labeled_column(reader *r)
{
    if (!r->labeled) return true;
    if (r->labeled->type == AZ_COLUMN_TEXT) return az_fail(r->az, AZ_BAD_INPUT, "'%s' must be 0 or 1", r->labeled->name);
    for (int64_t i = 0; i < r->given->rows; i++)
        if (r->labeled->value[i] != 0 && r->labeled->value[i] != 1)
            return az_fail(r->az, AZ_BAD_INPUT, "row %lld: '%s' must be 0 or 1", (long long)i + 1, r->labeled->name);
    return true;
}

/* ---- rows ---- */

static bool missing(const az_column *column, int64_t row)
{
    return column && (column->code ? column->code[row] < 0 : isnan(column->value[row]));
}

/* The columns of the formula that are not gold. */
static bool formula_columns(reader *r, const az_column ***columns, int *count)
{
    az_ctx *az = r->az;
    const char **names = NULL;
    int all = 0, golds = 0;
    if (!az_formula_variables(az, r->o->formula, r->numbers, &names, &all)) return false;
    *columns = az_alloc_array(az, (size_t)all + 1, sizeof **columns);
    *count = 0;
    for (int i = 0; *columns && i < all; i++) {
        const az_column *column = az_table_find(az, r->given, names[i]);
        bool gold = false;
        for (int g = 0; g < r->golds; g++) gold = gold || column == r->gold[g];
        golds += gold;
        if (!gold) (*columns)[(*count)++] = column;
    }
    if (az_ok(az) && golds == 0)
        return az_fail(az, AZ_BAD_INPUT, "'%s' reads no gold column: an ordinary regression needs no labels", r->o->formula);
    return az_ok(az);
}

static bool keeps_row(const reader *r, const az_column *const *columns, int count, int64_t row)
{
    for (int i = 0; i < count; i++)
        if (missing(columns[i], row)) return false;
    for (int i = 0; i < r->surrogates; i++)
        if (missing(r->surrogate[i], row)) return false;
    for (int i = 0; i < r->features; i++)
        if (missing(r->feature[i], row)) return false;
    for (int i = 0; i < r->effects; i++)
        if (missing(r->effect[i], row)) return false;
    return !missing(r->cluster, row) && !missing(r->fold, row);
}

static bool choose_rows(reader *r)
{
    dsl_data *d = r->d;
    const az_column **columns = NULL;
    int count = 0;
    int64_t *row = az_alloc_array(r->az, (size_t)r->given->rows, sizeof *row);
    if (!row || !formula_columns(r, &columns, &count)) return false;
    for (int64_t i = 0; i < r->given->rows; i++)
        if (keeps_row(r, columns, count, i)) row[d->n++] = i;
    d->original = row;
    d->dropped = r->given->rows - d->n;
    d->table = az_table_rows(r->az, r->numbers, row, d->n);
    d->labelled = az_alloc_array(r->az, (size_t)d->n + 1, sizeof *d->labelled);
    if (!d->table || !d->labelled) return false;
    for (int64_t i = 0; i < d->n && az_ok(r->az); i++)
        if (is_labelled(r, row[i])) d->labelled[d->labels++] = i;
    if (!az_ok(r->az)) return false;
    if (d->labels == 0) return az_fail(r->az, AZ_BAD_INPUT, "no row without missing values is labelled");
    if (d->labels == d->n) az_note(r->az, "every row is labelled: the machine's labels are not needed");
    return true;
}

/* ---- chances, clusters, effects, folds ---- */

static bool set_weights(reader *r)
{
    dsl_data *d = r->d;
    const double share = (double)d->labels / (double)d->n;
    double mean = 0;
    d->prob = az_alloc_array(r->az, (size_t)d->n, sizeof *d->prob);
    d->weight = az_alloc_array(r->az, (size_t)d->n, sizeof *d->weight);
    if (!d->prob || !d->weight) return false;
    if (r->prob && r->prob->type == AZ_COLUMN_TEXT) return az_fail(r->az, AZ_BAD_INPUT, "prob: column '%s' holds text", r->prob->name);
    for (int64_t i = 0; i < d->n; i++) {
        const int64_t row = d->original[i];
        d->prob[i] = r->prob ? r->prob->value[row] : r->constant_prob > 0 ? r->constant_prob : share;
        if (isnan(d->prob[i]))
            return az_fail(r->az, AZ_BAD_INPUT, "row %lld: the chance of being labelled ('%s') is missing", (long long)row + 1,
                           r->prob->name);
        if (!(d->prob[i] > 0))
            return az_fail(r->az, AZ_BAD_INPUT, "row %lld: the chance of being labelled is %g; every row must have one above 0",
                           (long long)row + 1, d->prob[i]);
        if (d->prob[i] > 1)
            return az_fail(r->az, AZ_BAD_INPUT, "row %lld: the chance of being labelled is %g, above 1", (long long)row + 1, d->prob[i]);
        mean += d->prob[i] / (double)d->n;
    }
    for (int64_t i = 0; r->o->rescale_prob && i < d->n; i++) d->prob[i] *= share / mean;
    for (int64_t l = 0; l < d->labels; l++) d->weight[d->labelled[l]] = 1 / d->prob[d->labelled[l]];
    return true;
}

/* The levels of a column over the rows that take part, numbered from 0 without gaps. */
static int64_t *levels_of(reader *r, const az_column *given, int64_t *count)
{
    const dsl_data *d = r->d;
    const az_column *column = az_column_categories(r->az, d->table, &d->table->column[column_number(r, given)]);
    int64_t *level = az_alloc_array(r->az, (size_t)d->n, sizeof *level);
    int32_t *number = column ? az_alloc_array(r->az, (size_t)column->levels + 1, sizeof *number) : NULL;
    *count = 0;
    if (!level || !number) return NULL;
    for (int64_t i = 0; i < d->n; i++) {
        int32_t *seen = &number[column->code[i]];
        if (!*seen) *seen = (int32_t)++ * count;
        level[i] = *seen - 1;
    }
    return level;
}

/* A given fold that holds part of a cluster only would predict rows from others of their own cluster. */
static bool clusters_are_whole(reader *r)
{
    const dsl_data *d = r->d;
    int64_t *first = az_alloc_array(r->az, (size_t)d->clusters + 1, sizeof *first); /* its first row, from 1 */
    if (!first) return false;
    for (int64_t i = 0; r->cluster && i < d->n; i++) {
        int64_t *seen = &first[d->cluster[i]];
        if (!*seen) *seen = i + 1;
        if (d->fold[i] == d->fold[*seen - 1]) continue;
        const az_column *cluster = &d->table->column[column_number(r, r->cluster)], *fold = &d->table->column[column_number(r, r->fold)];
        return az_fail(
            r->az, AZ_BAD_INPUT,
            "rows %lld and %lld are of one cluster ('%s' = %s), but in two folds ('%s' = %s and %s): a cluster stays in one fold",
            (long long)d->original[*seen - 1] + 1, (long long)d->original[i] + 1, cluster->name, az_column_text(r->az, cluster, i),
            fold->name, az_column_text(r->az, fold, *seen - 1), az_column_text(r->az, fold, i));
    }
    return true;
}

static bool set_groups(reader *r)
{
    dsl_data *d = r->d;
    d->cluster = r->cluster ? levels_of(r, r->cluster, &d->clusters) : az_alloc_array(r->az, (size_t)d->n, sizeof *d->cluster);
    if (!d->cluster) return false;
    if (!r->cluster) d->clusters = d->n;
    for (int64_t i = 0; !r->cluster && i < d->n; i++) d->cluster[i] = i;
    d->effects = r->effects;
    for (int e = 0; e < r->effects; e++)
        if (!(d->effect[e] = levels_of(r, r->effect[e], &d->effect_levels[e]))) return false;
    d->folds = r->o->folds;
    if (r->fold && (!(d->fold = levels_of(r, r->fold, &d->folds)) || !clusters_are_whole(r))) return false;
    if (d->folds > d->clusters)
        return az_fail(r->az, AZ_BAD_INPUT, "%lld folds cannot be made of %lld %s", (long long)d->folds, (long long)d->clusters,
                       r->cluster ? "clusters" : "rows");
    return true;
}

/* ---- predictors ---- */

static const char *quoted(az_ctx *az, const char *name)
{
    return az_format_text(az, "`%s`", name);
}

static bool set_features(reader *r)
{
    const char *formula = "~ 1";
    for (int i = 0; i < r->surrogates && formula; i++)
        formula = az_format_text(r->az, "%s + %s", formula, quoted(r->az, r->surrogate[i]->name));
    for (int i = 0; i < r->features && formula; i++)
        formula = az_format_text(r->az, "%s + %s", formula, quoted(r->az, r->feature[i]->name));
    const az_design *design = formula ? az_design_new(r->az, formula, r->d->table) : NULL;
    if (!design) return false;
    r->d->features = design->x;
    return true;
}

/* The machine's label for gold column g, in the same numbers. */
static double *surrogate_values(reader *r, int g)
{
    const dsl_data *d = r->d;
    const az_column *gold = r->gold[g], *machine = &d->table->column[column_number(r, r->surrogate[g])];
    if (gold->type != AZ_COLUMN_TEXT && machine->type != AZ_COLUMN_TEXT) return machine->value;
    if (gold->type != machine->type) return NULL;
    double *value = az_alloc_array(r->az, (size_t)d->n, sizeof *value);
    for (int64_t i = 0; value && i < d->n; i++) {
        const char *text = machine->level[machine->code[i]];
        value[i] = strcmp(text, gold->level[1]) == 0;
        if (value[i] == 0 && strcmp(text, gold->level[0]) != 0)
            return az_fail(r->az, AZ_BAD_INPUT, "row %lld: '%s' has the level '%s', which '%s' has not", (long long)d->original[i] + 1,
                           machine->name, text, gold->name);
    }
    return value;
}

dsl_data *dsl_read(az_ctx *az, const dsl_options *options, const az_table *table)
{
    reader r = {.az = az, .o = options, .given = table, .d = az_alloc(az, sizeof *r.d)};
    if (!table || !r.d) return NULL;
    r.d->options = options;
    if (!find_columns(&r) || !check_labeled_column(&r) || !make_numbers(&r) || !choose_rows(&r) || !set_weights(&r) || !set_groups(&r) ||
        !set_features(&r))
        return NULL;
    for (int g = 0; g < r.golds && g < r.surrogates; g++) r.d->surrogate[g] = surrogate_values(&r, g);
    return az_ok(az) ? r.d : NULL;
}

az_table *dsl_replace(az_ctx *az, const az_table *table, const int *column, double *const *values, int count)
{
    az_table *out = table ? az_alloc(az, sizeof *out) : NULL;
    az_column *columns = out ? az_alloc_array(az, (size_t)table->columns + 1, sizeof *columns) : NULL;
    if (!columns) return NULL;
    memcpy(columns, table->column, (size_t)table->columns * sizeof *columns);
    for (int i = 0; i < count; i++) {
        az_column *c = &columns[column[i]];
        *c = (az_column){.name = c->name, .type = AZ_COLUMN_REAL, .value = values[i]};
        for (int64_t row = 0; row < table->rows; row++) c->missing += isnan(values[i][row]);
    }
    *out = *table;
    out->column = columns;
    return out;
}
