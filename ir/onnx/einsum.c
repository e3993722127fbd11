/* Einsum: each letter of the equation names an axis. */
#include <string.h>

#include "ir/onnx/shape.h"

enum { LETTERS = 128 };

typedef struct einsum {
  prn_dim dim[LETTERS]; /* NULL: letter not seen */
  uint32_t count[LETTERS];
  prn_shape ellipsis; /* broadcast of what "..." stands for */
  bool has_ellipsis, known;
} einsum;

/* The letters of a term, blanks removed; '.' once for an ellipsis. */
static prn_status read_term(prn_op *op, prn_str term, char *out, size_t *n) {
  *n = 0;
  for (size_t i = 0; i < term.size; i++) {
    char c = term.data[i];
    bool letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
    if (c == ' ') continue;
    if (c == '.' && i + 2 < term.size && term.data[i + 1] == '.' &&
        term.data[i + 2] == '.' && !memchr(out, '.', *n))
      i += 2;
    else if (!letter)
      return prn_op_error(op, "equation has '%c' at the wrong place", c);
    if (*n == LETTERS)
      return prn_op_error(op, "equation has a term of more than %d letters",
                          (int)LETTERS);
    out[(*n)++] = c;
  }
  return PRN_OK;
}

static prn_status bind(prn_infer *env, prn_op *op, einsum *e, char c,
                       prn_dim d) {
  prn_dim *known = &e->dim[(unsigned char)c];
  e->count[(unsigned char)c]++;
  if (!*known) *known = d;
  prn_dim both;
  if (!prn_infer_broadcast_dim(env, *known, d, &both))
    return prn_op_error(op, "index %c has sizes %lld and %lld", c,
                        (long long)(*known)->value, (long long)d->value);
  *known = both;
  return PRN_OK;
}

static prn_status bind_operand(prn_infer *env, prn_op *op, einsum *e,
                               uint32_t i, const char *term, size_t n) {
  prn_shape s = prn_shape_of(env, op, i);
  bool dots = n && memchr(term, '.', n);
  if (s.rank < 0) {
    for (size_t k = 0; k < n; k++)
      if (term[k] != '.')
        PRN_TRY(bind(env, op, e, term[k], prn_dim_unknown(prn_infer_ctx(env))));
    e->known = e->known && !dots;
    return PRN_OK;
  }
  int64_t hidden = s.rank - (int64_t)n + (dots ? 1 : 0);
  if (hidden < 0 || (hidden && !dots))
    return prn_op_error(op,
                        "operand %u has rank %d, but its term has %zu "
                        "indices",
                        (unsigned)i, (int)s.rank, n - (dots ? 1 : 0));
  for (size_t k = 0, at = 0; k < n; k++) {
    if (term[k] != '.') {
      PRN_TRY(bind(env, op, e, term[k], s.dims[at++]));
      continue;
    }
    prn_shape part = {s.dtype, (int32_t)hidden, s.dims + at};
    if (!prn_shape_broadcast(env, &e->ellipsis, part))
      return prn_op_error(op, "the axes of '...' do not broadcast");
    at += (size_t)hidden;
  }
  return PRN_OK;
}

static prn_status einsum_result(prn_infer *env, prn_op *op, const einsum *e,
                                const char *out, size_t n) {
  prn_dtype dtype = prn_shape_of(env, op, 0).dtype;
  prn_shape y = prn_shape_new(env, dtype, (int64_t)n + e->ellipsis.rank);
  y.rank = 0;
  if (!e->known) return prn_shape_dtype_only(env, op, 0, dtype);
  for (size_t k = 0; k < n; k++) {
    if (out[k] == '.') {
      for (int32_t i = 0; i < e->ellipsis.rank; i++)
        y.dims[y.rank++] = e->ellipsis.dims[i];
    } else if (e->dim[(unsigned char)out[k]]) {
      y.dims[y.rank++] = e->dim[(unsigned char)out[k]];
    } else {
      return prn_op_error(op, "index %c of the result is in no operand",
                          out[k]);
    }
  }
  return prn_shape_result(env, op, 0, y);
}

/* Without "->" the result has the letters that occur once, in order. */
static size_t implicit_result(const einsum *e, char *out) {
  size_t n = 0;
  if (e->has_ellipsis) out[n++] = '.';
  for (int c = 0; c < LETTERS; c++)
    if (c != '.' && e->count[c] == 1) out[n++] = (char)c;
  return n;
}

static prn_str before(prn_str s, size_t at) { return (prn_str){s.data, at}; }

static size_t find(prn_str s, char c) {
  const char *p = s.size ? memchr(s.data, c, s.size) : NULL;
  return p ? (size_t)(p - s.data) : s.size;
}

prn_status prn_infer_einsum(prn_infer *env, prn_op *op) {
  prn_str left = prn_op_string(op, "equation", ""), right = {"", 0};
  einsum e = {.known = true, .ellipsis = prn_shape_new(env, PRN_F32, 0)};
  char term[LETTERS], out[LETTERS + 1];
  size_t n, arrow = find(left, '-');
  bool explicit_out = arrow < left.size;
  if (explicit_out) {
    if (arrow + 1 >= left.size || left.data[arrow + 1] != '>')
      return prn_op_error(op, "equation has a '-' without '>'");
    right = (prn_str){left.data + arrow + 2, left.size - arrow - 2};
    left = before(left, arrow);
  }
  for (uint32_t i = 0; i < op->num_operands; i++) {
    size_t comma = find(left, ',');
    bool last = i + 1 == op->num_operands;
    if (last != (comma == left.size))
      return prn_op_error(op, "equation has %s terms than operands",
                          last ? "more" : "fewer");
    PRN_TRY(read_term(op, before(left, comma), term, &n));
    if (n && memchr(term, '.', n)) e.has_ellipsis = true;
    PRN_TRY(bind_operand(env, op, &e, i, term, n));
    if (!last) left = (prn_str){left.data + comma + 1, left.size - comma - 1};
  }
  n = 0;
  if (explicit_out)
    PRN_TRY(read_term(op, right, out, &n));
  else
    n = implicit_result(&e, out);
  return einsum_result(env, op, &e, out, n);
}
