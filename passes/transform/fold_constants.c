/* fold-constants: operations whose results are known become constants.
 *
 * Known are small integer tensors that shape inference tracks (Shape -> Gather
 * -> Concat chains), and whatever follows from constants by operations that
 * every runtime computes to the same last bit. A result may not be much larger
 * than the operands it makes superfluous, so that a ConstantOfShape of a few
 * bytes does not turn into a file of gigabytes, nor a tied weight into two.
 * Operands that are no longer used stay for dce. */
#include "ir/infer.h"
#include "ir/rewrite.h"
#include "passes/pass.h"
#include "passes/transform/fold.h"

#define OPTIONS(X)                         \
  X(INT, max_elements, 65536, "[0,1e9]",   \
    "Elements a folded constant may have") \
  X(INT, growth, 64, "[0,1e9]",            \
    "Elements it may have beyond those of operands used nowhere else")
#define STATS(X)                                \
  X(folded, "operations that became constants") \
  X(bytes, "bytes of the new constants")        \
  X(refused, "operations left because the constant would be too big")
PRN_PASS_TABLES;

/* Bytes all new constants of a module may have together. */
enum { MAX_TOTAL = 64 << 20 };

typedef struct folder {
  prn_pass_env *env;
  prn_module *module;
  prn_infer *infer;
  prn_arena scratch; /* of one operation */
  prn_fold fold;
} folder;

/* ---- replacing ---- */

static prn_value *insert_constant(folder *f, prn_op *before,
                                  const prn_tensor *t) {
  prn_ctx *ctx = f->module->ctx;
  prn_op *op =
      prn_op_create(f->module, prn_opname_code(ctx, PRN_OP_onnx_Constant),
                    before->loc, NULL, 0, &t->type, 1);
  prn_op_insert_before(op, before);
  prn_op_set_attr(op, "value", prn_attr_tensor(ctx, t));
  const prn_attr *label = prn_op_attr(before, "$name");
  if (label && before->num_results == 1) prn_op_set_attr(op, "$name", label);
  return &op->results[0];
}

static bool is_wanted(const prn_value *v) {
  return v->uses && v->type->kind != PRN_TYPE_NONE;
}

/* Whether a block inside of op's gives v, an output, too. */
static bool is_given_inside(const prn_op *op, const prn_value *v) {
  PRN_EACH_USE(use, v)
    if (prn_op_has_trait(use->owner, PRN_TERMINATOR) &&
        use->owner->block != op->block)
      return true;
  return false;
}

/* Puts a constant in the place of one of op's results, all of which go. */
static bool replace_one(folder *f, prn_op *op, prn_value *from,
                        const prn_tensor *t, bool alone) {
  prn_value *to = insert_constant(f, op, t);
  int64_t count;
  bool known = prn_type_count(from->type, &count);
  if (alone ? !prn_value_can_replace(from, to) : is_given_inside(op, from)) {
    prn_op_erase(to->def);
    return false;
  }
  prn_value_replace(from, to);
  if (!known) to->type = t->type;
  return true;
}

/* In a branch that never runs a result may be said to be of another shape than
 * it would be. */
static bool agrees(const prn_value *from, const prn_tensor *t) {
  return from->type->kind != PRN_TYPE_TENSOR ||
         prn_type_fits(t->type, from->type);
}

/* Puts constants in the place of op's results; all or none. */
static bool replace(folder *f, prn_op *op, const prn_tensor *const *tensors) {
  struct stats *s = f->env->stats;
  uint32_t used = 0;
  for (uint32_t i = 0; i < op->num_results; i++) {
    if (!is_wanted(&op->results[i])) continue;
    if (!agrees(&op->results[i], tensors[i])) return false;
    used++;
  }
  for (uint32_t i = 0; used > 1 && i < op->num_results; i++)
    if (is_given_inside(op, &op->results[i])) return false;
  if (used == 0) return false;
  for (uint32_t i = 0; i < op->num_results; i++) {
    prn_value *from = &op->results[i];
    if (!is_wanted(from)) continue;
    if (!replace_one(f, op, from, tensors[i], used == 1)) return false;
    s->bytes += tensors[i]->data->size;
  }
  prn_pass_remark(f->env, op, PRN_REASON_Folded, "became a constant");
  prn_op_erase(op);
  s->folded++;
  return true;
}

/* ---- what inference knows ---- */

