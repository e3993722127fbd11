/* Analyses: facts about a module, computed when a pass needs them and kept
 * until a pass runs that does not keep them.
 *
 * A pass names what it needs and what it keeps in its record; the manager
 * computes the first and drops the rest. With --verify-each it also computes
 * what was kept once more and compares. */
#ifndef PRN_PASSES_ANALYSIS_ANALYSIS_H
#define PRN_PASSES_ANALYSIS_ANALYSIS_H

#include "ir/op.h"

typedef enum prn_analysis_id {
#define ANALYSIS(id, name, doc) PRN_ANALYSIS_##id,
#include "passes/analysis/analyses.def"
#undef ANALYSIS
  PRN_ANALYSIS_COUNT
} prn_analysis_id;

/* Masks for prn_pass.needs and prn_pass.keeps: PRN_SHAPES, ... */
enum {
#define ANALYSIS(id, name, doc) PRN_##id = 1u << PRN_ANALYSIS_##id,
#include "passes/analysis/analyses.def"
#undef ANALYSIS
  PRN_ALL_ANALYSES = (1u << PRN_ANALYSIS_COUNT) - 1
};

typedef struct prn_analyses prn_analyses;

typedef struct prn_analysis {
  const char *name, *doc;
  /* Sets *out; it is never asked for an analysis that depends on itself. */
  prn_status (*compute)(prn_analyses *all, prn_module *m, void **out);
  void (*destroy)(void *data); /* NULL: nothing to free */
  /* Whether data still describes m. NULL: compute again, compare with equal. */
  bool (*holds)(prn_analyses *all, prn_module *m, const void *data);
} prn_analysis;

extern const prn_analysis *const prn_analysis_table[PRN_ANALYSIS_COUNT];

/* The cache of one module's analyses. */
prn_analyses *prn_analyses_create(prn_module *m);
void prn_analyses_destroy(prn_analyses *a);
/* Computes those of the mask that are not there. */
PRN_NODISCARD prn_status prn_analyses_need(prn_analyses *a, uint32_t mask);
/* The result; NULL when not computed. */
const void *prn_analyses_get(const prn_analyses *a, prn_analysis_id id);
/* Drops all but those of the mask. */
void prn_analyses_keep(prn_analyses *a, uint32_t mask);
/* Those of the mask that are there and no longer describe the module. */
uint32_t prn_analyses_broken(prn_analyses *a, uint32_t mask);

/* ---- weights: every operation with the trait PRN_CONSTANT that holds a
 * tensor, nested blocks included, in module order ---- */
typedef struct prn_weights {
  prn_op **ops;
  size_t size;
} prn_weights;

#endif
