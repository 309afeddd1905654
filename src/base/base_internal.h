/* base_internal.h - the inside of a context, for the files of this room, and the one door that tapes need. */
#ifndef ADZE_BASE_INTERNAL_H
#define ADZE_BASE_INTERNAL_H

#include "adze/base.h"

enum { AZ_MAX_SCOPES = 256, AZ_POOL_CLASSES = 160 };

/* A block of memory with its size in front; free ones wait in the pool. */
typedef struct az_chunk {
    struct az_chunk *next;
    size_t bytes; /* usable bytes */
} az_chunk;

typedef struct az_cleanup {
    struct az_cleanup *next;
    void (*done)(void *object);
    void *object;
} az_cleanup;

/* A header's claim on its buffer: *slot is dropped when the arena that the header lives in ends. */
typedef struct az_hold {
    struct az_hold *next;
    az_buffer **slot;
} az_hold;

struct az_arena {
    az_chunk *chunks;     /* newest first; small allocations are cut from the newest small one */
    char *at, *end;       /* free part of the current small chunk */
    size_t next_chunk;    /* size of the next small chunk */
    az_cleanup *cleanups; /* newest first */
    az_hold *holds;
    struct az_arena *previous, *following; /* list of the context's arenas */
};

struct az_ctx {
    az_settings settings;
    int threads;
    az_status status;
    char message[1024];
    az_arena *scope[AZ_MAX_SCOPES]; /* where az_alloc takes from: the innermost is scope[depth - 1] */
    int depth;
    az_arena *arenas; /* every arena, for az_close */
    az_chunk *pool[AZ_POOL_CLASSES];
    size_t pool_bytes;
    az_chunk *slabs;          /* newest first; smaller chunks are cut from the newest */
    char *slab_at, *slab_end; /* its free part */
    size_t memory_now, memory_peak;
    struct az_mapping *mappings; /* every view of a file */
    struct az_task *task;        /* progress of the running task */
    void *tape;                  /* the innermost open tape (src/tensor/tape.c) */
    uint64_t tapes;              /* how many tapes were ever opened */
};

/* Enters a claim in the innermost scope; `hold` and the slot live in that scope. */
void az_hold_until_leave(az_ctx *az, az_hold *hold, az_buffer **slot);

/* Processors that the process may use. */
int az_cores(void);

/* Processors that control groups allow, rounded up; 0 = no limit. groups: a file as /proc/self/cgroup; root: where they are mounted. */
int az_quota(const char *groups, const char *root);

/* Raw chunks from the pool or the system, counted; NULL (without an error recorded) when the limit or the machine is exhausted. */
az_chunk *az_chunk_new(az_ctx *az, size_t bytes);
void az_chunk_free(az_ctx *az, az_chunk *chunk);
/* When no chunk is in use any more. */
void az_pool_free(az_ctx *az);

/* Advises the system to hold whole pages in large ones, whose addresses are found faster; it may refuse. */
void az_want_large_pages(void *address, size_t bytes);

#endif
