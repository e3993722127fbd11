/* The backend's outside; see compile.h. */
#include "backends/llvm/compile.h"

#include <assert.h>
#include <dlfcn.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "backends/llvm/abi_text.h"
#include "backends/llvm/build.h"
#include "backends/llvm/header.h"
#include "backends/llvm/jit.h"
#include "backends/llvm/library.h"
#include "backends/llvm/link.h"
#include "backends/llvm/object.h"
#include "backends/llvm/variants.h"

struct prn_program {
  prn_jit *jit;
  void *library; /* dlopen */
  prn_ctx *ctx;  /* in process: what holds the weights */
  const void *weights;
  prune_model model;
};

static prn_status fail(prn_diag_sink *sink, const char *path,
                       const char *what) {
  return prn_diag_emit(sink, PRN_ERROR, (prn_loc){0}, (prn_str){0}, "%s: %s",
                       path, what);
}

prn_status prn_compile_tile(prn_diag_sink *sink, const prn_target_spec *spec,
                            prn_tile *out) {
  prn_target *t;
  PRN_TRY(prn_target_create(sink, spec, &t));
  *out = (prn_tile){(int)prn_target_nr(t), (int)t->mr, prn_target_machine(t),
                    t->dot16, t->dot8};
  prn_target_destroy(t);
  return PRN_OK;
}

static prn_status check_host(prn_diag_sink *sink, const prn_target *t) {
  if (!t->host) return fail(sink, t->triple, "code for it cannot run here");
  if (prn_target_runs_here(t)) return PRN_OK;
  return fail(sink, t->cpu, "this CPU cannot run code for it");
}

prn_status prn_compile_check_host(prn_diag_sink *sink,
                                  const prn_target_spec *spec,
                                  prn_strbuf *name) {
  prn_target *t;
  PRN_TRY(prn_target_create(sink, spec, &t));
  prn_status s = check_host(sink, t);
  if (name) prn_strbuf_fmt(name, "%s %s %s", t->triple, t->cpu, t->features);
  prn_target_destroy(t);
  return s;
}

/* Code of func in the form asked for, appended to out. */
static prn_status emit(prn_op *func, const prn_target *target,
                       const char *prefix, bool embedded,
                       prn_kernel_times *profile, prn_emit_kind kind,
                       prn_strbuf *out) {
  prn_cg *g;
  PRN_TRY(prn_build(target, func, prefix, embedded, profile, &g));
  prn_status s = prn_target_emit(prn_ctx_diags(func->module->ctx), target,
                                 g->mod, kind, out);
  prn_cg_destroy(g);
  return s;
}

/* ---- files ---- */

static void to_out(void *user, const void *data, size_t size) {
  prn_out_write(user, data, size);
}

static void to_stdio(void *user, const void *data, size_t size) {
  (void)fwrite(data, 1, size, user);
}

typedef struct names {
  char weights[256], model[256];
} names;

static names names_of(const char *prefix) {
  names n;
  snprintf(n.weights, sizeof n.weights, "%s_weights", prefix);
  snprintf(n.model, sizeof n.model, "%s_model", prefix);
  return n;
}

/* What a file is made of. */
typedef struct parts {
  prn_diag_sink *sink;
  const prn_target *target;
  const char *prefix;
  prn_weights weights;
  prn_strbuf code;
} parts;

/* The object goes to a temporary file beside the library: the linker reads
 * it from there. */
static prn_status write_shared(const parts *p, const char *path) {
  prn_strbuf t = {0};
  prn_strbuf_fmt(&t, "%s.o.XXXXXX", path);
  int fd = mkstemp(t.data);
  FILE *f = fd < 0 ? NULL : fdopen(fd, "wb");
  prn_status s = PRN_OK;
  if (!f) {
    s = fail(p->sink, path, strerror(errno));
    if (fd >= 0) close(fd);
  } else {
    names n = names_of(p->prefix);
    prn_object_write(prn_strbuf_view(&p->code), n.weights, &p->weights,
                     to_stdio, f);
    bool bad = ferror(f) != 0;
    if (fclose(f) != 0 || bad) s = fail(p->sink, path, strerror(errno));
    if (s == PRN_OK) s = prn_link_shared(p->sink, p->target, t.data, path);
  }
  if (fd >= 0) unlink(t.data);
  prn_strbuf_destroy(&t);
  return s;
}

