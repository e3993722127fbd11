/* run, check and tune. run reads the context only: all that it writes is on
 * its stack and in memory that the caller names. */
#include <string.h>

#include "prune_cuda_impl.h"

/* bytes * dim; -1 where that does not fit. */
static int64_t grow(int64_t bytes, int64_t dim) {
  if (bytes < 0 || dim < 0) return -1;
  return dim != 0 && bytes > (INT64_C(1) << 60) / dim ? -1 : bytes * dim;
}

static prune_cuda_status check_tensor(const prune_cuda_tensor *t,
                                      int64_t bytes) {
  if (bytes < 0) return PRUNE_CUDA_E_SHAPE;
  if (t->size < (uint64_t)bytes) return PRUNE_CUDA_E_SPACE;
  if (bytes && (!t->data || (uintptr_t)t->data % 16 != 0))
    return PRUNE_CUDA_E_ARG;
  return PRUNE_CUDA_OK;
}

static prune_cuda_status check_outputs(const prune_cuda_ctx *c,
                                       const pcu_call *call) {
  const uint32_t *place = c->model->output_dims;
  for (uint32_t i = 0; i < c->model->num_outputs; i++) {
    const prune_cuda_value *v = &c->model->outputs[i];
    int64_t bytes = (int64_t)pcu_type_size(v->type);
    for (int32_t d = 0; d < v->rank; d++, place++)
      bytes = grow(bytes, call->slot->sizes[*place]);
    PCU_TRY(check_tensor(&call->outputs[i], bytes));
  }
  return PRUNE_CUDA_OK;
}

static prune_cuda_status check_inputs(const prune_cuda_ctx *c,
                                      const prune_cuda_tensor *inputs) {
  for (uint32_t i = 0; i < c->model->num_inputs; i++) {
    const prune_cuda_value *v = &c->model->inputs[i];
    int64_t bytes = (int64_t)pcu_type_size(v->type);
    for (int32_t d = 0; d < v->rank; d++)
      bytes = grow(bytes, inputs[i].dims[d]);
    PCU_TRY(check_tensor(&inputs[i], bytes));
  }
  return PRUNE_CUDA_OK;
}

prune_cuda_status pcu_begin(const prune_cuda_ctx *c,
                            const prune_cuda_tensor *inputs, size_t num_inputs,
                            const prune_cuda_tensor *outputs,
                            size_t num_outputs, void *workspace,
                            size_t workspace_size, prune_cuda_stream stream,
                            pcu_call *out) {
  int64_t symbols[PCU_WORDS] = {0};
  if (!c || num_outputs != c->model->num_outputs || (num_outputs && !outputs))
    return PRUNE_CUDA_E_ARG;
  PCU_TRY(pcu_bind(c, inputs, num_inputs, symbols));
  *out = (pcu_call){.inputs = inputs,
                    .outputs = outputs,
                    .slot = pcu_find(c, symbols, PCU_READY),
                    .workspace = workspace,
                    .stream = stream};
  if (!out->slot) return PRUNE_CUDA_E_SHAPE;
  PCU_TRY(check_inputs(c, inputs));
  PCU_TRY(check_outputs(c, out));
  if (!workspace || (uintptr_t)workspace % PRUNE_CUDA_ALIGN != 0)
    return PRUNE_CUDA_E_ARG;
  if (workspace_size < out->slot->space) return PRUNE_CUDA_E_SPACE;
  uint64_t *s = out->args + c->model->num_pointers;
  for (uint32_t i = 0; i < c->model->num_symbols; i++)
    s[i] = (uint64_t)symbols[i];
  s[c->model->num_symbols ? c->model->num_symbols : 1] =
      (uint64_t)(uintptr_t)workspace;
  return PRUNE_CUDA_OK;
}

unsigned char *pcu_pointer(const prune_cuda_ctx *c, const pcu_call *call,
                           const prune_cuda_pointer *p) {
  unsigned char *base = NULL;
  uint32_t n = c->model->num_inputs;
  switch (p->space) {
  case PRUNE_CUDA_ARENA:
    base = call->workspace + PCU_HEAD;
    break;
  case PRUNE_CUDA_WEIGHTS:
    base = c->weights;
    break;
  case PRUNE_CUDA_ARGUMENT:
    base = p->index < n ? call->inputs[p->index].data
                        : call->outputs[p->index - n].data;
    break;
  default:
    break;
  }
  return base ? base + call->slot->sizes[p->offset] : NULL;
}

