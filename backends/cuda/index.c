/* Kernels that look elements up or put them in places: gather, scatter, sort,
 * pad, running sums, positions of extrema, sizes as data. */
#include "backends/cuda/cu.h"

enum { THREADS = 256 };

/* Names of the positions of a whole shape. */
static const char **new_index(prn_cu *c) {
  return PRN_ARENA_ARRAY(&c->arena, const char *, PRN_CU_RANK);
}

static prn_dim count(prn_cu *c, const prn_type *t) {
  return prn_cu_product(c, (unsigned)t->rank, t->dims);
}

/* The offset of element index of operand i, as it lies. */
static const char *at(prn_cu_text *t, unsigned i, const char *const *index) {
  const prn_type *v = prn_op_operand(t->op, i)->type;
  return prn_cu_offset(t, (unsigned)v->rank, v->strides, index);
}

/* Opens a loop over all elements of operand i, whose positions are index. */
static prn_dim open_each(prn_cu_text *t, unsigned i, const char **index) {
  const prn_type *v = prn_op_operand(t->op, i)->type;
  prn_dim n = count(t->c, v);
  prn_cu_open(t, "pmk_each<pmk_i>(%s, [&](pmk_i e) {", prn_cu_dim(t, n));
  prn_cu_split(t, "e", "i", (unsigned)v->rank, v->dims, index);
  return n;
}

static void end_each(prn_cu_text *t, prn_dim n) {
  prn_cu_close(t, "});");
  prn_cu_text_end(t, THREADS, 0, prn_cu_blocks_some(t->c, n, THREADS));
}

/* Lines that read an index at `given` into a local `to`, and return from the
 * lambda where it is out of range. */
static void read_index(prn_cu_text *t, const char *given, prn_dim size) {
  prn_cu_line(t, "pmk_i to;");
  prn_cu_line(t, "if (!pmk_index<pmk_i>(a, %s, %s, &to)) return;", given,
              prn_cu_dim(t, size));
}

/* ---- gather ---- */

enum { DATA, INDICES, OUT };

static prn_status check_indices(const prn_op *op) {
  prn_dtype i = prn_op_operand(op, INDICES)->type->dtype;
  if (i == PRN_I64 || i == PRN_I32) return PRN_OK;
  return prn_op_error(op, "expected indices of type i32 or i64");
}

static void emit_gather(prn_cu *c, const prn_op *op) {
  prn_cu_text t;
  const prn_type *data = prn_op_operand(op, DATA)->type;
  unsigned axis = (unsigned)prn_op_int(op, "axis", 0);
  unsigned j = (unsigned)prn_op_operand(op, INDICES)->type->rank;
  const char **out = new_index(c), **from = new_index(c);
  prn_cu_text_begin(&t, c, op);
  prn_dim n = open_each(&t, OUT, out);
  read_index(&t, prn_cu_load(&t, INDICES, at(&t, INDICES, out + axis)),
             data->dims[axis]);
  for (unsigned i = 0; i < (unsigned)data->rank; i++)
    from[i] = i < axis ? out[i] : i == axis ? "to" : out[i + j - 1];
  prn_cu_store(&t, OUT, at(&t, OUT, out),
               prn_cu_load(&t, DATA, at(&t, DATA, from)));
  end_each(&t, n);
}

const prn_cu_kind prn_cu_gather = {check_indices, emit_gather};

static void emit_gather_elements(prn_cu *c, const prn_op *op) {
  prn_cu_text t;
  const prn_type *data = prn_op_operand(op, DATA)->type;
  unsigned axis = (unsigned)prn_op_int(op, "axis", 0);
  const char **out = new_index(c), **from = new_index(c);
  prn_cu_text_begin(&t, c, op);
  prn_dim n = open_each(&t, OUT, out);
  read_index(&t, prn_cu_load(&t, INDICES, at(&t, INDICES, out)),
             data->dims[axis]);
  for (unsigned i = 0; i < (unsigned)data->rank; i++)
    from[i] = i == axis ? "to" : out[i];
  prn_cu_store(&t, OUT, at(&t, OUT, out),
               prn_cu_load(&t, DATA, at(&t, DATA, from)));
  end_each(&t, n);
}

const prn_cu_kind prn_cu_gather_elements = {check_indices,
                                            emit_gather_elements};

/* ---- scatter: a thread for each column, so that the order of updates is
 * theirs ---- */

enum { S_INDICES, S_UPDATES, S_OUT };

static prn_status check_scatter(const prn_op *op) {
  prn_dtype i = prn_op_operand(op, S_INDICES)->type->dtype;
  if (i == PRN_I64 || i == PRN_I32) return PRN_OK;
  return prn_op_error(op, "expected indices of type i32 or i64");
}

