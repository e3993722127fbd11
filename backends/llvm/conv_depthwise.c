/* Depthwise convolution: every output channel reads one input channel.
 *
 * A strip of the input plane is copied into scratch memory with its padding
 * written out, so that no load needs a test; for a stride of 2 along the
 * width the columns are split into even and odd ones, after which all loads
 * are of neighbours. A tile of output rows by one vector then shares each row
 * it loads among the taps. The vectors are as wide as the image needs. */
#include <string.h>

#include "backends/llvm/conv.h"

enum { STRIP_BYTES = 24 << 10, TAPS_MAX = 49, TILE_MAX = 7, LINE = 16 };

typedef struct plan {
  prn_conv_shape s;
  unsigned lanes;
  int64_t pitch; /* elements of a row of one phase */
  int64_t vectors;
  int64_t tile, strip;      /* output rows */
  int64_t phase, row, rows; /* elements; rows of the input in a strip */
} plan;

static int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

/* Rows of a tile: few registers, and no rest where that is possible. */
static int64_t tile_rows(int64_t out_h) {
  if (out_h <= TILE_MAX) return out_h;
  for (int64_t n = TILE_MAX; n > 3; n--)
    if (out_h % n == 0) return n;
  return 4;
}

/* Input rows that `out` output rows read. */
static int64_t rows_for(const prn_conv_shape *s, int64_t out) {
  return (out - 1) * s->stride_h + (s->kernel_h - 1) * s->dilation_h + 1;
}

static bool plan_of(const prn_target *t, const prn_op *op, plan *p) {
  memset(p, 0, sizeof *p);
  if (!prn_conv_shape_of(op, &p->s)) return false;
  const prn_conv_shape *s = &p->s;
  if (s->cg != 1 || s->stride_w > 2 || s->kernel_h * s->kernel_w > TAPS_MAX ||
      s->o % s->groups)
    return false;
  p->lanes = t->lanes;
  while (p->lanes > 4 && (int64_t)p->lanes / 2 >= s->out_w)
    p->lanes /= 2;
  int64_t lanes = p->lanes;
  p->vectors = ceil_div(s->out_w, lanes);
  int64_t shift = (s->kernel_w - 1) * s->dilation_w / s->stride_w;
  p->pitch = ceil_div(p->vectors * lanes + shift, lanes) * lanes;
  /* An odd number of lines: neighbouring rows fall into different sets. */
  if (lanes == LINE && p->pitch / LINE % 2 == 0) p->pitch += LINE;
  p->row = p->pitch * s->stride_w;
  p->tile = tile_rows(s->out_h);
  p->strip = p->tile;
  while (p->strip < s->out_h &&
         rows_for(s, p->strip + p->tile) * p->row * 4 <= STRIP_BYTES)
    p->strip += p->tile;
  if (p->strip > s->out_h) p->strip = s->out_h;
  p->rows = rows_for(s, p->strip);
  return p->pitch / lanes <= 64 && p->rows * p->row <= 1 << 18;
}

static bool fits(const prn_target *t, const prn_op *op) {
  plan p;
  return prn_conv_is_f32(op) &&
         !prn_view_packed(prn_op_operand(op, PRN_CONV_W)) &&
         prn_conv_unit_width(prn_conv_type(op, PRN_CONV_X)) &&
         plan_of(t, op, &p);
}

static prn_v items(const prn_conv *c) {
  return prn_cg_mul(c->k->g, c->batch, c->k->v[PRN_CONV_OUT].dims[1]);
}

static size_t scratch(const prn_target *t, const prn_op *op) {
  plan p;
  (void)plan_of(t, op, &p);
  return (size_t)(p.rows * p.row) * sizeof(float);
}

/* ---- the strip ---- */

/* `lanes` elements from column `at` of a row, zeros outside. Which lanes are
 * inside is known here. */
static prn_v load_columns(prn_cg *g, const plan *p, prn_v row, int64_t at) {
  prn_v bits[64];
  prn_t type = prn_cg_vec(g->f32, p->lanes);
  unsigned inside = 0;
  for (unsigned i = 0; i < p->lanes; i++) {
    bool in = at + i >= 0 && at + i < p->s.w;
    bits[i] = LLVMConstInt(g->i1, in, 0);
    inside += in;
  }
  if (!inside) return LLVMConstNull(type);
  prn_v from = cg_at(g, g->f32, row, cg_i64(g, at));
  return prn_cg_load_masked(
      g, type, from,
      inside == p->lanes ? NULL : LLVMConstVector(bits, p->lanes));
}

/* Elements first, first + 2, ... of a and then b. */
static prn_v every_other(prn_cg *g, prn_v a, prn_v b, unsigned lanes,
                         unsigned first) {
  prn_v pick[64];
  for (unsigned i = 0; i < lanes; i++)
    pick[i] = cg_i32(g, (int32_t)(2 * i + first));
  return LLVMBuildShuffleVector(g->b, a, b, LLVMConstVector(pick, lanes), "");
}

