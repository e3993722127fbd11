/* print-sparsity: a table of the weights, their patterns and densities.
 *
 * Patterns are read off the data, so models pruned elsewhere show theirs:
 * whole rows (output units) or columns, tiles, n:m along an axis of the
 * constant, or unstructured. */
#include <string.h>

#include "passes/analysis/pattern.h"

#define OPTIONS(X) \
  X(ENUM, format, text, "text|json", "A table, or one JSON object")
#define STATS(X)                       \
  X(weights, "weights")                \
  X(entries, "entries of the weights") \
  X(zeros, "entries that are zero")
PRN_PASS_TABLES;

enum { COLUMNS = 6 };

/* One line: the cells' text, and what the totals need. */
typedef struct row {
  const char *cell[COLUMNS];
} row;

static const char *keep(const prn_pass_env *env, prn_strbuf *b) {
  const char *text = prn_intern(env->ctx, prn_strbuf_view(b)).data;
  prn_strbuf_destroy(b);
  return text;
}

static const char *shape_text(const prn_pass_env *env, const prn_type *type) {
  prn_strbuf b = {0};
  for (int32_t i = 0; i < type->rank; i++) {
    if (i) prn_strbuf_char(&b, 'x');
    prn_dim_print(&b, type->dims[i]);
  }
  if (type->rank == 0) prn_strbuf_cstr(&b, "scalar");
  return keep(env, &b);
}

static double percent(int64_t part, int64_t whole) {
  return whole ? 100.0 * (double)part / (double)whole : 100;
}

static const char *density_text(const prn_pass_env *env, const prn_pattern *p) {
  prn_strbuf b = {0};
  prn_strbuf_fmt(&b, "%.2f %%", percent(p->nonzeros, p->entries));
  return keep(env, &b);
}

static const char *note_of(const prn_site *s) {
  return s->prunable ? "" : prn_reasons[s->reason].name;
}

static void make_row(const prn_pass_env *env, const prn_site *s,
                     const prn_pattern *p, row *out) {
  const prn_type *type = prn_site_tensor(s)->type;
  prn_strbuf name = {0}, pattern = {0};
  prn_strbuf_str(&name, s->name);
  prn_pattern_print(&pattern, p);
  *out = (row){{keep(env, &name), shape_text(env, type),
                prn_dtype_name(type->dtype), keep(env, &pattern),
                density_text(env, p), note_of(s)}};
}

static void print_table(const prn_pass_env *env, const row *rows, size_t n) {
  size_t width[COLUMNS] = {0};
  for (size_t i = 0; i < n; i++)
    for (size_t c = 0; c < COLUMNS; c++) {
      size_t w = strlen(rows[i].cell[c]);
      if (w > width[c]) width[c] = w;
    }
  for (size_t i = 0; i < n; i++) {
    prn_strbuf b = {0};
    for (size_t c = 0; c < COLUMNS; c++) {
      bool right = c == 4; /* numbers */
      prn_strbuf_fmt(&b, right ? "%*s  " : "%-*s  ", (int)width[c],
                     rows[i].cell[c]);
    }
    while (b.size && b.data[b.size - 1] == ' ')
      b.size--;
    prn_pass_print(env, "%.*s\n", PRN_STR_ARG(prn_strbuf_view(&b)));
    prn_strbuf_destroy(&b);
  }
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
  row *rows = PRN_ARENA_ARRAY(env->scratch, row, sites->size + 1);
  size_t n = 0;
  (void)m;
  rows[n++] = (row){{"weight", "shape", "type", "pattern", "density", "note"}};
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
      make_row(env, site, &p, &rows[n++]);
    s->weights++;
    s->entries += (uint64_t)p.entries;
    s->zeros += (uint64_t)(p.entries - p.nonzeros);
  }
  if (!o->format) print_table(env, rows, n);
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
