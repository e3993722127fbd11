/* Selection: what all select passes share.
 *
 * A select pass takes the weights that carry a score, decides which entries
 * go, attaches a mask and removes the score. Entries that an earlier mask
 * removed rank below all others, so that a second selection counts them.
 *
 * Entries are ranked by the pair (score, flat index), smallest first. Scores
 * become keys: integers that order as the scores do. */
#ifndef PRN_PASSES_SELECT_SELECT_H
#define PRN_PASSES_SELECT_SELECT_H

#include "ir/mask.h"
#include "ir/sparsity.h"
#include "passes/score/score.h"

/* ---- weights to select from ---- */

typedef struct prn_target {
  const prn_site *site;
  prn_score score;
  int64_t count; /* entries */
  int64_t gone;  /* entries that a mask removed before */
} prn_target;

typedef struct prn_targets {
  prn_target *at; /* module order */
  size_t size;
} prn_targets;

/* The scored weights that sites(...) selects; lives in env->scratch. Fails
 * when the module has weights and none is scored; says so when it has none. */
PRN_NODISCARD prn_status prn_targets_collect(const prn_pass_env *env,
                                             prn_targets *out);
/* For a pass that found no score: fails where there is a weight to score, and
 * otherwise says that there is none, or only on request. */
PRN_NODISCARD prn_status prn_select_unscored(const prn_pass_env *env);
/* Attaches the mask and removes the score. Returns the number of entries that
 * the mask removed and earlier ones had not. claim is recorded in the type
 * unless a stronger one is there. */
uint64_t prn_target_finish(const prn_pass_env *env, const prn_target *t,
                           const prn_mask *mask, prn_sparsity claim);
/* Removes the score and lets the weight's pages go. */
void prn_target_leave(const prn_target *t);

/* ---- how many ---- */

/* sparsity * n to the nearest integer, halves to the even one, in [0, n]. */
int64_t prn_share_of(double sparsity, int64_t n);
/* The check of a pass with options sparsity and count: not both. */
PRN_NODISCARD prn_status prn_check_share(prn_pass_env *env);

/* ---- axes ---- */

/* Axes first..last of a weight's layout as one axis of the constant:
 * [outer, length, inner] in its memory. False when they are no such axis. */
typedef struct prn_line {
  int64_t outer, length, inner;
} prn_line;
PRN_NODISCARD bool prn_line_of(const prn_site *s, int32_t first, int32_t last,
                               prn_line *out);
/* The one axis with this role; false when there is none, or several. */
PRN_NODISCARD bool prn_axis_with(const prn_site *s, prn_role role,
                                 int32_t *axis);

/* ---- keys ---- */

enum { PRN_KEY_GONE = INT32_MIN, PRN_KEY_CHUNK = 8192 };

/* Keys of entries [at, at+n), n <= PRN_KEY_CHUNK. False where a score is not
 * finite; reports nothing, so that any thread may call it. */
PRN_NODISCARD bool prn_keys_try(const prn_score *s, int64_t at, int64_t n,
                                int32_t *out);
/* The same; reports a NaN or an infinity and fails. */
PRN_NODISCARD prn_status prn_keys_read(const prn_score *s, int64_t at,
                                       int64_t n, int32_t *out);
/* The key with exactly `rank` keys before it in sorted order (0 <= rank < n);
 * *below is the number of smaller keys. Reorders keys. Linear time. */
int32_t prn_keys_nth(int32_t *keys, int64_t n, int64_t rank, int64_t *below);

/* ---- groups of entries that go or stay together ---- */

/* How a weight is cut into groups 0..count-1. */
typedef struct prn_groups {
  int64_t count;
  /* The groups of entries [at, at+n), n <= PRN_KEY_CHUNK. */
  void (*of)(const void *user, int64_t at, int64_t n, int64_t *out);
  const void *user;
} prn_groups;

/* The norm of each group's scores. Entries that a mask removed count as 0. */
PRN_NODISCARD prn_status prn_groups_score(const prn_score *s,
                                          const prn_groups *g, double *out);
/* A mask that drops the groups with prune[group] set. */
PRN_NODISCARD prn_status prn_groups_mask(prn_ctx *ctx, int64_t entries,
                                         const prn_groups *g,
                                         const unsigned char *prune,
                                         prn_mask *out);
/* Marks the k groups of smallest score, ties by index: prune[i] = 1. */
void prn_groups_lowest(const double *scores, int64_t n, int64_t k,
                       unsigned char *prune);

#endif
