/* Kernels that go along one axis element by element: mem.arg_reduce and
 * mem.cumsum; and mem.pad. Lanes are neighbours in the last other dimension
 * where that helps; otherwise one element at a time. */
#include <math.h>

#include "backends/llvm/emit.h"

enum { X, OUT, VALUE };

static unsigned rank(const prn_kernel *k) {
  return (unsigned)k->v[OUT].type->rank;
}

static unsigned axis_of(const prn_kernel *k) {
  return (unsigned)prn_op_int(k->op, "axis", 0);
}

/* Offsets in x and out of the item'th line along the axis. */
static void line_offsets(prn_kernel *k, prn_v item, prn_v *x, prn_v *out) {
  prn_cg *g = k->g;
  unsigned axis = axis_of(k);
  *x = *out = cg_i64(g, 0);
  for (unsigned i = rank(k); i-- > 0;) {
    if (i == axis) continue;
    prn_v d = k->v[X].dims[i], index = prn_cg_mod(g, item, d);
    item = prn_cg_div(g, item, d);
    *x = prn_cg_add(g, *x, prn_cg_mul(g, index, k->v[X].strides[i]));
    *out = prn_cg_add(g, *out, prn_cg_mul(g, index, k->v[OUT].strides[i]));
  }
}

static prn_v line_items(prn_kernel *k, prn_v *work) {
  prn_cg *g = k->g;
  prn_v n = cg_i64(g, 1);
  for (unsigned i = 0; i < rank(k); i++)
    if (i != axis_of(k)) n = prn_cg_mul(g, n, k->v[X].dims[i]);
  *work =
      prn_cg_mul(g, prn_cg_mul(g, n, k->v[X].dims[axis_of(k)]), cg_i64(g, 4));
  return n;
}

static prn_v load(prn_kernel *k, unsigned operand, prn_v at) {
  prn_dtype t = k->v[operand].type->dtype;
  return prn_elem_load(k->g, t, prn_elem_at(k->g, t, k->v[operand].base, at),
                       cg_i64(k->g, 1), 1, NULL);
}

static void store(prn_kernel *k, prn_v v, prn_v at) {
  prn_dtype t = k->v[OUT].type->dtype;
  prn_elem_store(k->g, t, v, prn_elem_at(k->g, t, k->v[OUT].base, at),
                 cg_i64(k->g, 1), 1, NULL);
}

static prn_v between(prn_kernel *k, prn_scalar f, prn_v a, prn_v b) {
  return prn_body_apply(k->g, f, k->v[X].type->dtype, a, b);
}

/* ---- arg_reduce ---- */

static prn_status arg_check(const prn_op *op) {
  prn_str fn = prn_op_string(op, "fn", "");
  if (!prn_str_is(fn, "max") && !prn_str_is(fn, "min"))
    return prn_op_error(op, "expected fn max or min");
  if (prn_op_operand(op, OUT)->type->dtype != PRN_I64)
    return prn_op_error(op, "expected a result of type i64");
  return PRN_OK;
}

