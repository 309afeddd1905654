/* ssm_report.h - what smoothing and learning of state-space models tell and hand over. */
#ifndef ADZE_ESTIMATE_SSM_REPORT_H
#define ADZE_ESTIMATE_SSM_REPORT_H

#include "estimate/estimate_internal.h"
#include "estimate/ssm/ssm_internal.h"

/* One smoothing: the first functional is that of sums or of the score, the second, where `states`, that of the moments. */
typedef struct az_ssm_study {
    const az_ssm_problem *problem;
    az_ssm_how how;
    bool score, states;
    /* results */
    const az_ssm_smoothing *smoothing;
    double seconds;
} az_ssm_study;
bool az_ssm_run_study(az_ctx *az, az_ssm_study *study);
bool az_ssm_report_study(az_ctx *az, const az_ssm_study *study, az_estimate_job *job);
/* A row of the section "methods". */
void az_ssm_report_method(az_ctx *az, const az_ssm_study *study, az_report *report);

bool az_ssm_report_fit(az_ctx *az, const az_ssm_problem *problem, const az_ssm_learning *learning, const az_ssm_fit *fit, double seconds,
                       az_estimate_job *job);
bool az_ssm_report_path_law(az_ctx *az, const az_ssm_problem *problem, const az_ssm_learning *learning, const az_ssm_path_law *law,
                            double seconds, az_estimate_job *job);

#endif
