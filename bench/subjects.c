/* subjects.c - matrices for the formats.
 *
 * Each format is asked to encode a random matrix, one pruned 2:4 and one with 80 % zeros, so that a new format takes part unnamed. A kind
 * of matrix that takes as many bytes as an earlier one says nothing new and is left out. Low rank is made from its factors; formats of
 * whole numbers whose activations are rounded by settings of their own, for some of these. */
#include "subjects.h"

#include <math.h>
#include <string.h>

/* ---- kinds of matrices ------------------------------------------------------------------------------------------------------------ */

static az_tensor *pruned(az_ctx *az, const az_tensor *normal, az_mask_how how)
{
    const az_weight *w = az_weight_dense(az, az_copy(az, normal));
    return az_weight_decode(az, az_mask_apply(az, w, az_mask_lowest(az, az_abs(az, normal), how)));
}

static az_tensor *two_of_four(az_ctx *az, const az_tensor *normal)
{
    return pruned(az, normal, (az_mask_how){.pattern = {2, 4}});
}

static az_tensor *sparse(az_ctx *az, const az_tensor *normal)
{
    return pruned(az, normal, (az_mask_how){.share = 0.8, .scope = AZ_PER_ROW});
}

static az_tensor *plain(az_ctx *az, const az_tensor *normal)
{
    return az_copy(az, normal);
}

typedef struct matrix_kind {
    const char *name;
    az_tensor *(*make)(az_ctx *az, const az_tensor *normal);
} matrix_kind;

static const matrix_kind kinds[] = {{"normal", plain}, {"2:4", two_of_four}, {"80% zeros", sparse}};
enum { KINDS = sizeof kinds / sizeof *kinds };

/* ---- weights ------------------------------------------------------------------------------------------------------------------------ */

/* A weight with parts of its own. */
static az_weight *duplicate(az_ctx *az, const az_weight *w)
{
    az_tensor *part[AZ_WEIGHT_PARTS] = {NULL};
    for (int i = 0; i < AZ_WEIGHT_PARTS && w->part[i]; i++) part[i] = az_copy(az, w->part[i]);
    return az_weight_from_parts(az, w->format, w->rows, w->cols, part);
}

/* NULL, without an error, where the format cannot hold the matrix. f64 is left out: it serves derivatives. */
static az_weight *encoded(az_ctx *az, const az_format *format, az_tensor *matrix)
{
    if (!az_format_encodes(format) || matrix->shape[1] % format->block != 0 || strcmp(format->name, "f64") == 0) return NULL;
    az_weight *w = az_weight_encode(az, az_weight_dense(az, matrix), format, NULL);
    if (!az_ok(az)) az_clear(az);
    return w;
}

/* Whether the first rows of a matrix of this kind take other room than those of all earlier kinds. */
static bool is_new(az_ctx *az, const az_format *format, az_tensor *const *matrix, int kind)
{
    enum { ROWS = 16 };
    size_t bytes[KINDS] = {0};
    az_scope_push(az);
    for (int k = 0; k <= kind; k++) {
        const az_weight *w = encoded(az, format, az_copy(az, az_slice(az, matrix[k], 0, 0, ROWS)));
        if (w) bytes[k] = az_weight_bytes(w);
    }
    az_scope_pop(az);
    for (int k = 0; k < kind; k++)
        if (bytes[k] == bytes[kind]) return false;
    return bytes[kind] > 0;
}

static void add(az_ctx *az, bench_subject *to, az_weight *w, const char *matrix, size_t working_set)
{
    *to = (bench_subject){.format = w->format, .matrix = matrix, .bytes = az_weight_bytes(w)};
    const size_t wanted = (working_set + to->bytes - 1) / to->bytes;
    to->copies = wanted < 1 ? 1 : wanted > MOST_COPIES ? MOST_COPIES : (int)wanted;
    to->copy[0] = w;
    for (int i = 1; i < to->copies; i++) to->copy[i] = duplicate(az, w);
}

/* rank = the smaller side / 8, factors in f16 */
static az_weight *low_rank(az_ctx *az, int64_t rows, int64_t cols)
{
    const int64_t rank = (rows < cols ? rows : cols) / 8;
    const az_format *f16 = az_format_by_name("f16");
    az_tensor *u = az_randn(az, AZ_F32, 2, (const int64_t[]){rows, rank}, 0.1, 1, 2);
    az_tensor *v = az_randn(az, AZ_F32, 2, (const int64_t[]){rank, cols}, 0.1, 1, 3);
    return az_weight_lowrank(az, az_weight_encode(az, az_weight_dense(az, u), f16, NULL),
                             az_weight_encode(az, az_weight_dense(az, v), f16, NULL));
}

