/* ihvp.c - products of the inverse empirical Fisher matrix with vectors: what second-order methods and influence functions are made of.
 *
 * F = damp I + (1/m) sum_i g_i g_i^T over m gradients g_i [d], or its diagonal blocks of `block` entries; y = F^-1 x for every vector x,
 * without a matrix d x d (src/linalg/fisher.c). Gradients and vectors are matrices in files, a row each, or come from a language model:
 * those of the mean loss of sequences of a text, in all linear layers inside the blocks, one layer behind the other. A text for vectors
 * gives one for each document. x_a^T F^-1 x_b of two documents' gradients is, up to its sign and a factor, the influence of one on the
 * other's loss.
 *
 * Frantar, Kurtic, Alistarh: "M-FAC: efficient matrix-free approximations of second-order information", NeurIPS 2021
 * (arXiv 2107.03356), section 3. */
#include "estimate/estimate_internal.h"

#include <string.h>

enum { LONGEST = 2048 };                     /* tokens of a sequence, unless asked otherwise */
static const double LARGEST_RESIDUAL = 0.01; /* |F y - x| / |x| of a y that is handed over */
enum { SLOT_GRADIENTS, SLOT_VECTORS, SLOT_MODEL };

typedef struct ihvp_options {
    double damp;
    int64_t block, grads, grad_batch, length, seed;
    bool diagonal;
    int storage;
    const char *scratch;
} ihvp_options;

static const char *const storages[] = {"f32", "bf16", NULL};

static const az_option ihvp_table[] = {
    {"damp", AZ_FIELD(AZ_REAL, ihvp_options, damp), "1e-5", 0, INFINITY, NULL, "added to the diagonal of F, above 0"},
    {"block", AZ_FIELD(AZ_INT, ihvp_options, block), "0", 0, 1e12, NULL, "entries in a diagonal block of F; 0 = the whole of F"},
    {"diagonal", AZ_FIELD(AZ_BOOL, ihvp_options, diagonal), "false", 0, 0, NULL, "also the diagonal of F^-1"},
    {"grads", AZ_FIELD(AZ_INT, ihvp_options, grads), "64", 1, 1e5, NULL, "with a model: gradients that F is made of, at most"},
    {"grad_batch", AZ_FIELD(AZ_INT, ihvp_options, grad_batch), "1", 1, 1e5, NULL,
     "with a model: sequences whose mean loss gives a gradient"},
    {"seqlen", AZ_FIELD(AZ_INT, ihvp_options, length), "0", 0, 1e6, NULL,
     "with a model: tokens of a sequence; 0 = its context, at most 2048"},
    {"seed", AZ_FIELD(AZ_INT, ihvp_options, seed), "0", 0, 0, NULL, "with a model: of the choice of sequences; without it that of --seed"},
    {"storage", AZ_FIELD(AZ_CHOICE, ihvp_options, storage), "f32", 0, 0, storages,
     "with a model: of the gradients, grads x weights numbers"},
    {"scratch", AZ_FIELD(AZ_TEXT, ihvp_options, scratch), "", 0, 0, NULL,
     "with a model: folder for a file that holds the gradients instead of memory"},
    {0},
};

static const az_input_slot ihvp_slots[] = {
    {"gradients", AZ_INPUT_FILE, 1, 1, "a matrix, one gradient a row; or, with a model, a text"},
    {"vectors", AZ_INPUT_FILE, 0, 1, "a vector, or a matrix, one a row; or, with a model, a text, one a document"},
    {"model", AZ_INPUT_MODEL, 0, 1, "the language model whose loss is differentiated"},
    {0},
};

/* A model whose linear layers are dense f32; their entries form one vector. */
typedef struct subject {
    const ihvp_options *o;
    az_lm *lm;
    az_lm_parameter *parameter; /* [n] */
    int n;
    int64_t d;
} subject;

static bool open_subject(az_ctx *az, subject *s, const az_lm *given)
{
    az_lm_linear **linear = NULL;
    s->lm = az_lm_copy(az, given);
    s->n = s->lm ? az_lm_linears(az, s->lm, &linear) : 0;
    s->parameter = az_alloc_array(az, (size_t)s->n + 1, sizeof *s->parameter);
    for (int i = 0; s->parameter && i < s->n && az_ok(az); i++) {
        az_weight *dense = az_weight_dense(az, az_weight_decode(az, linear[i]->weight));
        if (!dense) break;
        linear[i]->weight = dense;
        s->parameter[i] = (az_lm_parameter){.name = linear[i]->name, .slot = &dense->part[0]};
        s->d += az_count(dense->part[0]);
    }
    return az_ok(az);
}

