/* prepare: which variant of each step is taken for a set of sizes. The order
 * of the variants is the planner's; what the device, the options or a library
 * does not have is passed over, and why is kept for explain. */
#include <string.h>

#include "prune_cuda_impl.h"

enum { MAX_GRID = 65535 };

prune_cuda_status pcu_bind(const prune_cuda_ctx *c,
                           const prune_cuda_tensor *inputs, size_t num_inputs,
                           int64_t *symbols) {
  const prune_cuda_model *m = c->model;
  const int64_t *dims[PCU_INPUTS];
  if (num_inputs != m->num_inputs || (num_inputs && !inputs))
    return PRUNE_CUDA_E_ARG;
  for (uint32_t i = 0; i < m->num_inputs; i++) {
    const prune_cuda_value *v = &m->inputs[i];
    dims[i] = inputs[i].dims;
    if (v->rank > 0 && !dims[i]) return PRUNE_CUDA_E_ARG;
    for (int32_t d = 0; d < v->rank; d++)
      if (dims[i][d] < 0 || (v->dims[d] >= 0 && dims[i][d] != v->dims[d]))
        return PRUNE_CUDA_E_SHAPE;
  }
  return m->bind(dims, symbols) ? PRUNE_CUDA_E_SHAPE : PRUNE_CUDA_OK;
}

const pcu_slot *pcu_find(const prune_cuda_ctx *c, const int64_t *symbols,
                         int state) {
  uint32_t n = c->options.plans ? c->options.plans : 4;
  for (uint32_t i = 0; i < n; i++) {
    const pcu_slot *s = &c->slots[i];
    if (s->state != state) continue;
    if (state == PCU_EMPTY ||
        memcmp(s->symbols, symbols, c->model->num_symbols * sizeof *symbols) ==
            0)
      return s;
  }
  return NULL;
}

void pcu_output_dims(const prune_cuda_ctx *c, const pcu_slot *slot,
                     const prune_cuda_tensor *outputs) {
  const uint32_t *place = c->model->output_dims;
  for (uint32_t i = 0; i < c->model->num_outputs; i++)
    for (int32_t d = 0; d < c->model->outputs[i].rank; d++, place++)
      if (outputs[i].dims) outputs[i].dims[d] = slot->sizes[*place];
}

static bool grid_fits(const pcu_slot *slot, const prune_cuda_variant *v) {
  return slot->sizes[v->grid[0]] <= INT32_MAX &&
         slot->sizes[v->grid[1]] <= MAX_GRID;
}

pcu_reason pcu_usable(const prune_cuda_ctx *c, const pcu_slot *slot,
                      uint32_t step, uint32_t variant, const pcu_lt_algo *algo,
                      int32_t *code) {
  const prune_cuda_step *s = &c->model->steps[step];
  const prune_cuda_variant *v = &s->variants[variant];
  *code = 0;
  if (v->arch > 0 ? c->arch != v->arch : c->arch < -v->arch) return PCU_ARCH;
  if (v->how == PRUNE_CUDA_KERNEL || v->after) {
    if (!c->functions[v->kernel]) return PCU_SMALL;
    if (!grid_fits(slot, v)) return PCU_GRID;
  }
  if (v->how == PRUNE_CUDA_KERNEL) return PCU_TAKEN;
  if (v->how == PRUNE_CUDA_CUDNN ? !s->conv && !s->attention : !s->product)
    return PCU_LAYOUT;
  return pcu_plan_product(c, slot, s, v->how, algo, slot->choices[step].product,
                          code);
}

/* How far the rows are from those that the planner has the variant for. */
static int64_t distance(const pcu_slot *slot, const prune_cuda_variant *v) {
  int64_t rows = slot->sizes[v->rows];
  return rows < v->min_rows   ? v->min_rows - rows
         : rows > v->max_rows ? rows - v->max_rows
                              : 0;
}

/* What is left to try, the nearest rows first, in order; -1: nothing. */
static int next_variant(const prune_cuda_step *s, const pcu_slot *slot,
                        const bool *tried) {
  int best = -1;
  for (uint32_t v = 0; v < s->num_variants; v++)
    if (!tried[v] && (best < 0 || distance(slot, &s->variants[v]) <
                                      distance(slot, &s->variants[best])))
      best = (int)v;
  return best;
}

static bool try_variant(const prune_cuda_ctx *c, const pcu_slot *slot,
                        uint32_t step, int variant, const pcu_lt_algo *algo) {
  pcu_choice *choice = &slot->choices[step];
  pcu_reason why = pcu_usable(c, slot, step, (uint32_t)variant, algo,
                              &choice->codes[variant]);
  choice->reasons[variant] = (uint8_t)why;
  choice->variant = (uint8_t)variant;
  return why == PCU_TAKEN;
}

static prune_cuda_status nothing_fits(const prune_cuda_ctx *c, uint32_t step,
                                      const pcu_choice *choice) {
  const prune_cuda_step *s = &c->model->steps[step];
  pcu_log(&c->options, 0, "%s: nothing can do '%s' (%s) here", c->model->name,
          s->name, s->op);
  for (uint32_t v = 0; v < s->num_variants; v++)
    switch (choice->reasons[v]) {
    case PCU_MISSING:
    case PCU_FLAGS:
      return PRUNE_CUDA_E_LIB_MISSING;
    case PCU_OLD:
      return PRUNE_CUDA_E_LIB_VERSION;
    case PCU_ARCH:
    case PCU_SMALL:
      return PRUNE_CUDA_E_ARCH;
    case PCU_GRID:
      return PRUNE_CUDA_E_SHAPE;
    default:
      break;
    }
  return PRUNE_CUDA_E_LIB;
}

