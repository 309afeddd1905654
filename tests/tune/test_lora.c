/* LoRA as a method, and the loop under the family: fits what it can, goes on after a kill, stops early, needs little memory. */
#include "adze/grad.h"
#include "support/folder.h"
#include "support/small_lm.h"
#include "support/small_tune.h"

#include <criterion/criterion.h>
#include <math.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static const char *const everywhere = "rank=4,targets=all-linear";

static az_adapter *tuned(az_ctx *az, az_lm *lm, const char *options, const char *settings)
{
    az_adapter *adapter = small_tune(az, lm, "lora", options, settings);
    cr_assert_not_null(adapter, "%s", az_error(az));
    return adapter;
}

static void expect_same_bits(az_ctx *az, az_adapter *a, az_adapter *b)
{
    az_lm_parameter *p, *q;
    const int n = az_adapter_parameters(az, a, &p);
    cr_assert_eq(az_adapter_parameters(az, b, &q), n);
    for (int i = 0; i < n; i++) {
        const az_tensor *x = *p[i].slot, *y = *q[i].slot;
        cr_assert_arr_eq(x->data, y->data, (size_t)az_count(x) * sizeof(float), "%s", p[i].name);
    }
}

Test(lora, leaves_the_model_as_it_was)
{
    az_ctx *az = az_open(NULL);
    az_lm *lm = small_lm(az), *fresh = small_lm(az);
    const az_adapter *adapter = tuned(az, lm, "rank=4,dora,rslora,dropout=0.1,bias=all", "steps=4,batch=4,lr=1e-2");
    cr_assert_eq(small_difference(az, lm, fresh), 0);
    cr_assert_eq(adapter->layers, 4, "q and v of two blocks");
    az_close(az);
}

Test(lora, accumulated_passes_equal_one_large_pass)
{
    az_ctx *az = az_open(NULL);
    az_lm *lm = small_lm(az);
    az_adapter *one = tuned(az, lm, everywhere, "steps=3,batch=6,lr=1e-3"),
               *two = tuned(az, lm, everywhere, "steps=3,batch=2,accumulate=3,lr=1e-3");
    az_lm_parameter *p, *q;
    const int n = az_adapter_parameters(az, one, &p);
    az_adapter_parameters(az, two, &q);
    for (int i = 0; i < n; i++)
        for (int64_t j = 0; j < az_count(*p[i].slot); j++)
            cr_assert_float_eq(az_item(*p[i].slot, j), az_item(*q[i].slot, j), 2e-4, "%s", p[i].name);
    az_close(az);
}

Test(lora, recomputed_activations_change_nothing)
{
    az_ctx *az = az_open(NULL);
    az_lm *lm = small_lm(az);
    const char *options = "rank=4,targets=all-linear,dropout=0.2,dora";
    expect_same_bits(az, tuned(az, lm, options, "steps=4,batch=4,lr=1e-2"), tuned(az, lm, options, "steps=4,batch=4,lr=1e-2,checkpoint"));
    az_close(az);
}

static ino_t identity(const char *path)
{
    struct stat about;
    return stat(path, &about) == 0 ? about.st_ino : 0;
}

/* Killed some time after it has written a state, twice. */
Test(lora, a_run_that_was_killed_goes_on_bit_for_bit)
{
    az_ctx *az = az_open(&(az_settings){.threads = 1});
    const char *folder = test_folder(az), *state = test_path(az, folder, "state.gguf");
    const char *options = "rank=2,dropout=0.1", *plan = "steps=60,batch=2,lr=5e-3,save_every=2";
    const char *with_state = az_format_text(az, "%s,resume=%s", plan, folder);
    for (int kill_number = 0; kill_number < 2; kill_number++) {
        const ino_t before = identity(state);
        const pid_t child = fork();
        if (child == 0) {
            az_ctx *own = az_open(&(az_settings){.threads = 1});
            small_tune(own, small_lm(own), "lora", options, with_state);
            _exit(7);
        }
        int status;
        while (identity(state) == before && waitpid(child, &status, WNOHANG) == 0) usleep(100);
        usleep(900);
        kill(child, SIGKILL);
        waitpid(child, &status, 0);
    }
    az_lm *lm = small_lm(az);
    expect_same_bits(az, tuned(az, lm, options, plan), tuned(az, lm, options, with_state));
    cr_assert_null(small_tune(az, lm, "lora", "rank=3", with_state));
    cr_assert(strstr(az_error(az), "other settings"), "%s", az_error(az));
    az_close(az);
}

/* ---- early stopping ---- */

typedef struct pretended {
    double x[8];
    int at;
} pretended;

static bool pretend_gradient(az_ctx *az, az_lm_fit *fit, az_tensor **gradient, double *loss)
{
    gradient[0] = az_full(az, AZ_F32, 1, fit->value[0]->shape, -1); /* the value grows by lr each step */
    *loss = 1;
    return gradient[0] != NULL;
}

static bool pretend_validate(az_ctx *az, az_lm_fit *fit, double *loss)
{
    pretended *p = fit->plan->user;
    (void)az;
    *loss = p->x[p->at++];
    return true;
}

