/* Adding to the outputs of a graph. */
#ifndef PRN_PASSES_TRANSFORM_OUTPUTS_H
#define PRN_PASSES_TRANSFORM_OUTPUTS_H

#include "passes/pass.h"

typedef struct prn_outputs {
  prn_op *graph, *ret; /* ret NULL: a graph without a return */
  prn_str *names;      /* as many as ret has operands */
  uint32_t size;
  uint64_t added, known;
} prn_outputs;

/* Room for `more` outputs, in env->scratch. */
prn_outputs prn_outputs_open(const prn_pass_env *env, prn_op *graph,
                             size_t more);
/* Makes v an output called by its name, unless one of that name is there. */
void prn_outputs_add(prn_outputs *o, prn_value *v);
/* Writes the names. */
void prn_outputs_close(const prn_pass_env *env, const prn_outputs *o);

#endif