prune_cuda_status pcu_step(const prune_cuda_ctx *c, pcu_call *call,
                           uint32_t step) {
  const prune_cuda_step *s = &c->model->steps[step];
  const pcu_choice *choice = &call->slot->choices[step];
  const prune_cuda_variant *v = &s->variants[choice->variant];
  const int64_t *sizes = call->slot->sizes;
  if (v->how != PRUNE_CUDA_KERNEL) {
    PCU_TRY(pcu_multiply(c, call, s, choice->product));
    if (!v->after) return PRUNE_CUDA_OK;
  }
  unsigned grid[3];
  for (int i = 0; i < 3; i++) {
    int64_t n = sizes[v->grid[i]];
    if (n <= 0) return PRUNE_CUDA_OK;
    /* Kernels go round in z; x and y were found to fit. */
    grid[i] = (unsigned)(i == 2 && n > 65535 ? 65535 : n);
  }
  for (uint32_t i = 0; i < c->model->num_pointers; i++)
    call->args[i] =
        i < s->num_pointers
            ? (uint64_t)(uintptr_t)pcu_pointer(c, call, &s->pointers[i])
            : 0;
  const prune_cuda_kernel *k = &c->model->kernels[v->kernel];
  void *params[] = {call->args};
  return PCU_CU(c, launch, c->functions[v->kernel], grid[0], grid[1], grid[2],
                k->threads, 1, 1, k->shared, call->stream, params, NULL);
}

static prune_cuda_status run_steps(const prune_cuda_ctx *c, pcu_call *call) {
  PCU_TRY(
      PCU_CU(c, fill, (pcu_ptr)(uintptr_t)call->workspace, 0, 1, call->stream));
  for (uint32_t i = 0; i < c->model->num_steps; i++)
    PCU_TRY(pcu_step(c, call, i));
  return PRUNE_CUDA_OK;
}

prune_cuda_status
prune_cuda_run(const prune_cuda_ctx *ctx, const prune_cuda_tensor *inputs,
               size_t num_inputs, const prune_cuda_tensor *outputs,
               size_t num_outputs, void *workspace, size_t workspace_size,
               prune_cuda_stream stream) {
  pcu_call call;
  bool entered;
  PCU_TRY(pcu_begin(ctx, inputs, num_inputs, outputs, num_outputs, workspace,
                    workspace_size, stream, &call));
  pcu_output_dims(ctx, call.slot, outputs);
  PCU_TRY(pcu_enter(ctx, &entered));
  prune_cuda_status s = run_steps(ctx, &call);
  pcu_leave(ctx, entered);
  return s;
}

static prune_cuda_status not_capturing(const prune_cuda_ctx *c,
                                       prune_cuda_stream stream) {
  int capturing = 0;
  PCU_TRY(PCU_CU(c, capturing, stream, &capturing));
  return capturing ? PRUNE_CUDA_E_CAPTURING : PRUNE_CUDA_OK;
}

static prune_cuda_status read_status(const prune_cuda_ctx *c,
                                     const void *workspace,
                                     prune_cuda_stream stream,
                                     uint32_t *status) {
  PCU_TRY(not_capturing(c, stream));
  PCU_TRY(PCU_CU(c, to_host, status, (pcu_ptr)(uintptr_t)workspace,
                 sizeof *status, stream));
  return PCU_CU(c, wait, stream);
}

prune_cuda_status prune_cuda_check(const prune_cuda_ctx *ctx,
                                   const void *workspace,
                                   prune_cuda_stream stream) {
  uint32_t status = 0;
  bool entered;
  if (!ctx || !workspace) return PRUNE_CUDA_E_ARG;
  PCU_TRY(pcu_enter(ctx, &entered));
  prune_cuda_status s = read_status(ctx, workspace, stream, &status);
  pcu_leave(ctx, entered);
  if (s) return s;
  return status ? PRUNE_CUDA_E_INDEX : PRUNE_CUDA_OK;
}

/* Tuning */

typedef struct tuner {
  prune_cuda_ctx *c;
  pcu_call *call;
  void *begin, *end; /* events */
  float budget;      /* milliseconds for each thing to be timed */
} tuner;

static prune_cuda_status time_runs(const tuner *t, uint32_t step, int n,
                                   float *out_ms) {
  PCU_TRY(PCU_CU(t->c, record, t->begin, t->call->stream));
  for (int i = 0; i < n; i++)
    PCU_TRY(pcu_step(t->c, t->call, step));
  PCU_TRY(PCU_CU(t->c, record, t->end, t->call->stream));
  PCU_TRY(PCU_CU(t->c, event_wait, t->end));
  PCU_TRY(PCU_CU(t->c, elapsed, out_ms, t->begin, t->end));
  *out_ms /= (float)n;
  return PRUNE_CUDA_OK;
}

/* The step as it is chosen now: once to warm up, once to see how often. */
static prune_cuda_status time_step(const tuner *t, uint32_t step,
                                   float *out_micros) {
  float ms = 0;
  PCU_TRY(time_runs(t, step, 1, &ms));
  PCU_TRY(time_runs(t, step, 1, &ms));
  float often = ms > 0 ? t->budget / ms : 100;
  int n = often < 3 ? 3 : often > 100 ? 100 : (int)often;
  PCU_TRY(time_runs(t, step, n, &ms));
  *out_micros = ms * 1000;
  return PRUNE_CUDA_OK;
}

