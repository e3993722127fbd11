/* plan-memory: one arena whose size is known before running.
 *
 * Every allocation lives from the kernel that first mentions it to the last.
 * When all sizes are constants, allocations are placed largest first at the
 * lowest address where they fit between those alive at the same time. When
 * sizes are symbolic, addresses cannot be compared; allocations then share
 * slots, a slot being as large as the largest of its tenants and tenants being
 * those whose lives do not overlap. An elementwise kernel may write over an
 * input that ends with it.
 *
 * Weights get their places in the order they appear; two constants of the same
 * tensor in the same packing share one. */
#include <string.h>

#include "ir/pack/pack.h"
#include "passes/lower/lower.h"
#include "passes/pass.h"

enum { LINE = 64, BEST_FIT_MAX = 4096 };

typedef struct piece {
  prn_op *op;
  prn_dim bytes;
  int64_t size, offset; /* constant sizes only */
  uint32_t first, last; /* positions of the kernels that use it */
  uint32_t slot;
} piece;

typedef struct slot {
  prn_dim bytes;
  uint32_t busy_until;
} slot;

typedef struct plan {
  prn_module *m;
  prn_ctx *ctx;
  piece *pieces;
  uint32_t num_pieces, cap_pieces, at;
  prn_ptrmap of; /* view value -> piece index + 1, looking through views */
} plan;

static prn_dim round_up(prn_ctx *ctx, prn_dim bytes) {
  prn_dim line = prn_dim_const(ctx, LINE);
  return prn_dim_mul(ctx, line, prn_dim_ceildiv(ctx, bytes, line));
}

static prn_dim alloc_bytes(prn_ctx *ctx, const prn_op *op) {
  const prn_type *t = op->results[0].type;
  const prn_attr *elements = prn_op_attr(op, "elements");
  prn_dim width = prn_dim_const(ctx, prn_dtype_width(t->dtype));
  return prn_dim_mul(ctx, elements ? elements->dim : prn_type_size(ctx, t),
                     width);
}

static uint32_t index_of(const plan *p, const prn_value *v) {
  return (uint32_t)(uintptr_t)prn_ptrmap_get(&p->of, v);
}

static void new_piece(plan *p, prn_op *op) {
  if (p->num_pieces == p->cap_pieces) {
    p->cap_pieces = p->cap_pieces ? p->cap_pieces * 2 : 64;
    size_t bytes = prn_array_size(sizeof *p->pieces, p->cap_pieces);
    p->pieces = prn_realloc(p->pieces, bytes);
  }
  prn_value *v = prn_op_result(op, 0);
  p->pieces[p->num_pieces++] =
      (piece){.op = op, .bytes = alloc_bytes(p->ctx, op), .first = UINT32_MAX};
  *prn_ptrmap_slot(&p->of, v) = (void *)(uintptr_t)p->num_pieces;
}

/* Notes lives in program order; nested blocks count where they stand. */
static void scan(plan *p, prn_block *b) {
  PRN_EACH_OP(op, b) {
    if (prn_op_is(op, PRN_OP_mem_alloc)) {
      new_piece(p, op);
      continue;
    }
    if (prn_op_is(op, PRN_OP_mem_view)) {
      uint32_t i = index_of(p, prn_op_operand(op, 0));
      *prn_ptrmap_slot(&p->of, prn_op_result(op, 0)) = (void *)(uintptr_t)i;
      continue;
    }
    p->at++;
    for (uint32_t k = 0; k < op->num_operands; k++) {
      const prn_value *v = prn_op_operand(op, k);
      uint32_t i = v ? index_of(p, v) : 0;
      if (i == 0) continue;
      piece *x = &p->pieces[i - 1];
      if (x->first == UINT32_MAX) x->first = p->at;
      x->last = p->at;
    }
    if (!prn_op_is(op, PRN_OP_mem_if)) continue;
    for (uint32_t k = 0; k < op->num_blocks; k++)
      scan(p, op->blocks[k]);
    /* On a GPU every kernel of both branches looks at the condition. */
    uint32_t condition = index_of(p, prn_op_operand(op, 0));
    if (condition) p->pieces[condition - 1].last = p->at;
  }
}

/* The map may write out over in: same elements, same order, no other operand
 * in the memory of either. */
static bool in_place(const plan *p, const prn_op *op, uint32_t in,
                     uint32_t out) {
  const prn_value *v = NULL, *w = NULL;
  uint32_t reads = 0, writes = 0;
  if (!prn_op_is(op, PRN_OP_mem_map)) return false;
  for (uint32_t k = 0; k < op->num_operands; k++) {
    const prn_value *x = prn_op_operand(op, k);
    uint32_t i = index_of(p, x);
    if (i == in) {
      v = x;
      reads++;
    }
    if (i == out) {
      w = x;
      writes++;
    }
  }
  return reads == 1 && writes == 1 && v->type == w->type;
}

/* A map op that is the last reader of piece a and first writer of piece b. */
static bool may_overlay(const plan *p, prn_op *const *kernels, uint32_t a,
                        uint32_t b) {
  const piece *x = &p->pieces[a], *y = &p->pieces[b];
  return x->last == y->first && x->bytes == y->bytes &&
         in_place(p, kernels[x->last], a + 1, b + 1);
}

