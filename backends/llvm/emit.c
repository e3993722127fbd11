/* Operations of a mem.func: checks, addresses, kernels; see emit.h. */
#include "backends/llvm/emit.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

#include "backends/llvm/abi.h"
#include "backends/llvm/build.h"
#include "ir/pack/pack.h"

/* Below this many vector instructions a kernel is not worth spreading. */
enum { PARALLEL_WORK = 1 << 15 };

struct prn_made {
  const prn_op *op;
  prn_v fn;
};

static const prn_kernel_kind *kind_of(const prn_op *op) {
  static const prn_kernel_kind *const kinds[PRN_OP_count] = {
      [PRN_OP_mem_map] = &prn_kernel_map,
      [PRN_OP_mem_reduce] = &prn_kernel_reduce,
      [PRN_OP_mem_arg_reduce] = &prn_kernel_arg_reduce,
      [PRN_OP_mem_cumsum] = &prn_kernel_cumsum,
      [PRN_OP_mem_gather] = &prn_kernel_gather,
      [PRN_OP_mem_gather_elements] = &prn_kernel_gather_elements,
      [PRN_OP_mem_scatter] = &prn_kernel_scatter,
      [PRN_OP_mem_sort] = &prn_kernel_sort,
      [PRN_OP_mem_pad] = &prn_kernel_pad,
      [PRN_OP_mem_dims] = &prn_kernel_dims,
      [PRN_OP_mem_matmul] = &prn_kernel_matmul,
      [PRN_OP_mem_linear] = &prn_kernel_linear,
      [PRN_OP_mem_conv] = &prn_kernel_conv,
      [PRN_OP_mem_pool] = &prn_kernel_pool,
      [PRN_OP_mem_attention] = &prn_kernel_attention,
      [PRN_OP_mem_softmax] = &prn_kernel_softmax,
      [PRN_OP_mem_norm] = &prn_kernel_norm,
      [PRN_OP_mem_lstm] = &prn_kernel_lstm,
      [PRN_OP_mem_gru] = &prn_kernel_gru,
      [PRN_OP_mem_rnn] = &prn_kernel_rnn,
  };
  return kinds[prn_op_code(op)];
}

/* ---- values ---- */

/* The allocation, constant or argument a view is of. */
static const prn_value *root_of(const prn_value *v) {
  while (v->def && prn_op_is(v->def, PRN_OP_mem_view))
    v = prn_op_operand(v->def, 0);
  return v;
}

const prn_op *prn_view_constant(const prn_value *v) {
  const prn_op *op = root_of(v)->def;
  return prn_op_is(op, PRN_OP_mem_constant) ? op : NULL;
}

bool prn_view_in_lines(prn_ctx *ctx, const prn_value *v) {
  const prn_type *t = v->type;
  prn_dim line = prn_dim_const(ctx, 16);
  int64_t rest;
  bool yes = prn_op_is(root_of(v)->def, PRN_OP_mem_alloc) &&
             prn_dim_is_const(prn_dim_mod(ctx, t->offset, line), &rest) &&
             rest == 0;
  for (int32_t i = 0; yes && i + 1 < t->rank; i++)
    yes = prn_dim_is_const(prn_dim_mod(ctx, t->strides[i], line), &rest) &&
          rest == 0;
  return yes;
}

bool prn_view_packed(const prn_value *v) {
  const prn_op *c = prn_view_constant(v);
  return c && !prn_str_is(prn_op_string(c, "pack", "dense"), "dense");
}

/* Address of the first element of v, in run. */
static prn_v base_of(prn_emit *e, const prn_value *v) {
  prn_cg *g = e->g;
  const prn_value *root = root_of(v);
  prn_v p;
  if (!root->def) {
    p = prn_frame_get(e, prn_frame_arg(root->index), g->ptr);
  } else if (prn_op_is(root->def, PRN_OP_mem_constant)) {
    int64_t at = prn_op_int(root->def, "offset", 0);
    p = cg_at(g, g->i8, prn_frame_get(e, PRN_FRAME_WEIGHTS, g->ptr),
              cg_i64(g, at));
  } else {
    prn_v at = prn_emit_dim(e, prn_op_attr(root->def, "offset")->dim);
    p = cg_at(g, g->i8, prn_frame_get(e, PRN_FRAME_ARENA, g->ptr), at);
  }
  return prn_elem_at(g, v->type->dtype, p, prn_emit_dim(e, v->type->offset));
}

