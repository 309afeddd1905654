/* Arrays in files: NumPy's own bytes, archives, Matrix Market, and damage. */
#include "adze/data.h"
#include "support/folder.h"
#include "support/matrix.h"

#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

/* python3 -c "import numpy as np, io; b = io.BytesIO(); np.save(b, A); print(b.getvalue())" of three arrays: the header of each, without
 * the blanks that fill it up, and its data. */
static az_array *parse_npy(az_ctx *az, int version, const char *header, const void *data, size_t size)
{
    static char bytes[4096];
    const size_t length = strlen(header), start = version == 1 ? 10 : 12;
    memset(bytes, 0, sizeof bytes);
    memcpy(bytes, "\x93NUMPY", 6);
    bytes[6] = (char)version;
    bytes[8] = (char)length;
    memcpy(bytes + start, header, length);
    memcpy(bytes + start + length, data, size);
    return az_npy_parse(az, bytes, start + length + size);
}

Test(arrays, npy_of_every_kind)
{
    az_ctx *az = az_open(NULL);
    az_array *a = parse_npy(az, 1, "{'descr': '<f8', 'fortran_order': False, 'shape': (2, 3), }   \n", (double[]){1, 2, 3, 4, 5, 6}, 48);
    cr_assert_not_null(a, "%s", az_error(az));
    cr_assert_eq(a->value->rank, 2);
    cr_assert_eq(az_item(a->value, 5), 6);
    a = parse_npy(az, 2, "{'descr': '<f4', 'fortran_order': True, 'shape': (2, 3)}", (float[]){1, 4, 2, 5, 3, 6}, 24);
    cr_assert_not_null(a, "%s", az_error(az));
    for (int i = 0; i < 6; i++) cr_assert_eq(az_item(a->value, i), i + 1);
    a = parse_npy(az, 3, "{'shape': (3,), 'fortran_order': False, 'descr': '>i2'}", "\x01\x02\xff\xff\x00\x07", 6);
    cr_assert_not_null(a, "%s", az_error(az));
    cr_assert(az_item(a->value, 0) == 258 && az_item(a->value, 1) == -1 && az_item(a->value, 2) == 7);
    a = parse_npy(az, 1, "{'descr': '<u4', 'fortran_order': False, 'shape': ()}", "\xff\xff\xff\xff", 4);
    cr_assert_eq(az_item(a->value, 0), 4294967295.0);
    a = parse_npy(az, 1, "{'descr': '<c16', 'fortran_order': True, 'shape': (2, 1)}", (double[]){1, -1, 2, -2}, 32);
    cr_assert(a->complex);
    cr_assert_eq(a->value->rank, 3);
    cr_assert(az_item(a->value, 2) == 2 && az_item(a->value, 3) == -2);
    az_close(az);
}

Test(arrays, damaged_npy_is_refused)
{
    static const struct {
        const char *header, *says;
        size_t size;
    } cases[] = {
        {"{'descr': '<f8', 'fortran_order': False, 'shape': (2, 3), }", "needs 48 bytes", 40},
        {"{'descr': '|O', 'fortran_order': False, 'shape': (1,), }", "type '|O' are not read", 8},
        {"{'descr': '|S5', 'fortran_order': False, 'shape': (1,), }", "not read", 5},
        {"{'descr': [('a', '<f8')], 'fortran_order': False, 'shape': (1,), }", "records are not read", 8},
        {"{'descr': '<f8', 'shape': (1,), }", "type, order or shape is missing", 8},
        {"{'descr': '<f8', 'fortran_order': Maybe, 'shape': (1,), }", "neither True nor False", 8},
        {"{'descr': '<f8', 'fortran_order': False, 'shape': (9999999999, 9999999999, 99), }", "too large", 8},
        {"{'descr': '<f8', 'fortran_order': False, 'shape': (1,1,1,1,1,1,1), }", "more than 6 axes", 8},
        {"{'descr': '<f8', 'fortran_order': False, 'shape': 3}", "the shape is no tuple", 8},
        {"{'descr': '<f8'", "damaged", 8},
        {"[]", "it is no dictionary", 8},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        az_ctx *az = az_open(NULL);
        cr_assert_null(parse_npy(az, 1, cases[i].header, (double[6]){0}, cases[i].size));
        cr_assert_not_null(strstr(az_error(az), cases[i].says), "%s said: %s", cases[i].header, az_error(az));
        az_close(az);
    }
}

