/* mem.matmul and mem.linear. */
#include <stdio.h>
#include <string.h>

#include "ir/pack/pack.h"
#include "ir/support/arena.h"
#include "test/fuzz/fuzz.h"

/* Sizes of a product, small enough for the reference. */
typedef struct product {
  int batch; /* leading dimensions */
  fuzz_dim lead[2], m, n, k;
  fuzz_view a, out;
  fuzz_epilogue e;
} product;

static product draw_sizes(fuzz_case *c, bool constant) {
  product p = {.batch = (int)fuzz_below(c, 3)};
  int64_t m = fuzz_size(c, 200), n = fuzz_size(c, 200), k = fuzz_size(c, 900);
  for (int i = 0; i < p.batch; i++)
    p.lead[i] = fuzz_maybe_symbol(c, 1 + fuzz_below(c, 3), 0.3);
  while (m * n * k > 4000000)
    *(m > n ? &m : k > n ? &k : &n) /= 2;
  p.m = fuzz_maybe_symbol(c, m, 0.5);
  double open = constant ? 0 : 0.3;
  p.n = fuzz_maybe_symbol(c, n, open);
  p.k = fuzz_maybe_symbol(c, k, open);
  prn_strbuf_fmt(&c->note, " m=%s n=%s k=%s", p.m.text, p.n.text, p.k.text);
  prn_strbuf_fmt(&c->note, " (%lldx%lldx%lld)", (long long)m, (long long)n,
                 (long long)k);
  return p;
}

static fuzz_view operand(fuzz_case *c, const product *p, fuzz_dim rows,
                         fuzz_dim cols, unsigned layout) {
  fuzz_dim dims[4] = {p->lead[0], p->lead[1]};
  dims[p->batch] = rows;
  dims[p->batch + 1] = cols;
  return fuzz_operand(c, p->batch + 2, dims, layout, p->batch);
}

/* A matrix constant's text; w is [k, n], or [n, k] when stored so. */
static void constant_text(fuzz_case *c, const product *p, const char *pack,
                          bool nk, const char *params, const char *type) {
  int64_t k = p->k.n, n = p->n.n;
  bool bytes = strcmp(type, "i8") == 0;
  prn_strbuf_fmt(&c->ops,
                 "    %%w = mem.constant {value = dense<%s> : "
                 "tensor<%lldx%lldx%s>, pack = \"%s\", stored = \"%s\"%s} : "
                 "view<%lldx%lldx%s, strides [%lld, 1], offset 0>\n",
                 bytes ? "0" : "0.0", (long long)(nk ? n : k),
                 (long long)(nk ? k : n), bytes ? "i8" : "f32", pack,
                 nk ? "nk" : "kn", params, (long long)k, (long long)n, type,
                 (long long)n);
}

/* The reference. w: row-major weights (nk or kn) or NULL; b: a view. Index of
 * the result is [lead, m, n], or [lead, n, m] when turned. */
static void refer(fuzz_case *c, const product *p, const fuzz_constant *w,
                  bool nk, const fuzz_view *b, bool turned) {
  int64_t index[FUZZ_RANK] = {0};
  int r = p->batch;
  do {
    int64_t m = index[r + turned], n = index[r + !turned];
    int64_t at[FUZZ_RANK], bt[FUZZ_RANK];
    memcpy(at, index, sizeof at);
    memcpy(bt, index, sizeof bt);
    double sum = 0;
    for (int64_t k = 0; k < p->k.n; k++) {
      at[r] = turned ? k : m;
      at[r + 1] = turned ? m : k;
      bt[r] = k;
      bt[r + 1] = n;
      double y = w ? fuzz_weight(w, nk ? n * p->k.n + k : k * p->n.n + n)
                   : fuzz_get(c, b, bt);
      if (y != 0) sum += fuzz_get(c, &p->a, at) * y;
    }
    fuzz_want(c, &p->out, index, fuzz_epilogue_apply(c, &p->e, index, sum));
  } while (fuzz_next(p->out.rank, p->out.dims, index));
}

