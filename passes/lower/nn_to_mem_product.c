/* lower-nn-to-mem: matrix products, convolutions and recurrent cells.
 *
 * Constant weights are laid out in panels when the library is made. Leading
 * dimensions are merged into the rows whenever the views allow, so that one
 * product with many rows replaces many with few. */
#include "ir/pack/pack.h"
#include "passes/lower/nn_to_mem.h"

enum { MAX_EXTRAS = 32 };

static prn_value *packed(prn_to_mem *s, const prn_tensor *t, bool transposed) {
  const char *format = s->target->rows ? "nk" : "panels";
  prn_op *c = prn_to_mem_packed(s, NULL, t, transposed, format);
  return prn_op_result(c, 0);
}

/* The product's operands while they are put into one shape. */
typedef struct product {
  prn_value *a, *b, *out;
  prn_value *extra[MAX_EXTRAS];
  uint32_t num_extras;
  bool packed;
} product;

/* Merges all but the last dimension of every view; false (and nothing
 * changed) when one of them would have to be copied. b is a packed matrix. */
static bool merge_rows(prn_to_mem *s, product *p) {
  const prn_type *t = p->out->type, *views[MAX_EXTRAS + 2];
  prn_dim rows = prn_dim_const(s->ctx, 1);
  for (int32_t i = 0; i + 1 < t->rank; i++)
    rows = prn_dim_mul(s->ctx, rows, t->dims[i]);
  prn_dim out_dims[2] = {rows, t->dims[t->rank - 1]};
  prn_dim a_dims[2] = {rows, p->a->type->dims[t->rank - 1]};
  views[0] = prn_view_reshape(s->ctx, p->a->type, 2, a_dims);
  views[1] = prn_view_reshape(s->ctx, t, 2, out_dims);
  if (!views[0] || !views[1]) return false;
  for (uint32_t i = 0; i < p->num_extras; i++) {
    views[i + 2] = prn_view_reshape(s->ctx, p->extra[i]->type, 2, out_dims);
    if (!views[i + 2]) return false;
  }
  p->a = prn_to_mem_view(s, p->a, views[0]);
  p->out = prn_to_mem_view(s, p->out, views[1]);
  for (uint32_t i = 0; i < p->num_extras; i++)
    p->extra[i] = prn_to_mem_view(s, p->extra[i], views[i + 2]);
  return true;
}

/* x[..., r, c] with the leading sizes of t. */
static prn_value *with_lead(prn_to_mem *s, const prn_op *op, prn_value *x,
                            const prn_type *t) {
  prn_dim dims[PRN_VIEW_MAX_RANK];
  for (int32_t i = 0; i < t->rank; i++)
    dims[i] = i + 2 < t->rank ? t->dims[i]
                              : x->type->dims[x->type->rank - (t->rank - i)];
  return prn_to_mem_broadcast(s, op, x, t->rank, dims);
}

static prn_status gather_extras(prn_to_mem *s, prn_op *op, product *p) {
  const prn_type *t = p->out->type;
  for (uint32_t i = 2; i < op->num_operands; i++) {
    if (p->num_extras == MAX_EXTRAS)
      return prn_op_error(op, "has more than %d extra operands", MAX_EXTRAS);
    prn_value *x = prn_to_mem_operand(s, op, i);
    x = prn_to_mem_broadcast(s, op, x, t->rank, t->dims);
    if (!x) return PRN_FAIL;
    p->extra[p->num_extras++] = x;
  }
  return PRN_OK;
}

/* Appends the kernel: a, b, out, extras. */
static prn_op *emit(prn_to_mem *s, prn_opcode code, const product *p) {
  prn_value *views[MAX_EXTRAS + 3] = {p->a, p->b, p->out};
  for (uint32_t i = 0; i < p->num_extras; i++)
    views[3 + i] = p->extra[i];
  return prn_to_mem_op(s, code, views, 3 + p->num_extras, NULL);
}

