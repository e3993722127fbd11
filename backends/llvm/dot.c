/* Steps of narrow products, and the packing of their activations; see dot.h. */
#include "backends/llvm/dot.h"

#include <assert.h>
#include <stdio.h>

prn_t prn_dot_sum(prn_cg *g, prn_dot_kind kind) {
  return prn_cg_vec(kind == PRN_DOT_U8S8 ? g->i32 : g->f32, g->target->lanes);
}

/* ---- steps ---- */

static prn_v cast(prn_cg *g, prn_v v, prn_t elem, unsigned n) {
  return LLVMBuildBitCast(g->b, v, prn_cg_vec(elem, n), "");
}

static prn_v bf16_step(prn_cg *g, prn_v sum, prn_v x, prn_v w) {
  unsigned n = 2 * g->target->lanes;
  assert(g->target->dot16);
  return prn_cg_intrinsic(
      g, "llvm.x86.avx512bf16.dpbf16ps.512", NULL,
      (prn_v[]){sum, cast(g, x, g->bf16, n), cast(g, w, g->bf16, n)}, 3);
}

static prn_v u8s8_instruction(prn_cg *g, prn_v sum, prn_v x, prn_v w) {
  unsigned lanes = g->target->lanes;
  if (g->target->arch == PRN_ARCH_X86_64)
    return prn_cg_intrinsic(g,
                            lanes == 16 ? "llvm.x86.avx512.vpdpbusd.512"
                                        : "llvm.x86.avx512.vpdpbusd.256",
                            NULL, (prn_v[]){sum, x, w}, 3);
  prn_t over[2] = {LLVMTypeOf(sum), prn_cg_vec(g->i8, 4 * lanes)};
  return prn_cg_intrinsic_n(g, "llvm.aarch64.neon.usdot", over, 2,
                            (prn_v[]){sum,
                                      LLVMBuildBitCast(g->b, x, over[1], ""),
                                      LLVMBuildBitCast(g->b, w, over[1], "")},
                            3);
}

/* Even and odd bytes as 16-bit lanes, whose products are summed in pairs:
 * two bytes times two bytes cannot overflow 32 bits. */
static prn_v u8s8_pairs(prn_cg *g, prn_v sum, prn_v x, prn_v w) {
  static const char *const names[] = {"llvm.x86.sse2.pmadd.wd",
                                      "llvm.x86.avx2.pmadd.wd",
                                      "llvm.x86.avx512.pmaddw.d.512"};
  unsigned lanes = g->target->lanes, n = 2 * lanes;
  const char *name = names[lanes == 16 ? 2 : lanes == 8 ? 1 : 0];
  prn_t t = prn_cg_vec(g->i16, n);
  prn_v eight = prn_cg_iconst(t, 8), low = prn_cg_iconst(t, 255);
  x = cast(g, x, g->i16, n);
  w = cast(g, w, g->i16, n);
  prn_v x0 = LLVMBuildAnd(g->b, x, low, "");
  prn_v x1 = LLVMBuildLShr(g->b, x, eight, "");
  prn_v w0 = LLVMBuildAShr(g->b, LLVMBuildShl(g->b, w, eight, ""), eight, "");
  prn_v w1 = LLVMBuildAShr(g->b, w, eight, "");
  prn_v p0 = prn_cg_intrinsic(g, name, NULL, (prn_v[]){x0, w0}, 2);
  prn_v p1 = prn_cg_intrinsic(g, name, NULL, (prn_v[]){x1, w1}, 2);
  return LLVMBuildAdd(g->b, sum, LLVMBuildAdd(g->b, p0, p1, ""), "");
}

/* Byte by byte, in 32-bit lanes. */
static prn_v u8s8_single(prn_cg *g, prn_v sum, prn_v x, prn_v w) {
  prn_t t = LLVMTypeOf(sum);
  prn_v top = prn_cg_iconst(t, 24), low = prn_cg_iconst(t, 255);
  for (int i = 0; i < 4; i++) {
    prn_v xi = LLVMBuildAnd(
        g->b, LLVMBuildLShr(g->b, x, prn_cg_iconst(t, 8 * i), ""), low, "");
    prn_v wi = LLVMBuildAShr(
        g->b, LLVMBuildShl(g->b, w, prn_cg_iconst(t, 24 - 8 * i), ""), top, "");
    sum = LLVMBuildAdd(g->b, LLVMBuildMul(g->b, xi, wi, ""), sum, "");
  }
  return sum;
}

prn_v prn_dot_step(prn_cg *g, prn_dot_kind kind, prn_v sum, prn_v x, prn_v w) {
  unsigned lanes = prn_cg_lanes(LLVMTypeOf(sum));
  bool whole = lanes == g->target->lanes;
  if (kind == PRN_DOT_F32)
    return prn_cg_fma(g, cast(g, x, g->f32, lanes), cast(g, w, g->f32, lanes),
                      sum);
  if (kind == PRN_DOT_BF16) return bf16_step(g, sum, x, w);
  if (whole && g->target->dot8) return u8s8_instruction(g, sum, x, w);
  if (whole && g->target->arch == PRN_ARCH_X86_64)
    return u8s8_pairs(g, sum, x, w);
  return u8s8_single(g, sum, x, w);
}

