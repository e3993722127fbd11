/* select-nm: of every m neighbours along an axis, the n of largest score stay.
 *
 * Groups run along the input channels of each output unit (axis=in, what N:M
 * hardware and kernels want), for convolutions separately for each place of
 * the window, as Apex ASP does; flatten groups over (input, height, width) in
 * memory order instead, as SparseGPT and Wanda do. Mishra et al., "Accelerating
 * sparse deep neural networks", 2021. */
#include <stdlib.h>
#include <string.h>

#include "ir/support/parallel.h"
#include "passes/select/select.h"

#define OPTIONS(X)                                                             \
  X(INT, n, 2, "[1,1023]", "Entries that stay in each group")                  \
  X(INT, m, 4, "[2,1024]", "Size of a group")                                  \
  X(ENUM, axis, in, "in|out|auto",                                             \
    "Groups run along input channels, along output channels, or along the "    \
    "first of the two that m divides")                                         \
  X(BOOL, flatten, false, "",                                                  \
    "Convolutions: group over input channel, height and width as one axis")    \
  X(ENUM, remainder, dense, "dense|short|skip|error",                          \
    "When m does not divide the axis, the entries at its end: all stay, lose " \
    "m-n as a whole group would, or the weight is left alone, or is an error")
#define STATS(X)                           \
  X(weights, "weights given a mask")       \
  X(skipped, "weights left alone")         \
  X(pruned, "entries pruned by this pass") \
  X(entries, "entries of the scored weights")
PRN_PASS_TABLES;

enum { IN, OUT, AUTO };
enum { DENSE, SHORT, SKIP, ERROR };
enum {
  LANES = 512,
  PAIRWISE = 16 /* larger groups are selected, not compared */
};

/* The axis with the role; with flatten, joined by the window axes after it. */
static bool find_line(const prn_site *s, prn_role role, bool flatten,
                      prn_line *out) {
  int32_t first = 0, last;
  if (!prn_axis_with(s, role, &first)) return false;
  last = first;
  while (flatten && last + 1 < s->layout.rank &&
         s->roles[last + 1] == PRN_ROLE_KERNEL)
    last++;
  return prn_line_of(s, first, last, out);
}

static bool choose_line(const struct opts *o, const prn_site *s,
                        prn_line *out) {
  bool have = false;
  if (o->axis != OUT) have = find_line(s, PRN_ROLE_IN, o->flatten, out);
  if (o->axis == OUT || (o->axis == AUTO && (!have || out->length % o->m))) {
    prn_line l;
    if (find_line(s, PRN_ROLE_OUT, false, &l) &&
        (!have || l.length % o->m == 0)) {
      *out = l;
      have = true;
    }
  }
  return have;
}

/* ---- which entries of a group stay ---- */

/* keys[i * LANES + l] is entry i of group l; keep alike. Entry i loses against
 * j when its key is smaller, or equal and i comes first; it stays when it loses
 * against fewer than n. */
static void keep_four(const int32_t *keys, int32_t n, unsigned char *keep) {
  const int32_t *a = keys, *b = a + LANES, *c = b + LANES, *d = c + LANES;
  for (int l = 0; l < LANES; l++) {
    int32_t ab = a[l] > b[l], ac = a[l] > c[l], ad = a[l] > d[l];
    int32_t bc = b[l] > c[l], bd = b[l] > d[l], cd = c[l] > d[l];
    keep[l] = (unsigned char)(3 - ab - ac - ad < n);
    keep[LANES + l] = (unsigned char)(2 + ab - bc - bd < n);
    keep[2 * LANES + l] = (unsigned char)(1 + ac + bc - cd < n);
    keep[3 * LANES + l] = (unsigned char)(ad + bd + cd < n);
  }
}

