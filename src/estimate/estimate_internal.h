/* estimate_internal.h - what methods of the family estimate share. */
#ifndef ADZE_ESTIMATE_INTERNAL_H
#define ADZE_ESTIMATE_INTERNAL_H

#include "adze/linalg.h"
#include "adze/method.h"

#include <math.h>

/* Fills the started row with estimate, se, low, high, z and p (two-sided), by the normal law. */
void report_normal(az_report *report, double estimate, double se, double confidence);
/* The median of n values, which are reordered; the mean of the middle two of an even number. */
double median_of(double *values, int64_t n);
/* The whole numbers of a list such as "600,800,1000". */
bool read_counts(az_ctx *az, const char *list, const char *what, int64_t **values, int *count);

/* Fails where squares of such numbers, or squares of these, cannot be held; largest: of their magnitudes. */
bool check_size(az_ctx *az, const char *what, double largest);
/* Each column of x [n, d] has finite numbers of a size that can be squared, and not the same one in each row. */
bool check_samples(az_ctx *az, const char *const *name, const double *x, int64_t n, int d);

/* What a fit wrote with -o, a file or a folder that az_results_read knows, to be used again. */
typedef struct model_file {
    const char *path, *method; /* the name of the method, for errors */
} model_file;
/* Its array of that name, of that many axes. */
az_tensor *model_part(az_ctx *az, const model_file *file, const char *name, int rank);
/* Names as one array of bytes, each ended by a zero; and back, `count` of them unless it is 0; *found tells how many there are. */
az_tensor *names_tensor(az_ctx *az, const char *const *name, int64_t count);
const char **model_names(az_ctx *az, const model_file *file, const char *what, int64_t count, int64_t *found);

/* What may run beside the chosen one for comparison. */
typedef struct alternatives {
    const char *what;        /* "method" */
    const char *const *name; /* [count] */
    int count, chosen;
} alternatives;
/* beside=a+b+c, or all, or nothing: which of them, the chosen one left out. */
bool read_beside(az_ctx *az, const char *beside, const alternatives *there, bool *wanted);

#endif
