/* onnx -> nn: ensembles of decision trees.
 *
 * All trees go down one node a step, for all rows at once: which node each is
 * at is a tensor [rows, trees], and what a node tests and where it leads are
 * gathered from tables. A leaf leads to itself, so that after as many steps as
 * the deepest tree has, all are at a leaf. */
#include <math.h>

#include "passes/lower/onnx_to_nn.h"

enum { MAX_DEPTH = 256, MAX_TABLE = 1 << 26, MODES = 7, MEMBER = 6 };

typedef struct forest {
  const prn_op *op;
  prn_arena *arena;
  int64_t inner, leaves, trees, targets; /* nodes: inner ones, then leaves */
  int64_t depth, widest;                 /* elements of the largest set */
  const int64_t *roots;
  double *feature, *split, *missing, *yes, *no; /* of each node */
  int64_t *mode;
  bool has_mode[MODES], has_missing;
  double *members; /* [node, widest], NaN behind the last */
  double *weights; /* [leaf, target] */
} forest;

/* ---- reading ---- */

static prn_status ints_of(const forest *f, const char *name, int64_t n,
                          const int64_t **out) {
  size_t size;
  *out = prn_op_ints(f->op, name, &size);
  if (*out && (int64_t)size == n) return PRN_OK;
  return prn_op_error(f->op, "'%s' must have %lld entries, found %zu", name,
                      (long long)n, *out ? size : 0);
}

/* A tensor of n elements (-1: of any number) as doubles. */
static prn_status tensor_of(const forest *f, const char *name, int64_t n,
                            double **out, int64_t *out_n) {
  const prn_attr *a = prn_op_attr(f->op, name);
  const prn_tensor *t = a && a->kind == PRN_ATTR_TENSOR ? a->tensor : NULL;
  *out_n = t ? prn_tensor_count(t) : 0;
  if (!t || t->type->dtype == PRN_STRING || (n >= 0 && *out_n != n))
    return prn_op_error(f->op, "'%s' must have %lld numbers, found %lld", name,
                        (long long)n, (long long)*out_n);
  *out = PRN_ARENA_ARRAY(f->arena, double, *out_n + 1);
  prn_tensor_read_f64(t, 0, *out_n, *out);
  return PRN_OK;
}

/* Where the branches of a kind lead, as places in the tables. */
static prn_status read_branches(const forest *f, const char *ids,
                                const char *are_leaves, double *out) {
  const int64_t *to, *leaf;
  PRN_TRY(ints_of(f, ids, f->inner, &to));
  PRN_TRY(ints_of(f, are_leaves, f->inner, &leaf));
  for (int64_t i = 0; i < f->inner; i++) {
    int64_t n = leaf[i] ? f->leaves : f->inner;
    if (to[i] < 0 || to[i] >= n)
      return prn_op_error(f->op, "'%s' has %lld, expected one of %lld", ids,
                          (long long)to[i], (long long)n);
    out[i] = (double)(leaf[i] ? f->inner + to[i] : to[i]);
  }
  for (int64_t i = 0; i < f->leaves; i++)
    out[f->inner + i] = (double)(f->inner + i);
  return PRN_OK;
}

static prn_status read_modes(forest *f) {
  double *v;
  int64_t n;
  PRN_TRY(tensor_of(f, "nodes_modes", f->inner, &v, &n));
  f->mode = PRN_ARENA_ARRAY(f->arena, int64_t, f->inner + f->leaves + 1);
  for (int64_t i = 0; i < f->inner; i++) {
    if (!(v[i] >= 0 && v[i] < MODES))
      return prn_op_error(f->op, "'nodes_modes' has %g, expected 0 to 6", v[i]);
    f->mode[i] = (int64_t)v[i];
    f->has_mode[f->mode[i]] = true;
  }
  return PRN_OK;
}

