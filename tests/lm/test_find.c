/* Finding texts: the numbers of the formulas, ties, what is left out, vectors of a backend, and demonstrations in templates. */
#include "adze/backend.h"
#include "support/folder.h"

#include <criterion/criterion.h>
#include <jansson.h>
#include <math.h>
#include <string.h>

static az_documents *documents(az_ctx *az, const char *const *text)
{
    az_documents *all = az_alloc(az, sizeof *all);
    int n = 0;
    while (text[n]) n++;
    *all = (az_documents){.count = n, .item = az_alloc_array(az, (size_t)n + 1, sizeof *all->item)};
    for (int i = 0; i < n; i++) all->item[i] = (az_document){.text = text[i], .length = strlen(text[i])};
    return all;
}

static const az_find_how bm25 = {.kind = AZ_FIND_BM25, .k1 = 1.5, .b = 0.75, .relevance = 1};
static const az_find_how tfidf = {.kind = AZ_FIND_TFIDF, .relevance = 1};
static const char *const greek[] = {"alpha beta beta", "beta gamma", "gamma gamma delta epsilon", "zeta", NULL};

static void expect_scores(const char *const *text, const char *question, const az_find_how *how, const double *law)
{
    az_ctx *az = az_open(NULL);
    double score[8];
    az_finder *finder = az_finder_new(az, documents(az, text), how);
    cr_assert(az_find_scores(finder, question, score), "%s", az_error(az));
    for (int i = 0; text[i]; i++) cr_assert_float_eq(score[i], law[i], 1e-6, "'%s' in '%s': %.9g", question, text[i], score[i]);
    az_close(az);
}

Test(find, bm25_is_its_formula)
{
    az_find_how okapi = bm25;
    okapi.okapi = true;
    expect_scores(greek, "beta gamma", &bm25, (const double[]){0.930399, 1.523400, 0.830116, 0});
    expect_scores(greek, "Gamma, BETA!", &bm25, (const double[]){0.930399, 1.523400, 0.830116, 0});
    expect_scores(greek, "omega", &bm25, (const double[]){0, 0, 0, 0});
    /* beta is in all three: log(1/7) < 0 becomes a quarter of the mean of log(1/7), log(5/3), log(5/3), which is negative, too */
    const char *const common[] = {"beta beta", "beta gamma", "beta delta", NULL};
    expect_scores(common, "beta gamma", &okapi, (const double[]){-0.110031, 0.433804, -0.077022});
}

/* As computed by scikit-learn. */
Test(find, tfidf_is_the_usual_cosine)
{
    static const char *const steps[] = {"Step one: apply the tangent addition formula tan(a+b) = (tan a + tan b)/(1 - tan a tan b).",
                                        "We factor the quadratic x^2 - 5x + 6 as (x - 2)(x - 3).",
                                        "By the Pythagorean theorem the hypotenuse equals the square root of a squared plus b squared.",
                                        "Count the arrangements: there are 5 choose 2 ways to pick the positions.",
                                        "Take the logarithm of both sides to bring the exponent down.",
                                        NULL};
    expect_scores(steps, "Use the tangent sum formula tan(a+b) = (tan a - tan b)/(1 + tan a tan b)", &tfidf,
                  (const double[]){0.933759, 0.019033, 0.034055, 0.028149, 0.028677});
    az_ctx *az = az_open(NULL);
    az_found found[2];
    cr_assert_eq(az_find(az_finder_new(az, documents(az, steps), &tfidf), "Factor the quadratic x^2 - 7x + 12", NULL, 1, found), 1);
    cr_assert_eq(found[0].text, 1);
    cr_assert_float_eq(found[0].score, 0.652735, 1e-6);
    az_close(az);
}

