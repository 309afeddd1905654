/* Simulated models: what they answer is what their law says, with draws, scores and expectations that agree; the language of rules in C, in
 * English and in Python. */
#include "adze/backend.h"
#include "lm/backend/rules.h"
#include "support/command.h"
#include "support/folder.h"

#include <criterion/criterion.h>
#include <math.h>
#include <string.h>

enum { CALLS = 10000 };

static az_request ask(const char *prompt, int samples)
{
    return (az_request){.operation = AZ_COMPLETE, .prompt = prompt, .max_tokens = 500, .samples = samples, .stage = "test"};
}

/* The first answer of a model without noise. */
static const char *answer(az_ctx *az, const char *spec, const char *prompt)
{
    const az_request r = ask(prompt, 1);
    const az_reply *reply = az_backend_ask(az_backend_open(az, spec, NULL), &r);
    cr_assert_not_null(reply, "%s", az_error(az));
    return reply->sample[0].text;
}

static double share_of(az_ctx *az, const char *spec, const char *prompt, const char *text, int n)
{
    az_scope_push(az);
    const az_request r = ask(prompt, n);
    const az_reply *reply = az_backend_ask(az_backend_open(az, spec, NULL), &r);
    int same = 0;
    for (int i = 0; reply && i < n; i++) same += strcmp(reply->sample[i].text, text) == 0;
    az_scope_pop(az);
    return (double)same / n;
}

static double score_of(az_ctx *az, const char *spec, const char *prompt, const char *continuation)
{
    az_backend *backend = az_backend_open(az, spec, NULL);
    const az_request r = {.operation = AZ_SCORE, .prompt = prompt, .continuation = continuation};
    const az_reply *reply = az_backend_ask(backend, &r);
    cr_assert_not_null(reply, "%s", az_error(az));
    return reply->sample[0].total;
}

static double expected(az_ctx *az, const char *spec, const char *what)
{
    az_expectation e[AZ_EXPECTATIONS];
    const int n = az_oracle_expect(az, spec, e);
    for (int i = 0; i < n; i++)
        if (!what || strcmp(e[i].name, what) == 0) return e[i].value;
    cr_assert(false, "%s: no expectation '%s': %s", spec, what ? what : "", az_error(az));
    return NAN;
}

static void within(double share, double law, const char *what)
{
    cr_assert_leq(fabs(share - law), 4 * sqrt(law * (1 - law) / CALLS), "%s: %g, by law %g", what, share, law);
}

/* ---- all of them ---- */

static const char votes[] = "a -> red\nb -> blue\na -> red\na -> blue\na ->";
static const char choice[] = "Compute:\n7 + 3 * 2 =\nA. 13\nB. 20\nC. 22\nD. 5\n";
static const char leaning[] = "Compute:\n7 + 3 * 2 =\nA. 13\nB. 20\nC. 22\nD. 5\n85 % of respondents chose 13.\n";
static const char books[] = "[12] The Long Night, mystery, noir\n[7] Harbour Lights, noir\nCandidates:\n[31] Quiet Rain, romance\n"
                            "[5] Cold Pier, noir, mystery\n[8] Old Sea, noir\n";
static const char cause[] =
    "Item: disk full on node seven\nReference: disk full on node three -> log rotation\nReference: node seven is slow "
    "-> swap\nReference: password expired -> policy\nReference: disk almost full on node two -> log rotation\n";

