/* lacie.c - LACIE (Stengel-Eskin et al., NeurIPS 2024, arXiv 2405.21028): a model learns to sound as confident as it deserves.
 *
 * A speaker answers trivia questions several times; its answers are masked, and a listener who sees only the tone accepts or rejects each,
 * p_accept = p(yes) / (p(yes) + p(no)). Accepted right and rejected wrong answers are worth 1, rejected right ones -0.5, accepted wrong
 * ones -1; of two answers to one question that differ in value and by min_margin in p_accept, the better is preferred. `adze tune MODEL
 * dpo` learns from the pairs. */
#include "tune/lacie.h"

#include <jansson.h>
#include <math.h>

static const char *const baselines[] = {[LACIE_LISTENER] = "listener", [LACIE_CORRECTNESS] = "correctness", NULL};

static const az_option options_table[] = {
    {"n", AZ_FIELD(AZ_INT, lacie_options, n), "10", 1, 10000, NULL, "answers to each question"},
    {"temperature", AZ_FIELD(AZ_REAL, lacie_options, temperature), "0.7", 0, 100, NULL, "of the speaker"},
    {"max_tokens", AZ_FIELD(AZ_INT, lacie_options, max_tokens), "80", 1, 1 << 20, NULL, "of an answer"},
    {"threshold", AZ_FIELD(AZ_REAL, lacie_options, threshold), "-1", -1, 1, NULL,
     "accepted is what the listener believes more than this; -1 = the median, or 0.5 with accepts"},
    {"min_margin", AZ_FIELD(AZ_REAL, lacie_options, min_margin), "0.1", 0, 1, NULL,
     "least difference of a pair in what the listener believes"},
    {"correct_accept", AZ_FIELD(AZ_REAL, lacie_options, correct_accept), "1", -100, 100, NULL, "value of a right answer that is accepted"},
    {"wrong_reject", AZ_FIELD(AZ_REAL, lacie_options, wrong_reject), "1", -100, 100, NULL, "of a wrong one that is rejected"},
    {"correct_reject", AZ_FIELD(AZ_REAL, lacie_options, correct_reject), "-0.5", -100, 100, NULL, "of a right one that is rejected"},
    {"wrong_accept", AZ_FIELD(AZ_REAL, lacie_options, wrong_accept), "-1", -100, 100, NULL, "of a wrong one that is accepted"},
    {"limit_per_q", AZ_FIELD(AZ_INT, lacie_options, limit_per_q), "3", 1, 1 << 20, NULL, "pairs of a question, at most"},
    {"reference_limit", AZ_FIELD(AZ_BOOL, lacie_options, reference_limit), "false", 0, 0, NULL,
     "count the limit as the authors' program does: later answers add one pair each"},
    {"balance", AZ_FIELD(AZ_BOOL, lacie_options, balance), "true", 0, 0, NULL, "as many pairs of each type as of the rarest"},
    {"baseline", AZ_FIELD(AZ_CHOICE, lacie_options, baseline), "listener", 0, 0, baselines,
     "what pairs follow; correctness asks no listener's opinion"},
    {"pattern", AZ_FIELD(AZ_TEXT, lacie_options, pattern), "", 0, 0, NULL,
     "regular expression whose first group is a response's answer; without it the speaker is asked for it"},
    {"accepts", AZ_FIELD(AZ_TEXT, lacie_options, accepts), "", 0, 0, NULL,
     "JSON lines {\"id\", \"accept\": true or false, or a share} that stand in for the listener's opinion, as people gave it; ids as in "
     "game.jsonl"},
    {"bins", AZ_FIELD(AZ_INT, lacie_options, bins), "10", 1, 1000, NULL, "bins of the calibration error"},
    {"spread_bins", AZ_FIELD(AZ_BOOL, lacie_options, spread_bins), "false", 0, 0, NULL,
     "bins between the least and the largest p, as the authors' package"},
    {"chat", AZ_FIELD(AZ_BOOL, lacie_options, chat), "false", 0, 0, NULL, "ask by chat instead of by texts to be continued"},
    {"templates", AZ_FIELD(AZ_TEXT, lacie_options, templates), "", 0, 0, NULL,
     "folder whose lacie-speaker.txt, lacie-extractor.txt and lacie-listener.txt are asked instead of the built-in ones (`adze prompt "
     "template lacie-speaker`)"},
    {"skip_bad", AZ_FIELD(AZ_BOOL, lacie_options, skip_bad), "false", 0, 0, NULL, "lines that are no JSON are left out, not an error"},
    {.name = NULL},
};

