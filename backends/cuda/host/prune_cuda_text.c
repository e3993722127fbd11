/* Messages, and explain: how each step is done, why, and why not otherwise. */
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "prune_cuda_impl.h"

/* What failed last; of the thread, as run does not write to the context. */
static _Thread_local struct {
  const char *library, *what;
  int code;
} last = {"", "", 0};

#define NAME(field, symbol, arguments) .field = symbol,
const pcu_driver_names pcu_driver_symbols = {PCU_DRIVER(NAME)};

static const char *const library_names[] = {[PCU_CUDA] = "CUDA",
                                            [PCU_LT] = "cuBLASLt",
                                            [PCU_SLT] = "cuSPARSELt",
                                            [PCU_SP] = "cuSPARSE",
                                            [PCU_DNN] = "cuDNN"};

void pcu_log(const prune_cuda_options *o, int level, const char *format, ...) {
  char line[PCU_LOG_LINE];
  va_list ap;
  if (!o->log) return;
  va_start(ap, format);
  (void)vsnprintf(line, sizeof line, format, ap);
  va_end(ap);
  o->log(o->log_user, level, line);
}

prune_cuda_status pcu_said(int library, int code, const char *what) {
  if (code == 0) return PRUNE_CUDA_OK;
  last.library = library_names[library];
  last.what = what;
  last.code = code;
  if (library != PCU_CUDA) return PRUNE_CUDA_E_LIB;
  return code == PCU_NOT_WHILE_CAPTURING ? PRUNE_CUDA_E_CAPTURING
                                         : PRUNE_CUDA_E_CUDA;
}

void prune_cuda_last_lib(const char **library, int *code, const char **what) {
  if (library) *library = last.library;
  if (code) *code = last.code;
  if (what) *what = last.what;
}

const char *prune_cuda_errstr(prune_cuda_status status) {
  static const char *const texts[] = {
      [PRUNE_CUDA_OK] = "success",
      [PRUNE_CUDA_E_ARG] = "an argument is wrong",
      [PRUNE_CUDA_E_ABI] = "options or tables are of another version",
      [PRUNE_CUDA_E_SHAPE] = "the model has not these sizes, or they were not "
                             "prepared",
      [PRUNE_CUDA_E_NO_DRIVER] = "there is no CUDA driver, or it is too old",
      [PRUNE_CUDA_E_NO_DEVICE] = "there is no such device",
      [PRUNE_CUDA_E_ARCH] = "there is no code for the device",
      [PRUNE_CUDA_E_LIB_MISSING] = "a library that is needed is missing",
      [PRUNE_CUDA_E_LIB_VERSION] = "a library that is needed has a version "
                                   "that is not known",
      [PRUNE_CUDA_E_SPACE] = "memory is smaller than needed",
      [PRUNE_CUDA_E_WEIGHTS] = "the weights are damaged, or another model's",
      [PRUNE_CUDA_E_CACHE_STALE] = "the cache is of another model, device or "
                                   "version",
      [PRUNE_CUDA_E_CAPTURING] = "not allowed while the stream is captured",
      [PRUNE_CUDA_E_CUDA] = "the CUDA driver failed",
      [PRUNE_CUDA_E_LIB] = "a library failed",
      [PRUNE_CUDA_E_INDEX] = "an index in the data is out of range"};
  size_t i = (size_t)status;
  return i < sizeof texts / sizeof *texts ? texts[i] : "unknown status";
}

/* Explaining */

typedef struct text {
  char *buffer;
  size_t size, at; /* at: of the whole text, also of what has no room */
} text;

#if defined(__GNUC__)
__attribute__((format(printf, 2, 3)))
#endif
static void
add(text *t, const char *format, ...) {
  va_list ap;
  size_t left = t->at < t->size ? t->size - t->at : 0;
  va_start(ap, format);
  int n = vsnprintf(left ? t->buffer + t->at : NULL, left, format, ap);
  va_end(ap);
  t->at += n > 0 ? (size_t)n : 0;
}

static const char *how_name(const prune_cuda_ctx *c,
                            const prune_cuda_variant *v) {
  return v->how == PRUNE_CUDA_CUBLASLT     ? "cuBLASLt"
         : v->how == PRUNE_CUDA_CUSPARSELT ? "cuSPARSELt"
         : v->how == PRUNE_CUDA_CUSPARSE   ? "cuSPARSE"
         : v->how == PRUNE_CUDA_CUDNN      ? "cuDNN"
                                           : c->model->kernels[v->kernel].name;
}