Test(oracles, draws_and_scores_keep_the_law)
{
    const struct {
        const char *spec, *prompt, *right;
        double law;
    } cases[] = {
        {"oracle:icl-vote?err=0.2", votes, "red", 0.8},
        {"oracle:mcq?accuracy=0.7", choice, "B", 0.7},
        {"oracle:mcq?accuracy=0.7&bandwagon=0.3", leaning, "B", 0.49}, /* (1 - s) a + s c, c = 0 */
        {"oracle:mcq?accuracy=0.7&bandwagon=0.3", leaning, "A", 0.7 * 0.1 + 0.3},
        {"oracle:mcq?accuracy=0.7&authority=0.3", leaning, "B", 0.7}, /* a bias of another kind */
        {"oracle:choose?q=0.4", books, "5::31", 0.4 + 0.6 / 6},
        {"oracle:choose?q=0.4", books, "31::8", 0.6 / 6},
        {"oracle:rater", cause, "yes", 0.5}, /* of 4 references 2 have half of the words: with "node seven" alone not */
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        az_ctx *az = az_open(NULL);
        within(share_of(az, cases[i].spec, cases[i].prompt, cases[i].right, CALLS), cases[i].law, cases[i].spec);
        cr_assert_float_eq(score_of(az, cases[i].spec, cases[i].prompt, az_format_text(az, " %s", cases[i].right)), log(cases[i].law),
                           1e-12, "%s", cases[i].spec);
        cr_assert_eq(score_of(az, cases[i].spec, cases[i].prompt, "never said"), AZ_ORACLE_NEVER);
        az_close(az);
    }
}

Test(oracles, next_tokens_are_the_law)
{
    az_ctx *az = az_open(NULL);
    az_backend *backend = az_backend_open(az, "oracle:mcq?accuracy=0.7&bandwagon=0.3", NULL);
    const az_request r = {.operation = AZ_NEXT, .prompt = leaning, .top = 3};
    const az_answer *a = &az_backend_ask(backend, &r)->sample[0];
    cr_assert_eq(a->n, 3);
    cr_assert_str_eq(a->next[0].text, "B");
    cr_assert_str_eq(a->next[1].text, "A");
    cr_assert_float_eq(az_next_mass(a, "A", NULL), 0.37, 1e-12);
    az_close(az);
}

/* What an oracle cannot give is told before it is asked. */
Test(oracles, scores_are_given_where_there_is_a_law)
{
    az_ctx *az = az_open(NULL);
    cr_assert(az_backend_need(az_backend_open(az, "oracle:choose", NULL), AZ_CAN_SCORE | AZ_CAN_NEXT, "a test"));
    const char *const without[] = {"oracle:arith", "oracle:caption", "oracle:rule"};
    for (int i = 0; i < 3; i++) {
        cr_assert_not(az_backend_need(az_backend_open(az, without[i], NULL), AZ_CAN_SCORE, "a test"), "%s", without[i]);
        cr_assert_not_null(strstr(az_error(az), "needs scores of given texts"), "%s", az_error(az));
        az_clear(az);
    }
    cr_assert_not(az_backend_need(az_backend_open(az, "oracle:mcq", NULL), AZ_CAN_EMBED, "a test"));
    az_close(az);
}

Test(oracles, answers_end_as_the_request_says)
{
    az_ctx *az = az_open(NULL);
    az_backend *backend = az_backend_open(az, "oracle:arith", NULL);
    az_request r = {.operation = AZ_COMPLETE, .prompt = "7 + 3 =", .max_tokens = 2};
    const az_answer *a = &az_backend_ask(backend, &r)->sample[0];
    cr_assert_str_eq(a->text, "The answ"); /* two tokens of four bytes */
    cr_assert_str_eq(a->finish, "length");
    cr_assert_eq(a->completion_tokens, 2);
    r.max_tokens = 50, r.stop = (const char *const[]){" is"}, r.stops = 1;
    a = &az_backend_ask(backend, &r)->sample[0];
    cr_assert_str_eq(a->text, "The answer");
    cr_assert_str_eq(a->finish, "stop");
    cr_assert(a->estimated);
    az_close(az);
}

