/* Attention found in products around a softmax, and masks computed where they
 * are read; see nn_attention.h. */
#include "passes/lower/nn_attention.h"

enum { MAX_HEAD = 1024, MAX_EXTRAS = 24, MAX_INLINED = 40, SMALL = 1 << 16 };

static bool small_head(prn_dim d) {
  int64_t v;
  return prn_dim_is_const(d, &v) && v > 0 && v <= MAX_HEAD;
}

/* ---- matching ---- */

typedef struct match {
  prn_op *scores, *softmax, *out; /* the two products */
  prn_op *guard; /* between softmax and the second: NaN becomes 0; or NULL */
} match;

/* select(isnan(p), 0, p), which exporters put behind a softmax whose rows may
 * be hidden altogether. */
static bool is_guard(const prn_op *map) {
  const prn_block *b =
      prn_op_is(map, PRN_OP_nn_map) ? prn_op_block(map, "body") : NULL;
  const prn_op *select =
      b && b->last->num_operands == 1 ? prn_op_operand(b->last, 0)->def : NULL;
  if (!select || map->num_operands != 1 || map->num_results != 1 ||
      !prn_op_is(select, PRN_OP_nn_select) ||
      prn_op_operand(select, 2) != b->args[0])
    return false;
  const prn_op *test = prn_op_operand(select, 0)->def;
  const prn_tensor *zero = prn_value_constant(prn_op_operand(select, 1));
  double v = 1;
  if (zero) prn_tensor_read_f64(zero, 0, 1, &v);
  return v == 0 && test && prn_op_is(test, PRN_OP_nn_unary) &&
         prn_str_is(prn_op_string(test, "fn", ""), "isnan") &&
         prn_op_operand(test, 0) == b->args[0];
}

static bool is_matrix_product(const prn_op *op, const prn_op *near) {
  return op && prn_op_is(op, PRN_OP_nn_matmul) && op->block == near->block &&
         op->results[0].type->dtype == PRN_F32 &&
         prn_op_operand(op, 0)->type->dtype == PRN_F32 &&
         prn_op_operand(op, 1)->type->dtype == PRN_F32 &&
         !prn_value_constant(prn_op_operand(op, 1));
}

/* Products of these values around the softmax and nothing else reading what
 * is between them. */
static bool find(prn_op *softmax, match *m) {
  prn_value *x = prn_op_operand(softmax, 0), *p = prn_op_result(softmax, 0);
  int32_t rank = p->type->rank;
  if (prn_op_int(softmax, "log", 0) != 0 ||
      prn_op_int(softmax, "axis", 0) != rank - 1 || !prn_value_has_one_use(x) ||
      !prn_value_has_one_use(p))
    return false;
  *m = (match){x->def, softmax, p->uses->owner, NULL};
  if (is_guard(m->out) && m->out->block == softmax->block) {
    m->guard = m->out;
    p = prn_op_result(m->guard, 0);
    if (!prn_value_has_one_use(p)) return false;
    m->out = p->uses->owner;
  }
  if (!is_matrix_product(m->scores, softmax) ||
      !is_matrix_product(m->out, softmax) || prn_use_index(p->uses) != 0)
    return false;
  const prn_type *q = prn_op_operand(m->scores, 0)->type;
  const prn_type *v = prn_op_operand(m->out, 1)->type;
  return small_head(q->dims[q->rank - 1]) && small_head(v->dims[v->rank - 1]) &&
         m->out->results[0].type->rank == rank &&
         m->scores->num_operands - 2 <= MAX_EXTRAS;
}

/* ---- building ---- */

/* b[..., d, t] as keys [..., t, d]: what it is the transpose of, if that. */
static prn_value *keys(prn_nn *b, prn_value *x) {
  int64_t perm[PRN_NN_MAX_RANK];
  int32_t rank = x->type->rank;
  bool swap = x->def && prn_op_is(x->def, PRN_OP_nn_transpose);
  size_t n = 0;
  const int64_t *have = swap ? prn_op_ints(x->def, "perm", &n) : NULL;
  for (int32_t i = 0; i < rank; i++) {
    perm[i] = i < rank - 2 ? i : 2 * rank - 3 - i;
    swap = swap && have[i] == perm[i];
  }
  return swap ? prn_op_operand(x->def, 0) : prn_nn_transpose(b, x, perm);
}

