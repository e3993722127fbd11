/* Convolutions by cuDNN. What is to be computed is described by a graph of one
 * operation; heuristics name engines for it with their settings, best first,
 * and the first of which a plan can be made is taken. All of this is done by
 * prepare and tune; a run says where the tensors are and launches.
 *
 * A convolution along one dimension is one of two, of which the first has one
 * element: the library knows images and volumes. */
#include <string.h>

#include "prune_cuda_impl.h"

enum {
  RANK = PRUNE_CUDA_CONV_RANK,
  SPATIAL = RANK - 2,
  X = PCU_PART_X,
  W = PCU_PART_W,
  OUT = PCU_PART_OUT,
  TENSORS = 3
};

static const int64_t ids[TENSORS] = {1, 2, 3};

/* A step's convolution for one set of sizes. */
typedef struct shape {
  int32_t rank;
  int64_t dims[TENSORS][RANK], steps[TENSORS][RANK];
  int64_t before[SPATIAL], after[SPATIAL], strides[SPATIAL], dilations[SPATIAL];
  int64_t align[TENSORS];
} shape;

static void get_dims(const prune_cuda_conv *v, const int64_t *sizes, int32_t t,
                     shape *out) {
  int32_t more = out->rank - v->rank;
  out->dims[t][2] = 1;
  for (int32_t i = 0; i < v->rank; i++) {
    int32_t to = i < 2 ? i : i + more;
    out->dims[t][to] = sizes[v->dims[t][i]];
    out->steps[t][to] = sizes[v->steps[t][i]];
  }
}

/* Where there is one element, the step that a row-major array would have;
 * false where others have none. */
static bool fill_steps(shape *s, int32_t t) {
  for (int32_t i = s->rank - 1; i >= 0; i--) {
    if (s->dims[t][i] == 1)
      s->steps[t][i] =
          i + 1 < s->rank ? s->dims[t][i + 1] * s->steps[t][i + 1] : 1;
    if (s->steps[t][i] == 0 && s->dims[t][i] != 0) return false;
  }
  return true;
}

static void get_windows(const prune_cuda_conv *v, const int64_t *sizes,
                        shape *out) {
  int32_t more = out->rank - v->rank;
  out->strides[0] = out->dilations[0] = 1;
  for (int32_t i = 0; i < v->rank - 2; i++) {
    out->before[i + more] = sizes[v->pads[i]];
    out->strides[i + more] = v->strides[i];
    out->dilations[i + more] = v->dilations[i];
  }
}

/* Padding behind x, as far as windows reach. */
static void set_after(shape *out) {
  for (int32_t i = 0; i < out->rank - 2; i++) {
    int64_t reach = (out->dims[OUT][i + 2] - 1) * out->strides[i] +
                    (out->dims[W][i + 2] - 1) * out->dilations[i] + 1;
    int64_t lacks = reach - out->dims[X][i + 2] - out->before[i];
    out->after[i] = lacks > 0 ? lacks : 0;
  }
}

/* Sizes whose products fit in 64 bits, which is more than the library takes. */
static bool is_moderate(const shape *s) {
  const int64_t most = INT64_C(1) << 30;
  for (int32_t i = 0; i < s->rank; i++)
    for (int t = 0; t < TENSORS; t++)
      if (s->dims[t][i] > most || s->steps[t][i] > most) return false;
  for (int32_t i = 0; i < s->rank - 2; i++)
    if (s->before[i] > most || s->strides[i] > most || s->dilations[i] > most)
      return false;
  return true;
}

static pcu_reason get_shape(const pcu_slot *slot, const prune_cuda_step *step,
                            shape *out) {
  const prune_cuda_conv *v = step->conv;
  memset(out, 0, sizeof *out);
  if (v->type != 1 && v->type != 10 && v->type != 16) return PCU_LAYOUT;
  if (v->rank < 3 || v->rank > RANK) return PCU_LAYOUT;
  if (step->pointers[v->operands[W]].space != PRUNE_CUDA_WEIGHTS)
    return PCU_LAYOUT;
  out->rank = v->rank < 4 ? 4 : v->rank;
  for (int t = 0; t < TENSORS; t++) {
    get_dims(v, slot->sizes, t, out);
    out->align[t] =
        (int64_t)pcu_alignment(&step->pointers[v->operands[t]], slot->sizes);
  }
  get_windows(v, slot->sizes, out);
  if (!is_moderate(out)) return PCU_LAYOUT;
  set_after(out);
  for (int t = 0; t < TENSORS; t++)
    if (!fill_steps(out, t)) return PCU_LAYOUT;
  return PCU_TAKEN;
}

