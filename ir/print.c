/* Printing of modules, operations and blocks. */
#include "ir/print.h"

#include <string.h>

#include "ir/lex.h"

enum { FLUSH_AT = 1 << 16 };

void prn_print_flush(prn_printer *p, bool all) {
  if (!p->write || (p->buf.size < FLUSH_AT && !all)) return;
  p->write(p->user, p->buf.data, p->buf.size);
  p->buf.size = 0;
}

void prn_print_int(prn_strbuf *b, int64_t v) {
  char text[24];
  size_t at = sizeof text;
  uint64_t u = v < 0 ? 0 - (uint64_t)v : (uint64_t)v;
  do {
    text[--at] = (char)('0' + u % 10);
    u /= 10;
  } while (u);
  if (v < 0) text[--at] = '-';
  prn_strbuf_bytes(b, text + at, sizeof text - at);
}

void prn_name_print(prn_strbuf *b, prn_str name) {
  if (prn_is_ident(name))
    prn_strbuf_str(b, name);
  else
    prn_strbuf_quoted(b, name);
}

/* ---- names of values ---- */

static bool is_absent(const prn_value *v) {
  return v->type->kind == PRN_TYPE_NONE && v->name.size == 0 && !v->uses;
}

static void count_name(prn_printer *p, const char *name, intptr_t by) {
  void **slot = prn_ptrmap_slot(&p->visible, name);
  *slot = (void *)((intptr_t)*slot + by);
}

/* Makes v visible. Named values get a number when the name is taken. */
static void claim(prn_printer *p, const prn_value *v) {
  if (is_absent(v)) return;
  if (v->name.size == 0) {
    void **slot = prn_ptrmap_slot(&p->numbers, v);
    if (!*slot) *slot = (void *)(uintptr_t)(++p->next_number);
    return;
  }
  uintptr_t n = (uintptr_t)prn_ptrmap_get(&p->visible, v->name.data);
  if (n) *prn_ptrmap_slot(&p->numbers, v) = (void *)n;
  count_name(p, v->name.data, 1);
  if (p->num_claimed == p->cap_claimed) {
    p->cap_claimed = p->cap_claimed ? p->cap_claimed * 2 : 64;
    p->claimed = prn_realloc(
        p->claimed, prn_array_size(sizeof *p->claimed, p->cap_claimed));
  }
  p->claimed[p->num_claimed++] = v->name.data;
}

static void unclaim_to(prn_printer *p, size_t n) {
  while (p->num_claimed > n)
    count_name(p, p->claimed[--p->num_claimed], -1);
}

static void print_value(prn_printer *p, const prn_value *v) {
  prn_strbuf *b = &p->buf;
  if (!v) {
    prn_strbuf_char(b, '_');
    return;
  }
  prn_strbuf_char(b, '%');
  if (v->name.size) {
    prn_name_print(b, v->name);
    uintptr_t n = (uintptr_t)prn_ptrmap_get(&p->numbers, v);
    if (n) {
      prn_strbuf_char(b, '#');
      prn_print_int(b, (int64_t)n);
    }
  } else {
    /* A value that is not defined yet gets its number here. */
    void **slot = prn_ptrmap_slot(&p->numbers, v);
    if (!*slot) *slot = (void *)(uintptr_t)(++p->next_number);
    prn_print_int(b, (int64_t)(uintptr_t)*slot - 1);
  }
}

/* ---- operations ---- */

static void print_opname(prn_strbuf *b, const prn_opname *n) {
  bool bare = prn_is_ident(n->dialect) && prn_is_last_part(n->name);
  if (bare) {
    prn_strbuf_str(b, n->dialect);
    prn_strbuf_char(b, '.');
    prn_strbuf_str(b, n->name);
  } else {
    prn_strbuf_quoted(b, n->dialect);
    prn_strbuf_char(b, '.');
    prn_strbuf_quoted(b, n->name);
  }
}

static void indent(prn_strbuf *b, int depth) {
  for (int i = 0; i < depth; i++)
    prn_strbuf_cstr(b, "  ");
}

static void print_results(prn_printer *p, const prn_op *op) {
  for (uint32_t i = 0; i < op->num_results; i++) {
    const prn_value *v = &op->results[i];
    if (i) prn_strbuf_cstr(&p->buf, ", ");
    claim(p, v);
    print_value(p, is_absent(v) ? NULL : v);
  }
  if (op->num_results) prn_strbuf_cstr(&p->buf, " = ");
}

static void print_attrs(prn_printer *p, const prn_op *op) {
  prn_strbuf *b = &p->buf;
  prn_str result = op->num_results ? op->results[0].name : (prn_str){"", 0};
  bool initializer = prn_op_is(op, PRN_OP_onnx_initializer);
  prn_strbuf_cstr(b, " {");
  for (uint32_t i = 0; i < op->num_attrs; i++) {
    const prn_named_attr *a = &op->attrs[i];
    prn_print_hint hint = {.type = op->num_results ? op->results[0].type : NULL,
                           .name = initializer && prn_str_is(a->name, "value")
                                       ? result
                                       : (prn_str){"", 0},
                           .key = result};
    if (i) prn_strbuf_cstr(b, ", ");
    prn_name_print(b, a->name);
    prn_strbuf_cstr(b, " = ");
    prn_print_attr(b, p, a->value, &hint);
    prn_print_flush(p, false);
  }
  prn_strbuf_char(b, '}');
}

