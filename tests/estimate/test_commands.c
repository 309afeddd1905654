/* The methods of graphs, matrices and regressions as a user calls them: files in, tables and files out, errors that say what to do. */
#include "claims/splitmix.h"
#include "support/command.h"
#include "support/data.h"
#include "support/folder.h"

#include "adze/data.h"

#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

static void write(az_ctx *az, const char *folder, const char *name, const char *text)
{
    FILE *file = fopen(test_path(az, folder, name), "w");
    fputs(text, file);
    fclose(file);
}

static test_run run(az_ctx *az, const char *folder, const char *line)
{
    const test_run result = test_shell(az, folder, line);
    cr_assert_eq(result.code, 0, "%s: %s", line, result.err);
    return result;
}

typedef struct refusal {
    const char *line, *says;
} refusal;

static void refuse(az_ctx *az, const char *folder, const refusal *cases, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        const test_run result = test_shell(az, folder, cases[i].line);
        cr_assert_eq(result.code, 2, "%s gives %d", cases[i].line, result.code);
        cr_assert(strstr(result.err, cases[i].says), "%s: %s", cases[i].line, result.err);
    }
}

#define REFUSE(az, folder, cases) refuse(az, folder, cases, sizeof(cases) / sizeof *(cases))

Test(commands, a_graph_is_drawn_sampled_learnt_and_compared)
{
    az_ctx *az = az_open(NULL);
    const char *folder = test_folder(az);
    run(az, folder, "mkdir d; adze estimate dag-samples:nodes=8,edges=10,samples=500 --seed 3 -o d/");
    const test_run fit = run(az, folder, "adze estimate colide:score=colide-ev,beside=ls -d d/samples.csv -d d/truth.csv -o w.csv --json");
    cr_assert_leq(test_json_number(test_section(az, fit.out, "fit"), "shd"), 2);
    cr_assert_float_eq(test_json_number(test_section(az, fit.out, "noise"), "sigma"), 1, 0.1);
    cr_assert(test_section(az, fit.out, "edges") && test_section(az, fit.out, "scores"));
    const test_run again = run(az, folder, "adze estimate dag-compare -d w.csv -d d/truth.csv --json");
    cr_assert_eq(test_json_number(test_section(az, again.out, "comparison"), "shd"),
                 test_json_number(test_section(az, fit.out, "fit"), "shd"));
    const test_run noise = run(az, folder,
                               "adze estimate colide:score=colide-ev -d d/samples.csv -d sigma=d/sigma.csv -o f/ --json && "
                               "adze estimate dag-compare -d f/weights.csv -d d/truth.csv -d f/sigma.csv -d d/sigma.csv --json");
    const double sigma = test_json_number(test_section(az, noise.out, "noise"), "sigma"); /* all are equal, and the truth is 1 */
    cr_assert_float_eq(test_json_number(test_section(az, noise.out, "noise"), "relative_error"), sigma - 1, 1e-12);
    cr_assert_float_eq(test_json_number(test_section(az, noise.out, "fit"), "sigma_error"), fabs(sigma - 1), 1e-12);
    cr_assert_float_eq(test_json_number(test_section(az, noise.out, "comparison"), "sigma_error"), fabs(sigma - 1), 1e-12);
    run(az, folder, "adze estimate colide:score=colide-ev -d d/samples.csv -o g.dot && grep -q 'x[0-9]\" -> \"x' g.dot");
    az_close(az);
}

/* a -> b -> c -> a, and d apart: the weakest edge goes, by name. */
Test(commands, an_estimate_with_a_cycle_is_cut_and_said_to_be)
{
    az_ctx *az = az_open(NULL);
    const char *folder = test_folder(az);
    write(az, folder, "w.csv", "name,a,b,c,d\na,0,2,0,0\nb,0,0,1.5,0\nc,-0.5,0,0,1\nd,0,0,0,0\n");
    write(az, folder, "t.csv", "from,to\na,b\nb,c\n");
    const test_run cut = run(az, folder, "adze estimate dag-compare:cut=true -d w.csv -d t.csv --json");
    cr_assert(strstr(cut.err, "w.csv has cycles, such as ") && strstr(cut.err, "1 in all"), "%s", cut.err);
    cr_assert(strstr(cut.err, "a -> b -> c -> a") || strstr(cut.err, "b -> c -> a -> b") || strstr(cut.err, "c -> a -> b -> c"), "%s",
              cut.err);
    const json_t *row = test_section(az, cut.out, "cut");
    cr_assert_str_eq(json_string_value(json_object_get(row, "from")), "c");
    cr_assert_str_eq(json_string_value(json_object_get(row, "to")), "a");
    cr_assert_eq(test_json_number(row, "weight"), -0.5);
    cr_assert_eq(test_json_number(test_section(az, cut.out, "comparison"), "edges"), 3);
    cr_assert_eq(test_json_number(test_section(az, cut.out, "comparison"), "cyclic_edges_removed"), 1);
    az_close(az);
}