prn_status prn_to_mem_matmul(prn_to_mem *s, prn_op *op) {
  if (prn_to_mem_is_linear(s, op)) return prn_to_mem_linear(s, op);
  bool transposed;
  product p = {.a = prn_to_mem_operand(s, op, 0)};
  const prn_tensor *w = prn_to_mem_weights(op, &transposed);
  prn_str pack =
      prn_op_string(op, "pack", s->target->rows ? "dense" : "panels");
  if (prn_str_is(pack, "dense")) w = NULL;
  p.packed = w != NULL;
  const prn_pack_format *f = prn_pack_find(pack);
  if (w && (!f || f->along_m))
    return prn_op_error(op, "cannot be computed with weights packed as '%.*s'",
                        PRN_STR_ARG(pack));
  p.b = w ? prn_op_result(prn_to_mem_packed(s, op, w, transposed, f->name), 0)
          : prn_to_mem_operand(s, op, 1);
  p.out = prn_to_mem_result(s, prn_op_result(op, 0));
  const prn_type *t = p.out->type;
  PRN_TRY(gather_extras(s, op, &p));
  p.a = with_lead(s, op, p.a, t);
  if (!p.a) return PRN_FAIL;
  if (!p.packed || !merge_rows(s, &p)) {
    p.b = with_lead(s, op, p.b, t);
    if (!p.b) return PRN_FAIL;
  }
  prn_str few = prn_op_string(op, "pack_few", "");
  prn_op *second = NULL;
  if (w && few.size && prn_pack_find(few))
    second = prn_to_mem_packed(s, op, w, transposed, prn_pack_find(few)->name);
  prn_op *r = emit(s, PRN_OP_mem_matmul, &p);
  prn_to_mem_body(s, op, r, "body");
  if (second) {
    prn_op_add_operand(r, prn_op_result(second, 0));
    prn_op_set_attr(r, "few",
                    prn_attr_int(s->ctx, prn_op_int(op, "pack_few_rows", 0)));
  }
  return PRN_OK;
}

/* Sizes of the window. */
static const prn_attr *window(prn_to_mem *s, const prn_type *w) {
  int64_t sizes[PRN_VIEW_MAX_RANK];
  for (int32_t i = 2; i < w->rank; i++)
    if (!prn_dim_is_const(w->dims[i], &sizes[i - 2])) return NULL;
  return prn_attr_ints(s->ctx, sizes, (size_t)w->rank - 2);
}

/* x as a copy whose pixels lie as one row, repeated where it was repeated for
 * samples and channels. */
static prn_value *pixel_rows(prn_to_mem *s, const prn_op *op, prn_value *x) {
  const prn_type *t = x->type;
  prn_dim dims[PRN_VIEW_MAX_RANK];
  for (int32_t i = 0; i < t->rank; i++) {
    int64_t step;
    bool again = i < 2 && prn_dim_is_const(t->strides[i], &step) && step == 0;
    dims[i] = again ? prn_dim_const(s->ctx, 1) : t->dims[i];
  }
  const prn_type *once =
      prn_type_view(s->ctx, t->dtype, t->rank, dims, t->strides, t->offset);
  x = prn_to_mem_dense(s, prn_to_mem_view(s, x, once));
  return prn_to_mem_broadcast(s, op, x, t->rank, t->dims);
}

/* The kernels see the pixels of a channel as one row: what is repeated along
 * some spatial dimensions only, or has them in another order, is copied. */
static prn_status merge_pixels(prn_to_mem *s, const prn_op *op, product *p) {
  const prn_type *t = p->out->type;
  prn_dim dims[3] = {t->dims[0], t->dims[1], prn_dim_const(s->ctx, 1)};
  for (int32_t i = 2; i < t->rank; i++)
    dims[2] = prn_dim_mul(s->ctx, dims[2], t->dims[i]);
  for (uint32_t i = 0; i < p->num_extras; i++) {
    if (prn_view_reshape(s->ctx, p->extra[i]->type, 3, dims)) continue;
    p->extra[i] = pixel_rows(s, op, p->extra[i]);
    if (!p->extra[i]) return PRN_FAIL;
  }
  return PRN_OK;
}

