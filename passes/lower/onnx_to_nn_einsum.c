/* onnx -> nn: Einsum.
 *
 * Operands are taken two at a time. Of the two, labels that nothing later
 * needs are summed: alone before the product, shared ones by it. Each pair is
 * one batched matrix product of [batch, m, k] and [batch, k, n]. */
#include <ctype.h>
#include <string.h>

#include "passes/lower/onnx_to_nn.h"

enum { MAX_LABELS = PRN_NN_MAX_RANK, MAX_TERMS = 16, DOTS = '.' };

/* A value with a label for each dimension. Dimensions of an ellipsis get the
 * labels 1, 2, ... counted from its last. */
typedef struct term {
  prn_value *v;
  char label[MAX_LABELS + 1];
  int32_t n;
} term;

typedef struct equation {
  term in[MAX_TERMS];
  uint32_t n;
  term out; /* labels only */
} equation;

static bool has(const term *t, char c) {
  return memchr(t->label, c, (size_t)t->n) != NULL;
}

static int32_t find(const term *t, char c) {
  for (int32_t i = 0; i < t->n; i++)
    if (t->label[i] == c) return i;
  return -1;
}

/* ---- reading the equation ---- */

static prn_status add_label(const prn_op *op, term *t, char c) {
  if (t->n == MAX_LABELS)
    return prn_o2n_unsupported(op, "more than %d labels", MAX_LABELS);
  t->label[t->n++] = c;
  return PRN_OK;
}

/* The labels of one operand of `rank` dimensions (-1: the result). */
static prn_status read_term(const prn_op *op, prn_str s, int32_t rank,
                            int32_t dots, term *t) {
  int32_t letters = 0;
  for (size_t i = 0; i < s.size; i++)
    letters += isalpha((unsigned char)s.data[i]) != 0;
  int32_t hidden = rank < 0 ? dots : rank - letters;
  for (size_t i = 0; i < s.size; i++) {
    char c = s.data[i];
    if (isalpha((unsigned char)c)) {
      PRN_TRY(add_label(op, t, c));
    } else if (c == DOTS && (i == 0 || s.data[i - 1] != DOTS)) {
      for (int32_t k = hidden; k > 0; k--)
        PRN_TRY(add_label(op, t, (char)k));
    }
  }
  if (rank >= 0 && t->n != rank)
    return prn_op_error(op, "'%.*s' has %d labels for %d dimensions",
                        PRN_STR_ARG(s), (int)t->n, (int)rank);
  return PRN_OK;
}

/* Without "->", the result has the ellipsis and, sorted, what occurs once. */
static prn_status implied_output(const prn_op *op, equation *q, int32_t dots) {
  for (int32_t k = dots; k > 0; k--)
    PRN_TRY(add_label(op, &q->out, (char)k));
  for (int c = 'A'; c <= 'z'; c++) {
    int times = 0;
    for (uint32_t i = 0; i < q->n; i++)
      for (int32_t k = 0; k < q->in[i].n; k++)
        times += q->in[i].label[k] == c;
    if (times == 1) PRN_TRY(add_label(op, &q->out, (char)c));
  }
  return PRN_OK;
}

static prn_status read_equation(prn_o2n *e, prn_op *op, equation *q) {
  prn_str s = prn_op_string(op, "equation", ""), rest = s;
  int32_t dots = 0;
  size_t arrow = s.size;
  for (size_t i = 0; i + 1 < s.size; i++)
    if (s.data[i] == '-' && s.data[i + 1] == '>') arrow = i;
  if (op->num_operands > MAX_TERMS)
    return prn_o2n_unsupported(op, "%u operands", op->num_operands);
  rest.size = arrow;
  for (; q->n < op->num_operands; q->n++) {
    const char *comma = memchr(rest.data, ',', rest.size);
    prn_str one = {rest.data, comma ? (size_t)(comma - rest.data) : rest.size};
    term *t = &q->in[q->n];
    t->v = prn_o2n_in(e, op, q->n);
    PRN_TRY(read_term(op, one, t->v->type->rank, 0, t));
    for (int32_t k = 0; k < t->n; k++)
      if (t->label[k] < 32 && t->label[k] > dots) dots = t->label[k];
    if (!comma && q->n + 1 < op->num_operands)
      return prn_op_error(op, "the equation has %u operands, the node %u",
                          q->n + 1, op->num_operands);
    if (comma) rest = (prn_str){comma + 1, rest.size - one.size - 1};
  }
  if (arrow == s.size) return implied_output(op, q, dots);
  prn_str out = {s.data + arrow + 2, s.size - arrow - 2};
  return read_term(op, out, -1, dots, &q->out);
}

