/* sdl_read.c - samples from tables, arrays, sparse matrices and documents, with labels and covariates from columns or files of their own.
 */
#include "estimate/sdl.h"

#include <jansson.h>
#include <string.h>

/* ---- files as tables ---- */

static bool ends_with(const char *path, const char *ending)
{
    size_t length = strlen(path);
    const size_t n = strlen(ending);
    if (length > 3 && strcmp(path + length - 3, ".gz") == 0) length -= 3;
    return length >= n && strncmp(path + length - n, ending, n) == 0;
}

static bool is_json_lines(const char *path)
{
    return ends_with(path, ".jsonl") || ends_with(path, ".json");
}

/* One field of all lines: numbers where each has one, texts otherwise. */
static bool add_field(az_ctx *az, az_table *table, const az_json_lines *lines, const char *field)
{
    double *number = az_alloc_array(az, (size_t)lines->count + 1, sizeof *number);
    const char **text = az_alloc_array(az, (size_t)lines->count + 1, sizeof *text);
    bool numbers = true;
    for (int64_t i = 0; number && text && i < lines->count; i++) {
        const json_t *value = json_object_get(lines->item[i].object, field);
        if (!value)
            return az_fail(az, AZ_BAD_INPUT, "'%s', line %lld: no field '%s'", lines->path, (long long)lines->item[i].number, field);
        numbers = numbers && (json_is_number(value) || json_is_boolean(value));
        number[i] = json_is_boolean(value) ? json_is_true(value) : json_number_value(value);
        text[i] = json_is_string(value)    ? json_string_value(value)
                  : json_is_boolean(value) ? (json_is_true(value) ? "true" : "false")
                  : json_is_number(value)  ? az_format_text(az, "%.17g", json_number_value(value))
                                           : NULL;
    }
    if (!az_ok(az)) return false;
    return numbers ? az_table_add(az, table, field, number) : az_table_add_text(az, table, field, text);
}

static az_table *table_of_lines(az_ctx *az, const sdl_reading *how, const char *path, const char *text_field)
{
    const az_json_lines *lines = az_json_lines_read(az, path, NULL, false);
    az_table *table = lines ? az_table_new(az, lines->count) : NULL;
    if (!table || !add_field(az, table, lines, text_field)) return NULL;
    if (*how->target && !add_field(az, table, lines, how->target)) return NULL;
    char *list = az_strdup(az, how->aux), *rest = list;
    for (char *field; list && (field = strtok_r(rest, ",+ ", &rest));)
        if (!add_field(az, table, lines, field)) return NULL;
    return az_ok(az) ? table : NULL;
}

static az_table *table_of_documents(az_ctx *az, const char *path)
{
    const az_documents *documents = az_documents_read(az, path);
    az_table *table = documents ? az_table_new(az, documents->count) : NULL;
    const char **text = table ? az_alloc_array(az, (size_t)documents->count, sizeof *text) : NULL;
    for (int64_t i = 0; text && i < documents->count; i++)
        text[i] = az_format_text(az, "%.*s", (int)documents->item[i].length, documents->item[i].text);
    return text && az_table_add_text(az, table, "text", text) ? table : NULL;
}

/* ---- data ---- */

/* Columns of a table that are no data. */
typedef struct table_roles {
    const az_column *target, **aux; /* target NULL = none; [auxes] */
    int auxes;
} table_roles;

/* x1, x2, ... where there are no names. */
static const char **numbered(az_ctx *az, int64_t count)
{
    const char **names = az_alloc_array(az, (size_t)count + 1, sizeof *names);
    for (int64_t i = 0; names && i < count; i++) names[i] = az_format_text(az, "x%lld", (long long)i + 1);
    return names;
}

static bool check_finite(az_ctx *az, const az_tensor *x, const char *const *name, const char *path)
{
    const int64_t bad = az_first_nonfinite(x);
    if (bad < 0) return true;
    return az_fail(az, AZ_BAD_INPUT, "'%s', row %lld: '%s' is missing or not finite", path, (long long)(bad / x->shape[1]) + 1,
                   name[bad % x->shape[1]]);
}