Test(lora, early_stop_goes_back_to_the_best)
{
    az_ctx *az = az_open(NULL);
    az_tensor *value = az_zeros(az, AZ_F32, 1, (int64_t[]){2});
    const az_lm_parameter parameter = {.name = "x", .slot = &value};
    const az_lm_train_settings settings = {.steps = 8, .accumulate = 1, .lr = 1, .optimizer = AZ_SGD, .schedule = AZ_CONSTANT};
    pretended p = {.x = {5, 3, 2, 2.5, 2.4, 1, 1, 1}};
    const az_lm_fit_plan plan = {.lm = small_lm(az),
                                 .parameter = &parameter,
                                 .n = 1,
                                 .settings = &settings,
                                 .task = "training",
                                 .identity = "x",
                                 .validate_every = 1,
                                 .patience = 2,
                                 .user = &p,
                                 .gradient = pretend_gradient,
                                 .validate = pretend_validate};
    az_report *report = az_report_new(az, NULL);
    cr_assert(az_lm_fit_run(az, &plan, report), "%s", az_error(az));
    cr_assert_eq(az_report_value(report, "training", "steps"), 5);
    cr_assert_float_eq(az_item(value, 0), 3, 1e-6, "as after the third step");
    cr_assert_eq(az_report_value(report, "training", "best_valid_loss"), 2);
    az_close(az);
}

/* ---- LoRA of full rank fits any change: least squares is the oracle ---- */

Test(lora, of_full_rank_reaches_least_squares)
{
    enum { N = 40, IN = 6, OUT = 4 };
    az_ctx *az = az_open(NULL);
    az_tensor *w = az_randn(az, AZ_F32, 2, (int64_t[]){OUT, IN}, 1, 1, 1), *x = az_randn(az, AZ_F32, 2, (int64_t[]){N, IN}, 1, 1, 2);
    az_tensor *other = az_randn(az, AZ_F32, 2, (int64_t[]){OUT, IN}, 1, 1, 3);
    const az_tensor *y = az_matmul_nt(az, x, other); /* an exact fit exists: the residual of least squares is zero */
    az_tensor *a = az_randn(az, AZ_F32, 2, (int64_t[]){OUT, IN}, 0.4, 1, 4), *b = az_zeros(az, AZ_F32, 2, (int64_t[]){OUT, OUT});
    az_tensor *both[2] = {a, b};
    az_optimizer *adam =
        az_optimizer_new(az, &(az_optimizer_options){.kind = AZ_ADAMW, .beta1 = 0.9, .beta2 = 0.99, .eps = 1e-8}, both, 2, NULL);
    double loss = 1;
    for (int step = 0; step < 1500; step++) {
        az_scope_push(az);
        az_tape_open(az);
        az_tensor *wa = az_watch(az, a), *wb = az_watch(az, b);
        const az_tensor *p = az_add(az, az_matmul_nt(az, x, w), az_matmul_nt(az, az_matmul_nt(az, x, wa), wb));
        const az_tensor *l = az_mean(az, az_square(az, az_sub(az, p, y)), AZ_ALL_AXES, false);
        az_tensor *g[2];
        cr_assert(az_grad(az, l, NULL, (const az_tensor *[]){wa, wb}, 2, g, 0));
        loss = az_to_double(l);
        az_tape_close(az);
        az_optimizer_step(az, adam, g, 0.03 * (step < 1000 ? 1 : 0.1));
        az_scope_pop(az);
    }
    cr_assert_lt(loss, 1e-5);
    az_close(az);
}

/* ---- memory ---- */

/* The most memory held in two steps, with the bytes of the model's file, which is mapped. */
static size_t peak_of(const char *format, const char *method, const char *options)
{
    az_ctx *az = az_open(NULL);
    const az_lm *small = small_lm(az);
    const az_lm_config config = {
        .vocabulary = az_vocabulary(small->tokenizer), .width = 256, .blocks = 4, .heads = 4, .hidden = 768, .context = 64, .tied = true};
    const char *path = test_path(az, test_folder(az), "m.gguf");
    cr_assert(az_lm_save(az, az_lm_new(az, "llama", &config, small->tokenizer, 1), path, az_format_by_name(format)), "%s", az_error(az));
    az_ctx *own = az_open(NULL);
    az_lm *lm = az_lm_load(own, path);
    small_tune(own, lm, method, options, "steps=2,batch=4,lr=1e-3");
    cr_assert(az_ok(own), "%s", az_error(own));
    const size_t peak = az_memory_peak(own) + (strcmp(format, "f32") == 0 ? 0 : az_lm_bytes(lm)); /* full tuning has its own f32 copy */
    az_close(own);
    az_close(az);
    return peak;
}

/* All memory that is held: weights, gradients, moments, activations. */
Test(lora, beside_q4_0_needs_less_than_half_of_full_tuning)
{
    const size_t lora = peak_of("q4_0", "lora", "rank=8,targets=all-linear"), full = peak_of("f32", "full", "");
    cr_assert_lt(2 * lora, full, "%zu of %zu bytes", lora, full);
}

/* ---- bad input ---- */

Test(lora, says_what_is_wrong)
{
    static const struct {
        const char *options, *settings, *word;
    } wrong[] = {{"rank=0", "steps=1", "rank"},
                 {"targets=nothing", "steps=1", "q_proj"},
                 {"targets=/[/", "steps=1", "regular expression"},
                 {"ranks=q_proj", "steps=1", "name=number"},
                 {"save=nothing", "steps=1", "trained whole"},
                 {"", "steps=1,length=3", "no example"}};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        az_ctx *az = az_open(NULL);
        cr_assert_null(small_tune(az, small_lm(az), "lora", wrong[i].options, wrong[i].settings));
        cr_assert(strstr(az_error(az), wrong[i].word), "%s: %s", wrong[i].options, az_error(az));
        az_close(az);
    }
}
