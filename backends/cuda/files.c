/* The folder: all files of a program, written together. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "backends/cuda/cuda.h"
#include "backends/cuda/host/prune_cuda_model.h"
#include "backends/cuda/texts.h"
#include "backends/cuda/write.h"

/* ---- kernels ---- */

/* The nodes that function f computes, in a comment. */
static void users(const prn_cu *c, uint32_t f, prn_strbuf *b) {
  enum { SHOWN = 4 };
  uint32_t n = 0;
  prn_strbuf_cstr(b, "/* ");
  for (uint32_t s = 0; s < c->num_steps; s++)
    for (uint32_t v = 0; v < c->steps[s].num_variants; v++) {
      const prn_cu_variant *way = &c->steps[s].variants[v];
      bool runs = way->how == PRUNE_CUDA_KERNEL || way->after;
      if (!runs || way->kernel != f) continue;
      prn_str name = prn_cu_step_name(c->steps[s].op);
      if (n++ >= SHOWN) continue;
      if (n > 1) prn_strbuf_cstr(b, ", ");
      for (size_t i = 0; i < name.size; i++) {
        unsigned char ch = (unsigned char)name.data[i];
        bool bad = ch < 32 || ch > 126 || ch == '*' || ch == '\\';
        prn_strbuf_char(b, bad ? '.' : (char)ch);
      }
    }
  if (n > SHOWN) prn_strbuf_fmt(b, " and %u more", n - SHOWN);
  prn_strbuf_cstr(b, " */\n");
}

void prn_cu_kernels_text(const prn_cu *c, prn_strbuf *b) {
  prn_strbuf_fmt(b,
                 "/* Kernels of the model %s. Written by prunec. */\n"
                 "#define PMK_POINTERS %u\n#define PMK_SYMBOLS %u\n"
                 "#include \"prune_kernels.h\"\n",
                 c->prefix, c->num_pointers ? c->num_pointers : 1,
                 c->num_symbols ? c->num_symbols : 1);
  for (uint32_t i = 0; i < c->num_functions; i++) {
    prn_strbuf_char(b, '\n');
    users(c, i, b);
    /* Behind the line that tells functions of other threads apart. */
    prn_str text = c->functions[i].text;
    const char *line = memchr(text.data, '\n', text.size);
    prn_strbuf_fmt(b, "PMK_KERNEL(%s, %u", c->functions[i].name,
                   c->functions[i].threads);
    if (c->functions[i].blocks > 1)
      prn_strbuf_fmt(b, ", %u", c->functions[i].blocks);
    prn_strbuf_fmt(b, ") {%s}\n", line);
  }
}

/* ---- the plan ---- */

static void dim_json(prn_dim d, prn_strbuf *b) {
  prn_strbuf t = {0};
  int64_t v;
  if (prn_dim_is_const(d, &v)) {
    prn_strbuf_fmt(b, "%lld", (long long)v);
    return;
  }
  prn_dim_print(&t, d);
  prn_strbuf_json(b, prn_strbuf_view(&t));
  prn_strbuf_destroy(&t);
}

static void variant_json(const prn_cu *c, const prn_cu_variant *v,
                         prn_strbuf *b) {
  prn_strbuf_char(b, '{');
  if (v->how == PRUNE_CUDA_KERNEL || v->after)
    prn_strbuf_fmt(b, "\"kernel\": \"%s\", ", c->functions[v->kernel].name);
  prn_strbuf_cstr(b, "\"how\": ");
  prn_strbuf_json(b, prn_str_from(v->why));
  prn_strbuf_cstr(b, ", \"grid\": [");
  for (int i = 0; i < 3; i++) {
    if (i) prn_strbuf_cstr(b, ", ");
    dim_json(v->grid[i], b);
  }
  prn_strbuf_char(b, ']');
  if (v->rows) {
    prn_strbuf_cstr(b, ", \"rows\": ");
    dim_json(v->rows, b);
    prn_strbuf_fmt(b, ", \"min_rows\": %lld", (long long)v->min_rows);
    if (v->max_rows != INT64_MAX)
      prn_strbuf_fmt(b, ", \"max_rows\": %lld", (long long)v->max_rows);
  }
  if (v->arch) prn_strbuf_fmt(b, ", \"arch\": %d", (int)v->arch);
  prn_strbuf_char(b, '}');
}

