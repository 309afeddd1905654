/* subjects.c - the models that claims are measured on, and their texts. */
#include "claims/subjects.h"
#include "cli/cli.h"

#include <stdlib.h>
#include <string.h>

enum { CALIBRATION_STORIES = 400, TEST_STORIES = 200, CALIBRATION_SEED = 9001, TEST_SEED = 9002 };
/* claims/make-storybook.sh keeps every HELD_OUT-th story from training; BOOK_STORIES of them are about as many tokens as the other tests */
enum { HELD_OUT = 20, BOOK_STORIES = 100 };

static az_documents *stories(az_ctx *az, const az_tales *tales, uint64_t seed, int64_t count)
{
    az_documents *documents = az_alloc(az, sizeof *documents);
    az_document *item = az_alloc_array(az, (size_t)count, sizeof *item);
    if (!documents || !item) return NULL;
    for (int64_t i = 0; i < count; i++) {
        const char *text = az_tales_story(az, tales, seed, (uint64_t)i, NULL);
        if (!text) return NULL;
        item[i] = (az_document){.text = text, .length = strlen(text)};
    }
    *documents = (az_documents){.count = count, .item = item, .separated = true, .path = "tales"};
    return documents;
}

static bool contains(const az_documents *documents, const az_document *one)
{
    for (int64_t i = 0; i < documents->count; i++) {
        const az_document *other = &documents->item[i];
        if (other->length == one->length && memcmp(other->text, one->text, one->length) == 0) return true;
    }
    return false;
}

/* Takes documents out of the test text that are also calibration text, and all beyond the first `most`. */
static void keep_unseen(az_documents *test, const az_documents *calibration, int64_t most)
{
    int64_t kept = 0;
    for (int64_t i = 0; i < test->count && kept < most; i++)
        if (!contains(calibration, &test->item[i])) test->item[kept++] = test->item[i];
    test->count = kept;
}

static bool tales_subject(az_ctx *az, claim_subject *out)
{
    const char *path = cli_model_path(az, "tales");
    const az_tales *tales = az_tales_new(az);
    const az_documents *calibration = stories(az, tales, CALIBRATION_SEED, CALIBRATION_STORIES);
    az_documents *test = stories(az, tales, TEST_SEED, TEST_STORIES);
    *out = (claim_subject){.name = "tales", .lm = az_lm_load(az, path), .calibration = calibration, .test = test};
    if (!out->lm || !test || !calibration) return false;
    keep_unseen(test, calibration, TEST_STORIES);
    return true;
}

/* Calibrated on the first part of TinyStories, tested on its validation part. */
static bool stories260k_subject(az_ctx *az, const char *folder, claim_subject *out)
{
    const az_documents *calibration = az_documents_read(az, az_format_text(az, "%s/text/tinystories/tinystories_sample.txt", folder));
    az_documents *test = az_documents_read(az, az_format_text(az, "%s/text/tinystories/tinystories_more.txt.gz", folder));
    az_lm *lm = az_lm_load(az, az_format_text(az, "%s/models/stories260K/stories260K.gguf", folder));
    *out = (claim_subject){.name = "stories260K", .lm = lm, .calibration = calibration, .test = test};
    if (!lm || !test || !calibration) return false;
    keep_unseen(test, calibration, TEST_STORIES);
    return true;
}

/* Stories for children: calibrated on what storybook learnt from, tested on what it did not see. */
static bool storybook_subject(az_ctx *az, const char *folder, claim_subject *out)
{
    az_documents *all = az_documents_read(az, az_format_text(az, "%s/text/children_stories.txt.gz", folder));
    az_documents *test = all ? az_alloc(az, sizeof *test) : NULL, *calibration = all ? az_alloc(az, sizeof *calibration) : NULL;
    const char *path = cli_model_path(az, "storybook");
    *out = (claim_subject){.name = "storybook", .lm = az_lm_load(az, path), .calibration = calibration, .test = test};
    if (!out->lm || !test || !calibration) return false;
    *test = *calibration = (az_documents){.separated = true, .path = all->path};
    test->item = az_alloc_array(az, (size_t)all->count, sizeof *test->item);
    calibration->item = az_alloc_array(az, CALIBRATION_STORIES, sizeof *calibration->item);
    if (!test->item || !calibration->item) return false;
    for (int64_t i = 0; i < all->count; i++) {
        if (i % HELD_OUT == 0)
            test->item[test->count++] = all->item[i];
        else if (calibration->count < CALIBRATION_STORIES)
            calibration->item[calibration->count++] = all->item[i];
    }
    keep_unseen(test, calibration, BOOK_STORIES);
    return true;
}

int claim_subjects(az_ctx *az, claim_subject subjects[CLAIM_MOST_SUBJECTS])
{
    const char *folder = getenv("ADZE_DATA");
    int n = 0;
    if (!tales_subject(az, &subjects[n++])) return 0;
    if (folder && !stories260k_subject(az, folder, &subjects[n++])) return 0;
    if (folder && !storybook_subject(az, folder, &subjects[n++])) return 0;
    return n;
}