static bool set_words(az_ctx *az, const sdl_reading *how, const az_column *column, int64_t rows, const sdl_model *known, sdl_data *out)
{
    az_documents documents = {.count = rows, .item = az_alloc_array(az, (size_t)rows, sizeof *documents.item)};
    if (!documents.item) return false;
    for (int64_t i = 0; i < rows; i++) {
        const char *text = az_column_text(az, column, i);
        documents.item[i] = (az_document){.text = text ? text : "", .length = text ? strlen(text) : 0};
    }
    const az_word_columns given = {
        .count = known ? known->p : 0, .word = known ? known->feature : NULL, .idf = known ? (double *)known->idf : NULL};
    const az_word_columns *words = known ? &given : az_word_columns_new(az, &documents, &how->words);
    out->samples.x = az_word_rows(az, words, &documents, known ? known->tfidf : how->tfidf);
    if (!out->samples.x) return false;
    out->feature = words->word, out->idf = words->idf;
    return true;
}

static int64_t place_of(const char *const *names, int64_t count, const char *name)
{
    for (int64_t i = 0; i < count; i++)
        if (strcmp(names[i], name) == 0) return i;
    return -1;
}

typedef struct name_list {
    const char *const *name; /* [count] */
    int64_t count;
} name_list;

/* Where each column of the model is among those of other data, which may stand in another order; *order stays NULL where the data name
 * none of them: then places count. */
static bool match_columns(az_ctx *az, name_list wanted, name_list given, const char *path, int64_t **order)
{
    const char *absent = NULL;
    int64_t found = 0, *at = az_alloc_array(az, (size_t)wanted.count + 1, sizeof *at);
    for (int64_t f = 0; at && f < wanted.count; f++) {
        const bool in_place = f < given.count && strcmp(given.name[f], wanted.name[f]) == 0;
        at[f] = in_place ? f : place_of(given.name, given.count, wanted.name[f]);
        found += at[f] >= 0;
        if (at[f] < 0 && !absent) absent = wanted.name[f];
    }
    if (found > 0 && absent) return az_fail(az, AZ_BAD_INPUT, "'%s' has no column '%s', which the model was learnt from", path, absent);
    if (found > 0) *order = at;
    return at != NULL;
}

/* The columns that are neither target nor covariates; of a known model, its features. */
static bool set_columns(az_ctx *az, const az_table *table, const table_roles *roles, const sdl_model *known, sdl_data *out)
{
    const az_column **kept = az_alloc_array(az, (size_t)table->columns + 1, sizeof *kept);
    int count = 0;
    out->feature = az_alloc_array(az, (size_t)table->columns + 1, sizeof *out->feature);
    for (int c = 0; kept && out->feature && c < table->columns; c++) {
        const az_column *column = &table->column[c];
        bool other = column == roles->target;
        for (int a = 0; a < roles->auxes; a++) other = other || column == roles->aux[a];
        if (other) continue;
        out->feature[count] = column->name;
        kept[count++] = column;
    }
    if (!az_ok(az)) return false;
    const char *path = table->path ? table->path : "data";
    if (count == 0) return az_fail(az, AZ_BAD_INPUT, "'%s': no column is left for the data", path);
    int64_t *order = NULL;
    if (known && !match_columns(az, (name_list){known->feature, known->p}, (name_list){out->feature, count}, path, &order)) return false;
    if (order) {
        const az_column **of_model = az_alloc_array(az, (size_t)known->p, sizeof *of_model);
        for (int64_t f = 0; of_model && f < known->p; f++) of_model[f] = kept[order[f]];
        kept = of_model, count = (int)known->p, out->feature = known->feature;
    }
    const az_tensor *x = kept ? az_table_matrix(az, table, kept, count) : NULL;
    if (!x || !check_finite(az, x, out->feature, path)) return false;
    out->samples.x = az_matrix_dense(az, x);
    return out->samples.x != NULL;
}

static bool set_triples(az_ctx *az, const sdl_reading *how, const char *path, sdl_data *out)
{
    const az_triples *t = az_triples_read(az, path, how->how, AZ_INDEX_AUTO);
    int64_t *start = t ? az_alloc_array(az, (size_t)t->rows + 2, sizeof *start) : NULL;
    if (!start) return false;
    for (int64_t e = 0; e < t->count; e++) {
        if (!isfinite(t->value[e])) return az_fail(az, AZ_BAD_INPUT, "'%s': entry %lld is not finite", path, (long long)e + 1);
        start[t->row[e] + 1]++;
    }
    for (int64_t i = 0; i < t->rows; i++) start[i + 1] += start[i];
    const az_sparse_lines lines = {start, t->col, t->value};
    az_matrix *x = az_matrix_sparse(az, t->rows, t->cols, &lines);
    if (x && how->samples_are_columns) x = az_matrix_sparse(az, t->cols, t->rows, &x->by_column);
    out->samples.x = x;
    if (x) out->feature = numbered(az, x->columns);
    return x && out->feature;
}

