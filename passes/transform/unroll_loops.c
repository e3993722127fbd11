/* unroll-loops: a Loop, Scan or SequenceMap that runs a known number of times
 * becomes as many copies of its body.
 *
 * A Loop does when its trip count is known and its condition stays true, a
 * Scan when the size of what it scans is, a SequenceMap when the length of its
 * sequences is. Outer loops go first: how often an
 * inner one runs may depend on the iteration. Constants of a body are moved
 * out, so that all copies share their weights; other values lose their names,
 * which would be there several times. */
#include "ir/infer.h"
#include "passes/pass.h"
#include "passes/transform/build.h"

#define OPTIONS(X)                       \
  X(INT, limit, 65536, "[1,1000000000]", \
    "Nodes that the copies of one loop may come to")
#define STATS(X)                           \
  X(loops, "loops unrolled")               \
  X(copies, "copies made of their bodies") \
  X(kept, "loops left as they are")
PRN_PASS_TABLES;

typedef struct unroller {
  prn_module *m;
  prn_infer *infer;
  prn_arena *scratch;
  struct stats *stats;
  int64_t limit;
  prn_map names; /* -> the first value that has the name, anywhere */
  bool changed;
} unroller;

/* A loop and its values on the way. */
typedef struct loop {
  prn_op *op;
  prn_block *body;
  int64_t trips;
  uint32_t states, first_state; /* body results that are carried */
  prn_value **state;            /* now */
  prn_value ***rows;            /* [output][iteration]: what is stacked */
  uint32_t outputs;
} loop;

/* ---- the body, once ---- */

static prn_status count_op(void *user, prn_op *op) {
  (void)op;
  ++*(int64_t *)user;
  return PRN_OK;
}

static bool fits(const unroller *u, const prn_block *body, int64_t trips) {
  int64_t n = 0, total;
  (void)!prn_walk((prn_block *)(uintptr_t)body, true, count_op, &n);
  return prn_mul_i64(n, trips, &total) && total <= u->limit;
}

static prn_status note_names(void *user, prn_op *op) {
  unroller *u = user;
  for (uint32_t i = 0; i < op->num_results; i++) {
    prn_value *v = &op->results[i];
    void **first = v->name.size ? prn_map_slot(&u->names, v->name) : NULL;
    if (first && !*first) *first = v;
  }
  return PRN_OK;
}

/* Bodies of several loops may call their constants the same. */
static void hoist_constants(unroller *u, const loop *l) {
  PRN_EACH_OP_SAFE(op, l->body) {
    if (!prn_op_has_trait(op, PRN_CONSTANT)) continue;
    prn_value *v = prn_op_result(op, 0);
    if (v->name.size && prn_map_get(&u->names, v->name) != v)
      v->name = PRN_STR("");
    prn_op_unlink(op);
    prn_op_insert_before(op, l->op);
  }
}

/* Copies the body to before the loop; map has its arguments. Then takes what
 * it gives for iteration k. */
static void copy_body(unroller *u, loop *l, prn_ptrmap *map, int64_t k) {
  PRN_EACH_OP(op, l->body) {
    if (prn_op_has_trait(op, PRN_TERMINATOR)) break;
    prn_op *copy = prn_op_clone(u->m, op, map);
    prn_op_insert_before(copy, l->op);
    prn_op_drop_names(copy);
  }
  for (uint32_t i = 0; i < l->states + l->outputs; i++) {
    prn_value *v = prn_op_operand(l->body->last, l->first_state + i);
    prn_value *copy = prn_ptrmap_get(map, v);
    if (!copy) copy = v; /* from outside */
    if (i < l->states)
      l->state[i] = copy;
    else
      l->rows[i - l->states][k] = copy;
  }
  u->stats->copies++;
}

static void open_loop(unroller *u, loop *l, uint32_t first_operand) {
  l->outputs = l->op->num_results - l->states;
  l->state = PRN_ARENA_ARRAY(u->scratch, prn_value *, l->states + 1);
  l->rows = PRN_ARENA_ARRAY(u->scratch, prn_value **, l->outputs + 1);
  for (uint32_t i = 0; i < l->states; i++)
    l->state[i] = prn_op_operand(l->op, first_operand + i);
  for (uint32_t i = 0; i < l->outputs; i++)
    l->rows[i] = PRN_ARENA_ARRAY(u->scratch, prn_value *, (size_t)l->trips + 1);
  hoist_constants(u, l);
}

