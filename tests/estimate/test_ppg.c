/* The method ppg as a user calls it: simulate, smooth, learn; errors that say what to do. */
#include "claims/ssm_data.h"
#include "support/command.h"
#include "support/folder.h"

#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

static az_ctx *az;
static const char *folder;

static void open_context(void)
{
    az = az_open(&(az_settings){.threads = 1});
    folder = test_folder(az);
    const double *y = ssm_data_series(az, SSM_DATA_TIMES);
    FILE *whole = fopen(test_path(az, folder, "y.csv"), "w"), *holes = fopen(test_path(az, folder, "holes.csv"), "w");
    fputs("y\n", whole);
    fputs("y\n", holes);
    for (int t = 0; t < SSM_DATA_TIMES; t++) {
        fprintf(whole, "%.17g\n", y[t]);
        fprintf(holes, t == 7 ? "NA\n" : "%.17g\n", y[t]);
    }
    fclose(whole);
    fclose(holes);
}

static void close_context(void)
{
    az_close(az);
}

TestSuite(ppg, .init = open_context, .fini = close_context);

static const char *run(const char *line)
{
    const test_run result = test_shell(az, folder, line);
    cr_assert_eq(result.code, 0, "%s: %s", line, result.err);
    return result.out;
}

Test(ppg, exact_smoothing_of_a_file)
{
    const char *out = run("adze estimate 'ppg:method=kalman,params=\"a=.95,q=.6,r=1\"' -d y.csv -o states.csv --json");
    cr_assert_float_eq(test_json_number(test_section(az, out, "smoothing"), "log_likelihood"), -93.76875199854, 1e-9);
    cr_assert_float_eq(test_json_number(test_section(az, out, "sums"), "value"), 116.26471612126, 1e-8);
    cr_assert_float_eq(test_json_number(test_section(az, out, "states"), "x"), -.26659490207, 1e-9);
    cr_assert_eq(test_lines(run("cat states.csv")), SSM_DATA_TIMES + 1);
    out = run("adze estimate 'ppg:method=kalman,functional=score,params=\"a=.95 q=.6 r=1\"' -d y.csv --json");
    cr_assert_float_eq(test_json_number(test_section(az, out, "score"), "value"), 36.150626172, 1e-7);
    out = run("adze estimate 'ppg:method=kalman,missing,params=\"a=.95,q=.6,r=1\"' -d holes.csv --json");
    cr_assert_gt(test_json_number(test_section(az, out, "smoothing"), "log_likelihood"), -93.7);
}

Test(ppg, particles_beside_the_exact_sums)
{
    const char *out =
        run("adze estimate 'ppg:params=\"a=.95,q=.6,r=1\",chains=16,beside=all' -d y.csv --json --plot x.svg && test -s x.svg");
    const json_t *sums = test_section(az, out, "sums");
    cr_assert_float_eq(test_json_number(sums, "exact"), 116.26471612126, 1e-8);
    cr_assert_float_eq(test_json_number(sums, "value"), 116.26, 5 * test_json_number(sums, "se"));
    cr_assert(strstr(out, "\"ffbs\"") && strstr(out, "\"kalman\"") && strstr(out, "\"pg\""));
    run("adze estimate 'ppg:method=paris,online,resampling=systematic,params=\"a=.95,q=.6,r=1\"' -d y.csv -o sums.npy && test -s sums.npy");
}

Test(ppg, every_model_is_simulated_smoothed_and_learnt)
{
    static const char *const models[] = {"model=sv,params=\"phi=.95,sigma=.3,beta=.6\"", "model=recurrent,states=2,params=\"q=.1,r=.5\"",
                                         "states=2,params=\"a=.8,q=.5,r=1\""};
    for (int i = 0; i < 3; i++) {
        run(az_format_text(az, "adze estimate 'ppg:task=simulate,n=40,%s' --seed 4 -o s/", models[i]));
        const char *out =
            run(az_format_text(az, "adze estimate 'ppg:particles=50,sweeps=4,%s' --seed 4 -d s/y.csv -o x.csv --json", models[i]));
        cr_assert(isfinite(test_json_number(test_section(az, out, "smoothing"), "log_likelihood")));
        out = run(az_format_text(az, "adze estimate 'ppg:task=learn,steps=5,particles=20,sweeps=2,%s' --seed 4 -d s/y.csv -o p.json --json",
                                 models[i]));
        cr_assert(test_section(az, out, "parameters") && isfinite(test_json_number(test_section(az, out, "learning"), "log_likelihood")));
        out = run(az_format_text(az, "adze estimate 'ppg:task=learn,objective=msc,steps=5,particles=20,sweeps=2,%s' -d s/y.csv --json",
                                 models[i]));
        cr_assert(test_section(az, out, "states"));
    }
}

