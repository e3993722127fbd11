/* What the table of the nn dialect cannot say: shapes, lists, bodies. Text in
 * this dialect is input like any other, and lowering relies on all of it. */
#include "ir/op.h"
#include "ir/op_info.h"
#include "ir/scalar.h"

enum { MAX_RANK = 16 }; /* what lowering keeps room for */

/* ---- parts ---- */

static bool is_scalar(const prn_value *v) {
  return v && v->type->kind == PRN_TYPE_SCALAR;
}

/* Unranked values are an error of every op below onnx and reported as such. */
static prn_status ranked(const prn_op *op, const prn_value *v) {
  bool tensor = v->type->kind == PRN_TYPE_TENSOR;
  if (v->type->kind == PRN_TYPE_ANY || (tensor && v->type->rank < 0))
    return PRN_FAIL;
  if (tensor && v->type->rank <= MAX_RANK) return PRN_OK;
  return prn_op_error(op,
                      "%s must be a tensor of at most %d dimensions, "
                      "found %s",
                      prn_value_str(v), (int)MAX_RANK,
                      prn_type_str(op->module->ctx, v->type));
}

static prn_status all_ranked(const prn_op *op) {
  for (uint32_t i = 0; i < op->num_operands; i++) {
    const prn_value *v = prn_op_operand(op, i);
    if (v) PRN_TRY(ranked(op, v));
  }
  for (uint32_t i = 0; i < op->num_results; i++)
    PRN_TRY(ranked(op, &op->results[i]));
  return PRN_OK;
}

static int32_t rank_of(const prn_op *op, uint32_t operand) {
  return prn_op_operand(op, operand)->type->rank;
}

static prn_status same_rank(const prn_op *op, int32_t want) {
  int32_t found = op->results[0].type->rank;
  if (found == want) return PRN_OK;
  return prn_op_error(op, "the result must have %d dimensions, found %d",
                      (int)want, (int)found);
}

static prn_status axis_in(const prn_op *op, int32_t rank) {
  int64_t axis = prn_op_int(op, "axis", 0);
  if (axis >= 0 && axis < rank) return PRN_OK;
  return prn_op_error(op, "axis %lld is not one of %d dimensions",
                      (long long)axis, (int)rank);
}

/* A list of n DIMs, when it is there. */
static prn_status dim_list(const prn_op *op, const char *name, int64_t n) {
  const prn_attr *a = prn_op_attr(op, name);
  if (!a) return PRN_OK;
  if (a->kind != PRN_ATTR_LIST || a->size != n)
    return prn_op_error(op, "'%s' must be a list of %lld dimensions", name,
                        (long long)n);
  for (uint32_t i = 0; i < a->size; i++)
    if (a->list[i]->kind != PRN_ATTR_DIM || !prn_dim_known(a->list[i]->dim))
      return prn_op_error(op, "element %u of '%s' is not a known dimension",
                          (unsigned)i, name);
  return PRN_OK;
}

/* n integers, each at least `least` (or, for INT64_MIN, not 0). */
static prn_status int_list(const prn_op *op, const char *name, int64_t n,
                           int64_t least) {
  size_t size;
  const int64_t *v = prn_op_ints(op, name, &size);
  if ((int64_t)size != n)
    return prn_op_error(op, "'%s' must have %lld values, found %zu", name,
                        (long long)n, size);
  for (size_t i = 0; i < size; i++)
    if (least == INT64_MIN ? v[i] == 0 : v[i] < least)
      return prn_op_error(op, "value %lld in '%s' is out of range",
                          (long long)v[i], name);
  return PRN_OK;
}

static prn_status one_of(const prn_op *op, const char *name,
                         const char *const *words, const char *list) {
  prn_str s = prn_op_string(op, name, "");
  for (; *words; words++)
    if (prn_str_is(s, *words)) return PRN_OK;
  return prn_op_error(op, "'%s' must be one of %s, found '%.*s'", name, list,
                      PRN_STR_ARG(s));
}

