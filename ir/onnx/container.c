/* Sequences and optionals. What inference knows of the contents of a sequence
 * is one number, its length; an optional has the contents of what it holds. */
#include "ir/onnx/shape.h"

static const prn_type *type_of(prn_infer *env, const prn_op *op, uint32_t i) {
  const prn_value *v = prn_shape_in(op, i);
  return v ? v->type : prn_type_any(prn_infer_ctx(env));
}

static const prn_type *sequence_of(prn_infer *env, const prn_type *elem) {
  return prn_type_container(prn_infer_ctx(env), PRN_TYPE_SEQUENCE,
                            PRN_DTYPE_NONE, elem);
}

/* The type of the elements of sequence operand i; `any` when not known. */
static const prn_type *element(prn_infer *env, const prn_op *op, uint32_t i) {
  const prn_type *t = type_of(env, op, i);
  return t->kind == PRN_TYPE_SEQUENCE ? t->elem
                                      : prn_type_any(prn_infer_ctx(env));
}

prn_dim prn_infer_length(prn_infer *env, const prn_value *sequence) {
  size_t n;
  const prn_dim *c = prn_infer_content(env, sequence, &n);
  bool known = c && n == 1 && sequence->type->kind == PRN_TYPE_SEQUENCE;
  return known ? c[0] : prn_dim_unknown(prn_infer_ctx(env));
}

/* Result i holds `length` tensors like this one. */
static prn_status sequence_result(prn_infer *env, prn_op *op, uint32_t i,
                                  const prn_type *elem, prn_dim length) {
  PRN_TRY(prn_infer_result(env, op, i, sequence_of(env, elem)));
  if (prn_dim_known(length)) prn_infer_set_content(env, op, i, &length, 1);
  return PRN_OK;
}

/* Whether two values may be in one sequence: tensors of one element type. */
static bool may_share(const prn_type *a, const prn_type *b) {
  return a->kind != PRN_TYPE_TENSOR || b->kind != PRN_TYPE_TENSOR ||
         a->dtype == b->dtype;
}

prn_status prn_infer_sequence_construct(prn_infer *env, prn_op *op) {
  if (op->num_operands == 0) return PRN_OK;
  const prn_type *elem = type_of(env, op, 0);
  for (uint32_t i = 1; i < op->num_operands; i++) {
    const prn_type *t = type_of(env, op, i);
    if (!may_share(elem, t))
      return prn_op_error(op, "%s and %s are put into one sequence",
                          prn_type_str(prn_infer_ctx(env), elem),
                          prn_type_str(prn_infer_ctx(env), t));
    elem = prn_infer_join(env, elem, t);
  }
  return sequence_result(env, op, 0, elem,
                         prn_shape_const(env, op->num_operands));
}

prn_status prn_infer_sequence_empty(prn_infer *env, prn_op *op) {
  prn_dtype dtype = prn_shape_dtype_attr(op, "dtype", PRN_F32);
  if (dtype == PRN_DTYPE_NONE) return PRN_OK;
  const prn_type *elem = prn_type_unranked(prn_infer_ctx(env), dtype);
  return sequence_result(env, op, 0, elem, prn_shape_const(env, 0));
}

prn_status prn_infer_sequence_at(prn_infer *env, prn_op *op) {
  return prn_infer_result(env, op, 0, element(env, op, 0));
}

/* SequenceInsert and SequenceErase. A sequence made empty says nothing about
 * the shapes in it. */
prn_status prn_infer_sequence_insert(prn_infer *env, prn_op *op) {
  const prn_type *elem = element(env, op, 0);
  prn_dim length = prn_infer_length(env, prn_shape_in(op, 0));
  bool insert = prn_op_is(op, PRN_OP_onnx_SequenceInsert);
  length = prn_dim_add(prn_infer_ctx(env), length,
                       prn_shape_const(env, insert ? 1 : -1));
  if (insert) {
    const prn_value *v = prn_shape_in(op, 0);
    bool empty = v && v->def && prn_op_is(v->def, PRN_OP_onnx_SequenceEmpty);
    const prn_type *added = type_of(env, op, 1);
    if (!may_share(elem, added))
      return prn_op_error(op, "%s is inserted into a sequence of %s",
                          prn_type_str(prn_infer_ctx(env), added),
                          prn_type_str(prn_infer_ctx(env), elem));
    elem = empty ? added : prn_infer_join(env, elem, added);
  }
  return sequence_result(env, op, 0, elem, length);
}

