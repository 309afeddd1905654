/* manual.c - the manual page and the bash completion, made from the tables of verbs and methods. */
#include "cli/cli.h"

#include <string.h>

/* ---- manual page ---- */

/* A text for roff: backslashes and dashes are escaped, a line never begins with a request. */
static void put_roff(const char *text, FILE *out)
{
    bool start = true;
    for (; *text; text++) {
        if (start && (*text == '.' || *text == '\'')) fputs("\\&", out);
        if (*text == '\\')
            fputs("\\e", out);
        else if (*text == '-')
            fputs("\\-", out);
        else
            fputc(*text, out);
        start = *text == '\n';
    }
}

static void put_option(const az_option *option, bool of_method, FILE *out)
{
    char text[80];
    cli_option_text(option, text, sizeof text);
    fputs(".TP\n.B ", out);
    if (!of_method)
        put_roff(text + strspn(text, " "), out);
    else
        fprintf(out, "%s=%s", option->name, az_option_type_name(option));
    fputc('\n', out);
    put_roff(option->help, out);
    fputc('\n', out);
    if (!of_method && !cli_has_limits(option)) return;
    az_option_print_limits(option, out);
    fputc('\n', out);
}

static void put_verb(const cli_verb *verb, FILE *out)
{
    fprintf(out, ".SS adze %s ", verb->name);
    put_roff(verb->usage, out);
    fputc('\n', out);
    put_roff(verb->summary, out);
    fputs(".\n", out);
    if (verb->details) {
        fputs(".PP\n", out);
        put_roff(verb->details, out);
        fputc('\n', out);
    }
    for (const cli_group *group = verb->groups; group && group->table; group++)
        for (const az_option *option = group->table; option->name; option++)
            if (!cli_is_common(option)) put_option(option, false, out);
    if (!verb->inside.table) return;
    fputs(".PP\n", out);
    put_roff(verb->inside.title, out);
    fputs(":\n", out);
    for (const az_option *option = verb->inside.table; option->name; option++) put_option(option, true, out);
}

static void put_method(const az_method *method, FILE *out)
{
    fprintf(out, ".SS %s (", method->name);
    cli_print_method_verbs(method, out);
    fputs(")\n", out);
    put_roff(method->summary, out);
    fputs(". ", out);
    put_roff(method->paper, out);
    if (method->details) {
        fputs("\n.PP\n", out);
        put_roff(method->details, out);
    }
    fputs("\n.PP\n.nf\n", out);
    put_roff(method->example, out);
    fputs("\n.fi\n", out);
    for (const az_input_slot *slot = method->inputs; slot && slot->name; slot++) {
        fprintf(out, ".TP\n.B \\-d %s=FILE\n", slot->name);
        put_roff(slot->help, out);
        fputc('\n', out);
    }
    for (const az_option *option = method->options; option && option->name; option++) put_option(option, true, out);
}

