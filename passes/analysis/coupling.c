/* The coupling analysis; see coupling.h. Operators that are known by name are
 * in couple_move.c and couple_known.c. */
#include "passes/analysis/coupling.h"

#include <string.h>

#include "ir/rewrite.h"
#include "passes/analysis/couple.h"
#include "passes/analysis/tables.h"

static const char takes_whole[] = "is taken as a whole";

/* ---- spaces of values ---- */

prn_space **prn_couple_dims(prn_couple *c, const prn_value *v) {
  prn_coupling *out = c->out;
  if (!v || !prn_type_is_ranked(v->type)) return NULL;
  void **slot = prn_ptrmap_slot(&out->dims, v);
  if (*slot) return *slot;
  int32_t rank = v->type->rank;
  prn_space **d = PRN_ARENA_ARRAY(&out->arena, prn_space *, rank + 1);
  for (int32_t i = 0; i < rank; i++)
    if (prn_dim_known(v->type->dims[i]))
      d[i] = prn_space_atom(&out->spaces, v->type->dims[i]);
  *slot = d;
  return d;
}

void prn_couple_freeze(prn_space *x, const prn_op *op, const char *text) {
  if (x) prn_space_freeze(x, (prn_space_why){op, text});
}

void prn_couple_freeze_value(prn_couple *c, const prn_value *v,
                             const prn_op *op, const char *text) {
  prn_space **d = prn_couple_dims(c, v);
  for (int32_t i = 0; d && i < v->type->rank; i++)
    prn_couple_freeze(d[i], op, text);
}

void prn_couple_tie(prn_couple *c, const prn_op *op, prn_space *a,
                    prn_space *b) {
  if (a && b && prn_space_equate(&c->out->spaces, a, b)) return;
  prn_couple_freeze(a, op, "is regrouped");
  prn_couple_freeze(b, op, "is regrouped");
}

void prn_couple_opaque(prn_couple *c, const prn_op *op) {
  for (uint32_t i = 0; i < op->num_operands; i++)
    prn_couple_freeze_value(c, prn_op_operand(op, i), op, takes_whole);
  for (uint32_t i = 0; i < op->num_results; i++)
    prn_couple_freeze_value(c, &op->results[i], op, takes_whole);
}

int32_t prn_couple_ints(const prn_op *op, uint32_t operand, const char *attr,
                        int64_t *out, int32_t most) {
  const prn_value *v =
      operand < op->num_operands ? prn_op_operand(op, operand) : NULL;
  if (v) {
    const prn_tensor *t = prn_value_constant(v);
    int64_t n = t && t->data ? prn_tensor_count(t) : most + 1;
    if (n < 0 || n > most || !prn_dtype_is_int(t->type->dtype)) return -1;
    prn_tensor_read_i64(t, 0, n, out);
    return (int32_t)n;
  }
  size_t n;
  const int64_t *ints = attr ? prn_op_ints(op, attr, &n) : NULL;
  if (!ints) return 0;
  if (n > (size_t)most) return -1;
  memcpy(out, ints, n * sizeof *out);
  return (int32_t)n;
}

/* ---- words ---- */

static bool same_size(prn_dim a, prn_dim b) {
  return prn_dim_known(a) && prn_dim_known(b) && prn_dim_cmp(a, b) == 0;
}

/* x, of operand size `from`, broadcasts to `to` in the result. */
static void tie_broadcast(prn_couple *c, const prn_op *op, prn_space *x,
                          prn_space *to) {
  if (!x || !to) {
    prn_couple_freeze(x ? x : to, op, takes_whole);
  } else if (same_size(x->size, to->size)) {
    prn_couple_tie(c, op, x, to);
  } else if (!prn_dim_is(x->size, 1)) {
    prn_couple_freeze(x, op, takes_whole);
    prn_couple_freeze(to, op, takes_whole);
  }
}

