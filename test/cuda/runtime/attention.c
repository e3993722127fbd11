#include "test/cuda/runtime/attention.h"

#include <math.h>
#include <string.h>

#include "test/cuda/mock/mock.h"

enum { Q, K, V, OUT, MASK, TENSORS, RANK = PRUNE_CUDA_ATTENTION_RANK };

/* Places in the sizes. */
enum {
  Z_LEAD = SINGLE_REST,
  Z_QUERIES = Z_LEAD + ATTENTION_LEAD,
  Z_KEYS,
  Z_DEPTH,
  Z_WIDTH,
  Z_STEPS
};

const attention_case attention_whole = {.type = SINGLE_F16,
                                        .mask = SINGLE_F32,
                                        .num_lead = 2,
                                        .lead = {2, 3},
                                        .queries = 5,
                                        .keys = 7,
                                        .depth = 16,
                                        .width = 8,
                                        .tokens = true,
                                        .mask_lead = {true},
                                        .scale = 0.25f};

int64_t *attention_step(int tensor, int i) {
  return &single_sizes[Z_STEPS + tensor * RANK + i];
}

/* A tensor in its order; `gap` elements behind its rows. */
static single_tensor lay_out(const attention_case *c, int32_t type,
                             const int64_t *lead, int64_t rows, int64_t columns,
                             int64_t gap) {
  single_tensor t = {.type = type, .rank = c->num_lead + 2};
  int32_t tokens = c->num_lead, last = tokens + 1, n = 0, order[RANK];
  int64_t step = 1;
  memcpy(t.dims, lead, (size_t)c->num_lead * sizeof *lead);
  t.dims[tokens] = rows;
  t.dims[last] = columns;
  for (int32_t i = 0; i < c->num_lead; i++) {
    order[n++] = i;
    if (i == 0 && c->tokens) order[n++] = tokens;
  }
  if (!c->tokens || c->num_lead == 0) order[n++] = tokens;
  order[n++] = last;
  for (int32_t i = n - 1; i >= 0; i--) {
    t.steps[order[i]] = t.dims[order[i]] == 1 ? 0 : step;
    step *= t.dims[order[i]] + (order[i] == last ? gap : 0);
  }
  t.steps[last] = 1;
  return t;
}

static void make_tensors(attention_model *m) {
  const attention_case *c = &m->c;
  int64_t shared[ATTENTION_LEAD], mask[ATTENTION_LEAD];
  for (int32_t i = 0; i < c->num_lead; i++) {
    shared[i] = c->shared[i] ? 1 : c->lead[i];
    mask[i] = c->mask_lead[i] ? c->lead[i] : 1;
  }
  m->s.num_inputs = c->mask ? 4 : 3;
  m->s.in[Q] = lay_out(c, c->type, c->lead, c->queries, c->depth, c->gap);
  m->s.in[K] = lay_out(c, c->type, shared, c->keys, c->depth, 0);
  m->s.in[V] = lay_out(c, c->type, shared, c->keys, c->width, 0);
  m->s.out = lay_out(c, c->type, c->lead, c->queries, c->width, 0);
  if (c->mask)
    m->s.in[3] =
        lay_out(c, c->mask, mask, c->mask_rows ? c->queries : 1, c->keys, 0);
}

static const single_tensor *tensor(const attention_model *m, int t) {
  return t == OUT ? &m->s.out : &m->s.in[t == MASK ? 3 : t];
}

static void make_attention(attention_model *m) {
  const attention_case *c = &m->c;
  uint32_t n = m->s.num_inputs;
  m->attention = (prune_cuda_attention){.type = c->type,
                                        .mask_type = c->mask,
                                        .rank = c->num_lead + 2,
                                        .scale = c->scale,
                                        .operands = {Q, K, V, n, 3},
                                        .queries = Z_QUERIES,
                                        .keys = Z_KEYS,
                                        .depth = Z_DEPTH,
                                        .width = Z_WIDTH};
  for (uint32_t i = 0; i < ATTENTION_LEAD; i++)
    m->attention.lead[i] = Z_LEAD + i;
  for (uint32_t t = 0; t < TENSORS; t++)
    for (uint32_t i = 0; i < RANK; i++)
      m->attention.steps[t][i] = Z_STEPS + t * RANK + i;
}

