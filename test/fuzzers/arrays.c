/* Arrays for inputs and outputs: .npy and .npz. */
#include "tools/array.h"

#include <string.h>
#include <unistd.h>

#include "test/fuzzers/fuzzers.h"

/* What is written is what was read. */
static void round_trip(prn_ctx *ctx, const prn_arrays *list) {
  const char *path = fuzz_scratch();
  prn_arrays again = {0};
  FUZZ_HOLDS(prn_arrays_save_npz(ctx, path, list) == PRN_OK);
  FUZZ_HOLDS(prn_arrays_load_npz(ctx, path, &again) == PRN_OK);
  FUZZ_HOLDS(again.size == list->size);
  for (size_t i = 0; i < list->size; i++) {
    const prn_array *a = &list->items[i], *b = &again.items[i];
    FUZZ_HOLDS(prn_str_eq(a->name, b->name) && a->dtype == b->dtype);
    FUZZ_HOLDS(a->rank == b->rank && a->bytes == b->bytes);
    FUZZ_HOLDS(!a->bytes || memcmp(a->data, b->data, a->bytes) == 0);
  }
  prn_arrays_destroy(&again);
  (void)unlink(path);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  prn_ctx *ctx = fuzz_ctx();
  fuzz_input f = fuzz_open(data, size);
  prn_arrays list = {0};
  prn_array one = {0};
  if (prn_array_load_npy(ctx, f.path, &one) == PRN_OK) {
    one.name = PRN_STR("x");
    prn_arrays_add(&list, one);
    round_trip(ctx, &list);
  }
  if (prn_arrays_load_npz(ctx, f.path, &list) == PRN_OK) round_trip(ctx, &list);
  prn_arrays_destroy(&list);
  fuzz_close(&f);
  prn_ctx_destroy(ctx);
  return 0;
}
