/* What cuDNN says to descriptors that are right and wrong, none of which needs
 * a device: the mock by default, or the library that PRUNE_CUDNN names, which
 * is how the mock is held against it (9.19: all the same). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <dlfcn.h>
#include <stdlib.h>
#include <string.h>

#include "backends/cuda/host/prune_cuda_impl.h"
#include "test/cuda/mock/mock.h"

enum { NOT_INITIALIZED = 1001, INVALID = 2000, IS_NULL = 2002, WRONG = 2010 };

static pcu_cudnn dnn;
static bool real;

static int open_library(void **state) {
  const char *path = getenv("PRUNE_CUDNN");
  void *library = dlopen(path ? path : "libcudnn.so.9", RTLD_NOW | RTLD_LOCAL);
  (void)state;
  real = path != NULL;
  if (!library) return -1;
#define OPEN(field, symbol, arguments) \
  do {                                 \
    void *f = dlsym(library, symbol);  \
    if (!f) return -1;                 \
    memcpy(&dnn.field, &f, sizeof f);  \
  } while (0);
  PCU_CUDNN(OPEN)
#undef OPEN
  return 0;
}

/* Rules that were broken since: the mock says them, too. */
static void assert_mistakes(long wanted) {
  static long before;
  if (!real) assert_int_equal(mock_count().mistakes - before, wanted);
  before = mock_count().mistakes;
}

static void *make(int kind) {
  void *d = NULL;
  assert_int_equal(dnn.desc(kind, &d), 0);
  return d;
}

static int set_ints(void *d, int name, int64_t n, const int64_t *v) {
  return dnn.set(d, name, PCU_DNN_IS_INT64, n, v);
}

typedef struct shape {
  int64_t dims[4], align;
} shape;

static void *describe_tensor(int64_t id, const shape *s) {
  int type = PCU_DNN_F16;
  int64_t steps[4] = {0, 0, 0, 1};
  void *d = make(PCU_DNN_TENSOR);
  for (int i = 2; i >= 0; i--)
    steps[i] = steps[i + 1] * s->dims[i + 1];
  assert_int_equal(dnn.set(d, PCU_DNN_TENSOR_TYPE, PCU_DNN_IS_TYPE, 1, &type),
                   0);
  assert_int_equal(set_ints(d, PCU_DNN_TENSOR_DIMS, 4, s->dims), 0);
  assert_int_equal(set_ints(d, PCU_DNN_TENSOR_STEPS, 4, steps), 0);
  assert_int_equal(set_ints(d, PCU_DNN_TENSOR_ID, 1, &id), 0);
  assert_int_equal(set_ints(d, PCU_DNN_TENSOR_ALIGN, 1, &s->align), 0);
  return d;
}

static void *make_tensor(int64_t id, const int64_t *dims) {
  shape s = {.align = 16};
  memcpy(s.dims, dims, sizeof s.dims);
  void *d = describe_tensor(id, &s);
  assert_int_equal(dnn.finalize(d), 0);
  return d;
}

static void *describe_conv(int64_t n, const int64_t *before,
                           const int64_t *after, const int64_t *strides) {
  static const int64_t ones[] = {1, 1, 1};
  int type = PCU_DNN_F32, mode = PCU_DNN_CROSS_CORRELATION;
  void *d = make(PCU_DNN_CONV);
  assert_int_equal(dnn.set(d, PCU_DNN_CONV_TYPE, PCU_DNN_IS_TYPE, 1, &type), 0);
  assert_int_equal(
      dnn.set(d, PCU_DNN_CONV_MODE, PCU_DNN_IS_CONV_MODE, 1, &mode), 0);
  assert_int_equal(set_ints(d, PCU_DNN_CONV_SPATIAL, 1, &n), 0);
  assert_int_equal(set_ints(d, PCU_DNN_CONV_BEFORE, n, before), 0);
  assert_int_equal(set_ints(d, PCU_DNN_CONV_AFTER, n, after), 0);
  assert_int_equal(set_ints(d, PCU_DNN_CONV_STRIDES, n, strides), 0);
  assert_int_equal(set_ints(d, PCU_DNN_CONV_DILATIONS, n, ones), 0);
  return d;
}

