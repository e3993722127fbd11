#include "passes/lower/nn_build.h"

#include <assert.h>
#include <string.h>

prn_op *prn_nn_make_op(prn_nn *b, prn_opcode code, prn_value *const *operands,
                       uint32_t num_operands, const prn_type *const *types,
                       uint32_t num_types) {
  prn_op *op = prn_op_create(b->m, prn_opname_code(b->ctx, code), b->loc,
                             operands, num_operands, types, num_types);
  if (b->before)
    prn_op_insert_before(op, b->before);
  else
    prn_block_append(b->block, op);
  if (b->name.size)
    prn_op_set_attr(op, "$name", prn_attr_string(b->ctx, b->name));
  return op;
}

prn_value *prn_nn_make(prn_nn *b, prn_opcode code, prn_value *const *operands,
                       uint32_t n, const prn_type *type) {
  return prn_op_result(prn_nn_make_op(b, code, operands, n, &type, 1), 0);
}

/* ---- types and attributes ---- */

const prn_type *prn_nn_plain(prn_ctx *ctx, const prn_type *t) {
  if (t->kind != PRN_TYPE_TENSOR || t->sparsity.kind == PRN_SPARSE_NONE)
    return t;
  return prn_type_tensor(ctx, t->dtype, t->rank, t->dims);
}

const prn_type *prn_nn_type(prn_ctx *ctx, const prn_type *like, int32_t rank,
                            const prn_dim *dims) {
  return prn_type_tensor(ctx, like->dtype, rank, dims);
}

bool prn_nn_is_sized(const prn_type *t) {
  if (t->kind != PRN_TYPE_TENSOR || t->rank < 0) return false;
  for (int32_t i = 0; i < t->rank; i++)
    if (!prn_dim_known(t->dims[i])) return false;
  return true;
}

const prn_attr *prn_nn_dim_list(prn_ctx *ctx, const prn_dim *dims, size_t n) {
  const prn_attr **list =
      PRN_ARENA_ARRAY(prn_ctx_arena(ctx), const prn_attr *, n);
  for (size_t i = 0; i < n; i++)
    list[i] = prn_attr_dim(ctx, dims[i]);
  return prn_attr_list(ctx, list, n);
}

prn_dim prn_nn_list_dim(const prn_attr *list, uint32_t i) {
  if (!list || list->kind != PRN_ATTR_LIST || i >= list->size) return NULL;
  const prn_attr *e = list->list[i];
  return e->kind == PRN_ATTR_DIM ? e->dim : NULL;
}

static prn_dim broadcast_dim(prn_ctx *ctx, prn_dim a, prn_dim b) {
  prn_dim out;
  return prn_dim_broadcast(ctx, a, b, &out) ? out : prn_dim_unknown(ctx);
}

const prn_type *prn_nn_broadcast_type(prn_ctx *ctx, prn_dtype dtype,
                                      prn_value *const *v, uint32_t n) {
  prn_dim dims[PRN_NN_MAX_RANK];
  int32_t rank = 0;
  for (uint32_t i = 0; i < n; i++)
    if (v[i]->type->rank > rank) rank = v[i]->type->rank;
  assert(rank <= PRN_NN_MAX_RANK);
  for (int32_t d = 0; d < rank; d++)
    dims[d] = prn_dim_const(ctx, 1);
  for (uint32_t i = 0; i < n; i++) {
    const prn_type *t = v[i]->type;
    for (int32_t d = 0; d < t->rank; d++) {
      int32_t at = d + rank - t->rank;
      dims[at] = broadcast_dim(ctx, dims[at], t->dims[d]);
    }
  }
  return prn_type_tensor(ctx, dtype, rank, dims);
}

/* ---- scalar functions ---- */

static const prn_type *result_type(prn_nn *b, prn_dtype dtype,
                                   prn_value *const *v, uint32_t n) {
  if (v[0]->type->kind == PRN_TYPE_SCALAR)
    return prn_type_scalar(b->ctx, dtype);
  return prn_nn_broadcast_type(b->ctx, dtype, v, n);
}

