/* memory.c - scopes, arenas, reference-counted buffers and the pool beneath them.
 *
 * Every block is a chunk. Arenas cut small allocations from chunks of growing size and give large ones a chunk of their own. Freed chunks
 * of at least POOL_MIN bytes wait in the pool, in classes of four sizes per power of two, so that a training loop settles into reusing
 * them. Chunks below CUT_BELOW are in turn cut from slabs of huge pages and stay in the pool until the context is closed: the first touch
 * of a page costs more than filling it. */
#include "base/base_internal.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

enum {
    ALIGNMENT = 64,
    HEADER = 64, /* az_chunk, padded so that what follows stays aligned */
    FIRST_CHUNK = 4 << 10,
    LAST_CHUNK = 1 << 20,
    LARGE = 64 << 10, /* from here on an allocation has its own chunk */
    HUGE_PAGE = 2 << 20,
    HUGE_FROM = 2 * HUGE_PAGE, /* from here on a chunk asks for huge pages of its own */
    SLAB = 8 * HUGE_PAGE,
    CUT_BELOW = HUGE_FROM, /* smaller chunks are parts of slabs */
#ifdef __SANITIZE_ADDRESS__
    POOL_MIN = 16 << 10, /* what is smaller goes back at once, so that a use after its end is seen */
    CUTS = false,        /* nor does a chunk lie beside another */
#else
    POOL_MIN = 256,
    CUTS = true,
#endif
};

static const size_t POOL_LIMIT = (size_t)8 << 30; /* bytes that may wait in the pool */

static void *chunk_data(az_chunk *chunk)
{
    return (char *)chunk + HEADER;
}

static az_chunk *chunk_of(void *data)
{
    return (az_chunk *)(void *)((char *)data - HEADER);
}

/* Rounds up to one of four steps per power of two and tells the class of that size. */
static size_t pool_size(size_t bytes, int *class)
{
    int log = 63 - __builtin_clzll((unsigned long long)bytes | 1);
    if (log < 6) log = 6;
    size_t step = (size_t)1 << (log - 2);
    size_t rounded = (bytes + step - 1) & ~(step - 1);
    log = 63 - __builtin_clzll((unsigned long long)rounded | 1);
    *class = (log < 40 ? log - 6 : 33) * 4 + (int)((rounded >> (log - 2)) & 3);
    return rounded;
}

/* Memory from the system. Large blocks ask for huge pages: that saves first touches, and a product that walks over megabytes misses fewer
 * translations. */
static az_chunk *fresh_chunk(size_t bytes)
{
    const bool huge = bytes >= HUGE_FROM;
    void *chunk = NULL;
    if (posix_memalign(&chunk, huge ? HUGE_PAGE : ALIGNMENT, bytes) != 0) return NULL;
    if (huge) az_want_large_pages(chunk, bytes / HUGE_PAGE * HUGE_PAGE);
    return chunk;
}

/* Whether a chunk of so many usable bytes is part of a slab. */
static bool is_cut(size_t bytes)
{
    return CUTS && bytes >= POOL_MIN && bytes < CUT_BELOW;
}

static az_chunk *cut_chunk(az_ctx *az, size_t bytes)
{
    if ((size_t)(az->slab_end - az->slab_at) < bytes) {
        az_chunk *slab = fresh_chunk(SLAB);
        if (!slab) return NULL;
        *slab = (az_chunk){.next = az->slabs, .bytes = SLAB - HEADER};
        az->slabs = slab;
        az->slab_at = chunk_data(slab);
        az->slab_end = (char *)slab + SLAB;
    }
    void *chunk = az->slab_at;
    az->slab_at += bytes;
    return chunk;
}

void az_want_large_pages(void *address, size_t bytes)
{
#ifdef MADV_HUGEPAGE
    madvise(address, bytes, MADV_HUGEPAGE);
#else
    (void)address, (void)bytes;
#endif
}

