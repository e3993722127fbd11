#include "passes/analysis/heads.h"

#include <stdlib.h>
#include <string.h>

#include "passes/analysis/tables.h"

enum { MAX_DEPTH = 96, MAX_PATH = 32, MAX_VISITS = 8, MAX_HEADS = 4096 };

typedef struct step {
  prn_op *op;
  uint32_t slot;
} step;

typedef struct visit {
  prn_value *value;
  prn_track track;
} visit;

/* One attention being traced. */
typedef struct tracer {
  prn_ctx *ctx;
  const prn_sites *sites;
  prn_heads *out;
  uint32_t stamp; /* marks operations of this attention, and values */
  uint32_t value_stamp;
  prn_head_part *parts;
  size_t num_parts, cap_parts;
  visit *seen; /* values between the projections and the products */
  size_t num_seen, cap_seen;
  /* forward */
  step path[MAX_PATH]; /* from the Softmax to the product with the values */
  uint32_t path_size;
  prn_op *values_product; /* NULL until passed */
  const char *why;        /* it failed */
  prn_track start;        /* at the Softmax: the digits that are heads */
} tracer;

static bool same_windows(const prn_track *a, const prn_track *b) {
  bool same = a->num_windows == b->num_windows;
  for (uint32_t i = 0; same && i < a->num_windows; i++)
    same = a->windows[i].axis == b->windows[i].axis &&
           a->windows[i].inner == b->windows[i].inner &&
           a->windows[i].lo == b->windows[i].lo &&
           a->windows[i].len == b->windows[i].len;
  return same;
}

/* Several windows of one weight are several parts (the halves that a rotary
 * embedding turns), unless one is the whole. */
static void add_part(tracer *t, prn_op *constant, prn_head_role role, bool bias,
                     const prn_layout *layout, const prn_track *track) {
  prn_head_part part = {constant, role, bias, *layout, *track};
  for (size_t i = 0; i < t->num_parts; i++) {
    prn_head_part *p = &t->parts[i];
    if (p->constant != constant || p->role != role) continue;
    if (!p->track.num_windows || same_windows(&p->track, track)) return;
    if (track->num_windows) continue;
    *p = part;
    return;
  }
  if (t->num_parts == t->cap_parts) {
    t->cap_parts = t->cap_parts ? t->cap_parts * 2 : 16;
    t->parts =
        prn_realloc(t->parts, prn_array_size(sizeof *t->parts, t->cap_parts));
  }
  t->parts[t->num_parts++] = part;
}

/* Whether a value is to be followed: once, or once for each set of windows. */
static bool enter(tracer *t, prn_value *v, const prn_track *track) {
  size_t visits = 0;
  for (size_t i = 0; v->mark == t->value_stamp && i < t->num_seen; i++)
    if (t->seen[i].value == v) {
      if (same_windows(&t->seen[i].track, track) || ++visits == MAX_VISITS)
        return false;
    }
  v->mark = t->value_stamp;
  if (t->num_seen == t->cap_seen) {
    t->cap_seen = t->cap_seen ? t->cap_seen * 2 : 64;
    t->seen =
        prn_realloc(t->seen, prn_array_size(sizeof *t->seen, t->cap_seen));
  }
  t->seen[t->num_seen++] = (visit){v, *track};
  return true;
}

static bool is_harmless(const prn_op *op) {
  return prn_op_is(op, PRN_OP_onnx_Shape) || prn_op_is(op, PRN_OP_onnx_Size) ||
         prn_op_is(op, PRN_OP_onnx_return);
}

/* The weight of a product and its slot; NULL when both sides are computed. */
static const prn_site *weight_of(const tracer *t, const prn_op *op,
                                 uint32_t *slot) {
  for (*slot = 2; (*slot)-- > 0;) {
    const prn_site *s = prn_site_at(t->sites, op, *slot);
    if (s) return s;
  }
  return NULL;
}

/* ---- back to the projections ---- */

