/* 3x3 convolutions of stride 1 by minimal filtering: what the files of this
 * way share. ir/pack/winograd.h has the arithmetic.
 *
 * Vectors run along tiles. Tiles that lie side by side in an image form a
 * strip, as wide as a vector of pixels or, for narrow images, a part of it;
 * strips of any rows and images fill a vector of tiles. A block is a rectangle
 * of strips: rows of tiles, counted through all images, by strips of each.
 * An item computes a range of output channels of a block:
 *
 *   - all channels of x are transformed into scratch memory, a matrix
 *     [channels][tiles of the block] for each element of a tile (unless the
 *     item before, in the same call, has done that)
 *   - panel by panel of output channels: for each element the product with its
 *     matrix of weights; then the results are transformed back, finished and
 *     stored, while they are in the nearest caches.
 *
 * What fills a block past the last strip repeats strips that are there, so
 * that nothing depends on how much of a block is used. */
#ifndef PRN_BACKENDS_LLVM_CONV_WINOGRAD_H
#define PRN_BACKENDS_LLVM_CONV_WINOGRAD_H

#include "backends/llvm/conv.h"
#include "ir/pack/winograd.h"

enum {
  PRN_WINOGRAD_POINTS = PRN_WINOGRAD_SIDE * PRN_WINOGRAD_SIDE,
  PRN_WINOGRAD_TILE = PRN_WINOGRAD_SIDE - 2,
  PRN_WINOGRAD_STRIPS = 16, /* in a vector, at most */
};

typedef struct prn_winograd_plan {
  const prn_winograd *f;
  prn_conv_shape s;
  int64_t group; /* of the weights */
  int64_t lanes;
  int64_t strip;        /* pixels of a strip along the width */
  int64_t per_vector;   /* strips in a vector of tiles */
  int64_t strips, down; /* of an image: strips of a row, rows of tiles */
  int64_t rows, across; /* of a block */
  int64_t beside;       /* blocks side by side */
  int64_t vectors;      /* of tiles in a block */
  /* Output channels of the packing's panels, of one product, of an item. */
  int64_t panel, high, share;
  int64_t shares; /* items of a block */
  /* Scratch memory, in floats. */
  int64_t line;           /* a row of pixels, transformed along the height */
  int64_t x_step, m_step; /* from one element's matrix to the next */
  int64_t lines_at, x_at, m_at, size; /* zeros come first */
} prn_winograd_plan;

typedef struct prn_winograd_item {
  prn_conv *c;
  prn_cg *g;
  const prn_winograd_plan *p;
  prn_v zeros, lines, x, m; /* scratch memory */
  prn_v row, strip;         /* the block's first */
  prn_v all_rows;           /* of tiles, in all images */
} prn_winograd_item;

/* Row j of the block's tiles: its image and its number there. Rows past the
 * last one are that one. */
void prn_winograd_row(const prn_winograd_item *t, prn_v j, prn_v *image,
                      prn_v *row);
/* Strip u of vector v of the block's tiles: its row of tiles and its number
 * there. Strips past the last one are that one. */
void prn_winograd_strip(const prn_winograd_item *t, prn_v v, int64_t u,
                        prn_v *row, prn_v *strip);

/* ---- one tile in each lane (conv_winograd_tile.c) ---- */

/* out[side] = B' d: one direction. */
void prn_winograd_input(prn_cg *g, const prn_winograd *f, const prn_v *d,
                        prn_v *out);
/* out[m] = A' t. */
void prn_winograd_output(prn_cg *g, const prn_winograd *f, const prn_v *t,
                         prn_v *out);
/* m vectors of pixels, m of each tile, into the first n of m vectors of one
 * pixel of each tile; and back. */
void prn_winograd_split(prn_cg *g, const prn_v *pixels, unsigned m, unsigned n,
                        prn_v *out);
void prn_winograd_join(prn_cg *g, const prn_v *tiles, unsigned m, prn_v *out);

/* a and b, one behind the other; lanes [first, first + n) of v. */
prn_v prn_winograd_concat(prn_cg *g, prn_v a, prn_v b);
prn_v prn_winograd_lanes(prn_cg *g, prn_v v, unsigned first, unsigned n);

/* ---- parts of an item ---- */

/* Transforms all channels of the block's x (conv_winograd_in.c). */
void prn_winograd_transform(const prn_winograd_item *t);
/* Transforms back and stores output channels [o, o + n), whose products are
 * in scratch memory (conv_winograd_out.c). */
void prn_winograd_finish(const prn_winograd_item *t, prn_v o, prn_v n);

#endif
