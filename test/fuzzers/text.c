/* The text form: parsed, checked, printed and parsed back. */
#include "ir/text.h"
#include "test/fuzzers/fuzzers.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  prn_ctx *ctx = fuzz_ctx();
  prn_str text = {(const char *)data, size};
  prn_diag_add_source(prn_ctx_diags(ctx), "input", text);
  prn_module *m = prn_parse_module(ctx, "input", text);
  if (m && fuzz_is_valid(m)) fuzz_round_trip(m);
  prn_ctx_destroy(ctx);
  return 0;
}
