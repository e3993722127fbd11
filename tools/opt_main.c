#include "tools/opt_main.h"

#include <string.h>
#include <unistd.h>

#include "ir/docs.h"
#include "ir/expect.h"
#include "ir/infer.h"
#include "ir/text.h"
#include "ir/verify.h"
#include "passes/lower/lower.h"
#include "passes/manager.h"
#include "passes/plugin.h"
#include "passes/print_ir.h"
#include "passes/remark.h"
#include "passes/report.h"
#include "passes/rules/rules.h"
#include "tools/calibration.h"
#include "tools/model_io.h"
#include "tools/numerics.h"
#include "tools/opt_options.h"
#include "tools/progress.h"
#include "tools/recipe.h"
#include "tools/reproducer.h"

typedef struct driver {
  prn_opt_settings o;
  prn_cli_result cli;
  prn_registry *registry;
  prn_ctx *ctx;
  prn_pipeline *pipeline;
  prn_variables variables; /* of recipes */
  prn_print_ir print_ir;
  prn_remarks *remarks;
  prn_file *input;
  prn_reproducer reproducer;
  prn_numerics numerics; /* with --verify-numerics */
  prn_calibration calibration;
  prn_report_model before, after;
  prn_profile profile; /* with --profile */
  prn_phase phases[2]; /* reading, writing */
  prn_strbuf printed;  /* by passes */
  prn_strbuf result;   /* text of split inputs */
  bool to_stdout;      /* the module goes to standard output */
} driver;

static prn_diag_sink *sink_of(const driver *d) { return prn_ctx_diags(d->ctx); }

PRN_PRINTF(2, 3) static prn_status fail(driver *d, const char *fmt, ...) {
  va_list ap;
  va_start(ap, fmt);
  prn_status s = prn_diag_vemit(sink_of(d), PRN_ERROR, (prn_loc){0},
                                (prn_str){"", 0}, fmt, ap);
  va_end(ap);
  return s;
}

static void put(FILE *f, prn_strbuf *b) {
  if (b->size) (void)fwrite(b->data, 1, b->size, f);
  prn_strbuf_destroy(b);
}

/* ---- the pipeline ---- */

static prn_status unknown_option(driver *d, prn_str name) {
  size_t n = d->registry->size;
  prn_str *names = prn_alloc(prn_array_size(sizeof *names, n));
  for (size_t i = 0; i < n; i++)
    names[i] = prn_str_from(d->registry->passes[i]->name);
  prn_status s = prn_cli_unknown(&prn_opt_cli, sink_of(d), name, names, n);
  prn_free(names);
  return s;
}

static prn_status add_item(driver *d, const prn_cli_item *item) {
  if (prn_str_is(item->name, "recipe"))
    return prn_recipe_add(d->ctx, d->registry, item->value, &d->variables,
                          d->pipeline);
  if (prn_str_is(item->name, "pass-pipeline"))
    return prn_pipeline_parse(d->ctx, d->registry, NULL,
                              prn_str_from(item->value), d->pipeline);
  const prn_pass *p = prn_registry_find(d->registry, item->name);
  if (!p) return unknown_option(d, item->name);
  return prn_pipeline_add(d->ctx, p, prn_str_from(item->value), d->pipeline);
}

static prn_status build_pipeline(driver *d) {
  prn_status status =
      prn_recipe_define(sink_of(d), &d->o.defines, &d->variables);
  for (size_t i = 0; i < d->cli.num_items; i++)
    if (add_item(d, &d->cli.items[i]) != PRN_OK) status = PRN_FAIL;
  if (status != PRN_OK) return status;
  return prn_variables_check(&d->variables, sink_of(d));
}

static bool prints(const prn_pipeline *p) {
  for (size_t i = 0; i < p->size; i++)
    if (p->items[i]->pass->prints ||
        (p->items[i]->body && prints(p->items[i]->body)))
      return true;
  return false;
}

/* ---- what needs no input ---- */

static void list_passes(const prn_registry *r) {
  for (size_t i = 0; i < r->size; i++)
    (void)printf("  %-26s  %s\n", r->passes[i]->name, r->passes[i]->summary);
}

static prn_status list_recipes(driver *d) {
  prn_strbuf b = {0};
  prn_status s = prn_recipe_list(sink_of(d), &b);
  put(stdout, &b);
  return s;
}

static prn_status help_pass(driver *d, prn_str name) {
  const prn_pass *p = prn_registry_find(d->registry, name);
  prn_strbuf b = {0};
  if (!p) {
    prn_registry_suggest(d->registry, name, &b);
    prn_status s = fail(d, "no pass is called '%.*s'%s", PRN_STR_ARG(name),
                        b.data ? b.data : "");
    prn_strbuf_destroy(&b);
    return s;
  }
  prn_pass_help(p, &b);
  put(stdout, &b);
  return PRN_OK;
}

