/* Cost tables of machines; see machine.h. Measured by prune-run
 * --calibrate-target on an AMD Zen 5, running code for each level; AArch64's
 * is the table of 16-byte vectors with the registers that it has. */
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

static prn_str cut(prn_str *s, char at) {
  size_t n = 0;
  while (n < s->size && s->data[n] != at)
    n++;
  prn_str head = {s->data, n};
  size_t skip = n < s->size ? n + 1 : n;
  *s = (prn_str){s->data + skip, s->size - skip};
  return head;
}

static bool parse(prn_str s, double *out) {
  char text[32], *end;
  if (s.size == 0 || s.size >= sizeof text) return false;
  memcpy(text, s.data, s.size);
  text[s.size] = 0;
  *out = strtod(text, &end);
  return !*end && isfinite(*out) && *out >= 0;
}

bool prn_machine_costs(prn_machine *m, prn_str text, const char **why,
                       prn_str *at) {
  while (text.size) {
    prn_str row = cut(&text, ','), whole = row, name = cut(&row, '=');
    int i = find(name), n = 0;
    *at = name;
    *why = "is no row of the cost table";
    if (i < 0) return false;
    *at = whole;
    *why = "has a value that is no cost";
    for (; row.size; n++) {
      prn_str value = cut(&row, '/');
      if (n == prn_costs[i].values || !parse(value, &m->cost[i][n]))
        return false;
    }
    *why = "has too few values";
    if (n != prn_costs[i].values) return false;
  }
  return true;
}

void prn_machine_print(const prn_machine *m, prn_strbuf *b) {
  for (int i = 0; i < PRN_COST_COUNT; i++) {
    if (i) prn_strbuf_char(b, ',');
    for (const char *n = prn_costs[i].name; *n; n++)
      prn_strbuf_char(b, *n == '_' ? '-' : *n);
    for (int v = 0; v < prn_costs[i].values; v++)
      prn_strbuf_fmt(b, "%c%.3g", v ? '/' : '=', m->cost[i][v]);
  }
}
