/* itertl_stack.c - a language small enough for a small model: programs of digits and ADD, SUB, MUL, DUP, SWAP, closed by END, which should
 * compute an arithmetic expression. Digits are bound to other numbers for each test, so that a value cannot be guessed. */
#include "tune/itertl.h"

#include <ctype.h>
#include <string.h>

enum { MOST = 256, TESTS = 8, MOST_LEVELS = 50 };

/* Values are modulo 2^64: sums and products wrap, equal expressions stay equal. */
typedef struct expression {
    const char *at;
    const uint64_t *binding; /* [10] */
    bool bad;
    int depth;
} expression;

static uint64_t sum(expression *e);

static uint64_t atom(expression *e)
{
    if (isdigit((unsigned char)*e->at) && !isdigit((unsigned char)e->at[1])) return e->binding[*e->at++ - '0'];
    if (*e->at != '(' || ++e->depth > MOST_LEVELS) {
        e->bad = true;
        return 0;
    }
    e->at++;
    const uint64_t value = sum(e);
    e->depth--;
    e->bad = e->bad || *e->at != ')';
    e->at += *e->at == ')';
    return value;
}

static uint64_t product(expression *e)
{
    uint64_t value = atom(e);
    while (!e->bad && *e->at == '*') {
        e->at++;
        value *= atom(e);
    }
    return value;
}

static uint64_t sum(expression *e)
{
    uint64_t value = product(e);
    while (!e->bad && (*e->at == '+' || *e->at == '-')) {
        const bool plus = *e->at++ == '+';
        const uint64_t more = product(e);
        value = plus ? value + more : value - more;
    }
    return value;
}

static bool evaluate(const char *text, const uint64_t binding[10], uint64_t *value)
{
    expression e = {.at = text, .binding = binding};
    *value = sum(&e);
    return !e.bad && (*e.at == '\0' || *e.at == '=');
}

/* One instruction on the stack; false when it is unknown or the stack is too short or too long. */
static bool execute(const char *word, size_t length, const uint64_t binding[10], uint64_t *stack, int *n)
{
    if (length == 1 && isdigit((unsigned char)*word)) {
        if (*n == MOST) return false;
        stack[(*n)++] = binding[*word - '0'];
        return true;
    }
    if (length == 3 && memcmp(word, "DUP", 3) == 0) {
        if (*n < 1 || *n == MOST) return false;
        stack[*n] = stack[*n - 1];
        ++*n;
        return true;
    }
    if (*n < 2) return false;
    uint64_t *a = &stack[*n - 2], *b = &stack[*n - 1], old = *a;
    if (length == 4 && memcmp(word, "SWAP", 4) == 0) {
        *a = *b, *b = old;
        return true;
    }
    if (length != 3) return false;
    if (memcmp(word, "ADD", 3) == 0)
        *a += *b;
    else if (memcmp(word, "SUB", 3) == 0)
        *a -= *b;
    else if (memcmp(word, "MUL", 3) == 0)
        *a *= *b;
    else
        return false;
    --*n;
    return true;
}

/* Runs to END, which stands last and finds one value; false otherwise. */
static bool run_program(const char *program, const uint64_t binding[10], uint64_t *value)
{
    uint64_t stack[MOST];
    int n = 0;
    while (*(program += strspn(program, " \n\r\t"))) {
        const size_t length = strcspn(program, " \n\r\t");
        if (length == 3 && memcmp(program, "END", 3) == 0) {
            if (n == 1) *value = stack[0];
            return n == 1 && !program[3 + strspn(program + 3, " \n\r\t")];
        }
        if (!execute(program, length, binding, stack, &n)) return false;
        program += length;
    }
    return false;
}

itertl_verdict itertl_stack_check(const char *text, const char *program)
{
    itertl_verdict verdict = {.total = TESTS, .error = ""};
    for (int test = 0; test < TESTS; test++) {
        uint64_t binding[10], wanted, found;
        az_rng rng = az_rng_at(407, (uint64_t)test);
        for (int digit = 0; digit < 10; digit++) binding[digit] = 2 + az_below(&rng, 1 << 20);
        if (!run_program(program, binding, &found))
            return (itertl_verdict){.error = "unknown word, too few values, or no single value before END"};
        verdict.compiles = true;
        verdict.passed += evaluate(text, binding, &wanted) && wanted == found;
    }
    return verdict;
}