static void erase_loop(unroller *u, const loop *l) {
  prn_op_erase(l->op);
  u->stats->loops++;
  u->changed = true;
}

static void close_loop(unroller *u, const loop *l, const int64_t *axes,
                       const bool *backward) {
  for (uint32_t i = 0; i < l->states; i++)
    prn_value_replace_uses(prn_op_result(l->op, i), l->state[i]);
  for (uint32_t i = 0; i < l->outputs; i++) {
    prn_value *result = prn_op_result(l->op, l->states + i);
    prn_value **rows = l->rows[i];
    for (int64_t k = 0; backward[i] && k < l->trips / 2; k++) {
      prn_value *v = rows[k];
      rows[k] = rows[l->trips - 1 - k];
      rows[l->trips - 1 - k] = v;
    }
    if (prn_value_has_uses(result))
      prn_value_replace_uses(
          result, prn_build_stack(l->op, rows, (uint32_t)l->trips, axes[i]));
  }
  erase_loop(u, l);
}

/* What the body gives is there. */
static bool can_copy(const unroller *u, const loop *l) {
  if (!fits(u, l->body, l->trips)) return false;
  for (uint32_t i = 0; i < l->body->last->num_operands; i++)
    if (!prn_op_operand(l->body->last, i)) return false;
  return true;
}

/* The same, and nothing that is stacked is empty. */
static bool can_stack(const unroller *u, const loop *l) {
  return can_copy(u, l) && (l->trips > 0 || l->op->num_results <= l->states);
}

/* ---- Loop ---- */

static bool unroll_loop(unroller *u, prn_op *op) {
  loop l = {.op = op, .body = prn_op_block(op, "body"), .first_state = 1};
  l.states = op->num_operands > 2 ? op->num_operands - 2 : 0;
  if (!prn_dim_is_const(prn_infer_trips(u->infer, op), &l.trips) ||
      !can_stack(u, &l))
    return false;
  open_loop(u, &l, 2);
  prn_value *go = prn_op_operand(op, 1);
  for (int64_t k = 0; k < l.trips; k++) {
    prn_ptrmap map = {0};
    *prn_ptrmap_slot(&map, l.body->args[0]) = prn_build_int(op, k);
    if (!go && l.body->args[1]->uses) {
      /* An absent condition is true, as a number of iterations is. */
      prn_value *one = prn_build_int(op, 1);
      go = prn_build_node(op, PRN_OP_onnx_Cast, &one, 1);
      prn_op_set_attr(go->def, "to", prn_attr_int(u->m->ctx, PRN_BOOL));
    }
    *prn_ptrmap_slot(&map, l.body->args[1]) = go;
    for (uint32_t i = 0; i < l.states; i++)
      *prn_ptrmap_slot(&map, l.body->args[2 + i]) = l.state[i];
    copy_body(u, &l, &map, k);
    prn_ptrmap_destroy(&map);
  }
  close_loop(u, &l, PRN_ARENA_ARRAY(u->scratch, int64_t, l.outputs + 1),
             PRN_ARENA_ARRAY(u->scratch, bool, l.outputs + 1));
  return true;
}

/* ---- Scan ---- */

static int64_t int_at(const prn_op *op, const char *name, uint32_t i) {
  size_t n;
  const int64_t *v = prn_op_ints(op, name, &n);
  return i < n ? v[i] : 0;
}

/* Axis i of an attribute, for a tensor of this type; -1 when it is open. */
static int64_t axis_at(const prn_op *op, const char *name, uint32_t i,
                       const prn_type *t) {
  int64_t axis = int_at(op, name, i);
  if (t->kind != PRN_TYPE_TENSOR || t->rank < 0) return -1;
  if (axis < 0) axis += t->rank;
  return axis < t->rank ? axis : -1;
}

/* How many indices are scanned; false when that is not known. */
static bool scan_length(const prn_op *op, uint32_t states, int64_t *out) {
  if (op->num_operands <= states || !op->operands[states].value) return false;
  const prn_type *t = op->operands[states].value->type;
  int64_t axis = axis_at(op, "scan_input_axes", 0, t);
  return axis >= 0 && prn_dim_is_const(t->dims[axis], out);
}

