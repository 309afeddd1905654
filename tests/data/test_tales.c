/* Tales: every text has one derivation, and probability, entropy and mean length are exact. */
#include "data/tales.h"

#include <criterion/criterion.h>
#include <math.h>
#include <string.h>

Test(tales, a_story_has_one_derivation_and_its_probability)
{
    az_ctx *az = az_open(NULL);
    az_tales *tales = az_tales_new(az);
    cr_assert_not_null(tales, "%s", az_error(az));
    for (uint64_t i = 0; i < 4000; i++) {
        az_scope_push(az);
        double written, read = NAN;
        size_t where;
        const char *text = az_tales_story(az, tales, 7, i, &written);
        cr_assert_eq(tale_derivations(tales, text, strlen(text), &read, &where), 1, "%s", text);
        cr_assert_float_eq(read, written, 1e-9);
        cr_assert_eq(where, strlen(text));
        az_scope_pop(az);
    }
    az_close(az);
}

Test(tales, a_story_depends_on_its_key_alone)
{
    az_ctx *az = az_open(NULL);
    az_tales *tales = az_tales_new(az);
    const char *once = az_tales_story(az, tales, 3, 41, NULL);
    az_tales_story(az, tales, 3, 42, NULL);
    cr_assert_str_eq(az_tales_story(az, tales, 3, 41, NULL), once);
    cr_assert_str_neq(az_tales_story(az, tales, 3, 42, NULL), once);
    cr_assert_str_neq(az_tales_story(az, tales, 4, 41, NULL), once);
    az_close(az);
}

Test(tales, mean_surprise_and_length_agree_with_the_exact_ones)
{
    enum { STORIES = 20000 };
    az_ctx *az = az_open(NULL);
    az_tales *tales = az_tales_new(az);
    double bytes, entropy = az_tales_entropy(az, tales, &bytes);
    static double surprise[STORIES], length[STORIES];
    for (int i = 0; i < STORIES; i++) {
        az_scope_push(az);
        length[i] = (double)strlen(az_tales_story(az, tales, 11, (uint64_t)i, &surprise[i]));
        surprise[i] = -surprise[i];
        az_scope_pop(az);
    }
    az_estimate mean_surprise = az_mean_estimate(surprise, STORIES, 0.95), mean_length = az_mean_estimate(length, STORIES, 0.95);
    cr_assert_float_eq(mean_surprise.value, entropy, 4 * mean_surprise.se, "%g, exact %g", mean_surprise.value, entropy);
    cr_assert_float_eq(mean_length.value, bytes, 4 * mean_length.se, "%g, exact %g", mean_length.value, bytes);
    cr_assert(entropy > 50 && entropy < 80);
    cr_assert_float_eq(az_tales_entropy(az, tales, NULL), entropy, 1e-9); /* with fewer states the sums round differently */
    az_close(az);
}

/* Finds one word of a story and puts another in its place. */
static const char *with(az_ctx *az, const char *text, const char *word, const char *other)
{
    const char *at = strstr(text, word);
    return at ? az_format_text(az, "%.*s%s%s", (int)(at - text), text, other, at + strlen(word)) : NULL;
}

/* The numbers of a story have to add up: every wrong result is refused, at the result. */
Test(tales, a_wrong_sum_is_refused_where_it_stands)
{
    static const char *const numbers[] = {"one,", "two,", "three,", "four,", "five,", "six,", "seven,", "eight,", "nine,"};
    az_ctx *az = az_open(NULL);
    az_tales *tales = az_tales_new(az);
    int refused = 0;
    for (uint64_t i = 0; i < 400 && refused < 40; i++) {
        const char *text = az_tales_story(az, tales, 5, i, NULL), *away = strstr(text, " take away ");
        const char *makes = away ? strstr(away, " makes ") : NULL;
        if (!makes) continue;
        for (int n = 0; n < 9; n++) {
            const char *result = makes + strlen(" makes ");
            size_t length = strcspn(result, ",") + 1, where = 0;
            if (strlen(numbers[n]) == length && !memcmp(result, numbers[n], length)) continue;
            const char *wrong = az_format_text(az, "%.*s%s%s", (int)(result - text), text, numbers[n], result + length);
            cr_assert_eq(az_tales_log_probability(az, tales, wrong, strlen(wrong), &where), -INFINITY, "%s", wrong);
            cr_assert(where >= (size_t)(result - text) && where < (size_t)(result - text) + 5);
            refused++;
        }
    }
    cr_assert_eq(refused, 40);
    az_close(az);
}

