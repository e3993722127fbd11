/* Measuring a cost table; see calibrate.h.
 *
 * The costs of a family are found from a few products that it computes. The
 * planner's estimate of each is linear in them, with factors that are got from
 * the planner itself, and a least-squares fit gives the costs under which the
 * estimates are closest to what was measured. Families that build on others
 * come after them.
 *
 * With every family the dense product that defines the unit is measured
 * again, so that a machine which runs slower for a while does not matter. */
#include "tools/calibrate.h"

#include <assert.h>
#include <math.h>
#include <string.h>
#include <unistd.h>

#include "ir/pack/srt.h"
#include "passes/lower/plan.h"
#include "tools/lowering.h"
#include "tools/measure.h"
#include "tools/product.h"
#include "tools/progress.h"

enum { MAX_PROBES = 20, MAX_COSTS = 4, FAMILIES = 37 };

/* A product to measure, and how it is to be computed. */
typedef struct probe {
  prn_product_spec product;
  prn_plan_choice choice;
} probe;

/* A cost to be found. */
typedef struct unknown {
  prn_cost row;
  int64_t vectors; /* which of its values, from 1 */
} unknown;

typedef struct family {
  probe probes[MAX_PROBES];
  unknown costs[MAX_COSTS];
  int num_probes, num_costs;
  size_t spread; /* bytes that weights take; 0: they stay in caches */
  bool alone;    /* they alone decide: other costs are taken to be 0 */
  bool copies;   /* what is measured is not the products, but what turns x and
                  * their results around */
} family;

typedef struct calibration {
  prn_diag_sink *sink;
  const prn_target_spec *target;
  prn_machine machine; /* costs that are not known yet are 0 */
  double seconds;      /* for a family */
  double slot_ns;
  prn_progress progress;
} calibration;

static int64_t lanes(const calibration *c) { return c->machine.lanes; }

/* ---- the fit ---- */

/* Squares of a x - b, least for x >= 0, by descent in one x after another. */
static void least_squares(double (*a)[MAX_COSTS], const double *b, int rows,
                          double *x, int n) {
  for (int j = 0; j < n; j++)
    x[j] = 0;
  for (int round = 0; round < 10000; round++)
    for (int j = 0; j < n; j++) {
      double slope = 0, bend = 0;
      for (int i = 0; i < rows; i++) {
        double rest = b[i];
        for (int l = 0; l < n; l++)
          rest -= a[i][l] * x[l];
        slope += a[i][j] * rest;
        bend += a[i][j] * a[i][j];
      }
      if (bend > 0) x[j] = fmax(0, x[j] + slope / bend);
    }
}

static double *cost_at(prn_machine *m, const unknown *u) {
  return &m->cost[u->row][u->vectors - 1];
}

/* Finds the family's costs from what its products took, in slots. Errors
 * count by how large a part of the product they are. */
static void fit(calibration *c, const family *f, const prn_plan_product *p,
                const double *slots) {
  double a[MAX_PROBES][MAX_COSTS] = {{0}}, b[MAX_PROBES], x[MAX_COSTS];
  prn_machine m = c->machine;
  if (f->alone) memset(m.cost, 0, sizeof m.cost);
  for (int j = 0; j < f->num_costs; j++)
    *cost_at(&m, &f->costs[j]) = 0;
  for (int i = 0; i < f->num_probes; i++) {
    double rest = prn_plan_cost(&m, &p[i], &f->probes[i].choice);
    b[i] = (slots[i] - rest) / slots[i];
    for (int j = 0; j < f->num_costs; j++) {
      *cost_at(&m, &f->costs[j]) = 1;
      double with = prn_plan_cost(&m, &p[i], &f->probes[i].choice);
      a[i][j] = (with - rest) / slots[i];
      *cost_at(&m, &f->costs[j]) = 0;
    }
  }
  least_squares(a, b, f->num_probes, x, f->num_costs);
  for (int j = 0; j < f->num_costs; j++)
    *cost_at(&c->machine, &f->costs[j]) = x[j];
}

/* ---- measuring ---- */

/* The dense product that the unit is defined by. */
static probe reference(const calibration *c, int64_t vectors) {
  return (probe){.product = {.m = vectors * lanes(c),
                             .n = 192,
                             .k = 768,
                             .dtype = PRN_F32},
                 .choice = {.format = "rows"}};
}

