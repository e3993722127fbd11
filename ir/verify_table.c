/* Operations against the rows of the operator tables. */
#include <string.h>

#include "ir/verifier.h"

typedef struct checker {
  prn_verifier *v;
  prn_op *op;
  const prn_op_info *info;
  int64_t opset;
  bool sound;
  /* what each type variable was bound to, and by which slot */
  prn_dtype bound[PRN_TV_T3 + 1];
  const char *bound_by[PRN_TV_T3 + 1];
} checker;

PRN_PRINTF(2, 3) static void fail(checker *c, const char *fmt, ...) {
  va_list ap;
  prn_strbuf b = {0};
  va_start(ap, fmt);
  prn_strbuf_vfmt(&b, fmt, ap);
  va_end(ap);
  prn_verify_fail(c->v, c->op, "%s", b.data);
  prn_strbuf_destroy(&b);
  c->sound = false;
}

/* ---- types ---- */

static bool has_elements(const prn_type *t) {
  return t->kind == PRN_TYPE_TENSOR || t->kind == PRN_TYPE_SPARSE_TENSOR ||
         t->kind == PRN_TYPE_SCALAR || t->kind == PRN_TYPE_VIEW;
}

static bool dtype_in_class(prn_dtype d, prn_type_class cls) {
  bool is_int = prn_dtype_is_int(d), is_float = prn_dtype_is_float(d);
  switch (cls) {
  case PRN_CLASS_NUM:
    return is_int || is_float;
  case PRN_CLASS_FLOAT:
    return is_float;
  case PRN_CLASS_INT:
    return is_int;
  case PRN_CLASS_I64:
    return d == PRN_I64;
  case PRN_CLASS_INDEX:
    return d == PRN_I32 || d == PRN_I64;
  case PRN_CLASS_BOOL:
    return d == PRN_BOOL;
  case PRN_CLASS_STRING:
    return d == PRN_STRING;
  case PRN_CLASS_NOSTRING:
    return d != PRN_STRING;
  case PRN_CLASS_I32:
    return d == PRN_I32;
  case PRN_CLASS_F32:
    return d == PRN_F32;
  case PRN_CLASS_U8:
    return d == PRN_U8;
  case PRN_CLASS_BYTE:
    return d == PRN_I8 || d == PRN_U8;
  default:
    return true;
  }
}

static bool in_class(const prn_type *t, prn_type_class cls) {
  if (t->kind == PRN_TYPE_ANY || cls == PRN_CLASS_ANY) return true;
  if (cls == PRN_CLASS_SEQ) return t->kind == PRN_TYPE_SEQUENCE;
  if (cls == PRN_CLASS_OPTIONAL) return t->kind == PRN_TYPE_OPTIONAL;
  if (!has_elements(t)) return false;
  return t->dtype == PRN_DTYPE_NONE || dtype_in_class(t->dtype, cls);
}

/* Operands and results of one type variable share their element type. */
static void check_type(checker *c, const char *role, const prn_slot_info *slot,
                       const prn_value *value) {
  const prn_type *t = value->type;
  if (!in_class(t, slot->cls)) {
    fail(c, "%s '%s' is %s, expected %s", role, slot->name,
         prn_type_str(c->v->ctx, t), prn_type_class_text(slot->cls));
    return;
  }
  if (slot->var == PRN_TV_ANY || !has_elements(t) || t->dtype == PRN_DTYPE_NONE)
    return;
  prn_dtype *bound = &c->bound[slot->var];
  if (*bound == PRN_DTYPE_NONE) {
    *bound = t->dtype;
    c->bound_by[slot->var] = slot->name;
  } else if (*bound != t->dtype) {
    fail(c, "%s '%s' has elements of type %s, but '%s' has %s", role,
         slot->name, prn_dtype_name(t->dtype), c->bound_by[slot->var],
         prn_dtype_name(*bound));
  }
}

/* ---- operands and results ---- */

static bool is_required(const prn_slot_info *s) {
  return s->kind == PRN_SLOT_REQ || s->kind == PRN_SLOT_WEIGHT;
}

static bool is_gone(const checker *c, int32_t until) {
  return until && c->opset >= until;
}
static bool is_future(const checker *c, int32_t since) {
  return c->opset < since;
}

