/* Elements in memory and in registers; see emit.h. */
#include <assert.h>

#include "backends/llvm/emit.h"

prn_t prn_elem_memory(prn_cg *g, prn_dtype t) {
  switch (t) {
  case PRN_F32:
    return g->f32;
  case PRN_F64:
    return g->f64;
  case PRN_F16:
    return g->f16;
  case PRN_BF16:
  case PRN_I16:
  case PRN_U16:
    return g->i16;
  case PRN_I32:
  case PRN_U32:
    return g->i32;
  case PRN_I64:
  case PRN_U64:
    return g->i64;
  default:
    return g->i8;
  }
}

prn_t prn_elem_value(prn_cg *g, prn_dtype t) {
  if (t == PRN_F16 || t == PRN_BF16 || prn_elem_is_small(t)) return g->f32;
  return t == PRN_BOOL ? g->i1 : prn_elem_memory(g, t);
}

bool prn_elem_supported(const prn_target *target, prn_dtype t) {
  switch (t) {
  case PRN_F16:
    return target->half;
  case PRN_F32:
  case PRN_F64:
  case PRN_BF16:
  case PRN_I8:
  case PRN_U8:
  case PRN_I16:
  case PRN_U16:
  case PRN_I32:
  case PRN_U32:
  case PRN_I64:
  case PRN_U64:
  case PRN_BOOL:
  case PRN_I4:
  case PRN_U4:
  case PRN_I2:
  case PRN_U2:
    return true;
  default:
    return prn_elem_is_small(t);
  }
}

prn_v prn_elem_at(prn_cg *g, prn_dtype t, prn_v base, prn_v index) {
  return cg_at(g, prn_elem_memory(g, t), base, index);
}

/* ---- memory form <-> value ---- */

static prn_v ints(prn_v like, int64_t v) {
  return prn_cg_iconst(LLVMTypeOf(like), v);
}

/* Rounds to nearest even in integers: not every target has it as an
 * instruction, and the library call must not be used. */
static prn_v to_bf16(prn_cg *g, prn_v v) {
  prn_t i32 = prn_cg_like(LLVMTypeOf(v), g->i32);
  prn_v b = LLVMBuildBitCast(g->b, v, i32, "");
  prn_v odd = LLVMBuildAnd(g->b, LLVMBuildLShr(g->b, b, ints(b, 16), ""),
                           ints(b, 1), "");
  prn_v up =
      LLVMBuildAdd(g->b, b, LLVMBuildAdd(g->b, odd, ints(b, 0x7fff), ""), "");
  prn_v nan = cg_fcmp(g, LLVMRealUNO, v, v);
  up = cg_select(g, nan, LLVMBuildOr(g->b, b, ints(b, 0x400000), ""), up);
  return LLVMBuildTrunc(g->b, LLVMBuildLShr(g->b, up, ints(up, 16), ""),
                        prn_cg_like(i32, g->i16), "");
}

static prn_v from_bf16(prn_cg *g, prn_v v) {
  prn_t i32 = prn_cg_like(LLVMTypeOf(v), g->i32);
  prn_v w = LLVMBuildZExt(g->b, v, i32, "");
  w = LLVMBuildShl(g->b, w, ints(w, 16), "");
  return LLVMBuildBitCast(g->b, w, prn_cg_like(i32, g->f32), "");
}

static prn_v to_value(prn_cg *g, prn_dtype t, prn_v v) {
  if (t == PRN_BOOL) return cg_cmp(g, LLVMIntNE, v, ints(v, 0));
  if (t == PRN_BF16) return from_bf16(g, v);
  if (prn_elem_is_small(t)) return prn_elem_decode(g, t, v);
  if (t == PRN_F16)
    return LLVMBuildFPExt(g->b, v, prn_cg_like(LLVMTypeOf(v), g->f32), "");
  return v;
}

static prn_v to_memory(prn_cg *g, prn_dtype t, prn_v v) {
  prn_t type = prn_cg_like(LLVMTypeOf(v), prn_elem_memory(g, t));
  if (t == PRN_BOOL) return LLVMBuildZExt(g->b, v, type, "");
  if (t == PRN_BF16) return to_bf16(g, v);
  if (prn_elem_is_small(t)) return prn_elem_encode(g, t, v);
  if (t == PRN_F16) return LLVMBuildFPTrunc(g->b, v, type, "");
  return v;
}

/* ---- loads and stores ---- */

