/* The weights of a program, streamed in the order of their places: each
 * as its format writes it. */
#include "ir/pack/weights.h"

#include <stdlib.h>
#include <string.h>

#include "ir/pack/pack.h"

typedef struct constants {
  prn_op **at;
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

static constants all_of(const prn_weights *w, size_t from, size_t to) {
  constants c = {0};
  for (size_t i = from; i < to; i++)
    /* collect cannot fail. */
    (void)!prn_walk(prn_op_block(w->funcs[i], "body"), true, collect, &c);
  if (c.size) qsort(c.at, c.size, sizeof *c.at, by_offset);
  return c;
}

void prn_weights_write(const prn_weights *w, prn_weights_fn *write,
                       void *user) {
  stream s = {.write = write, .user = user};
  constants c = all_of(w, 0, w->num);
  for (size_t i = 0; i < c.size; i++) {
    int64_t offset = prn_op_int(c.at[i], "offset", 0);
    if (i && offset == prn_op_int(c.at[i - 1], "offset", 0)) continue;
    pad_to(&s, offset);
    put_constant(&s, c.at[i]);
  }
  pad_to(&s, prn_weights_size(w->funcs[0]));
  prn_free(c.at);
}

/* ---- sharing ---- */

/* The same bytes: equal but for the place. */
static bool same(const prn_op *a, const prn_op *b) {
  if (a->results[0].type != b->results[0].type || a->num_attrs != b->num_attrs)
    return false;
  for (uint32_t i = 0; i < a->num_attrs; i++) {
    const prn_named_attr *x = &a->attrs[i];
    const prn_attr *y = prn_op_attr(b, x->name.data);
    if (!y) return false;
    if (strcmp(x->name.data, "offset") != 0 && !prn_attr_eq(x->value, y))
      return false;
  }
  return true;
}

static const prn_op *find_same(const constants *c, const prn_op *op) {
  for (size_t i = 0; i < c->size; i++)
    if (same(c->at[i], op)) return c->at[i];
  return NULL;
}

static int64_t round_up(int64_t n) { return (n + 63) / 64 * 64; }

static void set_int(prn_op *op, const char *name, int64_t v) {
  prn_op_set_attr(op, name, prn_attr_int(op->module->ctx, v));
}

/* Where the place of constant i ends, in its own program. */
static int64_t end_of(const constants *c, size_t i, int64_t all) {
  int64_t at = prn_op_int(c->at[i], "offset", 0);
  for (; i < c->size; i++)
    if (prn_op_int(c->at[i], "offset", 0) != at)
      return prn_op_int(c->at[i], "offset", 0);
  return all;
}

/* Moves the constants of c behind the first `size` bytes, but for those that
 * are there already. Returns the new size. */
static int64_t add(const constants *c, const constants *before, int64_t all,
                   int64_t size) {
  int64_t old = -1, place = 0;
  for (size_t i = 0; i < c->size; i++) {
    int64_t at = prn_op_int(c->at[i], "offset", 0);
    /* Those of one place stay together. */
    if (at != old) {
      const prn_op *twin = find_same(before, c->at[i]);
      place = twin ? prn_op_int(twin, "offset", 0) : size;
      if (!twin) size += round_up(end_of(c, i, all) - at);
    }
    old = at;
    set_int(c->at[i], "offset", place);
  }
  return size;
}

void prn_weights_share(const prn_weights *w) {
  int64_t size = prn_weights_size(w->funcs[0]);
  for (size_t v = 1; v < w->num; v++) {
    constants before = all_of(w, 0, v), c = all_of(w, v, v + 1);
    size = add(&c, &before, prn_weights_size(w->funcs[v]), round_up(size));
    prn_free(before.at);
    prn_free(c.at);
  }
  for (size_t v = 0; v < w->num; v++)
    set_int(w->funcs[v], "weights", size);
}
