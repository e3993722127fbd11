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

#endif
