/* Coupling through operators whose axes depend on attributes; see couple.h. */
#include <string.h>

#include "passes/analysis/couple.h"

enum { MAX_RANK = 32, LETTERS = 128 };

static const char mixes[] = "is normalised or compared along it";

static void mix(const prn_op *op, prn_space *x) {
  if (x) prn_space_mix(x, (prn_space_why){op, mixes});
}

static int32_t rank_of(const prn_value *v) {
  return v && prn_type_is_ranked(v->type) ? v->type->rank : -1;
}

/* ---- along axes ---- */

/* Bit set of the axes that op names; all of them when it names none. False when
 * they are not constant. */
static bool axes_of(const prn_op *op, int32_t rank, uint32_t *out) {
  int64_t axes[MAX_RANK];
  int32_t n = prn_couple_ints(op, 1, "axes", axes, MAX_RANK);
  *out = 0;
  if (n < 0) return false;
  for (int32_t i = 0; i < n; i++) {
    int64_t a = axes[i] < 0 ? axes[i] + rank : axes[i];
    if (a < 0 || a >= rank) return false;
    *out |= 1u << a;
  }
  if (n == 0 && !prn_op_int(op, "noop_with_empty_axes", 0))
    *out = rank ? ~0u >> (32 - rank) : 0;
  return true;
}

/* A sum is that of what is left; other reductions see what is missing. */
static bool takes_zeros(const prn_op *op) {
  return prn_op_is(op, PRN_OP_onnx_ReduceSum) ||
         prn_op_is(op, PRN_OP_onnx_ReduceSumSquare) ||
         prn_op_is(op, PRN_OP_onnx_ReduceL1) ||
         prn_op_is(op, PRN_OP_onnx_ReduceL2);
}

/* Axes of x that are not in the set against those of the result, which has
 * lost the others or not. */
static void reduce(prn_couple *c, const prn_op *op, uint32_t axes) {
  const prn_value *x = prn_op_operand(op, 0), *y = &op->results[0];
  prn_space **in = prn_couple_dims(c, x), **out = prn_couple_dims(c, y);
  bool keeps = rank_of(y) == rank_of(x);
  for (int32_t i = 0, k = 0; i < rank_of(x); i++) {
    bool gone = axes >> i & 1;
    if (gone && !takes_zeros(op)) mix(op, in[i]);
    if (!gone) prn_couple_tie(c, op, in[i], out[k]);
    k += keeps || !gone;
  }
}

static bool is_reduction(const prn_op *op, uint32_t *axes) {
  static const prn_opcode codes[] = {
      PRN_OP_onnx_ReduceL1,     PRN_OP_onnx_ReduceL2,
      PRN_OP_onnx_ReduceLogSum, PRN_OP_onnx_ReduceLogSumExp,
      PRN_OP_onnx_ReduceMax,    PRN_OP_onnx_ReduceMean,
      PRN_OP_onnx_ReduceMin,    PRN_OP_onnx_ReduceProd,
      PRN_OP_onnx_ReduceSum,    PRN_OP_onnx_ReduceSumSquare};
  static const prn_opcode single[] = {PRN_OP_onnx_ArgMax, PRN_OP_onnx_ArgMin};
  int32_t rank = rank_of(prn_op_operand(op, 0));
  for (size_t i = 0; i < PRN_COUNT(codes); i++)
    if (prn_op_is(op, codes[i]))
      return rank >= 0 && rank < 32 && axes_of(op, rank, axes);
  for (size_t i = 0; i < PRN_COUNT(single); i++)
    if (prn_op_is(op, single[i])) {
      int64_t a = prn_op_int(op, "axis", 0);
      if (a < 0) a += rank;
      *axes = 1u << (a & 31);
      return a >= 0 && a < rank && rank < 32;
    }
  return false;
}

bool prn_couple_sums(const prn_op *op, uint32_t *axes) {
  return takes_zeros(op) && is_reduction(op, axes);
}

/* The result is like x, and all axes from `from` on are mixed, which before
 * opset 13 is what softmax does. */
static void along(prn_couple *c, const prn_op *op, int64_t from) {
  const prn_value *x = prn_op_operand(op, 0);
  prn_space **in = prn_couple_dims(c, x);
  if (from < 0) from += rank_of(x);
  prn_couple_elementwise(c, op);
  for (int32_t i = 0; in && i < rank_of(x); i++)
    if (i >= from) mix(op, in[i]);
}

static void softmax(prn_couple *c, const prn_op *op) {
  along(c, op, prn_op_int(op, "axis", 1));
}

/* The p-norm of what is left is that of all. */
static void normalise(prn_couple *c, const prn_op *op) {
  prn_couple_elementwise(c, op);
}

/* Scale and bias lie along the last axes; further results have x's axes, those
 * as 1. */
static void layer_norm(prn_couple *c, const prn_op *op) {
  along(c, op, prn_op_int(op, "axis", -1));
}

