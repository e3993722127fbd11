/* Products by NVIDIA's libraries: cuBLASLt for dense weights, cuSPARSELt for
 * 2:4 (and cuSPARSE for blocks, in prune_cuda_bsr.c). All count columns first,
 * so out' = w x' is what they are told: w is n by k, x' is k by m, and what we
 * call a row is a column of theirs.
 *
 * Everything that asks a library to think (descriptors, heuristics, plans) is
 * done by prepare and tune; a run only launches. */
#include <string.h>

#include "prune_cuda_impl.h"

static const float one = 1, zero = 0;

int pcu_lib_type(int32_t onnx) {
  return onnx == 10 ? PCU_LT_F16 : onnx == 16 ? PCU_LT_BF16 : PCU_LT_F32;
}

typedef pcu_shape shape;

size_t pcu_alignment(const prune_cuda_pointer *p, const int64_t *sizes) {
  /* Inputs and outputs are aligned to 16, the rest to more. */
  size_t limit = p->space == PRUNE_CUDA_ARGUMENT ? 16 : PRUNE_CUDA_ALIGN;
  size_t offset = (size_t)sizes[p->offset], align = offset & (~offset + 1);
  return align == 0 || align > limit ? limit : align;
}

pcu_reason pcu_get_shape(const prune_cuda_ctx *c, const pcu_slot *slot,
                         const prune_cuda_step *step, pcu_shape *out) {
  const prune_cuda_product *p = step->product;
  const int64_t *z = slot->sizes;
  const prune_cuda_pointer *w = &step->pointers[p->w];
  if (w->space != PRUNE_CUDA_WEIGHTS) return PCU_LAYOUT;
  *out = (shape){.m = z[p->m],
                 .n = z[p->n],
                 .k = z[p->k],
                 .ldx = z[p->ldx],
                 .ldo = z[p->ldo],
                 .align_x = pcu_alignment(&step->pointers[p->x], z),
                 .align_out = pcu_alignment(&step->pointers[p->out], z),
                 .align_add = pcu_alignment(&step->pointers[p->out], z),
                 .w = c->weights + z[w->offset]};
  if (p->residual) {
    out->adds = true;
    out->ldr = z[p->ldr];
    out->align_add = pcu_alignment(&step->pointers[p->residual - 1], z);
  }
  if (p->type != 1 && p->type != 10 && p->type != 16) return PCU_LAYOUT;
  if (p->bias >= 0) {
    /* It is part of the plan, hence has to be where it is from now on. */
    const prune_cuda_pointer *b = &step->pointers[p->bias];
    if (b->space != PRUNE_CUDA_WEIGHTS) return PCU_EPILOGUE;
    out->bias = c->weights + z[b->offset];
  }
  return out->k == 0 ? PCU_LAYOUT : PCU_TAKEN;
}

/* cuBLASLt */

static bool lt_describe(const prune_cuda_ctx *c, const prune_cuda_product *p,
                        const shape *s, pcu_product *out, int32_t *code) {
  const pcu_blaslt *lt = &c->lt;
  int type = pcu_lib_type(p->type), transposed = 1;
  int epilogue = p->act == PRUNE_CUDA_RELU        ? PCU_LT_RELU
                 : p->act == PRUNE_CUDA_GELU_TANH ? PCU_LT_GELU
                                                  : 0;
  if (s->bias) epilogue |= PCU_LT_ADD_BIAS;
  if (!epilogue) epilogue = PCU_LT_DEFAULT;
  *code = lt->desc(&out->desc, PCU_LT_COMPUTE_32F, PCU_LT_F32);
  if (!*code)
    *code =
        lt->desc_set(out->desc, PCU_LT_TRANSA, &transposed, sizeof transposed);
  if (!*code)
    *code =
        lt->desc_set(out->desc, PCU_LT_EPILOGUE, &epilogue, sizeof epilogue);
  if (!*code && s->bias)
    *code = lt->desc_set(out->desc, PCU_LT_BIAS, &s->bias, sizeof s->bias);
  if (!*code)
    *code = lt->layout(&out->w, type, (uint64_t)s->k, (uint64_t)s->n, s->ldw);
  if (!*code)
    *code = lt->layout(&out->x, type, (uint64_t)s->k, (uint64_t)s->m, s->ldx);
  if (!*code)
    *code = lt->layout(&out->out, type, (uint64_t)s->n, (uint64_t)s->m, s->ldo);
  if (!*code && s->adds && s->ldr != s->ldo)
    *code = lt->layout(&out->add, type, (uint64_t)s->n, (uint64_t)s->m, s->ldr);
  return *code == 0;
}

