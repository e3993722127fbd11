/* Constants and control flow: Constant, If, Loop, Scan. */
#include "ir/onnx/shape.h"

enum { MAX_GUESSES = 3, MAX_ROUNDS = 8, MAX_RANK = 4096 };

/* ---- constants ---- */

static prn_status vector(prn_infer *env, prn_op *op, prn_dtype dtype,
                         size_t n) {
  prn_shape s = prn_shape_new(env, dtype, 1);
  s.dims[0] = prn_shape_const(env, (int64_t)n);
  return prn_shape_result(env, op, 0, s);
}

static prn_status sparse_value(prn_infer *env, prn_op *op,
                               const prn_attr *dict) {
  const prn_attr *dims = prn_dict_get(dict, "dims");
  const prn_attr *values = prn_dict_get(dict, "values");
  if (!dims || dims->kind != PRN_ATTR_INTS || !values ||
      values->kind != PRN_ATTR_TENSOR)
    return PRN_OK;
  return prn_infer_result(env, op, 0,
                          prn_type_static(prn_infer_ctx(env),
                                          values->tensor->type->dtype,
                                          (int32_t)dims->size, dims->ints));
}

prn_status prn_infer_constant(prn_infer *env, prn_op *op) {
  const prn_attr *a;
  prn_dim elems[PRN_INFER_MAX_CONTENT];
  if ((a = prn_op_attr(op, "value")) && a->kind == PRN_ATTR_TENSOR)
    return prn_infer_result(env, op, 0, a->tensor->type);
  if ((a = prn_op_attr(op, "sparse_value"))) return sparse_value(env, op, a);
  if ((a = prn_op_attr(op, "value_int")) && a->kind == PRN_ATTR_INT) {
    elems[0] = prn_shape_const(env, a->i);
    prn_infer_set_content(env, op, 0, elems, 1);
    return prn_shape_result(env, op, 0, prn_shape_new(env, PRN_I64, 0));
  }
  if ((a = prn_op_attr(op, "value_ints")) && a->kind == PRN_ATTR_INTS) {
    for (size_t i = 0; i < a->size && i < PRN_INFER_MAX_CONTENT; i++)
      elems[i] = prn_shape_const(env, a->ints[i]);
    prn_infer_set_content(env, op, 0, elems, a->size);
    return vector(env, op, PRN_I64, a->size);
  }
  if (prn_op_attr(op, "value_float"))
    return prn_shape_result(env, op, 0, prn_shape_new(env, PRN_F32, 0));
  if ((a = prn_op_attr(op, "value_floats")))
    return vector(env, op, PRN_F32, a->size);
  if (prn_op_attr(op, "value_string"))
    return prn_shape_result(env, op, 0, prn_shape_new(env, PRN_STRING, 0));
  if ((a = prn_op_attr(op, "value_strings")))
    return vector(env, op, PRN_STRING, a->size);
  return PRN_OK;
}

prn_status prn_infer_sparse_initializer(prn_infer *env, prn_op *op) {
  const prn_attr *values = prn_op_attr(op, "values");
  size_t n;
  const int64_t *dims = prn_op_ints(op, "dims", &n);
  if (!values || values->kind != PRN_ATTR_TENSOR || n > MAX_RANK) return PRN_OK;
  prn_shape s = prn_shape_new(env, values->tensor->type->dtype, (int64_t)n);
  for (size_t i = 0; i < n; i++)
    s.dims[i] = prn_shape_const(env, dims[i]);
  return prn_shape_result(env, op, 0, s);
}

/* Number k as a place in the dense tensor, one column of it, or whole. */
static prn_status check_place(const prn_op *op, int64_t v, int64_t size,
                              int64_t k) {
  if (v >= 0 && v < size) return PRN_OK;
  return prn_op_error(op, "index %lld of value %lld is out of range for %lld",
                      (long long)v, (long long)k, (long long)size);
}

static prn_status check_places(const prn_op *op, const prn_tensor *indices,
                               const int64_t *dims, size_t rank,
                               int64_t total) {
  int64_t buf[256], n = prn_tensor_count(indices);
  bool per_axis = indices->type->rank == 2;
  for (int64_t at = 0; at < n; at += (int64_t)PRN_COUNT(buf)) {
    int64_t left = n - at, size = (int64_t)PRN_COUNT(buf);
    if (left < size) size = left;
    prn_tensor_read_i64(indices, at, size, buf);
    for (int64_t i = 0; i < size; i++) {
      int64_t k = at + i, row = per_axis ? k / (int64_t)rank : k;
      int64_t most = per_axis ? dims[k % (int64_t)rank] : total;
      PRN_TRY(check_place(op, buf[i], most, row));
    }
  }
  return PRN_OK;
}

