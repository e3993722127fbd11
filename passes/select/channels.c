/* select-channels: the indices of smallest score of every group go.
 *
 * A group (print-groups) is what shrinks together: the channels of a residual
 * stream, the neurons of an FFN. The score of an index is that of its slices of
 * the group's members: of each member the norm's sum over the slice, of all the
 * mean; for comparing groups with each other, over the group's mean. Scales of
 * normalisations count with their magnitude. Fang et al., "DepGraph: Towards
 * any structural pruning", 2023, section 3.4, and its implementation. Slices
 * become zero in every member, so that compact-channels can remove them. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "passes/analysis/coupling.h"
#include "passes/select/select.h"

#define OPTIONS(X)                                                         \
  X(FLOAT, ratio, 0.5, "[0,1)", "Fraction that goes")                      \
  X(ENUM, of, indices, "indices|params|bytes|flops",                       \
    "Of what: of the indices, or of all the model's weights, their bytes " \
    "or the FLOPs of products, with sizes that are open taken as 1")       \
  X(ENUM, normalise, mean, "mean|max|lamp|standard|none",                  \
    "What a group's scores are divided by before groups are compared: "    \
    "their mean, their maximum, the sum of what is not smaller, nothing; " \
    "standard: first less their mean, then by their deviation")            \
  X(INT, round_to, 1, "[1,inf)",                                           \
    "As many stay as are a multiple of this, where there are that many")   \
  X(ENUM, scope, tensor, "tensor|global",                                  \
    "Rank the indices of each group, or of all groups together")           \
  X(ENUM, units, channels, "channels|heads|elements|all",                  \
    "Groups to choose from: heads are whole blocks of every member, "      \
    "elements those of every head, channels all others")                   \
  X(BOOL, mixed, false, "",                                                \
    "Also dimensions that are normalised, such as the width of a "         \
    "transformer: compaction changes results there")
#define STATS(X)                            \
  X(groups, "groups that were chosen from") \
  X(indices, "indices there were")          \
  X(removed, "indices removed")             \
  X(pruned, "entries pruned by this pass")
PRN_PASS_TABLES;

enum { PER_GROUP, GLOBAL };
enum { INDICES, PARAMS, BYTES, FLOPS };
enum { MEAN, MAX, LAMP, STANDARD, NONE };
enum { ALL = PRN_GROUP_ELEMENTS + 1 };

typedef struct choice {
  const prn_group *g;
  double *scores;       /* of the indices */
  unsigned char *prune; /* indices */
} choice;

typedef struct job {
  prn_pass_env *env;
  const prn_coupling *c;
  prn_ptrmap score_of; /* constant -> prn_score */
  prn_ptrmap norms_of; /* constant -> double *[rank]: of lines of each axis */
  prn_ptrmap mask_of;  /* constant -> prn_mask */
  choice *at;
  size_t size;
} job;

/* ---- scores ---- */

/* The norm's sum over the entries of every line across each axis. */
static prn_status norms_of(job *j, const prn_score *s, double ***out) {
  void **slot = prn_ptrmap_slot(&j->norms_of, s->constant);
  const prn_tensor *x = s->tensor;
  int32_t rank = x->type->rank;
  int64_t size[PRN_LAYOUT_MAX_RANK], at[PRN_LAYOUT_MAX_RANK] = {0};
  int64_t count = prn_tensor_count(x);
  float buf[1024];
  *out = *slot;
  if (*slot) return PRN_OK;
  double **sums = PRN_ARENA_ARRAY(j->env->scratch, double *, rank);
  *slot = *out = sums;
  for (int32_t i = 0; i < rank; i++) {
    (void)prn_dim_is_const(x->type->dims[i], &size[i]);
    sums[i] = PRN_ARENA_ARRAY(j->env->scratch, double, size[i]);
    for (int64_t k = 0; k < size[i]; k++)
      sums[i][k] = prn_norm_start(s->norm);
    bool any = true;
    if (s->kind->slices) PRN_TRY(s->kind->slices(s, i, sums[i], &any));
    if (!any) sums[i] = NULL;
  }
  if (s->kind->slices) return PRN_OK;
  for (int64_t e = 0, n; e < count; e += n) {
    n = count - e < 1024 ? count - e : 1024;
    PRN_TRY(prn_score_read(s, e, n, buf));
    for (int64_t k = 0; k < n; k++) {
      bool there = !x->mask || prn_mask_keeps(x->mask->data, e + k);
      for (int32_t i = 0; i < rank; i++)
        sums[i][at[i]] =
            prn_norm_add(s->norm, sums[i][at[i]], there ? (double)buf[k] : 0);
      for (int32_t i = rank; i-- > 0 && ++at[i] == size[i];)
        at[i] = 0;
    }
  }
  return PRN_OK;
}

