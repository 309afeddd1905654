/* Templates, and what replies hold. */
#include "adze/backend.h"

#include <criterion/criterion.h>
#include <string.h>

/* ---- templates ---- */

Test(templates, messages_names_and_repetitions)
{
    az_ctx *az = az_open(NULL);
    const az_messages *m =
        az_template_fill(az, "@@system\nYou count {{ what }}.\n@@user\n{{#each demos}}{{@index}}. {{x}} of {{what}}\n{{/each}}now {{x}}\n",
                         "{\"what\": \"{{x}} sheep\", \"x\": 7, \"demos\": [{\"x\": \"one\"}, {\"x\": 2}]}");
    cr_assert_not_null(m, "%s", az_error(az));
    cr_assert_eq(m->n, 2);
    cr_assert_str_eq(m->item[0].role, "system");
    cr_assert_str_eq(m->item[0].text, "You count {{x}} sheep."); /* what is inserted is no template */
    cr_assert_str_eq(m->item[1].text, "1. one of {{x}} sheep\n2. 2 of {{x}} sheep\nnow 7");
    m = az_template_fill(az, "only {{x}}", "{\"x\": \"a user's\"}");
    cr_assert_str_eq(m->item[0].role, "user");
    cr_assert_str_eq(m->item[0].text, "only a user's");
    az_close(az);
}

Test(templates, lines_end_as_on_any_system)
{
    az_ctx *az = az_open(NULL);
    const az_messages *m =
        az_template_fill(az, "\xEF\xBB\xBF@@system\r\none\r\ntwo\r\n@@user\r\n{{x}}\r\n", "\xEF\xBB\xBF{\"x\": \"a\\r\\nb\"}");
    cr_assert_not_null(m, "%s", az_error(az));
    cr_assert_str_eq(m->item[0].text, "one\ntwo");
    cr_assert_str_eq(m->item[1].text, "a\r\nb"); /* what is inserted stays as it is */
    az_close(az);
}

Test(templates, mistakes_are_named)
{
    const struct {
        const char *text, *variables, *why;
    } bad[] = {
        {"{{y}}", "{}", "'y', which is not among"},
        {"{{x", "{}", "without '}}'"},
        {"{{#each l}}{{x}\n{{/each}}", "{\"l\":[{\"x\":1}]}", "without '}}'"},
        {"{{#each a}}x", "{\"a\": []}", "without '{{/each}}'"},
        {"{{#each a}}x{{/each}}", "{\"a\": 3}", "not a list"},
        {"{{#each a}}x{{/each}}", "{\"a\": [3]}", "not an object"},
        {"{{a}}", "{\"a\": [3]}", "a list or an object"},
        {"@@robot\nhi", "{}", "@@robot"},
        {"before\n@@user\nhi", "{}", "text before"},
        {"hi", "[]", "no JSON object"},
        {"{{a}}", "{\"a\": \"x\\u0000y\"}", "'a', which holds a zero byte"},
        {"good\nb\xFF!", "{}", "not UTF-8: line 2 holds the byte 0xff"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        az_ctx *az = az_open(NULL);
        cr_assert_null(az_template_fill(az, bad[i].text, bad[i].variables), "%s", bad[i].text);
        cr_assert_not_null(strstr(az_error(az), bad[i].why), "%s: %s", bad[i].text, az_error(az));
        az_close(az);
    }
}

/* ---- replies ---- */

static void same(const char *found, const char *expected, const char *what)
{
    if (!expected)
        cr_assert_null(found, "%s: %s", what, found);
    else
        cr_assert(found && strcmp(found, expected) == 0, "%s: '%s', not '%s'", what, found ? found : "(nothing)", expected);
}

Test(extract, fenced_blocks)
{
    az_ctx *az = az_open(NULL);
    const char *text = "Here:\n```python\nprint(1)\n```\nand\n```json\n{\"a\": 1}\n```\n";
    same(az_find_fence(az, text, NULL), "print(1)\n", "any");
    same(az_find_fence(az, text, "json"), "{\"a\": 1}\n", "json");
    same(az_find_fence(az, text, "c"), NULL, "absent");
    same(az_find_fence(az, "```\nopen to the end", NULL), "open to the end", "not closed");
    az_close(az);
}

Test(extract, json_values)
{
    az_ctx *az = az_open(NULL);
    same(az_find_json(az, "so {not json} but {\"a\": \"}\", \"b\": [1]} and more"), "{\"a\": \"}\", \"b\": [1]}", "object");
    same(az_find_json(az, "[1, 2"), NULL, "not closed");
    same(az_find_json(az, ""), NULL, "empty");
    az_close(az);
}

Test(extract, labels_lists_and_numbers)
{
    az_ctx *az = az_open(NULL);
    char *item[4];
    same(az_find_label(az, "x\n  **Answer**: four \ny", "answer"), "four", "label");
    same(az_find_label(az, "the answer: no", "answer"), NULL, "not at the beginning of a line");
    cr_assert_eq(az_find_list(az, "1. one\ntext\n 2) two\n10. ten\n3 not\n", item, 4), 3);
    same(item[2], "ten", "third");
    same(az_find_number(az, "of 3 and -1,234.50 it is."), "-1,234.50", "number");
    same(az_find_number(az, "12,34"), "34", "no group of three");
    same(az_find_number(az, "none"), NULL, "no number");
    az_close(az);
}

Test(extract, boxed_answers_have_balanced_braces)
{
    az_ctx *az = az_open(NULL);
    const char *text = "\\boxed{1} then $\\boxed {\\frac{1}{\\sqrt{2}}}$.";
    same(az_find_boxed(az, text, true), "\\frac{1}{\\sqrt{2}}", "last");
    same(az_find_boxed(az, text, false), "1", "first");
    same(az_find_boxed(az, "\\boxed{\\{1,2\\}}", true), "\\{1,2\\}", "escaped braces");
    same(az_find_boxed(az, "\\boxed{\\frac{1}{2}", true), NULL, "not closed");
    az_close(az);
}

Test(extract, choices_are_words)
{
    const char *const choice[] = {"river", "drive", "Sea"};
    cr_assert_eq(az_find_choice("  river\n", choice, 3), 0);
    cr_assert_eq(az_find_choice("SEA", choice, 3), 2);
    cr_assert_eq(az_find_choice("It is the river.", choice, 3), 0);
    cr_assert_eq(az_find_choice("the driver", choice, 3), -1); /* neither "river" nor "drive" */
    cr_assert_eq(az_find_choice("river or sea", choice, 3), -2);
}
