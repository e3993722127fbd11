/* Products with weights in the format bitmap (docs/cuda-formats.md): only what
 * is not zero is read; a warp puts it between zeros as a left operand of dense
 * tensor cores.
 *
 * A tile is 16 rows of w by 64 of k. Lane 4g + t has one word of its mask: a
 * bit for every element of row g (low half) and g + 8 (high half) in the 16 of
 * k from 16 t on, which is what the lane takes as its part of four fragments:
 * another order of k, the same for x, whose elements 16 t .. 16 t + 15 of a row
 * are two reads of 16 bytes.
 *
 * The values lie in the order (nibble of the word, lane, bit): for each nibble
 * the lanes read neighbours, about as many words of shared memory as there are
 * banks. */
#ifndef PRUNE_BITMAP_H
#define PRUNE_BITMAP_H

#include "prune_few.h"
#include "prune_pipe.h"
#include "prune_turned.h"

template <class T> struct pmk_bitmap {
  const uint32_t *start; /* [tiles + 1], in units of 8 values */
  const uint32_t *mask;  /* [tiles][32] */
  const T *values;
  int tiles, deep; /* all, and along k */

  PMK_DEV_MEMBER pmk_bitmap of(const void *w, int64_t n, int64_t k) {
    int deep = (int)((k + 63) / 64);
    int tiles = (int)((n + 15) / 16) * deep;
    const uint32_t *start = (const uint32_t *)w;
    const uint32_t *mask = start + ((int64_t)tiles + 32) / 32 * 32;
    return {start, mask, (const T *)(mask + (int64_t)tiles * 32), tiles, deep};
  }
};

/* One element: row j, depth kk. */
template <class T>
PMK_DEV T pmk_bitmap_at(const T *w, int64_t n, int64_t k, int64_t j,
                        int64_t kk) {
  pmk_bitmap<T> f = pmk_bitmap<T>::of(w, n, k);
  int64_t tile = j / 16 * f.deep + kk / 64;
  const uint32_t *mask = f.mask + tile * 32;
  int lane = (int)(j % 8 * 4 + kk % 64 / 16);
  int bit = (int)(j / 8 % 2 * 16 + kk % 16), nibble = bit / 4 * 4;
  uint32_t own = pmk_load(mask + lane);
  if (!(own >> bit & 1)) return T{};
  int before = pmk_popcount(own >> nibble & ((1u << bit % 4) - 1));
  for (int l = 0; l < 32; l++) {
    uint32_t word = pmk_load(mask + l);
    before += pmk_popcount(word & ((1u << nibble) - 1));
    if (l < lane) before += pmk_popcount(word >> nibble & 15);
  }
  return pmk_load(f.values + (int64_t)pmk_load(f.start + tile) * 8 + before);
}

/* ---- from masks to fragments ---- */

/* Nibbles as bytes: [0] of the nibbles 0, 2, 4, 6, [1] of 1, 3, 5, 7. */
struct pmk_nibbles {
  uint32_t half[2];
};
PMK_DEV pmk_nibbles pmk_split(uint32_t v) {
  return {{v & 0x0f0f0f0fu, v >> 4 & 0x0f0f0f0fu}};
}
/* at + `scale` times nibble number s. */
PMK_DEV uint32_t pmk_plus(uint32_t at, const pmk_nibbles &n, int s, int scale) {
  return pmk_dot4(n.half[s & 1], (uint32_t)scale << s / 2 * 8, at);
}

/* Where a lane's values are, nibble by nibble: before[q] of a nibble's q lower
 * bits are set (q = 1, 2, 3), `below` are those of lower lanes, `all` those of
 * all lanes, 128 at most. */
struct pmk_ranks {
  pmk_nibbles before[3], below, all;
};
PMK_DEV pmk_ranks pmk_rank(uint32_t mask) {
  const uint32_t ones = 0x11111111u;
  uint32_t one = mask & ones, two = one + (mask >> 1 & ones);
  uint32_t three = two + (mask >> 2 & ones);
  pmk_nibbles own = pmk_split(three + (mask >> 3 & ones));
  pmk_ranks r = {{pmk_split(one), pmk_split(two), pmk_split(three)}, {}, {}};
  PMK_UNROLL
  for (int h = 0; h < 2; h++) {
    uint32_t sum = pmk_prefix(own.half[h]);
    r.below.half[h] = sum - own.half[h];
    r.all.half[h] = pmk_shfl(sum, 31);
  }
  return r;
}

