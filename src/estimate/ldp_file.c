/* ldp_file.c - a user's message as a file: magic, protocol, sizes, settings, user, values, and a checksum (CRC-32) of everything before it;
 * little-endian. */
#include "estimate/ldp.h"

#include <string.h>
#include <zlib.h>

static const char MAGIC[8] = "adzeldp1";

/* The settings in their order on the wire. */
enum { SETTINGS = 14, HEAD = 8 + 4 * 8 + SETTINGS * 8 + LDP_USER };

static void settings_out(const ldp_settings *s, double out[SETTINGS])
{
    const double values[SETTINGS] = {s->eps,          s->delta,  s->radius, s->tau1, s->tau2,  (double)s->sparsity,
                                     (double)s->kept, s->lambda, s->c,      s->eta,  s->ridge, (double)s->rounds,
                                     s->tight,        0};
    memcpy(out, values, sizeof values);
}

static ldp_settings settings_in(const double v[SETTINGS])
{
    return (ldp_settings){.eps = v[0],
                          .delta = v[1],
                          .radius = v[2],
                          .tau1 = v[3],
                          .tau2 = v[4],
                          .sparsity = (int64_t)v[5],
                          .kept = (int64_t)v[6],
                          .lambda = v[7],
                          .c = v[8],
                          .eta = v[9],
                          .ridge = v[10],
                          .rounds = (int64_t)v[11],
                          .tight = v[12] != 0};
}

int64_t ldp_value_count(ldp_protocol protocol, int64_t d)
{
    return d + (protocol == LDP_NLDP ? d * (d + 1) / 2 : 0);
}

bool ldp_write(az_ctx *az, const ldp_envelope *e, const char *path)
{
    if (!az_ok(az)) return false;
    az_scope_push(az);
    const int64_t whole[4] = {e->protocol, e->d, e->round, e->test_seed};
    double settings[SETTINGS];
    const size_t bytes = HEAD + (size_t)e->count * sizeof(double);
    unsigned char *data = az_alloc(az, bytes + 4), *at = data;
    settings_out(&e->settings, settings);
    az_out *out = data ? az_create(az, path) : NULL;
    if (data) {
        at = mempcpy(at, MAGIC, sizeof MAGIC);
        at = mempcpy(at, whole, sizeof whole);
        at = mempcpy(at, settings, sizeof settings);
        at = mempcpy(at, e->user, LDP_USER);
        at = mempcpy(at, e->value, (size_t)e->count * sizeof(double));
        const uint32_t crc = (uint32_t)crc32_z(0, data, bytes);
        memcpy(at, &crc, 4);
    }
    const bool ok = out && az_out_write(out, data, bytes + 4) && az_commit(out);
    az_scope_pop(az);
    return ok;
}

static bool check_settings(const ldp_settings *s)
{
    const double v[] = {s->eps, s->delta, s->radius, s->tau1, s->tau2, s->eta, s->ridge, s->lambda, s->c};
    for (size_t i = 0; i < sizeof v / sizeof *v; i++)
        if (!isfinite(v[i])) return false;
    return s->eps > 0 && s->delta > 0 && s->delta < 1 && s->radius > 0 && s->tau1 > 0 && s->tau2 > 0 && s->kept > 0 && s->rounds > 0;
}

ldp_envelope *ldp_parse(az_ctx *az, const unsigned char *data, size_t size)
{
    ldp_envelope *e = az_alloc(az, sizeof *e);
    uint32_t crc;
    int64_t whole[4];
    double settings[SETTINGS];
    if (!e) return NULL;
    if (size < HEAD + 4 || memcmp(data, MAGIC, sizeof MAGIC) != 0) return az_fail(az, AZ_BAD_INPUT, "this is no message of a user");
    memcpy(&crc, data + size - 4, 4);
    if (crc != (uint32_t)crc32_z(0, data, size - 4)) return az_fail(az, AZ_BAD_INPUT, "the message is damaged: its checksum is wrong");
    memcpy(whole, data + 8, sizeof whole);
    memcpy(settings, data + 40, sizeof settings);
    for (int i = 5; i < SETTINGS; i++) /* they become whole numbers */
        if (!(fabs(settings[i]) < 1e15)) return az_fail(az, AZ_BAD_INPUT, "the message's settings make no sense");
    *e = (ldp_envelope){.protocol = (ldp_protocol)whole[0],
                        .settings = settings_in(settings),
                        .d = whole[1],
                        .round = whole[2],
                        .test_seed = whole[3] != 0};
    memcpy(e->user, data + HEAD - LDP_USER, LDP_USER);
    if (whole[0] < 0 || whole[0] > LDP_IHT || e->d < 1 || e->d > LDP_MOST_COLUMNS || e->user[LDP_USER - 1] || !check_settings(&e->settings))
        return az_fail(az, AZ_BAD_INPUT, "the message's settings make no sense");
    e->count = ldp_value_count(e->protocol, e->d);
    if (size != HEAD + (size_t)e->count * 8 + 4) return az_fail(az, AZ_BAD_INPUT, "the message has not the length its settings ask for");
    e->value = az_alloc_array(az, (size_t)e->count, sizeof *e->value);
    if (!e->value) return NULL;
    memcpy(e->value, data + HEAD, (size_t)e->count * 8);
    for (int64_t i = 0; i < e->count; i++)
        if (!isfinite(e->value[i])) return az_fail(az, AZ_BAD_INPUT, "the message holds a value that is not finite");
    return e;
}

ldp_envelope *ldp_read(az_ctx *az, const char *path)
{
    const az_map *map = az_map_file(az, path);
    ldp_envelope *e = map ? ldp_parse(az, map->data, map->size) : NULL;
    if (!e) az_fail_context(az, "reading '%s'", path);
    return e;
}
