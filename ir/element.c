/* Single elements of packed tensors: bits, nearest value, text. */
#include <float.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ir/tensor.h"

enum { WHOLE = 10000000 /* whole numbers below are printed as such */ };

uint64_t prn_element_bits(prn_dtype t, const void *data, int64_t index) {
  const unsigned char *p = data;
  uint32_t bits = prn_dtype_bits(t);
  uint64_t v = 0;
  if (bits < 8) {
    int64_t at = index * (int64_t)bits;
    uint32_t low = p[at >> 3];
    if ((at & 7) + bits > 8) low |= (uint32_t)p[(at >> 3) + 1] << 8;
    return low >> (at & 7) & ((1u << bits) - 1);
  }
  memcpy(&v, p + (size_t)index * (bits / 8), bits < 64 ? bits / 8 : 8);
  return v;
}

void prn_element_set_bits(prn_dtype t, void *data, int64_t index,
                          uint64_t value) {
  unsigned char *p = data;
  uint32_t bits = prn_dtype_bits(t);
  if (bits < 8) {
    int64_t at = index * (int64_t)bits;
    unsigned mask = ((1u << bits) - 1) << (at & 7);
    unsigned put = ((unsigned)value << (at & 7)) & mask;
    p += at >> 3;
    p[0] = (unsigned char)((p[0] & ~mask) | put);
    if (mask > 0xff) p[1] = (unsigned char)((p[1] & ~(mask >> 8)) | put >> 8);
    return;
  }
  memcpy(p + (size_t)index * (bits / 8), &value, bits < 64 ? bits / 8 : 8);
}

typedef prn_float_format format;

bool prn_element_format(prn_dtype t, prn_float_format *out) {
  switch (t) {
  case PRN_F16:
    *out = (format){5, 10, 15, 0x7bff, 0x7c00, 0x7e00, false};
    return true;
  case PRN_BF16:
    *out = (format){8, 7, 127, 0x7f7f, 0x7f80, 0x7fc0, false};
    return true;
  case PRN_F8E4M3FN:
    *out = (format){4, 3, 7, 0x7e, 0x7f, 0x7f, false};
    return true;
  case PRN_F8E5M2:
    *out = (format){5, 2, 15, 0x7b, 0x7c, 0x7e, false};
    return true;
  case PRN_F8E4M3FNUZ:
    *out = (format){4, 3, 8, 0x7f, 0x80, 0x80, true};
    return true;
  case PRN_F8E5M2FNUZ:
    *out = (format){5, 2, 16, 0x7f, 0x80, 0x80, true};
    return true;
  case PRN_F4E2M1:
    *out = (format){2, 1, 1, 0x7, 0x7, 0, false};
    return true;
  case PRN_F6E2M3:
    *out = (format){2, 3, 1, 0x1f, 0x1f, 0, false};
    return true;
  case PRN_F6E3M2:
    *out = (format){3, 2, 3, 0x1f, 0x1f, 0, false};
    return true;
  default:
    return false;
  }
}

/* Nearest, ties to even. */
static uint64_t encode(const format *f, double v) {
  uint64_t sign = signbit(v) ? UINT64_C(1) << (f->e + f->m) : 0;
  double a = fabs(v);
  int exp = 0;
  if (isnan(v)) return f->unsigned_zero ? f->nan : sign | f->nan;
  if (isinf(v)) return f->beyond == f->nan ? f->nan : sign | f->beyond;
  (void)frexp(a, &exp); /* a < 2^exp */
  int low = 1 - f->bias;
  exp = a == 0 || exp - 1 < low ? low : exp - 1;
  uint64_t q = (uint64_t)nearbyint(ldexp(a, f->m - exp));
  /* A mantissa that rounded up carries into the exponent by itself. */
  uint64_t hidden = UINT64_C(1) << f->m;
  uint64_t bits =
      q < hidden ? q : ((uint64_t)(exp + f->bias) << f->m) + (q - hidden);
  if (bits > f->largest) return f->unsigned_zero ? f->beyond : sign | f->beyond;
  if (bits == 0 && f->unsigned_zero) return 0;
  return sign | bits;
}

static uint64_t encode_e8m0(double v) {
  int exp = 0;
  if (!(v > 0) || isinf(v)) return 255;
  double frac = frexp(v, &exp); /* v = frac * 2^exp, frac in [0.5, 1) */
  exp += frac >= 0.75 ? 0 : -1;
  return exp < -127 ? 0 : exp > 127 ? 255 : (uint64_t)(exp + 127);
}