static void keep_pairwise(const int32_t *keys, int32_t m, int32_t n,
                          unsigned char *keep) {
  int32_t lost[LANES];
  for (int32_t i = 0; i < m; i++) {
    const int32_t *mine = keys + i * LANES;
    memset(lost, 0, sizeof lost);
    for (int32_t j = 0; j < m; j++) {
      const int32_t *theirs = keys + j * LANES;
      for (int l = 0; l < LANES && j < i; l++)
        lost[l] += mine[l] < theirs[l];
      for (int l = 0; l < LANES && j > i; l++)
        lost[l] += mine[l] <= theirs[l];
    }
    for (int l = 0; l < LANES; l++)
      keep[i * LANES + l] = lost[l] < n;
  }
}

static void keep_selected(const int32_t *keys, int32_t m, int32_t n,
                          int32_t lanes, int32_t *work, unsigned char *keep) {
  for (int32_t l = 0; l < lanes; l++) {
    int64_t below = 0;
    for (int32_t i = 0; i < m; i++)
      work[i] = keys[i * LANES + l];
    int32_t key = prn_keys_nth(work, m, m - n - 1, &below);
    int64_t ties = m - n - below;
    for (int32_t i = 0; i < m; i++) {
      int32_t k = keys[i * LANES + l];
      bool goes = k < key || (k == key && ties > 0);
      ties -= k == key && goes;
      keep[i * LANES + l] = !goes;
    }
  }
}

/* ---- a weight ---- */

/* A weight being worked on; any thread may do that. */
typedef struct job {
  const prn_target *t;
  prn_line line;
  prn_mask mask;
  bool failed;                 /* a score is not finite */
  int32_t *keys, *flat, *work; /* m x LANES twice; m */
  unsigned char *keep, *bytes; /* m x LANES */
} job;

static void decide(job *j, int32_t m, int32_t n, int32_t lanes) {
  if (m == 4)
    keep_four(j->keys, n, j->keep);
  else if (m <= PAIRWISE)
    keep_pairwise(j->keys, m, n, j->keep);
  else
    keep_selected(j->keys, m, n, lanes, j->work, j->keep);
}

/* A group's entries lie `inner` apart, neighbouring groups side by side: a
 * block of m * inner entries holds `inner` groups. Here inner is large. */
static bool wide_block(job *j, int64_t base, int32_t m, int32_t n) {
  int64_t inner = j->line.inner;
  for (int64_t at = 0; at < inner; at += LANES) {
    int32_t lanes = inner - at < LANES ? (int32_t)(inner - at) : LANES;
    for (int32_t i = 0; i < m; i++)
      if (!prn_keys_try(&j->t->score, base + i * inner + at, lanes,
                        j->keys + i * LANES))
        return false;
    decide(j, m, n, lanes);
    for (int32_t i = 0; i < m; i++)
      prn_mask_put(&j->mask, base + i * inner + at, lanes, j->keep + i * LANES);
  }
  return true;
}

/* `blocks` blocks that follow each other, small enough for LANES groups. */
static bool narrow_blocks(job *j, int64_t base, int32_t blocks, int32_t m,
                          int32_t n) {
  int32_t inner = (int32_t)j->line.inner, x = 0, y = 0;
  int64_t total = (int64_t)blocks * m * inner;
  for (int64_t at = 0; at < total; at += PRN_KEY_CHUNK)
    if (!prn_keys_try(&j->t->score, base + at,
                      total - at < PRN_KEY_CHUNK ? total - at : PRN_KEY_CHUNK,
                      j->flat + at))
      return false;
  for (int32_t b = 0; b < blocks; b++)
    for (int32_t i = 0; i < m; i++)
      for (int32_t k = 0; k < inner; k++)
        j->keys[i * LANES + b * inner + k] = j->flat[x++];
  decide(j, m, n, blocks * inner);
  for (int32_t b = 0; b < blocks; b++)
    for (int32_t i = 0; i < m; i++)
      for (int32_t k = 0; k < inner; k++)
        j->bytes[y++] = j->keep[i * LANES + b * inner + k];
  prn_mask_put(&j->mask, base, total, j->bytes);
  return true;
}