Test(tales, other_texts_are_refused)
{
    az_ctx *az = az_open(NULL);
    az_tales *tales = az_tales_new(az);
    static const struct {
        const char *word, *other;
    } changes[] = {{" he ", " she "}, {" she ", " he "}, {" his ", " her "}, {"ed ", "s "}, {". ", ".  "}, {" had ", " have "}};
    int refused = 0;
    for (uint64_t i = 0; i < 200; i++) {
        const char *text = az_tales_story(az, tales, 9, i, NULL);
        for (size_t c = 0; c < sizeof changes / sizeof *changes; c++) {
            const char *wrong = with(az, text, changes[c].word, changes[c].other);
            if (!wrong) continue;
            cr_assert_eq(az_tales_log_probability(az, tales, wrong, strlen(wrong), NULL), -INFINITY, "%s", wrong);
            refused++;
        }
        for (size_t cut = 0; cut < strlen(text); cut += 17) {
            size_t where;
            cr_assert_eq(az_tales_log_probability(az, tales, text, cut, &where), -INFINITY);
            cr_assert_eq(where, cut);
        }
        const char *longer = az_format_text(az, "%s.", text);
        cr_assert_eq(az_tales_log_probability(az, tales, longer, strlen(longer), NULL), -INFINITY);
    }
    cr_assert(refused > 500);
    cr_assert_eq(az_tales_log_probability(az, tales, "", 0, NULL), -INFINITY);
    cr_assert_eq(az_tales_log_probability(az, tales, "\0\xff", 2, NULL), -INFINITY);
    az_close(az);
}

/* ---- a grammar small enough to be enumerated ---- */

static const tale_entry person[] = {{1, {"Ann", "she"}}, {2, {"Bob", "he"}}, {4, {"Cyd", "he"}}};
static const tale_entry amount[] = {
    {3, {"one", "one {thing}"}}, {2, {"two", "two {thing.s}"}}, {1, {"three", "three {thing.s}"}}, {5, {"four", "four {thing.s}"}}};
static const tale_entry thing[] = {{1, {"egg", "eggs"}}, {3, {"mouse", "mice"}}};
static const tale_entry end[] = {{1, {"{^giver.he} had {left.things} and no {thing}."}},
                                 {2, {"{giver} kept {left}, and {guest} was {mood}."}}};
static const tale_entry mood[] = {{1, {"glad"}}, {2, {"sorry for {giver}"}}};
static const tale_entry tale[] = {
    {3, {"{giver} had {had.things}. {^guest} got {gave}. {end}"}},
    {1, {"{^had.things} and {guest}: {both.things}, {giver}!"}},
};
static const tale_table small_tables[] = {
    {"person", "he", person, 3},
    {"amount", "things", amount, 4},
    {"object", "s", thing, 2},
    {"end", "", end, 2},
    {"mood", "", mood, 2},
    {"tale", "", tale, 2},
    {0},
};
static const tale_role small_roles[] = {
    {.name = "giver", .table = "person", .relation = TALE_DIFFERS, .of = "guest"},
    {.name = "guest", .table = "person", .relation = TALE_DIFFERS, .of = "giver"},
    {.name = "thing", .table = "object"},
    {.name = "had", .table = "amount", .first = 2, .last = 4},
    {.name = "gave", .table = "amount", .relation = TALE_LESS, .of = "had"},
    {.name = "left", .table = "amount", .relation = TALE_MINUS, .of = "had", .of2 = "gave"},
    {.name = "one", .table = "amount", .first = 1, .last = 1},
    {.name = "both", .table = "amount", .relation = TALE_MINUS, .of = "had", .of2 = "one"},
};

