/* prune-run --onnx-test: directories as ONNX's backend tests have them,
 * model.onnx beside test_data_set_N/{input,output}_K.pb. */
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "tools/run.h"

enum { MAX_SETS = 1000, MAX_TENSORS = 1000 };

/* Reads SET/output_K.pb for every output of the model. */
static prn_status load_outputs(prn_ctx *ctx, const char *set,
                               const prn_interface *face, prn_arrays *out) {
  for (size_t i = 0; i < face->num_out && i < MAX_TENSORS; i++) {
    prn_strbuf path = {0};
    prn_strbuf_fmt(&path, "%s/output_%zu.pb", set, i);
    const char *name = prn_intern(ctx, prn_strbuf_view(&path)).data;
    prn_strbuf_destroy(&path);
    PRN_TRY(prn_run_read_value(ctx, name, &face->out[i], NULL, out));
  }
  return PRN_OK;
}

/* Half a unit in the last place of 16-bit floats, about: results that are the
 * same before they are rounded may differ by it. */
static double last_place(prn_dtype t) {
  return t == PRN_BF16 ? 0x1p-8 : t == PRN_F16 ? 0x1p-11 : 0;
}

/* Floats within relative L2 of rtol, or of what their type can tell apart;
 * everything else equal. */
static prn_status judge(prn_ctx *ctx, const char *set, double rtol,
                        const prn_arrays *got, const prn_arrays *want) {
  prn_status status = PRN_OK;
  if (got->size != want->size)
    status = prn_diag_emit(
        prn_ctx_diags(ctx), PRN_ERROR, (prn_loc){.file = set}, PRN_STR(""),
        "the outputs are %zu tensors, expected %zu", got->size, want->size);
  for (size_t i = 0; i < want->size; i++) {
    const prn_array *w = &want->items[i];
    const prn_array *g = prn_arrays_find(got, w->name);
    prn_difference d = {0};
    if (g) d = prn_array_compare(g, w);
    double bound =
        prn_dtype_is_float(w->dtype) ? fmax(rtol, last_place(w->dtype)) : 0;
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

/* What the sets of a folder share. */
typedef struct tested {
  prn_ctx *ctx;
  const prn_run_settings *s;
  const char *model;
  prn_interface face;
  prn_loaded loaded;
} tested;

static prn_status load_inputs(tested *t, const char *set, prn_arrays *out) {
  prn_strbuf first = {0};
  prn_strbuf_fmt(&first, "%s/input_0.pb", set);
  bool any = access(first.data, R_OK) == 0;
  prn_strbuf_destroy(&first);
  if (!any) return PRN_OK; /* a model without inputs */
  if (!t->face.arrays) return PRN_OK;
  return prn_run_read_inputs(t->ctx, t->model, t->s, set, &t->face, out);
}

/* What was compiled for the inputs of one set is not for another. */
static prn_status load_model(tested *t, const prn_arrays *in) {
  prn_run_settings s = *t->s;
  s.elements = t->face.elements;
  if (t->loaded.program && !t->loaded.specialised) return PRN_OK;
  prn_run_unload(&t->loaded);
  return prn_run_load(t->ctx, t->model, &s, in, NULL, &t->loaded);
}

/* What arrays cannot hold is for the compiler to refuse: it names the node. */
static prn_status refuse(tested *t, const char *set) {
  PRN_TRY(load_model(t, NULL));
  return prn_diag_emit(prn_ctx_diags(t->ctx), PRN_ERROR, (prn_loc){.file = set},
                       PRN_STR(""), "inputs are not all tensors of numbers");
}

static prn_status run_set(tested *t, const char *set) {
  prn_arrays in = {0}, want = {0}, got = {0};
  prn_runner *r = &t->loaded.runner;
  prn_status status = prn_run_find_interface(t->ctx, t->model, &t->face);
  if (status == PRN_OK) status = load_inputs(t, set, &in);
  if (status == PRN_OK && !t->face.arrays) status = refuse(t, set);
  if (status == PRN_OK) status = load_model(t, &in);
  if (status == PRN_OK) status = load_outputs(t->ctx, set, &t->face, &want);
  if (status == PRN_OK) status = prn_runner_prepare(r, &in, &got);
  if (status == PRN_OK) status = prn_runner_run(r, &in, &got);
  if (status == PRN_OK) status = judge(t->ctx, set, t->s->rtol, &got, &want);
  prn_arrays_destroy(&in);
  prn_arrays_destroy(&want);
  prn_arrays_destroy(&got);
  return status;
}

static prn_status run_dir(const prn_run_settings *s, const char *dir) {
  tested t = {.ctx = prn_ctx_create(), .s = s};
  prn_strbuf path = {0};
  prn_strbuf_fmt(&path, "%s/model.onnx", dir);
  t.model = prn_intern(t.ctx, prn_strbuf_view(&path)).data;
  prn_status status = PRN_OK;
  size_t sets = 0;
  for (unsigned i = 0; status == PRN_OK && i < MAX_SETS; i++) {
    path.size = 0;
    prn_strbuf_fmt(&path, "%s/test_data_set_%u", dir, i);
    if (access(path.data, R_OK) != 0) break;
    sets++;
    status = run_set(&t, prn_intern(t.ctx, prn_strbuf_view(&path)).data);
  }
  if (status == PRN_OK && sets == 0)
    status =
        prn_diag_emit(prn_ctx_diags(t.ctx), PRN_ERROR, (prn_loc){.file = dir},
                      PRN_STR(""), "there is no test_data_set_0");
  prn_run_unload(&t.loaded);
  prn_strbuf_destroy(&path);
  prn_ctx_destroy(t.ctx);
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
