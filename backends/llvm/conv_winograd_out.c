/* Back from products to results; see conv_winograd.h.
 *
 * Vectors run over tiles until both directions are transformed, then over
 * pixels as they are stored. Where the target masks stores, results that are
 * not there (tiles may reach past the image) are masked out; elsewhere the
 * pixels of a vector of tiles go through memory. */
#include "backends/llvm/conv_winograd.h"

typedef struct strip {
  prn_v base[PRN_KERNEL_MAX]; /* out and extras: first pixel, channel o */
  prn_v down, across;         /* pixels that are there from here on */
  prn_v mask;                 /* of those across; NULL: all */
} strip;

typedef struct out {
  const prn_winograd_item *t;
  strip strips[PRN_WINOGRAD_STRIPS];
  prn_conv_finish f;
  prn_v at[PRN_KERNEL_MAX]; /* the channel, in elements from base on */
  prn_v pixels;             /* memory, where tails are not masked */
} out;

/* The last tiles of a row or of a column may reach past the image. */
static bool ragged_across(const prn_winograd_plan *p) {
  return p->beside * p->across * p->strip != p->s.out_w;
}

static int64_t always_down(const prn_winograd_plan *p) {
  int64_t rest = p->s.out_h % p->f->m;
  return rest ? rest : p->f->m;
}

/* ---- places ---- */

static void locate(out *w, prn_v v, int64_t u, prn_v o) {
  const prn_winograd_item *t = w->t;
  const prn_winograd_plan *p = t->p;
  const prn_kernel *k = t->c->k;
  prn_cg *g = t->g;
  strip *s = &w->strips[u];
  prn_v j, number, image, row;
  prn_winograd_strip(t, v, u, &j, &number);
  prn_winograd_row(t, j, &image, &row);
  prn_v line = prn_cg_mul(g, row, cg_i64(g, p->f->m));
  prn_v col =
      prn_cg_mul(g, prn_cg_add(g, t->strip, number), cg_i64(g, p->strip));
  s->down = prn_cg_sub(g, cg_i64(g, p->s.out_h), line);
  s->across = prn_cg_sub(g, cg_i64(g, p->s.out_w), col);
  s->mask = g->target->masks && ragged_across(p)
                ? prn_cg_tail_mask(g, (unsigned)p->strip, s->across)
                : NULL;
  for (unsigned x = PRN_CONV_OUT; x < k->n; x++) {
    const prn_view *e = &k->v[x];
    prn_v at = prn_cg_add(g, prn_cg_mul(g, image, e->strides[0]),
                          prn_cg_mul(g, o, e->strides[1]));
    at = prn_cg_add(g, at, prn_cg_mul(g, line, e->strides[2]));
    at = prn_cg_add(g, at, prn_cg_mul(g, col, e->strides[3]));
    s->base[x] = prn_elem_at(g, e->type->dtype, e->base, at);
  }
}

/* Row i of the tiles of a strip. */
static void locate_row(out *w, const strip *s, prn_v i) {
  const prn_kernel *k = w->t->c->k;
  prn_cg *g = w->t->g;
  for (unsigned x = PRN_CONV_OUT; x < k->n; x++) {
    prn_v at = prn_cg_add(g, w->at[x], prn_cg_mul(g, i, k->v[x].strides[2]));
    w->f.row[x] = prn_elem_at(g, k->v[x].type->dtype, s->base[x], at);
  }
}

/* ---- storing ---- */

/* Row i of all strips of vector number `vector` of pixels. */
static void store_masked(out *w, prn_v pixels, unsigned vector, int64_t i) {
  const prn_winograd_plan *p = w->t->p;
  prn_cg *g = w->t->g;
  unsigned width = (unsigned)p->strip, n = (unsigned)p->lanes / width;
  for (unsigned u = 0; u < n; u++) {
    const strip *s = &w->strips[vector * n + u];
    prn_v mask = s->mask, row = cg_i64(g, i);
    if (i >= always_down(p)) {
      prn_v some = cg_lt(g, row, s->down);
      prn_v all = prn_cg_splat(g, some, width);
      mask = mask ? LLVMBuildAnd(g->b, mask, all, "") : all;
      /* An extra that repeats along the width is read whatever the mask. */
      row = cg_select(g, some, row, cg_i64(g, 0));
    }
    locate_row(w, s, row);
    prn_conv_finish_with(g, &w->f,
                         prn_winograd_lanes(g, pixels, u * width, width),
                         cg_i64(g, 0), width, mask);
  }
}

typedef struct source {
  out *w;
  prn_v from;
} source;