typedef struct adding {
  prn_norm norm;
  const double *line;
  double sum;
} adding;

static void add_place(void *user, int64_t place) {
  adding *a = user;
  double v = a->line[place];
  bool most = a->norm == PRN_NORM_LINF, least = a->norm == PRN_NORM_MIN;
  if (most || least)
    a->sum = (most ? v > a->sum : v < a->sum) ? v : a->sum;
  else
    a->sum += v;
}

/* Whether a member has a score; adds it to those of the group. */
static prn_status add_member(job *j, choice *ch, const prn_member *m,
                             bool *scored) {
  const prn_score *s = prn_ptrmap_get(&j->score_of, m->constant);
  double **lines;
  *scored = s != NULL;
  if (!s) return PRN_OK;
  PRN_TRY(norms_of(j, s, &lines));
  *scored = lines[m->axis] != NULL;
  for (int64_t i = 0; *scored && i < ch->g->size; i++) {
    adding a = {s->norm, lines[m->axis], prn_norm_start(s->norm)};
    prn_member_places(ch->g, j->c, m, i, add_place, &a);
    ch->scores[i] += a.sum;
  }
  return PRN_OK;
}

/* Scales have no score of their own: they are scored as the group's weights
 * are, if that is by magnitude. */
static prn_status score_scales(job *j, const prn_group *g) {
  const prn_score *like = NULL;
  for (size_t k = 0; k < g->num_members && !like; k++)
    like = prn_ptrmap_get(&j->score_of, g->members[k].constant);
  if (!like || like->kind != &prn_score_kind_magnitude) return PRN_OK;
  for (size_t k = 0; k < g->num_members; k++) {
    prn_op *c = g->members[k].constant;
    if (prn_ptrmap_has(&j->score_of, c) || !prn_is_norm_scale(&c->results[0]))
      continue;
    prn_score *s = PRN_ARENA_NEW(j->env->scratch, prn_score);
    prn_op_set_attr(c, prn_score_attr, like->attr);
    prn_status status = prn_score_open(c, s);
    prn_op_set_attr(c, prn_score_attr, NULL);
    PRN_TRY(status);
    *prn_ptrmap_slot(&j->score_of, c) = s;
  }
  return PRN_OK;
}

static int by_score(const void *a, const void *b) {
  double x = **(double *const *)a, y = **(double *const *)b;
  if (x != y) return x < y ? -1 : 1;
  return *(double *const *)a < *(double *const *)b ? -1 : 1;
}

/* Over the sum of itself and all that are larger. Lee et al., "Layer-adaptive
 * sparsity for the magnitude-based pruning", 2021. */
static void lamp(const job *j, choice *ch) {
  double **at = PRN_ARENA_ARRAY(j->env->scratch, double *, ch->g->size);
  double sum = 0;
  for (int64_t i = 0; i < ch->g->size; i++)
    at[i] = &ch->scores[i];
  qsort(at, (size_t)ch->g->size, sizeof(double *), by_score);
  for (int64_t i = ch->g->size; i-- > 0;) {
    sum += *at[i];
    if (sum > 0) *at[i] /= sum;
  }
}

