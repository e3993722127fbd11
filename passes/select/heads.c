/* select-heads: the attention heads of smallest score go.
 *
 * A head's score is the norm of its slices of the query, key, value and output
 * weights. Its rows of the output projection become zero, so that it
 * contributes nothing at all, and where nothing else reads them its queries,
 * keys and values, with their biases, too. At least one head of each layer
 * stays. Michel et al., "Are sixteen heads really better than one?", 2019.
 *
 * Where query heads share keys and values (grouped queries), whole groups go,
 * or the same number of query heads in each group, so that the shape stays
 * regular. */
#include <math.h>
#include <string.h>

#include "passes/analysis/heads.h"
#include "passes/select/select.h"

#define OPTIONS(X)                                                          \
  X(FLOAT, ratio, 0.5, "[0,1)", "Fraction of the heads that goes")          \
  X(INT, count, 0, "[0,inf)",                                               \
    "Number of heads (or groups) of each layer "                            \
    "that goes, instead")                                                   \
  X(ENUM, scope, tensor, "tensor|global",                                   \
    "Rank the heads of each layer, or of all layers together")              \
  X(ENUM, unit, auto, "auto|group|query",                                   \
    "With grouped queries: whole key/value groups, or query heads of each " \
    "group; auto takes groups where there are several")
#define STATS(X)                \
  X(layers, "attention layers") \
  X(heads, "heads there were")  \
  X(removed, "heads removed")   \
  X(pruned, "entries pruned by this pass")
PRN_PASS_TABLES;

enum { PER_LAYER, GLOBAL };
enum { AUTO, GROUP, QUERY };

/* A layer whose heads are chosen. A unit is a group, or a query head. */
typedef struct layer {
  const prn_attention *a;
  bool by_group;
  int64_t units;
  double *scores;       /* of the units */
  unsigned char *prune; /* units */
} layer;

typedef struct job {
  const prn_pass_env *env;
  prn_targets targets;
  prn_ptrmap target_of; /* constant -> prn_target */
  prn_ptrmap mask_of;   /* constant -> prn_mask, both in env->scratch */
  layer *layers;
  size_t num_layers;
} job;

/* ---- scores ---- */

/* Adds the scores at `entries` to a running norm, neighbours in one go. */
static prn_status add_entries(const prn_score *s, const int64_t *entries,
                              int64_t n, double *sum) {
  float buf[256];
  for (int64_t i = 0, len; i < n; i += len) {
    for (len = 1; i + len < n && len < 256; len++)
      if (entries[i + len] != entries[i] + len) break;
    PRN_TRY(prn_score_read(s, entries[i], len, buf));
    for (int64_t k = 0; k < len; k++)
      if (!s->tensor->mask ||
          prn_mask_keeps(s->tensor->mask->data, entries[i] + k))
        *sum = prn_norm_add(s->norm, *sum, (double)buf[k]);
  }
  return PRN_OK;
}

static bool same_slice(const prn_head_part *p, int64_t a, int64_t b) {
  bool same = true;
  for (uint32_t i = 0; same && i < p->track.num_digits; i++) {
    const prn_digit *d = &p->track.digits[i];
    same = d->axis < 0 || a / d->weight % d->size == b / d->weight % d->size;
  }
  return same;
}

/* Whether head h is the first of a unit's heads to have its slice of p. */
static bool first_with_slice(const layer *l, const prn_head_part *p, int64_t h,
                             int64_t unit) {
  if (!l->by_group) return true;
  for (int64_t k = 0; k < h; k++)
    if (prn_head_group(l->a, k) == unit && same_slice(p, k, h)) return false;
  return true;
}

