/* Convolutions by cuDNN, on its mock: values, engines, what is done where it
 * says no, capture, threads, caches. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <dlfcn.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "test/cuda/mock/mock.h"
#include "test/cuda/runtime/checks.h"
#include "test/cuda/runtime/conv.h"
#include "test/cuda/runtime/mocked.h"

static conv_model model;

static void check_with(const prune_cuda_options *o, int64_t images,
                       const char *says) {
  assert_runs(&model.s, o, images, says, conv_right, &model);
}

static void check(uint32_t flags, const char *says) {
  prune_cuda_options o = flags_alone(flags);
  check_with(&o, 3, says);
}

static void check_refused(const char *why) {
  assert_not_done(&model.s, 1, why);
}

static const conv_case cases[] = {
    {.rank = 4, .x = {1, 3, 7, 9}, .w = {5, 3, 3, 3}, .y = {1, 5, 5, 7}},
    {.rank = 4, /* more behind than in front */
     .x = {1, 2, 8, 8},
     .w = {4, 2, 3, 3},
     .y = {1, 4, 4, 4},
     .strides = {2, 2}},
    {.rank = 4, /* what windows do not reach */
     .x = {1, 2, 8, 9},
     .w = {4, 2, 3, 2},
     .y = {1, 4, 2, 3},
     .strides = {3, 3}},
    {.rank = 4, /* each way another */
     .x = {1, 2, 9, 12},
     .w = {3, 2, 2, 3},
     .y = {1, 3, 5, 10},
     .pads = {1, 3},
     .strides = {2, 1},
     .dilations = {2, 3}},
    {.rank = 4,
     .x = {1, 6, 5, 5},
     .w = {6, 1, 3, 3},
     .y = {1, 6, 5, 5},
     .pads = {1, 1}}, /* depthwise */
    {.rank = 4, .x = {1, 4, 5, 5}, .w = {8, 2, 1, 1}, .y = {1, 8, 5, 5}},
    {.rank = 3, .x = {1, 3, 11}, .w = {4, 3, 5}, .y = {1, 4, 11}, .pads = {2}},
    {.rank = 3, /* along one dimension, in groups */
     .x = {1, 4, 11},
     .w = {4, 2, 4},
     .y = {1, 4, 4},
     .strides = {2}},
    {.rank = 5,
     .x = {1, 2, 4, 5, 6},
     .w = {3, 2, 3, 2, 3},
     .y = {1, 3, 4, 4, 3},
     .pads = {1, 0, 1},
     .strides = {1, 1, 2}},
    {.rank = 4,
     .x = {1, 2, 5, 6},
     .w = {3, 2, 3, 3},
     .y = {1, 3, 3, 4},
     .gap = 2}, /* rows that do not lie together */
    {.rank = 4, .x = {1, 1, 1, 1}, .w = {1, 1, 1, 1}, .y = {1, 1, 1, 1}},
};

static void test_values(void **state) {
  static const int32_t types[] = {SINGLE_F16, SINGLE_BF16, SINGLE_F32};
  (void)state;
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
    for (int t = 0; t < 3; t++) {
      conv_case c = cases[i];
      c.type = types[t];
      conv_make(&model, &c, false);
      check(0, "it (mem.conv): cuDNN, ");
    }
}

static void test_what_comes_after(void **state) {
  (void)state;
  conv_make(&model, &conv_whole, true);
  check(0, "capability 9.0, driver for CUDA 13.0, cuDNN 9.19.0\n");
  check(0, "it (mem.conv): cuDNN, then conv_after, 216 bytes of weights, 5400 "
           "of workspace; not conv_own: comes after it");
  check(PRUNE_CUDA_DENSE_ONLY, "it (mem.conv): cuDNN, then conv_after");
}

static void test_our_kernel_instead(void **state) {
  static const struct {
    const char *name, *value, *says;
  } rows[] = {
      {"PRUNE_MOCK_CUDNN", "8907", "cuDNN 0.89.7 (not known)"},
      {"PRUNE_MOCK_CUDNN", "100000", "cuDNN 10.0.0 (not known)"},
      {"PRUNE_MOCK_CUDNN", "100000",
       "not cuDNN: the library's version is not known to fit"},
      {"PRUNE_MOCK_CUDNN", "90000", "it (mem.conv): cuDNN, then"},
      {"PRUNE_MOCK_REFUSE", "cudnnCreate", "cuDNN 9.19.0 (error 1001)"},
      {"PRUNE_MOCK_REFUSE", "cudnnCreate", "not cuDNN: refused with 1001"},
      {"PRUNE_MOCK_REFUSE", "cudnnBackendCreateDescriptor",
       "not cuDNN: refused with 3000"},
      {"PRUNE_MOCK_REFUSE", "cudnnBackendFinalize",
       "not cuDNN: refused with 3000"},
      {"PRUNE_MOCK_REFUSE", "cudnnBackendGetAttribute",
       "not cuDNN: refused with 3000"},
  };
  (void)state;
  conv_make(&model, &conv_whole, true);
  for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
    setenv(rows[i].name, rows[i].value, 1);
    check(0, rows[i].says);
    unsetenv(rows[i].name);
  }
  check(PRUNE_CUDA_NO_LIBS, "cuDNN left out\n");
  check(PRUNE_CUDA_OWN_ONLY, "not cuDNN: the options leave it out");
  check(PRUNE_CUDA_OWN_ONLY, "it (mem.conv): conv_own, ");
}

