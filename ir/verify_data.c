/* Types of values, tensors in attributes, and claims about zeros. */
#include <string.h>

#include "ir/sparsity.h"
#include "ir/verifier.h"

enum { FEW = 16 /* attributes compared one by one */ };

/* ---- types ---- */

static bool kind_fits(const prn_op *op, const prn_type *t) {
  bool memory = t->kind == PRN_TYPE_VIEW || t->kind == PRN_TYPE_BUFFER;
  bool container = t->kind == PRN_TYPE_SEQUENCE || t->kind == PRN_TYPE_MAP ||
                   t->kind == PRN_TYPE_OPTIONAL ||
                   t->kind == PRN_TYPE_SPARSE_TENSOR;
  switch (op->opname->dialect_bit) {
  case PRN_DIALECT_ONNX:
    return !memory && t->kind != PRN_TYPE_SCALAR;
  case PRN_DIALECT_NN:
    return !memory && !container && t->kind != PRN_TYPE_ANY;
  case PRN_DIALECT_MEM:
    return !container && t->kind != PRN_TYPE_ANY;
  }
  return true;
}

/* Below onnx, every size is an expression of the inputs' sizes. */
static void check_dims(prn_verifier *v, prn_op *op, const prn_value *value,
                       const prn_type *t) {
  int64_t n;
  bool shaped = t->kind == PRN_TYPE_TENSOR || t->kind == PRN_TYPE_VIEW;
  bool complete = op->opname->dialect_bit == PRN_DIALECT_ONNX || !shaped ||
                  (t->rank >= 0 && t->dtype != PRN_DTYPE_NONE);
  for (int32_t i = 0; t->dims && i < t->rank; i++) {
    if (prn_dim_is_const(t->dims[i], &n) && n < 0)
      prn_verify_fail(v, op, "dimension %d of %s is negative: %s", (int)i,
                      prn_value_str(value), prn_type_str(v->ctx, t));
    complete = complete && (prn_dim_known(t->dims[i]) ||
                            op->opname->dialect_bit == PRN_DIALECT_ONNX);
  }
  if (!complete)
    prn_verify_fail(v, op,
                    "%s has the type %s; the %.*s dialect needs every "
                    "size",
                    prn_value_str(value), prn_type_str(v->ctx, t),
                    PRN_STR_ARG(op->opname->dialect));
}

void prn_verify_type(prn_verifier *v, prn_op *op, const prn_value *value) {
  const prn_type *t = value->type;
  const char *why;
  if (!kind_fits(op, t))
    prn_verify_fail(v, op, "%s has the type %s, which the %.*s dialect has not",
                    prn_value_str(value), prn_type_str(v->ctx, t),
                    PRN_STR_ARG(op->opname->dialect));
  check_dims(v, op, value, t);
  if (t->sparsity.kind != PRN_SPARSE_NONE &&
      !prn_sparsity_fits(t, t->sparsity, &why))
    prn_verify_fail(v, op, "the claim about zeros of %s cannot hold: %s (%s)",
                    prn_value_str(value), why, prn_type_str(v->ctx, t));
}

/* ---- tensors ---- */

static void check_claim(prn_verifier *v, prn_op *op, const prn_tensor *t,
                        prn_sparsity s) {
  int64_t at = 0;
  const char *why;
  prn_strbuf b = {0};
  if (s.kind == PRN_SPARSE_NONE) return;
  prn_sparsity_print(&b, s);
  if (!prn_sparsity_fits(t->type, s, &why)) {
    prn_verify_fail(v, op, "the data cannot be %s: %s", b.data, why);
  } else {
    prn_claim claim = prn_sparsity_check(t, s, &at);
    if (claim == PRN_CLAIM_BROKEN)
      prn_verify_fail(v, op,
                      "the data is not %s: see the group of element "
                      "%lld",
                      b.data, (long long)at);
    if (claim == PRN_CLAIM_UNKNOWN)
      prn_verify_fail(v, op, "out of memory checking %s", b.data);
  }
  prn_strbuf_destroy(&b);
}

static bool check_size(prn_verifier *v, prn_op *op, prn_str name,
                       const prn_tensor *t, int64_t count) {
  size_t need = 0, have = t->data ? t->data->size : 0;
  const char *type = prn_type_str(v->ctx, t->type);
  bool text = t->type->dtype == PRN_STRING;
  if (text && (t->data || (!t->strings && count))) {
    prn_verify_fail(v, op, "attribute '%.*s' of type %s holds no strings",
                    PRN_STR_ARG(name), type);
    return false;
  }
  if (text) return true;
  if (t->strings || !prn_dtype_bytes(t->type->dtype, count, &need) ||
      need != have) {
    prn_verify_fail(v, op,
                    "attribute '%.*s' has %zu bytes of data, but its "
                    "type %s has %zu",
                    PRN_STR_ARG(name), have, type, need);
    return false;
  }
  return true;
}

