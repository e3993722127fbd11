/* Normal form: a sum of terms, a term being coefficient * sorted factors. */
#include "ir/dim.h"

#include <assert.h>
#include <ctype.h>
#include <string.h>

/* MAX_SIZE bounds the depth of recursion, and the text of what shares parts. */
enum { MAX_TERMS = 32, MAX_FACTORS = 8, MAX_SIZE = 512 };

typedef struct term {
  int64_t coef;
  uint32_t n;
  prn_dim factor[MAX_FACTORS];
} term;

typedef struct poly {
  uint32_t n;
  term t[MAX_TERMS];
} poly;

static bool same_expr(const void *stored, const void *key) {
  const prn_dim_expr *a = stored, *b = key;
  if (a->kind != b->kind || a->num_args != b->num_args) return false;
  if (a->kind == PRN_DIM_CONST) return a->value == b->value;
  if (a->kind == PRN_DIM_SYM) return a->name.data == b->name.data;
  for (uint32_t i = 0; i < a->num_args; i++)
    if (a->args[i] != b->args[i]) return false;
  return true;
}

static const void *make_expr(prn_ctx *ctx, const void *key) {
  prn_dim_expr *e = prn_arena_copy(prn_ctx_arena(ctx), key, sizeof *e);
  e->args = prn_arena_copy(prn_ctx_arena(ctx), e->args,
                           prn_array_size(sizeof *e->args, e->num_args));
  return e;
}

static prn_dim unique(prn_ctx *ctx, prn_dim_expr e) {
  e.size = 1;
  for (uint32_t i = 0; i < e.num_args; i++)
    e.size += e.args[i]->size;
  if (e.size > MAX_SIZE) return prn_dim_unknown(ctx);
  uint64_t h = prn_hash_bytes(&e.kind, sizeof e.kind, 11);
  h = prn_hash_bytes(&e.value, sizeof e.value, h);
  h = prn_hash_bytes(&e.name.data, sizeof e.name.data, h);
  h = prn_hash_bytes(e.args, sizeof *e.args * e.num_args, h);
  return prn_ctx_unique(ctx, h, &e, same_expr, make_expr);
}

prn_dim prn_dim_unknown(prn_ctx *ctx) {
  return unique(ctx, (prn_dim_expr){.kind = PRN_DIM_UNKNOWN});
}
prn_dim prn_dim_const(prn_ctx *ctx, int64_t value) {
  return unique(ctx, (prn_dim_expr){.kind = PRN_DIM_CONST, .value = value});
}
prn_dim prn_dim_sym(prn_ctx *ctx, prn_str name) {
  return unique(
      ctx, (prn_dim_expr){.kind = PRN_DIM_SYM, .name = prn_intern(ctx, name)});
}

bool prn_dim_is_const(prn_dim d, int64_t *out_value) {
  if (d->kind != PRN_DIM_CONST) return false;
  if (out_value) *out_value = d->value;
  return true;
}

bool prn_dim_is_multiple(prn_ctx *ctx, prn_dim d, int64_t by) {
  prn_dim b = prn_dim_const(ctx, by);
  return prn_dim_known(d) &&
         prn_dim_mul(ctx, prn_dim_floordiv(ctx, d, b), b) == d;
}

int prn_dim_cmp(prn_dim a, prn_dim b) {
  if (a == b) return 0;
  if (a->kind != b->kind) return a->kind < b->kind ? -1 : 1;
  if (a->kind == PRN_DIM_CONST) return a->value < b->value ? -1 : 1;
  if (a->kind == PRN_DIM_SYM) return prn_str_cmp(a->name, b->name);
  if (a->num_args != b->num_args) return a->num_args < b->num_args ? -1 : 1;
  for (uint32_t i = 0; i < a->num_args; i++) {
    int c = prn_dim_cmp(a->args[i], b->args[i]);
    if (c) return c;
  }
  return 0;
}

static int cmp_factors(const term *a, const term *b) {
  if (a->n != b->n) return a->n > b->n ? -1 : 1; /* higher degree first */
  for (uint32_t i = 0; i < a->n; i++) {
    int c = prn_dim_cmp(a->factor[i], b->factor[i]);
    if (c) return c;
  }
  return 0;
}