static prn_status add_head(const job *j, const layer *l, int64_t h,
                           int64_t unit, double *sum, prn_norm *norm) {
  for (size_t i = 0; i < l->a->num_parts; i++) {
    const prn_head_part *p = &l->a->parts[i];
    const prn_target *t = prn_ptrmap_get(&j->target_of, p->constant);
    if (!t || p->bias || !first_with_slice(l, p, h, unit)) continue;
    *norm = t->score.norm;
    int64_t n;
    int64_t *entries = prn_head_entries(p, h, &n);
    if (!entries) return prn_pass_error(j->env, "no memory to score the heads");
    prn_status status = add_entries(&t->score, entries, n, sum);
    prn_free(entries);
    PRN_TRY(status);
  }
  return PRN_OK;
}

static const prn_target *output_target(const job *j, const prn_attention *a) {
  for (size_t i = 0; i < a->num_parts; i++)
    if (a->parts[i].role == PRN_HEAD_O)
      return prn_ptrmap_get(&j->target_of, a->parts[i].constant);
  return NULL;
}

static int64_t unit_of(const layer *l, int64_t h) {
  return l->by_group ? prn_head_group(l->a, h) : h;
}

static prn_status score_layer(const job *j, layer *l) {
  const prn_target *o = output_target(j, l->a);
  prn_norm norm = o->score.norm;
  if (o->score.kind->by_index) {
    for (int64_t u = 0; u < l->units; u++) {
      float v;
      PRN_TRY(prn_score_read(&o->score, u, 1, &v));
      l->scores[u] = (double)v;
    }
    return PRN_OK;
  }
  for (int64_t u = 0; u < l->units; u++)
    l->scores[u] = prn_norm_start(norm);
  for (int64_t h = 0; h < l->a->heads; h++) {
    int64_t u = unit_of(l, h);
    PRN_TRY(add_head(j, l, h, u, &l->scores[u], &norm));
  }
  for (int64_t u = 0; u < l->units; u++)
    if (norm == PRN_NORM_L2) l->scores[u] = sqrt(l->scores[u]);
  return PRN_OK;
}

/* ---- choice ---- */

/* How many of n units go: never all. */
static int64_t share(const job *j, int64_t n) {
  const struct opts *o = j->env->opts;
  int64_t k =
      prn_pass_given(j->env, "count") ? o->count : prn_share_of(o->ratio, n);
  return k < n ? k : n - 1;
}

/* The same number of query heads in each group. */
static void choose_in_groups(const job *j, layer *l) {
  const prn_attention *a = l->a;
  int64_t each = a->heads / a->groups, k = share(j, each);
  double *scores = PRN_ARENA_ARRAY(j->env->scratch, double, each);
  int64_t *heads = PRN_ARENA_ARRAY(j->env->scratch, int64_t, each);
  unsigned char *prune = prn_arena_alloc(j->env->scratch, (size_t)each);
  for (int64_t g = 0; g < a->groups; g++) {
    int64_t n = 0;
    for (int64_t h = 0; h < a->heads && n < each; h++)
      if (prn_head_group(a, h) == g) {
        heads[n] = h;
        scores[n++] = l->scores[h];
      }
    prn_groups_lowest(scores, n, k, prune);
    for (int64_t i = 0; i < n; i++)
      l->prune[heads[i]] = prune[i];
  }
}

static void choose_per_layer(const job *j) {
  for (size_t i = 0; i < j->num_layers; i++) {
    layer *l = &j->layers[i];
    if (!l->by_group && l->a->groups < l->a->heads)
      choose_in_groups(j, l);
    else
      prn_groups_lowest(l->scores, l->units, share(j, l->units), l->prune);
  }
}

