/* Few rows by weights that are there or not, bit by bit: the format `bitmask`
 * (ir/pack/bitmask.c), a panel an item.
 *
 * A vector of weights is read where its first one lies and spread to where
 * the bits of its mask are set (vexpandps, from a register: from memory the
 * instruction is slow on some processors); the number of bits is how far the
 * values advance. Elsewhere the values are taken one by one. */
#include "backends/llvm/few.h"
#include "ir/pack/bitmask.h"

enum { LANES = 16, STEPS = 2 /* of the depth at a time */ };

static bool supported(const prn_target *t, const prn_packing *p) {
  (void)p;
  return t->avx512;
}

static int64_t width(const prn_target *t, const prn_packing *p) {
  (void)t;
  return prn_bitmask_width(p->nr);
}

static int64_t width_of(const prn_few *d) {
  return prn_bitmask_width(d->pack.nr);
}

typedef struct stream {
  prn_v masks; /* address, of this step of the depth */
  prn_v at;    /* address of the next value */
} stream;

/* The values from p on, in the lanes of mask; zeros between them. */
static prn_v spread(prn_cg *g, prn_v p, prn_v mask) {
  prn_t type = LLVMVectorType(g->f32, LANES);
  prn_v none = LLVMConstNull(type);
  if (!g->target->avx512)
    return prn_cg_intrinsic(g, "llvm.masked.expandload", type,
                            (prn_v[]){p, mask, none}, 3);
  return prn_cg_intrinsic(g, "llvm.x86.avx512.mask.expand", type,
                          (prn_v[]){prn_cg_load(g, type, p), none, mask}, 3);
}

/* Reads one vector of weights and advances. */
static prn_v expand(prn_cg *g, stream *s, unsigned v) {
  prn_t bits = LLVMVectorType(g->i1, LANES);
  prn_v mask = prn_cg_load(g, g->i16, cg_at(g, g->i16, s->masks, cg_i64(g, v)));
  prn_v w = spread(g, s->at, LLVMBuildBitCast(g->b, mask, bits, ""));
  prn_v wide = LLVMBuildZExt(g->b, mask, g->i64, "");
  prn_v count = prn_cg_intrinsic(g, "llvm.ctpop", g->i64, &wide, 1);
  s->at = cg_at(g, g->f32, s->at, count);
  return w;
}

/* acc += one step of the depth, for all vectors and rows. */
static void step(prn_cg *g, const prn_few *d, stream *s, prn_v k, prn_v *acc) {
  unsigned vectors = (unsigned)(width_of(d) / LANES);
  prn_v a[PRN_FEW_ROWS];
  for (int64_t r = 0; r < d->m; r++)
    a[r] = prn_cg_splat(g, prn_few_element(g, d, r, k), LANES);
  for (unsigned v = 0; v < vectors; v++) {
    prn_v w = expand(g, s, v);
    for (int64_t r = 0; r < d->m; r++) {
      prn_v *sum = &acc[r * vectors + v];
      *sum = prn_cg_fma(g, a[r], w, *sum);
    }
  }
  s->masks = cg_at(g, g->i16, s->masks, cg_i64(g, vectors));
}

/* Steps [from, to), `by` at a time; state is the sums and the stream. */
static void steps(prn_cg *g, const prn_few *d, int64_t from, int64_t to,
                  int64_t by, prn_v *state) {
  unsigned n = (unsigned)(d->m * width_of(d) / LANES);
  prn_loop l;
  prn_loop_begin(g, &l, cg_i64(g, from), cg_i64(g, to), by, state, n + 2);
  stream s = {l.cur[n], l.cur[n + 1]};
  prn_few_ask(g, s.at, by * width_of(d) / LANES * 3 / 4);
  if (by > 1) prn_few_ask(g, s.masks, 1);
  for (int64_t i = 0; i < by; i++)
    step(g, d, &s, prn_cg_add(g, l.iv, cg_i64(g, i)), l.next);
  l.next[n] = s.masks;
  l.next[n + 1] = s.at;
  prn_loop_end(g, &l);
  for (unsigned i = 0; i < n + 2; i++)
    state[i] = l.out[i];
}

static void rows(prn_cg *g, const prn_few *d, prn_v n0, prn_v cols) {
  int64_t k = d->pack.k, nr = width_of(d), words = nr / LANES;
  unsigned n = (unsigned)(d->m * words);
  prn_v state[PRN_LOOP_MAX], panel = prn_cg_div(g, n0, cg_i64(g, nr));
  for (unsigned i = 0; i < n; i++)
    state[i] = LLVMConstNull(LLVMVectorType(g->f32, LANES));
  prn_v start = prn_few_start(g, d->w, panel);
  state[n] = cg_at(g, g->i8, d->w,
                   prn_cg_add(g, cg_i64(g, prn_bitmask_masks(d->pack.n, nr)),
                              prn_cg_mul(g, panel, cg_i64(g, k * words * 2))));
  state[n + 1] =
      cg_at(g, g->i8, d->w,
            prn_cg_add(g, cg_i64(g, prn_bitmask_values(k, d->pack.n, nr)),
                       prn_cg_mul(g, start, cg_i64(g, LANES * sizeof(float)))));
  steps(g, d, 0, k / STEPS * STEPS, STEPS, state);
  steps(g, d, k / STEPS * STEPS, k, 1, state);
  for (unsigned i = 0; i < n; i++) {
    prn_v at = cg_i64(g, (int64_t)i % words * LANES);
    prn_v row = prn_cg_mul(g, d->c_row, cg_i64(g, (int64_t)i / words));
    prn_v p = cg_at(g, g->f32, d->c, prn_cg_add(g, row, at));
    prn_cg_store_masked(g, state[i], p,
                        prn_cg_tail_mask(g, LANES, prn_cg_sub(g, cols, at)));
  }
}

static void item(prn_cg *g, const prn_few *d, prn_v n0, prn_v cols) {
  int64_t some =
      prn_few_rows(g->target, d->m, width_of(d) / (int64_t)g->target->lanes);
  for (int64_t i = 0; i < d->m; i += some) {
    prn_few part = prn_few_from(g, d, i, d->m - i < some ? d->m - i : some);
    rows(g, &part, n0, cols);
  }
}

const prn_few_family prn_few_bitmask = {"bitmask", supported, width, item};
