/* permute-channels: neighbours that leave each other room.
 *
 * Of m neighbours along the inputs of a weight, n stay. Which inputs are
 * neighbours is chance, and where large scores meet, some go that are larger
 * than what stays elsewhere. The indices of a group that is coupled may change
 * places in all its members alike (print-groups), and the model's outputs stay
 * what they are; here they are put in an order in which more of the score stays
 * (passes/solve/permute.h says how). Pool and Yu, "Channel permutations for N:M
 * sparsity", 2021; Zhang et al., "Plug-and-play: an efficient post-training
 * pruning method for large language models", 2024.
 *
 * All weights that read along a group have a say, by the sums of what they
 * keep. The search sees those in which the m neighbours are ones of the group;
 * what it finds is taken when all readers, counted entry by entry, keep more.
 * A group whose order has a meaning is left alone. */
#include <string.h>

#include "passes/permute/permute.h"
#include "passes/pipeline.h"
#include "passes/solve/permute.h"

#define OPTIONS(X)                                                         \
  X(INT, n, 2, "[1,63]", "Entries that will stay in each group")           \
  X(INT, m, 4, "[2,64]", "Size of a group")                                \
  X(INT, sweeps, 4, "[0,1000]",                                            \
    "Rounds of improvement at most; 0: channels are only dealt")           \
  X(INT, entries, 16777216, "[4096,1000000000]",                           \
    "Scores that the search may look at for each set of coupled channels " \
    "(four bytes and as many again for each); of more, evenly chosen rows")
#define STATS(X)                                                          \
  X(groups, "sets of coupled channels that were permuted")                \
  X(left, "sets that were left alone")                                    \
  X(channels, "channels that changed places")                             \
  X(kept_before, "score that n of m would have kept of the weights that " \
                 "read them, in millionths")                              \
  X(kept_after, "score that n of m keep of these weights now")
PRN_PASS_TABLES;

typedef struct job {
  prn_pass_env *env;
  prn_removal r;
  prn_targets targets;
  bool *stuck;         /* by group: a constant cannot be rewritten */
  prn_reader *readers; /* by target: of a group that is permuted */
} job;

/* ---- what may be permuted ---- */

static void mark_stuck(void *user, prn_space *atom) {
  if (atom->id) ((bool *)user)[atom->id - 1] = true;
}

static void find_stuck(job *j, const prn_module *m) {
  j->stuck = PRN_ARENA_ARRAY(j->env->scratch, bool, j->r.c->size + 1);
  PRN_EACH_OP(graph, m->body) {
    if (!prn_op_is(graph, PRN_OP_onnx_graph)) continue;
    PRN_EACH_OP(op, prn_op_block(graph, "body")) {
      if (!prn_op_has_trait(op, PRN_CONSTANT) || prn_removal_can_gather(op))
        continue;
      const prn_value *v = &op->results[0];
      for (int32_t i = 0; prn_type_is_ranked(v->type) && i < v->type->rank;
           i++) {
        prn_space *x = prn_coupling_space(j->r.c, v, i);
        if (x) prn_space_atoms(x, mark_stuck, j->stuck);
      }
    }
  }
}

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

static void leave(const job *j, const prn_group *g, prn_reason reason,
                  const char *why, const prn_op *by) {
  struct stats *s = j->env->stats;
  prn_strbuf b = {0};
  prn_strbuf_cstr(&b, why);
  if (by) {
    prn_str subject = prn_op_subject(by);
    prn_strbuf_fmt(&b, " by %.*s", PRN_STR_ARG(subject));
  }
  s->left++;
  prn_pass_remark(
      j->env, g->members[0].constant, reason,
      "axis %d of %s keeps its order: %.*s", (int)g->members[0].axis,
      prn_value_str(&g->members[0].constant->results[0]), (int)b.size, b.data);
  prn_strbuf_destroy(&b);
}

static bool may_move(const job *j, const prn_group *g) {
  const prn_space *a = g->atom;
  prn_space_why why = a->frozen.text ? a->frozen : a->ordered;
  if (why.text)
    leave(j, g, PRN_REASON_Ordered, why.text, why.op);
  else if (j->stuck[g - j->r.c->groups])
    leave(j, g, PRN_REASON_Ordered, "it has a constant that cannot be changed",
          NULL);
  else if (!selected(j, g))
    leave(j, g, PRN_REASON_NotSelected, "sites(...) leaves a weight out", NULL);
  else
    return true;
  return false;
}

/* ---- a group ---- */

typedef struct readers {
  prn_reader *at;
  size_t size;
  int64_t rows, phase, cols; /* columns from the phase on are put in order */
} readers;