/* ---- bodies ---- */

static prn_status scalar_code(const prn_op *op, const prn_op *inner) {
  switch (prn_op_code(inner)) {
  case PRN_OP_nn_unary:
  case PRN_OP_nn_binary:
  case PRN_OP_nn_select:
  case PRN_OP_nn_cast:
  case PRN_OP_nn_bitcast:
  case PRN_OP_nn_constant:
  case PRN_OP_nn_index:
  case PRN_OP_nn_dims:
  case PRN_OP_nn_yield:
    break;
  default:
    return prn_op_error(op, "a body may not hold %.*s",
                        PRN_STR_ARG(prn_op_subject(inner)));
  }
  for (uint32_t i = 0; i < inner->num_results; i++)
    if (!is_scalar(&inner->results[i]))
      return prn_op_error(inner, "must give a scalar in a body");
  for (uint32_t i = 0; i < inner->num_operands; i++)
    if (!is_scalar(prn_op_operand(inner, i)))
      return prn_op_error(inner, "must take scalars in a body");
  return PRN_OK;
}

/* The body of attribute `body`: `args` scalars in, `yields` out. */
prn_status prn_verify_scalar_body(prn_op *op, uint32_t args, uint32_t yields) {
  const prn_block *b = prn_op_block(op, "body");
  if (!b) return PRN_OK;
  if (b->num_args != args)
    return prn_op_error(op, "the body must take %u scalars, found %u",
                        (unsigned)args, (unsigned)b->num_args);
  for (uint32_t i = 0; i < args; i++)
    if (!is_scalar(b->args[i]))
      return prn_op_error(op, "argument %u of the body is not a scalar",
                          (unsigned)i);
  PRN_EACH_OP(inner, b)
    PRN_TRY(scalar_code(op, inner));
  if (!prn_op_is(b->last, PRN_OP_nn_yield) || b->last->num_operands != yields)
    return prn_op_error(op, "the body must end by yielding %u scalars",
                        (unsigned)yields);
  return PRN_OK;
}

/* ---- elementwise ---- */

static prn_status scalars_or_tensors(prn_op *op) {
  if (!is_scalar(&op->results[0])) return all_ranked(op);
  for (uint32_t i = 0; i < op->num_operands; i++)
    if (!is_scalar(prn_op_operand(op, i)))
      return prn_op_error(op, "mixes scalars and tensors");
  return PRN_OK;
}

prn_status prn_verify_nn_scalar(prn_op *op) {
  PRN_TRY(scalars_or_tensors(op));
  if (!prn_op_is(op, PRN_OP_nn_unary) && !prn_op_is(op, PRN_OP_nn_binary))
    return PRN_OK;
  prn_str fn = prn_op_string(op, "fn", "");
  prn_scalar f = prn_scalar_find(fn);
  if (f == PRN_SCALAR_COUNT)
    return prn_op_error(op, "there is no scalar function '%.*s'",
                        PRN_STR_ARG(fn));
  if (prn_scalar_arity(f) != (int)op->num_operands)
    return prn_op_error(op, "'%.*s' takes %d operands, found %u",
                        PRN_STR_ARG(fn), prn_scalar_arity(f),
                        (unsigned)op->num_operands);
  return PRN_OK;
}

prn_status prn_verify_nn_map(prn_op *op) {
  PRN_TRY(all_ranked(op));
  if (op->num_results == 0) return prn_op_error(op, "has no result");
  return prn_verify_scalar_body(op, op->num_operands, op->num_results);
}

prn_status prn_verify_nn_ranked(prn_op *op) { return all_ranked(op); }

/* ---- movement ---- */

prn_status prn_verify_nn_transpose(prn_op *op) {
  size_t n;
  uint32_t seen = 0;
  PRN_TRY(all_ranked(op));
  int32_t rank = rank_of(op, 0);
  const int64_t *perm = prn_op_ints(op, "perm", &n);
  for (size_t i = 0; i < n; i++)
    if (perm[i] >= 0 && perm[i] < rank) seen |= 1u << perm[i];
  if ((int64_t)n != rank || seen != (1u << rank) - 1)
    return prn_op_error(op, "'perm' is not a permutation of %d dimensions",
                        (int)rank);
  return same_rank(op, rank);
}