static void emit_scatter(prn_cu *c, const prn_op *op) {
  prn_cu_text t;
  const prn_type *updates = prn_op_operand(op, S_UPDATES)->type;
  const prn_type *data = prn_op_operand(op, S_OUT)->type;
  unsigned s = (unsigned)updates->rank - 1;
  prn_str fn = prn_op_string(op, "fn", "set");
  const char **from = new_index(c), **to = new_index(c);
  prn_cu_text_begin(&t, c, op);
  prn_dim n = prn_cu_product(c, s, updates->dims + 1);
  prn_cu_open(&t, "pmk_each<pmk_i>(%s, [&](pmk_i e) {", prn_cu_dim(&t, n));
  prn_cu_split(&t, "e", "i", s, updates->dims + 1, from + 1);
  prn_cu_open(&t, "for (pmk_i j = 0; j < %s; j++) {",
              prn_cu_dim(&t, updates->dims[0]));
  from[0] = "j";
  prn_cu_line(&t, "pmk_i to;");
  prn_cu_line(&t, "if (!pmk_index<pmk_i>(a, %s, %s, &to)) continue;",
              prn_cu_load(&t, S_INDICES, at(&t, S_INDICES, from)),
              prn_cu_dim(&t, data->dims[0]));
  to[0] = "to";
  for (unsigned i = 0; i < s; i++)
    to[i + 1] = from[i + 1];
  const char *v = prn_cu_load(&t, S_UPDATES, at(&t, S_UPDATES, from));
  const char *place = at(&t, S_OUT, to);
  if (!prn_str_is(fn, "set"))
    v = prn_cu_str(c, "prn_%.*s(%s, %s)", PRN_STR_ARG(fn),
                   prn_cu_load(&t, S_OUT, place), v);
  prn_cu_store(&t, S_OUT, place, v);
  prn_cu_close(&t, "}");
  end_each(&t, n);
}

const prn_cu_kind prn_cu_scatter = {check_scatter, emit_scatter};

/* ---- along one dimension ---- */

/* A shape without its dimension `axis`. */
typedef struct lines {
  prn_dim dims[PRN_CU_RANK];
  unsigned rank, axis;
  prn_dim rows, depth;
} lines;

static lines lines_of(prn_cu *c, const prn_type *x, unsigned axis) {
  lines l = {.axis = axis, .depth = x->dims[axis]};
  for (unsigned i = 0; i < (unsigned)x->rank; i++)
    if (i != axis) l.dims[l.rank++] = x->dims[i];
  l.rows = prn_cu_product(c, l.rank, l.dims);
  return l;
}

/* The offset in operand i of element `e` of line `o`. */
static const char *along(prn_cu_text *t, const lines *l, unsigned i,
                         const char *e) {
  const char *part[PRN_CU_RANK], **index = new_index(t->c);
  prn_cu_split(t, "o", "o", l->rank, l->dims, part);
  for (unsigned k = 0, n = 0; k < l->rank + 1; k++)
    index[k] = k == l->axis ? e : part[n++];
  return at(t, i, index);
}

static void load_line(prn_cu_text *t, const lines *l, unsigned i) {
  prn_cu_open(t, "[&](pmk_i o, pmk_i e) {");
  const char *offset = along(t, l, i, "e");
  prn_cu_line(t, "return %s;", prn_cu_load(t, i, offset));
  prn_cu_close(t, "},");
}

static void open_lines(prn_cu_text *t, const lines *l, const char *call) {
  prn_cu_open(t, "%s(pmk_i(%s), pmk_i(%s),", call, prn_cu_dim(t, l->rows),
              prn_cu_dim(t, l->depth));
}

static void emit_arg_reduce(prn_cu *c, const prn_op *op) {
  prn_cu_text t;
  lines l = lines_of(c, prn_op_operand(op, 0)->type,
                     (unsigned)prn_op_int(op, "axis", 0));
  prn_cu_text_begin(&t, c, op);
  open_lines(&t, &l,
             prn_cu_str(c, "pmk_arg<%s, %s>",
                        prn_str_is(prn_op_string(op, "fn", ""), "max")
                            ? "true"
                            : "false",
                        prn_op_int(op, "last", 0) ? "true" : "false"));
  load_line(&t, &l, 0);
  prn_cu_open(&t, "[&](pmk_i o, int64_t x) {");
  const char *offset = along(&t, &l, 1, "0");
  prn_cu_store(&t, 1, offset, "x");
  prn_cu_close(&t, "});");
  t.indent--;
  prn_cu_text_end(&t, THREADS, 0, prn_cu_blocks_some(c, l.rows, THREADS));
}

const prn_cu_kind prn_cu_arg_reduce = {NULL, emit_arg_reduce};

static void emit_cumsum(prn_cu *c, const prn_op *op) {
  prn_cu_text t;
  const prn_type *x = prn_op_operand(op, 0)->type;
  lines l = lines_of(c, x, (unsigned)prn_op_int(op, "axis", 0));
  const char *type = prn_cu_value_type(x->dtype);
  prn_cu_text_begin(&t, c, op);
  open_lines(&t, &l,
             prn_cu_str(c, "pmk_scan<pmk_%s, %s, %s, %s>",
                        prn_op_int(op, "product", 0) ? "prod" : "sum",
                        prn_op_int(op, "exclusive", 0) ? "true" : "false",
                        prn_op_int(op, "reverse", 0) ? "true" : "false", type));
  load_line(&t, &l, 0);
  prn_cu_open(&t, "[&](pmk_i o, pmk_i e, %s x) {", type);
  const char *offset = along(&t, &l, 1, "e");
  prn_cu_store(&t, 1, offset, "x");
  prn_cu_close(&t, "});");
  t.indent--;
  prn_cu_text_end(&t, THREADS, 0, prn_cu_blocks_some(c, l.rows, THREADS));
}

