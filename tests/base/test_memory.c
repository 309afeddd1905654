/* Scopes, arenas, buffers: what is freed when, what is counted, what a limit does. */
#include "adze/base.h"

#include <criterion/criterion.h>
#include <string.h>

static void count_call(void *object)
{
    ++*(int *)object;
}

Test(memory, a_scope_frees_what_it_allocated)
{
    az_ctx *az = az_open(NULL);
    size_t before = az_memory_now(az);
    int calls = 0;
    az_scope_push(az);
    for (int i = 0; i < 100; i++) cr_assert_not_null(az_alloc(az, 5000));
    cr_assert_not_null(az_alloc(az, 10 << 20));
    cr_assert(az_on_leave(az, count_call, &calls));
    cr_assert_geq(az_memory_now(az), before + (10 << 20));
    az_scope_pop(az);
    cr_assert_eq(az_memory_now(az), before);
    cr_assert_eq(calls, 1);
    cr_assert_geq(az_memory_peak(az), before + (10 << 20));
    az_close(az);
}

Test(memory, memory_is_zeroed_aligned_and_disjoint)
{
    az_ctx *az = az_open(NULL);
    unsigned char *previous = NULL;
    for (size_t bytes = 1; bytes < 200000; bytes = bytes * 3 + 1) {
        for (int round = 0; round < 2; round++) {
            az_scope_push(az);
            unsigned char *data = az_alloc(az, bytes);
            cr_assert_eq((uintptr_t)data % 64, 0);
            for (size_t i = 0; i < bytes; i++) cr_assert_eq(data[i], 0);
            memset(data, 0xff, bytes);
            az_scope_pop(az);
        }
        unsigned char *data = az_alloc(az, bytes);
        memset(data, 1, bytes);
        if (previous) cr_assert_eq(previous[0], 1);
        previous = data;
    }
    az_close(az);
}

Test(memory, an_arena_outlives_scopes)
{
    az_ctx *az = az_open(NULL);
    az_arena *arena = az_arena_new(az);
    az_scope_push(az);
    az_arena_enter(az, arena);
    char *kept = az_strdup(az, "kept");
    az_arena_leave(az);
    az_scope_pop(az);
    cr_assert_str_eq(kept, "kept");
    az_arena_free(az, arena);
    az_close(az);
}

Test(memory, buffers_live_while_held)
{
    az_ctx *az = az_open(NULL);
    size_t before = az_memory_now(az);
    az_buffer *buffer = az_buffer_new(az, 100000);
    az_buffer *again = az_buffer_hold(buffer);
    az_buffer_drop(buffer);
    memset(again->data, 1, again->bytes);
    az_buffer_drop(again);
    cr_assert_eq(az_memory_now(az), before);
    az_close(az);
}

Test(memory, the_limit_gives_an_error_that_sticks)
{
    az_ctx *az = az_open(&(az_settings){.memory_limit = 1 << 20});
    cr_assert_null(az_alloc(az, 2 << 20));
    cr_assert_eq(az_status_of(az), AZ_NO_MEMORY);
    az_fail(az, AZ_BAD_INPUT, "second");
    cr_assert_not_null(strstr(az_error(az), "out of memory"));
    az_clear(az);
    cr_assert_null(az_alloc_array(az, SIZE_MAX / 2, 3));
    cr_assert_eq(az_status_of(az), AZ_NO_MEMORY);
    az_clear(az);
    cr_assert_not_null(az_alloc(az, 1000));
    az_close(az);
}

Test(memory, errors_keep_the_first_and_gain_context)
{
    az_ctx *az = az_open(NULL);
    cr_assert_null(az_fail(az, AZ_BAD_INPUT, "no magic number"));
    az_fail_context(az, "reading '%s'", "m.gguf");
    cr_assert_str_eq(az_error(az), "reading 'm.gguf': no magic number");
    az_close(az);
}
