/* Windows; see window.h. */
#include "backends/llvm/window.h"

static prn_status check_attr(const prn_op *op, const char *name, unsigned n) {
  const prn_attr *a = prn_op_attr(op, name);
  if (a && a->size == n) return PRN_OK;
  return prn_op_error(op, "expected %u %s, one for each spatial dimension", n,
                      name);
}

prn_status prn_window_check(const prn_op *op, const prn_type *x) {
  unsigned n = x->rank > 2 ? (unsigned)x->rank - 2 : 0;
  if (n < 1 || n > PRN_WINDOW)
    return prn_op_error(op,
                        "has %u spatial dimensions, the LLVM backend "
                        "takes one to three",
                        n);
  PRN_TRY(check_attr(op, "strides", n));
  PRN_TRY(check_attr(op, "dilations", n));
  return check_attr(op, "pads", n);
}

void prn_window_init(prn_window *w, prn_kernel *k, unsigned x, unsigned out) {
  prn_cg *g = k->g;
  size_t n;
  const int64_t *strides = prn_op_ints(k->op, "strides", &n);
  const int64_t *dilations = prn_op_ints(k->op, "dilations", &n);
  const prn_attr *pads = prn_op_attr(k->op, "pads");
  w->spatial = (unsigned)n;
  w->dtype = k->v[x].type->dtype;
  for (unsigned i = 0; i < PRN_WINDOW; i++) {
    unsigned missing = PRN_WINDOW - w->spatial;
    if (i < missing) {
      w->in[i] = w->out[i] = w->kernel[i] = cg_i64(g, 1);
      w->low[i] = w->step_in[i] = w->step_out[i] = cg_i64(g, 0);
      w->stride[i] = w->dilation[i] = 1;
      continue;
    }
    unsigned s = i - missing;
    w->in[i] = k->v[x].dims[2 + s];
    w->out[i] = k->v[out].dims[2 + s];
    w->step_in[i] = k->v[x].strides[2 + s];
    w->step_out[i] = k->v[out].strides[2 + s];
    w->low[i] = prn_emit_dim(k->e, pads->list[s]->dim);
    w->stride[i] = strides[s];
    w->dilation[i] = dilations[s];
  }
}

prn_v prn_window_at(prn_cg *g, const prn_window *w, unsigned d, prn_v o,
                    prn_v t) {
  prn_v at =
      prn_cg_sub(g, prn_cg_mul(g, o, cg_i64(g, w->stride[d])), w->low[d]);
  return prn_cg_add(g, at, prn_cg_mul(g, t, cg_i64(g, w->dilation[d])));
}

void prn_window_clip(prn_cg *g, const prn_window *w, unsigned d, prn_v o,
                     prn_v *lo, prn_v *hi) {
  prn_v zero = cg_i64(g, 0), dil = cg_i64(g, w->dilation[d]);
  /* Tap t lies at t*dil - before. */
  prn_v before =
      prn_cg_sub(g, w->low[d], prn_cg_mul(g, o, cg_i64(g, w->stride[d])));
  *lo = prn_cg_ceildiv(g, prn_cg_max(g, before, zero), dil);
  prn_v room = prn_cg_max(g, prn_cg_add(g, w->in[d], before), zero);
  *hi = prn_cg_min(g, w->kernel[d], prn_cg_ceildiv(g, room, dil));
}

/* lane positions start, start+1, ... as i64, all within [0, size)? */
static prn_v in_range(prn_cg *g, prn_v start, prn_v size, unsigned lanes) {
  return cg_cmp(g, LLVMIntULT, prn_elem_iota(g, start, lanes),
                prn_cg_splat(g, size, lanes));
}

static prn_v both(prn_cg *g, prn_v a, prn_v b) {
  return b ? LLVMBuildAnd(g->b, a, b, "") : a;
}

static prn_v fill(prn_cg *g, prn_v in, prn_v v, prn_v outside) {
  return cg_select(g, in, v, outside);
}

/* One position: a branch-free load that stays inside. */
static prn_v load_one(prn_cg *g, const prn_window *w, prn_v row, prn_v at,
                      prn_v outside) {
  prn_v in = cg_cmp(g, LLVMIntULT, at, w->in[PRN_WW]);
  prn_v safe = cg_select(g, in, at, cg_i64(g, 0));
  prn_v p =
      prn_elem_at(g, w->dtype, row, prn_cg_mul(g, safe, w->step_in[PRN_WW]));
  return fill(g, in, prn_elem_load(g, w->dtype, p, cg_i64(g, 1), 1, NULL),
              outside);
}

