/* The inside of prune_cuda.h: what its files share. The few functions and
 * numbers of NVIDIA's interfaces that are used are declared here, so that no
 * header of theirs is needed and no library is linked. */
#ifndef PRUNE_CUDA_IMPL_H
#define PRUNE_CUDA_IMPL_H

#include <sched.h>
#include <stdatomic.h>
#include <stdbool.h>

#include "prune_cuda.h"
#include "prune_cuda_model.h"

typedef unsigned long long pcu_ptr; /* CUdeviceptr */

/* CUresult and attributes */
enum {
  PCU_NO_DEVICE = 100,
  PCU_BAD_DEVICE = 101,
  PCU_BAD_IMAGE = 200,
  PCU_NO_BINARY = 209,
  PCU_PTX_VERSION = 222,
  PCU_NOT_WHILE_CAPTURING = 900,
  PCU_DEVICE_MAJOR = 75,
  PCU_DEVICE_MINOR = 76,
  PCU_DEVICE_SHARED = 97,  /* bytes that a block can ask for */
  PCU_FUNC_THREADS = 0,    /* of a block at most */
  PCU_FUNC_SHARED = 8,     /* dynamic bytes that may be asked for */
  PCU_SHARED_FREE = 49152, /* bytes that need not be asked for */
  PCU_DRIVER_VERSION = 12000
};

/* X(field, symbol, arguments): functions that return 0 or what went wrong. The
 * names are those that CUDA 12's header gives its functions. */
#define PCU_DRIVER(X)                                                         \
  X(init, "cuInit", (unsigned))                                               \
  X(driver_version, "cuDriverGetVersion", (int *))                            \
  X(device, "cuDeviceGet", (int *, int))                                      \
  X(attribute, "cuDeviceGetAttribute", (int *, int, int))                     \
  X(retain, "cuDevicePrimaryCtxRetain", (void **, int))                       \
  X(release, "cuDevicePrimaryCtxRelease_v2", (int))                           \
  X(push, "cuCtxPushCurrent_v2", (void *))                                    \
  X(pop, "cuCtxPopCurrent_v2", (void **))                                     \
  X(current, "cuCtxGetCurrent", (void **))                                    \
  X(current_device, "cuCtxGetDevice", (int *))                                \
  X(load, "cuLibraryLoadData",                                                \
    (void **, const void *, const int *, void **, unsigned, const int *,      \
     void **, unsigned))                                                      \
  X(unload, "cuLibraryUnload", (void *))                                      \
  X(kernel, "cuLibraryGetKernel", (void **, void *, const char *))            \
  X(function, "cuKernelGetFunction", (void **, void *))                       \
  X(get, "cuFuncGetAttribute", (int *, int, void *))                          \
  X(set, "cuFuncSetAttribute", (void *, int, int))                            \
  X(launch, "cuLaunchKernel",                                                 \
    (void *, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned,      \
     unsigned, prune_cuda_stream, void **, void **))                          \
  X(to_device, "cuMemcpyHtoDAsync_v2",                                        \
    (pcu_ptr, const void *, size_t, prune_cuda_stream))                       \
  X(to_host, "cuMemcpyDtoHAsync_v2",                                          \
    (void *, pcu_ptr, size_t, prune_cuda_stream))                             \
  X(fill, "cuMemsetD32Async", (pcu_ptr, unsigned, size_t, prune_cuda_stream)) \
  X(wait, "cuStreamSynchronize", (prune_cuda_stream))                         \
  X(capturing, "cuStreamIsCapturing", (prune_cuda_stream, int *))             \
  X(event, "cuEventCreate", (void **, unsigned))                              \
  X(event_free, "cuEventDestroy_v2", (void *))                                \
  X(record, "cuEventRecord", (void *, prune_cuda_stream))                     \
  X(event_wait, "cuEventSynchronize", (void *))                               \
  X(elapsed, "cuEventElapsedTime", (float *, void *, void *))

