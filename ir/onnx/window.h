/* Sliding windows: what convolutions and poolings share. */
#ifndef PRN_IR_ONNX_WINDOW_H
#define PRN_IR_ONNX_WINDOW_H

#include "ir/onnx/shape.h"

typedef enum prn_auto_pad {
  PRN_PAD_NOTSET,
  PRN_PAD_SAME_UPPER,
  PRN_PAD_SAME_LOWER,
  PRN_PAD_VALID,
} prn_auto_pad;

/* Per spatial axis; attributes that are absent have their defaults. */
typedef struct prn_window {
  int32_t n; /* spatial axes */
  prn_auto_pad auto_pad;
  bool ceil;
  const int64_t *kernel; /* NULL: attribute absent */
  const int64_t *strides, *dilations;
  const int64_t *pads; /* n begins, n ends */
} prn_window;

/* Reads the attributes for n spatial axes; reports values that cannot be. */
PRN_NODISCARD prn_status prn_window_read(prn_infer *env, const prn_op *op,
                                         int32_t n, prn_window *out);
/* The output size along spatial axis i. */
PRN_NODISCARD prn_status prn_window_size(prn_infer *env, const prn_op *op,
                                         const prn_window *w, int32_t i,
                                         prn_dim in, prn_dim kernel,
                                         prn_dim *out);

#endif