/* The constant for every batch. */
static void spread(fuzz_case *c, const product *p) {
  prn_strbuf_cstr(&c->ops, "    %w#1 = mem.view(%w) : view<");
  for (int i = 0; i < p->batch; i++)
    prn_strbuf_fmt(&c->ops, "(%s)x", p->lead[i].text);
  prn_strbuf_fmt(&c->ops, "%sx%sxf32, strides [%s%s, 1], offset 0>\n",
                 p->k.text, p->n.text, p->batch == 1 ? "0, " : "0, 0, ",
                 p->n.text);
}

/* Operands, operation and reference, the weights being there. */
static void finish(fuzz_case *c, product *p, const fuzz_constant *w, bool nk,
                   const fuzz_view *b, bool turned) {
  unsigned unit = turned ? FUZZ_UNIT : FUZZ_ANY;
  fuzz_dim rows = turned ? p->n : p->m, cols = turned ? p->m : p->n;
  p->a = operand(c, p, turned ? p->k : p->m, turned ? p->m : p->k,
                 unit | FUZZ_REPEAT);
  p->out = operand(c, p, rows, cols, unit | FUZZ_OUTPUT);
  fuzz_dim dims[4] = {p->lead[0], p->lead[1]};
  dims[p->batch] = rows;
  dims[p->batch + 1] = cols;
  fuzz_epilogue_draw(c, &p->e, p->batch + 2, dims, 0);
  p->e.integer = w && w->dtype == PRN_I8;
  if (w && !turned && p->batch) spread(c, p);
  if (p->e.integer) fuzz_to_bytes(c, &p->a);
  prn_strbuf_fmt(&c->ops, "    mem.%s(%s, %s, %s", turned ? "linear" : "matmul",
                 p->e.integer ? "%q" : p->a.name,
                 !w                    ? b->name
                 : !turned && p->batch ? "%w#1"
                                       : "%w",
                 p->out.name);
  fuzz_epilogue_operands(c, &p->e);
  prn_strbuf_cstr(&c->ops, ") {");
  fuzz_epilogue_body(c, &p->e);
  refer(c, p, w, nk, b, turned);
}

/* A packing that the kernel takes, and its parameters. */
typedef struct format {
  const char *pack;
  int64_t nr;        /* 0: the target's */
  int64_t groups[3]; /* one of them; ends with 0 */
  int64_t depths[3];
  const char *type; /* of the view: what the values are stored as */
  double limit;
} format;

static fuzz_constant *draw_constant(fuzz_case *c, const product *p, bool nk,
                                    const format *f) {
  char params[96];
  int64_t dims[2] = {nk ? p->n.n : p->k.n, nk ? p->k.n : p->n.n};
  int groups = 0, depths = 0;
  while (groups < 3 && f->groups[groups])
    groups++;
  while (depths < 3 && f->depths[depths])
    depths++;
  int64_t group = groups ? f->groups[fuzz_below(c, groups)] : 0;
  int64_t depth = depths ? f->depths[fuzz_below(c, depths)] : 0;
  (void)snprintf(
      params, sizeof params, ", nr = %lld, group = %lld, depth = %lld",
      (long long)(f->nr ? f->nr : c->nr), (long long)group, (long long)depth);
  prn_strbuf_fmt(&c->note, " %s %s%s", f->pack, nk ? "nk" : "kn", params);
  constant_text(c, p, f->pack, nk, params, f->type);
  c->limit = f->limit;
  fuzz_constant *w = fuzz_weights(c, 2, dims);
  if (strcmp(f->type, "i8") != 0) return w;
  fuzz_weights_to_bytes(w);
  w->dtype = PRN_I8;
  return w;
}

