/* files.c - mapped files, whole files as text, folders. */
#include "base/base_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>

static const size_t READ_LIMIT = (size_t)4 << 30; /* bytes of text, after decompression */
static const size_t LARGE_FILE = (size_t)8 << 20; /* bytes from which on large pages are worth asking for */

/* ---- reading ---- */

typedef struct az_mapping {
    az_map map;
    void *address;
    az_ctx *az;
    struct az_mapping *next; /* of the context's */
} az_mapping;

static void unmap(void *object)
{
    az_mapping *m = object, **slot = &m->az->mappings;
    while (*slot != m) slot = &(*slot)->next;
    *slot = m->next;
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

/* The file at an address of its own; NULL when it is empty, and with an error. */
static void *map_whole(az_ctx *az, const char *path, int protection, size_t *size)
{
    const int fd = open_regular(az, path, size);
    if (fd < 0 || *size == 0) {
        if (fd >= 0) close(fd);
        return NULL;
    }
    void *address = mmap(NULL, *size, protection, MAP_PRIVATE, fd, 0);
    const int why = errno;
    close(fd);
    if (address == MAP_FAILED) return az_fail(az, AZ_IO, "cannot map '%s': %s", path, strerror(why));
    if (*size >= LARGE_FILE) az_want_large_pages(address, *size);
    return address;
}

az_map *az_map_file(az_ctx *az, const char *path)
{
    if (!path || !az_ok(az)) return NULL;
    size_t size = 0;
    void *address = map_whole(az, path, PROT_READ, &size);
    if (!az_ok(az)) return NULL;
    az_mapping *m = az_alloc(az, sizeof *m);
    const char *name = az_strdup(az, path);
    if (!m || !name) {
        if (address) munmap(address, size);
        return NULL;
    }
    *m = (az_mapping){.map = {.data = address ? address : (const void *)"", .size = size, .path = name},
                      .address = address,
                      .az = az,
                      .next = az->mappings};
    az->mappings = m;
    return az_on_leave(az, unmap, m) ? &m->map : NULL;
}

void az_map_forget(az_ctx *az, const void *data, size_t bytes)
{
    const uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE), at = (uintptr_t)data;
    const uintptr_t first = (at + page - 1) / page * page, end = (at + bytes) / page * page;
    for (const az_mapping *m = az->mappings; m && first < end; m = m->next)
        if (m->address && at >= (uintptr_t)m->address && at + bytes <= (uintptr_t)m->address + m->map.size)
            madvise((void *)first, end - first, MADV_DONTNEED);
}

static void unmap_buffer(az_buffer *buffer)
{
    if (buffer->bytes > 0) munmap(buffer->data, buffer->bytes);
}

az_buffer *az_buffer_file(az_ctx *az, const char *path)
{
    if (!path || !az_ok(az)) return NULL;
    size_t size = 0;
    void *address = map_whole(az, path, PROT_READ | PROT_WRITE, &size);
    if (!az_ok(az)) return NULL;
    az_buffer *buffer = az_buffer_wrap(az, address, size, unmap_buffer, NULL);
    if (!buffer && address) munmap(address, size);
    return buffer;
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
    az_buffer *buffer = az_buffer_wrap(az, address, bytes, unmap_buffer, NULL);
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

/* Over the byte order mark that some editors put in front of UTF-8. */
static char *without_mark(char *text, size_t *length)
{
    if (*length < 3 || memcmp(text, "\xef\xbb\xbf", 3) != 0) return text;
    *length -= 3;
    return text + 3;
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
    text = without_mark(text, &used);
    if (length) *length = used;
    return az_on_leave(az, drop_buffer, buffer) ? text : NULL;
}

/* ---- folders ---- */

bool az_is_folder(const char *path)
{
    struct stat info;
    return path && stat(path, &info) == 0 && S_ISDIR(info.st_mode);
}

bool az_is_file(const char *path)
{
    struct stat info;
    return path && stat(path, &info) == 0 && S_ISREG(info.st_mode);
}

typedef struct made_folder {
    az_ctx *az;
    const char *path;
} made_folder;

/* What was made for a result that did not come to be goes again; a folder that holds something stays. */
static void remove_after_failure(void *object)
{
    const made_folder *made = object;
    if (!az_ok(made->az)) rmdir(made->path);
}

static bool remember_folder(az_ctx *az, const char *path)
{
    made_folder *made = az_alloc(az, sizeof *made);
    if (made) *made = (made_folder){az, az_strdup(az, path)};
    return made && made->path && az_on_leave(az, remove_after_failure, made);
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
        const int why = mkdir(partial, 0777) != 0 ? errno : 0;
        if (why && !az_is_folder(partial)) {
            az_fail(az, AZ_IO, "cannot make the folder '%s': %s", partial, strerror(why));
            return false;
        }
        if (!why && !remember_folder(az, partial)) {
            rmdir(partial);
            return false;
        }
        if (end == '\0') return true;
        *c = end;
    }
    az_fail(az, AZ_BAD_INPUT, "a folder's name is empty");
    return false;
}
