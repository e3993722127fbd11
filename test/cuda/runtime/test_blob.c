/* What init refuses: blobs with any field wrong, memory that is too small,
 * tables and options of another version, devices that no code is for. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "backends/cuda/host/prune_cuda_impl.h"
#include "ir/support/xxh64.h"
#include "test/cuda/mock/mock.h"
#include "test/cuda/runtime/model.h"

static small_model model;
static char told[1024];

static void keep_line(void *user, int level, const char *line) {
  (void)user, (void)level;
  strncpy(told, line, sizeof told - 1);
}

static prune_cuda_options options(void) {
  told[0] = 0;
  return (prune_cuda_options){.size = sizeof(prune_cuda_options),
                              .abi = PRUNE_CUDA_ABI,
                              .log = keep_line};
}

static prune_cuda_status init(void) {
  prune_cuda_options o = options();
  small_context c;
  prune_cuda_status s = small_init(&model, &o, &c);
  small_destroy(&c);
  return s;
}

static void assert_refused(const char *why) {
  assert_int_equal(init(), PRUNE_CUDA_E_WEIGHTS);
  if (!strstr(told, why)) print_error("'%s' is not in '%s'\n", why, told);
  assert_non_null(strstr(told, why));
}

/* Byte `at` of the blob differs: refused with why; then it is put back. */
static void break_byte(size_t at, const char *why) {
  model.blob[at] ^= 0x40;
  assert_refused(why);
  model.blob[at] ^= 0x40;
}

static void test_hash(void **state) {
  (void)state;
  unsigned char text[100];
  for (size_t n = 0; n < sizeof text; n++) {
    text[n] = (unsigned char)(n * 37);
    assert_int_equal(pcu_xxh64(text, n, n), prn_xxh64(text, n, n));
  }
}

static void test_every_byte_counts(void **state) {
  (void)state;
  size_t data = sizeof model.blob - model.model.weights_size;
  size_t records = sizeof(prune_cuda_blob);
  size_t end = records + SMALL_RECORDS * sizeof(prune_cuda_blob_record);
  assert_int_equal(init(), PRUNE_CUDA_OK);
  for (size_t i = 0; i < records; i++)
    break_byte(i, "the blob ");
  for (size_t i = records; i < end; i++)
    break_byte(i, "of the blob ('");
  for (size_t i = data; i < sizeof model.blob; i += 7)
    break_byte(i, "is damaged");
  assert_int_equal(init(), PRUNE_CUDA_OK);
}

static void test_head(void **state) {
  (void)state;
  break_byte(0, "is no file of weights");
  break_byte(offsetof(prune_cuda_blob, version), "has another version");
  break_byte(offsetof(prune_cuda_blob, num_records), "belongs to another");
  break_byte(offsetof(prune_cuda_blob, data_offset), "in a wrong place");
  break_byte(offsetof(prune_cuda_blob, data_size), "belongs to another");
  break_byte(offsetof(prune_cuda_blob, hash), "belongs to another");
}

static void test_records(void **state) {
  (void)state;
  size_t w2 = sizeof(prune_cuda_blob) + 3 * sizeof(prune_cuda_blob_record);
  break_byte(w2 + offsetof(prune_cuda_blob_record, name),
             "record 3 of the blob ('w2') has another name");
  break_byte(w2 + offsetof(prune_cuda_blob_record, kind), "of another kind");
  break_byte(w2 + offsetof(prune_cuda_blob_record, type), "of another kind");
  break_byte(w2 + offsetof(prune_cuda_blob_record, k), "of another kind");
  break_byte(w2 + offsetof(prune_cuda_blob_record, n), "of another kind");
  break_byte(w2 + offsetof(prune_cuda_blob_record, offset), "another place");
  break_byte(w2 + offsetof(prune_cuda_blob_record, size), "another place");
}

static void test_length(void **state) {
  (void)state;
  prune_cuda_sizes need;
  assert_int_equal(prune_cuda_query(&model.model, NULL, &need), PRUNE_CUDA_OK);
  prune_cuda_options o = options();
  const unsigned char *data;
  unsigned char *copy = malloc(sizeof model.blob);
  assert_non_null(copy);
  for (size_t n = 0; n < sizeof model.blob; n += n < 600 ? 1 : 501) {
    /* A copy of the length, so that reading on is found. */
    unsigned char *cut = realloc(copy, n ? n : 1);
    assert_non_null(cut);
    copy = cut;
    memcpy(copy, model.blob, n);
    assert_int_equal(pcu_check_blob(&model.model, &o, copy, n, &data),
                     PRUNE_CUDA_E_WEIGHTS);
  }
  free(copy);
}

