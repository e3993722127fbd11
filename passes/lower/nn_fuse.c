/* nn-fuse: elementwise operations become bodies.
 *
 * An elementwise operation whose result is read by one group only, at the
 * group's own shape, joins the group. A group is computed inside the matrix
 * product or convolution that feeds it, when nothing else reads the product;
 * or inside the one reduction that reads it; otherwise it becomes an nn.map.
 * Constants of one element, positions (nn.iota) and sizes (nn.dims) go into
 * the body; repeating operands do so by the map's own rule.
 *
 * Products around a softmax become attention then (nn_attention.c).
 *
 * One sweep from the last operation to the first forms the groups: an
 * operation's readers are in theirs by then. */
#include <assert.h>

#include "passes/lower/lower.h"
#include "passes/lower/nn_attention.h"
#include "passes/lower/nn_build.h"
#include "passes/pass.h"

enum { MAX_INPUTS = 24, MAX_BODY = 96 };

#define OPTIONS(X)
#define STATS(X)                                            \
  X(maps, "groups of elementwise operations made one map")  \
  X(epilogues, "groups put into a product or convolution")  \
  X(prologues, "groups put into a reduction")               \
  X(joined, "elementwise operations that share their loop") \
  X(attention, "products around a softmax made one")        \
  X(masks, "masks computed inside attention")               \
  X(dead, "operations without readers dropped")
PRN_PASS_TABLES;

typedef struct group group;
struct group {
  prn_op *root;    /* whose result is the group's */
  prn_op *reduce;  /* the reduction that alone reads it, or NULL */
  prn_op *product; /* the product computed with it, or NULL */
  prn_op **ops;    /* last first */
  uint32_t n, cap;
  uint32_t inputs; /* at most: distinct operands from outside */
  group *next;     /* the group before it in the block */
};

typedef struct fuse {
  prn_module *m;
  prn_ctx *ctx;
  struct stats *stats;
  group **groups; /* by op->mark - 1 */
  uint32_t n, cap;
} fuse;

/* ---- groups ---- */

static bool is_elementwise(const prn_op *op) {
  switch (prn_op_code(op)) {
  case PRN_OP_nn_unary:
  case PRN_OP_nn_binary:
  case PRN_OP_nn_select:
  case PRN_OP_nn_cast:
  case PRN_OP_nn_bitcast:
    return true;
  default:
    return false;
  }
}

static bool same_shape(const prn_type *a, const prn_type *b) {
  if (a->rank != b->rank) return false;
  for (int32_t i = 0; i < a->rank; i++)
    if (a->dims[i] != b->dims[i]) return false;
  return true;
}

static group *group_of(const fuse *f, const prn_op *op) {
  return op->mark ? f->groups[op->mark - 1] : NULL;
}

static void join(fuse *f, group *g, prn_op *op) {
  if (g->n == g->cap) {
    uint32_t cap = g->cap ? g->cap * 2 : 4;
    prn_op **grown = PRN_ARENA_ARRAY(&f->m->arena, prn_op *, cap);
    for (uint32_t i = 0; i < g->n; i++)
      grown[i] = g->ops[i];
    g->ops = grown;
    g->cap = cap;
  }
  g->ops[g->n++] = op;
  g->inputs += op->num_operands;
  if (op != g->root)
    PRN_EACH_USE(u, &op->results[0])
      g->inputs--;
  op->mark = g->root->mark;
}

static group *start(fuse *f, prn_op *root) {
  if (f->n == f->cap) {
    uint32_t cap = f->cap ? f->cap * 2 : 64;
    group **grown = PRN_ARENA_ARRAY(&f->m->arena, group *, cap);
    for (uint32_t i = 0; i < f->n; i++)
      grown[i] = f->groups[i];
    f->groups = grown;
    f->cap = cap;
  }
  group *g = PRN_ARENA_NEW(&f->m->arena, group);
  f->groups[f->n++] = g;
  g->root = root;
  root->mark = f->n;
  join(f, g, root);
  return g;
}

/* The group that alone reads op's result and can take op in. */
static group *reader(const fuse *f, const prn_op *op) {
  const prn_value *r = &op->results[0];
  group *g = NULL;
  PRN_EACH_USE(u, r) {
    group *h = u->owner->block == op->block && is_elementwise(u->owner)
                   ? group_of(f, u->owner)
                   : NULL;
    if (!h || (g && g != h)) return NULL;
    g = h;
  }
  bool fits = g && g->n < MAX_BODY && g->inputs + op->num_operands < MAX_INPUTS;
  return fits && same_shape(r->type, g->root->results[0].type) ? g : NULL;
}

