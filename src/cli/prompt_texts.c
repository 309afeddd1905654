/* prompt_texts.c - adze prompt template, find: texts that are asked, and texts that go into them. */
#include "cli/prompt.h"

#include <string.h>
#include <unistd.h>

/* Vectors of the backend, where they are wanted. */
static bool open_finder_backend(cli_job *job, const prompt_settings *o, az_find_how *how)
{
    *how = o->find;
    if (how->kind != AZ_FIND_DENSE) return true;
    if (!*o->backend) return az_fail(job->az, AZ_BAD_INPUT, "prompt %s: --by dense needs a --backend that gives vectors", job->word[0]);
    return (how->backend = prompt_backend(job, o)) != NULL;
}

/* ---- find ---- */

int prompt_find(cli_job *job, const prompt_settings *o)
{
    az_ctx *az = job->az;
    az_find_how how;
    if (!*o->prompt) return az_fail(az, AZ_BAD_INPUT, "prompt find: give the question with -p"), CLI_BAD;
    const az_documents *texts = az_documents_read(az, job->word[1]);
    az_finder *finder = texts && open_finder_backend(job, o, &how) ? az_finder_new(az, texts, &how) : NULL;
    az_found *found = finder ? az_alloc_array(az, (size_t)o->shots, sizeof *found) : NULL;
    const int64_t n = found ? az_find(finder, o->prompt, NULL, o->shots, found) : -1;
    if (n < 0) return az_backend_exhausted(how.backend) ? cli_out_of_budget(job) : CLI_BAD;
    for (int64_t i = 0; i < n; i++) {
        const az_document *text = &texts->item[found[i].text];
        az_report_row(job->report, "found");
        az_report_count(job->report, "text", found[i].text + 1);
        az_report_number(job->report, "score", found[i].score, "");
        az_report_text(job->report, "begins", az_format_text(az, "%.*s", (int)strcspn(text->text, "\n"), text->text));
    }
    if (how.kind == AZ_FIND_DENSE) az_backend_report(how.backend, job->report);
    return CLI_OK;
}

/* ---- template ---- */

static bool fill_rows(cli_job *job, const prompt_settings *o, FILE *out)
{
    az_ctx *az = job->az;
    az_find_how how;
    az_template_job work = {.text = prompt_template_text(az, job->word[1]), .field = o->field, .shots = o->shots, .how = &how};
    work.rows = work.text ? az_json_lines_read(az, o->rows, NULL, false) : NULL;
    if (work.rows && *o->demos) work.demos = az_json_lines_read(az, o->demos, NULL, false);
    return az_ok(az) && open_finder_backend(job, o, &how) && az_template_fill_rows(az, &work, out) >= 0;
}

static bool fill_once(cli_job *job, const prompt_settings *o, FILE *out)
{
    const az_messages *messages = prompt_messages(job, o, job->word[1]);
    for (int i = 0; messages && i < messages->n; i++) fprintf(out, "@@%s\n%s\n", messages->item[i].role, messages->item[i].text);
    return messages != NULL;
}

/* A built-in template as it is. */
static bool print_template(cli_job *job, const prompt_settings *o, FILE *out)
{
    const char *text = prompt_template_text(job->az, job->word[1]);
    (void)o;
    return text && fputs(text, out) >= 0;
}

int prompt_template(cli_job *job, const prompt_settings *o)
{
    az_ctx *az = job->az;
    const char *to = *o->output ? o->output : "-";
    if (job->words == 1) return az_template_list(job->report), CLI_OK;
    const bool bare = !*o->vars && !*o->rows && access(job->word[1], F_OK) != 0 && az_template_builtin(job->word[1]);
    if (*o->demos && !*o->rows) return az_fail(az, AZ_BAD_INPUT, "prompt template: --demos are looked for by the rows of --rows"), CLI_BAD;
    if (*o->vars && *o->rows) return az_fail(az, AZ_BAD_INPUT, "prompt template: give --vars or --rows, not both"), CLI_BAD;
    const bool free = cli_check_output(az, to) && cli_check_unread(job, to) && cli_check_other(az, to, o->rows) &&
                      cli_check_other(az, to, o->demos) && cli_check_other(az, to, o->vars);
    az_out *out = free ? az_create(az, to) : NULL;
    if (!out) return CLI_BAD;
    job->streams_out = cli_is_stdout(to);
    bool (*const write)(cli_job *, const prompt_settings *, FILE *) = bare ? print_template : *o->rows ? fill_rows : fill_once;
    const bool good = write(job, o, az_out_stream(out));
    if (good) az_commit(out);
    return good && az_ok(az) ? CLI_OK : CLI_BAD;
}
