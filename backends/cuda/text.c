/* Writing a kernel's text: lines, sizes, operands. */
#include <string.h>

#include "backends/cuda/cu.h"

const char *prn_cu_str(prn_cu *c, const char *fmt, ...) {
  prn_strbuf b = {0};
  va_list ap;
  va_start(ap, fmt);
  prn_strbuf_vfmt(&b, fmt, ap);
  va_end(ap);
  const char *s = b.size ? prn_arena_copy(&c->arena, b.data, b.size + 1) : "";
  prn_strbuf_destroy(&b);
  return s;
}

static void line(prn_cu_text *t, const char *fmt, va_list ap) {
  for (unsigned i = 0; i < t->indent; i++)
    prn_strbuf_cstr(&t->body, "  ");
  prn_strbuf_vfmt(&t->body, fmt, ap);
  prn_strbuf_char(&t->body, '\n');
}

void prn_cu_line(prn_cu_text *t, const char *fmt, ...) {
  va_list ap;
  va_start(ap, fmt);
  line(t, fmt, ap);
  va_end(ap);
}

void prn_cu_open(prn_cu_text *t, const char *fmt, ...) {
  va_list ap;
  va_start(ap, fmt);
  line(t, fmt, ap);
  va_end(ap);
  t->indent++;
}

void prn_cu_close(prn_cu_text *t, const char *fmt, ...) {
  va_list ap;
  t->indent--;
  va_start(ap, fmt);
  line(t, fmt, ap);
  va_end(ap);
}

/* ---- sizes ---- */

static void device_expr(const prn_cu *c, prn_dim d, prn_strbuf *b) {
  static const char *const between[] = {
      [PRN_DIM_MUL] = " * ", [PRN_DIM_ADD] = " + "};
  if (d->kind == PRN_DIM_CONST) {
    prn_strbuf_fmt(b, "%lld", (long long)d->value);
  } else if (d->kind == PRN_DIM_SYM) {
    int i = prn_cu_symbol(c, d->name);
    if (i < 0)
      prn_strbuf_char(b, '1');
    else
      prn_strbuf_fmt(b, "a.s[%d]", i);
  } else if (d->kind == PRN_DIM_MUL || d->kind == PRN_DIM_ADD) {
    prn_strbuf_char(b, '(');
    for (uint32_t i = 0; i < d->num_args; i++) {
      if (i) prn_strbuf_cstr(b, between[d->kind]);
      device_expr(c, d->args[i], b);
    }
    prn_strbuf_char(b, ')');
  } else {
    const char *f = d->kind == PRN_DIM_FLOORDIV ? "pmk_floordiv"
                    : d->kind == PRN_DIM_MOD    ? "pmk_floormod"
                    : d->kind == PRN_DIM_MIN    ? "pmk_smaller"
                                                : "pmk_larger";
    for (uint32_t i = 1; i < d->num_args; i++)
      prn_strbuf_fmt(b, "%s(", f);
    for (uint32_t i = 0; i < d->num_args; i++) {
      if (i) prn_strbuf_cstr(b, ", ");
      device_expr(c, d->args[i], b);
      if (i) prn_strbuf_char(b, ')');
    }
  }
}

const char *prn_cu_dim(prn_cu_text *t, prn_dim d) {
  int64_t v;
  if (prn_dim_is_const(d, &v)) return prn_cu_str(t->c, "%lld", (long long)v);
  void **slot = prn_ptrmap_slot(&t->dims, d);
  if (*slot) return *slot;
  const char *name = prn_cu_str(t->c, "n%u", t->num_locals++);
  prn_strbuf_fmt(&t->head, "  const pmk_i %s = (pmk_i)", name);
  device_expr(t->c, d, &t->head);
  prn_strbuf_cstr(&t->head, ";\n");
  *slot = (void *)(uintptr_t)name;
  return name;
}

const char *prn_cu_offset(prn_cu_text *t, unsigned rank, const prn_dim *strides,
                          const char *const *index) {
  const char *sum = NULL;
  for (unsigned i = 0; i < rank; i++) {
    if (prn_dim_is(strides[i], 0) || strcmp(index[i], "0") == 0) continue;
    const char *term =
        prn_dim_is(strides[i], 1)
            ? index[i]
            : prn_cu_str(t->c, "%s * %s", index[i], prn_cu_dim(t, strides[i]));
    sum = sum ? prn_cu_str(t->c, "%s + %s", sum, term) : term;
  }
  return sum ? sum : "0";
}

