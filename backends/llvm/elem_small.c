/* Floats of one byte or less; see emit.h. Formats are those of ir/tensor.h. */
#include "backends/llvm/emit.h"
#include "ir/tensor.h"

static prn_v ints(prn_v like, int64_t v) {
  return prn_cg_iconst(LLVMTypeOf(like), v);
}

bool prn_elem_is_small(prn_dtype t) {
  return prn_dtype_is_float(t) && prn_dtype_bits(t) <= 8;
}

static prn_v as_float(prn_cg *g, prn_v bits) {
  return LLVMBuildBitCast(g->b, bits, prn_cg_like(LLVMTypeOf(bits), g->f32),
                          "");
}

static prn_v as_bits(prn_cg *g, prn_v v) {
  return LLVMBuildBitCast(g->b, v, prn_cg_like(LLVMTypeOf(v), g->i32), "");
}

/* ---- e8m0: the exponent of an f32 alone ---- */

static prn_v decode_e8m0(prn_cg *g, prn_v code) {
  prn_v bits = LLVMBuildShl(g->b, code, ints(code, 23), "");
  bits = cg_select(g, cg_cmp(g, LLVMIntEQ, code, ints(code, 0)),
                   ints(code, 0x400000), bits); /* 2^-127 is denormal */
  return as_float(g, cg_select(g, cg_cmp(g, LLVMIntEQ, code, ints(code, 255)),
                               ints(code, 0x7fc00000), bits));
}

/* The nearest power of two, halfway up; what has none is NaN. */
static prn_v encode_e8m0(prn_cg *g, prn_v v) {
  prn_v b = as_bits(g, v), up = LLVMBuildAdd(g->b, b, ints(b, 0x400000), "");
  prn_v code = LLVMBuildLShr(g->b, up, ints(b, 23), "");
  code = cg_select(g, cg_lt(g, b, ints(b, 0x400000)), ints(b, 0), code);
  prn_v good = cg_fcmp(g, LLVMRealOGT, v, LLVMConstNull(LLVMTypeOf(v)));
  return cg_select(g, good, code, ints(b, 255));
}

/* ---- the others ---- */

/* Under the exponent of f32 a code means its value times 2^(bias - 127), also
 * when it is denormal. */
prn_v prn_elem_decode(prn_cg *g, prn_dtype t, prn_v code) {
  prn_float_format f;
  prn_v c =
      LLVMBuildZExt(g->b, code, prn_cg_like(LLVMTypeOf(code), g->i32), "");
  if (!prn_element_format(t, &f)) return decode_e8m0(g, c);
  int64_t sign = (int64_t)1 << (f.e + f.m);
  prn_v low = LLVMBuildAnd(g->b, c, ints(c, sign - 1), "");
  prn_v v = as_float(g, LLVMBuildShl(g->b, low, ints(c, 23 - f.m), ""));
  int64_t scale = (int64_t)(127 - f.bias + 127) << 23;
  v = cg_fmul(g, v, as_float(g, ints(c, scale)));
  prn_v nan = ints(c, 0x7fc00000), bits = as_bits(g, v);
  if (f.nan && f.beyond != f.nan) { /* infinity, and NaNs above it */
    prn_v at = ints(c, (int64_t)f.beyond);
    bits =
        cg_select(g, cg_cmp(g, LLVMIntEQ, low, at), ints(c, 0x7f800000), bits);
    bits = cg_select(g, cg_lt(g, at, low), nan, bits);
  } else if (f.nan && !f.unsigned_zero) {
    bits = cg_select(g, cg_cmp(g, LLVMIntEQ, low, ints(c, (int64_t)f.nan)), nan,
                     bits);
  }
  prn_v minus = LLVMBuildAnd(g->b, c, ints(c, sign), "");
  minus = LLVMBuildShl(g->b, minus, ints(c, 31 - f.e - f.m), "");
  bits = LLVMBuildOr(g->b, bits, minus, "");
  if (f.unsigned_zero)
    bits = cg_select(g, cg_cmp(g, LLVMIntEQ, c, ints(c, (int64_t)f.nan)), nan,
                     bits);
  return as_float(g, bits);
}

/* |v| as a code, without regard to what is too large. */
static prn_v encode_magnitude(prn_cg *g, const prn_float_format *f, prn_v a) {
  int drop = 23 - f->m;
  prn_v odd = LLVMBuildAnd(g->b, LLVMBuildLShr(g->b, a, ints(a, drop), ""),
                           ints(a, 1), "");
  int64_t half = ((int64_t)1 << (drop - 1)) - 1;
  prn_v up =
      LLVMBuildAdd(g->b, a, LLVMBuildAdd(g->b, odd, ints(a, half), ""), "");
  prn_v normal = LLVMBuildSub(g->b, LLVMBuildLShr(g->b, up, ints(a, drop), ""),
                              ints(a, (int64_t)(127 - f->bias) << f->m), "");
  /* Denormal codes: a number whose last place is theirs does the rounding. */
  prn_v magic = ints(a, (int64_t)(1 - f->bias - f->m + 23 + 127) << 23);
  prn_v tiny = cg_fadd(g, as_float(g, a), as_float(g, magic));
  tiny = LLVMBuildSub(g->b, as_bits(g, tiny), magic, "");
  prn_v least = ints(a, (int64_t)(1 - f->bias + 127) << 23);
  return cg_select(g, cg_lt(g, a, least), tiny, normal);
}

prn_v prn_elem_encode(prn_cg *g, prn_dtype t, prn_v v) {
  prn_float_format f;
  prn_t out = prn_cg_like(LLVMTypeOf(v), g->i8);
  if (!prn_element_format(t, &f))
    return LLVMBuildTrunc(g->b, encode_e8m0(g, v), out, "");
  prn_v b = as_bits(g, v), a = LLVMBuildAnd(g->b, b, ints(b, INT32_MAX), "");
  prn_v code = encode_magnitude(g, &f, a);
  prn_v large = cg_lt(g, ints(b, (int64_t)f.largest), code);
  code = cg_select(g, large, ints(b, (int64_t)f.beyond), code);
  prn_v sign = LLVMBuildLShr(g->b, b, ints(b, 31), "");
  sign = LLVMBuildShl(g->b, sign, ints(b, f.e + f.m), "");
  if (f.unsigned_zero) {
    prn_v plain = cg_cmp(g, LLVMIntEQ, code, ints(b, 0));
    plain = LLVMBuildOr(g->b, plain, large, "");
    sign = cg_select(g, plain, ints(b, 0), sign);
  }
  prn_v nan = cg_fcmp(g, LLVMRealUNO, v, v);
  code = cg_select(g, nan, ints(b, (int64_t)f.nan), code);
  if (f.unsigned_zero) sign = cg_select(g, nan, ints(b, 0), sign);
  return LLVMBuildTrunc(g->b, LLVMBuildOr(g->b, code, sign, ""), out, "");
}
