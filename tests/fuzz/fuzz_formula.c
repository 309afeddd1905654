/* fuzz_formula.c - formulas on a small table: an error, or a design of finite numbers, which other rows get too. */
#include "adze/data.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const char table_text[] = "y,x,z,g,h\n1,1,2,b,u\n2,2,1,a,v\n3,4,NA,c,u\n4,8,5,a,u\n5,16,3,b,v\n";

static void check(const az_design *d)
{
    if (d->n < 1 || d->p < 1 || d->n + d->dropped != 5) abort();
    for (int64_t j = 0; j < d->p; j++)
        if (!*d->name[j] || d->term[j] < 0 || d->term[j] >= d->terms) abort();
    if (d->y && az_first_nonfinite(d->y) >= 0) abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    az_ctx *az = az_open(&(az_settings){.threads = 1, .memory_limit = (size_t)256 << 20});
    const az_table *table = az_table_parse(az, "t", table_text, sizeof table_text - 1, NULL);
    char *formula = az_alloc(az, size + 1);
    if (size) memcpy(formula, data, size);
    const az_design *d = az_design_new(az, formula, table);
    if (!d && (az_ok(az) || !*az_error(az))) abort();
    if (d) check(d);
    const char **names;
    int count;
    if (d && (!az_formula_variables(az, formula, table, &names, &count) || !az_design_like(az, d, table, true)) &&
        az_status_of(az) != AZ_NO_MEMORY)
        abort();
    az_close(az);
    return 0;
}
