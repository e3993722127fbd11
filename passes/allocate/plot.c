#include "passes/allocate/plot.h"

#include <math.h>
#include <string.h>

enum { WIDTH = 60, DECADES = 6, LABEL = 8 };

/* The axis: `decades` powers of ten from 10^low on, `cell` places each. */
typedef struct scale {
  int low, decades, cell;
  int names; /* width of their column */
} scale;

static double value_of(const prn_plot_line *line, size_t i) {
  return line->times * line->losses->loss[i];
}

/* False when there is nothing above 0. */
static bool find_scale(const prn_plot_line *lines, size_t n, scale *out) {
  double least = (double)INFINITY, most = 0;
  *out = (scale){.names = (int)strlen("loss")};
  for (size_t i = 0; i < n; i++) {
    int name = (int)strlen(lines[i].name);
    if (name > out->names) out->names = name;
    for (size_t k = 0; k < lines[i].losses->size; k++) {
      double v = value_of(&lines[i], k);
      if (!(v > 0) || !isfinite(v)) continue;
      least = fmin(least, v);
      most = fmax(most, v);
    }
  }
  if (most <= 0) return false;
  int high = (int)ceil(log10(most));
  out->low = (int)floor(log10(least));
  if (out->low == high) out->low--;
  if (out->low < high - DECADES) out->low = high - DECADES;
  out->decades = high - out->low;
  out->cell = WIDTH / out->decades;
  return true;
}

static int place_of(const scale *s, double v) {
  int last = s->decades * s->cell;
  if (!(v > 0)) return 0;
  if (!isfinite(v)) return last;
  int at = (int)floor((log10(v) - s->low) * s->cell);
  return at < 0 ? 0 : at > last ? last : at;
}

static void print_axis(const prn_pass_env *env, const scale *s) {
  char text[WIDTH + LABEL + 1], label[LABEL];
  memset(text, ' ', sizeof text);
  int end = 0;
  for (int d = 0; d <= s->decades; d++) {
    int power = s->low + d, n = 1;
    label[0] = '1';
    if (power) n = snprintf(label, sizeof label, "1e%d", power);
    memcpy(text + d * s->cell, label, (size_t)n);
    end = d * s->cell + n;
  }
  prn_pass_print(env, "%-*s  %.*s\n", s->names, "loss", end, text);
}

static void print_line(const prn_pass_env *env, const scale *s,
                       const prn_plot_line *line) {
  const prn_losses *l = line->losses;
  char text[WIDTH + 2];
  int last = s->decades * s->cell;
  memset(text, ' ', sizeof text);
  for (int d = 0; d <= s->decades; d++)
    text[d * s->cell] = '|';
  for (size_t i = 0; i < l->size; i++)
    text[place_of(s, value_of(line, i))] =
        (char)(l->at[i] % 10 ? '+' : '0' + l->at[i] / 10);
  prn_pass_print(env, "%-*s  %.*s\n", s->names, line->name, last + 1, text);
}

void prn_plot_losses(const prn_pass_env *env, const prn_plot_line *lines,
                     size_t n) {
  scale s;
  if (!find_scale(lines, n, &s)) {
    prn_pass_print(env, "\nNothing is lost at any of these shares.\n");
    return;
  }
  prn_pass_print(env, "\n");
  print_axis(env, &s);
  for (size_t i = 0; i < n; i++)
    print_line(env, &s, &lines[i]);
  prn_pass_print(
      env,
      "\nA digit stands at the loss with so many tens of per cent of zeros, + "
      "at one with\na share between them; the largest where several meet. The "
      "first column also has\nwhat is smaller. Down a column weights lose "
      "alike: what stands there is how many\nzeros each can have for that.\n");
}