/* The axes of v against those of `to`, from the right. */
static void tie_right(prn_couple *c, const prn_op *op, const prn_value *v,
                      const prn_value *to) {
  prn_space **x = prn_couple_dims(c, v), **y = prn_couple_dims(c, to);
  if (!v || v == to) return;
  if (!x || !y || v->type->rank > to->type->rank) {
    prn_couple_freeze_value(c, v, op, takes_whole);
    prn_couple_freeze_value(c, to, op, takes_whole);
    return;
  }
  int32_t shift = to->type->rank - v->type->rank;
  for (int32_t i = 0; i < v->type->rank; i++)
    tie_broadcast(c, op, x[i], y[i + shift]);
}

void prn_couple_elementwise(prn_couple *c, const prn_op *op) {
  const prn_value *to = &op->results[0];
  for (uint32_t i = 0; i < op->num_operands; i++)
    tie_right(c, op, prn_op_operand(op, i), to);
  for (uint32_t i = 1; i < op->num_results; i++)
    tie_right(c, op, &op->results[i], to);
}

void prn_couple_broadcast(prn_couple *c, const prn_op *op) {
  tie_right(c, op, prn_op_operand(op, 0), &op->results[0]);
}

/* ---- relations of a row ---- */

typedef struct factors {
  prn_space *names[PRN_RELATION_NAMES]; /* NULL: of no known size */
  prn_space *rest[32];                  /* of "*", from the right */
  bool open[32];                        /* somebody's size is not known there */
} factors;

/* What a product of names and numbers stands for; NULL when a size is open. */
static prn_space *product_of(prn_couple *c, const prn_op *op,
                             const prn_relation_dim *d, factors *f) {
  prn_space *parts[PRN_RELATION_FACTORS];
  for (uint32_t i = 0; i < d->n; i++) {
    if (d->names[i] >= 0) {
      parts[i] = f->names[d->names[i]];
    } else {
      parts[i] =
          prn_space_atom(&c->out->spaces, prn_dim_const(c->ctx, d->values[i]));
      prn_couple_freeze(parts[i], op, "is a fixed number of parts");
    }
    if (!parts[i]) return NULL;
  }
  return prn_space_product(&c->out->spaces, parts, d->n);
}

static void tie_rest(prn_couple *c, const prn_op *op, prn_space *x, int32_t at,
                     factors *f) {
  if (x && prn_dim_is(x->size, 1)) return;
  if (at >= (int32_t)PRN_COUNT(f->rest)) {
    prn_couple_freeze(x, op, takes_whole);
    return;
  }
  f->open[at] = f->open[at] || !x;
  if (!f->rest[at])
    f->rest[at] = x;
  else if (x)
    tie_broadcast(c, op, x, f->rest[at]);
  if (f->open[at]) prn_couple_freeze(f->rest[at], op, takes_whole);
}

static void freeze_names(const prn_relation_dim *d, const prn_op *op,
                         const factors *f) {
  for (uint32_t k = 0; k < d->n; k++)
    if (d->names[k] >= 0)
      prn_couple_freeze(f->names[d->names[k]], op, takes_whole);
}

static void tie_place(prn_couple *c, const prn_op *op,
                      const prn_relation_place *p, prn_space *x, factors *f) {
  static const char mixes[] = "is normalised or compared along it";
  switch (p->dim->kind) {
  case PRN_RELATION_FREE:
  case PRN_RELATION_FREE_REST:
    prn_couple_freeze(x, op, takes_whole);
    return;
  case PRN_RELATION_REST:
    tie_rest(c, op, x, p->rest, f);
    break;
  case PRN_RELATION_PRODUCT: {
    prn_space *y = product_of(c, op, p->dim, f);
    if (x && y && prn_dim_is(x->size, 1) && !prn_dim_is(y->size, 1) &&
        !p->slot->is_result)
      return; /* broadcast */
    if (!x || !y) freeze_names(p->dim, op, f);
    prn_couple_tie(c, op, x, y);
  }
  }
  if (p->dim->mixed && x) prn_space_mix(x, (prn_space_why){op, mixes});
}

