/* Constants through operators that move elements. */
#include <string.h>

#include "passes/transform/fold.h"

typedef int64_t dims_t[PRN_FOLD_RANK];

static bool given(const prn_fold *f, uint32_t i) {
  return i < f->num_in && f->in[i].there;
}

/* dst[i] = src[from], for elements of v's width. */
static void copy(const prn_fold_view *src, int64_t from, prn_fold_view *dst,
                 int64_t to, int64_t n) {
  memcpy(dst->data + (size_t)to * dst->width,
         src->data + (size_t)from * src->width, (size_t)n * src->width);
}

/* All elements of the first operand in a new shape. */
static bool same_elements(prn_fold *f, int rank, const int64_t *dims) {
  prn_fold_view *y = prn_fold_result(f, f->in[0].dtype, rank, dims);
  if (!y || y->count != f->in[0].count) return false;
  copy(&f->in[0], 0, y, 0, y->count);
  return true;
}

/* dst[index] = src[start + index * strides]. */
static void gather_strided(const prn_fold_view *src, int64_t start,
                           const int64_t *strides, prn_fold_view *dst) {
  dims_t index = {0};
  if (dst->count == 0) return;
  for (int64_t i = 0;; i++) {
    int64_t from = start;
    for (int k = 0; k < dst->rank; k++)
      from += index[k] * strides[k];
    copy(src, from, dst, i, 1);
    if (!prn_fold_next(dst->rank, dst->dims, index)) return;
  }
}

static bool identity(prn_fold *f) {
  return same_elements(f, f->in[0].rank, f->in[0].dims);
}

/* ---- views ---- */

static bool reshape(prn_fold *f) {
  dims_t dims;
  int rank, open = -1;
  int64_t rest = f->in[0].count;
  bool allowzero = prn_op_int(f->op, "allowzero", 0) != 0;
  if (!prn_fold_ints(f, "shape", 1, dims, &rank)) return false;
  for (int i = 0; i < rank; i++) {
    if (dims[i] == 0 && !allowzero) {
      if (i >= f->in[0].rank) return false;
      dims[i] = f->in[0].dims[i];
    }
    if (dims[i] == -1 && open < 0)
      open = i;
    else if (dims[i] > 0 && rest % dims[i] == 0)
      rest /= dims[i];
    else if (dims[i] != 0 || f->in[0].count != 0 || open >= 0)
      return false;
  }
  if (open >= 0) dims[open] = rest;
  return same_elements(f, rank, dims);
}

static bool flatten(prn_fold *f) {
  const prn_fold_view *x = &f->in[0];
  int64_t axis = prn_op_int(f->op, "axis", 1);
  dims_t dims = {1, 1};
  if (axis < 0) axis += x->rank;
  if (axis < 0 || axis > x->rank) return false;
  for (int i = 0; i < x->rank; i++)
    dims[i >= axis] *= x->dims[i];
  return same_elements(f, 2, dims);
}

static bool squeeze(prn_fold *f) {
  const prn_fold_view *x = &f->in[0];
  bool gone[PRN_FOLD_RANK] = {false};
  dims_t axes, dims;
  int n, axis, rank = 0;
  bool listed = prn_fold_ints(f, "axes", 1, axes, &n);
  if (!listed && given(f, 1)) return false;
  for (int i = 0; i < n; i++) {
    if (!prn_fold_axis(axes[i], x->rank, &axis)) return false;
    gone[axis] = true;
  }
  for (int i = 0; i < x->rank; i++) {
    if (!listed) gone[i] = x->dims[i] == 1;
    if (gone[i] && x->dims[i] != 1) return false;
    if (!gone[i]) dims[rank++] = x->dims[i];
  }
  return same_elements(f, rank, dims);
}

static bool unsqueeze(prn_fold *f) {
  const prn_fold_view *x = &f->in[0];
  bool fresh[PRN_FOLD_RANK] = {false};
  dims_t axes, dims;
  int n, axis, from = 0;
  if (!prn_fold_ints(f, "axes", 1, axes, &n)) return false;
  int rank = x->rank + n;
  if (rank > PRN_FOLD_RANK) return false;
  for (int i = 0; i < n; i++) {
    if (!prn_fold_axis(axes[i], rank, &axis) || fresh[axis]) return false;
    fresh[axis] = true;
  }
  for (int i = 0; i < rank; i++)
    dims[i] = fresh[i] ? 1 : x->dims[from++];
  return same_elements(f, rank, dims);
}

