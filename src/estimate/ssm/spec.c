/* spec.c - a state-space model from options and files: matrices from files, or multiples of the identity from the options. */
#include "estimate/ssm/spec.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

const char *const az_ssm_family_names[] = {[AZ_SSM_LGSSM] = "lgssm", [AZ_SSM_SV] = "sv", [AZ_SSM_RECURRENT] = "recurrent", NULL};

const az_input_slot az_ssm_slots[] = {
    [AZ_SSM_SLOT_Y] = {"y", AZ_INPUT_HOLES, 0, 1, "the observations, one row a time"},
    [AZ_SSM_SLOT_A] = {"a", AZ_INPUT_ARRAY, 0, 1, "lgssm: the transition matrix"},
    [AZ_SSM_SLOT_C] = {"c", AZ_INPUT_ARRAY, 0, 1, "the observation matrix; without it the states are seen themselves"},
    [AZ_SSM_SLOT_Q] = {"q", AZ_INPUT_ARRAY, 0, 1, "lgssm: covariance of the transitions' noise"},
    [AZ_SSM_SLOT_R] = {"r", AZ_INPUT_ARRAY, 0, 1, "lgssm: covariance of the observations' noise"},
    [AZ_SSM_SLOT_M0] = {"m0", AZ_INPUT_ARRAY, 0, 1, "lgssm: mean of the first state; without it 0"},
    [AZ_SSM_SLOT_P0] = {"p0", AZ_INPUT_ARRAY, 0, 1, "lgssm: covariance of the first state; without it the stationary one"},
    [AZ_SSM_SLOT_W] = {"w", AZ_INPUT_ARRAY, 0, 1, "recurrent: the weights; without it normal ones of deviation gain / sqrt(states)"},
    {0},
};

/* ---- numbers from the options ---------------------------------------------------------------------------------------------------- */

enum { MOST_NUMBERS = 8 };
typedef struct number {
    const char *name;
    double value;
    bool given, required;
} number;

static bool set_number(az_ctx *az, const char *text, int length, number *numbers)
{
    const char *equals = memchr(text, '=', (size_t)length), *names[MOST_NUMBERS], *word = az_format_text(az, "%.*s", length, text);
    int count = 0, found = -1;
    char *end;
    if (!word) return false;
    if (!equals) return az_fail(az, AZ_BAD_INPUT, "params: '%s' is not of the form name=number", word);
    const int name = (int)(equals - text);
    for (; numbers[count].name; count++) {
        names[count] = numbers[count].name;
        if (strncmp(names[count], text, (size_t)name) == 0 && !names[count][name]) found = count;
    }
    if (found < 0) {
        const char *near = az_nearest(az_format_text(az, "%.*s", name, text), names, count);
        return az_fail(az, AZ_BAD_INPUT, "params: this model has no '%.*s'%s%s%s", name, text, near ? "; did you mean '" : "",
                       near ? near : "", near ? "'?" : "");
    }
    if (numbers[found].given) return az_fail(az, AZ_BAD_INPUT, "params: %s is given twice", names[found]);
    numbers[found].value = strtod(word + name + 1, &end);
    numbers[found].given = true;
    if (end == word + name + 1 || *end || !isfinite(numbers[found].value))
        return az_fail(az, AZ_BAD_INPUT, "params: '%s': a number is wanted", word);
    return true;
}

/* Items are separated by commas or blanks. */
static bool read_numbers(az_ctx *az, const char *text, number *numbers)
{
    for (const char *at = text + strspn(text, ", "); *at; at += strspn(at, ", ")) {
        const int length = (int)strcspn(at, ", ");
        if (!set_number(az, at, length, numbers)) return false;
        at += length;
    }
    for (const number *n = numbers; n->name; n++)
        if (n->required && !n->given) return az_fail(az, AZ_BAD_INPUT, "params: %s is missing (params=\"%s=...\")", n->name, n->name);
    return true;
}

/* ---- matrices ------------------------------------------------------------------------------------------------------------------------ */

static const az_tensor *file_in(const az_estimate_job *job, int slot)
{
    const az_input *input = az_job_input(job, slot, 0);
    return input ? input->array->value : NULL;
}

static int rows_of(const az_tensor *x)
{
    return x->rank > 0 && x->shape[0] < INT32_MAX ? (int)x->shape[0] : 1;
}

