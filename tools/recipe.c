#include "tools/recipe.h"

#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

static const char ending[] = ".prune";

prn_status prn_recipe_define(prn_diag_sink *sink, const prn_cli_list *defines,
                             prn_variables *out) {
  prn_status status = PRN_OK;
  for (size_t i = 0; i < defines->size; i++)
    if (prn_variables_give(out, sink, defines->at[i]) != PRN_OK)
      status = PRN_FAIL;
  return status;
}

/* ---- those that are shipped ---- */

static void shipped_folder(prn_strbuf *out) {
  prn_strbuf b = {0};
  (void)prn_cli_folder(&b); /* what is not there is reported */
  prn_strbuf_cstr(&b, "/../share/prune/recipes");
  prn_path_clean(b.data, out);
  prn_strbuf_destroy(&b);
}

typedef struct names {
  prn_arena arena;
  prn_str folder;
  prn_str *at; /* sorted, without the ending */
  size_t size;
  int error; /* errno */
} names;

static int by_name(const void *a, const void *b) {
  return prn_str_cmp(*(const prn_str *)a, *(const prn_str *)b);
}

static prn_str keep(prn_arena *arena, prn_str s) {
  return (prn_str){prn_arena_copy(arena, s.data, s.size), s.size};
}

static bool is_recipe(const char *file) {
  return prn_str_ends(prn_str_from(file), ending) && *file != '.';
}

static names shipped(void) {
  enum { MOST = 1000 };
  names n = {.size = 0};
  prn_strbuf folder = {0};
  shipped_folder(&folder);
  n.folder = keep(&n.arena, (prn_str){folder.data, folder.size + 1});
  n.folder.size--;
  n.at = PRN_ARENA_ARRAY(&n.arena, prn_str, MOST);
  DIR *d = opendir(folder.data);
  if (!d) n.error = errno;
  for (struct dirent *e; d && n.size < MOST && (e = readdir(d));)
    if (is_recipe(e->d_name)) {
      prn_str name = {e->d_name, strlen(e->d_name) - strlen(ending)};
      n.at[n.size++] = keep(&n.arena, name);
    }
  if (d) (void)closedir(d);
  if (n.size) qsort(n.at, n.size, sizeof *n.at, by_name);
  prn_strbuf_destroy(&folder);
  return n;
}

/* ---- finding one ---- */

static bool is_file(const char *path) {
  struct stat st;
  return stat(path, &st) == 0 && !S_ISDIR(st.st_mode);
}

static prn_status unknown(prn_diag_sink *sink, const char *name) {
  names all = shipped();
  prn_strbuf b = {0};
  prn_suggest(&b, prn_str_from(name), all.at, all.size);
  for (size_t i = 0; i < all.size; i++)
    prn_strbuf_fmt(&b, "%s%.*s",
                   i ? ", " : "; recipes are: ", PRN_STR_ARG(all.at[i]));
  if (all.error)
    prn_strbuf_fmt(&b, "; cannot read '%.*s': %s", PRN_STR_ARG(all.folder),
                   strerror(all.error));
  prn_status s = prn_diag_emit(sink, PRN_ERROR, (prn_loc){0}, PRN_STR(""),
                               "no recipe and no file is called '%s'%s", name,
                               b.data ? b.data : "");
  prn_strbuf_destroy(&b);
  prn_arena_destroy(&all.arena);
  return s;
}

/* The file of a recipe, appended to path. */
static prn_status find(prn_diag_sink *sink, const char *name,
                       prn_strbuf *path) {
  if (strchr(name, '/') || strcmp(name, "-") == 0 || is_file(name)) {
    prn_strbuf_cstr(path, name);
    return PRN_OK;
  }
  shipped_folder(path);
  prn_strbuf_fmt(path, "/%s%s", name, ending);
  return *name && is_file(path->data) ? PRN_OK : unknown(sink, name);
}

prn_status prn_recipe_add(prn_ctx *ctx, const prn_registry *r, const char *name,
                          prn_variables *variables, prn_pipeline *out) {
  prn_strbuf path = {0};
  prn_file *file = NULL;
  prn_status status = find(prn_ctx_diags(ctx), name, &path);
  if (status == PRN_OK)
    status = prn_file_open(prn_ctx_diags(ctx), path.data, &file);
  if (status == PRN_OK)
    status = prn_recipe_parse(ctx, r, path.data, prn_file_bytes(file),
                              variables, out);
  prn_file_release(file);
  prn_strbuf_destroy(&path);
  return status;
}

/* ---- listing them ---- */

/* The text of a comment that s begins with, without the '#'. */
static prn_str first_line(prn_str s) {
  const char *end = s.size ? memchr(s.data, '\n', s.size) : NULL;
  size_t n = end ? (size_t)(end - s.data) : s.size, from = 0;
  while (from < n && (s.data[from] == '#' || s.data[from] == ' '))
    from++;
  bool comment = n > 0 && s.data[0] == '#';
  return comment ? (prn_str){s.data + from, n - from} : PRN_STR("");
}

static prn_status list_one(prn_diag_sink *sink, const names *all, size_t i,
                           int width, prn_strbuf *b) {
  prn_strbuf path = {0};
  prn_file *file = NULL;
  prn_strbuf_fmt(&path, "%.*s/%.*s%s", PRN_STR_ARG(all->folder),
                 PRN_STR_ARG(all->at[i]), ending);
  prn_status status = prn_file_open(sink, path.data, &file);
  if (status == PRN_OK) {
    prn_str says = first_line(prn_file_bytes(file));
    prn_strbuf_fmt(b, "  %-*.*s  %.*s\n", width, PRN_STR_ARG(all->at[i]),
                   PRN_STR_ARG(says));
  }
  prn_file_release(file);
  prn_strbuf_destroy(&path);
  return status;
}

prn_status prn_recipe_list(prn_diag_sink *sink, prn_strbuf *b) {
  names all = shipped();
  prn_status status = PRN_OK;
  size_t width = 0;
  if (all.error)
    status = prn_diag_emit(sink, PRN_ERROR, (prn_loc){0}, PRN_STR(""),
                           "cannot read '%.*s': %s", PRN_STR_ARG(all.folder),
                           strerror(all.error));
  for (size_t i = 0; i < all.size; i++)
    if (all.at[i].size > width) width = all.at[i].size;
  for (size_t i = 0; i < all.size && status == PRN_OK; i++)
    status = list_one(sink, &all, i, (int)width, b);
  prn_arena_destroy(&all.arena);
  return status;
}
