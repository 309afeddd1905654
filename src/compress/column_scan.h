/* column_scan.h - what the features that linear layers read are like on calibration text: how large, how often, on which side. */
#ifndef ADZE_COMPRESS_COLUMN_SCAN_H
#define ADZE_COMPRESS_COLUMN_SCAN_H

#include "compress/compress_internal.h"

enum { AZ_SCAN_BINS = 256, AZ_SCAN_BINS_PER_OCTAVE = 32 };

typedef struct az_column_scan {
    int64_t cols, tokens, sequences;
    double magnitude;    /* from which on a value is large */
    float *most;         /* [cols] largest magnitude */
    int64_t *large;      /* [cols] positions with a large value */
    int64_t *positive;   /* [cols] of these, the positive ones */
    uint32_t *histogram; /* [cols, AZ_SCAN_BINS] of log2(|x| / magnitude) of the large ones */
    double *middle;      /* [cols] sum over sequences of (largest + smallest) / 2 */
} az_column_scan;

/* Runs the model on the sequences, one at a time, and shows `see` (as a hook) what layer i of az_lm_linears reads, where user[i] is not
 * NULL. */
typedef az_tensor *az_watcher(az_ctx *az, const char *site, az_tensor *x, void *user);
bool az_watch_inputs(az_ctx *az, az_lm *lm, const az_lm_sequences *sequences, az_watcher *see, void *const *user);
/* For a watcher: x as contiguous f32; fails where it is not finite. */
az_tensor *az_watched_rows(az_ctx *az, const char *site, az_tensor *x);
/* Runs the model on the sequences and scans what each of its n linear layers (az_lm_linears) reads: scan [n], in the current scope. */
bool az_scan_columns(az_ctx *az, az_lm *lm, const az_lm_sequences *sequences, double magnitude, az_column_scan **scan);
/* The share q of a column's large values lies below it, to 2 %. */
double az_scan_quantile(const az_column_scan *scan, int64_t column, double q);

#endif
