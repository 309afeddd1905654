/* format_csl.c - Tiled-CSL: matrices with scattered zeros as tiles of words that hold a value and its place.
 *
 * The matrix is cut into tiles of 128 rows and 64 columns, row of tiles after row of tiles. A word has the value (f16 or bf16) in its low
 * half and row * 64 + column inside the tile in its high half; the words of a tile are ascending in it, and filled up to a multiple of four
 * with zeros of the tile. "words" [n] as i32; "offsets" [tiles + 2]: where each tile begins, in units of four words, the last one twice (an
 * empty tile, so that a reader may run ahead). A weight takes 32 density bits.
 *
 * Xia et al.: "Flash-LLM", VLDB 2024 (arXiv 2309.10285), section 4.3, before its reordering for the banks of a GPU's shared memory. */
#include "tensor/half.h"
#include "weight/sparse_format.h"

#include <string.h>

enum { WORDS, OFFSETS };
enum { GROUP = 4, PLACES = AZ_CSL_ROWS * AZ_TILE };

static int64_t tiles_down(const az_weight *w)
{
    return az_tiles(w->rows, AZ_CSL_ROWS);
}

static int64_t tiles_across(const az_weight *w)
{
    return az_tiles(w->cols, AZ_TILE);
}

static az_dtype type_of(const az_weight *w)
{
    return w->format == &az_format_csl_bf16 ? AZ_BF16 : AZ_F16;
}

static az_csl_strip strip_of(const az_weight *w, int64_t strip)
{
    const int64_t across = tiles_across(w);
    return (az_csl_strip){.words = w->part[WORDS]->data,
                          .offsets = (const int32_t *)w->part[OFFSETS]->data + strip * across,
                          .tiles = across,
                          .type = type_of(w)};
}

static float word_value(uint32_t word, az_dtype type)
{
    const uint16_t half = (uint16_t)(word & 0xffff);
    return type == AZ_BF16 ? az_bf16_widen(half) : az_f16_widen(half);
}

/* The first word of a tile whose place is not below `place`. */
static const uint32_t *find_place(const uint32_t *word, const uint32_t *end, uint32_t place)
{
    while (word < end) {
        const uint32_t *middle = word + (end - word) / 2;
        if (*middle >> 16 < place)
            word = middle + 1;
        else
            end = middle;
    }
    return word;
}

static void decode_csl(const az_weight *w, int64_t first, int64_t n, float *out)
{
    memset(out, 0, (size_t)(n * w->cols) * sizeof *out);
    for (int64_t r = first; r < first + n; r++, out += w->cols) {
        const az_csl_strip strip = strip_of(w, r / AZ_CSL_ROWS);
        const uint32_t row = (uint32_t)(r % AZ_CSL_ROWS);
        for (int64_t t = 0; t < strip.tiles; t++) {
            const uint32_t *end = az_csl_tile(&strip, t + 1), *word = find_place(az_csl_tile(&strip, t), end, row * AZ_TILE);
            for (; word < end && *word >> 22 == row; word++) {
                const int64_t c = t * AZ_TILE + (*word >> 16 & 63);
                if (c < w->cols) out[c] = word_value(*word, strip.type);
            }
        }
    }
}

/* ---- products ---- */

static void dense_strip(const az_weight *w, int64_t strip, const az_sparse_input *x, float *sums)
{
    const az_csl_strip s = strip_of(w, strip);
    az_sparse_kernels_here()->csl_dense(&s, x, sums);
}

static void sparse_strip(const az_weight *w, int64_t strip, const az_sparse_input *x, float *sums)
{
    const az_csl_strip s = strip_of(w, strip);
    az_sparse_kernels_here()->csl_sparse(&s, x, sums);
}

static void matmul_csl(az_ctx *az, const az_weight *w, const float *x, int64_t n, float *y)
{
    static const az_sparse_strips how = {
        .rows = AZ_CSL_ROWS, .costs = {0.14, 0.68, 0.05, 1.75, 0.25}, .dense = dense_strip, .sparse = sparse_strip};
    az_strips_matmul(az, w, x, n, y, &how, (double)w->part[WORDS]->shape[0] / ((double)w->rows * (double)w->cols));
}

