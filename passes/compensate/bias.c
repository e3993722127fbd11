/* compensate-bias: biases take over the mean of what is masked.
 *
 * A weight that lost entries loses sum over them of w_oj x_j of output o. By a
 * profile x_j has a mean, and the sum of w_oj times that mean, over the masked
 * entries, goes to the output's bias: the mean of the output stays what it was.
 * An entry of the bias that is masked itself stays zero, and where there is no
 * bias, outputs that are masked altogether get none. Of a convolution the
 * mean is that of all pixels, so that borders, where windows see padding, get a
 * little too much. An et al., "Fluctuation-based adaptive structured pruning",
 * 2024, section 3.3; Finkelstein et al., "Fighting quantization bias with
 * bias", 2019. */
#include <string.h>

#include "passes/compensate/compensate.h"

#define OPTIONS(X)
#define STATS(X)                            \
  X(biases, "biases that took over a mean") \
  X(added, "of them, that were not there")  \
  X(skipped, "masked weights without an observed input, or used twice")
PRN_PASS_TABLES;

/* The mean that each output lost, and whether anything is left of it. */
static void missing(const prn_masked *w, double *delta, unsigned char *alive) {
  prn_tensor raw = *w->t;
  float v[512];
  raw.mask = NULL;
  memset(delta, 0, (size_t)w->out.length * sizeof *delta);
  memset(alive, 0, (size_t)w->out.length);
  for (int64_t at = 0, n, all = prn_tensor_count(w->t); at < all; at += n) {
    n = all - at < 512 ? all - at : 512;
    prn_tensor_read_f32(&raw, at, n, v);
    for (int64_t i = 0; i < n; i++) {
      int64_t o = prn_masked_along(w->out, at + i);
      if (prn_mask_keeps(w->t->mask->data, at + i)) {
        alive[o] = 1;
        continue;
      }
      int64_t group = o / (w->out.length / w->groups);
      int64_t c = group * w->in.length + prn_masked_along(w->in, at + i);
      delta[o] += (double)v[i] * w->seen->mean[c];
    }
  }
}

static void visit(prn_pass_env *env, const prn_site *site) {
  struct stats *s = env->stats;
  prn_masked w;
  bool added;
  if (!prn_masked_concerns(env, site)) return;
  if (!prn_masked_open(env, site, &w)) {
    s->skipped++;
    return;
  }
  int64_t n = w.out.length;
  double *delta = PRN_ARENA_ARRAY(env->scratch, double, n);
  unsigned char *alive = prn_arena_alloc(env->scratch, (size_t)n);
  missing(&w, delta, alive);
  bool any = false;
  for (int64_t o = 0; o < n; o++)
    any = any || delta[o] != 0;
  if (!any) return; /* fitted already, or of zeros */
  if (!prn_bias_add(env, w.op, delta, alive, n, &added)) {
    s->skipped++;
    return;
  }
  s->biases++;
  s->added += added;
  prn_pass_remark(env, w.op, PRN_REASON_Compensated,
                  "its bias makes up for what '%.*s' lost",
                  PRN_STR_ARG(site->name));
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
