/* External data out: which tensors go to which file, and where in it.
 *
 * File names come from the model, so nothing is overwritten because a model
 * says so: old names are used only when they are plain names that are free, or
 * that belong to the very model that this export replaces. Everything else
 * goes to "MODEL.data". */
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "backends/onnx/exporter.h"
#include "frontends/onnx/wire.h"

enum {
  SMALL = 1024,      /* not worth a place outside */
  ALIGN_SMALL = 64,  /* vector loads ... */
  ALIGN_LARGE = 4096 /* ... and mapping, for tensors of a page and more */
};

const placed *export_place(const exporter *x, const prn_tensor *t) {
  uintptr_t at = (uintptr_t)prn_ptrmap_get(&x->external.index, t);
  return at ? &x->external.items[at - 1] : NULL;
}

/* "FOLDER/name" of a file beside the model. */
static char *beside(const char *path, prn_str name) {
  const char *slash = strrchr(path, '/');
  prn_strbuf b = {0};
  prn_strbuf_str(&b, (prn_str){path, slash ? (size_t)(slash - path) + 1 : 0});
  prn_strbuf_str(&b, name);
  return b.data;
}

static prn_str base_name(const char *path) {
  const char *slash = strrchr(path, '/');
  return prn_str_from(slash ? slash + 1 : path);
}

static bool same_file(const char *a, const char *b) {
  struct stat sa, sb;
  return stat(a, &sa) == 0 && stat(b, &sb) == 0 && sa.st_dev == sb.st_dev &&
         sa.st_ino == sb.st_ino;
}

/* ---- the names ---- */

static void ignore(void *user, const prn_diag *d) {
  (void)user;
  (void)d;
}

/* Adds the locations that the initializers of the model at path name. */
static void locations_of(exporter *x, const char *path, prn_map *out) {
  prn_diag_sink quiet = {.handler = ignore};
  prn_file *file;
  prn_onnx_wire w;
  if (prn_file_open(&quiet, path, &file) == PRN_OK) {
    if (prn_onnx_wire_read(&quiet, path, prn_file_bytes(file),
                           &onnx__model_proto__descriptor, &w) == PRN_OK) {
      const Onnx__GraphProto *g = ((const Onnx__ModelProto *)w.root)->graph;
      for (size_t i = 0; g && i < g->n_initializer; i++)
        for (size_t k = 0; k < g->initializer[i]->n_external_data; k++) {
          const Onnx__StringStringEntryProto *e =
              g->initializer[i]->external_data[k];
          if (e->key && e->value && strcmp(e->key, "location") == 0)
            (void)prn_map_slot(out, prn_intern(x->ctx, prn_str_from(e->value)));
        }
      prn_onnx_wire_destroy(&w);
    }
    prn_file_release(file);
  }
  prn_diag_sink_destroy(&quiet);
}

static prn_str location_of(const prn_tensor *t) {
  const prn_attr *e = prn_dict_get(t->extra, "external_data");
  const prn_attr *l = prn_dict_get(e, "location");
  return l && l->kind == PRN_ATTR_STRING ? l->s : (prn_str){"", 0};
}

/* May this export write a file of that name beside the model? */
static bool may_use(exporter *x, prn_str name, prn_map *replaced) {
  struct stat st;
  if (name.size == 0 || name.data[0] == '.' ||
      memchr(name.data, '/', name.size) || memchr(name.data, 0, name.size) ||
      prn_str_eq(name, base_name(x->path)))
    return false;
  char *target = beside(x->path, name);
  const char *source = x->module->file ? x->module->file : "";
  char *from = beside(source, name);
  bool ok = lstat(target, &st) != 0;
  if (!ok && S_ISREG(st.st_mode) && prn_map_find(replaced, name))
    ok = same_file(x->path, source) || !same_file(target, from);
  prn_free(target);
  prn_free(from);
  return ok;
}

/* ---- the plan ---- */

static size_t file_index(external *e, prn_str name) {
  for (size_t i = e->num_files; i-- > 0;)
    if (prn_str_eq(e->files[i].name, name)) return i;
  if (e->num_files == e->cap_files) {
    e->cap_files = e->cap_files ? e->cap_files * 2 : 4;
    e->files =
        prn_realloc(e->files, prn_array_size(sizeof *e->files, e->cap_files));
  }
  e->files[e->num_files] = (external_file){name, NULL};
  return e->num_files++;
}

