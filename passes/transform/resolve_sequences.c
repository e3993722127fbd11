/* resolve-sequences: sequences of which it is known what is in them become
 * plain values.
 *
 * Where all that made a sequence is known, down to the positions, SequenceAt
 * is one of its tensors, SequenceLength a constant and ConcatFromSequence a
 * Concat; SplitToSequence becomes a Split. What makes the sequences is dead
 * then, and dce erases it. */
#include "ir/infer.h"
#include "passes/pass.h"
#include "passes/transform/build.h"

#define OPTIONS(X)                                                          \
  X(BOOL, defaults, false, "",                                              \
    "Take the default values of inputs for constants, as a compiled model " \
    "does")
#define STATS(X)                                       \
  X(resolved, "uses of sequences that became tensors") \
  X(kept, "uses of sequences left as they are")
PRN_PASS_TABLES;

enum { MAX_PARTS = 4096 };

typedef struct sequence {
  prn_value **at;
  size_t n;
} sequence;

typedef struct resolver {
  prn_infer *infer;
  prn_arena *scratch;
  const struct opts *opts;
  struct stats *stats;
  prn_ptrmap known; /* value -> sequence */
} resolver;

static sequence *known(const resolver *r, const prn_op *op) {
  const prn_value *v = prn_op_operand(op, 0);
  return v ? prn_ptrmap_get(&r->known, v) : NULL;
}

static sequence *make(resolver *r, prn_op *op, size_t n) {
  sequence *s = PRN_ARENA_ARRAY(r->scratch, sequence, 1);
  s->at = PRN_ARENA_ARRAY(r->scratch, prn_value *, n + 1);
  s->n = n;
  *prn_ptrmap_slot(&r->known, prn_op_result(op, 0)) = s;
  return s;
}

/* The position in operand i, `dflt` when there is none, where negative ones
 * count from `from`; false when it is not known or not one of [0, size). */
static bool position(const resolver *r, const prn_op *op, uint32_t i,
                     int64_t dflt, int64_t from, int64_t size, size_t *out) {
  size_t n;
  int64_t at = dflt;
  if (prn_op_operand(op, i)) {
    const prn_value *v = prn_op_operand(op, i);
    const prn_dim *c = prn_infer_content(r->infer, v, &n);
    const prn_tensor *t = r->opts->defaults ? prn_value_constant(v) : NULL;
    if (t && prn_dtype_is_int(t->type->dtype) && prn_tensor_count(t) == 1)
      prn_tensor_read_i64(t, 0, 1, &at);
    else if (!c || n != 1 || !prn_dim_is_const(c[0], &at))
      return false;
    if (at < 0) at += from;
  }
  *out = (size_t)at;
  return at >= 0 && at < size;
}

/* ---- what makes sequences ---- */

static void construct(resolver *r, prn_op *op) {
  sequence *s = make(r, op, op->num_operands);
  for (size_t i = 0; i < s->n; i++)
    s->at[i] = prn_op_operand(op, (uint32_t)i);
}

/* Negative positions count from the end: -1 is before the last. */
static void insert(resolver *r, prn_op *op) {
  const sequence *old = known(r, op);
  size_t at, i = 0;
  if (!old) return;
  int64_t n = (int64_t)old->n;
  if (!position(r, op, 2, n, n, n + 1, &at)) return;
  sequence *s = make(r, op, old->n + 1);
  for (size_t k = 0; k < s->n; k++)
    s->at[k] = k == at ? prn_op_operand(op, 1) : old->at[i++];
}

static void erase(resolver *r, prn_op *op) {
  const sequence *old = known(r, op);
  size_t at, i = 0;
  if (!old) return;
  int64_t n = (int64_t)old->n;
  if (!position(r, op, 1, n - 1, n, n, &at)) return;
  sequence *s = make(r, op, old->n - 1);
  for (size_t k = 0; k < old->n; k++)
    if (k != at) s->at[i++] = old->at[k];
}

/* The sizes that SplitToSequence cuts into; 0 when they are not known. */
static size_t part_sizes(resolver *r, const prn_op *op, prn_dim whole,
                         int64_t *sizes) {
  const prn_value *split = prn_op_operand(op, 1);
  size_t n = 0;
  int64_t total, each = 1;
  const prn_dim *c = split ? prn_infer_content(r->infer, split, &n) : NULL;
  if (split && (!c || n == 0 || n > MAX_PARTS)) return 0;
  for (size_t i = 0; i < n; i++)
    if (!prn_dim_is_const(c[i], &sizes[i])) return 0;
  if (split && split->type->rank != 0) return n;
  if (n) each = sizes[0];
  if (!prn_dim_is_const(whole, &total) || each < 1 ||
      (total + each - 1) / each > MAX_PARTS)
    return 0;
  for (n = 0; total > 0; total -= each)
    sizes[n++] = total < each ? total : each;
  return n;
}

/* A Split with n results before op. */
static prn_op *build_split(prn_op *op, const int64_t *sizes, size_t n,
                           int64_t axis) {
  prn_ctx *ctx = op->module->ctx;
  const prn_type **types =
      PRN_ARENA_ARRAY(&op->module->arena, const prn_type *, n);
  bool operand = prn_op_opset(op) >= 13;
  prn_value *in[2] = {prn_op_operand(op, 0), NULL};
  for (size_t i = 0; i < n; i++)
    types[i] = prn_type_any(ctx);
  if (operand) in[1] = prn_build_ints(op, sizes, n);
  prn_op *split =
      prn_op_create(op->module, prn_opname_code(ctx, PRN_OP_onnx_Split),
                    op->loc, in, operand ? 2 : 1, types, (uint32_t)n);
  prn_op_insert_before(split, op);
  prn_op_set_attr(split, "axis", prn_attr_int(ctx, axis));
  if (!operand) prn_op_set_attr(split, "split", prn_attr_ints(ctx, sizes, n));
  return split;
}

