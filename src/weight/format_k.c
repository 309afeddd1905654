/* format_k.c - blocks of 256 values in sub-blocks j: x = d s_j q - m t_j with whole numbers q, s, t and two f16 numbers d, m.
 *
 * The formats differ in where the bits of q, s and t lie, which one table says. q3_k, q6_k: no minimum, signed s. Bits of q are kept in
 * planes: byte 32 b + l of a plane holds bits of values 32 g + l for the few groups g that share b. */
#include "tensor/half.h"
#include "weight/kquant_search.h"
#include "weight/weight_internal.h"

#include <math.h>
#include <string.h>

/* ---- layouts ----------------------------------------------------------------------------------------------------------------------- */

#define INLINE static inline __attribute__((always_inline)) /* so that each format gets code of its own */

enum { GROUP = 32, GROUPS = AZ_K_BLOCK / GROUP };

/* `bits` of each q from byte `at` of a block on. Groups that share bytes are `apart` from each other. */
typedef struct plane {
    int at, bits, apart;
} plane;

typedef struct k_layout {
    az_k_shape shape;
    plane low, high; /* q - shape.levels.low = low + (high << low.bits); high.bits may be 0 */
    int d, m;        /* where they lie; m = -1: none */
    int scales;      /* where s and t lie */
    void (*read_scales)(const unsigned char *from, az_k_block *block);
    void (*write_scales)(const az_k_block *block, unsigned char *to);
} k_layout;

/* Where group g lies: the index of its 32 bytes, and how far up in them. */
INLINE int group_bytes(plane p, int g)
{
    const int span = 8 / p.bits * p.apart;
    return p.at + GROUP * (g / span * p.apart + g % p.apart);
}

INLINE int group_shift(plane p, int g)
{
    const int span = 8 / p.bits * p.apart;
    return p.bits * (g % span / p.apart);
}

/* Eight bytes at a time. */
INLINE void read_plane(plane p, const unsigned char *block, int up, int8_t *q)
{
    const uint64_t mask = 0x0101010101010101u * ((1u << p.bits) - 1);
#pragma GCC unroll 8
    for (int g = 0; g < GROUPS; g++) {
        const unsigned char *from = block + group_bytes(p, g);
        const int shift = group_shift(p, g);
        for (int l = 0; l < GROUP; l += 8, q += 8) {
            uint64_t bytes, levels;
            memcpy(&bytes, from + l, 8);
            memcpy(&levels, q, 8);
            levels |= (bytes >> shift & mask) << up;
            memcpy(q, &levels, 8);
        }
    }
}

static void write_plane(plane p, const unsigned char *q, int down, unsigned char *block)
{
    const int mask = (1 << p.bits) - 1;
    for (int g = 0; g < GROUPS; g++, q += GROUP) {
        unsigned char *to = block + group_bytes(p, g);
        const int shift = group_shift(p, g);
        for (int l = 0; l < GROUP; l++) to[l] = (unsigned char)(to[l] | (q[l] >> down & mask) << shift);
    }
}

/* ---- scales ------------------------------------------------------------------------------------------------------------------------ */

/* q2_k: a byte a sub-block, s below t. */
static void read_nibbles(const unsigned char *from, az_k_block *block)
{
    for (int j = 0; j < 16; j++) {
        block->s[j] = from[j] & 15;
        block->t[j] = (int8_t)(from[j] >> 4);
    }
}

static void write_nibbles(const az_k_block *block, unsigned char *to)
{
    for (int j = 0; j < 16; j++) to[j] = (unsigned char)(block->s[j] | block->t[j] << 4);
}

/* q3_k: s + 32 in 6 bits. Bytes 0-7: the lower 4 of s_0 .. s_7, above them those of s_8 .. s_15; bytes 8-11: the upper 2, s_j in byte
 * 8 + j % 4. */
static void read_signed_sixes(const unsigned char *from, az_k_block *block)
{
    for (int j = 0; j < 16; j++) {
        const int low = from[j % 8] >> 4 * (j / 8) & 15, high = from[8 + j % 4] >> 2 * (j / 4) & 3;
        block->s[j] = (int8_t)((low | high << 4) - 32);
    }
}

static void write_signed_sixes(const az_k_block *block, unsigned char *to)
{
    for (int j = 0; j < 16; j++) {
        const int s = block->s[j] + 32;
        to[j % 8] = (unsigned char)(to[j % 8] | (s & 15) << 4 * (j / 8));
        to[8 + j % 4] = (unsigned char)(to[8 + j % 4] | s >> 4 << 2 * (j / 4));
    }
}

/* q4_k, q5_k: s and t in 6 bits. Bytes 0-3: s_0 .. s_3; 4-7: t_0 .. t_3, whose upper 2 bits are the upper ones of s_4 .., t_4 ..;
 * bytes 8-11: the lower 4 bits of s_4 .. s_7, above them those of t_4 .. t_7. */
