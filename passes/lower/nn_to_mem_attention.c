/* lower-nn-to-mem: attention. Queries, keys and values are taken as they lie;
 * the result gets tokens side by side in rows of heads and features, which is
 * what the product that follows wants. */
#include "passes/lower/nn_to_mem.h"

enum { MAX_EXTRAS = 32, FEW_ROWS = 12 };

static bool few(prn_dim d) {
  int64_t v;
  return prn_dim_is_const(d, &v) && v < FEW_ROWS;
}

/* How many dimensions in front of the tokens count heads: one, or two where
 * groups of heads share keys. */
static int32_t num_heads(const prn_op *op) {
  const prn_type *k = prn_op_operand(op, 1)->type;
  int32_t rank = op->results[0].type->rank;
  if (rank < 4 || k->rank < 3) return rank > 2;
  return prn_dim_is(k->dims[k->rank - 3], 1) &&
                 !prn_dim_is(op->results[0].type->dims[rank - 3], 1)
             ? 2
             : 1;
}

/* [batch..., heads..., tokens, features] as a token's rows of heads. */
static prn_value *token_rows(prn_to_mem *s, const prn_op *op) {
  const prn_value *v = prn_op_result(op, 0);
  const prn_type *t = v->type;
  int64_t perm[PRN_VIEW_MAX_RANK];
  prn_dim dims[PRN_VIEW_MAX_RANK];
  int32_t tokens = t->rank - 2, first = tokens - num_heads(op);
  for (int32_t i = 0; i < t->rank; i++) {
    perm[i] = i == tokens ? first : i >= first && i < tokens ? i + 1 : i;
    dims[perm[i]] = t->dims[i];
  }
  prn_value *out = prn_to_mem_alloc(s, t->dtype, t->rank, dims);
  out = prn_to_mem_view(s, out, prn_view_permute(s->ctx, out->type, perm));
  prn_to_mem_set(s, v, out);
  return out;
}

static prn_value *result(prn_to_mem *s, const prn_op *op) {
  const prn_value *v = prn_op_result(op, 0);
  const prn_type *t = v->type;
  int32_t rank = t->rank, tokens = rank - 2;
  bool placed = prn_ptrmap_has(&s->targets, v);
  if (s->target->rows && !placed) return token_rows(s, op);
  if (placed || few(t->dims[tokens])) return prn_to_mem_result(s, v);
  uint32_t rows = ((1u << rank) - 1) & ~(1u << tokens);
  if (rank > 3) rows &= ~1u; /* the batch */
  prn_value *out = prn_to_mem_alloc_rows(s, t->dtype, rank, t->dims, rows);
  prn_to_mem_set(s, v, out);
  return out;
}

/* Operand i with the leading sizes of t. */
static prn_value *with_lead(prn_to_mem *s, const prn_op *op, uint32_t i,
                            const prn_type *t) {
  prn_dim dims[PRN_VIEW_MAX_RANK];
  prn_value *x = prn_to_mem_operand(s, op, i);
  for (int32_t k = 0; k < t->rank; k++)
    dims[k] = k + 2 < t->rank ? t->dims[k]
                              : x->type->dims[x->type->rank - (t->rank - k)];
  return prn_to_mem_broadcast(s, op, x, t->rank, dims);
}

prn_status prn_to_mem_attention(prn_to_mem *s, prn_op *op) {
  prn_value *views[MAX_EXTRAS + 4];
  const prn_type *t = prn_op_result(op, 0)->type;
  uint32_t extras = op->num_operands - 3;
  prn_dim dims[PRN_VIEW_MAX_RANK];
  if (extras > MAX_EXTRAS)
    return prn_op_error(op, "has more than %d extra operands", MAX_EXTRAS);
  for (uint32_t i = 0; i < 3; i++) {
    views[i] = with_lead(s, op, i, t);
    if (!views[i]) return PRN_FAIL;
  }
  for (int32_t i = 0; i < t->rank; i++)
    dims[i] = i + 1 < t->rank ? t->dims[i] : views[1]->type->dims[i - 1];
  for (uint32_t i = 0; i < extras; i++) {
    prn_value *x = prn_to_mem_operand(s, op, i + 3);
    views[i + 4] = prn_to_mem_broadcast(s, op, x, t->rank, dims);
    if (!views[i + 4]) return PRN_FAIL;
  }
  views[3] = result(s, op);
  prn_op *r = prn_to_mem_op(s, PRN_OP_mem_attention, views, extras + 4, NULL);
  prn_to_mem_attr(op, r, "zero_hidden");
  prn_to_mem_body(s, op, r, "body");
  return PRN_OK;
}
