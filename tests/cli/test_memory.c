/* Commands that run out of memory: from next to nothing up to what they need, each ends well or says so and leaves nothing behind. */
#include "support/command.h"
#include "support/folder.h"

#include <criterion/criterion.h>
#include <string.h>

static const char *const lines[] = {
    "adze info tales --json",
    "adze run tales -p Once -n 8 -q",
    "adze evaluate tales -d text -q",
    "adze convert tales -o out --format q8_0",
    "adze compress tales wanda:pattern=2:4,nsamples=2,seqlen=64 -d text -q -o out",
    "adze tune tales lora --steps 1 --length 32 --batch 2 -d text.jsonl -o out/",
    "adze train llama:width=16,blocks=1,heads=2,vocabulary=300 --steps 1 --length 16 --batch 2 -d text -q -o out",
    "adze estimate linf-regression:target=y -d table.csv -o out.json",
};

Test(memory, a_command_that_runs_out_of_memory_says_so_and_leaves_nothing)
{
    az_ctx *az = az_open(NULL);
    const char *folder = test_folder(az);
    test_shell(az, folder,
               "adze corpus tales --stories 3 -o text; printf '{\"prompt\": \"Once\", \"response\": \" upon a time\"}\\n%.0s' 1 2 3 4 > "
               "text.jsonl;"
               "(echo x,y; seq 500 | sed 's/.*/&,&1/') > table.csv");
    for (size_t i = 0; i < sizeof lines / sizeof *lines; i++) {
        int refused = 0;
        test_run run = {.code = 2};
        for (double gib = 1e-5; run.code != 0; gib *= 1.4) {
            cr_assert_lt(gib, 4, "'%s' finds no memory enough: %s", lines[i], run.err);
            run = test_shell(az, folder, az_format_text(az, "rm -rf out out.json; %s --memory=%.8f", lines[i], gib));
            if (run.code == 0) break;
            cr_assert_eq(run.code, 2, "'%s' with %.8f GiB ended in %d: %s", lines[i], gib, run.code, run.err);
            cr_assert_not_null(strstr(run.err, "memory"), "'%s' with %.8f GiB said: %s", lines[i], gib, run.err);
            cr_assert_eq(test_shell(az, folder, "test -e out -o -e out.json").code, 1, "'%s' with %.8f GiB left something", lines[i], gib);
            refused++;
        }
        cr_assert_gt(refused, 5, "'%s'", lines[i]);
    }
    az_close(az);
}
