/* small_world.c - small models trained from nothing. */
#include "claims/small_world.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

az_example small_example(az_ctx *az, const char *prompt, const char *response)
{
    az_turn *turn = az_alloc_array(az, 2, sizeof *turn);
    json_t *line = json_pack("{s:s, s:s}", "prompt", prompt, "response", response);
    char *text = line ? json_dumps(line, JSON_COMPACT) : NULL;
    az_example out = {.turns = 2, .turn = turn, .line = text ? az_strdup(az, text) : NULL};
    free(text);
    json_decref(line);
    if (!turn) return (az_example){0};
    turn[0] = (az_turn){.role = "prompt", .text = az_strdup(az, prompt), .length = strlen(prompt)};
    turn[1] = (az_turn){.role = "response", .text = az_strdup(az, response), .length = strlen(response)};
    return out;
}

/* Prompt and response of each example, one behind the other. */
static az_documents *documents_of(az_ctx *az, const az_examples *examples)
{
    az_documents *all = az_alloc(az, sizeof *all);
    if (!all) return NULL;
    *all = (az_documents){.separated = true, .path = "small world", .item = az_alloc_array(az, (size_t)examples->count, sizeof *all->item)};
    for (int64_t i = 0; all->item && i < examples->count; i++) {
        const az_turn *turn = examples->item[i].turn;
        const char *text = az_format_text(az, "%s%s", turn[0].text, turn[1].text);
        if (text) all->item[all->count++] = (az_document){.text = text, .length = strlen(text)};
    }
    return az_ok(az) ? all : NULL;
}

az_lm *small_world_tune(az_ctx *az, const az_lm *lm, small_tuning *tuning)
{
    const az_method *method = az_method_by_name(tuning->method);
    void *options = method ? az_alloc(az, method->options_size) : NULL;
    az_tune_settings settings = {0};
    az_lm *copy = az_lm_copy(az, lm);
    if (!options || !copy || !az_options_parse(az, method->options, method->name, tuning->options, options)) return NULL;
    if (!az_options_parse(az, az_tune_options, "tune", tuning->settings, &settings)) return NULL;
    settings.training.seed = tuning->seed;
    az_tune_job job = {.lm = copy,
                       .train = tuning->examples,
                       .settings = &settings,
                       .model = "small",
                       .report = tuning->report ? tuning->report : az_report_new(az, NULL)};
    if (!method->tune(az, options, &job)) return NULL;
    tuning->adapter = job.adapter;
    return copy;
}

az_lm *small_world_model(az_ctx *az, const small_world *world, int seed)
{
    const az_documents *documents = documents_of(az, world->examples);
    az_tokenizer *tokenizer = documents ? az_tokenizer_train(az, documents, world->vocabulary) : NULL;
    if (!tokenizer) return NULL;
    const az_lm_config config = {.vocabulary = az_vocabulary(tokenizer),
                                 .width = world->width,
                                 .blocks = world->blocks,
                                 .heads = world->width / 16,
                                 .hidden = 3 * world->width,
                                 .context = world->context,
                                 .tied = true};
    const az_lm *start = az_lm_new(az, "llama", &config, tokenizer, (uint64_t)seed + 1);
    small_tuning tuning = {.examples = world->examples, .method = "full", .options = "", .settings = world->settings, .seed = seed};
    return start ? small_world_tune(az, start, &tuning) : NULL;
}