/* The features of the model out of the columns of x. */
static const az_tensor *pick_columns(az_ctx *az, const az_tensor *x, const int64_t *order, int64_t p)
{
    az_tensor *out = az_new2(az, AZ_F64, x->shape[0], p);
    double *to = az_f64_mut(out);
    for (int64_t i = 0; to && i < x->shape[0]; i++)
        for (int64_t f = 0; f < p; f++) to[i * p + f] = az_f64(x)[i * x->shape[1] + order[f]];
    return out;
}

static bool set_array(az_ctx *az, const sdl_reading *how, const char *path, const sdl_model *known, sdl_data *out)
{
    const az_array *array = az_array_read(az, path, how->how, true);
    if (!array) return false;
    if (array->value->rank != 2)
        return az_fail(az, AZ_BAD_INPUT, "'%s' has the shape %s; a matrix is wanted", path, az_shape_text(az, array->value));
    const az_tensor *x = how->samples_are_columns ? az_contiguous(az, az_transpose(az, array->value)) : array->value;
    const char **names = how->samples_are_columns ? array->row_name : array->column_name;
    int64_t *order = NULL;
    if (!x) return false;
    if (known && names && !match_columns(az, (name_list){known->feature, known->p}, (name_list){names, x->shape[1]}, path, &order))
        return false;
    if (order) x = pick_columns(az, x, order, known->p), names = known->feature;
    if (!x) return false;
    out->feature = names ? names : numbered(az, x->shape[1]);
    if (!out->feature || !check_finite(az, x, out->feature, path)) return false;
    out->samples.x = az_matrix_dense(az, x);
    return out->samples.x != NULL;
}

/* ---- labels ---- */

static int32_t class_named(const sdl_model *known, const char *name)
{
    for (int32_t a = 0; a < known->classes; a++)
        if (strcmp(known->class_name[a], name) == 0) return a;
    return -1;
}

static bool set_labels(az_ctx *az, const az_table *table, const az_column *column, const sdl_model *known, sdl_data *out)
{
    enum { MOST_CLASSES = 1000 };
    const az_column *c = az_column_categories(az, table, column);
    int32_t *label = c ? az_alloc_array(az, (size_t)table->rows + 1, sizeof *label) : NULL;
    if (!label) return false;
    if (table->rows != out->samples.n)
        return az_fail(az, AZ_BAD_INPUT, "%lld labels for %lld samples", (long long)table->rows, (long long)out->samples.n);
    if (!known && (c->levels < 2 || c->levels > MOST_CLASSES))
        return az_fail(az, AZ_BAD_INPUT, "'%s' has %d different values; labels are of 2 to %d classes", column->name, (int)c->levels,
                       MOST_CLASSES);
    if (!known && c->levels > table->rows / 2)
        return az_fail(az, AZ_BAD_INPUT, "'%s' has %d different values in %lld rows: labels are classes, which several samples share",
                       column->name, (int)c->levels, (long long)table->rows);
    for (int64_t i = 0; i < table->rows; i++) {
        if (c->code[i] < 0) return az_fail(az, AZ_BAD_INPUT, "row %lld: '%s' is missing", (long long)i + 1, column->name);
        label[i] = known ? class_named(known, c->level[c->code[i]]) : c->code[i];
        if (label[i] < 0)
            return az_fail(az, AZ_BAD_INPUT, "row %lld: '%s' is '%s', a class that the training samples had not", (long long)i + 1,
                           column->name, c->level[c->code[i]]);
    }
    out->samples.label = label;
    out->samples.classes = known ? known->classes : c->levels;
    out->class_name = known ? known->class_name : c->level;
    return true;
}

static const az_column *find_column(az_ctx *az, const az_table *table, const char *name)
{
    return *name ? az_table_find(az, table, name) : NULL;
}

static bool read_labels(az_ctx *az, const sdl_reading *how, const char *path, const sdl_model *known, sdl_data *out)
{
    const az_table *table = az_table_read(az, path, how->how);
    if (!table) return false;
    if (table->columns != 1) return az_fail(az, AZ_BAD_INPUT, "'%s' has %d columns; labels are one column", path, table->columns);
    return set_labels(az, table, &table->column[0], known, out);
}

