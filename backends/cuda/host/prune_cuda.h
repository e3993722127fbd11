/* prune_cuda.h: running models that were compiled for CUDA. Version 1.
 *
 * A model NAME comes with NAME.h, in which these functions have its name:
 *
 *   prune_cuda_sizes s;
 *   prune_cuda_options o = {sizeof o, PRUNE_CUDA_ABI};
 *   NAME_query(&o, &s);
 *   prune_cuda_memory mem = {malloc(s.context), s.context,
 *                            ...device memory: s.weights and s.scratch bytes};
 *   NAME_init(&o, blob, blob_size, &mem, stream, &ctx);
 *   prune_cuda_tensor in[] = {{ids, ids_size, (int64_t[]){1, 128}}};
 *   prune_cuda_tensor out[] = {{NULL, 0, y_dims}};
 *   NAME_prepare(ctx, in, 1, out, 1, &need);   // fills out[i].dims and need
 *   ...device memory for the outputs, and need bytes of workspace...
 *   NAME_run(ctx, in, 1, out, 1, workspace, need, stream); // as often as liked
 *   NAME_check(ctx, workspace, stream);
 *   NAME_destroy(ctx);
 *
 * All memory is the caller's. The driver (libcuda.so.1) and the libraries are
 * opened when they are there, nothing is linked. run allocates nothing, waits
 * for nothing and loads nothing, so that it can be captured in a graph. While
 * no other function is under way for a context, any number of threads may call
 * run on it, with a workspace and a stream each. */
#ifndef PRUNE_CUDA_H
#define PRUNE_CUDA_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define PRUNE_CUDA_ABI   1
#define PRUNE_CUDA_ALIGN 256 /* of all memory; of inputs and outputs 16 */

typedef struct CUstream_st *prune_cuda_stream; /* = cudaStream_t, CUstream */
typedef struct prune_cuda_ctx prune_cuda_ctx;
typedef struct prune_cuda_model prune_cuda_model;

typedef enum prune_cuda_status {
  PRUNE_CUDA_OK = 0,
  PRUNE_CUDA_E_ARG,         /* an argument that no model takes */
  PRUNE_CUDA_E_ABI,         /* options or tables of another version */
  PRUNE_CUDA_E_SHAPE,       /* sizes that the model has not, or run was given
                               ones that were not prepared */
  PRUNE_CUDA_E_NO_DRIVER,   /* no libcuda.so.1, or too old a one */
  PRUNE_CUDA_E_NO_DEVICE,   /* no such device */
  PRUNE_CUDA_E_ARCH,        /* no code for the device */
  PRUNE_CUDA_E_LIB_MISSING, /* a step can be done by a missing library only */
  PRUNE_CUDA_E_LIB_VERSION, /* ... by a library that is too old */
  PRUNE_CUDA_E_SPACE,       /* memory that is smaller than was said */
  PRUNE_CUDA_E_WEIGHTS,     /* the blob is damaged, or another model's */
  PRUNE_CUDA_E_CACHE_STALE, /* a cache of another model, device or version */
  PRUNE_CUDA_E_CAPTURING,   /* not allowed while the stream is captured */
  PRUNE_CUDA_E_CUDA,        /* the driver failed: prune_cuda_last_lib */
  PRUNE_CUDA_E_LIB,         /* a library failed: prune_cuda_last_lib */
  PRUNE_CUDA_E_INDEX        /* check: an index in the data was out of range */
} prune_cuda_status;

enum {                            /* flags */
       PRUNE_CUDA_NO_LIBS = 1,    /* open no library but the driver */
       PRUNE_CUDA_OWN_ONLY = 2,   /* the model's kernels alone */
       PRUNE_CUDA_DENSE_ONLY = 4, /* no libraries for sparse products */
       PRUNE_CUDA_DETERMINISTIC =
           8, /* the same bits from every run and process:
                 no choice by time, no split sums */
};

/* Zero bytes but for size and abi are the defaults. */
typedef struct prune_cuda_options {
  uint32_t size, abi; /* sizeof(prune_cuda_options), PRUNE_CUDA_ABI */
  int32_t device;     /* its primary context is used; -1: the context that is
                         current in the calling thread */
  uint32_t flags;
  uint32_t plans; /* sets of sizes that are prepared at a time; 0: 4 */
  /* Where functions come from, instead of dlopen: library is "cuda",
   * "cublasLt", "cusparseLt", "cusparse" or "cudnn"; NULL where there is
   * none. */
  void *(*symbol)(void *user, const char *library, const char *name);
  void *symbol_user;
  void (*log)(void *user, int level, const char *line); /* 0 error, 1 note */
  void *log_user;
} prune_cuda_options;