/* What makes the scores of different groups comparable. */
static void normalise(const job *j, choice *ch) {
  const struct opts *o = j->env->opts;
  double n = (double)ch->g->size, mean = 0, most = 0, square = 0;
  if (o->normalise == LAMP) lamp(j, ch);
  for (int64_t i = 0; i < ch->g->size; i++) {
    mean += ch->scores[i] / n;
    if (ch->scores[i] > most) most = ch->scores[i];
  }
  for (int64_t i = 0; i < ch->g->size; i++)
    square += (ch->scores[i] - mean) * (ch->scores[i] - mean) / n;
  bool standard = o->normalise == STANDARD;
  double by = o->normalise == MEAN  ? mean
              : o->normalise == MAX ? most
              : standard            ? sqrt(square)
                                    : 1;
  for (int64_t i = 0; i < ch->g->size && by > 0; i++)
    ch->scores[i] = (ch->scores[i] - (standard ? mean : 0)) / by;
}

/* False when no member has a score. */
static prn_status score(job *j, choice *ch, bool *scored) {
  int64_t members = 0;
  PRN_TRY(score_scales(j, ch->g));
  for (size_t k = 0; k < ch->g->num_members; k++) {
    bool one;
    PRN_TRY(add_member(j, ch, &ch->g->members[k], &one));
    members += one;
  }
  for (int64_t i = 0; i < ch->g->size && members; i++)
    ch->scores[i] /= (double)members;
  *scored = members > 0;
  normalise(j, ch);
  return PRN_OK;
}

/* ---- choosing ---- */

/* A group with a weight that sites(...) leaves out is left alone. */
static bool selected(const job *j, const prn_group *g) {
  const prn_sites *sites = prn_pass_weight_sites(j->env);
  for (size_t i = 0; i < g->num_members; i++) {
    const prn_op *c = g->members[i].constant;
    if (prn_site_of(sites, c) && !prn_pass_site_selected(j->env, c))
      return false;
  }
  return true;
}

static bool concerns(const job *j, const prn_group *g) {
  const struct opts *o = j->env->opts;
  prn_group_kind kind = prn_group_kind_of(j->c, g);
  if (g->atom->frozen.text || (g->atom->mixed.text && !o->mixed)) return false;
  return (o->units == ALL || (int64_t)kind == o->units) && selected(j, g);
}

/* How many of n go when `want` should: what stays is a multiple of round_to,
 * and not nothing. */
static int64_t rounded(const job *j, int64_t n, int64_t want) {
  int64_t unit = ((const struct opts *)j->env->opts)->round_to;
  int64_t stay = (n - want + unit - 1) / unit * unit;
  if (stay < 1) stay = 1;
  return stay < n ? n - stay : 0;
}

/* All indices in one ranking. */
typedef struct ranking {
  int64_t n;
  double *scores;
  unsigned char *prune;
} ranking;

static ranking rank_all(const job *j) {
  ranking r = {0};
  int64_t at = 0;
  for (size_t i = 0; i < j->size; i++)
    r.n += j->at[i].g->size;
  r.scores = PRN_ARENA_ARRAY(j->env->scratch, double, r.n);
  r.prune = prn_arena_alloc(j->env->scratch, (size_t)r.n);
  for (size_t i = 0; i < j->size; at += j->at[i].g->size, i++)
    memcpy(r.scores + at, j->at[i].scores,
           (size_t)j->at[i].g->size * sizeof *r.scores);
  return r;
}

/* How many indices of each group go at a share: of each group's, or of all in
 * the ranking. */
static void amounts(const job *j, ranking *r, double share, int64_t *goes) {
  int64_t at = 0;
  if (r->n) {
    memset(r->prune, 0, (size_t)r->n);
    prn_groups_lowest(r->scores, r->n, prn_share_of(share, r->n), r->prune);
  }
  for (size_t i = 0; i < j->size; i++) {
    int64_t n = j->at[i].g->size, want = 0;
    if (!r->n) want = prn_share_of(share, n);
    for (int64_t k = 0; r->n && k < n; k++)
      want += r->prune[at++];
    goes[i] = rounded(j, n, want);
  }
}

