/* onnx -> nn: the driver.
 *
 * Shape inference runs first. A backward sweep then marks what is needed: a
 * value whose contents inference knows needs none of what computes it, and
 * operands read as contents (a Reshape's shape) are not needed as data. The
 * forward sweep lowers the rest. A node that fails leaves stand-ins for its
 * results, so that one run reports every node that cannot be lowered. */
#include "passes/lower/onnx_to_nn.h"

#include <assert.h>
#include <string.h>

#include "passes/lower/lower.h"
#include "passes/pass.h"

static const prn_o2n_row *const tables[] = {
#define X(name) prn_o2n_##name,
    PRN_O2N_TABLES(X)
#undef X
};

void prn_o2n_fill(prn_map *map) {
  for (size_t t = 0; t < PRN_COUNT(tables); t++)
    for (const prn_o2n_row *r = tables[t]; r->name; r++) {
      void **slot = prn_map_slot(map, prn_str_from(r->name));
      assert(!*slot);
      *slot = (void *)(uintptr_t)r;
    }
}

const prn_o2n_row *prn_o2n_find(const prn_map *rows, const prn_op *op) {
  prn_str domain = op->opname->dialect, name = op->opname->name;
  if (prn_str_is(domain, "onnx")) return prn_map_get(rows, name);
  prn_strbuf key = {0};
  prn_strbuf_fmt(&key, "%.*s:%.*s", PRN_STR_ARG(domain), PRN_STR_ARG(name));
  const prn_o2n_row *row = prn_map_get(rows, prn_strbuf_view(&key));
  prn_strbuf_destroy(&key);
  return row;
}

static const prn_o2n_row *handler(prn_o2n *e, const prn_op *op) {
  return prn_o2n_find(e->handlers, op);
}

/* ---- values ---- */

static const prn_dim *known_content(prn_o2n *e, const prn_value *v, size_t *n) {
  const prn_dim *c = prn_infer_content(e->infer, v, n);
  for (size_t i = 0; c && i < *n; i++)
    if (!prn_dim_known(c[i])) return NULL;
  return c;
}

/* v needs no lowering of the op that defines it. */
static bool is_static(prn_o2n *e, const prn_value *v) {
  size_t n;
  int64_t count;
  if (prn_value_constant(v)) return true;
  return v->type->kind == PRN_TYPE_TENSOR &&
         prn_dtype_bits(v->type->dtype) >= 8 &&
         prn_type_count(v->type, &count) && known_content(e, v, &n) &&
         (int64_t)n == count;
}

/* A builder at the start of the function, after what was put there before. */
static prn_nn entry_builder(prn_o2n *e, const prn_op *def) {
  prn_block *body = e->func->blocks[0];
  prn_nn b = {.m = e->b.m, .ctx = e->ctx, .block = body};
  b.before = e->entry ? e->entry->next : body->first;
  b.loc = def ? def->loc : (prn_loc){0};
  return b;
}

/* Known contents as a tensor. Those of bool and float tensors are integers,
 * too. */
static prn_value *from_content(prn_o2n *e, prn_nn *b, const prn_type *type,
                               const prn_dim *c, size_t n) {
  prn_dtype to = type->dtype;
  const prn_type *ints = prn_type_with_dtype(e->ctx, type, PRN_I64);
  double *v = PRN_ARENA_ARRAY(&e->b.m->arena, double, n + 1);
  bool constant = !prn_dtype_is_int(to);
  for (size_t i = 0; i < n; i++) {
    int64_t k = 0;
    constant = constant && prn_dim_is_const(c[i], &k);
    v[i] = (double)k;
  }
  if (constant) return prn_nn_constant(b, prn_nn_tensor(e->ctx, type, v));
  return prn_nn_cast(b, prn_nn_dims(b, ints, c, n), to);
}

/* Elements of less than a byte are spread out: compiled code has a byte for
 * each. */
