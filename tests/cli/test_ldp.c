/* adze estimate ldp-sparse-regression: clients, a server, a simulation. */
#include "support/command.h"
#include "support/folder.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

#define CLIENT "adze estimate ldp-sparse-regression:action=client,protocol=nldp,tau1=1,tau2=2,radius=2,"
#define IHT    "adze estimate ldp-sparse-regression:action=client,protocol=iht,tau1=1,tau2=2,"
#define SERVER "adze estimate ldp-sparse-regression:action=server"

Test(ldp, users_send_and_a_server_adds_up)
{
    az_ctx *az = az_open(NULL);
    const char *folder = test_folder(az);
    test_run run = test_shell(az, folder,
                              "for i in 1 2 3; do printf 'a,b,c,y\\n1,-1,1,0.5\\n' > r; " CLIENT
                              "eps=50,user=u$i,message=m$i -d r -q > /dev/null; done; "
                              "grep -c . r; adze estimate ldp-sparse-regression:action=server,regularise=1000 -d messages=m1 -d "
                              "messages=m2 -d messages=m3 -o theta.csv --json");
    cr_assert_eq(run.code, 0, "%s", run.err);
    json_t *row = test_section(az, strchr(run.out, '\n') + 1, "protocols");
    cr_assert_eq(test_json_number(row, "users"), 3);
    az_close(az);
}

/* Columns in units 1e6 apart: nothing is wrong with their moments. */
Test(ldp, least_squares_do_not_depend_on_units)
{
    az_ctx *az = az_open(NULL);
    const char *folder = test_folder(az);
    test_shell(az, folder,
               "awk 'BEGIN { srand(2); print \"a,b,c,y\"; for (i = 0; i < 500; i++) { a = rand() - .5; b = rand() - .5; c = rand() - .5; "
               "print a \",\" 1e5 * b \",\" c / 10 \",\" 2 * a + b } }' > units.csv");
    const test_run run = test_shell(
        az, folder, "adze estimate ldp-sparse-regression:response=y,protocol=ols,sparsity=2 -d units.csv -o theta.csv --json -q");
    cr_assert_eq(run.code, 0, "%s", run.err);
    double a, b;
    cr_assert_eq(sscanf(test_shell(az, folder, "cat theta.csv").out, "name,ols\na,%lf\nb,%lf", &a, &b), 2);
    cr_assert_float_eq(a, 2, 1e-4);
    cr_assert_float_eq(b, 1e-5, 1e-9);
    az_close(az);
}

Test(ldp, a_simulation_compares)
{
    az_ctx *az = az_open(NULL);
    const char *folder = test_folder(az);
    test_run run = test_shell(
        az, folder,
        "awk 'BEGIN { srand(2); print \"a,b,c,y\"; for (i = 0; i < 5000; i++) { a = rand() < .5 ? -1 : 1; b = rand() < .5 ? -1 : 1; "
        "c = rand() < .5 ? -1 : 1; print a \",\" b \",\" c \",\" a * .6 - c * .8 + rand() * .1 } }' > t.csv; printf '0.6\\n0\\n-0.8\\n' > "
        "truth.csv; "
        "adze estimate ldp-sparse-regression:eps=20,sparsity=2,radius=1.8,tau1=1,tau2=1.6 -d t.csv -d truth=truth.csv -o all.json --json");
    cr_assert_eq(run.code, 0, "%s", run.err);
    cr_assert_eq(test_lines(run.out), 5, "all but nldp-public: %s", run.out);
    cr_assert_lt(test_json_number(test_json(az, run.out, 4), "error"), 0.1);
    az_close(az);
}

