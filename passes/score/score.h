/* Scores: how much each entry of a weight matters.
 *
 * A score pass computes nothing: it attaches the attribute `$prune.score` to a
 * constant, a dictionary {kind = "...", ...} that says how to compute the
 * score. A select pass evaluates it piece by piece and removes it, so scores of
 * a whole model never lie in memory. A new score is one file with a kind, a
 * pass, and a row in kinds.def.
 *
 * The score of a group of entries (a row, a block, a head) is a norm of the
 * entries' scores; which one, the attribute says too. */
#ifndef PRN_PASSES_SCORE_SCORE_H
#define PRN_PASSES_SCORE_SCORE_H

#include "passes/analysis/sites.h"

/* Norms, in the order of the words "l1|l2|linf|min". */
typedef enum prn_norm {
  PRN_NORM_L1,
  PRN_NORM_L2,
  PRN_NORM_LINF,
  PRN_NORM_MIN /* the smallest, "l-inf" */
} prn_norm;
#define PRN_NORM_WORDS "l1|l2|linf|min"

typedef struct prn_score prn_score;

typedef struct prn_score_kind {
  const char *name;
  /* Reads the kind's own entries of the attribute; reports and fails. */
  prn_status (*open)(prn_score *s);
  /* Scores of entries [at, at+n) of the constant, masks not considered. */
  void (*eval)(const prn_score *s, int64_t at, int64_t n, float *out);
  /* The same as keys (passes/select/select.h), in one go; false: it cannot, or
   * a score is not finite. NULL: through eval. */
  bool (*keys)(const prn_score *s, int64_t at, int64_t n, int32_t *out);
  /* Groups are scored by their number instead of by a norm. */
  bool by_index;
  /* Scores belong to places, not to the entries that are there. */
  bool by_place;
  /* Vectors of f32 that entries lead into: the names of the triples
   * (channels.h) and of the numbers, the last one NULL; or NULL. */
  const char *const (*vectors)[2];
  /* The one pass that understands the kind, whose eval is NULL; else NULL. */
  const char *chooser;
  /* Scores of the slices across an axis, for kinds that score nothing smaller:
   * their chooser is select-channels. *any is false when slices of that axis
   * have none. */
  prn_status (*slices)(const prn_score *s, int32_t axis, double *out,
                       bool *any);
} prn_score_kind;

/* A score being evaluated. */
struct prn_score {
  const prn_score_kind *kind;
  const prn_op *constant;
  const prn_tensor *tensor;
  const prn_attr *attr; /* DICT */
  prn_norm norm;
  uint64_t seed; /* random */
  uint32_t stream;
  const char *norms;       /* wanda, ria: packed f32, one for each channel */
  const int64_t *channels; /* the same: (size, stride, scale), innermost last */
  uint32_t num_channels;   /* of these triples */
  /* ria: the same of the sums of rows and columns */
  const char *row_sums, *col_sums;
  const int64_t *rows, *cols;
  uint32_t num_rows, num_cols;
};

#define KIND(name) extern const prn_score_kind prn_score_kind_##name;
#include "passes/score/kinds.def"
#undef KIND

/* ---- for score passes ---- */

/* Which weights a pass scores, beside the enclosing sites(...). */
typedef struct prn_score_filter {
  bool embeddings, depthwise;
  int64_t min_size;
} prn_score_filter;
#define PRN_SCORE_FILTER_OPTIONS(X)                                         \
  X(BOOL, embeddings, false, "", "Score the tables that Gather reads, too") \
  X(BOOL, depthwise, false, "", "Score depthwise convolutions, too")        \
  X(INT, min_size, 2, "[1,inf)", "Leave weights with fewer entries alone")

/* Calls attach for every weight to be scored and sets `$prune.score` to what it
 * returns; NULL says that there is nothing to score it by (NotObserved). Says
 * why for the others. *scored counts the first. */
void prn_score_attach(const prn_pass_env *env, const prn_score_filter *filter,
                      const prn_attr *(*attach)(const prn_pass_env *env,
                                                const prn_site *site),
                      uint64_t *scored, uint64_t *skipped);

/* Whether v is what a normalisation multiplies its result by. */
bool prn_is_norm_scale(const prn_value *v);

/* ---- for select passes ---- */

extern const char prn_score_attr[]; /* "$prune.score" */

/* The score of a constant; reports and fails when its attribute makes no
 * sense. The constant has one. */
PRN_NODISCARD prn_status prn_score_open(const prn_op *constant, prn_score *out);
/* Scores of entries [at, at+n), entries that a mask removed excepted: theirs
 * are unspecified. The result is the first entry whose score is not finite,
 * -1 when all are. Any thread may call it. */
PRN_NODISCARD int64_t prn_score_try(const prn_score *s, int64_t at, int64_t n,
                                    float *out);
/* The same; reports a NaN or an infinity and fails. */
PRN_NODISCARD prn_status prn_score_read(const prn_score *s, int64_t at,
                                        int64_t n, float *out);

/* The score of a constant after its entries have changed places, source(place)
 * being where the one at a place was; whole channels, rows and columns have
 * moved. NULL: none is left. */
const prn_attr *prn_score_moved(const prn_op *constant,
                                int64_t (*source)(const void *user,
                                                  int64_t place),
                                const void *user);

/* Running norm of a group. */
static inline double prn_norm_start(prn_norm norm) {
  return norm == PRN_NORM_MIN ? (double)__builtin_inff() : 0;
}
static inline double prn_norm_add(prn_norm norm, double sum, double v) {
  switch (norm) {
  case PRN_NORM_L1:
    return sum + v;
  case PRN_NORM_L2:
    return sum + v * v;
  case PRN_NORM_LINF:
    return v > sum ? v : sum;
  default:
    return v < sum ? v : sum;
  }
}

#endif
