#include "tools/handover.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "ir/support/signals.h"
#include "tools/cli.h"
#include "tools/model_io.h"

prn_status prn_handover_tool(prn_diag_sink *sink, const char *option,
                             prn_strbuf *out) {
  bool found = prn_cli_folder(out);
  prn_strbuf_cstr(out, "/prune-run");
  if (found && access(out->data, X_OK) == 0) return PRN_OK;
  return prn_diag_emit(sink, PRN_ERROR, (prn_loc){0}, PRN_STR(""),
                       "%s needs prune-run beside prune-opt: cannot run '%s': "
                       "%s",
                       option, out->data, strerror(errno));
}

/* ---- models without names ---- */

typedef struct held {
  prn_strbuf first; /* error */
} held;

static void hold(void *user, const prn_diag *d) {
  held *h = user;
  if (d->severity != PRN_ERROR || h->first.size) return;
  prn_strbuf_fmt(&h->first, "%.*s%s%.*s", PRN_STR_ARG(d->subject),
                 d->subject.size ? ": " : "", PRN_STR_ARG(d->text));
}

/* Writes m; errors go to *why. */
static prn_status export_quietly(prn_ctx *ctx, prn_module *m, const char *path,
                                 prn_strbuf *why) {
  prn_diag_sink *sink = prn_ctx_diags(ctx), was = *sink;
  prn_write_options o = {.format = PRN_FORMAT_ONNX,
                         .data = PRN_ONNX_DATA_EMBED};
  held h = {0};
  sink->handler = hold;
  sink->user = &h;
  prn_status status = prn_model_write(m, path, &o);
  sink->handler = was.handler;
  sink->user = was.user;
  sink->errors = was.errors;
  sink->warnings = was.warnings;
  if (status != PRN_OK)
    prn_strbuf_fmt(why, "it cannot be written as ONNX: %s",
                   h.first.data ? h.first.data : "no reason given");
  prn_strbuf_destroy(&h.first);
  return status;
}

static int write_in(prn_ctx *ctx, prn_module *m, const char *folder,
                    prn_strbuf *why) {
  prn_strbuf path = {0};
  int fd = -1;
  prn_strbuf_fmt(&path, "%s/model.onnx", folder);
  if (export_quietly(ctx, m, path.data, why) == PRN_OK) {
    fd = open(path.data, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
      prn_strbuf_fmt(why, "cannot read '%s': %s", path.data, strerror(errno));
    (void)unlink(path.data);
  }
  prn_strbuf_destroy(&path);
  return fd;
}

/* Signals by which users end the tool wait until the file is nameless. */
int prn_handover_write(prn_ctx *ctx, prn_module *m, prn_strbuf *why) {
  const char *dir = getenv("TMPDIR");
  if (!dir || !*dir) dir = "/tmp";
  prn_strbuf folder = {0};
  int fd = -1;
  prn_strbuf_fmt(&folder, "%s/prune-XXXXXX", dir);
  const sigset_t old = prn_hold_signals();
  if (mkdtemp(folder.data)) {
    fd = write_in(ctx, m, folder.data, why);
    (void)rmdir(folder.data);
  } else {
    prn_strbuf_fmt(why, "cannot write to '%s': %s", dir, strerror(errno));
  }
  prn_release_signals(&old);
  prn_strbuf_destroy(&folder);
  return fd;
}

const char *prn_handover_path(int fd, char path[PRN_HANDOVER_PATH]) {
  (void)snprintf(path, PRN_HANDOVER_PATH, "/proc/self/fd/%d", fd);
  return path;
}

/* ---- what the child said ---- */

bool prn_child_line(prn_str s, size_t *at, prn_str *line) {
  if (*at >= s.size) return false;
  const char *from = s.data + *at, *stop = memchr(from, '\n', s.size - *at);
  line->data = from;
  line->size = stop ? (size_t)(stop - from) : s.size - *at;
  *at += line->size + 1;
  return true;
}

void prn_child_error(const prn_child *c, prn_strbuf *b) {
  prn_str line, all = prn_strbuf_view(&c->err);
  static const char mark[] = "error: ";
  for (size_t at = 0; prn_child_line(all, &at, &line);) {
    const char *e = memmem(line.data, line.size, mark, sizeof mark - 1);
    if (!e) continue;
    const char *end = line.data + line.size, *where = line.data;
    if (prn_str_starts(line, "/proc/self/fd/")) {
      const char *colon = memchr(where, ' ', line.size);
      if (colon && colon < e) where = colon + 1;
    }
    prn_strbuf_str(b, (prn_str){where, (size_t)(e - where)});
    e += sizeof mark - 1;
    prn_strbuf_str(b, (prn_str){e, (size_t)(end - e)});
    return;
  }
  prn_strbuf_fmt(b, "prune-run ended with status %d", c->status);
}