/* cuBLASLt 12 and 13 */
enum {
  PCU_LT_F32 = 0, /* cudaDataType */
  PCU_LT_F16 = 2,
  PCU_LT_BF16 = 14,
  PCU_LT_COMPUTE_32F = 68,
  PCU_LT_TRANSA = 3,
  PCU_LT_EPILOGUE = 7,
  PCU_LT_BIAS = 8,
  PCU_LT_DEFAULT = 1, /* epilogues, of which BIAS goes with the others */
  PCU_LT_RELU = 2,
  PCU_LT_ADD_BIAS = 4,
  PCU_LT_GELU = 32,
  PCU_LT_SPACE = 1, /* preferences */
  PCU_LT_REDUCTIONS = 3,
  PCU_LT_ALIGN_A = 5,
  PCU_LT_ALIGN_B = 6,
  PCU_LT_ALIGN_C = 7,
  PCU_LT_ALIGN_D = 8
};
typedef struct pcu_lt_algo {
  uint64_t data[8];
} pcu_lt_algo;
typedef struct pcu_lt_result { /* cublasLtMatmulHeuristicResult_t */
  pcu_lt_algo algo;
  size_t space;
  int state;
  float waves;
  int reserved[4];
} pcu_lt_result;
#define PCU_BLASLT(X)                                                          \
  X(create, "cublasLtCreate", (void **))                                       \
  X(destroy, "cublasLtDestroy", (void *))                                      \
  X(desc, "cublasLtMatmulDescCreate", (void **, int, int))                     \
  X(desc_set, "cublasLtMatmulDescSetAttribute",                                \
    (void *, int, const void *, size_t))                                       \
  X(desc_free, "cublasLtMatmulDescDestroy", (void *))                          \
  X(layout, "cublasLtMatrixLayoutCreate",                                      \
    (void **, int, uint64_t, uint64_t, int64_t))                               \
  X(layout_free, "cublasLtMatrixLayoutDestroy", (void *))                      \
  X(preference, "cublasLtMatmulPreferenceCreate", (void **))                   \
  X(preference_set, "cublasLtMatmulPreferenceSetAttribute",                    \
    (void *, int, const void *, size_t))                                       \
  X(preference_free, "cublasLtMatmulPreferenceDestroy", (void *))              \
  X(heuristic, "cublasLtMatmulAlgoGetHeuristic",                               \
    (void *, void *, void *, void *, void *, void *, void *, int,              \
     pcu_lt_result *, int *))                                                  \
  X(check, "cublasLtMatmulAlgoCheck",                                          \
    (void *, void *, void *, void *, void *, void *, const pcu_lt_algo *,      \
     pcu_lt_result *))                                                         \
  X(matmul, "cublasLtMatmul",                                                  \
    (void *, void *, const void *, const void *, void *, const void *, void *, \
     const void *, const void *, void *, void *, void *, const pcu_lt_algo *,  \
     void *, size_t, prune_cuda_stream))

/* cuSPARSELt 0.8 and later: all structures have 512 bytes. Before, they had
 * 11024 under the same name of the library. */