static prn_status prepare(const calibration *c, prn_ctx *ctx, const probe *p,
                          size_t spread, prn_plan_product *product,
                          prn_module **alone, prn_measured *out) {
  prn_op *op = prn_product_make(ctx, &p->product), *copy;
  *alone = prn_product_alone(op, &copy);
  prn_module_destroy(op->module);
  (void)prn_plan_product_of(copy, 0, product);
  prn_plan_set(copy, &p->choice);
  return prn_measure_create(*alone, c->target, spread, out);
}

/* Times of the reference and of all probes, in ns. */
static prn_status measure(const calibration *c, const family *f, prn_ctx *ctx,
                          prn_plan_product *products, double *ns) {
  prn_measured t[1 + MAX_PROBES];
  prn_module *modules[1 + MAX_PROBES] = {NULL};
  probe first = reference(c, 4);
  prn_status s = PRN_OK;
  int made = 0;
  for (; s == PRN_OK && made <= f->num_probes; made += s == PRN_OK)
    s = prepare(c, ctx, made ? &f->probes[made - 1] : &first, f->spread,
                &products[made], &modules[made], &t[made]);
  if (s == PRN_OK) s = prn_measure_run(t, (size_t)made, c->seconds);
  for (int i = 0; i < made; i++) {
    bool copies = f->copies && i > 0;
    ns[i] = copies ? t[i].all_ns - t[i].product_ns : t[i].product_ns;
    prn_measure_destroy(&t[i]);
  }
  for (int i = 0; i <= f->num_probes; i++)
    if (modules[i]) prn_module_destroy(modules[i]);
  return s;
}

static prn_status find(calibration *c, const family *f) {
  prn_plan_product products[1 + MAX_PROBES];
  double ns[1 + MAX_PROBES], slots[MAX_PROBES];
  prn_ctx *ctx = prn_ctx_create();
  *prn_ctx_diags(ctx) =
      (prn_diag_sink){.handler = c->sink->handler, .user = c->sink->user};
  prn_progress_step(&c->progress, prn_costs[f->costs[0].row].name);
  prn_status s = measure(c, f, ctx, products, ns);
  if (s == PRN_OK) {
    probe first = reference(c, 4);
    double unit = prn_plan_cost(&c->machine, &products[0], &first.choice);
    if (unit > 0) c->slot_ns = ns[0] / unit;
    for (int i = 0; i < f->num_probes; i++)
      slots[i] = ns[1 + i] / c->slot_ns;
    fit(c, f, products + 1, slots);
  }
  prn_ctx_destroy(ctx);
  return s;
}

/* ---- families ---- */

static void add_cost(family *f, prn_cost row, int64_t vectors) {
  f->costs[f->num_costs++] = (unknown){row, vectors};
}

static void add_probe(family *f, probe p) {
  assert(f->num_probes < MAX_PROBES);
  f->probes[f->num_probes++] = p;
}

/* Tiles of a row's values that the machine's kernels do not have. */
static void repeat(calibration *c, prn_cost row, int64_t from) {
  for (int64_t v = from; v < prn_costs[row].values; v++)
    c->machine.cost[row][v] = c->machine.cost[row][from - 1];
}

/* The narrowest time is the unit. */
static prn_status find_rows(calibration *c) {
  double least = INFINITY, *row = c->machine.cost[PRN_COST_rows];
  family f = {0};
  c->slot_ns = 1;
  for (int64_t v = 1; v <= 4; v++) {
    probe p = reference(c, v);
    add_cost(&f, PRN_COST_rows, v);
    add_probe(&f, p);
  }
  PRN_TRY(find(c, &f));
  for (int v = 0; v < 4; v++)
    least = fmin(least, row[v]);
  for (int v = 0; v < 4; v++)
    row[v] /= least;
  return PRN_OK;
}

/* Narrow weights, with what packing x for them takes. */
static prn_status find_narrow(calibration *c, prn_cost row, const char *format,
                              prn_product_spec product, bool packs) {
  family f = {0};
  product.k = 768;
  product.m = 4 * lanes(c);
  add_cost(&f, row, 4);
  if (packs) add_cost(&f, PRN_COST_convert, 1);
  for (product.n = 24; product.n <= 384; product.n *= 4)
    add_probe(&f, (probe){product, {.format = format}});
  PRN_TRY(find(c, &f));
  f = (family){0};
  product.n = 384;
  for (int64_t v = 1; v < 4; v++) {
    product.m = v * lanes(c);
    add_cost(&f, row, v);
    add_probe(&f, (probe){product, {.format = format}});
  }
  return find(c, &f);
}

static prn_product_spec pairs_of(const char *precision, double zeros) {
  return (prn_product_spec){
      .dtype = PRN_F32, .precision = precision, .zeros = {.zeros = zeros}};
}

