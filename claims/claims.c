/* claims.c - the list of claims: one a method. */
#include "claims/claims.h"

extern const az_claim az_claim_wanda;
extern const az_claim az_claim_sparsegpt;
extern const az_claim az_claim_dsnot;
extern const az_claim az_claim_maskpro;
extern const az_claim az_claim_m_fac;
extern const az_claim az_claim_welore;
extern const az_claim az_claim_pv_tuning;
extern const az_claim az_claim_flash_llm;
extern const az_claim az_claim_llm_int8;
extern const az_claim az_claim_outliertune;
extern const az_claim az_claim_bipolar_int;
extern const az_claim az_claim_lora;
extern const az_claim az_claim_pissa;
extern const az_claim az_claim_eva;
extern const az_claim az_claim_adalora;
extern const az_claim az_claim_s2ft;
extern const az_claim az_claim_tezo;
extern const az_claim az_claim_iapt;
extern const az_claim az_claim_cpt;
extern const az_claim az_claim_dpo;
extern const az_claim az_claim_itertl;
extern const az_claim az_claim_aops;
extern const az_claim az_claim_lacie;
extern const az_claim az_claim_dsl;
extern const az_claim az_claim_adaptive_analysis;
extern const az_claim az_claim_ldp_sparse_regression;
extern const az_claim az_claim_colide;
extern const az_claim az_claim_matrix_completion;
extern const az_claim az_claim_linf_regression;
extern const az_claim az_claim_programmable_vi;
extern const az_claim az_claim_krosbl;
extern const az_claim az_claim_ila_sdp;
extern const az_claim az_claim_ppg;
extern const az_claim az_claim_sdl;

/* clang-format off */
static const az_claim *const claims[] = {
    /* compress */
    &az_claim_wanda,
    &az_claim_sparsegpt,
    &az_claim_dsnot,
    &az_claim_maskpro,
    &az_claim_m_fac,
    &az_claim_welore,
    &az_claim_pv_tuning,
    &az_claim_flash_llm,
    &az_claim_llm_int8,
    &az_claim_outliertune,
    &az_claim_bipolar_int,
    /* tune */
    &az_claim_lora,
    &az_claim_pissa,
    &az_claim_eva,
    &az_claim_adalora,
    &az_claim_s2ft,
    &az_claim_tezo,
    &az_claim_iapt,
    &az_claim_cpt,
    &az_claim_dpo,
    &az_claim_itertl,
    &az_claim_aops,
    &az_claim_lacie,
    /* estimate */
    &az_claim_dsl,
    &az_claim_adaptive_analysis,
    &az_claim_ldp_sparse_regression,
    &az_claim_colide,
    &az_claim_matrix_completion,
    &az_claim_linf_regression,
    &az_claim_programmable_vi,
    &az_claim_krosbl,
    &az_claim_ila_sdp,
    &az_claim_ppg,
    &az_claim_sdl,
    NULL,
};
/* clang-format on */

const az_claim *const *az_claims(void)
{
    return claims;
}
