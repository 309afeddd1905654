/* Supervised dictionaries as a user calls them: fits, saved models, predictions, documents, sparse files, refusals. */
#include "claims/sdl_data.h"
#include "claims/splitmix.h"
#include "support/command.h"
#include "support/folder.h"

#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

static test_run run(az_ctx *az, const char *folder, const char *line)
{
    const test_run result = test_shell(az, folder, line);
    cr_assert_eq(result.code, 0, "%s: %s", line, result.err);
    return result;
}

static FILE *create(az_ctx *az, const char *folder, const char *name)
{
    FILE *file = fopen(test_path(az, folder, name), "w");
    cr_assert(file);
    return file;
}

static double number_of(az_ctx *az, const test_run *r, const char *section, const char *key)
{
    return test_json_number(test_section(az, r->out, section), key);
}

/* The fixture as one table (x1 .. x30, z, y), and as files of their own; without its few negative entries if asked. */
static void write_fixture(az_ctx *az, const char *folder, bool positive)
{
    const sdl_samples *s = sdl_fixture(az);
    FILE *all = create(az, folder, "all.csv"), *x = create(az, folder, "x.csv"), *y = create(az, folder, "y.csv"),
         *z = create(az, folder, "z.csv");
    FILE *turned = create(az, folder, "turned.csv");
    for (int j = 0; j < s->p; j++) fprintf(all, "x%d,", j + 1), fprintf(x, "%sx%d", j ? "," : "", j + 1);
    fprintf(all, "z,y\n"), fprintf(x, "\n"), fprintf(y, "y\n"), fprintf(z, "z\n");
    for (int64_t i = 0; i < s->n; i++) {
        for (int j = 0; j < s->p; j++) {
            const double given = az_item(s->x->dense, i * s->p + j), value = positive ? fmax(given, 0) : given;
            fprintf(all, "%.17g,", value), fprintf(x, "%s%.17g", j ? "," : "", value);
        }
        const char *label = s->label[i] ? "yes" : "no";
        fprintf(all, "%.17g,%s\n", az_item(s->z, 2 * i + 1), label);
        fprintf(x, "\n"), fprintf(y, "%s\n", label), fprintf(z, "%.17g\n", az_item(s->z, 2 * i + 1));
    }
    for (int j = 0; j < s->p; j++)
        for (int64_t i = 0; i < s->n; i++) fprintf(turned, "%.17g%c", az_item(s->x->dense, i * s->p + j), i + 1 < s->n ? ',' : '\n');
    FILE *const files[] = {all, x, y, z, turned};
    for (int i = 0; i < 5; i++) fclose(files[i]);
}

Test(sdl_commands, a_fit_is_the_same_from_any_files_and_predicts_from_its_own)
{
    az_ctx *az = az_open(NULL);
    const char *folder = test_folder(az);
    write_fixture(az, folder, false);
    static const char *const lines[] = {
        "adze estimate 'sdl:algorithm=lpgd,rank=3,xi=5,tol=0,iterations=400,target=y,aux=z' -d all.csv -o m.npz --json",
        "adze estimate 'sdl:algorithm=lpgd,rank=3,xi=5,tol=0,iterations=400' -d x.csv -d labels=y.csv -d aux=z.csv --json",
        "adze estimate 'sdl:algorithm=lpgd,rank=3,xi=5,tol=0,iterations=400,samples=columns' -d turned.csv -d labels=y.csv -d aux=z.csv "
        "--json"};
    test_run fit = {0};
    for (int i = 2; i >= 0; i--) {
        fit = run(az, folder, lines[i]);
        cr_assert_float_eq(number_of(az, &fit, "fit", "objective"), 68.270277983, 1e-8);
        cr_assert_float_eq(number_of(az, &fit, "covariates", "gamma"), .55838471, 1e-7);
    }
    const test_run again = run(az, folder, "adze estimate sdl:target=y,aux=z -d all.csv -d model=m.npz -o p.csv --json");
    for (int k = 0; k < 4; k++) {
        static const char *const keys[] = {"accuracy", "f", "auc", "reconstruction"};
        cr_assert_float_eq(number_of(az, &again, "scores", keys[k]), number_of(az, &fit, "scores", keys[k]), 1e-9);
    }
    run(az, folder, "head -1 p.csv | grep -qx 'class,p_no,p_yes' && test $(wc -l < p.csv) = 121");
    run(az, folder, "adze estimate sdl -d x.csv -d aux=z.csv -d model=m.npz -o q.csv && cmp p.csv q.csv");
    run(az, folder, "adze estimate sdl -d all.csv -d aux=z.csv -d model=m.npz -o s.csv && cmp p.csv s.csv");
    run(az, folder,
        "awk -F, '{for (i = NF; i > 1; i--) printf \"%s,\", $i; print $1}' x.csv > back.csv && "
        "adze estimate sdl -d back.csv -d aux=z.csv -d model=m.npz -o r.csv && cmp p.csv r.csv");
    const test_run absent =
        test_shell(az, folder, "cut -d, -f1-29 x.csv > less.csv && adze estimate sdl -d less.csv -d aux=z.csv -d model=m.npz -o r.csv");
    cr_assert_eq(absent.code, 2);
    cr_assert(strstr(absent.err, "'less.csv' has no column 'x30'"), "%s", absent.err);
    static const char *const forms[] = {"m.safetensors", "m.json", "m/"};
    for (int i = 0; i < 3; i++)
        run(az, folder,
            az_format_text(az,
                           "adze estimate 'sdl:algorithm=lpgd,rank=3,xi=5,tol=0,iterations=400,target=y,aux=z' -d all.csv -o %s && "
                           "adze estimate sdl -d x.csv -d aux=z.csv -d model=%s -o q.csv && cmp p.csv q.csv",
                           forms[i], forms[i]));
    const test_run topics = run(az, folder, "adze estimate sdl -d model=m.npz --json");
    cr_assert(test_section(az, topics.out, "topics"));
    run(az, folder,
        "adze estimate 'sdl:rank=3,target=y,aux=z' -d all.csv --plot fit.svg -o W.csv && test -s fit.svg && test $(wc -l < W.csv) = 31");
    az_close(az);
}