/* What the sums are added to: the library reads it as C. */
static void *lt_added(const pcu_product *p) { return p->add ? p->add : p->out; }

/* The algorithms that the library proposes, best first; a code of it. */
static int lt_propose(const prune_cuda_ctx *c, const shape *s, size_t space,
                      const pcu_product *p, pcu_lt_result *results, int *n) {
  const pcu_blaslt *lt = &c->lt;
  const uint32_t w = PRUNE_CUDA_ALIGN, x = (uint32_t)s->align_x,
                 add = (uint32_t)s->align_add, out = (uint32_t)s->align_out,
                 none = 0;
  const uint64_t room = space;
  const struct {
    int key;
    const void *data;
    size_t size;
  } rows[] = {{PCU_LT_SPACE, &room, sizeof room},
              {PCU_LT_ALIGN_A, &w, sizeof w},
              {PCU_LT_ALIGN_B, &x, sizeof x},
              {PCU_LT_ALIGN_C, &add, sizeof add},
              {PCU_LT_ALIGN_D, &out, sizeof out},
              {PCU_LT_REDUCTIONS, &none, sizeof none}};
  void *preference = NULL;
  size_t count = sizeof rows / sizeof *rows;
  if (!(c->options.flags & PRUNE_CUDA_DETERMINISTIC)) count--;
  int wanted = *n, code = lt->preference(&preference);
  *n = 0;
  for (size_t i = 0; i < count && !code; i++)
    code =
        lt->preference_set(preference, rows[i].key, rows[i].data, rows[i].size);
  if (!code)
    code = lt->heuristic(c->lt_handle, p->desc, p->w, p->x, lt_added(p), p->out,
                         preference, wanted, results, n);
  if (preference) (void)lt->preference_free(preference);
  return code;
}

size_t pcu_lib_room(const pcu_slot *slot) {
  return slot->state == PCU_READY ? slot->space - slot->lib : PCU_LIB_SPACE;
}

static pcu_reason lt_shape(const prune_cuda_ctx *c, const pcu_slot *slot,
                           const prune_cuda_step *step, shape *s) {
  const prune_cuda_product *p = step->product;
  pcu_reason why = pcu_get_shape(c, slot, step, s);
  if (why != PCU_TAKEN) return why;
  if (p->format == PRUNE_CUDA_NK)
    s->ldw = pcu_round_up(s->k, 8);
  else if (p->format == PRUNE_CUDA_DENSE)
    s->ldw = s->k;
  else
    return PCU_LAYOUT;
  return p->act == PRUNE_CUDA_GELU ? PCU_EPILOGUE : PCU_TAKEN;
}

static pcu_reason lt_plan(const prune_cuda_ctx *c, const pcu_slot *slot,
                          const prune_cuda_step *step, const pcu_lt_algo *algo,
                          pcu_product *out, int32_t *code) {
  shape s;
  pcu_lt_result r = {.state = -1};
  int n = 1;
  pcu_reason why = lt_shape(c, slot, step, &s);
  if (why != PCU_TAKEN || s.m == 0 || s.n == 0) return why;
  out->how = PRUNE_CUDA_CUBLASLT;
  if (!lt_describe(c, step->product, &s, out, code)) return PCU_REFUSED;
  if (algo) {
    *code = c->lt.check(c->lt_handle, out->desc, out->w, out->x, lt_added(out),
                        out->out, algo, &r);
    r.algo = *algo;
  } else {
    *code = lt_propose(c, &s, pcu_lib_room(slot), out, &r, &n);
    if (!*code && n == 0) return PCU_LAYOUT;
  }
  if (!*code) *code = r.state;
  if (*code) return PCU_REFUSED;
  if (r.space > pcu_lib_room(slot)) return PCU_ROOM;
  out->algo = r.algo;
  out->space = r.space;
  return PCU_TAKEN;
}

