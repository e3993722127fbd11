/* libcuda.so.1: see mock.h. What a stream is given is done at once, or kept in
 * a graph while the stream is captured and done at each launch of the graph. */
#include <dlfcn.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "mock.h"

typedef unsigned long long device_ptr;

enum {
  OK = 0,
  INVALID_VALUE = 1,
  OUT_OF_MEMORY = 2,
  NOT_INITIALIZED = 3,
  INVALID_DEVICE = 101,
  INVALID_IMAGE = 200,
  INVALID_CONTEXT = 201,
  INVALID_HANDLE = 400,
  NOT_FOUND = 500,
  LAUNCH_FAILED = 719,
  CAPTURE_UNSUPPORTED = 900,
  CAPTURE_INVALIDATED = 901,
  PARAMETERS = 4096, /* bytes that a kernel is passed */
  CONTEXTS = 8,      /* pushed at a time by a thread */
  MAX_SHARED = 232448
};

typedef struct node {
  struct node *next;
  void (*work)(const void *data);
  double micros;
  _Alignas(16) unsigned char data[];
} node;

typedef struct graph {
  node *first, **end;
  int instances; /* which outlive it */
} graph;

typedef struct stream {
  graph *captured; /* NULL: it runs */
  bool invalid;
} stream;

typedef struct piece {
  unsigned char *data;
  size_t size;
} piece;

typedef struct event {
  double at;
} event;

typedef int emulate_fn(void (*)(void **), unsigned, unsigned, unsigned,
                       unsigned, size_t, void **);

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_mutex_t emulator = PTHREAD_MUTEX_INITIALIZER; /* one launch */
static mock_counts counts;
static piece *pieces;
static size_t num_pieces;
static int started, captures, failure;
static double now; /* microseconds */
static char the_context, the_device_library;
static void *kernels;
static void *large[512]; /* kernels that may have more than 48 KiB */
static size_t num_large;
static emulate_fn *emulate;
static const char *(*emulator_error)(void);
static int (*register_buffer)(const void *, size_t);
static void (*unregister_buffer)(const void *);
static _Thread_local void *contexts[CONTEXTS];
static _Thread_local int num_contexts;

#define COUNT(what)                    \
  do {                                 \
    (void)pthread_mutex_lock(&lock);   \
    counts.what++;                     \
    (void)pthread_mutex_unlock(&lock); \
  } while (0)

mock_counts mock_count(void) {
  (void)pthread_mutex_lock(&lock);
  mock_counts c = counts;
  (void)pthread_mutex_unlock(&lock);
  return c;
}

void mock_forget_error(void) { failure = OK; }
void mock_asked(void) { COUNT(asked); }
void mock_handles(int by) {
  (void)pthread_mutex_lock(&lock);
  counts.live += by;
  (void)pthread_mutex_unlock(&lock);
}
bool mock_is_capturing(void) { return captures != 0; }

void mock_mistake(const char *format, ...) {
  va_list ap;
  COUNT(mistakes);
  va_start(ap, format);
  (void)fputs("mock: ", stderr);
  (void)vfprintf(stderr, format, ap);
  (void)fputc('\n', stderr);
  va_end(ap);
}

bool mock_refuses(const char *function) {
  const char *name = getenv("PRUNE_MOCK_REFUSE");
  return name && strcmp(name, function) == 0;
}

bool mock_is_device(const void *p, size_t size) {
  bool found = false;
  (void)pthread_mutex_lock(&lock);
  for (size_t i = 0; i < num_pieces && !found; i++) {
    const unsigned char *at = p;
    found = at >= pieces[i].data && at <= pieces[i].data + pieces[i].size &&
            size <= (size_t)(pieces[i].data + pieces[i].size - at);
  }
  (void)pthread_mutex_unlock(&lock);
  return found;
}

static int setting(const char *name, int otherwise) {
  const char *text = getenv(name);
  return text ? (int)strtol(text, NULL, 10) : otherwise;
}

static void *pointer(device_ptr p) { return (void *)(uintptr_t)p; }

/* 0, or why nothing can be done in this thread. */
static int ready(void) {
  if (!started) return NOT_INITIALIZED;
  if (num_contexts == 0) return INVALID_CONTEXT;
  return failure;
}

/* What may not be done while any stream is captured; it spoils the capture. */
static int refuse_capture(stream *s, const char *what) {
  if (!captures) return OK;
  if (s) s->invalid = true;
  mock_mistake("%s while a stream is captured", what);
  return CAPTURE_UNSUPPORTED;
}

