#include "support/command.h"

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static void run_child(const char *folder, const char *line, FILE *out, FILE *err)
{
    char path[8192];
    const char *old = getenv("PATH");
    snprintf(path, sizeof path, "%s:%s", ADZE_BINARY_DIR, old ? old : "/usr/bin:/bin");
    setenv("PATH", path, 1);
    setenv("OMP_WAIT_POLICY", "passive", 0); /* tests share the machine */
    dup2(fileno(out), STDOUT_FILENO);
    dup2(fileno(err), STDERR_FILENO);
    if (freopen("/dev/null", "r", stdin) && chdir(folder) == 0) execl("/bin/sh", "sh", "-c", line, (char *)NULL);
    _exit(127);
}

static char *whole(az_ctx *az, FILE *file)
{
    fseek(file, 0, SEEK_END);
    long size = ftell(file);
    rewind(file);
    char *text = az_alloc(az, (size_t)size + 1);
    cr_assert_eq(fread(text, 1, (size_t)size, file), (size_t)size);
    fclose(file);
    return text;
}

test_run test_shell(az_ctx *az, const char *folder, const char *line)
{
    FILE *out = tmpfile(), *err = tmpfile();
    pid_t child = fork();
    cr_assert_geq(child, 0);
    if (child == 0) run_child(folder, line, out, err);
    int status = 0;
    waitpid(child, &status, 0);
    test_run run = {.code = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status)};
    run.out = whole(az, out);
    run.err = whole(az, err);
    return run;
}

int test_lines(const char *text)
{
    int n = 0;
    for (; *text; text++) n += *text == '\n';
    return n;
}

static void drop_json(void *object)
{
    json_decref(object);
}

json_t *test_json(az_ctx *az, const char *text, int n)
{
    for (; n > 0; n--) {
        text = strchr(text, '\n');
        cr_assert_not_null(text, "there are fewer lines than asked for");
        text++;
    }
    json_error_t why;
    json_t *value = json_loadb(text, strcspn(text, "\n"), 0, &why);
    cr_assert_not_null(value, "not JSON (%s): %s", why.text, text);
    az_on_leave(az, drop_json, value);
    return value;
}

json_t *test_section(az_ctx *az, const char *text, const char *section)
{
    for (int i = 0; i < test_lines(text); i++) {
        json_t *line = test_json(az, text, i);
        const char *name = json_string_value(json_object_get(line, "section"));
        if (name && strcmp(name, section) == 0) return line;
    }
    cr_assert_fail("no section '%s' in: %s", section, text);
    return NULL;
}

double test_json_number(const json_t *object, const char *key)
{
    const json_t *value = json_object_get(object, key);
    cr_assert(json_is_number(value), "'%s' is not a number", key);
    return json_number_value(value);
}
