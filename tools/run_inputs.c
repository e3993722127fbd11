/* prune-run: the user's inputs, in whatever files they are.
 *
 *   .npz            arrays called as the model's inputs are
 *   .npy            one, of the model's only input
 *   input_K.pb      an ONNX tensor: the input of its name, or else number K;
 *                   a sequence or an optional where that is one
 *   folder          of .npz files, each a sample; or of input_*.pb files, which
 *                   together are one; or of such folders, as test_data_set_*
 *
 * Samples are read one at a time. */
#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "frontends/onnx/import.h"
#include "tools/model_io.h"
#include "tools/run.h"

static prn_status fail(prn_ctx *ctx, const char *file, const char *what) {
  return prn_diag_emit(prn_ctx_diags(ctx), PRN_ERROR, (prn_loc){.file = file},
                       PRN_STR(""), "%s", what);
}

/* ---- folders ---- */

static void add_path(prn_cli_list *all, const char *path) {
  if (all->size == all->cap) {
    all->cap = all->cap ? 2 * all->cap : 64;
    all->at = prn_realloc(all->at, prn_array_size(sizeof *all->at, all->cap));
  }
  all->at[all->size++] = path;
}

static bool is_folder(const char *path) {
  struct stat st;
  return stat(path, &st) == 0 && S_ISDIR(st.st_mode);
}

static int by_name(const void *a, const void *b) {
  const char *const *x = a, *const *y = b;
  return strcmp(*x, *y);
}

static bool is_tensor(prn_str name) {
  return prn_str_starts(name, "input_") && prn_str_ends(name, ".pb");
}

static bool is_arrays(prn_str name) {
  return prn_str_ends(name, ".npz") || prn_str_ends(name, ".npy");
}

static bool is_set(prn_str name) {
  return prn_str_starts(name, "test_data_set_");
}

/* The paths of what a folder holds of a kind, by name. */
static prn_status list(prn_ctx *ctx, const char *path, bool (*kind)(prn_str),
                       prn_cli_list *all) {
  size_t before = all->size;
  DIR *dir = opendir(path);
  if (!dir) return fail(ctx, path, strerror(errno));
  for (const struct dirent *e; (e = readdir(dir));) {
    prn_strbuf b = {0};
    if (!kind(prn_str_from(e->d_name))) continue;
    prn_strbuf_fmt(&b, "%s/%s", path, e->d_name);
    add_path(all, prn_intern(ctx, prn_strbuf_view(&b)).data);
    prn_strbuf_destroy(&b);
  }
  (void)closedir(dir);
  if (all->size > before)
    qsort(all->at + before, all->size - before, sizeof *all->at, by_name);
  return PRN_OK;
}

static prn_status add_folder(prn_ctx *ctx, const char *path,
                             prn_cli_list *all) {
  size_t before = all->size;
  prn_cli_list tensors = {0};
  prn_status status = list(ctx, path, is_tensor, &tensors);
  if (status == PRN_OK && tensors.size)
    add_path(all, path);
  else if (status == PRN_OK)
    status = list(ctx, path, is_arrays, all);
  if (status == PRN_OK && all->size == before)
    status = list(ctx, path, is_set, all);
  prn_free(tensors.at);
  if (status != PRN_OK || all->size > before) return status;
  return fail(ctx, path, "holds no .npz file and no input_*.pb");
}

prn_status prn_run_list_inputs(prn_ctx *ctx, const prn_run_settings *s,
                               prn_cli_list *out) {
  if (!prn_run_has_inputs(s) && s->random_inputs < 0)
    return fail(ctx, NULL, "--profile-out needs the user's data: --inputs");
  for (size_t i = 0; i < s->inputs.size; i++) {
    const char *path = s->inputs.at[i];
    if (is_folder(path))
      PRN_TRY(add_folder(ctx, path, out));
    else
      add_path(out, path);
  }
  if (out->size == 0) add_path(out, NULL);
  return PRN_OK;
}

/* ---- inputs and outputs of the model ---- */

static bool fits_array(const prn_type *t) {
  while (prn_type_is_container(t))
    t = t->elem;
  return t->kind == PRN_TYPE_ANY ||
         (t->kind == PRN_TYPE_TENSOR && t->dtype != PRN_STRING);
}

