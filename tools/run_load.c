/* prune-run: getting a model ready, and its inputs. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tools/run.h"

/* Errors of the first attempt, shown only when there is no second. */
typedef struct quiet {
  prn_diag_sink *sink;
  prn_strbuf text;
} quiet;

static void hold(void *user, const prn_diag *d) {
  quiet *q = user;
  prn_diag_format(q->sink, d, &q->text);
}

static prn_status compile(prn_ctx *ctx, const char *path,
                          const prn_run_settings *s, prn_cli_list dims,
                          const prn_arrays *inputs, prn_arrays *bound,
                          prn_kernel_times *profile, prn_profile *observe,
                          prn_loaded *out) {
  prn_module *m = NULL;
  prn_compile_options o = {
      .target = {.march = s->march}, .prefix = "model", .profile = profile};
  prn_lowering how = {.recipe = s->recipe,
                      .defines = s->defines,
                      .pipeline = s->pipeline,
                      .profile = s->profile,
                      .observe = observe,
                      .observe_layers = s->profile_layers,
                      .values = s->observe,
                      .precision = s->precision,
                      .table = s->table,
                      .tune = s->tune,
                      .target = o.target,
                      .dims = dims,
                      .elements = s->elements,
                      .given = inputs,
                      .bound = bound,
                      .fitted = &out->specialised,
                      .threads = (unsigned)s->threads,
                      .verbose = s->verbose};
  PRN_TRY(prn_compile_tile(prn_ctx_diags(ctx), &o.target, &how.tile));
  PRN_TRY(prn_lower_file(ctx, path, &how, &m));
  return prn_compile_jit(m, &o, &out->program);
}

/* "NAME[AXIS]=SIZE" for every dimension of the inputs. */
static prn_cli_list sizes_of(prn_ctx *ctx, const prn_arrays *inputs) {
  prn_cli_list dims = {0};
  prn_strbuf b = {0};
  for (size_t i = 0; i < inputs->size; i++)
    dims.cap += (size_t)inputs->items[i].rank;
  dims.at = PRN_ARENA_ARRAY(prn_ctx_arena(ctx), const char *, dims.cap);
  for (size_t i = 0; i < inputs->size; i++)
    for (int32_t k = 0; k < inputs->items[i].rank; k++) {
      b.size = 0;
      prn_strbuf_fmt(&b, "%.*s[%d]=%lld", PRN_STR_ARG(inputs->items[i].name),
                     (int)k, (long long)inputs->items[i].dims[k]);
      dims.at[dims.size++] = prn_intern(ctx, prn_strbuf_view(&b)).data;
    }
  prn_strbuf_destroy(&b);
  return dims;
}

static prn_status compile_for(prn_ctx *ctx, const char *path,
                              const prn_run_settings *s,
                              const prn_arrays *inputs,
                              prn_kernel_times *profile, prn_profile *observe,
                              prn_loaded *out, prn_arrays *bound) {
  prn_diag_sink *sink = prn_ctx_diags(ctx);
  if (!inputs && !s->dims.size)
    return compile(ctx, path, s, (prn_cli_list){0}, NULL, NULL, profile,
                   observe, out);
  quiet q = {.sink = sink};
  size_t errors = sink->errors;
  sink->handler = hold;
  sink->user = &q;
  prn_status status = compile(ctx, path, s, (prn_cli_list){0}, inputs, NULL,
                              profile, observe, out);
  sink->handler = NULL;
  if (status == PRN_OK && q.text.size)
    (void)fwrite(q.text.data, 1, q.text.size, stderr);
  prn_strbuf_destroy(&q.text);
  if (status == PRN_OK) return status;
  sink->errors = errors;
  prn_cli_list dims = inputs ? sizes_of(ctx, inputs) : s->dims;
  out->specialised = true;
  status = compile(ctx, path, s, dims, inputs, inputs ? bound : NULL, profile,
                   observe, out);
  if (status != PRN_OK) prn_arrays_destroy(bound);
  return status;
}

prn_status prn_run_load(prn_ctx *ctx, const char *path,
                        const prn_run_settings *s, const prn_arrays *inputs,
                        prn_profile *observe, prn_loaded *out) {
  prn_kernel_times *profile = NULL;
  prn_arrays bound = {0};
  bool library = prn_str_ends(prn_str_from(path), ".so");
  *out = (prn_loaded){0};
  if (s->profile_kernels) {
    profile = &out->profile;
    prn_run_profile_init(profile, s->threads);
  }
  if (library && (profile || observe))
    return prn_diag_emit(prn_ctx_diags(ctx), PRN_ERROR, (prn_loc){.file = path},
                         PRN_STR(""),
                         "--profile-%s takes a model, not a library",
                         profile ? "kernels" : "out");
  if (library)
    PRN_TRY(prn_program_open(prn_ctx_diags(ctx), path, &out->program));
  else
    PRN_TRY(compile_for(ctx, path, s, inputs, profile, observe, out, &bound));
  out->runner = (prn_runner){.ctx = ctx,
                             .file = prn_intern_cstr(ctx, path).data,
                             .bound = bound,
                             .model = prn_program_model(out->program),
                             .weights = prn_program_weights(out->program)};
  if (s->verbose) fprintf(stderr, "code for %s\n", out->runner.model->target);
  if (s->threads <= 1) return PRN_OK;
  prune_pool *pool = prn_alloc(sizeof *pool);
  if (prune_pool_start(pool, s->threads) == 0) {
    out->runner.pool = pool;
    return PRN_OK;
  }
  prn_free(pool);
  prn_run_unload(out);
  return prn_diag_emit(prn_ctx_diags(ctx), PRN_ERROR, (prn_loc){.file = path},
                       PRN_STR(""), "cannot start %lld threads",
                       (long long)s->threads);
}

void prn_run_unload(prn_loaded *l) {
  if (l->runner.pool) prune_pool_stop(l->runner.pool);
  prn_free(l->runner.pool);
  prn_runner_destroy(&l->runner);
  prn_program_destroy(l->program);
  prn_free(l->profile.kernels);
  *l = (prn_loaded){0};
}

static int64_t dim_size(void *user, prn_str name) {
  const prn_run_settings *s = user;
  for (size_t i = 0; i < s->dims.size; i++) {
    const char *eq = strrchr(s->dims.at[i], '=');
    if (eq && prn_str_eq(
                  name, (prn_str){s->dims.at[i], (size_t)(eq - s->dims.at[i])}))
      return strtoll(eq + 1, NULL, 10);
  }
  return 0;
}

prn_status prn_run_random_inputs(prn_loaded *l, const prn_run_settings *s,
                                 prn_arrays *out) {
  uint64_t seed = s->random_inputs < 0 ? 0 : (uint64_t)s->random_inputs;
  prn_run_settings copy = *s;
  return prn_runner_random(&l->runner, seed, dim_size, &copy, out);
}