static prn_value *apply(prn_nn *b, prn_opcode code, prn_scalar f,
                        prn_value *const *v, uint32_t n) {
  bool flag = prn_scalar_is_predicate(f);
  const prn_type *type =
      result_type(b, flag ? PRN_BOOL : v[0]->type->dtype, v, n);
  prn_value *r = prn_nn_make(b, code, v, n, type);
  prn_op_set_attr(r->def, "fn",
                  prn_attr_string(b->ctx, prn_str_from(prn_scalar_name(f))));
  return r;
}

prn_value *prn_nn_unary(prn_nn *b, prn_scalar f, prn_value *x) {
  return apply(b, PRN_OP_nn_unary, f, &x, 1);
}

prn_value *prn_nn_binary(prn_nn *b, prn_scalar f, prn_value *x, prn_value *y) {
  assert(x->type->dtype == y->type->dtype);
  return apply(b, PRN_OP_nn_binary, f, (prn_value *[]){x, y}, 2);
}

prn_value *prn_nn_select(prn_nn *b, prn_value *c, prn_value *x, prn_value *y) {
  prn_value *v[3] = {c, x, y};
  assert(x->type->dtype == y->type->dtype);
  return prn_nn_make(b, PRN_OP_nn_select, v, 3,
                     result_type(b, x->type->dtype, v, 3));
}

prn_value *prn_nn_cast(prn_nn *b, prn_value *x, prn_dtype to) {
  if (x->type->dtype == to) return x;
  return prn_nn_make(b, PRN_OP_nn_cast, &x, 1, result_type(b, to, &x, 1));
}

prn_value *prn_nn_bitcast(prn_nn *b, prn_value *x, prn_dtype to) {
  return prn_nn_make(b, PRN_OP_nn_bitcast, &x, 1, result_type(b, to, &x, 1));
}

/* ---- constants ---- */

prn_value *prn_nn_constant(prn_nn *b, const prn_tensor *t) {
  prn_value *r = prn_nn_make(b, PRN_OP_nn_constant, NULL, 0, t->type);
  prn_op_set_attr(r->def, "value", prn_attr_tensor(b->ctx, t));
  return r;
}

static uint16_t to_bf16(float f) {
  uint32_t u;
  memcpy(&u, &f, 4);
  if (f != f) return 0x7fc0;
  return (uint16_t)((u + 0x7fff + (u >> 16 & 1)) >> 16);
}

/* Round to nearest even; overflow gives infinity. */
static uint16_t to_f16(double v) {
  float f = (float)v;
  uint32_t u, sign, man;
  memcpy(&u, &f, 4);
  sign = u >> 16 & 0x8000;
  int32_t exp = (int32_t)(u >> 23 & 255) - 127 + 15;
  man = u & 0x7fffff;
  if ((u >> 23 & 255) == 255)
    return (uint16_t)(sign | 0x7c00 | (man ? 512 : 0));
  if (exp >= 31) return (uint16_t)(sign | 0x7c00);
  uint32_t shift = 13;
  if (exp <= 0) {
    if (exp < -10) return (uint16_t)sign;
    man |= 0x800000;
    shift = (uint32_t)(14 - exp);
    exp = 0;
  }
  uint32_t half = (1u << (shift - 1)) - 1 + (man >> shift & 1);
  return (uint16_t)(sign + ((uint32_t)exp << 10) + ((man + half) >> shift));
}

/* v as an integer; what no integer is becomes the nearest, NaN zero. */
static uint64_t to_integer(double v) {
  if (v >= 0) return v < 0x1p64 ? (uint64_t)v : UINT64_MAX;
  if (v < 0) return (uint64_t)(v > -0x1p63 ? (int64_t)v : INT64_MIN);
  return 0;
}

/* Element i of packed data = v, rounded. Types narrower than a byte and the
 * float8s are not written by the compiler. */
static void store(prn_dtype t, void *data, size_t i, double v) {
  size_t bytes = prn_dtype_bits(t) / 8;
  char *at = (char *)data + i * bytes;
  float f = (float)v;
  uint64_t bits;
  uint16_t h;
  switch (t) {
  case PRN_F32:
    memcpy(at, &f, 4);
    break;
  case PRN_F64:
    memcpy(at, &v, 8);
    break;
  case PRN_F16:
    h = to_f16(v);
    memcpy(at, &h, 2);
    break;
  case PRN_BF16:
    h = to_bf16(f);
    memcpy(at, &h, 2);
    break;
  case PRN_BOOL:
    *at = v != 0;
    break;
  default:
    bits = to_integer(v);
    memcpy(at, &bits, bytes);
  }
}