/* Answers --help-PASS; *out_done when there was one. */
static prn_status answer_help(driver *d, bool *out_done) {
  for (size_t i = 0; i < d->cli.num_items; i++) {
    prn_str name = d->cli.items[i].name;
    if (!prn_str_starts(name, "help-")) continue;
    *out_done = true;
    name = (prn_str){name.data + 5, name.size - 5};
    PRN_TRY(help_pass(d, name));
  }
  return PRN_OK;
}

static prn_status emit_docs(driver *d) {
  prn_strbuf b = {0};
  if (strcmp(d->o.emit_docs, "passes") == 0)
    prn_passes_docs(d->registry, &b);
  else if (strcmp(d->o.emit_docs, "rules") == 0)
    prn_rules_docs(&b);
  else if (strcmp(d->o.emit_docs, "ops") == 0)
    prn_ops_docs(&b);
  else if (strcmp(d->o.emit_docs, "operators") == 0)
    prn_operators_docs(&b);
  else
    return fail(d, "--emit-docs=%s is not built", d->o.emit_docs);
  put(stdout, &b);
  return PRN_OK;
}

static void print_pipeline(driver *d) {
  prn_strbuf b = {0};
  prn_pipeline_print(d->pipeline, &b);
  prn_strbuf_char(&b, '\n');
  put(stdout, &b);
}

/* ---- one module ---- */

static prn_status check_roundtrip(driver *d, prn_module *m) {
  prn_strbuf text = {0};
  prn_print_module_buf(m, NULL, &text);
  prn_str kept = prn_intern(d->ctx, prn_strbuf_view(&text));
  prn_strbuf_destroy(&text);
  prn_diag_add_source(sink_of(d), "<round trip>", kept);
  prn_module *again = prn_parse_module(d->ctx, "<round trip>", kept);
  if (!again) return fail(d, "what was printed does not parse back");
  return prn_module_compare(m, again, "round trip");
}

static prn_status run_passes(driver *d, prn_module *m) {
  prn_instrument *instruments[5];
  prn_progress progress;
  size_t n = 0;
  if (prn_progress_init(&progress, d->pipeline))
    instruments[n++] = &progress.base;
  if (prn_print_ir_init(&d->print_ir)) instruments[n++] = &d->print_ir.base;
  if (d->o.crash_reproducer) instruments[n++] = &d->reproducer.base;
  if (d->o.numerics) {
    prn_numerics_restart(&d->numerics, d->remarks);
    instruments[n++] = &d->numerics.base;
  }
  prn_run_config config = {
      .threads = (unsigned)d->o.threads,
      .verify_each = d->o.verify_each,
      .verify = prn_verify,
      .measure = d->o.time_passes || d->o.report,
      .instruments = instruments,
      .num_instruments = n,
      .remarks = d->remarks,
      .out = &d->printed,
      .profile = d->o.profile ? &d->profile : NULL,
      .observer = d->o.calibration.size ? &d->calibration.base : NULL,
  };
  if (d->o.crash_reproducer)
    prn_reproducer_begin(&d->reproducer, d->o.crash_reproducer, d->pipeline,
                         &d->o.plugins, d->o.profile, d->input);
  prn_status status = prn_pipeline_run(d->pipeline, m, &config);
  if (d->o.crash_reproducer) prn_reproducer_end(&d->reproducer);
  return status;
}

static prn_status handle(driver *d, prn_module *m) {
  PRN_TRY(prn_verify(m));
  PRN_TRY(prn_infer_check(m));
  if (d->o.profile) PRN_TRY(prn_profile_check(&d->profile, m));
  if (d->o.verify_roundtrip) PRN_TRY(check_roundtrip(d, m));
  unsigned threads = (unsigned)d->o.threads;
  if (d->o.report) prn_report_measure(m, threads, &d->before);
  PRN_TRY(run_passes(d, m));
  if (d->o.report) prn_report_measure(m, threads, &d->after);
  return PRN_OK;
}

static prn_status write_result(driver *d, prn_module *m) {
  prn_write_options o = {.data = prn_onnx_data_of(d->o.data),
                         .locations = d->o.print_locations};
  if (d->o.emit)
    o.format =
        strcmp(d->o.emit, "onnx") == 0 ? PRN_FORMAT_ONNX : PRN_FORMAT_TEXT;
  if (!d->to_stdout && !d->o.output) return PRN_OK;
  return prn_model_write(m, d->o.output ? d->o.output : "-", &o);
}

/* ---- inputs of several parts ---- */

typedef struct splitter {
  driver *d;
  const char *file;
  prn_status status;
  bool first;
} splitter;

static prn_status handle_text(driver *d, const char *file, prn_str part,
                              uint32_t line, prn_module **out) {
  *out = prn_parse_module_at(d->ctx, file, part, line);
  return *out ? handle(d, *out) : PRN_FAIL;
}

