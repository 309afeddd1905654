/* lacie: texts, pairs against a plain enumeration, measures by hand, and a game whose speaker and listener are known. */
#include "tune/lacie.h"

#include "support/folder.h"

#include <criterion/criterion.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

extern const az_method az_lacie;

static lacie_options options_of(const char *text)
{
    az_ctx *az = az_open(NULL);
    lacie_options o;
    cr_assert(az_options_parse(az, az_lacie.options, "lacie", text, &o), "%s", az_error(az));
    o.pattern = o.accepts = o.templates = "";
    az_close(az);
    return o;
}

/* ---- texts ---- */

Test(lacie, answers_in_normal_form)
{
    az_ctx *az = az_open(NULL);
    const char *const cases[][2] = {{"The  Beatles!", "beatles"},
                                    {"an_apple a day", "apple day"},
                                    {"Theodor", "theodor"},
                                    {"A", ""},
                                    {"rock \xE2\x80\x98n\xE2\x80\x99 roll", "rock n roll"},
                                    {"U.S.A.", "u s"},
                                    {"  ", ""},
                                    {"the", ""}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const char *found = lacie_normal(az, cases[i][0]);
        cr_assert_str_eq(found, cases[i][1], "'%s': '%s'", cases[i][0], found);
    }
    az_close(az);
}

Test(lacie, the_mask_never_leaves_the_answer)
{
    az_ctx *az = az_open(NULL);
    az_rng rng = az_rng_at(3, 1);
    static const char letters[] = "aAbB.*(+\\[$ ";
    for (int trial = 0; trial < 500; trial++) {
        char answer[8] = {0}, response[64] = {0};
        const int n = 3 + (int)az_below(&rng, 4);
        for (int i = 0; i < n; i++) answer[i] = letters[az_below(&rng, sizeof letters - 1)];
        for (int i = 0; i < 60; i++) response[i] = letters[az_below(&rng, sizeof letters - 1)];
        for (int i = 0; i < n; i++)
            response[20 + i] = (char)(az_below(&rng, 2) ? answer[i] : answer[i] ^ (strchr("abAB", answer[i]) ? 0x20 : 0));
        char *clean = lacie_mask(az, response, answer);
        for (char *at; (at = strstr(clean, "[ANSWER REMOVED]"));) memset(at, '#', 16);
        cr_assert_null(strcasestr(clean, answer), "'%s' in '%s'", answer, clean);
    }
    cr_assert_str_eq(lacie_mask(az, "a cat and a hat", "a"),
                     "[ANSWER REMOVED] cat and [ANSWER REMOVED] hat"); /* short answers: whole words */
    cr_assert_str_eq(lacie_mask(az, "PARIS, Paris", "paris"), "[ANSWER REMOVED], [ANSWER REMOVED]");
    az_close(az);
}

/* ---- pairs ---- */

static lacie_game random_game(az_ctx *az, uint64_t seed, int questions, int each)
{
    lacie_game game = {.record = az_alloc_array(az, (size_t)(questions * each), sizeof *game.record)};
    az_rng rng = az_rng_at(seed, 2);
    for (int q = 0; q < questions; q++)
        for (int s = 0; s < each; s++)
            game.record[game.count++] = (lacie_record){.question = q,
                                                       .prompt = "q",
                                                       .response = "r",
                                                       .clean = "c",
                                                       .answer = "a",
                                                       .p = az_below(&rng, 8) ? az_uniform(&rng) : NAN,
                                                       .correct = az_below(&rng, 2) != 0};
    return game;
}

static double value(const lacie_record *r, double threshold)
{
    const bool accepted = r->p > threshold;
    return r->correct ? (accepted ? 1 : -0.5) : (accepted ? -1 : 1);
}

Test(lacie, pairs_equal_a_plain_enumeration)
{
    for (uint64_t seed = 0; seed < 20; seed++) {
        az_ctx *az = az_open(NULL);
        const lacie_game game = random_game(az, seed, 12, 6);
        const lacie_options o = options_of("balance=false,limit_per_q=1000");
        lacie_pair *pairs;
        const double threshold = lacie_threshold(az, &game, &o);
        const int64_t n = lacie_pairs(az, &game, &o, seed, &pairs);
        int64_t expected = 0;
        for (int64_t i = 0; i < game.count; i++)
            for (int64_t j = i + 1; j < game.count; j++) {
                const lacie_record *x = &game.record[i], *y = &game.record[j];
                expected += x->question == y->question && fabs(x->p - y->p) >= 0.1 && value(x, threshold) != value(y, threshold);
            }
        cr_assert_eq(n, expected);
        for (int64_t i = 0; i < n; i++) cr_assert_gt(value(pairs[i].chosen, threshold), value(pairs[i].rejected, threshold));
        az_close(az);
    }
}

