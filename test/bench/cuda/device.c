/* The driver, as far as a benchmark needs it: memory, graphs, time. */
#include <dlfcn.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "test/bench/cuda/bench.h"

#define DRIVER(X)                                                         \
  X(init, "cuInit", (unsigned))                                           \
  X(version, "cuDriverGetVersion", (int *))                               \
  X(device, "cuDeviceGet", (int *, int))                                  \
  X(attribute, "cuDeviceGetAttribute", (int *, int, int))                 \
  X(retain, "cuDevicePrimaryCtxRetain", (void **, int))                   \
  X(push, "cuCtxPushCurrent_v2", (void *))                                \
  X(alloc, "cuMemAlloc_v2", (pcu_ptr *, size_t))                          \
  X(free, "cuMemFree_v2", (pcu_ptr))                                      \
  X(put, "cuMemcpyHtoDAsync_v2", (pcu_ptr, const void *, size_t, void *)) \
  X(get, "cuMemcpyDtoHAsync_v2", (void *, pcu_ptr, size_t, void *))       \
  X(fill, "cuMemsetD32Async", (pcu_ptr, unsigned, size_t, void *))        \
  X(stream, "cuStreamCreate", (void **, unsigned))                        \
  X(wait, "cuStreamSynchronize", (void *))                                \
  X(begin, "cuStreamBeginCapture_v2", (void *, int))                      \
  X(end, "cuStreamEndCapture", (void *, void **))                         \
  X(instance, "cuGraphInstantiateWithFlags",                              \
    (void **, void *, unsigned long long))                                \
  X(launch, "cuGraphLaunch", (void *, void *))                            \
  X(forget, "cuGraphExecDestroy", (void *))                               \
  X(destroy, "cuGraphDestroy", (void *))                                  \
  X(event, "cuEventCreate", (void **, unsigned))                          \
  X(record, "cuEventRecord", (void *, void *))                            \
  X(elapsed, "cuEventElapsedTime", (float *, void *, void *))
/* What need not be there. */
#define MORE(X)                                  \
  X(name, "cuDeviceGetName", (char *, int, int)) \
  X(copy, "cuMemcpyDtoDAsync_v2", (pcu_ptr, pcu_ptr, size_t, void *))

enum { MULTIPROCESSORS = 16, MAJOR = 75, MINOR = 76, L2_BYTES = 38 };
enum { NVML_SM_CLOCK = 1, MAX_RUNS = 1000 };

#define FIELD(name, symbol, arguments) int(*name) arguments;
static struct { DRIVER(FIELD) MORE(FIELD) } cu;
#undef FIELD

static int device;
static void *stream;
static struct {
  void **at;
  size_t *sizes, n;
} allocations;
static void *nvml_device;
static int (*nvml_clock)(void *, int, unsigned *);

void bench_fail(const char *format, ...) {
  va_list ap;
  va_start(ap, format);
  (void)fputs("prune-bench-cuda: ", stderr);
  (void)vfprintf(stderr, format, ap);
  (void)fputc('\n', stderr);
  va_end(ap);
  exit(1);
}

void bench_must(const char *what, prune_cuda_status s) {
  const char *library, *from;
  int code;
  if (s == PRUNE_CUDA_OK) return;
  prune_cuda_last_lib(&library, &code, &from);
  bench_fail("%s: %s (%s %s gave %d)", what, prune_cuda_errstr(s), library,
             from, code);
}

static void must(const char *what, int code) {
  if (code) bench_fail("%s: error %d", what, code);
}

static void *symbol_of(void *library, const char *name, bool needed) {
  void *f = library ? dlsym(library, name) : NULL;
  if (!f && needed) bench_fail("%s is not in the driver", name);
  return f;
}

/* The library that nvidia-smi asks. */
static void open_nvml(void) {
  void *library = dlopen("libnvidia-ml.so.1", RTLD_NOW);
  int (*init)(void), (*by_index)(unsigned, void **);
  void *f = symbol_of(library, "nvmlInit_v2", false);
  void *g = symbol_of(library, "nvmlDeviceGetHandleByIndex_v2", false);
  void *h = symbol_of(library, "nvmlDeviceGetClockInfo", false);
  if (!f || !g || !h) return;
  memcpy(&init, &f, sizeof init);
  memcpy(&by_index, &g, sizeof by_index);
  if (init() || by_index(0, &nvml_device)) return;
  memcpy(&nvml_clock, &h, sizeof nvml_clock);
}

void dev_open(void) {
  void *context, *library = dlopen("libcuda.so.1", RTLD_NOW);
  if (!library) bench_fail("there is no driver: %s", dlerror());
#define LOAD(field, symbol, arguments)            \
  {                                               \
    void *f = symbol_of(library, symbol, needed); \
    memcpy(&cu.field, &f, sizeof f);              \
  }
  bool needed = true;
  DRIVER(LOAD)
  needed = false;
  MORE(LOAD)
#undef LOAD
  must("cuInit", cu.init(0));
  must("cuDeviceGet", cu.device(&device, 0));
  must("cuDevicePrimaryCtxRetain", cu.retain(&context, device));
  must("cuCtxPushCurrent", cu.push(context));
  must("cuStreamCreate", cu.stream(&stream, 1));
  open_nvml();
}

prune_cuda_stream dev_stream(void) { return stream; }

