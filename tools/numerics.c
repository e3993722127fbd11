#include "tools/numerics.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tools/child.h"
#include "tools/handover.h"

enum {
  MAX_SEEDS = 1000,
  MAX_NOTES = 20,
  SIZES = 3, /* choices of sizes of open dimensions */
};

/* ---- messages ---- */

static prn_diag_sink *sink_of(const prn_numerics *n) {
  return prn_ctx_diags(n->ctx);
}

/* Says, once, why a pass is not checked. */
static void skip(prn_numerics *n, const prn_pass_event *e,
                 const prn_strbuf *why) {
  prn_strbuf_fmt(&n->lines, "%s: not checked\n", e->item->pass->name);
  if (prn_str_eq(prn_strbuf_view(&n->said), prn_strbuf_view(why))) return;
  n->said.size = 0;
  prn_strbuf_str(&n->said, prn_strbuf_view(why));
  (void)prn_diag_emit(sink_of(n), PRN_WARNING, (prn_loc){0}, PRN_STR(""),
                      "%s: what it computes is not checked: %s",
                      e->item->pass->name, why->data);
}

/* "error: PASS{options}: text", and what the pass says it did. */
static prn_status blame(prn_numerics *n, const prn_pass_event *e,
                        const prn_strbuf *what) {
  prn_strbuf item = {0};
  size_t size = 0, shown = 0, all = 0;
  const prn_remark *r = n->remarks ? prn_remarks_all(n->remarks, &size) : NULL;
  prn_pipeline_item_print(e->item, &item);
  (void)prn_diag_emit(sink_of(n), PRN_ERROR, (prn_loc){0}, PRN_STR(""),
                      "%s: %s", item.data, what->data);
  prn_strbuf_destroy(&item);
  for (size_t i = n->num_remarks; i < size; i++) {
    if (prn_reasons[r[i].reason].kind != PRN_REMARK_PASSED) continue;
    all++;
    if (shown == MAX_NOTES) continue;
    shown++;
    (void)prn_diag_emit(sink_of(n), PRN_NOTE, r[i].loc, r[i].subject, "%.*s",
                        PRN_STR_ARG(r[i].text));
  }
  if (all > shown)
    (void)prn_diag_emit(sink_of(n), PRN_NOTE, (prn_loc){0}, PRN_STR(""),
                        "%zu more; --remarks has them all", all - shown);
  return PRN_FAIL;
}

/* Whether two models are the same bytes. */
static bool same_bytes(const prn_numerics *n, int a, int b) {
  char pa[PRN_HANDOVER_PATH], pb[PRN_HANDOVER_PATH];
  prn_file *fa = NULL, *fb = NULL;
  bool same = false;
  if (prn_file_open(sink_of(n), prn_handover_path(a, pa), &fa) == PRN_OK &&
      prn_file_open(sink_of(n), prn_handover_path(b, pb), &fb) == PRN_OK)
    same = prn_str_eq(prn_file_bytes(fa), prn_file_bytes(fb));
  prn_file_release(fa);
  prn_file_release(fb);
  return same;
}

/* ---- sizes of open dimensions ---- */

static void add_dim(prn_numerics *n, prn_dim d) {
  if (d->kind != PRN_DIM_SYM) return;
  for (size_t i = 0; i < n->num_dims; i++)
    if (prn_str_eq(n->dims[i], d->name)) return;
  n->dims =
      prn_realloc(n->dims, prn_array_size(sizeof *n->dims, n->num_dims + 1));
  n->dims[n->num_dims++] = d->name;
}

static void find_dims(prn_numerics *n, const prn_module *m) {
  n->num_dims = 0;
  PRN_EACH_OP(top, m->body) {
    if (!prn_op_is(top, PRN_OP_onnx_graph)) continue;
    const prn_block *body = prn_op_block(top, "body");
    for (uint32_t i = 0; body && i < body->num_args; i++) {
      const prn_type *t = body->args[i]->type;
      for (int32_t k = 0; t->kind == PRN_TYPE_TENSOR && k < t->rank; k++)
        add_dim(n, t->dims[k]);
    }
  }
}

/* Different ones first, so that none is taken for another; 1 where a model
 * wants equal ones, and 64 where it wants room for windows. */
static int size_of(size_t choice, size_t dim) {
  return choice == 0 ? 2 + (int)(dim % 6) : choice == 1 ? 1 : 64;
}

/* ---- running models ---- */

typedef struct worst {
  prn_str name; /* of the output */
  double error; /* relative L2 */
  bool comparable;
  int64_t seed;
} worst;

