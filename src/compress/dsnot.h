/* dsnot.h - DSnoT's repair of one layer's mask. */
#ifndef ADZE_COMPRESS_DSNOT_H
#define ADZE_COMPRESS_DSNOT_H

#include "compress/compress_internal.h"

typedef struct az_dsnot_settings {
    int64_t cycles;     /* T: swaps of a row at most; -1 = 0.0122 of its inputs, 1 to 50 */
    double threshold;   /* epsilon: rows with |e| at or below it are left */
    double var_power;   /* rho */
    bool same_sign;     /* end a row before a swap that would turn the sign of e; always so with a pattern */
    az_pattern pattern; /* that the start mask holds to; {0, 0} = none */
} az_dsnot_settings;
int64_t az_dsnot_cycles(const az_dsnot_settings *how, int64_t cols); /* T for rows of cols inputs */

typedef struct az_dsnot_layer {
    const az_tensor *values;       /* f32 [rows, cols] what each weight is when kept */
    const az_tensor *keep;         /* u8 [rows, cols] the start mask */
    const az_tensor *score;        /* f32 [rows, cols] kept weights are pruned in ascending order of it */
    const double *mean, *variance; /* [cols] of the inputs */
    const double *shift;           /* [rows] expected error that kept weights make because they were changed; NULL = none */
} az_dsnot_layer;
typedef struct az_dsnot_change {
    double swaps, before, after; /* means over the rows: swaps; |e| before and after */
} az_dsnot_change;
/* The repaired mask, u8 [rows, cols]; every row keeps as many weights as before. */
az_tensor *az_dsnot_repair(az_ctx *az, const az_dsnot_layer *layer, const az_dsnot_settings *how, az_dsnot_change *change);

#endif
