/* Calls of model-local functions: the body is inferred in place with the
 * call's types and contents, the results are read, and all of it is taken
 * back. Equal calls are inferred once, so functions that call each other in
 * doubling chains cost no more than their text. */
#include <string.h>

#include "ir/infer_env.h"

typedef struct call_memo {
  prn_status status;
  uint32_t n;
  const prn_type **types;
  const prn_content **contents;
} call_memo;

static prn_op *callee(prn_infer *env, const prn_op *op) {
  prn_strbuf key = {0};
  prn_str domain = op->opname->dialect;
  if (!env->functions.size) return NULL;
  if (prn_str_is(domain, "onnx")) domain = PRN_STR("");
  prn_strbuf_str(&key, domain);
  prn_strbuf_char(&key, '\n');
  prn_strbuf_str(&key, op->opname->name);
  prn_strbuf_char(&key, '\n');
  prn_strbuf_str(&key, prn_op_string(op, "$overload", ""));
  prn_op *f = prn_map_get(&env->functions, prn_strbuf_view(&key));
  prn_strbuf_destroy(&key);
  return f;
}

static void key_bytes(prn_strbuf *key, const void *data, size_t size) {
  prn_strbuf_bytes(key, &size, sizeof size);
  prn_strbuf_bytes(key, data, size);
}

/* Everything the body's inference can depend on. */
static prn_str call_key(prn_infer *env, const prn_op *op, const prn_op *f) {
  prn_strbuf key = {0};
  key_bytes(&key, &f, sizeof f);
  for (uint32_t i = 0; i < op->num_operands; i++) {
    const prn_value *v = op->operands[i].value;
    const prn_type *t = v ? v->type : NULL;
    size_t n;
    const prn_dim *elems = prn_infer_content(env, v, &n);
    key_bytes(&key, &t, sizeof t);
    key_bytes(&key, elems, n * sizeof *elems);
  }
  for (uint32_t i = 0; i < op->num_attrs; i++) {
    uint64_t h = prn_attr_hash(op->attrs[i].value);
    if (prn_str_starts(op->attrs[i].name, "$")) continue;
    key_bytes(&key, op->attrs[i].name.data, op->attrs[i].name.size);
    key_bytes(&key, &h, sizeof h);
  }
  prn_str s = prn_strbuf_view(&key);
  s.data = prn_arena_copy(&env->kept, s.data, s.size);
  prn_strbuf_destroy(&key);
  return s;
}

/* The call's own attribute, or the function's default; NULL without either. */
static const prn_attr *argument(const prn_infer *env, prn_str name) {
  const prn_op *call = env->caller;
  if (!call) return NULL;
  for (uint32_t i = 0; i < call->num_attrs; i++)
    if (prn_str_eq(call->attrs[i].name, name)) {
      bool known = call->attrs[i].value->kind != PRN_ATTR_SYMBOL;
      return known ? call->attrs[i].value : NULL;
    }
  const prn_attr *dflt = prn_op_attr(env->callee, "attribute_proto");
  for (uint32_t i = 0; dflt && i < dflt->size; i++)
    if (dflt->kind == PRN_ATTR_DICT && prn_str_eq(dflt->dict[i].name, name))
      return dflt->dict[i].value;
  return NULL;
}

void prn_infer_bind_attrs(prn_infer *env, prn_op *op) {
  prn_named_attr *bound =
      PRN_ARENA_ARRAY(&env->scratch, prn_named_attr, op->num_attrs);
  uint32_t n = 0;
  for (uint32_t i = 0; i < op->num_attrs; i++) {
    prn_named_attr a = op->attrs[i];
    if (a.value->kind == PRN_ATTR_SYMBOL) a.value = argument(env, a.value->s);
    if (a.value) bound[n++] = a;
  }
  op->attrs = bound;
  op->num_attrs = n;
}

static void bind_args(prn_infer *env, prn_op *op, prn_block *body) {
  for (uint32_t i = 0; i < body->num_args; i++) {
    prn_value *v = prn_op_operand(op, i);
    size_t n;
    const prn_dim *elems = prn_infer_content(env, v, &n);
    prn_infer_set_type(env, body->args[i],
                       v ? v->type : prn_type_none(env->ctx));
    if (elems) prn_infer_set_value_content(env, body->args[i], elems, n);
  }
}

static void read_results(prn_infer *env, prn_block *body, call_memo *memo) {
  const prn_op *ret = body->last;
  memo->n = ret ? ret->num_operands : 0;
  memo->types = PRN_ARENA_ARRAY(&env->kept, const prn_type *, memo->n);
  memo->contents = PRN_ARENA_ARRAY(&env->kept, const prn_content *, memo->n);
  for (uint32_t i = 0; i < memo->n; i++) {
    const prn_value *v = ret->operands[i].value;
    size_t n;
    memo->types[i] = v ? v->type : prn_type_any(env->ctx);
    if (v && prn_infer_content(env, v, &n))
      memo->contents[i] = prn_ptrmap_get(&env->content, v);
  }
}

static call_memo *infer_body(prn_infer *env, prn_op *op, prn_op *f,
                             prn_str key) {
  call_memo *memo = PRN_ARENA_NEW(&env->kept, call_memo);
  prn_block *body = prn_op_block(f, "body");
  size_t mark = env->log_size;
  const prn_op *caller = env->caller, *outer = env->callee;
  if (!body) return memo;
  *prn_ptrmap_slot(&env->active, f) = f;
  env->trying++;
  env->caller = op;
  env->callee = f;
  bind_args(env, op, body);
  memo->status = prn_infer_block(env, body);
  read_results(env, body, memo);
  prn_infer_rollback(env, mark);
  env->trying--;
  env->caller = caller;
  env->callee = outer;
  *prn_ptrmap_slot(&env->active, f) = NULL;
  *prn_map_slot(&env->calls, key) = memo;
  if (memo->status != PRN_OK)
    prn_op_report(op, PRN_NOTE, "in the body of function '%.*s', called here",
                  PRN_STR_ARG(op->opname->name));
  return memo;
}

prn_status prn_infer_call(prn_infer *env, prn_op *op) {
  prn_op *f = callee(env, op);
  if (!f) return PRN_OK;
  if (prn_ptrmap_get(&env->active, f))
    return prn_op_error(op, "function '%.*s' calls itself",
                        PRN_STR_ARG(op->opname->name));
  prn_str key = call_key(env, op, f);
  call_memo *memo = prn_map_get(&env->calls, key);
  if (!memo) memo = infer_body(env, op, f, key);
  if (memo->status != PRN_OK) return PRN_FAIL;
  for (uint32_t i = 0; i < memo->n; i++) {
    const prn_content *c = memo->contents[i];
    PRN_TRY(prn_infer_result(env, op, i, memo->types[i]));
    if (c) prn_infer_set_content(env, op, i, c->elems, c->n);
  }
  return PRN_OK;
}