/* Every other element of two neighbouring vectors. */
static prn_v evens(prn_cg *g, prn_v a, prn_v b, unsigned lanes) {
  prn_v pick[64];
  for (unsigned i = 0; i < lanes; i++)
    pick[i] = cg_i32(g, (int32_t)(2 * i));
  return LLVMBuildShuffleVector(g->b, a, b, LLVMConstVector(pick, lanes), "");
}

static prn_v load_pairs(prn_cg *g, const prn_window *w, prn_v row, prn_v at,
                        unsigned lanes, bool inside, prn_v outside) {
  prn_v half[2], one = cg_i64(g, 1);
  for (int i = 0; i < 2; i++) {
    prn_v start = prn_cg_add(g, at, cg_i64(g, i * (int64_t)lanes));
    prn_v p = prn_elem_at(g, w->dtype, row, start);
    if (inside) {
      half[i] = prn_elem_load(g, w->dtype, p, one, lanes, NULL);
      continue;
    }
    prn_v in = in_range(g, start, w->in[PRN_WW], lanes);
    half[i] =
        fill(g, in, prn_elem_load(g, w->dtype, p, one, lanes, in), outside);
  }
  return evens(g, half[0], half[1], lanes);
}

prn_v prn_window_load(prn_cg *g, const prn_window *w, prn_v row, prn_v o,
                      prn_v tap, unsigned lanes, bool inside, prn_v outside,
                      prn_v mask) {
  prn_v at = prn_window_at(g, w, PRN_WW, o, tap);
  int64_t dense = 0, s = w->stride[PRN_WW];
  (void)prn_cg_is_const(w->step_in[PRN_WW], &dense);
  if (lanes == 1) return load_one(g, w, row, at, outside);
  if (dense == 1 && s == 2)
    return load_pairs(g, w, row, at, lanes, inside, outside);
  prn_v p =
      prn_elem_at(g, w->dtype, row, prn_cg_mul(g, at, w->step_in[PRN_WW]));
  prn_v step = prn_cg_mul(g, cg_i64(g, s), w->step_in[PRN_WW]);
  if (inside) return prn_elem_load(g, w->dtype, p, step, lanes, mask);
  prn_v pos = LLVMBuildMul(g->b, prn_elem_iota(g, cg_i64(g, 0), lanes),
                           prn_cg_splat(g, cg_i64(g, s), lanes), "");
  pos = LLVMBuildAdd(g->b, pos, prn_cg_splat(g, at, lanes), "");
  prn_v in = cg_cmp(g, LLVMIntULT, pos, prn_cg_splat(g, w->in[PRN_WW], lanes));
  in = both(g, in, mask);
  prn_v v = prn_elem_load(g, w->dtype, p, step, lanes, in);
  return fill(g, in, v, outside);
}

/* Whether taps [from, to] of `lanes` neighbouring outputs are in x. */
static prn_v all_inside(prn_cg *g, const prn_window *w, prn_v o, prn_v from,
                        prn_v to, unsigned lanes) {
  int64_t s = w->stride[PRN_WW];
  prn_v first = prn_window_at(g, w, PRN_WW, o, from);
  prn_v last = prn_window_at(g, w, PRN_WW, o, to);
  /* A stride of 2 reads whole vectors. */
  int64_t span = s == 2 ? 2 * (int64_t)lanes - 1 : ((int64_t)lanes - 1) * s;
  last = prn_cg_add(g, last, cg_i64(g, span));
  return LLVMBuildAnd(g->b, cg_lt(g, cg_i64(g, -1), first),
                      cg_lt(g, last, w->in[PRN_WW]), "");
}

prn_v prn_window_inside(prn_cg *g, const prn_window *w, prn_v o,
                        unsigned lanes) {
  prn_v last = prn_cg_sub(g, w->kernel[PRN_WW], cg_i64(g, 1));
  return all_inside(g, w, o, cg_i64(g, 0), last, lanes);
}

prn_v prn_window_tap_inside(prn_cg *g, const prn_window *w, prn_v o, prn_v tap,
                            unsigned lanes) {
  return all_inside(g, w, o, tap, tap, lanes);
}
