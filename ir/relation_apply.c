/* Relations of one operation: which alternative is meant, and the sizes. */
#include <stdlib.h>

#include "ir/relation.h"

prn_value *prn_relation_value(const prn_relation_slot *s, const prn_op *op) {
  prn_value *v =
      s->is_result ? prn_op_result(op, s->index) : prn_op_operand(op, s->index);
  return v && v->type->kind != PRN_TYPE_NONE ? v : NULL;
}

static int32_t rank_of(const prn_value *v) {
  return v->type->kind == PRN_TYPE_TENSOR ? v->type->rank : -1;
}

static bool is_rest(const prn_relation_dim *d) {
  return d->kind == PRN_RELATION_REST || d->kind == PRN_RELATION_FREE_REST;
}

/* Dims that stand for exactly one axis: all of them, and those that must be
 * there. */
static void count_dims(const prn_relation_slot *s, int32_t *most,
                       int32_t *least, bool *rest) {
  *most = *least = 0;
  *rest = false;
  for (uint32_t i = 0; i < s->n; i++) {
    if (is_rest(&s->dims[i])) {
      *rest = true;
      continue;
    }
    ++*most;
    *least += !s->dims[i].optional;
  }
}

static bool fits(const prn_relation_slot *s, int32_t rank) {
  int32_t most, least;
  bool rest;
  count_dims(s, &most, &least, &rest);
  return rank >= least && (rest || rank <= most);
}

/* The integer attribute, or its default in the table; false without either. */
static bool attr_int(const prn_op *op, prn_str name, int64_t *out) {
  for (uint32_t i = 0; i < op->num_attrs; i++)
    if (prn_str_eq(op->attrs[i].name, name)) {
      *out = op->attrs[i].value->i;
      return op->attrs[i].value->kind == PRN_ATTR_INT;
    }
  const prn_attr_info *a = op->opname->info->attrs;
  while (a->name && !prn_str_is(name, a->name))
    a++;
  if (!a->name || !a->dflt || !a->dflt[0]) return false;
  *out = strtoll(a->dflt, NULL, 10);
  return true;
}

const prn_relation_alt *prn_relation_select(const prn_relation *r,
                                            const prn_op *op) {
  for (uint32_t k = 0; k < r->num_alts; k++) {
    const prn_relation_alt *alt = &r->alts[k];
    int64_t v = 0;
    bool ok =
        !alt->attr.size || ((void)attr_int(op, alt->attr, &v), v == alt->value);
    for (uint32_t i = 0; ok && i < alt->n; i++) {
      const prn_value *value = prn_relation_value(&alt->slots[i], op);
      ok = !value || fits(&alt->slots[i], rank_of(value));
    }
    if (ok) return alt;
  }
  return NULL;
}

prn_relation_place prn_relation_at(const prn_relation_slot *s, const prn_op *op,
                                   int32_t rank, int32_t axis) {
  prn_relation_place p = {.slot = s, .axis = axis, .rest = -1};
  int32_t most, least, at = 0;
  int64_t swap = 0;
  bool rest;
  count_dims(s, &most, &least, &rest);
  if (s->swap.size && attr_int(op, s->swap, &swap) && swap && rank >= 2 &&
      axis >= rank - 2)
    axis = 2 * rank - 3 - axis;
  int32_t run = rest ? rank - most : 0, missing = rest ? 0 : most - rank;
  for (uint32_t i = 0; i < s->n; i++) {
    p.dim = &s->dims[i];
    if (p.dim->optional && missing > 0) {
      missing--;
      continue;
    }
    int32_t width = is_rest(p.dim) ? run : 1;
    if (axis < at + width) {
      if (is_rest(p.dim)) p.rest = at + width - 1 - axis;
      return p;
    }
    at += width;
  }
  return p;
}

/* ---- sizes ---- */

typedef struct solver {
  prn_ctx *ctx;
  const prn_relation *r;
  const prn_op *op;
  prn_dim *sizes;
  prn_relation_place *where;
} solver;

typedef bool visit_fn(solver *s, const prn_relation_place *p, prn_dim size);

static bool each_place(solver *s, const prn_relation_alt *alt, visit_fn *fn) {
  for (uint32_t i = 0; i < alt->n; i++) {
    const prn_relation_slot *slot = &alt->slots[i];
    const prn_value *v = prn_relation_value(slot, s->op);
    for (int32_t axis = 0; v && axis < v->type->rank; axis++) {
      prn_relation_place p = prn_relation_at(slot, s->op, v->type->rank, axis);
      if (p.dim->kind != PRN_RELATION_PRODUCT) continue;
      if (!fn(s, &p, v->type->dims[axis])) {
        *s->where = p;
        return false;
      }
    }
  }
  return true;
}

/* An operand of size 1 broadcasts and says nothing. */
static bool broadcasts(const prn_relation_place *p, prn_dim size) {
  return !p->slot->is_result && prn_dim_is(size, 1);
}

static bool unify(prn_dim *known, prn_dim found) {
  if (*known == found || !prn_dim_known(found)) return true;
  if (!prn_dim_known(*known) || prn_dim_is_const(found, NULL)) {
    bool clash = prn_dim_is_const(*known, NULL);
    if (!clash) *known = found;
    return !clash;
  }
  return true;
}

static bool take_single(solver *s, const prn_relation_place *p, prn_dim size) {
  const prn_relation_dim *d = p->dim;
  if (d->n != 1 || d->names[0] < 0 || broadcasts(p, size)) return true;
  return unify(&s->sizes[d->names[0]], size);
}

static bool take_product(solver *s, const prn_relation_place *p, prn_dim size) {
  const prn_relation_dim *d = p->dim;
  prn_dim rest = prn_dim_const(s->ctx, 1);
  int32_t open = -1;
  if (d->n < 2) return true;
  for (uint32_t i = 0; i < d->n; i++) {
    prn_dim f = d->names[i] < 0 ? prn_dim_const(s->ctx, d->values[i])
                                : s->sizes[d->names[i]];
    if (prn_dim_known(f))
      rest = prn_dim_mul(s->ctx, rest, f);
    else if (open >= 0)
      return true;
    else
      open = d->names[i];
  }
  if (open < 0) return unify(&rest, size);
  s->sizes[open] = prn_dim_floordiv(s->ctx, size, rest);
  return true;
}

bool prn_relation_sizes(const prn_relation *r, const prn_relation_alt *alt,
                        const prn_op *op, prn_dim *sizes,
                        prn_relation_place *where) {
  prn_ctx *ctx = op->module->ctx;
  solver s = {ctx, r, op, sizes, where};
  int64_t v;
  for (uint32_t i = 0; i < r->num_names; i++) {
    bool given = r->attrs[i].size && attr_int(op, r->attrs[i], &v);
    sizes[i] = given ? prn_dim_const(ctx, v) : prn_dim_unknown(ctx);
  }
  return each_place(&s, alt, take_single) &&
         each_place(&s, alt, take_product) && each_place(&s, alt, take_product);
}
