/* prune-run --compare: how the outputs of two models differ. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "ir/tensor.h"
#include "tools/run.h"

static bool same_shape(const prn_array *a, const prn_array *b) {
  if (a->rank != b->rank) return false;
  for (int32_t i = 0; i < a->rank; i++)
    if (a->dims[i] != b->dims[i]) return false;
  return true;
}

static double at(const prn_array *a, int64_t i) {
  return prn_element_to_f64(a->dtype, a->data, i);
}

static int64_t argmax(const prn_array *a, int64_t from, int64_t n) {
  int64_t best = 0;
  for (int64_t i = 1; i < n; i++)
    if (at(a, from + i) > at(a, from + best)) best = i;
  return best;
}

prn_difference prn_array_compare(const prn_array *a, const prn_array *b) {
  prn_difference d = {.cosine = 1};
  double diff = 0, aa = 0, bb = 0, ab = 0;
  d.comparable =
      a->dtype == b->dtype && same_shape(a, b) && a->dtype != PRN_STRING;
  for (int64_t i = 0; d.comparable && i < a->count; i++) {
    double x = at(a, i), y = at(b, i), e = fabs(x - y);
    if (x == y || (isnan(x) && isnan(y))) e = 0;
    if (!isfinite(x) && e == 0) continue; /* would hide all else in the norms */
    if (!(e <= d.max_abs)) d.max_abs = e;
    diff += e * e;
    aa += x * x;
    bb += y * y;
    ab += x * y;
  }
  d.rel_l2 = diff == 0 ? 0 : sqrt(diff / bb);
  if (diff != 0) d.cosine = ab / sqrt(aa * bb);
  int64_t n = a->rank ? a->dims[a->rank - 1] : 1;
  if (!d.comparable || n < 2) return d;
  d.rows = a->count / n;
  for (int64_t r = 0; r < d.rows; r++)
    d.same_class += argmax(a, r * n, n) == argmax(b, r * n, n);
  return d;
}

static void print_text(const prn_array *a, const prn_difference *d) {
  if (!d->comparable) {
    printf("%-32.*s differs in type or size\n", PRN_STR_ARG(a->name));
    return;
  }
  printf("%-32.*s %12.4g %12.4g %12.9f", PRN_STR_ARG(a->name), d->max_abs,
         d->rel_l2, d->cosine);
  if (d->rows)
    printf("   %lld of %lld", (long long)d->same_class, (long long)d->rows);
  printf("\n");
}

static void print_json(const prn_array *a, const prn_difference *d, bool last) {
  prn_strbuf name = {0};
  prn_strbuf_quoted(&name, a->name);
  printf("{\"output\": %s, \"comparable\": %s, \"max_abs\": %.9g, "
         "\"rel_l2\": %.9g, \"cosine\": %.12g, \"rows\": %lld, "
         "\"same_class\": %lld}%s\n",
         name.data, d->comparable ? "true" : "false", d->max_abs, d->rel_l2,
         d->cosine, (long long)d->rows, (long long)d->same_class,
         last ? "" : ",");
  prn_strbuf_destroy(&name);
}

static prn_status outputs_of(prn_ctx *ctx, const prn_run_settings *s,
                             const prn_arrays *inputs, prn_arrays *out) {
  prn_loaded other;
  if (prn_str_ends(prn_str_from(s->compare), ".npz"))
    return prn_arrays_load_npz(ctx, s->compare, out);
  PRN_TRY(prn_run_load(ctx, s->compare, s, inputs, NULL, &other));
  prn_status status = prn_runner_prepare(&other.runner, inputs, out);
  if (status == PRN_OK) status = prn_runner_run(&other.runner, inputs, out);
  prn_run_unload(&other);
  return status;
}

prn_status prn_run_compare(prn_ctx *ctx, const prn_run_settings *s,
                           const prn_arrays *inputs,
                           const prn_arrays *outputs) {
  prn_arrays others = {0};
  prn_status status = outputs_of(ctx, s, inputs, &others);
  if (status == PRN_OK && !s->json)
    printf("%-32s %12s %12s %12s   %s\n", "output", "max |diff|", "relative L2",
           "cosine", "same largest in rows");
  if (status == PRN_OK && s->json) printf("[\n");
  for (size_t i = 0; status == PRN_OK && i < outputs->size; i++) {
    const prn_array *a = &outputs->items[i];
    const prn_array *b = prn_arrays_find(&others, a->name);
    prn_difference d = {0};
    if (b) d = prn_array_compare(a, b);
    if (s->json)
      print_json(a, &d, i + 1 == outputs->size);
    else
      print_text(a, &d);
  }
  if (status == PRN_OK && s->json) printf("]\n");
  prn_arrays_destroy(&others);
  return status;
}
