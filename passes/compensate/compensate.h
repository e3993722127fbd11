/* Compensation: what stays makes up for what was masked. */
#ifndef PRN_PASSES_COMPENSATE_COMPENSATE_H
#define PRN_PASSES_COMPENSATE_COMPENSATE_H

#include "ir/sparsity.h"
#include "passes/analysis/observed.h"

/* A weight that one operator reads, with its axes of outputs and inputs as they
 * lie in memory, and what was observed of its inputs. */
typedef struct prn_masked {
  const prn_site *site;
  const prn_tensor *t;
  const prn_observation *seen;
  prn_op *op;
  prn_axis_view out, in;
  int64_t groups; /* of a convolution */
} prn_masked;

/* Whether there is something to make up for: a mask on f32 weights that
 * sites(...) selects. */
bool prn_masked_concerns(const prn_pass_env *env, const prn_site *s);
/* False when the weight is read twice, its axes are not plain, or the profile
 * says nothing of its inputs; then a remark says so. */
PRN_NODISCARD bool prn_masked_open(const prn_pass_env *env, const prn_site *s,
                                   prn_masked *out);
/* Number of the output, or of the input within its group, that element `at`
 * belongs to. */
static inline int64_t prn_masked_along(prn_axis_view v, int64_t at) {
  return at / v.inner % v.length;
}

/* Adds delta[n] to what op adds to its outputs: to its bias, to an Add behind a
 * product, or to one that is made. Entries that a bias has masked stay; without
 * a bias those of outputs that are not alive do. False when there is no place
 * for it. *added: there was no bias. */
PRN_NODISCARD bool prn_bias_add(const prn_pass_env *env, prn_op *op,
                                double *delta, const unsigned char *alive,
                                int64_t n, bool *added);

/* Fails unless there is a profile. */
PRN_NODISCARD prn_status prn_compensate_check(const prn_pass_env *env);

#endif
