/* sdl_file.c - a model as arrays of an archive, names as zero-terminated bytes; and back. */
#include "estimate/sdl.h"

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

static az_tensor *names_tensor(az_ctx *az, const char *const *name, int64_t count)
{
    size_t bytes = 0;
    for (int64_t i = 0; i < count; i++) bytes += strlen(name[i]) + 1;
    az_tensor *out = az_new1(az, AZ_U8, (int64_t)bytes);
    char *at = out ? out->data : NULL;
    for (int64_t i = 0; at && i < count; i++) {
        memcpy(at, name[i], strlen(name[i]) + 1);
        at += strlen(name[i]) + 1;
    }
    return out;
}

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

static az_tensor *part_of(az_ctx *az, const char *path, const char *name, int rank)
{
    const az_array *array = az_array_read(az, az_format_text(az, "%s:%s", path, name), NULL, false);
    if (!array) {
        az_fail_context(az, "'%s' is no model of sdl", path);
        return NULL;
    }
    if (array->value->rank != rank)
        return az_fail(az, AZ_BAD_INPUT, "'%s' is no model of sdl: '%s' has the shape %s", path, name, az_shape_text(az, array->value));
    return az_copy(az, array->value);
}

/* The names in the bytes, `count` of them unless it is 0; *found tells how many there are. */
static const char **names_of(az_ctx *az, const char *path, const char *what, int64_t count, int64_t *found)
{
    const az_tensor *bytes = part_of(az, path, what, 1);
    if (!bytes) return NULL;
    const int64_t size = az_count(bytes);
    char *text = az_alloc(az, (size_t)size + 1);
    *found = 0;
    for (int64_t i = 0; text && i < size; i++) {
        const double value = az_f64(bytes)[i];
        text[i] = value >= 0 && value <= 255 ? (char)(unsigned char)value : '?';
        *found += text[i] == '\0';
    }
    if (!text || (count > 0 && *found != count) || (size > 0 && text[size - 1] != '\0'))
        return az_fail(az, AZ_BAD_INPUT, "'%s' is no model of sdl: '%s' holds %lld names", path, what, (long long)*found);
    const char **names = az_alloc_array(az, (size_t)*found + 1, sizeof *names);
    for (int64_t i = 0; names && i < *found; i++) {
        names[i] = text;
        text += strlen(text) + 1;
    }
    return names;
}

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
    const size_t length = strlen(path);
    const bool archive = (length > 4 && strcmp(path + length - 4, ".npz") == 0) || strstr(path, ".safetensors");
    if (!archive) return az_fail(az, AZ_BAD_INPUT, "'%s': a model is an .npz or .safetensors file that a fit wrote with -o", path);
    const az_tensor *s = part_of(az, path, "settings", 1);
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
    m->dictionary = part_of(az, path, "dictionary", 2);
    m->beta = part_of(az, path, "beta", 2);
    m->gamma = part_of(az, path, "gamma", 2);
    if (!az_ok(az)) return NULL;
    m->p = m->dictionary->shape[0];
    m->feature = names_of(az, path, "features", m->p, &features);
    m->class_name = names_of(az, path, "classes", 0, &classes);
    m->covariate = names_of(az, path, "covariates", 0, &covariates);
    m->q = covariates, m->classes = (int)classes;
    if (!az_ok(az) || !check_sizes(az, path, m)) return NULL;
    const az_tensor *idf = az_item(s, SET_DOCUMENTS) != 0 ? part_of(az, path, "idf", 1) : NULL;
    if (idf && az_count(idf) != m->p) return az_fail(az, AZ_BAD_INPUT, "'%s' is no model of sdl: 'idf' has another size", path);
    m->idf = idf ? az_f64(idf) : NULL;
    return az_ok(az) ? m : NULL;
}
