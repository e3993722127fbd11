/* prune-reduce: the smallest model, or reproducer, that a test still finds
 * interesting.
 *
 * Greedy delta debugging (Zeller and Hildebrandt, 2002): each kind of edit is
 * tried on all places at once, then on halves, quarters, down to single ones,
 * until a whole round takes nothing away. Every try begins from the smallest
 * file so far, read anew. */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "ir/context.h"
#include "ir/infer.h"
#include "ir/verify.h"
#include "tools/child.h"
#include "tools/cli.h"
#include "tools/model_io.h"
#include "tools/progress.h"
#include "tools/reduce.h"
#include "tools/reproducer.h"

typedef struct settings {
  const char *output, *test;
  int64_t max_tests;
} settings;

static const prn_cli_option options[] = {
    PRN_CLI_ROW(TEXT, 't', settings, test, "test", "CMD",
                "The shell command that says with exit code 0 that a file is "
                "still interesting. The file's path is added as an argument."),
    PRN_CLI_ROW(TEXT, 'o', settings, output, "output", "OUT",
                "Where the smallest file goes, each time there is a smaller "
                "one; default IN with .reduced before its extension."),
    {PRN_CLI_INT, 0, "max-tests", "N",
     "Stop after so many runs of the test; default 100000.",
     offsetof(settings, max_tests), 1, 1e9},
    {PRN_CLI_END, 0, NULL, NULL, NULL, 0, 0, 0},
};

static const prn_cli cli = {
    .tool = "prune-reduce",
    .usage = "IN --test=CMD [-o OUT]",
    .intro =
        "Shrinks a model (.onnx or .prn), or a crash reproducer of prune-opt, "
        "for as long as a test finds it interesting: outputs, nodes (which "
        "become inputs, one of their operands, or zeros), constants, "
        "attributes, inputs and functions go; of a reproducer also passes and "
        "options. The test is run on the input first. It should fail on what "
        "is broken otherwise than is looked for, and end by itself: timeout(1) "
        "helps. It may be stopped at any time. The input is never written to; "
        "the same input and test give "
        "the same output.",
    .outro =
        "examples:\n"
        "  # the smallest model that still has a Softmax\n"
        "  prune-reduce m.onnx --test='./has-softmax.sh'\n"
        "  # that cannot be compiled, for this reason and no other\n"
        "  cat > test.sh <<'EOF'\n"
        "  prune-run \"$1\" 2>&1 | grep -q 'operator ai.onnx.ml.ZipMap'\n"
        "  EOF\n"
        "  prune-reduce m.onnx --test='sh test.sh' -o small.onnx\n"
        "  # that two passes compute wrongly\n"
        "  prune-reduce m.onnx --test='! prune-opt --canonicalize --cse \\\n"
        "    --verify-numerics -o /dev/null'\n"
        "  # a crash: passes, options and the model\n"
        "  cat > crashes.sh <<'EOF'\n"
        "  prune-opt --run-reproducer \"$1\" -o /dev/null; test $? -ge 128\n"
        "  EOF\n"
        "  prune-reduce crash.rep --test='sh crashes.sh'\n",
    .options = options,
    .min_args = 1,
    .max_args = 1,
    .args = "an input file",
};

typedef struct reducer {
  prn_diag_sink *sink;
  const settings *s;
  prn_progress progress;
  prn_strbuf folder, best, next, whole; /* paths of scratch files */
  prn_strbuf output;
  bool reproducer;
  prn_strbuf head;     /* a reproducer's lines up to its pipeline */
  prn_strbuf pipeline; /* its text now */
  int64_t tests, taken;
} reducer;

/* Set by Ctrl-C, which has no argument of ours: what was found is kept, and
 * the scratch files go. */
static volatile sig_atomic_t stopped;

static void stop(int signal) {
  (void)signal;
  stopped = 1;
}

static void catch_signals(void) {
  struct sigaction a = {.sa_handler = stop};
  (void)sigemptyset(&a.sa_mask);
  (void)sigaction(SIGINT, &a, NULL);
  (void)sigaction(SIGTERM, &a, NULL);
}

static bool done(const reducer *r) {
  return stopped || r->tests >= r->s->max_tests;
}

