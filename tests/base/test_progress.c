/* Progress: how often the sink is told, the time left, nested tasks, Ctrl-C. */
#include "adze/base.h"

#include <criterion/criterion.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>

typedef struct log {
    az_progress_event event[64];
    char task[64][32];
    int n;
} log;

static void record(const az_progress_event *event, void *user)
{
    log *l = user;
    if (l->n == 64) return;
    l->event[l->n] = *event;
    snprintf(l->task[l->n++], 32, "%s", event->task);
}

Test(progress, a_fast_loop_is_told_at_its_ends_only)
{
    log l = {0};
    az_ctx *az = az_open(&(az_settings){.progress = record, .user = &l});
    for (int i = 0; i <= 1000; i++) cr_assert(az_progress(az, "counting", i, 1000, NULL));
    cr_assert_geq(l.n, 2);
    cr_assert_lt(l.n, 20);
    cr_assert_eq(l.event[0].done, 0);
    cr_assert_lt(l.event[0].eta, 0);
    cr_assert_eq(l.event[l.n - 1].done, 1000);
    cr_assert(l.event[l.n - 1].finished);
    cr_assert_eq(l.event[l.n - 1].eta, 0);
    az_close(az);
}

Test(progress, time_left_follows_the_pace_since_the_task_began)
{
    log l = {0};
    az_ctx *az = az_open(&(az_settings){.progress = record, .user = &l});
    az_progress(az, "resumed", 50, 100, NULL); /* the first fifty were done long ago */
    usleep(120000);
    az_progress(az, "resumed", 60, 100, "loss 1.5");
    cr_assert_eq(l.n, 2);
    cr_assert_geq(l.event[1].seconds, 0.12);
    cr_assert_float_eq(l.event[1].eta, 4 * l.event[1].seconds, 1e-9);
    az_close(az);
}

Test(progress, a_task_inside_another_keeps_its_own_clock)
{
    log l = {0};
    az_ctx *az = az_open(&(az_settings){.progress = record, .user = &l});
    for (int i = 0; i < 3; i++) {
        az_progress(az, "outer", i, 4, NULL);
        usleep(110000);
        az_progress(az, "inner", 0, 1, NULL);
        az_progress(az, "inner", 1, 1, NULL);
    }
    az_progress(az, "outer", 4, 4, NULL);
    cr_assert_str_eq(l.task[l.n - 1], "outer");
    cr_assert_geq(l.event[l.n - 1].seconds, 0.33);
    az_close(az);
}

Test(progress, silence_without_a_sink)
{
    az_ctx *az = az_open(NULL);
    cr_assert(az_progress(az, "quiet", 1, 2, NULL));
    az_note(az, "nobody hears this");
    cr_assert(az_ok(az));
    az_close(az);
}

Test(progress, an_interrupt_asks_the_job_to_stop)
{
    az_ctx *az = az_open(NULL);
    az_catch_interrupts();
    cr_assert_not(az_interrupted(az));
    raise(SIGINT);
    cr_assert(az_interrupted(az));
    cr_assert_not(az_progress(az, "job", 1, 2, NULL));
    az_close(az);
}

Test(progress, a_second_interrupt_ends_the_process, .signal = SIGINT)
{
    az_catch_interrupts();
    raise(SIGINT);
    usleep(400000);
    raise(SIGINT);
}

/* As timeout(1) sends them. */
Test(progress, two_interrupts_at_once_are_one)
{
    az_ctx *az = az_open(NULL);
    az_catch_interrupts();
    raise(SIGINT);
    raise(SIGINT);
    raise(SIGTERM);
    cr_assert(az_interrupted(az));
    az_close(az);
}
