#include "passes/report.h"

#include "ir/support/parallel.h"
#include "passes/remark.h"

/* ---- measuring ---- */

static bool counts_as_weight(const prn_op *op, const prn_tensor **out) {
  if (!prn_op_has_trait(op, PRN_CONSTANT) || op->num_results == 0) return false;
  const prn_tensor *t = prn_value_constant(&op->results[0]);
  *out = t;
  return t && t->data && t->type->rank > 0;
}

static void add_weight(prn_report_model *r, prn_op *op, const prn_tensor *t) {
  if (r->num_weights == r->cap_weights) {
    r->cap_weights = r->cap_weights ? r->cap_weights * 2 : 64;
    size_t bytes = prn_array_size(sizeof *r->weights, r->cap_weights);
    r->weights = prn_realloc(r->weights, bytes);
  }
  prn_report_weight *w = &r->weights[r->num_weights++];
  *w = (prn_report_weight){
      .name = op->results[0].name,
      .type = prn_type_str(op->module->ctx, t->type),
      .tensor = t,
      .entries = prn_tensor_count(t),
  };
  r->entries += w->entries;
  r->bytes += (int64_t)t->data->size;
}

static prn_status measure(void *user, prn_op *op) {
  prn_report_model *r = user;
  const prn_tensor *t;
  if (counts_as_weight(op, &t))
    add_weight(r, op, t);
  else if (op->num_results && !prn_op_has_trait(op, PRN_CONSTANT))
    r->operations++;
  return PRN_OK;
}

static void count_nonzeros(void *user, size_t chunk, size_t begin, size_t end) {
  prn_report_model *r = user;
  (void)chunk;
  for (size_t i = begin; i < end; i++)
    r->weights[i].nonzero = prn_tensor_nonzeros(r->weights[i].tensor);
}

void prn_report_measure(prn_module *m, unsigned threads,
                        prn_report_model *out) {
  (void)!prn_walk(m->body, true, measure, out);
  prn_parallel_for(threads, out->num_weights, 1, count_nonzeros, out);
  for (size_t i = 0; i < out->num_weights; i++)
    out->nonzero += out->weights[i].nonzero;
}

void prn_report_destroy(prn_report_model *r) {
  prn_free(r->weights);
  *r = (prn_report_model){0};
}

/* How often each reason was given. */
static void count_reasons(const prn_remarks *remarks, size_t *counts) {
  size_t n = 0;
  const prn_remark *all = remarks ? prn_remarks_all(remarks, &n) : NULL;
  for (size_t i = 0; i < PRN_REASON_COUNT; i++)
    counts[i] = 0;
  for (size_t i = 0; i < n; i++)
    counts[all[i].reason]++;
}

/* The weights of r by name. */
static void index_weights(const prn_report_model *r, prn_map *out) {
  for (size_t i = 0; i < r->num_weights; i++)
    *prn_map_slot(out, r->weights[i].name) = &r->weights[i];
}

/* ---- JSON ---- */

static void json_model(const prn_report_model *m, prn_strbuf *b) {
  prn_strbuf_fmt(b,
                 "{\"operations\": %zu, \"weights\": %zu, \"entries\": %lld, "
                 "\"nonzero\": %lld, \"bytes\": %lld}",
                 m->operations, m->num_weights, (long long)m->entries,
                 (long long)m->nonzero, (long long)m->bytes);
}

static void json_weights(const prn_report *r, prn_strbuf *b) {
  prn_map before = {0};
  index_weights(r->before, &before);
  for (size_t i = 0; i < r->after->num_weights; i++) {
    const prn_report_weight *w = &r->after->weights[i];
    const prn_report_weight *old = prn_map_get(&before, w->name);
    prn_strbuf_cstr(b, i ? ",\n    {\"name\": " : "\n    {\"name\": ");
    prn_strbuf_json(b, w->name);
    prn_strbuf_cstr(b, ", \"type\": ");
    prn_strbuf_json(b, prn_str_from(w->type));
    prn_strbuf_fmt(b, ", \"entries\": %lld, \"nonzero\": %lld",
                   (long long)w->entries, (long long)w->nonzero);
    if (old)
      prn_strbuf_fmt(b, ", \"nonzero_before\": %lld", (long long)old->nonzero);
    prn_strbuf_char(b, '}');
  }
  prn_map_destroy(&before);
}

