/* The instrument behind --verify-numerics: what exact passes must not change.
 *
 * Before and after every pass that says that outputs stay what they are
 * (prn_pass.exact) the module is written as an ONNX model, and the prune-run
 * that lies beside this tool runs both on the same random inputs. Open
 * dimensions get small sizes. The models have no names in the file system, so
 * they are gone when the tool is, however it ends.
 *
 * A pass that changed an output, or left a model that does not run, fails. One
 * whose input does not run, or cannot be ONNX, is not checked: a warning says
 * why, once for each reason. */
#ifndef PRN_TOOLS_NUMERICS_H
#define PRN_TOOLS_NUMERICS_H

#include "passes/manager.h"
#include "passes/remark.h"

typedef struct prn_numerics {
  prn_instrument base;
  prn_ctx *ctx;
  int64_t seeds;              /* random inputs for each check */
  double tolerance;           /* of relative L2 errors */
  const prn_remarks *remarks; /* of the passes, to tell what one did */
  prn_strbuf lines;           /* one for each check, for --stats */
  /* the rest is its own */
  prn_strbuf tool; /* path of prune-run */
  prn_strbuf said; /* the last reason not to check */
  int before;      /* the model before the pass, or -1 */
  prn_str *dims;   /* names of its open dimensions, interned */
  size_t num_dims, num_remarks;
  size_t sizes; /* which sizes of open dimensions it runs with */
} prn_numerics;

/* The number of `--verify-numerics=N`: 1 for "". Reports and fails when it is
 * none, or there is no prune-run. ctx is that of the modules. */
PRN_NODISCARD prn_status prn_numerics_init(prn_numerics *n, prn_ctx *ctx,
                                           const char *number,
                                           double tolerance);
/* Forgets the module before, for another one. */
void prn_numerics_restart(prn_numerics *n, const prn_remarks *remarks);
/* Zero bytes are allowed. */
void prn_numerics_destroy(prn_numerics *n);

#endif
