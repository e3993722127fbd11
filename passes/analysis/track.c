#include "passes/analysis/track.h"

#include <string.h>

/* ---- regrouping axes: Reshape, Flatten, Squeeze, Unsqueeze ---- */

/* Axes [from, to) of one side hold the same elements as [from, to) of the
 * other. */
typedef struct segment {
  int32_t a0, a1, b0, b1;
} segment;

static bool same_dim(prn_dim a, prn_dim b) {
  return a == b && prn_dim_known(a);
}

/* Whether the left side's running product should take one more axis. */
static bool extend_a(prn_dim a, prn_dim b, int32_t left_a, int32_t left_b) {
  int64_t x, y;
  bool ca = prn_dim_is_const(a, &x), cb = prn_dim_is_const(b, &y);
  if (left_a == 0 || left_b == 0) return left_b == 0;
  if (ca && cb) return x < y;
  if (ca != cb) return ca;
  return left_a >= left_b;
}

/* The segment that ends at *a1 and *b1; the smallest that can be told. */
static segment cut(prn_ctx *ctx, const prn_type *a, const prn_type *b,
                   int32_t a1, int32_t b1) {
  segment s = {a1, a1, b1, b1};
  prn_dim pa = prn_dim_const(ctx, 1), pb = pa;
  if (s.a0) pa = a->dims[--s.a0];
  if (s.b0) pb = b->dims[--s.b0];
  while (!same_dim(pa, pb) && (s.a0 || s.b0)) {
    if (extend_a(pa, pb, s.a0, s.b0))
      pa = prn_dim_mul(ctx, pa, a->dims[--s.a0]);
    else
      pb = prn_dim_mul(ctx, pb, b->dims[--s.b0]);
  }
  return s;
}

/* Product of axes [from, to); false when it is not a known number. */
static bool product(const prn_type *t, int32_t from, int32_t to, int64_t *out) {
  int64_t d;
  *out = 1;
  for (int32_t i = from; i < to; i++)
    if (!prn_dim_is_const(t->dims[i], &d) || !prn_mul_i64(*out, d, out))
      return false;
  return true;
}

/* A run of `size` steps of `stride` elements within a segment, placed on the
 * axes of the other side. *axis and *inner say where its innermost part goes;
 * the result is how many steps fit there, 0 when it cannot be placed. */
static int64_t place(const prn_type *b, const segment *s, int64_t size,
                     int64_t stride, int32_t *axis, int64_t *inner) {
  int64_t below = 1, dim, span;
  for (int32_t j = s->b1 - 1; j >= s->b0; j--, below = span) {
    bool known = prn_dim_is_const(b->dims[j], &dim);
    if (!known) {
      span = 0; /* only the outermost axis may be open */
      if (j > s->b0) return 0;
    } else if (!prn_mul_i64(below, dim, &span) || span <= 0) {
      return 0;
    }
    if (j > s->b0 && stride >= span) continue;
    if (stride % below != 0) return 0;
    *axis = j;
    *inner = stride / below;
    if (j == s->b0) return size; /* what lies further out is not its own */
    if (span % stride != 0) return 0;
    int64_t room = span / stride;
    if (size <= room) return room % size == 0 ? size : 0;
    return size % room == 0 ? room : 0;
  }
  return 0;
}

static const segment *segment_of(const segment *s, uint32_t n, int32_t axis) {
  for (uint32_t i = 0; i < n; i++)
    if (s[i].a0 <= axis && axis < s[i].a1) return &s[i];
  return NULL;
}

static bool regroup_digit(const prn_type *a, const prn_type *b,
                          const segment *s, prn_digit d, prn_track *out) {
  int64_t below;
  bool whole = s->a1 - s->a0 == 1 && s->b1 - s->b0 == 1;
  if (!product(a, d.axis + 1, s->a1, &below)) return false;
  if (d.off && !whole) return false;
  int64_t stride;
  if (!prn_mul_i64(d.inner, below, &stride) || stride <= 0) return false;
  while (d.size > 1) {
    if (out->num_digits == PRN_TRACK_DIGITS) return false;
    prn_digit part = d;
    part.size = place(b, s, d.size, stride, &part.axis, &part.inner);
    if (part.size < 2) return false;
    out->digits[out->num_digits++] = part;
    d.size /= part.size;
    d.weight *= part.size;
    d.start_inner *= part.size;
    stride *= part.size;
  }
  return true;
}