/* Index k of scan input i, in the order in which it is scanned. */
static prn_value *slice(const loop *l, uint32_t i, int64_t k) {
  prn_value *x = prn_op_operand(l->op, l->states + i);
  bool backward = int_at(l->op, "scan_input_directions", i) != 0;
  prn_value *in[2] = {x, prn_build_int(l->op, backward ? l->trips - 1 - k : k)};
  prn_value *r = prn_build_node(l->op, PRN_OP_onnx_Gather, in, 2);
  prn_op_set_attr(r->def, "axis",
                  prn_attr_int(l->op->module->ctx,
                               axis_at(l->op, "scan_input_axes", i, x->type)));
  return r;
}

static bool unroll_scan(unroller *u, prn_op *op) {
  loop l = {.op = op, .body = prn_op_block(op, "body")};
  uint32_t scans = (uint32_t)prn_op_int(op, "num_scan_inputs", 0);
  if (scans > op->num_operands) return false;
  l.states = op->num_operands - scans;
  if (!scan_length(op, l.states, &l.trips) || !can_stack(u, &l)) return false;
  uint32_t outputs = op->num_results - l.states;
  int64_t *axes = PRN_ARENA_ARRAY(u->scratch, int64_t, outputs + 1);
  bool *backward = PRN_ARENA_ARRAY(u->scratch, bool, outputs + 1);
  for (uint32_t i = 0; i < scans; i++)
    if (axis_at(op, "scan_input_axes", i,
                op->operands[l.states + i].value->type) < 0)
      return false;
  for (uint32_t i = 0; i < outputs; i++) {
    axes[i] =
        axis_at(op, "scan_output_axes", i, op->results[l.states + i].type);
    backward[i] = int_at(op, "scan_output_directions", i) != 0;
    if (axes[i] < 0) return false;
  }
  open_loop(u, &l, 0);
  for (int64_t k = 0; k < l.trips; k++) {
    prn_ptrmap map = {0};
    for (uint32_t i = 0; i < l.body->num_args; i++)
      *prn_ptrmap_slot(&map, l.body->args[i]) =
          i < l.states ? l.state[i] : slice(&l, i - l.states, k);
    copy_body(u, &l, &map, k);
    prn_ptrmap_destroy(&map);
  }
  close_loop(u, &l, axes, backward);
  return true;
}

/* ---- Scan of operator set 8: of each entry of a batch ---- */

static prn_value *pick(const loop *l, prn_value *x, int64_t at) {
  prn_value *in[2] = {x, prn_build_int(l->op, at)};
  return prn_build_node(l->op, PRN_OP_onnx_Gather, in, 2);
}

/* How many entries, and indices of each, are scanned; false when that is not
 * known, or the entries have lengths of their own. */
static bool batch_sizes(const prn_op *op, uint32_t first_scan, int64_t *batch,
                        int64_t *length) {
  *batch = *length = 0;
  if (prn_op_operand(op, 0)) return false;
  for (uint32_t i = first_scan; i < op->num_operands; i++) {
    const prn_value *x = prn_op_operand(op, i);
    int64_t b, n;
    if (!x || !prn_type_is_ranked(x->type) || x->type->rank < 2 ||
        !prn_dim_is_const(x->type->dims[0], &b) ||
        !prn_dim_is_const(x->type->dims[1], &n) || b < 1 || n < 1 ||
        (i > first_scan && (b != *batch || n != *length)))
      return false;
    *batch = b;
    *length = n;
  }
  return *batch > 0;
}

/* Scans entry b; out[i] gets what it gives for result i. */
static void scan_entry(unroller *u, loop *l, int64_t b, prn_value ***out) {
  uint32_t scans = l->body->num_args - l->states;
  prn_value **x = PRN_ARENA_ARRAY(u->scratch, prn_value *, scans);
  for (uint32_t i = 0; i < l->states; i++)
    l->state[i] = pick(l, prn_op_operand(l->op, 1 + i), b);
  for (uint32_t i = 0; i < scans; i++)
    x[i] = pick(l, prn_op_operand(l->op, 1 + l->states + i), b);
  for (int64_t k = 0; k < l->trips; k++) {
    prn_ptrmap map = {0};
    for (uint32_t i = 0; i < l->states; i++)
      *prn_ptrmap_slot(&map, l->body->args[i]) = l->state[i];
    for (uint32_t i = 0; i < scans; i++) {
      bool backward = int_at(l->op, "directions", i) != 0;
      *prn_ptrmap_slot(&map, l->body->args[l->states + i]) =
          pick(l, x[i], backward ? l->trips - 1 - k : k);
    }
    copy_body(u, l, &map, k);
    prn_ptrmap_destroy(&map);
  }
  for (uint32_t i = 0; i < l->states; i++)
    out[i][b] = l->state[i];
  for (uint32_t i = 0; i < l->outputs; i++)
    out[l->states + i][b] =
        prn_build_stack(l->op, l->rows[i], (uint32_t)l->trips, 0);
}

