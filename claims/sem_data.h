/* sem_data.h - samples of random linear structural equation models that any language can make again. */
#ifndef ADZE_CLAIMS_SEM_DATA_H
#define ADZE_CLAIMS_SEM_DATA_H

#include "adze/base.h"

typedef struct sem_data {
    int d;
    int64_t n;
    double *w;     /* [d, d] true weights */
    double *sigma; /* [d] standard deviations of the noise */
    double *x;     /* [n, d] */
} sem_data;

/* Erdos-Renyi graph of k d expected edges in a random order, weights of +-[0.5, 2], Gaussian noise of the given variance; with variance 0
 * each variable has its own, from [0.5, 10]. Everything is a function of the seed (splitmix.h): edges from seed, sizes seed + 1, signs
 * seed + 2, order seed + 3, variances seed + 4, noise seed + 5. */
sem_data *sem_data_new(az_ctx *az, uint64_t seed, int d, int k, int64_t n, double variance);

#endif
