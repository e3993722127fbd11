/* cuDNN: what is to be computed is described by a graph of operations;
 * heuristics name engines for it with their settings, best first, and the first
 * of which a plan can be made is taken. All of this is done by prepare and
 * tune; a run says where the tensors are and launches. What is described is
 * said by prune_cuda_conv.c and prune_cuda_attention.c. */
#include <string.h>

#include "prune_cuda_dnn.h"

/* Describing */

/* A descriptor that has what is in the rows; NULL where it cannot be had. */
static int make(const prune_cuda_ctx *c, int kind, const pcu_dnn_row *rows,
                size_t n, void **out) {
  int code = c->dnn.desc(kind, out);
  if (code) *out = NULL;
  for (size_t i = 0; i < n && !code; i++)
    code = c->dnn.set(*out, rows[i].name, rows[i].type, rows[i].count,
                      rows[i].data);
  return code ? code : c->dnn.finalize(*out);
}
#define MAKE(c, kind, rows, out) \
  make(c, kind, rows, sizeof(rows) / sizeof *(rows), out)

static void drop(const prune_cuda_ctx *c, void **desc) {
  if (*desc) (void)c->dnn.desc_free(*desc);
  *desc = NULL;
}

void *pcu_dnn_part(pcu_dnn *d, int kind, const pcu_dnn_row *rows, size_t n) {
  pcu_product *p = d->product;
  if (d->code) return NULL;
  void **out = &p->parts[p->num_parts];
  d->code = make(d->ctx, kind, rows, n, out);
  if (*out) p->num_parts++;
  return d->code ? NULL : *out;
}

void pcu_dnn_operation(pcu_dnn *d, int kind, const pcu_dnn_row *rows,
                       size_t n) {
  void *op = pcu_dnn_part(d, kind, rows, n);
  if (op) d->ops[d->num_ops++] = op;
}

void *pcu_dnn_tensor_of(pcu_dnn *d, const pcu_dnn_tensor *t) {
  const int type = t->type == 10   ? PCU_DNN_F16
                   : t->type == 16 ? PCU_DNN_BF16
                                   : PCU_DNN_F32;
  const bool yes = true;
  const pcu_dnn_row rows[] = {
      {PCU_DNN_TENSOR_TYPE, PCU_DNN_IS_TYPE, 1, &type},
      {PCU_DNN_TENSOR_DIMS, PCU_DNN_IS_INT64, t->rank, t->dims},
      {PCU_DNN_TENSOR_STEPS, PCU_DNN_IS_INT64, t->rank, t->steps},
      {PCU_DNN_TENSOR_ID, PCU_DNN_IS_INT64, 1, &t->id},
      {PCU_DNN_TENSOR_ALIGN, PCU_DNN_IS_INT64, 1, &t->align},
      {t->is == PCU_DNN_INSIDE ? PCU_DNN_TENSOR_INSIDE : PCU_DNN_TENSOR_NUMBER,
       PCU_DNN_IS_BOOL, 1, &yes}};
  size_t n = sizeof rows / sizeof *rows;
  return pcu_dnn_part(d, PCU_DNN_TENSOR, rows,
                      t->is == PCU_DNN_STORED ? n - 1 : n);
}

bool pcu_dnn_fill_steps(pcu_dnn_tensor *t) {
  for (int64_t i = t->rank - 1; i >= 0; i--) {
    if (t->dims[i] == 1)
      t->steps[i] = i + 1 < t->rank ? t->dims[i + 1] * t->steps[i + 1] : 1;
    if (t->steps[i] == 0 && t->dims[i] != 0) return false;
  }
  return true;
}

bool pcu_dnn_is_moderate(const pcu_dnn_tensor *t) {
  for (int64_t i = 0; i < t->rank; i++)
    if (t->dims[i] > PCU_DNN_MOST || t->steps[i] > PCU_DNN_MOST ||
        t->steps[i] < 0)
      return false;
  return true;
}

bool pcu_dnn_is_empty(const pcu_dnn_tensor *t) {
  for (int64_t i = 0; i < t->rank; i++)
    if (t->dims[i] == 0) return true;
  return false;
}

bool pcu_dnn_is_same(const pcu_dnn_tensor *a, const pcu_dnn_tensor *b) {
  if (a->type != b->type || a->rank != b->rank || a->align != b->align)
    return false;
  for (int64_t i = 0; i < a->rank; i++)
    if (a->dims[i] != b->dims[i] || a->steps[i] != b->steps[i]) return false;
  return true;
}

/* Engines */

/* Engines with their settings that heuristics propose, best first: up to about
 * 40, of which those that keep all bits of f32 are the last. */
enum { PROPOSALS = 64 };
typedef struct proposals {
  int mode, num;
  void *configs[PROPOSALS];
} proposals;

static void drop_proposals(const prune_cuda_ctx *c, proposals *p) {
  for (int i = 0; i < PROPOSALS; i++)
    drop(c, &p->configs[i]);
}

