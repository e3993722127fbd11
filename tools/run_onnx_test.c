/* prune-run --onnx-test: directories as ONNX's backend tests have them,
 * model.onnx beside test_data_set_N/{input,output}_K.pb. */
#include <dirent.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "tools/run.h"

enum { MAX_SETS = 1000, MAX_TENSORS = 1000 };

/* Reads SET/KIND_K.pb for every value of the model. */
static prn_status load_set(prn_ctx *ctx, const char *set, const char *kind,
                           const prune_value *values, uint32_t n,
                           prn_arrays *out) {
  for (uint32_t i = 0; i < n && i < MAX_TENSORS; i++) {
    prn_strbuf path = {0};
    prn_strbuf_fmt(&path, "%s/%s_%u.pb", set, kind, (unsigned)i);
    const char *name = prn_intern(ctx, prn_strbuf_view(&path)).data;
    prn_strbuf_destroy(&path);
    PRN_TRY(prn_run_read_tensor(ctx, name, prn_str_from(values[i].name), out));
  }
  return PRN_OK;
}

/* Floats within relative L2 of rtol, everything else equal. */
static prn_status judge(prn_ctx *ctx, const char *set, double rtol,
                        const prn_arrays *got, const prn_arrays *want) {
  prn_status status = PRN_OK;
  for (size_t i = 0; i < want->size; i++) {
    const prn_array *w = &want->items[i];
    const prn_array *g = prn_arrays_find(got, w->name);
    prn_difference d = {0};
    if (g) d = prn_array_compare(g, w);
    double bound = prn_dtype_is_float(w->dtype) ? rtol : 0;
    if (!d.comparable || !(d.rel_l2 <= bound))
      status = prn_diag_emit(
          prn_ctx_diags(ctx), PRN_ERROR, (prn_loc){.file = set}, PRN_STR(""),
          "output '%.*s' %s (relative L2 %.3g, largest difference %.3g)",
          PRN_STR_ARG(w->name),
          d.comparable ? "differs" : "has another type or size", d.rel_l2,
          d.max_abs);
  }
  return status;
}

static prn_status run_set(prn_loaded *l, const char *set, double rtol) {
  prn_arrays in = {0}, want = {0}, got = {0};
  const prune_model *m = l->runner.model;
  prn_ctx *ctx = l->runner.ctx;
  prn_status status =
      load_set(ctx, set, "input", m->inputs, m->num_inputs, &in);
  if (status == PRN_OK)
    status = load_set(ctx, set, "output", m->outputs, m->num_outputs, &want);
  if (status == PRN_OK) status = prn_runner_prepare(&l->runner, &in, &got);
  if (status == PRN_OK) status = prn_runner_run(&l->runner, &in, &got);
  if (status == PRN_OK) status = judge(ctx, set, rtol, &got, &want);
  prn_arrays_destroy(&in);
  prn_arrays_destroy(&want);
  prn_arrays_destroy(&got);
  return status;
}

static prn_status run_dir(const prn_run_settings *s, const char *dir) {
  prn_loaded l;
  prn_ctx *ctx = prn_ctx_create();
  prn_strbuf path = {0};
  prn_strbuf_fmt(&path, "%s/model.onnx", dir);
  prn_status status = prn_run_load(ctx, path.data, s, NULL, NULL, &l);
  size_t sets = 0;
  for (unsigned i = 0; status == PRN_OK && i < MAX_SETS; i++) {
    path.size = 0;
    prn_strbuf_fmt(&path, "%s/test_data_set_%u", dir, i);
    if (access(path.data, R_OK) != 0) break;
    sets++;
    status = run_set(&l, prn_intern(ctx, prn_strbuf_view(&path)).data, s->rtol);
  }
  if (status == PRN_OK && sets == 0)
    status =
        prn_diag_emit(prn_ctx_diags(ctx), PRN_ERROR, (prn_loc){.file = dir},
                      PRN_STR(""), "there is no test_data_set_0");
  prn_run_unload(&l);
  prn_strbuf_destroy(&path);
  prn_ctx_destroy(ctx);
  return status;
}

prn_status prn_run_onnx_tests(const prn_run_settings *s,
                              const char *const *dirs, size_t n) {
  size_t passed = 0;
  for (size_t i = 0; i < n; i++) {
    bool ok = run_dir(s, dirs[i]) == PRN_OK;
    passed += ok;
    printf("%s: %s\n", ok ? "PASS" : "FAIL", dirs[i]);
    (void)fflush(stdout);
  }
  printf("%zu passed, %zu failed\n", passed, n - passed);
  return passed == n ? PRN_OK : PRN_FAIL;
}