/* ---- checks ---- */

typedef struct checker {
  const prn_target *target;
  const prn_str *symbols;
  unsigned num_symbols;
  size_t scratch;
} checker;

static bool dim_bound(const checker *c, prn_dim d) {
  if (d->kind == PRN_DIM_UNKNOWN) return false;
  if (d->kind == PRN_DIM_SYM) {
    if (prn_str_is(d->name, "workers")) return true;
    for (unsigned i = 0; i < c->num_symbols; i++)
      if (prn_str_eq(c->symbols[i], d->name)) return true;
    return false;
  }
  for (uint32_t i = 0; i < d->num_args; i++)
    if (!dim_bound(c, d->args[i])) return false;
  return true;
}

static prn_status check_dim(const checker *c, const prn_op *op, prn_dim d) {
  if (dim_bound(c, d)) return PRN_OK;
  prn_strbuf b = {0};
  prn_dim_print(&b, d);
  prn_status s = prn_op_error(
      op,
      "the size %s does not follow from the sizes of the inputs: no input "
      "has it (or its part) as a dimension",
      b.data ? b.data : "?");
  prn_strbuf_destroy(&b);
  return s;
}

static prn_status check_type(const checker *c, const prn_op *op,
                             const prn_type *t) {
  if (t->kind != PRN_TYPE_VIEW)
    return prn_op_error(op, "expected an operand that is a view");
  if (t->rank > PRN_EMIT_RANK)
    return prn_op_error(op, "has a view of rank %d, the LLVM backend takes %d",
                        (int)t->rank, PRN_EMIT_RANK);
  if (!prn_elem_supported(c->target, t->dtype))
    return prn_op_error(op, "the LLVM backend has no elements of type %s%s",
                        prn_dtype_name(t->dtype),
                        t->dtype == PRN_F16 ? " on this CPU" : "");
  PRN_TRY(check_dim(c, op, t->offset));
  for (int32_t i = 0; i < t->rank; i++) {
    PRN_TRY(check_dim(c, op, t->dims[i]));
    PRN_TRY(check_dim(c, op, t->strides[i]));
  }
  return PRN_OK;
}

static prn_status check_attrs(const checker *c, const prn_op *op) {
  for (uint32_t i = 0; i < op->num_attrs; i++) {
    const prn_attr *a = op->attrs[i].value;
    if (a->kind == PRN_ATTR_DIM) PRN_TRY(check_dim(c, op, a->dim));
    if (a->kind != PRN_ATTR_LIST) continue;
    for (uint32_t k = 0; k < a->size; k++)
      if (a->list[k]->kind == PRN_ATTR_DIM)
        PRN_TRY(check_dim(c, op, a->list[k]->dim));
  }
  return PRN_OK;
}

static prn_status check_ops(checker *c, const prn_block *b);

static prn_status check_op(checker *c, const prn_op *op) {
  PRN_TRY(check_attrs(c, op));
  for (uint32_t i = 0; i < op->num_operands; i++) {
    const prn_value *v = prn_op_operand(op, i);
    if (v) PRN_TRY(check_type(c, op, v->type));
  }
  switch (prn_op_code(op)) {
  case PRN_OP_mem_alloc:
  case PRN_OP_mem_constant:
    if (!prn_op_attr(op, "offset"))
      return prn_op_error(op, "has no place in memory: run plan-memory first");
    return PRN_OK;
  case PRN_OP_mem_view:
  case PRN_OP_mem_return:
  case PRN_OP_mem_fail:
    return PRN_OK;
  case PRN_OP_mem_if:
    break;
  default: {
    const prn_kernel_kind *k = kind_of(op);
    if (!k) return prn_op_error(op, "the LLVM backend has no such kernel");
    if (op->num_operands > PRN_KERNEL_MAX)
      return prn_op_error(op, "has %u operands, the LLVM backend takes %d",
                          op->num_operands, PRN_KERNEL_MAX);
    if (k->check) PRN_TRY(k->check(op));
    size_t s = k->scratch ? k->scratch(c->target, op) : 0;
    if (s > c->scratch) c->scratch = s;
    return PRN_OK;
  }
  }
  prn_status status = PRN_OK;
  for (uint32_t i = 0; i < op->num_blocks; i++)
    if (check_ops(c, op->blocks[i]) != PRN_OK) status = PRN_FAIL;
  return status;
}

