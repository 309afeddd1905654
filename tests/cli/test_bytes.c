/* Models whose weights and activations are bytes, from the command line: chains, files, and back to plain models. */
#include "support/command.h"
#include "support/folder.h"

#include <criterion/criterion.h>
#include <string.h>

static double perplexity(az_ctx *az, const char *folder, const char *model)
{
    const test_run run = test_shell(az, folder, az_format_text(az, "adze evaluate %s -d text.txt --limit 4 --json", model));
    cr_assert_eq(run.code, 0, "%s: %s", model, run.err);
    return test_json_number(test_json(az, run.out, 0), "perplexity");
}

/* 2:4 by wanda, repaired, then bytes; the file runs, is the same as a folder, and converts back. */
Test(bytes, wanda_dsnot_and_llm_int8_give_a_model_that_runs)
{
    az_ctx *az = az_open(NULL);
    const char *folder = test_folder(az);
    const test_run run =
        test_shell(az, folder,
                   "adze corpus tales --stories 60 -o text.txt && adze compress tales wanda:pattern=2:4,nsamples=8,seqlen=64 "
                   "dsnot:nsamples=8,seqlen=64 llm-int8:columns=16bit,threshold=4,nsamples=8,seqlen=64 -d text.txt -o out.gguf "
                   "--json && adze run out.gguf -p Once -n 4 && adze convert out.gguf -o folder && "
                   "adze convert out.gguf --format f16 -o plain.gguf");
    cr_assert_eq(run.code, 0, "%s", run.err);
    const double bytes = perplexity(az, folder, "out.gguf");
    cr_assert_float_eq(perplexity(az, folder, "folder"), bytes, 1e-6 * bytes);
    cr_assert_float_eq(perplexity(az, folder, "plain.gguf"), bytes, 0.01 * bytes);
    az_close(az);
}

Test(bytes, the_study_of_outliers_is_reported)
{
    az_ctx *az = az_open(NULL);
    const char *folder = test_folder(az);
    const test_run run = test_shell(az, folder,
                                    "adze corpus tales --stories 60 -o text.txt && adze compress tales "
                                    "llm-int8:study,magnitude=2,nsamples=4,seqlen=64 -d text.txt -o out.gguf --json");
    cr_assert_eq(run.code, 0, "%s", run.err);
    cr_assert_gt(test_json_number(test_section(az, run.out, "ablation"), "perplexity"), 1);
    az_close(az);
}

Test(bytes, bad_options_leave_nothing_behind)
{
    az_ctx *az = az_open(NULL);
    const char *folder = test_folder(az);
    const test_run run = test_shell(az, folder, "adze compress tales llm-int8:outliers=static -o out.gguf; code=$?; ls; exit $code");
    cr_assert_eq(run.code, 2);
    cr_assert_str_eq(run.out, "");
    cr_assert_not_null(strstr(run.err, "-d FILE"), "%s", run.err);
    az_close(az);
}
