/* Attention by cuDNN: the graph of operations that its engines for attention
 * are made for (scores, their softmax as exponentials over their sum, means of
 * values), of tensors of four dimensions: batch, heads, rows, columns. Heads of
 * keys and values may be fewer, each for as many heads of queries.
 *
 * What leads rows and columns here are any number of dimensions. Those of one
 * element are left out, and two that lie one in the other in every tensor are
 * one. */
#include <string.h>

#include "prune_cuda_dnn.h"

enum { Q, K, V, OUT, MASK, TENSORS, SCALE = TENSORS, FIRST_INSIDE = 10 };
enum { BATCH, HEADS, ROWS, COLUMNS, RANK, CHUNK = 8 };

/* A leading dimension: of so many elements, and so many of keys and values. */
typedef struct lead {
  int64_t dim, shared, steps[TENSORS];
} lead;

typedef struct shape {
  int num; /* of tensors: MASK without a mask */
  lead lead[PRUNE_CUDA_ATTENTION_RANK - 2];
  int num_lead;
  pcu_dnn_tensor t[TENSORS];
} shape;

/* Leading dimensions */

static bool add_lead(shape *s, int64_t dim, const int64_t *steps) {
  lead *l = &s->lead[s->num_lead];
  if (dim == 1) return true;
  if (steps[Q] == 0 || steps[OUT] == 0) return false;
  if ((steps[K] == 0) != (steps[V] == 0)) return false;
  l->dim = dim;
  l->shared = steps[K] == 0 ? 1 : dim;
  memcpy(l->steps, steps, sizeof l->steps);
  s->num_lead++;
  return true;
}

/* b's elements lie one after the other in a's. */
static bool lies_in(const lead *a, const lead *b, int tensor) {
  return a->steps[tensor] == b->steps[tensor] * b->dim;
}

/* Makes one of a and the next, b, if that is possible. */
static bool join(lead *a, const lead *b, bool masked) {
  bool each = a->shared == a->dim && a->steps[K] == b->steps[K] * b->shared &&
              a->steps[V] == b->steps[V] * b->shared;
  if (!lies_in(a, b, Q) || !lies_in(a, b, OUT)) return false;
  if (masked && !lies_in(a, b, MASK)) return false;
  if (b->shared != 1 && !each) return false;
  a->dim *= b->dim;
  a->steps[Q] = b->steps[Q];
  a->steps[OUT] = b->steps[OUT];
  a->steps[MASK] = b->steps[MASK];
  if (b->shared == 1) return true;
  a->shared *= b->shared;
  a->steps[K] = b->steps[K];
  a->steps[V] = b->steps[V];
  return true;
}

/* Leaves a batch, which shares nothing, and heads. */
static bool reduce_leads(shape *s) {
  const lead one = {.dim = 1, .shared = 1};
  lead *l = s->lead;
  for (int i = s->num_lead - 2; i >= 0 && s->num_lead > 2; i--)
    if (join(&l[i], &l[i + 1], s->num > MASK)) {
      s->num_lead--;
      memmove(&l[i + 1], &l[i + 2], (size_t)(s->num_lead - i - 1) * sizeof *l);
    }
  if (s->num_lead > 2) return false;
  for (; s->num_lead < 2; s->num_lead++) {
    l[1] = s->num_lead ? l[0] : one;
    l[0] = one;
  }
  if (l[BATCH].shared != l[BATCH].dim) {
    lead other = l[BATCH];
    l[BATCH] = l[HEADS];
    l[HEADS] = other;
  }
  return l[BATCH].shared == l[BATCH].dim;
}

/* Tensors */

static void set_tensor(shape *s, int t, int64_t rows, int64_t columns,
                       const int64_t *steps) {
  pcu_dnn_tensor *to = &s->t[t];
  bool shares = t == K || t == V;
  for (int i = 0; i < 2; i++) {
    const lead *l = &s->lead[i];
    to->dims[i] = shares ? l->shared : l->dim;
    to->steps[i] = l->steps[t];
  }
  to->dims[ROWS] = rows;
  to->dims[COLUMNS] = columns;
  to->steps[ROWS] = steps[0];
  to->steps[COLUMNS] = steps[1];
}

