/* The cache of analyses, and the weights analysis. */
#include "passes/analysis/analysis.h"

#include "passes/analysis/tables.h"

const prn_analysis *const prn_analysis_table[PRN_ANALYSIS_COUNT] = {
#define ANALYSIS(id, name, doc) &prn_analysis_##name,
#include "passes/analysis/analyses.def"
#undef ANALYSIS
};

struct prn_analyses {
  prn_module *module;
  uint32_t have;
  void *data[PRN_ANALYSIS_COUNT];
};

prn_analyses *prn_analyses_create(prn_module *m) {
  prn_analyses *a = prn_alloc(sizeof *a);
  *a = (prn_analyses){.module = m};
  return a;
}

static void drop(prn_analyses *a, unsigned i) {
  if (prn_analysis_table[i]->destroy && a->data[i])
    prn_analysis_table[i]->destroy(a->data[i]);
  a->data[i] = NULL;
  a->have &= ~(1u << i);
}

void prn_analyses_destroy(prn_analyses *a) {
  prn_analyses_keep(a, 0);
  prn_free(a);
}

prn_status prn_analyses_need(prn_analyses *a, uint32_t mask) {
  for (unsigned i = 0; i < PRN_ANALYSIS_COUNT; i++) {
    if (!(mask >> i & 1) || (a->have >> i & 1)) continue;
    void *data = NULL;
    PRN_TRY(prn_analysis_table[i]->compute(a, a->module, &data));
    a->data[i] = data;
    a->have |= 1u << i;
    /* It refines types: what was found with less known may say less. */
    if (i == PRN_ANALYSIS_SHAPES)
      prn_analyses_keep(a, PRN_SHAPES | PRN_WEIGHTS);
  }
  return PRN_OK;
}

const void *prn_analyses_get(const prn_analyses *a, prn_analysis_id id) {
  return a->data[id];
}

void prn_analyses_keep(prn_analyses *a, uint32_t mask) {
  for (unsigned i = 0; i < PRN_ANALYSIS_COUNT; i++)
    if ((a->have >> i & 1) && !(mask >> i & 1)) drop(a, i);
}

uint32_t prn_analyses_broken(prn_analyses *a, uint32_t mask) {
  uint32_t broken = 0;
  for (unsigned i = 0; i < PRN_ANALYSIS_COUNT; i++)
    if ((a->have & mask) >> i & 1 &&
        !prn_analysis_table[i]->holds(a, a->module, a->data[i]))
      broken |= 1u << i;
  return broken;
}

/* ---- weights ---- */

typedef struct collector {
  prn_weights *list;
  size_t cap;
} collector;

static prn_status collect(void *user, prn_op *op) {
  collector *c = user;
  prn_weights *w = c->list;
  if (!prn_op_has_trait(op, PRN_CONSTANT) || op->num_results == 0 ||
      !prn_value_constant(&op->results[0]))
    return PRN_OK;
  if (w->size == c->cap) {
    c->cap = c->cap ? c->cap * 2 : 64;
    w->ops = prn_realloc(w->ops, prn_array_size(sizeof *w->ops, c->cap));
  }
  w->ops[w->size++] = op;
  return PRN_OK;
}

static prn_status weights_compute(prn_analyses *all, prn_module *m,
                                  void **out) {
  prn_weights *w = prn_alloc(sizeof *w);
  collector c = {w, 0};
  (void)all;
  *w = (prn_weights){0};
  *out = w;
  return prn_walk(m->body, true, collect, &c);
}

static void weights_destroy(void *data) {
  prn_weights *w = data;
  prn_free(w->ops);
  prn_free(w);
}

static bool weights_holds(prn_analyses *all, prn_module *m, const void *data) {
  const prn_weights *old = data;
  void *fresh;
  if (weights_compute(all, m, &fresh) != PRN_OK) return false;
  const prn_weights *now = fresh;
  bool same = now->size == old->size;
  for (size_t i = 0; same && i < now->size; i++)
    same = now->ops[i] == old->ops[i];
  weights_destroy(fresh);
  return same;
}

const prn_analysis prn_analysis_weights = {
    .name = "weights",
    .compute = weights_compute,
    .destroy = weights_destroy,
    .holds = weights_holds,
};
