#include "ir/tensor.h"

#include <assert.h>
#include <math.h>
#include <string.h>

enum { CHUNK = 4096 };

prn_tensor *prn_tensor_clone(prn_ctx *ctx, const prn_tensor *t) {
  return prn_arena_copy(prn_ctx_arena(ctx), t, sizeof *t);
}

const prn_tensor *prn_tensor_from_data(prn_ctx *ctx, const prn_type *type,
                                       const void *data) {
  int64_t count = 0;
  size_t bytes = 0;
  bool ok = prn_type_count(type, &count) &&
            prn_dtype_bytes(type->dtype, count, &bytes);
  assert(ok);
  (void)ok;
  prn_tensor t = {.type = type, .data = prn_blob_copy(ctx, data, bytes)};
  return prn_tensor_clone(ctx, &t);
}

const prn_tensor *prn_tensor_from_f32(prn_ctx *ctx, const prn_type *type,
                                      const float *v) {
  prn_tensor t = {.type = type};
  int64_t n = prn_tensor_count(&t);
  size_t bytes = 0;
  assert(prn_dtype_is_float(type->dtype));
  if (type->dtype == PRN_F32) return prn_tensor_from_data(ctx, type, v);
  bool ok = prn_dtype_bytes(type->dtype, n, &bytes);
  void *data = prn_alloc(bytes ? bytes : 1);
  for (int64_t i = 0; i < n; i++)
    ok = ok && prn_element_from_f64(type->dtype, (double)v[i], data, i);
  assert(ok);
  t.data = prn_blob_take(ctx, data, bytes);
  return prn_tensor_clone(ctx, &t);
}

int64_t prn_tensor_count(const prn_tensor *t) {
  int64_t n = 0;
  bool ok = prn_type_count(t->type, &n);
  assert(ok);
  (void)ok;
  return n;
}

/* Value of a small float with e exponent and m mantissa bits. `special` says
 * how the largest exponent is used: 0 as IEEE, 1 only all-ones mantissa is NaN
 * (FN), 2 never (FNUZ: 0x80 is NaN, bias one larger; and E2M1). */
static double small_float(uint32_t bits, int e, int m, int special,
                          int bias_extra) {
  uint32_t sign = bits >> (e + m) & 1;
  uint32_t exp = bits >> m & ((1u << e) - 1), man = bits & ((1u << m) - 1);
  int bias = (1 << (e - 1)) - 1 + bias_extra;
  uint32_t top = (1u << e) - 1;
  double v;
  if (special == 0 && exp == top)
    v = man ? NAN : INFINITY;
  else if (special == 1 && exp == top && man == (1u << m) - 1)
    v = NAN;
  else if (bias_extra && sign && exp == 0 && man == 0)
    return NAN;
  else if (exp == 0)
    v = ldexp((double)man, 1 - bias - m);
  else
    v = ldexp((double)(man | 1u << m), (int)exp - bias - m);
  return sign ? -v : v;
}

static int64_t sign_extend(uint32_t v, uint32_t bits) {
  uint32_t top = 1u << (bits - 1);
  return (int64_t)(v ^ top) - (int64_t)top;
}

int64_t prn_element_to_i64(prn_dtype t, const void *data, int64_t i) {
  uint64_t v = prn_element_bits(t, data, i);
  switch (t) {
  case PRN_I2:
    return sign_extend((uint32_t)v, 2);
  case PRN_I4:
    return sign_extend((uint32_t)v, 4);
  case PRN_I8:
    return (int8_t)v;
  case PRN_I16:
    return (int16_t)v;
  case PRN_I32:
    return (int32_t)v;
  case PRN_BOOL:
    return v != 0;
  default:
    return (int64_t)v;
  }
}

double prn_element_to_f64(prn_dtype t, const void *data, int64_t i) {
  uint64_t bits = prn_element_bits(t, data, i);
  uint32_t low = (uint32_t)bits;
  float f;
  double d;
  switch (t) {
  case PRN_F32:
    memcpy(&f, &low, 4);
    return (double)f;
  case PRN_F64:
    memcpy(&d, &bits, 8);
    return d;
  case PRN_BF16:
    low <<= 16;
    memcpy(&f, &low, 4);
    return (double)f;
  case PRN_F16:
    return small_float(low, 5, 10, 0, 0);
  case PRN_F8E4M3FN:
    return small_float(low, 4, 3, 1, 0);
  case PRN_F8E5M2:
    return small_float(low, 5, 2, 0, 0);
  case PRN_F8E4M3FNUZ:
    return small_float(low, 4, 3, 2, 1);
  case PRN_F8E5M2FNUZ:
    return small_float(low, 5, 2, 2, 1);
  case PRN_F4E2M1:
    return small_float(low, 2, 1, 2, 0);
  case PRN_F6E2M3:
    return small_float(low, 2, 3, 2, 0);
  case PRN_F6E3M2:
    return small_float(low, 3, 2, 2, 0);
  case PRN_F8E8M0:
    return low == 255 ? (double)NAN : ldexp(1.0, (int)low - 127);
  case PRN_U64:
    return (double)bits;
  default:
    return (double)prn_element_to_i64(t, data, i);
  }
}

static bool dropped(const prn_tensor *t, int64_t i) {
  return t->mask && !prn_mask_keeps(t->mask->data, i);
}

