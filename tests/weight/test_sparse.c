/* Matrices with scattered zeros, bitmap tiles and Tiled-CSL: layout, sizes, products of every kernel, refusals. */
#include "adze/weight.h"
#include "support/matrix.h"
#include "weight/kernels/places.h"
#include "weight/kernels/sparse.h"
#include "weight/sparse_format.h"

#include <criterion/criterion.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

static const struct {
    const char *name;
    az_dtype type;
} formats[] = {{"bitmap_f16", AZ_F16}, {"bitmap_bf16", AZ_BF16}, {"bitmap_f32", AZ_F32}, {"csl_f16", AZ_F16}, {"csl_bf16", AZ_BF16}};
enum { FORMATS = sizeof formats / sizeof *formats };

static const struct {
    int64_t rows, cols;
} shapes[] = {{1, 1}, {64, 64}, {128, 64}, {3, 200}, {130, 63}, {65, 129}, {200, 320}};
enum { SHAPES = sizeof shapes / sizeof *shapes };

/* Normal entries that the type holds, a share `density` of them kept, at random. */
static az_tensor *scattered(az_ctx *az, int64_t rows, int64_t cols, double density, az_dtype type)
{
    az_tensor *x = az_cast(az, az_cast(az, matrix_normal(az, AZ_F64, rows, cols, 3), type), AZ_F32);
    const az_tensor *u = az_rand(az, AZ_F32, 2, (const int64_t[]){rows, cols}, 0, 1, 5, 1);
    float *value = az_f32_mut(x);
    for (int64_t i = 0; i < rows * cols; i++)
        if (az_f32(u)[i] >= density) value[i] = 0;
    return x;
}

static az_weight *packed(az_ctx *az, az_tensor *dense, const char *format)
{
    return az_weight_encode(az, az_weight_dense(az, dense), az_format_by_name(format), NULL);
}

static bool is_csl(const az_weight *w)
{
    return strncmp(w->format->name, "csl", 3) == 0;
}

/* ---- layout ---- */

Test(sparse, packing_and_unpacking_is_the_identity)
{
    static const double densities[] = {0, 0.1, 0.5, 1};
    az_ctx *az = az_open(NULL);
    for (int f = 0; f < FORMATS; f++)
        for (int s = 0; s < SHAPES; s++)
            for (int d = 0; d < 4; d++) {
                az_tensor *x = scattered(az, shapes[s].rows, shapes[s].cols, densities[d], formats[f].type);
                const az_weight *w = packed(az, x, formats[f].name);
                cr_assert_not_null(w, "%s", az_error(az));
                const az_tensor *back = az_weight_decode(az, w);
                cr_assert_arr_eq(az_f32(back), az_f32(x), (size_t)az_count(x) * sizeof(float), "%s %g", formats[f].name, densities[d]);
            }
    az_close(az);
}

/* Bits: 1/8 byte and, of each kept weight, its value. */
static size_t bitmap_bytes(const az_tensor *x, az_dtype type)
{
    const int64_t rows = x->shape[0], cols = x->shape[1], tiles = (rows + 63) / 64 * ((cols + 63) / 64);
    int64_t kept = 0;
    for (int64_t i = 0; i < rows * cols; i++) kept += az_f32(x)[i] != 0;
    return (size_t)(tiles * 64 * 8 + (kept + 8) * (int64_t)az_dtype_size(type) + 4 * (tiles + 1));
}

static int descending(const void *a, const void *b)
{
    const int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return (x < y) - (x > y);
}

