/* flash_llm.c - packs pruned matrices so that fewer bytes are read for each token.
 *
 * Problem: a pruned matrix has zeros anywhere; products with few vectors of activations take as long as reading the matrix.
 * Rule: store what is not zero ("load as sparse"), and expand it to dense numbers in registers ("compute as dense"); with more vectors,
 *     and always where words name the columns, visit only what is stored ("compute as sparse"). Numbers stay those of the pruned matrix,
 *     rounded to `type` once.
 * Formats: bitmap, 1 bit a weight and the kept values; tiled-csl, the paper's words of 32 bits, a value and its place. auto takes the
 * one that is faster for one vector: the time of a bitmap hardly depends on its density, that of words is in proportion. A matrix with too
 * few zeros stays as it is.
 *
 * Xia et al.: "Flash-LLM: enabling cost-effective and highly-efficient large generative model inference with unstructured sparsity",
 * VLDB 2024 (arXiv 2309.10285). The bitmap takes the place of the paper's format on processors without a GPU's shared memory. */
#include "compress/compress_internal.h"

#include <math.h>
#include <string.h>

enum { PACK_AUTO, PACK_BITMAP, PACK_CSL };
enum { VALUES_AUTO, VALUES_F16, VALUES_BF16, VALUES_F32 };

typedef struct flash_options {
    int format, type;
    double min_sparsity;
} flash_options;

static const char *const format_choices[] = {[PACK_AUTO] = "auto", [PACK_BITMAP] = "bitmap", [PACK_CSL] = "tiled-csl", NULL};
static const char *const type_choices[] = {
    [VALUES_AUTO] = "auto", [VALUES_F16] = "f16", [VALUES_BF16] = "bf16", [VALUES_F32] = "f32", NULL};

static const az_option flash_table[] = {
    {"format", AZ_FIELD(AZ_CHOICE, flash_options, format), "auto", 0, 0, format_choices,
     "auto takes what decodes one text faster here: bitmap up to 79 % zeros (86 % with AVX-512 VBMI2), then tiled-csl"},
    {"type", AZ_FIELD(AZ_CHOICE, flash_options, type), "auto", 0, 0, type_choices,
     "of the kept values: f16 stays f16, all else becomes bf16, or as it says (f32 in bitmap only)"},
    {"min_sparsity", AZ_FIELD(AZ_REAL, flash_options, min_sparsity), "0", 0, 1, NULL,
     "matrices with a smaller share of zeros stay as they are; 0 = 0.45 for bitmap, 0.5 for tiled-csl"},
    {0},
};

/* What the walk gathers: counts of matrices and of values. */
typedef struct flash_tally {
    const flash_options *options;
    int packed, left;
    int64_t kept, rounded, vanished; /* values that are not zero before; of them changed, and zero after */
    double bytes_before, bytes_after;
    double most_zeros; /* the largest share among the matrices that were left */
} flash_tally;

enum { MOST_COLUMNS = 1 << 16 }; /* that words can number */

/* Where words were measured to be as fast as a bitmap with one vector: later where one instruction spreads the values of a bitmap. */
static double densest_words(void)
{
    return az_cpu_features()->vbmi2 ? 0.14 : 0.21;
}

static const az_format *format_of(bool words, az_dtype values)
{
    switch (values) {
    case AZ_F16: return az_format_by_name(words ? "csl_f16" : "bitmap_f16");
    case AZ_BF16: return az_format_by_name(words ? "csl_bf16" : "bitmap_bf16");
    default: return az_format_by_name("bitmap_f32"); /* words have no room for f32 */
    }
}

const az_format *az_flash_llm_format(int64_t cols, double zeros, az_dtype values)
{
    return format_of(values != AZ_F32 && 1 - zeros <= densest_words() && cols <= MOST_COLUMNS, values);
}

static const az_format *chosen_format(const flash_options *o, const az_weight *w, double zeros)
{
    static const az_dtype types[] = {[VALUES_F16] = AZ_F16, [VALUES_BF16] = AZ_BF16, [VALUES_F32] = AZ_F32};
    const bool half = strcmp(w->format->name, "f16") == 0;
    const az_dtype values = o->type != VALUES_AUTO ? types[o->type] : half ? AZ_F16 : AZ_BF16;
    return o->format == PACK_AUTO ? az_flash_llm_format(w->cols, zeros, values) : format_of(o->format == PACK_CSL, values);
}

static double least_zeros(const flash_options *o, const az_format *format)
{
    if (o->min_sparsity > 0) return o->min_sparsity;
    return strncmp(format->name, "csl", 3) == 0 ? 0.5 : 0.45;
}