Test(lacie, limits_and_balance)
{
    az_ctx *az = az_open(NULL);
    const lacie_game game = random_game(az, 1, 300, 8);
    lacie_options strict = options_of("balance=false"), loose = options_of("balance=false,reference_limit"),
                  balanced = options_of("limit_per_q=100");
    lacie_pair *pairs;
    int64_t n = lacie_pairs(az, &game, &strict, 0, &pairs), of_question[300] = {0};
    for (int64_t i = 0; i < n; i++) cr_assert_leq(++of_question[pairs[i].chosen->question], 3);
    cr_assert_gt(lacie_pairs(az, &game, &loose, 0, &pairs), n);
    int64_t of_type[LACIE_TYPES] = {0}, types = 0;
    n = lacie_pairs(az, &game, &balanced, 0, &pairs);
    for (int64_t i = 0; i < n; i++) of_type[pairs[i].type]++;
    for (int t = 0; t < LACIE_TYPES; t++) {
        types += of_type[t] > 0;
        cr_assert(of_type[t] == 0 || of_type[t] == n / 5);
    }
    cr_assert_eq(types, 5);
    const lacie_game few = random_game(az, 1, 1, 2);
    cr_assert_eq(lacie_pairs(az, &few, &balanced, 0, &pairs), -1);
    cr_assert_not_null(strstr(az_error(az), "no pair is of the type"), "%s", az_error(az));
    az_close(az);
}

Test(lacie, acceptance_by_the_median_ignores_monotone_maps)
{
    az_ctx *az = az_open(NULL);
    lacie_game a = random_game(az, 4, 20, 5), b = random_game(az, 4, 20, 5);
    for (int64_t i = 0; i < b.count; i++) b.record[i].p = pow(b.record[i].p, 3);
    const lacie_options o = options_of("");
    const double at = lacie_threshold(az, &a, &o), bt = lacie_threshold(az, &b, &o);
    for (int64_t i = 0; i < a.count; i++) {
        if (isnan(a.record[i].p) || a.record[i].p == at) continue;
        cr_assert(fabs(a.record[i].p - at) < 0.02 || (a.record[i].p > at) == (b.record[i].p > bt)); /* an even number has two medians */
    }
    az_close(az);
}

/* ---- measures ---- */

Test(lacie, area_and_calibration_by_hand)
{
    const double p[] = {0.9, 0.8, 0.8, 0.3, 0.1};
    const bool right[] = {true, false, true, false, false};
    cr_assert_float_eq(az_auroc(p, right, 5), 5.5 / 6, 1e-12); /* 6 pairs, one tie */
    /* bins of width 0.5: {0.3, 0.1} none right, mean 0.2; {0.9, 0.8, 0.8} 2/3 right, mean 5/6 */
    cr_assert_float_eq(az_calibration_error(p, right, 5, 2, false), 0.4 * 0.2 + 0.6 * (2.5 / 3 - 2.0 / 3), 1e-12);
    /* from 0.1 to 0.9, middles 0.3 and 0.7 */
    cr_assert_float_eq(az_calibration_error(p, right, 5, 2, true), 0.4 * 0.3 + 0.6 * (0.7 - 2.0 / 3), 1e-12);
    cr_assert(isnan(az_auroc(p, (const bool[]){true, true, true, true, true}, 5)));
}

/* ---- a game ---- */

/* Says the answer with certainty in even samples, hedges in odd ones; knows the capitals of even questions. */
static bool speak(az_ctx *az, const az_call_text *call, az_answer *answer, void *user)
{
    (void)user;
    const char *question = strstr(call->text, "country ");
    const int i = question ? atoi(question + 8) : 0;
    if (strstr(call->text, "Final answer:") && strcmp(call->request->stage, "extract") == 0) {
        const char *at = NULL;
        for (const char *next = call->text; (next = strstr(next, "town")); next++) at = next;
        answer->text =
            at && at[4] >= '0' && at[4] <= '9' ? az_format_text(az, "%.*s", (int)(4 + strspn(at + 4, "0123456789")), at) : "NONE";
        return true;
    }
    const int town = i % 2 == 0 ? i : i + 500;
    if (call->sample == 3)
        answer->text = " I have no idea.";
    else
        answer->text = az_format_text(az, call->sample % 2 == 0 ? " It is certainly town%d." : " Perhaps it is town%d?", town);
    return true;
}

