/* bind-dims: gives open dimensions a size.
 *
 * A symbol is replaced wherever it occurs in a type. A dimension of an input
 * may also be named by the input and its place, as in "image[0]"; when it is a
 * symbol, that symbol is bound, and when it has a size already it is left. An
 * input of which not even the rank is known has as many dimensions as are
 * named. */
#include <string.h>

#include "passes/pass.h"

#define OPTIONS(X) \
  X(STRINGS, dims, REQUIRED, "", "What to bind: \"batch=1\", \"image[0]=1\"")
#define STATS(X) X(bound, "types that changed")
PRN_PASS_TABLES;

typedef struct binding {
  prn_str name;
  int64_t axis; /* -1: a symbol */
  prn_dim size;
  bool used;
} binding;

typedef struct bindings {
  prn_ctx *ctx;
  struct stats *stats;
  binding *at;
  size_t size;
} bindings;

static prn_status parse(const prn_pass_env *env, prn_str text, binding *b) {
  const char *eq = memrchr(text.data, '=', text.size);
  int64_t size;
  prn_str value = {0};
  if (eq) value = (prn_str){eq + 1, text.size - (size_t)(eq + 1 - text.data)};
  if (!eq || !prn_str_number(value, &size))
    return prn_pass_error(env, "'%.*s' is not NAME=SIZE or INPUT[AXIS]=SIZE",
                          PRN_STR_ARG(text));
  b->name = (prn_str){text.data, (size_t)(eq - text.data)};
  if (prn_str_ends(b->name, "<"))
    return prn_pass_error(env,
                          "'%.*s': bounds are not supported; an open size "
                          "needs none, the library tells its arena's size "
                          "for the sizes given",
                          PRN_STR_ARG(text));
  b->axis = -1;
  b->size = prn_dim_const(env->ctx, size);
  const char *open = memrchr(b->name.data, '[', b->name.size);
  if (open && prn_str_ends(b->name, "]")) {
    size_t skip = (size_t)(open + 1 - b->name.data);
    prn_str axis = {open + 1, b->name.size - skip - 1};
    if (prn_str_number(axis, &b->axis))
      b->name.size = skip - 1;
    else
      b->axis = -1;
  }
  return PRN_OK;
}

/* The first binding of a symbol counts; all of them are of use. */
static prn_dim lookup(void *user, prn_str name) {
  bindings *all = user;
  prn_dim size = NULL;
  for (size_t i = 0; i < all->size; i++)
    if (all->at[i].axis < 0 && prn_str_eq(all->at[i].name, name)) {
      all->at[i].used = true;
      if (!size) size = all->at[i].size;
    }
  return size;
}

enum { MAX_RANK = 255 };

static bool is_named(const bindings *all, prn_str input, int64_t axis) {
  for (size_t k = 0; k < all->size; k++)
    if (all->at[k].axis == axis && prn_str_eq(all->at[k].name, input))
      return true;
  return false;
}

/* Gives an input of unknown rank the dimensions that are named. */
static void bind_rank(const bindings *all, prn_value *v) {
  int32_t rank = 0;
  prn_dim dims[MAX_RANK];
  while (rank < MAX_RANK && is_named(all, v->name, rank))
    dims[rank++] = prn_dim_unknown(all->ctx);
  if (rank) v->type = prn_type_tensor(all->ctx, v->type->dtype, rank, dims);
}

static void bind_value(bindings *all, prn_value *v, bool input) {
  if (input && v->type->kind == PRN_TYPE_TENSOR && v->type->rank < 0)
    bind_rank(all, v);
  const prn_type *t = v->type;
  prn_dim dims[MAX_RANK];
  if (t->kind != PRN_TYPE_TENSOR || t->rank <= 0 || t->rank > MAX_RANK) return;
  for (int32_t i = 0; i < t->rank; i++) {
    dims[i] = prn_dim_substitute(all->ctx, t->dims[i], lookup, all);
    for (size_t k = 0; input && k < all->size; k++)
      if (all->at[k].axis == i && prn_str_eq(all->at[k].name, v->name)) {
        all->at[k].used = true;
        if (!prn_dim_known(dims[i])) dims[i] = all->at[k].size;
      }
  }
  const prn_type *to = prn_type_tensor(all->ctx, t->dtype, t->rank, dims);
  if (t->sparsity.kind != PRN_SPARSE_NONE)
    to = prn_type_with_sparsity(all->ctx, to, t->sparsity);
  if (to != t) all->stats->bound++;
  v->type = to;
}

static prn_status bind_op(void *user, prn_op *op) {
  bindings *all = user;
  for (uint32_t i = 0; i < op->num_results; i++)
    bind_value(all, &op->results[i], false);
  for (uint32_t k = 0; k < op->num_blocks; k++)
    for (uint32_t i = 0; i < op->blocks[k]->num_args; i++)
      bind_value(all, op->blocks[k]->args[i],
                 prn_op_has_trait(op, PRN_TOP_LEVEL));
  return PRN_OK;
}

/* Turns "input[axis]" into the symbol that stands there, if one does. */
static void name_symbols(bindings *all, const prn_module *m) {
  PRN_EACH_OP(top, m->body) {
    const prn_block *body = prn_op_block(top, "body");
    for (uint32_t i = 0; body && i < body->num_args; i++)
      for (size_t k = 0; k < all->size; k++) {
        binding *b = &all->at[k];
        const prn_value *v = body->args[i];
        if (b->axis < 0 || !prn_str_eq(b->name, v->name)) continue;
        if (b->axis >= v->type->rank ||
            v->type->dims[b->axis]->kind != PRN_DIM_SYM)
          continue;
        b->name = v->type->dims[b->axis]->name;
        b->axis = -1;
      }
  }
}

static prn_status run(prn_pass_env *env, prn_module *m) {
  const struct opts *o = env->opts;
  bindings all = {.ctx = env->ctx, .stats = env->stats, .size = o->dims.size};
  prn_status status = PRN_OK;
  all.at = PRN_ARENA_ARRAY(env->scratch, binding, all.size);
  for (size_t i = 0; i < all.size; i++)
    if (parse(env, o->dims.at[i], &all.at[i]) != PRN_OK) status = PRN_FAIL;
  PRN_TRY(status);
  name_symbols(&all, m);
  PRN_TRY(prn_walk(m->body, true, bind_op, &all));
  for (size_t i = 0; i < all.size; i++)
    if (!all.at[i].used)
      status = prn_pass_error(env, "the model has no open dimension '%.*s'",
                              PRN_STR_ARG(o->dims.at[i]));
  return status;
}

const prn_pass prn_pass_bind_dims = {
    .name = "bind-dims",
    .summary = "Give open dimensions a size",
    .reads = PRN_ANY_DIALECT,
    .writes = PRN_ANY_DIALECT,
    PRN_PASS_COMMON,
};
