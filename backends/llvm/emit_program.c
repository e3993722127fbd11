/* plan, run and the model's description: the outside of a program.
 *
 *   check(call)        pointers that are needed are there
 *   bind(call, frame)  symbols from the inputs' dims, outputs' dims, arena
 *   plan, run          as abi.h has them
 *   NAME_model         the one symbol that is exported */
#include <stdio.h>
#include <string.h>

#include "backends/llvm/abi.h"
#include "backends/llvm/emit.h"

enum { LINE = 64 };
static const double largest = 4611686018427387904.0; /* 2^62 bytes */
static const int64_t largest_dim = INT64_C(1) << 40;

static unsigned num_inputs(const prn_emit *e) {
  return (unsigned)prn_op_int(e->func, "inputs", 0);
}

/* Loads or addresses a member at a byte offset. */
static prn_v member(prn_cg *g, prn_v p, size_t offset) {
  return cg_at(g, g->i8, p, cg_i64(g, (int64_t)offset));
}
static prn_v get(prn_cg *g, prn_t type, prn_v p, size_t offset) {
  return LLVMBuildLoad2(g->b, type, member(g, p, offset), "");
}

/* Address of tensor descriptor i, inputs then outputs. */
static prn_v descriptor(prn_emit *e, prn_v call, unsigned i) {
  prn_cg *g = e->g;
  unsigned n = num_inputs(e);
  size_t at =
      i < n ? offsetof(prune_call, inputs) : offsetof(prune_call, outputs);
  return member(g, get(g, g->ptr, call, at),
                (i < n ? i : i - n) * sizeof(prune_tensor));
}

/* Returns status from the function being filled when cond holds. */
static void fail_if(prn_cg *g, prn_v cond, int status) {
  LLVMBasicBlockRef bad = prn_cg_block(g, "bad"), good = prn_cg_block(g, "ok");
  LLVMBuildCondBr(g->b, cond, bad, good);
  LLVMPositionBuilderAtEnd(g->b, bad);
  LLVMBuildRet(g->b, cg_i32(g, status));
  LLVMPositionBuilderAtEnd(g->b, good);
}

static prn_v is_null(prn_cg *g, prn_v p) {
  return LLVMBuildIsNull(g->b, p, "");
}

/* Returns a failed callee's status. */
static void try_call(prn_cg *g, prn_v fn, const prn_v *args, unsigned n) {
  prn_v s = prn_cg_call(g, fn, args, n);
  LLVMBasicBlockRef bad = prn_cg_block(g, "bad"), good = prn_cg_block(g, "ok");
  LLVMBuildCondBr(g->b, cg_cmp(g, LLVMIntNE, s, cg_i32(g, 0)), bad, good);
  LLVMPositionBuilderAtEnd(g->b, bad);
  LLVMBuildRet(g->b, s);
  LLVMPositionBuilderAtEnd(g->b, good);
}

/* ---- check ---- */

static prn_v emit_check(prn_emit *e) {
  prn_cg *g = e->g;
  prn_emit_scope s = prn_emit_begin(e, "check", g->i32, &g->ptr, 1);
  prn_v fn = g->fn, call = LLVMGetParam(fn, 0);
  unsigned n = num_inputs(e);
  fail_if(g, is_null(g, call), PRUNE_BAD_CALL);
  if (n)
    fail_if(g, is_null(g, get(g, g->ptr, call, offsetof(prune_call, inputs))),
            PRUNE_BAD_CALL);
  if (e->body->num_args > n)
    fail_if(g, is_null(g, get(g, g->ptr, call, offsetof(prune_call, outputs))),
            PRUNE_BAD_CALL);
  for (unsigned i = 0; i < n; i++) {
    if (e->body->args[i]->type->rank == 0) continue;
    prn_v dims =
        get(g, g->ptr, descriptor(e, call, i), offsetof(prune_tensor, dims));
    fail_if(g, is_null(g, dims), PRUNE_BAD_CALL);
  }
  LLVMBuildRet(g->b, cg_i32(g, PRUNE_OK));
  prn_emit_end(e, s);
  return fn;
}

/* ---- bind ---- */

