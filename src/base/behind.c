/* behind.c - writing in a thread of its own: two buffers, of which one is filled while the other is written. */
#include "base/behind.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { BUFFERS = 2, BUFFER_BYTES = 4 << 20 };

typedef struct piece {
    char *data; /* [BUFFER_BYTES] */
    size_t bytes;
    off_t at;
} piece;

struct az_behind {
    int fd, error; /* errno of what failed first */
    pthread_t thread;
    pthread_mutex_t lock; /* guards what follows */
    pthread_cond_t changed;
    piece piece[BUFFERS];
    int next, waiting; /* the piece to be written next, and how many have to be */
    bool over;         /* no more come */
};

/* Pieces are small, because for large ones the system takes large free pages, which a virtual machine may have given back to its host: then
 * they cost several times as much. */
int az_write_pieces(int fd, const char *data, size_t bytes, off_t at)
{
    enum { PIECE = 128 << 10, WORTH_IT = 512 << 10 };
    for (size_t done = 0; done < bytes;) {
        const size_t size = bytes - done < PIECE ? bytes - done : PIECE;
        const ssize_t n = pwrite(fd, data + done, size, at + (off_t)done);
        if (n < 0 && errno != EINTR) return errno;
        if (n == 0) return ENOSPC;
        if (n > 0) done += (size_t)n;
    }
    if (bytes >= WORTH_IT) sync_file_range(fd, at, (off_t)bytes, SYNC_FILE_RANGE_WRITE); /* a hint: a sync tells whether it worked */
    return 0;
}

static void *write_all(void *object)
{
    az_behind *b = object;
    pthread_mutex_lock(&b->lock);
    for (;;) {
        while (b->waiting == 0 && !b->over) pthread_cond_wait(&b->changed, &b->lock);
        if (b->waiting == 0) break;
        const piece *p = &b->piece[b->next];
        const bool good = b->error == 0;
        pthread_mutex_unlock(&b->lock);
        const int error = good ? az_write_pieces(b->fd, p->data, p->bytes, p->at) : 0;
        pthread_mutex_lock(&b->lock);
        if (b->error == 0) b->error = error;
        b->next = (b->next + 1) % BUFFERS;
        b->waiting--;
        pthread_cond_broadcast(&b->changed);
    }
    pthread_mutex_unlock(&b->lock);
    return NULL;
}

static void release(az_behind *b)
{
    free(b->piece[0].data);
    free(b);
}

az_behind *az_behind_start(int fd)
{
    az_behind *b = calloc(1, sizeof *b);
    char *data = b ? malloc((size_t)BUFFERS * BUFFER_BYTES) : NULL;
    if (!data) {
        free(b);
        return NULL;
    }
    b->fd = fd;
    for (int i = 0; i < BUFFERS; i++) b->piece[i].data = data + (size_t)i * BUFFER_BYTES;
    pthread_mutex_init(&b->lock, NULL);
    pthread_cond_init(&b->changed, NULL);
    if (pthread_create(&b->thread, NULL, write_all, b) == 0) return b;
    release(b);
    return NULL;
}

bool az_behind_take(az_behind *b, const void *data, size_t bytes, off_t at)
{
    if (!b || bytes > BUFFER_BYTES) return false;
    pthread_mutex_lock(&b->lock);
    while (b->waiting == BUFFERS) pthread_cond_wait(&b->changed, &b->lock);
    const bool good = b->error == 0;
    piece *p = &b->piece[(b->next + b->waiting) % BUFFERS];
    pthread_mutex_unlock(&b->lock);
    if (!good) return false;
    memcpy(p->data, data, bytes);
    p->bytes = bytes;
    p->at = at;
    pthread_mutex_lock(&b->lock);
    b->waiting++;
    pthread_cond_broadcast(&b->changed);
    pthread_mutex_unlock(&b->lock);
    return true;
}

int az_behind_finish(az_behind *b)
{
    if (!b) return 0;
    pthread_mutex_lock(&b->lock);
    while (b->waiting > 0) pthread_cond_wait(&b->changed, &b->lock);
    const int error = b->error;
    pthread_mutex_unlock(&b->lock);
    return error;
}

void az_behind_stop(az_behind *b)
{
    if (!b) return;
    pthread_mutex_lock(&b->lock);
    b->over = true;
    pthread_cond_broadcast(&b->changed);
    pthread_mutex_unlock(&b->lock);
    pthread_join(b->thread, NULL);
    pthread_mutex_destroy(&b->lock);
    pthread_cond_destroy(&b->changed);
    release(b);
}