/* Goes on after an error, to report all of them. */
static prn_status check_ops(checker *c, const prn_block *b) {
  prn_status status = PRN_OK;
  PRN_EACH_OP(op, b)
    if (check_op(c, op) != PRN_OK) status = PRN_FAIL;
  return status;
}

/* ---- kernels ---- */

static bool same_type(const prn_type *a, const prn_type *b) {
  if (a->kind != b->kind || a->dtype != b->dtype || a->rank != b->rank)
    return false;
  for (int32_t i = 0; i < a->rank; i++) {
    if (a->dims[i] != b->dims[i]) return false;
    if (a->kind == PRN_TYPE_VIEW && a->strides[i] != b->strides[i])
      return false;
  }
  return true;
}

static bool same_op(const prn_op *a, const prn_op *b, prn_ptrmap *map);

static bool same_block(const prn_block *a, const prn_block *b,
                       prn_ptrmap *map) {
  if (a->num_args != b->num_args) return false;
  for (uint32_t i = 0; i < a->num_args; i++) {
    if (!same_type(a->args[i]->type, b->args[i]->type)) return false;
    *prn_ptrmap_slot(map, a->args[i]) = b->args[i];
  }
  const prn_op *y = b->first;
  PRN_EACH_OP(x, a) {
    if (!y || !same_op(x, y, map)) return false;
    for (uint32_t i = 0; i < x->num_operands; i++)
      if (prn_ptrmap_get(map, prn_op_operand(x, i)) != prn_op_operand(y, i))
        return false;
    for (uint32_t i = 0; i < x->num_results; i++)
      *prn_ptrmap_slot(map, &x->results[i]) = &y->results[i];
    y = y->next;
  }
  return y == NULL;
}

/* The same kernel reads both: one format, the same parameters. */
static bool same_packing(const prn_value *a, const prn_value *b) {
  bool packed = prn_view_packed(a);
  if (packed != prn_view_packed(b)) return false;
  if (!packed) return true;
  const prn_op *x = prn_view_constant(a), *y = prn_view_constant(b);
  prn_packing p = prn_packing_of(x), q = prn_packing_of(y);
  return p.k == q.k && p.n == q.n && p.nr == q.nr && p.group == q.group &&
         p.depth == q.depth && p.tile == q.tile && p.dtype == q.dtype &&
         prn_str_eq(prn_op_string(x, "pack", ""), prn_op_string(y, "pack", ""));
}

static bool same_operand(const prn_value *a, const prn_value *b) {
  if (!a || !b) return a == b;
  if (!same_type(a->type, b->type)) return false;
  return a->type->kind != PRN_TYPE_VIEW || same_packing(a, b);
}

/* The two compute the same but for where their operands lie. */
static bool same_op(const prn_op *a, const prn_op *b, prn_ptrmap *map) {
  if (prn_op_code(a) != prn_op_code(b) || a->num_operands != b->num_operands ||
      a->num_attrs != b->num_attrs || a->num_results != b->num_results ||
      a->num_blocks != b->num_blocks)
    return false;
  for (uint32_t i = 0; i < a->num_operands; i++)
    if (!same_operand(prn_op_operand(a, i), prn_op_operand(b, i))) return false;
  for (uint32_t i = 0; i < a->num_results; i++)
    if (!same_type(a->results[i].type, b->results[i].type)) return false;
  for (uint32_t i = 0; i < a->num_attrs; i++)
    if (a->attrs[i].name.data != b->attrs[i].name.data ||
        !prn_attr_eq(a->attrs[i].value, b->attrs[i].value))
      return false;
  for (uint32_t i = 0; i < a->num_blocks; i++)
    if (!same_block(a->blocks[i], b->blocks[i], map)) return false;
  return true;
}

