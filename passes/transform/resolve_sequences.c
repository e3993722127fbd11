/* resolve-sequences: sequences and optionals of which it is known what is in
 * them become plain values.
 *
 * Where all that made a sequence is known, down to the positions, SequenceAt
 * is one of its tensors, SequenceLength a constant and ConcatFromSequence a
 * Concat; SplitToSequence becomes a Split. OptionalGetElement is what was
 * wrapped. An If that gives such a value is decided when its condition is
 * known; otherwise it gives the tensors of sequences that are equally long in
 * both branches. What makes the sequences is dead then, and dce erases it. */
#include "ir/infer.h"
#include "passes/pass.h"
#include "passes/transform/build.h"
#include "passes/transform/outputs.h"

#define OPTIONS(X)                                                          \
  X(BOOL, defaults, false, "",                                              \
    "Take the default values of inputs for constants, as a compiled model " \
    "does")                                                                 \
  X(BOOL, outputs, false, "",                                               \
    "Have outputs of a compiled model, which are tensors: those of y are "  \
    "y[0], y[1], ... where it is a sequence, none where it is an optional " \
    "that is absent")
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
  bool changed;     /* in a way that may make more known */
} resolver;

static sequence *known_value(const resolver *r, const prn_value *v) {
  return v ? prn_ptrmap_get(&r->known, v) : NULL;
}

static sequence *known(const resolver *r, const prn_op *op) {
  return known_value(r, prn_op_operand(op, 0));
}

static sequence *make_value(resolver *r, const prn_value *v, size_t n) {
  sequence *s = PRN_ARENA_ARRAY(r->scratch, sequence, 1);
  s->at = PRN_ARENA_ARRAY(r->scratch, prn_value *, n + 1);
  s->n = n;
  *prn_ptrmap_slot(&r->known, v) = s;
  return s;
}

static sequence *make(resolver *r, prn_op *op, size_t n) {
  return make_value(r, prn_op_result(op, 0), n);
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

static bool replace(const prn_op *op, prn_value *v) {
  prn_value_replace_uses(prn_op_result(op, 0), v);
  return true;
}

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
  if (!prn_type_is_ranked(x) || !prn_value_has_uses(prn_op_result(op, 0)))
    return;
  if (axis < 0) axis += x->rank;
  if (axis < 0 || axis >= x->rank) return;
  size_t n = part_sizes(r, op, x->dims[axis], sizes);
  if (n == 0) return;
  prn_op *parts = build_split(op, sizes, n, axis);
  bool drop = !prn_op_operand(op, 1) && prn_op_int(op, "keepdims", 1) == 0;
  prn_value **at = PRN_ARENA_ARRAY(r->scratch, prn_value *, n);
  for (uint32_t i = 0; i < n; i++) {
    at[i] = prn_op_result(parts, i);
    if (drop) at[i] = prn_build_squeeze(op, at[i], axis);
  }
  (void)replace(
      op, prn_build_node(op, PRN_OP_onnx_SequenceConstruct, at, (uint32_t)n));
  r->changed = true;
}

/* ---- what uses them ---- */

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

/* What an optional holds; *absent when it holds nothing. NULL otherwise, and
 * when it is not known. */
static prn_value *wrapped(prn_value *v, bool *absent) {
  *absent = false;
  while (v && v->def && prn_op_is(v->def, PRN_OP_onnx_Identity))
    v = prn_op_operand(v->def, 0);
  if (!v || v->type->kind == PRN_TYPE_TENSOR ||
      v->type->kind == PRN_TYPE_SEQUENCE)
    return v;
  if (!v->def || !prn_op_is(v->def, PRN_OP_onnx_Optional)) return NULL;
  *absent = !prn_op_operand(v->def, 0);
  return prn_op_operand(v->def, 0);
}

static bool resolve_element(resolver *r, prn_op *op) {
  bool absent;
  prn_value *v = wrapped(prn_op_operand(op, 0), &absent);
  if (!v) return false;
  if (known_value(r, v))
    *prn_ptrmap_slot(&r->known, prn_op_result(op, 0)) = known_value(r, v);
  return replace(op, v);
}

