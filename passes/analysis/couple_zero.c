/* What is zero where an index was masked; see couple.h.
 *
 * A mask makes zeros in weights, and these zeros in values: of a layer's
 * channel without its bias, of its Relu, of a product with it. Its Sigmoid is
 * one half. That does no harm where weights which are zero there take it in,
 * but a sum along the axis has something to lose then. So all atoms that are
 * summed over with no side that is zero are mixed.
 *
 * This goes through the graph once, when all that ties spaces is done. For
 * every axis of every value it knows whether the value is zero at the indices
 * that went; axes that cannot shrink count as if it were. */
#include <string.h>

#include "passes/analysis/couple.h"

static const char sums[] = "is summed along it, with what masks leave";

typedef struct zeros {
  prn_couple *c;
  prn_ptrmap of; /* of values: a bool for every axis */
} zeros;

static int32_t rank_of(const prn_value *v) {
  return v && prn_type_is_ranked(v->type) ? v->type->rank : -1;
}

static prn_space *space_of(const zeros *z, const prn_value *v, int32_t axis) {
  return prn_coupling_space(z->c->out, v, axis);
}

static bool *flags_of(zeros *z, const prn_value *v) {
  int32_t rank = rank_of(v);
  if (rank < 0) return NULL;
  void **slot = prn_ptrmap_slot(&z->of, v);
  if (!*slot) *slot = PRN_ARENA_ARRAY(&z->c->out->arena, bool, rank + 1);
  return *slot;
}

static bool is_zero(zeros *z, const prn_value *v, int32_t axis) {
  bool *f = flags_of(z, v);
  return f && axis >= 0 && axis < rank_of(v) && f[axis];
}

static void set_all(zeros *z, const prn_value *v) {
  bool *f = flags_of(z, v);
  for (int32_t i = 0; i < rank_of(v); i++)
    f[i] = true;
}

static void mix(zeros *z, const prn_op *op, const prn_value *v, int32_t axis) {
  prn_space *x = space_of(z, v, axis);
  if (x) prn_space_mix(x, (prn_space_why){op, sums});
}

/* ---- where elements come from ---- */

/* Marks of atoms while spaces are compared. */
enum { UNSEEN, WANTED, FOUND };

static void want(void *user, prn_space *atom) {
  (void)user;
  if (!atom->frozen.text) atom->id = WANTED;
}

static void find(void *user, prn_space *atom) {
  if (atom->id == UNSEEN) return;
  atom->id = FOUND;
  *(bool *)user = true;
}

static void settle(void *user, prn_space *atom) {
  if (atom->id == WANTED) *(bool *)user = false;
  atom->id = UNSEEN;
}

/* Whether the axis y comes from axes of the values that are all zero. */
static bool comes_from(zeros *z, const prn_use *from, uint32_t n,
                       prn_space *y) {
  bool ok = true, all = true;
  if (!y) return false;
  prn_space_atoms(y, want, NULL);
  for (uint32_t i = 0; i < n; i++)
    for (int32_t k = 0; k < rank_of(from[i].value); k++) {
      bool here = false;
      prn_space *x = space_of(z, from[i].value, k);
      if (x) prn_space_atoms(x, find, &here);
      if (here && !is_zero(z, from[i].value, k)) ok = false;
    }
  prn_space_atoms(y, settle, &all);
  return ok && all;
}

/* Elements of the first n operands are elements of the results. */
static void move(zeros *z, const prn_op *op, uint32_t n) {
  for (uint32_t r = 0; r < op->num_results; r++) {
    const prn_value *y = &op->results[r];
    bool *f = flags_of(z, y);
    for (int32_t i = 0; i < rank_of(y); i++)
      f[i] = comes_from(z, op->operands, n, space_of(z, y, i));
  }
}

