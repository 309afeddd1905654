/* format_bipolar.c - weights as planes of bits, each bit +1 or -1 times its power of two.
 *
 * Parts: planes u8 [strips, bytes of a strip], as src/weight/kernels/planes.h lays them out: strips of 32 rows, the last one filled up with
 * zero bits, as are the last chunks of rows; scales and offsets f32 or f16 [rows, groups]; how i32 [4], the numbers of az_bipolar_how.
 *
 * "Efficient arbitrary precision acceleration for large language models on GPU tensor cores" (arXiv 2409.17870). */
#include "weight/bipolar.h"

#include "tensor/half.h"

#include <math.h>
#include <string.h>

enum { WIDEST = 32 }; /* chunks of a block */

bool az_bipolar_group_fits(int64_t cols, int64_t group)
{
    if (group == cols) return true;
    return group > 0 && cols % group == 0 && (group <= 8 * WIDEST ? group % 8 == 0 : group % (8 * WIDEST) == 0);
}

az_bipolar_layout az_bipolar_layout_of(int64_t rows, int64_t cols, int bits, int64_t groups)
{
    az_bipolar_layout l = {.planes = bits, .block = WIDEST, .chunks = (cols + 7) / 8, .group = cols / groups, .groups = groups};
    if (groups > 1 && l.group < 8 * WIDEST) l.block = (int)(l.group / 8);
    l.strips = (rows + AZ_STRIP - 1) / AZ_STRIP;
    l.strip_bytes = l.chunks * l.planes * AZ_STRIP;
    return l;
}

az_bipolar_how az_bipolar_how_of(const az_weight *w)
{
    az_bipolar_how how;
    memcpy(&how, w->part[BIPOLAR_HOW]->data, sizeof how);
    return how;
}

az_bipolar_layout az_bipolar_layout_of_weight(const az_weight *w)
{
    return az_bipolar_layout_of(w->rows, w->cols, az_bipolar_how_of(w).weight_bits, w->part[BIPOLAR_SCALES]->shape[1]);
}

/* ---- rows and planes ---- */

/* The bits of a byte as bytes 0 or 1, the lowest first in memory. */
static inline uint64_t spread(uint8_t byte)
{
    const uint64_t apart = (byte * 0x0101010101010101u) & 0x8040201008040201u;
    return (apart + 0x7f7f7f7f7f7f7f7fu) >> 7 & 0x0101010101010101u;
}

/* Chunks first .. first + block - 1 begin here, and how many they are. */
static int64_t block_at(const az_bipolar_layout *l, int64_t first, int64_t *count)
{
    *count = first + l->block <= l->chunks ? l->block : l->chunks - first;
    return first * l->planes * AZ_STRIP;
}

void az_bipolar_get_row(const az_bipolar_layout *l, const uint8_t *strip, int row, int64_t cols, uint8_t *code)
{
    int64_t count;
    for (int64_t first = 0; first < l->chunks; first += l->block) {
        const uint8_t *from = strip + block_at(l, first, &count) + row;
        for (int64_t c = 0; c < count; c++) {
            uint64_t eight = 0; /* codes, a byte each */
            for (int j = 0; j < l->planes; j++) eight |= spread(from[(j * count + c) * AZ_STRIP]) << j;
            uint8_t bytes[8];
            for (int k = 0; k < 8; k++) bytes[k] = (uint8_t)(eight >> 8 * k);
            const int64_t at = 8 * (first + c), n = at + 8 <= cols ? 8 : cols - at;
            memcpy(code + at, bytes, (size_t)n);
        }
    }
}

void az_bipolar_set_row(const az_bipolar_layout *l, uint8_t *strip, int row, int64_t cols, const uint8_t *code)
{
    int64_t count;
    for (int64_t first = 0; first < l->chunks; first += l->block) {
        uint8_t *to = strip + block_at(l, first, &count) + row;
        for (int64_t c = 0; c < count; c++)
            for (int64_t k = 8 * (first + c); k < 8 * (first + c + 1) && k < cols; k++)
                for (int j = 0; j < l->planes; j++) to[(j * count + c) * AZ_STRIP] |= (uint8_t)((code[k] >> j & 1) << k % 8);
    }
}

static void decode_row(const az_weight *w, const az_bipolar_layout *l, int64_t r, uint8_t *code, float *out)
{
    const int most = (1 << l->planes) - 1;
    az_bipolar_get_row(l, (const uint8_t *)w->part[BIPOLAR_PLANES]->data + r / AZ_STRIP * l->strip_bytes, (int)(r % AZ_STRIP), w->cols,
                       code);
    for (int64_t g = 0; g < l->groups; g++) {
        const double scale = az_bipolar_value(w->part[BIPOLAR_SCALES], r * l->groups + g);
        const float offset = az_bipolar_value(w->part[BIPOLAR_OFFSETS], r * l->groups + g);
        for (int64_t c = g * l->group; c < (g + 1) * l->group; c++) {
            const float value = (float)(scale * (2 * code[c] - most)); /* rounded as the offset was, so that zeros are exact */
            out[c] = value + offset;
        }
    }
}