static prn_v given_dim(prn_emit *e, prn_v call, unsigned i, int32_t axis) {
  prn_cg *g = e->g;
  prn_v dims =
      get(g, g->ptr, descriptor(e, call, i), offsetof(prune_tensor, dims));
  return get(g, g->i64, dims, (size_t)axis * sizeof(int64_t));
}

static int find_symbol(const prn_emit *e, prn_str name) {
  for (unsigned i = 0; i < e->num_symbols; i++)
    if (prn_str_eq(e->symbols[i], name)) return (int)i;
  return -1;
}

/* Loads every symbol where an input first has it, before any size is
 * computed: in the prologue. */
static void load_symbols(prn_emit *e, prn_v call, prn_v *values) {
  prn_cg *g = e->g;
  LLVMBasicBlockRef at = LLVMGetInsertBlock(g->b);
  LLVMPositionBuilderBefore(g->b, LLVMGetBasicBlockTerminator(e->prologue));
  for (unsigned i = 0; i < num_inputs(e); i++) {
    const prn_type *t = e->body->args[i]->type;
    for (int32_t k = 0; k < t->rank; k++) {
      if (t->dims[k]->kind != PRN_DIM_SYM) continue;
      int s = find_symbol(e, t->dims[k]->name);
      if (values[s]) continue;
      values[s] = given_dim(e, call, i, k);
      *prn_ptrmap_slot(&e->dims, t->dims[k]) = values[s];
    }
  }
  prn_v w = get(g, g->i64, call, offsetof(prune_call, workers));
  w = prn_cg_max(g, w, cg_i64(g, 1));
  prn_dim workers = prn_dim_sym(e->ctx, PRN_STR("workers"));
  *prn_ptrmap_slot(&e->dims, workers) = w;
  LLVMPositionBuilderAtEnd(g->b, at);
}

/* d in floating point, where it cannot overflow. */
static prn_v magnitude(prn_emit *e, prn_dim d) {
  prn_cg *g = e->g;
  if (d->kind != PRN_DIM_MUL && d->kind != PRN_DIM_ADD)
    return LLVMBuildSIToFP(g->b, prn_emit_dim(e, d), g->f64, "");
  prn_v r = magnitude(e, d->args[0]);
  for (uint32_t i = 1; i < d->num_args; i++) {
    prn_v x = magnitude(e, d->args[i]);
    r = d->kind == PRN_DIM_MUL ? cg_fmul(g, r, x) : cg_fadd(g, r, x);
  }
  return r;
}

static void fail_if_large(prn_emit *e, prn_dim d) {
  prn_cg *g = e->g;
  if (d->kind == PRN_DIM_CONST) return;
  fail_if(
      g,
      cg_fcmp(g, LLVMRealOGE, magnitude(e, d), LLVMConstReal(g->f64, largest)),
      PRUNE_TOO_LARGE);
}

static prn_dim bytes_of(prn_emit *e, const prn_type *t) {
  return prn_dim_mul(e->ctx, prn_type_size(e->ctx, t),
                     prn_dim_const(e->ctx, prn_dtype_width(t->dtype)));
}

static void check_symbols(prn_emit *e, const prn_v *values) {
  prn_cg *g = e->g;
  for (unsigned i = 0; i < e->num_symbols; i++) {
    fail_if(g, cg_lt(g, values[i], cg_i64(g, 0)), PRUNE_BAD_DIMS);
    fail_if(g, cg_lt(g, cg_i64(g, largest_dim), values[i]), PRUNE_TOO_LARGE);
    prn_frame_set(e, prn_frame_symbol(e, i), values[i]);
  }
}

static void check_inputs(prn_emit *e, prn_v call) {
  prn_cg *g = e->g;
  for (unsigned i = 0; i < num_inputs(e); i++) {
    const prn_type *t = e->body->args[i]->type;
    for (int32_t k = 0; k < t->rank; k++)
      fail_if(g,
              cg_cmp(g, LLVMIntNE, given_dim(e, call, i, k),
                     prn_emit_dim(e, t->dims[k])),
              PRUNE_BAD_DIMS);
    fail_if_large(e, bytes_of(e, t));
  }
}