static bool regroup_window(const prn_type *a, const prn_type *b,
                           const segment *s, prn_window w, prn_track *out) {
  int64_t below, stride;
  prn_window moved = w;
  if (!product(a, w.axis + 1, s->a1, &below) ||
      !prn_mul_i64(w.inner, below, &stride) || stride <= 0 ||
      place(b, s, w.size, stride, &moved.axis, &moved.inner) != w.size)
    return false;
  out->windows[out->num_windows++] = moved;
  return true;
}

static bool regroup(prn_ctx *ctx, const prn_type *a, const prn_type *b,
                    const prn_track *in, prn_track *out) {
  segment cuts[16];
  uint32_t n = 0;
  if (!prn_type_is_ranked(a) || !prn_type_is_ranked(b)) return false;
  for (int32_t i = a->rank, j = b->rank; (i || j) && n < PRN_COUNT(cuts);) {
    cuts[n] = cut(ctx, a, b, i, j);
    i = cuts[n].a0;
    j = cuts[n++].b0;
  }
  *out = (prn_track){.num_digits = 0};
  for (uint32_t i = 0; i < in->num_digits; i++) {
    prn_digit d = in->digits[i];
    const segment *s = segment_of(cuts, n, d.axis);
    if (d.axis < 0) {
      if (out->num_digits == PRN_TRACK_DIGITS) return false;
      out->digits[out->num_digits++] = d;
    } else if (!s || !regroup_digit(a, b, s, d, out)) {
      return false;
    }
  }
  for (uint32_t i = 0; i < in->num_windows; i++) {
    const segment *s = segment_of(cuts, n, in->windows[i].axis);
    if (!s || !regroup_window(a, b, s, in->windows[i], out)) return false;
  }
  return true;
}

/* ---- one axis to one axis ---- */

/* Renames axes: to[axis], PRN_AXIS_NONE for what the other side shares among
 * all indices, PRN_AXIS_UNKNOWN when that is not known. */
static bool rename_axes(const prn_track *in, const int32_t *to, int32_t n,
                        prn_track *out) {
  *out = *in;
  out->num_windows = 0;
  for (uint32_t i = 0; i < in->num_digits; i++) {
    prn_digit *d = &out->digits[i];
    if (d->axis < 0) continue;
    if (d->axis >= n || to[d->axis] == PRN_AXIS_UNKNOWN) return false;
    d->axis = to[d->axis];
  }
  for (uint32_t i = 0; i < in->num_windows; i++) {
    prn_window w = in->windows[i];
    if (w.axis >= n || to[w.axis] == PRN_AXIS_UNKNOWN) return false;
    w.axis = to[w.axis];
    if (w.axis >= 0) out->windows[out->num_windows++] = w;
  }
  return true;
}

static bool carries(const prn_track *t) {
  for (uint32_t i = 0; i < t->num_digits; i++)
    if (t->digits[i].axis >= 0) return true;
  return false;
}

enum { MAX_AXES = 16 };

static bool transpose(const prn_op *op, const prn_type *type, bool back,
                      const prn_track *in, prn_track *out) {
  int32_t to[MAX_AXES];
  size_t n = 0;
  const int64_t *perm = prn_op_ints(op, "perm", &n);
  int32_t rank = type->rank;
  if (rank > MAX_AXES || (perm && n != (size_t)rank)) return false;
  for (int32_t i = 0; i < rank; i++) {
    int64_t p = perm ? perm[i] : rank - 1 - i;
    if (p < 0) p += rank;
    if (p < 0 || p >= rank) return false;
    to[back ? i : p] = back ? (int32_t)p : i;
  }
  return rename_axes(in, to, rank, out);
}

