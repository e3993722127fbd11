/* The text form of modules: printing and parsing.
 *
 *   module attributes {ir_version = 8, opset_import = list[...]} {
 *     onnx.graph {name = "g", body = region<0>} {
 *     ^(%x: tensor<(batch)x2xf32>):
 *       %w = onnx.initializer {value = dense<[[1.0], [2.0]]>} : tensor<2x1xf32>
 *       %y, _ = onnx.Foo(%x, %w, _) {group = 1} : tensor<(batch)x1xf32>, none
 *       onnx.return(%y)
 *     }
 *   }
 *
 * What is printed parses back to the same module: names, attribute order,
 * absent operands and results, the types of all values. The rules:
 *   - `%name` is a value of that name, `%"a/b:0"` one whose name is not an
 *     identifier, `%name#1` a second visible value of the same name, `%7` one
 *     without a name, `_` an absent operand or result.
 *   - Types left out are `any`. A tensor attribute without a type has that of
 *     the operation's first result.
 *   - `com.microsoft.Attention` is split at the last dot; names with other
 *     characters are written "domain"."Name".
 *   - Constants of more than a few elements are `resource<name>` and listed in
 *     a section {-# resources ... #-} at the end: as a span of a file, as
 *     strings, or as hexadecimal bytes. Relative paths there start at the
 *     folder of the text, or the current one for text from a pipe.
 *   - // starts a comment. The words `module ... {` and `}` may be left out.
 * docs/text.md has the grammar. */
#ifndef PRN_IR_TEXT_H
#define PRN_IR_TEXT_H

#include "ir/op.h"
#include "ir/support/file.h"

/* Memory that all dense<value> of one text may take together. */
enum { PRN_TEXT_SPLAT_BYTES = 1 << 28 };

typedef struct prn_print_options {
  bool locations; /* loc("file":line:col) after every operation */
  bool elide;     /* leave the resource section out: for reading only */
  /* Where the text will lie, so that relative paths of resources hold there:
   * its file name; NULL or "-" for the current folder. */
  const char *target;
} prn_print_options;

typedef void prn_write_fn(void *user, const void *data, size_t size);

/* The module's text; options may be NULL. Streams: memory does not grow with
 * the weights. */
void prn_print_module(const prn_module *m, const prn_print_options *options,
                      prn_out *out);
void prn_print_module_to(const prn_module *m, const prn_print_options *options,
                         prn_write_fn *write, void *user);
void prn_print_module_buf(const prn_module *m, const prn_print_options *options,
                          prn_strbuf *out);
/* One operation with its nested blocks; resources are only named. */
void prn_print_op(const prn_op *op, prn_strbuf *out);
/* Large tensors come out as resource<name>, without their data. */
void prn_attr_print(prn_strbuf *b, const prn_attr *a);
/* An attribute or dictionary key: quoted unless it is an identifier. */
void prn_name_print(prn_strbuf *b, prn_str name);
/* The shortest decimal that reads back as f, always with '.' or 'e', or
 * inf, nan, 0x7fc00001. */
void prn_float_print(prn_strbuf *b, float f);

/* Parses text; all errors are reported (with carets when the caller has made
 * the text a source of the sink, prn_diag_add_source), then the result is
 * NULL. file names the text in messages and gives the folder of relative
 * paths; first_line is the number of the text's first line. */
prn_module *prn_parse_module(prn_ctx *ctx, const char *file, prn_str text);
prn_module *prn_parse_module_at(prn_ctx *ctx, const char *file, prn_str text,
                                uint32_t first_line);
/* Opens path ("-" is stdin) and parses it; the text becomes a source. */
prn_module *prn_parse_file(prn_ctx *ctx, const char *path);
/* file is for messages, NULL: "<text>". */
const prn_type *prn_parse_type(prn_ctx *ctx, const char *file, prn_str text);
const prn_attr *prn_parse_attr(prn_ctx *ctx, const char *file, prn_str text);
prn_dim prn_parse_dim(prn_ctx *ctx, const char *file, prn_str text);

/* Same structure, names, types, attributes and tensor contents. The first
 * difference is reported as an error that starts with `what`. */
PRN_NODISCARD prn_status prn_module_compare(const prn_module *a,
                                            const prn_module *b,
                                            const char *what);

#endif
