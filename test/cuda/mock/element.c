/* Elements of 16 and 32 bits as doubles. */
#include <math.h>
#include <string.h>

#include "mock.h"

size_t mock_size(int type) { return type == MOCK_F32 ? 4 : 2; }

static double from_f16(uint16_t h) {
  int exponent = h >> 10 & 31;
  double m = h & 1023;
  double v = exponent == 31 ? (m != 0 ? (double)NAN : (double)INFINITY)
             : exponent     ? ldexp(1024 + m, exponent - 25)
                            : ldexp(m, -24);
  return h >> 15 ? -v : v;
}

/* To nearest, ties to even. */
static uint16_t to_f16(double v) {
  uint16_t sign = signbit(v) ? 0x8000 : 0;
  double a = fabs(v);
  int e;
  if (isnan(v)) return 0x7e00;
  if (a >= 65520) return (uint16_t)(sign | 0x7c00);
  (void)frexp(a, &e);
  if (a == 0 || e < -13) return (uint16_t)(sign | (int)rint(ldexp(a, 24)));
  /* A carry out of the fraction moves on to the exponent, as it should. */
  return (uint16_t)(sign |
                    (((e + 14) << 10) + (int)rint(ldexp(a, 11 - e)) - 1024));
}

double mock_load(const void *p, size_t i, int type) {
  const unsigned char *at = (const unsigned char *)p + i * mock_size(type);
  float f;
  uint16_t half;
  uint32_t bits;
  if (type == MOCK_F32) {
    memcpy(&f, at, sizeof f);
    return (double)f;
  }
  memcpy(&half, at, sizeof half);
  if (type == MOCK_F16) return from_f16(half);
  bits = (uint32_t)half << 16;
  memcpy(&f, &bits, sizeof f);
  return (double)f;
}

void mock_store(void *p, size_t i, int type, double v) {
  unsigned char *at = (unsigned char *)p + i * mock_size(type);
  float f = (float)v;
  uint32_t bits;
  uint16_t half = to_f16(v);
  if (type == MOCK_F32) {
    memcpy(at, &f, sizeof f);
    return;
  }
  if (type == MOCK_BF16) {
    memcpy(&bits, &f, sizeof bits);
    half = (uint16_t)((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
  }
  memcpy(at, &half, sizeof half);
}