/* Where an element of the mask is for many, it has one; but not along keys. */
static void narrow_mask(pcu_dnn_tensor *t) {
  for (int i = 0; i < COLUMNS; i++)
    if (t->steps[i] == 0) t->dims[i] = 1;
}

/* Rows of 16 bytes, which engines read at once. */
static bool has_chunks(const pcu_dnn_tensor *t, int along) {
  if (t->align < CHUNK * 2 || t->dims[along] % CHUNK != 0) return false;
  for (int i = 0; i < RANK; i++)
    if (i != along && t->dims[i] > 1 && t->steps[i] % CHUNK != 0) return false;
  return true;
}

static bool lies_well(shape *s) {
  for (int t = 0; t < s->num; t++) {
    pcu_dnn_tensor *to = &s->t[t];
    int along = t == K ? ROWS : COLUMNS; /* keys are turned */
    if (t == MASK) narrow_mask(to);
    if (to->steps[along] != 1 && to->dims[along] != 1) return false;
    if (!pcu_dnn_fill_steps(to)) return false;
    if (t != MASK && !has_chunks(to, along)) return false;
  }
  return true;
}

static bool get_leads(const prune_cuda_attention *a, const int64_t *sizes,
                      shape *s) {
  for (int32_t i = 0; i < a->rank - 2; i++) {
    int64_t steps[TENSORS] = {0}, dim = sizes[a->lead[i]];
    for (int t = 0; t < s->num; t++) {
      steps[t] = sizes[a->steps[t][i]];
      if (steps[t] < 0 || steps[t] > PCU_DNN_MOST) return false;
    }
    if (dim > PCU_DNN_MOST || !add_lead(s, dim, steps)) return false;
  }
  return reduce_leads(s);
}

static pcu_reason get_shape(const pcu_slot *slot, const prune_cuda_step *step,
                            shape *s) {
  const prune_cuda_attention *a = step->attention;
  const int64_t *z = slot->sizes;
  const int64_t rows = z[a->queries], keys = z[a->keys];
  const int64_t depth = z[a->depth], width = z[a->width];
  *s = (shape){.num = a->mask_type ? TENSORS : MASK};
  if ((a->type != 10 && a->type != 16) || a->rank < 2 ||
      a->rank > PRUNE_CUDA_ATTENTION_RANK || !get_leads(a, z, s))
    return PCU_LAYOUT;
  for (int t = 0; t < s->num; t++) {
    const int64_t last[] = {z[a->steps[t][a->rank - 2]],
                            z[a->steps[t][a->rank - 1]]};
    const int64_t turned[] = {last[1], last[0]};
    s->t[t] = (pcu_dnn_tensor){
        .type = t == MASK ? a->mask_type : a->type,
        .rank = RANK,
        .id = t + 1,
        .align = (int64_t)pcu_alignment(&step->pointers[a->operands[t]], z)};
    set_tensor(s, t,
               t == K   ? depth
               : t == V ? keys
                        : rows,
               t == Q                ? depth
               : t == K || t == MASK ? keys
                                     : width,
               t == K ? turned : last);
    if (!pcu_dnn_is_moderate(&s->t[t])) return PCU_LAYOUT;
  }
  if (pcu_dnn_is_empty(&s->t[OUT])) return PCU_TAKEN;
  if (keys == 0 || depth == 0) return PCU_LAYOUT; /* means and sums of none */
  return lies_well(s) ? PCU_TAKEN : PCU_LAYOUT;
}

/* The graph */

