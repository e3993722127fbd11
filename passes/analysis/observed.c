#include "passes/analysis/observed.h"

/* Another value is the graph's output of that name. */
static bool is_hidden_by_output(const prn_op *graph, const prn_value *v) {
  const prn_attr *names = prn_op_attr(graph, "outputs");
  const prn_op *ret = v->block->last;
  for (uint32_t i = 0; names && names->kind == PRN_ATTR_STRINGS && ret &&
                       i < names->size && i < ret->num_operands;
       i++)
    if (prn_str_eq(names->strings[i], v->name) && prn_op_operand(ret, i) != v)
      return true;
  return false;
}

const char *prn_site_input_hidden(const prn_site_input *input) {
  const prn_value *v = input->value;
  if (v->name.size == 0) return "has no name";
  if (!v->block->parent || !prn_op_is(v->block->parent, PRN_OP_onnx_graph))
    return "is inside of a function or a nested graph";
  if (v->type->kind == PRN_TYPE_TENSOR && !prn_dtype_is_float(v->type->dtype))
    return "is not of floats";
  if (is_hidden_by_output(v->block->parent, v))
    return "has the name of an output that is another value";
  return NULL;
}

/* Appends unless the same is there; `seen` holds the first place of a value,
 * from 1. */
static void add(prn_site_inputs *all, prn_ptrmap *seen, prn_site_input in) {
  void **slot = prn_ptrmap_slot(seen, in.value);
  for (size_t i = (uintptr_t)*slot; i && i <= all->size; i++)
    if (all->at[i - 1].value == in.value && all->at[i - 1].axis == in.axis)
      return;
  all->at[all->size++] = in;
  if (!*slot) *slot = (void *)(uintptr_t)all->size;
}

prn_site_inputs prn_sites_observable(const prn_sites *s, prn_arena *arena) {
  prn_site_inputs all = {0};
  prn_ptrmap seen = {0};
  size_t cap = 0;
  for (size_t i = 0; i < s->size; i++)
    cap += s->at[i].num_uses;
  all.at = PRN_ARENA_ARRAY(arena, prn_site_input, cap);
  for (size_t i = 0; i < s->size; i++)
    for (size_t k = 0; k < s->at[i].num_uses; k++) {
      const prn_site_use *use = &s->at[i].uses[k];
      prn_site_input in;
      if (prn_site_input_of(use->op, use->slot, &in) &&
          !prn_site_input_hidden(&in))
        add(&all, &seen, in);
    }
  prn_ptrmap_destroy(&seen);
  return all;
}

const prn_observation *prn_site_observation(const prn_profile *p,
                                            const prn_site_use *use) {
  prn_site_input in;
  if (!prn_site_input_of(use->op, use->slot, &in) || prn_site_input_hidden(&in))
    return NULL;
  return prn_profile_find(p, in.value->name, in.axis);
}