static prn_product_spec bytes_of(double zeros) {
  return (prn_product_spec){.dtype = PRN_I8, .zeros = {.zeros = zeros}};
}

static prn_status find_conv(calibration *c) {
  family f = {0};
  prn_product_spec p = {
      .k = 64, .height = 28, .width = 28, .window = 3, .dtype = PRN_F32};
  add_cost(&f, PRN_COST_conv, 4);
  add_cost(&f, PRN_COST_unfold, 1);
  for (p.n = 12; p.n <= 192; p.n *= 4)
    add_probe(&f, (probe){p, {.format = "dense"}});
  PRN_TRY(find(c, &f));
  f = (family){0};
  p.n = 192;
  p.height = 4;
  for (int64_t v = 1; v < 4; v++) {
    p.width = v * lanes(c) / 4;
    add_cost(&f, PRN_COST_conv, v);
    add_probe(&f, (probe){p, {.format = "dense"}});
  }
  return find(c, &f);
}

/* A few channels and many results, and the other way around. */
static prn_status find_winograd(calibration *c, int64_t tile) {
  static const int64_t sizes[][2] = {{16, 16}, {16, 128}, {128, 16}, {64, 64}};
  family f = {0};
  add_cost(&f, PRN_COST_winograd_in, tile / 2);
  add_cost(&f, PRN_COST_winograd_out, tile / 2);
  for (size_t i = 0; i < PRN_COUNT(sizes); i++) {
    prn_product_spec p = {.k = sizes[i][0],
                          .n = sizes[i][1],
                          .height = 28,
                          .width = 28,
                          .window = 3,
                          .dtype = PRN_F32};
    add_probe(&f, (probe){p, {.format = "winograd", .tile = tile}});
  }
  return find(c, &f);
}

/* ---- with zeros, by columns ---- */

/* A product for a few whole tiles of `vectors`, in panels of that depth. */
static probe sparse_probe(const calibration *c, const char *format,
                          int64_t group, int64_t vectors, int64_t depth,
                          prn_product_zeros zeros) {
  int64_t tiles = (6 + vectors - 1) / vectors;
  return (probe){.product = {.m = vectors * lanes(c) * tiles,
                             .n = 768,
                             .k = 768,
                             .zeros = zeros,
                             .dtype = PRN_F32},
                 .choice = {.format = format,
                            .group = group,
                            .depth = depth,
                            .nr = 384,
                            .vectors = vectors}};
}

/* A 3x3 convolution by weights of the same size. */
static probe window_probe(const calibration *c, int64_t vectors, int64_t depth,
                          prn_product_zeros zeros) {
  probe p =
      sparse_probe(c, "srt", PRN_SRT_MAX_GROUP, vectors, depth / 9 * 9, zeros);
  p.product.width = lanes(c);
  p.product.height = p.product.m / lanes(c);
  p.product.window = 3;
  p.product.k = 84;
  p.choice.nr = p.product.n;
  return p;
}

/* Depth whose x is near. */
static int64_t near_depth(const calibration *c, int64_t vectors) {
  double bytes = 1024 * c->machine.cost[PRN_COST_near][0];
  double most = bytes / (double)(vectors * lanes(c) * 4);
  return most < 96 ? 64 : most < 128 ? 96 : most < 256 ? 128 : 256;
}

static const double shares[] = {0.15, 0.5, 0.8, 0.95, 0.98};

/* Rows that share what they read tell a step from a read. Where there are few
 * entries, products tell less than convolutions, whose x is made near. */
static prn_status find_srt(calibration *c) {
  enum { GROUP = PRN_SRT_MAX_GROUP };
  int64_t most = prn_srt_vectors(GROUP, c->machine.registers);
  for (int64_t v = 1; v <= most; v++) {
    family f = {0};
    int64_t depth = near_depth(c, v);
    add_cost(&f, PRN_COST_srt_step, v);
    add_cost(&f, PRN_COST_srt_read, v);
    add_cost(&f, PRN_COST_srt_record, v);
    for (size_t i = 0; i < PRN_COUNT(shares); i++)
      for (int64_t block = 1; block <= GROUP; block += GROUP - 1) {
        prn_product_zeros z = {.zeros = shares[i], .block = block};
        add_probe(&f, window_probe(c, v, depth, z));
        if (i < 2) add_probe(&f, sparse_probe(c, "srt", GROUP, v, depth, z));
      }
    PRN_TRY(find(c, &f));
  }
  repeat(c, PRN_COST_srt_step, most);
  repeat(c, PRN_COST_srt_read, most);
  repeat(c, PRN_COST_srt_record, most);
  return PRN_OK;
}

