/* Constants with what stays; see compact.h. */
#include <string.h>

#include "ir/mask.h"
#include "ir/sparsity.h"
#include "passes/analysis/layout.h"
#include "passes/compact/compact.h"
#include "passes/score/score.h"

enum { MAX_RANK = PRN_LAYOUT_MAX_RANK };

/* The elements that stay: for each axis their indices. */
typedef struct picked {
  int32_t rank;
  int64_t size[MAX_RANK], count[MAX_RANK];
  const int64_t *from[MAX_RANK]; /* old indices; NULL: all, in order */
  int64_t run;  /* neighbours that stay together: whole last axes */
  int32_t axes; /* before those */
} picked;

static bool pick(const prn_removal *r, const prn_value *v, picked *p) {
  *p = (picked){.rank = v->type->rank, .run = 1};
  bool changed = false;
  if (p->rank > MAX_RANK) return false;
  for (int32_t i = 0; i < p->rank; i++) {
    (void)prn_dim_is_const(v->type->dims[i], &p->size[i]);
    p->count[i] = p->size[i];
    p->from[i] = prn_removal_sources(r, v, i);
    if (!p->from[i]) continue;
    (void)prn_dim_is_const(prn_removal_dim(r, v, i), &p->count[i]);
    changed = true;
  }
  for (p->axes = p->rank; p->axes > 0 && !p->from[p->axes - 1]; p->axes--)
    p->run *= p->size[p->axes - 1];
  return changed;
}

/* Calls f for every run of elements that stays, in order. */
static void each_run(const picked *p,
                     void (*f)(void *user, int64_t from, int64_t n),
                     void *user) {
  int64_t index[MAX_RANK] = {0};
  for (int32_t i = 0; i < p->axes; i++)
    if (!p->count[i]) return;
  for (bool more = true; more;) {
    int64_t from = 0;
    for (int32_t i = 0; i < p->axes; i++)
      from = from * p->size[i] + (p->from[i] ? p->from[i][index[i]] : index[i]);
    f(user, from * p->run, p->run);
    more = false;
    for (int32_t i = p->axes; i-- > 0 && !more;) {
      more = ++index[i] < p->count[i];
      if (!more) index[i] = 0;
    }
  }
}

typedef struct copying {
  const prn_tensor *from;
  char *to;
  size_t width;
  prn_mask *mask;
  int64_t at;
} copying;

static void copy_run(void *user, int64_t from, int64_t n) {
  copying *c = user;
  prn_tensor_read_bytes(c->from, from, n, c->to + (size_t)c->at * c->width);
  for (int64_t i = 0; c->from->mask && i < n; i++)
    if (!prn_mask_keeps(c->from->mask->data, from + i))
      prn_mask_fill(c->mask, c->at + i, 1, false);
  c->at += n;
}

/* A claim that still holds is kept. */
static void claim_again(prn_op *op, prn_sparsity claim) {
  int64_t at;
  const prn_tensor *t = prn_value_constant(&op->results[0]);
  if (claim.kind == PRN_SPARSE_NONE || !prn_sparsity_fits(t->type, claim, NULL))
    return;
  if (prn_sparsity_check(t, claim, &at) == PRN_CLAIM_HOLDS)
    prn_constant_claim(op, claim);
}

/* The old place of the element that is at a place now; all axes keep their
 * sizes. */
static int64_t source_of(const void *user, int64_t place) {
  const picked *p = user;
  int64_t from = 0, stride = 1;
  for (int32_t i = p->rank; i-- > 0; place /= p->size[i]) {
    int64_t at = place % p->size[i];
    from += stride * (p->from[i] ? p->from[i][at] : at);
    stride *= p->size[i];
  }
  return from;
}

/* A score stays when entries only change places. */
static void move_score(prn_op *op, const picked *p) {
  bool all = true;
  for (int32_t i = 0; i < p->rank; i++)
    all = all && p->count[i] == p->size[i];
  prn_op_set_attr(op, prn_score_attr,
                  all ? prn_score_moved(op, source_of, p) : NULL);
}

bool prn_removal_can_gather(const prn_op *constant) {
  const prn_tensor *t = prn_value_constant(&constant->results[0]);
  uint32_t bits = t ? prn_dtype_bits(t->type->dtype) : 0;
  return bits && bits % 8 == 0 && t->data && t->type->rank <= MAX_RANK;
}

static prn_status gather(const prn_removal *r, prn_op *op, const picked *p) {
  prn_ctx *ctx = r->module->ctx;
  prn_value *v = &op->results[0];
  const prn_tensor *old = prn_value_constant(v);
  const prn_blob *blob;
  prn_mask mask;
  void *data;
  int64_t n = 1;
  for (int32_t i = 0; i < p->rank; i++)
    n *= p->count[i];
  if (!prn_removal_can_gather(op))
    return prn_op_error(op, "elements of type %s cannot be taken out",
                        prn_dtype_name(old->type->dtype));
  size_t width = prn_dtype_bits(old->type->dtype) / 8;
  PRN_TRY(prn_blob_scratch(ctx, (size_t)n * width, &blob, &data));
  PRN_TRY(prn_mask_create(ctx, n, true, &mask));
  copying c = {old, data, width, &mask, 0};
  r->stats->params += (uint64_t)(prn_tensor_count(old) - n);
  each_run(p, copy_run, &c);
  if (prn_op_attr(op, prn_score_attr)) move_score(op, p);
  prn_tensor *t = prn_tensor_clone(ctx, old);
  prn_sparsity claim = old->type->sparsity;
  t->type = prn_type_static(ctx, old->type->dtype, p->rank, p->count);
  t->data = blob;
  t->mask = NULL;
  if (t->storage == PRN_STORE_EXTERNAL) t->storage = PRN_STORE_RAW;
  prn_op_set_attr(op, "value", prn_attr_tensor(ctx, t));
  v->type = t->type;
  if (prn_bits_count(mask.bits, n) < n) prn_mask_attach(op, &mask);
  claim_again(op, claim);
  return PRN_OK;
}

prn_status prn_removal_gather(const prn_removal *r, prn_op *op) {
  picked p;
  const prn_value *v = op->num_results ? &op->results[0] : NULL;
  if (!v || !prn_value_constant(v) || !prn_ptrmap_has(&r->c->dims, v) ||
      !pick(r, v, &p))
    return PRN_OK;
  return gather(r, op, &p);
}