static int columns_of(const az_tensor *x)
{
    return x->rank > 1 && x->shape[1] < INT32_MAX ? (int)x->shape[1] : 1;
}

/* The slot's file, or `scale` times the identity. */
static const double *matrix(az_ctx *az, const az_estimate_job *job, int slot, int rows, int columns, double scale)
{
    const az_input *input = az_job_input(job, slot, 0);
    double *out = az_alloc_array(az, (size_t)(rows * columns), sizeof *out);
    if (!out) return NULL;
    for (int i = 0; i < rows; i++) out[i * columns + (i < columns ? i : 0)] = i < columns ? scale : 0;
    if (!input) return out;
    const az_tensor *x = input->array->value;
    const bool vector = columns == 1 && x->rank == 2 && x->shape[0] == 1 && x->shape[1] == rows;
    if (input->array->complex || x->rank > 2 || (!vector && (rows_of(x) != rows || columns_of(x) != columns)))
        return az_fail(az, AZ_BAD_INPUT, "%s is %s: %s is %d x %d here", input->path, az_shape_text(az, x), az_ssm_slots[slot].name, rows,
                       columns);
    for (int i = 0; i < rows * columns; i++) out[i] = az_item(x, i);
    return out;
}

/* The number of rows that the first file among the slots has; `asked` goes before. */
static int64_t size_by(const az_estimate_job *job, int64_t asked, const int *slots, int count, int64_t otherwise)
{
    for (int i = 0; i < count && asked == 0; i++)
        if (file_in(job, slots[i])) asked = rows_of(file_in(job, slots[i]));
    return asked > 0 ? asked : otherwise;
}

static bool check_sizes(az_ctx *az, int64_t states, int64_t observed)
{
    if (states >= 1 && states <= AZ_SSM_MOST_STATES && observed >= 1 && observed <= AZ_SSM_MOST_STATES) return true;
    return az_fail(az, AZ_BAD_INPUT, "%lld states, %lld observed numbers: 1 to %d of each are possible", (long long)states,
                   (long long)observed, AZ_SSM_MOST_STATES);
}

static int64_t observed_by(const az_estimate_job *job, const az_ssm_spec *spec, int64_t states)
{
    const int slots[] = {AZ_SSM_SLOT_C, AZ_SSM_SLOT_R};
    const az_tensor *y = file_in(job, AZ_SSM_SLOT_Y);
    return size_by(job, spec->observed, slots, 2, y ? columns_of(y) : states);
}

/* ---- models ----------------------------------------------------------------------------------------------------------------------------
 */

static az_ssm *linear_gaussian(az_ctx *az, const az_ssm_spec *spec, const az_estimate_job *job)
{
    enum { A, C, Q, R, M0, P0 };
    number n[] = {[A] = {"a"}, [C] = {"c", 1}, [Q] = {"q"}, [R] = {"r"}, [M0] = {"m0"}, [P0] = {"p0"}, {0}};
    const int slots[] = {AZ_SSM_SLOT_A, AZ_SSM_SLOT_Q, AZ_SSM_SLOT_P0, AZ_SSM_SLOT_M0};
    const int64_t states = size_by(job, spec->states, slots, 4, 1), observed = observed_by(job, spec, states);
    const int d = (int)states, m = (int)observed;
    n[A].required = !file_in(job, AZ_SSM_SLOT_A), n[Q].required = !file_in(job, AZ_SSM_SLOT_Q),
    n[R].required = !file_in(job, AZ_SSM_SLOT_R);
    if (!read_numbers(az, spec->params, n) || !check_sizes(az, states, observed)) return NULL;
    double *mean = az_alloc_array(az, (size_t)d, sizeof *mean);
    for (int i = 0; mean && i < d; i++) mean[i] = n[M0].value;
    const az_ssm_linear given = {.states = d,
                                 .observed = m,
                                 .a = matrix(az, job, AZ_SSM_SLOT_A, d, d, n[A].value),
                                 .c = matrix(az, job, AZ_SSM_SLOT_C, m, d, n[C].value),
                                 .q = matrix(az, job, AZ_SSM_SLOT_Q, d, d, n[Q].value),
                                 .r = matrix(az, job, AZ_SSM_SLOT_R, m, m, n[R].value),
                                 .m0 = file_in(job, AZ_SSM_SLOT_M0) ? matrix(az, job, AZ_SSM_SLOT_M0, d, 1, 0) : mean,
                                 .p0 = file_in(job, AZ_SSM_SLOT_P0) || n[P0].given ? matrix(az, job, AZ_SSM_SLOT_P0, d, d, n[P0].value)
                                                                                   : NULL};
    return az_ok(az) ? az_ssm_linear_gaussian(az, &given) : NULL;
}