static void *describe_forward(void *const *parts) {
  static const int names[] = {PCU_DNN_FORWARD_X, PCU_DNN_FORWARD_W,
                              PCU_DNN_FORWARD_Y, PCU_DNN_FORWARD_CONV};
  void *d = make(PCU_DNN_CONV_FORWARD);
  for (int i = 0; i < 4; i++)
    if (parts[i])
      assert_int_equal(dnn.set(d, names[i], PCU_DNN_IS_DESC, 1, &parts[i]), 0);
  return d;
}

static void drop(void *const *descs, int n) {
  for (int i = n - 1; i >= 0; i--)
    if (descs[i]) assert_int_equal(dnn.desc_free(descs[i]), 0);
}

static void test_tensors(void **state) {
  static const struct {
    shape s;
    int code;
  } rows[] = {{{{2, 4, 7, 7}, 16}, 0},      {{{2, 4, 7, 7}, 2}, 0},
              {{{2, 4, 7, 7}, 1}, INVALID}, {{{2, 4, 7, 7}, 3}, INVALID},
              {{{2, 4, 7, 7}, 0}, INVALID}, {{{0, 4, 7, 7}, 16}, 0}};
  (void)state;
  for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
    void *d = describe_tensor(1, &rows[i].s);
    assert_int_equal(dnn.finalize(d), rows[i].code);
    drop(&d, 1);
  }
  assert_mistakes(0);
}

static void test_attributes(void **state) {
  void *d = make(PCU_DNN_TENSOR);
  int64_t v = 1, two[2] = {1, 1};
  (void)state;
  assert_int_equal(dnn.finalize(d), INVALID); /* nothing is set */
  assert_int_equal(dnn.set(d, PCU_DNN_TENSOR_ID, PCU_DNN_IS_FLOAT, 1, &v),
                   WRONG);
  assert_int_equal(set_ints(d, PCU_DNN_TENSOR_ID, 2, two), INVALID);
  assert_int_equal(set_ints(d, PCU_DNN_TENSOR_ID, 1, NULL), INVALID);
  assert_int_equal(set_ints(d, PCU_DNN_CONV_SPATIAL, 1, &v), INVALID);
  assert_int_equal(set_ints(d, 9999, 1, &v), INVALID);
  assert_int_equal(set_ints(NULL, PCU_DNN_TENSOR_ID, 1, &v), IS_NULL);
  drop(&d, 1);
  assert_mistakes(7);
  d = make_tensor(1, (const int64_t[]){2, 4, 7, 7});
  assert_int_equal(set_ints(d, PCU_DNN_TENSOR_ID, 1, &v), INVALID);
  assert_int_equal(dnn.finalize(d), INVALID);
  drop(&d, 1);
  assert_mistakes(2);
}

static const int64_t none[] = {0, 0, 0}, ones[] = {1, 1, 1}, twos[] = {2, 2, 2};

static void test_windows(void **state) {
  static const int64_t less[] = {-1, -1, -1};
  static const struct {
    const int64_t *before, *after, *strides;
    int code;
  } rows[] = {{ones, none, twos, 0},
              {less, ones, ones, INVALID},
              {ones, less, ones, INVALID},
              {ones, ones, none, INVALID}};
  (void)state;
  for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
    void *d = describe_conv(2, rows[i].before, rows[i].after, rows[i].strides);
    assert_int_equal(dnn.finalize(d), rows[i].code);
    drop(&d, 1);
  }
  assert_mistakes(0);
}