static void cumulate(prn_couple *c, const prn_op *op) {
  const prn_value *x = prn_op_operand(op, 0);
  prn_space **in = prn_couple_dims(c, x), **out;
  out = prn_couple_dims(c, &op->results[0]);
  for (int32_t i = 0; in && out && i < rank_of(x); i++) {
    prn_couple_tie(c, op, in[i], out[i]);
    mix(op, in[i]);
  }
}

/* ---- quantisation ---- */

/* Scales are one, or along the axis; anything else is opaque. */
static void quantise(prn_couple *c, const prn_op *op) {
  const prn_value *x = prn_op_operand(op, 0), *y = &op->results[0];
  prn_space **in = prn_couple_dims(c, x), **out = prn_couple_dims(c, y);
  int64_t axis = prn_op_int(op, "axis", 1);
  int32_t rank = rank_of(x);
  if (axis < 0) axis += rank;
  if (!in || !out || rank_of(y) != rank || prn_op_int(op, "block_size", 0)) {
    prn_couple_opaque(c, op);
    return;
  }
  for (int32_t i = 0; i < rank; i++)
    prn_couple_tie(c, op, in[i], out[i]);
  for (uint32_t i = 1; i < op->num_operands; i++) {
    const prn_value *v = prn_op_operand(op, i);
    prn_space **d = prn_couple_dims(c, v);
    int64_t n;
    if (!d || rank_of(v) == 0) continue;
    if (rank_of(v) == 1 && prn_dim_is_const(v->type->dims[0], &n) && n == 1)
      continue;
    if (rank_of(v) == 1 && axis >= 0 && axis < rank)
      prn_couple_tie(c, op, d[0], in[axis]);
    else
      prn_couple_opaque(c, op);
  }
}

/* ---- products ---- */

/* The letters of one term; false on anything but letters and blanks. */
static bool tie_term(prn_couple *c, const prn_op *op, const prn_value *v,
                     prn_str term, prn_space **letters) {
  prn_space **d = prn_couple_dims(c, v);
  int32_t axis = 0;
  for (size_t i = 0; i < term.size; i++) {
    unsigned char l = (unsigned char)term.data[i];
    if (l == ' ') continue;
    bool letter = (l >= 'a' && l <= 'z') || (l >= 'A' && l <= 'Z');
    if (!letter || !d || axis >= rank_of(v) || !d[axis]) return false;
    int64_t n;
    bool one = prn_dim_is_const(d[axis]->size, &n) && n == 1;
    if (!letters[l] && !one) letters[l] = d[axis];
    if (!one) prn_couple_tie(c, op, letters[l], d[axis]);
    axis++;
  }
  return axis == rank_of(v);
}

static bool tie_equation(prn_couple *c, const prn_op *op, prn_str e) {
  prn_space *letters[LETTERS] = {NULL};
  for (uint32_t i = 0; i <= op->num_operands; i++) {
    size_t n = 0;
    bool last = i == op->num_operands;
    while (n < e.size && e.data[n] != ',' && e.data[n] != '-')
      n++;
    const prn_value *v = last ? &op->results[0] : prn_op_operand(op, i);
    if (!tie_term(c, op, v, (prn_str){e.data, n}, letters)) return false;
    size_t skip = n < e.size && e.data[n] == '-' ? n + 2 : n + 1;
    bool arrow = n < e.size && e.data[n] == '-';
    if (!last && arrow != (i + 1 == op->num_operands)) return false;
    if (skip > e.size) skip = e.size;
    e = (prn_str){e.data + skip, e.size - skip};
  }
  return true;
}

static void einsum(prn_couple *c, const prn_op *op) {
  if (!tie_equation(c, op, prn_op_string(op, "equation", "")))
    prn_couple_opaque(c, op);
}

/* An axis of stacked matrices, which may be broadcast. */
static void tie_batch(prn_couple *c, const prn_op *op, prn_space *x,
                      prn_space *z) {
  int64_t n;
  bool one = x && prn_dim_is_const(x->size, &n) && n == 1;
  if (!one) prn_couple_tie(c, op, x, z);
}

/* a[..., m, k] b[..., k, n], each with its last two axes swapped on request. */
static void fused_matmul(prn_couple *c, const prn_op *op) {
  const prn_value *a = prn_op_operand(op, 0), *b = prn_op_operand(op, 1);
  prn_space **x = prn_couple_dims(c, a), **y = prn_couple_dims(c, b),
            **z = prn_couple_dims(c, &op->results[0]);
  int32_t ra = rank_of(a), rb = rank_of(b), rz = rank_of(&op->results[0]);
  if (!x || !y || !z || ra < 2 || rb < 2 || rz < 2 ||
      prn_op_int(op, "transBatchA", 0) || prn_op_int(op, "transBatchB", 0)) {
    prn_couple_opaque(c, op);
    return;
  }
  int32_t ta = prn_op_int(op, "transA", 0) != 0;
  int32_t tb = prn_op_int(op, "transB", 0) != 0;
  prn_couple_tie(c, op, x[ra - 1 - ta], y[rb - 2 + tb]);
  prn_couple_tie(c, op, x[ra - 2 + ta], z[rz - 2]);
  prn_couple_tie(c, op, y[rb - 1 - tb], z[rz - 1]);
  for (int32_t i = 3; i <= rz; i++) {
    if (i <= ra) tie_batch(c, op, x[ra - i], z[rz - i]);
    if (i <= rb) tie_batch(c, op, y[rb - i], z[rz - i]);
  }
}