/* A table of functions without the library, or without one function of it. */
static void *symbol(void *user, const char *library, const char *name) {
  bool dnn = strcmp(library, "cudnn") == 0;
  if (dnn && (*(char *)user == 0 || strcmp(user, name) == 0)) return NULL;
  return dlsym(
      dlopen(dnn ? "libcudnn.so.9" : "libcuda.so.1", RTLD_NOW | RTLD_LOCAL),
      name);
}

static void test_missing_library(void **state) {
  char none[] = "", one[] = "cudnnBackendExecute", other[] = "other";
  prune_cuda_options o = flags_alone(0);
  (void)state;
  conv_make(&model, &conv_whole, true);
  o.symbol = symbol;
  o.symbol_user = none;
  check_with(&o, 2, "not cuDNN: there is no such library");
  check_with(&o, 2, "no cuDNN\n");
  o.symbol_user = one;
  check_with(&o, 2, "not cuDNN: there is no such library");
  o.symbol_user = other;
  check_with(&o, 2, "it (mem.conv): cuDNN, then");
}

/* Nothing narrower than asked for is taken, nor what gives other bits with
 * DETERMINISTIC, nor what cannot do it, nor what needs too much room. */
static void test_engines(void **state) {
  conv_case c = cases[0];
  (void)state;
  c.type = SINGLE_F16;
  conv_make(&model, &c, false);
  check(0, "270 bytes of weights, 3072 of workspace");
  check(PRUNE_CUDA_DETERMINISTIC, "270 bytes of weights, 6552 of workspace");
  c.type = SINGLE_F32;
  conv_make(&model, &c, false);
  check(0, "540 bytes of weights\n"); /* tensor cores round what they read */
  c = cases[5];
  c.type = SINGLE_F16;
  conv_make(&model, &c, false);
  check(0, "32 bytes of weights, 5400 of workspace");
  c = cases[0];
  c.type = SINGLE_F16;
  c.shift = 2;
  conv_make(&model, &c, false);
  check(0, "270 bytes of weights\n"); /* of the other heuristics */
}

static void test_room(void **state) {
  prune_cuda_options o = flags_alone(PRUNE_CUDA_DETERMINISTIC);
  single_context c;
  int64_t x[CONV_RANK] = {1 << 20, 3, 7, 9}, y[CONV_RANK];
  prune_cuda_tensor in = {NULL, 0, x}, out = {NULL, 0, y};
  conv_case few = cases[0];
  size_t need = 0;
  (void)state;
  few.type = SINGLE_F16;
  conv_make(&model, &few, false);
  assert_int_equal(single_open(&model.s, &o, &c), PRUNE_CUDA_OK);
  assert_int_equal(prune_cuda_prepare(c.ctx, &in, 1, &out, 1, &need),
                   PRUNE_CUDA_OK);
  assert_says(c.ctx, "it (mem.conv): cuDNN, 270 bytes of weights\n");
  assert_int_equal(need, 256);
  x[0] = 18000; /* more than for any library, but not for such tensors */
  assert_int_equal(prune_cuda_prepare(c.ctx, &in, 1, &out, 1, &need),
                   PRUNE_CUDA_OK);
  assert_says(c.ctx, "weights, 39312000 of workspace\n");
  assert_int_equal(need, 256 + 39312000);
  x[0] = INT64_C(1) << 40; /* more than is ever told */
  assert_int_equal(prune_cuda_prepare(c.ctx, &in, 1, &out, 1, &need),
                   PRUNE_CUDA_E_LIB);
  single_close(&c);
}

static void test_what_it_has_not(void **state) {
  conv_case c = cases[0];
  (void)state;
  c.type = SINGLE_F16;
  conv_make(&model, &c, false);
  model.conv.type = 11;
  check_refused("types");
  conv_make(&model, &c, false);
  model.conv.rank = 6;
  check_refused("ranks");
  conv_make(&model, &c, false);
  model.s.pointers[1].space = PRUNE_CUDA_ARENA;
  check_refused("weights that are computed");
  conv_make(&model, &c, false);
  *conv_step(0, 2) = 0;
  check_refused("an element for many");
  conv_make(&model, &c, false);
  *conv_dim(2, 3) -= 2; /* other results than there are */
  check_refused("sizes that do not fit");
  conv_make(&model, &c, false);
  *conv_dim(0, 1) = 4; /* not a multiple of the weights' */
  check_refused("groups");
  conv_make(&model, &c, false);
  *conv_dim(1, 1) = 0;
  check_refused("sums of nothing");
  conv_make(&model, &c, false);
  model.s.step.conv = NULL;
  check_refused("no table");
}

