/* Which operand a weight is multiplied with, and where its channels are. */
#include <string.h>

#include "passes/analysis/sites.h"

static bool flag(const prn_op *op, const char *name) {
  const prn_attr *a = prn_op_attr(op, name);
  return a && a->kind == PRN_ATTR_INT && a->i != 0;
}

typedef bool axis_fn(const prn_op *op, uint32_t input, int32_t *axis);

/* x of x * W, or of W' * x'. */
static bool left(const prn_op *op, uint32_t input, int32_t *axis) {
  (void)input;
  *axis = flag(op, "transA") ? -2 : -1;
  return !flag(op, "transBatchA");
}

/* x of W * x; a vector has one axis only. */
static bool right(const prn_op *op, uint32_t input, int32_t *axis) {
  const prn_value *x = prn_op_operand(op, input);
  *axis = flag(op, "transB") ? -1 : -2;
  if (!x || !prn_type_is_ranked(x->type)) return false;
  if (x->type->rank == 1) *axis = -1;
  return true;
}

static bool image(const prn_op *op, uint32_t input, int32_t *axis) {
  (void)op;
  (void)input;
  *axis = 1;
  return true;
}

static bool last(const prn_op *op, uint32_t input, int32_t *axis) {
  (void)op;
  (void)input;
  *axis = -1;
  return true;
}

/* The terms of "ab,bc->ac"; false when the equation is not like that. */
static bool terms(const prn_op *op, prn_str *a, prn_str *b, prn_str *result) {
  prn_str eq = prn_op_string(op, "equation", "");
  const char *comma = eq.size ? memchr(eq.data, ',', eq.size) : NULL;
  const char *arrow = eq.size ? memmem(eq.data, eq.size, "->", 2) : NULL;
  if (!comma || !arrow || comma > arrow || op->num_operands != 2) return false;
  *a = (prn_str){eq.data, (size_t)(comma - eq.data)};
  *b = (prn_str){comma + 1, (size_t)(arrow - comma - 1)};
  *result = (prn_str){arrow + 2, (size_t)(eq.data + eq.size - arrow - 2)};
  return true;
}

static bool has(prn_str s, char c) {
  return s.size && memchr(s.data, c, s.size) != NULL;
}

/* The one letter that both operands have and the result has not. */
static bool einsum(const prn_op *op, uint32_t input, int32_t *axis) {
  prn_str a, b, result;
  int32_t place = 0, found = -1;
  if (!terms(op, &a, &b, &result)) return false;
  prn_str mine = input == 0 ? a : b, other = input == 0 ? b : a;
  for (size_t i = 0; i < mine.size; i++) {
    char c = mine.data[i];
    if (c == ' ') continue;
    if (c == '.') return false;
    if (has(other, c) && !has(result, c)) {
      if (found >= 0) return false;
      found = place;
    }
    place++;
  }
  *axis = found - place;
  return found >= 0;
}

static const struct input_rule {
  const char *dialect, *op;
  uint32_t slot, input;
  axis_fn *fn;
} rules[] = {
    {"onnx", "MatMul", 1, 0, left},
    {"onnx", "MatMul", 0, 1, right},
    {"onnx", "Gemm", 1, 0, left},
    {"onnx", "Gemm", 0, 1, right},
    {"onnx", "Conv", 1, 0, image},
    {"onnx", "ConvTranspose", 1, 0, image},
    {"onnx", "DeformConv", 1, 0, image},
    {"onnx", "LSTM", 1, 0, last},
    {"onnx", "GRU", 1, 0, last},
    {"onnx", "RNN", 1, 0, last},
    {"onnx", "Einsum", 0, 1, einsum},
    {"onnx", "Einsum", 1, 0, einsum},
    {"com.microsoft", "FusedMatMul", 1, 0, left},
    {"com.microsoft", "FusedGemm", 1, 0, left},
    {"com.microsoft", "FusedConv", 1, 0, image},
    {"com.microsoft", "Attention", 1, 0, last},
};

bool prn_site_input_of(const prn_op *op, uint32_t slot, prn_site_input *out) {
  for (size_t i = 0; i < PRN_COUNT(rules); i++) {
    const struct input_rule *r = &rules[i];
    if (r->slot != slot || !prn_str_is(op->opname->name, r->op) ||
        !prn_str_is(op->opname->dialect, r->dialect))
      continue;
    out->value = prn_op_operand(op, r->input);
    return out->value && r->fn(op, r->input, &out->axis);
  }
  return false;
}
