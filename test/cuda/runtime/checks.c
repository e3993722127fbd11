#include "test/cuda/runtime/checks.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <string.h>

#include "test/cuda/mock/mock.h"
#include "test/cuda/runtime/mocked.h"

prune_cuda_options flags_alone(uint32_t flags) {
  return (prune_cuda_options){.size = sizeof(prune_cuda_options),
                              .abi = PRUNE_CUDA_ABI,
                              .flags = flags};
}

void assert_says(const prune_cuda_ctx *ctx, const char *what) {
  static char text[1 << 14];
  size_t size = sizeof text;
  assert_int_equal(prune_cuda_explain(ctx, text, &size), PRUNE_CUDA_OK);
  if (!strstr(text, what)) print_error("'%s' is not in\n%s", what, text);
  assert_non_null(strstr(text, what));
}

void assert_runs(const single *s, const prune_cuda_options *o, int64_t open,
                 const char *says, single_right *right, const void *model) {
  single_context c;
  single_data d;
  assert_int_equal(single_open(s, o, &c), PRUNE_CUDA_OK);
  single_data_make(&d, s, open, 3);
  assert_int_equal(single_data_prepare(&d, c.ctx), PRUNE_CUDA_OK);
  assert_int_equal(single_data_run(&d, c.ctx, NULL), PRUNE_CUDA_OK);
  assert_int_equal(prune_cuda_check(c.ctx, d.workspace, NULL), PRUNE_CUDA_OK);
  assert_says(c.ctx, says);
  assert_true(right(&d, model));
  single_data_destroy(&d);
  single_close(&c);
}

void assert_not_done(const single *s, int64_t open, const char *why) {
  prune_cuda_options o = flags_alone(0);
  single_context c;
  single_data d;
  assert_int_equal(single_open(s, &o, &c), PRUNE_CUDA_OK);
  single_data_make(&d, s, open, 3);
  prune_cuda_status status = single_data_prepare(&d, c.ctx);
  if (status != PRUNE_CUDA_E_LIB) print_error("not refused: %s\n", why);
  assert_int_equal(status, PRUNE_CUDA_E_LIB);
  single_data_destroy(&d);
  single_close(&c);
}

void assert_tunes(const single_context *c, single_data *d, single_right *right,
                  const void *model) {
  assert_int_equal(single_data_prepare(d, c->ctx), PRUNE_CUDA_OK);
  assert_int_equal(prune_cuda_tune(c->ctx, d->in, d->num_inputs, &d->out, 1,
                                   d->workspace, d->workspace_size, NULL, 10),
                   PRUNE_CUDA_OK);
  assert_int_equal(single_data_run(d, c->ctx, NULL), PRUNE_CUDA_OK);
  assert_true(right(d, model));
}

/* What a run enqueues, as a graph. */
static void *capture(const single_data *d, prune_cuda_ctx *ctx, void *stream) {
  void *graph, *instance;
  mock_counts before = mock_count();
  assert_int_equal(cuStreamBeginCapture_v2(stream, 1), 0);
  assert_int_equal(single_data_run(d, ctx, stream), PRUNE_CUDA_OK);
  assert_int_equal(cuStreamEndCapture(stream, &graph), 0);
  mock_counts after = mock_count(); /* nobody thought, nothing is left */
  assert_int_equal(after.asked, before.asked);
  assert_int_equal(after.live, before.live);
  assert_int_equal(after.allocations, before.allocations);
  assert_int_equal(cuGraphInstantiateWithFlags(&instance, graph, 0), 0);
  assert_int_equal(cuGraphDestroy(graph), 0);
  return instance;
}

void assert_replays(const single *s, int64_t open, single_right *right,
                    const void *model) {
  prune_cuda_options o = flags_alone(0);
  single_context c;
  single_data d;
  void *stream, *context;
  assert_int_equal(single_open(s, &o, &c), PRUNE_CUDA_OK);
  single_data_make(&d, s, open, 3);
  assert_int_equal(single_data_prepare(&d, c.ctx), PRUNE_CUDA_OK);
  cuDevicePrimaryCtxRetain(&context, 0);
  cuCtxPushCurrent_v2(context);
  assert_int_equal(cuStreamCreate(&stream, 1), 0);
  void *instance = capture(&d, c.ctx, stream);
  assert_false(right(&d, model)); /* nothing ran */
  for (unsigned seed = 4; seed < 7; seed++) {
    single_data other;
    single_data_make(&other, s, open, seed);
    memcpy(d.in[0].data, other.in[0].data, d.in[0].size);
    single_data_destroy(&other);
    memset(d.out.data, 0xff, d.out.size);
    assert_int_equal(cuGraphLaunch(instance, stream), 0);
    assert_true(right(&d, model));
  }
  assert_int_equal(cuGraphExecDestroy(instance), 0);
  assert_int_equal(cuStreamDestroy_v2(stream), 0);
  cuCtxPopCurrent_v2(&context);
  cuDevicePrimaryCtxRelease_v2(0);
  single_data_destroy(&d);
  single_close(&c);
}

int assert_clean(void **state) {
  static long mistakes;
  mock_counts now = mock_count();
  (void)state;
  if (now.live) print_error("%ld handles are left\n", now.live);
  if (now.mistakes != mistakes) print_error("a rule was broken\n");
  int failed = now.live != 0 || now.mistakes != mistakes;
  mistakes = now.mistakes;
  return failed;
}
