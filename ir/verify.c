/* The verifier: structure, scopes and uses. */
#include "ir/verify.h"

#include <string.h>

#include "ir/verifier.h"

void prn_verify_fail(prn_verifier *v, const prn_op *op, const char *fmt, ...) {
  va_list ap;
  prn_loc loc = op ? op->loc : (prn_loc){.file = v->module->file};
  v->failed = true;
  va_start(ap, fmt);
  (void)!prn_diag_vemit(prn_ctx_diags(v->ctx), PRN_ERROR, loc,
                        op ? prn_op_subject(op) : PRN_STR(""), fmt, ap);
  va_end(ap);
}

/* ---- definitions and uses ---- */

/* The list of uses of one value: links that fit, owners in a block. */
static void check_uses(prn_verifier *v, const prn_op *at,
                       const prn_value *value) {
  prn_use *const *link = &value->uses;
  for (const prn_use *u = value->uses; u; u = u->next) {
    bool sound = u->value == value && (prn_use *const *)u->prev == link &&
                 u->owner && u >= u->owner->operands &&
                 u < u->owner->operands + u->owner->num_operands;
    if (!sound) {
      prn_verify_fail(v, at, "internal: the list of uses of %s is broken",
                      prn_value_str(value));
      return;
    }
    if (!u->owner->block) {
      prn_verify_fail(v, at, "internal: %s is used by an erased operation",
                      prn_value_str(value));
      return;
    }
    v->uses++;
    link = &u->next;
  }
}

static void check_value(prn_verifier *v, prn_op *op, const prn_value *value) {
  if (!value->type) {
    prn_verify_fail(v, op, "internal: a value has no type");
    return;
  }
  check_uses(v, op, value);
  if (value->type->kind != PRN_TYPE_NONE) {
    prn_verify_type(v, op, value);
    return;
  }
  const char *what = prn_value_str(value);
  if (value->name.size)
    prn_verify_fail(v, op,
                    "%s has a name, but the type none of an absent "
                    "value",
                    what);
  if (value->uses)
    prn_verify_fail(v, op,
                    "%s is used, but has the type none of an absent "
                    "value",
                    what);
}

static void check_results(prn_verifier *v, prn_op *op) {
  for (uint32_t i = 0; i < op->num_results; i++) {
    const prn_value *r = &op->results[i];
    if (r->def != op || r->block != op->block || r->index != i)
      prn_verify_fail(v, op,
                      "internal: result %u is not linked to its "
                      "operation",
                      (unsigned)i);
    check_value(v, op, r);
  }
}

/* Whether `value` may be used by op: defined before it in its block or in one
 * around it, with no isolated operation between. */
static void check_visible(prn_verifier *v, prn_op *op, uint32_t i,
                          const prn_value *value) {
  const char *why = "is not visible here";
  bool isolated = false;
  prn_op *at = op;
  for (; at; at = at->block ? at->block->parent : NULL) {
    if (at->block == value->block) break;
    isolated = isolated || (at->block && at->block->parent &&
                            prn_op_has_trait(at->block->parent, PRN_ISOLATED));
  }
  if (value->def && !value->def->block)
    why = "was erased";
  else if (at && isolated)
    why = "is from outside of the graph or function";
  else if (at && value->def == at && at != op)
    why = "is a result of the operation around it";
  else if (at && value->def && !prn_op_is_before(value->def, at))
    why = "is used before it is defined";
  else if (at)
    return;
  prn_verify_fail(v, op, "operand %u, %s, %s", (unsigned)i,
                  prn_value_str(value), why);
}

/* A block gives values, not gaps. */
static void check_outputs(prn_verifier *v, prn_op *op) {
  for (uint32_t i = 0; i < op->num_operands; i++)
    if (!op->operands[i].value)
      prn_verify_fail(v, op, "output %u is absent", (unsigned)i);
}

static void check_operands(prn_verifier *v, prn_op *op) {
  for (uint32_t i = 0; i < op->num_operands; i++) {
    const prn_use *u = &op->operands[i];
    if (u->owner != op)
      prn_verify_fail(v, op,
                      "internal: operand %u belongs to another "
                      "operation",
                      (unsigned)i);
    if (!u->value) continue;
    v->operands++;
    if (!u->prev || *u->prev != u) {
      prn_verify_fail(v, op, "internal: operand %u is in no list of uses",
                      (unsigned)i);
      continue;
    }
    check_visible(v, op, i, u->value);
  }
}

