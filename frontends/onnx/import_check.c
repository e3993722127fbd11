/* What a module must keep once its graphs are built: order, imports, and no
 * recursion. */
#include "frontends/onnx/importer.h"

#include <string.h>

/* ---- order ---- */

enum { NEW, OPEN, DONE }; /* prn_op.mark while sorting */

/* One op on the path of the depth-first walk, and where it got to. */
typedef struct visit {
  prn_op *op;
  prn_op **needs; /* ops of the block that come before it */
  size_t num_needs, next;
} visit;

typedef struct needs_list {
  prn_block *block;
  prn_op **ops;
  size_t size, cap;
} needs_list;

static prn_status collect_need(void *user, prn_op *op) {
  needs_list *l = user;
  for (uint32_t i = 0; i < op->num_operands; i++) {
    prn_value *v = op->operands[i].value;
    if (!v || !v->def || v->def->block != l->block) continue;
    if (l->size == l->cap) {
      l->cap = l->cap ? l->cap * 2 : 8;
      l->ops = prn_realloc(l->ops, prn_array_size(sizeof *l->ops, l->cap));
    }
    l->ops[l->size++] = v->def;
  }
  return PRN_OK;
}

static visit start_visit(prn_block *b, prn_op *op) {
  needs_list l = {.block = b};
  (void)collect_need(&l, op);
  for (uint32_t i = 0; i < op->num_blocks; i++)
    (void)!prn_walk(op->blocks[i], true, collect_need, &l);
  op->mark = OPEN;
  return (visit){op, l.ops, l.size, 0};
}

static prn_status report_cycle(const prn_op *op, const prn_op *needed) {
  prn_str other = prn_op_subject(needed);
  if (op == needed) return prn_op_error(op, "the node needs its own output");
  return prn_op_error(op,
                      "the graph has a cycle: the node needs %.*s, which "
                      "needs it",
                      PRN_STR_ARG(other));
}

/* Appends to `order` all that root needs, then root. */
static prn_status visit_all(prn_block *b, prn_op *root, visit *stack,
                            prn_op **order, size_t *num) {
  prn_status status = PRN_OK;
  size_t depth = 0;
  stack[depth++] = start_visit(b, root);
  while (depth) {
    visit *v = &stack[depth - 1];
    if (v->next == v->num_needs) {
      prn_free(v->needs);
      v->op->mark = DONE;
      order[(*num)++] = v->op;
      depth--;
      continue;
    }
    prn_op *need = v->needs[v->next++];
    if (need->mark == OPEN)
      status = report_cycle(v->op, need);
    else if (need->mark == NEW)
      stack[depth++] = start_visit(b, need);
  }
  return status;
}

prn_status import_sort(prn_block *b) {
  size_t n = 0, num = 0;
  prn_status status = PRN_OK;
  PRN_EACH_OP(op, b) {
    op->mark = NEW;
    n++;
  }
  visit *stack = prn_alloc(prn_array_size(sizeof *stack, n));
  prn_op **order = prn_alloc(prn_array_size(sizeof *order, n));
  PRN_EACH_OP(op, b)
    if (op->mark == NEW && visit_all(b, op, stack, order, &num) != PRN_OK)
      status = PRN_FAIL;
  for (size_t i = 0; i < num; i++) {
    prn_op_unlink(order[i]);
    prn_block_append(b, order[i]);
    order[i]->mark = 0;
  }
  prn_free(stack);
  prn_free(order);
  return status;
}

/* ---- functions ---- */

typedef struct function {
  prn_op *op;
  size_t *calls; /* indices of functions */
  size_t num_calls, cap_calls, next;
  int state;
} function;

typedef struct checker {
  importer *im;
  prn_map keys; /* "domain\0name\0overload" -> function */
  function *functions;
  size_t num_functions;
  /* of the graph or function that is being walked */
  prn_map imported; /* domain, "" for the standard one */
  function *in;
  int64_t opset;
  bool failed, old_reported;
} checker;

static prn_str key_of(checker *c, prn_str domain, prn_str name,
                      prn_str overload) {
  prn_strbuf b = {0};
  if (!prn_str_is(domain, "ai.onnx")) prn_strbuf_str(&b, domain);
  prn_strbuf_char(&b, 0);
  prn_strbuf_str(&b, name);
  prn_strbuf_char(&b, 0);
  prn_strbuf_str(&b, overload);
  prn_str s = prn_intern(c->im->ctx, prn_strbuf_view(&b));
  prn_strbuf_destroy(&b);
  return s;
}

static prn_str domain_of(const prn_op *op) {
  prn_str d = op->opname->dialect;
  if (prn_str_is(d, "onnx")) return (prn_str){"", 0};
  if (prn_str_starts(d, "$")) return (prn_str){d.data + 1, d.size - 1};
  return d;
}

static prn_str function_name(const prn_op *f) {
  return import_subject(&(importer){.ctx = f->module->ctx}, "function",
                        prn_op_string(f, "name", "").data);
}

