/* fuzz_tales.c - any bytes as a tale: no text has two derivations, and the place where reading stopped lies within it. */
#include "data/tales.h"

#include <math.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    az_ctx *az = az_open(&(az_settings){.threads = 1, .memory_limit = 64 << 20});
    az_tales *tales = az_tales_new(az);
    double log_probability;
    size_t where;
    int64_t derivations = tale_derivations(tales, (const char *)data, size, &log_probability, &where);
    if (derivations > 1 || where > size || (derivations == 1) != isfinite(log_probability) || log_probability >= 0) abort();
    az_close(az);
    return 0;
}
