/* print-sparsity: a table of the weights, their patterns and densities.
 *
 * Patterns are read off the data, so models pruned elsewhere show theirs:
 * whole rows (output units) or columns, tiles, n:m along an axis of the
 * constant, or unstructured. */
#include <string.h>

#include "passes/analysis/pattern.h"
#include "passes/columns.h"

#define OPTIONS(X) \
  X(ENUM, format, text, "text|json", "A table, or one JSON object")
#define STATS(X)                       \
  X(weights, "weights")                \
  X(entries, "entries of the weights") \
  X(zeros, "entries that are zero")
PRN_PASS_TABLES;

enum { DENSITY = 4, COLUMNS = 6 };
static const char *const heads[COLUMNS] = {"weight",  "shape",   "type",
                                           "pattern", "density", "note"};

static double percent(int64_t part, int64_t whole) {
  return whole ? 100.0 * (double)part / (double)whole : 100;
}

static const char *density_text(const prn_pass_env *env, const prn_pattern *p) {
  prn_strbuf b = {0};
  prn_strbuf_fmt(&b, "%.2f %%", percent(p->nonzeros, p->entries));
  return prn_cell(env, &b);
}

static const char *note_of(const prn_site *s) {
  return s->prunable ? "" : prn_reasons[s->reason].name;
}

static void make_row(const prn_pass_env *env, const prn_site *s,
                     const prn_pattern *p, const char **out) {
  const prn_type *type = prn_site_tensor(s)->type;
  prn_strbuf name = {0}, pattern = {0};
  prn_strbuf_str(&name, s->name);
  prn_pattern_print(&pattern, p);
  out[0] = prn_cell(env, &name);
  out[1] = prn_cell_shape(env, type);
  out[2] = prn_dtype_name(type->dtype);
  out[3] = prn_cell(env, &pattern);
  out[DENSITY] = density_text(env, p);
  out[5] = note_of(s);
}

static void print_json(const prn_pass_env *env, const prn_site *s,
                       const prn_pattern *p, bool first) {
  const prn_type *type = prn_site_tensor(s)->type;
  prn_strbuf b = {0};
  prn_strbuf_cstr(&b, first ? "\n  {\"name\": " : ",\n  {\"name\": ");
  prn_strbuf_json(&b, s->name);
  prn_strbuf_cstr(&b, ", \"shape\": [");
  for (int32_t i = 0; i < type->rank; i++) {
    if (i) prn_strbuf_cstr(&b, ", ");
    prn_dim_print(&b, type->dims[i]);
  }
  prn_strbuf_fmt(&b, "], \"type\": \"%s\", \"pattern\": \"",
                 prn_dtype_name(type->dtype));
  prn_pattern_print(&b, p);
  prn_strbuf_fmt(&b,
                 "\", \"entries\": %lld, \"zeros\": %lld, \"zero_rows\": "
                 "%lld, \"zero_columns\": %lld, \"prunable\": %s",
                 (long long)p->entries, (long long)(p->entries - p->nonzeros),
                 (long long)p->zero_rows, (long long)p->zero_cols,
                 s->prunable ? "true" : "false");
  if (!s->prunable)
    prn_strbuf_fmt(&b, ", \"reason\": \"%s\"", prn_reasons[s->reason].name);
  prn_pass_print(env, "%.*s}", PRN_STR_ARG(prn_strbuf_view(&b)));
  prn_strbuf_destroy(&b);
}

static void print_total(const prn_pass_env *env) {
  const struct opts *o = env->opts;
  const struct stats *s = env->stats;
  if (o->format)
    prn_pass_print(env,
                   "\n], \"total\": {\"weights\": %llu, \"entries\": %llu, "
                   "\"zeros\": %llu}}\n",
                   (unsigned long long)s->weights,
                   (unsigned long long)s->entries,
                   (unsigned long long)s->zeros);
  else
    prn_pass_print(
        env, "%llu weights, %llu entries, %llu zero, density %.2f %%\n",
        (unsigned long long)s->weights, (unsigned long long)s->entries,
        (unsigned long long)s->zeros,
        percent((int64_t)(s->entries - s->zeros), (int64_t)s->entries));
}

static prn_status run(prn_pass_env *env, prn_module *m) {
  const struct opts *o = env->opts;
  struct stats *s = env->stats;
  const prn_sites *sites = prn_pass_weight_sites(env);
  const char **cells =
      PRN_ARENA_ARRAY(env->scratch, const char *, (sites->size + 1) * COLUMNS);
  size_t n = 1;
  (void)m;
  memcpy(cells, heads, sizeof heads);
  if (o->format) prn_pass_print(env, "{\"weights\": [");
  for (size_t i = 0; i < sites->size; i++) {
    const prn_site *site = &sites->at[i];
    prn_pattern p;
    if (!prn_site_tensor(site) || !prn_pass_site_selected(env, site->constant))
      continue;
    if (!prn_pattern_of(site, &p))
      return prn_pass_error(env, "no memory to look at '%.*s'",
                            PRN_STR_ARG(site->name));
    if (o->format)
      print_json(env, site, &p, s->weights == 0);
    else
      make_row(env, site, &p, cells + COLUMNS * n++);
    s->weights++;
    s->entries += (uint64_t)p.entries;
    s->zeros += (uint64_t)(p.entries - p.nonzeros);
  }
  if (!o->format) prn_columns_print(env, cells, n, COLUMNS, 1 << DENSITY);
  print_total(env);
  return PRN_OK;
}

const prn_pass prn_pass_print_sparsity = {
    .name = "print-sparsity",
    .summary = "Print the weights with their patterns and densities",
    .reads = PRN_DIALECT_ONNX,
    .writes = PRN_DIALECT_ONNX,
    .needs = PRN_WEIGHTS | PRN_SITES,
    .keeps = PRN_ALL_ANALYSES,
    .prints = true,
    .exact = true,
    PRN_PASS_COMMON,
};
