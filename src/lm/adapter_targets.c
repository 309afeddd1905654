/* adapter_targets.c - which layers an adapter sits beside: lists of names, regular expressions, patterns of ranks, the usual choices. */
#define PCRE2_CODE_UNIT_WIDTH 8
#include "lm/adapter_targets.h"

#include "lm/slots.h"

#include <pcre2.h>
#include <stdlib.h>
#include <string.h>

/* ---- places ---- */

static bool is_place(const az_lm_slot *slot)
{
    const bool matrix = slot->weight && !slot->bias && az_lm_slot_is_filled(slot);
    return matrix && slot->part != AZ_PART_POSITION;
}

static bool is_norm(const az_lm *lm, const az_lm_slot *slot)
{
    return !slot->bias && az_lm_norm_of((az_lm *)(uintptr_t)lm, slot->part, slot->block) && az_lm_slot_is_filled(slot);
}

static az_target norm_target(az_ctx *az, const az_lm_slot *slot, const az_tensor *bias, const char *huggingface)
{
    const char *name = az_lm_part_path(az, slot->part, slot->block, slot->expert);
    return (az_target){.name = name,
                       .huggingface = huggingface,
                       .part = slot->part,
                       .in = slot->rows,
                       .out = slot->rows,
                       .gain = *slot->vector,
                       .bias = bias};
}

/* "model.layers.3.self_attn.q_proj.weight" without its ending. */
static const char *module_of(az_ctx *az, const char *tensor)
{
    if (!tensor) return NULL;
    const char *dot = strrchr(tensor, '.');
    return dot ? az_format_text(az, "%.*s", (int)(dot - tensor), tensor) : tensor;
}

int az_target_list(az_ctx *az, const az_lm *lm, az_target **targets)
{
    az_lm_slot *slot;
    const int n = az_lm_slots(az, (az_lm *)lm, &slot);
    az_target *list = az_alloc_array(az, (size_t)n, sizeof *list);
    int count = 0;
    for (int i = 0; list && i < n; i++) {
        const bool norm = is_norm(lm, &slot[i]);
        if (!norm && !is_place(&slot[i])) continue;
        const az_tensor *bias = i + 1 < n && slot[i + 1].bias && slot[i + 1].part == slot[i].part ? *slot[i + 1].vector : NULL;
        if (norm) {
            list[count++] = norm_target(az, &slot[i], bias, module_of(az, slot[i].huggingface));
            continue;
        }
        const az_weight *w = *slot[i].weight;
        const bool table = slot[i].part == AZ_PART_EMBEDDING;
        const char *name = az_lm_part_path(az, slot[i].part, slot[i].block, slot[i].expert);
        list[count++] = (az_target){.name = name,
                                    .huggingface = module_of(az, slot[i].huggingface),
                                    .part = slot[i].part,
                                    .in = table ? w->rows : w->cols,
                                    .out = table ? w->cols : w->rows,
                                    .weight = w,
                                    .bias = bias};
    }
    *targets = az_ok(az) ? list : NULL;
    return az_ok(az) ? count : 0;
}

bool az_target_named(az_ctx *az, const az_lm *lm, const char *name, az_target *target)
{
    az_scope_push(az);
    az_target *all;
    const int n = az_target_list(az, lm, &all);
    bool found = false;
    for (int i = 0; !found && i < n; i++) {
        found = strcmp(all[i].name, name) == 0;
        if (found) *target = all[i];
    }
    if (!found && n > 0) az_fail(az, AZ_BAD_INPUT, "the model has no layer '%s'; its layers are named like '%s'", name, all[n / 2].name);
    az_scope_pop(az);
    if (found) target->name = target->huggingface = NULL; /* they were the scope's */
    return found;
}

const char *az_lm_module(az_ctx *az, const az_lm *lm, const char *layer)
{
    az_target *all;
    const int n = lm ? az_target_list(az, lm, &all) : 0;
    for (int i = 0; i < n; i++)
        if (strcmp(all[i].name, layer) == 0) return all[i].huggingface;
    return NULL;
}