static void json_reasons(const prn_report *r, prn_strbuf *b) {
  size_t counts[PRN_REASON_COUNT];
  bool any = false;
  count_reasons(r->remarks, counts);
  for (size_t i = 0; i < PRN_REASON_COUNT; i++) {
    if (!counts[i]) continue;
    prn_strbuf_fmt(b, "%s\"%s\": %zu", any ? ", " : "", prn_reasons[i].name,
                   counts[i]);
    any = true;
  }
}

void prn_report_json(const prn_report *r, prn_strbuf *b) {
  prn_strbuf text = {0};
  prn_pipeline_print(r->pipeline, &text);
  prn_strbuf_fmt(b, "{\n  \"tool\": \"%s\",\n  \"version\": \"%s\",\n", r->tool,
                 PRN_VERSION);
  prn_strbuf_cstr(b, "  \"input\": ");
  prn_strbuf_json(b, prn_str_from(r->input));
  prn_strbuf_cstr(b, ",\n  \"output\": ");
  if (r->output)
    prn_strbuf_json(b, prn_str_from(r->output));
  else
    prn_strbuf_cstr(b, "null");
  prn_strbuf_cstr(b, ",\n  \"pipeline\": ");
  prn_strbuf_json(b, prn_strbuf_view(&text));
  prn_strbuf_cstr(b, ",\n  \"before\": ");
  json_model(r->before, b);
  prn_strbuf_cstr(b, ",\n  \"after\": ");
  json_model(r->after, b);
  prn_strbuf_cstr(b, ",\n  \"passes\": ");
  prn_stats_json(r->pipeline, b);
  prn_strbuf_cstr(b, "  ,\"remarks\": {");
  json_reasons(r, b);
  prn_strbuf_cstr(b, "},\n  \"weights\": [");
  json_weights(r, b);
  prn_strbuf_cstr(b, "\n  ]\n}\n");
  prn_strbuf_destroy(&text);
}

/* ---- HTML ---- */

static void html(prn_strbuf *b, prn_str s) {
  for (size_t i = 0; i < s.size; i++) {
    char c = s.data[i];
    if (c == '<')
      prn_strbuf_cstr(b, "&lt;");
    else if (c == '>')
      prn_strbuf_cstr(b, "&gt;");
    else if (c == '&')
      prn_strbuf_cstr(b, "&amp;");
    else if (c == '"')
      prn_strbuf_cstr(b, "&quot;");
    else
      prn_strbuf_char(b, (unsigned char)c < ' ' && c != '\n' ? ' ' : c);
  }
}

static void html_cstr(prn_strbuf *b, const char *s) {
  html(b, prn_str_from(s));
}

static double density(int64_t nonzero, int64_t entries) {
  return entries ? (double)nonzero / (double)entries * 100 : 100;
}

static void html_models(const prn_report *r, prn_strbuf *b) {
  const prn_report_model *rows[] = {r->before, r->after};
  static const char *const names[] = {"before", "after"};
  prn_strbuf_cstr(b, "<table><tr><th><th>operations<th>weights<th>entries"
                     "<th>not zero<th>density<th>bytes\n");
  for (size_t i = 0; i < 2; i++)
    prn_strbuf_fmt(b,
                   "<tr><td>%s<td>%zu<td>%zu<td>%lld<td>%lld<td>%.2f %%"
                   "<td>%lld\n",
                   names[i], rows[i]->operations, rows[i]->num_weights,
                   (long long)rows[i]->entries, (long long)rows[i]->nonzero,
                   density(rows[i]->nonzero, rows[i]->entries),
                   (long long)rows[i]->bytes);
  prn_strbuf_cstr(b, "</table>\n");
}

