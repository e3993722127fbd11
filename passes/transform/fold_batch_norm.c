/* fold-batch-norm: normalisations with fixed statistics go into the weights
 * before them.
 *
 *   s = scale / sqrt(variance + epsilon)
 *   BN(Conv(x, w) + b) = Conv(x, s w) + (b - mean) s + bias
 *
 * for Conv and Gemm whose result nothing else reads. Masks stay: what was zero
 * is zero. Results change in their last bits, which is why canonicalize does
 * not do it. */
#include <math.h>
#include <string.h>

#include "ir/rewrite.h"
#include "ir/sparsity.h"
#include "passes/pass.h"

#define OPTIONS(X)
#define STATS(X) X(folded, "normalisations that went into weights")
PRN_PASS_TABLES;

/* A normalisation, and the product before it. */
typedef struct fold {
  prn_op *norm, *product;
  const prn_tensor *w, *b; /* b may be NULL */
  prn_axis_view out;       /* of the weights' outputs, in memory */
  double *scale, *shift;   /* [out.length] */
} fold;

static const prn_tensor *floats(const prn_value *v, int64_t n) {
  const prn_tensor *t = v ? prn_value_fixed(v) : NULL;
  bool fits = t && t->type->dtype == PRN_F32 && t->type->rank == 1 &&
              prn_tensor_count(t) == n;
  return fits ? t : NULL;
}

static bool is_one(const prn_op *op, const char *name) {
  const prn_attr *a = prn_op_attr(op, name);
  return !a || (a->kind == PRN_ATTR_FLOAT && a->f == 1);
}

/* The axis of outputs of the product's weights; -1 when it is no such product.
 */
static int32_t outputs_of(const prn_op *op) {
  if (prn_op_is(op, PRN_OP_onnx_Conv)) return 0;
  if (!prn_op_is(op, PRN_OP_onnx_Gemm) || !is_one(op, "alpha") ||
      !is_one(op, "beta"))
    return -1;
  return prn_op_int(op, "transB", 0) ? 0 : 1;
}

static bool open_product(fold *f) {
  prn_value *x = prn_op_operand(f->norm, 0);
  f->product = x->def;
  if (!f->product || !x->uses || x->uses->next) return false;
  int32_t axis = outputs_of(f->product);
  if (axis < 0 || prn_value_is_output(x)) return false;
  const prn_value *w = prn_op_operand(f->product, 1);
  f->w = w ? prn_value_fixed(w) : NULL;
  if (!f->w || !f->w->data || f->w->type->dtype != PRN_F32 ||
      f->w->type->rank <= axis || w->uses->next)
    return false;
  f->out = prn_axis_view_of(f->w->type, axis);
  const prn_value *b =
      f->product->num_operands > 2 ? prn_op_operand(f->product, 2) : NULL;
  f->b = floats(b, f->out.length);
  return !b || f->b;
}

/* scale and shift of the normalisation; false when it is not fixed. */
static bool open_norm(const prn_pass_env *env, fold *f) {
  int64_t n = f->out.length;
  const prn_tensor *t[4];
  double v[4];
  const prn_attr *e = prn_op_attr(f->norm, "epsilon");
  double epsilon = e && e->kind == PRN_ATTR_FLOAT ? (double)e->f : 1e-5;
  for (uint32_t i = 0; i < 4; i++)
    if (!(t[i] = floats(prn_op_operand(f->norm, 1 + i), n))) return false;
  f->scale = PRN_ARENA_ARRAY(env->scratch, double, n);
  f->shift = PRN_ARENA_ARRAY(env->scratch, double, n);
  for (int64_t c = 0; c < n; c++) {
    for (uint32_t i = 0; i < 4; i++) /* scale, bias, mean, variance */
      prn_tensor_read_f64(t[i], c, 1, &v[i]);
    f->scale[c] = v[0] / sqrt(v[3] + epsilon);
    f->shift[c] = v[1] - v[2] * f->scale[c];
    if (!isfinite(f->scale[c]) || !isfinite(f->shift[c])) return false;
  }
  return true;
}

