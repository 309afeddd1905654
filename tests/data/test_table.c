/* Tables: separators, quotes, headers, types, missing values, streams, and text that is no table. */
#include "adze/data.h"
#include "support/folder.h"

#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <zlib.h>

static az_table *parse(az_ctx *az, const char *text)
{
    return az_table_parse(az, "test", text, strlen(text), NULL);
}

static const char *file_with(az_ctx *az, const char *name, const char *text)
{
    const char *path = test_path(az, test_folder(az), name);
    gzFile file = gzopen(path, strstr(name, ".gz") ? "wb" : "wbT");
    cr_assert_eq(gzwrite(file, text, (unsigned)strlen(text)), (int)strlen(text));
    gzclose(file);
    return path;
}

static void check_cell(az_ctx *az, const az_table *t, int column, int64_t row, const char *expected)
{
    const char *text = az_column_text(az, &t->column[column], row);
    if (expected)
        cr_assert_str_eq(text ? text : "(missing)", expected, "column %d, row %d: %s", column, (int)row, text);
    else
        cr_assert_null(text, "column %d, row %d: %s", column, (int)row, text);
}

Test(table, types_are_found_column_by_column)
{
    az_ctx *az = az_open(NULL);
    az_table *t = parse(az, "i,r,s,d,e\n1,1.5,b,2024-02-29,NA\n-2,1e3,a,2024-03-01T12:00,\nNA,,b,NA,NA\n");
    cr_assert_not_null(t, "%s", az_error(az));
    cr_assert_eq(t->rows, 3);
    cr_assert_eq(t->columns, 5);
    static const az_column_type types[] = {AZ_COLUMN_INTEGER, AZ_COLUMN_REAL, AZ_COLUMN_TEXT, AZ_COLUMN_DATE, AZ_COLUMN_REAL};
    static const int missing[] = {1, 1, 0, 1, 3};
    for (int c = 0; c < 5; c++) {
        cr_assert_eq(t->column[c].type, types[c], "column %d is %s", c, az_column_type_name(t->column[c].type));
        cr_assert_eq(t->column[c].missing, missing[c]);
    }
    check_cell(az, t, 0, 1, "-2");
    check_cell(az, t, 1, 1, "1000");
    check_cell(az, t, 3, 1, "2024-03-01T12:00:00Z");
    check_cell(az, t, 3, 2, NULL);
    cr_assert_eq(t->column[2].levels, 2);
    cr_assert_str_eq(t->column[2].level[0], "a");
    cr_assert_eq(t->column[2].code[0], 1);
    cr_assert_eq(t->column[3].value[0], 19782); /* days from 1970-01-01 to 2024-02-29 */
    az_close(az);
}

Test(table, quotes_as_in_rfc_4180)
{
    az_ctx *az = az_open(NULL);
    az_table *t = parse(az, "\xef\xbb\xbf\"a \"\"x\"\"\",b\r\n\"1,5\",\"two\nlines\"\r\n \"say \"\"hi\"\"\" ,  plain text \r\n");
    cr_assert_not_null(t, "%s", az_error(az));
    cr_assert_str_eq(t->column[0].name, "a \"x\"");
    check_cell(az, t, 0, 0, "1,5");
    check_cell(az, t, 1, 0, "two\nlines");
    check_cell(az, t, 0, 1, "say \"hi\"");
    check_cell(az, t, 1, 1, "plain text");
    az_close(az);
}

Test(table, separators_and_headers_are_found)
{
    static const struct {
        const char *text;
        int rows, columns;
        const char *first_name;
    } cases[] = {
        {"a,b\n1,2\n", 1, 2, "a"},
        {"1,2\n3,4\n", 2, 2, "x1"},
        {"a\tb\tc\n1\t\t3\n", 1, 3, "a"},
        {"a;b\n1,5;2\n", 1, 2, "a"},
        {"a|b\n1|2\n3|4", 2, 2, "a"},
        {"a  b   c\n 1 2 3\n4 5  6 \n", 2, 3, "a"},
        {"x y\n\"r 1\" 1 2\n\"r 2\" 3 4\n", 2, 3, "row"},
        {"x\n1\n\n2\n", 2, 1, "x"},
        {"a,b\r1,2\r3,4\r", 2, 2, "a"},
        {"5.1,3.5,setosa\n4.9,3.0,setosa\n", 2, 3, "x1"},
    };
    az_ctx *az = az_open(NULL);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        az_table *t = parse(az, cases[i].text);
        cr_assert_not_null(t, "%s: %s", cases[i].text, az_error(az));
        cr_assert_eq(t->rows, cases[i].rows, "%s has %d rows", cases[i].text, (int)t->rows);
        cr_assert_eq(t->columns, cases[i].columns, "%s has %d columns", cases[i].text, t->columns);
        cr_assert_str_eq(t->column[0].name, cases[i].first_name);
    }
    az_close(az);
}

