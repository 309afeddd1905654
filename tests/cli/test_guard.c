/* adze estimate adaptive-analysis: a guard's life on the command line. */
#include "support/command.h"
#include "support/folder.h"

#include <criterion/criterion.h>
#include <math.h>
#include <string.h>

static const char make_files[] =
    "awk 'BEGIN { srand(3); print \"x,y\" > \"train.csv\"; print \"x,y\" > \"hold.csv\"; for (i = 0; i < 400; i++) { print rand() \",\" i "
    "> \"train.csv\"; "
    "print rand() \",\" i > \"hold.csv\"; print (rand() < .5) > \"v.csv\"; print (rand() < .9) > \"t.csv\" } }'";

Test(guard, from_init_to_exhaustion)
{
    az_ctx *az = az_open(NULL);
    const char *folder = test_folder(az);
    test_shell(az, folder, make_files);
    test_run run = test_shell(
        az, folder, "adze estimate adaptive-analysis:action=init,state=g,queries=5,budget=2,test_seed=1 -d hold.csv -d train.csv --json");
    cr_assert_eq(run.code, 0, "%s", run.err);
    cr_assert_eq(test_json_number(test_section(az, run.out, "guard"), "rows"), 400);
    for (int k = 0; k < 2; k++) {
        run = test_shell(az, folder, "adze estimate adaptive-analysis:action=ask,state=g -d v.csv -d t.csv --json");
        cr_assert_eq(run.code, 0, "%s", run.err);
        cr_assert(json_is_true(json_object_get(test_section(az, run.out, "answer"), "paid")));
    }
    run = test_shell(az, folder,
                     "cp g before; adze estimate adaptive-analysis:action=ask,state=g -d v.csv -d t.csv; c=$?; cmp g before && exit $c");
    cr_assert_eq(run.code, 2, "the ledger is unchanged");
    cr_assert_not_null(strstr(run.err, "exhausted: 2 of 5 questions"), "%s", run.err);
    run = test_shell(az, folder, "adze estimate adaptive-analysis:action=ledger,state=g --json");
    cr_assert(json_is_true(json_object_get(test_section(az, run.out, "guard"), "exhausted")));
    az_close(az);
}

/* eps0 = 1 / (n b) = 1/40 an answer; both compositions by hand: of few answers the basic one is lower, of many the advanced one. */
Test(guard, privacy_by_basic_and_advanced_composition)
{
    az_ctx *az = az_open(NULL);
    const char *folder = test_folder(az);
    test_shell(az, folder, make_files);
    test_run run = test_shell(az, folder, "adze estimate adaptive-analysis:queries=10000,rows=400,scale=0.1,delta=1e-5 --json");
    cr_assert_eq(run.code, 0, "%s", run.err);
    const json_t *all = test_section(az, run.out, "privacy");
    cr_assert_float_eq(test_json_number(all, "eps_basic"), 10000 / 40.0, 1e-12);
    cr_assert_float_eq(test_json_number(all, "eps_advanced"), sqrt(20000 * log(1e5)) / 40 + 250 * expm1(1 / 40.0), 1e-10);
    cr_assert_str_eq(json_string_value(json_object_get(all, "lower")), "advanced");
    run = test_shell(
        az, folder,
        "adze estimate adaptive-analysis:action=init,state=p,queries=9,mechanism=laplace,scale=0.1,test_seed=1 -d hold.csv >t && "
        "adze estimate adaptive-analysis:action=ask,state=p -d v.csv >t && "
        "adze estimate adaptive-analysis:action=ledger,state=p --json");
    cr_assert_eq(run.code, 0, "%s", run.err);
    const json_t *so_far = test_section(az, run.out, "privacy");
    cr_assert_eq(test_json_number(so_far, "answers"), 1);
    cr_assert_float_eq(test_json_number(so_far, "eps_basic"), 1 / 40.0, 1e-12);
    cr_assert_str_eq(json_string_value(json_object_get(so_far, "lower")), "basic");
    run = test_shell(az, folder, "adze estimate adaptive-analysis:queries=10,rows=400,noise=gaussian,scale=0.1,delta=1e-5 --json");
    const double rho = 10 / (2 * 1600.0);
    cr_assert_float_eq(test_json_number(test_section(az, run.out, "privacy"), "rho"), rho, 1e-15);
    cr_assert_float_eq(test_json_number(test_section(az, run.out, "privacy"), "eps_advanced"), rho + 2 * sqrt(rho * log(1e5)), 1e-12);
    az_close(az);
}

/* A guess and the tolerance are in the units of the values. */
Test(guard, bounds_are_units)
{
    az_ctx *az = az_open(NULL);
    const char *folder = test_folder(az);
    const char *ask = "adze estimate 'adaptive-analysis:action=ask,state=%s,guess=%s%s' -d %s --json";
    test_shell(az, folder,
               "(echo a,b; seq 1 400 | sed 's/$/,0/') > h.csv; for s in g u; do "
               "adze estimate adaptive-analysis:action=init,state=$s,queries=5,budget=2,mechanism=check,test_seed=1 -d h.csv; done;"
               "seq 1 400 | sed 's/.*/60/' | (echo v; cat) > wide.csv; seq 1 400 | sed 's/.*/.6/' | (echo v; cat) > unit.csv");
    const test_run wide = test_shell(az, folder, az_format_text(az, ask, "g", "60", ",clip=\"0,100\"", "wide.csv"));
    const test_run unit = test_shell(az, folder, az_format_text(az, ask, "u", ".6", "", "unit.csv"));
    cr_assert_eq(wide.code + unit.code, 0, "%s%s", wide.err, unit.err);
    cr_assert_float_eq(test_json_number(test_section(az, wide.out, "answer"), "answer"), 60, 1e-9);
    cr_assert_float_eq(test_json_number(test_section(az, wide.out, "guard"), "tolerance"),
                       100 * test_json_number(test_section(az, unit.out, "guard"), "tolerance"), 1e-9);
    az_close(az);
}