static bool is_empty(const shape *s, int tensor) {
  for (int32_t i = 0; i < s->rank; i++)
    if (s->dims[tensor][i] == 0) return true;
  return false;
}

/* Engines want channels last and bring tensors into that order in their
 * workspace: room for a copy of each is given as well. */
static size_t get_room(const pcu_slot *slot, int32_t type, const shape *s) {
  size_t room = pcu_lib_room(slot), each = pcu_type_size(type);
  if (slot->state == PCU_READY) return room;
  for (int t = 0; t < TENSORS; t++) {
    int64_t most = 0;
    for (int32_t i = 0; i < s->rank; i++)
      if (s->dims[t][i] * s->steps[t][i] > most)
        most = s->dims[t][i] * s->steps[t][i];
    room += (size_t)most * each;
  }
  return room;
}

/* Describing */

typedef struct attribute {
  int name, type;
  int64_t count;
  const void *data;
} attribute;

static int make(const prune_cuda_ctx *c, int kind, const attribute *rows,
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

static int make_tensor(const prune_cuda_ctx *c, int32_t onnx, const shape *s,
                       int t, void **out) {
  int type = onnx == 10 ? PCU_DNN_F16 : onnx == 16 ? PCU_DNN_BF16 : PCU_DNN_F32;
  const attribute rows[] = {
      {PCU_DNN_TENSOR_TYPE, PCU_DNN_IS_TYPE, 1, &type},
      {PCU_DNN_TENSOR_DIMS, PCU_DNN_IS_INT64, s->rank, s->dims[t]},
      {PCU_DNN_TENSOR_STEPS, PCU_DNN_IS_INT64, s->rank, s->steps[t]},
      {PCU_DNN_TENSOR_ID, PCU_DNN_IS_INT64, 1, &ids[t]},
      {PCU_DNN_TENSOR_ALIGN, PCU_DNN_IS_INT64, 1, &s->align[t]}};
  return MAKE(c, PCU_DNN_TENSOR, rows, out);
}

static int make_conv(const prune_cuda_ctx *c, const shape *s, void **out) {
  const int sums = PCU_DNN_F32, mode = PCU_DNN_CROSS_CORRELATION;
  const int64_t n = s->rank - 2;
  const attribute rows[] = {
      {PCU_DNN_CONV_TYPE, PCU_DNN_IS_TYPE, 1, &sums},
      {PCU_DNN_CONV_MODE, PCU_DNN_IS_CONV_MODE, 1, &mode},
      {PCU_DNN_CONV_SPATIAL, PCU_DNN_IS_INT64, 1, &n},
      {PCU_DNN_CONV_BEFORE, PCU_DNN_IS_INT64, n, s->before},
      {PCU_DNN_CONV_AFTER, PCU_DNN_IS_INT64, n, s->after},
      {PCU_DNN_CONV_STRIDES, PCU_DNN_IS_INT64, n, s->strides},
      {PCU_DNN_CONV_DILATIONS, PCU_DNN_IS_INT64, n, s->dilations}};
  return MAKE(c, PCU_DNN_CONV, rows, out);
}

static int make_forward(const prune_cuda_ctx *c, void *const *parts,
                        void **out) {
  const float one = 1, zero = 0;
  const attribute rows[] = {
      {PCU_DNN_FORWARD_X, PCU_DNN_IS_DESC, 1, &parts[X]},
      {PCU_DNN_FORWARD_W, PCU_DNN_IS_DESC, 1, &parts[W]},
      {PCU_DNN_FORWARD_Y, PCU_DNN_IS_DESC, 1, &parts[OUT]},
      {PCU_DNN_FORWARD_CONV, PCU_DNN_IS_DESC, 1, &parts[PCU_PART_CONV]},
      {PCU_DNN_FORWARD_ALPHA, PCU_DNN_IS_FLOAT, 1, &one},
      {PCU_DNN_FORWARD_BETA, PCU_DNN_IS_FLOAT, 1, &zero}};
  return MAKE(c, PCU_DNN_CONV_FORWARD, rows, out);
}

static int describe(const prune_cuda_ctx *c, int32_t type, const shape *s,
                    void **parts) {
  int code = 0;
  for (int t = 0; t < TENSORS && !code; t++)
    code = make_tensor(c, type, s, t, &parts[t]);
  if (!code) code = make_conv(c, s, &parts[PCU_PART_CONV]);
  if (!code) code = make_forward(c, parts, &parts[PCU_PART_FORWARD]);
  const attribute rows[] = {
      {PCU_DNN_GRAPH_OPS, PCU_DNN_IS_DESC, 1, &parts[PCU_PART_FORWARD]},
      {PCU_DNN_GRAPH_HANDLE, PCU_DNN_IS_HANDLE, 1, &c->dnn_handle}};
  return code ? code : MAKE(c, PCU_DNN_GRAPH, rows, &parts[PCU_PART_GRAPH]);
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
  const attribute rows[] = {
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
  const attribute rows[] = {
      {PCU_DNN_PLAN_HANDLE, PCU_DNN_IS_HANDLE, 1, &c->dnn_handle},
      {PCU_DNN_PLAN_CONFIG, PCU_DNN_IS_DESC, 1, config}};
  void **plan = &out->parts[PCU_PART_PLAN];
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
      out->parts[PCU_PART_CONFIG] = p->configs[i];
      p->configs[i] = NULL;
      out->algo = name;
      return PCU_TAKEN;
    }
    drop(c, &out->parts[PCU_PART_PLAN]);
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
    int said = propose(c, out->parts[PCU_PART_GRAPH], modes[i], &p);
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

pcu_reason pcu_plan_conv(const prune_cuda_ctx *c, const pcu_slot *slot,
                         const prune_cuda_step *step, const pcu_lt_algo *algo,
                         pcu_product *out, int32_t *code) {
  shape s;
  pcu_reason why = get_shape(slot, step, &s);
  if (why != PCU_TAKEN || is_empty(&s, OUT)) return why;
  if (is_empty(&s, X) || is_empty(&s, W)) return PCU_LAYOUT; /* sums of none */
  out->how = PRUNE_CUDA_CUDNN;
  *code = describe(c, step->conv->type, &s, out->parts);
  if (*code) return PCU_REFUSED;
  return choose(c, step->conv->type, get_room(slot, step->conv->type, &s), algo,
                out, code);
}

int pcu_conv_algorithms(const prune_cuda_ctx *c, const prune_cuda_step *step,
                        const pcu_product *p, pcu_lt_algo out[PCU_LT_ALGOS]) {
  proposals all;
  int n = 0, code;
  (void)propose(c, p->parts[PCU_PART_GRAPH], PCU_DNN_MODE_A, &all);
  for (int i = 0; i < all.num && n < PCU_LT_ALGOS; i++)
    n += may_take(c, step->conv->type, &all, i, &out[n], &code);
  drop_proposals(c, &all);
  return n;
}

void pcu_forget_conv(const prune_cuda_ctx *c, pcu_product *p) {
  for (int i = PCU_PARTS - 1; i >= 0; i--)
    drop(c, &p->parts[i]);
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

prune_cuda_status pcu_convolve(const prune_cuda_ctx *c, const pcu_call *call,
                               const prune_cuda_step *step,
                               const pcu_product *p) {
  void *data[TENSORS], *pack = NULL;
  void *space = call->workspace + call->slot->lib;
  for (int t = 0; t < TENSORS; t++)
    data[t] = pcu_pointer(c, call, &step->pointers[step->conv->operands[t]]);
  const attribute rows[] = {
      {PCU_DNN_PACK_IDS, PCU_DNN_IS_INT64, TENSORS, ids},
      {PCU_DNN_PACK_POINTERS, PCU_DNN_IS_POINTER, TENSORS, data},
      {PCU_DNN_PACK_SPACE, PCU_DNN_IS_POINTER, 1, &space}};
  int code = MAKE(c, PCU_DNN_PACK, rows, &pack);
  if (!code) code = launch(c, p->parts[PCU_PART_PLAN], pack, call->stream);
  drop(c, &pack);
  return pcu_said(PCU_DNN, code, "cudnnBackendExecute");
}
