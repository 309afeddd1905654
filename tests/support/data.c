#include "support/data.h"

#include <criterion/criterion.h>
#include <stdlib.h>
#include <unistd.h>

const char *test_data(az_ctx *az, const char *name)
{
    const char *folder = getenv("ADZE_DATA");
    if (!folder) cr_skip_test("skipped: ADZE_DATA names no folder with '%s'", name);
    const char *path = az_format_text(az, "%s/%s", folder, name);
    if (access(path, R_OK) != 0) cr_skip_test("skipped: there is no '%s'", path);
    return path;
}
