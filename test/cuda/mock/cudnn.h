/* The inside of the mocked libcudnn: what describing (cudnn.c) and computing
 * (cudnn_math.c) share. The numbers are cuDNN's. */
#ifndef PRN_TEST_CUDA_MOCK_CUDNN_H
#define PRN_TEST_CUDA_MOCK_CUDNN_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
  OK = 0,
  NOT_INITIALIZED = 1001,
  INVALID = 2000,
  IS_NULL = 2002,
  NOT_FINALIZED = 2004,
  WRONG_TYPE = 2010,
  NOT_SUPPORTED = 3000,
  ALLOC_FAILED = 4003,
  FAILED = 5000,
  HANDLE = 0x444e,
  DESC = 0x444f,
  RANK = 8,
  SLOTS = 8,
  OPS = 16
};
enum kind {
  POINTWISE = 0,
  CONV = 1,
  ENGINE = 2,
  CONFIG = 3,
  HEURISTICS = 4,
  PLAN = 5,
  FORWARD = 10,
  DO_POINTWISE = 13,
  GRAPH = 15,
  PACK = 16,
  TENSOR = 17,
  MATMUL = 18,
  DO_MATMUL = 19,
  REDUCE = 21,
  DO_REDUCE = 22
};
/* Modes of POINTWISE and of REDUCE. */
enum { ADD = 0, MUL = 1, DIV = 6, SUB = 9, EXP = 13, LOG = 15 };
enum { SUM = 0, MAX = 3 };

typedef struct handle {
  int magic;
  void *stream;
  pthread_t thread; /* that set it */
  bool busy;
} handle;

typedef struct tensor {
  int type;
  int64_t dims[RANK], steps[RANK], id, align;
  bool inside, number; /* not stored; in host memory */
} tensor;
typedef struct conv {
  int type, mode;
  int64_t spatial, before[RANK], after[RANK], strides[RANK], dilations[RANK];
} conv;

/* Of an operation, what it reads (one or two), what it gives, how. */
enum { FIRST, SECOND, RESULT, HOW };
typedef struct desc {
  int magic, kind;
  bool final;
  int users; /* other descriptors that were given this one */
  int64_t counts[SLOTS];
  tensor t;
  conv c;
  int mode, type; /* of POINTWISE, MATMUL and REDUCE */
  struct desc *parts[OPS];
  float alpha, beta;
  handle *h;
  int engine;
  size_t space;
  int64_t ids[OPS];
  void *pointers[OPS], *workspace;
} desc;

static inline int64_t rank_of(const desc *of) { return of->counts[1]; }
static inline int64_t groups_of(const desc *forward) {
  return forward->parts[FIRST]->t.dims[1] / forward->parts[SECOND]->t.dims[1];
}
static inline bool is_operation(int kind) {
  return kind == FORWARD || kind == DO_POINTWISE || kind == DO_MATMUL ||
         kind == DO_REDUCE;
}

/* A tensor of the graph has no element. */
bool cudnn_has_empty(const desc *graph);
/* Engines, by their place. Heuristics of a mode propose one for a graph, with
 * so many settings; not all that are proposed can do it. */
int cudnn_engines(void);
bool cudnn_engine_is_proposed(int engine, const desc *graph, int mode);
bool cudnn_engine_can(int engine, const desc *graph);
int cudnn_engine_settings(int engine);
size_t cudnn_engine_space(int engine, const desc *graph);
int64_t cudnn_engine_id(int engine);
unsigned cudnn_engine_notes(int engine); /* bits */
double cudnn_engine_micros(int engine);

/* Says that a rule was broken; returns code. */
int cudnn_bad(int code, const char *what, int name);
/* Has the graph computed when it is the stream's turn, with tensors where pack
 * says; all that is read of both is read now. */
int cudnn_compute(const desc *graph, const desc *pack, void *stream,
                  double micros);

#endif
