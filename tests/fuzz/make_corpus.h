/* make_corpus.h - what the writers of seeds share. */
#ifndef ADZE_FUZZ_MAKE_CORPUS_H
#define ADZE_FUZZ_MAKE_CORPUS_H

#include "adze/lm.h"

/* Vocabularies of 12 tokens: SentencePiece's with scores, byte-level with merges. */
az_tokenizer *corpus_scores(az_ctx *az);
az_tokenizer *corpus_ranks(az_ctx *az);
/* A file of two parts. */
void corpus_put(az_ctx *az, const char *path, const void *head, size_t head_bytes, const void *data, size_t bytes);

/* Seeds of fuzz_folder and fuzz_gguf_split. */
void make_folders(az_ctx *az, const char *corpus);

#endif