/* Planes of bits of several widths. */
static int add_bipolar(az_ctx *az, const az_tensor *normal, size_t working_set, bench_subject *to)
{
    static const struct {
        const char *name;
        int weights, activations;
    } widths[] = {{"W1A1", 1, 1}, {"W2A2", 2, 2}, {"W2A8", 2, 8}, {"W3A8", 3, 8}, {"W4A4", 4, 4}, {"W4A8", 4, 8}, {"W8A8", 8, 8}};
    enum { WIDTHS = sizeof widths / sizeof *widths };
    const az_weight *dense = az_weight_dense(az, az_copy(az, normal));
    for (int i = 0; i < WIDTHS && az_ok(az); i++) {
        const az_bipolar_settings settings = {.weight_bits = widths[i].weights, .activation_bits = widths[i].activations};
        az_weight *w = az_weight_bipolar(az, dense, &settings);
        if (!w) return 0;
        add(az, &to[i], w, widths[i].name, working_set);
        to[i].coarse = widths[i].activations < 8;
    }
    return WIDTHS;
}

/* int8_static: codes to the nearest on a grid for each row, one step for all inputs. */
static az_weight *static_bytes(az_ctx *az, const az_tensor *normal)
{
    const int64_t rows = normal->shape[0], cols = normal->shape[1];
    az_int8_codes c = {.codes = az_new2(az, AZ_I8, rows, cols),
                       .scales = az_new1(az, AZ_F32, rows),
                       .zeros = az_zeros(az, AZ_I32, 1, &rows),
                       .channels = az_zeros(az, AZ_F32, 2, (const int64_t[]){2, cols}),
                       .weight_bits = 8,
                       .activation_bits = 8};
    if (!az_ok(az)) return NULL;
    for (int64_t k = 0; k < cols; k++) az_f32_mut(c.channels)[k] = 5.0f / 127;
    for (int64_t r = 0; r < rows; r++) {
        const float *w = az_f32(normal) + r * cols;
        float most = 0;
        for (int64_t k = 0; k < cols; k++) most = fmaxf(most, fabsf(w[k]));
        az_f32_mut(c.scales)[r] = 5.0f / 127 * most / 127;
        for (int64_t k = 0; k < cols; k++) ((int8_t *)c.codes->data)[r * cols + k] = (int8_t)rintf(w[k] / most * 127);
    }
    return az_weight_int8_static(az, &c);
}

/* aq: two codebooks of 256 entries for eight inputs, codes at random. */
static az_weight *additive(az_ctx *az, int64_t rows, int64_t cols)
{
    enum { BOOKS = 2, ENTRIES = 256, GROUP = 8 };
    az_tensor *codes = az_tensor_new(az, AZ_U8, 3, (const int64_t[]){cols / GROUP, BOOKS, rows});
    az_tensor *books = az_randn(az, AZ_F32, 4, (const int64_t[]){BOOKS, ENTRIES, 1, GROUP}, 0.02, 1, 4);
    az_tensor *const part[AZ_WEIGHT_PARTS] = {codes, az_cast(az, books, AZ_F16), az_full(az, AZ_F32, 1, &rows, 1)};
    if (!az_ok(az)) return NULL;
    az_rng rng = az_rng_at(5, 0);
    for (int64_t i = 0; i < az_count(codes); i++) ((uint8_t *)codes->data)[i] = (uint8_t)az_below(&rng, ENTRIES);
    return az_weight_from_parts(az, az_format_by_name("aq"), rows, cols, part);
}

int bench_subjects(az_ctx *az, int64_t rows, int64_t cols, size_t working_set, bench_subject *subject)
{
    int n = 0;
    const az_tensor *normal = az_randn(az, AZ_F32, 2, (const int64_t[]){rows, cols}, 0.02, 1, 1);
    az_tensor *matrix[KINDS];
    for (int k = 0; k < KINDS; k++) matrix[k] = kinds[k].make(az, normal);
    for (const az_format *const *format = az_formats(); *format && az_ok(az); format++)
        for (int k = 0; k < KINDS && n < MOST_SUBJECTS; k++) {
            az_weight *w = is_new(az, *format, matrix, k) ? encoded(az, *format, matrix[k]) : NULL;
            if (w) add(az, &subject[n++], w, kinds[k].name, working_set);
        }
    az_weight *w = low_rank(az, rows, cols);
    if (w && n < MOST_SUBJECTS) add(az, &subject[n++], w, "rank 1/8", working_set);
    w = static_bytes(az, normal);
    if (w && n < MOST_SUBJECTS) add(az, &subject[n++], w, "normal", working_set);
    w = cols % 8 == 0 ? additive(az, rows, cols) : NULL;
    if (w && n < MOST_SUBJECTS) add(az, &subject[n++], w, "2 x 8 bits", working_set);
    if (n + 8 < MOST_SUBJECTS) n += add_bipolar(az, normal, working_set, subject + n);
    return az_ok(az) ? n : 0;
}
