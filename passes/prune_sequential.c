/* prune-sequential: prune a model block by block, each on what those before it
 * give now.
 *
 *   prune-sequential(group=layer){score-wanda,select-nm{n=2 m=4},...}
 *
 * A profile of the whole model shows each weight the inputs that it had before
 * anything was pruned. Here the passes run once for every block, in the order
 * of the data, on its weights alone, with a profile of what these see when all
 * blocks before have been pruned, so that errors are made up for as they come
 * (Frantar and Alistarh, "SparseGPT", 2023, section 3, and the codes of all
 * that followed it). One block's profile is in memory at a time.
 *
 * With compensate-inputs among the passes, each block is also told what the
 * same inputs were in the model that prune-sequential got.
 *
 * A block of group=input are the weights that are equally far from the graph's
 * inputs, counted in weights on the longest way; those that read the same value
 * always are. group=layer takes the weights of a residual branch together
 * (print-layers), others as before. Weights that several operators share have
 * the place of the last. */
#include <stdlib.h>
#include <string.h>

#include "passes/analysis/branches.h"
#include "passes/analysis/observed.h"
#include "passes/pipeline.h"

#define OPTIONS(X)                                                           \
  X(ENUM, group, input, "input|layer",                                       \
    "What is pruned at a time: weights that read the same values or are as " \
    "far "                                                                   \
    "from the inputs, or those of a residual layer")                         \
  PRN_SEE_OPTIONS(X)                                                         \
  X(BOOL, reference, false, "",                                              \
    "Observe beside the model as it is before, without masks, for "          \
    "compensate-refit=reference")
#define STATS(X)                         \
  X(blocks, "blocks that were observed") \
  X(values, "values that were observed") \
  X(weights, "weights in these blocks")
PRN_PASS_TABLES;

enum { BY_INPUT, BY_LAYER };

/* ---- how far from the inputs ---- */

typedef struct depths {
  prn_ptrmap readers; /* operations that read a weight */
  prn_ptrmap of;      /* value -> depth + 1 */
  uintptr_t most;     /* of the operands that are being looked at */
  bool reads;
} depths;

static prn_status look(void *user, prn_op *op) {
  depths *d = user;
  for (uint32_t i = 0; i < op->num_operands; i++) {
    const prn_value *v = prn_op_operand(op, i);
    uintptr_t depth = v ? (uintptr_t)prn_ptrmap_get(&d->of, v) : 0;
    if (depth > d->most) d->most = depth;
  }
  d->reads = d->reads || prn_ptrmap_has(&d->readers, op);
  return PRN_OK;
}

/* Of every value of a graph; of an operation with blocks, what these read from
 * outside counts. */
static prn_status measure(depths *d, const prn_block *graph) {
  PRN_EACH_OP(op, graph) {
    d->most = 1;
    d->reads = false;
    PRN_TRY(look(d, op));
    for (uint32_t i = 0; i < op->num_blocks; i++)
      PRN_TRY(prn_walk(op->blocks[i], true, look, d));
    if (prn_ptrmap_has(&d->readers, op))
      *prn_ptrmap_slot(&d->readers, op) = (void *)d->most;
    for (uint32_t i = 0; i < op->num_results; i++)
      *prn_ptrmap_slot(&d->of, &op->results[i]) =
          (void *)(d->most + (d->reads ? 1 : 0));
  }
  return PRN_OK;
}

/* ---- blocks ---- */

typedef struct member {
  prn_str name;
  uintptr_t depth;
  size_t layer; /* from 1; 0: of none */
  size_t index;
} member;

typedef struct plan {
  member *at;
  size_t size;
} plan;

static bool takes_part(const prn_pass_env *env, const prn_site *s) {
  bool only_depthwise = s->reason == PRN_REASON_Depthwise;
  return s->constant->results[0].name.size && (s->prunable || only_depthwise) &&
         prn_pass_site_selected(env, s->constant);
}

static int by_turn(const void *a, const void *b) {
  const member *x = a, *y = b;
  if (x->depth != y->depth) return x->depth < y->depth ? -1 : 1;
  if (x->layer != y->layer) return x->layer < y->layer ? -1 : 1;
  return (x->index > y->index) - (x->index < y->index);
}

static bool same_block(const member *x, const member *y) {
  return x->depth == y->depth && x->layer == y->layer;
}

/* Weights of a layer have the place of its first. */
static void join_layers(plan *p, size_t layers, prn_arena *arena) {
  uintptr_t *first = PRN_ARENA_ARRAY(arena, uintptr_t, layers + 1);
  for (size_t i = 0; i < p->size; i++) {
    uintptr_t *f = &first[p->at[i].layer];
    if (*f == 0 || p->at[i].depth < *f) *f = p->at[i].depth;
  }
  for (size_t i = 0; i < p->size; i++)
    if (p->at[i].layer) p->at[i].depth = first[p->at[i].layer];
}

/* The layer of every operation that multiplies in one. */
static size_t find_layers(prn_module *m, prn_arena *arena, prn_ptrmap *of) {
  prn_branches all = prn_branches_find(m, arena);
  for (size_t i = 0; i < all.size; i++)
    for (size_t k = 0; k < all.at[i].num_products; k++) {
      void **slot = prn_ptrmap_slot(of, all.at[i].products[k]);
      if (!*slot) *slot = (void *)(uintptr_t)(i + 1);
    }
  return all.size;
}

static void add_member(plan *p, const depths *d, const prn_ptrmap *layers,
                       const prn_site *s) {
  member *m = &p->at[p->size++];
  *m = (member){.name = s->constant->results[0].name, .index = s->index};
  for (size_t i = 0; i < s->num_uses; i++) {
    const prn_op *op = s->uses[i].op;
    uintptr_t depth = (uintptr_t)prn_ptrmap_get(&d->readers, op);
    if (depth > m->depth) m->depth = depth;
    if (!m->layer) m->layer = (size_t)(uintptr_t)prn_ptrmap_get(layers, op);
  }
}

