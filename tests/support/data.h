/* data.h - real models and data, found below the folder that ADZE_DATA names. Without it a test that wants them is skipped. */
#ifndef ADZE_TEST_DATA_H
#define ADZE_TEST_DATA_H

#include "adze/base.h"

/* Path of a file of the data folder, in the current scope. Skips the running test when there is none. */
const char *test_data(az_ctx *az, const char *name);

#endif