/* x that is not in the second cache. */
static prn_status find_fetch(calibration *c) {
  enum { GROUP = PRN_SRT_MAX_GROUP, TIMES = 4 };
  double second = 1024 * c->machine.cost[PRN_COST_near][1];
  int64_t most = prn_srt_vectors(GROUP, c->machine.registers);
  family f = {0};
  add_cost(&f, PRN_COST_fetch_far, 1);
  for (int64_t v = 2; v <= most && v <= 4; v++)
    for (double keep = 0.08; keep > 0.01; keep /= 4) {
      prn_product_zeros z = {.zeros = 1 - keep};
      probe p =
          sparse_probe(c, "srt", GROUP, v,
                       near_depth(c, v) > 128 ? 256 : 2 * near_depth(c, v), z);
      int64_t tile = v * lanes(c), all = (int64_t)(TIMES * second / (4 * 768));
      p.product.m = all / tile * tile;
      add_probe(&f, p);
    }
  return find(c, &f);
}

/* x of deep panels, which is not all near. With narrow vectors all panels are
 * near. */
static prn_status find_far(calibration *c) {
  enum { GROUP = PRN_SRT_MAX_GROUP };
  int64_t most = prn_srt_vectors(GROUP, c->machine.registers);
  family f = {0};
  if (near_depth(c, most) > PRN_SRT_NUMBERED / 2) return PRN_OK;
  add_cost(&f, PRN_COST_srt_far, 1);
  for (int64_t v = most / 2 + 1; v <= most; v++)
    for (size_t i = 0; i < PRN_COUNT(shares); i++)
      add_probe(&f, sparse_probe(c, "srt", GROUP, v, PRN_SRT_NUMBERED,
                                 (prn_product_zeros){.zeros = shares[i]}));
  return find(c, &f);
}

/* In panels that are near, and in one. */
static prn_status find_blocks_of(calibration *c, prn_cost step, prn_cost record,
                                 int64_t group, int64_t vectors, bool far) {
  family f = {0};
  add_cost(&f, step, vectors);
  add_cost(&f, record, vectors);
  if (far) add_cost(&f, PRN_COST_blocks_far, 1);
  for (size_t i = 0; i < PRN_COUNT(shares); i++) {
    prn_product_zeros z = {.zeros = shares[i], .block = group};
    int64_t depth = near_depth(c, vectors);
    add_probe(&f, sparse_probe(c, "blocks", group, vectors, depth, z));
    add_probe(&f, sparse_probe(c, "blocks", group, vectors, 768, z));
  }
  return find(c, &f);
}

static prn_status find_blocks(calibration *c, prn_cost step, prn_cost record,
                              int64_t group) {
  int64_t most = prn_srt_vectors(group, c->machine.registers);
  bool first = group == 4;
  for (int64_t v = most; v >= 1; v--)
    PRN_TRY(find_blocks_of(c, step, record, group, v, first && v == most));
  repeat(c, step, most);
  repeat(c, record, most);
  return PRN_OK;
}

static prn_status find_cells(calibration *c, prn_cost row, prn_product_spec p) {
  family f = {0};
  int64_t v = prn_srt_vectors(PRN_SRT_MAX_GROUP, c->machine.registers) / 2;
  probe q = sparse_probe(c, "srt", PRN_SRT_MAX_GROUP, v, 64, p.zeros);
  q.product.dtype = p.dtype;
  q.product.precision = p.precision;
  add_cost(&f, row, 1);
  add_probe(&f, q);
  return find(c, &f);
}

/* ---- few rows, memory ---- */

static void add_few(family *f, const char *format, int64_t m, double zeros,
                    int64_t block) {
  prn_product_spec p = {.m = m,
                        .n = 256,
                        .k = 512,
                        .zeros = {.zeros = zeros, .block = block},
                        .dtype = PRN_F32};
  add_probe(f, (probe){p, {.format = format, .group = block}});
}

static prn_status find_few(calibration *c, prn_cost row, const char *format,
                           double zeros) {
  family f = {0};
  for (int v = 1; v <= prn_costs[row].values; v++)
    add_cost(&f, row, v);
  for (int64_t m = 1; m <= 16; m *= 4) {
    add_few(&f, format, m, zeros, 0);
    if (zeros > 0) add_few(&f, format, m, (1 + zeros) / 2, 0);
  }
  return find(c, &f);
}