static void arg_body(prn_kernel *k) {
  prn_cg *g = k->g;
  unsigned axis = axis_of(k);
  bool max = prn_str_is(prn_op_string(k->op, "fn", ""), "max");
  bool last = prn_op_int(k->op, "last", 0) != 0;
  prn_scalar better = last  ? max ? PRN_SCALAR_ge : PRN_SCALAR_le
                      : max ? PRN_SCALAR_gt
                            : PRN_SCALAR_lt;
  prn_v zero = cg_i64(g, 0), n = k->v[X].dims[axis], x, out;
  prn_loop l, s;
  prn_loop_begin(g, &l, k->begin, k->end, 1, NULL, 0);
  line_offsets(k, l.iv, &x, &out);
  /* An empty line has no extremum; nothing is read then. */
  prn_if some = prn_if_begin(g, cg_lt(g, zero, n));
  prn_v init[2] = {zero, load(k, X, x)};
  prn_loop_begin(g, &s, cg_i64(g, 1), n, 1, init, 2);
  prn_v at = prn_cg_add(g, x, prn_cg_mul(g, s.iv, k->v[X].strides[axis]));
  prn_v v = load(k, X, at);
  prn_v wins = between(k, better, v, s.cur[1]);
  if (prn_dtype_is_float(k->v[X].type->dtype)) {
    /* The first NaN wins and stays, as in numpy. */
    prn_v has = cg_fcmp(g, LLVMRealUNO, s.cur[1], s.cur[1]);
    prn_v is = cg_fcmp(g, LLVMRealUNO, v, v);
    wins = LLVMBuildAnd(g->b, LLVMBuildOr(g->b, wins, is, ""),
                        LLVMBuildNot(g->b, has, ""), "");
  }
  s.next[0] = cg_select(g, wins, s.iv, s.cur[0]);
  s.next[1] = cg_select(g, wins, v, s.cur[1]);
  prn_loop_end(g, &s);
  store(k, s.out[0], out);
  prn_if_end(g, some);
  prn_loop_end(g, &l);
}

const prn_kernel_kind prn_kernel_arg_reduce = {arg_check, line_items, arg_body,
                                               NULL};

/* ---- cumsum ---- */

static prn_status cumsum_check(const prn_op *op) {
  const prn_type *x = prn_op_operand(op, X)->type;
  if (x->dtype != prn_op_operand(op, OUT)->type->dtype || x->rank < 1 ||
      x->dtype == PRN_BOOL)
    return prn_op_error(op, "expected numbers of one type, rank 1 or more");
  return PRN_OK;
}

static void cumsum_body(prn_kernel *k) {
  prn_cg *g = k->g;
  unsigned axis = axis_of(k);
  bool exclusive = prn_op_int(k->op, "exclusive", 0) != 0;
  bool reverse = prn_op_int(k->op, "reverse", 0) != 0;
  prn_v n = k->v[X].dims[axis], x, out;
  bool product = prn_op_int(k->op, "product", 0) != 0;
  prn_dtype t = k->v[X].type->dtype;
  prn_v none = LLVMConstNull(prn_elem_value(g, t));
  if (product) none = prn_elem_cast(g, cg_i64(g, 1), PRN_I64, t);
  prn_loop l, s;
  prn_loop_begin(g, &l, k->begin, k->end, 1, NULL, 0);
  line_offsets(k, l.iv, &x, &out);
  prn_loop_begin(g, &s, cg_i64(g, 0), n, 1, &none, 1);
  prn_v i = s.iv;
  if (reverse) i = prn_cg_sub(g, prn_cg_sub(g, n, cg_i64(g, 1)), i);
  prn_v v =
      load(k, X, prn_cg_add(g, x, prn_cg_mul(g, i, k->v[X].strides[axis])));
  s.next[0] =
      between(k, product ? PRN_SCALAR_mul : PRN_SCALAR_add, s.cur[0], v);
  store(k, exclusive ? s.cur[0] : s.next[0],
        prn_cg_add(g, out, prn_cg_mul(g, i, k->v[OUT].strides[axis])));
  prn_loop_end(g, &s);
  prn_loop_end(g, &l);
}

const prn_kernel_kind prn_kernel_cumsum = {cumsum_check, line_items,
                                           cumsum_body, NULL};

/* ---- pad ---- */

typedef enum pad_mode { CONSTANT, REFLECT, EDGE, WRAP, NO_MODE } pad_mode;

static pad_mode mode_of(const prn_op *op) {
  static const char *const names[] = {"constant", "reflect", "edge", "wrap"};
  prn_str s = prn_op_string(op, "mode", "constant");
  for (int i = 0; i < NO_MODE; i++)
    if (prn_str_is(s, names[i])) return (pad_mode)i;
  return NO_MODE;
}

