/* dag_file.h - graphs in files. */
#ifndef ADZE_ESTIMATE_DAG_FILE_H
#define ADZE_ESTIMATE_DAG_FILE_H

#include "adze/data.h"

/* Weights [d, d] of a graph on the named variables: a d x d matrix (any file of az_array_read; by name when it has names), or a table of
 * edges whose first two columns are texts, from and to, and whose third, if there is one, the weight (1 otherwise). Fails on names that are
 * not among the variables and on cycles, which it names. */
double *az_dag_read(az_ctx *az, const char *path, const az_table_how *how, int d, const char *const *name);
/* Noise levels [d] of the named variables: d numbers above 0 (by name when the file has names of rows). */
double *az_dag_read_noise(az_ctx *az, const char *path, const az_table_how *how, int d, const char *const *name);
/* No two variables may have one name. */
bool az_dag_check_names(az_ctx *az, const char *path, int d, const char *const *name);
/* Where w has cycles, takes edges out, weakest first, until there is none: a note names one of the cycles, and the section "cut" of the
 * report has a row for each edge. `what` names the graph. Returns how many edges went. */
int64_t az_dag_cut(az_ctx *az, int d, double *w, const char *const *name, const char *what, az_report *report);
/* |sigma - truth| / |truth| (Euclidean). */
double az_dag_noise_error(int d, const double *sigma, const double *truth);
/* "a -> b -> a", a cycle of the graph, in the current scope; NULL of an acyclic one. */
const char *az_dag_cycle(az_ctx *az, int d, const double *w, const char *const *name);
/* For graphviz. */
const char *az_dag_dot(az_ctx *az, int d, const double *w, const char *const *name);

#endif
