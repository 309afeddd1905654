/* channels.h - steps and shifts for the activations that linear layers read behind a norm, from calibration text. */
#ifndef ADZE_COMPRESS_CHANNELS_H
#define ADZE_COMPRESS_CHANNELS_H

#include "compress/compress_internal.h"

/* What is known of the features of one layer's input. */
typedef struct az_channels {
    int64_t cols;   /* 0: nothing, since no norm stands in front of the layer or no token came to it */
    float *shift;   /* [cols] the middle: the mean over sequences of (largest + smallest) / 2 */
    float *step;    /* [cols] of the whole numbers that a feature becomes */
    double clipped; /* share of the values that lie outside their range, in az_channels_clipped */
} az_channels;

typedef struct az_channel_how {
    int bits;
    bool shift;      /* otherwise the shifts are zero */
    bool search;     /* the range is the share 1, 0.99 ... 0.21 of the largest magnitude that loses least, instead of all of it */
    bool skip_first; /* the first token of a sequence has no say */
    int64_t shift_sequences, range_sequences; /* how many sequences tell each */
} az_channel_how;

/* channels [layers of az_lm_linears] in the current scope; layers that share an input share its arrays. Between two sequences the larger
 * range counts. Steps of features that hardly move are at least 1e-4 of the input's median step. */
bool az_channels_find(az_ctx *az, az_lm *lm, const az_lm_sequences *sequences, const az_channel_how *how, az_channels **channels);
/* Runs the text again and counts the values that are outside by more than half a step. */
bool az_channels_clipped(az_ctx *az, az_lm *lm, const az_lm_sequences *sequences, const az_channel_how *how, az_channels *channels);

/* The range that loses least when n values are rounded to `levels` steps on either side of zero: the share 1, 0.99 ... 0.21 of their
 * largest magnitude with the least sum of |x - rounded x|^2.4. */
double az_best_range(az_ctx *az, const float *x, int64_t n, int levels);

#endif
