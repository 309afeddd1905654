/* plain.c - runs Criterion tests without Criterion's library, whose sandbox re-executes the program and so needs a processor of its own
 * kind. Each test runs in a fork; a failed assertion ends it. For tests built for another machine and run in an emulator. test_ROOM
 * [--filter SUITE/NAME] [--jobs N] [--verbose]        the filter may hold * and ?; one test runs at a time whatever --jobs says */
#include <criterion/criterion.h>

#include <fnmatch.h>
#include <setjmp.h>
#include <signal.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

/* The tests that the linker has collected. */
extern struct criterion_test *__start_cr_tst[], *__stop_cr_tst[];

typedef enum outcome { PASSED, SKIPPED, FAILED, OUTCOMES } outcome;

struct criterion_options criterion_options;
static outcome *shared; /* of the test in work, in memory that a fork shares */
static jmp_buf end_of_test;

/* ---- what the assertions call ----------------------------------------------------------------------------------------------------- */

/* The text behind the message's number: an expression, or what a failure says. */
char *cr_translate_assert_msg(int message, ...)
{
    (void)message;
    va_list arguments;
    va_start(arguments, message);
    char *text = strdup(va_arg(arguments, const char *));
    va_end(arguments);
    return text;
}

int cr_asprintf(char **to, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    const int length = vasprintf(to, format, arguments);
    va_end(arguments);
    return length;
}

void cr_asprintf_free(char *text)
{
    free(text);
}

void cri_asserts_passed_incr(void) {}

void criterion_send_assert(struct criterion_assert_stats *assertion)
{
    if (assertion->passed) return;
    *shared = FAILED;
    printf("[----] %s:%u: failed: %s\n", assertion->file, assertion->line, assertion->message);
}

void criterion_continue_test(void) {}

void criterion_abort_test(void)
{
    longjmp(end_of_test, 1);
}

void criterion_skip_test(const char *format, ...)
{
    *shared = SKIPPED;
    va_list arguments;
    va_start(arguments, format);
    printf("[SKIP] ");
    vprintf(format, arguments);
    printf("\n");
    va_end(arguments);
    longjmp(end_of_test, 1);
}

/* ---- one test ------------------------------------------------------------------------------------------------------------------------ */

void criterion_internal_test_setup(void) {}

void criterion_internal_test_main(void (*test)(void))
{
    if (setjmp(end_of_test) == 0) test();
}

void criterion_internal_test_teardown(void) {}

/* Whether a process ended as the test wants it to. */
static bool ended_well(const struct criterion_test_extra_data *want, int status)
{
    if (want->signal) return WIFSIGNALED(status) && WTERMSIG(status) == want->signal;
    return WIFEXITED(status) && WEXITSTATUS(status) == want->exit_code;
}

static outcome run(const struct criterion_test *test)
{
    const struct criterion_test_extra_data *data = test->data;
    *shared = PASSED;
    fflush(NULL);
    const pid_t child = fork();
    if (child == 0) {
        if (data->init) data->init();
        test->test();
        if (data->fini) data->fini();
        exit(0);
    }
    int status = 0;
    if (child < 0 || waitpid(child, &status, 0) != child) return FAILED;
    if (ended_well(data, status)) return *shared;
    printf("[----] %s:%u: %s %d\n", data->file_, data->line_, WIFSIGNALED(status) ? "ended by signal" : "ended with status",
           WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status));
    return FAILED;
}

static double seconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

int main(int argc, char **argv)
{
    const char *filter = "*";
    bool verbose = false;
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--verbose") == 0) verbose = true;
        if (strcmp(argv[i], "--filter") == 0 && i + 1 < argc) filter = argv[++i];
    }
    shared = mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (shared == MAP_FAILED) return 2;
    static const char *const word[OUTCOMES] = {"PASS", "SKIP", "FAIL"};
    int count[OUTCOMES] = {0};
    for (struct criterion_test **t = __start_cr_tst; t < __stop_cr_tst; t++) {
        const struct criterion_test *test = *t;
        if (!test || test->data->disabled || fnmatch(filter, test->data->identifier_, 0) != 0) continue;
        const double start = seconds();
        const outcome result = run(test);
        count[result]++;
        if (verbose || result == FAILED) printf("[%s] %s (%.2f s)\n", word[result], test->data->identifier_, seconds() - start);
    }
    printf("[====] passed %d, failed %d, skipped %d\n", count[PASSED], count[FAILED], count[SKIPPED]);
    return count[FAILED] > 0;
}
