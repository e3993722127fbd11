/* sensitivity: what each weight would lose by how many zeros, in tables.
 *
 * These are the losses from which allocate-loss chooses (losses.h), times what
 * measure-sensitivity found of each weight. Nothing is changed. */
#include <math.h>
#include <stdlib.h>

#include "passes/allocate/plot.h"
#include "passes/columns.h"

#define OPTIONS(X)                                                             \
  X(ENUM, format, text, "text|json", "A table and a plot, or one JSON object") \
  X(ENUM, sort, model, "model|loss",                                           \
    "The order: of the model, or what loses most at the share `from` first")   \
  X(INT, step, 10, "[2,50]", "Per cent between the shares that are measured")  \
  X(INT, from, 50, "[1,98]",                                                   \
    "Per cent of zeros from which on the table shows losses; the plot and "    \
    "JSON have all")                                                           \
  X(FLOAT, damping, 0.01, "[0,1e9]",                                           \
    "Added to the diagonal of the moments, as a share of its mean")
#define STATS(X)                 \
  X(weights, "weights measured") \
  X(skipped, "weights that cannot be measured")
PRN_PASS_TABLES;

enum { JSON = 1, BY_LOSS = 1 };
enum { NAME, SHAPE, ENTRIES, PART, FIRST }; /* columns */

typedef struct row {
  const prn_site *site;
  const char *name; /* in ASCII */
  int64_t entries;
  double sensitivity; /* negative: there is none */
  prn_losses losses;  /* of the weight's own outputs */
  const char *why;    /* it is not measured; NULL: it is */
  const char *detail; /* of why */
  prn_reason reason;
  double key; /* what is sorted by; the highest first */
} row;

typedef struct job {
  const prn_pass_env *env;
  const prn_lapack *lapack;
  row **rows;
  size_t n, measured;
  int64_t entries;
  size_t first, shares; /* of losses: the first in the table; all */
  size_t sensitive;     /* measured weights that have a sensitivity */
} job;

static double times_of(const row *r) {
  return r->sensitivity < 0 ? 1 : r->sensitivity;
}

static double loss_of(const row *r, size_t i) {
  return times_of(r) * r->losses.loss[i];
}

/* ---- measuring ---- */

static const char *ascii(const prn_pass_env *env, prn_str name) {
  prn_strbuf b = {0};
  for (size_t i = 0; i < name.size; i++) {
    unsigned char c = (unsigned char)name.data[i];
    prn_strbuf_fmt(&b, c < ' ' || c > '~' ? "\\%02x" : "%c", c);
  }
  return prn_cell(env, &b);
}

static prn_status measure(job *j, row *r) {
  const struct opts *o = j->env->opts;
  prn_layer l;
  prn_status status = prn_layer_open(j->env, r->site, false, &l, &r->why);
  if (status == PRN_OK && r->why)
    prn_pass_remark(j->env, r->site->constant, PRN_REASON_NotObserved,
                    "'%.*s' is not measured: %s", PRN_STR_ARG(r->site->name),
                    r->why);
  else if (status == PRN_OK)
    status = prn_losses_measure(&l, j->lapack, o->damping, o->step, &r->losses);
  prn_layer_close(&l);
  return status;
}

static prn_status visit(job *j, const prn_site *site) {
  struct stats *s = j->env->stats;
  const prn_tensor *t = prn_site_tensor(site);
  if (!prn_pass_site_selected(j->env, site->constant)) return PRN_OK;
  row *r = PRN_ARENA_ARRAY(j->env->scratch, row, 1);
  *r = (row){.site = site,
             .name = ascii(j->env, site->name),
             .entries = t ? prn_tensor_count(t) : 0,
             .sensitivity = prn_sensitivity_given(site->constant, -1),
             .detail = "",
             .reason = PRN_REASON_NotObserved};
  if (site->prunable) {
    PRN_TRY(measure(j, r));
  } else {
    r->reason = site->reason;
    r->why = prn_reasons[site->reason].text;
    r->detail = site->detail;
  }
  j->rows[j->n++] = r;
  j->entries += r->entries;
  if (r->why) {
    s->skipped++;
    return PRN_OK;
  }
  s->weights++;
  j->measured++;
  j->sensitive += r->sensitivity >= 0;
  return PRN_OK;
}