/* The gradient of the mean loss of sequences first .. first + count - 1, into row i of `rows`. */
static bool differentiate(az_ctx *az, const subject *s, const az_lm_sequences *sequences, int64_t first, int64_t count, az_tensor *rows,
                          int64_t i)
{
    double loss = NAN;
    az_scope_push(az);
    const az_lm_objective objective = {
        .lm = s->lm,
        .lesson = az_lm_lesson_of(az, sequences, first, count),
        .scale = 1.0 / (double)(count * (sequences->length - 1)),
    };
    az_tensor **gradient = az_alloc_array(az, (size_t)s->n + 1, sizeof *gradient);
    if (gradient && az_lm_gradient(az, &objective, s->parameter, s->n, gradient, &loss)) {
        az_tensor *row = az_reshape(az, az_slice(az, rows, 0, i, 1), 1, (int64_t[]){s->d});
        int64_t at = 0;
        for (int l = 0; l < s->n; at += az_count(gradient[l++])) {
            const int64_t size = az_count(gradient[l]);
            az_copy_into(az, az_slice(az, row, 0, at, size), az_reshape(az, gradient[l], 1, &size));
        }
        if (!isfinite(loss)) az_fail(az, AZ_NUMERIC, "the loss of sequence %lld is not finite", (long long)first + 1);
    }
    az_scope_pop(az);
    return az_ok(az);
}

static bool show_progress(az_ctx *az, const char *task, int64_t done, int64_t all)
{
    return az_progress(az, task, done, all, NULL) || az_fail(az, AZ_INTERRUPTED, "interrupted");
}

/* Gradients of sequences drawn from a text: [m, d]. */
static az_tensor *text_gradients(az_ctx *az, const subject *s, const char *path)
{
    const ihvp_options *o = s->o;
    const int64_t context = s->lm->config.context, longest = context < LONGEST ? context : LONGEST;
    const az_lm_sequences *drawn = az_lm_sample_sequences(az, s->lm, az_documents_read(az, path), o->grads * o->grad_batch,
                                                          o->length ? o->length : longest, (uint64_t)o->seed);
    if (!drawn) return NULL;
    if (drawn->length < 2) return az_fail(az, AZ_BAD_INPUT, "a sequence of one token has no loss; use a longer text or seqlen");
    const int64_t batch = o->grad_batch < drawn->count ? o->grad_batch : drawn->count, m = drawn->count / batch;
    az_tensor *g = az_fisher_gradients(az, m, s->d, o->storage ? AZ_BF16 : AZ_F32, o->scratch);
    for (int64_t i = 0; g && i < m; i++)
        if (!differentiate(az, s, drawn, i * batch, batch, g, i) || !show_progress(az, "gradients", i + 1, m)) return NULL;
    return g;
}

/* The gradient of each document's mean loss, as far as the context goes: [k, d]. */
static az_tensor *document_gradients(az_ctx *az, const subject *s, const char *path)
{
    const az_documents *documents = az_documents_read(az, path);
    if (!documents) return NULL;
    if (!s->lm->tokenizer) return az_fail(az, AZ_BAD_INPUT, "the model brings no tokenizer, so it cannot read text");
    const int64_t k = documents->count, shape[] = {k, s->d}, context = s->lm->config.context;
    int64_t cut = 0;
    az_tensor *x = az_tensor_new(az, AZ_F32, 2, shape);
    for (int64_t i = 0; x && i < k; i++) {
        az_scope_push(az);
        const az_document *document = &documents->item[i];
        az_tokens tokens = az_tokenize(az, s->lm->tokenizer, document->text, document->length, AZ_ADD_BOS | AZ_ADD_EOS);
        const int64_t longest = s->o->length && s->o->length < context ? s->o->length : context;
        cut += tokens.n > longest;
        if (az_ok(az) && tokens.n < 2)
            az_fail(az, AZ_BAD_INPUT, "document %lld has %lld tokens, too few for a loss", (long long)i + 1, (long long)tokens.n);
        const az_lm_sequences one = {.count = 1, .length = tokens.n < longest ? tokens.n : longest, .token = tokens.id};
        const bool good = az_ok(az) && differentiate(az, s, &one, 0, 1, x, i) && show_progress(az, "vectors", i + 1, k);
        az_scope_pop(az);
        if (!good) return NULL;
    }
    if (cut > 0)
        az_note(az, "%lld of %lld documents of '%s' are longer than the sequence: their beginnings count", (long long)cut, (long long)k,
                path);
    return x;
}

