/* completion_model.h - a completed matrix with the names of its rows and columns: predictions, and the file that keeps it. */
#ifndef ADZE_ESTIMATE_COMPLETION_MODEL_H
#define ADZE_ESTIMATE_COMPLETION_MODEL_H

#include "estimate/completion.h"
#include "estimate/effects.h"

#include "adze/method.h"

typedef struct completion_model {
    az_triples places; /* rows, cols and their names; no entries */
    int64_t first;     /* that positions of rows and columns are counted from: 0, or 1 */
    az_tensor *u, *v;  /* [m, k], [n, k] */
    az_effects effects;
    const double *row_entries, *column_entries; /* [m], [n] how many entries were known */
} completion_model;

completion_model *completion_model_new(az_ctx *az, const az_triples *places, const az_entries *known, const az_effects *effects,
                                       const az_completion *fit);
/* row_effect[i] + column_effect[j] + u[i] . v[j] */
double completion_predict(const completion_model *model, int64_t i, int64_t j);

/* Where rows and columns of another file's places lie in the model, -1 = nowhere; by name where they have names, else by number. */
typedef struct completion_places {
    const int64_t *row, *column; /* [places->rows], [places->cols] */
} completion_places;
bool completion_match(az_ctx *az, const completion_model *model, const az_triples *places, const char *path, completion_places *out);
/* A line for each pair of the file, in its order and words: row, column, value, has_data (both have known entries). *nowhere counts the
 * pairs of rows or columns that the model does not have. */
az_table *completion_predict_pairs(az_ctx *az, const completion_model *model, const char *path, const az_estimate_job *job,
                                   az_index_base base, int64_t *nowhere);

/* Into results, and from the file or folder that they were written to. */
void completion_put(az_ctx *az, const completion_model *model, az_results *results);
completion_model *completion_read(az_ctx *az, const char *path);

#endif