/* The model's cost when so many indices go. */
static double cost(const job *j, prn_model_cost of, const int64_t *goes) {
  int64_t *left = PRN_ARENA_ARRAY(j->env->scratch, int64_t, j->c->size);
  for (size_t i = 0; i < j->c->size; i++)
    left[i] = j->c->groups[i].size;
  for (size_t i = 0; i < j->size; i++)
    left[j->at[i].g - j->c->groups] -= goes[i];
  return prn_coupling_cost(j->c, of, left);
}

/* The least share of indices that takes the ratio of what the cost is now. */
static double share_for(const job *j, ranking *r, prn_model_cost of,
                        int64_t *goes) {
  const struct opts *o = j->env->opts;
  double low = 0, high = 1;
  double most = (1 - o->ratio) * prn_coupling_cost(j->c, of, NULL);
  for (int step = 0; step < 40; step++) {
    double middle = (low + high) / 2;
    amounts(j, r, middle, goes);
    if (cost(j, of, goes) <= most)
      high = middle;
    else
      low = middle;
  }
  return high;
}

static void choose(const job *j) {
  const struct opts *o = j->env->opts;
  int64_t *goes = PRN_ARENA_ARRAY(j->env->scratch, int64_t, j->size);
  ranking r = o->scope == GLOBAL ? rank_all(j) : (ranking){0};
  prn_model_cost of = o->of == FLOPS   ? PRN_MODEL_FLOPS
                      : o->of == BYTES ? PRN_MODEL_BYTES
                                       : PRN_MODEL_PARAMS;
  double share = o->of == INDICES ? o->ratio : share_for(j, &r, of, goes);
  amounts(j, &r, share, goes);
  if (o->of != INDICES && share >= 1)
    prn_pass_warning(j->env,
                     "the groups that can shrink do not hold %g of "
                     "what the model costs: all that can go goes",
                     o->ratio);
  for (size_t i = 0; i < j->size; i++)
    prn_groups_lowest(j->at[i].scores, j->at[i].g->size, goes[i],
                      j->at[i].prune);
}

/* ---- masks ---- */

typedef struct clearing {
  prn_mask *mask;
  prn_axis_view view;
} clearing;

static void clear_place(void *user, int64_t place) {
  clearing *c = user;
  for (int64_t i = 0; i < c->view.outer; i++)
    prn_mask_fill(c->mask, (i * c->view.length + place) * c->view.inner,
                  c->view.inner, false);
}

static prn_status clear(job *j, const choice *ch, const prn_member *m) {
  const prn_tensor *t = prn_value_constant(&m->constant->results[0]);
  void **slot = prn_ptrmap_slot(&j->mask_of, m->constant);
  if (!*slot) {
    prn_mask *mask = PRN_ARENA_NEW(j->env->scratch, prn_mask);
    PRN_TRY(prn_mask_create(j->env->ctx, prn_tensor_count(t), true, mask));
    *slot = mask;
  }
  clearing c = {*slot, prn_axis_view_of(t->type, m->axis)};
  for (int64_t i = 0; i < ch->g->size; i++)
    if (ch->prune[i]) prn_member_places(ch->g, j->c, m, i, clear_place, &c);
  return PRN_OK;
}

static prn_status mask(job *j, const choice *ch) {
  struct stats *s = j->env->stats;
  int64_t gone = 0;
  for (int64_t i = 0; i < ch->g->size; i++)
    gone += ch->prune[i];
  s->groups++;
  s->indices += (uint64_t)ch->g->size;
  s->removed += (uint64_t)gone;
  for (size_t k = 0; gone && k < ch->g->num_members; k++)
    if (ch->g->members[k].neutral) PRN_TRY(clear(j, ch, &ch->g->members[k]));
  prn_op *first = ch->g->members[0].constant;
  prn_pass_remark(
      j->env, first, gone ? PRN_REASON_Pruned : PRN_REASON_NothingToDo,
      "%lld of %lld indices of axis %d of %s stay",
      (long long)(ch->g->size - gone), (long long)ch->g->size,
      (int)ch->g->members[0].axis, prn_value_str(&first->results[0]));
  return PRN_OK;
}

