/* Coupling through operators that only move elements; see couple.h. */
#include <string.h>

#include "passes/analysis/couple.h"

enum { MAX_RANK = 32 };

static const char regroups[] = "is regrouped";
static const char picks[] = "is picked from by number";
static const char repeats[] = "is repeated";
static const char pads[] = "is padded or cut";

static int32_t rank_of(const prn_value *v) {
  return prn_type_is_ranked(v->type) ? v->type->rank : -1;
}

/* The attribute `axis` of op, on an operand of that rank; -1 when it is out of
 * range. */
static int32_t axis_of(const prn_op *op, int64_t dflt, int32_t rank) {
  int64_t a = prn_op_int(op, "axis", dflt);
  if (a < 0) a += rank;
  return a >= 0 && a < rank ? (int32_t)a : -1;
}

static bool const_size(const prn_space *x, int64_t *out) {
  return x && prn_dim_is_const(x->size, out);
}

/* Operand 0 and result 0, when both are ranked. */
typedef struct ends {
  const prn_value *x, *y;
  prn_space **in, **out;
  int32_t rank;
} ends;

static bool ends_of(prn_couple *c, const prn_op *op, ends *e) {
  e->x = prn_op_operand(op, 0);
  e->y = &op->results[0];
  e->in = prn_couple_dims(c, e->x);
  e->out = prn_couple_dims(c, e->y);
  e->rank = e->x ? rank_of(e->x) : -1;
  return e->in && e->out;
}

/* ---- regrouping ---- */

static bool all_known(prn_space **d, int32_t n) {
  for (int32_t i = 0; i < n; i++)
    if (!d[i]) return false;
  return true;
}

static void reshape(prn_couple *c, const prn_op *op) {
  ends e;
  bool ok = ends_of(c, op, &e);
  int32_t to = ok ? rank_of(e.y) : 0;
  if (ok && all_known(e.in, e.rank) && all_known(e.out, to) &&
      prn_space_regroup(&c->out->spaces, e.in, (uint32_t)e.rank, e.out,
                        (uint32_t)to))
    return;
  prn_couple_freeze_value(c, prn_op_operand(op, 0), op, regroups);
  prn_couple_freeze_value(c, &op->results[0], op, regroups);
}

static void transpose(prn_couple *c, const prn_op *op) {
  ends e;
  size_t n;
  const int64_t *perm = prn_op_ints(op, "perm", &n);
  if (!ends_of(c, op, &e) || (perm && n != (size_t)e.rank)) {
    prn_couple_opaque(c, op);
    return;
  }
  for (int32_t i = 0; i < e.rank; i++) {
    int64_t from = perm ? perm[i] : e.rank - 1 - i;
    if (from >= 0 && from < e.rank) prn_couple_tie(c, op, e.in[from], e.out[i]);
  }
}

/* c = (b b c') or (c' b b) of [n, c, h, w]; h' = (h b), w' = (w b). */
static void blocks(prn_couple *c, const prn_op *op, const prn_value *deep,
                   const prn_value *wide, bool last) {
  prn_space **d = prn_couple_dims(c, deep), **w = prn_couple_dims(c, wide);
  int64_t b = prn_op_int(op, "blocksize", 0);
  prn_spaces *s = &c->out->spaces;
  if (!d || !w || deep->type->rank != 4 || wide->type->rank != 4 || b < 1 ||
      !all_known(d, 4) || !all_known(w, 4)) {
    prn_couple_opaque(c, op);
    return;
  }
  prn_space *b1 = prn_space_atom(s, prn_dim_const(c->ctx, b));
  prn_space *b2 = prn_space_atom(s, prn_dim_const(c->ctx, b));
  prn_couple_freeze(b1, op, regroups);
  prn_couple_freeze(b2, op, regroups);
  prn_space *inner[3] = {b1, b2, w[1]}, *outer[3] = {w[1], b1, b2};
  prn_space *high[2] = {d[2], b1}, *broad[2] = {d[3], b2};
  prn_couple_tie(c, op, d[0], w[0]);
  prn_couple_tie(c, op, d[1], prn_space_product(s, last ? outer : inner, 3));
  prn_couple_tie(c, op, w[2], prn_space_product(s, high, 2));
  prn_couple_tie(c, op, w[3], prn_space_product(s, broad, 2));
}

