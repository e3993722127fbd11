#include "ir/onnx/shape.h"

#include <string.h>

prn_value *prn_shape_in(const prn_op *op, uint32_t i) {
  prn_value *v = prn_op_operand(op, i);
  return v && v->type->kind != PRN_TYPE_NONE ? v : NULL;
}

prn_shape prn_shape_new(prn_infer *env, prn_dtype dtype, int64_t rank) {
  prn_shape s = {dtype, (int32_t)rank, NULL};
  prn_dim unknown = prn_dim_unknown(prn_infer_ctx(env));
  s.dims = PRN_ARENA_ARRAY(prn_infer_scratch(env), prn_dim, rank);
  for (int64_t i = 0; i < rank; i++)
    s.dims[i] = unknown;
  return s;
}

prn_shape prn_shape_of_type(prn_infer *env, const prn_type *t) {
  if (t->kind != PRN_TYPE_TENSOR) return prn_shape_unranked(PRN_DTYPE_NONE);
  if (t->rank < 0) return prn_shape_unranked(t->dtype);
  prn_shape s = {t->dtype, t->rank, NULL};
  s.dims = prn_arena_copy(prn_infer_scratch(env), t->dims,
                          prn_array_size(sizeof *s.dims, (size_t)t->rank));
  return s;
}

prn_shape prn_shape_of(prn_infer *env, const prn_op *op, uint32_t i) {
  prn_value *v = prn_shape_in(op, i);
  if (!v) return prn_shape_unranked(PRN_DTYPE_NONE);
  return prn_shape_of_type(env, v->type);
}

const prn_type *prn_shape_type(prn_infer *env, prn_shape s) {
  prn_ctx *ctx = prn_infer_ctx(env);
  if (s.dtype == PRN_DTYPE_NONE) return prn_type_any(ctx);
  return prn_type_tensor(ctx, s.dtype, s.rank, s.dims);
}

prn_status prn_shape_result(prn_infer *env, prn_op *op, uint32_t i,
                            prn_shape s) {
  if (s.dtype == PRN_DTYPE_NONE) return PRN_OK;
  return prn_infer_result(env, op, i, prn_shape_type(env, s));
}

prn_status prn_shape_dtype_only(prn_infer *env, prn_op *op, uint32_t i,
                                prn_dtype dtype) {
  return prn_shape_result(env, op, i, prn_shape_unranked(dtype));
}

const char *prn_shape_str(prn_infer *env, prn_shape s) {
  prn_strbuf b = {0};
  if (s.rank < 0) return "of unknown rank";
  prn_strbuf_char(&b, '[');
  for (int32_t i = 0; i < s.rank; i++) {
    if (i) prn_strbuf_cstr(&b, ", ");
    prn_dim_print(&b, s.dims[i]);
  }
  prn_strbuf_char(&b, ']');
  const char *text = prn_intern(prn_infer_ctx(env), prn_strbuf_view(&b)).data;
  prn_strbuf_destroy(&b);
  return text;
}

prn_dim prn_shape_const(prn_infer *env, int64_t v) {
  return prn_dim_const(prn_infer_ctx(env), v);
}

prn_dim prn_shape_product(prn_infer *env, prn_shape s, int64_t from,
                          int64_t to) {
  prn_dim p = prn_shape_const(env, 1);
  for (int64_t i = from; i < to; i++)
    p = prn_dim_mul(prn_infer_ctx(env), p, s.dims[i]);
  return p;
}

bool prn_shape_unify(prn_dim a, prn_dim b, prn_dim *out) {
  bool ca = prn_dim_is_const(a, NULL), cb = prn_dim_is_const(b, NULL);
  if (a == b) {
    *out = a;
    return true;
  }
  if (ca && cb) return false;
  *out = (cb || !prn_dim_known(a)) ? b : a;
  return true;
}