static void split(resolver *r, prn_op *op) {
  const prn_type *x = prn_op_operand(op, 0)->type;
  int64_t axis = prn_op_int(op, "axis", 0), sizes[MAX_PARTS];
  if (!prn_type_is_ranked(x)) return;
  if (axis < 0) axis += x->rank;
  if (axis < 0 || axis >= x->rank) return;
  size_t n = part_sizes(r, op, x->dims[axis], sizes);
  if (n == 0) return;
  prn_op *parts = build_split(op, sizes, n, axis);
  bool drop = !prn_op_operand(op, 1) && prn_op_int(op, "keepdims", 1) == 0;
  sequence *s = make(r, op, n);
  for (uint32_t i = 0; i < n; i++) {
    s->at[i] = prn_op_result(parts, i);
    if (drop) s->at[i] = prn_build_squeeze(op, s->at[i], axis);
  }
}

/* ---- what uses them ---- */

static bool replace(const prn_op *op, prn_value *v) {
  prn_value_replace_uses(prn_op_result(op, 0), v);
  return true;
}

static bool resolve_at(const resolver *r, prn_op *op, const sequence *s) {
  size_t at;
  return position(r, op, 1, 0, (int64_t)s->n, (int64_t)s->n, &at) &&
         replace(op, s->at[at]);
}

static bool resolve_concat(prn_op *op, const sequence *s) {
  int64_t axis = prn_op_int(op, "axis", 0);
  if (s->n == 0) return false;
  if (prn_op_int(op, "new_axis", 0) == 0)
    return replace(op, prn_build_concat(op, s->at, (uint32_t)s->n, axis));
  if (axis < 0) {
    if (!prn_type_is_ranked(op->results[0].type)) return false;
    axis += op->results[0].type->rank;
  }
  return replace(op, prn_build_stack(op, s->at, (uint32_t)s->n, axis));
}

static void use(resolver *r, prn_op *op) {
  const sequence *s = known(r, op);
  bool done = false;
  if (s && prn_op_is(op, PRN_OP_onnx_SequenceAt)) done = resolve_at(r, op, s);
  if (s && prn_op_is(op, PRN_OP_onnx_SequenceLength))
    done = replace(op, prn_build_int(op, (int64_t)s->n));
  if (s && prn_op_is(op, PRN_OP_onnx_ConcatFromSequence))
    done = resolve_concat(op, s);
  r->stats->resolved += done;
  r->stats->kept += !done;
}

/* ---- the pass ---- */

static prn_status visit(void *user, prn_op *op) {
  resolver *r = user;
  switch (prn_op_code(op)) {
  case PRN_OP_onnx_SequenceEmpty:
  case PRN_OP_onnx_SequenceConstruct:
    construct(r, op);
    break;
  case PRN_OP_onnx_SequenceInsert:
    insert(r, op);
    break;
  case PRN_OP_onnx_SequenceErase:
    erase(r, op);
    break;
  case PRN_OP_onnx_SplitToSequence:
    split(r, op);
    break;
  case PRN_OP_onnx_Identity:
    if (known(r, op))
      *prn_ptrmap_slot(&r->known, prn_op_result(op, 0)) = known(r, op);
    break;
  case PRN_OP_onnx_SequenceAt:
  case PRN_OP_onnx_SequenceLength:
  case PRN_OP_onnx_ConcatFromSequence:
    use(r, op);
    break;
  default:
    break;
  }
  return PRN_OK;
}

/* Whatever makes sequences, or looks into them; others only hand them on. */
static prn_status has_sequence(void *user, prn_op *op) {
  bool *found = user;
  prn_opcode code = prn_op_code(op);
  *found |= code == PRN_OP_onnx_SequenceEmpty ||
            code == PRN_OP_onnx_SequenceConstruct ||
            code == PRN_OP_onnx_SplitToSequence ||
            code == PRN_OP_onnx_SequenceAt ||
            code == PRN_OP_onnx_SequenceLength ||
            code == PRN_OP_onnx_ConcatFromSequence;
  return PRN_OK;
}

static prn_status run(prn_pass_env *env, prn_module *m) {
  bool any = false;
  resolver r = {
      .scratch = env->scratch, .opts = env->opts, .stats = env->stats};
  (void)!prn_walk(m->body, true, has_sequence, &any);
  if (!any) return PRN_OK;
  prn_status status = prn_infer_run(m, false, &r.infer);
  if (status == PRN_OK) status = prn_walk(m->body, true, visit, &r);
  prn_infer_free(r.infer);
  prn_ptrmap_destroy(&r.known);
  return status;
}

const prn_pass prn_pass_resolve_sequences = {
    .name = "resolve-sequences",
    .summary = "Replace sequences by the tensors in them",
    .doc = "Where it is known what is in a sequence and at which position, "
           "SequenceAt becomes that tensor, SequenceLength a constant, "
           "ConcatFromSequence a Concat, and SplitToSequence a Split.",
    .reads = PRN_DIALECT_ONNX,
    .writes = PRN_DIALECT_ONNX,
    .exact = true,
    PRN_PASS_COMMON,
};