static prn_status write_code(const parts *p, prn_artefact kind,
                             const char *path) {
  prn_out *out;
  names n = names_of(p->prefix);
  prn_str code = prn_strbuf_view(&p->code);
  PRN_TRY(prn_out_open(p->sink, path, &out));
  if (kind == PRN_ARTEFACT_O)
    prn_object_write(code, n.weights, &p->weights, to_out, out);
  else if (kind == PRN_ARTEFACT_A)
    prn_archive_write(code, n.weights, n.model, "model.o", &p->weights, to_out,
                      out);
  else
    prn_out_write(out, code.data, code.size);
  return prn_out_commit(out);
}

/* Programs of all variants, in order, as one. */
static prn_status build_all(prn_diag_sink *sink, prn_target *const *targets,
                            prn_op *const *funcs, size_t n, const char *prefix,
                            prn_cg **out) {
  prn_cg *programs[PRN_VARIANTS_MAX];
  size_t made = 0;
  while (made < n && prn_build(targets[made], funcs[made], prefix, true, NULL,
                               &programs[made]) == PRN_OK)
    made++;
  if (made == n) return prn_variants_join(sink, programs, n, prefix, out);
  while (made > 0)
    prn_cg_destroy(programs[--made]);
  return PRN_FAIL;
}

static prn_status compile_all(prn_diag_sink *sink, const prn_variant *v,
                              prn_target *const *targets, size_t n,
                              const char *prefix, prn_artefact kind,
                              const char *path) {
  static const prn_emit_kind kinds[] = {
      [PRN_ARTEFACT_SO] = PRN_EMIT_OBJECT, [PRN_ARTEFACT_A] = PRN_EMIT_OBJECT,
      [PRN_ARTEFACT_O] = PRN_EMIT_OBJECT,  [PRN_ARTEFACT_S] = PRN_EMIT_ASSEMBLY,
      [PRN_ARTEFACT_LL] = PRN_EMIT_LLVM,
  };
  size_t order[PRN_VARIANTS_MAX];
  prn_target *sorted[PRN_VARIANTS_MAX] = {0};
  prn_op *funcs[PRN_VARIANTS_MAX];
  prn_cg *g;
  PRN_TRY(prn_variants_order(sink, targets, n, order));
  for (size_t i = 0; i < n; i++) {
    sorted[i] = targets[order[i]];
    PRN_TRY(prn_module_program(v[order[i]].m, &funcs[i]));
  }
  parts p = {.sink = sink,
             .target = sorted[0],
             .prefix = prefix,
             .weights = {funcs, n}};
  if (n > 1) prn_weights_share(&p.weights);
  PRN_TRY(build_all(sink, sorted, funcs, n, prefix, &g));
  prn_status s = prn_target_emit(sink, sorted[0], g->mod, kinds[kind], &p.code);
  prn_cg_destroy(g);
  if (s == PRN_OK)
    s = kind == PRN_ARTEFACT_SO ? write_shared(&p, path)
                                : write_code(&p, kind, path);
  prn_strbuf_destroy(&p.code);
  return s;
}

prn_status prn_compile_variants(prn_diag_sink *sink, const prn_variant *v,
                                size_t n, const char *prefix, prn_artefact kind,
                                const char *path) {
  prn_target *targets[PRN_VARIANTS_MAX];
  prn_status s = PRN_OK;
  size_t made = 0;
  assert(n > 0 && n <= PRN_VARIANTS_MAX);
  while (s == PRN_OK && made < n) {
    s = prn_target_create(sink, &v[made].target, &targets[made]);
    made += s == PRN_OK;
  }
  if (s == PRN_OK) s = compile_all(sink, v, targets, n, prefix, kind, path);
  while (made > 0)
    prn_target_destroy(targets[--made]);
  return s;
}

prn_status prn_compile_file(prn_module *m, const prn_compile_options *o,
                            prn_artefact kind, const char *path) {
  prn_variant v = {m, o->target};
  return prn_compile_variants(prn_ctx_diags(m->ctx), &v, 1, o->prefix, kind,
                              path);
}

static prn_status write_text(prn_diag_sink *sink, prn_str text,
                             const char *path) {
  prn_out *out;
  PRN_TRY(prn_out_open(sink, path, &out));
  prn_out_write(out, text.data, text.size);
  return prn_out_commit(out);
}

prn_status prn_compile_header(prn_module *m, const prn_compile_options *o,
                              const char *path) {
  prn_op *func;
  prn_strbuf text = {0};
  PRN_TRY(prn_module_program(m, &func));
  prn_header_print(func, o->prefix, &text);
  prn_status s =
      write_text(prn_ctx_diags(m->ctx), prn_strbuf_view(&text), path);
  prn_strbuf_destroy(&text);
  return s;
}