/* Words: of 128 rows ordered by their kept weights, each eighth and the seven after it take what that eighth does. */
static size_t csl_bytes(const az_tensor *x)
{
    const int64_t rows = x->shape[0], cols = x->shape[1], slices = (rows + 7) / 8;
    int64_t steps = 0;
    for (int64_t first = 0; first < rows; first += 128) {
        int64_t kept[128] = {0};
        for (int64_t i = first * cols; i < rows * cols && i < (first + 128) * cols; i++) kept[i / cols - first] += az_f32(x)[i] != 0;
        qsort(kept, 128, sizeof *kept, descending);
        for (int i = 0; i < 128; i += 8) steps += kept[i];
    }
    return (size_t)(32 * (steps > 0 ? steps : 1) + 4 * (slices + 1) + 8 * slices);
}

Test(sparse, sizes_are_those_of_the_formulas)
{
    az_ctx *az = az_open(NULL);
    for (int f = 0; f < FORMATS; f++)
        for (int s = 0; s < SHAPES; s++) {
            az_tensor *x = scattered(az, shapes[s].rows, shapes[s].cols, 0.3, formats[f].type);
            const az_weight *w = packed(az, x, formats[f].name);
            cr_assert_eq(az_weight_bytes(w), is_csl(w) ? csl_bytes(x) : bitmap_bytes(x, formats[f].type), "%s", formats[f].name);
        }
    az_close(az);
}

Test(sparse, a_bitmap_lies_in_memory_as_described)
{
    az_ctx *az = az_open(NULL);
    az_tensor *x = az_zeros(az, AZ_F32, 2, (const int64_t[]){66, 70});
    float *value = az_f32_mut(x);
    value[0] = 1, value[9] = -2, value[70 + 3] = 0.5f, value[69] = 4, value[65 * 70] = 8;
    value[5] = -0.0f;
    const az_weight *w = packed(az, x, "bitmap_bf16");
    cr_assert_not_null(w, "%s", az_error(az));
    cr_assert_eq(w->part[0]->shape[0], 5 + 8);
    cr_assert_arr_eq(w->part[0]->data, ((const uint16_t[]){0x3f80, 0xc000, 0x3f00, 0x4080, 0x4100, 0, 0, 0, 0, 0, 0, 0, 0}), 26);
    cr_assert_arr_eq(w->part[2]->data, ((const int32_t[]){0, 3, 4, 5, 5}), 20);
    const unsigned char *mask = w->part[1]->data;
    cr_assert_eq(mask[0], 1);
    cr_assert_eq(mask[1], 2);
    cr_assert_eq(mask[8], 8);
    cr_assert_eq(mask[64 * 8], 0x20);         /* row 0 of tile 1: column 69 = 64 + 5 */
    cr_assert_eq(mask[2 * 64 * 8 + 8], 0x01); /* row 1 of tile 2 */
    az_close(az);
}

Test(sparse, words_lie_in_memory_as_described)
{
    az_ctx *az = az_open(NULL);
    az_tensor *x = az_zeros(az, AZ_F32, 2, (const int64_t[]){130, 70});
    float *value = az_f32_mut(x);
    value[2] = 1, value[9 * 70 + 3] = 4, value[9 * 70 + 69] = -2, value[129 * 70] = 0.5f;
    const az_weight *w = packed(az, x, "csl_f16");
    cr_assert_not_null(w, "%s", az_error(az));
    /* row 9, the longest, before row 0 in the first slice; row 129 in the first lane of slice 16, where the last strip begins */
    const uint32_t words[3][8] = {{0x00034400, 0x00023c00}, {0x0045c000}, {0x00003800}};
    const int32_t offsets[18] = {0, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 3};
    const uint8_t first[] = {9, 0, 1, 2, 3, 4, 5, 6, 7, 8, 10}, last[] = {1, 0, 2, 3, 4, 5, 6, 7};
    cr_assert_eq(w->part[0]->shape[0], 3);
    cr_assert_arr_eq(w->part[0]->data, words, sizeof words);
    cr_assert_arr_eq(w->part[1]->data, offsets, sizeof offsets);
    cr_assert_arr_eq(w->part[2]->data, first, sizeof first);
    cr_assert_arr_eq((const uint8_t *)w->part[2]->data + 128, last, sizeof last);
    az_close(az);
}

