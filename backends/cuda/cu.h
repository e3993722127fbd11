/* Shared by the files of the CUDA backend.
 *
 * Every kernel of the mem dialect becomes the text of one __global__ function;
 * equal texts are one function. What differs between two launches of it, where
 * the operands begin, is computed on the host: tables name places in a list of
 * sizes, expressions of the model's symbols. */
#ifndef PRN_BACKENDS_CUDA_CU_H
#define PRN_BACKENDS_CUDA_CU_H

#include "ir/nest.h"
#include "ir/op.h"

enum { PRN_CU_RANK = PRN_NEST_RANK, PRN_CU_VIEWS = PRN_NEST_VIEWS };

/* A product that libraries know; prune_cuda_product. Its operands are the
 * step's. */
typedef struct prn_cu_gemm {
  prn_dtype type;
  prn_dim m, n, k, ldx, ldo;
  int32_t bias, act;
  uint32_t residual; /* number of the operand, 0: none */
  prn_dim ldr;
} prn_cu_gemm;

/* One way of doing a step; prune_cuda_variant. */
typedef struct prn_cu_variant {
  unsigned how; /* PRUNE_CUDA_KERNEL, or a library */
  bool after;   /* the kernel goes over what the library gave */
  uint32_t kernel;
  prn_dim grid[3];
  int32_t arch;
  prn_dim rows; /* NULL: does not matter */
  int64_t min_rows, max_rows;
  const char *why;
} prn_cu_variant;

/* A mem.if that something is in: it is done where the condition, a view of one
 * element, is so. */
typedef struct prn_cu_guard {
  const prn_value *condition;
  bool is;
} prn_cu_guard;

enum { PRN_CU_VARIANTS = 8, PRN_CU_GUARDS = 8 };
typedef struct prn_cu_step {
  const prn_op *op;
  /* Their pointers are behind those of the operands. */
  prn_cu_guard guards[PRN_CU_GUARDS];
  uint32_t num_guards;
  prn_cu_variant variants[PRN_CU_VARIANTS];
  uint32_t num_variants;
  bool has_product;
  prn_cu_gemm product;
  bool has_conv, has_attention; /* that libraries know, as op says */
} prn_cu_step;

typedef struct prn_cu_function {
  const char *name;
  prn_str text; /* without its name */
  uint32_t threads, shared;
  uint32_t blocks; /* to fit a multiprocessor, at least; 0 or 1: any */
} prn_cu_function;

/* The program being made. */
typedef struct prn_cu {
  prn_ctx *ctx;
  prn_module *m;
  prn_op *func;
  prn_block *body;
  const char *prefix;
  prn_arena arena;
  prn_str *symbols; /* in the order in which inputs have them */
  uint32_t num_symbols;
  prn_dim *sizes; /* what tables refer to */
  uint32_t num_sizes, cap_sizes;
  prn_ptrmap size_of; /* prn_dim -> place + 1 */
  prn_cu_function *functions;
  uint32_t num_functions, cap_functions;
  prn_map function_of; /* text -> number + 1 */
  prn_cu_step *steps;
  uint32_t num_steps, cap_steps;
  uint32_t num_pointers;              /* most operands and guards of a step */
  prn_cu_guard guards[PRN_CU_GUARDS]; /* of what is being emitted */
  uint32_t num_guards;
} prn_cu;

/* ---- expressions (expr.c) ---- */

/* The place of d in the sizes. */
uint32_t prn_cu_size(prn_cu *c, prn_dim d);
/* Writes the places of n of them: {0, 5, 3}. */
void prn_cu_places(prn_cu *c, int32_t n, const prn_dim *dims, prn_strbuf *b);
/* d as C for the host: sizes of symbols are `symbols[i]`, and arithmetic that
 * overflows sets `bad`. */
void prn_cu_host_expr(const prn_cu *c, prn_dim d, prn_strbuf *b);
/* Number of the symbol called name, or -1. */
int prn_cu_symbol(const prn_cu *c, prn_str name);
/* Blocks of a grid for n items, `each` a block, in one dimension that holds
 * up to 2^31 - 1. */
prn_dim prn_cu_blocks(prn_cu *c, prn_dim n, int64_t each);
/* Of kernels that go over their items with the stride of the grid. */
prn_dim prn_cu_blocks_some(prn_cu *c, prn_dim n, int64_t each);

/* ---- the text of one kernel (text.c) ---- */

typedef struct prn_cu_text {
  prn_cu *c;
  const prn_op *op;
  prn_strbuf head, body;
  prn_ptrmap dims; /* prn_dim -> name of a local */
  unsigned num_locals;
  unsigned indent;
  uint64_t used; /* operands that are mentioned, as bits */
  bool wide;     /* positions need 64 bits */
} prn_cu_text;

void prn_cu_text_begin(prn_cu_text *t, prn_cu *c, const prn_op *op);
/* Makes the text a function and adds it as a variant of the step of op, the
 * step being made when it is the first; frees t. */
