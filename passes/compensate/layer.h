/* A weight as the matrices of a least squares problem, and back.
 *
 * The weight is [rows, cols] by the roles of its axes, wherever they lie in
 * memory; a grouped convolution is one problem for each group of rows. */
#ifndef PRN_PASSES_COMPENSATE_LAYER_H
#define PRN_PASSES_COMPENSATE_LAYER_H

#include "passes/analysis/observed.h"
#include "passes/solve/solve.h"

typedef struct prn_layer {
  const prn_pass_env *env;
  const prn_site *site;
  const prn_profile *without; /* a fold that moments are to be without */
  prn_arena arena;
  prn_site_matrix matrix;
  prn_site_moments moments; /* of `group` */
  int64_t group, groups;
  int64_t rows, cols;       /* rows of all groups */
  const int64_t *row, *col; /* where they lie in the constant: row + col */
  float *target;            /* rows x cols: weights, whatever a mask says */
  unsigned char *gone;      /* rows x cols: masked; NULL: there is no mask */
  prn_solution x;           /* to be filled, and written */
  bool centred;             /* problems are of inputs around their means */
  bool reference; /* aim at what all weights gave in the reference of a
                   * paired profile */
  float *aim;     /* of `reference`: rows x cols, in place of target */
  double *gave;   /* of `reference`: rows, the means of outputs there */
  bool trades;    /* entries that were masked may come back */
} prn_layer;

/* Fails unless there is a profile with full moments. */
PRN_NODISCARD prn_status prn_layers_check(const prn_pass_env *env);

/* Reads a weight of f32, f16 or bf16. *why is why that cannot be (static text,
 * "its ..."), or NULL. Reports and fails where a weight is not finite, or there
 * is no memory. Warns when there are few vectors to fit on. by_place: columns
 * are channels within places of a kernel, for n:m budgets. Close it in any
 * case. */
PRN_NODISCARD prn_status prn_layer_open(const prn_pass_env *env,
                                        const prn_site *s, bool by_place,
                                        prn_layer *out, const char **why);
void prn_layer_close(prn_layer *l);

/* The problem of a group; `x` points into l->x. The budget is the caller's.
 * Opens it; reports and fails. */
PRN_NODISCARD prn_status prn_layer_problem(prn_layer *l, int64_t group,
                                           const prn_lapack *lapack,
                                           double damping, prn_budget budget,
                                           prn_solve *out, prn_solution *x);
/* Reports why a solver failed, naming the weight; PRN_FAIL. */
prn_status prn_layer_failed(const prn_layer *l, const char *why);
/* Says so when a problem needed more damping than asked for. */
void prn_layer_remark_damping(const prn_layer *l, const prn_solve *s);

/* Gives the constant the weights of l->x, and what they keep as its mask.
 * `claim` is made of the type unless a stronger one is there. Returns the
 * entries that went now in *pruned. */
PRN_NODISCARD prn_status prn_layer_write(prn_layer *l, prn_sparsity claim,
                                         uint64_t *pruned);
/* Whether the means that outputs lose can go to biases: all operators that read
 * the weight add something to each of its rows, or (add) can be made to. */
bool prn_layer_has_bias(const prn_layer *l, bool add);
/* Gives the biases these means, after prn_layer_write. Of centred problems. */
void prn_layer_give_means(prn_layer *l);
/* The claim of an n:m budget, or that there are zeros where none can be made:
 * columns are no axis of the constant, or some are left over. */
prn_sparsity prn_layer_claim(const prn_layer *l, int64_t n, int64_t m);

#endif
