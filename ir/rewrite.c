#include "ir/rewrite.h"

#include <string.h>

/* Rewrites allowed for each operation the module began with. */
enum { REWRITES_PER_OP = 16, REWRITES_MIN = 1000 };

/* Rules by the opcode of their root, in the order of the sets. */
typedef struct rule_index {
  const prn_rule **rules;
  size_t first[PRN_OP_count + 1]; /* of each opcode in rules */
} rule_index;

struct prn_rewriter {
  prn_module *module;
  const prn_rewrite_config *config;
  rule_index index;
  prn_op **work; /* a stack; op->mark is not 0 for those on it */
  size_t size, cap;
  prn_op *root;
  uint64_t applied, limit;
  const prn_rule *last;
};

/* ---- rules by opcode ---- */

static void build_index(prn_rewriter *rw) {
  rule_index *x = &rw->index;
  size_t count = 0;
  for (const prn_rule *const *set = rw->config->sets; *set; set++)
    for (const prn_rule *r = *set; r->name; r++, count++)
      x->first[r->lhs->op + 1]++;
  for (size_t i = 0; i < PRN_OP_count; i++)
    x->first[i + 1] += x->first[i];
  x->rules = prn_alloc(prn_array_size(sizeof *x->rules, count));
  size_t *next = prn_alloc(sizeof x->first);
  memcpy(next, x->first, sizeof x->first);
  for (const prn_rule *const *set = rw->config->sets; *set; set++)
    for (const prn_rule *r = *set; r->name; r++)
      x->rules[next[r->lhs->op]++] = r;
  prn_free(next);
}

/* ---- the worklist ---- */

enum { WAITING = 1, MAYBE_DEAD = 2 };

static void push_as(prn_rewriter *rw, prn_op *op, uint32_t mark) {
  if (!op->block) return;
  bool waits = op->mark != 0;
  if (mark > op->mark) op->mark = mark;
  if (waits) return;
  if (rw->size == rw->cap) {
    rw->cap = rw->cap ? rw->cap * 2 : 256;
    rw->work = prn_realloc(rw->work, prn_array_size(sizeof *rw->work, rw->cap));
  }
  rw->work[rw->size++] = op;
}

static void push(prn_rewriter *rw, prn_op *op) { push_as(rw, op, WAITING); }

static void push_users(prn_rewriter *rw, const prn_value *v) {
  PRN_EACH_USE(use, v)
    push(rw, use->owner);
}

static prn_status unmark(void *user, prn_op *op) {
  prn_rewriter *rw = user;
  op->mark = 0;
  rw->limit += REWRITES_PER_OP;
  return PRN_OK;
}

static prn_status push_matching(void *user, prn_op *op) {
  prn_rewriter *rw = user;
  size_t code = (size_t)op->opname->code;
  if (rw->index.first[code] < rw->index.first[code + 1]) push(rw, op);
  return PRN_OK;
}

/* Program order from the top of the stack. */
static void reverse_work(prn_rewriter *rw) {
  for (size_t i = 0; i < rw->size / 2; i++) {
    prn_op *op = rw->work[i];
    rw->work[i] = rw->work[rw->size - 1 - i];
    rw->work[rw->size - 1 - i] = op;
  }
}

/* ---- matching ---- */

static bool match_value(const prn_pat *p, prn_value *v, prn_match *m);

static bool match_args(const prn_pat *p, const prn_op *op, prn_match *m,
                       bool swapped) {
  for (uint32_t i = 0; i < PRN_PAT_ARGS && p->args[i]; i++) {
    uint32_t from = swapped ? 1 - i : i;
    if (!match_value(p->args[i], prn_op_operand(op, from), m)) return false;
  }
  return true;
}

static bool match_op(const prn_pat *p, const prn_op *op, prn_match *m) {
  if (!op || op->opname->code != p->op || prn_op_has_parameters(op))
    return false;
  prn_match saved = *m;
  if (match_args(p, op, m, false)) return true;
  *m = saved;
  if (!prn_op_has_trait(op, PRN_COMMUTATIVE) || op->num_operands != 2 ||
      p->args[2])
    return false;
  if (match_args(p, op, m, true)) return true;
  *m = saved;
  return false;
}

static bool match_value(const prn_pat *p, prn_value *v, prn_match *m) {
  if (!v) return false;
  if (p->slot && m->at[p->slot] && m->at[p->slot] != v) return false;
  if (p->kind == PRN_PAT_CONST && !prn_value_fixed(v)) return false;
  if (p->kind == PRN_PAT_OP && (v->index != 0 || !match_op(p, v->def, m)))
    return false;
  if (p->slot) m->at[p->slot] = v;
  return true;
}

/* ---- applying ---- */

/* Erases op; what only it used goes the same way when its turn comes. */
static void erase(prn_rewriter *rw, prn_op *op) {
  for (uint32_t i = 0; i < op->num_operands; i++) {
    const prn_value *v = op->operands[i].value;
    if (v && v->def) push_as(rw, v->def, MAYBE_DEAD);
  }
  prn_op_erase(op);
}

static bool has_uses(const prn_op *op) {
  for (uint32_t i = 0; i < op->num_results; i++)
    if (op->results[i].uses) return true;
  return false;
}

