/* mem.pool: maxima and averages over windows, vectorised along the width. */
#include <math.h>
#include <string.h>

#include "backends/llvm/window.h"

enum { X, OUT };

typedef struct pool {
  prn_kernel *k;
  prn_window w;
  bool max, count_pad;
  prn_v limit[PRN_WINDOW]; /* input positions below it count */
  prn_v base[2];           /* of the channel */
  prn_v od, oh;
  prn_v out; /* address of the output row */
} pool;

static prn_status check(const prn_op *op) {
  const prn_type *x = prn_op_operand(op, X)->type;
  size_t n;
  PRN_TRY(prn_window_check(op, x));
  (void)prn_op_ints(op, "kernel", &n);
  if ((int32_t)n != x->rank - 2)
    return prn_op_error(op, "expected a window size for each dimension");
  prn_str fn = prn_op_string(op, "fn", "");
  if (!prn_str_is(fn, "max") && !prn_str_is(fn, "avg"))
    return prn_op_error(op, "expected fn max or avg");
  if (x->dtype != prn_op_operand(op, OUT)->type->dtype)
    return prn_op_error(op, "expected input and result of one element type");
  if (!prn_str_is(fn, "max") && !prn_dtype_is_float(x->dtype))
    return prn_op_error(op, "the LLVM backend averages floats, not %s",
                        prn_dtype_name(x->dtype));
  return PRN_OK;
}

static void init(pool *p, prn_kernel *k) {
  prn_cg *g = k->g;
  size_t n;
  const int64_t *kernel = prn_op_ints(k->op, "kernel", &n);
  const prn_attr *high = prn_op_attr(k->op, "pads_high");
  memset(p, 0, sizeof *p);
  p->k = k;
  prn_window_init(&p->w, k, X, OUT);
  for (unsigned i = 0; i < n; i++)
    p->w.kernel[PRN_WINDOW - n + i] = cg_i64(g, kernel[i]);
  p->max = prn_str_is(prn_op_string(k->op, "fn", ""), "max");
  p->count_pad = prn_op_int(k->op, "count_include_pad", 0) != 0;
  for (unsigned i = 0; i < PRN_WINDOW; i++) {
    unsigned missing = PRN_WINDOW - p->w.spatial;
    p->limit[i] = p->w.in[i];
    if (p->count_pad && high && i >= missing)
      p->limit[i] = prn_cg_add(
          g, p->w.in[i], prn_emit_dim(k->e, high->list[i - missing]->dim));
  }
}

static prn_v items(prn_kernel *k, prn_v *work) {
  prn_cg *g = k->g;
  pool p;
  init(&p, k);
  prn_v n = prn_cg_mul(g, k->v[OUT].dims[0], k->v[OUT].dims[1]);
  prn_v all = n;
  for (unsigned i = 0; i < PRN_WINDOW; i++)
    all = prn_cg_mul(g, all, prn_cg_mul(g, p.w.out[i], p.w.kernel[i]));
  *work = prn_cg_div(g, all, cg_i64(g, g->target->lanes / 2));
  return n;
}

/* Taps of dimension d that count, as a scalar. */
static prn_v count(prn_cg *g, const pool *p, unsigned d, prn_v o) {
  prn_v lo, hi;
  if (!p->count_pad) {
    prn_window_clip(g, &p->w, d, o, &lo, &hi);
    return prn_cg_sub(g, hi, lo);
  }
  /* From -low on all count, up to the limit. */
  prn_v first = prn_window_at(g, &p->w, d, o, cg_i64(g, 0));
  prn_v room = prn_cg_max(g, prn_cg_sub(g, p->limit[d], first), cg_i64(g, 0));
  return prn_cg_min(g, p->w.kernel[d],
                    prn_cg_ceildiv(g, room, cg_i64(g, p->w.dilation[d])));
}

/* Taps along the width that count, for each lane. */
static prn_v count_width(prn_cg *g, const pool *p, prn_v ow, unsigned lanes) {
  const prn_window *w = &p->w;
  prn_t t = prn_cg_vec(prn_elem_value(g, p->w.dtype), lanes);
  prn_v none = LLVMConstNull(t), zero = cg_i64(g, 0);
  prn_v step = prn_cg_splat(g, cg_i64(g, w->stride[PRN_WW]), lanes);
  prn_v lane = LLVMBuildMul(g->b, prn_elem_iota(g, zero, lanes), step, "");
  prn_loop l;
  prn_loop_begin(g, &l, zero, w->kernel[PRN_WW], 1, &none, 1);
  prn_v at = prn_window_at(g, w, PRN_WW, ow, l.iv);
  prn_v pos = LLVMBuildAdd(g->b, prn_cg_splat(g, at, lanes), lane, "");
  prn_v limit = prn_cg_splat(g, p->limit[PRN_WW], lanes);
  prn_v in = cg_cmp(g, p->count_pad ? LLVMIntSLT : LLVMIntULT, pos, limit);
  prn_v one = cg_select(g, in, prn_cg_fconst(t, 1), none);
  l.next[0] = cg_fadd(g, l.cur[0], one);
  prn_loop_end(g, &l);
  return l.out[0];
}

/* Where a window does not reach: the smallest value, or 0. */
static prn_v neutral(prn_cg *g, const pool *p, unsigned lanes) {
  prn_dtype d = p->w.dtype;
  prn_t t = prn_cg_vec(prn_elem_value(g, d), lanes);
  if (!p->max) return LLVMConstNull(t);
  if (prn_dtype_is_float(d)) return prn_cg_fconst(t, -(double)INFINITY);
  bool sign = d == PRN_I8 || d == PRN_I16 || d == PRN_I32 || d == PRN_I64;
  int64_t low = -(INT64_C(1) << (prn_dtype_bits(d) - 2)) * 2;
  return prn_cg_iconst(t, sign ? low : 0);
}

