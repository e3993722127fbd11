/* ONNX out: a module in the onnx dialect becomes a model file.
 *
 * The inverse of frontends/onnx/import.h, which says what goes where: what no
 * pass touched comes out as it went in. Weights stream from their mapping with
 * masks applied on the way; memory does not grow with them. Files appear whole
 * or not at all.
 *
 * Tensors that came from external data go to external data again: under their
 * old file names where no other model's file is in the way, otherwise to
 * "MODEL.data" beside the model. A model over 2 GB, which no protobuf reader
 * takes, has its tensors moved to external data. */
#ifndef PRN_BACKENDS_ONNX_EXPORT_H
#define PRN_BACKENDS_ONNX_EXPORT_H

#include "ir/op.h"

typedef enum prn_onnx_data {
  PRN_ONNX_DATA_KEEP,     /* as each tensor came */
  PRN_ONNX_DATA_EMBED,    /* all in the model file */
  PRN_ONNX_DATA_EXTERNAL, /* tensors of 1 KiB and more in "MODEL.data" */
} prn_onnx_data;

typedef struct prn_onnx_export_options {
  prn_onnx_data data;
} prn_onnx_export_options;

/* Writes m to path ("-" is stdout; then everything is embedded). All reasons
 * why m cannot be written as ONNX are reported. */
PRN_NODISCARD prn_status prn_onnx_export(prn_module *m, const char *path);
PRN_NODISCARD prn_status prn_onnx_export_with(
    prn_module *m, const char *path, const prn_onnx_export_options *options);

#endif
