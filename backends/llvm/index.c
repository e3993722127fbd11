/* Kernels that look positions up: mem.gather, mem.gather_elements, mem.dims.
 *
 * An index out of range stops nothing but its own copy, and makes run return
 * PRUNE_BAD_INDEX. */
#include "backends/llvm/abi.h"
#include "backends/llvm/emit.h"

enum { DATA, INDICES, OUT };
enum { CHUNK = 16384 }; /* elements of a row copied by one item */

static prn_status check(const prn_op *op) {
  const prn_type *i = prn_op_operand(op, INDICES)->type;
  if (i->dtype != PRN_I64 && i->dtype != PRN_I32)
    return prn_op_error(op, "expected indices of type i32 or i64");
  if (prn_op_operand(op, DATA)->type->dtype !=
      prn_op_operand(op, OUT)->type->dtype)
    return prn_op_error(op, "expected data and result of one element type");
  return PRN_OK;
}

prn_v prn_kernel_index(prn_kernel *k, unsigned view, prn_v p, prn_v size,
                       prn_v *ok) {
  prn_cg *g = k->g;
  prn_dtype t = k->v[view].type->dtype;
  prn_v i = prn_elem_load(g, t, p, cg_i64(g, 1), 1, NULL);
  i = prn_elem_cast(g, i, t, PRN_I64);
  prn_v low = cg_lt(g, i, cg_i64(g, 0));
  /* Not prn_cg_add: the data may be such that this wraps. */
  i = cg_select(g, low, LLVMBuildAdd(g->b, i, size, ""), i);
  *ok = cg_cmp(g, LLVMIntULT, i, size);
  prn_if bad = prn_if_begin(g, LLVMBuildNot(g->b, *ok, ""));
  prn_frame_fail(k->e, PRUNE_BAD_INDEX);
  prn_if_end(g, bad);
  return i;
}

/* Offset in v of the element whose dimensions [first, first + n) have the
 * row-major number `item` under sizes `dims`. */
static prn_v offset(prn_cg *g, const prn_view *v, unsigned first, unsigned n,
                    const prn_v *dims, prn_v item) {
  prn_v at = cg_i64(g, 0);
  for (unsigned i = n; i-- > 0;) {
    prn_v index = i ? prn_cg_mod(g, item, dims[i]) : item;
    if (i) item = prn_cg_div(g, item, dims[i]);
    at = prn_cg_add(g, at, prn_cg_mul(g, index, v->strides[first + i]));
  }
  return at;
}

static prn_v product(prn_cg *g, const prn_v *dims, unsigned n) {
  prn_v r = cg_i64(g, 1);
  for (unsigned i = 0; i < n; i++)
    r = prn_cg_mul(g, r, dims[i]);
  return r;
}

/* ---- gather: out[p, j, s] = data[p, indices[j], s] ---- */

typedef struct shape {
  unsigned p, j, s; /* numbers of dimensions */
} shape;

static shape shape_of(const prn_kernel *k) {
  unsigned axis = (unsigned)prn_op_int(k->op, "axis", 0);
  return (shape){axis, (unsigned)k->v[INDICES].type->rank,
                 (unsigned)k->v[DATA].type->rank - axis - 1};
}

/* How many of the trailing dimensions data and out hold as one dense row. */
static unsigned dense_tail(const prn_kernel *k, shape f) {
  const prn_type *d = k->v[DATA].type, *o = k->v[OUT].type;
  prn_dim step = prn_dim_const(k->e->ctx, 1);
  unsigned n = 0;
  for (; n < f.s; n++) {
    unsigned i = (unsigned)d->rank - 1 - n, j = (unsigned)o->rank - 1 - n;
    if (d->strides[i] != step || o->strides[j] != step) break;
    step = prn_dim_mul(k->e->ctx, step, d->dims[i]);
  }
  return n;
}