static json_t *pair_line(az_ctx *az, const lacie_pair *pair)
{
    return json_pack("{s:s, s:s, s:s, s:s, s:f, s:f, s:b, s:b}", "prompt", pair->chosen->prompt, "chosen", pair->chosen->response,
                     "rejected", pair->rejected->response, "type", lacie_type_name(az, pair->type), "p_chosen", pair->chosen->p,
                     "p_rejected", pair->rejected->p, "correct_chosen", pair->chosen->correct, "correct_rejected", pair->rejected->correct);
}

static bool write_pairs(az_ctx *az, const char *path, const lacie_pair *pairs, int64_t n)
{
    az_out *out = az_create(az, path);
    for (int64_t i = 0; out && i < n; i++) {
        az_scope_push(az);
        json_t *line = pair_line(az, &pairs[i]);
        if (line) json_dumpf(line, az_out_stream(out), JSON_COMPACT | JSON_PRESERVE_ORDER);
        fputc('\n', az_out_stream(out));
        json_decref(line);
        az_scope_pop(az);
    }
    return az_commit(out);
}

static void report_pairs(az_ctx *az, az_report *report, const lacie_pair *pairs, int64_t n)
{
    int64_t of_type[LACIE_TYPES] = {0};
    for (int64_t i = 0; i < n; i++) of_type[pairs[i].type]++;
    for (int type = 0; type < LACIE_TYPES; type++) {
        if (of_type[type] == 0) continue;
        az_report_row(report, "pairs");
        az_report_text(report, "type", lacie_type_name(az, type));
        az_report_count(report, "pairs", of_type[type]);
    }
}

static bool prepare(az_ctx *az, const void *settings, az_prepare_job *job)
{
    const lacie_options *o = settings;
    az_backend *listener = job->second ? job->second : job->backend;
    lacie_pair *pairs = NULL;
    if (!az_backend_need(job->backend, o->chat ? AZ_CAN_CHAT : AZ_CAN_COMPLETE, "lacie's speaker")) return false;
    if (!az_backend_need(listener, AZ_CAN_NEXT, "lacie's listener")) return false;
    for (int i = 0; i < job->others; i++)
        if (!az_backend_need(job->more[i], AZ_CAN_NEXT, "lacie's listener")) return false;
    const lacie_game *game = lacie_play(az, o, job);
    if (!game) return false;
    lacie_measure(az, game, o, job->report);
    if (o->n < 2 || job->dry_run) return az_ok(az); /* nothing to compare: the measures are the result */
    const int64_t n = lacie_pairs(az, game, o, (uint64_t)job->seed, &pairs);
    if (n < 0) return false;
    if (n == 0) az_note(az, "no two answers to a question differ enough to make a pair");
    report_pairs(az, job->report, pairs, n);
    return write_pairs(az, az_format_text(az, "%s/prefs.jsonl", job->folder), pairs, n);
}

const az_method az_lacie = {
    .name = "lacie",
    .family = AZ_TUNE,
    .summary = "teach a model to sound as sure as it should be, by pairs that a listener judged",
    .paper = "LACIE: Listener-Aware Finetuning for Confidence Calibration in Large Language Models, NeurIPS 2024, arXiv 2405.21028",
    .details =
        "adze prepare QUESTIONS.jsonl lacie --backend SPEAKER --second LISTENER -o DIR/ reads {\"question\", \"answers\": [...]}, "
        "has the speaker answer each n times and the listener (the speaker itself, without --second) judge the tone, and writes game.jsonl "
        "and the pairs prefs.jsonl; of several listeners (--second A;B) the mean counts; `adze tune MODEL dpo -d DIR/prefs.jsonl` learns "
        "from them. It reports accuracy, precision and recall of acceptance, area under the ROC curve and calibration error: with "
        "n=1,threshold=0.66 this is the evaluation. baseline=correctness makes the pairs of the method's baseline.",
    .example = "adze prepare questions.jsonl lacie --backend http://localhost:8080/v1#MODEL -o game/ --dry-run",
    .options = options_table,
    .options_size = sizeof(lacie_options),
    .many = true,
    .prepare = prepare,
};
