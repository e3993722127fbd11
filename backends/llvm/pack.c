/* Packing of a panel of B at run time; see gemm.h.
 *
 * Three shapes of source: columns adjacent (copy), rows adjacent (transpose
 * in registers, square blocks of one vector), anything else (element by
 * element). Padding columns are written as zeros. */
#include <assert.h>

#include "backends/llvm/gemm.h"

enum { SRC, ROWS, COLS, ROW, COL, OUT, PARAMS };

typedef struct packer {
  prn_v src, k, cols, row, col, out;
  prn_v width; /* cols rounded up to whole vectors: zero-filled up to here */
  prn_v pitch; /* elements from one packed row to the next */
} packer;

/* out[i][j0..width) element by element, for i in [i0, i1). */
static void scalar_block(prn_cg *g, const packer *p, prn_v i0, prn_v i1,
                         prn_v j0) {
  prn_loop li, lj;
  prn_loop_begin(g, &li, i0, i1, 1, NULL, 0);
  prn_v src = cg_at(g, g->f32, p->src, prn_cg_mul(g, li.iv, p->row));
  prn_v out = cg_at(g, g->f32, p->out, prn_cg_mul(g, li.iv, p->pitch));
  prn_loop_begin(g, &lj, j0, p->cols, 1, NULL, 0);
  prn_v at = cg_at(g, g->f32, src, prn_cg_mul(g, lj.iv, p->col));
  prn_cg_store(g, prn_cg_load(g, g->f32, at), cg_at(g, g->f32, out, lj.iv));
  prn_loop_end(g, &lj);
  prn_loop_begin(g, &lj, prn_cg_max(g, j0, p->cols), p->width, 1, NULL, 0);
  prn_cg_store(g, LLVMConstNull(g->f32), cg_at(g, g->f32, out, lj.iv));
  prn_loop_end(g, &lj);
  prn_loop_end(g, &li);
}

/* Columns adjacent in memory. */
static void copy_rows(prn_cg *g, const packer *p) {
  int64_t lanes = g->target->lanes;
  prn_v whole =
      prn_cg_sub(g, p->cols, prn_cg_mod(g, p->cols, cg_i64(g, lanes)));
  prn_loop li, lj;
  prn_loop_begin(g, &li, cg_i64(g, 0), p->k, 1, NULL, 0);
  prn_v src = cg_at(g, g->f32, p->src, prn_cg_mul(g, li.iv, p->row));
  prn_v out = cg_at(g, g->f32, p->out, prn_cg_mul(g, li.iv, p->pitch));
  prn_loop_begin(g, &lj, cg_i64(g, 0), whole, lanes, NULL, 0);
  prn_cg_store(g, prn_cg_load(g, g->vf, cg_at(g, g->f32, src, lj.iv)),
               cg_at(g, g->f32, out, lj.iv));
  prn_loop_end(g, &lj);
  prn_if tail = prn_if_begin(g, cg_lt(g, whole, p->cols));
  prn_v mask =
      prn_cg_tail_mask(g, (unsigned)lanes, prn_cg_sub(g, p->cols, whole));
  prn_v v = prn_cg_load_masked(g, g->vf, cg_at(g, g->f32, src, whole), mask);
  prn_cg_store(g, v, cg_at(g, g->f32, out, whole));
  prn_if_end(g, tail);
  prn_loop_end(g, &li);
}

void prn_cg_transpose(prn_cg *g, prn_v *rows, unsigned n) {
  prn_v lo[64], hi[64], next[64];
  assert(n <= PRN_COUNT(lo) && (n & (n - 1)) == 0);
  for (unsigned i = 0; i < n; i++) {
    lo[i] = cg_i32(g, (int32_t)(i / 2 + (i % 2) * n));
    hi[i] = cg_i32(g, (int32_t)(n / 2 + i / 2 + (i % 2) * n));
  }
  prn_v lo_mask = LLVMConstVector(lo, n), hi_mask = LLVMConstVector(hi, n);
  /* Interleaving row i with row i + n/2, log2(n) times, is a transpose. */
  for (unsigned stage = 1; stage < n; stage *= 2) {
    for (unsigned i = 0; i < n / 2; i++) {
      prn_v a = rows[i], b = rows[i + n / 2];
      next[2 * i] = LLVMBuildShuffleVector(g->b, a, b, lo_mask, "");
      next[2 * i + 1] = LLVMBuildShuffleVector(g->b, a, b, hi_mask, "");
    }
    for (unsigned i = 0; i < n; i++)
      rows[i] = next[i];
  }
}