/* A tensor inside of the graph: a row of so many columns for each query. */
static void *inside(pcu_dnn *d, const shape *s, int32_t type, int64_t columns) {
  pcu_dnn_tensor t = {.type = type,
                      .is = PCU_DNN_INSIDE,
                      .rank = RANK,
                      .dims = {s->t[Q].dims[BATCH], s->t[Q].dims[HEADS],
                               s->t[Q].dims[ROWS], columns},
                      .steps = {0, 0, 0, 1},
                      .id = FIRST_INSIDE + d->product->num_parts,
                      .align = 16};
  for (int i = RANK - 2; i >= 0; i--)
    t.steps[i] = t.steps[i + 1] * t.dims[i + 1];
  return pcu_dnn_tensor_of(d, &t);
}

static void multiply(pcu_dnn *d, void *a, void *b, void *out) {
  const int sums = PCU_DNN_F32;
  const pcu_dnn_row how[] = {{PCU_DNN_MATMUL_TYPE, PCU_DNN_IS_TYPE, 1, &sums}};
  void *desc = PCU_DNN_MAKE(d, PCU_DNN_MATMUL, how);
  const pcu_dnn_row rows[] = {{PCU_DNN_MATMUL_A, PCU_DNN_IS_DESC, 1, &a},
                              {PCU_DNN_MATMUL_B, PCU_DNN_IS_DESC, 1, &b},
                              {PCU_DNN_MATMUL_C, PCU_DNN_IS_DESC, 1, &out},
                              {PCU_DNN_MATMUL_DESC, PCU_DNN_IS_DESC, 1, &desc}};
  PCU_DNN_OPERATE(d, PCU_DNN_DO_MATMUL, rows);
}

/* y = x, or x and b; returns y. */
static void *each(pcu_dnn *d, int mode, void *x, void *b, void *y) {
  const int in = PCU_DNN_F32;
  const pcu_dnn_row how[] = {
      {PCU_DNN_POINTWISE_MODE, PCU_DNN_IS_POINTWISE, 1, &mode},
      {PCU_DNN_POINTWISE_TYPE, PCU_DNN_IS_TYPE, 1, &in}};
  void *desc = PCU_DNN_MAKE(d, PCU_DNN_POINTWISE, how);
  const pcu_dnn_row rows[] = {
      {PCU_DNN_POINTWISE_DESC, PCU_DNN_IS_DESC, 1, &desc},
      {PCU_DNN_POINTWISE_X, PCU_DNN_IS_DESC, 1, &x},
      {PCU_DNN_POINTWISE_Y, PCU_DNN_IS_DESC, 1, &y},
      {PCU_DNN_POINTWISE_B, PCU_DNN_IS_DESC, 1, &b}};
  pcu_dnn_operation(d, PCU_DNN_DO_POINTWISE, rows, b ? 4 : 3);
  return y;
}

/* Of each row of scores. */
static void *fold(pcu_dnn *d, const shape *s, int by, void *x) {
  const int in = PCU_DNN_F32;
  void *y = inside(d, s, 1, 1);
  const pcu_dnn_row how[] = {{PCU_DNN_REDUCE_HOW, PCU_DNN_IS_REDUCE, 1, &by},
                             {PCU_DNN_REDUCE_TYPE, PCU_DNN_IS_TYPE, 1, &in}};
  void *desc = PCU_DNN_MAKE(d, PCU_DNN_REDUCE, how);
  const pcu_dnn_row rows[] = {{PCU_DNN_REDUCE_X, PCU_DNN_IS_DESC, 1, &x},
                              {PCU_DNN_REDUCE_Y, PCU_DNN_IS_DESC, 1, &y},
                              {PCU_DNN_REDUCE_DESC, PCU_DNN_IS_DESC, 1, &desc}};
  PCU_DNN_OPERATE(d, PCU_DNN_DO_REDUCE, rows);
  return y;
}

