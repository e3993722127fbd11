/* Recurrent cells, the products with the input being done: xw(b, t, g) of step
 * t and gate g. Rows of a batch do not depend on each other: a block goes
 * through all steps of its own. Its state stays in shared memory; the
 * recurrence weights r, in the format nk, are read in every step, a warp for
 * each gate, and come from the cache as long as they fit into it. */
#ifndef PRUNE_CELLS_H
#define PRUNE_CELLS_H

#include "prune_index.h"
#include "prune_nk.h"

enum { PMK_CELL_THREADS = 512 };

/* What a block keeps in shared memory: h, another state or r * h, and sums. */
struct pmk_cell {
  const float *r;
  int hidden;

  PMK_DEV_INSIDE float *h() const { return (float *)pmk_smem(); }
  PMK_DEV_INSIDE float *other() const { return h() + hidden; }
  PMK_DEV_INSIDE float *sums() const { return h() + 2 * hidden; }

  /* sums[g] = row g of r times v, of rows from .. to-1. */
  PMK_DEV_INSIDE void multiply(const float *v, int from, int to) const {
    int64_t stride = pmk_nk_stride<float>(hidden);
    for (int g = from + PMK_TID / 32; g < to; g += PMK_CELL_THREADS / 32) {
      float sum = 0;
      for (int k = PMK_TID % 32; k < hidden; k += 32)
        sum += pmk_load(r + g * stride + k) * v[k];
      sum = pmk_warp_fold<pmk_sum>(sum);
      if (PMK_TID % 32 == 0) sums()[g] = sum;
    }
    pmk_sync();
  }
  /* f(i) for every unit. */
  template <class F> PMK_DEV_INSIDE void each(F f) const {
    for (int i = PMK_TID; i < hidden; i += PMK_CELL_THREADS)
      f(i);
    pmk_sync();
  }
};

/* For every row of the batch: first(b), step(b, t) in the order of time or
 * against it, last(b). */
template <class A, class S, class Z>
PMK_DEV void pmk_cell_rows(int64_t batch, int64_t steps, bool reverse, A first,
                           S step, Z last) {
  for (int64_t b = PMK_BX; b < batch; b += PMK_GX) {
    first(b);
    for (int64_t s = 0; s < steps; s++)
      step(b, reverse ? steps - 1 - s : s);
    last(b);
  }
}

/* Gates i o f c. h0 and c0(b, i) are the first states; y(b, t, i, v), h and
 * c(b, i, v) store. */
template <class X, class H0, class C0, class Y, class H, class C>
PMK_DEV void pmk_lstm(int64_t batch, int64_t steps, int64_t hidden,
                      bool reverse, const float *r, X xw, H0 h0, C0 c0, Y y,
                      H h, C c) {
  pmk_cell s = {r, (int)hidden};
  auto first = [&](int64_t b) {
    s.each([&](int i) {
      s.h()[i] = h0(b, i);
      s.other()[i] = c0(b, i);
    });
  };
  auto step = [&](int64_t b, int64_t t) {
    s.multiply(s.h(), 0, 4 * s.hidden);
    s.each([&](int i) {
      float v[4];
      PMK_UNROLL
      for (int g = 0; g < 4; g++)
        v[g] = xw(b, t, g * s.hidden + i) + s.sums()[g * s.hidden + i];
      float state = prn_sigmoid(v[2]) * s.other()[i] +
                    prn_sigmoid(v[0]) * prn_tanh(v[3]);
      float out = prn_sigmoid(v[1]) * prn_tanh(state);
      s.other()[i] = state;
      s.h()[i] = out;
      y(b, t, i, out);
    });
  };
  pmk_cell_rows(batch, steps, reverse, first, step, [&](int64_t b) {
    s.each([&](int i) {
      h(b, i, s.h()[i]);
      c(b, i, s.other()[i]);
    });
  });
}

/* Gates z r h; bias(g) is that of the recurrence. LINEAR: r is applied to what
 * the weights give, else to the state before. */
template <bool LINEAR, class X, class B, class H0, class Y, class H>
PMK_DEV void pmk_gru(int64_t batch, int64_t steps, int64_t hidden, bool reverse,
                     const float *r, X xw, B bias, H0 h0, Y y, H h) {
  pmk_cell s = {r, (int)hidden};
  auto first = [&](int64_t b) {
    s.each([&](int i) { s.h()[i] = h0(b, i); });
  };
  auto step = [&](int64_t b, int64_t t) {
    auto sum = [&](int g, int i) {
      int at = g * s.hidden + i;
      return s.sums()[at] + bias(at);
    };
    auto gate = [&](int g, int i) {
      return prn_sigmoid(xw(b, t, g * s.hidden + i) + sum(g, i));
    };
    s.multiply(s.h(), 0, (LINEAR ? 3 : 2) * s.hidden);
    if (!LINEAR) {
      s.each([&](int i) { s.other()[i] = gate(1, i) * s.h()[i]; });
      s.multiply(s.other(), 2 * s.hidden, 3 * s.hidden);
    }
    s.each([&](int i) {
      float z = gate(0, i), u = sum(2, i);
      if (LINEAR) u *= gate(1, i);
      float n = prn_tanh(xw(b, t, 2 * s.hidden + i) + u);
      float out = n + z * (s.h()[i] - n);
      s.h()[i] = out;
      y(b, t, i, out);
    });
  };
  pmk_cell_rows(batch, steps, reverse, first, step, [&](int64_t b) {
    s.each([&](int i) { h(b, i, s.h()[i]); });
  });
}

/* One gate; f is its activation. */
template <class X, class F, class H0, class Y, class H>
PMK_DEV void pmk_rnn(int64_t batch, int64_t steps, int64_t hidden, bool reverse,
                     const float *r, X xw, F f, H0 h0, Y y, H h) {
  pmk_cell s = {r, (int)hidden};
  auto first = [&](int64_t b) {
    s.each([&](int i) { s.h()[i] = h0(b, i); });
  };
  auto step = [&](int64_t b, int64_t t) {
    s.multiply(s.h(), 0, s.hidden);
    s.each([&](int i) {
      float out = f(xw(b, t, i) + s.sums()[i]);
      s.h()[i] = out;
      y(b, t, i, out);
    });
  };
  pmk_cell_rows(batch, steps, reverse, first, step, [&](int64_t b) {
    s.each([&](int i) { h(b, i, s.h()[i]); });
  });
}

#endif
