/* Activations of 16-bit floats or bytes, row by row, 16 bytes at a time. Rows
 * may begin anywhere and be of any length: what cannot be read 16 bytes at a
 * time is read element by element, what is outside is zero. Which of the two is
 * decided once for a kernel, so that the usual one is a few instructions. */
#ifndef PRUNE_ROWS_H
#define PRUNE_ROWS_H

#include "pmk.h"

/* Elements that one access reads. */
template <class T> struct pmk_chunk {
  static_assert(sizeof(T) <= 2, "of 16 bits or less");
  enum { N = 16 / sizeof(T) };
};

/* ALL: every row begins at a multiple of 16 bytes and is as long as one. */
template <class T, bool ALL> struct pmk_rows {
  enum { RUN = pmk_chunk<T>::N };
  const T *x;
  int64_t ld, m;
  int k;
};

/* f(rows), for whichever kind of rows they are. */
template <class T, class F>
PMK_DEV void pmk_with_rows(const T *x, int64_t ld, int64_t m, int64_t k, F f) {
  if ((((uint64_t)x | (uint64_t)ld * sizeof(T) | (uint64_t)k * sizeof(T)) &
       15) == 0)
    f(pmk_rows<T, true>{x, ld, m, (int)k});
  else
    f(pmk_rows<T, false>{x, ld, m, (int)k});
}

/* One row. Of rows that are not there it is the last one: what comes of it is
 * not stored. */
template <class T, bool ALL> struct pmk_row {
  const T *p;
  int k;
};
template <class T, bool ALL>
PMK_DEV pmk_row<T, ALL> pmk_row_of(const pmk_rows<T, ALL> &r, int64_t i) {
  return {r.x + (i < r.m ? i : r.m - 1) * r.ld, r.k};
}

/* A run of elements from kk on, those that are there; kk is a multiple of as
 * many. */
template <class T>
PMK_DEV pmk_v4 pmk_row_load(const pmk_row<T, true> &r, int kk) {
  return kk < r.k ? pmk_load16(r.p + kk) : pmk_v4{};
}
template <class T>
PMK_DEV pmk_v4 pmk_row_load(const pmk_row<T, false> &r, int kk) {
  pmk_v4 v = {};
  /* Few registers: they are those of the other kind, too. */
  PMK_UNROLL_1
  for (int e = kk; e < kk + pmk_chunk<T>::N; e += pmk_chunk<T>::N / 4) {
    uint32_t word = 0;
    PMK_UNROLL_1
    for (int i = pmk_chunk<T>::N / 4 - 1; i >= 0; i--)
      word = word << 4 * (int)sizeof(T) << 4 * (int)sizeof(T) |
             (e + i < r.k ? pmk_bits(pmk_load(r.p + e + i)) : 0);
    v = {{v.u[1], v.u[2], v.u[3], word}};
  }
  return v;
}

/* The same to shared memory, in the background where rows are whole. */
template <class T>
PMK_DEV void pmk_rows_copy(unsigned char *to, const pmk_rows<T, true> &r,
                           int64_t i, int kk) {
  pmk_cp16_common(pmk_saddr(to), r.x + i * r.ld + kk,
                  i < r.m && kk < r.k ? 16 : 0);
}
template <class T>
PMK_DEV void pmk_rows_copy(unsigned char *to, const pmk_rows<T, false> &r,
                           int64_t i, int kk) {
  *(pmk_v4 *)to = pmk_row_load(pmk_row_of(r, i), kk);
}

/* Rows of weights, which are always whole: a block reads its own. */
template <class T> struct pmk_weights {
  enum { RUN = pmk_chunk<T>::N };
  const T *w;
  int64_t ld, n;
  int k;
};
template <class T>
PMK_DEV void pmk_rows_copy(unsigned char *to, const pmk_weights<T> &r,
                           int64_t j, int kk) {
  pmk_cp16(pmk_saddr(to), r.w + j * r.ld + kk, j < r.n && kk < r.k ? 16 : 0);
}

/* ---- tiles in shared memory ---- */

/* Where chunk c (16 bytes) of row r lies in a tile with rows of 64 bytes, or of
 * 128: eight rows that ldmatrix reads together are in different banks. */
PMK_DEV int pmk_at64(int r, int c) {
  return r * 64 + ((c ^ (r >> 1 & 3)) << 4);
}
PMK_DEV int pmk_at128(int r, int c) { return r * 128 + ((c ^ (r & 7)) << 4); }

/* Copies rows i0.. of a tile, from kk on: ROWS rows of 64 or of 128 bytes, by
 * THREADS threads of which this is number `thread`. */
template <int ROWS, int THREADS, class R>
PMK_DEV void pmk_copy64(unsigned char *to, const R &r, int64_t i0, int kk,
                        int thread) {
  static_assert(ROWS * 4 % THREADS == 0, "every thread copies as many");
  PMK_UNROLL
  for (int q = 0; q < ROWS * 4 / THREADS; q++) {
    int i = (q * THREADS + thread) / 4, c = thread % 4;
    pmk_rows_copy(to + pmk_at64(i, c), r, i0 + i, kk + c * R::RUN);
  }
}
template <int ROWS, int THREADS, class R>
PMK_DEV void pmk_copy128(unsigned char *to, const R &r, int64_t i0, int kk,
                         int thread) {
  static_assert(ROWS * 8 % THREADS == 0, "every thread copies as many");
  PMK_UNROLL
  for (int q = 0; q < ROWS * 8 / THREADS; q++) {
    int i = (q * THREADS + thread) / 8, c = thread % 8;
    pmk_rows_copy(to + pmk_at128(i, c), r, i0 + i, kk + c * R::RUN);
  }
}

/* A fragment of 16 rows (pmk_mma, or what pmk_mma_sp keeps of them) from rows
 * r0.. and chunks c0, c0+1 of a tile with rows of 64 bytes. */
PMK_DEV void pmk_fragment_a64(uint32_t *a, const unsigned char *tile, int r0,
                              int c0) {
  int lane = PMK_TID % 32;
  pmk_ldsm4(a, pmk_saddr(tile + pmk_at64(r0 + lane % 16, c0 + lane / 16)));
}
/* Two of the right: rows r0.., r0+8.. of the tile are columns of b. */
PMK_DEV void pmk_fragment_b64(uint32_t *b, const unsigned char *tile, int r0,
                              int c0) {
  int lane = PMK_TID % 32;
  pmk_ldsm4(b, pmk_saddr(tile + pmk_at64(r0 + lane / 16 * 8 + lane % 8,
                                         c0 + lane / 8 % 2)));
}
/* One of the right for pmk_mma_sp, from rows r0.. and chunks c0 .. c0+3. */
PMK_DEV void pmk_fragment_b128(uint32_t *b, const unsigned char *tile, int r0,
                               int c0) {
  int lane = PMK_TID % 32;
  pmk_ldsm4(b, pmk_saddr(tile + pmk_at128(r0 + lane % 8, c0 + lane / 8)));
}

#endif