static int lt_algorithms(const prune_cuda_ctx *c, const pcu_slot *slot,
                         const prune_cuda_step *step, const pcu_product *p,
                         pcu_lt_algo *out) {
  pcu_lt_result results[PCU_LT_ALGOS];
  int found = PCU_LT_ALGOS, n = 0;
  shape s;
  if (lt_shape(c, slot, step, &s) != PCU_TAKEN) return 0;
  if (lt_propose(c, &s, pcu_lib_room(slot), p, results, &found)) return 0;
  for (int i = 0; i < found; i++)
    if (results[i].state == 0) out[n++] = results[i].algo;
  return n;
}

/* cuSPARSELt */

static bool is_packable(const prune_cuda_record *r) {
  const int64_t most = INT64_C(1) << 30; /* what the library counts to */
  return r->kind == PRUNE_CUDA_NM24 && (r->type == 10 || r->type == 16) &&
         r->n >= 0 && r->n < most && r->k >= 0 && r->k < most;
}

uint64_t pcu_unpacked_size(const prune_cuda_record *r) {
  return 2 * (uint64_t)(pcu_round_up(r->n, 16) * pcu_round_up(r->k, 64));
}

/* The library stores 9/16 of the dense bytes, of more rows and columns where
 * they are few, and says how many on the device only. */
uint64_t pcu_packed_room(const prune_cuda_record *r) {
  if (!is_packable(r)) return 0;
  uint64_t elements =
      (uint64_t)(pcu_round_up(r->n, 128) * pcu_round_up(r->k, 128));
  return elements + elements / 4 + 4096;
}

static int slt_weights(const prune_cuda_ctx *c, const prune_cuda_record *r,
                       pcu_opaque *out) {
  return c->slt.structured(&c->slt_handle, out, r->n, r->k,
                           pcu_round_up(r->k, 64), 16, pcu_lib_type(r->type),
                           PCU_SLT_ROW, 0);
}

static int expand(const prune_cuda_ctx *c, const prune_cuda_record *r,
                  void *scratch, prune_cuda_stream stream) {
  uint64_t args[PCU_WORDS] = {0};
  void *params[] = {args};
  uint32_t threads = 0;
  int64_t rows = pcu_round_up(r->n, 16);
  for (uint32_t i = 0; i < c->model->num_kernels; i++)
    if (c->functions[i] == c->expand) threads = c->model->kernels[i].threads;
  args[0] = (uint64_t)(uintptr_t)(c->weights + r->offset);
  args[1] = (uint64_t)(uintptr_t)scratch;
  args[2] = (uint64_t)r->n;
  args[3] = (uint64_t)r->k;
  return c->cu.launch(c->expand, (unsigned)(rows < 65535 ? rows : 65535), 1, 1,
                      threads, 1, 1, 0, stream, params, NULL);
}

pcu_reason pcu_pack(const prune_cuda_ctx *c, uint32_t record, void *scratch,
                    size_t scratch_size, prune_cuda_stream stream,
                    int32_t *code) {
  const prune_cuda_record *r = &c->model->records[record];
  const pcu_packed *to = &c->packed[record];
  size_t size = 0, buffer = 0, unpacked = (size_t)pcu_unpacked_size(r);
  pcu_opaque mat;
  pcu_reason why = PCU_REFUSED;
  if (r->n == 0 || r->k == 0) return PCU_LAYOUT;
  *code = slt_weights(c, r, &mat);
  if (*code) return why;
  *code = c->slt.compressed_size(&c->slt_handle, &mat, &size, &buffer);
  if (!*code && (size > to->room || buffer > scratch_size - unpacked))
    why = PCU_ROOM;
  else if (!*code && (*code = expand(c, r, scratch, stream)) == 0)
    *code = c->slt.compress(&c->slt_handle, &mat, 1, 0, scratch,
                            c->weights + to->offset,
                            (unsigned char *)scratch + unpacked, stream);
  (void)c->slt.mat_free(&mat);
  return why == PCU_REFUSED && *code == 0 ? PCU_TAKEN : why;
}