int mock_enqueue(void *handle, void (*work)(const void *), const void *data,
                 size_t size, double micros) {
  stream *s = handle;
  if (!s || !s->captured) {
    work(data);
    (void)pthread_mutex_lock(&lock);
    now += micros;
    (void)pthread_mutex_unlock(&lock);
    return OK;
  }
  node *n = malloc(sizeof *n + size);
  if (!n) return OUT_OF_MEMORY;
  n->next = NULL;
  n->work = work;
  n->micros = micros;
  memcpy(n->data, data, size);
  *s->captured->end = n;
  s->captured->end = &n->next;
  return OK;
}

/* Devices and contexts */

MOCK_API int cuInit(unsigned flags) {
  started = 1;
  return flags ? INVALID_VALUE : OK;
}
MOCK_API int cuDriverGetVersion(int *version) {
  *version = setting("PRUNE_MOCK_DRIVER", 13000);
  return OK;
}
MOCK_API int cuDeviceGet(int *device, int number) {
  *device = 0;
  return !started ? NOT_INITIALIZED : number ? INVALID_DEVICE : OK;
}
/* Bytes that a block can ask for, as these devices have them. */
static int max_shared(int arch) {
  return arch == 86 || arch == 89 ? 101376 : arch < 90 ? 166912 : MAX_SHARED;
}

MOCK_API int cuDeviceGetAttribute(int *out, int attribute, int device) {
  int arch = setting("PRUNE_MOCK_ARCH", 90);
  if (device) return INVALID_DEVICE;
  switch (attribute) {
  case 75:
    *out = arch / 10;
    return OK;
  case 76:
    *out = arch % 10;
    return OK;
  case 97:
    *out = max_shared(arch);
    return OK;
  default:
    return INVALID_VALUE;
  }
}
MOCK_API int cuDevicePrimaryCtxRetain(void **context, int device) {
  *context = &the_context;
  mock_handles(1);
  return device ? INVALID_DEVICE : OK;
}
MOCK_API int cuDevicePrimaryCtxRelease_v2(int device) {
  mock_handles(-1);
  return device ? INVALID_DEVICE : OK;
}
MOCK_API int cuCtxPushCurrent_v2(void *context) {
  if (context != &the_context || num_contexts == CONTEXTS)
    return INVALID_CONTEXT;
  contexts[num_contexts++] = context;
  return OK;
}
MOCK_API int cuCtxPopCurrent_v2(void **context) {
  if (num_contexts == 0) return INVALID_CONTEXT;
  *context = contexts[--num_contexts];
  return OK;
}
MOCK_API int cuCtxGetCurrent(void **context) {
  *context = num_contexts ? contexts[num_contexts - 1] : NULL;
  return started ? OK : NOT_INITIALIZED;
}
MOCK_API int cuCtxGetDevice(int *device) {
  *device = 0;
  return ready();
}

/* Kernels */

static bool open_kernels(void) {
  const char *path = getenv("PRUNE_MOCK_KERNELS");
  if (kernels) return true;
  if (!path) {
    mock_mistake("PRUNE_MOCK_KERNELS is not set");
    return false;
  }
  kernels = dlopen(path, RTLD_NOW | RTLD_LOCAL);
  if (!kernels) {
    mock_mistake("%s", dlerror());
    return false;
  }
  const struct {
    const char *name;
    void *to;
  } rows[] = {{"pmk_emulate", &emulate},
              {"pmk_error", &emulator_error},
              {"pmk_register", &register_buffer},
              {"pmk_unregister", &unregister_buffer}};
  for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
    void *f = dlsym(kernels, rows[i].name);
    memcpy(rows[i].to, &f, sizeof f);
  }
  for (size_t i = 0; i < num_pieces && register_buffer; i++)
    (void)register_buffer(pieces[i].data, pieces[i].size);
  return emulate != NULL;
}

/* A fatbin, an ELF file or PTX. */
static bool is_image(const void *image) {
  static const unsigned char fatbin[] = {0x50, 0xed, 0x55, 0xba};
  return memcmp(image, fatbin, 4) == 0 || memcmp(image, "\177ELF", 4) == 0 ||
         memcmp(image, "//", 2) == 0 || memcmp(image, ".ver", 4) == 0;
}

