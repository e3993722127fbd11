/* Scalar code (bodies of nn operators) on vectors; see emit.h. */
#include <assert.h>

#include "backends/llvm/emit.h"
#include "backends/llvm/vecmath.h"
#include "ir/scalar.h"

static prn_v zero(prn_v like) { return LLVMConstNull(LLVMTypeOf(like)); }
static prn_v ints(prn_v like, int64_t v) {
  return prn_cg_iconst(LLVMTypeOf(like), v);
}

static bool is_signed(prn_dtype t) {
  return t == PRN_I8 || t == PRN_I16 || t == PRN_I32 || t == PRN_I64;
}

/* ---- floats ---- */

static prn_v float_sign(prn_cg *g, prn_v x) {
  prn_v one = prn_vm_copysign(g, prn_cg_fconst(LLVMTypeOf(x), 1), x);
  prn_v ordinary = cg_fcmp(g, LLVMRealONE, x, zero(x));
  return cg_select(g, ordinary, one, x); /* zeros and NaN stay */
}

static prn_v float_unary(prn_cg *g, prn_scalar f, prn_v x) {
  switch (f) {
  case PRN_SCALAR_abs:
    return prn_vm_abs(g, x);
  case PRN_SCALAR_neg:
    return LLVMBuildFNeg(g->b, x, "");
  case PRN_SCALAR_relu:
    return prn_vm_max(g, x, zero(x));
  case PRN_SCALAR_sign:
    return float_sign(g, x);
  case PRN_SCALAR_isnan:
    return cg_fcmp(g, LLVMRealUNO, x, x);
  case PRN_SCALAR_isinf:
    return cg_fcmp(g, LLVMRealOEQ, prn_vm_abs(g, x),
                   prn_cg_fconst(LLVMTypeOf(x), (double)__builtin_inf()));
#define ROW(name)         \
  case PRN_SCALAR_##name: \
    return prn_vm_##name(g, x);
    ROW(sqrt)
    ROW(rsqrt)
    ROW(reciprocal)
    ROW(exp)
    ROW(log)
    ROW(erf)
    ROW(gelu)
    ROW(tanh)
    ROW(sigmoid)
    ROW(sin)
    ROW(cos)
    ROW(tan)
    ROW(asin)
    ROW(acos)
    ROW(atan)
    ROW(sinh)
    ROW(cosh)
    ROW(asinh)
    ROW(acosh)
    ROW(atanh)
    ROW(floor)
    ROW(ceil)
    ROW(round)
#undef ROW
  default:
    return NULL;
  }
}

/* The remainder with the sign of b, from the one with the sign of a. */
static prn_v float_mod(prn_cg *g, prn_v a, prn_v b) {
  prn_v r = prn_vm_fmod(g, a, b);
  /* Their product may be too small to have a sign. */
  prn_v differ = LLVMBuildXor(g->b, cg_fcmp(g, LLVMRealOLT, r, zero(r)),
                              cg_fcmp(g, LLVMRealOLT, b, zero(b)), "");
  differ = LLVMBuildAnd(g->b, differ, cg_fcmp(g, LLVMRealONE, r, zero(r)), "");
  return cg_select(g, differ, cg_fadd(g, r, b), r);
}

/* Powers that are not worth two transcendental functions. */
static prn_v float_pow(prn_cg *g, prn_v a, prn_v b) {
  LLVMBool lost;
  prn_v c = prn_cg_lanes(LLVMTypeOf(b)) > 1 && LLVMIsConstant(b)
                ? LLVMGetAggregateElement(b, 0)
                : b;
  if (c && LLVMIsAConstantFP(c)) {
    double e = LLVMConstRealGetDouble(c, &lost);
    if (e == 1) return a;
    if (e == 2) return cg_fmul(g, a, a);
    if (e == 3) return cg_fmul(g, a, cg_fmul(g, a, a));
    if (e == -1) return prn_vm_reciprocal(g, a);
  }
  return prn_vm_pow(g, a, b);
}

