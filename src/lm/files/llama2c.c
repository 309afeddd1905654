/* llama2c.c - checkpoints of llama2.c, version 0: seven i32 and then every weight in f32, in a fixed order.
 *
 * i32: dim, hidden_dim, n_layers, n_heads, n_kv_heads, vocab_size (negative: the head has weights of its own), seq_len.
 * f32: embedding, then one after the other for all layers: attention norms, q, k, v, o, MLP norms, gate, down, up; the final norm; two
 * tables of rotations [seq_len, head_dim / 2], which are not used; the head, if it has its own. */
#include "lm/files/load.h"

#include <string.h>

enum { HEADER_BYTES = 7 * 4 };

static const az_lm_part file_order[] = {
    AZ_PART_EMBEDDING, AZ_PART_ATTN_NORM, AZ_PART_Q,    AZ_PART_K,  AZ_PART_V,          AZ_PART_O,
    AZ_PART_MLP_NORM,  AZ_PART_GATE,      AZ_PART_DOWN, AZ_PART_UP, AZ_PART_FINAL_NORM, AZ_PART_HEAD,
};

static bool read_config(az_ctx *az, const unsigned char *data, size_t size, az_lm_config *config)
{
    int32_t field[7];
    if (size < HEADER_BYTES) return az_fail(az, AZ_BAD_INPUT, "%zu bytes are too few for a llama2.c checkpoint", size);
    memcpy(field, data, sizeof field);
    *config = (az_lm_config){.width = field[0],
                             .hidden = field[1],
                             .blocks = field[2],
                             .heads = field[3],
                             .kv_heads = field[4],
                             .vocabulary = field[5] < 0 ? -(int64_t)field[5] : field[5],
                             .context = field[6],
                             .tied = field[5] > 0};
    if (config->heads > 0 && config->width % config->heads != 0)
        return az_fail(az, AZ_BAD_INPUT, "width = %lld is not a multiple of heads = %lld", (long long)config->width,
                       (long long)config->heads);
    return true;
}

/* Values of one layer's tensor of each part. */
static void measure(const az_lm_slot *slots, int n, int64_t values[AZ_PARTS])
{
    for (int i = 0; i < n; i++)
        if (!slots[i].bias && slots[i].block <= 0) values[slots[i].part] = slots[i].rows * (slots[i].weight ? slots[i].cols : 1);
}

/* Where each part begins, in values behind the header; returns how many there are in all. */
static int64_t lay_out(const az_lm_config *c, const int64_t values[AZ_PARTS], int64_t begin[AZ_PARTS])
{
    int64_t at = 0;
    for (size_t i = 0; i < sizeof file_order / sizeof *file_order; i++) {
        const az_lm_part part = file_order[i];
        if (part == AZ_PART_HEAD) {
            at += c->context * (c->head_dim / 2) * 2;
            if (c->tied) break;
        }
        begin[part] = at;
        at += values[part] * (az_lm_part_in_block(part) ? c->blocks : 1);
    }
    return at;
}

static bool attach(az_ctx *az, az_lm *lm, const az_lm_slot *slot, const unsigned char *values)
{
    const int64_t shape[] = {slot->rows, slot->cols};
    az_tensor *view = az_lm_view(az, AZ_F32, slot->weight ? 2 : 1, shape, values);
    return slot->weight ? az_lm_attach_weight(az, lm, slot, az_weight_dense(az, view)) : az_lm_attach_vector(az, lm, slot, view);
}

static bool attach_all(az_ctx *az, az_lm *lm, const unsigned char *data, size_t size)
{
    az_lm_slot *slots;
    const int n = az_lm_slots(az, lm, &slots);
    int64_t values[AZ_PARTS] = {0}, begin[AZ_PARTS] = {0};
    if (n == 0) return false;
    measure(slots, n, values);
    const int64_t all = lay_out(&lm->config, values, begin);
    if ((size - HEADER_BYTES) % 4 != 0 || (size - HEADER_BYTES) / 4 != (size_t)all)
        return az_fail(
            az, AZ_BAD_INPUT,
            "a llama2.c checkpoint with width %lld, hidden %lld, %lld layers and a vocabulary of %lld has %lld bytes; this file has %zu",
            (long long)lm->config.width, (long long)lm->config.hidden, (long long)lm->config.blocks, (long long)lm->config.vocabulary,
            (long long)(HEADER_BYTES + 4 * all), size);
    for (int i = 0; i < n; i++) {
        const az_lm_slot *slot = &slots[i];
        if (slot->bias || (slot->part == AZ_PART_HEAD && lm->config.tied)) continue;
        const int64_t at = begin[slot->part] + (slot->block > 0 ? slot->block * values[slot->part] : 0);
        if (!attach(az, lm, slot, data + HEADER_BYTES + 4 * at)) return false;
    }
    return az_lm_complete(az, lm);
}

az_lm *az_lm_from_llama2c(az_ctx *az, const unsigned char *data, size_t size)
{
    az_lm_config config;
    const az_lm_arch *arch = az_lm_arch_by_name("llama");
    if (!read_config(az, data, size, &config)) return NULL;
    az_lm_config_defaults(arch, &config);
    if (!az_lm_validate(az, arch, &config)) return NULL;
    if ((uint64_t)config.blocks > size / 4)
        return az_fail(az, AZ_BAD_INPUT, "%zu bytes cannot hold %lld layers", size, (long long)config.blocks);
    az_lm *lm = az_lm_empty(az, arch, &config, NULL);
    az_scope_push(az);
    const bool good = lm && attach_all(az, lm, data, size);
    az_scope_pop(az);
    if (good) return lm;
    az_lm_free(az, lm);
    return NULL;
}
