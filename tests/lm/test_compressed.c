/* Folders in the compressed-tensors convention: what another program wrote, what another program reads, round trips, refusals. */
#include "adze/data.h"
#include "lm/lm_internal.h"
#include "support/families.h"
#include "support/folder.h"
#include "support/matrix.h"
#include "support/second_reader.h"

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

static const char *fixture(az_ctx *az, const char *name)
{
    return az_format_text(az, "%s/tests/fixtures/%s", ADZE_SOURCE_DIR, name);
}

/* tests/fixtures/compressed.py wrote both. */
Test(compressed, every_way_decodes_to_the_dense_matrix)
{
    static const struct {
        const char *module, *format;
    } layers[] = {{"self_attn.q_proj", "q4_0"}, {"self_attn.k_proj", "q8_0"}, {"self_attn.v_proj", "q5_0"}, {"self_attn.o_proj", "f32"},
                  {"mlp.gate_proj", "f32"},     {"mlp.up_proj", "nm_bf16"},   {"mlp.down_proj", "f32"}};
    az_ctx *az = az_open(NULL);
    az_lm *lm = az_lm_load(az, fixture(az, "compressed"));
    const az_safetensors *dense = az_safetensors_read(az, fixture(az, "compressed.safetensors"));
    cr_assert(lm && dense, "%s", az_error(az));
    const az_lm_block *b = &lm->block[0];
    const az_lm_linear *linear[] = {&b->q, &b->k, &b->v, &b->o, &b->gate, &b->up, &b->down};
    for (int i = 0; i < 7; i++) {
        const az_weight *w = linear[i]->weight;
        cr_assert_str_eq(w->format->name, layers[i].format, "%s", layers[i].module);
        cr_assert_eq(matrix_difference(az_weight_decode(az, w), az_safetensors_find(dense, layers[i].module)), 0, "%s", layers[i].module);
    }
    az_close(az);
}

/* Matrices inside the blocks become this format, pruned to 2:4 before where the format wants it. */
static void store(az_ctx *az, az_lm *lm, const char *format)
{
    az_lm_slot *slots;
    const int n = az_lm_slots(az, lm, &slots);
    for (int i = 0; i < n; i++) {
        if (!slots[i].weight || !*slots[i].weight || slots[i].block < 0 || slots[i].part == AZ_PART_ROUTER) continue;
        const az_weight *w = *slots[i].weight;
        const az_tensor *mask = az_mask_lowest(az, az_abs(az, az_weight_decode(az, w)), (az_mask_how){.pattern = {2, 4}});
        if (strncmp(format, "nm", 2) == 0) w = az_mask_apply(az, w, mask);
        const az_format *chosen = az_format_by_name(slots[i].cols % az_format_by_name(format)->block == 0 ? format : "f16");
        cr_assert(az_lm_attach_weight(az, lm, &slots[i], az_weight_encode(az, w, chosen, NULL)), "%s", az_error(az));
    }
}

static void check_same_weights(az_ctx *az, az_lm *a, az_lm *b)
{
    az_lm_slot *x, *y;
    const int n = az_lm_slots(az, a, &x);
    cr_assert_eq(az_lm_slots(az, b, &y), n);
    for (int i = 0; i < n; i++) {
        if (!x[i].weight || !*x[i].weight) continue;
        cr_assert_eq((*x[i].weight)->format, (*y[i].weight)->format, "%s: %s", x[i].name, (*y[i].weight)->format->name);
        const az_tensor *before = az_weight_decode(az, *x[i].weight);
        if (a->arch != b->arch) before = az_lm_reorder_rows(az, a, &x[i], before); /* pairs became halves */
        cr_assert_eq(matrix_difference(before, az_weight_decode(az, *y[i].weight)), 0, "%s", x[i].name);
    }
}

static const char *const formats[] = {"q8_0", "q5_0", "q4_0", "nm_f16", "nm_bf16"};
enum { FORMATS = sizeof formats / sizeof *formats };

