/* Reading the dims column. Applying it to operations is in
 * ir/relation_apply.c. */
#include "ir/relation.h"

#include <string.h>

typedef struct reader {
  const char *at;
  const prn_op_info *info;
  prn_relation *r;
  const char *error;
} reader;

static bool fail(reader *p, const char *error) {
  if (!p->error) p->error = error;
  return false;
}

static void blanks(reader *p) {
  while (*p->at == ' ')
    p->at++;
}

static bool accept(reader *p, char c) {
  blanks(p);
  if (*p->at != c) return false;
  p->at++;
  return true;
}

static bool is_letter(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';
}
static bool is_digit(char c) { return c >= '0' && c <= '9'; }

/* Also "input_mean", "qkv2"; a lone "_" is no word. */
static bool word(reader *p, prn_str *out) {
  blanks(p);
  const char *from = p->at;
  if (!is_letter(*p->at)) return false;
  while (is_letter(*p->at) || is_digit(*p->at))
    p->at++;
  *out = (prn_str){from, (size_t)(p->at - from)};
  return true;
}

static bool number(reader *p, int64_t *out) {
  blanks(p);
  if (!is_digit(*p->at)) return false;
  for (*out = 0; is_digit(*p->at); p->at++)
    *out = *out * 10 + (*p->at - '0');
  return true;
}

static int32_t name_index(reader *p, prn_str name) {
  prn_relation *r = p->r;
  for (uint32_t i = 0; i < r->num_names; i++)
    if (prn_str_eq(r->names[i], name)) return (int32_t)i;
  if (r->num_names == PRN_RELATION_NAMES) {
    (void)fail(p, "too many names");
    return 0;
  }
  r->names[r->num_names] = name;
  return (int32_t)r->num_names++;
}

static bool read_factor(reader *p, prn_relation_dim *d) {
  prn_str name;
  int64_t v;
  bool is_number = number(p, &v);
  if (!is_number && !word(p, &name)) return false;
  if (d->n == PRN_RELATION_FACTORS) return fail(p, "too many factors");
  d->names[d->n] = is_number ? -1 : name_index(p, name);
  d->values[d->n++] = is_number ? v : 0;
  return true;
}

static bool read_dim(reader *p, prn_relation_dim *d) {
  *d = (prn_relation_dim){.kind = PRN_RELATION_PRODUCT};
  blanks(p);
  if (*p->at == '_' && !is_letter(p->at[1]) && !is_digit(p->at[1])) {
    p->at++;
    d->kind = PRN_RELATION_FREE;
  } else if (accept(p, '*')) {
    d->kind = PRN_RELATION_REST;
  } else if (accept(p, '~')) {
    d->kind = PRN_RELATION_FREE_REST;
  } else if (accept(p, '(')) {
    while (read_factor(p, d))
      ;
    if (!accept(p, ')')) return fail(p, "expected ')'");
    if (d->n == 0) return fail(p, "an empty product");
  } else if (!read_factor(p, d)) {
    return false;
  }
  if (*p->at == '!') {
    p->at++;
    d->mixed = true;
  }
  if (*p->at == '?') {
    p->at++;
    d->optional = true;
  }
  return true;
}

static bool find_slot(reader *p, prn_str name, bool is_result,
                      uint32_t *out_index) {
  const prn_slot_info *s = is_result ? p->info->out : p->info->in;
  for (uint32_t i = 0; s[i].kind != PRN_SLOT_END; i++)
    if (prn_str_is(name, s[i].name)) {
      *out_index = i;
      return true;
    }
  return fail(p, is_result ? "no such result" : "no such operand");
}

static bool is_attr(reader *p, prn_str name) {
  for (const prn_attr_info *a = p->info->attrs; a->name; a++)
    if (prn_str_is(name, a->name)) return true;
  return fail(p, "no such attribute");
}

