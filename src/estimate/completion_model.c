/* completion_model.c - predictions of a completed matrix, and the file that keeps it. */
#include "estimate/completion_model.h"
#include "estimate/estimate_internal.h"

#include <stdlib.h>
#include <string.h>

enum { FORMAT = 1 };
enum { SET_FORMAT, SET_FIRST, SET_ROW_NAMES, SET_COLUMN_NAMES, SETTINGS };

completion_model *completion_model_new(az_ctx *az, const az_triples *places, const az_entries *known, const az_effects *effects,
                                       const az_completion *fit)
{
    const int64_t m = known->rows.lines, n = known->columns.lines;
    completion_model *out = az_alloc(az, sizeof *out);
    double *rows = az_alloc_array(az, (size_t)m, sizeof *rows), *columns = az_alloc_array(az, (size_t)n, sizeof *columns);
    if (!out || !rows || !columns) return NULL;
    for (int64_t i = 0; i < m; i++) rows[i] = (double)(known->rows.start[i + 1] - known->rows.start[i]);
    for (int64_t j = 0; j < n; j++) columns[j] = (double)(known->columns.start[j + 1] - known->columns.start[j]);
    *out = (completion_model){.places = {.rows = m, .cols = n, .row_name = places->row_name, .col_name = places->col_name},
                              .u = fit->u,
                              .v = fit->v,
                              .effects = *effects,
                              .row_entries = rows,
                              .column_entries = columns};
    return out;
}

double completion_predict(const completion_model *model, int64_t i, int64_t j)
{
    return model->effects.row[i] + model->effects.column[j] + az_completion_value(&(az_completion){.u = model->u, .v = model->v}, i, j);
}

/* ---- places ---- */

typedef struct named {
    const char *name;
    int64_t at;
} named;

static int by_name(const void *a, const void *b)
{
    return strcmp(((const named *)a)->name, ((const named *)b)->name);
}

/* Position of each name of `other` among those of `own`; -1 where it is not. NULL names are their own positions. */
static int64_t *match(az_ctx *az, const char **own, int64_t size, const char **other, int64_t count)
{
    int64_t *at = az_alloc_array(az, (size_t)count, sizeof *at);
    named *sorted = az_alloc_array(az, (size_t)size, sizeof *sorted);
    if (!at || !sorted) return NULL;
    for (int64_t i = 0; own && i < size; i++) sorted[i] = (named){own[i] ? own[i] : "", i};
    if (own) qsort(sorted, (size_t)size, sizeof *sorted, by_name);
    for (int64_t i = 0; i < count; i++) {
        const named wanted = {other && other[i] ? other[i] : "", 0};
        const named *found = own ? bsearch(&wanted, sorted, (size_t)size, sizeof *sorted, by_name) : NULL;
        at[i] = own ? (found ? found->at : -1) : i < size ? i : -1;
    }
    return at;
}

bool completion_match(az_ctx *az, const completion_model *model, const az_triples *places, const char *path, completion_places *out)
{
    if (!places) return false;
    const az_triples *own = &model->places;
    if (!own->row_name != !places->row_name || !own->col_name != !places->col_name)
        return az_fail(az, AZ_BAD_INPUT, "%s numbers its rows and columns, %s names them: give both in the same way",
                       places->row_name ? "the entries" : path, places->row_name ? path : "the entries");
    out->row = match(az, own->row_name, own->rows, places->row_name, places->rows);
    out->column = match(az, own->col_name, own->cols, places->col_name, places->cols);
    return out->row && out->column;
}

static const char *name_of(az_ctx *az, const char **names, int64_t i, int64_t first)
{
    return names ? names[i] : az_format_text(az, "%lld", (long long)(i + first));
}

az_table *completion_predict_pairs(az_ctx *az, const completion_model *model, const char *path, const az_estimate_job *job,
                                   az_index_base base, int64_t *nowhere)
{
    const az_index_base counted = base == AZ_INDEX_AUTO && model->first == 1 ? AZ_INDEX_ONE : base;
    const az_triples *p = az_places_read(az, path, job->how, counted, &model->places);
    completion_places at;
    if (!completion_match(az, model, p, path, &at)) return NULL;
    az_table *table = az_table_new(az, p->count);
    const char **row = az_alloc_array(az, (size_t)p->count, sizeof *row), **column = az_alloc_array(az, (size_t)p->count, sizeof *column);
    double *value = az_alloc_array(az, (size_t)p->count, sizeof *value), *known = az_alloc_array(az, (size_t)p->count, sizeof *known);
    if (!table || !row || !column || !value || !known) return NULL;
    *nowhere = 0;
    for (int64_t e = 0; e < p->count; e++) {
        const int64_t i = at.row[p->row[e]], j = at.column[p->col[e]];
        known[e] = i >= 0 && j >= 0 && model->row_entries[i] > 0 && model->column_entries[j] > 0;
        value[e] = i < 0 || j < 0 ? NAN : completion_predict(model, i, j);
        row[e] = name_of(az, p->row_name, p->row[e], counted == AZ_INDEX_ONE);
        column[e] = name_of(az, p->col_name, p->col[e], counted == AZ_INDEX_ONE);
        *nowhere += i < 0 || j < 0;
    }
    const bool good = az_table_add_text(az, table, "row", row) && az_table_add_text(az, table, "column", column) &&
                      az_table_add(az, table, "value", value) && az_table_add(az, table, "has_data", known);
    return good ? table : NULL;
}

