#include "passes/analysis/branches.h"

#include "ir/rewrite.h"

enum { MAX_ENDS = 64, MAX_DEPTH = 32 };

/* ---- what makes a value zero ---- */

typedef struct ends {
  prn_op **at;
  size_t n;
  const prn_op *why_op;
} ends;

/* The constant behind v, through operations that move or convert. */
static prn_op *constant_of(prn_value *v) {
  for (int depth = 0; v && v->def && depth < MAX_DEPTH; depth++) {
    prn_op *op = v->def;
    if (prn_op_has_trait(op, PRN_CONSTANT))
      return prn_value_fixed(v) ? op : NULL;
    if (!prn_op_is(op, PRN_OP_onnx_Transpose) &&
        !prn_op_is(op, PRN_OP_onnx_Identity) &&
        !prn_op_is(op, PRN_OP_onnx_Reshape) && !prn_op_is(op, PRN_OP_onnx_Cast))
      return NULL;
    v = prn_op_operand(op, 0);
  }
  return NULL;
}

static const char *add_end(ends *e, const prn_op *at, prn_value *v) {
  prn_op *c = constant_of(v);
  e->why_op = at;
  if (!c) return "its weights are not constant";
  if (!prn_dtype_is_float(prn_value_constant(&c->results[0])->type->dtype))
    return "its weights are not of floats";
  for (size_t i = 0; i < e->n; i++)
    if (e->at[i] == c) return NULL;
  if (e->n == MAX_ENDS) return "too much is added up in it";
  e->at[e->n++] = c;
  return NULL;
}

/* Operand i, if it is there. */
static const char *add_operand(ends *e, const prn_op *op, uint32_t i) {
  prn_value *v = prn_op_operand(op, i);
  return v ? add_end(e, op, v) : NULL;
}

static const char *add_two(ends *e, const prn_op *op, uint32_t a, uint32_t b) {
  const char *why = add_operand(e, op, a);
  return why ? why : add_operand(e, op, b);
}

static bool is_one_of(const prn_op *op, const prn_opcode *codes, size_t n) {
  for (size_t i = 0; i < n; i++)
    if (prn_op_is(op, codes[i])) return true;
  return false;
}

/* Zero when operand 0 is. */
static bool keeps_zero(const prn_op *op) {
  static const prn_opcode codes[] = {
      PRN_OP_onnx_Identity,  PRN_OP_onnx_Dropout,   PRN_OP_onnx_Relu,
      PRN_OP_onnx_LeakyRelu, PRN_OP_onnx_Tanh,      PRN_OP_onnx_Gelu,
      PRN_OP_onnx_Cast,      PRN_OP_onnx_Reshape,   PRN_OP_onnx_Transpose,
      PRN_OP_onnx_Squeeze,   PRN_OP_onnx_Unsqueeze, PRN_OP_onnx_Flatten,
      PRN_OP_onnx_Slice,     PRN_OP_onnx_Neg};
  return is_one_of(op, codes, PRN_COUNT(codes));
}

/* A normalisation whose result is its scale times something plus its bias. */
static bool is_norm(const prn_op *op) {
  static const prn_opcode codes[] = {
      PRN_OP_onnx_BatchNormalization, PRN_OP_onnx_InstanceNormalization,
      PRN_OP_onnx_LayerNormalization, PRN_OP_onnx_RMSNormalization,
      PRN_OP_onnx_GroupNormalization, PRN_OP_onnx_SimplifiedLayerNormalization};
  return is_one_of(op, codes, PRN_COUNT(codes));
}

static const char *make_zero(ends *e, prn_value *v, int depth);

/* x * w with one operand constant: w alone, if it is a scale of channels. */
static const char *make_factor_zero(ends *e, prn_op *op, int depth) {
  for (uint32_t i = 0; i < 2; i++) {
    prn_value *v = prn_op_operand(op, i);
    if (!constant_of(v)) continue;
    if (prn_tensor_count(prn_value_constant(&constant_of(v)->results[0])) > 1)
      return add_end(e, op, v);
    return make_zero(e, prn_op_operand(op, 1 - i), depth + 1);
  }
  e->why_op = op;
  return "it multiplies two values at its end";
}

static const char *make_sum_zero(ends *e, prn_op *op, int depth) {
  const char *why = NULL;
  for (uint32_t i = 0; i < op->num_operands && !why; i++) {
    prn_value *v = prn_op_operand(op, i);
    why = constant_of(v) ? add_end(e, op, v) : make_zero(e, v, depth + 1);
  }
  return why;
}

