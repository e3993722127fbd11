/* The host side of a program: tables for the runtime (prune_cuda_model.h), the
 * two functions that compute sizes, and the header with the model's names. */
#include "backends/cuda/write.h"

#include <ctype.h>
#include <string.h>

#include "backends/cuda/host/prune_cuda_model.h"

static uint32_t num_inputs(const prn_cu *c) {
  return (uint32_t)prn_op_int(c->func, "inputs", 0);
}

static prn_str argument_name(const prn_cu *c, uint32_t i) {
  uint32_t n = num_inputs(c);
  const prn_attr *names =
      prn_op_attr(c->func, i < n ? "input_names" : "output_names");
  uint32_t at = i < n ? i : i - n;
  return names && at < names->size ? names->strings[at] : PRN_STR("");
}

/* As a C string literal, whatever is in it. */
static void literal(prn_strbuf *b, prn_str s) {
  prn_strbuf_char(b, '"');
  for (size_t i = 0; i < s.size; i++) {
    unsigned char c = (unsigned char)s.data[i];
    if (c == '"' || c == '\\' || c == '?')
      prn_strbuf_fmt(b, "\\%c", c);
    else if (c >= 32 && c < 127)
      prn_strbuf_char(b, (char)c);
    else
      prn_strbuf_fmt(b, "\\%03o", c);
  }
  prn_strbuf_char(b, '"');
}

/* ---- where operands are ---- */

/* The pointer of one operand. */
static void pointer(prn_cu *c, const prn_value *v, prn_strbuf *b) {
  static const char *const spaces[] = {"PRUNE_CUDA_NULL", "PRUNE_CUDA_ARENA",
                                       "PRUNE_CUDA_WEIGHTS",
                                       "PRUNE_CUDA_ARGUMENT"};
  unsigned space = PRUNE_CUDA_NULL;
  uint32_t index = 0;
  prn_dim offset = prn_dim_const(c->ctx, 0);
  if (v) {
    const prn_value *root = v;
    while (root->def && prn_op_is(root->def, PRN_OP_mem_view))
      root = prn_op_operand(root->def, 0);
    if (!root->def) {
      space = PRUNE_CUDA_ARGUMENT;
      index = root->index;
    } else if (prn_op_is(root->def, PRN_OP_mem_alloc)) {
      space = PRUNE_CUDA_ARENA;
      offset = prn_op_attr(root->def, "offset")->dim;
    } else {
      space = PRUNE_CUDA_WEIGHTS;
      offset = prn_dim_const(c->ctx, prn_op_int(root->def, "offset", 0));
    }
    prn_dim width = prn_dim_const(c->ctx, prn_dtype_width(v->type->dtype));
    offset = prn_dim_add(c->ctx, offset,
                         prn_dim_mul(c->ctx, v->type->offset, width));
  }
  prn_strbuf_fmt(b, "{%s, %u, %u}", spaces[space], index,
                 prn_cu_size(c, offset));
}

static uint32_t num_pointers(const prn_cu_step *s) {
  return s->op->num_operands + s->num_guards;
}

static void pointers(prn_cu *c, uint32_t s, prn_strbuf *b) {
  const prn_cu_step *step = &c->steps[s];
  uint32_t operands = step->op->num_operands;
  prn_strbuf_fmt(b, "static const prune_cuda_pointer pointers%u[] = {", s);
  for (uint32_t i = 0; i < num_pointers(step); i++) {
    prn_strbuf_cstr(b, i % 2 ? " " : "\n    ");
    pointer(c,
            i < operands ? prn_op_operand(step->op, i)
                         : step->guards[i - operands].condition,
            b);
    prn_strbuf_char(b, ',');
  }
  prn_strbuf_cstr(b, "\n};\n");
}

