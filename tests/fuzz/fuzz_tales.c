/* fuzz_tales.c - any bytes as a tale: no text has two derivations, and the place where reading stopped lies within it. */
#include "data/tales.h"

#include <math.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static az_ctx *az;
    static az_tales *tales; /* made once: checking the grammar takes longer than reading a text */
    if (!az) tales = az_tales_new(az = az_open(NULL));
    double log_probability;
    size_t where;
    int64_t derivations = tale_derivations(tales, (const char *)data, size, &log_probability, &where);
    if (derivations > 1 || where > size || (derivations == 1) != isfinite(log_probability) || log_probability >= 0) abort();
    return 0;
}
