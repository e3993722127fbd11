/* Constants through operators whose results are as large as the data decides:
 * NonZero, Unique, NonMaxSuppression. */
#include <string.h>

#include "ir/tensor.h"
#include "passes/transform/fold.h"

enum { MAX_ITEMS = 4096 /* compared with one another */ };

static double at(const prn_fold_view *v, int64_t i) {
  return prn_element_to_f64(v->dtype, v->data, i);
}

static void put(prn_fold_view *v, int64_t i, int64_t x) {
  memcpy(v->data + (size_t)i * sizeof x, &x, sizeof x);
}

/* Sizes with that axis (or, for -1, none) between. */
static void around(const prn_fold_view *v, int axis, int64_t *outer,
                   int64_t *inner) {
  *outer = *inner = 1;
  for (int i = 0; i < v->rank; i++)
    if (i != axis) *(i < axis ? outer : inner) *= v->dims[i];
}

/* ---- NonZero ---- */

static bool non_zero(prn_fold *f) {
  const prn_fold_view *x = &f->in[0];
  int64_t n = 0, index[PRN_FOLD_RANK] = {0};
  for (int64_t i = 0; i < x->count; i++)
    n += at(x, i) < 0 || at(x, i) > 0 || at(x, i) != at(x, i);
  prn_fold_view *y = prn_fold_result(f, PRN_I64, 2, (int64_t[]){x->rank, n});
  if (!y) return false;
  for (int64_t i = 0, k = 0; i < x->count; i++) {
    if (at(x, i) < 0 || at(x, i) > 0 || at(x, i) != at(x, i)) {
      for (int d = 0; d < x->rank; d++)
        put(y, d * n + k, index[d]);
      k++;
    }
    (void)prn_fold_next(x->rank, x->dims, index);
  }
  return true;
}

/* ---- Unique ---- */

/* Entries of an axis, each of outer x inner elements. */
typedef struct items {
  const prn_fold_view *x;
  int64_t n, outer, inner;
} items;

static int compare(const items *s, int64_t a, int64_t b) {
  for (int64_t o = 0; o < s->outer; o++)
    for (int64_t i = 0; i < s->inner; i++) {
      double x = at(s->x, (o * s->n + a) * s->inner + i);
      double y = at(s->x, (o * s->n + b) * s->inner + i);
      if (x < y || x > y) return x < y ? -1 : 1;
    }
  return 0;
}

typedef struct distinct {
  int64_t *first, *count, *of; /* of: which one each item is */
  int64_t n;
} distinct;

/* Puts item i among those found, in order where asked. */
static void place(const items *s, bool sorted, distinct *d, int64_t i) {
  int64_t k = 0;
  while (k < d->n && compare(s, d->first[k], i) != 0)
    k++;
  if (k < d->n) {
    d->count[k]++;
    d->of[i] = k;
    return;
  }
  for (k = 0; sorted && k < d->n && compare(s, d->first[k], i) < 0;)
    k++;
  if (!sorted) k = d->n;
  size_t tail = (size_t)(d->n - k) * sizeof *d->first;
  memmove(d->first + k + 1, d->first + k, tail);
  memmove(d->count + k + 1, d->count + k, tail);
  for (int64_t j = 0; j < i; j++)
    if (d->of[j] >= k) d->of[j]++;
  d->first[k] = d->of[i] = i;
  d->of[i] = k;
  d->count[k] = 1;
  d->n++;
}

static bool list(prn_fold *f, const int64_t *v, int64_t n) {
  prn_fold_view *y = prn_fold_result(f, PRN_I64, 1, &n);
  for (int64_t i = 0; y && i < n; i++)
    put(y, i, v[i]);
  return y != NULL;
}

static bool unique(prn_fold *f) {
  const prn_fold_view *x = &f->in[0];
  items s = {.x = x, .n = x->count, .outer = 1, .inner = 1};
  int64_t dims[PRN_FOLD_RANK] = {0};
  const prn_attr *attr = prn_op_attr(f->op, "axis");
  int axis = 0, rank = 1;
  if (attr) {
    if (!prn_fold_axis(attr->i, x->rank, &axis)) return false;
    around(x, axis, &s.outer, &s.inner);
    s.n = x->dims[axis];
    rank = x->rank;
    memcpy(dims, x->dims, (size_t)rank * sizeof *dims);
  }
  if (s.n > MAX_ITEMS || x->count > MAX_ITEMS) return f->too_big = true, false;
  distinct d = {PRN_ARENA_ARRAY(f->scratch, int64_t, s.n + 1),
                PRN_ARENA_ARRAY(f->scratch, int64_t, s.n + 1),
                PRN_ARENA_ARRAY(f->scratch, int64_t, s.n + 1), 0};
  for (int64_t i = 0; i < s.n; i++)
    place(&s, prn_op_int(f->op, "sorted", 1) != 0, &d, i);
  dims[axis] = d.n;
  prn_fold_view *y = prn_fold_result(f, x->dtype, rank, dims);
  if (!y) return false;
  size_t run = (size_t)s.inner * y->width;
  for (int64_t o = 0; o < s.outer; o++)
    for (int64_t k = 0; k < d.n; k++)
      memcpy(y->data + (size_t)(o * d.n + k) * run,
             x->data + (size_t)(o * s.n + d.first[k]) * run, run);
  const int64_t *lists[3] = {d.first, d.of, d.count};
  for (uint32_t i = 1; i < f->op->num_results && i < 4; i++)
    if (!list(f, lists[i - 1], i == 2 ? s.n : d.n)) return false;
  return true;
}

