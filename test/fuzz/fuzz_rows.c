/* mem.norm, mem.softmax and mem.attention. */
#include <math.h>
#include <string.h>

#include "ir/support/arena.h"
#include "test/fuzz/fuzz.h"

static int draw_shape(fuzz_case *c, fuzz_dim *dims) {
  int rank = 1 + (int)fuzz_below(c, 4);
  for (int i = 0; i < rank; i++) {
    int64_t most = i + 1 == rank ? 300 : i ? 20 : 3;
    dims[i] = fuzz_maybe_symbol(c, fuzz_size(c, most), 0.3);
    prn_strbuf_fmt(&c->note, " %lld", (long long)dims[i].n);
  }
  return rank;
}

/* Operands of most shapes repeat along some dimensions. */
static unsigned some_layout(fuzz_case *c) {
  return fuzz_chance(c, 0.6) ? FUZZ_UNIT : FUZZ_ANY;
}

void fuzz_softmax(fuzz_case *c) {
  fuzz_dim dims[4];
  int rank = draw_shape(c, dims);
  fuzz_view x = fuzz_operand(c, rank, dims, some_layout(c), 0);
  fuzz_view y = fuzz_operand(c, rank, dims, some_layout(c) | FUZZ_OUTPUT, 0);
  bool logs = fuzz_chance(c, 0.3);
  prn_strbuf_fmt(&c->ops, "    mem.softmax(%s, %s) {log = %s}\n", x.name,
                 y.name, logs ? "true" : "false");
  int64_t index[FUZZ_RANK] = {0}, n = dims[rank - 1].n;
  do {
    double most = -INFINITY, sum = 0;
    int64_t *i = &index[rank - 1];
    for (*i = 0; *i < n; ++*i)
      most = fmax(most, fuzz_get(c, &x, index));
    for (*i = 0; *i < n; ++*i)
      sum += exp(fuzz_get(c, &x, index) - most);
    for (*i = 0; *i < n; ++*i) {
      double v = fuzz_get(c, &x, index) - most;
      fuzz_want(c, &y, index, logs ? v - log(sum) : exp(v) / sum);
    }
    *i = n - 1;
  } while (fuzz_next(rank, dims, index));
}

void fuzz_norm(fuzz_case *c) {
  static const double epsilon = 1e-5;
  fuzz_dim dims[4];
  int rank = draw_shape(c, dims);
  int64_t n = dims[rank - 1].n;
  bool rms = fuzz_chance(c, 0.4), scaled = fuzz_chance(c, 0.8);
  bool biased = fuzz_chance(c, 0.6);
  fuzz_view x = fuzz_operand(c, rank, dims, some_layout(c), 0), scale, bias;
  fuzz_view y = fuzz_operand(c, rank, dims, some_layout(c) | FUZZ_OUTPUT, 0);
  if (scaled) scale = fuzz_operand(c, rank, dims, FUZZ_REPEAT, rank - 1);
  if (biased) bias = fuzz_operand(c, rank, dims, FUZZ_REPEAT, rank - 1);
  prn_strbuf_fmt(&c->ops,
                 "    mem.norm(%s, %s, %s, %s) {epsilon = 1e-05, "
                 "rms = %s}\n",
                 x.name, y.name, scaled ? scale.name : "_",
                 biased ? bias.name : "_", rms ? "true" : "false");
  int64_t index[FUZZ_RANK] = {0};
  /* Two equal values: what is left of them are rounding errors. */
  if (n < 4 && !rms) c->limit = 1e-2;
  do {
    double mean = 0, square = 0;
    int64_t *i = &index[rank - 1];
    for (*i = 0; *i < n && !rms; ++*i)
      mean += fuzz_get(c, &x, index) / (double)n;
    for (*i = 0; *i < n; ++*i)
      square += pow(fuzz_get(c, &x, index) - mean, 2) / (double)n;
    for (*i = 0; *i < n; ++*i) {
      double v = (fuzz_get(c, &x, index) - mean) / sqrt(square + epsilon);
      if (scaled) v *= fuzz_get(c, &scale, index);
      if (biased) v += fuzz_get(c, &bias, index);
      fuzz_want(c, &y, index, v);
    }
    *i = n - 1;
  } while (fuzz_next(rank, dims, index));
}

/* ---- attention ---- */

typedef struct attention {
  int batch;
  fuzz_dim lead[2], i, j, d, e;
  fuzz_view q, k, v, out;
  fuzz_epilogue epilogue;
} attention;

static fuzz_view operand(fuzz_case *c, const attention *a, fuzz_dim rows,
                         fuzz_dim cols, unsigned layout) {
  fuzz_dim dims[4] = {a->lead[0], a->lead[1]};
  dims[a->batch] = rows;
  dims[a->batch + 1] = cols;
  return fuzz_operand(c, a->batch + 2, dims, layout, a->batch);
}