Test(sdl_commands, what_is_beside_is_fitted_and_scored_on_the_same_samples)
{
    az_ctx *az = az_open(NULL);
    const char *folder = test_folder(az);
    write_fixture(az, folder, true);
    const test_run fit =
        run(az, folder, "adze estimate 'sdl:rank=3,xi=5,iterations=50,target=y,aux=z,holdout=0.3,beside=all' -d all.csv --json");
    static const char *const methods[] = {"sdl", "pca", "nmf", "logistic"};
    int seen = 0;
    for (int i = 0; i < test_lines(fit.out); i++) {
        const json_t *row = test_json(az, fit.out, i);
        if (strcmp(json_string_value(json_object_get(row, "section")), "methods") != 0) continue;
        const char *name = json_string_value(json_object_get(row, "method"));
        for (int k = 0; k < 4; k++) seen |= (strcmp(name, methods[k]) == 0) << k;
        cr_assert_gt(test_json_number(row, "test_auc"), 0.5, "%s", name);
        cr_assert(strcmp(name, "logistic") == 0 || test_json_number(row, "test_reconstruction") < 0.3, "%s", name);
    }
    cr_assert_eq(seen, 15);
    const test_run feature =
        run(az, folder,
            "adze estimate 'sdl:rank=3,xi=500,iterations=50,target=y,aux=z,model=feature,predict=exhaustive' -d all.csv "
            "-d test=x.csv -d test_labels=y.csv -d test_aux=z.csv -o f.npz --json");
    cr_assert_gt(number_of(az, &feature, "scores", "auc"), 0.7);
    const test_run again = run(az, folder, "adze estimate sdl:target=y,aux=z -d all.csv -d model=f.npz --json");
    cr_assert_float_eq(number_of(az, &again, "scores", "auc"), number_of(az, &feature, "scores", "auc"), 1e-9);
    az_close(az);
}

/* Two kinds of sentences. */
static void write_posts(az_ctx *az, const char *folder)
{
    static const char *const word[2][5] = {{"ship", "rocket", "moon", "orbit", "launch"}, {"goal", "team", "match", "score", "league"}};
    FILE *posts = create(az, folder, "posts.jsonl"), *table = create(az, folder, "posts.csv"), *tags = create(az, folder, "tags.csv");
    FILE *documents = create(az, folder, "posts.txt");
    const double *u = splitmix_uniform(az, 11, 4000);
    fprintf(table, "length,body,tag\n"), fprintf(tags, "tag\n");
    for (int i = 0, at = 0; i < 120; i++) {
        const int kind = u[at++] < 0.5;
        char text[200] = "the";
        for (int k = 0; k < 8; k++) {
            const double other = u[at++];
            snprintf(text + strlen(text), sizeof text - strlen(text), " %s", word[other < 0.1 ? !kind : kind][(int)(u[at++] * 5)]);
        }
        const char *tag = kind ? "sport" : "space";
        fprintf(posts, "{\"text\": \"%s\", \"tag\": \"%s\", \"length\": %d}\n", text, tag, i % 7);
        fprintf(table, "%d,\"%s\",%s\n", i % 7, text, tag);
        fprintf(documents, "%s<|endoftext|>\n", text);
        fprintf(tags, "%s\n", tag);
    }
    FILE *const files[] = {posts, table, tags, documents};
    for (int i = 0; i < 4; i++) fclose(files[i]);
}