enum {
  PCU_SLT_ROW = 2, /* cusparseOrder_t */
  PCU_SLT_COL = 1,
  PCU_SLT_COMPUTE_32F = 2,
  PCU_SLT_RELU = 0,
  PCU_SLT_BIAS = 8,
  PCU_SLT_SPARSE = 9,
  PCU_SLT_ID = 0, /* of an algorithm */
  PCU_SLT_IDS = 1 /* how many there are */
};
typedef struct pcu_opaque {
  _Alignas(16) unsigned char data[512];
} pcu_opaque;
#define PCU_SPARSELT(X)                                                       \
  X(property, "cusparseLtGetProperty", (int, int *))                          \
  X(init, "cusparseLtInit", (pcu_opaque *))                                   \
  X(destroy, "cusparseLtDestroy", (const pcu_opaque *))                       \
  X(dense, "cusparseLtDenseDescriptorInit",                                   \
    (const pcu_opaque *, pcu_opaque *, int64_t, int64_t, int64_t, uint32_t,   \
     int, int))                                                               \
  X(structured, "cusparseLtStructuredDescriptorInit",                         \
    (const pcu_opaque *, pcu_opaque *, int64_t, int64_t, int64_t, uint32_t,   \
     int, int, int))                                                          \
  X(mat_free, "cusparseLtMatDescriptorDestroy", (const pcu_opaque *))         \
  X(desc, "cusparseLtMatmulDescriptorInit",                                   \
    (const pcu_opaque *, pcu_opaque *, int, int, const pcu_opaque *,          \
     const pcu_opaque *, const pcu_opaque *, const pcu_opaque *, int))        \
  X(desc_set, "cusparseLtMatmulDescSetAttribute",                             \
    (const pcu_opaque *, pcu_opaque *, int, const void *, size_t))            \
  X(choose, "cusparseLtMatmulAlgSelectionInit",                               \
    (const pcu_opaque *, pcu_opaque *, const pcu_opaque *, int))              \
  X(choice_free, "cusparseLtMatmulAlgSelectionDestroy", (const pcu_opaque *)) \
  X(choice_set, "cusparseLtMatmulAlgSetAttribute",                            \
    (const pcu_opaque *, pcu_opaque *, int, const void *, size_t))            \
  X(choice_get, "cusparseLtMatmulAlgGetAttribute",                            \
    (const pcu_opaque *, const pcu_opaque *, int, void *, size_t))            \
  X(plan, "cusparseLtMatmulPlanInit",                                         \
    (const pcu_opaque *, pcu_opaque *, const pcu_opaque *,                    \
     const pcu_opaque *))                                                     \
  X(plan_free, "cusparseLtMatmulPlanDestroy", (const pcu_opaque *))           \
  X(space, "cusparseLtMatmulGetWorkspace",                                    \
    (const pcu_opaque *, const pcu_opaque *, size_t *))                       \
  X(compressed_size, "cusparseLtSpMMACompressedSize2",                        \
    (const pcu_opaque *, const pcu_opaque *, size_t *, size_t *))             \
  X(compress, "cusparseLtSpMMACompress2",                                     \
    (const pcu_opaque *, const pcu_opaque *, int, int, const void *, void *,  \
     void *, prune_cuda_stream))                                              \
  X(matmul, "cusparseLtMatmul",                                               \
    (const pcu_opaque *, const pcu_opaque *, const void *, const void *,      \
     const void *, const void *, const void *, void *, void *,                \
     prune_cuda_stream *, int32_t))

/* cuSPARSE 12: descriptors are pointers. */
enum {
  PCU_SP_COL = 1, /* cusparseOrder_t */
  PCU_SP_ROW = 2,
  PCU_SP_INDEX_32 = 2,
  PCU_SP_BSR = 14 /* the algorithm */
};
#define PCU_SPARSE(X)                                                      \
  X(property, "cusparseGetProperty", (int, int *))                         \
  X(create, "cusparseCreate", (void **))                                   \
  X(destroy, "cusparseDestroy", (void *))                                  \
  X(stream, "cusparseSetStream", (void *, prune_cuda_stream))              \
  X(blocks, "cusparseCreateBsr",                                           \
    (void **, int64_t, int64_t, int64_t, int64_t, int64_t, void *, void *, \
     void *, int, int, int, int, int))                                     \
  X(blocks_free, "cusparseDestroySpMat", (void *))                         \
  X(dense, "cusparseCreateDnMat",                                          \
    (void **, int64_t, int64_t, int64_t, void *, int, int))                \
  X(dense_free, "cusparseDestroyDnMat", (void *))                          \
  X(dense_set, "cusparseDnMatSetValues", (void *, void *))                 \
  X(space, "cusparseSpMM_bufferSize",                                      \
    (void *, int, int, const void *, void *, void *, const void *, void *, \
     int, int, size_t *))                                                  \
  X(matmul, "cusparseSpMM",                                                \
    (void *, int, int, const void *, void *, void *, const void *, void *, \
     int, int, void *))
