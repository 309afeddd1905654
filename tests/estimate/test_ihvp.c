/* ihvp: products with the inverse Fisher matrix, of matrices in files and of a model's gradients. */
#include "support/command.h"
#include "support/folder.h"

#include "adze/data.h"

#include <criterion/criterion.h>
#include <math.h>
#include <string.h>

/* Four gradients sin(1 + 7 i + j) and the vector cos(j / 2), as text and .npy. */
static void write_files(az_ctx *az, const char *folder)
{
    az_tensor *g = az_zeros(az, AZ_F32, 2, (int64_t[]){4, 7}), *x = az_zeros(az, AZ_F64, 1, (int64_t[]){7});
    for (int i = 0; i < 28; i++) az_f32_mut(g)[i] = (float)sin(1 + i);
    for (int j = 0; j < 7; j++) az_f64_mut(x)[j] = cos(j / 2.0);
    cr_assert(az_npy_write(az, g, test_path(az, folder, "g.npy")) && az_npy_write(az, x, test_path(az, folder, "x.npy")));
    const test_run made =
        test_shell(az, folder, "awk 'BEGIN { OFS = \",\"; print \"a,b,c\"; print 1, 2, 3; print -1, 0, 1 }' > t.csv; echo 1,0 > two.csv");
    cr_assert_eq(made.code, 0);
}

Test(ihvp, files_give_what_a_dense_solve_does)
{
    static const double expected[] = {9.15172264, 1.74564902, -1.34554083, 0.44501935, 2.30359603, -0.76290509, -8.53219327};
    az_ctx *az = az_open(NULL);
    const char *folder = test_folder(az);
    write_files(az, folder);
    const test_run run = test_shell(az, folder, "adze estimate ihvp:damp=0.1,diagonal -d g.npy -d x.npy -o y.npz --json -q");
    cr_assert_eq(run.code, 0, "%s", run.err);
    cr_assert_lt(test_json_number(test_section(az, run.out, "vectors"), "residual"), 1e-12);
    az_array *array = NULL;
    int count = 0;
    cr_assert(az_npz_read(az, test_path(az, folder, "y.npz"), &array, &count));
    cr_assert_eq(count, 2);
    for (int j = 0; j < 7; j++) cr_assert_float_eq(az_item(array[0].value, j), expected[j], 1e-6);
    for (int j = 0; j < 7; j++) cr_assert(az_item(array[1].value, j) > 0 && az_item(array[1].value, j) <= 10);
    /* Blocks of one entry have only their own squares. */
    const test_run blocks = test_shell(az, folder,
                                       "adze estimate ihvp:damp=1,block=1 -d t.csv -d t.csv -o y.csv -q && awk -F, 'NR > 1 { printf \"%.9f "
                                       "%.9f %.9f;\", $1, $2, $3 }' y.csv");
    cr_assert_eq(blocks.code, 0, "%s", blocks.err);
    cr_assert_not_null(strstr(blocks.out, "0.500000000 0.666666667 0.500000000;-0.500000000 0.000000000 0.166666667;"), "%s", blocks.out);
    az_close(az);
}

/* One gradient g that is also the vector: y = g / (damp + |g|^2). */
Test(ihvp, a_model_gives_gradients_and_vectors)
{
    az_ctx *az = az_open(NULL);
    const char *folder = test_folder(az);
    const test_run run =
        test_shell(az, folder,
                   "echo 'Anna has a red ball. She is glad.' > one.txt; adze estimate ihvp:damp=0.5,grads=1 -d one.txt -d one.txt -d "
                   "model=tales -o y/ --json -q && wc -l < y/layers.csv && sed -n 2p y/layers.csv");
    cr_assert_eq(run.code, 0, "%s", run.err);
    json_t *vector = test_section(az, run.out, "vectors");
    const double norm = test_json_number(vector, "norm"), square = norm * norm;
    cr_assert_gt(square, 0);
    cr_assert_float_eq(test_json_number(vector, "product"), square / (0.5 + square), 1e-6);
    cr_assert_float_eq(test_json_number(test_section(az, run.out, "fisher"), "entries"), 2359296, 0);
    cr_assert_not_null(strstr(run.out, "29\nblocks.0.attn.q,0,256,256\n"), "%s", run.out);
    az_close(az);
}

Test(ihvp, what_cannot_be_solved_is_refused)
{
    static const char *const cases[][2] = {
        {"adze estimate ihvp -d g.npy", "vectors=FILE, or diagonal"},
        {"adze estimate ihvp:damp=0 -d g.npy -d x.npy", "damp is 0, not above 0"},
        {"adze estimate ihvp:damp=1e-300 -d g.npy -d x.npy", "use a larger one"},
        {"adze estimate ihvp -d x.npy -d x.npy", "gradients are rows of a matrix"},
        {"adze estimate ihvp -d g.npy -d t.csv", "vectors have 3 entries, gradients 7"},
        {"adze estimate ihvp -d g.npy -d x.npy -d model=nowhere", "there is no model 'nowhere'"},
        {"adze estimate ihvp -d one.txt -d x.npy -d model=tales", "entries, gradients 2359296"},
        {"adze estimate ihvp -d one.txt -d x.npy", "one.txt"},
        {"adze estimate ihvp:seqlen=1 -d one.txt -d one.txt -d model=tales", "one token has no loss"},
        {"adze estimate ihvp:scratch=nowhere,grads=1 -d one.txt -d one.txt -d model=tales", "nowhere"},
    };
    az_ctx *az = az_open(NULL);
    const char *folder = test_folder(az);
    write_files(az, folder);
    test_shell(az, folder, "echo Anna has a red ball. > one.txt");
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const test_run run = test_shell(az, folder, az_format_text(az, "%s -o out.npy", cases[i][0]));
        cr_assert_eq(run.code, 2, "%s gives %d", cases[i][0], run.code);
        cr_assert(strstr(run.err, cases[i][1]), "%s: %s", cases[i][0], run.err);
        cr_assert_eq(test_shell(az, folder, "test ! -e out.npy").code, 0, "%s", cases[i][0]);
    }
    az_close(az);
}