const prn_tensor *prn_nn_tensor(prn_ctx *ctx, const prn_type *type,
                                const double *values) {
  int64_t count = 0;
  size_t bytes = 0;
  bool ok = prn_type_count(type, &count) &&
            prn_dtype_bytes(type->dtype, count, &bytes);
  assert(ok && prn_dtype_bits(type->dtype) >= 8);
  (void)ok;
  void *data = prn_alloc(bytes ? bytes : 1);
  for (int64_t i = 0; i < count; i++)
    store(type->dtype, data, (size_t)i, values[i]);
  prn_tensor t = {.type = type, .data = prn_blob_take(ctx, data, bytes)};
  return prn_tensor_clone(ctx, &t);
}

prn_value *prn_nn_scalar(prn_nn *b, prn_dtype dtype, double v) {
  const prn_type *type = prn_type_static(b->ctx, dtype, 0, NULL);
  return prn_nn_constant(b, prn_nn_tensor(b->ctx, type, &v));
}

prn_value *prn_nn_with(prn_nn *b, prn_scalar f, prn_value *x, double v) {
  return prn_nn_binary(b, f, x, prn_nn_scalar(b, x->type->dtype, v));
}

/* The elements as a constant of type, or NULL when one is not constant. */
static const prn_tensor *constant_dims(prn_ctx *ctx, const prn_type *type,
                                       const prn_dim *elems, size_t n) {
  size_t bytes = prn_dtype_bits(type->dtype) / 8;
  char *data = PRN_ARENA_ARRAY(prn_ctx_arena(ctx), char, n *bytes + 1);
  for (size_t i = 0; i < n; i++) {
    int64_t v;
    if (!prn_dim_is_const(elems[i], &v)) return NULL;
    memcpy(data + i * bytes, &v, bytes); /* little-endian hosts only */
  }
  return prn_tensor_from_data(ctx, type, data);
}

prn_value *prn_nn_dims(prn_nn *b, const prn_type *type, const prn_dim *elems,
                       size_t n) {
  const prn_tensor *t = constant_dims(b->ctx, type, elems, n);
  if (t) return prn_nn_constant(b, t);
  prn_value *r = prn_nn_make(b, PRN_OP_nn_dims, NULL, 0, type);
  prn_op_set_attr(r->def, "values", prn_nn_dim_list(b->ctx, elems, n));
  return r;
}

prn_value *prn_nn_size(prn_nn *b, prn_dim d, prn_dtype dtype) {
  int64_t v;
  if (prn_dim_is_const(d, &v)) return prn_nn_scalar(b, dtype, (double)v);
  const prn_type *type = prn_type_static(b->ctx, PRN_I64, 0, NULL);
  return prn_nn_cast(b, prn_nn_dims(b, type, &d, 1), dtype);
}

/* Bits [at, at + n) of a mask. */
static const prn_blob *mask_part(prn_ctx *ctx, const prn_blob *mask, int64_t at,
                                 int64_t n) {
  size_t bytes = (size_t)((n + 7) / 8);
  prn_blob part = {(const char *)mask->data + at / 8, bytes, NULL, 0};
  if (at % 8 == 0)
    return prn_arena_copy(prn_ctx_arena(ctx), &part, sizeof part);
  unsigned char *copy = prn_alloc(bytes + 1);
  memset(copy, 0, bytes);
  for (int64_t i = 0; i < n; i++)
    if (prn_mask_keeps(mask->data, at + i))
      copy[i >> 3] = (unsigned char)(copy[i >> 3] | 1u << (i & 7));
  return prn_blob_take(ctx, copy, bytes);
}

