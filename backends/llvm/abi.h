/* What a compiled model exports, for C callers. Version 1.
 *
 * A library NAME exports one symbol, NAME_model(), and everything else
 * through the structure it returns. All memory is the caller's; nothing is
 * allocated, nothing is kept between calls, and any number of threads may run
 * one model at the same time with different arenas.
 *
 *   const prune_model *m = NAME_model();
 *   prune_tensor in[] = {{.data = ids, .dims = (int64_t[]){1, 128}}};
 *   prune_tensor out[] = {{.data = y, .size = sizeof y, .dims = y_dims}};
 *   prune_call call = {.inputs = in, .outputs = out, .weights = m->weights,
 *                      .workers = 1};
 *   size_t need;
 *   int status = m->plan(&call, &need);   // fills out[i].dims and need
 *   call.arena = ...need bytes, aligned to 64...;
 *   call.arena_size = need;
 *   if (status == PRUNE_OK) status = m->run(&call);
 */
#ifndef PRUNE_ABI_H
#define PRUNE_ABI_H

#include <stddef.h>
#include <stdint.h>

#define PRUNE_ABI 1

enum {
  PRUNE_OK = 0,
  PRUNE_BAD_DIMS = 1,     /* an input's size contradicts the model's */
  PRUNE_SMALL_ARENA = 2,  /* arena_size below what plan said */
  PRUNE_SMALL_OUTPUT = 3, /* size of an output below what its dims need */
  PRUNE_BAD_INDEX = 4,    /* an index in the data is out of range */
  PRUNE_TOO_LARGE = 5,    /* sizes so large that byte counts overflow */
  PRUNE_BAD_CALL = 6,     /* a pointer that is needed is NULL */
  PRUNE_BAD_BRANCH = 7    /* the data chose what cannot run at these sizes */
};

/* Element types have ONNX's numbers: 1 float, 2 uint8, 3 int8, 4 uint16,
 * 5 int16, 6 int32, 7 int64, 9 bool (a byte), 10 float16, 11 double,
 * 12 uint32, 13 uint64, 16 bfloat16, 17 to 20 float8 (e4m3fn, e4m3fnuz, e5m2,
 * e5m2fnuz), 21 uint4, 22 int4, 23 float4 (e2m1), 24 float8 (e8m0), 25 uint2,
 * 26 int2. Elements of less than a byte lie in a byte each, integers extended
 * to it. */

/* A dense row-major array. */
typedef struct prune_tensor {
  void *data;
  size_t size;   /* bytes at data; looked at for outputs */
  int64_t *dims; /* inputs: read; outputs: written by plan and run */
} prune_tensor;

/* Runs fn(arg, begin, end, worker) over disjoint ranges that make up
 * [0, count), from any threads, no two at once with the same worker, which is
 * in [0, workers); returns when all are done. */
typedef void prune_task(void *arg, int64_t begin, int64_t end, int64_t worker);
typedef void prune_parallel_for(void *pool, prune_task *fn, void *arg,
                                int64_t count);

typedef struct prune_call {
  const prune_tensor *inputs;
  prune_tensor *outputs;
  void *arena; /* scratch memory for the time of the call */
  size_t arena_size;
  const void *weights;              /* prune_model.weights_size bytes */
  int64_t workers;                  /* at most so many at once; 0 means 1 */
  prune_parallel_for *parallel_for; /* NULL: run in the calling thread */
  void *pool;                       /* handed to parallel_for */
} prune_call;

typedef struct prune_value {
  const char *name;
  int32_t type; /* element type */
  int32_t rank;
  const int64_t *dims;          /* -1: known when the inputs are */
  const char *const *dim_names; /* expressions of the open dimensions */
} prune_value;

typedef struct prune_model {
  uint32_t abi; /* PRUNE_ABI */
  uint32_t num_inputs, num_outputs;
  const prune_value *inputs, *outputs;
  uint64_t weights_size;
  const void *weights; /* NULL when they are kept in a file of their own */
  /* Both return PRUNE_OK or what is wrong. plan reads workers and the dims of
   * the inputs, no data. */
  int (*plan)(const prune_call *call, size_t *arena_size);
  int (*run)(const prune_call *call);
  const char *target; /* the CPU that the code is for */
} prune_model;

#endif