static prn_status find_columns(calibration *c) {
  family f = {0};
  add_cost(&f, PRN_COST_columns, 1);
  add_cost(&f, PRN_COST_columns, 2);
  for (int64_t block = 4; block <= 16; block *= 2)
    for (int64_t m = 1; m <= 16; m *= 4)
      add_few(&f, "columns", m, 0.7, block);
  return find(c, &f);
}

static prn_status find_memory(calibration *c) {
  family f = {.spread = PRN_MEASURE_FAR, .alone = true};
  prn_product_spec p = {.m = 1, .n = 1024, .k = 2048, .dtype = PRN_F32};
  add_cost(&f, PRN_COST_byte, 1);
  add_probe(&f, (probe){p, {.format = "panels"}});
  PRN_TRY(find(c, &f));
  f = (family){.copies = true, .alone = true};
  p.m = 8;
  p.k = 1024;
  add_cost(&f, PRN_COST_turn, 1);
  add_probe(&f, (probe){p, {.format = "rows"}});
  return find(c, &f);
}

/* ---- all of them ---- */

static prn_status find_all(calibration *c) {
  bool pairs = c->machine.dot16;
  long near = sysconf(_SC_LEVEL1_DCACHE_SIZE),
       second = sysconf(_SC_LEVEL2_CACHE_SIZE);
  /* Weights and sums pass through it, too. */
  c->machine.cost[PRN_COST_near][0] =
      floor((near > 0 ? (double)near : 32 << 10) * 2 / 3 / 1024);
  c->machine.cost[PRN_COST_near][1] =
      (second > 0 ? (double)second : 512 << 10) / 1024;
  PRN_TRY(find_rows(c));
  PRN_TRY(find_narrow(c, PRN_COST_widened, "rows2",
                      pairs_of(pairs ? "f16" : "bf16", 0), !pairs));
  memcpy(c->machine.cost[PRN_COST_rows2], c->machine.cost[PRN_COST_widened],
         sizeof c->machine.cost[0]);
  if (pairs)
    PRN_TRY(find_narrow(c, PRN_COST_rows2, "rows2", pairs_of("bf16", 0), true));
  PRN_TRY(find_narrow(c, PRN_COST_rows4, "rows4", bytes_of(0), !pairs));
  PRN_TRY(find_conv(c));
  PRN_TRY(find_winograd(c, 2));
  PRN_TRY(find_winograd(c, 4));
  PRN_TRY(find_srt(c));
  PRN_TRY(find_fetch(c));
  PRN_TRY(find_far(c));
  PRN_TRY(find_blocks(c, PRN_COST_blocks4_step, PRN_COST_blocks4_record, 4));
  PRN_TRY(find_blocks(c, PRN_COST_blocks8_step, PRN_COST_blocks8_record, 8));
  PRN_TRY(find_blocks(c, PRN_COST_blocks16_step, PRN_COST_blocks16_record, 16));
  c->machine.cost[PRN_COST_cells2][0] = 1;
  if (pairs) PRN_TRY(find_cells(c, PRN_COST_cells2, pairs_of("bf16", 0.9)));
  PRN_TRY(find_cells(c, PRN_COST_cells4, bytes_of(0.9)));
  PRN_TRY(find_few(c, PRN_COST_panels, "panels", 0));
  PRN_TRY(find_few(c, PRN_COST_bitmask, "bitmask", 0.7));
  PRN_TRY(find_few(c, PRN_COST_gather, "gather", 0.9));
  PRN_TRY(find_columns(c));
  return find_memory(c);
}

static void print(const calibration *c, prn_strbuf *out) {
  prn_strbuf_fmt(
      out,
      "# Made by prune-run --calibrate-target. A slot took %.3f ns.\n"
      "machine=%s\n",
      c->slot_ns, c->machine.name);
  prn_machine_print(&c->machine, "\n", out);
  prn_strbuf_char(out, '\n');
}

prn_status prn_calibrate(prn_diag_sink *sink, const prn_target_spec *target,
                         double seconds, prn_strbuf *out) {
  prn_tile tile;
  calibration c = {
      .sink = sink, .target = target, .seconds = seconds / FAMILIES};
  PRN_TRY(prn_compile_check_host(sink, target, NULL));
  PRN_TRY(prn_compile_tile(sink, target, &tile));
  (void)prn_machine_find(prn_str_from(tile.machine), &c.machine);
  memset(c.machine.cost, 0, sizeof c.machine.cost);
  c.machine.dot16 = tile.dot16;
  c.machine.dot8 = tile.dot8;
  prn_progress_begin(&c.progress, FAMILIES);
  prn_status s = find_all(&c);
  prn_progress_end(&c.progress);
  if (s == PRN_OK) print(&c, out);
  return s;
}
