/* Learning rates at the corners of each schedule. */
#include "adze/optim.h"

#include <criterion/criterion.h>
#include <math.h>

Test(schedule, warm_up_rises_to_the_peak_in_equal_steps)
{
    for (az_schedule_kind kind = AZ_CONSTANT; kind <= AZ_COSINE; kind++) {
        const az_schedule s = {.kind = kind, .peak = 1, .floor = 0.1, .warmup = 4, .total = 104};
        for (int step = 0; step < 4; step++) cr_assert_float_eq(az_learning_rate(&s, step), (step + 1) / 4.0, 1e-15);
        cr_assert_float_eq(az_learning_rate(&s, 4), 1, 1e-15);
    }
}

Test(schedule, falls_to_the_floor_at_the_end_and_stays)
{
    const az_schedule linear = {.kind = AZ_LINEAR, .peak = 1, .floor = 0.2, .warmup = 10, .total = 110};
    const az_schedule cosine = {.kind = AZ_COSINE, .peak = 1, .floor = 0.2, .warmup = 10, .total = 110};
    const az_schedule constant = {.kind = AZ_CONSTANT, .peak = 1, .floor = 0.2, .warmup = 10, .total = 110};
    cr_assert_float_eq(az_learning_rate(&linear, 60), 0.6, 1e-15);
    cr_assert_float_eq(az_learning_rate(&cosine, 60), 0.6, 1e-15);
    cr_assert_float_eq(az_learning_rate(&linear, 35), 0.8, 1e-15);
    cr_assert_float_eq(az_learning_rate(&cosine, 35), 0.2 + 0.4 * (1 + sqrt(0.5)), 1e-15);
    for (int64_t step = 110; step < 1000; step += 400) {
        cr_assert_eq(az_learning_rate(&linear, step), 0.2);
        cr_assert_eq(az_learning_rate(&cosine, step), 0.2);
        cr_assert_eq(az_learning_rate(&constant, step), 1);
    }
}

Test(schedule, degenerate_lengths)
{
    const az_schedule none = {.kind = AZ_COSINE, .peak = 3, .floor = 1, .warmup = 0, .total = 0};
    cr_assert_eq(az_learning_rate(&none, 0), 1);
    const az_schedule no_warmup = {.kind = AZ_COSINE, .peak = 3, .floor = 1, .warmup = 0, .total = 2};
    cr_assert_eq(az_learning_rate(&no_warmup, 0), 3);
    cr_assert_eq(az_learning_rate(&no_warmup, -5), 3);
    const az_schedule only_warmup = {.kind = AZ_LINEAR, .peak = 3, .floor = 1, .warmup = 3, .total = 3};
    cr_assert_eq(az_learning_rate(&only_warmup, 2), 3);
    cr_assert_eq(az_learning_rate(&only_warmup, 3), 1);
}
