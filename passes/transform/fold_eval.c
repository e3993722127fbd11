#include <string.h>

#include "ir/rewrite.h"
#include "passes/transform/fold.h"

/* ---- operands and results ---- */

static bool load(const prn_value *v, prn_fold_view *out) {
  *out = (prn_fold_view){.there = v != NULL};
  if (!v) return true;
  const prn_tensor *t = prn_value_fixed(v);
  if (!t || !t->data || t->mask || t->type->rank > PRN_FOLD_RANK) return false;
  uint32_t bits = prn_dtype_bits(t->type->dtype);
  if (bits < 8) return false;
  out->dtype = t->type->dtype;
  out->rank = t->type->rank;
  out->width = bits / 8;
  out->count = prn_tensor_count(t);
  out->data = (char *)(uintptr_t)t->data->data;
  for (int i = 0; i < out->rank; i++)
    if (!prn_dim_is_const(t->type->dims[i], &out->dims[i])) return false;
  return true;
}

prn_fold_view *prn_fold_result(prn_fold *f, prn_dtype dtype, int rank,
                               const int64_t *dims) {
  int64_t count = 1, given = 0;
  size_t bytes;
  if (f->num_out == PRN_FOLD_OPERANDS || rank > PRN_FOLD_RANK) return NULL;
  for (int i = 0; i < rank; i++)
    if (dims[i] < 0) return NULL;
  for (int i = 0; i < rank; i++)
    if (dims[i] == 0) count = 0; /* before another size can overflow */
  for (int i = 0; i < rank && count; i++)
    if (!prn_mul_i64(count, dims[i], &count) || count > f->max_elements)
      return f->too_big = true, NULL;
  for (uint32_t i = 0; i < f->num_in; i++) {
    const prn_value *v = prn_op_operand(f->op, i);
    if (v && prn_value_has_one_use(v) && !prn_op_attr(v->def, "input"))
      given += f->in[i].count;
  }
  if (count > given && count - given > f->growth)
    return f->too_big = true, NULL;
  if (!prn_dtype_bytes(dtype, count, &bytes) || prn_dtype_bits(dtype) < 8)
    return NULL;
  prn_fold_view *v = &f->out[f->num_out++];
  *v = (prn_fold_view){.dtype = dtype, .rank = rank, .count = count};
  v->width = prn_dtype_bits(dtype) / 8;
  v->there = true;
  if (rank) memcpy(v->dims, dims, (size_t)rank * sizeof *dims);
  v->data = prn_arena_alloc(f->scratch, bytes);
  return v;
}

/* ---- indices ---- */

void prn_fold_strides(const prn_fold_view *v, int rank, const int64_t *dims,
                      int64_t *strides) {
  int64_t step = 1;
  for (int i = rank - 1; i >= 0; i--) {
    int own = i - (rank - v->rank);
    strides[i] = own < 0 || (v->dims[own] == 1 && dims[i] != 1) ? 0 : step;
    if (own >= 0) step *= v->dims[own];
  }
}

bool prn_fold_next(int rank, const int64_t *dims, int64_t *index) {
  for (int i = rank - 1; i >= 0; i--) {
    if (++index[i] < dims[i]) return true;
    index[i] = 0;
  }
  return false;
}

bool prn_fold_broadcast(const prn_fold *f, uint32_t from, uint32_t to,
                        int *rank, int64_t *dims) {
  *rank = 0;
  for (uint32_t k = from; k < to; k++)
    if (f->in[k].rank > *rank) *rank = f->in[k].rank;
  for (int i = 0; i < *rank; i++)
    dims[i] = 1;
  for (uint32_t k = from; k < to; k++) {
    const prn_fold_view *v = &f->in[k];
    for (int i = 0; i < v->rank; i++) {
      int64_t *d = &dims[i + *rank - v->rank];
      if (*d == 1)
        *d = v->dims[i];
      else if (v->dims[i] != 1 && v->dims[i] != *d)
        return false;
    }
  }
  return true;
}

bool prn_fold_axis(int64_t axis, int rank, int *out) {
  if (axis < 0) axis += rank;
  *out = (int)axis;
  return axis >= 0 && axis < rank;
}

bool prn_fold_ints(const prn_fold *f, const char *attr, uint32_t operand,
                   int64_t *out, int *out_n) {
  size_t n;
  const int64_t *v = prn_op_ints(f->op, attr, &n);
  *out_n = 0;
  if (v) {
    if (n > PRN_FOLD_RANK) return false;
    memcpy(out, v, n * sizeof *v);
    *out_n = (int)n;
    return true;
  }
  if (operand >= f->num_in || !f->in[operand].there) return false;
  const prn_fold_view *t = &f->in[operand];
  if (t->count > PRN_FOLD_RANK || !prn_dtype_is_int(t->dtype)) return false;
  for (int64_t i = 0; i < t->count; i++)
    out[i] = prn_element_to_i64(t->dtype, t->data, i);
  *out_n = (int)t->count;
  return true;
}

bool prn_fold_eval(prn_fold *f) {
  prn_fold_fn *fn = prn_fold_movement(f->op->opname->code);
  if (!fn) fn = prn_fold_arithmetic(f->op->opname->code);
  if (!fn) fn = prn_fold_selection(f->op->opname->code);
  f->num_in = f->num_out = 0;
  f->too_big = false;
  if (!fn || f->op->num_operands > PRN_FOLD_OPERANDS) return false;
  for (uint32_t i = 0; i < f->op->num_operands; i++)
    if (!load(prn_op_operand(f->op, i), &f->in[f->num_in++])) return false;
  return fn(f);
}