/* Slots in force, and how many values they take at most (-1: any number). */
static int64_t capacity(const checker *c, const prn_slot_info *slots) {
  int64_t n = 0;
  for (const prn_slot_info *s = slots; s->kind != PRN_SLOT_END; s++) {
    if (s->kind == PRN_SLOT_VAR) return -1;
    n += !is_gone(c, s->until);
  }
  return n;
}

static void check_present(checker *c, const char *role,
                          const prn_slot_info *slot, const prn_value *value) {
  bool present = value && value->type->kind != PRN_TYPE_NONE;
  if (present && is_future(c, slot->since))
    fail(c, "%s '%s' came with operator set %d, but %lld is imported", role,
         slot->name, (int)slot->since, (long long)c->opset);
  if (present) check_type(c, role, slot, value);
  if (!present && is_required(slot) && !is_future(c, slot->since))
    fail(c, "%s '%s' is missing", role, slot->name);
}

static const prn_value *nth(const prn_op *op, bool results, uint32_t i) {
  return results ? prn_op_result(op, i) : prn_op_operand(op, i);
}

static void check_slots(checker *c, bool results) {
  const char *role = results ? "result" : "operand";
  const prn_slot_info *slots = results ? c->info->out : c->info->in;
  uint32_t n = results ? c->op->num_results : c->op->num_operands, at = 0;
  int64_t most = capacity(c, slots);
  if (most >= 0 && n > most)
    fail(c, "expected at most %lld %s%s, found %u", (long long)most, role,
         most == 1 ? "" : "s", (unsigned)n);
  for (const prn_slot_info *s = slots; s->kind != PRN_SLOT_END; s++) {
    if (is_gone(c, s->until)) continue;
    if (s->kind != PRN_SLOT_VAR) {
      check_present(c, role, s, nth(c->op, results, at++));
      continue;
    }
    for (; at < n; at++) {
      const prn_value *value = nth(c->op, results, at);
      if (value && value->type->kind != PRN_TYPE_NONE)
        check_type(c, role, s, value);
    }
  }
}

/* ---- attributes ---- */

/* The row in force; a row of other versions when there is none. */
static const prn_attr_info *find_attr(const checker *c, prn_str name) {
  const prn_attr_info *other = NULL;
  for (const prn_attr_info *a = c->info->attrs; a->name; a++) {
    if (!prn_str_is(name, a->name)) continue;
    if (!is_future(c, a->since) && !is_gone(c, a->until)) return a;
    other = a;
  }
  return other;
}

static void unknown_attr(checker *c, prn_str name) {
  prn_str all[64];
  size_t n = 0;
  prn_strbuf b = {0};
  for (const prn_attr_info *a = c->info->attrs; a->name; a++)
    if (n < PRN_COUNT(all)) all[n++] = prn_str_from(a->name);
  prn_suggest(&b, name, all, n);
  fail(c, "unknown attribute '%.*s'%s", PRN_STR_ARG(name),
       b.data ? b.data : "");
  prn_strbuf_destroy(&b);
}

static void check_kind(checker *c, const prn_attr_info *info,
                       const prn_attr *value) {
  bool reference = value->kind == PRN_ATTR_SYMBOL &&
                   info->kind != PRN_ATTR_SYMBOL &&
                   c->info->dialect_bit == PRN_DIALECT_ONNX;
  if (reference) {
    if (!prn_op_is(c->v->top, PRN_OP_onnx_function))
      fail(c,
           "attribute '%s' refers to an attribute of a function, but "
           "stands in none",
           info->name);
  } else if (value->kind != info->kind) {
    fail(c, "attribute '%s' has the kind %s, expected %s", info->name,
         prn_attr_kind_name(value->kind), prn_attr_kind_name(info->kind));
  }
}

/* Attributes of the IR itself, or of passes: prune.score. */
static bool is_free(prn_str name) {
  return prn_str_starts(name, "$") || memchr(name.data, '.', name.size);
}

static void check_attr(checker *c, const prn_named_attr *a) {
  const prn_attr_info *info = find_attr(c, a->name);
  if (is_free(a->name)) return;
  if (!info) {
    unknown_attr(c, a->name);
    return;
  }
  if (is_future(c, info->since))
    fail(c, "attribute '%s' came with operator set %d, but %lld is imported",
         info->name, (int)info->since, (long long)c->opset);
  else if (is_gone(c, info->until))
    fail(c, "attribute '%s' went with operator set %d, but %lld is imported",
         info->name, (int)info->until, (long long)c->opset);
  else
    check_kind(c, info, a->value);
}

