/* What graphs of libcudnn's mock compute: operation by operation, in double
 * precision, each result rounded to the type of its tensor. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "cudnn.h"
#include "mock.h"

enum { TENSORS = 24 };

typedef struct op {
  int kind, mode, t[3]; /* tensors: what is read, -1 for none; the result */
  conv c;
} op;

/* Everything that is computed, for later: descriptors may be gone by then. */
typedef struct work {
  int num_tensors, num_ops;
  tensor t[TENSORS];
  int64_t rank[TENSORS];
  void *p[TENSORS]; /* NULL: inside */
  float number[TENSORS];
  op ops[OPS];
} work;

static int element_type(int type) { return type == 9 ? MOCK_BF16 : type; }

static int64_t count(const tensor *t, int64_t rank) {
  int64_t n = 1;
  for (int64_t i = 0; i < rank; i++)
    n *= t->dims[i];
  return n;
}

/* Elements from the first to the last. */
static size_t extent(const tensor *t, int64_t rank) {
  int64_t last = 0;
  for (int64_t i = 0; i < rank; i++)
    last += (t->dims[i] - 1) * t->steps[i];
  return (size_t)last + 1;
}

/* Takes e apart; the offset. */
static int64_t place(const tensor *t, int64_t rank, int64_t e, int64_t *index) {
  int64_t at = 0;
  for (int64_t i = rank - 1; i >= 0; i--) {
    index[i] = e % t->dims[i];
    e /= t->dims[i];
    at += index[i] * t->steps[i];
  }
  return at;
}

/* Element `index` of tensor t; where a dimension of it is smaller, each of its
 * elements is for as many. */
static double get(const work *w, int t, const int64_t *index,
                  const tensor *like) {
  const tensor *x = &w->t[t];
  int64_t at = 0;
  for (int64_t i = 0; i < w->rank[t]; i++)
    at += index[i] / (like->dims[i] / x->dims[i]) * x->steps[i];
  return mock_load(w->p[t], (size_t)at, element_type(x->type));
}

/* ---- operations ---- */

static double convolved(const work *w, const op *o, const int64_t *out) {
  const tensor *x = &w->t[o->t[FIRST]], *f = &w->t[o->t[SECOND]];
  int64_t rank = w->rank[o->t[FIRST]], tap[RANK];
  int64_t all = count(f, rank) / f->dims[0], groups = x->dims[1] / f->dims[1];
  int64_t group = out[1] / (f->dims[0] / groups);
  double sum = 0;
  for (int64_t k = 0; k < all; k++) {
    int64_t from = place(f, rank, out[1] * all + k, tap);
    int64_t at =
        out[0] * x->steps[0] + (group * f->dims[1] + tap[1]) * x->steps[1];
    bool in = true;
    for (int64_t i = 0; i < rank - 2; i++) {
      int64_t y = out[i + 2] * o->c.strides[i] +
                  tap[i + 2] * o->c.dilations[i] - o->c.before[i];
      in = in && y >= 0 && y < x->dims[i + 2];
      at += y * x->steps[i + 2];
    }
    if (in)
      sum += mock_load(w->p[o->t[FIRST]], (size_t)at, element_type(x->type)) *
             mock_load(w->p[o->t[SECOND]], (size_t)from, element_type(f->type));
  }
  return sum;
}

static double multiplied(const work *w, const op *o, const int64_t *out) {
  const tensor *a = &w->t[o->t[FIRST]];
  int64_t rank = w->rank[o->t[FIRST]], i[RANK], j[RANK];
  tensor left = w->t[o->t[RESULT]], right = left;
  double sum = 0;
  memcpy(i, out, sizeof i);
  memcpy(j, out, sizeof j);
  left.dims[rank - 1] = right.dims[rank - 2] = a->dims[rank - 1];
  for (int64_t k = 0; k < a->dims[rank - 1]; k++) {
    i[rank - 1] = j[rank - 2] = k;
    sum += get(w, o->t[FIRST], i, &left) * get(w, o->t[SECOND], j, &right);
  }
  return sum;
}

static double pointwise(const work *w, const op *o, const int64_t *out) {
  const tensor *y = &w->t[o->t[RESULT]];
  double a = get(w, o->t[FIRST], out, y);
  double b = o->t[SECOND] < 0 ? 0 : get(w, o->t[SECOND], out, y);
  return o->mode == ADD   ? a + b
         : o->mode == MUL ? a * b
         : o->mode == DIV ? a / b
         : o->mode == SUB ? a - b
         : o->mode == EXP ? exp(a)
                          : log(a);
}