static prn_status fail(prn_diag_sink *sink, const char *what,
                       const char *detail) {
  return prn_diag_emit(sink, PRN_ERROR, (prn_loc){0}, PRN_STR(""), "%s%s", what,
                       detail);
}

static void ignore(void *user, const prn_diag *d) {
  (void)user;
  (void)d;
}

/* ---- candidates ---- */

/* The file that the test sees, with this pipeline: the model itself, or a
 * reproducer that holds it. */
static prn_status assemble(reducer *r, const char *model, prn_str pipeline,
                           const char *path) {
  prn_file *file;
  prn_out *out;
  prn_strbuf b = {0};
  PRN_TRY(prn_file_open(r->sink, model, &file));
  prn_str bytes = prn_file_bytes(file);
  if (r->reproducer) {
    prn_strbuf_str(&b, prn_strbuf_view(&r->head));
    prn_strbuf_fmt(&b, "// pipeline: %.*s\n// input: \"reduced%s\" %zu\n",
                   PRN_STR_ARG(pipeline), strrchr(model, '.'), bytes.size);
  }
  prn_status status = prn_out_open(r->sink, path, &out);
  if (status == PRN_OK) {
    prn_out_write(out, b.data, b.size);
    prn_out_write(out, bytes.data, bytes.size);
    status = prn_out_commit(out);
  }
  prn_strbuf_destroy(&b);
  prn_file_release(file);
  return status;
}

static prn_status interesting(reducer *r, const char *path, bool *out) {
  prn_strbuf command = {0};
  prn_child child;
  prn_strbuf_fmt(&command, "%s \"$@\"", r->s->test);
  const char *argv[] = {"/bin/sh",      "-c", command.data,
                        "prune-reduce", path, NULL};
  prn_status status = prn_child_run(r->sink, argv, NULL, 0, &child);
  *out = status == PRN_OK && child.status == 0;
  prn_child_destroy(&child);
  prn_strbuf_destroy(&command);
  r->tests++;
  return status;
}

/* Tests what is at r->next with this pipeline; keeps it where it passes. */
static prn_status attempt(reducer *r, prn_str pipeline, bool *kept) {
  *kept = false;
  if (done(r)) return PRN_OK;
  PRN_TRY(assemble(r, r->next.data, pipeline, r->whole.data));
  PRN_TRY(interesting(r, r->whole.data, kept));
  if (!*kept) return PRN_OK;
  r->taken++;
  if (rename(r->next.data, r->best.data) != 0)
    return fail(r->sink, "cannot rename a scratch file: ", strerror(errno));
  return assemble(r, r->best.data, pipeline, r->output.data);
}

/* ---- models ---- */

/* Writes m to r->next; false when it is no valid model. */
static bool write_next(reducer *r, prn_module *m) {
  prn_write_options how = {.format = prn_format_of_path(r->next.data),
                           .data = prn_onnx_data_of("embed")};
  return prn_verify(m) == PRN_OK &&
         prn_model_write(m, r->next.data, &how) == PRN_OK;
}

/* Reads the best model without a word: what there is to say was said. Types
 * that can be told say what an input may stand for. */
static prn_ctx *read_best(reducer *r, prn_module **m) {
  prn_ctx *ctx = prn_ctx_create();
  prn_ctx_diags(ctx)->handler = ignore;
  if (prn_model_read(ctx, r->best.data, m) == PRN_OK) {
    (void)!prn_infer_module(*m, false);
    return ctx;
  }
  prn_ctx_destroy(ctx);
  return NULL;
}

static size_t places(reducer *r, const prn_edit *e) {
  prn_module *m;
  prn_ctx *ctx = read_best(r, &m);
  size_t n = ctx ? e->count(m) : 0;
  if (ctx) prn_ctx_destroy(ctx);
  return n;
}

static prn_status try_edit(reducer *r, const prn_edit *e, size_t from, size_t n,
                           bool *kept) {
  prn_module *m;
  prn_ctx *ctx = read_best(r, &m);
  *kept = false;
  if (!ctx) return PRN_OK;
  bool fits = from < e->count(m) && e->apply(m, from, n) && write_next(r, m);
  prn_ctx_destroy(ctx);
  prn_progress_step(&r->progress, e->what);
  return fits ? attempt(r, prn_strbuf_view(&r->pipeline), kept) : PRN_OK;
}