static bool transpose(prn_fold *f) {
  const prn_fold_view *x = &f->in[0];
  dims_t dims, strides, own;
  size_t n;
  const int64_t *perm = prn_op_ints(f->op, "perm", &n);
  if (perm && n != (size_t)x->rank) return false;
  prn_fold_strides(x, x->rank, x->dims, own);
  for (int i = 0; i < x->rank; i++) {
    int64_t p = perm ? perm[i] : x->rank - 1 - i;
    if (p < 0 || p >= x->rank) return false;
    dims[i] = x->dims[p];
    strides[i] = own[p];
  }
  prn_fold_view *y = prn_fold_result(f, x->dtype, x->rank, dims);
  if (!y) return false;
  gather_strided(x, 0, strides, y);
  return true;
}

/* ---- selecting ---- */

typedef struct range {
  int64_t start, step, size;
} range;

static int64_t clamp(int64_t v, int64_t low, int64_t high) {
  return v < low ? low : v > high ? high : v;
}

/* Slice along one axis, as ONNX defines it. */
static bool slice_range(int64_t start, int64_t end, int64_t step, int64_t size,
                        range *out) {
  if (step == 0 || step == INT64_MIN) return false;
  if (start < 0) start += size;
  if (end < 0) end += size;
  if (step < 0 && start < 0) return false; /* runtimes differ */
  start = step > 0 ? clamp(start, 0, size) : clamp(start, -1, size - 1);
  end = step > 0 ? clamp(end, 0, size) : clamp(end, -1, size - 1);
  int64_t span = step > 0 ? end - start : start - end;
  int64_t stride = step > 0 ? step : -step;
  out->start = start;
  out->step = step;
  out->size = span > 0 ? (span - 1) / stride + 1 : 0;
  return true;
}

static bool slice(prn_fold *f) {
  const prn_fold_view *x = &f->in[0];
  dims_t starts, ends, axes, steps, dims, strides;
  int n, m, k, axis;
  int64_t start = 0;
  bool done[PRN_FOLD_RANK] = {false};
  if (!prn_fold_ints(f, "starts", 1, starts, &n) ||
      !prn_fold_ints(f, "ends", 2, ends, &m) || n != m)
    return false;
  bool has_axes = prn_fold_ints(f, "axes", 3, axes, &m);
  bool has_steps = prn_fold_ints(f, "steps", 4, steps, &k);
  if ((has_axes && m != n) || (has_steps && k != n)) return false;
  if ((!has_axes && given(f, 3)) || (!has_steps && given(f, 4))) return false;
  prn_fold_strides(x, x->rank, x->dims, strides);
  memcpy(dims, x->dims, sizeof dims);
  for (int i = 0; i < n; i++) {
    range r;
    if (!prn_fold_axis(has_axes ? axes[i] : i, x->rank, &axis) || done[axis] ||
        !slice_range(starts[i], ends[i], has_steps ? steps[i] : 1,
                     x->dims[axis], &r))
      return false;
    done[axis] = true;
    start += r.size ? r.start * strides[axis] : 0;
    strides[axis] *= r.size > 1 ? r.step : 1;
    dims[axis] = r.size;
  }
  prn_fold_view *y = prn_fold_result(f, x->dtype, x->rank, dims);
  if (!y) return false;
  gather_strided(x, start, strides, y);
  return true;
}

