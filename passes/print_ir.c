#include "passes/print_ir.h"

#include <string.h>

#include "ir/text.h"
#include "passes/diff.h"

/* Whether list names the pass. */
static bool listed(const char *list, const char *name) {
  if (!list) return false;
  if (!*list) return true;
  for (size_t n = strlen(name); *list;) {
    size_t len = strcspn(list, ",");
    if (len == n && memcmp(list, name, n) == 0) return true;
    list += len + (list[len] == ',');
  }
  return false;
}

static void print_module(const prn_pass_event *e, prn_strbuf *b) {
  prn_print_options options = {.elide = true};
  b->size = 0;
  prn_print_module_buf(e->module, &options, b);
}

static void banner(const prn_print_ir *p, const prn_pass_event *e,
                   const char *when) {
  prn_strbuf b = {0};
  prn_pipeline_item_print(e->item, &b);
  (void)fprintf(p->out, "// ----- IR %s %u: %s -----\n", when, e->index,
                b.data);
  prn_strbuf_destroy(&b);
}

static void put(const prn_print_ir *p, const prn_strbuf *b) {
  (void)fwrite(b->data, 1, b->size, p->out);
}

static bool compares(const prn_print_ir *p) {
  return p->after_change || p->diff;
}

static void before(prn_instrument *self, const prn_pass_event *e) {
  prn_print_ir *p = (prn_print_ir *)self;
  bool wanted = listed(p->before, e->item->pass->name);
  if (e->item->pass->nests) return;
  if (compares(p) || wanted) print_module(e, &p->previous);
  if (!wanted) return;
  banner(p, e, "before");
  put(p, &p->previous);
}

static void after(prn_instrument *self, const prn_pass_event *e) {
  prn_print_ir *p = (prn_print_ir *)self;
  bool wanted = listed(p->after, e->item->pass->name);
  if (e->item->pass->nests || !(compares(p) || wanted)) return;
  print_module(e, &p->text);
  bool changed = compares(p) && !prn_str_eq(prn_strbuf_view(&p->previous),
                                            prn_strbuf_view(&p->text));
  const char *when = e->failed ? "after (failed)" : "after";
  if (changed && p->diff) {
    prn_strbuf d = {0};
    banner(p, e, when);
    prn_diff_unified("before", "after", prn_strbuf_view(&p->previous),
                     prn_strbuf_view(&p->text), &d);
    put(p, &d);
    prn_strbuf_destroy(&d);
  }
  if (wanted || (changed && p->after_change)) {
    banner(p, e, when);
    put(p, &p->text);
  }
}

bool prn_print_ir_init(prn_print_ir *p) {
  p->base = (prn_instrument){.before = before, .after = after};
  return p->before || p->after || compares(p);
}

void prn_print_ir_destroy(prn_print_ir *p) {
  prn_strbuf_destroy(&p->text);
  prn_strbuf_destroy(&p->previous);
}

static prn_status check_list(const char *list, const prn_registry *r,
                             prn_diag_sink *sink) {
  prn_status status = PRN_OK;
  while (list && *list) {
    prn_str name = {list, strcspn(list, ",")};
    if (!prn_registry_find(r, name)) {
      prn_strbuf b = {0};
      prn_registry_suggest(r, name, &b);
      status = prn_diag_emit(sink, PRN_ERROR, (prn_loc){0}, (prn_str){"", 0},
                             "no pass is called '%.*s'%s", PRN_STR_ARG(name),
                             b.data ? b.data : "");
      prn_strbuf_destroy(&b);
    }
    list += name.size + (list[name.size] == ',');
  }
  return status;
}

prn_status prn_print_ir_check(const prn_print_ir *p, const prn_registry *r,
                              prn_diag_sink *sink) {
  prn_status a = check_list(p->before, r, sink);
  prn_status b = check_list(p->after, r, sink);
  return a == PRN_OK && b == PRN_OK ? PRN_OK : PRN_FAIL;
}
