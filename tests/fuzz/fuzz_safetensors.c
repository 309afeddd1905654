/* fuzz_safetensors.c - safetensors files: an error, or tensors whose every byte can be read and written. */
#include "adze/data.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void write_again(az_ctx *az, const az_safetensors *file)
{
    az_safetensors_writer *writer = az_safetensors_create(az, "/dev/null");
    for (int64_t i = 0; i < file->metadata_count; i++) az_safetensors_put_metadata(writer, file->metadata[i].key, file->metadata[i].value);
    for (int64_t i = 0; i < file->count; i++) {
        const az_tensor *value = file->by_name[i]->value;
        az_safetensors_declare(writer, file->by_name[i]->name, value->dtype, value->rank, value->shape);
    }
    for (int64_t i = 0; i < file->count; i++) az_safetensors_write(writer, file->by_name[i]->value);
    if (!az_safetensors_commit(writer) && az_status_of(az) != AZ_NO_MEMORY) abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    az_ctx *az = az_open(&(az_settings){.threads = 1, .memory_limit = (size_t)256 << 20});
    unsigned char *copy = az_alloc(az, size); /* aligned as a map would be */
    if (size) memcpy(copy, data, size);
    const az_safetensors *file = az_safetensors_parse(az, copy, size);
    if (!file && (az_ok(az) || !*az_error(az))) abort();
    if (file) write_again(az, file);
    az_close(az);
    return 0;
}