static void use(resolver *r, prn_op *op) {
  const sequence *s = known(r, op);
  bool done = false;
  if (!prn_value_has_uses(prn_op_result(op, 0))) return;
  if (s && prn_op_is(op, PRN_OP_onnx_SequenceAt)) done = resolve_at(r, op, s);
  if (s && prn_op_is(op, PRN_OP_onnx_SequenceLength))
    done = replace(op, prn_build_int(op, (int64_t)s->n));
  if (s && prn_op_is(op, PRN_OP_onnx_ConcatFromSequence))
    done = resolve_concat(op, s);
  if (prn_op_is(op, PRN_OP_onnx_OptionalGetElement))
    done = resolve_element(r, op);
  r->stats->resolved += done;
  r->stats->kept += !done;
  r->changed |= done;
}

/* ---- branches ---- */

/* The branch that is known to be taken, or NULL. */
static prn_block *taken_branch(const resolver *r, const prn_op *op) {
  size_t n;
  int64_t taken;
  const prn_dim *c = prn_infer_content(r->infer, prn_op_operand(op, 0), &n);
  if (!c || n != 1 || !prn_dim_is_const(c[0], &taken)) return NULL;
  return prn_op_block(op, taken ? "then_branch" : "else_branch");
}

/* Puts the branch in the place of op. */
static void inline_branch(prn_op *op, prn_block *branch) {
  PRN_EACH_OP_SAFE(inner, branch) {
    if (prn_op_has_trait(inner, PRN_TERMINATOR)) break;
    prn_op_unlink(inner);
    prn_op_insert_before(inner, op);
  }
  for (uint32_t i = 0; i < op->num_results; i++)
    prn_value_replace_uses(prn_op_result(op, i),
                           prn_op_operand(branch->last, i));
  prn_op_erase(op);
}

static bool gives_all(const prn_op *op, const prn_block *branch) {
  for (uint32_t i = 0; i < op->num_results; i++)
    if (!branch->last || !prn_op_operand(branch->last, i)) return false;
  return true;
}

/* How many values result i is when its tensors are taken apart: 1 for what is
 * no sequence; -1 when the branches differ, or it is not known. */
static int64_t width(const resolver *r, const prn_op *op, uint32_t i,
                     const prn_block *then_b, const prn_block *else_b) {
  if (op->results[i].type->kind == PRN_TYPE_OPTIONAL) return -1;
  if (op->results[i].type->kind != PRN_TYPE_SEQUENCE) return 1;
  const sequence *a = known_value(r, prn_op_operand(then_b->last, i));
  const sequence *b = known_value(r, prn_op_operand(else_b->last, i));
  return a && b && a->n == b->n ? (int64_t)a->n : -1;
}

/* The return of a branch gives the tensors instead of the sequences. */
static void spread_return(const resolver *r, prn_block *b) {
  prn_op *ret = b->last;
  prn_op *wide =
      prn_op_create(ret->module, ret->opname, ret->loc, NULL, 0, NULL, 0);
  for (uint32_t i = 0; i < ret->num_operands; i++) {
    prn_value *v = prn_op_operand(ret, i);
    const sequence *s = known_value(r, v);
    if (!s) prn_op_add_operand(wide, v);
    for (size_t k = 0; s && k < s->n; k++)
      prn_op_add_operand(wide, s->at[k]);
  }
  prn_op_insert_before(wide, ret);
  prn_op_erase(ret);
}

