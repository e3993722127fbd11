/* shapes: the types of all values are as shape inference leaves them.
 *
 * The facts themselves live in the types of the values; the check that a pass
 * kept them is that inference finds nothing to add. */
#include "ir/infer.h"
#include "passes/analysis/tables.h"

static void mix(uint64_t *h, const prn_value *v) {
  *h = prn_hash_bytes(&v->type, sizeof v->type, *h);
}

static prn_status hash_op(void *user, prn_op *op) {
  for (uint32_t i = 0; i < op->num_results; i++)
    mix(user, &op->results[i]);
  for (uint32_t i = 0; i < op->num_blocks; i++)
    for (uint32_t k = 0; k < op->blocks[i]->num_args; k++)
      mix(user, op->blocks[i]->args[k]);
  return PRN_OK;
}

static uint64_t hash_types(prn_module *m) {
  uint64_t h = 1;
  (void)!prn_walk(m->body, true, hash_op, &h);
  return h;
}

static prn_status compute(prn_analyses *all, prn_module *m, void **out) {
  (void)all;
  (void)out; /* nothing to keep: the types are in the module */
  return prn_infer_module(m, true);
}

/* Inference only adds knowledge: nothing to add means that it still holds. */
static bool holds(prn_analyses *all, prn_module *m, const void *data) {
  uint64_t before = hash_types(m);
  (void)all;
  (void)data;
  return prn_infer_module(m, true) == PRN_OK && hash_types(m) == before;
}

const prn_analysis prn_analysis_shapes = {
    .name = "shapes",
    .compute = compute,
    .holds = holds,
};
