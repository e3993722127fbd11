#include "passes/score/channels.h"

#include <math.h>
#include <string.h>

const char prn_score_attr[] = "$prune.score";

static const prn_score_kind *const kinds[] = {
#define KIND(name) &prn_score_kind_##name,
#include "passes/score/kinds.def"
#undef KIND
};

/* Whether the filter lets a site in, and if not why. */
static bool wanted(const prn_site *s, const prn_score_filter *filter,
                   prn_reason *why) {
  *why = s->reason;
  if (!s->prunable)
    return (s->reason == PRN_REASON_Embedding && filter->embeddings) ||
           (s->reason == PRN_REASON_Depthwise && filter->depthwise);
  *why = PRN_REASON_TooSmall;
  return prn_tensor_count(prn_site_tensor(s)) >= filter->min_size;
}

/* A float constant that is no site: said once, for the record. */
static void remark_others(const prn_pass_env *env, const prn_sites *sites) {
  const prn_weights *w = prn_pass_weights(env);
  for (size_t i = 0; i < w->size; i++) {
    const prn_tensor *t = prn_value_constant(prn_op_result(w->ops[i], 0));
    if (prn_dtype_is_float(t->type->dtype) && !prn_site_of(sites, w->ops[i]))
      prn_pass_remark(env, w->ops[i], PRN_REASON_NotAWeight,
                      "%s is no weight of an operator",
                      prn_value_str(&w->ops[i]->results[0]));
  }
}

void prn_score_attach(const prn_pass_env *env, const prn_score_filter *filter,
                      const prn_attr *(*attach)(const prn_pass_env *env,
                                                const prn_site *site),
                      uint64_t *scored, uint64_t *skipped) {
  const prn_sites *sites = prn_pass_weight_sites(env);
  for (size_t i = 0; i < sites->size; i++) {
    const prn_site *s = &sites->at[i];
    prn_reason why;
    bool selected = prn_pass_site_selected(env, s->constant);
    const prn_attr *score = NULL;
    bool tried = selected && wanted(s, filter, &why);
    if (tried) score = attach(env, s);
    if (tried && !score) why = PRN_REASON_NotObserved;
    if (score) {
      prn_op_set_attr(s->constant, prn_score_attr, score);
      ++*scored;
      prn_pass_remark(env, s->constant, PRN_REASON_Scored, "'%.*s' is scored",
                      PRN_STR_ARG(s->name));
      continue;
    }
    ++*skipped;
    if (!selected) why = PRN_REASON_NotSelected;
    prn_pass_remark(env, s->constant, why, "'%.*s' is not scored: %s%s",
                    PRN_STR_ARG(s->name), prn_reasons[why].text,
                    selected && !s->prunable ? s->detail : "");
  }
  remark_others(env, sites);
}

static prn_status bad(const prn_op *constant, const char *what) {
  return prn_op_error(constant, "'%s': %s", prn_score_attr, what);
}

prn_status prn_score_open(const prn_op *constant, prn_score *out) {
  static const char *const norms[] = {"l1", "l2", "linf", "min"};
  const prn_attr *attr = prn_op_attr(constant, prn_score_attr);
  *out = (prn_score){.constant = constant, .attr = attr};
  out->tensor = prn_value_constant(prn_op_result(constant, 0));
  if (!attr || attr->kind != PRN_ATTR_DICT || !out->tensor)
    return bad(constant, "must be a dictionary on a constant");
  const prn_attr *kind = prn_dict_get(attr, "kind");
  const prn_attr *norm = prn_dict_get(attr, "metric");
  for (size_t i = 0; i < PRN_COUNT(kinds); i++)
    if (kind && kind->kind == PRN_ATTR_STRING &&
        prn_str_is(kind->s, kinds[i]->name))
      out->kind = kinds[i];
  if (!out->kind) return bad(constant, "kind is no known score");
  for (size_t i = 0; norm && i < PRN_COUNT(norms); i++)
    if (norm->kind == PRN_ATTR_STRING && prn_str_is(norm->s, norms[i])) {
      out->norm = (prn_norm)i;
      norm = NULL;
    }
  if (norm) return bad(constant, "metric must be one of " PRN_NORM_WORDS);
  if (!prn_dtype_is_float(out->tensor->type->dtype))
    return bad(constant, "the constant is not of a float type");
  return out->kind->open ? out->kind->open(out) : PRN_OK;
}

