/* Modules, order, walking, cloning and messages about operations. */
#include <string.h>

#include "ir/op.h"

static void destroy_module(void *p) { prn_module_destroy(p); }

prn_module *prn_module_create(prn_ctx *ctx) {
  prn_module *m = PRN_ARENA_NEW(prn_ctx_arena(ctx), prn_module);
  m->ctx = ctx;
  m->body = prn_block_create(m);
  prn_ctx_on_destroy(ctx, destroy_module, m);
  return m;
}

void prn_module_destroy(prn_module *m) { prn_arena_destroy(&m->arena); }

static prn_status add_dialect(void *user, prn_op *op) {
  *(uint32_t *)user |= (uint32_t)op->opname->dialect_bit;
  return PRN_OK;
}

uint32_t prn_module_dialects(const prn_module *m) {
  uint32_t mask = 0;
  (void)!prn_walk(m->body, true, add_dialect, &mask);
  return mask;
}

/* The newest, where nothing says which: the verifier takes that, too. */
static int64_t opset_in(const prn_attr *imports, prn_str domain) {
  if (!imports || imports->kind != PRN_ATTR_LIST) return INT64_MAX;
  for (uint32_t i = 0; i < imports->size; i++) {
    const prn_attr *e = imports->list[i];
    const prn_attr *d = prn_dict_get(e, "domain");
    const prn_attr *v = prn_dict_get(e, "version");
    prn_str name = d ? d->s : PRN_STR("");
    if (prn_str_is(name, "ai.onnx")) name = PRN_STR("");
    if (v && prn_str_eq(name, domain)) return v->i;
  }
  return 0;
}

int64_t prn_op_opset(const prn_op *op) {
  prn_str domain = op->opname->dialect;
  if (prn_str_is(domain, "onnx"))
    domain = PRN_STR("");
  else if (prn_str_starts(domain, "$")) /* a foreign domain called "onnx" */
    domain = (prn_str){domain.data + 1, domain.size - 1};
  for (const prn_op *p = op; p;
       p = p->block && p->block->parent ? p->block->parent : NULL) {
    const prn_attr *own =
        prn_op_attr(p, prn_op_has_trait(p, PRN_TOP_LEVEL) ? "opset_import"
                                                          : "$opset_import");
    if (own && own->kind == PRN_ATTR_LIST) return opset_in(own, domain);
  }
  return opset_in(prn_dict_get(op->module->attrs, "opset_import"), domain);
}

bool prn_op_is_before(prn_op *a, prn_op *b) {
  prn_block *block = a->block;
  if (!block->order_valid) {
    uint32_t i = 0;
    PRN_EACH_OP(op, block)
      op->order = i++;
    block->order_valid = true;
  }
  return a->order < b->order;
}

prn_status prn_walk(prn_block *b, bool pre,
                    prn_status (*fn)(void *user, prn_op *op), void *user) {
  PRN_EACH_OP_SAFE(op, b) {
    if (pre) PRN_TRY(fn(user, op));
    for (uint32_t i = 0; i < op->num_blocks; i++)
      PRN_TRY(prn_walk(op->blocks[i], pre, fn, user));
    if (!pre) PRN_TRY(fn(user, op));
  }
  return PRN_OK;
}

static prn_status drop_names(void *user, prn_op *op) {
  (void)user;
  for (uint32_t i = 0; i < op->num_results; i++)
    op->results[i].name = PRN_STR("");
  for (uint32_t k = 0; k < op->num_blocks; k++)
    for (uint32_t i = 0; i < op->blocks[k]->num_args; i++)
      op->blocks[k]->args[i]->name = PRN_STR("");
  return PRN_OK;
}

void prn_op_drop_names(prn_op *op) {
  (void)!drop_names(NULL, op);
  for (uint32_t i = 0; i < op->num_blocks; i++)
    (void)!prn_walk(op->blocks[i], true, drop_names, NULL);
}

static prn_value *mapped(const prn_ptrmap *map, prn_value *v) {
  prn_value *to = v ? prn_ptrmap_get(map, v) : NULL;
  return to ? to : v;
}

static prn_block *clone_block(prn_module *m, const prn_block *b,
                              prn_ptrmap *map) {
  prn_block *copy = prn_block_create(m);
  for (uint32_t i = 0; i < b->num_args; i++)
    *prn_ptrmap_slot(map, b->args[i]) =
        prn_block_add_arg(copy, b->args[i]->type, b->args[i]->name);
  PRN_EACH_OP(op, b)
    prn_block_append(copy, prn_op_clone(m, op, map));
  return copy;
}

