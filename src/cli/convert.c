/* convert.c - adze convert: a model in another format. */
#include "cli/cli.h"

#include <dirent.h>
#include <math.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

typedef struct convert_settings {
    const char *format, *output;
    bool dense;
} convert_settings;

static const az_option convert_options[] = {
    {"format", AZ_FIELD(AZ_TEXT, convert_settings, format), "", 0, 0, NULL,
     "format of the matrices: f16, q8_0, q4_k ... (`adze --version` lists them); none = as they are"},
    {"dense", AZ_FIELD(AZ_BOOL, convert_settings, dense), "false", 0, 0, NULL,
     "matrices that are not dense (quantized, sparse, low-rank) become it: f32, or what --format says"},
    {"output", AZ_FIELD(AZ_TEXT, convert_settings, output), NULL, 0, 0, NULL, "the GGUF file (.gguf) or the folder to write"},
    {0},
};
static const cli_group convert_groups[] = {{"options", convert_options, 0}, {0}};

/* Pipes and devices cannot be read again, so nothing is said of what came out. */
static bool is_kept(const char *path)
{
    struct stat info;
    return !cli_is_stdout(path) && stat(path, &info) == 0 && (S_ISREG(info.st_mode) || S_ISDIR(info.st_mode));
}

static size_t tensor_bytes(az_ctx *az, const char *path)
{
    const az_safetensors *file = az_safetensors_read(az, path);
    size_t bytes = 0;
    for (int64_t i = 0; file && i < file->count; i++) {
        const az_tensor *x = file->item[i].value;
        bytes += (size_t)az_count(x) * az_dtype_size(x->dtype);
    }
    return bytes;
}

/* Bytes of the tensors that were written. A folder is not loaded for that: compressed matrices would be unpacked. */
static double written_bytes(az_ctx *az, const char *path)
{
    const char *const ending = ".safetensors";
    DIR *folder = opendir(path);
    if (!folder) {
        az_lm *lm = az_lm_load(az, path);
        const double bytes = lm ? (double)az_lm_bytes(lm) : NAN;
        az_lm_free(az, lm);
        return bytes;
    }
    size_t bytes = 0;
    for (const struct dirent *entry = readdir(folder); entry; entry = readdir(folder)) {
        const size_t length = strlen(entry->d_name), tail = strlen(ending);
        const bool fits = length > tail && strcmp(entry->d_name + length - tail, ending) == 0;
        if (fits) bytes += tensor_bytes(az, az_format_text(az, "%s/%s", path, entry->d_name));
    }
    closedir(folder);
    return (double)bytes;
}

/* bytes: of the model as it came */
static int report_result(cli_job *job, const convert_settings *options, const az_lm *lm, const az_format *format, size_t bytes)
{
    const double written = is_kept(options->output) ? written_bytes(job->az, options->output) : NAN;
    if (!az_ok(job->az)) return CLI_BAD;
    az_report_row(job->report, "converted");
    az_report_text(job->report, "model", lm->name);
    az_report_text(job->report, "output", options->output);
    az_report_text(job->report, "format", format ? format->name : options->dense ? "dense" : "unchanged");
    az_report_count(job->report, "parameters", az_lm_parameter_count(lm));
    az_report_number(job->report, "bytes_before", (double)bytes, "B");
    az_report_number(job->report, "bytes_after", written, "B");
    return CLI_OK;
}

static bool is_plain(const az_format *format)
{
    static const char *const plain[] = {"f32", "f16", "bf16"};
    for (size_t i = 0; i < sizeof plain / sizeof *plain; i++)
        if (strcmp(format->name, plain[i]) == 0) return true;
    return false;
}

static int convert(cli_job *job, const void *settings)
{
    const convert_settings *options = settings;
    const az_format *format = cli_format(job->az, options->format);
    if (options->dense && format && !is_plain(format))
        az_fail(job->az, AZ_BAD_INPUT, "convert: %s is not dense; --dense goes with f32, f16 or bf16", format->name);
    if (!az_ok(job->az) || !cli_check_model(job, options->output)) return CLI_BAD;
    az_lm *lm = cli_load(job, job->word[0]);
    const size_t bytes = lm ? az_lm_bytes(lm) : 0;
    if (lm && options->dense && !az_lm_make_dense(job->az, lm, format ? format : az_format_by_name("f32"))) return CLI_BAD;
    if (!lm || !cli_save_model(job->az, lm, options->output, format)) return CLI_BAD;
    return report_result(job, options, lm, format, bytes);
}

const cli_verb cli_convert = {
    .name = "convert",
    .summary = "write a model in another format",
    .usage = "MODEL [--format NAME] [--dense] -o OUT",
    .details =
        "Reads what adze reads (GGUF, Hugging Face folders, llama2.c checkpoints). An output that ends in .gguf is written as GGUF, "
        "any other as a folder with config.json, model.safetensors and tokenizer.json. Norms stay f32; in GGUF the embedding and the "
        "head stay at least q8_0. --dense makes a compressed model one that every program reads.",
    .groups = convert_groups,
    .settings_size = sizeof(convert_settings),
    .min_words = 1,
    .max_words = 1,
    .words = cli_bundled,
    .run = convert,
};
