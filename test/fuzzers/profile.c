/* A calibration profile: read, merged with itself, written and read again. The
 * file ends with a checksum, which no mutation gets right: each input is read
 * as it is and with the right one. */
#include "ir/profile.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "ir/support/xxh64.h"
#include "test/fuzzers/fuzzers.h"

enum { CHECKSUM = 8 };

static void use(prn_diag_sink *sink, prn_profile *p) {
  const char *path = fuzz_scratch();
  prn_profile again = {0}, sum = {.model = p->model, .block = p->block};
  FUZZ_HOLDS(prn_profile_write(sink, p, path) == PRN_OK);
  FUZZ_HOLDS(prn_profile_read(sink, path, &again) == PRN_OK);
  FUZZ_HOLDS(again.size == p->size && again.model == p->model);
  if (prn_profile_merge(&sum, p, sink) == PRN_OK)
    (void)!prn_profile_merge(&sum, &again, sink);
  for (size_t i = 0; i < p->size; i++)
    FUZZ_HOLDS(prn_profile_find_window(&again, p->at[i].value, p->at[i].axis,
                                       &p->at[i].window));
  prn_profile_clear(&sum);
  prn_profile_clear(&again);
  (void)unlink(path);
}

static void read_one(const uint8_t *data, size_t size) {
  prn_ctx *ctx = fuzz_ctx();
  fuzz_input f = fuzz_open(data, size);
  prn_profile p;
  if (prn_profile_read(prn_ctx_diags(ctx), f.path, &p) == PRN_OK)
    use(prn_ctx_diags(ctx), &p);
  prn_profile_clear(&p);
  fuzz_close(&f);
  prn_ctx_destroy(ctx);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  read_one(data, size);
  if (size < CHECKSUM) return 0;
  uint8_t *copy = malloc(size);
  FUZZ_HOLDS(copy);
  memcpy(copy, data, size);
  uint64_t sum = prn_xxh64(copy, size - CHECKSUM, 0);
  for (size_t i = 0; i < CHECKSUM; i++)
    copy[size - CHECKSUM + i] = (uint8_t)(sum >> 8 * i);
  read_one(copy, size);
  free(copy);
  return 0;
}
