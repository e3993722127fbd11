/* pmk.h on the CPU: a block of threads as fibres, one at a time, so that
 * kernels run where there is no GPU and their mistakes show.
 *
 * What helps to find them:
 *   - shared memory begins as NaNs in every block
 *   - bytes of a background copy arrive when they are waited for, no sooner
 *   - threads run in the order that pmk_schedule sets, each as far as it can,
 *     so that a missing barrier is a wrong result under one order or another
 *   - accesses to global memory are held against the registered buffers (as
 *     soon as there is one), those to shared memory against its size
 *   - lanes of a warp must meet in the same operation; what waits for ever is
 *     an error
 *
 * It is for one translation unit, which exports it: who loads the library of a
 * model finds pmk_emulate beside the kernels. One launch at a time. */
#ifndef PMK_CPU_H
#define PMK_CPU_H

#include <math.h>
#include <stdint.h>
#include <string.h>

#include "pmk_fibre.h"
#include "pmk_types.h"

#define PMK_DEV        static inline
#define PMK_DEV_MEMBER static inline
#define PMK_DEV_INSIDE inline
#define PMK_UNROLL
#define PMK_UNROLL_1
#define PMK_UNROLL_4
#define PMK_KERNEL(name, ...)                  \
  static void name##_body(const pmk_args &a);  \
  PMK_EXPORT void name(void **params) {        \
    name##_body(*(const pmk_args *)params[0]); \
  }                                            \
  static void name##_body([[maybe_unused]] const pmk_args &a)

#define PMK_TID     (pmk_emu.current)
#define PMK_BX      (pmk_emu.block[0])
#define PMK_BY      (pmk_emu.block[1])
#define PMK_BZ      (pmk_emu.block[2])
#define PMK_GX      (pmk_emu.grid[0])
#define PMK_GY      (pmk_emu.grid[1])
#define PMK_GZ      (pmk_emu.grid[2])
#define PMK_THREADS (pmk_emu.threads)

/* ---- conversions ---- */

PMK_DEV float pmk_bits_to_f32(uint32_t b) {
  float f;
  memcpy(&f, &b, sizeof f);
  return f;
}
PMK_DEV uint32_t pmk_f32_to_bits(float f) {
  uint32_t b;
  memcpy(&b, &f, sizeof b);
  return b;
}
/* The exponent is moved by a multiplication, which is exact. */
PMK_DEV float pmk_f16_to_f32(uint16_t h) {
  float f = pmk_bits_to_f32((uint32_t)(h & 0x7fff) << 13) * 0x1p112f;
  uint32_t b = pmk_f32_to_bits(f);
  if ((h & 0x7c00) == 0x7c00) b |= 0x7f800000u; /* infinity, NaN */
  return pmk_bits_to_f32(b | (uint32_t)(h & 0x8000) << 16);
}
PMK_DEV uint16_t pmk_f32_to_f16(float f) {
  uint32_t b = pmk_f32_to_bits(f), sign = b >> 16 & 0x8000;
  b &= 0x7fffffff;
  if (b > 0x7f800000) return (uint16_t)(sign | 0x7e00);
  if (b >= 0x47800000) return (uint16_t)(sign | 0x7c00);
  if (b < 0x38800000) { /* adding 0.5 leaves the bits of a subnormal */
    float r = pmk_bits_to_f32(b) + 0.5f;
    return (uint16_t)(sign | (pmk_f32_to_bits(r) - 0x3f000000u));
  }
  return (uint16_t)(sign | (b - 0x38000000 + 0xfff + (b >> 13 & 1)) >> 13);
}
PMK_DEV uint16_t pmk_f32_to_bf16(float f) {
  uint32_t b = pmk_f32_to_bits(f);
  if (f != f) return 0x7fff;
  return (uint16_t)((b + 0x7fff + (b >> 16 & 1)) >> 16);
}
template <class T> PMK_DEV uint32_t pmk_widen2(T, uint32_t two) {
  return pmk_f32_to_f16(pmk_float(T{(uint8_t)two})) |
         (uint32_t)pmk_f32_to_f16(pmk_float(T{(uint8_t)(two >> 8)})) << 16;
}
#define PMK_INFINITY INFINITY
PMK_DEV float pmk_exp(float x) { return expf(x); }
PMK_DEV int pmk_popcount(uint32_t v) { return __builtin_popcount(v); }
PMK_DEV uint32_t pmk_dot4(uint32_t a, uint32_t b, uint32_t c) {
  for (int i = 0; i < 32; i += 8)
    c += (a >> i & 255) * (b >> i & 255);
  return c;
}