static bool read_slot(reader *p, bool is_result, prn_relation_alt *alt) {
  prn_str name;
  uint32_t rests = 0;
  if (alt->n == PRN_RELATION_SLOTS) return fail(p, "too many slots");
  prn_relation_slot *s = &alt->slots[alt->n++];
  *s = (prn_relation_slot){.is_result = is_result, .swap = {"", 0}};
  if (!word(p, &name)) return fail(p, "expected a slot");
  if (!find_slot(p, name, is_result, &s->index)) return false;
  if (accept(p, '^') && (!word(p, &s->swap) || !is_attr(p, s->swap)))
    return fail(p, "expected an attribute after '^'");
  if (!accept(p, ':')) return fail(p, "expected ':'");
  for (prn_relation_dim d; read_dim(p, &d);) {
    if (s->n == PRN_RELATION_DIMS) return fail(p, "too many dims");
    rests += d.kind == PRN_RELATION_REST || d.kind == PRN_RELATION_FREE_REST;
    s->dims[s->n++] = d;
  }
  if (rests > 1) return fail(p, "more than one '*' or '~' in a slot");
  if (s->swap.size && s->n < 2) return fail(p, "nothing to swap");
  return !p->error;
}

static bool read_alt(reader *p, prn_relation_alt *alt) {
  *alt = (prn_relation_alt){.attr = {"", 0}};
  if (accept(p, '[')) {
    if (!word(p, &alt->attr) || !is_attr(p, alt->attr) || !accept(p, '=') ||
        !number(p, &alt->value) || !accept(p, ']'))
      return fail(p, "expected [attribute=integer]");
  }
  do
    if (!read_slot(p, false, alt)) return false;
  while (accept(p, ','));
  if (!accept(p, '-') || !accept(p, '>')) return fail(p, "expected '->'");
  do
    if (!read_slot(p, true, alt)) return false;
  while (accept(p, ','));
  return true;
}

/* "g q = num_heads" */
static bool read_size(reader *p) {
  prn_relation *r = p->r;
  prn_str name;
  if (r->num_sizes == PRN_RELATION_ALTS) return fail(p, "too many sizes");
  prn_relation_size *s = &r->sizes[r->num_sizes++];
  *s = (prn_relation_size){.n = 0};
  while (word(p, &name)) {
    uint32_t known = r->num_names;
    int32_t i = name_index(p, name);
    if (r->num_names != known) return fail(p, "a name that is not used");
    if (s->n == PRN_RELATION_FACTORS) return fail(p, "too many factors");
    s->names[s->n++] = i;
  }
  if (!s->n || !accept(p, '=') || !word(p, &s->attr))
    return fail(p, "expected name = attribute");
  if (s->n == 1) r->attrs[s->names[0]] = s->attr;
  return is_attr(p, s->attr);
}

static bool read_sizes(reader *p) {
  do
    if (!read_size(p)) return false;
  while (accept(p, ','));
  return true;
}

static bool read_list(reader *p) {
  prn_relation *r = p->r;
  do {
    if (r->num_alts == PRN_RELATION_ALTS) return fail(p, "too many choices");
    if (!read_alt(p, &r->alts[r->num_alts++])) return false;
  } while (accept(p, ';'));
  if (accept(p, '|') && !read_sizes(p)) return false;
  blanks(p);
  return *p->at == 0 || fail(p, "text after the end");
}

const char *prn_relation_parse(const prn_op_info *info, prn_relation *out) {
  static const struct {
    const char *text;
    prn_relation_word word;
  } words[] = {{"elementwise", PRN_RELATION_ELEMENTWISE},
               {"axis", PRN_RELATION_AXIS},
               {"hook", PRN_RELATION_HOOK},
               {"opaque", PRN_RELATION_OPAQUE}};
  reader p = {.at = info->dims, .info = info, .r = out};
  memset(out, 0, sizeof *out);
  for (size_t i = 0; i < PRN_RELATION_NAMES; i++)
    out->attrs[i] = PRN_STR("");
  for (size_t i = 0; i < PRN_COUNT(words); i++)
    if (strcmp(info->dims, words[i].text) == 0) {
      out->word = words[i].word;
      return NULL;
    }
  out->word = PRN_RELATION_LIST;
  (void)read_list(&p);
  return p.error;
}
