/* Documents as rows of word counts and TF-IDF weights. */
#include "adze/data.h"

#include <criterion/criterion.h>
#include <math.h>
#include <string.h>

static az_documents documents_of(az_document *item, const char *const *text, int64_t count)
{
    for (int64_t i = 0; i < count; i++) item[i] = (az_document){text[i], strlen(text[i])};
    return (az_documents){.count = count, .item = item};
}

static double cell(az_ctx *az, const az_matrix *m, int64_t row, int64_t column)
{
    az_tensor *unit = az_zeros(az, AZ_F64, 2, (int64_t[]){m->columns, 1});
    az_f64_mut(unit)[column] = 1;
    return az_item(az_matrix_times(az, m, unit), row);
}

Test(word_columns, words_are_counted_in_lower_case_and_weighed)
{
    az_ctx *az = az_open(NULL);
    static const char *const text[] = {"The cat, the CAT_1 and Über-cats: a b!", "a cat sat; ÜBER us", "sat sat sat", ""};
    az_document item[4];
    const az_documents d = documents_of(item, text, 4);
    const az_word_columns *w = az_word_columns_new(az, &d, &(az_word_columns_how){.least_documents = 1, .most_share = 1});
    cr_assert(w, "%s", az_error(az));
    static const char *const words[] = {"cat", "cat_1", "cats", "sat", "über"};
    cr_assert_eq(w->count, 5);
    for (int i = 0; i < 5; i++) cr_assert_str_eq(w->word[i], words[i]);
    cr_assert_float_eq(w->idf[0], log(5.0 / 3) + 1, 1e-15);
    const az_matrix *counts = az_word_rows(az, w, &d, false), *weights = az_word_rows(az, w, &d, true);
    cr_assert_eq(cell(az, counts, 2, 3), 3);
    cr_assert_eq(cell(az, counts, 0, 0), 1);
    cr_assert_eq(cell(az, counts, 1, 4), 1);
    cr_assert_eq(counts->by_row.start[4] - counts->by_row.start[3], 0);
    cr_assert_float_eq(cell(az, weights, 1, 0), 1 / sqrt(3), 1e-12); /* three words in two documents each */
    cr_assert_float_eq(cell(az, weights, 2, 3), 1, 1e-15);
    az_close(az);
}

Test(word_columns, rare_and_common_words_are_left_out)
{
    az_ctx *az = az_open(NULL);
    static const char *const text[] = {"one two three", "two three four", "three four five", "three the the"};
    az_document item[4];
    const az_documents d = documents_of(item, text, 4);
    const az_word_columns *w = az_word_columns_new(az, &d, &(az_word_columns_how){.least_documents = 2, .most_share = 0.5});
    cr_assert_eq(w->count, 2);
    cr_assert_str_eq(w->word[0], "four");
    w = az_word_columns_new(az, &d,
                            &(az_word_columns_how){.least_documents = 1, .most_share = 1, .most_words = 1, .keep_function_words = true});
    cr_assert(w->count == 1 && strcmp(w->word[0], "three") == 0);
    cr_assert_null(az_word_columns_new(az, &d, &(az_word_columns_how){.least_documents = 9, .most_share = 1}));
    cr_assert(strstr(az_error(az), "no word is in at least 9"), "%s", az_error(az));
    az_close(az);
}

/* TfidfVectorizer(token_pattern=r"(?u)\\b\\w\\w+\\b").fit_transform of scikit-learn. */
Test(word_columns, weights_of_another_program)
{
    az_ctx *az = az_open(NULL);
    static const char *const text[] = {"a cat sat; here", "Sat sat sat on_it the cat", "dogs AND cats_9 sat, cat"};
    static const double want[3][8] = {{0, 0.45329466, 0, 0, 0.76749457, 0, 0.45329466, 0},
                                      {0, 0.25210845, 0, 0, 0, 0.42685671, 0.75632535, 0.42685671},
                                      {0.52004008, 0.30714405, 0.52004008, 0.52004008, 0, 0, 0.30714405, 0}};
    az_document item[3];
    const az_documents d = documents_of(item, text, 3);
    const az_word_columns *w =
        az_word_columns_new(az, &d, &(az_word_columns_how){.least_documents = 1, .most_share = 1, .keep_function_words = true});
    const az_matrix *weights = az_word_rows(az, w, &d, true);
    cr_assert(weights && w->count == 8);
    for (int i = 0; i < 3; i++)
        for (int j = 0; j < 8; j++) cr_assert_float_eq(cell(az, weights, i, j), want[i][j], 1e-8, "%d, %s", i, w->word[j]);
    az_close(az);
}
