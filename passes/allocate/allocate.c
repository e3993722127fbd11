#include "passes/allocate/allocate.h"

#include <math.h>
#include <string.h>

const char prn_share_attr[] = "$prune.share";

enum { BUCKETS = 1 << 14 };

double prn_share_given(const prn_op *constant, double dflt) {
  const prn_attr *a = prn_op_attr(constant, prn_share_attr);
  bool given = a && a->kind == PRN_ATTR_FLOAT && a->f >= 0 && a->f <= 1;
  return given ? (double)a->f : dflt;
}

void prn_share_give(prn_op *constant, double share) {
  prn_ctx *ctx = constant->module->ctx;
  prn_op_set_attr(constant, prn_share_attr,
                  share < 0 ? NULL : prn_attr_float(ctx, (float)share));
}

static const char sensitivity_attr[] = "$prune.sensitivity";

double prn_sensitivity_given(const prn_op *constant, double dflt) {
  const prn_attr *a = prn_op_attr(constant, sensitivity_attr);
  return a && a->kind == PRN_ATTR_FLOAT && a->f >= 0 ? (double)a->f : dflt;
}

void prn_sensitivity_give(prn_op *constant, double sensitivity) {
  prn_ctx *ctx = constant->module->ctx;
  prn_op_set_attr(constant, sensitivity_attr,
                  sensitivity < 0 ? NULL
                                  : prn_attr_float(ctx, (float)sensitivity));
}

void prn_allocate_owl(const double *outliers, const double *counts, size_t n,
                      double sparsity, double lambda, double *shares) {
  double least = (double)INFINITY, most = -least, mean = 0, entries = 0;
  for (size_t i = 0; i < n; i++) {
    least = fmin(least, outliers[i]);
    most = fmax(most, outliers[i]);
  }
  double scale = most > least ? 2 * lambda / (most - least) : 0;
  for (size_t i = 0; i < n; i++) {
    mean += counts[i] * (outliers[i] - least) * scale;
    entries += counts[i];
  }
  for (size_t i = 0; i < n; i++) {
    double density =
        (outliers[i] - least) * scale - mean / entries + 1 - sparsity;
    shares[i] = fmin(fmax(1 - density, 0), 1);
  }
}

/* ---- losses between measured shares ---- */

void prn_prospect_between(const int *at, const double *loss, size_t n,
                          prn_prospect *out) {
  size_t k = 0;
  out->loss[0] = 0;
  for (int s = 1; s < PRN_SHARES; s++) {
    while (k + 1 < n && at[k + 1] <= s)
      k++;
    size_t next = k + 1 < n ? k + 1 : k; /* the last power goes on */
    size_t from = next == k && k > 0 ? k - 1 : k;
    double a = at[from], b = at[next], x = loss[from], y = loss[next];
    double power = b > a && x > 0 && y > x ? log(y / x) / log(b / a) : 1;
    if (power < 1) power = 1;
    double base = s < at[0] || y <= x ? x : loss[k], ref = at[k];
    out->loss[s] = base * pow(s / ref, power);
    if (out->loss[s] < out->loss[s - 1]) out->loss[s] = out->loss[s - 1];
  }
}

/* ---- dynamic programming ---- */

/* Buckets of the budget that a share takes, rounded up. */
static int64_t buckets_of(const prn_prospect *p, int share, double unit) {
  double n = ceil(p->cost[share] / unit - 1e-9);
  return n > BUCKETS ? (int64_t)BUCKETS + 1 : n < 0 ? 0 : (int64_t)n;
}

static double least_cost(const prn_prospect *all, size_t n) {
  double sum = 0;
  for (size_t i = 0; i < n; i++)
    sum += all[i].cost[PRN_SHARES - 1];
  return sum;
}

/* best[b]: the least loss of the weights so far that takes at most b buckets.
 * How it came about is in from[i][b], the share of weight i. */
static void add_weight(const prn_prospect *p, double unit, const double *best,
                       double *next, unsigned char *from) {
  int64_t need[PRN_SHARES];
  for (int s = 0; s < PRN_SHARES; s++)
    need[s] = buckets_of(p, s, unit);
  for (int64_t b = 0; b <= BUCKETS; b++) {
    next[b] = (double)INFINITY;
    from[b] = PRN_SHARES - 1;
    for (int s = 0; s < PRN_SHARES; s++) {
      if (need[s] > b) continue;
      double loss = best[b - need[s]] + p->loss[s];
      if (loss >= next[b]) continue;
      next[b] = loss;
      from[b] = (unsigned char)s;
    }
  }
}

/* Spends what rounding left of the budget where it helps most. */
static void spend(const prn_prospect *all, size_t n, double most, int *chosen) {
  double left = most * (1 + 1e-12);
  for (size_t i = 0; i < n; i++)
    left -= all[i].cost[chosen[i]];
  for (;;) {
    size_t best = n;
    double gain = 0;
    for (size_t i = 0; i < n; i++) {
      int s = chosen[i];
      if (s == 0 || all[i].cost[s - 1] - all[i].cost[s] > left) continue;
      double now = all[i].loss[s] - all[i].loss[s - 1];
      if (best < n && now <= gain) continue;
      best = i;
      gain = now;
    }
    if (best == n) return;
    int s = chosen[best]--;
    left -= all[best].cost[s - 1] - all[best].cost[s];
  }
}

bool prn_allocate(const prn_prospect *all, size_t n, double most, int *chosen) {
  double unit = most / BUCKETS;
  for (size_t i = 0; i < n; i++)
    chosen[i] = PRN_SHARES - 1;
  if (most <= 0 || least_cost(all, n) > most) return false;
  size_t row = BUCKETS + 1;
  double *best = prn_alloc(2 * row * sizeof *best), *next = best + row, *swap;
  unsigned char *from = prn_alloc(prn_array_size(n ? n : 1, row));
  memset(best, 0, row * sizeof *best);
  for (size_t i = 0; i < n; i++) {
    add_weight(&all[i], unit, best, next, from + i * row);
    swap = best;
    best = next;
    next = swap;
  }
  int64_t left = BUCKETS;
  bool fits = isfinite(best[left]);
  for (size_t i = n; fits && i-- > 0;) {
    chosen[i] = from[i * row + (size_t)left];
    left -= buckets_of(&all[i], chosen[i], unit);
  }
  if (fits) spend(all, n, most, chosen);
  prn_free(best < next ? best : next);
  prn_free(from);
  return fits;
}