static prn_v float_binary(prn_cg *g, prn_scalar f, prn_v a, prn_v b) {
  switch (f) {
  case PRN_SCALAR_add:
    return cg_fadd(g, a, b);
  case PRN_SCALAR_sub:
    return cg_fsub(g, a, b);
  case PRN_SCALAR_mul:
    return cg_fmul(g, a, b);
  case PRN_SCALAR_div:
    return cg_fdiv(g, a, b);
  case PRN_SCALAR_pow:
    return float_pow(g, a, b);
  case PRN_SCALAR_max:
    return prn_vm_max(g, a, b);
  case PRN_SCALAR_min:
    return prn_vm_min(g, a, b);
  case PRN_SCALAR_mod:
    return float_mod(g, a, b);
  case PRN_SCALAR_fmod:
    return prn_vm_fmod(g, a, b);
  case PRN_SCALAR_eq:
    return cg_fcmp(g, LLVMRealOEQ, a, b);
  case PRN_SCALAR_ne:
    return cg_fcmp(g, LLVMRealUNE, a, b);
  case PRN_SCALAR_lt:
    return cg_fcmp(g, LLVMRealOLT, a, b);
  case PRN_SCALAR_le:
    return cg_fcmp(g, LLVMRealOLE, a, b);
  case PRN_SCALAR_gt:
    return cg_fcmp(g, LLVMRealOGT, a, b);
  case PRN_SCALAR_ge:
    return cg_fcmp(g, LLVMRealOGE, a, b);
  default:
    return NULL;
  }
}

/* ---- integers ---- */

static prn_v int_unary(prn_cg *g, prn_scalar f, prn_v x, bool sign) {
  prn_v negative = cg_cmp(g, LLVMIntSLT, x, zero(x));
  prn_v minus = LLVMBuildNeg(g->b, x, "");
  switch (f) {
  case PRN_SCALAR_abs:
    return sign ? cg_select(g, negative, minus, x) : x;
  case PRN_SCALAR_neg:
    return minus;
  case PRN_SCALAR_relu:
    return sign ? cg_select(g, negative, zero(x), x) : x;
  case PRN_SCALAR_floor:
  case PRN_SCALAR_ceil:
  case PRN_SCALAR_round:
    return x;
  case PRN_SCALAR_bitnot:
    return LLVMBuildNot(g->b, x, "");
  case PRN_SCALAR_sign: {
    prn_v some = LLVMBuildZExt(g->b, cg_cmp(g, LLVMIntNE, x, zero(x)),
                               LLVMTypeOf(x), "");
    return sign ? cg_select(g, negative, ints(x, -1), some) : some;
  }
  default:
    return NULL;
  }
}

/* Quotient or remainder; 0 for division by 0, and no trap for the smallest
 * number by -1. */
static prn_v int_divide(prn_cg *g, prn_v a, prn_v b, bool sign, bool rem) {
  prn_v by_zero = cg_cmp(g, LLVMIntEQ, b, zero(b));
  prn_v by_minus = cg_cmp(g, LLVMIntEQ, b, ints(b, -1));
  prn_v bad = sign ? LLVMBuildOr(g->b, by_zero, by_minus, "") : by_zero;
  prn_v d = cg_select(g, bad, ints(b, 1), b);
  prn_v r =
      sign ? rem ? LLVMBuildSRem(g->b, a, d, "") : LLVMBuildSDiv(g->b, a, d, "")
      : rem ? LLVMBuildURem(g->b, a, d, "")
            : LLVMBuildUDiv(g->b, a, d, "");
  if (sign && !rem) r = cg_select(g, by_minus, LLVMBuildNeg(g->b, a, ""), r);
  return cg_select(g, by_zero, zero(a), r);
}

static prn_v int_mod(prn_cg *g, prn_v a, prn_v b, bool sign) {
  prn_v r = int_divide(g, a, b, sign, true);
  if (!sign) return r;
  prn_v differ = cg_cmp(g, LLVMIntSLT, LLVMBuildXor(g->b, r, b, ""), zero(r));
  prn_v some = cg_cmp(g, LLVMIntNE, r, zero(r));
  return cg_select(g, LLVMBuildAnd(g->b, differ, some, ""),
                   LLVMBuildAdd(g->b, r, b, ""), r);
}

/* Amounts outside [0, bits) shift everything out; to the right, copies of the
 * sign come in. */
static prn_v int_shift(prn_cg *g, prn_v a, prn_v b, bool left, bool sign) {
  unsigned bits = LLVMGetIntTypeWidth(prn_cg_elem(LLVMTypeOf(a)));
  prn_v fits = cg_cmp(g, LLVMIntULT, b, ints(b, bits));
  prn_v by = cg_select(g, fits, b, ints(b, sign && !left ? bits - 1 : 0));
  if (!left && sign) return LLVMBuildAShr(g->b, a, by, "");
  prn_v r =
      left ? LLVMBuildShl(g->b, a, by, "") : LLVMBuildLShr(g->b, a, by, "");
  return cg_select(g, fits, r, zero(a));
}

