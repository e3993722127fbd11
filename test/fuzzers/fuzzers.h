/* What the fuzzers of readers share. Each is one file that defines
 *
 *   int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
 *
 * and hands the bytes to one reader of untrusted files, and what it reads on to
 * whoever relies on it. Refusing is always right; what is accepted has to hold
 * what the reader promises, which FUZZ_HOLDS checks. Linked with libFuzzer
 * (-DPRUNE_FUZZ=ON) it looks for inputs that crash; with replay.c it is run on
 * the files that are there. */
#ifndef PRN_TEST_FUZZERS_H
#define PRN_TEST_FUZZERS_H

#include "ir/op.h"
#include "ir/support/file.h"
#include "passes/pipeline.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Stops with the place when it does not hold. */
#define FUZZ_HOLDS(condition) \
  ((condition) ? (void)0 : fuzz_broken(#condition, __FILE__, __LINE__))
void fuzz_broken(const char *what, const char *file, int line);

/* A context whose messages are made and counted, but not shown. */
prn_ctx *fuzz_ctx(void);

/* A file in memory with these bytes, which has a path until it is closed. */
typedef struct fuzz_input {
  int fd;
  char path[32];
} fuzz_input;
fuzz_input fuzz_open(const uint8_t *data, size_t size);
void fuzz_close(fuzz_input *f);

/* A name in a folder of this process, which is removed when it ends. */
const char *fuzz_scratch(void);

/* What a model that a reader accepted goes through in every tool. True when it
 * is valid. */
bool fuzz_is_valid(prn_module *m);
/* Its text parses back to the same module. */
void fuzz_round_trip(prn_module *m);
/* All passes: what no input changes. */
const prn_registry *fuzz_passes(void);
/* Infers shapes and, when they are right, runs a pipeline; what passes leave is
 * valid. */
void fuzz_run(prn_module *m, const char *pipeline);

#endif
