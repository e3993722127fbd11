/* The transform of weights, and its packing; see winograd.h. */
#include "ir/pack/winograd.h"

#include "ir/pack/formats.h"
#include "ir/support/arena.h"

enum { T = PRN_WINOGRAD_TAPS, WINDOW = T * T };

static const prn_winograd kinds[] = {
    {.m = 2, .side = 4, .pairs = 1, .point = {1}},
    {.m = 4, .side = 6, .pairs = 2, .point = {0.625, 1.5}},
};

const prn_winograd *prn_winograd_of(int64_t m) {
  for (size_t i = 0; i < PRN_COUNT(kinds); i++)
    if (kinds[i].m == m) return &kinds[i];
  return NULL;
}

int64_t prn_winograd_even(const prn_winograd *f, int64_t but, double *c) {
  int64_t n = 1;
  c[0] = 1;
  for (int64_t i = 0; i < f->pairs; i++) {
    double s = f->point[i] * f->point[i];
    if (i == but) continue;
    c[n] = c[n - 1];
    for (int64_t k = n - 1; k > 0; k--)
      c[k] = c[k - 1] - s * c[k];
    c[0] *= -s;
    n++;
  }
  return n;
}

/* Row i of G; points are in the order 0, p0, -p0, p1, ..., infinity. */
static void taps_row(const prn_winograd *f, int64_t i, double *g) {
  int64_t pair = (i + 1) / 2 - 1; /* -1: 0 */
  if (i == f->side - 1) {
    g[0] = g[1] = 0;
    g[2] = 1;
    return;
  }
  double p = pair < 0 ? 0 : f->point[pair], d = pair < 0 ? 1 : 2 * p * p;
  for (int64_t k = 0; k < f->pairs; k++)
    if (k != pair) d *= p * p - f->point[k] * f->point[k];
  g[0] = 1 / d;
  g[1] = (i % 2 ? p : -p) / d;
  g[2] = p * p / d;
}

/* One element of the transform of a filter: its row of G and its column. */
static double element(const float *w, const double *row, const double *col) {
  double sum = 0;
  for (int i = 0; i < T; i++)
    for (int j = 0; j < T; j++)
      sum += row[i] * col[j] * (double)w[i * T + j];
  return sum;
}

static bool winograd_size(const prn_packing *p, int64_t *bytes) {
  const prn_winograd *f = prn_winograd_of(p->tile);
  int64_t n;
  return f && prn_packing_is_matrix(p) && p->nk && p->k % WINDOW == 0 &&
         p->dtype == PRN_F32 && p->group > 0 &&
         p->group <= PRN_PACK_GROUP_MAX && p->nr > 0 && p->nr % p->group == 0 &&
         prn_add_i64(p->n, p->group - 1, &n) &&
         prn_mul_i64(p->k / WINDOW, n / p->group * p->group, &n) &&
         prn_mul_i64(n, f->side * f->side * (int64_t)sizeof(float), bytes);
}

typedef struct writer {
  const prn_packing *p;
  const prn_winograd *f;
  float *in, *out; /* a group: its taps, one element of all its filters */
  prn_pack_put *put;
  void *user;
} writer;

static void put_group(const writer *w, int64_t n0, const double *row,
                      const double *col) {
  int64_t k = w->p->k, group = w->p->group, channels = k / WINDOW;
  prn_packing_rows(w->p, n0, group, w->in);
  for (int64_t i = 0; i < channels; i++)
    for (int64_t r = 0; r < group; r++)
      w->out[i * group + r] =
          (float)element(w->in + r * k + i * WINDOW, row, col);
  w->put(w->user, w->out, (size_t)(group * channels) * sizeof *w->out);
}

/* Reads the weights of a panel once for every element: what is made of them is
 * far larger than what is kept here. */
static void winograd_write(const prn_packing *p, prn_pack_put *put,
                           void *user) {
  writer w = {.p = p, .f = prn_winograd_of(p->tile), .put = put, .user = user};
  size_t taps = prn_array_size((size_t)p->group, (size_t)p->k);
  w.in = prn_alloc(prn_array_size(taps, sizeof *w.in));
  w.out = prn_alloc(prn_array_size(taps / WINDOW, sizeof *w.out));
  for (int64_t n0 = 0; n0 < p->n; n0 += p->nr)
    for (int64_t e = 0; e < w.f->side * w.f->side; e++) {
      double row[T], col[T];
      taps_row(w.f, e / w.f->side, row);
      taps_row(w.f, e % w.f->side, col);
      for (int64_t n = n0; n < n0 + p->nr && n < p->n; n += p->group)
        put_group(&w, n, row, col);
    }
  prn_free(w.out);
  prn_free(w.in);
}

const prn_pack_format prn_pack_winograd = {"winograd", winograd_size,
                                           winograd_write, true};