static const prn_cu_record *weights_of(const prn_cu_blob *blob,
                                       const prn_op *op) {
  for (uint32_t i = 0; i < op->num_operands; i++) {
    const prn_value *v = prn_op_operand(op, i);
    const prn_op *w = v ? prn_cu_constant(v) : NULL;
    for (uint32_t r = 0; w && r < blob->num; r++)
      if (blob->at[r].kind != 0 &&
          blob->at[r].offset == (uint64_t)prn_op_int(w, "offset", 0))
        return &blob->at[r];
  }
  return NULL;
}

void prn_cu_plan_text(const prn_cu *c, const prn_cu_blob *blob, prn_strbuf *b) {
  static const char *const kinds[] = {"dense", "nk", "nm24", "bitmap", "bsr"};
  prn_strbuf_fmt(b, "{\"model\": \"%s\", \"weights\": %llu, \"arena\": ",
                 c->prefix, (unsigned long long)blob->size);
  const prn_attr *arena = prn_op_attr(c->func, "arena");
  dim_json(arena ? arena->dim : prn_dim_const(c->ctx, 0), b);
  prn_strbuf_cstr(b, ", \"steps\": [\n");
  for (uint32_t s = 0; s < c->num_steps; s++) {
    const prn_cu_step *step = &c->steps[s];
    const prn_cu_record *w = weights_of(blob, step->op);
    prn_strbuf_cstr(b, "  {\"node\": ");
    prn_strbuf_json(b, prn_cu_step_name(step->op));
    prn_strbuf_fmt(b, ", \"op\": \"mem.%.*s\"",
                   PRN_STR_ARG(step->op->opname->name));
    if (w)
      prn_strbuf_fmt(b,
                     ", \"weights\": {\"format\": \"%s\", \"type\": \"%s\", "
                     "\"k\": %lld, \"n\": %lld, \"bytes\": %llu}",
                     kinds[w->kind], prn_dtype_name(w->type), (long long)w->k,
                     (long long)w->n, (unsigned long long)w->size);
    prn_strbuf_cstr(b, ", \"variants\": [");
    for (uint32_t v = 0; v < step->num_variants; v++) {
      if (v) prn_strbuf_cstr(b, ", ");
      variant_json(c, &step->variants[v], b);
    }
    prn_strbuf_fmt(b, "]}%s\n", s + 1 < c->num_steps ? "," : "");
  }
  prn_strbuf_cstr(b, "]}\n");
}

/* ---- the folder ---- */

enum { MAX_FILES = 48 };

typedef struct folder {
  prn_diag_sink *sink;
  const char *dir;
  prn_out *outs[MAX_FILES];
  size_t num;
} folder;

static prn_status open_file(folder *f, const char *name, prn_out **out) {
  prn_strbuf path = {0};
  prn_strbuf_fmt(&path, "%s/%s", f->dir, name);
  prn_status s = prn_out_open(f->sink, path.data, out);
  prn_strbuf_destroy(&path);
  if (s == PRN_OK) f->outs[f->num++] = *out;
  return s;
}

static prn_status add_text(folder *f, const char *name, prn_str text) {
  prn_out *out;
  PRN_TRY(open_file(f, name, &out));
  prn_out_write(out, text.data, text.size);
  return PRN_OK;
}

typedef void printer(prn_cu *c, const prn_cu_blob *blob, prn_strbuf *b);