/* Sets are listed in the order of their nodes, NaN behind each. */
static prn_status read_members(forest *f) {
  double *v;
  int64_t n, at = 0, size = 0, all = f->inner + f->leaves;
  if (!f->has_mode[MEMBER]) return PRN_OK;
  PRN_TRY(tensor_of(f, "membership_values", -1, &v, &n));
  for (int64_t i = 0; i < n; i++) {
    size = isnan(v[i]) ? 0 : size + 1;
    if (size > f->widest) f->widest = size;
  }
  if (f->widest == 0) f->widest = 1;
  if (all > MAX_TABLE / f->widest)
    return prn_o2n_unsupported(f->op, "sets of %lld", (long long)f->widest);
  f->members = PRN_ARENA_ARRAY(f->arena, double, all * f->widest);
  for (int64_t i = 0; i < all * f->widest; i++)
    f->members[i] = (double)NAN;
  for (int64_t i = 0; i < f->inner; i++) {
    if (f->mode[i] != MEMBER) continue;
    for (size = 0; at < n && !isnan(v[at]); at++)
      f->members[i * f->widest + size++] = v[at];
    if (at++ >= n)
      return prn_op_error(f->op, "'membership_values' has too few sets");
  }
  return PRN_OK;
}

/* The table of what a leaf gives to each target; `none` for the others. */
static prn_status read_leaves(forest *f, double none) {
  const int64_t *target;
  double *w;
  int64_t n;
  PRN_TRY(ints_of(f, "leaf_targetids", f->leaves, &target));
  PRN_TRY(tensor_of(f, "leaf_weights", f->leaves, &w, &n));
  if (f->leaves > MAX_TABLE / f->targets)
    return prn_o2n_unsupported(f->op, "%lld targets", (long long)f->targets);
  n = f->leaves * f->targets;
  f->weights = PRN_ARENA_ARRAY(f->arena, double, n + 1);
  for (int64_t i = 0; i < n; i++)
    f->weights[i] = none;
  for (int64_t i = 0; i < f->leaves; i++) {
    if (target[i] < 0 || target[i] >= f->targets)
      return prn_op_error(f->op, "'leaf_targetids' has %lld of %lld targets",
                          (long long)target[i], (long long)f->targets);
    f->weights[i * f->targets + target[i]] = w[i];
  }
  return PRN_OK;
}

/* How many steps lead from the roots to the last leaf. */
static prn_status measure(forest *f) {
  size_t all = (size_t)(f->inner + f->leaves);
  bool *now = PRN_ARENA_ARRAY(f->arena, bool, all + 1);
  bool *next = PRN_ARENA_ARRAY(f->arena, bool, all + 1), any = true;
  for (int64_t i = 0; i < f->trees; i++) {
    if (f->roots[i] < 0 || f->roots[i] >= f->inner)
      return prn_op_error(f->op, "'tree_roots' has %lld of %lld nodes",
                          (long long)f->roots[i], (long long)f->inner);
    now[f->roots[i]] = true;
  }
  for (f->depth = 0; any; f->depth++) {
    if (f->depth > MAX_DEPTH)
      return prn_o2n_unsupported(
          f->op, "trees that are deeper than %d nodes, or have a cycle",
          (int)MAX_DEPTH);
    any = false;
    for (int64_t i = 0; i < f->inner; i++) {
      if (!now[i]) continue;
      now[i] = false;
      next[(int64_t)f->yes[i]] = next[(int64_t)f->no[i]] = true;
    }
    for (int64_t i = 0; i < f->inner; i++)
      any |= next[i];
    bool *swap = now;
    now = next;
    next = swap;
  }
  return PRN_OK;
}

static prn_status read_forest(forest *f, double none) {
  size_t n, size;
  const int64_t *feature, *missing;
  double *split;
  int64_t count;
  const prn_attr *leaf = prn_op_attr(f->op, "leaf_weights");
  feature = prn_op_ints(f->op, "nodes_featureids", &n);
  f->roots = prn_op_ints(f->op, "tree_roots", &size);
  f->inner = (int64_t)n;
  f->trees = (int64_t)size;
  f->targets = prn_op_int(f->op, "n_targets", 0);
  if (leaf && leaf->kind == PRN_ATTR_TENSOR)
    f->leaves = prn_tensor_count(leaf->tensor);
  if (!n || !size || f->leaves < 1 || f->targets < 1)
    return prn_op_error(f->op, "expects nodes, leaves, roots and targets");
  size_t all = n + (size_t)f->leaves;
  f->feature = PRN_ARENA_ARRAY(f->arena, double, all);
  f->split = PRN_ARENA_ARRAY(f->arena, double, all);
  f->missing = PRN_ARENA_ARRAY(f->arena, double, all);
  f->yes = PRN_ARENA_ARRAY(f->arena, double, all);
  f->no = PRN_ARENA_ARRAY(f->arena, double, all);
  PRN_TRY(tensor_of(f, "nodes_splits", f->inner, &split, &count));
  missing = prn_op_ints(f->op, "nodes_missing_value_tracks_true", &size);
  for (size_t i = 0; i < n; i++) {
    f->feature[i] = (double)feature[i];
    f->split[i] = split[i];
    if (size == n) f->missing[i] = missing[i] != 0;
    f->has_missing |= f->missing[i] > 0;
  }
  PRN_TRY(read_branches(f, "nodes_truenodeids", "nodes_trueleafs", f->yes));
  PRN_TRY(read_branches(f, "nodes_falsenodeids", "nodes_falseleafs", f->no));
  PRN_TRY(read_modes(f));
  PRN_TRY(read_members(f));
  PRN_TRY(read_leaves(f, none));
  return measure(f);
}

