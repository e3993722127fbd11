#include "ir/attr.h"

#include <string.h>

static const prn_attr *make(prn_ctx *ctx, prn_attr a) {
  return prn_arena_copy(prn_ctx_arena(ctx), &a, sizeof a);
}

#define COPY(ctx, v, n) \
  prn_arena_copy(prn_ctx_arena(ctx), (v), prn_array_size(sizeof *(v), (n)))

const prn_attr *prn_attr_unit(prn_ctx *ctx) {
  return make(ctx, (prn_attr){.kind = PRN_ATTR_UNIT});
}
const prn_attr *prn_attr_bool(prn_ctx *ctx, bool v) {
  return make(ctx, (prn_attr){.kind = PRN_ATTR_BOOL, .i = v});
}
const prn_attr *prn_attr_int(prn_ctx *ctx, int64_t v) {
  return make(ctx, (prn_attr){.kind = PRN_ATTR_INT, .i = v});
}
const prn_attr *prn_attr_float(prn_ctx *ctx, float v) {
  return make(ctx, (prn_attr){.kind = PRN_ATTR_FLOAT, .f = v});
}
const prn_attr *prn_attr_string(prn_ctx *ctx, prn_str v) {
  return make(ctx,
              (prn_attr){.kind = PRN_ATTR_STRING, .s = prn_intern(ctx, v)});
}
const prn_attr *prn_attr_symbol(prn_ctx *ctx, prn_str v) {
  return make(ctx,
              (prn_attr){.kind = PRN_ATTR_SYMBOL, .s = prn_intern(ctx, v)});
}
const prn_attr *prn_attr_bytes(prn_ctx *ctx, prn_str v) {
  return make(ctx, (prn_attr){.kind = PRN_ATTR_BYTES, .s = prn_intern(ctx, v)});
}
const prn_attr *prn_attr_ints(prn_ctx *ctx, const int64_t *v, size_t n) {
  return make(ctx, (prn_attr){.kind = PRN_ATTR_INTS,
                              .size = (uint32_t)n,
                              .ints = COPY(ctx, v, n)});
}
const prn_attr *prn_attr_floats(prn_ctx *ctx, const float *v, size_t n) {
  return make(ctx, (prn_attr){.kind = PRN_ATTR_FLOATS,
                              .size = (uint32_t)n,
                              .floats = COPY(ctx, v, n)});
}
const prn_attr *prn_attr_strings(prn_ctx *ctx, const prn_str *v, size_t n) {
  prn_str *copy = COPY(ctx, v, n);
  for (size_t i = 0; i < n; i++)
    copy[i] = prn_intern(ctx, v[i]);
  return make(ctx, (prn_attr){.kind = PRN_ATTR_STRINGS,
                              .size = (uint32_t)n,
                              .strings = copy});
}
const prn_attr *prn_attr_list(prn_ctx *ctx, const prn_attr *const *v,
                              size_t n) {
  return make(ctx, (prn_attr){.kind = PRN_ATTR_LIST,
                              .size = (uint32_t)n,
                              .list = COPY(ctx, v, n)});
}
const prn_attr *prn_attr_dict(prn_ctx *ctx, const prn_named_attr *v, size_t n) {
  prn_named_attr *copy = COPY(ctx, v, n);
  for (size_t i = 0; i < n; i++)
    copy[i].name = prn_intern(ctx, v[i].name);
  return make(
      ctx,
      (prn_attr){.kind = PRN_ATTR_DICT, .size = (uint32_t)n, .dict = copy});
}
const prn_attr *prn_attr_type(prn_ctx *ctx, const prn_type *v) {
  return make(ctx, (prn_attr){.kind = PRN_ATTR_TYPE, .type = v});
}
const prn_attr *prn_attr_tensor(prn_ctx *ctx, const prn_tensor *v) {
  return make(ctx, (prn_attr){.kind = PRN_ATTR_TENSOR, .tensor = v});
}
const prn_attr *prn_attr_region(prn_ctx *ctx, int64_t index) {
  return make(ctx, (prn_attr){.kind = PRN_ATTR_REGION, .i = index});
}
const prn_attr *prn_attr_dim(prn_ctx *ctx, prn_dim v) {
  return make(ctx, (prn_attr){.kind = PRN_ATTR_DIM, .dim = v});
}

static bool tensor_eq(const prn_tensor *a, const prn_tensor *b) {
  if (a == b) return true;
  if (a->type != b->type || a->mask != b->mask || a->strings || b->strings ||
      !prn_str_eq(a->name, b->name) || a->storage != b->storage ||
      !prn_attr_eq(a->extra, b->extra))
    return false;
  if (a->data == b->data) return true;
  return a->data && b->data && a->data->size == b->data->size &&
         memcmp(a->data->data, b->data->data, a->data->size) == 0;
}

static bool list_eq(const prn_attr *a, const prn_attr *b) {
  for (uint32_t i = 0; i < a->size; i++) {
    bool same = true;
    if (a->kind == PRN_ATTR_STRINGS)
      same = prn_str_eq(a->strings[i], b->strings[i]);
    else if (a->kind == PRN_ATTR_LIST)
      same = prn_attr_eq(a->list[i], b->list[i]);
    else
      same = prn_str_eq(a->dict[i].name, b->dict[i].name) &&
             prn_attr_eq(a->dict[i].value, b->dict[i].value);
    if (!same) return false;
  }
  return true;
}