/* A constant that is added to the value with this track. */
static void add_bias(tracer *t, const prn_op *op, uint32_t slot,
                     const prn_track *track, prn_head_role role) {
  const prn_value *v = prn_op_operand(op, slot);
  const prn_type *result = op->results[0].type;
  prn_layout layout;
  prn_track mine = *track;
  if (!v || !prn_value_constant(v) || !prn_dtype_is_float(v->type->dtype) ||
      !prn_layout_of(v->type, &layout) || !prn_type_is_ranked(result))
    return;
  int32_t shift = result->rank - layout.rank;
  bool carries = false;
  for (uint32_t i = 0; i < mine.num_digits; i++) {
    prn_digit *d = &mine.digits[i];
    int32_t axis = d->axis < 0 ? d->axis : d->axis - shift;
    if (d->axis >= 0 && (axis < 0 || prn_layout_dim(&layout, axis) == 1))
      return;
    d->axis = axis;
    carries |= axis >= 0;
  }
  for (uint32_t i = 0; i < mine.num_windows; i++)
    if ((mine.windows[i].axis -= shift) < 0) return;
  if (carries) add_part(t, v->def, role, true, &layout, &mine);
}

static void add_projection(tracer *t, prn_op *op, const prn_site *site,
                           uint32_t slot, const prn_track *track,
                           prn_head_role role) {
  prn_track mine;
  if (site->mixed || !prn_site_tensor(site) ||
      site->reason == PRN_REASON_UnknownLayout ||
      !prn_track_product(op, slot, track, &mine))
    return;
  add_part(t, site->constant, role, false, &site->layout, &mine);
  if (prn_op_is(op, PRN_OP_onnx_Gemm)) add_bias(t, op, 2, track, role);
}

static void back(tracer *t, prn_value *v, const prn_track *track,
                 prn_head_role role, int depth) {
  prn_op *op = v->def;
  uint32_t slot;
  if (depth > MAX_DEPTH || !op || !enter(t, v, track)) return;
  op->mark = t->stamp;
  if (prn_is_product(op)) {
    const prn_site *site = weight_of(t, op, &slot);
    if (site) add_projection(t, op, site, slot, track, role);
    return;
  }
  bool adds = prn_op_is(op, PRN_OP_onnx_Add) || prn_op_is(op, PRN_OP_onnx_Sub);
  for (uint32_t i = 0; i < op->num_operands; i++) {
    prn_value *x = prn_op_operand(op, i);
    prn_track next;
    if (adds && x && prn_value_constant(x))
      add_bias(t, op, i, track, role);
    else if (prn_track_back(t->ctx, op, v->index, i, track, &next))
      back(t, x, &next, role, depth + 1);
  }
}

/* From the Softmax back to the product of queries and keys. */
static void back_to_scores(tracer *t, prn_value *v, const prn_track *track,
                           int depth) {
  prn_op *op = v->def;
  prn_track next;
  if (depth > MAX_DEPTH || !op || v->mark == t->value_stamp) return;
  v->mark = t->value_stamp;
  op->mark = t->stamp;
  if (prn_is_product(op)) {
    uint32_t slot;
    if (weight_of(t, op, &slot)) return;
    for (uint32_t i = 0; i < 2; i++) {
      t->value_stamp++;
      if (prn_track_product(op, i, track, &next))
        back(t, prn_op_operand(op, i), &next, i ? PRN_HEAD_K : PRN_HEAD_Q,
             depth + 1);
    }
    return;
  }
  for (uint32_t i = 0; i < op->num_operands; i++)
    if (prn_track_back(t->ctx, op, v->index, i, track, &next))
      back_to_scores(t, prn_op_operand(op, i), &next, depth + 1);
}

/* ---- forward to the output projection ---- */

static bool fail(tracer *t, const prn_op *op) {
  prn_strbuf b = {0};
  prn_strbuf_fmt(&b, "%.*s mixes or hides the heads",
                 PRN_STR_ARG(prn_op_subject(op)));
  t->why = prn_intern(t->ctx, prn_strbuf_view(&b)).data;
  prn_strbuf_destroy(&b);
  return false;
}

/* Digits that the product sums over: they number the heads. The others are
 * batch. */
