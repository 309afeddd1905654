/* adze estimate: slots, options, results in files, reports, and mistakes. */
#include "adze/data.h"
#include "support/command.h"
#include "support/folder.h"

#include <criterion/criterion.h>
#include <string.h>

/* A table with a label in every third row, and a machine's label everywhere. */
static const char make_table[] =
    "awk 'BEGIN { srand(1); print \"y,q,x,g\"; for (i = 0; i < 240; i++) { x = rand(); y = rand() < x; q = rand() < .8 ? y : 1 - y; "
    "print (i % 3 ? \"NA\" : y) \",\" q \",\" x \",\" (i % 4 < 2 ? \"a\" : \"b\") } }' > t.csv";

/* Two sketched rows and one coefficient leave one degree of freedom: 12.706 standard errors; as many rows as coefficients leave none. */
Test(estimate, intervals_of_few_sketched_rows_are_students)
{
    az_ctx *az = az_open(NULL);
    const char *folder = test_folder(az);
    test_shell(az, folder, "awk 'BEGIN { print \"x,y\"; for (i = 1; i <= 40; i++) print sin(i) \",\" cos(3 * i) }' > s.csv");
    test_run run = test_shell(az, folder, "adze estimate linf-regression:target=y,rows=2,sketch=gauss -d s.csv --json -q");
    cr_assert_eq(run.code, 0, "%s", run.err);
    json_t *row = test_section(az, run.out, "coefficients");
    const double half = test_json_number(row, "high") - test_json_number(row, "value");
    cr_assert_float_eq(half / test_json_number(row, "se"), 12.7062, 1e-4);
    run = test_shell(az, folder, "adze estimate linf-regression:target=y,rows=1,sketch=gauss -d s.csv --json -q");
    cr_assert_eq(run.code, 0, "%s", run.err);
    cr_assert(json_is_null(json_object_get(test_section(az, run.out, "fit"), "likely_error")), "%s", run.out);
    az_close(az);
}

/* Pairs to predict come back one by one, as they were asked for. */
Test(estimate, pairs_are_answered_in_their_order)
{
    az_ctx *az = az_open(NULL);
    const char *folder = test_folder(az);
    test_shell(az, folder,
               "(echo r,c,v; for r in ann bob cid; do for c in x y z; do echo $r,$c,1; done; done) > e.csv;"
               "printf 'r,c\\nzed,x\\nbob,z\\nann,z\\nbob,z\\n' > p.csv");
    const char *line = "adze estimate matrix-completion:rank=1 -d e.csv -d pairs=p.csv -o out/ -q && cut -d, -f1,2 out/predictions.csv";
    const test_run run = test_shell(az, folder, line);
    cr_assert_eq(run.code, 0, "%s", run.err);
    cr_assert_not_null(strstr(run.out, "row,column\nzed,x\nbob,z\nann,z\nbob,z\n"), "%s", run.out);
    const test_run from_one = test_shell(
        az, folder,
        "(echo r,c,v; for r in 1 2 3; do for c in 1 2 3; do echo $r,$c,1; done; done) > n.csv; printf 'r,c\n3,1\n1,2\n' > q.csv;"
        "adze estimate matrix-completion:rank=1,index=one -d n.csv -d pairs=q.csv -o from1/ -q && cut -d, -f1,2 from1/predictions.csv");
    cr_assert_not_null(strstr(from_one.out, "row,column\n3,1\n1,2\n"), "%s%s", from_one.out, from_one.err);
    az_close(az);
}

/* In units of 1e4 the path stops before its cycles are gone; as drawn it does not. */
Test(estimate, a_path_that_ends_with_cycles_is_told)
{
    az_ctx *az = az_open(NULL);
    const char *folder = test_folder(az);
    test_shell(
        az, folder,
        "adze estimate dag-samples:nodes=6,edges=8,samples=500 -o sem/ --seed 1 -q; awk -F, 'NR == 1 { print; next } { for (i = 1; i <= "
        "NF; i++) printf \"%s%s\", $i * 1e4, i < NF ? \",\" : \"\\n\" }' sem/samples.csv > large.csv");
    const test_run drawn = test_shell(az, folder, "adze estimate colide -d sem/samples.csv");
    const test_run large = test_shell(az, folder, "adze estimate colide -d large.csv");
    cr_assert_eq(drawn.code + large.code, 0, "%s%s", drawn.err, large.err);
    cr_assert_null(strstr(drawn.err, "without cycles"), "%s", drawn.err);
    cr_assert_not_null(strstr(large.err, "did not end in a graph without cycles"), "%s", large.err);
    az_close(az);
}

