/* folders.h - inputs that stand for several files: each begins with FUZZ_MARK and a byte that says which file it is. Text, JSON and binary
 * files lie behind one another, so that a mutation touches one of them and a splice of two inputs exchanges whole files. */
#ifndef ADZE_FUZZ_FOLDERS_H
#define ADZE_FUZZ_FOLDERS_H

#include "adze/lm.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define FUZZ_MARK "\xff==\xfe"
enum { FUZZ_MARK_BYTES = 4, FUZZ_MOST_FILES = 16 };

typedef struct fuzz_file {
    const uint8_t *data;
    size_t size;
} fuzz_file;

/* What a Hugging Face folder may hold, in the order of the letters. */
enum { FUZZ_FOLDER_FILES = 14 };
extern const char *const fuzz_folder_files[FUZZ_FOLDER_FILES];
/* The parts of a split model. */
enum { FUZZ_SPLIT_FILES = 3 };
extern const char *const fuzz_split_files[FUZZ_SPLIT_FILES];

/* An adapter's folder, and what it is for. */
enum { FUZZ_ADAPTER_FILES = 2 };
extern const char *const fuzz_adapter_files[FUZZ_ADAPTER_FILES];
extern const az_lm_config fuzz_adapter_model;

/* Cuts an input into the files a, b, ... of `count`; of two with one letter the last counts, one that is missing has data NULL. */
void fuzz_cut(const uint8_t *input, size_t size, fuzz_file *file, int count);
/* A new folder under $TMPDIR (or /dev/shm), gone when the process ends. Aborts where none can be made. */
const char *fuzz_folder(void);
/* Files of tensors stand in inputs without the eight bytes of their header's length, so that it follows the mutations: what begins with '{'
 * gets them here. */
bool fuzz_is_tensors(const char *name);
/* Makes the file hold these bytes, or not be there (data NULL). Writes nothing when the call before said the same. */
void fuzz_put(const char *folder, const char *name, int slot, fuzz_file content);

#endif