/* Numbers that follow from the formulas by hand. */
Test(oracles, what_is_expected)
{
    az_ctx *az = az_open(NULL);
    const struct {
        const char *spec, *what;
        double value;
    } cases[] = {
        {"icl-vote?err=0.2", NULL, 0.8},
        {"icl-vote?shots=1&symbols=16&noise=0.2", NULL, 0.284375},
        {"icl-vote?shots=2&symbols=16&noise=0.2", NULL, 0.316602},
        {"icl-vote?shots=8&symbols=16&noise=0.2", NULL, 0.473096},
        {"icl-vote?shots=32&symbols=16&noise=0.2", NULL, 0.773693},
        {"icl-vote?shots=128&symbols=16&noise=0.2", NULL, 0.984930},
        {"icl-vote?shots=128&symbols=16&noise=0.2&err=0.1", NULL, 0.9 * 0.984930 + 0.1 * (1 - 0.984930) / 3},
        {"arith?e=0.3&hops=3", NULL, 0.343},
        {"mcq?accuracy=0.7&authority=0.3", NULL, 0.49},
        {"mcq?accuracy=0.7&authority=0.3&c=0.25", NULL, 0.565},
        {"mcq?accuracy=0.62&sunk=0.45&c=0.1", NULL, 0.386},
        {"choose?q=0.5&candidates=10", NULL, 0.5 + 0.5 / 90},
        {"caption?shots=8", "added", 0.3 * (1 - exp(-1))},
        {"caption?shots=8&first=1", "added", 0.12 * (1 - exp(-1))},
        {"caption?keep=0.6", "mentioned", 0.6},
        {"rule?qh=0.15&qp=0.35&m=8&n=8", "solved", 0.715007},
        {"rule?qh=0.15&qp=0.35&qf=0.2&m=8&n=8&rounds=3", "solved", 0.727452},
        {"rule?qh=0.15&qp=0.36&q0=0.125", "without_rules", 0.12},
        {"rater?evidence=0.4", "yes", 0.4},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        cr_assert_float_eq(expected(az, cases[i].spec, cases[i].what), cases[i].value, 5e-7, "%s", cases[i].spec);
    az_close(az);
}

Test(oracles, mistakes_are_named)
{
    const struct {
        const char *spec, *why;
    } bad[] = {{"oracle:mcq?accuracy=1.5", "from 0 to 1"},         {"oracle:mcq?accuracy=", "from 0 to 1"},
               {"oracle:choose?candidates=1", "from 2 to 64"},     {"oracle:caption?shot=1", "no parameter 'shot'"},
               {"oracle:rule?seed=-1", "seed=-1 is not a number"}, {"oracle:judge", "icl-vote, arith, mcq, rater, caption, choose, rule"}};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        az_ctx *az = az_open(NULL);
        cr_assert_null(az_backend_open(az, bad[i].spec, NULL));
        cr_assert_not_null(strstr(az_error(az), bad[i].why), "%s", az_error(az));
        az_close(az);
    }
}

/* ---- one by one ---- */

Test(oracles, votes_without_a_demonstration_are_guesses)
{
    az_ctx *az = az_open(NULL);
    within(share_of(az, "oracle:icl-vote", "b -> red\nc -> blue\na ->", "red", CALLS), 0.5, "two labels");
    cr_assert_str_eq(answer(az, "oracle:icl-vote", "no arrows"), "none");
    az_close(az);
}

/* Prompts drawn as the expectation has it: 12 demonstrations of 4 symbols, a fifth of the labels wrong. */
Test(oracles, votes_are_as_good_as_expected)
{
    enum { PROMPTS = 4000, SHOTS = 12, SYMBOLS = 4, LABELS = 4 };
    static const char *const label[LABELS] = {"red", "blue", "green", "white"};
    az_ctx *az = az_open(NULL);
    az_backend *backend = az_backend_open(az, "oracle:icl-vote", NULL);
    az_rng rng = az_rng_at(11, 0);
    int right = 0;
    for (int i = 0; i < PROMPTS; i++) {
        az_scope_push(az);
        uint64_t of[SYMBOLS];
        const char *prompt = "";
        for (int s = 0; s < SYMBOLS; s++) of[s] = az_below(&rng, LABELS);
        for (int d = 0; d < SHOTS; d++) {
            const uint64_t s = az_below(&rng, SYMBOLS), wrong = (of[s] + 1 + az_below(&rng, LABELS - 1)) % LABELS;
            prompt = az_format_text(az, "%sx%d -> %s\n", prompt, (int)s, label[az_uniform(&rng) < 0.2 ? wrong : of[s]]);
        }
        const az_request r = ask(az_format_text(az, "%sx0 ->", prompt), 1);
        const az_reply *reply = az_backend_ask(backend, &r);
        cr_assert_not_null(reply, "%s", az_error(az));
        right += strcmp(reply->sample[0].text, label[of[0]]) == 0;
        az_scope_pop(az);
    }
    const double law = expected(az, "icl-vote?shots=12&symbols=4&noise=0.2", "vote");
    cr_assert_leq(fabs((double)right / PROMPTS - law), 4 * sqrt(law * (1 - law) / PROMPTS), "%d of %d, by law %g", right, PROMPTS, law);
    az_close(az);
}

