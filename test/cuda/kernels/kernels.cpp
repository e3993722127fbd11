/* The templates of kernels, run in the emulator and held against sums in
 * double precision: shapes that are multiples of nothing, rows that begin
 * anywhere, empty rows and blocks and negative zeros, results that were NaN
 * before, three orders of threads, grids that are too small for the rows.
 *
 *   kernels           every kernel
 *   kernels mistakes  every mistake of pmk_mistake must be noticed */
#include "test/cuda/kernels/attention.h"
#include "test/cuda/kernels/conversions.h"
#include "test/cuda/kernels/products.h"

int main(int argc, char **argv) {
  tally t = {};
  if (argc > 1 && strcmp(argv[1], "mistakes") == 0) {
    mistakes m(t);
    mistakes_of_products(m);
    mistakes_of_attention(m);
    m.barriers_of_all();
  } else {
    all_conversions(t);
    all_products(t);
    all_attention(t);
  }
  printf("%d passed, %d failed\n", t.passed, t.failed);
  return t.failed != 0;
}