/* Rows adjacent in memory: whole blocks by transposition, the rest singly. */
static void transpose_blocks(prn_cg *g, const packer *p) {
  unsigned lanes = g->target->lanes;
  prn_v step = cg_i64(g, lanes), zero = cg_i64(g, 0);
  prn_v k_whole = prn_cg_sub(g, p->k, prn_cg_mod(g, p->k, step));
  prn_v n_whole = prn_cg_sub(g, p->cols, prn_cg_mod(g, p->cols, step));
  prn_loop lj, li;
  prn_loop_begin(g, &lj, zero, n_whole, lanes, NULL, 0);
  prn_loop_begin(g, &li, zero, k_whole, lanes, NULL, 0);
  prn_v rows[64];
  prn_v src = cg_at(g, g->f32, p->src,
                    prn_cg_add(g, li.iv, prn_cg_mul(g, lj.iv, p->col)));
  for (unsigned r = 0; r < lanes; r++)
    rows[r] = prn_cg_load(
        g, g->vf, cg_at(g, g->f32, src, prn_cg_mul(g, p->col, cg_i64(g, r))));
  prn_cg_transpose(g, rows, lanes);
  prn_v out = cg_at(g, g->f32, p->out,
                    prn_cg_add(g, prn_cg_mul(g, li.iv, p->pitch), lj.iv));
  for (unsigned r = 0; r < lanes; r++)
    prn_cg_store(g, rows[r],
                 cg_at(g, g->f32, out, prn_cg_mul(g, p->pitch, cg_i64(g, r))));
  prn_loop_end(g, &li);
  prn_loop_end(g, &lj);
  scalar_block(g, p, zero, k_whole, n_whole);
  scalar_block(g, p, k_whole, p->k, zero);
}

static void body(prn_cg *g, const packer *p) {
  prn_v one = cg_i64(g, 1);
  LLVMBasicBlockRef copy = prn_cg_block(g, "copy"),
                    other = prn_cg_block(g, "other"),
                    flip = prn_cg_block(g, "flip"),
                    scalar = prn_cg_block(g, "scalar");
  LLVMBuildCondBr(g->b, cg_cmp(g, LLVMIntEQ, p->col, one), copy, other);
  LLVMPositionBuilderAtEnd(g->b, copy);
  copy_rows(g, p);
  LLVMBuildRetVoid(g->b);
  LLVMPositionBuilderAtEnd(g->b, other);
  LLVMBuildCondBr(g->b, cg_cmp(g, LLVMIntEQ, p->row, one), flip, scalar);
  LLVMPositionBuilderAtEnd(g->b, flip);
  transpose_blocks(g, p);
  LLVMBuildRetVoid(g->b);
  LLVMPositionBuilderAtEnd(g->b, scalar);
  scalar_block(g, p, cg_i64(g, 0), p->k, cg_i64(g, 0));
  LLVMBuildRetVoid(g->b);
}

void prn_gemm_pack(prn_cg *g, prn_v b, prn_v k, prn_v cols, prn_v row,
                   prn_v col, prn_v out) {
  prn_v fn = prn_cg_made(g, "gemm_pack");
  if (!fn) {
    prn_t params[PARAMS] = {g->ptr, g->i64, g->i64, g->i64, g->i64, g->ptr};
    prn_cg_scope s = prn_cg_begin(g, "gemm_pack", g->none, params, PARAMS);
    fn = g->fn;
    prn_cg_remember(g, "gemm_pack", fn);
    prn_cg_param_attr(g, fn, SRC, "noalias");
    prn_cg_param_attr(g, fn, OUT, "noalias");
    packer p = {.src = LLVMGetParam(fn, SRC),
                .k = LLVMGetParam(fn, ROWS),
                .cols = LLVMGetParam(fn, COLS),
                .row = LLVMGetParam(fn, ROW),
                .col = LLVMGetParam(fn, COL),
                .out = LLVMGetParam(fn, OUT)};
    p.pitch = cg_i64(g, prn_target_nr(g->target));
    p.width = prn_cg_round_up(g, p.cols, g->target->lanes);
    body(g, &p);
    prn_cg_end(g, s);
  }
  prn_cg_call(g, fn, (prn_v[]){b, k, cols, row, col, out}, PARAMS);
}
