/* Variants of a program; see variants.h. */
#include "backends/llvm/variants.h"

#include <llvm-c/BitReader.h>
#include <llvm-c/BitWriter.h>
#include <llvm-c/Linker.h>
#include <stdio.h>
#include <string.h>

enum { EAX, EBX, ECX, EDX };

/* What the CPU must report for each thing that a target may need. Intel SDM
 * volume 2A, CPUID; levels as in the x86-64 psABI, section 3.1.1. */
static const struct {
  unsigned need;
  uint32_t leaf, subleaf;
  unsigned reg;
  uint32_t bits;
  uint32_t state; /* of XCR0: what the system saves */
} checks[] = {
    /* SSE3, SSSE3, CX16, SSE4.1, SSE4.2, POPCNT; LAHF */
    {PRN_NEED_V2, 1, 0, ECX, 1u << 0 | 1u << 9 | 1u << 13 | 3u << 19 | 1u << 23,
     0},
    {PRN_NEED_V2, 0x80000001, 0, ECX, 1u << 0, 0},
    /* FMA, MOVBE, OSXSAVE, AVX, F16C; BMI1, AVX2, BMI2; LZCNT */
    {PRN_NEED_V3, 1, 0, ECX, 1u << 12 | 1u << 22 | 7u << 27, 0x6},
    {PRN_NEED_V3, 7, 0, EBX, 1u << 3 | 1u << 5 | 1u << 8, 0},
    {PRN_NEED_V3, 0x80000001, 0, ECX, 1u << 5, 0},
    /* AVX512F, DQ, CD, BW, VL */
    {PRN_NEED_V4, 7, 0, EBX, 3u << 16 | 1u << 28 | 3u << 30, 0xe6},
    {PRN_NEED_AVX512VNNI, 7, 0, ECX, 1u << 11, 0xe6},
    {PRN_NEED_AVX512BF16, 7, 1, EAX, 1u << 5, 0xe6},
    {PRN_NEED_AVXVNNI, 7, 1, EAX, 1u << 4, 0x6},
};

/* ---- order ---- */

static unsigned count(unsigned needs) {
  unsigned n = 0;
  for (; needs; needs &= needs - 1)
    n++;
  return n;
}

static prn_status fail(prn_diag_sink *sink, const char *name,
                       const char *what) {
  return prn_diag_emit(sink, PRN_ERROR, (prn_loc){0}, (prn_str){0},
                       "--march: %s%s", name, what);
}

prn_status prn_variants_order(prn_diag_sink *sink, prn_target *const *targets,
                              size_t n, size_t *order) {
  for (size_t i = 0; i < n; i++) {
    const prn_target *t = targets[i];
    if (n > 1 && !t->needs)
      return fail(sink, t->cpu,
                  " cannot be one of several: only x86-64-v2, x86-64-v3 and "
                  "x86-64-v4 (with +avx512vnni, +avx512bf16, +avxvnni) are "
                  "chosen between where the program is loaded");
    size_t at = i;
    for (; at > 0 && count(targets[order[at - 1]]->needs) > count(t->needs);
         at--)
      order[at] = order[at - 1];
    order[at] = i;
    for (size_t k = 0; k < i; k++)
      if (targets[k]->needs == t->needs)
        return fail(sink, t->cpu, " is named twice");
  }
  return PRN_OK;
}

/* ---- the choice ---- */

/* Registers that cpuid gives. */
static prn_v cpuid(prn_cg *g, uint32_t leaf, uint32_t subleaf) {
  prn_t regs[4] = {g->i32, g->i32, g->i32, g->i32};
  prn_t type =
      LLVMFunctionType(LLVMStructTypeInContext(g->ctx, regs, 4, 0), regs, 2, 0);
  static const char text[] = "cpuid";
  static const char how[] =
      "={ax},={bx},={cx},={dx},{ax},{cx},~{dirflag},~{fpsr},~{flags}";
  prn_v code =
      LLVMGetInlineAsm(type, text, sizeof text - 1, how, sizeof how - 1, 1, 0,
                       LLVMInlineAsmDialectATT, 0);
  prn_v args[2] = {cg_i32(g, (int32_t)leaf), cg_i32(g, (int32_t)subleaf)};
  return LLVMBuildCall2(g->b, type, code, args, 2, "");
}

/* What the system saves; 0 when xgetbv is not there. */
static prn_v saved_state(prn_cg *g) {
  prn_v zero = cg_i32(g, 0),
        some = LLVMBuildExtractValue(g->b, cpuid(g, 1, 0), ECX, "");
  some = LLVMBuildAnd(g->b, some, cg_i32(g, 1 << 27), "");
  LLVMBasicBlockRef from = LLVMGetInsertBlock(g->b);
  prn_if s = prn_if_begin(g, cg_cmp(g, LLVMIntNE, some, zero));
  prn_t regs[2] = {g->i32, g->i32};
  prn_t type = LLVMFunctionType(LLVMStructTypeInContext(g->ctx, regs, 2, 0),
                                &g->i32, 1, 0);
  static const char text[] = "xgetbv";
  static const char how[] = "={ax},={dx},{cx},~{dirflag},~{fpsr},~{flags}";
  prn_v code =
      LLVMGetInlineAsm(type, text, sizeof text - 1, how, sizeof how - 1, 1, 0,
                       LLVMInlineAsmDialectATT, 0);
  prn_v low = LLVMBuildExtractValue(
      g->b, LLVMBuildCall2(g->b, type, code, &zero, 1, ""), EAX, "");
  LLVMBasicBlockRef then = LLVMGetInsertBlock(g->b);
  prn_if_end(g, s);
  prn_v all = LLVMBuildPhi(g->b, g->i32, "");
  LLVMAddIncoming(all, &zero, &from, 1);
  LLVMAddIncoming(all, &low, &then, 1);
  return all;
}

