#include "ir/sparsity.h"

#include <assert.h>

/* 64 counters side by side: plane p holds bit p of each. */
typedef struct counters {
  uint64_t plane[64];
  uint32_t used;
} counters;

static void count_lanes(counters *c, uint64_t v) {
  for (uint32_t p = 0; v; p++) {
    if (p == c->used) c->plane[c->used++] = 0;
    uint64_t carry = c->plane[p] & v;
    c->plane[p] ^= v;
    v = carry;
  }
}

/* The largest counter; *lane is the first that has it. Unused lanes are 0. */
static int64_t largest(const counters *c, uint32_t *lane) {
  uint64_t best = ~(uint64_t)0;
  int64_t value = 0;
  for (uint32_t p = c->used; p-- > 0;) {
    value *= 2;
    if (c->plane[p] & best) {
      best &= c->plane[p];
      value++;
    }
  }
  *lane = (uint32_t)__builtin_ctzll(best);
  return value;
}

/* Running maximum over groups. */
typedef struct record {
  int64_t best, at;
} record;

static void note(record *r, int64_t value, int64_t at) {
  if (value <= r->best) return;
  r->best = value;
  r->at = at;
}

/* Groups of m along the axis, inner > 1: 64 neighbours at a time. */
static void scan_strided(const void *bits, prn_axis_view v, int64_t m,
                         int64_t stop, record *r) {
  int64_t count = v.outer * v.length * v.inner;
  for (int64_t o = 0; o < v.outer; o++)
    for (int64_t g = 0; g < v.length; g += m) {
      int64_t size = v.length - g < m ? v.length - g : m;
      int64_t base = (o * v.length + g) * v.inner;
      for (int64_t i = 0; i < v.inner; i += 64) {
        uint32_t lanes = v.inner - i < 64 ? (uint32_t)(v.inner - i) : 64;
        uint32_t lane = 0;
        counters c = {.used = 0};
        for (int64_t k = 0; k < size; k++)
          count_lanes(
              &c, prn_bits_load(bits, count, base + k * v.inner + i, lanes));
        int64_t value = largest(&c, &lane);
        note(r, value, base + i + lane);
      }
      if (r->best > stop) return;
    }
}

/* Groups of m neighbours, m a power of two up to 64, no group cut short: the
 * fields of a word are added up in parallel. */
static void scan_fields(const void *bits, int64_t count, uint32_t m,
                        int64_t stop, record *r) {
  static const uint64_t halves[] = {0x5555555555555555u, 0x3333333333333333u,
                                    0x0f0f0f0f0f0f0f0fu, 0x00ff00ff00ff00ffu,
                                    0x0000ffff0000ffffu, 0x00000000ffffffffu};
  uint64_t low = m == 64 ? 1 : ~(uint64_t)0 / (((uint64_t)1 << m) - 1);
  for (int64_t at = 0; at < count && r->best <= stop; at += 64) {
    uint64_t w = prn_bits_load(bits, count, at, 64);
    counters c = {.used = 0};
    uint32_t lane = 0;
    for (uint32_t s = 1, k = 0; s < m; s *= 2, k++)
      w = (w & halves[k]) + (w >> s & halves[k]);
    for (uint32_t p = 0; (1u << p) <= m; p++)
      c.plane[c.used++] = w >> p & low;
    int64_t value = largest(&c, &lane);
    note(r, value, at + lane);
  }
}

/* Groups of m neighbours, any m, cut short at the end of each line. */
static void scan_lines(const void *bits, prn_axis_view v, int64_t m,
                       int64_t stop, record *r) {
  int64_t count = v.outer * v.length;
  for (int64_t o = 0; o < v.outer; o++)
    for (int64_t g = 0; g < v.length && r->best <= stop; g += m) {
      int64_t size = v.length - g < m ? v.length - g : m, value = 0;
      int64_t base = o * v.length + g;
      for (int64_t k = 0; k < size; k += 64) {
        uint32_t n = size - k < 64 ? (uint32_t)(size - k) : 64;
        uint64_t w = prn_bits_load(bits, count, base + k, n);
        value += prn_bits_count(&w, n);
      }
      note(r, value, base);
    }
}

int64_t prn_bits_max_group(const void *bits, prn_axis_view v, int64_t m,
                           int64_t stop, int64_t *at) {
  record r = {0, 0};
  assert(m > 0);
  if (v.outer > 0 && v.length > 0 && v.inner > 0) {
    if (v.inner > 1)
      scan_strided(bits, v, m, stop, &r);
    else if (m > 1 && m <= 64 && (m & (m - 1)) == 0 && v.length % m == 0)
      scan_fields(bits, v.outer * v.length, (uint32_t)m, stop, &r);
    else
      scan_lines(bits, v, m, stop, &r);
  }
  if (at) *at = r.at;
  return r.best;
}

