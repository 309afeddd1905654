/* Files: whole or not at all; mapping; gzip undone; hostile paths. */
#include "adze/base.h"
#include "support/folder.h"

#include <criterion/criterion.h>
#include <dirent.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>

static int entries(const char *folder)
{
    int count = 0;
    DIR *dir = opendir(folder);
    for (struct dirent *entry; (entry = readdir(dir));) count += entry->d_name[0] != '.';
    closedir(dir);
    return count;
}

static void write_text(az_ctx *az, const char *path, const char *text)
{
    az_out *out = az_create(az, path);
    cr_assert_not_null(out, "%s", az_error(az));
    fputs(text, az_out_stream(out));
    cr_assert(az_commit(out), "%s", az_error(az));
}

Test(files, a_committed_file_is_there_and_alone)
{
    az_ctx *az = az_open(NULL);
    const char *folder = test_folder(az), *path = test_path(az, folder, "a.txt");
    write_text(az, path, "first");
    write_text(az, path, "second");
    size_t length;
    cr_assert_str_eq(az_read_file(az, path, &length), "second");
    cr_assert_eq(length, 6);
    cr_assert_eq(entries(folder), 1);
    az_close(az);
}

Test(files, without_commit_the_old_file_stays)
{
    az_ctx *az = az_open(NULL);
    const char *folder = test_folder(az), *path = test_path(az, folder, "a.txt");
    write_text(az, path, "old");
    az_scope_push(az);
    fputs("half of the n", az_out_stream(az_create(az, path)));
    az_scope_pop(az);
    cr_assert_str_eq(az_read_file(az, path, NULL), "old");
    cr_assert_eq(entries(folder), 1);
    az_close(az);
}

/* Small, large and very large pieces in turn, whether a second thread writes or not. */
Test(files, pieces_of_all_sizes_follow_each_other)
{
    static const size_t sizes[] = {10, 70000, 1, 3 << 20, 65536, 5 << 20, 4 << 20, 100, 70001, 9 << 20, 7};
    for (int threads = 1; threads <= 2; threads++) {
        az_ctx *az = az_open(&(az_settings){.threads = threads});
        const char *path = test_path(az, test_folder(az), "pieces");
        az_out *out = az_create(az, path);
        size_t total = 0;
        for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
            unsigned char *piece = malloc(sizes[i]);
            for (size_t j = 0; j < sizes[i]; j++) piece[j] = (unsigned char)((total + j) * 2654435761u >> 24);
            cr_assert(az_out_write(out, piece, sizes[i]), "%s", az_error(az));
            total += sizes[i];
            free(piece);
        }
        cr_assert(az_commit(out), "%s", az_error(az));
        const az_map *map = az_map_file(az, path);
        cr_assert(map && map->size == total);
        for (size_t j = 0; j < total; j++)
            if (((const unsigned char *)map->data)[j] != (unsigned char)(j * 2654435761u >> 24)) cr_assert_fail("byte %zu", j);
        az_close(az);
    }
}

/* A file that outgrows what the system allows: the thread that writes meets the error, the commit tells it. */
Test(files, an_error_of_a_late_write_is_told)
{
    az_ctx *az = az_open(&(az_settings){.threads = 2});
    const char *folder = test_folder(az), *path = test_path(az, folder, "large");
    signal(SIGXFSZ, SIG_IGN);
    cr_assert_eq(setrlimit(RLIMIT_FSIZE, &(struct rlimit){3 << 20, RLIM_INFINITY}), 0);
    az_scope_push(az);
    az_out *out = az_create(az, path);
    char *piece = calloc(1, 1 << 20);
    for (int i = 0; i < 6; i++) az_out_write(out, piece, 1 << 20);
    free(piece);
    cr_assert_not(az_commit(out));
    cr_assert(strstr(az_error(az), "cannot write"), "%s", az_error(az));
    cr_assert(strstr(az_error(az), "too large"), "%s", az_error(az));
    az_scope_pop(az);
    cr_assert_eq(entries(folder), 0);
    az_close(az);
}

Test(files, an_error_before_the_commit_refuses_it)
{
    az_ctx *az = az_open(NULL);
    const char *folder = test_folder(az), *path = test_path(az, folder, "a.txt");
    az_out *out = az_create(az, path);
    fputs("x", az_out_stream(out));
    az_fail(az, AZ_NUMERIC, "not a number");
    cr_assert_not(az_commit(out));
    cr_assert_str_eq(az_error(az), "not a number");
    az_clear(az);
    cr_assert_eq(entries(folder), 0);
    az_close(az);
}

