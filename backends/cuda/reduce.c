/* Kernels over index spaces that sum: mem.reduce, mem.softmax, mem.norm. */
#include "backends/cuda/cu.h"

enum { THREADS = 256, WARP = 32 };

/* Values of inputs 0 .. n, as locals. */
static void load_all(prn_cu_text *t, const prn_nest *nest, unsigned n,
                     const char *const *index, const char **out) {
  for (unsigned i = 0; i < n; i++) {
    const char *type = prn_cu_value_type(prn_op_operand(t->op, i)->type->dtype);
    out[i] = prn_cu_str(t->c, "x%u", i);
    prn_cu_line(t, "const %s %s = %s;", type, out[i],
                prn_cu_load(t, i, prn_cu_nest_offset(t, nest, i, index)));
  }
}

static prn_nest nest_of(const prn_cu *c, const prn_op *op, uint32_t keep,
                        uint32_t last) {
  const prn_type *types[PRN_CU_VIEWS];
  prn_nest n;
  for (uint32_t i = 0; i < op->num_operands; i++)
    types[i] = prn_op_operand(op, i)->type;
  prn_nest_init(c->ctx, &n, types, op->num_operands, keep, last);
  return n;
}

/* ---- reduce ---- */

/* The number of the nest's dimensions that are not reduced: they are first. */
static unsigned outer_rank(const prn_nest *n, uint32_t axes) {
  unsigned r = 0;
  while (r < n->rank && !(axes >> n->axis[r] & 1))
    r++;
  return r;
}

/* Neighbouring elements are added up: by the lanes of a warp. */
static bool across_lanes(const prn_nest *n, unsigned outer) {
  return outer < n->rank && prn_dim_is(n->strides[0][n->rank - 1], 1);
}

static void emit_reduce(prn_cu *c, const prn_op *op) {
  prn_cu_text t;
  const prn_block *body = prn_op_block(op, "body");
  uint32_t axes = prn_nest_axes(op), ins = op->num_operands - 1;
  prn_nest n = nest_of(c, op, prn_nest_indices(body), axes);
  unsigned outer = outer_rank(&n, axes);
  const char *index[PRN_CU_RANK], *at[PRN_CU_RANK], *args[PRN_CU_VIEWS], *v[1];
  prn_dim rows = prn_cu_product(c, outer, n.dims);
  prn_dim depth = prn_cu_product(c, n.rank - outer, n.dims + outer);
  bool lanes = across_lanes(&n, outer);
  const char *type = prn_cu_value_type(prn_op_operand(op, ins)->type->dtype);
  prn_cu_text_begin(&t, c, op);
  prn_cu_open(&t, "pmk_reduce<pmk_%.*s, %s, %s>(pmk_i(%s), pmk_i(%s),",
              PRN_STR_ARG(prn_op_string(op, "fn", "sum")), type,
              lanes ? "true" : "false", prn_cu_dim(&t, rows),
              prn_cu_dim(&t, depth));
  prn_cu_open(&t, "[&](pmk_i o, pmk_i e) {");
  prn_cu_split(&t, "o", "o", outer, n.dims, index);
  prn_cu_split(&t, "e", "i", n.rank - outer, n.dims + outer, index + outer);
  load_all(&t, &n, ins, index, args);
  prn_cu_originals(&n, index, at);
  v[0] = args[0];
  if (body) prn_cu_body(&t, body, args, at, v);
  prn_cu_line(&t, "return (%s)%s;", type, v[0]);
  prn_cu_close(&t, "},");
  prn_cu_open(&t, "[&](pmk_i o, %s x) {", type);
  prn_cu_split(&t, "o", "o", outer, n.dims, index);
  for (unsigned i = outer; i < n.rank; i++)
    index[i] = "0";
  prn_cu_store(&t, ins, prn_cu_nest_offset(&t, &n, ins, index), "x");
  prn_cu_close(&t, "});");
  t.indent--;
  prn_cu_text_end(
      &t, THREADS, 0,
      prn_cu_blocks_some(c, rows, lanes ? THREADS / WARP : THREADS));
}

const prn_cu_kind prn_cu_reduce = {prn_cu_body_check, emit_reduce};

/* ---- rows: softmax and norm ---- */

/* A lambda from (row, position) to the value of operand i; "1" or "0" is what
 * it gives where the operand is absent. */