Test(ppg, parameters_are_learnt_exactly)
{
    const char *out = run("adze estimate 'ppg:task=learn,method=kalman,params=\"a=.95,q=.6,r=1\",free=a+q+r,steps=1500,lr=5e-3' -d y.csv "
                          "-o p.csv --json --plot p.svg");
    cr_assert_float_eq(test_json_number(test_section(az, out, "learning"), "log_likelihood"), -92.7035441191, 1e-4);
    cr_assert_float_eq(test_json_number(test_section(az, out, "parameters"), "value"), .9782, 1e-3);
    out =
        run("adze estimate 'ppg:task=learn,method=kalman,stable,params=\"a=.9,q=.6,r=1\",free=a,steps=50,optimizer=gain' -d y.csv --json");
    cr_assert_lt(test_json_number(test_section(az, out, "parameters"), "value"), 1);
}

Test(ppg, matrices_come_from_files)
{
    run("printf '0.9,0.1\\n0,0.7\\n' > a.csv; printf '1,1\\n' > c.csv; printf '0.5,0.1\\n0.1,0.4\\n' > q.csv");
    run("adze estimate 'ppg:task=simulate,n=30,params=\"r=.5\"' -d a=a.csv -d c=c.csv -d q=q.csv -o m/");
    const char *out = run("adze estimate 'ppg:method=kalman,params=\"r=.5\"' -d m/y.csv -d a=a.csv -d c=c.csv -d q=q.csv --json");
    cr_assert(isfinite(test_json_number(test_section(az, out, "states"), "x2")));
    const test_run bad = test_shell(az, folder, "adze estimate 'ppg:params=\"r=.5\"' -d m/y.csv -d a=a.csv -d c=a.csv -d q=c.csv");
    cr_assert_eq(bad.code, 2);
}

Test(ppg, what_cannot_be_done_is_refused)
{
    static const struct {
        const char *options, *file, *says;
    } cases[] = {
        {"params=\"a=.95,q=.6,r=1\"", "holes.csv", "observation 7 is missing"},
        {"params=\"a=1.2,q=.6,r=1\"", "y.csv", "no stationary law"},
        {"params=\"a=.9,q=-1,r=1\"", "y.csv", "a variance is positive"},
        {"params=\"a=.9,q=1\"", "y.csv", "r is missing"},
        {"params=\"a=.9,q=1,r=x\"", "y.csv", "a number is wanted"},
        {"params=\"a=.9,q=1,r=1,s=1\"", "y.csv", "has no 's'"},
        {"params=\"a=.9,a=1\"", "y.csv", "given twice"},
        {"params=\"a=.9,q=1,r=1\",particles=1", "y.csv", "needs at least 2"},
        {"params=\"a=.9,q=1,r=1\",burn=8", "y.csv", "burn=8 of 8 sweeps"},
        {"params=\"a=.9,q=1,r=1\",draws=0", "y.csv", "draws"},
        {"params=\"a=.9,q=1,r=1\",resampling=systematic", "y.csv", "systematic resampling is for method paris"},
        {"params=\"a=.9,q=1,r=1\",online", "y.csv", "online is for method paris"},
        {"params=\"a=.9,q=1,r=1\",observed=2", "y.csv", "observes 2 numbers"},
        {"params=\"a=.9,q=1,r=1\",task=simulate", "y.csv", "reads none"},
        {"params=\"a=.9,q=1,r=1\",task=learn,free=b", "y.csv", "no parameter 'b'"},
        {"model=sv,params=\"phi=1,sigma=1,beta=1\"", "y.csv", "between -1 and 1"},
        {"model=sv,method=kalman,params=\"phi=.9,sigma=1,beta=1\"", "y.csv", "linear Gaussian"},
        {"model=sv,stable,params=\"phi=.9,sigma=1,beta=1\"", "y.csv", "stable is for lgssm"},
        {"params=\"a=.9,q=1,r=1e-320\"", "y.csv", "all particles have weight zero at t = 0"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const char *line = az_format_text(az, "adze estimate 'ppg:%s' -d %s -o no.csv", cases[i].options, cases[i].file);
        const test_run result = test_shell(az, folder, line);
        cr_expect_eq(result.code, 2, "%s gives %d", line, result.code);
        cr_expect(strstr(result.err, cases[i].says), "%s: %s", line, result.err);
    }
    cr_expect_neq(test_shell(az, folder, "test -e no.csv").code, 0);
    cr_expect(strstr(test_shell(az, folder, "adze estimate 'ppg:params=\"a=.9,q=1,r=1\"'").err, "observations are missing"));
}