Test(arrays, npy_and_npz_written_read_back)
{
    az_ctx *az = az_open(NULL);
    const char *folder = test_folder(az), *path = test_path(az, folder, "a.npy"), *zip = test_path(az, folder, "a.npz");
    az_tensor *x = matrix_normal(az, AZ_F64, 7, 5, 1), *y = az_cast(az, az_transpose(az, x), AZ_F32);
    cr_assert(az_npy_write(az, az_transpose(az, x), path), "%s", az_error(az));
    az_array *a = az_npy_read(az, path);
    cr_assert_not_null(a, "%s", az_error(az));
    cr_assert_eq(matrix_difference(a->value, az_contiguous(az, az_transpose(az, x))), 0);
    const az_array both[] = {{.name = "x", .value = x}, {.name = "y", .value = y}};
    cr_assert(az_npz_write(az, both, 2, zip), "%s", az_error(az));
    az_array *arrays;
    int count;
    cr_assert(az_npz_read(az, zip, &arrays, &count), "%s", az_error(az));
    cr_assert_eq(count, 2);
    cr_assert_str_eq(arrays[1].name, "y");
    cr_assert_eq(matrix_difference(arrays[1].value, y), 0);
    a = az_array_read(az, az_format_text(az, "%s:x", zip), NULL, false);
    cr_assert_eq(matrix_difference(a->value, x), 0);
    cr_assert_null(az_array_read(az, zip, NULL, false));
    cr_assert_not_null(strstr(az_error(az), "it holds 2 arrays; add ':name'"), "%s", az_error(az));
    az_close(az);
}

/* A header of that size, and the numbers 1 .. 6 in either order. */
static const char *write_npy(az_ctx *az, const char *folder, const char *order, int header_size)
{
    const char *path = test_path(az, folder, az_format_text(az, "%s-%d.npy", order, header_size));
    unsigned char bytes[128] = "\x93NUMPY\x01";
    bytes[8] = (unsigned char)(header_size - 10);
    snprintf((char *)bytes + 10, 100, "{'descr':'<f8','fortran_order':%s,'shape':(2,3)}", order);
    memset(bytes + strlen((char *)bytes + 10) + 10, ' ', 128 - strlen((char *)bytes + 10) - 10);
    memcpy(bytes + header_size, (double[]){1, 2, 3, 4, 5, 6}, 48);
    FILE *f = fopen(path, "wb");
    cr_assert(f && fwrite(bytes, 1, (size_t)header_size + 48, f) == (size_t)header_size + 48 && fclose(f) == 0);
    return path;
}

Test(arrays, the_numbers_of_a_file_may_be_changed_and_the_file_stays)
{
    static const double fortran[] = {1, 3, 5, 2, 4, 6};
    az_ctx *az = az_open(NULL);
    const char *folder = test_folder(az);
    for (int i = 0; i < 4; i++) { /* headers that end at a multiple of 8 and elsewhere */
        const char *path = write_npy(az, folder, i % 2 ? "True" : "False", i < 2 ? 72 : 75);
        az_array *a = az_npy_read(az, path);
        cr_assert_not_null(a, "%s", az_error(az));
        for (int k = 0; k < 6; k++) cr_assert_eq(az_item(a->value, k), i % 2 ? fortran[k] : k + 1);
        az_f64_mut(a->value)[0] = 9;
        cr_assert_eq(az_item(a->value, 0), 9);
        cr_assert_eq(az_item(az_npy_read(az, path)->value, 0), 1);
        cr_assert_eq(remove(path), 0);
        cr_assert_eq(az_item(a->value, 5), 6);
    }
    az_close(az);
}