static bool output_track(const prn_op *op, uint32_t slot, const prn_track *in,
                         prn_track *out) {
  *out = (prn_track){.num_digits = 0};
  for (uint32_t i = 0; i < in->num_digits; i++) {
    prn_digit d = in->digits[i];
    int32_t axis = prn_product_partner(op, slot, d.axis);
    if (axis == PRN_AXIS_UNKNOWN) return false;
    if (axis < 0) continue;
    d.axis = axis;
    out->digits[out->num_digits++] = d;
  }
  return out->num_digits > 0;
}

static bool same_digits(const prn_track *a, const prn_track *b) {
  bool same = a->num_digits == b->num_digits;
  for (uint32_t i = 0; same && i < a->num_digits; i++)
    same = a->digits[i].size == b->digits[i].size &&
           a->digits[i].axis == b->digits[i].axis &&
           a->digits[i].inner == b->digits[i].inner;
  return same;
}

/* Numbers the heads by the digits that are left, and remembers where they
 * were. Fails when another output projection saw other digits. */
static bool settle_digits(tracer *t, prn_track *out) {
  prn_track start = {.num_digits = out->num_digits};
  int64_t weight = 1;
  for (uint32_t done = 0; done < out->num_digits; done++) {
    prn_digit *least = NULL; /* of those not numbered: start.size == 0 */
    uint32_t at = 0;
    for (uint32_t i = 0; i < out->num_digits; i++)
      if (!start.digits[i].size &&
          (!least || out->digits[i].weight < least->weight)) {
        least = &out->digits[i];
        at = i;
      }
    least->weight = weight;
    start.digits[at] = *least;
    start.digits[at].axis = least->start_axis;
    start.digits[at].inner = least->start_inner;
    start.digits[at].off = 0;
    weight *= least->size;
  }
  if (t->start.num_digits) return same_digits(&t->start, &start);
  t->start = start;
  return true;
}

/* The track of a product's result from that of an operand. */
static bool through_product(const prn_op *op, uint32_t slot,
                            const prn_track *in, prn_track *out) {
  int32_t rank = op->results[0].type->rank;
  *out = *in;
  for (uint32_t i = 0; i < in->num_digits; i++) {
    int32_t found = PRN_AXIS_NONE;
    for (int32_t r = 0; r < rank && found < 0; r++)
      if (prn_product_axis(op, slot, r) == in->digits[i].axis) found = r;
    if (found < 0) return false;
    out->digits[i].axis = found;
  }
  return true;
}

static bool forward(tracer *t, prn_value *v, const prn_track *track, int depth);

static bool forward_product(tracer *t, prn_use *use, const prn_track *track,
                            int depth) {
  prn_op *op = use->owner;
  uint32_t slot = prn_use_index(use), wslot;
  const prn_site *site = weight_of(t, op, &wslot);
  prn_track next;
  if (site && wslot == slot) return fail(t, op);
  if (site) {
    if (!t->values_product) return true; /* a Softmax in front of a layer */
    if (site->mixed || !prn_site_tensor(site) ||
        !output_track(op, slot, track, &next) || !settle_digits(t, &next))
      return fail(t, op);
    add_part(t, site->constant, PRN_HEAD_O, false, &site->layout, &next);
    return true;
  }
  if (t->values_product || slot != 0 ||
      !through_product(op, slot, track, &next))
    return fail(t, op);
  t->values_product = op;
  return forward(t, &op->results[0], &next, depth + 1);
}

static bool forward(tracer *t, prn_value *v, const prn_track *track,
                    int depth) {
  if (v->mark == t->value_stamp) return true; /* by another way */
  v->mark = t->value_stamp;
  PRN_EACH_USE(use, v) {
    prn_op *op = use->owner;
    prn_track next;
    op->mark = t->stamp;
    if (is_harmless(op)) continue;
    if (depth > MAX_DEPTH) return fail(t, op);
    if (!t->values_product && t->path_size < MAX_PATH)
      t->path[t->path_size++] = (step){op, prn_use_index(use)};
    if (prn_is_product(op)) {
      if (!forward_product(t, use, track, depth)) return false;
      continue;
    }
    if (!prn_track_forward(t->ctx, op, prn_use_index(use), track, &next))
      return fail(t, op);
    if (!forward(t, &op->results[0], &next, depth + 1)) return false;
  }
  return true;
}

