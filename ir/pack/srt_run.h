/* What srt.c and srt_run.c share: a panel of a block of rows, and runs. */
#ifndef PRN_IR_PACK_SRT_RUN_H
#define PRN_IR_PACK_SRT_RUN_H

#include "ir/pack/srt.h"

enum {
  PRN_SRT_RUN = 8, /* groups of a run, at most */
  PRN_SRT_PATTERNS = 1 << PRN_SRT_MAX_GROUP,
};

/* The panel: `steps` cells of `units` units. A unit is a row, or for blocks
 * `height` neighbouring rows whose entries are entries of all of them. */
typedef struct prn_srt_panel {
  int64_t steps, units;
  const unsigned char *entry; /* [unit][stride]: whether it is one */
  int64_t stride;
  const int32_t *count; /* entries of each unit */
} prn_srt_panel;

/* A step of a group: for each part of its split the cell, or PRN_SRT_NONE
 * where the row has no entry left. */
enum { PRN_SRT_NONE = 0xffff };

typedef struct prn_srt_group {
  int32_t unit[PRN_SRT_MAX_GROUP]; /* -1: there is none */
  /* Cells not yet taken, by the units that have an entry there. */
  uint16_t *left[PRN_SRT_PATTERNS];
  int32_t num_left[PRN_SRT_PATTERNS];
  uint16_t *steps[PRN_SRT_MAX_SPLITS]; /* [count][parts] */
} prn_srt_group;

typedef struct prn_srt_run {
  int units, splits; /* units of a group */
  prn_srt_split split[PRN_SRT_MAX_SPLITS];
  int groups;
  int32_t steps;                     /* of a group */
  int32_t count[PRN_SRT_MAX_SPLITS]; /* of them, by split */
  prn_srt_group group[PRN_SRT_RUN];
  uint16_t *memory;
  int64_t depth;
} prn_srt_run;

/* Groups of `units` units with these splits, in panels of up to depth cells. */
void prn_srt_run_init(prn_srt_run *r, int units, int64_t depth);
void prn_srt_run_destroy(prn_srt_run *r);
/* How many units of `order`, which is by falling count, the run from there on
 * has. */
int64_t prn_srt_run_units(const prn_srt_run *r, const prn_srt_panel *p,
                          const int32_t *order, int64_t from);
/* Makes that run; returns the same. */
int64_t prn_srt_run_make(prn_srt_run *r, const prn_srt_panel *p,
                         const int32_t *order, int64_t from);

#endif
