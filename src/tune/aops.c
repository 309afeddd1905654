/* aops.c - the AoPS pipeline (arXiv 2501.14275): from the dump of a mathematics forum to a training set that shares nothing with
 * benchmarks, and to a benchmark with time stamps.
 *
 * A model decides whether a topic asks a question (classify) and which posts solve it (extract: identifiers only, so that the text is the
 * forum's), and rewrites question and solutions. Topics are split by the month of their first post at a cut-off that moves; those that hold
 * a benchmark's question, or share n words in a row with one, are left out. The benchmark's labels are the answers that two models'
 * rewritings and the original posts agree upon. */
#include "tune/aops.h"

static const az_option options_table[] = {
    {"cutoff", AZ_FIELD(AZ_TEXT, aops_options, cutoff), "2024-01", 0, 0, NULL, "first month that is not trained on"},
    {"window", AZ_FIELD(AZ_INT, aops_options, window), "2", 0, 1200, NULL, "months behind it that validate; later ones test"},
    {"from", AZ_FIELD(AZ_TEXT, aops_options, from), "", 0, 0, NULL, "first month of topics that are read"},
    {"until", AZ_FIELD(AZ_TEXT, aops_options, until), "", 0, 0, NULL, "last one"},
    {"benchmarks", AZ_FIELD(AZ_TEXT, aops_options, benchmarks), "", 0, 0, NULL,
     "JSON lines, separated by commas, whose questions the training set must not hold"},
    {"references", AZ_FIELD(AZ_TEXT, aops_options, references), "", 0, 0, NULL, "the same for the benchmark"},
    {"ngram_train", AZ_FIELD(AZ_INT, aops_options, ngram_train), "10", 1, 1000, NULL, "words in a row that count as an overlap"},
    {"ngram_bench", AZ_FIELD(AZ_INT, aops_options, ngram_bench), "8", 1, 1000, NULL, "the same for the benchmark"},
    {"keep_undecided", AZ_FIELD(AZ_BOOL, aops_options, keep_undecided), "true", 0, 0, NULL, "topics the model does not decide about stay"},
    {"drop_links", AZ_FIELD(AZ_BOOL, aops_options, drop_links), "false", 0, 0, NULL, "leave answers out that hold a link"},
    {"skip_bad", AZ_FIELD(AZ_BOOL, aops_options, skip_bad), "false", 0, 0, NULL, "lines that are no JSON are left out, not an error"},
    {"templates", AZ_FIELD(AZ_TEXT, aops_options, templates), "", 0, 0, NULL,
     "folder whose aops-classify.txt, aops-extract.txt, aops-rewrite-question.txt and aops-rewrite-answer.txt are asked instead of the "
     "built-in ones (`adze prompt template aops-classify`)"},
    {"max_tokens", AZ_FIELD(AZ_INT, aops_options, max_tokens), "4096", 1, 1 << 20, NULL, "tokens of a reply, at most"},
    {.name = NULL},
};

static void report_topics(const aops_run *run)
{
    const aops_forum *forum = run->forum;
    az_report_row(run->job->report, "topics");
    az_report_count(run->job->report, "lines", forum->lines);
    az_report_count(run->job->report, "without_posts", forum->bad);
    az_report_count(run->job->report, "older_snapshots", forum->snapshots);
    az_report_count(run->job->report, "other_dates", forum->dated_out);
    az_report_count(run->job->report, "topics", forum->count);
}

static void report_topic_labels(const aops_run *run)
{
    int64_t label[3] = {0}, solved = 0, solutions = 0;
    for (int64_t i = 0; i < run->forum->count; i++) {
        const aops_topic *topic = &run->forum->topic[i];
        label[topic->label + 1]++;
        solved += topic->solutions > 0;
        solutions += topic->solutions;
    }
    az_report_row(run->job->report, "found");
    az_report_count(run->job->report, "questions", label[2]);
    az_report_count(run->job->report, "others", label[1]);
    az_report_count(run->job->report, "undecided", label[0]);
    az_report_count(run->job->report, "with_solutions", solved);
    az_report_count(run->job->report, "solutions", solutions);
}

static bool prepare(az_ctx *az, const void *settings, az_prepare_job *job)
{
    aops_run run = {.az = az, .options = settings, .job = job};
    if (aops_month(az, run.options->cutoff, -1) < 0) return az_fail(az, AZ_BAD_INPUT, "cutoff is missing");
    if (!az_backend_need(job->backend, AZ_CAN_CHAT, "aops") || (job->second && !az_backend_need(job->second, AZ_CAN_CHAT, "aops")))
        return false;
    if (job->second && job->second == job->backend) return az_fail(az, AZ_BAD_INPUT, "the second model must be another one than the first");
    run.forum = aops_read(az, job->input, run.options);
    if (!run.forum) return false;
    report_topics(&run);
    if (!aops_stages(&run)) return false;
    report_topic_labels(&run);
    if (!aops_export(&run)) return false;
    return !job->second || aops_bench(&run);
}

const az_method az_aops = {
    .name = "aops",
    .family = AZ_TUNE,
    .summary = "questions and answers from a forum, without a benchmark's, split by time",
    .paper = "Leveraging Online Olympiad-Level Math Problems for LLMs Training and Contamination-Resistant Evaluation, arXiv 2501.14275",
    .details = "adze prepare DUMP.jsonl aops --backend SPEC -o DIR/ reads one topic a line ({\"topic_id\", \"posts\": [{\"post_number\", "
               "\"username\", \"post_time\", \"text\"}]}, or the forum's own layout), asks the model of each whether it is a question, "
               "which posts solve it, and for clean versions of both, and writes train.jsonl, val.jsonl and test.jsonl for `adze tune`, "
               "and excluded.jsonl with the reasons. With --second SPEC another model rewrites the solutions too, and bench.jsonl holds "
               "the questions on whose answers both agree; `adze prompt math` asks them. Each stage keeps a journal in DIR: the same "
               "command goes on where it was stopped.",
    .example = "adze prepare topics.jsonl aops --backend http://localhost:8080/v1#MODEL -o data/ --dry-run",
    .options = options_table,
    .options_size = sizeof(aops_options),
    .prepare = prepare,
};
