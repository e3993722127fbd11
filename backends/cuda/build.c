/* From a mem.func to functions and steps. */
#include <stdlib.h>
#include <string.h>

#include "backends/cuda/cu.h"
#include "backends/cuda/host/prune_cuda_model.h"

/* ---- which operation is what ---- */

static const prn_cu_kind *kind_of(const prn_op *op) {
  switch (prn_op_code(op)) {
#define KIND(name)        \
  case PRN_OP_mem_##name: \
    return &prn_cu_##name;
    KIND(map)
    KIND(reduce)
    KIND(arg_reduce)
    KIND(cumsum)
    KIND(gather)
    KIND(gather_elements)
    KIND(scatter)
    KIND(sort)
    KIND(pad)
    KIND(dims)
    KIND(matmul)
    KIND(conv)
    KIND(pool)
    KIND(softmax)
    KIND(norm)
    KIND(attention)
    KIND(lstm)
    KIND(gru)
    KIND(rnn)
#undef KIND
  default:
    return NULL;
  }
}

static bool is_silent(const prn_op *op) {
  return prn_op_is(op, PRN_OP_mem_alloc) ||
         prn_op_is(op, PRN_OP_mem_constant) || prn_op_is(op, PRN_OP_mem_view) ||
         prn_op_is(op, PRN_OP_mem_return);
}

const prn_op *prn_cu_constant(const prn_value *v) {
  while (v && v->def && prn_op_is(v->def, PRN_OP_mem_view))
    v = prn_op_operand(v->def, 0);
  return v && prn_op_is(v->def, PRN_OP_mem_constant) ? v->def : NULL;
}

/* ---- checks ---- */

/* Every symbol in d can be read off an input. */
static bool can_know(const prn_cu *c, prn_dim d) {
  if (d->kind == PRN_DIM_UNKNOWN) return false;
  if (d->kind == PRN_DIM_SYM && !prn_str_is(d->name, "workers") &&
      prn_cu_symbol(c, d->name) < 0)
    return false;
  for (uint32_t i = 0; i < d->num_args; i++)
    if (!can_know(c, d->args[i])) return false;
  return true;
}

static prn_status check_sizes(const prn_cu *c, const prn_op *op,
                              const prn_type *t) {
  bool known = can_know(c, t->offset);
  for (int32_t k = 0; k < t->rank; k++)
    known = known && can_know(c, t->dims[k]) && can_know(c, t->strides[k]);
  if (known) return PRN_OK;
  return prn_op_error(op, "the sizes of %s do not follow from those of inputs",
                      prn_type_str(c->ctx, t));
}

static prn_status check_types(const prn_cu *c, const prn_op *op) {
  if (op->num_operands > PRN_CU_VIEWS)
    return prn_op_error(op, "has %u operands, more than the %d of a kernel",
                        op->num_operands, PRN_CU_VIEWS);
  for (uint32_t i = 0; i < op->num_operands; i++) {
    const prn_value *v = prn_op_operand(op, i);
    if (!v) continue;
    if (v->type->rank > PRN_CU_RANK)
      return prn_op_error(op, "has %d dimensions, more than %d",
                          (int)v->type->rank, PRN_CU_RANK);
    if (!prn_cu_memory_type(v->type->dtype))
      return prn_op_error(op, "the CUDA backend has no elements of type %s",
                          prn_dtype_name(v->type->dtype));
    PRN_TRY(check_sizes(c, op, v->type));
  }
  return PRN_OK;
}

/* Sizes among the attributes, such as where an allocation begins. */
static prn_status check_attrs(const prn_cu *c, const prn_op *op) {
  bool known = true;
  for (uint32_t i = 0; i < op->num_attrs; i++) {
    const prn_attr *a = op->attrs[i].value;
    if (a->kind == PRN_ATTR_DIM) known = known && can_know(c, a->dim);
    for (uint32_t k = 0; a->kind == PRN_ATTR_LIST && k < a->size; k++)
      if (a->list[k]->kind == PRN_ATTR_DIM)
        known = known && can_know(c, a->list[k]->dim);
  }
  if (known) return PRN_OK;
  return prn_op_error(op, "has sizes that do not follow from those of inputs");
}

static prn_status check(const prn_cu *c, const prn_op *op) {
  const prn_cu_kind *kind = kind_of(op);
  PRN_TRY(check_attrs(c, op));
  if (is_silent(op)) return PRN_OK;
  if (!kind) return prn_op_error(op, "the CUDA backend has no kernel for it");
  PRN_TRY(check_types(c, op));
  return kind->check ? kind->check(op) : PRN_OK;
}