/* Of a slot whose value has no known rank. */
static void freeze_slot(const prn_relation_slot *slot, const prn_op *op,
                        const factors *f) {
  for (uint32_t i = 0; i < slot->n; i++)
    freeze_names(&slot->dims[i], op, f);
}

static void tie_slot(prn_couple *c, const prn_op *op,
                     const prn_relation_slot *slot, factors *f) {
  const prn_value *v = prn_relation_value(slot, op);
  prn_space **d = prn_couple_dims(c, v);
  for (int32_t i = 0; d && i < v->type->rank; i++) {
    prn_relation_place p = prn_relation_at(slot, op, v->type->rank, i);
    tie_place(c, op, &p, d[i], f);
  }
  if (v && !d) freeze_slot(slot, op, f);
}

static bool is_mentioned(const prn_relation_alt *alt, const prn_op *op,
                         const prn_value *v) {
  for (uint32_t i = 0; i < alt->n; i++)
    if (prn_relation_value(&alt->slots[i], op) == v) return true;
  return false;
}

/* For who writes the sizes of factors into attributes. Weights that the row
 * does not relate have them in their shapes, in ways that nobody knows. */
static void keep_factors(prn_couple *c, const prn_op *op, const prn_relation *r,
                         const factors *f) {
  if (!r->num_sizes) return;
  size_t size = r->num_names * sizeof(prn_space *);
  *prn_ptrmap_slot(&c->out->factors, op) =
      prn_arena_copy(&c->out->arena, f->names, size);
}

static bool is_single(const prn_type *t) {
  int64_t n;
  return prn_type_count(t, &n) && n == 1;
}

static bool is_weight_slot(const prn_op *op, uint32_t i) {
  const prn_slot_info *s = op->opname->info->in;
  for (uint32_t k = 0; s[k].kind != PRN_SLOT_END; k++)
    if (k == i)
      return s[k].kind == PRN_SLOT_WEIGHT || s[k].kind == PRN_SLOT_WEIGHT_OPT;
  return false;
}

/* Why the factor d of a row is fixed: elements of heads that are rotated,
 * directions of a recurrent layer. NULL when it is not. */
static const char *fixes_d(const prn_op *op) {
  if (prn_op_is(op, PRN_OP_onnx_RotaryEmbedding) ||
      prn_op_int(op, "do_rotary", 0))
    return "is rotated in pairs";
  bool recurrent = prn_op_is(op, PRN_OP_onnx_LSTM) ||
                   prn_op_is(op, PRN_OP_onnx_GRU) ||
                   prn_op_is(op, PRN_OP_onnx_RNN);
  return recurrent ? takes_whole : NULL;
}

static prn_space *named(const prn_relation *r, const factors *f,
                        const char *name) {
  for (uint32_t i = 0; i < r->num_names; i++)
    if (prn_str_is(r->names[i], name)) return f->names[i];
  return NULL;
}

/* Biases of queries, keys and values, one after the other, which a row cannot
 * say: whether operand i is that. */
static bool tie_biases(prn_couple *c, const prn_op *op, uint32_t i,
                       const prn_relation *r, const factors *f) {
  enum { BIAS = 3 };
  prn_spaces *s = &c->out->spaces;
  prn_space **d = prn_couple_dims(c, prn_op_operand(op, i));
  prn_space *hd[2] = {named(r, f, "h"), named(r, f, "d")};
  prn_space *he[2] = {hd[0], named(r, f, "e")};
  if (i != BIAS || !prn_op_is(op, PRN_OP_com_microsoft_MultiHeadAttention) ||
      !d || prn_op_operand(op, i)->type->rank != 1 || !hd[0] || !hd[1] ||
      !he[1])
    return false;
  prn_space *parts[3] = {prn_space_product(s, hd, 2),
                         prn_space_product(s, hd, 2),
                         prn_space_product(s, he, 2)};
  prn_couple_tie(c, op, d[0], prn_space_sum(s, parts, 3));
  return true;
}

/* Where MaxPool found its elements counts channels; only MaxUnpool, whose
 * result has lost the same ones, may see that. */
