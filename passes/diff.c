#include "passes/diff.h"

#include <string.h>

#include "ir/support/arena.h"
#include "ir/support/map.h"

enum { CONTEXT = 3, MAX_EDITS = 2000 };

/* Lines of both texts; equal lines have equal ids. */
typedef struct lines {
  prn_str *text;
  uintptr_t *id;
  int size;
} lines;

typedef struct edit {
  char op; /* ' ', '-' or '+' */
  int a, b;
} edit;

typedef struct script {
  edit *edits;
  int size, cap;
} script;

static lines split(prn_str s, prn_map *ids) {
  lines l = {0};
  size_t n = 0, cap = 0;
  for (size_t at = 0; at < s.size;) {
    const char *stop = memchr(s.data + at, '\n', s.size - at);
    size_t end = stop ? (size_t)(stop - s.data) : s.size;
    if (n == cap) {
      cap = cap ? cap * 2 : 256;
      l.text = prn_realloc(l.text, prn_array_size(sizeof *l.text, cap));
      l.id = prn_realloc(l.id, prn_array_size(sizeof *l.id, cap));
    }
    l.text[n] = (prn_str){s.data + at, end - at};
    void **slot = prn_map_slot(ids, l.text[n]);
    if (!*slot) *slot = (void *)(uintptr_t)ids->size;
    l.id[n++] = (uintptr_t)*slot;
    at = end + 1;
  }
  l.size = (int)n;
  return l;
}

static void emit(script *s, char op, int a, int b) {
  if (s->size == s->cap) {
    s->cap = s->cap ? s->cap * 2 : 256;
    size_t bytes = prn_array_size(sizeof *s->edits, (size_t)s->cap);
    s->edits = prn_realloc(s->edits, bytes);
  }
  s->edits[s->size++] = (edit){op, a, b};
}

/* The furthest x on each diagonal after each number of edits. Row d holds
 * diagonals -d..d and begins at d*d. */
typedef struct frontier {
  int *x;
  int edits; /* -1: too many */
} frontier;

static int start_of(const int *prev, int d, int k, bool *down) {
  /* prev points at diagonal 0 of row d-1. */
  *down = k == -d || (k != d && prev[k - 1] < prev[k + 1]);
  return *down ? prev[k + 1] : prev[k - 1] + 1;
}

static frontier search(const lines *a, int a0, int a1, const lines *b, int b0,
                       int b1) {
  frontier f = {.edits = -1};
  size_t cap = 0;
  for (int d = 0; d <= MAX_EDITS; d++) {
    size_t row = (size_t)d * (size_t)d;
    if (row + 2 * (size_t)d + 1 > cap) {
      cap = (row + 2 * (size_t)d + 1) * 2;
      f.x = prn_realloc(f.x, prn_array_size(sizeof *f.x, cap));
    }
    int *now = f.x + row + d;
    const int *prev =
        d ? f.x + (size_t)(d - 1) * (size_t)(d - 1) + d - 1 : NULL;
    for (int k = -d; k <= d; k += 2) {
      bool down;
      int x = d ? start_of(prev, d, k, &down) : 0;
      while (x < a1 - a0 && x - k < b1 - b0 &&
             a->id[a0 + x] == b->id[b0 + x - k])
        x++;
      now[k] = x;
      if (x >= a1 - a0 && x - k >= b1 - b0) {
        f.edits = d;
        return f;
      }
    }
    for (int k = -d + 1; k < d; k += 2) /* the other parity is never read */
      now[k] = -1;
  }
  return f;
}

/* Walks back from the end; the edits come out last first. */
static void backtrack(const frontier *f, int a0, int a1, int b0, int b1,
                      script *out) {
  int x = a1 - a0, y = b1 - b0;
  for (int d = f->edits; d > 0; d--) {
    const int *prev = f->x + (size_t)(d - 1) * (size_t)(d - 1) + d - 1;
    bool down;
    int from = start_of(prev, d, x - y, &down);
    int k = x - y;
    while (x > from && y > from - k) {
      x--, y--;
      emit(out, ' ', a0 + x, b0 + y);
    }
    if (down)
      y--, emit(out, '+', a0 + x, b0 + y);
    else
      x--, emit(out, '-', a0 + x, b0 + y);
  }
  while (x > 0 && y > 0) {
    x--, y--;
    emit(out, ' ', a0 + x, b0 + y);
  }
}

static script compare(const lines *a, const lines *b) {
  int head = 0, tail = 0, least = a->size < b->size ? a->size : b->size;
  script s = {0}, middle = {0};
  while (head < least && a->id[head] == b->id[head])
    head++;
  while (tail < least - head &&
         a->id[a->size - 1 - tail] == b->id[b->size - 1 - tail])
    tail++;
  for (int i = 0; i < head; i++)
    emit(&s, ' ', i, i);
  int a1 = a->size - tail, b1 = b->size - tail;
  frontier f = search(a, head, a1, b, head, b1);
  if (f.edits < 0) {
    for (int i = head; i < a1; i++)
      emit(&s, '-', i, head);
    for (int i = head; i < b1; i++)
      emit(&s, '+', a1, i);
  } else {
    backtrack(&f, head, a1, head, b1, &middle);
    for (int i = middle.size - 1; i >= 0; i--)
      emit(&s, middle.edits[i].op, middle.edits[i].a, middle.edits[i].b);
  }
  for (int i = 0; i < tail; i++)
    emit(&s, ' ', a1 + i, b1 + i);
  prn_free(f.x);
  prn_free(middle.edits);
  return s;
}

static void print_hunk(const script *s, int from, int to, const lines *a,
                       const lines *b, prn_strbuf *out) {
  int removed = 0, added = 0;
  for (int i = from; i < to; i++) {
    removed += s->edits[i].op != '+';
    added += s->edits[i].op != '-';
  }
  prn_strbuf_fmt(out, "@@ -%d,%d +%d,%d @@\n", s->edits[from].a + (removed > 0),
                 removed, s->edits[from].b + (added > 0), added);
  for (int i = from; i < to; i++) {
    const edit *e = &s->edits[i];
    prn_strbuf_char(out, e->op);
    prn_strbuf_str(out, e->op == '+' ? b->text[e->b] : a->text[e->a]);
    prn_strbuf_char(out, '\n');
  }
}

static void print_script(const script *s, const lines *a, const lines *b,
                         prn_strbuf *out) {
  for (int i = 0; i < s->size; i++) {
    if (s->edits[i].op == ' ') continue;
    int from = i > CONTEXT ? i - CONTEXT : 0, last = i;
    while (i < s->size && i - last <= 2 * CONTEXT) {
      if (s->edits[i].op != ' ') last = i;
      i++;
    }
    int to = last + 1 + CONTEXT < s->size ? last + 1 + CONTEXT : s->size;
    print_hunk(s, from, to, a, b, out);
    i = to - 1;
  }
}

void prn_diff_unified(const char *a_name, const char *b_name, prn_str a,
                      prn_str b, prn_strbuf *out) {
  if (prn_str_eq(a, b)) return;
  prn_map ids = {0};
  lines la = split(a, &ids), lb = split(b, &ids);
  script s = compare(&la, &lb);
  prn_strbuf_fmt(out, "--- %s\n+++ %s\n", a_name, b_name);
  print_script(&s, &la, &lb, out);
  prn_free(s.edits);
  prn_free(la.text);
  prn_free(la.id);
  prn_free(lb.text);
  prn_free(lb.id);
  prn_map_destroy(&ids);
}