Test(commands, graphs_that_cannot_be_learnt_are_refused)
{
    az_ctx *az = az_open(NULL);
    const char *folder = test_folder(az);
    write(az, folder, "x.csv", "a,b,c\n1,2,1\n2,1,1\n3,5,1\n");
    write(az, folder, "hole.csv", "a,b\n1,2\nNA,3\n2,2\n");
    write(az, folder, "good.csv", "a,b,c\n1,2,1\n2,1,2\n3,5,1\n");
    write(az, folder, "loop.csv", "from,to\na,b\nb,c\nc,a\n");
    write(az, folder, "round.csv", "a,b\n0,2\n0.7,0\n");
    write(az, folder, "line.csv", "a,b\n0,2\n0,0\n");
    write(az, folder, "tiny.csv", "a,b\n1e-300,1\n2e-300,1\n3e-300,2\n");
    write(az, folder, "other.csv", "from,to\na,bb\n");
    write(az, folder, "same.csv", "a,b,a\n1,2,1\n2,1,2\n3,5,1\n");
    write(az, folder, "chain.csv", "from,to\na,b\n");
    write(az, folder, "few.csv", "name,sigma\na,1\nb,1\n");
    write(az, folder, "levels.csv", "name,sigma\na,1\nb,0\nc,1\n");
    const refusal cases[] = {
        {"adze estimate colide -d x.csv", "column 'c' has the same value in each row"},
        {"adze estimate colide -d hole.csv", "column 'a', row 2"},
        {"adze estimate colide -d tiny.csv", "column 'a' reaches 3e-300 at most"},
        {"adze estimate colide:columns=a -d x.csv", "at least 2 variables"},
        {"adze estimate colide -d good.csv -d loop.csv", "b -> c -> a -> b"},
        {"adze estimate colide -d good.csv -d other.csv", "'bb' is not among the variables"},
        {"adze estimate colide:beside=lasso -d good.csv", "'lasso' is no score"},
        {"adze estimate 'colide:s=\"1,x\"' -d good.csv", "positive numbers are wanted"},
        {"adze estimate colide", "samples"},
        {"adze estimate dag-samples:nodes=3,edges=9", "3 pairs"},
        {"adze estimate dag-compare -d good.csv -d loop.csv", "acyclic"},
        {"adze estimate dag-compare:threshold=0.5 -d round.csv -d line.csv", "round.csv is no acyclic graph: b -> a -> b"},
        {"adze estimate colide -d same.csv", "two variables are called 'a'"},
        {"adze estimate 'colide:columns=\"a,b,a\"' -d good.csv", "two variables are called 'a'"},
        {"adze estimate dag-compare -d same.csv -d loop.csv", "two variables are called 'a'"},
        {"adze estimate dag-compare -d good.csv -d chain.csv -d sigma=levels.csv", "both -d sigma=FILE"},
        {"adze estimate colide -d good.csv -d sigma=levels.csv", "noise level of 'b' is 0"},
        {"adze estimate colide -d good.csv -d sigma=few.csv", "3 noise levels are wanted"},
    };
    REFUSE(az, folder, cases);
    az_close(az);
}

/* The graph of signalling proteins (Sachs et al. 2005); how near it comes is told by the claim. */
Test(commands, colide_reads_the_protein_data)
{
    az_ctx *az = az_open(NULL);
    const char *folder = test_folder(az), *data = test_data(az, "tabular/sachs/sachs.2005.logxplus10.continuous.txt");
    const test_run fit = run(az, folder, az_format_text(az, "adze estimate colide:warm=3000,iterations=3000 -d %s --json", data));
    cr_assert_geq(test_json_number(test_section(az, fit.out, "fit"), "edges"), 5);
    az_close(az);
}

