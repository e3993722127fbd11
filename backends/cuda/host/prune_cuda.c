/* Making and unmaking a context; prune_cuda.h says how it is used.
 *
 *   prune_cuda_load.c  driver and libraries by name
 *   prune_cuda_blob.c  whether the weights are what they should be
 *   prune_cuda_plan.c  prepare: how each step is done
 *   prune_cuda_libs.c  products by cuBLASLt and cuSPARSELt
 *   prune_cuda_bsr.c   products by cuSPARSE
 *   prune_cuda_dnn.c   what cuDNN does, which is
 *   prune_cuda_conv.c       convolutions and
 *   prune_cuda_attention.c  attention
 *   prune_cuda_run.c   run, check and tune
 *   prune_cuda_text.c  explain, caches, messages */
#include <string.h>

#include "prune_cuda_impl.h"

/* The context's memory is handed out piece by piece; without a base, only
 * counted. */
typedef struct piece {
  unsigned char *base;
  size_t at;
} piece;

static void *take(piece *p, size_t count, size_t size) {
  p->at = (p->at + 63) / 64 * 64;
  void *result = p->base ? p->base + p->at : NULL;
  p->at += count * size;
  return result;
}

static uint32_t num_plans(const prune_cuda_options *o) {
  return o->plans ? o->plans : 4;
}

/* Libraries can be told of it. */
static bool has_product(const prune_cuda_step *s) {
  return s->product || s->conv || s->attention;
}

static uint32_t num_products(const prune_cuda_model *m) {
  uint32_t n = 0;
  for (uint32_t i = 0; i < m->num_steps; i++)
    n += has_product(&m->steps[i]);
  return n;
}

static void lay_out_slot(const prune_cuda_model *m, pcu_slot *s, piece *p) {
  pcu_slot slot = {.symbols = take(p, m->num_symbols, sizeof *slot.symbols),
                   .sizes = take(p, m->num_sizes, sizeof *slot.sizes),
                   .choices = take(p, m->num_steps, sizeof *slot.choices)};
  pcu_product *product = take(p, num_products(m), sizeof *product);
  if (!s) return;
  *s = slot;
  for (uint32_t i = 0; i < m->num_steps; i++)
    if (has_product(&m->steps[i])) slot.choices[i].product = product++;
}

/* Bytes of a context, which begins at base unless that is NULL. */
static size_t lay_out(const prune_cuda_model *m, const prune_cuda_options *o,
                      void *base) {
  piece p = {.base = base};
  prune_cuda_ctx *c = take(&p, 1, sizeof *c);
  void **functions = take(&p, m->num_kernels, sizeof *functions);
  pcu_packed *packed = take(&p, m->num_records, sizeof *packed);
  atomic_flag *turns = take(&p, PCU_LIBRARIES, sizeof *turns);
  pcu_slot *slots = take(&p, num_plans(o), sizeof *slots);
  for (uint32_t i = 0; i < num_plans(o); i++)
    lay_out_slot(m, slots ? &slots[i] : NULL, &p);
  if (c) {
    c->functions = functions;
    c->packed = packed;
    c->turns = turns;
    for (int i = 0; i < PCU_LIBRARIES; i++)
      atomic_flag_clear(&turns[i]);
    c->slots = slots;
  }
  return p.at;
}

static bool is_expand(const prune_cuda_model *m, uint32_t kernel) {
  const char *name = m->kernels[kernel].name;
  size_t n = strlen(m->name);
  return m->num_pointers >= 4 && strncmp(name, m->name, n) == 0 &&
         strcmp(name + n, PRUNE_CUDA_EXPAND) == 0;
}

/* Sets the room that records take as cuSPARSELt has them, behind the data:
 * for what a step may ask of it. Returns the end; packed may be NULL. */
