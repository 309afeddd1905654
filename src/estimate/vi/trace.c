/* trace.c - values by address. */
#include "estimate/vi/vi_internal.h"

#include <string.h>

struct az_vi_trace {
    az_ctx *az;
    vi_entry *entry;
    int count, room;
};

az_vi_trace *az_vi_trace_new(az_ctx *az)
{
    az_vi_trace *trace = az_alloc(az, sizeof *trace);
    if (trace) trace->az = az;
    return trace;
}

static const vi_entry *find(const az_vi_trace *trace, const char *address)
{
    for (int i = 0; trace && i < trace->count; i++)
        if (strcmp(trace->entry[i].address, address) == 0) return &trace->entry[i];
    return NULL;
}

static bool grow(az_vi_trace *trace)
{
    if (trace->count < trace->room) return true;
    const int room = trace->room > 0 ? 2 * trace->room : 8;
    vi_entry *entry = az_alloc_array(trace->az, (size_t)room, sizeof *entry);
    if (!entry) return false;
    if (trace->count > 0) memcpy(entry, trace->entry, (size_t)trace->count * sizeof *entry);
    trace->entry = entry;
    trace->room = room;
    return true;
}

bool az_vi_trace_set(az_vi_trace *trace, const char *address, const az_tensor *value)
{
    if (!trace || !value || !az_ok(trace->az)) return false;
    if (find(trace, address)) return az_fail(trace->az, AZ_BAD_CALL, "the choice '%s' occurs twice", address);
    if (value->dtype != AZ_F64) return az_fail(trace->az, AZ_BAD_CALL, "the value of '%s' is not of type f64", address);
    const char *name = az_strdup(trace->az, address);
    if (!name || !grow(trace)) return false;
    trace->entry[trace->count++] = (vi_entry){.address = name, .value = (az_tensor *)value};
    return true;
}

az_tensor *az_vi_trace_get(const az_vi_trace *trace, const char *address)
{
    const vi_entry *entry = find(trace, address);
    return entry ? entry->value : NULL;
}

int az_vi_trace_count(const az_vi_trace *trace)
{
    return trace ? trace->count : 0;
}

const vi_entry *vi_trace_at(const az_vi_trace *trace, int i)
{
    return &trace->entry[i];
}

bool vi_trace_has(const az_vi_trace *trace, const char *address)
{
    return find(trace, address) != NULL;
}

static bool add_all(az_vi_trace *to, const az_vi_trace *from)
{
    for (int i = 0; i < az_vi_trace_count(from); i++)
        if (!az_vi_trace_set(to, from->entry[i].address, from->entry[i].value)) return false;
    return to != NULL;
}

az_vi_trace *az_vi_trace_join(az_ctx *az, const az_vi_trace *a, const az_vi_trace *b)
{
    az_vi_trace *both = az_vi_trace_new(az);
    return both && add_all(both, a) && add_all(both, b) ? both : NULL;
}

az_vi_trace *vi_trace_without(az_ctx *az, const az_vi_trace *trace, const az_vi_trace *other)
{
    az_vi_trace *rest = az_vi_trace_new(az);
    for (int i = 0; rest && i < az_vi_trace_count(trace); i++)
        if (!vi_trace_has(other, trace->entry[i].address)) az_vi_trace_set(rest, trace->entry[i].address, trace->entry[i].value);
    return rest;
}

static bool listed(const char *const *names, const char *name)
{
    for (; *names; names++)
        if (strcmp(*names, name) == 0) return true;
    return false;
}

az_vi_trace *vi_trace_keep(az_ctx *az, const az_vi_trace *trace, const char *const *keep, bool others)
{
    az_vi_trace *part = az_vi_trace_new(az);
    for (int i = 0; part && i < az_vi_trace_count(trace); i++)
        if (listed(keep, trace->entry[i].address) != others) az_vi_trace_set(part, trace->entry[i].address, trace->entry[i].value);
    for (; part && !others && *keep; keep++)
        if (!vi_trace_has(trace, *keep)) return az_fail(az, AZ_BAD_CALL, "the program makes no choice '%s' to keep", *keep);
    return part;
}