/* How the kept values came through. */
static void count_values(az_ctx *az, const az_weight *before, const az_weight *after, flash_tally *tally)
{
    az_scope_push(az);
    const float *x = az_f32(az_weight_decode(az, before)), *y = az_f32(az_weight_decode(az, after));
    for (int64_t i = 0; x && y && i < before->rows * before->cols; i++) {
        tally->kept += x[i] != 0;
        tally->rounded += x[i] != y[i];
        tally->vanished += x[i] != 0 && y[i] == 0;
    }
    az_scope_pop(az);
}

static az_weight *pack_layer(az_ctx *az, const az_lm_linear *linear, const az_lm_statistics *statistics, const void *user)
{
    flash_tally *tally = *(flash_tally *const *)user;
    (void)statistics;
    const az_weight *w = linear->weight;
    const double zeros = az_weight_sparsity(az, w);
    const az_format *format = chosen_format(tally->options, w, zeros);
    tally->bytes_before += (double)az_weight_bytes(w);
    az_weight *packed = zeros >= least_zeros(tally->options, format) ? az_weight_encode(az, w, format, NULL) : az_weight_share(az, w);
    if (!packed) return NULL;
    tally->bytes_after += (double)az_weight_bytes(packed);
    if (packed->format != format) {
        tally->left++;
        tally->most_zeros = fmax(tally->most_zeros, zeros);
        return packed;
    }
    tally->packed++;
    count_values(az, w, packed, tally);
    return packed;
}

static void report_tally(az_ctx *az, az_report *report, const flash_tally *tally)
{
    if (tally->left > 0)
        az_note(az, "%d of %d matrices have too few zeros to pack (at most %.3g %%) and stay as they are", tally->left,
                tally->left + tally->packed, 100 * tally->most_zeros);
    if (tally->rounded > 0)
        az_note(az, "%lld of %lld kept values were rounded; %lld became zero", (long long)tally->rounded, (long long)tally->kept,
                (long long)tally->vanished);
    if (!report) return;
    az_report_row(report, "packed");
    az_report_count(report, "packed", tally->packed);
    az_report_count(report, "left", tally->left);
    az_report_count(report, "kept_values", tally->kept);
    az_report_count(report, "rounded", tally->rounded);
    az_report_count(report, "vanished", tally->vanished);
    az_report_number(report, "bytes_before", tally->bytes_before, "B");
    az_report_number(report, "bytes_after", tally->bytes_after, "B");
}

static bool flash_check(az_ctx *az, const void *options, az_lm *lm)
{
    const flash_options *o = options;
    (void)lm;
    if (o->format == PACK_CSL && o->type == VALUES_F32)
        return az_fail(az, AZ_BAD_INPUT, "tiled-csl holds values of 16 bits: give type=f16 or bf16, or format=bitmap for f32");
    return true;
}

static bool flash_compress(az_ctx *az, const void *options, az_compress_job *job)
{
    if (!flash_check(az, options, job->lm)) return false;
    flash_tally tally = {.options = options};
    const flash_tally *const user = &tally;
    if (!az_compress_layers(az, job, &(az_layer_walk){.task = "packing", .step = pack_layer, .options = &user})) return false;
    if (tally.packed == 0)
        return az_fail(
            az, AZ_BAD_INPUT,
            "no matrix has enough zeros to pack: the largest share is %.3g %%. Prune first (wanda:sparsity=0.7 flash-llm), or lower "
            "min_sparsity",
            100 * tally.most_zeros);
    report_tally(az, job->report, &tally);
    return az_ok(az);
}

const az_method az_flash_llm = {
    .name = "flash-llm",
    .family = AZ_COMPRESS,
    .summary = "store pruned matrices without their zeros, for fewer bytes a token",
    .paper = "Xia et al.: Flash-LLM: cost-effective and highly-efficient generative model inference with unstructured sparsity, VLDB "
             "2024, arXiv 2309.10285",
    .details = "Packs matrices that an earlier method pruned: zeros anywhere, no pattern (a pattern n:m has formats of its own, "
               "quantize:type=nm_f16). bitmap takes 1 bit a weight and the kept values, 4.2 bits a weight at 80 % zeros; tiled-csl, the "
               "format of the paper, a word of 32 bits for each kept value, 6.4 bits a weight there and faster with few values and one "
               "vector. Products of a bitmap with up to a few vectors expand the weights and compute with zeros too; with more vectors, "
               "and with tiled-csl, only the kept values are visited. The cheaper way is chosen from the number of vectors and the "
               "density. It needs no data and changes nothing but the rounding of the kept values to `type`, which the report counts. bf16 "
               "below its normal range becomes zero. `adze compress MODEL sparsegpt:sparsity=0.8 flash-llm` prunes and packs; adze reads "
               "the result, other programs do not (adze convert --dense makes a plain model).",
    .example = "adze compress tales sparsegpt:sparsity=0.8 flash-llm -d calibration.txt -o small.gguf\n"
               "adze convert small.gguf --dense -o plain.gguf",
    .options = flash_table,
    .options_size = sizeof(flash_options),
    .check = flash_check,
    .compress = flash_compress,
};
