/* nn-widen: 16-bit floats are computed as f32.
 *
 * Values that are computed become f32; what is stored stays as it is:
 * arguments, results, constants, and what only moves their elements, such as
 * the rows that an embedding table is asked for. A value that is stored is
 * cast where it is used, weights of products excepted, which kernels widen
 * themselves. A cast that the model asks for is left alone and rounds, but
 * nothing else does: like ONNX Runtime's on CPUs, results are those of f32. */
#include "passes/lower/nn_build.h"
#include "passes/lower/nn_to_mem.h"
#include "passes/pass.h"

#define OPTIONS(X)
#define STATS(X) X(widened, "operations that are computed in f32")
PRN_PASS_TABLES;

static bool is_half(const prn_value *v) {
  return v && (v->type->dtype == PRN_F16 || v->type->dtype == PRN_BF16);
}

static void make_f32(prn_module *m, prn_value *v) {
  if (is_half(v)) v->type = prn_type_with_dtype(m->ctx, v->type, PRN_F32);
}

/* ---- values ---- */

static prn_nn builder(prn_module *m, prn_block *b, prn_op *before) {
  prn_nn nn = {.m = m, .ctx = m->ctx, .block = b, .before = before};
  if (!before) return nn;
  nn.loc = before->loc;
  nn.name = prn_op_string(before, "$name", "");
  return nn;
}

/* v as f32: by a cast that stands behind v, for all that use it. */
static prn_value *wide(prn_module *m, prn_value *v) {
  prn_op *first = v->def ? v->def->next : v->block->first;
  for (prn_op *op = first; prn_op_is(op, PRN_OP_nn_cast); op = op->next)
    if (prn_op_operand(op, 0) == v && op->results[0].type->dtype == PRN_F32)
      return &op->results[0];
  prn_nn nn = builder(m, v->block, first);
  return prn_nn_cast(&nn, v, PRN_F32);
}

/* ---- operations ---- */

/* Weights as they are stored, seen through a swap of the axes. */
static bool is_stored(const prn_value *w) {
  if (w->def && prn_op_is(w->def, PRN_OP_nn_transpose))
    w = prn_op_operand(w->def, 0);
  return prn_value_constant(w) != NULL;
}

static bool keeps(const prn_op *op, uint32_t i) {
  if (i != 1 || !is_stored(prn_op_operand(op, 1))) return false;
  if (prn_op_is(op, PRN_OP_nn_conv)) return prn_to_mem_pointwise(op) != NULL;
  return prn_op_is(op, PRN_OP_nn_matmul);
}

/* Moves elements that are stored and nothing else. */
static bool moves(const prn_op *op) {
  static const prn_opcode codes[] = {
      PRN_OP_nn_reshape, PRN_OP_nn_transpose, PRN_OP_nn_broadcast,
      PRN_OP_nn_slice,   PRN_OP_nn_gather,    PRN_OP_nn_gather_elements};
  bool found = false;
  for (size_t i = 0; i < PRN_COUNT(codes); i++)
    found = found || prn_op_is(op, codes[i]);
  return found && is_half(prn_op_operand(op, 0));
}

static bool computes(const prn_op *op) {
  static const prn_opcode codes[] = {
      PRN_OP_nn_constant, PRN_OP_nn_dims,    PRN_OP_nn_iota,  PRN_OP_nn_fail,
      PRN_OP_nn_cast,     PRN_OP_nn_bitcast, PRN_OP_nn_return};
  for (size_t i = 0; i < PRN_COUNT(codes); i++)
    if (prn_op_is(op, codes[i])) return false;
  return !moves(op);
}

static void visit_block(prn_module *m, prn_block *b, struct stats *s);

static void widen(prn_module *m, prn_op *op, struct stats *s) {
  bool any = false;
  for (uint32_t i = 0; i < op->num_operands; i++) {
    prn_value *v = prn_op_operand(op, i);
    if (!is_half(v) || keeps(op, i)) continue;
    prn_op_set_operand(op, i, wide(m, v));
    any = true;
  }
  for (uint32_t i = 0; i < op->num_blocks; i++) {
    for (uint32_t j = 0; j < op->blocks[i]->num_args; j++)
      make_f32(m, op->blocks[i]->args[j]);
    visit_block(m, op->blocks[i], s);
  }
  for (uint32_t i = 0; i < op->num_results; i++) {
    any = any || is_half(&op->results[i]);
    make_f32(m, &op->results[i]);
  }
  s->widened += any && !prn_op_is(op, PRN_OP_nn_yield);
}

/* From what was half and is f32. */
static bool is_idle_cast(const prn_op *op) {
  return prn_op_is(op, PRN_OP_nn_cast) &&
         prn_op_operand(op, 0)->type->dtype == op->results[0].type->dtype;
}

static void visit_block(prn_module *m, prn_block *b, struct stats *s) {
  for (prn_op *op = b->first, *next; op; op = next) {
    next = op->next;
    if (is_idle_cast(op)) {
      prn_value_replace_uses(&op->results[0], prn_op_operand(op, 0));
      prn_op_erase(op);
    } else if (computes(op)) {
      widen(m, op, s);
    }
  }
}

/* ---- the function ---- */

/* What it returns keeps its type. */
static void visit(prn_module *m, prn_op *func, struct stats *s) {
  prn_block *b = prn_op_block(func, "body");
  prn_op *ret = b->last;
  uint32_t n = ret->num_operands;
  prn_dtype *types = prn_alloc(prn_array_size(sizeof *types, n));
  for (uint32_t i = 0; i < n; i++)
    types[i] = prn_op_operand(ret, i)->type->dtype;
  visit_block(m, b, s);
  for (uint32_t i = 0; i < n; i++) {
    prn_nn nn = builder(m, b, ret);
    prn_op_set_operand(ret, i,
                       prn_nn_cast(&nn, prn_op_operand(ret, i), types[i]));
  }
  prn_free(types);
}

static prn_status run(prn_pass_env *env, prn_module *m) {
  PRN_EACH_OP(op, m->body)
    if (prn_op_is(op, PRN_OP_nn_func)) visit(m, op, env->stats);
  return PRN_OK;
}

const prn_pass prn_pass_nn_widen = {
    .name = "nn-widen",
    .summary = "Compute 16-bit floats as f32",
    .doc = "First of all passes on nn. Arguments, results and constants keep "
           "their type, and weights of products are read in it; all that is "
           "computed is f32.",
    .reads = PRN_DIALECT_NN,
    .writes = PRN_DIALECT_NN,
    PRN_PASS_COMMON,
};