/* The row of weights of query `index` into w. */
static void weights(const fuzz_case *c, const attention *a,
                    const int64_t *index, double *w) {
  int64_t q[FUZZ_RANK], k[FUZZ_RANK], s[FUZZ_RANK];
  int b = a->batch;
  double most = -INFINITY, sum = 0;
  memcpy(q, index, sizeof q);
  memcpy(k, index, sizeof k);
  memcpy(s, index, sizeof s);
  for (int64_t j = 0; j < a->j.n; j++) {
    double dot = 0;
    k[b] = s[b + 1] = j;
    for (int64_t d = 0; d < a->d.n; d++) {
      q[b + 1] = k[b + 1] = d;
      dot += fuzz_get(c, &a->q, q) * fuzz_get(c, &a->k, k);
    }
    w[j] = fuzz_epilogue_apply(c, &a->epilogue, s, dot);
    most = fmax(most, w[j]);
  }
  for (int64_t j = 0; j < a->j.n; j++)
    sum += w[j] = most > -HUGE_VAL ? exp(w[j] - most) : 0;
  for (int64_t j = 0; j < a->j.n; j++)
    w[j] /= sum > 0 ? sum : 1;
}

static void refer(fuzz_case *c, const attention *a) {
  int64_t index[FUZZ_RANK] = {0}, at[FUZZ_RANK];
  int b = a->batch;
  double *w = prn_alloc((size_t)a->j.n * sizeof *w);
  do {
    weights(c, a, index, w);
    for (int64_t e = 0; e < a->e.n; e++) {
      double sum = 0;
      memcpy(at, index, sizeof at);
      at[b + 1] = e;
      for (int64_t j = 0; j < a->j.n; j++) {
        at[b] = j;
        sum += w[j] * fuzz_get(c, &a->v, at);
      }
      index[b + 1] = e;
      fuzz_want(c, &a->out, index, sum);
    }
  } while (fuzz_next(b + 2, a->out.dims, index));
  prn_free(w);
}

/* A mask that is added: 0, or -infinity for what is hidden. */
static void draw_mask(fuzz_case *c, attention *a, const fuzz_dim *dims) {
  fuzz_epilogue *e = &a->epilogue;
  int rank = a->batch + 2;
  *e = (fuzz_epilogue){.num_steps = 1, .num_extras = 1};
  memcpy(e->steps[0].what, "add", 4);
  e->extras[0] = fuzz_operand(c, rank, dims, FUZZ_REPEAT, -1);
  double share = fuzz_chance(c, 0.5) ? 0.9 : 0.3;
  int64_t index[FUZZ_RANK] = {0};
  do
    c->arrays[e->extras[0].array].data[fuzz_at(&e->extras[0], index)] =
        fuzz_chance(c, share) ? -INFINITY : 0;
  while (fuzz_next(rank, dims, index));
  prn_strbuf_fmt(&c->note, " mask %g", share);
}

void fuzz_attention(fuzz_case *c) {
  attention a = {.batch = (int)fuzz_below(c, 3)};
  for (int i = 0; i < a.batch; i++)
    a.lead[i] = fuzz_maybe_symbol(c, 1 + fuzz_below(c, 3), 0.3);
  int64_t queries = fuzz_chance(c, 0.3) ? 1 : fuzz_size(c, 150);
  a.i = fuzz_maybe_symbol(c, queries, 0.4);
  a.j = fuzz_maybe_symbol(c, fuzz_size(c, 200), 0.4);
  a.d = fuzz_number(fuzz_size(c, 64));
  a.e = fuzz_number(fuzz_size(c, 64));
  prn_strbuf_fmt(&c->note, " i%lld j%lld d%lld e%lld", (long long)a.i.n,
                 (long long)a.j.n, (long long)a.d.n, (long long)a.e.n);
  a.q = operand(c, &a, a.i, a.d, FUZZ_REPEAT);
  a.k = operand(c, &a, a.j, a.d, FUZZ_REPEAT);
  a.v = operand(c, &a, a.j, a.e, FUZZ_REPEAT);
  a.out = operand(c, &a, a.i, a.e, FUZZ_OUTPUT);
  fuzz_dim dims[4] = {a.lead[0], a.lead[1]};
  dims[a.batch] = a.i;
  dims[a.batch + 1] = a.j;
  bool masked = fuzz_chance(c, 0.4);
  if (masked)
    draw_mask(c, &a, dims);
  else
    fuzz_epilogue_draw(c, &a.epilogue, a.batch + 2, dims, 0);
  prn_strbuf_fmt(&c->ops, "    mem.attention(%s, %s, %s, %s", a.q.name,
                 a.k.name, a.v.name, a.out.name);
  fuzz_epilogue_operands(c, &a.epilogue);
  prn_strbuf_cstr(&c->ops, masked ? ") {zero_hidden = true" : ") {");
  fuzz_epilogue_body(c, &a.epilogue);
  refer(c, &a);
}
