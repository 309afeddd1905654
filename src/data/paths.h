/* paths.h - what the names of data files tell. Private to data/. */
#ifndef ADZE_DATA_PATHS_H
#define ADZE_DATA_PATHS_H

#include <stdbool.h>

/* Whether the name ends so, with or without .gz after it. */
bool path_ends(const char *path, const char *ending);
/* .npy, .npz, .safetensors, the last two also with ":name". */
bool path_is_array(const char *path);

#endif
