/* Words every file uses: status, attributes, checked arithmetic.
 *
 * User faults are reported to the context's diagnostic sink and travel up as
 * PRN_FAIL; the text lives in the sink, so there is nothing to free. Our own
 * mistakes are assertions. */
#ifndef PRN_IR_SUPPORT_BASE_H
#define PRN_IR_SUPPORT_BASE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef enum prn_status { PRN_OK = 0, PRN_FAIL = 1 } prn_status;

#define PRN_NODISCARD    __attribute__((warn_unused_result))
#define PRN_PRINTF(f, a) __attribute__((format(printf, f, a)))
#define PRN_UNUSED       __attribute__((unused))
#define PRN_COUNT(a)     (sizeof(a) / sizeof((a)[0]))

/* Returns PRN_FAIL from the enclosing function when expr fails. */
#define PRN_TRY(expr)                      \
  do {                                     \
    if ((expr) != PRN_OK) return PRN_FAIL; \
  } while (0)

/* *out = a * b, false on overflow (then *out is unspecified). */
static inline bool prn_mul_i64(int64_t a, int64_t b, int64_t *out) {
  return !__builtin_mul_overflow(a, b, out);
}
static inline bool prn_add_i64(int64_t a, int64_t b, int64_t *out) {
  return !__builtin_add_overflow(a, b, out);
}
static inline bool prn_mul_size(size_t a, size_t b, size_t *out) {
  return !__builtin_mul_overflow(a, b, out);
}
static inline bool prn_add_size(size_t a, size_t b, size_t *out) {
  return !__builtin_add_overflow(a, b, out);
}

#endif