/* Replaces op by an If of so many results, which takes the branches over. */
static void spread_if(resolver *r, prn_op *op, const int64_t *widths,
                      uint32_t n) {
  prn_module *m = op->module;
  prn_value *condition = prn_op_operand(op, 0);
  const prn_type **types = PRN_ARENA_ARRAY(r->scratch, const prn_type *, n + 1);
  uint32_t at = 0;
  for (uint32_t i = 0; i < n; i++)
    types[i] = prn_type_any(m->ctx);
  prn_op *wide = prn_op_create(m, op->opname, op->loc, &condition, 1, types, n);
  prn_op_insert_before(wide, op);
  for (uint32_t i = 0; i < op->num_attrs; i++)
    prn_op_set_attr(wide, op->attrs[i].name.data, op->attrs[i].value);
  for (uint32_t i = 0; i < op->num_blocks; i++) {
    spread_return(r, op->blocks[i]);
    prn_op_add_block(wide, op->blocks[i]);
  }
  op->num_blocks = 0;
  for (uint32_t i = 0; i < op->num_results; i++) {
    prn_value *v = prn_op_result(op, i);
    bool plain = v->type->kind != PRN_TYPE_SEQUENCE;
    prn_value **parts = PRN_ARENA_ARRAY(r->scratch, prn_value *, widths[i] + 1);
    for (int64_t k = 0; k < widths[i]; k++)
      parts[k] = prn_op_result(wide, at++);
    if (plain) parts[0]->name = v->name;
    prn_value_replace_uses(
        v, plain ? parts[0]
                 : prn_build_node(op, PRN_OP_onnx_SequenceConstruct, parts,
                                  (uint32_t)widths[i]));
  }
  prn_op_erase(op);
}

/* An If that gives sequences or optionals. */
static bool resolve_if(resolver *r, prn_op *op) {
  prn_block *then_b = prn_op_block(op, "then_branch");
  prn_block *else_b = prn_op_block(op, "else_branch");
  prn_block *taken = taken_branch(r, op);
  int64_t *widths = PRN_ARENA_ARRAY(r->scratch, int64_t, op->num_results + 1);
  uint32_t n = 0;
  if (!then_b || !else_b || !gives_all(op, taken ? taken : then_b))
    return false;
  if (taken) {
    inline_branch(op, taken);
    return true;
  }
  if (!gives_all(op, else_b)) return false;
  for (uint32_t i = 0; i < op->num_results; i++) {
    widths[i] = width(r, op, i, then_b, else_b);
    if (widths[i] <= 0) return false;
    n += (uint32_t)widths[i];
  }
  spread_if(r, op, widths, n);
  return true;
}

static bool gives_container(const prn_op *op) {
  for (uint32_t i = 0; i < op->num_results; i++)
    if (prn_type_is_container(op->results[i].type)) return true;
  return false;
}

/* ---- the walk ---- */

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
  case PRN_OP_onnx_OptionalGetElement:
    use(r, op);
    break;
  case PRN_OP_onnx_If:
    if (gives_container(op) && resolve_if(r, op)) r->changed = true;
    break;
  default:
    break;
  }
  return PRN_OK;
}

/* ---- outputs ---- */

static prn_status add_output(const prn_pass_env *env, prn_outputs *o,
                             prn_str name, prn_value *v) {
  if (prn_outputs_has(o, name))
    return prn_pass_error(env, "two outputs would be called '%.*s'",
                          PRN_STR_ARG(name));
  prn_op_add_operand(o->ret, v);
  o->names[o->size++] = name;
  return PRN_OK;
}

/* Adds v, or the tensors in it; what is not known stays as it is. */
static prn_status spread_output(const resolver *r, const prn_pass_env *env,
                                prn_outputs *o, prn_str name, prn_value *v) {
  bool absent = false;
  prn_value *inner = prn_type_is_container(v->type) ? wrapped(v, &absent) : v;
  const sequence *s = known_value(r, inner);
  if (absent) return PRN_OK;
  if (!s) return add_output(env, o, name, inner ? inner : v);
  for (size_t i = 0; i < s->n; i++) {
    prn_strbuf b = {0};
    prn_strbuf_fmt(&b, "%.*s[%zu]", PRN_STR_ARG(name), i);
    prn_str each = prn_intern(env->ctx, prn_strbuf_view(&b));
    prn_strbuf_destroy(&b);
    PRN_TRY(add_output(env, o, each, s->at[i]));
  }
  return PRN_OK;
}