static bool fold_content(folder *f, prn_op *op) {
  prn_value *v = &op->results[0];
  const prn_type *t = v->type;
  int64_t count, elems[PRN_INFER_MAX_CONTENT];
  int32_t narrow[PRN_INFER_MAX_CONTENT];
  size_t n;
  if (op->num_results != 1 || t->kind != PRN_TYPE_TENSOR ||
      (t->dtype != PRN_I64 && t->dtype != PRN_I32) ||
      !prn_type_count(t, &count))
    return false;
  const prn_dim *known = prn_infer_content(f->infer, v, &n);
  if (!known || n != (size_t)count || n > PRN_INFER_MAX_CONTENT) return false;
  for (size_t i = 0; i < n; i++) {
    if (!prn_dim_is_const(known[i], &elems[i])) return false;
    if (t->dtype == PRN_I32 && elems[i] != (int32_t)elems[i]) return false;
    narrow[i] = (int32_t)elems[i];
  }
  const void *data = t->dtype == PRN_I64 ? (void *)elems : (void *)narrow;
  const prn_tensor *tensor = prn_tensor_from_data(f->module->ctx, t, data);
  return replace(f, op, &tensor);
}

/* ---- what follows from constants ---- */

static const prn_tensor *tensor_of(folder *f, const prn_fold_view *v) {
  prn_ctx *ctx = f->module->ctx;
  const prn_type *t = prn_type_static(ctx, v->dtype, v->rank, v->dims);
  return prn_tensor_from_data(ctx, t, v->data);
}

static bool fold_value(folder *f, prn_op *op) {
  struct stats *s = f->env->stats;
  const prn_tensor *tensors[PRN_FOLD_OPERANDS];
  f->fold.op = op;
  bool ok = prn_fold_eval(&f->fold) && f->fold.num_out == op->num_results;
  if (ok && s->bytes > MAX_TOTAL) {
    ok = false;
    f->fold.too_big = true;
  }
  if (!ok) {
    s->refused += f->fold.too_big;
    if (f->fold.too_big)
      prn_pass_remark(f->env, op, PRN_REASON_FoldTooBig,
                      "the constant would be too big");
    return false;
  }
  for (uint32_t i = 0; i < f->fold.num_out; i++)
    tensors[i] = tensor_of(f, &f->fold.out[i]);
  return replace(f, op, tensors);
}

static bool only_constants(const prn_op *op) {
  for (uint32_t i = 0; i < op->num_operands; i++)
    if (op->operands[i].value && !prn_value_fixed(op->operands[i].value))
      return false;
  return true;
}

/* Reading a default value of an input, which a run may change. */
static bool reads_default(const prn_op *op) {
  for (uint32_t i = 0; i < op->num_operands; i++) {
    const prn_value *v = op->operands[i].value;
    if (v && prn_value_constant(v) && !prn_value_fixed(v)) return true;
  }
  return false;
}

static prn_status visit(void *user, prn_op *op) {
  folder *f = user;
  if (!prn_op_has_trait(op, PRN_PURE) || prn_op_has_trait(op, PRN_CONSTANT) ||
      prn_op_has_trait(op, PRN_RANDOM) || op->num_blocks ||
      op->num_results == 0 || prn_op_has_parameters(op) || reads_default(op))
    return PRN_OK;
  if (fold_content(f, op)) return PRN_OK;
  if (op->num_operands && only_constants(op)) {
    (void)fold_value(f, op);
    prn_arena_reset(&f->scratch);
  }
  return PRN_OK;
}

static prn_status run(prn_pass_env *env, prn_module *m) {
  const struct opts *o = env->opts;
  folder f = {.env = env, .module = m};
  prn_status status = prn_infer_run(m, false, &f.infer);
  f.fold.ctx = m->ctx;
  f.fold.scratch = &f.scratch;
  f.fold.max_elements = o->max_elements;
  f.fold.growth = o->growth;
  if (status == PRN_OK) status = prn_walk(m->body, false, visit, &f);
  prn_infer_free(f.infer);
  prn_arena_destroy(&f.scratch);
  return status;
}

const prn_pass prn_pass_fold_constants = {
    .name = "fold-constants",
    .summary = "Turn operations with known results into constants",
    .reads = PRN_ANY_DIALECT,
    .writes = PRN_ANY_DIALECT,
    .exact = true,
    PRN_PASS_COMMON,
};
