/* Compaction; see compact.h. */
#include "passes/compact/compact.h"

#include <string.h>

#include "ir/mask.h"
#include "ir/rewrite.h"
#include "passes/analysis/layout.h"

/* ---- what is left ---- */

/* NULL: the atom stays as it is. */
static const prn_kept *kept_of(const prn_removal *r, const prn_space *atom) {
  const prn_kept *k = atom->id ? &r->kept[atom->id - 1] : NULL;
  return k && k->at ? k : NULL;
}

static int64_t size_of(const prn_space *x) {
  int64_t v = 0;
  (void)prn_dim_is_const(x->size, &v);
  return v;
}

prn_dim prn_removal_size(const prn_removal *r, prn_space *x) {
  prn_ctx *ctx = r->module->ctx;
  x = prn_space_find(x);
  if (x->kind == PRN_SPACE_ATOM) {
    const prn_kept *kept = kept_of(r, x);
    return kept ? prn_dim_const(ctx, kept->n) : x->size;
  }
  bool sum = x->kind == PRN_SPACE_SUM;
  prn_dim size = prn_dim_const(ctx, sum ? 0 : 1);
  for (uint32_t i = 0; i < x->n; i++) {
    prn_dim each = prn_removal_size(r, x->parts[i]);
    size = sum ? prn_dim_add(ctx, size, each) : prn_dim_mul(ctx, size, each);
  }
  return size;
}

prn_dim prn_removal_dim(const prn_removal *r, const prn_value *v,
                        int32_t axis) {
  prn_space *x = prn_coupling_space(r->c, v, axis);
  return x ? prn_removal_size(r, x) : v->type->dims[axis];
}

bool prn_removal_keeps(const prn_removal *r, prn_space *x, int64_t at) {
  x = prn_space_find(x);
  if (x->kind == PRN_SPACE_ATOM) {
    const prn_kept *kept = kept_of(r, x);
    return !kept || !kept->gone || !kept->gone[at];
  }
  for (uint32_t k = x->n; k-- > 0 && x->kind == PRN_SPACE_PRODUCT;) {
    int64_t n = size_of(x->parts[k]);
    if (!prn_removal_keeps(r, x->parts[k], at % n)) return false;
    at /= n;
  }
  for (uint32_t k = 0; k < x->n && x->kind == PRN_SPACE_SUM; k++) {
    int64_t n = size_of(x->parts[k]);
    if (at < n) return prn_removal_keeps(r, x->parts[k], at);
    at -= n;
  }
  return true;
}

static int64_t size_left(const prn_removal *r, prn_space *x) {
  int64_t v = 0;
  (void)prn_dim_is_const(prn_removal_size(r, x), &v);
  return v;
}

int64_t prn_removal_source(const prn_removal *r, prn_space *x, int64_t at) {
  x = prn_space_find(x);
  if (x->kind == PRN_SPACE_ATOM) {
    const prn_kept *kept = kept_of(r, x);
    return kept ? kept->at[at] : at;
  }
  int64_t from = 0, scale = 1;
  for (uint32_t k = x->n; k-- > 0 && x->kind == PRN_SPACE_PRODUCT;) {
    int64_t n = size_left(r, x->parts[k]);
    from += scale * prn_removal_source(r, x->parts[k], at % n);
    scale *= size_of(x->parts[k]);
    at /= n;
  }
  for (uint32_t k = 0; k < x->n && x->kind == PRN_SPACE_SUM; k++) {
    int64_t n = size_left(r, x->parts[k]);
    if (at < n) return from + prn_removal_source(r, x->parts[k], at);
    at -= n;
    from += size_of(x->parts[k]);
  }
  return from;
}

static void note_kept(void *user, prn_space *atom) {
  const prn_removal **r = user;
  if (*r && kept_of(*r, atom)) *r = NULL;
}

const int64_t *prn_removal_sources(const prn_removal *r, const prn_value *v,
                                   int32_t axis) {
  prn_space *x = prn_coupling_space(r->c, v, axis);
  const prn_removal *untouched = r;
  int64_t n;
  if (x) prn_space_atoms(x, note_kept, &untouched);
  if (untouched || !prn_dim_is_const(prn_removal_size(r, x), &n)) return NULL;
  int64_t *from = PRN_ARENA_ARRAY(r->env->scratch, int64_t, n);
  for (int64_t i = 0; i < n; i++)
    from[i] = prn_removal_source(r, x, i);
  return from;
}

/* ---- what is zero ---- */

/* Which lines of a constant, across each of its axes, are zero throughout. */
typedef struct lines {
  unsigned char *zero[PRN_LAYOUT_MAX_RANK];
} lines;

static lines *lines_of(const prn_pass_env *env, const prn_tensor *t) {
  int64_t size[PRN_LAYOUT_MAX_RANK], at[PRN_LAYOUT_MAX_RANK] = {0};
  int32_t rank = t->type->rank;
  lines *l = PRN_ARENA_NEW(env->scratch, lines);
  if (rank > PRN_LAYOUT_MAX_RANK || !t->data) return l;
  unsigned char *bits = prn_tensor_nonzero_bits(t);
  if (!bits) prn_out_of_memory((size_t)prn_tensor_count(t) / 8);
  for (int32_t i = 0; i < rank; i++) {
    (void)prn_dim_is_const(t->type->dims[i], &size[i]);
    l->zero[i] = prn_arena_alloc(env->scratch, (size_t)size[i]);
    memset(l->zero[i], 1, (size_t)size[i]);
  }
  for (int64_t e = 0, n = prn_tensor_count(t); e < n; e++) {
    if (bits[e / 8] >> (e % 8) & 1)
      for (int32_t i = 0; i < rank; i++)
        l->zero[i][at[i]] = 0;
    for (int32_t i = rank; i-- > 0 && ++at[i] == size[i];)
      at[i] = 0;
  }
  prn_free(bits);
  return l;
}