/* The lane's elements: of row g in out[0 .. 7], of row g + 8 in out[8 .. 15],
 * two in each. values: where the tile's are in shared memory. */
PMK_DEV void pmk_bitmap_expand(uint32_t *out, uint32_t mask, uint32_t values) {
  pmk_ranks r = pmk_rank(mask);
  PMK_UNROLL
  for (int s = 0; s < 8; s++) {
    uint32_t at = pmk_plus(values, r.below, s, 2), v[4];
    v[0] = pmk_take16(mask & 1u << s * 4, at);
    PMK_UNROLL
    for (int q = 1; q < 4; q++)
      v[q] = pmk_take16(mask & 1u << (s * 4 + q),
                        pmk_plus(at, r.before[q - 1], s, 2));
    out[s * 2] = pmk_join(v[0], v[1]);
    out[s * 2 + 1] = pmk_join(v[2], v[3]);
    values = pmk_plus(values, r.all, s, 2);
  }
}

/* Fragment number f (of 4) of what the lane has. */
PMK_DEV void pmk_bitmap_fragment(uint32_t *a, const uint32_t *expanded, int f) {
  a[0] = expanded[f * 2];
  a[1] = expanded[8 + f * 2];
  a[2] = expanded[f * 2 + 1];
  a[3] = expanded[8 + f * 2 + 1];
}

/* ---- a tile's bytes on their way ---- */

/* A warp copies a tile's values (at most 2 KB, as a rule half of that); lane by
 * lane its mask. */
enum { PMK_BITMAP_TILE = 16 * 64 * 2 };

template <class T>
PMK_DEV void pmk_bitmap_copy(unsigned char *to, const pmk_bitmap<T> &w,
                             uint32_t start, uint32_t end) {
  int lane = PMK_TID % 32;
  const T *from = w.values + (int64_t)start * 8 + lane * 8;
  uint32_t at = pmk_saddr(to + lane * 16);
  PMK_UNROLL
  for (int i = 0; i < PMK_BITMAP_TILE / 16; i += 32)
    pmk_cp16_if(lane + i < (int)(end - start), at + (uint32_t)i * 16,
                from + i * 8);
}

/* ---- few rows ---- */

/* Each warp has a ring of its own: a stage is the values of two tiles, one
 * below the other. */
enum { PMK_BITMAP_STAGES = 3, PMK_BITMAP_STAGE = 2 * PMK_BITMAP_TILE };
static_assert((int)pmk_tile_few_bitmap::SHARED ==
                  (int)PMK_FEW_WARPS * PMK_BITMAP_STAGES * PMK_BITMAP_STAGE,
              "tiles.def");

/* A warp's two rows of tiles; those that are not there have no tiles. */
struct pmk_bitmap_pair {
  int first[2], deep[2];
};
template <class T>
PMK_DEV pmk_bitmap_pair pmk_bitmap_two(const pmk_bitmap<T> &w, int64_t j0) {
  pmk_bitmap_pair p;
  PMK_UNROLL
  for (int r = 0; r < 2; r++) {
    p.first[r] = (int)(j0 / 16 + r) * w.deep;
    p.deep[r] = p.first[r] < w.tiles ? w.deep : 0;
  }
  return p;
}

/* Where the values of a step's two tiles begin and end. */
struct pmk_bitmap_span {
  uint32_t begin[2], end[2];
};
template <class T>
PMK_DEV pmk_bitmap_span pmk_bitmap_spans(const pmk_bitmap<T> &w,
                                         const pmk_bitmap_pair &p, int step) {
  pmk_bitmap_span s = {};
  PMK_UNROLL
  for (int r = 0; r < 2; r++)
    if (step < p.deep[r]) {
      s.begin[r] = pmk_load(w.start + (p.first[r] + step));
      s.end[r] = pmk_load(w.start + (p.first[r] + step) + 1);
    }
  return s;
}

/* A lane's words of the masks of a step's two tiles. */
struct pmk_bitmap_masks {
  uint32_t at[2];
};
template <class T>
PMK_DEV pmk_bitmap_masks pmk_bitmap_mask(const pmk_bitmap<T> &w,
                                         const pmk_bitmap_pair &p, int step) {
  pmk_bitmap_masks s = {};
  PMK_UNROLL
  for (int r = 0; r < 2; r++)
    if (step < p.deep[r])
      s.at[r] = pmk_stream4(w.mask + (int64_t)(p.first[r] + step) * 32 +
                            PMK_TID % 32);
  return s;
}

