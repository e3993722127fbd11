/* Code generation helpers; see cg.h. */
#include "backends/llvm/cg.h"

#include <assert.h>
#include <string.h>

prn_cg *prn_cg_create(const prn_target *target, const char *module_name) {
  prn_cg *g = prn_alloc(sizeof *g);
  memset(g, 0, sizeof *g);
  g->target = target;
  g->ctx = LLVMContextCreate();
  g->mod = LLVMModuleCreateWithNameInContext(module_name, g->ctx);
  g->b = LLVMCreateBuilderInContext(g->ctx);
  LLVMSetTarget(g->mod, target->triple);
  LLVMSetModuleDataLayout(g->mod, target->layout);
  g->none = LLVMVoidTypeInContext(g->ctx);
  g->i1 = LLVMInt1TypeInContext(g->ctx);
  g->i8 = LLVMInt8TypeInContext(g->ctx);
  g->i16 = LLVMInt16TypeInContext(g->ctx);
  g->i32 = LLVMInt32TypeInContext(g->ctx);
  g->i64 = LLVMInt64TypeInContext(g->ctx);
  g->f16 = LLVMHalfTypeInContext(g->ctx);
  g->bf16 = LLVMBFloatTypeInContext(g->ctx);
  g->f32 = LLVMFloatTypeInContext(g->ctx);
  g->f64 = LLVMDoubleTypeInContext(g->ctx);
  g->ptr = LLVMPointerTypeInContext(g->ctx, 0);
  g->vf = LLVMVectorType(g->f32, target->lanes);
  return g;
}

void prn_cg_destroy(prn_cg *g) {
  if (!g) return;
  LLVMDisposeBuilder(g->b);
  LLVMDisposeModule(g->mod);
  LLVMContextDispose(g->ctx);
  prn_map_destroy(&g->made);
  prn_arena_destroy(&g->arena);
  prn_free(g);
}

/* ---- functions ---- */

static LLVMAttributeRef enum_attr(prn_cg *g, const char *name) {
  unsigned kind = LLVMGetEnumAttributeKindForName(name, strlen(name));
  assert(kind && "unknown attribute");
  return LLVMCreateEnumAttribute(g->ctx, kind, 0);
}

void prn_cg_param_attr(prn_cg *g, prn_v fn, unsigned param, const char *attr) {
  LLVMAddAttributeAtIndex(fn, param + 1, enum_attr(g, attr));
}

static void string_attr(prn_cg *g, prn_v fn, const char *k, const char *v) {
  LLVMAddAttributeAtIndex(fn, (unsigned)LLVMAttributeFunctionIndex,
                          LLVMCreateStringAttribute(g->ctx, k,
                                                    (unsigned)strlen(k), v,
                                                    (unsigned)strlen(v)));
}

void prn_cg_attributes(prn_cg *g, prn_v fn) {
  LLVMAddAttributeAtIndex(fn, (unsigned)LLVMAttributeFunctionIndex,
                          enum_attr(g, "nounwind"));
  /* Loops must not turn into calls of memset and friends. */
  string_attr(g, fn, "no-builtins", "true");
  if (g->target->avx512) {
    string_attr(g, fn, "prefer-vector-width", "512");
    string_attr(g, fn, "min-legal-vector-width", "512");
  }
}

prn_cg_scope prn_cg_begin(prn_cg *g, const char *name, prn_t ret,
                          const prn_t *params, unsigned n) {
  prn_cg_scope s = {g->fn, LLVMGetInsertBlock(g->b)};
  prn_t types[32];
  assert(n <= PRN_COUNT(types));
  if (n) memcpy(types, params, n * sizeof *types);
  g->fn = LLVMAddFunction(g->mod, name, LLVMFunctionType(ret, types, n, 0));
  LLVMSetLinkage(g->fn, LLVMInternalLinkage);
  prn_cg_attributes(g, g->fn);
  LLVMPositionBuilderAtEnd(g->b, prn_cg_block(g, "entry"));
  return s;
}

void prn_cg_end(prn_cg *g, prn_cg_scope s) {
  g->fn = s.fn;
  if (s.at) LLVMPositionBuilderAtEnd(g->b, s.at);
}

prn_v prn_cg_made(prn_cg *g, const char *key) {
  return prn_map_get(&g->made, prn_str_from(key));
}

