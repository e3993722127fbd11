/* Pipelines are cut as text: their passes may be those of a plugin that is not
 * loaded here. The test says what is still one. */
#include <string.h>

#include "tools/reduce.h"

/* The end of what begins at p: past quoted text, and past brackets with all
 * that is in them. */
static const char *past(const char *p, const char *end) {
  int depth = 0;
  do {
    char c = *p++;
    if (c == '"') {
      while (p < end && *p != '"')
        p += *p == '\\' && p + 1 < end ? 2 : 1;
      if (p < end) p++;
    } else if (c && strchr("{[(", c)) {
      depth++;
    } else if (c && strchr("}])", c)) {
      depth--;
    }
  } while (p < end && depth > 0);
  return p;
}

static bool separates(char c) { return c == ',' || c == ' ' || c == '\n'; }

/* The end of the pass or option that begins at p. */
static const char *item_end(const char *p, const char *end) {
  while (p < end && !separates(*p) && *p != '}' && *p != ')')
    p = past(p, end);
  return p;
}

static void put(prn_strbuf *out, const char *from, const char *to) {
  if (to > from) prn_strbuf_str(out, (prn_str){from, (size_t)(to - from)});
}

/* text without [from, to), and without the separator that goes with it. */
static void without(prn_str text, const char *from, const char *to,
                    prn_strbuf *out) {
  const char *end = text.data + text.size;
  if (to < end && separates(*to))
    to++;
  else if (from > text.data && separates(from[-1]))
    from--;
  put(out, text.data, from);
  put(out, to, end);
}

/* The opening brace of the item's last {…}, or NULL. */
static const char *brace_of(const char *from, const char *to) {
  const char *found = NULL;
  for (const char *p = from; p < to; p = past(p, to))
    if (*p == '{') found = p;
  return found;
}

/* Place *i counts down over items in the order of the text: each item goes as
 * a whole, then becomes what is in its braces, then what is inside goes. */
static bool cut(prn_str text, const char *p, const char *end, size_t *i,
                prn_strbuf *out) {
  while (p < end) {
    if (separates(*p)) {
      p++;
      continue;
    }
    const char *to = item_end(p, end);
    if (to == p) to = p + 1;
    if ((*i)-- == 0) {
      without(text, p, to, out);
      return true;
    }
    const char *open = brace_of(p, to);
    if (open) {
      if ((*i)-- == 0) {
        put(out, text.data, p);
        put(out, open + 1, to - 1);
        put(out, to, text.data + text.size);
        return true;
      }
      if (cut(text, open + 1, to - 1, i, out)) return true;
    }
    p = to;
  }
  return false;
}

bool prn_edit_pipeline(prn_str text, size_t i, prn_strbuf *out) {
  return cut(text, text.data, text.data + text.size, &i, out);
}
