/* Compensation: what stays makes up for what was masked. */
#ifndef PRN_PASSES_COMPENSATE_COMPENSATE_H
#define PRN_PASSES_COMPENSATE_COMPENSATE_H

#include "ir/sparsity.h"
#include "passes/analysis/observed.h"

/* A masked weight as a matrix. */
typedef struct prn_masked {
  const prn_site *site;
  const prn_tensor *t;
  prn_site_matrix m;
} prn_masked;

/* Elements that can be fitted: those of f32, f16 and bf16. */
bool prn_fits_dtype(prn_dtype t);
/* Whether there is something to make up for: a mask on such weights that
 * sites(...) selects. */
bool prn_masked_concerns(const prn_pass_env *env, const prn_site *s);
/* False when the weight is no matrix, or the profile says nothing of the inputs
 * of a use; then a remark says so. In the arena. */
PRN_NODISCARD bool prn_masked_open(const prn_pass_env *env, const prn_site *s,
                                   prn_arena *arena, prn_masked *out);
/* Where output `o` of all groups has input `i`. */
static inline int64_t prn_masked_at(const prn_masked *w, int64_t o, int64_t i) {
  return w->m.rows[o] + w->m.cols[i];
}

/* Adds delta[n] to what op adds to its outputs: to its bias, to an Add behind a
 * product, or to one that is made. Entries that a bias has masked stay; without
 * a bias those of outputs that are not alive do. False when there is no place
 * for it. *added: there was no bias. */
PRN_NODISCARD bool prn_bias_add(const prn_pass_env *env, prn_op *op,
                                double *delta, const unsigned char *alive,
                                int64_t n, bool *added);

/* Whether prn_bias_add would find a place: what is there already, or (add) what
 * can be made. */
bool prn_bias_open(const prn_op *op, int64_t n, bool add);

/* Fails unless there is a profile. */
PRN_NODISCARD prn_status prn_compensate_check(const prn_pass_env *env);

#endif