/* ---- memory ---- */

/* What moves at once begins at a multiple of its size. */
template <class T> PMK_DEV void pmk_check_place(const T *p) {
  pmk_check(p, sizeof *p);
  if ((uintptr_t)p % alignof(T))
    pmk_fail("%zu bytes at %p, not aligned", sizeof *p, (const void *)p);
}
template <class T> PMK_DEV T pmk_load(const T *p) {
  pmk_check_place(p);
  return *p;
}
template <class T> PMK_DEV void pmk_store(T *p, T v) {
  pmk_check_place(p);
  *p = v;
}
PMK_DEV pmk_v4 pmk_load16(const void *p) {
  pmk_v4 v;
  pmk_check(p, sizeof v);
  if ((uintptr_t)p % sizeof v) pmk_fail("16 bytes at %p, not aligned", p);
  memcpy(&v, p, sizeof v);
  return v;
}
PMK_DEV pmk_v4 pmk_stream16(const void *p) { return pmk_load16(p); }
PMK_DEV uint32_t pmk_stream4(const uint32_t *p) { return pmk_load(p); }

PMK_DEV unsigned char *pmk_smem() { return pmk_emu.smem; }
PMK_DEV uint32_t pmk_saddr(const void *p) {
  return (uint32_t)((const unsigned char *)p - pmk_emu.smem);
}
/* Where 16 bytes at an address in shared memory lie. */
PMK_DEV unsigned char *pmk_shared16(uint32_t address) {
  if (address % 16 || (uint64_t)address + 16 > pmk_emu.shared)
    pmk_fail("16 bytes of shared memory at %u of %zu", address, pmk_emu.shared);
  return pmk_emu.smem + address;
}
PMK_DEV uint32_t pmk_take16(uint32_t there, uint32_t address) {
  return there ? pmk_load((const uint16_t *)(pmk_emu.smem + address)) : 0;
}
PMK_DEV void pmk_cp16(uint32_t to, const void *p, int bytes) {
  pmk_thread &t = pmk_emu.thread[pmk_emu.current];
  pmk_shared16(to);
  if (bytes < 0 || bytes > 16 || (uintptr_t)p % 16)
    pmk_fail("a copy of %d bytes from %p", bytes, p);
  if (t.copies == PMK_COPIES) pmk_fail("too many copies under way");
  if (bytes < 16 && pmk_mistaken(PMK_COPY_WHOLE)) bytes = 16;
  if (bytes) pmk_check(p, (size_t)bytes);
  pmk_copy &c = t.copy[t.copies++];
  c.to = to;
  c.group = t.group;
  memset(c.bytes, 0, sizeof c.bytes);
  if (bytes) memcpy(c.bytes, p, (size_t)bytes);
}
PMK_DEV void pmk_cp16_common(uint32_t to, const void *p, int bytes) {
  pmk_cp16(to, p, bytes);
}
PMK_DEV void pmk_cp16_if(bool there, uint32_t to, const void *p) {
  if (there) pmk_cp16(to, p, 16);
}
PMK_DEV uint32_t pmk_join(uint32_t low, uint32_t high) {
  return low | high << 16;
}
PMK_DEV void pmk_cp_commit() { pmk_emu.thread[pmk_emu.current].group++; }
template <int N> PMK_DEV void pmk_cp_wait() {
  pmk_thread &t = pmk_emu.thread[pmk_emu.current];
  int left = 0, late = t.copies && pmk_mistaken(PMK_WAIT_LATE);
  for (int i = 0; i < t.copies; i++)
    if (t.copy[i].group < t.group - N - late) {
      memcpy(pmk_emu.smem + t.copy[i].to, t.copy[i].bytes, 16);
      pmk_arrive(t.copy[i].to);
    } else {
      t.copy[left++] = t.copy[i];
    }
  t.copies = left;
}