prn_status prn_to_mem_conv(prn_to_mem *s, prn_op *op) {
  if (prn_str_is(prn_op_string(op, "pack", ""), "winograd"))
    return prn_to_mem_winograd(s, op);
  if (prn_to_mem_is_linear(s, op)) return prn_to_mem_linear_conv(s, op);
  static const char *const names[] = {"strides", "dilations", "pads", "group",
                                      "fill"};
  const prn_tensor *w = prn_to_mem_filter(op);
  bool bytes = w && w->type->dtype == PRN_I8;
  prn_str pack = prn_op_string(op, "pack", bytes ? "rows4" : "dense");
  product p = {.a = prn_to_mem_operand(s, op, 0),
               .packed = w && !prn_str_is(pack, "dense")};
  if (p.packed && !prn_pack_find(pack))
    return prn_op_error(op, "cannot be computed with weights packed as '%.*s'",
                        PRN_STR_ARG(pack));
  if (p.packed) {
    p.b = prn_op_result(prn_to_mem_packed(s, op, w, true, pack.data), 0);
    p.out = prn_to_mem_result_rows(s, prn_op_result(op, 0), 3);
  } else {
    /* The kernel walks it as a matrix. */
    p.b = prn_to_mem_dense(s, prn_to_mem_operand(s, op, 1));
    p.out = prn_to_mem_result(s, prn_op_result(op, 0));
  }
  PRN_TRY(gather_extras(s, op, &p));
  PRN_TRY(merge_pixels(s, op, &p));
  prn_op *r = emit(s, PRN_OP_mem_conv, &p);
  for (size_t i = 0; i < PRN_COUNT(names); i++)
    if (prn_op_attr(op, names[i])) prn_to_mem_attr(op, r, names[i]);
  if (p.packed) prn_op_set_attr(r, "kernel", window(s, w->type));
  prn_to_mem_body(s, op, r, "body");
  return PRN_OK;
}

/* ---- recurrent ---- */

static void add_bias_body(prn_to_mem *s, prn_op *product_op, prn_dtype dtype) {
  prn_block *body = prn_block_create(s->m), *outer = s->at;
  const prn_type *t = prn_type_scalar(s->ctx, dtype);
  prn_value *args[2];
  args[0] = prn_block_add_arg(body, t, PRN_STR(""));
  args[1] = prn_block_add_arg(body, t, PRN_STR(""));
  s->at = body;
  prn_op *add = prn_to_mem_op(s, PRN_OP_nn_binary, args, 2, t);
  prn_op_set_attr(add, "fn", prn_attr_string(s->ctx, PRN_STR("add")));
  prn_value *sum = prn_op_result(add, 0);
  (void)prn_to_mem_op(s, PRN_OP_nn_yield, &sum, 1, NULL);
  s->at = outer;
  prn_op_add_block(product_op, body);
  prn_op_set_attr(product_op, "body", prn_attr_region(s->ctx, 0));
}

/* x[seq, batch, in] w[gates, in]' + bias[gates]: the part of a recurrent cell
 * that needs no recurrence. */
static prn_value *input_products(prn_to_mem *s, prn_op *op, prn_value *bias) {
  bool transposed;
  product p = {.a = prn_to_mem_operand(s, op, 0)};
  const prn_tensor *w = prn_to_mem_matrix(prn_op_operand(op, 1), &transposed);
  const prn_type *x = p.a->type;
  if (!w || transposed) {
    (void)prn_op_error(op, "weights that are not a constant f32 matrix are "
                           "not supported");
    return NULL;
  }
  prn_dim dims[3] = {x->dims[0], x->dims[1], w->type->dims[0]};
  prn_value *xw = p.out = prn_to_mem_alloc(s, x->dtype, 3, dims);
  p.b = packed(s, w, true);
  p.packed = true;
  if (bias) {
    bias = prn_to_mem_broadcast(s, op, bias, 3, dims);
    if (!bias) return NULL;
    p.extra[p.num_extras++] = bias;
  }
  if (!merge_rows(s, &p)) p.b = with_lead(s, op, p.b, p.out->type);
  prn_op *r = emit(s, PRN_OP_mem_matmul, &p);
  if (bias) add_bias_body(s, r, x->dtype);
  return xw;
}

