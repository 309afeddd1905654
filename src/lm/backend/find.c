/* find.c - which texts are nearest to a question: by BM25, by TF-IDF, by vectors of a model; with maximal marginal relevance. */
#include "lm/backend/backend_internal.h"

#include <math.h>
#include <string.h>

static const char *const kinds[] = {"bm25", "tfidf", "dense", NULL};
const az_option az_find_options[] = {
    {"by", AZ_FIELD(AZ_CHOICE, az_find_how, kind), "bm25", 0, 0, kinds,
     "how near texts are: by shared words, or by vectors of the backend"},
    {"k1", AZ_FIELD(AZ_REAL, az_find_how, k1), "1.5", 0, 1e6, NULL, "bm25: how much more a word counts that occurs again"},
    {"b", AZ_FIELD(AZ_REAL, az_find_how, b), "0.75", 0, 1, NULL, "bm25: how much long texts are marked down"},
    {"okapi", AZ_FIELD(AZ_BOOL, az_find_how, okapi), "false", 0, 0, NULL, "bm25: its older weights of words"},
    {"relevance", AZ_FIELD(AZ_REAL, az_find_how, relevance), "1", 0, 1, NULL,
     "tfidf, dense: less than 1 prefers texts that are unlike those found before"},
    {0},
};

struct az_finder {
    az_ctx *az;
    az_find_how how;
    int64_t count;
    const az_word_columns *words; /* NULL for DENSE, as the next ones */
    const az_matrix *rows;        /* counts, or TF-IDF weights */
    const double *idf;            /* of BM25 */
    const double *norm;           /* [count] of BM25: k1 (1 - b + b |d| / mean |d|) */
    const float *vector;          /* [count, width] of DENSE */
    int width;
};

/* ---- making one ---- */

static bool check_how(az_ctx *az, const az_find_how *how)
{
    if (!(how->k1 >= 0) || !(how->b >= 0 && how->b <= 1) || !(how->relevance >= 0 && how->relevance <= 1))
        return az_fail(az, AZ_BAD_INPUT, "finding texts: k1=%g is at least 0, b=%g and relevance=%g from 0 to 1", how->k1, how->b,
                       how->relevance);
    if (how->kind == AZ_FIND_BM25 && how->relevance < 1)
        return az_fail(az, AZ_BAD_INPUT,
                       "finding texts: relevance=%g compares texts with each other, which bm25 does not; take tfidf or "
                       "dense",
                       how->relevance);
    return how->kind != AZ_FIND_DENSE || az_backend_need(how->backend, AZ_CAN_EMBED, "finding texts by vectors");
}

static double sum_of_row(const az_matrix *x, int64_t i)
{
    double sum = 0;
    for (int64_t e = x->by_row.start[i]; e < x->by_row.start[i + 1]; e++) sum += x->by_row.value[e];
    return sum;
}

/* The weight of a word that is in df of n texts. */
static double bm25_idf(bool okapi, double n, double df)
{
    const double odds = (n - df + 0.5) / (df + 0.5);
    return okapi ? log(odds) : log1p(odds);
}

static bool set_up_bm25(az_finder *f)
{
    const int64_t n = f->count, words = f->words->count;
    double *idf = az_alloc_array(f->az, (size_t)words, sizeof *idf), *norm = az_alloc_array(f->az, (size_t)n, sizeof *norm);
    double mean = 0, mean_idf = 0;
    if (!idf || !norm) return false;
    for (int64_t w = 0; w < words; w++) {
        const double df = (double)(f->rows->by_column.start[w + 1] - f->rows->by_column.start[w]);
        idf[w] = bm25_idf(f->how.okapi, (double)n, df);
        mean_idf += idf[w] / (double)words;
    }
    for (int64_t w = 0; w < words; w++)
        if (idf[w] < 0) idf[w] = 0.25 * mean_idf;
    for (int64_t i = 0; i < n; i++) mean += sum_of_row(f->rows, i) / (double)n;
    for (int64_t i = 0; i < n; i++) norm[i] = f->how.k1 * (1 - f->how.b + f->how.b * sum_of_row(f->rows, i) / mean);
    f->idf = idf;
    f->norm = norm;
    return true;
}

static bool set_up_words(az_finder *f, const az_documents *texts)
{
    const az_word_columns_how all = {.least_documents = 1, .most_share = 1, .keep_function_words = true};
    f->words = az_word_columns_new(f->az, texts, &all);
    f->rows = az_word_rows(f->az, f->words, texts, f->how.kind == AZ_FIND_TFIDF);
    if (!f->rows) az_fail_context(f->az, "finding texts");
    if (!f->rows) return false;
    return f->how.kind == AZ_FIND_TFIDF || set_up_bm25(f);
}

/* The vectors of texts, one after the other, in the current scope. */
static float *vectors_of(az_finder *f, const az_documents *texts, int *width)
{
    az_ctx *az = f->az;
    const int64_t n = texts->count;
    az_request *request = az_alloc_array(az, (size_t)n, sizeof *request);
    az_reply *reply = az_alloc_array(az, (size_t)n, sizeof *reply);
    if (!request || !reply) return NULL;
    for (int64_t i = 0; i < n; i++) {
        const char *text = az_format_text(az, "%.*s", (int)texts->item[i].length, texts->item[i].text);
        request[i] = (az_request){.operation = AZ_EMBED, .prompt = text, .stage = "embed"};
    }
    if (!az_ok(az) || !az_backend_ask_all(f->how.backend, request, (int)n, reply)) return NULL;
    *width = *width ? *width : reply[0].sample[0].n;
    float *all = az_alloc_array(az, (size_t)(n * (*width + 1)), sizeof *all);
    for (int64_t i = 0; all && i < n; i++) {
        const az_answer *a = &reply[i].sample[0];
        if (a->failure) return az_fail(az, AZ_IO, "finding texts: text %lld has no vector: %s", (long long)i + 1, a->failure);
        if (a->n != *width)
            return az_fail(az, AZ_IO, "finding texts: text %lld has a vector of %d numbers, others of %d", (long long)i + 1, a->n, *width);
        memcpy(all + i * *width, a->vector, (size_t)*width * sizeof *all);
    }
    return all;
}

