/* strip-names: drop what only people read.
 *
 * Node names and documentation strings go; names of values stay, because
 * inputs, outputs and weights are called by them. */
#include "passes/pass.h"

#define OPTIONS(X)              \
  X(BOOL, docs_only, false, "", \
    "Keep node names; drop documentation strings only")
#define STATS(X)                 \
  X(names, "node names dropped") \
  X(docs, "documentation strings dropped")
PRN_PASS_TABLES;

static bool drop(prn_op *op, const char *attr) {
  if (!prn_op_attr(op, attr)) return false;
  prn_op_set_attr(op, attr, NULL);
  return true;
}

static prn_status strip(void *user, prn_op *op) {
  const prn_pass_env *env = user;
  const struct opts *o = env->opts;
  struct stats *s = env->stats;
  s->docs += drop(op, "$doc_string");
  if (!o->docs_only) s->names += drop(op, "$name");
  return PRN_OK;
}

static prn_status run(prn_pass_env *env, prn_module *m) {
  return prn_walk(m->body, true, strip, env);
}

const prn_pass prn_pass_strip_names = {
    .name = "strip-names",
    .summary = "Drop node names and documentation strings",
    .reads = PRN_ANY_DIALECT,
    .writes = PRN_ANY_DIALECT,
    .keeps = PRN_ALL_ANALYSES,
    .exact = true,
    PRN_PASS_COMMON,
};