/* A lane's part of two rows of x: 16 elements of each. */
struct pmk_bitmap_x {
  pmk_v4 at[2][2];
};
template <class T, bool ALL>
PMK_DEV pmk_bitmap_x pmk_bitmap_load(const pmk_row<T, ALL> *rows, int step) {
  pmk_bitmap_x x;
  PMK_UNROLL
  for (int r = 0; r < 2; r++) {
    PMK_UNROLL
    for (int c = 0; c < 2; c++)
      x.at[r][c] = pmk_row_load(rows[r], step * 64 + PMK_TID % 4 * 16 + c * 8);
  }
  return x;
}

template <class T>
PMK_DEV void pmk_few_bitmap_multiply(pmk_few_sums<float> &sums,
                                     const pmk_bitmap_masks &masks,
                                     const pmk_bitmap_x &x,
                                     const unsigned char *from, bool two) {
  PMK_UNROLL
  for (int r = 0; r < 2; r++) {
    uint32_t elements[16], a[4];
    pmk_bitmap_expand(elements, masks.at[r],
                      pmk_saddr(from + r * PMK_BITMAP_TILE));
    PMK_UNROLL
    for (int f = 0; f < 4; f++) {
      pmk_bitmap_fragment(a, elements, f);
      pmk_mma<T>(sums.at[r][0], a, x.at[0][f / 2].u + f % 2 * 2);
      if (two) pmk_mma<T>(sums.at[r][1], a, x.at[1][f / 2].u + f % 2 * 2);
    }
  }
}

/* A warp's part of a tile of results: every eighth step. Where values are is
 * read a step before they are copied, masks a step before they are used. */
template <class T, bool ALL>
PMK_DEV pmk_few_sums<float> pmk_few_bitmap_sums(const pmk_bitmap<T> &w,
                                         const pmk_rows<T, ALL> &x, int64_t i0,
                                         int64_t j0) {
  enum { TURN = PMK_FEW_WARPS, AHEAD = PMK_BITMAP_STAGES - 1 };
  unsigned char *ring =
      pmk_smem() + PMK_TID / 32 * (PMK_BITMAP_STAGES * PMK_BITMAP_STAGE);
  int step = PMK_TID / 32, g = PMK_TID % 32 / 4;
  pmk_bitmap_pair tiles = pmk_bitmap_two(w, j0);
  pmk_row<T, ALL> rows[2] = {pmk_row_of(x, i0 + g), pmk_row_of(x, i0 + 8 + g)};
  pmk_bitmap_span span = pmk_bitmap_spans(w, tiles, step);
  auto load = [&](int stage, int next) {
    PMK_UNROLL
    for (int r = 0; r < 2; r++)
      pmk_bitmap_copy(ring + stage * PMK_BITMAP_STAGE + r * PMK_BITMAP_TILE, w,
                      span.begin[r], span.end[r]);
    pmk_cp_commit();
    span = pmk_bitmap_spans(w, tiles, next);
  };
  for (int s = 0; s < AHEAD; s++)
    load(s, step + (s + 1) * TURN);
  pmk_few_sums<float> sums = {};
  bool two = x.m - i0 > 8;
  pmk_bitmap_masks masks = pmk_bitmap_mask(w, tiles, step);
  for (int stage = 0; step < w.deep; step += TURN) {
    pmk_bitmap_masks now = masks;
    pmk_bitmap_x part = pmk_bitmap_load(rows, step);
    masks = pmk_bitmap_mask(w, tiles, step + TURN);
    pmk_cp_wait<AHEAD - 1>();
    pmk_warp_sync(); /* all lanes have copied this stage, and used the last */
    load(stage == 0 ? AHEAD : stage - 1, step + (AHEAD + 1) * TURN);
    pmk_few_bitmap_multiply<T>(sums, now, part, ring + stage * PMK_BITMAP_STAGE,
                               two);
    stage = stage == PMK_BITMAP_STAGES - 1 ? 0 : stage + 1;
  }
  return sums;
}

template <class T, class E>
PMK_DEV void pmk_few_bitmap(const T *x, int64_t ldx, const T *w, int64_t m,
                            int64_t n, int64_t k, E e) {
  pmk_bitmap<T> f = pmk_bitmap<T>::of(w, n, k);
  pmk_with_rows(x, ldx, m, k, [&](auto rows) {
    pmk_few_tiles(
        m, n,
        [&](int64_t i0, int64_t j0) {
          return pmk_few_bitmap_sums(f, rows, i0, j0);
        },
        e);
  });
}

/* ---- many rows ---- */