static const az_find_how usual = {.kind = AZ_FIND_BM25, .k1 = 1.5, .b = 0.75, .relevance = 1};

az_finder *az_finder_new(az_ctx *az, const az_documents *texts, const az_find_how *how)
{
    if (!texts || !az_ok(az) || !check_how(az, how ? how : &usual)) return NULL;
    if (texts->count == 0) return az_fail(az, AZ_BAD_INPUT, "finding texts: there are none");
    az_finder *f = az_alloc(az, sizeof *f);
    if (!f) return NULL;
    *f = (az_finder){.az = az, .how = how ? *how : usual, .count = texts->count};
    if (f->how.kind == AZ_FIND_DENSE) {
        f->vector = vectors_of(f, texts, &f->width);
        return f->vector ? f : NULL;
    }
    return set_up_words(f, texts) ? f : NULL;
}

/* ---- scores ---- */

/* Score of every text for words with weights. */
static void score_words(const az_finder *f, const az_sparse_lines *line, int64_t row, double *score)
{
    for (int64_t i = 0; i < f->count; i++) score[i] = 0;
    for (int64_t q = line->start[row]; q < line->start[row + 1]; q++) {
        const az_sparse_lines *column = &f->rows->by_column;
        const int64_t word = line->other[q];
        for (int64_t e = column->start[word]; e < column->start[word + 1]; e++) {
            const int64_t text = column->other[e];
            const double x = column->value[e];
            score[text] += line->value[q] * (f->idf ? f->idf[word] * x * (f->how.k1 + 1) / (x + f->norm[text]) : x);
        }
    }
}

static void score_vector(const az_finder *f, const float *vector, double *score)
{
    for (int64_t i = 0; i < f->count; i++) {
        score[i] = 0;
        for (int j = 0; j < f->width; j++) score[i] += (double)f->vector[i * f->width + j] * (double)vector[j];
    }
}

bool az_find_scores(az_finder *f, const char *question, double *score)
{
    if (!f || !question || !az_ok(f->az)) return false;
    az_document item = {.text = question, .length = strlen(question)};
    const az_documents one = {.count = 1, .item = &item};
    az_scope_push(f->az);
    if (f->how.kind == AZ_FIND_DENSE) {
        const float *vector = vectors_of(f, &one, &f->width);
        if (vector) score_vector(f, vector, score);
    } else {
        const az_matrix *row = az_word_rows(f->az, f->words, &one, f->how.kind == AZ_FIND_TFIDF);
        if (row) score_words(f, &row->by_row, 0, score);
    }
    az_scope_pop(f->az);
    return az_ok(f->az);
}

/* ---- the best ---- */

static void similar_to(const az_finder *f, int64_t text, double *score)
{
    if (f->how.kind == AZ_FIND_DENSE)
        score_vector(f, f->vector + text * f->width, score);
    else
        score_words(f, &f->rows->by_row, text, score);
}

/* Takes the texts one by one; likeness [count] is the largest cosine with those taken before, 0 for the first. */
static int64_t take(const az_finder *f, const double *score, bool *taken, int64_t k, az_found *found)
{
    const double relevance = f->how.relevance;
    const size_t size = (size_t)f->count;
    double *likeness = az_alloc_array(f->az, size, sizeof *likeness), *to_last = az_alloc_array(f->az, size, sizeof *to_last);
    int64_t n = 0;
    if (!likeness || !to_last) return -1;
    for (; n < k; n++) {
        int64_t best = -1;
        double most = 0;
        for (int64_t i = 0; i < f->count; i++) {
            const double value = relevance * score[i] - (relevance < 1 ? (1 - relevance) * likeness[i] : 0);
            if (taken[i] || (best >= 0 && value <= most)) continue;
            best = i, most = value;
        }
        if (best < 0) break;
        taken[best] = true;
        found[n] = (az_found){.text = best, .score = score[best]};
        if (relevance == 1) continue;
        similar_to(f, best, to_last);
        for (int64_t i = 0; i < f->count; i++) likeness[i] = n == 0 ? to_last[i] : fmax(likeness[i], to_last[i]);
    }
    return n;
}

int64_t az_find(az_finder *f, const char *question, const bool *left_out, int64_t k, az_found *found)
{
    if (!f || !az_ok(f->az)) return -1;
    int64_t n = -1;
    az_scope_push(f->az);
    double *score = az_alloc_array(f->az, (size_t)f->count, sizeof *score);
    bool *taken = az_alloc_array(f->az, (size_t)f->count, sizeof *taken);
    if (taken && left_out) memcpy(taken, left_out, (size_t)f->count * sizeof *taken);
    if (score && taken && az_find_scores(f, question, score)) n = take(f, score, taken, k, found);
    az_scope_pop(f->az);
    return n;
}