static int64_t dim_at(const prn_type *type, int32_t i) {
  int64_t d = 0;
  bool known = prn_dim_is_const(type->dims[i], &d);
  assert(known);
  (void)known;
  return d;
}

prn_axis_view prn_axis_view_of(const prn_type *type, int32_t axis) {
  prn_axis_view v = {1, dim_at(type, axis), 1};
  for (int32_t i = 0; i < axis; i++)
    v.outer *= dim_at(type, i);
  for (int32_t i = axis + 1; i < type->rank; i++)
    v.inner *= dim_at(type, i);
  return v;
}

static const char *misfit(const prn_type *type, prn_sparsity s) {
  if (s.kind == PRN_SPARSE_NONE) return NULL;
  if (!prn_type_is_static(type)) return "the shape is not fully known";
  if (type->dtype == PRN_STRING) return "strings have no zeros";
  if (s.kind == PRN_SPARSE_NM) {
    if (s.n < 1 || s.m < 2 || s.n >= s.m) return "n:m needs 1 <= n < m";
    if (s.axis < 0 || s.axis >= type->rank)
      return "the axis is outside the shape";
  }
  if (s.kind == PRN_SPARSE_BLOCK) {
    if (s.rows < 1 || s.cols < 1) return "a block has at least one element";
    if (type->rank < 2) return "blocks need at least two axes";
  }
  return NULL;
}

bool prn_sparsity_fits(const prn_type *type, prn_sparsity s, const char **why) {
  const char *text = misfit(type, s);
  if (why) *why = text;
  return !text;
}

/* Set bits in the tile [r0, r1) x [c0, c1) of a matrix at `base`. */
static int64_t count_tile(const void *bits, int64_t count, int64_t base,
                          int64_t cols, const int64_t r[2],
                          const int64_t c[2]) {
  int64_t n = 0;
  for (int64_t i = r[0]; i < r[1]; i++)
    for (int64_t j = c[0]; j < c[1]; j += 64) {
      uint32_t k = c[1] - j < 64 ? (uint32_t)(c[1] - j) : 64;
      uint64_t w = prn_bits_load(bits, count, base + i * cols + j, k);
      n += prn_bits_count(&w, k);
    }
  return n;
}

static bool tiles_hold(const void *bits, const prn_type *type, prn_sparsity s,
                       int64_t *at) {
  prn_axis_view v = prn_axis_view_of(type, type->rank - 2);
  int64_t rows = v.length, cols = v.inner, count = v.outer * rows * cols;
  for (int64_t o = 0; o < v.outer; o++)
    for (int64_t i = 0; i < rows; i += s.rows)
      for (int64_t j = 0; j < cols; j += s.cols) {
        int64_t r[2] = {i, rows - i < s.rows ? rows : i + s.rows};
        int64_t c[2] = {j, cols - j < s.cols ? cols : j + s.cols};
        int64_t n = count_tile(bits, count, o * rows * cols, cols, r, c);
        if (n == 0 || n == (r[1] - r[0]) * (c[1] - c[0])) continue;
        *at = (o * rows + i) * cols + j;
        return false;
      }
  return true;
}

bool prn_bits_hold(const void *bits, const prn_type *type, prn_sparsity s,
                   int64_t *at) {
  if (s.kind == PRN_SPARSE_BLOCK) return tiles_hold(bits, type, s, at);
  return prn_bits_max_group(bits, prn_axis_view_of(type, s.axis), s.m, s.n,
                            at) <= s.n;
}

prn_claim prn_sparsity_check(const prn_tensor *t, prn_sparsity s, int64_t *at) {
  int64_t where = 0;
  assert(prn_sparsity_fits(t->type, s, NULL));
  if (!at) at = &where;
  if (s.kind == PRN_SPARSE_NONE || s.kind == PRN_SPARSE_UNSTRUCTURED)
    return PRN_CLAIM_HOLDS;
  if (t->mask && prn_bits_hold(t->mask->data, t->type, s, at))
    return PRN_CLAIM_HOLDS;
  unsigned char *bits = prn_tensor_nonzero_bits(t);
  if (!bits) return PRN_CLAIM_UNKNOWN;
  bool holds = prn_bits_hold(bits, t->type, s, at);
  prn_free(bits);
  return holds ? PRN_CLAIM_HOLDS : PRN_CLAIM_BROKEN;
}