static prn_v find_made(prn_emit *e, const prn_op *op) {
  for (unsigned i = 0; i < e->num_made; i++) {
    prn_ptrmap map = {0};
    bool same = same_op(op, e->made[i].op, &map);
    prn_ptrmap_destroy(&map);
    if (same) return e->made[i].fn;
  }
  return NULL;
}

static void init_kernel(prn_kernel *k, prn_emit *e, const prn_op *op) {
  memset(k, 0, sizeof *k);
  k->e = e;
  k->g = e->g;
  k->op = op;
  k->n = op->num_operands;
}

static void set_view(prn_kernel *k, unsigned i, prn_v base) {
  const prn_value *v = prn_op_operand(k->op, i);
  prn_emit_view(k->e, &k->v[i], v->type, base);
  k->v[i].packed = prn_view_packed(v);
}

/* The function of a kernel, made on first use. */
static prn_v kernel_fn(prn_emit *e, const prn_op *op,
                       const prn_kernel_kind *kind) {
  prn_cg *g = e->g;
  prn_v fn = find_made(e, op);
  if (fn) return fn;
  char name[64];
  snprintf(name, sizeof name, "%.*s_%u", PRN_STR_ARG(op->opname->name),
           e->num_made);
  prn_t params[4] = {g->ptr, g->i64, g->i64, g->i64};
  prn_emit_scope s = prn_emit_begin(e, name, g->none, params, 4);
  fn = g->fn;
  prn_kernel k;
  init_kernel(&k, e, op);
  prn_v context = LLVMGetParam(fn, 0);
  LLVMBasicBlockRef at = LLVMGetInsertBlock(g->b);
  LLVMPositionBuilderBefore(g->b, LLVMGetBasicBlockTerminator(e->prologue));
  e->frame = prn_cg_load(g, g->ptr, context);
  LLVMPositionBuilderAtEnd(g->b, at);
  for (unsigned i = 0; i < k.n; i++)
    if (prn_op_operand(op, i))
      set_view(
          &k, i,
          prn_cg_load(g, g->ptr, cg_at(g, g->ptr, context, cg_i64(g, i + 1))));
  k.begin = LLVMGetParam(fn, 1);
  k.end = LLVMGetParam(fn, 2);
  k.worker = LLVMGetParam(fn, 3);
  kind->body(&k);
  LLVMBuildRetVoid(g->b);
  prn_emit_end(e, s);
  if (e->num_made == e->cap_made) {
    e->cap_made = e->cap_made ? e->cap_made * 2 : 64;
    e->made =
        prn_realloc(e->made, prn_array_size(sizeof *e->made, e->cap_made));
  }
  e->made[e->num_made++] = (struct prn_made){op, fn};
  return fn;
}

prn_v prn_kernel_scratch(prn_kernel *k) {
  prn_v at = prn_cg_mul(k->g, k->worker, cg_i64(k->g, (int64_t)k->e->scratch));
  return cg_at(k->g, k->g->i8,
               prn_frame_get(k->e, PRN_FRAME_SCRATCH, k->g->ptr), at);
}

/* dispatch(frame, fn, context, items, work): fn over all items, through
 * parallel_for when there is one and the work is worth it. */
