/* Before lowering: calls of model-local functions are replaced by their
 * bodies, and every form of constant by a dense tensor. */
#include <string.h>

#include "ir/verify.h"
#include "passes/lower/onnx_to_nn.h"

/* Nodes that inlining may make: functions that call each other can double. */
enum { MAX_INLINED = 1 << 20, MAX_DEPTH = 64 };

typedef struct prepare {
  prn_module *m;
  prn_ctx *ctx;
  prn_map functions; /* "domain\nname\noverload" -> onnx.function */
  size_t inlined;
} prepare;

/* ---- constants ---- */

static const prn_tensor *number(prepare *p, prn_dtype dtype, int32_t rank,
                                int64_t n, const void *data) {
  return prn_tensor_from_data(p->ctx, prn_type_static(p->ctx, dtype, rank, &n),
                              data);
}

/* The tensor of a Constant written as value_int, value_floats, ... */
static const prn_tensor *plain_value(prepare *p, const prn_op *op) {
  const prn_attr *a;
  if ((a = prn_op_attr(op, "value_int")) && a->kind == PRN_ATTR_INT)
    return number(p, PRN_I64, 0, 1, &a->i);
  if ((a = prn_op_attr(op, "value_float")) && a->kind == PRN_ATTR_FLOAT)
    return number(p, PRN_F32, 0, 1, &a->f);
  if ((a = prn_op_attr(op, "value_ints")) && a->kind == PRN_ATTR_INTS)
    return number(p, PRN_I64, 1, a->size, a->ints);
  if ((a = prn_op_attr(op, "value_floats")) && a->kind == PRN_ATTR_FLOATS)
    return number(p, PRN_F32, 1, a->size, a->floats);
  return NULL;
}

/* Where entry k of a sparse tensor goes: linear indices [n], or [n, rank].
 * -1 when it is outside. */
static int64_t sparse_place(const prn_tensor *at, int64_t k,
                            const prn_attr *dims, int64_t count) {
  int64_t v, place = 0;
  if (at->type->rank == 1) {
    prn_tensor_read_i64(at, k, 1, &v);
    return v >= 0 && v < count ? v : -1;
  }
  for (uint32_t i = 0; i < dims->size; i++) {
    prn_tensor_read_i64(at, k * dims->size + i, 1, &v);
    if (v < 0 || v >= dims->ints[i]) return -1;
    place = place * dims->ints[i] + v;
  }
  return place;
}

/* A sparse tensor in full; NULL when it is not well formed. */
static prn_status densify(prepare *p, prn_op *op, const prn_attr *values,
                          const prn_attr *indices, const prn_attr *dims,
                          const prn_tensor **out) {
  int64_t count;
  size_t bytes;
  const prn_blob *blob;
  void *data;
  if (!values || values->kind != PRN_ATTR_TENSOR || !indices ||
      indices->kind != PRN_ATTR_TENSOR || !dims || dims->kind != PRN_ATTR_INTS)
    return prn_op_error(op, "expects values, indices and dims");
  const prn_tensor *v = values->tensor, *at = indices->tensor;
  uint32_t width = prn_dtype_bits(v->type->dtype) / 8;
  const prn_type *type =
      prn_type_static(p->ctx, v->type->dtype, (int32_t)dims->size, dims->ints);
  int64_t n = prn_tensor_count(v);
  int64_t per = at->type->rank == 1 ? 1 : dims->size;
  if (width == 0 || !prn_type_count(type, &count) || count < 0 ||
      !prn_dtype_bytes(v->type->dtype, count, &bytes) ||
      prn_tensor_count(at) != n * per)
    return prn_op_error(op, "values, indices and dims do not fit together");
  PRN_TRY(prn_blob_scratch(p->ctx, bytes, &blob, &data));
  for (int64_t k = 0; k < n; k++) {
    int64_t place = sparse_place(at, k, dims, count);
    if (place < 0)
      return prn_op_error(op, "index %lld is outside of the tensor",
                          (long long)k);
    prn_tensor_read_bytes(v, k, 1, (char *)data + (size_t)place * width);
  }
  prn_tensor t = {.type = type, .data = blob, .name = v->name};
  *out = prn_tensor_clone(p->ctx, &t);
  return PRN_OK;
}