static void copy_code(prn_module *m, const prn_block *from, prn_block *to,
                      prn_ptrmap *map) {
  PRN_EACH_OP(op, from)
    prn_block_append(to, prn_op_clone(m, op, map));
}

/* A copy of op's body, for another operation. */
static void copy_body(prn_module *m, const prn_op *from, prn_op *to) {
  const prn_block *b = prn_op_block(from, "body");
  prn_ptrmap map = {0};
  if (!b) return;
  prn_block *copy = prn_block_create(m);
  for (uint32_t i = 0; i < b->num_args; i++)
    *prn_ptrmap_slot(&map, b->args[i]) =
        prn_block_add_arg(copy, b->args[i]->type, b->args[i]->name);
  copy_code(m, b, copy, &map);
  prn_ptrmap_destroy(&map);
  prn_op_add_block(to, copy);
  prn_op_set_attr(to, "body", prn_attr_region(m->ctx, to->num_blocks - 1));
}

/* What the second product's own body does to its result. */
static prn_value *finish(prn_nn *b, const prn_op *out, prn_value *r) {
  prn_value *in[PRN_NN_MAX_RANK * 2 + MAX_EXTRAS] = {r};
  if (!prn_op_block(out, "body")) return r;
  for (uint32_t i = 2; i < out->num_operands; i++)
    in[i - 1] = prn_op_operand(out, i);
  prn_op *map = prn_nn_make_op(b, PRN_OP_nn_map, in, out->num_operands - 1,
                               &out->results[0].type, 1);
  copy_body(b->m, out, map);
  return &map->results[0];
}

static void build(prn_module *m, const match *f) {
  prn_nn b = {.m = m,
              .ctx = m->ctx,
              .before = f->out,
              .loc = f->out->loc,
              .name = prn_op_string(f->out, "$name", "")};
  prn_value *in[MAX_EXTRAS + 3];
  in[0] = prn_op_operand(f->scores, 0);
  in[1] = keys(&b, prn_op_operand(f->scores, 1));
  in[2] = prn_op_operand(f->out, 1);
  uint32_t n = f->scores->num_operands + 1;
  for (uint32_t i = 3; i < n; i++)
    in[i] = prn_op_operand(f->scores, i - 1);
  prn_op *a = prn_nn_make_op(&b, PRN_OP_nn_attention, in, n,
                             &f->out->results[0].type, 1);
  copy_body(m, f->scores, a);
  if (f->guard) prn_op_set_attr(a, "zero_hidden", prn_attr_bool(m->ctx, true));
  prn_value *r = finish(&b, f->out, &a->results[0]);
  r->name = f->out->results[0].name;
  prn_value_replace_uses(&f->out->results[0], r);
  prn_op_erase(f->out);
  if (f->guard) prn_op_erase(f->guard);
  prn_op_erase(f->softmax);
  prn_op_erase(f->scores);
}

/* ---- masks ---- */

/* The map behind an extra operand, through broadcasts and leading dimensions
 * of size 1. */
static prn_op *computed_by(const prn_value *x) {
  while (x->def && (prn_op_is(x->def, PRN_OP_nn_broadcast) ||
                    prn_op_is(x->def, PRN_OP_nn_reshape))) {
    const prn_value *y = prn_op_operand(x->def, 0);
    int32_t less = x->type->rank - y->type->rank;
    if (less < 0) return NULL;
    for (int32_t i = 0; i < x->type->rank; i++) {
      bool repeats = prn_op_is(x->def, PRN_OP_nn_broadcast);
      if (i < less ? !repeats && !prn_dim_is(x->type->dims[i], 1)
                   : x->type->dims[i] != y->type->dims[i - less] &&
                         !(repeats && prn_dim_is(y->type->dims[i - less], 1)))
        return NULL;
    }
    x = y;
  }
  return x->def && prn_op_is(x->def, PRN_OP_nn_map) ? x->def : NULL;
}

/* One element for each pair of a query and a key. */
static bool is_square(const prn_type *t) {
  return t->rank >= 2 && !prn_dim_is(t->dims[t->rank - 1], 1) &&
         !prn_dim_is(t->dims[t->rank - 2], 1);
}

/* The map computes a large mask from positions and from what does not belong
 * to a pair: cheaper to do again than to keep. */
