/* Products that libraries can do as well. Of what is done to sums they know few
 * things: a bias along the results and a residual of their size are added, then
 * comes an activation, of which the exact GELU is none. Anything else is left
 * to a kernel that goes over the results. */
#include "backends/cuda/product.h"

#include "backends/cuda/host/prune_cuda_model.h"
#include "ir/scalar.h"

enum { A, B, OUT, EXTRAS };

typedef struct chain {
  const prn_op *op;
  const prn_value *sum; /* what has become of it so far */
  int32_t bias, act;
  uint32_t residual;
} chain;

/* The operand that v is the element of, looking through a conversion of it; or
 * 0. */
static uint32_t extra_of(const prn_value *v) {
  if (v->def && prn_op_is(v->def, PRN_OP_nn_cast))
    v = prn_op_operand(v->def, 0);
  return v->def || v->index == 0 ? 0 : EXTRAS + v->index - 1;
}

/* One element for each result, of the type that is multiplied. */
static bool is_bias(const prn_op *op, uint32_t i) {
  const prn_type *t = prn_op_operand(op, i)->type;
  if (t->dtype != prn_op_operand(op, A)->type->dtype) return false;
  for (int32_t k = 0; k + 1 < t->rank; k++)
    if (!prn_dim_is(t->strides[k], 0) && !prn_dim_is(t->dims[k], 1))
      return false;
  return prn_dim_is(t->strides[t->rank - 1], 1);
}

/* An element for each element of the results, rows beside each other. */
static bool is_residual(const prn_op *op, uint32_t i) {
  const prn_type *t = prn_op_operand(op, i)->type;
  const prn_type *o = prn_op_operand(op, OUT)->type;
  int32_t r = o->rank;
  if (t->dtype != o->dtype || t->rank != r) return false;
  for (int32_t k = 0; k + 2 < r; k++)
    if (!prn_dim_is(o->dims[k], 1)) return false;
  return t->dims[r - 2] == o->dims[r - 2] && t->dims[r - 1] == o->dims[r - 1] &&
         prn_dim_is(t->strides[r - 1], 1) && !prn_dim_is(t->strides[r - 2], 0);
}

static bool add_extra(chain *c, const prn_op *add) {
  const prn_value *x = prn_op_operand(add, 0), *y = prn_op_operand(add, 1);
  const prn_value *other = x == c->sum ? y : x;
  if (x != c->sum && y != c->sum) return false;
  uint32_t i = extra_of(other);
  if (c->act != PRUNE_CUDA_NO_ACT || i == 0) return false;
  if (c->bias < 0 && is_bias(c->op, i)) {
    c->bias = (int32_t)i;
    return true;
  }
  if (c->residual || !is_residual(c->op, i)) return false;
  c->residual = i;
  return true;
}

static bool add_activation(chain *c, const prn_op *f) {
  prn_str fn = prn_op_string(f, "fn", "");
  if (prn_op_operand(f, 0) != c->sum || c->act != PRUNE_CUDA_NO_ACT)
    return false;
  if (prn_str_is(fn, "relu"))
    c->act = PRUNE_CUDA_RELU;
  else if (prn_str_is(fn, "gelu"))
    c->act = PRUNE_CUDA_GELU;
  return c->act != PRUNE_CUDA_NO_ACT;
}

/* What one operation of the body does to the sum. */
static bool follow(chain *c, const prn_op *op) {
  switch (prn_op_code(op)) {
  case PRN_OP_nn_binary:
    if (!prn_str_is(prn_op_string(op, "fn", ""), "add") || !add_extra(c, op))
      return false;
    break;
  case PRN_OP_nn_unary:
    if (!add_activation(c, op)) return false;
    break;
  case PRN_OP_nn_cast:
    if (prn_op_operand(op, 0) != c->sum) /* of an extra */
      return extra_of(&op->results[0]) != 0;
    break;
  default:
    return false;
  }
  c->sum = &op->results[0];
  return true;
}

static bool read_body(chain *c) {
  const prn_block *body = prn_op_block(c->op, "body");
  if (!body) return true;
  c->sum = body->args[0];
  PRN_EACH_OP(op, body) {
    if (prn_op_is(op, PRN_OP_nn_yield)) return prn_op_operand(op, 0) == c->sum;
    if (!follow(c, op)) return false;
  }
  return false;
}

/* The product alone, if libraries can store its sums where they belong. */
static bool plain_product(const prn_op *op, prn_cu_gemm *out) {
  const prn_type *a = prn_op_operand(op, A)->type;
  const prn_type *o = prn_op_operand(op, OUT)->type;
  unsigned r = (unsigned)o->rank;
  if (o->dtype != a->dtype || !prn_dim_is(o->strides[r - 1], 1)) return false;
  *out = (prn_cu_gemm){.type = a->dtype,
                       .m = o->dims[r - 2],
                       .n = o->dims[r - 1],
                       .k = a->dims[a->rank - 1],
                       .ldx = a->strides[a->rank - 2],
                       .ldo = o->strides[r - 2],
                       .bias = -1,
                       .act = PRUNE_CUDA_NO_ACT};
  return true;
}

bool prn_cu_library_product(const prn_op *op, prn_cu_gemm *out, bool *after) {
  chain c = {.op = op, .bias = -1, .act = PRUNE_CUDA_NO_ACT};
  if (!plain_product(op, out)) return false;
  uint32_t used = EXTRAS + (prn_op_int(op, "few", 0) > 0);
  bool read = read_body(&c);
  if (c.bias >= 0) used++;
  if (c.residual) used++;
  *after = !read || op->num_operands != used || c.act == PRUNE_CUDA_GELU;
  if (*after) return true;
  out->bias = c.bias;
  out->act = c.act;
  out->residual = c.residual;
  if (c.residual)
    out->ldr = prn_op_operand(op, c.residual)
                   ->type->strides[prn_op_operand(op, OUT)->type->rank - 2];
  return true;
}

bool prn_cu_asks_libraries(const prn_cu *c) { return c->num_guards == 0; }

prn_cu_variant *prn_cu_library_variant(prn_cu *c, const prn_op *op,
                                       unsigned how, bool after, uint32_t out,
                                       uint32_t num) {
  static const char *const names[] = {[PRUNE_CUDA_CUBLASLT] = "cuBLASLt",
                                      [PRUNE_CUDA_CUSPARSELT] = "cuSPARSELt",
                                      [PRUNE_CUDA_CUSPARSE] = "cuSPARSE",
                                      [PRUNE_CUDA_CUDNN] = "cuDNN"};
  prn_cu_variant *v = after ? prn_cu_emit_after(c, op, out, num) : NULL;
  if (!v) {
    prn_cu_step *s = prn_cu_step_for(c, op);
    prn_dim one = prn_dim_const(c->ctx, 1);
    v = &s->variants[s->num_variants++];
    *v = (prn_cu_variant){.grid = {one, one, one}, .max_rows = INT64_MAX};
  }
  v->how = how;
  v->after = after;
  v->why = names[how];
  return v;
}
