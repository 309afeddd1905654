/* compressed_read.c - weights out of the compressed-tensors convention. */
#include "lm/files/compressed.h"

#include <string.h>

enum { BLOCK = 32 };

static bool is_one_of(const char *word, const char *const *known)
{
    for (; *known; known++)
        if (strcmp(word, *known) == 0) return true;
    return false;
}

bool az_compressed_check(az_ctx *az, const json_t *config)
{
    static const char *const formats[] = {"pack-quantized", "int-quantized", "naive-quantized", "dense", "mixed-precision", NULL};
    static const char *const sparse[] = {"sparse-24-bitmask", "dense", NULL};
    const json_t *quantization = json_object_get(config, "quantization_config");
    if (!json_is_object(quantization)) quantization = json_object_get(config, "compression_config");
    if (!json_is_object(quantization)) return true;
    const char *method = json_string_value(json_object_get(quantization, "quant_method"));
    if (!method || strcmp(method, "compressed-tensors") != 0)
        return az_fail(az, AZ_BAD_INPUT, "the model is quantized by the method '%.40s'; compressed-tensors is read", method ? method : "");
    const char *format = json_string_value(json_object_get(quantization, "format"));
    const char *sparsity = json_string_value(json_object_get(json_object_get(quantization, "sparsity_config"), "format"));
    if (format && !is_one_of(format, formats))
        return az_fail(az, AZ_BAD_INPUT, "the weights are stored as '%.40s'; pack-quantized and int-quantized are read", format);
    if (sparsity && !is_one_of(sparsity, sparse))
        return az_fail(az, AZ_BAD_INPUT, "the sparse weights are stored as '%.40s'; sparse-24-bitmask is read", sparsity);
    return true;
}

/* ---- finding ---- */

enum { PACKED, LEVELS, SCALE, ZERO, GROUP, VALUES, MASK, SHAPE, WEIGHT_SHAPE };
static const char *const part_names[] = {
    [PACKED] = "weight_packed", [LEVELS] = "weight", [SCALE] = "weight_scale", [ZERO] = "weight_zero_point",    [GROUP] = "weight_g_idx",
    [VALUES] = "compressed",    [MASK] = "bitmask",  [SHAPE] = "shape",        [WEIGHT_SHAPE] = "weight_shape", NULL};

bool az_compressed_is_part(const char *part)
{
    return is_one_of(part, part_names);
}

bool az_compressed_find(az_ctx *az, const char *module, az_compressed_finder find, const void *folder, az_compressed_tensors *out)
{
    const az_tensor *found[sizeof part_names / sizeof *part_names] = {0};
    for (int i = 0; part_names[i]; i++) {
        const char *name = az_format_text(az, "%s.%s", module, part_names[i]);
        found[i] = name ? find(folder, name) : NULL;
    }
    const bool levels = found[LEVELS] && found[LEVELS]->dtype == AZ_I8; /* "weight" of a dense matrix is another thing */
    *out = (az_compressed_tensors){.packed = found[PACKED],
                                   .levels = levels ? found[LEVELS] : NULL,
                                   .scale = found[SCALE],
                                   .zero = found[ZERO],
                                   .group = found[GROUP],
                                   .values = found[VALUES],
                                   .mask = found[MASK],
                                   .shape = found[SHAPE] ? found[SHAPE] : found[WEIGHT_SHAPE]};
    return (out->packed || levels) ? out->scale != NULL : out->values && out->mask;
}

/* ---- quantized ---- */

static bool has_shape(const az_tensor *x, az_dtype dtype, int64_t rows, int64_t cols)
{
    return x->dtype == dtype && x->rank == 2 && x->shape[0] == rows && x->shape[1] == cols;
}

static bool misfit(az_ctx *az, const char *name, const az_tensor *x)
{
    return az_fail(az, AZ_BAD_INPUT, "%s %s %s does not fit the matrix", name, az_dtype_name(x->dtype), az_shape_text(az, x));
}

/* Number i of a row of words, of so many bits, less its offset. */
static int32_t unpack(const uint32_t *word, int64_t i, int bits)
{
    const int64_t at = i * bits;
    uint64_t two = word[at / 32];
    if (at % 32 + bits > 32) two |= (uint64_t)word[at / 32 + 1] << 32;
    return (int32_t)(two >> at % 32 & ((1u << bits) - 1)) - (1 << (bits - 1));
}

/* Numbers less their zero points, with a scale for each group of columns. */
typedef struct quantized {
    int64_t rows, cols, groups;
    int32_t *value;      /* [rows, cols] */
    const float *scale;  /* [rows, groups] */
    const int32_t *zero; /* [rows, groups], or NULL */
    const int32_t *of;   /* [cols] group of each column; NULL = consecutive columns */
} quantized;

