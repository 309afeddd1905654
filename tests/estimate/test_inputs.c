/* Which files fill which slots of a method, and what is said when they do not fit. */
#include "adze/method.h"
#include "support/folder.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

static const az_input_slot slots[] = {
    {"factor", AZ_INPUT_ARRAY, 1, 6, "the factors of the dictionary, in their order"},
    {"y", AZ_INPUT_ARRAY, 1, 1, "the measurements"},
    {"truth", AZ_INPUT_FILE, 0, 1, "the vector behind them"},
    {0},
};
static const az_method method = {.name = "sketch", .inputs = slots};

static const char *file_with(az_ctx *az, const char *folder, const char *name, const char *text)
{
    const char *path = test_path(az, folder, name);
    FILE *file = fopen(path, "w");
    fputs(text, file);
    fclose(file);
    return path;
}

Test(inputs, files_fill_the_slots_in_order_and_by_name)
{
    az_ctx *az = az_open(NULL);
    const char *folder = test_folder(az), *a = file_with(az, folder, "a.csv", "1,2\n3,4\n"),
               *b = file_with(az, folder, "b=c.csv", "5\n6\n");
    const struct {
        const char *path[4];
        int n, factors, y_first;
    } cases[] = {
        {{a, a, b}, 3, 2, 5},
        {{a, b, "truth=nowhere"}, 3, 1, 5},
        {{az_format_text(az, "y=%s", a), b, b, a}, 4, 3, 1},
        {{b, az_format_text(az, "factor=%s", b), a}, 3, 2, 1},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const az_inputs *inputs = az_inputs_read(az, &method, cases[i].path, cases[i].n, NULL);
        cr_assert_not_null(inputs, "case %d: %s", (int)i, az_error(az));
        const az_estimate_job job = {.inputs = inputs};
        cr_assert_eq(inputs[0].count, cases[i].factors, "case %d", (int)i);
        cr_assert_eq(az_item(az_job_input(&job, 1, 0)->array->value, 0), cases[i].y_first, "case %d", (int)i);
        cr_assert_null(az_job_input(&job, 1, 1));
        cr_assert_eq(az_job_input(&job, 2, 0) != NULL, i == 1);
    }
    az_close(az);
}

Test(inputs, too_few_too_many_and_unreadable)
{
    az_ctx *az = az_open(NULL);
    const char *folder = test_folder(az), *a = file_with(az, folder, "a.csv", "1,2\n3,4\n"),
               *gap = file_with(az, folder, "g.csv", "1,NA\n");
    const struct {
        const char *path[8];
        int n;
        const char *says;
    } cases[] = {
        {{NULL}, 0, "sketch needs factor: -d FILE or -d factor=FILE; it reads factor (the factors"},
        {{a}, 1, "sketch needs factor"},
        {{a, "y=a", "y=b"}, 3, "at most 1 for y"},
        {{a, a, a, a, a, a, a, a}, 8, NULL},
        {{a, gap}, 2, "row 1, column 2 is missing"},
        {{a, "nowhere.csv"}, 2, "cannot read 'nowhere.csv'"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const az_inputs *inputs = az_inputs_read(az, &method, cases[i].path, cases[i].n, NULL);
        cr_assert_eq(inputs == NULL, cases[i].says != NULL, "case %d: %s", (int)i, az_error(az));
        if (cases[i].says) cr_assert_not_null(strstr(az_error(az), cases[i].says), "case %d said: %s", (int)i, az_error(az));
        az_clear(az);
    }
    az_close(az);
}