/* q k' * scale + mask */
static void *scores(pcu_dnn *d, const shape *s, void *const *t) {
  int64_t keys = s->t[K].dims[COLUMNS];
  const pcu_dnn_tensor one = {.type = 1,
                              .is = PCU_DNN_NUMBER,
                              .rank = RANK,
                              .dims = {1, 1, 1, 1},
                              .steps = {1, 1, 1, 1},
                              .id = SCALE + 1,
                              .align = 16};
  void *scale = pcu_dnn_tensor_of(d, &one), *sums = inside(d, s, 1, keys);
  multiply(d, t[Q], t[K], sums);
  void *scaled = each(d, PCU_DNN_MUL, sums, scale, inside(d, s, 1, keys));
  if (s->num == MASK) return scaled;
  return each(d, PCU_DNN_ADD, scaled, t[MASK], inside(d, s, 1, keys));
}

/* The logarithm of what is divided by is used by none, and is what engines
 * know attention by: without it 9.19 has those for 512 keys at most. */
static void describe(pcu_dnn *d, const shape *s) {
  int64_t keys = s->t[K].dims[COLUMNS];
  int32_t type = s->t[Q].type;
  void *t[TENSORS] = {NULL};
  for (int i = 0; i < s->num; i++)
    t[i] = pcu_dnn_tensor_of(d, &s->t[i]);
  void *x = scores(d, s, t), *max = fold(d, s, PCU_DNN_MAX, x);
  void *less = each(d, PCU_DNN_SUB, x, max, inside(d, s, 1, keys));
  void *e = each(d, PCU_DNN_EXP, less, NULL, inside(d, s, 1, keys));
  void *sum = fold(d, s, PCU_DNN_SUM, e);
  void *log = each(d, PCU_DNN_LOG, sum, NULL, inside(d, s, 1, 1));
  (void)each(d, PCU_DNN_ADD, max, log, inside(d, s, 1, 1));
  void *w = each(d, PCU_DNN_DIV, e, sum, inside(d, s, type, keys));
  multiply(d, w, t[V], t[OUT]);
}

/* The scale is no part of a plan. */
static bool has_shape(const pcu_slot *slot, const prune_cuda_step *other,
                      const void *wanted) {
  const shape *s = wanted;
  shape o;
  if (!other->attention || get_shape(slot, other, &o) != PCU_TAKEN ||
      o.num != s->num)
    return false;
  for (int t = 0; t < s->num; t++)
    if (!pcu_dnn_is_same(&s->t[t], &o.t[t])) return false;
  return true;
}

pcu_reason pcu_plan_attention(const prune_cuda_ctx *c, const pcu_slot *slot,
                              const prune_cuda_step *step,
                              const pcu_lt_algo *algo, pcu_product *out,
                              int32_t *code) {
  shape s;
  pcu_dnn d = {.ctx = c, .product = out};
  uint64_t version = c->versions[PCU_DNN];
  /* NVIDIA's own front end leaves these two alone for "known bugs". */
  if (version == 91000 || version == 91001) return PCU_OLD;
  pcu_reason why = get_shape(slot, step, &s);
  if (why != PCU_TAKEN || pcu_dnn_is_empty(&s.t[OUT])) return why;
  if (pcu_dnn_share(&d, slot, algo, has_shape, &s)) return PCU_TAKEN;
  describe(&d, &s);
  return pcu_dnn_plan(&d, step->attention->type, pcu_lib_room(slot), algo,
                      code);
}

prune_cuda_status pcu_attend(const prune_cuda_ctx *c, const pcu_call *call,
                             const prune_cuda_step *step,
                             const pcu_product *p) {
  const prune_cuda_attention *a = step->attention;
  int64_t ids[TENSORS + 1];
  void *data[TENSORS + 1];
  float scale = a->scale;
  int n = a->mask_type ? TENSORS : MASK;
  for (int t = 0; t < n; t++) {
    ids[t] = t + 1;
    data[t] = pcu_pointer(c, call, &step->pointers[a->operands[t]]);
  }
  ids[n] = SCALE + 1;
  data[n] = &scale;
  return pcu_dnn_run(c, call, p, n + 1, ids, data);
}