void prn_cg_remember(prn_cg *g, const char *key, prn_v fn) {
  size_t n = strlen(key);
  prn_str k = {prn_arena_copy(&g->arena, key, n + 1), n};
  *prn_map_slot(&g->made, k) = fn;
}

prn_v prn_cg_call(prn_cg *g, prn_v fn, const prn_v *args, unsigned n) {
  prn_v copy[32];
  assert(n <= PRN_COUNT(copy));
  if (n) memcpy(copy, args, n * sizeof *copy);
  prn_v call =
      LLVMBuildCall2(g->b, LLVMGlobalGetValueType(fn), fn, copy, n, "");
  LLVMSetInstructionCallConv(call, LLVMGetFunctionCallConv(fn));
  return call;
}

LLVMBasicBlockRef prn_cg_block(prn_cg *g, const char *name) {
  return LLVMAppendBasicBlockInContext(g->ctx, g->fn, name);
}

prn_v prn_cg_alloca(prn_cg *g, prn_t type, unsigned align) {
  LLVMBasicBlockRef at = LLVMGetInsertBlock(g->b);
  LLVMBasicBlockRef entry = LLVMGetEntryBasicBlock(g->fn);
  prn_v first = LLVMGetFirstInstruction(entry);
  if (first)
    LLVMPositionBuilderBefore(g->b, first);
  else
    LLVMPositionBuilderAtEnd(g->b, entry);
  prn_v p = LLVMBuildAlloca(g->b, type, "");
  LLVMSetAlignment(p, align);
  LLVMPositionBuilderAtEnd(g->b, at);
  return p;
}

prn_v prn_cg_intrinsic_n(prn_cg *g, const char *name, const prn_t *over,
                         unsigned num_over, const prn_v *args, unsigned n) {
  unsigned id = LLVMLookupIntrinsicID(name, strlen(name));
  prn_t types[4];
  prn_v copy[8];
  assert(id && "unknown intrinsic");
  assert(num_over <= PRN_COUNT(types) && n <= PRN_COUNT(copy));
  if (num_over) memcpy(types, over, num_over * sizeof *types);
  memcpy(copy, args, n * sizeof *copy);
  prn_v fn = LLVMGetIntrinsicDeclaration(g->mod, id, types, num_over);
  prn_t type = LLVMIntrinsicGetType(g->ctx, id, types, num_over);
  return LLVMBuildCall2(g->b, type, fn, copy, n, "");
}

prn_v prn_cg_intrinsic(prn_cg *g, const char *name, prn_t over,
                       const prn_v *args, unsigned n) {
  return prn_cg_intrinsic_n(g, name, &over, over ? 1 : 0, args, n);
}

/* ---- i64 ---- */

bool prn_cg_is_const(prn_v v, int64_t *out) {
  if (!LLVMIsAConstantInt(v)) return false;
  *out = LLVMConstIntGetSExtValue(v);
  return true;
}

static bool is(prn_v v, int64_t c) {
  int64_t got;
  return prn_cg_is_const(v, &got) && got == c;
}

prn_v prn_cg_add(prn_cg *g, prn_v a, prn_v b) {
  if (is(a, 0)) return b;
  if (is(b, 0)) return a;
  return LLVMBuildNSWAdd(g->b, a, b, "");
}

prn_v prn_cg_sub(prn_cg *g, prn_v a, prn_v b) {
  if (is(b, 0)) return a;
  if (a == b) return cg_i64(g, 0);
  return LLVMBuildNSWSub(g->b, a, b, "");
}

prn_v prn_cg_mul(prn_cg *g, prn_v a, prn_v b) {
  if (is(a, 1)) return b;
  if (is(b, 1)) return a;
  if (is(a, 0)) return a;
  if (is(b, 0)) return b;
  return LLVMBuildNSWMul(g->b, a, b, "");
}

prn_v prn_cg_div(prn_cg *g, prn_v a, prn_v b) {
  return is(b, 1) || is(a, 0) ? a : LLVMBuildUDiv(g->b, a, b, "");
}

prn_v prn_cg_mod(prn_cg *g, prn_v a, prn_v b) {
  if (is(b, 1) || is(a, 0)) return cg_i64(g, 0);
  return LLVMBuildURem(g->b, a, b, "");
}

