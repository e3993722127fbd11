#include "passes/remark.h"

const prn_reason_info prn_reasons[PRN_REASON_COUNT] = {
#define REASON(name, kind, text) {#name, text, PRN_REMARK_##kind},
#include "passes/reasons.def"
#undef REASON
};

struct prn_remarks {
  prn_ctx *ctx;
  prn_remark *all;
  size_t size, cap;
};

prn_remarks *prn_remarks_create(prn_ctx *ctx) {
  prn_remarks *r = prn_alloc(sizeof *r);
  *r = (prn_remarks){.ctx = ctx};
  return r;
}

void prn_remarks_destroy(prn_remarks *r) {
  if (!r) return;
  prn_free(r->all);
  prn_free(r);
}

/* The name of the graph or function around op. */
static prn_str function_of(const prn_op *op) {
  while (op->block && op->block->parent)
    op = op->block->parent;
  return prn_op_string(op, "name", "");
}

void prn_remarks_vadd(prn_remarks *r, const char *pass, const prn_op *op,
                      prn_reason reason, const char *fmt, va_list ap) {
  prn_strbuf b = {0};
  if (r->size == r->cap) {
    r->cap = r->cap ? r->cap * 2 : 64;
    r->all = prn_realloc(r->all, prn_array_size(sizeof *r->all, r->cap));
  }
  prn_strbuf_vfmt(&b, fmt, ap);
  r->all[r->size++] = (prn_remark){
      .reason = reason,
      .pass = pass,
      .loc = op->loc,
      .function = function_of(op),
      .subject = prn_op_subject(op),
      .text = prn_intern(r->ctx, prn_strbuf_view(&b)),
  };
  prn_strbuf_destroy(&b);
}

const prn_remark *prn_remarks_all(const prn_remarks *r, size_t *n) {
  *n = r->size;
  return r->all;
}

/* A YAML single-quoted scalar; control bytes become blanks. */
static void scalar(prn_strbuf *b, prn_str s) {
  prn_strbuf_char(b, '\'');
  for (size_t i = 0; i < s.size; i++) {
    unsigned char c = (unsigned char)s.data[i];
    if (c == '\'') prn_strbuf_char(b, '\'');
    prn_strbuf_char(b, c < ' ' || c == 0x7f ? ' ' : (char)c);
  }
  prn_strbuf_char(b, '\'');
}

void prn_remarks_yaml(const prn_remarks *r, prn_strbuf *b) {
  static const char *const kinds[] = {"Passed", "Missed", "Analysis"};
  for (size_t i = 0; i < r->size; i++) {
    const prn_remark *m = &r->all[i];
    const prn_reason_info *why = &prn_reasons[m->reason];
    prn_strbuf_fmt(b, "--- !%s\nPass:            %s\nName:            %s\n",
                   kinds[why->kind], m->pass, why->name);
    prn_strbuf_cstr(b, "DebugLoc:        { File: ");
    scalar(b, prn_str_from(m->loc.file));
    prn_strbuf_fmt(b, ", Line: %u, Column: %u }\nFunction:        ",
                   (unsigned)m->loc.line, (unsigned)m->loc.col);
    scalar(b, m->function);
    prn_strbuf_cstr(b, "\nArgs:\n  - Subject:         ");
    scalar(b, m->subject);
    prn_strbuf_cstr(b, "\n  - String:          ': '\n"
                       "  - Reason:          ");
    scalar(b, m->text);
    prn_strbuf_cstr(b, "\n...\n");
  }
}