static bool pads_zero(const prn_op *op) {
  double v = 0;
  prn_str mode = prn_op_string(op, "mode", "constant");
  if (!prn_str_is(mode, "constant")) return true;
  const prn_value *with = prn_op_operand(op, 2);
  const prn_tensor *t = with ? prn_value_constant(with) : NULL;
  if (t && t->data && prn_tensor_count(t) == 1)
    prn_tensor_read_f64(t, 0, 1, &v);
  else if (with)
    return false;
  return v == 0 && prn_op_float(op, "value", 0) == 0;
}

/* Axes that indices bring are new. */
static void gather(zeros *z, const prn_op *op) {
  int32_t rank = rank_of(prn_op_operand(op, 0));
  int32_t more = rank_of(prn_op_operand(op, 1));
  bool *f = flags_of(z, &op->results[0]);
  int64_t axis = prn_op_int(op, "axis", 0);
  if (axis < 0) axis += rank;
  move(z, op, 1);
  for (int32_t k = 0; f && k < rank_of(&op->results[0]); k++)
    if (more < 0 || (k >= axis && k < axis + more)) f[k] = false;
}

/* ---- elementwise ---- */

/* Whether an operand is zero along the result's axis, counted from the right.
 */
static bool along(zeros *z, const prn_value *v, const prn_value *y,
                  int32_t right) {
  int32_t k = rank_of(v) - right, j = rank_of(y) - right;
  if (k < 0) return false;
  prn_dim a = v->type->dims[k], b = y->type->dims[j];
  return prn_dim_known(a) && prn_dim_known(b) && prn_dim_cmp(a, b) == 0 &&
         is_zero(z, v, k);
}

typedef enum rule {
  ALL,   /* zero when all operands are */
  ANY,   /* when one is */
  FIRST, /* when the first is */
} rule;

static void elementwise(zeros *z, const prn_op *op, rule by) {
  const prn_value *y = &op->results[0];
  bool *f = flags_of(z, y);
  for (int32_t right = 1; right <= rank_of(y); right++) {
    bool all = true, any = false;
    for (uint32_t i = 0; i < op->num_operands; i++) {
      if (by == FIRST && i) break;
      bool zero = along(z, prn_op_operand(op, i), y, right);
      all = all && zero;
      any = any || zero;
    }
    f[rank_of(y) - right] = by == ANY ? any : all;
  }
}

/* Operators of which f(0, ..., 0) = 0, and products. */
static bool is_elementwise(const prn_op *op, rule *out) {
  static const struct {
    prn_opcode code;
    rule by;
  } rows[] = {
      {PRN_OP_onnx_Abs, ALL},        {PRN_OP_onnx_Add, ALL},
      {PRN_OP_onnx_Sub, ALL},        {PRN_OP_onnx_Sum, ALL},
      {PRN_OP_onnx_Max, ALL},        {PRN_OP_onnx_Min, ALL},
      {PRN_OP_onnx_Mean, ALL},       {PRN_OP_onnx_Neg, ALL},
      {PRN_OP_onnx_Relu, ALL},       {PRN_OP_onnx_LeakyRelu, ALL},
      {PRN_OP_onnx_Elu, ALL},        {PRN_OP_onnx_Selu, ALL},
      {PRN_OP_onnx_Celu, ALL},       {PRN_OP_onnx_Gelu, ALL},
      {PRN_OP_onnx_Tanh, ALL},       {PRN_OP_onnx_Sqrt, ALL},
      {PRN_OP_onnx_Erf, ALL},        {PRN_OP_onnx_HardSwish, ALL},
      {PRN_OP_onnx_Mish, ALL},       {PRN_OP_onnx_Sin, ALL},
      {PRN_OP_onnx_Softsign, ALL},   {PRN_OP_onnx_Swish, ALL},
      {PRN_OP_onnx_Sign, ALL},       {PRN_OP_onnx_Floor, ALL},
      {PRN_OP_onnx_Ceil, ALL},       {PRN_OP_onnx_Round, ALL},
      {PRN_OP_onnx_Identity, ALL},   {PRN_OP_onnx_Expand, FIRST},
      {PRN_OP_onnx_Cast, FIRST},     {PRN_OP_onnx_Dropout, FIRST},
      {PRN_OP_onnx_CastLike, FIRST}, {PRN_OP_onnx_Div, FIRST},
      {PRN_OP_onnx_PRelu, FIRST},    {PRN_OP_onnx_LpNormalization, FIRST},
      {PRN_OP_onnx_Mul, ANY},        {PRN_OP_onnx_And, ANY},
      {PRN_OP_onnx_SwiGLU, ANY}};
  for (size_t i = 0; i < PRN_COUNT(rows); i++)
    if (prn_op_is(op, rows[i].code)) {
      *out = rows[i].by;
      return true;
    }
  return false;
}

