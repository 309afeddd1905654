/* itertl: pass@k, likeness, the loss of a group against its definition, checkers, and rounds on the stack machine. */
#include "tune/itertl.h"

#include "support/folder.h"
#include "support/models.h"
#include "support/small_lm.h"

#include <criterion/criterion.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

extern const az_method az_itertl;

static itertl_options options_of(const char *text)
{
    az_ctx *az = az_open(NULL);
    itertl_options o;
    cr_assert(az_options_parse(az, az_itertl.options, "itertl", text, &o), "%s", az_error(az));
    o.command = o.script = o.folder = "";
    o.targets = "all-linear";
    o.ks = "1,2";
    az_close(az);
    return o;
}

/* ---- numbers ---- */

/* The share of k-subsets of n samples, the first c right, that hold a right one. */
static double by_enumeration(int n, int c, int k)
{
    int all = 0, good = 0;
    for (unsigned set = 0; set < 1u << n; set++) {
        if (__builtin_popcount(set) != k) continue;
        all++;
        good += (set & ((1u << c) - 1)) != 0;
    }
    return (double)good / all;
}

Test(itertl, pass_at_k)
{
    for (int n = 1; n <= 8; n++)
        for (int c = 0; c <= n; c++)
            for (int k = 1; k <= n; k++) cr_assert_float_eq(itertl_pass_at(n, c, k), by_enumeration(n, c, k), 1e-12);
    cr_assert_float_eq(itertl_pass_at(20, 3, 5), 0.600877, 1e-6);
    cr_assert_float_eq(itertl_pass_at(20, 7, 10), 0.998452, 1e-6);
    cr_assert(isnan(itertl_pass_at(4, 1, 5)));
}

Test(itertl, likeness)
{
    az_ctx *az = az_open(NULL);
    cr_assert_float_eq(itertl_rouge(az, "assign y = a & b ;", "assign y = b | a ;"), 2.0 * 5 / 14, 1e-9); /* 5 of 7 words */
    cr_assert_float_eq(itertl_rouge(az, "a+b", "a + b"), 1, 1e-12);
    cr_assert_eq(itertl_rouge(az, "", "a"), 0);
    cr_assert_eq(itertl_rouge(az, "", ""), 0);
    az_close(az);
}

Test(itertl, loss_of_a_group_and_its_derivatives)
{
    const double p[] = {-0.5, -1, -0.8, -0.3}, score[] = {-1, 0.3, 0.45, 1}, length[] = {4, 5, 8, 10};
    double nll[4], weight[4], unused[4];
    for (int i = 0; i < 4; i++) nll[i] = -p[i] * length[i];
    itertl_group group = {.n = 4, .nll = nll, .length = length, .score = score};
    itertl_options o = options_of("");
    int64_t pairs = 0, active = 0;
    const double loss = itertl_group_loss(&o, &group, weight, &pairs, &active);
    cr_assert_float_eq(loss - 0.3, 1.313882, 1e-6); /* NLL of the reference: 0.3 a token */
    cr_assert_eq(pairs, 5);                         /* 0.45 and 0.3 are nearer than the gap */
    const double with_prompts[] = {9, 10, 13, 15};
    for (int way = 0; way < 4; way++) {
        o.combine = way % 2;
        group.divisor = way < 2 ? NULL : with_prompts;
        itertl_group_loss(&o, &group, weight, NULL, NULL);
        for (int i = 0; i < 4; i++) {
            const double old = nll[i], h = 1e-6;
            nll[i] = old + h;
            const double up = itertl_group_loss(&o, &group, unused, NULL, NULL);
            nll[i] = old - h;
            const double down = itertl_group_loss(&o, &group, unused, NULL, NULL);
            nll[i] = old;
            cr_assert_float_eq(weight[i], (up - down) / (2 * h), 1e-7);
        }
    }
    o.combine = ITERTL_ADD; /* p = -nll / tokens of instruction and program; the reference's NLL stays that of its own tokens */
    double s[4], sum = 0, ranking = 0;
    for (int i = 0; i < 4; i++) sum += s[i] = exp(-nll[i] / with_prompts[i]);
    for (int i = 0; i < 4; i++)
        for (int j = 0; j < 4; j++)
            if (score[j] - score[i] > o.gap) ranking += fmax(0, o.margin - (s[j] - s[i]) / sum);
    cr_assert_float_eq(itertl_group_loss(&o, &group, weight, NULL, NULL), 0.3 + ranking, 1e-9);
}