/* Clears the words of out whose mask bit is 0: eight words for a byte. */
static void drop_words(void *out, const unsigned char *mask, int64_t bytes) {
  static const uint32_t bit[] = {1, 2, 4, 8, 16, 32, 64, 128};
  char *p = out;
  for (int64_t i = 0; i < bytes; i++, p += 32) {
    uint32_t word[8], keep = mask[i];
    memcpy(word, p, sizeof word);
    for (int k = 0; k < 8; k++)
      word[k] &= (keep & bit[k]) ? 0xffffffffu : 0;
    memcpy(p, word, sizeof word);
  }
}

/* Clears element i of the packed array out. */
static void clear(void *out, int64_t i, uint32_t bits) {
  int64_t at = i * (int64_t)bits;
  unsigned char *p = (unsigned char *)out + (at >> 3);
  if (bits >= 8) {
    memset(p, 0, bits / 8);
    return;
  }
  unsigned mask = ((1u << bits) - 1) << (at & 7);
  p[0] = (unsigned char)(p[0] & ~mask);
  if (mask > 0xff) p[1] = (unsigned char)(p[1] & ~(mask >> 8));
}

/* Clears the elements of out, which are those from `at` on, that the mask
 * drops. */
static void drop(const prn_tensor *t, int64_t at, int64_t n, uint32_t bits,
                 void *out) {
  int64_t i = 0;
  if (!t->mask) return;
  if (bits == 32) {
    for (; i < n && (at + i) & 7; i++)
      if (dropped(t, at + i)) clear(out, i, bits);
    int64_t bytes = (n - i) / 8;
    drop_words((char *)out + i * 4,
               (const unsigned char *)t->mask->data + (at + i) / 8, bytes);
    i += bytes * 8;
  }
  for (; i < n; i++)
    if (dropped(t, at + i)) clear(out, i, bits);
}

/* The common types, a loop for each that compilers vectorise. */
static bool read_common(const prn_tensor *t, int64_t at, int64_t n,
                        float *out) {
  const char *p = t->data->data;
  if (n <= 0) return true;
  switch (t->type->dtype) {
  case PRN_F32:
    memcpy(out, p + (size_t)at * 4, (size_t)n * 4);
    return true;
  case PRN_I8:
    for (int64_t i = 0; i < n; i++)
      out[i] = (float)((const signed char *)p)[at + i];
    return true;
  case PRN_U8:
    for (int64_t i = 0; i < n; i++)
      out[i] = (float)((const unsigned char *)p)[at + i];
    return true;
  default:
    return false;
  }
}

void prn_tensor_read_f32(const prn_tensor *t, int64_t at, int64_t n,
                         float *out) {
  const void *p = t->data->data;
  if (!read_common(t, at, n, out))
    for (int64_t i = 0; i < n; i++)
      out[i] = (float)prn_element_to_f64(t->type->dtype, p, at + i);
  drop(t, at, n, 32, out);
}

void prn_tensor_read_f64(const prn_tensor *t, int64_t at, int64_t n,
                         double *out) {
  for (int64_t i = 0; i < n; i++)
    out[i] = dropped(t, at + i)
                 ? 0
                 : prn_element_to_f64(t->type->dtype, t->data->data, at + i);
}

void prn_tensor_read_i64(const prn_tensor *t, int64_t at, int64_t n,
                         int64_t *out) {
  prn_dtype dt = t->type->dtype;
  bool is_int = prn_dtype_is_int(dt) || dt == PRN_BOOL;
  for (int64_t i = 0; i < n; i++) {
    if (dropped(t, at + i))
      out[i] = 0;
    else if (is_int)
      out[i] = prn_element_to_i64(dt, t->data->data, at + i);
    else
      out[i] = (int64_t)prn_element_to_f64(dt, t->data->data, at + i);
  }
}

void prn_tensor_read_bytes(const prn_tensor *t, int64_t at, int64_t n,
                           void *out) {
  uint32_t bits = prn_dtype_bits(t->type->dtype);
  size_t size = 0;
  if (!prn_dtype_bytes(t->type->dtype, n, &size) || size == 0) return;
  memcpy(out, (const char *)t->data->data + (size_t)(at * bits / 8), size);
  drop(t, at, n, bits, out);
}

/* Elements as floats that are zero or not finite exactly when the elements
 * are: doubles may underflow or overflow on the way. */
static void read_class(const prn_tensor *t, int64_t at, int64_t n, float *out) {
  prn_tensor_read_f32(t, at, n, out);
  if (t->type->dtype != PRN_F64) return;
  for (int64_t i = 0; i < n; i++) {
    double v = prn_element_to_f64(PRN_F64, t->data->data, at + i);
    if (!dropped(t, at + i)) out[i] = isfinite(v) ? v != 0 : (float)v;
  }
}

int64_t prn_tensor_nonzeros(const prn_tensor *t) {
  float buf[CHUNK];
  int64_t count = prn_tensor_count(t), nonzero = 0;
  for (int64_t at = 0; at < count; at += CHUNK) {
    int64_t n = count - at < CHUNK ? count - at : CHUNK;
    read_class(t, at, n, buf);
    for (int64_t i = 0; i < n; i++)
      nonzero += !(buf[i] == 0);
  }
  return nonzero;
}

int64_t prn_tensor_find_nonfinite(const prn_tensor *t) {
  float buf[CHUNK];
  int64_t count = prn_tensor_count(t);
  if (!prn_dtype_is_float(t->type->dtype)) return -1;
  for (int64_t at = 0; at < count; at += CHUNK) {
    int64_t n = count - at < CHUNK ? count - at : CHUNK;
    read_class(t, at, n, buf);
    for (int64_t i = 0; i < n; i++)
      if (!isfinite(buf[i])) return at + i;
  }
  return -1;
}