typedef struct finder {
  prn_pass_env *env;
  prn_ptrmap lines; /* of constants */
} finder;

typedef struct line_check {
  const unsigned char *zero;
  bool all;
} line_check;

static void check_line(void *user, int64_t place) {
  line_check *c = user;
  c->all = c->all && c->zero && c->zero[place];
}

static bool member_is_zero(finder *f, const prn_coupling *c, const prn_group *g,
                           const prn_member *m, int64_t i) {
  void **slot = prn_ptrmap_slot(&f->lines, m->constant);
  if (!*slot)
    *slot = lines_of(f->env, prn_value_constant(&m->constant->results[0]));
  line_check check = {((lines *)*slot)->zero[m->axis], true};
  prn_member_places(g, c, m, i, check_line, &check);
  return check.all;
}

/* Keeps the indices that are not zero in all neutral members; at least one
 * member is. The last one stays. */
static int64_t find_zeros(finder *f, const prn_coupling *c, const prn_group *g,
                          prn_kept *out) {
  unsigned char *gone = prn_arena_alloc(f->env->scratch, (size_t)g->size);
  int64_t *at = PRN_ARENA_ARRAY(f->env->scratch, int64_t, g->size);
  for (int64_t i = 0; i < g->size; i++) {
    bool zero = false;
    for (size_t k = 0; k < g->num_members; k++) {
      if (!g->members[k].neutral) continue;
      zero = member_is_zero(f, c, g, &g->members[k], i);
      if (!zero) break;
    }
    gone[i] = zero;
    if (!zero) at[out->n++] = i;
  }
  if (out->n == 0) gone[at[out->n++] = 0] = 0;
  if (out->n == g->size) return 0;
  out->at = at;
  out->gone = gone;
  return g->size - out->n;
}

/* ---- the module ---- */

static void set_types(const prn_removal *r, prn_op *op) {
  prn_ctx *ctx = r->module->ctx;
  for (uint32_t i = 0; i < op->num_results; i++) {
    prn_value *v = &op->results[i];
    if (!prn_ptrmap_has(&r->c->dims, v) || !prn_type_is_ranked(v->type))
      continue;
    int32_t rank = v->type->rank;
    prn_dim *dims = PRN_ARENA_ARRAY(r->env->scratch, prn_dim, rank + 1);
    bool changed = false;
    for (int32_t k = 0; k < rank; k++) {
      dims[k] = prn_removal_dim(r, v, k);
      changed = changed || prn_dim_cmp(dims[k], v->type->dims[k]) != 0;
    }
    if (changed) v->type = prn_type_tensor(ctx, v->type->dtype, rank, dims);
  }
}

prn_status prn_removal_apply(const prn_removal *r) {
  PRN_EACH_OP(graph, r->module->body) {
    if (!prn_op_is(graph, PRN_OP_onnx_graph)) continue;
    prn_block *body = prn_op_block(graph, "body");
    for (prn_op *op = body->first; op; op = op->next)
      if (!prn_op_has_trait(op, PRN_CONSTANT))
        PRN_TRY(prn_removal_rewrite(r, op));
    for (prn_op *op = body->first; op; op = op->next)
      if (prn_op_has_trait(op, PRN_CONSTANT))
        PRN_TRY(prn_removal_gather(r, op));
      else
        set_types(r, op);
    for (prn_op *op = body->last, *before; op; op = before) {
      before = op->prev;
      if (prn_op_has_trait(op, PRN_CONSTANT) && prn_op_is_dead(op))
        prn_op_erase(op);
    }
  }
  return PRN_OK;
}

static void tell(const prn_removal *r, const prn_group *g, int64_t n) {
  const prn_value *v = &g->members[0].constant->results[0];
  prn_pass_remark(r->env, g->members[0].constant, PRN_REASON_Compacted,
                  "%lld of %lld indices of axis %d of %s are gone, with %zu "
                  "weights",
                  (long long)n, (long long)g->size, (int)g->members[0].axis,
                  prn_value_str(v), g->num_members);
}

static bool concerns(const prn_removal *r, const prn_group *g, bool heads,
                     bool mixed) {
  if (g->atom->frozen.text || (g->atom->mixed.text && !mixed)) return false;
  return !heads || prn_group_kind_of(r->c, g) == PRN_GROUP_HEADS;
}

prn_status prn_compact_zeros(prn_pass_env *env, prn_module *m, bool heads,
                             bool mixed, prn_compact_stats *out) {
  prn_removal r = {
      .env = env, .module = m, .c = prn_pass_coupling(env), .stats = out};
  finder f = {.env = env};
  r.kept = PRN_ARENA_ARRAY(env->scratch, prn_kept, r.c->size);
  for (size_t i = 0; i < r.c->size; i++) {
    const prn_group *g = &r.c->groups[i];
    if (!concerns(&r, g, heads, mixed)) continue;
    int64_t n = find_zeros(&f, r.c, g, &r.kept[i]);
    if (!n) continue;
    out->groups++;
    out->indices += (uint64_t)n;
    tell(&r, g, n);
  }
  prn_ptrmap_destroy(&f.lines);
  return out->groups ? prn_removal_apply(&r) : PRN_OK;
}
