/* The weights of a program, streamed in the order of their places: masks
 * applied, matrices in panels. Never more than one panel in memory. */
#include "backends/llvm/weights.h"

#include <stdlib.h>
#include <string.h>

enum { BLOCK = 1 << 15 }; /* elements read at a time */

typedef struct constants {
  const prn_op **at;
  size_t size, cap;
} constants;

static prn_status collect(void *user, prn_op *op) {
  constants *c = user;
  if (!prn_op_is(op, PRN_OP_mem_constant)) return PRN_OK;
  if (c->size == c->cap) {
    c->cap = c->cap ? c->cap * 2 : 64;
    c->at = prn_realloc(c->at, prn_array_size(sizeof *c->at, c->cap));
  }
  c->at[c->size++] = op;
  return PRN_OK;
}

static int by_offset(const void *a, const void *b) {
  int64_t x = prn_op_int(*(const prn_op *const *)a, "offset", 0);
  int64_t y = prn_op_int(*(const prn_op *const *)b, "offset", 0);
  return x < y ? -1 : x > y;
}

typedef struct stream {
  prn_weights_fn *write;
  void *user;
  int64_t at;
  float *floats; /* a panel, or a block */
  size_t cap;
} stream;

static void put(stream *s, const void *data, size_t size) {
  s->write(s->user, data, size);
  s->at += (int64_t)size;
}

static void pad_to(stream *s, int64_t offset) {
  static const char zeros[4096];
  while (s->at < offset) {
    int64_t n = offset - s->at;
    put(s, zeros, n < (int64_t)sizeof zeros ? (size_t)n : sizeof zeros);
  }
}

static float *room(stream *s, size_t floats) {
  if (floats > s->cap) {
    s->cap = floats;
    s->floats =
        prn_realloc(s->floats, prn_array_size(sizeof *s->floats, floats));
  }
  return s->floats;
}

static void put_dense(stream *s, const prn_tensor *t) {
  size_t width = prn_dtype_bits(t->type->dtype) / 8;
  int64_t n = prn_tensor_count(t);
  char *buffer = (char *)room(s, BLOCK * 8 / sizeof(float));
  for (int64_t i = 0; i < n; i += BLOCK) {
    int64_t some = n - i < BLOCK ? n - i : BLOCK;
    prn_tensor_read_bytes(t, i, some, buffer);
    put(s, buffer, (size_t)some * width);
  }
}

/* Panels of nr columns from a [k, n] matrix. */
static void put_panels(stream *s, const prn_tensor *t, int64_t k, int64_t n,
                       int64_t nr) {
  float *row = room(s, (size_t)nr);
  for (int64_t n0 = 0; n0 < n; n0 += nr) {
    int64_t cols = n - n0 < nr ? n - n0 : nr;
    memset(row, 0, (size_t)nr * sizeof *row);
    for (int64_t i = 0; i < k; i++) {
      prn_tensor_read_f32(t, i * n + n0, cols, row);
      put(s, row, (size_t)nr * sizeof *row);
    }
  }
}

/* The same from an [n, k] matrix, some of its columns at a time so that the
 * buffers stay small. */
static void put_transposed(stream *s, const prn_tensor *t, int64_t k, int64_t n,
                           int64_t nr) {
  enum { STEP = 256 };
  float *panel = room(s, (size_t)nr * STEP * 2), *in = panel + nr * STEP;
  for (int64_t n0 = 0; n0 < n; n0 += nr) {
    int64_t cols = n - n0 < nr ? n - n0 : nr;
    for (int64_t k0 = 0; k0 < k; k0 += STEP) {
      int64_t some = k - k0 < STEP ? k - k0 : STEP;
      memset(panel, 0, (size_t)(nr * some) * sizeof *panel);
      for (int64_t j = 0; j < cols; j++) {
        prn_tensor_read_f32(t, (n0 + j) * k + k0, some, in);
        for (int64_t i = 0; i < some; i++)
          panel[i * nr + j] = in[i];
      }
      put(s, panel, (size_t)(nr * some) * sizeof *panel);
    }
  }
}

static void put_constant(stream *s, const prn_op *op) {
  const prn_tensor *t = prn_op_attr(op, "value")->tensor;
  prn_str pack = prn_op_string(op, "pack", "dense");
  int64_t nr = prn_op_int(op, "nr", 0), d[2] = {0, 0};
  if (prn_str_is(pack, "dense")) {
    put_dense(s, t);
    return;
  }
  (void)prn_dim_is_const(t->type->dims[0], &d[0]);
  (void)prn_dim_is_const(t->type->dims[1], &d[1]);
  if (prn_str_is(pack, "panels"))
    put_panels(s, t, d[0], d[1], nr);
  else
    put_transposed(s, t, d[1], d[0], nr);
}

int64_t prn_weights_size(const prn_op *func) {
  return prn_op_int(func, "weights", 0);
}

void prn_weights_write(const prn_op *func, prn_weights_fn *write, void *user) {
  constants c = {0};
  stream s = {.write = write, .user = user};
  /* collect cannot fail. */
  if (prn_walk(prn_op_block(func, "body"), true, collect, &c) == PRN_OK &&
      c.size)
    qsort(c.at, c.size, sizeof *c.at, by_offset);
  for (size_t i = 0; i < c.size; i++) {
    int64_t offset = prn_op_int(c.at[i], "offset", 0);
    if (i && offset == prn_op_int(c.at[i - 1], "offset", 0)) continue;
    pad_to(&s, offset);
    put_constant(&s, c.at[i]);
  }
  pad_to(&s, prn_weights_size(func));
  prn_free(c.at);
  prn_free(s.floats);
}
