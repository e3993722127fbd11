/* Which operands of which operators are weights, and what their axes mean. */
#include <string.h>

#include "passes/analysis/sites.h"

typedef bool slot_fn(const prn_op *op, prn_weight_view *v);

/* Roles of the last axes, the ones before them BATCH. */
static bool last_axes(prn_weight_view *v, const prn_role *roles, int32_t n) {
  int32_t rank = v->layout.rank;
  if (rank < n) return false;
  for (int32_t i = 0; i < rank; i++)
    v->roles[i] = i < rank - n ? PRN_ROLE_BATCH : roles[i - (rank - n)];
  return true;
}

static const prn_role in_out[] = {PRN_ROLE_IN, PRN_ROLE_OUT};
static const prn_role out_in[] = {PRN_ROLE_OUT, PRN_ROLE_IN};

static bool flag(const prn_op *op, const char *name) {
  const prn_attr *a = prn_op_attr(op, name);
  return a && a->kind == PRN_ATTR_INT && a->i != 0;
}

static bool matmul_b(const prn_op *op, prn_weight_view *v) {
  return last_axes(v, flag(op, "transB") ? out_in : in_out, 2);
}

static bool matmul_a(const prn_op *op, prn_weight_view *v) {
  return last_axes(v, flag(op, "transA") ? in_out : out_in, 2);
}

static bool conv(const prn_op *op, prn_weight_view *v) {
  const prn_attr *group = prn_op_attr(op, "group");
  if (v->layout.rank < 3) return false;
  for (int32_t i = 0; i < v->layout.rank; i++)
    v->roles[i] = i == 0   ? PRN_ROLE_OUT
                  : i == 1 ? PRN_ROLE_IN
                           : PRN_ROLE_KERNEL;
  v->depthwise = group && group->kind == PRN_ATTR_INT && group->i > 1 &&
                 prn_layout_dim(&v->layout, 1) == 1;
  return true;
}

/* W is [inputs, outputs of one group, ...]: the groups split axis 0. */
static bool conv_transpose(const prn_op *op, prn_weight_view *v) {
  const prn_attr *attr = prn_op_attr(op, "group");
  int64_t group = attr && attr->kind == PRN_ATTR_INT ? attr->i : 1;
  int32_t rank = v->layout.rank;
  int64_t dims[PRN_LAYOUT_MAX_RANK];
  if (rank < 3 || rank == PRN_LAYOUT_MAX_RANK) return false;
  if (group > 1) {
    int64_t in = prn_layout_dim(&v->layout, 0);
    if (in % group != 0) return false;
    dims[0] = group;
    dims[1] = in / group;
    for (int32_t i = 1; i < rank; i++)
      dims[i + 1] = prn_layout_dim(&v->layout, i);
    v->depthwise = dims[1] == 1 && dims[2] == 1;
    if (!prn_layout_reshape(&v->layout, dims, ++rank)) return false;
  }
  int32_t base = group > 1;
  v->roles[0] = PRN_ROLE_BATCH;
  v->roles[base] = PRN_ROLE_IN;
  v->roles[base + 1] = PRN_ROLE_OUT;
  for (int32_t i = base + 2; i < rank; i++)
    v->roles[i] = PRN_ROLE_KERNEL;
  return true;
}

/* [directions, gates * hidden, inputs] */
static bool recurrent(const prn_op *op, prn_weight_view *v) {
  (void)op;
  return v->layout.rank == 3 && last_axes(v, out_in, 2);
}

static bool table(const prn_op *op, prn_weight_view *v) {
  const prn_attr *a = prn_op_attr(op, "axis");
  int64_t axis = a && a->kind == PRN_ATTR_INT ? a->i : 0;
  if (axis < 0) axis += v->layout.rank;
  for (int32_t i = 0; i < v->layout.rank; i++)
    v->roles[i] = i == axis ? PRN_ROLE_OUT : PRN_ROLE_IN;
  v->embedding = true;
  return v->layout.rank >= 2 && axis >= 0 && axis < v->layout.rank;
}