/* cuDNN 9: the graph interface. What is described is made of descriptors, which
 * are given attributes and then finalised. */
enum {
  PCU_DNN_F32 = 0, /* cudnnDataType_t */
  PCU_DNN_F16 = 2,
  PCU_DNN_BF16 = 9,
  PCU_DNN_CROSS_CORRELATION = 1,
  PCU_DNN_MODE_FALLBACK = 2, /* heuristics */
  PCU_DNN_MODE_A = 3,
  PCU_DNN_TENSOR_CORE = 0, /* what is noted of an engine */
  PCU_DNN_NARROWS_INPUTS = 1,
  PCU_DNN_NARROWS_SUMS = 2,
  PCU_DNN_NONDETERMINISTIC = 4,
  PCU_DNN_NOTES = 10,
  PCU_DNN_POINTWISE = 0, /* kinds of descriptors */
  PCU_DNN_CONV = 1,
  PCU_DNN_ENGINE = 2,
  PCU_DNN_CONFIG = 3,
  PCU_DNN_HEURISTICS = 4,
  PCU_DNN_PLAN = 5,
  PCU_DNN_CONV_FORWARD = 10,
  PCU_DNN_DO_POINTWISE = 13, /* operations, as CONV_FORWARD */
  PCU_DNN_GRAPH = 15,
  PCU_DNN_PACK = 16,
  PCU_DNN_TENSOR = 17,
  PCU_DNN_MATMUL = 18,
  PCU_DNN_DO_MATMUL = 19,
  PCU_DNN_REDUCE = 21,
  PCU_DNN_DO_REDUCE = 22,
  PCU_DNN_IS_HANDLE = 0, /* types of attributes */
  PCU_DNN_IS_TYPE = 1,
  PCU_DNN_IS_BOOL = 2,
  PCU_DNN_IS_INT64 = 3,
  PCU_DNN_IS_FLOAT = 4,
  PCU_DNN_IS_POINTER = 6,
  PCU_DNN_IS_CONV_MODE = 7,
  PCU_DNN_IS_HEUR_MODE = 8,
  PCU_DNN_IS_NOTE = 11,
  PCU_DNN_IS_POINTWISE = 14,
  PCU_DNN_IS_DESC = 15,
  PCU_DNN_IS_REDUCE = 18,
  PCU_DNN_ADD = 0, /* modes of POINTWISE */
  PCU_DNN_MUL = 1,
  PCU_DNN_DIV = 6,
  PCU_DNN_SUB = 9,
  PCU_DNN_EXP = 13,
  PCU_DNN_LOG = 15,
  PCU_DNN_SUM = 0, /* of REDUCE */
  PCU_DNN_MAX = 3,
  PCU_DNN_POINTWISE_MODE = 0, /* attributes */
  PCU_DNN_POINTWISE_TYPE = 1,
  PCU_DNN_CONV_TYPE = 100,
  PCU_DNN_CONV_MODE = 101,
  PCU_DNN_CONV_DILATIONS = 102,
  PCU_DNN_CONV_STRIDES = 103,
  PCU_DNN_CONV_AFTER = 104,
  PCU_DNN_CONV_BEFORE = 105,
  PCU_DNN_CONV_SPATIAL = 106,
  PCU_DNN_HEUR_MODE = 200,
  PCU_DNN_HEUR_GRAPH = 201,
  PCU_DNN_HEUR_RESULTS = 202,
  PCU_DNN_CONFIG_ENGINE = 300,
  PCU_DNN_PLAN_HANDLE = 400,
  PCU_DNN_PLAN_CONFIG = 401,
  PCU_DNN_PLAN_SPACE = 402,
  PCU_DNN_FORWARD_ALPHA = 700,
  PCU_DNN_FORWARD_BETA = 701,
  PCU_DNN_FORWARD_CONV = 702,
  PCU_DNN_FORWARD_W = 703,
  PCU_DNN_FORWARD_X = 704,
  PCU_DNN_FORWARD_Y = 705,
  PCU_DNN_POINTWISE_DESC = 750,
  PCU_DNN_POINTWISE_X = 751,
  PCU_DNN_POINTWISE_B = 752,
  PCU_DNN_POINTWISE_Y = 753,
  PCU_DNN_GRAPH_HANDLE = 800,
  PCU_DNN_GRAPH_OPS = 801,
  PCU_DNN_TENSOR_ALIGN = 900,
  PCU_DNN_TENSOR_TYPE = 901,
  PCU_DNN_TENSOR_DIMS = 902,
  PCU_DNN_TENSOR_STEPS = 903,
  PCU_DNN_TENSOR_ID = 906,
  PCU_DNN_TENSOR_INSIDE = 907, /* of the graph: it is not stored */
  PCU_DNN_TENSOR_NUMBER = 908, /* in host memory, read when it is launched */
  PCU_DNN_PACK_IDS = 1000,
  PCU_DNN_PACK_POINTERS = 1001,
  PCU_DNN_PACK_SPACE = 1003,
  PCU_DNN_ENGINE_INDEX = 1301,
  PCU_DNN_ENGINE_NOTES = 1303,
  PCU_DNN_MATMUL_TYPE = 1500,
  PCU_DNN_MATMUL_A = 1520,
  PCU_DNN_MATMUL_B = 1521,
  PCU_DNN_MATMUL_C = 1522,
  PCU_DNN_MATMUL_DESC = 1523,
  PCU_DNN_REDUCE_HOW = 1600,
  PCU_DNN_REDUCE_TYPE = 1601,
  PCU_DNN_REDUCE_X = 1610,
  PCU_DNN_REDUCE_Y = 1611,
  PCU_DNN_REDUCE_DESC = 1612
};
#define PCU_CUDNN(X)                                       \
  X(create, "cudnnCreate", (void **))                      \
  X(destroy, "cudnnDestroy", (void *))                     \
  X(stream, "cudnnSetStream", (void *, prune_cuda_stream)) \
  X(desc, "cudnnBackendCreateDescriptor", (int, void **))  \
  X(desc_free, "cudnnBackendDestroyDescriptor", (void *))  \
  X(set, "cudnnBackendSetAttribute",                       \
    (void *, int, int, int64_t, const void *))             \
  X(finalize, "cudnnBackendFinalize", (void *))            \
  X(get, "cudnnBackendGetAttribute",                       \
    (const void *, int, int, int64_t, int64_t *, void *))  \
  X(execute, "cudnnBackendExecute", (void *, void *, void *))

