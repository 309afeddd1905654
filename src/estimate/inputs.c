/* inputs.c - the files of a method: which slot each fills, and reading it as the slot's kind says. */
#include "adze/method.h"

#include <string.h>

enum { MAX_SLOTS = 16 };

static int slot_count(const az_method *method)
{
    int n = 0;
    while (method->inputs && method->inputs[n].name) n++;
    return n;
}

/* "y=file" names the slot y, if there is one; the file's name in *file. */
static int named_slot(const az_method *method, const char *path, const char **file)
{
    const char *equals = strchr(path, '=');
    *file = path;
    for (int s = 0; equals && s < slot_count(method); s++) {
        const char *name = method->inputs[s].name;
        if (strncmp(name, path, (size_t)(equals - path)) != 0 || name[equals - path]) continue;
        *file = equals + 1;
        return s;
    }
    return -1;
}

/* How many files each slot gets: those that name it, then the others in the order of the slots, so that the least of the later ones is
 * left. */
static void share_out(const az_method *method, const int *named, int unnamed, int *count)
{
    const int slots = slot_count(method);
    for (int s = 0; s < slots; s++) {
        int later = 0;
        for (int l = s + 1; l < slots; l++)
            if (named[l] < method->inputs[l].least) later += method->inputs[l].least - named[l];
        int room = method->inputs[s].most - named[s], give = unnamed - later;
        if (give > room) give = room;
        if (give < 0) give = 0;
        count[s] = named[s] + give;
        unnamed -= give;
    }
}

static const char *slot_list(az_ctx *az, const az_method *method)
{
    const char *text = "";
    for (int s = 0; s < slot_count(method) && text; s++)
        text = az_format_text(az, "%s%s%s (%s)", text, s ? ", " : "", method->inputs[s].name, method->inputs[s].help);
    return text ? text : "";
}

static bool check_counts(az_ctx *az, const az_method *method, const int *count, int given)
{
    int taken = 0;
    for (int s = 0; s < slot_count(method); s++) {
        const az_input_slot *slot = &method->inputs[s];
        taken += count[s];
        if (count[s] < slot->least)
            return az_fail(az, AZ_BAD_INPUT, "%s needs %s%s: -d FILE or -d %s=FILE; it reads %s", method->name,
                           slot->least > 1 ? "more files for " : "", slot->name, slot->name, slot_list(az, method));
        if (count[s] > slot->most)
            return az_fail(az, AZ_BAD_INPUT, "%s takes at most %d for %s, %d are given", method->name, slot->most, slot->name, count[s]);
    }
    if (taken == given) return true;
    if (taken == 0) return az_fail(az, AZ_BAD_INPUT, "%s reads no files", method->name);
    return az_fail(az, AZ_BAD_INPUT, "%s has no use for %d of the %d files; it reads %s", method->name, given - taken, given,
                   slot_list(az, method));
}

static az_input read_input(az_ctx *az, az_input_kind kind, const char *path, const az_table_how *how)
{
    az_input input = {.path = path};
    switch (kind) {
    case AZ_INPUT_TABLE: input.table = az_table_read(az, path, how); break;
    case AZ_INPUT_ARRAY: input.array = az_array_read(az, path, how, false); break;
    case AZ_INPUT_HOLES: input.array = az_array_read(az, path, how, true); break;
    case AZ_INPUT_TRIPLES: input.triples = az_triples_read(az, path, how, AZ_INDEX_AUTO); break;
    case AZ_INPUT_MODEL: input.lm = az_lm_load(az, path); break;
    case AZ_INPUT_FILE: break;
    }
    return input;
}

/* The files in their slots, each slot in the order of the line. */
static az_inputs *read_all(az_ctx *az, const az_method *method, const char *const *path, int files, const int *count,
                           const az_table_how *how)
{
    const int slots = slot_count(method);
    az_inputs *inputs = az_alloc_array(az, (size_t)slots + 1, sizeof *inputs);
    for (int s = 0; inputs && s < slots; s++) {
        az_input *item = az_alloc_array(az, (size_t)count[s] + 1, sizeof *item);
        if (!item) return NULL;
        inputs[s].item = item;
    }
    for (int pass = 0; inputs && pass < 2; pass++) { /* those that name their slot first, so that the others know what is left */
        for (int i = 0, s = 0; i < files && az_ok(az); i++) {
            const char *file;
            const int named = named_slot(method, path[i], &file);
            if ((named >= 0) != (pass == 0)) continue;
            while (named < 0 && s < slots && inputs[s].count == count[s]) s++;
            az_inputs *to = &inputs[named >= 0 ? named : s];
            ((az_input *)to->item)[to->count++] = read_input(az, method->inputs[to - inputs].kind, file, how);
        }
    }
    return az_ok(az) ? inputs : NULL;
}

az_inputs *az_inputs_read(az_ctx *az, const az_method *method, const char *const *path, int count, const az_table_how *how)
{
    if (!method || !az_ok(az)) return NULL;
    int named[MAX_SLOTS] = {0}, get[MAX_SLOTS] = {0}, unnamed = 0;
    if (slot_count(method) > MAX_SLOTS) return az_fail(az, AZ_BAD_CALL, "%s has more than %d slots", method->name, MAX_SLOTS);
    for (int i = 0; i < count; i++) {
        const char *file;
        const int s = named_slot(method, path[i], &file);
        if (s >= 0)
            named[s]++;
        else
            unnamed++;
    }
    share_out(method, named, unnamed, get);
    if (!check_counts(az, method, get, count)) return NULL;
    return read_all(az, method, path, count, get, how);
}

const az_input *az_job_input(const az_estimate_job *job, int slot, int i)
{
    const az_inputs *inputs = job && job->inputs ? &job->inputs[slot] : NULL;
    return inputs && i < inputs->count ? &inputs->item[i] : NULL;
}
