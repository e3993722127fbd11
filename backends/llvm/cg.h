/* Code generation helpers over LLVMBuilder.
 *
 * A prn_cg is one LLVM module being filled. The builder folds constants, and
 * the integer helpers below also fold the identities (x*1, x+0, x/1) that
 * index arithmetic over half-known shapes is full of, so callers never need
 * to test whether a size is a constant.
 *
 * Sizes and indices are i64 and never negative unless a helper says so.
 * Floating point is strict: no fast-math flag is ever set, so that scalar,
 * vector and tail code give the same bits. */
#ifndef PRN_BACKENDS_LLVM_CG_H
#define PRN_BACKENDS_LLVM_CG_H

#include <llvm-c/Core.h>

#include "backends/llvm/target.h"
#include "ir/support/arena.h"
#include "ir/support/map.h"

typedef LLVMValueRef prn_v;
typedef LLVMTypeRef prn_t;

typedef struct prn_cg {
  const prn_target *target;
  LLVMContextRef ctx;
  LLVMModuleRef mod;
  LLVMBuilderRef b;
  prn_t none, i1, i8, i16, i32, i64, f16, bf16, f32, f64, ptr;
  prn_t vf;     /* a vector of target->lanes f32 */
  prn_v fn;     /* the function being filled */
  prn_map made; /* functions already generated, by key: prn_cg_memo */
  prn_arena arena;
} prn_cg;

prn_cg *prn_cg_create(const prn_target *target, const char *module_name);
void prn_cg_destroy(prn_cg *g); /* and the module */

/* ---- functions ---- */

/* Starts an internal function: builder at its entry, g->fn set. Returns what
 * prn_cg_end needs to get back to the function being filled before. */
typedef struct prn_cg_scope {
  prn_v fn;
  LLVMBasicBlockRef at;
} prn_cg_scope;
prn_cg_scope prn_cg_begin(prn_cg *g, const char *name, prn_t ret,
                          const prn_t *params, unsigned n);
void prn_cg_end(prn_cg *g, prn_cg_scope s);
/* Attributes every generated function gets; prn_cg_begin applies them. */
void prn_cg_attributes(prn_cg *g, prn_v fn);
void prn_cg_param_attr(prn_cg *g, prn_v fn, unsigned param, const char *attr);
/* Function made earlier under this key, or NULL. */
prn_v prn_cg_made(prn_cg *g, const char *key);
void prn_cg_remember(prn_cg *g, const char *key, prn_v fn);
prn_v prn_cg_call(prn_cg *g, prn_v fn, const prn_v *args, unsigned n);
LLVMBasicBlockRef prn_cg_block(prn_cg *g, const char *name);
/* Stack memory in the entry block, so that loops do not grow the stack. */
prn_v prn_cg_alloca(prn_cg *g, prn_t type, unsigned align);

/* Calls intrinsic `name` overloaded on `over` (NULL: not overloaded). */
prn_v prn_cg_intrinsic(prn_cg *g, const char *name, prn_t over,
                       const prn_v *args, unsigned n);
/* The same for intrinsics overloaded on several types. */
prn_v prn_cg_intrinsic_n(prn_cg *g, const char *name, const prn_t *over,
                         unsigned num_over, const prn_v *args, unsigned n);

/* ---- i64 ---- */

prn_v prn_cg_add(prn_cg *g, prn_v a, prn_v b);
prn_v prn_cg_sub(prn_cg *g, prn_v a, prn_v b);
prn_v prn_cg_mul(prn_cg *g, prn_v a, prn_v b);
prn_v prn_cg_div(prn_cg *g, prn_v a, prn_v b);      /* a >= 0, b > 0 */
prn_v prn_cg_mod(prn_cg *g, prn_v a, prn_v b);      /* a >= 0, b > 0 */
prn_v prn_cg_ceildiv(prn_cg *g, prn_v a, prn_v b);  /* a >= 0, b > 0 */
prn_v prn_cg_floordiv(prn_cg *g, prn_v a, prn_v b); /* any a, b != 0 */
prn_v prn_cg_floormod(prn_cg *g, prn_v a, prn_v b); /* sign of b */
prn_v prn_cg_min(prn_cg *g, prn_v a, prn_v b);      /* signed */
prn_v prn_cg_max(prn_cg *g, prn_v a, prn_v b);
prn_v prn_cg_round_up(prn_cg *g, prn_v a, int64_t to);
bool prn_cg_is_const(prn_v v, int64_t *out); /* i64 constant? */

static inline prn_v cg_i64(prn_cg *g, int64_t v) {
  return LLVMConstInt(g->i64, (unsigned long long)v, 1);
}
static inline prn_v cg_i32(prn_cg *g, int32_t v) {
  return LLVMConstInt(g->i32, (unsigned long long)(int64_t)v, 1);
}
static inline prn_v cg_cmp(prn_cg *g, LLVMIntPredicate p, prn_v a, prn_v b) {
  return LLVMBuildICmp(g->b, p, a, b, "");
}
static inline prn_v cg_lt(prn_cg *g, prn_v a, prn_v b) {
  return LLVMBuildICmp(g->b, LLVMIntSLT, a, b, "");
}
static inline prn_v cg_select(prn_cg *g, prn_v c, prn_v a, prn_v b) {
  return LLVMBuildSelect(g->b, c, a, b, "");
}