prn_dim prn_cu_product(prn_cu *c, unsigned n, const prn_dim *dims) {
  prn_dim r = prn_dim_const(c->ctx, 1);
  for (unsigned i = 0; i < n; i++)
    r = prn_dim_mul(c->ctx, r, dims[i]);
  return r;
}

bool prn_cu_has_runs(prn_cu *c, unsigned rank, const prn_dim *strides,
                     prn_dim offset, int64_t size) {
  if (rank == 0 || !prn_dim_is(strides[rank - 1], 1) ||
      !prn_dim_is_multiple(c->ctx, offset, size))
    return false;
  for (unsigned i = 0; i + 1 < rank; i++)
    if (!prn_dim_is_multiple(c->ctx, strides[i], size)) return false;
  return true;
}

/* One position at most. */
static bool is_single(prn_dim d) {
  return prn_dim_is(d, 0) || prn_dim_is(d, 1);
}

void prn_cu_split(prn_cu_text *t, const char *item, const char *prefix,
                  unsigned rank, const prn_dim *dims, const char **out) {
  const char *rest = item;
  unsigned left = 0; /* dimensions in front that are not of size 1 */
  for (unsigned i = 0; i < rank; i++)
    left += !is_single(dims[i]);
  for (unsigned i = rank; i-- > 0;) {
    out[i] = "0";
    if (is_single(dims[i])) continue;
    left--;
    if (left == 0) {
      out[i] = rest;
      continue;
    }
    const char *d = prn_cu_dim(t, dims[i]);
    out[i] = prn_cu_str(t->c, "%s%u", prefix, i);
    prn_cu_line(t, "const pmk_i %s = %s %% %s;", out[i], rest, d);
    const char *next = prn_cu_str(t->c, "%s%ur", prefix, i);
    prn_cu_line(t, "const pmk_i %s = %s / %s;", next, rest, d);
    rest = next;
  }
}

/* ---- operands ---- */

const char *prn_cu_memory_type(prn_dtype t) {
  switch (t) {
  case PRN_F16:
    return "pmk_f16";
  case PRN_BF16:
    return "pmk_bf16";
  case PRN_F8E4M3FN:
    return "pmk_e4m3";
  case PRN_F8E5M2:
    return "pmk_e5m2";
  case PRN_BOOL:
    return "pmk_i1";
  default:
    return prn_cu_value_type(t);
  }
}

const char *prn_cu_value_type(prn_dtype t) {
  switch (t) {
  case PRN_F8E4M3FN:
  case PRN_F8E5M2:
  case PRN_F16:
  case PRN_BF16:
  case PRN_F32:
    return "float";
  case PRN_F64:
    return "double";
  case PRN_BOOL:
    return "bool";
  case PRN_I8:
    return "int8_t";
  case PRN_U8:
    return "uint8_t";
  case PRN_I16:
    return "int16_t";
  case PRN_U16:
    return "uint16_t";
  case PRN_I32:
    return "int32_t";
  case PRN_U32:
    return "uint32_t";
  case PRN_I64:
    return "int64_t";
  case PRN_U64:
    return "uint64_t";
  default:
    return NULL;
  }
}

const char *prn_cu_pointer(prn_cu_text *t, unsigned i) {
  t->used |= UINT64_C(1) << i;
  return prn_cu_str(t->c, "p%u", i);
}

const char *prn_cu_address(prn_cu_text *t, unsigned i, const char *offset) {
  const char *p = prn_cu_pointer(t, i);
  if (strcmp(offset, "0") == 0) return p;
  return prn_cu_str(t->c, strchr(offset, ' ') ? "%s + (%s)" : "%s + %s", p,
                    offset);
}

const char *prn_cu_load(prn_cu_text *t, unsigned i, const char *offset) {
  return prn_cu_str(t->c, "pmk_get(%s)", prn_cu_address(t, i, offset));
}

void prn_cu_store(prn_cu_text *t, unsigned i, const char *offset,
                  const char *value) {
  prn_cu_line(t, "pmk_put(%s, %s);", prn_cu_address(t, i, offset), value);
}

/* ---- functions ---- */

/* Sizes and strides that are constants and reach less than 2^31 elements. */
static bool needs_wide(const prn_op *op) {
  for (uint32_t i = 0; i < op->num_operands; i++) {
    const prn_value *v = prn_op_operand(op, i);
    int64_t reach = 1;
    if (!v) continue;
    for (int32_t k = 0; k < v->type->rank; k++) {
      int64_t d, s, span;
      if (!prn_dim_is_const(v->type->dims[k], &d) ||
          !prn_dim_is_const(v->type->strides[k], &s) ||
          !prn_mul_i64(d, s < 0 ? -s : s, &span) ||
          !prn_add_i64(reach, span, &reach))
        return true;
    }
    int64_t count;
    if (!prn_type_count(v->type, &count) || count > INT32_MAX / 2 ||
        reach > INT32_MAX / 2)
      return true;
  }
  return false;
}