static prn_status pad_check(const prn_op *op) {
  const prn_attr *lows = prn_op_attr(op, "lows");
  const prn_type *x = prn_op_operand(op, X)->type;
  const prn_type *out = prn_op_operand(op, OUT)->type;
  if (mode_of(op) == NO_MODE)
    return prn_op_error(op, "expected mode constant, reflect, edge or wrap");
  if ((int32_t)lows->size != out->rank || x->rank != out->rank)
    return prn_op_error(op, "expected an amount for each dimension");
  if (x->dtype != out->dtype)
    return prn_op_error(op, "expected input and result of one element type");
  return PRN_OK;
}

/* All but the last dimension are items. */
static prn_v pad_items(prn_kernel *k, prn_v *work) {
  prn_cg *g = k->g;
  prn_v n = cg_i64(g, 1);
  for (unsigned i = 0; i + 1 < rank(k); i++)
    n = prn_cg_mul(g, n, k->v[OUT].dims[i]);
  prn_v len = rank(k) ? k->v[OUT].dims[rank(k) - 1] : n;
  *work = prn_cg_mul(g, n, len);
  return n;
}

typedef struct padder {
  prn_kernel *k;
  prn_v low;    /* of the last dimension */
  prn_v inside; /* i1: the row's other positions are */
  prn_v from, to, value;
} padder;

/* The position in x of position `at` (which may be outside), and whether it
 * is inside; scalar or vector. */
static prn_v source(prn_cg *g, pad_mode mode, prn_v at, prn_v size,
                    prn_v *inside) {
  prn_t t = LLVMTypeOf(at);
  prn_v n = prn_cg_splat(g, size, prn_cg_lanes(t));
  prn_v zero = LLVMConstNull(t), one = prn_cg_iconst(t, 1);
  prn_v top = LLVMBuildSub(g->b, n, one, "");
  *inside = cg_cmp(g, LLVMIntULT, at, n);
  prn_v low = cg_cmp(g, LLVMIntSLT, at, zero);
  prn_v high = cg_cmp(g, LLVMIntSGE, at, n), r = at;
  if (mode == CONSTANT) return cg_select(g, *inside, at, zero);
  if (mode == EDGE) return cg_select(g, low, zero, cg_select(g, high, top, at));
  /* Periodic: reflection has the period 2 (n - 1). */
  prn_v period = n;
  if (mode == REFLECT) {
    period = LLVMBuildMul(g->b, top, prn_cg_iconst(t, 2), "");
    period = cg_select(g, cg_cmp(g, LLVMIntSLT, period, one), one, period);
  } else {
    period = cg_select(g, cg_cmp(g, LLVMIntSLT, period, one), one, period);
  }
  r = LLVMBuildSRem(g->b, at, period, "");
  r = cg_select(g, cg_cmp(g, LLVMIntSLT, r, zero),
                LLVMBuildAdd(g->b, r, period, ""), r);
  if (mode == WRAP) return r;
  return cg_select(g, cg_cmp(g, LLVMIntSLT, top, r),
                   LLVMBuildSub(g->b, period, r, ""), r);
}

/* One element (of any mode). */
static void pad_one(prn_cg *g, prn_v i, padder *p) {
  prn_kernel *k = p->k;
  unsigned last = rank(k) - 1;
  prn_v in, at = prn_cg_sub(g, i, p->low);
  at = source(g, mode_of(k->op), at, k->v[X].dims[last], &in);
  prn_v to = prn_cg_add(g, p->to, prn_cg_mul(g, i, k->v[OUT].strides[last]));
  prn_v from = prn_cg_add(g, p->from, prn_cg_mul(g, at, k->v[X].strides[last]));
  if (mode_of(k->op) != CONSTANT) {
    store(k, load(k, X, from), to);
    return;
  }
  in = LLVMBuildAnd(g->b, in, p->inside, "");
  LLVMBasicBlockRef a = prn_cg_block(g, "copy"), b = prn_cg_block(g, "fill"),
                    next = prn_cg_block(g, "next");
  LLVMBuildCondBr(g->b, in, a, b);
  LLVMPositionBuilderAtEnd(g->b, a);
  store(k, load(k, X, from), to);
  LLVMBuildBr(g->b, next);
  LLVMPositionBuilderAtEnd(g->b, b);
  store(k, p->value, to);
  LLVMBuildBr(g->b, next);
  LLVMPositionBuilderAtEnd(g->b, next);
}