/* ---- matching ---- */

static bool ends_in(const char *path, const char *entry, size_t length)
{
    const size_t n = path ? strlen(path) : 0;
    if (n < length || length == 0 || memcmp(path + n - length, entry, length) != 0) return false;
    return n == length || path[n - length - 1] == '.';
}

bool az_matches_expression(az_ctx *az, const char *expression, const char *path)
{
    int code;
    PCRE2_SIZE at;
    pcre2_code *compiled =
        pcre2_compile((PCRE2_SPTR)expression, PCRE2_ZERO_TERMINATED, PCRE2_ANCHORED | PCRE2_ENDANCHORED, &code, &at, NULL);
    if (!compiled) {
        PCRE2_UCHAR text[128];
        pcre2_get_error_message(code, text, sizeof text);
        az_fail(az, AZ_BAD_INPUT, "'%s' is no regular expression: %s (at %zu)", expression, (const char *)text, at);
        return false;
    }
    pcre2_match_data *match = pcre2_match_data_create_from_pattern(compiled, NULL);
    const int found = match ? pcre2_match(compiled, (PCRE2_SPTR)path, PCRE2_ZERO_TERMINATED, 0, 0, match, NULL) : -1;
    pcre2_match_data_free(match);
    pcre2_code_free(compiled);
    return found >= 0;
}

static bool is_expression(const char *text)
{
    const size_t n = strlen(text);
    return n > 2 && text[0] == '/' && text[n - 1] == '/';
}

/* Names of the target against "a,b,c" or "/expression/"; "" matches nothing. */
static bool matches(az_ctx *az, const char *text, const az_target *target)
{
    if (!text || !*text) return false;
    if (is_expression(text)) {
        const char *inside = az_format_text(az, "%.*s", (int)strlen(text) - 2, text + 1);
        return inside && target->huggingface && az_matches_expression(az, inside, target->huggingface);
    }
    if (strcmp(text, "all-linear") == 0) return target->weight && target->part != AZ_PART_HEAD && target->part != AZ_PART_EMBEDDING;
    for (const char *at = text; at; at = strchr(at, ','), at = at ? at + 1 : NULL) {
        const size_t length = strcspn(at, ",");
        if (ends_in(target->huggingface, at, length) || ends_in(target->name, at, length)) return true;
    }
    return false;
}

/* The architectures' usual targets (as PEFT's table has them): q and v, or the joint matrix of q, k and v. */
static bool is_usual(const az_target *all, int n, const az_target *target)
{
    if (target->part != AZ_PART_Q && target->part != AZ_PART_K && target->part != AZ_PART_V) return false;
    if (target->part != AZ_PART_K) return true;
    for (int i = 0; i < n; i++)
        if (all[i].part == AZ_PART_Q && all[i].huggingface && target->huggingface && strcmp(all[i].huggingface, target->huggingface) == 0)
            return true;
    return false;
}

/* As PEFT matches keys: an expression for the last words of the name. */
static bool matches_key(az_ctx *az, const char *key, const az_target *target)
{
    const char *expression = az_format_text(az, "(.*\\.)?(%s)", key);
    if (!expression) return false;
    return (target->huggingface && az_matches_expression(az, expression, target->huggingface)) ||
           (az_ok(az) && az_matches_expression(az, expression, target->name));
}

/* The value of the first key in "key=value,key=value" that the target matches; `fallback` when there is none. */
static double pattern_value(az_ctx *az, const char *pattern, const az_target *target, double fallback)
{
    char *rest = az_strdup(az, pattern ? pattern : "");
    for (char *item; rest && *rest && (item = strsep(&rest, ","));) {
        char *equals = strrchr(item, '='), *end = equals;
        const double value = equals ? strtod(equals + 1, &end) : 0;
        if (!equals || equals == item || end == equals + 1 || *end) {
            az_fail(az, AZ_BAD_INPUT, "'%s' is not of the form name=number", item);
            return fallback;
        }
        *equals = '\0';
        if (matches_key(az, item, target)) return value;
        if (!az_ok(az)) return fallback;
    }
    return fallback;
}

