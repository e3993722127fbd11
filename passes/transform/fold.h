/* Evaluation of single operations on constants, for fold-constants.
 *
 * Only what every runtime computes to the last bit: data movement, integer
 * arithmetic without overflow, IEEE operations that round once, conversions
 * in range. Everything else is refused, as is a result that is too big. */
#ifndef PRN_PASSES_TRANSFORM_FOLD_H
#define PRN_PASSES_TRANSFORM_FOLD_H

#include "ir/op.h"

enum { PRN_FOLD_RANK = 16, PRN_FOLD_OPERANDS = 64 };

/* A constant of 8- to 128-bit elements. */
typedef struct prn_fold_view {
  prn_dtype dtype;
  int rank;
  int64_t dims[PRN_FOLD_RANK];
  int64_t count;
  size_t width; /* bytes of an element */
  char *data;   /* operands: read only */
  bool there;   /* false: an absent operand */
} prn_fold_view;

typedef struct prn_fold {
  prn_ctx *ctx;
  const prn_op *op;
  prn_arena *scratch;
  int64_t max_elements; /* of one result */
  int64_t growth; /* elements a result may add to those it makes superfluous */
  bool too_big;   /* set when a limit was the reason to refuse */
  prn_fold_view in[PRN_FOLD_OPERANDS];
  uint32_t num_in;
  prn_fold_view out[PRN_FOLD_OPERANDS];
  uint32_t num_out;
} prn_fold;

/* Evaluates f->op, whose operands are constants (prn_value_fixed); out holds
 * the results. False when it is not to be folded. */
bool prn_fold_eval(prn_fold *f);

/* ---- for the operators ---- */
typedef bool prn_fold_fn(prn_fold *f);
/* The next result, with memory for its elements; NULL when it is too big. */
prn_fold_view *prn_fold_result(prn_fold *f, prn_dtype dtype, int rank,
                               const int64_t *dims);
/* Row-major strides in elements; the stride of a broadcast axis is 0. Axes of
 * v are aligned with the last ones of rank. */
void prn_fold_strides(const prn_fold_view *v, int rank, const int64_t *dims,
                      int64_t *strides);
/* Adds one to the index, last axis first; false after the last. */
bool prn_fold_next(int rank, const int64_t *dims, int64_t *index);
/* The shape all operands broadcast to; false when there is none. */
bool prn_fold_broadcast(const prn_fold *f, uint32_t from, uint32_t to,
                        int *rank, int64_t *dims);
/* An axis in [0, rank); false when it is out of range. */
bool prn_fold_axis(int64_t axis, int rank, int *out);
/* Integers of an operand, or of an attribute in old versions. */
bool prn_fold_ints(const prn_fold *f, const char *attr, uint32_t operand,
                   int64_t *out, int *out_n);

/* By opcode; NULL: not evaluated. Filled by the tables of movement, arithmetic
 * and selection. */
prn_fold_fn *prn_fold_movement(prn_opcode code);
prn_fold_fn *prn_fold_arithmetic(prn_opcode code);
prn_fold_fn *prn_fold_selection(prn_opcode code);

#endif