/* Where most rows have their neighbours begin. */
static void choose_phase(const job *j, const prn_group *g, readers *all) {
  const struct opts *o = j->env->opts;
  int64_t rows[PRN_READER_MOST] = {0};
  for (size_t i = 0; i < all->size; i++)
    prn_reader_phases(&all->at[i], rows);
  for (int64_t p = 1; p < o->m; p++)
    if (rows[p] > rows[all->phase]) all->phase = p;
  for (size_t i = 0; i < all->size; i++) {
    prn_reader_slots(j->env, &all->at[i], g->size, all->phase);
    all->rows += all->at[i].rows;
    all->cols = all->at[i].slots * o->m;
  }
}

/* False when the group is to be left alone. */
static bool find_readers(const job *j, const prn_group *g, readers *out) {
  const struct opts *o = j->env->opts;
  *out = (readers){
      .at = PRN_ARENA_ARRAY(j->env->scratch, prn_reader, j->targets.size + 1)};
  for (size_t i = 0; i < j->targets.size; i++) {
    bool along;
    prn_reader *r = &out->at[out->size];
    if (!prn_reader_find(j->env, g, &j->targets.at[i], o->m, r, &along)) {
      leave(j, g, PRN_REASON_UnknownLayout,
            "a weight's neighbours are only a part of an axis", NULL);
      return false;
    }
    out->size += along;
  }
  choose_phase(j, g, out);
  if (out->rows && out->cols >= 2 * o->m) return true;
  leave(j, g, PRN_REASON_NothingToDo,
        "no scored weight has several sets of neighbours along it", NULL);
  return false;
}

/* The best order that is found for the rows that are looked at. */
static prn_status search(const job *j, const prn_group *g, const readers *all,
                         int64_t *order) {
  const struct opts *o = j->env->opts;
  int64_t cols = all->cols, rows = o->entries / cols;
  if (rows < 1) rows = 1;
  if (rows > all->rows) rows = all->rows;
  float *scores =
      prn_try_alloc(prn_array_size((size_t)(cols * rows), sizeof *scores));
  bool room = scores != NULL;
  prn_status status = PRN_OK;
  prn_row_share share = {0, rows, all->rows};
  for (size_t i = 0; room && i < all->size && status == PRN_OK; i++) {
    if (all->at[i].rows) status = prn_reader_rows(&all->at[i], share, scores);
    share.before += all->at[i].rows;
  }
  prn_columns c = {rows, cols, o->n, o->m, scores, o->sweeps, j->env->threads};
  order += all->phase;
  if (room && status == PRN_OK) room = prn_columns_order(&c, order);
  for (int64_t i = 0; i < cols && room && status == PRN_OK; i++)
    order[i] += all->phase;
  prn_free(scores);
  if (room || status != PRN_OK) return status;
  return prn_pass_error(j->env, "no memory for the scores of %lld channels",
                        (long long)g->size);
}

/* Columns within a set of neighbours in ascending order. */
static void tidy(int64_t *order, int64_t cols, int64_t m) {
  for (int64_t g = 0; g < cols; g += m)
    for (int64_t i = g + 1; i < g + m; i++)
      for (int64_t k = i; k > g && order[k - 1] > order[k]; k--) {
        int64_t swap = order[k];
        order[k] = order[k - 1];
        order[k - 1] = swap;
      }
}

static void tell(const job *j, const prn_group *g, const int64_t *order,
                 double before, double after) {
  struct stats *s = j->env->stats;
  const prn_member *first = &g->members[0];
  uint64_t moved = 0;
  for (int64_t i = 0; i < g->size; i++)
    moved += order[i] != i;
  s->groups++;
  s->channels += moved;
  prn_pass_remark(j->env, first->constant, PRN_REASON_Permuted,
                  "%llu of %lld indices of axis %d of %s change places, with "
                  "%zu weights: %.4f of the score is kept, not %.4f",
                  (unsigned long long)moved, (long long)g->size,
                  (int)first->axis, prn_value_str(&first->constant->results[0]),
                  g->num_members, after, before);
}

/* Takes the order when all readers together keep more by it, after what was
 * decided on other groups. */
static prn_status try_order(job *j, const prn_group *g, const readers *all,
                            const int64_t *order) {
  const struct opts *o = j->env->opts;
  prn_kept *mine = &j->r.kept[g - j->r.c->groups];
  double before = 0, after = 0, sum = 0;
  for (size_t i = 0; i < all->size; i++) {
    const prn_reader *r = &all->at[i];
    *mine = (prn_kept){0};
    const int64_t *now = prn_reader_sources(r, &j->r);
    *mine = (prn_kept){.n = g->size, .at = order};
    PRN_TRY(prn_reader_kept(r, o->n, now, &before, &sum));
    PRN_TRY(
        prn_reader_kept(r, o->n, prn_reader_sources(r, &j->r), &after, &sum));
  }
  sum /= 2;
  if (after > before) {
    tell(j, g, order, before / sum, after / sum);
    for (size_t i = 0; i < all->size; i++)
      j->readers[all->at[i].target - j->targets.at] = all->at[i];
    return PRN_OK;
  }
  *mine = (prn_kept){0};
  leave(j, g, PRN_REASON_NothingToDo, "no better one was found", NULL);
  return PRN_OK;
}