/* The heads' digits at the operand of the product with the values. */
static bool track_at_values(tracer *t, prn_track *out) {
  prn_track now = t->start, next;
  for (uint32_t i = 0; i < t->path_size; i++) {
    step s = t->path[i];
    if (s.op == t->values_product)
      return through_product(s.op, s.slot, &now, &next) &&
             prn_track_product(s.op, 1 - s.slot, &next, out);
    if (!prn_track_forward(t->ctx, s.op, s.slot, &now, &next)) return false;
    now = next;
  }
  return false;
}

/* ---- one attention ---- */

/* Nothing outside this attention reads the queries, keys or values. */
static bool is_exclusive(const tracer *t) {
  for (size_t i = 0; i < t->num_seen; i++)
    PRN_EACH_USE(use, t->seen[i].value)
      if (use->owner->mark != t->stamp && !is_harmless(use->owner))
        return false;
  for (size_t i = 0; i < t->num_parts; i++) {
    const prn_head_part *p = &t->parts[i];
    if (!p->bias) continue;
    PRN_EACH_USE(use, &p->constant->results[0])
      if (use->owner->mark != t->stamp) return false;
  }
  return true;
}

static int64_t digits_product(const prn_track *t, bool present_only) {
  int64_t n = 1;
  for (uint32_t i = 0; i < t->num_digits; i++)
    if (!present_only || t->digits[i].axis >= 0) n *= t->digits[i].size;
  return n;
}

static const prn_head_part *part_of(const prn_head_part *parts, size_t n,
                                    prn_head_role role) {
  for (size_t i = 0; i < n; i++)
    if (parts[i].role == role && !parts[i].bias) return &parts[i];
  return NULL;
}

static void reject(tracer *t, prn_op *op, const char *why) {
  prn_heads *h = t->out;
  size_t n = h->num_rejected;
  if ((n & (n - 1)) == 0) { /* full at powers of two */
    prn_no_heads *more =
        PRN_ARENA_ARRAY(&h->arena, prn_no_heads, n ? 2 * n : 1);
    if (n) memcpy(more, h->rejected, n * sizeof *more);
    h->rejected = more;
  }
  h->rejected[h->num_rejected++] = (prn_no_heads){op, why};
}

static void accept(tracer *t, prn_op *op, size_t *cap) {
  prn_heads *h = t->out;
  const prn_head_part *o = part_of(t->parts, t->num_parts, PRN_HEAD_O);
  const prn_head_part *v = part_of(t->parts, t->num_parts, PRN_HEAD_V);
  if (!o) return;
  if (!v || digits_product(&o->track, false) > MAX_HEADS) {
    reject(t, op,
           v ? "it has too many heads" : "no constant weight makes its values");
    return;
  }
  if (h->size == *cap) {
    *cap = *cap ? *cap * 2 : 8;
    h->at = prn_realloc(h->at, prn_array_size(sizeof *h->at, *cap));
  }
  h->at[h->size++] = (prn_attention){
      .op = op,
      .heads = digits_product(&o->track, false),
      .groups = digits_product(&v->track, true),
      .parts = prn_arena_copy(&h->arena, t->parts,
                              prn_array_size(sizeof *t->parts, t->num_parts)),
      .num_parts = t->num_parts,
      .exclusive = is_exclusive(t),
  };
}

static void begin(tracer *t) {
  t->num_parts = t->num_seen = t->path_size = 0;
  t->values_product = NULL;
  t->why = NULL;
  t->start = (prn_track){.num_digits = 0};
  t->stamp++;
  t->value_stamp++;
}

/* Every axis but the last two may number heads, wholly or by its constant
 * factor ("12*batch"). */
static bool possible_heads(const prn_type *type, prn_track *out) {
  *out = (prn_track){.num_digits = 0};
  int64_t weight = 1;
  if (!prn_type_is_ranked(type)) return false;
  for (int32_t i = type->rank - 3; i >= 0; i--) {
    prn_dim d = type->dims[i];
    int64_t n = 0;
    if (d->kind == PRN_DIM_MUL) d = d->args[0];
    if (!prn_dim_is_const(d, &n) || n < 2) continue;
    if (out->num_digits == PRN_TRACK_DIGITS || !prn_mul_i64(weight, n, &weight))
      return false;
    out->digits[out->num_digits++] = (prn_digit){n, weight / n, i, 1, 0, i, 1};
  }
  return true;
}

