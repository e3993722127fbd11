/* Sizes that must be equal become one expression.
 *
 * A slice of a table of 512 positions has size min(512, seq); added to
 * something of size seq it must have size seq. The contraction of a product,
 * or the other dimensions of a concatenation, may have two names as well. One
 * of them then replaces the other everywhere. A symbol that is replaced
 * disappears from the arguments' types and is checked there; what else was
 * assumed becomes the function's `requires` attribute and is checked when it
 * is called. Sizes that may broadcast are left alone. */
#include <assert.h>

#include "passes/lower/nn_build.h"
#include "passes/lower/onnx_to_nn.h"

typedef struct pair {
  prn_dim a, b;
} pair;

typedef struct unify {
  prn_ctx *ctx;
  prn_arena *arena;
  prn_ptrmap to;   /* dim -> the dim that replaces it */
  prn_ptrmap memo; /* dim -> itself with every replacement made */
  pair *pairs;     /* to be checked when the function is called */
  uint32_t n, cap;
} unify;

/* ---- replacing ---- */

static prn_dim replaced(unify *u, prn_dim d);

static prn_dim rebuild(unify *u, prn_dim d) {
  prn_dim acc = replaced(u, d->args[0]);
  for (uint32_t i = 1; i < d->num_args; i++) {
    prn_dim b = replaced(u, d->args[i]);
    switch (d->kind) {
    case PRN_DIM_MUL:
      acc = prn_dim_mul(u->ctx, acc, b);
      break;
    case PRN_DIM_ADD:
      acc = prn_dim_add(u->ctx, acc, b);
      break;
    case PRN_DIM_FLOORDIV:
      acc = prn_dim_floordiv(u->ctx, acc, b);
      break;
    case PRN_DIM_MOD:
      acc = prn_dim_mod(u->ctx, acc, b);
      break;
    case PRN_DIM_MIN:
      acc = prn_dim_min(u->ctx, acc, b);
      break;
    default:
      assert(d->kind == PRN_DIM_MAX);
      acc = prn_dim_max(u->ctx, acc, b);
    }
  }
  return acc;
}

static prn_dim replaced(unify *u, prn_dim d) {
  prn_dim r = prn_ptrmap_get(&u->memo, d);
  if (r) return r;
  prn_dim now = d->num_args ? rebuild(u, d) : d;
  prn_dim to = prn_ptrmap_get(&u->to, now);
  r = to ? replaced(u, to) : now;
  *prn_ptrmap_slot(&u->memo, d) = (void *)(uintptr_t)r;
  return r;
}

static bool mentions(prn_dim d, prn_dim part) {
  if (d == part) return true;
  for (uint32_t i = 0; i < d->num_args; i++)
    if (mentions(d->args[i], part)) return true;
  return false;
}

/* Whether a should go rather than b: a symbol for anything, otherwise what has
 * more in it, so that replacing ends. */
static bool gives_way(prn_dim a, prn_dim b) {
  bool sa = a->kind == PRN_DIM_SYM, sb = b->kind == PRN_DIM_SYM;
  if (a->kind == PRN_DIM_CONST || mentions(b, a)) return false;
  if (b->kind == PRN_DIM_CONST || mentions(a, b)) return true;
  if (sa != sb) return sa;
  return prn_dim_cmp(a, b) > 0;
}

static void note(unify *u, prn_dim a, prn_dim b) {
  if (u->n == u->cap) {
    uint32_t cap = u->cap ? u->cap * 2 : 8;
    pair *grown = PRN_ARENA_ARRAY(u->arena, pair, cap);
    for (uint32_t i = 0; i < u->n; i++)
      grown[i] = u->pairs[i];
    u->pairs = grown;
    u->cap = cap;
  }
  u->pairs[u->n++] = (pair){a, b};
}

/* a and b are sizes of the same thing. */
static void equate(unify *u, prn_dim a, prn_dim b) {
  a = replaced(u, a);
  b = replaced(u, b);
  if (a == b) return;
  if (!gives_way(a, b)) {
    prn_dim t = a;
    a = b;
    b = t;
  }
  /* Two constants, or neither within the other and no symbol: checked. */
  if (a->kind == PRN_DIM_CONST) {
    note(u, a, b);
    return;
  }
  if (a->kind != PRN_DIM_SYM) note(u, a, b);
  *prn_ptrmap_slot(&u->to, a) = (void *)(uintptr_t)b;
  prn_ptrmap_destroy(&u->memo);
  u->memo = (prn_ptrmap){0};
}

