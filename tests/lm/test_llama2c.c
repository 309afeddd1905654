/* llama2.c checkpoints: the weights of a real one against the GGUF of the same model, sizes that do not fit. */
#include "lm/files/load.h"
#include "lm/tokenizer/tokenizer.h"
#include "support/data.h"

#include <criterion/criterion.h>
#include <string.h>

static const int32_t small[7] = {8, 12, 2, 4, 2, 300, 16}; /* width, hidden, layers, heads, kv heads, vocabulary, context */

/* Floats of a checkpoint with these fields. */
static size_t count_values(const int32_t field[7])
{
    const int64_t d = field[0], h = field[1], layers = field[2], head_dim = d / field[3], kv = head_dim * field[4];
    const int64_t v = field[5] < 0 ? -(int64_t)field[5] : field[5];
    const int64_t layer = d + d * d + 2 * kv * d + d * d + d + 3 * h * d;
    return (size_t)(v * d + layers * layer + d + field[6] * head_dim + (field[5] < 0 ? v * d : 0));
}

/* A checkpoint whose value i is i. */
static unsigned char *make(az_ctx *az, const int32_t field[7], size_t *size)
{
    const size_t n = count_values(field);
    unsigned char *data = az_alloc(az, *size = 28 + 4 * n);
    memcpy(data, field, 28);
    for (size_t i = 0; i < n; i++) memcpy(data + 28 + 4 * i, &(float){(float)i}, 4);
    return data;
}

Test(llama2c, tensors_lie_where_the_format_says)
{
    az_ctx *az = az_open(NULL);
    size_t size;
    const unsigned char *data = make(az, small, &size);
    az_lm *lm = az_lm_from_bytes(az, data, size);
    cr_assert_not_null(lm, "%s", az_error(az));
    cr_assert(lm->config.tied && lm->head.weight == lm->embedding);
    cr_assert_eq(az_item(lm->embedding->part[0], 0), 0);
    const int norms = 300 * 8, q = norms + 2 * 8, k = q + 2 * 64, v = k + 2 * 32, o = v + 2 * 32, mlp = o + 2 * 64, gate = mlp + 2 * 8,
              down = gate + 2 * 96, up = down + 2 * 96, last = up + 2 * 96;
    const az_lm_block *b = &lm->block[1];
    cr_assert_eq(az_item(b->attn_norm.weight, 0), norms + 8);
    cr_assert_eq(az_item(b->q.weight->part[0], 0), q + 64);
    cr_assert_eq(az_item(b->k.weight->part[0], 5), k + 32 + 5);
    cr_assert_eq(az_item(b->v.weight->part[0], 0), v + 32);
    cr_assert_eq(az_item(b->o.weight->part[0], 63), o + 127);
    cr_assert_eq(az_item(b->mlp_norm.weight, 0), mlp + 8);
    cr_assert_eq(az_item(b->gate.weight->part[0], 0), gate + 96);
    cr_assert_eq(az_item(b->down.weight->part[0], 0), down + 96);
    cr_assert_eq(az_item(b->up.weight->part[0], 0), up + 96);
    cr_assert_eq(az_item(lm->final_norm.weight, 0), last);
    az_close(az);
}

Test(llama2c, a_negative_vocabulary_means_a_head_of_its_own)
{
    az_ctx *az = az_open(NULL);
    int32_t field[7];
    memcpy(field, small, sizeof field);
    field[5] = -300;
    size_t size;
    const unsigned char *data = make(az, field, &size);
    const az_lm *lm = az_lm_from_bytes(az, data, size);
    cr_assert_not_null(lm, "%s", az_error(az));
    cr_assert(!lm->config.tied);
    cr_assert_eq(az_item(lm->head.weight->part[0], 300 * 8 - 1), (double)count_values(field) - 1);
    az_close(az);
}

Test(llama2c, sizes_that_do_not_fit_are_refused)
{
    static const struct {
        int field;
        int32_t value;
    } changes[] = {{0, 0}, {0, -8}, {0, 9}, {1, 13}, {1, 0},   {2, 0},         {2, 3}, {2, 1 << 30},  {3, 0},
                   {3, 3}, {4, 3},  {4, 5}, {5, 0},  {5, 301}, {5, INT32_MIN}, {6, 0}, {6, INT32_MAX}};
    for (size_t i = 0; i < sizeof changes / sizeof *changes; i++) {
        az_ctx *az = az_open(NULL);
        size_t size;
        unsigned char *data = make(az, small, &size);
        memcpy(data + 4 * changes[i].field, &changes[i].value, 4);
        cr_assert_null(az_lm_from_bytes(az, data, size), "field %d = %d", changes[i].field, changes[i].value);
        cr_assert_eq(az_status_of(az), AZ_BAD_INPUT);
        az_close(az);
    }
}

Test(llama2c, every_truncation_is_an_error)
{
    az_ctx *az = az_open(NULL);
    size_t size;
    const unsigned char *data = make(az, small, &size);
    for (size_t n = 0; n < size; n += n < 64 ? 1 : 41) {
        cr_assert_null(az_lm_from_bytes(az, data, n), "%zu bytes", n);
        az_clear(az);
    }
    az_close(az);
}

Test(llama2c, a_checkpoint_and_its_gguf_hold_the_same_weights)
{
    az_ctx *az = az_open(NULL);
    az_lm *bin = az_lm_load(az, test_data(az, "models/stories260K/stories260K.bin"));
    az_lm *gguf = az_lm_load(az, test_data(az, "models/stories260K/stories260K.gguf"));
    cr_assert(bin && gguf, "%s", az_error(az));
    az_lm_slot *a, *b;
    const int n = az_lm_slots(az, bin, &a);
    cr_assert_eq(az_lm_slots(az, gguf, &b), n);
    int compared = 0;
    for (int i = 0; i < n; i++) {
        if (!(a[i].weight ? (void *)*a[i].weight : *a[i].vector)) continue;
        const az_tensor *x = a[i].weight ? (*a[i].weight)->part[0] : *a[i].vector,
                        *y = b[i].weight ? (*b[i].weight)->part[0] : *b[i].vector;
        cr_assert(az_same_shape(x, y) && memcmp(x->data, y->data, (size_t)az_count(x) * 4) == 0, "%s", a[i].name);
        compared++;
    }
    cr_assert_eq(compared, 48);
    cr_assert_eq(az_vocabulary(bin->tokenizer), 512);
    cr_assert_eq(bin->config.context, 512);
    az_close(az);
}

Test(llama2c, a_tokenizer_file_that_ends_early_is_an_error)
{
    az_ctx *az = az_open(NULL);
    const az_map *map = az_map_file(az, test_data(az, "models/stories260K/tok512.bin"));
    cr_assert_not_null(az_tokenizer_from_llama2c(az, map->data, map->size, 512), "%s", az_error(az));
    for (size_t n = 0; n < map->size; n += 97) {
        cr_assert_null(az_tokenizer_from_llama2c(az, map->data, n, 512), "%zu bytes", n);
        cr_assert_eq(az_status_of(az), AZ_BAD_INPUT);
        az_clear(az);
    }
    cr_assert_null(az_tokenizer_from_llama2c(az, map->data, map->size, 600));
    az_close(az);
}