/* ---- covariates ---- */

static bool set_covariates(az_ctx *az, const az_table *table, const az_column *const *column, int count, const char *path, sdl_data *out)
{
    const int64_t n = out->samples.n, q = count + 1;
    out->covariate = az_alloc_array(az, (size_t)q, sizeof *out->covariate);
    az_tensor *z = az_new2(az, AZ_F64, n, q);
    if (table && count > 0 && table->rows != n)
        return az_fail(az, AZ_BAD_INPUT, "'%s' has %lld rows of %d covariates, there are %lld samples%s", path, (long long)table->rows,
                       count, (long long)n, count == n ? ": turn it, a sample is a row" : ": each wants its row");
    const az_tensor *from = count > 0 ? az_table_matrix(az, table, column, count) : NULL;
    if (count > 0 && !from) az_fail_context(az, "covariates of '%s'", path);
    if (!out->covariate || !z || (count > 0 && !from)) return false;
    out->covariate[0] = "(Intercept)";
    for (int c = 0; c < count; c++) out->covariate[c + 1] = column[c]->name;
    if (from && !check_finite(az, from, out->covariate + 1, path)) return false;
    for (int64_t i = 0; i < n; i++) {
        az_f64_mut(z)[i * q] = 1;
        for (int c = 0; c < count; c++) az_f64_mut(z)[i * q + c + 1] = az_f64(from)[i * count + c];
    }
    out->samples.z = z, out->samples.q = q;
    return true;
}

static bool read_covariates(az_ctx *az, const sdl_reading *how, const char *path, const sdl_model *known, sdl_data *out)
{
    const az_table *table = az_table_read(az, path, how->how);
    const az_column **column = table ? az_alloc_array(az, (size_t)table->columns + 1, sizeof *column) : NULL;
    const char **name = table ? az_alloc_array(az, (size_t)table->columns + 1, sizeof *name) : NULL;
    int64_t *order = NULL;
    if (!column || !name) return false;
    for (int c = 0; c < table->columns; c++) column[c] = &table->column[c], name[c] = column[c]->name;
    const int count = known ? (int)known->q - 1 : table->columns;
    if (known && !match_columns(az, (name_list){known->covariate + 1, count}, (name_list){name, table->columns}, path, &order))
        return false;
    if (!order) return set_covariates(az, table, column, table->columns, path, out);
    const az_column **of_model = az_alloc_array(az, (size_t)count + 1, sizeof *of_model);
    for (int c = 0; of_model && c < count; c++) of_model[c] = column[order[c]];
    return of_model && set_covariates(az, table, of_model, count, path, out);
}

/* ---- everything ---- */

/* The samples, and what a table has of labels and covariates. */
static bool read_table(az_ctx *az, const sdl_reading *how, const sdl_files *files, const sdl_model *known, sdl_data *out)
{
    const bool lines = is_json_lines(files->data), documents = ends_with(files->data, ".txt");
    const char *text = *how->text ? how->text : "text";
    const az_table *table = lines       ? table_of_lines(az, how, files->data, text)
                            : documents ? table_of_documents(az, files->data)
                                        : az_table_read(az, files->data, how->how);
    if (!table) return false;
    const bool need_target = *how->target && (!known || !files->labels);
    const az_column *target = NULL, **aux = NULL, *words = NULL;
    for (int c = 0; *how->target && c < table->columns; c++)
        if (strcmp(table->column[c].name, how->target) == 0) target = &table->column[c];
    if (need_target && !target && !known) return find_column(az, table, how->target) && false; /* the error proposes a name */
    int auxes = 0;
    if (*how->aux && !files->aux && !az_table_columns(az, table, how->aux, &aux, &auxes)) return false;
    if (lines || documents || *how->text) words = az_table_find(az, table, text);
    if ((lines || documents || *how->text) && !words) return false;
    const table_roles roles = {target, aux, auxes};
    if (words ? !set_words(az, how, words, table->rows, known, out) : !set_columns(az, table, &roles, known, out)) return false;
    out->samples.n = out->samples.x->rows;
    if (target && !set_labels(az, table, target, known, out)) return false;
    return files->aux || set_covariates(az, table, aux, auxes, files->data, out);
}

