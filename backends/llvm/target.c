/* Target selection and emission; see target.h. */
#include "backends/llvm/target.h"

#include <llvm-c/Analysis.h>
#include <llvm-c/Core.h>
#include <llvm-c/Target.h>
#include <string.h>

#include "ir/support/arena.h"

enum {
  F_SSE41 = 1,
  F_AVX2 = 2,
  F_FMA = 4,
  F_AVX512F = 8,
  F_AVX512BW = 16,
  F_AVX512DQ = 32,
  F_AVX512VL = 64,
  F_NEON = 128,
  F_F16C = 256,
  F_AVX512VNNI = 512,
  F_AVX512BF16 = 1024,
  F_AVXVNNI = 2048,
  F_I8MM = 4096,
  L_V2 = F_SSE41,
  L_V3 = L_V2 | F_AVX2 | F_FMA | F_F16C,
  L_V4 = L_V3 | F_AVX512F | F_AVX512BW | F_AVX512DQ | F_AVX512VL,
  L_V4_VNNI = L_V4 | F_AVX512VNNI,
  L_V4_BF16 = L_V4_VNNI | F_AVX512BF16,
};

static const struct {
  const char *name;
  prn_arch arch;
  unsigned level;
} cpus[] = {
    {"x86-64-v2", PRN_ARCH_X86_64, L_V2},
    {"x86-64-v3", PRN_ARCH_X86_64, L_V3},
    {"x86-64-v4", PRN_ARCH_X86_64, L_V4},
    {"nehalem", PRN_ARCH_X86_64, L_V2},
    {"westmere", PRN_ARCH_X86_64, L_V2},
    {"sandybridge", PRN_ARCH_X86_64, L_V2},
    {"ivybridge", PRN_ARCH_X86_64, L_V2},
    {"haswell", PRN_ARCH_X86_64, L_V3},
    {"broadwell", PRN_ARCH_X86_64, L_V3},
    {"skylake", PRN_ARCH_X86_64, L_V3},
    {"alderlake", PRN_ARCH_X86_64, L_V3 | F_AVXVNNI},
    {"raptorlake", PRN_ARCH_X86_64, L_V3 | F_AVXVNNI},
    {"skylake-avx512", PRN_ARCH_X86_64, L_V4},
    {"cascadelake", PRN_ARCH_X86_64, L_V4_VNNI},
    {"cooperlake", PRN_ARCH_X86_64, L_V4_BF16},
    {"icelake-client", PRN_ARCH_X86_64, L_V4_VNNI},
    {"icelake-server", PRN_ARCH_X86_64, L_V4_VNNI},
    {"tigerlake", PRN_ARCH_X86_64, L_V4_VNNI},
    {"rocketlake", PRN_ARCH_X86_64, L_V4_VNNI},
    {"sapphirerapids", PRN_ARCH_X86_64, L_V4_BF16},
    {"emeraldrapids", PRN_ARCH_X86_64, L_V4_BF16},
    {"graniterapids", PRN_ARCH_X86_64, L_V4_BF16},
    {"znver1", PRN_ARCH_X86_64, L_V3},
    {"znver2", PRN_ARCH_X86_64, L_V3},
    {"znver3", PRN_ARCH_X86_64, L_V3},
    {"znver4", PRN_ARCH_X86_64, L_V4_BF16},
    {"generic", PRN_ARCH_AARCH64, F_NEON},
    {"cortex-a53", PRN_ARCH_AARCH64, F_NEON},
    {"cortex-a72", PRN_ARCH_AARCH64, F_NEON},
    {"cortex-a76", PRN_ARCH_AARCH64, F_NEON},
    {"neoverse-n1", PRN_ARCH_AARCH64, F_NEON},
    {"neoverse-n2", PRN_ARCH_AARCH64, F_NEON | F_I8MM},
    {"neoverse-v1", PRN_ARCH_AARCH64, F_NEON | F_I8MM},
    {"neoverse-v2", PRN_ARCH_AARCH64, F_NEON | F_I8MM},
    {"apple-m1", PRN_ARCH_AARCH64, F_NEON},
    {"apple-m2", PRN_ARCH_AARCH64, F_NEON | F_I8MM},
    {"apple-m3", PRN_ARCH_AARCH64, F_NEON | F_I8MM},
};