static void check_tensor(prn_verifier *v, prn_op *op, prn_str name,
                         const prn_tensor *t) {
  int64_t count;
  const prn_type *type = t->type;
  if (type->kind != PRN_TYPE_TENSOR || !prn_type_count(type, &count)) {
    prn_verify_fail(v, op,
                    "attribute '%.*s' has the type %s: data needs a "
                    "tensor of known shape",
                    PRN_STR_ARG(name), prn_type_str(v->ctx, type));
    return;
  }
  if (!check_size(v, op, name, t, count)) return;
  if (t->mask && t->mask->size != ((size_t)count + 7) / 8) {
    prn_verify_fail(v, op,
                    "attribute '%.*s' has a mask of %zu bytes, expected "
                    "%zu: one bit for each element",
                    PRN_STR_ARG(name), t->mask->size, ((size_t)count + 7) / 8);
    return;
  }
  check_claim(v, op, t, type->sparsity);
}

/* ---- attributes ---- */

static void check_attr(prn_verifier *v, prn_op *op, prn_str name,
                       const prn_attr *a) {
  if (a->kind == PRN_ATTR_TENSOR) check_tensor(v, op, name, a->tensor);
  if (a->kind == PRN_ATTR_LIST)
    for (uint32_t i = 0; i < a->size; i++)
      check_attr(v, op, name, a->list[i]);
  if (a->kind == PRN_ATTR_DICT)
    for (uint32_t i = 0; i < a->size; i++)
      check_attr(v, op, name, a->dict[i].value);
}

static void twice(prn_verifier *v, prn_op *op, uint32_t i) {
  prn_verify_fail(v, op, "attribute '%.*s' is given twice",
                  PRN_STR_ARG(op->attrs[i].name));
}

/* Names are interned: equal names have equal data pointers. */
static void check_duplicates(prn_verifier *v, prn_op *op) {
  prn_ptrmap seen = {0};
  for (uint32_t i = 1; op->num_attrs <= FEW && i < op->num_attrs; i++)
    for (uint32_t k = 0; k < i; k++)
      if (op->attrs[i].name.data == op->attrs[k].name.data) {
        twice(v, op, i);
        break;
      }
  for (uint32_t i = 0; op->num_attrs > FEW && i < op->num_attrs; i++) {
    void **slot = prn_ptrmap_slot(&seen, op->attrs[i].name.data);
    if (*slot) twice(v, op, i);
    *slot = op;
  }
  prn_ptrmap_destroy(&seen);
}

void prn_verify_attrs(prn_verifier *v, prn_op *op) {
  check_duplicates(v, op);
  for (uint32_t i = 0; i < op->num_attrs; i++)
    check_attr(v, op, op->attrs[i].name, op->attrs[i].value);
}

/* ---- constants ---- */

static bool same_claim(prn_sparsity a, prn_sparsity b) {
  return memcmp(&a, &b, sizeof a) == 0;
}

void prn_verify_constant(prn_verifier *v, prn_op *op) {
  const prn_value *r = prn_op_result(op, 0);
  const prn_tensor *t = prn_value_constant(r);
  int64_t count;
  if (!t || !r->type || r->type->kind == PRN_TYPE_ANY) return;
  if (t->type->kind != PRN_TYPE_TENSOR || !prn_type_count(t->type, &count))
    return; /* reported */
  bool scalar = r->type->kind == PRN_TYPE_SCALAR && t->type->rank == 0;
  bool tensor =
      r->type->kind == PRN_TYPE_TENSOR && prn_type_fits(t->type, r->type);
  /* A view may see the data packed another way round and in another type. */
  int64_t seen;
  bool view = r->type->kind == PRN_TYPE_VIEW &&
              prn_type_count(r->type, &seen) && seen == count;
  bool packed =
      view && !prn_str_is(prn_op_string(op, "pack", "dense"), "dense");
  if ((!scalar && !tensor && !view) ||
      (!packed && r->type->dtype != t->type->dtype)) {
    prn_verify_fail(v, op, "the result is %s, but the data is %s",
                    prn_type_str(v->ctx, r->type),
                    prn_type_str(v->ctx, t->type));
    return;
  }
  size_t need = 0;
  bool complete = t->data && prn_dtype_bytes(t->type->dtype, count, &need) &&
                  t->data->size == need &&
                  (!t->mask || t->mask->size == ((size_t)count + 7) / 8);
  if (complete && !same_claim(r->type->sparsity, t->type->sparsity))
    check_claim(v, op, t, r->type->sparsity);
}
