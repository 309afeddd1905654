/* cores.c - how many processors the process may use: those it may run on, and no more than the time that control groups allow it. A
 * container with two processors' time on a machine of sixty-four would spend it waiting, were it to start sixty-four threads. */
#include "base/base_internal.h"

#include <math.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>

enum { LINE = 4096, PATH = 2 * LINE };

/* Up to two numbers of a file of one line; how many there were. */
static int read_numbers(const char *folder, const char *name, double number[2])
{
    char path[PATH];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    FILE *file = fopen(path, "r");
    const int n = file ? fscanf(file, "%lf %lf", &number[0], &number[1]) : 0;
    if (file) fclose(file);
    return n;
}

/* Processors that one group may keep busy. */
static double group_quota(const char *folder)
{
    double both[2], quota[2], period[2]; /* version 2 has both in one file, "max" where there is no limit; version 1 has -1 */
    if (read_numbers(folder, "cpu.max", both) == 2 && both[0] > 0 && both[1] > 0) return both[0] / both[1];
    const bool old = read_numbers(folder, "cpu.cfs_quota_us", quota) == 1 && read_numbers(folder, "cpu.cfs_period_us", period) == 1;
    return old && quota[0] > 0 && period[0] > 0 ? quota[0] / period[0] : INFINITY;
}

static bool has_word(const char *list, const char *word)
{
    const size_t n = strlen(word);
    for (const char *at = list; (at = strstr(at, word)); at += n)
        if ((at == list || at[-1] == ',') && (at[n] == ',' || !at[n])) return true;
    return false;
}

/* The least quota of a group and those that it lies in. In a container its path may be one of the outside; then the root is its group. */
static double least_quota(const char *root, const char *controllers, char *path)
{
    double least = INFINITY;
    for (;;) {
        char folder[PATH];
        snprintf(folder, sizeof folder, "%s/%s%s", root, controllers, path);
        least = fmin(least, group_quota(folder));
        char *slash = strrchr(path, '/');
        if (!slash) return least;
        *slash = 0;
    }
}

int az_quota(const char *groups, const char *root)
{
    FILE *file = fopen(groups, "r");
    char line[LINE];
    double least = INFINITY;
    while (file && fgets(line, sizeof line, file)) { /* number:controllers:path */
        char *controllers = strchr(line, ':'), *path = controllers ? strchr(controllers + 1, ':') : NULL;
        if (!path) continue;
        *path++ = 0;
        path[strcspn(path, "\n")] = 0;
        controllers++;
        if (!*controllers || has_word(controllers, "cpu")) least = fmin(least, least_quota(root, controllers, path));
    }
    if (file) fclose(file);
    return least < 4096 ? (int)ceil(least) : 0;
}

int az_cores(void)
{
    cpu_set_t set;
    const int allowed = sched_getaffinity(0, sizeof set, &set) == 0 ? CPU_COUNT(&set) : 1;
    const int quota = az_quota("/proc/self/cgroup", "/sys/fs/cgroup");
    return quota > 0 && quota < allowed ? quota : allowed;
}
