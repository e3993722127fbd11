/* Pruning one layer by least squares: numbers only, no IR.
 *
 * Of a layer y = W x with W of [rows, cols], and moments G = mean of x x' over
 * calibration data, the weights are sought, with zeros as a budget asks, that
 * minimise the damped error
 *
 *   tr (W^ - W) (G + d I) (W^ - W)',    d = damping * mean of G's diagonal
 *
 * which is the sum of what each row loses. Methods choose zeros (prn_solve_obs,
 * prn_solve_admm, prn_solve_wanda), fit the weights that stay
 * (prn_solve_refit), or improve a choice (prn_solve_swap); prn_solve_best runs
 * several and keeps the best. All results are the same at any number of
 * threads. */
#ifndef PRN_PASSES_SOLVE_SOLVE_H
#define PRN_PASSES_SOLVE_SOLVE_H

#include "passes/solve/dense.h"

typedef enum prn_budget_kind {
  PRN_BUDGET_LAYER, /* so many entries go, wherever they are */
  PRN_BUDGET_ROW,   /* so many of each row */
  PRN_BUDGET_NM,    /* n stay of every m neighbours in a row */
  PRN_BUDGET_FIXED, /* those that are gone, and no others */
} prn_budget_kind;

typedef struct prn_budget {
  prn_budget_kind kind;
  int64_t prune; /* LAYER, ROW: entries that go, those gone before included */
  int64_t n, m;  /* NM; columns behind the last whole group stay */
} prn_budget;

typedef struct prn_solve {
  /* what the caller gives */
  int64_t rows, cols;
  float *target;             /* W, finite; open() zeroes what is never seen */
  const double *moments;     /* G, symmetric, finite */
  const unsigned char *gone; /* rows x cols: 1 never comes back; or NULL */
  prn_budget budget;
  double damping; /* share of the mean diagonal */
  int steps;      /* of conjugate gradients, where refit takes them */
  prn_dense dense;
  /* what open() makes */
  double *g;      /* G + d I */
  float *g32;     /* the same in single precision */
  double raised;  /* the damping that it took; `damping` when that was enough */
  bool *dead;     /* cols: inputs that were never anything but 0 */
  double *factor; /* Cholesky's of g from its end: see obs.c; or NULL */
  uint64_t swaps; /* made by prn_solve_swap */
} prn_solve;

/* Weights, what stays of them, and what each row loses. */
typedef struct prn_solution {
  float *weights;      /* rows x cols; 0 where nothing stays */
  unsigned char *keep; /* rows x cols */
  double *loss;        /* rows */
} prn_solution;

/* Functions that can fail return why in words, or NULL when they did not. */

/* Prepares; raises the damping until G + d I is positive definite. Weights of
 * inputs that were never anything but 0 say nothing: their targets become 0,
 * unless the budget is fixed. Close it whatever open returned. */
PRN_NODISCARD const char *prn_solve_open(prn_solve *s);
void prn_solve_close(prn_solve *s);

PRN_NODISCARD const char *prn_solution_create(const prn_solve *s,
                                              prn_solution *out);
void prn_solution_destroy(prn_solution *x);

/* ---- choosing ---- */

/* Marks as kept what has the largest scores (absolute values, rows x cols)
 * under the budget. Ties go by index: the first ones lose. */
PRN_NODISCARD const char *
prn_solve_project(const prn_solve *s, const float *score, unsigned char *keep);
/* Zeros where |w| ||x|| is least; the other weights stay as they are. */
PRN_NODISCARD const char *prn_solve_wanda(const prn_solve *s, prn_solution *x);

typedef struct prn_obs_options {
  int64_t block; /* columns that are chosen from at a time */
  bool le;       /* LAYER: one more entry a block goes, as with the authors */
  double share;  /* with `le`: of the entries that go */
} prn_obs_options;
/* Frantar and Alistarh, "SparseGPT", 2023. A FIXED budget: only updates. */
PRN_NODISCARD const char *prn_solve_obs(prn_solve *s, const prn_obs_options *o,
                                        prn_solution *x);
/* Meng et al., "ALPS", 2024: zeros and weights by the alternating direction
 * method of multipliers. quick: a few steps from those of x, for large layers;
 * otherwise x is not read. */
PRN_NODISCARD const char *prn_solve_admm(const prn_solve *s, bool quick,
                                         prn_solution *x);

/* ---- improving; no row gets worse ---- */

/* The best weights where x keeps some, from those of x. */
PRN_NODISCARD const char *prn_solve_refit(const prn_solve *s, prn_solution *x);
/* Trades kept entries for others of the same row, of the same group where the
 * budget has groups, as long as that lowers the error. x is fitted. */
PRN_NODISCARD const char *prn_solve_swap(prn_solve *s, prn_solution *x);
/* What rows lose with the weights of x. */
PRN_NODISCARD const char *prn_solve_loss(const prn_solve *s, prn_solution *x);

/* Adds what x loses of the squares of outputs, and all of these, both without
 * damping: for reports. */
PRN_NODISCARD const char *prn_solve_share(const prn_solve *s,
                                          const prn_solution *x, double *lost,
                                          double *all);

/* The same on other data, of these moments. */
PRN_NODISCARD const char *prn_solve_share_on(const prn_solve *s,
                                             const double *moments,
                                             const prn_solution *x,
                                             double *lost, double *all);

/* ---- all of it ---- */

typedef struct prn_best {
  int effort;  /* 1 Wanda, 2 SparseGPT, 3 ADMM (quick for large layers), 4 and
                  swaps; all fitted */
  int64_t obs; /* out: rows where SparseGPT was better and is kept */
  double loss; /* out: the sum of x->loss */
} prn_best;
/* The solution of an effort, or of SparseGPT or Wanda fitted where that loses
 * less: for each row, or where the budget is the layer's, for the layer. (In
 * large layers Wanda is tried by effort 1 only, and SparseGPT's weights are
 * only fitted where, as they are, they lose less than half as much again.) */
PRN_NODISCARD const char *prn_solve_best(prn_solve *s, prn_best *b,
                                         prn_solution *x);

/* ---- for the library's own files ---- */

extern const char prn_solve_no_memory[];

/* s->factor of s->g; false when that is not positive definite. */
PRN_NODISCARD bool prn_solve_factor(prn_solve *s);
/* Rows that are worked on together; depends on the problem alone. */
int64_t prn_solve_chunk(const prn_solve *s);
/* Marks as kept the best of columns [from, to), `prune` of whose entries go (of
 * all rows together), by scores of rows x (to - from). */
PRN_NODISCARD const char *
prn_solve_project_window(const prn_solve *s, const float *score, int64_t from,
                         int64_t to, int64_t prune, unsigned char *keep);
/* The same of n entries of one row from flat index `at` on; score points at the
 * first of them. */
void prn_solve_project_run(const prn_solve *s, const float *score, int64_t at,
                           int64_t n, int64_t prune, unsigned char *keep);

#endif