static bool add_term(poly *p, const term *t) {
  uint32_t at = 0;
  if (t->coef == 0) return true;
  while (at < p->n && cmp_factors(&p->t[at], t) < 0)
    at++;
  if (at < p->n && cmp_factors(&p->t[at], t) == 0) {
    if (!prn_add_i64(p->t[at].coef, t->coef, &p->t[at].coef)) return false;
    if (p->t[at].coef == 0) {
      memmove(&p->t[at], &p->t[at + 1], (p->n - at - 1) * sizeof *t);
      p->n--;
    }
    return true;
  }
  if (p->n == MAX_TERMS) return false;
  memmove(&p->t[at + 1], &p->t[at], (p->n - at) * sizeof *t);
  p->t[at] = *t;
  p->n++;
  return true;
}

static bool term_of(prn_dim d, term *t) {
  *t = (term){.coef = 1};
  if (d->kind == PRN_DIM_CONST) {
    t->coef = d->value;
  } else if (d->kind == PRN_DIM_MUL) {
    for (uint32_t i = 0; i < d->num_args; i++) {
      if (d->args[i]->kind == PRN_DIM_CONST)
        t->coef = d->args[i]->value;
      else if (t->n < MAX_FACTORS)
        t->factor[t->n++] = d->args[i];
      else
        return false;
    }
  } else {
    t->factor[t->n++] = d;
  }
  return true;
}

static bool poly_of(prn_dim d, poly *p) {
  term t;
  p->n = 0;
  if (d->kind != PRN_DIM_ADD) return term_of(d, &t) && add_term(p, &t);
  for (uint32_t i = 0; i < d->num_args; i++)
    if (!term_of(d->args[i], &t) || !add_term(p, &t)) return false;
  return true;
}

static prn_dim from_term(prn_ctx *ctx, const term *t) {
  prn_dim args[MAX_FACTORS + 1];
  uint32_t n = 0;
  if (t->n == 0) return prn_dim_const(ctx, t->coef);
  if (t->coef == 1 && t->n == 1) return t->factor[0];
  if (t->coef != 1) args[n++] = prn_dim_const(ctx, t->coef);
  for (uint32_t i = 0; i < t->n; i++)
    args[n++] = t->factor[i];
  return unique(
      ctx, (prn_dim_expr){.kind = PRN_DIM_MUL, .num_args = n, .args = args});
}

static prn_dim from_poly(prn_ctx *ctx, const poly *p) {
  prn_dim args[MAX_TERMS];
  if (p->n == 0) return prn_dim_const(ctx, 0);
  if (p->n == 1) return from_term(ctx, &p->t[0]);
  for (uint32_t i = 0; i < p->n; i++)
    args[i] = from_term(ctx, &p->t[i]);
  return unique(
      ctx, (prn_dim_expr){.kind = PRN_DIM_ADD, .num_args = p->n, .args = args});
}

static bool mul_terms(const term *a, const term *b, term *out) {
  *out = (term){0};
  if (!prn_mul_i64(a->coef, b->coef, &out->coef)) return false;
  if (a->n + b->n > MAX_FACTORS) return false;
  uint32_t i = 0, j = 0;
  while (i < a->n || j < b->n) {
    bool left =
        j == b->n || (i < a->n && prn_dim_cmp(a->factor[i], b->factor[j]) <= 0);
    out->factor[out->n++] = left ? a->factor[i++] : b->factor[j++];
  }
  return true;
}

/* a / b when it divides without remainder. */
static bool div_term(const term *a, const term *b, term *out) {
  if (b->coef == 0 || (b->coef == -1 && a->coef == INT64_MIN)) return false;
  if (a->coef % b->coef) return false;
  *out = (term){.coef = a->coef / b->coef};
  uint32_t j = 0;
  for (uint32_t i = 0; i < a->n; i++) {
    if (j < b->n && a->factor[i] == b->factor[j])
      j++;
    else
      out->factor[out->n++] = a->factor[i];
  }
  return j == b->n;
}

prn_dim prn_dim_add(prn_ctx *ctx, prn_dim a, prn_dim b) {
  poly p, q;
  if (!prn_dim_known(a) || !prn_dim_known(b)) return prn_dim_unknown(ctx);
  if (!poly_of(a, &p) || !poly_of(b, &q)) return prn_dim_unknown(ctx);
  for (uint32_t i = 0; i < q.n; i++)
    if (!add_term(&p, &q.t[i])) return prn_dim_unknown(ctx);
  return from_poly(ctx, &p);
}

