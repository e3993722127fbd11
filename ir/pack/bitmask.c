/* bitmask: panels of results, which weights are there, and those. The width
 * of a panel is nr, rounded up to whole masks.
 *
 *   u32 start[panels + 1]     first value of each panel, in lines of 16
 *   u16 mask[panels][k][width / 16]
 *   f32 values[...]           of a panel in the order of k, then n
 *
 * each part at a multiple of 64 bytes, and 16 values more at the end, so that
 * a whole vector can be read wherever a value lies. */
#include "ir/pack/bitmask.h"

#include <string.h>

#include "ir/pack/formats.h"
#include "ir/support/arena.h"

enum { LINE = 64, LANES = 16 };

int64_t prn_bitmask_width(int64_t nr) {
  return (nr + LANES - 1) / LANES * LANES;
}

static int64_t width_of(const prn_packing *p) {
  return prn_bitmask_width(p->nr);
}

static int64_t panels_of(const prn_packing *p) {
  return (p->n + width_of(p) - 1) / width_of(p);
}

static int64_t round_up(int64_t n) { return (n + LINE - 1) / LINE * LINE; }

int64_t prn_bitmask_masks(int64_t n, int64_t width) {
  return round_up(((n + width - 1) / width + 1) * 4);
}

int64_t prn_bitmask_values(int64_t k, int64_t n, int64_t width) {
  int64_t panels = (n + width - 1) / width;
  return prn_bitmask_masks(n, width) + round_up(panels * k * (width / 8));
}

static float *panel_alloc(const prn_packing *p) {
  return prn_alloc(prn_array_size(
      prn_array_size((size_t)width_of(p), (size_t)p->k), sizeof(float)));
}

/* Lines of 16 values that a panel takes. */
static int64_t lines_of(const prn_packing *p, const float *panel) {
  int64_t n = 0;
  for (int64_t i = 0; i < width_of(p) * p->k; i++)
    n += !(panel[i] == 0);
  return (n + LANES - 1) / LANES;
}

static bool bitmask_size(const prn_packing *p, int64_t *bytes) {
  int64_t all, lines = 1;
  if (!prn_packing_is_matrix(p) || p->nr < 1 || p->nr > 128 ||
      p->dtype != PRN_F32 || !prn_mul_i64(p->k, p->n, &all) ||
      !prn_mul_i64(all, 1024, &all) ||
      !prn_mul_i64(p->k, width_of(p) * 1024, &all))
    return false;
  float *panel = panel_alloc(p);
  for (int64_t n0 = 0; n0 < p->n; n0 += width_of(p)) {
    prn_packing_rows(p, n0, width_of(p), panel);
    lines += lines_of(p, panel);
  }
  prn_free(panel);
  *bytes = prn_bitmask_values(p->k, p->n, width_of(p)) + lines * LINE;
  return lines <= UINT32_MAX;
}

static void put_zeros(prn_pack_put *put, void *user, int64_t bytes) {
  static const char zeros[LINE];
  if (bytes) put(user, zeros, (size_t)bytes);
}

static void put_starts(const prn_packing *p, float *panel, prn_pack_put *put,
                       void *user) {
  uint32_t at = 0;
  put(user, &at, sizeof at);
  for (int64_t n0 = 0; n0 < p->n; n0 += width_of(p)) {
    prn_packing_rows(p, n0, width_of(p), panel);
    at += (uint32_t)lines_of(p, panel);
    put(user, &at, sizeof at);
  }
  int64_t bytes = (panels_of(p) + 1) * (int64_t)sizeof at;
  put_zeros(put, user, round_up(bytes) - bytes);
}

static void put_masks(const prn_packing *p, float *panel, prn_pack_put *put,
                      void *user) {
  int64_t words = width_of(p) / LANES, all = p->k * words;
  uint16_t *masks = prn_alloc(prn_array_size((size_t)all, sizeof *masks));
  for (int64_t n0 = 0; n0 < p->n; n0 += width_of(p)) {
    prn_packing_rows(p, n0, width_of(p), panel);
    memset(masks, 0, (size_t)all * sizeof *masks);
    for (int64_t j = 0; j < width_of(p); j++)
      for (int64_t i = 0; i < p->k; i++)
        if (!(panel[j * p->k + i] == 0))
          masks[i * words + j / LANES] |= (uint16_t)(1u << j % LANES);
    put(user, masks, (size_t)all * sizeof *masks);
  }
  prn_free(masks);
  int64_t bytes = panels_of(p) * all * (int64_t)sizeof *masks;
  put_zeros(put, user, round_up(bytes) - bytes);
}

static void put_values(const prn_packing *p, float *panel, prn_pack_put *put,
                       void *user) {
  float *values = panel_alloc(p);
  for (int64_t n0 = 0; n0 < p->n; n0 += width_of(p)) {
    prn_packing_rows(p, n0, width_of(p), panel);
    int64_t n = 0;
    for (int64_t i = 0; i < p->k; i++)
      for (int64_t j = 0; j < width_of(p); j++)
        if (!(panel[j * p->k + i] == 0)) values[n++] = panel[j * p->k + i];
    while (n % LANES)
      values[n++] = 0;
    if (n) put(user, values, (size_t)n * sizeof *values);
  }
  prn_free(values);
  put_zeros(put, user, LINE);
}

static void bitmask_write(const prn_packing *p, prn_pack_put *put, void *user) {
  float *panel = panel_alloc(p);
  put_starts(p, panel, put, user);
  put_masks(p, panel, put, user);
  put_values(p, panel, put, user);
  prn_free(panel);
}

const prn_pack_format prn_pack_bitmask = {"bitmask", bitmask_size,
                                          bitmask_write, false};