Test(sparse, values_below_the_normal_range_of_bf16_are_dropped)
{
    az_ctx *az = az_open(NULL);
    az_tensor *x = az_from(az, AZ_F32, 2, (const int64_t[]){1, 4}, (const float[]){1e-39f, 0x1p-126f, -1e-40f, 1});
    const az_weight *bf16 = packed(az, x, "bitmap_bf16"), *f32 = packed(az, x, "bitmap_f32");
    cr_assert_eq(bf16->part[0]->shape[0], 2 + 8);
    cr_assert_eq(f32->part[0]->shape[0], 4 + 8);
    az_close(az);
}

Test(sparse, the_table_of_places_follows_its_definition)
{
    for (int mask = 0; mask < 256; mask++)
        for (int c = 0, rank = 0; c < 8; rank += mask >> c & 1, c++) {
            const unsigned first = mask >> c & 1 ? (unsigned)(2 * rank) : 0x80, second = mask >> c & 1 ? first + 1 : 0x80;
            cr_assert_eq(az_upper_places[mask][c / 2] >> 32 * (c % 2) & 0xffffffff, 0x8080u | first << 16 | second << 24);
        }
}

/* ---- products ---- */

/* |y - sum in double| <= 4 K 2^-24 sum |a b|, element for element. */
static void check_product(const az_tensor *y, const az_tensor *x, const az_tensor *w, const char *what)
{
    const int64_t n = x->shape[0], k = x->shape[1], rows = w->shape[0];
    for (int64_t j = 0; j < n; j++)
        for (int64_t r = 0; r < rows; r++) {
            double sum = 0, size = 0;
            for (int64_t c = 0; c < k; c++) {
                const double product = (double)az_f32(x)[j * k + c] * (double)az_f32(w)[r * k + c];
                sum += product, size += fabs(product);
            }
            const double off = fabs(sum - (double)az_f32(y)[j * rows + r]);
            cr_assert(off <= 4 * (double)k * 0x1p-24 * size, "%s: row %d, vector %d is off by %g", what, (int)r, (int)j, off);
        }
}

Test(sparse, products_are_those_of_the_decoded_matrix)
{
    static const double densities[] = {0, 0.03, 0.2, 0.6, 1};
    static const int64_t counts[] = {1, 2, 3, 4, 7, 8, 9, 20, 33, 70};
    az_ctx *az = az_open(NULL);
    for (int f = 0; f < FORMATS; f++)
        for (int s = 0; s < SHAPES; s++)
            for (int i = 0; i < 10; i++) {
                az_scope_push(az);
                az_tensor *dense = scattered(az, shapes[s].rows, shapes[s].cols, densities[(i + s) % 5], formats[f].type);
                const az_weight *w = packed(az, dense, formats[f].name);
                const az_tensor *x = matrix_normal(az, AZ_F32, counts[i], shapes[s].cols, 4);
                const az_tensor *y = az_weight_apply(az, w, x);
                cr_assert(az_ok(az), "%s", az_error(az));
                check_product(y, x, dense, formats[f].name);
                az_scope_pop(az);
            }
    az_close(az);
}

Test(sparse, vectors_of_the_identity_return_columns_exactly)
{
    enum { ROWS = 100, COLS = 90 };
    az_ctx *az = az_open(NULL);
    for (int f = 0; f < FORMATS; f++) {
        az_tensor *dense = scattered(az, ROWS, COLS, 0.3, formats[f].type);
        const az_weight *w = packed(az, dense, formats[f].name);
        az_tensor *eye = az_zeros(az, AZ_F32, 2, (const int64_t[]){COLS, COLS});
        for (int i = 0; i < COLS; i++) az_f32_mut(eye)[i * (COLS + 1)] = 1;
        for (int64_t n = 1; n <= COLS; n += n < 9 ? 1 : 27) {
            const az_tensor *y = az_weight_apply(az, w, az_copy(az, az_slice(az, eye, 0, COLS - n, n)));
            for (int64_t j = 0; j < n; j++)
                for (int64_t r = 0; r < ROWS; r++)
                    cr_assert_eq(az_f32(y)[j * ROWS + r], az_f32(dense)[r * COLS + COLS - n + j], "%s, %d vectors", formats[f].name,
                                 (int)n);
        }
    }
    az_close(az);
}