/* ---- what operations put together ---- */

/* Dimension d of a type, counted from the end; NULL before the first. */
static prn_dim from_end(const prn_type *t, int32_t d) {
  return d < t->rank ? t->dims[t->rank - 1 - d] : NULL;
}

/* A minimum of the other size: equal wherever the two go together. */
static bool is_minimum(prn_dim a, prn_dim of) {
  for (uint32_t i = 0; a->kind == PRN_DIM_MIN && i < a->num_args; i++)
    if (a->args[i] == of) return true;
  return false;
}

/* Dimensions [skip, ...) from the end broadcast among operands and result. */
static void equate_broadcast(unify *u, const prn_op *op, uint32_t from,
                             uint32_t to, int32_t skip) {
  const prn_type *r = op->results[0].type;
  for (int32_t d = skip; d < r->rank; d++) {
    for (uint32_t i = from; i < to; i++) {
      const prn_value *v = op->operands[i].value;
      prn_dim size = v ? from_end(v->type, d) : NULL;
      prn_dim out = replaced(u, from_end(r, d));
      if (!size) continue;
      size = replaced(u, size);
      if (is_minimum(size, out) || is_minimum(out, size)) equate(u, size, out);
    }
  }
}

static void equate_types(unify *u, const prn_type *a, const prn_type *b,
                         int32_t except) {
  for (int32_t i = 0; i < a->rank && i < b->rank; i++)
    if (i != except && a->dims[i] != b->dims[i])
      equate(u, a->dims[i], b->dims[i]);
}

/* A reshape keeps the number of elements; that is only checked. */
static void equate_count(unify *u, const prn_type *a, const prn_type *b) {
  prn_dim m = replaced(u, prn_type_size(u->ctx, a));
  prn_dim n = replaced(u, prn_type_size(u->ctx, b));
  if (m != n && prn_dim_known(m) && prn_dim_known(n)) note(u, m, n);
}

static void visit(unify *u, const prn_op *op) {
  const prn_type *r = op->num_results ? op->results[0].type : NULL;
  const prn_value *a = prn_op_operand(op, 0), *b = prn_op_operand(op, 1);
  switch (prn_op_code(op)) {
  case PRN_OP_nn_unary:
  case PRN_OP_nn_binary:
  case PRN_OP_nn_select:
  case PRN_OP_nn_cast:
  case PRN_OP_nn_bitcast:
  case PRN_OP_nn_map:
  case PRN_OP_nn_layer_norm:
  case PRN_OP_nn_broadcast:
    equate_broadcast(u, op, 0, op->num_operands, 0);
    break;
  case PRN_OP_nn_matmul:
    equate_broadcast(u, op, 0, 2, 2);
    equate(u, from_end(a->type, 0), from_end(b->type, 1));
    equate_broadcast(u, op, 2, op->num_operands, 0);
    break;
  case PRN_OP_nn_attention:
    equate_broadcast(u, op, 0, 3, 2);
    equate(u, from_end(a->type, 0), from_end(b->type, 0));
    equate(u, from_end(b->type, 1), from_end(op->operands[2].value->type, 1));
    break;
  case PRN_OP_nn_conv:
    equate_broadcast(u, op, 2, op->num_operands, 0);
    break;
  case PRN_OP_nn_concat:
    for (uint32_t i = 0; i < op->num_operands; i++)
      equate_types(u, op->operands[i].value->type, r,
                   (int32_t)prn_op_int(op, "axis", 0));
    break;
  default:
    break;
  }
}

/* What a branch of an nn.if assumes need not hold when the other one runs, so
 * only the function's own operations count. */
static void collect(unify *u, prn_block *body) {
  PRN_EACH_OP(op, body)
    visit(u, op);
  PRN_EACH_OP(op, body)
    if (prn_op_is(op, PRN_OP_nn_reshape))
      equate_count(u, op->operands[0].value->type, op->results[0].type);
}

/* ---- writing the answer ---- */