static void store_at(prn_cg *g, prn_v v, prn_v to, int64_t at) {
  prn_cg_store(g, v, cg_at(g, g->f32, to, cg_i64(g, at)));
}

/* A row with its padding; a NULL row is padding itself. */
static void copy_row(prn_cg *g, const plan *p, prn_v row, prn_v to) {
  int64_t lanes = p->lanes;
  prn_v zero = LLVMConstNull(prn_cg_vec(g->f32, p->lanes));
  for (int64_t j = 0; j < p->pitch; j += lanes) {
    int64_t at = j * p->s.stride_w - p->s.pad_w;
    prn_v a = row ? load_columns(g, p, row, at) : zero;
    if (p->s.stride_w == 1) {
      store_at(g, a, to, j);
      continue;
    }
    prn_v b = row ? load_columns(g, p, row, at + lanes) : zero;
    for (unsigned i = 0; i < 2; i++)
      store_at(g, row ? every_other(g, a, b, p->lanes, i) : zero, to,
               j + i * p->pitch);
  }
}

/* Rows [0, n) of the strip, which begins with input row r0 - pad. */
static void copy_strip(prn_cg *g, const plan *p, prn_v x, prn_v step, prn_v r0,
                       prn_v n, prn_v to) {
  prn_loop l;
  prn_loop_begin(g, &l, cg_i64(g, 0), n, 1, NULL, 0);
  prn_v r = prn_cg_sub(g, prn_cg_add(g, r0, l.iv), cg_i64(g, p->s.pad_h));
  prn_v at = cg_at(g, g->f32, to, prn_cg_mul(g, l.iv, cg_i64(g, p->row)));
  LLVMBasicBlockRef copy = prn_cg_block(g, "copy"),
                    none = prn_cg_block(g, "none"),
                    next = prn_cg_block(g, "next");
  LLVMBuildCondBr(g->b, cg_cmp(g, LLVMIntULT, r, cg_i64(g, p->s.h)), copy,
                  none);
  LLVMPositionBuilderAtEnd(g->b, copy);
  copy_row(g, p, cg_at(g, g->f32, x, prn_cg_mul(g, r, step)), at);
  LLVMBuildBr(g->b, next);
  LLVMPositionBuilderAtEnd(g->b, none);
  copy_row(g, p, NULL, at);
  LLVMBuildBr(g->b, next);
  LLVMPositionBuilderAtEnd(g->b, next);
  prn_loop_end(g, &l);
}

/* ---- tiles ---- */

typedef struct tile {
  prn_cg *g;
  const plan *p;
  prn_conv_finish f[TILE_MAX];
  prn_v weights[TAPS_MAX]; /* splat */
  prn_v sums;              /* memory, where tails are not masked */
} tile;

static void sum_tile(tile *t, prn_v from, prn_v *acc) {
  const prn_conv_shape *s = &t->p->s;
  prn_cg *g = t->g;
  prn_t type = prn_cg_vec(g->f32, t->p->lanes);
  for (int64_t r = 0; r < t->p->tile; r++)
    acc[r] = LLVMConstNull(type);
  for (int64_t in = 0; in < rows_for(s, t->p->tile); in++)
    for (int64_t kw = 0; kw < s->kernel_w; kw++) {
      int64_t u = kw * s->dilation_w;
      int64_t at =
          in * t->p->row + u % s->stride_w * t->p->pitch + u / s->stride_w;
      prn_v v = NULL;
      for (int64_t r = 0; r < t->p->tile; r++) {
        int64_t d = in - r * s->stride_h, kh = d / s->dilation_h;
        if (d < 0 || d % s->dilation_h || kh >= s->kernel_h) continue;
        if (!v) v = prn_cg_load(g, type, cg_at(g, g->f32, from, cg_i64(g, at)));
        acc[r] = prn_cg_fma(g, t->weights[kh * s->kernel_w + kw], v, acc[r]);
      }
    }
}

/* The last columns of the tile, one by one. */
static void finish_tail(tile *t, prn_v *acc, int64_t from) {
  prn_cg *g = t->g;
  for (int64_t r = 0; r < t->p->tile; r++) {
    prn_cg_store(g, acc[r], t->sums);
    prn_loop l;
    prn_loop_begin(g, &l, cg_i64(g, 0), cg_i64(g, t->p->s.out_w - from), 1,
                   NULL, 0);
    prn_v v = prn_cg_load(g, g->f32, cg_at(g, g->f32, t->sums, l.iv));
    prn_conv_finish_with(g, &t->f[r], v, prn_cg_add(g, l.iv, cg_i64(g, from)),
                         1, NULL);
    prn_loop_end(g, &l);
  }
}

