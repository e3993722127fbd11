/* Shape inference: the driver. Merging of types is in ir/infer_type.c, calls
 * of model-local functions in ir/infer_call.c, the operators' hooks in
 * ir/onnx/. */
#include <math.h>
#include <string.h>

#include "ir/infer_env.h"
#include "ir/rewrite.h"

prn_ctx *prn_infer_ctx(prn_infer *env) { return env->ctx; }
prn_module *prn_infer_module_of(prn_infer *env) { return env->module; }
prn_arena *prn_infer_scratch(prn_infer *env) { return &env->scratch; }

/* ---- changes ---- */

static void log_change(prn_infer *env, prn_infer_change c) {
  if (!env->trying) return;
  if (env->log_size == env->log_cap) {
    env->log_cap = env->log_cap ? env->log_cap * 2 : 64;
    env->log =
        prn_realloc(env->log, prn_array_size(sizeof *env->log, env->log_cap));
  }
  env->log[env->log_size++] = c;
}

void prn_infer_set_type(prn_infer *env, prn_value *v, const prn_type *type) {
  if (v->type == type) return;
  log_change(env, (prn_infer_change){v, v->type, NULL});
  v->type = type;
}

void prn_infer_rollback(prn_infer *env, size_t mark) {
  while (env->log_size > mark) {
    prn_infer_change *c = &env->log[--env->log_size];
    if (c->type)
      c->value->type = c->type;
    else
      *prn_ptrmap_slot(&env->content, c->value) = (void *)(uintptr_t)c->content;
  }
}

static void mute(void *user, const prn_diag *d) {
  (void)user;
  (void)d;
}

size_t prn_infer_try_begin(prn_infer *env, prn_diag_sink *saved) {
  prn_diag_sink *sink = prn_ctx_diags(env->ctx);
  *saved = *sink;
  sink->handler = mute;
  env->trying++;
  env->guesses++;
  return env->log_size;
}

void prn_infer_try_end(prn_infer *env, size_t mark,
                       const prn_diag_sink *saved) {
  prn_diag_sink *sink = prn_ctx_diags(env->ctx);
  sink->handler = saved->handler;
  sink->errors = saved->errors;
  sink->warnings = saved->warnings;
  prn_infer_rollback(env, mark);
  env->trying--;
  env->guesses--;
}

uint32_t prn_infer_guesses(const prn_infer *env) { return env->guesses; }

/* ---- results ---- */

/* The number of elements of a static type must fit: every later size does. */
static bool countable(const prn_type *t) {
  int64_t n;
  return t->kind != PRN_TYPE_TENSOR || !prn_type_is_static(t) ||
         prn_type_count(t, &n);
}

prn_status prn_infer_result(prn_infer *env, prn_op *op, uint32_t i,
                            const prn_type *type) {
  prn_value *v = prn_op_result(op, i);
  const prn_type *merged;
  if (!v || v->type->kind == PRN_TYPE_NONE) return PRN_OK;
  if (!countable(type))
    return prn_op_error(op,
                        "result %s would be %s, which has a negative size or "
                        "more elements than can be counted",
                        prn_value_str(v), prn_type_str(env->ctx, type));
  if (!prn_infer_merge(env, v->type, type, &merged))
    return prn_op_error(op, "result %s is declared %s, but is %s",
                        prn_value_str(v), prn_type_str(env->ctx, v->type),
                        prn_type_str(env->ctx, type));
  prn_infer_set_type(env, v, merged);
  return PRN_OK;
}

prn_status prn_infer_arg(prn_infer *env, prn_value *arg, const prn_type *type,
                         bool merge) {
  if (merge && !prn_infer_merge(env, arg->type, type, &type)) return PRN_FAIL;
  prn_infer_set_type(env, arg, type);
  return PRN_OK;
}

/* ---- contents ---- */

static const prn_content *content_of(prn_infer *env, const prn_value *v) {
  return prn_ptrmap_get(&env->content, v);
}

