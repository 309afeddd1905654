/* timing.c - products and decoding, timed in turns so that a slow moment of the machine meets all alike. */
#include "claims/timing.h"

#include "cli/cli.h"

#include <math.h>

enum { ROUNDS = 15, WORKING_SET = 128 << 20, TOKENS = 64 };

void claim_ratio(az_report *report, claim_ratios *all, const char *what, double value, double bound)
{
    az_report_row(report, "checks");
    az_report_text(report, "what", what);
    az_report_number(report, "ratio", value, "");
    az_report_number(report, "required", bound, "");
    az_report_bool(report, "holds", value >= bound);
    all->checks++;
    all->held += value >= bound;
}

bool claim_ratios_held(az_report *report, const claim_ratios *all)
{
    az_report_row(report, "decision");
    az_report_count(report, "checks", all->checks);
    az_report_count(report, "held", all->held);
    return all->checks > 0 && all->held == all->checks;
}

bool claim_contend(az_ctx *az, claim_contender *to, const char *name, az_weight *w)
{
    if (!w) return false;
    *to = (claim_contender){.name = name, .bytes = (double)az_weight_bytes(w), .copy = {w}};
    const int wanted = (int)ceil(WORKING_SET / to->bytes);
    to->copies = wanted < 1 ? 1 : wanted > CLAIM_MOST_COPIES ? CLAIM_MOST_COPIES : wanted;
    for (int i = 1; i < to->copies; i++) {
        az_tensor *part[AZ_WEIGHT_PARTS] = {NULL};
        for (int k = 0; k < AZ_WEIGHT_PARTS && w->part[k]; k++) part[k] = az_copy(az, w->part[k]);
        to->copy[i] = az_weight_from_parts(az, w->format, w->rows, w->cols, part);
    }
    return az_ok(az);
}

bool claim_time_products(az_ctx *az, claim_contender *contender, int n, const az_tensor *x)
{
    for (int i = 0; i < n; i++) contender[i].seconds = INFINITY;
    for (int round = -1; round < ROUNDS; round++)
        for (int i = 0; i < n && az_ok(az); i++) {
            claim_contender *c = &contender[i];
            az_scope_push(az);
            const double start = az_seconds();
            az_weight_apply(az, c->copy[(round + 1) % c->copies], x);
            if (round >= 0) c->seconds = fmin(c->seconds, az_seconds() - start);
            az_scope_pop(az);
        }
    return az_ok(az);
}

bool claim_change_model(az_ctx *az, az_lm *lm, const char *word)
{
    void *settings = NULL;
    const az_method *method = cli_method(az, word, &settings);
    az_compress_job job = {.lm = lm, .original = lm};
    return method && method->compress(az, settings, &job);
}

az_lm *claim_large_lm(az_ctx *az)
{
    const az_lm_config config = {.width = 2048, .blocks = 4, .heads = 16, .hidden = 5504, .vocabulary = 512, .context = 128};
    return az_lm_new(az, "llama", &config, NULL, 1);
}

static double decode_seconds(az_ctx *az, const az_lm *lm)
{
    int32_t first = 1;
    const az_tokens prompt = {.id = &first, .n = 1};
    az_scope_push(az);
    const double start = az_seconds();
    az_lm_generate(az, lm, &prompt, &(az_lm_generate_options){.max_tokens = TOKENS});
    const double seconds = az_seconds() - start;
    az_scope_pop(az);
    return seconds;
}

void claim_decode(az_ctx *az, az_report *report, const az_lm *const lm[2], const char *const name[2], double rates[2])
{
    rates[0] = rates[1] = 0;
    for (int round = 0; round < 6; round++) rates[round % 2] = fmax(rates[round % 2], TOKENS / decode_seconds(az, lm[round % 2]));
    for (int i = 0; i < 2; i++) {
        az_report_row(report, "decoding");
        az_report_text(report, "weights", name[i]);
        az_report_number(report, "bytes", (double)az_lm_bytes(lm[i]), "B");
        az_report_number(report, "tokens_per_second", rates[i], "");
    }
}
