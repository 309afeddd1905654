/* prompt.h - what the files of adze prompt share. */
#ifndef ADZE_CLI_PROMPT_H
#define ADZE_CLI_PROMPT_H

#include "adze/backend.h"
#include "cli/cli.h"

typedef struct prompt_settings {
    const char *backend, *prompt, *system, *template, *vars, *output, *score, *cutoff, *rows, *demos, *field;
    az_texts images;
    int64_t samples, tokens, next, top_k, shots;
    double temperature, top_p;
    bool complete, embed;
    az_backend_settings how;
    az_find_how find;
} prompt_settings;

/* The messages of the line: --template filled with --vars, or --system and --prompt. */
const az_messages *prompt_messages(cli_job *job, const prompt_settings *o, const char *template);
/* A file, else the built-in template of that name. */
const char *prompt_template_text(az_ctx *az, const char *name);
az_backend *prompt_backend(cli_job *job, const prompt_settings *o);

/* ---- prompt_texts.c ---- */

int prompt_find(cli_job *job, const prompt_settings *o);
int prompt_template(cli_job *job, const prompt_settings *o);

#endif
