/* example.c - the example that help prints for a method: commands that work as they stand, in an empty folder. */
#include "cli/cli.h"

#include <string.h>

/* Small files that examples read, and the command that makes each. */
static const struct {
    const char *name, *made_by;
} example_files[] = {
    {"calibration.txt", "adze corpus tales --seed 7 --stories 60 -o calibration.txt"},
    {"train.jsonl", "printf '{\"prompt\": \"Is %s a color?\", \"response\": \" Yes.\"}\\n' Red Green Blue White > train.jsonl"},
    {"labels.jsonl", "printf '{\"prompt\": \"%s\", \"response\": \"%s\"}\\n' red color cat animal blue color dog animal > labels.jsonl"},
    {"pairs.jsonl",
     "printf '{\"prompt\": \"Is %s a color?\", \"chosen\": \" Yes.\", \"rejected\": \" No.\"}\\n' Red Green Blue White > pairs.jsonl"},
    {"programs.jsonl", "printf '{\"prompt\": \"%s=\", \"response\": \"%s\"}\\n' 3+4 '3 4 ADD END' 2*5 '2 5 MUL END' > programs.jsonl"},
    {"questions.jsonl",
     "printf '{\"question\": \"What is the capital of %s?\", \"answers\": [\"%s\"]}\\n' France Paris Italy Rome > questions.jsonl"},
    {"topics.jsonl",
     "printf '{\"topic_id\": %s, \"posts\": [{\"post_number\": 1, \"username\": \"ann\", \"post_time\": \"2023-05-01\", \"text\": \"What "
     "is 2+%s?\"}]}\\n' 1 2 2 3 > topics.jsonl"},
    {"table.csv", "awk 'BEGIN { OFS = \",\"; print \"a,b,y,kind\"; for (i = 1; i <= 200; i++) { a = sin(i); b = cos(3 * i); "
                  "y = a - 2 * b + sin(7 * i) / 5; print a, b, y, (y > 0 ? \"high\" : \"low\") } }' > table.csv"},
    {"numbers.csv", "awk 'BEGIN { OFS = \",\"; print \"a,b,y\"; for (i = 1; i <= 500; i++) { a = sin(i); b = cos(3 * i); "
                    "print a, b, a - 2 * b + sin(7 * i) / 5 } }' > numbers.csv"},
    {"scores.csv", "awk 'BEGIN { print \"score\"; for (i = 1; i <= 200; i++) print (i % 3 > 0) }' > scores.csv"},
    {"posts.csv", "awk 'BEGIN { OFS = \",\"; print \"y,machine,person\"; for (i = 1; i <= 400; i++) { p = (sin(i) > 0); "
                  "print p + sin(5 * i), (i % 7 ? p : 1 - p), (i % 4 ? \"NA\" : p) } }' > posts.csv"},
    {"matrix.csv", "awk 'BEGIN { for (i = 1; i <= 30; i++) for (j = 1; j <= 20; j++) printf \"%s%s\", ((i + 2 * j) % 3 ? sin(i) * cos(j) "
                   "+ i / j : \"NA\"), (j < 20 ? \",\" : \"\\n\") }' > matrix.csv"},
    {"points.csv", "awk 'BEGIN { OFS = \",\"; print \"x,y\"; for (i = 1; i <= 60; i++) print 4 * (i % 2) + sin(i), (1 + 2 * (i % 2)) * "
                   "cos(7 * i) }' > points.csv"},
    {"vector.csv", "printf 'a,b,y\\n1,0,2\\n' > vector.csv"},
    {"sem/samples.csv", "adze estimate dag-samples:nodes=10,edges=20 -o sem/ --seed 1"},
};

void cli_print_example(const az_method *method, const char *indent, FILE *out)
{
    for (size_t i = 0; i < sizeof example_files / sizeof *example_files; i++)
        if (strstr(method->example, example_files[i].name)) fprintf(out, "%s%s\n", indent, example_files[i].made_by);
    for (const char *line = method->example; *line; line += strspn(line, "\n")) {
        const size_t length = strcspn(line, "\n");
        fprintf(out, "%s%.*s\n", indent, (int)length, line);
        line += length;
    }
}