/* 20 x 15 of rank 3, two thirds known. */
static void write_entries(az_ctx *az, const char *folder)
{
    FILE *known = fopen(test_path(az, folder, "known.csv"), "w"), *test = fopen(test_path(az, folder, "test.csv"), "w");
    fputs("user,item,value\n", known), fputs("user,item,value\n", test);
    for (int i = 0; i < 20; i++)
        for (int j = 0; j < 15; j++)
            fprintf(splitmix(7, (uint64_t)(15 * i + j)) % 3 ? known : test, "u%02d,i%02d,%.17g\n", i, j,
                    sin(i + 1) * cos(2 * j) + (i % 4) * (j % 5) + 1);
    fclose(known), fclose(test);
}

Test(commands, a_matrix_is_completed_and_its_entries_predicted)
{
    az_ctx *az = az_open(NULL);
    const char *folder = test_folder(az);
    write_entries(az, folder);
    write(az, folder, "pairs.csv", "user,item\nu03,i04\nu19,i00\nu99,i00\n");
    const test_run fit = run(az, folder,
                             "adze estimate matrix-completion:rank=3,iterations=400,beside=exact -d known.csv -d test=test.csv "
                             "-d pairs=pairs.csv -o p.csv --json");
    const json_t *row = test_section(az, fit.out, "fit");
    cr_assert_lt(test_json_number(row, "rmse"), 1e-4);
    cr_assert_lt(test_json_number(row, "rmse_held_out"), 1e-2);
    cr_assert_eq(test_json_number(row, "columns"), 15);
    const test_run written = run(az, folder, "cat p.csv");
    double value = 0;
    cr_assert_eq(sscanf(strstr(written.out, "u03,i04,") + 8, "%lf", &value), 1);
    cr_assert_float_eq(value, sin(4) * cos(8) + 3 * 4 + 1, 0.05);
    cr_assert(strstr(written.out, "u99,i00,NA,0"), "%s", written.out);
    az_close(az);
}

/* A fit that was written answers as it did when it was made, for names, positions from 0 and from 1, and a matrix's own header. */
Test(commands, a_completed_matrix_is_used_again)
{
    az_ctx *az = az_open(NULL);
    const char *folder = test_folder(az);
    write_entries(az, folder);
    write(az, folder, "pairs.csv", "user,item\nu19,i00\nu03,i04\nu99,i00\nu03,i04\n");
    static const char *const fits[] = {"fit.npz", "fit.safetensors", "fit.json", "fit/"};
    for (int i = 0; i < 4; i++) {
        const char *fit = fits[i];
        run(az, folder, az_format_text(az, "adze estimate matrix-completion:rank=2,center=both,ridge=1e-3 -d known.csv -o %s", fit));
        run(az, folder,
            "adze estimate matrix-completion:rank=2,center=both,ridge=1e-3 -d known.csv -d pairs=pairs.csv -d test=test.csv "
            "-o p.csv --json > first.json");
        const test_run again =
            run(az, folder,
                az_format_text(az, "adze estimate matrix-completion -d model=%s -d pairs=pairs.csv -d test=test.csv -o q.csv --json", fit));
        cr_assert(strstr(again.err, "1 of 4 pairs are in rows or columns that the matrix does not have"), "%s", again.err);
        const test_run first = run(az, folder, "cmp p.csv q.csv && cat first.json");
        cr_assert_eq(test_json_number(test_section(az, first.out, "fit"), "rmse_held_out"),
                     test_json_number(test_section(az, again.out, "predictions"), "rmse_held_out"));
        cr_assert_eq(test_json_number(test_section(az, again.out, "predictions"), "pairs"), 4);
    }
    write(az, folder, "one.csv", "i,j,v\n1,1,1\n1,2,2\n2,1,3\n2,2,6\n3,1,2\n");
    write(az, folder, "ask.csv", "i,j\n3,2\n");
    run(az, folder, "adze estimate matrix-completion:rank=1,index=one -d one.csv -o one.npz");
    run(az, folder, "adze estimate matrix-completion -d model=one.npz -d pairs=ask.csv -o o.csv");
    double value = 0;
    cr_assert_eq(sscanf(run(az, folder, "tail -1 o.csv").out, "3,2,%lf,1", &value), 1);
    cr_assert_float_eq(value, 4, 1e-6);
    write(az, folder, "wide.csv", "z,b,a\n0.5,2,1\n1.5,6,3\n1,4,NA\n");
    write(az, folder, "where.csv", "row,of\n2,a\n0,z\n");
    run(az, folder, "adze estimate matrix-completion:rank=1 -d wide.csv -d pairs=where.csv -o w.csv");
    cr_assert_eq(sscanf(run(az, folder, "sed -n 2p w.csv").out, "2,a,%lf,1", &value), 1);
    cr_assert_float_eq(value, 2, 1e-6);
    write(az, folder, "holes.csv", "i,j,v\n0,0,1\n0,1,NA\n1,0,3\n1,1,NA\n");
    cr_assert(strstr(run(az, folder, "adze estimate matrix-completion:rank=1,ridge=1 -d holes.csv").err,
                     "2 of 4 entries have no value and are left out"));
    write(az, folder, "minus.csv", "i,j,v\n0,-1,1\n0,1,3\n1,0,3\n");
    run(az, folder, "adze estimate matrix-completion:rank=1,index=labels,ridge=1 -d minus.csv");
    const refusal cases[] = {
        {"adze estimate matrix-completion:rank=1 -d minus.csv", "row 1: -1 in column 'j' is no position"},
        {"adze estimate matrix-completion -d pairs=ask.csv", "entries are missing"},
        {"adze estimate matrix-completion -d model=one.npz", "what to predict"},
        {"adze estimate matrix-completion:rank=1 -d one.csv -d model=one.npz -d pairs=ask.csv", "nothing to fit"},
        {"adze estimate matrix-completion -d model=one.csv -d pairs=ask.csv",
         "a result with several arrays is a .npz, .safetensors or .json file"},
        {"adze estimate matrix-completion -d model=x.npz -d pairs=ask.csv", "x.npz"},
    };
    REFUSE(az, folder, cases);
    az_close(az);
}