prn_status prn_infer_sequence_length(prn_infer *env, prn_op *op) {
  prn_dim length = prn_infer_length(env, prn_shape_in(op, 0));
  if (prn_dim_known(length)) prn_infer_set_content(env, op, 0, &length, 1);
  return prn_shape_result(env, op, 0, prn_shape_new(env, PRN_I64, 0));
}

/* What SplitToSequence cuts an axis into. */
typedef struct parts {
  prn_dim count, size; /* the size unknown where parts differ */
} parts;

static parts cut_axis(prn_infer *env, const prn_op *op, prn_dim axis) {
  prn_shape split = prn_shape_of(env, op, 1);
  size_t n;
  int64_t whole, part;
  const prn_dim *c = prn_infer_content(env, prn_shape_in(op, 1), &n);
  prn_dim unknown = prn_dim_unknown(prn_infer_ctx(env));
  parts p = {unknown, unknown};
  if (!prn_shape_in(op, 1)) return (parts){axis, prn_shape_const(env, 1)};
  if (split.rank == 1) {
    bool same = c && n > 0;
    for (size_t i = 1; same && i < n; i++)
      same = c[i] == c[0];
    p.count = split.dims[0];
    if (same) p.size = c[0];
  } else if (split.rank == 0 && c && n == 1 && prn_dim_is_const(c[0], &part) &&
             part > 0 && prn_dim_is_const(axis, &whole)) {
    p.count = prn_shape_const(env, whole / part + (whole % part != 0));
    if (whole % part == 0) p.size = c[0];
  }
  return p;
}

prn_status prn_infer_split_to_sequence(prn_infer *env, prn_op *op) {
  prn_shape in = prn_shape_of(env, op, 0);
  bool keep = prn_op_int(op, "keepdims", 1) == 1 || prn_shape_in(op, 1);
  prn_dim count = prn_dim_unknown(prn_infer_ctx(env));
  int32_t axis;
  if (in.dtype == PRN_DTYPE_NONE) return PRN_OK;
  if (in.rank >= 0) {
    PRN_TRY(
        prn_shape_axis(op, "axis", prn_op_int(op, "axis", 0), in.rank, &axis));
    parts p = cut_axis(env, op, in.dims[axis]);
    count = p.count;
    in.dims[axis] = p.size;
    for (int32_t i = axis; !keep && i + 1 < in.rank; i++)
      in.dims[i] = in.dims[i + 1];
    if (!keep) in.rank--;
  }
  return sequence_result(env, op, 0, prn_shape_type(env, in), count);
}

prn_status prn_infer_concat_from_sequence(prn_infer *env, prn_op *op) {
  prn_shape s = prn_shape_of_type(env, element(env, op, 0));
  int64_t new_axis = prn_op_int(op, "new_axis", 0) != 0;
  int32_t axis;
  if (s.rank < 0) return prn_shape_dtype_only(env, op, 0, s.dtype);
  PRN_TRY(prn_shape_axis(op, "axis", prn_op_int(op, "axis", 0),
                         s.rank + new_axis, &axis));
  prn_shape out = prn_shape_new(env, s.dtype, s.rank + new_axis);
  for (int32_t i = 0; i < out.rank; i++)
    if (i != axis) out.dims[i] = s.dims[i - (new_axis && i > axis)];
  return prn_shape_result(env, op, 0, out);
}

prn_status prn_infer_scalar_bool(prn_infer *env, prn_op *op) {
  return prn_shape_result(env, op, 0, prn_shape_new(env, PRN_BOOL, 0));
}

