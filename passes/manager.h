/* Running a pipeline: contracts, verification, statistics, instruments.
 *
 * Around each pass the manager checks that the module holds only dialects the
 * pass reads, computes the analyses it needs, runs it, checks the dialects it
 * left, drops the analyses it does not keep and verifies the module. */
#ifndef PRN_PASSES_MANAGER_H
#define PRN_PASSES_MANAGER_H

#include "passes/pipeline.h"

/* Something that watches passes run. Hooks may be NULL; index counts the
 * passes run so far, from 1; depth is the number of enclosing groups. */
typedef struct prn_instrument prn_instrument;
typedef struct prn_pass_event {
  const prn_pipeline_item *item;
  prn_module *module;
  unsigned index, depth;
  bool failed; /* after only */
} prn_pass_event;
struct prn_instrument {
  void (*before)(prn_instrument *self, const prn_pass_event *e);
  void (*after)(prn_instrument *self, const prn_pass_event *e);
  /* Asked before `after` about a pass that did well; reports and fails, and
   * with it the pass, when it did not. */
  prn_status (*check)(prn_instrument *self, const prn_pass_event *e);
};

typedef struct prn_remarks prn_remarks;

/* Somebody who runs the module as it is now on the user's data, and keeps
 * statistics of these inputs of weights (all when n is 0), with moments of
 * `block` channels, in `folds` profiles, among which runs are dealt out. */
typedef struct prn_observer prn_observer;
struct prn_observer {
  /* Has what follows paired with the module as it is now, without masks; NULL:
   * no more. */
  prn_status (*pair)(prn_observer *self, prn_module *m);
  prn_status (*observe)(prn_observer *self, prn_module *m,
                        const prn_str *values, size_t n, int64_t block,
                        prn_profile *out, size_t folds);
};

typedef struct prn_run_config {
  unsigned threads; /* 0: 1 */
  bool verify_each; /* also compares the analyses that passes keep */
  prn_status (*verify)(prn_module *m);
  bool measure; /* peak and private memory of each pass */
  prn_instrument *const *instruments;
  size_t num_instruments;
  prn_remarks *remarks;       /* NULL: nobody listens */
  const prn_profile *profile; /* NULL: there is none */
  prn_observer *observer;     /* NULL: nobody has data */
  prn_strbuf *out;            /* what passes print; NULL: thrown away */
} prn_run_config;

/* Reports and fails unless the profile was observed on a model like m. */
PRN_NODISCARD prn_status prn_profile_check(const prn_profile *p,
                                           const prn_module *m);

/* Runs the checks of every pass, then every pass. Stops at the first pass
 * that fails. */
PRN_NODISCARD prn_status prn_pipeline_run(const prn_pipeline *p, prn_module *m,
                                          const prn_run_config *config);

/* ---- memory of this process, in bytes; 0 when it cannot be told ---- */
typedef struct prn_memory {
  uint64_t peak_rss, private_now;
} prn_memory;

/* ---- after running ---- */

uint64_t prn_stat_value(const prn_pipeline_item *item, const prn_stat_info *s);

/* The statistics of every pass that ran, as a table or as JSON. */
void prn_stats_print(const prn_pipeline *p, prn_strbuf *b);
void prn_stats_json(const prn_pipeline *p, prn_strbuf *b);
/* What a tool does around the passes. */
typedef struct prn_phase {
  const char *name;
  double wall_s;
  prn_memory memory;
} prn_phase;
/* Wall time and memory as a tree; phases stand before the passes, except the
 * last, which stands behind them. */
void prn_timing_print(const prn_pipeline *p, const prn_phase *phases, size_t n,
                      prn_strbuf *b);

/* ---- this process ---- */
prn_memory prn_memory_now(void);
/* Starts a new peak, where the system allows it. */
void prn_memory_reset_peak(void);
double prn_seconds(void); /* monotonic */

#endif