static void store_step(prn_cg *g, prn_v i, unsigned lanes, prn_v mask,
                       void *user) {
  source *s = user;
  prn_v v = prn_cg_load_masked(g, prn_cg_vec(g->f32, lanes),
                               cg_at(g, g->f32, s->from, i), mask);
  prn_conv_finish_with(g, &s->w->f, v, i, lanes, mask);
}

/* All strips, from memory: [row of a tile][strip]. */
static void store_from_memory(out *w) {
  const prn_winograd_plan *p = w->t->p;
  prn_cg *g = w->t->g;
  prn_v m = cg_i64(g, p->f->m), width = cg_i64(g, p->strip);
  for (int64_t u = 0; u < p->per_vector; u++) {
    const strip *s = &w->strips[u];
    prn_v across = width;
    if (ragged_across(p))
      across = prn_cg_max(g, cg_i64(g, 0), prn_cg_min(g, width, s->across));
    prn_loop l;
    prn_loop_begin(g, &l, cg_i64(g, 0), prn_cg_min(g, m, s->down), 1, NULL, 0);
    locate_row(w, s, l.iv);
    prn_v at = prn_cg_mul(g, l.iv, cg_i64(g, p->f->m * p->lanes));
    source from = {w, cg_at(g, g->f32, w->pixels,
                            prn_cg_add(g, at, cg_i64(g, u * p->strip)))};
    prn_cg_vloop(g, across, (unsigned)p->strip, store_step, &from);
    prn_loop_end(g, &l);
  }
}

/* ---- transforms ---- */

/* Results of a vector of tiles: rows of vectors of one pixel of each. */
static void tiles(const prn_winograd_item *t, prn_v from,
                  prn_v y[PRN_WINOGRAD_TILE][PRN_WINOGRAD_TILE]) {
  const prn_winograd *f = t->p->f;
  prn_cg *g = t->g;
  prn_v rows[PRN_WINOGRAD_TILE][PRN_WINOGRAD_SIDE];
  for (int64_t c = 0; c < f->side; c++) {
    prn_v in[PRN_WINOGRAD_SIDE], r[PRN_WINOGRAD_TILE];
    for (int64_t i = 0; i < f->side; i++) {
      prn_v at = cg_i64(g, (i * f->side + c) * t->p->m_step);
      in[i] = prn_cg_load(g, g->vf, cg_at(g, g->f32, from, at));
    }
    prn_winograd_output(g, f, in, r);
    for (int64_t i = 0; i < f->m; i++)
      rows[i][c] = r[i];
  }
  for (int64_t i = 0; i < f->m; i++)
    prn_winograd_output(g, f, rows[i], y[i]);
}

static void one_channel(out *w, prn_v from) {
  const prn_winograd_plan *p = w->t->p;
  prn_cg *g = w->t->g;
  prn_v y[PRN_WINOGRAD_TILE][PRN_WINOGRAD_TILE], pixels[PRN_WINOGRAD_TILE];
  unsigned m = (unsigned)p->f->m;
  tiles(w->t, from, y);
  for (unsigned i = 0; i < m; i++) {
    prn_winograd_join(g, y[i], m, pixels);
    for (unsigned k = 0; k < m; k++)
      if (g->target->masks)
        store_masked(w, pixels[k], k, i);
      else
        prn_cg_store(g, pixels[k],
                     cg_at(g, g->f32, w->pixels,
                           cg_i64(g, (int64_t)(i * m + k) * p->lanes)));
  }
  if (!g->target->masks) store_from_memory(w);
}

void prn_winograd_finish(const prn_winograd_item *t, prn_v o, prn_v n) {
  const prn_winograd_plan *p = t->p;
  const prn_kernel *k = t->c->k;
  prn_cg *g = t->g;
  out w = {.t = t, .f = {.c = t->c}};
  prn_v zero = cg_i64(g, 0);
  prn_loop l, lv;
  if (!g->target->masks)
    w.pixels = prn_cg_alloca(
        g, LLVMArrayType2(g->f32, (uint64_t)(p->f->m * p->f->m * p->lanes)),
        64);
  prn_loop_begin(g, &lv, zero, cg_i64(g, p->vectors), 1, NULL, 0);
  for (int64_t u = 0; u < p->per_vector; u++)
    locate(&w, lv.iv, u, o);
  prn_loop_begin(g, &l, zero, n, 1, NULL, 0);
  for (unsigned x = PRN_CONV_OUT; x < k->n; x++)
    w.at[x] = prn_cg_mul(g, l.iv, k->v[x].strides[1]);
  prn_v at =
      prn_cg_add(g, prn_cg_mul(g, l.iv, cg_i64(g, p->vectors * p->lanes)),
                 prn_cg_mul(g, lv.iv, cg_i64(g, p->lanes)));
  one_channel(&w, cg_at(g, g->f32, t->m, at));
  prn_loop_end(g, &l);
  prn_loop_end(g, &lv);
}