static void test_convolutions(void **state) {
  static const struct {
    int64_t x[4], w[4], y[4];
    const int64_t *after, *strides;
    int code;
  } rows[] = {{{2, 4, 7, 7}, {6, 2, 3, 3}, {2, 6, 7, 7}, ones, ones, 0},
              {{2, 4, 7, 7}, {6, 2, 3, 3}, {2, 6, 8, 7}, ones, ones, INVALID},
              {{2, 4, 8, 8}, {6, 2, 3, 3}, {2, 6, 4, 4}, none, twos, 0},
              {{2, 4, 7, 7}, {6, 3, 3, 3}, {2, 6, 7, 7}, ones, ones, INVALID},
              {{2, 4, 7, 7}, {5, 2, 3, 3}, {2, 5, 7, 7}, ones, ones, INVALID},
              {{2, 4, 7, 7}, {6, 2, 3, 3}, {3, 6, 7, 7}, ones, ones, INVALID},
              {{2, 4, 7, 7}, {6, 2, 3, 3}, {2, 4, 7, 7}, ones, ones, INVALID}};
  (void)state;
  for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
    void *d[5] = {make_tensor(1, rows[i].x), make_tensor(2, rows[i].w),
                  make_tensor(3, rows[i].y),
                  describe_conv(2, ones, rows[i].after, rows[i].strides)};
    assert_int_equal(dnn.finalize(d[3]), 0);
    d[4] = describe_forward(d);
    assert_int_equal(dnn.finalize(d[4]), rows[i].code);
    drop(d, 5);
  }
  assert_mistakes(0);
}

/* ---- the operations of attention ---- */

static void *describe_with_type(int kind, int name) {
  int type = PCU_DNN_F32;
  void *d = make(kind);
  assert_int_equal(dnn.set(d, name, PCU_DNN_IS_TYPE, 1, &type), 0);
  return d;
}

static void set_desc(void *d, int name, void *const *part) {
  assert_int_equal(dnn.set(d, name, PCU_DNN_IS_DESC, 1, part), 0);
}

static void test_numbers(void **state) {
  const shape one = {{1, 1, 1, 1}, 16};
  bool yes = true;
  int not_bool = 1;
  (void)state;
  for (int i = 0; i < 2; i++) {
    void *d = describe_tensor(1, &one);
    int name = i ? PCU_DNN_TENSOR_NUMBER : PCU_DNN_TENSOR_INSIDE;
    assert_int_equal(dnn.set(d, name, PCU_DNN_IS_INT64, 1, &not_bool), WRONG);
    assert_mistakes(1);
    assert_int_equal(dnn.set(d, name, PCU_DNN_IS_BOOL, 1, &yes), 0);
    assert_int_equal(dnn.finalize(d), 0);
    drop(&d, 1);
  }
  assert_mistakes(0);
}

static void test_products(void **state) {
  static const struct {
    int64_t a[4], b[4], c[4];
    int code;
  } rows[] = {{{2, 6, 5, 8}, {2, 6, 8, 7}, {2, 6, 5, 7}, 0},
              {{2, 6, 5, 8}, {2, 3, 8, 7}, {2, 6, 5, 7}, 0},
              {{2, 6, 5, 8}, {1, 1, 8, 7}, {2, 6, 5, 7}, 0},
              {{2, 6, 5, 8}, {2, 4, 8, 7}, {2, 6, 5, 7}, INVALID},
              {{2, 6, 5, 8}, {2, 6, 9, 7}, {2, 6, 5, 7}, INVALID},
              {{2, 6, 5, 8}, {2, 6, 8, 7}, {2, 6, 4, 7}, INVALID},
              {{2, 6, 5, 8}, {2, 6, 8, 7}, {2, 6, 5, 6}, INVALID}};
  (void)state;
  for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
    void *d[5] = {make_tensor(1, rows[i].a), make_tensor(2, rows[i].b),
                  make_tensor(3, rows[i].c),
                  describe_with_type(PCU_DNN_MATMUL, PCU_DNN_MATMUL_TYPE),
                  make(PCU_DNN_DO_MATMUL)};
    assert_int_equal(dnn.finalize(d[3]), 0);
    set_desc(d[4], PCU_DNN_MATMUL_A, &d[0]);
    set_desc(d[4], PCU_DNN_MATMUL_B, &d[1]);
    set_desc(d[4], PCU_DNN_MATMUL_C, &d[2]);
    set_desc(d[4], PCU_DNN_MATMUL_DESC, &d[3]);
    assert_int_equal(dnn.finalize(d[4]), rows[i].code);
    drop(d, 5);
  }
  assert_mistakes(0);
}