static void add_tensor(exporter *x, const prn_tensor *t) {
  external *e = &x->external;
  bool outside = x->data == PRN_ONNX_DATA_KEEP
                     ? t->storage == PRN_STORE_EXTERNAL
                     : t->data && t->data->size >= SMALL;
  if (!t->data || !outside || prn_ptrmap_has(&e->index, t)) return;
  if (e->num == e->cap) {
    e->cap = e->cap ? e->cap * 2 : 64;
    e->items = prn_realloc(e->items, prn_array_size(sizeof *e->items, e->cap));
  }
  e->items[e->num++] = (placed){.tensor = t, .size = t->data->size};
  *prn_ptrmap_slot(&e->index, t) = (void *)(uintptr_t)e->num;
}

static void add_attr(exporter *x, const prn_attr *a) {
  if (a->kind == PRN_ATTR_TENSOR) add_tensor(x, a->tensor);
  for (uint32_t i = 0; a->kind == PRN_ATTR_LIST && i < a->size; i++)
    add_attr(x, a->list[i]);
  for (uint32_t i = 0; a->kind == PRN_ATTR_DICT && i < a->size; i++)
    add_attr(x, a->dict[i].value);
}

static prn_status add_op(void *user, prn_op *op) {
  for (uint32_t i = 0; i < op->num_attrs; i++)
    add_attr(user, op->attrs[i].value);
  return PRN_OK;
}

/* Do two tensors have the same bytes at the same place? */
static bool same_bytes(const prn_tensor *a, const prn_tensor *b) {
  return a->data->data == b->data->data && a->data->size == b->data->size &&
         a->mask == b->mask;
}

static uint64_t old_offset(const prn_tensor *t) {
  const prn_attr *e = prn_dict_get(t->extra, "external_data");
  const prn_attr *o = prn_dict_get(e, "offset");
  return o && o->kind == PRN_ATTR_STRING ? strtoull(o->s.data, NULL, 10) : 0;
}

static int by_place(const void *pa, const void *pb) {
  const placed *const *a = pa, *const *b = pb;
  if ((*a)->file != (*b)->file) return (*a)->file < (*b)->file ? -1 : 1;
  if ((*a)->offset != (*b)->offset) return (*a)->offset < (*b)->offset ? -1 : 1;
  return *a < *b ? -1 : *a > *b;
}

/* Can every tensor stay at the offset it had? Places may coincide, but not
 * overlap, and what lies between them must be little. */
static bool keep_offsets(placed **sorted, size_t n) {
  uint64_t end = 0, gaps = 0, data = 0;
  const placed *last = NULL;
  for (size_t i = 0; i < n; i++) {
    placed *p = sorted[i];
    p->alias = false;
    if (!last || last->file != p->file) end = 0;
    if (last && last->file == p->file && last->offset == p->offset &&
        last->size == p->size && same_bytes(last->tensor, p->tensor)) {
      p->alias = true;
      continue;
    }
    if (p->offset < end || p->offset > UINT64_MAX - p->size) return false;
    gaps += p->offset - end;
    data += p->size;
    end = p->offset + p->size;
    last = p;
  }
  return gaps <= data / 8 + n * (uint64_t)ALIGN_LARGE * 16;
}

static uint64_t align(uint64_t at, uint64_t size) {
  uint64_t to = size >= ALIGN_LARGE ? ALIGN_LARGE : ALIGN_SMALL;
  return (at + to - 1) / to * to;
}

/* One after the other, in the order of the model. */
static void lay_out(external *e) {
  uint64_t *end = prn_alloc(prn_array_size(sizeof *end, e->num_files));
  memset(end, 0, e->num_files * sizeof *end);
  for (size_t i = 0; i < e->num; i++) {
    placed *p = &e->items[i];
    p->moved = true;
    p->alias = false;
    p->offset = align(end[p->file], p->size);
    end[p->file] = p->offset + p->size;
  }
  prn_free(end);
}

