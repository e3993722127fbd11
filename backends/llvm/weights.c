/* The weights of a program, streamed in the order of their places: each
 * as its format writes it. */
#include "backends/llvm/weights.h"

#include <stdlib.h>

#include "ir/pack/pack.h"

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
} stream;

static void put(void *user, const void *data, size_t size) {
  stream *s = user;
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

static void put_constant(stream *s, const prn_op *op) {
  prn_packing p = prn_packing_of(op);
  prn_pack_find(prn_op_string(op, "pack", "dense"))->write(&p, put, s);
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
}
