/* pissa.h - the start of PiSSA for one matrix. */
#ifndef ADZE_TUNE_PISSA_H
#define ADZE_TUNE_PISSA_H

#include "adze/linalg.h"
#include "adze/weight.h"

/* Which singular triples the adapter receives. */
typedef enum az_pissa_part { AZ_PISSA_PRINCIPAL, AZ_PISSA_MEDIUM, AZ_PISSA_MINOR } az_pissa_part;
/* What is factored first where the residual is quantized: the matrix, or (LoftQ) what quantizing the matrix loses. */
typedef enum az_pissa_start { AZ_PISSA_OF_WEIGHT, AZ_PISSA_OF_LOSS } az_pissa_start;

typedef struct az_pissa_how {
    double scale; /* s of y = W x + s B A x */
    int64_t rank;
    az_pissa_part part;
    const az_range_finder *finder; /* its rank is ignored; NULL = exact decompositions. Principal triples only */
    const az_format *format;       /* of the residual; NULL = as dense as the matrix. Rows that are not whole blocks: f16 */
    int64_t iterations;            /* with a format: rounds of factoring and quantizing */
    az_pissa_start start;
    uint64_t seed; /* of rows of A that stand for singular values of zero */
} az_pissa_how;

typedef struct az_pissa_split {
    az_tensor *a; /* [rank, in] */
    az_tensor *b; /* [out, rank] */
    az_weight *residual;
    int64_t dead; /* singular values of zero: their columns of B are zero and their rows of A as LoRA starts them */
} az_pissa_split;
/* W [out, in], f32 or f64, as residual + s B A with B = U sqrt(S / s) and A = sqrt(S / s) V^T of the chosen triples. In the current scope.
 * AZ_BAD_INPUT when the rank is more than the matrix can have, AZ_NUMERIC when W is not finite. */
bool az_pissa_start_of(az_ctx *az, const az_tensor *w, const az_pissa_how *how, az_pissa_split *out);

/* Sum of singular values. */
double az_nuclear_norm(az_ctx *az, const az_tensor *x);

#endif