Test(itertl, scores_by_the_verdict)
{
    az_ctx *az = az_open(NULL);
    const itertl_options usual = options_of(""), mild = options_of("worst=0");
    const itertl_verdict broken = {.compiles = false, .total = 4}, wrong = {.compiles = true, .passed = 3, .total = 4},
                         right = {.compiles = true, .passed = 4, .total = 4};
    cr_assert_eq(itertl_score(az, &usual, &broken, "a", "a"), -1);
    cr_assert_eq(itertl_score(az, &mild, &broken, "a", "a"), 0);
    cr_assert_float_eq(itertl_score(az, &mild, &wrong, "assign y = b | a ;", "assign y = a & b ;"), 5.0 / 7, 1e-12);
    cr_assert_lt(itertl_score(az, &mild, &wrong, "a", "a"), 1);
    cr_assert_eq(itertl_score(az, &mild, &right, "b", "a"), 1);
    az_close(az);
}

Test(itertl, equal_scores_are_plain_fine_tuning)
{
    const double nll[] = {3, 5, 4}, length[] = {2, 2, 8}, score[] = {1, 1, 1};
    double weight[3];
    const itertl_options o = options_of("");
    cr_assert_float_eq(itertl_group_loss(&o, &(itertl_group){3, nll, length, score, NULL}, weight, NULL, NULL), 0.5, 1e-12);
    cr_assert_float_eq(weight[0], 0, 1e-12);
    cr_assert_float_eq(weight[2], 1.0 / 8, 1e-12);
}

/* ---- checkers ---- */

Test(itertl, the_stack_machine)
{
    const struct {
        const char *program;
        bool compiles, right;
    } cases[] = {
        {"3 4 ADD 2 MUL END", true, true},
        {"2 3 4 ADD MUL END", true, true},
        {"2 3 SWAP 4 ADD MUL END", true, false},
        {"7 2 MUL END", true, false},
        {"3 4 ADD END", true, false},
        {"3 ADD END", false, false},
        {"3 4 ADD 2 MUL", false, false},
        {"3 4 END", false, false},
        {"3 4 DIV END", false, false},
        {"", false, false},
        {"3 4 ADD 2 MUL END END", false, false},
        {"3 DUP SUB END", true, false},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const itertl_verdict v = itertl_stack_check("(3+4)*2=", cases[i].program);
        cr_assert_eq(v.compiles, cases[i].compiles, "%s", cases[i].program);
        cr_assert_eq(v.total > 0 && v.passed == v.total, cases[i].right, "%s", cases[i].program);
    }
}

static const char half_adder[] =
    "module half_adder(input a, input b, output sum, output carry);\nassign sum = a ^ b;\nassign carry = %s;\n%s";
static const char bench[] =
    "module tb; reg a, b; wire s, c; integer i, wrong; half_adder u(a, b, s, c);\n"
    "initial begin wrong = 0; for (i = 0; i < 4; i = i + 1) begin {a, b} = i; #1 if ({c, s} !== a + b) wrong = wrong + 1; end\n"
    "$display(\"Mismatches: %0d in 4 samples\", wrong); end endmodule\n";

static itertl_verdict check(az_ctx *az, const char *program, const char *test)
{
    const itertl_options o = options_of("");
    itertl_verdict v;
    if (!itertl_check_ready(az, &o)) cr_skip("%s", az_error(az));
    cr_assert(itertl_check(az, &o, &(itertl_task){.instruction = "", .test = test}, program, &v), "%s", az_error(az));
    return v;
}