/* ---- one term ---- */

/* Puts the dimensions in the order of `to`, all of which t has. */
static void permute(prn_o2n *e, term *t, const char *to) {
  int64_t perm[MAX_LABELS];
  for (int32_t i = 0; i < t->n; i++)
    perm[i] = find(t, to[i]);
  t->v = prn_nn_transpose(&e->b, t->v, perm);
  memcpy(t->label, to, (size_t)t->n);
}

/* The diagonal of a label that occurs twice: flattened, every n+1st. */
static prn_status take_diagonal(prn_o2n *e, const prn_op *op, term *t,
                                int32_t a, int32_t b) {
  char order[MAX_LABELS];
  int64_t perm[MAX_LABELS], steps[MAX_LABELS], size;
  prn_dim dims[MAX_LABELS], starts[MAX_LABELS];
  int32_t n = 0;
  for (int32_t i = 0; i < t->n; i++)
    if (i != a && i != b) perm[n++] = i;
  perm[n] = a;
  perm[n + 1] = b;
  if (!prn_dim_is_const(t->v->type->dims[a], &size) ||
      t->v->type->dims[a] != t->v->type->dims[b])
    return prn_o2n_unsupported(op, "a diagonal of open size");
  for (int32_t i = 0; i <= n; i++) {
    order[i] = t->label[perm[i]];
    dims[i] = t->v->type->dims[perm[i]];
    starts[i] = prn_dim_const(e->ctx, 0);
    steps[i] = i == n ? size + 1 : 1;
  }
  prn_value *v = prn_nn_transpose(&e->b, t->v, perm);
  dims[n] = prn_dim_const(e->ctx, size * size);
  v = prn_nn_reshape_dims(&e->b, v, n + 1, dims);
  dims[n] = prn_dim_const(e->ctx, size);
  t->v = prn_nn_slice(&e->b, v, prn_nn_type(e->ctx, v->type, n + 1, dims),
                      starts, steps);
  t->n = n + 1;
  memcpy(t->label, order, (size_t)t->n);
  return PRN_OK;
}

static prn_status take_diagonals(prn_o2n *e, const prn_op *op, term *t) {
  for (int32_t a = 0; a < t->n; a++)
    for (int32_t b = a + 1; b < t->n; b++)
      if (t->label[a] == t->label[b]) {
        PRN_TRY(take_diagonal(e, op, t, a, b));
        return take_diagonals(e, op, t);
      }
  return PRN_OK;
}

/* Sums the dimensions whose labels `keep` does not have. */
static void sum_rest(prn_o2n *e, term *t, bool (*keep)(const void *, char),
                     const void *user) {
  int64_t axes[MAX_LABELS];
  prn_dim dims[MAX_LABELS];
  size_t n = 0;
  int32_t left = 0;
  for (int32_t i = 0; i < t->n; i++) {
    if (!keep(user, t->label[i])) {
      axes[n++] = i;
      continue;
    }
    dims[left] = t->v->type->dims[i];
    t->label[left++] = t->label[i];
  }
  t->n = left;
  if (n == 0) return;
  t->v = prn_nn_reduce(&e->b, "sum", t->v, axes, n);
  t->v = prn_nn_reshape_dims(&e->b, t->v, left, dims);
}

/* ---- two terms ---- */

/* What a pair still has to give to: the other terms and the result. */
typedef struct rest {
  const equation *q;
  uint32_t from; /* terms [from, n) are still to come */
  const term *other;
} rest;

static bool needed(const void *user, char c) {
  const rest *r = user;
  if (has(&r->q->out, c) || (r->other && has(r->other, c))) return true;
  for (uint32_t i = r->from; i < r->q->n; i++)
    if (has(&r->q->in[i], c)) return true;
  return false;
}

/* Product of the sizes of n labels from `at` on. */
static prn_dim size_of(prn_o2n *e, const term *t, int32_t at, int32_t n) {
  prn_dim d = prn_dim_const(e->ctx, 1);
  for (int32_t i = at; i < at + n; i++)
    d = prn_dim_mul(e->ctx, d, t->v->type->dims[i]);
  return d;
}

/* Labels of a in four groups: shared and needed later, only in a, shared and
 * summed. */