/* From the broadcast side to the operand, right-aligned. */
static bool unbroadcast(const prn_type *result, const prn_type *operand,
                        const prn_track *in, prn_track *out) {
  int32_t to[MAX_AXES], shift = result->rank - operand->rank;
  if (result->rank > MAX_AXES || shift < 0) return false;
  for (int32_t i = 0; i < result->rank; i++) {
    int64_t one = 0;
    if (i < shift)
      to[i] = PRN_AXIS_NONE;
    else if (same_dim(result->dims[i], operand->dims[i - shift]))
      to[i] = i - shift;
    else if (prn_dim_is_const(operand->dims[i - shift], &one) && one == 1)
      to[i] = PRN_AXIS_NONE;
    else
      to[i] = PRN_AXIS_UNKNOWN;
  }
  return rename_axes(in, to, result->rank, out);
}

static bool rebroadcast(const prn_type *operand, const prn_type *result,
                        const prn_track *in, prn_track *out) {
  int32_t to[MAX_AXES], shift = result->rank - operand->rank;
  if (result->rank > MAX_AXES || shift < 0) return false;
  for (int32_t i = 0; i < operand->rank; i++)
    to[i] = same_dim(operand->dims[i], result->dims[i + shift])
                ? i + shift
                : PRN_AXIS_UNKNOWN;
  return rename_axes(in, to, operand->rank, out);
}

/* ---- windows: Split, Slice, Gather of one index, Concat ---- */

static int64_t positive_mod(int64_t a, int64_t m) {
  int64_t r = a % m;
  return r < 0 ? r + m : r;
}

/* Index i of `axis` was index i + lo of an axis of `total` indices. */
static bool widen(prn_track *t, int32_t axis, int64_t lo, int64_t len,
                  int64_t total) {
  for (uint32_t i = 0; i < t->num_digits; i++) {
    prn_digit *d = &t->digits[i];
    if (d->axis == axis) d->off = positive_mod(d->off + lo, d->inner * d->size);
  }
  for (uint32_t i = 0; i < t->num_windows; i++)
    if (t->windows[i].axis == axis) return false;
  if (lo == 0 && len == total) return true;
  if (t->num_windows == PRN_TRACK_WINDOWS) return false;
  t->windows[t->num_windows++] = (prn_window){axis, 1, total, lo, len};
  return true;
}

static bool axis_of(const prn_op *op, const char *name, int64_t dflt,
                    int32_t rank, int32_t *out) {
  const prn_attr *a = prn_op_attr(op, name);
  int64_t axis = a && a->kind == PRN_ATTR_INT ? a->i : dflt;
  if (axis < 0) axis += rank;
  *out = (int32_t)axis;
  return axis >= 0 && axis < rank;
}

static bool dim_at(const prn_value *v, int32_t axis, int64_t *out) {
  return v && prn_type_is_ranked(v->type) && axis < v->type->rank &&
         prn_dim_is_const(v->type->dims[axis], out);
}

static bool touches(const prn_track *t, int32_t axis) {
  for (uint32_t i = 0; i < t->num_digits; i++)
    if (t->digits[i].axis == axis) return true;
  for (uint32_t i = 0; i < t->num_windows; i++)
    if (t->windows[i].axis == axis) return true;
  return false;
}

static bool split_back(const prn_op *op, uint32_t result, const prn_track *in,
                       prn_track *out) {
  const prn_value *v = prn_op_operand(op, 0);
  int64_t lo = 0, len = 0, total = 0, d;
  int32_t axis;
  *out = *in;
  if (!axis_of(op, "axis", 0, v->type->rank, &axis)) return false;
  for (uint32_t i = 0; i < op->num_results; i++) {
    if (!dim_at(&op->results[i], axis, &d)) return !touches(in, axis);
    if (i < result) lo += d;
    if (i == result) len = d;
    total += d;
  }
  return widen(out, axis, lo, len, total);
}