/* What an operation of each element reads, of which the second may lack. Nobody
 * looks at the dimensions here. */
static void test_elements(void **state) {
  static const struct {
    int64_t x[4], b[4], y[4];
    int mode;
  } rows[] = {{{2, 6, 5, 7}, {2, 6, 5, 7}, {2, 6, 5, 7}, PCU_DNN_ADD},
              {{2, 6, 5, 7}, {1, 1, 1, 1}, {2, 6, 5, 7}, PCU_DNN_MUL},
              {{2, 6, 5, 7}, {2, 6, 5, 1}, {2, 6, 5, 7}, PCU_DNN_DIV},
              {{2, 6, 5, 7}, {0}, {2, 6, 5, 7}, PCU_DNN_EXP},
              {{2, 6, 5, 7}, {2, 6, 5, 2}, {2, 6, 5, 7}, PCU_DNN_SUB},
              {{2, 6, 5, 7}, {2, 6, 5, 7}, {2, 6, 5, 1}, PCU_DNN_ADD}};
  (void)state;
  for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
    void *d[5] = {make_tensor(1, rows[i].x),
                  rows[i].b[0] ? make_tensor(2, rows[i].b) : NULL,
                  make_tensor(3, rows[i].y),
                  describe_with_type(PCU_DNN_POINTWISE, PCU_DNN_POINTWISE_TYPE),
                  make(PCU_DNN_DO_POINTWISE)};
    assert_int_equal(dnn.set(d[3], PCU_DNN_POINTWISE_MODE, PCU_DNN_IS_POINTWISE,
                             1, &rows[i].mode),
                     0);
    assert_int_equal(dnn.finalize(d[3]), 0);
    set_desc(d[4], PCU_DNN_POINTWISE_DESC, &d[3]);
    set_desc(d[4], PCU_DNN_POINTWISE_X, &d[0]);
    if (d[1]) set_desc(d[4], PCU_DNN_POINTWISE_B, &d[1]);
    set_desc(d[4], PCU_DNN_POINTWISE_Y, &d[2]);
    assert_int_equal(dnn.finalize(d[4]), 0);
    drop(d, 5);
  }
  assert_mistakes(0);
}

static void test_reductions(void **state) {
  static const struct {
    int64_t x[4], y[4];
    int code;
  } rows[] = {{{2, 6, 5, 7}, {2, 6, 5, 1}, 0},
              {{2, 6, 5, 7}, {2, 1, 5, 1}, 0},
              {{2, 6, 5, 7}, {2, 6, 5, 2}, INVALID},
              {{2, 6, 5, 7}, {2, 6, 5, 14}, INVALID}};
  (void)state;
  for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
    int how = PCU_DNN_MAX;
    void *d[4] = {make_tensor(1, rows[i].x), make_tensor(2, rows[i].y),
                  describe_with_type(PCU_DNN_REDUCE, PCU_DNN_REDUCE_TYPE),
                  make(PCU_DNN_DO_REDUCE)};
    assert_int_equal(
        dnn.set(d[2], PCU_DNN_REDUCE_HOW, PCU_DNN_IS_REDUCE, 1, &how), 0);
    assert_int_equal(dnn.finalize(d[2]), 0);
    set_desc(d[3], PCU_DNN_REDUCE_X, &d[0]);
    set_desc(d[3], PCU_DNN_REDUCE_Y, &d[1]);
    set_desc(d[3], PCU_DNN_REDUCE_DESC, &d[2]);
    assert_int_equal(dnn.finalize(d[3]), rows[i].code);
    drop(d, 4);
  }
  assert_mistakes(0);
}

