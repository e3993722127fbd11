/* The vectors that an observation takes of a sample, and sums over them: for
 * the files that make observations.
 *
 * Vectors are loaded as panels of LANES neighbouring channels, vector by
 * vector, as doubles: what the loops over them want. */
#ifndef PRN_IR_PROFILE_VECTORS_H
#define PRN_IR_PROFILE_VECTORS_H

#include "ir/profile_block.h"

enum { PRN_LANES = 16 };

typedef struct prn_vectors {
  const prn_sample *sample;
  const prn_profile_window *window; /* NULL: none */
  int64_t outer, channels, inner;   /* sizes before, of and behind the axis */
  int64_t places;                   /* in the window */
  int64_t in[PRN_WINDOW_AXES], out[PRN_WINDOW_AXES], begin[PRN_WINDOW_AXES];
  int64_t per_outer; /* vectors of one outer index */
  int64_t count;     /* vectors */
  int64_t width;     /* elements of one: channels * places */
} prn_vectors;

/* The vectors of a sample; false after a message. */
PRN_NODISCARD prn_status prn_vectors_of(const prn_sample *s,
                                        const prn_observation *o,
                                        prn_vectors *out, prn_diag_sink *sink);
/* Channels [first, first+lanes) of vectors [at, at+n): panel[n][LANES], where
 * the lanes behind are 0. */
void prn_vectors_load(const prn_vectors *v, int64_t first, int64_t lanes,
                      int64_t at, int64_t n, double *panel);

/* Products are taken in single precision, of differences from something near
 * the mean, so that what is lost is little beside the variance; sums of few of
 * them go on in double precision. */
typedef struct prn_shift {
  bool known;
  double by[PRN_LANES];  /* where differences are from */
  double sum[PRN_LANES]; /* of the differences */
} prn_shift;

/* mean, variance, absolute and positive of n vectors of a panel. s: NULL, or
 * where `shifted` [n][LANES] is to be from; when it is not known it becomes the
 * mean. */
void prn_panel_statistics(const double *panel, int64_t n, prn_shift *s,
                          float *shifted,
                          double out[PRN_PROFILE_VECTORS][PRN_LANES]);
/* out[i][j] += sum over n vectors of a[i] * b[j]. */
void prn_panel_product(const float *a, const float *b, int64_t n,
                       double out[PRN_LANES][PRN_LANES]);

/* m[i][j] += share * (mean - m[i][j]), where the mean is that of what n vectors
 * were before x and y shifted them, whose products are in sums; of rows x
 * columns in a matrix of `side` columns. sums are lost. */
void prn_panel_combine(double sums[PRN_LANES][PRN_LANES], const prn_shift *x,
                       const prn_shift *y, int64_t rows, int64_t columns,
                       int64_t n, double share, int64_t side, double *m);

/* "error: value 'x' ..."; returns PRN_FAIL. */
PRN_PRINTF(3, 4)
prn_status prn_observation_error(prn_diag_sink *sink, const prn_observation *o,
                                 const char *fmt, ...);

#endif
