#include "passes/transform/outputs.h"

prn_outputs prn_outputs_open(const prn_pass_env *env, prn_op *graph,
                             size_t more) {
  const prn_attr *names = prn_op_attr(graph, "outputs");
  const prn_block *body = prn_op_block(graph, "body");
  prn_outputs o = {.graph = graph, .ret = body->last};
  if (!prn_op_is(o.ret, PRN_OP_onnx_return)) return (prn_outputs){0};
  o.size = o.ret->num_operands;
  o.names = PRN_ARENA_ARRAY(env->scratch, prn_str, o.size + more);
  for (uint32_t i = 0; i < o.size; i++) {
    const prn_value *v = prn_op_operand(o.ret, i);
    o.names[i] = v ? v->name : PRN_STR("");
    if (names && names->kind == PRN_ATTR_STRINGS && i < names->size)
      o.names[i] = names->strings[i];
  }
  return o;
}

void prn_outputs_add(prn_outputs *o, prn_value *v) {
  for (uint32_t i = 0; i < o->size; i++)
    if (prn_str_eq(o->names[i], v->name)) {
      o->known += prn_op_operand(o->ret, i) == v;
      return;
    }
  prn_op_add_operand(o->ret, v);
  o->names[o->size++] = v->name;
  o->added++;
}

void prn_outputs_close(const prn_pass_env *env, const prn_outputs *o) {
  if (o->ret)
    prn_op_set_attr(o->graph, "outputs",
                    prn_attr_strings(env->ctx, o->names, o->size));
}
