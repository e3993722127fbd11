/* The files of a program, as texts. */
#ifndef PRN_BACKENDS_CUDA_WRITE_H
#define PRN_BACKENDS_CUDA_WRITE_H

#include "backends/cuda/cu.h"
#include "ir/support/file.h"

/* A constant as it lies in the blob; prune_cuda_record. */
typedef struct prn_cu_record {
  prn_str name;
  unsigned kind;
  prn_dtype type;
  int64_t k, n;
  uint64_t offset, size;
  const prn_op *op;
} prn_cu_record;

typedef struct prn_cu_blob {
  prn_cu_record *at; /* in the order of their places */
  uint32_t num, cap;
  uint64_t size, hash; /* of the data */
} prn_cu_blob;

/* Lists the constants of c; the data is read once for its hash. Freed with
 * prn_free(out->at). */
PRN_NODISCARD prn_status prn_cu_blob_of(const prn_cu *c, prn_cu_blob *out);
/* The record of the constant that operand i of op comes from. */
uint32_t prn_cu_blob_find(const prn_cu_blob *blob, const prn_op *op,
                          uint32_t i);
/* The file, streamed. */
void prn_cu_blob_write(const prn_cu *c, const prn_cu_blob *blob, prn_out *out);

/* Of the node that a step comes from. */
prn_str prn_cu_step_name(const prn_op *op);

void prn_cu_kernels_text(const prn_cu *c, prn_strbuf *b);
/* May add sizes to c. */
void prn_cu_host_text(prn_cu *c, const prn_cu_blob *blob, prn_strbuf *b);
/* The table of a step's convolution, for libraries (conv_library.c). */
void prn_cu_conv_table(prn_cu *c, uint32_t step, const prn_cu_blob *blob,
                       prn_strbuf *b);
/* The same of attention (attention_library.c). */
void prn_cu_attention_table(prn_cu *c, uint32_t step, prn_strbuf *b);
void prn_cu_header_text(const prn_cu *c, prn_strbuf *b);
void prn_cu_plan_text(const prn_cu *c, const prn_cu_blob *blob, prn_strbuf *b);

#endif