prn_v prn_elem_iota(prn_cg *g, prn_v start, unsigned lanes) {
  prn_v c[64];
  assert(lanes <= PRN_COUNT(c));
  if (lanes == 1) return start;
  for (unsigned i = 0; i < lanes; i++)
    c[i] = cg_i64(g, i);
  return LLVMBuildAdd(g->b, prn_cg_splat(g, start, lanes),
                      LLVMConstVector(c, lanes), "");
}

/* <lanes x ptr>, stride elements apart. */
static prn_v addresses(prn_cg *g, prn_t elem, prn_v p, prn_v stride,
                       unsigned lanes) {
  prn_v index = LLVMBuildMul(g->b, prn_elem_iota(g, cg_i64(g, 0), lanes),
                             prn_cg_splat(g, stride, lanes), "");
  return LLVMBuildInBoundsGEP2(g->b, elem, p, &index, 1, "");
}

static prn_v every_lane(prn_cg *g, unsigned lanes) {
  return LLVMConstAllOnes(LLVMVectorType(g->i1, lanes));
}

static prn_v scattered(prn_cg *g, const char *name, prn_t data, prn_v *args) {
  prn_t over[2] = {data, LLVMVectorType(g->ptr, prn_cg_lanes(data))};
  return prn_cg_intrinsic_n(g, name, over, 2, args, 4);
}

prn_v prn_elem_load(prn_cg *g, prn_dtype t, prn_v p, prn_v stride,
                    unsigned lanes, prn_v mask) {
  prn_t elem = prn_elem_memory(g, t), type = prn_cg_vec(elem, lanes);
  int64_t s = -1;
  (void)prn_cg_is_const(stride, &s);
  if (lanes == 1) return to_value(g, t, prn_cg_load(g, elem, p));
  if (s == 1) return to_value(g, t, prn_cg_load_masked(g, type, p, mask));
  if (s == 0)
    return prn_cg_splat(g, to_value(g, t, prn_cg_load(g, elem, p)), lanes);
  unsigned align = LLVMABIAlignmentOfType(g->target->layout, elem);
  prn_v v = scattered(
      g, "llvm.masked.gather", type,
      (prn_v[]){addresses(g, elem, p, stride, lanes), cg_i32(g, (int32_t)align),
                mask ? mask : every_lane(g, lanes), LLVMConstNull(type)});
  return to_value(g, t, v);
}

void prn_elem_store(prn_cg *g, prn_dtype t, prn_v v, prn_v p, prn_v stride,
                    unsigned lanes, prn_v mask) {
  prn_t elem = prn_elem_memory(g, t);
  int64_t s = -1;
  (void)prn_cg_is_const(stride, &s);
  v = to_memory(g, t, v);
  if (lanes == 1) {
    prn_cg_store(g, v, p);
    return;
  }
  if (s == 1) {
    prn_cg_store_masked(g, v, p, mask);
    return;
  }
  unsigned align = LLVMABIAlignmentOfType(g->target->layout, elem);
  scattered(g, "llvm.masked.scatter", LLVMTypeOf(v),
            (prn_v[]){v, addresses(g, elem, p, stride, lanes),
                      cg_i32(g, (int32_t)align),
                      mask ? mask : every_lane(g, lanes)});
}

/* ---- conversions ---- */

static bool is_signed(prn_dtype t) {
  return t == PRN_I2 || t == PRN_I4 || t == PRN_I8 || t == PRN_I16 ||
         t == PRN_I32 || t == PRN_I64;
}

prn_v prn_elem_round(prn_cg *g, prn_v v, prn_dtype t) {
  if (t != PRN_F16 && t != PRN_BF16 && !prn_elem_is_small(t)) return v;
  return to_value(g, t, to_memory(g, t, v));
}

static prn_v float_to_float(prn_cg *g, prn_v v, prn_dtype from, prn_dtype to) {
  prn_t type = prn_cg_like(LLVMTypeOf(v), prn_elem_value(g, to));
  if (from == PRN_F64 && to != PRN_F64) v = LLVMBuildFPTrunc(g->b, v, type, "");
  /* Rounded to the storage type, so that a cast is visible. */
  if (prn_dtype_bits(to) < 32) return prn_elem_round(g, v, to);
  if (to == PRN_F64 && from != PRN_F64) v = LLVMBuildFPExt(g->b, v, type, "");
  return v;
}

/* v, a vector or scalar of f32, within [lo, hi]; 0 for NaN. */
static prn_v clamp(prn_cg *g, prn_v v, double lo, double hi) {
  prn_t t = LLVMTypeOf(v);
  prn_v least = prn_cg_fconst(t, lo), most = prn_cg_fconst(t, hi), x = v;
  x = LLVMBuildSelect(g->b, cg_fcmp(g, LLVMRealOGT, x, least), x, least, "");
  x = LLVMBuildSelect(g->b, cg_fcmp(g, LLVMRealOLT, x, most), x, most, "");
  if (!(lo < 0)) return x; /* NaN has become lo */
  return LLVMBuildSelect(g->b, cg_fcmp(g, LLVMRealUNO, v, v), LLVMConstNull(t),
                         x, "");
}

