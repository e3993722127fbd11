/* Stages of shared memory in a ring: while a block multiplies one, the next
 * ones are being copied. */
#ifndef PRUNE_PIPE_H
#define PRUNE_PIPE_H

#include "pmk.h"

/* For step 0 .. steps-1: load(stage, step), by pmk_cp16 and plain stores, and
 * STAGES - 1 steps later use(stage, step). All threads of the block come here;
 * nobody reads the stages afterwards before a barrier, which is here. */
template <int STAGES, int SIZE, class L, class U>
PMK_DEV void pmk_pipe(int steps, L load, U use) {
  auto stage = [](int step) {
    return pmk_smem() + (int)(step % STAGES) * SIZE;
  };
  for (int s = 0; s < STAGES - 1; s++) {
    if (s < steps) load(stage(s), s);
    pmk_cp_commit();
  }
  for (int s = 0; s < steps; s++) {
    pmk_cp_wait<STAGES - 2>();
    pmk_sync(); /* all have copied step s, and used step s - 1 */
    int next = s + STAGES - 1;
    if (next < steps) load(stage(next), next);
    pmk_cp_commit();
    use((const unsigned char *)stage(s), s);
  }
  pmk_sync();
}

#endif
