/* Plugins: passes from a shared object.
 *
 * A plugin is compiled against these headers, resolves the prn_ functions
 * from the tool that loads it, and exports one function:
 *
 *   const prn_plugin_info *prune_plugin_info(uint32_t abi) {
 *     static const prn_pass *const passes[] = {&prn_pass_mine, NULL};
 *     static const prn_plugin_info info = PRN_PLUGIN_INFO("mine", passes);
 *     return abi == PRN_PLUGIN_ABI ? &info : NULL;
 *   }
 *
 * abi is the tool's PRN_PLUGIN_ABI; a plugin returns NULL for one it was not
 * made for. The tool compares PRN_PLUGIN_ABI and the sizes of the structures
 * that both sides look into. */
#ifndef PRN_PASSES_PLUGIN_H
#define PRN_PASSES_PLUGIN_H

#include "passes/pipeline.h"

/* Changes whenever something in the headers changes incompatibly. */
enum { PRN_PLUGIN_ABI = 1 };

typedef struct prn_plugin_info {
  uint32_t abi;
  uint32_t op_size, pass_size, env_size;
  const char *name;
  const prn_pass *const *passes; /* ends with NULL */
} prn_plugin_info;

#define PRN_PLUGIN_INFO(name, passes)                                       \
  {                                                                         \
    PRN_PLUGIN_ABI, sizeof(prn_op), sizeof(prn_pass), sizeof(prn_pass_env), \
        name, passes                                                        \
  }

#define PRN_PLUGIN_EXPORT __attribute__((visibility("default")))

typedef const prn_plugin_info *prn_plugin_info_fn(uint32_t abi);

/* Loads path and adds its passes. The shared object stays loaded. */
PRN_NODISCARD prn_status prn_plugin_load(prn_diag_sink *sink, const char *path,
                                         prn_registry *r);

#endif
