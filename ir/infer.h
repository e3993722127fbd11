/* Shape inference: result types from operand types, op by op.
 *
 * Sizes are symbolic (ir/dim.h). Besides types, inference tracks the contents
 * of small integer tensors as dimensions, so that exporters' Shape -> Gather
 * -> Concat -> Reshape chains resolve to symbols. Inference only ever adds
 * knowledge: what it finds is merged with the type already there, and a
 * contradiction is an error that names the op. */
#ifndef PRN_IR_INFER_H
#define PRN_IR_INFER_H

#include "ir/op.h"

enum { PRN_INFER_MAX_CONTENT = 64 };

/* Infers every op of the module, nested blocks included. Unranked and `any`
 * stay where nothing is known; that is not an error. When assign_symbols is
 * set, unknown ('?') dimensions of graph inputs get fresh symbols d0, d1, ...
 * first. All errors are reported before it fails. */
PRN_NODISCARD prn_status prn_infer_module(prn_module *m, bool assign_symbols);
/* The same, keeping what was found: prn_infer_content answers for every value
 * of the module until prn_infer_free. *out_env is set also on failure. */
PRN_NODISCARD prn_status prn_infer_run(prn_module *m, bool assign_symbols,
                                       prn_infer **out_env);
void prn_infer_free(prn_infer *env); /* NULL is allowed */
/* Reports everything that prn_infer_module would, and changes nothing. */
PRN_NODISCARD prn_status prn_infer_check(prn_module *m);

/* ---- for the operators' hooks ---- */
prn_ctx *prn_infer_ctx(prn_infer *env);
prn_module *prn_infer_module_of(prn_infer *env);
/* Memory until the hook of the outermost op returns. */
prn_arena *prn_infer_scratch(prn_infer *env);
/* Merges type into result i of op (ignored when op has no such result).
 * Reports and fails when it contradicts what is known. */
PRN_NODISCARD prn_status prn_infer_result(prn_infer *env, prn_op *op,
                                          uint32_t i, const prn_type *type);
/* Known integer contents of v (row-major, at most PRN_INFER_MAX_CONTENT
 * elements), constants included; NULL when not known. Elements may be the
 * unknown dimension, and those of a float tensor are known when they are
 * integers. *n is the number of elements. */
const prn_dim *prn_infer_content(prn_infer *env, const prn_value *v, size_t *n);
/* Records the contents of result i. */
void prn_infer_set_content(prn_infer *env, prn_op *op, uint32_t i,
                           const prn_dim *elems, size_t n);
/* The same for any value, such as an argument of a nested block. */
void prn_infer_set_value_content(prn_infer *env, prn_value *v,
                                 const prn_dim *elems, size_t n);
/* How often a Loop runs; the unknown dimension when only the run can tell. */
prn_dim prn_infer_trips(prn_infer *env, const prn_op *op);
/* How many tensors a sequence holds; the unknown dimension when only the run
 * can tell. */
prn_dim prn_infer_length(prn_infer *env, const prn_value *sequence);
/* Says that d is the size of something, so that it cannot be negative. */
void prn_infer_note_size(prn_infer *env, prn_dim d);
/* True when d is provably not negative. */
bool prn_infer_not_negative(prn_infer *env, prn_dim d);

/* Infers the ops of a nested block whose argument types are set. */
PRN_NODISCARD prn_status prn_infer_block(prn_infer *env, prn_block *b);
/* The same for a block that need not run: what is wrong in it is not reported.
 */
PRN_NODISCARD prn_status prn_infer_quiet_block(prn_infer *env, prn_block *b);
/* Notes that b cannot run: its sizes contradict each other. */
void prn_infer_set_impossible(prn_infer *env, const prn_block *b);
bool prn_infer_impossible(const prn_infer *env, const prn_block *b);
/* Gives an argument of a nested block its type: merged with a declared one
 * first when `merge`, which fails without a report on a contradiction. */
PRN_NODISCARD prn_status prn_infer_arg(prn_infer *env, prn_value *arg,
                                       const prn_type *type, bool merge);
/* Tries: between begin and end changes are logged and nothing is reported;
 * end takes all of them back. */
size_t prn_infer_try_begin(prn_infer *env, prn_diag_sink *saved);
void prn_infer_try_end(prn_infer *env, size_t mark, const prn_diag_sink *saved);
/* How many tries are going on: nested ones multiply their cost. */
uint32_t prn_infer_guesses(const prn_infer *env);

/* Numpy broadcasting of two dims; false (no report) when they cannot. Sizes
 * that are broadcast are taken not to be zero. */
PRN_NODISCARD bool prn_infer_broadcast_dim(prn_infer *env, prn_dim a, prn_dim b,
                                           prn_dim *out);
/* What is common to two types (for If results); `any` when nothing is. */
const prn_type *prn_infer_join(prn_infer *env, const prn_type *a,
                               const prn_type *b);

#endif
