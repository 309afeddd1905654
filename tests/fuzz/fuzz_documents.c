/* fuzz_documents.c - bytes of a text or JSON lines file: the documents are not empty and no longer than the bytes, or the error says why.
 */
#include "data/documents.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_documents(const az_documents *documents, size_t size)
{
    size_t length = 0;
    for (int64_t i = 0; i < documents->count; i++) {
        if (!documents->item[i].length) abort();
        length += documents->item[i].length;
    }
    if (documents->count < 1 || length > size) abort();
}

/* The first byte tells which kind of file it is. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (!size) return 0;
    az_ctx *az = az_open(&(az_settings){.threads = 1, .memory_limit = 64 << 20});
    az_documents *documents = documents_parse(az, data[0] & 1 ? "a.jsonl" : "a.txt", (const char *)data + 1, size - 1), *first, *second;
    if (documents) {
        check_documents(documents, size - 1);
        if (!az_documents_split(az, documents, 0.5, 1, &first, &second) || first->count + second->count != documents->count) abort();
    } else if (az_ok(az) || !*az_error(az)) {
        abort();
    }
    az_close(az);
    return 0;
}
