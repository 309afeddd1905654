/* prefix.c - finds tokens that begin at a place of the text: a sorted list, narrowed byte by byte. */
#include "lm/tokenizer/tokenizer.h"

#include <stdlib.h>
#include <string.h>

static int by_spelling(const void *a, const void *b, void *spelling)
{
    const az_text *text = spelling;
    const int32_t x = *(const int32_t *)a, y = *(const int32_t *)b;
    const int order = az_text_compare(text[x], text[y]);
    return order != 0 ? order : (x > y) - (x < y);
}

void az_prefix_build(az_prefix_index *index, const az_text *spelling, int32_t *id, int32_t n)
{
    *index = (az_prefix_index){.spelling = spelling, .id = id, .n = n};
    qsort_r(id, (size_t)n, sizeof *id, by_spelling, (void *)(uintptr_t)spelling);
    for (int32_t i = 0; i < n; i++)
        if (spelling[id[i]].length > 0) index->first[(unsigned char)spelling[id[i]].data[0]] = true;
}

az_prefix_walk az_prefix_begin(const az_prefix_index *index)
{
    return (az_prefix_walk){.high = index->n};
}

/* Spellings that end here come before those that go on. */
static int byte_order(const az_text *spelling, size_t at, unsigned char byte)
{
    return spelling->length <= at ? -1 : (int)(unsigned char)spelling->data[at] - (int)byte;
}

/* In [low, high), which agree in their first `at` bytes: the first whose next byte is not less than (above: greater than) byte. */
static int32_t bound(const az_prefix_index *index, const az_prefix_walk *walk, unsigned char byte, bool above)
{
    int32_t low = walk->low, high = walk->high;
    while (low < high) {
        const int32_t middle = low + (high - low) / 2;
        const int order = byte_order(&index->spelling[index->id[middle]], walk->length, byte);
        if (order < 0 || (above && order == 0))
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

bool az_prefix_step(const az_prefix_index *index, az_prefix_walk *walk, unsigned char byte)
{
    if (walk->length == 0 && !index->first[byte]) walk->high = walk->low;
    walk->low = bound(index, walk, byte, false);
    walk->high = bound(index, walk, byte, true);
    walk->length++;
    return walk->low < walk->high;
}

int32_t az_prefix_token(const az_prefix_index *index, const az_prefix_walk *walk)
{
    if (walk->low >= walk->high) return -1;
    const int32_t id = index->id[walk->low]; /* the shortest of those that agree so far */
    return index->spelling[id].length == walk->length ? id : -1;
}
