/* models.c - where models are found. */
#include "cli/cli.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* The folder of the running program, "." when it cannot be told. */
static char *program_folder(az_ctx *az)
{
    char path[PATH_MAX];
    ssize_t length = readlink("/proc/self/exe", path, sizeof path - 1);
    if (length <= 0) return az_strdup(az, ".");
    path[length] = '\0';
    char *slash = strrchr(path, '/');
    if (slash) *slash = '\0';
    return az_strdup(az, path);
}

/* folder/name.gguf or folder/name, if it is there. */
static const char *find_in(az_ctx *az, const char *folder, const char *name)
{
    if (!folder || !*folder) return NULL;
    for (int i = 0; i < 2; i++) {
        const char *path = az_format_text(az, "%s/%s%s", folder, name, i == 0 ? ".gguf" : "");
        if (path && access(path, R_OK) == 0 && !az_is_folder(path)) return path;
    }
    return NULL;
}

static bool is_model_folder(az_ctx *az, const char *name)
{
    const char *config = az_is_folder(name) ? az_format_text(az, "%s/config.json", name) : NULL;
    return config && access(config, F_OK) == 0;
}

const char cli_bundled[] = "tales storybook";

const char *cli_model_path(az_ctx *az, const char *name)
{
    bool exists = access(name, F_OK) == 0;
    if (strchr(name, '/') || (exists && !az_is_folder(name)) || is_model_folder(az, name)) return name;
    const char *folder = program_folder(az);
    const char *path = find_in(az, getenv("ADZE_MODELS"), name);
    if (!path) path = find_in(az, az_format_text(az, "%s/../share/adze/models", folder), name); /* installed */
    if (!path) path = find_in(az, az_format_text(az, "%s/../models", folder), name);            /* in the source tree */
    if (path || !az_ok(az)) return path;
    if (exists) return name;
    return az_fail(az, AZ_BAD_INPUT, "there is no model '%s': neither a file, nor a bundled model (tales, storybook)", name);
}

az_lm *cli_load(cli_job *job, const char *name)
{
    const char *path = cli_model_path(job->az, name);
    return path ? az_lm_load(job->az, path) : NULL;
}

az_tokenizer *cli_load_tokenizer(cli_job *job, const char *name)
{
    const char *path = cli_model_path(job->az, name);
    return path ? az_tokenizer_load(job->az, path) : NULL;
}

const az_adapter *cli_load_adapter(cli_job *job, const az_lm *lm, const char *folder)
{
    return lm && *folder ? az_adapter_read(job->az, lm, folder) : NULL;
}

const az_format *cli_format(az_ctx *az, const char *name)
{
    const char *names[64];
    int n = 0;
    if (!*name) return NULL;
    for (const az_format *const *format = az_formats(); *format && n < 64; format++) {
        if (strcmp((*format)->name, name) == 0)
            return az_format_encodes(*format) ? *format : az_fail(az, AZ_BAD_INPUT, "format %s is made by a method of its own only", name);
        names[n++] = (*format)->name;
    }
    const char *nearest = az_nearest(name, names, n);
    if (nearest) return az_fail(az, AZ_BAD_INPUT, "there is no format '%s'; did you mean '%s'?", name, nearest);
    return az_fail(az, AZ_BAD_INPUT, "there is no format '%s'; `adze --version` lists them", name);
}