static void print_op(prn_printer *p, const prn_op *op, int depth);

static void print_block(prn_printer *p, const prn_block *block, int depth) {
  prn_strbuf *b = &p->buf;
  size_t scope = p->num_claimed;
  prn_strbuf_cstr(b, " {\n");
  if (block->num_args) {
    indent(b, depth);
    prn_strbuf_cstr(b, "^(");
    for (uint32_t i = 0; i < block->num_args; i++) {
      const prn_value *v = block->args[i];
      if (i) prn_strbuf_cstr(b, ", ");
      claim(p, v);
      print_value(p, is_absent(v) ? NULL : v);
      if (v->type->kind == PRN_TYPE_ANY || is_absent(v)) continue;
      prn_strbuf_cstr(b, ": ");
      prn_type_print(b, v->type);
    }
    prn_strbuf_cstr(b, "):\n");
  }
  PRN_EACH_OP(op, block)
    print_op(p, op, depth + 1);
  indent(b, depth);
  prn_strbuf_char(b, '}');
  unclaim_to(p, scope);
}

static void print_result_types(prn_printer *p, const prn_op *op) {
  bool known = false;
  for (uint32_t i = 0; i < op->num_results; i++)
    known = known || (op->results[i].type->kind != PRN_TYPE_ANY &&
                      !is_absent(&op->results[i]));
  for (uint32_t i = 0; known && i < op->num_results; i++) {
    prn_strbuf_cstr(&p->buf, i ? ", " : " : ");
    prn_type_print(&p->buf, op->results[i].type);
  }
}

static void print_loc(prn_strbuf *b, prn_loc loc) {
  if (!loc.file) return;
  prn_strbuf_cstr(b, " loc(");
  prn_strbuf_quoted(b, prn_str_from(loc.file));
  prn_strbuf_fmt(b, ":%u:%u)", (unsigned)loc.line, (unsigned)loc.col);
}

static void print_op(prn_printer *p, const prn_op *op, int depth) {
  prn_strbuf *b = &p->buf;
  size_t scope = p->num_claimed;
  indent(b, depth);
  print_results(p, op);
  print_opname(b, op->opname);
  for (uint32_t i = 0; i < op->num_operands; i++) {
    prn_strbuf_cstr(b, i ? ", " : "(");
    print_value(p, op->operands[i].value);
  }
  if (op->num_operands) prn_strbuf_char(b, ')');
  if (op->num_attrs || op->num_blocks) print_attrs(p, op);
  if (op->num_blocks) {
    /* The results are not visible inside: their names are free there. */
    unclaim_to(p, scope);
    for (uint32_t i = 0; i < op->num_blocks; i++)
      print_block(p, op->blocks[i], depth);
    for (uint32_t i = 0; i < op->num_results; i++)
      claim(p, &op->results[i]);
  }
  print_result_types(p, op);
  if (p->options.locations) print_loc(b, op->loc);
  prn_strbuf_char(b, '\n');
  prn_print_flush(p, false);
}

/* ---- entry points ---- */

static void destroy(prn_printer *p) {
  prn_strbuf_destroy(&p->buf);
  prn_ptrmap_destroy(&p->visible);
  prn_ptrmap_destroy(&p->numbers);
  prn_ptrmap_destroy(&p->resource_of);
  prn_map_destroy(&p->keys);
  prn_free(p->claimed);
  prn_free(p->resources);
  prn_arena_destroy(&p->arena);
}

void prn_print_module_to(const prn_module *m, const prn_print_options *options,
                         prn_write_fn *write, void *user) {
  prn_printer p = {.write = write, .user = user};
  if (options) p.options = *options;
  prn_strbuf_cstr(&p.buf, "module");
  if (m->attrs) {
    prn_strbuf_cstr(&p.buf, " attributes ");
    prn_print_hint none = {0};
    prn_print_attr(&p.buf, &p, m->attrs, &none);
  }
  prn_strbuf_cstr(&p.buf, " {\n");
  PRN_EACH_OP(op, m->body) {
    p.next_number = 0;
    print_op(&p, op, 1);
  }
  prn_strbuf_cstr(&p.buf, "}\n");
  if (p.num_resources && !p.options.elide) prn_print_resources(&p);
  prn_print_flush(&p, true);
  destroy(&p);
}

static void to_out(void *user, const void *data, size_t size) {
  prn_out_write(user, data, size);
}

void prn_print_module(const prn_module *m, const prn_print_options *options,
                      prn_out *out) {
  prn_print_module_to(m, options, to_out, out);
}

static void to_buf(void *user, const void *data, size_t size) {
  prn_strbuf_bytes(user, data, size);
}

void prn_print_module_buf(const prn_module *m, const prn_print_options *options,
                          prn_strbuf *out) {
  prn_print_module_to(m, options, to_buf, out);
}

void prn_print_op(const prn_op *op, prn_strbuf *out) {
  prn_printer p = {0};
  print_op(&p, op, 0);
  prn_strbuf_str(out, prn_strbuf_view(&p.buf));
  destroy(&p);
}