bool prn_shape_broadcast(prn_infer *env, prn_shape *a, prn_shape b) {
  if (a->rank < 0 || b.rank < 0) {
    a->rank = -1;
    return true;
  }
  prn_shape wide = a->rank >= b.rank ? *a : b;
  prn_shape narrow = a->rank >= b.rank ? b : *a;
  int32_t shift = wide.rank - narrow.rank;
  prn_shape out = prn_shape_new(env, a->dtype, wide.rank);
  for (int32_t i = 0; i < shift; i++)
    out.dims[i] = wide.dims[i];
  for (int32_t i = shift; i < wide.rank; i++)
    if (!prn_infer_broadcast_dim(env, wide.dims[i], narrow.dims[i - shift],
                                 &out.dims[i]))
      return false;
  *a = out;
  return true;
}

prn_status prn_shape_axis(const prn_op *op, const char *what, int64_t axis,
                          int64_t rank, int32_t *out) {
  if (axis < -rank || axis >= rank)
    return prn_op_error(op, "%s %lld is out of range for rank %lld", what,
                        (long long)axis, (long long)rank);
  *out = (int32_t)(axis < 0 ? axis + rank : axis);
  return PRN_OK;
}

prn_int_list prn_shape_ints(prn_infer *env, const prn_op *op, const char *attr,
                            uint32_t operand) {
  prn_int_list list = {0};
  size_t n;
  const int64_t *v = attr ? prn_op_ints(op, attr, &n) : NULL;
  const prn_attr *present = attr ? prn_op_attr(op, attr) : NULL;
  if (present && present->kind == PRN_ATTR_INTS) {
    prn_dim *elems = PRN_ARENA_ARRAY(prn_infer_scratch(env), prn_dim, n);
    for (size_t i = 0; i < n; i++)
      elems[i] = prn_shape_const(env, v[i]);
    return (prn_int_list){true, (int64_t)n, elems};
  }
  prn_value *in = prn_shape_in(op, operand);
  if (!in) return list;
  list = (prn_int_list){.given = true, .n = -1};
  list.elems = prn_infer_content(env, in, &n);
  if (list.elems) {
    list.n = (int64_t)n;
  } else if (in->type->kind == PRN_TYPE_TENSOR && in->type->rank == 1) {
    (void)prn_dim_is_const(in->type->dims[0], &list.n);
  }
  return list;
}

const int64_t *prn_shape_consts(prn_infer *env, prn_int_list list) {
  if (!list.elems) return NULL;
  int64_t *v = PRN_ARENA_ARRAY(prn_infer_scratch(env), int64_t, list.n + 1);
  for (int64_t i = 0; i < list.n; i++)
    if (!prn_dim_is_const(list.elems[i], &v[i])) return NULL;
  return v;
}

prn_status prn_shape_axes(prn_infer *env, const prn_op *op, prn_int_list list,
                          int64_t rank, bool *known, bool **out_flags) {
  bool *flags = PRN_ARENA_ARRAY(prn_infer_scratch(env), bool, rank + 1);
  const int64_t *axes = prn_shape_consts(env, list);
  *out_flags = flags;
  *known = !list.given || axes;
  if (!axes) return PRN_OK;
  for (int64_t i = 0; i < list.n; i++) {
    int32_t a = 0;
    PRN_TRY(prn_shape_axis(op, "axis", axes[i], rank, &a));
    if (flags[a])
      return prn_op_error(op, "axis %lld is listed twice", (long long)axes[i]);
    flags[a] = true;
  }
  return PRN_OK;
}

prn_dtype prn_shape_dtype_attr(const prn_op *op, const char *name,
                               prn_dtype dflt) {
  const prn_attr *a = prn_op_attr(op, name);
  if (!a || a->kind != PRN_ATTR_INT) return dflt;
  if (a->i <= 0 || a->i >= PRN_DTYPE_COUNT) return PRN_DTYPE_NONE;
  return (prn_dtype)a->i;
}

int64_t prn_shape_small(prn_shape s) {
  int64_t n = 1, d;
  if (s.rank < 0) return -1;
  for (int32_t i = 0; i < s.rank; i++)
    if (!prn_dim_is_const(s.dims[i], &d) || d < 0 || !prn_mul_i64(n, d, &n) ||
        n > PRN_INFER_MAX_CONTENT)
      return -1;
  return n;
}
