/* From a mem.func to an LLVM module.
 *
 * Every kernel becomes one internal function
 *     void k(void *context, i64 begin, i64 end, i64 worker)
 * where context holds the frame and the addresses of the operands, so that it
 * is at once what the caller's parallel_for wants. Kernels that differ only
 * in where their operands lie share the function. Sizes and strides are
 * recomputed in each function from the symbols in the frame, which is cheap
 * and keeps constants visible to LLVM.
 *
 * A frame is an array of 8-byte words on the stack of run; see prn_frame. */
#ifndef PRN_BACKENDS_LLVM_EMIT_H
#define PRN_BACKENDS_LLVM_EMIT_H

#include "backends/llvm/cg.h"
#include "backends/llvm/compile.h"
#include "ir/nest.h"
#include "ir/op.h"
#include "ir/scalar.h"

enum { PRN_EMIT_RANK = PRN_NEST_RANK, PRN_KERNEL_MAX = PRN_NEST_VIEWS };

/* Words of a frame: these, the argument pointers, the symbols. */
enum prn_frame {
  PRN_FRAME_ARENA,
  PRN_FRAME_WEIGHTS,
  PRN_FRAME_SCRATCH, /* workers * scratch bytes, after the planned arena */
  PRN_FRAME_WORKERS,
  PRN_FRAME_FOR, /* parallel_for, or NULL */
  PRN_FRAME_POOL,
  PRN_FRAME_STATUS, /* set by kernels that meet bad data */
  PRN_FRAME_NEED,   /* bytes of arena */
  PRN_FRAME_ARGS,
};

/* A view inside the function being filled. type is NULL for an operand that
 * is absent. */
typedef struct prn_view {
  const prn_type *type;
  bool packed; /* a constant in panels */
  prn_v base;  /* address of its first element, offset applied */
  prn_v dims[PRN_EMIT_RANK], strides[PRN_EMIT_RANK];
} prn_view;

typedef struct prn_emit {
  prn_cg *g;
  prn_ctx *ctx;
  prn_op *func;
  prn_block *body;
  const char *prefix;
  const prn_str *symbols; /* in the order of their frame words */
  unsigned num_symbols;
  size_t scratch; /* bytes a worker needs, the largest of any kernel */
  prn_kernel_times *profile;
  /* of the function being filled */
  prn_v frame;
  LLVMBasicBlockRef prologue;
  prn_ptrmap dims; /* prn_dim -> i64 */
  /* kernels made so far */
  struct prn_made *made;
  unsigned num_made, cap_made;
} prn_emit;

/* ---- functions, frame and sizes (emit_frame.c) ---- */

typedef struct prn_emit_scope {
  prn_cg_scope cg;
  prn_v frame;
  LLVMBasicBlockRef prologue;
  prn_ptrmap dims;
} prn_emit_scope;
/* As prn_cg_begin; the builder is left after the prologue, where sizes are
 * computed. e->frame is to be set before the first size is asked for. */
prn_emit_scope prn_emit_begin(prn_emit *e, const char *name, prn_t ret,
                              const prn_t *params, unsigned n);
void prn_emit_end(prn_emit *e, prn_emit_scope s);

prn_v prn_emit_dim(prn_emit *e, prn_dim d);       /* i64 */
prn_v prn_frame_word(prn_emit *e, unsigned word); /* address */
prn_v prn_frame_get(prn_emit *e, unsigned word, prn_t type);
void prn_frame_set(prn_emit *e, unsigned word, prn_v v);
/* Makes run return status in the end. */
void prn_frame_fail(prn_emit *e, int status);
/* Frame word of argument i of the function, and of symbol i. */
unsigned prn_frame_arg(unsigned i);
unsigned prn_frame_symbol(const prn_emit *e, unsigned i);

void prn_emit_view(prn_emit *e, prn_view *v, const prn_type *type, prn_v base);

/* plan, run (filled by ops) and the model's description. */
PRN_NODISCARD prn_status prn_emit_program(prn_emit *e, bool weights_symbol);

/* ---- kernels (emit.c) ---- */

typedef struct prn_kernel {
  prn_emit *e;
  prn_cg *g;
  const prn_op *op;
  prn_view v[PRN_KERNEL_MAX]; /* by operand */
  unsigned n;
  prn_v begin, end, worker; /* in the body only */
} prn_kernel;

typedef struct prn_kernel_kind {
  /* Reports what cannot be compiled; may be NULL. */
  prn_status (*check)(const prn_op *op);
  /* Emits the number of items, and in *work an estimate of vector
   * instructions for all of them. */
  prn_v (*items)(prn_kernel *k, prn_v *work);
  /* Emits the code for items [begin, end). */
  void (*body)(prn_kernel *k);
  /* Bytes of scratch a worker needs; may be NULL. */
  size_t (*scratch)(const prn_target *t, const prn_op *op);
} prn_kernel_kind;

