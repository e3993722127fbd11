/* Header generation; see header.h. */
#include "backends/llvm/header.h"

#include <ctype.h>

#include "backends/llvm/abi_text.h"
#include "ir/pack/weights.h"

/* "input_ids" gives INPUT_IDS. */
static void macro_name(prn_strbuf *b, prn_str s) {
  for (size_t i = 0; i < s.size; i++) {
    unsigned char c = (unsigned char)s.data[i];
    prn_strbuf_char(b, isalnum(c) ? (char)toupper(c) : '_');
  }
}

static void start_macro(prn_strbuf *b, const char *prefix) {
  prn_strbuf_cstr(b, "#define ");
  macro_name(b, prn_str_from(prefix));
  prn_strbuf_char(b, '_');
}

/* The text of s cannot end the comment it stands in. */
static void comment_text(prn_strbuf *b, prn_str s) {
  for (size_t i = 0; i < s.size; i++) {
    unsigned char c = (unsigned char)s.data[i];
    prn_strbuf_char(b, c < 32 || c == '*' || c == '\\' ? '.' : (char)c);
  }
}

static void describe(prn_strbuf *b, const char *what, unsigned i, prn_str name,
                     const prn_type *t) {
  prn_strbuf_fmt(b, " *   %s[%u] ", what, i);
  comment_text(b, name);
  prn_strbuf_fmt(b, ": %s", prn_dtype_name(t->dtype));
  for (int32_t k = 0; k < t->rank; k++) {
    prn_strbuf dim = {0};
    prn_dim_print(&dim, t->dims[k]);
    prn_strbuf_cstr(b, k ? " x " : " ");
    comment_text(b, prn_strbuf_view(&dim));
    prn_strbuf_destroy(&dim);
  }
  prn_strbuf_char(b, '\n');
}

static prn_str name_of(const prn_op *func, const char *attr, unsigned i) {
  const prn_attr *a = prn_op_attr(func, attr);
  return a && i < a->size ? a->strings[i] : PRN_STR("");
}

static void model_text(const prn_op *func, const char *prefix, prn_strbuf *b) {
  const prn_block *body = prn_op_block(func, "body");
  unsigned n = (unsigned)prn_op_int(func, "inputs", 0);
  prn_strbuf_fmt(b, "\n/* The model %s:\n", prefix);
  for (unsigned i = 0; i < body->num_args; i++)
    describe(b, i < n ? "inputs" : "outputs", i < n ? i : i - n,
             i < n ? name_of(func, "input_names", i)
                   : name_of(func, "output_names", i - n),
             body->args[i]->type);
  prn_strbuf_cstr(b, " */\n");
  start_macro(b, prefix);
  prn_strbuf_fmt(b, "NUM_INPUTS %u\n", n);
  start_macro(b, prefix);
  prn_strbuf_fmt(b, "NUM_OUTPUTS %u\n", body->num_args - n);
  start_macro(b, prefix);
  prn_strbuf_fmt(b, "WEIGHTS_SIZE %lld\n", (long long)prn_weights_size(func));
}

/* Elements of an array whose sizes are all known. */
static void static_sizes(const prn_op *func, const char *prefix,
                         prn_strbuf *b) {
  const prn_block *body = prn_op_block(func, "body");
  unsigned n = (unsigned)prn_op_int(func, "inputs", 0);
  for (unsigned i = 0; i < body->num_args; i++) {
    const prn_type *t = body->args[i]->type;
    int64_t count;
    if (!prn_type_count(t, &count)) continue;
    start_macro(b, prefix);
    prn_strbuf_fmt(b, "%s_%u_SIZE %lld\n", i < n ? "INPUT" : "OUTPUT",
                   i < n ? i : i - n,
                   (long long)(count * prn_dtype_width(t->dtype)));
  }
}

void prn_header_print(const prn_op *func, const char *prefix, prn_strbuf *b) {
  prn_strbuf_cstr(b, "/* Written by prunec. */\n#ifndef ");
  macro_name(b, prn_str_from(prefix));
  prn_strbuf_cstr(b, "_MODEL_H\n#define ");
  macro_name(b, prn_str_from(prefix));
  prn_strbuf_cstr(b, "_MODEL_H\n\n");
  prn_strbuf_bytes(b, prn_abi_text, prn_abi_text_size);
  model_text(func, prefix, b);
  static_sizes(func, prefix, b);
  prn_strbuf_fmt(b,
                 "\n#ifdef __cplusplus\nextern \"C\" {\n#endif\n"
                 "const prune_model *%s_model(void);\n"
                 "#ifdef __cplusplus\n}\n#endif\n\n#endif\n",
                 prefix);
}
