/* mem.scatter: rows replaced or changed, in the order of the updates.
 *
 * Workers share the columns, so that each row's updates keep their order. */
#include "backends/llvm/emit.h"

enum { INDICES, UPDATES, OUT };
enum { CHUNK = 4096 }; /* columns of one item */

static bool sets(const prn_op *op) {
  return prn_str_is(prn_op_string(op, "fn", "set"), "set");
}

static prn_status check(const prn_op *op) {
  const prn_type *i = prn_op_operand(op, INDICES)->type;
  prn_dtype t = prn_op_operand(op, OUT)->type->dtype;
  if (i->dtype != PRN_I64 && i->dtype != PRN_I32)
    return prn_op_error(op, "expected indices of type i32 or i64");
  if (prn_op_operand(op, UPDATES)->type->dtype != t)
    return prn_op_error(op, "expected data and updates of one element type");
  return PRN_OK;
}

static prn_v items(prn_kernel *k, prn_v *work) {
  prn_cg *g = k->g;
  prn_v columns = k->v[OUT].dims[1];
  *work = prn_cg_mul(g, k->v[UPDATES].dims[0], columns);
  return prn_cg_ceildiv(g, columns, cg_i64(g, CHUNK));
}

typedef struct row {
  prn_kernel *k;
  prn_v from, to; /* addresses */
} row;

static void step(prn_cg *g, prn_v i, unsigned lanes, prn_v mask, void *user) {
  const row *r = user;
  prn_dtype t = r->k->v[OUT].type->dtype;
  prn_v in = r->k->v[UPDATES].strides[1], out = r->k->v[OUT].strides[1];
  prn_v from = prn_elem_at(g, t, r->from, prn_cg_mul(g, i, in));
  prn_v to = prn_elem_at(g, t, r->to, prn_cg_mul(g, i, out));
  prn_v v = prn_elem_load(g, t, from, in, lanes, mask);
  if (!sets(r->k->op)) {
    prn_scalar f = prn_scalar_find(prn_op_string(r->k->op, "fn", ""));
    prn_v old = prn_elem_load(g, t, to, out, lanes, mask);
    v = prn_elem_round(g, prn_body_apply(g, f, t, old, v), t);
  }
  prn_elem_store(g, t, v, to, out, lanes, mask);
}

static void one_item(prn_kernel *k, prn_v item) {
  prn_cg *g = k->g;
  prn_dtype t = k->v[OUT].type->dtype, it = k->v[INDICES].type->dtype;
  prn_v start = prn_cg_mul(g, item, cg_i64(g, CHUNK)), ok;
  prn_v n =
      prn_cg_min(g, prn_cg_sub(g, k->v[OUT].dims[1], start), cg_i64(g, CHUNK));
  prn_loop l;
  prn_loop_begin(g, &l, cg_i64(g, 0), k->v[UPDATES].dims[0], 1, NULL, 0);
  prn_v p = prn_elem_at(g, it, k->v[INDICES].base,
                        prn_cg_mul(g, l.iv, k->v[INDICES].strides[0]));
  prn_v i = prn_kernel_index(k, INDICES, p, k->v[OUT].dims[0], &ok);
  prn_if good = prn_if_begin(g, ok);
  prn_v from = prn_cg_add(g, prn_cg_mul(g, l.iv, k->v[UPDATES].strides[0]),
                          prn_cg_mul(g, start, k->v[UPDATES].strides[1]));
  prn_v to = prn_cg_add(g, prn_cg_mul(g, i, k->v[OUT].strides[0]),
                        prn_cg_mul(g, start, k->v[OUT].strides[1]));
  row r = {k, prn_elem_at(g, t, k->v[UPDATES].base, from),
           prn_elem_at(g, t, k->v[OUT].base, to)};
  prn_cg_vloop(g, n, g->target->lanes, step, &r);
  prn_if_end(g, good);
  prn_loop_end(g, &l);
}

static void body(prn_kernel *k) {
  prn_loop l;
  prn_loop_begin(k->g, &l, k->begin, k->end, 1, NULL, 0);
  one_item(k, l.iv);
  prn_loop_end(k->g, &l);
}

const prn_kernel_kind prn_kernel_scatter = {check, items, body, NULL};