static int compare(const void *a, const void *b) {
  const row *x = *(row *const *)a, *y = *(row *const *)b;
  if (x->key != y->key) return x->key > y->key ? -1 : 1;
  return x->site->index < y->site->index ? -1 : 1;
}

static void sort(job *j) {
  const struct opts *o = j->env->opts;
  if (o->sort != BY_LOSS) return;
  for (size_t i = 0; i < j->n; i++) {
    row *r = j->rows[i];
    r->key = r->why ? -1 : fmax(loss_of(r, j->first), 0);
  }
  qsort(j->rows, j->n, sizeof(row *), compare);
}

/* ---- text ---- */

PRN_PRINTF(2, 3)
static const char *cell(const prn_pass_env *env, const char *fmt, ...) {
  prn_strbuf b = {0};
  va_list ap;
  va_start(ap, fmt);
  prn_strbuf_vfmt(&b, fmt, ap);
  va_end(ap);
  return prn_cell(env, &b);
}

static const char *part_text(const job *j, int64_t entries) {
  double all = j->entries ? (double)j->entries : 1;
  return cell(j->env, "%.2f %%", 100 * (double)entries / all);
}

static void fill_row(const job *j, const row *r, const char **out) {
  out[NAME] = r->name;
  out[SHAPE] = prn_cell_shape(j->env, r->site->constant->results[0].type);
  out[ENTRIES] = cell(j->env, "%lld", (long long)r->entries);
  out[PART] = part_text(j, r->entries);
  out += FIRST;
  if (j->sensitive && r->sensitivity < 0)
    *out++ = "-";
  else if (j->sensitive)
    *out++ = cell(j->env, "%.3g", r->sensitivity);
  for (size_t i = j->first; i < j->shares; i++)
    *out++ = cell(j->env, "%.3g", loss_of(r, i));
}

static void fill_heads(const job *j, const char **out) {
  const struct opts *o = j->env->opts;
  out[NAME] = "weight";
  out[SHAPE] = "shape";
  out[ENTRIES] = "entries";
  out[PART] = "of all";
  out += FIRST;
  if (j->sensitive) *out++ = "sensitivity";
  for (size_t i = j->first; i < j->shares; i++)
    *out++ = cell(j->env, "%lld %%", (long long)o->step * (long long)(i + 1));
}

static void fill_sums(const job *j, const char **out) {
  int64_t entries = 0;
  for (size_t i = 0; i < j->n; i++)
    if (!j->rows[i]->why) entries += j->rows[i]->entries;
  out[NAME] = "sum";
  out[SHAPE] = "";
  out[ENTRIES] = cell(j->env, "%lld", (long long)entries);
  out[PART] = part_text(j, entries);
  out += FIRST;
  if (j->sensitive) *out++ = "";
  for (size_t i = j->first; i < j->shares; i++) {
    double sum = 0;
    for (size_t k = 0; k < j->n; k++)
      if (!j->rows[k]->why) sum += loss_of(j->rows[k], i);
    *out++ = cell(j->env, "%.3g", sum);
  }
}

static void print_table(const job *j) {
  size_t shown = j->shares - j->first, n = 0;
  size_t columns = FIRST + (size_t)(j->sensitive > 0) + shown;
  const char **cells = PRN_ARENA_ARRAY(j->env->scratch, const char *,
                                       (j->measured + 2) * columns);
  fill_heads(j, cells);
  for (size_t i = 0; i < j->n; i++)
    if (!j->rows[i]->why) fill_row(j, j->rows[i], cells + ++n * columns);
  fill_sums(j, cells + ++n * columns);
  prn_columns_print(j->env, cells, n + 1, columns, ~(1u << NAME | 1u << SHAPE));
}