Test(compressed, folders_keep_formats_and_bits)
{
    for (int f = 0; f < FORMATS; f++)
        for (int k = 0; k < FAMILIES; k++) {
            if (strcmp(families[k].architecture, "bloom") == 0) continue; /* its folders do not tell the hidden width */
            az_ctx *az = az_open(NULL);
            const char *folder = test_folder(az);
            az_lm *lm = family_model(az, &families[k]);
            store(az, lm, formats[f]);
            cr_assert(az_lm_save_folder(az, lm, folder, NULL), "%s %s: %s", families[k].architecture, formats[f], az_error(az));
            az_lm *again = az_lm_load(az, folder);
            cr_assert_not_null(again, "%s %s: %s", families[k].architecture, formats[f], az_error(az));
            check_same_weights(az, lm, again);
            az_close(az);
        }
}

Test(compressed, another_program_reads_what_is_written)
{
    az_ctx *az = az_open(NULL);
    needs_numpy();
    for (int f = 0; f < FORMATS; f++) {
        const char *folder = test_folder(az), *dense = test_folder(az);
        az_lm *lm = family_model(az, &families[0]);
        store(az, lm, formats[f]);
        cr_assert(az_lm_save_folder(az, lm, folder, NULL) && az_lm_save_folder(az, lm, dense, az_format_by_name("f32")), "%s",
                  az_error(az));
        const char *line = az_format_text(az, "/usr/bin/python3 %s check %s %s", fixture(az, "compressed.py"), folder, dense);
        cr_assert_eq(system(line), 0, "%s", formats[f]);
        check_safetensors(az, folder, NULL);
    }
    az_close(az);
}

Test(compressed, a_format_may_be_asked_for)
{
    az_ctx *az = az_open(NULL);
    const char *folder = test_folder(az);
    cr_assert(az_lm_save_folder(az, family_model(az, &families[0]), folder, az_format_by_name("q8_0")), "%s", az_error(az));
    const az_lm *lm = az_lm_load(az, folder);
    cr_assert_str_eq(lm->block[0].q.weight->format->name, "q8_0");
    cr_assert_str_eq(lm->block[0].down.weight->format->name, "f16"); /* 48 inputs */
    az_close(az);
}

/* ---- damage ---- */

/* Loads a folder with the fixture's tensors and `config` in the place of its quantization_config. */
static const char *error_of(az_ctx *az, const char *from, const char *to)
{
    const char *folder = test_folder(az);
    const char *text = az_read_file(az, fixture(az, "compressed/config.json"), NULL), *at = strstr(text, from);
    cr_assert_not_null(at, "%s", from);
    FILE *file = fopen(test_path(az, folder, "config.json"), "w");
    fprintf(file, "%.*s%s%s", (int)(at - text), text, to, at + strlen(from));
    fclose(file);
    const az_map *tensors = az_map_file(az, fixture(az, "compressed/model.safetensors"));
    file = fopen(test_path(az, folder, "model.safetensors"), "wb");
    fwrite(tensors->data, 1, tensors->size, file);
    fclose(file);
    cr_assert_null(az_lm_load(az, folder), "%s", to);
    const char *message = az_strdup(az, az_error(az));
    cr_assert_eq(az_status_of(az), AZ_BAD_INPUT);
    az_clear(az);
    return az_strdup(az, message ? message : "");
}

Test(compressed, what_is_not_read_is_named)
{
    static const char *const cases[][3] = {
        {"compressed-tensors", "gptq", "gptq"},
        {"mixed-precision", "float-quantized", "float-quantized"},
        {"sparse-24-bitmask", "sparse-bitmask", "sparse-bitmask"},
        {"\"num_key_value_heads\": 1", "\"num_key_value_heads\": 2", "k_proj"},
    };
    az_ctx *az = az_open(NULL);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const char *message = error_of(az, cases[i][0], cases[i][1]);
        cr_assert_not_null(strstr(message, cases[i][2]), "%s: %s", cases[i][1], message);
    }
    az_close(az);
}
