/* nn-narrow: activations of products are stored as 16-bit floats.
 *
 * For machines that multiply 16-bit floats faster than f32 and have memory to
 * save, GPUs. What products read and give is stored in 16 bits, and what is
 * computed from that, up to the outputs; sums, the inside of bodies, softmax
 * and norms stay f32. What no product has touched stays f32, too: positions,
 * masks and tables from which angles are computed would lose what they are
 * made for. Weights of matrix products keep their type and are rounded when
 * they are packed; those of convolutions, which are not, are rounded here. */
#include "passes/lower/nn_build.h"
#include "passes/lower/nn_to_mem.h"
#include "passes/pass.h"

#define OPTIONS(X)                   \
  X(ENUM, type, f16, "f16|bf16|f32", \
    "How activations are stored: f32 leaves them as they are")
#define STATS(X)                                   \
  X(narrowed, "values that are stored in 16 bits") \
  X(casts, "conversions that were added")
PRN_PASS_TABLES;

typedef struct narrowing {
  prn_module *m;
  prn_block *body;
  prn_dtype to;
  struct stats *stats;
} narrowing;

/* ---- which operations are what ---- */

static bool is_any(const prn_op *op, const prn_opcode *codes, size_t n) {
  for (size_t i = 0; i < n; i++)
    if (prn_op_is(op, codes[i])) return true;
  return false;
}

static bool is_product(const prn_op *op) {
  static const prn_opcode codes[] = {PRN_OP_nn_matmul, PRN_OP_nn_conv,
                                     PRN_OP_nn_attention};
  return is_any(op, codes, PRN_COUNT(codes));
}

/* Operands that are multiplied: the first so many. */
static uint32_t num_factors(const prn_op *op) {
  return prn_op_is(op, PRN_OP_nn_attention) ? 3 : 2;
}

/* Results have the type of the operands. */
static bool is_same_type(const prn_op *op) {
  static const prn_opcode codes[] = {
      PRN_OP_nn_reshape, PRN_OP_nn_transpose, PRN_OP_nn_broadcast,
      PRN_OP_nn_slice,   PRN_OP_nn_concat,    PRN_OP_nn_softmax,
      PRN_OP_nn_pool,    PRN_OP_nn_gather,    PRN_OP_nn_gather_elements,
      PRN_OP_nn_pad};
  return is_any(op, codes, PRN_COUNT(codes));
}

static bool is_scalar(const prn_op *op) {
  static const prn_opcode codes[] = {PRN_OP_nn_unary, PRN_OP_nn_binary,
                                     PRN_OP_nn_select};
  return is_any(op, codes, PRN_COUNT(codes));
}

/* Reads values in any type. */
static bool reads_any(const prn_op *op) {
  static const prn_opcode codes[] = {PRN_OP_nn_map, PRN_OP_nn_reduce,
                                     PRN_OP_nn_arg_reduce, PRN_OP_nn_cast,
                                     PRN_OP_nn_layer_norm};
  return is_product(op) || is_scalar(op) || is_same_type(op) ||
         is_any(op, codes, PRN_COUNT(codes));
}

/* What it gives is narrow where what it reads is. */
static bool follows(const prn_op *op) {
  return is_same_type(op) || is_scalar(op) || prn_op_is(op, PRN_OP_nn_map) ||
         prn_op_is(op, PRN_OP_nn_reduce) || prn_op_is(op, PRN_OP_nn_layer_norm);
}

/* How many operands have the result's type, of those that say so. */
static uint32_t num_same(const prn_op *op) {
  bool all = prn_op_is(op, PRN_OP_nn_concat) || prn_op_is(op, PRN_OP_nn_pad);
  return all ? op->num_operands : 1;
}

/* ---- which values ---- */

/* Returned and nothing else, by an operation that can give another type than
 * it computes in. */