static void where(zeros *z, const prn_op *op) {
  const prn_value *y = &op->results[0];
  bool *f = flags_of(z, y);
  for (int32_t right = 1; right <= rank_of(y); right++)
    f[rank_of(y) - right] = along(z, prn_op_operand(op, 1), y, right) &&
                            along(z, prn_op_operand(op, 2), y, right);
}

/* ---- layers ---- */

/* Rows and columns; c[...] is added (NULL: nothing), swapped operands have
 * their last two axes the other way round. */
static void matmul(zeros *z, const prn_op *op, bool swap_a, bool swap_b,
                   const prn_value *c) {
  const prn_value *a = prn_op_operand(op, 0), *b = prn_op_operand(op, 1);
  const prn_value *y = &op->results[0];
  int32_t ra = rank_of(a), rb = rank_of(b), ry = rank_of(y);
  bool *f = flags_of(z, y);
  if (ra < 1 || rb < 1 || !f) return;
  for (int32_t i = 0; i < ry; i++) {
    int32_t right = ry - i; /* 1: columns, 2: rows, when both are matrices */
    bool column = rb > 1 && right == 1,
         row = !column && ra > 1 && right == (rb > 1 ? 2 : 1);
    if (column)
      f[i] = is_zero(z, b, rb - 1 - swap_b);
    else if (row)
      f[i] = is_zero(z, a, ra - 2 + swap_a);
    else if (ra > 1 && rb > 1)
      f[i] = along(z, a, y, right) || along(z, b, y, right);
    if (c) f[i] = f[i] && along(z, c, y, right);
  }
}

static void gemm(zeros *z, const prn_op *op) {
  matmul(z, op, prn_op_int(op, "transA", 0) != 0,
         prn_op_int(op, "transB", 0) != 0,
         op->num_operands > 2 ? prn_op_operand(op, 2) : NULL);
}

/* Channels of a layer: all the operands from `from` on that are there. */
static void channels(zeros *z, const prn_op *op, int32_t axis, uint32_t from,
                     uint32_t to) {
  bool all = true, *f = flags_of(z, &op->results[0]);
  if (rank_of(&op->results[0]) < 2) return;
  for (uint32_t i = from; i < to && i < op->num_operands; i++) {
    const prn_value *v = prn_op_operand(op, i);
    if (v) all = all && is_zero(z, v, i == from ? axis : 0);
  }
  f[1] = all;
}

static bool conv(zeros *z, const prn_op *op) {
  if (prn_op_is(op, PRN_OP_onnx_Conv))
    channels(z, op, 0, 1, 3);
  else if (prn_op_is(op, PRN_OP_onnx_ConvTranspose) &&
           prn_op_int(op, "group", 1) == 1)
    channels(z, op, 1, 1, 3);
  else if (prn_op_is(op, PRN_OP_onnx_BatchNormalization) ||
           prn_op_is(op, PRN_OP_onnx_InstanceNormalization))
    channels(z, op, 0, 1, 3);
  else
    return false;
  return true;
}

/* Hidden units that begin as zero and are tanh of zero stay so. */
static void recurrent(zeros *z, const prn_op *op) {
  bool ok = !prn_op_attr(op, "activations");
  for (uint32_t i = 5; i < op->num_operands && i < 7; i++) {
    const prn_value *v = prn_op_operand(op, i);
    ok = ok && (!v || is_zero(z, v, 2));
  }
  for (uint32_t i = 0; i < op->num_results; i++) {
    int32_t last = rank_of(&op->results[i]) - 1;
    if (last >= 0) flags_of(z, &op->results[i])[last] = ok;
  }
}

