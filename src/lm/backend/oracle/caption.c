/* caption.c - captions of scenes that are told in words, with demonstrations:
 *
 *     Scene: dog, frisbee, park
 *     Objects: dog, frisbee                      (perhaps; the list comes first then)
 *     Caption: a dog and a frisbee
 *     Scene: cat, sofa
 *     Caption:
 *
 * The last scene is the question. Each of its objects is mentioned with probability `keep`; each object that the N demonstrations' captions
 * mention and the scene has not is added with probability hallucinate (1 - exp(-N / 8)), times `list` when the last line asks for the
 * objects first. */
#include "lm/backend/oracle/oracle.h"

#include <math.h>
#include <string.h>
#include <strings.h>

enum { MOST_OBJECTS = 256, KEEP = 0, HALLUCINATE = 1, LIST = 2, SHOTS = 3, FIRST = 4 };

typedef struct objects {
    oracle_piece item[MOST_OBJECTS];
    int n;
} objects;

static bool has(const objects *o, oracle_piece item)
{
    for (int i = 0; i < o->n; i++)
        if (o->item[i].length == item.length && strncasecmp(o->item[i].text, item.text, item.length) == 0) return true;
    return false;
}

static void add_list(objects *o, oracle_piece list)
{
    for (oracle_piece item; oracle_next_item(&list, &item);)
        if (!has(o, item) && o->n < MOST_OBJECTS) o->item[o->n++] = item;
}

typedef struct question {
    objects scene, shown; /* of the question; of the demonstrations' captions */
    int shots;
    bool list_first;
} question;

static void read_question(const char *text, question *q)
{
    oracle_piece line, rest, scene = {0};
    bool open = false; /* a scene without a caption */
    while (oracle_next_line(&text, &line)) {
        if (oracle_labelled(line, "Scene", &rest)) scene = rest, open = true, q->list_first = false;
        if (oracle_labelled(line, "Objects", &rest)) q->list_first = open && !rest.length;
        if (!oracle_labelled(line, "Caption", &rest) || !rest.length) continue;
        add_list(&q->shown, rest);
        q->shots += open;
        open = false;
    }
    if (open) add_list(&q->scene, scene);
}

static double added_with(const double *value, double shots, bool list_first)
{
    return value[HALLUCINATE] * (1 - exp(-shots / 8)) * (list_first ? value[LIST] : 1);
}

static const char *add(az_ctx *az, const char *text, oracle_piece item)
{
    return az_format_text(az, "%s%s%.*s", text ? text : "", text && *text ? ", " : "", (int)item.length, item.text);
}

static const char *draw(az_ctx *az, const char *text, const double *value, az_rng *rng)
{
    question *q = az_alloc(az, sizeof *q);
    if (!q) return NULL;
    *q = (question){0};
    read_question(text, q);
    const double extra = added_with(value, q->shots, q->list_first);
    const char *list = "";
    for (int i = 0; i < q->scene.n; i++)
        if (az_uniform(rng) < value[KEEP]) list = add(az, list, q->scene.item[i]);
    for (int i = 0; i < q->shown.n; i++) {
        const bool drawn = az_uniform(rng) < extra; /* whether or not it is needed: other objects' draws stay */
        if (drawn && !has(&q->scene, q->shown.item[i])) list = add(az, list, q->shown.item[i]);
    }
    const char *caption = list && *list ? list : "nothing";
    return q->list_first ? az_format_text(az, "%s\nCaption: %s", caption, caption) : caption;
}

static int expect(const double *value, az_expectation e[AZ_EXPECTATIONS])
{
    e[0] = (az_expectation){"mentioned", value[KEEP]};
    e[1] = (az_expectation){"added", added_with(value, value[SHOTS], value[FIRST] > 0)};
    return 2;
}

const oracle oracle_caption = {
    .name = "caption",
    .summary = "\"Scene: dog, park\" and \"Caption: ...\", perhaps \"Objects: ...\" between; the last scene's is wanted",
    .parameter = {{"keep", 0.7, 0, 1, "chance that an object of the scene is mentioned"},
                  {"hallucinate", 0.3, 0, 1, "chance of an object of the demonstrations' captions, when there are very many"},
                  {"list", 0.4, 0, 1, "factor of that when the objects are listed first"},
                  {"shots", 0, 0, 1e6, "demonstrations; for what is expected"},
                  {"first", 0, 0, 1, "1 when the objects are listed first; for what is expected"}},
    .draw = draw,
    .expect = expect,
};