static az_ssm *volatility(az_ctx *az, const az_ssm_spec *spec)
{
    number n[] = {{"phi", .required = true}, {"sigma", .required = true}, {"beta", .required = true}, {0}};
    if (spec->states > 1 || spec->observed > 1) return az_fail(az, AZ_BAD_INPUT, "model sv has one state and one observed number");
    return read_numbers(az, spec->params, n) ? az_ssm_volatility(az, n[0].value, n[1].value, n[2].value) : NULL;
}

static const double *random_weights(az_ctx *az, int d, double gain)
{
    double *w = az_alloc_array(az, (size_t)(d * d), sizeof *w);
    az_rng rng = az_rng_at(az_seed(az), az_stream("recurrent weights", 0));
    for (int i = 0; w && i < d * d; i++) w[i] = gain / sqrt(d) * az_normal(&rng);
    return w;
}

static az_ssm *recurrent(az_ctx *az, const az_ssm_spec *spec, const az_estimate_job *job)
{
    enum { GAIN, Q, R, P0 };
    number n[] = {[GAIN] = {"gain", 2}, [Q] = {"q", .required = true}, [R] = {"r", .required = true}, [P0] = {"p0", 1}, {0}};
    const int slot = AZ_SSM_SLOT_W;
    const int64_t states = size_by(job, spec->states, &slot, 1, 5), observed = observed_by(job, spec, states);
    if (!read_numbers(az, spec->params, n) || !check_sizes(az, states, observed)) return NULL;
    const int d = (int)states, m = (int)observed;
    const az_ssm_network network = {.states = d,
                                    .observed = m,
                                    .w = file_in(job, slot) ? matrix(az, job, slot, d, d, 0) : random_weights(az, d, n[GAIN].value),
                                    .c = matrix(az, job, AZ_SSM_SLOT_C, m, d, 1),
                                    .q = n[Q].value,
                                    .r = n[R].value,
                                    .p0 = n[P0].value};
    return az_ok(az) ? az_ssm_recurrent(az, &network) : NULL;
}

az_ssm *az_ssm_of_spec(az_ctx *az, const az_ssm_spec *spec, const az_estimate_job *job)
{
    static const bool reads[][AZ_SSM_SLOT_W + 1] = {[AZ_SSM_LGSSM] = {true, true, true, true, true, true, true, false},
                                                    [AZ_SSM_SV] = {true},
                                                    [AZ_SSM_RECURRENT] = {[0] = true, [2] = true, [7] = true}};
    for (int slot = 0; slot <= AZ_SSM_SLOT_W; slot++)
        if (file_in(job, slot) && !reads[spec->family][slot])
            return az_fail(az, AZ_BAD_INPUT, "model %s has no use for a file of %s", az_ssm_family_names[spec->family],
                           az_ssm_slots[slot].name);
    switch ((az_ssm_family)spec->family) {
    case AZ_SSM_LGSSM: return linear_gaussian(az, spec, job);
    case AZ_SSM_SV: return volatility(az, spec);
    case AZ_SSM_RECURRENT: return recurrent(az, spec, job);
    }
    return NULL;
}

const double *az_ssm_observations(az_ctx *az, const az_ssm *model, const az_estimate_job *job, int64_t *n)
{
    const az_input *input = az_job_input(job, AZ_SSM_SLOT_Y, 0);
    if (!input) return az_fail(az, AZ_BAD_INPUT, "the observations are missing: -d y=FILE");
    const az_tensor *y = input->array->value;
    if (input->array->complex || y->rank > 2 || columns_of(y) != model->observed)
        return az_fail(az, AZ_BAD_INPUT, "%s is %s: model %s observes %d number%s at each time", input->path, az_shape_text(az, y),
                       model->name, model->observed, model->observed > 1 ? "s" : "");
    *n = rows_of(y);
    return az_f64(az_contiguous(az, y));
}

const char *az_ssm_label(az_ctx *az, const char *name, int i, int count)
{
    return count == 1 ? name : az_format_text(az, "%s%d", name, i + 1);
}