/* ---- threads that work together ---- */

PMK_DEV void pmk_sync(const char *file = __builtin_FILE(),
                      int line = __builtin_LINE()) {
  if (pmk_left_out(PMK_NO_SYNC, file, line)) return;
  if (++pmk_emu.arrived == pmk_emu.threads) {
    pmk_publish(0, pmk_emu.threads);
    pmk_emu.arrived = 0;
    pmk_emu.barrier++;
  } else {
    pmk_wait(&pmk_emu.barrier);
  }
}

PMK_DEV int pmk_lane() { return pmk_emu.current & 31; }
/* All lanes of the warp come here, each having put its operands; the last one
 * does `work` for all. op tells operations apart. */
template <class F> PMK_DEV pmk_warp &pmk_meet(int op, F work) {
  pmk_warp &w = pmk_emu.warp[pmk_emu.current >> 5];
  if (w.arrived && w.op != op)
    pmk_fail("lanes of a warp meet in different operations");
  w.op = op;
  if (++w.arrived == 32) {
    work(w);
    w.arrived = 0;
    w.meetings++;
  } else {
    pmk_wait(&w.meetings);
  }
  return w;
}
/* Operands of this thread for its next meeting. Those of one meeting must
 * outlast it, as lanes go on one after the other: two sets take turns. */
PMK_DEV pmk_operands &pmk_mine() {
  pmk_warp &w = pmk_emu.warp[pmk_emu.current >> 5];
  return w.lane[w.meetings & 1][pmk_lane()];
}

enum {
  PMK_OP_SYNC,
  PMK_OP_SHFL,
  PMK_OP_LDSM,
  PMK_OP_LDSM_TURNED,
  PMK_OP_MMA,
  PMK_OP_MMA_SP
};

PMK_DEV void pmk_warp_sync(const char *file = __builtin_FILE(),
                           int line = __builtin_LINE()) {
  if (pmk_left_out(PMK_NO_WARP_SYNC, file, line)) return;
  pmk_meet(PMK_OP_SYNC,
           [](pmk_warp &) { pmk_publish(pmk_emu.current / 32 * 32, 32); });
}
/* The value that lane `from` gives. */
template <class T> PMK_DEV T pmk_shfl(T v, int from) {
  static_assert(sizeof v == 4, "a register");
  uint32_t turn = pmk_emu.warp[pmk_emu.current >> 5].meetings & 1;
  memcpy(pmk_mine().out, &v, sizeof v);
  pmk_warp &w = pmk_meet(PMK_OP_SHFL, [](pmk_warp &) {});
  memcpy(&v, w.lane[turn][from & 31].out, sizeof v);
  return v;
}
template <class T> PMK_DEV T pmk_shfl_xor(T v, int mask) {
  return pmk_shfl(v, pmk_lane() ^ mask);
}
template <class T> PMK_DEV T pmk_shfl_up(T v, int by) {
  return pmk_shfl(v, pmk_lane() < by ? pmk_lane() : pmk_lane() - by);
}

PMK_DEV uint32_t pmk_prefix(uint32_t v) {
  for (int by = 1; by < 32; by *= 2) {
    uint32_t below = pmk_shfl_up(v, by);
    if (pmk_lane() >= by) v += below;
  }
  return v;
}

/* ---- products of a warp ---- */

