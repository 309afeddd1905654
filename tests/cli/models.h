/* models.h - a tiny model and text of the test's own, made by the command itself. */
#ifndef ADZE_TEST_CLI_MODELS_H
#define ADZE_TEST_CLI_MODELS_H

#include "support/command.h"
#include "support/folder.h"

/* A folder with text.txt (60 stories) and tiny.gguf (one block, width 32, trained for a few steps). */
const char *test_models(az_ctx *az);

#endif
