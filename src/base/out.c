/* out.c - files that appear whole or not at all. */
#include "base/behind.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

struct az_out {
    az_ctx *az;
    const char *path;      /* the target, links resolved */
    const char *folder;    /* where it lies */
    const char *temporary; /* name of the unfinished file; NULL while it has none (O_TMPFILE) or for a device */
    FILE *stream;
    az_behind *behind; /* writes large data; NULL before the first, and where there are no threads */
    bool direct;       /* a device, a pipe or the standard output: written to straight away */
    bool done;
};

static void drop(void *object)
{
    az_out *out = object;
    az_behind_stop(out->behind);
    out->behind = NULL;
    if (out->stream) fclose(out->stream);
    out->stream = NULL;
    if (!out->done && out->temporary) unlink(out->temporary);
    out->done = true;
}

/* The folder part of a path: "." for a bare name. */
static char *folder_of(az_ctx *az, const char *path)
{
    const char *slash = strrchr(path, '/');
    if (!slash) return az_strdup(az, ".");
    if (slash == path) return az_strdup(az, "/");
    return az_format_text(az, "%.*s", (int)(slash - path), path);
}

static char *temporary_name(az_ctx *az, const char *path, int attempt)
{
    return az_format_text(az, "%s.part-%ld-%d", path, (long)getpid(), attempt);
}

enum { ATTEMPTS = 100 };

/* A file without a name, which vanishes even when the process is killed; where the file system has none, a named one. */
static int open_unfinished(az_out *out)
{
    int fd = -1;
    if (access("/proc/self/fd", X_OK) == 0) fd = open(out->folder, O_TMPFILE | O_RDWR | O_CLOEXEC, 0666);
    for (int attempt = 0; fd < 0 && attempt < ATTEMPTS; attempt++) {
        out->temporary = temporary_name(out->az, out->path, attempt);
        if (!out->temporary) return -1;
        fd = open(out->temporary, O_CREAT | O_EXCL | O_RDWR | O_CLOEXEC, 0666);
        if (fd < 0) out->temporary = NULL;
        if (fd < 0 && errno != EEXIST) return -1;
    }
    return fd;
}

static int open_target(az_out *out)
{
    struct stat info;
    if (strcmp(out->path, "-") == 0) {
        out->direct = true;
        return dup(STDOUT_FILENO);
    }
    if (stat(out->path, &info) == 0) {
        if (S_ISDIR(info.st_mode)) {
            errno = EISDIR;
            return -1;
        }
        out->direct = !S_ISREG(info.st_mode);
        char *resolved = realpath(out->path, NULL);
        if (resolved) out->path = az_strdup(out->az, resolved);
        free(resolved);
    }
    out->folder = out->path ? folder_of(out->az, out->path) : NULL;
    if (!out->folder) return -1;
    return out->direct ? open(out->path, O_WRONLY | O_CLOEXEC) : open_unfinished(out);
}

az_out *az_create(az_ctx *az, const char *path)
{
    if (!path || !az_ok(az)) return NULL;
    if (!*path) return az_fail(az, AZ_BAD_INPUT, "a file name is empty");
    az_out *out = az_alloc(az, sizeof *out);
    if (!out) return NULL;
    *out = (az_out){.az = az, .path = az_strdup(az, path)};
    if (!out->path) return NULL;
    int fd = open_target(out);
    if (fd < 0) return az_fail(az, AZ_IO, "cannot write '%s': %s", path, strerror(errno));
    out->stream = fdopen(fd, "wb");
    if (!out->stream) {
        close(fd);
        drop(out);
        return az_fail(az, AZ_IO, "cannot write '%s': %s", path, strerror(errno));
    }
    return az_on_leave(az, drop, out) ? out : NULL;
}

FILE *az_out_stream(az_out *out)
{
    return out ? out->stream : NULL;
}

enum { SMALL_WRITE = 64 << 10, STRIDE = 8 << 20 };

/* Maps the pages of a mapped file at once, which is faster than one fault every few of them. A hint: older systems do not know it. */
static void begin_reading(const char *data, size_t bytes)
{
    const size_t page = (size_t)sysconf(_SC_PAGESIZE), before = (uintptr_t)data % page;
    madvise((void *)(uintptr_t)(data - before), bytes + before, MADV_POPULATE_READ);
}

/* Writes it here and now. */
static bool write_now(int fd, const char *data, size_t bytes, off_t at)
{
    for (size_t done = 0; done < bytes; done += STRIDE) {
        const size_t size = bytes - done < STRIDE ? bytes - done : STRIDE;
        begin_reading(data + done, size);
        errno = az_write_pieces(fd, data + done, size, at + (off_t)done);
        if (errno != 0) return false;
    }
    return true;
}

/* What comes in one piece from a mapped file is written from there; what was made for the purpose while the next is made. */
static bool write_large(az_out *out, const char *data, size_t bytes)
{
    const int fd = fileno(out->stream);
    const off_t at = lseek(fd, 0, SEEK_CUR);
    if (at < 0) return false;
    if (!out->behind && az_threads(out->az) > 1) out->behind = az_behind_start(fd);
    if (!az_behind_take(out->behind, data, bytes, at) && !write_now(fd, data, bytes, at)) return false;
    return lseek(fd, at + (off_t)bytes, SEEK_SET) >= 0;
}

bool az_out_write(az_out *out, const void *data, size_t bytes)
{
    if (!out || !out->stream || !az_ok(out->az)) return false;
    const bool small = bytes < SMALL_WRITE || out->direct;
    const bool good =
        small ? bytes == 0 || fwrite(data, 1, bytes, out->stream) == bytes : fflush(out->stream) == 0 && write_large(out, data, bytes);
    return good || az_fail(out->az, AZ_IO, "cannot write '%s': %s", out->path, strerror(errno));
}

/* Gives the nameless file a name beside its target, so that rename can replace what is there. */
static bool give_name(az_out *out)
{
    char source[64];
    snprintf(source, sizeof source, "/proc/self/fd/%d", fileno(out->stream));
    for (int attempt = 0; attempt < ATTEMPTS; attempt++) {
        char *name = temporary_name(out->az, out->path, attempt);
        if (!name) return false;
        if (linkat(AT_FDCWD, source, AT_FDCWD, name, AT_SYMLINK_FOLLOW) == 0) {
            out->temporary = name;
            return true;
        }
        if (errno != EEXIST) return false;
    }
    return false;
}

/* Makes the renaming itself durable. File systems that cannot sync a folder say EINVAL. */
static bool sync_folder(const char *folder)
{
    int fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0) return false;
    bool ok = fsync(fd) == 0 || errno == EINVAL;
    close(fd);
    return ok;
}

static bool publish(az_out *out)
{
    if (fflush(out->stream) != 0 || ferror(out->stream)) return false;
    if (out->direct) return true;
    errno = az_behind_finish(out->behind);
    if (errno != 0) return false;
    struct stat old;
    if (stat(out->path, &old) == 0 && fchmod(fileno(out->stream), old.st_mode & 07777) != 0) return false;
    if (fsync(fileno(out->stream)) != 0) return false;
    if (!out->temporary && !give_name(out)) return false;
    if (rename(out->temporary, out->path) != 0) return false;
    out->done = true;
    return sync_folder(out->folder);
}

bool az_commit(az_out *out)
{
    if (!out || out->done || !az_ok(out->az)) return false;
    bool ok = publish(out);
    if (!ok) az_fail(out->az, AZ_IO, "cannot write '%s': %s", out->path, strerror(errno));
    drop(out);
    return ok;
}