/* One more way of doing the step, which is planned: kept if it is faster. */
static void consider(const tuner *t, uint32_t step, pcu_choice *best) {
  pcu_choice *now = &t->call->slot->choices[step];
  float micros;
  if (now->product && now->product->how) now->algo = now->product->algo;
  prune_cuda_status s = time_step(t, step, &micros);
  if (s) {
    now->reasons[now->variant] = PCU_REFUSED;
    return;
  }
  if (best->micros > 0 && micros >= best->micros) return;
  *best = *now;
  best->micros = micros;
}

static void consider_variant(const tuner *t, uint32_t step, uint32_t variant,
                             pcu_choice *best) {
  const pcu_slot *slot = t->call->slot;
  const prune_cuda_step *s = &t->c->model->steps[step];
  pcu_choice *now = &slot->choices[step];
  pcu_lt_algo algos[PCU_LT_ALGOS];
  int32_t code;
  pcu_reason why = pcu_usable(t->c, slot, step, variant, NULL, &code);
  now->reasons[variant] = (uint8_t)(why == PCU_TAKEN ? PCU_SLOWER : why);
  now->codes[variant] = code;
  if (why != PCU_TAKEN) return;
  now->variant = (uint8_t)variant;
  consider(t, step, best);
  if (s->variants[variant].how == PRUNE_CUDA_KERNEL) return;
  int n = pcu_algorithms(t->c, slot, s, now->product, algos);
  for (int i = 0; i < n; i++)
    if (pcu_usable(t->c, slot, step, variant, &algos[i], &code) == PCU_TAKEN)
      consider(t, step, best);
}

static prune_cuda_status tune_step(const tuner *t, uint32_t step) {
  const pcu_slot *slot = t->call->slot;
  const prune_cuda_step *s = &t->c->model->steps[step];
  pcu_choice *now = &slot->choices[step];
  pcu_choice before = *now, best = {.micros = 0};
  if (now->product && now->product->how) before.algo = now->product->algo;
  if (s->num_variants == 1 && !now->product) return PRUNE_CUDA_OK;
  for (uint32_t v = 0; v < s->num_variants; v++)
    consider_variant(t, step, v, &best);
  if (best.micros <= 0) best = before;
  memcpy(best.reasons, now->reasons, sizeof best.reasons);
  memcpy(best.codes, now->codes, sizeof best.codes);
  best.product = now->product;
  *now = best;
  pcu_reason why = pcu_usable(t->c, slot, step, best.variant, &best.algo,
                              &now->codes[best.variant]);
  now->reasons[best.variant] = (uint8_t)why;
  return why == PCU_TAKEN ? PRUNE_CUDA_OK : PRUNE_CUDA_E_LIB;
}

static uint32_t count_candidates(const prune_cuda_model *m) {
  uint32_t n = 1;
  for (uint32_t i = 0; i < m->num_steps; i++)
    for (uint32_t v = 0; v < m->steps[i].num_variants; v++)
      n += m->steps[i].variants[v].how == PRUNE_CUDA_KERNEL ? 1 : PCU_LT_ALGOS;
  return n;
}

/* Every step on what the steps before it have left in the workspace. */
static prune_cuda_status tune_steps(const tuner *t) {
  PCU_TRY(run_steps(t->c, t->call));
  for (uint32_t i = 0; i < t->c->model->num_steps; i++)
    PCU_TRY(tune_step(t, i));
  return PRUNE_CUDA_OK;
}

static prune_cuda_status tune_with_events(tuner *t) {
  prune_cuda_status s = PCU_CU(t->c, event, &t->begin, 0);
  if (!s) s = PCU_CU(t->c, event, &t->end, 0);
  if (!s) s = tune_steps(t);
  if (t->begin) (void)t->c->cu.event_free(t->begin);
  if (t->end) (void)t->c->cu.event_free(t->end);
  return s;
}

prune_cuda_status
prune_cuda_tune(prune_cuda_ctx *ctx, const prune_cuda_tensor *inputs,
                size_t num_inputs, const prune_cuda_tensor *outputs,
                size_t num_outputs, void *workspace, size_t workspace_size,
                prune_cuda_stream stream, uint32_t budget_ms) {
  pcu_call call;
  bool entered;
  PCU_TRY(pcu_begin(ctx, inputs, num_inputs, outputs, num_outputs, workspace,
                    workspace_size, stream, &call));
  if (ctx->options.flags & PRUNE_CUDA_DETERMINISTIC) return PRUNE_CUDA_OK;
  tuner t = {.c = ctx,
             .call = &call,
             .budget = (float)budget_ms / (float)count_candidates(ctx->model)};
  PCU_TRY(pcu_enter(ctx, &entered));
  prune_cuda_status s = not_capturing(ctx, stream);
  if (!s) s = tune_with_events(&t);
  pcu_leave(ctx, entered);
  return s;
}