static bool select_blocks(job *j, int64_t base, int64_t blocks, int32_t m,
                          int32_t n) {
  int64_t inner = j->line.inner, batch = LANES / inner;
  if (inner > LANES / 2) {
    for (int64_t b = 0; b < blocks; b++)
      if (!wide_block(j, base + b * m * inner, m, n)) return false;
    return true;
  }
  for (int64_t b = 0; b < blocks; b += batch)
    if (!narrow_blocks(j, base + b * m * inner,
                       (int32_t)(blocks - b < batch ? blocks - b : batch), m,
                       n))
      return false;
  return true;
}

static bool select_weight(const struct opts *o, job *j) {
  const prn_line *l = &j->line;
  int32_t m = (int32_t)o->m, n = (int32_t)o->n;
  int64_t full = l->length / m;
  int32_t tail = (int32_t)(l->length % m);
  if (tail == 0) return select_blocks(j, 0, l->outer * full, m, n);
  for (int64_t i = 0; i < l->outer; i++) {
    int64_t base = i * l->length * l->inner;
    if (!select_blocks(j, base, full, m, n)) return false;
    if (o->remainder != SHORT) continue;
    int32_t stay = tail > m - n ? tail - (m - n) : 0;
    if (!select_blocks(j, base + full * m * l->inner, 1, tail, stay))
      return false;
  }
  return true;
}

typedef struct jobs {
  const struct opts *o;
  job *at;
  size_t size;
} jobs;

static void work(void *user, size_t chunk, size_t begin, size_t end) {
  const jobs *all = user;
  size_t m = (size_t)all->o->m, cells = m * LANES;
  (void)chunk;
  for (size_t i = begin; i < end; i++) {
    job *j = &all->at[i];
    j->keys = prn_alloc(cells * sizeof *j->keys);
    j->flat = prn_alloc(cells * sizeof *j->flat);
    j->work = prn_alloc(m * sizeof *j->work);
    j->keep = prn_alloc(cells);
    j->bytes = prn_alloc(cells);
    memset(j->keys, 0, cells * sizeof *j->keys); /* lanes that stay unused */
    j->failed = !select_weight(all->o, j);
    prn_free(j->keys);
    prn_free(j->flat);
    prn_free(j->work);
    prn_free(j->keep);
    prn_free(j->bytes);
  }
}

/* The constant's own axis whose groups are the line's, or -1: the line's axis
 * may be several axes of the constant in one, or several lines one axis. */
static int32_t claim_axis(const prn_site *s, const prn_line *l, int64_t m) {
  const prn_type *type = prn_site_tensor(s)->type;
  for (int32_t i = 0; i < type->rank; i++) {
    prn_axis_view v = prn_axis_view_of(type, i);
    if (v.inner != l->inner || v.length == 1) continue;
    if (v.length == l->length) return i;
    if (l->length % v.length == 0 || v.length % l->length == 0)
      return v.length % m == 0 && l->length % m == 0 ? i : -1;
  }
  return -1;
}

/* What can be said of the weight now. A tail that stayed may break it. */
static prn_sparsity claim_of(const struct opts *o, const prn_site *s,
                             const prn_line *l) {
  int32_t axis = claim_axis(s, l, o->m);
  bool holds = o->remainder == SHORT || l->length % o->m <= o->n;
  if (axis < 0 || !holds)
    return (prn_sparsity){.kind = PRN_SPARSE_UNSTRUCTURED};
  return (prn_sparsity){.kind = PRN_SPARSE_NM,
                        .n = (int32_t)o->n,
                        .m = (int32_t)o->m,
                        .axis = axis};
}