/* Maximum or sum over the window, `lanes` outputs from ow on. */
static prn_v fold(prn_cg *g, pool *p, prn_v ow, unsigned lanes, bool inside,
                  prn_v mask) {
  const prn_window *w = &p->w;
  prn_v init = neutral(g, p, lanes), lo, hi;
  prn_loop ld, lh, lw;
  prn_window_clip(g, w, PRN_WD, p->od, &lo, &hi);
  prn_loop_begin(g, &ld, lo, hi, 1, &init, 1);
  prn_window_clip(g, w, PRN_WH, p->oh, &lo, &hi);
  prn_loop_begin(g, &lh, lo, hi, 1, &ld.cur[0], 1);
  prn_v at = prn_cg_add(g,
                        prn_cg_mul(g, prn_window_at(g, w, PRN_WD, p->od, ld.iv),
                                   w->step_in[PRN_WD]),
                        prn_cg_mul(g, prn_window_at(g, w, PRN_WH, p->oh, lh.iv),
                                   w->step_in[PRN_WH]));
  prn_v row = prn_elem_at(g, w->dtype, p->base[X], at);
  prn_loop_begin(g, &lw, cg_i64(g, 0), w->kernel[PRN_WW], 1, &lh.cur[0], 1);
  prn_v v = prn_window_load(g, w, row, ow, lw.iv, lanes, inside, init, mask);
  lw.next[0] = prn_body_apply(g, p->max ? PRN_SCALAR_max : PRN_SCALAR_add,
                              w->dtype, lw.cur[0], v);
  prn_loop_end(g, &lw);
  lh.next[0] = lw.out[0];
  prn_loop_end(g, &lh);
  ld.next[0] = lh.out[0];
  prn_loop_end(g, &ld);
  return ld.out[0];
}

static prn_v divide(prn_cg *g, pool *p, prn_v sum, prn_v ow, unsigned lanes) {
  prn_v n =
      prn_cg_mul(g, count(g, p, PRN_WD, p->od), count(g, p, PRN_WH, p->oh));
  n = LLVMBuildSIToFP(g->b, n, prn_elem_value(g, p->w.dtype), "");
  n = prn_cg_splat(g, n, lanes);
  return cg_fdiv(g, sum, cg_fmul(g, n, count_width(g, p, ow, lanes)));
}

static void step(prn_cg *g, prn_v i, unsigned lanes, prn_v mask, void *user) {
  pool *p = user;
  prn_v r;
  if (lanes == 1 || mask) {
    r = fold(g, p, i, lanes, false, mask);
  } else {
    LLVMBasicBlockRef at[2] = {prn_cg_block(g, "edge"),
                               prn_cg_block(g, "inside")};
    LLVMBasicBlockRef next = prn_cg_block(g, "next");
    LLVMBuildCondBr(g->b, prn_window_inside(g, &p->w, i, lanes), at[1], at[0]);
    prn_v v[2];
    for (int k = 0; k < 2; k++) {
      LLVMPositionBuilderAtEnd(g->b, at[k]);
      v[k] = fold(g, p, i, lanes, k == 1, NULL);
      at[k] = LLVMGetInsertBlock(g->b);
      LLVMBuildBr(g->b, next);
    }
    LLVMPositionBuilderAtEnd(g->b, next);
    r = LLVMBuildPhi(g->b, LLVMTypeOf(v[0]), "");
    LLVMAddIncoming(r, v, at, 2);
  }
  if (!p->max) r = divide(g, p, r, i, lanes);
  prn_v s = p->w.step_out[PRN_WW];
  prn_v to = prn_elem_at(g, p->w.dtype, p->out, prn_cg_mul(g, i, s));
  prn_elem_store(g, p->w.dtype, r, to, s, lanes, mask);
}

static void item(pool *p, prn_v number) {
  prn_kernel *k = p->k;
  prn_cg *g = k->g;
  prn_v c = prn_cg_mod(g, number, k->v[OUT].dims[1]);
  prn_v n = prn_cg_div(g, number, k->v[OUT].dims[1]);
  for (unsigned i = 0; i < 2; i++)
    p->base[i] = prn_elem_at(g, p->w.dtype, k->v[i].base,
                             prn_cg_add(g, prn_cg_mul(g, n, k->v[i].strides[0]),
                                        prn_cg_mul(g, c, k->v[i].strides[1])));
  prn_loop ld, lh;
  prn_loop_begin(g, &ld, cg_i64(g, 0), p->w.out[PRN_WD], 1, NULL, 0);
  prn_loop_begin(g, &lh, cg_i64(g, 0), p->w.out[PRN_WH], 1, NULL, 0);
  p->od = ld.iv;
  p->oh = lh.iv;
  prn_v at = prn_cg_add(g, prn_cg_mul(g, ld.iv, p->w.step_out[PRN_WD]),
                        prn_cg_mul(g, lh.iv, p->w.step_out[PRN_WH]));
  p->out = prn_elem_at(g, p->w.dtype, p->base[OUT], at);
  prn_cg_vloop(g, p->w.out[PRN_WW], g->target->lanes, step, p);
  prn_loop_end(g, &lh);
  prn_loop_end(g, &ld);
}

static void body(prn_kernel *k) {
  pool p;
  prn_loop l;
  init(&p, k);
  prn_loop_begin(k->g, &l, k->begin, k->end, 1, NULL, 0);
  item(&p, l.iv);
  prn_loop_end(k->g, &l);
}

const prn_kernel_kind prn_kernel_pool = {check, items, body, NULL};
