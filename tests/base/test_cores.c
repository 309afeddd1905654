/* How many processors a process may use: quotas of control groups of both versions, in folders made up here. */
#include "base/base_internal.h"
#include "support/folder.h"

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

static void write_text(az_ctx *az, const char *folder, const char *name, const char *text)
{
    const char *path = test_path(az, folder, name);
    char *slash = strrchr(path, '/');
    cr_assert(az_make_folder(az, az_format_text(az, "%.*s", (int)(slash - path), path)));
    az_out *out = az_create(az, path);
    fputs(text, az_out_stream(out));
    cr_assert(az_commit(out), "%s", az_error(az));
}

static int quota(az_ctx *az, const char *folder)
{
    return az_quota(test_path(az, folder, "groups"), folder);
}

Test(cores, the_least_quota_on_the_way_to_the_root_counts)
{
    az_ctx *az = az_open(NULL);
    const char *folder = test_folder(az);
    write_text(az, folder, "groups", "0::/user/session/one\n");
    cr_assert_eq(quota(az, folder), 0, "no limit anywhere");
    write_text(az, folder, "user/session/one/cpu.max", "max 100000\n");
    cr_assert_eq(quota(az, folder), 0);
    write_text(az, folder, "user/session/cpu.max", "350000 100000\n");
    cr_assert_eq(quota(az, folder), 4, "three and a half keep four busy");
    write_text(az, folder, "user/cpu.max", "50000 100000\n");
    cr_assert_eq(quota(az, folder), 1);
    write_text(az, folder, "user/cpu.max", "nonsense\n");
    write_text(az, folder, "cpu.max", "200000 100000\n");
    cr_assert_eq(quota(az, folder), 2, "the root, as a container sees it");
    az_close(az);
}

Test(cores, groups_of_version_1_have_their_own_files)
{
    az_ctx *az = az_open(NULL);
    const char *folder = test_folder(az);
    write_text(az, folder, "groups", "11:cpuset:/a\n4:cpu,cpuacct:/docker/0123\nbroken line\n1:name=systemd:/a\n");
    write_text(az, folder, "cpu,cpuacct/cpu.cfs_quota_us", "-1\n");
    write_text(az, folder, "cpu,cpuacct/cpu.cfs_period_us", "100000\n");
    write_text(az, folder, "cpuset/a/cpu.max", "100000 100000\n");
    cr_assert_eq(quota(az, folder), 0);
    write_text(az, folder, "cpu,cpuacct/cpu.cfs_quota_us", "250000\n");
    cr_assert_eq(quota(az, folder), 3);
    cr_assert_eq(az_quota(test_path(az, folder, "nowhere"), folder), 0);
    az_close(az);
}

Test(cores, omp_num_threads_is_heeded_and_the_settings_come_first)
{
    setenv("OMP_NUM_THREADS", "3", 1);
    az_ctx *az = az_open(NULL), *own = az_open(&(az_settings){.threads = 5});
    cr_assert_eq(az_threads(az), 3);
    cr_assert_eq(az_threads(own), 5);
    az_close(own);
    az_close(az);
    setenv("OMP_NUM_THREADS", "many", 1);
    az = az_open(NULL);
    cr_assert_eq(az_threads(az), az_cores());
    cr_assert_geq(az_cores(), 1);
    az_close(az);
}