void prn_cu_text_begin(prn_cu_text *t, prn_cu *c, const prn_op *op) {
  memset(t, 0, sizeof *t);
  t->c = c;
  t->op = op;
  t->indent = 1;
  t->wide = needs_wide(op);
  uint32_t pointers = op->num_operands + c->num_guards;
  if (pointers > c->num_pointers) c->num_pointers = pointers;
}

/* In a branch that is not taken a kernel does nothing. */
static void put_guards(const prn_cu_text *t, prn_strbuf *b) {
  for (uint32_t i = 0; i < t->c->num_guards; i++)
    prn_strbuf_fmt(b, "  if (%spmk_get((const pmk_i1 *)a.p[%u])) return;\n",
                   t->c->guards[i].is ? "!" : "", t->op->num_operands + i);
}

/* The operands that the text mentions. */
static void declare_pointers(const prn_cu_text *t, prn_strbuf *b) {
  for (uint32_t i = 0; i < t->op->num_operands; i++) {
    if (!(t->used >> i & 1)) continue;
    const char *type =
        prn_cu_memory_type(prn_op_operand(t->op, i)->type->dtype);
    prn_strbuf_fmt(b, "  %s *const p%u = (%s *)a.p[%u];\n", type, i, type, i);
  }
}

uint32_t prn_cu_function_for(prn_cu *c, const char *name, prn_str text,
                             uint32_t threads, uint32_t shared) {
  void **slot = prn_map_slot(&c->function_of, text);
  if (*slot) return (uint32_t)(uintptr_t)*slot - 1;
  if (c->num_functions == c->cap_functions) {
    c->cap_functions = c->cap_functions ? c->cap_functions * 2 : 32;
    c->functions = prn_realloc(
        c->functions, prn_array_size(sizeof *c->functions, c->cap_functions));
  }
  if (!name) name = prn_cu_str(c, "%s_k%u", c->prefix, c->num_functions);
  c->functions[c->num_functions] =
      (prn_cu_function){name, text, threads, shared, 0};
  *slot = (void *)(uintptr_t)(c->num_functions + 1);
  return c->num_functions++;
}

prn_cu_step *prn_cu_step_for(prn_cu *c, const prn_op *op) {
  if (c->num_steps && c->steps[c->num_steps - 1].op == op)
    return &c->steps[c->num_steps - 1];
  if (c->num_steps == c->cap_steps) {
    c->cap_steps = c->cap_steps ? c->cap_steps * 2 : 64;
    c->steps =
        prn_realloc(c->steps, prn_array_size(sizeof *c->steps, c->cap_steps));
  }
  prn_cu_step *s = &c->steps[c->num_steps++];
  memset(s, 0, sizeof *s);
  s->op = op;
  memcpy(s->guards, c->guards, sizeof s->guards);
  s->num_guards = c->num_guards;
  return s;
}

prn_cu_variant *prn_cu_text_end(prn_cu_text *t, uint32_t threads,
                                uint32_t shared, prn_dim grid_x) {
  prn_cu *c = t->c;
  prn_dim one = prn_dim_const(c->ctx, 1);
  prn_strbuf text = {0};
  /* The number of threads is part of what makes a function. */
  prn_strbuf_fmt(&text, "/* %u threads */\n  typedef %s pmk_i;\n", threads,
                 t->wide ? "int64_t" : "int32_t");
  put_guards(t, &text);
  declare_pointers(t, &text);
  prn_strbuf_str(&text, prn_strbuf_view(&t->head));
  prn_strbuf_str(&text, prn_strbuf_view(&t->body));
  const char *copy = prn_arena_copy(&c->arena, text.data, text.size + 1);
  uint32_t f =
      prn_cu_function_for(c, NULL, prn_str_from(copy), threads, shared);
  prn_strbuf_destroy(&text);
  prn_cu_step *s = prn_cu_step_for(c, t->op);
  prn_cu_variant *v = &s->variants[s->num_variants++];
  *v = (prn_cu_variant){.kernel = f,
                        .grid = {grid_x, one, one},
                        .max_rows = INT64_MAX,
                        .why = ""};
  prn_strbuf_destroy(&t->head);
  prn_strbuf_destroy(&t->body);
  prn_ptrmap_destroy(&t->dims);
  return v;
}
