/* Attention that a library can do as well: scores that are multiplied by a
 * number and added to a mask, of 16-bit floats. */
#include <math.h>

#include "backends/cuda/host/prune_cuda_model.h"
#include "backends/cuda/product.h"
#include "backends/cuda/write.h"

enum { Q, K, V, OUT, MASK, TENSORS };

/* What becomes of a score. */
typedef struct chain {
  const prn_value *score; /* so far */
  double scale;
  bool masked;
} chain;

/* v, or what of it is converted to float, which changes no 16-bit float. */
static const prn_value *unconverted(const prn_value *v) {
  bool to_float =
      v->def && prn_op_is(v->def, PRN_OP_nn_cast) && v->type->dtype == PRN_F32;
  return to_float ? prn_op_operand(v->def, 0) : v;
}

static bool multiply(chain *c, const prn_value *by, bool divide) {
  double v;
  if (c->masked || !by->def || !prn_op_is(by->def, PRN_OP_nn_constant))
    return false;
  prn_tensor_read_f64(prn_op_attr(by->def, "value")->tensor, 0, 1, &v);
  c->scale = divide ? c->scale / v : c->scale * v;
  return isfinite((float)c->scale);
}

static bool add_mask(chain *c, const prn_value *v) {
  const prn_value *mask = unconverted(v);
  if (c->masked || mask->def || mask->index == 0) return false;
  c->masked = true;
  return true;
}

/* What one operation of the body does to the score. */
static bool follow(chain *c, const prn_op *op) {
  if (!prn_op_is(op, PRN_OP_nn_binary)) return false;
  const prn_value *x = prn_op_operand(op, 0), *y = prn_op_operand(op, 1);
  prn_str fn = prn_op_string(op, "fn", "");
  bool first = x == c->score;
  const prn_value *other = first ? y : x;
  if (other == c->score || (!first && y != c->score)) return false;
  c->score = &op->results[0];
  if (prn_str_is(fn, "mul")) return multiply(c, other, false);
  if (prn_str_is(fn, "div")) return first && multiply(c, other, true);
  return prn_str_is(fn, "add") && add_mask(c, other);
}

static bool read_body(const prn_op *op, chain *c) {
  const prn_block *body = prn_op_block(op, "body");
  *c = (chain){.scale = 1};
  if (!body) return true;
  c->score = body->args[0];
  PRN_EACH_OP(o, body) {
    if (prn_op_is(o, PRN_OP_nn_yield))
      return unconverted(prn_op_operand(o, 0)) == c->score;
    bool aside =
        prn_op_is(o, PRN_OP_nn_constant) ||
        (prn_op_is(o, PRN_OP_nn_cast) && prn_op_operand(o, 0) != c->score);
    if (!aside && !follow(c, o)) return false;
  }
  return false;
}

/* All of one type; elements of rows beside each other, as far as is known. */
static bool fits(const prn_op *op, const chain *c) {
  const prn_type *q = prn_op_operand(op, Q)->type;
  int64_t step;
  if (!prn_cu_is_half(q->dtype) || q->rank > PRUNE_CUDA_ATTENTION_RANK ||
      op->num_operands != (c->masked ? TENSORS : MASK))
    return false;
  for (uint32_t i = 0; i < op->num_operands; i++) {
    const prn_type *t = prn_op_operand(op, i)->type;
    bool f32 = i == MASK && t->dtype == PRN_F32;
    if ((t->dtype != q->dtype && !f32) || t->rank != q->rank) return false;
    if (i != MASK && prn_dim_is_const(t->strides[t->rank - 1], &step) &&
        step != 1)
      return false;
  }
  return true;
}

/* A query all of whose keys are hidden gives zeros only where the operation
 * says so; what it gives in a library is not written down. */
void prn_cu_attention_library(prn_cu *c, const prn_op *op) {
  chain body;
  if (!prn_cu_asks_libraries(c) || prn_op_int(op, "zero_hidden", 0) ||
      !read_body(op, &body) || !fits(op, &body))
    return;
  (void)prn_cu_library_variant(c, op, PRUNE_CUDA_CUDNN, false, OUT,
                               op->num_operands);
  prn_cu_step_for(c, op)->has_attention = true;
}

/* ---- the table ---- */

void prn_cu_attention_table(prn_cu *c, uint32_t step, prn_strbuf *b) {
  const prn_op *op = c->steps[step].op;
  const prn_type *q = prn_op_operand(op, Q)->type;
  const prn_type *k = prn_op_operand(op, K)->type;
  const prn_type *o = prn_op_operand(op, OUT)->type;
  int32_t r = q->rank;
  chain body;
  (void)read_body(op, &body);
  prn_strbuf_fmt(b,
                 "static const prune_cuda_attention attention%u = {\n"
                 "    .type = %d, .mask_type = %d, .rank = %d, .scale = %sf,\n"
                 "    .operands = {%d, %d, %d, %d, %d},\n    .lead = ",
                 step, (int)q->dtype,
                 body.masked ? (int)prn_op_operand(op, MASK)->type->dtype : 0,
                 (int)r, prn_cu_str(c, "%.8e", body.scale), Q, K, V, OUT,
                 body.masked ? MASK : 0);
  prn_cu_places(c, r - 2, o->dims, b);
  prn_strbuf_fmt(b,
                 ",\n    .queries = %u, .keys = %u, .depth = %u, .width = %u,\n"
                 "    .steps = {",
                 prn_cu_size(c, o->dims[r - 2]), prn_cu_size(c, k->dims[r - 2]),
                 prn_cu_size(c, k->dims[r - 1]),
                 prn_cu_size(c, o->dims[r - 1]));
  for (uint32_t i = 0; i < (body.masked ? TENSORS : MASK); i++) {
    if (i) prn_strbuf_cstr(b, ", ");
    prn_cu_places(c, r, prn_op_operand(op, i)->type->strides, b);
  }
  prn_strbuf_cstr(b, "}};\n");
}