/* The reduction that alone reads op's result and has no body yet. */
static prn_op *reduction(const prn_op *op) {
  const prn_value *r = &op->results[0];
  prn_op *owner = r->uses ? r->uses->owner : NULL;
  if (!prn_value_has_one_use(r) || owner->block != op->block ||
      !prn_op_is(owner, PRN_OP_nn_reduce) || owner->num_blocks ||
      owner->num_operands != 1)
    return NULL;
  return owner;
}

static void form_groups(fuse *f, prn_block *b) {
  PRN_EACH_OP(op, b)
    op->mark = 0;
  for (prn_op *op = b->last; op; op = op->prev) {
    if (!is_elementwise(op)) continue;
    group *g = reader(f, op);
    if (g) {
      join(f, g, op);
      f->stats->joined++;
    } else {
      g = start(f, op);
      g->reduce = reduction(op);
    }
  }
}

/* ---- products ---- */

/* op computes what only this group reads, at its shape. */
static bool is_own_product(const fuse *f, const group *g, const prn_op *op) {
  if (!prn_op_is(op, PRN_OP_nn_matmul) && !prn_op_is(op, PRN_OP_nn_conv))
    return false;
  const prn_value *r = &op->results[0];
  if (op->num_blocks || op->block != g->root->block ||
      g->root->results[0].type->dtype == PRN_BOOL ||
      !same_shape(r->type, g->root->results[0].type))
    return false;
  PRN_EACH_USE(u, r)
    if (u->owner->block != op->block || group_of(f, u->owner) != g)
      return false;
  return true;
}

/* Of several, the last: what the others compute is there by then. */
static void find_product(const fuse *f, group *g) {
  for (uint32_t i = 0; i < g->n; i++)
    for (uint32_t k = 0; k < g->ops[i]->num_operands; k++) {
      prn_op *def = g->ops[i]->operands[k].value->def;
      if (def && is_own_product(f, g, def) &&
          (!g->product || prn_op_is_before(g->product, def)))
        g->product = def;
    }
}

/* ---- bodies ---- */

typedef struct body {
  fuse *f;
  const group *g;
  prn_nn b;
  prn_block *block;
  prn_ptrmap scalars; /* tensor value -> scalar in the body */
  prn_value *inputs[MAX_INPUTS + 1];
  uint32_t n;
} body;

static prn_value *body_op(body *s, prn_opcode code, prn_dtype dtype) {
  return prn_nn_make(&s->b, code, NULL, 0, prn_type_scalar(s->f->ctx, dtype));
}

/* The one element of a constant, as a constant of the body. */
static prn_value *body_constant(body *s, const prn_tensor *t) {
  const prn_type *type = prn_type_static(s->f->ctx, t->type->dtype, 0, NULL);
  prn_value *r = body_op(s, PRN_OP_nn_constant, t->type->dtype);
  const prn_tensor *scalar = prn_nn_part(s->f->ctx, t, 0, type);
  prn_op_set_attr(r->def, "value", prn_attr_tensor(s->f->ctx, scalar));
  return r;
}

static prn_value *body_size(body *s, prn_dim d) {
  prn_value *r = body_op(s, PRN_OP_nn_dims, PRN_I64);
  prn_op_set_attr(r->def, "values", prn_nn_dim_list(s->f->ctx, &d, 1));
  return r;
}

/* start + index * step of an nn.iota that is read at the group's shape. */
static prn_value *body_iota(body *s, const prn_op *iota) {
  const prn_attr *first = prn_op_attr(iota, "start");
  const prn_attr *step = prn_op_attr(iota, "step");
  int32_t rank = s->g->root->results[0].type->rank;
  int64_t axis =
      prn_op_int(iota, "axis", 0) + rank - iota->results[0].type->rank;
  prn_value *r = body_op(s, PRN_OP_nn_index, PRN_I64);
  prn_op_set_attr(r->def, "dim", prn_attr_int(s->f->ctx, axis));
  if (step)
    r = prn_nn_binary(&s->b, PRN_SCALAR_mul, r, body_size(s, step->dim));
  if (first)
    r = prn_nn_binary(&s->b, PRN_SCALAR_add, r, body_size(s, first->dim));
  return prn_nn_cast(&s->b, r, iota->results[0].type->dtype);
}

