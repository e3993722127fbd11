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
 *   moments   optional: X'X / T, symmetric, row-major: n x n numbers, or
 *             those of runs of some neighbours only (a block diagonal)
 *
 * An observation with a window sees what a convolution multiplies with: T
 * counts the places of its output, and the channels are the rows of the matrix
 * that im2col makes, channel by channel and within one in the order of the
 * kernel; what lies in the padding is 0. Of groups, each has moments of its
 * own.
 *
 * A paired observation also knows what the same value was in another model, the
 * reference, on the same data:
 *
 *   before    mean of what it was
 *   cross     mean of what it was times what it is, n x n, in blocks as moments
 *             are
 *
 * Statistics are combined by Chan, Golub and LeVeque's rule ("Updating formulae
 * and a pairwise algorithm for computing sample variances", 1979), which does
 * not lose the variance of channels whose mean is large; the mean of x*x is
 * variance + mean*mean, a sum without cancellation. Combining is exact but for
 * rounding: any split of the data, over runs or over profiles that are merged,
 * gives the same.
 *
 * File, little-endian, version 2; everything is aligned to 8 bytes:
 *
 *   0   "PRNPROF\n"
 *   8   u32 version (2), u32 number of observations
 *   16  u64 fingerprint of the model (ir/fingerprint.h)
 *   24  u64 channels that moments are of at most: 0 none, 2^63-1 all
 *   32  the observations:
 *         u32 bytes of the name, i32 axis, u64 n, u64 T, u64 channels of a
 * block of moments (0: none), u32 axes of the window (0: none), u32 whether
 *         pads follow from sizes (0: no, 1: SAME_UPPER, 2: SAME_LOWER), u32
 *         flags (1: paired), u32 0;
 *         with a window of a axes: u64 groups, u64[a] kernel, strides,
 *         dilations, u64[2a] pads;
 *         the name, zeros up to a multiple of 8;
 *         f64[n] mean, variance, absolute, positive; f64[] moments, group by
 *         group, of blocks of that size and a smaller one for what is left;
 *         f64[n] before, f64[] cross, if paired
 *       u64 XXH64 (seed 0) of everything before
 *
 * Version 1, which is still read, has no windows and no blocks: its header ends
 * after 24 bytes, and observations begin with u32 bytes of the name, i32 axis,
 * u64 n, u64 T, u32 flags (1: n x n moments follow), u32 0.
 *
 * A profile that is read keeps its file mapped and its numbers there. */
#ifndef PRN_IR_PROFILE_H
#define PRN_IR_PROFILE_H

#include "ir/support/arena.h"
#include "ir/support/file.h"
#include "ir/support/map.h"
#include "ir/type.h"

enum { PRN_WINDOW_AXES = 3 };
#define PRN_PROFILE_FULL INT64_MAX

/* How pads follow from the sizes of an image, as auto_pad has it. */
enum { PRN_WINDOW_PADS, PRN_WINDOW_SAME_UPPER, PRN_WINDOW_SAME_LOWER };

/* Through which places a convolution sees its input. What is not used is 0. */
typedef struct prn_profile_window {
  int32_t axes; /* spatial; 0: there is no window */
  int32_t same;
  int64_t groups;
  int64_t kernel[PRN_WINDOW_AXES], strides[PRN_WINDOW_AXES],
      dilations[PRN_WINDOW_AXES];
  int64_t pads[2 * PRN_WINDOW_AXES]; /* begins, then ends */
} prn_profile_window;

/* Places in a window; 1 without one. */
int64_t prn_window_places(const prn_profile_window *w);
/* Whether the numbers can be those of a convolution, unused ones 0. */
bool prn_window_valid(const prn_profile_window *w);
/* "3x3 stride 2,2 pads 1,1,1,1"; nothing without a window. */
void prn_window_print(const prn_profile_window *w, prn_strbuf *b);