/* The codes of a row are put where its values go, behind the last quarter. */
static void decode_bipolar(const az_weight *w, int64_t first, int64_t n, float *out)
{
    const az_bipolar_layout l = az_bipolar_layout_of_weight(w);
    for (int64_t r = first; r < first + n; r++, out += w->cols) decode_row(w, &l, r, (uint8_t *)out + 3 * w->cols, out);
}

/* ---- checking ---- */

static bool fits_groups(const az_weight *w, const az_tensor *x)
{
    return (x->dtype == AZ_F32 || x->dtype == AZ_F16) && x->rank == 2 && az_is_contiguous(x) && x->shape[0] == w->rows &&
           x->shape[1] >= 1 && x->shape[1] == w->part[BIPOLAR_SCALES]->shape[1] && w->cols % x->shape[1] == 0 &&
           az_bipolar_group_fits(w->cols, w->cols / x->shape[1]);
}

static bool check_how(az_ctx *az, const az_weight *w)
{
    const az_tensor *part = w->part[BIPOLAR_HOW];
    const bool shaped = part->dtype == AZ_I32 && part->rank == 1 && part->shape[0] == AZ_BIPOLAR_HOW && az_is_contiguous(part);
    const az_bipolar_how how = shaped ? az_bipolar_how_of(w) : (az_bipolar_how){0};
    if (how.weight_bits >= 1 && how.weight_bits <= AZ_MOST_PLANES && how.activation_bits >= 1 && how.activation_bits <= AZ_MOST_PLANES &&
        how.kernel >= 0 && how.kernel <= AZ_BIPOLAR_INT8 && (how.activation_offset == 0 || how.activation_offset == 1))
        return true;
    return az_fail(az, AZ_BAD_INPUT, "weight [%lld, %lld] of format bipolar: %d bits with %d; 1 to 8 are known", (long long)w->rows,
                   (long long)w->cols, how.weight_bits, how.activation_bits);
}

/* Bits behind the last input of a row would count: they must be zero. */
static bool check_padding(az_ctx *az, const az_weight *w, const az_bipolar_layout *l)
{
    const uint8_t *planes = w->part[BIPOLAR_PLANES]->data;
    const int64_t first = (l->chunks - 1) / l->block * l->block, count = l->chunks - first;
    for (int64_t strip = 0; w->cols % 8 != 0 && strip < l->strips; strip++)
        for (int j = 0; j < l->planes; j++)
            for (int r = 0; r < AZ_STRIP; r++) {
                const int64_t at = strip * l->strip_bytes + (first * l->planes + j * count + count - 1) * AZ_STRIP + r;
                if (planes[at] >> w->cols % 8 != 0)
                    return az_fail(az, AZ_BAD_INPUT, "weight of format bipolar: row %lld has bits behind its last input",
                                   (long long)(strip * AZ_STRIP + r));
            }
    return true;
}

static bool check_bipolar(az_ctx *az, const az_weight *w)
{
    const az_tensor *planes = w->part[BIPOLAR_PLANES], *scales = w->part[BIPOLAR_SCALES], *offsets = w->part[BIPOLAR_OFFSETS];
    if (!check_how(az, w)) return false;
    const bool groups = scales->rank == 2 && fits_groups(w, scales) && fits_groups(w, offsets);
    const az_bipolar_layout l = groups ? az_bipolar_layout_of_weight(w) : (az_bipolar_layout){0};
    if (!groups || planes->dtype != AZ_U8 || planes->rank != 2 || !az_is_contiguous(planes) || planes->shape[0] != l.strips ||
        planes->shape[1] != l.strip_bytes)
        return az_fail(az, AZ_BAD_INPUT, "weight [%lld, %lld] of format bipolar: planes %s %s, scales %s and offsets %s do not fit",
                       (long long)w->rows, (long long)w->cols, az_dtype_name(planes->dtype), az_shape_text(az, planes),
                       az_shape_text(az, scales), az_shape_text(az, offsets));
    for (int64_t i = 0; i < w->rows * l.groups; i++)
        if (!isfinite(az_bipolar_value(scales, i)) || !isfinite(az_bipolar_value(offsets, i)))
            return az_fail(az, AZ_BAD_INPUT, "weight of format bipolar: row %lld has the scale %g and the offset %g",
                           (long long)(i / l.groups), (double)az_bipolar_value(scales, i), (double)az_bipolar_value(offsets, i));
    return check_padding(az, w, &l);
}

const az_format az_format_bipolar = {
    .name = "bipolar",
    .summary = "planes of 1 to 8 bits that count +-1; products round activations to planes of bits too",
    .part_name = {"planes", "scales", "offsets", "how"},
    .ggml_type = -1,
    .block = 1,
    .decode = decode_bipolar,
    .matmul = az_bipolar_matmul,
    .check = check_bipolar,
};