static const struct {
  const char *name;
  unsigned bit;
} feature_bits[] = {
    {"sse4.1", F_SSE41},
    {"avx2", F_AVX2},
    {"fma", F_FMA},
    {"avx512f", F_AVX512F},
    {"avx512bw", F_AVX512BW},
    {"avx512dq", F_AVX512DQ},
    {"avx512vl", F_AVX512VL},
    {"neon", F_NEON},
    {"f16c", F_F16C},
    {"avx512vnni", F_AVX512VNNI},
    {"avx512bf16", F_AVX512BF16},
    {"avxvnni", F_AVXVNNI},
    {"i8mm", F_I8MM},
};

/* What can be asked of a CPU while a program is loaded. */
static const struct {
  const char *name;
  unsigned needs;
} levels[] = {
    {"x86-64-v2", PRN_NEED_V2},
    {"x86-64-v3", PRN_NEED_V2 | PRN_NEED_V3},
    {"x86-64-v4", PRN_NEED_V2 | PRN_NEED_V3 | PRN_NEED_V4},
    {"+avx512vnni", PRN_NEED_AVX512VNNI},
    {"+avx512bf16", PRN_NEED_AVX512BF16},
    {"+avxvnni", PRN_NEED_AVXVNNI},
};

static unsigned need_of(prn_str name) {
  for (size_t i = 0; i < PRN_COUNT(levels); i++)
    if (prn_str_is(name, levels[i].name)) return levels[i].needs;
  return 0;
}

/* All of them together, or 0 when one is not among the levels. */
static unsigned needs_of(const char *cpu, const char *features) {
  unsigned needs = need_of(prn_str_from(cpu)), one = needs;
  for (const char *f = features; *f && one;) {
    size_t n = strcspn(f, ",");
    one = *f == '-' ? needs : need_of((prn_str){f, n});
    needs |= one;
    f += n + (f[n] == ',');
  }
  return one ? needs : 0;
}

/* Applies "+a,-b,..." to the bits we know; the rest is LLVM's business. */
static unsigned apply_features(unsigned bits, const char *features) {
  while (features && *features) {
    const char *end = strchr(features, ',');
    size_t n = end ? (size_t)(end - features) : strlen(features);
    for (size_t i = 0; i < PRN_COUNT(feature_bits); i++) {
      prn_str f = {features + 1, n ? n - 1 : 0};
      if (!prn_str_is(f, feature_bits[i].name)) continue;
      if (*features == '-')
        bits &= ~feature_bits[i].bit;
      else
        bits |= feature_bits[i].bit;
    }
    features = end ? end + 1 : NULL;
  }
  return bits;
}

static prn_status fail(prn_diag_sink *sink, const char *what,
                       const char *detail) {
  return prn_diag_emit(sink, PRN_ERROR, (prn_loc){0}, (prn_str){0}, "%s%s",
                       what, detail);
}

static prn_status unknown_cpu(prn_diag_sink *sink, prn_arch arch,
                              const char *name) {
  prn_str names[PRN_COUNT(cpus) + 1];
  size_t n = 0;
  for (size_t i = 0; i < PRN_COUNT(cpus); i++)
    if (cpus[i].arch == arch) names[n++] = prn_str_from(cpus[i].name);
  names[n++] = PRN_STR("native");
  prn_strbuf hint = {0};
  prn_suggest(&hint, prn_str_from(name), names, n);
  prn_status s = prn_diag_emit(sink, PRN_ERROR, (prn_loc){0}, (prn_str){0},
                               "--march: unknown CPU '%s'%s", name,
                               hint.data ? hint.data : "");
  prn_strbuf_destroy(&hint);
  return s;
}

static char *dup_string(const char *s) {
  size_t n = strlen(s) + 1;
  char *p = prn_alloc(n);
  memcpy(p, s, n);
  return p;
}

/* A string that LLVM made: it says nothing when it had no memory. */
static char *made(char *s) {
  if (!s) prn_out_of_memory(0);
  return s;
}

static char *joined(const char *a, const char *b) {
  prn_strbuf s = {0};
  prn_strbuf_cstr(&s, a);
  if (s.size && b && *b) prn_strbuf_char(&s, ',');
  prn_strbuf_cstr(&s, b ? b : "");
  char *r = dup_string(s.data ? s.data : "");
  prn_strbuf_destroy(&s);
  return r;
}