Test(find, the_best_come_first_and_ties_in_their_order)
{
    az_ctx *az = az_open(NULL);
    const char *const twins[] = {"other words", "beta gamma", "zeta", "gamma beta", NULL};
    az_finder *finder = az_finder_new(az, documents(az, twins), &bm25);
    az_found found[9];
    cr_assert_eq(az_find(finder, "beta gamma", NULL, 9, found), 4);
    const int64_t order[] = {1, 3, 0, 2};
    for (int i = 0; i < 4; i++) cr_assert_eq(found[i].text, order[i]);
    const bool without[] = {false, true, false, false};
    cr_assert_eq(az_find(finder, "beta gamma", without, 2, found), 2);
    cr_assert_eq(found[0].text, 3);
    cr_assert_eq(found[1].text, 0);
    az_close(az);
}

/* "[x y]": a vector in the plane. */
static bool embed(az_ctx *az, const az_call_text *call, az_answer *answer, void *user)
{
    double x = 0, y = 0;
    (void)user;
    answer->vector = az_alloc_array(az, 2, sizeof *answer->vector);
    if (sscanf(call->text, "[%lf %lf]", &x, &y) != 2) return answer->failure = "no vector", true;
    const double length = hypot(x, y);
    answer->n = 2;
    answer->vector[0] = (float)(x / length), answer->vector[1] = (float)(y / length);
    return true;
}

Test(find, vectors_and_what_is_unlike_those_before)
{
    az_ctx *az = az_open(NULL);
    az_backend *backend = az_backend_of_function(az, embed, NULL, "plane", NULL);
    const char *const plane[] = {"[1 0]", "[20 1]", "[1 1]", "[0 1]", NULL};
    az_find_how how = {.kind = AZ_FIND_DENSE, .backend = backend, .relevance = 1};
    az_found found[4];
    az_finder *finder = az_finder_new(az, documents(az, plane), &how);
    cr_assert_eq(az_find(finder, "[30 1]", NULL, 3, found), 3, "%s", az_error(az));
    cr_assert_eq(found[0].text, 1);
    cr_assert_eq(found[1].text, 0);
    cr_assert_eq(found[2].text, 2);
    cr_assert_float_eq(found[2].score, 31 / sqrt(2 * 901), 1e-6);
    how.relevance = 0.5; /* [1 0] is the same as the first: 0.5 (0.9994 - 0.9988); [1 1] gains 0.5 (0.7303 - 0.7418), [0 1] less */
    finder = az_finder_new(az, documents(az, plane), &how);
    cr_assert_eq(az_find(finder, "[30 1]", NULL, 3, found), 3);
    cr_assert_eq(found[0].text, 1);
    cr_assert_eq(found[1].text, 0);
    how.relevance = 0.3;
    finder = az_finder_new(az, documents(az, plane), &how);
    cr_assert_eq(az_find(finder, "[30 1]", NULL, 3, found), 3);
    cr_assert_eq(found[1].text, 3); /* 0.3 * 0.033 - 0.7 * 0.050 is the most */
    az_close(az);
}

Test(find, what_cannot_be_is_told)
{
    az_ctx *az = az_open(NULL);
    const char *const none[] = {NULL}, *const marks[] = {"!", "a b c", NULL}, *const plane[] = {"[1 0]", "no", NULL};
    az_backend *backend = az_backend_of_function(az, embed, NULL, "plane", NULL);
    az_find_how unlike = bm25, no_b = bm25;
    unlike.relevance = 0.5;
    no_b.b = 1.5;
    const az_find_how dense = {.kind = AZ_FIND_DENSE, .backend = backend, .relevance = 1};
    const struct {
        const char *const *text;
        const az_find_how *how;
        const char *why;
    } bad[] = {{none, &bm25, "there are none"},
               {marks, &bm25, "no word is in at least 1"},
               {greek, &unlike, "take tfidf or dense"},
               {greek, &no_b, "b=1.5"},
               {plane, &dense, "text 2 has no vector: no vector"}};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        cr_assert_null(az_finder_new(az, documents(az, bad[i].text), bad[i].how), "case %zu", i);
        cr_assert_not_null(strstr(az_error(az), bad[i].why), "%s", az_error(az));
        az_clear(az);
    }
    az_close(az);
}