Test(itertl, icarus_verilog)
{
    az_ctx *az = az_open(NULL);
    itertl_verdict v = check(az, az_format_text(az, half_adder, "a & b", "endmodule\n"), bench);
    cr_assert(v.compiles && v.passed == 4 && v.total == 4, "%d of %d: %s", v.passed, v.total, v.error);
    v = check(az, az_format_text(az, half_adder, "a | b", "endmodule\n"), bench);
    cr_assert(v.compiles && v.passed == 2 && v.total == 4, "%d of %d: %s", v.passed, v.total, v.error);
    v = check(az, az_format_text(az, half_adder, "a & b", ""), bench);
    cr_assert(!v.compiles && *v.error);
    v = check(az, az_format_text(az, half_adder, "a & b", "missing u(a);\nendmodule\n"), bench);
    cr_assert(!v.compiles && strstr(v.error, "missing"), "%s", v.error);
    v = check(az, az_format_text(az, half_adder, "a & b", "initial $system(\"ls\");\nendmodule\n"), bench);
    cr_assert(!v.compiles && strstr(v.error, "$system"), "%s", v.error);
    v = check(az, az_format_text(az, half_adder, "a & b", "endmodule\n"), "module tb; endmodule\n");
    cr_assert(v.compiles && v.total == 0); /* no verdict is no pass */
    az_close(az);
}

Test(itertl, replies_are_cut_to_their_program)
{
    az_ctx *az = az_open(NULL);
    const itertl_options o = options_of("");
    cr_assert_str_eq(itertl_clean(az, &o, "Sure:\n```verilog\nmodule a; endmodule\n```\nDone."), "module a; endmodule");
    cr_assert_str_eq(itertl_clean(az, &o, "module a; endmodule\nmodule tb_module; endmodule"), "module a; endmodule");
    az_close(az);
}

Test(itertl, a_command_of_the_users)
{
    az_ctx *az = az_open(NULL);
    const char *script = test_path(az, test_folder(az), "check.py");
    FILE *out = fopen(script, "w");
    fputs("import json\nc = open('candidate').read()\nprint(json.dumps({'compiles': 'x' in c, 'passed': int(c == open('test').read()), "
          "'total': 1}))\n",
          out);
    fclose(out);
    itertl_options o = options_of("checker=command");
    o.command = "python3 -I check.py", o.script = script;
    if (!itertl_check_ready(az, &o) || !az_sandbox_has(az, "python3", "python3")) cr_skip("%s", az_error(az));
    itertl_verdict v;
    cr_assert(itertl_check(az, &o, &(itertl_task){"", "x = 1"}, "x = 1", &v), "%s", az_error(az));
    cr_assert(v.compiles && v.passed == 1);
    cr_assert(itertl_check(az, &o, &(itertl_task){"", "x = 1"}, "y", &v) && !v.compiles);
    o.command = "echo nonsense";
    cr_assert_not(itertl_check(az, &o, &(itertl_task){"", ""}, "y", &v));
    cr_assert_not_null(strstr(az_error(az), "the checker printed no"), "%s", az_error(az));
    az_close(az);
}

/* ---- rounds ---- */

static az_examples references(az_ctx *az)
{
    static const char *const texts[][2] = {{"1+2=", "1 2 ADD END"}, {"3*4=", "3 4 MUL END"}, {"5-6=", "5 6 SUB END"}, {"7+8=", "7 8 ADD"}};
    az_examples all = {.count = 4, .item = az_alloc_array(az, 4, sizeof *all.item), .path = "references"};
    for (int i = 0; i < 4; i++) {
        az_turn *turn = az_alloc_array(az, 2, sizeof *turn);
        turn[0] = (az_turn){"prompt", texts[i][0], strlen(texts[i][0])};
        turn[1] = (az_turn){"response", texts[i][1], strlen(texts[i][1])};
        all.item[i] = (az_example){.turns = 2, .turn = turn, .line = "{}"};
    }
    return all;
}