static void print_kernels(prn_cu *c, const prn_cu_blob *blob, prn_strbuf *b) {
  (void)blob;
  prn_cu_kernels_text(c, b);
}
static void print_header(prn_cu *c, const prn_cu_blob *blob, prn_strbuf *b) {
  (void)blob;
  prn_cu_header_text(c, b);
}
static void print_plan(prn_cu *c, const prn_cu_blob *blob, prn_strbuf *b) {
  prn_cu_plan_text(c, blob, b);
}

/* A template: @NAME@ stands for the prefix. */
static void fill_in(prn_str text, const char *prefix, prn_strbuf *b) {
  static const char mark[] = "@NAME@";
  for (size_t i = 0; i < text.size; i++) {
    if (text.size - i >= sizeof mark - 1 &&
        memcmp(text.data + i, mark, sizeof mark - 1) == 0) {
      prn_strbuf_cstr(b, prefix);
      i += sizeof mark - 2;
    } else {
      prn_strbuf_char(b, text.data[i]);
    }
  }
}

static prn_status fill(folder *f, prn_cu *c, const prn_cu_blob *blob) {
  static const struct {
    const char *ending;
    printer *print;
  } made[] = {{"_kernels.cu", print_kernels},
              {"_host.c", prn_cu_host_text},
              {".h", print_header},
              {"_plan.json", print_plan}};
  prn_out *out;
  prn_status s = PRN_OK;
  for (size_t i = 0; i < PRN_COUNT(made) && s == PRN_OK; i++) {
    prn_strbuf text = {0};
    made[i].print(c, blob, &text);
    s = add_text(f, prn_cu_str(c, "%s%s", c->prefix, made[i].ending),
                 prn_strbuf_view(&text));
    prn_strbuf_destroy(&text);
  }
  for (const prn_cu_file *file = prn_cu_files; file->name && s == PRN_OK;
       file++) {
    prn_strbuf text = {0};
    fill_in((prn_str){file->data, file->size}, c->prefix, &text);
    s = add_text(f, file->name, prn_strbuf_view(&text));
    prn_strbuf_destroy(&text);
  }
  if (s == PRN_OK) s = open_file(f, prn_cu_str(c, "%s.blob", c->prefix), &out);
  if (s == PRN_OK) prn_cu_blob_write(c, blob, out);
  return s;
}

static prn_status write_folder(prn_cu *c, const char *dir) {
  folder f = {.sink = prn_ctx_diags(c->ctx), .dir = dir};
  prn_cu_blob blob;
  if (mkdir(dir, 0777) != 0 && errno != EEXIST)
    return prn_diag_emit(f.sink, PRN_ERROR, (prn_loc){0}, (prn_str){0},
                         "%s: %s", dir, strerror(errno));
  prn_status s = prn_cu_blob_of(c, &blob);
  if (s == PRN_OK) s = fill(&f, c, &blob);
  prn_free(blob.at);
  if (s == PRN_OK) return prn_out_commit_all(f.outs, f.num);
  for (size_t i = 0; i < f.num; i++)
    prn_out_abandon(f.outs[i]);
  return s;
}

static prn_status write_kernels(const prn_cu *c, const char *path) {
  prn_strbuf text = {0};
  prn_out *out;
  PRN_TRY(prn_out_open(prn_ctx_diags(c->ctx), path, &out));
  prn_cu_kernels_text(c, &text);
  prn_out_write(out, text.data, text.size);
  prn_strbuf_destroy(&text);
  return prn_out_commit(out);
}

prn_status prn_cuda_write_kernels(prn_module *m, const char *prefix,
                                  const char *path) {
  prn_cu c;
  prn_status s = prn_cu_build(&c, m, prefix);
  if (s == PRN_OK) s = write_kernels(&c, path);
  prn_cu_destroy(&c);
  return s;
}

prn_status prn_cuda_write(prn_module *m, const char *prefix, const char *dir) {
  prn_cu c;
  prn_status s = prn_cu_build(&c, m, prefix);
  if (s == PRN_OK) s = write_folder(&c, dir);
  prn_cu_destroy(&c);
  return s;
}
