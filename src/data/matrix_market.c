/* matrix_market.c - Matrix Market files (Boisvert, Pozo, Remington 1996): a banner, comments, sizes, then entries "row column value" in any
 * order, or the columns of a dense matrix, one number after the other. */
#include "data/triples.h"

#include <ctype.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

typedef enum symmetry { GENERAL, SYMMETRIC, SKEW } symmetry;

typedef struct market {
    az_ctx *az;
    const char *at, *end;
    int64_t line;
    bool coordinate, pattern;
    symmetry symmetry;
    int64_t rows, cols, entries; /* entries: as stored */
} market;

static void *bad(market *m, const char *what)
{
    return az_fail(m->az, AZ_BAD_INPUT, "line %lld: %s", (long long)m->line, what);
}

/* ---- words ---- */

static void skip_line(market *m)
{
    const char *end = memchr(m->at, '\n', (size_t)(m->end - m->at));
    m->at = end ? end + 1 : m->end;
    m->line++;
}

/* Over blanks, line ends and lines of comment. */
static void skip_space(market *m)
{
    while (m->at < m->end) {
        if (*m->at == '%')
            skip_line(m);
        else if (*m->at == '\n')
            m->at++, m->line++;
        else if (isspace((unsigned char)*m->at))
            m->at++;
        else
            return;
    }
}

/* The next word, "" at the end; longer ones than fit are cut and fit nothing. */
static const char *next_word(market *m, char word[64])
{
    size_t n = 0;
    skip_space(m);
    for (; m->at < m->end && !isspace((unsigned char)*m->at); m->at++)
        if (n < 63) word[n++] = *m->at;
    word[n] = '\0';
    return word;
}

static bool at_end(market *m)
{
    skip_space(m);
    return m->at == m->end;
}

static bool next_count(market *m, int64_t *value)
{
    char word[64], *end;
    next_word(m, word);
    *value = strtoll(word, &end, 10);
    return *word && !*end && *value >= 0 && strlen(word) < 19;
}

static bool next_number(market *m, double *value)
{
    char word[64], *end;
    next_word(m, word);
    *value = strtod(word, &end);
    return *word && !*end;
}

/* ---- the head ---- */

static int word_among(const char *word, const char *const *words)
{
    for (int i = 0; words[i]; i++)
        if (strcasecmp(word, words[i]) == 0) return i;
    return -1;
}

static bool read_banner(market *m)
{
    static const char *const layouts[] = {"array", "coordinate", NULL}, *const fields[] = {"real", "double", "integer", "pattern", NULL},
                             *const shapes[] = {"general", "symmetric", "skew-symmetric", NULL};
    char word[64];
    static const char banner[] = "%%MatrixMarket";
    if ((size_t)(m->end - m->at) < sizeof banner || strncasecmp(m->at, banner, sizeof banner - 1) != 0)
        return bad(m, "a Matrix Market file begins with %%MatrixMarket");
    m->at += sizeof banner - 1;
    if (strcasecmp(next_word(m, word), "matrix") != 0) return bad(m, "it holds no matrix");
    const int layout = word_among(next_word(m, word), layouts);
    if (layout < 0) return bad(m, "the layout is neither array nor coordinate");
    const int field = word_among(next_word(m, word), fields);
    if (field < 0) return bad(m, "the numbers are not real, integer or pattern (complex matrices are not read)");
    const int shape = word_among(next_word(m, word), shapes);
    if (shape < 0) return bad(m, "the symmetry is not general, symmetric or skew-symmetric");
    m->coordinate = layout == 1;
    m->pattern = field == 3;
    m->symmetry = (symmetry)shape;
    if (m->pattern && !m->coordinate) return bad(m, "a pattern has no array");
    return true;
}