const prn_tensor *prn_nn_part(prn_ctx *ctx, const prn_tensor *t, int64_t at,
                              const prn_type *type) {
  prn_tensor *r = prn_tensor_clone(ctx, t);
  int64_t count = 0, all = prn_tensor_count(t);
  size_t from = 0, size = 0;
  bool ok = prn_type_count(type, &count) &&
            prn_dtype_bytes(type->dtype, count, &size) &&
            prn_dtype_bytes(type->dtype, at, &from);
  assert(ok && at >= 0 && at + count <= all);
  (void)ok;
  r->type = type;
  r->extra = NULL;
  if (at == 0 && count == all) return r;
  prn_blob part = *t->data;
  part.data = (const char *)part.data + from;
  part.offset += from;
  part.size = size;
  r->data = prn_arena_copy(prn_ctx_arena(ctx), &part, sizeof part);
  if (t->mask) r->mask = mask_part(ctx, t->mask, at, count);
  return r;
}

/* ---- moving ---- */

prn_value *prn_nn_reshape(prn_nn *b, prn_value *x, const prn_type *type) {
  const prn_tensor *t = prn_value_constant(x);
  int64_t n;
  type = prn_nn_plain(b->ctx, type);
  if (prn_nn_plain(b->ctx, x->type) == type) return x;
  assert(x->type->dtype == type->dtype);
  if (t && prn_type_count(type, &n) && n == prn_tensor_count(t))
    return prn_nn_constant(b, prn_nn_part(b->ctx, t, 0, type));
  return prn_nn_make(b, PRN_OP_nn_reshape, &x, 1, type);
}

prn_value *prn_nn_reshape_dims(prn_nn *b, prn_value *x, int32_t rank,
                               const prn_dim *dims) {
  return prn_nn_reshape(b, x, prn_nn_type(b->ctx, x->type, rank, dims));
}

prn_value *prn_nn_transpose(prn_nn *b, prn_value *x, const int64_t *perm) {
  prn_dim dims[PRN_NN_MAX_RANK];
  int32_t rank = x->type->rank;
  bool same = true;
  for (int32_t i = 0; i < rank; i++) {
    dims[i] = x->type->dims[perm[i]];
    same = same && perm[i] == i;
  }
  if (same) return x;
  prn_value *r = prn_nn_make(b, PRN_OP_nn_transpose, &x, 1,
                             prn_nn_type(b->ctx, x->type, rank, dims));
  prn_op_set_attr(r->def, "perm", prn_attr_ints(b->ctx, perm, (size_t)rank));
  return r;
}

prn_value *prn_nn_broadcast(prn_nn *b, prn_value *x, const prn_type *type) {
  type = prn_nn_plain(b->ctx, type);
  if (prn_nn_plain(b->ctx, x->type) == type) return x;
  return prn_nn_make(b, PRN_OP_nn_broadcast, &x, 1, type);
}

prn_value *prn_nn_slice(prn_nn *b, prn_value *x, const prn_type *type,
                        const prn_dim *starts, const int64_t *steps) {
  size_t rank = (size_t)type->rank;
  type = prn_nn_plain(b->ctx, type);
  bool same = prn_nn_plain(b->ctx, x->type) == type;
  for (size_t i = 0; same && i < rank; i++)
    same = prn_dim_is(starts[i], 0) && steps[i] == 1;
  if (same) return x;
  prn_value *r = prn_nn_make(b, PRN_OP_nn_slice, &x, 1, type);
  prn_op_set_attr(r->def, "starts", prn_nn_dim_list(b->ctx, starts, rank));
  prn_op_set_attr(r->def, "steps", prn_attr_ints(b->ctx, steps, rank));
  return r;
}

/* Rows of a constant, when its leading dimension is the one that is cut. */
static prn_value *slice_rows(prn_nn *b, prn_value *x, int32_t axis,
                             prn_dim from, const prn_type *type) {
  const prn_tensor *t = prn_value_constant(x);
  int64_t row = 1, at, n, d;
  for (int32_t i = 0; t && i < axis; i++)
    if (!prn_dim_is_const(x->type->dims[i], &d) || d != 1) return NULL;
  if (!t || !prn_dim_is_const(from, &at) || at < 0 ||
      !prn_type_count(type, &n) || prn_dtype_bits(type->dtype) < 8)
    return NULL;
  for (int32_t i = axis + 1; i < type->rank; i++)
    if (!prn_dim_is_const(type->dims[i], &d) || !prn_mul_i64(row, d, &row))
      return NULL;
  if (!prn_mul_i64(at, row, &at) || at > prn_tensor_count(t) - n) return NULL;
  return prn_nn_constant(b, prn_nn_part(b->ctx, t, at, type));
}

