/* pmk_cpu.h: products of four warps. They run in the background: what they read
 * is held against what it was when they began, and sums appear when they are
 * waited for. Their operands come from shared memory by another way than loads
 * and stores, so that copies must be fenced before the barrier. */
#ifndef PMK_CPU_WGMMA_H
#define PMK_CPU_WGMMA_H

#include "pmk_fibre.h"
#include "pmk_types.h"

#define PMK_SM90 1

enum {
  PMK_WGMMA_PENDING = 16,
  PMK_WGMMA_ROWS = 64,
  PMK_WGMMA_COLUMNS = 128,
  PMK_WGMMA_K = 32,
};

/* One product: its operands as they were, whose sums it adds to. */
struct pmk_product {
  int group;
  uint64_t a, b;
  uint32_t e[128];
  float *d[128];
  uint16_t values[PMK_WGMMA_ROWS][PMK_WGMMA_K / 2];
  uint16_t x[PMK_WGMMA_COLUMNS][PMK_WGMMA_K];
};

struct pmk_four_warps {
  int arrived, op, group, pending;
  uint32_t meetings;
  uint64_t block; /* what the rest is about */
  uint32_t e[128];
  float *d[128];
  uint64_t a, b;
  pmk_product *product; /* [PMK_WGMMA_PENDING] */
};
static pmk_four_warps pmk_groups[PMK_MAX_THREADS / 128];

PMK_DEV uint64_t pmk_tile_of(uint32_t address, uint32_t row_bytes) {
  return (uint64_t)(address >> 4 & 0x3fff) | (uint64_t)1 << 16 |
         (uint64_t)(row_bytes * 8 >> 4) << 32 |
         (uint64_t)(row_bytes == 64 ? 2 : 1) << 62;
}

/* Where byte `at` of row r of such a tile lies. */
static uint32_t pmk_tile_address(uint64_t tile, int r, int at) {
  uint32_t start = (uint32_t)(tile & 0x3fff) << 4;
  uint32_t eight = (uint32_t)(tile >> 32 & 0x3fff) << 4;
  bool wide = tile >> 62 == 1;
  if ((tile >> 62 != 1 && tile >> 62 != 2) || (tile >> 49 & 7))
    pmk_fail("wgmma: a tile laid out in a way that is not known here");
  uint32_t p = start + (uint32_t)(r / 8) * eight +
               (uint32_t)(r % 8 * (wide ? 128 : 64) + at);
  if (pmk_mistaken(PMK_NO_SWIZZLE)) return p;
  return p ^ (wide ? p >> 7 & 7 : p >> 7 & 3) << 4;
}

static uint16_t pmk_tile_element(uint64_t tile, int r, int i, bool begins) {
  uint32_t address = pmk_tile_address(tile, r, i * 2);
  uint16_t h;
  if (address + 2 > pmk_emu.shared)
    pmk_fail("wgmma: shared memory at %u of %zu", address, pmk_emu.shared);
  if (begins) {
    pmk_check_arrived(address, -1);
    if (pmk_emu.unfenced[address / 16])
      pmk_fail("wgmma: shared memory at %u was copied to and not fenced",
               address);
  }
  memcpy(&h, pmk_emu.smem + address, sizeof h);
  return h;
}

/* Reads the operands, or compares them with what was read. */
static void pmk_product_read(pmk_product &p, bool begins) {
  bool other = pmk_mistaken(PMK_OTHER_STEP);
  auto take = [&](uint16_t &to, uint16_t h) {
    if (begins)
      to = h;
    else if (to != h)
      pmk_fail("wgmma: an operand was written before the product was done");
  };
  for (int r = 0; r < PMK_WGMMA_ROWS; r++)
    for (int i = 0; i < PMK_WGMMA_K / 2; i++)
      take(p.values[r][i],
           pmk_tile_element(other ? p.a ^ 2 : p.a, r, i, begins));
  for (int r = 0; r < PMK_WGMMA_COLUMNS; r++)
    for (int i = 0; i < PMK_WGMMA_K; i++)
      take(p.x[r][i], pmk_tile_element(p.b, r, i, begins));
}

/* The rows of a, with zeros between what is there. */
template <class T>
static void pmk_product_spread(const pmk_product &p, int f,
                               float a[PMK_WGMMA_ROWS][PMK_WGMMA_K]) {
  int swapped = pmk_mistaken(PMK_ROWS_SWAPPED);
  int pair = f ^ (int)pmk_mistaken(PMK_OTHER_LANES);
  memset(a, 0, sizeof(float) * PMK_WGMMA_ROWS * PMK_WGMMA_K);
  for (int r = 0; r < PMK_WGMMA_ROWS; r++)
    for (int c = 0; c < PMK_WGMMA_K / 4; c++) {
      uint32_t e = p.e[r / 16 * 32 + r % 8 * 4 + pair * 2 + c / 4];
      e = e >> (16 * ((r % 16 / 8) ^ swapped) + 4 * (c % 4)) & 15;
      if ((e & 3) >= e >> 2) pmk_fail("metadata %x is not ordered", e);
      a[r][c * 4 + (int)(e & 3)] = pmk_float(T{p.values[r][c * 2]});
      a[r][c * 4 + (int)(e >> 2)] = pmk_float(T{p.values[r][c * 2 + 1]});
    }
}

