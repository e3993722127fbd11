/* What the libraries do when they are called directly, each at its best: all
 * algorithms that they propose are tried on the very operands. */
#include <dlfcn.h>
#include <stdlib.h>
#include <string.h>

#include "test/bench/cuda/bench.h"

enum { TRY_WARM = 1, TRY_RUNS = 5 };

static const float one = 1, zero = 0;
static void *space; /* PEER_SPACE bytes */

static int type_of(const bench_product *p) {
  return p->w->type == F16 ? PCU_LT_F16 : PCU_LT_BF16;
}
static unsigned char *x_of(const bench_product *p, int64_t set) {
  return (unsigned char *)p->x + 2 * set * p->m * p->w->k;
}
static unsigned char *y_of(const bench_product *p, int64_t set) {
  return (unsigned char *)p->y + 2 * set * p->m * p->w->n;
}

/* NULL where there is no such library, or not all of it. */
static void *open_library(const char *const *files) {
  void *library = NULL;
  for (; *files && !library; files++)
    library = dlopen(*files, RTLD_NOW);
  if (!space) space = dev_alloc(PEER_SPACE);
  return library;
}
static bool load(void *library, const char *name, void *to) {
  void *f = dlsym(library, name);
  memcpy(to, &f, sizeof f);
  return f != NULL;
}

/* Takes what is put on the stream if it is faster than what is best so far. */
static bool consider(peer_best *best, dev_work *work, void *user, int algorithm,
                     int warm, int runs) {
  dev_graph g = dev_capture(work, user);
  dev_times t = dev_time(&g, warm, runs);
  bool faster = !best->found || t.median < best->times.median;
  best->tried++;
  if (faster) *best = (peer_best){true, best->tried, algorithm, t};
  dev_graph_free(&g);
  return faster;
}

/* cuBLASLt */

typedef struct lt_product {
  const bench_product *p;
  pcu_blaslt f;
  void *handle, *desc, *w, *x, *y;
  pcu_lt_result results[PEER_ALGORITHMS];
  int algorithm, failed;
} lt_product;

static void lt_run(void *user) {
  lt_product *l = user;
  const bench_product *p = l->p;
  const pcu_lt_result *r = &l->results[l->algorithm];
  dev_mark(p->workspace); /* as a run of a model does */
  for (int64_t s = 0; s < p->sets && !l->failed; s++)
    l->failed =
        l->f.matmul(l->handle, l->desc, &one, bench_product_weights(p, s), l->w,
                    x_of(p, s), l->x, &zero, y_of(p, s), l->y, y_of(p, s), l->y,
                    &r->algo, space, r->space, dev_stream());
}

static bool lt_open(lt_product *l) {
  static const char *const files[] = {"libcublasLt.so.13", "libcublasLt.so.12",
                                      NULL};
  void *library = open_library(files);
  bool all = library != NULL;
#define LOAD(field, symbol, arguments) \
  all = all && load(library, symbol, &l->f.field);
  PCU_BLASLT(LOAD)
#undef LOAD
  return all && l->f.create(&l->handle) == 0;
}

static int lt_describe(lt_product *l) {
  const bench_product *p = l->p;
  int yes = 1, type = type_of(p);
  uint64_t n = (uint64_t)p->w->n, k = (uint64_t)p->w->k, m = (uint64_t)p->m;
  int code = l->f.desc(&l->desc, PCU_LT_COMPUTE_32F, PCU_LT_F32);
  if (!code) code = l->f.desc_set(l->desc, PCU_LT_TRANSA, &yes, sizeof yes);
  if (!code) code = l->f.layout(&l->w, type, k, n, pcu_round_up(p->w->k, 8));
  if (!code) code = l->f.layout(&l->x, type, k, m, p->w->k);
  if (!code) code = l->f.layout(&l->y, type, n, m, p->w->n);
  return code;
}

static int lt_propose(lt_product *l, int *found) {
  void *preference = NULL;
  const uint64_t room = PEER_SPACE;
  int code = l->f.preference(&preference);
  if (!code)
    code = l->f.preference_set(preference, PCU_LT_SPACE, &room, sizeof room);
  if (!code)
    code = l->f.heuristic(l->handle, l->desc, l->w, l->x, l->y, l->y,
                          preference, PEER_ALGORITHMS, l->results, found);
  if (preference) (void)l->f.preference_free(preference);
  return code;
}

static void lt_close(lt_product *l) {
  if (l->desc) (void)l->f.desc_free(l->desc);
  if (l->w) (void)l->f.layout_free(l->w);
  if (l->x) (void)l->f.layout_free(l->x);
  if (l->y) (void)l->f.layout_free(l->y);
  if (l->handle) (void)l->f.destroy(l->handle);
}