/* ---- the file ---- */

void completion_put(az_ctx *az, const completion_model *model, az_results *results)
{
    const az_triples *p = &model->places;
    const int64_t m = p->rows, n = p->cols, count = SETTINGS;
    const double settings[SETTINGS] = {[SET_FORMAT] = FORMAT,
                                       [SET_FIRST] = (double)model->first,
                                       [SET_ROW_NAMES] = p->row_name != NULL,
                                       [SET_COLUMN_NAMES] = p->col_name != NULL};
    az_results_array(results, "u", model->u, p->row_name, NULL);
    az_results_array(results, "v", model->v, p->col_name, NULL);
    az_results_array(results, "row_effect", az_from(az, AZ_F64, 1, &m, model->effects.row), p->row_name, NULL);
    az_results_array(results, "column_effect", az_from(az, AZ_F64, 1, &n, model->effects.column), p->col_name, NULL);
    az_results_array(results, "row_entries", az_from(az, AZ_F64, 1, &m, model->row_entries), p->row_name, NULL);
    az_results_array(results, "column_entries", az_from(az, AZ_F64, 1, &n, model->column_entries), p->col_name, NULL);
    az_results_array(results, "settings", az_from(az, AZ_F64, 1, &count, settings), NULL, NULL);
    if (p->row_name) az_results_array(results, "row_names", names_tensor(az, p->row_name, m), NULL, NULL);
    if (p->col_name) az_results_array(results, "column_names", names_tensor(az, p->col_name, n), NULL, NULL);
}

/* Numbers of `count` lines. */
static double *read_numbers(az_ctx *az, const model_file *file, const char *what, int64_t count)
{
    az_tensor *x = model_part(az, file, what, 1);
    if (x && x->shape[0] != count)
        return az_fail(az, AZ_BAD_INPUT, "'%s' is no model of %s: '%s' holds %lld numbers for %lld lines", file->path, file->method, what,
                       (long long)x->shape[0], (long long)count);
    return x ? az_f64_mut(x) : NULL;
}

completion_model *completion_read(az_ctx *az, const char *path)
{
    const model_file file = {path, "matrix-completion"};
    const az_tensor *settings = model_part(az, &file, "settings", 1);
    if (!settings) return NULL;
    if (az_count(settings) != SETTINGS || az_item(settings, SET_FORMAT) != FORMAT)
        return az_fail(az, AZ_BAD_INPUT, "'%s' is no model of matrix-completion that this version reads", path);
    completion_model *out = az_alloc(az, sizeof *out);
    az_tensor *u = model_part(az, &file, "u", 2), *v = u ? model_part(az, &file, "v", 2) : NULL;
    if (!out || !v) return NULL;
    if (u->shape[1] != v->shape[1])
        return az_fail(az, AZ_BAD_INPUT, "'%s' is no model of matrix-completion: its arrays do not belong together", path);
    const int64_t m = u->shape[0], n = v->shape[0];
    int64_t found;
    *out = (completion_model){.places = {.rows = m, .cols = n}, .first = az_item(settings, SET_FIRST) == 1, .u = u, .v = v};
    if (az_item(settings, SET_ROW_NAMES) == 1) out->places.row_name = model_names(az, &file, "row_names", m, &found);
    if (az_item(settings, SET_COLUMN_NAMES) == 1) out->places.col_name = model_names(az, &file, "column_names", n, &found);
    out->effects.row = read_numbers(az, &file, "row_effect", m);
    out->effects.column = read_numbers(az, &file, "column_effect", n);
    out->row_entries = read_numbers(az, &file, "row_entries", m);
    out->column_entries = read_numbers(az, &file, "column_entries", n);
    return az_ok(az) ? out : NULL;
}
