#include "ir/fingerprint.h"

#include <stdio.h>
#include <string.h>

#include "ir/support/arena.h"
#include "ir/support/xxh64.h"

typedef struct writer {
  prn_strbuf bytes;
  prn_ptrmap numbers; /* value -> its number, from 1 */
} writer;

static void put_int(writer *w, uint64_t v) {
  char bytes[8];
  for (int i = 0; i < 8; i++)
    bytes[i] = (char)(v >> 8 * i);
  prn_strbuf_bytes(&w->bytes, bytes, sizeof bytes);
}

static void put_str(writer *w, prn_str s) {
  put_int(w, s.size);
  prn_strbuf_str(&w->bytes, s);
}

static void put_type(writer *w, const prn_type *t) {
  bool sized = t->rank > 0 && (t->kind == PRN_TYPE_TENSOR ||
                               t->kind == PRN_TYPE_SPARSE_TENSOR);
  put_int(w, t->kind);
  put_int(w, t->dtype);
  put_int(w, (uint64_t)t->rank);
  for (int32_t i = 0; sized && i < t->rank; i++) {
    int64_t size = -1;
    (void)prn_dim_is_const(t->dims[i], &size);
    put_int(w, (uint64_t)size);
  }
  if (t->elem) put_type(w, t->elem);
}

static void put_float(writer *w, float f) {
  union {
    float f;
    uint32_t bits;
  } u = {.f = f};
  put_int(w, u.bits);
}

static void put_attr(writer *w, const prn_attr *a);

static void put_named(writer *w, const prn_named_attr *n) {
  put_str(w, n->name);
  put_attr(w, n->value);
}

static void put_member(writer *w, const prn_attr *a, uint32_t i) {
  switch (a->kind) {
  case PRN_ATTR_INTS:
    put_int(w, (uint64_t)a->ints[i]);
    break;
  case PRN_ATTR_FLOATS:
    put_float(w, a->floats[i]);
    break;
  case PRN_ATTR_STRINGS:
    put_str(w, a->strings[i]);
    break;
  case PRN_ATTR_LIST:
    put_attr(w, a->list[i]);
    break;
  case PRN_ATTR_DICT:
    put_named(w, &a->dict[i]);
    break;
  default:
    break;
  }
}

/* Tensors count by their type. */
static void put_attr(writer *w, const prn_attr *a) {
  put_int(w, a->kind);
  switch (a->kind) {
  case PRN_ATTR_BOOL:
  case PRN_ATTR_INT:
  case PRN_ATTR_REGION:
    put_int(w, (uint64_t)a->i);
    break;
  case PRN_ATTR_FLOAT:
    put_float(w, a->f);
    break;
  case PRN_ATTR_STRING:
  case PRN_ATTR_SYMBOL:
  case PRN_ATTR_BYTES:
    put_str(w, a->s);
    break;
  case PRN_ATTR_TYPE:
    put_type(w, a->type);
    break;
  case PRN_ATTR_TENSOR:
    put_type(w, a->tensor->type);
    break;
  default:
    put_int(w, a->size);
    for (uint32_t i = 0; i < a->size; i++)
      put_member(w, a, i);
  }
}

/* Of graphs and functions the name of a function and those of the outputs;
 * of a sparse constant its sizes, whatever is not zero. */
static bool counts(const prn_op *op, prn_str attr) {
  if (attr.size && attr.data[0] == '$') return false;
  if (prn_op_is(op, PRN_OP_onnx_sparse_initializer))
    return prn_str_is(attr, "dims");
  if (prn_op_is(op, PRN_OP_onnx_graph)) return prn_str_is(attr, "outputs");
  if (prn_op_has_trait(op, PRN_TOP_LEVEL))
    return prn_str_is(attr, "name") || prn_str_is(attr, "domain") ||
           prn_str_is(attr, "overload");
  return true;
}

static void number(writer *w, const prn_value *v) {
  size_t next = w->numbers.size + 1;
  *prn_ptrmap_slot(&w->numbers, v) = (void *)(uintptr_t)next;
}

static prn_status put_op(void *user, prn_op *op) {
  writer *w = user;
  put_str(w, op->opname->dialect);
  put_str(w, op->opname->name);
  put_int(w, op->num_operands);
  for (uint32_t i = 0; i < op->num_operands; i++)
    put_int(w, (uintptr_t)prn_ptrmap_get(&w->numbers, prn_op_operand(op, i)));
  for (uint32_t i = 0; i < op->num_attrs; i++)
    if (counts(op, op->attrs[i].name)) put_named(w, &op->attrs[i]);
  put_int(w, op->num_results);
  for (uint32_t i = 0; i < op->num_results; i++)
    number(w, &op->results[i]);
  if (prn_op_has_trait(op, PRN_CONSTANT) && op->num_results)
    put_str(w, op->results[0].name);
  for (uint32_t i = 0; i < op->num_blocks; i++) {
    put_int(w, op->blocks[i]->num_args);
    for (uint32_t k = 0; k < op->blocks[i]->num_args; k++)
      number(w, op->blocks[i]->args[k]);
  }
  return PRN_OK;
}

static const prn_attr *member(const prn_attr *dict, const char *name) {
  return dict && dict->kind == PRN_ATTR_DICT ? prn_dict_get(dict, name) : NULL;
}

/* The text of the metadata, or nothing. */
static prn_str order_of(const prn_module *m) {
  const prn_attr *order =
      member(member(m->attrs, "metadata_props"), PRN_ORDER_KEY);
  bool text = order && order->kind == PRN_ATTR_STRING;
  return text ? order->s : PRN_STR("");
}

uint64_t prn_module_fingerprint(const prn_module *m) {
  writer w = {.bytes = {0}};
  prn_str order = order_of(m);
  (void)!prn_walk(m->body, true, put_op, &w);
  if (order.size) put_str(&w, order);
  uint64_t h = prn_xxh64(w.bytes.data, w.bytes.size, 0);
  prn_strbuf_destroy(&w.bytes);
  prn_ptrmap_destroy(&w.numbers);
  return h;
}

/* A dictionary with one more member, or another one of that name. */
static const prn_attr *with(prn_ctx *ctx, const prn_attr *dict,
                            const char *name, const prn_attr *value) {
  uint32_t n = dict && dict->kind == PRN_ATTR_DICT ? dict->size : 0;
  prn_named_attr *all = prn_alloc((n + 1) * sizeof *all);
  uint32_t at = 0;
  if (n) memcpy(all, dict->dict, n * sizeof *all);
  while (at < n && !prn_str_is(all[at].name, name))
    at++;
  all[at] = (prn_named_attr){prn_intern_cstr(ctx, name), value};
  const prn_attr *out = prn_attr_dict(ctx, all, at < n ? n : n + 1);
  prn_free(all);
  return out;
}

void prn_module_note_order(prn_module *m, uint64_t order) {
  prn_str before = order_of(m);
  char text[17];
  order = prn_xxh64(before.data, before.size, order);
  (void)snprintf(text, sizeof text, "%016llx", (unsigned long long)order);
  const prn_attr *value = prn_attr_string(m->ctx, prn_str_from(text));
  const prn_attr *props = member(m->attrs, "metadata_props");
  props = with(m->ctx, props, PRN_ORDER_KEY, value);
  m->attrs = with(m->ctx, m->attrs, "metadata_props", props);
}
