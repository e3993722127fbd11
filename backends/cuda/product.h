/* What products and convolutions share. */
#ifndef PRN_BACKENDS_CUDA_PRODUCT_H
#define PRN_BACKENDS_CUDA_PRODUCT_H

#include "backends/cuda/cu.h"

/* What a template computes in a block: device/tiles.def. */
typedef struct prn_cu_tile {
  int64_t m, n;
  uint32_t threads, shared, blocks;
} prn_cu_tile;
/* NULL when there is no such template. */
const prn_cu_tile *prn_cu_tile_of(const char *name);

/* prn_cu_text_end of a text that calls the template. */
prn_cu_variant *prn_cu_tile_end(prn_cu_text *t, const prn_cu_tile *tile,
                                prn_dim grid_x);

bool prn_cu_is_half(prn_dtype t);
/* Integers of a byte. */
bool prn_cu_is_byte(prn_dtype t);
/* How constant operand b of op is packed; "dense" when it is no constant. */
prn_str prn_cu_packing(const prn_op *op, uint32_t b);
/* Whether there are templates that multiply these. */
bool prn_cu_has_template(prn_dtype a, prn_dtype b);
/* The C++ type of sums of products of a. */
const char *prn_cu_sum_type(prn_dtype a);
/* A product of matrices: out[batch, m, n] = sum over k. */
typedef struct prn_cu_shape {
  prn_dim batch, m, n, k;
} prn_cu_shape;
/* Opens a call of the template for operands in any layout, which multiplies
 * elements of type a by such of b: bytes, or else both the same. Accessors of
 * both operands and what is done to a sum are to follow. */
void prn_cu_gemm_open(prn_cu_text *t, prn_dtype a, prn_dtype b,
                      const prn_cu_shape *s);
/* Ends a text that calls it. */
prn_cu_variant *prn_cu_gemm_end(prn_cu_text *t, prn_dtype a,
                                const prn_cu_shape *s);
/* "[&](pmk_i b, pmk_i i, pmk_i j, float sum) {", of a's sums. */
void prn_cu_store_open(prn_cu_text *t, prn_dtype a);
/* The offset of element (lead..., row, column) of operand i. */
const char *prn_cu_at(prn_cu_text *t, unsigned i, const char *const *lead,
                      const char *row, const char *column);
/* That element of operand i as what is multiplied: a 16-bit float, a byte, or a
 * float. */
const char *prn_cu_element(prn_cu_text *t, unsigned i, const char *offset,
                           prn_dtype as);
/* Reports what the body of a product asks for and cannot have. */
PRN_NODISCARD prn_status prn_cu_epilogue_check(const prn_op *op);
/* Lines that put body(sum, operands from `first` on) into operand `out`, each
 * operand at its offset. */
void prn_cu_epilogue(prn_cu_text *t, unsigned first, const char *sum,
                     const char *const *offsets, unsigned out);

/* Whether what is being emitted may be left to libraries: they ask no
 * condition, so that nothing is in a branch. */
bool prn_cu_asks_libraries(const prn_cu *c);
/* A variant of op by a library (PRUNE_CUDA_CUBLASLT ...), for any rows. after:
 * what is done to sums is left to a kernel, as in prn_cu_emit_after. */
prn_cu_variant *prn_cu_library_variant(prn_cu *c, const prn_op *op,
                                       unsigned how, bool after, uint32_t out,
                                       uint32_t num);
/* The product as libraries know it; false when they cannot do it as its
 * operands lie. *after: it is the product alone, and what is done to its sums
 * is left to do (library.c). */
bool prn_cu_library_product(const prn_op *op, prn_cu_gemm *out, bool *after);
/* A variant by a library, of a convolution that it can do (conv_library.c). */
void prn_cu_conv_library(prn_cu *c, const prn_op *op);
/* The same of attention (attention_library.c). */
void prn_cu_attention_library(prn_cu *c, const prn_op *op);

#endif
