#include "passes/score/channels.h"

#include <math.h>
#include <stdlib.h>

bool prn_triples_lead(const int64_t *c, uint32_t n, int64_t norms) {
  int64_t top = 0;
  for (uint32_t i = 0; i < n; i++) {
    int64_t size = c[PRN_TRIPLE * i], stride = c[PRN_TRIPLE * i + 1],
            scale = c[PRN_TRIPLE * i + 2], run, last;
    if (size < 1 || stride < 1 || scale < 1 || !prn_mul_i64(size, stride, &run))
      return false;
    if (i > 0 && c[PRN_TRIPLE * (i - 1) + 1] % run != 0) return false;
    if (!prn_mul_i64(size - 1, scale, &last) || !prn_add_i64(top, last, &top))
      return false;
  }
  return top < norms;
}

/* ---- where channels are ---- */

/* Adds the digits of an axis, whose index counts `scale` channels. */
static void add_axis(prn_triples *t, const prn_layout *l, int32_t axis,
                     int64_t scale) {
  for (uint32_t f = l->first[axis + 1]; f-- > l->first[axis];) {
    prn_factor factor = l->factors[f];
    if (factor.size == 1 || t->n == PRN_MAX_TRIPLES) continue;
    int64_t *to = &t->at[PRN_TRIPLE * t->n++];
    to[0] = factor.size;
    to[1] = factor.stride;
    to[2] = scale;
    scale *= factor.size;
  }
}

static int by_stride(const void *a, const void *b) {
  const int64_t *x = a, *y = b;
  return (x[1] < y[1]) - (x[1] > y[1]);
}

/* The layout with an axis of groups in front: ConvTranspose has one already. */
static bool split_groups(const prn_site *s, int64_t groups, prn_layout *l) {
  int64_t dims[PRN_LAYOUT_MAX_RANK];
  *l = s->layout;
  if (s->roles[0] == PRN_ROLE_BATCH) return true;
  int64_t out = prn_layout_dim(l, 0);
  if (l->rank == PRN_LAYOUT_MAX_RANK || out % groups != 0) return false;
  dims[0] = groups;
  dims[1] = out / groups;
  for (int32_t i = 1; i < l->rank; i++)
    dims[i + 1] = prn_layout_dim(l, i);
  return prn_layout_reshape(l, dims, l->rank + 1);
}

int64_t prn_channels_find(const prn_site *s, prn_triples *t) {
  int64_t groups = prn_site_groups(s), inputs = 0;
  *t = (prn_triples){.n = 0};
  for (int32_t i = 0; i < s->layout.rank; i++)
    if (s->roles[i] == PRN_ROLE_IN) {
      if (inputs) return 0;
      inputs = prn_layout_dim(&s->layout, i);
      add_axis(t, &s->layout, i, 1);
    }
  if (groups > 1) {
    prn_layout l;
    if (!split_groups(s, groups, &l)) return 0;
    add_axis(t, &l, 0, inputs);
  }
  qsort(t->at, t->n, PRN_TRIPLE * sizeof *t->at, by_stride);
  return prn_mul_i64(inputs, groups, &inputs) ? inputs : 0;
}

/* ---- what a profile says ---- */

float *prn_channel_norms(const prn_pass_env *env, const prn_site *s,
                         int64_t channels, bool *wrong) {
  float *norms = PRN_ARENA_ARRAY(env->scratch, float, channels);
  double *sums = PRN_ARENA_ARRAY(env->scratch, double, channels), vectors = 0;
  for (size_t i = 0; i < s->num_uses; i++) {
    const prn_observation *o =
        prn_site_observation(prn_pass_profile(env), &s->uses[i]);
    if (!o) return NULL;
    if (o->channels != channels) {
      (void)prn_pass_error(env,
                           "'%.*s' takes %lld channels, but the profile's "
                           "'%.*s' has %lld",
                           PRN_STR_ARG(s->name), (long long)channels,
                           PRN_STR_ARG(o->value), (long long)o->channels);
      *wrong = true;
      return NULL;
    }
    vectors += (double)o->count;
    for (int64_t c = 0; c < channels; c++)
      sums[c] += (double)o->count * prn_observation_square(o, c);
  }
  for (int64_t c = 0; c < channels; c++)
    norms[c] = (float)sqrt(sums[c] / vectors);
  return norms;
}

/* ---- rows and columns ---- */

int64_t prn_triples_of(const prn_site *s, uint32_t axes, prn_triples *t) {
  int64_t scale = 1;
  *t = (prn_triples){.n = 0};
  for (int32_t i = s->layout.rank; i-- > 0;)
    if (axes >> i & 1) {
      add_axis(t, &s->layout, i, scale);
      scale *= prn_layout_dim(&s->layout, i);
    }
  qsort(t->at, t->n, PRN_TRIPLE * sizeof *t->at, by_stride);
  return scale;
}

int64_t prn_triples_index(const int64_t *c, uint32_t n, int64_t at) {
  int64_t index = 0;
  for (uint32_t k = 0; k < n; k++)
    index +=
        at / c[PRN_TRIPLE * k + 1] % c[PRN_TRIPLE * k] * c[PRN_TRIPLE * k + 2];
  return index;
}

void prn_channels_unobserved(const prn_pass_env *env, const prn_site *s) {
  (void)prn_pass_error(env,
                       "the profile says nothing of the input of '%.*s' "
                       "(unobserved=skip leaves such weights alone)",
                       PRN_STR_ARG(s->name));
}