static prn_value *constant(prn_nn *b, const prn_tensor *t) {
  prn_dtype dtype = t->type->dtype;
  int64_t n = prn_tensor_count(t);
  if (prn_dtype_bits(dtype) >= 8) return prn_nn_constant(b, t);
  const prn_type *wide = prn_type_with_dtype(
      b->ctx, t->type, prn_dtype_is_float(dtype) ? PRN_F32 : PRN_I8);
  double *v = PRN_ARENA_ARRAY(&b->m->arena, double, n + 1);
  prn_tensor_read_f64(t, 0, n, v);
  prn_value *r = prn_nn_constant(b, prn_nn_tensor(b->ctx, wide, v));
  return prn_nn_cast(b, r, dtype);
}

static prn_value *make_static(prn_o2n *e, const prn_value *v) {
  size_t n;
  prn_nn b = entry_builder(e, v->def);
  const prn_tensor *t = prn_value_constant(v);
  const prn_dim *c = t ? NULL : known_content(e, v, &n);
  const prn_type *type = prn_nn_plain(e->ctx, v->type);
  prn_value *r = t ? constant(&b, t) : from_content(e, &b, type, c, n);
  r->name = v->name;
  e->entry = r->def;
  return r;
}

prn_value *prn_o2n_value(prn_o2n *e, prn_value *v) {
  prn_value *r = prn_ptrmap_get(&e->values, v);
  if (r || !is_static(e, v)) return r;
  r = make_static(e, v);
  *prn_ptrmap_slot(&e->values, v) = r;
  return r;
}

prn_value *prn_o2n_in(prn_o2n *e, const prn_op *op, uint32_t i) {
  prn_value *v = prn_op_operand(op, i);
  return v ? prn_o2n_value(e, v) : NULL;
}

const prn_dim *prn_o2n_content(prn_o2n *e, const prn_op *op, uint32_t i,
                               size_t *n) {
  const prn_value *v = prn_op_operand(op, i);
  *n = 0;
  return v ? known_content(e, v, n) : NULL;
}

prn_status prn_o2n_dims(prn_o2n *e, const prn_op *op, uint32_t i,
                        const prn_dim **out, size_t *n) {
  *out = prn_o2n_content(e, op, i, n);
  if (*out) return PRN_OK;
  return prn_o2n_unsupported(op,
                             "the values of %s, which decide sizes, are only "
                             "known at run time",
                             prn_value_str(prn_op_operand(op, i)));
}

prn_status prn_o2n_ints(prn_o2n *e, const prn_op *op, uint32_t i,
                        const char *attr, const int64_t **out, size_t *n) {
  const prn_dim *c;
  *out = attr ? prn_op_ints(op, attr, n) : NULL;
  if (!attr) *n = 0;
  if (*out || !prn_o2n_has(op, i)) return PRN_OK;
  PRN_TRY(prn_o2n_dims(e, op, i, &c, n));
  int64_t *v = PRN_ARENA_ARRAY(&e->b.m->arena, int64_t, *n + 1);
  for (size_t k = 0; k < *n; k++)
    if (!prn_dim_is_const(c[k], &v[k]))
      return prn_o2n_unsupported(op, "%s is not constant",
                                 prn_value_str(prn_op_operand(op, i)));
  *out = v;
  return PRN_OK;
}

prn_status prn_o2n_number(prn_o2n *e, const prn_op *op, uint32_t i,
                          double *out) {
  const prn_tensor *t = prn_value_constant(prn_op_operand(op, i));
  size_t n;
  const prn_dim *c = prn_o2n_content(e, op, i, &n);
  int64_t v;
  if (t && prn_tensor_count(t) == 1) {
    prn_tensor_read_f64(t, 0, 1, out);
    return PRN_OK;
  }
  if (c && n == 1 && prn_dim_is_const(c[0], &v)) {
    *out = (double)v;
    return PRN_OK;
  }
  return prn_o2n_unsupported(op, "%s is not a constant number",
                             prn_value_str(prn_op_operand(op, i)));
}

/* ---- attributes and results ---- */

prn_status prn_o2n_wrap_axis(const prn_op *op, int64_t axis, int32_t rank,
                             int32_t *out) {
  int64_t a = axis < 0 ? axis + rank : axis;
  *out = (int32_t)a;
  if (a >= 0 && a < rank) return PRN_OK;
  return prn_op_error(op, "axis %lld is out of range for %d dimensions",
                      (long long)axis, (int)rank);
}

