/* The transform of x; see conv_winograd.h.
 *
 * Channel by channel. Along the height, vectors run over pixels as they lie:
 * each row of tiles becomes `side` lines of pixels with the padding written
 * out. Along the width, vectors run over tiles: their pixels are split by
 * place in the tile. */
#include "backends/llvm/conv_winograd.h"

enum { UNROLLED = 16 }; /* vectors of a row whose places are constants */

static prn_v floats_at(prn_cg *g, prn_v p, prn_v at) {
  return cg_at(g, g->f32, p, at);
}

/* Zero rows and what lies right of the image in the lines. */
static void clear(const prn_winograd_item *t) {
  prn_cg *g = t->g;
  prn_loop l;
  prn_loop_begin(g, &l, cg_i64(g, 0), cg_i64(g, t->p->x_at), t->p->lanes, NULL,
                 0);
  prn_cg_store(g, LLVMConstNull(g->vf), floats_at(g, t->zeros, l.iv));
  prn_loop_end(g, &l);
}

/* ---- along the height ---- */

typedef struct rows {
  const prn_winograd_item *t;
  prn_v at[PRN_WINOGRAD_SIDE]; /* column 0 of each row of x */
  prn_v line;                  /* where the lines of this row of tiles begin */
} rows;

/* Which of the pixels from column `col` on are in the image; NULL: all. */
static prn_v inside(const prn_winograd_item *t, prn_v col) {
  prn_cg *g = t->g;
  int64_t c, lanes = t->p->lanes, w = t->p->s.w;
  prn_v bits[64];
  if (!prn_cg_is_const(col, &c)) {
    for (int64_t i = 0; i < lanes; i++)
      bits[i] = cg_i32(g, (int32_t)i);
    prn_v first = LLVMBuildTrunc(g->b, col, g->i32, "");
    prn_v at = LLVMBuildAdd(g->b, LLVMConstVector(bits, (unsigned)lanes),
                            prn_cg_splat(g, first, (unsigned)lanes), "");
    return cg_cmp(g, LLVMIntULT, at, prn_cg_iconst(LLVMTypeOf(at), w));
  }
  if (c >= 0 && c + lanes <= w) return NULL;
  for (int64_t i = 0; i < lanes; i++)
    bits[i] = LLVMConstInt(g->i1, c + i >= 0 && c + i < w, 0);
  return LLVMConstVector(bits, (unsigned)lanes);
}

/* The pixels from column `col` on, which are `to` in the lines. */
static void pixels(const rows *r, prn_v col, prn_v to, prn_v mask) {
  const prn_winograd_item *t = r->t;
  const prn_winograd *f = t->p->f;
  prn_cg *g = t->g;
  prn_v d[PRN_WINOGRAD_SIDE], out[PRN_WINOGRAD_SIDE];
  for (int64_t i = 0; i < f->side; i++)
    d[i] = prn_cg_load_masked(g, g->vf, floats_at(g, r->at[i], col), mask);
  prn_winograd_input(g, f, d, out);
  for (int64_t i = 0; i < f->side; i++)
    prn_cg_store(
        g, out[i],
        floats_at(g, r->line, prn_cg_add(g, to, cg_i64(g, i * t->p->line))));
}

/* The same where it is not known yet whether all of them are in the image. */
static void pixels_somewhere(const rows *r, prn_v col, prn_v to) {
  const prn_winograd_item *t = r->t;
  prn_cg *g = t->g;
  if (g->target->masks) {
    pixels(r, col, to, inside(t, col));
    return;
  }
  LLVMBasicBlockRef in = prn_cg_block(g, "inside"),
                    edge = prn_cg_block(g, "edge"),
                    next = prn_cg_block(g, "next");
  int64_t last = t->p->s.w - t->p->lanes;
  prn_v all = cg_cmp(g, LLVMIntULT, col, cg_i64(g, last < 0 ? 0 : last + 1));
  LLVMBuildCondBr(g->b, all, in, edge);
  LLVMPositionBuilderAtEnd(g->b, in);
  pixels(r, col, to, NULL);
  LLVMBuildBr(g->b, next);
  LLVMPositionBuilderAtEnd(g->b, edge);
  pixels(r, col, to, inside(t, col));
  LLVMBuildBr(g->b, next);
  LLVMPositionBuilderAtEnd(g->b, next);
}

static void all_pixels(const rows *r) {
  const prn_winograd_item *t = r->t;
  const prn_winograd_plan *p = t->p;
  prn_cg *g = t->g;
  int64_t width = p->line, there = p->s.w + p->s.pad_w;
  prn_v left = cg_i64(g, -p->s.pad_w);
  if (p->beside == 1 && there < width) width = there;
  if (p->beside == 1 && width <= UNROLLED * p->lanes) {
    for (int64_t v = 0; v < width; v += p->lanes) {
      prn_v col = cg_i64(g, v - p->s.pad_w);
      pixels(r, col, cg_i64(g, v), inside(t, col));
    }
    return;
  }
  prn_v first =
      prn_cg_add(g, left, prn_cg_mul(g, t->strip, cg_i64(g, p->strip)));
  prn_loop l;
  prn_loop_begin(g, &l, cg_i64(g, 0), cg_i64(g, width), p->lanes, NULL, 0);
  pixels_somewhere(r, prn_cg_add(g, first, l.iv), l.iv);
  prn_loop_end(g, &l);
}

