/* Sizes that operations mention; see compact.h. */
#include <math.h>
#include <string.h>

#include "ir/relation.h"
#include "passes/analysis/couple.h"
#include "passes/compact/compact.h"

enum { MAX_RANK = 32 };

static int32_t rank_of(const prn_value *v) {
  return v && prn_type_is_ranked(v->type) ? v->type->rank : -1;
}

/* The size that axis `axis` has afterwards; false when it is open. */
static bool new_size(const prn_removal *r, const prn_value *v, int32_t axis,
                     int64_t *out) {
  return prn_dim_is_const(prn_removal_dim(r, v, axis), out);
}

static bool changes(const prn_removal *r, const prn_value *v) {
  for (int32_t i = 0; i < rank_of(v); i++)
    if (prn_dim_cmp(prn_removal_dim(r, v, i), v->type->dims[i]) != 0)
      return true;
  return false;
}

static prn_value *constant(const prn_removal *r, prn_op *before,
                           prn_dtype dtype, const void *data, int64_t n) {
  prn_ctx *ctx = r->module->ctx;
  const prn_type *type = prn_type_static(ctx, dtype, 1, &n);
  prn_op *c =
      prn_op_create(r->module, prn_opname_code(ctx, PRN_OP_onnx_Constant),
                    before->loc, NULL, 0, &type, 1);
  prn_op_insert_before(c, before);
  prn_op_set_attr(c, "value",
                  prn_attr_tensor(ctx, prn_tensor_from_data(ctx, type, data)));
  return &c->results[0];
}

/* Integers that op reads as an operand or as an attribute. */
static void set_ints(const prn_removal *r, prn_op *op, uint32_t slot,
                     const char *attr, const int64_t *v, int32_t n) {
  bool operand = slot < op->num_operands && prn_op_operand(op, slot);
  if (attr && (!operand && prn_op_attr(op, attr))) {
    prn_op_set_attr(op, attr, prn_attr_ints(r->module->ctx, v, (size_t)n));
    return;
  }
  while (op->num_operands <= slot)
    prn_op_add_operand(op, NULL);
  prn_op_set_operand(op, slot, constant(r, op, PRN_I64, v, n));
}

static prn_status refuse(const prn_op *op, const char *what) {
  return prn_op_error(op, "cannot shrink with its input: %s is computed", what);
}

/* ---- shapes ---- */

/* Of a shape that is computed, the entries that change: Where(change, now,
 * shape). */
static prn_status set_some(const prn_removal *r, prn_op *op, uint32_t slot,
                           const unsigned char *change, const int64_t *now,
                           int32_t n) {
  prn_ctx *ctx = r->module->ctx;
  prn_value *shape = prn_op_operand(op, slot);
  if (!shape || shape->type->dtype != PRN_I64 || prn_op_opset(op) < 9)
    return refuse(op, "its shape");
  prn_value *in[3] = {constant(r, op, PRN_BOOL, change, n),
                      constant(r, op, PRN_I64, now, n), shape};
  prn_op *where =
      prn_op_create(r->module, prn_opname_code(ctx, PRN_OP_onnx_Where), op->loc,
                    in, 3, &shape->type, 1);
  prn_op_insert_before(where, op);
  prn_op_set_operand(op, slot, &where->results[0]);
  return PRN_OK;
}

/* Whether an entry of 0, which copies the size of x's axis i, may have become
 * another one: Reshape tells apart what lies on either side. */
static bool copies_change(const prn_removal *r, const prn_op *op, int32_t i) {
  const prn_value *x = prn_op_operand(op, 0), *y = &op->results[0];
  return i < rank_of(x) &&
         prn_dim_cmp(prn_removal_dim(r, x, i), prn_removal_dim(r, y, i)) != 0;
}

/* Writes the sizes of the result that change into a shape with an entry for
 * each of its axes; entries that are worked out or copied stay. */
static prn_status set_shape(const prn_removal *r, prn_op *op, uint32_t slot,
                            const char *attr, bool copies) {
  const prn_value *y = &op->results[0];
  int64_t to[MAX_RANK], now[MAX_RANK] = {0};
  unsigned char change[MAX_RANK] = {0};
  int32_t rank = rank_of(y);
  if (!changes(r, y)) return PRN_OK;
  if (rank > MAX_RANK) return refuse(op, "its shape");
  int32_t n = prn_couple_ints(op, slot, attr, to, MAX_RANK);
  for (int32_t i = 0; i < rank; i++) {
    prn_dim d = prn_removal_dim(r, y, i);
    bool copy = copies && (n != rank || to[i] == 0);
    bool other = copy && copies_change(r, op, i);
    change[i] = (other || prn_dim_cmp(d, y->type->dims[i]) != 0) &&
                prn_dim_is_const(d, &now[i]);
    if (n == rank && change[i] && to[i] != -1 && (!copy || other))
      to[i] = now[i];
    if (n == rank && other && !change[i]) return refuse(op, "its shape");
  }
  if (n != rank) return set_some(r, op, slot, change, now, rank);
  set_ints(r, op, slot, attr, to, rank);
  return PRN_OK;
}

