#include "support/folder.h"

#include <criterion/criterion.h>
#include <ftw.h>
#include <stdlib.h>

static int remove_entry(const char *path, const struct stat *info, int type, struct FTW *ftw)
{
    (void)info, (void)type, (void)ftw;
    return remove(path);
}

static void remove_folder(void *path)
{
    nftw(path, remove_entry, 16, FTW_DEPTH | FTW_PHYS);
}

const char *test_folder(az_ctx *az)
{
    const char *base = getenv("TMPDIR");
    char *path = az_format_text(az, "%s/adze-test-XXXXXX", base ? base : "/tmp");
    cr_assert_not_null(mkdtemp(path));
    az_on_leave(az, remove_folder, path);
    return path;
}

const char *test_path(az_ctx *az, const char *folder, const char *name)
{
    return az_format_text(az, "%s/%s", folder, name);
}
