/* fuzz_adapter.c - adapters' folders: an error, or an adapter that runs beside the model, goes into its weights and can be written. */
#include "folders.h"
#include "lm/lm_internal.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void use(az_ctx *az, az_lm *lm, const az_adapter *adapter)
{
    enum { MOST = 16 };
    int32_t token[MOST + 2] = {0};
    const int64_t made = adapter->virtual_tokens;
    const int64_t start[] = {0, made + 2};
    if (made >= MOST) abort(); /* more than the context */
    for (int64_t j = 0; j < made; j++) token[j] = (int32_t)(-1 - j);
    az_lm_forward(az, lm, &(az_lm_batch){.sequences = 1, .token = token, .start = start}, &(az_lm_run){.adapter = &adapter, .adapters = 1});
    az_clear(az);
    az_adapter_write(az, lm, adapter, fuzz_folder(), "model", AZ_F16);
    az_clear(az);
    az_adapter_merge(az, lm, adapter, NULL);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    fuzz_file file[FUZZ_ADAPTER_FILES];
    const char *folder = fuzz_folder();
    fuzz_cut(data, size, file, FUZZ_ADAPTER_FILES);
    az_ctx *az = az_open(&(az_settings){.threads = 1, .memory_limit = (size_t)256 << 20});
    const char *from = az_format_text(az, "%s/in", folder);
    if (!az_make_folder(az, from)) abort();
    for (int i = 0; i < FUZZ_ADAPTER_FILES; i++) fuzz_put(from, fuzz_adapter_files[i], i, file[i]);
    az_lm *lm = az_lm_new(az, "llama", &fuzz_adapter_model, NULL, 1);
    if (!lm) abort();
    az_adapter *adapter = az_adapter_read(az, lm, from);
    if (!adapter && (az_ok(az) || !*az_error(az))) abort();
    if (adapter) use(az, lm, adapter);
    az_close(az);
    return 0;
}
