/* command.h - running the built command in a shell, and reading what it printed. */
#ifndef ADZE_TEST_COMMAND_H
#define ADZE_TEST_COMMAND_H

#include "adze/base.h"

#include <jansson.h>

typedef struct test_run {
    int code;        /* exit status; 128 + signal when it was killed */
    char *out, *err; /* what it printed, zero-terminated, in the current scope */
} test_run;

/* Runs a line of shell in the folder, with the built adze first in PATH. */
test_run test_shell(az_ctx *az, const char *folder, const char *line);
/* The n-th line of a text as JSON, in the current scope; fails the test when there is none or it does not parse. */
json_t *test_json(az_ctx *az, const char *text, int n);
int test_lines(const char *text);
/* The first JSON line whose "section" is this one. */
json_t *test_section(az_ctx *az, const char *text, const char *section);
double test_json_number(const json_t *object, const char *key);

#endif
