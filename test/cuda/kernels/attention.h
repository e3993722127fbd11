/* Attention: random queries, keys and values against double precision. */
#ifndef TEST_CUDA_KERNELS_ATTENTION_H
#define TEST_CUDA_KERNELS_ATTENTION_H

#include <memory>

#include "test/cuda/kernels/products.h"
#include "test/cuda/kernels/testing.h"

namespace {

struct heads {
  int64_t batch, queries, keys, d, dv;
  bool zero_hidden, causal;
};

struct attention_kernel {
  const char *name;
  void (*run)(void **);
  int rows, threads, shared;
  test_type type;
  double tolerance; /* weights are rounded to the type before they are used */
  bool runs = false; /* rows begin and end at multiples of eight */
};

const attention_kernel attention_kernels[] = {
    {"attention<float>", attention_float, pmk_tile_attention_f32::M,
     pmk_tile_attention_f32::THREADS, pmk_tile_attention_f32::SHARED, TEST_F32,
     2e-6},
    {"attention<f16>", attention_f16, pmk_tile_attention_mma::M,
     pmk_tile_attention_mma::THREADS, pmk_tile_attention_mma::SHARED, TEST_F16,
     6e-4},
    {"attention<bf16>", attention_bf16, pmk_tile_attention_mma::M,
     pmk_tile_attention_mma::THREADS, pmk_tile_attention_mma::SHARED, TEST_BF16,
     5e-3},
    {"attention<f16>, runs", attention_runs_f16, pmk_tile_attention_mma::M,
     pmk_tile_attention_mma::THREADS, pmk_tile_attention_mma::SHARED, TEST_F16,
     6e-4, true},
    {"attention<bf16>, runs", attention_runs_bf16, pmk_tile_attention_mma::M,
     pmk_tile_attention_mma::THREADS, pmk_tile_attention_mma::SHARED, TEST_BF16,
     5e-3, true},
};

struct attention_case {
  heads h;
  std::vector<float> q, k, v;
  std::unique_ptr<buffer> bq, bk, bv, out;
};

std::unique_ptr<buffer> memory(test_type t, const std::vector<float> &v) {
  std::vector<unsigned char> bytes = stored(t, v);
  return std::unique_ptr<buffer>(new buffer(bytes.size(), bytes.data()));
}

attention_case make(const attention_kernel &f, heads h, uint32_t seed) {
  attention_case c;
  source r(seed);
  if (f.runs) {
    h.d = (h.d + 7) / 8 * 8;
    h.dv = (h.dv + 7) / 8 * 8;
  }
  c.h = h;
  c.q.resize((size_t)(h.batch * h.queries * h.d));
  c.k.resize((size_t)(h.batch * h.keys * h.d));
  c.v.resize((size_t)(h.batch * h.keys * h.dv));
  for (auto *x : {&c.q, &c.k, &c.v})
    for (float &e : *x)
      e = r.value();
  c.bq = memory(f.type, c.q);
  c.bk = memory(f.type, c.k);
  c.bv = memory(f.type, c.v);
  c.out.reset(new buffer((size_t)(h.batch * h.queries * h.dv) * sizeof(float),
                         nullptr));
  return c;
}

/* Weights of one row; their sum is 0 where every key is hidden. */
double weigh(const attention_case &c, int64_t b, int64_t i,
             std::vector<double> &w) {
  const heads &h = c.h;
  double max = -INFINITY, sum = 0;
  for (int64_t j = 0; j < h.keys; j++) {
    double s = 0;
    for (int64_t e = 0; e < h.d; e++)
      s += (double)c.q[(size_t)((b * h.queries + i) * h.d + e)] *
           (double)c.k[(size_t)((b * h.keys + j) * h.d + e)];
    w[(size_t)j] = h.causal && j >= i ? -INFINITY : s * 0.125;
    max = fmax(max, w[(size_t)j]);
  }
  for (double &s : w) {
    s = s == -INFINITY ? 0 : exp(s - max);
    sum += s;
  }
  return sum;
}

/* The largest difference, in units of the largest value; NaN where a hidden row
 * is not what it should be. */
double error_of(const attention_case &c, const float *out) {
  const heads &h = c.h;
  std::vector<double> w((size_t)h.keys);
  double worst = 0;
  for (int64_t b = 0; b < h.batch; b++)
    for (int64_t i = 0; i < h.queries; i++) {
      double sum = weigh(c, b, i, w);
      for (int64_t e = 0; e < h.dv; e++) {
        double want = 0, got = (double)out[(b * h.queries + i) * h.dv + e];
        for (int64_t j = 0; j < h.keys; j++)
          want +=
              w[(size_t)j] * (double)c.v[(size_t)((b * h.keys + j) * h.dv + e)];
        bool hidden = sum == 0;
        if (hidden && !h.zero_hidden && got != got) continue;
        double off = fabs(got - (hidden ? 0 : want / sum)) / 2;
        if (!(off <= worst)) worst = off;
      }
    }
  return worst;
}

const char *run(const attention_kernel &f, const attention_case &c, int order) {
  static char message[400];
  const heads &h = c.h;
  pmk_args a = {
      {c.bq->get(), c.bk->get(), c.bv->get(), c.out->get()},
      {h.batch, h.queries, h.keys, h.d, h.dv, h.zero_hidden, h.causal},
      nullptr};
  void *params[1] = {&a};
  memset(c.out->get(), 0xff,
         (size_t)(h.batch * h.queries * h.dv) * sizeof(float));
  pmk_schedule(order);
  /* One block goes over two batches, where there are as many. */
  if (pmk_emulate(f.run, (unsigned)((h.queries + f.rows - 1) / f.rows),
                  (unsigned)(h.batch + 1) / 2, 1, (unsigned)f.threads,
                  (size_t)f.shared, params))
    return pmk_error();
  double off = error_of(c, (const float *)(const void *)c.out->get());
  if (off <= f.tolerance) return nullptr;
  snprintf(message, sizeof message, "off by %g", off);
  return message;
}

const heads all_heads[] = {
    {1, 1, 1, 1, 1, false, false},      {3, 7, 100, 64, 64, false, false},
    {2, 65, 65, 33, 70, true, true},    {1, 70, 130, 130, 40, false, true},
    {1, 20, 200, 80, 150, true, false},
};

void all_attention(tally &t) {
  char name[200];
  uint32_t seed = 1;
  for (const attention_kernel &f : attention_kernels)
    for (const heads &h : all_heads) {
      attention_case c = make(f, h, seed++);
      snprintf(name, sizeof name, "%s, %d queries, %d keys of %d, %d", f.name,
               (int)h.queries, (int)h.keys, (int)h.d, (int)h.dv);
      try_orders(t, name, [&](int order) { return run(f, c, order); });
    }
}

void mistakes_of_attention(mistakes &m) {
  for (const attention_kernel &f : attention_kernels) {
    if (f.type == TEST_BF16) continue;
    std::vector<attempt> runs;
    for (const heads &h : {heads{2, 65, 140, 150, 140, false, false},
                           heads{2, 65, 140, 70, 140, false, false}}) {
      auto c = std::make_shared<attention_case>(make(f, h, 3));
      runs.push_back([&f, c](int order) { return run(f, *c, order); });
    }
    m.of(f.name, runs);
  }
}

} // namespace

#endif
