/* A run of sparse register tiling; see ir/pack/srt.h.
 *
 * The accumulators of a group stay in registers while its record is read: a
 * loop for each split, whose steps load a vector of x for each part and feed
 * it to the rows of the part, a broadcast weight each. All groups of a run
 * have the same loops, so that their ends are foreseen. */
#include "backends/llvm/linear_srt.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

#include "backends/llvm/emit.h"

typedef struct run {
  const prn_srt_tile *t;
  int splits;
  prn_srt_split split[PRN_SRT_MAX_SPLITS];
  prn_v groups, count[PRN_SRT_MAX_SPLITS];
  unsigned rows;
  prn_t sum, x; /* vectors of accumulators, of x */
  prn_v mask;
  prn_v arg[PRN_SRT_PARAMS];
  /* of the group: numbers of its rows, and where they lie in c */
  prn_v row[PRN_SRT_MAX_BLOCK], c[PRN_SRT_MAX_BLOCK];
} run;

static prn_v half_at(prn_cg *g, prn_v p, prn_v i) {
  prn_v v = prn_cg_load(g, g->i16, cg_at(g, g->i16, p, i));
  return LLVMBuildZExt(g->b, v, g->i64, "");
}

static int64_t even(int64_t n) { return (n + 1) / 2 * 2; }

/* ---- the tile ---- */

static prn_v vector_at(prn_cg *g, const run *r, prn_v row, unsigned v) {
  return cg_at(g, g->i32, row, cg_i64(g, (int64_t)v * r->t->lanes));
}

static prn_v mask_of(const run *r, unsigned v) {
  return v + 1 == r->t->vectors ? r->mask : NULL;
}

/* acc = first ? 0 : c */
static void load_tile(prn_cg *g, const run *r, prn_v *acc) {
  unsigned nv = r->t->vectors, n = r->rows * nv;
  prn_v zero = LLVMConstNull(r->sum), loaded[PRN_LOOP_MAX];
  prn_if s = prn_if_begin(g, LLVMBuildNot(g->b, r->arg[PRN_SRT_FIRST], ""));
  for (unsigned i = 0; i < n; i++)
    loaded[i] = prn_cg_load_masked(
        g, r->sum, vector_at(g, r, r->c[i / nv], i % nv), mask_of(r, i % nv));
  LLVMBasicBlockRef then = LLVMGetInsertBlock(g->b);
  prn_if_end(g, s);
  for (unsigned i = 0; i < n; i++) {
    acc[i] = LLVMBuildPhi(g->b, r->sum, "");
    LLVMAddIncoming(acc[i], &zero, &s.from, 1);
    LLVMAddIncoming(acc[i], &loaded[i], &then, 1);
  }
}

/* What fills a group repeats the row before it, which is stored later. */
static void store_tile(prn_cg *g, const run *r, const prn_v *acc,
                       prn_srt_finish_fn *finish, void *user) {
  unsigned nv = r->t->vectors;
  for (unsigned i = r->rows; i-- > 0;) {
    if (finish) {
      finish(g, user, r->row[i], &acc[i * nv], nv, r->mask);
      continue;
    }
    for (unsigned v = 0; v < nv; v++)
      prn_cg_store_masked(g, acc[i * nv + v], vector_at(g, r, r->c[i], v),
                          mask_of(r, v));
  }
}

/* ---- a step ---- */

/* The indices of a step are one word. Words are loaded AHEAD steps before they
 * are needed: the loads of x fill the load pipes and are older, so a load
 * waits for long, and those of x would wait for it. */
enum { AHEAD = 4 };

static int64_t step_bytes(const run *r) { return prn_srt_step(r->rows); }

/* Of the step that follows the one at p by `ahead`. */
static prn_v load_word(prn_cg *g, const run *r, prn_v p, unsigned ahead) {
  p = cg_at(g, g->i8, p, cg_i64(g, ahead * step_bytes(r)));
  return LLVMBuildZExt(g->b, prn_cg_load(g, g->i32, p), g->i64, "");
}

static prn_v index_of(prn_cg *g, const run *r, prn_v word, unsigned part) {
  if (r->t->blocks) return word;
  if (part) word = LLVMBuildLShr(g->b, word, cg_i64(g, 8 * part), "");
  if (part + 1 == PRN_SRT_INDICES) return word;
  return LLVMBuildAnd(g->b, word, cg_i64(g, 0xff), "");
}