static void html_passes(const prn_pipeline *p, unsigned depth, prn_strbuf *b) {
  for (size_t i = 0; i < p->size; i++) {
    const prn_pipeline_item *item = p->items[i];
    prn_strbuf text = {0};
    if (!item->ran) continue;
    if (item->body)
      prn_strbuf_cstr(&text, item->pass->name);
    else
      prn_pipeline_item_print(item, &text);
    prn_strbuf_fmt(b, "<tr><td style=\"padding-left:%uem\"><code>",
                   1 + depth * 2);
    html(b, prn_strbuf_view(&text));
    prn_strbuf_fmt(b, "</code><td>%.3f<td>%.1f<td>\n", item->wall_s * 1e3,
                   (double)item->peak_rss / 1048576);
    prn_strbuf_destroy(&text);
    for (const prn_stat_info *s = item->pass->stats; s->name; s++) {
      prn_strbuf_fmt(b, "%llu ", (unsigned long long)prn_stat_value(item, s));
      html_cstr(b, s->doc);
      prn_strbuf_cstr(b, "<br>\n");
    }
    if (item->body) html_passes(item->body, depth + 1, b);
  }
}

static void html_reasons(const prn_report *r, prn_strbuf *b) {
  size_t counts[PRN_REASON_COUNT];
  count_reasons(r->remarks, counts);
  prn_strbuf_cstr(b, "<table><tr><th>reason<th>times<th>meaning\n");
  for (size_t i = 0; i < PRN_REASON_COUNT; i++) {
    if (!counts[i]) continue;
    prn_strbuf_fmt(b, "<tr><td>%s<td>%zu<td>", prn_reasons[i].name, counts[i]);
    html_cstr(b, prn_reasons[i].text);
    prn_strbuf_char(b, '\n');
  }
  prn_strbuf_cstr(b, "</table>\n");
}

static void html_weights(const prn_report *r, prn_strbuf *b) {
  prn_map before = {0};
  index_weights(r->before, &before);
  prn_strbuf_cstr(b, "<table><tr><th>weight<th>type<th>entries<th>not zero"
                     "<th>density<th>before\n");
  for (size_t i = 0; i < r->after->num_weights; i++) {
    const prn_report_weight *w = &r->after->weights[i];
    const prn_report_weight *old = prn_map_get(&before, w->name);
    prn_strbuf_cstr(b, "<tr><td>");
    html(b, w->name);
    prn_strbuf_cstr(b, "<td>");
    html_cstr(b, w->type);
    double now = density(w->nonzero, w->entries);
    prn_strbuf_fmt(b,
                   "<td>%lld<td>%lld<td><meter max=\"100\" value=\"%.2f\">"
                   "</meter> %.2f %%<td>",
                   (long long)w->entries, (long long)w->nonzero, now, now);
    if (old) prn_strbuf_fmt(b, "%.2f %%", density(old->nonzero, old->entries));
    prn_strbuf_char(b, '\n');
  }
  prn_strbuf_cstr(b, "</table>\n");
  prn_map_destroy(&before);
}

void prn_report_html(const prn_report *r, prn_strbuf *b) {
  prn_strbuf text = {0};
  prn_pipeline_print(r->pipeline, &text);
  prn_strbuf_cstr(
      b, "<!doctype html>\n<html lang=\"en\"><meta charset=\"utf-8\">\n"
         "<style>body{font:15px sans-serif;margin:2em;max-width:70em}"
         "table{border-collapse:collapse}td,th{padding:.2em 1em;"
         "text-align:right;border-bottom:1px solid #ddd}"
         "td:first-child,th:first-child{text-align:left}</style>\n<title>");
  html_cstr(b, r->input);
  prn_strbuf_cstr(b, "</title>\n<h1>");
  html_cstr(b, r->input);
  prn_strbuf_fmt(b, "</h1>\n<p>%s %s", r->tool, PRN_VERSION);
  if (r->output) {
    prn_strbuf_cstr(b, ", written to ");
    html_cstr(b, r->output);
  }
  prn_strbuf_cstr(b, "\n<p><code>");
  html(b, prn_strbuf_view(&text));
  prn_strbuf_cstr(b, "</code>\n<h2>Model</h2>\n");
  html_models(r, b);
  prn_strbuf_cstr(b, "<h2>Passes</h2>\n<table><tr><th>pass<th>ms<th>peak MiB"
                     "<th>statistics\n");
  html_passes(r->pipeline, 0, b);
  prn_strbuf_cstr(b, "</table>\n<h2>Remarks</h2>\n");
  html_reasons(r, b);
  prn_strbuf_cstr(b, "<h2>Weights</h2>\n");
  html_weights(r, b);
  prn_strbuf_destroy(&text);
}
