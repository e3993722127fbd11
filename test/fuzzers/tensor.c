/* A TensorProto in a file of its own, as test data sets have them: read and
 * printed. */
#include "frontends/onnx/import.h"
#include "ir/text.h"
#include "test/fuzzers/fuzzers.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  prn_ctx *ctx = fuzz_ctx();
  fuzz_input f = fuzz_open(data, size);
  const prn_tensor *t;
  prn_strbuf b = {0};
  if (prn_onnx_read_tensor(ctx, f.path, &t) == PRN_OK)
    prn_attr_print(&b, prn_attr_tensor(ctx, t));
  prn_strbuf_destroy(&b);
  fuzz_close(&f);
  prn_ctx_destroy(ctx);
  return 0;
}