static void keep_indices(prn_couple *c, const prn_op *op) {
  if (!prn_op_is(op, PRN_OP_onnx_MaxPool) || op->num_results < 2) return;
  PRN_EACH_USE(u, &op->results[1])
    if (!prn_op_is(u->owner, PRN_OP_onnx_MaxUnpool))
      prn_couple_freeze_value(c, &op->results[1], op,
                              "is counted in where elements were");
}

static void tie_list(prn_couple *c, const prn_op *op, const prn_relation *r) {
  const prn_relation_alt *alt = prn_relation_select(r, op);
  prn_dim sizes[PRN_RELATION_NAMES];
  prn_relation_place where;
  factors f = {.names = {NULL}};
  bool packed = prn_op_is(op, PRN_OP_com_microsoft_GroupQueryAttention) &&
                !prn_op_operand(op, 1);
  if (!alt || packed || !prn_relation_sizes(r, alt, op, sizes, &where)) {
    prn_couple_opaque(c, op);
    return;
  }
  for (uint32_t i = 0; i < r->num_names; i++)
    if (prn_dim_known(sizes[i]))
      f.names[i] = prn_space_atom(&c->out->spaces, sizes[i]);
  for (uint32_t i = alt->n; i-- > 0;) /* results first: they are broadcast to */
    tie_slot(c, op, &alt->slots[i], &f);
  keep_factors(c, op, r, &f);
  for (uint32_t i = 0; i < r->num_names; i++)
    if (fixes_d(op) && prn_str_is(r->names[i], "d"))
      prn_couple_freeze(f.names[i], op, fixes_d(op));
  for (uint32_t i = 0; i < op->num_operands; i++) {
    const prn_value *v = prn_op_operand(op, i);
    if (!v || is_mentioned(alt, op, v) || tie_biases(c, op, i, r, &f)) continue;
    prn_couple_freeze_value(c, v, op, takes_whole);
    bool counts = is_weight_slot(op, i) && !is_single(v->type);
    for (uint32_t k = 0; counts && k < r->num_names; k++)
      prn_couple_freeze(f.names[k], op, takes_whole);
    for (uint32_t k = 0; !is_single(v->type) && k < r->num_names; k++)
      prn_couple_order_beside(op, v, f.names[k]);
  }
  for (uint32_t i = 0; i < op->num_results; i++)
    if (!is_mentioned(alt, op, &op->results[i]))
      prn_couple_freeze_value(c, &op->results[i], op, takes_whole);
  keep_indices(c, op);
}

/* ---- operations ---- */

static const prn_relation *relation_of(prn_couple *c, const prn_op *op) {
  prn_opcode code = prn_op_code(op);
  prn_relation *r = &c->relations[code];
  if (!op->opname->info) return NULL;
  if (!c->parsed[code] && prn_relation_parse(op->opname->info, r)) return NULL;
  c->parsed[code] = true;
  return r;
}

/* What nested blocks use. */
static prn_status freeze_nested(void *user, prn_op *op) {
  for (uint32_t i = 0; i < op->num_operands; i++)
    prn_couple_freeze_value(user, prn_op_operand(op, i), op,
                            "is used in a nested block");
  return PRN_OK;
}

static void visit(prn_couple *c, prn_op *op) {
  if (prn_op_has_trait(op, PRN_CONSTANT)) {
    for (uint32_t i = 0; i < op->num_results; i++)
      if (!prn_value_fixed(&op->results[i]))
        prn_couple_freeze_value(c, &op->results[i], NULL,
                                "is the default of an input");
    return;
  }
  const prn_relation *r = op->num_blocks ? NULL : relation_of(c, op);
  for (uint32_t i = 0; i < op->num_blocks; i++)
    (void)!prn_walk(op->blocks[i], true, freeze_nested, c);
  if (!r || prn_op_has_trait(op, PRN_TERMINATOR)) {
    prn_couple_opaque(c, op);
    return;
  }
  prn_couple_order(c, op);
  if (prn_couple_move(c, op) || prn_couple_known(c, op)) {
    return;
  } else if (r->word == PRN_RELATION_LIST) {
    tie_list(c, op, r);
  } else if (r->word == PRN_RELATION_ELEMENTWISE && op->num_results) {
    prn_couple_elementwise(c, op);
  } else {
    prn_couple_opaque(c, op);
  }
}