/* ---- walking ---- */

static prn_value *table(prn_o2n *e, prn_dtype dtype, const double *v,
                        int64_t rows, int64_t columns) {
  int64_t dims[2] = {rows, columns};
  int32_t rank = columns ? 2 : 1;
  const prn_type *t = prn_type_static(e->ctx, dtype, rank, dims);
  return prn_nn_constant(&e->b, prn_nn_tensor(e->ctx, t, v));
}

/* What the table says of the node that each tree is at. */
static prn_value *look_up(prn_o2n *e, const forest *f, prn_dtype dtype,
                          const double *v, prn_value *at) {
  prn_value *t = table(e, dtype, v, f->inner + f->leaves, 0);
  return prn_nn_gather(&e->b, t, at, 0);
}

/* Whether x is in the set of the node. */
static prn_value *is_member(prn_o2n *e, const forest *f, prn_value *x,
                            prn_value *at) {
  prn_value *sets =
      table(e, x->type->dtype, f->members, f->inner + f->leaves, f->widest);
  prn_dim dims[3] = {x->type->dims[0], x->type->dims[1],
                     prn_dim_const(e->ctx, 1)};
  int64_t last = 2;
  sets = prn_nn_gather(&e->b, sets, at, 0);
  prn_value *each = prn_nn_reshape_dims(&e->b, x, 3, dims);
  each = prn_nn_binary(&e->b, PRN_SCALAR_eq, each, sets);
  each = prn_nn_cast(&e->b, each, PRN_I32);
  each = prn_nn_reduce(&e->b, "max", each, &last, 1);
  each = prn_nn_reshape_dims(&e->b, each, 2, dims);
  return prn_nn_with(&e->b, PRN_SCALAR_gt, each, 0);
}

/* Whether x passes the test of the node. */
static prn_value *test(prn_o2n *e, const forest *f, prn_value *x,
                       prn_value *at) {
  static const prn_scalar compare[MEMBER] = {PRN_SCALAR_le, PRN_SCALAR_lt,
                                             PRN_SCALAR_ge, PRN_SCALAR_gt,
                                             PRN_SCALAR_eq, PRN_SCALAR_ne};
  prn_value *split = look_up(e, f, x->type->dtype, f->split, at);
  prn_value *mode = NULL, *passed = NULL;
  double *modes = PRN_ARENA_ARRAY(f->arena, double, f->inner + f->leaves);
  for (int64_t i = 0; i < f->inner; i++)
    modes[i] = (double)f->mode[i];
  for (int m = 0; m < MODES; m++) {
    if (!f->has_mode[m]) continue;
    prn_value *one = m == MEMBER ? is_member(e, f, x, at)
                                 : prn_nn_binary(&e->b, compare[m], x, split);
    if (!passed) {
      passed = one;
      continue;
    }
    if (!mode) mode = look_up(e, f, PRN_I32, modes, at);
    prn_value *this = prn_nn_with(&e->b, PRN_SCALAR_eq, mode, m);
    passed = prn_nn_select(&e->b, this, one, passed);
  }
  if (!f->has_missing) return passed;
  prn_value *nan = prn_nn_binary(&e->b, PRN_SCALAR_ne, x, x);
  prn_value *tracks = look_up(e, f, PRN_I32, f->missing, at);
  tracks = prn_nn_with(&e->b, PRN_SCALAR_gt, tracks, 0);
  nan = prn_nn_binary(&e->b, PRN_SCALAR_and, nan, tracks);
  return prn_nn_binary(&e->b, PRN_SCALAR_or, passed, nan);
}

