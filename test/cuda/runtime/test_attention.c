/* Attention by cuDNN, on its mock: values in any layout that it can be told,
 * what it is not told, what is done where it says no, capture, tuning. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "test/cuda/mock/mock.h"
#include "test/cuda/runtime/attention.h"
#include "test/cuda/runtime/checks.h"
#include "test/cuda/runtime/mocked.h"

static attention_model model;

static int64_t open_size(const attention_case *c) {
  return c->num_lead ? c->lead[0] : c->queries;
}

static void check(uint32_t flags, const char *says) {
  prune_cuda_options o = flags_alone(flags);
  assert_runs(&model.s, &o, open_size(&model.c), says, attention_right, &model);
}

static void check_refused(const char *why) {
  assert_not_done(&model.s, open_size(&model.c), why);
}

static const attention_case cases[] = {
    {.num_lead = 2,
     .lead = {2, 3},
     .queries = 5,
     .keys = 7,
     .depth = 16,
     .width = 8,
     .scale = 0.25f},
    {.num_lead = 2, /* as projections give them */
     .lead = {2, 3},
     .queries = 5,
     .keys = 5,
     .depth = 8,
     .width = 8,
     .tokens = true,
     .scale = 0.125f},
    {.queries = 4, .keys = 3, .depth = 8, .width = 24, .scale = 1},
    {.num_lead = 1,
     .lead = {6},
     .queries = 3,
     .keys = 9,
     .depth = 8,
     .width = 8,
     .mask = SINGLE_F32,
     .mask_rows = true,
     .scale = 0.5f}, /* one mask for all */
    {.num_lead = 2,
     .lead = {2, 2},
     .queries = 3,
     .keys = 5,
     .depth = 8,
     .width = 8,
     .mask = SINGLE_F32,
     .mask_lead = {true},
     .scale = -1}, /* of keys, for each of the batch */
    {.num_lead = 2,
     .lead = {3, 2},
     .queries = 3,
     .keys = 5,
     .depth = 8,
     .width = 8,
     .mask = -1, /* of the others' type */
     .mask_lead = {true, true},
     .mask_rows = true,
     .scale = 0.3f},
    {.num_lead = 3, /* groups of heads share keys */
     .lead = {2, 2, 3},
     .queries = 4,
     .keys = 5,
     .depth = 8,
     .width = 8,
     .tokens = true,
     .shared = {false, false, true},
     .mask = SINGLE_F32,
     .mask_rows = true,
     .scale = 0.25f},
    {.num_lead = 3, /* without a batch */
     .lead = {1, 2, 3},
     .queries = 4,
     .keys = 5,
     .depth = 8,
     .width = 8,
     .shared = {false, false, true},
     .scale = 0.25f},
    {.num_lead = 2, /* all of a batch share keys */
     .lead = {3, 2},
     .queries = 4,
     .keys = 5,
     .depth = 8,
     .width = 8,
     .shared = {true, false},
     .scale = 0.25f},
    {.num_lead = 4, /* which are two in the end */
     .lead = {2, 2, 1, 3},
     .queries = 4,
     .keys = 5,
     .depth = 8,
     .width = 8,
     .scale = 0.25f},
    {.num_lead = 4, /* groups, and one of them shares */
     .lead = {2, 2, 2, 3},
     .queries = 2,
     .keys = 3,
     .depth = 8,
     .width = 8,
     .shared = {false, false, true, true},
     .scale = 0.25f},
    {.num_lead = 2, /* one query, one key */
     .lead = {2, 3},
     .queries = 1,
     .keys = 1,
     .depth = 8,
     .width = 8,
     .scale = 0.25f},
    {.num_lead = 1,
     .lead = {2},
     .queries = 3,
     .keys = 4,
     .depth = 8,
     .width = 8,
     .gap = 8,
     .shift = 16,
     .scale = 0.25f}};

static void test_values(void **state) {
  static const int32_t types[] = {SINGLE_F16, SINGLE_BF16};
  (void)state;
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
    for (int t = 0; t < 2; t++) {
      attention_case c = cases[i];
      c.type = types[t];
      if (c.mask < 0) c.mask = c.type;
      attention_make(&model, &c, false);
      check(0, "it (mem.attention): cuDNN");
    }
}

