/* console.c - what goes to the standard error: the progress bar, progress as JSON lines, remarks, complaints. */
#include "cli/cli.h"

#include <jansson.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

enum { BAR = 20 };

/* Wipes the bar's line, when there can be one. */
static void wipe(void)
{
    if (isatty(STDERR_FILENO)) fputs("\r\x1b[K", stderr);
}

static int terminal_width(void)
{
    struct winsize size;
    return ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0 ? size.ws_col : 80;
}

/* "1:05", "2:00:07" */
static void format_duration(double seconds, char *out, size_t size)
{
    long s = (long)(seconds + 0.5);
    if (s >= 3600)
        snprintf(out, size, "%ld:%02ld:%02ld", s / 3600, s / 60 % 60, s % 60);
    else
        snprintf(out, size, "%ld:%02ld", s / 60, s % 60);
}

static void format_bar(const az_progress_event *event, char *out, size_t size)
{
    char bar[BAR + 1], left[32] = "";
    double share = event->total > 0 ? (double)event->done / (double)event->total : 0;
    int full = (int)(share * BAR);
    if (full > BAR) full = BAR;
    memset(bar, '.', BAR);
    memset(bar, '=', (size_t)full);
    bar[BAR] = '\0';
    const char *note = event->note ? event->note : "";
    if (event->total <= 0) {
        snprintf(out, size, "%s  %lld  %s", event->task, (long long)event->done, note);
        return;
    }
    if (event->eta >= 0) format_duration(event->eta, left, sizeof left);
    snprintf(out, size, "%s [%s] %lld/%lld%s%s%s%s", event->task, bar, (long long)event->done, (long long)event->total, *left ? "  " : "",
             left, *note ? "  " : "", note);
}

static bool is_note(const az_progress_event *event)
{
    return strcmp(event->task, "note") == 0;
}

static void show_notes(const az_progress_event *event, void *user)
{
    (void)user;
    if (!is_note(event)) return;
    wipe();
    fprintf(stderr, "note: %s\n", event->note);
}

static void show_bar(const az_progress_event *event, void *user)
{
    if (is_note(event)) {
        show_notes(event, user);
        return;
    }
    char text[512];
    format_bar(event, text, sizeof text);
    if (event->finished)
        wipe();
    else
        fprintf(stderr, "\r%.*s\x1b[K", terminal_width() - 1, text);
    fflush(stderr);
}

static void show_json(const az_progress_event *event, void *user)
{
    (void)user;
    json_t *line = json_object();
    json_object_set_new(line, "task", json_string(event->task));
    if (!is_note(event)) {
        json_object_set_new(line, "done", json_integer(event->done));
        json_object_set_new(line, "total", json_integer(event->total));
        json_object_set_new(line, "seconds", json_real(event->seconds));
        json_object_set_new(line, "eta", event->eta >= 0 ? json_real(event->eta) : json_null());
    }
    if (event->note) json_object_set_new(line, "note", json_string(event->note));
    json_object_set_new(line, "finished", json_boolean(event->finished));
    json_dumpf(line, stderr, JSON_COMPACT | JSON_PRESERVE_ORDER | JSON_REAL_PRECISION(6));
    fputc('\n', stderr);
    json_decref(line);
}

void (*cli_progress_sink(const cli_common *common, bool streams))(const az_progress_event *event, void *user)
{
    bool bar = isatty(STDERR_FILENO) && !(streams && isatty(STDOUT_FILENO));
    if (common->quiet || common->progress == CLI_PROGRESS_NONE) return NULL;
    if (common->progress == CLI_PROGRESS_JSON) return show_json;
    if (common->progress == CLI_PROGRESS_BAR || bar) return show_bar;
    return show_notes;
}

void cli_complain(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    wipe();
    fputs("adze: ", stderr);
    vfprintf(stderr, format, args);
    fputc('\n', stderr);
    va_end(args);
}

void cli_remark(const cli_job *job, const char *format, ...)
{
    if (job->common->quiet) return;
    va_list args;
    va_start(args, format);
    wipe();
    vfprintf(stderr, format, args);
    fputc('\n', stderr);
    va_end(args);
}
