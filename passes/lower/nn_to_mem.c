/* lower-nn-to-mem: tensors become views of memory, operators kernels.
 *
 * Transposes, broadcasts, slices and most reshapes become view types and cost
 * nothing; the rest become kernels that write a fresh allocation or, for the
 * function's outputs, the caller's memory. Memory has no place yet: that is
 * plan_memory.c. */
#include "passes/lower/nn_to_mem.h"

#include <assert.h>

#include "passes/pass.h"

prn_op *prn_to_mem_op(prn_to_mem *s, prn_opcode code,
                      prn_value *const *operands, uint32_t n,
                      const prn_type *result) {
  prn_op *op = prn_op_create(s->m, prn_opname_code(s->ctx, code), s->loc,
                             operands, n, &result, result != NULL);
  prn_block_append(s->at, op);
  if (!result && s->name.size) /* a kernel */
    prn_op_set_attr(op, "$name", prn_attr_string(s->ctx, s->name));
  return op;
}

void prn_to_mem_set(prn_to_mem *s, const prn_value *v, prn_value *view) {
  *prn_ptrmap_slot(&s->views, v) = view;
}

static const prn_type *dense_view(prn_to_mem *s, const prn_type *t) {
  return prn_type_view_dense(s->ctx, t->dtype, t->rank, t->dims);
}

prn_value *prn_to_mem_get(prn_to_mem *s, prn_value *v) {
  prn_value *view = prn_ptrmap_get(&s->views, v);
  const prn_tensor *t = prn_value_constant(v);
  if (view || !t) return view;
  prn_op *op =
      prn_to_mem_op(s, PRN_OP_mem_constant, NULL, 0, dense_view(s, v->type));
  prn_op_set_attr(op, "value", prn_attr_tensor(s->ctx, t));
  return prn_op_result(op, 0);
}

prn_value *prn_to_mem_operand(prn_to_mem *s, const prn_op *op, uint32_t i) {
  prn_value *v = prn_op_operand(op, i);
  return v ? prn_to_mem_get(s, v) : NULL;
}

prn_value *prn_to_mem_alloc(prn_to_mem *s, prn_dtype dtype, int32_t rank,
                            const prn_dim *dims) {
  const prn_type *t = prn_type_view_dense(s->ctx, dtype, rank, dims);
  return prn_op_result(prn_to_mem_op(s, PRN_OP_mem_alloc, NULL, 0, t), 0);
}

prn_value *prn_to_mem_result(prn_to_mem *s, const prn_value *v) {
  prn_value *view = prn_ptrmap_get(&s->targets, v);
  if (!view)
    view = prn_to_mem_alloc(s, v->type->dtype, v->type->rank, v->type->dims);
  prn_to_mem_set(s, v, view);
  return view;
}

prn_value *prn_to_mem_view(prn_to_mem *s, prn_value *base,
                           const prn_type *type) {
  if (base->type == type) return base;
  return prn_op_result(prn_to_mem_op(s, PRN_OP_mem_view, &base, 1, type), 0);
}

/* Notes that size must equal target or 1, once. */
static void need(prn_to_mem *s, prn_dim size, prn_dim target) {
  for (size_t i = 0; i < s->num_needs; i += 2)
    if (s->needs[i]->dim == size && s->needs[i + 1]->dim == target) return;
  if (s->num_needs + 2 > s->cap_needs) {
    s->cap_needs = s->cap_needs * 2 + 8;
    s->needs = prn_realloc((void *)(uintptr_t)s->needs,
                           prn_array_size(sizeof(prn_attr *), s->cap_needs));
  }
  s->needs[s->num_needs++] = prn_attr_dim(s->ctx, size);
  s->needs[s->num_needs++] = prn_attr_dim(s->ctx, target);
}

prn_value *prn_to_mem_broadcast(prn_to_mem *s, const prn_op *op, prn_value *x,
                                int32_t rank, const prn_dim *dims) {
  prn_view_requires req = {0};
  const prn_type *t = prn_view_broadcast(s->ctx, x->type, rank, dims, &req);
  for (uint32_t i = 0; t && i < req.n; i++)
    need(s, req.size[i], req.target[i]);
  if (t) return prn_to_mem_view(s, x, t);
  const prn_type *to = prn_type_tensor(s->ctx, x->type->dtype, rank, dims);
  (void)prn_op_error(op, "cannot show that %s broadcasts to %s",
                     prn_type_str(s->ctx, x->type), prn_type_str(s->ctx, to));
  return NULL;
}

void prn_to_mem_copy(prn_to_mem *s, prn_value *in, prn_value *out) {
  prn_value *views[2] = {in, out};
  prn_op *map = prn_to_mem_op(s, PRN_OP_mem_map, views, 2, NULL);
  prn_block *body = prn_block_create(s->m), *outer = s->at;
  prn_value *x = prn_block_add_arg(
      body, prn_type_scalar(s->ctx, in->type->dtype), PRN_STR(""));
  s->at = body;
  (void)prn_to_mem_op(s, PRN_OP_nn_yield, &x, 1, NULL);
  s->at = outer;
  prn_op_add_block(map, body);
  prn_op_set_attr(map, "ins", prn_attr_int(s->ctx, 1));
  prn_op_set_attr(map, "body", prn_attr_region(s->ctx, 0));
}

