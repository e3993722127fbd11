// The kernel of the model in add_host.c, as the compiler would write it.
#define PMK_POINTERS 3
#define PMK_SYMBOLS 1
#include "pmk.h"

PMK_KERNEL(add_k0, 128) {
  int64_t i = (int64_t)PMK_BX * PMK_THREADS + PMK_TID;
  if (i >= a.s[0]) return;
  pmk_put((float *)a.p[2] + i,
          pmk_get((const float *)a.p[0] + i) +
              pmk_get((const float *)a.p[1] + i % 4));
}