static attention_case plain(void) {
  attention_case c = cases[0];
  c.type = SINGLE_F16;
  return c;
}

/* Rows of 16 bytes at multiples of 16 bytes, elements side by side. */
static void test_what_it_has_not(void **state) {
  attention_case c = plain();
  (void)state;
  c.depth = 12;
  attention_make(&model, &c, false);
  check_refused("a depth that eight does not divide");
  c = plain();
  c.shift = 8;
  attention_make(&model, &c, false);
  check_refused("queries that begin in between");
  c = plain();
  c.gap = 4;
  attention_make(&model, &c, false);
  check_refused("rows that begin in between");
  attention_make(&model, &(attention_case){0}, false);
  c = plain();
  c.type = SINGLE_F32;
  attention_make(&model, &c, false);
  check_refused("f32, which would lose bits");
  c = plain();
  attention_make(&model, &c, false);
  *attention_step(0, 3) = 2;
  check_refused("elements that do not lie side by side");
  attention_make(&model, &c, false);
  *attention_step(0, 2) = 0;
  check_refused("a query for many");
  attention_make(&model, &c, false);
  *attention_step(1, 1) = 0;
  check_refused("keys that are shared, values that are not");
  c.keys = 0;
  attention_make(&model, &c, false);
  check_refused("means of none");
  c = plain();
  attention_make(&model, &c, false);
  model.s.step.attention = NULL;
  check_refused("no table");
}

/* Three dimensions of which no two are one. */
static void test_leading_dimensions(void **state) {
  attention_case c = cases[6];
  (void)state;
  c.type = SINGLE_F16;
  c.shared[2] = false;
  c.shared[1] = true;
  attention_make(&model, &c, false);
  check_refused("groups whose heads are shared across");
  for (int t = 0; t < 4; t += 3) { /* queries, results */
    c = cases[6];
    c.type = SINGLE_F16;
    attention_make(&model, &c, false);
    *attention_step(t, 1) *= 2;
    check_refused("groups that do not lie beside each other");
  }
  c = cases[8];
  c.type = SINGLE_F16;
  c.shared[1] = true;
  attention_make(&model, &c, false);
  check_refused("keys for all of a batch and all heads");
  c = cases[9];
  c.type = SINGLE_F16;
  c.tokens = true;
  c.lead[2] = 2;
  c.mask = SINGLE_F32;
  c.mask_lead[2] = true;
  attention_make(&model, &c, false);
  check_refused("a mask that varies in the middle");
}

static void test_mask_of_one_key(void **state) {
  attention_case c = cases[3];
  (void)state;
  c.type = SINGLE_F16;
  attention_make(&model, &c, false);
  *attention_step(4, 2) = 0;
  check_refused("a mask that is the same for all keys");
}

static void test_no_batch(void **state) {
  prune_cuda_options o = flags_alone(0);
  single_context c;
  single_data d;
  (void)state;
  attention_make(&model, &attention_whole, true);
  assert_int_equal(single_open(&model.s, &o, &c), PRUNE_CUDA_OK);
  single_data_make(&d, &model.s, 0, 3);
  assert_int_equal(single_data_prepare(&d, c.ctx), PRUNE_CUDA_OK);
  assert_int_equal(single_data_run(&d, c.ctx, NULL), PRUNE_CUDA_OK);
  single_data_destroy(&d);
  single_close(&c);
}