/* np.savez_compressed(file, a=np.arange(3.), b=np.zeros((2, 2), '<i4')) by NumPy 1.24. */
Test(arrays, a_deflated_archive_of_numpy)
{
    az_ctx *az = az_open(NULL);
    const char *path = az_format_text(az, "%s/tests/fixtures/deflated.npz", ADZE_SOURCE_DIR);
    az_array *a = az_array_read(az, az_format_text(az, "%s:a", path), NULL, false);
    cr_assert_not_null(a, "%s", az_error(az));
    cr_assert_eq(a->value->shape[0], 3);
    cr_assert_eq(az_item(a->value, 2), 2);
    a = az_array_read(az, az_format_text(az, "%s:b", path), NULL, false);
    cr_assert(a->value->rank == 2 && az_item(a->value, 3) == 0);
    size_t length;
    char *bytes = az_read_file(az, path, &length);
    az_array *arrays;
    int count;
    for (size_t cut = 0; cut < length; cut += 3) { /* any end that is missing is noticed */
        cr_assert_not(az_npz_parse(az, bytes, cut, &arrays, &count));
        cr_assert_not(az_ok(az));
        az_clear(az);
    }
    bytes[70] ^= 1;
    cr_assert_not(az_npz_parse(az, bytes, length, &arrays, &count));
    az_close(az);
}

Test(arrays, matrix_market_of_every_kind)
{
    static const struct {
        const char *text;
        double expected[6];
        int rows, cols;
    } cases[] = {
        {"%%MatrixMarket matrix coordinate real general\n% a comment\n2 3 3\n1 1 1.5\n2 3 -2\n1 2 4\n", {1.5, 4, 0, 0, 0, -2}, 2, 3},
        {"%%MatrixMarket matrix coordinate pattern symmetric\n2 2 2\n1 1\n2 1\n", {1, 1, 1, 0}, 2, 2},
        {"%%MatrixMarket matrix coordinate integer skew-symmetric\n2 2 1\n2 1 3\n", {0, -3, 3, 0}, 2, 2},
        {"%%MatrixMarket matrix array real general\n2 3\n1\n4\n2\n5\n3\n6\n", {1, 2, 3, 4, 5, 6}, 2, 3},
        {"%%MatrixMarket matrix array real symmetric\n2 2\n1\n2\n3\n", {1, 2, 2, 3}, 2, 2},
        {"%%MatrixMarket matrix array real skew-symmetric\n2 2\n5\n", {0, -5, 5, 0}, 2, 2},
    };
    az_ctx *az = az_open(NULL);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        az_triples *sparse;
        az_tensor *dense;
        cr_assert(az_matrix_market_parse(az, cases[i].text, strlen(cases[i].text), &sparse, &dense), "%s", az_error(az));
        if (sparse) dense = az_triples_dense(az, sparse, 0);
        cr_assert(dense->shape[0] == cases[i].rows && dense->shape[1] == cases[i].cols);
        for (int k = 0; k < cases[i].rows * cases[i].cols; k++) cr_assert_eq(az_item(dense, k), cases[i].expected[k], "case %d", (int)i);
    }
    az_close(az);
}