/* Loads an index, of operand `view`, at p: negative ones count from the end.
 * *ok tells whether it is in range; where it is not, run returns an error. */
prn_v prn_kernel_index(prn_kernel *k, unsigned view, prn_v p, prn_v size,
                       prn_v *ok);
/* This worker's scratch memory. */
prn_v prn_kernel_scratch(prn_kernel *k);
/* All operations of a block. */
PRN_NODISCARD prn_status prn_emit_ops(prn_emit *e, prn_block *b);
/* The constant a view comes from, looking through mem.view; or NULL. */
const prn_op *prn_view_constant(const prn_value *v);
/* All rows of the view, of elements of 4 bytes, begin at a cache line. */
bool prn_view_in_lines(prn_ctx *ctx, const prn_value *v);
bool prn_view_packed(const prn_value *v);

extern const prn_kernel_kind prn_kernel_map, prn_kernel_reduce,
    prn_kernel_arg_reduce, prn_kernel_cumsum, prn_kernel_gather,
    prn_kernel_gather_elements, prn_kernel_scatter, prn_kernel_sort,
    prn_kernel_pad, prn_kernel_dims, prn_kernel_matmul, prn_kernel_linear,
    prn_kernel_conv, prn_kernel_pool, prn_kernel_softmax, prn_kernel_norm,
    prn_kernel_attention, prn_kernel_lstm, prn_kernel_gru, prn_kernel_rnn;

/* ---- elements (elem.c) ---- */

/* How an element lies in memory, and how it is computed with: i1 is a byte
 * in memory; f16 and bf16 are computed with as f32. */
prn_t prn_elem_memory(prn_cg *g, prn_dtype t);
prn_t prn_elem_value(prn_cg *g, prn_dtype t);
/* Whether the target can load and store it. */
bool prn_elem_supported(const prn_target *target, prn_dtype t);
/* Floats of one byte or less: codes (i8) to values (f32, as the codes have
 * them) and the nearest code, ties to even, of values. */
bool prn_elem_is_small(prn_dtype t);
prn_v prn_elem_decode(prn_cg *g, prn_dtype t, prn_v code);
prn_v prn_elem_encode(prn_cg *g, prn_dtype t, prn_v value);
/* The same bits under a type of the same width. */
prn_v prn_elem_bitcast(prn_cg *g, prn_v v, prn_dtype from, prn_dtype to);
prn_v prn_elem_at(prn_cg *g, prn_dtype t, prn_v base, prn_v index);
/* `lanes` elements from p on, `stride` elements apart; see
 * prn_cg_load_masked for mask. */
prn_v prn_elem_load(prn_cg *g, prn_dtype t, prn_v p, prn_v stride,
                    unsigned lanes, prn_v mask);
void prn_elem_store(prn_cg *g, prn_dtype t, prn_v v, prn_v p, prn_v stride,
                    unsigned lanes, prn_v mask);
/* Conversion between values of two element types (nn.cast). */
prn_v prn_elem_cast(prn_cg *g, prn_v v, prn_dtype from, prn_dtype to);
/* A value computed in a wider type, rounded to what t can hold. */
prn_v prn_elem_round(prn_cg *g, prn_v v, prn_dtype t);
/* <lanes x i64>: start, start + 1, ... */
prn_v prn_elem_iota(prn_cg *g, prn_v start, unsigned lanes);

typedef prn_v prn_fold_fn(prn_cg *g, prn_v a, prn_v b, void *user);
/* Folds the lanes of v into one: halves until one is left, so that the order
 * depends on the vector width alone. */
prn_v prn_fold_lanes(prn_cg *g, prn_fold_fn *fold, void *user, prn_v v);

/* ---- scalar code (body.c) ---- */

/* The value of nn.index along a dimension, as lanes x i64. */
typedef prn_v prn_index_fn(prn_emit *e, void *user, int64_t dim,
                           unsigned lanes);
/* Emits a body on vectors of `lanes`; out gets what it yields. */
void prn_body_emit(prn_emit *e, const prn_block *b, const prn_v *args,
                   unsigned lanes, prn_index_fn *index, void *user, prn_v *out);
/* Reports, at op, what a body asks for and cannot have. */
PRN_NODISCARD prn_status prn_body_check(const prn_op *op, const prn_block *b);
/* One scalar function on values of type t; NULL when there is none. */
prn_v prn_body_apply(prn_cg *g, prn_scalar f, prn_dtype t, prn_v a, prn_v b);

#endif
