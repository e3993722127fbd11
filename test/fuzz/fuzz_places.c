/* mem.scatter, mem.gather and mem.sort: what goes where. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "ir/support/arena.h"
#include "test/fuzz/fuzz.h"

static unsigned some_layout(fuzz_case *c) {
  return fuzz_chance(c, 0.5) ? FUZZ_UNIT : FUZZ_ANY;
}

static int64_t *counters(int rank, int64_t *index) {
  memset(index, 0, (size_t)rank * sizeof *index);
  return index;
}

/* Positions in [-n, n), as %name of i32 or i64. */
static fuzz_view draw_positions(fuzz_case *c, int rank, const fuzz_dim *dims,
                                int64_t n, const char *name) {
  fuzz_view v = fuzz_operand(c, rank, dims, FUZZ_ANY, -1);
  int64_t index[FUZZ_RANK] = {0};
  /* Few rows that are meant often, or any. */
  int64_t span = fuzz_chance(c, 0.3) ? 1 + fuzz_below(c, 3) : n;
  if (span > n) span = n;
  do
    c->arrays[v.array].data[fuzz_at(&v, index)] =
        (float)(fuzz_below(c, span) - (fuzz_chance(c, 0.3) ? n : 0));
  while (fuzz_next(rank, dims, index));
  fuzz_converted(c, &v, fuzz_chance(c, 0.5) ? "i64" : "i32", name);
  return v;
}

static int64_t position(const fuzz_case *c, const fuzz_view *v,
                        const int64_t *index, int64_t n) {
  int64_t i = (int64_t)fuzz_get(c, v, index);
  return i < 0 ? i + n : i;
}

/* ---- scatter ---- */

static double combined(const char *fn, double old, double x) {
  switch (fn[1]) {
  case 'd': /* add */
    return old + x;
  case 'u': /* mul */
    return old * x;
  case 'a': /* max */
    return fmax(old, x);
  case 'i': /* min */
    return fmin(old, x);
  default: /* set */
    return x;
  }
}

/* Update after update, for each column. */
static void refer_scatter(fuzz_case *c, const char *fn, const fuzz_view *base,
                          const fuzz_view *at, const fuzz_view *updates,
                          const fuzz_view *out) {
  int64_t rows = out->dims[0].n, index[FUZZ_RANK], row[2];
  double *want = c->arrays[out->array].want;
  counters(2, index);
  do
    fuzz_want(c, out, index, fuzz_get(c, base, index));
  while (fuzz_next(2, out->dims, index));
  counters(2, index);
  do {
    row[0] = position(c, at, index, rows);
    row[1] = index[1];
    double *to = &want[fuzz_at(out, row)];
    *to = combined(fn, *to, fuzz_get(c, updates, index));
  } while (fuzz_next(2, updates->dims, index));
}

void fuzz_scatter(fuzz_case *c) {
  static const char *const fns[] = {"set", "add", "mul", "max", "min"};
  const char *fn = fns[fuzz_below(c, PRN_COUNT(fns))];
  /* Workers share columns, 4096 at a time. */
  int64_t most = fuzz_chance(c, 0.1) ? 10000 : 300;
  fuzz_dim rows = fuzz_maybe_symbol(c, fuzz_size(c, 30), 0.3);
  fuzz_dim n = fuzz_maybe_symbol(c, fuzz_size(c, 40), 0.3);
  fuzz_dim cols = fuzz_maybe_symbol(c, fuzz_size(c, most), 0.3);
  fuzz_dim old[2] = {rows, cols}, new[2] = {n, cols};
  prn_strbuf_fmt(&c->note, " %s %lldx%lld by %lld", fn, (long long)rows.n,
                 (long long)cols.n, (long long)n.n);
  fuzz_view base = fuzz_operand(c, 2, old, FUZZ_REPEAT, -1);
  fuzz_view out = fuzz_operand(c, 2, old, some_layout(c) | FUZZ_OUTPUT, 0);
  fuzz_view updates = fuzz_operand(c, 2, new, some_layout(c) | FUZZ_REPEAT, -1);
  fuzz_view at = draw_positions(c, 1, &n, rows.n, "%at");
  prn_strbuf_fmt(&c->ops,
                 "    mem.map(%s, %s) {ins = 1, body = region<0>} {\n"
                 "    ^(%%b: f32):\n      nn.yield(%%b)\n    }\n"
                 "    mem.scatter(%%at, %s, %s) {fn = \"%s\"}\n",
                 base.name, out.name, updates.name, out.name, fn);
  refer_scatter(c, fn, &base, &at, &updates, &out);
}

/* ---- gather ---- */

/* Dimension `axis` of data gives way to those of the positions. */
static int gathered(const fuzz_dim *data, int rank, int axis,
                    const fuzz_dim *at, int more, fuzz_dim *out) {
  int n = 0;
  for (int i = 0; i < rank; i++)
    if (i != axis)
      out[n++] = data[i];
    else
      for (int k = 0; k < more; k++)
        out[n++] = at[k];
  return n;
}

