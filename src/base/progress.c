/* progress.c - telling the sink how far a task is, and the flag that asks it to stop. */
#include "base/base_internal.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { TASKS = 8 };                /* nested ones: "training" while "scoring" inside it */
enum { SAME_REQUEST = 300000000 }; /* nanoseconds from one signal to another that is no new one */

static const double INTERVAL = 0.1; /* seconds between two events of a task */

typedef struct entry {
    char name[96];
    double began, told;  /* told < 0: not announced yet */
    int64_t first, done; /* units done when it began, and now */
    bool used;
} entry;

struct az_task {
    entry entry[TASKS];
    double told; /* last event of any task */
};

/* A signal handler can reach nothing but globals. */
static volatile sig_atomic_t interrupted;
static struct timespec interrupted_at; /* read and written by the handler alone, during which both signals wait */

/* timeout(1) and batch systems signal the process and then its group, which is one request: only what comes later is a second one. */
static void on_signal(int number)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    if (!interrupted) {
        interrupted = 1;
        interrupted_at = now;
        return;
    }
    const int64_t later = (int64_t)(now.tv_sec - interrupted_at.tv_sec) * 1000000000 + (now.tv_nsec - interrupted_at.tv_nsec);
    if (later < SAME_REQUEST) return;
    signal(number, SIG_DFL);
    raise(number);
}

void az_catch_interrupts(void)
{
    struct sigaction action = {.sa_handler = on_signal};
    sigemptyset(&action.sa_mask);
    sigaddset(&action.sa_mask, SIGINT);
    sigaddset(&action.sa_mask, SIGTERM);
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
}

bool az_interrupted(const az_ctx *az)
{
    return interrupted || az->status == AZ_INTERRUPTED;
}

double az_seconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

/* The entry of a task: its own when it is running, else a fresh one in place of the one that was silent longest. */
static entry *find_entry(struct az_task *tasks, const char *name, int64_t done)
{
    entry *oldest = &tasks->entry[0];
    for (entry *e = tasks->entry; e < tasks->entry + TASKS; e++) {
        if (e->used && strncmp(e->name, name, sizeof e->name - 1) == 0) {
            if (done >= e->done) return e;
            oldest = e; /* it went back: the same task once more */
            break;
        }
        if (!e->used || (oldest->used && e->told < oldest->told)) oldest = e;
    }
    *oldest = (entry){.began = az_seconds(), .told = -1, .first = done, .used = true};
    snprintf(oldest->name, sizeof oldest->name, "%s", name);
    return oldest;
}

/* Seconds left at the average pace so far; negative while nothing is known. */
static double remaining(const entry *e, int64_t done, int64_t total, double seconds)
{
    if (total <= 0 || done <= e->first) return -1;
    return seconds * (double)(total - done) / (double)(done - e->first);
}

static bool is_due(const struct az_task *tasks, const entry *e, double now, bool finished)
{
    if (e->told < 0) return tasks->told == 0 || now - tasks->told >= INTERVAL;
    return finished || now - e->told >= INTERVAL;
}

bool az_progress(az_ctx *az, const char *task, int64_t done, int64_t total, const char *note)
{
    if (!az->settings.progress) return !az_interrupted(az);
    if (!az->task) az->task = calloc(1, sizeof *az->task);
    if (!az->task) return !az_interrupted(az);
    entry *e = find_entry(az->task, task, done);
    bool finished = total > 0 && done >= total;
    double now = az_seconds();
    e->done = done;
    if (is_due(az->task, e, now, finished)) {
        az_progress_event event = {
            .task = task, .done = done, .total = total, .seconds = now - e->began, .note = note, .finished = finished};
        event.eta = remaining(e, done, total, event.seconds);
        e->told = az->task->told = now;
        az->settings.progress(&event, az->settings.user);
    }
    if (finished) e->used = false;
    return !az_interrupted(az);
}
