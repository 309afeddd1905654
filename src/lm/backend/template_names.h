/* template_names.h - the templates that come with the library: the files of share/templates, which the build puts into templates.c. */
#ifndef ADZE_LM_BACKEND_TEMPLATE_NAMES_H
#define ADZE_LM_BACKEND_TEMPLATE_NAMES_H

typedef struct az_builtin_template {
    const char *name, *text; /* name NULL ends the list */
} az_builtin_template;
extern const az_builtin_template az_builtin_templates[];

#endif
