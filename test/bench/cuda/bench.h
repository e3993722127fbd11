/* The benchmark of the CUDA backend: what its files share. Products are models
 * of the runtime whose tables are made here, so that what is timed is what a
 * compiled model does. What goes wrong ends the program. */
#ifndef PRN_BENCH_CUDA_H
#define PRN_BENCH_CUDA_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "backends/cuda/host/prune_cuda_impl.h"

/* device.c */

#if defined(__GNUC__)
__attribute__((format(printf, 1, 2), noreturn))
#endif
void bench_fail(const char *format, ...);
void bench_must(const char *what, prune_cuda_status s);

void dev_open(void);
prune_cuda_stream dev_stream(void);
/* What the driver says of the device, as fields of a JSON object. */
void dev_describe(FILE *to);
/* The clock of the multiprocessors in MHz; 0 where it cannot be read. */
int dev_clock(void);
void *dev_alloc(size_t size);
void dev_free(void *p);
/* Which allocation p lies in, by the order in which they were made; false:
 * none. */
bool dev_find(const void *p, size_t *index, size_t *offset);
/* How many there were so far, and the bytes of one. */
size_t dev_allocations(void);
size_t dev_allocated(size_t index);
/* These wait. */
void dev_put(void *to, const void *from, size_t size);
void dev_get(void *to, const void *from, size_t size);
void dev_fill(void *to, uint32_t value, size_t words);
/* False where the driver has no such copy. */
bool dev_copy(void *to, const void *from, size_t size);
void dev_wait(void);
/* A word that is filled in the stream. */
void dev_mark(void *word);

typedef struct dev_graph {
  void *graph, *made;
} dev_graph;
typedef void dev_work(void *user);
/* What work puts on the stream. */
dev_graph dev_capture(dev_work *work, void *user);
void dev_replay(const dev_graph *g);
void dev_graph_free(dev_graph *g);

/* Microseconds of a replay. */
typedef struct dev_times {
  double median, least, most, low, high; /* low, high: 10 and 90 % */
  int mhz;
} dev_times;
/* `runs` is what is timed after `warm` that are not. */
dev_times dev_time(const dev_graph *g, int warm, int runs);

/* weights.c */

enum { F16 = 10, BF16 = 16 }; /* ONNX's numbers */
const char *bench_type_name(int type);

typedef struct bench_weights {
  const char *format; /* nk, nm24, bitmap, bsr */
  int type, zeros;    /* percent */
  int block;          /* bsr: rows and columns of what is zero or is not */
  int64_t n, k;
  float *dense; /* [n, k] */
  void *packed; /* by ir/pack */
  size_t size;
} bench_weights;
/* Multiples of 1/64 that every type has exactly. With `odd`, some rows are
 * empty and some zeros negative. */
bench_weights bench_weights_make(const char *format, int type, int zeros,
                                 int block, int64_t n, int64_t k, bool odd,
                                 uint32_t seed);
void bench_weights_free(bench_weights *w);
/* n such values, as floats or as elements. */
void bench_values(float *out, size_t n, uint32_t seed);
void bench_store(int type, const float *v, size_t n, void *out);
double bench_load(int type, const void *p, size_t i);

/* product.c */

enum {
  MAX_SETS = 64,
  MAX_PRODUCT_WAYS = 8,
  OWN_WAYS = 0
#define WAY(name, format, arch) +1
#include "test/bench/cuda/ways.def"
#undef WAY
  ,
  /* Libraries through the runtime, after the kernels of ours. */
  WAY_CUBLASLT = OWN_WAYS,
  WAY_CUSPARSELT,
  WAY_CUSPARSE,
  NUM_WAYS
};
const char *bench_way_name(int way);

/* Products y[s] = x[s] w[s]' of `sets` operands, so that none is in a cache
 * when it is its turn. */
typedef struct bench_product {
  const bench_weights *w;
  int64_t sets, m, stride; /* stride: of weights, bytes */
  int ways[MAX_PRODUCT_WAYS];
  uint32_t num_ways;
  prune_cuda_model model;
  struct tables *tables;
  prune_cuda_ctx *ctx;
  void *host, *device, *scratch;
  void *x, *y;
  size_t x_size, y_size;
  void *workspace;
  size_t workspace_size;
  int64_t dims[3][4];
  prune_cuda_tensor in[2], out[1];
} bench_product;
/* How it is done: all that the format has, or libraries alone. */
enum { OWN_AND_LIBRARIES, LIBRARIES };
typedef void *bench_symbol(void *user, const char *library, const char *name);
void bench_product_make(bench_product *p, const bench_weights *w, int64_t sets,
                        int which, bench_symbol *symbol);
/* For m rows, of random values if there is a seed; the values of set 0. */
float *bench_product_rows(bench_product *p, int64_t m, uint32_t seed);
/* False where the runtime does it another way; *why is its reason. */
bool bench_product_way(bench_product *p, int way, int *why, int *code);
const char *bench_reason(int why);
void bench_product_tune(bench_product *p, uint32_t budget_ms);
void bench_product_run(void *p); /* a dev_work */
const unsigned char *bench_product_weights(const bench_product *p, int64_t set);
void bench_product_free(bench_product *p);

/* peers.c: libraries without our runtime */

enum { PEER_SPACE = 64 << 20, PEER_ALGORITHMS = 32 };
typedef struct peer_best {
  bool found;
  int tried, algorithm;
  dev_times times; /* of all sets */
} peer_best;
peer_best peer_cublaslt(const bench_product *p, int warm, int runs);
/* The product has to have been made with libraries: its compressed weights are
 * taken. */
peer_best peer_cusparselt(const bench_product *p, int warm, int runs);

/* record.c: what the libraries are asked and what they say, a line of JSON for
 * each call. */
void record_open(const char *path);
void *record_symbol(void *user, const char *library, const char *name);
/* What follows is captured, or no more. */
void record_capture(bool begins);
void record_close(void);

enum { MAX_EXCEPT = 8 };
/* Parts; 0, or 1 where something is not as it should be. */
typedef struct bench_options {
  const int64_t *rows, (*shapes)[2]; /* each ends with 0 */
  int warm, runs, type;              /* type 0: both */
  double seconds;                    /* after which nothing is begun */
  int64_t working_set;       /* bytes of the weights of all sets, at least */
  int64_t ceiling;           /* n = k = m of the dense product */
  const char *format, *only; /* NULL: all formats, all ways */
  const char *except[MAX_EXCEPT];
  bool wrong; /* expects what is wrong */
  const char *transcript;
} bench_options;
/* Whether a way, or a peer, is asked for. */
bool bench_wants(const bench_options *o, const char *name);
int bench_ways(const bench_options *o);    /* main.c: what there is */
int bench_check(const bench_options *o);   /* check.c */
int bench_machine(const bench_options *o); /* machine.c */
int bench_table(const bench_options *o);   /* table.c */

#endif
