/* documents.h - reading documents from memory. Private to data/. */
#ifndef ADZE_DATA_DOCUMENTS_H
#define ADZE_DATA_DOCUMENTS_H

#include "adze/data.h"

/* What az_documents_read does with the bytes of a file, which must outlive the result; the name tells text from JSON lines. */
az_documents *documents_parse(az_ctx *az, const char *path, const char *text, size_t length);

#endif
