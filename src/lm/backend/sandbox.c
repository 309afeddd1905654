/* sandbox.c - running programs that models wrote, in namespaces that bubblewrap makes and under limits that prlimit sets inside.
 *
 * The program sees the system's /usr read-only, its own empty folder, and nothing else: no network, no other processes, no environment but
 * PATH and HOME. All of it dies with the first process (bubblewrap's process namespace), which is killed at the deadline. */
#include "adze/backend.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

enum { NOBODY = 65534, MOST_ARGUMENTS = 64, DEFAULT_PROCESSES = 32, PIECE = 65536 };
static const double DEFAULT_SECONDS = 5;
static const int64_t DEFAULT_MEMORY = (int64_t)512 << 20, DEFAULT_OUTPUT = 1 << 20;

static const char *const outcome_names[] = {"ran", "failed", "timeout", "memory", "output"};

const char *az_outcome_name(az_outcome_kind kind)
{
    return outcome_names[kind];
}

/* ---- the folder ---- */

static int remove_entry(const char *path, const struct stat *info, int kind, struct FTW *place)
{
    (void)info, (void)kind, (void)place;
    return remove(path);
}

static void remove_folder(void *object)
{
    nftw(object, remove_entry, 16, FTW_DEPTH | FTW_PHYS);
}

static bool write_text(az_ctx *az, const char *folder, const az_file_text *file)
{
    if (!*file->name || strchr(file->name, '/') || *file->name == '.')
        return az_fail(az, AZ_BAD_CALL, "a file of a sandbox is called '%s'; a plain name is wanted", file->name);
    const char *path = az_format_text(az, "%s/%s", folder, file->name);
    FILE *out = path ? fopen(path, "wxe") : NULL;
    bool good = out && fputs(file->text, out) >= 0;
    if (out) good = fclose(out) == 0 && good;
    return good || az_fail(az, AZ_IO, "cannot write '%s': %s", path ? path : file->name, strerror(errno));
}

/* A folder that only the program's user may enter, with its files; it goes with the scope. */
static char *make_folder(az_ctx *az, const az_program *program)
{
    const char *temporary = getenv("TMPDIR");
    char *folder = az_format_text(az, "%s/adze-sandbox-XXXXXX", temporary && *temporary ? temporary : "/tmp");
    if (!folder || !mkdtemp(folder)) return az_fail(az, AZ_IO, "cannot make a folder for the sandbox: %s", strerror(errno));
    if (!az_on_leave(az, remove_folder, folder)) return NULL;
    for (int i = 0; i < program->files; i++)
        if (!write_text(az, folder, &program->file[i])) return NULL;
    if (geteuid() == 0 && chown(folder, NOBODY, NOBODY) != 0)
        return az_fail(az, AZ_IO, "cannot give the sandbox its folder: %s", strerror(errno));
    return folder;
}

/* ---- the command line ---- */

typedef struct arguments {
    const char *item[MOST_ARGUMENTS + 48];
    int n;
} arguments;

static void add(arguments *a, const char *const *item)
{
    for (; *item && a->n < (int)(sizeof a->item / sizeof *a->item) - 1; item++) a->item[a->n++] = *item;
}

static void add_folder(arguments *a, const char *path)
{
    struct stat info;
    if (lstat(path, &info) != 0) return;
    if (S_ISLNK(info.st_mode))
        add(a, (const char *const[]){"--symlink",
                                     strrchr(path, '/')[1] == 'b' ? "usr/bin"
                                     : path[4]                    ? "usr/lib64"
                                                                  : "usr/lib",
                                     path, NULL});
    else
        add(a, (const char *const[]){"--ro-bind", path, path, NULL});
}