static bool int_range(prn_dtype t, double *lo, double *hi) {
  int bits = (int)prn_dtype_bits(t);
  bool is_unsigned = t == PRN_U2 || t == PRN_U4 || t == PRN_U8 ||
                     t == PRN_U16 || t == PRN_U32 || t == PRN_U64;
  if (!prn_dtype_is_int(t)) return false;
  *lo = is_unsigned ? 0 : -ldexp(1, bits - 1);
  *hi = ldexp(1, is_unsigned ? bits : bits - 1); /* exclusive */
  return true;
}

bool prn_element_from_f64(prn_dtype t, double v, void *data, int64_t index) {
  format f;
  float single = (float)v;
  uint64_t bits = 0;
  double lo, hi;
  if (t == PRN_F32) {
    memcpy(&bits, &single, sizeof single);
  } else if (t == PRN_F64) {
    memcpy(&bits, &v, sizeof v);
  } else if (t == PRN_BOOL) {
    bits = v != 0;
  } else if (t == PRN_F8E8M0) {
    bits = encode_e8m0(v);
  } else if (prn_element_format(t, &f)) {
    bits = encode(&f, v);
  } else if (int_range(t, &lo, &hi)) {
    double r = nearbyint(v);
    if (!(r >= lo && r < hi)) return false;
    bits = r < 0 ? (uint64_t)(int64_t)r : (uint64_t)r;
  } else {
    return false;
  }
  prn_element_set_bits(t, data, index, bits);
  return true;
}

/* ---- text ---- */

static void print_decimal(prn_strbuf *b, const char *text) {
  prn_strbuf_cstr(b, text);
  if (!strpbrk(text, ".ein")) prn_strbuf_cstr(b, ".0");
}

/* The shortest decimal of v that reads back as the same bits of type t; false
 * when none does (a NaN with a payload). */
static bool print_shortest(prn_strbuf *b, prn_dtype t, double v,
                           uint64_t bits) {
  char text[40];
  unsigned char again[16] = {0};
  bool denormal = fabs(v) < (t == PRN_F64 ? DBL_MIN : (double)FLT_MIN);
  int first = denormal ? 1 : t == PRN_F64 ? 15 : t == PRN_F32 ? 6 : 1;
  if (fabs(v) < WHOLE && v == nearbyint(v)) { /* 65504.0, not 6.55e+04 */
    prn_strbuf_fmt(b, "%.1f", v);
    return true;
  }
  for (int digits = first; digits <= 17; digits++) {
    (void)snprintf(text, sizeof text, "%.*g", digits, v);
    double back =
        t == PRN_F32 ? (double)strtof(text, NULL) : strtod(text, NULL);
    if (prn_element_from_f64(t, back, again, 0) &&
        prn_element_bits(t, again, 0) == bits) {
      print_decimal(b, text);
      return true;
    }
  }
  return false;
}

static void print_float(prn_strbuf *b, prn_dtype t, const void *data,
                        int64_t index) {
  uint64_t bits = prn_element_bits(t, data, index);
  double v = prn_element_to_f64(t, data, index);
  if (!print_shortest(b, t, v, bits))
    prn_strbuf_fmt(b, "0x%0*llx", (int)(prn_dtype_bits(t) + 3) / 4,
                   (unsigned long long)bits);
}

void prn_element_print(prn_strbuf *b, prn_dtype t, const void *data,
                       int64_t index) {
  uint64_t bits = prn_element_bits(t, data, index);
  int64_t v;
  const char *p = data;
  switch (t) {
  case PRN_BOOL:
    if (bits > 1)
      prn_strbuf_fmt(b, "0x%02x", (unsigned)bits);
    else
      prn_strbuf_cstr(b, bits ? "true" : "false");
    return;
  case PRN_C64:
  case PRN_C128:
    prn_strbuf_char(b, '(');
    for (int i = 0; i < 2; i++) {
      if (i) prn_strbuf_cstr(b, ", ");
      print_float(b, t == PRN_C64 ? PRN_F32 : PRN_F64,
                  p + (size_t)index * (t == PRN_C64 ? 8 : 16), i);
    }
    prn_strbuf_char(b, ')');
    return;
  case PRN_U64:
    prn_strbuf_fmt(b, "%llu", (unsigned long long)bits);
    return;
  default:
    if (prn_dtype_is_float(t)) {
      print_float(b, t, data, index);
      return;
    }
    v = prn_element_to_i64(t, data, index);
    prn_strbuf_fmt(b, "%lld", (long long)v);
  }
}
