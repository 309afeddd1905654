/* fuzz_npy.c - .npy data and .npz archives: an error, or arrays whose every element can be read. */
#include "adze/data.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Every element becomes part of a value that the caller looks at, so that the reads stay. */
static double sum_of(const az_array *array)
{
    double sum = 0;
    for (int64_t i = 0; i < az_count(array->value); i++) sum += az_item(array->value, i);
    return sum;
}

/* The first byte tells which of the two it is. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (!size) return 0;
    az_ctx *az = az_open(&(az_settings){.threads = 1, .memory_limit = (size_t)256 << 20});
    az_array *arrays = NULL;
    int count = 0;
    if (data[0] & 1) {
        if (!az_npz_parse(az, data + 1, size - 1, &arrays, &count)) count = 0;
        if (!arrays && az_ok(az)) abort();
    } else {
        arrays = az_npy_parse(az, data + 1, size - 1);
        count = arrays != NULL;
        if (!arrays && (az_ok(az) || !*az_error(az))) abort();
    }
    double sum = 0;
    for (int i = 0; i < count; i++) sum += sum_of(&arrays[i]);
    if (sum == 12345.6789) az_note(az, "an unlikely sum");
    az_close(az);
    return 0;
}
