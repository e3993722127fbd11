/* Sparse register tiling: the format `srt` (ir/pack/srt.h). */
#include <assert.h>

#include "backends/llvm/linear_sparse.h"
#include "ir/pack/srt.h"

static unsigned rows_of(const prn_target *t, const prn_packing *p) {
  (void)t;
  return (unsigned)p->group;
}

/* Accumulators, a vector of x for each and a broadcast fit the registers: 32
 * with AVX-512 and on AArch64, else 16. */
static unsigned vectors_of(const prn_target *t, const prn_packing *p) {
  bool many = t->avx512 || t->arch == PRN_ARCH_AARCH64;
  if (many) return 4;
  return p->group > 3 ? 2 : 3;
}

/* Where the streams of a record are being read. */
typedef struct cursor {
  prn_v index; /* base of the indices */
  prn_v at;    /* number of the next */
  prn_v value; /* address of the next */
} cursor;

static prn_v load_index(prn_cg *g, const prn_sparse_tile *t, prn_v base,
                        prn_v at) {
  if (t->pack->offsets)
    return LLVMBuildSExt(
        g->b, prn_cg_load(g, g->i32, cg_at(g, g->i32, base, at)), g->i64, "");
  return LLVMBuildZExt(g->b, prn_cg_load(g, g->i16, cg_at(g, g->i16, base, at)),
                       g->i64, "");
}

/* acc += the entries of one pattern, whose number is count. */
static void pattern(prn_cg *g, prn_sparse_tile *t, cursor *s, int pattern,
                    prn_v count) {
  unsigned n = 0, nv = t->vectors, at[PRN_SRT_MAX_GROUP];
  for (unsigned r = 0; r < t->rows; r++)
    if (pattern >> r & 1) at[n++] = r * nv;
  prn_v init[PRN_LOOP_MAX], x[PRN_SPARSE_VECTORS];
  for (unsigned j = 0; j < n; j++)
    for (unsigned v = 0; v < nv; v++)
      init[j * nv + v] = t->acc[at[j] + v];
  init[n * nv] = s->value;
  prn_v end = prn_cg_add(g, s->at, count);
  prn_loop l;
  prn_loop_begin(g, &l, s->at, end, 1, init, n * nv + 1);
  prn_sparse_load_x(g, t, load_index(g, t, s->index, l.iv), x);
  for (unsigned j = 0; j < n; j++) {
    prn_v w =
        prn_cg_load(g, g->f32, cg_at(g, g->f32, l.cur[n * nv], cg_i64(g, j)));
    prn_v b = prn_cg_splat(g, w, t->lanes);
    for (unsigned v = 0; v < nv; v++)
      l.next[j * nv + v] = prn_cg_fma(g, b, x[v], l.cur[j * nv + v]);
  }
  l.next[n * nv] = cg_at(g, g->f32, l.cur[n * nv], cg_i64(g, n));
  prn_loop_end(g, &l);
  for (unsigned j = 0; j < n; j++)
    for (unsigned v = 0; v < nv; v++)
      t->acc[at[j] + v] = l.out[j * nv + v];
  s->at = end;
  s->value = l.out[n * nv];
}

static prn_v count_of(prn_cg *g, prn_v w, int64_t i) {
  prn_v c = prn_cg_load(g, g->i16, cg_at(g, g->i16, w, cg_i64(g, i)));
  return LLVMBuildZExt(g->b, c, g->i64, "");
}

static prn_v record(prn_cg *g, prn_sparse_tile *t, prn_v w, unsigned part) {
  int order[1 << PRN_SRT_MAX_GROUP];
  int group = (int)t->pack->group, n = prn_srt_order(group, order);
  int64_t size = t->pack->offsets ? 4 : 2;
  (void)part;
  cursor s = {.at = cg_i64(g, 0)};
  s.index = cg_at(g, g->i16, w, cg_i64(g, 1 << group));
  s.value = cg_at(g, g->i8, s.index,
                  prn_cg_mul(g, count_of(g, w, 0), cg_i64(g, size)));
  for (int i = 0; i < n; i++)
    pattern(g, t, &s, order[i], count_of(g, w, order[i]));
  return s.value;
}

static const prn_sparse_kind kind = {"srt", rows_of, vectors_of, record};

static int64_t columns(const prn_target *t, const prn_packing *p, int64_t m) {
  return prn_sparse_columns(&kind, t, p, m);
}

static int64_t rows(const prn_target *t, const prn_packing *p) {
  (void)t;
  return p->nr;
}

static void item(prn_cg *g, const prn_linear *d, int64_t cols_max, prn_v n0,
                 prn_v n1, prn_v m0, prn_v cols) {
  prn_sparse_item(g, &kind, d, cols_max, n0, n1, m0, cols);
}

const prn_linear_family prn_linear_srt = {"srt", columns, rows, item, NULL};
