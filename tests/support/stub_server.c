#include "support/stub_server.h"

#include <criterion/criterion.h>
#include <microhttpd.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { MOST_REQUESTS = 4096 };

typedef struct stub_request {
    char *path, *body, *authorization;
    size_t length;
} stub_request;

struct stub_server {
    struct MHD_Daemon *daemon;
    const stub_reply *script;
    int n, requests, port;
    stub_request *request;
    pthread_mutex_t lock;
};

/* The rest of a body whose sending is slow, or breaks off. */
typedef struct slow_body {
    const stub_reply *reply;
    size_t length;
} slow_body;

static ssize_t read_slowly(void *user, uint64_t at, char *to, size_t room)
{
    const slow_body *body = user;
    const size_t length = body->reply->truncated ? body->length / 2 : body->length;
    if (at >= length) return body->reply->truncated ? MHD_CONTENT_READER_END_WITH_ERROR : MHD_CONTENT_READER_END_OF_STREAM;
    size_t n = length - at < room ? length - at : room;
    if (body->reply->pause > 0) {
        usleep((useconds_t)(1e6 * body->reply->pause));
        n = 1;
    }
    memcpy(to, body->reply->body + at, n);
    return (ssize_t)n;
}

static struct MHD_Response *response_of(const stub_reply *reply)
{
    const size_t length = reply->length ? reply->length : strlen(reply->body);
    if (!reply->chunked && !reply->truncated && reply->pause == 0)
        return MHD_create_response_from_buffer(length, (void *)reply->body, MHD_RESPMEM_PERSISTENT);
    slow_body *body = malloc(sizeof *body);
    *body = (slow_body){.reply = reply, .length = length};
    return MHD_create_response_from_callback(reply->chunked ? MHD_SIZE_UNKNOWN : length, 4096, read_slowly, body, free);
}

static enum MHD_Result answer(struct MHD_Connection *connection, const stub_reply *reply)
{
    struct MHD_Response *response = response_of(reply);
    if (reply->retry_after) MHD_add_response_header(response, "Retry-After", reply->retry_after);
    if (reply->type) MHD_add_response_header(response, "Content-Type", reply->type);
    if (reply->location) MHD_add_response_header(response, "Location", reply->location);
    const enum MHD_Result result = MHD_queue_response(connection, reply->status ? (unsigned)reply->status : 200, response);
    MHD_destroy_response(response);
    return result;
}

/* Called once for the head, for each piece of the body, and at its end. */
static enum MHD_Result serve(void *user, struct MHD_Connection *connection, const char *url, const char *method, const char *version,
                             const char *data, size_t *size, void **state)
{
    stub_server *server = user;
    (void)method, (void)version;
    if (!*state) {
        pthread_mutex_lock(&server->lock);
        stub_request *fresh = *state = &server->request[server->requests];
        server->requests++;
        pthread_mutex_unlock(&server->lock);
        const char *key = MHD_lookup_connection_value(connection, MHD_HEADER_KIND, "Authorization");
        *fresh = (stub_request){.path = strdup(url), .body = strdup(""), .authorization = strdup(key ? key : "")};
        return MHD_YES;
    }
    stub_request *request = *state;
    if (*size) {
        request->body = realloc(request->body, request->length + *size + 1);
        memcpy(request->body + request->length, data, *size);
        request->body[request->length += *size] = '\0';
        *size = 0;
        return MHD_YES;
    }
    const int i = (int)(request - server->request);
    return answer(connection, &server->script[i < server->n ? i : server->n - 1]);
}

static void stop(void *object)
{
    stub_server *server = object;
    MHD_stop_daemon(server->daemon);
    for (int i = 0; i < server->requests; i++)
        free(server->request[i].path), free(server->request[i].body), free(server->request[i].authorization);
    free(server->request);
}

stub_server *stub_start(az_ctx *az, const stub_reply *script, int n)
{
    stub_server *server = az_alloc(az, sizeof *server);
    *server = (stub_server){.script = script, .n = n, .request = calloc(MOST_REQUESTS, sizeof *server->request)};
    pthread_mutex_init(&server->lock, NULL);
    struct sockaddr_in here = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    server->daemon = MHD_start_daemon(MHD_USE_INTERNAL_POLLING_THREAD | MHD_USE_THREAD_PER_CONNECTION, 0, NULL, NULL, serve, server,
                                      MHD_OPTION_SOCK_ADDR, &here, MHD_OPTION_END);
    cr_assert_not_null(server->daemon, "the stub server does not start");
    server->port = MHD_get_daemon_info(server->daemon, MHD_DAEMON_INFO_BIND_PORT)->port;
    az_on_leave(az, stop, server);
    return server;
}

const char *stub_spec(az_ctx *az, const stub_server *server)
{
    return az_format_text(az, "http://127.0.0.1:%d/v1#small", server->port);
}

int stub_requests(const stub_server *server)
{
    return server->requests;
}

const char *stub_path(const stub_server *server, int i)
{
    return server->request[i].path;
}

const char *stub_body(const stub_server *server, int i)
{
    return server->request[i].body;
}

const char *stub_authorization(const stub_server *server, int i)
{
    return server->request[i].authorization;
}
