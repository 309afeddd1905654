/* formats.c - the catalogue of weight formats. */
#include "weight/bipolar.h"
#include "weight/int8.h"
#include "weight/int8_static.h"
#include "weight/weight_internal.h"

#include <string.h>

static const az_format *const catalogue[] = {
    &az_format_f32,          &az_format_f16,
    &az_format_bf16,         &az_format_q8_0,
    &az_format_q6_k,         &az_format_q5_k,
    &az_format_q5_1,         &az_format_q5_0,
    &az_format_q4_k,         &az_format_q4_1,
    &az_format_q4_0,         &az_format_iq4_nl,
    &az_format_q3_k,         &az_format_q2_k,
    &az_format_q8_k,         &az_format_f64,
    &az_format_lowrank,      &az_format_nm_f16,
    &az_format_nm_bf16,      &az_format_aq,
    &az_format_grid,         &az_format_nf4,
    &az_format_bitmap_f16,   &az_format_bitmap_bf16,
    &az_format_bitmap_f32,   &az_format_csl_f16,
    &az_format_csl_bf16,     &az_format_int8,
    &az_format_int8_columns, &az_format_int8_live,
    &az_format_int8_static,  &az_format_int8_token,
    &az_format_bipolar,      NULL,
};

const az_format *const *az_formats(void)
{
    return catalogue;
}

const az_format *az_format_by_name(const char *name)
{
    for (int i = 0; name && catalogue[i]; i++)
        if (strcmp(catalogue[i]->name, name) == 0) return catalogue[i];
    return NULL;
}

const az_format *az_format_by_ggml(int type)
{
    for (int i = 0; type >= 0 && catalogue[i]; i++)
        if (catalogue[i]->ggml_type == type) return catalogue[i];
    return NULL;
}
