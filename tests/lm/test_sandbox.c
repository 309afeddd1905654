/* Programs in the sandbox: what they may do, what they may not, and what is left behind. */
#include "adze/backend.h"

#include <criterion/criterion.h>
#include <glob.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static const az_outcome *run(az_ctx *az, az_program program)
{
    if (!az_sandbox_has(az, "bwrap", "bubblewrap") || !az_sandbox_has(az, "python3", "python3")) cr_skip("%s", az_error(az));
    if (program.seconds == 0) program.seconds = 3;
    const az_outcome *o = az_sandbox_run(az, &program);
    cr_assert_not_null(o, "%s", az_error(az));
    return o;
}

static const az_outcome *python(az_ctx *az, const char *code)
{
    return run(az, (az_program){.argv = (const char *const[]){"python3", "-I", "-c", code, NULL}, .memory = (int64_t)256 << 20});
}

static void expect(const az_outcome *o, az_outcome_kind kind)
{
    cr_assert_eq(o->kind, kind, "%s (status %d): %s", az_outcome_name(o->kind), o->status, o->err);
}

Test(sandbox, input_files_and_output)
{
    az_ctx *az = az_open(NULL);
    const az_file_text file = {"numbers.txt", "3 4"};
    const az_outcome *o = run(az, (az_program){.argv = (const char *const[]){"sh", "-c", "cat numbers.txt -; echo oops >&2", NULL},
                                               .input = " 5",
                                               .file = &file,
                                               .files = 1});
    expect(o, AZ_RAN);
    cr_assert_str_eq(o->out, "3 4 5");
    cr_assert_str_eq(o->err, "oops\n");
    az_close(az);
}

Test(sandbox, nothing_is_left_behind)
{
    az_ctx *az = az_open(NULL);
    python(az, "open('left.txt', 'w').write('x')");
    glob_t found = {0};
    cr_assert_eq(glob("/tmp/adze-sandbox-*/left.txt", 0, NULL, &found), GLOB_NOMATCH);
    cr_assert_eq(waitpid(-1, NULL, WNOHANG), -1); /* no zombie */
    az_close(az);
}

Test(sandbox, a_status_is_told)
{
    az_ctx *az = az_open(NULL);
    const az_outcome *o = python(az, "import sys; print('so far', flush=True); sys.exit(7)");
    expect(o, AZ_PROGRAM_FAILED);
    cr_assert_eq(o->status, 7);
    cr_assert_str_eq(o->out, "so far\n");
    az_close(az);
}

Test(sandbox, an_endless_loop_ends)
{
    az_ctx *az = az_open(NULL);
    const az_outcome *o =
        run(az, (az_program){.argv = (const char *const[]){"python3", "-I", "-c", "while True: pass", NULL}, .seconds = 0.5});
    expect(o, AZ_PROGRAM_TIMEOUT);
    cr_assert_lt(o->seconds, 30);
    o = run(az, (az_program){.argv = (const char *const[]){"sleep", "60", NULL}, .seconds = 0.2});
    expect(o, AZ_PROGRAM_TIMEOUT);
    az_close(az);
}

Test(sandbox, memory_output_and_files_have_limits)
{
    az_ctx *az = az_open(NULL);
    expect(python(az, "x = bytearray(2 << 30)"), AZ_PROGRAM_MEMORY);
    expect(python(az, "while True: print('y' * 4096)"), AZ_PROGRAM_OUTPUT);
    const az_outcome *o = python(az, "f = open('big', 'wb')\nwhile True: f.write(b'y' * 65536)");
    cr_assert(o->kind == AZ_PROGRAM_OUTPUT || o->kind == AZ_PROGRAM_FAILED);
    az_close(az);
}

Test(sandbox, a_fork_bomb_stays_small)
{
    az_ctx *az = az_open(NULL);
    const az_outcome *o =
        python(az, "import os, time\nn = 0\ntry:\n  while True:\n    if os.fork() == 0: time.sleep(5); os._exit(0)\n    n += 1\n"
                   "except OSError:\n  print(n)");
    cr_assert_lt(atoi(o->out), 64);
    cr_assert_gt(atoi(o->out), 0);
    az_close(az);
}

Test(sandbox, neither_network_nor_files_nor_processes_of_others)
{
    az_ctx *az = az_open(NULL);
    expect(python(az, "import socket\nsocket.create_connection(('127.0.0.1', 22), 1)"), AZ_PROGRAM_FAILED);
    expect(python(az, "open('/etc/passwd').read()"), AZ_PROGRAM_FAILED);
    const az_outcome *o = python(az, az_format_text(az, "import os\nos.kill(%d, 9)", (int)getpid()));
    expect(o, AZ_PROGRAM_FAILED); /* and this process goes on */
    o = python(az, "import os\nprint(sorted(os.environ))");
    cr_assert_null(strstr(o->out, "USER"), "%s", o->out);
    az_close(az);
}

Test(sandbox, inherited_files_are_closed)
{
    az_ctx *az = az_open(NULL);
    FILE *secret = fopen("/etc/passwd", "r");
    cr_assert_not_null(secret);
    dup2(fileno(secret), 17);
    expect(python(az, "import os\nprint(os.read(17, 10))"), AZ_PROGRAM_FAILED);
    fclose(secret);
    az_close(az);
}

Test(sandbox, programs_that_are_not_there)
{
    az_ctx *az = az_open(NULL);
    if (!az_sandbox_has(az, "bwrap", "bubblewrap")) cr_skip("%s", az_error(az));
    cr_assert_null(az_sandbox_run(az, &(az_program){.argv = (const char *const[]){"no-such-program", NULL}}));
    cr_assert_not_null(strstr(az_error(az), "no-such-program"), "%s", az_error(az));
    az_clear(az);
    const az_file_text outside = {"../x", ""};
    cr_assert_null(az_sandbox_run(az, &(az_program){.argv = (const char *const[]){"true", NULL}, .file = &outside, .files = 1}));
    az_close(az);
}