prn_status prn_verify_sparse_initializer(prn_op *op) {
  const prn_attr *values = prn_op_attr(op, "values");
  const prn_attr *indices = prn_op_attr(op, "indices");
  int64_t total = 1, count, rows;
  size_t rank;
  const int64_t *dims = prn_op_ints(op, "dims", &rank);
  if (!values || values->kind != PRN_ATTR_TENSOR || !indices ||
      indices->kind != PRN_ATTR_TENSOR)
    return PRN_OK;
  for (size_t i = 0; i < rank; i++)
    if (dims[i] < 0 || !prn_mul_i64(total, dims[i], &total))
      return prn_op_error(op, "dims are negative or too large");
  const prn_type *t = indices->tensor->type;
  if (t->dtype != PRN_I64 || t->rank < 1 || t->rank > 2 ||
      (t->rank == 2 && t->dims[1]->value != (int64_t)rank))
    return prn_op_error(op,
                        "indices are %s, expected one or %zu i64 for each "
                        "value",
                        prn_type_str(op->module->ctx, t), rank);
  count = prn_tensor_count(values->tensor);
  rows = t->dims[0]->value;
  if (rows != count)
    return prn_op_error(op, "%lld values, but %lld indices", (long long)count,
                        (long long)rows);
  if (!indices->tensor->data) return PRN_OK;
  return check_places(op, indices->tensor, dims, rank, total);
}

/* ---- nested blocks ---- */

static uint32_t block_results(const prn_block *b) {
  return b->last && prn_op_is(b->last, PRN_OP_onnx_return)
             ? b->last->num_operands
             : 0;
}

static const prn_type *block_result(prn_infer *env, const prn_block *b,
                                    uint32_t i) {
  const prn_value *v = prn_op_operand(b->last, i);
  return v ? v->type : prn_type_any(prn_infer_ctx(env));
}

/* ---- If ---- */

static prn_status check_branches(prn_op *op, const prn_block *then_b,
                                 const prn_block *else_b) {
  uint32_t n = block_results(then_b), m = block_results(else_b);
  if (then_b->num_args || else_b->num_args)
    return prn_op_error(op, "a branch has inputs, expected none");
  if (n != m || n != op->num_results)
    return prn_op_error(op,
                        "the branches give %u and %u outputs, expected %u "
                        "each",
                        (unsigned)n, (unsigned)m, (unsigned)op->num_results);
  return PRN_OK;
}

prn_status prn_verify_if(prn_op *op) {
  prn_block *then_b = prn_op_block(op, "then_branch");
  prn_block *else_b = prn_op_block(op, "else_branch");
  return then_b && else_b ? check_branches(op, then_b, else_b) : PRN_OK;
}

/* Result i of a branch, with its contents when only that branch runs. */
static prn_status take_branch(prn_infer *env, prn_op *op, const prn_block *b) {
  for (uint32_t i = 0; i < op->num_results; i++) {
    size_t n;
    PRN_TRY(prn_infer_result(env, op, i, block_result(env, b, i)));
    const prn_dim *c = prn_infer_content(env, prn_op_operand(b->last, i), &n);
    if (c) prn_infer_set_content(env, op, i, c, n);
  }
  return PRN_OK;
}

/* Branches may give different shapes, but not different kinds of value. */
static prn_status join_branches(prn_infer *env, prn_op *op,
                                const prn_block *then_b,
                                const prn_block *else_b) {
  prn_ctx *ctx = prn_infer_ctx(env);
  for (uint32_t i = 0; i < op->num_results; i++) {
    const prn_type *a = block_result(env, then_b, i);
    const prn_type *b = block_result(env, else_b, i);
    bool any = a->kind == PRN_TYPE_ANY || b->kind == PRN_TYPE_ANY;
    if (!any && (a->kind != b->kind || a->dtype != b->dtype))
      return prn_op_error(op,
                          "output %u is %s in then_branch, but %s in "
                          "else_branch",
                          (unsigned)i, prn_type_str(ctx, a),
                          prn_type_str(ctx, b));
    PRN_TRY(prn_infer_result(env, op, i, prn_infer_join(env, a, b)));
  }
  return PRN_OK;
}

/* Of two branches of which only the run can tell. Sizes that decide a nested
 * If may leave one that contradicts itself, because the model never takes it
 * with those sizes: then the other one says what the results are. */