#define PCU_FIELD(field, symbol, arguments) int(*field) arguments;
typedef struct pcu_driver {
  PCU_DRIVER(PCU_FIELD)
} pcu_driver;
typedef struct pcu_blaslt {
  PCU_BLASLT(PCU_FIELD)
  size_t (*version)(void);
} pcu_blaslt;
typedef struct pcu_sparselt {
  PCU_SPARSELT(PCU_FIELD)
} pcu_sparselt;
typedef struct pcu_sparse {
  PCU_SPARSE(PCU_FIELD)
} pcu_sparse;
typedef struct pcu_cudnn {
  PCU_CUDNN(PCU_FIELD)
  size_t (*version)(void);
} pcu_cudnn;
#undef PCU_FIELD
#define PCU_NAME(field, symbol, arguments) const char *field;
typedef struct pcu_driver_names {
  PCU_DRIVER(PCU_NAME)
} pcu_driver_names;
#undef PCU_NAME
extern const pcu_driver_names pcu_driver_symbols;

enum pcu_library { PCU_CUDA, PCU_LT, PCU_SLT, PCU_SP, PCU_DNN, PCU_LIBRARIES };

/* Why a variant is or is not taken. */
typedef enum pcu_reason {
  PCU_TAKEN,
  PCU_ROWS,    /* the planner has it for other numbers of rows */
  PCU_NEXT,    /* it could be, but one before it is taken */
  PCU_SLOWER,  /* it was timed */
  PCU_ARCH,    /* for another device */
  PCU_SMALL,   /* the device has not the shared memory or registers */
  PCU_FLAGS,   /* the options leave it out */
  PCU_MISSING, /* no such library */
  PCU_OLD,     /* the library's version is not known to fit */
  PCU_EPILOGUE,
  PCU_LAYOUT,  /* sizes, types or alignment that the library has not */
  PCU_EXPAND,  /* no kernel unpacks the weights */
  PCU_ROOM,    /* needs more memory than is set aside */
  PCU_GRID,    /* more blocks than a launch can have */
  PCU_UNASKED, /* no step is for the library */
  PCU_REFUSED  /* the library said no: the code is kept */
} pcu_reason;