/* Runs the model before, and the one after unless it is -1. */
static prn_status run(const prn_numerics *n, int after, int64_t seed,
                      size_t choice, prn_child *out) {
  char a[PRN_HANDOVER_PATH], b[PRN_HANDOVER_PATH], number[PRN_HANDOVER_PATH];
  const int keep[] = {n->before, after};
  const char **argv =
      prn_alloc(prn_array_size(sizeof *argv, 8 + 2 * n->num_dims));
  size_t k = 0;
  (void)snprintf(number, sizeof number, "%lld", (long long)seed);
  argv[k++] = n->tool.data;
  argv[k++] = prn_handover_path(n->before, a);
  argv[k++] = "--json";
  argv[k++] = "--random-inputs";
  argv[k++] = number;
  if (after >= 0) {
    argv[k++] = "--compare";
    argv[k++] = prn_handover_path(after, b);
  }
  prn_strbuf text = {0};
  for (size_t i = 0; i < n->num_dims; i++) {
    text.size = 0;
    prn_strbuf_fmt(&text, "%.*s=%d", PRN_STR_ARG(n->dims[i]),
                   size_of(choice, i));
    argv[k++] = "--dim";
    argv[k++] = prn_intern(n->ctx, prn_strbuf_view(&text)).data;
  }
  argv[k] = NULL;
  prn_strbuf_destroy(&text);
  prn_status status =
      prn_child_run(sink_of(n), argv, keep, after >= 0 ? 2 : 1, out);
  prn_free(argv);
  return status;
}

/* Reads {"output": "y", "comparable": true, ... "rel_l2": 1e-7, ...}. */
static void read_line(const prn_numerics *n, prn_str line, int64_t seed,
                      worst *w) {
  static const char head[] = "{\"output\": ", key[] = "\"rel_l2\": ";
  prn_strbuf name = {0};
  char number[PRN_HANDOVER_PATH] = "";
  size_t at = sizeof head - 1;
  if (!prn_str_starts(line, head)) return;
  bool ok = prn_strbuf_unquote(&name, line, &at);
  prn_str rest = ok ? (prn_str){line.data + at, line.size - at} : line;
  const char *value = memmem(rest.data, rest.size, key, sizeof key - 1);
  bool comparable = ok && prn_str_starts(rest, ", \"comparable\": true");
  if (value) {
    value += sizeof key - 1;
    size_t size = (size_t)(line.data + line.size - value);
    memcpy(number, value,
           size < PRN_HANDOVER_PATH ? size : PRN_HANDOVER_PATH - 1);
  }
  double error = comparable && value ? strtod(number, NULL) : (double)INFINITY;
  if (isnan(error)) error = (double)INFINITY;
  if (!w->name.data || error > w->error)
    *w = (worst){prn_intern(n->ctx, prn_strbuf_view(&name)), error, comparable,
                 seed};
  prn_strbuf_destroy(&name);
}

static void read_output(const prn_numerics *n, const prn_child *c, int64_t seed,
                        worst *w) {
  prn_str line, all = prn_strbuf_view(&c->out);
  for (size_t at = 0; prn_child_line(all, &at, &line);)
    read_line(n, line, seed, w);
}

/* ---- one check ---- */

typedef enum verdict { RAN, BROKEN, UNKNOWN, NO_CHILD } verdict;

/* Why the two did not run: the model after, or they could not anyway. */
static verdict find_fault(const prn_numerics *n, const prn_child *both,
                          int64_t seed, size_t choice, prn_strbuf *why) {
  prn_child alone;
  if (run(n, -1, seed, choice, &alone) != PRN_OK) return NO_CHILD;
  verdict v = alone.status == 0 ? BROKEN : UNKNOWN;
  why->size = 0;
  prn_child_error(v == BROKEN ? both : &alone, why);
  prn_child_destroy(&alone);
  return v;
}

/* Runs both for one seed. Sizes that the model before does not take are
 * replaced by others. */
static verdict run_both(prn_numerics *n, int after, int64_t seed, worst *w,
                        prn_strbuf *why) {
  verdict v = UNKNOWN;
  size_t choices = n->num_dims ? SIZES : 1, first = n->sizes;
  for (size_t i = 0; i < choices && v == UNKNOWN; i++) {
    prn_child both;
    n->sizes = (first + i) % choices;
    if (run(n, after, seed, n->sizes, &both) != PRN_OK) return NO_CHILD;
    v = both.status == 0 ? RAN : find_fault(n, &both, seed, n->sizes, why);
    if (v == RAN) read_output(n, &both, seed, w);
    prn_child_destroy(&both);
  }
  if (v == UNKNOWN) n->sizes = first;
  return v;
}

static void tell(prn_numerics *n, const prn_pass_event *e, const worst *w,
                 double start) {
  const char *pass = e->item->pass->name;
  if (!w) {
    prn_strbuf_fmt(&n->lines, "%s: nothing changed\n", pass);
    return;
  }
  prn_strbuf_fmt(&n->lines, "%s: largest relative L2 error %.3g, of '%.*s'; ",
                 pass, w->error, PRN_STR_ARG(w->name));
  prn_strbuf_fmt(&n->lines, "%.3f s\n", prn_seconds() - start);
}