static void check_attrs(checker *c) {
  for (uint32_t i = 0; i < c->op->num_attrs; i++)
    check_attr(c, &c->op->attrs[i]);
  for (const prn_attr_info *a = c->info->attrs; a->name; a++)
    if (!a->dflt && !is_future(c, a->since) && !is_gone(c, a->until) &&
        !prn_op_attr(c->op, a->name))
      fail(c, "attribute '%s' is missing (%s)", a->name,
           prn_attr_kind_name(a->kind));
}

/* ---- the operator itself ---- */

/* NULL-terminated rows of the dialect are few: a linear search will do. */
static void unknown_op(prn_verifier *v, prn_op *op, const char *where) {
  prn_str *all = prn_alloc(prn_array_size(sizeof *all, PRN_OP_count));
  size_t n = 0;
  prn_strbuf b = {0};
  for (int i = 1; i < PRN_OP_count; i++)
    if (prn_str_is(op->opname->dialect, prn_op_infos[i].dialect))
      all[n++] = prn_str_from(prn_op_infos[i].name);
  prn_suggest(&b, op->opname->name, all, n);
  prn_verify_fail(v, op, "unknown operator '%.*s' in %s%s",
                  PRN_STR_ARG(op->opname->name), where, b.data ? b.data : "");
  prn_strbuf_destroy(&b);
  prn_free(all);
}

static prn_str domain_of(const prn_opname *n) {
  prn_str d = n->dialect;
  if (prn_str_is(d, "onnx")) return PRN_STR("");
  if (prn_str_starts(d, "$")) return (prn_str){d.data + 1, d.size - 1};
  return d;
}

/* ONNX Runtime has operators in the standard domain that came to ONNX later;
 * it writes them into models that it optimised, which import its domain. */
static bool is_runtimes_own(const checker *c) {
  return prn_op_is(c->op, PRN_OP_onnx_LayerNormalization) &&
         prn_verify_version(c->v, PRN_STR("com.microsoft")) > 0;
}

static bool check_version(checker *c) {
  const prn_op_info *i = c->info;
  prn_str domain = domain_of(c->op->opname);
  const char *name = domain.size ? c->op->opname->dialect.data : "ai.onnx";
  if (c->opset == 0)
    fail(c, "operator set '%s' is not imported", name);
  else if (i && c->opset < i->since && !is_runtimes_own(c))
    fail(c, "came with operator set %d, but %lld is imported", (int)i->since,
         (long long)c->opset);
  else if (i && i->until && c->opset >= i->until)
    fail(c, "went with operator set %d, but %lld is imported", (int)i->until,
         (long long)c->opset);
  return c->sound;
}

/* Without types there is nothing to compare; that was reported. */
static bool has_types(const prn_op *op) {
  for (uint32_t i = 0; i < op->num_operands; i++)
    if (op->operands[i].value && !op->operands[i].value->type) return false;
  for (uint32_t i = 0; i < op->num_results; i++)
    if (!op->results[i].type) return false;
  return true;
}

bool prn_verify_table(prn_verifier *v, prn_op *op) {
  checker c = {.v = v, .op = op, .info = op->opname->info, .sound = true};
  prn_dialect dialect = op->opname->dialect_bit;
  c.opset = INT64_MAX;
  if (dialect == PRN_DIALECT_ONNX) {
    bool structure = c.info && !c.info->since;
    if (!structure && prn_verify_call(v, op)) return false;
    prn_str domain = domain_of(op->opname);
    c.opset = domain.size ? prn_verify_version(v, domain) : v->opset;
    if (!structure && !check_version(&c)) return false;
    if (!c.info && domain.size) return true; /* nothing is known about it */
  }
  if (!c.info) {
    unknown_op(v, op,
               dialect == PRN_DIALECT_ONNX ? "the standard domain"
               : dialect == PRN_DIALECT_NN ? "the nn dialect"
                                           : "the mem dialect");
    return false;
  }
  if (!has_types(op)) return false;
  check_slots(&c, false);
  check_slots(&c, true);
  check_attrs(&c);
  return c.sound;
}
