/* Tuning; see tune.h. */
#include "tools/tune.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

#include "ir/text.h"
#include "tools/measure.h"
#include "tools/product.h"
#include "tools/progress.h"
#include "tools/tune_cache.h"

enum {
  SMALL = 1 << 14, /* slots: below, the clock cannot tell formats apart */
  MAX_CANDIDATES = PRN_PLAN_MAX + PRN_PLAN_NEIGHBOURS
};

static const double seconds_each = 0.05; /* for a candidate */
/* A format is taken if it is so much faster than what the plan says. */
static const double clearly = 0.97;

typedef struct tuner {
  const prn_lowering *how;
  const prn_machine *machine;
  prn_ctx *ctx;
  prn_strbuf target;
  prn_tune_cache cache;
  prn_progress progress;
  size_t skipped; /* products whose sizes are open */
} tuner;

/* ---- what a product is ---- */

static uint64_t hash_text(uint64_t h, prn_strbuf *b) {
  h = prn_hash_bytes(b->data, b->size, h);
  b->size = 0;
  return h;
}

/* Attributes but for names, which do not change what is computed. */
static void print_attrs(const prn_op *op, prn_strbuf *b) {
  for (uint32_t i = 0; i < op->num_attrs; i++) {
    if (*op->attrs[i].name.data == '$') continue;
    prn_strbuf_fmt(b, " %s=", op->attrs[i].name.data);
    prn_attr_print(b, op->attrs[i].value);
  }
}

static void print_shape(const prn_op *op, prn_strbuf *b) {
  prn_strbuf_fmt(b, "%s", op->opname->name.data);
  print_attrs(op, b);
  for (uint32_t i = 0; i < op->num_operands; i++) {
    const prn_value *v = prn_op_operand(op, i);
    prn_strbuf_char(b, ' ');
    if (v) prn_type_print(b, v->type);
  }
  prn_strbuf_char(b, ' ');
  prn_type_print(b, prn_op_result(op, 0)->type);
  const prn_block *body = prn_op_block(op, "body");
  for (const prn_op *o = body ? body->first : NULL; o; o = o->next) {
    prn_strbuf_fmt(b, ";%s", o->opname->name.data);
    print_attrs(o, b);
  }
}

/* Where the zeros are. */
static uint64_t hash_zeros(uint64_t h, const prn_tensor *t) {
  enum { SOME = 4096 };
  float v[SOME];
  unsigned char bits[SOME / 8];
  int64_t all = prn_tensor_count(t);
  for (int64_t at = 0; at < all; at += SOME) {
    int64_t n = all - at < SOME ? all - at : SOME;
    prn_tensor_read_f32(t, at, n, v);
    memset(bits, 0, sizeof bits);
    for (int64_t i = 0; i < n; i++)
      if (!(v[i] == 0)) bits[i / 8] |= (unsigned char)(1u << i % 8);
    h = prn_hash_bytes(bits, sizeof bits, h);
  }
  return h;
}

static uint64_t key_of(const tuner *s, const prn_op *op,
                       const prn_plan_product *p) {
  prn_strbuf b = {0};
  prn_strbuf_fmt(&b, "%s %s ", PRN_VERSION, s->target.data);
  print_shape(op, &b);
  prn_strbuf_fmt(&b, " %d", p->nk);
  uint64_t h = hash_text(0, &b);
  prn_strbuf_destroy(&b);
  return hash_zeros(h, p->weights);
}

/* ---- measuring ---- */

prn_status prn_tune_measure(const prn_op *op, const prn_plan_product *p,
                            const prn_target_spec *target,
                            const prn_plan_choice *all, int n, double seconds,
                            double *ns) {
  prn_measured t[MAX_CANDIDATES];
  prn_module *modules[MAX_CANDIDATES];
  prn_op *product;
  prn_module *alone = prn_product_alone(op, &product);
  prn_status s = PRN_OK;
  int made = 0;
  assert(n <= MAX_CANDIDATES);
  for (; s == PRN_OK && made < n; made += s == PRN_OK) {
    prn_plan_set(product, &all[made]);
    modules[made] = prn_lower_copy(alone);
    s = prn_measure_create(modules[made], target, PRN_MEASURE_FAR / (size_t)n,
                           &t[made]);
  }
  if (s == PRN_OK) s = prn_measure_run(t, (size_t)n, seconds);
  for (int i = 0; i < made; i++) {
    bool few = p->rows && p->m <= PRN_PLAN_FEW;
    ns[i] = few ? t[i].all_ns : t[i].product_ns;
    prn_measure_destroy(&t[i]);
    prn_module_destroy(modules[i]);
  }
  prn_module_destroy(alone);
  return s;
}

/* What is worth a try: estimates within twice the least, the best dense
 * format, and neighbours of the best. Returns their number; *dense is the
 * dense one's. */
static int candidates(const tuner *s, const prn_plan_product *p,
                      prn_plan_choice *out, int *dense) {
  prn_plan_choice all[PRN_PLAN_MAX];
  int n = prn_plan(s->machine, p, all), used = 0;
  const prn_plan_choice *d = prn_plan_dense(all, n);
  for (int i = 0; i < n; i++) {
    if (&all[i] == d) *dense = used;
    if (all[i].cost <= 2 * all[0].cost || &all[i] == d) out[used++] = all[i];
  }
  return used + prn_plan_neighbours(s->machine, p, &all[0], out + used);
}

