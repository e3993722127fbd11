#include "passes/solve/lapack.h"

#include <dlfcn.h>
#include <string.h>

static const char library[] = "liblapack.so.3";

/* Object pointers become function pointers by their bytes. */
static bool find(void *lib, const char *name, void *out) {
  void *p = dlsym(lib, name);
  memcpy(out, &p, sizeof p);
  return p != NULL;
}

const prn_lapack *prn_lapack_open(prn_diag_sink *sink) {
  static prn_lapack found;
  static bool open;
  void (*threads)(int n) = NULL;
  if (open) return &found;
  void *lib = dlopen(library, RTLD_NOW | RTLD_LOCAL);
  open = lib && find(lib, "dpotrf_", &found.dpotrf) &&
         find(lib, "dpotrs_", &found.dpotrs) &&
         find(lib, "dpotri_", &found.dpotri) &&
         find(lib, "dgemm_", &found.dgemm) &&
         find(lib, "sgemm_", &found.sgemm) &&
         find(lib, "dgemv_", &found.dgemv) && find(lib, "dger_", &found.dger) &&
         find(lib, "dtrsm_", &found.dtrsm) && find(lib, "strsm_", &found.strsm);
  if (!open) {
    (void)prn_diag_emit(sink, PRN_ERROR, (prn_loc){0}, PRN_STR(""),
                        "%s is needed (Debian: libopenblas0)", library);
    return NULL;
  }
  /* OpenBLAS is behind it, where it is installed. */
  if (find(lib, "openblas_set_num_threads", &threads)) threads(1);
  return &found;
}

bool prn_lapack_factor(const prn_lapack *l, const double *c, int64_t n,
                       const int64_t *at, int64_t size, double mean,
                       double *damping, double *a) {
  int order = (int)size, info = 1;
  for (int tries = 0; info && tries < 12; tries++) {
    if (tries) *damping = *damping > 0 ? 10 * *damping : 1e-8;
    for (int64_t i = 0; i < size; i++)
      for (int64_t j = 0; j < size; j++)
        a[i * size + j] = c[(at ? at[i] : i) * n + (at ? at[j] : j)] +
                          (i == j ? *damping * mean : 0);
    l->dpotrf("L", &order, a, &order, &info);
  }
  return info == 0;
}
