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

/* What the profile says of the input of a use; NULL when nothing. */
const prn_observation *prn_site_observation(const prn_profile *p,
                                            const prn_site_use *use);

/* ---- second moments, for least squares ---- */

/* Groups of a convolution: they divide its output channels, and each has
 * inputs of its own. 1 of anything else. */
int64_t prn_site_groups(const prn_site *s);

/* What the columns of a weight are multiplied with, over all its uses, as a
 * profile saw it. Rows are cut into `groups` runs of the same size, each with
 * inputs, and so moments, of its own. */
typedef struct prn_site_moments {
  const prn_profile *profile;
  const prn_site *site;
  int64_t groups;
  int64_t inputs; /* of a group: columns of the weight */
  int64_t count;  /* vectors */
} prn_site_moments;

/* False when the profile has no moments of them; *why then is static text,
 * "its ...". */
PRN_NODISCARD bool prn_site_moments_of(const prn_profile *p, const prn_site *s,
                                       prn_site_moments *out, const char **why);
/* Means of products of two inputs, inputs x inputs; means of inputs. Uses count
 * by their vectors. */
void prn_site_moments_read(const prn_site_moments *m, int64_t group,
                           double *out);
void prn_site_means_read(const prn_site_moments *m, int64_t group, double *out);

#endif
