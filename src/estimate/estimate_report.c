/* estimate_report.c - small things that several methods of the family say and read in the same way. */
#include "estimate/estimate_internal.h"

#include <stdlib.h>
#include <string.h>

void report_normal(az_report *report, double estimate, double se, double confidence)
{
    const double half = az_normal_quantile(0.5 + confidence / 2) * se, z = estimate / se;
    az_report_number(report, "estimate", estimate, "");
    az_report_number(report, "se", se, "");
    az_report_number(report, "low", estimate - half, "");
    az_report_number(report, "high", estimate + half, "");
    az_report_number(report, "z", z, "");
    az_report_number(report, "p", 2 * az_normal_cdf(-fabs(z)), "");
}

static int by_value(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

double median_of(double *values, int64_t n)
{
    if (n < 1) return NAN;
    qsort(values, (size_t)n, sizeof *values, by_value);
    return n % 2 ? values[n / 2] : (values[n / 2 - 1] + values[n / 2]) / 2;
}

bool check_size(az_ctx *az, const char *what, double largest)
{
    if (largest == 0 || (largest > 1e-75 && largest < 1e75)) return true;
    return az_fail(az, AZ_BAD_INPUT, "%s reaches %g at most: numbers of this size cannot be squared and summed; give it in another unit",
                   what, largest);
}

bool check_samples(az_ctx *az, const char *const *name, const double *x, int64_t n, int d)
{
    for (int j = 0; x && j < d; j++) {
        bool constant = true;
        double largest = 0;
        for (int64_t i = 0; i < n; i++) {
            const double value = x[i * d + j];
            if (!isfinite(value))
                return az_fail(az, AZ_BAD_INPUT, "column '%s', row %lld: a finite number is wanted; leave such rows out", name[j],
                               (long long)i + 1);
            constant = constant && value == x[j];
            largest = fmax(largest, fabs(value));
        }
        if (constant) return az_fail(az, AZ_BAD_INPUT, "column '%s' has the same value in each row: leave it out", name[j]);
        if (!check_size(az, az_format_text(az, "column '%s'", name[j]), largest)) return false;
    }
    return x != NULL;
}

bool read_counts(az_ctx *az, const char *list, const char *what, int64_t **values, int *count)
{
    *count = 0;
    *values = az_alloc_array(az, strlen(list) / 2 + 1, sizeof **values);
    for (const char *at = list; *values && *at;) {
        char *end;
        const long long value = strtoll(at, &end, 10);
        if (end == at || value < 1 || (*end && *end != ','))
            return az_fail(az, AZ_BAD_INPUT, "%s=%s: whole numbers of at least 1, separated by commas, are expected", what, list);
        (*values)[(*count)++] = value;
        at = *end ? end + 1 : end;
    }
    return az_ok(az);
}

static bool no_alternative(az_ctx *az, const char *beside, int length, const char *word, const alternatives *there)
{
    const char *names = "";
    for (int i = 0; i < there->count && names; i++) names = az_format_text(az, "%s%s%s", names, i > 0 ? ", " : "", there->name[i]);
    return az_fail(az, AZ_BAD_INPUT, "beside=%s: '%.*s' is no %s; there are %s", beside, length, word, there->what, names);
}

bool read_beside(az_ctx *az, const char *beside, const alternatives *there, bool *wanted)
{
    const bool all = strcmp(beside, "all") == 0;
    for (int i = 0; i < there->count; i++) wanted[i] = all && i != there->chosen;
    for (const char *at = beside; *at && !all;) {
        const size_t length = strcspn(at, "+");
        int found = 0;
        while (found < there->count && (strncmp(there->name[found], at, length) != 0 || there->name[found][length])) found++;
        if (found == there->count) return no_alternative(az, beside, (int)length, at, there);
        wanted[found] = found != there->chosen;
        at += length + (at[length] == '+');
    }
    return true;
}