/* All places, halves of them, down to single ones. */
static prn_status reduce_by(reducer *r, const prn_edit *e) {
  size_t n = places(r, e);
  for (size_t chunk = n; chunk > 0 && !done(r); chunk /= 2)
    for (size_t at = 0; at < n && !done(r);) {
      bool kept;
      PRN_TRY(try_edit(r, e, at, chunk, &kept));
      if (kept)
        n = places(r, e);
      else
        at += chunk;
    }
  return PRN_OK;
}

/* ---- pipelines ---- */

static prn_status reduce_pipeline(reducer *r) {
  for (size_t i = 0; r->reproducer && !done(r);) {
    prn_strbuf text = {0};
    prn_module *m;
    bool kept = false;
    prn_status status = PRN_OK;
    if (!prn_edit_pipeline(prn_strbuf_view(&r->pipeline), i, &text)) break;
    prn_ctx *ctx = read_best(r, &m);
    if (ctx && write_next(r, m))
      status = attempt(r, prn_strbuf_view(&text), &kept);
    if (ctx) prn_ctx_destroy(ctx);
    prn_progress_step(&r->progress, "passes and options");
    if (kept) {
      r->pipeline.size = 0;
      prn_strbuf_str(&r->pipeline, prn_strbuf_view(&text));
    } else {
      i++;
    }
    prn_strbuf_destroy(&text);
    PRN_TRY(status);
  }
  return PRN_OK;
}

/* ---- the whole ---- */

static prn_status reduce(reducer *r) {
  int64_t before;
  do {
    before = r->taken;
    PRN_TRY(reduce_pipeline(r));
    for (const prn_edit *e = prn_edits; e->what; e++)
      PRN_TRY(reduce_by(r, e));
  } while (r->taken > before && !done(r));
  return PRN_OK;
}

/* The input, as we write it. */
static prn_status first(reducer *r, prn_module *m) {
  bool kept = false;
  if (!write_next(r, m))
    return fail(r->sink, "the input is no valid model", "");
  PRN_TRY(attempt(r, prn_strbuf_view(&r->pipeline), &kept));
  if (!kept)
    return fail(r->sink,
                "the test does not find the input interesting: ", r->s->test);
  r->taken = 0;
  return PRN_OK;
}

/* The lines of a reproducer that come before its pipeline, but not the one
 * that says which pass was running: that may go. */
static void read_head(reducer *r, prn_str text) {
  while (text.size) {
    const char *nl = memchr(text.data, '\n', text.size);
    size_t n = nl ? (size_t)(nl + 1 - text.data) : text.size;
    prn_str line = {text.data, n};
    text = (prn_str){text.data + n, text.size - n};
    if (prn_str_starts(line, "// input:")) return;
    if (prn_str_starts(line, "// run:"))
      prn_strbuf_fmt(&r->head, "// run: prune-opt --run-reproducer %s\n",
                     r->output.data);
    else if (prn_str_starts(line, "// ") && !prn_str_starts(line, "// pass:") &&
             !prn_str_starts(line, "// pipeline:"))
      prn_strbuf_str(&r->head, line);
  }
}

static void release(void *file) { prn_file_release(file); }

static prn_status open_input(reducer *r, prn_ctx *ctx, const char *path,
                             prn_module **m) {
  prn_file *file;
  PRN_TRY(prn_file_open(r->sink, path, &file));
  prn_str bytes = prn_file_bytes(file);
  r->reproducer = prn_str_starts(bytes, "// prune reproducer");
  if (r->reproducer) read_head(r, bytes);
  prn_format format = prn_format_of_path(r->output.data);
  if (format == PRN_FORMAT_AUTO) format = prn_format_of_bytes(bytes);
  prn_file_release(file);
  prn_status status = PRN_OK;
  if (r->reproducer) {
    prn_reproduced from;
    PRN_TRY(prn_reproducer_read(ctx, path, &from));
    prn_ctx_on_destroy(ctx, release, from.input);
    prn_strbuf_str(&r->pipeline, from.pipeline);
    format = prn_format_of_bytes(prn_file_bytes(from.input));
    status = prn_model_read_file(ctx, from.input, m);
    free((void *)from.plugins.at);
  } else {
    status = prn_model_read(ctx, path, m);
  }
  const char *extension = format == PRN_FORMAT_TEXT ? ".prn" : ".onnx";
  prn_strbuf_fmt(&r->best, "%s/best%s", r->folder.data, extension);
  prn_strbuf_fmt(&r->next, "%s/next%s", r->folder.data, extension);
  prn_strbuf_fmt(&r->whole, "%s/candidate%s", r->folder.data,
                 r->reproducer ? ".rep" : extension);
  return status;
}

