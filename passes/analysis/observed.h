/* Inputs of weights that can be observed, and what a profile says of them. */
#ifndef PRN_PASSES_ANALYSIS_OBSERVED_H
#define PRN_PASSES_ANALYSIS_OBSERVED_H

#include "passes/analysis/sites.h"

/* Why nothing can be observed of an input: it has no name, lies in a nested
 * block or a function, is not of floats, or an output has its name. NULL when
 * it can: then a graph output may show it. */
const char *prn_site_input_hidden(const prn_site_input *input);

typedef struct prn_site_inputs {
  prn_site_input *at;
  size_t size;
} prn_site_inputs;

/* Every input that can be observed, in the order of the weights that read it
 * first; one that several weights read along one axis is there once. The list
 * is allocated in the arena. */
prn_site_inputs prn_sites_observable(const prn_sites *s, prn_arena *arena);

/* Groups of a convolution: they divide its output channels, and each has
 * inputs of its own. 1 of anything else. */
int64_t prn_site_groups(const prn_site *s);
/* The window through which a use sees its input: none (no axes) where a profile
 * of the value as it is says the same. Convolutions alike have the same one,
 * however they are written. False when windows cannot say it. */
PRN_NODISCARD bool prn_site_window(const prn_site_use *use,
                                   prn_profile_window *out);

/* Adds an observation of every input that can be observed to a profile, and
 * where it has moments also one for each window through which weights see it.
 * names: the values to observe; all when n is 0. */
void prn_sites_observe(const prn_sites *s, const prn_str *names, size_t n,
                       prn_profile *p);

/* What the profile says of the input of a use, as it is; NULL when nothing. */
const prn_observation *prn_site_observation(const prn_profile *p,
                                            const prn_site_use *use);

/* ---- weights as matrices ---- */

/* A weight as a matrix for each group of its inputs: [outputs, inputs], where
 * element (o, i) of group g lies at rows[g * outputs + o] + cols[i] of the
 * constant. Inputs are in the order of the constant's memory: channels, then
 * places of the kernel, for a convolution that nothing transposes. */
typedef struct prn_site_matrix {
  int64_t groups, outputs, inputs;
  int64_t *rows;  /* [groups * outputs] */
  int64_t *cols;  /* [inputs], ascending as it is made */
  int64_t *from;  /* [inputs]: their places as the operator counts them */
  int64_t places; /* of the kernel */
} prn_site_matrix;

/* False when the weight is no such matrix for all its uses: tables, stacks of
 * matrices, transposed convolutions with windows. In the arena. */
PRN_NODISCARD bool prn_site_matrix_of(const prn_site *s, prn_arena *arena,
                                      prn_site_matrix *out);

/* Puts channels last: inputs run over channels within each place of a kernel,
 * so that n:m groups lie along channels. */
void prn_site_matrix_by_place(prn_site_matrix *m);

/* What the inputs of one group are like, in the order of the matrix. */
typedef struct prn_site_moments {
  int64_t n, count; /* inputs, vectors */
  double *mean;     /* [n] */
  double *second;   /* [n][n]: the mean of x x' */
  double *before;   /* [n], of a paired profile: the mean of what they were */
  double *cross;    /* [n][n]: the mean of what they were (rows) times x' */
} prn_site_moments;

/* The moments that all uses of the weight see together, each for as many
 * vectors as it saw; what a profile with blocks has no moments of counts as
 * independent. False when a use has none in the profile, or there is no
 * memory: *why says so ("its input ..."). Free with the other. */
PRN_NODISCARD bool prn_site_moments_of(const prn_profile *p, const prn_site *s,
                                       const prn_site_matrix *m, int64_t group,
                                       prn_site_moments *out, const char **why);
void prn_site_moments_free(prn_site_moments *m);

/* The means [inputs] that one use sees: through its window, or where that was
 * not observed those of whole channels, as if there were no padding. False
 * when the profile says nothing. */
PRN_NODISCARD bool prn_use_means_of(const prn_profile *p,
                                    const prn_site_use *use,
                                    const prn_site_matrix *m, int64_t group,
                                    double *out);

#endif