static void make_places(const attention_model *m) {
  const attention_case *c = &m->c;
  single_forget_sizes();
  memcpy(&single_sizes[Z_LEAD], c->lead, sizeof c->lead);
  single_sizes[Z_QUERIES] = c->queries;
  single_sizes[Z_KEYS] = c->keys;
  single_sizes[Z_DEPTH] = c->depth;
  single_sizes[Z_WIDTH] = c->width;
  single_sizes[SINGLE_SHIFT] = c->shift;
  single_is_open[c->num_lead ? Z_LEAD : Z_QUERIES] = true;
  for (int t = 0; t < (c->mask ? TENSORS : MASK); t++)
    for (int i = 0; i < c->num_lead + 2; i++)
      *attention_step(t, i) = tensor(m, t)->steps[i];
}

void attention_make(attention_model *m, const attention_case *c, bool own) {
  memset(m, 0, sizeof *m);
  m->c = *c;
  make_tensors(m);
  for (int32_t i = 0; i < c->num_lead; i++)
    m->s.out_places[i] = (uint32_t)(Z_LEAD + i);
  m->s.out_places[c->num_lead] = Z_QUERIES;
  m->s.out_places[c->num_lead + 1] = Z_WIDTH;
  make_places(m);
  make_attention(m);
  single_make(&m->s, "attention", "mem.attention", PRUNE_CUDA_CUDNN,
              own ? SINGLE_OURS : SINGLE_ALONE);
  m->s.step.attention = &m->attention;
}

/* ---- what it should be ---- */

static double element(const single_data *d, const attention_model *m, int t,
                      const int64_t *lead, int64_t row, int64_t column) {
  const single_tensor *x = tensor(m, t);
  const prune_cuda_tensor *from =
      t == OUT ? &d->out : &d->in[t == MASK ? 3 : t];
  int64_t at = row * x->steps[m->c.num_lead] + column;
  for (int32_t i = 0; i < m->c.num_lead; i++)
    at += lead[i] * x->steps[i];
  return mock_load((const unsigned char *)from->data +
                       (t == Q ? m->c.shift : 0),
                   (size_t)at, single_type(x->type));
}

static double score(const single_data *d, const attention_model *m,
                    const int64_t *lead, int64_t i, int64_t j) {
  double sum = 0;
  for (int64_t e = 0; e < m->c.depth; e++)
    sum += element(d, m, Q, lead, i, e) * element(d, m, K, lead, j, e);
  sum *= (double)m->c.scale;
  return m->c.mask ? sum + element(d, m, MASK, lead, i, j) : sum;
}

static bool row_right(const single_data *d, const attention_model *m,
                      const int64_t *lead, int64_t i) {
  double off = m->c.type == SINGLE_BF16 ? 2e-2 : 2e-3, max = -INFINITY;
  for (int64_t j = 0; j < m->c.keys; j++)
    max = fmax(max, score(d, m, lead, i, j));
  for (int64_t e = 0; e < m->c.width; e++) {
    double sum = 0, mean = 0;
    for (int64_t j = 0; j < m->c.keys; j++) {
      double w = exp(score(d, m, lead, i, j) - max);
      sum += w;
      mean += w * element(d, m, V, lead, j, e);
    }
    double got = element(d, m, OUT, lead, i, e);
    if (!(fabs(got - mean / sum) <= off * (1 + fabs(mean / sum)))) return false;
  }
  return true;
}

bool attention_right(const single_data *d, const void *model) {
  const attention_model *m = model;
  const attention_case *c = &m->c;
  int64_t all = 1;
  for (int32_t k = 0; k < c->num_lead; k++)
    all *= c->lead[k];
  for (int64_t n = 0; n < all; n++) {
    int64_t lead[ATTENTION_LEAD] = {0}, left = n;
    for (int32_t k = c->num_lead - 1; k >= 0; k--) {
      lead[k] = left % c->lead[k];
      left /= c->lead[k];
    }
    for (int64_t i = 0; i < c->queries; i++)
      if (!row_right(d, m, lead, i)) return false;
  }
  return true;
}
