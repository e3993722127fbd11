/* The compiler behind the readers: a model in text goes down to planned
 * memory, which is what code is generated from. */
#include "ir/text.h"
#include "test/fuzzers/fuzzers.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  prn_ctx *ctx = fuzz_ctx();
  prn_str text = {(const char *)data, size};
  prn_module *m = prn_parse_module(ctx, "input", text);
  if (m && fuzz_is_valid(m))
    fuzz_run(m, "infer-shapes,canonicalize,fold-constants,"
                "unroll-loops{limit=1000},"
                "resolve-sequences{defaults=true,outputs=true},cse,dce,"
                "lower-onnx-to-nn,nn-widen,nn-simplify,nn-fuse,"
                "nn-plan{machine=x86-64-v3},lower-nn-to-mem{nr=16,mr=6},"
                "plan-memory");
  prn_ctx_destroy(ctx);
  return 0;
}
