/* Training: it learns, it goes on from its state bit for bit, and no number depends on the threads. */
#include "adze/lm.h"
#include "support/folder.h"
#include "support/tiny_lm.h"

#include <criterion/criterion.h>
#include <math.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static const az_documents *rhymes(void)
{
    static az_document item[] = {{"one two three four five, once I caught a fish alive.", 51},
                                 {"six seven eight nine ten, then I let it go again.", 49},
                                 {"why did you let it go? because it bit my finger so.", 51}};
    static const az_documents documents = {.count = 3, .item = item, .separated = true};
    return &documents;
}

static az_lm *small(az_ctx *az)
{
    az_tokenizer *tokenizer = az_tokenizer_train(az, rhymes(), 280);
    const az_lm_config config = {
        .vocabulary = 280, .width = 32, .blocks = 2, .heads = 4, .kv_heads = 2, .hidden = 64, .context = 64, .tied = true};
    return az_lm_new(az, "llama", &config, tokenizer, 1);
}

static az_lm_train_settings settings_of(az_ctx *az, const char *text)
{
    az_lm_train_settings settings = {0};
    cr_assert(az_options_parse(az, az_lm_train_options, "train", text, &settings), "%s", az_error(az));
    return settings;
}

static const char plan[] = "steps=8,batch=3,length=24,lr=3e-3,save_every=3,seed=5";

static void assert_same_bits(az_ctx *az, az_lm *a, az_ctx *bz, az_lm *b)
{
    az_lm_parameter *p, *q;
    const int n = az_lm_parameters(az, a, &p);
    cr_assert_eq(az_lm_parameters(bz, b, &q), n);
    for (int i = 0; i < n; i++) {
        const az_tensor *x = *p[i].slot, *y = *q[i].slot;
        cr_assert_arr_eq(x->data, y->data, (size_t)az_count(x) * az_dtype_size(x->dtype), "%s", p[i].name);
    }
}

Test(train, a_repeated_text_is_learnt_by_heart)
{
    az_ctx *az = az_open(NULL);
    az_lm *lm = small(az);
    cr_assert_not_null(lm, "%s", az_error(az));
    const az_lm_train_settings settings = settings_of(az, "steps=100,batch=4,length=32,lr=1e-2,weight_decay=0");
    az_report *report = az_report_new(az, "training");
    cr_assert(az_lm_train(az, lm, rhymes(), &settings, report), "%s", az_error(az));
    cr_assert_eq(az_report_value(report, "training", "steps"), 100);
    cr_assert_eq(az_report_value(report, "training", "tokens"), 100 * 4 * 32);
    const double loss = az_report_value(report, "training", "loss"); /* log 280 = 5.6 at the beginning */
    cr_assert_lt(loss, 1, "%g nats", loss);
    az_close(az);
}

Test(train, one_and_two_threads_make_the_same_model)
{
    az_ctx *az[2];
    az_lm *lm[2];
    for (int t = 0; t < 2; t++) {
        az[t] = az_open(&(az_settings){.threads = t + 1});
        lm[t] = small(az[t]);
        const az_lm_train_settings settings = settings_of(az[t], plan);
        cr_assert(az_lm_train(az[t], lm[t], rhymes(), &settings, NULL), "%s", az_error(az[t]));
    }
    assert_same_bits(az[0], lm[0], az[1], lm[1]);
    az_close(az[0]);
    az_close(az[1]);
}

Test(train, activations_computed_twice_make_the_same_model)
{
    az_ctx *az = az_open(NULL);
    az_lm *plain = small(az), *twice = small(az);
    az_lm_train_settings settings = settings_of(az, plan);
    cr_assert(az_lm_train(az, plain, rhymes(), &settings, NULL));
    settings.checkpoint = true;
    cr_assert(az_lm_train(az, twice, rhymes(), &settings, NULL), "%s", az_error(az));
    assert_same_bits(az, plain, az, twice);
    az_close(az);
}