static prn_status infer_both(prn_infer *env, prn_op *op, prn_block *then_b,
                             prn_block *else_b) {
  bool a = prn_infer_quiet_block(env, then_b) == PRN_OK;
  bool b = prn_infer_quiet_block(env, else_b) == PRN_OK;
  if (!a && !b) {
    (void)!prn_infer_block(env, then_b);
    (void)!prn_infer_block(env, else_b);
    return PRN_FAIL;
  }
  if (a && b) return join_branches(env, op, then_b, else_b);
  prn_infer_set_impossible(env, a ? else_b : then_b);
  for (uint32_t i = 0; i < op->num_results; i++)
    PRN_TRY(prn_infer_result(env, op, i,
                             block_result(env, a ? then_b : else_b, i)));
  return PRN_OK;
}

prn_status prn_infer_if(prn_infer *env, prn_op *op) {
  prn_block *then_b = prn_op_block(op, "then_branch");
  prn_block *else_b = prn_op_block(op, "else_branch");
  size_t n;
  int64_t taken;
  if (!then_b || !else_b)
    return prn_op_error(op, "%s is missing",
                        then_b ? "else_branch" : "then_branch");
  PRN_TRY(check_branches(op, then_b, else_b));
  const prn_dim *cond = prn_infer_content(env, prn_shape_in(op, 0), &n);
  bool known = cond && n == 1 && prn_dim_is_const(cond[0], &taken);
  if (!known) return infer_both(env, op, then_b, else_b);
  (void)!prn_infer_quiet_block(env, taken ? else_b : then_b);
  PRN_TRY(prn_infer_block(env, taken ? then_b : else_b));
  return take_branch(env, op, taken ? then_b : else_b);
}

/* ---- Loop ---- */

static prn_status check_loop(prn_op *op, const prn_block *body) {
  uint32_t carried = op->num_operands > 2 ? op->num_operands - 2 : 0;
  uint32_t outs = block_results(body);
  if (body->num_args != carried + 2)
    return prn_op_error(op,
                        "the body has %u inputs, expected %u: the iteration, "
                        "the condition and %u loop-carried values",
                        (unsigned)body->num_args, (unsigned)(carried + 2),
                        (unsigned)carried);
  if (outs != op->num_results + 1 || op->num_results < carried)
    return prn_op_error(op,
                        "the body gives %u outputs, expected %u: the condition "
                        "and one for each result",
                        (unsigned)outs, (unsigned)(op->num_results + 1));
  return PRN_OK;
}

prn_status prn_verify_loop(prn_op *op) {
  prn_block *body = prn_op_block(op, "body");
  return body ? check_loop(op, body) : PRN_OK;
}

/* The types of the n values carried from args[first] to body results
 * [from, from + n), starting with `types`: widened until the body keeps them.
 * Errors on the way are met again when the body is inferred for good. */
static void settle_carried(prn_infer *env, prn_block *body, uint32_t first,
                           uint32_t from, uint32_t n, const prn_type **types) {
  bool changed = true;
  if (prn_infer_guesses(env) >= MAX_GUESSES) {
    for (uint32_t i = 0; i < n; i++)
      types[i] = prn_type_any(prn_infer_ctx(env));
    return;
  }
  for (int round = 0; changed && round < MAX_ROUNDS; round++) {
    prn_diag_sink saved;
    size_t mark = prn_infer_try_begin(env, &saved);
    changed = false;
    for (uint32_t i = 0; i < n; i++)
      (void)!prn_infer_arg(env, body->args[first + i], types[i], true);
    (void)!prn_infer_block(env, body);
    for (uint32_t i = 0; i < n; i++) {
      const prn_type *to = block_result(env, body, from + i);
      const prn_type *join =
          to->kind == PRN_TYPE_ANY ? to : prn_infer_join(env, types[i], to);
      if (join != types[i]) changed = true;
      types[i] = join;
    }
    prn_infer_try_end(env, mark, &saved);
  }
}

static const prn_type *operand_type(prn_infer *env, const prn_op *op,
                                    uint32_t i) {
  const prn_value *v = prn_shape_in(op, i);
  return v ? v->type : prn_type_any(prn_infer_ctx(env));
}

static prn_status set_arg(prn_infer *env, prn_op *op, prn_block *b, uint32_t i,
                          const prn_type *t) {
  if (prn_infer_arg(env, b->args[i], t, true) == PRN_OK) return PRN_OK;
  return prn_op_error(op, "input %s of the body is declared %s, but gets %s",
                      prn_value_str(b->args[i]),
                      prn_type_str(prn_infer_ctx(env), b->args[i]->type),
                      prn_type_str(prn_infer_ctx(env), t));
}

