/* Index spaces; see space.h. */
#include "passes/analysis/space.h"

#include <string.h>

void prn_spaces_destroy(prn_spaces *s) { prn_arena_destroy(&s->arena); }

/* ---- making them ---- */

static prn_space *make(prn_spaces *s, prn_space_kind kind, prn_dim size,
                       prn_space *const *parts, uint32_t n) {
  prn_space *x = PRN_ARENA_NEW(&s->arena, prn_space);
  *x = (prn_space){.kind = kind, .size = size, .n = n};
  if (n) x->parts = prn_arena_copy(&s->arena, parts, n * sizeof *parts);
  return x;
}

prn_space *prn_space_atom(prn_spaces *s, prn_dim size) {
  return make(s, prn_dim_is(size, 1) ? PRN_SPACE_PRODUCT : PRN_SPACE_ATOM, size,
              NULL, 0);
}

/* Factors of 1 are left out. */
prn_space *prn_space_product(prn_spaces *s, prn_space *const *parts,
                             uint32_t n) {
  prn_space **some = PRN_ARENA_ARRAY(&s->arena, prn_space *, n);
  prn_dim size = prn_dim_const(s->ctx, 1);
  uint32_t used = 0;
  for (uint32_t i = 0; i < n; i++) {
    if (prn_dim_is(parts[i]->size, 1)) continue;
    size = prn_dim_mul(s->ctx, size, parts[i]->size);
    some[used++] = parts[i];
  }
  return used == 1 ? some[0] : make(s, PRN_SPACE_PRODUCT, size, some, used);
}

/* Empty terms are left out: no space is a part of itself. */
prn_space *prn_space_sum(prn_spaces *s, prn_space *const *parts, uint32_t n) {
  prn_space **some = PRN_ARENA_ARRAY(&s->arena, prn_space *, n);
  prn_dim size = prn_dim_const(s->ctx, 0);
  uint32_t used = 0;
  for (uint32_t i = 0; i < n; i++) {
    if (prn_dim_is(parts[i]->size, 0)) continue;
    size = prn_dim_add(s->ctx, size, parts[i]->size);
    some[used++] = parts[i];
  }
  if (used == 0) return prn_space_atom(s, size);
  return used == 1 ? some[0] : make(s, PRN_SPACE_SUM, size, some, used);
}

prn_space *prn_space_find(prn_space *x) {
  while (x->same) {
    if (x->same->same) x->same = x->same->same;
    x = x->same;
  }
  return x;
}

/* ---- lists ---- */

/* Spaces that are still to be looked at, the next one last. */
typedef struct stack {
  prn_space **at;
  uint32_t n, cap;
} stack;

static void push(stack *l, prn_space *x) {
  if (l->n == l->cap) {
    l->cap = l->cap ? 2 * l->cap : 16;
    l->at = prn_realloc(l->at, l->cap * sizeof(prn_space *));
  }
  l->at[l->n++] = x;
}

static void push_all(stack *l, prn_space *const *x, uint32_t n) {
  for (uint32_t i = n; i-- > 0;)
    push(l, x[i]);
}

/* ---- atoms ---- */

void prn_space_atoms(prn_space *x, void (*f)(void *user, prn_space *atom),
                     void *user) {
  stack l = {0};
  for (push(&l, x); l.n;) {
    x = prn_space_find(l.at[--l.n]);
    if (x->kind == PRN_SPACE_ATOM) f(user, x);
    push_all(&l, x->parts, x->n);
  }
  prn_free(l.at);
}

static void freeze_atom(void *user, prn_space *atom) {
  if (!atom->frozen.text) atom->frozen = *(prn_space_why *)user;
}

static void mix_atom(void *user, prn_space *atom) {
  if (!atom->mixed.text) atom->mixed = *(prn_space_why *)user;
}

static void order_atom(void *user, prn_space *atom) {
  if (!atom->ordered.text) atom->ordered = *(prn_space_why *)user;
}

void prn_space_freeze(prn_space *x, prn_space_why why) {
  if (why.text) prn_space_atoms(x, freeze_atom, &why);
}

void prn_space_mix(prn_space *x, prn_space_why why) {
  if (why.text) prn_space_atoms(x, mix_atom, &why);
}

void prn_space_order(prn_space *x, prn_space_why why) {
  if (why.text) prn_space_atoms(x, order_atom, &why);
}

/* The atom x becomes `as`, whose atoms inherit what is known of it. */
static void become(prn_space *x, prn_space *as) {
  x->same = as;
  prn_space_freeze(as, x->frozen);
  prn_space_mix(as, x->mixed);
  prn_space_order(as, x->ordered);
}

/* ---- factors ---- */

