#include "ir/rewrite.h"
#include "tools/reduce.h"

/* ---- places ---- */

typedef bool wanted_fn(const prn_op *op);

typedef struct places {
  wanted_fn *wanted;
  prn_op **at;
  size_t n, cap;
} places;

static prn_status note(void *user, prn_op *op) {
  places *p = user;
  if (!p->wanted(op)) return PRN_OK;
  if (p->n == p->cap) {
    p->cap = p->cap ? p->cap * 2 : 64;
    p->at = prn_realloc(p->at, prn_array_size(sizeof *p->at, p->cap));
  }
  p->at[p->n++] = op;
  return PRN_OK;
}

/* In the order of the text; `at` is to be freed. */
static places find(prn_module *m, wanted_fn *wanted) {
  places p = {.wanted = wanted};
  (void)!prn_walk(m->body, true, note, &p);
  return p;
}

static size_t count(prn_module *m, wanted_fn *wanted) {
  places p = find(m, wanted);
  prn_free(p.at);
  return p.n;
}

/* Calls fn on the places of the range, last first: what is nested in an
 * operation comes after it. */
static bool each(prn_module *m, wanted_fn *wanted, size_t from, size_t n,
                 bool (*fn)(prn_op *op)) {
  places p = find(m, wanted);
  size_t end = n < p.n - from ? from + n : p.n;
  bool any = false;
  for (size_t i = end; i-- > from;)
    any |= fn(p.at[i]);
  prn_free(p.at);
  return any;
}

static prn_op *graph_of(prn_module *m) {
  PRN_EACH_OP(op, m->body)
    if (prn_op_is(op, PRN_OP_onnx_graph) && prn_op_block(op, "body")) return op;
  return NULL;
}

/* ---- nodes ---- */

static bool is_node(const prn_op *op) {
  return !prn_op_has_trait(op, PRN_TERMINATOR) &&
         !prn_op_has_trait(op, PRN_TOP_LEVEL);
}

static bool is_computed(const prn_op *op) {
  return is_node(op) && !prn_op_has_trait(op, PRN_CONSTANT) &&
         !prn_op_is(op, PRN_OP_onnx_sparse_initializer);
}

static bool used(const prn_op *op) {
  for (uint32_t i = 0; i < op->num_results; i++)
    if (prn_value_has_uses(&op->results[i])) return true;
  return false;
}

/* The operand that has the type of result v, or one that is not known. */
static prn_value *like(const prn_op *op, const prn_value *v) {
  for (uint32_t i = 0; i < op->num_operands; i++) {
    prn_value *in = op->operands[i].value;
    if (in && in->type == v->type) return in;
  }
  return NULL;
}

static bool become_operand(prn_op *op) {
  for (uint32_t i = 0; i < op->num_results; i++)
    if (prn_value_has_uses(&op->results[i]) && !like(op, &op->results[i]))
      return false;
  for (uint32_t i = 0; i < op->num_results; i++)
    if (prn_value_has_uses(&op->results[i]))
      prn_value_replace_uses(&op->results[i], like(op, &op->results[i]));
  prn_op_erase(op);
  return true;
}

static bool become_inputs(prn_op *op) {
  prn_op *graph = graph_of(op->module), *top = op;
  while (top->block->parent)
    top = top->block->parent;
  if (!graph || top != graph) return false;
  for (uint32_t i = 0; i < op->num_results; i++)
    if (prn_value_has_uses(&op->results[i]) &&
        op->results[i].type->kind != PRN_TYPE_TENSOR)
      return false;
  for (uint32_t i = 0; i < op->num_results; i++) {
    prn_value *v = &op->results[i];
    if (!prn_value_has_uses(v)) continue;
    prn_str name = v->name;
    v->name = PRN_STR("");
    prn_value_replace_uses(
        v, prn_block_add_arg(prn_op_block(graph, "body"), v->type, name));
  }
  prn_op_erase(op);
  return true;
}

/* A constant of this type; NULL when its size is not known, or a large one. */
static const prn_tensor *zeros(prn_ctx *ctx, const prn_type *t, prn_str name) {
  enum { MOST = 1 << 24 };
  int64_t n;
  size_t bytes;
  const prn_blob *data;
  void *p;
  if (t->kind != PRN_TYPE_TENSOR || t->dtype == PRN_STRING ||
      prn_dtype_bits(t->dtype) < 8 || !prn_type_count(t, &n) || n > MOST ||
      !prn_dtype_bytes(t->dtype, n, &bytes) ||
      prn_blob_scratch(ctx, bytes, &data, &p) != PRN_OK)
    return NULL;
  prn_tensor made = {.type = prn_type_tensor(ctx, t->dtype, t->rank, t->dims),
                     .data = data,
                     .name = name};
  return prn_tensor_clone(ctx, &made);
}

static bool become_zeros(prn_op *op) {
  prn_ctx *ctx = op->module->ctx;
  prn_value *v = op->num_results == 1 ? &op->results[0] : NULL;
  const prn_tensor *t = v && used(op) ? zeros(ctx, v->type, v->name) : NULL;
  if (!t || op->opname->dialect_bit != PRN_DIALECT_ONNX) return false;
  prn_op *c =
      prn_op_create(op->module, prn_opname_code(ctx, PRN_OP_onnx_Constant),
                    op->loc, NULL, 0, &t->type, 1);
  prn_op_set_attr(c, "value", prn_attr_tensor(ctx, t));
  prn_op_insert_before(c, op);
  c->results[0].name = v->name;
  v->name = PRN_STR("");
  prn_value_replace_uses(v, &c->results[0]);
  prn_op_erase(op);
  return true;
}

