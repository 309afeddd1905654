/* folder.h - a fresh folder of the test's own, removed when the context closes. */
#ifndef ADZE_TEST_FOLDER_H
#define ADZE_TEST_FOLDER_H

#include "adze/base.h"

const char *test_folder(az_ctx *az);
/* folder/name, in the current scope. */
const char *test_path(az_ctx *az, const char *folder, const char *name);

#endif