static void visit_graph(prn_couple *c, const prn_op *graph) {
  const prn_block *body = prn_op_block(graph, "body");
  for (uint32_t i = 0; i < body->num_args; i++)
    prn_couple_freeze_value(c, body->args[i], NULL, "is an input of the graph");
  PRN_EACH_OP(op, body) {
    if (prn_op_has_trait(op, PRN_TERMINATOR))
      for (uint32_t i = 0; i < op->num_operands; i++)
        prn_couple_freeze_value(c, prn_op_operand(op, i), NULL,
                                "is an output of the graph");
    else
      visit(c, op);
  }
}

/* ---- places ---- */

prn_space *prn_coupling_space(const prn_coupling *c, const prn_value *v,
                              int32_t axis) {
  prn_space **d = prn_ptrmap_get(&c->dims, v);
  return d && axis < v->type->rank ? d[axis] : NULL;
}

static int64_t size_of(const prn_space *x) {
  int64_t v = 0;
  (void)prn_dim_is_const(x->size, &v);
  return v;
}

bool prn_space_has(prn_space *x, const prn_space *atom, int64_t i, int64_t at) {
  x = prn_space_find(x);
  if (x->kind == PRN_SPACE_ATOM) return x == atom && at == i;
  for (uint32_t k = 0; k < x->n; k++) {
    if (x->kind == PRN_SPACE_PRODUCT) {
      int64_t inner = 1;
      for (uint32_t j = k + 1; j < x->n; j++)
        inner *= size_of(x->parts[j]);
      if (prn_space_has(x->parts[k], atom, i, at / inner)) return true;
      at %= inner;
    } else if (at < size_of(x->parts[k])) {
      return prn_space_has(x->parts[k], atom, i, at);
    } else {
      at -= size_of(x->parts[k]);
    }
  }
  return false;
}

int64_t prn_space_index(prn_space *x, const prn_space *atom, int64_t at) {
  x = prn_space_find(x);
  if (x->kind == PRN_SPACE_ATOM) return x == atom ? at : -1;
  int64_t found = -1;
  for (uint32_t k = x->n; k-- > 0 && x->kind == PRN_SPACE_PRODUCT;) {
    int64_t n = size_of(x->parts[k]);
    int64_t here = prn_space_index(x->parts[k], atom, at % n);
    if (here != -1) found = found == -1 ? here : -2;
    at /= n;
  }
  for (uint32_t k = 0; k < x->n && x->kind == PRN_SPACE_SUM; k++) {
    int64_t n = size_of(x->parts[k]);
    if (at < n) return prn_space_index(x->parts[k], atom, at);
    at -= n;
  }
  return found;
}

void prn_member_places(const prn_group *g, const prn_coupling *c,
                       const prn_member *m, int64_t i,
                       void (*f)(void *user, int64_t place), void *user) {
  const prn_value *v = &m->constant->results[0];
  prn_space *x = prn_coupling_space(c, v, m->axis);
  int64_t n = size_of(x);
  for (int64_t at = 0; at < n; at++)
    if (prn_space_has(x, g->atom, i, at)) f(user, at);
}

/* ---- kinds ---- */

enum { ALONE = 1, OUTER = 2, INNER = 4 };

/* How an atom stands in a space: bits. */
static unsigned stands(prn_space *x, const prn_space *atom, bool left,
                       bool right) {
  unsigned bits = 0;
  x = prn_space_find(x);
  if (x == atom) return right ? OUTER : left ? INNER : ALONE;
  bool sum = x->kind == PRN_SPACE_SUM;
  for (uint32_t i = 0; i < x->n; i++)
    bits |= stands(x->parts[i], atom, left || (!sum && i > 0),
                   right || (!sum && i + 1 < x->n));
  return bits;
}