/* All layers together, the lowest first, but not the last of a layer. */
static void choose_global(const job *j) {
  const struct opts *o = j->env->opts;
  int64_t total = 0, at = 0;
  for (size_t i = 0; i < j->num_layers; i++)
    total += j->layers[i].units;
  double *scores = PRN_ARENA_ARRAY(j->env->scratch, double, total);
  unsigned char *gone = prn_arena_alloc(j->env->scratch, (size_t)total);
  for (size_t i = 0; i < j->num_layers; i++)
    for (int64_t u = 0; u < j->layers[i].units; u++)
      scores[at++] = j->layers[i].scores[u];
  int64_t want = prn_share_of(o->ratio, total);
  for (int64_t done = 0; done < want; done++) {
    int64_t best = -1, best_unit = 0, base = 0;
    layer *from = NULL;
    for (size_t i = 0; i < j->num_layers; base += j->layers[i++].units) {
      layer *l = &j->layers[i];
      int64_t left = 0;
      for (int64_t u = 0; u < l->units; u++)
        left += !l->prune[u];
      for (int64_t u = 0; left > 1 && u < l->units; u++)
        if (!gone[base + u] && (best < 0 || scores[base + u] < scores[best])) {
          best = base + u;
          best_unit = u;
          from = l;
        }
    }
    if (!from) return; /* one is left everywhere */
    gone[best] = from->prune[best_unit] = 1;
  }
}

/* ---- masks ---- */

static bool head_goes(const layer *l, int64_t h) {
  return l->prune[unit_of(l, h)] != 0;
}

/* A slice may go when every head that has it goes. */
static bool slice_goes(const layer *l, const prn_head_part *p, int64_t h) {
  for (int64_t k = 0; k < l->a->heads; k++)
    if (same_slice(p, k, h) && !head_goes(l, k)) return false;
  return true;
}

static prn_status mask_for(job *j, prn_op *constant, prn_mask **out) {
  void **slot = prn_ptrmap_slot(&j->mask_of, constant);
  if (!*slot) {
    prn_mask *m = PRN_ARENA_NEW(j->env->scratch, prn_mask);
    const prn_tensor *t = prn_value_constant(prn_op_result(constant, 0));
    PRN_TRY(prn_mask_create(j->env->ctx, prn_tensor_count(t), true, m));
    *slot = m;
  }
  *out = *slot;
  return PRN_OK;
}

static prn_status clear_slice(job *j, const prn_head_part *p, int64_t h) {
  prn_mask *m;
  int64_t n;
  PRN_TRY(mask_for(j, p->constant, &m));
  int64_t *entries = prn_head_entries(p, h, &n);
  if (!entries) return prn_pass_error(j->env, "no memory to mask the heads");
  for (int64_t i = 0; i < n; i++)
    prn_mask_fill(m, entries[i], 1, false);
  prn_free(entries);
  return PRN_OK;
}

static prn_status mask_layer(job *j, const layer *l) {
  struct stats *s = j->env->stats;
  prn_strbuf kept = {0};
  prn_status status = PRN_OK;
  int64_t gone = 0;
  for (int64_t h = 0; h < l->a->heads; h++) {
    if (!head_goes(l, h)) {
      prn_strbuf_fmt(&kept, " %lld", (long long)h);
      continue;
    }
    gone++;
    for (size_t i = 0; status == PRN_OK && i < l->a->num_parts; i++) {
      const prn_head_part *p = &l->a->parts[i];
      bool may = p->role == PRN_HEAD_O || l->a->exclusive;
      if (may && slice_goes(l, p, h)) status = clear_slice(j, p, h);
    }
  }
  s->layers++;
  s->heads += (uint64_t)l->a->heads;
  s->removed += (uint64_t)gone;
  prn_pass_remark(j->env, l->a->op,
                  gone ? PRN_REASON_Pruned : PRN_REASON_NothingToDo,
                  "%lld of %lld heads stay:%s", (long long)(l->a->heads - gone),
                  (long long)l->a->heads, kept.data ? kept.data : "");
  prn_strbuf_destroy(&kept);
  return status;
}

