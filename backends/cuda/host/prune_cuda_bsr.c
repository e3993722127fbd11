/* Products by cuSPARSE: weights in blocks of 32 by 32, which it takes as they
 * lie. Its product does nothing to sums, so that a kernel goes over the results
 * where something is to be done. */
#include "prune_cuda_impl.h"

enum { SIDE = 32, PART = 128 }; /* parts of the format begin at a multiple */

static const float one = 1, zero = 0;

/* How many blocks a record has, from its size: what indices are rounded up by
 * is less than a block. */
static int64_t blocks_of(const prune_cuda_record *r, int64_t starts) {
  int64_t block = SIDE * SIDE * (int64_t)pcu_type_size(r->type) + 4;
  return ((int64_t)r->size - starts) / block;
}

static int describe(const prune_cuda_ctx *c, const prune_cuda_step *step,
                    const pcu_shape *s, pcu_product *out) {
  const pcu_sparse *sp = &c->sp;
  const prune_cuda_record *r = &c->model->records[step->product->record];
  int type = pcu_lib_type(step->product->type);
  int64_t starts = pcu_round_up((s->n / SIDE + 1) * 4, PART);
  int64_t blocks = blocks_of(r, starts);
  unsigned char *w = c->weights + (s->w - c->weights);
  int code =
      sp->blocks(&out->w, s->n / SIDE, s->k / SIDE, blocks, SIDE, SIDE, w,
                 w + starts, w + starts + pcu_round_up(blocks * 4, PART),
                 PCU_SP_INDEX_32, PCU_SP_INDEX_32, 0, type, PCU_SP_ROW);
  /* Where x and the results are is known when they are multiplied; an address
   * is wanted now. */
  if (!code) code = sp->dense(&out->x, s->k, s->m, s->ldx, w, type, PCU_SP_COL);
  if (!code)
    code = sp->dense(&out->out, s->n, s->m, s->ldo, w, type, PCU_SP_COL);
  /* What preprocess would find out is of no use to this algorithm. */
  if (!code)
    code = sp->space(c->sp_handle, 0, 0, &one, out->w, out->x, &zero, out->out,
                     PCU_LT_F32, PCU_SP_BSR, &out->space);
  return code;
}

pcu_reason pcu_bsr_plan(const prune_cuda_ctx *c, const pcu_slot *slot,
                        const prune_cuda_step *step, pcu_product *out,
                        int32_t *code) {
  const prune_cuda_product *p = step->product;
  const prune_cuda_record *r = &c->model->records[p->record];
  pcu_shape s;
  pcu_reason why = pcu_get_shape(c, slot, step, &s);
  if (why != PCU_TAKEN) return why;
  if (p->format != PRUNE_CUDA_BSR || p->type == 1) return PCU_LAYOUT;
  if (s.bias || s.adds || p->act != PRUNE_CUDA_NO_ACT) return PCU_EPILOGUE;
  if (s.m == 0 || s.n == 0) return PCU_TAKEN;
  /* Whole blocks, of which there are some. */
  if (s.k % SIDE || s.n % (2 * SIDE) || r->k != s.k || r->n != s.n ||
      r->size <= (uint64_t)pcu_round_up((s.n / SIDE + 1) * 4, PART) ||
      s.align_x < 16 || s.align_out < 16)
    return PCU_LAYOUT;
  out->how = PRUNE_CUDA_CUSPARSE;
  *code = describe(c, step, &s, out);
  if (*code) return PCU_REFUSED;
  return out->space > pcu_lib_room(slot) ? PCU_ROOM : PCU_TAKEN;
}

void pcu_bsr_forget(const prune_cuda_ctx *c, pcu_product *p) {
  if (p->w) (void)c->sp.blocks_free(p->w);
  if (p->x) (void)c->sp.dense_free(p->x);
  if (p->out) (void)c->sp.dense_free(p->out);
}

/* The stream is the handle's, and addresses are the descriptors': one thread at
 * a time, for as long as a launch takes. */
prune_cuda_status pcu_bsr_multiply(const prune_cuda_ctx *c,
                                   const pcu_call *call,
                                   const prune_cuda_step *step,
                                   const pcu_product *p) {
  const prune_cuda_product *t = step->product;
  const pcu_sparse *sp = &c->sp;
  void *x = pcu_pointer(c, call, &step->pointers[t->x]);
  void *out = pcu_pointer(c, call, &step->pointers[t->out]);
  pcu_take_turn(c, PCU_SP);
  int code = sp->stream(c->sp_handle, call->stream);
  if (!code) code = sp->dense_set(p->x, x);
  if (!code) code = sp->dense_set(p->out, out);
  if (!code)
    code =
        sp->matmul(c->sp_handle, 0, 0, &one, p->w, p->x, &zero, p->out,
                   PCU_LT_F32, PCU_SP_BSR, call->workspace + call->slot->lib);
  pcu_end_turn(c, PCU_SP);
  return pcu_said(PCU_SP, code, "cusparseSpMM");
}