Test(estimate, a_report_and_a_result)
{
    az_ctx *az = az_open(NULL);
    const char *folder = test_folder(az);
    test_shell(az, folder, make_table);
    test_run run =
        test_shell(az, folder, "adze estimate 'dsl:formula=y ~ x + g,gold=y,surrogate=q' -d t.csv -o fit.csv --json --plot p.svg");
    cr_assert_eq(run.code, 0, "%s", run.err);
    cr_assert_eq(test_json_number(test_section(az, run.out, "data"), "labelled"), 80);
    json_t *row = test_section(az, run.out, "coefficients");
    cr_assert_str_eq(json_string_value(json_object_get(row, "name")), "(Intercept)");
    cr_assert_gt(test_json_number(row, "se"), 0);
    char *csv = az_read_file(az, test_path(az, folder, "fit.csv"), NULL);
    cr_assert_not_null(strstr(csv, "name,estimate,se,p,surrogate_only"));
    cr_assert_not_null(strstr(csv, "\ng[b],"));
    cr_assert_not_null(strstr(az_read_file(az, test_path(az, folder, "p.svg"), NULL), "<svg"));
    run = test_shell(
        az, folder,
        "adze estimate 'dsl:formula=y ~ x + g,gold=y,surrogate=q' -d data=t.csv -o - 2>report >result; head -c 1 result; cat report");
    cr_assert_eq(run.out[0], '{');
    cr_assert_not_null(strstr(run.out, "coefficients"));
    az_close(az);
}

Test(estimate, the_same_command_gives_the_same_bits)
{
    az_ctx *az = az_open(NULL);
    const char *folder = test_folder(az);
    test_shell(az, folder, make_table);
    test_run run = test_shell(az, folder,
                              "for t in 1 2; do adze estimate 'dsl:formula=y ~ x,gold=y,surrogate=q,label_model=forest,splits=2' -d t.csv "
                              "--threads $t --seed 5 -o $t.npz; done; cmp 1.npz 2.npz");
    cr_assert_eq(run.code, 0, "%s", run.err);
    az_close(az);
}

Test(estimate, an_earlier_fit_tells_of_more_labels)
{
    az_ctx *az = az_open(NULL);
    const char *folder = test_folder(az);
    test_shell(az, folder, make_table);
    test_run run =
        test_shell(az, folder,
                   "adze estimate 'dsl:formula=y ~ x,gold=y,surrogate=q,power=\"80,160\"' -d t.csv -o f.npz --json | grep power > a; "
                   "adze estimate 'dsl:power=\"80,160\"' -d fit=f.npz --json | grep power > b; cat b; "
                   "for f in a b; do sed 's/.*\"se\"://' $f > $f.se; done; cmp a.se b.se");
    cr_assert_eq(run.code, 0, "%s%s", run.out, run.err);
    cr_assert_eq(test_lines(run.out), 4);
    run =
        test_shell(az, folder,
                   "mkdir d; for o in f.json f.safetensors d/; do "
                   "adze estimate 'dsl:formula=y ~ x,gold=y,surrogate=q' -d t.csv -o $o >t && "
                   "adze estimate 'dsl:power=\"80,160\"' -d fit=$o --json | grep power | sed 's/.*\"se\"://' | cmp - a.se || exit 1; done; "
                   "adze estimate 'dsl:power=\"80\"' -d fit=f.json; adze estimate 'dsl:power=\"80\"' -d fit=t.csv");
    cr_assert_eq(run.code, 2);
    cr_assert_not_null(strstr(run.out, "(Intercept)"), "%s%s", run.out, run.err);
    cr_assert_not_null(strstr(run.err, "'t.csv': a result with several arrays is"), "%s", run.err);
    az_close(az);
}