static prn_status reshape(const prn_removal *r, prn_op *op) {
  return set_shape(r, op, 1, "shape", !prn_op_int(op, "allowzero", 0));
}

/* The last axes are those that the shape has entries for. */
static prn_status expand_computed(const prn_removal *r, prn_op *op) {
  const prn_value *y = &op->results[0], *shape = prn_op_operand(op, 1);
  int64_t now[MAX_RANK] = {0}, n;
  unsigned char change[MAX_RANK] = {0};
  bool any = false;
  int32_t rank = rank_of(y);
  if (rank_of(shape) != 1 || !prn_dim_is_const(shape->type->dims[0], &n) ||
      n < 0 || n > rank || n > MAX_RANK)
    return refuse(op, "its shape");
  for (int64_t i = 0; i < n; i++) {
    int32_t axis = (int32_t)(rank - n + i);
    prn_dim d = prn_removal_dim(r, y, axis);
    change[i] = prn_dim_cmp(d, y->type->dims[axis]) != 0 &&
                prn_dim_is_const(d, &now[i]);
    any = any || change[i];
  }
  return any ? set_some(r, op, 1, change, now, (int32_t)n) : PRN_OK;
}

/* An entry of 1 leaves an axis as it is; there may be fewer than axes. */
static prn_status expand(const prn_removal *r, prn_op *op) {
  const prn_value *y = &op->results[0];
  int64_t to[MAX_RANK];
  int32_t n = prn_couple_ints(op, 1, NULL, to, MAX_RANK), rank = rank_of(y);
  if (!changes(r, y)) return PRN_OK;
  if (n < 0) return expand_computed(r, op);
  for (int32_t i = 0; i < n; i++)
    if (to[i] != 1) (void)new_size(r, y, i + rank - n, &to[i]);
  set_ints(r, op, 1, NULL, to, n);
  return PRN_OK;
}

static prn_status constant_of_shape(const prn_removal *r, prn_op *op) {
  return set_shape(r, op, 0, NULL, false);
}

static prn_status split(const prn_removal *r, prn_op *op) {
  const prn_value *x = prn_op_operand(op, 0);
  int64_t axis = prn_op_int(op, "axis", 0);
  uint32_t n = op->num_results;
  if (axis < 0) axis += rank_of(x);
  if (axis < 0 || axis >= rank_of(x)) return PRN_OK;
  bool changed = false, even = true;
  int64_t *sizes = PRN_ARENA_ARRAY(r->env->scratch, int64_t, n);
  for (uint32_t i = 0; i < n; i++) {
    const prn_value *y = &op->results[i];
    changed = changed || changes(r, y);
    if (!new_size(r, y, (int32_t)axis, &sizes[i])) return PRN_OK;
    even = even && sizes[i] == sizes[0];
  }
  bool given = prn_op_attr(op, "split") ||
               (op->num_operands > 1 && prn_op_operand(op, 1));
  if (!changed || (even && !given)) return PRN_OK;
  prn_op_set_attr(op, "num_outputs", NULL);
  if (!given && prn_op_opset(op) < 13)
    prn_op_set_attr(op, "split", prn_attr_ints(r->module->ctx, sizes, n));
  else
    set_ints(r, op, 1, "split", sizes, (int32_t)n);
  return PRN_OK;
}

/* Indices of x before `at` that stay. */
static int64_t kept_before(const prn_removal *r, prn_space *x, int64_t at) {
  int64_t n = 0;
  for (int64_t i = 0; i < at; i++)
    n += prn_removal_keeps(r, x, i);
  return n;
}

static prn_status slice(const prn_removal *r, prn_op *op) {
  const prn_value *x = prn_op_operand(op, 0), *y = &op->results[0];
  int64_t starts[MAX_RANK], ends[MAX_RANK], axes[MAX_RANK], all, size;
  bool old = op->num_operands < 2;
  int32_t n = prn_couple_ints(op, 1, "starts", starts, MAX_RANK);
  int32_t ne = prn_couple_ints(op, 2, "ends", ends, MAX_RANK);
  int32_t na = prn_couple_ints(op, 3, old ? "axes" : NULL, axes, MAX_RANK);
  bool changed = false;
  if (!changes(r, x) || n < 0 || (na && na != n))
    return PRN_OK; /* what it cuts is frozen then */
  for (int32_t i = 0; i < n; i++) {
    int64_t a = na ? axes[i] : i;
    if (a < 0) a += rank_of(x);
    if (a < 0 || a >= rank_of(x)) continue;
    prn_space *space = prn_coupling_space(r->c, x, (int32_t)a);
    bool same =
        prn_dim_cmp(prn_removal_dim(r, x, (int32_t)a), x->type->dims[a]) == 0;
    if (same || !prn_dim_is_const(x->type->dims[a], &all) ||
        !new_size(r, y, (int32_t)a, &size))
      continue;
    if (ne != n) return refuse(op, "where it ends");
    int64_t at = starts[i] < 0 ? starts[i] + all : starts[i];
    at = at < 0 ? 0 : at > all ? all : at;
    starts[i] = kept_before(r, space, at);
    ends[i] = starts[i] + size;
    changed = true;
  }
  if (!changed) return PRN_OK;
  set_ints(r, op, 1, "starts", starts, n);
  set_ints(r, op, 2, "ends", ends, n);
  return PRN_OK;
}