void fuzz_gather(fuzz_case *c) {
  fuzz_dim data[3], at[2], out[4];
  int rank = 1 + (int)fuzz_below(c, 3), more = 1 + (int)fuzz_below(c, 2);
  int axis = (int)fuzz_below(c, rank);
  for (int i = 0; i < rank; i++)
    data[i] = fuzz_maybe_symbol(c, fuzz_size(c, i + 1 == rank ? 300 : 12), 0.2);
  for (int i = 0; i < more; i++)
    at[i] = fuzz_maybe_symbol(c, fuzz_size(c, 12), 0.2);
  int total = gathered(data, rank, axis, at, more, out);
  prn_strbuf_fmt(&c->note, " rank %d axis %d by %d", rank, axis, more);
  fuzz_view x = fuzz_operand(c, rank, data, some_layout(c) | FUZZ_REPEAT, -1);
  fuzz_view y = fuzz_operand(c, total, out, some_layout(c) | FUZZ_OUTPUT, 0);
  fuzz_view p = draw_positions(c, more, at, data[axis].n, "%at");
  prn_strbuf_fmt(&c->ops, "    mem.gather(%s, %%at, %s) {axis = %d}\n", x.name,
                 y.name, axis);
  int64_t index[FUZZ_RANK] = {0}, from[3];
  do {
    memcpy(from, index, (size_t)axis * sizeof *from);
    from[axis] = position(c, &p, index + axis, data[axis].n);
    for (int i = axis + 1; i < rank; i++)
      from[i] = index[i + more - 1];
    fuzz_want(c, &y, index, fuzz_get(c, &x, from));
  } while (fuzz_next(total, out, index));
}

/* ---- sort ---- */

typedef struct element {
  double x;
  int64_t at;
} element;

static int by_place(const element *a, const element *b) {
  return (a->at > b->at) - (a->at < b->at);
}

static int up(const void *a, const void *b) {
  const element *x = a, *y = b;
  return x->x != y->x ? (x->x > y->x ? 1 : -1) : by_place(x, y);
}

static int down(const void *a, const void *b) {
  const element *x = a, *y = b;
  return x->x != y->x ? (x->x < y->x ? 1 : -1) : by_place(x, y);
}

static void refer_sort(fuzz_case *c, int rank, bool descending,
                       const fuzz_view *x, const fuzz_view *values,
                       const fuzz_view *at) {
  int64_t index[FUZZ_RANK] = {0}, n = x->dims[rank - 1].n;
  int64_t *i = &index[rank - 1];
  element *row = prn_alloc(prn_array_size(sizeof *row, (size_t)n));
  do {
    for (*i = 0; *i < n; ++*i)
      row[*i] = (element){fuzz_get(c, x, index), *i};
    qsort(row, (size_t)n, sizeof *row, descending ? down : up);
    for (*i = 0; *i < n; ++*i) {
      fuzz_want(c, values, index, row[*i].x);
      fuzz_want(c, at, index, (double)row[*i].at);
    }
    *i = n - 1;
  } while (fuzz_next(rank, x->dims, index));
  prn_free(row);
}

/* Many elements are equal, and keep their order. */
static void make_ties(fuzz_case *c, const fuzz_view *x) {
  float steps = (float)(1 + fuzz_below(c, 8));
  int64_t index[FUZZ_RANK] = {0};
  do {
    float *v = &c->arrays[x->array].data[fuzz_at(x, index)];
    *v = floorf(*v * steps) / steps;
  } while (fuzz_next(x->rank, x->dims, index));
}

void fuzz_sort(fuzz_case *c) {
  fuzz_dim dims[3];
  int rank = 1 + (int)fuzz_below(c, 3);
  for (int i = 0; i < rank; i++) {
    int64_t most = i + 1 < rank ? 9 : fuzz_chance(c, 0.2) ? 3000 : 200;
    dims[i] = fuzz_maybe_symbol(c, fuzz_size(c, most), 0.3);
    prn_strbuf_fmt(&c->note, " %lld", (long long)dims[i].n);
  }
  bool descending = fuzz_chance(c, 0.5);
  fuzz_view x = fuzz_operand(c, rank, dims, some_layout(c), 0);
  fuzz_view values =
      fuzz_operand(c, rank, dims, some_layout(c) | FUZZ_OUTPUT, 0);
  fuzz_view at = fuzz_operand(c, rank, dims, some_layout(c) | FUZZ_OUTPUT, 0);
  if (fuzz_chance(c, 0.5)) make_ties(c, &x);
  fuzz_memory(c, &x, "i64", "%at");
  prn_strbuf_fmt(&c->ops,
                 "    mem.sort(%s, %s, %%at) {descending = %s}\n"
                 "    mem.map(%%at, %s) {ins = 1, body = region<0>} {\n"
                 "    ^(%%n: i64):\n      %%f = nn.cast(%%n) : f32\n"
                 "      nn.yield(%%f)\n    }\n",
                 x.name, values.name, descending ? "true" : "false", at.name);
  refer_sort(c, rank, descending, &x, &values, &at);
}