typedef struct prn_observation {
  prn_str value; /* name of the value in the model */
  int32_t axis;  /* as operators count: 1 for convolutions, -1 the last, ... */
  prn_profile_window window;
  int64_t channels; /* with a window: times the places in it */
  int64_t count;    /* vectors; 0: nothing was seen, and there are no numbers */
  int64_t block; /* channels that moments are of, at most; 0: there are none */
  const double *mean, *variance, *absolute, *positive; /* [channels] */
  const double *moments;                               /* of blocks, or NULL */
  bool unsettled; /* samples were taken since prn_profile_settle */
  bool paired;    /* wanted; of those with moments */
  const double *before, *cross; /* or NULL */
  double *own; /* heap block of all of them; NULL: in the file */
} prn_observation;

typedef struct prn_profile {
  uint64_t model; /* fingerprint */
  int64_t block;  /* what new observations have: 0, a number, or FULL */
  prn_observation *at;
  size_t size, cap;
  const char *path; /* of the file it was read from, or NULL */
  prn_file *file;
  prn_arena arena; /* names */
  prn_map index;   /* name, axis and window -> place in at, from 1 */
} prn_profile;

/* Mean of x*x of a channel. */
static inline double prn_observation_square(const prn_observation *o,
                                            int64_t channel) {
  double mean = o->mean[channel];
  return o->variance[channel] + mean * mean;
}

/* Channels of a group: those that are summed over together. */
static inline int64_t prn_observation_group(const prn_observation *o) {
  return o->window.axes ? o->channels / o->window.groups : o->channels;
}
/* Channels of a block of moments; 0 when there are none. */
static inline int64_t prn_observation_block(const prn_observation *o) {
  int64_t n = prn_observation_group(o);
  return o->block < n ? o->block : n;
}
/* The moments of group g as a matrix of n x n, n the channels of a group; what
 * blocks leave out is the product of the means, as if it were independent. */
void prn_observation_moments(const prn_observation *o, int64_t g, double *out);
/* The same of what the value was (rows) times what it is. */
void prn_observation_cross(const prn_observation *o, int64_t g, double *out);

/* Bytes of the numbers of an observation of a value with so many channels. */
double prn_observation_bytes(const prn_observation *o, int64_t channels,
                             bool paired);

/* ---- making ---- */

/* Zero bytes are a valid empty profile. Frees what it holds and empties it. */
void prn_profile_clear(prn_profile *p);
/* The index of the observation of a value (the name is copied), added when
 * there is none. */
size_t prn_profile_add(prn_profile *p, prn_str value, int32_t axis);
/* The same through a window, which is valid; NULL: none. */
size_t prn_profile_add_window(prn_profile *p, prn_str value, int32_t axis,
                              const prn_profile_window *w);
/* The observation of a value along an axis; NULL when there is none. */
const prn_observation *prn_profile_find(const prn_profile *p, prn_str value,
                                        int32_t axis);
const prn_observation *prn_profile_find_window(const prn_profile *p,
                                               prn_str value, int32_t axis,
                                               const prn_profile_window *w);
/* The observation of a value along any axis, without a window, the first; NULL
 * when there is none. */
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
/* The same for a paired observation, with the same value of the reference. */
PRN_NODISCARD prn_status prn_profile_observe_pair(prn_profile *p, size_t index,
                                                  const prn_sample *sample,
                                                  const prn_sample *before,
                                                  unsigned threads,
                                                  prn_diag_sink *sink);
/* Makes moments whole when all samples were taken, or between: until then those
 * below the diagonal are not what is above. */
void prn_profile_settle(prn_profile *p);
/* Adds what another profile saw of the same model; both are settled. Reports
 * and fails when the models differ, or what moments they have. Names both by
 * their paths. */
PRN_NODISCARD prn_status prn_profile_merge(prn_profile *into,
                                           const prn_profile *from,
                                           prn_diag_sink *sink);

/* Adds an observation of another profile, which counts vectors, of a value
 * whose channel i is now what channel order[i] was (NULL: as it is). Moments of
 * blocks cannot follow: then they are left out, and *lost is true. False when
 * there is no memory. */
PRN_NODISCARD bool prn_profile_add_moved(prn_profile *p,
                                         const prn_observation *from,
                                         const int64_t *order, bool *lost);

/* "full moments", "diagonal moments" or "moments of 64 channels". */
void prn_profile_moments_print(const prn_profile *p, prn_strbuf *b);

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
