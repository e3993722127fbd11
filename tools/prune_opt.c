/* prune-opt: read a model, run passes, write the result. */
#include "tools/cli.h"
#include "tools/opt_main.h"

int main(int argc, char **argv) {
  prn_registry registry = {0};
  prn_cli_begin();
  prn_registry_add_all(&registry);
  int status = prn_opt_main(argc, argv, &registry);
  prn_registry_destroy(&registry);
  return status;
}
