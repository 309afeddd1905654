/* plot.c - a report's curves, or the numbers of its last section that has any as bars, drawn by gnuplot into an SVG or PNG file.
 *
 * gnuplot reads its script from a temporary file and writes the picture straight into a file that appears only when gnuplot succeeded. */
#include "base/report_internal.h"

#include <errno.h>
#include <math.h>
#include <spawn.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

/* A text as gnuplot quotes it: in '...', quotes doubled, control characters dropped. */
static void put_quoted(FILE *script, const char *text)
{
    fputc('\'', script);
    for (; *text; text++) {
        if (*text == '\'') fputc('\'', script);
        if ((unsigned char)*text >= 0x20) fputc(*text, script);
    }
    fputc('\'', script);
}

static void put_number(FILE *script, double value)
{
    if (isfinite(value))
        fprintf(script, "%.9g", value);
    else
        fputs("NaN", script);
}

/* The head of a script whose picture has `panels` parts, one below the other. */
static void put_style(FILE *script, const az_report *report, int panels, bool svg)
{
    int height = panels == 1 ? 450 : 300 * panels;
    fprintf(script, "set terminal %s size 800,%d noenhanced\n", svg ? "svg background rgb 'white'" : "pngcairo", height);
    fputs("set encoding utf8\nset grid\nset key noenhanced outside bottom center horizontal\n", script);
    fprintf(script, "set multiplot layout %d,1 title ", panels);
    put_quoted(script, report->title ? report->title : "");
    fputs(" noenhanced\n", script);
}

/* ---- curves ---- */

static void put_curve_data(FILE *script, const az_curve *curve, int number)
{
    fprintf(script, "$curve%d << EOD\n", number);
    for (int64_t i = 0; i < curve->n; i++) {
        put_number(script, curve->x[i]);
        fputc(' ', script);
        put_number(script, curve->y[i]);
        fputc('\n', script);
    }
    fputs("EOD\n", script);
}

/* gnuplot fails on a picture without a point. */
static bool has_points(const az_curve *curve)
{
    for (int64_t i = 0; i < curve->n; i++)
        if (isfinite(curve->x[i]) && isfinite(curve->y[i])) return true;
    return false;
}

static bool opens_panel(const az_report *report, const az_curve *curve)
{
    if (!has_points(curve)) return false;
    for (const az_curve *before = report->curves; before != curve; before = before->next)
        if (strcmp(before->y_label, curve->y_label) == 0 && has_points(before)) return false;
    return true;
}

static int count_panels(const az_report *report)
{
    int panels = 0;
    for (const az_curve *curve = report->curves; curve; curve = curve->next) panels += opens_panel(report, curve);
    return panels;
}

/* One picture for all curves that share a y label. */
static void put_panel(FILE *script, const az_report *report, const az_curve *first)
{
    int number = 0, drawn = 0;
    fputs("set xlabel ", script);
    put_quoted(script, first->x_label);
    fputs(" noenhanced\nset ylabel ", script);
    put_quoted(script, first->y_label);
    fputs(" noenhanced\nplot ", script);
    for (const az_curve *curve = report->curves; curve; curve = curve->next, number++) {
        if (strcmp(curve->y_label, first->y_label) != 0 || !has_points(curve)) continue;
        fprintf(script, "%s$curve%d using 1:2 with %s lw 2 title ", drawn++ ? ", " : "", number, curve->n < 30 ? "linespoints" : "lines");
        put_quoted(script, curve->name);
    }
    fputc('\n', script);
}

static bool put_curves(FILE *script, const az_report *report, bool svg)
{
    const int panels = count_panels(report);
    int number = 0;
    if (panels == 0) return false;
    for (const az_curve *curve = report->curves; curve; curve = curve->next) put_curve_data(script, curve, number++);
    put_style(script, report, panels, svg);
    for (const az_curve *curve = report->curves; curve; curve = curve->next)
        if (opens_panel(report, curve)) put_panel(script, report, curve);
    return true;
}

/* ---- bars ---- */

/* The label of a row of bars: its first text, or its number. */
static void put_row_label(FILE *script, const az_row *row, int number)
{
    for (const az_cell *cell = row->cells; cell; cell = cell->next) {
        if (cell->kind != AZ_CELL_TEXT) continue;
        fputc('"', script);
        for (const char *c = cell->text; *c; c++)
            if ((unsigned char)*c >= 0x20 && *c != '"' && *c != '\\') fputc(*c, script);
        fputc('"', script);
        return;
    }
    fprintf(script, "%d", number);
}

/* The rows of a section, from its first one on, as lines of a label and the numbers that the first row names. */
static void put_bar_data(FILE *script, const az_row *first)
{
    int number = 0;
    fputs("$rows << EOD\n", script);
    for (const az_row *row = first; row; row = row->next) {
        if (strcmp(row->section, first->section) != 0) continue;
        put_row_label(script, row, ++number);
        for (const az_cell *cell = first->cells; cell; cell = cell->next) {
            if (cell->kind == AZ_CELL_TEXT) continue;
            fputc(' ', script);
            put_number(script, az_cell_value(az_row_cell(row, cell->key)));
        }
        fputc('\n', script);
    }
    fputs("EOD\n", script);
}

/* Whether a column of a section has a bar. */
static bool has_bars(const az_row *first, const az_cell *column)
{
    if (column->kind == AZ_CELL_TEXT) return false;
    for (const az_row *row = first; row; row = row->next)
        if (strcmp(row->section, first->section) == 0 && isfinite(az_cell_value(az_row_cell(row, column->key)))) return true;
    return false;
}

static int panels_of(const az_row *first)
{
    int panels = 0;
    for (const az_cell *cell = first->cells; cell; cell = cell->next) panels += has_bars(first, cell);
    return panels;
}

