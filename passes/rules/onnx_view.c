/* Rules for operators that move or rename elements. */
#include <stdlib.h>
#include <string.h>

#include "passes/rules/rules.h"

enum { X = 1, S, C };

static prn_value *take_x(prn_rewriter *rw, const prn_match *m) {
  (void)rw;
  return m->at[X];
}

/* ---- nothing happens ---- */

static bool not_training(const prn_match *m) {
  const prn_op *op = m->root;
  const prn_value *mode = PRN_IN(op, onnx_Dropout, training_mode);
  if (op->num_results > 1 && op->results[1].uses) return false;
  return !mode || prn_rule_all_equal(mode, 0);
}

static bool one_operand(const prn_match *m) {
  return m->root->num_operands == 1;
}

static bool one_result(const prn_match *m) { return m->root->num_results == 1; }

static bool same_shape(const prn_match *m) {
  return prn_rule_same_shape(m->at[X], &m->root->results[0]);
}

/* A slice of full size with no negative step has every element in its place:
 * a size of 1 or 0 leaves no choice, and a step above 1 would shorten it. */
static bool whole_slice(const prn_match *m) {
  const prn_value *given = PRN_IN(m->root, onnx_Slice, steps);
  prn_rule_ints steps = {.n = 0};
  if (given &&
      !prn_rule_ints_of(m->root, "steps", PRN_SLOT(onnx_Slice, steps), &steps))
    return false;
  for (size_t i = 0; i < steps.n; i++)
    if (steps.v[i] <= 0) return false;
  return same_shape(m);
}

static bool no_pads(const prn_match *m) {
  prn_rule_ints pads;
  if (!prn_rule_ints_of(m->root, "pads", PRN_SLOT(onnx_Pad, pads), &pads))
    return false;
  for (size_t i = 0; i < pads.n; i++)
    if (pads.v[i] != 0) return false;
  return true;
}

static bool identity_perm(const prn_match *m) {
  size_t n;
  const int64_t *perm = prn_op_ints(m->root, "perm", &n);
  for (size_t i = 0; i < n; i++)
    if (perm[i] != (int64_t)i) return false;
  return perm != NULL;
}

/* ---- pairs that cancel ---- */

static int compare_i64(const void *a, const void *b) {
  int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
  return (x > y) - (x < y);
}

/* Both name the same axes in the same numbering. */
static bool same_axes(const prn_op *outer, const prn_op *inner) {
  prn_rule_ints a, b;
  if (!prn_rule_ints_of(outer, "axes", 1, &a) ||
      !prn_rule_ints_of(inner, "axes", 1, &b) || a.n != b.n)
    return false;
  qsort(a.v, a.n, sizeof a.v[0], compare_i64);
  qsort(b.v, b.n, sizeof b.v[0], compare_i64);
  return memcmp(a.v, b.v, a.n * sizeof a.v[0]) == 0;
}

static bool axes_cancel(const prn_match *m) {
  return same_axes(m->root, prn_op_operand(m->root, 0)->def);
}

/* ---- chains ---- */

/* The permutation of a Transpose; false when its rank is not known. */
static bool perm_of(const prn_op *op, prn_rule_ints *out) {
  size_t n;
  const int64_t *perm = prn_op_ints(op, "perm", &n);
  const prn_type *t = op->operands[0].value->type;
  if (!perm) {
    if (t->kind != PRN_TYPE_TENSOR || t->rank < 0) return false;
    n = (size_t)t->rank;
  }
  if (n > PRN_RULE_INTS) return false;
  out->n = n;
  for (size_t i = 0; i < n; i++) {
    out->v[i] = perm ? perm[i] : (int64_t)(n - 1 - i);
    if (out->v[i] < 0 || out->v[i] >= (int64_t)n) return false;
  }
  return true;
}

static prn_value *join_transposes(prn_rewriter *rw, const prn_match *m) {
  prn_rule_ints outer, inner;
  int64_t perm[PRN_RULE_INTS];
  const prn_op *first = prn_op_operand(m->root, 0)->def;
  if (!perm_of(m->root, &outer) || !perm_of(first, &inner) ||
      outer.n != inner.n)
    return NULL;
  for (size_t i = 0; i < outer.n; i++)
    perm[i] = inner.v[outer.v[i]];
  prn_value *x = m->at[X];
  prn_op *op =
      prn_rw_op(rw, PRN_OP_onnx_Transpose, &x, 1, m->root->results[0].type);
  prn_op_set_attr(op, "perm",
                  prn_attr_ints(prn_rw_module(rw)->ctx, perm, outer.n));
  return &op->results[0];
}

