#include "ir/type.h"

#include <string.h>

typedef struct dtype_row {
  const char *name;
  uint32_t bits;
} dtype_row;

static const dtype_row dtype_rows[PRN_DTYPE_COUNT] = {
    [PRN_DTYPE_NONE] = {"?", 0},
#define X(code, id, name, bits) [PRN_##id] = {name, bits},
    PRN_DTYPES(X)
#undef X
};

const char *prn_dtype_name(prn_dtype t) { return dtype_rows[t].name; }
uint32_t prn_dtype_bits(prn_dtype t) { return dtype_rows[t].bits; }

uint32_t prn_dtype_width(prn_dtype t) { return (prn_dtype_bits(t) + 7) / 8; }

prn_dtype prn_dtype_from_name(prn_str name) {
  for (int i = 1; i < PRN_DTYPE_COUNT; i++)
    if (prn_str_is(name, dtype_rows[i].name)) return (prn_dtype)i;
  return PRN_DTYPE_NONE;
}

bool prn_dtype_is_float(prn_dtype t) {
  switch (t) {
  case PRN_F32:
  case PRN_F16:
  case PRN_F64:
  case PRN_BF16:
  case PRN_F8E4M3FN:
  case PRN_F8E4M3FNUZ:
  case PRN_F8E5M2:
  case PRN_F8E5M2FNUZ:
  case PRN_F4E2M1:
  case PRN_F8E8M0:
  case PRN_F6E2M3:
  case PRN_F6E3M2:
    return true;
  default:
    return false;
  }
}

bool prn_dtype_is_int(prn_dtype t) {
  switch (t) {
  case PRN_U8:
  case PRN_I8:
  case PRN_U16:
  case PRN_I16:
  case PRN_I32:
  case PRN_I64:
  case PRN_U32:
  case PRN_U64:
  case PRN_U4:
  case PRN_I4:
  case PRN_U2:
  case PRN_I2:
    return true;
  default:
    return false;
  }
}

bool prn_dtype_bytes(prn_dtype t, int64_t count, size_t *out) {
  int64_t bits, bytes;
  if (t == PRN_STRING || t == PRN_DTYPE_NONE || count < 0) return false;
  if (!prn_mul_i64(count, (int64_t)dtype_rows[t].bits, &bits)) return false;
  if (!prn_add_i64(bits, 7, &bytes)) return false;
  *out = (size_t)(bytes / 8);
  return true;
}

static bool same_type(const void *stored, const void *key) {
  const prn_type *a = stored, *b = key;
  if (a->kind != b->kind || a->dtype != b->dtype || a->rank != b->rank ||
      a->offset != b->offset || a->elem != b->elem ||
      (a->strides == NULL) != (b->strides == NULL) ||
      memcmp(&a->sparsity, &b->sparsity, sizeof a->sparsity) != 0)
    return false;
  for (int32_t i = 0; i < a->rank; i++)
    if (a->dims[i] != b->dims[i] ||
        (a->strides && a->strides[i] != b->strides[i]))
      return false;
  return true;
}

static const void *make_type(prn_ctx *ctx, const void *key) {
  prn_arena *arena = prn_ctx_arena(ctx);
  prn_type *t = prn_arena_copy(arena, key, sizeof *t);
  size_t n = t->rank > 0 ? (size_t)t->rank : 0;
  if (t->dims) t->dims = prn_arena_copy(arena, t->dims, n * sizeof *t->dims);
  if (t->strides)
    t->strides = prn_arena_copy(arena, t->strides, n * sizeof *t->strides);
  return t;
}

static const prn_type *unique(prn_ctx *ctx, prn_type t) {
  size_t n = t.rank > 0 ? (size_t)t.rank : 0;
  uint64_t h = prn_hash_bytes(&t.sparsity, sizeof t.sparsity, 7);
  int32_t head[3] = {(int32_t)t.kind, (int32_t)t.dtype, t.rank};
  h = prn_hash_bytes(head, sizeof head, h);
  h = prn_hash_bytes(&t.elem, sizeof t.elem, h);
  if (t.dims) h = prn_hash_bytes(t.dims, n * sizeof *t.dims, h);
  if (t.strides) h = prn_hash_bytes(t.strides, n * sizeof *t.strides, h);
  return prn_ctx_unique(ctx, h, &t, same_type, make_type);
}