Test(itertl, rounds_sample_rank_and_train)
{
    az_ctx *az = az_open(NULL);
    itertl_options o = options_of("checker=stack,rounds=2,samples=3,max_new=12");
    o.folder = test_folder(az);
    az_tune_settings s = {0};
    cr_assert(az_options_parse(az, az_tune_options, "tune", "batch=2,lr=1e-2", &s));
    const az_examples train = references(az);
    az_tune_job job = {.lm = test_llama(az, false), .train = &train, .settings = &s, .model = "tiny", .report = az_report_new(az, NULL)};
    cr_assert(az_itertl.tune(az, &o, &job), "%s", az_error(az));
    cr_assert_not_null(job.adapter);
    cr_assert_eq(az_report_value(job.report, "rounds", "round"), 2);
    cr_assert_eq(az_report_value(job.report, "rounds", "groups"), 3); /* the fourth reference does not compile */
    cr_assert_eq(az_report_value(job.report, "rounds", "programs"), 9);
    cr_assert_gt(az_report_value(job.report, "rounds", "loss_of_first"), 0);
    cr_assert_gt(az_report_value(job.report, "rounds", "loss_of_own"), 0);
    const char *first = az_read_file(az, test_path(az, o.folder, "candidates-1.jsonl"), NULL);
    cr_assert_not_null(strstr(first, "\"id\":\"0/0\""), "%s", first);
    az_close(az);
}

Test(itertl, a_run_that_was_stopped_goes_on_from_its_programs)
{
    az_ctx *az = az_open(NULL);
    itertl_options o = options_of("checker=stack,rounds=2,samples=2,max_new=12");
    az_tune_settings s = {0};
    cr_assert(az_options_parse(az, az_tune_options, "tune", "batch=2,lr=1e-2,steps=3", &s));
    s.training.resume = test_folder(az); /* in the place of a folder of its own */
    const az_examples train = references(az);
    az_tensor *first = NULL;
    for (int again = 0; again < 2; again++) {
        az_tune_job job = {
            .lm = test_llama(az, false), .train = &train, .settings = &s, .model = "tiny", .report = az_report_new(az, NULL)};
        cr_assert(az_itertl.tune(az, &o, &job), "%s", az_error(az));
        cr_assert_eq(az_report_value(job.report, "training", "steps"), 3);
        if (!again) first = az_copy(az, job.adapter->layer[0].b);
        if (again) cr_assert_eq(memcmp(first->data, job.adapter->layer[0].b->data, (size_t)az_count(first) * sizeof(float)), 0);
        unlink(test_path(az, s.training.resume, "candidates-2.jsonl")); /* as if it had ended in the second round */
    }
    s.training.seed = 1;
    az_tune_job job = {.lm = test_llama(az, false), .train = &train, .settings = &s, .model = "tiny", .report = az_report_new(az, NULL)};
    cr_assert_not(az_itertl.tune(az, &o, &job));
    cr_assert_not_null(strstr(az_error(az), "results of another run"), "%s", az_error(az));
    az_close(az);
}

