/* What kernels are launched with, types of storage, tiles. */
#ifndef PMK_TYPES_H
#define PMK_TYPES_H

#include <stdint.h>

#ifndef PMK_POINTERS
#define PMK_POINTERS 8
#endif
#ifndef PMK_SYMBOLS
#define PMK_SYMBOLS 1
#endif

/* What a kernel is launched with, by value. */
struct pmk_args {
  unsigned char *p[PMK_POINTERS];
  int64_t s[PMK_SYMBOLS];
  uint32_t *status;
};

/* Types of storage. */
struct pmk_f16 {
  uint16_t bits;
};
struct pmk_bf16 {
  uint16_t bits;
};
/* Of a byte: float8e4m3fn, which has no infinity, and float8e5m2. */
struct pmk_e4m3 {
  uint8_t bits;
};
struct pmk_e5m2 {
  uint8_t bits;
};
struct pmk_i1 {
  uint8_t byte; /* 0 or 1 */
};
/* What weights of type T are multiplied by, and what sums of products are. */
template <class T> struct pmk_dot {
  typedef T x;
  typedef float sum;
};
template <> struct pmk_dot<int8_t> {
  typedef uint8_t x;
  typedef int32_t sum;
};
template <> struct pmk_dot<uint8_t> {
  typedef int8_t x;
  typedef int32_t sum;
};
/* What one memory access moves at most. */
struct alignas(16) pmk_v4 {
  uint32_t u[4];
};

#define TILE(name, rows, columns, threads, shared, blocks) \
  struct pmk_tile_##name {                                 \
    enum {                                                 \
      M = rows,                                            \
      N = columns,                                         \
      THREADS = threads,                                   \
      SHARED = shared,                                     \
      BLOCKS = blocks                                      \
    };                                                     \
  };
#include "tiles.def"
#undef TILE

#endif