static prn_status judge(prn_numerics *n, const prn_pass_event *e,
                        const worst *w) {
  prn_strbuf what = {0};
  if (w->error <= n->tolerance) return PRN_OK;
  prn_strbuf_fmt(&what, "it changed what the model computes: output '%.*s' ",
                 PRN_STR_ARG(w->name));
  if (w->comparable)
    prn_strbuf_fmt(&what, "has a relative L2 error of %.3g, more than %g",
                   w->error, n->tolerance);
  else
    prn_strbuf_cstr(&what, "is gone, or has another type or size");
  prn_strbuf_fmt(&what, " (prune-run --random-inputs=%lld", (long long)w->seed);
  for (size_t i = 0; i < n->num_dims; i++)
    prn_strbuf_fmt(&what, " --dim %.*s=%d", PRN_STR_ARG(n->dims[i]),
                   size_of(n->sizes, i));
  prn_strbuf_char(&what, ')');
  prn_status status = blame(n, e, &what);
  prn_strbuf_destroy(&what);
  return status;
}

static prn_status compare(prn_numerics *n, const prn_pass_event *e, int after) {
  double start = prn_seconds();
  worst w = {0};
  prn_strbuf why = {0};
  verdict v = RAN;
  if (same_bytes(n, n->before, after)) {
    tell(n, e, NULL, start);
    return PRN_OK;
  }
  for (int64_t seed = 0; seed < n->seeds && v == RAN; seed++)
    v = run_both(n, after, seed, &w, &why);
  if (v == RAN && !w.name.data) {
    prn_strbuf_cstr(&why, "prune-run printed no comparison");
    v = UNKNOWN;
  }
  prn_status status = v == NO_CHILD ? PRN_FAIL : PRN_OK;
  if (v == UNKNOWN) skip(n, e, &why);
  if (v == RAN) {
    tell(n, e, &w, start);
    status = judge(n, e, &w);
  }
  if (v == BROKEN) {
    prn_strbuf what = {0};
    prn_strbuf_fmt(&what, "it left a model that does not run any more: %s",
                   why.data);
    status = blame(n, e, &what);
    prn_strbuf_destroy(&what);
  }
  prn_strbuf_destroy(&why);
  return status;
}

/* ---- around the passes ---- */

static void forget(prn_numerics *n) {
  if (n->before >= 0) (void)close(n->before);
  n->before = -1;
}

/* A pass that only prints needs no check; one that holds passes has none of
 * its own. */
static bool idle(const prn_pass_event *e) {
  const prn_pass *p = e->item->pass;
  return p->nests || (p->prints && prn_pipeline_item_exact(e->item));
}

static void before(prn_instrument *self, const prn_pass_event *e) {
  prn_numerics *n = (prn_numerics *)self;
  prn_strbuf why = {0};
  if (idle(e)) return;
  if (!prn_pipeline_item_exact(e->item)) {
    forget(n);
    return;
  }
  n->num_remarks = 0;
  if (n->remarks) (void)prn_remarks_all(n->remarks, &n->num_remarks);
  find_dims(n, e->module);
  if (n->before < 0) n->before = prn_handover_write(n->ctx, e->module, &why);
  if (n->before < 0) skip(n, e, &why);
  prn_strbuf_destroy(&why);
}

static prn_status check(prn_instrument *self, const prn_pass_event *e) {
  prn_numerics *n = (prn_numerics *)self;
  prn_strbuf why = {0};
  prn_status status;
  if (idle(e) || n->before < 0) return PRN_OK;
  int after = prn_handover_write(n->ctx, e->module, &why);
  if (after >= 0)
    status = compare(n, e, after);
  else
    status = blame(n, e, &why);
  prn_strbuf_destroy(&why);
  forget(n);
  n->before = after;
  return status;
}

/* ---- beginning and end ---- */

prn_status prn_numerics_init(prn_numerics *n, prn_ctx *ctx, const char *number,
                             double tolerance) {
  char *end = NULL;
  long seeds = *number ? strtol(number, &end, 10) : 1;
  *n = (prn_numerics){.base = {.before = before, .check = check},
                      .ctx = ctx,
                      .seeds = seeds,
                      .tolerance = tolerance,
                      .before = -1};
  if ((end && *end) || seeds < 1 || seeds > MAX_SEEDS)
    return prn_diag_emit(prn_ctx_diags(ctx), PRN_ERROR, (prn_loc){0},
                         PRN_STR(""),
                         "--verify-numerics must be a number from 1 to %d, "
                         "not '%s'",
                         (int)MAX_SEEDS, number);
  return prn_handover_tool(prn_ctx_diags(ctx), "--verify-numerics", &n->tool);
}

void prn_numerics_restart(prn_numerics *n, const prn_remarks *remarks) {
  forget(n);
  n->remarks = remarks;
}

void prn_numerics_destroy(prn_numerics *n) {
  if (n->base.check) forget(n);
  prn_free(n->dims);
  prn_strbuf_destroy(&n->tool);
  prn_strbuf_destroy(&n->said);
  prn_strbuf_destroy(&n->lines);
}