Test(sdl_commands, documents_become_topics_whose_beta_tells_their_class)
{
    az_ctx *az = az_open(NULL);
    const char *folder = test_folder(az);
    write_posts(az, folder);
    const char *options = "rank=2,iterations=60,top=5,most_share=1";
    const test_run fit = run(az, folder, az_format_text(az, "adze estimate 'sdl:%s,target=tag' -d posts.jsonl -o m.npz --json", options));
    const test_run table =
        run(az, folder, az_format_text(az, "adze estimate 'sdl:%s,target=tag,text=body,aux=length' -d posts.csv --json", options));
    const test_run plain = run(az, folder, az_format_text(az, "adze estimate 'sdl:%s' -d posts.txt -d labels=tags.csv --json", options));
    cr_assert_eq(number_of(az, &fit, "fit", "objective"), number_of(az, &plain, "fit", "objective"));
    cr_assert_eq(number_of(az, &fit, "fit", "features"), 10);
    cr_assert_eq(number_of(az, &table, "fit", "covariates"), 1);
    cr_assert_gt(number_of(az, &fit, "scores", "accuracy"), 0.9);
    int right = 0;
    for (int i = 0; i < test_lines(fit.out); i++) {
        const json_t *row = test_json(az, fit.out, i);
        if (strcmp(json_string_value(json_object_get(row, "section")), "topics") != 0) continue;
        const bool sport = strstr(json_string_value(json_object_get(row, "words")), "goal") != NULL;
        right += (test_json_number(row, "beta") > 0) == sport; /* classes in order: space is the reference */
    }
    cr_assert_eq(right, 2);
    const test_run again = run(az, folder, "adze estimate sdl:target=tag -d posts.jsonl -d model=m.npz --json");
    cr_assert_float_eq(number_of(az, &again, "scores", "log_loss"), number_of(az, &fit, "scores", "log_loss"), 1e-9);
    az_close(az);
}

Test(sdl_commands, sparse_files_are_the_same_as_dense_ones)
{
    az_ctx *az = az_open(NULL);
    const char *folder = test_folder(az);
    FILE *sparse = create(az, folder, "x.mtx"), *dense = create(az, folder, "x.csv"), *y = create(az, folder, "y.csv"),
         *words = create(az, folder, "w.txt");
    const double *u = splitmix_uniform(az, 3, 2400);
    fprintf(sparse, "%%%%MatrixMarket matrix coordinate real general\n60 20 ");
    int count = 0;
    for (int i = 0; i < 1200; i++) count += u[i] < 0.3;
    fprintf(sparse, "%d\n", count), fprintf(y, "y\n");
    for (int i = 0; i < 60; i++) {
        for (int j = 0; j < 20; j++) {
            const double value = u[i * 20 + j] < 0.3 ? u[1200 + i * 20 + j] : 0;
            if (value != 0) fprintf(sparse, "%d %d %.17g\n", i + 1, j + 1, value);
            fprintf(dense, "%.17g%c", value, j < 19 ? ',' : '\n');
        }
        fprintf(y, "%d\n", i % 3);
    }
    for (int j = 0; j < 20; j++) fprintf(words, "word%d\n", j);
    FILE *const files[] = {sparse, dense, y, words};
    for (int i = 0; i < 4; i++) fclose(files[i]);
    const test_run a =
        run(az, folder, "adze estimate sdl:rank=3,iterations=20,norm=5,beside=all -d x.mtx -d labels=y.csv -d vocabulary=w.txt --json");
    const test_run b = run(az, folder, "adze estimate sdl:rank=3,iterations=20,norm=5,beside=all -d x.csv -d labels=y.csv --json");
    cr_assert_float_eq(number_of(az, &a, "fit", "objective"), number_of(az, &b, "fit", "objective"), 1e-8);
    cr_assert_float_eq(number_of(az, &a, "scores", "auc"), number_of(az, &b, "scores", "auc"), 1e-9);
    cr_assert(strstr(a.out, "word1") && !strstr(b.out, "word1"));
    cr_assert_eq(number_of(az, &a, "fit", "classes"), 3);
    az_close(az);
}