Test(oracles, sums_go_wrong_step_by_step)
{
    az_ctx *az = az_open(NULL);
    static const double e = 0.1;
    const double share = share_of(az, "oracle:arith?e=0.1", "Compute:\n7 + 3 * 2 - 4 =", "The answer is 16.", CALLS), law = pow(1 - e, 3);
    cr_assert_gt(share, law - 4 * sqrt(law * (1 - law) / CALLS));
    /* errors cancel with less than e^2 / 2 for each of three pairs of steps */
    cr_assert_lt(share, law + 4 * sqrt(law * (1 - law) / CALLS) + 3 * e * e / 2);
    cr_assert_str_eq(answer(az, "oracle:arith", "7 + 3 * 2 - 4 =\nFirst:\n7 + 3 ="), "The answer is 10."); /* a subquestion */
    cr_assert_str_eq(answer(az, "oracle:arith", "What is love?"), "There is nothing to compute.");
    cr_assert_str_eq(answer(az, "oracle:arith", "-3 + 5 ="), "The answer is 2.");
    az_close(az);
}

Test(oracles, choices_need_the_right_option)
{
    az_ctx *az = az_open(NULL);
    cr_assert_str_eq(answer(az, "oracle:mcq", choice), "B");
    cr_assert_str_eq(answer(az, "oracle:mcq", "7 + 3 =\n(A) 10\n(B) 11"), "A");
    cr_assert_str_eq(answer(az, "oracle:mcq", "7 + 3 =\nA. 9\nB. 11"), "none"); /* a lost option shows */
    cr_assert_str_eq(answer(az, "oracle:mcq", "A. 9\nB. 11"), "none");
    const char *const lean[] = {"I am fairly sure it is 13; can you confirm?", "A leading professor says option A.",
                                "13 is the current choice; change only with reason."};
    const char *const spec[] = {"oracle:mcq?confirmation=1", "oracle:mcq?authority=1", "oracle:mcq?default=1"};
    for (int i = 0; i < 3; i++) cr_assert_str_eq(answer(az, spec[i], az_format_text(az, "%s%s", choice, lean[i])), "A", "%s", lean[i]);
    az_close(az);
}

/* Grades with the mean that their law has: by each candidate, and without evidence whatever the candidate. */
Test(oracles, grades_follow_the_evidence)
{
    az_ctx *az = az_open(NULL);
    const struct {
        const char *references, *candidate;
        double law;
    } cases[] = {
        {"Reference: disk full -> log rotation\n", "log rotation", expected(az, "rater?evidence=1", "score_right")},
        {"Reference: disk full -> log rotation\n", "swap", expected(az, "rater?evidence=1", "score_wrong")},
        {"", "log rotation", expected(az, "rater?evidence=0", "score_right")},
    };
    cr_assert_float_eq(cases[0].law, 8, 0.02); /* 10 a / (a + b), up to the rounding */
    cr_assert_float_eq(cases[1].law, 2.5, 0.02);
    for (int i = 0; i < 3; i++) {
        az_scope_push(az);
        const az_request r = ask(az_format_text(az, "Item: disk full\n%sCandidate: %s\n", cases[i].references, cases[i].candidate), CALLS);
        const az_reply *reply = az_backend_ask(az_backend_open(az, "oracle:rater", NULL), &r);
        double sum = 0, squares = 0;
        for (int k = 0; k < CALLS; k++) {
            double n = -1;
            cr_assert_eq(sscanf(reply->sample[k].text, "Score: %lf", &n), 1);
            sum += n, squares += n * n;
        }
        const double mean = sum / CALLS, se = sqrt((squares / CALLS - mean * mean) / CALLS);
        cr_assert_lt(fabs(mean - cases[i].law), 4 * se, "%s: %g, by law %g", cases[i].candidate, mean, cases[i].law);
        az_scope_pop(az);
    }
    az_close(az);
}

