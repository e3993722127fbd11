/* Scalar code (bodies of nn operators) as C++; the functions it calls are in
 * device/prune_scalar.h. Floats of 16 and of 8 bits are computed with as
 * f32 and rounded. */
#include <math.h>
#include <string.h>

#include "backends/cuda/cu.h"
#include "ir/scalar.h"

typedef struct emission {
  prn_cu_text *t;
  prn_ptrmap names; /* prn_value -> const char * */
  const char *const *index;
} emission;

static const char *operand(const emission *e, const prn_op *op, uint32_t i) {
  return prn_ptrmap_get(&e->names, prn_op_operand(op, i));
}

/* Computed with as f32, and rounded. */
static bool is_rounded(prn_dtype t) {
  return t == PRN_F16 || t == PRN_BF16 || prn_dtype_is_ofp8(t);
}

const char *prn_cu_float(prn_cu *c, double v, bool is_double) {
  if (isnan(v)) return is_double ? "pmk_nan<double>()" : "pmk_nan<float>()";
  if (isinf(v))
    return prn_cu_str(c, "%spmk_inf<%s>()", v < 0 ? "-" : "",
                      is_double ? "double" : "float");
  /* Enough digits to read back as the same number. */
  const char *text =
      is_double ? prn_cu_str(c, "%.17g", v) : prn_cu_str(c, "%.9g", v);
  return prn_cu_str(c, "%s%s%s", text, strpbrk(text, ".e") ? "" : ".0",
                    is_double ? "" : "f");
}

static const char *constant(emission *e, const prn_op *op) {
  const prn_tensor *t = prn_op_attr(op, "value")->tensor;
  prn_dtype d = t->type->dtype;
  if (prn_dtype_is_float(d)) {
    double x;
    prn_tensor_read_f64(t, 0, 1, &x);
    return prn_cu_float(e->t->c, x, d == PRN_F64);
  }
  int64_t x;
  prn_tensor_read_i64(t, 0, 1, &x);
  if (d == PRN_BOOL) return x ? "true" : "false";
  /* The smallest number has no literal. */
  if (x == INT64_MIN) return prn_cu_str(e->t->c, "INT64_MIN");
  return prn_cu_str(e->t->c, "(%s)INT64_C(%lld)", prn_cu_value_type(d),
                    (long long)x);
}

static const char *apply(emission *e, const prn_op *op) {
  static const struct {
    prn_scalar f;
    const char *sign;
  } infix[] = {
      {PRN_SCALAR_add, "+"}, {PRN_SCALAR_sub, "-"}, {PRN_SCALAR_mul, "*"},
      {PRN_SCALAR_div, "/"}, {PRN_SCALAR_eq, "=="}, {PRN_SCALAR_ne, "!="},
      {PRN_SCALAR_lt, "<"},  {PRN_SCALAR_le, "<="}, {PRN_SCALAR_gt, ">"},
      {PRN_SCALAR_ge, ">="},
  };
  prn_str fn = prn_op_string(op, "fn", "");
  prn_scalar f = prn_scalar_find(fn);
  prn_dtype t = prn_op_operand(op, 0)->type->dtype;
  const char *x = operand(e, op, 0);
  if (prn_scalar_arity(f) == 1)
    return prn_cu_str(e->t->c, "prn_%.*s(%s)", PRN_STR_ARG(fn), x);
  for (size_t i = 0; i < PRN_COUNT(infix) && prn_dtype_is_float(t); i++)
    if (infix[i].f == f)
      return prn_cu_str(e->t->c, "%s %s %s", x, infix[i].sign,
                        operand(e, op, 1));
  return prn_cu_str(e->t->c, "prn_%.*s(%s, %s)", PRN_STR_ARG(fn), x,
                    operand(e, op, 1));
}

static const char *value_of(emission *e, const prn_op *op) {
  prn_cu *c = e->t->c;
  const char *type = prn_cu_value_type(op->results[0].type->dtype);
  switch (prn_op_code(op)) {
  case PRN_OP_nn_constant:
    return constant(e, op);
  case PRN_OP_nn_dims:
    return prn_cu_str(
        c, "(%s)%s", type,
        prn_cu_dim(e->t, prn_op_attr(op, "values")->list[0]->dim));
  case PRN_OP_nn_index:
    return prn_cu_str(c, "(int64_t)%s", e->index[prn_op_int(op, "dim", 0)]);
  case PRN_OP_nn_select:
    return prn_cu_str(c, "%s ? %s : %s", operand(e, op, 0), operand(e, op, 1),
                      operand(e, op, 2));
  case PRN_OP_nn_cast:
    return prn_cu_str(c, "prn_cast<%s>(%s)", type, operand(e, op, 0));
  case PRN_OP_nn_bitcast:
    return prn_cu_str(c, "prn_bitcast<%s>(%s)", type, operand(e, op, 0));
  default:
    return apply(e, op);
  }
}