prn_v prn_cg_ceildiv(prn_cg *g, prn_v a, prn_v b) {
  if (is(b, 1) || is(a, 0)) return a;
  prn_v up = prn_cg_sub(g, prn_cg_add(g, a, b), cg_i64(g, 1));
  return prn_cg_div(g, up, b);
}

prn_v prn_cg_floordiv(prn_cg *g, prn_v a, prn_v b) {
  if (is(b, 1)) return a;
  prn_v q = LLVMBuildSDiv(g->b, a, b, "");
  prn_v r = LLVMBuildSub(g->b, a, LLVMBuildMul(g->b, q, b, ""), "");
  prn_v zero = cg_i64(g, 0);
  prn_v inexact = cg_cmp(g, LLVMIntNE, r, zero);
  prn_v differ = cg_lt(g, LLVMBuildXor(g->b, r, b, ""), zero);
  prn_v less =
      LLVMBuildZExt(g->b, LLVMBuildAnd(g->b, inexact, differ, ""), g->i64, "");
  return LLVMBuildSub(g->b, q, less, "");
}

prn_v prn_cg_floormod(prn_cg *g, prn_v a, prn_v b) {
  prn_v q = prn_cg_floordiv(g, a, b);
  return LLVMBuildSub(g->b, a, LLVMBuildMul(g->b, q, b, ""), "");
}

prn_v prn_cg_min(prn_cg *g, prn_v a, prn_v b) {
  return a == b ? a : cg_select(g, cg_lt(g, a, b), a, b);
}

prn_v prn_cg_max(prn_cg *g, prn_v a, prn_v b) {
  return a == b ? a : cg_select(g, cg_lt(g, a, b), b, a);
}

prn_v prn_cg_round_up(prn_cg *g, prn_v a, int64_t to) {
  prn_v t = cg_i64(g, to);
  return prn_cg_mul(g, prn_cg_ceildiv(g, a, t), t);
}

/* ---- types and constants ---- */

prn_t prn_cg_vec(prn_t elem, unsigned n) {
  return n == 1 ? elem : LLVMVectorType(elem, n);
}

unsigned prn_cg_lanes(prn_t type) {
  return LLVMGetTypeKind(type) == LLVMVectorTypeKind ? LLVMGetVectorSize(type)
                                                     : 1;
}

prn_t prn_cg_elem(prn_t type) {
  return LLVMGetTypeKind(type) == LLVMVectorTypeKind ? LLVMGetElementType(type)
                                                     : type;
}

prn_t prn_cg_like(prn_t like, prn_t elem) {
  return prn_cg_vec(elem, prn_cg_lanes(like));
}

static prn_v splat_const(prn_v c, unsigned n) {
  prn_v all[64];
  assert(n <= PRN_COUNT(all));
  for (unsigned i = 0; i < n; i++)
    all[i] = c;
  return n == 1 ? c : LLVMConstVector(all, n);
}

prn_v prn_cg_splat(prn_cg *g, prn_v s, unsigned n) {
  if (n == 1) return s;
  if (LLVMIsConstant(s)) return splat_const(s, n);
  prn_t v = LLVMVectorType(LLVMTypeOf(s), n);
  prn_v one =
      LLVMBuildInsertElement(g->b, LLVMGetPoison(v), s, cg_i32(g, 0), "");
  return LLVMBuildShuffleVector(g->b, one, LLVMGetPoison(v),
                                LLVMConstNull(LLVMVectorType(g->i32, n)), "");
}

prn_v prn_cg_fconst(prn_t type, double v) {
  return splat_const(LLVMConstReal(prn_cg_elem(type), v), prn_cg_lanes(type));
}

prn_v prn_cg_iconst(prn_t type, int64_t v) {
  return splat_const(LLVMConstInt(prn_cg_elem(type), (unsigned long long)v, 1),
                     prn_cg_lanes(type));
}

prn_v prn_cg_fma(prn_cg *g, prn_v a, prn_v b, prn_v c) {
  if (!g->target->fma) return cg_fadd(g, cg_fmul(g, a, b), c);
  return prn_cg_intrinsic(g, "llvm.fma", LLVMTypeOf(a), (prn_v[]){a, b, c}, 3);
}