/* ---- blocks ---- */

/* Every nested block is named by exactly one REGION attribute. */
static void count_regions(prn_verifier *v, prn_op *op, const prn_attr *a,
                          uint32_t *counts) {
  if (a->kind == PRN_ATTR_LIST)
    for (uint32_t i = 0; i < a->size; i++)
      count_regions(v, op, a->list[i], counts);
  if (a->kind == PRN_ATTR_DICT)
    for (uint32_t i = 0; i < a->size; i++)
      count_regions(v, op, a->dict[i].value, counts);
  if (a->kind != PRN_ATTR_REGION) return;
  if (a->i < 0 || a->i >= (int64_t)op->num_blocks)
    prn_verify_fail(v, op,
                    "region<%lld> does not exist: the operation has %u "
                    "blocks",
                    (long long)a->i, (unsigned)op->num_blocks);
  else
    counts[a->i]++;
}

static void check_regions(prn_verifier *v, prn_op *op) {
  uint32_t *counts = NULL;
  if (op->num_blocks) {
    size_t bytes = prn_array_size(sizeof *counts, op->num_blocks);
    counts = memset(prn_alloc(bytes), 0, bytes);
  }
  for (uint32_t i = 0; i < op->num_attrs; i++)
    count_regions(v, op, op->attrs[i].value, counts);
  for (uint32_t i = 0; i < op->num_blocks; i++)
    if (counts[i] != 1)
      prn_verify_fail(v, op,
                      "block %u is named by %u attributes, expected "
                      "one: {body = region<%u>}",
                      (unsigned)i, (unsigned)counts[i], (unsigned)i);
  prn_free(counts);
}

static bool is_terminator(const prn_op *op) {
  return prn_op_has_trait(op, PRN_TERMINATOR);
}

static void check_end(prn_verifier *v, prn_op *parent, const prn_block *b,
                      uint32_t i) {
  if (!b->last) {
    prn_verify_fail(v, parent, "block %u is empty, expected a terminator",
                    (unsigned)i);
    return;
  }
  if (!is_terminator(b->last)) {
    prn_verify_fail(v, b->last,
                    "the last operation of a block is a "
                    "terminator such as onnx.return");
    return;
  }
  bool onnx = prn_op_is(b->last, PRN_OP_onnx_return);
  if (onnx != (parent->opname->dialect_bit == PRN_DIALECT_ONNX))
    prn_verify_fail(v, b->last, "cannot end a block of %.*s",
                    PRN_STR_ARG(prn_op_subject(parent)));
}

static void check_unique_name(prn_verifier *v, prn_op *op, prn_ptrmap *names,
                              const prn_value *value) {
  if (value->name.size == 0) return;
  void **slot = prn_ptrmap_slot(names, value->name.data);
  if (*slot)
    prn_verify_fail(v, op, "the name %s is defined twice",
                    prn_value_str(value));
  *slot = names;
}

/* ONNX knows values by name. */
static void check_names(prn_verifier *v, prn_op *parent, const prn_block *b) {
  prn_ptrmap names = {0};
  if (parent->opname->dialect_bit != PRN_DIALECT_ONNX) return;
  for (uint32_t i = 0; i < b->num_args; i++)
    check_unique_name(v, parent, &names, b->args[i]);
  PRN_EACH_OP(op, b)
    for (uint32_t i = 0; i < op->num_results; i++)
      check_unique_name(v, op, &names, &op->results[i]);
  prn_ptrmap_destroy(&names);
}

static void check_links(prn_verifier *v, prn_op *parent, prn_block *b) {
  const prn_op *before = NULL;
  if (b->parent != parent || b->module != v->module)
    prn_verify_fail(v, parent, "internal: a block belongs elsewhere");
  PRN_EACH_OP(op, b) {
    if (op->block != b || op->prev != before || op->module != v->module)
      prn_verify_fail(v, op,
                      "internal: the operation is not linked to its "
                      "block");
    before = op;
  }
  if (b->last != before)
    prn_verify_fail(v, parent, "internal: the end of a block is wrong");
}