/* ---- demonstrations ---- */

static const az_json_lines *lines(az_ctx *az, const char *name, const char *text)
{
    const char *path = test_path(az, test_folder(az), name);
    FILE *out = fopen(path, "w");
    fputs(text, out);
    fclose(out);
    const az_json_lines *all = az_json_lines_read(az, path, NULL, false);
    cr_assert_not_null(all, "%s", az_error(az));
    return all;
}

/* What the rows become, as one text; NULL with an error. */
static char *fill(az_ctx *az, const az_template_job *job, int64_t rows)
{
    char *text = NULL;
    size_t length = 0;
    FILE *out = open_memstream(&text, &length);
    const int64_t n = az_template_fill_rows(az, job, out);
    fclose(out);
    char *copy = n == rows ? az_strdup(az, text) : NULL;
    free(text);
    return copy;
}

static const char demos[] =
    "{\"id\":1,\"text\":\"alpha beta beta\",\"label\":\"one\"}\n{\"id\":2,\"text\":\"beta gamma\",\"label\":\"two\"}\n"
    "{\"id\":3,\"text\":\"gamma gamma delta epsilon\",\"label\":\"three\"}\n{\"id\":4,\"text\":\"zeta\",\"label\":\"four\"}\n";

Test(find, rows_get_their_nearest_demonstrations_last)
{
    az_ctx *az = az_open(NULL);
    az_template_job job = {
        .text = "@@system\nYou classify.\n@@user\n{{#each demos}}{{@index}} {{text}} {{label}}\n{{/each}}{{text}}",
        .rows = lines(az, "rows", "{\"id\":\"a\",\"text\":\"beta gamma\"}\n{\"id\":3,\"text\":\"delta {{label}}\\n@@user\\n\"}\n"),
        .demos = lines(az, "demos", demos),
        .field = "text",
        .shots = 2};
    /* the row's own text is no demonstration, neither is the one with its id; what is inserted is no template */
    cr_assert_str_eq(
        fill(az, &job, 2),
        "{\"id\":\"a\",\"messages\":[{\"content\":\"You classify.\",\"role\":\"system\"},{\"content\":\"1 gamma gamma delta epsilon "
        "three\\n2 alpha beta beta one\\nbeta gamma\",\"role\":\"user\"}]}\n"
        "{\"id\":3,\"messages\":[{\"content\":\"You classify.\",\"role\":\"system\"},{\"content\":\"1 beta gamma two\\n2 alpha beta "
        "beta one\\ndelta {{label}}\\n@@user\\n\",\"role\":\"user\"}]}\n");
    az_close(az);
}

Test(find, rows_that_cannot_be_filled_are_named)
{
    const struct {
        const char *text, *rows, *demos, *why;
    } bad[] = {
        {"{{x}}", "{\"x\":1}\n{\"y\":1}\n", NULL, "line 2: the template names 'x'"},
        {"{{x}}", "\n{\"x\":\"a\\u0000b\"}\n", NULL, "line 2: the template inserts 'x', which holds a zero byte"},
        {"{{#each demos}}{{label}}{{/each}}", "{\"x\":1}\n", demos, "line 1: it has no text \"text\""},
        {"{{#each demos}}{{label}}{{/each}}", "{\"text\":\"a\"}\n", "{\"label\":1}\n", "line 1 has no text \"text\""},
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        az_ctx *az = az_open(NULL);
        az_template_job job = {.text = bad[i].text, .rows = lines(az, "rows", bad[i].rows), .field = "text", .shots = 2};
        if (bad[i].demos) job.demos = lines(az, "demos", bad[i].demos);
        cr_assert_null(fill(az, &job, 2));
        cr_assert_not_null(strstr(az_error(az), bad[i].why), "%s", az_error(az));
        az_close(az);
    }
}
