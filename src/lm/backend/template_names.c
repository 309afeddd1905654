/* template_names.c - templates by name: a file of the user's folder, else what the library brings. */
#include "lm/backend/template_names.h"
#include "adze/backend.h"

#include <string.h>
#include <unistd.h>

const char *az_template_builtin(const char *name)
{
    for (const az_builtin_template *t = az_builtin_templates; t->name; t++)
        if (strcmp(t->name, name) == 0) return t->text;
    return NULL;
}

const char *az_template_named(az_ctx *az, const char *folder, const char *name)
{
    const char *path = folder && *folder ? az_format_text(az, "%s/%s.txt", folder, name) : NULL;
    if (!az_ok(az)) return NULL;
    if (path && !az_is_folder(folder)) return az_fail(az, AZ_BAD_INPUT, "there is no folder of templates '%s'", folder);
    if (path && access(path, F_OK) == 0) return az_read_file(az, path, NULL);
    const char *text = az_template_builtin(name);
    return text ? text : az_fail(az, AZ_BAD_CALL, "there is no template '%s'", name);
}

void az_template_list(az_report *report)
{
    for (const az_builtin_template *t = az_builtin_templates; t->name; t++) {
        az_report_row(report, "templates");
        az_report_text(report, "template", t->name);
        az_report_count(report, "bytes", (int64_t)strlen(t->text));
    }
}
