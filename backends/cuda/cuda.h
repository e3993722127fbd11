/* The CUDA backend: a module in the mem dialect as C and CUDA C, for a GPU that
 * need not be there.
 *
 * What is written is a folder: kernels (NAME_kernels.cu, and the headers it
 * includes), tables and entry points in C11 (NAME_host.c, NAME.h, and the
 * runtime they are for, prune_cuda.c), weights in the formats of their kernels
 * (NAME.blob), what was decided (NAME_plan.json), and how to build it
 * (CMakeLists.txt, Makefile). docs/cuda.md says how to use it. */
#ifndef PRN_BACKENDS_CUDA_CUDA_H
#define PRN_BACKENDS_CUDA_CUDA_H

#include "ir/op.h"

/* Both report, at its operation, everything that cannot be compiled for a GPU.
 * m holds one mem.func, planned (plan-memory), lowered with rows as its layout.
 * prefix is a C identifier; everything that is exported begins with it. */

/* Writes the kernels' text to a file. */
PRN_NODISCARD prn_status prn_cuda_write_kernels(prn_module *m,
                                                const char *prefix,
                                                const char *path);
/* Writes all files into the folder dir, which is made when it is not there.
 * Files of these names are replaced, all or none. */
PRN_NODISCARD prn_status prn_cuda_write(prn_module *m, const char *prefix,
                                        const char *dir);

#endif