static void test_no_images(void **state) {
  prune_cuda_options o = flags_alone(0);
  (void)state;
  conv_make(&model, &conv_whole, true);
  check_with(&o, 0, "it (mem.conv): cuDNN, then conv_after");
  check_with(&o, 1, "it (mem.conv): cuDNN, then conv_after");
}

static void test_failing_run(void **state) {
  prune_cuda_options o = flags_alone(0);
  single_context c;
  single_data d;
  const char *library, *what;
  int code;
  (void)state;
  conv_make(&model, &conv_whole, true);
  assert_int_equal(single_open(&model.s, &o, &c), PRUNE_CUDA_OK);
  single_data_make(&d, &model.s, 2, 3);
  assert_int_equal(single_data_prepare(&d, c.ctx), PRUNE_CUDA_OK);
  setenv("PRUNE_MOCK_REFUSE", "cudnnBackendExecute", 1);
  assert_int_equal(single_data_run(&d, c.ctx, NULL), PRUNE_CUDA_E_LIB);
  unsetenv("PRUNE_MOCK_REFUSE");
  prune_cuda_last_lib(&library, &code, &what);
  assert_string_equal(library, "cuDNN");
  assert_string_equal(what, "cudnnBackendExecute");
  assert_int_equal(code, 5000);
  assert_int_equal(single_data_run(&d, c.ctx, NULL), PRUNE_CUDA_OK);
  assert_true(conv_right(&d, &model));
  single_data_destroy(&d);
  single_close(&c);
}

static void test_capture(void **state) {
  (void)state;
  conv_make(&model, &conv_whole, true);
  assert_replays(&model.s, 3, conv_right, &model);
}

typedef struct worker {
  const single_context *c;
  void *context;
  single_data d;
  int failed;
} worker;

static void *work(void *arg) {
  worker *w = arg;
  void *stream;
  w->failed = cuCtxPushCurrent_v2(w->context) || cuStreamCreate(&stream, 1);
  for (int i = 0; i < 50 && !w->failed; i++) {
    memset(w->d.out.data, 0xff, w->d.out.size);
    w->failed = single_data_run(&w->d, w->c->ctx, stream) != PRUNE_CUDA_OK ||
                !conv_right(&w->d, &model);
  }
  (void)cuStreamDestroy_v2(stream);
  return NULL;
}

/* Each with a stream, all with one handle: the mock says when two have it. */
static void test_threads(void **state) {
  enum { THREADS = 4 };
  prune_cuda_options o = flags_alone(0);
  single_context c;
  worker w[THREADS];
  pthread_t threads[THREADS];
  void *context;
  (void)state;
  conv_make(&model, &conv_whole, true);
  assert_int_equal(single_open(&model.s, &o, &c), PRUNE_CUDA_OK);
  cuDevicePrimaryCtxRetain(&context, 0);
  for (int i = 0; i < THREADS; i++) {
    w[i] = (worker){.c = &c, .context = context};
    single_data_make(&w[i].d, &model.s, 1 + i % 2, (unsigned)i);
    assert_int_equal(single_data_prepare(&w[i].d, c.ctx), PRUNE_CUDA_OK);
  }
  for (int i = 0; i < THREADS; i++)
    assert_int_equal(pthread_create(&threads[i], NULL, work, &w[i]), 0);
  for (int i = 0; i < THREADS; i++) {
    assert_int_equal(pthread_join(threads[i], NULL), 0);
    assert_int_equal(w[i].failed, 0);
    single_data_destroy(&w[i].d);
  }
  cuDevicePrimaryCtxRelease_v2(0);
  single_close(&c);
}