static void depth_to_space(prn_couple *c, const prn_op *op) {
  bool crd = prn_str_is(prn_op_string(op, "mode", "DCR"), "CRD");
  blocks(c, op, prn_op_operand(op, 0), &op->results[0], crd);
}

static void space_to_depth(prn_couple *c, const prn_op *op) {
  blocks(c, op, &op->results[0], prn_op_operand(op, 0), false);
}

/* ---- joining and cutting ---- */

/* x is the parts one after the other along the axis; other axes are tied. */
static void chain(prn_couple *c, const prn_op *op, const prn_value *x,
                  const prn_value *const *parts, uint32_t n, int32_t axis) {
  prn_space **d = prn_couple_dims(c, x);
  prn_space **terms = PRN_ARENA_ARRAY(&c->out->arena, prn_space *, n);
  bool known = d && d[axis];
  for (uint32_t i = 0; i < n; i++) {
    prn_space **p = prn_couple_dims(c, parts[i]);
    if (!d || !p || rank_of(parts[i]) != rank_of(x)) {
      prn_couple_opaque(c, op);
      return;
    }
    terms[i] = p[axis];
    known = known && terms[i];
    for (int32_t k = 0; k < rank_of(x); k++)
      if (k != axis) prn_couple_tie(c, op, p[k], d[k]);
  }
  if (known) {
    prn_couple_tie(c, op, d[axis], prn_space_sum(&c->out->spaces, terms, n));
    return;
  }
  if (d) prn_couple_freeze(d[axis], op, regroups);
  for (uint32_t i = 0; i < n; i++)
    prn_couple_freeze(terms[i], op, regroups);
}

static void concat(prn_couple *c, const prn_op *op) {
  const prn_value *y = &op->results[0];
  int32_t axis = axis_of(op, 1, rank_of(y));
  const prn_value **parts =
      PRN_ARENA_ARRAY(&c->out->arena, const prn_value *, op->num_operands);
  for (uint32_t i = 0; i < op->num_operands; i++)
    parts[i] = prn_op_operand(op, i);
  if (axis < 0)
    prn_couple_opaque(c, op);
  else
    chain(c, op, y, parts, op->num_operands, axis);
}

static void split(prn_couple *c, const prn_op *op) {
  const prn_value *x = prn_op_operand(op, 0);
  int32_t axis = axis_of(op, 0, rank_of(x));
  const prn_value **parts =
      PRN_ARENA_ARRAY(&c->out->arena, const prn_value *, op->num_results);
  for (uint32_t i = 0; i < op->num_results; i++)
    parts[i] = &op->results[i];
  if (axis < 0)
    prn_couple_opaque(c, op);
  else
    chain(c, op, x, parts, op->num_results, axis);
}

/* Indices [start, start + y's size) of x. */
static void window(prn_couple *c, const prn_op *op, prn_space *x, prn_space *y,
                   int64_t start) {
  int64_t all, n;
  prn_space *left, *right, *rest = x;
  if (const_size(x, &all) && const_size(y, &n) && start >= 0 && n > 0 &&
      start + n <= all) {
    bool ok = true;
    prn_spaces *s = &c->out->spaces;
    if (start > 0) {
      ok = prn_space_cut(s, x, prn_dim_const(c->ctx, start), &left, &right);
      if (ok) rest = right;
    }
    if (ok && start + n < all) {
      ok = prn_space_cut(s, rest, prn_dim_const(c->ctx, n), &left, &right);
      if (ok) rest = left;
    }
    if (ok) {
      prn_couple_tie(c, op, rest, y);
      return;
    }
  }
  prn_couple_freeze(x, op, pads);
  prn_couple_freeze(y, op, pads);
}