static const format *draw_format(fuzz_case *c, const format *all, size_t n) {
  const format *f = &all[fuzz_below(c, (int64_t)n)];
  /* x86-64-v2 has no conversion from f16. */
  bool half = strcmp(f->type, "f16") == 0 && strcmp(c->march, "x86-64-v2") == 0;
  return half || !prn_pack_find(prn_str_from(f->pack)) ? NULL : f;
}

/* Few rows, which are known, by weights with zeros. */
static void few(fuzz_case *c) {
  static const format formats[] = {
      {"bitmask", 0, {0}, {0}, "f32", 1e-5},
      {"gather", 0, {0}, {0}, "f32", 1e-5},
      {"columns", 0, {4, 8, 16}, {0}, "f32", 1e-5},
  };
  product p = draw_sizes(c, true);
  bool nk = fuzz_chance(c, 0.5);
  p.m = fuzz_number(1 + fuzz_below(c, 16));
  prn_strbuf_fmt(&c->note, " few m=%s", p.m.text);
  const format *f = draw_format(c, formats, PRN_COUNT(formats));
  if (f) finish(c, &p, draw_constant(c, &p, nk, f), nk, NULL, false);
}

void fuzz_matmul(fuzz_case *c) {
  static const format panels = {"panels", 0, {0}, {0}, "f32", 1e-5};
  bool constant = fuzz_chance(c, 0.6);
  if (constant && fuzz_chance(c, 0.5)) {
    few(c);
    return;
  }
  product p = draw_sizes(c, constant);
  if (constant) {
    bool nk = fuzz_chance(c, 0.5);
    finish(c, &p, draw_constant(c, &p, nk, &panels), nk, NULL, false);
    return;
  }
  fuzz_view b = operand(c, &p, p.k, p.n, FUZZ_REPEAT);
  finish(c, &p, NULL, false, &b, false);
}

void fuzz_linear(fuzz_case *c) {
  static const format formats[] = {
      {"rows", 0, {4, 8, 16}, {0}, "f32", 1e-5},
      {"rows", 0, {1, 6, 32}, {0}, "f32", 1e-5},
      {"srt", 12, {2, 3, 4}, {64, 128, 200}, "f32", 1e-5},
      {"srt", 48, {1, 3, 4}, {32, 100, 256}, "f32", 1e-5},
      {"srt", 384, {3, 4}, {64, 192}, "f32", 1e-5},
      {"blocks", 48, {4, 8, 16}, {32, 100, 512}, "f32", 1e-5},
      {"blocks", 6, {1, 2, 3}, {16, 128}, "f32", 1e-5},
      /* Weights and, with a product of pairs, activations have 8 bits. */
      {"rows2", 0, {4, 8, 16}, {0}, "bf16", 1e-2},
      {"rows2", 0, {1, 6, 32}, {0}, "f16", 1e-3},
      {"srt", 48, {1, 3, 4}, {32, 100, 256}, "bf16", 1e-2},
      {"srt", 12, {2, 3, 4}, {64, 128}, "f16", 1e-3},
      {"blocks", 16, {4, 8, 16}, {32, 100, 512}, "bf16", 1e-2},
      /* Sums are exact. */
      {"rows4", 0, {4, 8, 16}, {0}, "i8", 1e-6},
      {"rows4", 0, {1, 6, 32}, {0}, "i8", 1e-6},
      {"srt", 48, {1, 3, 4}, {32, 100, 256}, "i8", 1e-6},
      {"srt", 12, {2, 3, 4}, {64, 128}, "i8", 1e-6},
      {"blocks", 16, {4, 8, 16}, {32, 100, 512}, "i8", 1e-6},
  };
  product p = draw_sizes(c, true);
  bool nk = fuzz_chance(c, 0.5);
  const format *f = draw_format(c, formats, PRN_COUNT(formats));
  if (f) finish(c, &p, draw_constant(c, &p, nk, f), nk, NULL, true);
}
