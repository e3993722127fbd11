/* mem.sort: the positions of a row's elements, ordered by a heap.
 *
 * No two positions are equal in order (the smaller one comes first where the
 * elements are), so that the result is that of a stable sort, in place and in
 * n log n steps whatever the data. NaNs are larger than all else. */
#include "backends/llvm/emit.h"

enum { X, VALUES, INDICES };

static prn_status check(const prn_op *op) {
  if (prn_op_operand(op, INDICES)->type->dtype != PRN_I64)
    return prn_op_error(op, "expected positions of type i64");
  if (prn_op_operand(op, X)->type->dtype !=
      prn_op_operand(op, VALUES)->type->dtype)
    return prn_op_error(op, "expected values of the data's element type");
  return PRN_OK;
}

static unsigned last_of(const prn_kernel *k) {
  return (unsigned)k->v[X].type->rank - 1;
}

static prn_v items(prn_kernel *k, prn_v *work) {
  prn_v n = cg_i64(k->g, 1);
  for (unsigned i = 0; i < last_of(k); i++)
    n = prn_cg_mul(k->g, n, k->v[X].dims[i]);
  *work = prn_cg_mul(k->g, n, k->v[X].dims[last_of(k)]);
  *work = prn_cg_mul(k->g, *work, cg_i64(k->g, 32));
  return n;
}

/* One row: addresses of its first elements. */
typedef struct row {
  prn_kernel *k;
  prn_v at[3], n;
} row;

static prn_v place(const row *r, unsigned view, prn_v i) {
  prn_cg *g = r->k->g;
  prn_v step = r->k->v[view].strides[last_of(r->k)];
  return prn_elem_at(g, r->k->v[view].type->dtype, r->at[view],
                     prn_cg_mul(g, i, step));
}

static prn_v load(const row *r, unsigned view, prn_v i) {
  return prn_elem_load(r->k->g, r->k->v[view].type->dtype, place(r, view, i),
                       cg_i64(r->k->g, 1), 1, NULL);
}

static void store(const row *r, unsigned view, prn_v v, prn_v i) {
  prn_elem_store(r->k->g, r->k->v[view].type->dtype, v, place(r, view, i),
                 cg_i64(r->k->g, 1), 1, NULL);
}

/* a is larger than b. */
static prn_v larger(const row *r, prn_v a, prn_v b) {
  prn_cg *g = r->k->g;
  prn_dtype t = r->k->v[X].type->dtype;
  prn_v more = prn_body_apply(g, PRN_SCALAR_gt, t, a, b);
  if (!prn_dtype_is_float(t)) return more;
  prn_v an = cg_fcmp(g, LLVMRealUNO, a, a), bn = cg_fcmp(g, LLVMRealUNO, b, b);
  prn_v only = LLVMBuildAnd(g->b, an, LLVMBuildNot(g->b, bn, ""), "");
  return LLVMBuildOr(g->b, more, only, "");
}

/* The element at position i comes after that at position j. */
static prn_v after(const row *r, prn_v i, prn_v j) {
  prn_cg *g = r->k->g;
  prn_v a = load(r, X, i), b = load(r, X, j);
  prn_v up = larger(r, a, b), down = larger(r, b, a);
  prn_v later = prn_op_int(r->k->op, "descending", 0) ? down : up;
  prn_v tie = LLVMBuildNot(g->b, LLVMBuildOr(g->b, up, down, ""), "");
  tie = LLVMBuildAnd(g->b, tie, cg_lt(g, j, i), "");
  return LLVMBuildOr(g->b, later, tie, "");
}

/* Lets the position at `top` of a heap of n sink to its place. A step that
 * finds it there changes nothing. */
static void sink(const row *r, prn_v top, prn_v n, prn_v depth) {
  prn_cg *g = r->k->g;
  prn_v one = cg_i64(g, 1);
  prn_loop l;
  prn_loop_begin(g, &l, cg_i64(g, 0), depth, 1, &top, 1);
  prn_v at = l.cur[0];
  prn_v left = prn_cg_add(g, prn_cg_add(g, at, at), one);
  left = cg_select(g, cg_lt(g, left, n), left, at);
  prn_v right = prn_cg_add(g, left, one);
  prn_v both = LLVMBuildAnd(g->b, cg_cmp(g, LLVMIntNE, left, at),
                            cg_lt(g, right, n), "");
  right = cg_select(g, both, right, left);
  prn_v child =
      cg_select(g, after(r, load(r, INDICES, right), load(r, INDICES, left)),
                right, left);
  prn_v a = load(r, INDICES, at), b = load(r, INDICES, child);
  prn_v swap = after(r, b, a);
  store(r, INDICES, cg_select(g, swap, b, a), at);
  prn_if moved = prn_if_begin(g, swap);
  store(r, INDICES, a, child);
  prn_if_end(g, moved);
  l.next[0] = cg_select(g, swap, child, at);
  prn_loop_end(g, &l);
}

static void sort_row(const row *r) {
  prn_cg *g = r->k->g;
  prn_v zero = cg_i64(g, 0), one = cg_i64(g, 1);
  prn_v args[2] = {r->n, LLVMConstInt(g->i1, 0, 0)};
  prn_v zeros = prn_cg_intrinsic(g, "llvm.ctlz", g->i64, args, 2);
  prn_v depth = LLVMBuildSub(g->b, cg_i64(g, 64), zeros, "");
  prn_v half = prn_cg_div(g, r->n, cg_i64(g, 2));
  prn_loop l;
  prn_loop_begin(g, &l, zero, r->n, 1, NULL, 0);
  store(r, INDICES, l.iv, l.iv);
  prn_loop_end(g, &l);
  prn_loop_begin(g, &l, zero, half, 1, NULL, 0);
  sink(r, prn_cg_sub(g, prn_cg_sub(g, half, one), l.iv), r->n, depth);
  prn_loop_end(g, &l);
  prn_loop_begin(g, &l, one, r->n, 1, NULL, 0);
  prn_v end = prn_cg_sub(g, r->n, l.iv);
  prn_v first = load(r, INDICES, zero), last = load(r, INDICES, end);
  store(r, INDICES, last, zero);
  store(r, INDICES, first, end);
  sink(r, zero, end, depth);
  prn_loop_end(g, &l);
  prn_loop_begin(g, &l, zero, r->n, 1, NULL, 0);
  store(r, VALUES, load(r, X, load(r, INDICES, l.iv)), l.iv);
  prn_loop_end(g, &l);
}

static void body(prn_kernel *k) {
  prn_cg *g = k->g;
  row r = {.k = k, .n = k->v[X].dims[last_of(k)]};
  prn_loop l;
  prn_loop_begin(g, &l, k->begin, k->end, 1, NULL, 0);
  for (unsigned v = 0; v < 3; v++) {
    prn_v item = l.iv, at = cg_i64(g, 0);
    for (unsigned i = last_of(k); i-- > 0;) {
      prn_v d = k->v[X].dims[i], index = i ? prn_cg_mod(g, item, d) : item;
      if (i) item = prn_cg_div(g, item, d);
      at = prn_cg_add(g, at, prn_cg_mul(g, index, k->v[v].strides[i]));
    }
    r.at[v] = prn_elem_at(g, k->v[v].type->dtype, k->v[v].base, at);
  }
  sort_row(&r);
  prn_loop_end(g, &l);
}

const prn_kernel_kind prn_kernel_sort = {check, items, body, NULL};