/* One integer constant per axis named in Slice's operand `slot`. */
static bool slice_list(const prn_op *op, uint32_t slot, int64_t *out,
                       int64_t *n) {
  const prn_value *v = prn_op_operand(op, slot);
  const prn_tensor *t = v ? prn_value_constant(v) : NULL;
  if (!t || !prn_dtype_is_int(t->type->dtype)) return false;
  *n = prn_tensor_count(t);
  if (*n > MAX_AXES) return false;
  prn_tensor_read_i64(t, 0, *n, out);
  return true;
}

static bool slice_back(const prn_op *op, const prn_track *in, prn_track *out) {
  int64_t starts[MAX_AXES], axes[MAX_AXES], steps[MAX_AXES], n, m;
  const prn_value *v = prn_op_operand(op, 0);
  *out = *in;
  if (!slice_list(op, 1, starts, &n)) return false;
  for (int64_t i = 0; i < n; i++) {
    axes[i] = i;
    steps[i] = 1;
  }
  if (prn_op_operand(op, 3) && (!slice_list(op, 3, axes, &m) || m != n))
    return false;
  if (prn_op_operand(op, 4) && (!slice_list(op, 4, steps, &m) || m != n))
    return false;
  for (int64_t i = 0; i < n; i++) {
    int64_t len, total, axis = axes[i] < 0 ? axes[i] + v->type->rank : axes[i];
    if (axis < 0 || axis >= v->type->rank) return false;
    if (!dim_at(&op->results[0], (int32_t)axis, &len) ||
        !dim_at(v, (int32_t)axis, &total)) {
      if (touches(in, (int32_t)axis)) return false;
      continue;
    }
    int64_t lo = starts[i] < 0 ? starts[i] + total : starts[i];
    if (lo < 0) lo = 0;
    if (steps[i] != 1 || lo + len > total) {
      if (touches(in, (int32_t)axis)) return false;
      continue;
    }
    if (!widen(out, (int32_t)axis, lo, len, total)) return false;
  }
  return true;
}

/* Gather of a single index removes its axis. */
static bool gather_back(const prn_op *op, const prn_track *in, prn_track *out) {
  const prn_value *v = prn_op_operand(op, 0), *at = prn_op_operand(op, 1);
  const prn_tensor *t = at ? prn_value_constant(at) : NULL;
  int32_t axis, to[MAX_AXES], rank = v->type->rank;
  int64_t index, total;
  if (!t || t->type->rank != 0 || rank > MAX_AXES ||
      !axis_of(op, "axis", 0, rank, &axis) || !dim_at(v, axis, &total))
    return false;
  prn_tensor_read_i64(t, 0, 1, &index);
  if (index < 0) index += total;
  if (index < 0 || index >= total) return false;
  for (int32_t i = 0; i < rank - 1; i++)
    to[i] = i < axis ? i : i + 1;
  return rename_axes(in, to, rank - 1, out) &&
         widen(out, axis, index, 1, total);
}

static bool concat_back(const prn_op *op, uint32_t slot, const prn_track *in,
                        prn_track *out) {
  int64_t lo = 0, d;
  int32_t axis;
  *out = *in;
  if (!axis_of(op, "axis", 0, op->results[0].type->rank, &axis)) return false;
  if (!touches(in, axis)) return true;
  for (uint32_t i = 0; i < slot; i++) {
    if (!dim_at(prn_op_operand(op, i), axis, &d)) return false;
    lo += d;
  }
  for (uint32_t i = 0; i < in->num_windows; i++)
    if (in->windows[i].axis == axis) return false;
  for (uint32_t i = 0; i < out->num_digits; i++) {
    prn_digit *x = &out->digits[i];
    if (x->axis == axis) x->off = positive_mod(x->off - lo, x->inner * x->size);
  }
  return true;
}

/* ---- products ---- */

static bool is_matmul(const prn_op *op) {
  return prn_op_is(op, PRN_OP_onnx_MatMul) || prn_op_is(op, PRN_OP_onnx_Gemm) ||
         (prn_str_is(op->opname->dialect, "com.microsoft") &&
          prn_str_is(op->opname->name, "FusedMatMul"));
}