static void become_constant(prepare *p, prn_op *op, const prn_tensor *t) {
  op->opname = prn_opname_code(p->ctx, PRN_OP_onnx_initializer);
  op->num_attrs = 0;
  prn_op_set_attr(op, "value", prn_attr_tensor(p->ctx, t));
}

static prn_status make_dense(void *user, prn_op *op) {
  prepare *p = user;
  const prn_tensor *t = NULL;
  if (prn_op_is(op, PRN_OP_onnx_sparse_initializer)) {
    PRN_TRY(densify(p, op, prn_op_attr(op, "values"),
                    prn_op_attr(op, "indices"), prn_op_attr(op, "dims"), &t));
  } else if (prn_op_is(op, PRN_OP_onnx_Constant) && !prn_op_attr(op, "value")) {
    const prn_attr *s = prn_op_attr(op, "sparse_value");
    t = plain_value(p, op);
    if (s)
      PRN_TRY(densify(p, op, prn_dict_get(s, "values"),
                      prn_dict_get(s, "indices"), prn_dict_get(s, "dims"), &t));
  }
  if (t) become_constant(p, op, t);
  return PRN_OK;
}

/* ---- functions ---- */

static prn_str function_key(prepare *p, prn_str domain, prn_str name,
                            prn_str overload) {
  prn_strbuf key = {0};
  if (prn_str_is(domain, "onnx") || prn_str_is(domain, "ai.onnx"))
    domain = PRN_STR("");
  prn_strbuf_fmt(&key, "%.*s\n%.*s\n%.*s", PRN_STR_ARG(domain),
                 PRN_STR_ARG(name), PRN_STR_ARG(overload));
  prn_str s = prn_intern(p->ctx, prn_strbuf_view(&key));
  prn_strbuf_destroy(&key);
  return s;
}

static prn_op *callee(prepare *p, const prn_op *op) {
  if (!p->functions.size) return NULL;
  return prn_map_get(&p->functions,
                     function_key(p, op->opname->dialect, op->opname->name,
                                  prn_op_string(op, "$overload", "")));
}

typedef struct call {
  const prn_op *op, *function;
} call;

/* What `name` is in a call: the caller's attribute, the default, or NULL. */
static const prn_attr *actual(const call *c, prn_str name) {
  for (uint32_t i = 0; i < c->op->num_attrs; i++)
    if (prn_str_eq(c->op->attrs[i].name, name)) return c->op->attrs[i].value;
  return prn_dict_get(prn_op_attr(c->function, "attribute_proto"), name.data);
}

/* Attributes that refer to the function's get the call's value. */
static prn_status bind_attrs(void *user, prn_op *op) {
  const call *c = user;
  for (uint32_t i = 0; i < op->num_attrs;) {
    prn_named_attr *a = &op->attrs[i];
    if (a->value->kind != PRN_ATTR_SYMBOL) {
      i++;
      continue;
    }
    const prn_attr *v = actual(c, a->value->s);
    if (v) {
      a->value = v;
      i++;
    } else {
      prn_op_set_attr(op, a->name.data, NULL);
    }
  }
  return PRN_OK;
}

/* Operands that are still arguments of the function were not given. */
static prn_status drop_absent(void *user, prn_op *op) {
  const prn_block *body = user;
  for (uint32_t i = 0; i < op->num_operands; i++) {
    const prn_value *v = op->operands[i].value;
    if (v && !v->def && v->block == body) prn_op_set_operand(op, i, NULL);
  }
  return PRN_OK;
}

/* Makes a copy of a function's operation one of the graph that calls it. The
 * names of its values would be there once for each call. */