void dev_describe(FILE *to) {
  char name[128] = "";
  int version = 0, major = 0, minor = 0, processors = 0, l2 = 0;
  (void)cu.version(&version);
  (void)cu.attribute(&major, MAJOR, device);
  (void)cu.attribute(&minor, MINOR, device);
  (void)cu.attribute(&processors, MULTIPROCESSORS, device);
  (void)cu.attribute(&l2, L2_BYTES, device);
  if (cu.name) (void)cu.name(name, sizeof name, device);
  (void)fprintf(to,
                "\"device\": \"%s\", \"arch\": %d, \"multiprocessors\": %d, "
                "\"l2\": %d, \"driver\": %d, \"mhz\": %d",
                name, 10 * major + minor, processors, l2, version, dev_clock());
}

int dev_clock(void) {
  unsigned mhz = 0;
  if (!nvml_clock || nvml_clock(nvml_device, NVML_SM_CLOCK, &mhz)) return 0;
  return (int)mhz;
}

void *dev_alloc(size_t size) {
  pcu_ptr p;
  size_t i = allocations.n++;
  must("cuMemAlloc", cu.alloc(&p, size ? size : 1));
  allocations.at = realloc(allocations.at, (i + 1) * sizeof *allocations.at);
  allocations.sizes =
      realloc(allocations.sizes, (i + 1) * sizeof *allocations.sizes);
  if (!allocations.at || !allocations.sizes) bench_fail("no memory");
  allocations.at[i] = (void *)(uintptr_t)p;
  allocations.sizes[i] = size ? size : 1;
  return allocations.at[i];
}

void dev_free(void *p) {
  if (!p) return;
  must("cuMemFree", cu.free((pcu_ptr)(uintptr_t)p));
  for (size_t i = 0; i < allocations.n; i++)
    if (allocations.at[i] == p) allocations.at[i] = NULL;
}

bool dev_find(const void *p, size_t *index, size_t *offset) {
  for (size_t i = 0; i < allocations.n; i++) {
    uintptr_t begin = (uintptr_t)allocations.at[i], at = (uintptr_t)p;
    if (!begin || at < begin || at >= begin + allocations.sizes[i]) continue;
    *index = i;
    *offset = at - begin;
    return true;
  }
  return false;
}

size_t dev_allocations(void) { return allocations.n; }
size_t dev_allocated(size_t index) { return allocations.sizes[index]; }

void dev_wait(void) { must("cuStreamSynchronize", cu.wait(stream)); }

void dev_put(void *to, const void *from, size_t size) {
  must("cuMemcpyHtoDAsync", cu.put((uintptr_t)to, from, size, stream));
  dev_wait();
}
void dev_get(void *to, const void *from, size_t size) {
  must("cuMemcpyDtoHAsync", cu.get(to, (uintptr_t)from, size, stream));
  dev_wait();
}
void dev_fill(void *to, uint32_t value, size_t words) {
  must("cuMemsetD32Async", cu.fill((uintptr_t)to, value, words, stream));
  dev_wait();
}
void dev_mark(void *word) {
  must("cuMemsetD32Async", cu.fill((uintptr_t)word, 0, 1, stream));
}
bool dev_copy(void *to, const void *from, size_t size) {
  if (!cu.copy) return false;
  must("cuMemcpyDtoDAsync",
       cu.copy((uintptr_t)to, (uintptr_t)from, size, stream));
  return true;
}

dev_graph dev_capture(dev_work *work, void *user) {
  dev_graph g;
  must("cuStreamBeginCapture", cu.begin(stream, 0));
  work(user);
  must("cuStreamEndCapture", cu.end(stream, &g.graph));
  must("cuGraphInstantiate", cu.instance(&g.made, g.graph, 0));
  return g;
}

void dev_replay(const dev_graph *g) {
  must("cuGraphLaunch", cu.launch(g->made, stream));
}

void dev_graph_free(dev_graph *g) {
  must("cuGraphExecDestroy", cu.forget(g->made));
  must("cuGraphDestroy", cu.destroy(g->graph));
}

static int by_size(const void *a, const void *b) {
  double x = *(const double *)a, y = *(const double *)b;
  return (x > y) - (x < y);
}

/* Events between all of them: nothing waits until the last has run. */
dev_times dev_time(const dev_graph *g, int warm, int runs) {
  static void *events[MAX_RUNS + 1];
  double us[MAX_RUNS];
  if (runs < 1 || runs > MAX_RUNS) bench_fail("%d runs cannot be timed", runs);
  for (int i = 0; i <= runs; i++)
    if (!events[i]) must("cuEventCreate", cu.event(&events[i], 0));
  for (int i = 0; i < warm; i++)
    dev_replay(g);
  must("cuEventRecord", cu.record(events[0], stream));
  for (int i = 0; i < runs; i++) {
    dev_replay(g);
    must("cuEventRecord", cu.record(events[i + 1], stream));
  }
  dev_times t = {.mhz = dev_clock()};
  dev_wait();
  for (int i = 0; i < runs; i++) {
    float ms;
    must("cuEventElapsedTime", cu.elapsed(&ms, events[i], events[i + 1]));
    us[i] = (double)ms * 1000;
  }
  qsort(us, (size_t)runs, sizeof *us, by_size);
  t.median = us[runs / 2];
  t.least = us[0];
  t.most = us[runs - 1];
  t.low = us[runs / 10];
  t.high = us[runs - 1 - runs / 10];
  return t;
}
