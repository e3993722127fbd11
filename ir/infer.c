/* Shape inference driver. */
#include "ir/infer.h"

prn_status prn_infer_constant(prn_infer *env, prn_op *op) {
  const prn_attr *v = prn_op_attr(op, "value");
  if (!v || v->kind != PRN_ATTR_TENSOR) return PRN_OK;
  return prn_infer_result(env, op, 0, v->tensor->type);
}