enum {
  PCU_WORDS = 512,    /* of what is passed to a kernel: 4 KiB */
  PCU_INPUTS = 1024,  /* a model has at most so many */
  PCU_VARIANTS = 8,   /* a step has at most so many */
  PCU_HEAD = 256,     /* bytes of the workspace before the arena */
  PCU_LT_ALGOS = 16,  /* that tune looks at */
  PCU_LOG_LINE = 256, /* bytes */
  PCU_LIB_SPACE = 32 << 20,
  PCU_PARTS = 40 /* descriptors of a graph: attention has the most */
};

/* A product, a convolution or attention as a library was told of it. */
typedef struct pcu_product {
  uint8_t how;  /* KERNEL: nothing was told */
  uint8_t made; /* of cuSPARSELt's structures: matrices, selection, plan */
  size_t space; /* bytes of workspace */
  void *desc, *w, *x, *add, *out; /* cuBLASLt; add NULL: as out; cuSPARSE has
                                     w, x and out */
  pcu_lt_algo algo;
  pcu_opaque mats[3], matmul, selection, plan; /* cuSPARSELt */
  /* cuDNN: what describes it, in the order in which it was made, the last of it
   * the graph; what was planned. */
  void *parts[PCU_PARTS], *graph, *config, *dnn_plan;
  uint8_t num_parts;
  struct pcu_product *next; /* a ring of those that share all this */
} pcu_product;

/* How one step is done for one set of sizes. */
typedef struct pcu_choice {
  uint8_t variant, reasons[PCU_VARIANTS];
  bool cached;                 /* variant and algo come from a cache */
  int32_t codes[PCU_VARIANTS]; /* with REFUSED */
  float micros;                /* 0: not timed */
  pcu_lt_algo algo;            /* of the library; cuSPARSELt: [0] is its number;
                                  cuDNN: heuristics, place, engine */
  pcu_product *product;        /* NULL: libraries cannot be told of the step */
} pcu_choice;

enum { PCU_EMPTY, PCU_CACHED, PCU_READY };
typedef struct pcu_slot {
  int state;
  int64_t *symbols, *sizes;
  pcu_choice *choices;
  size_t space; /* of the workspace, all in all */
  size_t lib;   /* where the libraries' begins, aligned */
} pcu_slot;

/* A record as cuSPARSELt has it: behind the blob's data on the device. */
typedef struct pcu_packed {
  uint64_t offset, room; /* room 0: no step asks for it */
  uint8_t reason;
  int32_t code;
} pcu_packed;

struct prune_cuda_ctx {
  const prune_cuda_model *model;
  prune_cuda_options options;
  pcu_driver cu;
  pcu_blaslt lt;
  pcu_sparselt slt;
  pcu_sparse sp;
  pcu_cudnn dnn;
  int device, arch, driver_version;
  bool retained;
  void *context, *library, **functions;
  void *expand; /* NULL: there is no such kernel */
  unsigned char *weights;
  uint8_t why[PCU_LIBRARIES]; /* TAKEN: the library is there */
  int32_t lib_codes[PCU_LIBRARIES];
  uint64_t versions[PCU_LIBRARIES];
  void *lt_handle;
  pcu_opaque slt_handle;
  void *sp_handle;
  void *dnn_handle;
  /* Of each library: who has it may touch the handle and what is set in
   * descriptors, one thread at a time. */
  atomic_flag *turns;
  pcu_packed *packed;
  pcu_slot *slots;
};

