#include "test/fuzzers/fuzzers.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "ir/infer.h"
#include "ir/text.h"
#include "ir/verify.h"
#include "passes/manager.h"

void fuzz_broken(const char *what, const char *file, int line) {
  (void)fprintf(stderr, "%s:%d: does not hold: %s\n", file, line, what);
  abort();
}

/* FUZZ_SHOW: for looking at one input. */
static void count_only(void *user, const prn_diag *d) {
  prn_strbuf b = {0};
  if (getenv("FUZZ_SHOW")) {
    prn_diag_format(user, d, &b);
    (void)fwrite(b.data, 1, b.size, stderr);
  }
  prn_strbuf_destroy(&b);
}

prn_ctx *fuzz_ctx(void) {
  prn_ctx *ctx = prn_ctx_create();
  prn_ctx_diags(ctx)->handler = count_only;
  prn_ctx_diags(ctx)->user = prn_ctx_diags(ctx);
  return ctx;
}

fuzz_input fuzz_open(const uint8_t *data, size_t size) {
  fuzz_input f = {.fd = memfd_create("input", MFD_CLOEXEC)};
  FUZZ_HOLDS(f.fd >= 0 && write(f.fd, data, size) == (ssize_t)size);
  (void)snprintf(f.path, sizeof f.path, "/proc/self/fd/%d", f.fd);
  return f;
}

void fuzz_close(fuzz_input *f) { (void)close(f->fd); }

static char folder[64], name[96];

static void remove_scratch(void) {
  (void)unlink(name);
  (void)rmdir(folder);
}

const char *fuzz_scratch(void) {
  const char *tmp = getenv("TMPDIR");
  if (*folder) return name;
  (void)snprintf(folder, sizeof folder, "%.40s/prn-fuzz-XXXXXX",
                 tmp ? tmp : P_tmpdir);
  FUZZ_HOLDS(mkdtemp(folder));
  (void)snprintf(name, sizeof name, "%s/out", folder);
  (void)atexit(remove_scratch);
  return name;
}

bool fuzz_is_valid(prn_module *m) {
  return prn_verify(m) == PRN_OK && prn_infer_check(m) == PRN_OK;
}

/* Types that inference finds can be those of no operator. */
static bool infer(prn_module *m) {
  return prn_infer_module(m, false) == PRN_OK && prn_verify(m) == PRN_OK;
}

void fuzz_round_trip(prn_module *m) {
  prn_strbuf text = {0};
  prn_print_module_buf(m, NULL, &text);
  prn_module *again =
      prn_parse_module(m->ctx, "<printed>", prn_strbuf_view(&text));
  FUZZ_HOLDS(again);
  FUZZ_HOLDS(prn_module_compare(m, again, "printed") == PRN_OK);
  prn_strbuf_destroy(&text);
}

static prn_status still_valid(prn_module *m) {
  FUZZ_HOLDS(prn_verify(m) == PRN_OK);
  return PRN_OK;
}

const prn_registry *fuzz_passes(void) {
  static prn_registry r;
  if (r.size == 0) prn_registry_add_all(&r);
  return &r;
}

void fuzz_run(prn_module *m, const char *text) {
  if (!infer(m)) return;
  prn_run_config config = {
      .threads = 1, .verify_each = true, .verify = still_valid};
  prn_pipeline *p = prn_pipeline_create(m->ctx);
  FUZZ_HOLDS(prn_pipeline_parse(m->ctx, fuzz_passes(), NULL, prn_str_from(text),
                                p) == PRN_OK);
  (void)!prn_pipeline_run(p, m, &config);
}