static uint64_t lay_out_packed(const prune_cuda_model *m,
                               const prune_cuda_options *o, pcu_packed *packed,
                               uint64_t *out_scratch) {
  uint64_t at = m->weights_size;
  bool expands = false;
  *out_scratch = 0;
  for (uint32_t i = 0; i < m->num_kernels; i++)
    expands |= is_expand(m, i);
  if (!expands || o->flags & (PRUNE_CUDA_NO_LIBS | PRUNE_CUDA_OWN_ONLY |
                              PRUNE_CUDA_DENSE_ONLY))
    return at;
  for (uint32_t i = 0; i < m->num_records; i++) {
    uint64_t room = 0;
    for (uint32_t s = 0; s < m->num_steps; s++)
      for (uint32_t v = 0; v < m->steps[s].num_variants; v++)
        if (m->steps[s].product && m->steps[s].product->record == i &&
            m->steps[s].variants[v].how == PRUNE_CUDA_CUSPARSELT)
          room = pcu_packed_room(&m->records[i]);
    at = (at + PRUNE_CUDA_ALIGN - 1) / PRUNE_CUDA_ALIGN * PRUNE_CUDA_ALIGN;
    if (packed) packed[i] = (pcu_packed){.offset = at, .room = room};
    at += room;
    if (room && 2 * pcu_unpacked_size(&m->records[i]) > *out_scratch)
      *out_scratch = 2 * pcu_unpacked_size(&m->records[i]);
  }
  return at;
}

static prune_cuda_status check_tables(const prune_cuda_model *m,
                                      const prune_cuda_options *o) {
  const char *wrong = NULL;
  uint64_t words =
      (uint64_t)m->num_pointers + 1 + (m->num_symbols ? m->num_symbols : 1);
  if (m->version != PRUNE_CUDA_MODEL)
    wrong = "was compiled for another version of this runtime";
  else if (words > PCU_WORDS || m->num_inputs > PCU_INPUTS)
    wrong = "has more operands or symbols than a kernel can be passed";
  for (uint32_t i = 0; i < m->num_steps && !wrong; i++)
    if (m->steps[i].num_variants == 0 ||
        m->steps[i].num_variants > PCU_VARIANTS ||
        m->steps[i].num_pointers > m->num_pointers)
      wrong = "has a step with too many variants or operands";
  if (!wrong) return PRUNE_CUDA_OK;
  pcu_log(o, 0, "%s %s", m->name, wrong);
  return PRUNE_CUDA_E_ABI;
}

/* NULL options are the defaults. */
static prune_cuda_status get_options(const prune_cuda_model *m,
                                     const prune_cuda_options *given,
                                     prune_cuda_options *out) {
  *out = (prune_cuda_options){.size = sizeof *out, .abi = PRUNE_CUDA_ABI};
  if (!m) return PRUNE_CUDA_E_ARG;
  if (given) {
    if (given->size != sizeof *out || given->abi != PRUNE_CUDA_ABI)
      return PRUNE_CUDA_E_ABI;
    *out = *given;
  }
  if (out->device < -1 || out->plans > 1 << 16) return PRUNE_CUDA_E_ARG;
  return check_tables(m, out);
}

static void measure(const prune_cuda_model *m, const prune_cuda_options *o,
                    prune_cuda_sizes *out) {
  uint64_t scratch;
  out->context = lay_out(m, o, NULL);
  out->weights = (size_t)lay_out_packed(m, o, NULL, &scratch);
  out->scratch = (size_t)scratch;
}

prune_cuda_status prune_cuda_query(const prune_cuda_model *model,
                                   const prune_cuda_options *options,
                                   prune_cuda_sizes *out) {
  prune_cuda_options o;
  if (!out) return PRUNE_CUDA_E_ARG;
  PCU_TRY(get_options(model, options, &o));
  measure(model, &o, out);
  return PRUNE_CUDA_OK;
}

static prune_cuda_status check_memory(const prune_cuda_ctx *c,
                                      const prune_cuda_memory *mem,
                                      const prune_cuda_sizes *need) {
  if (mem->context_size < need->context || mem->weights_size < need->weights ||
      mem->scratch_size < need->scratch) {
    pcu_log(&c->options, 0,
            "%s needs %zu bytes of host memory and %zu and %zu on the device, "
            "given are %zu, %zu and %zu",
            c->model->name, need->context, need->weights, need->scratch,
            mem->context_size, mem->weights_size, mem->scratch_size);
    return PRUNE_CUDA_E_SPACE;
  }
  const uintptr_t places[] = {(uintptr_t)mem->context, (uintptr_t)mem->weights,
                              (uintptr_t)mem->scratch};
  const size_t sizes[] = {need->context, need->weights, need->scratch};
  for (int i = 0; i < 3; i++)
    if (sizes[i] && (places[i] == 0 || places[i] % PRUNE_CUDA_ALIGN != 0))
      return PRUNE_CUDA_E_ARG;
  return PRUNE_CUDA_OK;
}