static const char *make_zero(ends *e, prn_value *v, int depth) {
  prn_op *op = v ? v->def : NULL;
  e->why_op = op;
  if (!op || depth > MAX_DEPTH || v != &op->results[0])
    return "no weights are at its end";
  if (prn_op_is(op, PRN_OP_onnx_MatMul))
    return add_end(
        e, op, prn_op_operand(op, constant_of(prn_op_operand(op, 1)) ? 1 : 0));
  if (prn_op_is(op, PRN_OP_onnx_Gemm) || prn_op_is(op, PRN_OP_onnx_Conv) ||
      prn_op_is(op, PRN_OP_onnx_ConvTranspose))
    return add_two(e, op, 1, 2);
  if (is_norm(op)) return add_two(e, op, 1, 2);
  if (prn_op_is(op, PRN_OP_onnx_Add) || prn_op_is(op, PRN_OP_onnx_Sum))
    return make_sum_zero(e, op, depth);
  if (prn_op_is(op, PRN_OP_onnx_Mul)) return make_factor_zero(e, op, depth);
  if (keeps_zero(op)) return make_zero(e, prn_op_operand(op, 0), depth + 1);
  return "it does not end in weights";
}

const char *prn_zero_ends(prn_value *v, prn_arena *arena, prn_op ***at,
                          size_t *n, const prn_op **why_op) {
  ends e = {.at = PRN_ARENA_ARRAY(arena, prn_op *, MAX_ENDS)};
  const char *why = make_zero(&e, v, 0);
  *at = e.at;
  *n = e.n;
  *why_op = e.why_op;
  return why;
}

/* Whether nothing but one operation uses the constant, through views. */
static bool used_once(const prn_op *constant) {
  const prn_value *v = &constant->results[0];
  while (v->uses && !v->uses->next) {
    const prn_op *op = v->uses->owner;
    if (!prn_op_is(op, PRN_OP_onnx_Transpose) &&
        !prn_op_is(op, PRN_OP_onnx_Identity) &&
        !prn_op_is(op, PRN_OP_onnx_Reshape) && !prn_op_is(op, PRN_OP_onnx_Cast))
      return true;
    v = &op->results[0];
  }
  return false;
}

/* ---- between two values ---- */

typedef struct path {
  prn_arena *arena;
  prn_ptrmap seen; /* op -> whether it depends on the value */
  prn_op **ops;    /* that do */
  size_t size, cap;
} path;

static void keep(path *s, prn_op *op) {
  if (s->size == s->cap) {
    size_t cap = s->cap ? 2 * s->cap : 16;
    prn_op **ops = PRN_ARENA_ARRAY(s->arena, prn_op *, cap);
    for (size_t i = 0; i < s->size; i++)
      ops[i] = s->ops[i];
    s->ops = ops;
    s->cap = cap;
  }
  s->ops[s->size++] = op;
}

typedef struct frame {
  prn_op *op;
  uint32_t next;
  bool depends;
  struct frame *below;
} frame;

/* Whether op is in reach of x at all: dependents come after what they use. */
static bool may_depend(prn_op *op, const prn_value *x) {
  return op && op->block == x->block && !prn_op_has_trait(op, PRN_CONSTANT) &&
         (!x->def || prn_op_is_before(x->def, op));
}

/* Collects the operations between x and v in an order in which each comes after
 * what it uses; false when v does not depend on x. */
static bool walk(path *s, const prn_value *v, const prn_value *x) {
  static const char yes, no;
  if (!may_depend(v->def, x)) return v == x;
  frame *top = PRN_ARENA_NEW(s->arena, frame);
  *top = (frame){.op = v->def};
  for (bool depends;;) {
    if (top->next < top->op->num_operands) {
      prn_value *u = prn_op_operand(top->op, top->next++);
      if (u == x) top->depends = true;
      if (!u || u == x || !may_depend(u->def, x)) continue;
      const void *known = prn_ptrmap_get(&s->seen, u->def);
      top->depends |= known == &yes;
      if (known) continue;
      frame *f = PRN_ARENA_NEW(s->arena, frame);
      *f = (frame){.op = u->def, .below = top};
      top = f;
      continue;
    }
    depends = top->depends;
    *prn_ptrmap_slot(&s->seen, top->op) =
        (void *)(uintptr_t)(depends ? &yes : &no);
    if (depends) keep(s, top->op);
    if (!top->below) return depends;
    top = top->below;
    top->depends |= depends;
  }
}

static bool depends(const prn_value *v, const prn_value *x, prn_arena *arena,
                    path *out) {
  path s = {.arena = arena};
  bool does = walk(&s, v, x);
  prn_ptrmap_destroy(&s.seen);
  if (out) *out = s;
  return does;
}

/* ---- branches ---- */

