/* sdl_data.h - samples with labels that any language can make again, for supervised dictionaries. */
#ifndef ADZE_CLAIMS_SDL_DATA_H
#define ADZE_CLAIMS_SDL_DATA_H

#include "estimate/sdl.h"

/* A known fixture: n = 120 samples of p = 30 features, near rank 3 and of spectral norm 1, one covariate, two classes. */
sdl_samples *sdl_fixture(az_ctx *az);

/* Data whose strongest directions say little of the labels: X = W H + 0.3 noise (p = 30, n = 600, rank 4 with strengths 10, 6, 3, 1.5),
 * the label a logit of 2.5 times the weakest coordinate; spectral norm 10. The first 400 are for training. */
sdl_samples *sdl_discrepancy(az_ctx *az, sdl_samples **test);

/* The same with other seeds: seed 0 is that above. */
sdl_samples *sdl_discrepancy_of(az_ctx *az, uint64_t seed, sdl_samples **test);

#endif
