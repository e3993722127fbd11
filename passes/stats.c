/* What passes counted and how long they took. */
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

#include "passes/manager.h"

/* ---- this process ---- */

double prn_seconds(void) {
  struct timespec t;
  (void)clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

prn_memory prn_memory_now(void) {
  prn_memory m = {0};
  char line[256];
  unsigned long long kib;
  FILE *f = fopen("/proc/self/status", "re");
  if (!f) return m;
  while (fgets(line, sizeof line, f)) {
    if (sscanf(line, "VmHWM: %llu", &kib) == 1) m.peak_rss = kib << 10;
    if (sscanf(line, "RssAnon: %llu", &kib) == 1) m.private_now = kib << 10;
  }
  (void)fclose(f);
  return m;
}

void prn_memory_reset_peak(void) {
  FILE *f = fopen("/proc/self/clear_refs", "we");
  if (!f) return;
  (void)fputs("5", f);
  (void)fclose(f);
}

/* ---- statistics ---- */

uint64_t prn_stat_value(const prn_pipeline_item *item, const prn_stat_info *s) {
  uint64_t v;
  memcpy(&v, (const char *)item->stats + s->offset, sizeof v);
  return v;
}

static void print_item_stats(const prn_pipeline_item *item, prn_strbuf *b) {
  if (!item->ran) return;
  for (const prn_stat_info *s = item->pass->stats; s->name; s++)
    prn_strbuf_fmt(b, "%12llu  %s.%s - %s\n",
                   (unsigned long long)prn_stat_value(item, s),
                   item->pass->name, s->name, s->doc);
}

static void print_stats(const prn_pipeline *p, prn_strbuf *b) {
  for (size_t i = 0; i < p->size; i++) {
    print_item_stats(p->items[i], b);
    if (p->items[i]->body) print_stats(p->items[i]->body, b);
  }
}

void prn_stats_print(const prn_pipeline *p, prn_strbuf *b) {
  prn_strbuf_cstr(b, "===== statistics, pass by pass =====\n");
  print_stats(p, b);
}

static void json_items(const prn_pipeline *p, prn_strbuf *b, bool *any) {
  for (size_t i = 0; i < p->size; i++) {
    const prn_pipeline_item *item = p->items[i];
    if (item->ran) {
      prn_strbuf text = {0};
      prn_pipeline_item_print(item, &text);
      prn_strbuf_cstr(b, *any ? ",\n  " : "\n  ");
      *any = true;
      prn_strbuf_fmt(b, "{\"pass\": \"%s\", \"wall_ms\": %.3f, \"text\": ",
                     item->pass->name, item->wall_s * 1e3);
      prn_strbuf_json(b, prn_strbuf_view(&text));
      prn_strbuf_cstr(b, ", \"stats\": {");
      prn_strbuf_destroy(&text);
      for (const prn_stat_info *s = item->pass->stats; s->name; s++)
        prn_strbuf_fmt(b, "%s\"%s\": %llu", s == item->pass->stats ? "" : ", ",
                       s->name, (unsigned long long)prn_stat_value(item, s));
      prn_strbuf_cstr(b, "}}");
    }
    if (item->body) json_items(item->body, b, any);
  }
}

void prn_stats_json(const prn_pipeline *p, prn_strbuf *b) {
  bool any = false;
  prn_strbuf_char(b, '[');
  json_items(p, b, &any);
  prn_strbuf_cstr(b, any ? "\n]\n" : "]\n");
}

/* ---- timing ---- */

static double total_of(const prn_pipeline *p) {
  double t = 0;
  for (size_t i = 0; i < p->size; i++)
    t += p->items[i]->wall_s;
  return t;
}

static void print_row(double wall_s, double all, uint64_t peak, uint64_t own,
                      unsigned depth, const char *name, prn_strbuf *b) {
  prn_strbuf_fmt(b, "%10.3f %6.1f%%", wall_s * 1e3,
                 all > 0 ? wall_s / all * 100 : 0);
  if (peak)
    prn_strbuf_fmt(b, " %9.1f %9.1f", (double)peak / 1048576,
                   (double)own / 1048576);
  else
    prn_strbuf_fmt(b, " %9s %9s", "-", "-");
  prn_strbuf_fmt(b, "  %*s%s\n", (int)depth * 2, "", name);
}

static void print_times(const prn_pipeline *p, double all, unsigned depth,
                        prn_strbuf *b) {
  for (size_t i = 0; i < p->size; i++) {
    const prn_pipeline_item *item = p->items[i];
    if (!item->ran) continue;
    print_row(item->wall_s, all, item->peak_rss, item->private_bytes, depth,
              item->pass->name, b);
    if (item->body) print_times(item->body, all, depth + 1, b);
  }
}

static void print_phase(const prn_phase *p, double all, prn_strbuf *b) {
  prn_strbuf name = {0};
  prn_strbuf_fmt(&name, "(%s)", p->name);
  print_row(p->wall_s, all, p->memory.peak_rss, p->memory.private_now, 0,
            name.data, b);
  prn_strbuf_destroy(&name);
}

void prn_timing_print(const prn_pipeline *p, const prn_phase *phases, size_t n,
                      prn_strbuf *b) {
  double all = total_of(p);
  for (size_t i = 0; i < n; i++)
    all += phases[i].wall_s;
  prn_strbuf_cstr(b, "===== time and memory, pass by pass =====\n");
  prn_strbuf_fmt(b, "%10s %7s %9s %9s  %s\n", "wall ms", "share", "peak MiB",
                 "priv MiB", "pass");
  for (size_t i = 0; i + 1 < n; i++)
    print_phase(&phases[i], all, b);
  print_times(p, all, 0, b);
  if (n) print_phase(&phases[n - 1], all, b);
  prn_strbuf_fmt(b, "%10.3f %6.1f%%\n", all * 1e3, 100.0);
}