prn_value *prn_nn_slice_axis(prn_nn *b, prn_value *x, int32_t axis,
                             prn_dim from, prn_dim size) {
  prn_dim starts[PRN_NN_MAX_RANK], dims[PRN_NN_MAX_RANK];
  int64_t steps[PRN_NN_MAX_RANK];
  int32_t rank = x->type->rank;
  for (int32_t i = 0; i < rank; i++) {
    starts[i] = i == axis ? from : prn_dim_const(b->ctx, 0);
    dims[i] = i == axis ? size : x->type->dims[i];
    steps[i] = 1;
  }
  const prn_type *type = prn_nn_type(b->ctx, x->type, rank, dims);
  prn_value *rows = slice_rows(b, x, axis, from, type);
  return rows ? rows : prn_nn_slice(b, x, type, starts, steps);
}

prn_value *prn_nn_concat(prn_nn *b, prn_value *const *x, uint32_t n,
                         int32_t axis, const prn_type *type) {
  if (n == 1) return x[0];
  prn_value *r = prn_nn_make(b, PRN_OP_nn_concat, x, n, type);
  prn_op_set_attr(r->def, "axis", prn_attr_int(b->ctx, axis));
  return r;
}

prn_value *prn_nn_pad(prn_nn *b, prn_value *x, prn_value *fill,
                      const prn_type *type, const prn_dim *lows,
                      const char *mode) {
  prn_value *in[2] = {x, fill};
  prn_value *r = prn_nn_make(b, PRN_OP_nn_pad, in, fill ? 2 : 1, type);
  prn_op_set_attr(r->def, "lows",
                  prn_nn_dim_list(b->ctx, lows, (size_t)type->rank));
  prn_op_set_attr(r->def, "mode", prn_attr_string(b->ctx, prn_str_from(mode)));
  return r;
}

prn_value *prn_nn_iota(prn_nn *b, const prn_type *type, int32_t axis,
                       prn_dim start, prn_dim step) {
  prn_value *r = prn_nn_make(b, PRN_OP_nn_iota, NULL, 0, type);
  prn_op_set_attr(r->def, "axis", prn_attr_int(b->ctx, axis));
  if (start) prn_op_set_attr(r->def, "start", prn_attr_dim(b->ctx, start));
  if (step) prn_op_set_attr(r->def, "step", prn_attr_dim(b->ctx, step));
  return r;
}

/* ---- with structure ---- */

prn_value *prn_nn_matmul(prn_nn *b, prn_value *x, prn_value *y,
                         prn_dtype dtype) {
  prn_dim dims[PRN_NN_MAX_RANK];
  const prn_type *s = x->type, *t = y->type;
  int32_t rank = s->rank > t->rank ? s->rank : t->rank;
  for (int32_t i = 0; i < rank - 2; i++) {
    int32_t is = i - (rank - s->rank), it = i - (rank - t->rank);
    prn_dim one = prn_dim_const(b->ctx, 1);
    dims[i] = broadcast_dim(b->ctx, is >= 0 ? s->dims[is] : one,
                            it >= 0 ? t->dims[it] : one);
  }
  dims[rank - 2] = s->dims[s->rank - 2];
  dims[rank - 1] = t->dims[t->rank - 1];
  return prn_nn_make(b, PRN_OP_nn_matmul, (prn_value *[]){x, y}, 2,
                     prn_type_tensor(b->ctx, dtype, rank, dims));
}

prn_value *prn_nn_reduce(prn_nn *b, const char *fn, prn_value *x,
                         const int64_t *axes, size_t n) {
  prn_dim dims[PRN_NN_MAX_RANK];
  for (int32_t i = 0; i < x->type->rank; i++)
    dims[i] = x->type->dims[i];
  for (size_t i = 0; i < n; i++)
    dims[axes[i]] = prn_dim_const(b->ctx, 1);
  prn_value *r = prn_nn_make(b, PRN_OP_nn_reduce, &x, 1,
                             prn_nn_type(b->ctx, x->type, x->type->rank, dims));
  prn_op_set_attr(r->def, "fn", prn_attr_string(b->ctx, prn_str_from(fn)));
  prn_op_set_attr(r->def, "axes", prn_attr_ints(b->ctx, axes, n));
  return r;
}

