/* Convolutions by cuDNN, each a graph of one operation.
 *
 * A convolution along one dimension is one of two, of which the first has one
 * element: the library knows images and volumes. */
#include <string.h>

#include "prune_cuda_dnn.h"

enum { X, W, OUT, TENSORS, RANK = PRUNE_CUDA_CONV_RANK, SPATIAL = RANK - 2 };

static const int64_t ids[TENSORS] = {1, 2, 3};

/* A step's convolution for one set of sizes. */
typedef struct shape {
  int32_t rank;
  pcu_dnn_tensor t[TENSORS];
  int64_t before[SPATIAL], after[SPATIAL], strides[SPATIAL], dilations[SPATIAL];
} shape;

static void get_tensor(const prune_cuda_step *step, const int64_t *sizes,
                       int32_t t, shape *out) {
  const prune_cuda_conv *v = step->conv;
  int32_t more = out->rank - v->rank;
  pcu_dnn_tensor *to = &out->t[t];
  *to = (pcu_dnn_tensor){.type = v->type, .rank = out->rank, .id = ids[t]};
  to->dims[2] = 1;
  for (int32_t i = 0; i < v->rank; i++) {
    int32_t at = i < 2 ? i : i + more;
    to->dims[at] = sizes[v->dims[t][i]];
    to->steps[at] = sizes[v->steps[t][i]];
  }
  to->align = (int64_t)pcu_alignment(&step->pointers[v->operands[t]], sizes);
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
    int64_t reach = (out->t[OUT].dims[i + 2] - 1) * out->strides[i] +
                    (out->t[W].dims[i + 2] - 1) * out->dilations[i] + 1;
    int64_t lacks = reach - out->t[X].dims[i + 2] - out->before[i];
    out->after[i] = lacks > 0 ? lacks : 0;
  }
}

static bool is_moderate(const shape *s) {
  for (int t = 0; t < TENSORS; t++)
    if (!pcu_dnn_is_moderate(&s->t[t])) return false;
  for (int32_t i = 0; i < s->rank - 2; i++)
    if (s->before[i] > PCU_DNN_MOST || s->strides[i] > PCU_DNN_MOST ||
        s->dilations[i] > PCU_DNN_MOST)
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
  for (int t = 0; t < TENSORS; t++)
    get_tensor(step, slot->sizes, t, out);
  get_windows(v, slot->sizes, out);
  if (!is_moderate(out)) return PCU_LAYOUT;
  set_after(out);
  for (int t = 0; t < TENSORS; t++)
    if (!pcu_dnn_fill_steps(&out->t[t])) return PCU_LAYOUT;
  return PCU_TAKEN;
}

/* Engines want channels last and bring tensors into that order in their
 * workspace: room for a copy of each is given as well. */
static size_t get_room(const pcu_slot *slot, int32_t type, const shape *s) {
  size_t room = pcu_lib_room(slot), each = pcu_type_size(type);
  if (slot->state == PCU_READY) return room;
  for (int t = 0; t < TENSORS; t++) {
    int64_t most = 0;
    for (int32_t i = 0; i < s->rank; i++)
      if (s->t[t].dims[i] * s->t[t].steps[i] > most)
        most = s->t[t].dims[i] * s->t[t].steps[i];
    room += (size_t)most * each;
  }
  return room;
}

static void *describe_windows(pcu_dnn *d, const shape *s) {
  const int sums = PCU_DNN_F32, mode = PCU_DNN_CROSS_CORRELATION;
  const int64_t n = s->rank - 2;
  const pcu_dnn_row rows[] = {
      {PCU_DNN_CONV_TYPE, PCU_DNN_IS_TYPE, 1, &sums},
      {PCU_DNN_CONV_MODE, PCU_DNN_IS_CONV_MODE, 1, &mode},
      {PCU_DNN_CONV_SPATIAL, PCU_DNN_IS_INT64, 1, &n},
      {PCU_DNN_CONV_BEFORE, PCU_DNN_IS_INT64, n, s->before},
      {PCU_DNN_CONV_AFTER, PCU_DNN_IS_INT64, n, s->after},
      {PCU_DNN_CONV_STRIDES, PCU_DNN_IS_INT64, n, s->strides},
      {PCU_DNN_CONV_DILATIONS, PCU_DNN_IS_INT64, n, s->dilations}};
  return PCU_DNN_MAKE(d, PCU_DNN_CONV, rows);
}

static void describe(pcu_dnn *d, const shape *s) {
  const float one = 1, zero = 0;
  void *t[TENSORS];
  for (int i = 0; i < TENSORS; i++)
    t[i] = pcu_dnn_tensor_of(d, &s->t[i]);
  void *windows = describe_windows(d, s);
  const pcu_dnn_row rows[] = {
      {PCU_DNN_FORWARD_X, PCU_DNN_IS_DESC, 1, &t[X]},
      {PCU_DNN_FORWARD_W, PCU_DNN_IS_DESC, 1, &t[W]},
      {PCU_DNN_FORWARD_Y, PCU_DNN_IS_DESC, 1, &t[OUT]},
      {PCU_DNN_FORWARD_CONV, PCU_DNN_IS_DESC, 1, &windows},
      {PCU_DNN_FORWARD_ALPHA, PCU_DNN_IS_FLOAT, 1, &one},
      {PCU_DNN_FORWARD_BETA, PCU_DNN_IS_FLOAT, 1, &zero}};
  PCU_DNN_OPERATE(d, PCU_DNN_CONV_FORWARD, rows);
}

static bool has_shape(const pcu_slot *slot, const prune_cuda_step *other,
                      const void *wanted) {
  const shape *s = wanted;
  shape o;
  if (!other->conv || get_shape(slot, other, &o) != PCU_TAKEN ||
      o.rank != s->rank)
    return false;
  for (int t = 0; t < TENSORS; t++)
    if (!pcu_dnn_is_same(&s->t[t], &o.t[t])) return false;
  for (int32_t i = 0; i < s->rank - 2; i++)
    if (s->before[i] != o.before[i] || s->after[i] != o.after[i] ||
        s->strides[i] != o.strides[i] || s->dilations[i] != o.dilations[i])
      return false;
  return true;
}

pcu_reason pcu_plan_conv(const prune_cuda_ctx *c, const pcu_slot *slot,
                         const prune_cuda_step *step, const pcu_lt_algo *algo,
                         pcu_product *out, int32_t *code) {
  shape s;
  pcu_dnn d = {.ctx = c, .product = out};
  pcu_reason why = get_shape(slot, step, &s);
  if (why != PCU_TAKEN || pcu_dnn_is_empty(&s.t[OUT])) return why;
  if (pcu_dnn_is_empty(&s.t[X]) || pcu_dnn_is_empty(&s.t[W]))
    return PCU_LAYOUT; /* sums of none */
  if (pcu_dnn_share(&d, slot, algo, has_shape, &s)) return PCU_TAKEN;
  describe(&d, &s);
  return pcu_dnn_plan(&d, step->conv->type,
                      get_room(slot, step->conv->type, &s), algo, code);
}

prune_cuda_status pcu_convolve(const prune_cuda_ctx *c, const pcu_call *call,
                               const prune_cuda_step *step,
                               const pcu_product *p) {
  void *data[TENSORS];
  for (int t = 0; t < TENSORS; t++)
    data[t] = pcu_pointer(c, call, &step->pointers[step->conv->operands[t]]);
  return pcu_dnn_run(c, call, p, TENSORS, ids, data);
}
