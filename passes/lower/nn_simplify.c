/* nn-simplify: constants are folded and what exporters spell out is said
 * shorter. One sweep, operations in order: an operation's operands are simple
 * by the time it is looked at. */
#include <math.h>

#include "passes/lower/lower.h"
#include "passes/lower/nn_fold.h"
#include "passes/pass.h"

#define OPTIONS(X)
#define STATS(X)                                       \
  X(folded, "operations on constants computed")        \
  X(simplified, "operations replaced by simpler ones") \
  X(norms, "normalisations found in their formula")    \
  X(dead, "operations without readers dropped")
PRN_PASS_TABLES;

enum { MAX_RANK = PRN_NN_MAX_RANK };

/* ---- matching ---- */

prn_op *prn_nn_is(const prn_value *v, prn_scalar f) {
  prn_opcode code =
      prn_scalar_arity(f) == 1 ? PRN_OP_nn_unary : PRN_OP_nn_binary;
  bool is = v->def && prn_op_is(v->def, code) &&
            prn_str_is(prn_op_string(v->def, "fn", ""), prn_scalar_name(f));
  return is ? v->def : NULL;
}

bool prn_nn_number(const prn_value *v, double *out) {
  const prn_tensor *t = prn_value_constant(v);
  if (!t || !t->data || prn_tensor_count(t) != 1) return false;
  prn_tensor_read_f64(t, 0, 1, out);
  return true;
}

/* ---- one operation ---- */

/* x^c for the exponents that need no pow. */
static prn_value *power(prn_nn *b, prn_value *x, double c) {
  if (c == 1) return x;
  if (c == 2) return prn_nn_binary(b, PRN_SCALAR_mul, x, x);
  if (c == 3)
    return prn_nn_binary(b, PRN_SCALAR_mul,
                         prn_nn_binary(b, PRN_SCALAR_mul, x, x), x);
  if (!prn_dtype_is_float(x->type->dtype)) return NULL;
  if (c == 0.5) return prn_nn_unary(b, PRN_SCALAR_sqrt, x);
  if (c == -0.5) return prn_nn_unary(b, PRN_SCALAR_rsqrt, x);
  if (c == -1) return prn_nn_unary(b, PRN_SCALAR_reciprocal, x);
  return NULL;
}

/* x / c as x * (1/c): within half a unit in the last place. */
static prn_value *divided(prn_nn *b, prn_value *x, double c) {
  double inverse = 1 / c;
  if (c == 1) return x;
  bool plain = isnormal((float)inverse) && isnormal((float)c);
  if (!prn_dtype_is_float(x->type->dtype) || !plain) return NULL;
  return prn_nn_with(b, PRN_SCALAR_mul, x, inverse);
}

/* (x * c) * d = x * (c * d), when nothing else reads x * c. */
static prn_value *scaled(prn_nn *b, prn_value *x, double d) {
  prn_op *mul = prn_nn_is(x, PRN_SCALAR_mul);
  double c;
  if (d == 1) return x;
  if (!mul || !prn_dtype_is_float(x->type->dtype) || !prn_value_has_one_use(x))
    return NULL;
  for (uint32_t i = 0; i < 2; i++)
    if (prn_nn_number(prn_op_operand(mul, i), &c) && isnormal((float)(c * d)))
      return prn_nn_with(b, PRN_SCALAR_mul, prn_op_operand(mul, 1 - i), c * d);
  return NULL;
}

static prn_value *simplify_binary(prn_nn *b, prn_op *op) {
  prn_value *x = prn_op_operand(op, 0), *y = prn_op_operand(op, 1);
  prn_scalar f = prn_scalar_find(prn_op_string(op, "fn", ""));
  bool real = prn_dtype_is_float(x->type->dtype);
  prn_op *root;
  double c;
  switch (f) {
  case PRN_SCALAR_pow:
    return prn_nn_number(y, &c) ? power(b, x, c) : NULL;
  case PRN_SCALAR_div:
    if (prn_nn_number(y, &c)) return divided(b, x, c);
    root = real ? prn_nn_is(y, PRN_SCALAR_sqrt) : NULL;
    if (!root) return NULL;
    return prn_nn_binary(
        b, PRN_SCALAR_mul, x,
        prn_nn_unary(b, PRN_SCALAR_rsqrt, prn_op_operand(root, 0)));
  case PRN_SCALAR_mul:
    if (prn_nn_number(y, &c)) return scaled(b, x, c);
    return prn_nn_number(x, &c) ? scaled(b, y, c) : NULL;
  case PRN_SCALAR_add:
    if (prn_nn_number(x, &c) && c == 0) return y;
    return prn_nn_number(y, &c) && c == 0 ? x : NULL;
  case PRN_SCALAR_sub:
    return prn_nn_number(y, &c) && c == 0 ? x : NULL;
  default:
    return NULL;
  }
}

static prn_value *simplify_unary(prn_nn *b, prn_op *op) {
  prn_value *x = prn_op_operand(op, 0);
  prn_op *root = prn_nn_is(x, PRN_SCALAR_sqrt);
  if (root && prn_nn_is(&op->results[0], PRN_SCALAR_reciprocal))
    return prn_nn_unary(b, PRN_SCALAR_rsqrt, prn_op_operand(root, 0));
  return NULL;
}

