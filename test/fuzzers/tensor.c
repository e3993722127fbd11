/* A value in a file of its own, as test data sets have them: read as a tensor,
 * a sequence and an optional, and printed. */
#include "frontends/onnx/import.h"
#include "ir/text.h"
#include "test/fuzzers/fuzzers.h"

static void read(prn_ctx *ctx, const char *path, const prn_type *type) {
  prn_onnx_value v;
  prn_strbuf b = {0};
  prn_status status = prn_onnx_read_value(ctx, path, type, &v);
  for (size_t i = 0; status == PRN_OK && i < v.size; i++)
    prn_attr_print(&b, prn_attr_tensor(ctx, v.at[i]));
  prn_strbuf_destroy(&b);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  prn_ctx *ctx = fuzz_ctx();
  fuzz_input f = fuzz_open(data, size);
  const prn_type *tensor = prn_type_unranked(ctx, PRN_F32);
  const prn_type *sequence =
      prn_type_container(ctx, PRN_TYPE_SEQUENCE, PRN_DTYPE_NONE, tensor);
  read(ctx, f.path, tensor);
  read(ctx, f.path, sequence);
  read(ctx, f.path,
       prn_type_container(ctx, PRN_TYPE_OPTIONAL, PRN_DTYPE_NONE, tensor));
  read(ctx, f.path,
       prn_type_container(ctx, PRN_TYPE_OPTIONAL, PRN_DTYPE_NONE, sequence));
  fuzz_close(&f);
  prn_ctx_destroy(ctx);
  return 0;
}