Test(guard, askers_at_once_get_answers_of_their_own)
{
    az_ctx *az = az_open(NULL);
    const char *folder = test_folder(az);
    test_shell(az, folder, make_files);
    test_run run =
        test_shell(az, folder,
                   "adze estimate adaptive-analysis:action=init,state=g,mechanism=laplace,queries=50 -d hold.csv -q > /dev/null; "
                   "for i in 1 2 3 4 5 6; do adze estimate adaptive-analysis:action=ask,state=g -d v.csv -q > /dev/null & done; wait; "
                   "grep -c query\\\" g; grep -o '\"query\":[0-9]*' g | sort -u | wc -l");
    cr_assert_str_eq(run.out, "6\n6\n", "%s%s", run.out, run.err);
    az_close(az);
}

Test(guard, mistakes_end_in_2_and_are_not_charged)
{
    static const struct {
        const char *line, *says;
    } cases[] = {
        {"adze estimate adaptive-analysis:action=ask,state=none -d v.csv", "cannot open 'none'"},
        {"adze estimate adaptive-analysis:action=ask -d v.csv", "state=FILE names the guard"},
        {"adze estimate adaptive-analysis:action=init,state=h,queries=5 -d hold.csv -d hold.csv",
         "400 training rows are in the holdout too"},
        {"adze estimate adaptive-analysis:action=init,state=h -d hold.csv -d train.csv",
         "how many questions will be asked must be declared"},
        {"adze estimate adaptive-analysis:action=init,state=h,queries=5 -d hold.csv", "thresholdout needs a training set"},
        {"adze estimate adaptive-analysis:action=init,state=g,queries=5 -d hold.csv -d train.csv", "there is a guard 'g' already"},
        {"adze estimate adaptive-analysis:action=ask,state=g -d v.csv", "needs the question's values for the training rows"},
        {"adze estimate adaptive-analysis:action=ask,state=g -d short.csv -d t.csv",
         "'short.csv' holds 3 values, the guard's holdout has 400 rows"},
        {"adze estimate adaptive-analysis:action=ask,state=g -d big.csv -d t.csv", "value 1 is 1.5, outside of 0 to 1"},
        {"adze estimate adaptive-analysis:action=ask,state=g -d gap.csv -d t.csv", "row 2, column 1 is missing"},
        {"adze estimate adaptive-analysis:action=ask,state=g,guess=2 -d v.csv -d t.csv", "a number from 0 to 1 is expected"},
        {"adze estimate 'adaptive-analysis:action=ask,state=g,clip=\"2,1\"' -d v.csv -d t.csv", "two numbers, the lower first"},
        {"adze estimate adaptive-analysis", "plan needs rows=..."},
    };
    az_ctx *az = az_open(NULL);
    const char *folder = test_folder(az);
    test_shell(az, folder, make_files);
    test_shell(
        az, folder,
        "adze estimate adaptive-analysis:action=init,state=g,queries=5 -d hold.csv -d train.csv -q; printf '1\\n0\\n1\\n' > short.csv; "
        "sed '1s/.*/1.5/' v.csv > big.csv; sed '2s/.*/NA/' v.csv > gap.csv; cp g before");
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        test_run run = test_shell(az, folder, cases[i].line);
        cr_assert_eq(run.code, 2, "'%s' ended in %d", cases[i].line, run.code);
        cr_assert_not_null(strstr(run.err, cases[i].says), "'%s' said: %s", cases[i].line, run.err);
    }
    cr_assert_eq(test_shell(az, folder, "cmp g before && test ! -e h").code, 0);
    az_close(az);
}

Test(guard, evaluate_asks_for_a_models_score)
{
    az_ctx *az = az_open(NULL);
    const char *folder = test_folder(az);
    test_run run = test_shell(
        az, folder,
        "adze corpus tales --seed 5 --stories 40 -o hold.txt && adze corpus tales --seed 6 --stories 30 -o train.txt && "
        "adze estimate adaptive-analysis:action=init,state=g,mechanism=check,queries=2,budget=1,rows=40,train_rows=30 -q > /dev/null && "
        "adze evaluate tales -d hold.txt --guard g --guard-train train.txt --guard-clip 2 --json");
    cr_assert_eq(run.code, 0, "%s", run.err);
    const json_t *answer = test_section(az, run.out, "guarded");
    cr_assert_float_eq(test_json_number(answer, "document_nll"), 0.255, 0.02);
    cr_assert_eq(test_json_number(answer, "questions_left"), 1);
    cr_assert_null(strstr(run.out, "perplexity"), "nothing but the answer is told");
    run = test_shell(az, folder,
                     "cp g before; adze evaluate tales -d train.txt --guard g --guard-train train.txt; c=$?; cmp g before && exit $c");
    cr_assert_eq(run.code, 2);
    cr_assert_not_null(strstr(run.err, "there are 30 values, the guard's holdout has 40 rows"), "%s", run.err);
    az_close(az);
}
