/* Dense rows of elements narrower than f32, in cells of 32 bits: neighbours
 * along k share a cell, so that one broadcast feeds a product of pairs
 * (rows2, 16-bit floats) or of quadruples (rows4, 8-bit integers).
 *
 *   [ceil(n/group)][ceil(k/cell)][group][cell]
 *
 * Rows past n and the rest of the last cell are zeros. */
#include <math.h>
#include <string.h>

#include "ir/pack/formats.h"
#include "ir/support/arena.h"

/* To nearest, ties to even. */
static uint16_t to_bf16(float v) {
  uint32_t b;
  memcpy(&b, &v, sizeof b);
  if (v != v) return (uint16_t)(b >> 16 | 0x40);
  return (uint16_t)((b + 0x7fff + (b >> 16 & 1)) >> 16);
}

static void store_pair(prn_dtype t, const float *v, void *out) {
  uint16_t pair[2] = {0};
  for (int i = 0; i < 2; i++)
    if (t == PRN_BF16)
      pair[i] = to_bf16(v[i]);
    else if (!prn_element_from_f64(t, (double)v[i], pair, i))
      pair[i] = 0; /* it holds every float */
  memcpy(out, pair, sizeof pair);
}

static void store_quad(const float *v, void *out) {
  signed char quad[4];
  for (int i = 0; i < 4; i++)
    quad[i] = (signed char)lrintf(v[i]);
  memcpy(out, quad, sizeof quad);
}

void prn_pack_cell(prn_dtype t, const float *v, void *out) {
  if (t == PRN_F32)
    memcpy(out, v, sizeof *v);
  else if (t == PRN_I8)
    store_quad(v, out);
  else
    store_pair(t, v, out);
}

void prn_pack_values(prn_dtype t, const float *v, int64_t n, void *out) {
  if (t == PRN_F32) {
    memcpy(out, v, (size_t)n * sizeof *v);
    return;
  }
  bool halves = t == PRN_F16 || t == PRN_BF16;
  for (int64_t i = 0; t == PRN_I8 && i < n; i += 4)
    store_quad(v + i, (char *)out + i);
  for (int64_t i = 0; halves && i < n; i += 2)
    store_pair(t, v + i, (char *)out + i * 2);
  for (int64_t i = 0; t != PRN_I8 && !halves && i < n; i++)
    if (!prn_element_from_f64(t, (double)v[i], out, i))
      ((char *)out)[i] = 0; /* it holds every float */
}

bool prn_pack_has_values(prn_dtype t) {
  return t == PRN_F32 || t == PRN_F16 || t == PRN_BF16 || t == PRN_I8 ||
         prn_dtype_is_ofp8(t);
}

static bool cells_size(const prn_packing *p, int64_t cell, int64_t *bytes) {
  int64_t rows, k;
  return prn_packing_is_matrix(p) && p->group > 0 &&
         p->group <= PRN_PACK_GROUP_MAX &&
         prn_add_i64(p->n, p->group - 1, &rows) &&
         prn_add_i64(p->k, cell - 1, &k) &&
         prn_mul_i64(rows / p->group * p->group, k / cell, bytes) &&
         prn_mul_i64(*bytes, 4, bytes);
}

/* Group by group. */
static void cells_write(const prn_packing *p, int64_t cell, prn_pack_put *put,
                        void *user) {
  int64_t cells = (p->k + cell - 1) / cell, r = p->group;
  float *rows = prn_alloc(
      prn_array_size(prn_array_size((size_t)r, (size_t)p->k), sizeof *rows));
  size_t size = prn_array_size((size_t)(r * cells), 4);
  unsigned char *out = prn_alloc(size);
  for (int64_t n0 = 0; n0 < p->n; n0 += r) {
    prn_packing_rows(p, n0, r, rows);
    for (int64_t c = 0; c < cells; c++)
      for (int64_t i = 0; i < r; i++) {
        float v[4] = {0};
        int64_t there = p->k - c * cell < cell ? p->k - c * cell : cell;
        memcpy(v, rows + i * p->k + c * cell, (size_t)there * sizeof *v);
        prn_pack_cell(p->dtype, v, out + (c * r + i) * 4);
      }
    put(user, out, size);
  }
  prn_free(out);
  prn_free(rows);
}

/* ---- the formats ---- */

static bool rows2_size(const prn_packing *p, int64_t *bytes) {
  return (p->dtype == PRN_BF16 || p->dtype == PRN_F16) &&
         cells_size(p, 2, bytes);
}

static void rows2_write(const prn_packing *p, prn_pack_put *put, void *user) {
  cells_write(p, 2, put, user);
}

static bool rows4_size(const prn_packing *p, int64_t *bytes) {
  return p->dtype == PRN_I8 && cells_size(p, 4, bytes);
}

static void rows4_write(const prn_packing *p, prn_pack_put *put, void *user) {
  cells_write(p, 4, put, user);
}

const prn_pack_format prn_pack_rows2 = {"rows2", rows2_size, rows2_write, true};
const prn_pack_format prn_pack_rows4 = {"rows4", rows4_size, rows4_write, true};