const prn_cu_kind prn_cu_cumsum = {NULL, emit_cumsum};

static void emit_sort(prn_cu *c, const prn_op *op) {
  prn_cu_text t;
  const prn_type *x = prn_op_operand(op, 0)->type;
  lines l = lines_of(c, x, (unsigned)x->rank - 1);
  prn_cu_text_begin(&t, c, op);
  open_lines(&t, &l,
             prn_op_int(op, "descending", 0) ? "pmk_sort<true>"
                                             : "pmk_sort<false>");
  load_line(&t, &l, 0);
  prn_cu_open(&t, "[&](pmk_i o, pmk_i place, %s x, pmk_i e) {",
              prn_cu_value_type(x->dtype));
  const char *value = along(&t, &l, 1, "place");
  prn_cu_store(&t, 1, value, "x");
  prn_cu_open(&t, "{");
  const char *from = along(&t, &l, 2, "place");
  prn_cu_store(&t, 2, from, "(int64_t)e");
  prn_cu_close(&t, "}");
  prn_cu_close(&t, "});");
  t.indent--;
  prn_cu_text_end(&t, THREADS, 0, prn_cu_blocks_some(c, count(c, x), THREADS));
}

static prn_status check_sort(const prn_op *op) {
  if (prn_op_operand(op, 0)->type->rank > 0) return PRN_OK;
  return prn_op_error(op, "expected a dimension to go along");
}

const prn_cu_kind prn_cu_sort = {check_sort, emit_sort};

/* ---- pad ---- */

enum { P_X, P_OUT, P_VALUE };

/* Lines for the position in x, along one dimension, of position i of out. */
static const char *inside(prn_cu_text *t, const char *mode, unsigned k,
                          const char *i, prn_dim low, prn_dim size) {
  const char *name = prn_cu_str(t->c, "j%u", k);
  prn_cu_line(t, "const pmk_i %s = pmk_inside_%s<pmk_i>(%s - %s, %s);", name,
              mode, i, prn_cu_dim(t, low), prn_cu_dim(t, size));
  return name;
}

static void emit_pad(prn_cu *c, const prn_op *op) {
  prn_cu_text t;
  const prn_type *x = prn_op_operand(op, P_X)->type;
  const prn_attr *lows = prn_op_attr(op, "lows");
  prn_str mode = prn_op_string(op, "mode", "constant");
  const char *m = prn_cu_str(c, "%.*s", PRN_STR_ARG(mode));
  const char **out = new_index(c), **from = new_index(c);
  prn_cu_text_begin(&t, c, op);
  prn_dim n = open_each(&t, P_OUT, out);
  const char *there = "true";
  for (unsigned k = 0; k < (unsigned)x->rank; k++) {
    from[k] = inside(&t, m, k, out[k], lows->list[k]->dim, x->dims[k]);
    there = prn_cu_str(c, "%s && %s >= 0", there, from[k]);
  }
  const char *v = prn_cu_load(&t, P_X, at(&t, P_X, from));
  const char *type = prn_cu_value_type(x->dtype);
  const char *fill = prn_op_operand(op, P_VALUE) ? prn_cu_load(&t, P_VALUE, "0")
                                                 : prn_cu_str(c, "(%s)0", type);
  prn_cu_line(&t, "const %s v = %s ? (%s)%s : (%s)%s;", type, there, type, v,
              type, fill);
  prn_cu_store(&t, P_OUT, at(&t, P_OUT, out), "v");
  end_each(&t, n);
}

const prn_cu_kind prn_cu_pad = {NULL, emit_pad};

/* ---- dims ---- */

static void emit_dims(prn_cu *c, const prn_op *op) {
  prn_cu_text t;
  const prn_attr *values = prn_op_attr(op, "values");
  const prn_type *out = prn_op_operand(op, 0)->type;
  prn_cu_text_begin(&t, c, op);
  prn_cu_open(&t, "if (PMK_BX == 0 && PMK_TID == 0) {");
  for (uint32_t i = 0; i < values->size; i++) {
    const char *index = prn_cu_str(c, "%u", i);
    prn_cu_store(&t, 0, prn_cu_offset(&t, 1, out->strides, &index),
                 prn_cu_str(c, "(%s)%s", prn_cu_value_type(out->dtype),
                            prn_cu_dim(&t, values->list[i]->dim)));
  }
  prn_cu_close(&t, "}");
  prn_cu_text_end(&t, 32, 0, prn_dim_const(c->ctx, 1));
}

const prn_cu_kind prn_cu_dims = {NULL, emit_dims};
