/* dag_file.c - reading a graph as a matrix or as a list of edges, and writing it for graphviz. */
#include "estimate/dag_file.h"
#include "estimate/dag.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static int find(az_ctx *az, int d, const char *const *name, const char *wanted, const char *path)
{
    for (int i = 0; i < d; i++)
        if (strcmp(name[i], wanted) == 0) return i;
    const char *near = az_nearest(wanted, name, d);
    az_fail(az, AZ_BAD_INPUT, "%s: '%s' is not among the variables of the samples%s%s%s", path, wanted, near ? "; is it '" : "",
            near ? near : "", near ? "'?" : "");
    return -1;
}

/* A table of edges: two texts, and perhaps a weight. */
static bool is_edge_list(const az_table *table)
{
    return (table->columns == 2 || table->columns == 3) && table->column[0].type == AZ_COLUMN_TEXT &&
           table->column[1].type == AZ_COLUMN_TEXT && (table->columns == 2 || table->column[2].type != AZ_COLUMN_TEXT);
}

static bool read_edges(az_ctx *az, const az_table *table, int d, const char *const *name, double *w)
{
    for (int64_t row = 0; row < table->rows; row++) {
        const char *from = az_column_text(az, &table->column[0], row), *to = az_column_text(az, &table->column[1], row);
        if (!from || !to) return az_fail(az, AZ_BAD_INPUT, "%s: edge %lld lacks an end", table->path, (long long)row + 1);
        const int i = find(az, d, name, from, table->path), j = i < 0 ? -1 : find(az, d, name, to, table->path);
        if (j < 0) return false;
        const double weight = table->columns == 3 ? table->column[2].value[row] : 1;
        if (!(weight == weight)) return az_fail(az, AZ_BAD_INPUT, "%s: edge %lld has no weight", table->path, (long long)row + 1);
        w[i * d + j] = weight;
    }
    return true;
}

static bool read_matrix(az_ctx *az, const char *path, const az_table_how *how, int d, const char *const *name, double *w)
{
    const az_array *array = az_array_read(az, path, how, false);
    if (!array) return false;
    const az_tensor *m = array->value;
    if (m->rank != 2 || m->shape[0] != d || m->shape[1] != d || array->complex)
        return az_fail(az, AZ_BAD_INPUT, "%s is %s: the weights of a graph of %d variables are a %d x %d matrix", path,
                       az_shape_text(az, m), d, d, d);
    const bool named = array->row_name && array->column_name;
    for (int i = 0; i < d; i++) {
        for (int j = 0; j < d; j++) {
            const int row = named ? find(az, d, name, array->row_name[i], path) : i;
            const int column = named ? find(az, d, name, array->column_name[j], path) : j;
            if (row < 0 || column < 0) return false;
            w[row * d + column] = az_item(m, (int64_t)i * d + j);
        }
    }
    return true;
}

const char *az_dag_cycle(az_ctx *az, int d, const double *w, const char *const *name)
{
    int *order = az_alloc_array(az, (size_t)d, sizeof *order), cycle = 0;
    if (!order || az_dag_order(az, d, w, order, &cycle)) return NULL;
    const char *text = name[order[0]];
    for (int i = 1; text && i <= cycle; i++) text = az_format_text(az, "%s -> %s", text, name[order[i % cycle]]);
    return text;
}

double *az_dag_read(az_ctx *az, const char *path, const az_table_how *how, int d, const char *const *name)
{
    double *w = az_alloc_array(az, (size_t)d * (size_t)d, sizeof *w);
    az_scope_push(az);
    const az_table *table = az_table_read(az, path, how);
    const bool done = w && table && (is_edge_list(table) ? read_edges(az, table, d, name, w) : read_matrix(az, path, how, d, name, w));
    const char *cycle = done ? az_dag_cycle(az, d, w, name) : NULL;
    if (cycle) az_fail(az, AZ_BAD_INPUT, "%s is no acyclic graph: %s", path, cycle);
    az_scope_pop(az);
    return az_ok(az) ? w : NULL;
}

