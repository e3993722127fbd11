#include "tools/reproducer.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "ir/context.h"
#include "ir/support/file.h"

/* Inputs above this size are named, not copied. */
enum { MAX_INLINE = 64 << 20, STACK = 64 << 10 };

static const int signals[] = {SIGSEGV, SIGABRT, SIGBUS, SIGFPE, SIGILL};

/* A signal handler has no argument of ours: the one variable of the tool that
 * changes. Set while passes run. */
static prn_reproducer *volatile current;

/* ---- in the handler: system calls only ---- */

static bool write_all(int fd, const char *p, size_t n) {
  while (n) {
    ssize_t k = write(fd, p, n);
    if (k > 0) {
      p += k;
      n -= (size_t)k;
    } else if (k == 0 || errno != EINTR) {
      return false;
    }
  }
  return true;
}

static bool write_buf(int fd, const prn_strbuf *b) {
  return write_all(fd, b->data, b->size);
}

static void say(const char *text) { (void)write_all(2, text, strlen(text)); }

static void write_reproducer(prn_reproducer *r) {
  if (r->written) return;
  r->written = true;
  int fd = open(r->temp.data, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
  bool ok = fd >= 0 && write_buf(fd, &r->header) && write_buf(fd, &r->pass) &&
            write_buf(fd, &r->input_line) &&
            write_all(fd, r->input, r->input_size);
  if (fd >= 0 && close(fd) != 0) ok = false;
  if (ok && rename(r->temp.data, r->path) == 0) {
    say("note: prune-opt --run-reproducer ");
    say(r->path);
    say("  runs this again\n");
  } else {
    (void)unlink(r->temp.data);
    say("warning: the crash reproducer could not be written\n");
  }
}

static void on_signal(int number) {
  prn_reproducer *r = current;
  current = NULL;
  if (r) {
    say("error: prune-opt crashed in pass ");
    say(r->pass.size > 9 ? r->pass.data + 9 : "0\n");
    write_reproducer(r);
  }
  (void)raise(number); /* reset by SA_RESETHAND: the default action */
}

/* ---- around the passes ---- */

static void before(prn_instrument *self, const prn_pass_event *e) {
  prn_reproducer *r = (prn_reproducer *)self;
  r->pass.size = 0;
  prn_strbuf_fmt(&r->pass, "// pass: %u ", e->index);
  prn_pipeline_item_print(e->item, &r->pass);
  prn_strbuf_char(&r->pass, '\n');
}

static void after(prn_instrument *self, const prn_pass_event *e) {
  prn_reproducer *r = (prn_reproducer *)self;
  if (e->failed && !e->item->pass->nests) write_reproducer(r);
}

/* The absolute path, so that it holds in any folder. */
static void quote_path(const char *path, prn_strbuf *b) {
  char *full = realpath(path, NULL);
  prn_strbuf_quoted(b, prn_str_from(full ? full : path));
  free(full);
}

static void take_signals(void) {
  static char stack[STACK];
  stack_t alt = {.ss_sp = stack, .ss_size = sizeof stack};
  struct sigaction action;
  memset(&action, 0, sizeof action);
  action.sa_handler = on_signal;
  action.sa_flags = SA_ONSTACK | (int)SA_RESETHAND | SA_NODEFER;
  (void)sigemptyset(&action.sa_mask);
  (void)sigaltstack(&alt, NULL);
  for (size_t i = 0; i < PRN_COUNT(signals); i++)
    (void)sigaction(signals[i], &action, NULL);
}

void prn_reproducer_begin(prn_reproducer *r, const char *path,
                          const prn_pipeline *pipeline,
                          const prn_cli_list *plugins, const char *profile,
                          prn_file *input) {
  prn_str bytes = prn_file_bytes(input);
  bool is_stdin = strcmp(prn_file_path(input), "-") == 0;
  bool copied = bytes.size <= MAX_INLINE || is_stdin;
  *r = (prn_reproducer){.base = {.before = before, .after = after},
                        .path = path};
  r->input = bytes.data;
  r->input_size = copied ? bytes.size : 0;
  prn_strbuf_fmt(&r->temp, "%s.%ld.tmp", path, (long)getpid());
  prn_strbuf_fmt(&r->header,
                 "// prune reproducer 1\n"
                 "// run: prune-opt --run-reproducer %s\n"
                 "// version: %s\n",
                 path, PRN_VERSION);
  for (size_t i = 0; i < plugins->size; i++) {
    prn_strbuf_cstr(&r->header, "// plugin: ");
    quote_path(plugins->at[i], &r->header);
    prn_strbuf_char(&r->header, '\n');
  }
  if (profile) {
    prn_strbuf_cstr(&r->header, "// profile: ");
    quote_path(profile, &r->header);
    prn_strbuf_char(&r->header, '\n');
  }
  prn_strbuf_cstr(&r->header, "// pipeline: ");
  prn_pipeline_print(pipeline, &r->header);
  prn_strbuf_char(&r->header, '\n');
  prn_strbuf_cstr(&r->pass, "");
  prn_strbuf_cstr(&r->input_line, "// input: ");
  if (is_stdin)
    prn_strbuf_cstr(&r->input_line, "\"-\"");
  else
    quote_path(prn_file_path(input), &r->input_line);
  prn_strbuf_fmt(&r->input_line, " %zu\n", r->input_size);
  current = r;
  take_signals();
}

void prn_reproducer_end(prn_reproducer *r) {
  current = NULL;
  for (size_t i = 0; i < PRN_COUNT(signals); i++)
    (void)signal(signals[i], SIG_DFL);
  prn_strbuf_destroy(&r->temp);
  prn_strbuf_destroy(&r->header);
  prn_strbuf_destroy(&r->input_line);
  prn_strbuf_destroy(&r->pass);
}

/* ---- reading one ---- */

typedef struct reader {
  prn_ctx *ctx;
  prn_str text;
  size_t at;
} reader;

/* The value of a line "// key: value"; false at anything else. */
static bool take_line(reader *r, prn_str *key, prn_str *value) {
  const char *from = r->text.data + r->at;
  const char *stop = memchr(from, '\n', r->text.size - r->at);
  if (!stop || stop - from < 3 || memcmp(from, "// ", 3) != 0) return false;
  from += 3;
  const char *colon = memchr(from, ':', (size_t)(stop - from));
  *key = (prn_str){from, (size_t)((colon ? colon : stop) - from)};
  *value = (prn_str){"", 0};
  if (colon && stop - colon >= 2)
    *value = (prn_str){colon + 2, (size_t)(stop - colon - 2)};
  r->at = (size_t)(stop - r->text.data) + 1;
  return true;
}

/* "text" at the start of s, interned; *out_rest is what follows. */
static bool unquote(prn_ctx *ctx, prn_str s, prn_str *out, prn_str *out_rest) {
  prn_strbuf b = {0};
  size_t at = 0;
  bool ok = s.size && s.data[0] == '"' && prn_strbuf_unquote(&b, s, &at);
  *out = prn_intern(ctx, prn_strbuf_view(&b));
  prn_strbuf_destroy(&b);
  *out_rest = ok ? (prn_str){s.data + at, s.size - at} : s;
  return ok;
}

static void add_plugin(prn_cli_list *l, const char *path) {
  l->at = prn_realloc(l->at, prn_array_size(sizeof *l->at, l->size + 1));
  l->at[l->size++] = path;
}

static prn_status take_input(reader *r, prn_file *file, prn_str value,
                             prn_reproduced *out) {
  prn_str path, rest;
  char number[32];
  if (!unquote(r->ctx, value, &path, &rest) || rest.size >= sizeof number)
    return PRN_FAIL;
  memcpy(number, rest.data, rest.size);
  number[rest.size] = 0;
  unsigned long long size = strtoull(number, NULL, 10);
  if (size == 0)
    return prn_file_open(prn_ctx_diags(r->ctx), path.data, &out->input);
  if (size > r->text.size - r->at) return PRN_FAIL;
  out->input = prn_file_part(file, r->at, (size_t)size, path.data);
  return PRN_OK;
}

static prn_status read_lines(reader *r, prn_file *file, prn_reproduced *out) {
  prn_str key, value, plugin, rest;
  if (!take_line(r, &key, &value) || !prn_str_is(key, "prune reproducer 1"))
    return PRN_FAIL;
  while (take_line(r, &key, &value)) {
    if (prn_str_is(key, "pipeline")) out->pipeline = prn_intern(r->ctx, value);
    if (prn_str_is(key, "profile") &&
        !unquote(r->ctx, value, &out->profile, &rest))
      return PRN_FAIL;
    if (prn_str_is(key, "plugin")) {
      if (!unquote(r->ctx, value, &plugin, &rest)) return PRN_FAIL;
      add_plugin(&out->plugins, plugin.data);
    }
    if (prn_str_is(key, "input")) return take_input(r, file, value, out);
  }
  return PRN_FAIL;
}

prn_status prn_reproducer_read(prn_ctx *ctx, const char *path,
                               prn_reproduced *out) {
  prn_file *file;
  prn_diag_sink *sink = prn_ctx_diags(ctx);
  *out = (prn_reproduced){0};
  PRN_TRY(prn_file_open(sink, path, &file));
  reader r = {.ctx = ctx, .text = prn_file_bytes(file)};
  size_t errors = sink->errors;
  prn_status status = read_lines(&r, file, out);
  prn_file_release(file);
  if (status != PRN_OK && sink->errors == errors)
    return prn_diag_emit(sink, PRN_ERROR, (prn_loc){0}, (prn_str){"", 0},
                         "'%s' is not a reproducer of this tool", path);
  return status;
}
