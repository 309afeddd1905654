/* Tokens at which generation stops: read from every kind of file, written again, and obeyed. */
#include "lm/files/load.h"
#include "lm/tokenizer/json.h"
#include "support/folder.h"
#include "support/tiny_lm.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

/* Whole words hi, you; special tokens <s>, </s>, <end_of_turn>, <tool>, <more>, <last>, ids 2 to 7. */
static az_tokenizer *with_ends(az_ctx *az, const int32_t *end, int n)
{
    const char *json = "{\"pre_tokenizer\":{\"type\":\"ByteLevel\",\"add_prefix_space\":false,\"use_regex\":true},\"decoder\":{\"type\":"
                       "\"ByteLevel\"},\"model\":{\"type\":\"BPE\",\"vocab\":{\"h\":0,\"i\":1},\"merges\":[]},\"added_tokens\":["
                       "{\"id\":2,\"content\":\"<s>\",\"special\":true},{\"id\":3,\"content\":\"</s>\",\"special\":true},"
                       "{\"id\":4,\"content\":\"<end_of_turn>\",\"special\":true},{\"id\":5,\"content\":\"<tool>\",\"special\":true},"
                       "{\"id\":6,\"content\":\"<more>\",\"special\":true},{\"id\":7,\"content\":\"<last>\",\"special\":true}]}";
    az_tokenizer *t = az_tokenizer_from_json(az, json, strlen(json));
    cr_assert_not_null(t, "%s", az_error(az));
    t->bos = 2;
    t->eos = 3;
    for (int i = 0; i < n; i++) az_tokenizer_add_end(t, end[i]);
    return t;
}

static void expect_ends(const az_tokenizer *t, const char *ends)
{
    cr_assert_not_null(t);
    for (int32_t id = 0; id < 8; id++) cr_assert_eq(az_token_ends(t, id), strchr(ends, '0' + id) != NULL, "%d in '%s'", id, ends);
    cr_assert_not(az_token_ends(t, -1) || az_token_ends(t, 1 << 20));
}

static const az_tokenizer *tokenizer_of(az_ctx *az, const char *path)
{
    const az_lm *lm = az_lm_load(az, path);
    cr_assert_not_null(lm, "%s", az_error(az));
    return lm->tokenizer;
}

/* Through GGUF, a folder, and GGUF again. */
static void expect_kept(const int32_t *end, int n, const char *ends)
{
    az_ctx *az = az_open(NULL);
    const char *folder = test_folder(az), *first = test_path(az, folder, "a.gguf"), *second = test_path(az, folder, "b.gguf");
    az_lm *lm = tiny_llama(az, 1);
    lm->tokenizer = with_ends(az, end, n);
    cr_assert(az_lm_save(az, lm, first, NULL), "%s", az_error(az));
    expect_ends(tokenizer_of(az, first), ends);
    const az_lm *back = az_lm_load(az, first);
    cr_assert(az_lm_save_folder(az, back, folder, NULL), "%s", az_error(az));
    expect_ends(tokenizer_of(az, folder), ends);
    cr_assert(az_lm_save(az, az_lm_load(az, folder), second, NULL), "%s", az_error(az));
    expect_ends(tokenizer_of(az, second), ends);
    az_close(az);
}

Test(ends, several_are_kept_in_every_file)
{
    expect_kept(NULL, 0, "34"); /* by its spelling */
    expect_kept((int32_t[]){5}, 1, "345");
    expect_kept((int32_t[]){5, 6, 7}, 3, "34567");
}

static void write_text(const char *path, const char *text)
{
    FILE *file = fopen(path, "w");
    cr_assert(file && fputs(text, file) >= 0 && fclose(file) == 0);
}

Test(ends, a_folder_lists_them_in_its_generation_settings)
{
    az_ctx *az = az_open(NULL);
    const char *folder = test_folder(az), *generation = test_path(az, folder, "generation_config.json");
    az_lm *lm = tiny_llama(az, 1);
    lm->tokenizer = with_ends(az, NULL, 0);
    cr_assert(az_lm_save_folder(az, lm, folder, NULL), "%s", az_error(az));
    write_text(generation, "{\"eos_token_id\": [3, 6, 99999, -1, \"x\"]}");
    expect_ends(tokenizer_of(az, folder), "36");
    write_text(generation, "{\"eos_token_id\": 7}");
    expect_ends(tokenizer_of(az, folder), "347");
    az_close(az);
}

Test(ends, generation_stops_at_each_of_them)
{
    az_ctx *az = az_open(NULL);
    az_lm *lm = tiny_llama(az, 3);
    const az_tokens prompt = {(int32_t[]){5, 17, 2}, 3};
    const az_tokens all = *az_lm_generate(az, lm, &prompt, &(az_lm_generate_options){.max_tokens = 20});
    cr_assert_eq(all.n, 23);
    lm->tokenizer = with_ends(az, NULL, 0);
    lm->tokenizer->end[0] = all.id[9];
    lm->tokenizer->ends = 1;
    int64_t first = 3;
    while (all.id[first] != all.id[9]) first++;
    cr_assert_eq(az_lm_generate(az, lm, &prompt, &(az_lm_generate_options){.max_tokens = 20})->n, first);
    az_close(az);
}

static void count_note(const az_progress_event *event, void *user)
{
    *(int *)user += strcmp(event->task, "note") == 0 && strstr(event->note, "added tokens") != NULL;
}

Test(ends, flags_that_gguf_cannot_keep_are_a_remark)
{
    for (int flags = 0; flags < 2; flags++) {
        int notes = 0;
        az_ctx *az = az_open(&(az_settings){.progress = count_note, .user = &notes});
        az_lm *lm = tiny_llama(az, 1);
        lm->tokenizer = with_ends(az, NULL, 0);
        lm->tokenizer->added[5] = flags ? AZ_ADDED_RSTRIP : 0;
        cr_assert(az_lm_save(az, lm, test_path(az, test_folder(az), "flags.gguf"), NULL), "%s", az_error(az));
        cr_assert_eq(notes, flags);
        az_close(az);
    }
}