Test(itertl, the_best_round_is_kept_and_falls_end_the_run)
{
    az_ctx *az = az_open(NULL);
    const itertl_options o = options_of("checker=stack,rounds=9,samples=1,max_new=12,falls=2");
    az_tune_settings s = {0};
    cr_assert(az_options_parse(az, az_tune_options, "tune", "batch=4,lr=0.05,steps=4", &s));
    const az_examples train = references(az);
    az_tune_job job = {
        .lm = test_llama(az, false), .train = &train, .valid = &train, .settings = &s, .model = "tiny", .report = az_report_new(az, NULL)};
    cr_assert(az_itertl.tune(az, &o, &job), "%s", az_error(az));
    int64_t rounds = 0;
    const double *score = az_report_curve_of(job.report, "score of greedy programs", &rounds);
    cr_assert(score && rounds >= 1 && rounds <= 9);
    int best = 0;
    for (int r = 1; r < rounds; r++) {
        if (score[r] > score[best]) best = r;
        if (r >= 2 && r < rounds - 1) cr_assert_not(score[r] < score[r - 1] && score[r - 1] < score[r - 2], "round %d did not end it", r);
    }
    cr_assert_eq(az_report_value(job.report, "result", "best_round"), best + 1);

    itertl_options fewer = o; /* as many rounds as the best one, and its adapter */
    fewer.rounds = best + 1;
    az_tune_job to_best = job;
    to_best.valid = NULL;
    to_best.report = az_report_new(az, NULL);
    cr_assert(az_itertl.tune(az, &fewer, &to_best), "%s", az_error(az));
    const az_tensor *kept = job.adapter->layer[0].b, *made = to_best.adapter->layer[0].b;
    cr_assert_eq(memcmp(kept->data, made->data, (size_t)az_count(made) * sizeof(float)), 0);
    az_close(az);
}

/* A model that is right in every second sample. */
static bool half_right(az_ctx *az, const az_call_text *call, az_answer *answer, void *user)
{
    (void)az, (void)user;
    answer->text = call->sample % 2 == 0 ? "1 2 ADD END" : "1 2 END";
    return true;
}

Test(itertl, pass_at_k_of_a_known_model)
{
    az_ctx *az = az_open(NULL);
    const char *folder = test_folder(az), *input = test_path(az, folder, "tasks.jsonl");
    FILE *out = fopen(input, "w");
    fputs("{\"task_id\": \"a\", \"prompt\": \"1+2=\"}\n{\"task_id\": \"b\", \"prompt\": \"2+2=\"}\n", out);
    fclose(out);
    const itertl_options o = options_of("checker=stack,samples=4,max_new=8");
    az_prepare_job job = {.input = input, .folder = folder, .report = az_report_new(az, NULL)};
    job.backend = az_backend_of_function(az, half_right, NULL, NULL, NULL);
    cr_assert(az_itertl.prepare(az, &o, &job), "%s", az_error(az));
    cr_assert_float_eq(az_report_value(job.report, "programs", "compile"), 0.5, 1e-12);
    cr_assert_float_eq(az_report_value(job.report, "pass", "pass_at_k"), 0.5 * itertl_pass_at(4, 2, 2), 1e-12); /* the last row: k = 2 */
    az_close(az);
}

Test(itertl, references_that_cannot_be_used_are_told)
{
    az_ctx *az = az_open(NULL);
    const itertl_options o = options_of("checker=stack");
    az_tune_settings s = {0};
    az_options_parse(az, az_tune_options, "tune", "", &s);
    az_examples train = references(az);
    train.item += 3, train.count = 1;
    az_tune_job job = {.lm = test_llama(az, false), .train = &train, .settings = &s, .report = az_report_new(az, NULL)};
    cr_assert_not(az_itertl.tune(az, &o, &job));
    cr_assert_not_null(strstr(az_error(az), "no reference compiles"), "%s", az_error(az));
    az_close(az);
}

Test(itertl, beside_quantized_weights)
{
    az_ctx *az = az_open(NULL);
    const itertl_options o = options_of("checker=stack,rounds=1,samples=2,max_new=8");
    az_tune_settings s = {0};
    az_options_parse(az, az_tune_options, "tune", "batch=2,lr=1e-2", &s);
    const az_examples train = references(az);
    az_lm *lm = small_lm(az);
    cr_assert(small_compress(az, lm, "quantize", "type=q4_0", NULL, NULL), "%s", az_error(az));
    az_tune_job job = {.lm = lm, .train = &train, .settings = &s, .model = "small", .report = az_report_new(az, NULL)};
    cr_assert(az_itertl.tune(az, &o, &job), "%s", az_error(az));
    cr_assert_str_eq(lm->block[0].q.weight->format->name, "q4_0"); /* the base stays as it is */
    az_close(az);
}