prn_dim prn_dim_sub(prn_ctx *ctx, prn_dim a, prn_dim b) {
  return prn_dim_add(ctx, a, prn_dim_mul(ctx, b, prn_dim_const(ctx, -1)));
}

prn_dim prn_dim_mul(prn_ctx *ctx, prn_dim a, prn_dim b) {
  poly p, q, r = {0};
  int64_t va, vb;
  if ((prn_dim_is_const(a, &va) && va == 0) ||
      (prn_dim_is_const(b, &vb) && vb == 0))
    return prn_dim_const(ctx, 0);
  if (!prn_dim_known(a) || !prn_dim_known(b)) return prn_dim_unknown(ctx);
  if (!poly_of(a, &p) || !poly_of(b, &q)) return prn_dim_unknown(ctx);
  for (uint32_t i = 0; i < p.n; i++)
    for (uint32_t j = 0; j < q.n; j++) {
      term t;
      if (!mul_terms(&p.t[i], &q.t[j], &t) || !add_term(&r, &t))
        return prn_dim_unknown(ctx);
    }
  return from_poly(ctx, &r);
}

static prn_dim binary(prn_ctx *ctx, prn_dim_kind kind, prn_dim a, prn_dim b) {
  prn_dim args[2] = {a, b};
  return unique(ctx, (prn_dim_expr){.kind = kind, .num_args = 2, .args = args});
}

static int64_t floordiv_i64(int64_t a, int64_t b) {
  int64_t q = a / b;
  return (a % b != 0 && (a < 0) != (b < 0)) ? q - 1 : q;
}

static bool safe_divisor(int64_t a, int64_t b) {
  return b != 0 && !(b == -1 && a == INT64_MIN);
}

prn_dim prn_dim_floordiv(prn_ctx *ctx, prn_dim a, prn_dim b) {
  int64_t va, vb;
  poly p, q, r = {0};
  if (!prn_dim_known(a) || !prn_dim_known(b)) return prn_dim_unknown(ctx);
  if (prn_dim_is_const(b, &vb)) {
    if (vb == 0) return prn_dim_unknown(ctx);
    if (vb == 1) return a;
    if (prn_dim_is_const(a, &va))
      return safe_divisor(va, vb) ? prn_dim_const(ctx, floordiv_i64(va, vb))
                                  : prn_dim_unknown(ctx);
  }
  if (a == b) return prn_dim_const(ctx, 1);
  if (!poly_of(a, &p) || !poly_of(b, &q)) return prn_dim_unknown(ctx);
  bool exact = q.n == 1;
  for (uint32_t i = 0; exact && i < p.n; i++) {
    term t;
    exact = div_term(&p.t[i], &q.t[0], &t) && add_term(&r, &t);
  }
  return exact ? from_poly(ctx, &r) : binary(ctx, PRN_DIM_FLOORDIV, a, b);
}

prn_dim prn_dim_ceildiv(prn_ctx *ctx, prn_dim a, prn_dim b) {
  prn_dim bias = prn_dim_sub(ctx, b, prn_dim_const(ctx, 1));
  return prn_dim_floordiv(ctx, prn_dim_add(ctx, a, bias), b);
}

prn_dim prn_dim_mod(prn_ctx *ctx, prn_dim a, prn_dim b) {
  prn_dim q = prn_dim_floordiv(ctx, a, b);
  if (!prn_dim_known(q)) return q;
  if (q->kind == PRN_DIM_FLOORDIV && q->args[0] == a && q->args[1] == b)
    return binary(ctx, PRN_DIM_MOD, a, b);
  return prn_dim_sub(ctx, a, prn_dim_mul(ctx, q, b));
}

/* Never negative, given that sizes are not. */
static bool nonnegative(prn_dim d) {
  bool all = true;
  switch (d->kind) {
  case PRN_DIM_UNKNOWN:
    return false;
  case PRN_DIM_CONST:
    return d->value >= 0;
  case PRN_DIM_SYM:
    return true;
  case PRN_DIM_MOD:
    return nonnegative(d->args[1]);
  case PRN_DIM_MAX:
    for (uint32_t i = 0; i < d->num_args; i++)
      if (nonnegative(d->args[i])) return true;
    return false;
  default:
    for (uint32_t i = 0; i < d->num_args; i++)
      all = all && nonnegative(d->args[i]);
    return all;
  }
}