static bool erase_dead(prn_op *op) {
  if (used(op)) return false;
  prn_op_erase(op);
  return true;
}

#define NODE_EDIT(name, wanted, fn)                                      \
  static size_t count_##name(prn_module *m) { return count(m, wanted); } \
  static bool apply_##name(prn_module *m, size_t at, size_t n) {         \
    return each(m, wanted, at, n, fn);                                   \
  }

NODE_EDIT(dead, is_node, erase_dead)
NODE_EDIT(operand, is_computed, become_operand)
NODE_EDIT(inputs, is_computed, become_inputs)
NODE_EDIT(zeros, is_computed, become_zeros)

/* ---- constants ---- */

static bool is_full(const prn_op *op) {
  const prn_tensor *t =
      op->num_results ? prn_value_constant(&op->results[0]) : NULL;
  if (!t || !t->data || t->type->dtype == PRN_STRING ||
      prn_dtype_bits(t->type->dtype) < 8)
    return false;
  double v;
  for (int64_t i = 0, n = prn_tensor_count(t); i < n; i++) {
    prn_tensor_read_f64(t, i, 1, &v);
    if (v != 0) return true;
  }
  return false;
}

static bool empty(prn_op *op) {
  prn_value *v = &op->results[0];
  const prn_tensor *old = prn_value_constant(v);
  const prn_tensor *t = zeros(op->module->ctx, old->type, old->name);
  if (!t) return false;
  prn_op_set_attr(op, "value", prn_attr_tensor(op->module->ctx, t));
  v->type = t->type;
  return true;
}

NODE_EDIT(empty, is_full, empty)

/* ---- functions ---- */

static bool is_function(const prn_op *op) {
  return prn_op_is(op, PRN_OP_onnx_function);
}

static bool erase_function(prn_op *op) {
  prn_op_erase(op);
  return true;
}

NODE_EDIT(functions, is_function, erase_function)

/* ---- attributes ---- */

static bool removable(const prn_named_attr *a) {
  return a->value->kind != PRN_ATTR_REGION && a->name.data[0] != '$' &&
         !prn_str_is(a->name, "outputs");
}

static bool has_attr(const prn_op *op) {
  for (uint32_t i = 0; i < op->num_attrs; i++)
    if (removable(&op->attrs[i])) return true;
  return false;
}

/* One at a time, the last first: the next round finds the others. */
static bool drop_attr(prn_op *op) {
  for (uint32_t i = op->num_attrs; i-- > 0;)
    if (removable(&op->attrs[i])) {
      prn_op_set_attr(op, op->attrs[i].name.data, NULL);
      return true;
    }
  return false;
}

/* Or the first, where the last must stay. */
static bool drop_first_attr(prn_op *op) {
  for (uint32_t i = 0; i < op->num_attrs; i++)
    if (removable(&op->attrs[i])) {
      prn_op_set_attr(op, op->attrs[i].name.data, NULL);
      return true;
    }
  return false;
}

NODE_EDIT(attr, has_attr, drop_attr)
NODE_EDIT(first_attr, has_attr, drop_first_attr)

/* ---- inputs and outputs of the graph ---- */

static size_t count_outputs(prn_module *m) {
  prn_op *graph = graph_of(m);
  const prn_block *b = graph ? prn_op_block(graph, "body") : NULL;
  return b && b->last && prn_op_is(b->last, PRN_OP_onnx_return) &&
                 b->last->num_operands > 1
             ? b->last->num_operands
             : 0;
}

/* Takes [from, from + n) out of the graph's outputs; one stays. */
static bool drop_outputs(prn_module *m, size_t from, size_t n) {
  prn_op *graph = graph_of(m), *ret = prn_op_block(graph, "body")->last;
  const prn_attr *names = prn_op_attr(graph, "outputs");
  size_t total = ret->num_operands, kept = 0;
  if (n >= total) return false;
  prn_str *keep = PRN_ARENA_ARRAY(&m->arena, prn_str, total);
  bool named = names && names->kind == PRN_ATTR_STRINGS && names->size == total;
  for (uint32_t i = 0; i < total; i++) {
    if (i >= from && i < from + n) continue;
    if (named) keep[kept] = names->strings[i];
    prn_op_set_operand(ret, (uint32_t)kept++, ret->operands[i].value);
  }
  prn_op_truncate_operands(ret, (uint32_t)kept);
  if (named)
    prn_op_set_attr(graph, "outputs", prn_attr_strings(m->ctx, keep, kept));
  return true;
}

static size_t count_args(prn_module *m) {
  prn_op *graph = graph_of(m);
  return graph ? prn_op_block(graph, "body")->num_args : 0;
}

static bool drop_args(prn_module *m, size_t from, size_t n) {
  prn_block *b = prn_op_block(graph_of(m), "body");
  size_t end = n < b->num_args - from ? from + n : b->num_args;
  bool any = false;
  for (size_t i = end; i-- > from;)
    if (!prn_value_has_uses(b->args[i])) {
      prn_block_remove_arg(b, (uint32_t)i);
      any = true;
    }
  return any;
}

const prn_edit prn_edits[] = {
    {"outputs", count_outputs, drop_outputs},
    {"nodes without use", count_dead, apply_dead},
    {"nodes that become inputs", count_inputs, apply_inputs},
    {"nodes that become an operand", count_operand, apply_operand},
    {"nodes that become zeros", count_zeros, apply_zeros},
    {"constants that become zeros", count_empty, apply_empty},
    {"inputs", count_args, drop_args},
    {"functions", count_functions, apply_functions},
    {"attributes", count_attr, apply_attr},
    {"attributes", count_first_attr, apply_first_attr},
    {NULL, NULL, NULL},
};
