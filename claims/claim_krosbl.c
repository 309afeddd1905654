/* claim_krosbl.c - the headline of KroSBL (He & Joseph 2024): a prior with the measurements' Kronecker structure beats priors without, and
 * the rank-one update is the most accurate and the fastest. */
#include "claims/claims.h"
#include "claims/comparisons.h"
#include "claims/kron_data.h"

#include <math.h>

enum { TRIALS = 5 };
static const az_sbl_kind kinds[] = {AZ_SBL_SVD, AZ_SBL_AM, AZ_SBL_KSBL, AZ_SBL_CLASSIC, AZ_SBL_KOMP, AZ_SBL_OMP};
enum { KINDS = sizeof kinds / sizeof *kinds };

typedef struct outcome {
    double error, support, seconds; /* means over the trials */
} outcome;

static bool try_kind(az_ctx *az, az_sbl_kind kind, double snr, bool known, outcome *out)
{
    const int64_t m[] = {5, 7, 8};
    *out = (outcome){0};
    for (int trial = 0; trial < TRIALS; trial++) {
        az_scope_push(az);
        const kron_data *data = kron_data_new(az, 8100 + 100 * (uint64_t)trial, 10, m, 2, snr);
        az_sbl_how how = {.kind = kind, .iterations = 150, .sweeps = 100, .tolerance = 1e-4, .inner_tolerance = 1e-5};
        how.noise = !known ? -1 : data ? data->noise : 0;
        for (int f = 0; f < 3; f++) how.prune[f] = (kind == AZ_SBL_AM || kind == AZ_SBL_KSBL ? 1e-2 : 1e-3) / (known ? 1 : 2);
        const double began = az_seconds();
        const az_sbl_fit *fit = data ? az_sbl_solve(az, &data->a, data->y, &how) : NULL;
        if (fit) {
            out->seconds += (az_seconds() - began) / TRIALS;
            out->error += kron_error(data, fit->x) / TRIALS;
            out->support += kron_support_rate(data, fit->x) / TRIALS;
        }
        az_scope_pop(az);
        if (!fit || !az_progress(az, az_sbl_names[kind], trial + 1, TRIALS, NULL)) return false;
    }
    return true;
}

static void tell(az_report *report, double snr, const char *name, const outcome *o)
{
    az_report_row(report, "recovery");
    az_report_number(report, "snr", snr, "dB");
    az_report_text(report, "method", name);
    az_report_number(report, "nmse", o->error, "");
    az_report_number(report, "support_rate", o->support, "");
    az_report_number(report, "seconds", o->seconds, "s");
}

static bool run(az_ctx *az, az_report *report)
{
    int won = 0;
    for (int snr = 10; snr <= 30; snr += 10) {
        outcome own, other, unknown;
        bool best = true, fast = false;
        for (int i = 0; i < KINDS; i++) {
            if (!try_kind(az, kinds[i], snr, true, i ? &other : &own)) return false;
            tell(report, snr, az_sbl_names[kinds[i]], i ? &other : &own);
            if (i) best = best && own.error < other.error;
            if (kinds[i] == AZ_SBL_CLASSIC) fast = own.seconds <= other.seconds / 3;
        }
        if (!try_kind(az, AZ_SBL_SVD, snr, false, &unknown)) return false;
        tell(report, snr, "svd, noise unknown", &unknown);
        won += best + fast + (snr >= 20 && unknown.error <= 1.4 * own.error);
    }
    return claim_decide(az, report, 8, won);
}

const az_claim az_claim_krosbl = {
    .name = "krosbl",
    .statement =
        "at 10, 20 and 30 dB the rank-one update has the least error, takes at most a third of the time of learning without structure, "
        "and from 20 dB on loses at most 40 % when the noise is unknown",
    .run = run,
};
