/* A model file: imported, checked, printed and parsed back, written and
 * imported again, then cleaned up by the passes that every pipeline begins
 * with. */
#include <unistd.h>

#include "backends/onnx/export.h"
#include "frontends/onnx/import.h"
#include "ir/text.h"
#include "test/fuzzers/fuzzers.h"

static prn_module *read_model(prn_ctx *ctx, const char *path) {
  prn_module *m;
  return prn_onnx_import(ctx, path, &m) == PRN_OK ? m : NULL;
}

static prn_module *write_and_read(prn_module *m) {
  const char *path = fuzz_scratch();
  FUZZ_HOLDS(prn_onnx_export(m, path) == PRN_OK);
  prn_module *again = read_model(m->ctx, path);
  (void)unlink(path);
  FUZZ_HOLDS(again);
  return again;
}

/* Types that a model declares against what values are do not come back; all
 * else does, and from the second time on everything. */
static void round_trip_as_model(prn_module *m) {
  prn_module *once = write_and_read(m), *twice = write_and_read(once);
  FUZZ_HOLDS(prn_module_compare(once, twice, "written") == PRN_OK);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  prn_ctx *ctx = fuzz_ctx();
  fuzz_input f = fuzz_open(data, size);
  prn_module *m = read_model(ctx, f.path);
  if (m && fuzz_is_valid(m)) {
    fuzz_round_trip(m);
    round_trip_as_model(m);
    fuzz_run(m, "infer-shapes,canonicalize,fold-constants,cse,dce");
  }
  fuzz_close(&f);
  prn_ctx_destroy(ctx);
  return 0;
}
