/* print-groups: which dimensions of weights shrink together. */
#include "passes/analysis/coupling.h"

#define OPTIONS(X) \
  X(BOOL, frozen, true, "", "Also groups that cannot shrink, and why")
#define STATS(X)                      \
  X(groups, "groups that can shrink") \
  X(frozen, "groups that cannot")     \
  X(params, "elements of weights that a group that can shrink has")
PRN_PASS_TABLES;

/* The space with the group's own atom as "*". */
static void print_space(const prn_group *g, prn_space *x, prn_strbuf *b) {
  x = prn_space_find(x);
  if (x->kind == PRN_SPACE_ATOM) {
    if (x == g->atom) prn_strbuf_char(b, '*');
    prn_dim_print(b, x->size);
    return;
  }
  if (!x->n) {
    prn_strbuf_char(b, '1');
    return;
  }
  prn_strbuf_char(b, '(');
  for (uint32_t i = 0; i < x->n; i++) {
    if (i) prn_strbuf_cstr(b, x->kind == PRN_SPACE_SUM ? " + " : " ");
    print_space(g, x->parts[i], b);
  }
  prn_strbuf_char(b, ')');
}

static void print_why(prn_pass_env *env, const char *word, prn_space_why why) {
  if (!why.text) return;
  if (why.op)
    prn_pass_print(env, "  %s: %s by %.*s\n", word, why.text,
                   PRN_STR_ARG(prn_op_subject(why.op)));
  else
    prn_pass_print(env, "  %s: %s\n", word, why.text);
}

static void print_group(prn_pass_env *env, const prn_coupling *c,
                        const prn_group *g, size_t i) {
  prn_strbuf b = {0};
  prn_pass_print(env, "group %zu: %lld indices of %lld parameters", i,
                 (long long)g->size, (long long)g->params);
  if (g->flops > 0) prn_pass_print(env, ", %.0f FLOPs", g->flops);
  prn_pass_print(env, "\n");
  for (size_t k = 0; k < g->num_members; k++) {
    const prn_member *m = &g->members[k];
    const prn_value *v = &m->constant->results[0];
    b.size = 0;
    print_space(g, prn_coupling_space(c, v, m->axis), &b);
    prn_pass_print(env, "  %s axis %d: %.*s\n", prn_value_str(v), (int)m->axis,
                   PRN_STR_ARG(prn_strbuf_view(&b)));
  }
  print_why(env, "frozen", g->atom->frozen);
  print_why(env, "mixed", g->atom->mixed);
  print_why(env, "ordered", g->atom->ordered);
  prn_strbuf_destroy(&b);
}

static prn_status run(prn_pass_env *env, prn_module *m) {
  const struct opts *o = env->opts;
  struct stats *s = env->stats;
  const prn_coupling *c = prn_pass_coupling(env);
  (void)m;
  for (size_t i = 0; i < c->size; i++) {
    const prn_group *g = &c->groups[i];
    bool frozen = g->atom->frozen.text != NULL;
    s->groups += !frozen;
    s->frozen += frozen;
    if (!frozen) s->params += (uint64_t)(g->params * g->size);
    if (!frozen || o->frozen) print_group(env, c, g, i);
  }
  if (!c->size) prn_pass_print(env, "no groups\n");
  return PRN_OK;
}

const prn_pass prn_pass_print_groups = {
    .name = "print-groups",
    .summary = "Print which dimensions of weights shrink together",
    .doc = "Each group with its members: a weight, an axis, and of what "
           "factors and terms the axis is made, the group's own as *; how many "
           "elements of weights and FLOPs of products go with an index (open "
           "sizes count as 1); what stands against removing one, and against "
           "a change of places (ordered). Sizes that are computed should be "
           "folded first: fold-constants.",
    .reads = PRN_DIALECT_ONNX,
    .writes = PRN_DIALECT_ONNX,
    .needs = PRN_SHAPES | PRN_COUPLING,
    .keeps = PRN_ALL_ANALYSES,
    .prints = true,
    .exact = true,
    PRN_PASS_COMMON,
};