/* All tensors under their old names, or none. */
static bool use_old_names(exporter *x) {
  external *e = &x->external;
  prn_map replaced = {0};
  bool ok = x->data == PRN_ONNX_DATA_KEEP;
  if (ok) locations_of(x, x->path, &replaced);
  for (size_t i = 0; i < e->num && ok; i++)
    e->items[i].file = file_index(e, location_of(e->items[i].tensor));
  for (size_t i = 0; i < e->num_files && ok; i++)
    ok = may_use(x, e->files[i].name, &replaced);
  prn_map_destroy(&replaced);
  return ok;
}

static void use_own_name(exporter *x) {
  external *e = &x->external;
  prn_strbuf b = {0};
  prn_strbuf_str(&b, base_name(x->path));
  prn_strbuf_cstr(&b, ".data");
  e->num_files = 0;
  size_t file = file_index(e, prn_intern(x->ctx, prn_strbuf_view(&b)));
  prn_strbuf_destroy(&b);
  for (size_t i = 0; i < e->num; i++) {
    prn_str old = location_of(e->items[i].tensor);
    e->items[i].file = file;
    if (i && !prn_str_eq(old, location_of(e->items[0].tensor)))
      e->items[i].moved = true; /* several files became one */
  }
}

static placed **sorted_items(external *e) {
  placed **sorted = prn_alloc(prn_array_size(sizeof(placed *), e->num));
  for (size_t i = 0; i < e->num; i++)
    sorted[i] = &e->items[i];
  qsort(sorted, e->num, sizeof *sorted, by_place);
  return sorted;
}

void export_plan_external(exporter *x) {
  external *e = &x->external;
  if (x->data == PRN_ONNX_DATA_EMBED) return;
  (void)!prn_walk(x->module->body, true, add_op, x);
  if (e->num == 0) return;
  bool keep = x->data == PRN_ONNX_DATA_KEEP;
  if (!use_old_names(x)) use_own_name(x);
  for (size_t i = 0; i < e->num; i++) {
    keep = keep && !e->items[i].moved;
    e->items[i].offset = old_offset(e->items[i].tensor);
  }
  placed **sorted = sorted_items(e);
  if (!keep || !keep_offsets(sorted, e->num)) lay_out(e);
  prn_free(sorted);
}

/* ---- writing ---- */

static void put(void *user, const void *data, size_t size) {
  prn_out_write(user, data, size);
}

static void pad(prn_out *out, uint64_t to) {
  static const char zeros[ALIGN_LARGE];
  while (prn_out_offset(out) < to) {
    uint64_t n = to - prn_out_offset(out);
    prn_out_write(out, zeros, n < sizeof zeros ? (size_t)n : sizeof zeros);
  }
}

prn_status export_write_external(exporter *x) {
  external *e = &x->external;
  for (size_t i = 0; i < e->num_files; i++) {
    char *path = beside(x->path, e->files[i].name);
    prn_status status =
        prn_out_open_beside(prn_ctx_diags(x->ctx), path, &e->files[i].out);
    prn_free(path);
    PRN_TRY(status);
  }
  placed **sorted = sorted_items(e);
  for (size_t i = 0; i < e->num; i++) {
    prn_out *out = e->files[sorted[i]->file].out;
    if (sorted[i]->alias) continue;
    pad(out, sorted[i]->offset);
    export_tensor_bytes(sorted[i]->tensor, put, out);
  }
  prn_free(sorted);
  return PRN_OK;
}

prn_status export_commit(exporter *x, prn_out *model) {
  external *e = &x->external;
  prn_out **outs = prn_alloc(prn_array_size(sizeof *outs, e->num_files + 1));
  for (size_t i = 0; i < e->num_files; i++) {
    outs[i] = e->files[i].out;
    e->files[i].out = NULL;
  }
  outs[e->num_files] = model;
  prn_status status = prn_out_commit_all(outs, e->num_files + 1);
  prn_free(outs);
  return status;
}

void export_abandon_external(exporter *x) {
  external *e = &x->external;
  for (size_t i = 0; i < e->num_files; i++)
    prn_out_abandon(e->files[i].out);
  prn_free(e->files);
  prn_free(e->items);
  prn_ptrmap_destroy(&e->index);
  *e = (external){0};
}
