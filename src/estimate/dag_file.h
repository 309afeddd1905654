/* dag_file.h - graphs in files. */
#ifndef ADZE_ESTIMATE_DAG_FILE_H
#define ADZE_ESTIMATE_DAG_FILE_H

#include "adze/data.h"

/* Weights [d, d] of a graph on the named variables: a d x d matrix (any file of az_array_read; by name when it has names), or a table of
 * edges whose first two columns are texts, from and to, and whose third, if there is one, the weight (1 otherwise). Fails on names that are
 * not among the variables and on cycles, which it names. */
double *az_dag_read(az_ctx *az, const char *path, const az_table_how *how, int d, const char *const *name);
/* For graphviz. */
const char *az_dag_dot(az_ctx *az, int d, const double *w, const char *const *name);

#endif