static void pass_content(prn_infer *env, prn_op *op) {
  size_t n;
  const prn_dim *c = prn_infer_content(env, prn_shape_in(op, 0), &n);
  if (c) prn_infer_set_content(env, op, 0, c, n);
}

prn_status prn_infer_optional(prn_infer *env, prn_op *op) {
  const prn_attr *t = prn_op_attr(op, "type");
  const prn_type *elem = type_of(env, op, 0);
  if (!prn_shape_in(op, 0) && t && t->kind == PRN_ATTR_TYPE) elem = t->type;
  pass_content(env, op);
  return prn_infer_result(env, op, 0,
                          prn_type_container(prn_infer_ctx(env),
                                             PRN_TYPE_OPTIONAL, PRN_DTYPE_NONE,
                                             elem));
}

prn_status prn_infer_optional_get(prn_infer *env, prn_op *op) {
  const prn_type *t = type_of(env, op, 0);
  pass_content(env, op);
  return prn_infer_result(env, op, 0,
                          t->kind == PRN_TYPE_OPTIONAL ? t->elem : t);
}

/* A tensor or a sequence may stand for an optional one, which is there;
 * nothing stands for one that is not. */
prn_status prn_infer_optional_has(prn_infer *env, prn_op *op) {
  const prn_value *v = prn_shape_in(op, 0);
  while (v && v->def && prn_op_is(v->def, PRN_OP_onnx_Identity))
    v = prn_op_operand(v->def, 0);
  bool wrapped = v && v->def && prn_op_is(v->def, PRN_OP_onnx_Optional);
  bool known = !v || wrapped || v->type->kind == PRN_TYPE_TENSOR ||
               v->type->kind == PRN_TYPE_SEQUENCE;
  bool has = v && !(wrapped && !prn_op_operand(v->def, 0));
  prn_dim content = prn_shape_const(env, has);
  if (known) prn_infer_set_content(env, op, 0, &content, 1);
  return prn_infer_scalar_bool(env, op);
}

/* ---- SequenceMap ---- */

static prn_status check_map(prn_op *op, const prn_block *body) {
  uint32_t outs = body->last ? body->last->num_operands : 0;
  if (body->num_args != op->num_operands)
    return prn_op_error(op, "the body has %u inputs, expected %u",
                        (unsigned)body->num_args, (unsigned)op->num_operands);
  if (outs != op->num_results)
    return prn_op_error(op, "the body gives %u outputs, expected %u",
                        (unsigned)outs, (unsigned)op->num_results);
  return PRN_OK;
}

prn_status prn_verify_sequence_map(prn_op *op) {
  prn_block *body = prn_op_block(op, "body");
  return body ? check_map(op, body) : PRN_OK;
}

prn_status prn_infer_sequence_map(prn_infer *env, prn_op *op) {
  prn_block *body = prn_op_block(op, "body");
  if (!body) return prn_op_error(op, "body is missing");
  PRN_TRY(check_map(op, body));
  for (uint32_t i = 0; i < op->num_operands; i++) {
    const prn_type *t = type_of(env, op, i);
    if (t->kind == PRN_TYPE_SEQUENCE) t = t->elem;
    if (prn_infer_arg(env, body->args[i], t, true) != PRN_OK)
      return prn_op_error(op,
                          "input %s of the body is declared %s, but gets "
                          "%s",
                          prn_value_str(body->args[i]),
                          prn_type_str(prn_infer_ctx(env), body->args[i]->type),
                          prn_type_str(prn_infer_ctx(env), t));
  }
  PRN_TRY(prn_infer_block(env, body));
  prn_dim length = prn_infer_length(env, prn_shape_in(op, 0));
  for (uint32_t i = 0; i < op->num_results; i++) {
    const prn_value *v = prn_op_operand(body->last, i);
    const prn_type *t = v ? v->type : prn_type_any(prn_infer_ctx(env));
    PRN_TRY(sequence_result(env, op, i, t, length));
  }
  return PRN_OK;
}