az_chunk *az_chunk_new(az_ctx *az, size_t bytes)
{
    if (bytes > (size_t)1 << 46) return NULL;
    int class = 0;
    size_t rounded = bytes >= POOL_MIN ? pool_size(bytes, &class) : (bytes + ALIGNMENT - 1) & ~(size_t)(ALIGNMENT - 1);
    if (az->settings.memory_limit && az->memory_now + rounded > az->settings.memory_limit) return NULL;
    az_chunk *chunk = bytes >= POOL_MIN ? az->pool[class] : NULL;
    if (chunk && chunk->bytes == rounded) {
        az->pool[class] = chunk->next;
        az->pool_bytes -= rounded;
    } else {
        chunk = is_cut(rounded) ? cut_chunk(az, rounded + HEADER) : fresh_chunk(rounded + HEADER);
        if (!chunk) return NULL;
    }
    *chunk = (az_chunk){.bytes = rounded};
    az->memory_now += rounded;
    if (az->memory_now > az->memory_peak) az->memory_peak = az->memory_now;
    return chunk;
}

void az_chunk_free(az_ctx *az, az_chunk *chunk)
{
    az->memory_now -= chunk->bytes;
    if (chunk->bytes < POOL_MIN || (!is_cut(chunk->bytes) && az->pool_bytes + chunk->bytes > POOL_LIMIT)) {
        free(chunk);
        return;
    }
    int class;
    pool_size(chunk->bytes, &class);
    chunk->next = az->pool[class];
    az->pool[class] = chunk;
    az->pool_bytes += chunk->bytes;
}

/* Of a list of chunks, those that the system gave. */
static void free_chunks(az_chunk *chunk)
{
    while (chunk) {
        az_chunk *next = chunk->next;
        if (!is_cut(chunk->bytes)) free(chunk);
        chunk = next;
    }
}

void az_pool_free(az_ctx *az)
{
    for (int i = 0; i < AZ_POOL_CLASSES; i++) free_chunks(az->pool[i]);
    free_chunks(az->slabs);
}

/* ---- arenas ---- */

az_arena *az_arena_new(az_ctx *az)
{
    az_arena *arena = calloc(1, sizeof *arena);
    if (!arena) return az_fail(az, AZ_NO_MEMORY, "out of memory");
    arena->next_chunk = FIRST_CHUNK;
    arena->following = az->arenas;
    if (az->arenas) az->arenas->previous = arena;
    az->arenas = arena;
    return arena;
}

void az_arena_free(az_ctx *az, az_arena *arena)
{
    if (!arena) return;
    for (az_cleanup *c = arena->cleanups; c; c = c->next) c->done(c->object);
    for (az_hold *hold = arena->holds; hold; hold = hold->next) az_buffer_drop(*hold->slot);
    while (arena->chunks) {
        az_chunk *next = arena->chunks->next;
        az_chunk_free(az, arena->chunks);
        arena->chunks = next;
    }
    if (arena->previous) arena->previous->following = arena->following;
    if (arena->following) arena->following->previous = arena->previous;
    if (az->arenas == arena) az->arenas = arena->following;
    free(arena);
}

void az_arena_enter(az_ctx *az, az_arena *arena)
{
    if (az->depth == AZ_MAX_SCOPES) {
        fprintf(stderr, "adze: scopes nested more than %d deep; a push without its pop\n", AZ_MAX_SCOPES);
        abort();
    }
    az->scope[az->depth++] = arena;
}

void az_arena_leave(az_ctx *az)
{
    az->depth--;
}

void az_scope_push(az_ctx *az)
{
    az_arena *arena = az_arena_new(az);
    if (arena) az_arena_enter(az, arena);
}

void az_scope_pop(az_ctx *az)
{
    az_arena *arena = az->scope[az->depth - 1];
    az_arena_leave(az);
    az_arena_free(az, arena);
}

static void *arena_alloc(az_ctx *az, az_arena *arena, size_t bytes)
{
    size_t rounded = (bytes + ALIGNMENT - 1) & ~(size_t)(ALIGNMENT - 1);
    if (rounded < bytes) return NULL;
    if (rounded >= LARGE) {
        az_chunk *chunk = az_chunk_new(az, rounded);
        if (!chunk) return NULL;
        chunk->next = arena->chunks;
        arena->chunks = chunk;
        return chunk_data(chunk);
    }
    if ((size_t)(arena->end - arena->at) < rounded) {
        size_t size = arena->next_chunk > rounded ? arena->next_chunk : rounded;
        az_chunk *chunk = az_chunk_new(az, size);
        if (!chunk) return NULL;
        chunk->next = arena->chunks;
        arena->chunks = chunk;
        arena->at = chunk_data(chunk);
        arena->end = arena->at + chunk->bytes;
        if (arena->next_chunk < LAST_CHUNK) arena->next_chunk *= 2;
    }
    void *data = arena->at;
    arena->at += rounded;
    return data;
}