static void test_order(void **state) {
  const int64_t x[] = {2, 4, 7, 7}, w[] = {6, 2, 3, 3}, y[] = {2, 6, 7, 7};
  void *d[7] = {make_tensor(1, x), make_tensor(2, w), make_tensor(3, y),
                describe_conv(2, ones, ones, ones)};
  (void)state;
  d[4] = describe_forward(d);
  assert_int_equal(dnn.finalize(d[4]), INVALID); /* its windows are not */
  assert_int_equal(dnn.finalize(d[3]), 0);
  d[5] = make(PCU_DNN_GRAPH);
  assert_int_equal(dnn.set(d[5], PCU_DNN_GRAPH_HANDLE, PCU_DNN_IS_HANDLE, 1,
                           &(void *){NULL}),
                   IS_NULL);
  assert_mistakes(2);
  if (!real) { /* which throws */
    assert_int_equal(
        dnn.set(d[5], PCU_DNN_GRAPH_OPS, PCU_DNN_IS_DESC, 1, &d[0]), INVALID);
    assert_mistakes(1);
  }
  d[6] = make(PCU_DNN_CONFIG);
  int64_t n;
  assert_int_equal(
      dnn.get(d[6], PCU_DNN_CONFIG_ENGINE, PCU_DNN_IS_DESC, 1, &n, &d[5]),
      NOT_INITIALIZED);
  drop(d, 7);
  assert_mistakes(1);
}

static void test_packs(void **state) {
  int64_t ids[] = {1, 2, 3};
  void *places[] = {ids, ids, ids};
  (void)state;
  for (int64_t n = 2; n <= 3; n++) {
    void *d = make(PCU_DNN_PACK);
    assert_int_equal(set_ints(d, PCU_DNN_PACK_IDS, 3, ids), 0);
    assert_int_equal(
        dnn.set(d, PCU_DNN_PACK_POINTERS, PCU_DNN_IS_POINTER, n, places), 0);
    assert_int_equal(dnn.finalize(d), n == 3 ? 0 : INVALID);
    assert_mistakes(0);
    if (n == 3)
      assert_int_equal(
          dnn.set(d, PCU_DNN_PACK_POINTERS, PCU_DNN_IS_POINTER, n, places),
          INVALID);
    drop(&d, 1);
    assert_mistakes(n == 3);
  }
}

/* Of the mock alone: the real one says nothing of it. */
static void test_uses(void **state) {
  const int64_t x[] = {2, 4, 7, 7}, w[] = {6, 2, 3, 3}, y[] = {2, 6, 7, 7};
  (void)state;
  if (real) return;
  void *d[5] = {make_tensor(1, x), make_tensor(2, w), make_tensor(3, y),
                describe_conv(2, ones, ones, ones)};
  assert_int_equal(dnn.finalize(d[3]), 0);
  d[4] = describe_forward(d);
  drop(&d[4], 1);
  assert_mistakes(0);
  d[4] = describe_forward(d);
  assert_int_equal(dnn.execute(NULL, d[4], d[0]), INVALID);
  assert_int_equal(dnn.stream(d[4], NULL), INVALID);
  assert_mistakes(2);
  drop(d, 5);
  assert_mistakes(0);
  assert_int_equal(mock_count().live, 0);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_tensors),  cmocka_unit_test(test_attributes),
      cmocka_unit_test(test_windows),  cmocka_unit_test(test_convolutions),
      cmocka_unit_test(test_numbers),  cmocka_unit_test(test_products),
      cmocka_unit_test(test_elements), cmocka_unit_test(test_reductions),
      cmocka_unit_test(test_order),    cmocka_unit_test(test_packs),
      cmocka_unit_test(test_uses)};
  return cmocka_run_group_tests(tests, open_library, NULL);
}