static void test_our_kernel_instead(void **state) {
  static const struct {
    const char *name, *value, *says;
  } rows[] = {
      {"PRUNE_MOCK_CUDNN", "91900",
       "it (mem.attention): cuDNN, 256 of workspace; not attention_own: comes "
       "after it"},
      {"PRUNE_MOCK_CUDNN", "90000", "it (mem.attention): cuDNN, 256"},
      {"PRUNE_MOCK_CUDNN", "91000", "cuDNN 9.10.0\n"},
      {"PRUNE_MOCK_CUDNN", "91000",
       "not cuDNN: the library's version is not known to fit"},
      {"PRUNE_MOCK_CUDNN", "91001", "it (mem.attention): attention_own; not"},
      {"PRUNE_MOCK_CUDNN", "91002", "it (mem.attention): cuDNN, 256"},
      {"PRUNE_MOCK_CUDNN", "8907", "it (mem.attention): attention_own; not"},
      {"PRUNE_MOCK_REFUSE", "cudnnBackendFinalize",
       "not cuDNN: refused with 3000"},
      {"PRUNE_MOCK_REFUSE", "cudnnBackendCreateDescriptor",
       "not cuDNN: refused with 3000"},
      {"PRUNE_MOCK_REFUSE", "cudnnBackendGetAttribute",
       "not cuDNN: refused with 3000"}};
  (void)state;
  attention_make(&model, &attention_whole, true);
  for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
    setenv(rows[i].name, rows[i].value, 1);
    check(0, rows[i].says);
    unsetenv(rows[i].name);
  }
  check(PRUNE_CUDA_OWN_ONLY, "it (mem.attention): attention_own; not cuDNN");
  check(PRUNE_CUDA_DENSE_ONLY | PRUNE_CUDA_DETERMINISTIC,
        "it (mem.attention): cuDNN, 256");
}

static void test_capture(void **state) {
  (void)state;
  attention_make(&model, &attention_whole, false);
  assert_replays(&model.s, 2, attention_right, &model);
}

/* Steps of one shape share a plan, as long as one of them has it. */
static void test_steps_share_plans(void **state) {
  enum { STEPS = 3, SAME, OTHER_MASK, OTHER_KEYS, KINDS };
  prune_cuda_options o = flags_alone(0);
  long asked[KINDS], live[KINDS];
  (void)state;
  for (int i = SAME; i < KINDS; i++) {
    prune_cuda_step steps[STEPS];
    single_context c;
    single_data d;
    attention_make(&model, &attention_whole, false);
    prune_cuda_attention other = model.attention;
    for (int k = 0; k < STEPS; k++)
      steps[k] = model.s.step;
    if (i == OTHER_MASK) other.mask_type = 0;
    if (i == OTHER_KEYS) other.keys = other.queries; /* which are fewer */
    steps[1].attention = &other;
    model.s.model.steps = steps;
    model.s.model.num_steps = STEPS;
    assert_int_equal(single_open(&model.s, &o, &c), PRUNE_CUDA_OK);
    single_data_make(&d, &model.s, 2, 3);
    mock_counts before = mock_count();
    assert_int_equal(single_data_prepare(&d, c.ctx), PRUNE_CUDA_OK);
    asked[i] = mock_count().asked - before.asked;
    live[i] = mock_count().live - before.live;
    assert_tunes(&c, &d, attention_right, &model);
    assert_says(c.ctx, "it (mem.attention): cuDNN, 4.00 us\n");
    single_data_destroy(&d);
    single_close(&c);
  }
  assert_true(live[SAME] > 0);
  for (int i = OTHER_MASK; i < KINDS; i++) {
    assert_int_equal(asked[i], 2 * asked[SAME]);
    assert_true(live[i] > live[SAME] + live[SAME] / 2);
  }
}

/* By the mocks' clock the engine that heuristics have second is faster. */
static void test_tune(void **state) {
  prune_cuda_options o = flags_alone(0);
  single_context c;
  single_data d;
  (void)state;
  attention_make(&model, &attention_whole, false);
  assert_int_equal(single_open(&model.s, &o, &c), PRUNE_CUDA_OK);
  single_data_make(&d, &model.s, 2, 3);
  assert_tunes(&c, &d, attention_right, &model);
  assert_says(c.ctx, "it (mem.attention): cuDNN, 4.00 us\n");
  single_data_destroy(&d);
  single_close(&c);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test_teardown(test_values, assert_clean),
      cmocka_unit_test_teardown(test_what_it_has_not, assert_clean),
      cmocka_unit_test_teardown(test_leading_dimensions, assert_clean),
      cmocka_unit_test_teardown(test_mask_of_one_key, assert_clean),
      cmocka_unit_test_teardown(test_no_batch, assert_clean),
      cmocka_unit_test_teardown(test_our_kernel_instead, assert_clean),
      cmocka_unit_test_teardown(test_capture, assert_clean),
      cmocka_unit_test_teardown(test_steps_share_plans, assert_clean),
      cmocka_unit_test_teardown(test_tune, assert_clean),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