/* What the hash cannot find: tables and data that agree, and are wrong. */
static void break_data(size_t at, unsigned char with, const char *why) {
  size_t data = sizeof model.blob - model.model.weights_size;
  unsigned char kept = model.blob[data + at];
  model.blob[data + at] = with;
  small_seal(&model);
  assert_refused(why);
  model.blob[data + at] = kept;
  small_seal(&model);
  assert_int_equal(init(), PRUNE_CUDA_OK);
}

static void test_places_of_24(void **state) {
  (void)state;
  for (unsigned nibble = 0; nibble < 16; nibble++) {
    bool good = strchr("489CDE", "0123456789ABCDEF"[nibble]) != NULL;
    unsigned char both[] = {(unsigned char)(nibble | 0x40),
                            (unsigned char)(nibble << 4 | 4)};
    for (int i = 0; i < 2 && !good; i++)
      break_data(7680 + 2048 + 17, both[i], "not two of four");
  }
}

static void test_tiles_of_bitmaps(void **state) {
  (void)state;
  break_data(10240, 1, "its first tile does not begin at 0");
  break_data(10240 + 4, 2, "not as many values as its mask has bits");
  break_data(10240 + 4, 4, "not as many values as its mask has bits");
  break_data(10240 + 128 + 8, 0xff, "not as many values");
}

static void break_table(void *field, size_t size, int64_t with,
                        const char *why) {
  int64_t kept = 0;
  memcpy(&kept, field, size);
  memcpy(field, &with, size);
  small_seal(&model);
  assert_refused(why);
  memcpy(field, &kept, size);
  small_seal(&model);
}

static void test_sizes_of_kinds(void **state) {
  (void)state;
  prune_cuda_record *r = model.records;
#define BREAK(field, with, why) break_table(&(field), sizeof(field), with, why)
  BREAK(r[0].n, 1, "not that of its elements");
  BREAK(r[0].n, -640, "not that of its elements");
  BREAK(r[0].type, 99, "its type is unknown");
  BREAK(r[0].kind, 6, "its kind is unknown");
  BREAK(r[0].kind, -1, "its kind is unknown");
  BREAK(r[0].offset, 128, "not inside the data");
  BREAK(r[0].size, INT64_MAX, "not inside the data");
  BREAK(r[1].k, 65, "not that of its rows");
  BREAK(r[1].n, 47, "not that of its rows");
  BREAK(r[1].k, INT64_MAX, "too large");
  BREAK(r[3].k, 65, "not that of 2:4");
  BREAK(r[3].n, 33, "not that of 2:4");
  BREAK(r[3].n, INT64_MAX, "too large");
  BREAK(r[5].k, 65, "");
  BREAK(r[5].n, 1 << 20, "too small for its tiles");
  BREAK(r[5].k, INT64_MAX, "too large");
  BREAK(r[5].type, 1, "not that of its values");
#undef BREAK
}

static void test_memory(void **state) {
  (void)state;
  prune_cuda_options o = options();
  prune_cuda_sizes need;
  prune_cuda_ctx *ctx;
  assert_int_equal(prune_cuda_query(&model.model, &o, &need), PRUNE_CUDA_OK);
  void *host = aligned_alloc(256, (need.context + 511) / 256 * 256);
  void *weights = small_alloc(need.weights + 256);
  void *scratch = small_alloc(need.scratch + 256);
  const prune_cuda_memory good = {host,         need.context, weights,
                                  need.weights, scratch,      need.scratch};
  for (int i = 0; i < 6; i++) {
    prune_cuda_memory m = good;
    if (i == 0) m.context_size--;
    if (i == 1) m.weights_size--;
    if (i == 2) m.scratch_size--;
    if (i == 3) m.context = (char *)host + 64;
    if (i == 4) m.weights = (char *)weights + 64;
    if (i == 5) m.scratch = NULL;
    assert_int_equal(prune_cuda_init(&model.model, &o, model.blob,
                                     sizeof model.blob, &m, NULL, &ctx),
                     i < 3 ? PRUNE_CUDA_E_SPACE : PRUNE_CUDA_E_ARG);
    assert_null(ctx);
  }
  small_free(scratch);
  small_free(weights);
  free(host);
}