/* ---- sums ---- */

typedef struct summed {
  bool kept, zero; /* in the result; zero in one of the operands */
  const prn_value *v;
  int32_t axis;
} summed;

static void note(zeros *z, const prn_relation_slot *slot, const prn_op *op,
                 summed *names) {
  const prn_value *v = prn_relation_value(slot, op);
  for (int32_t i = 0; i < rank_of(v); i++) {
    prn_relation_place p = prn_relation_at(slot, op, rank_of(v), i);
    for (uint32_t k = 0; k < p.dim->n; k++) {
      if (p.dim->kind != PRN_RELATION_PRODUCT || p.dim->names[k] < 0) continue;
      summed *s = &names[p.dim->names[k]];
      s->kept = s->kept || (slot->is_result && slot->index == 0);
      s->zero = s->zero || is_zero(z, v, i);
      if (slot->is_result || s->v) continue;
      s->v = v;
      s->axis = i;
    }
  }
}

/* Names that the first result does not have are summed over. */
static void products(zeros *z, const prn_op *op) {
  const prn_relation *r = &z->c->relations[prn_op_code(op)];
  summed names[PRN_RELATION_NAMES] = {{false, false, NULL, 0}};
  const prn_relation_alt *alt =
      r->word == PRN_RELATION_LIST ? prn_relation_select(r, op) : NULL;
  for (uint32_t i = 0; alt && i < alt->n; i++)
    note(z, &alt->slots[i], op, names);
  for (uint32_t i = 0; alt && i < r->num_names; i++)
    if (!names[i].kept && !names[i].zero && names[i].v)
      mix(z, op, names[i].v, names[i].axis);
}

/* Letters of an equation as the relation's names. */
static void einsum(zeros *z, const prn_op *op) {
  prn_str e = prn_op_string(op, "equation", "");
  summed letters[128] = {{false, false, NULL, 0}};
  const prn_value *y = &op->results[0];
  bool result = false, *f = flags_of(z, y);
  uint32_t operand = 0;
  int32_t axis = 0;
  for (size_t i = 0; i < e.size; i++) {
    unsigned char l = (unsigned char)e.data[i];
    const prn_value *v = prn_op_operand(op, operand);
    summed *s = &letters[l & 127];
    if (l == ',' || l == '>') {
      operand++;
      axis = 0;
      result = l == '>';
    } else if (l == '-' || l == ' ' || l == '.') {
      continue;
    } else if (result) {
      s->kept = true;
      if (axis < rank_of(y)) f[axis] = s->zero;
      axis++;
    } else {
      s->zero = s->zero || is_zero(z, v, axis);
      if (!s->v) *s = (summed){false, s->zero, v, axis};
      axis++;
    }
  }
  for (size_t i = 0; i < PRN_COUNT(letters); i++)
    if (letters[i].v && !letters[i].kept && !letters[i].zero)
      mix(z, op, letters[i].v, letters[i].axis);
}

/* Sums and norms over axes, which are what the result lacks. */
static void reduce(zeros *z, const prn_op *op, uint32_t axes) {
  const prn_value *x = prn_op_operand(op, 0);
  for (int32_t i = 0; i < rank_of(x); i++)
    if (axes >> i & 1 && !is_zero(z, x, i)) mix(z, op, x, i);
}

/* Products whose row does not say so. */
static void fused_matmul(zeros *z, const prn_op *op) {
  const prn_value *a = prn_op_operand(op, 0), *b = prn_op_operand(op, 1);
  int32_t i = rank_of(a) - 1, k = rank_of(b) - 2;
  if (prn_op_int(op, "transA", 0)) i--;
  if (prn_op_int(op, "transB", 0)) k++;
  if (i >= 0 && !is_zero(z, a, i) && !is_zero(z, b, k)) mix(z, op, a, i);
}

