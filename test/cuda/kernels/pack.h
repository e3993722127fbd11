/* The compiler's own packing, for tests in C++. */
#ifndef TEST_CUDA_KERNELS_PACK_H
#define TEST_CUDA_KERNELS_PACK_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Of bytes, x is signed or not; weights are. */
enum test_type { TEST_F16, TEST_BF16, TEST_F32, TEST_U8, TEST_I8, TEST_E4M3,
                 TEST_E5M2 };

/* The bytes of w[n][k] in a format of ir/pack, aligned to 64; to be freed. */
void *test_pack(const char *format, enum test_type type, const float *w,
                int64_t k, int64_t n, size_t *size);

#ifdef __cplusplus
}
#endif
#endif