/* ---- writing ---- */

static prn_status scale_weights(const fold *f) {
  prn_ctx *ctx = f->norm->module->ctx;
  int64_t n = prn_tensor_count(f->w);
  const prn_blob *blob;
  void *data;
  prn_tensor plain = *f->w;
  plain.mask = NULL;
  PRN_TRY(prn_blob_scratch(ctx, (size_t)n * sizeof(float), &blob, &data));
  float *v = data;
  prn_tensor_read_f32(&plain, 0, n, v);
  for (int64_t i = 0; i < n; i++)
    v[i] = (float)((double)v[i] * f->scale[i / f->out.inner % f->out.length]);
  prn_tensor *t = prn_tensor_clone(ctx, f->w);
  t->data = blob;
  if (t->storage == PRN_STORE_EXTERNAL) t->storage = PRN_STORE_RAW;
  prn_op_set_attr(prn_op_operand(f->product, 1)->def, "value",
                  prn_attr_tensor(ctx, t));
  return PRN_OK;
}

/* A new bias: the old one may have other users. */
static void set_bias(const fold *f) {
  prn_ctx *ctx = f->norm->module->ctx;
  int64_t n = f->out.length;
  float *v = prn_alloc(prn_array_size((size_t)n, sizeof *v));
  memset(v, 0, (size_t)n * sizeof *v);
  if (f->b) prn_tensor_read_f32(f->b, 0, n, v);
  for (int64_t c = 0; c < n; c++)
    v[c] = (float)((double)v[c] * f->scale[c] + f->shift[c]);
  const prn_type *type = prn_type_static(ctx, PRN_F32, 1, &n);
  const prn_tensor *t = prn_tensor_from_data(ctx, type, v);
  prn_free(v);
  prn_op *c =
      prn_op_create(f->norm->module, prn_opname_code(ctx, PRN_OP_onnx_Constant),
                    f->product->loc, NULL, 0, &type, 1);
  prn_op_insert_before(c, f->product);
  prn_op_set_attr(c, "value", prn_attr_tensor(ctx, t));
  while (f->product->num_operands <= 2)
    prn_op_add_operand(f->product, NULL);
  prn_op_set_operand(f->product, 2, &c->results[0]);
}

static prn_status visit(void *user, prn_op *op) {
  prn_pass_env *env = user;
  struct stats *s = env->stats;
  fold f = {.norm = op};
  if (!prn_op_is(op, PRN_OP_onnx_BatchNormalization) ||
      prn_op_int(op, "training_mode", 0) || op->num_results != 1 ||
      prn_op_has_parameters(op) || !open_product(&f) || !open_norm(env, &f))
    return PRN_OK;
  prn_value *x = prn_op_operand(op, 0), *y = &op->results[0];
  if (!prn_value_can_replace(y, x)) return PRN_OK;
  PRN_TRY(scale_weights(&f));
  set_bias(&f);
  prn_value_replace(y, x);
  prn_pass_remark(env, f.product, PRN_REASON_Rewritten,
                  "took in the normalisation behind it");
  prn_op_erase(op);
  s->folded++;
  return PRN_OK;
}

static prn_status visit_block(prn_pass_env *env, prn_block *b) {
  for (prn_op *op = b->first, *next; op; op = next) {
    next = op->next;
    PRN_TRY(visit(env, op));
  }
  return PRN_OK;
}

static prn_status run(prn_pass_env *env, prn_module *m) {
  PRN_EACH_OP(op, m->body)
    if (prn_op_is(op, PRN_OP_onnx_graph))
      PRN_TRY(visit_block(env, prn_op_block(op, "body")));
  return PRN_OK;
}

const prn_pass prn_pass_fold_batch_norm = {
    .name = "fold-batch-norm",
    .summary = "Put normalisations with fixed statistics into weights",
    .doc = "Of Conv and Gemm. Their old constants stay for dce.",
    .reads = PRN_DIALECT_ONNX,
    .writes = PRN_DIALECT_ONNX,
    .needs = PRN_SHAPES,
    .exact = true,
    PRN_PASS_COMMON,
};