/* Lane i of each group of `width` lanes of v, or of a narrower v repeated. */
static prn_v spread(prn_cg *g, prn_v v, int i, unsigned width, unsigned lanes) {
  prn_v at[64];
  for (unsigned l = 0; l < lanes; l++)
    at[l] = cg_i32(g, i < 0 ? (int32_t)(l % width)
                            : (int32_t)(l / width * width) + i);
  return LLVMBuildShuffleVector(g->b, v, LLVMGetUndef(LLVMTypeOf(v)),
                                LLVMConstVector(at, lanes), "");
}

/* x86 repeats 128 bits while loading, and spreads an element within each 128
 * bits on ports that products do not use; the fence keeps LLVM from loading
 * each element by itself, which takes loads. */
void prn_cg_load_splats(prn_cg *g, prn_t elem, prn_v p, unsigned n,
                        unsigned lanes, prn_v *out) {
  bool fence = g->target->arch == PRN_ARCH_X86_64 && lanes >= 4;
  if (n == 1 || lanes < 4) {
    for (unsigned i = 0; i < n; i++)
      out[i] = prn_cg_splat(
          g, prn_cg_load(g, elem, cg_at(g, elem, p, cg_i64(g, i))), lanes);
    return;
  }
  prn_t floats = prn_cg_vec(g->f32, lanes), all = prn_cg_vec(elem, lanes);
  prn_v v = prn_cg_load(g, prn_cg_vec(elem, n), p);
  if (fence) {
    v = LLVMBuildBitCast(g->b, spread(g, v, -1, n, lanes), floats, "");
    v = prn_cg_intrinsic(g, "llvm.arithmetic.fence", floats, &v, 1);
    v = LLVMBuildBitCast(g->b, v, all, "");
  }
  for (unsigned i = 0; i < n; i++)
    out[i] = fence ? spread(g, v, (int)i, n, lanes)
                   : spread(g, v, (int)i, lanes, lanes);
}

/* ---- memory ---- */

static unsigned elem_align(prn_cg *g, prn_t type) {
  return LLVMABIAlignmentOfType(g->target->layout, prn_cg_elem(type));
}

prn_v prn_cg_load(prn_cg *g, prn_t type, prn_v p) {
  prn_v v = LLVMBuildLoad2(g->b, type, p, "");
  LLVMSetAlignment(v, elem_align(g, type));
  return v;
}

void prn_cg_store(prn_cg *g, prn_v v, prn_v p) {
  LLVMSetAlignment(LLVMBuildStore(g->b, v, p), elem_align(g, LLVMTypeOf(v)));
}

static prn_v masked(prn_cg *g, const char *name, prn_t type, prn_v *args) {
  return prn_cg_intrinsic_n(g, name, (prn_t[]){type, g->ptr}, 2, args, 4);
}

prn_v prn_cg_load_masked(prn_cg *g, prn_t type, prn_v p, prn_v mask) {
  if (!mask) return prn_cg_load(g, type, p);
  prn_v align = cg_i32(g, (int32_t)elem_align(g, type));
  return masked(g, "llvm.masked.load", type,
                (prn_v[]){p, align, mask, LLVMConstNull(type)});
}

void prn_cg_store_masked(prn_cg *g, prn_v v, prn_v p, prn_v mask) {
  if (!mask) {
    prn_cg_store(g, v, p);
    return;
  }
  prn_v align = cg_i32(g, (int32_t)elem_align(g, LLVMTypeOf(v)));
  masked(g, "llvm.masked.store", LLVMTypeOf(v), (prn_v[]){v, p, align, mask});
}

void prn_cg_prefetch(prn_cg *g, prn_v p) {
  prn_v read = cg_i32(g, 0), keep = cg_i32(g, 2), data = cg_i32(g, 1);
  prn_cg_intrinsic(g, "llvm.prefetch", g->ptr, (prn_v[]){p, read, keep, data},
                   4);
}

prn_v prn_cg_tail_mask(prn_cg *g, unsigned lanes, prn_v count) {
  prn_v iota[64];
  assert(lanes <= PRN_COUNT(iota));
  for (unsigned i = 0; i < lanes; i++)
    iota[i] = cg_i32(g, (int32_t)i);
  prn_v n = LLVMBuildTrunc(g->b, count, g->i32, "");
  return cg_cmp(g, LLVMIntSLT, LLVMConstVector(iota, lanes),
                prn_cg_splat(g, n, lanes));
}

