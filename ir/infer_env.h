/* State of one run of shape inference, shared by ir/infer*.c alone; the
 * operators' hooks see ir/infer.h.
 *
 * Types and contents are set on the values themselves. While `trying` is set
 * every change is logged, so that a guess (a loop body, a function body for
 * one call, a check that must change nothing) can be taken back. */
#ifndef PRN_IR_INFER_ENV_H
#define PRN_IR_INFER_ENV_H

#include "ir/infer.h"

enum { PRN_INFER_MAX_DEPTH = 512 };

/* Known elements of a small tensor. */
typedef struct prn_content {
  size_t n;
  const prn_dim *elems;
} prn_content;

typedef struct prn_infer_change {
  prn_value *value;
  const prn_type *type;       /* before; NULL: the type did not change */
  const prn_content *content; /* before */
} prn_infer_change;

struct prn_infer {
  prn_ctx *ctx;
  prn_module *module;
  prn_arena scratch; /* until the next top-level op */
  prn_arena kept;    /* contents and memos, until the end */
  prn_ptrmap content;
  prn_ptrmap sizes;      /* dims that are sizes of tensors: not negative */
  prn_map inputs;        /* symbols of the graph inputs */
  prn_map functions;     /* "domain\nname\noverload" -> onnx.function */
  prn_map calls;         /* memo of calls */
  prn_ptrmap active;     /* functions being inferred */
  const prn_op *caller;  /* the call whose body is being inferred, or NULL */
  const prn_op *callee;  /* its function */
  prn_ptrmap impossible; /* branches that cannot run */
  prn_infer_change *log; /* while trying */
  size_t log_size, log_cap;
  uint32_t trying, guesses, depth;
  bool failed;
};

/* Contradictions of old and new knowledge about a type are false. */
PRN_NODISCARD bool prn_infer_merge(prn_infer *env, const prn_type *known,
                                   const prn_type *found, const prn_type **out);
void prn_infer_set_type(prn_infer *env, prn_value *v, const prn_type *type);
/* Takes back every change after the first `mark` of the log. */
void prn_infer_rollback(prn_infer *env, size_t mark);
/* Replaces op's attribute list by one in scratch memory, with the caller's
 * values for parameters. */
void prn_infer_bind_attrs(prn_infer *env, prn_op *op);
/* A call of a model-local function, if op is one. */
PRN_NODISCARD prn_status prn_infer_call(prn_infer *env, prn_op *op);

#endif