static bool over_last_axis(const prn_op *op) {
  int32_t rank = op->results[0].type->rank;
  int64_t axis = prn_op_int(op, "axis", prn_op_opset(op) < 13 ? 1 : -1);
  return axis == -1 || axis == rank - 1;
}

static void trace_softmax(tracer *t, prn_op *op, size_t *cap) {
  prn_track track, values;
  begin(t);
  op->mark = t->stamp;
  prn_value *v = &op->results[0], *x = prn_op_operand(op, 0);
  if (!x || !prn_type_is_ranked(v->type) || v->type->rank < 3 ||
      !over_last_axis(op) || !possible_heads(v->type, &track))
    return;
  bool found = forward(t, v, &track, 0);
  if (!t->values_product) return; /* not an attention */
  if (!found || t->num_parts == 0) {
    reject(t, op, t->why ? t->why : "it has one head only");
    return;
  }
  if (!track_at_values(t, &values)) {
    reject(t, op, "its values cannot be followed");
    return;
  }
  t->value_stamp++;
  back(t, prn_op_operand(t->values_product, 1), &values, PRN_HEAD_V, 0);
  t->value_stamp++;
  back_to_scores(t, x, &t->start, 0);
  accept(t, op, cap);
}

/* ---- operators that are a whole attention ---- */

typedef struct fused {
  int64_t heads, groups; /* query heads; key and value heads */
  int32_t axis;          /* of the heads in every operand and the result */
  bool split;            /* the axis holds heads alone: [b, h, s, d] */
  bool packed;           /* operand 1 is the weight of all three projections */
} fused;

static bool describe(const prn_op *op, fused *f) {
  const prn_value *q = prn_op_operand(op, 0);
  if (!q || !prn_type_is_ranked(q->type)) return false;
  *f = (fused){.axis = 2};
  switch (prn_op_code(op)) {
  case PRN_OP_onnx_Attention:
    f->split = q->type->rank == 4;
    if (f->split) {
      f->axis = 1;
      if (!prn_op_operand(op, 1) ||
          !prn_type_is_ranked(prn_op_operand(op, 1)->type) ||
          !prn_dim_is_const(q->type->dims[1], &f->heads) ||
          !prn_dim_is_const(prn_op_operand(op, 1)->type->dims[1], &f->groups))
        return false;
    } else {
      f->heads = prn_op_int(op, "q_num_heads", 0);
      f->groups = prn_op_int(op, "kv_num_heads", 0);
    }
    break;
  case PRN_OP_com_microsoft_GroupQueryAttention:
    f->heads = prn_op_int(op, "num_heads", 0);
    f->groups = prn_op_int(op, "kv_num_heads", 0);
    break;
  case PRN_OP_com_microsoft_Attention:
    f->packed = true;
    f->heads = f->groups = prn_op_int(op, "num_heads", 0);
    return !prn_op_attr(op, "qkv_hidden_sizes") && f->heads > 0;
  case PRN_OP_com_microsoft_MultiHeadAttention:
    f->heads = f->groups = prn_op_int(op, "num_heads", 0);
    break;
  default:
    return false;
  }
  return f->groups > 0 && f->heads >= f->groups && f->heads % f->groups == 0 &&
         prn_op_operand(op, 1) && prn_op_operand(op, 2);
}

/* The heads on an axis of v that holds `count` of them. */
static bool fused_track(const fused *f, const prn_value *v, int64_t count,
                        prn_track *out) {
  int64_t size = 0, each = f->heads / count;
  *out = (prn_track){.num_digits = 0};
  if (!prn_type_is_ranked(v->type) || f->axis >= v->type->rank ||
      !prn_dim_is_const(v->type->dims[f->axis], &size) || size % count != 0)
    return false;
  int64_t inner = f->split ? 1 : size / count;
  if (inner == 0) return false;
  out->digits[out->num_digits++] =
      (prn_digit){count, each, f->axis, inner, 0, f->axis, inner};
  if (each > 1)
    out->digits[out->num_digits++] = (prn_digit){each, 1, -1, 1, 0, -1, 1};
  return true;
}

