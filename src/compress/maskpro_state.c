/* maskpro_state.c - the state of mask learning in a safetensors file, and its log as CSV. */
#include "compress/maskpro.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char key_identity[] = "adze.maskpro", key_calibration[] = "adze.maskpro.calibration";
enum { NUMBERS = 9, RECORD = sizeof(az_maskpro_record) / sizeof(double), TENSORS_OF_A_LAYER = 4 };

static const char *calibration_of(az_ctx *az, const az_maskpro_run *run)
{
    return az_format_text(az, "%lld sequences of %lld tokens in batches of %lld", (long long)run->sequences->count,
                          (long long)run->sequences->length, (long long)run->options->batch);
}

/* ---- the log ---- */

static bool write_log(az_ctx *az, const az_maskpro_run *run)
{
    az_out *out = az_create(az, run->options->log);
    FILE *file = out ? az_out_stream(out) : NULL;
    if (!file) return false;
    fputs("step,loss,initial_loss,residual,tracker,flipped_blocks\n", file);
    for (int64_t i = 0; i < run->step; i++) {
        const az_maskpro_record *r = &run->record[i];
        fprintf(file, "%lld,%.9g,%.9g,%.9g,%.9g,%.0f\n", (long long)i, r->loss, r->initial, r->residual, r->tracker, r->flips);
    }
    return az_commit(out);
}

/* ---- the state ---- */

typedef struct entry {
    const char *name;
    az_tensor *value;
} entry;

static int by_name(const void *a, const void *b)
{
    const entry *x = a, *y = b;
    return strcmp(x->name, y->name);
}

/* The tensors of the layers that learn, under their names, ascending; returns their number. */
static int list_layers(az_ctx *az, const az_maskpro_run *run, entry **out)
{
    static const char *const part[TENSORS_OF_A_LAYER] = {"logits", "drawn", "start", "best"};
    const int n = run->n * TENSORS_OF_A_LAYER;
    entry *list = az_alloc_array(az, (size_t)n, sizeof *list);
    for (int i = 0; list && i < run->n; i++) {
        const az_maskpro_layer *layer = &run->layer[i];
        az_tensor *const value[] = {layer->logit, layer->kept, layer->start, layer->best};
        for (int k = 0; k < TENSORS_OF_A_LAYER; k++)
            list[i * TENSORS_OF_A_LAYER + k] = (entry){az_format_text(az, "%s.%s", layer->linear->name, part[k]), value[k]};
    }
    if (!list || !az_ok(az)) return 0;
    qsort(list, (size_t)n, sizeof *list, by_name);
    *out = list;
    return n;
}

/* Everything that is not of a layer; the names sort behind the layers' ("blocks..."). */
static bool list_numbers(az_ctx *az, const az_maskpro_run *run, entry out[3])
{
    const double number[NUMBERS] = {(double)run->step, (double)run->best_step, (double)run->over, run->lr, run->deviation, run->lowest,
                                    run->best,         run->tracker.delta,     run->drifted};
    const int64_t count = NUMBERS, records[] = {run->step, RECORD};
    out[0] = (entry){"initial_losses", az_from(az, AZ_F64, 1, &run->batches, run->initial)};
    out[1] = (entry){"log", az_from(az, AZ_F64, 2, records, run->record)};
    out[2] = (entry){"numbers", az_from(az, AZ_F64, 1, &count, number)};
    return az_ok(az);
}

static bool take_numbers(az_ctx *az, az_maskpro_run *run, const double *number)
{
    for (int i = 0; i < 3; i++)
        if (!(number[i] >= 0 && number[i] <= (double)run->options->steps))
            return az_fail(az, AZ_BAD_INPUT, "its step is %g, of %lld asked for", number[i], (long long)run->options->steps);
    run->step = (int64_t)number[0];
    run->best_step = (int64_t)number[1];
    run->over = (int64_t)number[2];
    run->lr = number[3];
    run->deviation = number[4];
    run->lowest = number[5];
    run->best = number[6];
    run->tracker.delta = number[7];
    run->drifted = number[8] != 0;
    return true;
}

/* Every block of the bits keeps n. */
static bool bits_are_sound(const az_maskpro_layer *layer, const az_tensor *bits)
{
    const az_nm_matrix *x = &layer->blocks;
    for (int64_t at = 0; at < x->rows * x->cols; at += x->pattern.m)
        if (__builtin_popcount(az_bits_get(bits->data, at, x->pattern.m)) != x->pattern.n) return false;
    return true;
}