static void row_load(prn_cu_text *t, const prn_nest *n, unsigned i, unsigned v,
                     const char *absent) {
  const char *index[PRN_CU_RANK];
  if (!prn_op_operand(t->op, i)) {
    prn_cu_line(t, "[&](pmk_i, pmk_i) { return %s; },", absent);
    return;
  }
  prn_cu_open(t, "[&](pmk_i r, pmk_i e) {");
  prn_cu_split(t, "r", "r", n->rank - 1, n->dims, index);
  index[n->rank - 1] = "e";
  prn_cu_line(t, "return (float)%s;",
              prn_cu_load(t, i, prn_cu_nest_offset(t, n, v, index)));
  prn_cu_close(t, "},");
}

static void row_store(prn_cu_text *t, const prn_nest *n, unsigned i,
                      unsigned v) {
  const char *index[PRN_CU_RANK];
  prn_cu_open(t, "[&](pmk_i r, pmk_i e, float x) {");
  prn_cu_split(t, "r", "r", n->rank - 1, n->dims, index);
  index[n->rank - 1] = "e";
  prn_cu_store(t, i, prn_cu_nest_offset(t, n, v, index), "x");
  prn_cu_close(t, "});");
}

/* Rows along the last dimension, which stays last and apart. */
static prn_nest rows_of(const prn_cu *c, const prn_op *op, unsigned *place) {
  const prn_type *types[PRN_CU_VIEWS];
  prn_nest n;
  unsigned count = 0;
  for (uint32_t i = 0; i < op->num_operands; i++) {
    if (i == 1 || !prn_op_operand(op, i)) continue;
    place[i] = count;
    types[count++] = prn_op_operand(op, i)->type;
  }
  place[1] = count;
  types[count++] = prn_op_operand(op, 1)->type; /* the output */
  uint32_t last = UINT32_C(1) << (types[0]->rank - 1);
  prn_nest_init(c->ctx, &n, types, count, last, last);
  return n;
}

static prn_status check_float(const prn_op *op) {
  prn_dtype t = prn_op_operand(op, 0)->type->dtype;
  if (t == PRN_F32 || t == PRN_F16 || t == PRN_BF16) return PRN_OK;
  return prn_op_error(op, "the CUDA backend does not compute it in %s",
                      prn_dtype_name(t));
}

static prn_status check_rows(const prn_op *op) {
  if (prn_op_operand(op, 0)->type->rank == 0)
    return prn_op_error(op, "expected a dimension to go along");
  return check_float(op);
}

static void end_rows(prn_cu_text *t, const prn_nest *n) {
  prn_dim rows = prn_cu_product(t->c, n->rank - 1, n->dims);
  prn_cu_text_end(t, THREADS, 0,
                  prn_cu_blocks_some(t->c, rows, THREADS / WARP));
}

static void open_rows(prn_cu_text *t, const prn_nest *n, const char *call) {
  prn_dim rows = prn_cu_product(t->c, n->rank - 1, n->dims);
  prn_cu_open(t, "%s(pmk_i(%s), pmk_i(%s),", call, prn_cu_dim(t, rows),
              prn_cu_dim(t, n->dims[n->rank - 1]));
}

static void emit_softmax(prn_cu *c, const prn_op *op) {
  prn_cu_text t;
  unsigned place[2];
  prn_nest n = rows_of(c, op, place);
  bool log = prn_op_int(op, "log", 0) != 0;
  prn_cu_text_begin(&t, c, op);
  open_rows(&t, &n, log ? "pmk_softmax<true>" : "pmk_softmax<false>");
  row_load(&t, &n, 0, place[0], "0.0f");
  row_store(&t, &n, 1, place[1]);
  t.indent--;
  end_rows(&t, &n);
}

const prn_cu_kind prn_cu_softmax = {check_rows, emit_softmax};

static void emit_norm(prn_cu *c, const prn_op *op) {
  prn_cu_text t;
  unsigned place[4];
  prn_nest n = rows_of(c, op, place);
  bool rms = prn_op_int(op, "rms", 0) != 0;
  prn_cu_text_begin(&t, c, op);
  open_rows(&t, &n, rms ? "pmk_norm<true>" : "pmk_norm<false>");
  prn_cu_line(&t, "%s,",
              prn_cu_float(c, (double)prn_op_float(op, "epsilon", 0), false));
  row_load(&t, &n, 0, place[0], "0.0f");
  row_load(&t, &n, 2, place[2], "1.0f");
  row_load(&t, &n, 3, place[3], "0.0f");
  row_store(&t, &n, 1, place[1]);
  t.indent--;
  end_rows(&t, &n);
}

const prn_cu_kind prn_cu_norm = {check_rows, emit_norm};
