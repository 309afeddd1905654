/* sdl_file.c - a model as arrays of an archive, names as zero-terminated bytes; and back. */
#include "estimate/sdl.h"
#include "estimate/estimate_internal.h"

#include <string.h>

enum { FORMAT = 1 };
enum {
    SET_FORMAT,
    SET_KIND,
    SET_CODING,
    SET_XI,
    SET_SCALE,
    SET_THRESHOLD,
    SET_L1,
    SET_L2,
    SET_NONNEGATIVE,
    SET_DOCUMENTS,
    SET_TFIDF,
    SETTINGS
};

/* ---- writing ---- */

void sdl_put_model(az_ctx *az, const sdl_model *m, az_results *results)
{
    const double settings[SETTINGS] = {
        [SET_FORMAT] = FORMAT,
        [SET_KIND] = m->kind,
        [SET_CODING] = m->coding,
        [SET_XI] = m->xi,
        [SET_SCALE] = m->scale,
        [SET_THRESHOLD] = m->threshold,
        [SET_L1] = m->code.l1,
        [SET_L2] = m->code.l2,
        [SET_NONNEGATIVE] = m->code.nonnegative,
        [SET_DOCUMENTS] = m->idf != NULL,
        [SET_TFIDF] = m->tfidf,
    };
    az_results_array(results, "dictionary", m->dictionary, m->feature, NULL);
    az_results_array(results, "beta", m->beta, NULL, m->class_name + 1);
    az_results_array(results, "gamma", m->gamma, m->covariate, m->class_name + 1);
    az_results_array(results, "settings", az_from(az, AZ_F64, 1, (int64_t[]){SETTINGS}, settings), NULL, NULL);
    az_results_array(results, "features", names_tensor(az, m->feature, m->p), NULL, NULL);
    az_results_array(results, "classes", names_tensor(az, m->class_name, m->classes), NULL, NULL);
    az_results_array(results, "covariates", names_tensor(az, m->covariate, m->q), NULL, NULL);
    if (m->idf) az_results_array(results, "idf", az_from(az, AZ_F64, 1, &m->p, m->idf), NULL, NULL);
}

/* ---- reading ---- */

static bool check_sizes(az_ctx *az, const char *path, const sdl_model *m)
{
    const int64_t r = m->dictionary->shape[1], kappa = m->beta->shape[1];
    if (m->p > 0 && r > 0 && kappa > 0 && m->beta->shape[0] == r && m->gamma->shape[0] == m->q && m->gamma->shape[1] == kappa &&
        m->classes == kappa + 1 && m->kind <= SDL_FEATURE && m->coding <= SDL_EXHAUSTIVE && m->scale > 0 && m->xi > 0)
        return true;
    return az_fail(az, AZ_BAD_INPUT, "'%s' is no model of sdl: its arrays do not belong together", path);
}

sdl_model *sdl_read_model(az_ctx *az, const char *path)
{
    const model_file file = {path, "sdl"};
    const az_tensor *s = model_part(az, &file, "settings", 1);
    if (!s) return NULL;
    if (az_count(s) != SETTINGS || az_item(s, SET_FORMAT) != FORMAT)
        return az_fail(az, AZ_BAD_INPUT, "'%s' is no model of sdl that this version reads", path);
    sdl_model *m = az_alloc(az, sizeof *m);
    int64_t features = 0, classes = 0, covariates = 0;
    if (!m) return NULL;
    *m = (sdl_model){.kind = az_item(s, SET_KIND) == SDL_FEATURE ? SDL_FEATURE : SDL_FILTER,
                     .coding = az_item(s, SET_CODING) == SDL_EXHAUSTIVE ? SDL_EXHAUSTIVE : SDL_NAIVE,
                     .xi = az_item(s, SET_XI),
                     .scale = az_item(s, SET_SCALE),
                     .threshold = az_item(s, SET_THRESHOLD),
                     .code = {az_item(s, SET_L1), az_item(s, SET_L2), az_item(s, SET_NONNEGATIVE) != 0},
                     .tfidf = az_item(s, SET_TFIDF) != 0};
    m->dictionary = model_part(az, &file, "dictionary", 2);
    m->beta = model_part(az, &file, "beta", 2);
    m->gamma = model_part(az, &file, "gamma", 2);
    if (!az_ok(az)) return NULL;
    m->p = m->dictionary->shape[0];
    m->feature = model_names(az, &file, "features", m->p, &features);
    m->class_name = model_names(az, &file, "classes", 0, &classes);
    m->covariate = model_names(az, &file, "covariates", 0, &covariates);
    m->q = covariates, m->classes = (int)classes;
    if (!az_ok(az) || !check_sizes(az, path, m)) return NULL;
    const az_tensor *idf = az_item(s, SET_DOCUMENTS) != 0 ? model_part(az, &file, "idf", 1) : NULL;
    if (idf && az_count(idf) != m->p) return az_fail(az, AZ_BAD_INPUT, "'%s' is no model of sdl: 'idf' has another size", path);
    m->idf = idf ? az_f64(idf) : NULL;
    return az_ok(az) ? m : NULL;
}