/* Row `sub` of the packed columns of a cell. */
static prn_v x_at(prn_cg *g, const run *r, prn_v index, unsigned sub) {
  prn_v row = prn_cg_add(g, prn_cg_mul(g, index, cg_i64(g, r->t->cells.subs)),
                         cg_i64(g, sub));
  return cg_at(g, g->i32, r->arg[PRN_SRT_X],
               prn_cg_mul(g, row, r->arg[PRN_SRT_XROW]));
}

/* The weights of a step, each in all lanes of a vector. Four at a time are
 * loaded once and spread within lanes: loads are what x needs. */
static void load_weights(prn_cg *g, const run *r, prn_v at, prn_v *out) {
  prn_t elem = r->t->cells.kind == PRN_DOT_F32 ? g->f32 : g->i32;
  for (unsigned i = 0; i < r->rows;) {
    unsigned left = r->rows - i, n = left > 2 ? 4 : left;
    prn_v four[4];
    prn_cg_load_splats(g, elem, cg_at(g, g->i32, at, cg_i64(g, i)), n,
                       r->t->lanes, four);
    for (unsigned j = 0; j < n && j < left; j++)
      out[i++] = four[j];
  }
}

/* The same for weights of 16 bits that are widened, of one half of the cell. */
static void load_wide(prn_cg *g, const run *r, prn_v at, unsigned sub,
                      prn_v *out) {
  for (unsigned i = 0; i < r->rows; i++) {
    prn_v p = cg_at(g, g->i16, at, cg_i64(g, 2 * i + sub));
    prn_v w = prn_elem_load(g, r->t->pack->dtype, p, cg_i64(g, 1), 1, NULL);
    out[i] = prn_cg_splat(g, w, r->t->lanes);
  }
}

static prn_v multiply_add(prn_cg *g, const run *r, prn_v w, prn_v x, prn_v c) {
  if (r->t->cells.kind == PRN_DOT_F32) return prn_cg_fma(g, w, x, c);
  return prn_dot_step(g, r->t->cells.kind, c, x, w);
}

static void step(prn_cg *g, const run *r, const prn_srt_split *split,
                 prn_v word, prn_v value, unsigned sub, prn_v *acc) {
  unsigned nv = r->t->vectors;
  prn_v w[PRN_SRT_MAX_BLOCK];
  if (r->t->cells.widen)
    load_wide(g, r, value, sub, w);
  else
    load_weights(g, r, value, w);
  for (unsigned b = 0; b < (unsigned)split->parts; b++) {
    prn_v x[PRN_LOOP_MAX], row = x_at(g, r, index_of(g, r, word, b), sub);
    for (unsigned v = 0; v < nv; v++)
      x[v] = prn_cg_load_masked(g, r->x, vector_at(g, r, row, v),
                                r->t->whole_x ? NULL : mask_of(r, v));
    for (unsigned i = 0; i < r->rows; i++)
      for (unsigned v = 0; split->part[b] >> i & 1 && v < nv; v++)
        acc[i * nv + v] = multiply_add(g, r, w[i], x[v], acc[i * nv + v]);
  }
}

/* What is carried from step to step besides the accumulators. */
enum { AT, WORDS, STATE = WORDS + AHEAD };

/* The steps of a split. */
static void steps(prn_cg *g, const run *r, int s, prn_v *state) {
  unsigned n = r->rows * r->t->vectors;
  prn_loop l;
  prn_loop_begin(g, &l, cg_i64(g, 0), r->count[s], 1, state, n + STATE);
  prn_v *cur = &l.cur[n], *next = &l.next[n];
  for (unsigned i = 0; i + 1 < AHEAD; i++)
    next[WORDS + i] = cur[WORDS + i + 1];
  next[WORDS + AHEAD - 1] = load_word(g, r, cur[AT], AHEAD);
  prn_cg_prefetch(g, cg_at(g, g->i8, cur[AT], cg_i64(g, 2048)));
  next[AT] = cg_at(g, g->i8, cur[AT], cg_i64(g, step_bytes(r)));
  prn_v value = cg_at(g, g->i8, cur[AT], cg_i64(g, PRN_SRT_WORD));
  for (unsigned sub = 0; sub < r->t->cells.subs; sub++)
    step(g, r, &r->split[s], cur[WORDS], value, sub, l.next);
  prn_loop_end(g, &l);
  memcpy(state, l.out, (n + STATE) * sizeof *state);
}

/* ---- the run ---- */