static void add_call(function *from, size_t to) {
  if (from->num_calls == from->cap_calls) {
    from->cap_calls = from->cap_calls ? from->cap_calls * 2 : 8;
    from->calls = prn_realloc(
        from->calls, prn_array_size(sizeof *from->calls, from->cap_calls));
  }
  from->calls[from->num_calls++] = to;
}

static bool is_structure(const prn_op *op) {
  switch (prn_op_code(op)) {
  case PRN_OP_onnx_graph:
  case PRN_OP_onnx_function:
  case PRN_OP_onnx_return:
  case PRN_OP_onnx_initializer:
  case PRN_OP_onnx_sparse_initializer:
    return true;
  default:
    return false;
  }
}

static prn_status check_node(void *user, prn_op *op) {
  checker *c = user;
  if (is_structure(op)) return PRN_OK;
  prn_str domain = domain_of(op);
  if (c->num_functions) {
    function *callee =
        prn_map_get(&c->keys, key_of(c, domain, op->opname->name,
                                     prn_op_string(op, "$overload", "")));
    if (callee && c->in) add_call(c->in, (size_t)(callee - c->functions));
    if (callee) return PRN_OK;
  }
  if (!prn_map_find(&c->imported, domain)) {
    c->failed = true;
    (void)prn_op_error(op, "operator set '%.*s' is not imported",
                       PRN_STR_ARG(domain.size ? domain : PRN_STR("ai.onnx")));
  } else if (domain.size == 0 && c->opset < PRN_ONNX_OLDEST_OPSET &&
             !c->old_reported) {
    c->old_reported = true;
    prn_op_report(op, PRN_WARNING,
                  "operator set version %lld is older than %d, the oldest this "
                  "compiler understands: its operators are carried along",
                  (long long)c->opset, PRN_ONNX_OLDEST_OPSET);
  }
  return PRN_OK;
}

static void note_imports(checker *c, const prn_attr *imports) {
  prn_map_destroy(&c->imported);
  c->opset = 0;
  for (uint32_t i = 0; imports && i < imports->size; i++) {
    const prn_attr *d = prn_dict_get(imports->list[i], "domain");
    const prn_attr *v = prn_dict_get(imports->list[i], "version");
    prn_str name = d ? d->s : (prn_str){"", 0};
    if (prn_str_is(name, "ai.onnx")) name = (prn_str){"", 0};
    *prn_map_slot(&c->imported, name) = c;
    if (name.size == 0 && v) c->opset = v->i;
  }
}

static void find_functions(checker *c) {
  size_t n = 0;
  PRN_EACH_OP(op, c->im->module->body)
    n += prn_op_is(op, PRN_OP_onnx_function);
  c->functions = prn_alloc(prn_array_size(sizeof *c->functions, n));
  PRN_EACH_OP(op, c->im->module->body) {
    if (!prn_op_is(op, PRN_OP_onnx_function)) continue;
    function *f = &c->functions[c->num_functions++];
    *f = (function){.op = op, .state = NEW};
    void **slot =
        prn_map_slot(&c->keys, key_of(c, prn_op_string(op, "domain", ""),
                                      prn_op_string(op, "name", ""),
                                      prn_op_string(op, "overload", "")));
    if (*slot) {
      c->failed = true;
      (void)import_error(c->im, function_name(op), "it is defined twice");
    }
    *slot = f;
  }
}

/* Depth-first over the calls; stack has room for every function. */
static void find_recursion(checker *c, function *root, function **stack) {
  size_t depth = 0;
  stack[depth++] = root;
  root->state = OPEN;
  while (depth) {
    function *f = stack[depth - 1];
    if (f->next == f->num_calls) {
      f->state = DONE;
      depth--;
      continue;
    }
    function *to = &c->functions[f->calls[f->next++]];
    if (to->state == OPEN) {
      c->failed = true;
      (void)import_error(
          c->im, function_name(to->op), "it calls itself%s%.*s",
          f == to ? "" : " through ",
          PRN_STR_ARG(f == to ? PRN_STR("") : function_name(f->op)));
    } else if (to->state == NEW) {
      to->state = OPEN;
      stack[depth++] = to;
    }
  }
}

prn_status import_check(importer *im) {
  checker c = {.im = im};
  find_functions(&c);
  size_t next = 0;
  PRN_EACH_OP(op, im->module->body) {
    const prn_attr *own = prn_op_attr(op, "opset_import");
    bool is_function = prn_op_is(op, PRN_OP_onnx_function);
    c.in = is_function ? &c.functions[next++] : NULL;
    note_imports(&c, is_function
                         ? own
                         : prn_dict_get(im->module->attrs, "opset_import"));
    if (op->num_blocks) (void)!prn_walk(op->blocks[0], true, check_node, &c);
  }
  function **stack = prn_alloc(prn_array_size(sizeof *stack, c.num_functions));
  for (size_t i = 0; i < c.num_functions; i++)
    if (c.functions[i].state == NEW) find_recursion(&c, &c.functions[i], stack);
  for (size_t i = 0; i < c.num_functions; i++)
    prn_free(c.functions[i].calls);
  prn_free(stack);
  prn_free(c.functions);
  prn_map_destroy(&c.keys);
  prn_map_destroy(&c.imported);
  return c.failed ? PRN_FAIL : PRN_OK;
}
