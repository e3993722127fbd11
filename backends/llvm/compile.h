/* The LLVM backend: a module in the mem dialect as native code, for files or
 * for this process.
 *
 *   prn_compile_options o = {.target = {.march = "x86-64-v3"},
 *                            .prefix = "model"};
 *   prn_tile tile;
 *   prn_compile_tile(sink, &o.target, &tile);
 *   ... lower with this tile's nr and mr, plan memory ...
 *   prn_compile_file(m, &o, PRN_ARTEFACT_SO, "libmodel.so");
 *
 * What runs in this process and what is written to files is the same code,
 * called through the same interface (backends/llvm/abi.h). */
#ifndef PRN_BACKENDS_LLVM_COMPILE_H
#define PRN_BACKENDS_LLVM_COMPILE_H

#include "backends/llvm/abi.h"
#include "backends/llvm/spec.h"
#include "ir/op.h"

/* How long each kernel takes, for programs in this process. Who asks for it
 * gives the clock; compiling fills in the kernels, in the order they run, and
 * each run leaves in `time` what the clock advanced by (blocks of a mem.if
 * that did not run keep what they had). */
typedef struct prn_kernel_time {
  const prn_op *op;
  uint64_t time;
} prn_kernel_time;
typedef struct prn_kernel_times {
  uint64_t (*clock)(void);
  prn_kernel_time *kernels; /* freed with prn_free */
  uint32_t num_kernels, cap_kernels;
} prn_kernel_times;

typedef struct prn_compile_options {
  prn_target_spec target;
  const char *prefix;        /* C identifier that exported symbols begin with */
  prn_kernel_times *profile; /* NULL: none; must outlive the program */
} prn_compile_options;

/* What lowering has to know of a target: columns of a packed weight panel and
 * rows of the register tile, the nr and mr of lower-nn-to-mem; the machine of
 * nn-plan, and what products it has. */
typedef struct prn_tile {
  int nr, mr;
  const char *machine;
  bool dot16, dot8;
} prn_tile;
/* Reports and fails when the target is unknown. */
PRN_NODISCARD prn_status prn_compile_tile(prn_diag_sink *sink,
                                          const prn_target_spec *target,
                                          prn_tile *out);

/* Reports and fails unless code for the target can run in this process.
 * Appends what tells it from other targets to *name, which may be NULL. */
PRN_NODISCARD prn_status prn_compile_check_host(prn_diag_sink *sink,
                                                const prn_target_spec *target,
                                                prn_strbuf *name);

/* What to write. SO, A and O hold code and weights, and export one symbol,
 * PREFIX_model; S and LL hold the code, which refers to PREFIX_weights. */
typedef enum prn_artefact {
  PRN_ARTEFACT_SO, /* needs a linker on the PATH: ld.lld or ld */
  PRN_ARTEFACT_A,
  PRN_ARTEFACT_O,
  PRN_ARTEFACT_S,
  PRN_ARTEFACT_LL,
} prn_artefact;

/* Compiles the one mem.func of m and writes path, whole or not at all. Memory
 * does not grow with the weights. */
PRN_NODISCARD prn_status prn_compile_file(prn_module *m,
                                          const prn_compile_options *o,
                                          prn_artefact kind, const char *path);

/* The same model, lowered for a target. */
typedef struct prn_variant {
  prn_module *m;
  prn_target_spec target;
} prn_variant;
enum { PRN_VARIANTS_MAX = 8 };
/* One file for several CPUs of the x86-64 levels (x86-64-v3,
 * x86-64-v4+avx512vnni): code for each, weights that are packed alike once.
 * PREFIX_model() returns the best that the CPU can run, or the one that asks
 * for least. The modules' weights get common places. */
PRN_NODISCARD prn_status prn_compile_variants(prn_diag_sink *sink,
                                              const prn_variant *v, size_t n,
                                              const char *prefix,
                                              prn_artefact kind,
                                              const char *path);
/* Writes a C header for it: self-contained, with sizes as macros. */
PRN_NODISCARD prn_status prn_compile_header(prn_module *m,
                                            const prn_compile_options *o,
                                            const char *path);

/* Writes prune_pool.h: threads for callers that have none of their own. */
PRN_NODISCARD prn_status prn_compile_pool_header(prn_diag_sink *sink,
                                                 const char *path);

/* ---- in this process ---- */

typedef struct prn_program prn_program;

/* Compiles code and weights into memory. Reports and fails when this CPU cannot
 * run the code. */
PRN_NODISCARD prn_status prn_compile_jit(prn_module *m,
                                         const prn_compile_options *o,
                                         prn_program **out);
/* Opens a library that prn_compile_file wrote. Running it is running its
 * code: it is the user's to trust. */
PRN_NODISCARD prn_status prn_program_open(prn_diag_sink *sink, const char *path,
                                          prn_program **out);
const prune_model *prn_program_model(const prn_program *p);
const void *prn_program_weights(const prn_program *p);
void prn_program_destroy(prn_program *p); /* NULL is allowed */

#endif
