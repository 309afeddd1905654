/* fuzz_matrix_market.c - Matrix Market files: an error, or a matrix whose entries lie in order inside of it. */
#include "adze/data.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_sparse(const az_triples *t)
{
    for (int64_t i = 0; i < t->count; i++) {
        if (t->row[i] < 0 || t->row[i] >= t->rows || t->col[i] < 0 || t->col[i] >= t->cols) abort();
        if (i > 0 && (t->row[i] < t->row[i - 1] || (t->row[i] == t->row[i - 1] && t->col[i] <= t->col[i - 1]))) abort();
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    az_ctx *az = az_open(&(az_settings){.threads = 1, .memory_limit = (size_t)256 << 20});
    char *text = az_alloc(az, size + 1); /* as az_read_file gives it */
    for (size_t i = 0; i < size; i++) text[i] = (char)data[i];
    az_triples *sparse = NULL;
    az_tensor *dense = NULL;
    const bool ok = az_matrix_market_parse(az, text, size, &sparse, &dense);
    if (ok != az_ok(az) || (ok && (sparse != NULL) == (dense != NULL))) abort();
    if (ok && sparse) check_sparse(sparse);
    az_close(az);
    return 0;
}
