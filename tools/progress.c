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

static void before(prn_instrument *self, const prn_pass_event *e) {
  prn_progress *p = (prn_progress *)self;
  if (prn_seconds() - p->start < patience_s) return;
  (void)fprintf(stderr, "\r\033[K[%u/%zu] %s", e->index, p->total,
                e->item->pass->name);
  (void)fflush(stderr);
  p->shown = true;
}

static void after(prn_instrument *self, const prn_pass_event *e) {
  prn_progress *p = (prn_progress *)self;
  if (!p->shown || (e->index < p->total && !e->failed)) return;
  (void)fputs("\r\033[K", stderr);
  (void)fflush(stderr);
  p->shown = false;
}

bool prn_progress_init(prn_progress *p, const prn_pipeline *pipeline) {
  *p = (prn_progress){.base = {before, after},
                      .total = count(pipeline),
                      .start = prn_seconds()};
  return isatty(STDERR_FILENO) == 1;
}
