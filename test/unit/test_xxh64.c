/* ir/support/xxh64.h against answers of the reference code, version 0.8.1. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* cmocka.h needs the four above first */
#include <cmocka.h>

#include "ir/support/xxh64.h"

enum { BYTES = 128 };

static const struct {
  size_t size;
  uint64_t seed, want;
} answers[] = {
    {0, 0, 0xef46db3751d8e999},   {0, 2654435761u, 0xac75fda2929b17ef},
    {1, 0, 0xf592c0c7639c4cb6},   {1, 2654435761u, 0xe7fda85a72454615},
    {3, 0, 0x22c08528601d4f27},   {3, 2654435761u, 0x5cbb7f85404a1f73},
    {4, 0, 0xfb1e5cf2f1ae4d95},   {4, 2654435761u, 0x9994339dd3cf0d91},
    {7, 0, 0x5613ac510496c04e},   {7, 2654435761u, 0xc53cce27ae03ad38},
    {8, 0, 0x57cb2b7521f3e21a},   {8, 2654435761u, 0xcd44f16c92a699df},
    {12, 0, 0x2f53b00266039e64},  {12, 2654435761u, 0xdce50ff235f73a04},
    {31, 0, 0xe4a0e629e519a4ae},  {31, 2654435761u, 0x9fab920ef1fc4e09},
    {32, 0, 0xcc6b8aaada790b2d},  {32, 2654435761u, 0x881c3285b30b5a93},
    {33, 0, 0x35ec49850475a832},  {33, 2654435761u, 0x207074871e91cb01},
    {39, 0, 0x22984e41b53c1210},  {39, 2654435761u, 0x2f970f47cbec49ee},
    {64, 0, 0x155ccce4bf32befc},  {64, 2654435761u, 0x90535f3e4eae4016},
    {101, 0, 0x30383413a6f6646a}, {101, 2654435761u, 0xd1de08ed9c1e96ed},
    {128, 0, 0x01166e04da0ea4a8}, {128, 2654435761u, 0x269005a8d5b58d8d},
};

static void known_answers(void **state) {
  unsigned char bytes[BYTES];
  (void)state;
  for (int i = 0; i < BYTES; i++)
    bytes[i] = (unsigned char)(i * 37 + 11);
  for (size_t i = 0; i < PRN_COUNT(answers); i++)
    assert_int_equal(prn_xxh64(bytes, answers[i].size, answers[i].seed),
                     answers[i].want);
}

/* Bytes that come in pieces of any size. */
static void pieces(void **state) {
  unsigned char bytes[BYTES];
  (void)state;
  for (int i = 0; i < BYTES; i++)
    bytes[i] = (unsigned char)(i * i);
  for (size_t first = 0; first <= BYTES; first++)
    for (size_t second = 0; first + second <= BYTES; second += 5) {
      prn_xxh64_state s;
      prn_xxh64_begin(&s, 9);
      prn_xxh64_add(&s, bytes, first);
      prn_xxh64_add(&s, bytes + first, second);
      prn_xxh64_add(&s, bytes + first + second, BYTES - first - second);
      assert_int_equal(prn_xxh64_end(&s), prn_xxh64(bytes, BYTES, 9));
    }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(known_answers),
      cmocka_unit_test(pieces),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