/* Truncates and saturates; NaN gives 0. LLVM has intrinsics for it, which code
 * generators take apart lane by lane; narrow integers can do without. */
static prn_v float_to_int(prn_cg *g, prn_v v, prn_dtype from, prn_dtype to) {
  unsigned bits = prn_dtype_bits(to);
  prn_t type = prn_cg_like(LLVMTypeOf(v), prn_elem_value(g, to));
  if (bits > 16 || from == PRN_F64)
    return prn_cg_intrinsic_n(
        g, is_signed(to) ? "llvm.fptosi.sat" : "llvm.fptoui.sat",
        (prn_t[]){type, LLVMTypeOf(v)}, 2, &v, 1);
  int64_t range = (int64_t)1 << bits, lo = is_signed(to) ? -range / 2 : 0;
  v = clamp(g, v, (double)lo, (double)(lo + range - 1));
  v = LLVMBuildFPToSI(g->b, v, prn_cg_like(type, g->i32), "");
  return LLVMBuildTrunc(g->b, v, type, "");
}

/* An integer of less than a byte, extended to it. */
static prn_v wrap(prn_cg *g, prn_v v, prn_dtype t) {
  if (prn_dtype_bits(t) >= 8) return v;
  prn_v by = ints(v, 8 - (int64_t)prn_dtype_bits(t));
  v = LLVMBuildShl(g->b, v, by, "");
  return is_signed(t) ? LLVMBuildAShr(g->b, v, by, "")
                      : LLVMBuildLShr(g->b, v, by, "");
}

prn_v prn_elem_bitcast(prn_cg *g, prn_v v, prn_dtype from, prn_dtype to) {
  v = to_memory(g, from, v);
  prn_t type = prn_cg_like(LLVMTypeOf(v), prn_elem_memory(g, to));
  return to_value(g, to, LLVMBuildBitCast(g->b, v, type, ""));
}

prn_v prn_elem_cast(prn_cg *g, prn_v v, prn_dtype from, prn_dtype to) {
  if (from == to) return v;
  prn_t type = prn_cg_like(LLVMTypeOf(v), prn_elem_value(g, to));
  bool ff = prn_dtype_is_float(from), ft = prn_dtype_is_float(to);
  if (ff && ft) return float_to_float(g, v, from, to);
  if (to == PRN_BOOL)
    return ff ? cg_fcmp(g, LLVMRealUNE, v, LLVMConstNull(LLVMTypeOf(v)))
              : cg_cmp(g, LLVMIntNE, v, LLVMConstNull(LLVMTypeOf(v)));
  if (ff) return float_to_int(g, v, from, to);
  if (ft) {
    v = is_signed(from) ? LLVMBuildSIToFP(g->b, v, type, "")
                        : LLVMBuildUIToFP(g->b, v, type, "");
    return prn_elem_round(g, v, to);
  }
  unsigned a = from == PRN_BOOL ? 1 : 8 * prn_dtype_width(from);
  unsigned b = 8 * prn_dtype_width(to);
  if (a > b) v = LLVMBuildTrunc(g->b, v, type, "");
  if (a >= b) return wrap(g, v, to);
  return is_signed(from) ? LLVMBuildSExt(g->b, v, type, "")
                         : LLVMBuildZExt(g->b, v, type, "");
}

prn_v prn_fold_lanes(prn_cg *g, prn_fold_fn *fold, void *user, prn_v v) {
  for (unsigned n = prn_cg_lanes(LLVMTypeOf(v)) / 2; n >= 1; n /= 2) {
    prn_v lo[64], hi[64];
    for (unsigned i = 0; i < n; i++) {
      lo[i] = cg_i32(g, (int32_t)i);
      hi[i] = cg_i32(g, (int32_t)(i + n));
    }
    prn_v none = LLVMGetPoison(LLVMTypeOf(v));
    prn_v a = LLVMBuildShuffleVector(g->b, v, none, LLVMConstVector(lo, n), "");
    prn_v b = LLVMBuildShuffleVector(g->b, v, none, LLVMConstVector(hi, n), "");
    v = fold(g, a, b, user);
  }
  if (LLVMGetTypeKind(LLVMTypeOf(v)) != LLVMVectorTypeKind) return v;
  return LLVMBuildExtractElement(g->b, v, cg_i32(g, 0), "");
}