static bool build_arguments(az_ctx *az, const az_program *p, const char *folder, arguments *a)
{
    const double seconds = p->seconds > 0 ? p->seconds : DEFAULT_SECONDS;
    const long long memory = p->memory > 0 ? p->memory : DEFAULT_MEMORY, output = p->output > 0 ? p->output : DEFAULT_OUTPUT;
    int n = 0;
    while (p->argv[n]) n++;
    if (n == 0 || n > MOST_ARGUMENTS) return az_fail(az, AZ_BAD_CALL, "a program of a sandbox has %d arguments", n);
    add(a, (const char *const[]){"bwrap", "--unshare-all", "--die-with-parent", "--new-session", "--ro-bind", "/usr", "/usr", NULL});
    add_folder(a, "/bin");
    add_folder(a, "/lib");
    add_folder(a, "/lib64");
    add(a, (const char *const[]){
               "--proc",   "/proc",   "--dev",   "/dev",     "--bind",          folder,     "/box",     "--symlink",
               "box",      "/tmp",    "--chdir", "/box",     "--clearenv",      "--setenv", "PATH",     "/usr/bin:/bin",
               "--setenv", "HOME",    "/box",    "--setenv", "OMP_NUM_THREADS", "1",        "--setenv", "OPENBLAS_NUM_THREADS",
               "1",        "prlimit", NULL});
    add(a, (const char *const[]){az_format_text(az, "--cpu=%lld", (long long)(seconds + 1)), az_format_text(az, "--as=%lld", memory),
                                 az_format_text(az, "--fsize=%lld", output),
                                 az_format_text(az, "--nproc=%d", p->processes > 0 ? p->processes : DEFAULT_PROCESSES), "--nofile=32",
                                 "--core=0", "--", NULL});
    add(a, p->argv);
    return az_ok(az);
}

/* ---- the process ---- */

typedef struct running {
    pid_t child;
    int out, err; /* -1 once at their end */
    char *text[2];
    size_t length[2], room;
    bool too_long;
} running;

/* Between fork and exec: only calls that are safe there. Root gives its rights away, so that the limit of processes binds. */
static void become(const arguments *a, const int fd[3])
{
    setsid();
    for (int i = 0; i < 3; i++) dup2(fd[i], i);
    close_range(3, ~0u, 0);
    if (geteuid() == 0 && (setresgid(NOBODY, NOBODY, NOBODY) != 0 || setresuid(NOBODY, NOBODY, NOBODY) != 0)) _exit(126);
    execvp(a->item[0], (char *const *)a->item);
    _exit(127);
}

/* A file without a name that holds the input. */
static int input_file(const char *text)
{
    FILE *file = tmpfile();
    if (!file) return -1;
    const bool good = fputs(text ? text : "", file) >= 0 && fflush(file) == 0 && lseek(fileno(file), 0, SEEK_SET) == 0;
    const int fd = good ? fcntl(fileno(file), F_DUPFD_CLOEXEC, 3) : -1;
    fclose(file);
    return fd;
}

static bool launch(az_ctx *az, const arguments *a, const char *input, running *r)
{
    int out[2] = {-1, -1}, err[2] = {-1, -1};
    const int in = input_file(input);
    const bool piped = in >= 0 && pipe2(out, O_CLOEXEC) == 0 && pipe2(err, O_CLOEXEC) == 0;
    r->child = piped ? fork() : -1;
    if (r->child == 0) become(a, (const int[]){in, out[1], err[1]});
    const int why = errno;
    const int unused[] = {in, out[1], err[1], r->child < 0 ? out[0] : -1, r->child < 0 ? err[0] : -1};
    for (int i = 0; i < 5; i++)
        if (unused[i] >= 0) close(unused[i]);
    r->out = out[0], r->err = err[0];
    return r->child > 0 || az_fail(az, AZ_IO, "cannot start a sandbox: %s", strerror(why));
}

/* Takes what the pipe has; what does not fit ends the program. */
static void drain(running *r, int which, int *fd)
{
    static const size_t spare = 1; /* for the zero at the end */
    char discarded[PIECE];
    const size_t left = r->room - spare - r->length[which];
    const ssize_t n = left ? read(*fd, r->text[which] + r->length[which], left < PIECE ? left : PIECE) : read(*fd, discarded, PIECE);
    if (n > 0 && left)
        r->length[which] += (size_t)n;
    else if (n > 0)
        r->too_long = true;
    else if (n == 0 || errno != EINTR) {
        close(*fd);
        *fd = -1;
    }
}