static bool unroll_batch(unroller *u, prn_op *op) {
  loop l = {.op = op, .body = prn_op_block(op, "body")};
  uint32_t scans = (uint32_t)prn_op_int(op, "num_scan_inputs", 0);
  int64_t batch, copies;
  if (scans == 0 || op->num_operands <= scans) return false;
  l.states = op->num_operands - 1 - scans;
  if (!batch_sizes(op, 1 + l.states, &batch, &l.trips) ||
      !prn_mul_i64(batch, l.trips, &copies) || !fits(u, l.body, copies) ||
      !can_copy(u, &l))
    return false;
  for (uint32_t i = 1; i <= l.states; i++)
    if (!prn_op_operand(op, i)) return false;
  open_loop(u, &l, 1);
  prn_value ***out =
      PRN_ARENA_ARRAY(u->scratch, prn_value **, op->num_results + 1);
  for (uint32_t i = 0; i < op->num_results; i++)
    out[i] = PRN_ARENA_ARRAY(u->scratch, prn_value *, (size_t)batch);
  for (int64_t b = 0; b < batch; b++)
    scan_entry(u, &l, b, out);
  for (uint32_t i = 0; i < op->num_results; i++)
    prn_value_replace_uses(prn_op_result(op, i),
                           prn_build_stack(op, out[i], (uint32_t)batch, 0));
  erase_loop(u, &l);
  return true;
}

/* ---- SequenceMap ---- */

/* All sequences are known to hold as many tensors. */
static bool map_length(const unroller *u, const prn_op *op, int64_t *out) {
  *out = -1;
  for (uint32_t i = 0; i < op->num_operands; i++) {
    const prn_value *v = prn_op_operand(op, i);
    int64_t n;
    if (!v || v->type->kind == PRN_TYPE_ANY) return false;
    if (v->type->kind != PRN_TYPE_SEQUENCE) continue;
    if (!prn_dim_is_const(prn_infer_length(u->infer, v), &n) || n < 0 ||
        (*out >= 0 && *out != n))
      return false;
    *out = n;
  }
  return *out >= 0;
}

/* Element k of a sequence; every copy gets the same of another value. */
static prn_value *element(const loop *l, uint32_t i, int64_t k) {
  prn_value *in[2] = {prn_op_operand(l->op, i), NULL};
  if (in[0]->type->kind != PRN_TYPE_SEQUENCE) return in[0];
  in[1] = prn_build_int(l->op, k);
  return prn_build_node(l->op, PRN_OP_onnx_SequenceAt, in, 2);
}

/* The sequence of what the copies gave. One of nothing says of what. */
static prn_value *sequence(const loop *l, uint32_t i) {
  const prn_type *t = l->op->results[i].type;
  if (l->trips > 0)
    return prn_build_node(l->op, PRN_OP_onnx_SequenceConstruct, l->rows[i],
                          (uint32_t)l->trips);
  prn_value *v = prn_build_node(l->op, PRN_OP_onnx_SequenceEmpty, NULL, 0);
  if (t->kind == PRN_TYPE_SEQUENCE && t->elem->kind == PRN_TYPE_TENSOR)
    prn_op_set_attr(v->def, "dtype",
                    prn_attr_int(l->op->module->ctx, t->elem->dtype));
  return v;
}

static bool unroll_map(unroller *u, prn_op *op) {
  loop l = {.op = op, .body = prn_op_block(op, "body")};
  if (!map_length(u, op, &l.trips) || !can_copy(u, &l)) return false;
  open_loop(u, &l, 0);
  for (int64_t k = 0; k < l.trips; k++) {
    prn_ptrmap map = {0};
    for (uint32_t i = 0; i < l.body->num_args; i++)
      *prn_ptrmap_slot(&map, l.body->args[i]) = element(&l, i, k);
    copy_body(u, &l, &map, k);
    prn_ptrmap_destroy(&map);
  }
  for (uint32_t i = 0; i < l.outputs; i++)
    if (prn_value_has_uses(prn_op_result(op, i)))
      prn_value_replace_uses(prn_op_result(op, i), sequence(&l, i));
  erase_loop(u, &l);
  return true;
}

