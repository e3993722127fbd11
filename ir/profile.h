/* Calibration profiles: what values of a model were like on the user's data.
 *
 * An observation holds statistics of one value along one of its axes, the
 * channels: a value of n channels and T*n elements is T vectors of n. Per
 * channel, over the T vectors, in double precision:
 *
 *   mean      of x
 *   variance  of x around the mean (over T, not T - 1)
 *   absolute  mean of |x|
 *   positive  share of x > 0; 1 - positive is the APoZ of a ReLU
 *   moments   optional: X'X / T, n x n, row-major, symmetric
 *
 * Statistics are combined by Chan, Golub and LeVeque's rule ("Updating formulae
 * and a pairwise algorithm for computing sample variances", 1979), which does
 * not lose the variance of channels whose mean is large; the mean of x*x is
 * variance + mean*mean, a sum without cancellation. Combining is exact but for
 * rounding: any split of the data, over runs or over profiles that are merged,
 * gives the same.
 *
 * File, little-endian, version 1; everything is aligned to 8 bytes:
 *
 *   0   "PRNPROF\n"
 *   8   u32 version (1), u32 number of observations
 *   16  u64 fingerprint of the model (ir/fingerprint.h)
 *   24  the observations:
 *         u32 bytes of the name, i32 axis, u64 n, u64 T, u32 flags (1: has
 *         moments), u32 0; the name, zeros up to a multiple of 8;
 *         f64[n] mean, variance, absolute, positive; f64[n][n] moments
 *       u64 XXH64 (seed 0) of everything before
 *
 * A profile that is read keeps its file mapped and its numbers there. */
#ifndef PRN_IR_PROFILE_H
#define PRN_IR_PROFILE_H

#include "ir/support/arena.h"
#include "ir/support/file.h"
#include "ir/support/map.h"
#include "ir/type.h"

typedef struct prn_observation {
  prn_str value; /* name of the value in the model */
  int32_t axis;  /* as operators count: 1 for convolutions, -1 the last, ... */
  int64_t channels;
  int64_t count; /* vectors; 0: nothing was seen, and there are no numbers */
  const double *mean, *variance, *absolute, *positive; /* [channels] */
  const double *moments; /* [channels][channels], or NULL */
  double *own;           /* heap block of all of them; NULL: in the file */
} prn_observation;

typedef struct prn_profile {
  uint64_t model; /* fingerprint */
  bool full;      /* observations have moments */
  prn_observation *at;
  size_t size, cap;
  const char *path; /* of the file it was read from, or NULL */
  prn_file *file;
  prn_arena arena; /* names */
  prn_map index;   /* name and axis -> place in at, from 1 */
} prn_profile;

/* Mean of x*x of a channel. */
static inline double prn_observation_square(const prn_observation *o,
                                            int64_t channel) {
  double mean = o->mean[channel];
  return o->variance[channel] + mean * mean;
}

/* ---- making ---- */

/* Zero bytes are a valid empty profile. Frees what it holds and empties it. */
void prn_profile_clear(prn_profile *p);
/* The index of the observation of a value (the name is copied), added when
 * there is none. */
size_t prn_profile_add(prn_profile *p, prn_str value, int32_t axis);
/* The observation of a value along an axis; NULL when there is none. */
const prn_observation *prn_profile_find(const prn_profile *p, prn_str value,
                                        int32_t axis);
/* The observation of a value along any axis, the first; NULL when there is
 * none. */
const prn_observation *prn_profile_find_any(const prn_profile *p,
                                            prn_str value);

/* Elements of a value: row-major, packed. */
typedef struct prn_sample {
  prn_dtype dtype;
  int32_t rank;
  const int64_t *dims;
  const void *data;
} prn_sample;

/* Adds the elements of a sample to observation `index`. Reports and fails when
 * it has another number of channels than those before, no such axis, elements
 * that are no real numbers, a NaN or an infinity, or when there is no memory.
 * The result is the same for any number of threads. */
PRN_NODISCARD prn_status prn_profile_observe(prn_profile *p, size_t index,
                                             const prn_sample *sample,
                                             unsigned threads,
                                             prn_diag_sink *sink);
/* Adds what another profile saw of the same model. Reports and fails when the
 * models differ, or one has full moments and the other has not. Names both by
 * their paths. */
PRN_NODISCARD prn_status prn_profile_merge(prn_profile *into,
                                           const prn_profile *from,
                                           prn_diag_sink *sink);

/* ---- files ---- */

/* Reads a profile. Nothing in the file is trusted: whatever is wrong is
 * reported, and memory is bounded by the file's size. *out is overwritten, and
 * empty after a failure. */
PRN_NODISCARD prn_status prn_profile_read(prn_diag_sink *sink, const char *path,
                                          prn_profile *out);
/* The same from an open file, which is retained. */
PRN_NODISCARD prn_status prn_profile_read_file(prn_diag_sink *sink,
                                               prn_file *file,
                                               prn_profile *out);
/* Writes path ("-" is standard output), whole or not at all. Observations that
 * saw nothing are left out. */
PRN_NODISCARD prn_status prn_profile_write(prn_diag_sink *sink,
                                           const prn_profile *p,
                                           const char *path);

#endif