Test(files, a_link_keeps_pointing_at_the_new_contents)
{
    az_ctx *az = az_open(NULL);
    const char *folder = test_folder(az), *target = test_path(az, folder, "target"), *link = test_path(az, folder, "link");
    write_text(az, target, "old");
    cr_assert_eq(chmod(target, 0640), 0);
    cr_assert_eq(symlink("target", link), 0);
    write_text(az, link, "new");
    struct stat info;
    cr_assert_eq(lstat(link, &info), 0);
    cr_assert(S_ISLNK(info.st_mode));
    cr_assert_str_eq(az_read_file(az, target, NULL), "new");
    cr_assert_eq(stat(target, &info), 0);
    cr_assert_eq(info.st_mode & 0777, 0640);
    az_close(az);
}

Test(files, what_cannot_be_written_says_why)
{
    az_ctx *az = az_open(NULL);
    const char *folder = test_folder(az);
    cr_assert_null(az_create(az, test_path(az, folder, "missing/a.txt")));
    cr_assert_eq(az_status_of(az), AZ_IO);
    cr_assert_not_null(strstr(az_error(az), "missing/a.txt"));
    az_clear(az);
    cr_assert_null(az_create(az, folder));
    cr_assert_not_null(strstr(az_error(az), "directory"));
    az_clear(az);
    cr_assert_null(az_create(az, ""));
    cr_assert_eq(az_status_of(az), AZ_BAD_INPUT);
    az_clear(az);
    az_out *full = az_create(az, "/dev/full");
    fputs("no room for this", az_out_stream(full));
    cr_assert_not(az_commit(full));
    cr_assert_eq(az_status_of(az), AZ_IO);
    az_close(az);
}

Test(files, a_map_shows_the_bytes)
{
    az_ctx *az = az_open(NULL);
    const char *folder = test_folder(az), *path = test_path(az, folder, "a.bin"), *empty = test_path(az, folder, "empty");
    write_text(az, path, "bytes");
    write_text(az, empty, "");
    az_scope_push(az);
    az_map *map = az_map_file(az, path);
    cr_assert_eq(map->size, 5);
    cr_assert_arr_eq(map->data, "bytes", 5);
    cr_assert_eq(az_map_file(az, empty)->size, 0);
    az_scope_pop(az);
    cr_assert_null(az_map_file(az, folder));
    cr_assert_eq(az_status_of(az), AZ_BAD_INPUT);
    az_clear(az);
    cr_assert_null(az_map_file(az, "/dev/null"));
    cr_assert_eq(az_status_of(az), AZ_BAD_INPUT);
    az_clear(az);
    cr_assert_null(az_map_file(az, test_path(az, folder, "absent")));
    cr_assert_eq(az_status_of(az), AZ_BAD_INPUT);
    az_close(az);
}

static void write_gzip(const char *path, size_t repeats)
{
    gzFile file = gzopen(path, "wb1");
    for (size_t i = 0; i < repeats; i++) gzputs(file, "0123456789");
    gzclose(file);
}

Test(files, gzip_is_undone_and_damage_is_named)
{
    az_ctx *az = az_open(NULL);
    const char *folder = test_folder(az), *path = test_path(az, folder, "a.gz"), *cut = test_path(az, folder, "cut.gz");
    write_gzip(path, 100000);
    size_t length;
    char *text = az_read_file(az, path, &length);
    cr_assert_eq(length, 1000000);
    cr_assert_eq(strlen(text), 1000000);
    for (size_t i = 0; i < length; i += 997) cr_assert_eq(text[i], (char)('0' + i % 10));
    write_gzip(cut, 100000);
    struct stat info;
    stat(cut, &info);
    cr_assert_eq(truncate(cut, info.st_size / 2), 0);
    cr_assert_null(az_read_file(az, cut, NULL));
    cr_assert_eq(az_status_of(az), AZ_BAD_INPUT);
    cr_assert_not_null(strstr(az_error(az), "gzip"));
    cr_assert_null(strstr(az_error(az), "<fd"), "%s", az_error(az));
    az_close(az);
}

Test(files, a_memory_limit_bounds_what_is_read)
{
    az_ctx *az = az_open(&(az_settings){.memory_limit = 8 << 20});
    const char *path = test_path(az, test_folder(az), "bomb.gz");
    write_gzip(path, 10 << 20);
    cr_assert_null(az_read_file(az, path, NULL));
    cr_assert_eq(az_status_of(az), AZ_NO_MEMORY);
    cr_assert_lt(az_memory_now(az), 1 << 20);
    az_close(az);
}