void prn_infer_set_value_content(prn_infer *env, prn_value *v,
                                 const prn_dim *elems, size_t n) {
  if (n > PRN_INFER_MAX_CONTENT) return;
  prn_content *c = PRN_ARENA_NEW(&env->kept, prn_content);
  c->n = n;
  c->elems = prn_arena_copy(&env->kept, elems, n * sizeof *elems);
  log_change(env, (prn_infer_change){v, NULL, content_of(env, v)});
  *prn_ptrmap_slot(&env->content, v) = c;
}

void prn_infer_set_content(prn_infer *env, prn_op *op, uint32_t i,
                           const prn_dim *elems, size_t n) {
  prn_value *v = prn_op_result(op, i);
  if (v) prn_infer_set_value_content(env, v, elems, n);
}

static prn_dim integer_dim(prn_infer *env, double v) {
  if (v != floor(v) || fabs(v) > 9007199254740992.0)
    return prn_dim_unknown(env->ctx);
  return prn_dim_const(env->ctx, (int64_t)v);
}

static void read_constant(prn_infer *env, const prn_value *v,
                          const prn_tensor *t) {
  prn_dim elems[PRN_INFER_MAX_CONTENT];
  int64_t ints[PRN_INFER_MAX_CONTENT];
  double floats[PRN_INFER_MAX_CONTENT];
  int64_t n = prn_tensor_count(t);
  prn_dtype dt = t->type->dtype;
  if (n > PRN_INFER_MAX_CONTENT || (n && !t->data)) return;
  if (prn_dtype_is_int(dt) || dt == PRN_BOOL) {
    prn_tensor_read_i64(t, 0, n, ints);
    for (int64_t i = 0; i < n; i++)
      elems[i] = prn_dim_const(env->ctx, ints[i]);
  } else if (prn_dtype_is_float(dt)) {
    prn_tensor_read_f64(t, 0, n, floats);
    for (int64_t i = 0; i < n; i++)
      elems[i] = integer_dim(env, floats[i]);
  } else {
    return;
  }
  prn_infer_set_value_content(env, &v->def->results[v->index], elems,
                              (size_t)n);
}

const prn_dim *prn_infer_content(prn_infer *env, const prn_value *v,
                                 size_t *n) {
  *n = 0;
  if (!v) return NULL;
  const prn_content *c = content_of(env, v);
  if (!c) {
    const prn_tensor *t = prn_value_fixed(v);
    if (!t) return NULL;
    read_constant(env, v, t);
    c = content_of(env, v);
    if (!c) return NULL;
  }
  *n = c->n;
  return c->elems;
}

void prn_infer_note_size(prn_infer *env, prn_dim d) {
  if (d->num_args) *prn_ptrmap_slot(&env->sizes, d) = env;
}

bool prn_infer_not_negative(prn_infer *env, prn_dim d) {
  switch (d->kind) {
  case PRN_DIM_UNKNOWN:
    return false;
  case PRN_DIM_CONST:
    return d->value >= 0;
  case PRN_DIM_SYM:
    return true;
  default:
    break;
  }
  if (prn_ptrmap_has(&env->sizes, d)) return true;
  bool any = d->kind == PRN_DIM_MAX;
  for (uint32_t i = 0; i < d->num_args; i++)
    if (prn_infer_not_negative(env, d->args[i]) == any) return any;
  return !any;
}

/* ---- the walk ---- */

/* A result that no hook typed has at least the element type of the operands
 * that share its type variable. */
static const prn_slot_info *slot_at(const prn_slot_info *s, uint32_t i) {
  for (; s->kind != PRN_SLOT_END; s++)
    if (i == 0 || s->kind == PRN_SLOT_VAR)
      return s;
    else
      i--;
  return NULL;
}

static prn_dtype var_dtype(const prn_op *op, prn_type_var var) {
  for (uint32_t i = 0; i < op->num_operands; i++) {
    const prn_value *v = op->operands[i].value;
    const prn_slot_info *s = slot_at(op->opname->info->in, i);
    if (!s) break;
    if (v && s->var == var && v->type->kind == PRN_TYPE_TENSOR)
      return v->type->dtype;
  }
  return PRN_DTYPE_NONE;
}

