/* Building ONNX nodes that every operator set spells differently. Each goes
 * before `at`, at its location; result types are left to shape inference. */
#ifndef PRN_PASSES_TRANSFORM_BUILD_H
#define PRN_PASSES_TRANSFORM_BUILD_H

#include "ir/op.h"

/* A node with one result. */
prn_value *prn_build_node(prn_op *at, prn_opcode code, prn_value *const *in,
                          uint32_t n);
/* A constant of i64: a vector, or a scalar. */
prn_value *prn_build_ints(prn_op *at, const int64_t *v, size_t n);
prn_value *prn_build_int(prn_op *at, int64_t v);
prn_value *prn_build_unsqueeze(prn_op *at, prn_value *v, int64_t axis);
prn_value *prn_build_squeeze(prn_op *at, prn_value *v, int64_t axis);
prn_value *prn_build_concat(prn_op *at, prn_value *const *parts, uint32_t n,
                            int64_t axis);
/* The parts laid beside each other along a new axis. */
prn_value *prn_build_stack(prn_op *at, prn_value *const *parts, uint32_t n,
                           int64_t axis);

#endif