/* ---- NonMaxSuppression ---- */

typedef struct box {
  float x1, y1, x2, y2;
} box;

static box read_box(const prn_fold *f, int64_t i) {
  float v[4];
  for (int k = 0; k < 4; k++)
    v[k] = (float)at(&f->in[0], 4 * i + k);
  if (prn_op_int(f->op, "center_point_box", 0)) /* x, y, width, height */
    return (box){v[0] - v[2] / 2, v[1] - v[3] / 2, v[0] + v[2] / 2,
                 v[1] + v[3] / 2};
  bool y = v[0] < v[2], x = v[1] < v[3]; /* any two corners */
  return (box){x ? v[1] : v[3], y ? v[0] : v[2], x ? v[3] : v[1],
               y ? v[2] : v[0]};
}

static float area(box b) { return (b.x2 - b.x1) * (b.y2 - b.y1); }

static bool overlap(box a, box b, double most) {
  box c = {a.x1 > b.x1 ? a.x1 : b.x1, a.y1 > b.y1 ? a.y1 : b.y1,
           a.x2 < b.x2 ? a.x2 : b.x2, a.y2 < b.y2 ? a.y2 : b.y2};
  if (c.x2 <= c.x1 || c.y2 <= c.y1) return false;
  float both = area(c), all = area(a) + area(b) - both;
  return all > 0 && (double)(both / all) > most;
}

typedef struct suppression {
  const prn_fold *f;
  int64_t boxes, most;
  double overlap, least; /* of scores */
  bool any;              /* a least score is given */
  int64_t *kept;
  int64_t n;
} suppression;

/* The best box that was not looked at; -1 when there is none. */
static int64_t best(const suppression *s, int64_t row, const bool *seen) {
  int64_t r = -1;
  for (int64_t i = 0; i < s->boxes; i++) {
    double v = at(&s->f->in[1], row * s->boxes + i);
    if (seen[i] || (s->any && !(v > s->least))) continue;
    if (r < 0 || v > at(&s->f->in[1], row * s->boxes + r)) r = i;
  }
  return r;
}

/* Boxes of one class, the best first. */
static void suppress(suppression *s, int64_t batch, int64_t class,
                     int64_t classes) {
  int64_t row = batch * classes + class, from = s->n, i;
  bool *seen = PRN_ARENA_ARRAY(s->f->scratch, bool, s->boxes);
  memset(seen, 0, (size_t)s->boxes * sizeof *seen);
  while (s->n - from < s->most && (i = best(s, row, seen)) >= 0) {
    box b = read_box(s->f, batch * s->boxes + i);
    bool keep = true;
    seen[i] = true;
    for (int64_t k = from; k < s->n && keep; k++) {
      box other = read_box(s->f, batch * s->boxes + s->kept[3 * k + 2]);
      keep = !overlap(b, other, s->overlap);
    }
    if (!keep) continue;
    int64_t *to = s->kept + 3 * s->n++;
    to[0] = batch;
    to[1] = class;
    to[2] = i;
  }
}

static double setting(const prn_fold *f, uint32_t i) {
  return i < f->num_in && f->in[i].there && f->in[i].count == 1
             ? at(&f->in[i], 0)
             : 0;
}

static bool non_max_suppression(prn_fold *f) {
  const prn_fold_view *boxes = &f->in[0], *scores = &f->in[1];
  if (boxes->rank != 3 || scores->rank != 3 || boxes->dims[2] != 4 ||
      boxes->dims[0] != scores->dims[0] || boxes->dims[1] != scores->dims[2])
    return false;
  if (scores->count > MAX_ITEMS) return f->too_big = true, false;
  suppression s = {.f = f,
                   .boxes = boxes->dims[1],
                   .most = (int64_t)setting(f, 2),
                   .overlap = setting(f, 3),
                   .least = setting(f, 4),
                   .any = f->num_in > 4 && f->in[4].there};
  s.kept = PRN_ARENA_ARRAY(f->scratch, int64_t, 3 * scores->count + 1);
  for (int64_t b = 0; b < scores->dims[0]; b++)
    for (int64_t c = 0; c < scores->dims[1]; c++)
      suppress(&s, b, c, scores->dims[1]);
  prn_fold_view *y = prn_fold_result(f, PRN_I64, 2, (int64_t[]){s.n, 3});
  for (int64_t i = 0; y && i < 3 * s.n; i++)
    put(y, i, s.kept[i]);
  return y != NULL;
}

prn_fold_fn *prn_fold_selection(prn_opcode code) {
  static prn_fold_fn *const table[PRN_OP_count] = {
      [PRN_OP_onnx_NonZero] = non_zero,
      [PRN_OP_onnx_Unique] = unique,
      [PRN_OP_onnx_NonMaxSuppression] = non_max_suppression,
  };
  return table[code];
}
