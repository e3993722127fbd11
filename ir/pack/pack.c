/* The table of formats, and what they share. */
#include "ir/pack/pack.h"

#include <string.h>

#include "ir/pack/formats.h"

static const prn_pack_format *const formats[] = {
    &prn_pack_dense,  &prn_pack_panels,  &prn_pack_rows,     &prn_pack_srt,
    &prn_pack_blocks, &prn_pack_columns, &prn_pack_gather,   &prn_pack_bitmask,
    &prn_pack_rows2,  &prn_pack_rows4,   &prn_pack_winograd, &prn_pack_nk,
    &prn_pack_nm24,   &prn_pack_bitmap,  &prn_pack_bsr,
};

const prn_pack_format *prn_pack_find(prn_str name) {
  for (size_t i = 0; i < PRN_COUNT(formats); i++)
    if (prn_str_is(name, formats[i]->name)) return formats[i];
  return NULL;
}

prn_packing prn_packing_of(const prn_op *constant) {
  prn_packing p = {
      .t = prn_op_attr(constant, "value")->tensor,
      .nk = prn_str_is(prn_op_string(constant, "stored", "kn"), "nk"),
      .nr = prn_op_int(constant, "nr", 0),
      .group = prn_op_int(constant, "group", 0),
      .depth = prn_op_int(constant, "depth", 0),
      .vectors = prn_op_int(constant, "vectors", 0),
      .tile = prn_op_int(constant, "tile", 0),
      .dtype = constant->results[0].type->dtype,
  };
  const prn_type *view = constant->results[0].type;
  int64_t k, n, count;
  if (view->rank == 2 && prn_dim_is_const(view->dims[0], &k) &&
      prn_dim_is_const(view->dims[1], &n) && prn_mul_i64(k, n, &count) &&
      count == prn_tensor_count(p.t)) {
    p.k = k;
    p.n = n;
  }
  return p;
}

/* A [k, n] tensor: whole runs of the row, turned. */
static void turned_rows(const prn_packing *p, int64_t n0, int64_t rows,
                        float *out) {
  enum { STRIP = 256 };
  float run[STRIP];
  for (int64_t i = 0; i < p->k; i++)
    for (int64_t j0 = 0; j0 < rows; j0 += STRIP) {
      int64_t some = rows - j0 < STRIP ? rows - j0 : STRIP;
      prn_tensor_read_f32(p->t, i * p->n + n0 + j0, some, run);
      for (int64_t j = 0; j < some; j++)
        out[(j0 + j) * p->k + i] = run[j];
    }
}

void prn_packing_rows(const prn_packing *p, int64_t n0, int64_t rows,
                      float *out) {
  int64_t there = p->n - n0 < rows ? p->n - n0 : rows;
  memset(out + there * p->k, 0, (size_t)((rows - there) * p->k) * sizeof *out);
  if (p->nk)
    prn_tensor_read_f32(p->t, n0 * p->k, there * p->k, out);
  else
    turned_rows(p, n0, there, out);
}
