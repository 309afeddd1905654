/* Reports: tables, JSON lines that parse back exactly, values for verdicts, plots that appear whole or not at all. */
#include "adze/base.h"
#include "support/folder.h"

#include <criterion/criterion.h>
#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static az_report *two_models(az_ctx *az)
{
    az_report *report = az_report_new(az, "Evaluation");
    az_report_row(report, "models");
    az_report_text(report, "model", "tales.gguf");
    az_report_number(report, "perplexity", 4.25, "");
    az_report_number(report, "nll", 0.1 + 0.2, "nat");
    az_report_count(report, "tokens", 37072);
    az_report_row(report, "models");
    az_report_text(report, "model", "größer");
    az_report_number(report, "perplexity", NAN, "");
    az_report_count(report, "tokens", 5);
    az_report_bool(report, "tied", true);
    return report;
}

static void free_text(void *text)
{
    free(*(char **)text);
}

static char *printed(az_ctx *az, const az_report *report, void (*print)(const az_report *, FILE *))
{
    struct {
        char *text;
        size_t size;
    } *result = az_alloc(az, sizeof *result);
    FILE *out = open_memstream(&result->text, &result->size);
    print(report, out);
    fclose(out);
    az_on_leave(az, free_text, &result->text);
    return result->text;
}

Test(report, a_table_is_aligned_and_names_its_units)
{
    az_ctx *az = az_open(NULL);
    char *text = printed(az, two_models(az), az_report_print);
    cr_assert_str_eq(text, "Evaluation\n"
                           "models\n"
                           "  model       perplexity  nll (nat)  tokens  tied\n"
                           "  tales.gguf        4.25        0.3   37072      \n"
                           "  größer             n/a                  5   yes\n");
    az_close(az);
}

Test(report, a_long_lone_row_becomes_a_list)
{
    az_ctx *az = az_open(NULL);
    az_report *report = az_report_new(az, NULL);
    az_report_row(report, "model");
    for (int i = 0; i < 9; i++) az_report_count(report, az_format_text(az, "key%d", i), i);
    az_report_number(report, "size", 3 << 20, "B");
    az_report_number(report, "took", 1.5, "s");
    char *text = printed(az, report, az_report_print);
    cr_assert_not_null(strstr(text, "\n  key8  8\n  size  3 MiB\n  took  1.5 s\n"), "%s", text);
    az_close(az);
}

Test(report, json_lines_parse_back_exactly)
{
    az_ctx *az = az_open(NULL);
    char *text = printed(az, two_models(az), az_report_json);
    char *second = strchr(text, '\n') + 1;
    second[-1] = '\0';
    json_t *a = json_loads(text, 0, NULL), *b = json_loads(second, 0, NULL);
    cr_assert_str_eq(json_string_value(json_object_get(a, "section")), "models");
    cr_assert_str_eq(json_string_value(json_object_get(a, "model")), "tales.gguf");
    cr_assert_eq(json_real_value(json_object_get(a, "nll")), 0.1 + 0.2);
    cr_assert_eq(json_integer_value(json_object_get(a, "tokens")), 37072);
    cr_assert_str_eq(json_string_value(json_object_get(b, "model")), "größer");
    cr_assert(json_is_null(json_object_get(b, "perplexity")));
    cr_assert(json_is_true(json_object_get(b, "tied")));
    cr_assert_eq(strchr(second, '\n')[1], '\0', "two rows are two lines");
    json_decref(a);
    json_decref(b);
    az_close(az);
}

Test(report, odd_text_still_makes_valid_json_and_a_safe_table)
{
    az_ctx *az = az_open(NULL);
    az_report *report = az_report_new(az, "");
    az_report_row(report, "odd");
    az_report_text(report, "text", "a\xff\"\n\x1b[31m");
    az_report_number(report, "value", INFINITY, "");
    char *text = printed(az, report, az_report_json);
    json_t *row = json_loads(text, 0, NULL);
    cr_assert_not_null(row, "%s", text);
    cr_assert_str_eq(json_string_value(json_object_get(row, "text")), "aÿ\"\n\x1b[31m");
    cr_assert(json_is_null(json_object_get(row, "value")));
    json_decref(row);
    text = printed(az, report, az_report_print);
    cr_assert_null(strchr(text, '\x1b'));
    az_close(az);
}

Test(report, a_key_given_twice_keeps_the_last_value)
{
    az_ctx *az = az_open(NULL);
    az_report *report = two_models(az);
    az_report_count(report, "tokens", 6);
    cr_assert_eq(az_report_value(report, "models", "tokens"), 6);
    cr_assert_eq(az_report_value(report, "models", "tied"), 1);
    cr_assert(isnan(az_report_value(report, "models", "model")));
    cr_assert(isnan(az_report_value(report, "models", "absent")));
    cr_assert(isnan(az_report_value(report, "absent", "tokens")));
    cr_assert(isnan(az_report_value(NULL, "models", "tokens")));
    az_close(az);
}

Test(report, misuse_is_an_error_and_null_is_silence)
{
    az_ctx *az = az_open(NULL);
    az_report_count(az_report_new(az, ""), "lost", 1);
    cr_assert_eq(az_status_of(az), AZ_BAD_CALL);
    cr_assert_null(az_report_new(az, ""));
    az_report_row(NULL, "x");
    az_report_count(NULL, "x", 1);
    az_report_curve(NULL, "x", "x", "y", 0, NULL, NULL);
    az_close(az);
}

