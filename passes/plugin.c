#include "passes/plugin.h"

#include <dlfcn.h>
#include <string.h>

PRN_PRINTF(3, 4)
static prn_status fail(prn_diag_sink *sink, const char *path, const char *fmt,
                       ...) {
  prn_strbuf b = {0};
  va_list ap;
  va_start(ap, fmt);
  prn_strbuf_vfmt(&b, fmt, ap);
  va_end(ap);
  (void)prn_diag_emit(sink, PRN_ERROR, (prn_loc){0}, (prn_str){"", 0},
                      "cannot load the plugin '%s': %s", path, b.data);
  prn_strbuf_destroy(&b);
  return PRN_FAIL;
}

static prn_status check(prn_diag_sink *sink, const char *path,
                        const prn_plugin_info *info) {
  if (!info || info->abi != PRN_PLUGIN_ABI)
    return fail(sink, path,
                "it was made for another version of the plugin "
                "interface; this tool has %d",
                PRN_PLUGIN_ABI);
  if (info->op_size != sizeof(prn_op) || info->pass_size != sizeof(prn_pass) ||
      info->env_size != sizeof(prn_pass_env))
    return fail(sink, path, "it was compiled against other headers");
  return PRN_OK;
}

prn_status prn_plugin_load(prn_diag_sink *sink, const char *path,
                           prn_registry *r) {
  /* A bare name is a file here, not one of the system's libraries. */
  prn_strbuf file = {0};
  prn_strbuf_fmt(&file, "%s%s", strchr(path, '/') ? "" : "./", path);
  void *so = dlopen(file.data, RTLD_NOW | RTLD_LOCAL);
  prn_strbuf_destroy(&file);
  if (!so) return fail(sink, path, "%s", dlerror());
  void *symbol = dlsym(so, "prune_plugin_info");
  if (!symbol) return fail(sink, path, "it has no function prune_plugin_info");
  prn_plugin_info_fn *get;
  memcpy(&get, &symbol, sizeof get);
  const prn_plugin_info *info = get(PRN_PLUGIN_ABI);
  PRN_TRY(check(sink, path, info));
  for (const prn_pass *const *p = info->passes; *p; p++)
    if (!prn_registry_add(r, *p))
      return fail(sink, path, "there already is a pass called '%s'",
                  (*p)->name);
  return PRN_OK;
}
