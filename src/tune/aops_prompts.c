/* aops_prompts.c - what the models are asked about a topic, and what is read from their replies. Replies are parsed as identifiers and
 * texts, never run: what a forum's users wrote may try to give orders. */
#include "tune/aops.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

/* ---- asking ---- */

static const aops_post *top_post(const aops_topic *topic)
{
    return &topic->post[0];
}

static az_messages *fill(az_ctx *az, const char *template, json_t *variables)
{
    const char *text = json_dumps(variables, JSON_COMPACT);
    az_messages *messages = text ? az_template_fill_again(az, template, text) : NULL;
    free((void *)text);
    json_decref(variables);
    return messages;
}

az_messages *aops_classify_prompt(az_ctx *az, const char *template, const aops_topic *topic)
{
    return fill(az, template, json_pack("{s:s}", "post", top_post(topic)->text));
}

/* "Post 3 by user cat: text" and a line "####", for each post. */
static char *thread_text(az_ctx *az, const aops_topic *topic)
{
    char *text = NULL;
    size_t size = 0;
    FILE *out = open_memstream(&text, &size);
    if (!out) return NULL;
    for (int i = 0; i < topic->posts; i++)
        fprintf(out, "Post %lld by user %s: %s\n####\n", (long long)topic->post[i].number, topic->post[i].user, topic->post[i].text);
    fclose(out);
    char *copy = az_strdup(az, text);
    free(text);
    return copy;
}

az_messages *aops_extract_prompt(az_ctx *az, const char *template, const aops_topic *topic)
{
    const char *thread = thread_text(az, topic);
    return thread ? fill(az, template, json_pack("{s:s}", "thread", thread)) : NULL;
}

az_messages *aops_question_prompt(az_ctx *az, const char *template, const aops_topic *topic)
{
    const char *longest = "";
    for (int i = 0; i < topic->solutions; i++) {
        const char *text = topic->post[topic->solution[i]].text;
        if (strlen(text) > strlen(longest)) longest = text;
    }
    return fill(az, template, json_pack("{s:s, s:s}", "post", top_post(topic)->text, "solution", longest));
}

az_messages *aops_answer_prompt(az_ctx *az, const char *template, const aops_topic *topic, int solution)
{
    const char *text = topic->post[topic->solution[solution]].text;
    return fill(az, template, json_pack("{s:s, s:s}", "question", topic->question, "solution", text));
}

/* ---- reading ---- */

/* The digits of the first \boxed{digits}. */
static int boxed_digits(const char *reply)
{
    for (const char *at = reply; (at = strstr(at, "\\boxed{")); at++) {
        const char *digits = at + 7;
        const size_t n = strspn(digits, "0123456789");
        if (n > 0 && digits[n] == '}') return n == 1 ? *digits - '0' : -1;
    }
    return -1;
}

int aops_read_label(az_ctx *az, const char *reply)
{
    if (!reply[strspn(reply, " \t\r\n")]) return 0;
    int label = boxed_digits(reply);
    const char *block = label < 0 ? az_find_fence(az, reply, "output") : NULL;
    if (block && *(block += strspn(block, " \t\r\n")) && !block[1 + strspn(block + 1, " \t\r\n")]) label = *block - '0';
    return label == 0 || label == 1 ? label : -1;
}

/* What a post says itself: without [quote]...[/quote]. */
static size_t own_length(const char *text)
{
    size_t length = 0;
    while (*text) {
        const char *close = strncasecmp(text, "[quote", 6) == 0 ? strcasestr(text, "[/quote]") : NULL;
        if (close) {
            text = close + 8;
            continue;
        }
        length += !strchr(" \t\r\n", *text);
        text++;
    }
    return length;
}

/* The named post, if it is there, is its author's, and says something itself; -1 otherwise. */
static int find_post(const aops_topic *topic, const json_t *answer)
{
    enum { LEAST = 8 }; /* bytes that are not blank */
    const json_t *number = json_object_get(answer, "post_number");
    const char *user = json_string_value(json_object_get(answer, "user"));
    for (int i = 0; i < topic->posts && json_is_integer(number) && user; i++) {
        const aops_post *post = &topic->post[i];
        if (post->number != json_integer_value(number)) continue;
        const bool quotes_only = own_length(post->text) < LEAST && strcasestr(post->text, "[quote");
        return strcmp(post->user, user) == 0 && !quotes_only ? i : -1;
    }
    return -1;
}

/* The json block, with line ends and tabs inside of strings made blanks at the second attempt. */
static json_t *answers_of(az_ctx *az, const char *reply)
{
    char *block = az_find_fence(az, reply, "json");
    if (!block) return NULL;
    json_t *value = json_loads(block, 0, NULL);
    for (char *c = block; !value && *c; c++)
        if (*c == '\n' || *c == '\t' || *c == '\r') *c = ' ';
    return value ? value : json_loads(block, 0, NULL);
}

int aops_read_solutions(az_ctx *az, const aops_topic *topic, const char *reply, int *solution, int most)
{
    json_t *value = answers_of(az, reply);
    const json_t *list = json_object_get(value, "answers");
    int n = json_is_array(list) ? 0 : -1;
    for (size_t i = 0; n >= 0 && i < json_array_size(list) && n < most; i++) {
        const int post = find_post(topic, json_array_get(list, i));
        bool known = post <= 0; /* the first post is the question */
        for (int j = 0; j < n; j++) known = known || solution[j] == post;
        if (!known) solution[n++] = post;
    }
    json_decref(value);
    return n;
}