static prn_status resize(const prn_removal *r, prn_op *op) {
  bool sized = op->num_operands > 3 && prn_op_operand(op, 3);
  return sized ? set_shape(r, op, 3, NULL, false) : PRN_OK;
}

/* ---- attributes ---- */

static bool factor_size(const prn_removal *r, prn_space *x, int64_t *before,
                        int64_t *now) {
  return x && prn_dim_is_const(x->size, before) &&
         prn_dim_is_const(prn_removal_size(r, x), now);
}

/* Scores are divided by the root of a head's size unless told otherwise. */
static void keep_scale(const prn_removal *r, prn_op *op, prn_space *d) {
  int64_t before, now;
  const prn_attr_info *a = op->opname->info->attrs;
  while (a->name && strcmp(a->name, "scale") != 0)
    a++;
  if (!a->name) return;
  const prn_attr *scale = prn_op_attr(op, "scale");
  bool given = scale && scale->kind == PRN_ATTR_FLOAT && scale->f != 0;
  if (given || !factor_size(r, d, &before, &now) || before == now) return;
  prn_op_set_attr(
      op, "scale",
      prn_attr_float(r->module->ctx, (float)(1 / sqrt((double)before))));
}

static void set_int(const prn_removal *r, prn_op *op, const char *name,
                    int64_t v) {
  if (prn_op_attr(op, name))
    prn_op_set_attr(op, name, prn_attr_int(r->module->ctx, v));
}

/* com.microsoft Attention: h, d, and d of the values. */
static void packed_attention(const prn_removal *r, prn_op *op,
                             prn_space *const *f) {
  int64_t before, h, d, e;
  keep_scale(r, op, f[1]);
  if (!factor_size(r, f[0], &before, &h) ||
      !factor_size(r, f[1], &before, &d) || !factor_size(r, f[2], &before, &e))
    return;
  set_int(r, op, "num_heads", h);
  int64_t sizes[3] = {h * d, h * d, h * e};
  if (d != e || prn_op_attr(op, "qkv_hidden_sizes"))
    prn_op_set_attr(op, "qkv_hidden_sizes",
                    prn_attr_ints(r->module->ctx, sizes, 3));
}

static prn_status attributes(const prn_removal *r, prn_op *op) {
  prn_space *const *f = prn_ptrmap_get(&r->c->factors, op);
  if (!f) return PRN_OK;
  if (prn_op_is(op, PRN_OP_com_microsoft_Attention)) {
    packed_attention(r, op, f);
    return PRN_OK;
  }
  prn_relation *rel = PRN_ARENA_NEW(r->env->scratch, prn_relation);
  if (prn_relation_parse(op->opname->info, rel)) return PRN_OK;
  for (uint32_t i = 0; i < rel->num_sizes; i++) {
    const prn_relation_size *size = &rel->sizes[i];
    int64_t before, now, all = 1;
    bool known = true;
    for (uint32_t k = 0; k < size->n && known; k++) {
      known = factor_size(r, f[size->names[k]], &before, &now);
      all *= known ? now : 1;
    }
    if (known) set_int(r, op, prn_intern(r->module->ctx, size->attr).data, all);
  }
  for (uint32_t i = 0; i < rel->num_names; i++)
    if (prn_str_is(rel->names[i], "d")) keep_scale(r, op, f[i]);
  return PRN_OK;
}

/* ---- */

prn_status prn_removal_rewrite(const prn_removal *r, prn_op *op) {
  static const struct {
    prn_opcode code;
    prn_status (*fn)(const prn_removal *r, prn_op *op);
  } rows[] = {
      {PRN_OP_onnx_Reshape, reshape},
      {PRN_OP_onnx_Expand, expand},
      {PRN_OP_onnx_ConstantOfShape, constant_of_shape},
      {PRN_OP_onnx_Split, split},
      {PRN_OP_onnx_Slice, slice},
      {PRN_OP_onnx_Resize, resize},
  };
  for (size_t i = 0; i < PRN_COUNT(rows); i++)
    if (prn_op_is(op, rows[i].code)) return rows[i].fn(r, op);
  return attributes(r, op);
}
