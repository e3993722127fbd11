/* Every template of a product by constant weights, in both types, as a model's
 * kernels would call them: x[m, k], weights, out[m, n]. */
#define PMK_POINTERS 4
#define PMK_SYMBOLS  6
#include "prune_kernels.h"

#define PRODUCT(name, T)                                                       \
  PMK_KERNEL(bench_##name##_##T, pmk_tile_##name::THREADS,                     \
             pmk_tile_##name::BLOCKS) {                                        \
    pmk_##T *out = (pmk_##T *)a.p[2];                                          \
    int64_t m = a.s[0], n = a.s[1], k = a.s[2];                                \
    pmk_##name((const pmk_##T *)a.p[0], k, (const pmk_##T *)a.p[1], m, n, k,   \
               [&](int64_t, int64_t i, int64_t j, float v) {                   \
                 pmk_put(out + i * n + j, v);                                  \
               });                                                             \
  }
#define WAY(name, format, arch) PRODUCT(name, f16) PRODUCT(name, bf16)
#include "ways.def"
#undef WAY

/* Elements are moved only: one kernel for both types. */
PMK_KERNEL(bench_expand_nm24, 256) {
  pmk_expand_nm24((pmk_f16 *)a.p[1], (const pmk_f16 *)a.p[0], (int64_t)a.p[2],
                  (int64_t)a.p[3]);
}
