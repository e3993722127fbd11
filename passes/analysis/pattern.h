/* Patterns: what regularity the zeros of a weight have, from the data. */
#ifndef PRN_PASSES_ANALYSIS_PATTERN_H
#define PRN_PASSES_ANALYSIS_PATTERN_H

#include "ir/sparsity.h"
#include "passes/analysis/sites.h"

typedef enum prn_pattern_kind {
  PRN_PATTERN_DENSE,   /* at most 1 % zeros */
  PRN_PATTERN_ZERO,    /* nothing else */
  PRN_PATTERN_VECTORS, /* whole output units and inputs, nothing else */
  PRN_PATTERN_BLOCK,
  PRN_PATTERN_NM,
  PRN_PATTERN_UNSTRUCTURED
} prn_pattern_kind;

typedef struct prn_pattern {
  prn_pattern_kind kind;
  prn_sparsity sparsity; /* BLOCK, NM: in the constant's own axes */
  int64_t entries, nonzeros;
  int64_t rows, cols;           /* output units; entries of each */
  int64_t zero_rows, zero_cols; /* those that are wholly zero */
} prn_pattern;

/* Looks at every entry. False when there is no memory to. The site has a
 * tensor of numbers. */
PRN_NODISCARD bool prn_pattern_of(const prn_site *s, prn_pattern *out);
/* "2:4 axis 0", "block 4x4", "3 rows", "dense", ... */
void prn_pattern_print(prn_strbuf *b, const prn_pattern *p);

#endif
