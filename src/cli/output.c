/* output.c - where results go: checked before the work, written after it. */
#include "cli/cli.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

bool cli_is_stdout(const char *path)
{
    return strcmp(path, "-") == 0;
}

FILE *cli_report_stream(const cli_job *job)
{
    return job->streams_out ? stderr : stdout;
}

/* "x/" lies where "x" does. */
static char *without_slashes(az_ctx *az, const char *path)
{
    char *name = az_strdup(az, path);
    for (char *end = name ? name + strlen(name) - 1 : NULL; end && end > name && *end == '/'; end--) *end = '\0';
    return name;
}

/* The folder that path lies in exists and can be written to, and so can what path names already. */
static bool check_place(az_ctx *az, const char *path)
{
    if (!*path) return az_fail(az, AZ_BAD_INPUT, "the name of the output is empty");
    char *folder = without_slashes(az, path);
    if (!folder) return false;
    char *slash = strrchr(folder, '/');
    if (slash) slash[slash == folder] = '\0'; /* "/x" lies in "/" */
    const char *where = slash ? folder : ".";
    if (!az_is_folder(where))
        az_fail(az, AZ_BAD_INPUT, "cannot write '%s': there is no folder '%s'", path, where);
    else if (access(path, F_OK) == 0 ? access(path, W_OK) != 0 : access(where, W_OK) != 0)
        az_fail(az, AZ_IO, "cannot write '%s': %s", path, strerror(errno));
    return az_ok(az);
}

bool cli_check_output(az_ctx *az, const char *path)
{
    if (cli_is_stdout(path)) return true;
    if (az_is_folder(path)) return az_fail(az, AZ_BAD_INPUT, "'%s' is a folder; give the name of a file", path);
    return check_place(az, path);
}

/* Folders are not called like files of other programs. */
static bool check_folder_name(az_ctx *az, const char *path)
{
    static const char *const endings[] = {".gguf", ".safetensors", ".bin", ".pt", ".pth", ".json", ".ggml", ".model", ".txt"};
    const size_t length = strlen(path);
    for (size_t i = 0; i < sizeof endings / sizeof *endings; i++) {
        const size_t tail = strlen(endings[i]);
        if (length > tail && strcmp(path + length - tail, endings[i]) == 0)
            return az_fail(az, AZ_BAD_INPUT, "'%s' would become a folder; give it a name without '%s'%s", path, endings[i],
                           i == 0 ? "" : ", or, for a model, NAME.gguf");
    }
    return true;
}

bool cli_check_folder(az_ctx *az, const char *path)
{
    if (az_is_folder(path)) return access(path, W_OK) == 0 || az_fail(az, AZ_IO, "cannot write into '%s': %s", path, strerror(errno));
    if (cli_is_stdout(path)) return az_fail(az, AZ_BAD_INPUT, "a folder cannot go to the standard output; give it a name");
    const char *name = *path ? without_slashes(az, path) : NULL;
    if (name && access(name, F_OK) == 0) return az_fail(az, AZ_BAD_INPUT, "'%s' is a file; give the name of a folder, new or old", name);
    return check_folder_name(az, path) && check_place(az, path);
}

/* ---- models ---- */

static bool is_folder_name(const char *path)
{
    const size_t length = strlen(path);
    if (length >= 5 && strcmp(path + length - 5, ".gguf") == 0) return false;
    return az_is_folder(path) || (!cli_is_stdout(path) && access(path, F_OK) != 0);
}

void cli_reads(cli_job *job, const char *path)
{
    const int most = (int)(sizeof job->reads / sizeof *job->reads);
    if (*path && !cli_is_stdout(path) && job->n_reads < most) job->reads[job->n_reads++] = path;
}

bool cli_check_other(az_ctx *az, const char *path, const char *read)
{
    struct stat output, input;
    if (stat(path, &output) != 0 || stat(read, &input) != 0 || output.st_dev != input.st_dev || output.st_ino != input.st_ino) return true;
    return az_fail(az, AZ_BAD_INPUT, "'%s' is read here and would be written over; give the result another name", path);
}

bool cli_check_unread(const cli_job *job, const char *path)
{
    for (int i = 0; i < job->words + job->n_reads; i++)
        if (!cli_check_other(job->az, path, i < job->words ? job->word[i] : job->reads[i - job->words])) return false;
    return true;
}

bool cli_check_model(cli_job *job, const char *path)
{
    job->streams_out = cli_is_stdout(path);
    if (!job->streams_out && !cli_check_unread(job, path)) return false;
    return (is_folder_name(path) ? cli_check_folder : cli_check_output)(job->az, path);
}

bool cli_check_fit(az_ctx *az, const az_lm *lm, const char *path)
{
    const bool fits = (is_folder_name(path) ? az_lm_check_folder : az_lm_check_file)(az, lm);
    if (!fits) az_fail_context(az, "'%s' could not be written", path);
    return fits;
}

bool cli_save_model(az_ctx *az, const az_lm *lm, const char *path, const az_format *format)
{
    return (is_folder_name(path) ? az_lm_save_folder : az_lm_save)(az, lm, path, format);
}
