/* What the onnx -> nn handlers share.
 *
 * The driver (onnx_to_nn.c) visits the nodes whose results are needed, in
 * order, and calls each one's handler. A handler reads its operands as nn
 * values, builds nn operations and binds the node's results. Types come from
 * shape inference: every needed result is ranked with known sizes before the
 * handler runs. */
#ifndef PRN_PASSES_LOWER_ONNX_TO_NN_H
#define PRN_PASSES_LOWER_ONNX_TO_NN_H

#include "ir/infer.h"
#include "passes/lower/nn_build.h"

typedef struct prn_o2n prn_o2n;
typedef prn_status prn_o2n_fn(prn_o2n *e, prn_op *op);

/* How a node is lowered. `shape` has bit i set when operand i is read as
 * known contents, not as data: what computes it needs no lowering. */
typedef struct prn_o2n_row {
  const char *name; /* "domain:Name" outside the standard domain */
  prn_o2n_fn *fn;
  uint32_t shape;
  prn_scalar scalar; /* for handlers that share a body */
} prn_o2n_row;

struct prn_o2n {
  prn_nn b; /* where operations of the current node go */
  prn_ctx *ctx;
  prn_infer *infer;
  prn_op *func;
  prn_op *entry;          /* last constant at the function's start, or NULL */
  prn_ptrmap values;      /* onnx prn_value -> nn prn_value */
  prn_map *handlers;      /* name -> const prn_o2n_row */
  int64_t opset;          /* of the current node's domain */
  size_t errors;          /* nodes that could not be lowered */
  uint64_t draws;         /* nodes that draw without a seed, so far */
  bool float8;            /* products of float8 stay such */
  const prn_o2n_row *row; /* of the current node */
};

/* The theme files, each with a table that ends with a NULL name. */
#define PRN_O2N_TABLES(X) \
  X(elementwise)          \
  X(conversion)           \
  X(movement)             \
  X(contraction)          \
  X(reduce)               \
  X(normalise)            \
  X(recurrent)            \
  X(quant)                \
  X(qlinear)              \
  X(control)              \
  X(attention)            \
  X(microsoft)            \
  X(resize)               \
  X(index)                \
  X(chosen)               \
  X(text)                 \
  X(sample)               \
  X(preview)              \
  X(steps)                \
  X(scatter)              \
  X(loss)                 \
  X(einsum)               \
  X(signal)               \
  X(ml)                   \
  X(trees)                \
  X(random)
#define X(name) extern const prn_o2n_row prn_o2n_##name[];
PRN_O2N_TABLES(X)
#undef X

/* For prn_walk: nothing that op gives, or its blocks are given, has a mark. */
PRN_NODISCARD prn_status prn_o2n_unmark(void *user, prn_op *op);

/* Rows by name, for prn_o2n_find: NULL where nothing lowers op. */
void prn_o2n_fill(prn_map *rows);
const prn_o2n_row *prn_o2n_find(const prn_map *rows, const prn_op *op);

/* ---- operands ---- */
/* Operand i as an nn value; NULL when absent. */
prn_value *prn_o2n_in(prn_o2n *e, const prn_op *op, uint32_t i);
/* The nn value of an onnx value that is available here. */
prn_value *prn_o2n_value(prn_o2n *e, prn_value *v);
static inline bool prn_o2n_has(const prn_op *op, uint32_t i) {
  return prn_op_operand(op, i) != NULL;
}
/* Known contents of operand i; NULL when absent or not known in full. */
const prn_dim *prn_o2n_content(prn_o2n *e, const prn_op *op, uint32_t i,
                               size_t *n);
/* The same; reports when they are not known. */
PRN_NODISCARD prn_status prn_o2n_dims(prn_o2n *e, const prn_op *op, uint32_t i,
                                      const prn_dim **out, size_t *n);
/* Integers of operand i, or where it is absent of attribute `attr` (NULL:
 * none). *out is NULL when neither is there. Reports what is not constant. */
PRN_NODISCARD prn_status prn_o2n_ints(prn_o2n *e, const prn_op *op, uint32_t i,
                                      const char *attr, const int64_t **out,
                                      size_t *n);
/* One constant number in operand i. */
PRN_NODISCARD prn_status prn_o2n_number(prn_o2n *e, const prn_op *op,
                                        uint32_t i, double *out);

/* ---- attributes ---- */
/* The attribute as a non-negative axis of `rank` dimensions; reports one out
 * of range. */
PRN_NODISCARD prn_status prn_o2n_axis(const prn_op *op, const char *attr,
                                      int64_t dflt, int32_t rank, int32_t *out);
PRN_NODISCARD prn_status prn_o2n_wrap_axis(const prn_op *op, int64_t axis,
                                           int32_t rank, int32_t *out);

/* ---- results ---- */
/* The type inference found for result i, without claims about zeros. */
const prn_type *prn_o2n_out(prn_o2n *e, const prn_op *op, uint32_t i);
/* Result i is asked for. */
bool prn_o2n_wanted(const prn_op *op, uint32_t i);
/* Binds result i to a value of its shape; dimensions of size 1 may be missing
 * or too many. */