/* Each of eight warps has a row of tiles (16 rows of w) and all 64 rows of x. A
 * stage is 64 of k: x, then the values of the warps' tiles. */
enum {
  PMK_BITMAP_X = 64 * 128,
  PMK_LINEAR_BITMAP_STAGE = PMK_BITMAP_X + 8 * PMK_BITMAP_TILE,
  PMK_LINEAR_BITMAP_STAGES = 4,
};

/* A lane's part of rows r0.. of a stage. */
PMK_DEV void pmk_bitmap_take(pmk_v4 *to, const unsigned char *x, int r0) {
  int lane = PMK_TID % 32;
  PMK_UNROLL
  for (int c = 0; c < 2; c++)
    to[c] = *(const pmk_v4 *)(x + pmk_at128(r0 + lane / 4, lane % 4 * 2 + c));
}

template <class T>
PMK_DEV void pmk_linear_bitmap_multiply(float acc[8][4], uint32_t mask,
                                        const unsigned char *from) {
  uint32_t elements[16];
  pmk_bitmap_expand(
      elements, mask,
      pmk_saddr(from + PMK_BITMAP_X + PMK_TID / 32 * PMK_BITMAP_TILE));
  PMK_UNROLL
  for (int c = 0; c < 8; c++) {
    pmk_v4 x[2];
    pmk_bitmap_take(x, from, c * 8);
    PMK_UNROLL
    for (int f = 0; f < 4; f++) {
      uint32_t a[4];
      pmk_bitmap_fragment(a, elements, f);
      pmk_mma<T>(acc[c], a, x[f / 2].u + f % 2 * 2);
    }
  }
}

template <class T, class R>
PMK_DEV void pmk_linear_bitmap_tile(float acc[8][4], const pmk_bitmap<T> &w,
                                    const R &x, int64_t i0, int64_t j0) {
  int warp = PMK_TID / 32;
  int64_t first = (j0 / 16 + warp) * w.deep; /* tile of step 0 */
  bool there = first < w.tiles;
  auto mask_of = [&](int step) {
    return there && step < w.deep
               ? pmk_stream4(w.mask + (first + step) * 32 + PMK_TID % 32)
               : 0;
  };
  auto start_of = [&](int step) {
    return there && step <= w.deep ? pmk_load(w.start + first + step) : 0;
  };
  uint32_t begin = start_of(0), end = start_of(1), mask = mask_of(0);
  pmk_pipe<PMK_LINEAR_BITMAP_STAGES, PMK_LINEAR_BITMAP_STAGE>(
      w.deep,
      [&](unsigned char *to, int step) {
        pmk_bitmap_copy(to + PMK_BITMAP_X + warp * PMK_BITMAP_TILE, w, begin,
                        end);
        begin = end;
        end = start_of(step + 2);
        pmk_copy128<64, 256>(to, x, i0, step * 64, PMK_TID);
      },
      [&](const unsigned char *from, int step) {
        uint32_t now = mask;
        mask = mask_of(step + 1);
        pmk_linear_bitmap_multiply<T>(acc, now, from);
      });
}

template <class T, class R, class E>
PMK_DEV void pmk_linear_bitmap_tiles(const R &x, const T *w, int64_t n, E e) {
  typedef pmk_tile_linear_bitmap tile;
  static_assert((int)tile::SHARED ==
                    PMK_LINEAR_BITMAP_STAGES * PMK_LINEAR_BITMAP_STAGE,
                "tiles.def");
  pmk_bitmap<T> f = pmk_bitmap<T>::of(w, n, x.k);
  int64_t j0 = (int64_t)PMK_BX * tile::N;
  for (int64_t i0 = (int64_t)PMK_BY * tile::M; i0 < x.m;
       i0 += (int64_t)PMK_GY * tile::M) {
    float acc[8][4] = {};
    pmk_linear_bitmap_tile(acc, f, x, i0, j0);
    PMK_UNROLL
    for (int c = 0; c < 8; c++)
      pmk_turned_put<tile>(acc[c], c * 8, PMK_TID / 32 * 16);
    pmk_turned_store<tile, float>(x.m, n, i0, j0, e);
  }
}

template <class T, class E>
PMK_DEV void pmk_linear_bitmap(const T *x, int64_t ldx, const T *w, int64_t m,
                               int64_t n, int64_t k, E e) {
  pmk_with_rows(x, ldx, m, k,
                [&](auto rows) { pmk_linear_bitmap_tiles(rows, w, n, e); });
}

#endif
