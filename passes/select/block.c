/* select-block: tiles of smallest norm go.
 *
 * Matrices are cut into tiles of `rows` output units by `cols` inputs (smaller
 * at the edges). Weights that are no matrices, such as convolutions with a
 * window, are left alone. */
#include "passes/select/select.h"

#define OPTIONS(X)                                                    \
  X(INT, rows, 1, "[1,65536]", "Output units in a tile")              \
  X(INT, cols, 4, "[1,65536]", "Inputs in a tile")                    \
  X(FLOAT, sparsity, 0.5, "[0,1)", "Fraction of the tiles that goes") \
  X(ENUM, scope, tensor, "tensor|global",                             \
    "Rank the tiles of each weight, or of all weights together")
#define STATS(X)                     \
  X(weights, "weights given a mask") \
  X(skipped, "weights left alone")   \
  X(tiles, "tiles removed")          \
  X(pruned, "entries pruned by this pass")
PRN_PASS_TABLES;

/* A weight's tiles in its memory: [outer, a, b] in tiles of ta x tb. */
typedef struct tiling {
  const prn_target *t;
  int64_t a, b, ta, tb;
  int64_t down, across; /* tiles of a matrix */
  prn_groups groups;
  double *scores; /* a piece of one array for all weights */
} tiling;

static void tile_of(const void *user, int64_t at, int64_t n, int64_t *out) {
  const tiling *x = user;
  int64_t col = at % x->b, row = at / x->b % x->a, o = at / x->b / x->a;
  for (int64_t i = 0; i < n; i++) {
    out[i] = (o * x->down + row / x->ta) * x->across + col / x->tb;
    if (++col < x->b) continue;
    col = 0;
    if (++row < x->a) continue;
    row = 0;
    o++;
  }
}

static int64_t tiles_along(int64_t n, int64_t tile) {
  return n / tile + (n % tile != 0);
}

/* Outputs and inputs must make up a matrix in the constant's memory, in any
 * order. */
static bool cut(const struct opts *o, const prn_target *t, tiling *out) {
  prn_line rows, cols;
  int32_t out_axis, in_axis;
  if (!prn_axis_with(t->site, PRN_ROLE_OUT, &out_axis) ||
      !prn_axis_with(t->site, PRN_ROLE_IN, &in_axis) ||
      !prn_line_of(t->site, out_axis, out_axis, &rows) ||
      !prn_line_of(t->site, in_axis, in_axis, &cols) || t->count == 0)
    return false;
  bool plain = cols.inner == 1 && rows.inner == cols.length;
  bool turned = rows.inner == 1 && cols.inner == rows.length;
  if (!plain && !turned) return false;
  *out = (tiling){.t = t,
                  .a = plain ? rows.length : cols.length,
                  .b = plain ? cols.length : rows.length,
                  .ta = plain ? o->rows : o->cols,
                  .tb = plain ? o->cols : o->rows};
  out->down = tiles_along(out->a, out->ta);
  out->across = tiles_along(out->b, out->tb);
  out->groups = (prn_groups){
      t->count / (out->a * out->b) * out->down * out->across, tile_of, NULL};
  return true;
}

/* Tiles can be named in the type when they lie in the constant's own last two
 * axes. */
static prn_sparsity claim_of(const tiling *x) {
  const prn_type *type = x->t->score.tensor->type;
  prn_sparsity claim = {.kind = PRN_SPARSE_UNSTRUCTURED};
  if (type->rank < 2) return claim;
  prn_axis_view v = prn_axis_view_of(type, type->rank - 2);
  if (v.length == x->a && v.inner == x->b)
    claim = (prn_sparsity){.kind = PRN_SPARSE_BLOCK,
                           .rows = (int32_t)x->ta,
                           .cols = (int32_t)x->tb};
  return claim;
}

static prn_status finish(const prn_pass_env *env, const tiling *x,
                         const unsigned char *prune) {
  struct stats *s = env->stats;
  prn_groups g = x->groups;
  prn_mask mask;
  g.user = x;
  PRN_TRY(prn_groups_mask(env->ctx, x->t->count, &g, prune, &mask));
  for (int64_t i = 0; i < g.count; i++)
    s->tiles += prune[i];
  s->weights++;
  s->pruned += prn_target_finish(env, x->t, &mask, claim_of(x));
  return PRN_OK;
}

/* Ranks the tiles of n weights together. */
static prn_status select_together(const prn_pass_env *env, tiling *x,
                                  size_t n) {
  const struct opts *o = env->opts;
  int64_t total = 0;
  for (size_t i = 0; i < n; i++)
    total += x[i].groups.count;
  size_t size = (size_t)(total ? total : 1);
  double *scores = prn_alloc(prn_array_size(sizeof *scores, size));
  unsigned char *prune = prn_alloc(size);
  prn_status status = PRN_OK;
  int64_t at = 0;
  for (size_t i = 0; status == PRN_OK && i < n; i++) {
    prn_groups g = x[i].groups;
    g.user = &x[i];
    status = prn_groups_score(&x[i].t->score, &g, scores + at);
    at += g.count;
  }
  if (status == PRN_OK)
    prn_groups_lowest(scores, total, prn_share_of(o->sparsity, total), prune);
  at = 0;
  for (size_t i = 0; status == PRN_OK && i < n; i++) {
    status = finish(env, &x[i], prune + at);
    at += x[i].groups.count;
  }
  prn_free(scores);
  prn_free(prune);
  return status;
}

static prn_status run(prn_pass_env *env, prn_module *m) {
  const struct opts *o = env->opts;
  struct stats *s = env->stats;
  prn_targets targets;
  size_t n = 0;
  (void)m;
  PRN_TRY(prn_targets_collect(env, &targets));
  tiling *x = PRN_ARENA_ARRAY(env->scratch, tiling, targets.size);
  for (size_t i = 0; i < targets.size; i++) {
    const prn_target *t = &targets.at[i];
    if (cut(o, t, &x[n])) {
      n++;
      continue;
    }
    s->skipped++;
    prn_pass_remark(env, t->site->constant, PRN_REASON_BadAxis,
                    "'%.*s' keeps all entries: it is no matrix of outputs "
                    "and inputs",
                    PRN_STR_ARG(t->site->name));
    prn_target_leave(t);
  }
  if (o->scope) return select_together(env, x, n);
  for (size_t i = 0; i < n; i++)
    PRN_TRY(select_together(env, &x[i], 1));
  return PRN_OK;
}

const prn_pass prn_pass_select_block = {
    .name = "select-block",
    .summary = "Remove tiles of smallest norm",
    .reads = PRN_DIALECT_ONNX,
    .writes = PRN_DIALECT_ONNX,
    .needs = PRN_WEIGHTS | PRN_SITES,
    .keeps = PRN_ALL_ANALYSES,
    PRN_PASS_COMMON,
};