static prn_status spread_outputs(const resolver *r, const prn_pass_env *env,
                                 prn_op *graph) {
  const prn_op *ret = prn_op_block(graph, "body")->last;
  size_t more = 0;
  for (uint32_t i = 0; ret && i < ret->num_operands; i++) {
    bool absent;
    const sequence *s =
        known_value(r, wrapped(prn_op_operand(ret, i), &absent));
    more += s ? s->n : 0;
  }
  prn_outputs o = prn_outputs_open(env, graph, more);
  uint32_t n = o.size;
  prn_str *names = PRN_ARENA_ARRAY(env->scratch, prn_str, n + 1);
  prn_value **values = PRN_ARENA_ARRAY(env->scratch, prn_value *, n + 1);
  for (uint32_t i = 0; i < n; i++) {
    names[i] = o.names[i];
    values[i] = prn_op_operand(o.ret, i);
  }
  if (o.ret) prn_op_truncate_operands(o.ret, 0);
  o.size = 0;
  for (uint32_t i = 0; i < n; i++)
    PRN_TRY(values[i] ? spread_output(r, env, &o, names[i], values[i])
                      : add_output(env, &o, names[i], NULL));
  prn_outputs_close(env, &o);
  return PRN_OK;
}

/* ---- the pass ---- */

/* Whatever makes sequences and optionals, or looks into them; others only hand
 * them on. */
static prn_status has_container(void *user, prn_op *op) {
  bool *found = user;
  switch (prn_op_code(op)) {
  case PRN_OP_onnx_SequenceEmpty:
  case PRN_OP_onnx_SequenceConstruct:
  case PRN_OP_onnx_SplitToSequence:
  case PRN_OP_onnx_SequenceAt:
  case PRN_OP_onnx_SequenceLength:
  case PRN_OP_onnx_ConcatFromSequence:
  case PRN_OP_onnx_Optional:
  case PRN_OP_onnx_OptionalGetElement:
    *found = true;
    break;
  default:
    break;
  }
  return PRN_OK;
}

/* Each round looks at what the one before made known. */
static prn_status resolve(resolver *r, prn_module *m) {
  prn_status status = PRN_OK;
  do {
    prn_infer_free(r->infer);
    prn_ptrmap_destroy(&r->known);
    r->known = (prn_ptrmap){0};
    r->changed = false;
    r->stats->kept = 0;
    status = prn_infer_run(m, false, &r->infer);
    if (status == PRN_OK) status = prn_walk(m->body, false, visit, r);
  } while (status == PRN_OK && r->changed);
  return status;
}

static prn_status run(prn_pass_env *env, prn_module *m) {
  const struct opts *o = env->opts;
  bool any = false;
  resolver r = {.scratch = env->scratch, .opts = o, .stats = env->stats};
  (void)!prn_walk(m->body, true, has_container, &any);
  if (!any) return PRN_OK;
  prn_status status = resolve(&r, m);
  PRN_EACH_OP(op, m->body)
    if (o->outputs && status == PRN_OK && prn_op_is(op, PRN_OP_onnx_graph) &&
        prn_op_block(op, "body"))
      status = spread_outputs(&r, env, op);
  prn_infer_free(r.infer);
  prn_ptrmap_destroy(&r.known);
  return status;
}

const prn_pass prn_pass_resolve_sequences = {
    .name = "resolve-sequences",
    .summary = "Replace sequences and optionals by the tensors in them",
    .doc = "Where it is known what is in a sequence and at which position, "
           "SequenceAt becomes that tensor, SequenceLength a constant, "
           "ConcatFromSequence a Concat, and SplitToSequence a Split; "
           "OptionalGetElement becomes what was wrapped. An If that gives "
           "sequences gives their tensors.",
    .reads = PRN_DIALECT_ONNX,
    .writes = PRN_DIALECT_ONNX,
    .exact = true,
    PRN_PASS_COMMON,
};