static bool quantised_b(const prn_op *op, prn_weight_view *v) {
  v->quantised = true;
  return matmul_b(op, v);
}

static bool quantised_conv(const prn_op *op, prn_weight_view *v) {
  v->quantised = true;
  return conv(op, v);
}

/* Weights packed by an operator's own rules. */
static bool packed(const prn_op *op, prn_weight_view *v) {
  v->quantised = true;
  return matmul_b(op, v) || v->layout.rank == 1;
}

/* The equation's letters for operand `slot`; false when it is not spelt out
 * plainly. */
static bool einsum_terms(const prn_op *op, uint32_t slot, prn_str *mine,
                         prn_str *others, prn_str *result) {
  prn_str eq = prn_op_string(op, "equation", "");
  const char *arrow = NULL;
  for (size_t i = 0; i + 1 < eq.size; i++)
    if (eq.data[i] == '-' && eq.data[i + 1] == '>') arrow = eq.data + i;
  if (!arrow || op->num_operands != 2) return false;
  const char *comma = memchr(eq.data, ',', (size_t)(arrow - eq.data));
  if (!comma) return false;
  prn_str a = {eq.data, (size_t)(comma - eq.data)};
  prn_str b = {comma + 1, (size_t)(arrow - comma - 1)};
  *mine = slot == 0 ? a : b;
  *others = slot == 0 ? b : a;
  *result = (prn_str){arrow + 2, (size_t)(eq.data + eq.size - arrow - 2)};
  return true;
}

static bool has(prn_str s, char c) {
  return s.size && memchr(s.data, c, s.size) != NULL;
}

static bool einsum(const prn_op *op, uint32_t slot, prn_weight_view *v) {
  prn_str mine, others, result;
  int32_t axis = 0;
  bool any_out = false, any_in = false;
  if (!einsum_terms(op, slot, &mine, &others, &result)) return false;
  for (size_t i = 0; i < mine.size; i++) {
    char c = mine.data[i];
    if (c == ' ') continue;
    if (c == '.' || axis == v->layout.rank) return false;
    bool out = has(result, c), in = has(others, c);
    v->roles[axis++] = out && in ? PRN_ROLE_BATCH
                       : out     ? PRN_ROLE_OUT
                                 : PRN_ROLE_IN;
    any_out |= out && !in;
    any_in |= in && !out;
  }
  return axis == v->layout.rank && any_out && any_in;
}

static bool einsum_a(const prn_op *op, prn_weight_view *v) {
  return einsum(op, 0, v);
}
static bool einsum_b(const prn_op *op, prn_weight_view *v) {
  return einsum(op, 1, v);
}

static const struct weight_rule {
  const char *dialect, *op;
  uint32_t slot;
  slot_fn *fn;
} rules[] = {
    {"onnx", "MatMul", 1, matmul_b},
    {"onnx", "MatMul", 0, matmul_a},
    {"onnx", "Gemm", 1, matmul_b},
    {"onnx", "Gemm", 0, matmul_a},
    {"onnx", "Conv", 1, conv},
    {"onnx", "ConvTranspose", 1, conv_transpose},
    {"onnx", "DeformConv", 1, conv},
    {"onnx", "LSTM", 1, recurrent},
    {"onnx", "LSTM", 2, recurrent},
    {"onnx", "GRU", 1, recurrent},
    {"onnx", "GRU", 2, recurrent},
    {"onnx", "RNN", 1, recurrent},
    {"onnx", "RNN", 2, recurrent},
    {"onnx", "Gather", 0, table},
    {"onnx", "Einsum", 0, einsum_a},
    {"onnx", "Einsum", 1, einsum_b},
    {"onnx", "MatMulInteger", 1, quantised_b},
    {"onnx", "QLinearMatMul", 3, quantised_b},
    {"onnx", "ConvInteger", 1, quantised_conv},
    {"onnx", "QLinearConv", 3, quantised_conv},
    {"com.microsoft", "FusedMatMul", 1, matmul_b},
    {"com.microsoft", "TransposeMatMul", 1, matmul_b},
    {"com.microsoft", "FusedGemm", 1, matmul_b},
    {"com.microsoft", "FusedConv", 1, conv},
    {"com.microsoft", "Attention", 1, matmul_b},
    {"com.microsoft", "QGemm", 3, quantised_b},
    {"com.microsoft", "QLinearConv", 3, quantised_conv},
    {"com.microsoft", "MatMulNBits", 1, packed},
    {"com.microsoft", "DynamicQuantizeMatMul", 1, quantised_b},
    {"com.microsoft", "MatMulIntegerToFloat", 1, quantised_b},
    {"com.microsoft", "QAttention", 1, quantised_b},
    {"com.microsoft", "EmbedLayerNormalization", 2, table},
    {"com.microsoft", "EmbedLayerNormalization", 3, table},
    {"com.microsoft", "EmbedLayerNormalization", 4, table},
};

