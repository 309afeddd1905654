/* Formulas: the columns and their values that R's model.matrix gives for the same text, rows left out, and mistakes. */
#include "adze/data.h"
#include "support/matrix.h"

#include <criterion/criterion.h>
#include <math.h>
#include <string.h>

static az_table *table_of(az_ctx *az)
{
    static const char text[] = "y,x,z,g,h,my var,yes\n"
                               "1,1,2,b,u,1,no\n"
                               "2,2,1,a,v,2,yes\n"
                               "3,4,NA,c,u,3,no\n"
                               "4,8,5,a,u,4,yes\n"
                               "5,16,3,b,v,5,yes\n";
    return az_table_parse(az, "test", text, sizeof text - 1, NULL);
}

static const char *names_of(az_ctx *az, const az_design *d)
{
    const char *text = "";
    for (int64_t i = 0; i < d->p; i++) text = az_format_text(az, "%s%s%s", text, i ? " | " : "", d->name[i]);
    return text;
}

/* Rscript -e 'colnames(model.matrix(y ~ ..., d))', with R's "gb" written "g[b]". */
Test(formula, columns_are_those_of_r)
{
    static const struct {
        const char *formula, *names;
    } cases[] = {
        {"y ~ x", "(Intercept) | x"},
        {"y ~ 1", "(Intercept)"},
        {"y ~ x - 1", "x"},
        {"y ~ 0 + g", "g[a] | g[b] | g[c]"},
        {"y ~ g", "(Intercept) | g[b] | g[c]"},
        {"y ~ 0 + g + h", "g[a] | g[b] | g[c] | h[v]"},
        {"y ~ g*h", "(Intercept) | g[b] | g[c] | h[v] | g[b]:h[v] | g[c]:h[v]"},
        {"y ~ g/x", "(Intercept) | g[b] | g[c] | g[a]:x | g[b]:x | g[c]:x"},
        {"y ~ x:g", "(Intercept) | x:g[a] | x:g[b] | x:g[c]"},
        {"y ~ g:h", "(Intercept) | g[a]:h[u] | g[b]:h[u] | g[c]:h[u] | g[a]:h[v] | g[b]:h[v] | g[c]:h[v]"},
        {"y ~ x*h - x", "(Intercept) | h[v] | x:h[u] | x:h[v]"},
        {"y ~ (x + h + yes)^2", "(Intercept) | x | h[v] | yes[yes] | x:h[v] | x:yes[yes] | h[v]:yes[yes]"},
        {"y ~ x:h + g", "(Intercept) | g[b] | g[c] | x:h[u] | x:h[v]"},
        {"y ~ log(x) + I(x^2) + x", "(Intercept) | log(x) | I(x^2) | x"},
        {"y ~ factor(x)", "(Intercept) | factor(x)[2] | factor(x)[4] | factor(x)[8] | factor(x)[16]"},
        {"y ~ C(g, c)", "(Intercept) | C(g, c)[a] | C(g, c)[b]"},
        {"y ~ C(g, 'b')", "(Intercept) | C(g, b)[a] | C(g, b)[c]"},
        {"y ~ `my var` + x", "(Intercept) | `my var` | x"},
        {"log(y) ~ . - z - x - `my var`", "(Intercept) | g[b] | g[c] | h[v] | yes[yes]"},
        {"y ~ x + x + x:x", "(Intercept) | x"},
        {"~ x*(g + h)", "(Intercept) | x | g[b] | g[c] | h[v] | x:g[b] | x:g[c] | x:h[v]"},
        {"y ~ I(x > 2 * (1 + 1))", "(Intercept) | I(x>(2*(1+1)))"},
        {"y ~ 0 + g:h", "g[a]:h[u] | g[b]:h[u] | g[c]:h[u] | g[a]:h[v] | g[b]:h[v] | g[c]:h[v]"},
        {"y ~ 0 + h + g:h", "h[u] | h[v] | h[u]:g[b] | h[v]:g[b] | h[u]:g[c] | h[v]:g[c]"},
        {"y ~ 0 + x:g + h", "h[u] | h[v] | x:g[a] | x:g[b] | x:g[c]"},
        {"y ~ g*h*x",
         "(Intercept) | g[b] | g[c] | h[v] | x | g[b]:h[v] | g[c]:h[v] | g[b]:x | g[c]:x | h[v]:x | g[b]:h[v]:x | g[c]:h[v]:x"},
        {"y ~ z + g", "(Intercept) | z | g[b]"}, /* the row with level c has no z */
    };
    az_ctx *az = az_open(NULL);
    const az_table *t = table_of(az);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        az_design *d = az_design_new(az, cases[i].formula, t);
        cr_assert_not_null(d, "%s: %s", cases[i].formula, az_error(az));
        cr_assert_str_eq(names_of(az, d), cases[i].names, "%s: %s", cases[i].formula, names_of(az, d));
    }
    az_close(az);
}

Test(formula, values)
{
    az_ctx *az = az_open(NULL);
    az_design *d = az_design_new(az, "log(y) ~ z*g + I((x - 1)/2) + log2(x) + scale(y)", table_of(az));
    cr_assert_not_null(d, "%s", az_error(az));
    cr_assert_eq(d->dropped, 1);
    cr_assert_eq(d->n, 4);
    cr_assert_eq(d->row[2], 3);
    cr_assert_str_eq(d->y_name, "log(y)");
    cr_assert_eq(az_item(d->y, 3), log(5));
    static const double expected[4][7] = {/* (Intercept) z g[b] I((x-1)/2) log2(x) scale(y) z:g[b] */
                                          {1, 2, 1, 0, 0, -1.2649110640673518, 2},
                                          {1, 1, 0, 0.5, 1, -0.6324555320336759, 0},
                                          {1, 5, 0, 3.5, 3, 0.6324555320336759, 0},
                                          {1, 3, 1, 7.5, 4, 1.2649110640673518, 3}};
    cr_assert_eq(d->p, 7, "%s", names_of(az, d));
    for (int i = 0; i < 28; i++) cr_assert_float_eq(az_item(d->x, i), expected[i / 7][i % 7], 1e-15, "%d", i);
    az_close(az);
}

