/* Passes: what one declares, and what it may ask of the manager.
 *
 * A pass is one file with one record. Its OPTIONS and STATS lists become the
 * option struct, the option parser, range checks, --help-NAME, the statistics
 * and docs/passes.md; the record also declares which dialects it reads and
 * writes and which analyses it needs and keeps, and the manager checks that.
 *
 *   #define OPTIONS(X)                                                    \
 *     X(FLOAT, sparsity, 0.5, "[0,1)", "Fraction of weights to zero")     \
 *     X(ENUM, scope, tensor, "row|tensor|global", "Where to rank")
 *   #define STATS(X)                                                      \
 *     X(pruned, "weights set to zero")
 *   PRN_PASS_TABLES;   // struct opts, struct stats and their tables
 *
 *   static prn_status run(prn_pass_env *env, prn_module *m) {
 *     const struct opts *o = env->opts;
 *     struct stats *s = env->stats;
 *     ...
 *   }
 *
 *   const prn_pass prn_pass_select_unstructured = {
 *       .name = "select-unstructured", .summary = "...",
 *       .reads = PRN_DIALECT_ONNX, .writes = PRN_DIALECT_ONNX,
 *       .needs = PRN_WEIGHTS, .keeps = PRN_ALL_ANALYSES,
 *       PRN_PASS_COMMON};
 *
 * and one row PASS(select_unstructured) in passes/passes.def. */
#ifndef PRN_PASSES_PASS_H
#define PRN_PASSES_PASS_H

#include "ir/profile.h"
#include "passes/analysis/analysis.h"

/* ---- options ---- */

typedef enum prn_option_kind {
  PRN_OPTION_BOOL,   /* bool: true, false; alone means true */
  PRN_OPTION_INT,    /* int64_t */
  PRN_OPTION_FLOAT,  /* double, never NaN */
  PRN_OPTION_STRING, /* prn_str */
  PRN_OPTION_ENUM,   /* int: index into the words of the range */
  PRN_OPTION_STRINGS /* prn_strs: ["a", "b"], or positional in (...) */
} prn_option_kind;

typedef struct prn_strs {
  const prn_str *at;
  size_t size;
} prn_strs;

typedef struct prn_option_info {
  const char *name; /* as the field; '_' is written '-' by users */
  prn_option_kind kind;
  const char *dflt;  /* text form; "REQUIRED": the user must give it */
  const char *range; /* "[0,1)", "[1,inf)", words "l1|l2", "" for any */
  const char *doc;
  size_t offset;
} prn_option_info;

typedef struct prn_stat_info {
  const char *name, *doc;
  size_t offset; /* of a uint64_t */
} prn_stat_info;

#define PRN_CTYPE_BOOL    bool
#define PRN_CTYPE_INT     int64_t
#define PRN_CTYPE_FLOAT   double
#define PRN_CTYPE_STRING  prn_str
#define PRN_CTYPE_ENUM    int
#define PRN_CTYPE_STRINGS prn_strs