static const prn_type *new_type(unify *u, const prn_type *t) {
  prn_dim dims[PRN_NN_MAX_RANK];
  bool changed = false;
  if (t->kind != PRN_TYPE_TENSOR) return t;
  for (int32_t i = 0; i < t->rank; i++) {
    dims[i] = replaced(u, t->dims[i]);
    changed = changed || dims[i] != t->dims[i];
  }
  return changed ? prn_type_tensor(u->ctx, t->dtype, t->rank, dims) : t;
}

static const prn_attr *new_attr(unify *u, const prn_attr *a) {
  if (a->kind == PRN_ATTR_DIM) {
    prn_dim d = replaced(u, a->dim);
    return d == a->dim ? a : prn_attr_dim(u->ctx, d);
  }
  if (a->kind != PRN_ATTR_LIST) return a;
  const prn_attr **list =
      PRN_ARENA_ARRAY(prn_ctx_arena(u->ctx), const prn_attr *, a->size);
  bool changed = false;
  for (uint32_t i = 0; i < a->size; i++) {
    list[i] = new_attr(u, a->list[i]);
    changed = changed || list[i] != a->list[i];
  }
  return changed ? prn_attr_list(u->ctx, list, a->size) : a;
}

static prn_status rewrite(void *user, prn_op *op) {
  unify *u = user;
  for (uint32_t i = 0; i < op->num_results; i++)
    op->results[i].type = new_type(u, op->results[i].type);
  for (uint32_t i = 0; i < op->num_attrs; i++)
    op->attrs[i].value = new_attr(u, op->attrs[i].value);
  for (uint32_t k = 0; k < op->num_blocks; k++)
    for (uint32_t i = 0; i < op->blocks[k]->num_args; i++)
      op->blocks[k]->args[i]->type = new_type(u, op->blocks[k]->args[i]->type);
  return PRN_OK;
}

static prn_dim symbol_now(void *user, prn_str name) {
  unify *u = user;
  return replaced(u, prn_dim_sym(u->ctx, name));
}

/* Adds "a equals b or is 1" to the n DIMs of the list; returns the new n. */
static uint32_t require(unify *u, const prn_attr **list, uint32_t n, prn_dim a,
                        prn_dim b) {
  for (uint32_t i = 0; i < n; i += 2)
    if (list[i]->dim == a && list[i + 1]->dim == b) return n;
  list[n] = prn_attr_dim(u->ctx, a);
  list[n + 1] = prn_attr_dim(u->ctx, b);
  return n + 2;
}

/* The pairs in terms of the symbols that are left; their other replacements
 * would make them trivial. Both ways, so that 1 is no way out. */
static const prn_attr *checks(unify *u) {
  const prn_attr **list =
      PRN_ARENA_ARRAY(prn_ctx_arena(u->ctx), const prn_attr *, 4 * u->n);
  uint32_t n = 0;
  for (uint32_t i = 0; i < u->n; i++) {
    prn_dim a = prn_dim_substitute(u->ctx, u->pairs[i].a, symbol_now, u);
    prn_dim b = prn_dim_substitute(u->ctx, u->pairs[i].b, symbol_now, u);
    if (a == b) continue;
    n = require(u, list, n, a, b);
    n = require(u, list, n, b, a);
  }
  return n ? prn_attr_list(u->ctx, list, n) : NULL;
}

/* Views that change nothing any more. */
static prn_status drop_identity(void *user, prn_op *op) {
  prn_value *x = prn_op_operand(op, 0);
  (void)user;
  if (!prn_op_is(op, PRN_OP_nn_reshape) && !prn_op_is(op, PRN_OP_nn_broadcast))
    return PRN_OK;
  if (x->type != op->results[0].type) return PRN_OK;
  if (x->name.size == 0) x->name = op->results[0].name;
  prn_value_replace_uses(&op->results[0], x);
  prn_op_erase(op);
  return PRN_OK;
}

void prn_o2n_unify(prn_module *m, prn_op *func) {
  unify u = {.ctx = m->ctx, .arena = &m->arena};
  prn_block *body = prn_op_block(func, "body");
  collect(&u, body);
  if (u.to.size) {
    (void)!prn_walk(body, true, rewrite, &u);
    for (uint32_t i = 0; i < body->num_args; i++)
      body->args[i]->type = new_type(&u, body->args[i]->type);
  }
  (void)!prn_walk(body, false, drop_identity, NULL);
  prn_op_set_attr(func, "requires", checks(&u));
  prn_ptrmap_destroy(&u.to);
  prn_ptrmap_destroy(&u.memo);
}