static bool apply(prn_rewriter *rw, const prn_rule *rule, prn_op *op) {
  prn_match m = {.root = op};
  if (!match_op(rule->lhs, op, &m)) return false;
  if (rule->where && !rule->where(&m)) return false;
  rw->root = op;
  prn_value *from = &op->results[0];
  prn_value *to = rule->build(rw, &m);
  if (!to || to == from) return false;
  if (!prn_value_can_replace(from, to)) {
    if (to->def && to->name.size == 0 && prn_op_is_dead(to->def))
      erase(rw, to->def); /* it was built for this */
    return false;
  }
  const prn_attr *label = prn_op_attr(op, "$name");
  if (label && to->def && to->name.size == 0)
    prn_op_set_attr(to->def, "$name", label);
  push_users(rw, from);
  prn_value_replace(from, to);
  rw->applied++;
  rw->last = rule;
  if (rw->config->applied) rw->config->applied(rw->config->user, rule, op);
  if (to->def) push(rw, to->def);
  if (!has_uses(op)) erase(rw, op);
  return true;
}

static void visit(prn_rewriter *rw, prn_op *op) {
  size_t code = (size_t)op->opname->code;
  if (op->num_results == 0) return;
  for (size_t i = rw->index.first[code]; i < rw->index.first[code + 1]; i++)
    if (apply(rw, rw->index.rules[i], op)) return;
}

prn_status prn_rewrite_greedy(prn_module *m, const prn_rewrite_config *config) {
  prn_rewriter *rw = prn_alloc(sizeof *rw);
  memset(rw, 0, sizeof *rw);
  rw->module = m;
  rw->config = config;
  rw->limit = REWRITES_MIN;
  build_index(rw);
  (void)!prn_walk(m->body, true, unmark, rw);
  (void)!prn_walk(m->body, true, push_matching, rw);
  reverse_work(rw);
  prn_status status = PRN_OK;
  while (rw->size && status == PRN_OK) {
    prn_op *op = rw->work[--rw->size];
    uint32_t mark = op->mark;
    op->mark = 0;
    if (op->block && mark == MAYBE_DEAD && prn_op_is_dead(op))
      erase(rw, op);
    else if (op->block)
      visit(rw, op);
    if (rw->applied > rw->limit)
      status = prn_module_error(m,
                                "rewriting does not end; the last rule "
                                "applied was '%s'",
                                rw->last->name);
  }
  prn_free(rw->index.rules);
  prn_free(rw->work);
  prn_free(rw);
  return status;
}

/* ---- builders ---- */

prn_module *prn_rw_module(const prn_rewriter *rw) { return rw->module; }

prn_op *prn_rw_op(prn_rewriter *rw, prn_opcode code, prn_value *const *operands,
                  uint32_t num_operands, const prn_type *result) {
  const prn_opname *name = prn_opname_code(rw->module->ctx, code);
  prn_op *op = prn_op_create(rw->module, name, rw->root->loc, operands,
                             num_operands, &result, 1);
  prn_op_insert_before(op, rw->root);
  return op;
}

/* ---- values ---- */

bool prn_op_has_parameters(const prn_op *op) {
  for (uint32_t i = 0; i < op->num_attrs; i++)
    if (op->attrs[i].value->kind == PRN_ATTR_SYMBOL) return true;
  return false;
}

enum { IR_VERSION_OF_DEFAULTS = 4 };

const prn_tensor *prn_value_fixed(const prn_value *v) {
  const prn_tensor *t = v ? prn_value_constant(v) : NULL;
  if (!t || !prn_op_is(v->def, PRN_OP_onnx_initializer) ||
      !prn_op_attr(v->def, "input"))
    return t;
  const prn_attr *version = prn_dict_get(v->def->module->attrs, "ir_version");
  return version && version->i < IR_VERSION_OF_DEFAULTS ? t : NULL;
}

bool prn_op_is_dead(const prn_op *op) {
  bool effects =
      !prn_op_has_trait(op, PRN_PURE) && !prn_op_has_trait(op, PRN_RANDOM);
  return !effects && !has_uses(op) &&
         !(prn_op_is(op, PRN_OP_onnx_initializer) && prn_op_attr(op, "input"));
}

bool prn_value_is_output(const prn_value *v) {
  PRN_EACH_USE(use, v)
    if (prn_op_has_trait(use->owner, PRN_TERMINATOR)) return true;
  return false;
}

static bool only_result_used(const prn_value *v) {
  for (uint32_t i = 0; v->def && i < v->def->num_results; i++)
    if (i != v->index && v->def->results[i].uses) return false;
  return true;
}

bool prn_value_can_replace(const prn_value *from, const prn_value *to) {
  if (!prn_value_is_output(from)) return true;
  /* An output keeps its name, so `to` must be free to take it: an operation's
   * result in the very block, no weight, and no output itself. */
  if (!to->def || prn_value_is_output(to) || !only_result_used(from))
    return false;
  if (to->name.size && prn_op_has_trait(to->def, PRN_CONSTANT)) return false;
  PRN_EACH_USE(use, from)
    if (prn_op_has_trait(use->owner, PRN_TERMINATOR) &&
        use->owner->block != to->def->block)
      return false;
  return true;
}

void prn_value_replace(prn_value *from, prn_value *to) {
  bool output = prn_value_is_output(from);
  if (output || to->name.size == 0) to->name = from->name;
  if (output && from->type->kind != PRN_TYPE_ANY) to->type = from->type;
  prn_value_replace_uses(from, to);
}
