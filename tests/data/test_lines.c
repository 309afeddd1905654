/* JSON lines with names, and journals that are taken up again. */
#include "adze/data.h"
#include "support/folder.h"

#include <criterion/criterion.h>
#include <jansson.h>
#include <string.h>

static const char *write_file(az_ctx *az, const char *text)
{
    static int n;
    const char *path = test_path(az, test_folder(az), az_format_text(az, "lines%d.jsonl", n++));
    FILE *out = fopen(path, "w");
    fputs(text, out);
    fclose(out);
    return path;
}

Test(lines, marks_line_ends_and_numbers)
{
    az_ctx *az = az_open(NULL);
    const az_json_lines *lines =
        az_json_lines_read(az, write_file(az, "\xEF\xBB\xBF{\"id\": \"a\", \"x\": \"one\"}\r\n\n{\"id\": 7}"), "id", false);
    cr_assert_not_null(lines, "%s", az_error(az));
    cr_assert_eq(lines->count, 2);
    cr_assert_str_eq(lines->item[0].id, "a");
    cr_assert_str_eq(az_json_line_text(&lines->item[0], "x"), "one");
    cr_assert_null(az_json_line_text(&lines->item[1], "x"));
    cr_assert_str_eq(lines->item[1].id, "7");
    cr_assert_eq(lines->item[1].number, 3);
    az_close(az);
}

Test(lines, mistakes_name_their_lines)
{
    const struct {
        const char *text, *why;
    } bad[] = {
        {"{\"id\": 1}\n{\"id\": \"2\"}\n{\"id\": 1}\n", "lines 1 and 3"},
        {"{\"id\": 1}\n{\"x\": 1}\n", "line 2 has no text"},
        {"{\"id\": 1}\n{\n", "line 2 is not JSON"},
        {"{\"id\": 1}\n[1]\n", "line 2 is not an object"},
        {"{\"id\": \"\xff\"}\n", "line 1 is not JSON"},
        {"\n\n", "no line"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        az_ctx *az = az_open(NULL);
        cr_assert_null(az_json_lines_read(az, write_file(az, bad[i].text), "id", false));
        cr_assert_not_null(strstr(az_error(az), bad[i].why), "%s", az_error(az));
        az_close(az);
    }
    az_ctx *az = az_open(NULL);
    cr_assert_eq(az_json_lines_read(az, write_file(az, "{\n{\"id\": 1}\n"), "id", true)->count, 1);
    az_close(az);
}

static void add(az_journal *journal, const char *id, bool ok)
{
    cr_assert(az_journal_add(journal, json_pack("{s:s, s:b}", "id", id, "ok", ok)));
}

Test(lines, a_journal_is_of_one_run)
{
    az_ctx *az = az_open(NULL);
    const char *path = test_path(az, test_folder(az), "out.jsonl");
    for (int again = 0; again < 2; again++) {
        az_scope_push(az);
        az_journal *journal = az_journal_open(az, path, "id");
        cr_assert(az_journal_about(journal, "model=a"), "%s", az_error(az));
        if (!again) cr_assert(az_journal_add(journal, json_pack("{s:s, s:b, s:s}", "id", "a", "ok", 1, "question", "why?")));
        cr_assert(az_journal_same(journal, "a", "question", "why?") && az_journal_same(journal, "b", "question", "how?"));
        cr_assert(az_journal_same(journal, "a", "other", "how?")); /* what a line does not have is not compared */
        az_scope_pop(az);
    }
    az_journal *journal = az_journal_open(az, path, "id");
    cr_assert_not(az_journal_same(journal, "a", "question", "how?"));
    cr_assert_not_null(strstr(az_error(az), "out.jsonl' holds results of another run"), "%s", az_error(az));
    az_clear(az);
    cr_assert_not(az_journal_about(journal, "model=b"));
    az_close(az);
}

Test(lines, a_journal_is_taken_up_where_it_broke)
{
    az_ctx *az = az_open(NULL);
    const char *path = test_path(az, test_folder(az), "out.jsonl");
    const az_json_lines *items = az_json_lines_read(az, write_file(az, "{\"id\":\"a\"}\n{\"id\":\"b\"}\n{\"id\":\"c\"}\n"), "id", false);
    az_scope_push(az);
    az_journal *journal = az_journal_open(az, path, "id");
    add(journal, "a", true), add(journal, "b", false), add(journal, "c", true);
    az_scope_pop(az);
    FILE *half = fopen(path, "a");
    fputs("{\"id\":\"d\",\"o", half);
    fclose(half);
    az_scope_push(az);
    journal = az_journal_open(az, path, "id");
    cr_assert_not_null(journal, "%s", az_error(az));
    cr_assert(az_journal_find(journal, "a") && az_journal_find(journal, "c"));
    cr_assert(!az_journal_find(journal, "b") && !az_journal_find(journal, "d")); /* failed, half-written */
    add(journal, "b", true);
    cr_assert(az_journal_finish(journal, items), "%s", az_error(az));
    az_scope_pop(az);
    cr_assert_str_eq(az_read_file(az, path, NULL), "{\"id\":\"a\",\"ok\":true}\n{\"id\":\"b\",\"ok\":true}\n{\"id\":\"c\",\"ok\":true}\n");
    az_close(az);
}