static void explain(const job *j) {
  prn_pass_print(
      j->env,
      "\nA loss is the share of the squares of a weight's outputs, on the "
      "profile's data,\nthat is gone when SparseGPT prunes this weight alone, "
      "by so many per cent");
  if (!j->sensitive) {
    prn_pass_print(j->env, ". How\nmuch the model's outputs lose of that, "
                           "measure-sensitivity finds.\n");
    return;
  }
  prn_pass_print(j->env, ", times\nits sensitivity: about the share of the "
                         "squares of the model's outputs.\n");
  if (j->sensitive < j->measured)
    prn_pass_print(j->env, "Weights without a sensitivity count as if it "
                           "were 1.\n");
}

static void plot(const job *j) {
  prn_plot_line *lines =
      PRN_ARENA_ARRAY(j->env->scratch, prn_plot_line, j->measured);
  size_t n = 0;
  for (size_t i = 0; i < j->n; i++) {
    const row *r = j->rows[i];
    if (!r->why) lines[n++] = (prn_plot_line){r->name, &r->losses, times_of(r)};
  }
  prn_plot_losses(j->env, lines, n);
}

static void print_text(const job *j) {
  if (j->measured) {
    print_table(j);
    explain(j);
    plot(j);
  }
  if (j->measured < j->n)
    prn_pass_print(j->env, "%sNot measured:\n", j->measured ? "\n" : "");
  for (size_t i = 0; i < j->n; i++) {
    const row *r = j->rows[i];
    if (r->why)
      prn_pass_print(j->env, "  %s (%s): %s%s\n", r->name,
                     part_text(j, r->entries), r->why, r->detail);
  }
  if (!j->n) prn_pass_print(j->env, "no weights\n");
}

/* ---- JSON ---- */

static void number(prn_strbuf *b, double v) {
  if (isfinite(v))
    prn_strbuf_fmt(b, "%.17g", v);
  else
    prn_strbuf_cstr(b, "null");
}

static void json_losses(const job *j, const row *r, prn_strbuf *b) {
  prn_strbuf_cstr(b, ", \"sensitivity\": ");
  number(b, r->sensitivity < 0 ? (double)NAN : r->sensitivity);
  prn_strbuf_cstr(b, ",\n   \"loss\": [");
  for (size_t i = 0; i < j->shares; i++) {
    if (i) prn_strbuf_cstr(b, ", ");
    number(b, r->losses.loss[i]);
  }
  prn_strbuf_cstr(b, "],\n   \"weighted\": [");
  for (size_t i = 0; i < j->shares; i++) {
    if (i) prn_strbuf_cstr(b, ", ");
    number(b, loss_of(r, i));
  }
  prn_strbuf_char(b, ']');
}

static void json_row(const job *j, const row *r, prn_strbuf *b) {
  const prn_type *type = r->site->constant->results[0].type;
  prn_strbuf_cstr(b, "{\"name\": ");
  prn_strbuf_json(b, r->site->name);
  prn_strbuf_cstr(b, ", \"shape\": [");
  for (int32_t i = 0; i < type->rank; i++) {
    if (i) prn_strbuf_cstr(b, ", ");
    prn_dim_print(b, type->dims[i]);
  }
  prn_strbuf_fmt(b, "], \"entries\": %lld, \"measured\": %s",
                 (long long)r->entries, r->why ? "false" : "true");
  if (r->why) {
    prn_strbuf text = {0};
    prn_strbuf_fmt(&text, "%s%s", r->why, r->detail);
    prn_strbuf_fmt(
        b, ", \"reason\": \"%s\", \"why\": ", prn_reasons[r->reason].name);
    prn_strbuf_json(b, prn_strbuf_view(&text));
    prn_strbuf_destroy(&text);
  } else {
    json_losses(j, r, b);
  }
  prn_strbuf_char(b, '}');
}

