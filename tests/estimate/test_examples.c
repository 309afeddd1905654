/* The example programs run and print what they promise. */
#include "adze/adze.h"
#include "support/command.h"
#include "support/folder.h"

#include <criterion/criterion.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

static az_ctx *az;
static const char *folder;

static void open_context(void)
{
    az = az_open(&(az_settings){.threads = 1});
    folder = test_folder(az);
}

static void close_context(void)
{
    az_close(az);
}

static const char *run(const char *line)
{
    const test_run run = test_shell(az, folder, az_format_text(az, "\"%s\"/examples/%s", ADZE_BINARY_DIR, line));
    cr_assert_eq(run.code, 0, "%s", run.err);
    return run.out;
}

/* The number behind a word. */
static double number_after(const char *text, const char *word)
{
    const char *at = strstr(text, word);
    cr_assert(at, "%s is not in: %s", word, text);
    return strtod(at + strlen(word), NULL);
}

Test(examples, estimators_agree_on_the_derivative, .init = open_context, .fini = close_context)
{
    const char *out = run("vi_estimators");
    const char *const rows[] = {"enum           reparam", "mvd            reparam",   "reinforce      reparam",
                                "reinforce-loo  reparam", "enum           reinforce", "enum           mvd"};
    for (int i = 0; i < 6; i++) cr_expect_float_eq(number_after(out, rows[i]), 2.88, 0.06, "%s: %s", rows[i], out);
}

Test(examples, bounds_on_a_ring, .init = open_context, .fini = close_context)
{
    const double evidence = -5.3232;
    const char *out = run("vi_cone 300");
    const double normals = number_after(out, "normals, ELBO"), more = number_after(out, "normals, 5 draws");
    const double hierarchical = number_after(out, "hierarchical"), inner = number_after(out, "ring, 5 inner draws");
    cr_expect(normals < more && more < evidence, "%s", out);
    cr_expect(hierarchical + .5 < inner && inner < evidence, "%s", out);
    cr_expect(inner < number_after(out, "5 outer draws") && number_after(out, "5 outer draws") < evidence, "%s", out);
}

Test(examples, a_mixture_is_found, .init = open_context, .fini = close_context)
{
    const char *out = run("vi_mixture");
    cr_expect_float_eq(number_after(out, "component"), .7, .06, "%s", out);
    cr_expect_float_eq(number_after(out, "means"), -2, .15, "%s", out);
}

Test(examples, regression_on_a_table, .init = open_context, .fini = close_context)
{
    FILE *table = fopen(az_format_text(az, "%s/t.csv", folder), "w");
    az_rng rng = az_rng_at(4, 0);
    fputs("x,y\n", table);
    for (int i = 0; i < 80; i++) {
        const double x = az_normal(&rng), y = 1 + 2 * x + 0.5 * az_normal(&rng);
        fprintf(table, "%g,%g\n", x, y);
    }
    fclose(table);
    const char *out = run("vi_regression t.csv 'y ~ x'");
    cr_expect_float_eq(number_after(out, "(Intercept)"), 1, .2, "%s", out);
    cr_expect_float_eq(number_after(out, "\nx "), 2, .2, "%s", out);
}

/* Images of one bar each, upright or level, brighter or darker. */
Test(examples, an_autoencoder_of_small_images, .init = open_context, .fini = close_context)
{
    FILE *images = fopen(az_format_text(az, "%s/bars.csv", folder), "w");
    az_rng rng = az_rng_at(5, 0);
    for (int i = 0; i < 400; i++) {
        const int at = (int)az_below(&rng, 8), upright = (int)az_below(&rng, 2), shade = 8 + (int)az_below(&rng, 9);
        for (int k = 0; k < 64; k++) fprintf(images, "%d,", (upright ? k % 8 : k / 8) == at ? shade : 0);
        fprintf(images, "%d\n", upright);
    }
    fclose(images);
    const char *out = run("vi_digits bars.csv 400");
    cr_expect_gt(number_after(out, "after it"), number_after(out, "before training") + 50, "%s", out);
    cr_expect_lt(number_after(out, "held-out images"), 0.7 * number_after(out, "their mean"), "%s", out);
    cr_expect(strstr(out, "drawn from the prior"));
}

Test(examples, a_population_is_smoothed_and_learnt, .init = open_context, .fini = close_context)
{
    const char *out = run("ssm_population");
    cr_expect_gt(number_after(out, "sd:"), 170, "%s", out);
    cr_expect_float_eq(number_after(out, "growth:"), .3, .12, "%s", out);
    cr_expect_float_eq(number_after(out, "capacity:"), 50, 5, "%s", out);
}

Test(examples, command_fits_and_checks, .init = open_context, .fini = close_context)
{
    const test_run fit =
        test_shell(az, folder, "adze estimate programmable-vi:model=coin,steps=400,lr=0.02,optimizer=adam --json -o v.json");
    cr_assert_eq(fit.code, 0, "%s", fit.err);
    cr_expect_float_eq(test_json_number(test_section(az, fit.out, "fit"), "objective"), -7.0694, .05);
    const test_run check = test_shell(az, folder, "adze estimate programmable-vi:task=check,model=coin,draws=2000 --json --plot c.svg");
    cr_expect_eq(check.code, 0, "%s", check.err);
    cr_expect(strstr(check.out, "reinforce-loo"));
    const test_run bad = test_shell(az, folder, "adze estimate programmable-vi:model=coin,observation=11 -o no.json");
    cr_expect_eq(bad.code, 2);
    cr_expect(strstr(bad.err, "observation=11"), "%s", bad.err);
}