/* Constant padding of unit strides in vectors, the rest singly. */
static void pad_step(prn_cg *g, prn_v i, unsigned lanes, prn_v mask,
                     void *user) {
  padder *p = user;
  prn_kernel *k = p->k;
  unsigned last = rank(k) - 1;
  if (lanes == 1) {
    pad_one(g, i, p);
    return;
  }
  prn_dtype t = k->v[X].type->dtype;
  prn_v at = prn_cg_sub(g, i, p->low), in, one = cg_i64(g, 1);
  prn_v pos = prn_elem_iota(g, at, lanes);
  (void)source(g, CONSTANT, pos, k->v[X].dims[last], &in);
  in = LLVMBuildAnd(g->b, in, prn_cg_splat(g, p->inside, lanes), "");
  if (mask) in = LLVMBuildAnd(g->b, in, mask, "");
  prn_v from = prn_elem_at(g, t, k->v[X].base, prn_cg_add(g, p->from, at));
  prn_v v = prn_elem_load(g, t, from, one, lanes, in);
  v = cg_select(g, in, v, prn_cg_splat(g, p->value, lanes));
  prn_v to = prn_elem_at(g, t, k->v[OUT].base, prn_cg_add(g, p->to, i));
  prn_elem_store(g, t, v, to, one, lanes, mask);
}

static bool unit(prn_v stride) {
  int64_t s;
  return prn_cg_is_const(stride, &s) && s == 1;
}

static void pad_row(padder *p, prn_v item) {
  prn_kernel *k = p->k;
  prn_cg *g = k->g;
  const prn_attr *lows = prn_op_attr(k->op, "lows");
  p->inside = LLVMConstInt(g->i1, 1, 0);
  p->from = p->to = cg_i64(g, 0);
  for (unsigned i = rank(k) - 1; i-- > 0;) {
    prn_v d = k->v[OUT].dims[i], index = i ? prn_cg_mod(g, item, d) : item, in;
    if (i) item = prn_cg_div(g, item, d);
    prn_v at = prn_cg_sub(g, index, prn_emit_dim(k->e, lows->list[i]->dim));
    at = source(g, mode_of(k->op), at, k->v[X].dims[i], &in);
    p->inside = LLVMBuildAnd(g->b, p->inside, in, "");
    p->from = prn_cg_add(g, p->from, prn_cg_mul(g, at, k->v[X].strides[i]));
    p->to = prn_cg_add(g, p->to, prn_cg_mul(g, index, k->v[OUT].strides[i]));
  }
  unsigned last = rank(k) - 1;
  p->low = prn_emit_dim(k->e, lows->list[last]->dim);
  bool vectors = mode_of(k->op) == CONSTANT && g->target->masks &&
                 unit(k->v[X].strides[last]) && unit(k->v[OUT].strides[last]);
  prn_cg_vloop(g, k->v[OUT].dims[last], vectors ? g->target->lanes : 1,
               pad_step, p);
}

static void pad_body(prn_kernel *k) {
  prn_cg *g = k->g;
  padder p = {.k = k};
  prn_v zero = cg_i64(g, 0);
  bool value = k->n > VALUE && k->v[VALUE].type;
  p.value = value ? load(k, VALUE, zero)
                  : LLVMConstNull(prn_elem_value(g, k->v[X].type->dtype));
  if (rank(k) == 0) {
    store(k, load(k, X, zero), zero);
    return;
  }
  prn_loop l;
  prn_loop_begin(g, &l, k->begin, k->end, 1, NULL, 0);
  pad_row(&p, l.iv);
  prn_loop_end(g, &l);
}

const prn_kernel_kind prn_kernel_pad = {pad_check, pad_items, pad_body, NULL};