/* IN with ".reduced" before its extension, or what -o says; not IN itself. */
static prn_status name_output(reducer *r, const char *in) {
  struct stat a, b;
  const char *slash = strrchr(in, '/');
  const char *dot = strrchr(slash ? slash : in, '.');
  if (r->s->output)
    prn_strbuf_cstr(&r->output, r->s->output);
  else if (dot)
    prn_strbuf_fmt(&r->output, "%.*s.reduced%s", (int)(dot - in), in, dot);
  else
    prn_strbuf_fmt(&r->output, "%s.reduced", in);
  if (stat(in, &a) == 0 && stat(r->output.data, &b) == 0 &&
      a.st_dev == b.st_dev && a.st_ino == b.st_ino)
    return fail(r->sink, "the output would be the input: ", in);
  return PRN_OK;
}

static prn_status make_folder(reducer *r) {
  const char *tmp = getenv("TMPDIR");
  prn_strbuf_fmt(&r->folder, "%s/prune-reduce-XXXXXX",
                 tmp && *tmp ? tmp : "/tmp");
  if (mkdtemp(r->folder.data)) return PRN_OK;
  prn_status status =
      fail(r->sink, "cannot make a scratch folder: ", strerror(errno));
  r->folder.size = 0;
  return status;
}

static void clean(reducer *r) {
  prn_strbuf *paths[] = {&r->best,   &r->next, &r->whole,   &r->folder,
                         &r->output, &r->head, &r->pipeline};
  for (int i = 0; i < 3; i++)
    if (paths[i]->size) (void)unlink(paths[i]->data);
  if (r->folder.size) (void)rmdir(r->folder.data);
  for (size_t i = 0; i < PRN_COUNT(paths); i++)
    prn_strbuf_destroy(paths[i]);
}

static prn_status run(prn_diag_sink *sink, const settings *s, const char *in) {
  reducer r = {.sink = sink, .s = s};
  prn_ctx *ctx = prn_ctx_create();
  prn_module *m;
  prn_status status = PRN_OK;
  if (!s->test) status = fail(sink, "there is no test: --test=CMD", "");
  if (status == PRN_OK && strcmp(in, "-") == 0)
    status = fail(sink, "the input must be a file", "");
  if (status == PRN_OK) status = name_output(&r, in);
  if (status == PRN_OK) status = make_folder(&r);
  if (status == PRN_OK) status = open_input(&r, ctx, in, &m);
  catch_signals();
  prn_progress_begin(&r.progress, 0);
  if (status == PRN_OK) status = first(&r, m);
  prn_ctx_destroy(ctx);
  if (status == PRN_OK) status = reduce(&r);
  prn_progress_end(&r.progress);
  if (status == PRN_OK)
    printf("%s: %lld steps, %lld runs of the test\n", r.output.data,
           (long long)r.taken, (long long)r.tests);
  clean(&r);
  return status;
}

int main(int argc, char **argv) {
  prn_diag_sink sink = {0};
  settings s = {.max_tests = 100000};
  prn_cli_result r;
  prn_status status = prn_cli_parse(&cli, &sink, argc, argv, &s, &r);
  if (status == PRN_OK && !r.done) status = run(&sink, &s, r.args.at[0]);
  if (status == PRN_OK) status = prn_cli_flush(&sink);
  prn_cli_free(&cli, &s, &r);
  prn_diag_sink_destroy(&sink);
  return status == PRN_OK ? EXIT_SUCCESS : EXIT_FAILURE;
}