prn_status prn_verify_nn_slice(prn_op *op) {
  PRN_TRY(all_ranked(op));
  PRN_TRY(dim_list(op, "starts", rank_of(op, 0)));
  PRN_TRY(int_list(op, "steps", rank_of(op, 0), INT64_MIN));
  return same_rank(op, rank_of(op, 0));
}

prn_status prn_verify_nn_concat(prn_op *op) {
  PRN_TRY(all_ranked(op));
  for (uint32_t i = 0; i < op->num_operands; i++) {
    if (!prn_op_operand(op, i))
      return prn_op_error(op, "operand %u is absent", (unsigned)i);
    PRN_TRY(same_rank(op, rank_of(op, i)));
  }
  return axis_in(op, op->results[0].type->rank);
}

prn_status prn_verify_nn_pad(prn_op *op) {
  static const char *const modes[] = {"constant", "reflect", "edge", "wrap",
                                      NULL};
  PRN_TRY(all_ranked(op));
  PRN_TRY(dim_list(op, "lows", rank_of(op, 0)));
  if (prn_op_attr(op, "mode"))
    PRN_TRY(one_of(op, "mode", modes, "constant, reflect, edge and wrap"));
  return same_rank(op, rank_of(op, 0));
}

prn_status prn_verify_nn_gather(prn_op *op) {
  PRN_TRY(all_ranked(op));
  PRN_TRY(axis_in(op, rank_of(op, 0)));
  if (prn_op_is(op, PRN_OP_nn_gather))
    return same_rank(op, rank_of(op, 0) + rank_of(op, 1) - 1);
  PRN_TRY(same_rank(op, rank_of(op, 0)));
  return same_rank(op, rank_of(op, 1));
}

prn_status prn_verify_nn_scatter(prn_op *op) {
  static const char *const fns[] = {"set", "add", "mul", "max", "min", NULL};
  PRN_TRY(all_ranked(op));
  PRN_TRY(one_of(op, "fn", fns, "set, add, mul, max and min"));
  if (rank_of(op, 0) != 2 || rank_of(op, 1) != 1 || rank_of(op, 2) != 2)
    return prn_op_error(op, "takes rows, a list of indices and rows");
  return same_rank(op, 2);
}

prn_status prn_verify_nn_sort(prn_op *op) {
  PRN_TRY(all_ranked(op));
  PRN_TRY(same_rank(op, rank_of(op, 0)));
  if (rank_of(op, 0) < 1 || op->results[1].type->rank != rank_of(op, 0))
    return prn_op_error(op, "takes a tensor and gives two of its shape");
  return PRN_OK;
}

prn_status prn_verify_nn_dims(prn_op *op) {
  int64_t n = 1;
  if (!is_scalar(&op->results[0])) {
    PRN_TRY(all_ranked(op));
    if (!prn_type_count(op->results[0].type, &n))
      return prn_op_error(op, "the result must have a constant shape");
  }
  return dim_list(op, "values", n);
}

prn_status prn_verify_nn_iota(prn_op *op) {
  PRN_TRY(all_ranked(op));
  return axis_in(op, op->results[0].type->rank);
}

prn_status prn_verify_nn_index(prn_op *op) {
  int64_t dim = prn_op_int(op, "dim", -1);
  if (!is_scalar(&op->results[0]) || op->results[0].type->dtype != PRN_I64)
    return prn_op_error(op, "must give an i64");
  if (dim >= 0 && dim < MAX_RANK) return PRN_OK;
  return prn_op_error(op, "dimension %lld does not exist", (long long)dim);
}

/* ---- products and windows ---- */

static bool is_half(prn_dtype t) { return t == PRN_F16 || t == PRN_BF16; }