const prn_type *prn_type_none(prn_ctx *ctx) {
  return unique(ctx, (prn_type){.kind = PRN_TYPE_NONE});
}
const prn_type *prn_type_any(prn_ctx *ctx) {
  return unique(ctx, (prn_type){.kind = PRN_TYPE_ANY});
}
const prn_type *prn_type_buffer(prn_ctx *ctx) {
  return unique(ctx, (prn_type){.kind = PRN_TYPE_BUFFER});
}
const prn_type *prn_type_scalar(prn_ctx *ctx, prn_dtype dtype) {
  return unique(ctx, (prn_type){.kind = PRN_TYPE_SCALAR, .dtype = dtype});
}
const prn_type *prn_type_unranked(prn_ctx *ctx, prn_dtype dtype) {
  return unique(
      ctx, (prn_type){.kind = PRN_TYPE_TENSOR, .dtype = dtype, .rank = -1});
}

/* Rank 0 still needs a non-NULL dims pointer for memcpy's sake. */
static const prn_dim no_dims[1];

const prn_type *prn_type_tensor(prn_ctx *ctx, prn_dtype dtype, int32_t rank,
                                const prn_dim *dims) {
  if (rank < 0) return prn_type_unranked(ctx, dtype);
  return unique(ctx, (prn_type){.kind = PRN_TYPE_TENSOR,
                                .dtype = dtype,
                                .rank = rank,
                                .dims = rank ? dims : no_dims});
}

const prn_type *prn_type_static(prn_ctx *ctx, prn_dtype dtype, int32_t rank,
                                const int64_t *dims) {
  size_t n = rank > 0 ? (size_t)rank : 1;
  prn_dim *d = prn_alloc(prn_array_size(sizeof(prn_dim), n));
  for (int32_t i = 0; i < rank; i++)
    d[i] = dims[i] < 0 ? prn_dim_unknown(ctx) : prn_dim_const(ctx, dims[i]);
  const prn_type *t = prn_type_tensor(ctx, dtype, rank, d);
  prn_free(d);
  return t;
}

const prn_type *prn_type_sparse_tensor(prn_ctx *ctx, prn_dtype dtype,
                                       int32_t rank, const prn_dim *dims) {
  return unique(ctx, (prn_type){.kind = PRN_TYPE_SPARSE_TENSOR,
                                .dtype = dtype,
                                .rank = rank,
                                .dims = rank > 0 ? dims : no_dims});
}

const prn_type *prn_type_view(prn_ctx *ctx, prn_dtype dtype, int32_t rank,
                              const prn_dim *dims, const prn_dim *strides,
                              prn_dim offset) {
  return unique(ctx, (prn_type){.kind = PRN_TYPE_VIEW,
                                .dtype = dtype,
                                .rank = rank,
                                .dims = rank ? dims : no_dims,
                                .strides = rank ? strides : no_dims,
                                .offset = offset});
}

const prn_type *prn_type_view_dense(prn_ctx *ctx, prn_dtype dtype, int32_t rank,
                                    const prn_dim *dims) {
  size_t n = rank > 0 ? (size_t)rank : 1;
  prn_dim *strides = prn_alloc(prn_array_size(sizeof(prn_dim), n));
  prn_dim step = prn_dim_const(ctx, 1);
  for (int32_t i = rank - 1; i >= 0; i--) {
    strides[i] = step;
    step = prn_dim_mul(ctx, step, dims[i]);
  }
  const prn_type *t =
      prn_type_view(ctx, dtype, rank, dims, strides, prn_dim_const(ctx, 0));
  prn_free(strides);
  return t;
}

const prn_type *prn_type_container(prn_ctx *ctx, prn_type_kind kind,
                                   prn_dtype key, const prn_type *elem) {
  return unique(ctx, (prn_type){.kind = kind, .dtype = key, .elem = elem});
}

const prn_type *prn_type_with_sparsity(prn_ctx *ctx, const prn_type *t,
                                       prn_sparsity s) {
  prn_type copy = *t;
  copy.sparsity = s;
  return unique(ctx, copy);
}

const prn_type *prn_type_with_dtype(prn_ctx *ctx, const prn_type *t,
                                    prn_dtype dtype) {
  prn_type copy = *t;
  copy.dtype = dtype;
  return unique(ctx, copy);
}

bool prn_type_is_ranked(const prn_type *t) {
  return (t->kind == PRN_TYPE_TENSOR || t->kind == PRN_TYPE_VIEW) &&
         t->rank >= 0;
}

bool prn_type_is_static(const prn_type *t) {
  if (!prn_type_is_ranked(t)) return false;
  for (int32_t i = 0; i < t->rank; i++)
    if (!prn_dim_is_const(t->dims[i], NULL)) return false;
  return true;
}

bool prn_type_fits(const prn_type *a, const prn_type *b) {
  int64_t n, m;
  if (b->rank < 0) return true;
  if (a->rank != b->rank) return false;
  for (int32_t i = 0; i < a->rank; i++)
    if (prn_dim_is_const(a->dims[i], &n) && prn_dim_is_const(b->dims[i], &m) &&
        n != m)
      return false;
  return true;
}