static prn_value *step(prn_o2n *e, const forest *f, prn_value *x,
                       prn_value *at) {
  prn_value *feature = look_up(e, f, PRN_I64, f->feature, at);
  x = prn_nn_gather_elements(&e->b, x, feature, 1);
  prn_value *yes = look_up(e, f, PRN_I64, f->yes, at);
  prn_value *no = look_up(e, f, PRN_I64, f->no, at);
  return prn_nn_select(&e->b, test(e, f, x, at), yes, no);
}

/* ---- the operator ---- */

enum { AVERAGE, SUM, MIN, MAX, AGGREGATES };
enum { NONE, SOFTMAX, LOGISTIC };

/* What is neither less nor more than anything of the type. */
static double neutral(int64_t aggregate, prn_dtype dtype) {
  double most = dtype == PRN_F64   ? 0x1.fffffffffffffp1023
                : dtype == PRN_F32 ? 0x1.fffffep127
                                   : 65504;
  return aggregate == MIN ? most : aggregate == MAX ? -most : 0;
}

static prn_status check_features(const forest *f, const prn_type *x) {
  int64_t n;
  if (!prn_dim_is_const(x->dims[1], &n)) return PRN_OK; /* the run will tell */
  for (int64_t i = 0; i < f->inner; i++)
    if (!(f->feature[i] >= 0 && f->feature[i] < (double)n))
      return prn_op_error(f->op, "'nodes_featureids' has %g, of %lld features",
                          f->feature[i], (long long)n);
  return PRN_OK;
}

static prn_status lower_trees(prn_o2n *e, prn_op *op) {
  static const char *const reduces[AGGREGATES] = {"sum", "sum", "min", "max"};
  prn_value *x = prn_o2n_in(e, op, 0);
  forest f = {.op = op, .arena = &e->b.m->arena};
  int64_t aggregate = prn_op_int(op, "aggregate_function", SUM), trees = 1;
  int64_t post = prn_op_int(op, "post_transform", NONE);
  if (x->type->rank != 2)
    return prn_op_error(op, "expects rows of features, found %s",
                        prn_type_str(e->ctx, x->type));
  if (aggregate < 0 || aggregate >= AGGREGATES || post < NONE ||
      post > LOGISTIC)
    return prn_o2n_unsupported(op,
                               "aggregate_function %lld, post_transform "
                               "%lld",
                               (long long)aggregate, (long long)post);
  prn_dtype dtype = x->type->dtype;
  PRN_TRY(read_forest(&f, neutral(aggregate, dtype)));
  PRN_TRY(check_features(&f, x->type));
  prn_dim dims[2] = {x->type->dims[0], prn_dim_const(e->ctx, f.trees)};
  const prn_type *places = prn_type_tensor(e->ctx, PRN_I64, 2, dims);
  double *roots = PRN_ARENA_ARRAY(f.arena, double, f.trees);
  for (int64_t i = 0; i < f.trees; i++)
    roots[i] = (double)f.roots[i];
  prn_value *at = table(e, PRN_I64, roots, 1, f.trees);
  at = prn_nn_broadcast(&e->b, at, places);
  for (int64_t i = 0; i < f.depth; i++)
    at = step(e, &f, x, at);
  at = prn_nn_with(&e->b, PRN_SCALAR_sub, at, (double)f.inner);
  prn_value *w = table(e, dtype, f.weights, f.leaves, f.targets);
  prn_value *y = prn_nn_gather(&e->b, w, at, 0);
  y = prn_nn_reduce(&e->b, reduces[aggregate], y, &trees, 1);
  dims[1] = prn_dim_const(e->ctx, f.targets);
  y = prn_nn_reshape_dims(&e->b, y, 2, dims);
  if (aggregate == AVERAGE)
    y = prn_nn_with(&e->b, PRN_SCALAR_div, y, (double)f.trees);
  if (post == SOFTMAX) y = prn_nn_softmax(&e->b, y, 1, false);
  if (post == LOGISTIC) y = prn_nn_unary(&e->b, PRN_SCALAR_sigmoid, y);
  return prn_o2n_set(e, op, 0, y);
}

const prn_o2n_row prn_o2n_trees[] = {
    {"ai.onnx.ml:TreeEnsemble", lower_trees, 0, 0},
    {NULL, NULL, 0, 0},
};