typedef struct choice {
  uint32_t n;
  prn_dim args[MAX_TERMS];
} choice;

/* Adds d to the candidates, dropping what can never be chosen. */
static bool add_choice(prn_ctx *ctx, prn_dim_kind kind, choice *c, prn_dim d) {
  uint32_t kept = 0;
  for (uint32_t i = 0; i < c->n; i++) {
    prn_dim old = c->args[i], more = prn_dim_sub(ctx, old, d);
    bool old_larger = nonnegative(more);
    bool new_larger = nonnegative(prn_dim_sub(ctx, d, old));
    if (kind == PRN_DIM_MAX ? old_larger : new_larger) return true;
    if (!(kind == PRN_DIM_MAX ? new_larger : old_larger)) c->args[kept++] = old;
  }
  c->n = kept;
  if (c->n == MAX_TERMS) return false;
  for (kept = c->n++; kept > 0 && prn_dim_cmp(c->args[kept - 1], d) > 0; kept--)
    c->args[kept] = c->args[kept - 1];
  c->args[kept] = d;
  return true;
}

static prn_dim min_max(prn_ctx *ctx, prn_dim_kind kind, prn_dim a, prn_dim b) {
  const prn_dim both[2] = {a, b};
  choice c = {0};
  if (!prn_dim_known(a) || !prn_dim_known(b)) return prn_dim_unknown(ctx);
  for (int k = 0; k < 2; k++) {
    bool same = both[k]->kind == kind;
    uint32_t n = same ? both[k]->num_args : 1;
    for (uint32_t i = 0; i < n; i++)
      if (!add_choice(ctx, kind, &c, same ? both[k]->args[i] : both[k]))
        return prn_dim_unknown(ctx);
  }
  if (c.n == 1) return c.args[0];
  return unique(ctx,
                (prn_dim_expr){.kind = kind, .num_args = c.n, .args = c.args});
}

prn_dim prn_dim_min(prn_ctx *ctx, prn_dim a, prn_dim b) {
  return min_max(ctx, PRN_DIM_MIN, a, b);
}
prn_dim prn_dim_max(prn_ctx *ctx, prn_dim a, prn_dim b) {
  return min_max(ctx, PRN_DIM_MAX, a, b);
}

static bool is_min_of(prn_dim d, prn_dim part) {
  bool found = false;
  for (uint32_t i = 0; d->kind == PRN_DIM_MIN && i < d->num_args; i++)
    found = found || d->args[i] == part;
  return found;
}

bool prn_dim_broadcast(prn_ctx *ctx, prn_dim a, prn_dim b, prn_dim *out) {
  int64_t va, vb;
  bool ca = prn_dim_is_const(a, &va), cb = prn_dim_is_const(b, &vb);
  *out = a;
  if (a == b || (cb && vb == 1)) return true;
  *out = b;
  if (ca && va == 1) return true;
  if (ca && cb) return false;
  if (ca || cb)
    *out = ca ? a : b; /* the other one is equal or 1 */
  else if (is_min_of(a, b))
    *out = b;
  else if (is_min_of(b, a))
    *out = a;
  else
    *out = prn_dim_max(ctx, a, b);
  return true;
}

prn_dim prn_dim_substitute(prn_ctx *ctx, prn_dim d,
                           prn_dim (*lookup)(void *user, prn_str name),
                           void *user) {
  if (d->kind == PRN_DIM_SYM) {
    prn_dim to = lookup(user, d->name);
    return to ? to : d;
  }
  if (d->num_args == 0) return d;
  prn_dim acc = prn_dim_substitute(ctx, d->args[0], lookup, user);
  for (uint32_t i = 1; i < d->num_args; i++) {
    prn_dim b = prn_dim_substitute(ctx, d->args[i], lookup, user);
    switch (d->kind) {
    case PRN_DIM_MUL:
      acc = prn_dim_mul(ctx, acc, b);
      break;
    case PRN_DIM_ADD:
      acc = prn_dim_add(ctx, acc, b);
      break;
    case PRN_DIM_FLOORDIV:
      acc = prn_dim_floordiv(ctx, acc, b);
      break;
    case PRN_DIM_MOD:
      acc = prn_dim_mod(ctx, acc, b);
      break;
    case PRN_DIM_MIN:
      acc = prn_dim_min(ctx, acc, b);
      break;
    case PRN_DIM_MAX:
      acc = prn_dim_max(ctx, acc, b);
      break;
    default:
      assert(!"dimension kind has no arguments");
    }
  }
  return acc;
}

