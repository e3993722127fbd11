/* Cost tables of machines; see machine.h. */
#include "passes/lower/machine.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

const prn_cost_info prn_costs[PRN_COST_COUNT] = {
#define COST(name, values, doc) {#name, doc, values},
#include "passes/lower/costs.def"
#undef COST
};

static const struct {
  const char *name;
  int64_t lanes, registers;
  const char *costs;
} machines[] = {
#define MACHINE(name, lanes, registers, costs) {name, lanes, registers, costs},
#include "passes/lower/machines.def"
#undef MACHINE
};

static bool is_machine(prn_str name) {
  for (size_t i = 0; i < PRN_COUNT(machines); i++)
    if (prn_str_is(name, machines[i].name)) return true;
  return false;
}

bool prn_machine_find(prn_str name, prn_machine *out) {
  const char *why;
  prn_str at;
  for (size_t i = 0; i < PRN_COUNT(machines); i++)
    if (prn_str_is(name, machines[i].name)) {
      *out = (prn_machine){.name = machines[i].name,
                           .lanes = machines[i].lanes,
                           .registers = machines[i].registers};
      return prn_machine_costs(out, prn_str_from(machines[i].costs), &why, &at);
    }
  return false;
}

/* "srt-step" names srt_step. */
static int find(prn_str name) {
  for (int i = 0; i < PRN_COST_COUNT; i++) {
    const char *n = prn_costs[i].name;
    size_t k = 0;
    while (k < name.size && n[k] &&
           (name.data[k] == n[k] || (name.data[k] == '-' && n[k] == '_')))
      k++;
    if (k == name.size && !n[k]) return i;
  }
  return -1;
}

/* ---- reading ---- */

static bool is_blank(char c) {
  return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

static prn_str trim(prn_str s) {
  while (s.size && is_blank(*s.data))
    s = (prn_str){s.data + 1, s.size - 1};
  while (s.size && is_blank(s.data[s.size - 1]))
    s.size--;
  return s;
}

/* What comes before the first of the bytes in `at`, which goes, too. */
static prn_str cut(prn_str *s, const char *at) {
  size_t n = 0;
  while (n < s->size && !strchr(at, s->data[n]))
    n++;
  prn_str head = {s->data, n};
  size_t skip = n < s->size ? n + 1 : n;
  *s = (prn_str){s->data + skip, s->size - skip};
  return trim(head);
}

/* The next row; empty at the end. */
static prn_str next_row(prn_str *text) {
  while (text->size) {
    *text = trim(*text);
    if (text->size && *text->data == '#') {
      (void)cut(text, "\n");
      continue;
    }
    size_t n = 0;
    while (n < text->size && !strchr(",#\n", text->data[n]))
      n++;
    prn_str row = trim((prn_str){text->data, n});
    if (n < text->size && text->data[n] != '#') n++;
    *text = (prn_str){text->data + n, text->size - n};
    if (row.size) return row;
  }
  return (prn_str){0};
}

static bool parse(prn_str s, double *out) {
  char text[32], *end;
  if (s.size == 0 || s.size >= sizeof text) return false;
  memcpy(text, s.data, s.size);
  text[s.size] = 0;
  *out = strtod(text, &end);
  return !*end && isfinite(*out) && *out >= 0;
}

/* Values of row i into out; NULL, or what is wrong. */
static const char *parse_values(prn_str values, int i, double *out) {
  int n = 0;
  for (; values.size; n++) {
    prn_str value = cut(&values, "/");
    if (n == prn_costs[i].values) return "has too many values";
    if (!parse(value, &out[n])) return "has a value that is no cost";
  }
  return n == prn_costs[i].values ? NULL : "has too few values";
}

bool prn_machine_costs(prn_machine *m, prn_str text, const char **why,
                       prn_str *at) {
  bool mine = true, taken = false, any = false;
  for (prn_str row; (row = next_row(&text)).size; any = true) {
    double values[PRN_COST_VALUES] = {0};
    prn_str rest = row, name = cut(&rest, "=");
    *at = row;
    if (prn_str_is(name, "machine")) {
      *why = "names no machine that has a cost table";
      if (!is_machine(rest)) return false;
      mine = prn_str_is(rest, m->name);
      continue;
    }
    int i = find(name);
    *at = i < 0 ? name : row;
    *why =
        i < 0 ? "is no row of the cost table" : parse_values(rest, i, values);
    if (*why) return false;
    if (mine) memcpy(m->cost[i], values, sizeof values);
    taken = taken || mine;
  }
  *at = prn_str_from(m->name);
  *why = "has no rows there";
  return taken || !any;
}

/* ---- writing ---- */

void prn_machine_print(const prn_machine *m, const char *between,
                       prn_strbuf *b) {
  for (int i = 0; i < PRN_COST_COUNT; i++) {
    if (i) prn_strbuf_cstr(b, between);
    for (const char *n = prn_costs[i].name; *n; n++)
      prn_strbuf_char(b, *n == '_' ? '-' : *n);
    for (int v = 0; v < prn_costs[i].values; v++)
      prn_strbuf_fmt(b, "%c%.4g", v ? '/' : '=', m->cost[i][v]);
  }
}
