/* Writes down what libraries are asked and what they answer: functions that
 * stand before theirs (options.symbol), made of a table. What a line refers to
 * is a number that is the same wherever it is replayed: handles and structures
 * in the order of their appearance, addresses as places in allocations. */
#include <dlfcn.h>
#include <stdlib.h>
#include <string.h>

#include "test/bench/cuda/bench.h"

enum { MAX_NAMES = 4096, MAX_ALGOS = 1024 };

static struct {
  FILE *to;
  struct {
    const void *p;
    int id;
  } names[MAX_NAMES];
  int num_names, next_id, num_algos;
  pcu_lt_algo algos[MAX_ALGOS];
  bool told[MAX_NAMES]; /* allocations */
} record;

static struct {
  pcu_blaslt lt;
  pcu_sparselt slt;
} real;

static int new_id(const void *p) {
  int i = 0;
  while (i < record.num_names && record.names[i].p != p)
    i++;
  if (i == MAX_NAMES) bench_fail("more handles than a transcript has");
  if (i == record.num_names) record.num_names++;
  record.names[i].p = p;
  return record.names[i].id = record.next_id++;
}

static int id_of(const void *p) {
  if (!p) return -1;
  for (int i = 0; i < record.num_names; i++)
    if (record.names[i].p == p) return record.names[i].id;
  return new_id(p);
}

static int id_of_algo(const pcu_lt_algo *a) {
  int i = 0;
  while (i < record.num_algos && memcmp(&record.algos[i], a, sizeof *a) != 0)
    i++;
  if (i == MAX_ALGOS) bench_fail("more algorithms than a transcript has");
  if (i == record.num_algos) record.algos[record.num_algos++] = *a;
  return i;
}

/* Allocations are told of before they are first named. */
static void tell(const void *p) {
  size_t i, offset;
  if (!dev_find(p, &i, &offset) || i >= MAX_NAMES || record.told[i]) return;
  record.told[i] = true;
  (void)fprintf(record.to, "{\"alloc\": %zu, \"size\": %zu}\n", i,
                dev_allocated(i));
}

static void put_place(const void *p) {
  size_t i, offset;
  if (dev_find(p, &i, &offset))
    (void)fprintf(record.to, "[%zu, %zu]", i, offset);
  else
    (void)fputs("null", record.to);
}

/* Attributes that are addresses are written as such. */
static void put_attribute(const void *data, size_t size) {
  const void *p = NULL;
  size_t i, offset;
  if (size == sizeof p) memcpy(&p, data, sizeof p);
  if (dev_find(p, &i, &offset)) {
    put_place(p);
    return;
  }
  (void)fputc('"', record.to);
  for (size_t b = 0; b < size; b++)
    (void)fprintf(record.to, "%02x", ((const unsigned char *)data)[b]);
  (void)fputc('"', record.to);
}

static void put_results(const pcu_lt_result *r, int n) {
  (void)fputc('[', record.to);
  for (int i = 0; i < n; i++)
    (void)fprintf(record.to, "%s[%d, %zu, %d]", i ? ", " : "",
                  id_of_algo(&r[i].algo), r[i].space, r[i].state);
  (void)fputc(']', record.to);
}

static void *pointer(uint64_t word) { return (void *)(uintptr_t)word; }

static void put_number(const void *p, char kind) {
  if (kind == 'I')
    (void)fprintf(record.to, "%d", *(const int *)p);
  else if (kind == 'Z')
    (void)fprintf(record.to, "%zu", *(const size_t *)p);
  else
    (void)fprintf(record.to, "%g", (double)*(const float *)p);
}

/* Argument i after the call, which failed unless code is 0. */
static void put_argument(const char *kinds, const uint64_t *args, int i,
                         int code) {
  void *p = pointer(args[i]);
  switch (kinds[i]) {
  case 'h':
  case 's':
    (void)fprintf(record.to, "%d", id_of(p));
    break;
  case 'H':
    (void)fprintf(record.to, "%d", code ? -1 : new_id(*(void **)p));
    break;
  case 'p':
    put_place(p);
    break;
  case 'v':
  case 'V':
    put_attribute(p, args[i + 1]);
    break;
  case 'a':
    (void)fprintf(record.to, "%d", id_of_algo(p));
    break;
  case 'r':
    put_results(p, code ? 0 : *(int *)pointer(args[i + 1]));
    break;
  case 'R':
    put_results(p, code ? 0 : 1);
    break;
  case 'I':
  case 'Z':
  case 'f':
    put_number(p, kinds[i]);
    break;
  case 'q':
  case 'Q':
    (void)fputs("null", record.to);
    break;
  default:
    (void)fprintf(record.to, "%lld", (long long)args[i]);
  }
}

static int said(const char *symbol, const char *kinds, const uint64_t *args,
                int code) {
  if (!record.to) return code;
  for (int i = 0; kinds[i]; i++) {
    if (kinds[i] == 'p') tell(pointer(args[i]));
    if (kinds[i] == 'v' && args[i + 1] == sizeof(void *))
      tell(*(void **)pointer(args[i]));
  }
  (void)fprintf(record.to, "{\"call\": \"%s\", \"kinds\": \"%s\", \"args\": [",
                symbol, kinds);
  for (int i = 0; kinds[i]; i++) {
    if (i) (void)fputs(", ", record.to);
    put_argument(kinds, args, i, code);
  }
  (void)fprintf(record.to, "], \"status\": %d}\n", code);
  return code;
}

/* clang-format off */
#define W(x) (uint64_t)(uintptr_t)(x)
#define BODY(lib, field, symbol, kinds, call, ...)                             \
  const uint64_t args[] = {__VA_ARGS__};                                       \
  return said(symbol, kinds, args, real.lib.field call);