/* The tensors and memory of a run. */
typedef struct pcu_call {
  const prune_cuda_tensor *inputs, *outputs;
  const pcu_slot *slot;
  unsigned char *workspace;
  prune_cuda_stream stream;
  uint64_t args[PCU_WORDS];
} pcu_call;

#define PCU_TRY(e)                                     \
  do {                                                 \
    prune_cuda_status pcu_status_of_call = (e);        \
    if (pcu_status_of_call) return pcu_status_of_call; \
  } while (0)

/* Waits for a library's turn, for as long as others launch; and ends it. */
static inline void pcu_take_turn(const prune_cuda_ctx *c, int library) {
  while (atomic_flag_test_and_set_explicit(&c->turns[library],
                                           memory_order_acquire))
    (void)sched_yield();
}
static inline void pcu_end_turn(const prune_cuda_ctx *c, int library) {
  atomic_flag_clear_explicit(&c->turns[library], memory_order_release);
}

/* prune_cuda_text.c */
#if defined(__GNUC__)
__attribute__((format(printf, 3, 4)))
#endif
void pcu_log(const prune_cuda_options *o, int level, const char *format, ...);
/* The status for what a library's function returned; what failed is kept for
 * prune_cuda_last_lib. */
prune_cuda_status pcu_said(int library, int code, const char *what);
#define PCU_CU(c, field, ...) \
  pcu_said(PCU_CUDA, (c)->cu.field(__VA_ARGS__), pcu_driver_symbols.field)

/* prune_cuda_load.c */
prune_cuda_status pcu_load_driver(prune_cuda_ctx *c);
/* Sets c->why of the libraries. */
void pcu_load_libraries(prune_cuda_ctx *c);
/* Makes the context current, if it is not, and pcu_leave undoes it. */
prune_cuda_status pcu_enter(const prune_cuda_ctx *c, bool *out_entered);
void pcu_leave(const prune_cuda_ctx *c, bool entered);

/* prune_cuda_blob.c */
uint64_t pcu_xxh64(const void *data, size_t size, uint64_t seed);
prune_cuda_status pcu_check_blob(const prune_cuda_model *m,
                                 const prune_cuda_options *o, const void *blob,
                                 size_t size, const unsigned char **out_data);
/* Bytes of an element of ONNX's type; 0: none that a model has. */
size_t pcu_type_size(int32_t type);
int64_t pcu_round_up(int64_t n, int64_t to);

/* What a step's product is for one set of sizes. */
typedef struct pcu_shape {
  int64_t m, n, k, ldx, ldo, ldw, ldr;
  size_t align_x, align_out, align_add;
  bool adds; /* there is a residual */
  const unsigned char *w, *bias;
} pcu_shape;

/* prune_cuda_libs.c: all return TAKEN or why not, and *code. */
pcu_reason pcu_get_shape(const prune_cuda_ctx *c, const pcu_slot *slot,
                         const prune_cuda_step *step, pcu_shape *out);
/* cudaDataType of ONNX's type. */
int pcu_lib_type(int32_t onnx);
/* Bytes of workspace that a library may have. */
size_t pcu_lib_room(const pcu_slot *slot);
/* Bytes of the largest record that cuSPARSELt may get, unpacked, and room for
 * each that it may. */
uint64_t pcu_unpacked_size(const prune_cuda_record *r);
uint64_t pcu_packed_room(const prune_cuda_record *r);
pcu_reason pcu_pack(const prune_cuda_ctx *c, uint32_t record, void *scratch,
                    size_t scratch_size, prune_cuda_stream stream,
                    int32_t *code);
/* Tells library `how` of the product; algo NULL: what it thinks is best. */
pcu_reason pcu_plan_product(const prune_cuda_ctx *c, const pcu_slot *slot,
                            const prune_cuda_step *step, int how,
                            const pcu_lt_algo *algo, pcu_product *out,
                            int32_t *code);