static bool only_returned(const prn_value *v) {
  static const prn_opcode codes[] = {PRN_OP_nn_map, PRN_OP_nn_matmul,
                                     PRN_OP_nn_conv};
  if (!is_any(v->def, codes, PRN_COUNT(codes))) return false;
  PRN_EACH_USE(u, v)
    if (!prn_op_is(u->owner, PRN_OP_nn_return)) return false;
  return true;
}

/* Can be made to give 16 bits: others give what they compute in, and a product
 * that reads it reads a conversion. */
static bool gives_any(const prn_op *op) {
  return follows(op) || is_product(op) || prn_op_is(op, PRN_OP_nn_cast);
}

static bool mark(prn_value *v) {
  if (!v || !v->def || v->mark || v->type->dtype != PRN_F32 ||
      v->type->kind != PRN_TYPE_TENSOR || !gives_any(v->def) ||
      only_returned(v))
    return false;
  v->mark = 1;
  return true;
}

static bool mark_op(prn_op *op) {
  bool changed = false, reads = false;
  if (is_product(op)) {
    /* Integers are f32 nowhere. */
    for (uint32_t i = 0; i < num_factors(op); i++)
      changed |= mark(prn_op_operand(op, i));
    return mark(&op->results[0]) || changed;
  }
  for (uint32_t i = 0; i < op->num_operands; i++) {
    const prn_value *v = prn_op_operand(op, i);
    reads = reads || (v && v->mark);
  }
  for (uint32_t i = 0; i < op->num_results && reads && follows(op); i++)
    changed |= mark(&op->results[i]);
  if (op->num_results && op->results[0].mark &&
      (is_same_type(op) || prn_op_is(op, PRN_OP_nn_layer_norm)))
    for (uint32_t i = 0; i < num_same(op); i++)
      changed |= mark(prn_op_operand(op, i));
  return changed;
}

static void mark_all(prn_block *b) {
  bool changed = true;
  PRN_EACH_OP(op, b)
    for (uint32_t i = 0; i < op->num_results; i++)
      op->results[i].mark = 0;
  for (uint32_t i = 0; i < b->num_args; i++)
    b->args[i]->mark = 0;
  while (changed) {
    changed = false;
    PRN_EACH_OP(op, b)
      changed |= mark_op(op);
  }
}

/* ---- conversions ---- */

static prn_nn builder(const narrowing *s, prn_op *before) {
  return (prn_nn){.m = s->m,
                  .ctx = s->m->ctx,
                  .block = before->block,
                  .before = before,
                  .loc = before->loc,
                  .name = prn_op_string(before, "$name", "")};
}

/* Operand i of op in the type. */
static void cast_operand(narrowing *s, prn_op *op, uint32_t i, prn_dtype to) {
  prn_value *v = prn_op_operand(op, i);
  if (!v || v->type->dtype == to) return;
  prn_nn nn = builder(s, op);
  prn_op_set_operand(op, i, prn_nn_cast(&nn, v, to));
  s->stats->casts++;
}

static bool is_half(const prn_value *v) {
  return v && (v->type->dtype == PRN_F16 || v->type->dtype == PRN_BF16);
}

static bool is_marked(const prn_value *v) { return v && v->mark; }

/* A scalar cast in a body, in front of `before`. */
static prn_value *body_cast(narrowing *s, prn_value *v, prn_op *before,
                            prn_dtype to) {
  prn_nn nn = builder(s, before);
  return prn_nn_make(&nn, PRN_OP_nn_cast, &v, 1,
                     prn_type_scalar(s->m->ctx, to));
}

/* Argument `arg` of the body is of operand i of op: it is read in 16 bits and
 * computed with as f32. */
static void narrow_argument(narrowing *s, prn_op *op, uint32_t i,
                            prn_block *body, uint32_t arg) {
  const prn_value *operand = prn_op_operand(op, i);
  prn_value *v = body->args[arg];
  if (!is_half(operand) || v->type->dtype != PRN_F32) return;
  v->type = prn_type_scalar(s->m->ctx, s->to);
  prn_value *wide = body_cast(s, v, body->first, PRN_F32);
  prn_op *cast = wide->def;
  for (prn_use *u = v->uses, *next; u; u = next) {
    next = u->next;
    if (u->owner != cast) prn_op_set_operand(u->owner, prn_use_index(u), wide);
  }
}