static bool worth(const prn_op *map, const prn_op *a) {
  const prn_type *t = map->results[0].type;
  int64_t count;
  uint32_t ops = 0;
  if (map->num_results != 1 || !is_square(t) ||
      (prn_type_count(t, &count) && count <= SMALL))
    return false;
  for (uint32_t i = 0; i < map->num_operands; i++)
    if (is_square(prn_op_operand(map, i)->type)) return false;
  PRN_EACH_OP(op, prn_op_block(map, "body")) {
    ops++;
    if (prn_op_is(op, PRN_OP_nn_index) &&
        prn_dim_is(t->dims[prn_op_int(op, "dim", 0)], 1))
      return false;
  }
  return ops <= MAX_INLINED &&
         a->num_operands + map->num_operands <= MAX_EXTRAS;
}

/* Positions count a's dimensions from then on, of which there are `more`. */
static void shift_positions(prn_ctx *ctx, prn_op *op, const prn_op *end,
                            int64_t more) {
  for (; op != end; op = op->next)
    if (prn_op_is(op, PRN_OP_nn_index))
      prn_op_set_attr(op, "dim",
                      prn_attr_int(ctx, prn_op_int(op, "dim", 0) + more));
}

/* Replaces extra operand `at` of a by the code of the map that computes it. */
static void inline_map(prn_module *m, prn_op *a, uint32_t at, prn_op *map) {
  prn_block *to = prn_op_block(a, "body"), *from = prn_op_block(map, "body");
  prn_op *first = to->first;
  prn_ptrmap values = {0};
  for (uint32_t i = 0; i < map->num_operands; i++) {
    prn_op_add_operand(a, prn_op_operand(map, i));
    *prn_ptrmap_slot(&values, from->args[i]) =
        prn_block_add_arg(to, from->args[i]->type, PRN_STR(""));
  }
  prn_value *result = NULL;
  PRN_EACH_OP(op, from) {
    if (prn_op_is(op, PRN_OP_nn_yield)) {
      result = prn_ptrmap_get(&values, prn_op_operand(op, 0));
      break;
    }
    prn_op_insert_before(prn_op_clone(m, op, &values), first);
  }
  prn_ptrmap_destroy(&values);
  shift_positions(m->ctx, to->first, first,
                  prn_op_operand(a, 0)->type->rank -
                      map->results[0].type->rank);
  uint32_t arg = at - 2;
  prn_value_replace_uses(to->args[arg], result);
  prn_block_remove_arg(to, arg);
  for (uint32_t i = at; i + 1 < a->num_operands; i++)
    prn_op_set_operand(a, i, prn_op_operand(a, i + 1));
  prn_op_truncate_operands(a, a->num_operands - 1);
}

static uint32_t inline_masks(prn_module *m, prn_op *a) {
  uint32_t n = 0;
  if (!prn_op_block(a, "body") ||
      prn_op_operand(a, 0)->type->rank != a->results[0].type->rank)
    return 0;
  for (uint32_t i = 3; i < a->num_operands;) {
    prn_op *map = computed_by(prn_op_operand(a, i));
    if (map && map->block == a->block && worth(map, a)) {
      inline_map(m, a, i, map);
      n++;
    } else {
      i++;
    }
  }
  return n;
}

/* ---- heads of keys and values that several heads of queries share ---- */

/* x[b, heads, t, d] that repeats each head of the result [b, kv, 1, t, d];
 * NULL when it is something else. */
static prn_value *unrepeated(const prn_value *x) {
  const prn_type *t = x->type;
  const prn_op *reshape = x->def;
  if (t->rank != 4 || !reshape || !prn_op_is(reshape, PRN_OP_nn_reshape))
    return NULL;
  const prn_value *y = prn_op_operand(reshape, 0);
  const prn_dim *d = y->type->dims;
  if (y->type->rank != 5 || !y->def ||
      !prn_op_is(y->def, PRN_OP_nn_broadcast) || d[0] != t->dims[0] ||
      d[3] != t->dims[2] || d[4] != t->dims[3])
    return NULL;
  prn_value *z = prn_op_operand(y->def, 0);
  const prn_dim *e = z->type->dims;
  bool once = z->type->rank == 5 && prn_dim_is(e[2], 1) && !prn_dim_is(d[2], 1);
  for (int32_t i = 0; once && i < 5; i++)
    once = i == 2 || e[i] == d[i];
  return once ? z : NULL;
}

