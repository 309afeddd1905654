/* schedule.c - the learning rate as a function of the step. */
#include "adze/optim.h"

#include <math.h>

double az_learning_rate(const az_schedule *schedule, int64_t step)
{
    const double peak = schedule->peak, floor = schedule->floor;
    if (step < 0) step = 0;
    if (step < schedule->warmup) return peak * (double)(step + 1) / (double)schedule->warmup;
    if (schedule->kind == AZ_CONSTANT) return peak;
    if (step >= schedule->total) return floor;
    const double done = (double)(step - schedule->warmup) / (double)(schedule->total - schedule->warmup); /* [0, 1) */
    if (schedule->kind == AZ_LINEAR) return peak + (floor - peak) * done;
    return floor + (peak - floor) * 0.5 * (1 + cos(3.14159265358979323846 * done));
}