Test(table, numbers_are_read_exactly)
{
    static const char *const texts[] = {"0.1",
                                        "-1.7976931348623157e308",
                                        "4.9e-324",
                                        "123456789012345678.5",
                                        "9007199254740993.5",
                                        "1e22",
                                        "1e23",
                                        "+.5",
                                        "7.",
                                        "0.000000000000000000000000012345",
                                        "-0.0",
                                        "1E-7",
                                        "inf",
                                        "-Infinity",
                                        "3.141592653589793238462643383279"};
    az_ctx *az = az_open(NULL);
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        az_table *t = parse(az, az_format_text(az, "x\n%s\n2.5\n", texts[i]));
        cr_assert_not_null(t, "%s", az_error(az));
        cr_assert_eq(t->column[0].type, AZ_COLUMN_REAL, "%s", texts[i]);
        cr_assert_eq(t->column[0].value[0], strtod(texts[i], NULL), "%s", texts[i]);
    }
    az_close(az);
}

Test(table, what_looks_like_a_number_but_is_none_is_text)
{
    static const char *const texts[] = {"1.2.3",      "0x10",       "1e", "--1", "1 2", "1_000", "9007199254740993",
                                        "2024-02-30", "2023-02-29", "e5", "."};
    az_ctx *az = az_open(NULL);
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        az_table *t = parse(az, az_format_text(az, "x,y\n%s,1\n", texts[i]));
        cr_assert_not_null(t, "%s", az_error(az));
        cr_assert_eq(t->column[0].type, AZ_COLUMN_TEXT, "%s", texts[i]);
        check_cell(az, t, 0, 0, texts[i]);
    }
    az_close(az);
}

Test(table, options_overrule)
{
    az_ctx *az = az_open(NULL);
    const char *text = "zip;v\n00501;?\n00502;-9\n00503;3\n";
    const az_table_how how = {.text = "zip", .na = "?,-9"};
    az_table *t = az_table_parse(az, "test", text, strlen(text), &how);
    check_cell(az, t, 0, 0, "00501");
    cr_assert_eq(t->column[1].missing, 2);
    cr_assert_eq(t->column[1].type, AZ_COLUMN_INTEGER);
    const az_table_how other = {.separator = AZ_COMMA, .header = AZ_HEADER_NO};
    t = az_table_parse(az, "test", text, strlen(text), &other);
    cr_assert_eq(t->columns, 1);
    cr_assert_eq(t->rows, 4);
    az_close(az);
}

Test(table, bad_text_is_told_with_its_line)
{
    static const struct {
        const char *text, *says;
        size_t length;
    } cases[] = {
        {"a,b\n1,2\n3\n", "line 3 has 1 fields, 2 were expected", 0},
        {"a,b\n1,2\n\n3,4,5\n", "line 4 has 3 fields", 0},
        {"a,b\n1,\"2\n", "line 2, field 2: the quotes do not close", 0},
        {"a,b\n\"1\"x,2\n", "line 2, field 1: text follows the closing quote", 0},
        {"", "there are no rows", 0},
        {"\n \n", "there are no rows", 0},
        {"a,b\n", "no row under it", 0},
        {"a,b\n1,\0\n", "line 2 holds a zero byte", 9},
        {"\xff\xfe"
         "a\0\n\0",
         "the text is UTF-16", 6},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        az_ctx *az = az_open(NULL);
        const size_t length = cases[i].length ? cases[i].length : strlen(cases[i].text);
        cr_assert_null(az_table_parse(az, "bad.csv", cases[i].text, length, NULL));
        cr_assert_not_null(strstr(az_error(az), cases[i].says), "case %d said: %s", (int)i, az_error(az));
        cr_assert_not_null(strstr(az_error(az), "bad.csv"));
        az_close(az);
    }
}

Test(table, columns_by_name)
{
    az_ctx *az = az_open(NULL);
    az_table *t = parse(az, "height,sex,`x,weight,weight\n1,f,2,3,4\n2,m,,5,6\n");
    const az_column **columns;
    int count;
    cr_assert(az_table_columns(az, t, "height + sex", &columns, &count));
    cr_assert_eq(count, 2);
    const double *sex = az_column_numbers(az, t, columns[1]);
    cr_assert(sex[0] == 0 && sex[1] == 1);
    cr_assert_null(az_table_find(az, t, "hieght"));
    cr_assert_not_null(strstr(az_error(az), "did you mean 'height'"), "%s", az_error(az));
    az_clear(az);
    cr_assert_null(az_table_find(az, t, "weight"));
    cr_assert_not_null(strstr(az_error(az), "two columns are named 'weight': 4 and 5"), "%s", az_error(az));
    az_clear(az);
    cr_assert_null(az_table_matrix(az, t, NULL, 0));
    cr_assert_not_null(strstr(az_error(az), "column 'sex' holds text"), "%s", az_error(az));
    az_close(az);
}