static prune_cuda_status choose(const prune_cuda_ctx *c, const pcu_slot *slot,
                                uint32_t step) {
  const prune_cuda_step *s = &c->model->steps[step];
  pcu_choice *choice = &slot->choices[step];
  bool tried[PCU_VARIANTS] = {false};
  for (uint32_t v = 0; v < s->num_variants; v++)
    choice->reasons[v] =
        (uint8_t)(distance(slot, &s->variants[v]) ? PCU_ROWS : PCU_NEXT);
  if (choice->cached) {
    const pcu_lt_algo algo = choice->algo;
    choice->cached = false;
    if (try_variant(c, slot, step, choice->variant, &algo))
      return PRUNE_CUDA_OK;
    choice->micros = 0;
  }
  for (int v; (v = next_variant(s, slot, tried)) >= 0; tried[v] = true)
    if (try_variant(c, slot, step, v, NULL)) return PRUNE_CUDA_OK;
  return nothing_fits(c, step, choice);
}

/* What a library needs that comes after the kernel that is taken: tuning may
 * find it faster, and has the workspace that there is. */
static size_t space_of_others(const prune_cuda_ctx *c, const pcu_slot *slot,
                              uint32_t step) {
  const prune_cuda_step *s = &c->model->steps[step];
  pcu_choice *choice = &slot->choices[step];
  size_t most = 0;
  if (!s->product || s->variants[choice->variant].how != PRUNE_CUDA_KERNEL)
    return 0;
  for (uint32_t v = 0; v < s->num_variants; v++) {
    if (s->variants[v].how == PRUNE_CUDA_KERNEL ||
        choice->reasons[v] != PCU_NEXT)
      continue;
    pcu_reason why = pcu_usable(c, slot, step, v, NULL, &choice->codes[v]);
    if (why != PCU_TAKEN)
      choice->reasons[v] = (uint8_t)why;
    else if (choice->product->space > most)
      most = choice->product->space;
  }
  pcu_forget_product(c, choice->product);
  return most;
}

static prune_cuda_status decide(const prune_cuda_ctx *c, pcu_slot *slot) {
  int64_t arena = slot->sizes[c->model->arena];
  size_t lib = 0;
  if (arena < 0 || arena > INT64_C(1) << 60) return PRUNE_CUDA_E_SHAPE;
  for (uint32_t i = 0; i < c->model->num_steps; i++) {
    PCU_TRY(choose(c, slot, i));
    const pcu_product *p = slot->choices[i].product;
    if (p && p->space > lib) lib = p->space;
    size_t others = space_of_others(c, slot, i);
    if (others > lib) lib = others;
  }
  slot->lib = PCU_HEAD + (size_t)pcu_round_up(arena, PRUNE_CUDA_ALIGN);
  slot->space = slot->lib + lib;
  return PRUNE_CUDA_OK;
}

static void forget(const prune_cuda_ctx *c, const pcu_slot *slot) {
  for (uint32_t i = 0; i < c->model->num_steps; i++)
    if (slot->choices[i].product)
      pcu_forget_product(c, slot->choices[i].product);
}

static prune_cuda_status prepare(prune_cuda_ctx *c, const int64_t *symbols,
                                 const pcu_slot **out) {
  const pcu_slot *found = pcu_find(c, symbols, PCU_CACHED);
  bool entered;
  if (!found) found = pcu_find(c, symbols, PCU_EMPTY);
  if (!found) {
    pcu_log(&c->options, 0,
            "%s: more sets of sizes than options.plans has room for",
            c->model->name);
    return PRUNE_CUDA_E_SPACE;
  }
  pcu_slot *slot = &c->slots[found - c->slots];
  for (uint32_t i = 0; i < c->model->num_steps && slot->state == PCU_EMPTY; i++)
    slot->choices[i].cached = false, slot->choices[i].micros = 0;
  if (c->model->num_symbols)
    memcpy(slot->symbols, symbols, c->model->num_symbols * sizeof *symbols);
  if (!c->model->sizes(symbols, slot->sizes)) return PRUNE_CUDA_E_SHAPE;
  PCU_TRY(pcu_enter(c, &entered));
  prune_cuda_status s = decide(c, slot);
  if (s) forget(c, slot);
  pcu_leave(c, entered);
  slot->state = s ? PCU_EMPTY : PCU_READY;
  *out = slot;
  return s;
}

prune_cuda_status
prune_cuda_prepare(prune_cuda_ctx *ctx, const prune_cuda_tensor *inputs,
                   size_t num_inputs, const prune_cuda_tensor *outputs,
                   size_t num_outputs, size_t *out_workspace) {
  int64_t symbols[PCU_WORDS] = {0};
  if (!ctx || !out_workspace) return PRUNE_CUDA_E_ARG;
  if (outputs && num_outputs != ctx->model->num_outputs)
    return PRUNE_CUDA_E_ARG;
  PCU_TRY(pcu_bind(ctx, inputs, num_inputs, symbols));
  const pcu_slot *slot = pcu_find(ctx, symbols, PCU_READY);
  if (!slot) PCU_TRY(prepare(ctx, symbols, &slot));
  if (outputs) pcu_output_dims(ctx, slot, outputs);
  *out_workspace = slot->space;
  return PRUNE_CUDA_OK;
}
