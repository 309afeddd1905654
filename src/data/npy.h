/* npy.h - NumPy's files in memory. Private to data/. */
#ifndef ADZE_DATA_NPY_H
#define ADZE_DATA_NPY_H

#include "adze/data.h"

/* How the bytes of one .npy file are to be read. */
typedef struct npy_head {
    char kind;    /* 'f' 'i' 'u' 'b' 'c' */
    int width;    /* bytes of an element */
    bool swapped; /* big-endian */
    bool fortran; /* the first axis runs fastest */
    int rank;
    int64_t shape[AZ_MAX_RANK];
    int64_t count; /* elements */
    size_t offset; /* of the first element */
} npy_head;
bool npy_read_head(az_ctx *az, const unsigned char *data, size_t size, npy_head *head);
/* The elements that the head describes, from `from` on. */
az_tensor *npy_elements(az_ctx *az, const npy_head *head, const unsigned char *from);

/* A file in memory with room to grow, in the order it is written. */
typedef struct npy_bytes {
    char *header; /* magic, length, dictionary */
    size_t header_size, data_size;
} npy_bytes;
bool npy_make_header(az_ctx *az, const az_tensor *value, npy_bytes *out);

#endif