MOCK_API int cuLibraryLoadData(void **library, const void *image,
                               const int *jit, void **jit_values,
                               unsigned num_jit, const int *options,
                               void **values, unsigned num_options) {
  (void)jit, (void)jit_values, (void)options, (void)values;
  int e = ready();
  if (!e) e = refuse_capture(NULL, "cuLibraryLoadData");
  if (e) return e;
  if (num_jit || num_options || !is_image(image)) return INVALID_IMAGE;
  COUNT(loads);
  mock_handles(1);
  *library = &the_device_library;
  return open_kernels() ? OK : INVALID_IMAGE;
}
MOCK_API int cuLibraryUnload(void *library) {
  mock_handles(-1);
  return library == &the_device_library ? OK : INVALID_HANDLE;
}
MOCK_API int cuLibraryGetKernel(void **kernel, void *library,
                                const char *name) {
  if (library != &the_device_library) return INVALID_HANDLE;
  *kernel = dlsym(kernels, name);
  return *kernel ? OK : NOT_FOUND;
}
MOCK_API int cuKernelGetFunction(void **function, void *kernel) {
  *function = kernel;
  return ready();
}
MOCK_API int cuFuncGetAttribute(int *out, int attribute, void *function) {
  *out = 1024;
  return attribute == 0 && function ? OK : INVALID_VALUE;
}
MOCK_API int cuFuncSetAttribute(void *function, int attribute, int value) {
  if (attribute != 8 || !function ||
      value > max_shared(setting("PRUNE_MOCK_ARCH", 90)) ||
      num_large == sizeof large / sizeof *large)
    return INVALID_VALUE;
  large[num_large++] = function;
  return OK;
}

typedef struct launch {
  void *function;
  unsigned grid[3], threads, shared;
  _Alignas(16) unsigned char parameters[PARAMETERS];
} launch;

static void do_launch(const void *data) {
  const launch *l = data;
  unsigned char copy[PARAMETERS];
  void *params[] = {copy};
  void (*kernel)(void **);
  memcpy(&kernel, &l->function, sizeof kernel);
  memcpy(copy, l->parameters, sizeof copy);
  (void)pthread_mutex_lock(&emulator);
  if (emulate(kernel, l->grid[0], l->grid[1], l->grid[2], l->threads, l->shared,
              params)) {
    mock_mistake("a kernel failed: %s",
                 emulator_error ? emulator_error() : "no reason given");
    failure = LAUNCH_FAILED;
  }
  (void)pthread_mutex_unlock(&emulator);
}

static bool may_be_large(const void *function) {
  for (size_t i = 0; i < num_large; i++)
    if (large[i] == function) return true;
  return false;
}

MOCK_API int cuLaunchKernel(void *function, unsigned gx, unsigned gy,
                            unsigned gz, unsigned bx, unsigned by, unsigned bz,
                            unsigned shared, void *s, void **params,
                            void **extra) {
  int e = ready();
  if (e) return e;
  if (!gx || !gy || !gz || gy > 65535 || gz > 65535 || gx > INT32_MAX || !bx ||
      bx > 1024 || by != 1 || bz != 1 || extra ||
      (shared > 49152 && !may_be_large(function))) {
    mock_mistake("a launch of %u,%u,%u blocks of %u threads", gx, gy, gz, bx);
    return INVALID_VALUE;
  }
  COUNT(launches);
  launch l = {.function = function,
              .grid = {gx, gy, gz},
              .threads = bx,
              .shared = shared};
  memcpy(l.parameters, params[0], sizeof l.parameters);
  return mock_enqueue(s, do_launch, &l, sizeof l,
                      5 + 0.01 * (double)gx * (double)gy * (double)gz);
}

/* Memory */

MOCK_API int cuMemAlloc_v2(device_ptr *out, size_t size) {
  int e = ready();
  if (!e) e = refuse_capture(NULL, "cuMemAlloc");
  if (e) return e;
  if (size == 0) return INVALID_VALUE;
  COUNT(allocations);
  unsigned char *p = aligned_alloc(256, (size + 255) / 256 * 256);
  piece *grown = realloc(pieces, (num_pieces + 1) * sizeof *pieces);
  if (grown) pieces = grown;
  if (!p || !grown) {
    free(p);
    return OUT_OF_MEMORY;
  }
  memset(p, 0xcd, size);
  (void)pthread_mutex_lock(&lock);
  pieces[num_pieces++] = (piece){p, size};
  (void)pthread_mutex_unlock(&lock);
  if (register_buffer) (void)register_buffer(p, size);
  *out = (device_ptr)(uintptr_t)p;
  return OK;
}

MOCK_API int cuMemFree_v2(device_ptr p) {
  int e = refuse_capture(NULL, "cuMemFree");
  if (e) return e;
  for (size_t i = 0; i < num_pieces; i++) {
    if (pieces[i].data != pointer(p)) continue;
    if (unregister_buffer) unregister_buffer(pieces[i].data);
    free(pieces[i].data);
    (void)pthread_mutex_lock(&lock);
    pieces[i] = pieces[--num_pieces];
    (void)pthread_mutex_unlock(&lock);
    if (num_pieces == 0) {
      free(pieces);
      pieces = NULL;
    }
    return OK;
  }
  return INVALID_VALUE;
}

typedef struct copy {
  void *to;
  const void *from;
  size_t size;
  uint32_t value;
} copy;

static void do_copy(const void *data) {
  const copy *c = data;
  memcpy(c->to, c->from, c->size);
}
static void do_fill(const void *data) {
  const copy *c = data;
  for (size_t i = 0; i < c->size; i++)
    memcpy((unsigned char *)c->to + 4 * i, &c->value, 4);
}

