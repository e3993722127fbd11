#include "ir/support/philox.h"

enum { ROUNDS = 10 };

prn_philox_block prn_philox4x32(prn_philox_block c, const uint32_t key[2]) {
  uint32_t k0 = key[0], k1 = key[1];
  for (int i = 0; i < ROUNDS; i++) {
    uint64_t a = (uint64_t)0xD2511F53u * c.v[0];
    uint64_t b = (uint64_t)0xCD9E8D57u * c.v[2];
    c = (prn_philox_block){{(uint32_t)(b >> 32) ^ c.v[1] ^ k0, (uint32_t)b,
                            (uint32_t)(a >> 32) ^ c.v[3] ^ k1, (uint32_t)a}};
    k0 += 0x9E3779B9u; /* the golden ratio */
    k1 += 0xBB67AE85u; /* sqrt(3) - 1 */
  }
  return c;
}

void prn_philox_words(uint64_t seed, uint32_t stream, uint64_t at, size_t n,
                      uint32_t *out) {
  const uint32_t key[2] = {(uint32_t)seed, (uint32_t)(seed >> 32)};
  for (size_t i = 0; i < n;) {
    uint64_t index = (at + i) / 4;
    prn_philox_block b =
        prn_philox4x32((prn_philox_block){{(uint32_t)index,
                                           (uint32_t)(index >> 32), stream, 0}},
                       key);
    for (uint32_t k = (uint32_t)((at + i) % 4); k < 4 && i < n; k++)
      out[i++] = b.v[k];
  }
}
