/* A program that runs the model of a folder, as a user writes it: memory is had
 * from the driver, which is opened by name, so that nothing is linked. Prints
 * the outputs, or what went wrong. Usage: main BLOB N */
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "add.h"

typedef unsigned long long device_ptr;
static int (*allocate)(device_ptr *, size_t);
static int (*to_device)(device_ptr, const void *, size_t, void *);
static int (*to_host)(void *, device_ptr, size_t, void *);

static void *find(void *library, const char *name) {
  void *f = library ? dlsym(library, name) : NULL;
  if (!f) exit(3);
  return f;
}

/* The driver's functions, with its first context current. */
static void open_driver(void) {
  void *library = dlopen("libcuda.so.1", RTLD_NOW), *context;
  if (!library) return;
  int (*retain)(void **, int), (*push)(void *), (*init)(unsigned);
  *(void **)&allocate = find(library, "cuMemAlloc_v2");
  *(void **)&to_device = find(library, "cuMemcpyHtoDAsync_v2");
  *(void **)&to_host = find(library, "cuMemcpyDtoHAsync_v2");
  *(void **)&init = find(library, "cuInit");
  *(void **)&retain = find(library, "cuDevicePrimaryCtxRetain");
  *(void **)&push = find(library, "cuCtxPushCurrent_v2");
  if (init(0) || retain(&context, 0) || push(context)) exit(4);
}

static void *memory(size_t size) {
  static char nowhere[4096]; /* without a driver nobody looks at it */
  device_ptr p = 0;
  if (!allocate) return (void *)(((size_t)nowhere + 255) / 256 * 256);
  return allocate(&p, size ? size : 1) ? NULL : (void *)(size_t)p;
}

static int say(prune_cuda_status s) {
  puts(prune_cuda_errstr(s));
  return s != PRUNE_CUDA_OK;
}

static int run(prune_cuda_ctx *ctx, int64_t n) {
  int64_t x_dims[] = {n}, y_dims[] = {0};
  size_t bytes = (size_t)n * sizeof(float), need = 0, size;
  float *host = malloc(bytes);
  for (int64_t i = 0; i < n && host; i++)
    host[i] = (float)i;
  prune_cuda_tensor x = {memory(bytes), bytes, x_dims};
  prune_cuda_tensor y = {memory(bytes), bytes, y_dims};
  prune_cuda_status s = prune_cuda_prepare(ctx, &x, 1, &y, 1, &need);
  if (s) return say(s);
  void *space = memory(need);
  if (to_device((device_ptr)(size_t)x.data, host, bytes, NULL)) return 5;
  s = prune_cuda_run(ctx, &x, 1, &y, 1, space, need, NULL);
  if (!s) s = prune_cuda_check(ctx, space, NULL);
  if (s) return say(s);
  if (to_host(host, (device_ptr)(size_t)y.data, bytes, NULL)) return 5;
  for (int64_t i = 0; i < y_dims[0]; i++)
    printf("%g ", (double)host[i]);
  puts("");
  char text[1024];
  size = sizeof text;
  s = prune_cuda_explain(ctx, text, &size);
  if (!s) (void)fputs(text, stdout);
  free(host);
  return s ? say(s) : 0;
}

int main(int argc, char **argv) {
  static char blob[4096];
  FILE *f = argc == 3 ? fopen(argv[1], "rb") : NULL;
  prune_cuda_sizes need;
  prune_cuda_ctx *ctx;
  if (!f) return 2;
  size_t size = fread(blob, 1, sizeof blob, f);
  (void)fclose(f);
  prune_cuda_status s = add_query(NULL, &need);
  if (s) return say(s);
  open_driver();
  void *host = aligned_alloc(256, (need.context + 255) / 256 * 256);
  const prune_cuda_memory mem = {
      host,         need.context,         memory(need.weights),
      need.weights, memory(need.scratch), need.scratch};
  s = add_init(NULL, blob, size, &mem, NULL, &ctx);
  int rc = s ? say(s) : run(ctx, strtol(argv[2], NULL, 10));
  prune_cuda_destroy(s ? NULL : ctx);
  free(host);
  return rc;
}
