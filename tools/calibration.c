#include "tools/calibration.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "tools/handover.h"

static prn_status fail(const prn_calibration *c, const char *what,
                       const char *why) {
  return prn_diag_emit(prn_ctx_diags(c->ctx), PRN_ERROR, (prn_loc){0},
                       PRN_STR(""), "%s: %s", what, why);
}

/* "--profile-moments=block:64" */
static const char *moments_text(const prn_calibration *c, int64_t block) {
  prn_strbuf b = {0};
  prn_strbuf_cstr(&b, "--profile-moments=");
  if (block == 0)
    prn_strbuf_cstr(&b, "diagonal");
  else if (block == PRN_PROFILE_FULL)
    prn_strbuf_cstr(&b, "full");
  else
    prn_strbuf_fmt(&b, "block:%lld", (long long)block);
  const char *text = prn_intern(c->ctx, prn_strbuf_view(&b)).data;
  prn_strbuf_destroy(&b);
  return text;
}

/* What a child writes its profiles to, and what else it has open. */
enum { MOST = PRN_MAX_FOLDS };
typedef struct run {
  int model, out[MOST];
  size_t num_out;
} run;

/* Runs the model; its profiles go to the descriptors of r->out. */
static prn_status run_child(const prn_calibration *c, const run *r,
                            const prn_str *values, size_t n, int64_t block) {
  char path[PRN_HANDOVER_PATH], threads[PRN_HANDOVER_PATH],
      reference[PRN_HANDOVER_PATH], out[MOST][PRN_HANDOVER_PATH];
  int keep[MOST + 2] = {r->model};
  size_t k = 0, num_keep = 1;
  prn_child child;
  prn_strbuf why = {0};
  const char **argv = prn_alloc(prn_array_size(
      sizeof *argv, 10 + 2 * r->num_out + 2 * c->data->size + 2 * n));
  (void)snprintf(threads, sizeof threads, "--threads=%lld",
                 (long long)c->threads);
  argv[k++] = c->tool.data;
  argv[k++] = prn_handover_path(r->model, path);
  argv[k++] = moments_text(c, block);
  argv[k++] = threads;
  for (size_t i = 0; i < r->num_out; i++) {
    argv[k++] = "--profile-out";
    argv[k++] = prn_handover_path(r->out[i], out[i]);
    keep[num_keep++] = r->out[i];
  }
  if (c->reference >= 0) {
    argv[k++] = "--reference";
    argv[k++] = prn_handover_path(c->reference, reference);
    keep[num_keep++] = c->reference;
  }
  for (size_t i = 0; i < c->data->size; i++) {
    argv[k++] = "--inputs";
    argv[k++] = c->data->at[i];
  }
  for (size_t i = 0; i < n; i++) {
    argv[k++] = "--observe";
    argv[k++] = prn_intern(c->ctx, values[i]).data;
  }
  argv[k] = NULL;
  prn_status status =
      prn_child_run(prn_ctx_diags(c->ctx), argv, keep, num_keep, &child);
  prn_free(argv);
  if (status == PRN_OK && child.status != 0) {
    prn_child_error(&child, &why);
    status =
        fail(c, "cannot run the model on the data of --calibration", why.data);
  }
  prn_strbuf_destroy(&why);
  prn_child_destroy(&child);
  return status;
}

static prn_status read_back(const prn_calibration *c, int fd,
                            prn_profile *out) {
  char path[PRN_HANDOVER_PATH];
  return prn_profile_read(prn_ctx_diags(c->ctx), prn_handover_path(fd, path),
                          out);
}

static prn_status observe(prn_observer *self, prn_module *m,
                          const prn_str *values, size_t n, int64_t block,
                          prn_profile *out, size_t folds) {
  const prn_calibration *c = (const prn_calibration *)self;
  prn_strbuf why = {0};
  prn_status status = PRN_OK;
  memset(out, 0, folds * sizeof *out);
  run r = {.model = prn_handover_write(c->ctx, m, &why)};
  if (r.model < 0) status = fail(c, "cannot run the model", why.data);
  while (status == PRN_OK && r.num_out < folds) {
    int fd = memfd_create("profile", MFD_CLOEXEC);
    if (fd < 0)
      status = fail(c, "cannot keep a profile", strerror(errno));
    else
      r.out[r.num_out++] = fd;
  }
  if (status == PRN_OK) status = run_child(c, &r, values, n, block);
  for (size_t i = 0; i < r.num_out; i++) {
    if (status == PRN_OK) status = read_back(c, r.out[i], &out[i]);
    (void)close(r.out[i]);
  }
  if (r.model >= 0) (void)close(r.model);
  prn_strbuf_destroy(&why);
  return status;
}

/* Constants whose masks were taken off. */
typedef struct bared {
  prn_op **ops;
  const prn_attr **values;
  size_t size, cap;
} bared;

static prn_status bare(void *user, prn_op *op) {
  bared *b = user;
  const prn_attr *a = prn_op_attr(op, "value");
  if (!a || a->kind != PRN_ATTR_TENSOR || !a->tensor->mask) return PRN_OK;
  if (b->size == b->cap) {
    b->cap = b->cap ? 2 * b->cap : 32;
    b->ops = prn_realloc(b->ops, prn_array_size(sizeof *b->ops, b->cap));
    b->values =
        prn_realloc(b->values, prn_array_size(sizeof *b->values, b->cap));
  }
  b->ops[b->size] = op;
  b->values[b->size++] = a;
  prn_ctx *ctx = op->module->ctx;
  prn_tensor *t = prn_tensor_clone(ctx, a->tensor);
  t->mask = NULL;
  prn_op_set_attr(op, "value", prn_attr_tensor(ctx, t));
  return PRN_OK;
}

/* Writes the module as if nothing were masked. */
static int write_bare(prn_ctx *ctx, prn_module *m, prn_strbuf *why) {
  bared b = {0};
  int fd = -1;
  if (prn_walk(m->body, true, bare, &b) == PRN_OK)
    fd = prn_handover_write(ctx, m, why);
  for (size_t i = 0; i < b.size; i++)
    prn_op_set_attr(b.ops[i], "value", b.values[i]);
  prn_free(b.ops);
  prn_free(b.values);
  return fd;
}

static prn_status pair(prn_observer *self, prn_module *m) {
  prn_calibration *c = (prn_calibration *)self;
  prn_strbuf why = {0};
  if (c->reference >= 0) (void)close(c->reference);
  c->reference = m ? write_bare(c->ctx, m, &why) : -1;
  prn_status status = PRN_OK;
  if (m && c->reference < 0) status = fail(c, "cannot run the model", why.data);
  prn_strbuf_destroy(&why);
  return status;
}

prn_status prn_calibration_init(prn_calibration *c, prn_ctx *ctx,
                                const prn_cli_list *data, int64_t threads) {
  *c = (prn_calibration){.base = {.pair = pair, .observe = observe},
                         .ctx = ctx,
                         .data = data,
                         .threads = threads,
                         .reference = -1};
  return prn_handover_tool(prn_ctx_diags(ctx), "--calibration", &c->tool);
}

void prn_calibration_destroy(prn_calibration *c) {
  if (c->base.pair && c->reference >= 0) (void)close(c->reference);
  prn_strbuf_destroy(&c->tool);
}