static bool gather(prn_fold *f) {
  const prn_fold_view *x = &f->in[0], *at = &f->in[1];
  dims_t dims;
  int axis, rank = 0;
  if (!prn_fold_axis(prn_op_int(f->op, "axis", 0), x->rank, &axis))
    return false;
  if (x->rank - 1 + at->rank > PRN_FOLD_RANK) return false;
  int64_t outer = 1, inner = 1, size = x->dims[axis];
  for (int i = 0; i < axis; i++)
    outer *= dims[rank++] = x->dims[i];
  for (int i = 0; i < at->rank; i++)
    dims[rank++] = at->dims[i];
  for (int i = axis + 1; i < x->rank; i++)
    inner *= dims[rank++] = x->dims[i];
  prn_fold_view *y = prn_fold_result(f, x->dtype, rank, dims);
  if (!y || !prn_dtype_is_int(at->dtype)) return false;
  for (int64_t o = 0; o < outer; o++) {
    for (int64_t i = 0; i < at->count; i++) {
      int64_t k = prn_element_to_i64(at->dtype, at->data, i);
      if (k < 0) k += size;
      if (k < 0 || k >= size) return false;
      copy(x, (o * size + k) * inner, y, (o * at->count + i) * inner, inner);
    }
  }
  return true;
}

static bool concat(prn_fold *f) {
  const prn_fold_view *x = &f->in[0];
  dims_t dims;
  int axis;
  int64_t outer = 1, inner = 1, at = 0;
  if (f->num_in == 0 ||
      !prn_fold_axis(prn_op_int(f->op, "axis", 0), x->rank, &axis))
    return false;
  memcpy(dims, x->dims, sizeof dims);
  dims[axis] = 0;
  for (uint32_t k = 0; k < f->num_in; k++) {
    const prn_fold_view *v = &f->in[k];
    if (!v->there || v->rank != x->rank || v->dtype != x->dtype) return false;
    for (int i = 0; i < x->rank; i++)
      if (i != axis && v->dims[i] != x->dims[i]) return false;
    dims[axis] += v->dims[axis];
  }
  for (int i = 0; i < x->rank; i++)
    if (i != axis) *(i < axis ? &outer : &inner) *= x->dims[i];
  prn_fold_view *y = prn_fold_result(f, x->dtype, x->rank, dims);
  if (!y) return false;
  for (int64_t o = 0; o < outer; o++) {
    for (uint32_t k = 0; k < f->num_in; k++) {
      int64_t n = f->in[k].dims[axis] * inner;
      copy(&f->in[k], o * n, y, at, n);
      at += n;
    }
  }
  return true;
}

/* Sizes of the parts of a Split. */
static bool split_sizes(const prn_fold *f, int64_t size, int64_t *out) {
  int n;
  int64_t sum = 0, parts = f->op->num_results;
  if (parts > PRN_FOLD_RANK) return false;
  bool listed = prn_fold_ints(f, "split", 1, out, &n);
  if (!listed && given(f, 1)) return false;
  int64_t chunk = (size + parts - 1) / parts;
  for (int64_t i = 0; i < parts && !listed; i++) {
    out[i] = clamp(size - i * chunk, 0, chunk);
    n = (int)parts;
  }
  for (int i = 0; i < n; i++) {
    if (out[i] < 0) return false;
    sum += out[i];
  }
  return n == parts && sum == size;
}

static bool split(prn_fold *f) {
  const prn_fold_view *x = &f->in[0];
  dims_t sizes, dims;
  int axis;
  int64_t outer = 1, inner = 1, at = 0;
  if (!prn_fold_axis(prn_op_int(f->op, "axis", 0), x->rank, &axis) ||
      !split_sizes(f, x->dims[axis], sizes))
    return false;
  for (int i = 0; i < x->rank; i++)
    if (i != axis) *(i < axis ? &outer : &inner) *= x->dims[i];
  memcpy(dims, x->dims, sizeof dims);
  for (uint32_t k = 0; k < f->op->num_results; k++) {
    dims[axis] = sizes[k];
    prn_fold_view *y = prn_fold_result(f, x->dtype, x->rank, dims);
    if (!y) return false;
    for (int64_t o = 0; o < outer; o++)
      copy(x, (o * x->dims[axis] + at) * inner, y, o * sizes[k] * inner,
           sizes[k] * inner);
    at += sizes[k];
  }
  return true;
}

/* ---- repeating ---- */

