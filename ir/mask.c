#include "ir/mask.h"

#include <assert.h>
#include <string.h>

enum { CHUNK = 8192 /* elements; a multiple of 8 */ };

static size_t bytes_of(int64_t count) { return ((size_t)count + 7) / 8; }

prn_status prn_mask_create(prn_ctx *ctx, int64_t count, bool keep,
                           prn_mask *out) {
  void *data = NULL;
  *out = (prn_mask){.count = count};
  PRN_TRY(prn_blob_scratch(ctx, bytes_of(count), &out->blob, &data));
  out->bits = data;
  if (keep) prn_mask_fill(out, 0, count, true);
  return PRN_OK;
}

static void put_one(unsigned char *bits, int64_t i, bool keep) {
  unsigned char bit = (unsigned char)(1u << (i & 7));
  if (keep)
    bits[i >> 3] |= bit;
  else
    bits[i >> 3] &= (unsigned char)~bit;
}

/* Eight bytes that are 0 or 1 as the bits of one byte: the product adds byte
 * k, shifted by 7*(8-k), so that it lands on bit 56+k without a carry. */
static unsigned char pack8(const unsigned char *keep) {
  uint64_t v;
  memcpy(&v, keep, 8);
  return (unsigned char)((v * 0x0102040810204080u) >> 56);
}

void prn_mask_put(prn_mask *m, int64_t at, int64_t n,
                  const unsigned char *keep) {
  int64_t i = 0;
  assert(at >= 0 && at + n <= m->count);
  for (; i < n && (at + i) & 7; i++)
    put_one(m->bits, at + i, keep[i]);
  for (; i + 8 <= n; i += 8)
    m->bits[(at + i) >> 3] = pack8(keep + i);
  for (; i < n; i++)
    put_one(m->bits, at + i, keep[i]);
}

void prn_mask_fill(prn_mask *m, int64_t at, int64_t n, bool keep) {
  int64_t i = at, end = at + n;
  assert(at >= 0 && end <= m->count);
  for (; i < end && i & 7; i++)
    put_one(m->bits, i, keep);
  if (i + 8 <= end) {
    int64_t bytes = (end - i) / 8;
    memset(m->bits + i / 8, keep ? 0xff : 0, (size_t)bytes);
    i += bytes * 8;
  }
  for (; i < end; i++)
    put_one(m->bits, i, keep);
}

static void set_tensor(prn_op *constant, const prn_tensor *t) {
  prn_op_set_attr(constant, "value", prn_attr_tensor(constant->module->ctx, t));
}

void prn_mask_attach(prn_op *constant, const prn_mask *m) {
  const prn_tensor *old = prn_value_constant(prn_op_result(constant, 0));
  assert(old && prn_tensor_count(old) == m->count);
  prn_tensor *t = prn_tensor_clone(constant->module->ctx, old);
  if (old->mask) {
    const unsigned char *before = old->mask->data;
    for (size_t i = 0; i < bytes_of(m->count); i++)
      m->bits[i] &= before[i];
  }
  t->mask = m->blob;
  set_tensor(constant, t);
  if (t->type->sparsity.kind == PRN_SPARSE_BLOCK)
    prn_constant_claim(constant,
                       (prn_sparsity){.kind = PRN_SPARSE_UNSTRUCTURED});
}

void prn_constant_claim(prn_op *constant, prn_sparsity s) {
  prn_ctx *ctx = constant->module->ctx;
  prn_value *v = prn_op_result(constant, 0);
  prn_tensor *t = prn_tensor_clone(ctx, prn_value_constant(v));
  t->type = prn_type_with_sparsity(ctx, t->type, s);
  v->type = t->type; /* the value's may not have been inferred yet */
  set_tensor(constant, t);
}

static int popcount(uint64_t v) {
  v -= v >> 1 & 0x5555555555555555u;
  v = (v & 0x3333333333333333u) + (v >> 2 & 0x3333333333333333u);
  v = (v + (v >> 4)) & 0x0f0f0f0f0f0f0f0fu;
  return (int)((v * 0x0101010101010101u) >> 56);
}

int64_t prn_bits_count(const void *bits, int64_t count) {
  int64_t n = 0;
  for (int64_t i = 0; i < count; i += 64)
    n += popcount(prn_bits_load(bits, count, i, 64));
  return n;
}

uint64_t prn_bits_load(const void *bits, int64_t count, int64_t at,
                       uint32_t n) {
  const unsigned char *p = (const unsigned char *)bits + at / 8;
  int64_t left = (int64_t)bytes_of(count) - at / 8;
  uint32_t shift = (uint32_t)(at & 7);
  uint64_t v = 0;
  assert(at >= 0 && n <= 64);
  if (left <= 0 || n == 0) return 0;
  memcpy(&v, p, left < 8 ? (size_t)left : 8); /* little-endian hosts only */
  v >>= shift;
  if (shift && left > 8) v |= (uint64_t)p[8] << (64 - shift);
  return n < 64 ? v & (((uint64_t)1 << n) - 1) : v;
}

/* n is a multiple of 8, except at the end of the tensor. */
static void nonzero_f32(const float *v, int64_t n, unsigned char *bits) {
  for (int64_t i = 0; i < n; i += 8) {
    unsigned byte = 0;
    int64_t k = n - i < 8 ? n - i : 8;
    for (int64_t j = 0; j < k; j++)
      byte |= (unsigned)!(v[i + j] == 0) << j;
    bits[i / 8] = (unsigned char)byte;
  }
}

static void nonzero_chunk(const prn_tensor *t, int64_t at, int64_t n,
                          unsigned char *bits) {
  union {
    float f[CHUNK];
    double d[CHUNK];
  } buf;
  if (t->type->dtype == PRN_F32) {
    prn_tensor_read_f32(t, at, n, buf.f);
    nonzero_f32(buf.f, n, bits);
    return;
  }
  /* doubles: a float would lose the smallest values of a float64 */
  prn_tensor_read_f64(t, at, n, buf.d);
  memset(bits, 0, bytes_of(n));
  for (int64_t i = 0; i < n; i++)
    bits[i / 8] |= (unsigned char)(!(buf.d[i] == 0) << (i % 8));
}

unsigned char *prn_tensor_nonzero_bits(const prn_tensor *t) {
  int64_t count = prn_tensor_count(t);
  size_t bytes = bytes_of(count);
  unsigned char *bits = prn_try_alloc(bytes ? bytes : 1);
  const unsigned char *mask = t->mask ? t->mask->data : NULL;
  prn_tensor plain = *t;
  plain.mask = NULL;
  if (!bits) return NULL;
  for (int64_t at = 0; at < count; at += CHUNK)
    nonzero_chunk(&plain, at, count - at < CHUNK ? count - at : CHUNK,
                  bits + at / 8);
  for (size_t i = 0; mask && i < bytes; i++)
    bits[i] &= mask[i];
  return bits;
}