/* Pairs of sizes that lowering took for equal, or the first for 1. */
static void check_required(prn_emit *e) {
  prn_cg *g = e->g;
  const prn_attr *pairs = prn_op_attr(e->func, "requires");
  for (uint32_t i = 0; pairs && i + 1 < pairs->size; i += 2) {
    prn_v a = prn_emit_dim(e, pairs->list[i]->dim);
    prn_v b = prn_emit_dim(e, pairs->list[i + 1]->dim);
    prn_v differ = cg_cmp(g, LLVMIntNE, a, b);
    prn_v many = cg_cmp(g, LLVMIntNE, a, cg_i64(g, 1));
    fail_if(g, LLVMBuildAnd(g->b, differ, many, ""), PRUNE_BAD_DIMS);
  }
}

static void write_outputs(prn_emit *e, prn_v call) {
  prn_cg *g = e->g;
  for (unsigned i = num_inputs(e); i < e->body->num_args; i++) {
    const prn_type *t = e->body->args[i]->type;
    fail_if_large(e, bytes_of(e, t));
    if (t->rank == 0) continue;
    prn_v dims =
        get(g, g->ptr, descriptor(e, call, i), offsetof(prune_tensor, dims));
    prn_if some = prn_if_begin(g, LLVMBuildIsNotNull(g->b, dims, ""));
    for (int32_t k = 0; k < t->rank; k++)
      LLVMBuildStore(g->b, prn_emit_dim(e, t->dims[k]),
                     member(g, dims, (size_t)k * sizeof(int64_t)));
    prn_if_end(g, some);
  }
}

static prn_dim arena_of(const prn_emit *e) {
  const prn_attr *a = prn_op_attr(e->func, "arena");
  return a ? a->dim : prn_dim_const(e->ctx, 0);
}

static prn_v emit_bind(prn_emit *e) {
  prn_cg *g = e->g;
  prn_t params[2] = {g->ptr, g->ptr};
  prn_emit_scope s = prn_emit_begin(e, "bind", g->i32, params, 2);
  prn_v fn = g->fn, call = LLVMGetParam(fn, 0);
  e->frame = LLVMGetParam(fn, 1);
  size_t bytes = (e->num_symbols + 1) * sizeof(prn_v);
  prn_v *values = prn_arena_alloc(&g->arena, bytes);
  load_symbols(e, call, values);
  check_symbols(e, values);
  check_inputs(e, call);
  check_required(e);
  fail_if_large(e, arena_of(e));
  write_outputs(e, call);
  prn_v workers = prn_emit_dim(e, prn_dim_sym(e->ctx, PRN_STR("workers")));
  prn_v plan = prn_cg_round_up(g, prn_emit_dim(e, arena_of(e)), LINE);
  prn_v scratch = prn_cg_mul(g, workers, cg_i64(g, (int64_t)e->scratch));
  prn_v arena = get(g, g->ptr, call, offsetof(prune_call, arena));
  prn_frame_set(e, PRN_FRAME_ARENA, arena);
  prn_frame_set(e, PRN_FRAME_SCRATCH, cg_at(g, g->i8, arena, plan));
  prn_frame_set(e, PRN_FRAME_NEED, prn_cg_add(g, plan, scratch));
  prn_frame_set(e, PRN_FRAME_WORKERS, workers);
  prn_frame_set(e, PRN_FRAME_STATUS, cg_i64(g, PRUNE_OK));
  static const struct {
    unsigned word;
    size_t at;
  } copies[] = {
      {PRN_FRAME_WEIGHTS, offsetof(prune_call, weights)},
      {PRN_FRAME_FOR, offsetof(prune_call, parallel_for)},
      {PRN_FRAME_POOL, offsetof(prune_call, pool)},
  };
  for (size_t i = 0; i < PRN_COUNT(copies); i++)
    prn_frame_set(e, copies[i].word, get(g, g->ptr, call, copies[i].at));
  for (unsigned i = 0; i < e->body->num_args; i++)
    prn_frame_set(
        e, prn_frame_arg(i),
        get(g, g->ptr, descriptor(e, call, i), offsetof(prune_tensor, data)));
  LLVMBuildRet(g->b, cg_i32(g, PRUNE_OK));
  prn_emit_end(e, s);
  return fn;
}

/* ---- plan and run ---- */

static prn_v new_frame(prn_emit *e) {
  prn_t words = LLVMArrayType2(e->g->i64, prn_frame_symbol(e, e->num_symbols));
  return prn_cg_alloca(e->g, words, 8);
}