Test(commands, matrices_that_cannot_be_completed_are_refused)
{
    az_ctx *az = az_open(NULL);
    const char *folder = test_folder(az);
    write_entries(az, folder);
    write(az, folder, "twice.csv", "i,j,v\n0,0,1\n0,1,2\n0,0,3\n");
    write(az, folder, "few.csv", "i,j,v\n0,0,1\n0,1,2\n1,0,3\n1,1,2\n");
    write(az, folder, "none.csv", "a,b\nNA,NA\nNA,NA\n");
    write(az, folder, "huge.csv", "i,j,v\n0,0,1e200\n0,1,2\n1,0,3\n1,1,2\n");
    const refusal cases[] = {
        {"adze estimate matrix-completion -d known.csv", "rank"},
        {"adze estimate matrix-completion:rank=1 -d none.csv", "no entry is known"},
        {"adze estimate matrix-completion:rank=2 -d twice.csv", "twice"},
        {"adze estimate matrix-completion:rank=3 -d few.csv", "no approximation of rank 3"},
        {"adze estimate matrix-completion:rank=3,method=svd -d few.csv", "no approximation of rank 3"},
        {"printf 'i,j,v\\n0,0,1\\n0,1,Inf\\n' > inf.csv; adze estimate matrix-completion:rank=1 -d inf.csv",
         "(number 2 by rows) is not finite"},
        {"adze estimate matrix-completion:rank=1 -d huge.csv", "the matrix reaches 1e+200 at most"},
        {"adze estimate matrix-completion:rank=2,rows=9,columns=9 -d known.csv", "more than the 9 x 9"},
        {"adze estimate matrix-completion:rank=9 -d known.csv", "fewer than the rank 9"},
        {"adze estimate matrix-completion:rank=2,split -d known.csv", "in one part of the split"},
        {"adze estimate matrix-completion:rank=2 -d known.csv -d test=few.csv", "names them"},
    };
    REFUSE(az, folder, cases);
    az_close(az);
}