peer_best peer_cublaslt(const bench_product *p, int warm, int runs) {
  lt_product l = {.p = p};
  peer_best best = {.found = false}, last = {.found = false};
  int found = 0;
  if (lt_open(&l) && lt_describe(&l) == 0 && lt_propose(&l, &found) == 0)
    for (l.algorithm = 0; l.algorithm < found; l.algorithm++) {
      l.failed = l.results[l.algorithm].state;
      if (!l.failed) lt_run(&l); /* what fails is not to spoil a capture */
      if (!l.failed)
        (void)consider(&best, lt_run, &l, l.algorithm, TRY_WARM, TRY_RUNS);
    }
  l.algorithm = best.algorithm;
  l.failed = 0;
  if (best.found) (void)consider(&last, lt_run, &l, l.algorithm, warm, runs);
  last.tried = best.tried;
  lt_close(&l);
  return last;
}

/* cuSPARSELt: its algorithms by number, then what its own search finds, which
 * also splits sums. A plan is for the weights of one set. */

typedef int search_fn(const pcu_opaque *, pcu_opaque *, const void *,
                      const void *, const void *, const void *, const void *,
                      void *, void *, prune_cuda_stream *, int32_t);
/* Attributes of a selection beside those that the runtime sets. */
enum { SPLIT = 3, SPLIT_MODE = 4, SPLIT_BUFFERS = 5 };
typedef struct slt_choice {
  int id, split, mode, buffers; /* split 0: the other two are not set */
} slt_choice;
typedef struct slt_plan {
  pcu_opaque matmul, selection, plan;
  int made;
} slt_plan;
typedef struct slt_product {
  const bench_product *p;
  pcu_sparselt f;
  search_fn *search;
  pcu_opaque handle, mats[3];
  slt_plan plans[MAX_SETS];
  int made, failed;
} slt_product;

static const void *slt_weights(const bench_product *p, int64_t set) {
  return p->ctx->weights + p->ctx->packed[set].offset;
}

static void slt_run(void *user) {
  slt_product *l = user;
  const bench_product *p = l->p;
  prune_cuda_stream stream = dev_stream();
  dev_mark(p->workspace);
  for (int64_t s = 0; s < p->sets && !l->failed; s++)
    l->failed = l->f.matmul(&l->handle, &l->plans[s].plan, &one,
                            slt_weights(p, s), x_of(p, s), &zero, y_of(p, s),
                            y_of(p, s), space, &stream, 1);
}

static bool slt_open(slt_product *l) {
  static const char *const files[] = {"libcusparseLt.so.0", NULL};
  /* Structures are as large as they are declared in what the runtime takes. */
  if (l->p->ctx->why[PCU_SLT] != PCU_TAKEN ||
      l->p->ctx->packed[0].reason != PCU_TAKEN)
    return false;
  void *library = open_library(files);
  bool all = library != NULL;
#define LOAD(field, symbol, arguments) \
  all = all && load(library, symbol, &l->f.field);
  PCU_SPARSELT(LOAD)
#undef LOAD
  if (all) (void)load(library, "cusparseLtMatmulSearch", &l->search);
  return all && l->f.init(&l->handle) == 0;
}

static int slt_describe(slt_product *l) {
  const bench_product *p = l->p;
  const pcu_opaque *h = &l->handle;
  int type = type_of(p);
  int64_t n = p->w->n, k = p->w->k;
  int code = l->f.structured(h, &l->mats[0], n, k, pcu_round_up(k, 64), 16,
                             type, PCU_SLT_ROW, 0);
  if (!code) l->made++;
  if (!code)
    code = l->f.dense(h, &l->mats[1], k, p->m, k, 16, type, PCU_SLT_COL);
  if (!code) l->made++;
  if (!code)
    code = l->f.dense(h, &l->mats[2], n, p->m, n, 16, type, PCU_SLT_COL);
  if (!code) l->made++;
  return code;
}

static int slt_set(slt_product *l, slt_plan *t, const slt_choice *c) {
  const struct {
    int key, value;
  } rows[] = {{PCU_SLT_ID, c->id},
              {SPLIT, c->split},
              {SPLIT_MODE, c->mode},
              {SPLIT_BUFFERS, c->buffers}};
  int code = 0;
  for (int i = 0; i < (c->split ? 4 : 1) && !code; i++)
    code = l->f.choice_set(&l->handle, &t->selection, rows[i].key,
                           &rows[i].value, sizeof rows[i].value);
  return code;
}