static bool read_sizes(market *m)
{
    if (!next_count(m, &m->rows) || !next_count(m, &m->cols)) return bad(m, "the numbers of rows and columns are missing");
    if (m->coordinate && !next_count(m, &m->entries)) return bad(m, "the number of entries is missing");
    if (m->symmetry != GENERAL && m->rows != m->cols) return bad(m, "a symmetric matrix must be square");
    if (!m->coordinate) {
        m->entries = m->rows; /* stored: everything, or one triangle */
        if (m->rows > INT32_MAX || m->cols > INT32_MAX) return bad(m, "the matrix is too large");
        m->entries = m->symmetry == GENERAL ? m->rows * m->cols
                     : m->symmetry == SKEW  ? m->rows * (m->rows - 1) / 2
                                            : m->rows * (m->rows + 1) / 2;
    }
    /* an entry takes two bytes at least, so a file cannot hold more */
    if (m->entries > (m->end - m->at) + 1) return bad(m, "there are fewer entries than it says");
    return true;
}

/* ---- entries ---- */

static az_triples *read_coordinates(market *m)
{
    az_triples *out = triples_new(m->az, m->rows, m->cols, m->symmetry == GENERAL ? m->entries : 2 * m->entries);
    int64_t n = 0;
    for (int64_t i = 0; out && i < m->entries; i++) {
        int64_t row, col;
        double value = 1;
        if (at_end(m)) return bad(m, "there are fewer entries than it says");
        if (!next_count(m, &row) || !next_count(m, &col)) return bad(m, "an entry needs row and column");
        if (row < 1 || row > m->rows || col < 1 || col > m->cols) return bad(m, "an entry lies outside of the matrix");
        if (!m->pattern && !next_number(m, &value)) return bad(m, "an entry's value is missing or no number");
        triples_put(out, n++, row - 1, col - 1, value);
        if (m->symmetry != GENERAL && row != col) triples_put(out, n++, col - 1, row - 1, m->symmetry == SKEW ? -value : value);
    }
    if (!out) return NULL;
    out->count = n;
    return triples_sort(m->az, out) ? out : NULL;
}

static az_tensor *read_dense(market *m)
{
    az_tensor *out = az_zeros(m->az, AZ_F64, 2, (int64_t[]){m->rows, m->cols});
    double *to = az_f64_mut(out); /* [rows, cols] */
    for (int64_t col = 0; to && col < m->cols; col++) {
        const int64_t first = m->symmetry == GENERAL ? 0 : m->symmetry == SKEW ? col + 1 : col;
        for (int64_t row = first; row < m->rows; row++) {
            double value;
            if (at_end(m)) return bad(m, "there are fewer numbers than it says");
            if (!next_number(m, &value)) return bad(m, "a number is missing or damaged");
            to[row * m->cols + col] = value;
            if (m->symmetry != GENERAL && row != col) to[col * m->cols + row] = m->symmetry == SKEW ? -value : value;
        }
    }
    return out;
}

bool az_matrix_market_parse(az_ctx *az, const char *text, size_t length, az_triples **sparse, az_tensor **dense)
{
    *sparse = NULL;
    *dense = NULL;
    if (!text || !az_ok(az)) return false;
    market m = {.az = az, .at = text, .end = text + length, .line = 1};
    if (!read_banner(&m) || !read_sizes(&m)) return false;
    if (m.coordinate)
        *sparse = read_coordinates(&m);
    else
        *dense = read_dense(&m);
    if (!az_ok(az)) return false;
    if (!at_end(&m)) return bad(&m, "there are more entries than it says");
    return true;
}

bool az_matrix_market_write(az_ctx *az, const az_triples *matrix, const char *path)
{
    if (!matrix || !path || !az_ok(az)) return false;
    az_scope_push(az);
    az_out *file = az_create(az, path);
    FILE *out = file ? az_out_stream(file) : NULL;
    if (out)
        fprintf(out, "%%%%MatrixMarket matrix coordinate real general\n%lld %lld %lld\n", (long long)matrix->rows, (long long)matrix->cols,
                (long long)matrix->count);
    for (int64_t i = 0; out && i < matrix->count; i++)
        fprintf(out, "%lld %lld %.17g\n", (long long)matrix->row[i] + 1, (long long)matrix->col[i] + 1, matrix->value[i]);
    const bool ok = file && az_commit(file);
    az_scope_pop(az);
    return ok;
}