static bool listen(az_ctx *az, const az_call_text *call, az_answer *answer, void *user)
{
    (void)user;
    const char *last = NULL;
    for (const char *next = call->text; (next = strstr(next, "Question:")); next++) last = next;
    cr_assert_null(strstr(last, "town"), "%s", last); /* the mask holds */
    const double yes = strstr(last, "certainly") ? 0.8 : 0.2;
    answer->next = az_alloc_array(az, 2, sizeof *answer->next);
    answer->n = 2;
    answer->next[0] = (az_next_token){" yes", log(yes)};
    answer->next[1] = (az_next_token){" no", log(1 - yes)};
    return true;
}

Test(lacie, a_game_with_known_players)
{
    az_ctx *az = az_open(NULL);
    const char *folder = test_folder(az), *input = test_path(az, folder, "qa.jsonl");
    FILE *out = fopen(input, "w");
    for (int i = 0; i < 10; i++)
        fprintf(out, "{\"question\": \"What is the capital of country %d ?\", \"answers\": [\"The Town%d\", \"x\"]}\n", i, i);
    fclose(out);
    const lacie_options o = options_of("n=4,balance=false,threshold=0.5");
    az_prepare_job job = {.input = input, .folder = folder, .report = az_report_new(az, NULL)};
    job.backend = az_backend_of_function(az, speak, NULL, NULL, NULL);
    job.second = az_backend_of_function(az, listen, NULL, NULL, NULL);
    cr_assert(az_lacie.prepare(az, &o, &job), "%s", az_error(az));
    cr_assert_float_eq(az_report_value(job.report, "calibration", "accuracy"), 15.0 / 40, 1e-9); /* 3 of 4 answers of the even questions */
    cr_assert_float_eq(az_report_value(job.report, "calibration", "abstained"), 0.25, 1e-9);
    cr_assert_float_eq(az_report_value(job.report, "calibration", "precision"), 0.5, 1e-9);
    cr_assert_float_eq(az_report_value(job.report, "calibration", "auroc"), 0.5, 1e-9);
    const az_examples *pairs = az_examples_read(az, test_path(az, folder, "prefs.jsonl"));
    cr_assert_not_null(pairs, "%s", az_error(az));
    cr_assert_eq(pairs->count, 20); /* each question: its hedged answer against the two certain ones */
    for (int64_t i = 0; i < pairs->count; i++) {
        const bool known = atoi(strstr(pairs->item[i].turn[0].text, "country ") + 8) % 2 == 0;
        cr_assert_eq(strstr(pairs->item[i].turn[1].text, "certainly") != NULL, known);
    }
    az_close(az);
}

/* A listener that is asked in other words. */
static bool listen_otherwise(az_ctx *az, const az_call_text *call, az_answer *answer, void *user)
{
    cr_assert(strncmp(call->text, "Trust: ", 7) == 0, "%s", call->text);
    return listen(az, &(az_call_text){.request = call->request, .text = az_format_text(az, "Question: %s", call->text)}, answer, user);
}

Test(lacie, templates_of_a_folder_take_the_built_in_ones_places)
{
    az_ctx *az = az_open(NULL);
    const char *folder = test_folder(az), *input = test_path(az, folder, "qa.jsonl"), *own = test_path(az, folder, "lacie-listener.txt");
    FILE *out = fopen(input, "w");
    fputs("{\"question\": \"What is the capital of country 2 ?\", \"answers\": [\"town2\"]}\n", out);
    fclose(out);
    out = fopen(own, "w");
    fputs("Trust: {{response}}\n", out);
    fclose(out);
    lacie_options o = options_of("n=2,balance=false");
    o.templates = folder;
    az_prepare_job job = {.input = input, .folder = folder, .report = az_report_new(az, NULL)};
    job.backend = az_backend_of_function(az, speak, NULL, NULL, NULL);
    job.second = az_backend_of_function(az, listen_otherwise, NULL, NULL, NULL);
    cr_assert(az_lacie.prepare(az, &o, &job), "%s", az_error(az));
    cr_assert_eq(az_report_value(job.report, "calibration", "accuracy"), 1);
    o.templates = ""; /* the game is another one, and the built-in question is what it always was */
    cr_assert_not(az_lacie.prepare(az, &o, &job));
    cr_assert(strstr(az_error(az), "another run"), "%s", az_error(az));
    az_clear(az);
    cr_assert_str_eq(lacie_prompt(az, "Who?"),
                     "Answer the trivia question in one or two sentences. Your response should show how confident "
                     "you are in the answer, and why.\nQuestion: Who?\nResponse:");
    o.templates = "/nowhere";
    job.folder = test_path(az, folder, "other");
    cr_assert(az_make_folder(az, job.folder));
    cr_assert_not(az_lacie.prepare(az, &o, &job));
    cr_assert(strstr(az_error(az), "no folder of templates '/nowhere'"), "%s", az_error(az));
    az_close(az);
}