/* ---- packing ---- */

typedef struct packer {
  prn_dot_kind kind;
  prn_v x, x_row;
  unsigned rows; /* of this cell: the last may have fewer */
  prn_v out;
} packer;

/* One row of x from column i on, as 32-bit lanes of what the cell holds. */
static prn_v load_row(prn_cg *g, const packer *p, unsigned row, prn_v i,
                      unsigned lanes, prn_v mask) {
  bool bytes = p->kind == PRN_DOT_U8S8;
  prn_t elem = bytes ? g->i8 : g->f32, i32 = prn_cg_vec(g->i32, lanes);
  prn_v at = prn_cg_add(g, prn_cg_mul(g, p->x_row, cg_i64(g, row)), i);
  prn_v v = prn_cg_load_masked(g, prn_cg_vec(elem, lanes),
                               cg_at(g, elem, p->x, at), mask);
  if (bytes) return LLVMBuildZExt(g->b, v, i32, "");
  if (p->kind == PRN_DOT_F32) return LLVMBuildBitCast(g->b, v, i32, "");
  /* Targets that have the product have the conversion. */
  v = prn_cg_intrinsic(g, "llvm.x86.avx512bf16.cvtneps2bf16.512", NULL, &v, 1);
  v = LLVMBuildBitCast(g->b, v, prn_cg_vec(g->i16, lanes), "");
  return LLVMBuildZExt(g->b, v, i32, "");
}

static void pack_cell(prn_cg *g, prn_v i, unsigned lanes, prn_v mask,
                      void *user) {
  packer *p = user;
  unsigned bits = 32 / prn_dot_depth(p->kind);
  prn_v cell = load_row(g, p, 0, i, lanes, mask);
  for (unsigned r = 1; r < p->rows; r++) {
    prn_v v = load_row(g, p, r, i, lanes, mask);
    prn_v by = prn_cg_iconst(LLVMTypeOf(v), (int64_t)(r * bits));
    cell = LLVMBuildOr(g->b, cell, LLVMBuildShl(g->b, v, by, ""), "");
  }
  prn_cg_store(g, cell, cg_at(g, g->i32, p->out, i));
}

static void pack_rows(prn_cg *g, packer *p, prn_v cols, prn_v width) {
  prn_loop l;
  prn_cg_vloop(g, cols, g->target->lanes, pack_cell, p);
  if (g->target->masks) cols = prn_cg_round_up(g, cols, g->target->lanes);
  prn_loop_begin(g, &l, cols, width, 1, NULL, 0);
  prn_cg_store(g, cg_i32(g, 0), cg_at(g, g->i32, p->out, l.iv));
  prn_loop_end(g, &l);
}

static void pack_body(prn_cg *g, prn_dot_kind kind, int64_t depth, prn_v x,
                      prn_v x_row, prn_v cols, prn_v width, prn_v out) {
  int64_t cell = prn_dot_depth(kind), whole = depth / cell;
  packer p = {.kind = kind, .x_row = x_row, .rows = (unsigned)cell};
  prn_v step = prn_cg_mul(g, x_row, cg_i64(g, cell));
  prn_t elem = kind == PRN_DOT_U8S8 ? g->i8 : g->f32;
  prn_loop l;
  prn_loop_begin(g, &l, cg_i64(g, 0), cg_i64(g, whole), 1, NULL, 0);
  p.x = cg_at(g, elem, x, prn_cg_mul(g, l.iv, step));
  p.out = cg_at(g, g->i32, out, prn_cg_mul(g, l.iv, width));
  pack_rows(g, &p, cols, width);
  prn_loop_end(g, &l);
  if (depth % cell == 0) return;
  p.rows = (unsigned)(depth % cell);
  p.x = cg_at(g, elem, x, prn_cg_mul(g, cg_i64(g, whole), step));
  p.out = cg_at(g, g->i32, out, prn_cg_mul(g, cg_i64(g, whole), width));
  pack_rows(g, &p, cols, width);
}

void prn_dot_pack(prn_cg *g, prn_dot_kind kind, prn_v x, prn_v x_row,
                  int64_t depth, prn_v cols, prn_v width, prn_v out) {
  char key[64];
  (void)snprintf(key, sizeof key, "dot_pack_%d_%lld", (int)kind,
                 (long long)depth);
  prn_v fn = prn_cg_made(g, key);
  if (!fn) {
    prn_t params[5] = {g->ptr, g->i64, g->i64, g->i64, g->ptr};
    prn_cg_scope s = prn_cg_begin(g, key, g->none, params, 5);
    fn = g->fn;
    prn_cg_remember(g, key, fn);
    prn_cg_param_attr(g, fn, 0, "noalias");
    prn_cg_param_attr(g, fn, 4, "noalias");
    pack_body(g, kind, depth, LLVMGetParam(fn, 0), LLVMGetParam(fn, 1),
              LLVMGetParam(fn, 2), LLVMGetParam(fn, 3), LLVMGetParam(fn, 4));
    LLVMBuildRetVoid(g->b);
    prn_cg_end(g, s);
  }
  prn_cg_call(g, fn, (prn_v[]){x, x_row, cols, width, out}, 5);
}
