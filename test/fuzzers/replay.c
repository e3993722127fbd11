/* Runs one fuzzer's function on files, and on all files of folders, in the
 * order of their names: usage: prn-fuzz-NAME FILE|FOLDER... A file that takes
 * longer than LIMIT seconds ends the run as a crash does. */
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "test/fuzzers/fuzzers.h"

enum { LIMIT = 20 };

static size_t files;

static void run_file(const char *path) {
  prn_diag_sink sink = {0};
  prn_file *f;
  (void)fprintf(stderr, "%s\n", path); /* the last line names a culprit */
  if (prn_file_open(&sink, path, &f) != PRN_OK) exit(1);
  prn_str bytes = prn_file_bytes(f);
  (void)alarm(LIMIT);
  (void)LLVMFuzzerTestOneInput((const uint8_t *)bytes.data, bytes.size);
  (void)alarm(0);
  prn_file_release(f);
  prn_diag_sink_destroy(&sink);
  files++;
}

static int is_shown(const struct dirent *e) { return e->d_name[0] != '.'; }

static void run(const char *path) {
  struct dirent **entries;
  int n = scandir(path, &entries, is_shown, alphasort);
  if (n < 0 && errno == ENOENT) return; /* seeds that could not be made */
  if (n < 0) { /* no folder */
    run_file(path);
    return;
  }
  for (int i = 0; i < n; i++) {
    prn_strbuf b = {0};
    prn_strbuf_fmt(&b, "%s/%s", path, entries[i]->d_name);
    run(b.data);
    prn_strbuf_destroy(&b);
    free(entries[i]);
  }
  free(entries);
}

int main(int argc, char **argv) {
  for (int i = 1; i < argc; i++)
    run(argv[i]);
  (void)printf("%zu files\n", files);
  return 0;
}