/* Queries, keys and values side by side in the columns of one weight. */
static void packed_parts(tracer *t, const prn_op *op, int64_t heads) {
  const prn_site *site = prn_site_at(t->sites, op, 1);
  const prn_value *bias = prn_op_operand(op, 2);
  prn_layout flat;
  if (!site || site->mixed || !prn_site_tensor(site) || site->layout.rank != 2)
    return;
  int64_t hidden = prn_layout_dim(&site->layout, 1) / 3;
  if (hidden % heads != 0 || hidden == 0) return;
  bool has_bias = bias && prn_value_constant(bias) &&
                  prn_layout_of(bias->type, &flat) && flat.rank == 1;
  for (int r = PRN_HEAD_Q; r <= PRN_HEAD_V; r++) {
    prn_track w = {.num_digits = 1, .num_windows = 1};
    w.digits[0] = (prn_digit){heads, 1, 1, hidden / heads, 0, 1, 1};
    w.windows[0] = (prn_window){1, hidden, 3, r, 1};
    add_part(t, site->constant, (prn_head_role)r, false, &site->layout, &w);
    w.digits[0].axis = w.windows[0].axis = 0;
    if (has_bias) add_part(t, bias->def, (prn_head_role)r, true, &flat, &w);
  }
}

static void trace_fused(tracer *t, prn_op *op, size_t *cap) {
  prn_track track;
  fused f;
  if (!describe(op, &f)) return;
  begin(t);
  op->mark = t->stamp;
  t->values_product = op;
  if (f.heads < 2 || !fused_track(&f, &op->results[0], f.heads, &track)) {
    reject(t, op, f.heads < 2 ? "it has one head only" : "its size is open");
    return;
  }
  if (!forward(t, &op->results[0], &track, 0) || t->num_parts == 0 ||
      t->start.num_digits != 1) {
    reject(t, op, t->why ? t->why : "no weight takes up its heads");
    return;
  }
  for (uint32_t i = 0; i < 3 && !f.packed; i++) {
    t->value_stamp++;
    prn_value *v = prn_op_operand(op, i);
    if (fused_track(&f, v, i == 0 ? f.heads : f.groups, &track))
      back(t, v, &track, (prn_head_role)i, 0);
  }
  if (f.packed) packed_parts(t, op, f.heads);
  accept(t, op, cap);
}

/* ---- the module ---- */

typedef struct search {
  tracer t;
  size_t cap;
} search;

static prn_status clear_marks(void *user, prn_op *op) {
  (void)user;
  op->mark = 0;
  for (uint32_t i = 0; i < op->num_results; i++)
    op->results[i].mark = 0;
  for (uint32_t i = 0; i < op->num_blocks; i++)
    for (uint32_t k = 0; k < op->blocks[i]->num_args; k++)
      op->blocks[i]->args[k]->mark = 0;
  return PRN_OK;
}

static prn_status search_op(void *user, prn_op *op) {
  search *s = user;
  if (prn_op_is(op, PRN_OP_onnx_Softmax))
    trace_softmax(&s->t, op, &s->cap);
  else
    trace_fused(&s->t, op, &s->cap);
  return PRN_OK;
}

/* Whether b uses the very slices of a. */
static bool same_parts(const prn_attention *a, const prn_attention *b) {
  bool same = a->num_parts == b->num_parts && a->heads == b->heads;
  for (size_t i = 0; same && i < a->num_parts; i++) {
    const prn_head_part *p = &a->parts[i], *q = &b->parts[i];
    same = p->constant == q->constant && p->role == q->role;
  }
  return same;
}

/* Layers that share their weights become one; what is shared otherwise must
 * not be changed for one of its users. */