/* All weights that take part, block after block. */
static prn_status make_plan(prn_pass_env *env, prn_module *m, prn_arena *arena,
                            plan *p) {
  const struct opts *o = env->opts;
  const prn_sites *sites = prn_pass_weight_sites(env);
  depths d = {.most = 0};
  prn_ptrmap layers = {0};
  size_t num_layers = 0;
  prn_status status = PRN_OK;
  if (o->group == BY_LAYER) num_layers = find_layers(m, arena, &layers);
  *p = (plan){PRN_ARENA_ARRAY(arena, member, sites->size), 0};
  for (size_t i = 0; i < sites->size; i++)
    for (size_t k = 0; k < sites->at[i].num_uses; k++)
      if (takes_part(env, &sites->at[i]))
        *prn_ptrmap_slot(&d.readers, sites->at[i].uses[k].op) =
            (void *)(uintptr_t)1;
  PRN_EACH_OP(top, m->body)
    if (prn_op_is(top, PRN_OP_onnx_graph) && status == PRN_OK)
      status = measure(&d, prn_op_block(top, "body"));
  for (size_t i = 0; i < sites->size; i++)
    if (takes_part(env, &sites->at[i]))
      add_member(p, &d, &layers, &sites->at[i]);
  if (num_layers) join_layers(p, num_layers, arena);
  if (p->size) qsort(p->at, p->size, sizeof *p->at, by_turn);
  prn_ptrmap_destroy(&d.readers);
  prn_ptrmap_destroy(&d.of);
  prn_ptrmap_destroy(&layers);
  return status;
}

/* ---- one block ---- */

/* The values that weights of these names read, each once. */
static size_t find_values(const prn_sites *sites, const prn_map *names,
                          prn_arena *arena, prn_str **out) {
  prn_map wanted = {0};
  for (size_t i = 0; i < sites->size; i++)
    for (size_t k = 0; k < sites->at[i].num_uses; k++) {
      const prn_site_use *use = &sites->at[i].uses[k];
      prn_site_input in;
      if (prn_map_find(names, sites->at[i].constant->results[0].name) &&
          prn_site_input_of(use->op, use->slot, &in) &&
          !prn_site_input_hidden(&in))
        *prn_map_slot(&wanted, in.value->name) = &wanted;
    }
  size_t n = wanted.size;
  *out = PRN_ARENA_ARRAY(arena, prn_str, n);
  for (size_t i = 0; i < n; i++)
    (*out)[i] = wanted.entries[i].key;
  prn_map_destroy(&wanted);
  return n;
}

static prn_status run_block(prn_pass_env *env, prn_module *m,
                            const prn_map *names) {
  const struct opts *o = env->opts;
  struct stats *s = env->stats;
  prn_arena arena = {0};
  prn_seen seen = {0};
  prn_str *values;
  prn_status status = prn_analyses_need(env->analyses, PRN_SHAPES | PRN_SITES);
  if (status == PRN_OK) {
    size_t n = find_values(prn_pass_weight_sites(env), names, &arena, &values);
    if (n)
      status = prn_pass_see_data(env, m, values, n, PRN_SEE_BLOCK(o),
                                 (size_t)o->folds, &seen);
    s->blocks += n > 0;
    s->values += n;
    s->weights += names->size;
  }
  if (status == PRN_OK) status = prn_pass_run_body_on(env, &seen, names);
  prn_seen_clear(&seen);
  prn_arena_destroy(&arena);
  return status;
}

/* Whether a pass of the pipeline asks what inputs were before. */
static bool wants_pairs(const prn_pipeline *p) {
  for (size_t i = 0; i < p->size; i++)
    if (p->items[i]->pass == &prn_pass_compensate_inputs ||
        (p->items[i]->body && wants_pairs(p->items[i]->body)))
      return true;
  return false;
}

static prn_status run(prn_pass_env *env, prn_module *m) {
  prn_arena arena = {0};
  plan p;
  prn_status status = make_plan(env, m, &arena, &p);
  const struct opts *o = env->opts;
  bool pairs = o->reference || wants_pairs(env->item->body);
  if (status == PRN_OK && pairs) status = prn_pass_pair_data(env, m);
  for (size_t i = 0, next; i < p.size && status == PRN_OK; i = next) {
    prn_map names = {0};
    for (next = i; next < p.size && same_block(&p.at[i], &p.at[next]); next++)
      *prn_map_slot(&names, p.at[next].name) = &p.at[next];
    status = run_block(env, m, &names);
    prn_map_destroy(&names);
  }
  if (pairs && prn_pass_pair_data(env, NULL) != PRN_OK) status = PRN_FAIL;
  prn_arena_destroy(&arena);
  return status;
}

static prn_status check(prn_pass_env *env) {
  if (prn_pass_has_data(env)) return PRN_OK;
  return prn_pass_error(env, "needs the user's data: prune-opt "
                             "--calibration=FILE.npz");
}

const prn_pass prn_pass_prune_sequential = {
    .name = "prune-sequential",
    .summary = "Prune block by block, each on what the pruned ones before give",
    .doc =
        "The passes within run once for each block, with a profile of what "
        "its weights see when all blocks before have been pruned. Needs data "
        "(--calibration) and prune-run beside prune-opt.",
    .reads = PRN_DIALECT_ONNX,
    .writes = PRN_DIALECT_ONNX,
    .needs = PRN_SHAPES | PRN_SITES,
    .nests = true,
    .check = check,
    PRN_PASS_COMMON,
};