/* The iota's own axis has the group's size, so that its index is the
 * group's. */
static bool is_plain_iota(const body *s, const prn_op *op) {
  if (!prn_op_is(op, PRN_OP_nn_iota)) return false;
  const prn_type *t = op->results[0].type;
  const prn_type *to = s->g->root->results[0].type;
  int64_t axis = prn_op_int(op, "axis", 0);
  return t->dims[axis] == to->dims[axis + to->rank - t->rank];
}

/* What does not come as an input; NULL when v has to. Only maps know positions
 * and sizes: products may merge their dimensions. */
static prn_value *body_value(body *s, const prn_value *v) {
  const prn_tensor *t = prn_value_constant(v);
  const prn_attr *sizes;
  if (t && prn_tensor_count(t) == 1 && t->data &&
      prn_dtype_bits(t->type->dtype) >= 8)
    return body_constant(s, t);
  if (!v->def || s->g->product || s->g->reduce) return NULL;
  if (is_plain_iota(s, v->def)) return body_iota(s, v->def);
  if (!prn_op_is(v->def, PRN_OP_nn_dims)) return NULL;
  sizes = prn_op_attr(v->def, "values");
  if (!sizes || sizes->size != 1) return NULL;
  return prn_nn_cast(&s->b, body_size(s, prn_nn_list_dim(sizes, 0)),
                     v->type->dtype);
}

static prn_value *add_input(body *s, prn_value *v) {
  assert(s->n <= MAX_INPUTS);
  s->inputs[s->n++] = v;
  return prn_block_add_arg(s->block, prn_type_scalar(s->f->ctx, v->type->dtype),
                           PRN_STR(""));
}

static prn_value *scalar_of(body *s, prn_value *v) {
  prn_value *r = prn_ptrmap_get(&s->scalars, v);
  if (r) return r;
  prn_value *source = v; /* repeating is what a map does anyway */
  while (source->def && prn_op_is(source->def, PRN_OP_nn_broadcast))
    source = prn_op_operand(source->def, 0);
  r = source == v ? body_value(s, v) : scalar_of(s, source);
  if (!r) r = add_input(s, source);
  *prn_ptrmap_slot(&s->scalars, v) = r;
  return r;
}

/* The group's code as a block; its first argument is the product's scalar,
 * when there is one. */
static void fill(body *s) {
  const group *g = s->g;
  if (g->product) {
    prn_value *p = &g->product->results[0];
    *prn_ptrmap_slot(&s->scalars, p) = add_input(s, p);
  }
  for (uint32_t i = g->n; i-- > 0;) {
    const prn_op *op = g->ops[i];
    prn_value *in[3];
    for (uint32_t k = 0; k < op->num_operands; k++)
      in[k] = scalar_of(s, op->operands[k].value);
    prn_value *r =
        prn_nn_make(&s->b, prn_op_code(op), in, op->num_operands,
                    prn_type_scalar(s->f->ctx, op->results[0].type->dtype));
    const prn_attr *fn = prn_op_attr(op, "fn");
    if (fn) prn_op_set_attr(r->def, "fn", fn);
    *prn_ptrmap_slot(&s->scalars, &op->results[0]) = r;
  }
  prn_value *out = prn_ptrmap_get(&s->scalars, &g->root->results[0]);
  (void)prn_nn_make_op(&s->b, PRN_OP_nn_yield, &out, 1, NULL, 0);
}

/* ---- building ---- */

static void copy_attrs(const prn_op *from, prn_op *to) {
  for (uint32_t i = 0; i < from->num_attrs; i++)
    prn_op_set_attr(to, from->attrs[i].name.data, from->attrs[i].value);
}

static void take_body(body *s, prn_op *op) {
  prn_op_add_block(op, s->block);
  prn_op_set_attr(op, "body", prn_attr_region(s->f->ctx, 0));
}

static prn_op *build_product(body *s, prn_nn *b, const prn_type *type) {
  prn_op *p = s->g->product;
  prn_value *in[MAX_INPUTS + 3] = {prn_op_operand(p, 0), prn_op_operand(p, 1)};
  for (uint32_t i = 1; i < s->n; i++)
    in[i + 1] = s->inputs[i];
  b->name = prn_op_string(p, "$name", "");
  b->loc = p->loc;
  prn_op *op = prn_nn_make_op(b, prn_op_code(p), in, s->n + 1, &type, 1);
  copy_attrs(p, op);
  s->f->stats->epilogues++;
  return op;
}

