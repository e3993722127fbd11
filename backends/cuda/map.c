/* Kernels that do the same to every element: mem.map, and what is done to sums
 * that a library has stored. A thread takes a run of neighbours where all
 * operands have them, else one element. */
#include <string.h>

#include "backends/cuda/cu.h"

enum { THREADS = 256 };

const char *prn_cu_nest_offset(prn_cu_text *t, const prn_nest *n, unsigned v,
                               const char *const *index) {
  return prn_cu_offset(t, n->rank, n->strides[v], index);
}

void prn_cu_originals(const prn_nest *n, const char *const *index,
                      const char **out) {
  for (unsigned i = 0; i < PRN_CU_RANK; i++)
    out[i] = "0";
  for (unsigned i = 0; i < n->rank; i++)
    out[n->axis[i]] = index[i];
}

/* outs = body(ins), element by element: numbers of op's operands, all of the
 * shape of the first of outs. */
typedef struct pointwise {
  const prn_op *op;
  uint32_t ins[PRN_CU_VIEWS], outs[PRN_CU_VIEWS];
  uint32_t num_ins, num_outs;
} pointwise;

/* The kernel being written: view i of the nest is that of input i, outputs
 * come after all inputs. */
typedef struct map {
  prn_cu_text t;
  const pointwise *p;
  prn_nest n;
  const char *index[PRN_CU_RANK];
  const char *args[PRN_CU_VIEWS], *out[PRN_CU_VIEWS];
} map;

static prn_dtype dtype_of(const pointwise *p, uint32_t operand) {
  return prn_op_operand(p->op, operand)->type->dtype;
}

static prn_nest nest_of(const prn_cu *c, const pointwise *p) {
  const prn_type *types[PRN_CU_VIEWS];
  prn_nest n;
  for (uint32_t i = 0; i < p->num_ins; i++)
    types[i] = prn_op_operand(p->op, p->ins[i])->type;
  for (uint32_t i = 0; i < p->num_outs; i++)
    types[p->num_ins + i] = prn_op_operand(p->op, p->outs[i])->type;
  prn_nest_init(c->ctx, &n, types, p->num_ins + p->num_outs,
                prn_nest_indices(prn_op_block(p->op, "body")), 0);
  return n;
}

static const char *in_address(map *m, uint32_t i) {
  return prn_cu_address(&m->t, m->p->ins[i],
                        prn_cu_nest_offset(&m->t, &m->n, i, m->index));
}

static const char *out_address(map *m, uint32_t i) {
  return prn_cu_address(
      &m->t, m->p->outs[i],
      prn_cu_nest_offset(&m->t, &m->n, m->p->num_ins + i, m->index));
}

/* Input i as a local that is read by `call`. */
static void load(map *m, uint32_t i) {
  prn_cu_line(&m->t, "const %s x%u = pmk_get(%s);",
              prn_cu_value_type(dtype_of(m->p, m->p->ins[i])), m->p->ins[i],
              in_address(m, i));
}

static void apply(map *m, const char *const *index) {
  const prn_block *body = prn_op_block(m->p->op, "body");
  const char *at[PRN_CU_RANK];
  prn_cu_originals(&m->n, index, at);
  m->out[0] = m->args[0];
  if (body) prn_cu_body(&m->t, body, m->args, at, m->out);
}

/* ---- an element a thread ---- */

static prn_cu_variant *emit_each(prn_cu *c, map *m) {
  prn_dim all = prn_cu_product(c, m->n.rank, m->n.dims);
  prn_cu_text *t = &m->t;
  prn_cu_open(t, "pmk_each<pmk_i>(%s, [&](pmk_i e) {", prn_cu_dim(t, all));
  prn_cu_split(t, "e", "i", m->n.rank, m->n.dims, m->index);
  for (uint32_t i = 0; i < m->p->num_ins; i++)
    load(m, i);
  apply(m, m->index);
  for (uint32_t i = 0; i < m->p->num_outs; i++)
    prn_cu_line(t, "pmk_put(%s, %s);", out_address(m, i), m->out[i]);
  prn_cu_close(t, "});");
  return prn_cu_text_end(t, THREADS, 0, prn_cu_blocks_some(c, all, THREADS));
}

/* ---- a run a thread ---- */

/* Neighbours along the last dimension are the same element. */
static bool is_repeated(const prn_nest *n, unsigned v) {
  return prn_dim_is(n->strides[v][n->rank - 1], 0);
}

static bool has_runs(prn_cu *c, const map *m, unsigned v, uint32_t operand,
                     int64_t size) {
  enum { WORD = 4, BYTES = 32 };
  const prn_type *t = prn_op_operand(m->p->op, operand)->type;
  int64_t bytes = size * prn_dtype_width(t->dtype);
  return bytes >= WORD && bytes <= BYTES &&
         prn_cu_has_runs(c, m->n.rank, m->n.strides[v], t->offset, size);
}