prn_status prn_o2n_axis(const prn_op *op, const char *attr, int64_t dflt,
                        int32_t rank, int32_t *out) {
  return prn_o2n_wrap_axis(op, prn_op_int(op, attr, dflt), rank, out);
}

const prn_type *prn_o2n_out(prn_o2n *e, const prn_op *op, uint32_t i) {
  return prn_nn_plain(e->ctx, op->results[i].type);
}

bool prn_o2n_wanted(const prn_op *op, uint32_t i) {
  return i < op->num_results && op->results[i].mark;
}

static void bind(prn_o2n *e, const prn_op *op, uint32_t i, prn_value *v) {
  *prn_ptrmap_slot(&e->values, &op->results[i]) = v;
  if (v->name.size == 0) v->name = op->results[i].name;
}

prn_status prn_o2n_set(prn_o2n *e, prn_op *op, uint32_t i, prn_value *v) {
  if (i >= op->num_results) return PRN_OK;
  const prn_type *type = prn_o2n_out(e, op, i);
  /* The same rank: other names for the same sizes. */
  if (v->type->rank == type->rank && !prn_value_constant(v))
    v = prn_nn_broadcast(&e->b, v, type);
  bind(e, op, i, prn_nn_reshape(&e->b, v, type));
  return PRN_OK;
}

prn_status prn_o2n_set_shape(prn_o2n *e, prn_op *op, uint32_t i, prn_value *v) {
  bind(e, op, i, prn_nn_reshape(&e->b, v, prn_o2n_out(e, op, i)));
  return PRN_OK;
}

prn_status prn_o2n_unsupported(const prn_op *op, const char *fmt, ...) {
  prn_strbuf text = {0};
  va_list ap;
  va_start(ap, fmt);
  prn_strbuf_vfmt(&text, fmt, ap);
  va_end(ap);
  prn_status s = prn_op_error(op, "not supported by the compiler: %.*s",
                              PRN_STR_ARG(text));
  prn_strbuf_destroy(&text);
  return s;
}

/* ---- what is needed ---- */

static void need(prn_o2n *e, prn_value *v) {
  if (v && !is_static(e, v)) v->mark = 1;
}

static bool op_needed(const prn_op *op) {
  for (uint32_t i = 0; i < op->num_results; i++)
    if (op->results[i].mark) return true;
  return false;
}

static bool is_if(const prn_op *op) {
  return prn_str_is(op->opname->dialect, "onnx") &&
         prn_str_is(op->opname->name, "If");
}

static void mark_op(prn_o2n *e, prn_op *op);
static void mark_block(prn_o2n *e, prn_block *block);

/* Of what a branch gives, only wanted results are needed. */
static void mark_branch(prn_o2n *e, const prn_op *op, prn_block *b) {
  for (uint32_t i = 0; b->last && i < op->num_results; i++)
    if (op->results[i].mark) need(e, prn_op_operand(b->last, i));
  for (prn_op *inner = b->last; inner; inner = inner->prev)
    if (op_needed(inner)) mark_op(e, inner);
}

static void mark_op(prn_o2n *e, prn_op *op) {
  const prn_o2n_row *row = handler(e, op);
  if (is_if(op)) {
    prn_block *known = prn_o2n_known_branch(e, op);
    if (!known) need(e, op->operands[0].value);
    for (uint32_t i = 0; i < op->num_blocks; i++)
      if (!known ? !prn_infer_impossible(e->infer, op->blocks[i])
                 : op->blocks[i] == known)
        mark_branch(e, op, op->blocks[i]);
    return;
  }
  for (uint32_t i = 0; i < op->num_operands; i++)
    if (!row || i >= 32 || !(row->shape >> i & 1))
      need(e, op->operands[i].value);
  for (uint32_t i = 0; i < op->num_blocks; i++) /* bodies of loops */
    mark_block(e, op->blocks[i]);
}

static void mark_block(prn_o2n *e, prn_block *block) {
  for (prn_op *op = block->last; op; op = op->prev)
    if (prn_op_has_trait(op, PRN_TERMINATOR) || op_needed(op)) mark_op(e, op);
}