static void adapt(call *c, prn_block *body, prn_op *copy) {
  const prn_attr *opsets = prn_op_attr(c->function, "opset_import");
  (void)!bind_attrs(c, copy);
  (void)!drop_absent(body, copy);
  for (uint32_t i = 0; i < copy->num_blocks; i++) {
    (void)!prn_walk(copy->blocks[i], true, bind_attrs, c);
    (void)!prn_walk(copy->blocks[i], true, drop_absent, body);
  }
  prn_op_drop_names(copy);
  if (opsets) prn_op_set_attr(copy, "$opset_import", opsets);
}

/* Puts a copy of the function's body before op, which goes. */
static prn_status inline_call(prepare *p, prn_op *op, prn_op *f) {
  prn_block *body = prn_op_block(f, "body");
  prn_ptrmap map = {0};
  call c = {op, f};
  if (!body || !body->last) return prn_op_error(op, "its function is empty");
  for (uint32_t i = 0; i < body->num_args; i++)
    *prn_ptrmap_slot(&map, body->args[i]) = prn_op_operand(op, i);
  PRN_EACH_OP(inner, body) {
    if (prn_op_has_trait(inner, PRN_TERMINATOR)) break;
    prn_op *copy = prn_op_clone(p->m, inner, &map);
    prn_op_insert_before(copy, op);
    adapt(&c, body, copy);
    p->inlined++;
  }
  for (uint32_t i = 0; i < op->num_results; i++) {
    prn_value *v = prn_op_operand(body->last, i);
    prn_value *to = v ? prn_ptrmap_get(&map, v) : NULL;
    if (to && to != &op->results[i]) {
      prn_value_replace_uses(&op->results[i], to);
      if (to->def && op->results[i].name.size) to->name = op->results[i].name;
    } else if (prn_value_has_uses(&op->results[i]))
      return prn_op_error(op, "its function gives no output %u", (unsigned)i);
  }
  prn_ptrmap_destroy(&map);
  prn_op_erase(op);
  return PRN_OK;
}

/* Inlines until the block has no calls. What a call leaves is looked at next,
 * so that calls within are found; `until` ends each call's own part. */
static prn_status inline_block(prepare *p, prn_block *b, int depth) {
  prn_op *op = b->first;
  while (op) {
    prn_op *f = callee(p, op), *before = op->prev;
    if (!f) {
      for (uint32_t i = 0; i < op->num_blocks; i++)
        PRN_TRY(inline_block(p, op->blocks[i], depth + 1));
      op = op->next;
      continue;
    }
    if (p->inlined > MAX_INLINED || depth > MAX_DEPTH)
      return prn_op_error(op,
                          "its functions come to more than %d nodes, or "
                          "call themselves",
                          (int)MAX_INLINED);
    PRN_TRY(inline_call(p, op, f));
    op = before ? before->next : b->first;
  }
  return PRN_OK;
}

prn_status prn_o2n_prepare(prn_module *m, prn_op *graph) {
  prepare p = {.m = m, .ctx = m->ctx};
  PRN_EACH_OP(op, m->body)
    if (prn_op_is(op, PRN_OP_onnx_function))
      *prn_map_slot(&p.functions,
                    function_key(&p, prn_op_string(op, "domain", ""),
                                 prn_op_string(op, "name", ""),
                                 prn_op_string(op, "overload", ""))) = op;
  prn_block *body = prn_op_block(graph, "body");
  prn_status s = inline_block(&p, body, 0);
  /* Types within a function are known only now. */
  if (s == PRN_OK && p.inlined) s = prn_infer_module(m, false);
  if (s == PRN_OK && p.inlined) s = prn_verify(m);
  if (s == PRN_OK) s = prn_walk(body, true, make_dense, &p);
  if (s == PRN_OK) s = prn_walk(body, false, prn_o2n_decompose, NULL);
  prn_map_destroy(&p.functions);
  return s;
}