/* How many neighbours a thread can take: so many that one access has 16 bytes
 * of the narrowest operand and no run more than 32; 1 where views do not
 * allow it. */
static int64_t run_of(prn_cu *c, const map *m) {
  enum { MOST = 8 };
  const pointwise *p = m->p;
  for (int64_t size = MOST; m->n.rank > 0 && size > 1; size /= 2) {
    bool fits = prn_dim_is_multiple(c->ctx, m->n.dims[m->n.rank - 1], size);
    for (uint32_t i = 0; fits && i < p->num_ins; i++)
      fits = is_repeated(&m->n, i) || has_runs(c, m, i, p->ins[i], size);
    for (uint32_t i = 0; fits && i < p->num_outs; i++)
      fits = has_runs(c, m, p->num_ins + i, p->outs[i], size);
    if (fits) return size;
  }
  return 1;
}

/* Inputs that are the same for a run as locals, others as runs; then the loop
 * over a run, in which all of them are locals. */
static void open_run(map *m, int64_t size) {
  const pointwise *p = m->p;
  prn_cu_text *t = &m->t;
  for (uint32_t i = 0; i < p->num_ins; i++)
    if (is_repeated(&m->n, i))
      load(m, i);
    else
      prn_cu_line(t, "const auto r%u = pmk_get_run<%lld>(%s);", p->ins[i],
                  (long long)size, in_address(m, i));
  for (uint32_t i = 0; i < p->num_outs; i++)
    prn_cu_line(t, "pmk_run<%s, %lld> w%u = {};",
                prn_cu_memory_type(dtype_of(p, p->outs[i])), (long long)size,
                p->outs[i]);
  prn_cu_line(t, "PMK_UNROLL");
  prn_cu_open(t, "for (int l = 0; l < %lld; l++) {", (long long)size);
  for (uint32_t i = 0; i < p->num_ins; i++)
    if (!is_repeated(&m->n, i))
      prn_cu_line(t, "const auto x%u = pmk_nth(r%u, l);", p->ins[i], p->ins[i]);
}

static prn_cu_variant *emit_runs(prn_cu *c, map *m, int64_t size) {
  const pointwise *p = m->p;
  unsigned last = m->n.rank - 1;
  const char *element[PRN_CU_RANK];
  prn_dim dims[PRN_CU_RANK];
  prn_cu_text *t = &m->t;
  memcpy(dims, m->n.dims, sizeof dims);
  dims[last] =
      prn_dim_floordiv(c->ctx, dims[last], prn_dim_const(c->ctx, size));
  prn_dim all = prn_cu_product(c, m->n.rank, dims);
  prn_cu_open(t, "pmk_each<pmk_i>(%s, [&](pmk_i e) {", prn_cu_dim(t, all));
  prn_cu_split(t, "e", "i", m->n.rank, dims, m->index);
  prn_cu_line(t, "const pmk_i first = %s * %lld;", m->index[last],
              (long long)size);
  m->index[last] = "first";
  memcpy(element, m->index, sizeof element);
  element[last] = "(first + l)";
  open_run(m, size);
  apply(m, element);
  for (uint32_t i = 0; i < p->num_outs; i++)
    prn_cu_line(t, "pmk_set_nth(w%u, l, %s);", p->outs[i], m->out[i]);
  prn_cu_close(t, "}");
  for (uint32_t i = 0; i < p->num_outs; i++)
    prn_cu_line(t, "pmk_put_run(%s, w%u);", out_address(m, i), p->outs[i]);
  prn_cu_close(t, "});");
  return prn_cu_text_end(t, THREADS, 0, prn_cu_blocks_some(c, all, THREADS));
}

static prn_cu_variant *emit(prn_cu *c, const pointwise *p) {
  map m = {.p = p, .n = nest_of(c, p)};
  for (uint32_t i = 0; i < p->num_ins; i++)
    m.args[i] = prn_cu_str(c, "x%u", p->ins[i]);
  int64_t size = run_of(c, &m);
  prn_cu_text_begin(&m.t, c, p->op);
  return size > 1 ? emit_runs(c, &m, size) : emit_each(c, &m);
}

/* ---- what it is for ---- */

static void emit_map(prn_cu *c, const prn_op *op) {
  pointwise p = {.op = op};
  uint32_t ins = (uint32_t)prn_op_int(op, "ins", 0);
  for (uint32_t i = 0; i < op->num_operands; i++)
    if (i < ins)
      p.ins[p.num_ins++] = i;
    else
      p.outs[p.num_outs++] = i;
  (void)emit(c, &p);
}

const prn_cu_kind prn_cu_map = {prn_cu_body_check, emit_map};

prn_cu_variant *prn_cu_emit_after(prn_cu *c, const prn_op *op, uint32_t out,
                                  uint32_t num) {
  pointwise p = {.op = op, .num_outs = 1, .outs = {out}};
  for (uint32_t i = out; i < num; i++)
    p.ins[p.num_ins++] = i;
  return emit(c, &p);
}
