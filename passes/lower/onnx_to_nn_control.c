/* onnx -> nn: control flow. A condition that inference knows picks its branch
 * here; otherwise both become blocks of an nn.if. */
#include "passes/lower/onnx_to_nn.h"

prn_block *prn_o2n_known_branch(prn_o2n *e, const prn_op *op) {
  size_t n;
  int64_t taken;
  const prn_dim *c = prn_o2n_content(e, op, 0, &n);
  if (!c || n != 1 || !prn_dim_is_const(c[0], &taken)) return NULL;
  return prn_op_block(op, taken ? "then_branch" : "else_branch");
}

/* The value that a branch gives for result i. */
static prn_value *given(const prn_block *branch, uint32_t i) {
  return branch->last ? prn_op_operand(branch->last, i) : NULL;
}

/* Lowers the one branch that runs, in place. */
static prn_status take(prn_o2n *e, prn_op *op, prn_block *branch) {
  size_t errors = e->errors;
  prn_o2n_block(e, branch);
  for (uint32_t i = 0; i < op->num_results; i++) {
    prn_value *v = prn_o2n_wanted(op, i) ? given(branch, i) : NULL;
    v = v ? prn_o2n_value(e, v) : NULL;
    if (v) PRN_TRY(prn_o2n_set(e, op, i, v));
  }
  if (e->errors > errors) prn_o2n_stand_in(e, op);
  return PRN_OK;
}

/* Says why a result of an If with an open condition has no one type. */
static prn_status check_result(const prn_op *op, uint32_t i,
                               const prn_block *then_b,
                               const prn_block *else_b) {
  prn_ctx *ctx = op->module->ctx;
  const prn_value *a = given(then_b, i), *b = given(else_b, i);
  if (prn_nn_is_sized(op->results[i].type)) return PRN_OK;
  return prn_o2n_unsupported(
      op,
      "output %s is %s in then_branch and %s in else_branch, and the condition "
      "%s is only known at run time (fixing the sizes it depends on may decide "
      "it)",
      prn_value_str(&op->results[i]), a ? prn_type_str(ctx, a->type) : "absent",
      b ? prn_type_str(ctx, b->type) : "absent",
      prn_value_str(prn_op_operand(op, 0)));
}

/* A branch that cannot run at these sizes stops the run when it is taken. */
static void impossible(prn_o2n *e, const prn_op *op, const char *name,
                       prn_value **out) {
  const prn_type **types =
      PRN_ARENA_ARRAY(&e->b.m->arena, const prn_type *, op->num_results);
  uint32_t n = 0;
  for (uint32_t i = 0; i < op->num_results; i++)
    if (prn_o2n_wanted(op, i)) types[n++] = prn_o2n_out(e, op, i);
  prn_op *fail = prn_nn_make_op(&e->b, PRN_OP_nn_fail, NULL, 0, types, n);
  for (uint32_t i = 0; i < n; i++)
    out[i] = prn_op_result(fail, i);
  prn_op_report(op, PRN_WARNING,
                "%s_branch contradicts the sizes of the model: a run that "
                "takes it ends with an error",
                name);
}

/* One branch as a block of r, ending in nn.yield. */
static void lower_branch(prn_o2n *e, const prn_op *op, prn_op *r,
                         const char *name, prn_block *src) {
  prn_block *outer = e->b.block, *block = prn_block_create(e->b.m);
  prn_value **out =
      PRN_ARENA_ARRAY(&e->b.m->arena, prn_value *, op->num_results);
  prn_loc loc = e->b.loc;
  prn_str node = e->b.name;
  uint32_t n = 0;
  bool runs = !prn_infer_impossible(e->infer, src);
  e->b.block = block;
  if (runs) prn_o2n_block(e, src);
  e->b.loc = loc;
  e->b.name = node;
  if (!runs) impossible(e, op, name, out);
  for (uint32_t i = 0; i < op->num_results; i++) {
    if (!prn_o2n_wanted(op, i)) continue;
    if (!runs) {
      n++;
      continue;
    }
    prn_value *v = given(src, i);
    v = v ? prn_o2n_value(e, v) : NULL;
    if (v) out[n++] = prn_nn_reshape(&e->b, v, prn_o2n_out(e, op, i));
  }
  (void)prn_nn_make_op(&e->b, PRN_OP_nn_yield, out, n, NULL, 0);
  e->b.block = outer;
  prn_op_add_block(r, block);
  prn_op_set_attr(r, name, prn_attr_region(e->ctx, r->num_blocks - 1));
}

