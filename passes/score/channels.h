/* How places in a weight lead to the channel, row or column that they belong
 * to, and what a profile says of channels: what scores by activations share. */
#ifndef PRN_PASSES_SCORE_CHANNELS_H
#define PRN_PASSES_SCORE_CHANNELS_H

#include "passes/analysis/observed.h"
#include "passes/score/score.h"

enum { PRN_TRIPLE = 3, PRN_MAX_TRIPLES = PRN_LAYOUT_MAX_FACTORS };

/* Triples (size, stride, scale), of falling strides: place `at` of the constant
 * has index sum of (at / stride % size) * scale. */
typedef struct prn_triples {
  int64_t at[PRN_TRIPLE * PRN_MAX_TRIPLES];
  uint32_t n;
} prn_triples;

/* Whether n triples make sense and all their indices are below `count`: each
 * one's digits end where those of the one before begin. */
bool prn_triples_lead(const int64_t *c, uint32_t n, int64_t count);
int64_t prn_triples_index(const int64_t *c, uint32_t n, int64_t at);
/* To the combinations of the axes in a bit set, the last axis fastest; their
 * number. */
int64_t prn_triples_of(const prn_site *s, uint32_t axes, prn_triples *t);

/* How the places of the constant lead to the channels of its input, and how
 * many there are; 0 when they do not. */
int64_t prn_channels_find(const prn_site *s, prn_triples *t);
/* Root mean squares of the channels over all uses, in env->scratch; NULL after
 * a message (*wrong), or when one of the uses was not observed. */
float *prn_channel_norms(const prn_pass_env *env, const prn_site *s,
                         int64_t channels, bool *wrong);
/* The error of a weight without norms. */
void prn_channels_unobserved(const prn_pass_env *env, const prn_site *s);

#endif
