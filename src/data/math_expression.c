/* math_expression.c - evaluates LaTeX or plain expressions by recursive descent: sums of products of powers of factors. What stands side by
 * side is multiplied. */
#include "data/math_expression.h"

#include <ctype.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { MOST_LEVELS = 100 };

typedef struct parser {
    const char *at;
    const double *variable;
    bool bad, constant;
    int depth;
} parser;

static double sum(parser *p);

static void skip_blanks(parser *p)
{
    while (isspace((unsigned char)*p->at)) p->at++;
}

static bool take(parser *p, const char *word)
{
    skip_blanks(p);
    const size_t length = strlen(word);
    if (strncmp(p->at, word, length) != 0) return false;
    if (word[0] == '\\' && isalpha((unsigned char)word[length - 1]) && isalpha((unsigned char)p->at[length])) return false;
    p->at += length;
    return true;
}

static double wrong(parser *p)
{
    p->bad = true;
    return NAN;
}

/* What stands between two marks, the first of which was taken. */
static double enclosed(parser *p, const char *close)
{
    if (++p->depth > MOST_LEVELS) return wrong(p);
    const double value = sum(p);
    p->depth--;
    return take(p, close) ? value : wrong(p);
}

/* A group in braces, or the one digit or letter that LaTeX takes for it. */
static double group(parser *p)
{
    if (take(p, "{")) return enclosed(p, "}");
    skip_blanks(p);
    if (isdigit((unsigned char)*p->at)) return *p->at++ - '0';
    return wrong(p);
}

static double number(parser *p)
{
    char text[64];
    size_t n = 0;
    while (n + 1 < sizeof text && (isdigit((unsigned char)*p->at) || (*p->at == '.' && isdigit((unsigned char)p->at[1]))))
        text[n++] = *p->at++;
    text[n] = '\0';
    return strtod(text, NULL);
}

static double cotangent(double x)
{
    return 1 / tan(x);
}

static const struct {
    const char *name;
    double (*function)(double);
} functions[] = {
    {"arcsin", asin}, {"arccos", acos}, {"arctan", atan},   {"sinh", sinh}, {"cosh", cosh}, {"tanh", tanh}, {"sin", sin},
    {"cos", cos},     {"tan", tan},     {"cot", cotangent}, {"exp", exp},   {"log", log10}, {"ln", log},    {"abs", fabs},
};

static double power(parser *p);

/* "\sin^2 x", "ln(x)": the argument is the next power. */
static bool named_function(parser *p, double *value)
{
    for (size_t i = 0; i < sizeof functions / sizeof *functions; i++) {
        const char *before = p->at;
        if (*p->at == '\\') p->at++;
        if (!take(p, functions[i].name)) {
            p->at = before;
            continue;
        }
        const double exponent = take(p, "^") ? group(p) : 1;
        if (++p->depth > MOST_LEVELS) return wrong(p), true;
        const double argument = take(p, "{") ? enclosed(p, "}") : power(p);
        p->depth--;
        const double result = functions[i].function(argument);
        *value = exponent == 1 ? result : pow(result, exponent);
        return true;
    }
    return false;
}

static double root(parser *p)
{
    const double degree = take(p, "[") ? enclosed(p, "]") : 2;
    double value = 0;
    if (take(p, "("))
        value = enclosed(p, ")");
    else
        value = group(p);
    if (degree == 2) return sqrt(value);
    return value < 0 && fmod(degree, 2) == 1 ? -pow(-value, 1 / degree) : pow(value, 1 / degree);
}

static double variable(parser *p)
{
    const char c = *p->at;
    if (!isalpha((unsigned char)c)) return wrong(p);
    p->at++;
    if (c == 'e') return 2.718281828459045;
    p->constant = false;
    return p->variable[islower((unsigned char)c) ? c - 'a' : 26 + c - 'A'];
}

static double factor(parser *p)
{
    double value = 0;
    skip_blanks(p);
    if (isdigit((unsigned char)*p->at) || *p->at == '.') return isdigit((unsigned char)p->at[*p->at == '.']) ? number(p) : wrong(p);
    if (take(p, "(")) return enclosed(p, ")");
    if (take(p, "{")) return enclosed(p, "}");
    if (take(p, "|")) return fabs(enclosed(p, "|"));
    if (take(p, "\\frac")) {
        const double above = group(p), below = group(p);
        return below == 0 ? NAN : above / below;
    }
    if (take(p, "\\sqrt") || take(p, "sqrt")) return root(p);
    if (take(p, "\\pi") || take(p, "pi")) return 3.141592653589793;
    if (named_function(p, &value)) return value;
    return variable(p);
}

static double power(parser *p)
{
    const double base = factor(p);
    if (!take(p, "^") && !take(p, "**")) return base;
    if (++p->depth > MOST_LEVELS) return wrong(p);
    const double sign = take(p, "-") ? -1 : 1, exponent = sign * (take(p, "{") ? enclosed(p, "}") : power(p));
    p->depth--;
    return pow(base, exponent);
}

/* Whether another factor stands here. */
static bool more_factors(parser *p)
{
    skip_blanks(p);
    const char c = *p->at;
    return isalnum((unsigned char)c) || c == '(' || c == '{' || (c == '\\' && isalpha((unsigned char)p->at[1]));
}

static double product(parser *p)
{
    double value = power(p);
    while (!p->bad) {
        if (take(p, "/") || take(p, "\\div")) {
            const double below = power(p);
            value = below == 0 ? NAN : value / below;
        } else if (take(p, "\\cdot") || take(p, "\\times") || take(p, "*") || more_factors(p)) {
            value *= power(p);
        } else {
            break;
        }
    }
    return value;
}

static double sum(parser *p)
{
    const bool negative = take(p, "-");
    if (!negative) take(p, "+");
    double value = negative ? -product(p) : product(p);
    while (!p->bad) {
        if (take(p, "+"))
            value += product(p);
        else if (take(p, "-"))
            value -= product(p);
        else
            break;
    }
    return value;
}

bool az_math_value(const char *text, const double variables[AZ_MATH_VARIABLES], double *value, bool *constant)
{
    parser p = {.at = text, .variable = variables, .constant = true};
    *value = sum(&p);
    skip_blanks(&p);
    *constant = p.constant;
    return !p.bad && !*p.at;
}
