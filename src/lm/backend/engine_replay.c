/* engine_replay.c - recorded replies only: a cache, or the JSON lines of its export. What was not recorded is an error that shows it. */
#include "lm/backend/backend_internal.h"

#include <string.h>
#include <unistd.h>

static bool never_called(az_backend *backend, az_call *call, int n)
{
    (void)call, (void)n; /* az_backend_ask_all fails before, on what the recording lacks */
    return az_fail(backend->az, AZ_BAD_CALL, "a recording was asked something new");
}

static const az_engine replay_engine = {.answer = never_called};

bool az_engine_replay(az_backend *backend, const char *spec)
{
    az_ctx *az = backend->az;
    const char *hash = strchr(spec, '#');
    const char *path = az_format_text(az, "%.*s", (int)strcspn(spec, "#"), spec);
    if (!path || !*path) return az_fail(az, AZ_BAD_INPUT, "replay: needs a file");
    if (access(path, R_OK) != 0) return az_fail(az, AZ_BAD_INPUT, "there is no recording '%s'", path);
    const size_t length = strlen(path);
    const bool lines = length > 6 && strcmp(path + length - 6, ".jsonl") == 0;
    backend->cache = (lines ? az_cache_of_lines : az_cache_open_to_read)(az, path);
    if (!backend->cache) return false;
    backend->model = backend->identity = hash ? az_strdup(az, hash + 1) : az_cache_model(backend->cache);
    backend->engine = &replay_engine;
    backend->settings.replay = true;
    backend->capabilities = AZ_CAN_CHAT | AZ_CAN_COMPLETE | AZ_CAN_SCORE | AZ_CAN_NEXT | AZ_CAN_EMBED | AZ_CAN_BIAS | AZ_CAN_SEED |
                            AZ_CAN_IMAGES; /* as was recorded */
    return backend->identity != NULL;
}