prn_status prn_o2n_unmark(void *user, prn_op *op) {
  (void)user;
  for (uint32_t i = 0; i < op->num_results; i++)
    op->results[i].mark = 0;
  for (uint32_t k = 0; k < op->num_blocks; k++)
    for (uint32_t i = 0; i < op->blocks[k]->num_args; i++)
      op->blocks[k]->args[i]->mark = 0;
  return PRN_OK;
}

/* ---- lowering ---- */

/* A sequence or an optional is left where it is not known what is in it. */
static prn_status refuse_container(const prn_op *op, const prn_value *v) {
  const prn_type *t = v->type;
  bool optional = t->kind == PRN_TYPE_OPTIONAL;
  bool sequence = (optional ? t->elem : t)->kind == PRN_TYPE_SEQUENCE;
  const char *text = prn_type_str(op->module->ctx, t);
  if (v->def)
    return prn_o2n_unsupported(
        op, "%s is a %s, and only the run tells what is in it",
        prn_value_str(v), text);
  if (!sequence)
    return prn_o2n_unsupported(
        op,
        "%s is a %s: say whether it is there (--elements %.*s=some or none)",
        prn_value_str(v), text, PRN_STR_ARG(v->name));
  return prn_o2n_unsupported(
      op, "%s is a %s: say how many tensors it holds (--elements %.*s=COUNT%s)",
      prn_value_str(v), text, PRN_STR_ARG(v->name), optional ? " or none" : "");
}

/* Reports the first thing that is not known about a needed value. */
static prn_status check_type(const prn_op *op, const prn_value *v) {
  const prn_type *t = v->type;
  if (prn_type_is_container(t)) return refuse_container(op, v);
  if (t->kind != PRN_TYPE_TENSOR && t->kind != PRN_TYPE_ANY)
    return prn_o2n_unsupported(op, "%s is a %s, not a tensor", prn_value_str(v),
                               prn_type_str(op->module->ctx, t));
  if (t->kind == PRN_TYPE_ANY || t->rank < 0)
    return prn_o2n_unsupported(op, "the shape of %s cannot be inferred",
                               prn_value_str(v));
  if (t->dtype == PRN_DTYPE_NONE || t->dtype == PRN_STRING)
    return prn_o2n_unsupported(op, "%s is a tensor of strings",
                               prn_value_str(v));
  if (t->rank > PRN_NN_MAX_RANK)
    return prn_o2n_unsupported(op, "%s has %d dimensions; the limit is %d",
                               prn_value_str(v), (int)t->rank,
                               (int)PRN_NN_MAX_RANK);
  for (int32_t i = 0; i < t->rank; i++)
    if (!prn_dim_known(t->dims[i]))
      return prn_o2n_unsupported(op,
                                 "the size of dimension %d of %s is not known "
                                 "(its type is %s)",
                                 (int)i, prn_value_str(v),
                                 prn_type_str(op->module->ctx, t));
  return PRN_OK;
}

/* Operands that are read as data all have values: what they come from was
 * reported otherwise. */
static bool operands_available(prn_o2n *e, const prn_o2n_row *row,
                               const prn_op *op) {
  for (uint32_t i = 0; i < op->num_operands; i++) {
    if (row && i < 32 && row->shape >> i & 1) continue;
    if (op->operands[i].value && !prn_o2n_value(e, op->operands[i].value))
      return false;
  }
  return true;
}

/* What was made behind `last` has sizes; where not, operands of the node do not
 * fit, which shape inference did not look at. */
static prn_status check_sizes(prn_o2n *e, const prn_op *op,
                              const prn_op *last) {
  const prn_op *made = last ? last->next : e->b.block->first;
  for (; made; made = made->next) {
    prn_strbuf types = {0};
    bool sized = true;
    for (uint32_t i = 0; i < made->num_results; i++)
      sized = sized && prn_nn_is_sized(made->results[i].type);
    if (sized) continue;
    for (uint32_t i = 0; i < made->num_operands; i++)
      prn_strbuf_fmt(&types, "%s%s", i ? ", " : "",
                     prn_type_str(e->ctx, made->operands[i].value->type));
    prn_status s = prn_op_error(op, "sizes do not fit together: %.*s",
                                PRN_STR_ARG(prn_strbuf_view(&types)));
    prn_strbuf_destroy(&types);
    return s;
  }
  return PRN_OK;
}