Test(commands, a_regression_is_sketched_refined_and_read_in_blocks)
{
    az_ctx *az = az_open(NULL);
    const char *folder = test_folder(az);
    FILE *file = fopen(test_path(az, folder, "a.csv"), "w");
    fputs("x,z,y\n", file);
    for (int i = 0; i < 4000; i++) {
        const double x = sin(i), z = cos(1.7 * i + 0.3);
        fprintf(file, "%.9g,%.9g,%.9g\n", x, z, 2 * x - 3 * z + 1 + 0.5 * sin(i * i % 1000));
    }
    fclose(file);
    const test_run exact = run(az, folder, "adze estimate linf-regression:target=y,intercept,rows=4000 -d a.csv -o x.csv --json");
    const test_run fit =
        run(az, folder, "adze estimate linf-regression:target=y,intercept,rows=300,refine=30,exact,beside=all -d a.csv --json");
    const json_t *refined = test_section(az, fit.out, "coefficients");
    cr_assert_eq(test_json_number(refined, "se"), 0);
    cr_assert_eq(test_json_number(refined, "low"), test_json_number(refined, "value"));
    cr_assert_eq(test_json_number(test_section(az, fit.out, "fit"), "likely_error"), 0);
    cr_assert_float_eq(test_json_number(test_section(az, fit.out, "fit"), "residual"),
                       test_json_number(test_section(az, exact.out, "fit"), "residual"), 1e-9);
    const test_run cut = run(az, folder, "adze estimate linf-regression:target=y,intercept,rows=300,refine=1 -d a.csv --json");
    cr_assert(json_is_null(json_object_get(test_section(az, cut.out, "coefficients"), "se")), "%s", cut.out);
    cr_assert(json_is_null(json_object_get(test_section(az, cut.out, "fit"), "likely_error")), "%s", cut.out);
    cr_assert(strstr(cut.err, "the errors that are left are not known"), "%s", cut.err);
    const test_run block =
        run(az, folder, "adze estimate linf-regression:target=y,intercept,rows=300,sketch=sign,block=1000 -d a.csv --json");
    const test_run whole = run(az, folder, "adze estimate linf-regression:target=y,intercept,rows=300,sketch=sign -d a.csv --json");
    const double first = test_json_number(test_section(az, exact.out, "coefficients"), "value");
    cr_assert_float_eq(first, 1, 0.1);
    cr_assert_float_eq(test_json_number(test_section(az, fit.out, "coefficients"), "value"), first, 1e-9);
    cr_assert_eq(test_json_number(test_section(az, block.out, "coefficients"), "value"),
                 test_json_number(test_section(az, whole.out, "coefficients"), "value"));
    const az_table *table = az_table_read(az, test_path(az, folder, "a.csv"), NULL);
    int at = 0;
    while (strcmp(table->column[at].name, "y") != 0) at++;
    cr_assert(az_npy_write(az, az_table_matrix(az, table, NULL, 0), test_path(az, folder, "a.npy")), "%s", az_error(az));
    const test_run array = run(
        az, folder, az_format_text(az, "adze estimate linf-regression:target=x%d,intercept,rows=300,sketch=sign -d a.npy --json", at + 1));
    cr_assert_eq(test_json_number(test_section(az, array.out, "coefficients"), "value"),
                 test_json_number(test_section(az, whole.out, "coefficients"), "value"));
    const json_t *sketched = test_section(az, whole.out, "coefficients");
    cr_assert_leq(fabs(test_json_number(sketched, "value") - first), 5 * test_json_number(sketched, "se"));
    az_close(az);
}

Test(commands, regressions_that_make_no_sense_are_refused)
{
    az_ctx *az = az_open(NULL);
    const char *folder = test_folder(az);
    write(az, folder, "a.csv", "x,z,y\n1,0,1\n2,0,2\n3,0,4\n4,0,4\n");
    write(az, folder, "b.csv", "y\n1\n2\n");
    write(az, folder, "wide.csv", "x,z,y\n1,3,1\n");
    cr_assert(az_npy_write(az, az_new2(az, AZ_F64, 0, 4), test_path(az, folder, "none.npy")), "%s", az_error(az));
    const refusal cases[] = {
        {"adze estimate linf-regression:target=y -d a.csv", "column 'z' is zero"},
        {"adze estimate linf-regression:target=yy -d a.csv", "yy"},
        {"adze estimate linf-regression:target=x4 -d none.npy", "[0, 4] holds no numbers"},
        {"adze estimate linf-regression:target=x4,sketch=sign,block=9 -d none.npy", "'none.npy' holds no rows"},
        {"adze estimate linf-regression -d a.csv", "b is missing"},
        {"adze estimate linf-regression -d a.csv -d b.csv", "A has 4 rows, b 2"},
        {"adze estimate linf-regression:target=y -d wide.csv", "1 rows do not determine 2"},
        {"adze estimate linf-regression:target=y,block=100 -d a.csv", "sketch=sign"},
        {"adze estimate linf-regression:sketch=tensor-srht -d a.csv -d b.csv", "second factor is missing"},
        {"adze estimate linf-regression:beside=fft,target=y -d wide.csv", "1 rows"},
    };
    REFUSE(az, folder, cases);
    az_close(az);
}