/* ---- checking ---- */

static bool check_shapes(az_ctx *az, const az_weight *w)
{
    const az_tensor *words = w->part[WORDS], *offsets = w->part[OFFSETS];
    const int64_t tiles = tiles_down(w) * tiles_across(w);
    const bool fits = words->dtype == AZ_I32 && words->rank == 1 && az_is_contiguous(words) && words->shape[0] % GROUP == 0 &&
                      offsets->dtype == AZ_I32 && offsets->rank == 1 && az_is_contiguous(offsets) && offsets->shape[0] == tiles + 2;
    if (!fits)
        az_fail(az, AZ_BAD_INPUT,
                "weight [%lld, %lld] of format %s: words must be i32 [a multiple of 4] and the offsets i32 [%lld], got %s %s and %s %s",
                (long long)w->rows, (long long)w->cols, w->format->name, (long long)(tiles + 2), az_dtype_name(words->dtype),
                az_shape_text(az, words), az_dtype_name(offsets->dtype), az_shape_text(az, offsets));
    return fits;
}

/* Places ascend inside the tile, and what lies beyond the edges is zero. */
static bool check_tile(az_ctx *az, const az_weight *w, int64_t tile)
{
    const int64_t across = tiles_across(w), rows = w->rows - tile / across * AZ_CSL_ROWS, cols = w->cols - tile % across * AZ_TILE;
    const az_csl_strip strip = strip_of(w, tile / across);
    int64_t before = -1;
    for (const uint32_t *word = az_csl_tile(&strip, tile % across), *end = az_csl_tile(&strip, tile % across + 1); word < end; word++) {
        const int64_t place = *word >> 16;
        if (place <= before || place >= PLACES)
            return az_fail(az, AZ_BAD_INPUT,
                           "weight of format %s: place %lld of tile %lld follows place %lld; places ascend and are below %d",
                           w->format->name, (long long)place, (long long)tile, (long long)before, PLACES);
        if ((place / AZ_TILE >= rows || place % AZ_TILE >= cols) && word_value(*word, strip.type) != 0)
            return az_fail(az, AZ_BAD_INPUT, "weight of format %s: tile %lld has a value beyond the edge, at place %lld", w->format->name,
                           (long long)tile, (long long)place);
        before = place;
    }
    return true;
}

static bool check_csl(az_ctx *az, const az_weight *w)
{
    if (!check_shapes(az, w)) return false;
    const int64_t tiles = tiles_down(w) * tiles_across(w), groups = w->part[WORDS]->shape[0] / GROUP;
    const int32_t *offset = w->part[OFFSETS]->data;
    for (int64_t t = 0; t < tiles; t++)
        if ((t == 0 && offset[0] != 0) || offset[t] > offset[t + 1] || offset[t + 1] > groups)
            return az_fail(az, AZ_BAD_INPUT, "weight of format %s: the offsets of tile %lld, %d and %d, are not ascending from 0 to %lld",
                           w->format->name, (long long)t, offset[t], offset[t + 1], (long long)groups);
    if (offset[tiles] != groups || offset[tiles + 1] != groups)
        return az_fail(az, AZ_BAD_INPUT, "weight of format %s: the offsets end with %d and %d instead of %lld", w->format->name,
                       offset[tiles], offset[tiles + 1], (long long)groups);
    for (int64_t t = 0; t < tiles; t++)
        if (!check_tile(az, w, t)) return false;
    return true;
}

/* ---- encoding ---- */

/* A tile of a matrix: its first element; rows and columns beyond the edge are zero. */
typedef struct tile_view {
    const az_tensor *dense;
    int64_t row, col;
    az_dtype type;
} tile_view;

static float tile_value(const tile_view *v, int64_t place)
{
    const int64_t r = v->row + place / AZ_TILE, c = v->col + place % AZ_TILE;
    if (r >= v->dense->shape[0] || c >= v->dense->shape[1]) return 0;
    return az_f32(v->dense)[r * v->dense->shape[1] + c];
}