static void infer_from_vars(prn_infer *env, prn_op *op) {
  for (uint32_t i = 0; i < op->num_results; i++) {
    prn_value *r = &op->results[i];
    if (r->type->kind != PRN_TYPE_ANY) continue;
    const prn_slot_info *s = slot_at(op->opname->info->out, i);
    if (!s) break;
    if (s->var == PRN_TV_ANY || s->cls == PRN_CLASS_ANY ||
        s->cls == PRN_CLASS_SEQ)
      continue;
    prn_dtype dt = var_dtype(op, s->var);
    if (dt != PRN_DTYPE_NONE)
      prn_infer_set_type(env, r, prn_type_unranked(env->ctx, dt));
  }
}

static prn_status run_hook(prn_infer *env, prn_op *op) {
  const prn_op_info *info = op->opname->info;
  prn_status status = PRN_OK;
  if (info && info->infer) return info->infer(env, op);
  for (uint32_t i = 0; i < op->num_blocks; i++)
    if (prn_infer_block(env, op->blocks[i]) != PRN_OK) status = PRN_FAIL;
  if (!info && status == PRN_OK) status = prn_infer_call(env, op);
  return status;
}

/* In the body of a function an attribute may be one of the call's: for the
 * hook the operation has the value that the call gives it. */
static prn_status infer_op(prn_infer *env, prn_op *op) {
  prn_named_attr *attrs = op->attrs;
  uint32_t num_attrs = op->num_attrs;
  bool bound = prn_op_has_parameters(op);
  if (bound) prn_infer_bind_attrs(env, op);
  prn_status status = run_hook(env, op);
  if (bound) {
    op->attrs = attrs;
    op->num_attrs = num_attrs;
  }
  if (op->opname->info && status == PRN_OK) infer_from_vars(env, op);
  if (env->depth == 1) prn_arena_reset(&env->scratch);
  return status;
}

prn_status prn_infer_block(prn_infer *env, prn_block *b) {
  prn_status status = PRN_OK;
  if (env->depth == PRN_INFER_MAX_DEPTH)
    return prn_op_error(b->parent, "blocks are nested more than %d deep",
                        (int)PRN_INFER_MAX_DEPTH);
  env->depth++;
  PRN_EACH_OP(op, b)
    if (infer_op(env, op) != PRN_OK) status = PRN_FAIL;
  env->depth--;
  return status;
}

prn_status prn_infer_quiet_block(prn_infer *env, prn_block *b) {
  prn_diag_sink *sink = prn_ctx_diags(env->ctx), saved = *sink;
  sink->handler = mute;
  prn_status status = prn_infer_block(env, b);
  sink->handler = saved.handler;
  sink->errors = saved.errors;
  sink->warnings = saved.warnings;
  return status;
}

void prn_infer_set_impossible(prn_infer *env, const prn_block *b) {
  *prn_ptrmap_slot(&env->impossible, b) = env;
}

bool prn_infer_impossible(const prn_infer *env, const prn_block *b) {
  return prn_ptrmap_has(&env->impossible, b);
}

/* ---- the module ---- */

static void collect_symbols(prn_map *names, prn_dim d) {
  if (d->kind == PRN_DIM_SYM) (void)prn_map_slot(names, d->name);
  for (uint32_t i = 0; i < d->num_args; i++)
    collect_symbols(names, d->args[i]);
}

static void collect_type_symbols(prn_map *names, const prn_type *t) {
  if (t->elem) collect_type_symbols(names, t->elem);
  for (int32_t i = 0; i < t->rank && t->dims; i++)
    collect_symbols(names, t->dims[i]);
}

static prn_status collect_op_symbols(void *user, prn_op *op) {
  for (uint32_t i = 0; i < op->num_results; i++)
    collect_type_symbols(user, op->results[i].type);
  for (uint32_t k = 0; k < op->num_blocks; k++)
    for (uint32_t i = 0; i < op->blocks[k]->num_args; i++)
      collect_type_symbols(user, op->blocks[k]->args[i]->type);
  return PRN_OK;
}

static prn_dim fresh_symbol(prn_infer *env, prn_map *names, uint32_t *next) {
  char name[16];
  for (;;) {
    int n = snprintf(name, sizeof name, "d%u", (unsigned)(*next)++);
    prn_dim d = prn_dim_sym(env->ctx, (prn_str){name, (size_t)n});
    if (!prn_map_find(names, d->name)) return d;
  }
}

