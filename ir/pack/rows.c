/* rows: groups of results, [ceil(n/group)][k][group], f32, zero padded.
 *
 * What a product reads whose vectors run along the columns of the
 * activations: at each k the weights of a group are neighbours. */
#include "ir/pack/formats.h"
#include "ir/support/arena.h"

enum { STEP = 256 }; /* of the depth at a time */

static bool rows_size(const prn_packing *p, int64_t *bytes) {
  int64_t n;
  return prn_packing_is_matrix(p) && p->group > 0 &&
         p->group <= PRN_PACK_GROUP_MAX && p->dtype == PRN_F32 &&
         prn_add_i64(p->n, p->group - 1, &n) &&
         prn_mul_i64(p->k, n / p->group * p->group, &n) &&
         prn_mul_i64(n, sizeof(float), bytes);
}

static void rows_write(const prn_packing *p, prn_pack_put *put, void *user) {
  size_t group = (size_t)p->group, width = sizeof(float);
  float *in =
      prn_alloc(prn_array_size(prn_array_size(group, (size_t)p->k), width));
  float *out = prn_alloc(prn_array_size(group * STEP, width));
  for (int64_t n0 = 0; n0 < p->n; n0 += p->group) {
    prn_packing_rows(p, n0, p->group, in);
    for (int64_t k0 = 0; k0 < p->k; k0 += STEP) {
      int64_t some = p->k - k0 < STEP ? p->k - k0 : STEP;
      float *o = out;
      for (int64_t i = k0; i < k0 + some; i++)
        for (int64_t r = 0; r < p->group; r++)
          *o++ = in[r * p->k + i];
      put(user, out, (size_t)(o - out) * width);
    }
  }
  prn_free(out);
  prn_free(in);
}

const prn_pack_format prn_pack_rows = {"rows", rows_size, rows_write, true};
