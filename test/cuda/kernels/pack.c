#include "test/cuda/kernels/pack.h"

#include <stdlib.h>
#include <string.h>

#include "ir/context.h"
#include "ir/pack/pack.h"
#include "ir/tensor.h"

static void append(void *user, const void *data, size_t size) {
  char **to = user;
  memcpy(*to, data, size);
  *to += size;
}

void *test_pack(const char *format, enum test_type type, const float *w,
                int64_t k, int64_t n, size_t *size) {
  static const prn_dtype types[] = {PRN_F16, PRN_BF16, PRN_F32,     PRN_I8,
                                    PRN_I8,  PRN_F8E4M3FN, PRN_F8E5M2};
  const prn_pack_format *f = prn_pack_find(prn_str_from(format));
  prn_ctx *ctx = prn_ctx_create();
  const int64_t dims[2] = {n, k};
  const prn_type *t = prn_type_static(ctx, PRN_F32, 2, dims);
  prn_packing p = {.t = prn_tensor_from_data(ctx, t, w),
                   .nk = true,
                   .k = k,
                   .n = n,
                   .dtype = types[type]};
  int64_t bytes;
  char *out = NULL;
  if (f && f->size(&p, &bytes)) {
    *size = (size_t)bytes;
    out = aligned_alloc(64, ((size_t)bytes + 63) / 64 * 64);
  }
  if (out) {
    char *to = out;
    f->write(&p, append, &to);
  }
  prn_ctx_destroy(ctx);
  return out;
}