/* Triple and architecture. */
static prn_status pick_triple(prn_diag_sink *sink, const char *wanted,
                              prn_target *t) {
  char *host = made(LLVMGetDefaultTargetTriple());
  char *norm = made(LLVMNormalizeTargetTriple(wanted ? wanted : host));
  t->triple = dup_string(norm);
  bool x86 = strncmp(norm, "x86_64", 6) == 0;
  bool arm = strncmp(norm, "aarch64", 7) == 0 || strncmp(norm, "arm64", 5) == 0;
  /* Same architecture and system: what is generated can run here. */
  t->host = strncmp(host, norm, x86 ? 6 : 7) == 0 && strstr(norm, "linux") &&
            strstr(host, "linux");
  t->arch = x86 ? PRN_ARCH_X86_64 : PRN_ARCH_AARCH64;
  LLVMDisposeMessage(host);
  LLVMDisposeMessage(norm);
  if (!x86 && !arm)
    return fail(sink, "--target: expected an x86_64 or aarch64 triple, found ",
                t->triple);
  return PRN_OK;
}

/* "x86-64-v4+avx512vnni+..." as a name and the features behind it. */
static void split_cpu(prn_target *t, const char *march, const char *features) {
  size_t n = strcspn(march, "+");
  prn_strbuf list = {0};
  for (const char *p = march + n; *p; p++)
    if (*p == '+')
      prn_strbuf_cstr(&list, list.size ? ",+" : "+");
    else
      prn_strbuf_char(&list, *p);
  t->cpu = dup_string(march);
  t->cpu[n] = 0;
  t->features = joined(list.data ? list.data : "", features);
  t->needs = needs_of(t->cpu, t->features);
  prn_strbuf_destroy(&list);
}

/* CPU name and features; returns the level bits through bits. */
static prn_status pick_cpu(prn_diag_sink *sink, const prn_target_spec *spec,
                           prn_target *t, unsigned *bits) {
  const char *march = spec->march;
  if (!march && t->host) march = "native";
  if (march && strcmp(march, "native") == 0) {
    if (!t->host)
      return fail(sink, "--march=native: this machine is not a ", t->triple);
    char *cpu = made(LLVMGetHostCPUName()),
         *features = made(LLVMGetHostCPUFeatures());
    t->cpu = dup_string(cpu);
    t->features = joined(features, spec->features);
    LLVMDisposeMessage(cpu);
    LLVMDisposeMessage(features);
    *bits = apply_features(0, t->features);
    return PRN_OK;
  }
  if (!march) march = t->arch == PRN_ARCH_X86_64 ? "x86-64-v3" : "generic";
  split_cpu(t, march, spec->features);
  for (size_t i = 0; i < PRN_COUNT(cpus); i++)
    if (cpus[i].arch == t->arch && strcmp(cpus[i].name, t->cpu) == 0) {
      *bits = apply_features(cpus[i].level, t->features);
      return PRN_OK;
    }
  return unknown_cpu(sink, t->arch, t->cpu);
}

/* Vector width and tile. The tile leaves room for one row of B and one
 * broadcast element: 24 + 4 + 1 of 32 registers, 12 + 2 + 1 of 16. */
static prn_status derive(prn_diag_sink *sink, prn_target *t, unsigned bits) {
  t->mr = 6;
  if (t->arch == PRN_ARCH_AARCH64) {
    t->fma = true;
    t->half = true;
    t->dot8 = bits & F_I8MM;
    t->lanes = 4;
    t->registers = 32;
    t->nv = 4;
    return PRN_OK;
  }
  if (!(bits & F_SSE41))
    return fail(sink, "--march: at least x86-64-v2 (SSE4.1) is needed, not ",
                t->cpu);
  t->fma = bits & F_FMA;
  t->avx512 = (bits & L_V4) == L_V4;
  t->masks = bits & F_AVX2;
  t->half = bits & F_F16C;
  t->lanes = t->avx512 ? 16 : (bits & F_AVX2) ? 8 : 4;
  t->registers = t->avx512 ? 32 : 16;
  t->nv = t->avx512 ? 4 : 2;
  t->dot8 =
      t->avx512 ? bits & F_AVX512VNNI : (bits & F_AVXVNNI) && (bits & F_AVX2);
  t->dot16 = t->avx512 && (bits & F_AVX512BF16);
  return PRN_OK;
}