/* A constant, seen through what moves elements. */
static bool is_constant(const prn_value *v) {
  for (int depth = 0; v && v->def && depth < 16; depth++) {
    prn_layout ignored = {.rank = 0};
    bool ok;
    if (prn_value_constant(v)) return true;
    if (!prn_view_op(v->def, &ignored, &ok)) return false;
    v = prn_op_operand(v->def, 0);
  }
  return false;
}

bool prn_weight_slot(const prn_op *op, uint32_t slot, prn_weight_view *view,
                     bool *ok) {
  for (size_t i = 0; i < PRN_COUNT(rules); i++) {
    const struct weight_rule *r = &rules[i];
    if (r->slot != slot || !prn_str_is(op->opname->name, r->op) ||
        !prn_str_is(op->opname->dialect, r->dialect))
      continue;
    /* of two constants the second is the weight */
    if (slot == 0 && r->fn != table && is_constant(prn_op_operand(op, 1)))
      return false;
    *ok = r->fn(op, view);
    return true;
  }
  return false;
}

/* ---- operators that only move or rename elements ---- */

static bool transpose(const prn_op *op, prn_layout *l) {
  int64_t reversed[PRN_LAYOUT_MAX_RANK];
  size_t n = 0;
  const int64_t *perm = prn_op_ints(op, "perm", &n);
  if (!perm) {
    n = (size_t)l->rank;
    for (int32_t i = 0; i < l->rank; i++)
      reversed[i] = l->rank - 1 - i;
    perm = reversed;
  }
  return prn_layout_transpose(l, perm, n);
}

static void dims_of(const prn_layout *l, int64_t *dims) {
  for (int32_t i = 0; i < l->rank; i++)
    dims[i] = prn_layout_dim(l, i);
}

/* A list of integers from operand 1 (a constant) or attribute `name`; false
 * when it is not known or too long. *n = -1: not given. */
static bool int_list(const prn_op *op, const char *name, int64_t *out,
                     int32_t *n) {
  size_t size = 0;
  const int64_t *attr = prn_op_ints(op, name, &size);
  const prn_value *v = prn_op_operand(op, 1);
  *n = -1;
  if (attr) {
    if (size > PRN_LAYOUT_MAX_RANK) return false;
    *n = (int32_t)size;
    for (size_t i = 0; i < size; i++)
      out[i] = attr[i];
    return true;
  }
  if (!v) return true;
  const prn_tensor *t = prn_value_constant(v);
  if (!t || !prn_dtype_is_int(t->type->dtype)) return false;
  int64_t count = prn_tensor_count(t);
  if (count > PRN_LAYOUT_MAX_RANK) return false;
  *n = (int32_t)count;
  prn_tensor_read_i64(t, 0, count, out);
  return true;
}