static bool check_layers(az_ctx *az, const az_maskpro_run *run)
{
    for (int i = 0; i < run->n; i++) {
        const az_maskpro_layer *layer = &run->layer[i];
        if (az_first_nonfinite(layer->logit) >= 0 || !bits_are_sound(layer, layer->kept) || !bits_are_sound(layer, layer->start) ||
            !bits_are_sound(layer, layer->best))
            return az_fail(az, AZ_BAD_INPUT, "the logits or masks of %s are damaged", layer->linear->name);
    }
    return true;
}

static bool write_state(az_ctx *az, const az_maskpro_run *run)
{
    entry *layers = NULL, numbers[3];
    const int n = list_layers(az, run, &layers);
    az_safetensors_writer *writer = az_safetensors_create(az, run->options->resume);
    if (!writer || !list_numbers(az, run, numbers)) return false;
    az_safetensors_put_metadata(writer, key_identity, run->identity);
    az_safetensors_put_metadata(writer, key_calibration, calibration_of(az, run));
    for (int i = 0; i < n + 3; i++) {
        const entry *e = i < n ? &layers[i] : &numbers[i - n];
        az_safetensors_declare(writer, e->name, e->value->dtype, e->value->rank, e->value->shape);
    }
    for (int i = 0; i < n + 3; i++) az_safetensors_write(writer, i < n ? layers[i].value : numbers[i - n].value);
    return az_ok(az) && az_safetensors_commit(writer);
}

bool az_maskpro_save(az_ctx *az, az_maskpro_run *run)
{
    const az_maskpro_options *o = run->options;
    az_scope_push(az);
    bool good = !*o->resume || write_state(az, run);
    az_fail_context(az, "saving the state in '%s'", o->resume);
    good = good && (!*o->log || write_log(az, run));
    az_scope_pop(az);
    return good;
}

bool az_maskpro_has_state(const az_maskpro_options *options)
{
    return *options->resume && access(options->resume, F_OK) == 0;
}

static const char *metadata_of(const az_safetensors *file, const char *key)
{
    for (int64_t i = 0; i < file->metadata_count; i++)
        if (strcmp(file->metadata[i].key, key) == 0) return file->metadata[i].value;
    return "";
}

static bool read_into(az_ctx *az, const az_safetensors *file, const char *name, az_tensor *to)
{
    const az_tensor *stored = az_safetensors_find(file, name);
    if (!stored || stored->dtype != to->dtype || !az_same_shape(stored, to))
        return az_fail(az, AZ_BAD_INPUT, "tensor '%s' is missing or has another shape or type", name);
    memcpy(to->data, stored->data, (size_t)az_count(to) * az_dtype_size(to->dtype));
    return true;
}

static bool same_run(az_ctx *az, const az_maskpro_run *run, const az_safetensors *file)
{
    const char *calibration = metadata_of(file, key_calibration);
    if (!*calibration) return az_fail(az, AZ_BAD_INPUT, "it is no state of maskpro");
    if (strcmp(calibration, calibration_of(az, run)) != 0)
        return az_fail(az, AZ_BAD_INPUT, "its initial losses were made for %s, not for %s", calibration, calibration_of(az, run));
    if (strcmp(metadata_of(file, key_identity), run->identity) != 0)
        return az_fail(az, AZ_BAD_INPUT,
                       "it belongs to a run with other settings, another model or text; give the same ones, or another file");
    return true;
}

static bool read_state(az_ctx *az, az_maskpro_run *run)
{
    const az_safetensors *file = az_safetensors_read(az, run->options->resume);
    entry *layers = NULL;
    const int n = file && same_run(az, run, file) ? list_layers(az, run, &layers) : 0;
    const int64_t count = NUMBERS;
    az_tensor *numbers = az_new1(az, AZ_F64, count), *initial = az_new1(az, AZ_F64, run->batches);
    if (n == 0 || !numbers || !initial) return false;
    for (int i = 0; i < n; i++)
        if (!read_into(az, file, layers[i].name, layers[i].value)) return false;
    if (!read_into(az, file, "numbers", numbers) || !read_into(az, file, "initial_losses", initial)) return false;
    if (!check_layers(az, run) || !take_numbers(az, run, az_f64(numbers))) return false;
    memcpy(run->initial, initial->data, (size_t)run->batches * sizeof *run->initial);
    az_tensor *records = az_new2(az, AZ_F64, run->step, RECORD);
    if (!records || !read_into(az, file, "log", records)) return false;
    memcpy(run->record, records->data, (size_t)run->step * sizeof *run->record);
    return true;
}

bool az_maskpro_load(az_ctx *az, az_maskpro_run *run)
{
    az_scope_push(az);
    const bool good = read_state(az, run);
    if (!good) az_fail_context(az, "going on from '%s'", run->options->resume);
    az_scope_pop(az);
    return good;
}
