/* The report on a run: what the model was, what it is, what passes did. */
#ifndef PRN_PASSES_REPORT_H
#define PRN_PASSES_REPORT_H

#include "passes/manager.h"

typedef struct prn_report_weight {
  prn_str name;
  const char *type;
  const prn_tensor *tensor;
  int64_t entries, nonzero;
} prn_report_weight;

/* Numbers of one module, taken before or after the passes. */
typedef struct prn_report_model {
  size_t operations; /* constants and structure left out */
  int64_t entries, nonzero, bytes;
  prn_report_weight *weights; /* numeric constants of rank 1 and more */
  size_t num_weights, cap_weights;
} prn_report_model;

/* Reads all weights once. Zero bytes are a valid empty model. */
void prn_report_measure(prn_module *m, unsigned threads, prn_report_model *out);
void prn_report_destroy(prn_report_model *r);

typedef struct prn_report {
  const char *tool, *input, *output; /* output NULL: none */
  const prn_report_model *before, *after;
  const prn_pipeline *pipeline;
  const prn_remarks *remarks;
} prn_report;

void prn_report_json(const prn_report *r, prn_strbuf *b);
/* One page without scripts or references. */
void prn_report_html(const prn_report *r, prn_strbuf *b);

#endif