static void merge_shared(prn_heads *h, const prn_sites *sites, tracer *t) {
  size_t kept = 0;
  for (size_t i = 0; i < h->size; i++) {
    prn_attention *a = &h->at[i];
    size_t copies = 1;
    bool seen = false, shared_output = false;
    for (size_t k = 0; k < kept; k++)
      seen |= same_parts(&h->at[k], a);
    if (seen) continue;
    for (size_t k = i + 1; k < h->size; k++)
      copies += same_parts(a, &h->at[k]);
    for (size_t k = 0; k < a->num_parts; k++) {
      const prn_site *s = prn_site_of(sites, a->parts[k].constant);
      if (!s || s->num_uses == copies) continue;
      if (a->parts[k].role == PRN_HEAD_O)
        shared_output = true;
      else
        a->exclusive = false;
    }
    if (shared_output)
      reject(t, a->op, "other operators share its output projection");
    else
      h->at[kept++] = *a;
  }
  h->size = kept;
}

static void heads_destroy(void *data) {
  prn_heads *h = data;
  prn_free(h->at);
  prn_arena_destroy(&h->arena);
  prn_free(h);
}

static prn_status heads_compute(prn_analyses *all, prn_module *m, void **out) {
  prn_heads *h = prn_alloc(sizeof *h);
  *h = (prn_heads){0};
  *out = h;
  PRN_TRY(prn_analyses_need(all, PRN_SHAPES | PRN_SITES));
  const prn_sites *sites = prn_analyses_get(all, PRN_ANALYSIS_SITES);
  search s = {.t = {.ctx = m->ctx, .sites = sites, .out = h}};
  prn_status status = prn_walk(m->body, true, clear_marks, NULL);
  if (status == PRN_OK) status = prn_walk(m->body, true, search_op, &s);
  merge_shared(h, sites, &s.t);
  prn_free(s.t.parts);
  prn_free(s.t.seen);
  return status;
}

static bool heads_holds(prn_analyses *all, prn_module *m, const void *data) {
  const prn_heads *old = data;
  void *fresh = NULL;
  bool same = heads_compute(all, m, &fresh) == PRN_OK;
  const prn_heads *now = fresh;
  same = same && now->size == old->size;
  for (size_t i = 0; same && i < now->size; i++)
    same = now->at[i].op == old->at[i].op &&
           now->at[i].groups == old->at[i].groups &&
           same_parts(&now->at[i], &old->at[i]);
  heads_destroy(fresh);
  return same;
}

const prn_analysis prn_analysis_heads = {
    .name = "heads",
    .doc = "which slices of which weights make up each attention head",
    .compute = heads_compute,
    .destroy = heads_destroy,
    .holds = heads_holds,
};

int64_t prn_head_group(const prn_attention *a, int64_t h) {
  const prn_head_part *v = part_of(a->parts, a->num_parts, PRN_HEAD_V);
  int64_t group = 0, weight = 1;
  for (uint32_t i = 0; i < v->track.num_digits; i++) {
    const prn_digit *d = &v->track.digits[i];
    if (d->axis < 0) continue;
    group += h / d->weight % d->size * weight;
    weight *= d->size;
  }
  return group;
}

/* Offsets of the indices of one axis that belong to head h. */
static int64_t *axis_entries(const prn_head_part *p, int32_t axis, int64_t h,
                             int64_t *n) {
  int64_t count = 0, kept = 0;
  int64_t *all = prn_layout_offsets(&p->layout, 1u << axis, &count);
  for (int64_t i = 0; all && i < count; i++)
    if (prn_track_has(&p->track, axis, i, h)) all[kept++] = all[i];
  *n = kept;
  return all;
}

int64_t *prn_head_entries(const prn_head_part *p, int64_t h, int64_t *n) {
  int64_t count = 1;
  int64_t *entries = prn_try_alloc(sizeof *entries);
  if (entries) entries[0] = 0;
  for (int32_t axis = 0; entries && axis < p->layout.rank; axis++) {
    int64_t more = 0;
    int64_t *next = NULL, *these = axis_entries(p, axis, h, &more);
    size_t bytes;
    if (these && prn_mul_size((size_t)count, (size_t)more, &bytes) &&
        prn_mul_size(bytes, sizeof *next, &bytes))
      next = prn_try_alloc(bytes ? bytes : 1);
    for (int64_t i = 0; next && i < count; i++)
      for (int64_t k = 0; k < more; k++)
        next[i * more + k] = entries[i] + these[k];
    prn_free(these);
    prn_free(entries);
    entries = next;
    count *= more;
  }
  *n = count;
  return entries;
}