Test(sdl_commands, what_cannot_be_fitted_is_refused)
{
    az_ctx *az = az_open(NULL);
    const char *folder = test_folder(az);
    write_fixture(az, folder, false);
    run(az, folder,
        "printf 'a,b,y\\n1,2,u\\n2,1,v\\n-1,0,u\\n3,3,v\\n' > negative.csv; printf 'a,b,y\\n1,2,u\\n2,,v\\n3,1,u\\n' > hole.csv;"
        "printf 'a,b,y\\n1,2,u\\n2,1,u\\n3,1,u\\n' > one.csv; printf 'a,b,y\\n1,2,u\\n2,1,w\\n' > other.csv; printf 'u\\nv\\n' > short.csv;"
        "printf 'w1\\nw2\\nw3\\n' > words.txt; adze estimate sdl:rank=1,target=y,iterations=3 -d negative.csv -o m.npz;"
        "cp x.csv fake.npz;"
        "printf '1,2,3,4\n2,3,1,1\n' > across.csv; printf 't\nu\nv\nu\nv\n' > texts.csv; printf 's\n1\n2\n1\n0\n' > sizes.csv;"
        "adze estimate sdl:rank=1,target=y,iterations=3 -d negative.csv -d aux=sizes.csv -o aux.npz");
    static const struct {
        const char *line, *says;
    } cases[] = {
        {"adze estimate sdl", "data are missing"},
        {"adze estimate sdl:rank=1 -d x.csv", "labels are missing"},
        {"adze estimate sdl:rank=1,target=yy -d all.csv", "'y'"},
        {"adze estimate sdl:rank=1,target=y -d hole.csv", "row 2: 'b' is missing"},
        {"adze estimate sdl:rank=1,target=y -d one.csv", "1 different values"},
        {"seq 20 | awk 'BEGIN { print \"x,z,y\" } { print $1, $1 * $1, $1 / 7 }' OFS=, > numbers.csv; "
         "adze estimate sdl:rank=1,target=y -d numbers.csv",
         "20 different values in 20 rows"},
        {"printf 'a,b,y\\n1e200,2,u\\n2,1,v\\n1,0,u\\n3,3,v\\n' > huge.csv; adze estimate sdl:rank=1,target=y -d huge.csv",
         "the matrix of the data reaches"},
        {"adze estimate sdl:rank=3,target=y -d negative.csv", "rank=3 is more than"},
        {"adze estimate sdl:rank=1,target=y,nonneg=W+H -d negative.csv", "negative values"},
        {"adze estimate sdl:rank=1,target=y,nonneg=V -d negative.csv", "W, H and beta"},
        {"adze estimate sdl:rank=1,target=y,algorithm=lpgd,l1_code=1 -d negative.csv", "lpgd has nu and ball"},
        {"adze estimate sdl:rank=1,target=y,algorithm=lpgd,nonneg=W -d negative.csv", "lpgd has no signs"},
        {"adze estimate sdl:rank=1,target=y,algorithm=lpgd,tau=1e9,iterations=300 -d negative.csv", "tau is too large"},
        {"adze estimate sdl:rank=1,target=y,init=zero -d negative.csv", "bcd would stay there"},
        {"adze estimate sdl:rank=1,target=y -d negative.csv -d test=other.csv", "'w', a class that the training samples had not"},
        {"adze estimate sdl:rank=1,target=y,holdout=0.5 -d negative.csv -d test=negative.csv", "not both"},
        {"adze estimate sdl:rank=1 -d x.csv -d labels=short.csv", "1 labels for 120 samples"},
        {"adze estimate sdl:rank=1,target=y -d all.csv -d aux=short.csv", "'short.csv' has 1 rows of 1 covariates, there are 120 samples"},
        {"adze estimate sdl:rank=1,target=y -d negative.csv -d aux=across.csv", "turn it, a sample is a row"},
        {"adze estimate sdl:rank=1,target=y -d negative.csv -d aux=texts.csv", "covariates of 'texts.csv': column 't' holds text"},
        {"adze estimate sdl -d negative.csv -d model=aux.npz", "has 0 covariates, the model 1, 's': -d aux=FILE"},
        {"adze estimate sdl:rank=1,samples=columns,target=y -d all.csv", "samples=columns"},
        {"adze estimate sdl:rank=1,target=y -d negative.csv -d vocabulary=words.txt", "names 3 features, the data have 2"},
        {"adze estimate sdl:beside=svm,target=y -d all.csv", "no method"},
        {"adze estimate sdl -d x.csv -d model=m.npz", "30 features, the model 2"},
        {"adze estimate sdl:target=y,aux=b -d negative.csv -d model=m.npz", "no column 'b', which the model"},
        {"adze estimate sdl -d model=negative.csv", "a result with several arrays is a .npz"},
        {"adze estimate sdl -d model=fake.npz", "no model of sdl"},
        {"adze estimate sdl:target=y,holdout=0.2 -d negative.csv -d model=m.npz", "nothing to fit"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const test_run result = test_shell(az, folder, az_format_text(az, "%s -o out.npz", cases[i].line));
        cr_assert_eq(result.code, 2, "%s gives %d: %s", cases[i].line, result.code, result.out);
        cr_assert(strstr(result.err, cases[i].says), "%s: %s", cases[i].line, result.err);
        run(az, folder, "test ! -e out.npz");
    }
    az_close(az);
}