static prn_v emit_plan(prn_emit *e, prn_v check, prn_v bind) {
  prn_cg *g = e->g;
  prn_t params[2] = {g->ptr, g->ptr};
  prn_emit_scope s = prn_emit_begin(e, "plan", g->i32, params, 2);
  prn_v fn = g->fn, call = LLVMGetParam(fn, 0);
  e->frame = new_frame(e);
  try_call(g, check, &call, 1);
  try_call(g, bind, (prn_v[]){call, e->frame}, 2);
  prn_v out = LLVMGetParam(fn, 1);
  prn_if some = prn_if_begin(g, LLVMBuildIsNotNull(g->b, out, ""));
  LLVMBuildStore(g->b, prn_frame_get(e, PRN_FRAME_NEED, g->i64), out);
  prn_if_end(g, some);
  LLVMBuildRet(g->b, cg_i32(g, PRUNE_OK));
  prn_emit_end(e, s);
  return fn;
}

/* Data of argument i may only be missing when it has no elements. */
static void check_data(prn_emit *e, prn_v call, unsigned i) {
  prn_cg *g = e->g;
  const prn_type *t = e->body->args[i]->type;
  prn_v bytes = prn_emit_dim(e, bytes_of(e, t)), zero = cg_i64(g, 0);
  prn_v data = prn_frame_get(e, prn_frame_arg(i), g->ptr);
  fail_if(g,
          LLVMBuildAnd(g->b, is_null(g, data),
                       cg_cmp(g, LLVMIntNE, bytes, zero), ""),
          PRUNE_BAD_CALL);
  if (i < num_inputs(e)) return;
  prn_v size =
      get(g, g->i64, descriptor(e, call, i), offsetof(prune_tensor, size));
  fail_if(g, cg_cmp(g, LLVMIntULT, size, bytes), PRUNE_SMALL_OUTPUT);
}

static prn_status emit_run(prn_emit *e, prn_v check, prn_v bind, prn_v *out) {
  prn_cg *g = e->g;
  prn_emit_scope s = prn_emit_begin(e, "run", g->i32, &g->ptr, 1);
  prn_v call = LLVMGetParam(g->fn, 0);
  *out = g->fn;
  /* The frame is bound before the prologue of this function ends: every size
   * computed later reads symbols from it. */
  LLVMBasicBlockRef start = LLVMGetInsertBlock(g->b);
  LLVMInstructionEraseFromParent(LLVMGetBasicBlockTerminator(e->prologue));
  LLVMPositionBuilderAtEnd(g->b, e->prologue);
  e->frame = new_frame(e);
  try_call(g, check, &call, 1);
  try_call(g, bind, (prn_v[]){call, e->frame}, 2);
  e->prologue = LLVMGetInsertBlock(g->b);
  LLVMBuildBr(g->b, start);
  LLVMPositionBuilderAtEnd(g->b, start);
  prn_v need = prn_frame_get(e, PRN_FRAME_NEED, g->i64);
  prn_v size = get(g, g->i64, call, offsetof(prune_call, arena_size));
  prn_v arena = prn_frame_get(e, PRN_FRAME_ARENA, g->ptr);
  fail_if(g, cg_cmp(g, LLVMIntULT, size, need), PRUNE_SMALL_ARENA);
  fail_if(g,
          LLVMBuildAnd(g->b, is_null(g, arena),
                       cg_cmp(g, LLVMIntNE, need, cg_i64(g, 0)), ""),
          PRUNE_BAD_CALL);
  if (prn_op_int(e->func, "weights", 0) > 0)
    fail_if(g, is_null(g, prn_frame_get(e, PRN_FRAME_WEIGHTS, g->ptr)),
            PRUNE_BAD_CALL);
  for (unsigned i = 0; i < e->body->num_args; i++)
    check_data(e, call, i);
  prn_status status = prn_emit_ops(e, e->body);
  prn_v bad = prn_frame_get(e, PRN_FRAME_STATUS, g->i64);
  LLVMBuildRet(g->b, LLVMBuildTrunc(g->b, bad, g->i32, ""));
  prn_emit_end(e, s);
  return status;
}

/* ---- description ---- */

