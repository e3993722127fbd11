/* What the onnx operators' shape inference hooks share: mutable shapes,
 * axes, integer parameters, contents. Everything returned lives in the run's
 * scratch memory. */
#ifndef PRN_IR_ONNX_SHAPE_H
#define PRN_IR_ONNX_SHAPE_H

#include "ir/infer.h"

/* The shape of a tensor. dtype PRN_DTYPE_NONE: not known to be a tensor;
 * rank -1: rank not known. */
typedef struct prn_shape {
  prn_dtype dtype;
  int32_t rank;
  prn_dim *dims; /* a copy: may be changed */
} prn_shape;

/* Operand i; NULL when absent. */
prn_value *prn_shape_in(const prn_op *op, uint32_t i);
/* The shape of operand i. */
prn_shape prn_shape_of(prn_infer *env, const prn_op *op, uint32_t i);
prn_shape prn_shape_of_type(prn_infer *env, const prn_type *t);
/* rank dimensions, all unknown. */
prn_shape prn_shape_new(prn_infer *env, prn_dtype dtype, int64_t rank);
static inline prn_shape prn_shape_unranked(prn_dtype dtype) {
  return (prn_shape){dtype, -1, NULL};
}
const prn_type *prn_shape_type(prn_infer *env, prn_shape s);
/* Sets result i; nothing when the element type is not known. */
PRN_NODISCARD prn_status prn_shape_result(prn_infer *env, prn_op *op,
                                          uint32_t i, prn_shape s);
/* Result i has element type dtype, and that is all that is known. */
PRN_NODISCARD prn_status prn_shape_dtype_only(prn_infer *env, prn_op *op,
                                              uint32_t i, prn_dtype dtype);
/* "[1, batch, 4]", interned: for messages. */
const char *prn_shape_str(prn_infer *env, prn_shape s);

prn_dim prn_shape_const(prn_infer *env, int64_t v);
/* Product of dims [from, to). */
prn_dim prn_shape_product(prn_infer *env, prn_shape s, int64_t from,
                          int64_t to);
/* Sets *out to what is known of two dims that must be equal; false when they
 * cannot be. */
PRN_NODISCARD bool prn_shape_unify(prn_dim a, prn_dim b, prn_dim *out);

/* Broadcasts b into *a; false, and *a as it was, when they cannot. An unranked
 * side makes the result unranked. */
PRN_NODISCARD bool prn_shape_broadcast(prn_infer *env, prn_shape *a,
                                       prn_shape b);

/* axis in [-rank, rank) made non-negative; reports and fails otherwise. */
PRN_NODISCARD prn_status prn_shape_axis(const prn_op *op, const char *what,
                                        int64_t axis, int64_t rank,
                                        int32_t *out);

/* A list of integers that an operator takes from an attribute (older
 * versions) or from an operand: `given` is false when it has neither, `elems`
 * is NULL when it is given but not known, and n is -1 when not even its length
 * is. */
typedef struct prn_int_list {
  bool given;
  int64_t n;
  const prn_dim *elems;
} prn_int_list;

prn_int_list prn_shape_ints(prn_infer *env, const prn_op *op, const char *attr,
                            uint32_t operand);
/* Axes from such a list as flags per dimension. *known is false when they are
 * given but not known. Reports axes that are out of range or repeated. */
PRN_NODISCARD prn_status prn_shape_axes(prn_infer *env, const prn_op *op,
                                        prn_int_list list, int64_t rank,
                                        bool *known, bool **out_flags);

/* Elements of v when all are known constants; n as given, else NULL. */
const int64_t *prn_shape_consts(prn_infer *env, prn_int_list list);

/* The element type numbered by an INT attribute; PRN_DTYPE_NONE otherwise. */
prn_dtype prn_shape_dtype_attr(const prn_op *op, const char *name,
                               prn_dtype dflt);

/* Number of elements of a static shape, at most PRN_INFER_MAX_CONTENT; -1
 * otherwise. */
int64_t prn_shape_small(prn_shape s);

/* The numpy matrix product of a and b. */
PRN_NODISCARD prn_status prn_shape_matmul(prn_infer *env, const prn_op *op,
                                          prn_shape a, prn_shape b,
                                          prn_shape *out);

/* The contents of operand i broadcast to the small static shape `out`; false
 * when they are not known. */
PRN_NODISCARD bool prn_shape_spread(prn_infer *env, const prn_op *op,
                                    uint32_t i, prn_shape out, prn_dim *elems);

#endif