/* The letters of operand `slot` (2: the result) of a plain equation. */
static bool einsum_letters(const prn_op *op, uint32_t slot, char *out,
                           int32_t *n) {
  prn_str eq = prn_op_string(op, "equation", "");
  uint32_t at = 0;
  *n = 0;
  for (size_t i = 0; i < eq.size; i++) {
    char c = eq.data[i];
    if (c == '.') return false;
    if (c == ',' || c == '-')
      at++;
    else if (c != ' ' && c != '>' && at == slot) {
      if (*n == MAX_AXES) return false;
      out[(*n)++] = c;
    }
  }
  return at == 2;
}

bool prn_is_product(const prn_op *op) {
  char letters[MAX_AXES];
  int32_t n;
  if (op->num_results != 1) return false;
  if (prn_op_is(op, PRN_OP_onnx_Einsum))
    return op->num_operands == 2 && einsum_letters(op, 2, letters, &n);
  return is_matmul(op);
}

static bool transposed(const prn_op *op, uint32_t slot) {
  const prn_attr *a = prn_op_attr(op, slot == 0 ? "transA" : "transB");
  return a && a->kind == PRN_ATTR_INT && a->i != 0;
}

static int32_t rank_of(const prn_op *op, uint32_t slot) {
  const prn_value *v = prn_op_operand(op, slot);
  return v && prn_type_is_ranked(v->type) ? v->type->rank : -1;
}

static int32_t find_letter(const char *letters, int32_t n, char c) {
  for (int32_t i = 0; i < n; i++)
    if (letters[i] == c) return i;
  return PRN_AXIS_NONE;
}

static int32_t einsum_axis(const prn_op *op, uint32_t slot, int32_t axis) {
  char mine[MAX_AXES], result[MAX_AXES];
  int32_t n, m;
  if (!einsum_letters(op, slot, mine, &n) ||
      !einsum_letters(op, 2, result, &m) || axis >= m)
    return PRN_AXIS_UNKNOWN;
  return find_letter(mine, n, result[axis]);
}

int32_t prn_product_axis(const prn_op *op, uint32_t slot, int32_t axis) {
  if (prn_op_is(op, PRN_OP_onnx_Einsum)) return einsum_axis(op, slot, axis);
  const prn_type *type = op->results[0].type;
  int32_t rank = rank_of(op, slot);
  if (rank < 2 || !prn_type_is_ranked(type)) return PRN_AXIS_UNKNOWN;
  if (axis >= type->rank - 2) {
    bool column = axis == type->rank - 1;
    if (column != (slot == 1)) return PRN_AXIS_NONE;
    return rank - 1 - (column == transposed(op, slot));
  }
  int32_t mine = axis - (type->rank - rank);
  if (mine < 0) return PRN_AXIS_NONE;
  prn_dim d = prn_op_operand(op, slot)->type->dims[mine];
  int64_t one = 0;
  if (same_dim(d, type->dims[axis])) return mine;
  return prn_dim_is_const(d, &one) && one == 1 ? PRN_AXIS_NONE
                                               : PRN_AXIS_UNKNOWN;
}

static int32_t einsum_partner(const prn_op *op, uint32_t slot, int32_t axis) {
  char mine[MAX_AXES], theirs[MAX_AXES], result[MAX_AXES];
  int32_t n, m, r;
  if (!einsum_letters(op, slot, mine, &n) ||
      !einsum_letters(op, 1 - slot, theirs, &m) ||
      !einsum_letters(op, 2, result, &r) || axis >= n)
    return PRN_AXIS_UNKNOWN;
  if (find_letter(result, r, mine[axis]) >= 0) return PRN_AXIS_NONE;
  return find_letter(theirs, m, mine[axis]);
}

int32_t prn_product_partner(const prn_op *op, uint32_t slot, int32_t axis) {
  if (prn_op_is(op, PRN_OP_onnx_Einsum)) return einsum_partner(op, slot, axis);
  int32_t rank = rank_of(op, slot), other = rank_of(op, 1 - slot);
  if (rank < 2 || other < 2) return PRN_AXIS_UNKNOWN;
  /* operand 0 sums its last axis, operand 1 its last but one */
  int32_t summed = rank - 1 - ((slot == 1) != transposed(op, slot));
  if (axis != summed) return PRN_AXIS_NONE;
  return other - 1 - ((slot == 0) != transposed(op, 1 - slot));
}