bool prn_attr_eq(const prn_attr *a, const prn_attr *b) {
  if (a == b) return true;
  if (!a || !b || a->kind != b->kind || a->size != b->size) return false;
  switch (a->kind) {
  case PRN_ATTR_UNIT:
    return true;
  case PRN_ATTR_BOOL:
  case PRN_ATTR_INT:
  case PRN_ATTR_REGION:
    return a->i == b->i;
  case PRN_ATTR_FLOAT:
    return memcmp(&a->f, &b->f, sizeof a->f) == 0;
  case PRN_ATTR_STRING:
  case PRN_ATTR_SYMBOL:
  case PRN_ATTR_BYTES:
    return prn_str_eq(a->s, b->s);
  case PRN_ATTR_INTS:
    return !a->size || !memcmp(a->ints, b->ints, a->size * sizeof *a->ints);
  case PRN_ATTR_FLOATS:
    return !a->size ||
           !memcmp(a->floats, b->floats, a->size * sizeof *a->floats);
  case PRN_ATTR_STRINGS:
  case PRN_ATTR_LIST:
  case PRN_ATTR_DICT:
    return list_eq(a, b);
  case PRN_ATTR_TYPE:
    return a->type == b->type;
  case PRN_ATTR_DIM:
    return a->dim == b->dim;
  case PRN_ATTR_TENSOR:
    return tensor_eq(a->tensor, b->tensor);
  }
  return false;
}

static uint64_t hash_list(const prn_attr *a, uint64_t h) {
  for (uint32_t i = 0; i < a->size; i++) {
    uint64_t x;
    if (a->kind == PRN_ATTR_STRINGS) {
      x = prn_hash_bytes(a->strings[i].data, a->strings[i].size, i);
    } else if (a->kind == PRN_ATTR_LIST) {
      x = prn_attr_hash(a->list[i]);
    } else {
      x = prn_attr_hash(a->dict[i].value) ^
          prn_hash_bytes(a->dict[i].name.data, a->dict[i].name.size, i);
    }
    h = prn_hash_bytes(&x, sizeof x, h);
  }
  return h;
}

uint64_t prn_attr_hash(const prn_attr *a) {
  uint64_t h = a ? (uint64_t)a->kind * 31 + a->size : 0;
  if (!a) return h;
  switch (a->kind) {
  case PRN_ATTR_UNIT:
    return h;
  case PRN_ATTR_BOOL:
  case PRN_ATTR_INT:
  case PRN_ATTR_REGION:
    return prn_hash_bytes(&a->i, sizeof a->i, h);
  case PRN_ATTR_FLOAT:
    return prn_hash_bytes(&a->f, sizeof a->f, h);
  case PRN_ATTR_STRING:
  case PRN_ATTR_SYMBOL:
  case PRN_ATTR_BYTES:
    return prn_hash_bytes(a->s.data, a->s.size, h);
  case PRN_ATTR_INTS:
    return prn_hash_bytes(a->ints, a->size * sizeof *a->ints, h);
  case PRN_ATTR_FLOATS:
    return prn_hash_bytes(a->floats, a->size * sizeof *a->floats, h);
  case PRN_ATTR_STRINGS:
  case PRN_ATTR_LIST:
  case PRN_ATTR_DICT:
    return hash_list(a, h);
  case PRN_ATTR_TYPE:
    return prn_hash_bytes(&a->type, sizeof a->type, h);
  case PRN_ATTR_DIM:
    return prn_hash_bytes(&a->dim, sizeof a->dim, h);
  case PRN_ATTR_TENSOR: /* cheap on purpose: large data is not read */
    return prn_hash_bytes(&a->tensor->type, sizeof a->tensor->type, h);
  }
  return h;
}

const char *prn_attr_kind_name(prn_attr_kind k) {
  static const char *const names[] = {
      [PRN_ATTR_UNIT] = "unit",
      [PRN_ATTR_BOOL] = "bool",
      [PRN_ATTR_INT] = "int",
      [PRN_ATTR_FLOAT] = "float",
      [PRN_ATTR_STRING] = "string",
      [PRN_ATTR_INTS] = "list of ints",
      [PRN_ATTR_FLOATS] = "list of floats",
      [PRN_ATTR_STRINGS] = "list of strings",
      [PRN_ATTR_LIST] = "list",
      [PRN_ATTR_DICT] = "dictionary",
      [PRN_ATTR_TYPE] = "type",
      [PRN_ATTR_TENSOR] = "tensor",
      [PRN_ATTR_REGION] = "region",
      [PRN_ATTR_SYMBOL] = "symbol",
      [PRN_ATTR_DIM] = "dimension",
      [PRN_ATTR_BYTES] = "bytes",
  };
  return names[k];
}

const prn_attr *prn_dict_get(const prn_attr *dict, const char *name) {
  for (uint32_t i = 0; dict && i < dict->size; i++)
    if (prn_str_is(dict->dict[i].name, name)) return dict->dict[i].value;
  return NULL;
}