/* With a model, text is what is no array by the ending of its name. */
static bool is_array(const char *path)
{
    const char *colon = strrchr(path, ':');
    return az_ends_with(path, ".npy") || az_ends_with(path, ".mtx") || az_ends_with(path, ".npz") || az_ends_with(path, ".safetensors") ||
           (colon && (strstr(path, ".npz:") || strstr(path, ".safetensors:")));
}

/* A file's rows [m, d], in their own type where that is f32, f64 or f16: an .npy stays in its file and is read as it is used. A vector is
 * one row where `vectors`. */
static az_tensor *read_rows(az_ctx *az, const az_estimate_job *job, const char *path, bool vectors)
{
    const bool npy = az_ends_with(path, ".npy");
    const az_array *array = npy ? az_npy_read(az, path) : az_array_read(az, path, job->how, false);
    if (!array) return NULL;
    az_tensor *x = array->value;
    if (array->complex) return az_fail(az, AZ_BAD_INPUT, "'%s' holds complex numbers", path);
    if (vectors && x->rank == 1) x = az_reshape(az, x, 2, (int64_t[]){1, x->shape[0]});
    if (x && x->rank != 2)
        return az_fail(az, AZ_BAD_INPUT, "'%s' has the shape %s; %s", path, az_shape_text(az, array->value),
                       vectors ? "vectors are rows of a matrix" : "gradients are rows of a matrix");
    const bool real = x && (x->dtype == AZ_F32 || x->dtype == AZ_F64 || x->dtype == AZ_F16);
    return az_contiguous(az, real ? x : az_cast(az, x, AZ_F64));
}

/* Where in the vectors each layer lies. */
static bool add_layout(az_ctx *az, const subject *s, az_results *results)
{
    az_table *layout = az_table_new(az, s->n);
    const char **name = az_alloc_array(az, (size_t)s->n + 1, sizeof *name);
    double *number = az_alloc_array(az, 3 * (size_t)s->n + 1, sizeof *number), at = 0;
    if (!layout || !name || !number) return false;
    for (int i = 0; i < s->n; i++) {
        const az_tensor *w = *s->parameter[i].slot;
        name[i] = s->parameter[i].name;
        number[i] = at, number[s->n + i] = (double)w->shape[0], number[2 * s->n + i] = (double)w->shape[1];
        at += (double)az_count(w);
    }
    az_table_add_text(az, layout, "layer", name);
    az_table_add(az, layout, "first", number);
    az_table_add(az, layout, "rows", number + s->n);
    az_table_add(az, layout, "columns", number + 2 * s->n);
    az_results_table(results, "layers", layout);
    return az_ok(az);
}

static double norm_of(az_ctx *az, const az_tensor *x)
{
    return sqrt(az_to_double(az_dot(az, x, x)));
}

/* y = F^-1 x of row i, with its row of the report. */
static bool solve_row(az_ctx *az, const az_fisher *fisher, double damp, const az_tensor *rows, int64_t i, az_tensor *solutions,
                      az_report *report)
{
    const int64_t d = rows->shape[1];
    az_scope_push(az);
    const az_tensor *x = az_cast(az, az_reshape(az, az_slice(az, rows, 0, i, 1), 1, &d), AZ_F64);
    const int64_t bad = x ? az_first_nonfinite(x) : -1;
    if (bad >= 0) az_fail(az, AZ_NUMERIC, "vector %lld is not finite at entry %lld", (long long)i, (long long)bad);
    const az_tensor *y = bad < 0 ? az_fisher_solve(az, fisher, x) : NULL;
    const az_tensor *left = az_sub(az, az_fisher_multiply(az, fisher, y), x);
    if (left) {
        const double size = norm_of(az, x), residual = size > 0 ? norm_of(az, left) / size : 0;
        if (!(residual < LARGEST_RESIDUAL))
            az_fail(az, AZ_NUMERIC,
                    "vector %lld: |F y - x| / |x| is %.3g; damp = %g is lost beside gradients of this size, use a larger one", (long long)i,
                    residual, damp);
        az_copy_into(az, az_reshape(az, az_slice(az, solutions, 0, i, 1), 1, &d), y);
        az_report_row(report, "vectors");
        az_report_count(report, "vector", i);
        az_report_number(report, "norm", size, "");
        az_report_number(report, "solution_norm", norm_of(az, y), "");
        az_report_number(report, "product", az_to_double(az_dot(az, x, y)), "");
        az_report_number(report, "residual", residual, "");
    }
    az_scope_pop(az);
    return az_ok(az);
}