/* ---- attention ---- */

/* weights: k (q k v), q = k = (h d), v = (h e); output: ... (h e). */
static void attention(prn_couple *c, const prn_op *op) {
  const prn_value *x = prn_op_operand(op, 0), *w = prn_op_operand(op, 1);
  const prn_value *y = &op->results[0];
  prn_space **in = prn_couple_dims(c, x), **weights = prn_couple_dims(c, w),
            **out = prn_couple_dims(c, y), *qkv[3];
  int64_t heads = prn_op_int(op, "num_heads", 0), all, e;
  prn_spaces *s = &c->out->spaces;
  bool ok = in && weights && out && rank_of(x) == 3 && rank_of(w) == 2 &&
            rank_of(y) == 3 && heads > 0 && in[2] && weights[1] && out[2] &&
            prn_dim_is_const(weights[1]->size, &all) &&
            prn_dim_is_const(out[2]->size, &e) && e % heads == 0 &&
            (all - e) % (2 * heads) == 0 && all > e;
  if (!ok) {
    prn_couple_opaque(c, op);
    return;
  }
  prn_space *h = prn_space_atom(s, prn_dim_const(c->ctx, heads));
  prn_space *d =
      prn_space_atom(s, prn_dim_const(c->ctx, (all - e) / 2 / heads));
  prn_space *v = prn_space_atom(s, prn_dim_const(c->ctx, e / heads));
  prn_space *hd[2] = {h, d}, *hv[2] = {h, v}, *names[3] = {h, d, v};
  qkv[0] = qkv[1] = prn_space_product(s, hd, 2);
  qkv[2] = prn_space_product(s, hv, 2);
  for (uint32_t i = 2; i < op->num_operands; i++) {
    const prn_value *o = prn_op_operand(op, i);
    if (i != 2 || rank_of(o) != 1)
      prn_couple_freeze_value(c, o, op, "is taken as a whole");
    else
      prn_couple_tie(c, op, prn_couple_dims(c, o)[0], weights[1]);
    for (uint32_t k = 0; o && i != 2 && k < 3; k++) /* past, biases */
      prn_couple_order_beside(op, o, names[k]);
  }
  if (prn_op_int(op, "do_rotary", 0))
    prn_couple_freeze(d, op, "is rotated in pairs");
  *prn_ptrmap_slot(&c->out->factors, op) =
      prn_arena_copy(&c->out->arena, names, sizeof names);
  prn_couple_tie(c, op, in[0], out[0]);
  prn_couple_tie(c, op, in[1], out[1]);
  mix(op, in[1]);
  prn_couple_tie(c, op, in[2], weights[0]);
  prn_couple_tie(c, op, weights[1], prn_space_sum(s, qkv, 3));
  prn_couple_tie(c, op, out[2], qkv[2]);
  for (uint32_t i = 1; i < op->num_results; i++)
    prn_couple_freeze_value(c, &op->results[i], op, "is taken as a whole");
}

/* ---- all of them ---- */

bool prn_couple_known(prn_couple *c, const prn_op *op) {
  static const struct {
    prn_opcode code;
    void (*fn)(prn_couple *c, const prn_op *op);
  } rows[] = {
      {PRN_OP_onnx_Softmax, softmax},
      {PRN_OP_onnx_LogSoftmax, softmax},
      {PRN_OP_onnx_Hardmax, softmax},
      {PRN_OP_onnx_LpNormalization, normalise},
      {PRN_OP_onnx_LayerNormalization, layer_norm},
      {PRN_OP_onnx_RMSNormalization, layer_norm},
      {PRN_OP_onnx_SimplifiedLayerNormalization, layer_norm},
      {PRN_OP_onnx_CumSum, cumulate},
      {PRN_OP_onnx_CumProd, cumulate},
      {PRN_OP_onnx_QuantizeLinear, quantise},
      {PRN_OP_onnx_DequantizeLinear, quantise},
      {PRN_OP_com_microsoft_QuantizeLinear, quantise},
      {PRN_OP_com_microsoft_DequantizeLinear, quantise},
      {PRN_OP_onnx_Einsum, einsum},
      {PRN_OP_com_microsoft_FusedMatMul, fused_matmul},
      {PRN_OP_com_microsoft_Attention, attention},
  };
  uint32_t axes;
  if (is_reduction(op, &axes) && prn_couple_dims(c, prn_op_operand(op, 0)) &&
      prn_couple_dims(c, &op->results[0])) {
    reduce(c, op, axes);
    return true;
  }
  for (size_t i = 0; i < PRN_COUNT(rows); i++)
    if (prn_op_is(op, rows[i].code)) {
      rows[i].fn(c, op);
      return true;
    }
  return false;
}
