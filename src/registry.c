/* registry.c - the catalogue: every method, one line each. */
#include "adze/method.h"

#include <string.h>

extern const az_method az_magnitude, az_wanda, az_sparsegpt, az_dsnot, az_maskpro, az_quantize, az_welore, az_pv, az_m_fac, az_flash_llm,
    az_llm_int8, az_lora, az_full_tuning;

static const az_method *const methods[] = {
    &az_magnitude, /* compress */
    &az_wanda,     &az_sparsegpt, &az_dsnot,     &az_maskpro,  &az_quantize, &az_welore,
    &az_pv,        &az_m_fac,     &az_flash_llm, &az_llm_int8, &az_lora,     &az_full_tuning, /* tune */
    NULL,
};

static const char *const family_names[AZ_FAMILIES] = {"compress", "tune",      "decode",   "prompt",  "study",    "evaluate",
                                                      "federate", "continual", "forecast", "predict", "estimate", "solve"};

const char *az_family_name(az_family family)
{
    return family_names[family];
}

const az_method *const *az_methods(void)
{
    return methods;
}

const az_method *az_method_by_name(const char *name)
{
    for (const az_method *const *method = methods; *method; method++)
        if (strcmp((*method)->name, name) == 0) return *method;
    return NULL;
}