static bool eval_pair(prn_dim_kind kind, int64_t a, int64_t b, int64_t *out) {
  switch (kind) {
  case PRN_DIM_MUL:
    return prn_mul_i64(a, b, out);
  case PRN_DIM_ADD:
    return prn_add_i64(a, b, out);
  case PRN_DIM_FLOORDIV:
    if (!safe_divisor(a, b)) return false;
    *out = floordiv_i64(a, b);
    return true;
  case PRN_DIM_MOD:
    if (!safe_divisor(a, b)) return false;
    *out = a - floordiv_i64(a, b) * b;
    return true;
  case PRN_DIM_MIN:
    *out = a < b ? a : b;
    return true;
  case PRN_DIM_MAX:
    *out = a > b ? a : b;
    return true;
  default:
    return false;
  }
}

bool prn_dim_eval(prn_dim d,
                  bool (*lookup)(void *user, prn_str name, int64_t *out),
                  void *user, int64_t *out) {
  int64_t acc, b;
  if (d->kind == PRN_DIM_UNKNOWN) return false;
  if (d->kind == PRN_DIM_CONST) {
    *out = d->value;
    return true;
  }
  if (d->kind == PRN_DIM_SYM) return lookup && lookup(user, d->name, out);
  if (!prn_dim_eval(d->args[0], lookup, user, &acc)) return false;
  for (uint32_t i = 1; i < d->num_args; i++)
    if (!prn_dim_eval(d->args[i], lookup, user, &b) ||
        !eval_pair(d->kind, acc, b, &acc))
      return false;
  *out = acc;
  return true;
}

static bool plain_name(prn_str s) {
  if (s.size == 0 || isdigit((unsigned char)s.data[0])) return false;
  for (size_t i = 0; i < s.size; i++)
    if (!isalnum((unsigned char)s.data[i]) && s.data[i] != '_') return false;
  return true;
}

static void print_joined(prn_strbuf *b, prn_dim d, const char *sep) {
  for (uint32_t i = 0; i < d->num_args; i++) {
    if (i) prn_strbuf_cstr(b, sep);
    prn_dim_print(b, d->args[i]);
  }
}

/* a+b-2*c: terms with a negative coefficient bring their own sign. */
static void print_sum(prn_strbuf *b, prn_dim d) {
  for (uint32_t i = 0; i < d->num_args; i++) {
    size_t at = b->size;
    prn_dim_print(b, d->args[i]);
    if (i == 0 || b->data[at] == '-') continue;
    prn_strbuf_char(b, '+'); /* to the front of the term */
    memmove(b->data + at + 1, b->data + at, b->size - at - 1);
    b->data[at] = '+';
  }
}

void prn_dim_print(prn_strbuf *b, prn_dim d) {
  static const char *const call[] = {[PRN_DIM_FLOORDIV] = "floordiv",
                                     [PRN_DIM_MOD] = "mod",
                                     [PRN_DIM_MIN] = "min",
                                     [PRN_DIM_MAX] = "max"};
  switch (d->kind) {
  case PRN_DIM_UNKNOWN:
    prn_strbuf_char(b, '?');
    break;
  case PRN_DIM_CONST:
    prn_strbuf_fmt(b, "%lld", (long long)d->value);
    break;
  case PRN_DIM_SYM:
    if (plain_name(d->name))
      prn_strbuf_str(b, d->name);
    else
      prn_strbuf_quoted(b, d->name);
    break;
  case PRN_DIM_MUL:
    print_joined(b, d, "*");
    break;
  case PRN_DIM_ADD:
    print_sum(b, d);
    break;
  default:
    prn_strbuf_fmt(b, "%s(", call[d->kind]);
    print_joined(b, d, ", ");
    prn_strbuf_char(b, ')');
  }
}