static prn_v private_global(prn_cg *g, prn_v init, const char *name) {
  prn_v v = LLVMAddGlobal(g->mod, LLVMTypeOf(init), name);
  LLVMSetInitializer(v, init);
  LLVMSetGlobalConstant(v, 1);
  LLVMSetLinkage(v, LLVMPrivateLinkage);
  return v;
}

static prn_v text(prn_cg *g, prn_str s) {
  prn_v init = LLVMConstStringInContext2(g->ctx, s.data, s.size, 0);
  return private_global(g, init, "text");
}

/* The prune_value of argument i. */
static prn_v describe(prn_emit *e, unsigned i) {
  prn_cg *g = e->g;
  unsigned n = num_inputs(e);
  const prn_attr *names =
      prn_op_attr(e->func, i < n ? "input_names" : "output_names");
  unsigned at = i < n ? i : i - n;
  const prn_type *t = e->body->args[i]->type;
  prn_v dims[PRN_EMIT_RANK], exprs[PRN_EMIT_RANK];
  for (int32_t k = 0; k < t->rank; k++) {
    int64_t c = -1;
    prn_strbuf b = {0};
    prn_dim_print(&b, t->dims[k]);
    (void)prn_dim_is_const(t->dims[k], &c);
    dims[k] = cg_i64(g, c);
    exprs[k] = text(g, prn_strbuf_view(&b));
    prn_strbuf_destroy(&b);
  }
  unsigned rank = (unsigned)t->rank;
  prn_v none = LLVMConstNull(g->ptr);
  prn_v fields[5] = {
      text(g, names && at < names->size ? names->strings[at] : PRN_STR("")),
      cg_i32(g, t->dtype), cg_i32(g, t->rank),
      rank ? private_global(g, LLVMConstArray2(g->i64, dims, rank), "dims")
           : none,
      rank ? private_global(g, LLVMConstArray2(g->ptr, exprs, rank), "names")
           : none};
  return LLVMConstStructInContext(g->ctx, fields, 5, 0);
}

static prn_v describe_all(prn_emit *e, unsigned begin, unsigned end) {
  prn_cg *g = e->g;
  if (begin == end) return LLVMConstNull(g->ptr);
  prn_v *rows = PRN_ARENA_ARRAY(&g->arena, prn_v, end - begin);
  for (unsigned i = begin; i < end; i++)
    rows[i - begin] = describe(e, i);
  return private_global(
      g, LLVMConstArray2(LLVMTypeOf(rows[0]), rows, end - begin), "values");
}

static void emit_model(prn_emit *e, prn_v plan, prn_v run,
                       bool weights_symbol) {
  prn_cg *g = e->g;
  unsigned n = num_inputs(e), all = e->body->num_args;
  int64_t size = prn_op_int(e->func, "weights", 0);
  prn_v weights = LLVMConstNull(g->ptr);
  char name[256];
  if (weights_symbol && size > 0) {
    snprintf(name, sizeof name, "%s_weights", e->prefix);
    weights = LLVMAddGlobal(g->mod, g->i8, name);
    LLVMSetGlobalConstant(weights, 1);
    LLVMSetVisibility(weights, LLVMHiddenVisibility);
  }
  prn_v fields[10] = {cg_i32(g, PRUNE_ABI),
                      cg_i32(g, (int32_t)n),
                      cg_i32(g, (int32_t)(all - n)),
                      describe_all(e, 0, n),
                      describe_all(e, n, all),
                      cg_i64(g, size),
                      weights,
                      plan,
                      run,
                      text(g, prn_str_from(g->target->cpu))};
  prn_v model = private_global(
      g, LLVMConstStructInContext(g->ctx, fields, 10, 0), "model");
  snprintf(name, sizeof name, "%s_model", e->prefix);
  prn_emit_scope s = prn_emit_begin(e, name, g->ptr, NULL, 0);
  LLVMSetLinkage(g->fn, LLVMExternalLinkage);
  LLVMBuildRet(g->b, model);
  prn_emit_end(e, s);
}

prn_status prn_emit_program(prn_emit *e, bool weights_symbol) {
  prn_v run = NULL, check = emit_check(e), bind = emit_bind(e);
  prn_v plan = emit_plan(e, check, bind);
  PRN_TRY(emit_run(e, check, bind, &run));
  emit_model(e, plan, run, weights_symbol);
  return PRN_OK;
}