template <class T> static void pmk_product_add(const pmk_product &p, int f) {
  static float a[PMK_WGMMA_ROWS][PMK_WGMMA_K];
  static float b[PMK_WGMMA_COLUMNS][PMK_WGMMA_K];
  pmk_product_spread<T>(p, f, a);
  for (int r = 0; r < PMK_WGMMA_COLUMNS; r++)
    for (int i = 0; i < PMK_WGMMA_K; i++)
      b[r][i] = pmk_float(T{p.x[r][i]});
  for (int l = 0; l < 128; l++)
    for (int i = 0; i < 64; i++) {
      const float *row = a[l / 32 * 16 + l % 32 / 4 + i / 2 % 2 * 8];
      const float *column = b[i / 4 * 8 + l % 4 * 2 + i % 2];
      float sum = 0;
      for (int k = 0; k < PMK_WGMMA_K; k++)
        sum += row[k] * column[k];
      p.d[l][i] += sum;
    }
}

/* The four warps of this thread, as new in every block. */
static pmk_four_warps &pmk_four() {
  pmk_four_warps &g = pmk_groups[pmk_emu.current / 128];
  if (g.block != pmk_emu.blocks) {
    g.arrived = g.pending = 0;
    g.block = pmk_emu.blocks;
  }
  return g;
}
/* As pmk_meet, of 128 threads. */
template <class F> static void pmk_meet_four(int op, F work) {
  pmk_four_warps &g = pmk_four();
  if (g.arrived && g.op != op)
    pmk_fail("threads of four warps meet in different operations");
  g.op = op;
  if (++g.arrived == 128) {
    work(g);
    g.arrived = 0;
    g.meetings++;
  } else {
    pmk_wait(&g.meetings);
  }
}

enum { PMK_OP_PRODUCT, PMK_OP_COMMIT, PMK_OP_WAIT, PMK_OP_FENCE };

PMK_DEV void pmk_fence_async() {
  pmk_thread &t = pmk_emu.thread[pmk_emu.current];
  if (pmk_mistaken(PMK_NO_FENCE)) return;
  for (int i = 0; i < t.arrived; i++)
    pmk_emu.unfenced[t.arrival[i] / 16] = false;
}
PMK_DEV void pmk_wgmma_fence() {
  pmk_meet_four(PMK_OP_FENCE, [](pmk_four_warps &) {});
}
PMK_DEV void pmk_wgmma_commit() {
  pmk_meet_four(PMK_OP_COMMIT, [](pmk_four_warps &g) { g.group++; });
}

/* What a product does when it is done, by its type and lanes. */
typedef void pmk_product_end(const pmk_product &p);
static pmk_product_end
    *pmk_product_ends[PMK_MAX_THREADS / 128][PMK_WGMMA_PENDING];

template <int N> PMK_DEV void pmk_wgmma_wait() {
  pmk_meet_four(PMK_OP_WAIT, [](pmk_four_warps &g) {
    int left = 0, number = (int)(&g - pmk_groups);
    for (int i = 0; i < g.pending; i++) {
      pmk_product_end *end = pmk_product_ends[number][i];
      if (g.product[i].group < g.group - N) {
        pmk_product_read(g.product[i], false);
        end(g.product[i]);
      } else {
        pmk_product_ends[number][left] = end;
        g.product[left++] = g.product[i];
      }
    }
    g.pending = left;
  });
}

template <class T, int F>
PMK_DEV void pmk_wgmma_sp(float *d, uint64_t a, uint64_t b, uint32_t e) {
  pmk_four_warps &mine = pmk_four();
  if (!mine.arrived) {
    mine.a = a;
    mine.b = b;
  } else if (mine.a != a || mine.b != b) {
    pmk_fail("wgmma: threads name different tiles");
  }
  mine.d[pmk_emu.current % 128] = d;
  mine.e[pmk_emu.current % 128] = e;
  pmk_meet_four(PMK_OP_PRODUCT, [](pmk_four_warps &g) {
    int number = (int)(&g - pmk_groups);
    if (!g.product)
      g.product = (pmk_product *)calloc(PMK_WGMMA_PENDING, sizeof *g.product);
    if (!g.product || g.pending == PMK_WGMMA_PENDING)
      pmk_fail("wgmma: too many products under way");
    pmk_product &p = g.product[g.pending];
    pmk_product_ends[number][g.pending++] = [](const pmk_product &done) {
      pmk_product_add<T>(done, F);
    };
    p.group = g.group;
    p.a = g.a;
    p.b = g.b;
    memcpy(p.d, g.d, sizeof p.d);
    memcpy(p.e, g.e, sizeof p.e);
    pmk_product_read(p, true);
  });
}

#endif
