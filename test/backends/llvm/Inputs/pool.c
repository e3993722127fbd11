/* The model mlp on threads of prune_pool.h: the same bits as without. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "prune_pool.h"

#include "mlp.h"

enum { ROWS = 200000 };
static float x[ROWS][3], y[2][ROWS][2];
static prune_pool pool;

static int run(int64_t workers, float out[ROWS][2]) {
  const prune_model *m = mlp_model();
  int64_t in_dims[2] = {ROWS, 3}, out_dims[2];
  prune_tensor in = {x, sizeof x, in_dims},
               result = {out, sizeof y[0], out_dims};
  prune_call call = {.inputs = &in,
                     .outputs = &result,
                     .weights = m->weights,
                     .workers = workers};
  if (workers > 1) {
    call.parallel_for = prune_pool_for;
    call.pool = &pool;
  }
  if (m->plan(&call, &call.arena_size) != PRUNE_OK) return 1;
  call.arena = aligned_alloc(64, (call.arena_size + 64) / 64 * 64);
  int status = m->run(&call);
  free(call.arena);
  return status;
}

int main(void) {
  for (int i = 0; i < ROWS; i++)
    for (int k = 0; k < 3; k++)
      x[i][k] = (float)((i * 7 + k * 3) % 11) - 5;
  if (prune_pool_start(&pool, 3) != 0) return 1;
  int status = run(1, y[0]) + run(3, y[1]) + run(3, y[1]);
  prune_pool_stop(&pool);
  printf("status %d, %s\n", status,
         memcmp(y[0], y[1], sizeof y[0]) ? "other bits" : "the same bits");
  return 0;
}