/* The recurrence weights, packed; NULL after a report. */
static prn_value *recurrence(prn_to_mem *s, prn_op *op) {
  bool transposed;
  const prn_tensor *r = prn_to_mem_matrix(prn_op_operand(op, 2), &transposed);
  if (r && !transposed) return packed(s, r, true);
  (void)prn_op_error(op, "recurrence weights that are not a constant f32 "
                         "matrix are not supported");
  return NULL;
}

/* Gates and state of every batch row; GPUs keep them elsewhere. */
static prn_value *cell_scratch(prn_to_mem *s, const prn_value *h,
                               int64_t vectors) {
  prn_dim dims[2] = {
      h->type->dims[0],
      prn_dim_mul(s->ctx, h->type->dims[1], prn_dim_const(s->ctx, vectors))};
  return prn_to_mem_alloc(s, h->type->dtype, 2, dims);
}

/* The recurrence of a cell on the products xw; inner: the slot of a bias that
 * only it adds, or NULL where it has none. Initial states are the operands
 * behind the bias of the inputs, one for each result behind the first. */
static prn_status emit_cell(prn_to_mem *s, prn_op *op, prn_opcode code,
                            prn_value *xw, prn_value *const *inner,
                            int64_t vectors) {
  enum { STATES = PRN_SLOT(nn_lstm, h0) };
  static const char *const attrs[] = {"fn", "reverse", "linear_before_reset"};
  prn_value *views[8] = {xw, xw ? recurrence(s, op) : NULL};
  uint32_t n = 2;
  if (!views[1]) return PRN_FAIL;
  for (uint32_t i = 0; i < op->num_results; i++)
    views[n++] = prn_to_mem_result(s, prn_op_result(op, i));
  if (inner) views[n++] = *inner;
  for (uint32_t i = 0; i + 1 < op->num_results; i++)
    views[n++] = prn_to_mem_operand(s, op, STATES + i);
  if (!s->target->rows) views[n++] = cell_scratch(s, views[3], vectors);
  prn_op *cell = prn_to_mem_op(s, code, views, n, NULL);
  for (size_t i = 0; i < PRN_COUNT(attrs); i++)
    prn_to_mem_attr(op, cell, attrs[i]);
  return PRN_OK;
}

prn_status prn_to_mem_lstm(prn_to_mem *s, prn_op *op) {
  prn_value *bias = prn_to_mem_operand(s, op, PRN_SLOT(nn_lstm, bias));
  return emit_cell(s, op, PRN_OP_mem_lstm, input_products(s, op, bias), NULL,
                   6);
}

prn_status prn_to_mem_rnn(prn_to_mem *s, prn_op *op) {
  prn_value *bias = prn_to_mem_operand(s, op, PRN_SLOT(nn_rnn, bias));
  return emit_cell(s, op, PRN_OP_mem_rnn, input_products(s, op, bias), NULL, 2);
}

prn_status prn_to_mem_gru(prn_to_mem *s, prn_op *op) {
  prn_value *bias = prn_to_mem_operand(s, op, PRN_SLOT(nn_gru, bias));
  prn_value *wb = NULL, *rb = NULL;
  if (bias) {
    int64_t step = 1;
    prn_dim zero = prn_dim_const(s->ctx, 0);
    prn_dim half =
        prn_dim_floordiv(s->ctx, bias->type->dims[0], prn_dim_const(s->ctx, 2));
    wb = prn_to_mem_view(
        s, bias, prn_view_slice(s->ctx, bias->type, &zero, &step, &half));
    rb = prn_to_mem_view(
        s, bias, prn_view_slice(s->ctx, bias->type, &half, &step, &half));
  }
  return emit_cell(s, op, PRN_OP_mem_gru, input_products(s, op, wb), &rb, 5);
}