static prune_cuda_status open_device(prune_cuda_ctx *c) {
  int major = 0, minor = 0;
  if (c->options.device < 0) {
    PCU_TRY(PCU_CU(c, current, &c->context));
    if (!c->context) return PRUNE_CUDA_E_NO_DEVICE;
    PCU_TRY(PCU_CU(c, current_device, &c->device));
  } else {
    int code = c->cu.device(&c->device, c->options.device);
    if (code == PCU_BAD_DEVICE || code == PCU_NO_DEVICE) {
      pcu_log(&c->options, 0, "there is no device %d", (int)c->options.device);
      return PRUNE_CUDA_E_NO_DEVICE;
    }
    PCU_TRY(pcu_said(PCU_CUDA, code, pcu_driver_symbols.device));
    PCU_TRY(PCU_CU(c, retain, &c->context, c->device));
    c->retained = true;
  }
  PCU_TRY(PCU_CU(c, attribute, &major, PCU_DEVICE_MAJOR, c->device));
  PCU_TRY(PCU_CU(c, attribute, &minor, PCU_DEVICE_MINOR, c->device));
  c->arch = 10 * major + minor;
  return PRUNE_CUDA_OK;
}

/* How well an image fits: code for the very device, code from which the driver
 * takes what fits, code for a smaller device of the family. */
static int fit(const prune_cuda_ctx *c, const prune_cuda_image *i) {
  if (i->arch == c->arch) return 0;
  if (i->arch == 0) return 1;
  return i->arch / 10 == c->arch / 10 && i->arch < c->arch ? 2 : 3;
}

static prune_cuda_status load_image(prune_cuda_ctx *c) {
  int code = PCU_NO_BINARY;
  if (c->model->num_kernels == 0) return PRUNE_CUDA_OK;
  for (int pass = 0; pass < 3; pass++)
    for (const prune_cuda_image *i = c->model->images; i && i->data; i++) {
      if (fit(c, i) != pass) continue;
      code = c->cu.load(&c->library, i->data, NULL, NULL, 0, NULL, NULL, 0);
      if (!code) return PRUNE_CUDA_OK;
      c->library = NULL;
      if (code != PCU_NO_BINARY && code != PCU_PTX_VERSION &&
          code != PCU_BAD_IMAGE)
        return pcu_said(PCU_CUDA, code, pcu_driver_symbols.load);
    }
  (void)pcu_said(PCU_CUDA, code, pcu_driver_symbols.load);
  pcu_log(&c->options, 0, "%s has no code for a device of capability %d.%d",
          c->model->name, c->arch / 10, c->arch % 10);
  return PRUNE_CUDA_E_ARCH;
}

/* A kernel is loaded in full here: attributes cannot be had otherwise, and
 * what is loaded at a first launch cannot be captured. */
static prune_cuda_status load_kernel(prune_cuda_ctx *c, uint32_t i) {
  const prune_cuda_kernel *k = &c->model->kernels[i];
  void *kernel = NULL;
  int threads = 0, shared = 0;
  int code = c->cu.kernel(&kernel, c->library, k->name);
  if (code) pcu_log(&c->options, 0, "there is no kernel %s", k->name);
  PCU_TRY(pcu_said(PCU_CUDA, code, pcu_driver_symbols.kernel));
  PCU_TRY(PCU_CU(c, function, &c->functions[i], kernel));
  PCU_TRY(PCU_CU(c, get, &threads, PCU_FUNC_THREADS, c->functions[i]));
  PCU_TRY(PCU_CU(c, attribute, &shared, PCU_DEVICE_SHARED, c->device));
  if (k->threads > (unsigned)threads || k->shared > (unsigned)shared) {
    c->functions[i] = NULL; /* steps are done in another way */
    return PRUNE_CUDA_OK;
  }
  if (k->shared > PCU_SHARED_FREE)
    PCU_TRY(PCU_CU(c, set, c->functions[i], PCU_FUNC_SHARED, (int)k->shared));
  if (is_expand(c->model, i)) c->expand = c->functions[i];
  return PRUNE_CUDA_OK;
}