bool prn_type_count(const prn_type *t, int64_t *out) {
  int64_t n = 1, d;
  if (!prn_type_is_ranked(t)) return false;
  for (int32_t i = 0; i < t->rank; i++)
    if (!prn_dim_is_const(t->dims[i], &d) || d < 0 || !prn_mul_i64(n, d, &n))
      return false;
  *out = n;
  return true;
}

prn_dim prn_type_size(prn_ctx *ctx, const prn_type *t) {
  prn_dim n = prn_dim_const(ctx, 1);
  for (int32_t i = 0; i < t->rank; i++)
    n = prn_dim_mul(ctx, n, t->dims[i]);
  return n;
}

void prn_sparsity_print(prn_strbuf *b, prn_sparsity s) {
  switch (s.kind) {
  case PRN_SPARSE_NONE:
    prn_strbuf_cstr(b, "#sparse<none>");
    break;
  case PRN_SPARSE_UNSTRUCTURED:
    prn_strbuf_cstr(b, "#sparse<unstructured>");
    break;
  case PRN_SPARSE_NM:
    prn_strbuf_fmt(b, "#sparse<%d:%d axis=%d>", s.n, s.m, s.axis);
    break;
  case PRN_SPARSE_BLOCK:
    prn_strbuf_fmt(b, "#sparse<block %dx%d>", s.rows, s.cols);
    break;
  }
}

static void print_shape(prn_strbuf *b, const prn_type *t) {
  if (t->rank < 0) prn_strbuf_cstr(b, "*x");
  for (int32_t i = 0; i < t->rank; i++) {
    prn_dim_kind kind = t->dims[i]->kind;
    bool bare = kind == PRN_DIM_UNKNOWN ||
                (kind == PRN_DIM_CONST && t->dims[i]->value >= 0);
    if (!bare) prn_strbuf_char(b, '(');
    prn_dim_print(b, t->dims[i]);
    if (!bare) prn_strbuf_char(b, ')');
    prn_strbuf_char(b, 'x');
  }
  prn_strbuf_cstr(b, prn_dtype_name(t->dtype));
}

static void print_view(prn_strbuf *b, const prn_type *t) {
  prn_strbuf_cstr(b, "view<");
  print_shape(b, t);
  prn_strbuf_cstr(b, ", strides [");
  for (int32_t i = 0; i < t->rank; i++) {
    if (i) prn_strbuf_cstr(b, ", ");
    prn_dim_print(b, t->strides[i]);
  }
  prn_strbuf_cstr(b, "], offset ");
  prn_dim_print(b, t->offset);
  prn_strbuf_char(b, '>');
}

void prn_type_print(prn_strbuf *b, const prn_type *t) {
  switch (t->kind) {
  case PRN_TYPE_NONE:
    prn_strbuf_cstr(b, "none");
    break;
  case PRN_TYPE_ANY:
    prn_strbuf_cstr(b, "any");
    break;
  case PRN_TYPE_BUFFER:
    prn_strbuf_cstr(b, "buffer");
    break;
  case PRN_TYPE_SCALAR:
    prn_strbuf_cstr(b, prn_dtype_name(t->dtype));
    break;
  case PRN_TYPE_TENSOR:
  case PRN_TYPE_SPARSE_TENSOR:
    prn_strbuf_cstr(b,
                    t->kind == PRN_TYPE_TENSOR ? "tensor<" : "sparse_tensor<");
    print_shape(b, t);
    if (t->sparsity.kind != PRN_SPARSE_NONE) {
      prn_strbuf_cstr(b, ", ");
      prn_sparsity_print(b, t->sparsity);
    }
    prn_strbuf_char(b, '>');
    break;
  case PRN_TYPE_VIEW:
    print_view(b, t);
    break;
  case PRN_TYPE_MAP:
    prn_strbuf_fmt(b, "map<%s, ", prn_dtype_name(t->dtype));
    prn_type_print(b, t->elem);
    prn_strbuf_char(b, '>');
    break;
  case PRN_TYPE_SEQUENCE:
  case PRN_TYPE_OPTIONAL:
    prn_strbuf_cstr(b, t->kind == PRN_TYPE_SEQUENCE ? "seq<" : "optional<");
    prn_type_print(b, t->elem);
    prn_strbuf_char(b, '>');
    break;
  }
}

const char *prn_type_str(prn_ctx *ctx, const prn_type *t) {
  prn_strbuf b = {0};
  prn_type_print(&b, t);
  const char *text = prn_intern(ctx, prn_strbuf_view(&b)).data;
  prn_strbuf_destroy(&b);
  return text;
}