double *az_dag_read_noise(az_ctx *az, const char *path, const az_table_how *how, int d, const char *const *name)
{
    double *sigma = az_alloc_array(az, (size_t)d, sizeof *sigma);
    const az_array *array = az_array_read(az, path, how, false);
    if (!sigma || !array) return NULL;
    const az_tensor *m = array->value;
    const bool vector = m->rank == 1 || (m->rank == 2 && (m->shape[0] == 1 || m->shape[1] == 1));
    if (!vector || az_count(m) != d || array->complex)
        return az_fail(az, AZ_BAD_INPUT, "%s is %s: %d noise levels are wanted, one for each variable", path, az_shape_text(az, m), d);
    for (int i = 0; i < d; i++) {
        const int at = array->row_name && m->shape[0] == d ? find(az, d, name, array->row_name[i], path) : i;
        const double value = az_item(m, i);
        if (at < 0) return NULL;
        if (!(value > 0 && isfinite(value)))
            return az_fail(az, AZ_BAD_INPUT, "%s: the noise level of '%s' is %g; it must be above 0", path, name[at], value);
        if (sigma[at] != 0) return az_fail(az, AZ_BAD_INPUT, "%s: '%s' is there twice", path, name[at]);
        sigma[at] = value;
    }
    return sigma;
}

double az_dag_noise_error(int d, const double *sigma, const double *truth)
{
    double error = 0, norm = 0;
    for (int j = 0; j < d; j++) error += (sigma[j] - truth[j]) * (sigma[j] - truth[j]), norm += truth[j] * truth[j];
    return sqrt(error / norm);
}

static int by_name(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

bool az_dag_check_names(az_ctx *az, const char *path, int d, const char *const *name)
{
    const char **sorted = az_alloc_array(az, (size_t)d + 1, sizeof *sorted);
    if (!sorted) return false;
    memcpy(sorted, name, (size_t)d * sizeof *sorted);
    qsort(sorted, (size_t)d, sizeof *sorted, by_name);
    for (int j = 1; j < d; j++)
        if (strcmp(sorted[j - 1], sorted[j]) == 0)
            return az_fail(az, AZ_BAD_INPUT, "%s: two variables are called '%s': rename one, or leave it out", path, sorted[j]);
    return true;
}

int64_t az_dag_cut(az_ctx *az, int d, double *w, const char *const *name, const char *what, az_report *report)
{
    const size_t cells = (size_t)d * (size_t)d;
    int64_t removed = 0;
    az_scope_push(az);
    const char *cycle = az_dag_cycle(az, d, w, name);
    double *before = cycle ? az_alloc_array(az, cells, sizeof *before) : NULL;
    if (before) {
        memcpy(before, w, cells * sizeof *w);
        removed = az_dag_prune(az, d, w, 0);
        az_note(az, "%s has cycles, such as %s: its weakest edges were taken out one by one until none was left, %lld in all", what, cycle,
                (long long)removed);
    }
    for (size_t i = 0; before && i < cells; i++) {
        if (before[i] == w[i]) continue;
        az_report_row(report, "cut");
        az_report_text(report, "graph", what);
        az_report_text(report, "from", name[i / (size_t)d]);
        az_report_text(report, "to", name[i % (size_t)d]);
        az_report_number(report, "weight", before[i], "");
    }
    az_scope_pop(az);
    return removed;
}

/* The name in double quotes. */
static const char *quoted(az_ctx *az, const char *name)
{
    char *out = az_alloc(az, 2 * strlen(name) + 3), *to = out;
    if (!out) return "";
    *to++ = '"';
    for (; *name; name++) {
        if (*name == '"' || *name == '\\') *to++ = '\\';
        *to++ = *name;
    }
    *to++ = '"';
    return out;
}

const char *az_dag_dot(az_ctx *az, int d, const double *w, const char *const *name)
{
    size_t size = 0;
    char *text = NULL;
    FILE *out = open_memstream(&text, &size);
    if (!out) return az_fail(az, AZ_NO_MEMORY, "out of memory for a graph of %d variables", d);
    fputs("digraph adze {\n", out);
    for (int i = 0; i < d; i++) fprintf(out, "  %s;\n", quoted(az, name[i]));
    for (int i = 0; i < d * d; i++)
        if (w[i] != 0) fprintf(out, "  %s -> %s [label=\"%.3g\"];\n", quoted(az, name[i / d]), quoted(az, name[i % d]), w[i]);
    fputs("}\n", out);
    fclose(out);
    const char *kept = az_strdup(az, text);
    free(text);
    return kept;
}