static void find_products(prn_branch *b, const path *s, prn_arena *arena) {
  b->products = PRN_ARENA_ARRAY(arena, prn_op *, s->size);
  for (size_t i = 0; i < s->size; i++) {
    prn_op *op = s->ops[i];
    if (prn_op_is(op, PRN_OP_onnx_MatMul) || prn_op_is(op, PRN_OP_onnx_Gemm) ||
        prn_op_is(op, PRN_OP_onnx_Conv))
      b->products[b->num_products++] = op;
  }
}

static bool open_branch(prn_branch *b, prn_op *add, prn_arena *arena) {
  path s = {0};
  for (uint32_t i = 0; i < 2; i++) {
    prn_value *x = prn_op_operand(add, i), *f = prn_op_operand(add, 1 - i);
    if (!x || !f || x == f || constant_of(x) || constant_of(f) ||
        x->block != add->block || !f->def ||
        x->type != add->results[0].type || /* a mask, a bias */
        !depends(f, x, arena, &s))
      continue;
    *b = (prn_branch){.add = add, .in = x, .part = f};
    find_products(b, &s, arena);
    if (!b->num_products) continue; /* arithmetic: x + x*x */
    b->after = &add->results[0];
    b->why = prn_zero_ends(f, arena, &b->ends, &b->num_ends, &b->why_op);
    for (size_t k = 0; !b->why && k < b->num_ends; k++)
      if (!used_once(b->ends[k])) {
        b->why = "other operations use its last weights";
        b->why_op = b->ends[k];
      }
    return true;
  }
  return false;
}

static void link(prn_branches *all, size_t from, prn_arena *arena) {
  for (size_t i = from; i + 1 < all->size; i++) {
    prn_branch *b = &all->at[i], *next = &all->at[i + 1];
    const prn_value *y = &b->add->results[0];
    if (next->in->type != y->type || !depends(next->in, y, arena, NULL))
      continue;
    b->after = next->in;
    next->chained = true;
  }
}

prn_branches prn_branches_find(prn_module *m, prn_arena *arena) {
  prn_branches all = {0};
  size_t cap = 0;
  PRN_EACH_OP(top, m->body)
    if (prn_op_is(top, PRN_OP_onnx_graph))
      PRN_EACH_OP(op, prn_op_block(top, "body"))
        cap += prn_op_is(op, PRN_OP_onnx_Add);
  all.at = PRN_ARENA_ARRAY(arena, prn_branch, cap);
  PRN_EACH_OP(top, m->body) {
    size_t from = all.size;
    if (!prn_op_is(top, PRN_OP_onnx_graph)) continue;
    PRN_EACH_OP(op, prn_op_block(top, "body"))
      if (prn_op_is(op, PRN_OP_onnx_Add) &&
          open_branch(&all.at[all.size], op, arena))
        all.size++;
    link(&all, from, arena);
  }
  return all;
}

/* ---- */

prn_str prn_branch_angle_name(prn_ctx *ctx, const prn_branch *first,
                              const prn_branch *last) {
  prn_strbuf b = {0};
  prn_strbuf_fmt(&b, "%.*s|%.*s", PRN_STR_ARG(first->in->name),
                 PRN_STR_ARG(last->after->name));
  prn_str name = prn_intern(ctx, prn_strbuf_view(&b));
  prn_strbuf_destroy(&b);
  return name;
}

bool prn_branch_has_angle(const prn_branches *b, size_t first, size_t span) {
  if (!prn_branches_chained(b, first, span)) return false;
  const prn_value *x = b->at[first].in, *y = b->at[first + span - 1].after;
  return x->name.size && y->name.size && y->def && x->block == y->def->block &&
         prn_type_is_ranked(x->type) && prn_dtype_is_float(x->type->dtype);
}

int32_t prn_branch_axis(const prn_branch *b) {
  return prn_op_is(b->products[b->num_products - 1], PRN_OP_onnx_Conv) ? 1 : -1;
}

bool prn_branches_chained(const prn_branches *b, size_t first, size_t span) {
  for (size_t i = first + 1; i < first + span; i++)
    if (i >= b->size || !b->at[i].chained) return false;
  return first < b->size;
}

size_t *prn_branch_runs(const prn_branches *b, size_t span, prn_arena *arena,
                        size_t *n) {
  size_t *first = PRN_ARENA_ARRAY(arena, size_t, b->size);
  *n = 0;
  for (size_t i = 0; i < b->size;) {
    bool all = prn_branches_chained(b, i, span);
    for (size_t k = i; all && k < i + span; k++)
      all = !b->at[k].why;
    if (all) first[(*n)++] = i;
    i += all ? span : 1;
  }
  return first;
}
