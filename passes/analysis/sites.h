/* Weight sites: the constants that operators use as weights.
 *
 * A site is a constant that reaches a weight operand (of MatMul, Gemm, Conv,
 * ConvTranspose, LSTM, GRU, RNN, Gather, ...), also through Transpose,
 * Reshape, Identity, Cast, quantisation and back, branches, and calls of
 * model-local functions, in nested blocks as well. It says which axes are
 * output units and which are summed over, and when it cannot be pruned, why.
 *
 *   output unit ("row")  one combination of the OUT and BATCH axes
 *   column               one combination of the IN and KERNEL axes */
#ifndef PRN_PASSES_ANALYSIS_SITES_H
#define PRN_PASSES_ANALYSIS_SITES_H

#include "passes/analysis/layout.h"
#include "passes/pass.h"

typedef enum prn_role {
  PRN_ROLE_OUT,    /* output channels */
  PRN_ROLE_IN,     /* input channels: summed over */
  PRN_ROLE_KERNEL, /* places of a convolution window: summed over */
  PRN_ROLE_BATCH,  /* independent copies: directions, groups */
} prn_role;

/* An operator that uses the weight. */
typedef struct prn_site_use {
  prn_op *op;
  uint32_t slot;
} prn_site_use;

typedef struct prn_site {
  prn_op *constant;
  prn_str name;      /* the constant's name, or how messages call it */
  prn_layout layout; /* as the first use sees it */
  prn_role roles[PRN_LAYOUT_MAX_RANK];
  prn_site_use *uses; /* in program order */
  size_t num_uses;
  uint32_t index;    /* among all sites of the module, in module order */
  bool prunable;     /* nothing stands against it */
  bool mixed;        /* uses disagree about the roles of the axes */
  prn_reason reason; /* when not prunable */
  const char *detail;
} prn_site;

typedef struct prn_sites {
  prn_site *at; /* in module order of the constants */
  size_t size;
  prn_arena arena;
  prn_ptrmap by_constant;
} prn_sites;

/* The site of a constant; NULL when it is no weight. */
const prn_site *prn_site_of(const prn_sites *s, const prn_op *constant);
/* The site that feeds operand `slot` of op, views looked through; NULL when
 * none does. */
const prn_site *prn_site_at(const prn_sites *s, const prn_op *op,
                            uint32_t slot);
static inline const prn_tensor *prn_site_tensor(const prn_site *s) {
  return prn_value_constant(prn_op_result(s->constant, 0));
}
/* The axis of the constant, as it lies in memory, that is the one axis with
 * this role; false when there is none, several, or when views have cut it up.
 */
PRN_NODISCARD bool prn_site_memory_axis(const prn_site *s, prn_role role,
                                        int32_t *axis);
/* Bit set of the axes with one of the roles in the bit set `roles`. */
uint32_t prn_site_axes(const prn_site *s, uint32_t roles);
enum {
  PRN_ROLES_ROW = 1u << PRN_ROLE_OUT | 1u << PRN_ROLE_BATCH,
  PRN_ROLES_COL = 1u << PRN_ROLE_IN | 1u << PRN_ROLE_KERNEL,
};

static inline const prn_sites *prn_pass_weight_sites(const prn_pass_env *env) {
  return prn_analyses_get(env->analyses, PRN_ANALYSIS_SITES);
}

/* ---- what weights are multiplied with ---- */

/* Along which axis of which operand the IN axes of a weight are summed over:
 * the channels of that operand. Counted from the front for convolutions (1),
 * from the end for products (-1, -2), so that it does not depend on the rank. A
 * convolution of g groups has g times the channels that its weight has. */
typedef struct prn_site_input {
  prn_value *value;
  int32_t axis;
} prn_site_input;

/* The input of a use; false when there is none (tables, the recurrence weights
 * of LSTM, GRU and RNN), or none of which one axis is the channels. */
bool prn_site_input_of(const prn_op *op, uint32_t slot, prn_site_input *out);

/* ---- for the analysis's own files ---- */

typedef struct prn_weight_view {
  prn_layout layout;
  prn_role roles[PRN_LAYOUT_MAX_RANK];
  bool embedding, depthwise, quantised;
} prn_weight_view;

/* Whether operand `slot` of op is a weight operand; then completes the view,
 * whose layout is that of the operand. *ok is false when the rank does not
 * fit. */
bool prn_weight_slot(const prn_op *op, uint32_t slot, prn_weight_view *view,
                     bool *ok);
/* Whether op only renames or moves the elements of operand 0; then changes l
 * from operand to result. *ok is false when a layout cannot say how. */
bool prn_view_op(const prn_op *op, prn_layout *l, bool *ok);

#endif