/* A conversion that changes nothing, or nothing that storing its result would
 * not: both are computed with as the same type. */
static bool is_idle_cast(const prn_op *op) {
  if (!prn_op_is(op, PRN_OP_nn_cast)) return false;
  prn_dtype from = prn_op_operand(op, 0)->type->dtype;
  prn_dtype to = op->results[0].type->dtype;
  if (!prn_str_is(prn_str_from(prn_cu_value_type(from)), prn_cu_value_type(to)))
    return false;
  return !is_rounded(to) ||
         (prn_value_has_one_use(&op->results[0]) &&
          prn_op_is(op->results[0].uses->owner, PRN_OP_nn_yield));
}

void prn_cu_body(prn_cu_text *t, const prn_block *b, const char *const *args,
                 const char *const *index, const char **out) {
  emission e = {.t = t, .index = index};
  for (uint32_t i = 0; i < b->num_args; i++)
    *prn_ptrmap_slot(&e.names, b->args[i]) = (void *)(uintptr_t)args[i];
  PRN_EACH_OP(op, b) {
    if (prn_op_is(op, PRN_OP_nn_yield)) {
      for (uint32_t i = 0; i < op->num_operands; i++)
        out[i] = operand(&e, op, i);
      break;
    }
    prn_dtype d = op->results[0].type->dtype;
    if (is_idle_cast(op)) {
      *prn_ptrmap_slot(&e.names, &op->results[0]) =
          (void *)(uintptr_t)operand(&e, op, 0);
      continue;
    }
    const char *v = value_of(&e, op);
    if (is_rounded(d) && !prn_op_is(op, PRN_OP_nn_constant))
      v = prn_cu_str(t->c, "pmk_round<%s>(%s)", prn_cu_memory_type(d), v);
    const char *name = prn_cu_str(t->c, "v%u", t->num_locals++);
    prn_cu_line(t, "const %s %s = %s;", prn_cu_value_type(d), name, v);
    *prn_ptrmap_slot(&e.names, &op->results[0]) = (void *)(uintptr_t)name;
  }
  prn_ptrmap_destroy(&e.names);
}

/* ---- what there is ---- */

static prn_status check_op(const prn_op *at, const prn_op *op) {
  prn_dtype t = op->num_operands ? prn_op_operand(op, 0)->type->dtype
                                 : op->results[0].type->dtype;
  prn_str fn = prn_op_string(op, "fn", "");
  switch (prn_op_code(op)) {
  case PRN_OP_nn_yield:
  case PRN_OP_nn_constant:
  case PRN_OP_nn_dims:
  case PRN_OP_nn_index:
  case PRN_OP_nn_select:
  case PRN_OP_nn_cast:
  case PRN_OP_nn_bitcast:
    break;
  case PRN_OP_nn_unary:
  case PRN_OP_nn_binary:
    if (prn_scalar_takes(prn_scalar_find(fn), t)) break;
    return prn_op_error(at, "the CUDA backend has no '%.*s' of %s",
                        PRN_STR_ARG(fn), prn_dtype_name(t));
  default:
    return prn_op_error(at, "%.*s cannot be in the body of a kernel",
                        PRN_STR_ARG(prn_op_subject(op)));
  }
  for (uint32_t i = 0; i < op->num_results; i++)
    if (!prn_cu_value_type(op->results[i].type->dtype))
      return prn_op_error(at, "the CUDA backend does not compute with %s",
                          prn_dtype_name(op->results[i].type->dtype));
  return PRN_OK;
}

prn_status prn_cu_body_check(const prn_op *at) {
  const prn_block *b = prn_op_block(at, "body");
  prn_status status = PRN_OK;
  if (!b) return PRN_OK;
  PRN_EACH_OP(op, b)
    if (check_op(at, op) != PRN_OK) status = PRN_FAIL;
  return status;
}