/* Reads the head of the run at W: its counts, where rows and steps begin. */
static void begin(prn_cg *g, run *r, prn_v *rows, prn_v *state) {
  prn_v w = r->arg[PRN_SRT_W];
  r->groups = half_at(g, w, cg_i64(g, 0));
  for (int s = 0; s < r->splits; s++)
    r->count[s] = half_at(g, w, cg_i64(g, 1 + s));
  prn_v listed = prn_cg_mul(g, r->groups, cg_i64(g, r->rows));
  *rows = cg_at(g, g->i16, w, cg_i64(g, even(1 + r->splits)));
  state[AT] = cg_at(g, g->i16, *rows, prn_cg_round_up(g, listed, 2));
  for (unsigned i = 0; i < AHEAD; i++)
    state[WORDS + i] = load_word(g, r, state[AT], i);
}

static void locate(prn_cg *g, run *r, prn_v rows, prn_v group) {
  prn_v first = prn_cg_mul(g, group, cg_i64(g, r->rows));
  for (unsigned i = 0; i < r->rows; i++) {
    r->row[i] = half_at(g, rows, prn_cg_add(g, first, cg_i64(g, i)));
    r->c[i] = cg_at(g, g->i32, r->arg[PRN_SRT_C],
                    prn_cg_mul(g, r->row[i], r->arg[PRN_SRT_CROW]));
  }
}

static prn_v emit(prn_cg *g, run *r, prn_srt_finish_fn *finish, void *user) {
  unsigned n = r->rows * r->t->vectors;
  prn_v rows, state[PRN_LOOP_MAX];
  begin(g, r, &rows, state);
  prn_loop l;
  prn_loop_begin(g, &l, cg_i64(g, 0), r->groups, 1, state, STATE);
  locate(g, r, rows, l.iv);
  load_tile(g, r, state);
  memcpy(&state[n], l.cur, STATE * sizeof *state);
  for (int s = 0; s < r->splits; s++)
    steps(g, r, s, state);
  store_tile(g, r, state, finish, user);
  memcpy(l.next, &state[n], STATE * sizeof *state);
  prn_loop_end(g, &l);
  return l.out[AT];
}

static run run_of(prn_cg *g, const prn_srt_tile *t, const prn_v *args) {
  bool ints = t->cells.kind == PRN_DOT_U8S8;
  run r = {.t = t,
           .rows = (unsigned)t->pack->group,
           .sum = prn_cg_vec(ints ? g->i32 : g->f32, t->lanes),
           .x = prn_cg_vec(t->cells.kind == PRN_DOT_F32 ? g->f32 : g->i32,
                           t->lanes)};
  r.splits = prn_srt_splits(t->blocks, (int)t->pack->group, r.split);
  memcpy(r.arg, args, sizeof r.arg);
  assert(r.rows * t->vectors + STATE <= PRN_LOOP_MAX);
  if (!t->masked) return r;
  prn_v before = cg_i64(g, (int64_t)(t->vectors - 1) * t->lanes);
  r.mask =
      prn_cg_tail_mask(g, t->lanes, prn_cg_sub(g, args[PRN_SRT_COLS], before));
  return r;
}

/* Made once. */
static prn_v function(prn_cg *g, const prn_srt_tile *t) {
  char name[96];
  snprintf(name, sizeof name, "linear_%s_%d_%d_%d_%ux%u%s%s",
           t->blocks ? "blocks" : "srt", (int)t->pack->group,
           (int)t->cells.kind, (int)(t->cells.widen ? t->pack->dtype : 0),
           t->vectors, t->lanes, t->masked ? "_tail" : "",
           t->whole_x ? "_whole" : "");
  prn_v fn = prn_cg_made(g, name), args[PRN_SRT_PARAMS];
  if (fn) return fn;
  prn_t params[PRN_SRT_PARAMS] = {g->ptr, g->i64, g->ptr, g->i64,
                                  g->ptr, g->i64, g->i1};
  prn_cg_scope scope = prn_cg_begin(g, name, g->ptr, params, PRN_SRT_PARAMS);
  fn = g->fn;
  prn_cg_remember(g, name, fn);
  prn_cg_param_attr(g, fn, PRN_SRT_X, "noalias");
  prn_cg_param_attr(g, fn, PRN_SRT_C, "noalias");
  prn_cg_param_attr(g, fn, PRN_SRT_W, "noalias");
  for (unsigned i = 0; i < PRN_SRT_PARAMS; i++)
    args[i] = LLVMGetParam(fn, i);
  run r = run_of(g, t, args);
  LLVMBuildRet(g->b, emit(g, &r, NULL, NULL));
  prn_cg_end(g, scope);
  return fn;
}

prn_v prn_srt_run(prn_cg *g, const prn_srt_tile *t, const prn_v *args,
                  prn_srt_finish_fn *finish, void *user) {
  if (!finish) return prn_cg_call(g, function(g, t), args, PRN_SRT_PARAMS);
  run r = run_of(g, t, args);
  return emit(g, &r, finish, user);
}
