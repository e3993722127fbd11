#include "passes/rules/rules.h"

#include <math.h>
#include <string.h>

/* Constants with more elements are not looked through. */
enum { MAX_ELEMENTS = 4096 };

const prn_rule *const prn_rule_sets[] = {
#define RULES(name, title) prn_rules_##name,
#include "passes/rules.def"
#undef RULES
    NULL,
};

void prn_rules_docs(prn_strbuf *b) {
  static const char *const titles[] = {
#define RULES(name, title) title,
#include "passes/rules.def"
#undef RULES
  };
  prn_strbuf_cstr(b, "<!-- Made by prune-opt --emit-docs=rules. -->\n"
                     "# Rewrite rules\n\n"
                     "`canonicalize` applies these until none fits. Each keeps "
                     "types and values, bit for\nbit; a test runs both sides "
                     "of every rule with ONNX Runtime.\n");
  for (size_t i = 0; prn_rule_sets[i]; i++) {
    prn_strbuf_fmt(b, "\n## %s\n\n| rule | identity |\n|---|---|\n", titles[i]);
    for (const prn_rule *r = prn_rule_sets[i]; r->name; r++)
      prn_strbuf_fmt(b, "| `%s` | %s |\n", r->name, r->identity);
  }
}

static bool from_tensor(const prn_tensor *t, prn_rule_ints *out) {
  if (!t || !t->data || !prn_dtype_is_int(t->type->dtype)) return false;
  int64_t n = prn_tensor_count(t);
  if (n > PRN_RULE_INTS) return false;
  prn_tensor_read_i64(t, 0, n, out->v);
  out->n = (size_t)n;
  return true;
}

bool prn_rule_ints_of(const prn_op *op, const char *attr, uint32_t operand,
                      prn_rule_ints *out) {
  size_t n;
  const int64_t *v = prn_op_ints(op, attr, &n);
  *out = (prn_rule_ints){.n = 0};
  if (!v) return from_tensor(prn_value_fixed(prn_op_operand(op, operand)), out);
  if (n > PRN_RULE_INTS) return false;
  memcpy(out->v, v, n * sizeof *v);
  out->n = n;
  return true;
}

static bool is_known(const prn_type *t) {
  if (t->kind != PRN_TYPE_TENSOR || t->rank < 0) return false;
  for (int32_t i = 0; i < t->rank; i++)
    if (!prn_dim_known(t->dims[i])) return false;
  return true;
}

bool prn_rule_same_shape(const prn_value *a, const prn_value *b) {
  if (!is_known(a->type) || !is_known(b->type)) return false;
  if (a->type->rank != b->type->rank) return false;
  for (int32_t i = 0; i < a->type->rank; i++)
    if (a->type->dims[i] != b->type->dims[i]) return false;
  return true;
}

bool prn_rule_all_equal(const prn_value *constant, double v) {
  const prn_tensor *t = prn_value_fixed(constant);
  if (!t || !t->data || t->mask) return false;
  int64_t n = prn_tensor_count(t);
  if (n < 1 || n > MAX_ELEMENTS || prn_dtype_bits(t->type->dtype) > 64)
    return false;
  bool floats = prn_dtype_is_float(t->type->dtype);
  for (int64_t i = 0; i < n; i++) {
    double e = prn_element_to_f64(t->type->dtype, t->data->data, i);
    if (e != v || (floats && signbit(e) != signbit(v))) return false;
  }
  return true;
}

bool prn_rule_no_growth(const prn_value *x, const prn_value *c) {
  const prn_type *a = x->type, *b = c->type;
  if (a->kind != PRN_TYPE_TENSOR || a->rank < 0) return false;
  if (b->kind != PRN_TYPE_TENSOR || b->rank < 0 || b->rank > a->rank)
    return false;
  for (int32_t i = 0; i < b->rank; i++) {
    int64_t size;
    prn_dim mine = a->dims[a->rank - b->rank + i];
    bool one = prn_dim_is_const(b->dims[i], &size) && size == 1;
    if (!one && !(prn_dim_known(mine) && mine == b->dims[i])) return false;
  }
  return true;
}

prn_dtype prn_rule_dtype(const prn_value *v) {
  return v->type->kind == PRN_TYPE_TENSOR ? v->type->dtype : PRN_DTYPE_NONE;
}