static prn_v dispatcher(prn_emit *e) {
  prn_cg *g = e->g;
  prn_v fn = prn_cg_made(g, "dispatch");
  if (fn) return fn;
  prn_t params[5] = {g->ptr, g->ptr, g->ptr, g->i64, g->i64};
  prn_emit_scope s = prn_emit_begin(e, "dispatch", g->none, params, 5);
  fn = g->fn;
  prn_cg_remember(g, "dispatch", fn);
  e->frame = LLVMGetParam(fn, 0);
  prn_v items = LLVMGetParam(fn, 3), zero = cg_i64(g, 0), one = cg_i64(g, 1);
  prn_v many = prn_frame_get(e, PRN_FRAME_FOR, g->ptr);
  prn_v spread = LLVMBuildIsNotNull(g->b, many, "");
  prn_v workers = prn_frame_get(e, PRN_FRAME_WORKERS, g->i64);
  spread = LLVMBuildAnd(g->b, spread, cg_lt(g, one, workers), "");
  spread = LLVMBuildAnd(g->b, spread, cg_lt(g, one, items), "");
  spread =
      LLVMBuildAnd(g->b, spread,
                   cg_lt(g, cg_i64(g, PARALLEL_WORK), LLVMGetParam(fn, 4)), "");
  LLVMBasicBlockRef all = prn_cg_block(g, "all"),
                    here = prn_cg_block(g, "here");
  LLVMBuildCondBr(g->b, spread, all, here);
  LLVMPositionBuilderAtEnd(g->b, all);
  prn_t for_params[4] = {g->ptr, g->ptr, g->ptr, g->i64};
  prn_v for_args[4] = {prn_frame_get(e, PRN_FRAME_POOL, g->ptr),
                       LLVMGetParam(fn, 1), LLVMGetParam(fn, 2), items};
  LLVMBuildCall2(g->b, LLVMFunctionType(g->none, for_params, 4, 0), many,
                 for_args, 4, "");
  LLVMBuildRetVoid(g->b);
  LLVMPositionBuilderAtEnd(g->b, here);
  prn_t task[4] = {g->ptr, g->i64, g->i64, g->i64};
  prn_v args[4] = {LLVMGetParam(fn, 2), zero, items, zero};
  LLVMBuildCall2(g->b, LLVMFunctionType(g->none, task, 4, 0),
                 LLVMGetParam(fn, 1), args, 4, "");
  LLVMBuildRetVoid(g->b);
  prn_emit_end(e, s);
  return fn;
}

/* An address of this process. */
static prn_v host_address(prn_cg *g, uintptr_t address) {
  return LLVMConstIntToPtr(cg_i64(g, (int64_t)address), g->ptr);
}

/* The profile's clock now; NULL without a profile. */
static prn_v read_clock(prn_emit *e) {
  prn_cg *g = e->g;
  if (!e->profile) return NULL;
  return LLVMBuildCall2(g->b, LLVMFunctionType(g->i64, NULL, 0, 0),
                        host_address(g, (uintptr_t)e->profile->clock), NULL, 0,
                        "");
}

/* Leaves the time since `start` with the next kernel of the profile. */
static void note_time(prn_emit *e, const prn_op *op, prn_v start) {
  prn_cg *g = e->g;
  prn_kernel_times *p = e->profile;
  if (!p) return;
  assert(p->num_kernels < p->cap_kernels);
  prn_kernel_time *k = &p->kernels[p->num_kernels++];
  *k = (prn_kernel_time){.op = op};
  prn_v time = LLVMBuildSub(g->b, read_clock(e), start, "");
  LLVMBuildStore(g->b, time, host_address(g, (uintptr_t)&k->time));
}

static void run_kernel(prn_emit *e, const prn_op *op,
                       const prn_kernel_kind *kind, prn_v context) {
  prn_cg *g = e->g;
  prn_v fn = kernel_fn(e, op, kind), work = cg_i64(g, 0);
  prn_kernel k;
  init_kernel(&k, e, op);
  LLVMBuildStore(g->b, e->frame, context);
  for (unsigned i = 0; i < k.n; i++) {
    if (!prn_op_operand(op, i)) continue;
    set_view(&k, i, base_of(e, prn_op_operand(op, i)));
    LLVMBuildStore(g->b, k.v[i].base,
                   cg_at(g, g->ptr, context, cg_i64(g, i + 1)));
  }
  prn_v items = kind->items(&k, &work);
  prn_v args[5] = {e->frame, fn, context, items, work};
  prn_v start = read_clock(e);
  prn_cg_call(g, dispatcher(e), args, 5);
  note_time(e, op, start);
}

static prn_status emit_if(prn_emit *e, const prn_op *op) {
  prn_cg *g = e->g;
  prn_v p = base_of(e, prn_op_operand(op, 0));
  prn_v c = prn_elem_load(g, PRN_BOOL, p, cg_i64(g, 1), 1, NULL);
  LLVMBasicBlockRef blocks[2] = {prn_cg_block(g, "then"),
                                 prn_cg_block(g, "else")};
  LLVMBasicBlockRef join = prn_cg_block(g, "join");
  LLVMBuildCondBr(g->b, c, blocks[0], blocks[1]);
  for (int i = 0; i < 2; i++) {
    LLVMPositionBuilderAtEnd(g->b, blocks[i]);
    PRN_TRY(prn_emit_ops(e, prn_op_block(op, i ? "else" : "then")));
    LLVMBuildBr(g->b, join);
  }
  LLVMPositionBuilderAtEnd(g->b, join);
  return PRN_OK;
}