/* NULL: as the library has it. */
static int slt_plan_set(slt_product *l, int64_t set, const slt_choice *c) {
  const pcu_opaque *h = &l->handle, *m = l->mats;
  slt_plan *t = &l->plans[set];
  const void *w = slt_weights(l->p, set);
  size_t need = 0;
  int code = l->f.desc(h, &t->matmul, 0, 0, &m[0], &m[1], &m[2], &m[2],
                       PCU_SLT_COMPUTE_32F);
  if (!code) code = l->f.desc_set(h, &t->matmul, PCU_SLT_SPARSE, &w, sizeof w);
  if (!code) code = l->f.choose(h, &t->selection, &t->matmul, 0);
  if (!code) t->made = 1;
  if (!code && c) code = slt_set(l, t, c);
  if (!code) code = l->f.plan(h, &t->plan, &t->matmul, &t->selection);
  if (!code) t->made = 2;
  if (!code) code = l->f.space(h, &t->plan, &need);
  return !code && need > PEER_SPACE ? -1 : code;
}

static void slt_forget(slt_product *l) {
  dev_wait();
  for (int64_t s = 0; s < l->p->sets; s++) {
    if (l->plans[s].made > 1) (void)l->f.plan_free(&l->plans[s].plan);
    if (l->plans[s].made > 0) (void)l->f.choice_free(&l->plans[s].selection);
    l->plans[s].made = 0;
  }
}

/* True if it is the fastest so far. */
static bool slt_try(slt_product *l, peer_best *best, const slt_choice *c,
                    int warm, int runs) {
  bool found = false;
  l->failed = 0;
  for (int64_t s = 0; s < l->p->sets && !l->failed; s++)
    l->failed = slt_plan_set(l, s, c);
  if (!l->failed) slt_run(l);
  if (!l->failed) found = consider(best, slt_run, l, c->id, warm, runs);
  slt_forget(l);
  return found;
}

/* How many algorithms there are. */
static int slt_count(slt_product *l) {
  int count = 0;
  if (slt_plan_set(l, 0, NULL) ||
      l->f.choice_get(&l->handle, &l->plans[0].selection, PCU_SLT_IDS, &count,
                      sizeof count))
    count = 0;
  slt_forget(l);
  return count;
}

static bool slt_search(slt_product *l, slt_choice *out) {
  const bench_product *p = l->p;
  prune_cuda_stream stream = dev_stream();
  const struct {
    int key, *value;
  } rows[] = {{PCU_SLT_ID, &out->id},
              {SPLIT, &out->split},
              {SPLIT_MODE, &out->mode},
              {SPLIT_BUFFERS, &out->buffers}};
  int code = slt_plan_set(l, 0, NULL);
  if (!code)
    code =
        l->search(&l->handle, &l->plans[0].plan, &one, slt_weights(p, 0),
                  x_of(p, 0), &zero, y_of(p, 0), y_of(p, 0), space, &stream, 1);
  for (size_t i = 0; i < sizeof rows / sizeof *rows && !code; i++)
    code = l->f.choice_get(&l->handle, &l->plans[0].selection, rows[i].key,
                           rows[i].value, sizeof *rows[i].value);
  slt_forget(l);
  return code == 0;
}

static peer_best slt_best(slt_product *l, int warm, int runs) {
  peer_best best = {.found = false}, last = {.found = false};
  slt_choice taken = {0}, searched = {0};
  int count = slt_count(l);
  for (int id = 0; id < count; id++) {
    const slt_choice c = {.id = id};
    if (slt_try(l, &best, &c, TRY_WARM, TRY_RUNS)) taken = c;
  }
  if (l->search && slt_search(l, &searched) &&
      slt_try(l, &best, &searched, TRY_WARM, TRY_RUNS))
    taken = searched;
  if (best.found) (void)slt_try(l, &last, &taken, warm, runs);
  last.tried = best.tried;
  return last;
}

peer_best peer_cusparselt(const bench_product *p, int warm, int runs) {
  slt_product *l = calloc(1, sizeof *l); /* 16-aligned, as structures are */
  peer_best best = {.found = false};
  if (!l) bench_fail("no memory");
  l->p = p;
  bool open = slt_open(l);
  if (open && slt_describe(l) == 0) best = slt_best(l, warm, runs);
  for (int i = 0; i < l->made; i++)
    (void)l->f.mat_free(&l->mats[i]);
  if (open) (void)l->f.destroy(&l->handle);
  free(l);
  return best;
}