static void variants(prn_cu *c, uint32_t s, prn_strbuf *b) {
  static const char *const how[] = {
      [PRUNE_CUDA_KERNEL] = "PRUNE_CUDA_KERNEL",
      [PRUNE_CUDA_CUBLASLT] = "PRUNE_CUDA_CUBLASLT",
      [PRUNE_CUDA_CUSPARSELT] = "PRUNE_CUDA_CUSPARSELT",
      [PRUNE_CUDA_CUSPARSE] = "PRUNE_CUDA_CUSPARSE",
      [PRUNE_CUDA_CUDNN] = "PRUNE_CUDA_CUDNN"};
  const prn_cu_step *step = &c->steps[s];
  prn_strbuf_fmt(b, "static const prune_cuda_variant variants%u[] = {\n", s);
  for (uint32_t i = 0; i < step->num_variants; i++) {
    const prn_cu_variant *v = &step->variants[i];
    prn_dim rows = v->rows ? v->rows : prn_dim_const(c->ctx, 1);
    prn_strbuf_fmt(b, "    {%s, %u, {%u, %u, %u}, %d, %u, %lld, ", how[v->how],
                   v->kernel, prn_cu_size(c, v->grid[0]),
                   prn_cu_size(c, v->grid[1]), prn_cu_size(c, v->grid[2]),
                   (int)v->arch, prn_cu_size(c, rows), (long long)v->min_rows);
    if (v->max_rows == INT64_MAX)
      prn_strbuf_cstr(b, "INT64_MAX, ");
    else
      prn_strbuf_fmt(b, "%lld, ", (long long)v->max_rows);
    literal(b, prn_str_from(v->why));
    prn_strbuf_fmt(b, ", %d},\n", v->after);
  }
  prn_strbuf_cstr(b, "};\n");
}

prn_str prn_cu_step_name(const prn_op *op) {
  prn_str name = prn_op_string(op, "$name", "");
  return name.size ? name : op->opname->name;
}

enum { FACTOR, WEIGHTS, RESULT }; /* operands of a product */

static void product(prn_cu *c, uint32_t s, const prn_cu_blob *blob,
                    prn_strbuf *b) {
  const prn_cu_gemm *p = &c->steps[s].product;
  uint32_t record = prn_cu_blob_find(blob, c->steps[s].op, WEIGHTS);
  prn_strbuf_fmt(b,
                 "static const prune_cuda_product product%u = {\n"
                 "    .type = %d, .format = %u, .m = %u, .n = %u, .k = %u,\n"
                 "    .ldx = %u, .ldo = %u, .x = %u, .w = %u, .out = %u,\n"
                 "    .bias = %d, .act = %d, .record = %u,\n"
                 "    .residual = %u, .ldr = %u};\n",
                 s, (int)p->type, blob->at[record].kind, prn_cu_size(c, p->m),
                 prn_cu_size(c, p->n), prn_cu_size(c, p->k),
                 prn_cu_size(c, p->ldx), prn_cu_size(c, p->ldo), FACTOR,
                 WEIGHTS, RESULT, (int)p->bias, (int)p->act, record,
                 p->residual ? p->residual + 1 : 0,
                 p->residual ? prn_cu_size(c, p->ldr) : 0);
}

static void table(bool has, const char *name, uint32_t step, prn_strbuf *b) {
  if (has)
    prn_strbuf_fmt(b, ", &%s%u", name, step);
  else
    prn_strbuf_cstr(b, ", NULL");
}

static void steps(prn_cu *c, const prn_cu_blob *blob, prn_strbuf *b) {
  for (uint32_t s = 0; s < c->num_steps; s++) {
    pointers(c, s, b);
    variants(c, s, b);
    if (c->steps[s].has_product) product(c, s, blob, b);
    if (c->steps[s].has_conv) prn_cu_conv_table(c, s, blob, b);
    if (c->steps[s].has_attention) prn_cu_attention_table(c, s, b);
  }
  prn_strbuf_cstr(b, "static const prune_cuda_step steps[] = {\n");
  for (uint32_t s = 0; s < c->num_steps; s++) {
    const prn_cu_step *step = &c->steps[s];
    prn_strbuf_cstr(b, "    {");
    literal(b, prn_cu_step_name(step->op));
    prn_strbuf_fmt(b, ", \"mem.%.*s\", pointers%u, %u, variants%u, %u",
                   PRN_STR_ARG(step->op->opname->name), s, num_pointers(step),
                   s, step->num_variants);
    table(step->has_product, "product", s, b);
    table(step->has_conv, "conv", s, b);
    table(step->has_attention, "attention", s, b);
    prn_strbuf_cstr(b, "},\n");
  }
  prn_strbuf_cstr(b, "};\n\n");
}