/* The operands of a reduction have one shape. */
static prn_op *build_reduce(body *s, prn_nn *b) {
  prn_op *r = s->g->reduce;
  const prn_type *shape = s->g->root->results[0].type;
  for (uint32_t i = 0; i < s->n; i++)
    s->inputs[i] = prn_nn_broadcast(
        b, s->inputs[i],
        prn_type_with_dtype(s->f->ctx, shape, s->inputs[i]->type->dtype));
  b->name = prn_op_string(r, "$name", "");
  prn_op *op = prn_nn_make_op(b, PRN_OP_nn_reduce, s->inputs, s->n,
                              &r->results[0].type, 1);
  copy_attrs(r, op);
  s->f->stats->prologues++;
  return op;
}

static prn_op *build_map(body *s, prn_nn *b, const prn_type *type) {
  b->name = prn_op_string(s->g->root, "$name", "");
  s->f->stats->maps++;
  return prn_nn_make_op(b, PRN_OP_nn_map, s->inputs, s->n, &type, 1);
}

static void build(fuse *f, group *g) {
  prn_op *at = g->reduce && !g->product ? g->reduce : g->root;
  body s = {.f = f, .g = g};
  prn_nn b = {.m = f->m, .ctx = f->ctx, .before = at, .loc = g->root->loc};
  prn_value *old = &at->results[0];
  s.block = prn_block_create(f->m);
  s.b = (prn_nn){.m = f->m, .ctx = f->ctx, .block = s.block, .loc = b.loc};
  fill(&s);
  prn_op *op;
  if (g->product)
    op = build_product(&s, &b, old->type);
  else if (at == g->reduce && s.n)
    op = build_reduce(&s, &b);
  else {
    at = g->root;
    b.before = at;
    old = &at->results[0];
    op = build_map(&s, &b, old->type);
  }
  take_body(&s, op);
  op->results[0].name = old->name;
  prn_value_replace_uses(old, &op->results[0]);
  prn_ptrmap_destroy(&s.scalars);
}

/* ---- the pass ---- */

static void drop_dead(fuse *f, prn_block *b) {
  for (prn_op *op = b->last, *before; op; op = before) {
    bool used = !prn_op_has_trait(op, PRN_PURE);
    before = op->prev;
    for (uint32_t i = 0; i < op->num_results; i++)
      used = used || prn_value_has_uses(&op->results[i]);
    if (used) continue;
    prn_op_erase(op);
    f->stats->dead++;
  }
}

static void fuse_block(fuse *f, prn_block *b) {
  uint32_t from = f->n;
  PRN_EACH_OP(op, b)
    if (prn_op_is(op, PRN_OP_nn_if))
      for (uint32_t i = 0; i < op->num_blocks; i++)
        fuse_block(f, op->blocks[i]);
  from = f->n;
  drop_dead(f, b);
  form_groups(f, b);
  uint32_t to = f->n;
  for (uint32_t i = from; i < to; i++)
    find_product(f, f->groups[i]);
  /* First groups last: a group's inputs may be other groups' roots, which are
   * replaced in their readers' bodies' operands as they are built. */
  for (uint32_t i = to; i-- > from;)
    build(f, f->groups[i]);
  drop_dead(f, b);
  uint32_t attention = 0, masks = 0;
  prn_nn_fuse_attention(f->m, b, &attention, &masks);
  f->stats->attention += attention;
  f->stats->masks += masks;
  drop_dead(f, b);
}

static prn_status run(prn_pass_env *env, prn_module *m) {
  fuse f = {.m = m, .ctx = m->ctx, .stats = env->stats};
  PRN_EACH_OP(op, m->body)
    if (prn_op_is(op, PRN_OP_nn_func)) fuse_block(&f, prn_op_block(op, "body"));
  return PRN_OK;
}

const prn_pass prn_pass_nn_fuse = {
    .name = "nn-fuse",
    .summary = "Compute elementwise operations inside their neighbours",
    .doc = "Elementwise operations that read each other become one nn.map, or "
           "the epilogue of the matrix product or convolution that feeds them "
           "(bias, activation, residual), or the prologue of a reduction. "
           "Products "
           "around a softmax whose scores nothing else reads become "
           "nn.attention.",
    .reads = PRN_DIALECT_NN,
    .writes = PRN_DIALECT_NN,
    PRN_PASS_COMMON,
};
