/* What prune_cuda_conv.c and prune_cuda_attention.c tell cuDNN with: graphs of
 * operations, and what is done with one that is told. */
#ifndef PRUNE_CUDA_DNN_H
#define PRUNE_CUDA_DNN_H

#include "prune_cuda_impl.h"

enum { PCU_DNN_RANK = 5, PCU_DNN_OPS = 12 };
/* Up to this, products of two fit in 64 bits; the library takes less. */
#define PCU_DNN_MOST (INT64_C(1) << 30)

/* A graph while it is described. Once something is refused, code says how, and
 * nothing more is made. */
typedef struct pcu_dnn {
  const prune_cuda_ctx *ctx;
  pcu_product *product; /* has what is made, also where it fails */
  void *ops[PCU_DNN_OPS];
  int num_ops, code;
} pcu_dnn;

/* An attribute of a descriptor. */
typedef struct pcu_dnn_row {
  int name, type;
  int64_t count;
  const void *data;
} pcu_dnn_row;

/* A descriptor of these attributes, finalised; NULL: refused. */
void *pcu_dnn_part(pcu_dnn *d, int kind, const pcu_dnn_row *rows, size_t n);
/* The same of an operation, which becomes the graph's next. */
void pcu_dnn_operation(pcu_dnn *d, int kind, const pcu_dnn_row *rows, size_t n);
#define PCU_DNN_MAKE(d, kind, rows) \
  pcu_dnn_part(d, kind, rows, sizeof(rows) / sizeof *(rows))
#define PCU_DNN_OPERATE(d, kind, rows) \
  pcu_dnn_operation(d, kind, rows, sizeof(rows) / sizeof *(rows))

typedef struct pcu_dnn_tensor {
  int32_t type; /* ONNX's number */
  enum { PCU_DNN_STORED, PCU_DNN_INSIDE, PCU_DNN_NUMBER } is;
  int64_t rank, dims[PCU_DNN_RANK], steps[PCU_DNN_RANK]; /* in elements */
  int64_t id, align;                                     /* in bytes */
} pcu_dnn_tensor;
void *pcu_dnn_tensor_of(pcu_dnn *d, const pcu_dnn_tensor *t);
/* No dimension or step is above PCU_DNN_MOST, or negative. */
bool pcu_dnn_is_moderate(const pcu_dnn_tensor *t);
bool pcu_dnn_is_empty(const pcu_dnn_tensor *t);
/* Where there is one element, the step that a row-major array would have;
 * false where others have none. */
bool pcu_dnn_fill_steps(pcu_dnn_tensor *t);

bool pcu_dnn_is_same(const pcu_dnn_tensor *a, const pcu_dnn_tensor *b);

/* Whether another step has this shape, for the slot's sizes. */
typedef bool (*pcu_dnn_has_shape)(const pcu_slot *slot,
                                  const prune_cuda_step *other,
                                  const void *shape);
/* Takes the plan of a step that has the shape and one, by the same algorithm
 * unless that is NULL: planning compiles kernels, which takes a quarter of a
 * second for attention. False: there is none. */
bool pcu_dnn_share(const pcu_dnn *d, const pcu_slot *slot,
                   const pcu_lt_algo *algo, pcu_dnn_has_shape has,
                   const void *shape);
/* The graph of these operations and a plan for it, which needs at most `room`
 * bytes of workspace. type: of what is multiplied, as ONNX has it. */
pcu_reason pcu_dnn_plan(pcu_dnn *d, int32_t type, size_t room,
                        const pcu_lt_algo *algo, int32_t *code);
/* Launches what was planned, with the n tensors of these numbers at data. */
prune_cuda_status pcu_dnn_run(const prune_cuda_ctx *c, const pcu_call *call,
                              const pcu_product *p, int64_t n,
                              const int64_t *ids, void *const *data);

#endif