static prn_status lower_op(prn_o2n *e, prn_op *op) {
  const prn_o2n_row *row = handler(e, op);
  const prn_op *last = e->b.block->last;
  if (!row)
    return prn_o2n_unsupported(op, "operator %.*s.%.*s",
                               PRN_STR_ARG(op->opname->dialect),
                               PRN_STR_ARG(op->opname->name));
  for (uint32_t i = 0; i < op->num_results && !is_if(op); i++)
    if (op->results[i].mark) PRN_TRY(check_type(op, &op->results[i]));
  e->b.loc = op->loc;
  e->b.name = prn_op_string(op, "$name", "");
  e->opset = prn_op_opset(op);
  e->row = row;
  PRN_TRY(row->fn(e, op));
  PRN_TRY(check_sizes(e, op, last));
  for (uint32_t i = 0; i < op->num_results; i++)
    if (op->results[i].mark && !prn_ptrmap_get(&e->values, &op->results[i]))
      return prn_o2n_unsupported(op, "its output %s",
                                 prn_value_str(&op->results[i]));
  return PRN_OK;
}

void prn_o2n_stand_in(prn_o2n *e, prn_op *op) {
  for (uint32_t i = 0; i < op->num_results; i++) {
    prn_value *v = &op->results[i];
    if (!prn_nn_is_sized(v->type) || v->type->dtype == PRN_STRING) continue;
    const prn_type *type = prn_nn_plain(e->ctx, v->type);
    *prn_ptrmap_slot(&e->values, v) = prn_op_result(
        prn_op_create(e->b.m, prn_opname_code(e->ctx, PRN_OP_nn_dims), op->loc,
                      NULL, 0, &type, 1),
        0);
  }
}

void prn_o2n_block(prn_o2n *e, prn_block *block) {
  PRN_EACH_OP(op, block) {
    if (!op_needed(op) || prn_op_has_trait(op, PRN_TERMINATOR)) continue;
    if (!operands_available(e, handler(e, op), op)) continue;
    if (lower_op(e, op) == PRN_OK) continue;
    e->errors++;
    prn_o2n_stand_in(e, op);
  }
}

/* ---- the function ---- */

/* Who is asked to answer for an input's type: the first node that reads it. */
static const prn_op *reader(const prn_op *graph, const prn_value *in) {
  const prn_op *first = NULL;
  PRN_EACH_OP(op, prn_op_block(graph, "body"))
    for (uint32_t i = 0; i < op->num_operands && !first; i++)
      if (op->operands[i].value == in) first = op;
  return first && !prn_op_has_trait(first, PRN_TERMINATOR) ? first : graph;
}

static prn_op *create_func(prn_o2n *e, prn_op *graph) {
  prn_block *src = prn_op_block(graph, "body");
  e->func = prn_op_create(e->b.m, prn_opname_code(e->ctx, PRN_OP_nn_func),
                          graph->loc, NULL, 0, NULL, 0);
  prn_block *body = prn_block_create(e->b.m);
  prn_op_add_block(e->func, body);
  prn_op_set_attr(e->func, "body", prn_attr_region(e->ctx, 0));
  prn_str *names =
      PRN_ARENA_ARRAY(prn_ctx_arena(e->ctx), prn_str, src->num_args + 1);
  for (uint32_t i = 0; i < src->num_args; i++) {
    prn_value *in = src->args[i];
    names[i] = in->name;
    if (check_type(reader(graph, in), in) != PRN_OK) {
      e->errors++;
      continue;
    }
    *prn_ptrmap_slot(&e->values, in) =
        prn_block_add_arg(body, prn_nn_plain(e->ctx, in->type), in->name);
  }
  prn_op_set_attr(e->func, "input_names",
                  prn_attr_strings(e->ctx, names, src->num_args));
  e->b.block = body;
  return e->func;
}

