/* documents.h - reading documents from memory. Private to data/. */
#ifndef ADZE_DATA_DOCUMENTS_H
#define ADZE_DATA_DOCUMENTS_H

#include "adze/data.h"

/* What az_documents_read does with the bytes of a file, which must outlive the result; the name tells text from JSON lines. */
az_documents *documents_parse(az_ctx *az, const char *path, const char *text, size_t length);
/* The same of az_examples_read. */
az_examples *examples_parse(az_ctx *az, const char *path, const char *text, size_t length);
/* Fails at the first bytes that are not UTF-8, or zero; names the line. */
bool documents_check_text(az_ctx *az, const char *text, size_t length);
/* Whether a line of JSON lines holds nothing. */
bool documents_blank_line(const char *text, size_t length);

#endif
