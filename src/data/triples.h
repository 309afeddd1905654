/* triples.h - making lists of matrix entries. Private to data/. */
#ifndef ADZE_DATA_TRIPLES_H
#define ADZE_DATA_TRIPLES_H

#include "adze/data.h"

/* Room for `count` entries; count of the result is that number, to be lowered when fewer are put. */
az_triples *triples_new(az_ctx *az, int64_t rows, int64_t cols, int64_t count);
static inline void triples_put(az_triples *triples, int64_t i, int64_t row, int64_t col, double value)
{
    triples->row[i] = row;
    triples->col[i] = col;
    triples->value[i] = value;
}
/* By rows, then columns. Entries that stand there twice with the same value become one, with different ones they are an error. */
bool triples_sort(az_ctx *az, az_triples *triples);

#endif
