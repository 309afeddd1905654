/* fuzz_chat.c - chat templates, with a talk of three messages. Without a '{' the input is the name of a form. */
#include "adze/lm.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char talk[] = "[{\"role\":\"system\",\"content\":\"Be brief.\"},{\"role\":\"user\",\"content\":\" Hi! \"},"
                               "{\"role\":\"assistant\",\"content\":\"Hello.\"}]";
    az_ctx *az = az_open(&(az_settings){.threads = 1, .memory_limit = (size_t)256 << 20});
    char *text = az_alloc(az, size + 1);
    memcpy(text, data, size);
    az_chat_render(az, NULL, text, talk, true);
    az_close(az);
    return 0;
}