/* Two passes of three windows see the windows of one pass of six: equal up to the rounding of sums. */
Test(train, accumulated_passes_equal_one_large_pass)
{
    az_ctx *az = az_open(NULL);
    az_lm *one = small(az), *two = small(az);
    az_lm_make_trainable(az, one, AZ_F64);
    az_lm_make_trainable(az, two, AZ_F64);
    const az_lm_train_settings whole = settings_of(az, "steps=3,batch=6,length=24"),
                               halves = settings_of(az, "steps=3,batch=3,accumulate=2,length=24");
    cr_assert(az_lm_train(az, one, rhymes(), &whole, NULL), "%s", az_error(az));
    cr_assert(az_lm_train(az, two, rhymes(), &halves, NULL), "%s", az_error(az));
    az_lm_parameter *p, *q;
    const int n = az_lm_parameters(az, one, &p);
    az_lm_parameters(az, two, &q);
    for (int i = 0; i < n; i++)
        for (int64_t j = 0; j < az_count(*p[i].slot); j++)
            cr_assert_float_eq(az_item(*p[i].slot, j), az_item(*q[i].slot, j), 1e-6, "%s", p[i].name);
    az_close(az);
}

Test(train, a_copy_of_the_model_stays_as_it_was)
{
    az_ctx *az = az_open(NULL);
    az_lm *lm = small(az), *copy = az_lm_copy(az, lm), *fresh = small(az);
    const az_lm_train_settings settings = settings_of(az, plan);
    cr_assert(az_lm_train(az, lm, rhymes(), &settings, NULL));
    assert_same_bits(az, copy, az, fresh);
    az_close(az);
}

/* ---- going on ---- */

/* Which file it is now: it changes each time the state is written anew. 0 while there is none. */
static ino_t identity(const char *path)
{
    struct stat about;
    return stat(path, &about) == 0 ? about.st_ino : 0;
}

/* Runs the plan in a process of its own and kills it some microseconds after it has written a state. */
static void run_and_kill(const char *text, const char *folder, unsigned microseconds)
{
    char state[4096];
    snprintf(state, sizeof state, "%s/state.gguf", folder);
    const ino_t before = identity(state);
    const pid_t child = fork();
    if (child == 0) {
        az_ctx *az = az_open(&(az_settings){.threads = 1});
        az_lm_train_settings settings = settings_of(az, text);
        settings.resume = folder;
        az_lm_train(az, small(az), rhymes(), &settings, NULL);
        _exit(7);
    }
    int status = 0;
    pid_t ended = 0;
    while (ended == 0 && identity(state) == before) {
        usleep(50);
        ended = waitpid(child, &status, WNOHANG);
    }
    cr_assert_eq(ended, 0, "the run ended by itself, status %d", status);
    usleep(microseconds);
    kill(child, SIGKILL);
    waitpid(child, &status, 0);
    cr_assert(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL, "status %d", status);
}

Test(train, a_run_that_was_killed_goes_on_bit_for_bit)
{
    static const char text[] = "steps=2000,batch=1,length=24,save_every=2";
    az_ctx *az = az_open(&(az_settings){.threads = 1});
    const char *folder = test_folder(az);
    for (int kills = 1; kills <= 3; kills++) run_and_kill(text, folder, 700 * (unsigned)kills + 123);
    az_lm *uninterrupted = small(az), *resumed = small(az);
    az_lm_train_settings settings = settings_of(az, text);
    cr_assert(az_lm_train(az, uninterrupted, rhymes(), &settings, NULL));
    settings.resume = folder;
    settings.save_every = 1000000;
    cr_assert(az_lm_train(az, resumed, rhymes(), &settings, NULL), "%s", az_error(az));
    assert_same_bits(az, uninterrupted, az, resumed);
    az_close(az);
}

/* Ctrl-C at the first event. */
static void interrupt(const az_progress_event *event, void *user)
{
    int *times = user;
    if (strcmp(event->task, "training") == 0 && (*times)++ == 0) raise(SIGINT);
}

