/* Structured pruning of whatever model: what analyses believe about it must
 * not break on models that no exporter writes. */
#include "frontends/onnx/import.h"
#include "test/fuzzers/fuzzers.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  prn_ctx *ctx = fuzz_ctx();
  fuzz_input f = fuzz_open(data, size);
  prn_module *m;
  if (prn_onnx_import(ctx, f.path, &m) == PRN_OK && fuzz_is_valid(m))
    fuzz_run(m, "infer-shapes,score-magnitude,permute-channels{n=2 m=4},"
                "select-nm{n=2 m=4},score-magnitude,"
                "select-channels{ratio=0.4},compact-channels,"
                "select-heads{ratio=0.5},compact-heads,"
                "fold-batch-norm");
  fuzz_close(&f);
  prn_ctx_destroy(ctx);
  return 0;
}
