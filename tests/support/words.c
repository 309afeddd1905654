#include "support/words.h"

#include <criterion/criterion.h>
#include <string.h>

static az_turn turn(const char *role, const char *text)
{
    return (az_turn){.role = role, .text = text, .length = strlen(text)};
}

az_examples *words_examples(az_ctx *az, int64_t n)
{
    static const char *const word[] = {"one", "Tom", "red", "runs", "two", "Mia", "blue", "sits", "six", "Sam", "green", "eats"};
    static const char *const kind[] = {"number", "name", "colour", "verb"};
    az_examples *examples = az_alloc(az, sizeof *examples);
    az_example *item = az_alloc_array(az, (size_t)n, sizeof *item);
    for (int64_t i = 0; item && i < n; i++) {
        item[i] = (az_example){.turns = 2, .turn = az_alloc_array(az, 2, sizeof(az_turn))};
        if (!item[i].turn) break;
        item[i].turn[0] = turn("prompt", word[i % 12]);
        item[i].turn[1] = turn("response", kind[i % 4]);
    }
    cr_assert(examples && az_ok(az));
    *examples = (az_examples){.count = n, .item = item, .path = "words"};
    return examples;
}

words_tuned words_tune(az_ctx *az, az_lm *lm, const char *name, const char *options, const char *training, const az_examples *train,
                       const az_examples *valid, az_report *report)
{
    const az_method *method = az_method_by_name(name);
    cr_assert(method && method->tune, "no method %s", name);
    void *settings = az_alloc(az, method->options_size);
    az_tune_settings *common = az_alloc(az, sizeof *common);
    words_tuned out = {.job = {.lm = lm,
                               .train = train,
                               .valid = valid,
                               .settings = common,
                               .model = "small",
                               .report = report ? report : az_report_new(az, NULL)}};
    out.good = settings && common && az_options_parse(az, method->options, name, options, settings) &&
               az_options_parse(az, az_tune_options, "tune", training, common) && method->tune(az, settings, &out.job);
    return out;
}