static az_bitmap_strip bitmap_strip(const az_weight *w, az_dtype type)
{
    return (az_bitmap_strip){.mask = w->part[1]->data, .value = w->part[0]->data, .tiles = (w->cols + 63) / 64, .type = type};
}

static void run_kernel(const az_sparse_kernels *set, const az_weight *w, az_dtype type, const az_sparse_input *x, bool dense, float *sums)
{
    const az_bitmap_strip bitmap = bitmap_strip(w, type);
    dense ? set->bitmap_dense(&bitmap, x, sums) : set->bitmap_sparse(&bitmap, x, sums);
}

/* One strip of three tiles; every number of vectors and of groups of eight. */
Test(sparse, all_sets_of_kernels_agree_on_bitmaps)
{
    enum { COLS = 192, ROWS = 64, MOST = ROWS * 32 };
    az_ctx *az = az_open(NULL);
    static float sums[2][MOST];
    for (int f = 0; f < 3; f++)
        for (int i = 0; i < 8; i++) {
            const bool dense = i < 4;
            const int64_t n = i % 4 + 1, count = dense ? n * ROWS : 8 * n * ROWS;
            const az_weight *w = packed(az, scattered(az, ROWS, COLS, 0.1 + 0.2 * (i % 4), formats[f].type), formats[f].name);
            const az_tensor *x = matrix_normal(az, AZ_F32, COLS, 8 * n, 9);
            const az_sparse_input input = {.value = az_f32(x), .n = n, .stride = dense ? COLS : 8 * n};
            run_kernel(&az_sparse_kernels_portable, w, formats[f].type, &input, dense, sums[0]);
            run_kernel(az_sparse_kernels_here(), w, formats[f].type, &input, dense, sums[1]);
            for (int64_t k = 0; k < count; k++) cr_assert_float_eq(sums[0][k], sums[1][k], 2e-5, "%s", formats[f].name);
        }
    az_close(az);
}

/* One strip of 24 rows; every way to lay out vectors. */
Test(sparse, all_sets_of_kernels_agree_on_words)
{
    enum { COLS = 192, ROWS = 24 };
    static const int64_t strides[] = {1, 4, 8, 16, 24, 32};
    az_ctx *az = az_open(NULL);
    for (int f = 3; f < FORMATS; f++)
        for (int i = 0; i < 6; i++) {
            float sums[2][ROWS * 32];
            const az_weight *w = packed(az, scattered(az, ROWS, COLS, 0.1 + 0.15 * i, formats[f].type), formats[f].name);
            const az_csl_strip strip = {.words = w->part[0]->data,
                                        .offsets = w->part[1]->data,
                                        .order = w->part[2]->data,
                                        .slices = ROWS / 8,
                                        .type = formats[f].type};
            const az_sparse_input x = {.value = az_f32(matrix_normal(az, AZ_F32, COLS, strides[i], 9)), .stride = strides[i]};
            az_sparse_kernels_portable.csl(&strip, &x, sums[0]);
            az_sparse_kernels_here()->csl(&strip, &x, sums[1]);
            for (int64_t k = 0; k < ROWS * strides[i]; k++) cr_assert_float_eq(sums[0][k], sums[1][k], 2e-5, "%s", formats[f].name);
        }
    az_close(az);
}

