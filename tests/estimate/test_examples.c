/* The example programs run and print what they promise. */
#include "adze/adze.h"
#include "support/command.h"
#include "support/folder.h"

#include <criterion/criterion.h>
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
    const test_run check = test_shell(az, folder, "adze estimate programmable-vi:task=check,model=coin,draws=2000 --json");
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
