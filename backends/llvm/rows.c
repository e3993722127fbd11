/* Kernels over rows: mem.softmax and mem.norm, along the last dimension of
 * strided views; columns.c has those whose rows lie side by side. A row is read
 * two or three times while it is in cache. */
#include <math.h>

#include "backends/llvm/columns.h"
#include "backends/llvm/emit.h"
#include "backends/llvm/vecmath.h"

enum {
  X = PRN_ROWS_X,
  OUT = PRN_ROWS_OUT,
  SCALE = PRN_ROWS_SCALE,
  BIAS = PRN_ROWS_BIAS
};

static unsigned rank(const prn_kernel *k) {
  return (unsigned)k->v[OUT].type->rank;
}

static prn_v length(const prn_kernel *k) { return k->v[OUT].dims[rank(k) - 1]; }

static prn_v items_of(prn_kernel *k, prn_v *work, unsigned cost) {
  prn_cg *g = k->g;
  if (prn_columns_fit(k)) return prn_columns_items(k, work, cost);
  prn_v rows = cg_i64(g, 1);
  for (unsigned i = 0; i + 1 < rank(k); i++)
    rows = prn_cg_mul(g, rows, k->v[OUT].dims[i]);
  prn_v vectors = prn_cg_add(
      g, prn_cg_div(g, length(k), cg_i64(g, g->target->lanes)), cg_i64(g, 1));
  *work = prn_cg_mul(g, prn_cg_mul(g, rows, vectors), cg_i64(g, cost));
  return rows;
}

static prn_status check(const prn_op *op) {
  for (uint32_t i = 0; i < op->num_operands; i++) {
    const prn_value *v = prn_op_operand(op, i);
    if (!v) continue;
    if (!prn_dtype_is_float(v->type->dtype) ||
        v->type->dtype != prn_op_operand(op, X)->type->dtype)
      return prn_op_error(op, "expected operands of one floating-point type");
    if (v->type->rank < 1)
      return prn_op_error(op, "expected operands of rank 1 or more");
  }
  return PRN_OK;
}

/* One row and the pass over it that is being emitted. */
typedef struct row {
  prn_kernel *k;
  prn_v base[4];
  prn_v acc;              /* memory: a vector accumulator */
  prn_v max, scale, mean; /* scalars */
  bool log;
} row;

static prn_dtype dtype(const row *r) { return r->k->v[X].type->dtype; }

static prn_t elem(const row *r) { return prn_elem_value(r->k->g, dtype(r)); }

static prn_v address(row *r, unsigned operand, prn_v i) {
  prn_cg *g = r->k->g;
  prn_v s = r->k->v[operand].strides[rank(r->k) - 1];
  return prn_elem_at(g, dtype(r), r->base[operand], prn_cg_mul(g, i, s));
}

static prn_v load(row *r, unsigned operand, prn_v i, unsigned lanes,
                  prn_v mask) {
  return prn_elem_load(r->k->g, dtype(r), address(r, operand, i),
                       r->k->v[operand].strides[rank(r->k) - 1], lanes, mask);
}

static void store(row *r, prn_v v, prn_v i, unsigned lanes, prn_v mask) {
  prn_elem_store(r->k->g, dtype(r), v, address(r, OUT, i),
                 r->k->v[OUT].strides[rank(r->k) - 1], lanes, mask);
}

static void locate(row *r, prn_v item) {
  prn_kernel *k = r->k;
  prn_cg *g = k->g;
  prn_v at[4];
  for (unsigned o = 0; o < 4; o++)
    at[o] = cg_i64(g, 0);
  for (unsigned i = rank(k) - 1; i-- > 0;) {
    prn_v d = k->v[OUT].dims[i];
    prn_v index = i ? prn_cg_mod(g, item, d) : item;
    if (i) item = prn_cg_div(g, item, d);
    for (unsigned o = 0; o < k->n; o++)
      if (k->v[o].type)
        at[o] = prn_cg_add(g, at[o], prn_cg_mul(g, index, k->v[o].strides[i]));
  }
  for (unsigned o = 0; o < k->n; o++)
    if (k->v[o].type)
      r->base[o] = prn_elem_at(g, dtype(r), k->v[o].base, at[o]);
}

/* ---- accumulation ---- */

/* A pass that folds values into a vector, which is then folded itself. Lanes
 * of a tail that are masked off, and of the vector in scalar tails, hold the
 * neutral element. */
typedef prn_v value_fn(row *r, prn_v i, unsigned lanes, prn_v mask);
typedef struct pass {
  row *r;
  prn_fold_fn *fold;
  value_fn *value;
  prn_v vector, scalar; /* accumulators in memory */
  double neutral;
} pass;

static void pass_step(prn_cg *g, prn_v i, unsigned lanes, prn_v mask,
                      void *user) {
  pass *p = user;
  prn_v v = p->value(p->r, i, lanes, mask);
  prn_v at = lanes == 1 ? p->scalar : p->vector;
  if (mask) v = cg_select(g, mask, v, prn_cg_fconst(LLVMTypeOf(v), p->neutral));
  prn_v old = LLVMBuildLoad2(g->b, LLVMTypeOf(v), at, "");
  LLVMBuildStore(g->b, p->fold(g, old, v, NULL), at);
}

static prn_v add(prn_cg *g, prn_v a, prn_v b, void *user) {
  (void)user;
  return cg_fadd(g, a, b);
}

static prn_v larger(prn_cg *g, prn_v a, prn_v b, void *user) {
  (void)user;
  return prn_vm_max(g, a, b);
}

