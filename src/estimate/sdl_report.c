/* sdl_report.c - scores, topics, covariates and the ROC of a supervised dictionary. */
#include "estimate/sdl.h"

#include <stdlib.h>
#include <string.h>

void sdl_report_score(az_report *report, const char *section, const char *name, int64_t n, const sdl_score *s)
{
    az_report_row(report, section);
    az_report_text(report, "on", name);
    az_report_count(report, "samples", n);
    az_report_number(report, "accuracy", s->accuracy, "");
    az_report_number(report, "precision", s->precision, "");
    az_report_number(report, "recall", s->recall, "");
    az_report_number(report, "f", s->f, "");
    az_report_number(report, "auc", s->auc, "");
    az_report_number(report, "log_loss", s->log_loss, "nat");
    az_report_number(report, "reconstruction", s->reconstruction, "");
}

typedef struct weighted {
    double weight;
    const char *name;
} weighted;

static int by_weight(const void *a, const void *b)
{
    const weighted *x = a, *y = b;
    return x->weight != y->weight ? (x->weight > y->weight ? -1 : 1) : strcmp(x->name, y->name);
}

/* The `top` names of largest positive weight in a column of the dictionary. */
static const char *top_words(az_ctx *az, const sdl_model *m, int64_t topic, int64_t top, weighted *space)
{
    const int64_t r = m->dictionary->shape[1];
    for (int64_t j = 0; j < m->p; j++) space[j] = (weighted){az_f64(m->dictionary)[j * r + topic], m->feature[j]};
    qsort(space, (size_t)m->p, sizeof *space, by_weight);
    const char *words = "";
    for (int64_t j = 0; j < top && j < m->p && space[j].weight > 0 && words; j++)
        words = az_format_text(az, "%s%s%s", words, j ? " " : "", space[j].name);
    return words;
}

az_table *sdl_report_topics(az_ctx *az, az_report *report, const sdl_model *m, int64_t top)
{
    const int64_t r = m->dictionary->shape[1], kappa = m->classes - 1, rows = r * kappa;
    weighted *space = az_alloc_array(az, (size_t)m->p, sizeof *space);
    const char **class_name = az_alloc_array(az, (size_t)rows, sizeof *class_name),
               **words = az_alloc_array(az, (size_t)rows, sizeof *words);
    double *topic = az_alloc_array(az, (size_t)rows, sizeof *topic), *beta = az_alloc_array(az, (size_t)rows, sizeof *beta);
    az_table *table = az_table_new(az, rows);
    if (!az_ok(az)) return NULL;
    for (int64_t i = 0; i < rows; i++) {
        topic[i] = (double)(i / kappa + 1);
        class_name[i] = m->class_name[i % kappa + 1];
        beta[i] = az_f64(m->beta)[i];
        words[i] = i % kappa ? words[i - 1] : top_words(az, m, i / kappa, top, space);
        if (top == 0) continue;
        az_report_row(report, "topics");
        az_report_count(report, "topic", i / kappa + 1);
        az_report_text(report, "class", class_name[i]);
        az_report_number(report, "beta", beta[i], "");
        az_report_text(report, "words", words[i]);
    }
    az_table_add(az, table, "topic", topic);
    az_table_add_text(az, table, "class", class_name);
    az_table_add(az, table, "beta", beta);
    az_table_add_text(az, table, "words", words);
    return az_ok(az) ? table : NULL;
}

void sdl_report_covariates(az_report *report, const sdl_model *m)
{
    const int64_t kappa = m->classes - 1;
    for (int64_t i = 0; i < m->q * kappa; i++) {
        az_report_row(report, "covariates");
        az_report_text(report, "name", m->covariate[i / kappa]);
        az_report_text(report, "class", m->class_name[i % kappa + 1]);
        az_report_number(report, "gamma", az_f64(m->gamma)[i], "");
    }
}

void sdl_report_roc(az_ctx *az, az_report *report, const char *name, const sdl_samples *samples, const sdl_prediction *p)
{
    if (samples->classes != 2 || !report) return;
    const int64_t n = samples->n;
    double *score = az_alloc_array(az, (size_t)n + 1, sizeof *score), *x = az_alloc_array(az, (size_t)n + 1, sizeof *x);
    double *y = az_alloc_array(az, (size_t)n + 1, sizeof *y);
    bool *positive = az_alloc_array(az, (size_t)n + 1, sizeof *positive);
    if (!score || !x || !y || !positive) return;
    for (int64_t i = 0; i < n; i++) score[i] = az_f64(p->probability)[2 * i + 1], positive[i] = samples->label[i] == 1;
    const int64_t points = az_roc(score, positive, n, x, y, NULL);
    if (!isnan(x[0]) && !isnan(y[0])) az_report_curve(report, name, "false positive rate", "true positive rate", points, x, y);
}
