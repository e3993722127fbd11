/* --tune: formats of weights by measuring.
 *
 * Every product of a model whose sizes are constants is computed, alone, in
 * each of the formats that nn-plan finds worth a try, and gets the fastest,
 * before nn-plan sees it; but for the smallest, which nn-plan decides. What was
 * found is kept in a file of lines
 *
 *   KEY FORMAT [group=N] [depth=N] [nr=N] [vectors=N] [tile=N] [wide=1] ns=TIME
 * dense=TIME # ...
 *
 * where the key is made of the target, the operation and the places of the
 * zeros; products that the file has are not measured again. */
#ifndef PRN_TOOLS_TUNE_H
#define PRN_TOOLS_TUNE_H

#include "passes/lower/plan.h"
#include "tools/lowering.h"

/* Tunes the products of m, which is in the nn dialect, for the target of
 * `how`, with the cache how->tune. Reports and fails when the target's code
 * cannot run here, and on a broken cache. */
PRN_NODISCARD prn_status prn_tune(prn_module *m, const prn_lowering *how,
                                  const prn_machine *machine);

/* Times of op, whose product is p, in n formats, in ns: with few rows,
 * turning x and the result around included. */
PRN_NODISCARD prn_status prn_tune_measure(const prn_op *op,
                                          const prn_plan_product *p,
                                          const prn_target_spec *target,
                                          const prn_plan_choice *all, int n,
                                          double seconds, double *ns);

#endif
