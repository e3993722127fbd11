/* Formats that keep every element. */
#include <string.h>

#include "ir/pack/formats.h"
#include "ir/support/arena.h"

enum { BLOCK = 1 << 15 }; /* elements read at a time */

/* ---- dense: row-major, the tensor's own element type ---- */

static bool dense_size(const prn_packing *p, int64_t *bytes) {
  int64_t n;
  return prn_type_count(p->t->type, &n) &&
         prn_mul_i64(n, prn_dtype_bits(p->t->type->dtype) / 8, bytes);
}

static void dense_write(const prn_packing *p, prn_pack_put *put, void *user) {
  size_t width = prn_dtype_bits(p->t->type->dtype) / 8;
  int64_t n = prn_tensor_count(p->t);
  char *buffer = prn_alloc(prn_array_size(width, BLOCK));
  for (int64_t i = 0; i < n; i += BLOCK) {
    int64_t some = n - i < BLOCK ? n - i : BLOCK;
    prn_tensor_read_bytes(p->t, i, some, buffer);
    put(user, buffer, (size_t)some * width);
  }
  prn_free(buffer);
}

const prn_pack_format prn_pack_dense = {"dense", dense_size, dense_write,
                                        false};

/* ---- panels: [ceil(n/nr)][k][nr], f32 ---- */

static bool panels_size(const prn_packing *p, int64_t *bytes) {
  int64_t n;
  return prn_packing_is_matrix(p) && p->nr > 0 &&
         prn_add_i64(p->n, p->nr - 1, &n) &&
         prn_mul_i64(p->k, n / p->nr * p->nr, &n) &&
         prn_mul_i64(n, sizeof(float), bytes);
}

/* Of a [k, n] tensor: a run of each of its rows. */
static void panel_kn(const prn_packing *p, int64_t n0, float *row,
                     prn_pack_put *put, void *user) {
  int64_t cols = p->n - n0 < p->nr ? p->n - n0 : p->nr;
  memset(row, 0, (size_t)p->nr * sizeof *row);
  for (int64_t i = 0; i < p->k; i++) {
    prn_tensor_read_f32(p->t, i * p->n + n0, cols, row);
    put(user, row, (size_t)p->nr * sizeof *row);
  }
}

enum { STEP = 256 }; /* of the depth at a time */

/* Of an [n, k] tensor, turned in pieces. */
static void panel_nk(const prn_packing *p, int64_t n0, float *panel,
                     prn_pack_put *put, void *user) {
  int64_t nr = p->nr, cols = p->n - n0 < nr ? p->n - n0 : nr;
  float *in = panel + nr * STEP;
  for (int64_t k0 = 0; k0 < p->k; k0 += STEP) {
    int64_t some = p->k - k0 < STEP ? p->k - k0 : STEP;
    memset(panel, 0, (size_t)(nr * some) * sizeof *panel);
    for (int64_t j = 0; j < cols; j++) {
      prn_tensor_read_f32(p->t, (n0 + j) * p->k + k0, some, in);
      for (int64_t i = 0; i < some; i++)
        panel[i * nr + j] = in[i];
    }
    put(user, panel, (size_t)(nr * some) * sizeof *panel);
  }
}

static void panels_write(const prn_packing *p, prn_pack_put *put, void *user) {
  size_t floats = prn_array_size((size_t)p->nr + 1, STEP);
  float *buffer = prn_alloc(prn_array_size(floats, sizeof *buffer));
  for (int64_t n0 = 0; n0 < p->n; n0 += p->nr)
    (p->nk ? panel_nk : panel_kn)(p, n0, buffer, put, user);
  prn_free(buffer);
}

const prn_pack_format prn_pack_panels = {"panels", panels_size, panels_write,
                                         false};