/* The first row of the last section that has a bar, NULL when none has. */
static const az_row *last_with_bars(const az_report *report)
{
    const az_row *best = NULL;
    const char *section = NULL;
    for (const az_row *row = report->rows; row; row = row->next) {
        if (section && strcmp(row->section, section) == 0) continue;
        section = row->section;
        const az_row *first = report->rows;
        while (strcmp(first->section, section) != 0) first = first->next;
        if (panels_of(first) > 0) best = first;
    }
    return best;
}

/* The rows of that section as bars that stand on zero, a picture for each numeric column of its first row. */
static bool put_bars(FILE *script, const az_report *report, bool svg)
{
    const az_row *first = last_with_bars(report);
    int column = 1;
    if (!first) return false;
    put_bar_data(script, first);
    put_style(script, report, panels_of(first), svg);
    fputs("set style data histogram\nset style fill solid\nset boxwidth 0.8\nunset key\nset yrange [*<0:0<*]\n", script);
    for (const az_cell *cell = first->cells; cell; cell = cell->next) {
        column += cell->kind != AZ_CELL_TEXT;
        if (!has_bars(first, cell)) continue;
        fputs("set ylabel ", script);
        put_quoted(script, cell->key);
        fprintf(script, " noenhanced\nplot $rows using %d:xtic(1)\n", column);
    }
    return true;
}

/* ---- running gnuplot ---- */

/* The first line of what gnuplot complained about, behind its warnings. */
static void read_complaint(FILE *complaints, char *line, int size)
{
    rewind(complaints);
    do {
        if (!fgets(line, size, complaints)) snprintf(line, (size_t)size, "no reason given");
        line[strcspn(line, "\n")] = '\0';
    } while (line[strspn(line, " \t^")] == '\0' || strstr(line, "arning:"));
}

static bool run_gnuplot(az_ctx *az, FILE *script, FILE *complaints, FILE *picture)
{
    static const char missing[] = "--plot needs gnuplot, which is not installed (Debian: apt install gnuplot-nox)";
    char name[] = "gnuplot", *argv[] = {name, NULL};
    posix_spawn_file_actions_t actions;
    pid_t pid;
    int status = 0;
    rewind(script);
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, fileno(script), STDIN_FILENO);
    posix_spawn_file_actions_adddup2(&actions, fileno(picture), STDOUT_FILENO);
    posix_spawn_file_actions_adddup2(&actions, fileno(complaints), STDERR_FILENO);
    int why = posix_spawnp(&pid, name, &actions, NULL, argv, environ);
    posix_spawn_file_actions_destroy(&actions);
    if (why == ENOENT) return az_fail(az, AZ_IO, missing);
    if (why) return az_fail(az, AZ_IO, "cannot run gnuplot: %s", strerror(why));
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR) continue;
    if (WIFEXITED(status) && WEXITSTATUS(status) == 127) return az_fail(az, AZ_IO, missing);
    if (WIFEXITED(status) && WEXITSTATUS(status) == 0) return true;
    char line[200];
    read_complaint(complaints, line, sizeof line);
    return az_fail(az, AZ_IO, "gnuplot failed: %s", line);
}

static bool ends_in(const char *path, const char *wanted)
{
    const char *ending = strrchr(path, '.');
    return ending && strcasecmp(ending, wanted) == 0;
}

bool az_plot_check(az_ctx *az, const char *path)
{
    if (ends_in(path, ".svg") || ends_in(path, ".png")) return true;
    return az_fail(az, AZ_BAD_INPUT, "a plot is written to a file ending in .svg or .png, not to '%s'", path);
}

/* Whether the picture has its end: gnuplot says nothing of a disk that is full. What went into a pipe cannot be looked at. */
static bool is_whole(FILE *picture, bool svg)
{
    enum { TAIL = 16 };
    char end[TAIL];
    struct stat info;
    if (fstat(fileno(picture), &info) != 0 || !S_ISREG(info.st_mode)) return true;
    const ssize_t n = info.st_size < TAIL ? 0 : pread(fileno(picture), end, TAIL, info.st_size - TAIL);
    return n == TAIL && (svg ? memmem(end, TAIL, "</svg>", 6) : memmem(end, TAIL, "IEND", 4)) != NULL;
}

static bool draw(const az_report *report, const char *path, FILE *script, FILE *complaints)
{
    const bool svg = ends_in(path, ".svg");
    if (!az_plot_check(report->az, path)) return false;
    if (!(report->curves ? put_curves : put_bars)(script, report, svg))
        return az_fail(report->az, AZ_BAD_INPUT, "this report has nothing to plot: neither curves nor numbers");
    if (fflush(script) != 0) return az_fail(report->az, AZ_IO, "cannot write the plot's script: %s", strerror(errno));
    az_out *out = az_create(report->az, path);
    if (!out || !run_gnuplot(report->az, script, complaints, az_out_stream(out))) return false;
    if (!is_whole(az_out_stream(out), svg))
        return az_fail(report->az, AZ_IO, "cannot write '%s': gnuplot did not finish the picture; the disk may be full", path);
    return az_commit(out);
}

bool az_report_plot(const az_report *report, const char *path)
{
    if (!report || !az_ok(report->az)) return false;
    FILE *script = tmpfile(), *complaints = tmpfile();
    bool ok = false;
    az_scope_push(report->az);
    if (script && complaints)
        ok = draw(report, path, script, complaints);
    else
        az_fail(report->az, AZ_IO, "cannot make a temporary file: %s", strerror(errno));
    az_scope_pop(report->az);
    if (script) fclose(script);
    if (complaints) fclose(complaints);
    return ok;
}