static int bits_of(const az_tensor *packed, int64_t cols)
{
    for (int bits = 1; bits <= 8; bits++)
        if (packed->rank == 2 && packed->shape[1] == (cols * bits + 31) / 32) return bits;
    return 0;
}

static bool read_values(az_ctx *az, const az_compressed_tensors *from, const az_compressed_rows *rows, int *bits, quantized *q)
{
    q->value = az_alloc_array(az, (size_t)(q->rows * q->cols), sizeof *q->value);
    if (!q->value) return false;
    if (from->packed) {
        const az_tensor *packed = from->packed;
        *bits = bits_of(packed, q->cols);
        if (*bits == 0 || !has_shape(packed, AZ_I32, rows->all, packed->shape[1])) return misfit(az, "weight_packed", packed);
        for (int64_t r = 0; r < q->rows; r++)
            for (int64_t c = 0; c < q->cols; c++)
                q->value[r * q->cols + c] = unpack((const uint32_t *)packed->data + (rows->first + r) * packed->shape[1], c, *bits);
        return true;
    }
    *bits = 8;
    if (!has_shape(from->levels, AZ_I8, rows->all, q->cols)) return misfit(az, "weight", from->levels);
    const int8_t *level = (const int8_t *)from->levels->data + rows->first * q->cols;
    for (int64_t i = 0; i < q->rows * q->cols; i++) q->value[i] = level[i];
    return true;
}

/* One scale for the matrix, one a row, or one a group. */
static bool read_scales(az_ctx *az, const az_tensor *scale, const az_compressed_rows *rows, quantized *q)
{
    if (scale->dtype != AZ_F32 && scale->dtype != AZ_F16 && scale->dtype != AZ_BF16) return misfit(az, "weight_scale", scale);
    const az_tensor *wide = az_cast(az, scale, AZ_F32);
    const int64_t count = az_count(scale);
    if (!wide) return false;
    q->groups = count == 1 ? 1 : count / rows->all;
    if (count != 1 && (count % rows->all != 0 || q->groups < 1 || q->groups > q->cols)) return misfit(az, "weight_scale", scale);
    if (!q->of && q->cols % q->groups != 0) return misfit(az, "weight_scale", scale);
    float *out = az_alloc_array(az, (size_t)(q->rows * q->groups), sizeof *out);
    for (int64_t i = 0; out && i < q->rows * q->groups; i++) out[i] = az_f32(wide)[count == 1 ? 0 : rows->first * q->groups + i];
    q->scale = out;
    return out != NULL;
}

/* Packed along the rows, or as they are. */
static bool read_zeros(az_ctx *az, const az_tensor *zero, const az_compressed_rows *rows, int bits, quantized *q)
{
    const int64_t words = (rows->all * bits + 31) / 32;
    int32_t *out = az_alloc_array(az, (size_t)(q->rows * q->groups), sizeof *out);
    uint32_t *column = az_alloc_array(az, (size_t)words, sizeof *column);
    if (!out || !column) return false;
    if (has_shape(zero, AZ_I8, rows->all, q->groups)) {
        for (int64_t i = 0; i < q->rows * q->groups; i++) out[i] = ((const int8_t *)zero->data)[rows->first * q->groups + i];
    } else if (has_shape(zero, AZ_I32, words, q->groups)) {
        for (int64_t g = 0; g < q->groups; g++) {
            for (int64_t k = 0; k < words; k++) column[k] = ((const uint32_t *)zero->data)[k * q->groups + g];
            for (int64_t r = 0; r < q->rows; r++) out[r * q->groups + g] = unpack(column, rows->first + r, bits);
        }
    } else {
        return misfit(az, "weight_zero_point", zero);
    }
    q->zero = out;
    return true;
}

static bool read_groups(az_ctx *az, const az_tensor *group, quantized *q)
{
    if (group->dtype != AZ_I32 || group->rank != 1 || group->shape[0] != q->cols) return misfit(az, "weight_g_idx", group);
    q->of = group->data;
    return true;
}

static bool groups_exist(az_ctx *az, const quantized *q)
{
    for (int64_t c = 0; q->of && c < q->cols; c++)
        if (q->of[c] < 0 || q->of[c] >= q->groups)
            return az_fail(az, AZ_BAD_INPUT, "weight_g_idx puts input %lld into group %d of %lld", (long long)c, q->of[c],
                           (long long)q->groups);
    return true;
}

static int64_t group_of(const quantized *q, int64_t c)
{
    return q->of ? q->of[c] : c / (q->cols / q->groups);
}

