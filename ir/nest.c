/* Loop nests; see nest.h. */
#include "ir/nest.h"

#include <string.h>

uint32_t prn_nest_indices(const prn_block *body) {
  uint32_t set = 0;
  if (!body) return 0;
  PRN_EACH_OP(op, body)
    if (prn_op_is(op, PRN_OP_nn_index))
      set |= UINT32_C(1) << prn_op_int(op, "dim", 0);
  return set;
}

uint32_t prn_nest_axes(const prn_op *op) {
  size_t n;
  const int64_t *axes = prn_op_ints(op, "axes", &n);
  uint32_t set = 0;
  for (size_t i = 0; i < n; i++)
    set |= UINT32_C(1) << axes[i];
  return set;
}

void prn_nest_move(prn_nest *n, unsigned from, unsigned to) {
  prn_dim d = n->dims[from];
  int a = n->axis[from];
  int step = from < to ? 1 : -1;
  for (unsigned i = from; i != to; i = (unsigned)((int)i + step)) {
    n->dims[i] = n->dims[(int)i + step];
    n->axis[i] = n->axis[(int)i + step];
  }
  n->dims[to] = d;
  n->axis[to] = a;
  for (unsigned v = 0; v < n->views; v++) {
    prn_dim s = n->strides[v][from];
    for (unsigned i = from; i != to; i = (unsigned)((int)i + step))
      n->strides[v][i] = n->strides[v][(int)i + step];
    n->strides[v][to] = s;
  }
}

static void drop_axis(prn_nest *n, unsigned at) {
  if (n->rank == 1) return;
  prn_nest_move(n, at, n->rank - 1);
  n->rank--;
}

/* Larger strides of the output first, where both are constants; a stride of
 * exactly 1 last in any case. */
static void order(prn_nest *n, unsigned begin, unsigned end) {
  const prn_dim *out = n->strides[n->views - 1];
  for (unsigned i = begin + 1; i < end; i++) {
    unsigned k = i;
    for (; k > begin; k--) {
      int64_t a, b;
      if (!prn_dim_is_const(n->strides[n->views - 1][k - 1], &a) ||
          !prn_dim_is_const(n->strides[n->views - 1][k], &b) || a >= b)
        break;
      prn_nest_move(n, k, k - 1);
    }
  }
  for (unsigned i = begin; i + 1 < end; i++)
    if (prn_dim_is(out[i], 1) && !prn_dim_is(out[end - 1], 1))
      prn_nest_move(n, i, end - 1);
}

static bool merges(prn_ctx *ctx, const prn_nest *n, unsigned i) {
  for (unsigned v = 0; v < n->views; v++)
    if (n->strides[v][i] !=
        prn_dim_mul(ctx, n->strides[v][i + 1], n->dims[i + 1]))
      return false;
  return true;
}

static bool in(uint32_t set, int axis) { return set >> axis & 1; }

void prn_nest_init(prn_ctx *ctx, prn_nest *n, const prn_type *const *types,
                   unsigned count, uint32_t keep, uint32_t last) {
  const prn_type *out = types[count - 1];
  memset(n, 0, sizeof *n);
  n->views = count;
  n->rank = (unsigned)out->rank;
  for (unsigned i = 0; i < n->rank; i++) {
    n->dims[i] = out->dims[i];
    n->axis[i] = (int)i;
    for (unsigned v = 0; v < count; v++)
      n->strides[v][i] = types[v]->strides[i];
  }
  if (n->rank == 0) {
    n->rank = 1;
    n->dims[0] = prn_dim_const(ctx, 1);
    for (unsigned v = 0; v < count; v++)
      n->strides[v][0] = prn_dim_const(ctx, 0);
    return;
  }
  unsigned back = 0;
  for (unsigned i = 0; i + back < n->rank;) {
    if (!in(last, n->axis[i])) {
      i++;
      continue;
    }
    prn_nest_move(n, i, n->rank - 1);
    back++;
  }
  for (unsigned i = n->rank; i-- > 0;)
    if (prn_dim_is(n->dims[i], 1) && !in(keep, n->axis[i])) drop_axis(n, i);
  unsigned front = 0;
  while (front < n->rank && !in(last, n->axis[front]))
    front++;
  order(n, 0, front);
  order(n, front, n->rank);
  for (unsigned i = n->rank; i-- > 1;) {
    uint32_t pair = UINT32_C(1) << n->axis[i] | UINT32_C(1) << n->axis[i - 1];
    bool same = in(last, n->axis[i]) == in(last, n->axis[i - 1]);
    if ((keep & pair) || !same || !merges(ctx, n, i - 1)) continue;
    n->dims[i] = prn_dim_mul(ctx, n->dims[i], n->dims[i - 1]);
    n->axis[i] = n->axis[i - 1] < n->axis[i] ? n->axis[i - 1] : n->axis[i];
    prn_nest_move(n, i - 1, n->rank - 1);
    n->rank--;
  }
}
