/* Sizes as C expressions. */
#include <string.h>

#include "backends/cuda/cu.h"

int prn_cu_symbol(const prn_cu *c, prn_str name) {
  for (uint32_t i = 0; i < c->num_symbols; i++)
    if (prn_str_eq(c->symbols[i], name)) return (int)i;
  return -1;
}

uint32_t prn_cu_size(prn_cu *c, prn_dim d) {
  void **slot = prn_ptrmap_slot(&c->size_of, d);
  if (*slot) return (uint32_t)(uintptr_t)*slot - 1;
  if (c->num_sizes == c->cap_sizes) {
    c->cap_sizes = c->cap_sizes ? c->cap_sizes * 2 : 64;
    c->sizes =
        prn_realloc(c->sizes, prn_array_size(sizeof *c->sizes, c->cap_sizes));
  }
  c->sizes[c->num_sizes] = d;
  *slot = (void *)(uintptr_t)(c->num_sizes + 1);
  return c->num_sizes++;
}

void prn_cu_places(prn_cu *c, int32_t n, const prn_dim *dims, prn_strbuf *b) {
  prn_strbuf_char(b, '{');
  for (int32_t i = 0; i < n; i++)
    prn_strbuf_fmt(b, "%s%u", i ? ", " : "", prn_cu_size(c, dims[i]));
  prn_strbuf_char(b, '}');
}

static const char *function_of(prn_dim_kind kind) {
  switch (kind) {
  case PRN_DIM_MUL:
    return "mul";
  case PRN_DIM_ADD:
    return "add";
  case PRN_DIM_FLOORDIV:
    return "floordiv";
  case PRN_DIM_MOD:
    return "mod";
  case PRN_DIM_MIN:
    return "smaller";
  default:
    return "larger";
  }
}

void prn_cu_host_expr(const prn_cu *c, prn_dim d, prn_strbuf *b) {
  if (d->kind == PRN_DIM_CONST) {
    prn_strbuf_fmt(b, "INT64_C(%lld)", (long long)d->value);
    return;
  }
  if (d->kind == PRN_DIM_SYM) {
    int i = prn_cu_symbol(c, d->name);
    if (i < 0) /* the number of threads, which there is one of */
      prn_strbuf_cstr(b, "INT64_C(1)");
    else
      prn_strbuf_fmt(b, "symbols[%d]", i);
    return;
  }
  /* f(f(a, b), c): every function takes two. */
  for (uint32_t i = 1; i < d->num_args; i++)
    prn_strbuf_fmt(b, "%s(", function_of(d->kind));
  for (uint32_t i = 0; i < d->num_args; i++) {
    if (i) prn_strbuf_cstr(b, ", ");
    prn_cu_host_expr(c, d->args[i], b);
    if (i) prn_strbuf_cstr(b, ", bad)");
  }
}

prn_dim prn_cu_blocks(prn_cu *c, prn_dim n, int64_t each) {
  return prn_dim_ceildiv(c->ctx, n, prn_dim_const(c->ctx, each));
}

prn_dim prn_cu_blocks_some(prn_cu *c, prn_dim n, int64_t each) {
  enum { MOST = 4096 }; /* some waves of any GPU */
  return prn_dim_min(c->ctx, prn_cu_blocks(c, n, each),
                     prn_dim_const(c->ctx, MOST));
}
