/* curl_library.c - finds libcurl and the functions that are used. */
#include "lm/backend/curl_library.h"

#include <dlfcn.h>
#include <string.h>

static const char soname[] = "libcurl.so.4"; /* since 2006 */

static bool find(az_ctx *az, void *library, const char *name, void *function)
{
    void *address = dlsym(library, name);
    if (!address) return az_fail(az, AZ_IO, "%s has no function '%s'", soname, name);
    memcpy(function, &address, sizeof address); /* POSIX: pointers to functions and to data have one form */
    return true;
}

bool az_curl_load(az_ctx *az, az_curl *curl)
{
    void *library = dlopen(soname, RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE);
    if (!library) return az_fail(az, AZ_IO, "servers are asked through libcurl, which cannot be loaded: %s", dlerror());
    const struct {
        const char *name;
        void *function;
    } all[] = {
        {"curl_global_init", &curl->global_init},
        {"curl_slist_append", &curl->slist_append},
        {"curl_slist_free_all", &curl->slist_free_all},
        {"curl_easy_init", &curl->easy_init},
        {"curl_easy_setopt", &curl->easy_setopt},
        {"curl_easy_getinfo", &curl->easy_getinfo},
        {"curl_easy_strerror", &curl->easy_strerror},
        {"curl_easy_cleanup", &curl->easy_cleanup},
        {"curl_multi_init", &curl->multi_init},
        {"curl_multi_add_handle", &curl->multi_add_handle},
        {"curl_multi_remove_handle", &curl->multi_remove_handle},
        {"curl_multi_perform", &curl->multi_perform},
        {"curl_multi_poll", &curl->multi_poll},
        {"curl_multi_info_read", &curl->multi_info_read},
        {"curl_multi_cleanup", &curl->multi_cleanup},
    };
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        if (!find(az, library, all[i].name, all[i].function)) return false;
    return curl->global_init(CURL_GLOBAL_DEFAULT) == CURLE_OK || az_fail(az, AZ_NO_MEMORY, "libcurl cannot start");
}