static int slt_describe(const prune_cuda_ctx *c, const prune_cuda_step *step,
                        const shape *s, pcu_product *out) {
  const pcu_sparselt *lt = &c->slt;
  const pcu_opaque *h = &c->slt_handle;
  const prune_cuda_product *p = step->product;
  int type = pcu_lib_type(p->type), yes = 1;
  const void *w = c->weights + c->packed[p->record].offset;
  int code = slt_weights(c, &c->model->records[p->record], &out->mats[0]);
  if (!code) out->made++;
  if (!code)
    code =
        lt->dense(h, &out->mats[1], s->k, s->m, s->ldx, 16, type, PCU_SLT_COL);
  if (!code) out->made++;
  if (!code)
    code =
        lt->dense(h, &out->mats[2], s->n, s->m, s->ldo, 16, type, PCU_SLT_COL);
  if (!code) out->made++;
  if (!code)
    code = lt->desc(h, &out->matmul, 0, 0, &out->mats[0], &out->mats[1],
                    &out->mats[2], &out->mats[2], PCU_SLT_COMPUTE_32F);
  if (!code && p->act == PRUNE_CUDA_RELU)
    code = lt->desc_set(h, &out->matmul, PCU_SLT_RELU, &yes, sizeof yes);
  if (!code && s->bias)
    code =
        lt->desc_set(h, &out->matmul, PCU_SLT_BIAS, &s->bias, sizeof s->bias);
  if (!code) code = lt->desc_set(h, &out->matmul, PCU_SLT_SPARSE, &w, sizeof w);
  return code;
}

static pcu_reason slt_plan(const prune_cuda_ctx *c, const pcu_slot *slot,
                           const prune_cuda_step *step, const pcu_lt_algo *algo,
                           pcu_product *out, int32_t *code) {
  const pcu_sparselt *lt = &c->slt;
  const pcu_opaque *h = &c->slt_handle;
  const prune_cuda_product *p = step->product;
  const pcu_packed *packed = &c->packed[p->record];
  shape s;
  pcu_reason why = pcu_get_shape(c, slot, step, &s);
  *code = packed->code;
  if (packed->reason != PCU_TAKEN) return (pcu_reason)packed->reason;
  if (why != PCU_TAKEN) return why;
  if (s.align_x < 16 || s.align_out < 16 || s.align_add < 16) return PCU_LAYOUT;
  if (s.adds && s.ldr != s.ldo) return PCU_LAYOUT; /* one layout for both */
  /* What its GELU computes is not written down. */
  if (p->act != PRUNE_CUDA_NO_ACT && p->act != PRUNE_CUDA_RELU)
    return PCU_EPILOGUE;
  if (s.m == 0 || s.n == 0) return PCU_TAKEN;
  out->how = PRUNE_CUDA_CUSPARSELT;
  *code = slt_describe(c, step, &s, out);
  if (!*code) *code = lt->choose(h, &out->selection, &out->matmul, 0);
  if (!*code) out->made++;
  if (!*code && algo) {
    int id = (int)algo->data[0];
    *code = lt->choice_set(h, &out->selection, PCU_SLT_ID, &id, sizeof id);
  }
  if (!*code) *code = lt->plan(h, &out->plan, &out->matmul, &out->selection);
  if (*code) return PCU_REFUSED;
  out->made++;
  if (algo) out->algo = *algo;
  *code = lt->space(h, &out->plan, &out->space);
  if (*code) return PCU_REFUSED;
  return out->space > pcu_lib_room(slot) ? PCU_ROOM : PCU_TAKEN;
}

static int slt_algorithms(const prune_cuda_ctx *c, const pcu_product *p,
                          pcu_lt_algo *out) {
  int count = 0, n = 0;
  if (c->slt.choice_get(&c->slt_handle, &p->selection, PCU_SLT_IDS, &count,
                        sizeof count))
    return 0;
  for (; n < count && n < PCU_LT_ALGOS; n++)
    out[n] = (pcu_lt_algo){{(uint64_t)n}};
  return n;
}

/* Any of them */