static bool lives_meet(const piece *x, const piece *y) {
  return x->last >= y->first && y->last >= x->first;
}

static void list_kernels(prn_block *b, prn_op **kernels, uint32_t *at) {
  PRN_EACH_OP(op, b) {
    if (prn_op_is(op, PRN_OP_mem_alloc) || prn_op_is(op, PRN_OP_mem_view))
      continue;
    kernels[++*at] = op;
    if (prn_op_is(op, PRN_OP_mem_if))
      for (uint32_t k = 0; k < op->num_blocks; k++)
        list_kernels(op->blocks[k], kernels, at);
  }
}

/* ---- constant sizes: largest first, lowest place that is free ---- */

static void sort_by_size(const plan *p, uint32_t *order) {
  for (uint32_t i = 0; i < p->num_pieces; i++) { /* insertion: stable */
    uint32_t k = i;
    for (; k > 0 && p->pieces[order[k - 1]].size < p->pieces[i].size; k--)
      order[k] = order[k - 1];
    order[k] = i;
  }
}

/* Where piece i may begin, from `at` on, as far as piece k is concerned. What
 * may be written over may be so in its own place alone: a part of it would be
 * written before it is read. */
static int64_t place_beside(const plan *p, prn_op *const *kernels, uint32_t k,
                            uint32_t i, int64_t at) {
  const piece *o = &p->pieces[k], *x = &p->pieces[i];
  if (at >= o->offset + o->size || o->offset >= at + x->size ||
      !lives_meet(o, x))
    return at;
  if (at <= o->offset &&
      (may_overlay(p, kernels, k, i) || may_overlay(p, kernels, i, k)))
    return o->offset;
  return o->offset + o->size;
}

static int64_t lowest_place(const plan *p, prn_op *const *kernels,
                            const uint32_t *placed, uint32_t n, uint32_t i) {
  int64_t at = 0, before = -1;
  while (before != at) { /* past every neighbour in the way, until none is */
    before = at;
    for (uint32_t k = 0; k < n; k++)
      at = place_beside(p, kernels, placed[k], i, at);
  }
  return at;
}

static prn_dim best_fit(plan *p, prn_op *const *kernels) {
  uint32_t *order = prn_alloc(prn_array_size(sizeof *order, p->num_pieces));
  int64_t top = 0;
  sort_by_size(p, order);
  for (uint32_t k = 0; k < p->num_pieces; k++) {
    piece *x = &p->pieces[order[k]];
    x->offset = lowest_place(p, kernels, order, k, order[k]);
    if (x->offset + x->size > top) top = x->offset + x->size;
    prn_op_set_attr(x->op, "offset",
                    prn_attr_dim(p->ctx, prn_dim_const(p->ctx, x->offset)));
  }
  prn_free(order);
  return prn_dim_const(p->ctx, top);
}

/* ---- symbolic sizes: slots ---- */

enum { NO_FIT = 4 };

/* How well piece x fits slot t: 0 exact, 1 inside, 2 grows it, 3 unclear. It
 * does not where the larger of both has too many terms to be written down. */
static int fit(prn_ctx *ctx, const piece *x, const slot *t) {
  if (x->bytes == t->bytes) return 0;
  prn_dim big = prn_dim_max(ctx, x->bytes, t->bytes);
  if (!prn_dim_known(big)) return NO_FIT;
  return big == t->bytes ? 1 : big == x->bytes ? 2 : 3;
}

static uint32_t choose_slot(const plan *p, prn_op *const *kernels,
                            const slot *slots, uint32_t n, uint32_t i,
                            const uint32_t *tenant) {
  const piece *x = &p->pieces[i];
  uint32_t best = n;
  int best_fit_seen = NO_FIT;
  for (uint32_t k = 0; k < n; k++) {
    bool freed =
        slots[k].busy_until < x->first || may_overlay(p, kernels, tenant[k], i);
    int f = freed ? fit(p->ctx, x, &slots[k]) : NO_FIT;
    if (f < best_fit_seen) {
      best = k;
      best_fit_seen = f;
    }
  }
  return best;
}

static prn_dim share_slots(plan *p, prn_op *const *kernels) {
  uint32_t n = 0;
  slot *slots = prn_alloc(prn_array_size(sizeof *slots, p->num_pieces));
  uint32_t *tenant = prn_alloc(prn_array_size(sizeof *tenant, p->num_pieces));
  for (uint32_t i = 0; i < p->num_pieces; i++) { /* by first use */
    piece *x = &p->pieces[i];
    x->slot = choose_slot(p, kernels, slots, n, i, tenant);
    if (x->slot == n) slots[n++] = (slot){.bytes = x->bytes};
    slot *t = &slots[x->slot];
    t->bytes = prn_dim_max(p->ctx, t->bytes, x->bytes);
    t->busy_until = x->last;
    tenant[x->slot] = i;
  }
  prn_dim top = prn_dim_const(p->ctx, 0);
  for (uint32_t k = 0; k < n; k++) { /* reuse `bytes` for the address */
    prn_dim size = round_up(p->ctx, slots[k].bytes);
    slots[k].bytes = top;
    top = prn_dim_add(p->ctx, top, size);
  }
  for (uint32_t i = 0; i < p->num_pieces; i++)
    prn_op_set_attr(p->pieces[i].op, "offset",
                    prn_attr_dim(p->ctx, slots[p->pieces[i].slot].bytes));
  prn_free(slots);
  prn_free(tenant);
  return top;
}