static void check_op(prn_verifier *v, prn_op *op);

static void check_block(prn_verifier *v, prn_op *op, uint32_t index) {
  prn_block *b = op->blocks[index];
  check_links(v, op, b);
  for (uint32_t i = 0; i < b->num_args; i++) {
    const prn_value *a = b->args[i];
    if (a->def || a->block != b || a->index != i)
      prn_verify_fail(v, op,
                      "internal: argument %u is not linked to its "
                      "block",
                      (unsigned)i);
    check_value(v, op, a);
    if (a->type && a->type->kind == PRN_TYPE_NONE)
      prn_verify_fail(v, op, "argument %u of block %u has the type none",
                      (unsigned)i, (unsigned)index);
  }
  check_names(v, op, b);
  PRN_EACH_OP(inner, b)
    check_op(v, inner);
  check_end(v, op, b, index);
}

/* ---- operations ---- */

static void check_place(prn_verifier *v, prn_op *op) {
  bool top = op->block == v->module->body;
  if (top && !prn_op_has_trait(op, PRN_TOP_LEVEL))
    prn_verify_fail(v, op,
                    "only graphs and functions stand directly in a "
                    "module");
  if (!top && prn_op_has_trait(op, PRN_TOP_LEVEL))
    prn_verify_fail(v, op,
                    "a graph or function stands directly in the module, "
                    "not in another operation");
  if (is_terminator(op) && op->next)
    prn_verify_fail(v, op, "a terminator is the last operation of its block");
  if (is_terminator(op)) check_outputs(v, op);
  if (prn_op_is(op, PRN_OP_onnx_graph) && v->graph)
    prn_verify_fail(v, op, "a module has one graph");
  if (prn_op_is(op, PRN_OP_onnx_graph)) v->graph = op;
}

static void check_imports(prn_verifier *v, prn_op *op, const prn_attr *own) {
  prn_verify_imports(v, op, own);
  v->imports = own;
  v->opset = prn_verify_version(v, PRN_STR(""));
}

static void check_op(prn_verifier *v, prn_op *op) {
  const prn_attr *own = prn_op_attr(op, "$opset_import");
  const prn_attr *imports = v->imports;
  int64_t opset = v->opset;
  if (own) check_imports(v, op, own);
  check_place(v, op);
  check_results(v, op);
  check_operands(v, op);
  check_regions(v, op);
  prn_verify_attrs(v, op);
  bool sound = prn_verify_table(v, op);
  for (uint32_t i = 0; i < op->num_blocks; i++)
    check_block(v, op, i);
  prn_verify_constant(v, op);
  const prn_op_info *info = op->opname->info;
  if (sound && info && info->verify && info->verify(op) != PRN_OK)
    v->failed = true;
  v->imports = imports;
  v->opset = opset;
}

static void check_top(prn_verifier *v, prn_op *op) {
  const prn_attr *own = prn_op_attr(op, "opset_import");
  if (own) prn_verify_imports(v, op, own);
  v->top = op;
  v->imports = own ? own : prn_dict_get(v->module->attrs, "opset_import");
  v->opset = prn_verify_version(v, PRN_STR(""));
  check_op(v, op);
}

prn_status prn_verify(prn_module *m) {
  prn_verifier v = {.module = m, .ctx = m->ctx};
  const prn_attr *imports = prn_dict_get(m->attrs, "opset_import");
  if (m->attrs && m->attrs->kind != PRN_ATTR_DICT)
    prn_verify_fail(&v, NULL,
                    "internal: the module's attributes are no "
                    "dictionary");
  if (imports) prn_verify_imports(&v, NULL, imports);
  prn_verify_find_functions(&v);
  PRN_EACH_OP(op, m->body)
    check_top(&v, op);
  if (v.uses != v.operands && !v.failed)
    prn_verify_fail(&v, NULL, "internal: %lld operands, but %lld uses",
                    (long long)v.operands, (long long)v.uses);
  prn_verify_recursion(&v);
  prn_map_destroy(&v.functions);
  prn_arena_destroy(&v.arena);
  return v.failed ? PRN_FAIL : PRN_OK;
}