static bool in_convolution(const prn_value *v) {
  PRN_EACH_USE(u, v)
    if (prn_op_is(u->owner, PRN_OP_onnx_Conv) ||
        prn_op_is(u->owner, PRN_OP_onnx_ConvTranspose))
      return true;
  return false;
}

prn_group_kind prn_group_kind_of(const prn_coupling *c, const prn_group *g) {
  unsigned bits = 0;
  bool image = false;
  for (size_t i = 0; i < g->num_members; i++) {
    const prn_value *v = &g->members[i].constant->results[0];
    bits |= stands(prn_coupling_space(c, v, g->members[i].axis), g->atom, false,
                   false);
    image = image || in_convolution(v);
  }
  if (bits == OUTER) return PRN_GROUP_HEADS;
  return bits == INNER && !image ? PRN_GROUP_ELEMENTS : PRN_GROUP_CHANNELS;
}

/* ---- groups ---- */

typedef struct collector {
  prn_coupling *c;
  prn_op *constant;
  int32_t axis;
  size_t cap;
} collector;

/* Places of an atom in x, times how often x occurs. */
static int64_t places_of(prn_space *x, const prn_space *atom) {
  int64_t n = 0, all = 1;
  x = prn_space_find(x);
  if (x->kind == PRN_SPACE_ATOM) return x == atom;
  for (uint32_t i = 0; i < x->n; i++)
    all *= x->kind == PRN_SPACE_PRODUCT ? size_of(x->parts[i]) : 1;
  for (uint32_t i = 0; i < x->n; i++) {
    int64_t here = places_of(x->parts[i], atom);
    int64_t each = size_of(x->parts[i]);
    n += x->kind == PRN_SPACE_SUM || !each ? here : here * (all / each);
  }
  return n;
}

/* Operands at which zeros make no zeros. */
static bool is_neutral(const prn_value *v) {
  static const struct {
    prn_opcode code;
    uint32_t slots; /* bit set */
  } rows[] = {{PRN_OP_onnx_BatchNormalization, 1u << 4},
              {PRN_OP_onnx_Div, 1u << 1},
              {PRN_OP_onnx_Pow, 1u << 0 | 1u << 1},
              {PRN_OP_onnx_QuantizeLinear, 1u << 1 | 1u << 2},
              {PRN_OP_onnx_DequantizeLinear, 1u << 1 | 1u << 2}};
  if (!prn_dtype_is_float(v->type->dtype)) return false;
  PRN_EACH_USE(u, v)
    for (size_t i = 0; i < PRN_COUNT(rows); i++)
      if (prn_op_is(u->owner, rows[i].code) &&
          rows[i].slots >> prn_use_index(u) & 1)
        return false;
  return true;
}

/* Sizes and positions are no weights. */
static bool is_weight(const prn_tensor *t) {
  prn_dtype d = t->type->dtype;
  bool counts =
      d == PRN_I64 || d == PRN_I32 || d == PRN_BOOL || d == PRN_STRING;
  return !counts && prn_tensor_count(t) > 0;
}

bool prn_couple_is_masked(const prn_value *v) {
  const prn_tensor *t = prn_value_constant(v);
  return t && is_weight(t) && is_neutral(v);
}

static void collect_atom(void *user, prn_space *atom) {
  collector *s = user;
  prn_coupling *c = s->c;
  int64_t size = size_of(atom);
  if (size < 2) return;
  if (!atom->id) {
    if (c->size == s->cap) {
      s->cap = s->cap ? 2 * s->cap : 64;
      c->groups =
          prn_realloc(c->groups, prn_array_size(sizeof *c->groups, s->cap));
    }
    c->groups[c->size++] = (prn_group){.atom = atom, .size = size};
    atom->id = (uint32_t)c->size;
  }
  prn_group *g = &c->groups[atom->id - 1];
  prn_member *last = g->num_members ? &g->members[g->num_members - 1] : NULL;
  if (last && last->constant == s->constant && last->axis == s->axis) return;
  size_t n = g->num_members;
  if ((n & (n - 1)) == 0) /* full: 0, 1, 2, 4, ... */
    g->members = prn_realloc(g->members,
                             prn_array_size(sizeof *g->members, n ? 2 * n : 1));
  const prn_value *v = &s->constant->results[0];
  int64_t places = places_of(prn_coupling_space(c, v, s->axis), atom);
  int64_t axis = size_of(prn_coupling_space(c, v, s->axis));
  g->members[g->num_members++] =
      (prn_member){s->constant, s->axis, places, is_neutral(v)};
  g->params += prn_tensor_count(prn_value_constant(v)) / axis * places;
}

