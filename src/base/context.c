/* context.c - opening and closing a context, and the error that sticks. */
#include "base/base_internal.h"

#include <cblas.h>
#include <stdlib.h>
#include <string.h>

#ifdef _OPENMP
#include <omp.h>
#endif

static int usual_threads(void)
{
    const char *asked = getenv("OMP_NUM_THREADS");
    const int threads = asked ? atoi(asked) : 0;
    return threads > 0 && threads <= 4096 ? threads : az_cpu_features()->cores;
}

az_ctx *az_open(const az_settings *settings)
{
    az_ctx *az = calloc(1, sizeof *az);
    if (!az) return NULL;
    if (settings) az->settings = *settings;
    az->threads = az->settings.threads > 0 ? az->settings.threads : usual_threads();
#ifdef _OPENMP
    omp_set_num_threads(az->threads);
#endif
    /* BLAS and LAPACK cut by the number of threads, and the last bits depend on the cuts. This sets OpenMP's own number to 1 as well, and
     * BLAS would follow a larger one: each parallel region says num_threads(az_threads(az)). */
    openblas_set_num_threads(1);
    az_scope_push(az);
    if (az->depth == 0) {
        free(az);
        return NULL;
    }
    return az;
}

void az_close(az_ctx *az)
{
    if (!az) return;
    while (az->depth > 0) az_scope_pop(az);
    while (az->arenas) az_arena_free(az, az->arenas);
    az_pool_free(az);
    free(az->task);
    free(az);
}

bool az_ok(const az_ctx *az)
{
    return az->status == AZ_OK;
}

az_status az_status_of(const az_ctx *az)
{
    return az->status;
}

const char *az_error(const az_ctx *az)
{
    return az->message;
}

void *az_fail(az_ctx *az, az_status status, const char *format, ...)
{
    if (az->status != AZ_OK) return NULL;
    az->status = status;
    va_list args;
    va_start(args, format);
    vsnprintf(az->message, sizeof az->message, format, args);
    va_end(args);
    return NULL;
}

void az_fail_context(az_ctx *az, const char *format, ...)
{
    if (az->status == AZ_OK) return;
    char text[sizeof az->message];
    va_list args;
    va_start(args, format);
    int length = vsnprintf(text, sizeof text, format, args);
    va_end(args);
    if (length < 0 || (size_t)length >= sizeof text - 3) return;
    if (strncmp(az->message, text, (size_t)length) == 0 && az->message[length] == ':') return; /* told already */
    snprintf(text + length, sizeof text - (size_t)length, ": %s", az->message);
    memcpy(az->message, text, sizeof text);
}

void az_clear(az_ctx *az)
{
    az->status = AZ_OK;
    az->message[0] = '\0';
}

void az_note(az_ctx *az, const char *format, ...)
{
    if (!az->settings.progress) return;
    char text[1024];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    az_progress_event event = {.task = "note", .eta = -1, .note = text, .finished = true};
    az->settings.progress(&event, az->settings.user);
}

int az_threads(const az_ctx *az)
{
    return az->threads;
}

uint64_t az_seed(const az_ctx *az)
{
    return az->settings.seed;
}

const char *az_version(void)
{
    return ADZE_VERSION;
}