/* Element types of a product's operands and what its sums are. */
static prn_status product_types(prn_op *op) {
  prn_dtype a = prn_op_operand(op, 0)->type->dtype;
  prn_dtype b = prn_op_operand(op, 1)->type->dtype;
  prn_dtype r = op->results[0].type->dtype, sum = a;
  if (a == PRN_U8 && b == PRN_I8)
    sum = PRN_I32;
  else if (a != b && !(is_half(a) && b == PRN_F32) &&
           !(a == PRN_F32 && is_half(b)))
    return prn_op_error(op, "cannot multiply %s by %s", prn_dtype_name(a),
                        prn_dtype_name(b));
  bool wider = is_half(a) || prn_dtype_is_ofp8(a);
  if (r == sum || (wider && r == PRN_F32) || prn_op_block(op, "body"))
    return PRN_OK;
  return prn_op_error(op, "gives sums of type %s, found %s",
                      prn_dtype_name(sum), prn_dtype_name(r));
}

prn_status prn_verify_nn_matmul(prn_op *op) {
  PRN_TRY(all_ranked(op));
  PRN_TRY(product_types(op));
  int32_t a = rank_of(op, 0), b = rank_of(op, 1);
  if (a < 2 || b < 2)
    return prn_op_error(op, "takes matrices, found %d and %d dimensions",
                        (int)a, (int)b);
  PRN_TRY(same_rank(op, a > b ? a : b));
  return prn_verify_scalar_body(op, op->num_operands - 1, 1);
}

prn_status prn_verify_nn_attention(prn_op *op) {
  PRN_TRY(all_ranked(op));
  int32_t rank = op->results[0].type->rank;
  for (uint32_t i = 0; i < 3; i++)
    if (rank_of(op, i) < 2)
      return prn_op_error(op, "takes matrices, found %d dimensions",
                          (int)rank_of(op, i));
  for (uint32_t i = 0; i < op->num_operands; i++)
    if (rank_of(op, i) > rank)
      return prn_op_error(op, "operand %u has more dimensions than the result",
                          i);
  return prn_verify_scalar_body(op, op->num_operands - 2, 1);
}

static prn_status window(prn_op *op, int32_t spatial) {
  PRN_TRY(int_list(op, "strides", spatial, 1));
  PRN_TRY(int_list(op, "dilations", spatial, 1));
  PRN_TRY(dim_list(op, "pads", spatial));
  return dim_list(op, "pads_high", spatial);
}

prn_status prn_verify_nn_conv(prn_op *op) {
  PRN_TRY(all_ranked(op));
  PRN_TRY(product_types(op));
  int32_t rank = rank_of(op, 0);
  if (rank < 3 || rank_of(op, 1) != rank)
    return prn_op_error(op,
                        "takes operands of one rank of at least 3, found "
                        "%d and %d",
                        (int)rank, (int)rank_of(op, 1));
  if (prn_op_int(op, "group", 0) < 1)
    return prn_op_error(op, "group %lld is not positive",
                        (long long)prn_op_int(op, "group", 0));
  PRN_TRY(window(op, rank - 2));
  PRN_TRY(same_rank(op, rank));
  return prn_verify_scalar_body(op, op->num_operands - 1, 1);
}

prn_status prn_verify_nn_pool(prn_op *op) {
  static const char *const fns[] = {"max", "avg", NULL};
  PRN_TRY(all_ranked(op));
  int32_t rank = rank_of(op, 0);
  if (rank < 3)
    return prn_op_error(op, "takes at least 3 dimensions, found %d", (int)rank);
  PRN_TRY(one_of(op, "fn", fns, "max and avg"));
  PRN_TRY(int_list(op, "kernel", rank - 2, 1));
  PRN_TRY(window(op, rank - 2));
  return same_rank(op, rank);
}

/* ---- reductions ---- */