static void kernels(const prn_cu *c, prn_strbuf *b) {
  prn_strbuf_cstr(b, "static const prune_cuda_kernel kernels[] = {\n");
  for (uint32_t i = 0; i < c->num_functions; i++)
    prn_strbuf_fmt(b, "    {\"%s\", %u, %u},\n", c->functions[i].name,
                   c->functions[i].threads, c->functions[i].shared);
  prn_strbuf_cstr(b, "};\n\n");
}

/* ---- weights ---- */

static void records(const prn_cu_blob *blob, prn_strbuf *b) {
  static const char *const kinds[] = {"PRUNE_CUDA_DENSE", "PRUNE_CUDA_NK",
                                      "PRUNE_CUDA_NM24", "PRUNE_CUDA_BITMAP",
                                      "PRUNE_CUDA_BSR"};
  if (blob->num == 0) return;
  prn_strbuf_cstr(b, "static const prune_cuda_record records[] = {\n");
  for (uint32_t i = 0; i < blob->num; i++) {
    const prn_cu_record *r = &blob->at[i];
    prn_strbuf_cstr(b, "    {");
    literal(b, r->name);
    prn_strbuf_fmt(b, ", %s, %d, %lld, %lld, %llu, %llu},\n", kinds[r->kind],
                   (int)r->type, (long long)r->k, (long long)r->n,
                   (unsigned long long)r->offset, (unsigned long long)r->size);
  }
  prn_strbuf_cstr(b, "};\n\n");
}

/* ---- inputs and outputs ---- */

static void values(prn_cu *c, uint32_t begin, uint32_t end, const char *what,
                   prn_strbuf *b) {
  if (begin == end) return;
  for (uint32_t i = begin; i < end; i++) {
    const prn_type *t = c->body->args[i]->type;
    if (t->rank == 0) continue;
    prn_strbuf_fmt(b, "static const int64_t dims%u[] = {", i);
    for (int32_t k = 0; k < t->rank; k++) {
      int64_t d = -1;
      (void)prn_dim_is_const(t->dims[k], &d);
      prn_strbuf_fmt(b, "%s%lld", k ? ", " : "", (long long)d);
    }
    prn_strbuf_fmt(b, "};\nstatic const char *const names%u[] = {", i);
    for (int32_t k = 0; k < t->rank; k++) {
      prn_strbuf d = {0};
      prn_dim_print(&d, t->dims[k]);
      if (k) prn_strbuf_cstr(b, ", ");
      literal(b, prn_strbuf_view(&d));
      prn_strbuf_destroy(&d);
    }
    prn_strbuf_cstr(b, "};\n");
  }
  prn_strbuf_fmt(b, "static const prune_cuda_value %s[] = {\n", what);
  for (uint32_t i = begin; i < end; i++) {
    const prn_type *t = c->body->args[i]->type;
    prn_strbuf_cstr(b, "    {");
    literal(b, argument_name(c, i));
    prn_strbuf_fmt(b, ", %d, %d, ", (int)t->dtype, (int)t->rank);
    if (t->rank)
      prn_strbuf_fmt(b, "dims%u, names%u},\n", i, i);
    else
      prn_strbuf_cstr(b, "NULL, NULL},\n");
  }
  prn_strbuf_cstr(b, "};\n\n");
}

