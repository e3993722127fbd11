/* The numbers of an observation as one block of doubles, in the order of the
 * file: for the files that make, read and write profiles. */
#ifndef PRN_IR_PROFILE_BLOCK_H
#define PRN_IR_PROFILE_BLOCK_H

#include "ir/profile.h"

enum { PRN_PROFILE_VECTORS = 4 }; /* mean, variance, absolute, positive */

/* Doubles in the block of an observation; false when it has no channels, too
 * many, or none for each group. */
PRN_NODISCARD bool prn_profile_block_size(const prn_observation *o,
                                          size_t *doubles);
/* Doubles of moments of one group, of an observation whose block has a size. */
size_t prn_profile_group_moments(const prn_observation *o);
/* Lets the observation's pointers lead into the block. */
void prn_profile_place(prn_observation *o, const double *block);
/* The observation's block, to be written to: what it held is copied, or it is
 * zero. NULL when there is no memory. */
double *prn_profile_own(prn_observation *o);
/* Combines the four vectors of two blocks, which stand for n_into and n_from
 * vectors; at least one. */
void prn_profile_combine(double *into, int64_t n_into, const double *from,
                         int64_t n_from, int64_t channels);

#endif
