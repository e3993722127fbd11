/* Comparison of two modules: what a round trip must keep. */
#include <string.h>

#include "ir/text.h"

typedef struct compare {
  const char *what;
  prn_ptrmap same; /* value of a -> value of b */
} compare;

PRN_PRINTF(3, 4)
static prn_status differ(const compare *c, const prn_op *op, const char *fmt,
                         ...) {
  va_list ap;
  prn_strbuf b = {0};
  va_start(ap, fmt);
  prn_strbuf_vfmt(&b, fmt, ap);
  va_end(ap);
  (void)!prn_op_error(op, "%s: %s", c->what, b.data);
  prn_strbuf_destroy(&b);
  return PRN_FAIL;
}

/* One place of one file, however often it was mapped. */
static bool same_place(const prn_blob *a, const prn_blob *b) {
  uint64_t x = a->offset, y = b->offset;
  if (!a->file || !b->file) return false;
  const char *p = prn_file_origin(a->file, &x);
  const char *q = prn_file_origin(b->file, &y);
  return x == y && (strcmp(p, q) == 0 || prn_path_same(p, q)) &&
         strcmp(p, "-") != 0;
}

static bool same_bytes(const prn_blob *a, const prn_blob *b) {
  size_t x = a ? a->size : 0, y = b ? b->size : 0;
  if (a == b || (x == 0 && y == 0)) return true;
  if (!a || !b || x != y) return false;
  return a->data == b->data || same_place(a, b) ||
         memcmp(a->data, b->data, x) == 0;
}

static bool same_attr(const prn_attr *a, const prn_attr *b);

static bool same_mask(const prn_tensor *a, const prn_tensor *b) {
  int64_t count = 0;
  if (!a->mask != !b->mask) return false;
  if (!a->mask || same_bytes(a->mask, b->mask)) return true;
  if (!prn_type_count(a->type, &count)) return false;
  size_t need = ((size_t)count + 7) / 8;
  if (a->mask->size < need || b->mask->size < need) return false;
  for (int64_t i = 0; i < count; i++) /* the bits behind do not count */
    if (prn_mask_keeps(a->mask->data, i) != prn_mask_keeps(b->mask->data, i))
      return false;
  return true;
}

static bool same_tensor(const prn_tensor *a, const prn_tensor *b) {
  int64_t count = 0;
  if (a == b) return true;
  if (a->type != b->type || !prn_str_eq(a->name, b->name) ||
      a->storage != b->storage || !same_attr(a->extra, b->extra) ||
      !same_bytes(a->data, b->data) || !same_mask(a, b))
    return false;
  if (!a->strings && !b->strings) return true;
  if (!prn_type_count(a->type, &count)) return false;
  if (!a->strings != !b->strings) return count == 0;
  for (int64_t i = 0; i < count; i++)
    if (!prn_str_eq(a->strings[i], b->strings[i])) return false;
  return true;
}

/* As prn_attr_eq, but tensors by contents. */
static bool same_attr(const prn_attr *a, const prn_attr *b) {
  bool same = true;
  if (a == b) return true;
  if (!a || !b || a->kind != b->kind || a->size != b->size) return false;
  if (a->kind == PRN_ATTR_TENSOR) return same_tensor(a->tensor, b->tensor);
  if (a->kind != PRN_ATTR_LIST && a->kind != PRN_ATTR_DICT)
    return prn_attr_eq(a, b);
  for (uint32_t i = 0; same && i < a->size; i++)
    same = a->kind == PRN_ATTR_LIST
               ? same_attr(a->list[i], b->list[i])
               : prn_str_eq(a->dict[i].name, b->dict[i].name) &&
                     same_attr(a->dict[i].value, b->dict[i].value);
  return same;
}

static prn_status same_block(compare *c, const prn_op *parent,
                             const prn_block *a, const prn_block *b);