static bool reshape(const prn_op *op, prn_layout *l) {
  int64_t dims[PRN_LAYOUT_MAX_RANK], total = 1, known = 1;
  int32_t n, open = -1;
  if (!int_list(op, "shape", dims, &n) || n < 0) return false;
  for (int32_t i = 0; i < l->rank; i++)
    total *= prn_layout_dim(l, i);
  for (int32_t i = 0; i < n; i++) {
    if (dims[i] == 0 && !flag(op, "allowzero") && i < l->rank)
      dims[i] = prn_layout_dim(l, i);
    if (dims[i] == -1 && open < 0)
      open = i;
    else if (dims[i] <= 0 || !prn_mul_i64(known, dims[i], &known))
      return false;
  }
  if (open >= 0) {
    if (total % known != 0) return false;
    dims[open] = total / known;
  }
  return prn_layout_reshape(l, dims, n);
}

static bool flatten(const prn_op *op, prn_layout *l) {
  const prn_attr *a = prn_op_attr(op, "axis");
  int64_t axis = a && a->kind == PRN_ATTR_INT ? a->i : 1, dims[2] = {1, 1};
  if (axis < 0) axis += l->rank;
  if (axis < 0 || axis > l->rank) return false;
  for (int32_t i = 0; i < l->rank; i++)
    dims[i >= axis] *= prn_layout_dim(l, i);
  return prn_layout_reshape(l, dims, 2);
}

/* Bit set of axes, from Squeeze and Unsqueeze; rank is that of the longer
 * side. */
static bool axis_set(const int64_t *axes, int32_t n, int32_t rank,
                     uint32_t *out) {
  *out = 0;
  for (int32_t i = 0; i < n; i++) {
    int64_t a = axes[i] < 0 ? axes[i] + rank : axes[i];
    if (a < 0 || a >= rank || (*out >> a & 1)) return false;
    *out |= 1u << a;
  }
  return true;
}

static bool squeeze(const prn_op *op, prn_layout *l) {
  int64_t axes[PRN_LAYOUT_MAX_RANK], dims[PRN_LAYOUT_MAX_RANK];
  int32_t n, at = 0;
  uint32_t set = 0;
  if (!int_list(op, "axes", axes, &n)) return false;
  if (n >= 0 && !axis_set(axes, n, l->rank, &set)) return false;
  for (int32_t i = 0; i < l->rank; i++) {
    int64_t d = prn_layout_dim(l, i);
    bool drop = n < 0 ? d == 1 : (set >> i & 1) != 0;
    if (drop && d != 1) return false;
    if (!drop) dims[at++] = d;
  }
  return prn_layout_reshape(l, dims, at);
}

static bool unsqueeze(const prn_op *op, prn_layout *l) {
  int64_t axes[PRN_LAYOUT_MAX_RANK], dims[PRN_LAYOUT_MAX_RANK],
      old[PRN_LAYOUT_MAX_RANK];
  int32_t n, at = 0;
  uint32_t set;
  if (!int_list(op, "axes", axes, &n) || n < 0 ||
      l->rank + n > PRN_LAYOUT_MAX_RANK ||
      !axis_set(axes, n, l->rank + n, &set))
    return false;
  dims_of(l, old);
  for (int32_t i = 0; i < l->rank + n; i++)
    dims[i] = set >> i & 1 ? 1 : old[at++];
  return prn_layout_reshape(l, dims, l->rank + n);
}

static bool same(const prn_op *op, prn_layout *l) {
  (void)op;
  (void)l;
  return true;
}

bool prn_view_op(const prn_op *op, prn_layout *l, bool *ok) {
  static const struct {
    const char *op;
    bool (*fn)(const prn_op *op, prn_layout *l);
  } views[] = {
      {"Transpose", transpose}, {"Reshape", reshape},     {"Identity", same},
      {"Cast", same},           {"CastLike", same},       {"Flatten", flatten},
      {"Squeeze", squeeze},     {"Unsqueeze", unsqueeze}, {"Dropout", same},
  };
  if (!prn_str_is(op->opname->dialect, "onnx")) return false;
  for (size_t i = 0; i < PRN_COUNT(views); i++)
    if (prn_str_is(op->opname->name, views[i].op)) {
      *ok = views[i].fn(op, l);
      return true;
    }
  return false;
}