/* Steps of one shape share a plan. */
static void test_steps_share_plans(void **state) {
  enum { SAME, OTHER_STEPS, OTHER_PADS, KINDS };
  prune_cuda_options o = flags_alone(0);
  long asked[KINDS];
  (void)state;
  for (int i = 0; i < KINDS; i++) {
    conv_case one = cases[2];
    single_context c;
    single_data d;
    one.type = SINGLE_F16;
    conv_make(&model, &one, false);
    prune_cuda_conv other = model.conv;
    prune_cuda_step steps[] = {model.s.step, model.s.step};
    if (i == OTHER_STEPS) other.steps[0][1] = other.steps[0][2];
    if (i == OTHER_PADS) other.pads[1] = SINGLE_ONE;
    steps[0].conv = &other;
    model.s.model.steps = steps;
    model.s.model.num_steps = 2;
    assert_int_equal(single_open(&model.s, &o, &c), PRUNE_CUDA_OK);
    single_data_make(&d, &model.s, 1, 3);
    long before = mock_count().asked;
    prune_cuda_status s = single_data_prepare(&d, c.ctx);
    asked[i] = mock_count().asked - before;
    assert_int_equal(s, PRUNE_CUDA_OK);
    assert_int_equal(single_data_run(&d, c.ctx, NULL), PRUNE_CUDA_OK);
    assert_true(conv_right(&d, &model));
    single_data_destroy(&d);
    single_close(&c);
  }
  assert_int_equal(asked[OTHER_STEPS], 2 * asked[SAME]);
  assert_int_equal(asked[OTHER_PADS], 2 * asked[SAME]);
}

static conv_case one_image(void) {
  conv_case c = cases[9];
  c.type = SINGLE_F16;
  return c;
}

/* By the mocks' clock, an engine that heuristics do not have first is the
 * fastest, and our kernel is faster than two launches. Of many for f32, the one
 * that keeps its bits comes late. */
static void test_tune(void **state) {
  static const char *const says[] = {
      "it (mem.conv): cuDNN, 108 bytes of weights, 576 of workspace, 3.00 us\n",
      "conv_own, 216 bytes of weights, 5.01 us; not cuDNN: was slower",
      "it (mem.conv): cuDNN, 216 bytes of weights, 9.00 us\n"};
  (void)state;
  for (int i = 0; i < 3; i++) {
    prune_cuda_options o = flags_alone(0);
    single_context c;
    single_data d;
    conv_case one = one_image();
    if (i == 2) one.type = SINGLE_F32;
    conv_make(&model, i == 1 ? &conv_whole : &one, i == 1);
    assert_int_equal(single_open(&model.s, &o, &c), PRUNE_CUDA_OK);
    single_data_make(&d, &model.s, 1, 3);
    assert_tunes(&c, &d, conv_right, &model);
    assert_says(c.ctx, says[i]);
    single_data_destroy(&d);
    single_close(&c);
  }
}

/* What was found is taken again, if it is still what it was. */
static void test_cache(void **state) {
  prune_cuda_options o = flags_alone(0);
  single_context c;
  single_data d;
  conv_case one = one_image();
  static unsigned char cache[1024];
  size_t size = sizeof cache;
  (void)state;
  conv_make(&model, &one, false);
  assert_int_equal(single_open(&model.s, &o, &c), PRUNE_CUDA_OK);
  single_data_make(&d, &model.s, 1, 3);
  assert_tunes(&c, &d, conv_right, &model);
  assert_int_equal(prune_cuda_cache_save(c.ctx, cache, &size), PRUNE_CUDA_OK);
  single_close(&c);
  for (int i = 0; i < 2; i++) {
    setenv("PRUNE_MOCK_CUDNN", i ? "91901" : "91900", 1);
    assert_int_equal(single_open(&model.s, &o, &c), PRUNE_CUDA_OK);
    assert_int_equal(prune_cuda_cache_load(c.ctx, cache, size),
                     i ? PRUNE_CUDA_E_CACHE_STALE : PRUNE_CUDA_OK);
    assert_int_equal(single_data_prepare(&d, c.ctx), PRUNE_CUDA_OK);
    assert_says(c.ctx, i ? "weights, 3072 of workspace\n"
                         : "weights, 576 of workspace, 3.00 us\n");
    assert_int_equal(single_data_run(&d, c.ctx, NULL), PRUNE_CUDA_OK);
    assert_true(conv_right(&d, &model));
    single_close(&c);
  }
  unsetenv("PRUNE_MOCK_CUDNN");
  single_data_destroy(&d);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test_teardown(test_values, assert_clean),
      cmocka_unit_test_teardown(test_what_comes_after, assert_clean),
      cmocka_unit_test_teardown(test_our_kernel_instead, assert_clean),
      cmocka_unit_test_teardown(test_missing_library, assert_clean),
      cmocka_unit_test_teardown(test_engines, assert_clean),
      cmocka_unit_test_teardown(test_room, assert_clean),
      cmocka_unit_test_teardown(test_what_it_has_not, assert_clean),
      cmocka_unit_test_teardown(test_no_images, assert_clean),
      cmocka_unit_test_teardown(test_failing_run, assert_clean),
      cmocka_unit_test_teardown(test_capture, assert_clean),
      cmocka_unit_test_teardown(test_threads, assert_clean),
      cmocka_unit_test_teardown(test_steps_share_plans, assert_clean),
      cmocka_unit_test_teardown(test_tune, assert_clean),
      cmocka_unit_test_teardown(test_cache, assert_clean),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