static void test_versions(void **state) {
  (void)state;
  prune_cuda_options o = options();
  prune_cuda_sizes need;
  o.abi++;
  assert_int_equal(prune_cuda_query(&model.model, &o, &need), PRUNE_CUDA_E_ABI);
  o = options();
  o.size--;
  assert_int_equal(prune_cuda_query(&model.model, &o, &need), PRUNE_CUDA_E_ABI);
  o = options();
  model.model.version++;
  assert_int_equal(prune_cuda_query(&model.model, &o, &need), PRUNE_CUDA_E_ABI);
  model.model.version--;
  model.model.num_symbols = 600;
  assert_int_equal(prune_cuda_query(&model.model, &o, &need), PRUNE_CUDA_E_ABI);
  model.model.num_symbols = 1;
  assert_int_equal(prune_cuda_query(NULL, &o, &need), PRUNE_CUDA_E_ARG);
}

static void test_images(void **state) {
  (void)state;
  static const unsigned char good[] = {0x50, 0xed, 0x55, 0xba};
  static const unsigned char bad[] = {1, 2, 3, 4};
  const prune_cuda_image *kept = model.model.images;
  const prune_cuda_image none[] = {{NULL, 0, 0}};
  const prune_cuda_image other[] = {
      {good, 4, 80}, {good, 4, 100}, {NULL, 0, 0}};
  const prune_cuda_image broken[] = {{bad, 4, 0}, {NULL, 0, 0}};
  /* The driver does not take the one that would fit best. */
  const prune_cuda_image next[] = {{good, 4, 0}, {bad, 4, 90}, {NULL, 0, 0}};
  const prune_cuda_image family[] = {{good, 4, 80}, {NULL, 0, 0}};
  model.model.images = none;
  assert_int_equal(init(), PRUNE_CUDA_E_ARCH);
  model.model.images = other;
  assert_int_equal(init(), PRUNE_CUDA_E_ARCH);
  assert_non_null(strstr(told, "no code for a device of capability 9.0"));
  model.model.images = broken;
  assert_int_equal(init(), PRUNE_CUDA_E_ARCH);
  model.model.images = next;
  assert_int_equal(init(), PRUNE_CUDA_OK);
  setenv("PRUNE_MOCK_ARCH", "86", 1);
  model.model.images = family;
  assert_int_equal(init(), PRUNE_CUDA_OK);
  unsetenv("PRUNE_MOCK_ARCH");
  model.model.images = kept;
}

static void test_kernels(void **state) {
  (void)state;
  prune_cuda_kernel kernels[6];
  const prune_cuda_kernel *kept = model.model.kernels;
  memcpy(kernels, kept, sizeof kernels);
  model.model.kernels = kernels;
  kernels[1].name = "no_such_kernel";
  assert_int_equal(init(), PRUNE_CUDA_E_CUDA);
  assert_non_null(strstr(told, "no_such_kernel"));
  kernels[1] = kept[1];
  /* Left out; whether a step can do without them shows in prepare. */
  kernels[1].threads = 1025;
  assert_int_equal(init(), PRUNE_CUDA_OK);
  kernels[1] = kept[1];
  kernels[1].shared = 1 << 20;
  assert_int_equal(init(), PRUNE_CUDA_OK);
  kernels[1].shared = 100000; /* has to be asked for */
  assert_int_equal(init(), PRUNE_CUDA_OK);
  model.model.kernels = kept;
  assert_int_equal(mock_count().mistakes, 0);
}

static int make(void **state) {
  (void)state;
  small_make(&model);
  return 0;
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_hash),
      cmocka_unit_test(test_every_byte_counts),
      cmocka_unit_test(test_head),
      cmocka_unit_test(test_records),
      cmocka_unit_test(test_length),
      cmocka_unit_test(test_places_of_24),
      cmocka_unit_test(test_tiles_of_bitmaps),
      cmocka_unit_test(test_sizes_of_kinds),
      cmocka_unit_test(test_memory),
      cmocka_unit_test(test_versions),
      cmocka_unit_test(test_images),
      cmocka_unit_test(test_kernels),
  };
  return cmocka_run_group_tests(tests, make, NULL);
}
