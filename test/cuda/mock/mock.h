/* A driver and libraries without a GPU: what runs against CUDA runs against
 * these, unchanged, with LD_LIBRARY_PATH set to their folder. Device memory is
 * host memory that begins as 0xcd; kernels are emulated (PRUNE_MOCK_KERNELS
 * names a library of them, made of the kernels' own source with -DPMK_CPU); the
 * libraries compute plainly, and check what they are called with. What breaks
 * a rule is printed as `mock: …` and fails as the real thing would.
 *
 *   PRUNE_MOCK_ARCH        compute capability, 90
 *   PRUNE_MOCK_DRIVER      version of the driver, 13000
 *   PRUNE_MOCK_KERNELS     the library of kernels
 *   PRUNE_MOCK_CUBLASLT    version, 130100
 *   PRUNE_MOCK_CUSPARSELT  version, 0.8.1
 *   PRUNE_MOCK_CUSPARSE    version, 12.6.3
 *   PRUNE_MOCK_CUDNN       version, 91900
 *   PRUNE_MOCK_REFUSE      a function of a library that fails */
#ifndef PRN_TEST_CUDA_MOCK_H
#define PRN_TEST_CUDA_MOCK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define MOCK_API __attribute__((visibility("default")))

/* What was called so far. */
typedef struct mock_counts {
  long launches, products, copies, fills, waits, allocations, loads, asked;
  long mistakes; /* broken rules */
  long live;     /* handles that were made and not given back */
} mock_counts;

/* For tests. */
MOCK_API mock_counts mock_count(void);
/* Forgets a failed launch, which fails everything after it. */
MOCK_API void mock_forget_error(void);

/* For the mock libraries. */
MOCK_API void mock_mistake(const char *format, ...)
    __attribute__((format(printf, 1, 2)));
/* Has work(data) done when it is the stream's turn, which takes so many
 * microseconds of the clock that events read; data is copied. */
MOCK_API int mock_enqueue(void *stream, void (*work)(const void *data),
                          const void *data, size_t size, double micros);
/* [p, p + size) lies in one piece of device memory. */
MOCK_API bool mock_is_device(const void *p, size_t size);
/* Some stream is being captured: a library must not think now. */
MOCK_API bool mock_is_capturing(void);
/* A library was asked to think. */
MOCK_API void mock_asked(void);
/* So many handles more, or less. */
MOCK_API void mock_handles(int by);
MOCK_API bool mock_refuses(const char *function);

/* Elements by the numbers of cudaDataType. */
enum { MOCK_F32 = 0, MOCK_F16 = 2, MOCK_BF16 = 14 };
size_t mock_size(int type);
double mock_load(const void *p, size_t i, int type);
void mock_store(void *p, size_t i, int type, double v);

#endif