/* Largest exponent field among n floats: 255 for NaN and infinity. */
static uint32_t top_exponent(const float *v, int64_t n) {
  uint32_t top = 0;
  for (int64_t i = 0; i < n; i++) {
    uint32_t bits;
    memcpy(&bits, v + i, sizeof bits);
    bits &= 0x7f800000u;
    top = bits > top ? bits : top;
  }
  return top >> 23;
}

int64_t prn_score_try(const prn_score *s, int64_t at, int64_t n, float *out) {
  const prn_blob *mask = s->tensor->mask;
  s->kind->eval(s, at, n, out);
  if (top_exponent(out, n) < 255) return -1;
  for (int64_t i = 0; i < n; i++)
    if (!isfinite(out[i]) && (!mask || prn_mask_keeps(mask->data, at + i)))
      return at + i;
  return -1;
}

prn_status prn_score_read(const prn_score *s, int64_t at, int64_t n,
                          float *out) {
  int64_t bad = prn_score_try(s, at, n, out);
  if (bad < 0) return PRN_OK;
  return prn_op_error(s->constant, "the %s score of %s is %s at element %lld",
                      s->kind->name, prn_value_str(&s->constant->results[0]),
                      isnan(out[bad - at]) ? "NaN" : "infinite",
                      (long long)bad);
}

/* ---- entries that change places ---- */

/* For every index that the triples lead to, that to which the entry leads that
 * comes to one of its places. */
static const prn_attr *move_vector(const prn_score *s, const char *const *names,
                                   int64_t (*source)(const void *, int64_t),
                                   const void *user) {
  prn_ctx *ctx = s->constant->module->ctx;
  const prn_attr *triples = prn_dict_get(s->attr, names[0]);
  const prn_tensor *old = prn_dict_get(s->attr, names[1])->tensor;
  const int64_t *t = triples->ints;
  uint32_t n = triples->size / PRN_TRIPLE;
  int64_t count = prn_tensor_count(old);
  int64_t *digits = prn_alloc(prn_array_size(sizeof *digits, n + 1));
  float *from = prn_alloc(prn_array_size(2 * sizeof *from, (size_t)count));
  float *to = from + count;
  prn_tensor_read_f32(old, 0, count, from);
  memcpy(to, from, (size_t)count * sizeof *to);
  memset(digits, 0, n * sizeof *digits);
  for (bool more = true; more;) {
    int64_t index = 0, place = 0;
    for (uint32_t k = 0; k < n; k++) {
      index += digits[k] * t[PRN_TRIPLE * k + 2];
      place += digits[k] * t[PRN_TRIPLE * k + 1];
    }
    to[index] = from[prn_triples_index(t, n, source(user, place))];
    more = false;
    for (uint32_t k = n; k-- > 0 && !more;) {
      more = ++digits[k] < t[PRN_TRIPLE * k];
      if (!more) digits[k] = 0;
    }
  }
  const prn_attr *out =
      prn_attr_tensor(ctx, prn_tensor_from_data(ctx, old->type, to));
  prn_free(from);
  prn_free(digits);
  return out;
}

const prn_attr *prn_score_moved(const prn_op *constant,
                                int64_t (*source)(const void *user,
                                                  int64_t place),
                                const void *user) {
  prn_score s;
  if (prn_score_open(constant, &s) != PRN_OK || s.kind->by_place) return NULL;
  if (!s.kind->vectors) return s.attr;
  prn_named_attr *entries =
      prn_alloc(prn_array_size(sizeof *entries, s.attr->size));
  memcpy(entries, s.attr->dict, s.attr->size * sizeof *entries);
  for (uint32_t i = 0; i < s.attr->size; i++)
    for (size_t k = 0; s.kind->vectors[k][0]; k++)
      if (prn_str_is(entries[i].name, s.kind->vectors[k][1]))
        entries[i].value = move_vector(&s, s.kind->vectors[k], source, user);
  const prn_attr *out =
      prn_attr_dict(constant->module->ctx, entries, s.attr->size);
  prn_free(entries);
  return out;
}