/* ---- weights ---- */

typedef struct weights {
  prn_ctx *ctx;
  prn_map seen; /* packing and tensor -> offset + 1 */
  int64_t top, align;
  prn_status status;
} weights;

/* Two constants of one tensor in one format share their bytes. */
static prn_str identity(weights *w, const prn_packing *p, const void *format) {
  const void *same[3] = {p->t->data, p->t->mask, p->t->type};
  int64_t key[12] = {(intptr_t)format, p->nk,    p->k,    p->n,    p->nr,
                     p->group,         p->depth, p->tile, p->dtype};
  memcpy(key + 9, same, sizeof same);
  return prn_intern(w->ctx, (prn_str){(const char *)key, sizeof key});
}

static prn_status place_constant(void *user, prn_op *op) {
  weights *w = user;
  int64_t bytes;
  if (!prn_op_is(op, PRN_OP_mem_constant)) return PRN_OK;
  prn_str pack = prn_op_string(op, "pack", "dense");
  const prn_pack_format *format = prn_pack_find(pack);
  prn_packing p = prn_packing_of(op);
  if (!format)
    return prn_op_error(op, "unknown packing '%.*s'", PRN_STR_ARG(pack));
  void **place = prn_map_slot(&w->seen, identity(w, &p, format));
  if (!*place) {
    if (!format->size(&p, &bytes))
      return prn_op_error(op, "cannot be packed as '%.*s'", PRN_STR_ARG(pack));
    if (bytes > INT64_MAX - w->align ||
        !prn_add_i64(w->top, (bytes + w->align - 1) / w->align * w->align,
                     &bytes))
      return prn_op_error(op, "weights are too large");
    *place = (void *)(intptr_t)(w->top + 1);
    w->top = bytes;
  }
  int64_t offset = (int64_t)(intptr_t)*place - 1;
  prn_op_set_attr(op, "offset", prn_attr_int(w->ctx, offset));
  return PRN_OK;
}

/* ---- the pass ---- */

static bool all_constant(plan *p) {
  for (uint32_t i = 0; i < p->num_pieces; i++) {
    piece *x = &p->pieces[i];
    if (!prn_dim_is_const(round_up(p->ctx, x->bytes), &x->size)) return false;
  }
  return p->num_pieces <= BEST_FIT_MAX;
}

static prn_status plan_func(prn_module *m, prn_op *func, int64_t align) {
  plan p = {.m = m, .ctx = m->ctx};
  weights w = {.ctx = m->ctx, .align = align};
  uint32_t at = 0;
  prn_block *body = prn_op_block(func, "body");
  scan(&p, body);
  prn_op **kernels = prn_alloc(prn_array_size(sizeof *kernels, p.at + 1));
  list_kernels(body, kernels, &at);
  prn_dim arena =
      all_constant(&p) ? best_fit(&p, kernels) : share_slots(&p, kernels);
  prn_op_set_attr(func, "arena", prn_attr_dim(m->ctx, arena));
  prn_status status = PRN_OK;
  if (!prn_dim_known(arena))
    status =
        prn_op_error(func, "the size of the arena has too many terms in the "
                           "open sizes of the inputs: fix one of them, as by "
                           "prunec --dim");
  if (status == PRN_OK) status = prn_walk(body, true, place_constant, &w);
  prn_op_set_attr(func, "weights", prn_attr_int(m->ctx, w.top));
  prn_free(kernels);
  prn_free(p.pieces);
  prn_ptrmap_destroy(&p.of);
  prn_map_destroy(&w.seen);
  return status;
}

prn_status prn_plan_memory(prn_module *m, int64_t align) {
  prn_status status = PRN_OK;
  PRN_EACH_OP(op, m->body)
    if (prn_op_is(op, PRN_OP_mem_func) && plan_func(m, op, align) != PRN_OK)
      status = PRN_FAIL;
  return status;
}

#define OPTIONS(X)               \
  X(INT, align, 64, "[64,4096]", \
    "Bytes that weights begin at a multiple of; a power of two")
#define STATS(X)
PRN_PASS_TABLES;

static prn_status run(prn_pass_env *env, prn_module *m) {
  const struct opts *o = env->opts;
  if (o->align & (o->align - 1))
    return prn_pass_error(env, "align %lld is not a power of two",
                          (long long)o->align);
  return prn_plan_memory(m, o->align);
}

const prn_pass prn_pass_plan_memory = {
    .name = "plan-memory",
    .summary = "Give every allocation its place in one arena",
    .reads = PRN_DIALECT_MEM | PRN_DIALECT_NN,
    .writes = PRN_DIALECT_MEM | PRN_DIALECT_NN,
    PRN_PASS_COMMON,
};