/* Other algorithms for a product that is planned; the number of them. */
int pcu_algorithms(const prune_cuda_ctx *c, const pcu_slot *slot,
                   const prune_cuda_step *step, const pcu_product *p,
                   pcu_lt_algo out[PCU_LT_ALGOS]);
prune_cuda_status pcu_multiply(const prune_cuda_ctx *c, const pcu_call *call,
                               const prune_cuda_step *step,
                               const pcu_product *p);
void pcu_forget_product(const prune_cuda_ctx *c, pcu_product *p);
/* What an operand's address is a multiple of, in bytes. */
size_t pcu_alignment(const prune_cuda_pointer *p, const int64_t *sizes);

/* prune_cuda_conv.c, prune_cuda_attention.c: the same of these, by cuDNN. */
pcu_reason pcu_plan_conv(const prune_cuda_ctx *c, const pcu_slot *slot,
                         const prune_cuda_step *step, const pcu_lt_algo *algo,
                         pcu_product *out, int32_t *code);
prune_cuda_status pcu_convolve(const prune_cuda_ctx *c, const pcu_call *call,
                               const prune_cuda_step *step,
                               const pcu_product *p);
pcu_reason pcu_plan_attention(const prune_cuda_ctx *c, const pcu_slot *slot,
                              const prune_cuda_step *step,
                              const pcu_lt_algo *algo, pcu_product *out,
                              int32_t *code);
prune_cuda_status pcu_attend(const prune_cuda_ctx *c, const pcu_call *call,
                             const prune_cuda_step *step, const pcu_product *p);

/* prune_cuda_dnn.c: of both. type: ONNX's, of what is multiplied. */
int pcu_dnn_algorithms(const prune_cuda_ctx *c, int32_t type,
                       const pcu_product *p, pcu_lt_algo out[PCU_LT_ALGOS]);
void pcu_dnn_forget(const prune_cuda_ctx *c, pcu_product *p);

/* prune_cuda_bsr.c: the same for cuSPARSE */
pcu_reason pcu_bsr_plan(const prune_cuda_ctx *c, const pcu_slot *slot,
                        const prune_cuda_step *step, pcu_product *out,
                        int32_t *code);
prune_cuda_status pcu_bsr_multiply(const prune_cuda_ctx *c,
                                   const pcu_call *call,
                                   const prune_cuda_step *step,
                                   const pcu_product *p);
void pcu_bsr_forget(const prune_cuda_ctx *c, pcu_product *p);

/* prune_cuda_plan.c */
/* Symbols of the inputs' dims, of which fixed ones are checked. */
prune_cuda_status pcu_bind(const prune_cuda_ctx *c,
                           const prune_cuda_tensor *inputs, size_t num_inputs,
                           int64_t *symbols);
const pcu_slot *pcu_find(const prune_cuda_ctx *c, const int64_t *symbols,
                         int state);
void pcu_output_dims(const prune_cuda_ctx *c, const pcu_slot *slot,
                     const prune_cuda_tensor *outputs);
/* Whether a variant can be taken at all; tells its library. */
pcu_reason pcu_usable(const prune_cuda_ctx *c, const pcu_slot *slot,
                      uint32_t step, uint32_t variant, const pcu_lt_algo *algo,
                      int32_t *code);

/* prune_cuda_run.c */
prune_cuda_status pcu_begin(const prune_cuda_ctx *c,
                            const prune_cuda_tensor *inputs, size_t num_inputs,
                            const prune_cuda_tensor *outputs,
                            size_t num_outputs, void *workspace,
                            size_t workspace_size, prune_cuda_stream stream,
                            pcu_call *out);
unsigned char *pcu_pointer(const prune_cuda_ctx *c, const pcu_call *call,
                           const prune_cuda_pointer *p);
prune_cuda_status pcu_step(const prune_cuda_ctx *c, pcu_call *call,
                           uint32_t step);

#endif