void cli_print_manual(FILE *out)
{
    fprintf(out, ".TH ADZE 1 \"\" \"adze %s\"\n.SH NAME\nadze \\- compress, tune, run and evaluate models\n", az_version());
    fputs(".SH SYNOPSIS\n.B adze\n.I VERB INPUT... [METHOD[:option=value,...]] [options]\n.SH DESCRIPTION\n"
          "Methods from the literature, one model format inside, one command outside. A verb is a family of methods; the input is a model\n"
          "(GGUF, a folder as Hugging Face has it, a llama2.c checkpoint, or the name of a bundled one: tales, storybook) or data.\n"
          "Results are printed as tables, or as JSON lines with\n"
          ".BR \\-\\-json .\n.SH VERBS\n",
          out);
    for (const cli_verb *const *verb = cli_verbs; *verb; verb++) put_verb(*verb, out);
    fputs(".SH OPTIONS OF EVERY VERB\n", out);
    for (const az_option *option = cli_common_options; option->name; option++) put_option(option, false, out);
    fputs(".SH METHODS\n", out);
    for (const az_method *const *method = az_methods(); *method; method++) put_method(*method, out);
    fputs(".SH EXIT STATUS\n.TP\n.B 0\nit worked\n"
          ".TP\n.B 1\nit ran, and the answer is no (a claim does not hold, tokens do not give the text back)\n"
          ".TP\n.B 2\nbad usage or input; no result was written\n"
          ".TP\n.B 3\na budget of calls, tokens or money ended the work; what was answered is kept\n"
          ".TP\n.B 130\ninterrupted\n"
          ".SH ENVIRONMENT\n.TP\n.B ADZE_MODELS\nfolder in which bundled models are looked for first\n"
          ".TP\n.B ADZE_DATA\nfolder with the data sets that some claims use\n"
          ".TP\n.B ADZE_API_KEY\nkey of a server that is asked, unless \\-\\-key\\-env names another variable\n"
          ".TP\n.B ADZE_ISA\nportable, avx2 or avx512: the processor's extensions beyond are not used\n"
          ".TP\n.B OMP_NUM_THREADS\nthreads to use, unless \\-\\-threads says otherwise\n"
          ".TP\n.B TMPDIR\nfolder of temporary files\n",
          out);
}

/* ---- bash completion ---- */

static void put_option_words(const az_option *table, FILE *out)
{
    for (const az_option *option = table; option->name; option++) {
        char text[80];
        if (table != cli_common_options && cli_is_common(option)) continue;
        cli_option_text(option, text, sizeof text);
        const char *word = strstr(text, "--");
        fprintf(out, " %.*s", (int)strcspn(word, "="), word);
        if (option->type != AZ_BOOL) fputc('=', out);
    }
}

/* What may stand on a verb's line besides files. */
static void put_words(const cli_verb *verb, FILE *out)
{
    const bool help = strcmp(verb->name, "help") == 0, claim = strcmp(verb->name, "claim") == 0;
    if (verb->words) fprintf(out, "%s ", verb->words);
    for (const az_method *const *method = az_methods(); *method; method++)
        if (help || cli_takes(verb->name, *method)) fprintf(out, "%s ", (*method)->name);
    for (const cli_verb *const *at = cli_verbs; help && *at; at++) fprintf(out, "%s ", (*at)->name);
    for (const az_claim *const *at = az_claims(); claim && *at; at++) fprintf(out, "%s ", (*at)->name);
}

void cli_print_completion(FILE *out)
{
    fputs("# bash completion for adze\n_adze() {\n    local word=${COMP_WORDS[COMP_CWORD]} options= words=\n"
          "    if [[ $word == = || ${COMP_WORDS[COMP_CWORD-1]} == = ]]; then COMPREPLY=($(compgen -f -- \"${word#=}\")); return; fi\n"
          "    if ((COMP_CWORD == 1)); then\n        COMPREPLY=($(compgen -W '",
          out);
    for (const cli_verb *const *verb = cli_verbs; *verb; verb++) fprintf(out, "%s ", (*verb)->name);
    fputs("--help --version' -- \"$word\"))\n        return\n    fi\n    case ${COMP_WORDS[1]} in\n", out);
    for (const cli_verb *const *verb = cli_verbs; *verb; verb++) {
        fprintf(out, "    %s) options='", (*verb)->name);
        for (const cli_group *group = (*verb)->groups; group && group->table; group++) put_option_words(group->table, out);
        fputs("' words='", out);
        put_words(*verb, out);
        fputs("' ;;\n", out);
    }
    fputs("    esac\n    if [[ $word == -* ]]; then\n        COMPREPLY=($(compgen -W \"$options", out);
    put_option_words(cli_common_options, out);
    fputs("\" -- \"$word\"))\n        [[ ${COMPREPLY[0]} == *= ]] && compopt -o nospace\n    else\n"
          "        COMPREPLY=($(compgen -W \"$words\" -- \"$word\") $(compgen -f -- \"$word\"))\n    fi\n}\ncomplete -o filenames -F _adze "
          "adze\n",
          out);
}