static prn_status lower_if(prn_o2n *e, prn_op *op) {
  prn_block *then_b = prn_op_block(op, "then_branch");
  prn_block *else_b = prn_op_block(op, "else_branch");
  prn_block *known = prn_o2n_known_branch(e, op);
  const prn_type **types =
      PRN_ARENA_ARRAY(&e->b.m->arena, const prn_type *, op->num_results);
  uint32_t n = 0;
  size_t errors = e->errors;
  if (!then_b || !else_b) return prn_op_error(op, "a branch is missing");
  if (known) return take(e, op, known);
  for (uint32_t i = 0; i < op->num_results; i++) {
    if (!prn_o2n_wanted(op, i)) continue;
    PRN_TRY(check_result(op, i, then_b, else_b));
    types[n++] = prn_o2n_out(e, op, i);
  }
  prn_value *condition = prn_o2n_in(e, op, 0);
  prn_op *r = prn_nn_make_op(&e->b, PRN_OP_nn_if, &condition, 1, types, n);
  lower_branch(e, op, r, "then", then_b);
  lower_branch(e, op, r, "else", else_b);
  for (uint32_t i = 0, k = 0; i < op->num_results; i++)
    if (prn_o2n_wanted(op, i))
      PRN_TRY(prn_o2n_set(e, op, i, prn_op_result(r, k++)));
  if (e->errors > errors) prn_o2n_stand_in(e, op);
  return PRN_OK;
}

/* What unroll-loops did not make copies of. */
static prn_status lower_loop(prn_o2n *e, prn_op *op) {
  (void)e;
  return prn_o2n_unsupported(
      op,
      "a loop that runs as often as only the run can tell, or too often to be "
      "unrolled (fixing the sizes it depends on may decide it), or whose body "
      "takes other element types than it is given");
}

/* What resolve-sequences did not find out. Mostly what makes the sequence or
 * the optional is refused before. */
static prn_status lower_container(prn_o2n *e, prn_op *op) {
  (void)e;
  return prn_o2n_unsupported(op, "only the run tells what is in %s",
                             prn_value_str(prn_op_operand(op, 0)));
}

/* A tensor stands for an optional one. */
static prn_status lower_get_element(prn_o2n *e, prn_op *op) {
  return prn_o2n_set(e, op, 0, prn_o2n_in(e, op, 0));
}

const prn_o2n_row prn_o2n_control[] = {
    {"OptionalGetElement", lower_get_element, 0, 0},
    {"Optional", lower_container, 0, 0},
    {"OptionalHasElement", lower_container, 0, 0},
    {"SequenceConstruct", lower_container, 0, 0},
    {"SequenceEmpty", lower_container, 0, 0},
    {"SequenceAt", lower_container, 1 << 1, 0},
    {"SequenceInsert", lower_container, 1 << 2, 0},
    {"SequenceErase", lower_container, 1 << 1, 0},
    {"SequenceLength", lower_container, 0, 0},
    {"SequenceMap", lower_container, 0, 0},
    {"SplitToSequence", lower_container, 1 << 1, 0},
    {"ConcatFromSequence", lower_container, 0, 0},
    {"If", lower_if, 0, 0},
    {"Loop", lower_loop, 1 | 2, 0},
    {"Scan", lower_loop, 0, 0},
    {NULL, NULL, 0, 0},
};