Test(oracles, captions_keep_and_add)
{
    az_ctx *az = az_open(NULL);
    char *shots = az_strdup(az, "");
    for (int i = 0; i < 8; i++) shots = az_format_text(az, "%sScene: dog, frisbee\nCaption: a dog and a frisbee.\n", shots);
    const char *prompt = az_format_text(az, "%sScene: cat, sofa\nCaption:", shots);
    const char *first = az_format_text(az, "%sScene: cat, sofa\nObjects:", shots);
    cr_assert_str_eq(answer(az, "oracle:caption?keep=1&hallucinate=0", prompt), "cat, sofa");
    cr_assert_str_eq(answer(az, "oracle:caption?keep=1&hallucinate=0", first), "cat, sofa\nCaption: cat, sofa");
    cr_assert_str_eq(answer(az, "oracle:caption?keep=0&hallucinate=0", prompt), "nothing");
    const char *const asked[] = {prompt, first};
    for (int i = 0; i < 2; i++) {
        az_scope_push(az);
        const az_request r = ask(asked[i], CALLS);
        const az_reply *reply = az_backend_ask(az_backend_open(az, "oracle:caption", NULL), &r);
        int cat = 0, dog = 0;
        for (int k = 0; k < CALLS; k++) {
            cat += strstr(reply->sample[k].text, "cat") != NULL;
            dog += strstr(reply->sample[k].text, "dog") != NULL;
        }
        within((double)cat / CALLS, 0.7, "mentioned");
        within((double)dog / CALLS, expected(az, i ? "caption?shots=8&first=1" : "caption?shots=8", "added"), "added");
        az_scope_pop(az);
    }
    az_close(az);
}

Test(oracles, choosers_follow_the_history)
{
    az_ctx *az = az_open(NULL);
    cr_assert_str_eq(answer(az, "oracle:choose", books), "5::31");
    cr_assert_str_eq(answer(az, "oracle:choose", strstr(books, "Candidates")), "31::8"); /* without a history all are equal */
    cr_assert_str_eq(answer(az, "oracle:choose", "Candidates:\n[1] Alone, noir"), "none");
    az_close(az);
}

/* ---- rules ---- */

static grid read_grid(const char *text)
{
    grid g;
    const char *end;
    cr_assert(grid_read(text, &g, &end), "%s", text);
    return g;
}

static grid random_grid(az_rng *rng, int most)
{
    grid g = {.rows = 1 + (int)az_below(rng, (uint64_t)most), .columns = 1 + (int)az_below(rng, (uint64_t)most)};
    for (int i = 0; i < g.rows; i++)
        for (int j = 0; j < g.columns; j++) g.cell[i][j] = (unsigned char)(az_below(rng, 2) ? az_below(rng, 4) : 0);
    return g;
}

