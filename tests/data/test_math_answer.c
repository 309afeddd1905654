/* Answers: pairs that are the same and pairs that are not, and spellings. */
#include "adze/data.h"

#include <criterion/criterion.h>

static const struct {
    const char *a, *b;
    bool equal;
} pairs[] = {
    {"0.5", "\\frac12", true},
    {"50\\%", "0.5", true},
    {"50", "0.5", false}, /* without a % neither is a percentage */
    {"(1,2)", "(1, 2)", true},
    {"x=3", "3", true},
    {"3", "x = 3", true},
    {"\\sqrt8", "2\\sqrt2", true},
    {"1/3", "0.333", false},
    {"1/3", "\\dfrac{1}{3}", true},
    {"-1/3", "-\\frac13", true},
    {"-\\frac{1}{3}", "\\frac{-1}{3}", true},
    {"1,234", "1234", true},
    {"1,234.50", "1234.5", true},
    {"10000", "10001", false}, /* whole numbers are compared exactly */
    {"3.14159", "3.1416", true},
    {"3.14", "3.1416", false},
    {"2.0", "2", true},
    {"0.10", ".1", true},
    {"90^\\circ", "90", true},
    {"90^{\\circ}", "90 degrees", true},
    {"5\\text{ cm}", "5", true},
    {"\\$12", "12", true},
    {"$\\left(1,2\\right)$", "(1,2)", true},
    {"(1,2)", "(2,1)", false},
    {"[1,2)", "[1,2]", false},
    {"[0,\\frac12)", "[0,0.5)", true},
    {"\\{1,2\\}", "\\{2,1\\}", true},
    {"\\{1,2\\}", "\\{1,1\\}", false},
    {"1,2", "1, 2", true},
    {"1,2", "1,2,3", false},
    {"\\begin{pmatrix}1&2\\\\3&4\\end{pmatrix}", "\\begin{pmatrix} 1 & 2 \\\\ 3 & \\frac82 \\end{pmatrix}", true},
    {"\\begin{pmatrix}1&2\\\\3&4\\end{pmatrix}", "\\begin{pmatrix}1&2&3&4\\end{pmatrix}", false},
    {"x+y=1", "1=y+x", true},
    {"x+y=1", "x-y=1", false},
    {"y=2x", "2x-y=0", true},
    {"(x+1)^2", "x^2+2x+1", true},
    {"(x+1)^2", "x^2+2x", false},
    {"\\frac{x^2-1}{x-1}", "x+1", true}, /* where both are defined */
    {"\\sin^2 x+\\cos^2 x", "1", true},
    {"\\sin{2x}", "2\\sin x\\cos x", true},
    {"\\ln(x^2)", "2\\ln|x|", true},
    {"\\ln(x^2)", "2\\ln x", false}, /* undefined where x is negative */
    {"\\sqrt[3]{-8}", "-2", true},
    {"2^{10}", "1024", true},
    {"2^-1", "0.5", true},
    {"2\\pi r", "2 \\cdot \\pi \\cdot r", true},
    {"\\frac{\\pi}{4}", "\\pi/4", true},
    {"n(n+1)/2", "\\frac{n^2+n}{2}", true},
    {"a^b", "b^a", false},
    {"e^{\\ln 2}", "2", true},
    {"|-3|", "3", true},
    {"5!", "120", false}, /* not known: never equal by mistake */
    {"\\text{yes}", "yes", true},
    {"yes", "no", false},
    {"", "0", false},
    {"", "", true},
    {"1/0", "2/0", false},
    {"f(x)=x+1", "x+1", true},
    {"\\frac{1}{2}\\%", "0.005", true},
    {"12.", "12", true},
};

Test(math_answer, sixty_pairs)
{
    for (size_t i = 0; i < sizeof pairs / sizeof *pairs; i++) {
        az_ctx *az = az_open(NULL);
        const bool found = az_answers_equal(az, pairs[i].a, pairs[i].b), back = az_answers_equal(az, pairs[i].b, pairs[i].a);
        cr_expect_eq(found, pairs[i].equal, "'%s' and '%s'", pairs[i].a, pairs[i].b);
        cr_expect_eq(back, pairs[i].equal, "'%s' and '%s', the other way", pairs[i].a, pairs[i].b);
        cr_expect(az_ok(az), "%s", az_error(az));
        az_close(az);
    }
    cr_expect_eq(sizeof pairs / sizeof *pairs, 60);
}

Test(math_answer, normal_spellings_and_kinds)
{
    az_ctx *az = az_open(NULL);
    const struct {
        const char *given, *normal;
        az_answer_kind kind;
    } cases[] = {
        {" $\\dfrac{3}{4}$ ", "\\frac{3}{4}", AZ_ANSWER_NUMBER},
        {"\\frac1{72}", "\\frac{1}{72}", AZ_ANSWER_NUMBER},
        {"3/4", "\\frac{3}{4}", AZ_ANSWER_NUMBER},
        {"2.500", "2.5", AZ_ANSWER_NUMBER},
        {"10.0", "10", AZ_ANSWER_NUMBER},
        {"(1, 2)", "(1,2)", AZ_ANSWER_TUPLE},
        {"x = 3", "x=3", AZ_ANSWER_EQUATION},
        {"x^2", "x^2", AZ_ANSWER_STRING},
        {"1,234", "1234", AZ_ANSWER_NUMBER},
        {"100\\%", "100", AZ_ANSWER_NUMBER},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const char *normal = az_answer_normal(az, cases[i].given);
        cr_expect_str_eq(normal, cases[i].normal);
        cr_expect_eq(az_answer_kind_of(normal), cases[i].kind, "%s", normal);
    }
    az_close(az);
}

Test(math_answer, deep_and_long_texts_are_only_texts)
{
    az_ctx *az = az_open(NULL);
    char deep[3001];
    for (int i = 0; i < 3000; i++) deep[i] = '(';
    deep[3000] = '\0';
    cr_assert(az_answers_equal(az, deep, deep));
    cr_assert_not(az_answers_equal(az, deep, "1"));
    cr_assert(az_ok(az));
    az_close(az);
}