void pcu_forget_product(const prune_cuda_ctx *c, pcu_product *p) {
  if (p->how == PRUNE_CUDA_CUDNN) pcu_dnn_forget(c, p);
  if (p->how == PRUNE_CUDA_CUSPARSELT) {
    if (p->made > 4) (void)c->slt.plan_free(&p->plan);
    if (p->made > 3) (void)c->slt.choice_free(&p->selection);
    for (int i = 0; i < p->made && i < 3; i++)
      (void)c->slt.mat_free(&p->mats[i]);
  }
  if (p->how == PRUNE_CUDA_CUSPARSE) pcu_bsr_forget(c, p);
  if (p->how == PRUNE_CUDA_CUBLASLT) {
    if (p->desc) (void)c->lt.desc_free(p->desc);
    if (p->w) (void)c->lt.layout_free(p->w);
    if (p->x) (void)c->lt.layout_free(p->x);
    if (p->add) (void)c->lt.layout_free(p->add);
    if (p->out) (void)c->lt.layout_free(p->out);
  }
  memset(p, 0, sizeof *p);
}

pcu_reason pcu_plan_product(const prune_cuda_ctx *c, const pcu_slot *slot,
                            const prune_cuda_step *step, int how,
                            const pcu_lt_algo *algo, pcu_product *out,
                            int32_t *code) {
  int library = how == PRUNE_CUDA_CUBLASLT     ? PCU_LT
                : how == PRUNE_CUDA_CUSPARSELT ? PCU_SLT
                : how == PRUNE_CUDA_CUSPARSE   ? PCU_SP
                                               : PCU_DNN;
  pcu_forget_product(c, out);
  *code = c->lib_codes[library];
  if (c->why[library] != PCU_TAKEN) return (pcu_reason)c->why[library];
  *code = 0;
  pcu_reason why =
      library == PCU_LT    ? lt_plan(c, slot, step, algo, out, code)
      : library == PCU_SLT ? slt_plan(c, slot, step, algo, out, code)
      : library == PCU_SP  ? pcu_bsr_plan(c, slot, step, out, code)
      : step->conv         ? pcu_plan_conv(c, slot, step, algo, out, code)
                           : pcu_plan_attention(c, slot, step, algo, out, code);
  if (why != PCU_TAKEN) pcu_forget_product(c, out);
  return why;
}

int pcu_algorithms(const prune_cuda_ctx *c, const pcu_slot *slot,
                   const prune_cuda_step *step, const pcu_product *p,
                   pcu_lt_algo out[PCU_LT_ALGOS]) {
  if (p->how == PRUNE_CUDA_CUBLASLT)
    return lt_algorithms(c, slot, step, p, out);
  if (p->how == PRUNE_CUDA_CUDNN)
    return pcu_dnn_algorithms(
        c, step->conv ? step->conv->type : step->attention->type, p, out);
  return p->how == PRUNE_CUDA_CUSPARSELT ? slt_algorithms(c, p, out) : 0;
}

prune_cuda_status pcu_multiply(const prune_cuda_ctx *c, const pcu_call *call,
                               const prune_cuda_step *step,
                               const pcu_product *p) {
  if (p->how == PRUNE_CUDA_CUDNN)
    return step->conv ? pcu_convolve(c, call, step, p)
                      : pcu_attend(c, call, step, p);
  if (p->how == PRUNE_CUDA_KERNEL) return PRUNE_CUDA_OK; /* no element */
  const prune_cuda_product *t = step->product;
  const void *x = pcu_pointer(c, call, &step->pointers[t->x]);
  void *out = pcu_pointer(c, call, &step->pointers[t->out]);
  void *space = call->workspace + call->slot->lib;
  const void *add = t->residual
                        ? pcu_pointer(c, call, &step->pointers[t->residual - 1])
                        : out;
  const float *beta = t->residual ? &one : &zero;
  if (p->how == PRUNE_CUDA_CUSPARSE) return pcu_bsr_multiply(c, call, step, p);
  if (p->how == PRUNE_CUDA_CUBLASLT) {
    const void *w = pcu_pointer(c, call, &step->pointers[t->w]);
    return pcu_said(PCU_LT,
                    c->lt.matmul(c->lt_handle, p->desc, &one, w, p->w, x, p->x,
                                 beta, add, lt_added(p), out, p->out, &p->algo,
                                 space, p->space, call->stream),
                    "cublasLtMatmul");
  }
  prune_cuda_stream streams[] = {call->stream};
  return pcu_said(PCU_SLT,
                  c->slt.matmul(&c->slt_handle, &p->plan, &one,
                                c->weights + c->packed[t->record].offset, x,
                                beta, add, out, space, streams, 1),
                  "cusparseLtMatmul");
}