static int propose(const prune_cuda_ctx *c, void *graph, int mode,
                   proposals *out) {
  void *heuristics = NULL;
  int64_t n = 0;
  const pcu_dnn_row rows[] = {
      {PCU_DNN_HEUR_GRAPH, PCU_DNN_IS_DESC, 1, &graph},
      {PCU_DNN_HEUR_MODE, PCU_DNN_IS_HEUR_MODE, 1, &mode}};
  *out = (proposals){.mode = mode};
  int code = MAKE(c, PCU_DNN_HEURISTICS, rows, &heuristics);
  for (int i = 0; i < PROPOSALS && !code; i++)
    code = c->dnn.desc(PCU_DNN_CONFIG, &out->configs[i]);
  if (!code) /* it fills in as many as it has */
    code = c->dnn.get(heuristics, PCU_DNN_HEUR_RESULTS, PCU_DNN_IS_DESC,
                      PROPOSALS, &n, out->configs);
  out->num = code || n < 0 ? 0 : n > PROPOSALS ? PROPOSALS : (int)n;
  drop(c, &heuristics);
  return code;
}

/* What an engine may not be noted for, as bits: nothing narrower than what the
 * model was compiled for is multiplied or summed. */
static unsigned unwanted(const prune_cuda_ctx *c, int32_t type) {
  unsigned notes = 1u << PCU_DNN_NARROWS_INPUTS | 1u << PCU_DNN_NARROWS_SUMS;
  if (type == 1) notes |= 1u << PCU_DNN_TENSOR_CORE; /* of 19 bits */
  if (c->options.flags & PRUNE_CUDA_DETERMINISTIC)
    notes |= 1u << PCU_DNN_NONDETERMINISTIC;
  return notes;
}

/* The engine's number and notes, as bits. */
static int look_at(const prune_cuda_ctx *c, void *config, int64_t *number,
                   unsigned *notes) {
  void *engine = NULL;
  int found[PCU_DNN_NOTES];
  int64_t n = 0, count = 0;
  *notes = 0;
  int code = c->dnn.desc(PCU_DNN_ENGINE, &engine);
  if (!code)
    code = c->dnn.get(config, PCU_DNN_CONFIG_ENGINE, PCU_DNN_IS_DESC, 1, &n,
                      &engine);
  if (!code)
    code = c->dnn.get(engine, PCU_DNN_ENGINE_INDEX, PCU_DNN_IS_INT64, 1, &n,
                      number);
  if (!code)
    code = c->dnn.get(engine, PCU_DNN_ENGINE_NOTES, PCU_DNN_IS_NOTE,
                      PCU_DNN_NOTES, &count, found);
  for (int64_t i = 0; i < count && i < PCU_DNN_NOTES && !code; i++)
    if (found[i] >= 0 && found[i] < 32) *notes |= 1u << found[i];
  drop(c, &engine);
  return code;
}

/* Whether proposal i may be taken at all; what it is called in caches. */
static bool may_take(const prune_cuda_ctx *c, int32_t type, const proposals *p,
                     int i, pcu_lt_algo *name, int *code) {
  int64_t engine = 0;
  unsigned notes;
  *code = look_at(c, p->configs[i], &engine, &notes);
  *name = (pcu_lt_algo){{(uint64_t)p->mode, (uint64_t)i, (uint64_t)engine}};
  return !*code && (notes & unwanted(c, type)) == 0;
}

/* A plan of one proposal, and its workspace. */
static int make_plan(const prune_cuda_ctx *c, void *const *config,
                     pcu_product *out) {
  int64_t space = 0, n = 0;
  const pcu_dnn_row rows[] = {
      {PCU_DNN_PLAN_HANDLE, PCU_DNN_IS_HANDLE, 1, &c->dnn_handle},
      {PCU_DNN_PLAN_CONFIG, PCU_DNN_IS_DESC, 1, config}};
  void **plan = &out->dnn_plan;
  int code = MAKE(c, PCU_DNN_PLAN, rows, plan);
  if (!code)
    code =
        c->dnn.get(*plan, PCU_DNN_PLAN_SPACE, PCU_DNN_IS_INT64, 1, &n, &space);
  out->space = space > 0 ? (size_t)space : 0;
  return code;
}

/* The first proposal that can be planned, or the one that algo names. */
static pcu_reason take_one(const prune_cuda_ctx *c, int32_t type, size_t room,
                           proposals *p, const pcu_lt_algo *algo,
                           pcu_product *out, int32_t *code) {
  pcu_reason why = PCU_LAYOUT;
  for (int i = 0; i < p->num; i++) {
    pcu_lt_algo name;
    int said;
    bool may = may_take(c, type, p, i, &name, &said);
    if (algo && memcmp(algo, &name, sizeof name) != 0) continue;
    if (may) said = make_plan(c, &p->configs[i], out);
    if (may && !said && out->space <= room) {
      out->config = p->configs[i];
      p->configs[i] = NULL;
      out->algo = name;
      return PCU_TAKEN;
    }
    drop(c, &out->dnn_plan);
    if (may && !said) why = PCU_ROOM;
    if (said && why != PCU_ROOM) why = PCU_REFUSED, *code = said;
  }
  out->space = 0;
  return why;
}

