/* itertl_check.c - what a program is worth: Icarus Verilog, a program of the user's, or the built-in stack machine; in the sandbox, without
 * a shell that would see the model's text. */
#include "tune/itertl.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

/* ---- texts ---- */

static void cut_behind(char *text, const char *last)
{
    char *found = NULL;
    for (char *at = text; (at = strstr(at, last)); at++) found = at;
    if (found) found[strlen(last)] = '\0';
}

static void cut_before(char *text, const char *word)
{
    char *found = strstr(text, word);
    if (!found) return;
    while (found > text && strncmp(found, "module", 6) != 0) found--;
    *found = '\0';
}

char *itertl_clean(az_ctx *az, const itertl_options *options, const char *reply)
{
    char *text = strstr(reply, "```") ? az_find_fence(az, reply, NULL) : NULL;
    if (!text) text = az_strdup(az, reply);
    if (!text || options->checker != ITERTL_IVERILOG) return text;
    cut_before(text, "tb_module");
    cut_before(text, "testbench");
    cut_behind(text, "endmodule");
    return text;
}

/* ---- Icarus Verilog ---- */

/* System tasks and directives that reach for files and programs. */
static const char *forbidden(const char *program)
{
    static const char *const words[] = {"$system", "$fopen", "$readmem", "`include", "$fread", "$fwrite", "$fdisplay", "$dumpfile"};
    for (size_t i = 0; i < sizeof words / sizeof *words; i++)
        if (strstr(program, words[i])) return words[i];
    return NULL;
}

/* "Mismatches: 2 in 8 samples", as the test benches of VerilogEval print it. */
static void read_mismatches(const char *out, itertl_verdict *verdict)
{
    int wrong = 0, all = 0;
    const char *line = strstr(out, "Mismatches:");
    if (!line || sscanf(line, "Mismatches: %d in %d", &wrong, &all) != 2 || all < 1 || wrong < 0 || wrong > all) return;
    verdict->total = all;
    verdict->passed = all - wrong;
}

static az_program program_of(const itertl_options *o, const char *const *argv, const az_file_text *file, int files)
{
    return (az_program){.argv = argv, .file = file, .files = files, .seconds = o->seconds, .memory = o->memory << 20};
}

static bool check_verilog(az_ctx *az, const itertl_options *o, const itertl_task *task, const char *text, itertl_verdict *verdict)
{
    static const char *const compile[] = {"iverilog", "-g2012", "-t", "null", "f.v", NULL};
    static const char *const simulate[] = {"sh", "-c", "iverilog -g2012 -o a.out f.v tb.v && exec vvp -n a.out", NULL};
    const az_file_text file[] = {{"f.v", text}, {"tb.v", task->test}};
    const char *word = forbidden(text);
    if (word) {
        verdict->error = az_format_text(az, "'%s' is not allowed", word);
        return true;
    }
    const az_program alone = program_of(o, compile, file, 1), tested = program_of(o, simulate, file, 2);
    const az_outcome *compiled = az_sandbox_run(az, &alone);
    if (!compiled) return false;
    verdict->compiles = compiled->kind == AZ_RAN;
    if (!verdict->compiles) verdict->error = az_format_text(az, "%.500s", *compiled->err ? compiled->err : az_outcome_name(compiled->kind));
    if (!verdict->compiles || !*task->test) return true;
    const az_outcome *ran = az_sandbox_run(az, &tested);
    if (ran && ran->kind == AZ_RAN) read_mismatches(ran->out, verdict);
    return ran != NULL;
}

/* ---- a program of the user's ---- */

enum { MOST_WORDS = 16 };

/* Splits at blanks; the words' number. */
static int split(az_ctx *az, const char *text, const char **word)
{
    int n = 0;
    while (*(text += strspn(text, " ")) && n < MOST_WORDS) {
        const int length = (int)strcspn(text, " ");
        word[n++] = az_format_text(az, "%.*s", length, text);
        text += length;
    }
    word[n] = NULL;
    return n;
}

/* {"compiles": bool, "passed": k, "total": n, "error": "..."}; anything else is an error of the checker's. */
static bool read_verdict(az_ctx *az, const az_outcome *outcome, itertl_verdict *verdict)
{
    json_t *object = outcome->kind == AZ_RAN ? json_loads(outcome->out, 0, NULL) : NULL;
    const json_t *compiles = json_object_get(object, "compiles"), *error = json_object_get(object, "error");
    const bool good = json_is_boolean(compiles);
    verdict->compiles = json_is_true(compiles);
    verdict->passed = (int)json_integer_value(json_object_get(object, "passed"));
    verdict->total = (int)json_integer_value(json_object_get(object, "total"));
    if (json_is_string(error)) verdict->error = az_strdup(az, json_string_value(error));
    json_decref(object);
    if (good || outcome->kind == AZ_PROGRAM_TIMEOUT || outcome->kind == AZ_PROGRAM_MEMORY || outcome->kind == AZ_PROGRAM_OUTPUT)
        return true;
    return az_fail(az, AZ_BAD_INPUT, "the checker printed no {\"compiles\": ..., \"passed\": ..., \"total\": ...} (%s): %.200s",
                   az_outcome_name(outcome->kind), *outcome->err ? outcome->err : outcome->out);
}

static bool check_command(az_ctx *az, const itertl_options *o, const itertl_task *task, const char *text, itertl_verdict *verdict)
{
    const char *word[MOST_WORDS + 1];
    az_file_text file[4] = {{"candidate", text}, {"task", task->instruction}, {"test", task->test}};
    const char *slash = strrchr(o->script, '/');
    if (*o->script) file[3] = (az_file_text){slash ? slash + 1 : o->script, az_read_file(az, o->script, NULL)};
    if (!split(az, o->command, word) || (*o->script && !file[3].text)) return false;
    const az_program program = program_of(o, word, file, *o->script ? 4 : 3);
    const az_outcome *outcome = az_sandbox_run(az, &program);
    return outcome && read_verdict(az, outcome, verdict);
}

/* ---- all ---- */

bool itertl_check_ready(az_ctx *az, const itertl_options *o)
{
    if (o->checker == ITERTL_STACK) return true;
    if (!az_sandbox_has(az, "bwrap", "bubblewrap")) return false;
    if (o->checker == ITERTL_IVERILOG) return az_sandbox_has(az, "iverilog", "iverilog");
    return *o->command || az_fail(az, AZ_BAD_INPUT, "checker=command needs the program: command=\"python3 -I check.py\",script=check.py");
}

bool itertl_check(az_ctx *az, const itertl_options *o, const itertl_task *task, const char *program, itertl_verdict *verdict)
{
    *verdict = (itertl_verdict){.error = ""};
    if (o->checker == ITERTL_STACK) *verdict = itertl_stack_check(task->instruction, program);
    if (o->checker == ITERTL_IVERILOG) return check_verilog(az, o, task, program, verdict);
    if (o->checker == ITERTL_COMMAND) return check_command(az, o, task, program, verdict);
    return true;
}