static void find_outputs(prn_ctx *ctx, const prn_op *graph,
                         prn_interface *face) {
  const prn_op *ret = prn_op_block(graph, "body")->last;
  const prn_attr *names = prn_op_attr(graph, "outputs");
  uint32_t n =
      ret && prn_op_is(ret, PRN_OP_onnx_return) ? ret->num_operands : 0;
  face->out = PRN_ARENA_ARRAY(prn_ctx_arena(ctx), prn_port, n + 1);
  for (uint32_t i = 0; i < n; i++) {
    const prn_value *v = prn_op_operand(ret, i);
    prn_str name = v ? v->name : PRN_STR("");
    if (names && names->kind == PRN_ATTR_STRINGS && i < names->size)
      name = names->strings[i];
    face->out[face->num_out++] =
        (prn_port){prn_intern(ctx, name), v ? v->type : prn_type_any(ctx)};
  }
}

static void find_inputs(prn_ctx *ctx, const prn_block *body,
                        prn_interface *face) {
  face->in = PRN_ARENA_ARRAY(prn_ctx_arena(ctx), prn_port, body->num_args + 1);
  for (uint32_t i = 0; i < body->num_args; i++) {
    const prn_value *v = body->args[i];
    face->in[face->num_in++] = (prn_port){prn_intern(ctx, v->name), v->type};
    face->arrays = face->arrays && fits_array(v->type);
  }
}

/* Of the model's graph, in order. */
prn_status prn_run_find_interface(prn_ctx *ctx, const char *model,
                                  prn_interface *face) {
  prn_module *m;
  if (face->known) return PRN_OK;
  if (prn_str_ends(prn_str_from(model), ".so"))
    return fail(ctx, model,
                "the inputs of a library come from .npz files or "
                "--input NAME=FILE.npy");
  PRN_TRY(prn_model_read(ctx, model, &m));
  face->arrays = true;
  PRN_EACH_OP(top, m->body) {
    const prn_block *body = prn_op_block(top, "body");
    if (!prn_op_is(top, PRN_OP_onnx_graph) || !body || face->in) continue;
    find_inputs(ctx, body, face);
    find_outputs(ctx, top, face);
  }
  face->known = true;
  prn_module_destroy(m);
  return PRN_OK;
}

static const prn_port *find_port(const prn_interface *face, prn_str name) {
  for (size_t i = 0; i < face->num_in; i++)
    if (prn_str_eq(face->in[i].name, name)) return &face->in[i];
  return NULL;
}

/* ---- reading ---- */

static prn_status to_array(prn_ctx *ctx, const prn_tensor *t, prn_str name,
                           const char *path, prn_arrays *out) {
  prn_array a;
  int64_t dims[PRN_ARRAY_MAX_RANK];
  prn_loc loc = {.file = path};
  if (!t->data || t->type->rank > PRN_ARRAY_MAX_RANK)
    return prn_diag_emit(prn_ctx_diags(ctx), PRN_ERROR, loc, PRN_STR(""),
                         "tensors of type %s are not supported here",
                         prn_type_str(ctx, t->type));
  for (int32_t i = 0; i < t->type->rank; i++)
    (void)prn_dim_is_const(t->type->dims[i], &dims[i]);
  if (!prn_array_init(&a, prn_intern(ctx, name), t->type->dtype, t->type->rank,
                      dims))
    return fail(ctx, path, "no memory for the tensor");
  prn_tensor_read_bytes(t, 0, a.count, a.data);
  prn_arrays_add(out, a);
  return PRN_OK;
}

/* "x=3", "x=some" or "x=none". */
static void note_elements(prn_ctx *ctx, const prn_port *port,
                          const prn_onnx_value *v, prn_cli_list *elements) {
  const prn_type *t = port->type;
  prn_strbuf b = {0};
  const char **grown =
      PRN_ARENA_ARRAY(prn_ctx_arena(ctx), const char *, elements->size + 1);
  if (elements->size)
    memcpy(grown, elements->at, elements->size * sizeof *grown);
  if (t->kind == PRN_TYPE_OPTIONAL && !v->absent) t = t->elem;
  prn_strbuf_fmt(&b, "%.*s=", PRN_STR_ARG(port->name));
  if (t->kind == PRN_TYPE_SEQUENCE)
    prn_strbuf_fmt(&b, "%zu", v->size);
  else
    prn_strbuf_cstr(&b, v->absent ? "none" : "some");
  grown[elements->size] = prn_intern(ctx, prn_strbuf_view(&b)).data;
  *elements = (prn_cli_list){.at = grown, .size = elements->size + 1};
  prn_strbuf_destroy(&b);
}