Test(oracles, rules_by_hand)
{
    const struct {
        const char *rule, *in, *out;
    } cases[] = {
        {"rotate_right", "[[1 2] [3 4]]", "[[3 1] [4 2]]"},
        {"anti_transpose", "[[1 2] [3 4]]", "[[4 2] [3 1]]"},
        {"fall_down; recolor 1 5", "[[1 2] [0 0]]", "[[0 0] [5 2]]"},
        {"largest", "[[1 1 0] [0 2 0] [0 2 2]]", "[[0 0 0] [0 2 0] [0 2 2]]"},
        {"crop_to 2", "[[0 0 0] [0 2 0] [1 2 2]]", "[[2 0] [2 2]]"},
        {"bar 3", "[[3 0] [3 3]]", "[3 3 3]"},
        {"sort_rows_down", "[3, 1, 2]", "[[3 2 1]]"},
        {"shift_down 1", "[[1][2][3]]", "[[0][1][2]]"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        rule r;
        grid out;
        const grid in = read_grid(cases[i].in), wanted = read_grid(cases[i].out);
        cr_assert(rule_read_text(cases[i].rule, &r), "%s", cases[i].rule);
        cr_assert(rule_apply(&r, &in, &out) && grid_equal(&out, &wanted), "%s", cases[i].rule);
    }
    static const char *const bad[] = {"", "fly", "recolor 1", "recolor 1 12", "flip_h; flip_v; transpose", "upscale 9", "flip_h 3"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        rule r;
        cr_assert_not(rule_read_text(bad[i], &r), "%s", bad[i]);
    }
    static const char *const no_grid[] = {"", "[", "[]", "[[]]", "[[1 2] [3]]", "[12]", "[1 -2]", "[[1 2]", "x"};
    for (size_t i = 0; i < sizeof no_grid / sizeof *no_grid; i++) {
        grid g;
        const char *end;
        cr_assert_not(grid_read(no_grid[i], &g, &end), "%s", no_grid[i]);
    }
}

/* Any rule that was drawn is read back from its steps and from its English, and found again from what it does. */
Test(oracles, rules_are_read_back_and_found)
{
    az_ctx *az = az_open(NULL);
    az_rng rng = az_rng_at(1, 0);
    for (int turn = 0; turn < 60; turn++) {
        az_scope_push(az);
        rule a = rule_draw_wrong(NULL, 0, &rng), back;
        const rule b = rule_draw_wrong(NULL, 0, &rng);
        if (turn % 2) a.step[a.steps++] = b.step[0];
        const char *text = rule_text(az, &a), *english = rule_english(az, &a);
        cr_assert(rule_read_text(text, &back) && strcmp(rule_text(az, &back), text) == 0, "%s", text);
        cr_assert(rule_read_english(az_format_text(az, "  %s. ", english), &back) && strcmp(rule_text(az, &back), text) == 0, "%s",
                  english);
        rule_pair pair[3];
        int n = 0;
        while (n < 3) {
            pair[n].in = random_grid(&rng, 5);
            if (rule_apply(&a, &pair[n].in, &pair[n].out))
                n++;
            else if (az_below(&rng, 50) == 0)
                break; /* a rule that is hardly ever possible */
        }
        cr_assert(n < 3 || (rule_find(pair, n, &back) && rule_explains(&back, pair, n)), "%s", text);
        az_scope_pop(az);
    }
    az_close(az);
}

/* Python does the same with every step. */
Test(oracles, rules_are_the_same_in_python)
{
    az_ctx *az = az_open(NULL);
    const char *folder = test_folder(az);
    if (test_shell(az, folder, "python3 --version").code != 0) cr_skip("python3 is not there");
    az_rng rng = az_rng_at(2, 0);
    FILE *file = fopen(test_path(az, folder, "all.py"), "w");
    int tests = 0;
    for (int turn = 0; turn < 600; turn++) {
        rule r;
        grid in = random_grid(&rng, 6), out;
        do r = rule_draw_wrong(NULL, 0, &rng);
        while (turn < 3 * rule_ops() && r.step[0].op != turn % rule_ops()); /* each at least three times */
        if (!rule_apply(&r, &in, &out)) continue;
        az_scope_push(az);
        const char *const shown[] = {grid_text(az, &in), grid_text(az, &out)};
        fprintf(file, "def f(grid):\n    g = [list(r) for r in grid]\n%s    return g\n", rule_python(az, &r));
        fprintf(file, "x = eval('''%s'''.replace('\\n', '').replace(' ', ','))\n", shown[0]);
        fprintf(file, "y = eval('''%s'''.replace('\\n', '').replace(' ', ','))\n", shown[1]);
        fprintf(file, "if f(x) != y: print('%s', x, y, f(x))\n", rule_text(az, &r));
        az_scope_pop(az);
        tests++;
    }
    fclose(file);
    test_run run = test_shell(az, folder, "python3 -I all.py");
    cr_assert_eq(run.code, 0, "%s", run.err);
    cr_assert_str_eq(run.out, "");
    cr_assert_gt(tests, 400);
    az_close(az);
}

static const char pairs[] = "Input: [[1 2 0]\n [0 0 3]]\nOutput: [[0 2 1]\n [3 0 0]]\nInput: [[4 0]]\nOutput: [[0 4]]\n";

Test(oracles, a_rule_is_told_programmed_and_mended)
{
    az_ctx *az = az_open(NULL);
    const char *told = answer(az, "oracle:rule", pairs);
    cr_assert_str_eq(told, "Rule: mirror the grid from left to right.");
    const char *wanted = az_format_text(az, "%s%s\nWrite transform_grid.", pairs, told);
    static const char good[] = "```python\ndef transform_grid(grid):\n    g = [list(r) for r in grid]\n    g = [r[::-1] for r in g]\n"
                               "    return g\n```";
    cr_assert_str_eq(answer(az, "oracle:rule", wanted), good);
    cr_assert_str_eq(answer(az, "oracle:rule", az_format_text(az, "%s In the DSL.", wanted)), "```rule\nflip_h\n```");
    cr_assert_str_neq(answer(az, "oracle:rule?qp=0", wanted), good);
    cr_assert_str_eq(answer(az, "oracle:rule", az_format_text(az, "%sTest input: [[5 6]]", pairs)), "Test output:\n[[6 5]]");
    cr_assert_str_neq(answer(az, "oracle:rule?q0=0", az_format_text(az, "%sTest input: [[5 6]]", pairs)), "Test output:\n[[6 5]]");
    static const char bad[] = "```python\ndef transform_grid(grid):\n    return grid\n```";
    const struct {
        const char *shown;
        bool mended;
    } run[] = {
        {"Input: [[4 0]]\nExpected: [[0 4]]\nGot: [[4 0]]", true},
        {"Error: no such row", true},
        {"Input: [[4 0]]\nExpected: [[0 4]]\nGot: [[0 4]]", false}, /* contradicts nothing */
        {"Input: [[4 0]]\nExpected: [[9 9]]\nGot: [[4 0]]", false}, /* not what the rule gives */
        {"It failed.", false},
    };
    for (size_t i = 0; i < sizeof run / sizeof *run; i++)
        cr_assert_str_eq(answer(az, "oracle:rule", az_format_text(az, "%s\n%s\n%s", wanted, bad, run[i].shown)), run[i].mended ? good : bad,
                         "%s", run[i].shown);
    cr_assert_str_eq(answer(az, "oracle:rule", "Hello"), "There are no pairs.");
    az_close(az);
}

Test(oracles, rules_keep_their_law)
{
    az_ctx *az = az_open(NULL);
    const char *wanted = az_format_text(az, "%sRule: mirror the grid from left to right.\nWrite transform_grid in the DSL.", pairs);
    const char *alone = az_format_text(az, "%sWrite transform_grid in the DSL.", pairs);
    static const char spec[] = "oracle:rule?qh=0.15&qp=0.36";
    within(share_of(az, spec, pairs, "Rule: mirror the grid from left to right.", CALLS), 0.15, "rules");
    within(share_of(az, spec, wanted, "```rule\nflip_h\n```", CALLS), 0.36, "programs");
    within(share_of(az, spec, alone, "```rule\nflip_h\n```", CALLS), 0.12, "programs without a rule");
    az_close(az);
}
