/* Permutation of channels for n:m, what the files of permute-channels share.
 *
 * Groups of m neighbours run along the inputs of a weight, as select-nm has
 * them. Indices of a coupling group (passes/analysis/coupling.h) are columns
 * where weights read along it; rows are all that these weights multiply a
 * column with. Slot s holds the columns that are neighbours there, m of them
 * from phase + s * m on; the phase is not 0 where a group begins within
 * neighbours. */
#ifndef PRN_PASSES_PERMUTE_PERMUTE_H
#define PRN_PASSES_PERMUTE_PERMUTE_H

#include "passes/compact/compact.h"
#include "passes/select/select.h"

enum { PRN_READER_MOST = 64 }; /* neighbours */

/* A weight that reads along a group. */
typedef struct prn_reader {
  const prn_target *target;
  prn_line line;
  int32_t first, last; /* axes of the constant that the line is */
  int64_t m;
  const int64_t *index; /* of the group, by place; -1: none, -2: several */
  /* What the search sees: rows in which every slot has its m places, as often
   * as this; where sets of neighbours are cut otherwise it sees nothing. */
  int64_t slots, times;
  int64_t *at; /* [times][slots]: where the m neighbours begin in the line */
  int64_t rows;
} prn_reader;

/* Finds how a target reads along a group, m neighbours at a time; *along: it
 * does. False when that cannot be followed. */
bool prn_reader_find(prn_pass_env *env, const prn_group *g, const prn_target *t,
                     int64_t m, prn_reader *out, bool *along);

/* Adds to rows[p], for every phase p < m, how many rows have slots there. */
void prn_reader_phases(const prn_reader *r, int64_t *rows);
/* Finds the slots of a group of so many indices. */
void prn_reader_slots(prn_pass_env *env, prn_reader *r, int64_t size,
                      int64_t phase);

/* Of rows that all readers have together, `keep` of `of`, evenly; the reader's
 * own begin behind `before`. */
typedef struct prn_row_share {
  int64_t before, keep, of;
} prn_row_share;
/* Reads the share to scores[column][row], where a column has `keep` rows.
 * Masked entries have the score 0. */
PRN_NODISCARD prn_status prn_reader_rows(const prn_reader *r,
                                         prn_row_share share, float *scores);

/* The place that each place of the line was before; in the scratch arena. */
const int64_t *prn_reader_sources(const prn_reader *r, const prn_removal *by);
/* Adds the score of all entries, and of those that stay when n of m neighbours
 * do, with the places of the line in that order. */
PRN_NODISCARD prn_status prn_reader_kept(const prn_reader *r, int64_t n,
                                         const int64_t *from, double *kept,
                                         double *all);

/* After a permutation, before types change: notes in the module that there was
 * one, and has the profile of the run follow it. */
PRN_NODISCARD prn_status prn_permute_profile(prn_pass_env *env, prn_module *m,
                                             const prn_removal *r);

#endif
