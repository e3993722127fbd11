/* Functions, frames, sizes: what all generated code shares; see emit.h. */
#include <assert.h>
#include <string.h>

#include "backends/llvm/emit.h"

/* ---- functions ---- */

prn_emit_scope prn_emit_begin(prn_emit *e, const char *name, prn_t ret,
                              const prn_t *params, unsigned n) {
  prn_emit_scope s = {
      .frame = e->frame, .prologue = e->prologue, .dims = e->dims};
  s.cg = prn_cg_begin(e->g, name, ret, params, n);
  e->frame = NULL;
  e->dims = (prn_ptrmap){0};
  e->prologue = LLVMGetInsertBlock(e->g->b);
  LLVMBasicBlockRef start = prn_cg_block(e->g, "start");
  LLVMBuildBr(e->g->b, start);
  LLVMPositionBuilderAtEnd(e->g->b, start);
  return s;
}

void prn_emit_end(prn_emit *e, prn_emit_scope s) {
  prn_ptrmap_destroy(&e->dims);
  e->frame = s.frame;
  e->prologue = s.prologue;
  e->dims = s.dims;
  prn_cg_end(e->g, s.cg);
}

/* ---- frame ---- */

unsigned prn_frame_arg(unsigned i) { return PRN_FRAME_ARGS + i; }

unsigned prn_frame_symbol(const prn_emit *e, unsigned i) {
  return PRN_FRAME_ARGS + e->body->num_args + i;
}

prn_v prn_frame_word(prn_emit *e, unsigned word) {
  return cg_at(e->g, e->g->i64, e->frame, cg_i64(e->g, word));
}

prn_v prn_frame_get(prn_emit *e, unsigned word, prn_t type) {
  return LLVMBuildLoad2(e->g->b, type, prn_frame_word(e, word), "");
}

void prn_frame_set(prn_emit *e, unsigned word, prn_v v) {
  LLVMBuildStore(e->g->b, v, prn_frame_word(e, word));
}

/* Several workers may store; all store the same kind of news, so the order
 * does not matter, but the access must not be torn. */
void prn_frame_fail(prn_emit *e, int status) {
  prn_v store = LLVMBuildStore(e->g->b, cg_i64(e->g, status),
                               prn_frame_word(e, PRN_FRAME_STATUS));
  LLVMSetOrdering(store, LLVMAtomicOrderingMonotonic);
  LLVMSetAlignment(store, 8);
}

/* ---- sizes ---- */

static prn_v symbol(prn_emit *e, prn_str name) {
  unsigned word = PRN_FRAME_WORKERS;
  for (unsigned i = 0; i < e->num_symbols; i++)
    if (prn_str_eq(e->symbols[i], name)) word = prn_frame_symbol(e, i);
  assert(e->frame && "sizes need a frame");
  return prn_frame_get(e, word, e->g->i64);
}

/* A divisor that is a size may be 0 at run time; the quotient then is not
 * used for anything, but computing it must not trap. */
static prn_v divisor(prn_cg *g, prn_v d) {
  if (LLVMIsConstant(d)) return d;
  return cg_select(g, cg_cmp(g, LLVMIntEQ, d, cg_i64(g, 0)), cg_i64(g, 1), d);
}

static prn_v in_prologue(prn_emit *e, prn_dim d);

static prn_v expression(prn_emit *e, prn_dim d) {
  prn_cg *g = e->g;
  if (d->kind == PRN_DIM_SYM) return symbol(e, d->name);
  prn_v r = in_prologue(e, d->args[0]);
  for (uint32_t i = 1; i < d->num_args; i++) {
    prn_v x = in_prologue(e, d->args[i]);
    switch (d->kind) {
    case PRN_DIM_MUL:
      r = prn_cg_mul(g, r, x);
      break;
    case PRN_DIM_ADD:
      r = prn_cg_add(g, r, x);
      break;
    case PRN_DIM_FLOORDIV:
      r = prn_cg_floordiv(g, r, divisor(g, x));
      break;
    case PRN_DIM_MOD:
      r = prn_cg_floormod(g, r, divisor(g, x));
      break;
    case PRN_DIM_MIN:
      r = prn_cg_min(g, r, x);
      break;
    default:
      r = prn_cg_max(g, r, x);
      break;
    }
  }
  return r;
}

/* The builder stands before the prologue's end. */
static prn_v in_prologue(prn_emit *e, prn_dim d) {
  if (d->kind == PRN_DIM_CONST) return cg_i64(e->g, d->value);
  prn_v v = prn_ptrmap_get(&e->dims, d);
  if (v) return v;
  v = expression(e, d);
  *prn_ptrmap_slot(&e->dims, d) = v;
  return v;
}

prn_v prn_emit_dim(prn_emit *e, prn_dim d) {
  LLVMBasicBlockRef at = LLVMGetInsertBlock(e->g->b);
  LLVMPositionBuilderBefore(e->g->b, LLVMGetBasicBlockTerminator(e->prologue));
  prn_v v = in_prologue(e, d);
  LLVMPositionBuilderAtEnd(e->g->b, at);
  return v;
}

void prn_emit_view(prn_emit *e, prn_view *v, const prn_type *type, prn_v base) {
  v->type = type;
  v->base = base;
  for (int32_t i = 0; i < type->rank; i++) {
    v->dims[i] = prn_emit_dim(e, type->dims[i]);
    v->strides[i] = prn_emit_dim(e, type->strides[i]);
  }
}