/* The heads' dimension of x cut in two, for queries and extras; NULL when its
 * size is neither `heads` nor 1. */
static prn_value *cut_heads(prn_nn *b, prn_value *x, const prn_dim *heads,
                            prn_dim kv, prn_dim group) {
  const prn_type *t = x->type;
  prn_dim dims[5], one = prn_dim_const(b->ctx, 1);
  if (t->rank < 3) return x;
  bool shared = prn_dim_is(t->dims[t->rank - 3], 1);
  if (!shared && t->dims[t->rank - 3] != *heads) return NULL;
  dims[0] = t->rank == 4 ? t->dims[0] : one;
  dims[1] = shared ? one : kv;
  dims[2] = shared ? one : group;
  dims[3] = t->dims[t->rank - 2];
  dims[4] = t->dims[t->rank - 1];
  return prn_nn_reshape_dims(b, x, 5, dims);
}

static bool asks_for_head(const prn_op *a) {
  const prn_block *body = prn_op_block(a, "body");
  if (body)
    PRN_EACH_OP(op, body)
      if (prn_op_is(op, PRN_OP_nn_index) && prn_op_int(op, "dim", 0) == 1)
        return true;
  return false;
}

/* Attention over [b, kv, group, s, d] where a's keys and values repeat; false
 * when they do not. */
static bool share_heads(prn_module *m, prn_op *a) {
  const prn_type *t = a->results[0].type;
  prn_value *in[MAX_EXTRAS + 3];
  in[1] = unrepeated(prn_op_operand(a, 1));
  in[2] = in[1] ? unrepeated(prn_op_operand(a, 2)) : NULL;
  if (t->rank != 4 || !in[2] || asks_for_head(a) ||
      in[1]->type->dims[1] != in[2]->type->dims[1])
    return false;
  prn_nn b = {.m = m,
              .ctx = m->ctx,
              .before = a,
              .loc = a->loc,
              .name = prn_op_string(a, "$name", "")};
  prn_dim kv = in[1]->type->dims[1], dims[5];
  prn_dim group = prn_dim_floordiv(m->ctx, t->dims[1], kv);
  for (uint32_t i = 0; i < a->num_operands; i++) {
    if (i == 1 || i == 2) continue;
    in[i] = cut_heads(&b, prn_op_operand(a, i), &t->dims[1], kv, group);
    if (!in[i] || (i == 0 && in[0]->type->rank != 5)) return false;
  }
  for (int32_t i = 0; i < 5; i++)
    dims[i] = i < 4 ? in[0]->type->dims[i] : t->dims[3];
  const prn_type *type = prn_nn_type(m->ctx, t, 5, dims);
  prn_op *r =
      prn_nn_make_op(&b, PRN_OP_nn_attention, in, a->num_operands, &type, 1);
  copy_body(m, a, r);
  prn_op_set_attr(r, "zero_hidden", prn_op_attr(a, "zero_hidden"));
  prn_block *body = prn_op_block(r, "body");
  if (body)
    PRN_EACH_OP(op, body)
      if (prn_op_is(op, PRN_OP_nn_index) && prn_op_int(op, "dim", 0) > 0)
        prn_op_set_attr(op, "dim",
                        prn_attr_int(m->ctx, prn_op_int(op, "dim", 0) + 1));
  prn_value *y = prn_nn_reshape(&b, &r->results[0], t);
  y->name = a->results[0].name;
  prn_value_replace_uses(&a->results[0], y);
  prn_op_erase(a);
  return true;
}

/* ---- the block ---- */

void prn_nn_fuse_attention(prn_module *m, prn_block *b, uint32_t *found,
                           uint32_t *masks) {
  match f;
  for (prn_op *op = b->first, *next; op; op = next) {
    next = op->next;
    if (!prn_op_is(op, PRN_OP_nn_softmax) || !find(op, &f)) continue;
    while (next && (next == f.out || next == f.scores || next == f.guard))
      next = next->next;
    build(m, &f);
    (*found)++;
  }
  for (prn_op *op = b->first, *next; op; op = next) {
    next = op->next;
    if (!prn_op_is(op, PRN_OP_nn_attention)) continue;
    *masks += inline_masks(m, op);
    (void)share_heads(m, op);
  }
}