static bool expand(prn_fold *f) {
  const prn_fold_view *x = &f->in[0];
  dims_t shape, dims, strides;
  int n;
  if (!prn_fold_ints(f, "", 1, shape, &n)) return false;
  int rank = n > x->rank ? n : x->rank;
  for (int i = 0; i < rank; i++) {
    int64_t own = i < rank - x->rank ? 1 : x->dims[i - (rank - x->rank)];
    int64_t want = i < rank - n ? 1 : shape[i - (rank - n)];
    if (own != want && own != 1 && want != 1) return false;
    dims[i] = own == 1 ? want : own;
  }
  prn_fold_view *y = prn_fold_result(f, x->dtype, rank, dims);
  if (!y) return false;
  prn_fold_strides(x, rank, dims, strides);
  gather_strided(x, 0, strides, y);
  return true;
}

static bool tile(prn_fold *f) {
  const prn_fold_view *x = &f->in[0];
  dims_t repeats, dims, strides, index = {0};
  int n;
  if (!prn_fold_ints(f, "", 1, repeats, &n) || n != x->rank) return false;
  for (int i = 0; i < n; i++)
    if (repeats[i] < 0 || !prn_mul_i64(x->dims[i], repeats[i], &dims[i]))
      return false;
  prn_fold_view *y = prn_fold_result(f, x->dtype, n, dims);
  if (!y) return false;
  prn_fold_strides(x, n, x->dims, strides);
  for (int64_t i = 0; i < y->count; i++) {
    int64_t from = 0;
    for (int k = 0; k < n; k++)
      from += index[k] % x->dims[k] * strides[k];
    copy(x, from, y, i, 1);
    (void)prn_fold_next(n, dims, index);
  }
  return true;
}

static bool constant_of_shape(prn_fold *f) {
  dims_t dims;
  int rank;
  const prn_attr *value = prn_op_attr(f->op, "value");
  prn_dtype dtype = PRN_F32;
  const char *element = NULL;
  if (!prn_fold_ints(f, "", 0, dims, &rank)) return false;
  if (value) {
    if (value->kind != PRN_ATTR_TENSOR || !value->tensor->data ||
        prn_tensor_count(value->tensor) != 1)
      return false;
    dtype = value->tensor->type->dtype;
    element = value->tensor->data->data;
  }
  prn_fold_view *y = prn_fold_result(f, dtype, rank, dims);
  for (int64_t i = 0; y && element && i < y->count; i++)
    memcpy(y->data + (size_t)i * y->width, element, y->width);
  return y != NULL; /* the arena's memory is zero */
}

static bool where(prn_fold *f) {
  dims_t dims, strides[3], index = {0};
  int rank;
  if (f->num_in != 3 || f->in[1].dtype != f->in[2].dtype ||
      !prn_fold_broadcast(f, 0, 3, &rank, dims))
    return false;
  prn_fold_view *y = prn_fold_result(f, f->in[1].dtype, rank, dims);
  if (!y) return false;
  for (int k = 0; k < 3; k++)
    prn_fold_strides(&f->in[k], rank, dims, strides[k]);
  for (int64_t i = 0; i < y->count; i++) {
    int64_t at[3] = {0};
    for (int k = 0; k < 3; k++)
      for (int d = 0; d < rank; d++)
        at[k] += index[d] * strides[k][d];
    int pick = f->in[0].data[at[0]] ? 1 : 2;
    copy(&f->in[pick], at[pick], y, i, 1);
    (void)prn_fold_next(rank, dims, index);
  }
  return true;
}

prn_fold_fn *prn_fold_movement(prn_opcode code) {
  static prn_fold_fn *const table[PRN_OP_count] = {
      [PRN_OP_onnx_Identity] = identity,
      [PRN_OP_onnx_Reshape] = reshape,
      [PRN_OP_onnx_Flatten] = flatten,
      [PRN_OP_onnx_Squeeze] = squeeze,
      [PRN_OP_onnx_Unsqueeze] = unsqueeze,
      [PRN_OP_onnx_Transpose] = transpose,
      [PRN_OP_onnx_Slice] = slice,
      [PRN_OP_onnx_Gather] = gather,
      [PRN_OP_onnx_Concat] = concat,
      [PRN_OP_onnx_Split] = split,
      [PRN_OP_onnx_Expand] = expand,
      [PRN_OP_onnx_Tile] = tile,
      [PRN_OP_onnx_ConstantOfShape] = constant_of_shape,
      [PRN_OP_onnx_Where] = where,
  };
  return table[code];
}