Test(ldp, mistakes_end_in_2_with_what_to_do)
{
    static const struct {
        const char *line, *says;
    } cases[] = {
        {"adze estimate ldp-sparse-regression", "a table is needed"},
        {"adze estimate ldp-sparse-regression:eps=0 -d r", "out of range"},
        {"adze estimate ldp-sparse-regression:delta=1 -d r", "out of range"},
        {"adze estimate ldp-sparse-regression -d r", "1 users do not determine 3 coefficients"},
        {"adze estimate ldp-sparse-regression -d narrow", "there is nothing sparse"},
        {"adze estimate ldp-sparse-regression -d gap", "row 1: 'b' is missing or not finite"},
        {"adze estimate ldp-sparse-regression:protocol=nldp-public -d t", "needs unlabelled public rows"},
        {"adze estimate ldp-sparse-regression:action=client,protocol=nldp,tau1=1,tau2=2 -d r", "and radius must be agreed on beforehand"},
        {"adze estimate ldp-sparse-regression:action=client,protocol=ols,tau1=1,tau2=2 -d r", "must be nldp, nldp-public or iht"},
        {CLIENT "user=u1,message=x -d t", "a client has one row, this table has 4"},
        {CLIENT "message=x -d r", "user=... names the user"},
        {SERVER, "a server needs messages"},
        {SERVER " -d messages=r", "this is no message of a user"},
        {SERVER " -d messages=m1 -d messages=m1", "user 'u1' has sent 'm1' already"},
        {SERVER " -d messages=m1 -d messages=m2", "'m2' was made with eps=2, 'm1' with eps=1"},
        {SERVER ",eps=3 -d messages=m1", "eps=3 here, but 'm1' was made with eps=1"},
        {SERVER ",eps=1 -d messages=m2", "eps=1 here, but 'm2' was made with eps=2"}, /* its default, but said */
        {SERVER ",protocol=iht -d messages=m1", "protocol=iht here, but 'm1' was made with protocol=nldp"},
        {SERVER ",no-tight -d messages=m3", "tight=false here, but 'm3' was made with tight=true"},
        {SERVER ",test_seed=4 -d messages=m1", "test_seed=4 here, but 'm1' was made without test_seed"},
        {SERVER ",test_seed=-1 -d messages=m4", "test_seed=-1 here, but 'm4' was made with test_seed"},
        {SERVER " -d messages=m1 -d messages=m4", "'m4' was made with test_seed, 'm1' without"},
        {SERVER ",rounds=5 -d messages=h1", "rounds=5 here, but 'h1' was made with rounds=4"},
        {SERVER ",round=1 -d messages=h1", "round=1 here, but 'h1' was made with round=0"},
        {SERVER " -d messages=h1 -d messages=h2", "'h2' was made with rounds=3, 'h1' with rounds=4"},
        {SERVER " -d messages=h1 -d theta=theta", "round=0 begins at zero"},
        {SERVER " -d messages=m1 -d theta=theta", "only iht has rounds, and this is nldp"},
        {SERVER " -d messages=m1 -d public=theta", "these messages are of nldp"},
        {"adze estimate ldp-sparse-regression:protocol=ols -d twice", "regularise=4e-06"}, /* eigenvalues 4, 2 and 0 */
        {IHT "user=u9,message=x,round=3,rounds=3 -d r", "round=3: there are rounds=3"},
        {IHT "user=u9,message=x,round=1 -d r", "round=1 needs the server's estimate"},
    };
    az_ctx *az = az_open(NULL);
    const char *folder = test_folder(az);
    test_shell(az, folder,
               "printf 'a,b,c,y\\n1,-1,1,0.5\\n' > r; printf 'a,y\\n1,2\\n' > narrow; printf 'a,b,c,y\\n1,NA,1,0.5\\n' > gap; "
               "printf 'a,b,c,y\\n1,-1,1,0.5\\n1,1,-1,2\\n-1,1,1,1\\n1,1,1,1\\n' > t; " CLIENT "user=u1,message=m1 -d r -q; " CLIENT
               "eps=2,user=u2,message=m2 -d r -q; " CLIENT "tight,user=u3,message=m3 -d r -q; " CLIENT
               "test_seed=1,user=u4,message=m4 -d r -q; " IHT "rounds=4,user=u5,message=h1 -d r -q; " IHT
               "user=u6,message=h2 -d r -q; printf '1,0,0\\n' > theta; "
               "printf 'a,b,c,y\\n1,1,2,1\\n-1,-1,2,1\\n1,1,-2,0\\n-1,-1,-2,3\\n' > twice");
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        test_run run = test_shell(az, folder, cases[i].line);
        cr_assert_eq(run.code, 2, "'%s' ended in %d: %s", cases[i].line, run.code, run.err);
        cr_assert_not_null(strstr(run.err, cases[i].says), "'%s' said: %s", cases[i].line, run.err);
    }
    cr_assert_eq(test_shell(az, folder, "test ! -e x").code, 0);
    az_close(az);
}