Test(files, forgotten_pages_are_read_again_and_other_memory_stays)
{
    enum { N = 100000 };
    az_ctx *az = az_open(NULL);
    const char *path = test_path(az, test_folder(az), "pages");
    char *text = az_alloc(az, N + 1);
    for (int i = 0; i < N; i++) text[i] = (char)('a' + i % 23);
    write_text(az, path, text);
    const az_map *map = az_map_file(az, path), *again = az_map_file(az, path);
    cr_assert(map && again && map->size == N, "%s", az_error(az));
    for (size_t from = 0; from < N; from += 30011) az_map_forget(az, map->data + from, N - from);
    az_map_forget(az, text, N);
    az_map_forget(az, map->data + N - 10, 5000); /* beyond the end: not of the file alone */
    cr_assert_arr_eq(map->data, text, N);
    cr_assert(text[0] == 'a' && text[N - 1] == 'a' + (N - 1) % 23);
    az_close(az);
}

Test(files, a_folder_for_what_failed_goes_again)
{
    az_ctx *az = az_open(NULL);
    const char *folder = test_folder(az), *made = test_path(az, folder, "made"), *kept = test_path(az, folder, "kept");
    az_scope_push(az);
    cr_assert(az_make_folder(az, test_path(az, made, "inside")) && az_make_folder(az, kept));
    az_scope_pop(az);
    cr_assert(az_is_folder(made) && az_is_folder(kept), "without an error they stay");
    cr_assert(rmdir(test_path(az, made, "inside")) == 0 && rmdir(made) == 0);
    az_scope_push(az);
    cr_assert(az_make_folder(az, test_path(az, made, "inside")) && az_make_folder(az, kept));
    az_fail(az, AZ_BAD_INPUT, "as it were");
    az_scope_pop(az);
    cr_assert(!az_is_folder(made) && az_is_folder(kept), "those that were there before stay");
    az_close(az);
}

Test(files, folders_are_made_with_their_parents)
{
    az_ctx *az = az_open(NULL);
    const char *folder = test_folder(az), *deep = test_path(az, folder, "a/b//c/");
    cr_assert(az_make_folder(az, deep), "%s", az_error(az));
    cr_assert(az_make_folder(az, deep));
    cr_assert(az_is_folder(deep));
    write_text(az, test_path(az, folder, "file"), "");
    cr_assert_not(az_make_folder(az, test_path(az, folder, "file/x")));
    az_clear(az);
    cr_assert_not(az_make_folder(az, ""));
    cr_assert_eq(az_status_of(az), AZ_BAD_INPUT);
    az_close(az);
}

Test(files, a_byte_order_mark_is_left_out)
{
    az_ctx *az = az_open(NULL);
    const char *path = test_path(az, test_folder(az), "mark.txt");
    az_out *out = az_create(az, path);
    az_out_write(out,
                 "\xef\xbb\xbf"
                 "a\xc3\xbc",
                 6);
    cr_assert(az_commit(out));
    size_t length = 0;
    cr_assert_str_eq(az_read_file(az, path, &length), "a\xc3\xbc");
    cr_assert_eq(length, 3);
    az_close(az);
}

Test(files, bytes_that_are_not_utf_8_are_read_as_latin_1)
{
    az_ctx *az = az_open(NULL);
    size_t length = 4, where = 0;
    cr_assert_str_eq(az_utf8(az, "M\xfc \xdf", &length), "M\xc3\xbc \xc3\x9f");
    cr_assert_eq(length, 6);
    cr_assert_str_eq(az_utf8(az, "M\xc3\xbc \xc3\x9f", &length), "M\xc3\xbc \xc3\x9f");
    cr_assert_not(az_is_utf8("ab\0c", 4, &where));
    cr_assert_eq(where, 2);
    az_close(az);
}

Test(files, a_context_that_was_told_is_not_told_twice)
{
    az_ctx *az = az_open(NULL);
    az_fail(az, AZ_BAD_INPUT, "dpo: example 1 has no prompt");
    az_fail_context(az, "%s", "dpo");
    cr_assert_str_eq(az_error(az), "dpo: example 1 has no prompt");
    az_fail_context(az, "%s", "dp");
    cr_assert_str_eq(az_error(az), "dp: dpo: example 1 has no prompt");
    az_close(az);
}