prn_status prn_run_read_value(prn_ctx *ctx, const char *path,
                              const prn_port *port, prn_cli_list *elements,
                              prn_arrays *out) {
  prn_onnx_value v;
  const prn_type *t = port->type;
  prn_status status = PRN_OK;
  PRN_TRY(prn_onnx_read_value(ctx, path, t, &v));
  if (elements && prn_type_is_container(t))
    note_elements(ctx, port, &v, elements);
  if (t->kind == PRN_TYPE_OPTIONAL) t = t->elem;
  for (size_t i = 0; i < v.size && status == PRN_OK; i++) {
    prn_strbuf name = {0};
    prn_strbuf_str(&name, port->name);
    if (t->kind == PRN_TYPE_SEQUENCE) prn_strbuf_fmt(&name, "[%zu]", i);
    status = to_array(ctx, v.at[i], prn_strbuf_view(&name), path, out);
    prn_strbuf_destroy(&name);
  }
  return status;
}

/* The input that "input_K.pb" numbers, or NULL. */
static const prn_port *numbered(const prn_interface *face, const char *path) {
  const char *slash = strrchr(path, '/'), *file = slash ? slash + 1 : path;
  char *end;
  if (!prn_str_starts(prn_str_from(file), "input_")) return NULL;
  unsigned long k = strtoul(file + strlen("input_"), &end, 10);
  return strcmp(end, ".pb") == 0 && k < face->num_in ? &face->in[k] : NULL;
}

/* The input of the tensor's name, or of the file's number; what is no tensor
 * goes by number alone. */
static prn_status read_pb(prn_ctx *ctx, const char *path, prn_interface *face,
                          prn_arrays *out) {
  const prn_tensor *t = NULL;
  const prn_port *port = numbered(face, path);
  if (!port && face->num_in == 1) port = face->in;
  if (port && prn_type_is_container(port->type))
    return prn_run_read_value(ctx, path, port, &face->elements, out);
  PRN_TRY(prn_onnx_read_tensor(ctx, path, &t));
  const prn_port *named = find_port(face, t->name);
  if (named) port = named;
  if (port) return to_array(ctx, t, port->name, path, out);
  return fail(ctx, path, "which input is it? Name the file input_K.pb");
}

static prn_status read_npy(prn_ctx *ctx, const char *path,
                           const prn_interface *face, prn_arrays *out) {
  prn_array a;
  if (face->num_in != 1)
    return fail(ctx, path,
                "the model has several inputs: --input "
                "NAME=FILE.npy for each, or an .npz file");
  PRN_TRY(prn_array_load_npy(ctx, path, &a));
  a.name = face->in[0].name;
  prn_arrays_add(out, a);
  return PRN_OK;
}

static prn_status read_set(prn_ctx *ctx, const char *path, prn_interface *face,
                           prn_arrays *out) {
  prn_cli_list all = {0};
  prn_status status = list(ctx, path, is_tensor, &all);
  if (status == PRN_OK && all.size == 0)
    status = fail(ctx, path, "holds no input_*.pb");
  for (size_t i = 0; i < all.size && status == PRN_OK; i++)
    status = read_pb(ctx, all.at[i], face, out);
  prn_free(all.at);
  return status;
}

static prn_status read_file(prn_ctx *ctx, const char *model, const char *path,
                            prn_interface *face, prn_arrays *out) {
  prn_str name = prn_str_from(path);
  bool npy = prn_str_ends(name, ".npy"), pb = prn_str_ends(name, ".pb"),
       folder = is_folder(path);
  if (!npy && !pb && !folder) return prn_arrays_load_npz(ctx, path, out);
  PRN_TRY(prn_run_find_interface(ctx, model, face));
  if (folder) return read_set(ctx, path, face, out);
  return pb ? read_pb(ctx, path, face, out) : read_npy(ctx, path, face, out);
}