/* Errors of the label model fold by fold; a category of one level is told of. */
Test(estimate, folds_and_vanished_terms_are_told)
{
    az_ctx *az = az_open(NULL);
    const char *folder = test_folder(az);
    test_shell(az, folder, make_table);
    const test_run run = test_shell(az, folder,
                                    "sed '1s/$/,one/;2,$s/$/,u/' t.csv > u.csv; adze estimate 'dsl:formula=y ~ x + C(one),gold=y,"
                                    "surrogate=q,folds=4,splits=3' -d u.csv -o f.json --json");
    cr_assert_eq(run.code, 0, "%s", run.err);
    int folds = 0;
    double sum = 0;
    for (int i = 0; i < test_lines(run.out); i++) {
        const json_t *row = test_json(az, run.out, i);
        const char *section = json_string_value(json_object_get(row, "section"));
        if (!section || strcmp(section, "folds") != 0) continue;
        folds++;
        sum += test_json_number(row, "rmse");
        cr_assert_leq(test_json_number(row, "rmse_least"), test_json_number(row, "rmse_most"));
    }
    cr_assert_eq(folds, 4);
    cr_assert_float_eq(sum / 4, test_json_number(test_section(az, run.out, "labels"), "rmse"), 1e-12);
    cr_assert_not_null(strstr(run.err, "C(one) has the level 'u' alone"), "%s", run.err);
    cr_assert_null(strstr(strstr(run.err, "C(one)") + 1, "C(one) has"), "told once: %s", run.err);
    const az_array *all = az_results_read(az, test_path(az, folder, "f.json"), "fold_rmse");
    cr_assert(all && all->value->rank == 3 && all->value->shape[1] == 3 && all->value->shape[2] == 4, "%s", az_error(az));
    az_close(az);
}

Test(estimate, mistakes_end_in_2_with_what_to_do)
{
    static const struct {
        const char *line, *says;
    } cases[] = {
        {"adze estimate dsl:formula=y~x", "either a table is needed (-d FILE) or an earlier fit"},
        {"adze estimate dsl -d t.csv", "formula and gold must be given"},
        {"adze estimate dsl:formula=y~x,gold=y,surrogate=q -d t.csv -d t.csv -d t.csv -d t.csv", "has no use for 1 of the 4 files"},
        {"adze estimate dsl:formula=y~x,gold=y,surrogate=q -d data=t.csv -d data=t.csv", "at most 1 for data"},
        {"adze estimate dsl:formula=y~x,gold=y,surrogate=q -d absent.csv", "cannot read 'absent.csv'"},
        {"adze estimate dsl:formula=y~x,gold=y,surrogate=q -d t.csv -o fit", "the ending tells how a result is written"},
        {"adze estimate dsl:formula=y~x,gold=y,surrogate=q -d t.csv -o fit.xyz", "the ending tells how a result is written"},
        {"adze estimate dsl:formula=y~x,gold=y,surrogate=q -d t.csv -o absent/fit.csv", "there is no folder 'absent'"},
        {"adze estimate dsl:formula=y~x,gold=y,surrogate=q -d t.csv --separator=dot", "not one of auto, comma, tab"},
        {"adze estimate dsl:formula=y~w,gold=y,surrogate=q -d t.csv", "dsl: there is no column 'w'"},
        {"adze estimate dsl:formula=y~x,gold=y,surrogat=q -d t.csv", "did you mean 'surrogate'?"},
        {"printf 'a,b\\n1\\n' > bad.csv; adze estimate dsl:formula=y~x,gold=y,surrogate=q -d bad.csv",
         "reading 'bad.csv': line 2 has 1 fields"},
        {"adze estimate", "something is missing; usage: adze estimate METHOD"},
    };
    az_ctx *az = az_open(NULL);
    const char *folder = test_folder(az);
    test_shell(az, folder, make_table);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        test_run run = test_shell(az, folder, cases[i].line);
        cr_assert_eq(run.code, 2, "'%s' ended in %d: %s", cases[i].line, run.code, run.err);
        cr_assert_not_null(strstr(run.err, cases[i].says), "'%s' said: %s", cases[i].line, run.err);
    }
    cr_assert_eq(test_shell(az, folder, "ls | grep fit").code, 1, "nothing is half-written");
    az_close(az);
}