prn_value *prn_nn_mean(prn_nn *b, prn_value *x, const int64_t *axes, size_t n) {
  prn_dim size = prn_dim_const(b->ctx, 1);
  for (size_t i = 0; i < n; i++)
    size = prn_dim_mul(b->ctx, size, x->type->dims[axes[i]]);
  prn_value *sum = prn_nn_reduce(b, "sum", x, axes, n);
  return prn_nn_binary(b, PRN_SCALAR_div, sum,
                       prn_nn_size(b, size, x->type->dtype));
}

/* ---- places of elements ---- */

prn_value *prn_nn_gather(prn_nn *b, prn_value *x, prn_value *indices,
                         int32_t axis) {
  prn_dim dims[2 * PRN_NN_MAX_RANK];
  const prn_type *t = x->type, *ti = indices->type;
  prn_value *in[2] = {x, indices};
  int32_t n = 0;
  for (int32_t i = 0; i < t->rank; i++) {
    if (i != axis) dims[n++] = t->dims[i];
    for (int32_t k = 0; i == axis && k < ti->rank; k++)
      dims[n++] = ti->dims[k];
  }
  prn_value *r =
      prn_nn_make(b, PRN_OP_nn_gather, in, 2, prn_nn_type(b->ctx, t, n, dims));
  prn_op_set_attr(r->def, "axis", prn_attr_int(b->ctx, axis));
  return r;
}

prn_value *prn_nn_gather_elements(prn_nn *b, prn_value *x, prn_value *indices,
                                  int32_t axis) {
  prn_value *in[2] = {x, indices};
  const prn_type *t =
      prn_type_with_dtype(b->ctx, indices->type, x->type->dtype);
  prn_value *r =
      prn_nn_make(b, PRN_OP_nn_gather_elements, in, 2, prn_nn_plain(b->ctx, t));
  prn_op_set_attr(r->def, "axis", prn_attr_int(b->ctx, axis));
  return r;
}

prn_value *prn_nn_scatter(prn_nn *b, prn_value *x, prn_value *indices,
                          prn_value *updates, const char *fn) {
  prn_value *in[3] = {x, indices, updates};
  prn_value *r =
      prn_nn_make(b, PRN_OP_nn_scatter, in, 3, prn_nn_plain(b->ctx, x->type));
  prn_op_set_attr(r->def, "fn", prn_attr_string(b->ctx, prn_str_from(fn)));
  return r;
}

prn_value *prn_nn_sort(prn_nn *b, prn_value *x, bool descending,
                       prn_value **indices) {
  const prn_type *t = prn_nn_plain(b->ctx, x->type);
  const prn_type *types[2] = {t, prn_type_with_dtype(b->ctx, t, PRN_I64)};
  prn_op *op = prn_nn_make_op(b, PRN_OP_nn_sort, &x, 1, types, 2);
  if (descending)
    prn_op_set_attr(op, "descending", prn_attr_bool(b->ctx, true));
  *indices = prn_op_result(op, 1);
  return prn_op_result(op, 0);
}

prn_value *prn_nn_softmax(prn_nn *b, prn_value *x, int32_t axis, bool log) {
  prn_value *r =
      prn_nn_make(b, PRN_OP_nn_softmax, &x, 1, prn_nn_plain(b->ctx, x->type));
  prn_op_set_attr(r->def, "axis", prn_attr_int(b->ctx, axis));
  if (log) prn_op_set_attr(r->def, "log", prn_attr_bool(b->ctx, true));
  return r;
}

prn_value *prn_nn_positions(prn_nn *b, const prn_type *t, int32_t axis) {
  prn_dim dims[PRN_NN_MAX_RANK], one = prn_dim_const(b->ctx, 1);
  for (int32_t i = 0; i < t->rank; i++)
    dims[i] = i == axis ? t->dims[i] : one;
  return prn_nn_iota(b, prn_type_tensor(b->ctx, PRN_I64, t->rank, dims), axis,
                     NULL, NULL);
}
