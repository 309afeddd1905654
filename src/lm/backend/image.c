/* image.c - images in messages: a file becomes a data URL, and in the key of a request the hash of its bytes stands for an image. */
#include "lm/backend/backend_internal.h"
#include "lm/tokenizer/tokenizer.h"

#include <nettle/base64.h>
#include <string.h>

enum { IMAGE_LIMIT = 20 << 20 };
static const char data_scheme[] = "data:image/", encoding[] = ";base64,";

static bool is_address(const char *reference)
{
    return strncmp(reference, "http://", 7) == 0 || strncmp(reference, "https://", 8) == 0;
}

/* The bytes of a data URL; NULL with an error. */
static unsigned char *decode(az_ctx *az, const char *url, size_t *n)
{
    const char *mark = strstr(url, encoding), *text = mark ? mark + sizeof encoding - 1 : NULL;
    if (strncmp(url, data_scheme, sizeof data_scheme - 1) != 0 || !text)
        return az_fail(az, AZ_BAD_INPUT, "an image is neither an address (http://, https://) nor a data URL (%sTYPE%s...): %.60s",
                       data_scheme, encoding, url);
    const size_t length = strlen(text);
    unsigned char *bytes = az_alloc(az, BASE64_DECODE_LENGTH(length) + 1);
    struct base64_decode_ctx state;
    base64_decode_init(&state);
    if (!bytes) return NULL;
    if (length == 0 || !base64_decode_update(&state, n, bytes, length, text) || !base64_decode_final(&state))
        return az_fail(az, AZ_BAD_INPUT, "the data URL of an image holds no base64: %.60s", url);
    return bytes;
}

const char *az_image_identity(az_ctx *az, const char *url)
{
    char hash[65];
    size_t n = 0;
    if (is_address(url)) return url;
    const unsigned char *bytes = decode(az, url, &n);
    if (!bytes) return NULL;
    az_sha256(bytes, n, hash);
    return az_format_text(az, "sha256:%s", hash);
}

/* "png"; NULL for other bytes than an image's. */
static const char *kind_of(const char *bytes, size_t n)
{
    if (n >= 8 && memcmp(bytes, "\x89PNG\r\n\x1a\n", 8) == 0) return "png";
    if (n >= 3 && memcmp(bytes, "\xFF\xD8\xFF", 3) == 0) return "jpeg";
    if (n >= 6 && (memcmp(bytes, "GIF87a", 6) == 0 || memcmp(bytes, "GIF89a", 6) == 0)) return "gif";
    if (n >= 12 && memcmp(bytes, "RIFF", 4) == 0 && memcmp(bytes + 8, "WEBP", 4) == 0) return "webp";
    return NULL;
}

static const char *url_of_file(az_ctx *az, const char *path)
{
    size_t n = 0;
    const char *bytes = az_read_file(az, path, &n), *kind = bytes ? kind_of(bytes, n) : NULL;
    if (!bytes) return NULL;
    if (!kind) return az_fail(az, AZ_BAD_INPUT, "'%s' is no PNG, JPEG, GIF or WebP image", path);
    if (n > IMAGE_LIMIT) return az_fail(az, AZ_BAD_INPUT, "the image '%s' is larger than %d MiB", path, IMAGE_LIMIT >> 20);
    const char *head = az_format_text(az, "%s%s%s", data_scheme, kind, encoding);
    const size_t begins = head ? strlen(head) : 0, length = BASE64_ENCODE_RAW_LENGTH(n);
    char *url = az_alloc(az, begins + length + 1);
    if (!head || !url) return NULL;
    memcpy(url, head, begins);
    base64_encode_raw(url + begins, n, (const uint8_t *)bytes);
    url[begins + length] = '\0';
    return url;
}

const char *az_image_url(az_ctx *az, const char *reference)
{
    if (!reference || !az_ok(az)) return NULL;
    if (strncmp(reference, "data:", 5) != 0 && !is_address(reference)) return url_of_file(az, reference);
    return az_image_identity(az, reference) ? reference : NULL;
}

/* ---- parts of messages ---- */

const az_part *az_message_parts(const az_message *message, az_part *alone, int *n)
{
    *n = message->parts > 0 ? message->parts : 1;
    *alone = (az_part){.text = message->text};
    return message->parts > 0 ? message->part : alone;
}

bool az_request_has_images(const az_request *request)
{
    for (int i = 0; i < request->messages; i++)
        for (int k = 0; k < request->message[i].parts; k++)
            if (request->message[i].part[k].image) return true;
    return false;
}

const char *az_message_text(az_ctx *az, const az_message *message)
{
    az_bytes all = {.az = az};
    if (message->parts == 0) return message->text;
    for (int k = 0; k < message->parts; k++)
        if (message->part[k].text) az_bytes_add(&all, message->part[k].text, strlen(message->part[k].text));
    return az_bytes_add(&all, "", 1) ? all.data : NULL;
}