static void print_json(const job *j) {
  const struct opts *o = j->env->opts;
  prn_strbuf b = {0};
  prn_strbuf_cstr(&b, "{\"shares\": [");
  for (size_t i = 0; i < j->shares; i++)
    prn_strbuf_fmt(&b, "%s%g", i ? ", " : "",
                   (double)o->step * (double)(i + 1) / 100);
  prn_strbuf_cstr(&b, "], \"weights\": [");
  for (size_t i = 0; i < j->n; i++) {
    prn_strbuf_cstr(&b, i ? ",\n  " : "\n  ");
    json_row(j, j->rows[i], &b);
  }
  prn_strbuf_fmt(&b,
                 "\n], \"total\": {\"weights\": %zu, \"measured\": %zu, "
                 "\"entries\": %lld}}\n",
                 j->n, j->measured, (long long)j->entries);
  prn_pass_print(j->env, "%.*s", PRN_STR_ARG(prn_strbuf_view(&b)));
  prn_strbuf_destroy(&b);
}

/* ---- */

static prn_status check(prn_pass_env *env) {
  const struct opts *o = env->opts;
  int64_t last = (PRN_SHARES - 1) / o->step * o->step;
  if (o->from <= last) return PRN_OK;
  return prn_pass_error(env,
                        "from = %lld is above the last share that step = "
                        "%lld has measured, %lld",
                        (long long)o->from, (long long)o->step,
                        (long long)last);
}

static prn_status run(prn_pass_env *env, prn_module *m) {
  const struct opts *o = env->opts;
  const prn_sites *sites = prn_pass_weight_sites(env);
  job j = {.env = env,
           .first = (size_t)((o->from + o->step - 1) / o->step - 1),
           .shares = (size_t)((PRN_SHARES - 1) / o->step)};
  (void)m;
  PRN_TRY(prn_layers_check(env));
  if (!(j.lapack = prn_lapack_open(prn_ctx_diags(env->ctx)))) return PRN_FAIL;
  j.rows = PRN_ARENA_ARRAY(env->scratch, row *, sites->size);
  for (size_t i = 0; i < sites->size; i++)
    PRN_TRY(visit(&j, &sites->at[i]));
  sort(&j);
  if (o->format == JSON)
    print_json(&j);
  else
    print_text(&j);
  return PRN_OK;
}

const prn_pass prn_pass_sensitivity = {
    .name = "sensitivity",
    .summary = "Print and plot what each weight loses by how many zeros",
    .doc = "Changes nothing, and needs a profile with full moments (prune-run "
           "--profile-moments=full). Every weight is pruned by SparseGPT, "
           "alone, at every `step` per cent of zeros; what its outputs lose of "
           "their squares on the profile's data is its loss: 0.01 is an error "
           "of a hundredth of the signal. These are the losses from which "
           "allocate-loss chooses.\n\n"
           "After measure-sensitivity losses are multiplied by what the "
           "model's outputs lose of them, so that they compare between "
           "weights. Without it they say only how well each weight can do "
           "without its entries, not whether the model needs it.\n\n"
           "In the plot a weight is a line, from small losses on the left to "
           "large ones on the right, by powers of ten; a digit stands where "
           "that many tens of per cent of zeros lead. A line whose digits "
           "crowd at the right is of a weight that should keep more than the "
           "others. The sum below the table is what all weights lose with as "
           "many zeros each, before allocate-loss does better.",
    .reads = PRN_DIALECT_ONNX,
    .writes = PRN_DIALECT_ONNX,
    .needs = PRN_SHAPES | PRN_SITES,
    .keeps = PRN_ALL_ANALYSES,
    .prints = true,
    .exact = true,
    .check = check,
    PRN_PASS_COMMON,
};
