/* Help and reference documentation of passes, from their records. */
#include <string.h>

#include "passes/option.h"
#include "passes/pipeline.h"

/* "float in [0,1), default 0.5". */
static void option_facts(const prn_option_info *o, prn_strbuf *b) {
  prn_option_expected(o, b);
  if (strcmp(o->dflt, "REQUIRED") == 0)
    prn_strbuf_cstr(b, "; must be given");
  else if (*o->dflt)
    prn_strbuf_fmt(b, "; default %s", o->dflt);
}

static void help_options(const prn_pass *p, prn_strbuf *b) {
  if (!p->options[0].name) return;
  prn_strbuf_cstr(b, "\noptions:\n");
  for (const prn_option_info *o = p->options; o->name; o++) {
    prn_strbuf_cstr(b, "  ");
    prn_option_name(o, b);
    prn_strbuf_cstr(b, "\n      ");
    prn_strbuf_cstr(b, o->doc);
    prn_strbuf_cstr(b, "\n      (");
    option_facts(o, b);
    prn_strbuf_cstr(b, ")\n");
  }
}

static void help_stats(const prn_pass *p, prn_strbuf *b) {
  if (!p->stats[0].name) return;
  prn_strbuf_cstr(b, "\nstatistics:\n");
  for (const prn_stat_info *s = p->stats; s->name; s++)
    prn_strbuf_fmt(b, "  %s\n      %s\n", s->name, s->doc);
}

static void dialects(uint32_t mask, prn_strbuf *b) {
  static const char *const names[] = {"onnx", "nn", "mem"};
  bool any = false;
  for (size_t i = 0; i < PRN_COUNT(names); i++) {
    if (!(mask >> i & 1)) continue;
    prn_strbuf_fmt(b, "%s%s", any ? ", " : "", names[i]);
    any = true;
  }
}

static void analyses(uint32_t mask, prn_strbuf *b) {
  bool any = false;
  if (mask == PRN_ALL_ANALYSES || mask == 0) {
    prn_strbuf_cstr(b, mask ? "all" : "none");
    return;
  }
  for (unsigned i = 0; i < PRN_ANALYSIS_COUNT; i++) {
    if (!(mask >> i & 1)) continue;
    prn_strbuf_fmt(b, "%s%s", any ? ", " : "", prn_analysis_table[i]->name);
    any = true;
  }
}

static void contract(const prn_pass *p, prn_strbuf *b) {
  prn_strbuf_cstr(b, "reads ");
  dialects(p->reads, b);
  prn_strbuf_cstr(b, "; leaves ");
  dialects(p->writes, b);
  prn_strbuf_cstr(b, "; needs ");
  analyses(p->needs, b);
  prn_strbuf_cstr(b, "; keeps ");
  analyses(p->keeps, b);
  if (p->exact) prn_strbuf_cstr(b, "; outputs stay");
  if (p->exact_unless) prn_strbuf_fmt(b, " unless %s", p->exact_unless);
}

static void usage(const prn_pass *p, prn_strbuf *b) {
  bool options = p->options[0].name != NULL;
  if (p->nests)
    prn_strbuf_fmt(b, "--pass-pipeline='%s%s{PASS,...}'", p->name,
                   options ? "(...)" : "");
  else
    prn_strbuf_fmt(b, "--%s%s", p->name, options ? "[=k=v,...]" : "");
}

void prn_pass_help(const prn_pass *p, prn_strbuf *b) {
  prn_strbuf_fmt(b, "%s: %s\n\nusage: ", p->name, p->summary);
  usage(p, b);
  prn_strbuf_char(b, '\n');
  if (p->doc) prn_strbuf_fmt(b, "\n%s\n", p->doc);
  help_options(p, b);
  help_stats(p, b);
  prn_strbuf_cstr(b, "\ncontract:\n  ");
  contract(p, b);
  prn_strbuf_char(b, '\n');
}

/* A table cell: '|' would end it. */
static void cell(const char *text, prn_strbuf *b) {
  for (; *text; text++) {
    if (*text == '|') prn_strbuf_char(b, '\\');
    prn_strbuf_char(b, *text);
  }
}

static void docs_of(const prn_pass *p, prn_strbuf *b) {
  prn_strbuf_fmt(b, "\n## %s\n\n%s.\n\n    ", p->name, p->summary);
  usage(p, b);
  prn_strbuf_char(b, '\n');
  if (p->doc) prn_strbuf_fmt(b, "\n%s\n", p->doc);
  if (p->options[0].name)
    prn_strbuf_cstr(b, "\n| option | value | meaning |\n|---|---|---|\n");
  for (const prn_option_info *o = p->options; o->name; o++) {
    prn_strbuf facts = {0};
    prn_strbuf_cstr(b, "| `");
    prn_option_name(o, b);
    prn_strbuf_cstr(b, "` | ");
    option_facts(o, &facts);
    cell(facts.data, b);
    prn_strbuf_cstr(b, " | ");
    cell(o->doc, b);
    prn_strbuf_cstr(b, " |\n");
    prn_strbuf_destroy(&facts);
  }
  if (p->stats[0].name)
    prn_strbuf_cstr(b, "\n| statistic | counts |\n|---|---|\n");
  for (const prn_stat_info *s = p->stats; s->name; s++)
    prn_strbuf_fmt(b, "| `%s` | %s |\n", s->name, s->doc);
  prn_strbuf_cstr(b, "\nContract: ");
  contract(p, b);
  prn_strbuf_cstr(b, ".\n");
}

static void docs_reasons(prn_strbuf *b) {
  static const char *const kinds[] = {"passed", "missed", "analysis"};
  prn_strbuf_cstr(b, "\n# Reasons in remarks\n\n"
                     "`--remarks=FILE.yaml` writes one remark for everything "
                     "that was done, and for\neverything that was not.\n\n"
                     "| reason | kind | meaning |\n|---|---|---|\n");
  for (size_t i = 0; i < PRN_REASON_COUNT; i++) {
    prn_strbuf_fmt(b, "| `%s` | %s | ", prn_reasons[i].name,
                   kinds[prn_reasons[i].kind]);
    cell(prn_reasons[i].text, b);
    prn_strbuf_cstr(b, " |\n");
  }
}

void prn_passes_docs(const prn_registry *r, prn_strbuf *b) {
  prn_strbuf_cstr(b, "<!-- Made by prune-opt --emit-docs=passes. -->\n"
                     "# Passes\n\n| pass | does |\n|---|---|\n");
  for (size_t i = 0; i < r->size; i++)
    prn_strbuf_fmt(b, "| [`%s`](#%s) | %s |\n", r->passes[i]->name,
                   r->passes[i]->name, r->passes[i]->summary);
  for (size_t i = 0; i < r->size; i++)
    docs_of(r->passes[i], b);
  docs_reasons(b);
}
