/* Convolutions that a library can do as well: what it is told of one, and
 * which ones it is told of. It stores sums alone; what is done to them is left
 * to a kernel that goes over the results. */
#include "backends/cuda/host/prune_cuda_model.h"
#include "backends/cuda/product.h"
#include "backends/cuda/write.h"

enum { X, W, OUT, TENSORS, SPATIAL = PRUNE_CUDA_CONV_RANK - 2 };

/* At run time, a size below zero is an error of the whole model. */
static prn_dim or_zero(prn_ctx *ctx, prn_dim d) {
  return prn_dim_max(ctx, d, prn_dim_const(ctx, 0));
}

/* Nothing is known that keeps a library from it. Where a stride is open, the
 * runtime looks. */
static bool lies_well(const prn_type *t) {
  int64_t step;
  for (int32_t i = 0; i < t->rank; i++)
    if (!prn_dim_is(t->dims[i], 1) && prn_dim_is_const(t->strides[i], &step) &&
        step <= 0)
      return false;
  return true;
}

static bool windows_are_known(prn_cu *c, const prn_op *op, size_t spatial) {
  const prn_attr *pads = prn_op_attr(op, "pads");
  static const char *const names[] = {"strides", "dilations"};
  for (size_t i = 0; i < PRN_COUNT(names); i++) {
    size_t n;
    (void)prn_op_ints(op, names[i], &n);
    if (n != spatial) return false;
  }
  if (!pads || pads->size != spatial) return false;
  for (uint32_t k = 0; k < pads->size; k++)
    if (or_zero(c->ctx, pads->list[k]->dim) != pads->list[k]->dim)
      return false; /* may be negative */
  return true;
}

static bool fits(prn_cu *c, const prn_op *op) {
  const prn_type *x = prn_op_operand(op, X)->type;
  if (!prn_cu_is_half(x->dtype) && x->dtype != PRN_F32) return false;
  if (x->rank < 3 || x->rank > PRUNE_CUDA_CONV_RANK) return false;
  if (!prn_cu_constant(prn_op_operand(op, W)) ||
      !prn_str_is(prn_cu_packing(op, W), "dense"))
    return false;
  for (uint32_t i = 0; i < TENSORS; i++) {
    const prn_type *t = prn_op_operand(op, i)->type;
    if (t->dtype != x->dtype || t->rank != x->rank || !lies_well(t))
      return false;
  }
  return windows_are_known(c, op, (size_t)x->rank - 2);
}

void prn_cu_conv_library(prn_cu *c, const prn_op *op) {
  if (!prn_cu_asks_libraries(c) || !fits(c, op)) return;
  bool after = prn_op_block(op, "body") != NULL;
  (void)prn_cu_library_variant(c, op, PRUNE_CUDA_CUDNN, after, OUT,
                               op->num_operands);
  prn_cu_step_for(c, op)->has_conv = true;
}

/* ---- the table ---- */

static void places(prn_cu *c, int32_t n, const prn_dim *dims, prn_strbuf *b) {
  prn_dim least[PRUNE_CUDA_CONV_RANK];
  for (int32_t i = 0; i < n; i++)
    least[i] = or_zero(c->ctx, dims[i]);
  prn_cu_places(c, n, least, b);
}

/* `.name = {{...}, {...}, {...}}`: dims or strides of the operands. */
static void of_tensors(prn_cu *c, const prn_op *op, bool dims, prn_strbuf *b) {
  for (uint32_t i = 0; i < TENSORS; i++) {
    const prn_type *t = prn_op_operand(op, i)->type;
    if (i) prn_strbuf_cstr(b, ", ");
    places(c, t->rank, dims ? t->dims : t->strides, b);
  }
}

static void numbers(const prn_op *op, const char *name, prn_strbuf *b) {
  size_t n;
  const int64_t *v = prn_op_ints(op, name, &n);
  prn_strbuf_fmt(b, ".%s = {", name);
  for (size_t i = 0; i < n; i++)
    prn_strbuf_fmt(b, "%s%lld", i ? ", " : "", (long long)v[i]);
  prn_strbuf_char(b, '}');
}

void prn_cu_conv_table(prn_cu *c, uint32_t step, const prn_cu_blob *blob,
                       prn_strbuf *b) {
  const prn_op *op = c->steps[step].op;
  const prn_type *x = prn_op_operand(op, X)->type;
  const prn_attr *list = prn_op_attr(op, "pads");
  prn_dim pads[SPATIAL];
  for (int32_t k = 0; k < x->rank - 2; k++)
    pads[k] = list->list[k]->dim;
  prn_strbuf_fmt(b,
                 "static const prune_cuda_conv conv%u = {\n"
                 "    .type = %d, .rank = %d, .record = %u,\n"
                 "    .operands = {%d, %d, %d},\n    .dims = {",
                 step, (int)x->dtype, (int)x->rank,
                 prn_cu_blob_find(blob, op, W), X, W, OUT);
  of_tensors(c, op, true, b);
  prn_strbuf_cstr(b, "},\n    .steps = {");
  of_tensors(c, op, false, b);
  prn_strbuf_cstr(b, "},\n    .pads = ");
  places(c, x->rank - 2, pads, b);
  prn_strbuf_cstr(b, ",\n    ");
  numbers(op, "strides", b);
  prn_strbuf_cstr(b, ",\n    ");
  numbers(op, "dilations", b);
  prn_strbuf_cstr(b, "};\n");
}