Test(examples, command_refuses_a_strategy_that_does_not_fit, .init = open_context, .fini = close_context)
{
    static const struct {
        const char *options, *says;
    } cases[] = {
        {"model=cone,strategy=enum", "vi: 'x': a choice from normal cannot be followed by enum; these strategies fit it: reparam, "},
        {"model=coin,strategy=mvd", "'p': a choice from beta cannot be followed by mvd; these strategies fit it: reparam, "},
        {"model=ring,strategy=mvd", "'u': a choice from uniform cannot be followed by mvd"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const test_run run =
            test_shell(az, folder, az_format_text(az, "adze estimate programmable-vi:%s,steps=5 -o no.json", cases[i].options));
        cr_expect_eq(run.code, 2, "%s", cases[i].options);
        cr_expect(strstr(run.err, cases[i].says), "%s", run.err);
    }
}

/* The number of a column in the first row that has the text in another. */
static double cell(const char *json, const char *key, const char *text, const char *column)
{
    for (int i = 0; i < test_lines(json); i++) {
        const json_t *row = test_json(az, json, i);
        const char *found = json_string_value(json_object_get(row, key));
        if (found && strcmp(found, text) == 0 && json_object_get(row, column)) return test_json_number(row, column);
    }
    cr_assert_fail("no %s of %s %s in: %s", column, key, text, json);
    return NAN;
}

Test(examples, command_checks_estimators_against_exact_gradients, .init = open_context, .fini = close_context)
{
    const double logit = log(.3 * 2 * exp(-2) / (.7 * .5 * exp(-.5)));
    const char *line = "adze estimate programmable-vi:task=check,model=%s,draws=2000,objective=%s --json";
    const test_run lamp = test_shell(az, folder, az_format_text(az, line, "lamp", "elbo"));
    cr_assert_eq(lamp.code, 0, "%s", lamp.err);
    cr_expect_float_eq(cell(lamp.out, "strategy", "enum", "mean"), logit / 4, 1e-9);
    cr_expect_float_eq(cell(lamp.out, "strategy", "mvd", "oracle"), logit / 4, 1e-9);
    cr_expect_str_eq(json_string_value(json_object_get(test_section(az, lamp.out, "unsuitable"), "choice")), "faulty, from flip");
    const test_run cone = test_shell(az, folder, az_format_text(az, line, "cone", "elbo"));
    cr_expect_float_eq(cell(cone.out, "variable", "log_sd1", "oracle"), -770.5101166, 1e-6, "%s", cone.out);
    cr_expect_str_eq(json_string_value(json_object_get(test_section(az, cone.out, "unsuitable"), "choice")), "x, from normal");
    const test_run ring = test_shell(az, folder, az_format_text(az, line, "ring,inner=2", "elbo"));
    cr_expect_float_eq(cell(ring.out, "strategy", "reparam", "mean"), cell(ring.out, "strategy", "reparam", "oracle"),
                       5 * cell(ring.out, "strategy", "reparam", "se"), "%s", ring.out);
    const test_run several = test_shell(az, folder, az_format_text(az, line, "ring,inner=2,particles=2", "iwelbo"));
    cr_expect(test_section(az, several.out, "no oracle"), "%s", several.out);
    cr_expect_not(strstr(several.out, "\"oracle\":"), "%s", several.out);
    const test_run wake = test_shell(az, folder, az_format_text(az, line, "lamp", "rws"));
    const char *const rows[] = {"log_rate", "logit"};
    for (int i = 0; i < 2; i++)
        cr_expect_float_eq(cell(wake.out, "variable", rows[i], "mean"), cell(wake.out, "variable", rows[i], "oracle"),
                           5 * cell(wake.out, "variable", rows[i], "se"), "%s", wake.out);
}

Test(examples, command_runs_wake_sleep, .init = open_context, .fini = close_context)
{
    /* the likeliest rate of a lamp that burned for 1 is 1; given that, the log odds are log(.3 / e) - log(.35 / sqrt(e)) */
    const double logit = log(.3 / .35) - .5;
    const test_run rws =
        test_shell(az, folder, "adze estimate programmable-vi:model=lamp,objective=rws,lr=.05,steps=2000,draws=2000 --json");
    cr_assert_eq(rws.code, 0, "%s", rws.err);
    cr_expect_float_eq(cell(rws.out, "variable", "log_rate", "value"), 0, 1e-3, "%s", rws.out);
    cr_expect_float_eq(cell(rws.out, "variable", "logit", "value"), logit, .15, "%s", rws.out);
    cr_expect_float_eq(test_json_number(test_section(az, rws.out, "evidence"), "iwelbo"), log(.3 / exp(1) + .35 / exp(.5)), .01, "%s",
                       rws.out);
    /* the guide stays where it was; the likeliest mean of the prior of 6 heads in 10 has log odds 0.3853 */
    const test_run pwake = test_shell(
        az, folder, "adze estimate programmable-vi:model=coin,objective=pwake,particles=20,batch=24,lr=.05,steps=150,draws=1000 --json");
    cr_assert_eq(pwake.code, 0, "%s", pwake.err);
    cr_expect_float_eq(cell(pwake.out, "variable", "logit_prior_mean", "value"), .3853, .05, "%s", pwake.out);
    cr_expect_eq(cell(pwake.out, "variable", "log_a", "value"), 0);
    const test_run bad = test_shell(az, folder, "adze estimate programmable-vi:model=lamp,objective=pwake,strategy=enum -o no.json");
    cr_expect_eq(bad.code, 2);
    cr_expect(strstr(bad.err, "objective=pwake the gradient of the model lamp follows no choice"), "%s", bad.err);
}
