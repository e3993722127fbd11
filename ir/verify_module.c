/* Operator sets, model-local functions and their calls. */
#include <string.h>

#include "ir/verifier.h"

enum { NEW, OPEN, DONE };

/* ---- operator sets ---- */

static prn_str standard(prn_str domain) {
  return prn_str_is(domain, "ai.onnx") ? PRN_STR("") : domain;
}

int64_t prn_verify_version(const prn_verifier *v, prn_str domain) {
  if (!v->imports || v->imports->kind != PRN_ATTR_LIST) return INT64_MAX;
  for (uint32_t i = 0; i < v->imports->size; i++) {
    const prn_attr *entry = v->imports->list[i];
    if (entry->kind != PRN_ATTR_DICT) continue;
    const prn_attr *d = prn_dict_get(entry, "domain");
    const prn_attr *n = prn_dict_get(entry, "version");
    prn_str name = d && d->kind == PRN_ATTR_STRING ? d->s : PRN_STR("");
    if (n && n->kind == PRN_ATTR_INT && prn_str_eq(standard(name), domain))
      return n->i;
  }
  return 0;
}

void prn_verify_imports(prn_verifier *v, prn_op *op, const prn_attr *imports) {
  prn_map seen = {0};
  bool list = imports->kind == PRN_ATTR_LIST;
  if (!list)
    prn_verify_fail(v, op,
                    "opset_import has the kind %s, expected a list of "
                    "{domain = \"\", version = 17}",
                    prn_attr_kind_name(imports->kind));
  for (uint32_t i = 0; list && i < imports->size; i++) {
    const prn_attr *e = imports->list[i];
    bool dict = e->kind == PRN_ATTR_DICT;
    const prn_attr *d = dict ? prn_dict_get(e, "domain") : NULL;
    const prn_attr *n = dict ? prn_dict_get(e, "version") : NULL;
    if (!dict || (d && d->kind != PRN_ATTR_STRING) || !n ||
        n->kind != PRN_ATTR_INT || n->i < 1) {
      prn_verify_fail(v, op,
                      "entry %u of opset_import is not of the form "
                      "{domain = \"\", version = 17}",
                      (unsigned)i);
      continue;
    }
    prn_str name = standard(d ? d->s : PRN_STR(""));
    void **slot = prn_map_slot(&seen, name);
    if (*slot)
      prn_verify_fail(v, op, "operator set '%.*s' is imported twice",
                      PRN_STR_ARG(name));
    *slot = v;
  }
  prn_map_destroy(&seen);
}

/* ---- functions ---- */

static prn_str key_of(prn_verifier *v, prn_str domain, prn_str name,
                      prn_str overload) {
  prn_strbuf b = {0};
  prn_strbuf_str(&b, standard(domain));
  prn_strbuf_char(&b, 0);
  prn_strbuf_str(&b, name);
  prn_strbuf_char(&b, 0);
  prn_strbuf_str(&b, overload);
  const char *copy = prn_arena_copy(&v->arena, b.data, b.size);
  prn_str key = {copy, b.size};
  prn_strbuf_destroy(&b);
  return key;
}

static prn_str function_key(prn_verifier *v, const prn_op *f) {
  return key_of(v, prn_op_string(f, "domain", ""), prn_op_string(f, "name", ""),
                prn_op_string(f, "overload", ""));
}

void prn_verify_find_functions(prn_verifier *v) {
  PRN_EACH_OP(op, v->module->body) {
    if (!prn_op_is(op, PRN_OP_onnx_function)) continue;
    void **slot = prn_map_slot(&v->functions, function_key(v, op));
    if (*slot) {
      prn_verify_fail(v, op, "function '%.*s' is defined twice",
                      PRN_STR_ARG(prn_op_string(op, "name", "")));
      continue;
    }
    prn_verify_fn *f = PRN_ARENA_NEW(&v->arena, prn_verify_fn);
    f->op = op;
    *slot = f;
  }
}

static prn_verify_fn *callee_of(prn_verifier *v, const prn_op *op) {
  prn_str domain = op->opname->dialect;
  if (v->functions.size == 0) return NULL;
  if (prn_str_is(domain, "onnx")) domain = PRN_STR("");
  if (prn_str_starts(domain, "$"))
    domain = (prn_str){domain.data + 1, domain.size - 1};
  return prn_map_get(&v->functions, key_of(v, domain, op->opname->name,
                                           prn_op_string(op, "$overload", "")));
}

static void add_call(prn_verify_fn *from, prn_verify_fn *to) {
  if (from->num_calls == from->cap_calls) {
    from->cap_calls = from->cap_calls ? from->cap_calls * 2 : 8;
    from->calls = prn_realloc(
        from->calls, prn_array_size(sizeof(prn_verify_fn *), from->cap_calls));
  }
  from->calls[from->num_calls++] = to;
}

bool prn_verify_call(prn_verifier *v, prn_op *op) {
  prn_verify_fn *to = callee_of(v, op);
  if (!to) return false;
  if (prn_op_is(v->top, PRN_OP_onnx_function)) {
    prn_verify_fn *from = prn_map_get(&v->functions, function_key(v, v->top));
    if (from) add_call(from, to);
  }
  if (to->op->num_blocks == 0) return true; /* reported there */
  const prn_block *body = to->op->blocks[0];
  uint32_t outs = body->last ? body->last->num_operands : 0;
  if (op->num_operands > body->num_args)
    prn_verify_fail(v, op, "the function takes at most %u operands, found %u",
                    (unsigned)body->num_args, (unsigned)op->num_operands);
  if (op->num_results > outs)
    prn_verify_fail(v, op, "the function gives at most %u results, found %u",
                    (unsigned)outs, (unsigned)op->num_results);
  return true;
}

/* Depth-first over the calls; stack has room for every function. */
static void find_cycle(prn_verifier *v, prn_verify_fn *root,
                       prn_verify_fn **stack) {
  size_t depth = 0;
  stack[depth++] = root;
  root->state = OPEN;
  while (depth) {
    prn_verify_fn *f = stack[depth - 1];
    if (f->next == f->num_calls) {
      f->state = DONE;
      depth--;
      continue;
    }
    prn_verify_fn *to = f->calls[f->next++];
    if (to->state == OPEN && !to->reported) {
      prn_str name = prn_op_string(to->op, "name", "");
      prn_str via = prn_op_string(f->op, "name", "");
      to->reported = true;
      if (f == to)
        prn_verify_fail(v, to->op, "function '%.*s' calls itself",
                        PRN_STR_ARG(name));
      else
        prn_verify_fail(v, to->op,
                        "function '%.*s' calls itself through '%.*s'",
                        PRN_STR_ARG(name), PRN_STR_ARG(via));
    }
    if (to->state != NEW) continue;
    to->state = OPEN;
    stack[depth++] = to;
  }
}

void prn_verify_recursion(prn_verifier *v) {
  size_t n = v->functions.size;
  prn_verify_fn **stack = prn_alloc(prn_array_size(sizeof *stack, n));
  for (size_t i = 0; i < n; i++) {
    prn_verify_fn *f = v->functions.entries[i].value;
    if (f->state == NEW) find_cycle(v, f, stack);
  }
  for (size_t i = 0; i < n; i++) {
    prn_verify_fn *f = v->functions.entries[i].value;
    prn_free(f->calls);
  }
  prn_free(stack);
}
