#include "support/small_tune.h"

#include "support/small_lm.h"

#include <signal.h>
#include <string.h>
#include <unistd.h>

const char *const small_bases[SMALL_BASES] = {"", "quantize:type=q4_0", "llm-int8", "wanda:pattern=2:4 quantize:type=nm_f16", "welore"};

/* One "method:options" of a chain. */
static bool compress(az_ctx *az, az_lm *lm, const char *step, size_t length)
{
    const char *text = az_format_text(az, "%.*s", (int)length, step), *colon = strchr(text, ':');
    const char *name = colon ? az_format_text(az, "%.*s", (int)(colon - text), text) : text;
    return small_compress(az, lm, name, colon ? colon + 1 : "", small_stories(az, 0, 10), NULL);
}

az_lm *small_base(az_ctx *az, int which)
{
    az_lm *lm = small_lm(az);
    for (const char *at = small_bases[which]; lm && *at;) {
        const size_t length = strcspn(at, " ");
        if (!compress(az, lm, at, length)) return NULL;
        at += length + (at[length] == ' ');
    }
    return lm;
}

az_tensor *small_logits(az_ctx *az, const az_lm *lm, const az_adapter *adapter)
{
    static const int32_t token[] = {3, 270, 5, 9, 130, 2, 11, 97, 98, 99};
    const az_lm_batch batch = {.sequences = 1, .token = token, .start = (const int64_t[]){0, 10}};
    return az_lm_forward(az, lm, &batch, adapter ? &(az_lm_run){.adapter = &adapter, .adapters = 1} : NULL);
}

az_adapter *small_tune(az_ctx *az, az_lm *lm, const char *method, const char *options, const char *settings)
{
    const claim_tuning what = {
        .lm = lm, .method = method, .options = options, .settings = settings, .train = claim_strings(az, CLAIM_NEW, 1, 4, 64, 3)};
    claim_tuned run;
    return lm && claim_tune(az, &what, 1, &run) ? run.adapter : NULL;
}

/* Events come at most ten times a second: one that was told just before would hide the first step. */
void interrupt_training(const az_progress_event *event, void *user)
{
    int *times = user;
    if (strcmp(event->task, "training") != 0)
        usleep(120000);
    else if ((*times)++ == 0)
        raise(SIGINT);
}