/* The next factor that is no product itself; NULL at the end. */
static prn_space *next(stack *l) {
  while (l->n) {
    prn_space *x = prn_space_find(l->at[l->n - 1]);
    if (x->kind != PRN_SPACE_PRODUCT) return x;
    l->n--;
    push_all(l, x->parts, x->n);
  }
  return NULL;
}

/* size / by, when that comes out even. */
static bool divide(prn_spaces *s, prn_dim size, prn_dim by, prn_dim *out) {
  int64_t a, b;
  if (prn_dim_is_const(by, &b) && b == 0) return false;
  if (prn_dim_is_const(size, &a) && prn_dim_is_const(by, &b)) {
    *out = prn_dim_const(s->ctx, a / b);
    return a % b == 0;
  }
  *out = prn_dim_floordiv(s->ctx, size, by);
  return prn_dim_known(*out) &&
         prn_dim_cmp(prn_dim_mul(s->ctx, *out, by), size) == 0;
}

/* ---- splitting into factors ---- */

static bool split(prn_spaces *s, prn_space *x, prn_dim inner);

/* Sums of sums of sums, as files can hold them, are given up at some depth. */
enum { MAX_DEPTH = 1000 };

static bool deeper(prn_spaces *s, bool ok) {
  s->depth--;
  return ok;
}

/* The factors of x, none of them a product itself. */
static stack factors_of(prn_space *x) {
  stack list = {0}, out = {0};
  push(&list, x);
  for (prn_space *f; (f = next(&list)); list.n--)
    push(&out, f);
  prn_free(list.at);
  return out;
}

/* Factor i of the list becomes two, the inner one as large as said. */
static bool split_at(prn_spaces *s, stack *l, uint32_t i, prn_dim inner) {
  if (!split(s, l->at[i], inner)) return false;
  prn_space *pair = prn_space_find(l->at[i]);
  push(l, NULL);
  memmove(&l->at[i + 2], &l->at[i + 1], (l->n - 2 - i) * sizeof *l->at);
  l->at[i] = pair->parts[0];
  l->at[i + 1] = pair->parts[1];
  return true;
}

/* x as outer * inner, where x is any space: its last factors, of which one may
 * have to be split. */
static bool factor(prn_spaces *s, prn_space *x, prn_dim inner, prn_space **out,
                   prn_space **in) {
  if (s->depth++ == MAX_DEPTH) return deeper(s, false);
  stack l = factors_of(x);
  uint32_t n = l.n; /* factors that are outer ones */
  prn_dim rest = inner, q;
  bool ok = true;
  for (; ok && n && !prn_dim_is(rest, 1); n--) {
    prn_space *last = l.at[n - 1];
    if (divide(s, rest, last->size, &q)) {
      rest = q;
    } else {
      ok = divide(s, last->size, rest, &q) && split_at(s, &l, n - 1, rest);
      rest = prn_dim_const(s->ctx, 1);
      if (ok) n++; /* the new outer one stays outside */
    }
  }
  ok = ok && prn_dim_is(rest, 1);
  if (ok) *out = prn_space_product(s, l.at, n);
  if (ok) *in = prn_space_product(s, l.at + n, l.n - n);
  prn_free(l.at);
  return deeper(s, ok);
}

/* Makes x, which is no product, a product of two: all terms of a sum must have
 * the same inner factor. */
static bool split(prn_spaces *s, prn_space *x, prn_dim inner) {
  prn_dim q;
  prn_space *pair[2];
  if (!divide(s, x->size, inner, &q)) return false;
  if (x->kind == PRN_SPACE_ATOM) {
    pair[0] = prn_space_atom(s, q);
    pair[1] = prn_space_atom(s, inner);
    become(x, prn_space_product(s, pair, 2));
    return true;
  }
  prn_space **outer = PRN_ARENA_ARRAY(&s->arena, prn_space *, x->n), *first;
  for (uint32_t i = 0; i < x->n; i++) {
    if (!factor(s, x->parts[i], inner, &outer[i], i ? &pair[1] : &first) ||
        (i && !prn_space_equate(s, first, pair[1])))
      return false;
  }
  pair[0] = prn_space_sum(s, outer, x->n);
  pair[1] = first;
  x->same = prn_space_product(s, pair, 2);
  return true;
}

/* ---- cutting into terms ---- */

/* (outer inner) behind q times the inner and r more: the outer one has three
 * parts then, the middle one a single index, and the inner one two. */
