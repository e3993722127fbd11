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