static void read_sixes(const unsigned char *from, az_k_block *block)
{
    for (int j = 0; j < 4; j++) {
        block->s[j] = from[j] & 63;
        block->t[j] = from[j + 4] & 63;
        block->s[j + 4] = (int8_t)((from[j + 8] & 15) | from[j] >> 6 << 4);
        block->t[j + 4] = (int8_t)(from[j + 8] >> 4 | from[j + 4] >> 6 << 4);
    }
}

static void write_sixes(const az_k_block *block, unsigned char *to)
{
    for (int j = 0; j < 4; j++) {
        to[j] = (unsigned char)(block->s[j] | block->s[j + 4] >> 4 << 6);
        to[j + 4] = (unsigned char)(block->t[j] | block->t[j + 4] >> 4 << 6);
        to[j + 8] = (unsigned char)((block->s[j + 4] & 15) | (block->t[j + 4] & 15) << 4);
    }
}

/* q6_k: a signed byte a sub-block. */
static void read_bytes(const unsigned char *from, az_k_block *block)
{
    memcpy(block->s, from, 16);
}

static void write_bytes(const az_k_block *block, unsigned char *to)
{
    memcpy(to, block->s, 16);
}

/* ---- the table --------------------------------------------------------------------------------------------------------------------- */

static const k_layout layouts[] = {
    [AZ_GGML_Q2_K - AZ_GGML_Q2_K] = {.shape = {.sub = 16, .levels = {0, 3}, .scales = {0, 15}, .minimum = true},
                                     .low = {16, 2, 1},
                                     .d = 80,
                                     .m = 82,
                                     .read_scales = read_nibbles,
                                     .write_scales = write_nibbles},
    [AZ_GGML_Q3_K - AZ_GGML_Q2_K] = {.shape = {.sub = 16, .levels = {-4, 3}, .scales = {-32, 31}},
                                     .low = {32, 2, 1},
                                     .high = {0, 1, 1},
                                     .scales = 96,
                                     .d = 108,
                                     .m = -1,
                                     .read_scales = read_signed_sixes,
                                     .write_scales = write_signed_sixes},
    [AZ_GGML_Q4_K - AZ_GGML_Q2_K] = {.shape = {.sub = 32, .levels = {0, 15}, .scales = {0, 63}, .minimum = true},
                                     .low = {16, 4, 1},
                                     .m = 2,
                                     .scales = 4,
                                     .read_scales = read_sixes,
                                     .write_scales = write_sixes},
    [AZ_GGML_Q5_K - AZ_GGML_Q2_K] = {.shape = {.sub = 32, .levels = {0, 31}, .scales = {0, 63}, .minimum = true},
                                     .low = {48, 4, 1},
                                     .high = {16, 1, 1},
                                     .m = 2,
                                     .scales = 4,
                                     .read_scales = read_sixes,
                                     .write_scales = write_sixes},
    [AZ_GGML_Q6_K - AZ_GGML_Q2_K] = {.shape = {.sub = 16, .levels = {-32, 31}, .scales = {-128, 127}},
                                     .low = {0, 4, 2},
                                     .high = {128, 2, 1},
                                     .scales = 192,
                                     .d = 208,
                                     .m = -1,
                                     .read_scales = read_bytes,
                                     .write_scales = write_bytes},
};

static const k_layout *layout_of(const az_format *format)
{
    return &layouts[format->ggml_type - AZ_GGML_Q2_K];
}

INLINE void unpack(const k_layout *layout, const unsigned char *from, az_k_block *block)
{
    *block = (az_k_block){0};
    memcpy(&block->d, from + layout->d, 2);
    if (layout->m >= 0) memcpy(&block->m, from + layout->m, 2);
    layout->read_scales(from + layout->scales, block);
    read_plane(layout->low, from, 0, block->q);
    if (layout->high.bits) read_plane(layout->high, from, layout->low.bits, block->q);
    for (int i = 0; i < AZ_K_BLOCK; i++) block->q[i] = (int8_t)(block->q[i] + layout->shape.levels.low);
}

static void pack(const k_layout *layout, const az_k_block *block, int64_t bytes, unsigned char *to)
{
    unsigned char q[AZ_K_BLOCK];
    for (int i = 0; i < AZ_K_BLOCK; i++) q[i] = (unsigned char)(block->q[i] - layout->shape.levels.low);
    memset(to, 0, (size_t)bytes);
    memcpy(to + layout->d, &block->d, 2);
    if (layout->m >= 0) memcpy(to + layout->m, &block->m, 2);
    layout->write_scales(block, to + layout->scales);
    write_plane(layout->low, q, 0, to);
    if (layout->high.bits) write_plane(layout->high, q, layout->low.bits, to);
}

