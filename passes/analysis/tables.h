/* The records that analyses.def names. */
#ifndef PRN_PASSES_ANALYSIS_TABLES_H
#define PRN_PASSES_ANALYSIS_TABLES_H

#include "passes/analysis/analysis.h"

#define ANALYSIS(id, name, doc) extern const prn_analysis prn_analysis_##name;
#include "passes/analysis/analyses.def"
#undef ANALYSIS

#endif