static prn_status permute(job *j, const prn_group *g) {
  const struct opts *o = j->env->opts;
  readers all;
  if (!may_move(j, g) || !find_readers(j, g, &all)) return PRN_OK;
  int64_t *order = PRN_ARENA_ARRAY(j->env->scratch, int64_t, g->size);
  for (int64_t i = 0; i < g->size; i++)
    order[i] = i;
  PRN_TRY(search(j, g, &all, order));
  tidy(order + all.phase, all.cols, o->m);
  return try_order(j, g, &all, order);
}

/* What all readers of permuted groups keep. */
static prn_status count(const job *j) {
  const struct opts *o = j->env->opts;
  struct stats *s = j->env->stats;
  double before = 0, after = 0, sum = 0;
  prn_removal none = j->r;
  none.kept = PRN_ARENA_ARRAY(j->env->scratch, prn_kept, j->r.c->size + 1);
  for (size_t i = 0; i < j->targets.size; i++) {
    const prn_reader *r = &j->readers[i];
    if (!r->target) continue;
    PRN_TRY(
        prn_reader_kept(r, o->n, prn_reader_sources(r, &none), &before, &sum));
    PRN_TRY(
        prn_reader_kept(r, o->n, prn_reader_sources(r, &j->r), &after, &sum));
  }
  s->kept_before += (uint64_t)(2e6 * before / sum + 0.5);
  s->kept_after += (uint64_t)(2e6 * after / sum + 0.5);
  return PRN_OK;
}

/* ---- the pass ---- */

static prn_status check(prn_pass_env *env) {
  const struct opts *o = env->opts;
  if (o->n >= o->m)
    return prn_pass_error(env, "n = %lld must be smaller than m = %lld",
                          (long long)o->n, (long long)o->m);
  return PRN_OK;
}

/* Scores of places would not come along, and blocks are compared with what
 * they were. */
static prn_status check_use(const job *j) {
  const prn_pipeline_item *group;
  for (unsigned i = 0; (group = prn_pass_group(j->env, i)); i++)
    if (group->pass == &prn_pass_prune_sequential)
      return prn_pass_error(j->env, "cannot run within prune-sequential, "
                                    "whose profiles it would change: run it "
                                    "before");
  for (size_t i = 0; i < j->targets.size; i++)
    if (j->targets.at[i].score.kind->by_place)
      return prn_pass_error(j->env, "%s scores do not move with channels",
                            j->targets.at[i].score.kind->name);
  return PRN_OK;
}

static prn_status run(prn_pass_env *env, prn_module *m) {
  struct stats *s = env->stats;
  prn_compact_stats done = {0};
  job j = {.env = env,
           .r = {.env = env,
                 .module = m,
                 .c = prn_pass_coupling(env),
                 .stats = &done}};
  PRN_TRY(prn_targets_collect(env, &j.targets));
  PRN_TRY(check_use(&j));
  j.r.kept = PRN_ARENA_ARRAY(env->scratch, prn_kept, j.r.c->size + 1);
  j.readers = PRN_ARENA_ARRAY(env->scratch, prn_reader, j.targets.size + 1);
  find_stuck(&j, m);
  for (size_t i = 0; i < j.r.c->size; i++)
    PRN_TRY(permute(&j, &j.r.c->groups[i]));
  if (!s->groups) return PRN_OK;
  PRN_TRY(count(&j));
  PRN_TRY(prn_permute_profile(env, m, &j.r));
  return prn_removal_apply(&j.r);
}

const prn_pass prn_pass_permute_channels = {
    .name = "permute-channels",
    .summary = "Put channels in an order in which n of m neighbours keep more",
    .doc =
        "Between a score pass and select-nm with the same n and m: "
        "--score-ria --permute-channels=n=2,m=4 --select-nm=n=2,m=4. "
        "Channels that print-groups shows to be coupled change places in all "
        "weights alike, so that outputs stay what they are; not those that "
        "are frozen or ordered. Of a set of C channels, a round of "
        "improvement takes time with 512 * `entries`, and with C / "
        "512 assignments of 512; a profile in memory follows, one in a file "
        "no longer fits the model.",
    .reads = PRN_DIALECT_ONNX,
    .writes = PRN_DIALECT_ONNX,
    .needs = PRN_WEIGHTS | PRN_SHAPES | PRN_SITES | PRN_COUPLING,
    .exact = true,
    .check = check,
    PRN_PASS_COMMON,
};
