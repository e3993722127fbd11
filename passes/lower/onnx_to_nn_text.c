/* onnx -> nn: TfIdfVectorizer over tokens that are integers.
 *
 * For each length of n-grams all of them are compared with all places at once,
 * for each distance between their tokens; the counts then go to the columns
 * that the model gives each n-gram. */
#include "passes/lower/onnx_to_nn.h"

enum { MAX_GRAM = 64 };

typedef struct grams {
  prn_value *x;         /* [rows, 1, tokens] */
  const prn_attr *pool; /* all n-grams, one length after the other */
  int64_t tokens, skip;
} grams;

/* Token k of n-grams [from, from + n) of that length, as [1, n, 1]. */
static prn_value *column(prn_o2n *e, const grams *g, int64_t from, int64_t n,
                         int64_t length, int64_t k) {
  double *v = PRN_ARENA_ARRAY(&e->b.m->arena, double, n + 1);
  int64_t dims[3] = {1, n, 1};
  for (int64_t i = 0; i < n; i++)
    v[i] = (double)g->pool->ints[from + i * length + k];
  const prn_type *t = prn_type_static(e->ctx, g->x->type->dtype, 3, dims);
  return prn_nn_constant(&e->b, prn_nn_tensor(e->ctx, t, v));
}

/* How often n n-grams occur with tokens `step` apart: [rows, n, 1] or NULL. */
static prn_value *occurrences(prn_o2n *e, const grams *g, int64_t from,
                              int64_t n, int64_t length, int64_t step) {
  static const int64_t last = 2;
  int64_t places = g->tokens - (length - 1) * step;
  prn_value *all = NULL;
  if (places < 1) return NULL;
  for (int64_t k = 0; k < length; k++) {
    prn_value *x =
        prn_nn_slice_axis(&e->b, g->x, 2, prn_dim_const(e->ctx, k * step),
                          prn_dim_const(e->ctx, places));
    x = prn_nn_binary(&e->b, PRN_SCALAR_eq, x,
                      column(e, g, from, n, length, k));
    all = all ? prn_nn_binary(&e->b, PRN_SCALAR_and, all, x) : x;
  }
  return prn_nn_reduce(&e->b, "sum", prn_nn_cast(&e->b, all, PRN_F32), &last,
                       1);
}

/* The n-grams of one length, with all distances; single tokens have none. */
static prn_value *count_length(prn_o2n *e, const grams *g, int64_t from,
                               int64_t n, int64_t length) {
  prn_value *sum = NULL;
  for (int64_t step = 1; step <= (length == 1 ? 1 : g->skip + 1); step++) {
    prn_value *c = occurrences(e, g, from, n, length, step);
    if (c) sum = sum ? prn_nn_binary(&e->b, PRN_SCALAR_add, sum, c) : c;
  }
  return sum;
}

/* Counts [rows, n, 1] added to the columns of out [columns, rows]. */
static prn_value *add_counts(prn_o2n *e, prn_value *out, prn_value *counts,
                             const int64_t *columns, int64_t n) {
  static const int64_t swap[2] = {1, 0};
  double *v = PRN_ARENA_ARRAY(&e->b.m->arena, double, n + 1);
  for (int64_t i = 0; i < n; i++)
    v[i] = (double)columns[i];
  prn_value *at = prn_nn_constant(
      &e->b, prn_nn_tensor(e->ctx, prn_type_static(e->ctx, PRN_I64, 1, &n), v));
  counts = prn_nn_reshape_dims(&e->b, counts, 2, counts->type->dims);
  return prn_nn_scatter(&e->b, out, at, prn_nn_transpose(&e->b, counts, swap),
                        "add");
}

static prn_value *weighed(prn_o2n *e, const prn_op *op, prn_value *x,
                          int64_t columns) {
  prn_str mode = prn_op_string(op, "mode", "TF");
  const prn_attr *a = prn_op_attr(op, "weights");
  if (prn_str_is(mode, "TF")) return x;
  if (prn_str_is(mode, "IDF"))
    x = prn_nn_cast(&e->b, prn_nn_with(&e->b, PRN_SCALAR_gt, x, 0), PRN_F32);
  if (!a || a->kind != PRN_ATTR_FLOATS || (int64_t)a->size < columns) return x;
  double *v = PRN_ARENA_ARRAY(&e->b.m->arena, double, columns + 1);
  for (int64_t i = 0; i < columns; i++)
    v[i] = (double)a->floats[i];
  const prn_type *t = prn_type_static(e->ctx, PRN_F32, 1, &columns);
  return prn_nn_binary(&e->b, PRN_SCALAR_mul, x,
                       prn_nn_constant(&e->b, prn_nn_tensor(e->ctx, t, v)));
}

static prn_status lower_tfidf(prn_o2n *e, prn_op *op) {
  static const int64_t swap[2] = {1, 0};
  prn_value *x = prn_o2n_in(e, op, 0), *sum;
  const prn_type *t = x->type, *out = prn_o2n_out(e, op, 0);
  grams g = {.pool = prn_op_attr(op, "pool_int64s"),
             .skip = prn_op_int(op, "max_skip_count", 0)};
  const int64_t *starts, *columns;
  int64_t width;
  size_t lengths, ids;
  starts = prn_op_ints(op, "ngram_counts", &lengths);
  columns = prn_op_ints(op, "ngram_indexes", &ids);
  if (!g.pool || g.pool->kind != PRN_ATTR_INTS)
    return prn_o2n_unsupported(op, "a pool of strings");
  if (!starts || !columns || t->rank < 1 || t->rank > 2 || g.skip < 0 ||
      !prn_dim_is_const(t->dims[t->rank - 1], &g.tokens) ||
      !prn_dim_is_const(out->dims[out->rank - 1], &width))
    return prn_o2n_unsupported(op, "a number of tokens that is not constant");
  prn_dim one = prn_dim_const(e->ctx, 1),
          rows = t->rank == 2 ? t->dims[0] : one;
  prn_dim dims[3] = {rows, one, t->dims[t->rank - 1]};
  g.x = prn_nn_reshape_dims(&e->b, x, 3, dims);
  prn_dim flat[2] = {prn_dim_const(e->ctx, width), rows};
  sum = prn_nn_broadcast(&e->b, prn_nn_scalar(&e->b, PRN_F32, 0),
                         prn_type_tensor(e->ctx, PRN_F32, 2, flat));
  size_t id = 0;
  for (size_t k = 0; k < lengths; k++) {
    int64_t length = (int64_t)k + 1, from = starts[k];
    int64_t end = k + 1 < lengths ? starts[k + 1] : g.pool->size;
    if (from < 0 || end < from || end > g.pool->size || length > MAX_GRAM)
      return prn_op_error(op, "ngram_counts does not fit the pool");
    int64_t n = (end - from) / length;
    if (id + (size_t)n > ids)
      return prn_op_error(op, "ngram_indexes is too short");
    bool counted = length >= prn_op_int(op, "min_gram_length", 1) &&
                   length <= prn_op_int(op, "max_gram_length", 1) && n > 0;
    prn_value *c = counted ? count_length(e, &g, from, n, length) : NULL;
    if (c) sum = add_counts(e, sum, c, columns + id, n);
    id += (size_t)n;
  }
  sum = prn_nn_transpose(&e->b, sum, swap);
  return prn_o2n_set_shape(e, op, 0, weighed(e, op, sum, width));
}

const prn_o2n_row prn_o2n_text[] = {
    {"TfIdfVectorizer", lower_tfidf, 0, 0},
    {NULL, NULL, 0, 0},
};
