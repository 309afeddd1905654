/* files.c - files that appear whole or not at all, mapped files, whole files as text, folders. */
#include "adze/base.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>

static const size_t READ_LIMIT = (size_t)4 << 30; /* bytes of text, after decompression */

/* ---- writing ---- */

struct az_out {
    az_ctx *az;
    const char *path;      /* the target, links resolved */
    const char *folder;    /* where it lies */
    const char *temporary; /* name of the unfinished file; NULL while it has none (O_TMPFILE) or for a device */
    FILE *stream;
    off_t on_its_way; /* bytes that the system has been told to write to the disk */
    bool direct;      /* a device, a pipe or the standard output: written to straight away */
    bool done;
};

static void drop(void *object)
{
    az_out *out = object;
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

/* Pieces of a write are small, because for large ones the system takes large free pages, which a virtual machine may have given back to its
 * host: then they cost several times as much. */
enum { SMALL_WRITE = 64 << 10, WRITE_PIECE = 128 << 10, WRITTEN_BACK = 8 << 20 };

/* Maps the pages of a mapped file at once, which is faster than one fault every few of them. A hint: older systems do not know it. */
static void begin_reading(const char *data, size_t bytes)
{
    const size_t page = (size_t)sysconf(_SC_PAGESIZE), before = (uintptr_t)data % page;
    madvise((void *)(uintptr_t)(data - before), bytes + before, MADV_POPULATE_READ);
}

/* Has the system begin to write whole pages to the disk, so that the sync at the end finds them there. */
static void begin_writing_back(az_out *out, int fd)
{
    const off_t page = sysconf(_SC_PAGESIZE), at = lseek(fd, 0, SEEK_CUR);
    const off_t end = at > 0 ? at / page * page : 0;
    if (out->direct || end - out->on_its_way < WRITTEN_BACK) return;
    sync_file_range(fd, out->on_its_way, end - out->on_its_way, SYNC_FILE_RANGE_WRITE); /* a hint: the sync tells whether it worked */
    out->on_its_way = end;
}

bool az_out_write(az_out *out, const void *data, size_t bytes)
{
    if (!out || !out->stream || !az_ok(out->az)) return false;
    const char *at = data, *end = at + bytes;
    bool good = true;
    if (bytes < SMALL_WRITE) {
        good = bytes == 0 || fwrite(data, 1, bytes, out->stream) == bytes;
        at = end;
    } else {
        good = fflush(out->stream) == 0;
    }
    const int fd = fileno(out->stream);
    while (good && at < end) {
        const size_t piece = end - at < WRITE_PIECE ? (size_t)(end - at) : WRITE_PIECE;
        begin_reading(at, piece);
        const ssize_t n = write(fd, at, piece);
        if (n > 0) at += n;
        good = n > 0 || errno == EINTR;
        if (n > 0) begin_writing_back(out, fd);
    }
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

/* ---- reading ---- */

typedef struct mapping {
    az_map map;
    void *address;
} mapping;

static void unmap(void *object)
{
    mapping *m = object;
    if (m->address) munmap(m->address, m->map.size);
}

/* Opens a regular file for reading and tells its size; -1 with an error otherwise. */
static int open_regular(az_ctx *az, const char *path, size_t *size)
{
    struct stat info;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0 || fstat(fd, &info) != 0) {
        az_fail(az, errno == ENOENT ? AZ_BAD_INPUT : AZ_IO, "cannot read '%s': %s", path, strerror(errno));
    } else if (S_ISDIR(info.st_mode)) {
        az_fail(az, AZ_BAD_INPUT, "'%s' is a folder, a file was expected", path);
    } else if (!S_ISREG(info.st_mode)) {
        az_fail(az, AZ_BAD_INPUT, "'%s' is not a regular file, so it cannot be mapped; copy it to a file first", path);
    } else {
        *size = (size_t)info.st_size;
        return fd;
    }
    if (fd >= 0) close(fd);
    return -1;
}

az_map *az_map_file(az_ctx *az, const char *path)
{
    if (!path || !az_ok(az)) return NULL;
    size_t size = 0;
    int fd = open_regular(az, path, &size);
    if (fd < 0) return NULL;
    void *address = size > 0 ? mmap(NULL, size, PROT_READ, MAP_PRIVATE, fd, 0) : NULL;
    int why = errno;
    close(fd);
    if (address == MAP_FAILED) return az_fail(az, AZ_IO, "cannot map '%s': %s", path, strerror(why));
    mapping *m = az_alloc(az, sizeof *m);
    const char *name = az_strdup(az, path);
    if (!m || !name) {
        if (address) munmap(address, size);
        return NULL;
    }
    *m = (mapping){.map = {.data = address ? address : (const void *)"", .size = size, .path = name}, .address = address};
    return az_on_leave(az, unmap, m) ? &m->map : NULL;
}

static void unmap_scratch(az_buffer *buffer)
{
    munmap(buffer->data, buffer->bytes);
}

/* A new file of that folder that has no name, or at once loses it. */
static int open_nameless(az_ctx *az, const char *folder)
{
    int fd = open(folder, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
    char *name = fd < 0 ? az_format_text(az, "%s/scratch-XXXXXX", folder) : NULL;
    if (name) fd = mkstemp(name);
    if (name && fd >= 0) unlink(name);
    return fd;
}

az_buffer *az_buffer_scratch(az_ctx *az, const char *folder, size_t bytes)
{
    if (!az_ok(az)) return NULL;
    const int fd = open_nameless(az, folder);
    /* space is reserved here and now: a full disk is an error, not a signal later */
    const int why = fd < 0 ? errno : bytes > 0 ? posix_fallocate(fd, 0, (off_t)bytes) : 0;
    void *address = why == 0 ? mmap(NULL, bytes ? bytes : 1, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0) : MAP_FAILED;
    if (fd >= 0) close(fd);
    if (address == MAP_FAILED)
        return az_fail(az, AZ_IO, "cannot make a scratch file of %.1f MiB in '%s': %s", (double)bytes / (1 << 20), folder,
                       strerror(why ? why : errno));
    az_buffer *buffer = az_buffer_wrap(az, address, bytes, unmap_scratch, NULL);
    if (!buffer) munmap(address, bytes ? bytes : 1);
    return buffer;
}

static void drop_buffer(void *object)
{
    az_buffer_drop(object);
}

/* A buffer of twice the size with the same beginning; the old one is dropped. */
static az_buffer *grow(az_ctx *az, az_buffer *buffer, size_t used)
{
    az_buffer *bigger = az_buffer_new(az, buffer->bytes * 2);
    if (bigger) memcpy(bigger->data, buffer->data, used);
    az_buffer_drop(buffer);
    return bigger;
}

/* zlib puts "<fd:3>: " before its reason. */
static const char *without_source(const char *why)
{
    const char *reason = *why == '<' ? strstr(why, ">: ") : NULL;
    return reason ? reason + 3 : why;
}

/* Reads to the end of the stream; the result has room for the closing zero. */
static az_buffer *read_all(az_ctx *az, gzFile file, const char *path, size_t *length)
{
    az_buffer *buffer = az_buffer_new(az, (size_t)64 << 10);
    size_t used = 0;
    while (buffer) {
        if (buffer->bytes - used < 2 && !(buffer = grow(az, buffer, used))) return NULL;
        size_t room = buffer->bytes - used - 1;
        int got = gzread(file, (char *)buffer->data + used, room < (1u << 30) ? (unsigned)room : 1u << 30);
        if (got > 0) {
            used += (size_t)got;
            if (used <= READ_LIMIT) continue;
            az_fail(az, AZ_BAD_INPUT, "'%s' holds more than %zu GiB of text; split it", path, READ_LIMIT >> 30);
            break;
        }
        int code = Z_OK;
        const char *why = gzerror(file, &code);
        if (got == 0 && code == Z_OK) {
            *length = used;
            return buffer;
        }
        if (code == Z_ERRNO)
            az_fail(az, AZ_IO, "cannot read '%s': %s", path, strerror(errno));
        else
            az_fail(az, AZ_BAD_INPUT, "cannot read '%s': damaged gzip data (%s)", path, without_source(why));
        break;
    }
    az_buffer_drop(buffer);
    return NULL;
}

char *az_read_file(az_ctx *az, const char *path, size_t *length)
{
    if (!path || !az_ok(az)) return NULL;
    if (az_is_folder(path)) return az_fail(az, AZ_BAD_INPUT, "'%s' is a folder, a file was expected", path);
    int fd = strcmp(path, "-") == 0 ? dup(STDIN_FILENO) : open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) return az_fail(az, errno == ENOENT ? AZ_BAD_INPUT : AZ_IO, "cannot read '%s': %s", path, strerror(errno));
    gzFile file = gzdopen(fd, "rb");
    if (!file) {
        close(fd);
        return az_fail(az, AZ_NO_MEMORY, "out of memory");
    }
    size_t used = 0;
    az_buffer *buffer = read_all(az, file, path, &used);
    gzclose(file);
    if (!buffer) return NULL;
    char *text = buffer->data;
    text[used] = '\0';
    if (length) *length = used;
    return az_on_leave(az, drop_buffer, buffer) ? text : NULL;
}

/* ---- folders ---- */

bool az_is_folder(const char *path)
{
    struct stat info;
    return path && stat(path, &info) == 0 && S_ISDIR(info.st_mode);
}

bool az_make_folder(az_ctx *az, const char *path)
{
    if (!path || !az_ok(az)) return false;
    char *partial = az_strdup(az, path);
    if (!partial) return false;
    for (char *c = partial + 1; *partial; c++) {
        if (*c != '/' && *c != '\0') continue;
        char end = *c;
        *c = '\0';
        if (mkdir(partial, 0777) != 0 && !az_is_folder(partial)) {
            az_fail(az, AZ_IO, "cannot make the folder '%s': %s", partial, strerror(errno));
            return false;
        }
        if (end == '\0') return true;
        *c = end;
    }
    az_fail(az, AZ_BAD_INPUT, "a folder's name is empty");
    return false;
}
