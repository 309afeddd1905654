/* Calls and scores against labels: the ROC, its best threshold, precision and recall. */
#include "adze/data.h"
#include "claims/splitmix.h"

#include <criterion/criterion.h>
#include <math.h>

Test(scores, the_curve_and_its_best_threshold)
{
    const double score[] = {0.1, 0.4, 0.35, 0.8, 0.8, 0.2};
    const bool positive[] = {false, false, true, true, false, true};
    double x[7], y[7], t[7];
    cr_assert_eq(az_roc(score, positive, 6, x, y, t), 6);
    const double want_x[] = {0, 1.0 / 3, 2.0 / 3, 2.0 / 3, 2.0 / 3, 1}, want_y[] = {0, 1.0 / 3, 1.0 / 3, 2.0 / 3, 1, 1};
    double area = 0;
    for (int i = 0; i < 6; i++) {
        cr_assert_float_eq(x[i], want_x[i], 1e-15);
        cr_assert_float_eq(y[i], want_y[i], 1e-15);
        if (i > 0) area += (x[i] - x[i - 1]) * (y[i] + y[i - 1]) / 2;
    }
    cr_assert(isinf(t[0]) && t[5] == 0.1);
    cr_assert_float_eq(area, az_auroc(score, positive, 6), 1e-15);
    cr_assert_eq(az_roc_threshold(score, positive, 6), 0.2);
    cr_assert(isinf(az_roc_threshold((double[]){1, 1}, (bool[]){true, false}, 2)));
}

Test(scores, calls_are_counted_by_class)
{
    const int32_t label[] = {0, 0, 1, 1, 1}, called[] = {0, 1, 1, 1, 0};
    az_call_score s = az_score_calls(label, called, 5, 2);
    cr_assert_float_eq(s.accuracy, 0.6, 1e-15);
    cr_assert_float_eq(s.precision, 2.0 / 3, 1e-15);
    cr_assert_float_eq(s.recall, 2.0 / 3, 1e-15);
    cr_assert_float_eq(s.f, 2.0 / 3, 1e-15);
    const int32_t three[] = {0, 1, 2, 2}, says[] = {0, 1, 1, 2};
    s = az_score_calls(three, says, 4, 4); /* class 3 does not occur */
    cr_assert_float_eq(s.f, (1 + 2.0 / 3 + 2.0 / 3) / 3, 1e-15);
    cr_assert(isnan(az_score_calls(label, called, 0, 2).accuracy));
}

/* roc_curve (its threshold of largest tpr - fpr), roc_auc_score and f1_score of scikit-learn. */
Test(scores, numbers_of_another_program)
{
    az_ctx *az = az_open(NULL);
    enum { ITEMS = 40 };
    const double *score = splitmix_uniform(az, 303, ITEMS), *u = splitmix_uniform(az, 304, ITEMS);
    bool positive[ITEMS];
    int32_t label[ITEMS], called[ITEMS];
    for (int i = 0; i < ITEMS; i++) {
        label[i] = (u[i] < 0.3 + 0.4 * score[i]);
        positive[i] = label[i] == 1;
        called[i] = (score[i] > 0.5);
    }
    cr_assert_float_eq(az_roc_threshold(score, positive, ITEMS), 0.4283811980896476, 1e-15);
    cr_assert_float_eq(az_auroc(score, positive, ITEMS), 0.7973333333333333, 1e-12);
    cr_assert_float_eq(az_score_calls(label, called, ITEMS, 2).f, 0.6470588235294117, 1e-12);
    az_close(az);
}