static bool solve_all(az_ctx *az, const ihvp_options *o, const az_tensor *gradients, const az_tensor *vectors, az_estimate_job *job)
{
    const int64_t m = gradients->shape[0], d = gradients->shape[1];
    if (vectors && vectors->shape[1] != d)
        return az_fail(az, AZ_BAD_INPUT, "vectors have %lld entries, gradients %lld", (long long)vectors->shape[1], (long long)d);
    const az_fisher *fisher = az_fisher_new(az, gradients, o->damp, o->block);
    if (!fisher) return false;
    az_report_row(job->report, "fisher");
    az_report_count(job->report, "gradients", m);
    az_report_count(job->report, "entries", d);
    az_report_count(job->report, "block", o->block > 0 && o->block < d ? o->block : d);
    az_report_number(job->report, "damp", o->damp, "");
    if (vectors) {
        const int64_t k = vectors->shape[0], shape[] = {k, d};
        az_tensor *y = az_tensor_new(az, AZ_F64, 2, shape);
        for (int64_t i = 0; y && i < k; i++)
            if (!solve_row(az, fisher, o->damp, vectors, i, y, job->report) || !show_progress(az, "solving", i + 1, k)) return false;
        az_results_array(job->results, "solution", y, NULL, NULL);
    }
    if (o->diagonal) az_results_array(job->results, "diagonal", az_fisher_inverse_diagonal(az, fisher), NULL, NULL);
    return az_ok(az);
}

static bool ihvp(az_ctx *az, const void *options, az_estimate_job *job)
{
    const ihvp_options *o = options;
    const az_input *given = az_job_input(job, SLOT_GRADIENTS, 0), *asked = az_job_input(job, SLOT_VECTORS, 0),
                   *model = az_job_input(job, SLOT_MODEL, 0);
    if (!(o->damp > 0 && isfinite(o->damp))) return az_fail(az, AZ_BAD_INPUT, "damp is %g, not above 0", o->damp);
    if (!asked && !o->diagonal) return az_fail(az, AZ_BAD_INPUT, "nothing is asked for: -d vectors=FILE, or diagonal");
    subject s = {.o = o};
    if (model && !open_subject(az, &s, model->lm)) return false;
    const bool text = s.lm && !is_array(given->path);
    const az_tensor *gradients = text ? text_gradients(az, &s, given->path) : read_rows(az, job, given->path, false), *vectors = NULL;
    if (gradients && asked)
        vectors = s.lm && !is_array(asked->path) ? document_gradients(az, &s, asked->path) : read_rows(az, job, asked->path, true);
    if (az_ok(az) && solve_all(az, o, gradients, vectors, job) && s.lm) add_layout(az, &s, job->results);
    if (s.lm) az_lm_free(az, s.lm);
    return az_ok(az);
}

const az_method az_ihvp = {
    .name = "ihvp",
    .family = AZ_ESTIMATE,
    .summary = "multiply vectors by the inverse of the Fisher matrix of a few gradients",
    .paper = "Frantar et al.: M-FAC: efficient matrix-free approximations of second-order information, NeurIPS 2021, arXiv 2107.03356",
    .details =
        "y = F^-1 x for F = damp I + (1/m) sum g g^T over m gradients, in time and memory of m times the entries: what the method m-fac "
        "prunes by, for vectors of your own. Gradients and vectors are files of numbers, one a row; an .npy is read from its file as it "
        "is used. Or -d model=MODEL gives them: gradients are then a text of which `grads` times `grad_batch` sequences are drawn, and "
        "vectors a text too, a gradient of each document's mean loss; they are those of the linear layers inside the blocks, whose "
        "places the result \"layers\" tells. The report has x'y (between gradients: the influence of a document) and |F y - x| / |x|. "
        "-o y.npy writes the vectors y, .npz or a folder the diagonal of F^-1 too.",
    .example = "adze estimate ihvp:damp=0.01 -d gradients=numbers.csv -d vectors=vector.csv -o y.npy",
    .options = ihvp_table,
    .options_size = sizeof(ihvp_options),
    .inputs = ihvp_slots,
    .estimate = ihvp,
};
