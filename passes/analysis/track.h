/* Tracks: where the heads of an attention lie in a value, followed from
 * operator to operator by shapes alone.
 *
 * The number of a head is a product of digits. A digit sits on an axis of the
 * value, its neighbours `inner` indices apart, or on no axis when the value is
 * the same for all its values (grouped queries). Reshape splits and moves
 * digits, Transpose permutes their axes, Split and Slice cut windows. */
#ifndef PRN_PASSES_ANALYSIS_TRACK_H
#define PRN_PASSES_ANALYSIS_TRACK_H

#include "ir/op.h"

enum { PRN_TRACK_DIGITS = 6, PRN_TRACK_WINDOWS = 4 };

/* Index i of the axis belongs to heads h with h / weight % size equal to
 * (i - off) / inner % size. */
typedef struct prn_digit {
  int64_t size, weight;
  int32_t axis; /* -1: every index belongs to every value */
  int64_t inner, off;
  int32_t start_axis; /* where the digit was when tracking began */
  int64_t start_inner;
} prn_digit;

/* Only indices i with i / inner % size in [lo, lo+len) belong at all. */
typedef struct prn_window {
  int32_t axis;
  int64_t inner, size, lo, len;
} prn_window;

typedef struct prn_track {
  prn_digit digits[PRN_TRACK_DIGITS];
  prn_window windows[PRN_TRACK_WINDOWS];
  uint32_t num_digits, num_windows;
} prn_track;

/* The track of operand `slot` from that of result `result`; false when op does
 * not pass heads on to that operand, or not in a way a track can say. */
PRN_NODISCARD bool prn_track_back(prn_ctx *ctx, const prn_op *op,
                                  uint32_t result, uint32_t slot,
                                  const prn_track *in, prn_track *out);
/* The track of result 0 from that of operand `slot`. */
PRN_NODISCARD bool prn_track_forward(prn_ctx *ctx, const prn_op *op,
                                     uint32_t slot, const prn_track *in,
                                     prn_track *out);

/* ---- products: MatMul, FusedMatMul, Gemm, Einsum of two operands ---- */

bool prn_is_product(const prn_op *op);
enum { PRN_AXIS_NONE = -1, PRN_AXIS_UNKNOWN = -2 };
/* The axis of operand `slot` that result axis `axis` runs over; NONE when the
 * operand does not have it or broadcasts it. */
int32_t prn_product_axis(const prn_op *op, uint32_t slot, int32_t axis);
/* The axis of operand 1-slot that is summed with axis `axis` of operand
 * `slot`; NONE when that axis is not summed over. */
int32_t prn_product_partner(const prn_op *op, uint32_t slot, int32_t axis);
/* The track of operand `slot` of a product from that of its result. */
PRN_NODISCARD bool prn_track_product(const prn_op *op, uint32_t slot,
                                     const prn_track *in, prn_track *out);

/* Whether index i of axis `axis` belongs to head h. */
bool prn_track_has(const prn_track *t, int32_t axis, int64_t i, int64_t h);

#endif
