/* stub_server.h - a server on 127.0.0.1 that gives the replies of a script, one after the other, and remembers what it was asked. */
#ifndef ADZE_TEST_STUB_SERVER_H
#define ADZE_TEST_STUB_SERVER_H

#include "adze/base.h"

typedef struct stub_reply {
    int status;              /* 0 = 200 */
    const char *retry_after; /* header, or NULL */
    const char *location;    /* likewise */
    const char *type;        /* likewise: Content-Type */
    const char *body;
    size_t length;  /* of the body; 0 = strlen */
    bool chunked;   /* its length is not told before */
    bool truncated; /* the connection ends in the middle of it */
    double pause;   /* s before each byte */
} stub_reply;

typedef struct stub_server stub_server;
/* The last reply of the script goes on. Stops when the context closes. */
stub_server *stub_start(az_ctx *az, const stub_reply *script, int n);
/* "http://127.0.0.1:PORT/v1#small", in the current scope. */
const char *stub_spec(az_ctx *az, const stub_server *server);
int stub_requests(const stub_server *server);
/* Of request i: "/v1/chat/completions", its body, and its header Authorization ("" = none). */
const char *stub_path(const stub_server *server, int i);
const char *stub_body(const stub_server *server, int i);
const char *stub_authorization(const stub_server *server, int i);

#endif
