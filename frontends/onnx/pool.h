/* Memory for protobuf-c: a bump pool with a budget.
 *
 * Unpacking multiplies hostile input a hundredfold; past the budget the pool
 * says no, protobuf-c gives up cleanly, and destroy frees everything. */
#ifndef PRN_FRONTENDS_ONNX_POOL_H
#define PRN_FRONTENDS_ONNX_POOL_H

#include <protobuf-c/protobuf-c.h>

#include "ir/support/base.h"

typedef struct prn_onnx_pool prn_onnx_pool;

prn_onnx_pool *prn_onnx_pool_create(size_t budget);
void prn_onnx_pool_destroy(prn_onnx_pool *p); /* NULL is allowed */
ProtobufCAllocator prn_onnx_pool_allocator(prn_onnx_pool *p);
/* Why it said no: the budget is spent, or there is no memory. */
bool prn_onnx_pool_exhausted(const prn_onnx_pool *p);
bool prn_onnx_pool_starved(const prn_onnx_pool *p);

#endif