static void output_dims(prn_cu *c, prn_strbuf *b) {
  prn_strbuf_cstr(b, "static const uint32_t output_dims[] = {");
  for (uint32_t i = num_inputs(c); i < c->body->num_args; i++) {
    const prn_type *t = c->body->args[i]->type;
    for (int32_t k = 0; k < t->rank; k++)
      prn_strbuf_fmt(b, "%u, ", prn_cu_size(c, t->dims[k]));
  }
  prn_strbuf_cstr(b, "0};\n\n");
}

/* ---- sizes ---- */

/* A symbol where an input first has it; what an input's type says otherwise;
 * and what lowering took for granted. */
static void bind(prn_cu *c, prn_strbuf *b) {
  uint32_t known = 0;
  const prn_attr *pairs = prn_op_attr(c->func, "requires");
  prn_strbuf_cstr(b, "static int bind(const int64_t *const *inputs, "
                     "int64_t *symbols) {\n  int overflow = 0, *bad = "
                     "&overflow;\n");
  for (uint32_t i = 0; i < num_inputs(c); i++) {
    const prn_type *t = c->body->args[i]->type;
    for (int32_t k = 0; k < t->rank; k++)
      if (t->dims[k]->kind == PRN_DIM_SYM &&
          prn_cu_symbol(c, t->dims[k]->name) == (int)known) {
        prn_strbuf_fmt(b,
                       "  symbols[%u] = inputs[%u][%d];\n"
                       "  if (symbols[%u] < 0) return %u;\n",
                       known, i, (int)k, known, i + 1);
        known++;
      }
  }
  for (uint32_t i = 0; i < num_inputs(c); i++) {
    const prn_type *t = c->body->args[i]->type;
    for (int32_t k = 0; k < t->rank; k++) {
      prn_strbuf_fmt(b, "  if (inputs[%u][%d] != ", i, (int)k);
      prn_cu_host_expr(c, t->dims[k], b);
      prn_strbuf_fmt(b, ") return %u;\n", i + 1);
    }
  }
  for (uint32_t i = 0; pairs && i + 1 < pairs->size; i += 2) {
    prn_strbuf_cstr(b, "  if (!fits(");
    prn_cu_host_expr(c, pairs->list[i]->dim, b);
    prn_strbuf_cstr(b, ", ");
    prn_cu_host_expr(c, pairs->list[i + 1]->dim, b);
    prn_strbuf_cstr(b, ")) return 1;\n");
  }
  prn_strbuf_cstr(b, "  (void)inputs;\n  (void)symbols;\n  (void)bad;\n"
                     "  return overflow;\n}\n\n");
}

static void sizes(const prn_cu *c, prn_strbuf *b) {
  prn_strbuf_cstr(b, "static int sizes(const int64_t *symbols, int64_t *out) "
                     "{\n  int overflow = 0, *bad = &overflow;\n");
  for (uint32_t i = 0; i < c->num_sizes; i++) {
    prn_strbuf_fmt(b, "  out[%u] = ", i);
    prn_cu_host_expr(c, c->sizes[i], b);
    prn_strbuf_cstr(b, ";\n");
  }
  prn_strbuf_fmt(b,
                 "  for (int i = 0; i < %u; i++)\n"
                 "    if (out[i] < 0) overflow = 1;\n"
                 "  (void)symbols;\n  (void)bad;\n  return !overflow;\n}\n\n",
                 c->num_sizes);
}