/* The last value ends where the memory ends: the eight zeros behind it are all that may be read. */
Test(sparse, nothing_is_read_behind_the_values)
{
    enum { COLS = 64, BYTES = 1 << 16 };
    az_ctx *az = az_open(NULL);
    const int64_t page = sysconf(_SC_PAGESIZE);
    char *room = mmap(NULL, (size_t)(BYTES + page), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    cr_assert_neq(room, MAP_FAILED);
    cr_assert_eq(mprotect(room + BYTES, (size_t)page, PROT_NONE), 0);
    for (int f = 0; f < 3; f++)
        for (int i = 0; i < 2; i++) {
            const bool dense = i == 0;
            const az_weight *w = packed(az, scattered(az, 64, COLS, 0.4, formats[f].type), formats[f].name);
            const size_t bytes = (size_t)w->part[0]->shape[0] * az_dtype_size(formats[f].type);
            memcpy(room + BYTES - bytes, w->part[0]->data, bytes);
            az_bitmap_strip strip = bitmap_strip(w, formats[f].type);
            strip.value = room + BYTES - bytes;
            const az_tensor *x = matrix_normal(az, AZ_F32, COLS, 8, 9);
            float sums[64 * 8], want[64 * 8];
            const az_sparse_input input = {.value = az_f32(x), .n = 1, .stride = dense ? COLS : 8};
            run_kernel(az_sparse_kernels_here(), w, formats[f].type, &input, dense, want);
            dense ? az_sparse_kernels_here()->bitmap_dense(&strip, &input, sums)
                  : az_sparse_kernels_here()->bitmap_sparse(&strip, &input, sums);
            cr_assert_arr_eq(sums, want, (dense ? 64 : 64 * 8) * sizeof *sums);
        }
    munmap(room, (size_t)(BYTES + page));
    az_close(az);
}

Test(sparse, results_do_not_depend_on_threads)
{
    az_ctx *one = az_open(&(az_settings){.threads = 1}), *two = az_open(&(az_settings){.threads = 2});
    for (int64_t n = 1; n < 40; n += 6) {
        az_ctx *const both[] = {one, two};
        const az_tensor *y[2];
        for (int i = 0; i < 2; i++) {
            const az_weight *w = packed(both[i], scattered(both[i], 200, 320, 0.2, AZ_F16), "bitmap_f16");
            y[i] = az_weight_apply(both[i], w, matrix_normal(both[i], AZ_F32, n, 320, 4));
        }
        cr_assert_arr_eq(az_f32(y[0]), az_f32(y[1]), (size_t)(n * 200) * sizeof(float));
    }
    az_close(one);
    az_close(two);
}

/* ---- refusals ---- */

Test(sparse, values_that_are_not_finite_or_too_large_are_refused)
{
    az_ctx *az = az_open(NULL);
    for (int f = 0; f < FORMATS; f++)
        for (int i = 0; i < 2; i++) {
            az_tensor *x = scattered(az, 5, 7, 0.5, AZ_F16);
            az_f32_mut(x)[2 * 7 + 3] = i ? NAN : -INFINITY;
            cr_assert_null(packed(az, x, formats[f].name));
            cr_assert_not_null(strstr(az_error(az), "row 2, column 3"), "%s", az_error(az));
            az_clear(az);
        }
    az_tensor *x = scattered(az, 5, 7, 0.5, AZ_F16);
    az_f32_mut(x)[4] = 70000;
    cr_assert_null(packed(az, x, "csl_f16"));
    cr_assert_not_null(strstr(az_error(az), "65504"), "%s", az_error(az));
    az_clear(az);
    cr_assert_not_null(packed(az, x, "csl_bf16"));
    az_close(az);
}

static void refused(az_ctx *az, const az_weight *w, const char *why)
{
    cr_assert_null(az_weight_from_parts(az, w->format, w->rows, w->cols, w->part));
    cr_assert_eq(az_status_of(az), AZ_BAD_INPUT);
    cr_assert_not_null(strstr(az_error(az), why), "%s", az_error(az));
    az_clear(az);
}

Test(sparse, bitmaps_that_contradict_themselves_are_refused)
{
    az_ctx *az = az_open(NULL);
    az_weight *w = packed(az, scattered(az, 70, 80, 0.5, AZ_F16), "bitmap_f16");
    unsigned char *mask = w->part[1]->data;
    int32_t *offset = w->part[2]->data;
    mask[0] ^= 1, refused(az, w, "tile 1"), mask[0] ^= 1;
    mask[64 * 8 + 2] ^= 1, refused(az, w, "beyond the edge"), mask[64 * 8 + 2] ^= 1;     /* column 80 */
    mask[2 * 64 * 8 + 6 * 8] ^= 1, refused(az, w, "beyond"), mask[2 * 64 * 8 + 48] ^= 1; /* row 70 */
    offset[2]++, refused(az, w, "tile 2"), offset[2]--;
    offset[0] = -1, refused(az, w, "tile 0"), offset[0] = 0;
    offset[4]++, refused(az, w, "end at"), offset[4]--;
    w->part[0]->shape[0]--, refused(az, w, "values"), w->part[0]->shape[0]++;
    w->part[1]->dtype = AZ_I8, refused(az, w, "mask"), w->part[1]->dtype = AZ_U8;
    cr_assert_not_null(az_weight_from_parts(az, w->format, 70, 80, w->part), "%s", az_error(az));
    w->format = az_format_by_name("bitmap_bf16"), refused(az, w, "bf16");
    az_close(az);
}

Test(sparse, words_that_contradict_themselves_are_refused)
{
    az_ctx *az = az_open(NULL);
    az_tensor *x = scattered(az, 130, 80, 0.5, AZ_F16);
    az_f32_mut(x)[129 * 80 + 79] = az_f32_mut(x)[128 * 80] = 1;
    az_weight *w = packed(az, x, "csl_f16");
    uint32_t *word = w->part[0]->data, kept = word[8];
    int32_t *offset = w->part[1]->data, second = offset[1];
    uint8_t *order = w->part[2]->data, row = order[3];
    word[8] = word[0], refused(az, w, "ascend"), word[8] = 0, refused(az, w, "ascend"), word[8] = kept;
    kept = word[8 * second - 8];
    word[8 * second - 8] = 80u << 16 | 1, refused(az, w, "below 80"), word[8 * second - 8] = kept;
    word[8 * offset[16] + 2] = 1, refused(az, w, "below 0"), word[8 * offset[16] + 2] = 0; /* row 130 */
    offset[1] = offset[2] + 1, refused(az, w, "not ascending"), offset[1] = second;
    offset[0] = 1, refused(az, w, "not ascending"), offset[0] = 0;
    offset[17]++, refused(az, w, "not ascending"), offset[17]--;
    order[3] = order[2], refused(az, w, "held twice"), order[3] = 128, refused(az, w, "there is none"), order[3] = row;
    order[135] = 9, refused(az, w, "there is none"), order[135] = 7;
    w->part[0]->shape[1]--, refused(az, w, "[steps, 8]"), w->part[0]->shape[1]++;
    cr_assert_not_null(az_weight_from_parts(az, w->format, 130, 80, w->part), "%s", az_error(az));
    az_close(az);
}

Test(sparse, columns_beyond_16_bits_are_refused)
{
    az_ctx *az = az_open(NULL);
    cr_assert_null(packed(az, az_zeros(az, AZ_F32, 2, (const int64_t[]){1, 65537}), "csl_f16"));
    cr_assert_not_null(strstr(az_error(az), "65536"), "%s", az_error(az));
    az_clear(az);
    az_tensor *x = az_zeros(az, AZ_F32, 2, (const int64_t[]){1, 65536});
    az_f32_mut(x)[65535] = 1;
    cr_assert_not_null(packed(az, x, "csl_f16"));
    az_close(az);
}