/* Element e of a row of eight whose address a lane gave. */
PMK_DEV uint32_t pmk_row16(const pmk_operands &o, int e) {
  uint16_t v;
  memcpy(&v, pmk_shared16(o.address) + e * 2, sizeof v);
  return v;
}
template <bool TURNED>
PMK_DEV void pmk_ldsm4_of(uint32_t *r, uint32_t address) {
  pmk_operands &mine = pmk_mine();
  uint32_t turn = pmk_emu.warp[pmk_emu.current >> 5].meetings & 1;
  bool other = pmk_mistaken(PMK_OTHER_STEP) && pmk_lane() >= 16;
  mine.address = other ? address ^ 32 : address;
  pmk_meet(TURNED ? PMK_OP_LDSM_TURNED : PMK_OP_LDSM, [turn](pmk_warp &w) {
    for (int l = 0; l < 32; l++)
      pmk_check_arrived(w.lane[turn][l].address, -1);
    for (int m = 0; m < 4; m++)
      for (int l = 0; l < 32; l++) {
        const pmk_operands *row = &w.lane[turn][m * 8];
        int g = l >> 2, t = (l & 3) * 2;
        uint32_t low = TURNED ? pmk_row16(row[t], g) : pmk_row16(row[g], t);
        uint32_t high =
            TURNED ? pmk_row16(row[t + 1], g) : pmk_row16(row[g], t + 1);
        w.lane[turn][l].out[m] = low | high << 16;
      }
  });
  memcpy(r, mine.out, sizeof mine.out);
}
PMK_DEV void pmk_ldsm4(uint32_t *r, uint32_t address) {
  pmk_ldsm4_of<false>(r, address);
}
PMK_DEV void pmk_ldsm4_turned(uint32_t *r, uint32_t address) {
  pmk_ldsm4_of<true>(r, address);
}

template <class T> PMK_DEV T pmk_value(T v);
/* Element i of a register, as what sums are of. */
template <class T>
PMK_DEV typename pmk_dot<T>::sum pmk_element(uint32_t word, int i) {
  uint32_t bits = word >> i * 8 * (int)sizeof(T);
  T v;
  memcpy(&v, &bits, sizeof v);
  return pmk_value(v);
}
PMK_DEV float pmk_plus_product(float sum, float a, float b) {
  return sum + a * b;
}
/* Sums of integers wrap. */
PMK_DEV int32_t pmk_plus_product(int32_t sum, int32_t a, int32_t b) {
  return (int32_t)((uint32_t)sum + (uint32_t)(a * b));
}
/* d[16x8] of all lanes += a[16][k] b[8][k]. */
template <class S>
PMK_DEV void pmk_accumulate(pmk_operands *lane, const S *a, const S *b,
                            int k) {
  for (int l = 0; l < 32; l++)
    for (int i = 0; i < 4; i++) {
      const S *row = a + ((l >> 2) + (i >> 1) * 8) * k;
      const S *column = b + ((l & 3) * 2 + (i & 1)) * k;
      S sum;
      memcpy(&sum, &lane[l].d[i], sizeof sum);
      for (int e = 0; e < k; e++)
        sum = pmk_plus_product(sum, row[e], column[e]);
      memcpy(&lane[l].d[i], &sum, sizeof sum);
    }
}

/* Elements of a register; of half a row of an operand. */
template <class T> struct pmk_wide {
  enum { V = 4 / sizeof(T), HALF = 4 * V };
};
/* The right operand: a row of PARTS halves for each of its columns. */
template <class T, int PARTS, class S>
PMK_DEV void pmk_right(const pmk_operands *lane, S *full) {
  enum { V = pmk_wide<T>::V, HALF = pmk_wide<T>::HALF };
  for (int l = 0; l < 32; l++)
    for (int r = 0; r < PARTS; r++)
      for (int i = 0; i < V; i++)
        full[(l >> 2) * PARTS * HALF + r * HALF + (l & 3) * V + i] =
            pmk_element<T>(lane[l].b[r], i);
}