#define CALL1(l, f, s, k, A)                                                   \
  static int l##_##f(A a) { BODY(l, f, s, k, (a), W(a)) }
#define CALL2(l, f, s, k, A, B)                                                \
  static int l##_##f(A a, B b) { BODY(l, f, s, k, (a, b), W(a), W(b)) }
#define CALL3(l, f, s, k, A, B, C)                                             \
  static int l##_##f(A a, B b, C c) {                                          \
    BODY(l, f, s, k, (a, b, c), W(a), W(b), W(c)) }
#define CALL4(l, f, s, k, A, B, C, D)                                          \
  static int l##_##f(A a, B b, C c, D d) {                                     \
    BODY(l, f, s, k, (a, b, c, d), W(a), W(b), W(c), W(d)) }
#define CALL5(l, f, s, k, A, B, C, D, E)                                       \
  static int l##_##f(A a, B b, C c, D d, E e) {                                \
    BODY(l, f, s, k, (a, b, c, d, e), W(a), W(b), W(c), W(d), W(e)) }
#define CALL8(l, f, s, k, A, B, C, D, E, F, G, H)                              \
  static int l##_##f(A a, B b, C c, D d, E e, F g, G h, H i) {                 \
    BODY(l, f, s, k, (a, b, c, d, e, g, h, i), W(a), W(b), W(c), W(d), W(e),   \
         W(g), W(h), W(i)) }
#define CALL9(l, f, s, k, A, B, C, D, E, F, G, H, I)                           \
  static int l##_##f(A a, B b, C c, D d, E e, F g, G h, H i, I j) {            \
    BODY(l, f, s, k, (a, b, c, d, e, g, h, i, j), W(a), W(b), W(c), W(d),      \
         W(e), W(g), W(h), W(i), W(j)) }
#define CALL10(l, f, s, k, A, B, C, D, E, F, G, H, I, J)                       \
  static int l##_##f(A a, B b, C c, D d, E e, F g, G h, H i, I j, J m) {       \
    BODY(l, f, s, k, (a, b, c, d, e, g, h, i, j, m), W(a), W(b), W(c), W(d),   \
         W(e), W(g), W(h), W(i), W(j), W(m)) }
#define CALL11(l, f, s, k, A, B, C, D, E, F, G, H, I, J, K)                    \
  static int l##_##f(A a, B b, C c, D d, E e, F g, G h, H i, I j, J m, K n) {  \
    BODY(l, f, s, k, (a, b, c, d, e, g, h, i, j, m, n), W(a), W(b), W(c),      \
         W(d), W(e), W(g), W(h), W(i), W(j), W(m), W(n)) }
#define CALL16(l, f, s, k, A, B, C, D, E, F, G, H, I, J, K, L, M, N, O, P)     \
  static int l##_##f(A a, B b, C c, D d, E e, F g, G h, H i, I j, J m, K n,    \
                     L o, M p, N q, O r, P t) {                                \
    BODY(l, f, s, k, (a, b, c, d, e, g, h, i, j, m, n, o, p, q, r, t), W(a),   \
         W(b), W(c), W(d), W(e), W(g), W(h), W(i), W(j), W(m), W(n), W(o),     \
         W(p), W(q), W(r), W(t)) }
#include "test/bench/cuda/calls.def"
#undef CALL1
#undef CALL2
#undef CALL3
#undef CALL4
#undef CALL5
#undef CALL8
#undef CALL9
#undef CALL10
#undef CALL11
#undef CALL16
/* clang-format on */

typedef void any_fn(void);
static const struct {
  const char *symbol;
  any_fn *ours;
  void *real;
} calls[] = {
#define ENTRY(l, f, s, ...) {s, (any_fn *)l##_##f, &real.l.f},
#define CALL1               ENTRY
#define CALL2               ENTRY
#define CALL3               ENTRY
#define CALL4               ENTRY
#define CALL5               ENTRY
#define CALL8               ENTRY
#define CALL9               ENTRY
#define CALL10              ENTRY
#define CALL11              ENTRY
#define CALL16              ENTRY
#include "test/bench/cuda/calls.def"
};

static void *open_library(const char *library) {
  static const struct {
    const char *library, *file;
  } rows[] = {{"cuda", "libcuda.so.1"},
              {"cublasLt", "libcublasLt.so.13"},
              {"cublasLt", "libcublasLt.so.12"},
              {"cusparseLt", "libcusparseLt.so.0"}};
  void *found = NULL;
  for (size_t i = 0; i < sizeof rows / sizeof *rows && !found; i++)
    if (strcmp(library, rows[i].library) == 0)
      found = dlopen(rows[i].file, RTLD_NOW);
  return found;
}

void *record_symbol(void *user, const char *library, const char *name) {
  void *opened = open_library(library);
  void *f = opened ? dlsym(opened, name) : NULL;
  (void)user;
  for (size_t i = 0; f && i < sizeof calls / sizeof *calls; i++) {
    if (strcmp(calls[i].symbol, name) != 0) continue;
    memcpy(calls[i].real, &f, sizeof f);
    memcpy(&f, &calls[i].ours, sizeof f);
    return f;
  }
  return f;
}

void record_open(const char *path) {
  memset(&record, 0, sizeof record);
  record.to = fopen(path, "w");
  if (!record.to) bench_fail("%s cannot be written", path);
}

void record_capture(bool begins) {
  (void)fprintf(record.to, "{\"capture\": %s}\n", begins ? "true" : "false");
}

void record_close(void) {
  if (fclose(record.to) != 0) bench_fail("the transcript cannot be written");
  record.to = NULL;
}