static void add_reason(text *t, const prune_cuda_variant *v, int reason,
                       int32_t code) {
  static const char *const texts[] = {
      [PCU_NEXT] = "comes after it",
      [PCU_SLOWER] = "was slower",
      [PCU_FLAGS] = "the options leave it out",
      [PCU_MISSING] = "there is no such library",
      [PCU_OLD] = "the library's version is not known to fit",
      [PCU_EPILOGUE] = "it has not this bias or activation",
      [PCU_LAYOUT] = "it has not these sizes, types or alignments",
      [PCU_EXPAND] = "no kernel unpacks the weights for it",
      [PCU_ROOM] = "it needs more memory than is set aside",
      [PCU_SMALL] = "the device has too little shared memory for it",
      [PCU_GRID] = "more blocks than can be launched"};
  if (reason == PCU_ROWS && v->max_rows == INT64_MAX)
    add(t, "for %" PRId64 " rows and more", v->min_rows);
  else if (reason == PCU_ROWS)
    add(t, "for %" PRId64 " to %" PRId64 " rows", v->min_rows, v->max_rows);
  else if (reason == PCU_ARCH)
    add(t, "for capability %d%s", v->arch < 0 ? -v->arch : v->arch,
        v->arch < 0 ? " and more" : " alone");
  else if (reason == PCU_REFUSED)
    add(t, "refused with %d", code);
  else
    add(t, "%s", texts[reason]);
}

static void add_step(text *t, const prune_cuda_ctx *c, const pcu_slot *slot,
                     uint32_t step) {
  const prune_cuda_step *s = &c->model->steps[step];
  const pcu_choice *choice = &slot->choices[step];
  const prune_cuda_variant *v = &s->variants[choice->variant];
  add(t, "  %s (%s): %s", s->name, s->op, how_name(c, v));
  if (v->why && *v->why && strcmp(v->why, how_name(c, v)) != 0)
    add(t, ", %s", v->why);
  if (v->after) add(t, ", then %s", c->model->kernels[v->kernel].name);
  if (s->variants[choice->variant].max_rows != INT64_MAX || v->min_rows > 0)
    add(t, ", %" PRId64 " rows", slot->sizes[v->rows]);
  if (s->product || s->conv)
    add(t, ", %" PRIu64 " bytes of weights",
        c->model->records[s->product ? s->product->record : s->conv->record]
            .size);
  if (choice->product && choice->product->space)
    add(t, ", %zu of workspace", choice->product->space);
  if (choice->micros > 0) add(t, ", %.2f us", (double)choice->micros);
  for (uint32_t i = 0; i < s->num_variants; i++) {
    if (i == choice->variant) continue;
    add(t, "; not %s: ", how_name(c, &s->variants[i]));
    add_reason(t, &s->variants[i], choice->reasons[i], choice->codes[i]);
  }
  add(t, "\n");
}

static void add_library(text *t, const prune_cuda_ctx *c, int library) {
  uint64_t v = c->versions[library];
  const char *name = library_names[library];
  if (c->why[library] == PCU_UNASKED) return;
  if (c->why[library] == PCU_FLAGS)
    add(t, ", %s left out", name);
  else if (v == 0)
    add(t, ", no %s", name);
  else if (library == PCU_LT)
    add(t, ", %s %" PRIu64 ".%" PRIu64, name, v / 10000, v % 10000 / 100);
  else if (library == PCU_DNN)
    add(t, ", %s %" PRIu64 ".%" PRIu64 ".%" PRIu64, name, v / 10000,
        v % 10000 / 100, v % 100);
  else
    add(t, ", %s %" PRIu64 ".%" PRIu64 ".%" PRIu64, name, v / 1000000,
        v / 1000 % 1000, v % 1000);
  if (c->why[library] == PCU_OLD) add(t, " (not known)");
  if (c->why[library] == PCU_REFUSED)
    add(t, " (error %d)", (int)c->lib_codes[library]);
}

prune_cuda_status prune_cuda_explain(const prune_cuda_ctx *ctx, char *buffer,
                                     size_t *size) {
  if (!ctx || !size) return PRUNE_CUDA_E_ARG;
  text t = {.buffer = buffer, .size = buffer ? *size : 0};
  uint32_t plans = ctx->options.plans ? ctx->options.plans : 4;
  add(&t, "%s: capability %d.%d, driver for CUDA %d.%d", ctx->model->name,
      ctx->arch / 10, ctx->arch % 10, ctx->driver_version / 1000,
      ctx->driver_version % 1000 / 10);
  add_library(&t, ctx, PCU_LT);
  add_library(&t, ctx, PCU_SLT);
  add_library(&t, ctx, PCU_SP);
  add_library(&t, ctx, PCU_DNN);
  add(&t, "\n");
  for (uint32_t i = 0; i < plans; i++) {
    const pcu_slot *slot = &ctx->slots[i];
    if (slot->state != PCU_READY) continue;
    add(&t, "sizes (");
    for (uint32_t s = 0; s < ctx->model->num_symbols; s++)
      add(&t, "%s%" PRId64, s ? ", " : "", slot->symbols[s]);
    add(&t, "): %zu bytes of workspace\n", slot->space);
    for (uint32_t s = 0; s < ctx->model->num_steps; s++)
      add_step(&t, ctx, slot, s);
  }
  bool fits = t.at < t.size;
  *size = t.at + 1;
  return fits || !buffer ? PRUNE_CUDA_OK : PRUNE_CUDA_E_SPACE;
}