Test(commands, a_sparse_vector_is_recovered)
{
    az_ctx *az = az_open(NULL);
    const char *folder = test_folder(az);
    /* x = e_2 kron 3 e_1 for 2 x 3 and 2 x 2 factors: y = column 2 of the first kron 3 times column 1 of the second */
    write(az, folder, "a.csv", "1,0.5,-1\n0.3,1,2\n");
    write(az, folder, "b.csv", "2,1\n-1,1\n");
    write(az, folder, "y.csv", "3\n-1.5\n6\n-3\n");
    const test_run fit = run(az, folder, "adze estimate krosbl:noise=1e-4 -d a.csv -d b.csv -d y.csv -o x.npy --json");
    const json_t *support = test_section(az, fit.out, "support");
    cr_assert_eq(test_json_number(support, "position"), 2);
    cr_assert_float_eq(test_json_number(support, "real"), 3, 0.01);
    run(az, folder, "test -s x.npy");
    /* complex numbers are written as pairs, and read so as the truth: y times 1000 + 2000i */
    FILE *file = fopen(test_path(az, folder, "y.npy"), "wb");
    fprintf(file, "\x93NUMPY\x01%cv%c%-117s\n", 0, 0, "{'descr': '<c16', 'fortran_order': False, 'shape': (4,), }");
    fwrite((double[]){3000, 6000, -1500, -3000, 6000, 12000, -3000, -6000}, sizeof(double), 8, file);
    fclose(file);
    run(az, folder, "adze estimate krosbl -d a.csv -d b.csv -d y.npy -o xc.npy");
    const test_run pairs = run(az, folder, "adze estimate krosbl -d a.csv -d b.csv -d y.npy -d truth=xc.npy --json");
    cr_assert_lt(test_json_number(test_section(az, pairs.out, "fit"), "nmse"), 1e-12);
    cr_assert_float_eq(test_json_number(test_section(az, pairs.out, "support"), "imaginary"), 6000, 20);
    write(az, folder, "zero.csv", "0\n0\n0\n0\n");
    cr_assert(strstr(run(az, folder, "adze estimate krosbl -d a.csv -d b.csv -d zero.csv").err, "y is zero"));
    const refusal cases[] = {
        {"adze estimate krosbl -d a.csv -d b.csv", "y has 4 entries"},
        {"adze estimate krosbl -d a.csv -d b.csv -d y.csv -d y.csv", "the product of the factors 16 rows"},
        {"adze estimate krosbl:method=oracle -d a.csv -d b.csv -d y.csv", "truth=FILE is missing"},
        {"printf '3e200\\n0\\n0\\n1\\n' > big.csv; adze estimate krosbl -d a.csv -d b.csv -d big.csv", "y reaches 3e+200 at most"},
        {"printf '3e-200,0\\n1e-200,0\\n' > small.csv; adze estimate krosbl -d a.csv -d small.csv -d y.csv", "small.csv reaches 3e-200"},
        {"adze estimate krosbl:noise=0 -d a.csv -d b.csv -d y.csv", "positive variance"},
        {"adze estimate krosbl:beside=lasso -d a.csv -d b.csv -d y.csv", "'lasso' is no method"},
    };
    REFUSE(az, folder, cases);
    az_close(az);
}

Test(commands, the_surface_study_tells_errors_by_method)
{
    az_ctx *az = az_open(NULL);
    const char *folder = test_folder(az);
    const char *scene = "adze estimate irs-channel:bs=6,ms=4,irs=16,grid=8,trials=2,snr=20,methods=%s --threads 1 --json";
    const test_run svd = run(az, folder, az_format_text(az, scene, "svd+oracle"));
    cr_assert(test_json_number(test_section(az, svd.out, "channel"), "nmse") < 3);
    const refusal cases[] = {
        {"adze estimate irs-channel:methods=magic", "has no 'magic'"},
        {"adze estimate irs-channel:snr=loud", "numbers are wanted"},
    };
    REFUSE(az, folder, cases);
    az_close(az);
}

