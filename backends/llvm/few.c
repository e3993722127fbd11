/* The table of families of few-row products, and what they share; see
 * few.h. */
#include "backends/llvm/few.h"

enum { LINE = 64 };

static const prn_few_family *const families[] = {
    &prn_few_bitmask,
    &prn_few_columns,
    &prn_few_gather,
};

const prn_few_family *prn_few_find(prn_str pack) {
  for (size_t i = 0; i < PRN_COUNT(families); i++)
    if (prn_str_is(pack, families[i]->pack)) return families[i];
  return NULL;
}

void prn_few_ask(prn_cg *g, prn_v p, int64_t lines) {
  for (int64_t i = 0; i < lines; i++)
    prn_cg_prefetch(g, cg_at(g, g->i8, p, cg_i64(g, PRN_FEW_AHEAD + i * LINE)));
}

prn_v prn_few_start(prn_cg *g, prn_v w, prn_v i) {
  prn_v at = prn_cg_load(g, g->i32, cg_at(g, g->i32, w, i));
  return LLVMBuildZExt(g->b, at, g->i64, "");
}

prn_v prn_few_element(prn_cg *g, const prn_few *d, int64_t row, prn_v k) {
  prn_v r = cg_at(g, g->f32, d->a, prn_cg_mul(g, d->a_row, cg_i64(g, row)));
  return prn_cg_load(g, g->f32,
                     cg_at(g, g->f32, r, prn_cg_mul(g, k, d->a_col)));
}

int64_t prn_few_rows(const prn_target *t, int64_t m, int64_t vectors) {
  int64_t most = (int64_t)(t->mr * t->nv) / vectors;
  if (most < 1) most = 1;
  return m < most ? m : most;
}

prn_few prn_few_from(prn_cg *g, const prn_few *d, int64_t i, int64_t rows) {
  prn_few part = *d;
  prn_v first = cg_i64(g, i);
  part.m = rows;
  part.a = cg_at(g, g->f32, d->a, prn_cg_mul(g, d->a_row, first));
  part.c = cg_at(g, g->f32, d->c, prn_cg_mul(g, d->c_row, first));
  return part;
}