static void narrow_yield(narrowing *s, prn_block *body, uint32_t i) {
  prn_op *yield = body->last;
  prn_value *v = prn_op_operand(yield, i);
  if (v->type->dtype == PRN_F32)
    prn_op_set_operand(yield, i, body_cast(s, v, yield, s->to));
}

/* ---- operations ---- */

/* A scalar operation on tensors as a map of one. */
static prn_op *as_map(narrowing *s, prn_op *op) {
  prn_value *operands[3], *args[3];
  const prn_type *types[1] = {op->results[0].type};
  prn_nn nn = builder(s, op);
  for (uint32_t i = 0; i < op->num_operands; i++)
    operands[i] = prn_op_operand(op, i);
  prn_op *map =
      prn_nn_make_op(&nn, PRN_OP_nn_map, operands, op->num_operands, types, 1);
  prn_block *body = prn_block_create(s->m);
  for (uint32_t i = 0; i < op->num_operands; i++) {
    prn_dtype t = is_half(operands[i]) ? PRN_F32 : operands[i]->type->dtype;
    args[i] =
        prn_block_add_arg(body, prn_type_scalar(s->m->ctx, t), PRN_STR(""));
  }
  prn_nn in = {.m = s->m, .ctx = s->m->ctx, .block = body, .loc = op->loc};
  prn_value *v = prn_nn_make(&in, prn_op_code(op), args, op->num_operands,
                             prn_type_scalar(s->m->ctx, types[0]->dtype));
  if (prn_op_attr(op, "fn"))
    prn_op_set_attr(v->def, "fn", prn_op_attr(op, "fn"));
  (void)prn_nn_make_op(&in, PRN_OP_nn_yield, &v, 1, NULL, 0);
  prn_op_add_block(map, body);
  prn_op_set_attr(map, "body", prn_attr_region(s->m->ctx, 0));
  map->results[0].mark = op->results[0].mark;
  prn_value_replace_uses(&op->results[0], &map->results[0]);
  prn_op_erase(op);
  return map;
}

/* Operand i, which is t, in the type. */
static void narrow_constant(narrowing *s, prn_op *op, uint32_t i,
                            const prn_tensor *t) {
  prn_ctx *ctx = s->m->ctx;
  int64_t n;
  if (t->type->dtype != PRN_F32 || !prn_type_count(t->type, &n)) return;
  double *v = prn_alloc(prn_array_size(sizeof *v, (size_t)n));
  prn_tensor_read_f64(t, 0, n, v);
  prn_tensor *narrow = prn_tensor_clone(
      ctx, prn_nn_tensor(ctx, prn_type_with_dtype(ctx, t->type, s->to), v));
  narrow->name = t->name;
  prn_free(v);
  prn_nn nn = builder(s, op);
  prn_op_set_operand(op, i, prn_nn_constant(&nn, narrow));
}

/* What is multiplied has one type, but weights of matrix products, which are
 * rounded later. */
static void narrow_factors(narrowing *s, prn_op *op) {
  bool transposed;
  if (prn_op_operand(op, 0)->type->dtype != s->to &&
      prn_op_operand(op, 0)->type->dtype != PRN_F32)
    return;
  const prn_tensor *filter = prn_op_is(op, PRN_OP_nn_conv)
                                 ? prn_value_constant(prn_op_operand(op, 1))
                                 : NULL;
  if (filter) narrow_constant(s, op, 1, filter);
  for (uint32_t i = 0; i < num_factors(op); i++) {
    bool packed = i == 1 && prn_op_is(op, PRN_OP_nn_matmul) &&
                  prn_to_mem_weights(op, &transposed) != NULL;
    if (!packed) cast_operand(s, op, i, s->to);
  }
  if (prn_op_is(op, PRN_OP_nn_matmul))
    prn_op_set_attr(
        op, "precision",
        prn_attr_string(s->m->ctx, prn_str_from(prn_dtype_name(s->to))));
}

