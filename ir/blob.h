/* Blobs: the bytes of large constants, kept beside the IR.
 *
 * A blob is a span of a mapped file, a heap block, or a mapped scratch file
 * (unlinked at once, so its pages can leave memory). Blobs belong to the
 * context and are freed with it; their bytes never move. */
#ifndef PRN_IR_BLOB_H
#define PRN_IR_BLOB_H

#include "ir/context.h"
#include "ir/support/file.h"

typedef struct prn_blob {
  const void *data;
  size_t size;
  prn_file *file;  /* the mapping it lies in, or NULL */
  uint64_t offset; /* in file */
} prn_blob;

/* Bytes [offset, offset+size) of file, which is retained. The caller has
 * checked the range. */
const prn_blob *prn_blob_from_file(prn_ctx *ctx, prn_file *file,
                                   uint64_t offset, size_t size);
/* A copy of size bytes on the heap. */
const prn_blob *prn_blob_copy(prn_ctx *ctx, const void *data, size_t size);
/* Takes memory that came from prn_alloc or prn_try_alloc. */
const prn_blob *prn_blob_take(prn_ctx *ctx, void *data, size_t size);
/* Writable zeroed memory of a mapped scratch file (heap when small); *out_data
 * may be written until the blob is shared. Reports and fails when there is no
 * room. */
PRN_NODISCARD prn_status prn_blob_scratch(prn_ctx *ctx, size_t size,
                                          const prn_blob **out,
                                          void **out_data);

#endif