static const char arithmetic[] =
    "/* Sizes that do not fit make *bad 1. */\n"
    "static inline int64_t mul(int64_t a, int64_t b, int *bad) {\n"
    "  if (a && b && (a < 0 || b < 0 ? 1 : a > INT64_MAX / b)) {\n"
    "    int64_t m = a < 0 ? -a : a, n = b < 0 ? -b : b;\n"
    "    if (m < 0 || n < 0 || m > INT64_MAX / n) {\n"
    "      *bad = 1;\n"
    "      return 0;\n"
    "    }\n"
    "  }\n"
    "  return a * b;\n"
    "}\n"
    "static inline int64_t add(int64_t a, int64_t b, int *bad) {\n"
    "  if (b > 0 ? a > INT64_MAX - b : a < INT64_MIN - b) {\n"
    "    *bad = 1;\n"
    "    return 0;\n"
    "  }\n"
    "  return a + b;\n"
    "}\n"
    "static inline int64_t floordiv(int64_t a, int64_t b, int *bad) {\n"
    "  if (b <= 0) {\n"
    "    *bad = 1;\n"
    "    return 0;\n"
    "  }\n"
    "  return a / b - (a % b < 0);\n"
    "}\n"
    "static inline int64_t mod(int64_t a, int64_t b, int *bad) {\n"
    "  return a - floordiv(a, b, bad) * b;\n"
    "}\n"
    "static inline int64_t smaller(int64_t a, int64_t b, int *bad) {\n"
    "  (void)bad;\n"
    "  return a < b ? a : b;\n"
    "}\n"
    "static inline int64_t larger(int64_t a, int64_t b, int *bad) {\n"
    "  (void)bad;\n"
    "  return a > b ? a : b;\n"
    "}\n"
    "/* Sizes that were taken for equal, or the first for 1. */\n"
    "static inline int fits(int64_t a, int64_t b) {\n"
    "  return a == b || a == 1;\n"
    "}\n\n";

/* ---- the model ---- */

static void model(prn_cu *c, const prn_cu_blob *blob, prn_strbuf *b) {
  const prn_attr *arena = prn_op_attr(c->func, "arena");
  uint32_t n = num_inputs(c), all = c->body->num_args;
  uint32_t place =
      prn_cu_size(c, arena ? arena->dim : prn_dim_const(c->ctx, 0));
  bind(c, b);
  sizes(c, b);
  prn_strbuf_fmt(b,
                 "extern const prune_cuda_image %s_images[];\n\n"
                 "const prune_cuda_model %s_cuda = {\n"
                 "    .version = PRUNE_CUDA_MODEL,\n    .name = \"%s\",\n"
                 "    .num_inputs = %u,\n    .num_outputs = %u,\n"
                 "    .num_symbols = %u,\n    .num_sizes = %u,\n"
                 "    .num_pointers = %u,\n    .inputs = %s,\n"
                 "    .outputs = %s,\n    .bind = bind,\n    .sizes = sizes,\n"
                 "    .arena = %u,\n    .output_dims = output_dims,\n",
                 c->prefix, c->prefix, c->prefix, n, all - n, c->num_symbols,
                 c->num_sizes, c->num_pointers, n ? "inputs" : "NULL",
                 all > n ? "outputs" : "NULL", place);
  prn_strbuf_fmt(b,
                 "    .kernels = kernels,\n    .num_kernels = %u,\n"
                 "    .steps = steps,\n    .num_steps = %u,\n"
                 "    .records = %s,\n    .num_records = %u,\n"
                 "    .weights_size = UINT64_C(%llu),\n"
                 "    .weights_hash = UINT64_C(0x%016llx),\n"
                 "    .images = %s_images,\n};\n",
                 c->num_functions, c->num_steps, blob->num ? "records" : "NULL",
                 blob->num, (unsigned long long)blob->size,
                 (unsigned long long)blob->hash, c->prefix);
}

void prn_cu_host_text(prn_cu *c, const prn_cu_blob *blob, prn_strbuf *b) {
  uint32_t n = num_inputs(c);
  prn_strbuf_fmt(b,
                 "/* The model %s: tables for prune_cuda.c. Written by "
                 "prunec. */\n#include <stddef.h>\n\n"
                 "#include \"prune_cuda_model.h\"\n\n",
                 c->prefix);
  prn_strbuf_cstr(b, arithmetic);
  values(c, 0, n, "inputs", b);
  values(c, n, c->body->num_args, "outputs", b);
  output_dims(c, b);
  kernels(c, b);
  steps(c, blob, b);
  records(blob, b);
  model(c, blob, b);
}