static prn_status same_operands(const compare *c, const prn_op *a,
                                const prn_op *b) {
  if (a->num_operands != b->num_operands)
    return differ(c, a, "%u operands became %u", (unsigned)a->num_operands,
                  (unsigned)b->num_operands);
  for (uint32_t i = 0; i < a->num_operands; i++) {
    prn_value *v = a->operands[i].value, *w = b->operands[i].value;
    if (!v != !w || (v && prn_ptrmap_get(&c->same, v) != w))
      return differ(c, a, "operand %u changed", (unsigned)i);
  }
  return PRN_OK;
}

static prn_status same_value(compare *c, const prn_op *op, const prn_value *v,
                             prn_value *w) {
  if (!prn_str_eq(v->name, w->name))
    return differ(c, op, "'%.*s' became '%.*s'", PRN_STR_ARG(v->name),
                  PRN_STR_ARG(w->name));
  if (v->type != w->type)
    return differ(c, op, "type %s became %s",
                  prn_type_str(op->module->ctx, v->type),
                  prn_type_str(op->module->ctx, w->type));
  *prn_ptrmap_slot(&c->same, v) = w;
  return PRN_OK;
}

static prn_status same_attrs(const compare *c, const prn_op *a,
                             const prn_op *b) {
  if (a->num_attrs != b->num_attrs)
    return differ(c, a, "%u attributes became %u", (unsigned)a->num_attrs,
                  (unsigned)b->num_attrs);
  for (uint32_t i = 0; i < a->num_attrs; i++)
    if (!prn_str_eq(a->attrs[i].name, b->attrs[i].name) ||
        !same_attr(a->attrs[i].value, b->attrs[i].value))
      return differ(c, a, "attribute '%.*s' changed",
                    PRN_STR_ARG(a->attrs[i].name));
  return PRN_OK;
}

static prn_status same_op(compare *c, const prn_op *a, const prn_op *b) {
  if (!prn_str_eq(a->opname->dialect, b->opname->dialect) ||
      !prn_str_eq(a->opname->name, b->opname->name))
    return differ(c, a, "became %.*s.%.*s", PRN_STR_ARG(b->opname->dialect),
                  PRN_STR_ARG(b->opname->name));
  PRN_TRY(same_operands(c, a, b));
  PRN_TRY(same_attrs(c, a, b));
  if (a->num_blocks != b->num_blocks || a->num_results != b->num_results)
    return differ(c, a, "the number of blocks or results changed");
  for (uint32_t i = 0; i < a->num_blocks; i++)
    PRN_TRY(same_block(c, a, a->blocks[i], b->blocks[i]));
  for (uint32_t i = 0; i < a->num_results; i++)
    PRN_TRY(same_value(c, a, &a->results[i], &b->results[i]));
  return PRN_OK;
}

static prn_status same_block(compare *c, const prn_op *parent,
                             const prn_block *a, const prn_block *b) {
  if (a->num_args != b->num_args)
    return differ(c, parent, "%u arguments became %u", (unsigned)a->num_args,
                  (unsigned)b->num_args);
  for (uint32_t i = 0; i < a->num_args; i++)
    PRN_TRY(same_value(c, parent, a->args[i], b->args[i]));
  const prn_op *x = a->first, *y = b->first;
  for (; x && y; x = x->next, y = y->next)
    PRN_TRY(same_op(c, x, y));
  if (x) return differ(c, x, "disappeared");
  if (y) return differ(c, y, "appeared");
  return PRN_OK;
}

prn_status prn_module_compare(const prn_module *a, const prn_module *b,
                              const char *what) {
  compare c = {.what = what};
  prn_status s = PRN_OK;
  if (!same_attr(a->attrs, b->attrs))
    s = prn_module_error(a, "%s: attributes of the module changed", what);
  else
    s = same_block(&c, NULL, a->body, b->body);
  prn_ptrmap_destroy(&c.same);
  return s;
}
