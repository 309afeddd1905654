/* engine_exec.c - a program of the user's as a model: it reads a request as a line of JSON (the canonical request with "sample") and writes
 * a reply as a line, {"text": ...} as az_answer_read reads it, or {"error": ...}. One process serves all calls. */
#include "lm/backend/backend_internal.h"
#include "lm/tokenizer/tokenizer.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

typedef struct exec_state {
    pid_t child;
    int to, from;
} exec_state;

static void end_child(void *object)
{
    exec_state *state = object;
    if (state->to >= 0) close(state->to);
    if (state->from >= 0) close(state->from);
    if (state->child > 0) {
        kill(state->child, SIGTERM);
        waitpid(state->child, NULL, 0);
    }
    *state = (exec_state){.to = -1, .from = -1};
}

static bool start_child(az_backend *backend)
{
    exec_state *state = backend->state;
    int in[2], out[2];
    if (pipe2(in, O_CLOEXEC) != 0) return az_fail(backend->az, AZ_IO, "cannot make a pipe: %s", strerror(errno));
    if (pipe2(out, O_CLOEXEC) != 0) {
        close(in[0]), close(in[1]);
        return az_fail(backend->az, AZ_IO, "cannot make a pipe: %s", strerror(errno));
    }
    const char *program = backend->model;
    const pid_t child = fork();
    if (child == 0) {
        dup2(in[0], STDIN_FILENO);
        dup2(out[1], STDOUT_FILENO);
        execlp(program, program, (char *)NULL);
        _exit(127);
    }
    close(in[0]), close(out[1]);
    *state = (exec_state){.child = child, .to = in[1], .from = out[0]};
    return child > 0 || az_fail(backend->az, AZ_IO, "cannot start '%s': %s", program, strerror(errno));
}

/* Waits for the pipe until the deadline; false when it has passed. */
static bool ready(int fd, short events, double deadline)
{
    const double left = deadline - az_seconds();
    struct pollfd wait = {.fd = fd, .events = events};
    return left > 0 && poll(&wait, 1, (int)(1e3 * left) + 1) > 0;
}

static bool send_line(exec_state *state, const char *line, double deadline)
{
    for (size_t length = strlen(line); length > 0;) {
        if (!ready(state->to, POLLOUT, deadline)) return false;
        const ssize_t n = write(state->to, line, length < 4096 ? length : 4096);
        if (n < 0 && errno == EINTR) continue;
        if (n <= 0) return false;
        line += n, length -= (size_t)n;
    }
    return true;
}

/* Bytes to the end of a line in *line; false at the deadline, at the end of the pipe, and beyond AZ_REPLY_LIMIT. */
static bool receive_line(const exec_state *state, double deadline, az_bytes *line)
{
    char piece[4096];
    while (line->length < AZ_REPLY_LIMIT) {
        const char *end = line->length ? memchr(line->data, '\n', line->length) : NULL;
        if (end) {
            line->length = (size_t)(end - line->data);
            return true;
        }
        if (!ready(state->from, POLLIN, deadline)) return false;
        const ssize_t n = read(state->from, piece, sizeof piece);
        if (n < 0 && errno == EINTR) continue;
        if (n <= 0 || !az_bytes_add(line, piece, (size_t)n)) return false;
    }
    return false;
}

static bool ask_child(az_backend *backend, az_call *call)
{
    az_ctx *az = backend->az;
    exec_state *state = backend->state;
    const double deadline = az_seconds() + backend->settings.timeout;
    const char *line = az_format_text(az, "{\"sample\":%d,\"request\":%s}\n", call->index, call->json), *why = NULL;
    az_bytes reply = {.az = az};
    if (state->child <= 0 && !start_child(backend)) return false;
    if (!line) return false;
    if (!send_line(state, line, deadline) || !receive_line(state, deadline, &reply)) {
        end_child(state); /* what it may still say would answer another question */
        az_call_fail(backend, call, "'%s' ended, or gave no line within %g s", backend->model, backend->settings.timeout);
        return az_ok(az);
    }
    const json_t *object = az_json_read(az, reply.data, reply.length, &why);
    const char *error = json_string_value(json_object_get(object, "error"));
    if (error)
        az_call_fail(backend, call, "'%s': %.500s", backend->model, error);
    else if (!object || !az_answer_read(az, object, call->answer, &why))
        az_call_fail(backend, call, "the reply of '%s' cannot be read: %s", backend->model, why);
    return az_ok(az);
}

static bool answer_calls(az_backend *backend, az_call *call, int n)
{
    struct sigaction ignore = {.sa_handler = SIG_IGN}, before;
    sigaction(SIGPIPE, &ignore, &before); /* a program that ends early is a failure of its call */
    bool good = true;
    for (int i = 0; good && i < n; i++) {
        good = az_call_begin(backend, &call[i]) && ask_child(backend, &call[i]) && az_call_done(backend, &call[i]);
        if (good && az_interrupted(backend->az)) good = az_fail(backend->az, AZ_INTERRUPTED, "interrupted while a program was asked");
    }
    sigaction(SIGPIPE, &before, NULL);
    return good;
}

static const az_engine exec_engine = {.answer = answer_calls};

bool az_engine_exec(az_backend *backend, const char *program)
{
    az_ctx *az = backend->az;
    exec_state *state = backend->state = az_alloc(az, sizeof *state);
    if (!*program) return az_fail(az, AZ_BAD_INPUT, "exec: needs a program");
    if (strchr(program, '/') && access(program, X_OK) != 0)
        return az_fail(az, AZ_BAD_INPUT, "cannot run '%s': %s", program, strerror(errno));
    if (!state) return false;
    *state = (exec_state){.to = -1, .from = -1};
    backend->model = backend->identity = az_strdup(az, program);
    backend->engine = &exec_engine;
    backend->capabilities = AZ_CAN_CHAT | AZ_CAN_COMPLETE | AZ_CAN_SCORE | AZ_CAN_NEXT | AZ_CAN_EMBED | AZ_CAN_BIAS | AZ_CAN_SEED;
    return az_on_leave(az, end_child, state) && backend->model;
}