/* ---- the pass ---- */

static bool is_loop(const prn_op *op) {
  return prn_op_is(op, PRN_OP_onnx_Loop) || prn_op_is(op, PRN_OP_onnx_Scan) ||
         prn_op_is(op, PRN_OP_onnx_SequenceMap);
}

/* Neither is known to be of another element type. */
static bool fit(const prn_value *a, const prn_value *b) {
  return !a || !b || a->type->kind != PRN_TYPE_TENSOR ||
         b->type->kind != PRN_TYPE_TENSOR || a->type->dtype == b->type->dtype;
}

/* What a loop is given, and what its body gives to the next step, is what the
 * body takes. Where it is not the model is wrong: of the loop that is left as
 * it is the lowering says so. */
static bool types_fit(const prn_op *op) {
  bool is_scan = prn_op_is(op, PRN_OP_onnx_Scan);
  const prn_block *body = prn_op_block(op, "body");
  if (!body || !body->last || prn_op_is(op, PRN_OP_onnx_SequenceMap))
    return true;
  uint32_t first = is_scan ? 0 : 2; /* behind the step and the condition */
  uint32_t skip = is_scan && prn_op_opset(op) < 9; /* the lengths */
  uint32_t scans = is_scan ? (uint32_t)prn_op_int(op, "num_scan_inputs", 0) : 0;
  for (uint32_t i = first; i < body->num_args; i++) {
    if (!fit(prn_op_operand(op, i + skip), body->args[i])) return false;
    bool carried = i + scans < body->num_args;
    uint32_t given = is_scan ? i : i - 1;
    if (carried && !fit(prn_op_operand(body->last, given), body->args[i]))
      return false;
  }
  return true;
}

static bool unroll(unroller *u, prn_op *op) {
  if (is_loop(op) && !types_fit(op)) return false;
  switch (prn_op_code(op)) {
  case PRN_OP_onnx_Loop:
    return unroll_loop(u, op);
  case PRN_OP_onnx_Scan:
    return prn_op_opset(op) < 9 ? unroll_batch(u, op) : unroll_scan(u, op);
  case PRN_OP_onnx_SequenceMap:
    return unroll_map(u, op);
  default:
    return false;
  }
}

static void visit_block(unroller *u, prn_block *b) {
  PRN_EACH_OP_SAFE(op, b) {
    if (unroll(u, op)) continue;
    u->stats->kept += is_loop(op);
    for (uint32_t i = 0; i < op->num_blocks; i++)
      visit_block(u, op->blocks[i]);
  }
}

static prn_status has_loop(void *user, prn_op *op) {
  bool *found = user;
  *found |= is_loop(op);
  return PRN_OK;
}

/* Each round unrolls what the one before brought to the outside. */
static prn_status run(prn_pass_env *env, prn_module *m) {
  const struct opts *o = env->opts;
  unroller u = {.m = m,
                .scratch = env->scratch,
                .stats = env->stats,
                .limit = o->limit,
                .changed = true};
  prn_status status = prn_walk(m->body, true, note_names, &u);
  while (u.changed && status == PRN_OK) {
    bool any = false;
    u.changed = false;
    (void)!prn_walk(m->body, true, has_loop, &any);
    if (!any) break;
    u.stats->kept = 0;
    status = prn_infer_run(m, false, &u.infer);
    if (status == PRN_OK) visit_block(&u, m->body);
    prn_infer_free(u.infer);
  }
  prn_map_destroy(&u.names);
  return status;
}

const prn_pass prn_pass_unroll_loops = {
    .name = "unroll-loops",
    .summary = "Copy the bodies of loops that run a known number of times",
    .doc = "A Loop whose trip count is known and whose condition stays true, "
           "a Scan over a known size, and a SequenceMap of sequences of known "
           "length become copies of their bodies, which share the weights. "
           "What they stack becomes a Concat.",
    .reads = PRN_DIALECT_ONNX,
    .writes = PRN_DIALECT_ONNX,
    .exact = true,
    PRN_PASS_COMMON,
};
