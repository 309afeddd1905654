/* curl_library.h - libcurl, loaded when the first server is asked: with the thirty libraries behind it, it would double the time that every
 * command takes to start. */
#ifndef ADZE_LM_CURL_LIBRARY_H
#define ADZE_LM_CURL_LIBRARY_H

#include "adze/base.h"

#include <curl/curl.h>

/* The functions that are used, under their names without "curl_". */
typedef struct az_curl {
    __typeof__(curl_global_init) *global_init;
    __typeof__(curl_slist_append) *slist_append;
    __typeof__(curl_slist_free_all) *slist_free_all;
    __typeof__(curl_easy_init) *easy_init;
    __typeof__(curl_easy_setopt) *easy_setopt;
    __typeof__(curl_easy_getinfo) *easy_getinfo;
    __typeof__(curl_easy_strerror) *easy_strerror;
    __typeof__(curl_easy_cleanup) *easy_cleanup;
    __typeof__(curl_multi_init) *multi_init;
    __typeof__(curl_multi_add_handle) *multi_add_handle;
    __typeof__(curl_multi_remove_handle) *multi_remove_handle;
    __typeof__(curl_multi_perform) *multi_perform;
    __typeof__(curl_multi_poll) *multi_poll;
    __typeof__(curl_multi_info_read) *multi_info_read;
    __typeof__(curl_multi_cleanup) *multi_cleanup;
} az_curl;

/* Loads and starts it. false, with an error, where it is not installed. It stays loaded. */
bool az_curl_load(az_ctx *az, az_curl *curl);

#endif