/* ---- loops ---- */

void prn_loop_begin(prn_cg *g, prn_loop *l, prn_v begin, prn_v end,
                    int64_t step, const prn_v *init, unsigned n) {
  assert(n <= PRN_LOOP_MAX && step > 0);
  l->before = LLVMGetInsertBlock(g->b);
  l->body = prn_cg_block(g, "loop");
  l->exit = prn_cg_block(g, "done");
  l->step = cg_i64(g, step);
  l->end = end;
  l->n = n;
  LLVMBuildCondBr(g->b, cg_lt(g, begin, end), l->body, l->exit);
  LLVMPositionBuilderAtEnd(g->b, l->body);
  l->iv = LLVMBuildPhi(g->b, g->i64, "");
  LLVMAddIncoming(l->iv, &begin, &l->before, 1);
  for (unsigned i = 0; i < n; i++) {
    l->init[i] = init[i];
    l->cur[i] = LLVMBuildPhi(g->b, LLVMTypeOf(init[i]), "");
    LLVMAddIncoming(l->cur[i], &l->init[i], &l->before, 1);
    l->next[i] = l->cur[i];
  }
}

void prn_loop_end(prn_cg *g, prn_loop *l) {
  LLVMBasicBlockRef last = LLVMGetInsertBlock(g->b);
  prn_v iv = LLVMBuildNSWAdd(g->b, l->iv, l->step, "");
  LLVMAddIncoming(l->iv, &iv, &last, 1);
  for (unsigned i = 0; i < l->n; i++)
    LLVMAddIncoming(l->cur[i], &l->next[i], &last, 1);
  LLVMBuildCondBr(g->b, cg_lt(g, iv, l->end), l->body, l->exit);
  LLVMPositionBuilderAtEnd(g->b, l->exit);
  for (unsigned i = 0; i < l->n; i++) {
    l->out[i] = LLVMBuildPhi(g->b, LLVMTypeOf(l->init[i]), "");
    LLVMAddIncoming(l->out[i], &l->init[i], &l->before, 1);
    LLVMAddIncoming(l->out[i], &l->next[i], &last, 1);
  }
}

prn_if prn_if_begin(prn_cg *g, prn_v cond) {
  prn_if s = {LLVMGetInsertBlock(g->b), NULL};
  LLVMBasicBlockRef then = prn_cg_block(g, "then");
  s.join = prn_cg_block(g, "join");
  LLVMBuildCondBr(g->b, cond, then, s.join);
  LLVMPositionBuilderAtEnd(g->b, then);
  return s;
}

void prn_if_end(prn_cg *g, prn_if s) {
  LLVMBuildBr(g->b, s.join);
  LLVMPositionBuilderAtEnd(g->b, s.join);
}

void prn_cg_vloop(prn_cg *g, prn_v n, unsigned lanes, prn_vloop_fn *body,
                  void *user) {
  prn_v zero = cg_i64(g, 0);
  prn_loop l;
  if (lanes == 1) {
    prn_loop_begin(g, &l, zero, n, 1, NULL, 0);
    body(g, l.iv, 1, NULL, user);
    prn_loop_end(g, &l);
    return;
  }
  prn_v step = cg_i64(g, lanes);
  prn_v whole = prn_cg_mul(g, prn_cg_div(g, n, step), step);
  prn_loop_begin(g, &l, zero, whole, lanes, NULL, 0);
  body(g, l.iv, lanes, NULL, user);
  prn_loop_end(g, &l);
  int64_t left;
  prn_v rest = prn_cg_sub(g, n, whole);
  if (prn_cg_is_const(rest, &left) && left == 0) return;
  if (!g->target->masks) {
    prn_loop_begin(g, &l, whole, n, 1, NULL, 0);
    body(g, l.iv, 1, NULL, user);
    prn_loop_end(g, &l);
    return;
  }
  prn_if some = prn_if_begin(g, cg_lt(g, whole, n));
  body(g, whole, lanes, prn_cg_tail_mask(g, lanes, rest), user);
  prn_if_end(g, some);
}