static void attach(job *j) {
  struct stats *s = j->env->stats;
  for (size_t i = 0; i < j->mask_of.size; i++) {
    const prn_mask *m = j->mask_of.entries[i].value;
    /* keys are constants of the module */
    prn_op *op = (prn_op *)(uintptr_t)j->mask_of.entries[i].key;
    const prn_tensor *t = prn_value_constant(&op->results[0]);
    int64_t before =
        t->mask ? prn_bits_count(t->mask->data, m->count) : m->count;
    prn_mask_attach(op, m);
    s->pruned += (uint64_t)(before - prn_bits_count(m->bits, m->count));
  }
}

/* ---- */

/* The scores that are there. */
static prn_status collect(job *j) {
  const prn_weights *w = prn_pass_weights(j->env);
  for (size_t i = 0; i < w->size; i++) {
    if (!prn_op_attr(w->ops[i], prn_score_attr) ||
        !prn_pass_site_selected(j->env, w->ops[i]))
      continue;
    prn_score *s = PRN_ARENA_NEW(j->env->scratch, prn_score);
    PRN_TRY(prn_score_open(w->ops[i], s));
    if (!s->kind->eval && !s->kind->slices)
      return prn_pass_error(j->env, "by %s scores, %s is what chooses",
                            s->kind->name, s->kind->chooser);
    *prn_ptrmap_slot(&j->score_of, w->ops[i]) = s;
  }
  if (j->score_of.size || !j->c->size) return PRN_OK;
  return prn_select_unscored(j->env);
}

static prn_status open(job *j) {
  j->at = PRN_ARENA_ARRAY(j->env->scratch, choice, j->c->size);
  for (size_t i = 0; i < j->c->size; i++) {
    const prn_group *g = &j->c->groups[i];
    choice ch = {.g = g};
    bool scored;
    if (!concerns(j, g)) continue;
    ch.scores = PRN_ARENA_ARRAY(j->env->scratch, double, g->size);
    ch.prune = prn_arena_alloc(j->env->scratch, (size_t)g->size);
    PRN_TRY(score(j, &ch, &scored));
    if (scored) j->at[j->size++] = ch;
  }
  return PRN_OK;
}

static void leave(const job *j) {
  const prn_weights *w = prn_pass_weights(j->env);
  for (size_t i = 0; i < w->size; i++)
    prn_op_set_attr(w->ops[i], prn_score_attr, NULL);
}

static prn_status select_all(job *j) {
  PRN_TRY(collect(j));
  PRN_TRY(open(j));
  if (!j->size && j->score_of.size)
    prn_pass_warning(j->env, "no group of weights can shrink: print-groups "
                             "says what stands against it");
  choose(j);
  for (size_t i = 0; i < j->size; i++)
    PRN_TRY(mask(j, &j->at[i]));
  attach(j);
  leave(j);
  return PRN_OK;
}

static prn_status run(prn_pass_env *env, prn_module *m) {
  job j = {.env = env, .c = prn_pass_coupling(env)};
  (void)m;
  prn_status status = select_all(&j);
  prn_ptrmap_destroy(&j.score_of);
  prn_ptrmap_destroy(&j.norms_of);
  prn_ptrmap_destroy(&j.mask_of);
  return status;
}

const prn_pass prn_pass_select_channels = {
    .name = "select-channels",
    .summary = "Zero the channels of smallest score, in all weights they touch",
    .doc = "Chooses from the groups that print-groups shows and that can "
           "shrink. compact-channels then removes what is zero.",
    .reads = PRN_DIALECT_ONNX,
    .writes = PRN_DIALECT_ONNX,
    .needs = PRN_WEIGHTS | PRN_SHAPES | PRN_SITES | PRN_COUPLING,
    .keeps = PRN_ALL_ANALYSES,
    PRN_PASS_COMMON,
};
