/* waiting.c - how long idle threads look out for work before they sleep.
 *
 * GNU's OpenMP has them look for milliseconds: when another program has a processor too, threads that wait for one that was put aside keep
 * the processor from it, and two programs side by side take up to a hundred times as long instead of twice. Some hundredths of a
 * millisecond bridge the gaps within a forward pass just as well. The runtime reads its environment before main, so the command starts
 * once more. */
#include "cli/cli.h"

#include <stdlib.h>
#include <unistd.h>

void cli_wait_shortly(char **argv)
{
    const char *threads = getenv("OMP_NUM_THREADS");
    if (threads && atoi(threads) == 1) return;                         /* nobody waits */
    if (getenv("OMP_WAIT_POLICY") || getenv("GOMP_SPINCOUNT")) return; /* the user has said how, or this is the second start */
    if (setenv("GOMP_SPINCOUNT", "2000", 0) == 0) execv("/proc/self/exe", argv);
}
