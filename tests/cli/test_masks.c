/* Mask methods from the command line: chains of them, and runs that are stopped. */
#include "support/command.h"
#include "support/folder.h"

#include <criterion/criterion.h>
#include <string.h>

/* wanda's 2:4 mask, repaired, learnt further in one layer, then stored by a format that refuses matrices that are not n:m: a model like any
 * other. */
Test(masks, a_chain_of_mask_methods_gives_a_model_in_packed_form_that_runs)
{
    az_ctx *az = az_open(NULL);
    const char *folder = test_folder(az);
    const char *maskpro = "maskpro:samples=8,batch=4,seqlen=16,logits=auto:50,lr=auto,steps=45,layers=blocks.0.attn.o";
    const test_run run = test_shell(
        az, folder,
        az_format_text(
            az,
            "adze corpus tales --stories 60 -o text.txt && adze compress tales wanda:pattern=2:4,nsamples=8,seqlen=64 "
            "dsnot:nsamples=8,seqlen=64 %s quantize:type=nm_f16 -d text.txt -o out.gguf --json && adze evaluate out.gguf -d text.txt "
            "--limit 2 > /dev/null && adze run out.gguf -p Once -n 4",
            maskpro));
    cr_assert_eq(run.code, 0, "%s", run.err);
    cr_assert_eq(test_json_number(test_section(az, run.out, "repair"), "swaps") > 0, 1);
    cr_assert_eq(test_json_number(test_section(az, run.out, "learning"), "steps"), 45);
    az_close(az);
}

/* Killed or interrupted, a run goes on from its state to the same model and the same log. */
Test(masks, learning_survives_signals, .timeout = 300)
{
    static const char command[] = "adze compress tales maskpro:init=magnitude,samples=8,batch=4,seqlen=16,logits=auto:500,lr=auto,steps=60,"
                                  "layers=blocks.3.attn.o,others=dense,save_every=1,log=run.csv,resume=run.safetensors "
                                  "-d ../text.txt --share 0 -o run.gguf --quiet";
    static const char *const signals[] = {"INT", "TERM", "KILL"};
    az_ctx *az = az_open(NULL);
    const char *folder = test_folder(az);
    const char *first = az_format_text(az, "adze corpus tales --stories 60 -o text.txt && mkdir whole && cd whole && %s", command);
    cr_assert_eq(test_shell(az, folder, first).code, 0);
    for (int k = 0; k < 3; k++) {
        const char *line = az_format_text(az,
                                          "rm -rf cut; mkdir cut; cd cut\n%s > log & pid=$!\n"
                                          "while [ ! -e run.safetensors ]; do sleep 0.01; done; kill -%s $pid; wait $pid; ls run.gguf\n"
                                          "%s > log && cmp run.gguf ../whole/run.gguf && cmp run.csv ../whole/run.csv && echo same",
                                          command, signals[k], command);
        const test_run run = test_shell(az, folder, line);
        cr_assert_str_eq(run.out, "same\n", "%s: %s %s", signals[k], run.out, run.err);
    }
    az_close(az);
}