Test(formula, a_second_table_gets_the_columns_of_the_first)
{
    az_ctx *az = az_open(NULL);
    az_design *d = az_design_new(az, "y ~ g + scale(x)", table_of(az));
    const char *text = "x,g\n16,c\n1,a\n";
    az_design *e = az_design_like(az, d, az_table_parse(az, "new", text, strlen(text), NULL), false);
    cr_assert_not_null(e, "%s", az_error(az));
    cr_assert_null(e->y);
    cr_assert_str_eq(names_of(az, e), names_of(az, d));
    cr_assert(az_item(e->x, 1) == 0 && az_item(e->x, 2) == 1);
    cr_assert_float_eq(az_item(e->x, 3), az_item(d->x, 4 * 4 + 3), 1e-15);
    text = "x,g\n16,d\n";
    cr_assert_null(az_design_like(az, d, az_table_parse(az, "new", text, strlen(text), NULL), false));
    cr_assert_not_null(strstr(az_error(az), "row 1: g has the level 'd', which it had not before"), "%s", az_error(az));
    az_close(az);
}

/* What the other columns make is the same; products, centres and the left side follow the changed ones. */
Test(formula, the_same_rows_with_other_values)
{
    az_ctx *az = az_open(NULL);
    az_table *table = table_of(az);
    const char *formula = "log(y) ~ g*x + h:x + scale(x) + yes + I(y + x) - 1";
    const az_design *d = az_design_new(az, formula, table);
    double other[] = {3, 1, 7, 2, 9}, left[] = {5, 6, 7, 8, 9};
    az_table changed = *table;
    az_column columns[8];
    memcpy(columns, table->column, (size_t)table->columns * sizeof *columns);
    changed.column = columns;
    columns[0].value = left;
    columns[1].value = other;
    const az_design *a = az_design_again(az, d, &changed, (int[]){0, 1}, 2), *b = az_design_like(az, d, &changed, true);
    cr_assert(a && b, "%s", az_error(az));
    cr_assert_eq(matrix_difference(a->x, b->x), 0);
    cr_assert_eq(matrix_difference(a->y, b->y), 0);
    columns[0].value = (double *)table->column[0].value;
    a = az_design_again(az, d, &changed, (int[]){1}, 1), b = az_design_like(az, d, &changed, true);
    cr_assert_eq(matrix_difference(a->x, b->x), 0);
    cr_assert_eq(matrix_difference(a->y, b->y), 0);
    other[2] = NAN;
    cr_assert_null(az_design_again(az, d, &changed, (int[]){1}, 1));
    cr_assert_not_null(strstr(az_error(az), "has no value any more in 1 rows"), "%s", az_error(az));
    az_close(az);
}

Test(formula, variables_are_named_once)
{
    az_ctx *az = az_open(NULL);
    const char **names;
    int count;
    cr_assert(az_formula_variables(az, "log(y) ~ x*g + I(x^2 + z)", table_of(az), &names, &count));
    static const char *const expected[] = {"y", "x", "g", "z"};
    cr_assert_eq(count, 4);
    for (int i = 0; i < 4; i++) cr_assert_str_eq(names[i], expected[i]);
    az_close(az);
}

Test(formula, mistakes_are_told_with_their_place)
{
    static const struct {
        const char *formula, *says;
    } cases[] = {
        {"y x", "there is no '~'"},
        {"y ~", "position 4: a term is expected"},
        {"y ~ x +", "a term is expected"},
        {"y ~ (x", "')' is missing"},
        {"y ~ x z", "position 7: an operator is expected"},
        {"y ~ lgo(x)", "did you mean 'log'"},
        {"y ~ w", "there is no column 'w'"},
        {"y ~ x + 2", "the only numbers among the terms are 0 and 1"},
        {"y ~ x^2.5", "whole number from 1 to 8"},
        {"y ~ x^(z)", "whole number from 1 to 8"},
        {"y ~ log(x - 1)", "row 1: log of 0 is no finite number"},
        {"y ~ I(x/(y - 2))", "row 2: 2 / 0 is no finite number"},
        {"y ~ I(g + 1)", "column 'g' holds text"},
        {"g ~ x", "column 'g' holds text"},
        {"y ~ scale(I(x - x))", "all values are equal"},
        {"y ~ C(x + 1)", "')' is missing"},
        {"y ~ C(g, q)", "there is no level 'q'"},
        {"y ~ 0", "no term is left"},
        {"y ~ -1 + 0", "no term is left"},
        {"y ~ `x", "a backquote does not close"},
        {"y ~ x ~ z", "an operator is expected"},
        {"((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((y ~ x", "nested too deeply"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        az_ctx *az = az_open(NULL);
        cr_assert_null(az_design_new(az, cases[i].formula, table_of(az)), "%s", cases[i].formula);
        cr_assert_not_null(strstr(az_error(az), cases[i].says), "%s said: %s", cases[i].formula, az_error(az));
        az_close(az);
    }
}
