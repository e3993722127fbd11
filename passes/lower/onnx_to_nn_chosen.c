/* onnx -> nn: operators whose results are as large as the data decides. What is
 * chosen must be known: results of a size that only a run can tell have no
 * type here. fold-constants evaluates the others of them. */
#include "passes/lower/onnx_to_nn.h"

static prn_status lower_compress(prn_o2n *e, prn_op *op) {
  prn_value *x = prn_o2n_in(e, op, 0);
  const prn_dim *c;
  int64_t keep;
  size_t n, kept = 0;
  int32_t axis = 0;
  PRN_TRY(prn_o2n_dims(e, op, 1, &c, &n));
  if (prn_op_attr(op, "axis")) {
    PRN_TRY(prn_o2n_axis(op, "axis", 0, x->type->rank, &axis));
  } else {
    prn_dim size = prn_type_size(e->ctx, x->type);
    x = prn_nn_reshape_dims(&e->b, x, 1, &size);
  }
  double *at = PRN_ARENA_ARRAY(&e->b.m->arena, double, n + 1);
  for (size_t i = 0; i < n; i++) {
    if (!prn_dim_is_const(c[i], &keep))
      return prn_o2n_unsupported(op, "a condition that is not constant");
    if (keep) at[kept++] = (double)i;
  }
  int64_t size = (int64_t)kept;
  const prn_type *t = prn_type_static(e->ctx, PRN_I64, 1, &size);
  prn_value *i = prn_nn_constant(&e->b, prn_nn_tensor(e->ctx, t, at));
  return prn_o2n_set(e, op, 0, prn_nn_gather(&e->b, x, i, axis));
}

static prn_status lower_open(prn_o2n *e, prn_op *op) {
  (void)e;
  return prn_o2n_unsupported(op,
                             "results whose size depends on data that is only "
                             "known at run time, or is too large");
}

const prn_o2n_row prn_o2n_chosen[] = {
    {"Compress", lower_compress, 2, 0},
    {"NonZero", lower_open, 1, 0},
    {"Unique", lower_open, 1, 0},
    {"NonMaxSuppression", lower_open, 1 | 2 | 4 | 8 | 16, 0},
    {NULL, NULL, 0, 0},
};