prn_value *prn_to_mem_dense(prn_to_mem *s, prn_value *x) {
  if (prn_view_is_dense(s->ctx, x->type)) return x;
  prn_value *copy =
      prn_to_mem_alloc(s, x->type->dtype, x->type->rank, x->type->dims);
  prn_to_mem_copy(s, x, copy);
  return copy;
}

prn_value *prn_to_mem_reshape(prn_to_mem *s, prn_value *x, int32_t rank,
                              const prn_dim *dims) {
  const prn_type *t = prn_view_reshape(s->ctx, x->type, rank, dims);
  if (t) return prn_to_mem_view(s, x, t);
  x = prn_to_mem_dense(s, x);
  t = prn_view_reshape(s->ctx, x->type, rank, dims);
  return prn_to_mem_view(s, x, t);
}

void prn_to_mem_attr(const prn_op *from, prn_op *to, const char *name) {
  const prn_attr *a = prn_op_attr(from, name);
  if (a) prn_op_set_attr(to, name, a);
}

void prn_to_mem_body(prn_to_mem *s, const prn_op *from, prn_op *op,
                     const char *name) {
  const prn_block *b = prn_op_block(from, name);
  if (!b) return;
  prn_ptrmap map = {0};
  prn_block *copy = prn_block_create(s->m);
  for (uint32_t i = 0; i < b->num_args; i++)
    *prn_ptrmap_slot(&map, b->args[i]) =
        prn_block_add_arg(copy, b->args[i]->type, b->args[i]->name);
  PRN_EACH_OP(inner, b)
    prn_block_append(copy, prn_op_clone(s->m, inner, &map));
  prn_ptrmap_destroy(&map);
  prn_op_add_block(op, copy);
  prn_op_set_attr(op, name, prn_attr_region(s->ctx, op->num_blocks - 1));
}

static prn_to_mem_fn *const table[PRN_OP_count] = {
    [PRN_OP_nn_unary] = prn_to_mem_scalar,
    [PRN_OP_nn_binary] = prn_to_mem_scalar,
    [PRN_OP_nn_select] = prn_to_mem_scalar,
    [PRN_OP_nn_cast] = prn_to_mem_scalar,
    [PRN_OP_nn_bitcast] = prn_to_mem_scalar,
    [PRN_OP_nn_map] = prn_to_mem_map,
    [PRN_OP_nn_reshape] = prn_to_mem_reshape_op,
    [PRN_OP_nn_transpose] = prn_to_mem_transpose,
    [PRN_OP_nn_broadcast] = prn_to_mem_broadcast_op,
    [PRN_OP_nn_slice] = prn_to_mem_slice,
    [PRN_OP_nn_concat] = prn_to_mem_concat,
    [PRN_OP_nn_pad] = prn_to_mem_pad,
    [PRN_OP_nn_gather] = prn_to_mem_gather,
    [PRN_OP_nn_gather_elements] = prn_to_mem_gather,
    [PRN_OP_nn_scatter] = prn_to_mem_scatter,
    [PRN_OP_nn_sort] = prn_to_mem_sort,
    [PRN_OP_nn_dims] = prn_to_mem_dims,
    [PRN_OP_nn_iota] = prn_to_mem_iota,
    [PRN_OP_nn_matmul] = prn_to_mem_matmul,
    [PRN_OP_nn_conv] = prn_to_mem_conv,
    [PRN_OP_nn_pool] = prn_to_mem_pool,
    [PRN_OP_nn_reduce] = prn_to_mem_reduce,
    [PRN_OP_nn_arg_reduce] = prn_to_mem_arg_reduce,
    [PRN_OP_nn_cumsum] = prn_to_mem_cumsum,
    [PRN_OP_nn_attention] = prn_to_mem_attention,
    [PRN_OP_nn_softmax] = prn_to_mem_softmax,
    [PRN_OP_nn_layer_norm] = prn_to_mem_layer_norm,
    [PRN_OP_nn_lstm] = prn_to_mem_lstm,
    [PRN_OP_nn_gru] = prn_to_mem_gru,
    [PRN_OP_nn_rnn] = prn_to_mem_rnn,
    [PRN_OP_nn_if] = prn_to_mem_if,
    [PRN_OP_nn_fail] = prn_to_mem_fail,
};

prn_status prn_to_mem_block(prn_to_mem *s, prn_block *nn) {
  prn_status status = PRN_OK;
  s->depth++;
  PRN_EACH_OP(op, nn) {
    if (prn_op_has_trait(op, PRN_TERMINATOR)) break;
    if (prn_op_is(op, PRN_OP_nn_constant)) continue; /* where it is used */
    prn_to_mem_fn *fn = table[prn_op_code(op)];
    s->loc = op->loc;
    s->name = prn_op_string(op, "$name", "");
    prn_to_mem_place(s, op);
    status = fn ? fn(s, op) : prn_op_error(op, "has no form in memory");
    if (status != PRN_OK) break; /* later ops need the missing view */
  }
  s->depth--;
  return status;
}

