/* Compiling the kernels of a program that was written (cuda.h), where there is
 * a compiler for CUDA; no GPU is needed. */
#ifndef PRN_BACKENDS_CUDA_COMPILE_H
#define PRN_BACKENDS_CUDA_COMPILE_H

#include "ir/support/diag.h"
#include "ir/support/str.h"

/* Compiles dir/NAME_kernels.cu: by nvcc, which is looked for in CUDA_HOME,
 * CUDA_PATH and PATH, to NAME_kernels.fatbin; else by NVRTC, if libnvrtc is
 * there, to code for one device each, which NAME_images.inc lists. Where
 * neither is found it is left to the folder's CMakeLists.txt, which is no
 * error. *how says in a few words what was done; it is the caller's. */
PRN_NODISCARD prn_status prn_cuda_compile(prn_diag_sink *sink, const char *dir,
                                          const char *name, prn_strbuf *how);

/* Removes what was compiled of kernels that are no more. */
void prn_cuda_discard(const char *dir, const char *name);

/* What nvcc and NVRTC have in common. */
typedef struct prn_cu_arch {
  const char *virtual_arch, *real_arch; /* "compute_90a", "sm_90a" */
  int capability;                       /* 90 */
} prn_cu_arch;
enum { PRN_CU_ARCHS = 3 };
extern const prn_cu_arch prn_cu_archs[PRN_CU_ARCHS];

/* Returns false, with nothing reported, where there is no libnvrtc. */
bool prn_cu_nvrtc(prn_diag_sink *sink, const char *dir, const char *name,
                  prn_status *out, prn_strbuf *how);

#endif
