/* Models in and out of the tools, in either format.
 *
 * The extension decides (.onnx, .prn); for other names and for pipes an input
 * is ONNX when it does not look like text, and an output is text. */
#ifndef PRN_TOOLS_MODEL_IO_H
#define PRN_TOOLS_MODEL_IO_H

#include "backends/onnx/export.h"
#include "ir/op.h"
#include "ir/support/file.h"

typedef enum prn_format {
  PRN_FORMAT_AUTO,
  PRN_FORMAT_TEXT,
  PRN_FORMAT_ONNX
} prn_format;

/* By extension; AUTO when it says nothing. */
prn_format prn_format_of_path(const char *path);
/* By the first bytes: TEXT or ONNX. */
prn_format prn_format_of_bytes(prn_str bytes);

/* Reads path ("-" is stdin). */
PRN_NODISCARD prn_status prn_model_read(prn_ctx *ctx, const char *path,
                                        prn_module **out);
/* The same from an open file. */
PRN_NODISCARD prn_status prn_model_read_file(prn_ctx *ctx, prn_file *file,
                                             prn_module **out);
/* "keep", "embed", "external"; NULL is keep. */
prn_onnx_data prn_onnx_data_of(const char *word);

typedef struct prn_write_options {
  prn_format format;
  prn_onnx_data data; /* ONNX: where tensors go */
  bool locations;     /* text: the place of every operation */
} prn_write_options;

/* Writes path ("-" is stdout) whole or not at all. Options may be NULL. */
PRN_NODISCARD prn_status prn_model_write(prn_module *m, const char *path,
                                         const prn_write_options *options);

#endif