static int enqueue_copy(copy c, const void *device, void *s) {
  int e = ready();
  if (e) return e;
  if (!mock_is_device(device, c.size)) {
    mock_mistake("a copy of %zu bytes that are not the device's", c.size);
    return INVALID_VALUE;
  }
  COUNT(copies);
  return mock_enqueue(s, do_copy, &c, sizeof c, 1);
}

MOCK_API int cuMemcpyHtoDAsync_v2(device_ptr to, const void *from, size_t size,
                                  void *s) {
  return enqueue_copy((copy){pointer(to), from, size, 0}, pointer(to), s);
}
MOCK_API int cuMemcpyDtoHAsync_v2(void *to, device_ptr from, size_t size,
                                  void *s) {
  return enqueue_copy((copy){to, pointer(from), size, 0}, pointer(from), s);
}
MOCK_API int cuMemsetD32Async(device_ptr to, unsigned value, size_t n,
                              void *s) {
  copy c = {pointer(to), NULL, n, value};
  int e = ready();
  if (e) return e;
  if (!mock_is_device(c.to, 4 * n)) {
    mock_mistake("filling %zu words that are not the device's", n);
    return INVALID_VALUE;
  }
  COUNT(fills);
  return mock_enqueue(s, do_fill, &c, sizeof c, 1);
}

/* Streams, events and graphs */

MOCK_API int cuStreamCreate(void **out, unsigned flags) {
  (void)flags;
  *out = calloc(1, sizeof(stream));
  return *out ? ready() : OUT_OF_MEMORY;
}
MOCK_API int cuStreamDestroy_v2(void *s) {
  free(s);
  return OK;
}
MOCK_API int cuStreamSynchronize(void *s) {
  int e = refuse_capture(s, "cuStreamSynchronize");
  COUNT(waits);
  return e ? e : ready();
}
MOCK_API int cuStreamIsCapturing(void *handle, int *out) {
  stream *s = handle;
  *out = !s || !s->captured ? 0 : s->invalid ? 2 : 1;
  return OK;
}

static void free_graph(graph *g) {
  if (g->instances-- > 0) return;
  for (node *n = g->first, *next; n; n = next) {
    next = n->next;
    free(n);
  }
  free(g);
}

MOCK_API int cuStreamBeginCapture_v2(void *handle, int mode) {
  stream *s = handle;
  (void)mode;
  if (!s || s->captured) return INVALID_VALUE;
  s->captured = calloc(1, sizeof *s->captured);
  if (!s->captured) return OUT_OF_MEMORY;
  s->captured->end = &s->captured->first;
  s->invalid = false;
  captures++;
  return OK;
}
MOCK_API int cuStreamEndCapture(void *handle, void **out) {
  stream *s = handle;
  if (!s || !s->captured) return INVALID_VALUE;
  *out = s->captured;
  s->captured = NULL;
  captures--;
  if (!s->invalid) return OK;
  free_graph(*out);
  *out = NULL;
  return CAPTURE_INVALIDATED;
}
/* An instance is its graph, which lives as long as either. */
MOCK_API int cuGraphInstantiateWithFlags(void **out, void *handle,
                                         unsigned long long flags) {
  graph *g = handle;
  if (flags) return INVALID_VALUE;
  g->instances++;
  *out = g;
  return OK;
}
MOCK_API int cuGraphLaunch(void *handle, void *s) {
  const graph *g = handle;
  int e = ready();
  (void)s;
  for (const node *n = g->first; n && !e; n = n->next) {
    n->work(n->data);
    now += n->micros;
  }
  return e;
}
MOCK_API int cuGraphExecDestroy(void *g) {
  free_graph(g);
  return OK;
}
MOCK_API int cuGraphDestroy(void *g) {
  free_graph(g);
  return OK;
}
MOCK_API int cuEventCreate(void **out, unsigned flags) {
  mock_handles(1);
  (void)flags;
  *out = calloc(1, sizeof(event));
  return *out ? OK : OUT_OF_MEMORY;
}
MOCK_API int cuEventDestroy_v2(void *e) {
  mock_handles(-1);
  free(e);
  return OK;
}
MOCK_API int cuEventRecord(void *handle, void *s) {
  event *e = handle;
  (void)s;
  e->at = now;
  return ready();
}
MOCK_API int cuEventSynchronize(void *e) {
  COUNT(waits);
  return e ? refuse_capture(NULL, "cuEventSynchronize") : INVALID_HANDLE;
}
MOCK_API int cuEventElapsedTime(float *ms, void *begin, void *end) {
  *ms = (float)((((event *)end)->at - ((event *)begin)->at) / 1000);
  return OK;
}
