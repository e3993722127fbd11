/* Calls the model mlp through its header: sizes, statuses, a caller's own
 * parallel_for. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "mlp.h"

static void backwards(void *pool, prune_task *fn, void *arg, int64_t count) {
  ++*(int *)pool;
  for (int64_t i = count; i-- > 0;)
    fn(arg, i, i + 1, i % 2);
}

int main(void) {
  const prune_model *m = mlp_model();
  float x[2][3] = {{1, 2, 3}, {4, 5, -6}}, y[2][2] = {{0}};
  int64_t in_dims[2] = {2, 3}, out_dims[2] = {-1, -1};
  int used = 0;
  size_t need = 0;
  prune_tensor in = {x, sizeof x, in_dims}, out = {y, sizeof y, out_dims};
  prune_call call = {.inputs = &in,
                     .outputs = &out,
                     .weights = m->weights,
                     .workers = 2,
                     .parallel_for = backwards,
                     .pool = &used};
  printf("abi %u, %u in, %u out, %s: type %d rank %d dims %lld(%s) %lld\n",
         m->abi, m->num_inputs, m->num_outputs, m->inputs[0].name,
         m->inputs[0].type, m->inputs[0].rank, (long long)m->inputs[0].dims[0],
         m->inputs[0].dim_names[0], (long long)m->inputs[0].dims[1]);
  int status = m->plan(&call, &need);
  printf("plan %d: %lld x %lld\n", status, (long long)out_dims[0],
         (long long)out_dims[1]);
  call.arena_size = need;
  call.arena = aligned_alloc(64, need + 64);
  status = m->run(&call);
  printf("run %d: %g %g %g %g\n", status, y[0][0], y[0][1], y[1][0], y[1][1]);
  in_dims[1] = 4;
  printf("wrong dims: %d\n", m->run(&call));
  in_dims[1] = 3;
  in_dims[0] = -2;
  printf("negative dims: %d\n", m->run(&call));
  in_dims[0] = INT64_C(1) << 62;
  printf("huge dims: %d\n", m->plan(&call, &need));
  in_dims[0] = 2;
  out.size = 15;
  printf("small output: %d\n", m->run(&call));
  out.size = 16;
  call.arena_size = need ? need - 1 : 0;
  if (need) printf("small arena: %d\n", m->run(&call));
  call.arena_size = need;
  out.data = NULL;
  printf("no output: %d\n", m->run(&call));
  out.data = y;
  call.weights = NULL;
  printf("no weights: %d\n", m->run(&call));
  in.dims = NULL;
  printf("no dims: %d\n", m->run(&call));
  in_dims[0] = 0;
  in.dims = in_dims;
  in.data = NULL;
  call.weights = m->weights;
  printf("no rows: %d\n", m->run(&call));
  free(call.arena);
  return 0;
}