static prn_status leave(const prn_pass_env *env, const prn_target *t,
                        prn_reason why, int64_t length) {
  const struct opts *o = env->opts;
  struct stats *s = env->stats;
  const prn_site *site = t->site;
  s->skipped++;
  if (o->remainder == ERROR && why == PRN_REASON_NotDivisible)
    return prn_op_error(site->constant,
                        "select-nm: the axis of '%.*s' has %lld entries, no "
                        "multiple of m = %lld",
                        PRN_STR_ARG(site->name), (long long)length,
                        (long long)o->m);
  prn_pass_remark(env, site->constant, why,
                  "'%.*s' keeps all entries: %lld along the axis, groups of "
                  "%lld",
                  PRN_STR_ARG(site->name), (long long)length, (long long)o->m);
  prn_target_leave(t);
  return PRN_OK;
}

/* Adds a job for the weight, unless it is to be left alone. */
static prn_status plan(const prn_pass_env *env, const prn_target *t,
                       jobs *out) {
  const struct opts *o = env->opts;
  job *j = &out->at[out->size];
  *j = (job){.t = t};
  if (!choose_line(o, t->site, &j->line))
    return leave(env, t, PRN_REASON_BadAxis, j->line.length);
  int64_t length = j->line.length;
  if (length % o->m != 0 && (o->remainder == SKIP || o->remainder == ERROR ||
                             (length < o->m && o->remainder == DENSE)))
    return leave(env, t, PRN_REASON_NotDivisible, length);
  if (t->site->mixed)
    prn_pass_remark(env, t->site->constant, PRN_REASON_Shared,
                    "'%.*s' is grouped as its first user sees it",
                    PRN_STR_ARG(t->site->name));
  out->size++;
  return prn_mask_create(env->ctx, t->count, true, &j->mask);
}

/* Names what stood in the way of a job that failed. */
static prn_status report(const job *j) {
  float buf[PRN_KEY_CHUNK];
  for (int64_t at = 0; at < j->t->count; at += PRN_KEY_CHUNK) {
    int64_t left = j->t->count - at;
    PRN_TRY(prn_score_read(&j->t->score, at,
                           left < PRN_KEY_CHUNK ? left : PRN_KEY_CHUNK, buf));
  }
  return PRN_OK;
}

static prn_status check(prn_pass_env *env) {
  const struct opts *o = env->opts;
  if (o->n >= o->m)
    return prn_pass_error(env, "n = %lld must be smaller than m = %lld",
                          (long long)o->n, (long long)o->m);
  return PRN_OK;
}

static prn_status run(prn_pass_env *env, prn_module *m) {
  const struct opts *o = env->opts;
  struct stats *s = env->stats;
  prn_targets targets;
  prn_status status = PRN_OK;
  (void)m;
  PRN_TRY(prn_targets_collect(env, &targets));
  jobs all = {.o = o, .at = PRN_ARENA_ARRAY(env->scratch, job, targets.size)};
  for (size_t i = 0; i < targets.size; i++) {
    s->entries += (uint64_t)targets.at[i].count;
    if (plan(env, &targets.at[i], &all) != PRN_OK) status = PRN_FAIL;
  }
  PRN_TRY(status);
  prn_parallel_for(env->threads, all.size, 1, work, &all);
  for (size_t i = 0; i < all.size; i++) {
    const job *j = &all.at[i];
    if (j->failed && report(j) != PRN_OK) status = PRN_FAIL;
    if (j->failed) continue;
    s->pruned += prn_target_finish(env, j->t, &j->mask,
                                   claim_of(o, j->t->site, &j->line));
    s->weights++;
  }
  return status;
}

const prn_pass prn_pass_select_nm = {
    .name = "select-nm",
    .summary = "Keep the n entries of largest score in every m neighbours",
    .reads = PRN_DIALECT_ONNX,
    .writes = PRN_DIALECT_ONNX,
    .needs = PRN_WEIGHTS | PRN_SITES,
    .keeps = PRN_ALL_ANALYSES,
    .check = check,
    PRN_PASS_COMMON,
};
