/* choose.c - a reader's best and worst candidate by a taste that shows in what was read before:
 *
 *     [12] The Long Night, mystery, noir
 *     [7] Harbour Lights, noir
 *     Candidates:
 *     [31] Quiet Rain, romance
 *     [5] Cold Pier, noir, mystery
 *     [8] Old Sea, noir
 *
 * The utility of a candidate is how often its tags (what stands behind the first comma) occur among those of the history; of equal ones the
 * first counts as the better, the last as the worse. The answer "5::31" names the best and the worst with probability q, else any two that
 * differ, each as likely. */
#include "lm/backend/oracle/oracle.h"

#include <string.h>
#include <strings.h>

enum { MOST_LINES = 512, MOST_CANDIDATES = 64 };

typedef struct entry {
    oracle_piece id, tags;
} entry;

/* "[ID] title, tag, tag" */
static bool read_entry(oracle_piece line, entry *e)
{
    const char *const end = line.text + line.length;
    const char *close = line.length > 2 && *line.text == '[' ? memchr(line.text, ']', line.length) : NULL;
    if (!close || close == line.text + 1) return false;
    const char *comma = memchr(close, ',', (size_t)(end - close));
    *e = (entry){.id = oracle_trimmed(line.text + 1, close), .tags = oracle_trimmed(comma ? comma + 1 : end, end)};
    return true;
}

static bool same_tag(oracle_piece a, oracle_piece b)
{
    return a.length == b.length && strncasecmp(a.text, b.text, a.length) == 0;
}

static int64_t occurrences(oracle_piece tag, const entry *history, int n)
{
    int64_t count = 0;
    for (int i = 0; i < n; i++) {
        oracle_piece tags = history[i].tags;
        for (oracle_piece other; oracle_next_item(&tags, &other);) count += same_tag(tag, other);
    }
    return count;
}

static int64_t utility(const entry *candidate, const entry *history, int n)
{
    int64_t sum = 0;
    oracle_piece tags = candidate->tags;
    for (oracle_piece tag; oracle_next_item(&tags, &tag);) sum += occurrences(tag, history, n);
    return sum;
}

static void law_of(const char *text, const double *value, oracle_law *law)
{
    entry *history = az_alloc_array(law->az, MOST_LINES, sizeof *history), candidate[MOST_CANDIDATES];
    int read = 0, n = 0, best = 0, worst = 0;
    int64_t worth[MOST_CANDIDATES];
    bool behind = false;
    oracle_piece line, rest;
    while (history && oracle_next_line(&text, &line)) {
        entry e;
        behind = behind || oracle_labelled(line, "Candidates", &rest);
        if (!read_entry(line, &e)) continue;
        if (behind && n < MOST_CANDIDATES)
            candidate[n++] = e;
        else if (!behind && read < MOST_LINES)
            history[read++] = e;
    }
    if (n < 2) {
        oracle_may_answer(law, "none", 1);
        return;
    }
    for (int i = 0; i < n; i++) {
        worth[i] = utility(&candidate[i], history, read);
        if (worth[i] > worth[best]) best = i;
        if (worth[i] <= worth[worst]) worst = i;
    }
    for (int i = 0; i < n; i++)
        for (int j = 0; j < n; j++) {
            if (i == j) continue;
            const double p = (1 - value[0]) / (n * (n - 1)) + (i == best && j == worst ? value[0] : 0);
            const oracle_piece a = candidate[i].id, b = candidate[j].id;
            oracle_may_answer(law, az_format_text(law->az, "%.*s::%.*s", (int)a.length, a.text, (int)b.length, b.text), p);
        }
}

static int expect(const double *value, az_expectation e[AZ_EXPECTATIONS])
{
    e[0] = (az_expectation){"accuracy", value[0] + (1 - value[0]) / (value[1] * (value[1] - 1))};
    return 1;
}

const oracle oracle_choose = {
    .name = "choose",
    .summary = "\"[ID] title, tag, tag\", then \"Candidates:\" and more of them: \"ID::ID\", the best and the worst",
    .parameter = {{"q", 1, 0, 1, "chance of the best and the worst; else any two"},
                  {"candidates", 10, 2, 64, "their number; for what is expected"}},
    .law = law_of,
    .expect = expect,
};