static bool has_unknown(const prn_type *t) {
  for (int32_t i = 0; t->kind == PRN_TYPE_TENSOR && i < t->rank; i++)
    if (!prn_dim_known(t->dims[i])) return true;
  return false;
}

static void assign_symbols(prn_infer *env, prn_op *graph, prn_block *b) {
  prn_map names = {0};
  uint32_t next = 0;
  for (uint32_t k = 0; k < b->num_args; k++) {
    prn_value *arg = b->args[k];
    if (!has_unknown(arg->type)) continue;
    if (!names.size)
      (void)!prn_walk(graph->block, true, collect_op_symbols, &names);
    size_t rank = (size_t)arg->type->rank;
    prn_dim *dims = PRN_ARENA_ARRAY(&env->scratch, prn_dim, rank);
    for (size_t i = 0; i < rank; i++)
      dims[i] = prn_dim_known(arg->type->dims[i])
                    ? arg->type->dims[i]
                    : fresh_symbol(env, &names, &next);
    const prn_type *t =
        prn_type_tensor(env->ctx, arg->type->dtype, arg->type->rank, dims);
    prn_infer_set_type(
        env, arg, prn_type_with_sparsity(env->ctx, t, arg->type->sparsity));
  }
  prn_map_destroy(&names);
}

static void note_function(prn_infer *env, prn_op *op) {
  prn_strbuf key = {0};
  prn_strbuf_str(&key, prn_op_string(op, "domain", ""));
  prn_strbuf_char(&key, '\n');
  prn_strbuf_str(&key, prn_op_string(op, "name", ""));
  prn_strbuf_char(&key, '\n');
  prn_strbuf_str(&key, prn_op_string(op, "overload", ""));
  *prn_map_slot(&env->functions, prn_intern(env->ctx, prn_strbuf_view(&key))) =
      op;
  prn_strbuf_destroy(&key);
}

static prn_status infer_top(prn_infer *env, bool symbols) {
  prn_status status = PRN_OK;
  PRN_EACH_OP(op, env->module->body)
    if (prn_op_is(op, PRN_OP_onnx_function)) note_function(env, op);
  PRN_EACH_OP(op, env->module->body) {
    if (prn_op_is(op, PRN_OP_onnx_function)) continue;
    for (uint32_t k = 0; k < op->num_blocks; k++) {
      prn_block *b = op->blocks[k];
      if (symbols) assign_symbols(env, op, b);
      for (uint32_t i = 0; i < b->num_args; i++)
        collect_type_symbols(&env->inputs, b->args[i]->type);
      if (prn_infer_block(env, b) != PRN_OK) status = PRN_FAIL;
    }
  }
  return status;
}

static prn_infer *create(prn_module *m) {
  prn_infer *env = prn_alloc(sizeof *env);
  *env = (prn_infer){.ctx = m->ctx, .module = m};
  return env;
}

void prn_infer_free(prn_infer *env) {
  if (!env) return;
  prn_arena_destroy(&env->scratch);
  prn_arena_destroy(&env->kept);
  prn_ptrmap_destroy(&env->content);
  prn_ptrmap_destroy(&env->sizes);
  prn_ptrmap_destroy(&env->active);
  prn_ptrmap_destroy(&env->impossible);
  prn_map_destroy(&env->inputs);
  prn_map_destroy(&env->functions);
  prn_map_destroy(&env->calls);
  prn_free(env->log);
  prn_free(env);
}

prn_status prn_infer_run(prn_module *m, bool assign, prn_infer **out_env) {
  *out_env = create(m);
  return infer_top(*out_env, assign);
}

prn_status prn_infer_module(prn_module *m, bool assign) {
  prn_infer *env;
  prn_status status = prn_infer_run(m, assign, &env);
  prn_infer_free(env);
  return status;
}

prn_status prn_infer_check(prn_module *m) {
  prn_infer *env = create(m);
  env->trying = 1;
  prn_status status = infer_top(env, true);
  prn_infer_rollback(env, 0);
  prn_infer_free(env);
  return status;
}
