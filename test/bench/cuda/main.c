/* The benchmark of the CUDA backend; test/bench/cuda.sh runs it.
 *
 *   prune-bench-cuda ways|check|machine|table [options]
 *     -s        small: what an emulator can do
 *     -t TYPE   f16 or bf16 alone
 *     -f FORMAT  nk, nm24, bitmap or bsr alone (check, table)
 *     -k WAY    this alone, and no library beside it (check, table)
 *     -x WAY    not this; may be repeated (check, table)
 *     -l SECONDS  begins no other product after so many (table)
 *     -o FILE   a transcript of what libraries are asked (machine)
 *     -w        expects what is wrong, and has to fail (check)
 *
 * Lines of JSON go to standard output. */
#include <stdlib.h>
#include <string.h>

#include "test/bench/cuda/bench.h"

typedef struct part {
  const char *name;
  int (*run)(const bench_options *o);
  const int64_t *rows, *small_rows;
  const int64_t (*shapes)[2], (*small_shapes)[2];
} part;

static const int64_t few[] = {1, 16, 33, 0},
                     check_rows[] = {1, 7, 16, 128, 2048, 0},
                     table_rows[] = {1, 16, 64, 128, 512, 2048, 0},
                     small_table_rows[] = {1, 16, 0},
                     library_rows[] = {7, 16, 128, 2048, 0},
                     small_library_rows[] = {7, 16, 0};
/* n by k. One that libraries take too, and one that ends inside of tiles and
 * whose rows are not aligned. */
static const int64_t check_shapes[][2] = {{1088, 1088}, {1003, 1001}, {0, 0}},
                     small_check_shapes[][2] = {{128, 192}, {0, 0}},
                     /* the linear layers of Llama-3-8B */
    table_shapes[][2] = {{6144, 4096},
                         {4096, 4096},
                         {28672, 4096},
                         {4096, 14336},
                         {0, 0}},
                     small_table_shapes[][2] = {{64, 128}, {0, 0}};

static const part parts[] = {
    {"ways", bench_ways, NULL, NULL, NULL, NULL},
    {"check", bench_check, check_rows, few, check_shapes, small_check_shapes},
    {"machine", bench_machine, library_rows, small_library_rows, NULL, NULL},
    {"table", bench_table, table_rows, small_table_rows, table_shapes,
     small_table_shapes}};

static const part *find_part(const char *name) {
  for (size_t i = 0; i < sizeof parts / sizeof *parts; i++)
    if (strcmp(parts[i].name, name) == 0) return &parts[i];
  bench_fail("no part is called '%s'", name);
}

bool bench_wants(const bench_options *o, const char *name) {
  if (o->only && strcmp(o->only, name) != 0) return false;
  for (int i = 0; i < MAX_EXCEPT && o->except[i]; i++)
    if (strcmp(o->except[i], name) == 0) return false;
  return true;
}

int bench_ways(const bench_options *o) {
  (void)o;
#define WAY(name, format, arch) (void)puts(#format " " #name);
#include "test/bench/cuda/ways.def"
#undef WAY
  printf("nk %s\nnm24 %s\nbsr %s\n", bench_way_name(WAY_CUBLASLT),
         bench_way_name(WAY_CUSPARSELT), bench_way_name(WAY_CUSPARSE));
  return 0;
}

/* A name that bench_wants is asked for. */
static const char *known_way(const char *name) {
  static const char *const peers[] = {"cuBLASLt", "cuSPARSELt"};
  for (int w = 0; w < NUM_WAYS; w++)
    if (strcmp(bench_way_name(w), name) == 0) return name;
  for (int i = 0; i < 2; i++)
    if (strcmp(peers[i], name) == 0) return name;
  bench_fail("no way is called '%s'", name);
}

/* One of `names`, which ends with NULL. */
static int choose(const char *name, const char *const *names) {
  for (int i = 0; names[i]; i++)
    if (strcmp(names[i], name) == 0) return i;
  bench_fail("'%s' is neither type nor format here", name);
}

static void except(bench_options *o, const char *name) {
  int i = 0;
  while (i < MAX_EXCEPT && o->except[i])
    i++;
  if (i == MAX_EXCEPT) bench_fail("-x is given too often");
  o->except[i] = name;
}

/* An option with a value. */
static void set_option(bench_options *o, char option, const char *value) {
  static const char *const types[] = {"f16", "bf16", NULL};
  static const char *const formats[] = {"nk", "nm24", "bitmap", "bsr", NULL};
  switch (option) {
  case 't':
    o->type = choose(value, types) ? BF16 : F16;
    break;
  case 'f':
    o->format = formats[choose(value, formats)];
    break;
  case 'k':
    o->only = known_way(value);
    break;
  case 'x':
    except(o, known_way(value));
    break;
  case 'l':
    o->seconds = strtod(value, NULL);
    break;
  case 'o':
    o->transcript = value;
    break;
  default:
    bench_fail("no option is called '-%c'", option);
  }
}

static bool read_options(bench_options *o, int argc, char **argv) {
  bool small = false;
  for (int i = 2; i < argc; i++) {
    const char *a = argv[i];
    if (strcmp(a, "-s") == 0)
      small = true;
    else if (strcmp(a, "-w") == 0)
      o->wrong = true;
    else if (a[0] == '-' && a[1] && !a[2] && i + 1 < argc)
      set_option(o, a[1], argv[++i]);
    else
      bench_fail("'%s' is no option, or has no value", a);
  }
  return small;
}

int main(int argc, char **argv) {
  bench_options o = {.warm = 10,
                     .runs = 31,
                     .seconds = 500,
                     .working_set = INT64_C(512) << 20,
                     .ceiling = 8192};
  if (argc < 2) bench_fail("usage: prune-bench-cuda ways|check|machine|table");
  const part *p = find_part(argv[1]);
  bool small = read_options(&o, argc, argv);
  o.rows = small ? p->small_rows : p->rows;
  o.shapes = small ? p->small_shapes : p->shapes;
  if (small) {
    o.warm = 1;
    o.runs = 2;
    o.working_set = 4096;
    o.ceiling = 64;
  }
  /* Rows are there when the process is ended. */
  (void)setvbuf(stdout, NULL, _IOLBF, 0);
  if (p->run != bench_ways) dev_open();
  return p->run(&o);
}