bool prn_track_product(const prn_op *op, uint32_t slot, const prn_track *in,
                       prn_track *out) {
  int32_t to[MAX_AXES], rank = op->results[0].type->rank;
  if (rank < 0 || rank > MAX_AXES) return false;
  for (int32_t i = 0; i < rank; i++)
    to[i] = prn_product_axis(op, slot, i);
  return rename_axes(in, to, rank, out);
}

/* ---- operators ---- */

static bool is_float(const prn_value *v) {
  return v->type->kind == PRN_TYPE_TENSOR && prn_dtype_is_float(v->type->dtype);
}

static bool is_regroup(const prn_op *op) {
  switch (prn_op_code(op)) {
  case PRN_OP_onnx_Reshape:
  case PRN_OP_onnx_Flatten:
  case PRN_OP_onnx_Squeeze:
  case PRN_OP_onnx_Unsqueeze:
    return true;
  default:
    return false;
  }
}

static bool is_pointwise(const prn_op *op) {
  return prn_op_has_trait(op, PRN_ELEMENTWISE) ||
         prn_op_is(op, PRN_OP_onnx_Identity) ||
         prn_op_is(op, PRN_OP_onnx_Dropout);
}

bool prn_track_back(prn_ctx *ctx, const prn_op *op, uint32_t result,
                    uint32_t slot, const prn_track *in, prn_track *out) {
  const prn_value *v = prn_op_operand(op, slot);
  const prn_type *type = op->results[result].type;
  if (!v || !is_float(v) || !prn_type_is_ranked(v->type) ||
      !prn_type_is_ranked(type))
    return false;
  if (is_pointwise(op))
    return unbroadcast(type, v->type, in, out) &&
           (carries(in) ? carries(out) : v->type == type);
  if (prn_op_is(op, PRN_OP_onnx_Concat)) return concat_back(op, slot, in, out);
  if (slot != 0) return false;
  if (is_regroup(op)) return regroup(ctx, type, v->type, in, out);
  switch (prn_op_code(op)) {
  case PRN_OP_onnx_Transpose:
    return transpose(op, type, true, in, out);
  case PRN_OP_onnx_Expand:
  case PRN_OP_onnx_Tile:
    return unbroadcast(type, v->type, in, out);
  case PRN_OP_onnx_Split:
    return split_back(op, result, in, out);
  case PRN_OP_onnx_Slice:
    return slice_back(op, in, out);
  case PRN_OP_onnx_Gather:
    return gather_back(op, in, out);
  default:
    return false;
  }
}

bool prn_track_forward(prn_ctx *ctx, const prn_op *op, uint32_t slot,
                       const prn_track *in, prn_track *out) {
  const prn_value *v = prn_op_operand(op, slot);
  if (!op->num_results || !v || !prn_type_is_ranked(v->type)) return false;
  const prn_type *type = op->results[0].type;
  if (!prn_type_is_ranked(type)) return false;
  if (is_pointwise(op)) return rebroadcast(v->type, type, in, out);
  if (slot != 0) return false;
  if (is_regroup(op)) return regroup(ctx, v->type, type, in, out);
  if (prn_op_is(op, PRN_OP_onnx_Transpose))
    return transpose(op, type, false, in, out);
  return false;
}

bool prn_track_has(const prn_track *t, int32_t axis, int64_t i, int64_t h) {
  for (uint32_t k = 0; k < t->num_windows; k++) {
    const prn_window *w = &t->windows[k];
    int64_t at = i / w->inner % w->size;
    if (w->axis == axis && (at < w->lo || at >= w->lo + w->len)) return false;
  }
  for (uint32_t k = 0; k < t->num_digits; k++) {
    const prn_digit *d = &t->digits[k];
    if (d->axis != axis) continue;
    int64_t period = d->inner * d->size;
    if (positive_mod(i - d->off, period) / d->inner != h / d->weight % d->size)
      return false;
  }
  return true;
}
