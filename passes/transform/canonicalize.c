/* canonicalize: apply the declared rewrite rules until none fits.
 *
 * The rules (docs/rules.md) keep types and values bit for bit, so the result
 * runs the same anywhere. Those that compare shapes see more after
 * infer-shapes. */
#include "passes/pass.h"
#include "passes/rules/rules.h"

#define OPTIONS(X)                                        \
  X(STRINGS, only, , "", "Use these rules and no others") \
  X(STRINGS, without, , "", "Leave these rules out")
#define STATS(X) X(rewrites, "times a rule was applied")
PRN_PASS_TABLES;

enum { MAX_RULES = 1024 };

/* All rules' names; the number of them. */
static size_t rule_names(prn_str *names) {
  size_t n = 0;
  for (const prn_rule *const *set = prn_rule_sets; *set; set++)
    for (const prn_rule *r = *set; r->name && n < MAX_RULES; r++)
      names[n++] = prn_str_from(r->name);
  return n;
}

static prn_status check_names(const prn_pass_env *env, const prn_strs *list) {
  prn_str names[MAX_RULES];
  size_t n = rule_names(names);
  prn_status status = PRN_OK;
  for (size_t i = 0; i < list->size; i++) {
    bool found = false;
    for (size_t k = 0; k < n && !found; k++)
      found = prn_str_eq(names[k], list->at[i]);
    if (found) continue;
    prn_strbuf b = {0};
    prn_suggest(&b, list->at[i], names, n);
    status = prn_pass_error(env, "no rule is called '%.*s'%s",
                            PRN_STR_ARG(list->at[i]), b.data ? b.data : "");
    prn_strbuf_destroy(&b);
  }
  return status;
}

static prn_status check(prn_pass_env *env) {
  const struct opts *o = env->opts;
  prn_status only = check_names(env, &o->only);
  prn_status without = check_names(env, &o->without);
  return only == PRN_OK && without == PRN_OK ? PRN_OK : PRN_FAIL;
}

static bool listed(const prn_strs *list, const char *name) {
  for (size_t i = 0; i < list->size; i++)
    if (prn_str_is(list->at[i], name)) return true;
  return false;
}

/* One set with the rules that the options leave. */
static prn_rule *chosen_rules(prn_pass_env *env) {
  const struct opts *o = env->opts;
  prn_rule *all = PRN_ARENA_ARRAY(env->scratch, prn_rule, MAX_RULES + 1);
  size_t n = 0;
  for (const prn_rule *const *set = prn_rule_sets; *set; set++)
    for (const prn_rule *r = *set; r->name && n < MAX_RULES; r++)
      if ((!o->only.size || listed(&o->only, r->name)) &&
          !listed(&o->without, r->name))
        all[n++] = *r;
  return all; /* the arena is zeroed: the last has no name */
}

static void applied(void *user, const prn_rule *rule, const prn_op *root) {
  const prn_pass_env *env = user;
  struct stats *s = env->stats;
  s->rewrites++;
  prn_pass_remark(env, root, PRN_REASON_Rewritten, "%s: %s", rule->name,
                  rule->identity);
}

static prn_status run(prn_pass_env *env, prn_module *m) {
  const prn_rule *sets[] = {chosen_rules(env), NULL};
  prn_rewrite_config config = {sets, applied, env};
  return prn_rewrite_greedy(m, &config);
}

const prn_pass prn_pass_canonicalize = {
    .name = "canonicalize",
    .summary = "Apply the rewrite rules until none fits",
    .reads = PRN_ANY_DIALECT,
    .writes = PRN_ANY_DIALECT,
    .check = check,
    .exact = true,
    PRN_PASS_COMMON,
};
