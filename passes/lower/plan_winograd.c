/* What minimal filtering costs: products of all elements of all tiles, and the
 * transforms around them. Blocks of tiles are those of the kernel
 * (backends/llvm/conv_winograd.c): what fills their vectors past an image's
 * edge is computed, too. Every block reads all weights, and does too
 * little with them to hide it. */
#include "ir/pack/winograd.h"
#include "passes/lower/plan.h"

enum { X_BYTES = 640 << 10, COLUMNS = 64 };

static int64_t ceildiv(int64_t a, int64_t b) { return (a + b - 1) / b; }

/* Vectors of tiles that the blocks of a convolution hold. */
typedef struct blocks {
  int64_t vectors, count;
  int64_t each; /* vectors of one */
} blocks;

static blocks blocks_of(int64_t lanes, const prn_plan_product *p,
                        const prn_winograd *f) {
  int64_t k = p->k / p->taps, strip = lanes;
  while (strip / 2 >= f->m && strip / 2 >= p->width)
    strip /= 2;
  int64_t per_vector = lanes * f->m / strip;
  int64_t strips = ceildiv(p->width, strip);
  int64_t rows = p->batches * ceildiv(p->height, f->m);
  int64_t most = X_BYTES / (f->side * f->side * k * lanes * 4);
  if (most > COLUMNS / lanes) most = COLUMNS / lanes;
  if (most < 1) most = 1;
  int64_t high = most * per_vector / strips;
  blocks best = {rows * ceildiv(strips, per_vector),
                 rows * ceildiv(strips, most * per_vector), most};
  for (int64_t r = 1; r <= high && r <= rows; r++) {
    blocks b = {.count = ceildiv(rows, r),
                .each = ceildiv(r * strips, per_vector)};
    b.vectors = b.count * b.each;
    if (b.vectors <= best.vectors) best = b;
  }
  return best;
}

double prn_plan_winograd(const prn_machine *mc, const prn_plan_product *p,
                         int64_t tile) {
  const prn_winograd *f = prn_winograd_of(tile);
  int64_t group = mc->lanes >= 16 ? 8 : 4, kind = tile == 4;
  blocks b = blocks_of(mc->lanes, p, f);
  double k = (double)(p->k / p->taps);
  double n = (double)(ceildiv(p->n, group) * group);
  double weights = (double)(f->side * f->side) * k * n;
  double product = mc->cost[PRN_COST_rows][b.each < 4 ? b.each - 1 : 3];
  double t = weights * product + mc->cost[PRN_COST_winograd_in][kind] * k +
             mc->cost[PRN_COST_winograd_out][kind] * (double)p->n;
  double memory = mc->cost[PRN_COST_byte][0] * 4 * weights * (double)b.count;
  return (double)b.vectors * t + memory;
}
