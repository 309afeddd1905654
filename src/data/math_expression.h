/* math_expression.h - values of expressions as answers write them. */
#ifndef ADZE_DATA_MATH_EXPRESSION_H
#define ADZE_DATA_MATH_EXPRESSION_H

#include <stdbool.h>

enum { AZ_MATH_VARIABLES = 52 }; /* a-z, A-Z */

/* The value of a whole expression, NaN where it has none; false when the text is no expression. Without variables *constant is true. */
bool az_math_value(const char *text, const double variable[AZ_MATH_VARIABLES], double *value, bool *constant);

#endif