bool prn_target_runs_here(const prn_target *t) {
  if (!t->host) return false;
  char *features = made(LLVMGetHostCPUFeatures());
  unsigned have = apply_features(F_NEON, features);
  LLVMDisposeMessage(features);
  return !(t->level & ~have);
}

const char *prn_target_machine(const prn_target *t) {
  if (t->arch == PRN_ARCH_AARCH64) return "aarch64";
  return t->avx512 ? "x86-64-v4" : t->lanes == 8 ? "x86-64-v3" : "x86-64-v2";
}

static void init_targets(void) {
  LLVMInitializeX86TargetInfo();
  LLVMInitializeX86Target();
  LLVMInitializeX86TargetMC();
  LLVMInitializeX86AsmPrinter();
  LLVMInitializeX86AsmParser(); /* of cpuid; see variants.c */
  LLVMInitializeAArch64TargetInfo();
  LLVMInitializeAArch64Target();
  LLVMInitializeAArch64TargetMC();
  LLVMInitializeAArch64AsmPrinter();
}

static prn_status create(prn_diag_sink *sink, const prn_target_spec *spec,
                         prn_target *t) {
  unsigned bits = 0;
  PRN_TRY(pick_triple(sink, spec->triple, t));
  PRN_TRY(pick_cpu(sink, spec, t, &bits));
  PRN_TRY(derive(sink, t, bits));
  t->level = bits;
  LLVMTargetRef target;
  char *why = NULL;
  if (LLVMGetTargetFromTriple(t->triple, &target, &why)) {
    prn_status s = fail(sink, "--target: ", why);
    LLVMDisposeMessage(why);
    return s;
  }
  t->machine = LLVMCreateTargetMachine(target, t->triple, t->cpu, t->features,
                                       LLVMCodeGenLevelDefault, LLVMRelocPIC,
                                       LLVMCodeModelDefault);
  if (!t->machine)
    return fail(sink, "--target: cannot generate for ", t->triple);
  t->layout = LLVMCreateTargetDataLayout(t->machine);
  return PRN_OK;
}

prn_status prn_target_create(prn_diag_sink *sink, const prn_target_spec *spec,
                             prn_target **out) {
  init_targets();
  prn_target *t = prn_alloc(sizeof *t);
  memset(t, 0, sizeof *t);
  if (create(sink, spec, t) != PRN_OK) {
    prn_target_destroy(t);
    return PRN_FAIL;
  }
  *out = t;
  return PRN_OK;
}

void prn_target_destroy(prn_target *t) {
  if (!t) return;
  if (t->layout) LLVMDisposeTargetData(t->layout);
  if (t->machine) LLVMDisposeTargetMachine(t->machine);
  prn_free(t->triple);
  prn_free(t->cpu);
  prn_free(t->features);
  prn_free(t);
}

static prn_status fail_take(prn_diag_sink *sink, const char *what, char *why) {
  prn_status s = fail(sink, what, why);
  LLVMDisposeMessage(why);
  return s;
}

prn_status prn_target_emit(prn_diag_sink *sink, const prn_target *t,
                           LLVMModuleRef m, prn_emit_kind kind,
                           prn_strbuf *out) {
  char *why = NULL;
  if (LLVMVerifyModule(m, LLVMReturnStatusAction, &why))
    return fail_take(sink, "the LLVM IR made for this model is invalid: ", why);
  LLVMDisposeMessage(why);
  if (kind == PRN_EMIT_LLVM) {
    char *text = made(LLVMPrintModuleToString(m));
    prn_strbuf_cstr(out, text);
    LLVMDisposeMessage(text);
    return PRN_OK;
  }
  LLVMMemoryBufferRef buffer;
  if (LLVMTargetMachineEmitToMemoryBuffer(
          t->machine, m,
          kind == PRN_EMIT_OBJECT ? LLVMObjectFile : LLVMAssemblyFile, &why,
          &buffer))
    return fail_take(sink, "LLVM cannot generate code: ", why);
  prn_strbuf_bytes(out, LLVMGetBufferStart(buffer), LLVMGetBufferSize(buffer));
  LLVMDisposeMemoryBuffer(buffer);
  return PRN_OK;
}