prn_status prn_o2n_set(prn_o2n *e, prn_op *op, uint32_t i, prn_value *v);
/* Binds result i to the elements of v, in the result's shape. */
prn_status prn_o2n_set_shape(prn_o2n *e, prn_op *op, uint32_t i, prn_value *v);
/* "operator/what is not supported": reports for the node. */
PRN_PRINTF(2, 3)
prn_status prn_o2n_unsupported(const prn_op *op, const char *fmt, ...);

/* ---- blocks ---- */
/* Inlines functions, makes every constant dense and takes nodes apart. Changes
 * the module, not what it means. */
PRN_NODISCARD prn_status prn_o2n_prepare(prn_module *m, prn_op *graph);
/* For prn_walk, inner first: replaces a node that stands for several. */
PRN_NODISCARD prn_status prn_o2n_decompose(void *user, prn_op *op);
/* Whether it does so with nodes of this operator, as far as they fit. */
bool prn_o2n_decomposes(prn_opcode code);
/* Lowers the ops of an onnx block (its terminator excepted) at e->b. Nodes
 * that fail are counted in e->errors. */
void prn_o2n_block(prn_o2n *e, prn_block *block);
/* Values for the results of a node that failed, so that its users are still
 * looked at. They are never in a function that survives. */
void prn_o2n_stand_in(prn_o2n *e, prn_op *op);
/* The branch of an If that runs, NULL when only the run can tell. */
prn_block *prn_o2n_known_branch(prn_o2n *e, const prn_op *op);

/* Lowers body at e->b with these values for its arguments; as often as asked.
 * Fails when nodes of it did, which were reported. */
PRN_NODISCARD prn_status prn_o2n_inline(prn_o2n *e, const prn_op *op,
                                        prn_block *body, prn_value *const *in,
                                        uint32_t n);
/* What a body gives for output i; NULL when there is none. */
prn_value *prn_o2n_given(prn_o2n *e, const prn_block *body, uint32_t i);
/* A number of steps that can be written out, of `each` operations. */
PRN_NODISCARD prn_status prn_o2n_count_steps(const prn_op *op, prn_dim size,
                                             size_t each, int64_t *out);
/* Entry t along an axis, without it; and n of them (n > 0) side by side. */
prn_value *prn_o2n_step(prn_o2n *e, prn_value *x, int32_t axis, int64_t t);
prn_value *prn_o2n_stack(prn_o2n *e, prn_value **parts, int64_t n,
                         int32_t axis);

/* Makes sizes that must be equal one expression, in the whole function. */
void prn_o2n_unify(prn_module *m, prn_op *func);

/* ---- between theme files ---- */
/* x converted as op, a Cast or QuantizeLinear, says. */
prn_value *prn_o2n_cast(prn_o2n *e, const prn_op *op, prn_value *x,
                        prn_dtype to);
/* A scale or zero point laid along `axis` of a tensor of that rank: scalars
 * stay, vectors get trailing dimensions of size 1. */
prn_value *prn_o2n_along(prn_o2n *e, prn_value *p, int32_t axis, int32_t rank);
/* (x - zero) * scale; zero points may be NULL. */
prn_value *prn_o2n_dequantized(prn_o2n *e, prn_value *x, prn_value *scale,
                               prn_value *zero);
/* round(x / scale) + zero, saturated. */
prn_value *prn_o2n_quantized(prn_o2n *e, prn_value *x, prn_value *scale,
                             prn_value *zero, prn_dtype to);

/* Where a product's operands are among op's: values and zero points. */
typedef struct prn_o2n_slots {
  uint32_t a, a_zero, w, w_zero;
  bool km, nk; /* a and w are stored the other way round */
} prn_o2n_slots;
/* Sums over (a - a_zero)(w - w_zero): i32 of bytes, f32 otherwise. */
PRN_NODISCARD prn_status prn_o2n_matrix_product(prn_o2n *e, prn_op *op,
                                                prn_o2n_slots s,
                                                prn_value **out);
/* A convolution by the attributes of op, with op's shape, without bias; bytes
 * give i32. */
PRN_NODISCARD prn_status prn_o2n_conv(prn_o2n *e, prn_op *op, prn_value *x,
                                      prn_value *w, prn_value **out);

/* A product of bytes, as onnx values: sum of (a - a_zero)(w - w_zero). */
typedef struct prn_o2n_bytes {
  prn_value *a, *a_zero; /* zero points may be NULL */
  prn_value *w, *w_zero; /* a matrix, or the filter of the convolution op */
  bool nk;               /* w is stored [n, k] */
} prn_o2n_bytes;
/* Whether it can be computed on bytes: constant weights that fit in signed
 * bytes without their zero points, one zero point for a, no window. */
bool prn_o2n_takes_bytes(const prn_op *op, const prn_o2n_bytes *p);
/* The sums, i32, of what can. */
PRN_NODISCARD prn_status prn_o2n_bytes_product(prn_o2n *e, prn_op *op,
                                               const prn_o2n_bytes *p,
                                               prn_value **out);
/* op, a MatMul, Gemm or Conv of f32, computed on the bytes that its operands
 * are dequantised from: without alpha, C and bias. *out is NULL where that
 * cannot be. */
PRN_NODISCARD prn_status prn_o2n_dequantised_product(prn_o2n *e, prn_op *op,
                                                     prn_value **out);
/* All that reads q, a DequantizeLinear of weights, is computed so. */
bool prn_o2n_only_stored(const prn_o2n *e, const prn_op *q);

#endif