void *az_alloc(az_ctx *az, size_t bytes)
{
    if (az->status == AZ_NO_MEMORY) return NULL;
    void *data = arena_alloc(az, az->scope[az->depth - 1], bytes ? bytes : 1);
    if (!data) return az_fail(az, AZ_NO_MEMORY, "out of memory: %zu bytes wanted, %zu held", bytes, az->memory_now);
    return memset(data, 0, bytes);
}

void *az_alloc_array(az_ctx *az, size_t count, size_t size)
{
    size_t bytes;
    if (__builtin_mul_overflow(count, size, &bytes)) return az_fail(az, AZ_NO_MEMORY, "out of memory: %zu x %zu bytes wanted", count, size);
    return az_alloc(az, bytes);
}

char *az_strdup(az_ctx *az, const char *text)
{
    if (!text) return NULL;
    size_t length = strlen(text);
    char *copy = az_alloc(az, length + 1);
    return copy ? memcpy(copy, text, length + 1) : NULL;
}

char *az_format_text(az_ctx *az, const char *format, ...)
{
    va_list args, again;
    va_start(args, format);
    va_copy(again, args);
    int length = vsnprintf(NULL, 0, format, args);
    va_end(args);
    char *text = length < 0 ? NULL : az_alloc(az, (size_t)length + 1);
    if (text) vsnprintf(text, (size_t)length + 1, format, again);
    va_end(again);
    return text;
}

bool az_on_leave(az_ctx *az, void (*done)(void *object), void *object)
{
    az_arena *arena = az->scope[az->depth - 1];
    az_cleanup *cleanup = arena_alloc(az, arena, sizeof *cleanup);
    if (!cleanup) {
        done(object);
        return az_fail(az, AZ_NO_MEMORY, "out of memory");
    }
    *cleanup = (az_cleanup){.next = arena->cleanups, .done = done, .object = object};
    arena->cleanups = cleanup;
    return true;
}

void az_hold_until_leave(az_ctx *az, az_hold *hold, az_buffer **slot)
{
    az_arena *arena = az->scope[az->depth - 1];
    *hold = (az_hold){.next = arena->holds, .slot = slot};
    arena->holds = hold;
}

/* ---- buffers ---- */

az_buffer *az_buffer_new(az_ctx *az, size_t bytes)
{
    if (!az_ok(az) && az->status == AZ_NO_MEMORY) return NULL;
    az_chunk *chunk = az_chunk_new(az, bytes > SIZE_MAX - ALIGNMENT ? SIZE_MAX : bytes + ALIGNMENT);
    if (!chunk) return az_fail(az, AZ_NO_MEMORY, "out of memory: %zu bytes wanted, %zu held", bytes, az->memory_now);
    az_buffer *buffer = chunk_data(chunk);
    _Static_assert(sizeof(az_buffer) <= ALIGNMENT, "a buffer's header fits in front of its data");
    *buffer = (az_buffer){.data = (char *)buffer + ALIGNMENT, .bytes = bytes, .references = 1, .az = az};
    return buffer;
}

az_buffer *az_buffer_wrap(az_ctx *az, void *data, size_t bytes, void (*release)(az_buffer *buffer), void *owner)
{
    az_buffer *buffer = az_buffer_new(az, 0);
    if (!buffer) return NULL;
    buffer->data = data;
    buffer->bytes = bytes;
    buffer->release = release;
    buffer->owner = owner;
    return buffer;
}

az_buffer *az_buffer_hold(az_buffer *buffer)
{
    if (buffer) buffer->references++;
    return buffer;
}

void az_buffer_drop(az_buffer *buffer)
{
    if (!buffer || --buffer->references > 0) return;
    if (buffer->release) buffer->release(buffer);
    az_chunk_free(buffer->az, chunk_of(buffer));
}

size_t az_memory_limit(const az_ctx *az)
{
    return az->settings.memory_limit;
}

size_t az_memory_now(const az_ctx *az)
{
    return az->memory_now;
}

size_t az_memory_peak(const az_ctx *az)
{
    return az->memory_peak;
}

void az_memory_reset_peak(az_ctx *az)
{
    az->memory_peak = az->memory_now;
}