prn_status prn_verify_nn_reduce(prn_op *op) {
  static const char *const fns[] = {"sum", "prod", "max", "min", NULL};
  size_t n;
  PRN_TRY(all_ranked(op));
  PRN_TRY(one_of(op, "fn", fns, "sum, prod, max and min"));
  if (op->num_operands == 0 || !prn_op_operand(op, 0))
    return prn_op_error(op, "has no operand");
  const int64_t *axes = prn_op_ints(op, "axes", &n);
  for (size_t i = 0; i < n; i++)
    if (axes[i] < 0 || axes[i] >= rank_of(op, 0) ||
        (i > 0 && axes[i] <= axes[i - 1]))
      return prn_op_error(op, "'axes' must be sorted dimensions of the "
                              "operand");
  PRN_TRY(same_rank(op, rank_of(op, 0)));
  if (!prn_op_block(op, "body") && op->num_operands != 1)
    return prn_op_error(op, "needs a body for several operands");
  return prn_verify_scalar_body(op, op->num_operands, 1);
}

prn_status prn_verify_nn_axis(prn_op *op) {
  static const char *const fns[] = {"max", "min", NULL};
  PRN_TRY(all_ranked(op));
  if (prn_op_is(op, PRN_OP_nn_arg_reduce))
    PRN_TRY(one_of(op, "fn", fns, "max and min"));
  PRN_TRY(axis_in(op, rank_of(op, 0)));
  return same_rank(op, rank_of(op, 0));
}

/* ---- recurrent, control, structure ---- */

prn_status prn_verify_nn_cell(prn_op *op) {
  static const int32_t lstm[] = {3, 2, 2, 1, 2, 2};
  static const char *const fns[] = {"tanh", "relu", "sigmoid", NULL};
  PRN_TRY(all_ranked(op));
  if (prn_op_is(op, PRN_OP_nn_rnn))
    PRN_TRY(one_of(op, "fn", fns, "tanh, relu and sigmoid"));
  for (uint32_t i = 0; i < op->num_operands && i < PRN_COUNT(lstm); i++)
    if (prn_op_operand(op, i) && rank_of(op, i) != lstm[i])
      return prn_op_error(op, "operand %u must have %d dimensions, found %d",
                          (unsigned)i, (int)lstm[i], (int)rank_of(op, i));
  PRN_TRY(same_rank(op, 3));
  for (uint32_t i = 1; i < op->num_results; i++)
    if (op->results[i].type->rank != 2)
      return prn_op_error(op, "result %u must have 2 dimensions", (unsigned)i);
  return PRN_OK;
}

prn_status prn_verify_nn_if(prn_op *op) {
  static const char *const names[] = {"then", "else"};
  PRN_TRY(all_ranked(op));
  for (int k = 0; k < 2; k++) {
    const prn_block *b = prn_op_block(op, names[k]);
    if (!b || !prn_op_is(b->last, PRN_OP_nn_yield) ||
        b->last->num_operands != op->num_results)
      return prn_op_error(op, "block '%s' must yield %u values", names[k],
                          (unsigned)op->num_results);
    for (uint32_t i = 0; i < op->num_results; i++) {
      const prn_value *v = prn_op_operand(b->last, i);
      if (!v || v->type->rank != op->results[i].type->rank ||
          v->type->dtype != op->results[i].type->dtype)
        return prn_op_error(op, "block '%s' yields another type for result %u",
                            names[k], (unsigned)i);
    }
  }
  return PRN_OK;
}

prn_status prn_verify_nn_func(prn_op *op) {
  const prn_block *b = prn_op_block(op, "body");
  if (!b || !prn_op_is(b->last, PRN_OP_nn_return)) return PRN_FAIL; /* said */
  for (uint32_t i = 0; i < b->num_args; i++)
    PRN_TRY(ranked(op, b->args[i]));
  for (uint32_t i = 0; i < b->last->num_operands; i++) {
    const prn_value *v = prn_op_operand(b->last, i);
    if (!v) return prn_op_error(op, "output %u is absent", (unsigned)i);
    PRN_TRY(ranked(op, v));
  }
  return PRN_OK;
}
