/* The benchmark of the CUDA backend; test/bench/cuda.sh runs it.
 *
 *   prune-bench-cuda check|machine|table [options]
 *     -s        small: what an emulator can do
 *     -t TYPE   f16 or bf16 alone
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
static const int64_t check_shapes[][2] = {{1040, 1088}, {1003, 1001}, {0, 0}},
                     small_check_shapes[][2] = {{80, 192}, {0, 0}},
                     /* the linear layers of Llama-3-8B */
    table_shapes[][2] = {{6144, 4096},
                         {4096, 4096},
                         {28672, 4096},
                         {4096, 14336},
                         {0, 0}},
                     small_table_shapes[][2] = {{64, 128}, {0, 0}};

static const part parts[] = {
    {"check", bench_check, check_rows, few, check_shapes, small_check_shapes},
    {"machine", bench_machine, library_rows, small_library_rows, NULL, NULL},
    {"table", bench_table, table_rows, small_table_rows, table_shapes,
     small_table_shapes}};

static const part *find_part(const char *name) {
  for (size_t i = 0; i < sizeof parts / sizeof *parts; i++)
    if (strcmp(parts[i].name, name) == 0) return &parts[i];
  bench_fail("no part is called '%s'", name);
}

int main(int argc, char **argv) {
  bench_options o = {.warm = 10,
                     .runs = 31,
                     .seconds = 500,
                     .working_set = INT64_C(512) << 20,
                     .ceiling = 8192};
  if (argc < 2) bench_fail("usage: prune-bench-cuda check|machine|table");
  const part *p = find_part(argv[1]);
  bool small = false;
  for (int i = 2; i < argc; i++) {
    const char *a = argv[i], *value = i + 1 < argc ? argv[i + 1] : "";
    if (strcmp(a, "-s") == 0)
      small = true;
    else if (strcmp(a, "-w") == 0)
      o.wrong = true;
    else if (strcmp(a, "-t") == 0)
      o.type = strcmp(value, "bf16") == 0 ? BF16 : F16, i++;
    else if (strcmp(a, "-l") == 0)
      o.seconds = strtod(value, NULL), i++;
    else if (strcmp(a, "-o") == 0)
      o.transcript = value, i++;
    else
      bench_fail("no option is called '%s'", a);
  }
  o.rows = small ? p->small_rows : p->rows;
  o.shapes = small ? p->small_shapes : p->shapes;
  if (small) {
    o.warm = 1;
    o.runs = 2;
    o.working_set = 4096;
    o.ceiling = 64;
  }
  dev_open();
  return p->run(&o);
}