/* The target shape does not refer to the operand's own sizes. */
static bool free_shape(const prn_match *m) {
  prn_rule_ints shape;
  if (!prn_rule_ints_of(m->root, "shape", PRN_SLOT(onnx_Reshape, shape),
                        &shape))
    return false;
  if (prn_op_int(m->root, "allowzero", 0)) return true;
  for (size_t i = 0; i < shape.n; i++)
    if (shape.v[i] == 0) return false;
  return true;
}

static prn_value *reshape_x(prn_rewriter *rw, const prn_match *m) {
  prn_value *operands[] = {m->at[X], m->at[S]};
  prn_op *op =
      prn_rw_op(rw, PRN_OP_onnx_Reshape, operands, 2, m->root->results[0].type);
  const prn_attr *allowzero = prn_op_attr(m->root, "allowzero");
  if (allowzero) prn_op_set_attr(op, "allowzero", allowzero);
  return &op->results[0];
}

/* clang-format off */
const prn_rule prn_rules_onnx_view[] = {
  {"identity", "Identity(x) = x",
   PRN_MATCH(onnx_Identity, PRN_VAR(X)), NULL, take_x},
  {"dropout", "Dropout(x) = x, unless training",
   PRN_MATCH(onnx_Dropout, PRN_VAR(X)), not_training, take_x},
  {"concat-one", "Concat(x) = x",
   PRN_MATCH(onnx_Concat, PRN_VAR(X)), one_operand, take_x},
  {"split-one", "Split(x) into one part = x",
   PRN_MATCH(onnx_Split, PRN_VAR(X)), one_result, take_x},
  {"reshape-same", "Reshape(x, s) = x when s is the shape of x",
   PRN_MATCH(onnx_Reshape, PRN_VAR(X)), same_shape, take_x},
  {"flatten-same", "Flatten(x) = x when x is such a matrix",
   PRN_MATCH(onnx_Flatten, PRN_VAR(X)), same_shape, take_x},
  {"expand-same", "Expand(x, s) = x when the shape stays",
   PRN_MATCH(onnx_Expand, PRN_VAR(X)), same_shape, take_x},
  {"tile-same", "Tile(x, r) = x when the shape stays",
   PRN_MATCH(onnx_Tile, PRN_VAR(X)), same_shape, take_x},
  {"slice-whole", "Slice(x) = x when the shape stays and no step is negative",
   PRN_MATCH(onnx_Slice, PRN_VAR(X)), whole_slice, take_x},
  {"pad-none", "Pad(x, 0) = x",
   PRN_MATCH(onnx_Pad, PRN_VAR(X)), no_pads, take_x},
  {"transpose-none", "Transpose(x) = x when every axis stays",
   PRN_MATCH(onnx_Transpose, PRN_VAR(X)), identity_perm, take_x},
  {"squeeze-unsqueeze", "Squeeze(Unsqueeze(x, a), a) = x",
   PRN_MATCH(onnx_Squeeze, PRN_MATCH(onnx_Unsqueeze, PRN_VAR(X))),
   axes_cancel, take_x},
  {"unsqueeze-squeeze", "Unsqueeze(Squeeze(x, a), a) = x",
   PRN_MATCH(onnx_Unsqueeze, PRN_MATCH(onnx_Squeeze, PRN_VAR(X))),
   axes_cancel, take_x},
  {"transpose-transpose", "Transpose(Transpose(x, p), q) = Transpose(x, p[q])",
   PRN_MATCH(onnx_Transpose, PRN_MATCH(onnx_Transpose, PRN_VAR(X))),
   NULL, join_transposes},
  {"reshape-reshape", "Reshape(Reshape(x, r), s) = Reshape(x, s)",
   PRN_MATCH(onnx_Reshape, PRN_MATCH(onnx_Reshape, PRN_VAR(X)), PRN_VAR(S)),
   free_shape, reshape_x},
  {"reshape-flatten", "Reshape(Flatten(x), s) = Reshape(x, s)",
   PRN_MATCH(onnx_Reshape, PRN_MATCH(onnx_Flatten, PRN_VAR(X)), PRN_VAR(S)),
   free_shape, reshape_x},
  {"reshape-squeeze", "Reshape(Squeeze(x), s) = Reshape(x, s)",
   PRN_MATCH(onnx_Reshape, PRN_MATCH(onnx_Squeeze, PRN_VAR(X)), PRN_VAR(S)),
   free_shape, reshape_x},
  {"reshape-unsqueeze", "Reshape(Unsqueeze(x), s) = Reshape(x, s)",
   PRN_MATCH(onnx_Reshape, PRN_MATCH(onnx_Unsqueeze, PRN_VAR(X)), PRN_VAR(S)),
   free_shape, reshape_x},
  {.name = NULL},
};
/* clang-format on */