Test(report, a_report_outlives_the_scopes_that_filled_it)
{
    az_ctx *az = az_open(NULL);
    size_t before = az_memory_now(az);
    az_scope_push(az);
    az_report *report = az_report_new(az, "kept");
    for (int i = 0; i < 200; i++) {
        az_scope_push(az);
        az_report_row(report, az_format_text(az, "section"));
        az_report_text(report, az_format_text(az, "key"), az_format_text(az, "value %d", i));
        az_report_count(report, "i", i);
        az_scope_pop(az);
    }
    cr_assert_eq(az_report_value(report, "section", "i"), 199);
    az_scope_pop(az);
    cr_assert_eq(az_memory_now(az), before);
    az_close(az);
}

/* ---- plots ---- */

static bool has_gnuplot(void)
{
    return system("gnuplot --version > /dev/null 2>&1") == 0;
}

static az_report *with_curves(az_ctx *az)
{
    az_report *report = az_report_new(az, "It's a \"curve\"");
    double x[40], y[40];
    for (int i = 0; i < 40; i++) {
        x[i] = i;
        y[i] = i == 20 ? NAN : exp(-i / 10.0);
    }
    az_report_curve(report, "training", "step", "loss (nat)", 40, x, y);
    az_report_curve(report, "held out", "step", "loss (nat)", 40, x, x);
    az_report_curve(report, "rate", "step", "learning rate", 40, x, y);
    return report;
}

Test(report, curves_are_found_by_name)
{
    az_ctx *az = az_open(NULL);
    int64_t n = 0;
    const double *y = az_report_curve_of(with_curves(az), "held out", &n);
    cr_assert_not_null(y);
    cr_assert_eq(n, 40);
    cr_assert_null(az_report_curve_of(with_curves(az), "nothing", &n));
    az_close(az);
}

Test(plot, curves_and_bars_become_pictures)
{
    if (!has_gnuplot()) cr_skip("gnuplot is not installed");
    az_ctx *az = az_open(NULL);
    const char *folder = test_folder(az), *svg = test_path(az, folder, "a.svg"), *png = test_path(az, folder, "b.png");
    cr_assert(az_report_plot(with_curves(az), svg), "%s", az_error(az));
    char *text = az_read_file(az, svg, NULL);
    cr_assert_not_null(strstr(text, "<svg"));
    cr_assert_not_null(strstr(text, "held out"));
    cr_assert_not_null(strstr(text, "</svg>"));
    cr_assert(az_report_plot(two_models(az), png), "%s", az_error(az));
    az_map *map = az_map_file(az, png);
    cr_assert_arr_eq(map->data, "\x89PNG\r\n\x1a\n", 8);
    az_close(az);
}

Test(plot, what_has_no_value_is_left_out)
{
    if (!has_gnuplot()) cr_skip("gnuplot is not installed");
    az_ctx *az = az_open(NULL);
    const char *folder = test_folder(az), *svg = test_path(az, folder, "a.svg");
    az_report *bars = az_report_new(az, "bars"), *curves = with_curves(az), *nothing = az_report_new(az, "nothing");
    az_report_row(bars, "fit");
    az_report_text(bars, "name", "x");
    az_report_number(bars, "missing", NAN, "");
    az_report_number(bars, "estimate", 2, "");
    az_report_row(bars, "left out"); /* words alone: the section before is drawn */
    az_report_text(bars, "name", "z");
    cr_assert(az_report_plot(bars, svg), "%s", az_error(az));
    char *text = az_read_file(az, svg, NULL);
    cr_assert_not_null(strstr(text, "estimate"));
    cr_assert_null(strstr(text, "missing"));
    const double x = 1, y = -INFINITY;
    az_report_curve(curves, "flat", "step", "log10 residual", 1, &x, &y);
    cr_assert(az_report_plot(curves, svg), "%s", az_error(az));
    cr_assert_null(strstr(az_read_file(az, svg, NULL), "log10 residual"));
    az_report_curve(nothing, "flat", "step", "log10 residual", 1, &x, &y);
    cr_assert_not(az_report_plot(nothing, svg));
    cr_assert_not_null(strstr(az_error(az), "nothing to plot"));
    az_close(az);
}

Test(plot, what_cannot_be_drawn_leaves_no_file)
{
    az_ctx *az = az_open(NULL);
    const char *folder = test_folder(az), *svg = test_path(az, folder, "a.svg");
    cr_assert_not(az_report_plot(with_curves(az), test_path(az, folder, "a.pdf")));
    cr_assert_not_null(strstr(az_error(az), ".svg or .png"));
    az_clear(az);
    cr_assert_not(az_report_plot(az_report_new(az, "empty"), svg));
    cr_assert_not_null(strstr(az_error(az), "nothing to plot"));
    az_clear(az);
    setenv("PATH", folder, 1);
    cr_assert_not(az_report_plot(with_curves(az), svg));
    cr_assert_not_null(strstr(az_error(az), "gnuplot"));
    cr_assert_not_null(strstr(az_error(az), "apt install"));
    cr_assert_eq(access(svg, F_OK), -1);
    az_close(az);
}

Test(plot, a_failing_gnuplot_is_quoted)
{
    az_ctx *az = az_open(NULL);
    const char *folder = test_folder(az), *fake = test_path(az, folder, "gnuplot"), *svg = test_path(az, folder, "a.svg");
    az_out *out = az_create(az, fake);
    fputs("#!/bin/sh\necho half a picture\necho 'line 1: warning: odd' >&2\necho 'line 3: undefined thing' >&2\nexit 1\n",
          az_out_stream(out));
    cr_assert(az_commit(out));
    cr_assert_eq(chmod(fake, 0755), 0);
    setenv("PATH", az_format_text(az, "%s:/bin:/usr/bin", folder), 1);
    cr_assert_not(az_report_plot(with_curves(az), svg));
    cr_assert_not_null(strstr(az_error(az), "undefined thing"), "%s", az_error(az));
    cr_assert_eq(access(svg, F_OK), -1);
    az_close(az);
}
