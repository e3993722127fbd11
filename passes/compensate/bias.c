/* compensate-bias: biases take over the mean of what is masked.
 *
 * A weight that lost entries loses sum over them of w_oj x_j of output o. By a
 * profile x_j has a mean, and the sum of w_oj times that mean, over the masked
 * entries, goes to the output's bias: the mean of the output stays what it was.
 * An entry of the bias that is masked itself stays zero, and where there is no
 * bias, outputs that are masked altogether get none. Of a convolution the mean
 * is that of what its window sees, where the profile has moments; otherwise
 * that of all pixels, so that borders, where windows see padding, get a little
 * too much. Where operators share a weight, each bias makes up for its
 * operator's means. An et al., "Fluctuation-based adaptive structured pruning",
 * 2024, section 3.3; Finkelstein et al., "Fighting quantization bias with
 * bias", 2019. */
#include <string.h>

#include "passes/compensate/compensate.h"

#define OPTIONS(X)
#define STATS(X)                            \
  X(biases, "biases that took over a mean") \
  X(added, "of them, that were not there")  \
  X(skipped, "masked weights without an observed input, or without a bias")
PRN_PASS_TABLES;

/* The mean that each output of a use lost, and whether anything is left of it.
 * raw: the weight without its mask. */
static void missing(const prn_pass_env *env, const prn_masked *w,
                    const prn_site_use *use, const float *raw, double *mean,
                    double *delta, unsigned char *alive) {
  const prn_site_matrix *m = &w->m;
  for (int64_t o = 0; o < m->groups * m->outputs; o++) {
    delta[o] = 0;
    alive[o] = 0;
    if (o % m->outputs == 0 &&
        !prn_use_means_of(prn_pass_profile(env), use, m, o / m->outputs, mean))
      return; /* prn_masked_open found them */
    for (int64_t i = 0; i < m->inputs; i++) {
      int64_t at = prn_masked_at(w, o, i);
      if (prn_mask_keeps(w->t->mask->data, at))
        alive[o] = 1;
      else
        delta[o] += (double)raw[at] * mean[i];
    }
  }
}

/* False when there is no place for what the use lost. */
static bool give(prn_pass_env *env, const prn_masked *w,
                 const prn_site_use *use, const float *raw, prn_arena *arena) {
  struct stats *s = env->stats;
  int64_t n = w->m.groups * w->m.outputs;
  double *delta = PRN_ARENA_ARRAY(arena, double, n);
  double *mean = PRN_ARENA_ARRAY(arena, double, w->m.inputs);
  unsigned char *alive = prn_arena_alloc(arena, (size_t)n);
  bool any = false, added;
  missing(env, w, use, raw, mean, delta, alive);
  for (int64_t o = 0; o < n; o++)
    any = any || delta[o] != 0;
  if (!any) return true; /* fitted already, or of zeros */
  if (!prn_bias_add(env, use->op, delta, alive, n, &added)) return false;
  s->biases++;
  s->added += added;
  prn_pass_remark(env, use->op, PRN_REASON_Compensated,
                  "its bias makes up for what '%.*s' lost",
                  PRN_STR_ARG(w->site->name));
  return true;
}

static void visit(prn_pass_env *env, const prn_site *site) {
  struct stats *s = env->stats;
  prn_arena arena = {0};
  prn_masked w;
  if (!prn_masked_concerns(env, site)) return;
  bool open = prn_masked_open(env, site, &arena, &w);
  s->skipped += !open;
  if (open) {
    int64_t all = prn_tensor_count(w.t);
    float *raw = PRN_ARENA_ARRAY(&arena, float, all);
    prn_tensor plain = *w.t;
    plain.mask = NULL;
    prn_tensor_read_f32(&plain, 0, all, raw);
    for (size_t i = 0; i < site->num_uses; i++)
      s->skipped += !give(env, &w, &site->uses[i], raw, &arena);
  }
  prn_arena_destroy(&arena);
}

static prn_status run(prn_pass_env *env, prn_module *m) {
  const prn_sites *sites = prn_pass_weight_sites(env);
  (void)m;
  PRN_TRY(prn_compensate_check(env));
  for (size_t i = 0; i < sites->size; i++)
    visit(env, &sites->at[i]);
  return PRN_OK;
}

const prn_pass prn_pass_compensate_bias = {
    .name = "compensate-bias",
    .summary = "Let biases take over the mean of what was masked",
    .doc = "After a select pass, before compaction. Needs a profile "
           "(--profile).",
    .reads = PRN_DIALECT_ONNX,
    .writes = PRN_DIALECT_ONNX,
    .needs = PRN_SHAPES | PRN_SITES,
    PRN_PASS_COMMON,
};
