/* infer-shapes: the types of all values, as far as they can be told.
 *
 * Sizes are symbolic; what is found only adds to what the model says, and a
 * contradiction is an error that names the node. */
#include "ir/infer.h"
#include "passes/pass.h"

#define OPTIONS(X)                   \
  X(BOOL, assign_symbols, false, "", \
    "Give unknown sizes of graph inputs the symbols d0, d1, ...")
#define STATS(X)                                    \
  X(refined, "values whose type became more exact") \
  X(unknown, "values whose type is still not ranked")
PRN_PASS_TABLES;

typedef struct recorder {
  const prn_type **types;
  size_t size, cap;
} recorder;

static prn_status record(void *user, prn_op *op) {
  recorder *r = user;
  for (uint32_t i = 0; i < op->num_results; i++) {
    if (r->size == r->cap) {
      r->cap = r->cap ? r->cap * 2 : 1024;
      r->types = prn_realloc(r->types, prn_array_size(sizeof(void *), r->cap));
    }
    r->types[r->size++] = op->results[i].type;
  }
  return PRN_OK;
}

static bool is_open(const prn_type *t) {
  bool tensor = t->kind == PRN_TYPE_TENSOR || t->kind == PRN_TYPE_SPARSE_TENSOR;
  return t->kind == PRN_TYPE_ANY || (tensor && t->rank < 0);
}

static prn_status run(prn_pass_env *env, prn_module *m) {
  const struct opts *o = env->opts;
  struct stats *s = env->stats;
  recorder before = {0}, after = {0};
  (void)!prn_walk(m->body, true, record, &before);
  prn_status status = prn_infer_module(m, o->assign_symbols);
  (void)!prn_walk(m->body, true, record, &after);
  for (size_t i = 0; i < after.size; i++) {
    s->refined += after.types[i] != before.types[i];
    s->unknown += is_open(after.types[i]);
  }
  prn_free(before.types);
  prn_free(after.types);
  return status;
}

const prn_pass prn_pass_infer_shapes = {
    .name = "infer-shapes",
    .summary = "Infer the types and symbolic sizes of all values",
    .reads = PRN_ANY_DIALECT,
    .writes = PRN_ANY_DIALECT,
    .keeps = PRN_SHAPES | PRN_WEIGHTS,
    .exact = true,
    PRN_PASS_COMMON,
};