prn_status prn_compile_pool_header(prn_diag_sink *sink, const char *path) {
  return write_text(sink, (prn_str){prn_pool_text, prn_pool_text_size}, path);
}

/* ---- in this process ---- */

typedef struct cursor {
  char *at;
} cursor;

static void append(void *user, const void *data, size_t size) {
  cursor *c = user;
  memcpy(c->at, data, size);
  c->at += size;
}

/* Large weights go to a mapped scratch file, whose pages can leave memory. It
 * goes with the program, so that who compiles many keeps only what is used. */
static prn_status load_weights(prn_op *func, prn_program *p) {
  enum { LINE = 64 };
  const prn_blob *blob;
  void *memory;
  size_t size = (size_t)prn_weights_size(func);
  if (size == 0) return PRN_OK;
  const prn_diag_sink *sink = prn_ctx_diags(func->module->ctx);
  p->ctx = prn_ctx_create();
  prn_ctx_diags(p->ctx)->handler = sink->handler;
  prn_ctx_diags(p->ctx)->user = sink->user;
  PRN_TRY(prn_blob_scratch(p->ctx, size + LINE, &blob, &memory));
  size_t skip = (LINE - (uintptr_t)memory % LINE) % LINE;
  cursor c = {(char *)memory + skip};
  p->weights = c.at;
  prn_weights_write(&(prn_weights){&func, 1}, append, &c);
  return PRN_OK;
}

static prn_status load_code(prn_op *func, const prn_target *target,
                            prn_kernel_times *profile, prn_program *p) {
  prn_diag_sink *sink = prn_ctx_diags(func->module->ctx);
  prn_strbuf object = {0};
  uintptr_t address = 0;
  PRN_TRY(check_host(sink, target));
  prn_status s =
      emit(func, target, "jit", false, profile, PRN_EMIT_OBJECT, &object);
  if (s == PRN_OK) s = prn_jit_create(sink, &p->jit);
  if (s == PRN_OK) s = prn_jit_add(p->jit, sink, prn_strbuf_view(&object));
  if (s == PRN_OK) s = prn_jit_find(p->jit, sink, "jit_model", &address);
  prn_strbuf_destroy(&object);
  if (s == PRN_OK) p->model = *((const prune_model *(*)(void))address)();
  return s;
}

static prn_program *new_program(void) {
  prn_program *p = prn_alloc(sizeof *p);
  memset(p, 0, sizeof *p);
  return p;
}

prn_status prn_compile_jit(prn_module *m, const prn_compile_options *o,
                           prn_program **out) {
  prn_target *target;
  prn_op *func;
  PRN_TRY(prn_module_program(m, &func));
  PRN_TRY(prn_target_create(prn_ctx_diags(m->ctx), &o->target, &target));
  prn_program *p = new_program();
  prn_status s = load_code(func, target, o->profile, p);
  if (s == PRN_OK) s = load_weights(func, p);
  prn_target_destroy(target);
  if (s == PRN_OK)
    *out = p;
  else
    prn_program_destroy(p);
  return s;
}

static prn_status open_library(prn_diag_sink *sink, const char *path,
                               prn_program *p) {
  prn_strbuf symbol = {0};
  PRN_TRY(prn_library_symbol(sink, path, &symbol));
  /* Without a slash dlopen would search the system's folders. */
  prn_strbuf full = {0};
  prn_strbuf_fmt(&full, "%s%s", strchr(path, '/') ? "" : "./", path);
  p->library = dlopen(full.data, RTLD_NOW | RTLD_LOCAL);
  prn_strbuf_destroy(&full);
  void *address = p->library ? dlsym(p->library, symbol.data) : NULL;
  prn_strbuf_destroy(&symbol);
  if (!address) return fail(sink, path, dlerror());
  p->model = *((const prune_model *(*)(void))(uintptr_t)address)();
  p->weights = p->model.weights;
  if (p->model.abi != PRUNE_ABI)
    return fail(sink, path, "was made by another version of prunec");
  return PRN_OK;
}

prn_status prn_program_open(prn_diag_sink *sink, const char *path,
                            prn_program **out) {
  prn_program *p = new_program();
  if (open_library(sink, path, p) != PRN_OK) {
    prn_program_destroy(p);
    return PRN_FAIL;
  }
  *out = p;
  return PRN_OK;
}

const prune_model *prn_program_model(const prn_program *p) { return &p->model; }

const void *prn_program_weights(const prn_program *p) { return p->weights; }

void prn_program_destroy(prn_program *p) {
  if (!p) return;
  prn_jit_destroy(p->jit);
  if (p->library) dlclose(p->library);
  prn_ctx_destroy(p->ctx);
  prn_free(p);
}
