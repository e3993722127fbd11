/* mem.conv: what the ways to compute a convolution share.
 *
 * A way is a row of the table in conv.c; the first that fits a convolution
 * computes it. Every element of the result is summed in an order that depends
 * on the operation alone, never on how items are spread over threads. */
#ifndef PRN_BACKENDS_LLVM_CONV_H
#define PRN_BACKENDS_LLVM_CONV_H

#include "backends/llvm/linear.h"
#include "backends/llvm/window.h"

/* Operands of mem.conv. */
enum { PRN_CONV_X, PRN_CONV_W, PRN_CONV_OUT, PRN_CONV_EXTRAS };

typedef struct prn_conv {
  prn_kernel *k;
  prn_window w;
  prn_v batch, group, cg, og; /* channels of a group, in and out */
  prn_v pixels;
  int64_t taps, groups;
  /* the item */
  prn_v base[PRN_KERNEL_MAX]; /* of the views, at this image and group */
} prn_conv;

typedef struct prn_conv_way {
  const char *pack; /* the packing of weights that it reads; NULL: none */
  /* With a packing it does not depend on the target, which may be NULL. */
  bool (*fits)(const prn_target *t, const prn_op *op);
  prn_v (*items)(const prn_conv *c);
  void (*item)(prn_conv *c, prn_v item);
  /* Bytes a worker needs; may be NULL. */
  size_t (*scratch)(const prn_target *t, const prn_op *op);
  bool rows_apart; /* rows of out and of extras need not lie as one */
} prn_conv_way;

extern const prn_conv_way prn_conv_depthwise, prn_conv_product, prn_conv_direct,
    prn_conv_srt, prn_conv_blocks, prn_conv_rows4, prn_conv_srt_bytes,
    prn_conv_blocks_bytes, prn_conv_winograd;

/* ---- sizes ---- */

/* Sizes that are constants. One spatial dimension is a height of 1. */
typedef struct prn_conv_shape {
  int64_t h, w, out_h, out_w;
  int64_t kernel_h, kernel_w, stride_h, stride_w, dilation_h, dilation_w;
  int64_t pad_h, pad_w;
  int64_t groups, cg, o; /* o: of all groups */
} prn_conv_shape;

/* False when one is not, or there are more than two spatial dimensions. */
bool prn_conv_shape_of(const prn_op *op, prn_conv_shape *s);

static inline const prn_type *prn_conv_type(const prn_op *op, unsigned i) {
  return prn_op_operand(op, i)->type;
}
/* Dimensions [begin, rank) of t lie as one dense row of stride `unit`. */
bool prn_conv_dense_from(prn_ctx *ctx, const prn_type *t, int32_t begin,
                         prn_dim unit);
/* The spatial dimensions are one row of some stride, maybe 0; that stride. */
bool prn_conv_one_row(prn_ctx *ctx, const prn_type *t);
prn_v prn_conv_row_stride(const prn_kernel *k, unsigned operand);
/* Neighbours along the width are side by side. */
bool prn_conv_unit_width(const prn_type *t);
/* x and the sums are f32, and so is w unless it is packed. */
bool prn_conv_is_f32(const prn_op *op);
/* Sums can be kept where the result goes, before they are finished. */
bool prn_conv_sums_in_place(const prn_op *op);
/* Taps of the window; 0 when they are not constants. */
int64_t prn_conv_taps(const prn_op *op);

/* ---- unfolding (conv_unfold.c) ---- */

enum { PRN_CONV_VECTORS = 8 };

/* A block of output pixels: p0 and the next width - 1. Elements are x's. */
typedef struct prn_conv_columns {
  int64_t width; /* a multiple of the vector, at most 8 of them */
  prn_v p0;
  prn_t elem;
  int64_t fill; /* what padding is */
  bool by_masks;
  unsigned lanes; /* of the vectors that are masked */
  prn_conv_shape shape;
  prn_v masks; /* [taps][vectors], 8 bytes each */
} prn_conv_columns;

/* Bytes of scratch memory it needs. */
size_t prn_conv_columns_bytes(const prn_target *t, const prn_op *op,
                              int64_t width);
prn_conv_columns prn_conv_columns_begin(prn_conv *c, int64_t width, prn_v p0,
                                        prn_v scratch);
/* Emits panel[num * taps][width] = what the windows of the first `cols` pixels
 * see of channels [c0, c0 + num) of c's image and group; cols > 0. Pixels
 * beyond them, up to a whole vector, are there, too. */
void prn_conv_unfold(prn_conv *c, const prn_conv_columns *u, prn_v panel,
                     prn_v c0, prn_v num, prn_v cols);

/* ---- results ---- */

/* Sets base: image n, input channel ci, output channel co. */
void prn_conv_locate(prn_conv *c, prn_v n, prn_v ci, prn_v co);

typedef struct prn_conv_finish {
  prn_conv *c;
  prn_v row[PRN_KERNEL_MAX]; /* addresses of out and extras */
} prn_conv_finish;

/* Output channel o (from base on), from pixel p on. */
void prn_conv_locate_row(prn_conv_finish *f, prn_v o, prn_v p);
/* out = body(sum, extras), `lanes` pixels from i on. */
void prn_conv_finish_with(prn_cg *g, prn_conv_finish *f, prn_v sum, prn_v i,
                          unsigned lanes, prn_v mask);
/* The same for vectors of neighbouring pixels from p on, the last one masked.
 */
void prn_conv_finish_row(prn_conv *c, prn_v o, prn_v p, const prn_v *sums,
                         unsigned vectors, prn_v mask);
/* The same for a block of sums[rows][pitch], which may be where the result
 * goes. */
void prn_conv_finish_block(prn_conv *c, prn_v o0, prn_v rows, prn_v p0,
                           prn_v cols, prn_v sums, prn_v pitch);

#endif