static bool cut_inside(prn_spaces *s, prn_space *outer, prn_space *inner,
                       int64_t q, int64_t r, prn_space **left,
                       prn_space **right) {
  prn_space *before = NULL, *behind = outer, *middle, *l, *in[2], *x[2];
  int64_t rest;
  if (q > 0 &&
      !prn_space_cut(s, outer, prn_dim_const(s->ctx, q), &before, &behind))
    return false;
  if (!prn_dim_is_const(behind->size, &rest) ||
      (rest > 1 &&
       !prn_space_cut(s, behind, prn_dim_const(s->ctx, 1), &middle, &behind)) ||
      !prn_space_cut(s, inner, prn_dim_const(s->ctx, r), &in[0], &in[1]))
    return false;
  *left = in[0];
  *right = in[1];
  if (before) {
    x[0] = before;
    x[1] = inner;
    l = prn_space_product(s, x, 2);
    x[0] = l;
    x[1] = in[0];
    *left = prn_space_sum(s, x, 2);
  }
  if (rest > 1) {
    x[0] = behind;
    x[1] = inner;
    l = prn_space_product(s, x, 2);
    x[0] = in[1];
    x[1] = l;
    *right = prn_space_sum(s, x, 2);
  }
  return true;
}

static bool cut_product(prn_spaces *s, prn_space *x, int64_t size,
                        prn_space **left, prn_space **right) {
  stack l = factors_of(x);
  prn_space *inner = prn_space_product(s, l.at + 1, l.n - 1);
  int64_t n;
  bool ok = prn_dim_is_const(inner->size, &n) && n > 0;
  if (ok && size % n) {
    ok = cut_inside(s, l.at[0], inner, size / n, size % n, left, right);
  } else if (ok) {
    ok =
        prn_space_cut(s, l.at[0], prn_dim_const(s->ctx, size / n), left, right);
    l.at[0] = *left;
    if (ok) *left = prn_space_product(s, l.at, l.n);
    l.at[0] = *right;
    if (ok) *right = prn_space_product(s, l.at, l.n);
  }
  prn_free(l.at);
  return ok;
}

static bool cut_sum(prn_spaces *s, prn_space *x, int64_t size, prn_space **left,
                    prn_space **right) {
  int64_t at = 0, each;
  for (uint32_t i = 0; i < x->n; at += each, i++) {
    if (!prn_dim_is_const(x->parts[i]->size, &each)) return false;
    if (size >= at + each) continue;
    prn_space **parts = PRN_ARENA_ARRAY(&s->arena, prn_space *, x->n + 1);
    memcpy(parts, x->parts, i * sizeof *parts);
    memcpy(parts + i + 1, x->parts + i, (x->n - i) * sizeof *parts);
    uint32_t n = i;
    if (size > at) {
      if (!prn_space_cut(s, x->parts[i], prn_dim_const(s->ctx, size - at),
                         &parts[i], &parts[i + 1]))
        return false;
      n++;
    }
    *left = prn_space_sum(s, parts, n);
    *right = prn_space_sum(s, parts + i + 1, x->n - i);
    return true;
  }
  return false;
}

static bool cut_atom(prn_spaces *s, prn_space *x, prn_dim size, int64_t rest,
                     prn_space **left, prn_space **right) {
  prn_space *two[2] = {prn_space_atom(s, size),
                       prn_space_atom(s, prn_dim_const(s->ctx, rest))};
  become(x, prn_space_sum(s, two, 2));
  *left = two[0];
  *right = two[1];
  return true;
}

bool prn_space_cut(prn_spaces *s, prn_space *x, prn_dim size, prn_space **left,
                   prn_space **right) {
  int64_t at, all;
  x = prn_space_find(x);
  if (!prn_dim_is_const(size, &at) || !prn_dim_is_const(x->size, &all) ||
      at <= 0 || at >= all)
    return false;
  if (s->depth++ == MAX_DEPTH) return deeper(s, false);
  switch (x->kind) {
  case PRN_SPACE_PRODUCT:
    return deeper(s, cut_product(s, x, at, left, right));
  case PRN_SPACE_SUM:
    return deeper(s, cut_sum(s, x, at, left, right));
  default:
    return deeper(s, cut_atom(s, x, size, all - at, left, right));
  }
}

/* ---- equating ---- */

static bool equate_sums(prn_spaces *s, prn_space *a, prn_space *b) {
  prn_space *left, *right, *x = a->parts[0];
  uint32_t i = 0, j = 0;
  prn_space *y = b->parts[0];
  for (;;) {
    int64_t m, n;
    if (!prn_dim_is_const(x->size, &m) || !prn_dim_is_const(y->size, &n))
      return false;
    if (m > n) {
      if (!prn_space_cut(s, x, y->size, &left, &right) ||
          !prn_space_equate(s, left, y))
        return false;
      x = right;
    } else if (m < n) {
      if (!prn_space_cut(s, y, x->size, &left, &right) ||
          !prn_space_equate(s, x, left))
        return false;
      y = right;
    } else if (!prn_space_equate(s, x, y)) {
      return false;
    }
    if (m <= n && ++i == a->n) return true;
    if (m >= n && ++j == b->n) return true;
    if (m <= n) x = a->parts[i];
    if (m >= n) y = b->parts[j];
  }
}

