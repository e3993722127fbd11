/* ir/tensor.h: ranges, masks and counts. Single elements are compared with
 * numpy in test/ir/elements.test. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* cmocka.h needs the four above first */
#include <cmocka.h>

#include <math.h>
#include <string.h>

#include "ir/tensor.h"

static const prn_tensor *make(prn_ctx *ctx, prn_dtype t, int64_t n,
                              const void *data) {
  return prn_tensor_from_data(ctx, prn_type_static(ctx, t, 1, &n), data);
}

static const prn_tensor *masked(prn_ctx *ctx, const prn_tensor *t,
                                const unsigned char *bits, size_t size) {
  prn_tensor *m = prn_tensor_clone(ctx, t);
  m->mask = prn_blob_copy(ctx, bits, size);
  return m;
}

static void reading(void **state) {
  prn_ctx *ctx = prn_ctx_create();
  static const int16_t data[] = {-5, 4, 0, 300, -32768};
  static const unsigned char keep[] = {0x1d}; /* not element 1 */
  float f[3];
  double d[3];
  int64_t i[3];
  int16_t raw[3];
  (void)state;
  const prn_tensor *t = make(ctx, PRN_I16, 5, data);
  prn_tensor_read_f32(t, 2, 3, f);
  assert_true(f[0] == 0 && f[1] == 300 && f[2] == -32768);
  t = masked(ctx, t, keep, 1);
  prn_tensor_read_f64(t, 0, 3, d);
  assert_true(d[0] == -5 && d[1] == 0 && d[2] == 0);
  prn_tensor_read_i64(t, 1, 3, i);
  assert_true(i[0] == 0 && i[1] == 0 && i[2] == 300);
  prn_tensor_read_bytes(t, 0, 3, raw);
  assert_true(raw[0] == -5 && raw[1] == 0 && raw[2] == 0);
  assert_int_equal(prn_tensor_nonzeros(t), 3);
  assert_int_equal(prn_tensor_find_nonfinite(t), -1);
  assert_int_equal(data[1], 4); /* the data itself never changes */
  prn_ctx_destroy(ctx);
}

static void nibbles(void **state) {
  prn_ctx *ctx = prn_ctx_create();
  static const unsigned char data[] = {0x21, 0x43, 0xf5};
  static const unsigned char keep[] = {0x2f}; /* not element 4 */
  unsigned char raw[2];
  (void)state;
  const prn_tensor *t = masked(ctx, make(ctx, PRN_I4, 6, data), keep, 1);
  prn_tensor_read_bytes(t, 2, 4, raw);
  assert_int_equal(raw[0], 0x43);
  assert_int_equal(raw[1], 0xf0);
  int64_t v[6];
  prn_tensor_read_i64(t, 0, 6, v);
  assert_true(v[0] == 1 && v[3] == 4 && v[4] == 0 && v[5] == -1);
  assert_int_equal(prn_tensor_nonzeros(t), 5);
  prn_ctx_destroy(ctx);
}

/* What a float cannot hold is neither zero nor infinite for that. */
static void extremes(void **state) {
  prn_ctx *ctx = prn_ctx_create();
  const double data[] = {1e300, 1e-300, -0.0, 1};
  const double bad[] = {0, 1, -INFINITY, NAN};
  static const unsigned char keep[] = {0x0b};
  (void)state;
  const prn_tensor *t = make(ctx, PRN_F64, 4, data);
  assert_int_equal(prn_tensor_nonzeros(t), 3);
  assert_int_equal(prn_tensor_find_nonfinite(t), -1);
  t = make(ctx, PRN_F64, 4, bad);
  assert_int_equal(prn_tensor_find_nonfinite(t), 2);
  assert_int_equal(prn_tensor_nonzeros(t), 3);
  /* what the mask drops does not count */
  assert_int_equal(prn_tensor_find_nonfinite(masked(ctx, t, keep, 1)), 3);
  prn_ctx_destroy(ctx);
}

static void many(void **state) {
  enum { N = 10000 };
  static float data[N];
  static unsigned char keep[(N + 7) / 8];
  prn_ctx *ctx = prn_ctx_create();
  (void)state;
  for (int i = 0; i < N; i++)
    data[i] = (float)(i % 3);
  memset(keep, 0x55, sizeof keep); /* even elements */
  const prn_tensor *t = make(ctx, PRN_F32, N, data);
  assert_int_equal(prn_tensor_nonzeros(t), 6666);
  assert_int_equal(prn_tensor_nonzeros(masked(ctx, t, keep, sizeof keep)),
                   3333);
  data[N - 1] = INFINITY;
  assert_int_equal(prn_tensor_find_nonfinite(make(ctx, PRN_F32, N, data)),
                   N - 1);
  prn_ctx_destroy(ctx);
}

static void storing(void **state) {
  unsigned char data[4] = {0xff, 0xff, 0xff, 0xff};
  (void)state;
  prn_element_set_bits(PRN_U4, data, 1, 0);
  prn_element_set_bits(PRN_U2, data, 5, 1);
  assert_int_equal(data[0], 0x0f);
  assert_int_equal(data[1], 0xf7);
  assert_int_equal(prn_element_bits(PRN_U2, data, 5), 1);
  assert_true(prn_element_from_f64(PRN_I8, -128.4, data, 0));
  assert_int_equal(prn_element_to_i64(PRN_I8, data, 0), -128);
  assert_false(prn_element_from_f64(PRN_I8, -129, data, 0));
  assert_false(prn_element_from_f64(PRN_U8, 256, data, 0));
  assert_false(prn_element_from_f64(PRN_U8, NAN, data, 0));
  assert_false(prn_element_from_f64(PRN_STRING, 0, data, 0));
  assert_true(prn_element_from_f64(PRN_BOOL, 0.5, data, 0));
  assert_int_equal(data[0], 1);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(reading),  cmocka_unit_test(nibbles),
      cmocka_unit_test(extremes), cmocka_unit_test(many),
      cmocka_unit_test(storing),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
