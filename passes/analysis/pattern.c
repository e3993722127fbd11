#include "passes/analysis/pattern.h"

static bool bit(const unsigned char *bits, int64_t i) {
  return bits[i >> 3] >> (i & 7) & 1;
}

/* How many of the n lines at `lines` have no bit set; a line's entries lie at
 * `places` from its own offset. */
static int64_t zero_lines(const unsigned char *bits, const int64_t *lines,
                          int64_t n, const int64_t *places, int64_t size) {
  int64_t zeros = 0;
  for (int64_t i = 0; i < n; i++) {
    bool any = false;
    for (int64_t k = 0; k < size && !any; k++)
      any = bit(bits, lines[i] + places[k]);
    zeros += !any;
  }
  return zeros;
}

static bool count_lines(const prn_site *s, const unsigned char *bits,
                        prn_pattern *p) {
  if (s->layout.rank == 0 || p->entries == 0) return true;
  int64_t *rows =
      prn_layout_offsets(&s->layout, prn_site_axes(s, PRN_ROLES_ROW), &p->rows);
  int64_t *cols =
      prn_layout_offsets(&s->layout, prn_site_axes(s, PRN_ROLES_COL), &p->cols);
  bool ok = rows && cols;
  if (ok && p->rows * p->cols == p->entries) {
    p->zero_rows = zero_lines(bits, rows, p->rows, cols, p->cols);
    p->zero_cols = zero_lines(bits, cols, p->cols, rows, p->rows);
  }
  prn_free(rows);
  prn_free(cols);
  return ok;
}

/* Zeros that lie in a zero row or column. */
static int64_t zeros_in_lines(const prn_pattern *p) {
  return p->zero_rows * p->cols + p->zero_cols * p->rows -
         p->zero_rows * p->zero_cols;
}

/* The largest tiles that are all zero or all kept. */
static bool find_block(const prn_type *type, const unsigned char *bits,
                       prn_sparsity *out) {
  static const int32_t sizes[] = {32, 16, 8, 4, 2, 1};
  int32_t most = 1;
  int64_t at;
  for (size_t i = 0; type->rank >= 2 && i < PRN_COUNT(sizes); i++)
    for (size_t k = 0; k < PRN_COUNT(sizes); k++) {
      prn_sparsity s = {
          .kind = PRN_SPARSE_BLOCK, .rows = sizes[i], .cols = sizes[k]};
      prn_axis_view v = prn_axis_view_of(type, type->rank - 2);
      bool larger =
          s.rows * s.cols > most && s.rows <= v.length && s.cols <= v.inner;
      if (!larger || !prn_bits_hold(bits, type, s, &at)) continue;
      most = s.rows * s.cols;
      *out = s;
    }
  return most > 1;
}

/* The axis and group size that bound the entries left best. Chance bounds
 * that are far above the density are none. */
static bool find_nm(const prn_type *type, const unsigned char *bits,
                    double density, prn_sparsity *out) {
  static const int32_t sizes[] = {2, 4, 8, 16, 32};
  double best = 1;
  for (int32_t axis = 0; axis < type->rank; axis++)
    for (size_t k = 0; k < PRN_COUNT(sizes); k++) {
      int32_t m = sizes[k];
      prn_axis_view v = prn_axis_view_of(type, axis);
      if (v.length < m) continue;
      int32_t n = (int32_t)prn_bits_max_group(bits, v, m, m - 1, NULL);
      double share = (double)n / m;
      if (n >= m || share >= best || density < 0.8 * share) continue;
      best = share;
      *out =
          (prn_sparsity){.kind = PRN_SPARSE_NM, .n = n, .m = m, .axis = axis};
    }
  return best < 1;
}

static void classify(const prn_site *s, const unsigned char *bits,
                     prn_pattern *p) {
  const prn_type *type = prn_site_tensor(s)->type;
  int64_t zeros = p->entries - p->nonzeros;
  double density = (double)p->nonzeros / (double)p->entries;
  p->kind = PRN_PATTERN_UNSTRUCTURED;
  p->sparsity = type->sparsity;
  if (p->nonzeros == 0)
    p->kind = PRN_PATTERN_ZERO;
  else if (type->sparsity.kind == PRN_SPARSE_NM)
    p->kind = PRN_PATTERN_NM; /* the verifier has checked it */
  else if (zeros_in_lines(p) == zeros)
    p->kind = PRN_PATTERN_VECTORS;
  else if (find_block(type, bits, &p->sparsity))
    p->kind = PRN_PATTERN_BLOCK;
  else if (find_nm(type, bits, density, &p->sparsity))
    p->kind = PRN_PATTERN_NM;
}

bool prn_pattern_of(const prn_site *s, prn_pattern *out) {
  const prn_tensor *t = prn_site_tensor(s);
  *out = (prn_pattern){.entries = prn_tensor_count(t)};
  unsigned char *bits = prn_tensor_nonzero_bits(t);
  if (!bits) return false;
  out->nonzeros = prn_bits_count(bits, out->entries);
  bool ok = true;
  /* trained weights have a few zeros by chance */
  if (out->entries - out->nonzeros > out->entries / 100) {
    ok = count_lines(s, bits, out);
    if (ok) classify(s, bits, out);
  }
  prn_free(bits);
  return ok;
}

void prn_pattern_print(prn_strbuf *b, const prn_pattern *p) {
  switch (p->kind) {
  case PRN_PATTERN_DENSE:
    prn_strbuf_cstr(b, "dense");
    break;
  case PRN_PATTERN_ZERO:
    prn_strbuf_cstr(b, "zero");
    break;
  case PRN_PATTERN_VECTORS:
    if (p->zero_rows)
      prn_strbuf_fmt(b, "%lld rows zero", (long long)p->zero_rows);
    if (p->zero_cols)
      prn_strbuf_fmt(b, "%s%lld columns zero", p->zero_rows ? ", " : "",
                     (long long)p->zero_cols);
    break;
  case PRN_PATTERN_BLOCK:
    prn_strbuf_fmt(b, "block %dx%d", p->sparsity.rows, p->sparsity.cols);
    break;
  case PRN_PATTERN_NM:
    prn_strbuf_fmt(b, "%d:%d axis %d", p->sparsity.n, p->sparsity.m,
                   p->sparsity.axis);
    break;
  case PRN_PATTERN_UNSTRUCTURED:
    prn_strbuf_cstr(b, "unstructured");
    break;
  }
}