static az_tales *compile_small(az_ctx *az, const char *start)
{
    tale_grammar grammar = {
        .tables = {small_tables}, .role = small_roles, .roles = sizeof small_roles / sizeof *small_roles, .start = start};
    return tale_compile(az, &grammar);
}

/* All texts are found by drawing until their probabilities sum to one; then entropy and mean length are sums over them. */
Test(tales, a_small_grammar_sums_to_one)
{
    enum { MOST = 1000, DRAWS = 60000 };
    static const char *seen[MOST];
    az_ctx *az = az_open(NULL);
    /* `both` needs `one`, which the second story does not choose: only the first is sound. */
    cr_assert_null(compile_small(az, "tale"));
    cr_assert(strstr(az_error(az), "'both' is used before"), "%s", az_error(az));
    az_clear(az);
    static tale_table tables[7];
    memcpy(tables, small_tables, sizeof small_tables);
    tables[5].count = 1;
    tale_grammar grammar = {.tables = {tables}, .role = small_roles, .roles = sizeof small_roles / sizeof *small_roles, .start = "tale"};
    az_tales *tales = tale_compile(az, &grammar);
    cr_assert_not_null(tales, "%s", az_error(az));

    int found = 0;
    double mass = 0, entropy = 0, bytes = 0;
    for (uint64_t i = 0; i < DRAWS; i++) {
        double log_probability;
        const char *text = az_tales_story(az, tales, 1, i, &log_probability);
        int k = 0;
        while (k < found && strcmp(seen[k], text)) k++;
        if (k < found) continue;
        cr_assert_lt(found, MOST);
        seen[found++] = text;
        double p = exp(log_probability);
        mass += p;
        entropy -= p * log_probability;
        bytes += p * (double)strlen(text);
    }
    double exact_bytes, exact = az_tales_entropy(az, tales, &exact_bytes);
    cr_assert_float_eq(mass, 1, 1e-12, "%d texts have mass %.15g", found, mass);
    cr_assert_float_eq(entropy, exact, 1e-11, "%.15g, exact %.15g", entropy, exact);
    cr_assert_float_eq(bytes, exact_bytes, 1e-9, "%.15g, exact %.15g", bytes, exact_bytes);
    az_close(az);
}

/* ---- grammars that are not sound ---- */

static const tale_entry prefix[] = {{1, {"sun"}}, {1, {"sunny"}}};
static const tale_entry twice[] = {{1, {"a{animal}"}}, {1, {"{animal}"}}};
static const tale_entry animal[] = {{1, {"ape"}}, {1, {"pet"}}, {1, {"aape"}}};
static const tale_entry silent[] = {{1, {"{person.he} ran"}}};
static const tale_entry unknown[] = {{1, {"the {dragon}"}}};
static const tale_entry open_brace[] = {{1, {"the {person"}}};
static const tale_entry missing[] = {{1, {"{whole}"}}};
static const tale_entry whole[] = {{1, {NULL}}};

Test(tales, unsound_grammars_are_refused)
{
    static const struct {
        tale_table start;
        const char *says;
    } cases[] = {
        {{"prefix", "", prefix, 2}, "begin alike"},     {{"twice", "", twice, 2}, "begin alike"},
        {{"silent", "", silent, 1}, "begin alike"},     {{"unknown", "", unknown, 1}, "{dragon}"},
        {{"open", "", open_brace, 1}, "closing brace"}, {{"missing", "", missing, 1}, "has no form"},
    };
    static const tale_role roles[] = {{.name = "person", .table = "people"}};
    az_ctx *az = az_open(NULL);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        tale_table tables[] = {cases[i].start, {"people", "he", person, 3}, {"animal", "", animal, 3}, {"whole", "", whole, 1}, {0}};
        tale_grammar grammar = {.tables = {tables}, .role = roles, .roles = 1, .start = cases[i].start.name};
        cr_assert_null(tale_compile(az, &grammar), "%s", cases[i].start.name);
        cr_assert(strstr(az_error(az), cases[i].says), "%s: %s", cases[i].start.name, az_error(az));
        az_clear(az);
    }
    az_close(az);
}