/* Two permutations in one. */
static prn_value *simplify_transpose(prn_nn *b, prn_op *op) {
  prn_op *inner = prn_op_operand(op, 0)->def;
  int64_t both[MAX_RANK];
  size_t n, m;
  if (!inner || !prn_op_is(inner, PRN_OP_nn_transpose)) return NULL;
  const int64_t *outer = prn_op_ints(op, "perm", &n);
  const int64_t *first = prn_op_ints(inner, "perm", &m);
  for (size_t i = 0; i < n; i++)
    both[i] = first[outer[i]];
  return prn_nn_transpose(b, prn_op_operand(inner, 0), both);
}

static prn_value *simplify_reshape(prn_nn *b, prn_op *op) {
  prn_value *x = prn_op_operand(op, 0);
  while (x->def && prn_op_is(x->def, PRN_OP_nn_reshape))
    x = prn_op_operand(x->def, 0);
  if (x == prn_op_operand(op, 0) &&
      !(prn_value_constant(x) && prn_type_is_static(op->results[0].type)))
    return NULL;
  return prn_nn_reshape(b, x, op->results[0].type);
}

/* Constant weights [1, k, n] as the matrix they are. */
static prn_value *simplify_matmul(prn_nn *b, prn_op *op) {
  prn_value *x = prn_op_operand(op, 0), *y = prn_op_operand(op, 1);
  const prn_type *t = y->type;
  int64_t v;
  if (!prn_value_constant(y) || t->rank <= 2 || t->rank > x->type->rank)
    return NULL;
  for (int32_t i = 0; i < t->rank - 2; i++)
    if (!prn_dim_is_const(t->dims[i], &v) || v != 1) return NULL;
  y = prn_nn_reshape_dims(b, y, 2, t->dims + t->rank - 2);
  return prn_nn_make(b, PRN_OP_nn_matmul, (prn_value *[]){x, y}, 2,
                     op->results[0].type);
}

static prn_value *simplified(prn_nn *b, prn_op *op) {
  switch (prn_op_code(op)) {
  case PRN_OP_nn_binary:
    return simplify_binary(b, op);
  case PRN_OP_nn_unary:
    return simplify_unary(b, op);
  case PRN_OP_nn_transpose:
    return simplify_transpose(b, op);
  case PRN_OP_nn_reshape:
    return simplify_reshape(b, op);
  case PRN_OP_nn_matmul:
    return op->num_blocks ? NULL : simplify_matmul(b, op);
  default:
    return NULL;
  }
}

/* ---- the sweep ---- */

static prn_value *better(prn_nn *b, prn_op *op, struct stats *s) {
  const prn_tensor *t = prn_nn_fold(b->ctx, op);
  prn_value *v;
  if (t) {
    s->folded++;
    return prn_nn_constant(b, t);
  }
  v = prn_nn_match_norm(b, op);
  if (v) {
    s->norms += v->def->num_operands == 1;
    return v;
  }
  v = prn_nn_match_gelu(b, op);
  if (!v) v = simplified(b, op);
  if (v) s->simplified++;
  return v;
}

/* What replaced op may be simpler still: it is looked at next. */
static prn_op *sweep_op(prn_nn *b, prn_op *op, struct stats *s) {
  prn_op *before = op->prev;
  b->block = op->block;
  b->before = op;
  b->loc = op->loc;
  b->name = prn_op_string(op, "$name", "");
  prn_value *v = better(b, op, s);
  if (!v) return op->next;
  const prn_type *type = op->results[0].type;
  v = prn_nn_broadcast(b, v, type);
  if (v->name.size == 0) v->name = op->results[0].name;
  prn_value_replace_uses(&op->results[0], v);
  prn_op *block_first = before ? before->next : op->block->first;
  prn_op *next = block_first == op ? op->next : block_first;
  prn_op_erase(op);
  return next;
}

static void sweep(prn_nn *b, prn_block *block, struct stats *s) {
  for (prn_op *op = block->first; op;) {
    if (prn_op_is(op, PRN_OP_nn_if))
      for (uint32_t i = 0; i < op->num_blocks; i++)
        sweep(b, op->blocks[i], s);
    op = op->num_results == 1 ? sweep_op(b, op, s) : op->next;
  }
  for (prn_op *op = block->last, *before; op; op = before) {
    bool used = !prn_op_has_trait(op, PRN_PURE);
    before = op->prev;
    for (uint32_t i = 0; i < op->num_results; i++)
      used = used || prn_value_has_uses(&op->results[i]);
    if (used) continue;
    prn_op_erase(op);
    s->dead++;
  }
}

static prn_status run(prn_pass_env *env, prn_module *m) {
  prn_nn b = {.m = m, .ctx = m->ctx};
  PRN_EACH_OP(op, m->body)
    if (prn_op_is(op, PRN_OP_nn_func))
      sweep(&b, prn_op_block(op, "body"), env->stats);
  return PRN_OK;
}

const prn_pass prn_pass_nn_simplify = {
    .name = "nn-simplify",
    .summary = "Fold constants; say shorter what exporters spell out",
    .doc = "Operations on constants are computed. Small powers become "
           "products, divisions by constants products, and layer or RMS "
           "normalisation written as its formula becomes nn.layer_norm, GELU "
           "one function.",
    .reads = PRN_DIALECT_NN,
    .writes = PRN_DIALECT_NN,
    PRN_PASS_COMMON,
};
