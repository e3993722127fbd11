/* What compensating passes share; see compensate.h. */
#include "passes/compensate/compensate.h"

#include <string.h>

#include "ir/rewrite.h"

prn_status prn_compensate_check(const prn_pass_env *env) {
  return prn_pass_need_profile(env, "");
}

/* ---- weights ---- */

bool prn_fits_dtype(prn_dtype t) {
  return t == PRN_F32 || t == PRN_F16 || t == PRN_BF16;
}

bool prn_masked_concerns(const prn_pass_env *env, const prn_site *s) {
  const prn_tensor *t = prn_site_tensor(s);
  return t && t->mask && prn_fits_dtype(t->type->dtype) &&
         prn_pass_site_selected(env, s->constant);
}

static bool open(const prn_pass_env *env, const prn_site *s, prn_arena *arena,
                 prn_masked *w) {
  *w = (prn_masked){.site = s, .t = prn_site_tensor(s)};
  if (!prn_site_matrix_of(s, arena, &w->m)) return false;
  double *means = PRN_ARENA_ARRAY(arena, double, w->m.inputs);
  for (size_t i = 0; i < s->num_uses; i++)
    if (!prn_use_means_of(prn_pass_profile(env), &s->uses[i], &w->m, 0, means))
      return false;
  return true;
}

bool prn_masked_open(const prn_pass_env *env, const prn_site *s,
                     prn_arena *arena, prn_masked *out) {
  if (open(env, s, arena, out)) return true;
  prn_pass_remark(env, s->constant, PRN_REASON_NotObserved,
                  "nothing makes up for what '%.*s' lost",
                  PRN_STR_ARG(s->name));
  return false;
}

/* ---- where it goes ---- */

/* The bias as it is: a constant of n numbers that nothing else reads. */
static const prn_tensor *bias_of(const prn_value *v, int64_t n) {
  const prn_tensor *t = v ? prn_value_fixed(v) : NULL;
  bool alone = v && v->uses && !v->uses->next;
  int32_t last = t ? t->type->rank - 1 : -1;
  int64_t size;
  bool fits = t && alone && prn_fits_dtype(t->type->dtype) && last >= 0 &&
              prn_tensor_count(t) == n &&
              prn_dim_is_const(t->type->dims[last], &size) && size == n;
  return fits ? t : NULL;
}

static const prn_tensor *sum(prn_ctx *ctx, const prn_tensor *old,
                             prn_dtype dtype, const double *delta, int64_t n) {
  float *v = prn_alloc(prn_array_size((size_t)n, sizeof *v));
  memset(v, 0, (size_t)n * sizeof *v);
  if (old) prn_tensor_read_f32(old, 0, n, v);
  for (int64_t i = 0; i < n; i++)
    if (!old || !old->mask || prn_mask_keeps(old->mask->data, i))
      v[i] = (float)((double)v[i] + delta[i]);
  const prn_type *type = prn_type_static(ctx, dtype, 1, &n);
  if (old)
    type = prn_type_with_sparsity(ctx, old->type,
                                  (prn_sparsity){.kind = PRN_SPARSE_NONE});
  const prn_tensor *t = prn_tensor_from_f32(ctx, type, v);
  prn_free(v);
  if (!old) return t;
  prn_tensor *named = prn_tensor_clone(ctx, t);
  named->name = old->name;
  named->mask = old->mask;
  return named;
}

static void replace(prn_op *constant, const prn_tensor *t) {
  prn_op_set_attr(constant, "value", prn_attr_tensor(constant->module->ctx, t));
  constant->results[0].type = t->type;
}

static prn_value *constant(prn_op *before, const prn_tensor *t) {
  prn_ctx *ctx = before->module->ctx;
  prn_op *c =
      prn_op_create(before->module, prn_opname_code(ctx, PRN_OP_onnx_Constant),
                    before->loc, NULL, 0, &t->type, 1);
  prn_op_insert_before(c, before);
  prn_op_set_attr(c, "value", prn_attr_tensor(ctx, t));
  return &c->results[0];
}

/* The Add behind a product that adds its bias; the slot of the bias. */
static prn_op *add_behind(const prn_op *op, int64_t n, uint32_t *slot) {
  const prn_value *y = &op->results[0];
  if (!y->uses || y->uses->next || !prn_op_is(y->uses->owner, PRN_OP_onnx_Add))
    return NULL;
  prn_op *add = y->uses->owner;
  *slot = prn_use_index(y->uses) ? 0 : 1;
  return bias_of(prn_op_operand(add, *slot), n) ? add : NULL;
}

/* A new Add behind a product. */
static void insert_add(prn_op *op, const prn_tensor *t) {
  prn_value *y = &op->results[0], *in[2] = {y, NULL};
  prn_ctx *ctx = op->module->ctx;
  prn_op *add = prn_op_create(op->module, prn_opname_code(ctx, PRN_OP_onnx_Add),
                              op->loc, in, 1, &y->type, 1);
  prn_op_insert_after(add, op);
  prn_value_replace_uses(y, &add->results[0]);
  prn_op_set_operand(add, 0, y);
  prn_op_add_operand(add, constant(add, t));
}

/* Whether the operator adds operand 2 to each output as it is. */
static bool has_bias_slot(const prn_op *op) {
  const prn_attr *beta = prn_op_attr(op, "beta"),
                 *alpha = prn_op_attr(op, "alpha");
  if (prn_op_is(op, PRN_OP_onnx_Conv)) return true;
  return prn_op_is(op, PRN_OP_onnx_Gemm) &&
         (!beta || (beta->kind == PRN_ATTR_FLOAT && beta->f == 1)) &&
         (!alpha || (alpha->kind == PRN_ATTR_FLOAT && alpha->f == 1));
}

bool prn_bias_open(const prn_op *op, int64_t n, bool add) {
  uint32_t slot = 2;
  const prn_op *at = op;
  if (prn_op_is(op, PRN_OP_onnx_MatMul))
    at = add_behind(op, n, &slot);
  else if (!has_bias_slot(op))
    return false;
  const prn_value *old =
      at && slot < at->num_operands ? prn_op_operand(at, slot) : NULL;
  return old ? bias_of(old, n) != NULL : add;
}

bool prn_bias_add(const prn_pass_env *env, prn_op *op, double *delta,
                  const unsigned char *alive, int64_t n, bool *added) {
  uint32_t slot = 2;
  prn_op *at = op;
  if (prn_op_is(op, PRN_OP_onnx_MatMul))
    at = add_behind(op, n, &slot);
  else if (!has_bias_slot(op))
    return false;
  prn_value *old =
      at && slot < at->num_operands ? prn_op_operand(at, slot) : NULL;
  const prn_tensor *t = bias_of(old, n);
  if (old && !t) return false;
  for (int64_t o = 0; o < n && !t; o++)
    if (!alive[o]) delta[o] = 0;
  const prn_tensor *now =
      sum(env->ctx, t, op->results[0].type->dtype, delta, n);
  *added = !t;
  if (t) {
    replace(old->def, now);
  } else if (!at) {
    insert_add(op, now);
  } else {
    while (at->num_operands <= slot)
      prn_op_add_operand(at, NULL);
    prn_op_set_operand(at, slot, constant(at, now));
  }
  return true;
}