static void describe(const prn_plan_product *p, prn_strbuf *b) {
  double zeros = 1 - (double)p->stats.nnz / ((double)p->k * (double)p->n);
  prn_strbuf_fmt(b, " %lldx%lld, %.1f %% zeros, %lld columns", (long long)p->k,
                 (long long)p->n, 100 * zeros, (long long)p->m);
}

static prn_status measure(tuner *s, const prn_op *op, const prn_plan_product *p,
                          uint64_t key) {
  prn_plan_choice all[MAX_CANDIDATES];
  double ns[MAX_CANDIDATES];
  prn_strbuf about = {0};
  int dense = 0, best = 0, n = candidates(s, p, all, &dense);
  describe(p, &about);
  prn_str text = prn_intern(s->ctx, prn_strbuf_view(&about));
  prn_strbuf_destroy(&about);
  prn_progress_step(&s->progress, text.data + 1);
  PRN_TRY(
      prn_tune_measure(op, p, &s->how->target, all, n, n * seconds_each, ns));
  for (int i = 1; i < n; i++)
    if (ns[i] < ns[best] * (best == 0 ? clearly : 1)) best = i;
  prn_tune_cache_add(&s->cache, (prn_tuned){.key = key,
                                            .choice = all[best],
                                            .ns = ns[best],
                                            .dense_ns = ns[dense],
                                            .about = text});
  return PRN_OK;
}

/* ---- the module ---- */

static void tell(const prn_op *op, const prn_plan_product *p,
                 const prn_tuned *t, bool known) {
  prn_str name = prn_op_string(op, "$name", "");
  if (!name.size) name = p->weights->name;
  fprintf(stderr, "tune: '%.*s':%.*s: %s, %.1f us, dense %.1f us, %s\n",
          PRN_STR_ARG(name), PRN_STR_ARG(t->about), t->choice.format,
          t->ns / 1e3, t->dense_ns / 1e3, known ? "known" : "measured");
}

/* Its format is still to be chosen, if there is a choice. */
static bool is_undecided(const prn_op *op) {
  return (prn_op_is(op, PRN_OP_nn_matmul) || prn_op_is(op, PRN_OP_nn_conv)) &&
         !prn_op_attr(op, "pack");
}

static prn_status visit(tuner *s, prn_op *op) {
  prn_plan_choice all[PRN_PLAN_MAX];
  prn_plan_product p;
  if (!is_undecided(op) || !prn_plan_product_of(op, 0, &p)) return PRN_OK;
  if (!prn_product_is_static(op)) {
    s->skipped++;
    return PRN_OK;
  }
  (void)prn_plan(s->machine, &p, all);
  if (all[0].cost < SMALL) return PRN_OK;
  uint64_t key = key_of(s, op, &p);
  bool known = prn_tune_cache_find(&s->cache, key) != NULL;
  if (!known) PRN_TRY(measure(s, op, &p, key));
  const prn_tuned *t = prn_tune_cache_find(&s->cache, key);
  if (s->how->verbose) tell(op, &p, t, known);
  prn_plan_set(op, &t->choice);
  return PRN_OK;
}

static prn_status visit_block(tuner *s, prn_block *b) {
  PRN_EACH_OP(op, b) {
    if (prn_op_is(op, PRN_OP_nn_if))
      for (uint32_t i = 0; i < op->num_blocks; i++)
        PRN_TRY(visit_block(s, op->blocks[i]));
    PRN_TRY(visit(s, op));
  }
  return PRN_OK;
}

static size_t count(const prn_block *b) {
  size_t n = 0;
  PRN_EACH_OP(op, b) {
    for (uint32_t i = 0; i < op->num_blocks; i++)
      n += prn_op_is(op, PRN_OP_nn_if) ? count(op->blocks[i]) : 0;
    n += is_undecided(op);
  }
  return n;
}

static prn_status tune(tuner *s, prn_module *m) {
  size_t n = 0;
  PRN_TRY(prn_tune_cache_open(s->ctx, s->how->tune, &s->cache));
  PRN_EACH_OP(op, m->body)
    if (prn_op_is(op, PRN_OP_nn_func)) n += count(prn_op_block(op, "body"));
  prn_progress_begin(&s->progress, n);
  prn_status status = PRN_OK;
  PRN_EACH_OP(op, m->body)
    if (prn_op_is(op, PRN_OP_nn_func) && status == PRN_OK)
      status = visit_block(s, prn_op_block(op, "body"));
  prn_progress_end(&s->progress);
  if (s->skipped)
    (void)prn_diag_emit(prn_ctx_diags(s->ctx), PRN_WARNING, (prn_loc){0},
                        PRN_STR(""),
                        "--tune: products with open sizes, which are only "
                        "planned: %zu",
                        s->skipped);
  if (status == PRN_OK) status = prn_tune_cache_save(&s->cache);
  prn_tune_cache_destroy(&s->cache);
  return status;
}

prn_status prn_tune(prn_module *m, const prn_lowering *how,
                    const prn_machine *machine) {
  tuner s = {.how = how, .machine = machine, .ctx = m->ctx};
  prn_status status =
      prn_compile_check_host(prn_ctx_diags(m->ctx), &how->target, &s.target);
  if (status == PRN_OK) status = tune(&s, m);
  prn_strbuf_destroy(&s.target);
  return status;
}
