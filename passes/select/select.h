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

/* ---- keys ---- */

enum { PRN_KEY_GONE = INT32_MIN, PRN_KEY_CHUNK = 8192 };

/* Keys of entries [at, at+n), n <= PRN_KEY_CHUNK. Reports a NaN or an infinity
 * and fails. */
PRN_NODISCARD prn_status prn_keys_read(const prn_score *s, int64_t at,
                                       int64_t n, int32_t *out);
/* The key with exactly `rank` keys before it in sorted order (0 <= rank < n);
 * *below is the number of smaller keys. Reorders keys. Linear time. */
int32_t prn_keys_nth(int32_t *keys, int64_t n, int64_t rank, int64_t *below);

/* Marks the k groups of smallest score, ties by index: prune[i] = 1. */
void prn_groups_lowest(const double *scores, int64_t n, int64_t k,
                       unsigned char *prune);

#endif