static int32_t groups_of_tile(const tile_view *v)
{
    int32_t kept = 0;
    for (int64_t p = 0; p < PLACES; p++) kept += az_sparse_value(tile_value(v, p), v->type) != 0;
    return (kept + GROUP - 1) / GROUP;
}

/* What is not zero, and the first zeros until there are `count` words. */
static void store_tile(const tile_view *v, uint32_t *word, int64_t count)
{
    int64_t spare = count;
    for (int64_t p = 0; p < PLACES; p++) spare -= az_sparse_value(tile_value(v, p), v->type) != 0;
    for (int64_t p = 0; p < PLACES; p++) {
        const float value = tile_value(v, p);
        const bool kept = az_sparse_value(value, v->type) != 0;
        if (!kept && spare-- <= 0) continue;
        *word++ = (uint32_t)p << 16 | (kept ? az_sparse_round(value, v->type) : 0);
    }
}

static az_weight *encode_csl(az_ctx *az, const az_tensor *dense, const az_format *format, az_dtype type)
{
    const int64_t rows = dense->shape[0], cols = dense->shape[1], across = az_tiles(cols, AZ_TILE),
                  tiles = az_tiles(rows, AZ_CSL_ROWS) * across;
    az_tensor *offsets = az_new1(az, AZ_I32, tiles + 2);
    if (!offsets || !az_sparse_holds(az, dense, format, type)) return NULL;
    int32_t *offset = offsets->data;
#pragma omp parallel for schedule(static) num_threads(az_threads(az))
    for (int64_t t = 0; t < tiles; t++)
        offset[t + 1] = groups_of_tile(&(tile_view){dense, t / across * AZ_CSL_ROWS, t % across * AZ_TILE, type});
    int64_t total = 0;
    offset[0] = 0;
    for (int64_t t = 1; t <= tiles && total <= INT32_MAX; t++) offset[t] = (int32_t)(total += offset[t]);
    if (total == 0) offset[tiles] = (int32_t)(total = 1); /* files have no empty tensors */
    offset[tiles + 1] = offset[tiles];
    if (total > INT32_MAX)
        return az_fail(az, AZ_BAD_INPUT, "weight %s keeps more values than %s can number", az_shape_text(az, dense), format->name);
    az_tensor *words = az_new1(az, AZ_I32, GROUP * total);
    if (!words) return NULL;
    uint32_t *word = words->data;
#pragma omp parallel for schedule(static) num_threads(az_threads(az))
    for (int64_t t = 0; t < tiles; t++)
        store_tile(&(tile_view){dense, t / across * AZ_CSL_ROWS, t % across * AZ_TILE, type}, word + GROUP * (int64_t)offset[t],
                   GROUP * (int64_t)(offset[t + 1] - offset[t]));
    az_tensor *part[AZ_WEIGHT_PARTS] = {[WORDS] = words, [OFFSETS] = offsets};
    return az_weight_from_parts(az, format, rows, cols, part);
}

static az_weight *encode_f16(az_ctx *az, const az_tensor *dense, const float *importance)
{
    (void)importance;
    return encode_csl(az, dense, &az_format_csl_f16, AZ_F16);
}

static az_weight *encode_bf16(az_ctx *az, const az_tensor *dense, const float *importance)
{
    (void)importance;
    return encode_csl(az, dense, &az_format_csl_bf16, AZ_BF16);
}

const az_format az_format_csl_f16 = {
    .name = "csl_f16",
    .summary = "scattered zeros: a word of 32 bits with the place and the value, f16, of the others (Tiled-CSL)",
    .part_name = {"words", "offsets"},
    .ggml_type = -1,
    .block = 1,
    .decode = decode_csl,
    .matmul = matmul_csl,
    .encode = encode_f16,
    .check = check_csl,
    .keeps_zeros = true,
};

const az_format az_format_csl_bf16 = {
    .name = "csl_bf16",
    .summary = "scattered zeros: a word of 32 bits with the place and the value, bf16, of the others (Tiled-CSL)",
    .part_name = {"words", "offsets"},
    .ggml_type = -1,
    .block = 1,
    .decode = decode_csl,
    .matmul = matmul_csl,
    .encode = encode_bf16,
    .check = check_csl,
    .keeps_zeros = true,
};
