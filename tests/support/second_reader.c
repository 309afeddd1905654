#include "second_reader.h"

#include <criterion/criterion.h>
#include <stdlib.h>

void needs_numpy(void)
{
    if (system("/usr/bin/python3 -c 'import numpy' >/dev/null 2>&1") != 0) cr_skip_test("needs python3 with numpy");
}

void check_safetensors(az_ctx *az, const char *path, const char *other)
{
    const char *line = az_format_text(az, "/usr/bin/python3 %s/tests/fixtures/read_safetensors.py '%s' %s%s%s", ADZE_SOURCE_DIR, path,
                                      other ? "'" : "", other ? other : "", other ? "'" : "");
    cr_assert_eq(system(line), 0, "%s", line);
}
