#include "tools/progress.h"

#include <stdio.h>
#include <unistd.h>

/* Shorter work shows nothing. */
static const double patience_s = 0.5;

static size_t count(const prn_pipeline *p) {
  size_t n = p->size;
  for (size_t i = 0; i < p->size; i++)
    if (p->items[i]->body) n += count(p->items[i]->body);
  return n;
}

static void show(prn_progress *p, size_t at, const char *what) {
  if (prn_seconds() - p->start < patience_s) return;
  if (p->total)
    (void)fprintf(stderr, "\r\033[K[%zu/%zu] %s", at, p->total, what);
  else
    (void)fprintf(stderr, "\r\033[K[%zu] %s", at, what);
  (void)fflush(stderr);
  p->shown = true;
}

static void clear(prn_progress *p) {
  if (!p->shown) return;
  (void)fputs("\r\033[K", stderr);
  (void)fflush(stderr);
  p->shown = false;
}

static void before(prn_instrument *self, const prn_pass_event *e) {
  show((prn_progress *)self, e->index, e->item->pass->name);
}

static void after(prn_instrument *self, const prn_pass_event *e) {
  prn_progress *p = (prn_progress *)self;
  if (e->index >= p->total || e->failed) clear(p);
}

bool prn_progress_init(prn_progress *p, const prn_pipeline *pipeline) {
  *p = (prn_progress){.base = {.before = before, .after = after},
                      .total = count(pipeline),
                      .start = prn_seconds()};
  return isatty(STDERR_FILENO) == 1;
}

void prn_progress_begin(prn_progress *p, size_t total) {
  *p = (prn_progress){.total = total,
                      .start = prn_seconds(),
                      .watched = isatty(STDERR_FILENO) == 1};
}

void prn_progress_step(prn_progress *p, const char *what) {
  double done = (double)p->at, each = 0;
  prn_strbuf b = {0};
  if (p->at) each = (prn_seconds() - p->start) / done;
  p->at++;
  if (!p->watched) return;
  prn_strbuf_cstr(&b, what);
  if (p->at > 2 && p->at <= p->total)
    prn_strbuf_fmt(&b, ", about %.0f s left", each * ((double)p->total - done));
  show(p, p->at, b.data);
  prn_strbuf_destroy(&b);
}

void prn_progress_end(prn_progress *p) { clear(p); }