/* Where a slice of an axis of that size begins. */
static int64_t clamp(int64_t at, int64_t size) {
  if (at < 0) at += size;
  return at < 0 ? 0 : at > size ? size : at;
}

static void slice(prn_couple *c, const prn_op *op) {
  int64_t starts[MAX_RANK], axes[MAX_RANK], steps[MAX_RANK];
  ends e;
  bool old = op->num_operands < 2;
  int32_t n = prn_couple_ints(op, 1, "starts", starts, MAX_RANK);
  int32_t na = prn_couple_ints(op, 3, old ? "axes" : NULL, axes, MAX_RANK);
  int32_t ns = prn_couple_ints(op, 4, NULL, steps, MAX_RANK);
  if (!ends_of(c, op, &e) || na < 0 || ns < 0 || (na && n >= 0 && n != na)) {
    prn_couple_opaque(c, op);
    return;
  }
  int32_t count = na ? na : n < 0 ? e.rank : n;
  bool done[MAX_RANK] = {false};
  for (int32_t i = 0; i < count && i < MAX_RANK; i++) {
    int64_t a = na ? axes[i] : i, size;
    if (a < 0) a += e.rank;
    if (a < 0 || a >= e.rank || a >= MAX_RANK) continue;
    done[a] = true;
    bool plain = n >= 0 && (!ns || (i < ns && steps[i] == 1)) &&
                 const_size(e.in[a], &size);
    if (plain) {
      window(c, op, e.in[a], e.out[a], clamp(starts[i], size));
    } else {
      prn_couple_freeze(e.in[a], op, pads);
      prn_couple_freeze(e.out[a], op, pads);
    }
  }
  for (int32_t i = 0; i < e.rank && i < MAX_RANK; i++)
    if (!done[i]) prn_couple_tie(c, op, e.in[i], e.out[i]);
}

/* ---- repeating and padding ---- */

/* Nothing but sizes decides what it makes. */
static void fill(prn_couple *c, const prn_op *op) {
  (void)prn_couple_dims(c, &op->results[0]);
}

static void tile(prn_couple *c, const prn_op *op) {
  int64_t n[MAX_RANK];
  ends e;
  int32_t count = prn_couple_ints(op, 1, NULL, n, MAX_RANK);
  if (!ends_of(c, op, &e) || count != e.rank) {
    prn_couple_opaque(c, op);
    return;
  }
  for (int32_t i = 0; i < e.rank; i++) {
    if (!e.in[i] || n[i] < 1) {
      prn_couple_freeze(e.in[i], op, repeats);
      prn_couple_freeze(e.out[i], op, repeats);
      continue;
    }
    prn_space *two[2] = {
        prn_space_atom(&c->out->spaces, prn_dim_const(c->ctx, n[i])), e.in[i]};
    prn_couple_freeze(two[0], op, repeats);
    prn_couple_tie(c, op, e.out[i], prn_space_product(&c->out->spaces, two, 2));
  }
}

static void pad(prn_couple *c, const prn_op *op) {
  int64_t n[2 * MAX_RANK];
  ends e;
  int32_t count = prn_couple_ints(op, 1, "pads", n, 2 * MAX_RANK);
  if (!ends_of(c, op, &e) || count != 2 * e.rank || op->num_operands > 3) {
    prn_couple_opaque(c, op);
    return;
  }
  for (int32_t i = 0; i < e.rank; i++) {
    if (n[i] == 0 && n[e.rank + i] == 0) {
      prn_couple_tie(c, op, e.in[i], e.out[i]);
      continue;
    }
    prn_couple_freeze(e.in[i], op, pads);
    prn_couple_freeze(e.out[i], op, pads);
  }
}

/* ---- picking ---- */

