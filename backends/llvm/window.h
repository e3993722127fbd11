/* Windows over spatial dimensions: what convolution and pooling share.
 *
 * One, two or three spatial dimensions are treated as three; the missing ones
 * come first and have size 1. */
#ifndef PRN_BACKENDS_LLVM_WINDOW_H
#define PRN_BACKENDS_LLVM_WINDOW_H

#include "backends/llvm/emit.h"

enum { PRN_WD, PRN_WH, PRN_WW, PRN_WINDOW };

typedef struct prn_window {
  prn_dtype dtype;  /* elements of x */
  unsigned spatial; /* dimensions that are real */
  prn_v in[PRN_WINDOW], out[PRN_WINDOW], kernel[PRN_WINDOW];
  prn_v low[PRN_WINDOW];     /* padding before */
  prn_v step_in[PRN_WINDOW]; /* strides of the views, in elements */
  prn_v step_out[PRN_WINDOW];
  int64_t stride[PRN_WINDOW], dilation[PRN_WINDOW];
} prn_window;

/* From operands x and out of k's op and its attributes; kernel is not set. */
void prn_window_init(prn_window *w, prn_kernel *k, unsigned x, unsigned out);
/* Reports unless there are one to three spatial dimensions and the attributes
 * have one entry for each. */
PRN_NODISCARD prn_status prn_window_check(const prn_op *op, const prn_type *x);

/* Taps [*lo, *hi) of dimension d whose input position is inside, for output
 * position o. */
void prn_window_clip(prn_cg *g, const prn_window *w, unsigned d, prn_v o,
                     prn_v *lo, prn_v *hi);
/* Input position of tap t at output position o: o * stride - low + t * dil. */
prn_v prn_window_at(prn_cg *g, const prn_window *w, unsigned d, prn_v o,
                    prn_v t);

/* Loads `lanes` elements of an input row, for output positions o, o+1, ... and
 * tap t along the width. row is the address of the row's element 0. Positions
 * outside are `outside`. `inside`: the caller knows that none is (and, for a
 * stride of 2, that 2 * lanes elements may be read). */
prn_v prn_window_load(prn_cg *g, const prn_window *w, prn_v row, prn_v o,
                      prn_v t, unsigned lanes, bool inside, prn_v outside,
                      prn_v mask);
/* Whether prn_window_load may be told `inside` for a tap of `lanes` outputs
 * from o on; for every tap. */
prn_v prn_window_tap_inside(prn_cg *g, const prn_window *w, prn_v o, prn_v tap,
                            unsigned lanes);
prn_v prn_window_inside(prn_cg *g, const prn_window *w, prn_v o,
                        unsigned lanes);

#endif
