/* aops_topics.c - reads a dump of a forum: one topic a line, in a plain layout or in that of the forum's own replies. */
#include "tune/aops.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

/* ---- one topic ---- */

static int64_t whole_number(const json_t *value, int64_t fallback)
{
    if (json_is_integer(value)) return json_integer_value(value);
    if (json_is_real(value)) return (int64_t)json_real_value(value);
    if (!json_is_string(value)) return fallback;
    char *end = NULL;
    const long long n = strtoll(json_string_value(value), &end, 10);
    return *json_string_value(value) && !*end ? n : fallback;
}

static const json_t *either(const json_t *object, const char *a, const char *b)
{
    const json_t *value = json_object_get(object, a);
    return value ? value : json_object_get(object, b);
}

static int by_number(const void *a, const void *b)
{
    const aops_post *x = a, *y = b;
    return (x->number > y->number) - (x->number < y->number);
}

/* Deleted posts, which have no text, are left out. */
static bool read_posts(az_ctx *az, const json_t *posts, aops_topic *topic)
{
    const size_t n = json_array_size(posts);
    topic->post = az_alloc_array(az, n + 1, sizeof *topic->post);
    for (size_t i = 0; topic->post && i < n; i++) {
        const json_t *post = json_array_get(posts, i), *text = either(post, "text", "post_canonical");
        const char *user = json_string_value(json_object_get(post, "username"));
        if (!json_is_string(text) || !*json_string_value(text)) continue;
        topic->post[topic->posts++] = (aops_post){
            .number = whole_number(json_object_get(post, "post_number"), (int64_t)i + 1),
            .time = whole_number(json_object_get(post, "post_time"), AOPS_NO_TIME),
            .user = az_strdup(az, user ? user : ""),
            .text = az_strdup(az, json_string_value(text)),
        };
    }
    if (topic->posts > 1) qsort(topic->post, (size_t)topic->posts, sizeof *topic->post, by_number);
    return az_ok(az) && topic->posts > 0;
}

/* False when the line holds no topic with posts. */
static bool read_topic(az_ctx *az, const json_t *line, aops_topic *topic)
{
    const json_t *inner = json_object_get(json_object_get(line, "response"), "response");
    const json_t *settings = inner ? json_object_get(inner, "new_topic_settings") : line;
    const json_t *id = json_object_get(settings, "topic_id"), *posts = json_object_get(inner ? inner : line, "posts");
    if (json_object_get(line, "error_code") || json_object_get(json_object_get(line, "response"), "error_code")) return false;
    if (!json_is_string(id) && !json_is_integer(id)) return false;
    topic->id = json_is_string(id) ? az_strdup(az, json_string_value(id)) : az_format_text(az, "%lld", (long long)json_integer_value(id));
    topic->crawled = whole_number(either(line, "crawl_time", "crawled"), 0);
    topic->label = -1;
    return topic->id && read_posts(az, posts, topic);
}

/* ---- time ---- */

int64_t aops_month(az_ctx *az, const char *text, int64_t fallback)
{
    int year = 0, month = 0, end = 0;
    if (!*text) return fallback;
    if (sscanf(text, "%4d-%2d%n", &year, &month, &end) == 2 && !text[end] && month >= 1 && month <= 12)
        return 12 * (int64_t)year + month - 1;
    az_fail(az, AZ_BAD_INPUT, "'%s' is no month; write one such as 2024-01", text);
    return -1;
}

int64_t aops_month_of(const aops_topic *topic)
{
    int64_t earliest = AOPS_NO_TIME;
    for (int i = 0; i < topic->posts; i++) {
        const int64_t t = topic->post[i].time;
        if (t != AOPS_NO_TIME && (earliest == AOPS_NO_TIME || t < earliest)) earliest = t;
    }
    struct tm date;
    const time_t seconds = (time_t)earliest;
    if (earliest == AOPS_NO_TIME || !gmtime_r(&seconds, &date)) return -1;
    return 12 * ((int64_t)date.tm_year + 1900) + date.tm_mon;
}

static bool inside(const aops_topic *topic, int64_t from, int64_t until)
{
    const int64_t month = aops_month_of(topic);
    return (from < 0 || month >= from) && (until < 0 || (month >= 0 && month <= until));
}

/* ---- snapshots ---- */

static int by_topic(const void *a, const void *b)
{
    const aops_topic *x = *(aops_topic *const *)a, *y = *(aops_topic *const *)b;
    const int ids = strcmp(x->id, y->id);
    if (ids) return ids;
    if (x->crawled != y->crawled) return x->crawled > y->crawled ? -1 : 1;
    return x < y ? 1 : -1; /* of equally old ones the last of the file */
}

/* Of several snapshots of a topic the newest stays, at the place where it stands. */
static bool keep_newest(az_ctx *az, aops_forum *forum)
{
    aops_topic **sorted = az_alloc_array(az, (size_t)forum->count + 1, sizeof(aops_topic *));
    bool *old = az_alloc_array(az, (size_t)forum->count + 1, sizeof *old);
    if (!sorted || !old) return false;
    for (int64_t i = 0; i < forum->count; i++) sorted[i] = &forum->topic[i];
    qsort(sorted, (size_t)forum->count, sizeof(aops_topic *), by_topic);
    for (int64_t i = 1; i < forum->count; i++) old[sorted[i] - forum->topic] = strcmp(sorted[i]->id, sorted[i - 1]->id) == 0;
    int64_t n = 0;
    for (int64_t i = 0; i < forum->count; i++)
        if (!old[i]) forum->topic[n++] = forum->topic[i];
    forum->snapshots = forum->count - n;
    forum->count = n;
    return true;
}

aops_forum *aops_read(az_ctx *az, const char *path, const aops_options *options)
{
    const int64_t from = aops_month(az, options->from, -1), until = aops_month(az, options->until, -1);
    const az_json_lines *lines = az_ok(az) ? az_json_lines_read(az, path, NULL, options->skip_bad) : NULL;
    aops_forum *forum = az_alloc(az, sizeof *forum);
    if (!lines || !forum) return NULL;
    *forum = (aops_forum){.lines = lines->count, .topic = az_alloc_array(az, (size_t)lines->count, sizeof *forum->topic)};
    for (int64_t i = 0; forum->topic && i < lines->count; i++) {
        aops_topic topic = {0};
        if (!read_topic(az, lines->item[i].object, &topic))
            forum->bad++;
        else if (!inside(&topic, from, until))
            forum->dated_out++;
        else
            forum->topic[forum->count++] = topic;
    }
    if (!az_ok(az) || !keep_newest(az, forum)) return NULL;
    if (forum->count == 0)
        return az_fail(
            az, AZ_BAD_INPUT,
            "'%s' holds no topic with posts; a line is {\"topic_id\", \"posts\": [{\"post_number\", \"username\", \"post_time\", "
            "\"text\"}]}",
            path);
    return forum;
}