/* Whether v can be computed straight into an output argument: it is made by a
 * kernel of this block (not a view, constant or argument). */
static bool computed(const prn_value *v) {
  return v->def && !prn_op_has_trait(v->def, PRN_CONSTANT) &&
         !prn_op_has_trait(v->def, PRN_VIEW_LIKE);
}

static prn_op *make_func(prn_to_mem *s, prn_op *nn, prn_block *body) {
  prn_block *src = prn_op_block(nn, "body");
  prn_op *func = prn_op_create(s->m, prn_opname_code(s->ctx, PRN_OP_mem_func),
                               nn->loc, NULL, 0, NULL, 0);
  prn_op_add_block(func, body);
  prn_op_set_attr(func, "body", prn_attr_region(s->ctx, 0));
  prn_op_set_attr(func, "inputs", prn_attr_int(s->ctx, src->num_args));
  prn_to_mem_attr(nn, func, "input_names");
  prn_to_mem_attr(nn, func, "output_names");
  for (uint32_t i = 0; i < src->num_args; i++) {
    const prn_value *a = src->args[i];
    prn_to_mem_set(s, a,
                   prn_block_add_arg(body, dense_view(s, a->type), a->name));
  }
  return func;
}

static prn_status lower_func(prn_to_mem *s, prn_op *nn) {
  prn_block *src = prn_op_block(nn, "body");
  prn_block *body = prn_block_create(s->m);
  prn_op *func = make_func(s, nn, body);
  prn_op *ret = src->last;
  assert(prn_op_is(ret, PRN_OP_nn_return));
  for (uint32_t i = 0; i < ret->num_operands; i++) {
    const prn_value *v = prn_op_operand(ret, i);
    prn_value *out =
        prn_block_add_arg(body, dense_view(s, v->type), PRN_STR(""));
    if (computed(v) && !prn_ptrmap_has(&s->targets, v))
      *prn_ptrmap_slot(&s->targets, v) = out;
  }
  s->at = body;
  const prn_attr *given = prn_op_attr(nn, "requires");
  for (uint32_t i = 0; given && i + 1 < given->size; i += 2)
    need(s, given->list[i]->dim, given->list[i + 1]->dim);
  PRN_TRY(prn_to_mem_block(s, src));
  for (uint32_t i = 0; i < ret->num_operands; i++) {
    prn_value *v = prn_op_operand(ret, i), *out = body->args[src->num_args + i];
    prn_value *view = prn_to_mem_get(s, v);
    if (view != out) prn_to_mem_copy(s, view, out);
  }
  (void)prn_to_mem_op(s, PRN_OP_mem_return, NULL, 0, NULL);
  if (s->num_needs)
    prn_op_set_attr(func, "requires",
                    prn_attr_list(s->ctx, s->needs, s->num_needs));
  prn_op_insert_before(func, nn);
  prn_op_erase(nn);
  return PRN_OK;
}

prn_status prn_lower_nn_to_mem(prn_module *m, const prn_lower_target *target) {
  prn_status status = PRN_OK;
  PRN_EACH_OP_SAFE(op, m->body) {
    prn_to_mem s = {.m = m, .ctx = m->ctx, .target = target};
    if (!prn_op_is(op, PRN_OP_nn_func)) continue;
    if (lower_func(&s, op) != PRN_OK) status = PRN_FAIL;
    prn_ptrmap_destroy(&s.views);
    prn_ptrmap_destroy(&s.targets);
    prn_free((void *)(uintptr_t)s.needs);
  }
  return status;
}

#define OPTIONS(X)                                                     \
  X(INT, nr, 64, "[1,4096]",                                           \
    "Columns of a packed weight panel; the backend's register tile")   \
  X(INT, mr, 6, "[1,64]", "Rows of the register tile")                 \
  X(ENUM, layout, lanes, "lanes|rows",                                 \
    "What lies side by side: lanes, tokens (or pixels), for vectors; " \
    "rows, the features of a token, for GPUs")
#define STATS(X)
PRN_PASS_TABLES;

static prn_status run(prn_pass_env *env, prn_module *m) {
  const struct opts *o = env->opts;
  prn_lower_target target = {
      .nr = (int)o->nr, .mr = (int)o->mr, .rows = o->layout == 1};
  return prn_lower_nn_to_mem(m, &target);
}

const prn_pass prn_pass_lower_nn_to_mem = {
    .name = "lower-nn-to-mem",
    .summary = "Turn tensors into views of memory and operators into kernels",
    .reads = PRN_DIALECT_NN,
    .writes = PRN_DIALECT_MEM | PRN_DIALECT_NN,
    PRN_PASS_COMMON,
};