prn_status prn_emit_ops(prn_emit *e, prn_block *b) {
  unsigned most = 0;
  PRN_EACH_OP(op, b)
    if (op->num_operands > most) most = op->num_operands;
  prn_v context = prn_cg_alloca(e->g, LLVMArrayType2(e->g->ptr, most + 1), 8);
  PRN_EACH_OP(op, b) {
    const prn_kernel_kind *kind = kind_of(op);
    if (prn_op_is(op, PRN_OP_mem_if)) PRN_TRY(emit_if(e, op));
    if (prn_op_is(op, PRN_OP_mem_fail)) prn_frame_fail(e, PRUNE_BAD_BRANCH);
    if (kind) run_kernel(e, op, kind, context);
  }
  return PRN_OK;
}

/* ---- modules ---- */

/* Symbols that a dimension of an input is, in the order they appear. */
static unsigned list_symbols(const prn_op *func, const prn_block *body,
                             prn_arena *arena, const prn_str **out) {
  unsigned inputs = (unsigned)prn_op_int(func, "inputs", 0), n = 0;
  prn_str *s =
      PRN_ARENA_ARRAY(arena, prn_str, (size_t)inputs * PRN_EMIT_RANK + 1);
  for (unsigned i = 0; i < inputs; i++) {
    const prn_type *t = body->args[i]->type;
    for (int32_t k = 0; k < t->rank && k < PRN_EMIT_RANK; k++) {
      if (t->dims[k]->kind != PRN_DIM_SYM) continue;
      unsigned j = 0;
      while (j < n && !prn_str_eq(s[j], t->dims[k]->name))
        j++;
      if (j == n) s[n++] = t->dims[k]->name;
    }
  }
  *out = s;
  return n;
}

static prn_status check_func(checker *c, const prn_op *func,
                             const prn_block *body) {
  for (uint32_t i = 0; i < body->num_args; i++)
    PRN_TRY(check_type(c, func, body->args[i]->type));
  PRN_TRY(check_attrs(c, func));
  return check_ops(c, body);
}

static uint32_t count_kernels(const prn_block *b) {
  uint32_t n = 0;
  PRN_EACH_OP(op, b) {
    n += kind_of(op) != NULL;
    for (uint32_t i = 0; prn_op_is(op, PRN_OP_mem_if) && i < 2; i++)
      n += count_kernels(op->blocks[i]);
  }
  return n;
}

/* Room for all kernels: their addresses are in the code. */
static void new_kernels(prn_kernel_times *p, const prn_block *body) {
  p->num_kernels = 0;
  p->cap_kernels = count_kernels(body);
  prn_free(p->kernels);
  p->kernels = prn_alloc(prn_array_size(sizeof *p->kernels, p->cap_kernels));
}

prn_status prn_build(const prn_target *target, prn_op *func, const char *prefix,
                     bool weights_symbol, prn_kernel_times *profile,
                     prn_cg **out) {
  prn_arena arena = {0};
  prn_block *body = prn_op_block(func, "body");
  checker c = {.target = target};
  c.num_symbols = list_symbols(func, body, &arena, &c.symbols);
  prn_status status = check_func(&c, func, body);
  if (status == PRN_OK) {
    prn_emit e = {.g = prn_cg_create(target, prefix),
                  .ctx = func->module->ctx,
                  .func = func,
                  .body = body,
                  .prefix = prefix,
                  .symbols = c.symbols,
                  .num_symbols = c.num_symbols,
                  .scratch = (c.scratch + 63) / 64 * 64,
                  .profile = profile};
    if (profile) new_kernels(profile, body);
    status = prn_emit_program(&e, weights_symbol);
    prn_free(e.made);
    if (status == PRN_OK)
      *out = e.g;
    else
      prn_cg_destroy(e.g);
  }
  prn_arena_destroy(&arena);
  return status;
}
