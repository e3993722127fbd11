/* What code is generated for: triple, CPU, features, and what follows from
 * them -- vector width, register tile, whether a multiply-add is one rounding.
 *
 * LLVM's C interface can neither tell whether a CPU name is known nor which
 * features it implies, so a table here maps the names we accept to a level. A
 * name that is not in it is a diagnosed error, never a silent "generic". */
#ifndef PRN_BACKENDS_LLVM_TARGET_H
#define PRN_BACKENDS_LLVM_TARGET_H

#include <llvm-c/TargetMachine.h>

#include "backends/llvm/spec.h"
#include "ir/support/diag.h"

/* What a CPU must have that x86-64 alone does not say. */
enum prn_need {
  PRN_NEED_V2 = 1, /* x86-64-v2, and so on */
  PRN_NEED_V3 = 2,
  PRN_NEED_V4 = 4,
  PRN_NEED_AVX512VNNI = 8,
  PRN_NEED_AVX512BF16 = 16,
  PRN_NEED_AVXVNNI = 32,
};

typedef enum prn_arch { PRN_ARCH_X86_64, PRN_ARCH_AARCH64 } prn_arch;

typedef struct prn_target {
  LLVMTargetMachineRef machine;
  LLVMTargetDataRef layout;
  char *triple, *cpu, *features;
  prn_arch arch;
  unsigned needs;     /* all that the code needs, of prn_need; 0: not known */
  unsigned level;     /* CPU features that code may use: bits of target.c */
  bool host;          /* code can be loaded into this process */
  bool fma;           /* llvm.fma is one instruction */
  bool avx512;        /* F, BW, DQ and VL: 512-bit vectors are preferred */
  bool half;          /* f16 <-> f32 without a library call */
  bool masks;         /* masked loads and stores are single instructions */
  bool dot8;          /* sums of four u8 x s8 products are one instruction */
  bool dot16;         /* sums of two bf16 products are one instruction */
  unsigned lanes;     /* f32 in a vector */
  unsigned registers; /* vector registers */
  unsigned mr;        /* rows of the dense register tile */
  unsigned nv;        /* its vectors a row */
} prn_target;

PRN_NODISCARD prn_status prn_target_create(prn_diag_sink *sink,
                                           const prn_target_spec *spec,
                                           prn_target **out);
void prn_target_destroy(prn_target *t); /* NULL is allowed */

/* f32 in a row of the dense register tile: the width of a packed panel. */
static inline unsigned prn_target_nr(const prn_target *t) {
  return t->lanes * t->nv;
}

/* The CPU that this runs on has what the code may use, as far as its name and
 * features tell. */
bool prn_target_runs_here(const prn_target *t);

/* Whose cost table it has: passes/lower/machine.h. */
const char *prn_target_machine(const prn_target *t);

typedef enum prn_emit_kind {
  PRN_EMIT_OBJECT,
  PRN_EMIT_ASSEMBLY,
  PRN_EMIT_LLVM,
} prn_emit_kind;

/* Appends the module, in the form asked for, to out. The module is verified
 * first: IR that LLVM refuses is our mistake and ends in an error that says
 * so rather than in a crash. */
PRN_NODISCARD prn_status prn_target_emit(prn_diag_sink *sink,
                                         const prn_target *t, LLVMModuleRef m,
                                         prn_emit_kind kind, prn_strbuf *out);

#endif