static prn_v has(prn_cg *g, prn_v value, uint32_t bits) {
  prn_v all = cg_i32(g, (int32_t)bits);
  return cg_cmp(g, LLVMIntEQ, LLVMBuildAnd(g->b, value, all, ""), all);
}

/* i1: the CPU has all of needs. Leaves past the last are those of another
 * one, so the last is looked at, too. */
static prn_v fits(prn_cg *g, unsigned needs, prn_v state) {
  prn_v r = LLVMConstInt(g->i1, 1, 0);
  for (size_t i = 0; i < PRN_COUNT(checks); i++) {
    if (!(checks[i].need & needs)) continue;
    uint32_t leaf = checks[i].leaf;
    prn_v last =
        LLVMBuildExtractValue(g->b, cpuid(g, leaf & 0x80000000, 0), EAX, "");
    prn_v there = cg_cmp(g, LLVMIntUGE, last, cg_i32(g, (int32_t)leaf));
    prn_v v = LLVMBuildExtractValue(g->b, cpuid(g, leaf, checks[i].subleaf),
                                    checks[i].reg, "");
    r = LLVMBuildAnd(g->b, r, there, "");
    r = LLVMBuildAnd(g->b, r, has(g, v, checks[i].bits), "");
    r = LLVMBuildAnd(g->b, r, has(g, state, checks[i].state), "");
  }
  return r;
}

static void local_name(char *out, size_t size, const char *prefix, size_t i) {
  snprintf(out, size, "%s_variant%zu", prefix, i);
}

/* From the most demanding to the second; the first is what remains. */
static void emit_choice(prn_cg *g, prn_cg *const *programs, size_t n,
                        const char *prefix) {
  char name[256];
  snprintf(name, sizeof name, "%s_model", prefix);
  prn_cg_scope s = prn_cg_begin(g, name, g->ptr, NULL, 0);
  LLVMSetLinkage(g->fn, LLVMExternalLinkage);
  prn_v state = saved_state(g);
  for (size_t i = n; i-- > 0;) {
    local_name(name, sizeof name, prefix, i);
    prn_v variant = LLVMGetNamedFunction(g->mod, name);
    prn_t type = LLVMFunctionType(g->ptr, NULL, 0, 0);
    LLVMBasicBlockRef take = prn_cg_block(g, "take"),
                      next = i ? prn_cg_block(g, "next") : NULL;
    if (i)
      LLVMBuildCondBr(g->b, fits(g, programs[i]->target->needs, state), take,
                      next);
    else
      LLVMBuildBr(g->b, take);
    LLVMPositionBuilderAtEnd(g->b, take);
    LLVMBuildRet(g->b, LLVMBuildCall2(g->b, type, variant, NULL, 0, ""));
    if (i) LLVMPositionBuilderAtEnd(g->b, next);
  }
  prn_cg_end(g, s);
}

/* ---- one module ---- */

static void set_attr(prn_cg *g, prn_v fn, const char *name, const char *value) {
  LLVMAttributeRef a = LLVMCreateStringAttribute(
      g->ctx, name, (unsigned)strlen(name), value, (unsigned)strlen(value));
  LLVMAddAttributeAtIndex(fn, (LLVMAttributeIndex)LLVMAttributeFunctionIndex,
                          a);
}

/* Says of each function which CPU it is for, and gives the description a name
 * of its own. */
static void label(prn_cg *g, const char *prefix, size_t i) {
  char model[256], name[256];
  snprintf(model, sizeof model, "%s_model", prefix);
  local_name(name, sizeof name, prefix, i);
  for (prn_v f = LLVMGetFirstFunction(g->mod); f; f = LLVMGetNextFunction(f)) {
    if (LLVMIsDeclaration(f)) continue;
    set_attr(g, f, "target-cpu", g->target->cpu);
    set_attr(g, f, "target-features", g->target->features);
  }
  prn_v f = LLVMGetNamedFunction(g->mod, model);
  LLVMSetValueName2(f, name, strlen(name));
}

/* Modules of two contexts meet as bitcode. */
static bool link(prn_cg *into, prn_cg *from) {
  LLVMMemoryBufferRef code = LLVMWriteBitcodeToMemoryBuffer(from->mod);
  LLVMModuleRef m;
  bool bad = LLVMParseBitcodeInContext2(into->ctx, code, &m) ||
             LLVMLinkModules2(into->mod, m);
  LLVMDisposeMemoryBuffer(code);
  return !bad;
}

prn_status prn_variants_join(prn_diag_sink *sink, prn_cg *const *programs,
                             size_t n, const char *prefix, prn_cg **out) {
  prn_cg *g = programs[0];
  char name[256];
  bool good = true;
  for (size_t i = 0; n > 1 && i < n; i++) {
    label(programs[i], prefix, i);
    if (i) good = good && link(g, programs[i]);
  }
  if (n > 1 && good) emit_choice(g, programs, n, prefix);
  for (size_t i = 0; n > 1 && good && i < n; i++) {
    local_name(name, sizeof name, prefix, i);
    LLVMSetLinkage(LLVMGetNamedFunction(g->mod, name), LLVMInternalLinkage);
  }
  for (size_t i = 1; i < n; i++)
    prn_cg_destroy(programs[i]);
  if (good) {
    *out = g;
    return PRN_OK;
  }
  prn_cg_destroy(g);
  return fail(sink, "variants", " cannot be joined");
}