static bool handle_part(void *user, prn_str part, uint32_t line) {
  splitter *s = user;
  driver *d = s->d;
  prn_module *m;
  prn_expect *expect = NULL;
  if (d->o.verify_diagnostics)
    expect = prn_expect_begin(sink_of(d), s->file, part, line);
  prn_status status = handle_text(d, s->file, part, line, &m);
  if (expect)
    status = prn_expect_finish(expect);
  else if (status == PRN_OK) {
    if (!s->first) prn_strbuf_cstr(&d->result, "// -----\n");
    prn_print_module_buf(m, NULL, &d->result);
  }
  if (status != PRN_OK) s->status = PRN_FAIL;
  s->first = false;
  return true;
}

static prn_status write_text(driver *d) {
  prn_out *out;
  PRN_TRY(prn_out_open(sink_of(d), d->o.output ? d->o.output : "-", &out));
  prn_out_write(out, d->result.data, d->result.size);
  return prn_out_commit(out);
}

static prn_status run_parts(driver *d) {
  const char *path = prn_file_path(d->input);
  const char *name = strcmp(path, "-") == 0 ? "<stdin>" : path;
  splitter s = {.d = d, .file = name, .first = true};
  prn_str text = prn_file_bytes(d->input);
  if (prn_format_of_path(path) == PRN_FORMAT_ONNX)
    return fail(d, "--split-input-file and --verify-diagnostics take text");
  prn_diag_add_source(sink_of(d), name, text);
  if (d->o.split_input)
    prn_split_input(text, handle_part, &s);
  else
    (void)handle_part(&s, text, 1);
  PRN_TRY(s.status);
  if (d->o.verify_diagnostics || !(d->to_stdout || d->o.output)) return PRN_OK;
  return write_text(d);
}

static prn_status open_input(driver *d) {
  if (d->input) return PRN_OK; /* a reproducer's */
  if (d->cli.args.size == 0)
    return fail(d, "no input file (see prune-opt --help)");
  return prn_file_open(sink_of(d), d->cli.args.at[0], &d->input);
}

static void end_phase(driver *d, int which, const char *name, double start) {
  d->phases[which] = (prn_phase){name, prn_seconds() - start, {0, 0}};
  if (d->o.time_passes) d->phases[which].memory = prn_memory_now();
}

static prn_status run_file(driver *d) {
  prn_module *m;
  PRN_TRY(open_input(d));
  if (d->o.split_input || d->o.verify_diagnostics) return run_parts(d);
  double start = prn_seconds();
  PRN_TRY(prn_model_read_file(d->ctx, d->input, &m));
  end_phase(d, 0, "read", start);
  PRN_TRY(handle(d, m));
  start = prn_seconds();
  PRN_TRY(write_result(d, m));
  end_phase(d, 1, "write", start);
  return PRN_OK;
}

/* Takes the pipeline, the plugins and the input from a reproducer. */
static prn_status load_reproducer(driver *d) {
  prn_reproduced r;
  if (d->cli.args.size || d->cli.num_items)
    return fail(d, "--run-reproducer brings its own input and passes");
  prn_status status = prn_reproducer_read(d->ctx, d->o.run_reproducer, &r);
  d->input = r.input;
  if (r.profile.size && !d->o.profile) d->o.profile = r.profile.data;
  for (size_t i = 0; i < r.plugins.size && status == PRN_OK; i++)
    status = prn_plugin_load(sink_of(d), r.plugins.at[i], d->registry);
  if (status == PRN_OK)
    status =
        prn_pipeline_parse(d->ctx, d->registry, NULL, r.pipeline, d->pipeline);
  prn_free(r.plugins.at);
  return status;
}

/* ---- reports ---- */

static prn_status write_file(driver *d, const char *path, prn_strbuf *b) {
  prn_out *out;
  prn_status status = prn_out_open(sink_of(d), path, &out);
  if (status == PRN_OK) {
    prn_out_write(out, b->data, b->size);
    status = prn_out_commit(out);
  }
  prn_strbuf_destroy(b);
  return status;
}

static prn_status write_remarks(driver *d) {
  prn_strbuf b = {0};
  if (!d->o.remarks) return PRN_OK;
  prn_remarks_yaml(d->remarks, &b);
  return write_file(d, d->o.remarks, &b);
}

static prn_status write_report(driver *d) {
  prn_strbuf b = {0};
  if (!d->o.report) return PRN_OK;
  prn_report r = {
      .tool = "prune-opt",
      .input = prn_file_path(d->input),
      .output = d->o.output,
      .before = &d->before,
      .after = &d->after,
      .pipeline = d->pipeline,
      .remarks = d->remarks,
  };
  if (prn_str_ends(prn_str_from(d->o.report), ".html"))
    prn_report_html(&r, &b);
  else
    prn_report_json(&r, &b);
  return write_file(d, d->o.report, &b);
}