Test(table, a_table_written_reads_back)
{
    az_ctx *az = az_open(NULL);
    az_table *t = az_table_new(az, 3);
    static const char *const texts[] = {"a \"b\", c", NULL, " edge "};
    cr_assert(az_table_add(az, t, "x", (double[]){1.0 / 3, NAN, -1e300}));
    cr_assert(az_table_add_text(az, t, "te,xt", texts));
    for (int tabs = 0; tabs < 2; tabs++) {
        const char *path = test_path(az, test_folder(az), tabs ? "t.tsv" : "t.csv");
        cr_assert(az_table_write(az, t, path), "%s", az_error(az));
        az_table *back = az_table_read(az, path, NULL);
        cr_assert_not_null(back, "%s", az_error(az));
        cr_assert_eq(back->column[0].value[0], 1.0 / 3);
        cr_assert(isnan(back->column[0].value[1]));
        cr_assert_eq(back->column[0].value[2], -1e300);
        cr_assert_str_eq(back->column[1].name, "te,xt");
        check_cell(az, back, 1, 0, texts[0]);
        check_cell(az, back, 1, 1, NULL);
    }
    az_close(az);
}

Test(table, a_stream_gives_the_rows_of_the_whole)
{
    az_ctx *az = az_open(NULL);
    char text[40000];
    int at = sprintf(text, "n;value;group\n");
    for (int i = 0; i < 1000; i++) at += sprintf(text + at, "%d;%.3f;g%d\n", i, i % 7 == 0 ? 0.5 : i * 0.25, i % 13);
    const char *path = file_with(az, "s.csv.gz", text);
    const az_table *whole = az_table_read(az, path, NULL);
    cr_assert_not_null(whole, "%s", az_error(az));
    for (int64_t block = 1; block <= 1500; block = block * 7 + 3) {
        az_table_stream *stream = az_table_stream_open(az, path, NULL, block);
        cr_assert_not_null(stream, "%s", az_error(az));
        int64_t row = 0;
        for (az_table *t; az_scope_push(az), (t = az_table_stream_next(stream)); az_scope_pop(az)) {
            cr_assert_leq(t->rows, block);
            for (int64_t i = 0; i < t->rows; i++, row++) {
                cr_assert_eq(t->column[1].value[i], whole->column[1].value[row]);
                cr_assert_str_eq(az_column_text(az, &t->column[2], i), az_column_text(az, &whole->column[2], row));
            }
        }
        az_scope_pop(az);
        cr_assert(az_ok(az), "%s", az_error(az));
        cr_assert_eq(row, 1000);
    }
    az_close(az);
}

Test(table, a_stream_of_an_array)
{
    az_ctx *az = az_open(NULL);
    const char *path = test_path(az, test_folder(az), "a.npy");
    float values[70];
    for (int i = 0; i < 70; i++) values[i] = (float)(i * i);
    cr_assert(az_npy_write(az, az_from(az, AZ_F32, 2, (int64_t[]){35, 2}, values), path), "%s", az_error(az));
    az_table_stream *stream = az_table_stream_open(az, path, NULL, 8);
    int64_t row = 0;
    for (az_table *t; (t = az_table_stream_next(stream));) {
        cr_assert_eq(t->columns, 2);
        for (int64_t i = 0; i < t->rows; i++, row++) cr_assert_eq(t->column[1].value[i], values[2 * row + 1]);
    }
    cr_assert(az_ok(az), "%s", az_error(az));
    cr_assert_eq(row, 35);
    cr_assert_null(az_table_stream_open(az, test_path(az, test_folder(az), "absent.csv"), NULL, 8));
    cr_assert_not_null(strstr(az_error(az), "absent.csv': No such file"), "%s", az_error(az));
    az_close(az);
}

Test(table, a_stream_tells_where_a_type_changes)
{
    az_ctx *az = az_open(NULL);
    const char *path = file_with(az, "s.csv", "a,b\n1,x\n2,y\nthree,z\n");
    az_table_stream *stream = az_table_stream_open(az, path, NULL, 2);
    cr_assert_not_null(az_table_stream_next(stream), "%s", az_error(az));
    cr_assert_null(az_table_stream_next(stream));
    cr_assert_not_null(strstr(az_error(az), "line 4: 'three' in column 'a' is not a number"), "%s", az_error(az));
    az_close(az);
}

Test(table, dates_and_back)
{
    az_ctx *az = az_open(NULL);
    static const struct {
        const char *text, *as;
    } cases[] = {
        {"1970-01-01", "1970-01-01"},
        {"1600-02-29", "1600-02-29"},
        {"0001-01-01", "0001-01-01"},
        {"2026-11-26T04:50", "2026-11-26T04:50:00Z"},
        {"2026-11-26 23:30:15.250-01:00", "2026-11-27T00:30:15.250Z"},
        {"2000-03-01T00:00:00Z", "2000-03-01"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        az_table *t = parse(az, az_format_text(az, "when,x\n%s,1\n", cases[i].text));
        cr_assert_eq(t->column[0].type, AZ_COLUMN_DATE, "%s", cases[i].text);
        check_cell(az, t, 0, 0, cases[i].as);
    }
    az_close(az);
}
