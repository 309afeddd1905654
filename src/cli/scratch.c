/* scratch.c - places for dry runs: a copy of what a run would go on from, which is removed when the work is done. */
#include "cli/cli.h"

#include <dirent.h>
#include <ftw.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

static int remove_entry(const char *path, const struct stat *info, int kind, struct FTW *where)
{
    (void)info, (void)kind, (void)where;
    return remove(path);
}

static void remove_folder(void *folder)
{
    enum { OPEN_FILES = 16 };
    nftw(folder, remove_entry, OPEN_FILES, FTW_DEPTH | FTW_PHYS);
}

static bool copy_file(az_ctx *az, const char *from, const char *to)
{
    struct stat info;
    if (stat(from, &info) != 0 || !S_ISREG(info.st_mode)) return true;
    az_scope_push(az);
    const az_map *map = az_map_file(az, from);
    az_out *out = map ? az_create(az, to) : NULL;
    const bool good = out && az_out_write(out, map->data, map->size) && az_commit(out);
    az_scope_pop(az);
    return good;
}

static bool copy_folder(az_ctx *az, const char *from, const char *to)
{
    DIR *folder = opendir(from);
    for (const struct dirent *entry; folder && az_ok(az) && (entry = readdir(folder));)
        copy_file(az, az_format_text(az, "%s/%s", from, entry->d_name), az_format_text(az, "%s/%s", to, entry->d_name));
    if (folder) closedir(folder);
    return az_ok(az);
}

const char *cli_scratch_copy(az_ctx *az, const char *path)
{
    const char *above = getenv("TMPDIR"), *slash = strrchr(path, '/');
    char *folder = az_format_text(az, "%s/adze-dry-run-XXXXXX", above && *above ? above : "/tmp");
    if (!folder || !mkdtemp(folder)) return az_fail(az, AZ_IO, "cannot make a temporary folder '%s'", folder ? folder : "");
    if (!az_on_leave(az, remove_folder, folder)) return NULL;
    if (az_is_folder(path)) return copy_folder(az, path, folder) ? folder : NULL;
    const char *file = az_format_text(az, "%s/%s", folder, slash && slash[1] ? slash + 1 : path);
    return file && copy_file(az, path, file) ? file : NULL;
}