/* Elements in a row, and rows times chunks. */
static prn_v row_length(prn_kernel *k, shape f) {
  unsigned n = dense_tail(k, f);
  return product(k->g, &k->v[DATA].dims[f.p + 1 + f.s - n], n);
}

static prn_v gather_items(prn_kernel *k, prn_v *work) {
  prn_cg *g = k->g;
  shape f = shape_of(k);
  unsigned n = dense_tail(k, f);
  prn_v rows = product(g, k->v[OUT].dims, f.p + f.j + f.s - n);
  prn_v len = row_length(k, f);
  *work =
      prn_cg_mul(g, rows,
                 prn_cg_add(g, prn_cg_div(g, len, cg_i64(g, g->target->lanes)),
                            cg_i64(g, 8)));
  return prn_cg_mul(g, rows, prn_cg_ceildiv(g, len, cg_i64(g, CHUNK)));
}

typedef struct copy {
  prn_dtype t;
  prn_v from, to;
} copy;

static void copy_step(prn_cg *g, prn_v i, unsigned lanes, prn_v mask,
                      void *user) {
  const copy *c = user;
  prn_v one = cg_i64(g, 1);
  prn_v v = prn_elem_load(g, c->t, prn_elem_at(g, c->t, c->from, i), one, lanes,
                          mask);
  prn_elem_store(g, c->t, v, prn_elem_at(g, c->t, c->to, i), one, lanes, mask);
}

static void gather_item(prn_kernel *k, shape f, prn_v item) {
  prn_cg *g = k->g;
  unsigned tail = dense_tail(k, f), s = f.s - tail;
  prn_v len = row_length(k, f);
  prn_v chunks = prn_cg_ceildiv(g, len, cg_i64(g, CHUNK));
  prn_v start = prn_cg_mul(g, prn_cg_mod(g, item, chunks), cg_i64(g, CHUNK));
  item = prn_cg_div(g, item, chunks);
  const prn_v *dims = k->v[OUT].dims;
  prn_v to = offset(g, &k->v[OUT], 0, f.p + f.j + s, dims, item);
  prn_v num_s = product(g, dims + f.p + f.j, s);
  prn_v num_j = product(g, dims + f.p, f.j);
  prn_v is = prn_cg_mod(g, item, num_s), rest = prn_cg_div(g, item, num_s);
  prn_v ij = prn_cg_mod(g, rest, num_j), ip = prn_cg_div(g, rest, num_j);
  prn_v at = offset(g, &k->v[INDICES], 0, f.j, dims + f.p, ij), ok;
  prn_v i = prn_kernel_index(
      k, INDICES,
      prn_elem_at(g, k->v[INDICES].type->dtype, k->v[INDICES].base, at),
      k->v[DATA].dims[f.p], &ok);
  prn_v from = offset(g, &k->v[DATA], 0, f.p, dims, ip);
  from = prn_cg_add(g, from,
                    offset(g, &k->v[DATA], f.p + 1, s, dims + f.p + f.j, is));
  prn_if good = prn_if_begin(g, ok);
  from = prn_cg_add(g, from, prn_cg_mul(g, i, k->v[DATA].strides[f.p]));
  prn_dtype t = k->v[DATA].type->dtype;
  copy c = {t, prn_elem_at(g, t, k->v[DATA].base, prn_cg_add(g, from, start)),
            prn_elem_at(g, t, k->v[OUT].base, prn_cg_add(g, to, start))};
  prn_v n = prn_cg_min(g, prn_cg_sub(g, len, start), cg_i64(g, CHUNK));
  prn_cg_vloop(g, n, g->target->lanes, copy_step, &c);
  prn_if_end(g, good);
}

static void gather_body(prn_kernel *k) {
  prn_loop l;
  prn_loop_begin(k->g, &l, k->begin, k->end, 1, NULL, 0);
  gather_item(k, shape_of(k), l.iv);
  prn_loop_end(k->g, &l);
}

const prn_kernel_kind prn_kernel_gather = {check, gather_items, gather_body,
                                           NULL};