static void gather(prn_couple *c, const prn_op *op) {
  ends e;
  const prn_value *index = prn_op_operand(op, 1);
  prn_space **i = prn_couple_dims(c, index);
  bool ok = ends_of(c, op, &e) && i;
  int32_t axis = ok ? axis_of(op, 0, e.rank) : -1;
  if (axis < 0) {
    prn_couple_opaque(c, op);
    return;
  }
  int32_t more = rank_of(index);
  prn_couple_freeze(e.in[axis], op, picks);
  for (int32_t k = 0; k < axis; k++)
    prn_couple_tie(c, op, e.in[k], e.out[k]);
  for (int32_t k = 0; k < more; k++)
    prn_couple_tie(c, op, i[k], e.out[axis + k]);
  for (int32_t k = axis + 1; k < e.rank; k++)
    prn_couple_tie(c, op, e.in[k], e.out[k - 1 + more]);
}

/* Whether element `at` of the sizes is not looked at by op. */
static bool ignores(const prn_op *op, int64_t at, int64_t n) {
  int64_t which[MAX_RANK], ends_at[MAX_RANK];
  if (prn_op_is(op, PRN_OP_onnx_Gather)) {
    int32_t count = prn_couple_ints(op, 1, NULL, which, MAX_RANK);
    for (int32_t i = 0; i < count; i++)
      if (which[i] == at || which[i] + n == at) return false;
    return count > 0;
  }
  if (prn_op_is(op, PRN_OP_onnx_Slice)) {
    if (prn_couple_ints(op, 1, "starts", which, MAX_RANK) != 1 ||
        prn_couple_ints(op, 2, "ends", ends_at, MAX_RANK) != 1 ||
        op->num_operands > 4)
      return false;
    return at < clamp(which[0], n) || at >= clamp(ends_at[0], n);
  }
  return false;
}

/* Sizes that are computed with must stay what they are. */
static void shape(prn_couple *c, const prn_op *op) {
  const prn_value *x = prn_op_operand(op, 0), *y = &op->results[0];
  prn_space **d = prn_couple_dims(c, x);
  if (!d) return;
  int64_t rank = rank_of(x), from = clamp(prn_op_int(op, "start", 0), rank);
  int64_t to = clamp(prn_op_int(op, "end", rank), rank);
  for (int64_t i = from; i < to; i++) {
    bool used = false;
    PRN_EACH_USE(u, y)
      used = used || !ignores(u->owner, i - from, to - from);
    if (used) prn_couple_freeze(d[i], op, "is computed with as a size");
  }
}

/* ---- all of them ---- */

bool prn_couple_move(prn_couple *c, const prn_op *op) {
  static const struct {
    prn_opcode code;
    void (*fn)(prn_couple *c, const prn_op *op);
  } rows[] = {
      {PRN_OP_onnx_Reshape, reshape},
      {PRN_OP_onnx_Flatten, reshape},
      {PRN_OP_onnx_Squeeze, reshape},
      {PRN_OP_onnx_Unsqueeze, reshape},
      {PRN_OP_com_microsoft_ExpandDims, reshape},
      {PRN_OP_onnx_Transpose, transpose},
      {PRN_OP_onnx_DepthToSpace, depth_to_space},
      {PRN_OP_onnx_SpaceToDepth, space_to_depth},
      {PRN_OP_onnx_Concat, concat},
      {PRN_OP_onnx_Split, split},
      {PRN_OP_onnx_Slice, slice},
      {PRN_OP_onnx_Expand, prn_couple_broadcast},
      {PRN_OP_onnx_ConstantOfShape, fill},
      {PRN_OP_onnx_Tile, tile},
      {PRN_OP_onnx_Pad, pad},
      {PRN_OP_onnx_Gather, gather},
      {PRN_OP_onnx_Shape, shape},
  };
  for (size_t i = 0; i < PRN_COUNT(rows); i++)
    if (prn_op_is(op, rows[i].code)) {
      rows[i].fn(c, op);
      return true;
    }
  return false;
}
