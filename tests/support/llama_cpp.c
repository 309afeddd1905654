#include "support/llama_cpp.h"

#include <criterion/criterion.h>
#include <stdlib.h>

char *llama_cpp(az_ctx *az, const char *arguments)
{
    const char *folder = getenv("ADZE_LLAMA_CPP");
    if (!folder) cr_skip_test("skipped: ADZE_LLAMA_CPP names no folder");
    FILE *pipe = popen(az_format_text(az, "%s/%s 2>/dev/null </dev/null", folder, arguments), "r");
    cr_assert_not_null(pipe);
    enum { ROOM = 1 << 16 };
    char *text = az_alloc(az, ROOM);
    const size_t n = fread(text, 1, ROOM - 1, pipe);
    cr_assert_eq(pclose(pipe), 0, "%s: %s", arguments, text);
    text[n] = '\0';
    return text;
}