/* ---- gather_elements: element by element, a row an item ---- */

static prn_v elements_items(prn_kernel *k, prn_v *work) {
  unsigned rank = (unsigned)k->v[OUT].type->rank;
  *work =
      prn_cg_mul(k->g, product(k->g, k->v[OUT].dims, rank), cg_i64(k->g, 4));
  return product(k->g, k->v[OUT].dims, rank ? rank - 1 : 0);
}

static void elements_body(prn_kernel *k) {
  prn_cg *g = k->g;
  unsigned rank = (unsigned)k->v[OUT].type->rank, last = rank - 1;
  unsigned axis = (unsigned)prn_op_int(k->op, "axis", 0);
  const prn_v *dims = k->v[OUT].dims;
  prn_dtype t = k->v[DATA].type->dtype, it = k->v[INDICES].type->dtype;
  prn_view data = k->v[DATA];
  data.strides[axis] = cg_i64(g, 0); /* the index's part comes apart */
  prn_loop l, c;
  prn_loop_begin(g, &l, k->begin, k->end, 1, NULL, 0);
  prn_v from = offset(g, &data, 0, last, dims, l.iv);
  prn_v at = offset(g, &k->v[INDICES], 0, last, dims, l.iv);
  prn_v to = offset(g, &k->v[OUT], 0, last, dims, l.iv);
  prn_loop_begin(g, &c, cg_i64(g, 0), dims[last], 1, NULL, 0);
  prn_v ok,
      ip = prn_elem_at(
          g, it, k->v[INDICES].base,
          prn_cg_add(g, at, prn_cg_mul(g, c.iv, k->v[INDICES].strides[last])));
  prn_v i = prn_kernel_index(k, INDICES, ip, k->v[DATA].dims[axis], &ok);
  prn_if good = prn_if_begin(g, ok);
  prn_v f = prn_cg_add(g, from, prn_cg_mul(g, c.iv, data.strides[last]));
  f = prn_cg_add(g, f, prn_cg_mul(g, i, k->v[DATA].strides[axis]));
  prn_v v = prn_elem_load(g, t, prn_elem_at(g, t, k->v[DATA].base, f),
                          cg_i64(g, 1), 1, NULL);
  prn_v o = prn_cg_add(g, to, prn_cg_mul(g, c.iv, k->v[OUT].strides[last]));
  prn_elem_store(g, t, v, prn_elem_at(g, t, k->v[OUT].base, o), cg_i64(g, 1), 1,
                 NULL);
  prn_if_end(g, good);
  prn_loop_end(g, &c);
  prn_loop_end(g, &l);
}

static prn_status elements_check(const prn_op *op) {
  PRN_TRY(check(op));
  if (prn_op_operand(op, OUT)->type->rank < 1)
    return prn_op_error(op, "expected a result of rank 1 or more");
  return PRN_OK;
}

const prn_kernel_kind prn_kernel_gather_elements = {
    elements_check, elements_items, elements_body, NULL};

/* ---- dims: sizes as data ---- */

static prn_v dims_items(prn_kernel *k, prn_v *work) {
  (void)work;
  return cg_i64(k->g, 1);
}

static void dims_body(prn_kernel *k) {
  prn_cg *g = k->g;
  const prn_attr *values = prn_op_attr(k->op, "values");
  prn_dtype t = k->v[0].type->dtype;
  for (uint32_t i = 0; i < values->size; i++) {
    prn_v v = prn_emit_dim(k->e, values->list[i]->dim);
    v = prn_elem_cast(g, v, PRN_I64, t);
    prn_v at = k->v[0].type->rank
                   ? prn_cg_mul(g, cg_i64(g, i), k->v[0].strides[0])
                   : cg_i64(g, 0);
    prn_elem_store(g, t, v, prn_elem_at(g, t, k->v[0].base, at), cg_i64(g, 1),
                   1, NULL);
  }
}

const prn_kernel_kind prn_kernel_dims = {NULL, dims_items, dims_body, NULL};