/* One "NAME=FILE.npy"; names may hold '=', files may not. */
static prn_status load_one(prn_ctx *ctx, const char *text, prn_arrays *out) {
  prn_array a;
  const char *eq = strrchr(text, '=');
  if (!eq)
    return prn_diag_emit(prn_ctx_diags(ctx), PRN_ERROR, (prn_loc){0},
                         PRN_STR(""), "--input=%s is not NAME=FILE.npy", text);
  PRN_TRY(prn_array_load_npy(ctx, eq + 1, &a));
  a.name = prn_intern(ctx, (prn_str){text, (size_t)(eq - text)});
  prn_arrays_add(out, a);
  return PRN_OK;
}

bool prn_run_has_inputs(const prn_run_settings *s) {
  return s->inputs.size || s->input.size;
}

prn_status prn_run_read_inputs(prn_ctx *ctx, const char *model,
                               const prn_run_settings *s, const char *file,
                               prn_interface *face, prn_arrays *out) {
  face->elements = s->elements;
  if (file) PRN_TRY(read_file(ctx, model, file, face, out));
  for (size_t i = 0; i < s->input.size; i++)
    PRN_TRY(load_one(ctx, s->input.at[i], out));
  return PRN_OK;
}

/* ---- samples of an array ---- */

/* How many parts an array is run in, along its first axis, of `size` entries
 * each; 0: it is run as it is. */
static int64_t parts_of(const prune_value *v, const prn_array *a, int64_t batch,
                        int64_t *size) {
  *size = 1;
  if (a->rank == v->rank + 1) return a->dims[0];
  if (a->rank != v->rank || a->rank == 0) return 0;
  *size = v->dims[0] >= 0 ? v->dims[0] : batch;
  if (*size <= 0 || a->dims[0] <= *size) return 0;
  if (v->dims[0] >= 0 && a->dims[0] % *size) return 0; /* an error later */
  return (a->dims[0] + *size - 1) / *size;
}

prn_status prn_run_count_parts(const prn_runner *r, const prn_arrays *in,
                               int64_t batch, int64_t *out) {
  const prune_model *m = r->model;
  *out = 0;
  for (uint32_t i = 0; i < m->num_inputs; i++) {
    const prn_array *a = prn_arrays_find(in, prn_str_from(m->inputs[i].name));
    int64_t size, parts = a ? parts_of(&m->inputs[i], a, batch, &size) : 0;
    if (parts == 0) continue;
    if (*out && *out != parts)
      return prn_diag_emit(
          prn_ctx_diags(r->ctx), PRN_ERROR, (prn_loc){0}, PRN_STR(""),
          "input '%s' holds %lld samples, others %lld", m->inputs[i].name,
          (long long)parts, (long long)*out);
    *out = parts;
  }
  return PRN_OK;
}

/* Entries [at, at+n) of the first axis; of one alone the axis goes when `drop`
 * is set. */
static bool cut(const prn_array *a, int64_t at, int64_t n, bool drop,
                prn_array *out) {
  int64_t dims[PRN_ARRAY_MAX_RANK];
  memcpy(dims, a->dims, sizeof dims);
  dims[0] = n;
  if (!prn_array_init(out, a->name, a->dtype, a->rank - drop, dims + drop))
    return false;
  size_t entry = a->bytes / (size_t)a->dims[0];
  memcpy(out->data, (const char *)a->data + (size_t)at * entry, out->bytes);
  return true;
}

prn_status prn_run_take_part(const prn_runner *r, const prn_arrays *in,
                             int64_t batch, int64_t part, prn_arrays *out) {
  const prune_model *m = r->model;
  for (uint32_t i = 0; i < m->num_inputs; i++) {
    const prune_value *v = &m->inputs[i];
    const prn_array *a = prn_arrays_find(in, prn_str_from(v->name));
    prn_array piece;
    int64_t n;
    if (!a) continue; /* an error later */
    bool whole = parts_of(v, a, batch, &n) == 0, drop = a->rank > v->rank;
    int64_t at = whole ? 0 : part * n;
    if (!whole && n > a->dims[0] - at) n = a->dims[0] - at;
    if (!(whole ? prn_array_copy(a, &piece) : cut(a, at, n, drop, &piece)))
      return fail(r->ctx, NULL, "no memory for a sample");
    prn_arrays_add(out, piece);
  }
  return PRN_OK;
}
