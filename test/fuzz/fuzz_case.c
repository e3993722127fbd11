/* Pieces that makers put cases together from; see fuzz.h. */
#include <assert.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "ir/support/arena.h"
#include "test/fuzz/fuzz.h"

/* ---- chance ---- */

/* SplitMix64: Steele, Lea, Flood, OOPSLA 2014. */
uint64_t fuzz_bits(fuzz_case *c) {
  uint64_t z = c->rng += 0x9e3779b97f4a7c15u;
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
  return z ^ (z >> 31);
}

int64_t fuzz_below(fuzz_case *c, int64_t n) {
  return (int64_t)(fuzz_bits(c) % (uint64_t)n);
}

bool fuzz_chance(fuzz_case *c, double p) {
  return (double)(fuzz_bits(c) >> 11) * 0x1p-53 < p;
}

float fuzz_value(fuzz_case *c) {
  float x = (float)(fuzz_bits(c) >> 41) * 0x1p-22f - 1;
  return x == 0 ? 0.5f : x;
}

int64_t fuzz_size(fuzz_case *c, int64_t most) {
  int64_t n;
  switch (fuzz_below(c, 4)) {
  case 0:
    n = 1 + fuzz_below(c, 8);
    break;
  case 1:
  case 2: {
    static const int64_t steps[] = {4, 8, 16, 32, 64};
    int64_t step = steps[fuzz_below(c, 5)];
    n = step * (1 + fuzz_below(c, most / step + 1)) + fuzz_below(c, 3) - 1;
    break;
  }
  default:
    n = 1 + fuzz_below(c, most);
  }
  return n < 1 ? 1 : n > most ? most : n;
}

/* ---- operands ---- */

fuzz_dim fuzz_number(int64_t n) {
  fuzz_dim d = {.n = n};
  snprintf(d.text, sizeof d.text, "%lld", (long long)n);
  return d;
}

fuzz_dim fuzz_maybe_symbol(fuzz_case *c, int64_t n, double p) {
  fuzz_dim d = fuzz_number(n);
  if (!fuzz_chance(c, p) || c->num_symbols == FUZZ_SYMBOLS) return d;
  snprintf(d.text, sizeof d.text, "s%u", c->num_symbols);
  c->symbols[c->num_symbols++] = d;
  return d;
}