/* A bias is stored as what it is added to: libraries want it so. */
static void narrow_bias(narrowing *s, prn_op *op, uint32_t i) {
  const prn_tensor *t = prn_value_constant(prn_op_operand(op, i));
  const prn_type *r = op->results[0].type;
  int64_t n, count;
  if (t && prn_type_count(t->type, &count) &&
      prn_dim_is_const(r->dims[r->rank - 1], &n) && count == n)
    narrow_constant(s, op, i, t);
}

static void narrow_body(narrowing *s, prn_op *op, uint32_t first,
                        uint32_t first_arg) {
  prn_block *body = prn_op_block(op, "body");
  for (uint32_t i = first; body && i < op->num_operands; i++)
    narrow_argument(s, op, i, body, i - first + first_arg);
}

static void narrow_op(narrowing *s, prn_op *op) {
  bool narrow = op->num_results && op->results[0].mark;
  prn_block *body;
  if (is_product(op)) narrow_factors(s, op);
  if (is_scalar(op)) {
    bool any = narrow;
    for (uint32_t i = 0; i < op->num_operands; i++)
      any = any || is_half(prn_op_operand(op, i));
    if (any) op = as_map(s, op);
  }
  for (uint32_t i = 2; prn_op_is(op, PRN_OP_nn_matmul) && i < op->num_operands;
       i++)
    narrow_bias(s, op, i);
  if (is_product(op))
    narrow_body(s, op, num_factors(op), 1);
  else if (prn_op_is(op, PRN_OP_nn_map) || prn_op_is(op, PRN_OP_nn_reduce))
    narrow_body(s, op, 0, 0);
  else if (is_same_type(op))
    for (uint32_t i = 0; i < num_same(op); i++)
      cast_operand(s, op, i,
                   narrow ? s->to : prn_op_operand(op, i)->type->dtype);
  else if (!reads_any(op))
    for (uint32_t i = 0; i < op->num_operands; i++)
      if (is_marked(prn_op_operand(op, i))) cast_operand(s, op, i, PRN_F32);
  body = prn_op_block(op, "body");
  for (uint32_t i = 0; i < op->num_results; i++) {
    if (!op->results[i].mark) continue;
    op->results[i].type =
        prn_type_with_dtype(s->m->ctx, op->results[i].type, s->to);
    s->stats->narrowed++;
    if (body && !prn_op_is(op, PRN_OP_nn_attention) &&
        !prn_op_is(op, PRN_OP_nn_reduce))
      narrow_yield(s, body, i);
  }
}

static prn_status run(prn_pass_env *env, prn_module *m) {
  static const prn_dtype types[] = {PRN_F16, PRN_BF16, PRN_F32};
  const struct opts *o = env->opts;
  narrowing s = {.m = m, .to = types[o->type], .stats = env->stats};
  if (s.to == PRN_F32) return PRN_OK;
  PRN_EACH_OP(func, m->body) {
    if (!prn_op_is(func, PRN_OP_nn_func)) continue;
    s.body = prn_op_block(func, "body");
    mark_all(s.body);
    PRN_EACH_OP_SAFE(op, s.body)
      narrow_op(&s, op);
  }
  return PRN_OK;
}

const prn_pass prn_pass_nn_narrow = {
    .name = "nn-narrow",
    .summary = "Store the activations of products as 16-bit floats",
    .doc = "After nn-fuse, for the CUDA backend. What products read and give, "
           "and what is computed from it, is stored in 16 bits; sums and all "
           "arithmetic stay f32, and so do inputs, outputs and what no product "
           "has touched. Weights of matrix products are rounded when they "
           "are packed, those of convolutions here.",
    .reads = PRN_DIALECT_NN,
    .writes = PRN_DIALECT_NN,
    PRN_PASS_COMMON,
};
