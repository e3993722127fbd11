/* Which inputs of a graph decide sizes, or what code there is.
 *
 * A backward sweep from every operand that is read as contents. It ends where
 * only a type is read: the values behind a Shape decide nothing. */
#include "passes/lower/lower.h"
#include "passes/lower/onnx_to_nn.h"

enum { SMALL = 64 };

/* Of whose operands types are read, not values. */
static bool reads_types(const prn_op *op) {
  static const char *const names[] = {"Shape", "Size", "EyeLike", "CastLike"};
  for (size_t i = 0; i < PRN_COUNT(names); i++)
    if (prn_str_is(op->opname->dialect, "onnx") &&
        prn_str_is(op->opname->name, names[i]))
      return true;
  return false;
}

/* What a function does with an argument is not looked at: small tensors of
 * integers are taken to decide sizes. */
static bool may_be_sizes(const prn_value *v) {
  int64_t n;
  return v->type->kind == PRN_TYPE_TENSOR && prn_dtype_is_int(v->type->dtype) &&
         prn_type_count(v->type, &n) && n <= SMALL;
}

/* An If that gives other than tensors: its condition decides how many. */
static bool gives_container(const prn_op *op) {
  for (uint32_t i = 0; i < op->num_results; i++)
    if (prn_type_is_container(op->results[i].type)) return true;
  return false;
}

static bool decides(const prn_map *rows, const prn_op *op, uint32_t i) {
  const prn_o2n_row *row = prn_o2n_find(rows, op);
  if (prn_op_is(op, PRN_OP_onnx_If) && gives_container(op)) return i == 0;
  if (!row)
    return prn_op_code(op) == PRN_OP_unknown &&
           may_be_sizes(op->operands[i].value);
  return i < 32 && row->shape >> i & 1;
}

static bool any_marked(const prn_op *op) {
  for (uint32_t i = 0; i < op->num_results; i++)
    if (op->results[i].mark) return true;
  for (uint32_t k = 0; k < op->num_blocks; k++)
    for (uint32_t i = 0; i < op->blocks[k]->num_args; i++)
      if (op->blocks[k]->args[i]->mark) return true;
  return false;
}

static void mark_all(prn_op *op) {
  for (uint32_t i = 0; op && i < op->num_operands; i++)
    if (op->operands[i].value) op->operands[i].value->mark = 1;
}

static void sweep(const prn_map *rows, prn_block *block);

static void sweep_blocks(const prn_map *rows, const prn_op *op) {
  for (uint32_t k = 0; k < op->num_blocks; k++)
    sweep(rows, op->blocks[k]);
}

static void visit(const prn_map *rows, prn_op *op) {
  for (uint32_t i = 0; i < op->num_operands && !reads_types(op); i++)
    if (op->operands[i].value && decides(rows, op, i))
      op->operands[i].value->mark = 1;
  sweep_blocks(rows, op);
  if (!any_marked(op) || reads_types(op)) return;
  mark_all(op);
  for (uint32_t k = 0; k < op->num_blocks; k++)
    mark_all(op->blocks[k]->last);
  sweep_blocks(rows, op); /* what goes round a loop */
}

static void sweep(const prn_map *rows, prn_block *block) {
  for (prn_op *op = block->last; op; op = op->prev)
    visit(rows, op);
}

void prn_lower_mark_size_inputs(prn_module *m) {
  prn_map rows = {0};
  (void)!prn_walk(m->body, true, prn_o2n_unmark, NULL);
  prn_o2n_fill(&rows);
  PRN_EACH_OP(top, m->body)
    if (prn_op_is(top, PRN_OP_onnx_graph) && prn_op_block(top, "body"))
      sweep(&rows, prn_op_block(top, "body"));
  prn_map_destroy(&rows);
}
