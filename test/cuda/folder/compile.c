/* Compiles the kernels of a folder and prints how. Usage: compile DIR NAME */
#include <stdio.h>

#include "backends/cuda/compile.h"

int main(int argc, char **argv) {
  prn_diag_sink sink = {0};
  prn_strbuf how = {0};
  if (argc != 3) return 2;
  prn_status s = prn_cuda_compile(&sink, argv[1], argv[2], &how);
  if (s == PRN_OK) (void)puts(how.data);
  prn_strbuf_destroy(&how);
  prn_diag_sink_destroy(&sink);
  return s == PRN_OK ? 0 : 1;
}