/* ---- the header ---- */

/* "name" gives NAME. */
static void upper(prn_strbuf *b, const char *s) {
  for (; *s; s++)
    prn_strbuf_char(b, (char)toupper((unsigned char)*s));
}

/* The text of s cannot end the comment it stands in. */
static void comment(prn_strbuf *b, prn_str s) {
  for (size_t i = 0; i < s.size; i++) {
    unsigned char c = (unsigned char)s.data[i];
    prn_strbuf_char(b, c < 32 || c == '*' || c == '\\' ? '.' : (char)c);
  }
}

static void describe(const prn_cu *c, prn_strbuf *b) {
  uint32_t n = num_inputs(c);
  prn_strbuf_fmt(b, "/* The model %s:\n", c->prefix);
  for (uint32_t i = 0; i < c->body->num_args; i++) {
    const prn_type *t = c->body->args[i]->type;
    prn_strbuf_fmt(b, " *   %s[%u] ", i < n ? "inputs" : "outputs",
                   i < n ? i : i - n);
    comment(b, argument_name(c, i));
    prn_strbuf_fmt(b, ": %s", prn_dtype_name(t->dtype));
    for (int32_t k = 0; k < t->rank; k++) {
      prn_strbuf d = {0};
      prn_dim_print(&d, t->dims[k]);
      prn_strbuf_cstr(b, k ? " x " : " ");
      comment(b, prn_strbuf_view(&d));
      prn_strbuf_destroy(&d);
    }
    prn_strbuf_char(b, '\n');
  }
  prn_strbuf_cstr(b, " */\n");
}

static const struct {
  const char *name, *parameters, *arguments;
} wrappers[] = {
    {"query", "const prune_cuda_options *options, prune_cuda_sizes *out",
     "options, out"},
    {"init",
     "const prune_cuda_options *options, const void *blob, size_t blob_size, "
     "const prune_cuda_memory *memory, prune_cuda_stream stream, "
     "prune_cuda_ctx **out",
     "options, blob, blob_size, memory, stream, out"},
};

void prn_cu_header_text(const prn_cu *c, prn_strbuf *b) {
  prn_strbuf_cstr(b, "/* Written by prunec. */\n#ifndef ");
  upper(b, c->prefix);
  prn_strbuf_cstr(b, "_CUDA_H\n#define ");
  upper(b, c->prefix);
  prn_strbuf_cstr(b, "_CUDA_H\n\n#include \"prune_cuda.h\"\n\n");
  describe(c, b);
  prn_strbuf_cstr(b, "#define ");
  upper(b, c->prefix);
  prn_strbuf_fmt(b, "_NUM_INPUTS %u\n#define ", num_inputs(c));
  upper(b, c->prefix);
  prn_strbuf_fmt(b, "_NUM_OUTPUTS %u\n\n", c->body->num_args - num_inputs(c));
  prn_strbuf_fmt(b,
                 "#ifdef __cplusplus\nextern \"C\" {\n#endif\n"
                 "extern const prune_cuda_model %s_cuda;\n",
                 c->prefix);
  for (size_t i = 0; i < PRN_COUNT(wrappers); i++)
    prn_strbuf_fmt(b,
                   "static inline prune_cuda_status %s_%s(%s) {\n"
                   "  return prune_cuda_%s(&%s_cuda, %s);\n}\n",
                   c->prefix, wrappers[i].name, wrappers[i].parameters,
                   wrappers[i].name, c->prefix, wrappers[i].arguments);
  for (size_t i = 0; i < 8; i++) {
    static const char *const same[] = {"prepare", "tune",       "run",
                                       "check",   "cache_save", "cache_load",
                                       "explain", "destroy"};
    prn_strbuf_fmt(b, "#define %s_%s prune_cuda_%s\n", c->prefix, same[i],
                   same[i]);
  }
  prn_strbuf_cstr(b, "#ifdef __cplusplus\n}\n#endif\n\n#endif\n");
}