Test(commands, points_are_clustered)
{
    az_ctx *az = az_open(NULL);
    const char *folder = test_folder(az);
    FILE *file = fopen(test_path(az, folder, "p.csv"), "w");
    fputs("x,y,kind\n", file);
    const double *g = splitmix_normal(az, 3, 80);
    for (int i = 0; i < 40; i++) /* a flat and a tall cluster */
        fprintf(file, "%g,%g,%s\n", i % 2 ? 3 * g[2 * i] : 0.3 * g[2 * i] + 8, i % 2 ? 0.3 * g[2 * i + 1] : 3 * g[2 * i + 1],
                i % 2 ? "flat" : "tall");
    fclose(file);
    write(az, folder, "same.csv", "x,y\n1,2\n1,3\n1,4\n");
    write(az, folder, "hole.csv", "x,y\n1,2\n,3\n1,4\n");
    write(az, folder, "twice.csv", "x,y\n1,2\n1,2\n1,2\n3,4\n3,4\n3,4\n3,4\n");
    write(az, folder, "start.csv", "x,y,s\n1,2,a\n2,3,a\n1,4,a\n3,5,a\n");
    run(az, folder, "adze estimate ila-sdp:k=40,truth=kind -d p.csv --threads 1");
    const test_run fit =
        run(az, folder, "adze estimate ila-sdp:k=2,truth=kind,beside=all -d p.csv -o l.csv --threads 1 --json && head -1 l.csv > head.txt");
    const json_t *row = test_section(az, fit.out, "fit");
    cr_assert_leq(test_json_number(row, "error"), 0.051);
    cr_assert_geq(test_json_number(row, "bound"), test_json_number(row, "log_likelihood"));
    cr_assert_geq(test_json_number(row, "gap"), 0);
    cr_assert_eq(test_json_number(row, "least_points"), 3);
    cr_assert(test_section(az, fit.out, "methods") && test_section(az, fit.out, "clusters"));
    cr_assert_str_eq(run(az, folder, "cat head.txt").out, "label,membership1,membership2\n");
    run(az, folder, "adze estimate ila-sdp:k=2,truth=kind,max_n=20,init=hclust,solver=lowrank -d p.csv --threads 1");
    const test_run few = run(az, folder, "adze estimate ila-sdp:k=2,truth=kind,project=1 -d p.csv -o few.json --threads 1 --json");
    cr_assert_leq(test_json_number(test_section(az, few.out, "fit"), "error"), 0.3);
    run(az, folder, "adze estimate ila-sdp:k=2,truth=kind,project=1,max_n=20 -d p.csv --threads 1 && grep -q directions few.json");
    const refusal cases[] = {
        {"adze estimate ila-sdp:k=2 -d same.csv", "column 'x' has the same value in each row"},
        {"adze estimate ila-sdp:k=2 -d hole.csv", "column 'x', row 2"},
        {"adze estimate ila-sdp:k=3 -d twice.csv", "k=3: a group of the start has no points"},
        {"adze estimate ila-sdp:k=2,init=column,start=s,method=em -d start.csv", "start=s: group 2 of k=2 has no points"},
        {"adze estimate ila-sdp:k=20,truth=kind,cov=full -d p.csv", "20 groups of at least 3 points each"},
        {"adze estimate ila-sdp:k=50 -d p.csv", "kind"},
        {"adze estimate ila-sdp:k=50,truth=kind -d p.csv", "there are 40 points"},
        {"adze estimate ila-sdp:k=2,truth=kind,project=3 -d p.csv", "project=3: there are 2 columns"},
        {"adze estimate ila-sdp -d p.csv", "k"},
        {"adze estimate ila-sdp:k=2,truth=kind,init=column -d p.csv", "start=NAME"},
        {"adze estimate ila-sdp:k=2,beside=dbscan -d p.csv", "'dbscan' is no method"},
    };
    REFUSE(az, folder, cases);
    az_close(az);
}