/* Two spaces of one size that are no products. */
static bool equate_terms(prn_spaces *s, prn_space *a, prn_space *b) {
  if (a == b) return true;
  if (a->kind == PRN_SPACE_ATOM) {
    become(a, b);
    return true;
  }
  if (b->kind == PRN_SPACE_ATOM) {
    become(b, a);
    return true;
  }
  if (!equate_sums(s, a, b)) return false;
  b->same = a;
  return true;
}

/* A sum and as many factors as are as large: the product is cut where the
 * terms end. */
static bool equate_product(prn_spaces *s, prn_space *sum, stack *factors) {
  prn_dim size = prn_dim_const(s->ctx, 1);
  uint32_t n = factors->n;
  while (n && prn_dim_cmp(size, sum->size) != 0)
    size = prn_dim_mul(s->ctx, size, factors->at[--n]->size);
  if (prn_dim_cmp(size, sum->size) != 0) return false;
  stack l = {0};
  while (factors->n > n)
    push(&l, factors->at[--factors->n]);
  prn_space *x = prn_space_product(s, l.at, l.n), *rest = x, *left;
  bool ok = true;
  for (uint32_t i = 0; ok && i < sum->n; i++) {
    left = rest;
    if (i + 1 < sum->n)
      ok = prn_space_cut(s, rest, sum->parts[i]->size, &left, &rest);
    ok = ok && prn_space_equate(s, sum->parts[i], left);
  }
  prn_free(l.at);
  if (ok) sum->same = x;
  return ok;
}

/* The factors x and y, of which y is the larger one, at the ends of a and b. */
static bool match_part(prn_spaces *s, prn_space *x, prn_space *y, stack *a,
                       stack *b) {
  prn_dim q;
  if (divide(s, y->size, x->size, &q) && split(s, y, q)) return true;
  y = prn_space_find(y);
  if (y->kind != PRN_SPACE_SUM) return false;
  b->n--;
  return equate_product(s, y, a);
}

static bool smaller(prn_spaces *s, prn_dim a, prn_dim b) {
  int64_t m, n;
  prn_dim q;
  if (prn_dim_is_const(a, &m) && prn_dim_is_const(b, &n)) return m < n;
  return divide(s, b, a, &q);
}

static bool match(prn_spaces *s, stack *a, stack *b) {
  for (;;) {
    prn_space *x = next(a), *y = next(b);
    bool ok;
    if (!x || !y) return !x && !y;
    if (prn_dim_cmp(x->size, y->size) == 0) {
      a->n--;
      b->n--;
      ok = equate_terms(s, x, y);
    } else if (smaller(s, x->size, y->size)) {
      ok = match_part(s, x, y, a, b);
    } else {
      ok = match_part(s, y, x, b, a);
    }
    if (!ok) return false;
  }
}

bool prn_space_regroup(prn_spaces *s, prn_space *const *a, uint32_t na,
                       prn_space *const *b, uint32_t nb) {
  stack x = {0}, y = {0};
  push_all(&x, a, na);
  push_all(&y, b, nb);
  bool ok = match(s, &x, &y);
  prn_free(x.at);
  prn_free(y.at);
  return ok;
}

bool prn_space_equate(prn_spaces *s, prn_space *a, prn_space *b) {
  a = prn_space_find(a);
  b = prn_space_find(b);
  if (a == b) return true;
  if (prn_dim_cmp(a->size, b->size) != 0) return false;
  if (s->depth++ == MAX_DEPTH) return deeper(s, false);
  return deeper(s, prn_space_regroup(s, &a, 1, &b, 1));
}

/* ---- printing ---- */

void prn_space_print(prn_space *x, prn_strbuf *out) {
  x = prn_space_find(x);
  if (x->kind == PRN_SPACE_ATOM) {
    if (x->id) prn_strbuf_fmt(out, "%c:", (int)('a' + (x->id - 1) % 26));
    prn_dim_print(out, x->size);
    return;
  }
  if (!x->n) {
    prn_strbuf_char(out, '1');
    return;
  }
  prn_strbuf_char(out, '(');
  for (uint32_t i = 0; i < x->n; i++) {
    if (i) prn_strbuf_char(out, x->kind == PRN_SPACE_SUM ? '+' : ' ');
    prn_space_print(x->parts[i], out);
  }
  prn_strbuf_char(out, ')');
}
