/* Columns in cells; see linear_cells.h. */
#include "backends/llvm/linear_cells.h"

prn_cells prn_cells_of(const prn_target *t, const prn_packing *p) {
  if (p->dtype == PRN_F32) return (prn_cells){PRN_DOT_F32, 1, 1, false};
  if (p->dtype == PRN_I8) return (prn_cells){PRN_DOT_U8S8, 4, 1, false};
  if (p->dtype == PRN_BF16 && t->dot16)
    return (prn_cells){PRN_DOT_BF16, 2, 1, false};
  return (prn_cells){PRN_DOT_F32, 2, 2, true};
}

int64_t prn_cells_count(const prn_cells *s, const prn_packing *p) {
  return (p->k + s->cell - 1) / s->cell;
}

int64_t prn_cells_bytes(const prn_cells *s, const prn_packing *p,
                        int64_t width) {
  return (prn_cells_count(s, p) * s->subs * width * 4 + 63) / 64 * 64;
}

void prn_cells_pack(prn_cg *g, const prn_cells *s, const prn_linear *d,
                    prn_v m0, prn_v cols, prn_v width, prn_v out) {
  int64_t k = d->pack.k, rows = prn_cells_count(s, &d->pack) * s->subs;
  prn_v x = cg_at(g, s->kind == PRN_DOT_U8S8 ? g->i8 : g->f32, d->x, m0);
  prn_dot_pack(g, s->kind, x, d->x_row, k, cols, width, out);
  if (s->subs == 1 || k == rows) return;
  prn_loop l; /* the weights of the cell's second half are zeros: so is this */
  prn_v end = prn_cg_mul(g, width, cg_i64(g, k));
  prn_loop_begin(g, &l, end, prn_cg_add(g, end, width), g->target->lanes, NULL,
                 0);
  prn_cg_store(g, LLVMConstNull(g->vf), cg_at(g, g->f32, out, l.iv));
  prn_loop_end(g, &l);
}