static prn_v int_compare(prn_cg *g, prn_scalar f, prn_v a, prn_v b, bool sign) {
  switch (f) {
  case PRN_SCALAR_eq:
    return cg_cmp(g, LLVMIntEQ, a, b);
  case PRN_SCALAR_ne:
    return cg_cmp(g, LLVMIntNE, a, b);
  case PRN_SCALAR_lt:
    return cg_cmp(g, sign ? LLVMIntSLT : LLVMIntULT, a, b);
  case PRN_SCALAR_le:
    return cg_cmp(g, sign ? LLVMIntSLE : LLVMIntULE, a, b);
  case PRN_SCALAR_gt:
    return cg_cmp(g, sign ? LLVMIntSGT : LLVMIntUGT, a, b);
  case PRN_SCALAR_ge:
    return cg_cmp(g, sign ? LLVMIntSGE : LLVMIntUGE, a, b);
  default:
    return NULL;
  }
}

static prn_v int_binary(prn_cg *g, prn_scalar f, prn_v a, prn_v b,
                        prn_dtype t) {
  bool sign = is_signed(t);
  switch (f) {
  case PRN_SCALAR_add:
    return LLVMBuildAdd(g->b, a, b, "");
  case PRN_SCALAR_sub:
    return LLVMBuildSub(g->b, a, b, "");
  case PRN_SCALAR_mul:
    return LLVMBuildMul(g->b, a, b, "");
  case PRN_SCALAR_div:
    return int_divide(g, a, b, sign, false);
  case PRN_SCALAR_fmod:
    return int_divide(g, a, b, sign, true);
  case PRN_SCALAR_mod:
    return int_mod(g, a, b, sign);
  case PRN_SCALAR_max:
    return cg_select(g, int_compare(g, PRN_SCALAR_gt, a, b, sign), a, b);
  case PRN_SCALAR_min:
    return cg_select(g, int_compare(g, PRN_SCALAR_lt, a, b, sign), a, b);
  case PRN_SCALAR_bitand:
    return LLVMBuildAnd(g->b, a, b, "");
  case PRN_SCALAR_bitor:
    return LLVMBuildOr(g->b, a, b, "");
  case PRN_SCALAR_bitxor:
    return LLVMBuildXor(g->b, a, b, "");
  case PRN_SCALAR_shl:
    return int_shift(g, a, b, true, sign);
  case PRN_SCALAR_shr:
    return int_shift(g, a, b, false, sign);
  case PRN_SCALAR_pow: /* through double, exact below 2^53 */
    return prn_elem_cast(
        g,
        prn_vm_round(g, prn_vm_pow(g, prn_elem_cast(g, a, t, PRN_F64),
                                   prn_elem_cast(g, b, t, PRN_F64))),
        PRN_F64, t);
  default:
    return int_compare(g, f, a, b, sign);
  }
}

static prn_v bool_binary(prn_cg *g, prn_scalar f, prn_v a, prn_v b) {
  switch (f) {
  case PRN_SCALAR_and:
  case PRN_SCALAR_mul:
  case PRN_SCALAR_min:
    return LLVMBuildAnd(g->b, a, b, "");
  case PRN_SCALAR_or:
  case PRN_SCALAR_add:
  case PRN_SCALAR_max:
    return LLVMBuildOr(g->b, a, b, "");
  case PRN_SCALAR_xor:
    return LLVMBuildXor(g->b, a, b, "");
  default:
    return int_compare(g, f, a, b, false);
  }
}

/* ---- which function is known for which type ---- */

prn_v prn_body_apply(prn_cg *g, prn_scalar f, prn_dtype t, prn_v a, prn_v b) {
  if (prn_scalar_arity(f) == 2) {
    if (prn_dtype_is_float(t)) return float_binary(g, f, a, b);
    return t == PRN_BOOL ? bool_binary(g, f, a, b) : int_binary(g, f, a, b, t);
  }
  if (prn_dtype_is_float(t)) return float_unary(g, f, a);
  if (t == PRN_BOOL)
    return f == PRN_SCALAR_not ? LLVMBuildNot(g->b, a, "") : NULL;
  return int_unary(g, f, a, is_signed(t));
}

/* The same question without emitting anything. */
static bool known(prn_scalar f, prn_dtype t) {
  if (t == PRN_F64 && (f == PRN_SCALAR_erf || f == PRN_SCALAR_gelu))
    return false;
  return prn_scalar_takes(f, t);
}

/* ---- bodies ---- */

typedef struct emission {
  prn_emit *e;
  prn_cg *g;
  unsigned lanes;
  prn_index_fn *index;
  void *user;
  prn_ptrmap values; /* prn_value -> prn_v */
} emission;

static prn_v operand(emission *m, const prn_op *op, uint32_t i) {
  return prn_ptrmap_get(&m->values, prn_op_operand(op, i));
}