static void print_numbers(driver *d) {
  prn_strbuf b = {0};
  if (d->o.stats && strcmp(d->o.stats, "json") == 0) {
    prn_stats_json(d->pipeline, &b);
  } else if (d->o.stats) {
    prn_stats_print(d->pipeline, &b);
    if (d->o.numerics)
      prn_strbuf_fmt(&b, "===== numerics, check by check =====\n%.*s",
                     PRN_STR_ARG(prn_strbuf_view(&d->numerics.lines)));
  }
  if (d->o.time_passes)
    prn_timing_print(d->pipeline, d->phases, PRN_COUNT(d->phases), &b);
  put(stderr, &b);
}

/* ---- the whole ---- */

static prn_status check_settings(driver *d) {
  const char *s = d->o.stats;
  if (s && *s && strcmp(s, "json") != 0 && strcmp(s, "text") != 0)
    return fail(d, "--stats must be one of text, json, not '%s'", s);
  prn_str report = prn_str_from(d->o.report);
  if (report.size && !prn_str_ends(report, ".json") &&
      !prn_str_ends(report, ".html"))
    return fail(d, "--report must end in .json or .html, not '%s'",
                d->o.report);
  d->print_ir.before = d->o.print_before;
  d->print_ir.after = d->o.print_after_all ? "" : d->o.print_after;
  d->print_ir.after_change = d->o.print_after_change;
  d->print_ir.diff = d->o.print_diff;
  d->print_ir.out = stderr;
  return prn_print_ir_check(&d->print_ir, d->registry, sink_of(d));
}

static prn_status run(driver *d) {
  bool done = false;
  for (size_t i = 0; i < d->o.plugins.size; i++)
    PRN_TRY(prn_plugin_load(sink_of(d), d->o.plugins.at[i], d->registry));
  PRN_TRY(answer_help(d, &done));
  if (done) return PRN_OK;
  if (d->o.list_passes) return list_passes(d->registry), PRN_OK;
  if (d->o.list_recipes) return list_recipes(d);
  if (d->o.emit_docs) return emit_docs(d);
  d->pipeline = prn_pipeline_create(d->ctx);
  if (d->o.run_reproducer)
    PRN_TRY(load_reproducer(d));
  else
    PRN_TRY(build_pipeline(d));
  PRN_TRY(check_settings(d));
  if (d->o.profile)
    PRN_TRY(prn_profile_read(sink_of(d), d->o.profile, &d->profile));
  if (d->o.print_pipeline) return print_pipeline(d), PRN_OK;
  d->to_stdout = !d->o.output && !prints(d->pipeline);
  if (d->o.numerics)
    PRN_TRY(
        prn_numerics_init(&d->numerics, d->ctx, d->o.numerics, d->o.tolerance));
  if (d->o.calibration.size)
    PRN_TRY(prn_calibration_init(&d->calibration, d->ctx, &d->o.calibration,
                                 d->o.threads));
  if (d->o.remarks || d->o.report || d->o.numerics)
    d->remarks = prn_remarks_create(d->ctx);
  prn_status status = run_file(d);
  put(stdout, &d->printed);
  print_numbers(d);
  if (write_remarks(d) != PRN_OK) status = PRN_FAIL;
  if (status == PRN_OK) status = write_report(d);
  return status;
}

int prn_opt_main(int argc, char **argv, prn_registry *registry) {
  long cpus = sysconf(_SC_NPROCESSORS_ONLN);
  driver d = {.registry = registry,
              .o = {.threads = cpus > 0 ? cpus : 1,
                    .verify_each = true,
                    .tolerance = 1e-5},
              .phases = {{.name = "read"}, {.name = "write"}}};
  d.ctx = prn_ctx_create();
  prn_status status =
      prn_cli_parse(&prn_opt_cli, sink_of(&d), argc, argv, &d.o, &d.cli);
  if (status == PRN_OK && !d.cli.done) status = run(&d);
  if (prn_cli_flush(sink_of(&d)) != PRN_OK) status = PRN_FAIL;
  prn_variables_destroy(&d.variables);
  prn_profile_clear(&d.profile);
  prn_report_destroy(&d.before);
  prn_report_destroy(&d.after);
  prn_file_release(d.input);
  prn_print_ir_destroy(&d.print_ir);
  prn_numerics_destroy(&d.numerics);
  prn_calibration_destroy(&d.calibration);
  prn_remarks_destroy(d.remarks);
  prn_strbuf_destroy(&d.result);
  prn_cli_free(&prn_opt_cli, &d.o, &d.cli);
  prn_ctx_destroy(d.ctx);
  return status == PRN_OK ? 0 : 1;
}
