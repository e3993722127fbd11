/* Small files of tools: what --tune keeps, cost tables, reproducers. */
#include "passes/lower/machine.h"
#include "test/fuzzers/fuzzers.h"
#include "tools/reproducer.h"
#include "tools/tune_cache.h"

static void read_costs(prn_str text) {
  prn_machine m;
  const char *why;
  prn_str at;
  prn_strbuf b = {0};
  FUZZ_HOLDS(prn_machine_find(PRN_STR("x86-64-v4"), &m));
  if (prn_machine_costs(&m, text, &why, &at)) {
    prn_machine_print(&m, "\n", &b);
    FUZZ_HOLDS(prn_machine_costs(&m, prn_strbuf_view(&b), &why, &at));
  } else {
    prn_strbuf_fmt(&b, "'%.*s' %s", PRN_STR_ARG(at), why);
  }
  prn_strbuf_destroy(&b);
}

static void read_reproducer(prn_ctx *ctx, const char *path) {
  prn_reproduced r;
  (void)!prn_reproducer_read(ctx, path, &r);
  prn_file_release(r.input);
  prn_free(r.plugins.at);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  prn_ctx *ctx = fuzz_ctx();
  fuzz_input f = fuzz_open(data, size);
  prn_tune_cache cache;
  if (prn_tune_cache_open(ctx, f.path, &cache) == PRN_OK)
    prn_tune_cache_destroy(&cache);
  read_costs((prn_str){(const char *)data, size});
  read_reproducer(ctx, f.path);
  fuzz_close(&f);
  prn_ctx_destroy(ctx);
  return 0;
}