static prn_v constant(emission *m, const prn_op *op) {
  const prn_tensor *t = prn_op_attr(op, "value")->tensor;
  prn_dtype d = t->type->dtype;
  prn_v v;
  if (prn_dtype_is_float(d)) {
    double x;
    prn_tensor_read_f64(t, 0, 1, &x);
    v = LLVMConstReal(prn_elem_value(m->g, d), x);
  } else {
    int64_t x;
    prn_tensor_read_i64(t, 0, 1, &x);
    v = LLVMConstInt(prn_elem_value(m->g, d), (unsigned long long)x, 1);
  }
  return prn_cg_splat(m->g, v, m->lanes);
}

/* nn.dims in a body: the value of one expression. */
static prn_v dimension(emission *m, const prn_op *op) {
  prn_v d = prn_emit_dim(m->e, prn_op_attr(op, "values")->list[0]->dim);
  prn_v v = prn_cg_splat(m->g, d, m->lanes);
  return prn_elem_cast(m->g, v, PRN_I64, op->results[0].type->dtype);
}

static prn_v emit_op(emission *m, const prn_op *op) {
  prn_cg *g = m->g;
  switch (prn_op_code(op)) {
  case PRN_OP_nn_constant:
    return constant(m, op);
  case PRN_OP_nn_dims:
    return dimension(m, op);
  case PRN_OP_nn_index:
    return m->index(m->e, m->user, prn_op_int(op, "dim", 0), m->lanes);
  case PRN_OP_nn_select:
    return cg_select(g, operand(m, op, 0), operand(m, op, 1),
                     operand(m, op, 2));
  case PRN_OP_nn_cast:
    return prn_elem_cast(g, operand(m, op, 0),
                         prn_op_operand(op, 0)->type->dtype,
                         op->results[0].type->dtype);
  case PRN_OP_nn_bitcast:
    return prn_elem_bitcast(g, operand(m, op, 0),
                            prn_op_operand(op, 0)->type->dtype,
                            op->results[0].type->dtype);
  default:
    return prn_body_apply(g, prn_scalar_find(prn_op_string(op, "fn", "")),
                          prn_op_operand(op, 0)->type->dtype, operand(m, op, 0),
                          op->num_operands > 1 ? operand(m, op, 1) : NULL);
  }
}

void prn_body_emit(prn_emit *e, const prn_block *b, const prn_v *args,
                   unsigned lanes, prn_index_fn *index, void *user,
                   prn_v *out) {
  emission m = {
      .e = e, .g = e->g, .lanes = lanes, .index = index, .user = user};
  for (uint32_t i = 0; i < b->num_args; i++)
    *prn_ptrmap_slot(&m.values, b->args[i]) = args[i];
  PRN_EACH_OP(op, b) {
    if (prn_op_is(op, PRN_OP_nn_yield)) {
      for (uint32_t i = 0; i < op->num_operands; i++)
        out[i] = operand(&m, op, i);
      break;
    }
    prn_v v = emit_op(&m, op);
    assert(v && "the check admitted what cannot be emitted");
    v = prn_elem_round(e->g, v, op->results[0].type->dtype);
    *prn_ptrmap_slot(&m.values, &op->results[0]) = v;
  }
  prn_ptrmap_destroy(&m.values);
}

static prn_status check_op(const prn_op *at, const prn_op *op) {
  prn_dtype t = op->num_operands ? prn_op_operand(op, 0)->type->dtype
                                 : op->results[0].type->dtype;
  switch (prn_op_code(op)) {
  case PRN_OP_nn_yield:
  case PRN_OP_nn_constant:
  case PRN_OP_nn_dims:
  case PRN_OP_nn_index:
  case PRN_OP_nn_select:
  case PRN_OP_nn_cast:
  case PRN_OP_nn_bitcast:
    return PRN_OK;
  case PRN_OP_nn_unary:
  case PRN_OP_nn_binary: {
    prn_str fn = prn_op_string(op, "fn", "");
    if (known(prn_scalar_find(fn), t)) return PRN_OK;
    return prn_op_error(at, "the LLVM backend has no '%.*s' of %s",
                        PRN_STR_ARG(fn), prn_dtype_name(t));
  }
  default:
    return prn_op_error(at, "%.*s cannot be in the body of a kernel",
                        PRN_STR_ARG(prn_op_subject(op)));
  }
}

prn_status prn_body_check(const prn_op *at, const prn_block *b) {
  prn_status status = PRN_OK;
  if (!b) return PRN_OK;
  PRN_EACH_OP(op, b)
    if (check_op(at, op) != PRN_OK) status = PRN_FAIL;
  return status;
}
