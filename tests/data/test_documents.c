/* Documents: both kinds of file, gzip, splits, and bytes that are no text. */
#include "adze/data.h"
#include "support/folder.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>
#include <zlib.h>

static const char *file_with(az_ctx *az, const char *name, const char *bytes, size_t length)
{
    const char *path = test_path(az, test_folder(az), name);
    FILE *file = fopen(path, "wb");
    cr_assert_eq(fwrite(bytes, 1, length, file), length);
    fclose(file);
    return path;
}

static az_documents *read_text(az_ctx *az, const char *name, const char *text)
{
    return az_documents_read(az, file_with(az, name, text, strlen(text)));
}

static void check_document(const az_documents *documents, int64_t i, const char *expected)
{
    cr_assert_lt(i, documents->count);
    cr_assert_eq(documents->item[i].length, strlen(expected));
    cr_assert_eq(memcmp(documents->item[i].text, expected, strlen(expected)), 0, "document %d", (int)i);
}

Test(documents, marks_separate_and_blanks_go)
{
    az_ctx *az = az_open(NULL);
    az_documents *d = read_text(az, "a.txt",
                                "<|endoftext|>\n one\ntwo \n<|endoftext|>  <|endoftext|>\xc3\xbc"
                                "ber<|endoftext|>");
    cr_assert_not_null(d, "%s", az_error(az));
    cr_assert_eq(d->count, 2);
    cr_assert(d->separated);
    check_document(d, 0, "one\ntwo");
    check_document(d, 1,
                   "\xc3\xbc"
                   "ber");
    az_close(az);
}

Test(documents, a_plain_text_is_one_document)
{
    az_ctx *az = az_open(NULL);
    az_documents *d = read_text(az, "plain", "First.\n\nSecond <|endoftext\n");
    cr_assert_eq(d->count, 1);
    cr_assert_not(d->separated);
    check_document(d, 0, "First.\n\nSecond <|endoftext");
    az_close(az);
}

Test(documents, json_lines)
{
    az_ctx *az = az_open(NULL);
    az_documents *d = read_text(az, "a.jsonl",
                                "{\"text\": \"one\\nline\", \"more\": [1, {}]}\n\n  {\"prompt\": \"Q: \", \"completion\": \"A\"}\r\n"
                                "{\"text\": \" \"}\n{\"prompt\": \"x\", \"response\": \"\\u00fc\"}");
    cr_assert_not_null(d, "%s", az_error(az));
    cr_assert_eq(d->count, 3);
    cr_assert(d->separated);
    check_document(d, 0, "one\nline");
    check_document(d, 1, "Q: A");
    check_document(d, 2, "x\xc3\xbc");
    az_close(az);
}

Test(documents, gzip_is_undone)
{
    az_ctx *az = az_open(NULL);
    const char *path = test_path(az, test_folder(az), "a.jsonl.gz");
    gzFile file = gzopen(path, "wb");
    gzputs(file, "{\"text\": \"packed\"}\n");
    gzclose(file);
    az_documents *d = az_documents_read(az, path);
    cr_assert_not_null(d, "%s", az_error(az));
    check_document(d, 0, "packed");
    az_close(az);
}

Test(documents, what_is_wrong_is_said)
{
    static const struct {
        const char *name, *text, *says;
    } cases[] = {
        {"a.txt", "", "no text"},
        {"a.txt", " \n<|endoftext|>\t", "no text"},
        {"a.txt", "fine\nbad \xff\n", "line 2 is not UTF-8"},
        {"a.txt", "cut \xe2\x82", "line 1 is not UTF-8"},
        {"a.txt", "\xed\xa0\x80", "not UTF-8"},
        {"a.txt", "\xc0\x80", "not UTF-8"},
        {"a.jsonl", "{\"text\": \"a\"}\n{\"text\": 3}\n", "line 2 has no string \"text\""},
        {"a.jsonl", "{\"prompt\": \"a\"}\n", "line 1 has no string"},
        {"a.jsonl", "[1, 2]\n", "line 1 is no object"},
        {"a.jsonl", "{\"text\": \"a\"}\n\n{\"text\": \"a\"\n", "line 3 is not JSON"},
        {"a.jsonl", "\n\n", "no text"},
    };
    az_ctx *az = az_open(NULL);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        cr_assert_null(read_text(az, cases[i].name, cases[i].text), "%s", cases[i].text);
        cr_assert(strstr(az_error(az), cases[i].says), "'%s': %s", cases[i].text, az_error(az));
        cr_assert(strstr(az_error(az), cases[i].name), "%s", az_error(az));
        cr_assert_eq(az_status_of(az), AZ_BAD_INPUT);
        az_clear(az);
    }
    cr_assert_null(az_documents_read(az, file_with(az, "zero.txt", "a\0b", 3)));
    cr_assert(strstr(az_error(az), "byte 0x00"), "%s", az_error(az));
    az_clear(az);
    cr_assert_null(az_documents_read(az, test_path(az, test_folder(az), "absent")));
    cr_assert_not(az_ok(az));
    az_close(az);
}

static char *deep_json(az_ctx *az, size_t depth)
{
    char *text = az_alloc(az, depth + 10);
    memset(text, '[', depth);
    return text;
}

Test(documents, deep_json_is_refused)
{
    az_ctx *az = az_open(NULL);
    cr_assert_null(read_text(az, "deep.jsonl", deep_json(az, 1000000)));
    cr_assert(strstr(az_error(az), "not JSON"), "%s", az_error(az));
    az_close(az);
}

Test(documents, a_split_keeps_each_document_once)
{
    enum { N = 4000 };
    az_ctx *az = az_open(NULL);
    az_document item[N];
    for (int i = 0; i < N; i++) item[i] = (az_document){.text = az_format_text(az, "%d", i), .length = 1};
    az_documents all = {.count = N, .item = item, .separated = true, .path = "made"}, *first, *second, *again, *other;
    cr_assert(az_documents_split(az, &all, 0.25, 9, &first, &second));
    cr_assert_eq(first->count + second->count, N);
    cr_assert_float_eq((double)second->count / N, 0.25, 0.03);
    for (int64_t i = 0, f = 0, s = 0; i < N; i++) {
        bool in_first = f < first->count && first->item[f].text == item[i].text;
        cr_assert(in_first || (s < second->count && second->item[s].text == item[i].text));
        in_first ? f++ : s++;
    }
    cr_assert(az_documents_split(az, &all, 0.25, 9, &again, &other));
    cr_assert_eq(again->count, first->count);
    cr_assert_eq(memcmp(again->item, first->item, (size_t)first->count * sizeof *item), 0);
    cr_assert(az_documents_split(az, &all, 0, 9, &first, &second));
    cr_assert_eq(second->count, 0);
    cr_assert(az_documents_split(az, &all, 1, 9, &first, &second));
    cr_assert_eq(first->count, 0);
    cr_assert_not(az_documents_split(az, &all, 1.5, 9, &first, &second));
    cr_assert_eq(az_status_of(az), AZ_BAD_CALL);
    az_close(az);
}