static prn_status check_if(const prn_op *op, unsigned depth) {
  const prn_type *t = prn_op_operand(op, 0)->type;
  if (depth == PRN_CU_GUARDS)
    return prn_op_error(op, "branches are nested more than %d deep",
                        (int)PRN_CU_GUARDS);
  if (t->dtype == PRN_BOOL) return PRN_OK;
  return prn_op_error(op, "expected a condition of type i1");
}

/* Everything that cannot be compiled, not only the first. */
static prn_status check_block(const prn_cu *c, const prn_block *b,
                              unsigned depth) {
  prn_status status = PRN_OK;
  PRN_EACH_OP(op, b) {
    if (!prn_op_is(op, PRN_OP_mem_if)) {
      if (check(c, op) != PRN_OK) status = PRN_FAIL;
    } else if (check_if(op, depth) != PRN_OK) {
      status = PRN_FAIL;
    } else {
      for (uint32_t k = 0; k < op->num_blocks; k++)
        if (check_block(c, op->blocks[k], depth + 1) != PRN_OK)
          status = PRN_FAIL;
    }
  }
  return status;
}

static prn_status check_all(const prn_cu *c, const prn_block *b) {
  prn_status status = check_attrs(c, c->func);
  for (uint32_t i = 0; i < b->num_args; i++)
    if (check_sizes(c, c->func, b->args[i]->type) != PRN_OK) status = PRN_FAIL;
  return check_block(c, b, 0) == PRN_OK ? status : PRN_FAIL;
}

/* ---- symbols ---- */

static void list_symbols(prn_cu *c) {
  uint32_t inputs = (uint32_t)prn_op_int(c->func, "inputs", 0);
  size_t most = (size_t)inputs * PRN_CU_RANK + 1;
  c->symbols = PRN_ARENA_ARRAY(&c->arena, prn_str, most);
  for (uint32_t i = 0; i < inputs; i++) {
    const prn_type *t = c->body->args[i]->type;
    for (int32_t k = 0; k < t->rank && k < PRN_CU_RANK; k++)
      if (t->dims[k]->kind == PRN_DIM_SYM &&
          prn_cu_symbol(c, t->dims[k]->name) < 0)
        c->symbols[c->num_symbols++] = t->dims[k]->name;
  }
}

/* ---- what libraries need ---- */

/* Our 2:4 weights as a dense matrix, from which a library makes its own. */
static void add_expand(prn_cu *c) {
  static const char text[] =
      "/* 256 threads */\n"
      "  const int64_t n = (int64_t)(uintptr_t)a.p[2];\n"
      "  const int64_t k = (int64_t)(uintptr_t)a.p[3];\n"
      "  pmk_expand_nm24((pmk_f16 *)a.p[1], (const pmk_f16 *)a.p[0], n, k);\n";
  enum { THREADS = 256, POINTERS = 4 };
  bool wanted = false;
  for (uint32_t s = 0; s < c->num_steps; s++)
    for (uint32_t v = 0; v < c->steps[s].num_variants; v++)
      wanted |= c->steps[s].variants[v].how == PRUNE_CUDA_CUSPARSELT;
  if (!wanted) return;
  const char *name = prn_cu_str(c, "%s%s", c->prefix, PRUNE_CUDA_EXPAND);
  (void)prn_cu_function_for(c, name, PRN_STR(text), THREADS, 0);
  if (c->num_pointers < POINTERS) c->num_pointers = POINTERS;
}

/* ---- the program ---- */

/* Of a mem.if, kernels of both branches are launched, of which those of one
 * return at once. */
static void emit_block(prn_cu *c, const prn_block *b) {
  PRN_EACH_OP(op, b) {
    const prn_cu_kind *kind = kind_of(op);
    if (kind) kind->emit(c, op);
    if (!prn_op_is(op, PRN_OP_mem_if)) continue;
    prn_cu_guard *g = &c->guards[c->num_guards++];
    *g = (prn_cu_guard){prn_op_operand(op, 0), true};
    emit_block(c, prn_op_block(op, "then"));
    g->is = false;
    emit_block(c, prn_op_block(op, "else"));
    c->num_guards--;
  }
}

prn_status prn_cu_build(prn_cu *c, prn_module *m, const char *prefix) {
  memset(c, 0, sizeof *c);
  c->ctx = m->ctx;
  c->m = m;
  c->prefix = prefix;
  PRN_TRY(prn_module_program(m, &c->func));
  c->body = prn_op_block(c->func, "body");
  list_symbols(c);
  PRN_TRY(check_all(c, c->body));
  emit_block(c, c->body);
  add_expand(c);
  return PRN_OK;
}

void prn_cu_destroy(prn_cu *c) {
  prn_free(c->sizes);
  prn_free(c->functions);
  prn_free(c->steps);
  prn_ptrmap_destroy(&c->size_of);
  prn_map_destroy(&c->function_of);
  prn_arena_destroy(&c->arena);
}