static double reduced(const work *w, const op *o, const int64_t *out) {
  const tensor *x = &w->t[o->t[FIRST]], *y = &w->t[o->t[RESULT]];
  int64_t rank = w->rank[o->t[FIRST]], n = count(x, rank), index[RANK];
  double result = o->mode == MAX ? (double)-INFINITY : 0;
  for (int64_t e = 0; e < n; e++) {
    (void)place(x, rank, e, index);
    bool mine = true;
    for (int64_t i = 0; i < rank; i++)
      mine = mine && index[i] / (x->dims[i] / y->dims[i]) == out[i];
    if (!mine) continue;
    double v = get(w, o->t[FIRST], index, x);
    result = o->mode == SUM ? result + v : v > result ? v : result;
  }
  return result;
}

static void run(const work *w, const op *o) {
  const tensor *y = &w->t[o->t[RESULT]];
  int64_t rank = w->rank[o->t[RESULT]], index[RANK] = {0}, n = count(y, rank);
  for (int64_t e = 0; e < n; e++) {
    int64_t at = place(y, rank, e, index);
    double v = o->kind == FORWARD     ? convolved(w, o, index)
               : o->kind == DO_MATMUL ? multiplied(w, o, index)
               : o->kind == DO_REDUCE ? reduced(w, o, index)
                                      : pointwise(w, o, index);
    mock_store(w->p[o->t[RESULT]], (size_t)at, element_type(y->type), v);
  }
}

static void compute(const void *data) {
  work w = *(const work *)data;
  void *made[TENSORS] = {NULL};
  for (int i = 0; i < w.num_tensors; i++) {
    if (w.t[i].number)
      w.p[i] = &w.number[i];
    else if (!w.p[i])
      w.p[i] = made[i] = calloc(extent(&w.t[i], w.rank[i]), sizeof(float));
    if (!w.p[i]) abort();
  }
  for (int i = 0; i < w.num_ops; i++)
    run(&w, &w.ops[i]);
  for (int i = 0; i < w.num_tensors; i++)
    free(made[i]);
}

/* ---- from descriptors ---- */

/* The place of a tensor among the work's, by its number. */
static int tensor_of(work *w, const desc *d) {
  if (!d) return -1;
  for (int i = 0; i < w->num_tensors; i++)
    if (w->t[i].id == d->t.id) return i;
  w->t[w->num_tensors] = d->t;
  w->rank[w->num_tensors] = rank_of(d);
  return w->num_tensors++;
}

static void add_op(work *w, const desc *d) {
  op *o = &w->ops[w->num_ops++];
  const desc *how = d->parts[HOW];
  *o = (op){.kind = d->kind, .mode = how->mode, .c = how->c};
  for (int i = FIRST; i <= RESULT; i++)
    o->t[i] = tensor_of(w, d->parts[i]);
}

static bool lies_in_device(const tensor *t, int64_t rank, const void *p) {
  return (uintptr_t)p % (uintptr_t)t->align == 0 &&
         mock_is_device(p, extent(t, rank) * mock_size(element_type(t->type)));
}

static int find_memory(work *w, const desc *pack) {
  int stored = 0;
  for (int i = 0; i < w->num_tensors; i++) {
    if (w->t[i].inside) continue;
    stored++;
    for (int64_t k = 0; k < pack->counts[0]; k++)
      if (pack->ids[k] == w->t[i].id) w->p[i] = pack->pointers[k];
    if (!w->p[i]) return cudnn_bad(INVALID, "a tensor without a place", 1000);
    if (w->t[i].number)
      memcpy(&w->number[i], w->p[i], sizeof(float));
    else if (!lies_in_device(&w->t[i], w->rank[i], w->p[i]))
      return cudnn_bad(INVALID, "memory that is not its own", 1001);
  }
  return pack->counts[0] == stored
             ? OK
             : cudnn_bad(INVALID, "the number of tensors", 1000);
}

int cudnn_compute(const desc *graph, const desc *pack, void *stream,
                  double micros) {
  work w = {0};
  for (int64_t i = 0; i < graph->counts[0]; i++)
    add_op(&w, graph->parts[i]);
  int code = find_memory(&w, pack);
  return code ? code : mock_enqueue(stream, compute, &w, sizeof w, micros);
}
