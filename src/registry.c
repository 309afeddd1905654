/* registry.c - the catalogue: every method, one line each. */
#include "adze/method.h"

#include <string.h>

extern const az_method az_aops;
extern const az_method az_magnitude;
extern const az_method az_wanda;
extern const az_method az_sparsegpt;
extern const az_method az_dsnot;
extern const az_method az_maskpro;
extern const az_method az_quantize;
extern const az_method az_welore;
extern const az_method az_pv;
extern const az_method az_m_fac;
extern const az_method az_flash_llm;
extern const az_method az_plant;
extern const az_method az_smoothquant;
extern const az_method az_llm_int8;
extern const az_method az_outliertune;
extern const az_method az_bipolar_int;
extern const az_method az_lora;
extern const az_method az_full_tuning;
extern const az_method az_s2ft;
extern const az_method az_pissa;
extern const az_method az_eva_method;
extern const az_method az_adalora_method;
extern const az_method az_tezo;
extern const az_method az_mezo;
extern const az_method az_lozo;
extern const az_method az_subzo;
extern const az_method az_cpt;
extern const az_method az_iapt;
extern const az_method az_dpo;
extern const az_method az_lacie;
extern const az_method az_itertl;
extern const az_method az_dsl;
extern const az_method az_adaptive_analysis;
extern const az_method az_ldp_sparse_regression;
extern const az_method az_colide;
extern const az_method az_dag_samples;
extern const az_method az_dag_compare_files;
extern const az_method az_matrix_completion;
extern const az_method az_linf_regression;
extern const az_method az_programmable_vi;
extern const az_method az_krosbl;
extern const az_method az_irs_channel;
extern const az_method az_ila_sdp_method;
extern const az_method az_ppg;
extern const az_method az_sdl;
extern const az_method az_ihvp;

/* clang-format off */
static const az_method *const methods[] = {
    /* prepare */
    &az_aops,
    /* compress */
    &az_magnitude,
    &az_wanda,
    &az_sparsegpt,
    &az_dsnot,
    &az_maskpro,
    &az_quantize,
    &az_welore,
    &az_pv,
    &az_m_fac,
    &az_flash_llm,
    &az_llm_int8,
    &az_plant,
    &az_smoothquant,
    &az_outliertune,
    &az_bipolar_int,
    /* tune */
    &az_lora,
    &az_full_tuning,
    &az_s2ft,
    &az_pissa,
    &az_eva_method,
    &az_adalora_method,
    &az_tezo,
    &az_mezo,
    &az_lozo,
    &az_subzo,
    &az_cpt,
    &az_iapt,
    &az_dpo,
    &az_lacie,
    &az_itertl,
    /* estimate */
    &az_dsl,
    &az_adaptive_analysis,
    &az_ldp_sparse_regression,
    &az_colide,
    &az_dag_samples,
    &az_dag_compare_files,
    &az_matrix_completion,
    &az_linf_regression,
    &az_programmable_vi,
    &az_krosbl,
    &az_irs_channel,
    &az_ila_sdp_method,
    &az_ppg,
    &az_sdl,
    &az_ihvp,
    NULL,
};
/* clang-format on */

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