/* Reads until both pipes end, the deadline, or too much output; false at the deadline. */
static bool follow(az_ctx *az, running *r, double deadline)
{
    while (r->out >= 0 || r->err >= 0) {
        struct pollfd wait[2] = {{.fd = r->out, .events = POLLIN}, {.fd = r->err, .events = POLLIN}};
        const double left = deadline - az_seconds();
        if (left <= 0 || az_interrupted(az)) return false;
        if (poll(wait, 2, left > 0.2 ? 200 : (int)(1e3 * left) + 1) < 0 && errno != EINTR) return false;
        if (wait[0].revents) drain(r, 0, &r->out);
        if (wait[1].revents) drain(r, 1, &r->err);
        if (r->too_long) return true;
    }
    return true;
}

static bool ran_out_of_memory(const char *err)
{
    static const char *const sign[] = {"MemoryError", "Cannot allocate memory", "out of memory", "bad_alloc", "Out of memory"};
    for (size_t i = 0; i < sizeof sign / sizeof *sign; i++)
        if (strstr(err, sign[i])) return true;
    return false;
}

static az_outcome_kind judge(const running *r, bool in_time, const az_outcome *o, double limit)
{
    if (r->too_long || o->status == 128 + SIGXFSZ) return AZ_PROGRAM_OUTPUT;
    if (!in_time || o->status == 128 + SIGXCPU || (o->status == 128 + SIGKILL && o->seconds >= limit)) return AZ_PROGRAM_TIMEOUT;
    if (o->status != 0 && ran_out_of_memory(o->err)) return AZ_PROGRAM_MEMORY;
    return o->status == 0 ? AZ_RAN : AZ_PROGRAM_FAILED;
}

static bool run(az_ctx *az, const az_program *p, const arguments *a, running *r, az_outcome *o)
{
    const double began = az_seconds(), limit = p->seconds > 0 ? p->seconds : DEFAULT_SECONDS;
    if (!launch(az, a, p->input, r)) return false;
    const bool in_time = follow(az, r, began + 1.5 * limit);
    if (!in_time || r->too_long) kill(r->child, SIGKILL);
    if (r->out >= 0) close(r->out);
    if (r->err >= 0) close(r->err);
    int status = 0;
    while (waitpid(r->child, &status, 0) < 0 && errno == EINTR) continue;
    o->seconds = az_seconds() - began;
    o->status = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
    o->out = r->text[0];
    o->err = r->text[1];
    o->kind = judge(r, in_time, o, limit);
    if (o->status == 127 || (o->kind == AZ_PROGRAM_FAILED && strncmp(o->err, "bwrap: ", 7) == 0))
        return az_fail(az, AZ_BAD_INPUT, "the sandbox cannot run '%s': %.300s", p->argv[0], *o->err ? o->err : "bubblewrap is not there");
    if (az_interrupted(az)) return az_fail(az, AZ_INTERRUPTED, "interrupted while a program ran in a sandbox");
    return true;
}

az_outcome *az_sandbox_run(az_ctx *az, const az_program *program)
{
    if (!program || !az_ok(az) || !az_sandbox_has(az, "bwrap", "bubblewrap")) return NULL;
    az_outcome *outcome = az_alloc(az, sizeof *outcome);
    const size_t room = (size_t)(program->output > 0 ? program->output : DEFAULT_OUTPUT) + 1;
    running r = {.room = room, .text = {az_alloc(az, room), az_alloc(az, room)}};
    if (!outcome || !r.text[0] || !r.text[1]) return NULL;
    az_scope_push(az);
    arguments a = {0};
    const char *folder = make_folder(az, program);
    const bool good = folder && build_arguments(az, program, folder, &a) && run(az, program, &a, &r, outcome);
    az_scope_pop(az);
    return good ? outcome : NULL;
}

bool az_sandbox_has(az_ctx *az, const char *program, const char *package)
{
    char path[256];
    for (int i = 0; i < 2; i++) {
        snprintf(path, sizeof path, "%s/%s", i ? "/bin" : "/usr/bin", program);
        if (access(path, X_OK) == 0) return true;
    }
    return az_fail(az, AZ_BAD_INPUT, "'%s' is not installed; it is in the package %s", program, package);
}