static bool name_features(az_ctx *az, const char *path, sdl_data *out)
{
    char *text = az_read_file(az, path, NULL), *rest = text;
    const char **names = az_alloc_array(az, (size_t)out->samples.x->columns + 1, sizeof *names);
    int64_t count = 0;
    if (!text || !names) return false;
    for (char *line; (line = strsep(&rest, "\n"));) {
        line[strcspn(line, "\r")] = '\0';
        if (!*line && !rest) break;
        if (count < out->samples.x->columns) names[count] = line;
        count++;
    }
    if (count != out->samples.x->columns)
        return az_fail(az, AZ_BAD_INPUT, "'%s' names %lld features, the data have %lld", path, (long long)count,
                       (long long)out->samples.x->columns);
    out->feature = names;
    return true;
}

static bool check_known(az_ctx *az, const sdl_files *files, const sdl_model *known, const sdl_data *out)
{
    if (out->samples.x->columns != known->p)
        return az_fail(az, AZ_BAD_INPUT, "'%s' has %lld features, the model %lld", files->data, (long long)out->samples.x->columns,
                       (long long)known->p);
    if (out->samples.q != known->q)
        return az_fail(az, AZ_BAD_INPUT, "'%s' has %lld covariates, the model %lld%s%s%s%s", files->aux ? files->aux : files->data,
                       (long long)out->samples.q - 1, (long long)known->q - 1, known->q > 1 ? ", '" : "",
                       known->q > 1 ? known->covariate[1] : "",
                       known->q > 2   ? "' and on"
                       : known->q > 1 ? "'"
                                      : "",
                       known->q > 1 && !files->aux ? ": -d aux=FILE, or aux=COLUMNS of the data" : "");
    if ((known->idf != NULL) != (out->idf != NULL))
        return az_fail(az, AZ_BAD_INPUT, "the model is of %s, '%s' is not", known->idf ? "documents" : "numbers", files->data);
    return true;
}

bool sdl_read(az_ctx *az, const sdl_reading *how, const sdl_files *files, const sdl_model *known, sdl_data *out)
{
    *out = (sdl_data){0};
    const bool sparse = ends_with(files->data, ".mtx");
    const bool text = is_json_lines(files->data) || ends_with(files->data, ".txt") || *how->text;
    /* a model finds its features among a table's columns, whatever else stands there */
    const bool whole = sparse || how->samples_are_columns || !known;
    const bool plain = !text && !*how->aux && (sparse || (!*how->target && whole));
    if (how->samples_are_columns && !plain)
        return az_fail(az, AZ_BAD_INPUT,
                       "samples=columns wants the data alone in their file: labels and covariates with -d labels=, -d aux=");
    const bool read = plain ? (sparse ? set_triples(az, how, files->data, out) : set_array(az, how, files->data, known, out))
                            : read_table(az, how, files, known, out);
    if (!read) return false;
    out->samples.n = out->samples.x->rows, out->samples.p = out->samples.x->columns;
    if (files->labels && !read_labels(az, how, files->labels, known, out)) return false;
    if (files->aux && !read_covariates(az, how, files->aux, known, out)) return false;
    if (!out->samples.z && !set_covariates(az, NULL, NULL, 0, files->data, out)) return false;
    if (files->vocabulary && !name_features(az, files->vocabulary, out)) return false;
    if (known) {
        if (!check_known(az, files, known, out)) return false;
        out->samples.classes = known->classes, out->class_name = known->class_name;
        return true;
    }
    if (!out->samples.label) return az_fail(az, AZ_BAD_INPUT, "labels are missing: target=COLUMN, or -d labels=FILE");
    return az_ok(az);
}

bool sdl_pick(az_ctx *az, const sdl_data *all, const int64_t *row, int64_t count, sdl_data *out)
{
    *out = *all;
    const sdl_samples *from = &all->samples;
    const az_matrix z = {.rows = from->n, .columns = from->q, .dense = from->z}, *picked = az_matrix_rows(az, &z, row, count);
    int32_t *label = az_alloc_array(az, (size_t)count + 1, sizeof *label);
    out->samples.x = az_matrix_rows(az, from->x, row, count);
    if (!picked || !label || !out->samples.x) return false;
    for (int64_t i = 0; i < count; i++) label[i] = from->label[row[i]];
    out->samples.n = count, out->samples.z = picked->dense, out->samples.label = label;
    return true;
}