/* t with one more axis of the given size at `axis`. */
static const prn_type *stacked(prn_infer *env, const prn_type *t, int64_t axis,
                               prn_dim size) {
  prn_shape s = prn_shape_of_type(env, t);
  if (s.dtype == PRN_DTYPE_NONE) return prn_type_any(prn_infer_ctx(env));
  if (s.rank < 0 || axis > s.rank)
    return prn_type_unranked(prn_infer_ctx(env), s.dtype);
  prn_shape out = prn_shape_new(env, s.dtype, (int64_t)s.rank + 1);
  for (int32_t i = 0; i < out.rank; i++)
    out.dims[i] = i < axis ? s.dims[i] : i == axis ? size : s.dims[i - 1];
  return prn_shape_type(env, out);
}

prn_dim prn_infer_trips(prn_infer *env, const prn_op *op) {
  const prn_block *body = prn_op_block(op, "body");
  size_t n, k;
  int64_t go;
  const prn_dim *trip = prn_infer_content(env, prn_shape_in(op, 0), &n);
  const prn_dim *first = prn_infer_content(env, prn_shape_in(op, 1), &k);
  bool starts = !prn_shape_in(op, 1) ||
                (first && k == 1 && prn_dim_is_const(first[0], &go) && go);
  const prn_value *next = prn_op_operand(body->last, 0);
  while (next && next->def && prn_op_is(next->def, PRN_OP_onnx_Identity))
    next = prn_op_operand(next->def, 0);
  const prn_dim *cond = prn_infer_content(env, next, &k);
  bool goes_on = next == body->args[1] ||
                 (cond && k == 1 && prn_dim_is_const(cond[0], &go) && go);
  if (!trip || n != 1 || !starts || !goes_on)
    return prn_dim_unknown(prn_infer_ctx(env));
  return prn_dim_max(prn_infer_ctx(env), trip[0], prn_shape_const(env, 0));
}

prn_status prn_infer_loop(prn_infer *env, prn_op *op) {
  prn_ctx *ctx = prn_infer_ctx(env);
  prn_block *body = prn_op_block(op, "body");
  if (!body) return prn_op_error(op, "body is missing");
  PRN_TRY(check_loop(op, body));
  uint32_t n = op->num_operands > 2 ? op->num_operands - 2 : 0;
  const prn_type **types =
      PRN_ARENA_ARRAY(prn_infer_scratch(env), const prn_type *, n + 1);
  PRN_TRY(set_arg(env, op, body, 0, prn_type_static(ctx, PRN_I64, 0, NULL)));
  PRN_TRY(set_arg(env, op, body, 1, prn_type_static(ctx, PRN_BOOL, 0, NULL)));
  for (uint32_t i = 0; i < n; i++)
    types[i] = operand_type(env, op, i + 2);
  if (n) settle_carried(env, body, 2, 1, n, types);
  for (uint32_t i = 0; i < n; i++)
    PRN_TRY(set_arg(env, op, body, i + 2, types[i]));
  PRN_TRY(prn_infer_block(env, body));
  prn_dim trips = prn_infer_trips(env, op);
  for (uint32_t i = 0; i < op->num_results; i++) {
    const prn_type *t = block_result(env, body, i + 1);
    if (i < n)
      t = prn_infer_join(env, operand_type(env, op, i + 2), t);
    else
      t = stacked(env, t, 0, trips);
    PRN_TRY(prn_infer_result(env, op, i, t));
  }
  return PRN_OK;
}

/* ---- Scan ---- */

typedef struct scan_info {
  prn_block *body;
  uint32_t scans, states, first; /* first operand after sequence_lens */
  prn_dim length;
  const prn_dim *batch; /* opset 8: operands have a leading batch axis */
} scan_info;

static prn_status check_scan(prn_op *op, scan_info *s) {
  int64_t opset = prn_op_opset(op);
  int64_t scans = prn_op_int(op, "num_scan_inputs", 0);
  s->first = opset == 8 ? 1 : 0;
  uint32_t total = op->num_operands - (op->num_operands ? s->first : 0);
  if (scans < 1 || scans > (int64_t)total)
    return prn_op_error(op, "num_scan_inputs is %lld of %u inputs",
                        (long long)scans, (unsigned)total);
  s->scans = (uint32_t)scans;
  s->states = total - s->scans;
  if (s->body->num_args != total)
    return prn_op_error(op, "the body has %u inputs, expected %u",
                        (unsigned)s->body->num_args, (unsigned)total);
  if (block_results(s->body) != op->num_results || op->num_results < s->states)
    return prn_op_error(op, "the body gives %u outputs, expected %u",
                        (unsigned)block_results(s->body),
                        (unsigned)op->num_results);
  return PRN_OK;
}