prn_op *prn_op_clone(prn_module *m, const prn_op *op, prn_ptrmap *map) {
  prn_op *copy = prn_op_create(m, op->opname, op->loc, NULL, 0, NULL, 0);
  copy->num_results = op->num_results;
  copy->results = PRN_ARENA_ARRAY(&m->arena, prn_value, op->num_results);
  for (uint32_t i = 0; i < op->num_results; i++) {
    const prn_value *r = &op->results[i];
    copy->results[i] =
        (prn_value){.type = r->type, .name = r->name, .def = copy, .index = i};
    *prn_ptrmap_slot(map, r) = &copy->results[i];
  }
  for (uint32_t i = 0; i < op->num_operands; i++)
    prn_op_add_operand(copy, mapped(map, op->operands[i].value));
  copy->num_attrs = copy->cap_attrs = op->num_attrs;
  copy->attrs =
      prn_arena_copy(&m->arena, op->attrs, op->num_attrs * sizeof *op->attrs);
  for (uint32_t i = 0; i < op->num_blocks; i++)
    prn_op_add_block(copy, clone_block(m, op->blocks[i], map));
  return copy;
}

/* ---- messages ---- */

prn_str prn_op_subject(const prn_op *op) {
  prn_strbuf b = {0};
  prn_str name = prn_op_string(op, "$name", "");
  if (op->opname->dialect_bit == PRN_DIALECT_ONNX) {
    if (name.size == 0 && op->num_results && op->results[0].name.size)
      prn_strbuf_fmt(&b, "node producing '%.*s' (%.*s)",
                     PRN_STR_ARG(op->results[0].name),
                     PRN_STR_ARG(op->opname->name));
    else if (name.size || !op->loc.line)
      prn_strbuf_fmt(&b, "node '%.*s' (%.*s)", PRN_STR_ARG(name),
                     PRN_STR_ARG(op->opname->name));
  }
  if (b.size == 0) {
    prn_strbuf_fmt(&b, "'%.*s.%.*s'", PRN_STR_ARG(op->opname->dialect),
                   PRN_STR_ARG(op->opname->name));
  }
  prn_str s = prn_intern(op->module->ctx, prn_strbuf_view(&b));
  prn_strbuf_destroy(&b);
  return s;
}

const char *prn_value_str(const prn_value *v) {
  prn_strbuf b = {0};
  prn_ctx *ctx = v->def ? v->def->module->ctx : v->block->module->ctx;
  if (v->name.size) {
    prn_strbuf_fmt(&b, "'%.*s'", PRN_STR_ARG(v->name));
  } else if (v->def) {
    prn_strbuf_fmt(&b, "result %u of %.*s", (unsigned)v->index,
                   PRN_STR_ARG(prn_op_subject(v->def)));
  } else {
    prn_strbuf_fmt(&b, "block argument %u", (unsigned)v->index);
  }
  const char *text = prn_intern(ctx, prn_strbuf_view(&b)).data;
  prn_strbuf_destroy(&b);
  return text;
}

prn_status prn_op_error(const prn_op *op, const char *fmt, ...) {
  va_list ap;
  va_start(ap, fmt);
  prn_status s = prn_diag_vemit(prn_ctx_diags(op->module->ctx), PRN_ERROR,
                                op->loc, prn_op_subject(op), fmt, ap);
  va_end(ap);
  return s;
}

void prn_op_report(const prn_op *op, prn_severity severity, const char *fmt,
                   ...) {
  va_list ap;
  va_start(ap, fmt);
  (void)prn_diag_vemit(prn_ctx_diags(op->module->ctx), severity, op->loc,
                       prn_op_subject(op), fmt, ap);
  va_end(ap);
}

prn_status prn_module_error(const prn_module *m, const char *fmt, ...) {
  va_list ap;
  prn_loc loc = {.file = m->file};
  va_start(ap, fmt);
  prn_status s = prn_diag_vemit(prn_ctx_diags(m->ctx), PRN_ERROR, loc,
                                (prn_str){"", 0}, fmt, ap);
  va_end(ap);
  return s;
}

prn_status prn_module_program(prn_module *m, prn_op **out) {
  prn_op *func = NULL;
  PRN_EACH_OP(op, m->body) {
    if (!prn_op_is(op, PRN_OP_mem_func)) continue;
    if (func) return prn_op_error(op, "expected one mem.func, found two");
    func = op;
  }
  if (!func)
    return prn_module_error(m, "expected a mem.func, found none: lower first");
  *out = func;
  return PRN_OK;
}
