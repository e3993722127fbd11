/* How good nn-plan's choices are on this machine: every format that could be
 * chosen is measured, and the one that was is compared with the fastest and
 * with the dense one.
 *
 *   prn-bench-plan [--march=CPU] [--target-table=FILE] [--seconds=S] [--all]
 *                  [--precision=TYPE] [N K WINDOW M ZEROS]...
 *
 * ZEROS: a share (0.9), BLOCKx1 of a share (4x1:0.9), or KEEP:OF (2:4). With a
 * window, M is the pixels of a square image and K its channels. Without
 * products: a grid of them. --all prints every format; --seconds is for each.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tools/product.h"
#include "tools/tune.h"

typedef struct bench {
  prn_target_spec target;
  prn_machine machine;
  const char *precision;
  double seconds;
  bool all;
  double *regret, *dense;
  size_t n, cap;
} bench;

static void check(prn_status s) {
  if (s != PRN_OK) exit(1);
}

static bool parse_zeros(const char *text, prn_product_zeros *out) {
  long a, b;
  double share;
  int used = 0;
  *out = (prn_product_zeros){0};
  if (sscanf(text, "%ldx1:%lf%n", &a, &share, &used) == 2 && !text[used]) {
    out->block = a;
    out->zeros = share;
    return true;
  }
  used = 0;
  if (sscanf(text, "%ld:%ld%n", &a, &b, &used) == 2 && !text[used]) {
    out->keep = a;
    out->of = b;
    return true;
  }
  return sscanf(text, "%lf%n", &out->zeros, &used) == 1 && !text[used];
}

static bool same(const prn_plan_choice *a, const prn_plan_choice *b) {
  return strcmp(a->format, b->format) == 0 && a->group == b->group &&
         a->depth == b->depth && a->vectors == b->vectors &&
         a->tile == b->tile && a->wide == b->wide;
}

static void name_of(const prn_plan_choice *c, char out[48]) {
  if (c->depth)
    (void)snprintf(out, 48, "%s %ld, %ldv, %ld deep%s", c->format,
                   (long)c->group, (long)c->vectors, (long)c->depth,
                   c->wide ? ", f32" : "");
  else
    (void)snprintf(out, 48, "%s%.0ld", c->format, (long)(c->group + c->tile));
}

static void report(bench *b, const char *what, const prn_plan_choice *all,
                   const double *ns, int n) {
  int best = 0, dense = 0;
  char chosen[48], fastest[48], name[48];
  const prn_plan_choice *d = prn_plan_dense(all, n);
  for (int i = 0; i < n; i++) {
    if (ns[i] < ns[best]) best = i;
    if (same(&all[i], d)) dense = i;
  }
  double first = ns[0], least = ns[best], plain = ns[dense];
  double unit = plain / all[dense].cost;
  name_of(&all[0], chosen);
  name_of(&all[best], fastest);
  if (b->n == b->cap) {
    b->cap = b->cap ? 2 * b->cap : 64;
    b->regret = prn_realloc(b->regret, b->cap * sizeof *b->regret);
    b->dense = prn_realloc(b->dense, b->cap * sizeof *b->dense);
  }
  b->regret[b->n] = first / least;
  b->dense[b->n++] = first / plain;
  printf("%-34s %-24s %9.1f us %5.3f of best (%s), %.3f of dense\n", what,
         chosen, first / 1e3, first / least, fastest, first / plain);
  for (int i = 0; b->all && i < n; i++) {
    name_of(&all[i], name);
    printf("    %-24s %9.1f us, estimated %9.1f: %.2f\n", name, ns[i] / 1e3,
           all[i].cost * unit / 1e3, all[i].cost * unit / ns[i]);
  }
  (void)fflush(stdout);
}

static void one(bench *b, const char *what, const prn_product_spec *s) {
  prn_ctx *ctx = prn_ctx_create();
  prn_op *op = prn_product_make(ctx, s);
  prn_plan_product p;
  prn_plan_choice all[PRN_PLAN_MAX];
  double ns[PRN_PLAN_MAX];
  if (!prn_plan_product_of(op, 0, &p)) exit(1);
  int n = prn_plan(&b->machine, &p, all);
  check(prn_tune_measure(op, &p, &b->target, all, n, b->seconds * n, ns));
  report(b, what, all, ns, n);
  prn_module_destroy(op->module);
  prn_ctx_destroy(ctx);
}

static void product(bench *b, int64_t n, int64_t k, int64_t window, int64_t m,
                    const char *zeros) {
  char what[64];
  prn_product_spec s = {
      .m = m, .n = n, .k = k, .dtype = PRN_F32, .precision = b->precision};
  if (window) {
    s.window = window;
    s.width = (int64_t)lround(sqrt((double)m));
    s.height = (m + s.width - 1) / s.width;
  }
  if (!parse_zeros(zeros, &s.zeros)) exit(2);
  (void)snprintf(what, sizeof what, "%ldx%ld%s m=%ld zeros=%s", (long)n,
                 (long)k, window ? " 3x3" : "", (long)m, zeros);
  one(b, what, &s);
}

static void grid(bench *b) {
  static const struct {
    int64_t n, k, window;
  } shapes[] = {{768, 768, 0}, {3072, 768, 0}, {768, 3072, 0},
                {384, 384, 0}, {64, 64, 3},    {256, 256, 3}};
  static const int64_t columns[] = {1, 4, 16, 64, 128, 196, 784, 3136};
  static const char *const zeros[] = {
      "0",   "0.3",  "0.4",  "0.5", "0.6",     "0.7",    "0.8",
      "0.9", "0.95", "0.98", "2:4", "4x1:0.7", "4x1:0.9"};
  for (size_t i = 0; i < PRN_COUNT(shapes); i++)
    for (size_t m = 0; m < PRN_COUNT(columns); m++)
      for (size_t z = 0; z < PRN_COUNT(zeros); z++)
        product(b, shapes[i].n, shapes[i].k, shapes[i].window, columns[m],
                zeros[z]);
}

static int by_value(const void *a, const void *b) {
  double x = *(const double *)a, y = *(const double *)b;
  return x < y ? -1 : x > y;
}

static void summary(bench *b) {
  qsort(b->regret, b->n, sizeof *b->regret, by_value);
  qsort(b->dense, b->n, sizeof *b->dense, by_value);
  printf("%zu products, over the best: median %.3f, 90 %% %.3f, 99 %% %.3f, "
         "worst %.3f; worst over dense %.3f\n",
         b->n, b->regret[b->n / 2], b->regret[b->n * 9 / 10],
         b->regret[b->n * 99 / 100], b->regret[b->n - 1], b->dense[b->n - 1]);
}

static void find_machine(bench *b, prn_diag_sink *sink, const char *table) {
  prn_tile tile;
  const char *why;
  prn_file *file;
  prn_str at;
  check(prn_compile_tile(sink, &b->target, &tile));
  if (!prn_machine_find(prn_str_from(tile.machine), &b->machine)) exit(1);
  b->machine.dot16 = tile.dot16;
  b->machine.dot8 = tile.dot8;
  if (!table) return;
  check(prn_file_open(sink, table, &file));
  if (!prn_machine_costs(&b->machine, prn_file_bytes(file), &why, &at)) exit(2);
  prn_file_release(file);
}

int main(int argc, char **argv) {
  bench b = {.seconds = 0.05};
  prn_diag_sink sink = {0};
  const char *table = NULL;
  int i = 1;
  for (; i < argc && argv[i][0] == '-'; i++)
    if (strncmp(argv[i], "--march=", 8) == 0)
      b.target.march = argv[i] + 8;
    else if (strncmp(argv[i], "--target-table=", 15) == 0)
      table = argv[i] + 15;
    else if (strncmp(argv[i], "--precision=", 12) == 0)
      b.precision = argv[i] + 12;
    else if (strncmp(argv[i], "--seconds=", 10) == 0)
      b.seconds = strtod(argv[i] + 10, NULL);
    else
      b.all = true;
  find_machine(&b, &sink, table);
  if (i == argc) grid(&b);
  for (; i + 5 <= argc; i += 5)
    product(&b, strtoll(argv[i], NULL, 10), strtoll(argv[i + 1], NULL, 10),
            strtoll(argv[i + 2], NULL, 10), strtoll(argv[i + 3], NULL, 10),
            argv[i + 4]);
  if (b.n) summary(&b);
  return 0;
}