/* The smallest format that holds the numbers, and their scales exactly; NULL when there is none. */
static const az_format *fitting_format(const quantized *q)
{
    if (q->of || q->cols / q->groups % BLOCK != 0) return NULL;
    int32_t low = 0, high = 0;
    for (int64_t i = 0; i < q->rows * q->cols; i++) {
        if (q->value[i] < low) low = q->value[i];
        if (q->value[i] > high) high = q->value[i];
    }
    for (int64_t i = 0; i < q->rows * q->groups; i++)
        if (az_half_to_float(az_float_to_half(q->scale[i])) != q->scale[i]) return NULL;
    if (low >= -8 && high <= 7) return az_format_by_name("q4_0");
    if (low >= -16 && high <= 15) return az_format_by_name("q5_0");
    return low >= -128 && high <= 127 ? az_format_by_name("q8_0") : NULL;
}

static az_weight *as_blocks(az_ctx *az, const quantized *q, const az_format *format)
{
    az_tensor *level = az_new2(az, AZ_I8, q->rows, q->cols), *scale = az_new2(az, AZ_F16, q->rows, q->cols / BLOCK);
    if (!level || !scale) return NULL;
    for (int64_t i = 0; i < q->rows * q->cols; i++) ((int8_t *)level->data)[i] = (int8_t)q->value[i];
    for (int64_t r = 0; r < q->rows; r++)
        for (int64_t b = 0; b < q->cols / BLOCK; b++)
            ((uint16_t *)scale->data)[r * (q->cols / BLOCK) + b] = az_float_to_half(q->scale[r * q->groups + group_of(q, b * BLOCK)]);
    return az_weight_from_levels(az, format, level, scale);
}

static az_weight *as_floats(az_ctx *az, const quantized *q)
{
    az_tensor *dense = az_new2(az, AZ_F32, q->rows, q->cols);
    if (!dense) return NULL;
    for (int64_t r = 0; r < q->rows; r++)
        for (int64_t c = 0; c < q->cols; c++)
            az_f32_mut(dense)[r * q->cols + c] = (float)q->value[r * q->cols + c] * q->scale[r * q->groups + group_of(q, c)];
    return az_weight_dense(az, dense);
}

static az_weight *read_quantized(az_ctx *az, const az_compressed_tensors *from, const az_compressed_rows *rows)
{
    quantized q = {.rows = rows->rows, .cols = rows->cols};
    int bits = 8;
    if (from->group && !read_groups(az, from->group, &q)) return NULL;
    if (!read_values(az, from, rows, &bits, &q) || !read_scales(az, from->scale, rows, &q) || !groups_exist(az, &q)) return NULL;
    if (from->zero && !read_zeros(az, from->zero, rows, bits, &q)) return NULL;
    for (int64_t r = 0; q.zero && r < q.rows; r++)
        for (int64_t c = 0; c < q.cols; c++) q.value[r * q.cols + c] -= q.zero[r * q.groups + group_of(&q, c)];
    const az_format *format = fitting_format(&q);
    return format ? as_blocks(az, &q, format) : as_floats(az, &q);
}

/* ---- sparse ---- */

static az_weight *read_sparse(az_ctx *az, const az_compressed_tensors *from, const az_compressed_rows *rows)
{
    const az_tensor *values = from->values, *mask = from->mask;
    const int64_t mask_bytes = (rows->cols + 7) / 8;
    if (rows->cols % 4 != 0 || !has_shape(values, values->dtype, rows->all, rows->cols / 2)) {
        misfit(az, "compressed", values);
        return NULL;
    }
    if (!has_shape(mask, AZ_U8, rows->all, mask_bytes)) {
        misfit(az, "bitmask", mask);
        return NULL;
    }
    const bool half = values->dtype == AZ_F16;
    if (!half && values->dtype != AZ_BF16)
        return az_fail(az, AZ_BAD_INPUT, "compressed is %s; f16 and bf16 are read", az_dtype_name(values->dtype));
    const az_tensor *kept = az_slice(az, values, 0, rows->first, rows->rows), *bits = az_slice(az, mask, 0, rows->first, rows->rows);
    az_tensor *part[AZ_WEIGHT_PARTS] = {az_reshape(az, az_contiguous(az, kept), 3, (const int64_t[]){rows->rows, rows->cols / 4, 2}),
                                        (az_tensor *)(uintptr_t)az_contiguous(az, bits)};
    return az_ok(az) ? az_weight_from_parts(az, az_format_by_name(half ? "nm_f16" : "nm_bf16"), rows->rows, rows->cols, part) : NULL;
}

az_weight *az_compressed_read(az_ctx *az, const az_compressed_tensors *from, const az_compressed_rows *rows)
{
    return from->scale ? read_quantized(az, from, rows) : read_sparse(az, from, rows);
}
