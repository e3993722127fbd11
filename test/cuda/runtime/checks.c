#include "test/cuda/runtime/checks.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <string.h>

#include "test/cuda/mock/mock.h"

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
