/* second_reader.h - what adze writes as safetensors, read once more by a program of its own (tests/fixtures/read_safetensors.py). */
#ifndef ADZE_TEST_SECOND_READER_H
#define ADZE_TEST_SECOND_READER_H

#include "adze/base.h"

/* Skips the test on machines without Python and numpy. */
void needs_numpy(void);
/* Fails the test unless the file or folder keeps to the format's description and holds the tensors of the other one (may be NULL). */
void check_safetensors(az_ctx *az, const char *path, const char *other);

#endif