#define PRN_OPTION_FIELD(kind, name, dflt, range, doc) PRN_CTYPE_##kind name;
#define PRN_OPTION_ROW(kind, name, dflt, range, doc) \
  {#name, PRN_OPTION_##kind, #dflt, range, doc, offsetof(struct opts, name)},
#define PRN_STAT_FIELD(name, doc) uint64_t name;
#define PRN_STAT_ROW(name, doc)   {#name, doc, offsetof(struct stats, name)},

/* Expands a pass file's OPTIONS and STATS lists into structs and tables.
 * Lists may be empty: #define OPTIONS(X) */
#define PRN_PASS_TABLES                          \
  struct opts {                                  \
    char none_;                                  \
    OPTIONS(PRN_OPTION_FIELD)                    \
  };                                             \
  struct stats {                                 \
    uint64_t none_;                              \
    STATS(PRN_STAT_FIELD)                        \
  };                                             \
  static const prn_option_info option_rows[] = { \
      OPTIONS(PRN_OPTION_ROW){.name = NULL}};    \
  static const prn_stat_info stat_rows[] = {STATS(PRN_STAT_ROW){.name = NULL}}

#define PRN_PASS_COMMON                                                 \
  .opts_size = sizeof(struct opts), .stats_size = sizeof(struct stats), \
  .options = option_rows, .stats = stat_rows, .run = run

/* ---- the record ---- */

enum { PRN_ANY_DIALECT = PRN_DIALECT_ONNX | PRN_DIALECT_NN | PRN_DIALECT_MEM };

typedef struct prn_pass prn_pass;
typedef struct prn_pass_run prn_pass_run;

/* Lent to a pass while it runs. */
typedef struct prn_pass_env {
  prn_ctx *ctx;
  const prn_pass *pass;
  const void *opts;   /* struct opts of the pass's file */
  void *stats;        /* struct stats; count where the change is made */
  prn_arena *scratch; /* gone when the pass returns */
  prn_analyses *analyses;
  unsigned threads; /* for tensor loops; at least 1 */
  const struct prn_pipeline_item *item;
  prn_pass_run *state; /* the manager's own */
} prn_pass_env;

struct prn_pass {
  const char *name;    /* kebab-case; the file's name with '_' */
  const char *summary; /* one line, no full stop */
  const char *doc;     /* paragraphs for --help-NAME and the docs, or NULL */
  uint32_t reads;      /* dialects the module may hold before */
  uint32_t writes;     /* dialects the module may hold after */
  uint32_t needs;      /* analyses computed before run() */
  uint32_t keeps;      /* analyses that still hold after run() */
  bool nests;          /* takes a pipeline: name(options){a,b} */
  bool prints;         /* writes to stdout with prn_pass_print */
  /* Outputs of the model stay what they are, up to the order of sums:
   * --verify-numerics holds the pass to it. Not so where the user sets the
   * bool option that exact_unless names (NULL: there is none). */
  bool exact;
  const char *exact_unless;
  size_t opts_size, stats_size;
  const prn_option_info *options; /* ends with a NULL name */
  const prn_stat_info *stats;
  /* Checks what ranges cannot say; called before any pass runs. NULL: fine. */
  prn_status (*check)(prn_pass_env *env);
  prn_status (*run)(prn_pass_env *env, prn_module *m);
};

#define PASS(name) extern const prn_pass prn_pass_##name;
#include "passes/passes.def"
#undef PASS

/* ---- what a pass may call ---- */

/* "error: NAME: text"; always returns PRN_FAIL. */
PRN_PRINTF(2, 3)
prn_status prn_pass_error(const prn_pass_env *env, const char *fmt, ...);
PRN_PRINTF(2, 3)
void prn_pass_warning(const prn_pass_env *env, const char *fmt, ...);
/* For the user's eyes: the tool writes it to standard output. */
PRN_PRINTF(2, 3)
void prn_pass_print(const prn_pass_env *env, const char *fmt, ...);
/* Whether the user wrote this option (rather than leaving its default). */
bool prn_pass_given(const prn_pass_env *env, const char *option);

/* Whether the enclosing sites("glob"){...} select this constant, and it is its
 * turn (prune-sequential). Passes that
 * change or score weights ask for each. True outside of any sites. */
bool prn_pass_site_selected(const prn_pass_env *env, const prn_op *constant);

static inline const prn_weights *prn_pass_weights(const prn_pass_env *env) {
  return prn_analyses_get(env->analyses, PRN_ANALYSIS_WEIGHTS);
}

/* What was observed of the model when it ran on the user's data (--profile);
 * NULL when no profile was given. It fits the model as it was read, or within
 * prune-sequential as it is before the block. */
const prn_profile *prn_pass_profile(const prn_pass_env *env);
/* Reports and fails when no profile was given; with: "--profile-layers " or
 * whatever else prune-run needs to make one that helps. */
PRN_NODISCARD prn_status prn_pass_need_profile(const prn_pass_env *env,
                                               const char *with);
/* A profile of the data, and those of the folds that it is made of: of parts of
 * the data, for who tries on one what was fitted on the others. */
enum { PRN_MAX_FOLDS = 16 };
typedef struct prn_seen {
  prn_profile all, fold[PRN_MAX_FOLDS];
  size_t folds; /* 0, or 2 and more */
} prn_seen;
/* How many folds there are, and one of them; 0 and NULL when the profile was
 * made as a whole. */
size_t prn_pass_folds(const prn_pass_env *env);
const prn_profile *prn_pass_fold(const prn_pass_env *env, size_t i);
void prn_seen_clear(prn_seen *s);
/* Has passes see another one from here on, which is taken and left empty: for
 * who changed what values are. Not within prune-sequential. */
void prn_pass_set_profile(const prn_pass_env *env, prn_seen *s);

/* Whether there is data (--calibration) that the module can run on. */
bool prn_pass_has_data(const prn_pass_env *env);
/* Runs the module as it is now on the data, and keeps statistics of these
 * inputs of weights (all when n is 0), with moments of `block` channels, as
 * prn_profile has it. *out is overwritten, and empty after a failure. */
PRN_NODISCARD prn_status prn_pass_run_on_data(const prn_pass_env *env,
                                              prn_module *m,
                                              const prn_str *values, size_t n,
                                              int64_t block, prn_profile *out);
/* The same, in so many folds, among which runs of the model are dealt out (0:
 * none). */
PRN_NODISCARD prn_status prn_pass_see_data(const prn_pass_env *env,
                                           prn_module *m, const prn_str *values,
                                           size_t n, int64_t block,
                                           size_t folds, prn_seen *out);

/* Options of passes that do: what is observed. */
#define PRN_SEE_OPTIONS(X)                                                 \
  X(ENUM, moments, full, "full|diagonal",                                  \
    "What is observed, as prune-run --profile-moments has it")             \
  X(INT, block, 0, "[0,1000000000]",                                       \
    "Moments of so many neighbouring channels only; 0: of all")            \
  X(INT, folds, 0, "[0,16]",                                               \
    "Deal the data out to so many folds, for passes that try on one what " \
    "they fitted on the others, and choose their damping by that; 0: none")
/* The block of moments that they ask for: prn_profile.block. */
#define PRN_SEE_BLOCK(o) \
  ((o)->moments ? 0 : (o)->block ? (o)->block : PRN_PROFILE_FULL)

/* Has these profiles paired with the module as it is now, without its masks
 * (NULL: no more). */
PRN_NODISCARD prn_status prn_pass_pair_data(const prn_pass_env *env,
                                            prn_module *m);

/* Runs the pipeline that a nesting pass holds in {...}. */
PRN_NODISCARD prn_status prn_pass_run_body(prn_pass_env *env);
/* The same with another profile, and for those weights only whose names are
 * keys. */
PRN_NODISCARD prn_status prn_pass_run_body_on(prn_pass_env *env,
                                              const prn_seen *seen,
                                              const prn_map *names);
/* Whether a weight of this name is among them. */
bool prn_pass_has_turn(const prn_pass_env *env, prn_str name);

/* ---- remarks ---- */

typedef enum prn_remark_kind {
  PRN_REMARK_PASSED,
  PRN_REMARK_MISSED,
  PRN_REMARK_ANALYSIS
} prn_remark_kind;

typedef enum prn_reason {
#define REASON(name, kind, text) PRN_REASON_##name,
#include "passes/reasons.def"
#undef REASON
  PRN_REASON_COUNT
} prn_reason;

typedef struct prn_reason_info {
  const char *name, *text;
  prn_remark_kind kind;
} prn_reason_info;
extern const prn_reason_info prn_reasons[PRN_REASON_COUNT];

/* Says what became of op (a constant, or the node concerned) and why. Every
 * weight that a pass leaves alone gets one. Cheap when nobody listens. */
PRN_PRINTF(4, 5)
void prn_pass_remark(const prn_pass_env *env, const prn_op *op,
                     prn_reason reason, const char *fmt, ...);
/* Whether somebody does, for what is costly to find out. */
bool prn_pass_remarks(const prn_pass_env *env);

#endif