/* "q_proj, k_proj, ...": the last words of the Hugging Face names, each once. */
static const char *list_names(az_ctx *az, const az_target *all, int n)
{
    const char *list = "";
    for (int i = 0; i < n && list; i++) {
        if (!all[i].weight) continue;
        const char *path = all[i].huggingface ? all[i].huggingface : all[i].name, *dot = strrchr(path, '.');
        const char *word = az_format_text(az, "%s, ", dot ? dot + 1 : path);
        if (word && !strstr(list, word)) list = az_format_text(az, "%s%s", list, word);
    }
    return list ? az_format_text(az, "%.*s", (int)strlen(list) - 2, list) : "";
}

/* A remark on each entry of a list, or of keys "name=number", that is the name of no layer which is adapted (or saved). */
static void note_unmatched(az_ctx *az, const char *option, const char *text, bool keys, const az_target *all, int n)
{
    if (!text || !*text || is_expression(text)) return;
    char *rest = az_strdup(az, text);
    for (char *item; rest && (item = strsep(&rest, ","));) {
        bool found = !*item;
        char *equals = keys ? strrchr(item, '=') : NULL;
        if (equals) *equals = '\0';
        for (int i = 0; i < n && !found && az_ok(az); i++)
            found = keys ? all[i].adapt && matches_key(az, item, &all[i]) : (all[i].adapt || all[i].save) && matches(az, item, &all[i]);
        if (!found && az_ok(az)) az_note(az, "'%s' of %s is the name of no layer that is %s", item, option, keys ? "adapted" : "trained");
    }
}

static bool check_saved(az_ctx *az, const az_lm *lm, const az_target *target)
{
    if (!target->save || !lm->config.tied) return true;
    return az_fail(
        az, AZ_BAD_INPUT,
        "the model's head and embedding are one matrix, so training '%s' whole would part them; adapt it with a low rank instead",
        target->huggingface ? target->huggingface : target->name);
}

int az_targets(az_ctx *az, const az_lm *lm, const az_adapter_how *how, az_target **targets)
{
    const int n = az_target_list(az, lm, targets);
    az_target *all = *targets;
    const bool usual = !how->targets || !*how->targets;
    int adapted = 0, saved = 0;
    for (int i = 0; i < n && az_ok(az); i++) {
        az_target *t = &all[i];
        t->save = matches(az, how->save, t);
        saved += t->save;
        if (!t->weight) continue;
        t->adapt = (usual ? is_usual(all, n, t) : matches(az, how->targets, t)) && !matches(az, how->exclude, t);
        t->adapt = t->adapt && !t->save;
        if (!check_saved(az, lm, t)) return 0;
        t->rank = (int64_t)pattern_value(az, how->ranks, t, (double)how->rank);
        t->alpha = pattern_value(az, how->alphas, t, how->alpha);
        if (t->adapt && t->rank < 1) az_fail(az, AZ_BAD_INPUT, "rank must be at least 1; that of '%s' is not", t->name);
        adapted += t->adapt;
    }
    if (n > 0 && az_ok(az) && adapted == 0)
        az_fail(az, AZ_BAD_INPUT, "no layer matches '%s'; there are: %s", usual ? "(usual)" : how->targets, list_names(az, all, n));
    if (n > 0 && az_ok(az) && how->save && *how->save && saved == 0)
        az_fail(az, AZ_BAD_INPUT, "no layer matches '%s', which should be trained whole; there are: %s", how->save, list_names(az, all, n));
    if (az_ok(az)) {
        note_unmatched(az, "targets", how->targets, false, all, n);
        note_unmatched(az, "save", how->save, false, all, n);
        note_unmatched(az, "ranks", how->ranks, true, all, n);
        note_unmatched(az, "alphas", how->alphas, true, all, n);
    }
    return az_ok(az) ? n : 0;
}