/* ---- memory ---- */

/* Address of element index of an array of type at p. */
static inline prn_v cg_at(prn_cg *g, prn_t type, prn_v p, prn_v index) {
  int64_t c;
  if (prn_cg_is_const(index, &c) && c == 0) return p;
  return LLVMBuildInBoundsGEP2(g->b, type, p, &index, 1, "");
}
/* Loads and stores claim element alignment only, also for vectors. */
prn_v prn_cg_load(prn_cg *g, prn_t type, prn_v p);
void prn_cg_store(prn_cg *g, prn_v v, prn_v p);
/* Lanes where mask is false are not touched; they load as zero. A NULL mask
 * means all lanes. */
prn_v prn_cg_load_masked(prn_cg *g, prn_t type, prn_v p, prn_v mask);
void prn_cg_store_masked(prn_cg *g, prn_v v, prn_v p, prn_v mask);
/* Asks for the cache line at p, to be read soon; p need not be valid. */
void prn_cg_prefetch(prn_cg *g, prn_v p);
/* <lanes x i1>: lane < count. */
prn_v prn_cg_tail_mask(prn_cg *g, unsigned lanes, prn_v count);

/* ---- floating point, scalar or vector ---- */

/* The type with n lanes of elem; elem itself for n = 1. */
prn_t prn_cg_vec(prn_t elem, unsigned n);
unsigned prn_cg_lanes(prn_t type); /* 1 for scalars */
prn_t prn_cg_elem(prn_t type);
/* same shape as `like`, element type elem */
prn_t prn_cg_like(prn_t like, prn_t elem);
prn_v prn_cg_splat(prn_cg *g, prn_v scalar, unsigned n);
prn_v prn_cg_fconst(prn_t type, double v); /* also splats */
prn_v prn_cg_iconst(prn_t type, int64_t v);
/* n elements (1, 2 or 4) from p on, each in all lanes of a vector, with one
 * load for all of them. */
void prn_cg_load_splats(prn_cg *g, prn_t elem, prn_v p, unsigned n,
                        unsigned lanes, prn_v *out);
/* a*b + c: one rounding where the target has it, else two. */
prn_v prn_cg_fma(prn_cg *g, prn_v a, prn_v b, prn_v c);

/* Transposes n vectors of n lanes, n a power of two. */
void prn_cg_transpose(prn_cg *g, prn_v *rows, unsigned n);

static inline prn_v cg_fadd(prn_cg *g, prn_v a, prn_v b) {
  return LLVMBuildFAdd(g->b, a, b, "");
}
static inline prn_v cg_fsub(prn_cg *g, prn_v a, prn_v b) {
  return LLVMBuildFSub(g->b, a, b, "");
}
static inline prn_v cg_fmul(prn_cg *g, prn_v a, prn_v b) {
  return LLVMBuildFMul(g->b, a, b, "");
}
static inline prn_v cg_fdiv(prn_cg *g, prn_v a, prn_v b) {
  return LLVMBuildFDiv(g->b, a, b, "");
}
static inline prn_v cg_fcmp(prn_cg *g, LLVMRealPredicate p, prn_v a, prn_v b) {
  return LLVMBuildFCmp(g->b, p, a, b, "");
}

/* ---- loops ---- */

enum { PRN_LOOP_MAX = 40 };

/* for (iv = begin; iv < end; iv += step), carrying values.
 *
 *   prn_loop_begin(g, &l, begin, end, step, init, n);
 *   ... uses l.iv and l.cur[i]; assigns l.next[i] ...
 *   prn_loop_end(g, &l);      then l.out[i] holds the final values
 *
 * end may be at or below begin: the body is skipped, out is init. */
typedef struct prn_loop {
  LLVMBasicBlockRef before, body, exit;
  prn_v iv, step, end;
  unsigned n;
  prn_v init[PRN_LOOP_MAX], cur[PRN_LOOP_MAX];
  prn_v next[PRN_LOOP_MAX], out[PRN_LOOP_MAX];
} prn_loop;

void prn_loop_begin(prn_cg *g, prn_loop *l, prn_v begin, prn_v end,
                    int64_t step, const prn_v *init, unsigned n);
void prn_loop_end(prn_cg *g, prn_loop *l);

/* if (cond) { ... } without an else. */
typedef struct prn_if {
  LLVMBasicBlockRef from, join;
} prn_if;
prn_if prn_if_begin(prn_cg *g, prn_v cond);
void prn_if_end(prn_cg *g, prn_if s);

/* Calls body over [0, n) in vectors of `lanes`: whole ones with a NULL mask,
 * then the rest, masked where the target has masks and one by one where it
 * has not (then lanes is 1). The same formula runs in all of them. */
typedef void prn_vloop_fn(prn_cg *g, prn_v i, unsigned lanes, prn_v mask,
                          void *user);
void prn_cg_vloop(prn_cg *g, prn_v n, unsigned lanes, prn_vloop_fn *body,
                  void *user);

#endif