static void pack_records(prune_cuda_ctx *c, const prune_cuda_memory *mem,
                         prune_cuda_stream stream) {
  for (uint32_t i = 0; i < c->model->num_records; i++) {
    pcu_packed *p = &c->packed[i];
    p->reason = (uint8_t)(p->room == 0 ? PCU_EXPAND : c->why[PCU_SLT]);
    if (p->reason == PCU_TAKEN)
      p->reason = (uint8_t)pcu_pack(c, i, mem->scratch, mem->scratch_size,
                                    stream, &p->code);
  }
}

/* With the context current. */
static prune_cuda_status fill_device(prune_cuda_ctx *c,
                                     const unsigned char *data,
                                     const prune_cuda_memory *mem,
                                     prune_cuda_stream stream) {
  int capturing = 0;
  PCU_TRY(PCU_CU(c, capturing, stream, &capturing));
  if (capturing) return PRUNE_CUDA_E_CAPTURING;
  PCU_TRY(load_image(c));
  for (uint32_t i = 0; i < c->model->num_kernels; i++)
    PCU_TRY(load_kernel(c, i));
  if (c->model->weights_size)
    PCU_TRY(PCU_CU(c, to_device, (pcu_ptr)(uintptr_t)c->weights, data,
                   (size_t)c->model->weights_size, stream));
  pcu_load_libraries(c);
  pack_records(c, mem, stream);
  return PRUNE_CUDA_OK;
}

static prune_cuda_status start(prune_cuda_ctx *c, const unsigned char *data,
                               const prune_cuda_memory *mem,
                               prune_cuda_stream stream) {
  bool entered;
  PCU_TRY(pcu_load_driver(c));
  PCU_TRY(open_device(c));
  PCU_TRY(pcu_enter(c, &entered));
  prune_cuda_status s = fill_device(c, data, mem, stream);
  pcu_leave(c, entered);
  return s;
}

prune_cuda_status prune_cuda_init(const prune_cuda_model *model,
                                  const prune_cuda_options *options,
                                  const void *blob, size_t blob_size,
                                  const prune_cuda_memory *memory,
                                  prune_cuda_stream stream,
                                  prune_cuda_ctx **out) {
  prune_cuda_ctx probe = {.model = model};
  prune_cuda_sizes need;
  const unsigned char *data = NULL;
  uint64_t scratch;
  if (!out) return PRUNE_CUDA_E_ARG;
  *out = NULL;
  if (!blob || !memory) return PRUNE_CUDA_E_ARG;
  PCU_TRY(get_options(model, options, &probe.options));
  measure(model, &probe.options, &need);
  PCU_TRY(check_memory(&probe, memory, &need));
  PCU_TRY(pcu_check_blob(model, &probe.options, blob, blob_size, &data));
  prune_cuda_ctx *c = memory->context;
  memset(memory->context, 0, need.context);
  c->model = model;
  c->options = probe.options;
  c->weights = memory->weights;
  (void)lay_out(model, &c->options, c);
  (void)lay_out_packed(model, &c->options, c->packed, &scratch);
  prune_cuda_status s = start(c, data, memory, stream);
  if (s)
    prune_cuda_destroy(c);
  else
    *out = c;
  return s;
}

static void close_handles(prune_cuda_ctx *c) {
  for (uint32_t i = 0; i < num_plans(&c->options); i++)
    for (uint32_t s = 0; s < c->model->num_steps; s++)
      if (c->slots[i].choices[s].product)
        pcu_forget_product(c, c->slots[i].choices[s].product);
  if (c->lt_handle) (void)c->lt.destroy(c->lt_handle);
  if (c->slt.init && c->why[PCU_SLT] == PCU_TAKEN)
    (void)c->slt.destroy(&c->slt_handle);
  if (c->sp_handle) (void)c->sp.destroy(c->sp_handle);
  if (c->dnn_handle) (void)c->dnn.destroy(c->dnn_handle);
  if (c->library) (void)c->cu.unload(c->library);
}

void prune_cuda_destroy(prune_cuda_ctx *c) {
  bool entered = false;
  if (!c) return;
  if (c->context && pcu_enter(c, &entered) == PRUNE_CUDA_OK) {
    close_handles(c);
    pcu_leave(c, entered);
  }
  if (c->retained) (void)c->cu.release(c->device);
}
