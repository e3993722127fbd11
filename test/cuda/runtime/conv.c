#include "test/cuda/runtime/conv.h"

#include <math.h>
#include <string.h>

#include "test/cuda/mock/mock.h"

/* Places in the sizes. */
enum {
  Z_PADS = SINGLE_REST,
  Z_DIMS = Z_PADS + 3,
  Z_STEPS = Z_DIMS + 3 * CONV_RANK
};

const conv_case conv_whole = {.type = SINGLE_F16,
                              .rank = 4,
                              .x = {3, 4, 6, 5},
                              .w = {6, 2, 3, 3},
                              .y = {3, 6, 6, 5},
                              .pads = {1, 1}};

int64_t *conv_dim(int tensor, int i) {
  return &single_sizes[Z_DIMS + tensor * CONV_RANK + i];
}
int64_t *conv_step(int tensor, int i) {
  return &single_sizes[Z_STEPS + tensor * CONV_RANK + i];
}

static void make_places(const conv_case *c, const single_tensor *const *t) {
  single_forget_sizes();
  single_sizes[SINGLE_SHIFT] = c->shift;
  for (int i = 0; i < 3; i++)
    single_sizes[Z_PADS + i] = c->pads[i];
  for (int k = 0; k < 3; k++)
    for (int32_t i = 0; i < c->rank; i++) {
      *conv_dim(k, i) = t[k]->dims[i];
      *conv_step(k, i) = t[k]->steps[i];
    }
  single_is_open[Z_DIMS] = single_is_open[Z_DIMS + 2 * CONV_RANK] = true;
}

static void make_conv(conv_model *m) {
  const conv_case *c = &m->c;
  m->conv = (prune_cuda_conv){
      .type = c->type, .rank = c->rank, .operands = {0, 1, 2}};
  for (uint32_t t = 0; t < 3; t++)
    for (uint32_t i = 0; i < CONV_RANK; i++) {
      m->conv.dims[t][i] = Z_DIMS + t * CONV_RANK + i;
      m->conv.steps[t][i] = Z_STEPS + t * CONV_RANK + i;
    }
  for (uint32_t i = 0; i < 3; i++) {
    m->conv.pads[i] = Z_PADS + i;
    m->conv.strides[i] = c->strides[i] ? c->strides[i] : 1;
    m->conv.dilations[i] = c->dilations[i] ? c->dilations[i] : 1;
  }
}

void conv_make(conv_model *m, const conv_case *c, bool whole) {
  const single_tensor *const t[] = {&m->s.in[0], &m->s.weights, &m->s.out};
  memset(m, 0, sizeof *m);
  m->c = *c;
  m->s.num_inputs = 1;
  m->s.in[0] = single_rows(c->type, c->rank, c->x);
  for (int32_t i = 0; i + 1 < c->rank; i++) /* rows with a gap behind them */
    m->s.in[0].steps[i] =
        m->s.in[0].steps[i] / c->x[c->rank - 1] * (c->x[c->rank - 1] + c->gap);
  m->s.weights = single_rows(c->type, c->rank, c->w);
  m->s.out = single_rows(c->type, c->rank, c->y);
  for (uint32_t i = 0; i < CONV_RANK; i++)
    m->s.out_places[i] = Z_DIMS + 2 * CONV_RANK + i;
  make_places(c, t);
  make_conv(m);
  single_make(&m->s, "conv", "mem.conv", PRUNE_CUDA_CUDNN,
              whole ? SINGLE_AFTER : SINGLE_ALONE);
  m->s.step.conv = &m->conv;
}

static void take_apart(const int64_t *dims, int32_t rank, int64_t e,
                       int64_t *index) {
  for (int32_t i = rank - 1; i >= 0; i--) {
    index[i] = e % dims[i];
    e /= dims[i];
  }
}

/* Element `at` of y, as its definition has it. */
static double reference(const single_data *d, const conv_model *m,
                        const int64_t *at) {
  const conv_case *c = &m->c;
  int64_t tap[CONV_RANK], all = single_count(c->w + 1, c->rank - 1);
  int64_t groups = c->x[1] / c->w[1], group = at[1] / (c->w[0] / groups);
  double sum = 0;
  for (int64_t k = 0; k < all; k++) {
    take_apart(c->w + 1, c->rank - 1, k, tap + 1);
    int64_t from = at[0] * c->x[1] + group * c->w[1] + tap[1];
    bool inside = true;
    for (int32_t i = 2; i < c->rank; i++) {
      int64_t y = at[i] * m->conv.strides[i - 2] +
                  tap[i] * m->conv.dilations[i - 2] - c->pads[i - 2];
      inside = inside && y >= 0 && y < c->x[i];
      from = from * (c->x[i] + (i == c->rank - 1 ? c->gap : 0)) + y;
    }
    if (inside)
      sum += mock_load((unsigned char *)d->in[0].data + c->shift, (size_t)from,
                       single_type(m->c.type)) *
             mock_load(m->s.blob + 256, (size_t)(at[1] * all + k),
                       single_type(m->c.type));
  }
  return sum;
}

bool conv_right(const single_data *d, const void *model) {
  const conv_model *m = model;
  int64_t at[CONV_RANK], n = single_count(d->dims[1], m->c.rank);
  for (int64_t e = 0; e < n; e++) {
    take_apart(d->dims[1], m->c.rank, e, at);
    double want = reference(d, m, at);
    if (m->s.step.num_variants > 1) want = want + 0.5 > 0 ? want + 0.5 : 0;
    double got = mock_load(d->out.data, (size_t)e, single_type(m->c.type));
    double off = m->c.type == SINGLE_BF16 ? 8e-3 : 1e-3;
    if (!(fabs(got - want) <= off * (1 + fabs(want)))) return false;
  }
  return true;
}
