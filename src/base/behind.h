/* behind.h - a thread that writes the bytes of a file while its caller makes the next ones. */
#ifndef ADZE_BASE_BEHIND_H
#define ADZE_BASE_BEHIND_H

#include "adze/base.h"

#include <sys/types.h>

typedef struct az_behind az_behind;

/* NULL when no thread or memory is to be had: then the caller writes by itself. fd stays the caller's. */
az_behind *az_behind_start(int fd);
/* Takes a copy of the bytes, to be written at that place of the file; waits while the thread has its hands full. False when it does not
 * take so many at once, or has failed. */
bool az_behind_take(az_behind *behind, const void *data, size_t bytes, off_t at);
/* Waits until all that was taken is written. 0, or the errno of what failed first. */
int az_behind_finish(az_behind *behind);
/* Writes what was taken and ends the thread. NULL is allowed. */
void az_behind_stop(az_behind *behind);

/* All the bytes at that place, in pieces of a size that the system likes; it is told to bring them to the disk. 0, or errno. */
int az_write_pieces(int fd, const char *data, size_t bytes, off_t at);

#endif
