/* Runs a model in a library on arrays from a file: what stands on the other
 * side when code for another machine is tested under an emulator.
 *
 *   call [--room] LIBRARY SYMBOL IN OUT [WORKERS]...
 *
 * IN holds the inputs, OUT gets the outputs: for each one its bytes in all,
 * its rank and its sizes as 64-bit integers, then the elements. Arrays end
 * where memory ends; with --room, what lies around them may be read (QEMU 7's
 * masked loads read what the mask leaves out). Runs once for each number of
 * workers (default 1); all runs must give the same bytes. Bytes of outputs that
 * no run writes stay those of the float -12345. */
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "backends/llvm/abi.h"

enum { MAX = 64, RANK = 16, LINE = 64, ROOM = 1 << 16 };

static void fail(const char *what, long long n) {
  fprintf(stderr, "call: %s %lld\n", what, n);
  exit(1);
}

/* Memory that ends at a page which cannot be read, or with `room` bytes before
 * and after it. */
static void *guarded(size_t bytes, size_t room) {
  size_t page = (size_t)sysconf(_SC_PAGESIZE);
  size_t whole = (bytes + 2 * room + page - 1) / page * page + page;
  char *p = mmap(NULL, whole, PROT_READ | PROT_WRITE,
                 MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (p == MAP_FAILED || mprotect(p + whole - page, page, PROT_NONE) != 0)
    fail("no memory for bytes:", (long long)bytes);
  return p + whole - page - room - bytes;
}

static int64_t number(FILE *f) {
  int64_t n = 0;
  if (fread(&n, sizeof n, 1, f) != 1) fail("the input ends early", 0);
  return n;
}

static prune_tensor read_tensor(FILE *f, size_t room) {
  size_t bytes = (size_t)number(f);
  int64_t rank = number(f);
  prune_tensor t = {guarded(bytes, room), bytes, calloc(RANK, sizeof(int64_t))};
  if (rank < 0 || rank > RANK) fail("rank", rank);
  for (int64_t i = 0; i < rank; i++)
    t.dims[i] = number(f);
  if (fread(t.data, 1, bytes, f) != bytes) fail("the input ends early", 0);
  return t;
}

static void write_tensor(FILE *f, const prune_tensor *t, int64_t rank) {
  int64_t head[2] = {(int64_t)t->size, rank};
  fwrite(head, sizeof *head, 2, f);
  fwrite(t->dims, sizeof *t->dims, (size_t)rank, f);
  fwrite(t->data, 1, t->size, f);
}

static size_t width(int32_t type) {
  static const unsigned char widths[] = {0, 4, 1, 1, 2, 2, 4,  8, 0,
                                         1, 2, 8, 4, 8, 8, 16, 2};
  return type > 0 && type <= 16 ? widths[type] : 0;
}

/* Pieces of uneven length, from the last to the first, workers in turn. */
static void pieces(void *pool, prune_task *fn, void *arg, int64_t count) {
  int64_t workers = *(const int64_t *)pool, end = count;
  for (int64_t i = 0; end > 0; i++) {
    int64_t size = 1 + (count * ((i % 3) + 1)) / (2 * workers + 2);
    int64_t begin = end < size ? 0 : end - size;
    fn(arg, begin, end, (workers - 1 + i) % workers);
    end = begin;
  }
}

static void clear(const prune_tensor *t) {
  static const float mark = -12345;
  for (size_t i = 0; i < t->size; i++)
    ((char *)t->data)[i] = ((const char *)&mark)[i % sizeof mark];
}

/* Memory for outputs of the sizes that plan says. */
static void make_outputs(const prune_model *m, prune_tensor *out, size_t room) {
  for (uint32_t i = 0; i < m->num_outputs; i++) {
    out[i].size = width(m->outputs[i].type);
    for (int32_t k = 0; k < m->outputs[i].rank; k++)
      out[i].size *= (size_t)out[i].dims[k];
    out[i].data = guarded(out[i].size, room);
  }
}

static void run(const prune_model *m, prune_call *call, int64_t workers,
                size_t room) {
  call->workers = workers;
  call->pool = &workers;
  call->parallel_for = workers > 1 ? pieces : NULL;
  int status = m->plan(call, &call->arena_size);
  if (status != PRUNE_OK) fail("plan's status", status);
  if (!call->outputs[0].data) make_outputs(m, call->outputs, room);
  for (uint32_t i = 0; i < m->num_outputs; i++)
    clear(&call->outputs[i]);
  call->arena = aligned_alloc(LINE, (call->arena_size + LINE) / LINE * LINE);
  memset(call->arena, 0xff, call->arena_size);
  status = m->run(call);
  if (status != PRUNE_OK) fail("run's status", status);
  free(call->arena);
}

int main(int argc, char **argv) {
  size_t room = argc > 1 && strcmp(argv[1], "--room") == 0 ? ROOM : 0;
  argc -= room > 0;
  argv += room > 0;
  if (argc < 5) fail("arguments:", argc);
  void *library = dlopen(argv[1], RTLD_NOW);
  void *symbol = library ? dlsym(library, argv[2]) : NULL;
  FILE *f = fopen(argv[3], "rb");
  if (!symbol || !f) fail(symbol ? "no input file" : dlerror(), 0);
  const prune_model *m = ((const prune_model *(*)(void))(uintptr_t)symbol)();
  prune_tensor in[MAX], out[MAX] = {{0}};
  if (m->num_inputs > MAX || m->num_outputs > MAX) fail("too many arrays", 0);
  for (uint32_t i = 0; i < m->num_inputs; i++)
    in[i] = read_tensor(f, room);
  fclose(f);
  for (uint32_t i = 0; i < m->num_outputs; i++)
    out[i].dims = calloc(RANK, sizeof(int64_t));
  prune_call call = {.inputs = in, .outputs = out, .weights = m->weights};
  void *kept[MAX] = {0};
  run(m, &call, argc > 5 ? strtoll(argv[5], NULL, 10) : 1, room);
  for (uint32_t i = 0; i < m->num_outputs; i++) {
    kept[i] = malloc(out[i].size + 1);
    memcpy(kept[i], out[i].data, out[i].size);
  }
  for (int a = 6; a < argc; a++) {
    run(m, &call, strtoll(argv[a], NULL, 10), room);
    for (uint32_t i = 0; i < m->num_outputs; i++)
      if (memcmp(kept[i], out[i].data, out[i].size) != 0)
        fail("other bits with workers:", strtoll(argv[a], NULL, 10));
  }
  f = fopen(argv[4], "wb");
  if (!f) fail("cannot write", 0);
  for (uint32_t i = 0; i < m->num_outputs; i++)
    write_tensor(f, &out[i], m->outputs[i].rank);
  return fclose(f) != 0;
}
