/* onnx -> nn: conversions between element types.
 *
 * nn.cast to a float of one byte rounds to the nearest, and what is too large
 * becomes what the format has for it; ONNX clips first, unless told not to. */
#include "ir/tensor.h"
#include "passes/lower/onnx_to_nn.h"

/* Powers of two that bits of f32 can be rounded to. */
enum { MANTISSA = 0x7fffff };

/* f8E8M0 holds powers of two: up, down or to the nearest. */
static prn_value *to_power(prn_o2n *e, prn_value *x, prn_str mode) {
  if (prn_str_is(mode, "nearest")) return prn_nn_cast(&e->b, x, PRN_F8E8M0);
  prn_value *tiny = prn_nn_scalar(&e->b, PRN_F32, 0x1p-127);
  prn_value *small = prn_nn_binary(&e->b, PRN_SCALAR_le, x, tiny);
  prn_value *bits = prn_nn_bitcast(&e->b, x, PRN_I32);
  if (prn_str_is(mode, "up"))
    bits = prn_nn_with(&e->b, PRN_SCALAR_add, bits, MANTISSA);
  bits = prn_nn_with(&e->b, PRN_SCALAR_bitand, bits, ~MANTISSA);
  x = prn_nn_bitcast(&e->b, bits, PRN_F32);
  x = prn_nn_select(&e->b, small, tiny, x);
  return prn_nn_cast(&e->b, x, PRN_F8E8M0);
}

/* x within what the type can hold; NaN stays. */
static prn_value *clip(prn_o2n *e, prn_value *x, prn_dtype to) {
  prn_float_format f = {.largest = 0xfe}; /* f8E8M0 */
  (void)prn_element_format(to, &f);
  const unsigned char code = (unsigned char)f.largest;
  double most = prn_element_to_f64(to, &code, 0);
  prn_value *hi = prn_nn_scalar(&e->b, PRN_F32, most);
  prn_value *lo = prn_nn_scalar(&e->b, PRN_F32, -most);
  x = prn_nn_select(&e->b, prn_nn_binary(&e->b, PRN_SCALAR_gt, x, hi), hi, x);
  return prn_nn_select(&e->b, prn_nn_binary(&e->b, PRN_SCALAR_lt, x, lo), lo,
                       x);
}

static bool is_small_float(prn_dtype t) {
  return prn_dtype_is_float(t) && prn_dtype_bits(t) <= 8;
}

prn_value *prn_o2n_cast(prn_o2n *e, const prn_op *op, prn_value *x,
                        prn_dtype to) {
  /* ONNX's reference cuts bits off; nn.cast of a float would saturate. */
  if (prn_dtype_bits(to) < 8 && prn_dtype_is_int(to))
    x = prn_nn_cast(&e->b, x, PRN_I32);
  if (!is_small_float(to) || x->type->dtype == to)
    return prn_nn_cast(&e->b, x, to);
  x = prn_nn_cast(&e->b, x, PRN_F32);
  if (prn_op_int(op, "saturate", 1)) x = clip(e, x, to);
  if (to == PRN_F8E8M0)
    return to_power(e, x, prn_op_string(op, "round_mode", "up"));
  return prn_nn_cast(&e->b, x, to);
}

/* Cast and CastLike: the result type says to what. */
static prn_status lower_cast(prn_o2n *e, prn_op *op) {
  prn_value *x = prn_o2n_in(e, op, 0);
  prn_dtype to = op->results[0].type->dtype;
  if (x->type->dtype == PRN_STRING)
    return prn_o2n_unsupported(op, "a cast from strings");
  return prn_o2n_set(e, op, 0, prn_o2n_cast(e, op, x, to));
}

static prn_status lower_bitcast(prn_o2n *e, prn_op *op) {
  prn_value *x = prn_o2n_in(e, op, 0);
  prn_dtype to = op->results[0].type->dtype, from = x->type->dtype;
  if (prn_dtype_bits(to) < 8 || prn_dtype_bits(to) != prn_dtype_bits(from))
    return prn_o2n_unsupported(op, "%s as %s", prn_dtype_name(from),
                               prn_dtype_name(to));
  return prn_o2n_set(e, op, 0, prn_nn_bitcast(&e->b, x, to));
}

const prn_o2n_row prn_o2n_conversion[] = {
    {"Cast", lower_cast, 0, 0},
    {"CastLike", lower_cast, 2, 0},
    {"BitCast", lower_bitcast, 0, 0},
    {NULL, NULL, 0, 0},
};
