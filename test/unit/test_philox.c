/* ir/support/philox.h against the known answers that its authors publish. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* cmocka.h needs the four above first */
#include <cmocka.h>

#include "ir/support/philox.h"

typedef struct answer {
  prn_philox_block counter;
  uint32_t key[2];
  prn_philox_block want;
} answer;

static void known_answers(void **state) {
  static const answer answers[] = {
      {{{0, 0, 0, 0}},
       {0, 0},
       {{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}}},
      {{{0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff}},
       {0xffffffff, 0xffffffff},
       {{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}}},
      {{{0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}},
       {0xa4093822, 0x299f31d0},
       {{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}}},
  };
  (void)state;
  for (size_t i = 0; i < PRN_COUNT(answers); i++) {
    prn_philox_block got = prn_philox4x32(answers[i].counter, answers[i].key);
    assert_memory_equal(&got, &answers[i].want, sizeof got);
  }
}

/* Any window of a stream is the same numbers; streams and seeds differ. */
static void windows(void **state) {
  uint32_t all[40], part[40];
  (void)state;
  prn_philox_words(0x123456789abcdef0u, 7, 0, 40, all);
  for (size_t at = 0; at < 40; at++)
    for (size_t n = 0; at + n <= 40; n++) {
      prn_philox_words(0x123456789abcdef0u, 7, at, n, part);
      assert_memory_equal(part, all + at, n * sizeof *part);
    }
  prn_philox_block b =
      prn_philox4x32((prn_philox_block){{2, 0, 7, 0}},
                     (const uint32_t[]){0x9abcdef0u, 0x12345678u});
  assert_memory_equal(&b, all + 8, sizeof b);
  prn_philox_words(0x123456789abcdef0u, 8, 0, 40, part);
  assert_memory_not_equal(part, all, sizeof part);
  prn_philox_words(0x123456789abcdef1u, 7, 0, 40, part);
  assert_memory_not_equal(part, all, sizeof part);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(known_answers),
      cmocka_unit_test(windows),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