static void finish_func(prn_o2n *e, const prn_op *graph, const prn_op *ret) {
  const prn_attr *outputs = prn_op_attr(graph, "outputs");
  uint32_t n = ret ? ret->num_operands : 0;
  prn_value **out = PRN_ARENA_ARRAY(&e->b.m->arena, prn_value *, n);
  prn_str *names = PRN_ARENA_ARRAY(prn_ctx_arena(e->ctx), prn_str, n + 1);
  for (uint32_t i = 0; i < n; i++) {
    prn_value *v = ret->operands[i].value;
    out[i] = v ? prn_o2n_value(e, v) : NULL;
    names[i] = v ? v->name : PRN_STR("");
    if (outputs && outputs->kind == PRN_ATTR_STRINGS && i < outputs->size)
      names[i] = outputs->strings[i];
    /* Without one, what computes it has been reported. */
    if (!out[i] && !e->errors) {
      (void)prn_o2n_unsupported(ret, "output %u has no value", (unsigned)i);
      e->errors++;
    }
  }
  if (e->errors) return;
  prn_op_set_attr(e->func, "output_names", prn_attr_strings(e->ctx, names, n));
  e->b.name = PRN_STR("");
  (void)prn_nn_make_op(&e->b, PRN_OP_nn_return, out, n, NULL, 0);
}

static prn_status lower_graph(prn_o2n *e, prn_op *graph) {
  prn_block *src = prn_op_block(graph, "body");
  (void)!prn_walk(src, true, prn_o2n_unmark, NULL);
  for (uint32_t i = 0; i < src->num_args; i++)
    src->args[i]->mark = 0;
  mark_block(e, src);
  create_func(e, graph);
  prn_o2n_block(e, src);
  bool closed = src->last && prn_op_has_trait(src->last, PRN_TERMINATOR);
  finish_func(e, graph, closed ? src->last : NULL);
  if (e->errors) {
    prn_op_erase(e->func);
    return PRN_FAIL;
  }
  PRN_EACH_OP_SAFE(op, e->b.m->body)
    prn_op_erase(op);
  prn_block_append(e->b.m->body, e->func);
  prn_o2n_unify(e->b.m, e->func);
  return PRN_OK;
}

static prn_status find_graph(prn_module *m, prn_op **out) {
  *out = NULL;
  PRN_EACH_OP(op, m->body) {
    if (prn_op_is(op, PRN_OP_onnx_function)) continue;
    if (!prn_op_is(op, PRN_OP_onnx_graph) || *out || !prn_op_block(op, "body"))
      return prn_op_error(op, "lowering expects one onnx.graph in the module");
    *out = op;
  }
  if (!*out)
    return prn_module_error(m, "lowering expects one onnx.graph in the module");
  return PRN_OK;
}

prn_status prn_lower_onnx_to_nn(prn_module *m, bool float8) {
  prn_map handlers = {0};
  prn_op *graph;
  prn_o2n e = {.ctx = m->ctx, .handlers = &handlers, .float8 = float8};
  e.b = (prn_nn){.m = m, .ctx = m->ctx};
  PRN_TRY(find_graph(m, &graph));
  PRN_TRY(prn_o2n_prepare(m, graph));
  prn_o2n_fill(&handlers);
  prn_status s = prn_infer_run(m, true, &e.infer);
  if (s == PRN_OK) s = lower_graph(&e, graph);
  prn_infer_free(e.infer);
  prn_ptrmap_destroy(&e.values);
  prn_map_destroy(&handlers);
  return s;
}

#define OPTIONS(X)           \
  X(BOOL, float8, false, "", \
    "Multiply dequantised float8 as it is stored, which CUDA kernels can")
#define STATS(X)
PRN_PASS_TABLES;

static prn_status run(prn_pass_env *env, prn_module *m) {
  const struct opts *o = env->opts;
  return prn_lower_onnx_to_nn(m, o->float8);
}

const prn_pass prn_pass_lower_onnx_to_nn = {
    .name = "lower-onnx-to-nn",
    .summary = "Lower the graph to the compiler's canonical operators",
    .doc =
        "Every version of an ONNX operator becomes one form. What only "
        "computes "
        "sizes disappears into the types; functions are inlined, an If whose "
        "condition is known keeps one branch, batch normalisation goes into "
        "the weights of the convolution before it. Every node that cannot be "
        "lowered is reported.",
    .reads = PRN_DIALECT_ONNX,
    .writes = PRN_DIALECT_NN,
    PRN_PASS_COMMON,
};
