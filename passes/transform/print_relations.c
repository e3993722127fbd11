/* print-relations: how the dimensions of every operation are tied.
 *
 * One line for each operation that has a row: the word of its relation, or the
 * sizes of the factors that the row names. Types that contradict a relation are
 * an error, which checks the tables against shape inference. */
#include "ir/relation.h"
#include "passes/pass.h"

#define OPTIONS(X)
#define STATS(X)                                   \
  X(related, "operations whose factors are known") \
  X(words, "operations described by a word")       \
  X(unfit, "operations that no relation of theirs fits")
PRN_PASS_TABLES;

typedef struct printer {
  prn_pass_env *env;
  prn_relation *relations; /* by opcode */
  bool *parsed;
  prn_strbuf line;
} printer;

static prn_status contradiction(const prn_op *op, const prn_relation *r,
                                prn_relation_place at) {
  prn_strbuf b = {0};
  const prn_value *v = prn_relation_value(at.slot, op);
  for (uint32_t i = 0; i < at.dim->n; i++) {
    if (i) prn_strbuf_char(&b, ' ');
    if (at.dim->names[i] < 0)
      prn_strbuf_fmt(&b, "%lld", (long long)at.dim->values[i]);
    else
      prn_strbuf_str(&b, r->names[at.dim->names[i]]);
  }
  (void)prn_op_error(op, "axis %d of %s, %s, contradicts the size of '%s'",
                     (int)at.axis, prn_value_str(v),
                     prn_type_str(op->module->ctx, v->type), b.data);
  prn_strbuf_destroy(&b);
  return PRN_FAIL;
}

static prn_status print_sizes(printer *p, const prn_op *op,
                              const prn_relation *r) {
  struct stats *s = p->env->stats;
  prn_dim sizes[PRN_RELATION_NAMES];
  prn_relation_place where;
  const prn_relation_alt *alt = prn_relation_select(r, op);
  if (!alt) {
    prn_strbuf_cstr(&p->line, " opaque");
    s->unfit++;
    return PRN_OK;
  }
  if (!prn_relation_sizes(r, alt, op, sizes, &where))
    return contradiction(op, r, where);
  for (uint32_t i = 0; i < r->num_names; i++) {
    if (!prn_dim_known(sizes[i])) continue;
    prn_strbuf_char(&p->line, ' ');
    prn_strbuf_str(&p->line, r->names[i]);
    prn_strbuf_char(&p->line, '=');
    prn_dim_print(&p->line, sizes[i]);
  }
  s->related++;
  return PRN_OK;
}

static prn_status print_op(void *user, prn_op *op) {
  static const char *const words[] = {[PRN_RELATION_ELEMENTWISE] =
                                          "elementwise",
                                      [PRN_RELATION_AXIS] = "axis",
                                      [PRN_RELATION_HOOK] = "hook",
                                      [PRN_RELATION_OPAQUE] = "opaque"};
  printer *p = user;
  struct stats *s = p->env->stats;
  prn_opcode code = prn_op_code(op);
  if (!op->opname->info || !op->num_results ||
      prn_op_has_trait(op, PRN_CONSTANT))
    return PRN_OK;
  prn_relation *r = &p->relations[code];
  if (!p->parsed[code] && prn_relation_parse(op->opname->info, r))
    return prn_op_error(op, "its row has malformed dimension relations");
  p->parsed[code] = true;
  p->line.size = 0;
  prn_strbuf_fmt(&p->line, "%s = %.*s.%.*s:", prn_value_str(&op->results[0]),
                 PRN_STR_ARG(op->opname->dialect),
                 PRN_STR_ARG(op->opname->name));
  if (r->word == PRN_RELATION_LIST) {
    PRN_TRY(print_sizes(p, op, r));
  } else {
    prn_strbuf_fmt(&p->line, " %s", words[r->word]);
    s->words++;
  }
  prn_pass_print(p->env, "%.*s\n", PRN_STR_ARG(prn_strbuf_view(&p->line)));
  return PRN_OK;
}

static prn_status run(prn_pass_env *env, prn_module *m) {
  printer p = {.env = env};
  p.relations = PRN_ARENA_ARRAY(env->scratch, prn_relation, PRN_OP_count);
  p.parsed = PRN_ARENA_ARRAY(env->scratch, bool, PRN_OP_count);
  prn_status status = prn_walk(m->body, true, print_op, &p);
  prn_strbuf_destroy(&p.line);
  return status;
}

const prn_pass prn_pass_print_relations = {
    .name = "print-relations",
    .summary = "Print how the dimensions of each operation are tied",
    .reads = PRN_ANY_DIALECT,
    .writes = PRN_ANY_DIALECT,
    .needs = PRN_SHAPES,
    .keeps = PRN_ALL_ANALYSES,
    .prints = true,
    .exact = true,
    PRN_PASS_COMMON,
};