/* Bytes. */
typedef struct prune_cuda_sizes {
  size_t context; /* host memory, until destroy */
  size_t weights; /* device memory, until destroy */
  size_t scratch; /* device memory, until the stream has done what init put
                     on it; may be 0 */
} prune_cuda_sizes;

typedef struct prune_cuda_memory {
  void *context;
  size_t context_size;
  void *weights;
  size_t weights_size;
  void *scratch;
  size_t scratch_size;
} prune_cuda_memory;

/* A dense row-major array on the device. */
typedef struct prune_cuda_tensor {
  void *data;
  size_t size;   /* bytes at data */
  int64_t *dims; /* inputs: read; outputs: written by prepare and run */
} prune_cuda_tensor;

/* What init will need. No device is asked. */
prune_cuda_status prune_cuda_query(const prune_cuda_model *model,
                                   const prune_cuda_options *options,
                                   prune_cuda_sizes *out);
/* Checks the blob and has the stream copy it to the device: blob and scratch
 * stay until the stream has come so far. */
prune_cuda_status prune_cuda_init(const prune_cuda_model *model,
                                  const prune_cuda_options *options,
                                  const void *blob, size_t blob_size,
                                  const prune_cuda_memory *memory,
                                  prune_cuda_stream stream,
                                  prune_cuda_ctx **out);
/* Decides how each step is done for these dims of inputs. outputs may be NULL;
 * of tensors the dims are looked at only. Libraries are asked, which they may
 * refuse while a stream is captured. */
prune_cuda_status prune_cuda_prepare(prune_cuda_ctx *ctx,
                                     const prune_cuda_tensor *inputs,
                                     size_t num_inputs,
                                     const prune_cuda_tensor *outputs,
                                     size_t num_outputs, size_t *out_workspace);
/* Times what else could do the steps, on the caller's data and for about so
 * many milliseconds, and takes the fastest. The workspace stays large enough;
 * outputs are not of use after it. */
prune_cuda_status
prune_cuda_tune(prune_cuda_ctx *ctx, const prune_cuda_tensor *inputs,
                size_t num_inputs, const prune_cuda_tensor *outputs,
                size_t num_outputs, void *workspace, size_t workspace_size,
                prune_cuda_stream stream, uint32_t budget_ms);
prune_cuda_status
prune_cuda_run(const prune_cuda_ctx *ctx, const prune_cuda_tensor *inputs,
               size_t num_inputs, const prune_cuda_tensor *outputs,
               size_t num_outputs, void *workspace, size_t workspace_size,
               prune_cuda_stream stream);
/* Waits for the stream; whether the last run with this workspace met an index
 * out of range. */
prune_cuda_status prune_cuda_check(const prune_cuda_ctx *ctx,
                                   const void *workspace,
                                   prune_cuda_stream stream);
/* What prepare and tune decided, for another process with the same model and
 * device: it loads this before it prepares. *size is what is at buffer, and
 * becomes what is needed; with a NULL buffer nothing else happens. */
prune_cuda_status prune_cuda_cache_save(const prune_cuda_ctx *ctx, void *buffer,
                                        size_t *size);
prune_cuda_status prune_cuda_cache_load(prune_cuda_ctx *ctx, const void *buffer,
                                        size_t size);
/* A line for each step of each set of sizes: how it is done, why, and why not
 * otherwise. *size as above, with the NUL. */
prune_cuda_status prune_cuda_explain(const prune_cuda_ctx *ctx, char *buffer,
                                     size_t *size);
const char *prune_cuda_errstr(prune_cuda_status status);
/* Which library failed last in this thread ("": none), with what code, and
 * the function that it came from. */
void prune_cuda_last_lib(const char **library, int *code, const char **what);
/* Gives back handles; memory is the caller's. NULL is allowed. */
void prune_cuda_destroy(prune_cuda_ctx *ctx);

#ifdef __cplusplus
}
#endif

#endif