prn_status prn_verify_scan(prn_op *op) {
  scan_info s = {.body = prn_op_block(op, "body")};
  return s.body ? check_scan(op, &s) : PRN_OK;
}

/* Axis number i of an attribute, made non-negative; 0 when it is absent. */
static prn_status scan_axis(prn_op *op, const char *name, uint32_t i,
                            int64_t rank, int32_t *out) {
  size_t n;
  const int64_t *axes = prn_op_ints(op, name, &n);
  *out = 0;
  if (i >= n) return PRN_OK;
  return prn_shape_axis(op, name, axes[i], rank, out);
}

/* The type of a slice of scan input i, and the length that is scanned. */
static prn_status scan_slice(prn_infer *env, prn_op *op, scan_info *s,
                             uint32_t i, const prn_type **out) {
  prn_shape in = prn_shape_of(env, op, s->first + s->states + i);
  int32_t axis;
  *out = prn_shape_type(env, prn_shape_unranked(in.dtype));
  if (in.rank < 0) return PRN_OK;
  if (in.rank < 1) return prn_op_error(op, "a scan input is a scalar");
  PRN_TRY(scan_axis(op, "scan_input_axes", i, in.rank, &axis));
  if (!prn_shape_unify(s->length, in.dims[axis], &s->length))
    return prn_op_error(op, "scan inputs differ in length: %lld and %lld",
                        (long long)s->length->value,
                        (long long)in.dims[axis]->value);
  for (int32_t d = axis; d + 1 < in.rank; d++)
    in.dims[d] = in.dims[d + 1];
  in.rank--;
  *out = prn_shape_type(env, in);
  return PRN_OK;
}

static prn_status scan_results(prn_infer *env, prn_op *op, const scan_info *s) {
  for (uint32_t i = 0; i < op->num_results; i++) {
    const prn_type *t = block_result(env, s->body, i);
    if (i >= s->states) {
      int64_t rank = t->kind == PRN_TYPE_TENSOR ? t->rank : -1;
      int32_t axis = 0;
      if (rank >= 0)
        PRN_TRY(
            scan_axis(op, "scan_output_axes", i - s->states, rank + 1, &axis));
      t = stacked(env, t, axis, s->length);
    } else {
      t = prn_infer_join(env, operand_type(env, op, s->first + i), t);
    }
    PRN_TRY(prn_infer_result(env, op, i, t));
  }
  return PRN_OK;
}

/* Opset 8 scans each element of a batch; only element types are inferred. */
static prn_status infer_scan8(prn_infer *env, prn_op *op, scan_info *s) {
  for (uint32_t i = 0; i < s->body->num_args; i++) {
    prn_shape in = prn_shape_of(env, op, s->first + i);
    PRN_TRY(set_arg(env, op, s->body, i,
                    prn_shape_type(env, prn_shape_unranked(in.dtype))));
  }
  PRN_TRY(prn_infer_block(env, s->body));
  for (uint32_t i = 0; i < op->num_results; i++) {
    prn_shape out = prn_shape_of_type(env, block_result(env, s->body, i));
    PRN_TRY(prn_shape_dtype_only(env, op, i, out.dtype));
  }
  return PRN_OK;
}

prn_status prn_infer_scan(prn_infer *env, prn_op *op) {
  scan_info s = {.body = prn_op_block(op, "body"),
                 .length = prn_dim_unknown(prn_infer_ctx(env))};
  if (!s.body) return prn_op_error(op, "body is missing");
  PRN_TRY(check_scan(op, &s));
  if (s.first) return infer_scan8(env, op, &s);
  for (uint32_t i = 0; i < s.scans; i++) {
    const prn_type *t;
    PRN_TRY(scan_slice(env, op, &s, i, &t));
    PRN_TRY(set_arg(env, op, s.body, s.states + i, t));
  }
  const prn_type **types =
      PRN_ARENA_ARRAY(prn_infer_scratch(env), const prn_type *, s.states + 1);
  for (uint32_t i = 0; i < s.states; i++)
    types[i] = operand_type(env, op, i);
  if (s.states) settle_carried(env, s.body, 0, 0, s.states, types);
  for (uint32_t i = 0; i < s.states; i++)
    PRN_TRY(set_arg(env, op, s.body, i, types[i]));
  PRN_TRY(prn_infer_block(env, s.body));
  return scan_results(env, op, &s);
}