typedef struct split {
  char batch[MAX_LABELS], own[MAX_LABELS], sum[MAX_LABELS];
  int32_t nb, no, ns;
} split;

static void split_labels(const term *a, const term *b, const rest *later,
                         split *s) {
  *s = (split){.nb = 0};
  for (int32_t i = 0; i < a->n; i++) {
    char c = a->label[i];
    if (!has(b, c))
      s->own[s->no++] = c;
    else if (needed(later, c))
      s->batch[s->nb++] = c;
    else
      s->sum[s->ns++] = c;
  }
}

static void order_of(char *to, const char *x, int32_t nx, const char *y,
                     int32_t ny, const char *z, int32_t nz) {
  memcpy(to, x, (size_t)nx);
  memcpy(to + nx, y, (size_t)ny);
  memcpy(to + nx + ny, z, (size_t)nz);
}

/* A size of 1 in one of the two is repeated by the product when it is a batch
 * dimension; elsewhere both have the size. */
static prn_status contract(prn_o2n *e, const prn_op *op, term *a, term *b,
                           const rest *later) {
  split s, t;
  char order[3 * MAX_LABELS];
  prn_dim dims[2 * MAX_LABELS];
  split_labels(a, b, later, &s);
  split_labels(b, a, later, &t);
  if (s.nb + s.no + t.no > MAX_LABELS)
    return prn_o2n_unsupported(op, "more than %d labels", MAX_LABELS);
  order_of(order, s.batch, s.nb, s.own, s.no, s.sum, s.ns);
  permute(e, a, order);
  order_of(order, s.batch, s.nb, s.sum, s.ns, t.own, t.no);
  permute(e, b, order);
  prn_dim flat_a[MAX_LABELS + 2], flat_b[MAX_LABELS + 2];
  for (int32_t i = 0; i < s.nb; i++) {
    flat_a[i] = a->v->type->dims[i];
    flat_b[i] = b->v->type->dims[i];
    if (!prn_dim_broadcast(e->ctx, flat_a[i], flat_b[i], &dims[i]))
      return prn_op_error(op, "sizes of a label differ");
  }
  flat_a[s.nb] = size_of(e, a, s.nb, s.no);
  flat_a[s.nb + 1] = size_of(e, a, s.nb + s.no, s.ns);
  flat_b[s.nb] = size_of(e, b, s.nb, s.ns);
  flat_b[s.nb + 1] = size_of(e, b, s.nb + s.ns, t.no);
  for (int32_t i = 0; i < s.no; i++)
    dims[s.nb + i] = a->v->type->dims[s.nb + i];
  for (int32_t i = 0; i < t.no; i++)
    dims[s.nb + s.no + i] = b->v->type->dims[s.nb + s.ns + i];
  prn_value *x = prn_nn_reshape_dims(&e->b, a->v, s.nb + 2, flat_a);
  prn_value *y = prn_nn_reshape_dims(&e->b, b->v, s.nb + 2, flat_b);
  a->v = prn_nn_matmul(&e->b, x, y, x->type->dtype);
  a->n = s.nb + s.no + t.no;
  a->v = prn_nn_reshape_dims(&e->b, a->v, a->n, dims);
  order_of(a->label, s.batch, s.nb, s.own, s.no, t.own, t.no);
  return PRN_OK;
}

static prn_status lower_einsum(prn_o2n *e, prn_op *op) {
  equation q = {.n = 0};
  PRN_TRY(read_equation(e, op, &q));
  for (uint32_t i = 0; i < q.n; i++)
    PRN_TRY(take_diagonals(e, op, &q.in[i]));
  term acc = q.in[0];
  for (uint32_t i = 1; i < q.n; i++) {
    term next = q.in[i];
    rest later = {&q, i + 1, &next};
    sum_rest(e, &acc, needed, &later);
    later.other = &acc;
    sum_rest(e, &next, needed, &later);
    later.other = NULL;
    PRN_TRY(contract(e, op, &acc, &next, &later));
  }
  rest none = {&q, q.n, NULL};
  sum_rest(e, &acc, needed, &none);
  for (int32_t i = 0; i < q.out.n; i++)
    if (!has(&acc, q.out.label[i]) || acc.n != q.out.n)
      return prn_op_error(op, "the result has a label that no operand has");
  permute(e, &acc, q.out.label);
  return prn_o2n_set(e, op, 0, acc.v);
}

const prn_o2n_row prn_o2n_einsum[] = {
    {"Einsum", lower_einsum, 0, 0},
    {NULL, NULL, 0, 0},
};