/* Believes every answer three times out of ten. */
static bool doubt(az_ctx *az, const az_call_text *call, az_answer *answer, void *user)
{
    (void)call, (void)user;
    answer->next = az_alloc_array(az, 2, sizeof *answer->next);
    if (!answer->next) return false;
    answer->n = 2;
    answer->next[0] = (az_next_token){" yes", log(0.3)};
    answer->next[1] = (az_next_token){" no", log(0.7)};
    return true;
}

/* Of several listeners the mean counts; verdicts from a file take the places of theirs. */
Test(lacie, several_listeners_and_the_verdicts_of_people)
{
    az_ctx *az = az_open(NULL);
    const char *folder = test_folder(az), *input = test_path(az, folder, "qa.jsonl"), *verdicts = test_path(az, folder, "accepts.jsonl");
    FILE *out = fopen(input, "w");
    for (int i = 0; i < 4; i++)
        fprintf(out, "{\"question\": \"What is the capital of country %d ?\", \"answers\": [\"The Town%d\", \"x\"]}\n", i, i);
    fclose(out);
    const lacie_options o = options_of("n=4,balance=false,threshold=0.5");
    az_backend *others[] = {az_backend_of_function(az, doubt, NULL, NULL, NULL)};
    az_prepare_job one = {.input = input, .folder = test_path(az, folder, "one"), .report = az_report_new(az, NULL)};
    cr_assert(az_make_folder(az, one.folder));
    one.backend = az_backend_of_function(az, speak, NULL, NULL, NULL);
    one.second = az_backend_of_function(az, listen, NULL, NULL, NULL);
    az_prepare_job two = one;
    two.folder = test_path(az, folder, "two");
    cr_assert(az_make_folder(az, two.folder));
    two.more = others, two.others = 1;
    const lacie_game *a = lacie_play(az, &o, &one), *b = lacie_play(az, &o, &two);
    cr_assert(a && b, "%s", az_error(az));
    cr_assert_eq(a->count, 16);
    for (int64_t i = 0; i < a->count; i++)
        if (!isnan(a->record[i].p)) cr_assert_float_eq(b->record[i].p, (a->record[i].p + 0.3) / 2, 1e-9);
    /* the same game, and what people said */
    out = fopen(verdicts, "w");
    for (int64_t i = 0; i < 15; i++)
        fprintf(out, "{\"id\": \"%s\", \"accept\": %s}\n", a->record[i].id, i % 3 == 0 ? "true" : i % 3 == 1 ? "false" : "0.75");
    fclose(out);
    lacie_options people = o;
    people.accepts = verdicts;
    const int64_t asked = az_backend_usage(one.backend).calls;
    const lacie_game *c = lacie_play(az, &people, &one);
    cr_assert(c, "%s", az_error(az));
    cr_assert_eq(az_backend_usage(one.backend).calls, asked, "the game is known");
    for (int64_t i = 0; i < 15; i++) cr_assert_eq(c->record[i].p, i % 3 == 0 ? 1 : i % 3 == 1 ? 0 : 0.75);
    cr_assert(isnan(c->record[15].p));
    people.threshold = -1;
    cr_assert_eq(lacie_threshold(az, c, &people), 0.5);
    out = fopen(verdicts, "w");
    fputs("{\"id\": \"1/0\", \"accept\": \"yes\"}\n", out);
    fclose(out);
    cr_assert_null(lacie_play(az, &people, &one));
    cr_assert(strstr(az_error(az), "line 1: \"accept\" is not"), "%s", az_error(az));
    az_close(az);
}

Test(lacie, bad_questions_are_named_before_anything_is_asked)
{
    az_ctx *az = az_open(NULL);
    const char *folder = test_folder(az), *input = test_path(az, folder, "qa.jsonl");
    FILE *out = fopen(input, "w");
    fputs("{\"question\": \"a\", \"answers\": [\"b\"]}\n{\"question\": \"a\", \"answers\": []}\n", out);
    fclose(out);
    const lacie_options o = options_of("");
    az_prepare_job job = {.input = input, .folder = folder, .report = az_report_new(az, NULL)};
    job.backend = az_backend_of_function(az, speak, NULL, NULL, NULL);
    cr_assert_not(az_lacie.prepare(az, &o, &job));
    cr_assert_not_null(strstr(az_error(az), "line 2 has no text"), "%s", az_error(az));
    cr_assert_eq(az_backend_usage(job.backend).calls, 0);
    az_close(az);
}