template <class A, class B = A, class S>
PMK_DEV void pmk_mma(S *d, const uint32_t *a, const uint32_t *b) {
  enum { V = pmk_wide<A>::V, HALF = pmk_wide<A>::HALF };
  pmk_operands &mine = pmk_mine();
  uint32_t turn = pmk_emu.warp[pmk_emu.current >> 5].meetings & 1;
  memcpy(mine.a, a, sizeof mine.a);
  memcpy(mine.b, b, 2 * sizeof *b);
  memcpy(mine.d, d, sizeof mine.d);
  pmk_meet(PMK_OP_MMA, [turn](pmk_warp &w) {
    S full_a[16 * 2 * HALF], full_b[8 * 2 * HALF];
    for (int l = 0; l < 32; l++)
      for (int r = 0; r < 4; r++)
        for (int i = 0; i < V; i++)
          full_a[((l >> 2) + (r & 1) * 8) * 2 * HALF + (r >> 1) * HALF +
                 (l & 3) * V + i] =
              pmk_element<A>(w.lane[turn][l].a[r], i);
    pmk_right<B, 2>(w.lane[turn], full_b);
    pmk_accumulate(w.lane[turn], full_a, full_b, 2 * HALF);
  });
  memcpy(d, mine.d, sizeof mine.d);
}

/* What is said of the groups that register r of lane l has elements of: a
 * nibble for each. Of 16 bits lanes 2f and 2f+1 of every four say it, a half
 * word each for the rows g and g + 8; of 8 bits a word is about half a row. */
template <class T>
PMK_DEV uint32_t pmk_said(const pmk_operands *lane, int f, int l, int r) {
  int first = l & ~3, t = l & 3, half = r >> 1;
  int row = (r & 1) ^ (int)pmk_mistaken(PMK_ROWS_SWAPPED);
  int other = pmk_mistaken(PMK_OTHER_LANES);
  if (sizeof(T) == 1)
    return lane[first + (half ^ other) * 2 + row].e >> 8 * t & 255;
  return lane[first + (f ^ other) * 2 + half].e >> (16 * row + 4 * t) & 15;
}
/* The left operand: where in a row its elements lie. */
template <class T, class S>
PMK_DEV void pmk_spread(const pmk_operands *lane, int f, S *full) {
  enum { V = pmk_wide<T>::V, HALF = pmk_wide<T>::HALF };
  memset(full, 0, 16 * 4 * HALF * sizeof *full);
  for (int l = 0; l < 32; l++)
    for (int r = 0; r < 4; r++) {
      uint32_t e = pmk_said<T>(lane, f, l, r);
      S *row = full + ((l >> 2) + (r & 1) * 8) * 4 * HALF + (r >> 1) * 2 * HALF;
      for (int i = 0; i < V; i += 2, e >>= 4) {
        int first = (int)(e & 3), second = (int)(e >> 2 & 3);
        if (first >= second) pmk_fail("metadata %x is not ordered", e);
        S *four = row + (l & 3) * V * 2 + i * 2;
        four[first] = pmk_element<T>(lane[l].a[r], i);
        four[second] = pmk_element<T>(lane[l].a[r], i + 1);
      }
    }
}
template <class A, int F, class B = A, class S>
PMK_DEV void pmk_mma_sp(S *d, const uint32_t *a, const uint32_t *b,
                        uint32_t e) {
  static_assert(F == 0 || (F == 1 && sizeof(A) == 2), "a selector");
  enum { HALF = pmk_wide<A>::HALF };
  pmk_operands &mine = pmk_mine();
  uint32_t turn = pmk_emu.warp[pmk_emu.current >> 5].meetings & 1;
  memcpy(mine.a, a, sizeof mine.a);
  memcpy(mine.b, b, sizeof mine.b);
  memcpy(mine.d, d, sizeof mine.d);
  mine.e = e;
  pmk_meet(PMK_OP_MMA_SP, [turn](pmk_warp &w) {
    S full_a[16 * 4 * HALF], full_b[8 * 4 * HALF];
    pmk_spread<A>(w.lane[turn], F, full_a);
    pmk_right<B, 4>(w.lane[turn], full_b);
    pmk_accumulate(w.lane[turn], full_a, full_b, 4 * HALF);
  });
  memcpy(d, mine.d, sizeof mine.d);
}

#include "pmk_cpu_wgmma.h"

#endif