/* ---- decoding and encoding --------------------------------------------------------------------------------------------------------- */

INLINE void decode_blocks(const k_layout *layout, const unsigned char *from, int64_t bytes, int64_t count, float *out)
{
    const az_weight_kernels *kernels = az_weight_kernels_here();
    const int sub = layout->shape.sub;
    for (int64_t b = 0; b < count; b++, from += bytes) {
        az_k_block block;
        unpack(layout, from, &block);
        const float d = az_f16_widen(block.d), m = az_f16_widen(block.m);
        for (int j = 0; j < AZ_K_BLOCK / sub; j++, out += sub)
            kernels->widen_levels(block.q + j * sub, sub, d * (float)block.s[j], m * (float)block.t[j], out);
    }
}

static void decode_k(const az_weight *w, int64_t first, int64_t n, float *out)
{
    const int64_t bytes = w->format->block_bytes, in_row = w->cols / AZ_K_BLOCK;
    const unsigned char *from = (const unsigned char *)w->part[0]->data + first * in_row * bytes;
    switch (w->format->ggml_type) {
    case AZ_GGML_Q2_K: decode_blocks(&layouts[0], from, bytes, n * in_row, out); break;
    case AZ_GGML_Q3_K: decode_blocks(&layouts[AZ_GGML_Q3_K - AZ_GGML_Q2_K], from, bytes, n * in_row, out); break;
    case AZ_GGML_Q4_K: decode_blocks(&layouts[AZ_GGML_Q4_K - AZ_GGML_Q2_K], from, bytes, n * in_row, out); break;
    case AZ_GGML_Q5_K: decode_blocks(&layouts[AZ_GGML_Q5_K - AZ_GGML_Q2_K], from, bytes, n * in_row, out); break;
    default: decode_blocks(&layouts[AZ_GGML_Q6_K - AZ_GGML_Q2_K], from, bytes, n * in_row, out); break;
    }
}

static bool encode_block(const az_format *format, const float *x, const float *importance, unsigned char *out)
{
    az_k_block block;
    const k_layout *layout = layout_of(format);
    const bool fits = az_k_search(&layout->shape, x, importance, &block);
    pack(layout, &block, format->block_bytes, out);
    return fits;
}

const az_format az_format_q2_k = {
    .name = "q2_k",
    .summary = "blocks of 256 two-bit values with 4-bit scales and minima for every 16, 2.625 bits a weight",
    .part_name = {"blocks"},
    .ggml_type = AZ_GGML_Q2_K,
    .block = AZ_K_BLOCK,
    .block_bytes = 84,
    .decode = decode_k,
    .rows_kernel = az_block_rows_kernel,
    .encode_block = encode_block,
    .check = az_check_blocks,
};

const az_format az_format_q3_k = {
    .name = "q3_k",
    .summary = "blocks of 256 three-bit values with 6-bit scales for every 16, 3.4375 bits a weight",
    .part_name = {"blocks"},
    .ggml_type = AZ_GGML_Q3_K,
    .block = AZ_K_BLOCK,
    .block_bytes = 110,
    .decode = decode_k,
    .rows_kernel = az_block_rows_kernel,
    .encode_block = encode_block,
    .check = az_check_blocks,
    .keeps_zeros = true,
};

const az_format az_format_q4_k = {
    .name = "q4_k",
    .summary = "blocks of 256 four-bit values with 6-bit scales and minima for every 32, 4.5 bits a weight",
    .part_name = {"blocks"},
    .ggml_type = AZ_GGML_Q4_K,
    .block = AZ_K_BLOCK,
    .block_bytes = AZ_Q4_K_BYTES,
    .decode = decode_k,
    .rows_kernel = az_block_rows_kernel,
    .encode_block = encode_block,
    .check = az_check_blocks,
};

const az_format az_format_q5_k = {
    .name = "q5_k",
    .summary = "blocks of 256 five-bit values with 6-bit scales and minima for every 32, 5.5 bits a weight",
    .part_name = {"blocks"},
    .ggml_type = AZ_GGML_Q5_K,
    .block = AZ_K_BLOCK,
    .block_bytes = 176,
    .decode = decode_k,
    .rows_kernel = az_block_rows_kernel,
    .encode_block = encode_block,
    .check = az_check_blocks,
};

const az_format az_format_q6_k = {
    .name = "q6_k",
    .summary = "blocks of 256 six-bit values with 8-bit scales for every 16, 6.5625 bits a weight",
    .part_name = {"blocks"},
    .ggml_type = AZ_GGML_Q6_K,
    .block = AZ_K_BLOCK,
    .block_bytes = AZ_Q6_K_BYTES,
    .decode = decode_k,
    .rows_kernel = az_block_rows_kernel,
    .encode_block = encode_block,
    .check = az_check_blocks,
    .keeps_zeros = true,
};