static void normalise(zeros *z, const prn_op *op) {
  const prn_value *x = prn_op_operand(op, 0);
  int64_t axis = prn_op_int(op, "axis", -1);
  if (axis < 0) axis += rank_of(x);
  if (axis >= 0 && axis < 32) reduce(z, op, 1u << axis);
}

/* ---- all of them ---- */

static bool is_move(const prn_op *op) {
  static const prn_opcode codes[] = {
      PRN_OP_onnx_Reshape,       PRN_OP_onnx_Flatten,
      PRN_OP_onnx_Squeeze,       PRN_OP_onnx_Unsqueeze,
      PRN_OP_onnx_Transpose,     PRN_OP_onnx_DepthToSpace,
      PRN_OP_onnx_SpaceToDepth,  PRN_OP_onnx_Split,
      PRN_OP_onnx_Slice,         PRN_OP_onnx_Tile,
      PRN_OP_onnx_ReduceSum,     PRN_OP_onnx_ReduceMean,
      PRN_OP_onnx_ReduceMax,     PRN_OP_onnx_ReduceMin,
      PRN_OP_onnx_ReduceL1,      PRN_OP_onnx_ReduceL2,
      PRN_OP_onnx_ReduceProd,    PRN_OP_onnx_ReduceSumSquare,
      PRN_OP_onnx_AveragePool,   PRN_OP_onnx_GlobalAveragePool,
      PRN_OP_onnx_GlobalMaxPool, PRN_OP_onnx_CumSum};
  for (size_t i = 0; i < PRN_COUNT(codes); i++)
    if (prn_op_is(op, codes[i])) return true;
  return prn_op_is(op, PRN_OP_onnx_MaxPool) && op->num_results == 1;
}

static bool is_recurrent(const prn_op *op) {
  return prn_op_is(op, PRN_OP_onnx_LSTM) || prn_op_is(op, PRN_OP_onnx_GRU) ||
         prn_op_is(op, PRN_OP_onnx_RNN);
}

static void visit(zeros *z, const prn_op *op) {
  rule by;
  uint32_t axes;
  if (prn_op_is(op, PRN_OP_onnx_Einsum))
    einsum(z, op);
  else if (is_elementwise(op, &by))
    elementwise(z, op, by);
  else if (is_move(op))
    move(z, op, 1);
  else if (prn_op_is(op, PRN_OP_onnx_Concat))
    move(z, op, op->num_operands);
  else if (prn_op_is(op, PRN_OP_onnx_Pad) && pads_zero(op))
    move(z, op, 1);
  else if (prn_op_is(op, PRN_OP_onnx_Gather))
    gather(z, op);
  else if (prn_op_is(op, PRN_OP_onnx_Where))
    where(z, op);
  else if (prn_op_is(op, PRN_OP_onnx_MatMul))
    matmul(z, op, false, false, NULL);
  else if (prn_op_is(op, PRN_OP_onnx_Gemm))
    gemm(z, op);
  else if (is_recurrent(op))
    recurrent(z, op);
  else
    (void)conv(z, op);
  products(z, op);
  if (prn_op_is(op, PRN_OP_onnx_LpNormalization)) normalise(z, op);
  if (prn_op_is(op, PRN_OP_com_microsoft_FusedMatMul)) fused_matmul(z, op);
  if (prn_couple_sums(op, &axes)) reduce(z, op, axes);
}

void prn_couple_zeros(prn_couple *c, const prn_op *graph) {
  zeros z = {.c = c};
  const prn_block *body = prn_op_block(graph, "body");
  for (uint32_t i = 0; i < body->num_args; i++)
    set_all(&z, body->args[i]);
  PRN_EACH_OP(op, body) {
    if (prn_op_has_trait(op, PRN_TERMINATOR)) continue;
    if (!prn_op_has_trait(op, PRN_CONSTANT))
      visit(&z, op);
    else if (op->num_results && prn_couple_is_masked(&op->results[0]))
      set_all(&z, &op->results[0]);
  }
  prn_ptrmap_destroy(&z.of);
}
