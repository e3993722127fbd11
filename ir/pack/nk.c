/* nk: a row for each result, dense, for CUDA kernels.
 *
 *   T values[n][k rounded up to 8, of bytes to 16]
 *
 * of f16, bf16, f32, i8 or f8, the rest of a row zeros: every row begins at a
 * multiple of 16 bytes and is read 16 bytes at a time. */
#include "ir/pack/formats.h"
#include "ir/support/arena.h"

static int64_t step_of(const prn_packing *p) {
  return prn_dtype_bits(p->dtype) == 8 ? 16 : 8;
}
static int64_t stride_of(const prn_packing *p) {
  int64_t step = step_of(p);
  return (p->k + step - 1) / step * step;
}

static bool nk_size(const prn_packing *p, int64_t *bytes) {
  int64_t k, step = step_of(p);
  return prn_packing_is_matrix(p) && prn_pack_has_values(p->dtype) &&
         prn_add_i64(p->k, step - 1, &k) &&
         prn_mul_i64(p->n, k / step * step, bytes) &&
         prn_mul_i64(*bytes, prn_dtype_bits(p->dtype) / 8, bytes);
}

static void nk_write(const prn_packing *p, prn_pack_put *put, void *user) {
  int64_t stride = stride_of(p);
  size_t count = prn_array_size((size_t)stride, sizeof(float));
  float *row = prn_alloc(count);
  char *out = prn_alloc(count);
  for (int64_t i = p->k; i < stride; i++)
    row[i] = 0;
  for (int64_t j = 0; j < p->n; j++) {
    prn_packing_rows(p, j, 1, row);
    prn_pack_values(p->dtype, row, stride, out);
    put(user, out, (size_t)stride * prn_dtype_bits(p->dtype) / 8);
  }
  prn_free(out);
  prn_free(row);
}

const prn_pack_format prn_pack_nk = {"nk", nk_size, nk_write, false};