/* Row j of the block's tiles, channel k. */
static void along_height(const prn_winograd_item *t, prn_v k, prn_v j) {
  const prn_winograd_plan *p = t->p;
  const prn_view *x = &t->c->k->v[PRN_CONV_X];
  prn_cg *g = t->g;
  rows r = {.t = t};
  prn_v image, tile;
  int64_t side = p->f->side, most = p->s.h - side + 1;
  prn_winograd_row(t, j, &image, &tile);
  r.line = floats_at(g, t->lines, prn_cg_mul(g, j, cg_i64(g, side * p->line)));
  prn_v top = prn_cg_sub(g, prn_cg_mul(g, tile, cg_i64(g, p->f->m)),
                         cg_i64(g, p->s.pad_h));
  prn_v first = prn_cg_add(g, prn_cg_mul(g, image, x->strides[0]),
                           prn_cg_mul(g, k, x->strides[1]));
  prn_v base = floats_at(g, x->base, first);
  prn_v height = x->strides[2];
  LLVMBasicBlockRef in = prn_cg_block(g, "rows"),
                    edge = prn_cg_block(g, "some_rows"),
                    next = prn_cg_block(g, "next");
  prn_v all = cg_cmp(g, LLVMIntULT, top, cg_i64(g, most < 0 ? 0 : most));
  LLVMBuildCondBr(g->b, all, in, edge);
  LLVMPositionBuilderAtEnd(g->b, in);
  prn_v row = floats_at(g, base, prn_cg_mul(g, top, height));
  for (int64_t i = 0; i < side; i++)
    r.at[i] = floats_at(g, row, prn_cg_mul(g, cg_i64(g, i), height));
  all_pixels(&r);
  LLVMBuildBr(g->b, next);
  LLVMPositionBuilderAtEnd(g->b, edge);
  for (int64_t i = 0; i < side; i++) {
    prn_v line = prn_cg_add(g, top, cg_i64(g, i));
    prn_v there = cg_cmp(g, LLVMIntULT, line, cg_i64(g, p->s.h));
    prn_v to = LLVMBuildGEP2(g->b, g->f32, base,
                             (prn_v[]){prn_cg_mul(g, line, height)}, 1, "");
    r.at[i] = cg_select(g, there, to, t->zeros);
  }
  all_pixels(&r);
  LLVMBuildBr(g->b, next);
  LLVMPositionBuilderAtEnd(g->b, next);
}

/* ---- along the width ---- */

/* The pixels of all tiles of a vector from pixel `from` of each strip on. */
static prn_v strip_pixels(const prn_winograd_item *t, const prn_v *strips,
                          unsigned vector, int64_t from) {
  const prn_winograd_plan *p = t->p;
  prn_cg *g = t->g;
  prn_t type = prn_cg_vec(g->f32, (unsigned)p->strip);
  prn_v part[PRN_WINOGRAD_STRIPS];
  unsigned n = (unsigned)(p->lanes / p->strip);
  for (unsigned i = 0; i < n; i++)
    part[i] = prn_cg_load(
        g, type, floats_at(g, strips[vector * n + i], cg_i64(g, from)));
  for (; n > 1; n /= 2)
    for (unsigned i = 0; i < n / 2; i++)
      part[i] = prn_winograd_concat(g, part[2 * i], part[2 * i + 1]);
  return part[0];
}

/* Vector number v of tiles, channel k. */
static void along_width(const prn_winograd_item *t, prn_v k, prn_v v) {
  const prn_winograd_plan *p = t->p;
  const prn_winograd *f = p->f;
  prn_cg *g = t->g;
  prn_v strips[PRN_WINOGRAD_STRIPS], first[PRN_WINOGRAD_STRIPS];
  unsigned m = (unsigned)f->m;
  for (int64_t u = 0; u < p->per_vector; u++) {
    prn_v j, s;
    prn_winograd_strip(t, v, u, &j, &s);
    first[u] = prn_cg_add(g, prn_cg_mul(g, j, cg_i64(g, f->side * p->line)),
                          prn_cg_mul(g, s, cg_i64(g, p->strip)));
  }
  prn_v at = prn_cg_add(g, prn_cg_mul(g, k, cg_i64(g, p->vectors * p->lanes)),
                        prn_cg_mul(g, v, cg_i64(g, p->lanes)));
  prn_v to = floats_at(g, t->x, at);
  for (int64_t r = 0; r < f->side; r++) {
    prn_v pix[2][PRN_WINOGRAD_TILE], d[2 * PRN_WINOGRAD_TILE],
        out[PRN_WINOGRAD_SIDE];
    for (int64_t u = 0; u < p->per_vector; u++)
      strips[u] = floats_at(g, floats_at(g, t->lines, first[u]),
                            cg_i64(g, r * p->line));
    for (unsigned i = 0; i < m; i++) {
      pix[0][i] = strip_pixels(t, strips, i, 0);
      pix[1][i] = strip_pixels(t, strips, i, f->m);
    }
    prn_winograd_split(g, pix[0], m, m, d);
    prn_winograd_split(g, pix[1], m, 2, d + m);
    prn_winograd_input(g, f, d, out);
    for (int64_t i = 0; i < f->side; i++)
      prn_cg_store(g, out[i],
                   floats_at(g, to, cg_i64(g, (r * f->side + i) * p->x_step)));
  }
}

void prn_winograd_transform(const prn_winograd_item *t) {
  prn_cg *g = t->g;
  prn_loop lk, l;
  prn_v zero = cg_i64(g, 0);
  clear(t);
  prn_loop_begin(g, &lk, zero, cg_i64(g, t->p->s.cg), 1, NULL, 0);
  prn_loop_begin(g, &l, zero, cg_i64(g, t->p->rows), 1, NULL, 0);
  along_height(t, lk.iv, l.iv);
  prn_loop_end(g, &l);
  prn_loop_begin(g, &l, zero, cg_i64(g, t->p->vectors), 1, NULL, 0);
  along_width(t, lk.iv, l.iv);
  prn_loop_end(g, &l);
  prn_loop_end(g, &lk);
}
