/* A recipe: parsed, and printed as a pipeline that parses back to itself. */
#include "passes/pipeline.h"
#include "test/fuzzers/fuzzers.h"

static void round_trip(prn_ctx *ctx, const prn_registry *r,
                       const prn_pipeline *p) {
  prn_strbuf once = {0}, twice = {0};
  prn_pipeline *again = prn_pipeline_create(ctx);
  prn_pipeline_print(p, &once);
  FUZZ_HOLDS(prn_pipeline_parse(ctx, r, NULL, prn_strbuf_view(&once), again) ==
             PRN_OK);
  prn_pipeline_print(again, &twice);
  FUZZ_HOLDS(prn_str_eq(prn_strbuf_view(&once), prn_strbuf_view(&twice)));
  prn_strbuf_destroy(&once);
  prn_strbuf_destroy(&twice);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  prn_ctx *ctx = fuzz_ctx();
  const prn_registry *r = fuzz_passes();
  prn_variables v = {0};
  prn_pipeline *p = prn_pipeline_create(ctx);
  prn_str text = {(const char *)data, size};
  FUZZ_HOLDS(prn_variables_give(&v, prn_ctx_diags(ctx), "sparsity=0.7") ==
             PRN_OK);
  if (prn_recipe_parse(ctx, r, "input", text, &v, p) == PRN_OK)
    round_trip(ctx, r, p);
  prn_variables_destroy(&v);
  prn_ctx_destroy(ctx);
  return 0;
}
