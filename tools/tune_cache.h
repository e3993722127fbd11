/* The file of --tune; see tune.h. */
#ifndef PRN_TOOLS_TUNE_CACHE_H
#define PRN_TOOLS_TUNE_CACHE_H

#include "passes/lower/plan.h"

typedef struct prn_tuned {
  uint64_t key;
  prn_plan_choice choice;
  double ns, dense_ns;
  prn_str about; /* for people */
} prn_tuned;

typedef struct prn_tune_cache {
  prn_ctx *ctx;
  const char *path;
  prn_tuned *all;
  size_t size, cap;
  bool changed;
} prn_tune_cache;

/* Reads the file; when there is none, the cache is empty. Every mistake is
 * reported with its line. */
PRN_NODISCARD prn_status prn_tune_cache_open(prn_ctx *ctx, const char *path,
                                             prn_tune_cache *out);
/* NULL when there is none. Valid until the next one is added. */
const prn_tuned *prn_tune_cache_find(const prn_tune_cache *c, uint64_t key);
void prn_tune_cache_add(prn_tune_cache *c, prn_tuned t);
/* Writes the file, whole or not at all, when something was added. */
PRN_NODISCARD prn_status prn_tune_cache_save(const prn_tune_cache *c);
void prn_tune_cache_destroy(prn_tune_cache *c);

#endif