static void attach_masks(job *j) {
  struct stats *s = j->env->stats;
  for (size_t i = 0; i < j->mask_of.size; i++) {
    const prn_mask *m = j->mask_of.entries[i].value;
    /* keys are the constants that mask_for was given */
    prn_op *op = (prn_op *)(uintptr_t)j->mask_of.entries[i].key;
    const prn_tensor *t = prn_value_constant(prn_op_result(op, 0));
    int64_t before =
        t->mask ? prn_bits_count(t->mask->data, m->count) : m->count;
    prn_mask_attach(op, m);
    s->pruned += (uint64_t)(before - prn_bits_count(m->bits, m->count));
  }
}

/* ---- */

static prn_status open_layers(job *j) {
  const struct opts *o = j->env->opts;
  const prn_heads *h = prn_pass_heads(j->env);
  j->layers = PRN_ARENA_ARRAY(j->env->scratch, layer, h->size);
  for (size_t i = 0; i < h->size; i++) {
    const prn_attention *a = &h->at[i];
    if (!output_target(j, a)) {
      prn_pass_remark(j->env, a->op, PRN_REASON_NotScored,
                      "the output projection of these heads has no score");
      continue;
    }
    layer *l = &j->layers[j->num_layers++];
    bool grouped = a->groups > 1 && a->groups < a->heads;
    *l = (layer){.a = a, .by_group = grouped && o->unit != QUERY};
    l->units = l->by_group ? a->groups : a->heads;
    l->scores = PRN_ARENA_ARRAY(j->env->scratch, double, l->units);
    l->prune = prn_arena_alloc(j->env->scratch, (size_t)l->units);
    if (o->scope == GLOBAL && a->groups < a->heads && !l->by_group)
      return prn_pass_error(j->env, "query heads of groups are ranked within "
                                    "their group: scope=global does not fit");
    PRN_TRY(score_layer(j, l));
  }
  for (size_t i = 0; i < h->num_rejected; i++)
    prn_pass_remark(j->env, h->rejected[i].op, PRN_REASON_NoHeads, "%s",
                    h->rejected[i].why);
  return PRN_OK;
}

static prn_status select_all(job *j) {
  const struct opts *o = j->env->opts;
  for (size_t i = 0; i < j->targets.size; i++)
    *prn_ptrmap_slot(&j->target_of, j->targets.at[i].site->constant) =
        &j->targets.at[i];
  PRN_TRY(open_layers(j));
  if (j->num_layers == 0)
    prn_pass_warning(j->env, "the model has no attention heads to remove");
  if (o->scope == GLOBAL)
    choose_global(j);
  else
    choose_per_layer(j);
  for (size_t i = 0; i < j->num_layers; i++)
    PRN_TRY(mask_layer(j, &j->layers[i]));
  attach_masks(j);
  for (size_t i = 0; i < j->targets.size; i++)
    prn_target_leave(&j->targets.at[i]);
  return PRN_OK;
}

static prn_status run(prn_pass_env *env, prn_module *m) {
  job j = {.env = env};
  (void)m;
  PRN_TRY(prn_targets_collect(env, &j.targets));
  prn_status status = select_all(&j);
  prn_ptrmap_destroy(&j.target_of);
  prn_ptrmap_destroy(&j.mask_of);
  return status;
}

static prn_status check(prn_pass_env *env) {
  const struct opts *o = env->opts;
  bool counted = prn_pass_given(env, "count");
  if (counted && prn_pass_given(env, "ratio"))
    return prn_pass_error(env, "give either ratio or count");
  if (counted && o->scope == GLOBAL)
    return prn_pass_error(env, "count is for each layer: it does not go with "
                               "scope=global");
  return PRN_OK;
}

const prn_pass prn_pass_select_heads = {
    .name = "select-heads",
    .summary = "Remove the attention heads of smallest score",
    .reads = PRN_DIALECT_ONNX,
    .writes = PRN_DIALECT_ONNX,
    .needs = PRN_WEIGHTS | PRN_SHAPES | PRN_SITES | PRN_HEADS,
    .keeps = PRN_ALL_ANALYSES,
    .check = check,
    PRN_PASS_COMMON,
};