prn_cu_variant *prn_cu_text_end(prn_cu_text *t, uint32_t threads,
                                uint32_t shared, prn_dim grid_x);

/* The function of that text; name may be NULL for one of its own kind. */
uint32_t prn_cu_function_for(prn_cu *c, const char *name, prn_str text,
                             uint32_t threads, uint32_t shared);
/* The step of op, made when it is not the last one. */
prn_cu_step *prn_cu_step_for(prn_cu *c, const prn_op *op);
/* Formats into the program's arena. */
PRN_PRINTF(2, 3) const char *prn_cu_str(prn_cu *c, const char *fmt, ...);
/* A line of the body, indented. */
PRN_PRINTF(2, 3) void prn_cu_line(prn_cu_text *t, const char *fmt, ...);
/* `x = {`-like lines: the text, then one level deeper; and back. */
PRN_PRINTF(2, 3) void prn_cu_open(prn_cu_text *t, const char *fmt, ...);
PRN_PRINTF(2, 3) void prn_cu_close(prn_cu_text *t, const char *fmt, ...);

/* d as an expression of the kernel: a number, or a local. */
const char *prn_cu_dim(prn_cu_text *t, prn_dim d);
/* The sum of index[i] * stride[i]; "0" when nothing is left. */
const char *prn_cu_offset(prn_cu_text *t, unsigned rank, const prn_dim *strides,
                          const char *const *index);
/* Lines that take the number `item` apart into indices of dims, which are
 * named prefix0 ...; out gets the names ("0" for sizes of 1). */
void prn_cu_split(prn_cu_text *t, const char *item, const char *prefix,
                  unsigned rank, const prn_dim *dims, const char **out);
prn_dim prn_cu_product(prn_cu *c, unsigned n, const prn_dim *dims);
/* Neighbours along the last of these dimensions are neighbours in memory, and
 * where its length is a multiple of `size`, so many of them always begin at a
 * multiple of that. */
bool prn_cu_has_runs(prn_cu *c, unsigned rank, const prn_dim *strides,
                     prn_dim offset, int64_t size);

/* The C++ type of an element in memory, and of its value. */
const char *prn_cu_memory_type(prn_dtype t);
const char *prn_cu_value_type(prn_dtype t);
/* Operand i; its element `offset` read, or where it is. */
const char *prn_cu_load(prn_cu_text *t, unsigned i, const char *offset);
const char *prn_cu_pointer(prn_cu_text *t, unsigned i);
const char *prn_cu_address(prn_cu_text *t, unsigned i, const char *offset);
/* Element `offset` of operand i becomes value. */
void prn_cu_store(prn_cu_text *t, unsigned i, const char *offset,
                  const char *value);

/* ---- scalar code (body.c) ---- */

/* A number as C++ reads it back. */
const char *prn_cu_float(prn_cu *c, double v, bool is_double);

/* Reports what op's body, if it has one, asks for and cannot have. */
PRN_NODISCARD prn_status prn_cu_body_check(const prn_op *op);
/* Lines for the block; args are names of its arguments' values, index of the
 * positions that nn.index asks for. out gets the names of what it yields. */
void prn_cu_body(prn_cu_text *t, const prn_block *b, const char *const *args,
                 const char *const *index, const char **out);

/* ---- kernels ---- */

typedef struct prn_cu_kind {
  /* Reports what cannot be compiled; may be NULL. */
  prn_status (*check)(const prn_op *op);
  void (*emit)(prn_cu *c, const prn_op *op);
} prn_cu_kind;

extern const prn_cu_kind prn_cu_map, prn_cu_reduce, prn_cu_arg_reduce,
    prn_cu_cumsum, prn_cu_gather, prn_cu_gather_elements, prn_cu_scatter,
    prn_cu_sort, prn_cu_pad, prn_cu_dims, prn_cu_matmul, prn_cu_conv,
    prn_cu_pool, prn_cu_softmax, prn_cu_norm, prn_cu_attention, prn_cu_lstm,
    prn_cu_gru, prn_cu_rnn;

/* Element `index` of view v of a nest; names of the original dimensions'
 * positions, of those that are kept, "0" of others. */
const char *prn_cu_nest_offset(prn_cu_text *t, const prn_nest *n, unsigned v,
                               const char *const *index);
void prn_cu_originals(const prn_nest *n, const char *const *index,
                      const char **out);

/* What op's body does to sums, on those that a library has stored in operand
 * `out`; the operands behind it, up to `num`, are its other arguments. */
prn_cu_variant *prn_cu_emit_after(prn_cu *c, const prn_op *op, uint32_t out,
                                  uint32_t num);

/* The constant a view comes from, looking through mem.view; or NULL. */
const prn_op *prn_cu_constant(const prn_value *v);

/* Makes the program of m: reports and fails where something cannot be
 * compiled. To be freed with prn_cu_destroy, also after a failure. */
PRN_NODISCARD prn_status prn_cu_build(prn_cu *c, prn_module *m,
                                      const char *prefix);
void prn_cu_destroy(prn_cu *c);

#endif