Test(arrays, damaged_matrix_market_is_refused)
{
    static const struct {
        const char *text, *says;
    } cases[] = {
        {"2 2 1\n1 1 1\n", "begins with %%MatrixMarket"},
        {"%%MatrixMarket matrix coordinate complex general\n1 1 0\n", "complex matrices are not read"},
        {"%%MatrixMarket matrix coordinate real general\n2 2 1\n3 1 1\n", "line 3: an entry lies outside"},
        {"%%MatrixMarket matrix coordinate real general\n2 2 1\n1 1 x\n", "value is missing or no number"},
        {"%%MatrixMarket matrix coordinate real general\n2 2 2000000\n1 1 1\n", "fewer entries than it says"},
        {"%%MatrixMarket matrix coordinate real general\n2 2 3\n1 1 1\n", "fewer entries than it says"},
        {"%%MatrixMarket matrix array real general\n2 2\n1\n2\n3\n", "fewer numbers than it says"},
        {"%%MatrixMarket matrix coordinate real general\n2 2 1\n1 1 1\n2 2 1\n", "more entries than it says"},
        {"%%MatrixMarket matrix coordinate real general\n2 2 2\n1 1 1\n1 1 2\n", "given twice"},
        {"%%MatrixMarket matrix array real general\n99999 99999\n1\n", "fewer entries than it says"},
        {"%%MatrixMarket matrix array real symmetric\n2 3\n1\n", "must be square"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        az_ctx *az = az_open(NULL);
        az_triples *sparse;
        az_tensor *dense;
        cr_assert_not(az_matrix_market_parse(az, cases[i].text, strlen(cases[i].text), &sparse, &dense));
        cr_assert_not_null(strstr(az_error(az), cases[i].says), "case %d said: %s", (int)i, az_error(az));
        az_close(az);
    }
}

static const char *write_text(az_ctx *az, const char *name, const char *text)
{
    const char *path = test_path(az, test_folder(az), name);
    FILE *file = fopen(path, "w");
    fputs(text, file);
    fclose(file);
    return path;
}

Test(arrays, an_array_without_numbers_is_no_data)
{
    az_ctx *az = az_open(NULL);
    const char *path = test_path(az, test_folder(az), "empty.npy");
    cr_assert(az_npy_write(az, az_new2(az, AZ_F64, 0, 4), path), "%s", az_error(az));
    cr_assert_null(az_array_read(az, path, NULL, true));
    cr_assert_not_null(strstr(az_error(az), "an array of shape [0, 4] holds no numbers"), "%s", az_error(az));
    az_close(az);
}

Test(arrays, triples_of_tables)
{
    az_ctx *az = az_open(NULL);
    az_triples *t = az_triples_read(az, write_text(az, "i.csv", "i,j,v\n1,0,2.5\n0,2,1\n1,0,2.5\n"), NULL, AZ_INDEX_AUTO);
    cr_assert_not_null(t, "%s", az_error(az));
    cr_assert(t->rows == 2 && t->cols == 3 && t->count == 2);
    cr_assert(t->row[0] == 0 && t->col[0] == 2 && t->value[1] == 2.5);
    t = az_triples_read(az, write_text(az, "l.csv", "who,what,v\nbob,y,1\nann,x,2\nbob,x,NA\n"), NULL, AZ_INDEX_AUTO);
    cr_assert_not_null(t, "%s", az_error(az));
    cr_assert_eq(t->count, 2);
    cr_assert_str_eq(t->row_name[0], "ann");
    cr_assert_eq(t->value[0], 2);
    cr_assert_null(az_triples_read(az, write_text(az, "d.csv", "i,j,v\n1,0,2\n1,0,3\n"), NULL, AZ_INDEX_ZERO));
    cr_assert_not_null(strstr(az_error(az), "row 1, column 0 is given twice, as 2 and as 3"), "%s", az_error(az));
    az_clear(az);
    cr_assert_null(az_triples_read(az, write_text(az, "z.csv", "i,j,v\n0,1,2\n"), NULL, AZ_INDEX_ONE));
    cr_assert_not_null(strstr(az_error(az), "'0' in column 'i' is no index"), "%s", az_error(az));
    az_close(az);
}

Test(arrays, a_table_is_an_array_with_names)
{
    az_ctx *az = az_open(NULL);
    az_array *a = az_array_read(az, write_text(az, "n.csv", "id,x,y\nfirst,1,2\nsecond,3,NA\n"), NULL, true);
    cr_assert_not_null(a, "%s", az_error(az));
    cr_assert_str_eq(a->row_name[1], "second");
    cr_assert_str_eq(a->column_name[1], "y");
    cr_assert(isnan(az_item(a->value, 3)));
    cr_assert_null(az_array_read(az, write_text(az, "n.csv", "x,y\n1,2\n3,NA\n"), NULL, false));
    cr_assert_not_null(strstr(az_error(az), "row 2, column 2 is missing"), "%s", az_error(az));
    az_close(az);
}

Test(arrays, results_go_where_the_name_says)
{
    az_ctx *az = az_open(NULL);
    const char *folder = test_folder(az);
    az_results *r = az_results_new(az);
    static const char *const rows[] = {"a", "b"}, *const columns[] = {"u", "v", "w"};
    az_tensor *x = az_from(az, AZ_F64, 2, (int64_t[]){2, 3}, (double[]){1, 0, 3, 0, 5, 1.0 / 3});
    az_results_array(r, "w", x, rows, columns);
    az_results_array(r, "sigma", az_full(az, AZ_F64, 1, (int64_t[]){2}, 0.5), NULL, NULL);
    az_results_text(r, "graph.dot", "digraph {}\n");
    static const char *const names[] = {"r.json", "r.csv", "r.npy", "r.npz", "r.safetensors", "r.mtx", "r.dot", "all/"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        cr_assert(az_results_write(az, r, test_path(az, folder, names[i])), "%s: %s", names[i], az_error(az));
    static const char *const readable[] = {"r.csv", "r.npy", "r.npz:w", "r.safetensors:w", "r.mtx", "all/w.csv"};
    for (size_t i = 0; i < sizeof readable / sizeof *readable; i++) {
        az_array *a = az_array_read(az, test_path(az, folder, readable[i]), NULL, false);
        cr_assert_not_null(a, "%s: %s", readable[i], az_error(az));
        cr_assert_eq(matrix_difference(a->value, x), 0, "%s", readable[i]);
    }
    cr_assert_not_null(strstr(az_read_file(az, test_path(az, folder, "r.json"), NULL), "\"sigma\""));
    cr_assert_str_eq(az_read_file(az, test_path(az, folder, "r.dot"), NULL), "digraph {}\n");
    cr_assert_not(az_results_write(az, r, test_path(az, folder, "r.xyz")));
    cr_assert_not_null(strstr(az_error(az), "the ending tells how a result is written"), "%s", az_error(az));
    az_close(az);
}

Test(arrays, a_table_with_fractions_or_gaps_in_front_is_the_matrix_itself)
{
    static const char *const matrices[] = {"a,b,c\n1,,3\n4,5,6\n", "a,b,c\n1,0.5,3\n4,5,6\n", "n,a,b,c\nx,,1,3\ny,4,5,6\n"};
    az_ctx *az = az_open(NULL);
    for (size_t i = 0; i < sizeof matrices / sizeof *matrices; i++) {
        const az_triples *t = az_triples_read(az, write_text(az, "m.csv", matrices[i]), NULL, AZ_INDEX_AUTO);
        cr_assert_not_null(t, "%s", az_error(az));
        cr_assert(t->rows == 2 && t->cols == 3 && t->count == 6 - (i != 1), "%s", matrices[i]);
        cr_assert_str_eq(t->col_name[2], "c");
    }
    const az_triples *t = az_triples_read(az, write_text(az, "w.csv", "a,b,c\n1,0,3\n4,5,6\n"), NULL, AZ_INDEX_MATRIX);
    cr_assert_eq(t->count, 6);
    t = az_triples_read(az, write_text(az, "w.csv", "a,b,c\n1,0,3\n4,5,6\n"), NULL, AZ_INDEX_AUTO);
    cr_assert_eq(t->count, 2, "whole numbers are places");
    const char *asked = write_text(az, "q.csv", "i,j\n2,b\n0,a\n2,b\n");
    const char *header[] = {"b", "a"};
    const az_triples like = {.rows = 3, .cols = 2, .col_name = header};
    t = az_places_read(az, asked, NULL, AZ_INDEX_AUTO, &like);
    cr_assert(t && t->count == 3 && !t->row_name && t->row[0] == 2 && t->row[1] == 0, "%s", az_error(az));
    cr_assert_str_eq(t->col_name[t->col[0]], "b");
    cr_assert_null(az_triples_read(az, write_text(az, "n.csv", "i,j,v\n0,1,2\n-1,0,3\n"), NULL, AZ_INDEX_AUTO));
    cr_assert(strstr(az_error(az), "row 2: -1 in column 'i' is no position"), "%s", az_error(az));
    az_close(az);
}
