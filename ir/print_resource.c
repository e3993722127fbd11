/* Printing of the resource section: what the text keeps out of line. */
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "ir/print.h"

enum { HEX_LINE = 64 /* bytes in one string */ };

/* A key nobody has: base, base.1, base.2, ... */
static prn_str fresh_key(prn_printer *p, prn_str base) {
  prn_strbuf b = {0};
  void **slot = prn_map_find(&p->keys, base);
  prn_str key = base;
  while (slot) {
    uintptr_t n = (uintptr_t)*slot + 1;
    *slot = (void *)n; /* the next one asking goes on from here */
    b.size = 0;
    prn_strbuf_str(&b, base);
    prn_strbuf_char(&b, '.');
    prn_print_int(&b, (int64_t)n);
    key = prn_strbuf_view(&b);
    if (!prn_map_find(&p->keys, key)) break;
  }
  const char *copy = prn_arena_copy(&p->arena, key.data, key.size);
  key = (prn_str){copy, key.size};
  *prn_map_slot(&p->keys, key) = NULL;
  prn_strbuf_destroy(&b);
  return key;
}

prn_str prn_print_resource(prn_printer *p, const prn_resource *r,
                           prn_str base) {
  const void *id = r->blob ? (const void *)r->blob : (const void *)r->strings;
  void **slot = prn_ptrmap_slot(&p->resource_of, id);
  if (*slot) return p->resources[(uintptr_t)*slot - 1].key;
  if (p->num_resources == p->cap_resources) {
    p->cap_resources = p->cap_resources ? p->cap_resources * 2 : 16;
    p->resources = prn_realloc(
        p->resources, prn_array_size(sizeof *p->resources, p->cap_resources));
  }
  prn_resource *mine = &p->resources[p->num_resources++];
  *slot = (void *)(uintptr_t)p->num_resources;
  *mine = *r;
  mine->key = fresh_key(p, base);
  return mine->key;
}

/* path as it has to be written in a text that lies at target. A relative path
 * from the target's folder is preferred; the absolute one where links or ".."
 * make that doubtful. */
static void print_path(prn_strbuf *b, const char *target, const char *path) {
  const char *slash = target ? strrchr(target, '/') : NULL;
  char full[PATH_MAX];
  prn_strbuf up = {0}, probe = {0};
  if (!slash || path[0] == '/') {
    prn_strbuf_quoted(b, prn_str_from(path));
    return;
  }
  prn_strbuf_bytes(&probe, target, (size_t)(slash - target) + 1);
  for (const char *s = target; s < slash; s++)
    if (s[0] != '/' && (s[1] == '/') && !(s[0] == '.' && s == target))
      prn_strbuf_cstr(&up, "../");
  prn_strbuf_cstr(&up, path);
  prn_strbuf_str(&probe, prn_strbuf_view(&up));
  const char *shown = path;
  if (target[0] != '/' && prn_path_same(probe.data, path))
    shown = up.data;
  else if (realpath(path, full))
    shown = full;
  prn_strbuf_quoted(b, prn_str_from(shown));
  prn_strbuf_destroy(&up);
  prn_strbuf_destroy(&probe);
}

static void print_span(prn_printer *p, const char *target, const char *path,
                       uint64_t offset, size_t size) {
  prn_strbuf_cstr(&p->buf, "file ");
  print_path(&p->buf, target, path);
  prn_strbuf_fmt(&p->buf, ", offset %llu, size %zu", (unsigned long long)offset,
                 size);
}

static void print_hex_lines(prn_printer *p, const prn_blob *blob) {
  const char *at = blob->data;
  size_t left = blob->size;
  bool many = left > HEX_LINE;
  prn_strbuf_cstr(&p->buf, "hex");
  do {
    size_t n = left < HEX_LINE ? left : HEX_LINE;
    prn_strbuf_cstr(&p->buf, many ? "\n    " : " ");
    prn_print_hex(&p->buf, at, n);
    at += n;
    left -= n;
    prn_print_flush(p, false);
  } while (left);
}

static void print_resource(prn_printer *p, const prn_resource *r) {
  const prn_blob *blob = r->blob;
  uint64_t offset = blob ? blob->offset : 0;
  const char *path =
      blob && blob->file ? prn_file_origin(blob->file, &offset) : "-";
  prn_strbuf_cstr(&p->buf, "  ");
  prn_name_print(&p->buf, r->key);
  prn_strbuf_cstr(&p->buf, " = ");
  if (!blob) {
    prn_strbuf_cstr(&p->buf, "strings ");
    prn_print_strings(&p->buf, r->strings, r->num_strings);
  } else if (strcmp(path, "-") != 0) {
    print_span(p, p->options.target, path, offset, blob->size);
  } else {
    print_hex_lines(p, blob);
  }
  prn_strbuf_char(&p->buf, '\n');
  prn_print_flush(p, false);
}

void prn_print_resources(prn_printer *p) {
  prn_strbuf_cstr(&p->buf, "{-# resources\n");
  for (size_t i = 0; i < p->num_resources; i++)
    print_resource(p, &p->resources[i]);
  prn_strbuf_cstr(&p->buf, "#-}\n");
}
