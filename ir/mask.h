/* Masks: which elements of a constant stay.
 *
 * A mask is one bit per element, least significant bit first, 1 = keep; bits
 * past the last element are 0. Pruning makes a mask and attaches it; the
 * weights themselves are shared, never copied. Masks only ever lose bits:
 * attaching one combines it with the mask that is there. */
#ifndef PRN_IR_MASK_H
#define PRN_IR_MASK_H

#include "ir/op.h"

/* A mask under construction: bits may be written until it is attached. */
typedef struct prn_mask {
  const prn_blob *blob;
  unsigned char *bits;
  int64_t count;
} prn_mask;

/* A mask that keeps everything or nothing. Reports and fails when there is no
 * room for it. */
PRN_NODISCARD prn_status prn_mask_create(prn_ctx *ctx, int64_t count, bool keep,
                                         prn_mask *out);
/* Bits [at, at+n) become the n bytes of keep, each 0 or 1. */
void prn_mask_put(prn_mask *m, int64_t at, int64_t n,
                  const unsigned char *keep);
/* Bits [at, at+n) become `keep`. */
void prn_mask_fill(prn_mask *m, int64_t at, int64_t n, bool keep);
/* Attaches m to a constant (PRN_CONSTANT with a tensor), combined with the
 * mask that is there. A claim about n:m stays, for it cannot become false; one
 * about blocks becomes one about zeros. */
void prn_mask_attach(prn_op *constant, const prn_mask *m);

/* Sets the claim of a constant: of its tensor and of its result's type. The
 * caller has made it true. */
void prn_constant_claim(prn_op *constant, prn_sparsity s);

/* ---- bitmaps: (count+7)/8 bytes, least significant bit first ---- */

/* Number of set bits among the first count. */
int64_t prn_bits_count(const void *bits, int64_t count);
/* Bits [at, at+n), n <= 64, of a bitmap of count bits; 0 past its end. */
uint64_t prn_bits_load(const void *bits, int64_t count, int64_t at, uint32_t n);
/* Bitmap of the elements of t that are not zero, mask applied. The caller
 * frees it with prn_free; NULL when there is no room. Not for strings. */
unsigned char *prn_tensor_nonzero_bits(const prn_tensor *t);

#endif