static void collect(prn_coupling *c, const prn_op *graph) {
  collector s = {.c = c};
  PRN_EACH_OP(op, prn_op_block(graph, "body")) {
    if (!prn_op_has_trait(op, PRN_CONSTANT) || !op->num_results ||
        !prn_value_has_uses(&op->results[0]))
      continue;
    const prn_tensor *t = prn_value_constant(&op->results[0]);
    if (!t || !is_weight(t)) continue;
    s.constant = op;
    for (s.axis = 0; s.axis < t->type->rank; s.axis++) {
      prn_space *x = prn_coupling_space(c, &op->results[0], s.axis);
      if (x) prn_space_atoms(x, collect_atom, &s);
    }
  }
}

/* ---- the analysis ---- */

static void destroy(void *data) {
  prn_coupling *c = data;
  for (size_t i = 0; i < c->size; i++)
    prn_free(c->groups[i].members);
  prn_free(c->groups);
  prn_free(c->terms);
  prn_ptrmap_destroy(&c->dims);
  prn_ptrmap_destroy(&c->factors);
  prn_spaces_destroy(&c->spaces);
  prn_arena_destroy(&c->arena);
  prn_free(c);
}

static prn_status compute(prn_analyses *all, prn_module *m, void **out) {
  prn_coupling *c = prn_alloc(sizeof *c);
  prn_couple s = {.ctx = m->ctx, .out = c};
  (void)all;
  *c = (prn_coupling){.spaces = {.ctx = m->ctx}};
  s.relations = prn_alloc(prn_array_size(sizeof *s.relations, PRN_OP_count));
  s.parsed = prn_alloc(PRN_OP_count);
  memset(s.parsed, 0, PRN_OP_count);
  PRN_EACH_OP(op, m->body) {
    if (!prn_op_is(op, PRN_OP_onnx_graph)) continue;
    visit_graph(&s, op);
    prn_couple_zeros(&s, op);
    collect(c, op);
    prn_couple_costs(&s, op);
  }
  prn_free(s.relations);
  prn_free(s.parsed);
  *out = c;
  return PRN_OK;
}

static bool same_group(const prn_group *a, const prn_group *b) {
  bool same = a->size == b->size && a->num_members == b->num_members &&
              a->params == b->params &&
              !a->atom->frozen.text == !b->atom->frozen.text &&
              !a->atom->mixed.text == !b->atom->mixed.text &&
              !a->atom->ordered.text == !b->atom->ordered.text;
  for (size_t i = 0; same && i < a->num_members; i++)
    same = a->members[i].constant == b->members[i].constant &&
           a->members[i].axis == b->members[i].axis &&
           a->members[i].places == b->members[i].places;
  return same;
}

static bool holds(prn_analyses *all, prn_module *m, const void *data) {
  const prn_coupling *old = data;
  void *fresh = NULL;
  bool same = compute(all, m, &fresh) == PRN_OK;
  const prn_coupling *now = fresh;
  same = same && now->size == old->size;
  for (size_t i = 0; same && i < old->size; i++)
    same = same_group(&old->groups[i], &now->groups[i]);
  if (fresh) destroy(fresh);
  return same;
}

const prn_analysis prn_analysis_coupling = {
    .name = "coupling",
    .doc = "which dimensions of weights shrink together",
    .compute = compute,
    .destroy = destroy,
    .holds = holds,
};