static prn_v accumulate(row *r, prn_fold_fn *fold, value_fn *value,
                        double neutral) {
  prn_cg *g = r->k->g;
  unsigned lanes = g->target->lanes;
  prn_t e = elem(r), v = prn_cg_vec(e, lanes);
  pass p = {.r = r,
            .fold = fold,
            .value = value,
            .neutral = neutral,
            .vector = prn_cg_alloca(g, v, 64),
            .scalar = prn_cg_alloca(g, e, 8)};
  LLVMBuildStore(g->b, prn_cg_fconst(v, neutral), p.vector);
  LLVMBuildStore(g->b, prn_cg_fconst(e, neutral), p.scalar);
  prn_cg_vloop(g, length(r->k), lanes, pass_step, &p);
  prn_v whole =
      prn_fold_lanes(g, fold, NULL, LLVMBuildLoad2(g->b, v, p.vector, ""));
  return fold(g, whole, LLVMBuildLoad2(g->b, e, p.scalar, ""), NULL);
}

static prn_v splat(row *r, prn_v s, unsigned lanes) {
  return prn_cg_splat(r->k->g, s, lanes);
}

/* ---- softmax ---- */

static prn_v value_x(row *r, prn_v i, unsigned lanes, prn_v mask) {
  return load(r, X, i, lanes, mask);
}

/* exp(x - max), kept in out when that is what out needs. */
static prn_v value_exp(row *r, prn_v i, unsigned lanes, prn_v mask) {
  prn_cg *g = r->k->g;
  prn_v x = cg_fsub(g, load(r, X, i, lanes, mask), splat(r, r->max, lanes));
  prn_v e = prn_vm_exp(g, x);
  if (!r->log) store(r, e, i, lanes, mask);
  return e;
}

static void softmax_last(prn_cg *g, prn_v i, unsigned lanes, prn_v mask,
                         void *user) {
  row *r = user;
  prn_v s = splat(r, r->scale, lanes), v;
  if (r->log)
    v = cg_fsub(
        g, cg_fsub(g, load(r, X, i, lanes, mask), splat(r, r->max, lanes)), s);
  else
    v = cg_fmul(g, load(r, OUT, i, lanes, mask), s);
  store(r, v, i, lanes, mask);
}

static prn_v softmax_items(prn_kernel *k, prn_v *work) {
  return items_of(k, work, 40);
}

static void softmax_body(prn_kernel *k) {
  prn_cg *g = k->g;
  if (prn_columns_fit(k)) {
    prn_columns_softmax(k);
    return;
  }
  row r = {.k = k, .log = prn_op_int(k->op, "log", 0) != 0};
  prn_loop l;
  prn_loop_begin(g, &l, k->begin, k->end, 1, NULL, 0);
  locate(&r, l.iv);
  r.max = accumulate(&r, larger, value_x, -(double)INFINITY);
  prn_v sum = accumulate(&r, add, value_exp, 0);
  r.scale = r.log ? prn_vm_log(g, sum) : prn_vm_reciprocal(g, sum);
  prn_cg_vloop(g, length(k), g->target->lanes, softmax_last, &r);
  prn_loop_end(g, &l);
}

const prn_kernel_kind prn_kernel_softmax = {check, softmax_items, softmax_body,
                                            NULL};

/* ---- layer and RMS normalisation ---- */

static prn_v centred(row *r, prn_v i, unsigned lanes, prn_v mask) {
  prn_v x = load(r, X, i, lanes, mask);
  return r->mean ? cg_fsub(r->k->g, x, splat(r, r->mean, lanes)) : x;
}

static prn_v value_square(row *r, prn_v i, unsigned lanes, prn_v mask) {
  prn_v x = centred(r, i, lanes, mask);
  return cg_fmul(r->k->g, x, x);
}

static void norm_last(prn_cg *g, prn_v i, unsigned lanes, prn_v mask,
                      void *user) {
  row *r = user;
  prn_v y = cg_fmul(g, centred(r, i, lanes, mask), splat(r, r->scale, lanes));
  bool scale = r->k->n > SCALE && r->k->v[SCALE].type;
  bool bias = r->k->n > BIAS && r->k->v[BIAS].type;
  if (scale) y = cg_fmul(g, y, load(r, SCALE, i, lanes, mask));
  if (bias) y = cg_fadd(g, y, load(r, BIAS, i, lanes, mask));
  store(r, y, i, lanes, mask);
}

static prn_v norm_items(prn_kernel *k, prn_v *work) {
  return items_of(k, work, 12);
}

static void norm_body(prn_kernel *k) {
  prn_cg *g = k->g;
  if (prn_columns_fit(k)) {
    prn_columns_norm(k);
    return;
  }
  row r = {.k = k};
  bool rms = prn_op_int(k->op, "rms", 0) != 0;
  double epsilon = (double)prn_op_float(k->op, "epsilon", 0);
  prn_v n = LLVMBuildSIToFP(g->b, length(k), elem(&r), "");
  prn_loop l;
  prn_loop_begin(g, &l, k->begin, k->end, 1, NULL, 0);
  locate(&r, l.iv);
  r.mean = rms ? NULL : cg_fdiv(g, accumulate(&r, add, value_x, 0), n);
  prn_v var = cg_fdiv(g, accumulate(&r, add, value_square, 0), n);
  var = cg_fadd(g, var, prn_cg_fconst(LLVMTypeOf(var), epsilon));
  r.scale = prn_vm_rsqrt(g, var);
  prn_cg_vloop(g, length(k), g->target->lanes, norm_last, &r);
  prn_loop_end(g, &l);
}

const prn_kernel_kind prn_kernel_norm = {check, norm_items, norm_body, NULL};