static pcu_reason choose(const prune_cuda_ctx *c, int32_t type, size_t room,
                         const pcu_lt_algo *algo, pcu_product *out,
                         int32_t *code) {
  static const int modes[] = {PCU_DNN_MODE_A, PCU_DNN_MODE_FALLBACK};
  pcu_reason why = PCU_LAYOUT;
  for (int i = 0; i < 2; i++) {
    proposals p;
    int said = propose(c, out->graph, modes[i], &p);
    if (said) why = PCU_REFUSED, *code = said;
    pcu_reason one = take_one(c, type, room, &p, algo, out, code);
    drop_proposals(c, &p);
    if (one == PCU_TAKEN) {
      *code = 0;
      return one;
    }
    if (one != PCU_LAYOUT) why = one;
  }
  return why;
}

pcu_reason pcu_dnn_plan(pcu_dnn *d, int32_t type, size_t room,
                        const pcu_lt_algo *algo, int32_t *code) {
  const prune_cuda_ctx *c = d->ctx;
  const pcu_dnn_row rows[] = {
      {PCU_DNN_GRAPH_OPS, PCU_DNN_IS_DESC, d->num_ops, d->ops},
      {PCU_DNN_GRAPH_HANDLE, PCU_DNN_IS_HANDLE, 1, &c->dnn_handle}};
  d->product->how = PRUNE_CUDA_CUDNN;
  d->product->next = d->product;
  d->product->graph = PCU_DNN_MAKE(d, PCU_DNN_GRAPH, rows);
  *code = d->code;
  return *code ? PCU_REFUSED : choose(c, type, room, algo, d->product, code);
}

bool pcu_dnn_share(const pcu_dnn *d, const pcu_slot *slot,
                   const pcu_lt_algo *algo, pcu_dnn_has_shape has,
                   const void *shape) {
  const prune_cuda_model *m = d->ctx->model;
  for (uint32_t i = 0; i < m->num_steps; i++) {
    pcu_product *p = slot->choices[i].product;
    if (!p || p == d->product || p->how != PRUNE_CUDA_CUDNN || !p->dnn_plan ||
        (algo && memcmp(algo, &p->algo, sizeof *algo) != 0) ||
        !has(slot, &m->steps[i], shape))
      continue;
    *d->product = *p;
    p->next = d->product;
    return true;
  }
  return false;
}

int pcu_dnn_algorithms(const prune_cuda_ctx *c, int32_t type,
                       const pcu_product *p, pcu_lt_algo out[PCU_LT_ALGOS]) {
  proposals all;
  int n = 0, code;
  (void)propose(c, p->graph, PCU_DNN_MODE_A, &all);
  for (int i = 0; i < all.num && n < PCU_LT_ALGOS; i++)
    n += may_take(c, type, &all, i, &out[n], &code);
  drop_proposals(c, &all);
  return n;
}

/* The last of a ring has it all destroyed. */
void pcu_dnn_forget(const prune_cuda_ctx *c, pcu_product *p) {
  if (p->next && p->next != p) {
    pcu_product *before = p->next;
    while (before->next != p)
      before = before->next;
    before->next = p->next;
    return;
  }
  drop(c, &p->dnn_plan);
  drop(c, &p->config);
  while (p->num_parts)
    drop(c, &p->parts[--p->num_parts]);
}

/* Running */

/* The stream is the handle's, which all threads share. */
static int launch(const prune_cuda_ctx *c, void *plan, void *pack,
                  prune_cuda_stream stream) {
  pcu_take_turn(c, PCU_DNN);
  int code = c->dnn.stream(c->dnn_handle, stream);
  if (!code) code = c->dnn.execute(c->dnn_handle, plan, pack);
  pcu_end_turn(c, PCU_DNN);
  return code;
}

prune_cuda_status pcu_dnn_run(const prune_cuda_ctx *c, const pcu_call *call,
                              const pcu_product *p, int64_t n,
                              const int64_t *ids, void *const *data) {
  void *pack = NULL, *space = call->workspace + call->slot->lib;
  const pcu_dnn_row rows[] = {
      {PCU_DNN_PACK_IDS, PCU_DNN_IS_INT64, n, ids},
      {PCU_DNN_PACK_POINTERS, PCU_DNN_IS_POINTER, n, data},
      {PCU_DNN_PACK_SPACE, PCU_DNN_IS_POINTER, 1, &space}};
  int code = MAKE(c, PCU_DNN_PACK, rows, &pack);
  if (!code) code = launch(c, p->dnn_plan, pack, call->stream);
  drop(c, &pack);
  return pcu_said(PCU_DNN, code, "cudnnBackendExecute");
}