/* Output rows from r0 on, of the strip that begins with input row 0. */
static void one_tile(tile *t, prn_v strip, prn_v r0) {
  const plan *p = t->p;
  prn_cg *g = t->g;
  int64_t lanes = p->lanes, whole = p->s.out_w / lanes * lanes;
  prn_v acc[TILE_MAX];
  prn_v row = cg_at(g, g->f32, strip,
                    prn_cg_mul(g, r0, cg_i64(g, p->s.stride_h * p->row)));
  prn_loop l;
  if (whole) {
    prn_loop_begin(g, &l, cg_i64(g, 0), cg_i64(g, whole), lanes, NULL, 0);
    sum_tile(t, cg_at(g, g->f32, row, l.iv), acc);
    for (int64_t r = 0; r < p->tile; r++)
      prn_conv_finish_with(g, &t->f[r], acc[r], l.iv, p->lanes, NULL);
    prn_loop_end(g, &l);
  }
  if (whole == p->s.out_w) return;
  sum_tile(t, cg_at(g, g->f32, row, cg_i64(g, whole)), acc);
  if (!g->target->masks) {
    finish_tail(t, acc, whole);
    return;
  }
  prn_v mask = prn_cg_tail_mask(g, p->lanes, cg_i64(g, p->s.out_w - whole));
  for (int64_t r = 0; r < p->tile; r++)
    prn_conv_finish_with(g, &t->f[r], acc[r], cg_i64(g, whole), p->lanes, mask);
}

/* Output rows [from, to) of the channel, which are the strip's. The last tile
 * may overlap the one before it. */
static void tiles(tile *t, prn_conv *c, prn_v strip, prn_v from, prn_v to) {
  const plan *p = t->p;
  prn_cg *g = t->g;
  prn_v rows = prn_cg_sub(g, to, from), most = cg_i64(g, p->tile);
  prn_loop l;
  prn_loop_begin(g, &l, cg_i64(g, 0), rows, p->tile, NULL, 0);
  prn_v r = prn_cg_min(g, l.iv, prn_cg_sub(g, rows, most));
  for (int64_t i = 0; i < p->tile; i++) {
    t->f[i].c = c;
    prn_v at = prn_cg_add(g, prn_cg_add(g, from, r), cg_i64(g, i));
    prn_conv_locate_row(&t->f[i], cg_i64(g, 0),
                        prn_cg_mul(g, at, cg_i64(g, p->s.out_w)));
  }
  one_tile(t, strip, r);
  prn_loop_end(g, &l);
}

static void item(prn_conv *c, prn_v number) {
  prn_kernel *k = c->k;
  prn_cg *g = k->g;
  plan p;
  (void)plan_of(g->target, k->op, &p);
  tile t = {.g = g, .p = &p};
  prn_v o = prn_cg_mod(g, number, k->v[PRN_CONV_OUT].dims[1]);
  prn_v n = prn_cg_div(g, number, k->v[PRN_CONV_OUT].dims[1]);
  prn_conv_locate(c, n, prn_cg_div(g, o, c->og), o);
  const prn_view *w = &k->v[PRN_CONV_W];
  unsigned rank = (unsigned)w->type->rank;
  for (int64_t i = 0; i < p.s.kernel_h; i++)
    for (int64_t j = 0; j < p.s.kernel_w; j++) {
      prn_v at = prn_cg_mul(g, cg_i64(g, j), w->strides[rank - 1]);
      if (rank > 3)
        at = prn_cg_add(g, at, prn_cg_mul(g, cg_i64(g, i), w->strides[2]));
      prn_v e =
          prn_cg_load(g, g->f32, cg_at(g, g->f32, c->base[PRN_CONV_W], at));
      t.weights[i * p.s.kernel_w + j] = prn_cg_splat(g, e, p.lanes);
    }
  if (!g->target->masks)
    t.sums = prn_cg_alloca(g, prn_cg_vec(g->f32, p.lanes), 64);
  prn_v strip = prn_kernel_scratch(k), out_h = cg_i64(g, p.s.out_h);
  prn_loop l;
  prn_loop_begin(g, &l, cg_i64(g, 0), out_h, p.strip, NULL, 0);
  /* Whole strips only: the last one may overlap the one before it. */
  prn_v from = prn_cg_min(g, l.iv, cg_i64(g, p.s.out_h - p.strip));
  copy_strip(g, &p, c->base[PRN_CONV_X], c->w.step_in[PRN_WH],
             prn_cg_mul(g, from, cg_i64(g, p.s.stride_h)), cg_i64(g, p.rows),
             strip);
  tiles(&t, c, strip, from, prn_cg_add(g, from, cg_i64(g, p.strip)));
  prn_loop_end(g, &l);
}

const prn_conv_way prn_conv_depthwise = {NULL, fits,    items,
                                         item, scratch, false};