Test(train, an_interrupted_run_keeps_its_last_whole_step)
{
    az_catch_interrupts();
    int times = 0;
    az_ctx *az = az_open(&(az_settings){.progress = interrupt, .user = &times});
    az_lm_train_settings settings = settings_of(az, "steps=100000,batch=1,length=24,save_every=100000");
    settings.resume = test_folder(az);
    cr_assert_not(az_lm_train(az, small(az), rhymes(), &settings, NULL));
    cr_assert_eq(az_status_of(az), AZ_INTERRUPTED);
    cr_assert_eq(access(test_path(az, settings.resume, "state.gguf"), F_OK), 0);
    az_close(az);
}

Test(train, a_state_of_another_run_is_refused)
{
    az_ctx *az = az_open(NULL);
    az_lm_train_settings settings = settings_of(az, plan);
    settings.resume = test_folder(az);
    cr_assert(az_lm_train(az, small(az), rhymes(), &settings, NULL), "%s", az_error(az));
    settings.lr = 1e-4;
    cr_assert_not(az_lm_train(az, small(az), rhymes(), &settings, NULL));
    cr_assert_eq(az_status_of(az), AZ_BAD_INPUT);
    cr_assert(strstr(az_error(az), "other settings"), "%s", az_error(az));
    az_close(az);
}

/* A finished run's state gives the finished model without another step. */
Test(train, a_finished_run_has_nothing_left_to_do)
{
    az_ctx *az = az_open(NULL);
    az_lm *first = small(az), *again = small(az);
    az_lm_train_settings settings = settings_of(az, plan);
    settings.resume = test_folder(az);
    az_report *report = az_report_new(az, "training");
    cr_assert(az_lm_train(az, first, rhymes(), &settings, NULL));
    cr_assert(az_lm_train(az, again, rhymes(), &settings, report), "%s", az_error(az));
    assert_same_bits(az, first, az, again);
    cr_assert_eq(az_report_value(report, "training", "steps"), 8);
    az_close(az);
}

Test(train, a_damaged_state_is_an_error)
{
    az_ctx *az = az_open(NULL);
    az_lm_train_settings settings = settings_of(az, plan);
    settings.resume = test_folder(az);
    const char *path = test_path(az, settings.resume, "state.gguf");
    cr_assert(az_lm_train(az, small(az), rhymes(), &settings, NULL));
    size_t length;
    az_read_file(az, path, &length);
    for (int part = 1; part < 8; part++) {
        cr_assert_eq(truncate(path, (off_t)(length * (size_t)(8 - part) / 8)), 0);
        cr_assert_not(az_lm_train(az, small(az), rhymes(), &settings, NULL));
        cr_assert(strstr(az_error(az), path), "%s", az_error(az));
        az_clear(az);
    }
    az_close(az);
}

Test(train, steady_steps_take_no_memory_from_the_system)
{
    az_ctx *az = az_open(NULL);
    az_lm *lm = small(az);
    const az_lm_train_settings few = settings_of(az, "steps=3,batch=3,length=24"), many = settings_of(az, "steps=16,batch=3,length=24");
    az_lm_train(az, az_lm_copy(az, lm), rhymes(), &few, NULL);
    az_memory_reset_peak(az);
    az_lm_train(az, az_lm_copy(az, lm), rhymes(), &few, NULL);
    const size_t short_peak = az_memory_peak(az);
    az_memory_reset_peak(az);
    az_lm_train(az, az_lm_copy(az, lm), rhymes(), &many, NULL);
    cr_assert_leq(az_memory_peak(az), short_peak + (256 << 10));
    az_close(az);
}

Test(train, a_text_that_is_too_short_is_an_error)
{
    az_ctx *az = az_open(NULL);
    const az_documents none = {.separated = true};
    const az_lm_train_settings settings = settings_of(az, plan);
    cr_assert_not(az_lm_train(az, small(az), &none, &settings, NULL));
    cr_assert_eq(az_status_of(az), AZ_BAD_INPUT);
    az_close(az);
}