/* Floats that end where readable memory ends. */
static float *guarded(int64_t count) {
  size_t page = (size_t)sysconf(_SC_PAGESIZE);
  size_t bytes = (size_t)count * sizeof(float);
  size_t whole = (bytes + page - 1) / page * page + page;
  char *p = mmap(NULL, whole, PROT_READ | PROT_WRITE,
                 MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (p == MAP_FAILED || mprotect(p + whole - page, page, PROT_NONE) != 0)
    abort();
  return (float *)(void *)(p + whole - page - bytes);
}

static unsigned add_array(fuzz_case *c, int64_t count, bool output) {
  assert(c->num_arrays < FUZZ_ARRAYS);
  fuzz_array *a = &c->arrays[c->num_arrays];
  *a = (fuzz_array){.count = count, .output = output, .data = guarded(count)};
  for (int64_t i = 0; i < count; i++)
    a->data[i] = output ? -12345.0f : NAN;
  if (output) {
    a->want = prn_alloc(prn_array_size(sizeof *a->want, (size_t)count));
    for (int64_t i = 0; i < count; i++)
      a->want[i] = (double)NAN;
  }
  return c->num_arrays++;
}

/* Strides of the dimensions from the innermost (order[rank-1]) outwards. */
static int64_t draw_strides(fuzz_case *c, fuzz_view *v, const int *order,
                            unsigned layout, int fixed) {
  fuzz_dim next = fuzz_number(1);
  int64_t extent = 1;
  for (int i = v->rank - 1; i >= 0; i--) {
    int d = order[i];
    bool may = (layout & FUZZ_REPEAT) && (fixed < 0 || d < fixed);
    if (may && fuzz_chance(c, 0.3)) {
      v->strides[d] = fuzz_number(0);
      continue;
    }
    bool gap =
        fuzz_chance(c, 0.25) && !(i == v->rank - 1 && (layout & FUZZ_UNIT));
    /* A gap before the dimension, or a row longer than its size. */
    if (gap && i == v->rank - 1) next = fuzz_number(2 + fuzz_below(c, 2));
    v->strides[d] = next;
    extent += (v->dims[d].n - 1) * next.n;
    int64_t more = gap ? fuzz_below(c, 20) : 0;
    fuzz_dim s = fuzz_number(next.n * (v->dims[d].n + more));
    if (strchr(next.text, 's') || strchr(v->dims[d].text, 's'))
      (void)snprintf(s.text, sizeof s.text, "(%.100s)*(%.40s+%lld)", next.text,
                     v->dims[d].text, (long long)more);
    next = s;
  }
  return extent;
}

/* The value's text; its data. */
static void make_view(fuzz_case *c, fuzz_view *v, bool output) {
  snprintf(v->name, sizeof v->name, "%%v%u", c->num_views++);
  prn_strbuf_fmt(&c->ops, "    %s = mem.view(%%a%u) : view<", v->name,
                 v->array);
  for (int i = 0; i < v->rank; i++)
    prn_strbuf_fmt(&c->ops, "(%s)x", v->dims[i].text);
  prn_strbuf_cstr(&c->ops, "f32, strides [");
  for (int i = 0; i < v->rank; i++)
    prn_strbuf_fmt(&c->ops, "%s%s", i ? ", " : "", v->strides[i].text);
  prn_strbuf_fmt(&c->ops, "], offset %lld>\n", (long long)v->offset);
  int64_t index[FUZZ_RANK] = {0};
  if (output) return;
  do
    c->arrays[v->array].data[fuzz_at(v, index)] = fuzz_value(c);
  while (fuzz_next(v->rank, v->dims, index));
}

static fuzz_view draw_view(fuzz_case *c, int rank, const fuzz_dim *dims,
                           unsigned layout, int fixed) {
  fuzz_view v = {.rank = rank};
  int order[FUZZ_RANK];
  for (int i = 0; i < rank; i++) {
    v.dims[i] = dims[i];
    order[i] = i;
  }
  int moved = rank - ((layout & FUZZ_UNIT) != 0);
  for (int i = moved - 1; i > 0 && fuzz_chance(c, 0.5); i--) {
    int k = (int)fuzz_below(c, i + 1), t = order[i];
    order[i] = order[k];
    order[k] = t;
  }
  int64_t extent = draw_strides(c, &v, order, layout, fixed);
  v.offset = fuzz_chance(c, 0.3) ? fuzz_below(c, 20) : 0;
  int64_t after = fuzz_chance(c, 0.3) ? fuzz_below(c, 20) : 0;
  v.array = add_array(c, v.offset + extent + after, layout & FUZZ_OUTPUT);
  return v;
}

static fuzz_dim times(const fuzz_dim *a, const fuzz_dim *b) {
  fuzz_dim p = fuzz_number(a->n * b->n);
  if (strchr(a->text, 's') || strchr(b->text, 's'))
    (void)snprintf(p.text, sizeof p.text, "(%.100s)*(%.40s)", a->text, b->text);
  return p;
}

fuzz_view fuzz_operand_merged(fuzz_case *c, int rank, const fuzz_dim *dims,
                              unsigned layout, int fixed, int merged) {
  fuzz_dim few[FUZZ_RANK];
  int lead = rank - merged;
  for (int i = 0; i <= lead && i < rank; i++)
    few[i] = dims[i];
  for (int i = lead + 1; i < rank; i++)
    few[lead] = times(&few[lead], &dims[i]);
  fuzz_view v = draw_view(c, merged ? lead + 1 : rank, few, layout, fixed);
  v.rank = rank;
  fuzz_dim s = merged ? v.strides[lead] : fuzz_number(1);
  for (int i = rank - 1; merged && i >= lead; i--) {
    v.dims[i] = dims[i];
    v.strides[i] = s;
    s = times(&s, &dims[i]);
  }
  make_view(c, &v, layout & FUZZ_OUTPUT);
  return v;
}

fuzz_view fuzz_operand(fuzz_case *c, int rank, const fuzz_dim *dims,
                       unsigned layout, int fixed) {
  return fuzz_operand_merged(c, rank, dims, layout, fixed, 0);
}

int64_t fuzz_at(const fuzz_view *v, const int64_t *index) {
  int64_t at = v->offset;
  for (int i = 0; i < v->rank; i++)
    at += index[i] * v->strides[i].n;
  return at;
}

bool fuzz_next(int rank, const fuzz_dim *dims, int64_t *index) {
  for (int i = rank - 1; i >= 0; i--) {
    if (++index[i] < dims[i].n) return true;
    index[i] = 0;
  }
  return false;
}

/* ---- weights ---- */

enum pattern { FULL, RANDOM, ROWS, COLUMNS, ONE, NONE, N_M, BLOCKS, PATTERNS };

typedef struct zeros {
  enum pattern pattern;
  double density;
  int64_t n, m, rows, cols, at;
  uint64_t salt;
} zeros;

static zeros draw_zeros(fuzz_case *c, int64_t count) {
  static const double densities[] = {0.02, 0.05, 0.1, 0.2, 0.5, 0.8, 0.95};
  static const int64_t heights[] = {1, 4, 8, 16};
  static const char *const names[] = {"full", "random", "rows", "columns",
                                      "one",  "none",   "n:m",  "blocks"};
  zeros z = {.pattern = fuzz_chance(c, 0.4)
                            ? RANDOM
                            : (enum pattern)fuzz_below(c, PATTERNS)};
  z.density = densities[fuzz_below(c, 7)];
  z.m = INT64_C(1) << (1 + fuzz_below(c, 3));
  z.n = 1 + fuzz_below(c, z.m);
  z.rows = heights[fuzz_below(c, 4)];
  z.cols = heights[fuzz_below(c, 2)];
  z.at = fuzz_below(c, count);
  z.salt = fuzz_bits(c);
  prn_strbuf_fmt(&c->note, " zeros=%s(%g)", names[z.pattern], z.density);
  return z;
}

/* A coin of its own for (a, b). */
static bool coin(const zeros *z, int64_t a, int64_t b) {
  fuzz_case c = {.rng = z->salt + (uint64_t)a * 0x100000001b3u +
                        (uint64_t)b * 0xd6e8feb86659fd93u};
  (void)fuzz_bits(&c);
  return fuzz_chance(&c, z->density);
}

static bool keeps(const zeros *z, int64_t row, int64_t col, int64_t cols) {
  switch (z->pattern) {
  case FULL:
    return true;
  case ROWS:
    return coin(z, row, -1);
  case COLUMNS:
    return coin(z, -1, col);
  case ONE:
    return row * cols + col == z->at;
  case NONE:
    return false;
  case N_M: /* a rotated run of n in each group of m */
    return (col + row) % z->m < z->n;
  case BLOCKS:
    return coin(z, row / z->rows, col / z->cols);
  default:
    return coin(z, row, col);
  }
}

fuzz_constant *fuzz_weights(fuzz_case *c, int rank, const int64_t *dims) {
  fuzz_constant *w = &c->constants[c->num_constants++];
  *w = (fuzz_constant){.rank = rank, .count = 1, .dtype = PRN_F32};
  for (int i = 0; i < rank; i++) {
    w->dims[i] = dims[i];
    w->count *= dims[i];
  }
  w->data = prn_alloc(prn_array_size(sizeof *w->data, (size_t)w->count));
  w->keep = prn_alloc((size_t)w->count);
  w->masked = fuzz_chance(c, 0.5);
  zeros z = draw_zeros(c, w->count);
  int64_t cols = w->count / dims[0];
  for (int64_t i = 0; i < w->count; i++) {
    w->data[i] = fuzz_value(c);
    w->keep[i] = keeps(&z, i / cols, i % cols, cols);
    if (!w->keep[i] && !w->masked) w->data[i] = 0;
  }
  return w;
}

void fuzz_weights_to_bytes(fuzz_constant *w) {
  for (int64_t i = 0; i < w->count; i++)
    w->data[i] = floorf(w->data[i] * 128);
}

void fuzz_memory(fuzz_case *c, const fuzz_view *v, const char *type,
                 const char *name) {
  prn_strbuf dims = {0}, strides = {0};
  for (int i = 0; i < v->rank; i++) {
    prn_strbuf_fmt(&dims, "(%s)x", v->dims[i].text);
    prn_strbuf_cstr(&strides, i ? ", " : "");
    for (int k = i + 1; k < v->rank; k++)
      prn_strbuf_fmt(&strides, "(%s) * ", v->dims[k].text);
    prn_strbuf_cstr(&strides, "1");
  }
  prn_strbuf_fmt(&c->ops,
                 "    %s = mem.alloc : view<%s%s, strides [%s], offset 0>\n",
                 name, dims.data, type, strides.data);
  prn_strbuf_destroy(&dims);
  prn_strbuf_destroy(&strides);
}

void fuzz_converted(fuzz_case *c, const fuzz_view *v, const char *type,
                    const char *name) {
  fuzz_memory(c, v, type, name);
  prn_strbuf_fmt(&c->ops,
                 "    mem.map(%s, %s) {ins = 1, body = region<0>} {\n"
                 "    ^(%%f: f32):\n      %%u = nn.cast(%%f) : %s\n"
                 "      nn.yield(%%u)\n    }\n",
                 v->name, name, type);
}

void fuzz_to_bytes(fuzz_case *c, const fuzz_view *v) {
  fuzz_array *a = &c->arrays[v->array];
  for (int64_t i = 0; i < a->count; i++)
    a->data[i] = floorf((a->data[i] + 1) * 128);
  fuzz_converted(c, v, "ui8", "%q");
}

/* ---- epilogues ---- */

void fuzz_epilogue_draw(fuzz_case *c, fuzz_epilogue *e, int rank,
                        const fuzz_dim *dims, int merged) {
  static const char *const names[] = {"add",     "mul",  "relu",
                                      "sigmoid", "tanh", "neg"};
  memset(e, 0, sizeof *e);
  if (fuzz_chance(c, 0.4)) return;
  e->num_steps = 1 + (unsigned)fuzz_below(c, 3);
  for (unsigned i = 0; i < e->num_steps; i++) {
    const char *name = names[fuzz_below(c, PRN_COUNT(names))];
    (void)snprintf(e->steps[i].what, sizeof e->steps[i].what, "%s", name);
    prn_strbuf_fmt(&c->note, " %s", name);
    e->steps[i].extra = -1;
    if (strcmp(name, "add") != 0 && strcmp(name, "mul") != 0) continue;
    e->steps[i].extra = (int)e->num_extras;
    e->extras[e->num_extras++] =
        fuzz_operand_merged(c, rank, dims, FUZZ_REPEAT, -1, merged);
  }
}

void fuzz_epilogue_operands(fuzz_case *c, const fuzz_epilogue *e) {
  for (unsigned i = 0; i < e->num_extras; i++)
    prn_strbuf_fmt(&c->ops, ", %s", e->extras[i].name);
}

void fuzz_epilogue_body(fuzz_case *c, const fuzz_epilogue *e) {
  prn_strbuf *b = &c->ops;
  if (e->num_steps == 0 && !e->integer) {
    prn_strbuf_cstr(b, "}\n");
    return;
  }
  bool first = b->data[b->size - 1] == '{';
  prn_strbuf_fmt(b, "%sbody = region<0>} {\n    ^(%%%s: %s", first ? "" : ", ",
                 e->integer ? "i" : "x0", e->integer ? "i32" : "f32");
  for (unsigned i = 0; i < e->num_extras; i++)
    prn_strbuf_fmt(b, ", %%e%u: f32", i);
  prn_strbuf_cstr(b, "):\n");
  if (e->integer) prn_strbuf_cstr(b, "      %x0 = nn.cast(%i) : f32\n");
  for (unsigned i = 0; i < e->num_steps; i++) {
    bool two = e->steps[i].extra >= 0;
    prn_strbuf_fmt(b, "      %%x%u = nn.%s(%%x%u", i + 1,
                   two ? "binary" : "unary", i);
    if (two) prn_strbuf_fmt(b, ", %%e%d", e->steps[i].extra);
    prn_strbuf_fmt(b, ") {fn = \"%s\"} : f32\n", e->steps[i].what);
  }
  prn_strbuf_fmt(b, "      nn.yield(%%x%u)\n    }\n", e->num_steps);
}

static double unary(const char *what, double x) {
  switch (*what) {
  case 'r':
    return x > 0 ? x : 0;
  case 's':
    return 1 / (1 + exp(-x));
  case 't':
    return tanh(x);
  default:
    return -x;
  }
}

double fuzz_epilogue_apply(const fuzz_case *c, const fuzz_epilogue *e,
                           const int64_t *index, double x) {
  for (unsigned i = 0; i < e->num_steps; i++) {
    if (e->steps[i].extra < 0) {
      x = unary(e->steps[i].what, x);
      continue;
    }
    double y = fuzz_get(c, &e->extras[e->steps[i].extra], index);
    x = e->steps[i].what[0] == 'a' ? x + y : x * y;
  }
  return x;
}

void fuzz_case_destroy(fuzz_case *c) {
  for (unsigned i = 0; i < c->num_arrays; i++)
    prn_free(c->arrays[i].want);
  for (unsigned i = 0; i < c->num_constants; i++) {
    prn_free(c->constants[i].data);
    prn_free(c->constants[i].keep);
  }
  prn_strbuf_destroy(&c->ops);
  prn_strbuf_destroy(&c->note);
}
